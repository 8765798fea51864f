"""
Tests of bgrem.detect.probability.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import gaussian_filter
from scipy.special import expit

from bgrem.detect import probability
from bgrem.detect.peaks import find_peaks
from bgrem.detect.probability import calibrate, pool_centers, refine_probability

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

    def test_blocks_do_not_show(self, monkeypatch):
        logit = np.linspace(-9, 5, 60, dtype=np.float32).reshape(6, 10)
        expected = calibrate(logit, CALIBRATION)
        monkeypatch.setattr(probability, '_MAX_BLOCK', 7)
        assert_array_equal(calibrate(logit, CALIBRATION), expected)

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


class TestRefine:
    @pytest.mark.parametrize('binning', [2, 3, 4, 5, 8])
    def test_peaks(self, binning):
        """Each square that is a peak gives one peak, of the same probability."""
        noise = gaussian_filter(np.random.default_rng(2).normal(size=(40, 53)), 1.0)
        binned = expit(22 * noise - 3).astype(np.float32)
        shape = (40 * binning - 1, 53 * binning - binning // 2)
        fine = refine_probability(binned, binning, shape)
        assert fine.shape == shape
        assert fine.dtype == np.float32
        expected, found = find_peaks(binned), find_peaks(fine)
        assert len(expected) > 50
        assert_array_equal(
            sorted(zip(found['y'] // binning, found['x'] // binning, strict=True)),
            sorted(zip(expected['y'], expected['x'], strict=True)),
        )
        assert_allclose(
            np.sort(found['probability']), np.sort(expected['probability']), rtol=1e-5
        )

    @pytest.mark.parametrize('binning', [1.5, 2.5, 3.5])
    def test_halves(self, binning):
        """So it is where squares share pixels, at a pixel that has part in them."""
        noise = gaussian_filter(np.random.default_rng(2).normal(size=(40, 52)), 1.0)
        binned = expit(22 * noise - 3).astype(np.float32)
        fine = refine_probability(
            binned, binning, (int(40 * binning), int(52 * binning))
        )
        expected, found = find_peaks(binned), find_peaks(fine)
        assert len(expected) > 50
        assert_allclose(
            np.sort(found['probability']), np.sort(expected['probability']), rtol=1e-5
        )
        for peak in found:
            distance = np.maximum(
                abs((peak['y'] + 0.5) / binning - expected['y'] - 0.5),
                abs((peak['x'] + 0.5) / binning - expected['x'] - 0.5),
            )
            assert distance.min() <= 0.5 + 0.25 / binning

    @pytest.mark.parametrize('binning', [1, 1.5, 2, 3, 4, 8])
    @pytest.mark.parametrize('place', [(5.0, 7.0), (5.3, 6.8), (4.6, 7.45)])
    def test_position(self, binning, place):
        """A peak stands where the squares around it say, to a fraction of a square."""
        y, x = np.mgrid[:11, :14]
        distance2 = (y - place[0]) ** 2 + (x - place[1]) ** 2
        binned = expit(3 - 1.5 * distance2)
        shape = (int(11 * binning), int(14 * binning))
        (peak,) = find_peaks(refine_probability(binned, binning, shape), None, 0.1)
        expected = (np.array(place) + 0.5) * binning - 0.5
        error = np.hypot(peak['y_center'] - expected[0], peak['x_center'] - expected[1])
        assert error < max(0.75, 0.2 * binning)

    @pytest.mark.parametrize('value', [0.0, 0.3, 1.0])
    def test_flat(self, value):
        fine = refine_probability(np.full((3, 1), value), 2, (6, 2))
        assert_allclose(fine, value, atol=1e-6)


def test_pooling_at_the_border():
    """Beyond it there may be as much as at the edge, or no center at all."""
    logit_map = np.full((9, 9), -9.0)
    logit_map[0, 4] = 4.0
    same = expit(pool_centers(logit_map))
    none = expit(pool_centers(logit_map, edges='constant'))
    assert_allclose(same[0, 4], 2 * none[0, 4], rtol=0.01)
    assert_array_equal(same[2:-1, 1:-1], none[2:-1, 1:-1])
