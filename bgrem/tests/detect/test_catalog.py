"""Tests of bgrem.detect.catalog."""

import pickle
import re

import numpy as np
import pytest
from astropy import units as u
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal
from photutils.segmentation import SegmentationImage, SourceCatalog

from bgrem.detect.catalog import catalog
from bgrem.detect.segments import segment


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

    def test_is_photutils_own(self, inputs, result):
        """Whatever the version: shapes of the denoised image, fluxes of the data."""
        data, segmentation, source, probability, rms = inputs
        shapes = SourceCatalog(source + 1e-3 * probability, segmentation)
        alone = SourceCatalog(data, segmentation, error=rms, detection_catalog=shapes)
        names = ['centroid', 'covariance', 'kron_radius', 'kron_flux', 'kron_flux_err']
        names += ['segment_flux', 'segment_flux_err', 'fwhm']
        for name in names:
            ours, theirs = (np.array(getattr(one, name)) for one in (result, alone))
            assert_allclose(ours, theirs, rtol=1e-6, equal_nan=False)
        assert_allclose(result.flux_radius(0.5), alone.flux_radius(0.5), rtol=1e-6)

    def test_overrides_no_private_name(self, result):
        own = set(vars(type(result))) & set(dir(SourceCatalog))
        assert {name for name in own if re.match('_[^_]', name)} == set()

    def test_options_reach_the_shapes(self, inputs):
        data, segmentation, source, probability, rms = inputs
        kwargs = {
            'source': source, 'probability': probability, 'background_rms': rms
        }  # fmt: skip
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = 'RA---TAN', 'DEC--TAN'
        wcs.wcs.crpix = 40, 40
        wcs.wcs.cdelt = -1e-4, 1e-4
        options = {'kron_params': (2.0, 1.4), 'aperture_mask_method': 'mask'}
        result = catalog(data, segmentation, wcs=wcs, **options, **kwargs)
        for name, value in options.items():
            assert getattr(result, name) == value
        expected = wcs.pixel_to_world(result.x_centroid_win, result.y_centroid_win)
        assert np.all(result.sky_centroid_win.separation(expected) < 1e-9 * u.deg)
        # the shapes of another catalogue, of all of the data, instead
        other = SourceCatalog(data, segmentation)
        result = catalog(data, segmentation, detection_catalog=other, **kwargs)
        assert_array_equal(result.centroid, other.centroid)
        assert not hasattr(other, 'window_centroid')

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

    @pytest.mark.parametrize('unit', [u.adu, u.electron, u.ct])
    @pytest.mark.parametrize('gain', [4.0, np.full((190, 200), 4.0)])
    def test_gain_of_large_image(self, unit, gain):
        """Above 256 KiB numpy uses temporary arrays again, which have no unit."""
        star = np.zeros((190, 200))
        star[90:93, 80:83] = 900
        result = catalog(
            star << unit,
            SegmentationImage((star > 0).astype(int)),
            source=star << unit,
            probability=star / 1000,
            background_rms=np.ones(star.shape) << unit,
            effective_gain=gain,
        )
        expected = np.sqrt(9 * (1 + 900 / 4)) << unit
        assert_allclose(result.segment_flux_err[0], expected)

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
