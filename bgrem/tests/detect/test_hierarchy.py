"""Tests of bgrem.detect.hierarchy, on segments made of known light."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import ndimage

from bgrem.detect.hierarchy import find_hidden_cores, find_owners, image_width
from bgrem.detect.peaks import find_peaks
from bgrem.detect.segments import detection_mask, segment
from bgrem.tests.detect.conftest import blob

EIGHT = np.ones((3, 3))


def moffat(shape, y, x, height, fwhm=2.5):
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    scale = fwhm / 2 / np.sqrt(2 ** (1 / 2.5) - 1)
    return height * (1 + ((yy - y) ** 2 + (xx - x) ** 2) / scale**2) ** -2.5


def peaks_at(shape, *positions, probability=0.9):
    return np.max([blob(shape, *p, 1, probability) for p in positions], axis=0)


def segment_at(source, *positions, **options):
    probability = peaks_at(source.shape, *positions)
    return segment(source, probability, 1.0, threshold=0.5, **options)


class TestPartsOfOne:
    def test_saturated_core_is_one(self):
        shape = (120, 120)
        # A plateau with two tops, and a spike.
        star = np.minimum(moffat(shape, 60, 60, 50_000), 800)
        star += blob(shape, 58, 60, 1, 4) + blob(shape, 62, 60, 1, 3)
        spike = np.exp(-0.5 * (np.arange(120) - 60) ** 2 / 0.8**2)
        star += 10 * np.exp(-np.abs(np.arange(120) - 60) / 20)[:, np.newaxis] * spike
        result = segment_at(star, (58, 60), (62, 60), (78, 60), (60, 75))
        assert result.n_labels == 1
        assert result.data[60, 60] == result.data[78, 60] == 1

    @pytest.mark.parametrize('height', [0.5, 3.0])
    def test_noise_on_a_galaxy_is_not_a_source(self, height):
        shape = (120, 120)
        bumps = [(60, 78), (46, 50), (75, 52)]
        galaxy = blob(shape, 60, 60, 14, 50)
        for y, x in bumps:
            # Broad bumps stand out of the light beneath, but not as a star does.
            galaxy += blob(shape, y, x, 4 if height > 1 else 1.1, height)
        assert segment_at(galaxy, (60, 60), *bumps).n_labels == 1

    def test_bump_in_the_halo_of_a_bright_star(self):
        shape = (160, 160)
        star = moffat(shape, 80, 80, 5000)
        bump = blob(shape, 80, 88, 1.1, 2.0)  # on 6.7
        assert segment_at(star + bump, (80, 80), (80, 88)).n_labels == 1

    def test_merged_segment_is_at_its_brightest_peak(self):
        shape = (100, 100)
        galaxy = blob(shape, 50, 50, 14, 50)
        result = segment_at(galaxy, (50, 50), (50, 65))
        assert_array_equal(result.data, segment_at(galaxy, (50, 50)).data)


class TestSourcesOfTheirOwn:
    def test_knot_in_a_spiral(self):
        shape = (120, 120)
        galaxy = blob(shape, 60, 60, 14, 40)
        knot = blob(shape, 60, 76, 1.1, 6)
        result = segment_at(galaxy + knot, (60, 60), (60, 76))
        assert result.n_labels == 2
        assert result.data[60, 76] != result.data[60, 60]

    @pytest.mark.parametrize('ratio', [1.0, 0.3, 0.05])
    def test_close_pair_of_stars(self, ratio):
        shape = (60, 60)
        source = moffat(shape, 30, 27, 100) + moffat(shape, 30, 31, 100 * ratio)
        assert segment_at(source, (30, 27), (30, 31)).n_labels == 2

    def test_faint_star_beside_a_bright_one(self):
        shape = (160, 160)
        star = moffat(shape, 80, 80, 5000) + moffat(shape, 80, 105, 20)
        assert segment_at(star, (80, 80), (80, 105)).n_labels == 2

    def test_galaxies_that_touch(self):
        shape = (120, 120)
        source = blob(shape, 60, 40, 10, 50) + blob(shape, 60, 80, 9, 20)
        assert segment_at(source, (60, 40), (60, 80)).n_labels == 2

    def test_owners_of_separate_segments(self):
        shape = (40, 40)
        source = blob(shape, 10, 10, 2, 50) + blob(shape, 30, 30, 2, 5)
        labels, _ = ndimage.label(source > 0.5)
        owners = find_owners(labels, source, 1.0, *np.array([(10, 30)] * 2), 2.5)
        assert_array_equal(owners, [0, 1, 2])


class TestHiddenCores:
    def test_star_with_a_masked_core(self):
        shape = (160, 160)
        source = moffat(shape, 80, 80, 5000) + moffat(shape, 80, 115, 20)
        mask = blob(shape, 80, 80, 1, 1) > np.exp(-18)  # radius 6
        source[mask] = 0
        result = segment_at(source, (80, 115), mask=mask)
        assert result.n_labels == 2
        star, faint = result.data[80, 90], result.data[80, 115]
        assert star > 0
        assert faint != star
        assert result.data[80, 70] == result.data[70, 80] == star
        assert np.sum(result.data == faint) < 0.2 * np.sum(result.data == star)

    def test_saturated_star_without_a_peak(self):
        """It is known to be a source, if not where its center is; a trail is not."""
        shape = (160, 160)
        source = np.minimum(moffat(shape, 80, 80, 500_000), 4000)
        source += moffat(shape, 40, 30, 20)
        source[84:86, 78] = -800  # where the counter of the detector overflows
        result = segment_at(source, (40, 30))
        assert result.n_labels == 2
        assert result.data[80, 80] == result.data[80, 100] == 2
        trail = np.zeros(shape)
        trail[70:78] = 4000
        assert segment_at(trail + moffat(shape, 40, 30, 20), (40, 30)).n_labels == 1

    def test_masked_column_does_not_divide_it(self):
        shape = (160, 160)
        source = moffat(shape, 80, 80, 5000)
        mask = np.zeros(shape, dtype=bool)
        mask[:, 77:84] = True
        source[mask] = 0
        none = np.zeros(0, dtype=int)
        y, x = find_hidden_cores(source, 1.0, none, none, 2.5, mask)
        assert len(y) == 1
        assert (y[0], x[0]) in [(80, 76), (80, 84)]

    def test_star_beyond_the_border(self):
        shape = (100, 100)
        source = moffat(shape, 50, 101, 2000) + moffat(shape, 50, 85, 10)
        result = segment_at(source, (50, 85))
        assert result.n_labels == 2
        assert result.data[50, 99] != result.data[50, 85]
        assert np.sum(result.data == result.data[50, 85]) < 80

    def test_star_on_the_border_with_its_peak(self):
        shape = (60, 60)
        source = moffat(shape, 30, 59, 500)
        assert segment_at(source, (30, 59)).n_labels == 1

    def test_bright_pixels_are_no_source(self):
        source = np.zeros((60, 60))
        source[20:22, 59] = 100
        none = np.zeros(0, dtype=int)
        assert find_hidden_cores(source, 1.0, none, none, 2.5)[0].size == 0


class TestPixels:
    def test_strip_along_the_border_is_not_part_of_a_source(self):
        shape = (200, 100)
        source = moffat(shape, 100, 95, 20)
        source[:, 97:] = np.maximum(source[:, 97:], 1.0)
        result = segment_at(source, (100, 95))
        rows, _ = np.nonzero(result.data)
        assert np.ptp(rows) < 25

    def test_light_of_another_source_is_not_given_to_a_faint_one(self):
        shape = (100, 100)
        source = blob(shape, 50, 50, 6, 100) + blob(shape, 50, 70, 1.2, 3)
        result = segment_at(source, (50, 70))
        assert result.n_labels == 1
        assert result.data[50, 50] == 0
        assert result.data[50, 70] == 1

    @pytest.mark.parametrize('seed', range(3))
    def test_each_segment_hangs_together(self, seed):
        rng = np.random.default_rng(seed)
        shape = (150, 150)
        places = [tuple(rng.integers(10, 140, 2)) for _ in range(60)]
        source = sum(
            blob(shape, *place, rng.uniform(1, 8), 10 ** rng.uniform(0, 2.5))
            for place in places
        )
        probability = peaks_at(shape, *places)
        result = segment(source, probability, 1.0, threshold=0.5)
        for label in result.labels:
            _, n_pieces = ndimage.label(result.data == label, structure=EIGHT)
            assert n_pieces == 1
        mask = detection_mask(source, probability, 1.0, threshold=0.5)
        assert_array_equal(mask, result.data > 0)


class TestImageWidth:
    def test_of_stars(self):
        shape = (80, 80)
        places = [(20, 20), (20, 60), (60, 20), (60, 60)]
        source = sum(blob(shape, *place, 1.7, 50) for place in places)
        peaks = find_peaks(peaks_at(shape, *places, probability=0.999), None, 0.5)
        expected = 1.7 * np.sqrt(8 * np.log(2))
        assert image_width(source, 1.0, peaks) == pytest.approx(expected, rel=1e-3)

    def test_where_there_are_none(self):
        peaks = find_peaks(np.zeros((5, 5)), None, 0.5)
        assert image_width(np.zeros((5, 5)), 1.0, peaks) == 2.5
