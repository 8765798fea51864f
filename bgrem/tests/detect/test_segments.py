"""Tests of bgrem.detect.segments."""

import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from photutils.utils.exceptions import NoDetectionsWarning

from bgrem.detect.segments import detection_mask, segment
from bgrem.tests.detect.conftest import blob


class TestSegment:
    def test_one_label_per_detection(self, scene):
        source, probability, centers = scene
        result = segment(source, probability, 1.0, threshold=0.5)
        assert result.n_labels == len(centers)
        assert_array_equal(result.labels, np.arange(1, 6))
        labels = [result.data[y, x] for y, x in centers]
        assert len(set(labels)) == len(centers)
        assert 0 not in labels

    def test_extended_source_is_whole(self, scene):
        source, probability, _ = scene
        result = segment(source, probability, 1.0, threshold=0.5)
        galaxy = result.data == result.data[55, 40]
        alone = blob(source.shape, 55, 40, 6, 30)
        assert alone[galaxy].sum() > 0.97 * alone.sum()

    def test_source_too_faint_for_the_image_has_minimal_footprint(self, scene):
        source, probability, _ = scene
        result = segment(source, probability, 1.0, threshold=0.5)
        faint = result.data == result.data[30, 70]
        assert faint.sum() == 5
        assert faint[29:32, 70].all()
        assert faint[30, 69:72].all()

    @pytest.mark.parametrize('sigma', [0.85, 1.06, 2.12, 4.25])
    def test_footprints_of_broad_sources_go_farther_down(self, sigma):
        """As the mean over its area is better known, but not those of narrow ones."""
        shape = (120, 120)
        source, probability = np.zeros(shape), np.zeros(shape)
        for y, x in ((30, 30), (30, 90), (90, 30), (90, 90)):
            source += blob(shape, y, x, sigma, 30)
            probability += blob(shape, y, x, 1, 0.999)
        result = segment(source, probability, 1.0, threshold=0.5)
        fwhm = 2.3548 * sigma
        limit = 0.2 * min(1, 2.5 / fwhm)
        wrong = (result.data > 0) != (source > limit)
        near = (source > 0.85 * limit) & (source < 1.2 * limit)
        assert result.n_labels == 4
        assert not np.any(wrong & ~near)

    def test_threshold(self, scene):
        source, probability, _ = scene
        assert segment(source, probability, 1.0, threshold=0.94).n_labels == 3
        assert segment(source, probability, 1.0, threshold=0.985).n_labels == 1

    def test_star_does_not_cut_the_galaxy_behind_it(self):
        shape = (100, 100)
        galaxy = blob(shape, 50, 50, 14, 40)
        star = blob(shape, 50, 68, 1.3, 15)
        probability = np.maximum(
            blob(shape, 50, 50, 1, 0.9), blob(shape, 50, 68, 1, 0.9)
        )
        result = segment(galaxy + star, probability, 1.0, threshold=0.5)
        assert result.n_labels == 2
        label = result.data[50, 68]
        assert result.data[50, 50] != label
        assert result.data[50, 82] == result.data[50, 50]  # behind the star
        assert 9 <= np.sum(result.data == label) <= 80
        inside = (result.data == label) & (star > 1)
        assert star[inside].sum() > 0.8 * star.sum()

    def test_equal_blend_is_halved(self):
        shape = (40, 60)
        source = blob(shape, 20, 27, 2.5, 30) + blob(shape, 20, 34, 2.5, 30)
        probability = np.maximum(
            blob(shape, 20, 27, 1, 0.9), blob(shape, 20, 34, 1, 0.9)
        )
        result = segment(source, probability, 1.0, threshold=0.5)
        assert result.n_labels == 2
        assert np.all(result.data[:, :30][source[:, :30] > 1] == result.data[20, 27])
        assert np.all(result.data[:, 32:][source[:, 32:] > 1] == result.data[20, 34])

    @pytest.mark.parametrize('distance', [3, 3.5, 4])
    def test_shoulder_has_its_core(self, distance):
        """A star so near a brighter one that it makes no maximum of its own."""
        shape, x = (40, 60), round(25 + distance)
        source = blob(shape, 20, 25, 1.5, 20)
        source += blob(shape, 20, 25 + distance, 1.5, 4)
        assert np.all(np.diff(source[20, 25:40]) < 0)
        probability = np.maximum(
            blob(shape, 20, 25, 1, 0.99), blob(shape, 20, x, 1, 0.9)
        )
        result = segment(source, probability, 1.0, threshold=0.5)
        assert result.n_labels == 2
        core = result.data == result.data[20, x]
        assert core[20, x - 1 : x + 2].all()
        assert core[19:22, x].all()
        assert result.data[20, 25] != result.data[20, x]

    def test_what_two_cores_share_is_that_of_the_more_probable(self):
        shape = (30, 30)
        source = blob(shape, 15, 15, 3, 30)
        probability = np.zeros(shape)
        probability[15, 14], probability[15, 16] = 0.8, 0.9
        result = segment(source, probability, 1.0, threshold=0.5)
        assert result.n_labels == 2
        assert result.data[15, 15] == result.data[15, 16] != result.data[15, 14]

    def test_peak_on_a_bare_slope_is_part_of_the_source(self):
        shape = (60, 60)
        source = blob(shape, 30, 30, 10, 50)
        probability = np.maximum(
            blob(shape, 30, 30, 1, 0.9), blob(shape, 30, 42, 1, 0.8)
        )
        result = segment(source, probability, 1.0, threshold=0.5)
        assert result.n_labels == 1
        assert result.data[30, 42] == result.data[30, 30] == result.data[30, 50]

    def test_no_deblending_joins_what_touches(self, scene):
        source, probability, _ = scene
        result = segment(source, probability, 1.0, threshold=0.5, deblend=False)
        assert result.n_labels == 4
        assert result.data[15, 40] == result.data[15, 46]

    def test_n_pixels(self, scene):
        source, probability, _ = scene
        result = segment(source, probability, 1.0, threshold=0.5, n_pixels=6)
        assert result.n_labels == 4
        assert_array_equal(result.labels, np.arange(1, 5))
        assert result.data[30, 70] == 0

    def test_mask(self, scene):
        source, probability, _ = scene
        mask = np.zeros(source.shape, dtype=bool)
        mask[:, :20] = True
        result = segment(source, probability, 1.0, threshold=0.5, mask=mask)
        assert result.n_labels == 4
        assert not result.data[mask].any()

    def test_rms_map(self, scene):
        source, probability, _ = scene
        rms = np.ones(source.shape)
        one = segment(source, probability, 1.0, threshold=0.5)
        same = segment(source, probability, rms, threshold=0.5)
        assert_array_equal(one.data, same.data)
        smaller = segment(source, probability, 5 * rms, threshold=0.5)
        assert (smaller.data > 0).sum() < (one.data > 0).sum()

    def test_footprint_widens(self, scene):
        source, probability, _ = scene
        narrow = segment(source, probability, 1.0, threshold=0.5)
        wide = segment(
            source, probability, 1.0, threshold=0.5, footprint=np.ones((5, 5))
        )
        assert wide.n_labels == narrow.n_labels
        assert np.all(wide.areas > narrow.areas)

    @pytest.mark.parametrize('deblend', [True, False])
    def test_nothing_found(self, scene, deblend):
        source, probability, _ = scene
        with pytest.warns(NoDetectionsWarning, match='No sources were found'):
            result = segment(source, probability, 1.0, threshold=0.995, deblend=deblend)
        assert result is None

    def test_unmarked_light_is_not_segmented(self, scene):
        source, probability, _ = scene
        extra = source + blob(source.shape, 70, 80, 3, 100)
        result = segment(extra, probability, 1.0, threshold=0.5)
        assert result.data[70, 80] == 0

    @pytest.mark.parametrize('n_pixels', [0, -1, 1.5, np.nan, np.inf])
    def test_bad_n_pixels(self, scene, n_pixels):
        source, probability, _ = scene
        with pytest.raises(ValueError, match='n_pixels must be a positive integer'):
            segment(source, probability, 1.0, threshold=0.5, n_pixels=n_pixels)

    def test_inputs_are_not_changed(self, scene):
        source, probability, _ = scene
        before = source.copy(), probability.copy()
        source.flags.writeable = probability.flags.writeable = False
        segment(source, probability, 1.0, threshold=0.5)
        assert_array_equal(source, before[0])
        assert_array_equal(probability, before[1])


class TestDetectionMask:
    def test_same_pixels_as_the_segments(self, scene):
        source, probability, _ = scene
        mask = np.zeros(source.shape, dtype=bool)
        mask[:, :8] = True
        kwargs = {'threshold': 0.5, 'mask': mask}
        result = detection_mask(source, probability, 1.0, **kwargs)
        assert result.dtype == bool
        assert_array_equal(result, segment(source, probability, 1.0, **kwargs).data > 0)

    def test_footprint(self, scene):
        source, probability, _ = scene
        result = detection_mask(
            source, probability, 1.0, threshold=0.5, footprint=np.ones((3, 3))
        )
        assert result[29:32, 69:72].all()

    @pytest.mark.parametrize('shape', [(), (3,), (3, 3), (0, 0), (3, 3, 3)])
    def test_bad_footprint(self, scene, shape):
        source, probability, _ = scene
        footprint = np.full(shape, len(shape) != 2)
        with pytest.raises(ValueError, match='footprint must be a 2D array'):
            detection_mask(source, probability, 1.0, threshold=0.5, footprint=footprint)

    def test_nothing_found_is_an_empty_mask(self, scene):
        source, probability, _ = scene
        assert not detection_mask(source, probability, 1.0, threshold=0.995).any()


NARROW = """
import numpy as np
from bgrem.detect.segments import segment

rng = np.random.default_rng(0)
for _ in range(300):
    shape = rng.integers(1, 7), rng.integers(5, 70)
    probability = rng.random(shape) ** 4
    segment(rng.normal(size=shape), probability, 0.1, threshold=0.5)
"""


@pytest.mark.filterwarnings('ignore')
def test_narrow_images_in_a_process_of_their_own():
    """What is written beyond an image of a few rows ends the process, now or later."""
    command = [sys.executable, '-W', 'ignore', '-c', NARROW]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
