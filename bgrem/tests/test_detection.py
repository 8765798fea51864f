"""
Tests of bgrem.detection.
"""

import pickle

import numpy as np
import pytest
from astropy import units as u
from numpy.testing import assert_allclose, assert_array_equal
from photutils.segmentation import SegmentationImage, SourceCatalog
from photutils.utils.exceptions import NoDetectionsWarning

from bgrem.detection import (
    catalog,
    detection_mask,
    find_peaks,
    segment,
)


def blob(shape, y, x, sigma=1.0, height=1.0):
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    return height * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * sigma**2))


@pytest.fixture
def scene():
    """
    A star, a faint star, a large galaxy and a blended pair on rms 1.
    """
    shape = (80, 90)
    centers = [(10, 12), (30, 70), (55, 40), (15, 40), (15, 46)]
    source = (
        blob(shape, 10, 12, 2, 50)
        + blob(shape, 30, 70, 2, 0.2)
        + blob(shape, 55, 40, 6, 30)
        + blob(shape, 15, 40, 1.5, 20)
        + blob(shape, 15, 46, 1.5, 15)
    )
    probability = np.zeros(shape)
    for (y, x), height in zip(centers, [0.99, 0.6, 0.98, 0.95, 0.93], strict=True):
        probability = np.maximum(probability, blob(shape, y, x, 1, height))
    return source, probability.astype(np.float32), centers


class TestFindPeaks:
    def test_known_centers(self):
        shape = (30, 40)
        truth = [(8.3, 9.8, 0.9), (20.0, 30.45, 0.7), (12.6, 25.1, 0.5)]
        probability = sum(blob(shape, y, x, 1, h) for y, x, h in truth)
        peaks = find_peaks(probability)
        assert len(peaks) == 3
        assert_array_equal(peaks['y'], [8, 20, 13])
        assert_array_equal(peaks['x'], [10, 30, 25])
        assert_allclose(peaks['y_center'], [8.3, 20.0, 12.6], atol=0.01)
        assert_allclose(peaks['x_center'], [9.8, 30.45, 25.1], atol=0.01)
        assert np.all(np.diff(peaks['probability']) < 0)

    def test_plateau_gives_one_peak(self):
        probability = np.zeros((9, 9))
        probability[2:5, 3:6] = 0.7
        peaks = find_peaks(probability)
        assert_array_equal(peaks[['y', 'x']].tolist(), [(3, 4)])
        assert_allclose(peaks['probability'], 0.7)

    def test_plateau_beside_higher_ground_gives_none(self):
        probability = np.zeros((5, 9))
        probability[2, 2:6] = 0.5
        probability[2, 6] = 0.6
        peaks = find_peaks(probability)
        assert_array_equal(peaks[['y', 'x']].tolist(), [(2, 6)])

    def test_border_and_corner_count(self):
        probability = np.zeros((6, 7))
        probability[0, 0], probability[3, 6], probability[5, 2] = 0.9, 0.8, 0.7
        peaks = find_peaks(probability)
        assert_array_equal(peaks[['y', 'x']].tolist(), [(0, 0), (3, 6), (5, 2)])
        assert peaks['y_center'][0] == 0
        assert peaks['x_center'][1] == 6

    def test_masked_peak_is_dropped_and_does_not_hide_its_neighbour(self):
        probability = np.full((7, 7), 0.01)
        probability[3, 3], probability[3, 4] = 0.9, 0.4
        mask = np.zeros((7, 7), dtype=bool)
        mask[3, 3] = True
        peaks = find_peaks(probability, mask, min_probability=0.1)
        assert_array_equal(peaks[['y', 'x']].tolist(), [(3, 4)])
        assert peaks['x_center'][0] == 4

    def test_nan_is_masked(self):
        probability = np.full((5, 5), np.nan)
        assert len(find_peaks(probability)) == 0
        probability[2, 2] = 0.5
        assert len(find_peaks(probability)) == 1

    def test_minimum(self):
        probability = blob((9, 9), 4, 4, 1, 0.3)
        assert len(find_peaks(probability, None, 0.3)) == 1
        assert len(find_peaks(probability, None, 0.31)) == 0
        assert len(find_peaks(np.zeros((9, 9)))) == 0

    def test_all_masked_and_one_pixel(self):
        assert len(find_peaks(np.ones((3, 3)), np.ones((3, 3), dtype=bool))) == 0
        assert len(find_peaks(np.ones((1, 1)))) == 1

    def test_against_brute_force(self):
        rng = np.random.default_rng(5)
        probability = rng.integers(1, 60, (25, 31)) / 100
        padded = np.pad(probability, 1)
        strict = {
            (y, x)
            for y in range(25)
            for x in range(31)
            if np.sum(padded[y : y + 3, x : x + 3] >= probability[y, x]) == 1
        }
        found = {(int(p['y']), int(p['x'])) for p in find_peaks(probability)}
        assert strict <= found
        for y, x in found - strict:  # only plateaus are left
            window = padded[y : y + 3, x : x + 3]
            assert window.max() == probability[y, x]
            assert np.sum(window == probability[y, x]) > 1


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

    def test_peak_on_a_bare_slope_keeps_its_label(self):
        shape = (60, 60)
        source = blob(shape, 30, 30, 10, 50)
        probability = np.maximum(
            blob(shape, 30, 30, 1, 0.9), blob(shape, 30, 42, 1, 0.8)
        )
        result = segment(source, probability, 1.0, threshold=0.5)
        assert result.n_labels == 2
        assert result.data[30, 42] != result.data[30, 30] == result.data[30, 50]

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


class TestCatalog:
    @pytest.fixture
    def inputs(self, scene):
        source, probability, _ = scene
        rng = np.random.default_rng(0)
        data = source + rng.normal(0, 1, source.shape)
        segmentation = segment(source, probability, 1.0, threshold=0.5)
        rms = np.ones(source.shape)
        return data, segmentation, source, probability, rms

    @pytest.fixture
    def result(self, inputs):
        data, segmentation, source, probability, rms = inputs
        return catalog(
            data, segmentation, source=source, probability=probability,
            background_rms=rms,
        )  # fmt: skip

    def test_fluxes_come_from_the_data(self, inputs, result):
        data, segmentation, *_ = inputs
        sums = [data[segmentation.data == k].sum() for k in segmentation.labels]
        assert_allclose(result.segment_flux, sums)
        assert_allclose(result.segment_flux_err, np.sqrt(segmentation.areas))

    def test_detection_probability_column(self, inputs, result, scene):
        _, segmentation, _, probability, _ = inputs
        centers = np.array(scene[2])
        expected = np.zeros(6)
        expected[segmentation.data[*centers.T]] = probability[*centers.T]
        assert_allclose(result.detection_probability, expected[1:])
        assert 'detection_probability' in result.to_table().colnames
        assert result[2].detection_probability == result.detection_probability[2]

    def test_positions_are_finite_also_without_light(self, inputs):
        data, segmentation, source, probability, rms = inputs
        data = data.copy()
        data[28:33, 68:73] = -1.0
        source = np.where(source < 0.5, 0.0, source)
        result = catalog(
            data, segmentation, source=source, probability=probability,
            background_rms=rms,
        )  # fmt: skip
        faint = segmentation.data[30, 70] - 1
        assert np.isfinite(result.centroid).all()
        assert_allclose(result.centroid[faint], (70, 30), atol=0.05)
        assert result.segment_flux[faint] == -5

    def test_windowed_positions(self, inputs, result, scene):
        _, segmentation, *_ = inputs
        table = result.to_table()
        at = table.colnames.index('y_centroid') + 1
        assert table.colnames[at : at + 2] == ['x_centroid_win', 'y_centroid_win']
        star = segmentation.data[10, 12] - 1
        windowed = table['x_centroid_win'][star], table['y_centroid_win'][star]
        assert_allclose(windowed, (12, 10), atol=0.06)  # noise: 0.017
        single = result[star]
        assert (single.x_centroid_win, single.y_centroid_win) == windowed

    def test_probability_of_a_segment_without_a_peak(self, inputs):
        """The flank of a neighbour's peak has its highest pixel."""
        data, segmentation, source, probability, rms = inputs
        probability = np.broadcast_to(np.arange(1.0, 91.0) / 100, data.shape)
        result = catalog(
            data, segmentation, source=source, probability=probability,
            background_rms=rms,
        )  # fmt: skip
        for number, label in enumerate(segmentation.labels):
            x = np.nonzero(segmentation.data == label)[1].max()
            assert_allclose(result.detection_probability[number], (x + 1) / 100)

    def test_window_is_that_of_the_denoised_core(self):
        """A halo makes no window wider, and neither does noise."""
        y, x = np.mgrid[:60, :120]
        distance = np.hypot(y - 30.3, x - 30.4), np.hypot(y - 30.3, x - 90.4)
        core, wide = (np.exp(-4 * np.log(2) * (r / 3.0) ** 2) for r in distance)
        halo = np.exp(-4 * np.log(2) * (distance[1] / 15.0) ** 2)
        source = 100 * core + 100 * wide + 2 * halo
        data = source + np.random.default_rng(3).normal(0, 5, source.shape)
        segmentation = SegmentationImage(
            (distance[0] < 8).astype(int) + 2 * (distance[1] < 8)
        )
        result = catalog(
            data, segmentation, source=source, probability=core + wide,
            background_rms=np.full(data.shape, 5.0),
        )  # fmt: skip
        assert_allclose(result.window_radius, 1.15 * 1.5, rtol=0.02)
        # The noise of a position is 0.06 px at least.
        expected = [(30.4, 30.3), (90.4, 30.3)]
        assert_allclose(result.centroid_win, expected, atol=0.2)

    def test_window_of_a_source_without_a_core(self, inputs):
        """On the border there is no width: it gets that of the others."""
        y, x = np.mgrid[:40, :80]
        stars = [
            100 * np.exp(-4 * np.log(2) * ((y - 20) ** 2 + (x - x0) ** 2) / fwhm**2)
            for x0, fwhm in ((0, 3), (30, 3), (60, 4))
        ]
        borders = sum(k * (star > 5) for k, star in enumerate(stars, start=1))
        result = catalog(
            sum(stars), SegmentationImage(borders), source=sum(stars),
            probability=sum(stars) / 101, background_rms=np.ones(x.shape),
        )  # fmt: skip
        assert_allclose(
            result.window_radius, 1.15 * np.array([1.75, 1.5, 2]), rtol=1e-3
        )
        data, segmentation, source, _, rms = inputs
        # nothing to measure at all: the isophotal centroid
        none = catalog(
            data, segmentation, source=np.ones_like(source), probability=rms,
            background_rms=rms,
        )  # fmt: skip
        assert np.isnan(none.window_radius).all()
        assert_array_equal(none.centroid_win, none.centroid)

    def test_windowed_positions_are_finite(self, inputs):
        data, segmentation, source, probability, rms = inputs
        data = data.copy()
        data[22:39, 62:79] = 0.0
        kwargs = {
            'source': source, 'probability': probability, 'background_rms': rms
        }  # fmt: skip
        result = catalog(data, segmentation, **kwargs)
        faint = segmentation.data[30, 70] - 1
        # What photutils alone gives for a source without a half-light radius.
        alone = SourceCatalog(data, segmentation)
        assert np.isnan(alone.centroid_win[faint]).all()
        assert np.isfinite(result.centroid_win).all()
        only = catalog(data, segmentation, **kwargs)[faint]
        assert_array_equal(only.centroid_win, result.centroid_win[faint])

    def test_kron_apertures_of_the_denoised_image(self, inputs):
        data, segmentation, source, probability, rms = inputs
        kwargs = {
            'source': source, 'probability': probability, 'background_rms': rms
        }  # fmt: skip
        noise = np.random.default_rng(8).normal(0, 3, data.shape)
        result = catalog(data + noise, segmentation, **kwargs)
        plain = catalog(source, segmentation, **kwargs)
        assert_array_equal(result.kron_radius, plain.kron_radius)
        assert np.all(result.kron_flux != plain.kron_flux)
        alone = SourceCatalog(data + noise, segmentation, convolved_data=source)
        assert np.any(result.kron_radius != alone.kron_radius)

    def test_pickle(self, result):
        copy = pickle.loads(pickle.dumps(result))
        assert_array_equal(copy.centroid_win, result.centroid_win)

    def test_source_noise(self, inputs):
        data, segmentation, source, probability, rms = inputs
        kwargs = {
            'source': source, 'probability': probability, 'background_rms': rms
        }  # fmt: skip
        plain = catalog(data, segmentation, **kwargs)
        noisy = catalog(data, segmentation, effective_gain=2.0, **kwargs)
        label = segmentation.data == 1
        assert_allclose(
            noisy.segment_flux_err[0],
            np.sqrt(plain.segment_flux_err[0] ** 2 + data[label].clip(0).sum() / 2),
        )

    @pytest.mark.parametrize('gain', [2.0, 2.0 * u.electron / u.adu])
    def test_units(self, inputs, gain):
        data, segmentation, source, probability, rms = inputs
        result = catalog(
            data * u.adu, segmentation, source=source * u.adu,
            probability=probability, background_rms=rms * u.adu, effective_gain=gain,
        )  # fmt: skip
        plain = catalog(
            data, segmentation, source=source, probability=probability,
            background_rms=rms, effective_gain=2.0,
        )  # fmt: skip
        assert result.segment_flux.unit == u.adu
        assert_allclose(result.segment_flux.value, plain.segment_flux)
        assert_allclose(result.segment_flux_err.value, plain.segment_flux_err)
        assert_allclose(result.centroid, plain.centroid)

    def test_mask_and_extra_arguments(self, inputs):
        data, segmentation, source, probability, rms = inputs
        mask = np.zeros(data.shape, dtype=bool)
        mask[10, 12] = True
        kwargs = {
            'source': source, 'probability': probability, 'background_rms': rms
        }  # fmt: skip
        whole = catalog(data, segmentation, **kwargs)
        result = catalog(data, segmentation, mask=mask, local_bkg_width=8, **kwargs)
        assert result.local_bkg_width == 8
        star = segmentation.data[10, 12] - 1
        assert result.area[star] == whole.area[star] - 1 * u.pix**2

    def test_foreign_segmentation_without_peaks(self, inputs):
        data, _, source, probability, rms = inputs
        labels = np.zeros(data.shape, dtype=int)
        labels[10, 14:16] = 7
        foreign = type(inputs[1])(labels)
        result = catalog(
            data, foreign, source=source, probability=probability, background_rms=rms
        )
        assert_allclose(result.detection_probability, [probability[10, 14]])
