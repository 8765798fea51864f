"""
Tests of bgrem.detect.discovery.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, logit

from bgrem.detect.discovery import (
    ImageCheck,
    choose_threshold,
    noise_shift,
    shift_probability,
    source_width,
)
from bgrem.detect.peaks import find_peaks, peak_widths

CORRECTION = {
    'offset': -0.1,
    'excess': -1.5,
    'correlation': -2.0,
    'skewness': -3.0,
    'width': 0.5,
    'width_squared': 0.25,
    'limits': {
        'lowest': -1.0,
        'typical_width': 3.0,
        'narrowest': 2.0,
        'widest': 6.0,
    },
}


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

    def test_nearest_by_hand(self):
        probability = [0.5, 0.9, 1.0, 0.8]
        # means of 1 - p from the top: 0, 0.05, 0.1, 0.2
        for rate, threshold in ((0.02, 1.0), (0.03, 0.9), (0.07, 0.9), (0.08, 0.8),
                                (0.14, 0.8), (0.16, 0.5)):  # fmt: skip
            assert choose_threshold(probability, rate, nearest=True) == threshold
        assert choose_threshold([0.2, 0.5], 0.05, nearest=True) == 1.0
        assert choose_threshold([], 0.05, nearest=True) == 1.0

    def test_few_peaks_keep_the_promise_on_average(self):
        """Over many images that hold no more than some detections each."""
        rng = np.random.default_rng(5)
        held = {}
        for nearest in (False, True):
            kept, false = 0, 0
            for _ in range(4000):
                probability = rng.beta(0.4, 0.6, 8)
                is_true = rng.random(8) < probability
                found = probability >= choose_threshold(
                    probability, 0.1, nearest=nearest
                )
                kept += found.sum()
                false += (~is_true[found]).sum()
            held[nearest] = false / kept
        assert_allclose(held[True], 0.1, rtol=0.2)
        assert held[False] < 0.07

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


class TestImageCheck:
    def test_terms(self):
        """The width is within its limits, and the typical one where unknown."""
        limits = CORRECTION['limits']
        expected = {3.0: 1, np.nan: 1, 6.0: 2, 9.0: 2, 1.0: 2 / 3}
        for width, factor in expected.items():
            terms = ImageCheck(8.0, 8.0, 0.1, -0.2, width).terms(limits)
            assert_allclose(terms['width'], np.log(factor))
            assert_allclose(terms['width_squared'], np.log(factor) ** 2)
            assert terms['correlation'] == 0.1
            assert terms['skewness'] == -0.2

    def test_shift_of_all(self):
        shift = ImageCheck(8.0, 8.0, 0.1, 0.01, 6.0).log_odds_shift(CORRECTION)
        expected = -0.1 - 0.2 - 0.03 + 0.5 * np.log(2) + 0.25 * np.log(2) ** 2
        assert_allclose(shift, expected)

    def test_by_hand(self):
        check = ImageCheck.from_peaks([0.5, 0.9, 1.0], [0.5, 0.1], 0.8)
        assert_allclose(check.promised, 0.25 + 0.09)
        assert_allclose(check.flipped, 0.6 / 0.8)
        assert_allclose(check.log_excess, np.log(2.75 / 2.34))

    def test_nothing_known(self):
        assert ImageCheck.from_peaks([], []).log_excess == 0
        assert ImageCheck.from_peaks([0.4, 0.7], [], 0.0).log_excess == 0

    def test_kept_promise(self):
        """As many flipped peaks as false ones of each probability: no excess."""
        rng = np.random.default_rng(1)
        probability = rng.random(20_000)
        is_false = rng.random(20_000) > probability
        check = ImageCheck.from_peaks(probability, probability[is_false])
        assert_allclose(check.log_excess, 0, atol=0.05)

    def test_few_peaks_say_little(self):
        """One peak more or less moves a small image by less than a factor of two."""
        none, one = (ImageCheck.from_peaks([0.5], [0.9] * n) for n in (0, 1))
        assert one.log_excess - none.log_excess < np.log(2)

    def test_shift(self):
        assert_allclose(ImageCheck(8.0, 8.0).log_odds_shift(CORRECTION), -0.1)
        twice = ImageCheck(8.0, 18.0).log_odds_shift(CORRECTION)
        assert_allclose(twice, -0.1 - 1.5 * np.log(2))

    def test_a_flipped_image_without_peaks_is_no_licence(self):
        shift = ImageCheck(1000.0, 0.0).log_odds_shift(CORRECTION)
        assert_allclose(shift, -0.1 + 1.5)


class TestNoiseShift:
    def test_by_hand(self):
        """One peak of even odds, and a tenth of one in the noise of half the area."""
        # 0.25 (1 - p) = 0.1 / 0.5 of the noise: p is 0.2, the odds a quarter
        shift = noise_shift([0.5], [np.sqrt(0.1)], 0.5)
        assert_allclose(shift, np.log(0.25))

    def test_kept_promise(self):
        """Noise that makes as many false peaks as there are changes nothing."""
        rng = np.random.default_rng(1)
        probability = rng.random(20_000)
        is_false = rng.random(20_000) > probability
        assert_allclose(noise_shift(probability, probability[is_false]), 0, atol=0.1)

    @pytest.mark.parametrize('odds', [0.1, 0.5])
    def test_fewer_sources_than_in_the_calibration(self, odds):
        """The odds of all peaks fall as the number of sources."""
        rng = np.random.default_rng(2)
        promised = rng.random(40_000)
        is_true = rng.random(40_000) < shift_probability(promised, np.log(odds))
        shift = noise_shift(promised, promised[~is_true])
        assert_allclose(shift, np.log(odds), atol=0.1)

    def test_bounds(self):
        assert noise_shift([0.5, 0.9], []) == np.inf
        assert noise_shift([], []) == np.inf
        assert noise_shift([0.5, 0.9], [0.9, 0.9, 0.9]) == -3
        assert noise_shift([], [0.5]) == -3
        # of what is certain nothing is false
        assert noise_shift([1.0, 1.0], [0.5]) == -3

    def test_only_of_drawn_photons(self):
        """It lowers the shift, and never raises it."""
        peaks = [0.5, 0.6, 0.9], [0.6, 0.7]
        flipped, drawn = (
            ImageCheck.from_peaks(*peaks, 1.0, is_drawn=one) for one in (False, True)
        )
        assert flipped.noise_shift == np.inf
        assert flipped.log_odds_shift(CORRECTION) > drawn.noise_shift
        assert drawn.log_odds_shift(CORRECTION) == drawn.noise_shift
        few = ImageCheck.from_peaks(peaks[0], [0.1], 1.0, is_drawn=True)
        assert few.log_odds_shift(CORRECTION) < few.noise_shift
        nowhere = ImageCheck.from_peaks(*peaks, 0.0, is_drawn=True)
        assert nowhere.noise_shift == np.inf


def gaussians(places, fwhm, shape=(60, 80), peak=10.0):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return sum(
        peak * np.exp(-4 * np.log(2) * ((x - x0) ** 2 + (y - y0) ** 2) / fwhm**2)
        for y0, x0 in places
    )


class TestWidths:
    PLACES = ((15.2, 20.4), (16.0, 60.0), (45.3, 40.1), (47.5, 12.5))

    @pytest.mark.parametrize('fwhm', [1.5, 3.0, 6.0])
    def test_of_gaussians(self, fwhm):
        """Exact wherever the center lies in its pixel."""
        source = gaussians(self.PLACES, fwhm)
        # the peaks of the probability are a pixel off
        peaks = find_peaks(np.roll(np.minimum(source, 10) / 11, 1, axis=1), None, 0.3)
        widths = peak_widths(source, 0.1, peaks['y'], peaks['x'])
        assert_allclose(widths, fwhm, rtol=1e-6)
        assert_allclose(source_width(widths, np.ones(widths.size)), fwhm, rtol=1e-6)

    def test_beside_a_masked_pixel(self):
        """A source that lost a pixel is not narrow; its width is not known."""
        source = gaussians(self.PLACES, 3.0)
        source[15, 21] = 0
        peaks = find_peaks(gaussians(self.PLACES, 3.0) / 11, None, 0.3)
        widths = peak_widths(source, 0.1, peaks['y'], peaks['x'])
        lost = (peaks['y'] == 15) & (peaks['x'] == 20)
        assert_array_equal(np.isnan(widths), lost)
        assert_allclose(widths[~lost], 3.0, rtol=1e-6)

    def test_where_nothing_is_seen(self):
        source = gaussians(((15.2, 20.4), (0.0, 60.0)), 3.0)
        peaks = find_peaks(source / 11, None, 0.5)
        assert_array_equal(
            np.isnan(peak_widths(source, 0.1, peaks['y'], peaks['x'])), peaks['y'] == 0
        )
        # fainter than half the noise; flat; negative; masked pixels with no noise
        assert np.isnan(peak_widths(source, 30.0, peaks['y'], peaks['x'])).all()
        assert np.isnan(
            peak_widths(np.ones_like(source), 0.1, peaks['y'], peaks['x'])
        ).all()
        assert np.isnan(peak_widths(-source, 0.1, peaks['y'], peaks['x'])).all()
        assert np.isnan(
            peak_widths(0 * source, np.zeros_like(source), peaks['y'], peaks['x'])
        ).all()
        assert peak_widths(source, 0.1, peaks['y'][:0], peaks['x'][:0]).size == 0

    def test_of_the_compact_and_certain(self):
        widths = [3.0, np.nan, 3.0, 3.0, 9.0, 9.0, 1.0]
        probability = [0.999, 1.0, 0.995, 1.0, 1.0, 1.0, 0.9]
        assert source_width(widths, probability) == 3.0
        assert np.isnan(source_width(widths[:3], probability[:3]))
        assert np.isnan(source_width([], []))
