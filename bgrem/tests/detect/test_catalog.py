"""Tests of bgrem.detect.catalog."""

import pickle
import re

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal
from photutils.aperture import CircularAperture, aperture_photometry
from photutils.segmentation import SegmentationImage, SourceCatalog

from bgrem.detect.batches import Catalog
from bgrem.detect.catalog import catalog, check_options
from bgrem.detect.segments import segment


@pytest.mark.parametrize(
    'radii', [(1, 2.5), [1, 2.5] * u.pix, (1 * u.pix, 2.5 * u.pix)]
)
def test_radii_in_pixels(radii):
    assert check_options(None, radii, None, None)[1] == [1, 2.5]


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

    def test_patch_without_noise(self, scene):
        """Every source has a position, also where there is neither light nor noise."""
        source, probability, _ = scene
        rms = np.ones_like(source)
        rms[60:, 60:] = 0
        source[60:, 60:] = 0
        probability[70, 75] = 0.9
        segments = segment(source, probability, rms, threshold=0.5)
        table = catalog(
            source,
            segments,
            source=source,
            probability=probability,
            background_rms=rms,
        ).to_table()
        row = table[segments.labels == segments.data[70, 75]]
        assert_allclose([row['x_centroid'], row['y_centroid']], [[75], [70]], atol=0.01)

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

    def test_first_columns(self, inputs, result, scene):
        """Label, position, error: of the peak, refined on the data."""
        _, segmentation, *_ = inputs
        table = result.to_table()
        assert table.colnames[:5] == ['label', 'x', 'y', 'x_err', 'y_err']
        star = segmentation.data[10, 12] - 1
        assert_allclose((table['x'][star], table['y'][star]), (12, 10), atol=0.06)
        assert_allclose(table['x_err'][star], 0.017, rtol=0.2)  # the noise of it
        single = result[star]
        assert (single.x, single.y) == (table['x'][star], table['y'][star])

    @pytest.mark.parametrize(('radii', 'expected'), [(None, 3), ((2.0,), 3)])
    def test_each_circle_once(self, inputs, monkeypatch, radii, expected):
        data, segmentation, source, probability, rms = inputs
        circles = []
        measure = Catalog.circular_photometry

        def counted(self, radius, *args, **options):
            circles.append(radius)
            return measure(self, radius, *args, **options)

        monkeypatch.setattr(Catalog, 'circular_photometry', counted)
        catalog(
            data, segmentation, source=source, probability=probability,
            background_rms=rms, aperture_radii=radii,
        )  # fmt: skip
        assert len(set(circles)) == len(circles) == expected

    def test_rows_in_reading_order(self, result, scene):
        expected = sorted(scene[2])
        assert_array_equal(result.labels, np.arange(1, 6))
        assert_array_equal(result.bbox_ymin, np.sort(result.bbox_ymin))
        assert_allclose(np.sort(result.y), [y for y, _ in expected], atol=0.6)

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

    def test_apertures_at_the_positions(self, inputs, result):
        """Kron and circles are about x, y; the centroid is still photutils'."""
        data, segmentation, source, probability, rms = inputs
        alone = SourceCatalog(np.maximum(source, 0) + 1e-3 * probability, segmentation)
        assert_allclose(result.x_centroid, alone.x_centroid, rtol=1e-6)
        scale = {'rtol': 1e-5, 'atol': 1e-5}
        assert_allclose(result.moments_central, alone.moments_central, **scale)
        place = np.column_stack([result.x, result.y])
        assert np.abs(place - result.centroid).max() > 0.05
        for apertures in (
            result.kron_aperture,
            result.make_kron_apertures(),
            result.make_circular_apertures(3),
        ):
            assert_array_equal([one.positions for one in apertures], place)
        flux, error = result.circular_photometry(3.0, name='three')
        sums = aperture_photometry(data, CircularAperture(place[0], 3.0), error=rms)
        # of the first source, which is alone
        assert_allclose(flux[0], sums['aperture_sum'][0])
        assert_array_equal(result.three_flux, flux)
        assert_array_equal(result[1:3].three_flux_err, error[1:3])
        half = result.flux_radius(0.5, name='half')
        assert_array_equal(result.half, half)
        expected, _ = result.kron_photometry((2.5, 1.4))
        assert_allclose(result.kron_flux, expected)

    def test_slices(self, inputs, result):
        """A part of a catalog measures what the whole one does."""
        names = ['kron_flux', 'kron_radius', 'x', 'snr', 'aperture_2_flux', 'fwhm']
        part, single = result[[4, 1]], result[2]
        fresh = catalog(
            *inputs[:2],
            source=inputs[2],
            probability=inputs[3],
            background_rms=inputs[4],
        )[[4, 1]]
        for name in names:
            values = getattr(result, name)
            assert_array_equal(getattr(part, name), values[[4, 1]])
            assert_array_equal(getattr(fresh, name), values[[4, 1]])
            assert_array_equal(getattr(single, name), values[2])
        assert len(single.to_table()) == 1
        assert_array_equal(part.kron_aperture[0].positions, [part.x[0], part.y[0]])
        assert_array_equal(result.select_label(3).kron_flux, result.kron_flux[2])

    def test_properties_that_are_removed_and_renamed(self, result):
        """Their columns are so, too."""
        result = result[:]
        names, x = result.to_table().colnames, result.x
        result.rename_property('x', 'column')
        result.remove_property('snr')
        for one in (result, result[:2]):
            expected = [name if name != 'x' else 'column' for name in names]
            expected.remove('snr')
            table = one.to_table()
            assert table.colnames == expected
            assert_array_equal(table['column'], x[: len(table)])

    def test_signal_to_noise(self, result):
        assert_allclose(result.snr, result.kron_flux / result.kron_flux_err)

    def test_fluxes_in_apertures(self, inputs, result):
        """By default three circles, in FWHM of the image; or those that are given."""
        data, segmentation, source, probability, rms = inputs
        radii = [getattr(result, f'aperture_{k}_radius')[0].value for k in (1, 2, 3)]
        assert_allclose(np.divide(radii, radii[1]), [0.5, 1, 1.5])
        kwargs = {
            'source': source, 'probability': probability, 'background_rms': rms
        }  # fmt: skip
        other = catalog(data, segmentation, aperture_radii=(2, 5), **kwargs)
        assert_array_equal(other.aperture_2_radius, 5 * u.pix)
        for number, radius in ((1, 2), (2, 5)):
            flux, error = other.circular_photometry(radius)
            assert_array_equal(getattr(other, f'aperture_{number}_flux'), flux)
            assert_array_equal(getattr(other, f'aperture_{number}_flux_err'), error)
        assert not hasattr(other, 'aperture_3_flux')

    def test_magnitudes(self, inputs):
        data, segmentation, source, probability, rms = inputs
        data = data.copy()
        data[22:39, 62:79] = -1.0
        result = catalog(
            data, segmentation, source=source, probability=probability,
            background_rms=rms, zero_point=25.0,
        )  # fmt: skip
        table = result.to_table()
        assert sum(name.endswith('_mag') for name in table.colnames) == 4
        positive = result.kron_flux > 0
        assert positive.sum() == 4
        expected = 25 - 2.5 * np.log10(result.kron_flux[positive])
        assert_allclose(result.kron_mag[positive], expected)
        assert_allclose(
            result.kron_mag_err[positive], 1.0857 / result.snr[positive], 1e-4
        )
        assert np.isnan(result.kron_mag[~positive]).all()
        assert np.isnan(result.kron_mag_err[~positive]).all()
        is_flagged = result.detection_flags & 256 > 0
        assert_array_equal(is_flagged, ~positive)

    def test_another_image(self, inputs, result):
        """The same apertures on another image: its fluxes, the positions of this."""
        data, segmentation, source, probability, rms = inputs
        kwargs = {
            'source': source, 'probability': probability, 'background_rms': rms
        }  # fmt: skip
        mask = np.zeros(data.shape, dtype=bool)
        other = catalog(
            data,
            segmentation,
            measured=(2 * data << u.Jy, 3 * rms << u.Jy, mask),
            **kwargs,
        )
        assert_allclose(other.kron_flux.value, 2 * result.kron_flux)
        assert_allclose(other.kron_flux_err.value, 3 * result.kron_flux_err)
        assert other.aperture_1_flux.unit == u.Jy
        for name in ('x', 'x_err', 'centroid', 'kron_radius', 'concentration'):
            assert_array_equal(getattr(other, name), getattr(result, name))
        # nothing is known of its errors
        other = catalog(data, segmentation, measured=(data, None, None), **kwargs)
        assert np.isnan(other.snr).all()
        assert_array_equal(other.kron_flux, result.kron_flux)

    def test_concentration_of_stars_and_galaxies(self):
        """One for stars, whatever the flux; less for what is wider."""
        y, x = np.mgrid[:160, :160]
        source = np.zeros(x.shape)
        places = [(y0, x0) for y0 in range(20, 150, 40) for x0 in range(20, 150, 40)]
        probability = np.full(x.shape, 1e-4)
        for k, (y0, x0) in enumerate(places):
            fwhm = 3.0 if k % 4 else 4.0
            variance = (fwhm / 2.3548) ** 2
            r2 = (y - y0 - 0.2) ** 2 + (x - x0) ** 2
            source += 3000 * (1 + k) * np.exp(-r2 / 2 / variance) / variance
            probability[y0, x0] = 0.999
        segmentation = segment(source, probability, 1.0, threshold=0.5)
        result = catalog(
            source, segmentation, source=source, probability=probability,
            background_rms=np.ones(x.shape),
        )  # fmt: skip
        is_star = np.array([k % 4 > 0 for k in range(16)])
        is_star = is_star[np.lexsort((result.x, np.round(result.y)))]
        assert_allclose(result.concentration[is_star], 1, atol=0.05)
        assert np.all(result.concentration[~is_star] < 0.8)
        assert np.all(result.concentration_err < 0.01)

    def test_sky_coordinates_are_icrs(self, inputs):
        data, segmentation, source, probability, rms = inputs
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = 'GLON-TAN', 'GLAT-TAN'
        wcs.wcs.crval = 120, 30
        wcs.wcs.crpix = 40, 40
        wcs.wcs.cdelt = -1e-4, 1e-4
        result = catalog(
            data, segmentation, source=source, probability=probability,
            background_rms=rms, wcs=wcs,
        )  # fmt: skip
        table = result.to_table()
        assert table.colnames[5:7] == ['ra', 'dec']
        sky = SkyCoord(table['ra'], table['dec'])
        expected = wcs.pixel_to_world(result.x, result.y)
        assert np.all(sky.separation(expected) < 1e-6 * u.arcsec)
        assert result.sky_centroid.frame.name == 'galactic'
        assert abs(result[0].ra - table['ra'][0]) < 1e-9 * u.deg

    def test_kron_apertures_of_the_denoised_image(self, inputs):
        data, segmentation, source, probability, rms = inputs
        kwargs = {
            'source': source, 'probability': probability, 'background_rms': rms
        }  # fmt: skip
        noise = np.random.default_rng(8).normal(0, 3, data.shape)
        result = catalog(data + noise, segmentation, **kwargs)
        plain = catalog(data, segmentation, **kwargs)
        assert_allclose(result.kron_radius, plain.kron_radius, rtol=0.05)
        assert np.all(result.kron_flux != plain.kron_flux)
        alone = SourceCatalog(data + noise, segmentation, convolved_data=source)
        assert np.any(result.kron_radius != alone.kron_radius)

    def test_is_photutils_own(self, inputs, result):
        """Whatever the version: shapes of the denoised image, fluxes of the data."""
        data, segmentation, source, probability, rms = inputs
        shapes = SourceCatalog(source + 1e-3 * probability, segmentation)
        alone = SourceCatalog(data, segmentation, error=rms, detection_catalog=shapes)
        names = ['centroid', 'covariance', 'bbox_xmin', 'area', 'semimajor_axis']
        names += ['segment_flux', 'segment_flux_err', 'fwhm', 'local_background']
        for name in names:
            ours, theirs = (np.array(getattr(one, name)) for one in (result, alone))
            assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9, equal_nan=False)
        assert set(alone.properties) == set(result.properties)

    def test_overrides_no_private_name(self, result):
        own = set(vars(type(result))) & set(dir(SourceCatalog))
        private = {name for name in own if re.match('_[^_]', name)}
        # photutils' own lists of what a class has
        assert {name for name in private if not name.startswith('_cached')} == set()

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
        # the shapes of another catalog, of all of the data, instead
        other = SourceCatalog(data, segmentation)
        result = catalog(data, segmentation, detection_catalog=other, **kwargs)
        assert_array_equal(result.centroid, other.centroid)
        assert_array_equal(result.kron_aperture[0].positions, other.centroid[0])

    def test_pickle(self, result):
        copy = pickle.loads(pickle.dumps(result))
        assert_array_equal(copy.kron_flux, result.kron_flux)
        assert_array_equal(copy.x, result.x)

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
