"""
Tests of bgrem.detect.probability.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit

from bgrem.detect.probability import calibrate, pool_centers

CALIBRATION = {'logit': [-4.0, 0.0, 2.0], 'probability': [0.001, 0.3, 0.9]}


class TestCalibrate:
    def test_known_values(self):
        logit = np.array([-4.0, 0.0, 2.0])
        result = calibrate(logit, CALIBRATION)
        assert result.dtype == np.float32
        assert_allclose(result, CALIBRATION['probability'], rtol=1e-5)

    def test_none_is_the_sigmoid(self):
        logit = np.linspace(-20, 20, 9, dtype=np.float32)
        assert_allclose(calibrate(logit), expit(logit))

    def test_strictly_increasing_and_bounded(self):
        logit = np.linspace(-30, 12, 500)
        result = calibrate(logit, CALIBRATION)
        assert np.all(np.diff(result) > 0)
        assert result[0] > 0
        far = calibrate(np.array([-1e4, 1e4]), CALIBRATION)
        assert_array_equal(far, [0, 1])

    def test_unit_slope_beyond_the_knots(self):
        result = calibrate(np.array([3.0, -5.0]), CALIBRATION).astype(float)
        odds = result / (1 - result)
        assert_allclose(odds, [9 * np.e, (0.001 / 0.999) / np.e], rtol=1e-5)

    def test_nan_and_shape(self):
        logit = np.full((3, 4), np.nan, dtype=np.float32)
        logit[1, 1] = 0
        result = calibrate(logit, CALIBRATION)
        assert result.shape == (3, 4)
        assert np.isnan(result).sum() == 11
        assert_allclose(result[1, 1], 0.3, rtol=1e-6)

    @pytest.mark.parametrize(
        ('logit', 'probability', 'match'),
        [
            ([0, 0], [0.1, 0.2], 'must be strictly increasing'),
            ([0, 1], [0.2, 0.2], 'must be strictly increasing'),
            ([0, 1], [0.0, 0.2], 'must be between 0 and 1'),
            ([0, 1], [0.1, 1.0], 'must be between 0 and 1'),
            ([0, 1], [0.1], 'must be non-empty lists of equal length'),
            ([], [], 'must be non-empty lists of equal length'),
        ],
    )
    def test_bad_table(self, logit, probability, match):
        with pytest.raises(ValueError, match=match):
            calibrate(np.zeros(3), {'logit': logit, 'probability': probability})


class TestPoolCenters:
    def test_constant_stays(self):
        logit = np.full((6, 7), -3.0)
        result = pool_centers(logit)
        assert result.dtype == np.float32
        assert_allclose(result, -3, rtol=1e-5)

    def test_average_of_probabilities(self):
        probability = np.full((5, 5), 0.1)
        probability[2, 2] = 0.9
        result = expit(pool_centers(np.log(probability / (1 - probability))))
        assert_allclose(result[1:4, 1:4], (8 * 0.1 + 0.9) / 9, rtol=1e-5)
        assert_allclose(result[0], 0.1, rtol=1e-5)

    def test_spread_source_outranks_a_single_pixel(self):
        logit = np.full((20, 20), -8.0)
        logit[4:7, 4:7] = -0.5
        logit[14, 14] = 0.5
        result = pool_centers(logit)
        assert result[5, 5] > result[14, 14]

    def test_extreme_values_stay_finite(self):
        assert_allclose(pool_centers(np.full((3, 3), 100.0)), 16, atol=0.7)
        assert_allclose(pool_centers(np.full((3, 3), -100.0)), -16, atol=0.01)
