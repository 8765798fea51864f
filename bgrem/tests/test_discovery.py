"""
Tests of bgrem.discovery.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, logit

from bgrem.discovery import (
    SymmetryCheck,
    away_from_sources,
    choose_threshold,
    shift_probability,
)

SYMMETRY = {'offset': -0.1, 'slope': -1.5, 'lowest': -1.0}


class TestChooseThreshold:
    def test_by_hand(self):
        probability = [0.5, 0.9, 1.0, 0.8]
        # means of 1 - p from the top: 0, 0.05, 0.1, 0.2
        assert choose_threshold(probability, 0.01) == 1.0
        assert choose_threshold(probability, 0.051) == 0.9
        assert choose_threshold(probability, 0.12) == 0.8
        assert choose_threshold(probability, 0.21) == 0.5
        assert choose_threshold(probability, 0.9) == 0.5

    def test_equal_peaks_stay_together(self):
        # means of 1 - p: 0, then 0.133 for all three; 0.1 for two of them
        assert choose_threshold([0.8, 1.0, 0.8], 0.11) == 1.0
        assert choose_threshold([0.8, 1.0, 0.8], 0.14) == 0.8

    def test_nothing_probable_enough(self):
        assert choose_threshold([0.2, 0.5], 0.05) == 1.0
        assert choose_threshold([], 0.05) == 1.0

    def test_calibrated_peaks_keep_the_promise(self):
        rng = np.random.default_rng(2)
        probability = rng.random(20000).astype(np.float32)
        is_true = rng.random(20000) < probability
        for rate in (0.02, 0.05, 0.2):
            kept = probability >= choose_threshold(probability, rate)
            assert_allclose(np.mean(~is_true[kept]), rate, rtol=0.2)

    @pytest.mark.parametrize('rate', [0, 1, -0.1, 5, np.nan])
    def test_bad_rate(self, rate):
        with pytest.raises(ValueError, match='false_discovery_rate must be between'):
            choose_threshold([0.5], rate)

    @pytest.mark.parametrize('true_shift', [-2.0, 0.0, 1.0])
    def test_shifted_peaks_keep_the_promise(self, true_shift):
        """Probabilities that are off by a shift of the log-odds, and the shift."""
        rng = np.random.default_rng(3)
        probability = rng.random(50_000)
        is_true = rng.random(50_000) < expit(logit(probability) + true_shift)
        for rate in (0.05, 0.2):
            kept = probability >= choose_threshold(probability, rate, true_shift)
            assert_allclose(np.mean(~is_true[kept]), rate, rtol=0.2)

    def test_threshold_is_one_of_the_peaks(self):
        peaks = [0.3, 0.6, 0.9, 0.97]
        thresholds = [choose_threshold(peaks, 0.2, shift) for shift in (-2, 0, 2, 5)]
        assert thresholds == [0.97, 0.6, 0.3, 0.3]


class TestShiftProbability:
    def test_keeps_order_and_ends(self):
        probability = np.linspace(0, 1, 101)
        shifted = shift_probability(probability, -3.0)
        assert shifted[0] == 0
        assert shifted[-1] == 1
        assert np.all(np.diff(shifted) > 0)
        assert_allclose(shift_probability(shifted, 3.0), probability, atol=1e-12)

    def test_by_hand(self):
        assert_allclose(shift_probability([0.5, 0.8], np.log(3)), [0.75, 12 / 13])


class TestSymmetryCheck:
    def test_by_hand(self):
        check = SymmetryCheck.from_peaks([0.5, 0.9, 1.0], [0.5, 0.1], 0.8)
        assert_allclose(check.promised, 0.25 + 0.09)
        assert_allclose(check.flipped, 0.6 / 0.8)
        assert_allclose(check.log_excess, np.log(2.75 / 2.34))

    def test_nothing_known(self):
        assert SymmetryCheck.from_peaks([], []).log_excess == 0
        assert SymmetryCheck.from_peaks([0.4, 0.7], [], 0.0).log_excess == 0

    def test_kept_promise(self):
        """As many flipped peaks as false ones of each probability: no excess."""
        rng = np.random.default_rng(1)
        probability = rng.random(20_000)
        is_false = rng.random(20_000) > probability
        check = SymmetryCheck.from_peaks(probability, probability[is_false])
        assert_allclose(check.log_excess, 0, atol=0.05)

    def test_few_peaks_say_little(self):
        """One peak more or less moves a small image by less than a factor of two."""
        none, one = (SymmetryCheck.from_peaks([0.5], [0.9] * n) for n in (0, 1))
        assert one.log_excess - none.log_excess < np.log(2)

    def test_shift(self):
        assert_allclose(SymmetryCheck(8.0, 8.0).log_odds_shift(SYMMETRY), -0.1)
        twice = SymmetryCheck(8.0, 18.0).log_odds_shift(SYMMETRY)
        assert_allclose(twice, -0.1 - 1.5 * np.log(2))

    def test_a_flipped_image_without_peaks_is_no_licence(self):
        shift = SymmetryCheck(1000.0, 0.0).log_odds_shift(SYMMETRY)
        assert_allclose(shift, -0.1 + 1.5)


def test_away_from_sources():
    source = np.zeros((20, 30))
    source[10, 15] = 11.0
    clean = away_from_sources(source, 2.0)
    y, x = np.mgrid[:20, :30]
    assert_array_equal(clean, np.abs(y - 10) + np.abs(x - 15) > 3)
    assert away_from_sources(source, np.full(source.shape, 2.3)).all()
