"""Tests of the catalogs and the NDData of a background object."""

from itertools import pairwise

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData, NDData, StdDevUncertainty, VarianceUncertainty
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal
from photutils.segmentation import SegmentationImage
from scipy import ndimage

from bgrem import DiffusionBackground, decode_detection_flags

SHAPE = (110, 130)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]
PLACES = [(20.3, 25.0), (30.8, 90.1), (60.0, 50.4), (85.5, 100.7), (90.2, 20.6)]
FLUX = np.array([2000.0, 1000.0, 4000.0, 1500.0, 3000.0])
SIGMA, NOISE, SKY = 1.4, 3.0, 200.0


def paint(flux):
    return sum(
        f * np.exp(-((Y - y) ** 2 + (X - x) ** 2) / (2 * SIGMA**2))
        for f, (y, x) in zip(flux / (2 * np.pi * SIGMA**2), PLACES, strict=True)
    )


@pytest.fixture(scope='module')
def data():
    return SKY + paint(FLUX) + np.random.default_rng(6).normal(0, NOISE, SHAPE)


@pytest.fixture(scope='module')
def bkg(data):
    return DiffusionBackground(data, 32)


@pytest.fixture(scope='module')
def segments(bkg):
    return bkg.detect()


@pytest.fixture
def wcs():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = 'RA---TAN', 'DEC--TAN'
    wcs.wcs.crval = 10, -20
    wcs.wcs.crpix = 50, 50
    wcs.wcs.cdelt = -1e-4, 1e-4
    return wcs


def test_segments_of_a_resampled_image(data, bkg, segments):
    """They are as large on the sky, whoever makes them."""
    assert bkg._covariance is None
    fine = DiffusionBackground(ndimage.zoom(data, 2, mode='nearest'), 64)
    assert fine._covariance is not None
    found = fine.detect()
    area = np.prod(found.shape) / np.prod(SHAPE)
    assert found.n_labels == segments.n_labels
    assert_allclose(found.areas.sum() / area, segments.areas.sum(), rtol=0.15)
    assert_array_equal(fine.detection_mask(), found.data > 0)
    # the finder has a network of one step
    table = fine.finder()(fine.subtract())
    assert_allclose(table['flux'], fine.catalog(found).segment_flux, rtol=0.01)


def pulls(catalog):
    return [
        (catalog[name] - truth) / catalog[f'{name}_err']
        for name, truth in zip('yx', np.transpose(PLACES), strict=True)
    ]


class TestCatalog:
    def test_positions(self, bkg, segments):
        table = bkg.catalog(segments).to_table()
        assert np.abs(pulls(table)).max() < 4
        assert_array_equal(table['label'], np.arange(1, 6))
        assert_array_equal(table['detection_flags'], 0)
        assert_allclose(table['background_mean'], SKY, atol=1)
        assert 'local_background' not in table.colnames
        table = bkg.catalog(segments, local_bkg_width=8).to_table()
        assert_allclose(table['local_background'], 0, atol=1.5)

    def test_saturation(self, bkg, segments, data):
        """At the level that is given, sky and all."""
        catalog = bkg.catalog(segments, saturation=SKY + 250)
        expected = [data[segments.data == k].max() >= SKY + 250 for k in range(1, 6)]
        assert 0 < sum(expected) < 5
        decoded = decode_detection_flags(catalog.detection_flags)
        assert ['saturated' in names for names in decoded] == expected
        with pytest.raises(
            u.UnitConversionError, match='saturation must have the unit of the data'
        ):
            bkg.catalog(segments, saturation=3 * u.Jy)

    def test_segments_of_the_caller(self, bkg):
        """The highest peak in each, or else the centroid, and a flag."""
        labels = np.zeros(SHAPE, dtype=int)
        labels[50:70, 40:60] = 1
        labels[54:58, 70:76] = 2
        probability = bkg.detection_probability
        probability[54:58, 70:80] = np.arange(10) / 10  # no peak in the second
        bkg = _with_probability(bkg, probability)
        catalog = bkg.catalog(SegmentationImage(labels))
        assert_allclose([catalog.y[0], catalog.x[0]], PLACES[2], atol=0.1)
        first, second = decode_detection_flags(catalog.detection_flags)
        assert 'no_peak' not in first
        assert 'no_peak' in second
        assert_array_equal([catalog.x[1], catalog.y[1]], catalog.centroid[1])

    def test_probability_that_the_check_corrects(self, bkg, segments):
        probability = np.minimum(bkg.detection_probability, 0.6)
        other = _with_probability(bkg, probability)
        other.__dict__['_false_discovery'] = {'log_odds_shift': -0.8}
        flags = decode_detection_flags(other.catalog(segments).detection_flags)
        assert all('probability_corrected' in names for names in flags)


class TestOptions:
    """What another option changes, and what it does not."""

    def test_two_ways_to_a_catalogue(self, bkg):
        """Of the segments that are detected, given or not."""
        for options in ({'threshold': 0.9}, {'false_discovery_rate': 0.2}):
            segments = bkg.detect(**options)
            given, own = bkg.catalog(segments).to_table(), bkg.catalog(**options)
            mask = bkg.detection_mask(**options)
            assert_array_equal(segments.data > 0, mask)
            for name, values in own.to_table().items():
                assert_array_equal(given[name], values, err_msg=name)

    def test_more_with_a_higher_rate(self, bkg):
        masks = [bkg.detection_mask(false_discovery_rate=r) for r in (0.01, 0.1, 0.5)]
        for smaller, larger in pairwise(masks):
            assert not np.any(smaller & ~larger)
        assert bkg.detection_mask(threshold=0).sum() > masks[0].sum()
        assert not bkg.detection_mask(threshold=1).any()

    def test_nothing_that_is_returned_is_shared(self, bkg):
        for get in (
            lambda: bkg.detection_probability,
            lambda: bkg.detection_mask(threshold=0.9),
            lambda: bkg.detect(threshold=0.9).data,
        ):
            first = get()
            before = first.copy()
            first[:] = 0
            assert_array_equal(get(), before)

    def test_magnitudes(self, bkg, segments):
        one, two = (bkg.catalog(segments, zero_point=z) for z in (25.0, 22.5))
        assert_allclose(one.kron_mag - two.kron_mag, 2.5)
        expected = 25 - 2.5 * np.log10(one.kron_flux)
        assert_allclose(one.kron_mag, expected)
        assert 'kron_mag' not in bkg.catalog(segments).to_table().colnames

    def test_photon_noise(self, bkg, segments):
        """The fewer electrons there are, the more of it; the fluxes stay."""
        plain = bkg.catalog(segments)
        errors = [plain.kron_flux_err]
        for gain in (100.0, 1.0, 0.1):
            found = bkg.catalog(segments, effective_gain=gain)
            assert_array_equal(found.kron_flux, plain.kron_flux)
            errors.append(found.kron_flux_err)
        assert np.all(np.diff(errors, axis=0) > 0)
        each = bkg.catalog(segments, effective_gain=np.full(SHAPE, 0.1))
        assert_allclose(each.kron_flux_err, errors[-1], rtol=1e-6)

    def test_total_error(self, bkg, segments):
        error = bkg.background_rms
        plain = bkg.catalog(segments)
        found = bkg.catalog(segments, error=2 * error)
        assert_allclose(found.kron_flux_err, 2 * plain.kron_flux_err, rtol=1e-5)
        assert_allclose(found.snr, plain.snr / 2, rtol=1e-5)
        assert_array_equal(found.kron_flux, plain.kron_flux)

    @pytest.mark.parametrize('unknown', [X >= 65, X >= 0])
    def test_error_that_is_not_known(self, bkg, data, red, segments, unknown):
        """Where it is 0 it is the noise of the sky, in another image too."""
        rms = bkg.background_rms
        expected = bkg.catalog(segments)
        error = np.where(unknown, 0, rms)
        error[0, 0] = rms[0, 0]
        carried = DiffusionBackground(data, 32, error=error)
        assert_allclose(carried.to_nddata().uncertainty.array, rms, rtol=0.02)
        for catalog in (bkg.catalog(segments, error=error), carried.catalog(segments)):
            for name in ('kron_flux_err', 'segment_flux_err', 'x_err'):
                values = getattr(catalog, name)
                assert_allclose(values, getattr(expected, name), rtol=0.02)
        rms = red.background_rms
        error = np.where(unknown, 0, rms)
        error[0, 0] = rms[0, 0]
        expected = bkg.catalog(segments, data=red)
        found = bkg.catalog(segments, data=red, error=error)
        assert_allclose(found.kron_flux_err, expected.kron_flux_err, rtol=1e-6)
        # of an array there is no other
        found = bkg.catalog(segments, data=red.subtract(), error=error)
        is_hidden = np.isnan(found.segment_flux_err)
        assert_array_equal(
            is_hidden, [unknown[segments.data == k].any() for k in segments.labels]
        )

    def test_circles(self, bkg, segments):
        """One column for each radius, more light in a larger one."""
        found = bkg.catalog(segments, aperture_radii=(1.0, 2.0, 2.5))
        flux = [found.to_table()[f'aperture_{k}_flux'] for k in (1, 2, 3)]
        assert np.all(np.diff(flux, axis=0) > 0)
        assert_allclose(flux[2], found.circular_photometry(2.5)[0])

    @pytest.mark.parametrize(
        ('options', 'error', 'match'),
        [
            ({'mask': np.zeros(SHAPE, bool)}, TypeError, 'mask must be given to Diff'),
            (
                {'saturation': np.nan},
                ValueError,
                'saturation must be a number, got nan',
            ),
            ({'saturation': 'high'}, TypeError, 'saturation must be a number'),
            ({'threshold': 2}, ValueError, 'threshold must be between 0 and 1'),
            ({'false_discovery_rate': 0}, ValueError, 'false_discovery_rate must be'),
        ],
    )
    def test_refused(self, bkg, options, error, match):
        with pytest.raises(error, match=match):
            bkg.catalog(**options)


def _with_probability(bkg, probability):
    other = object.__new__(type(bkg))
    other.__dict__.update(vars(bkg))
    other.__dict__['_probability'] = probability
    return other


@pytest.fixture(scope='module')
def red():
    """The same stars, three times as bright, on another sky, with its own noise."""
    noise = np.random.default_rng(7).normal(0, 2.0, SHAPE)
    return DiffusionBackground(50 + 0.2 * X + 3 * paint(FLUX) + noise, 32)


class TestAnotherImage:
    def test_background(self, bkg, red, segments):
        """It knows its own sky and noise."""
        one, other = bkg.catalog(segments), bkg.catalog(segments, data=red)
        assert_allclose(other.kron_flux / one.kron_flux, 3, rtol=0.12)
        ratio = other.kron_flux_err / one.kron_flux_err
        assert_allclose(ratio, 2 / NOISE, rtol=0.15)
        assert_allclose(other.background_mean, 50 + 0.2 * other.x, atol=1.5)
        for name in ('x', 'y', 'x_err', 'kron_radius', 'orientation'):
            assert_array_equal(getattr(one, name), getattr(other, name))
        bright = bkg.catalog(segments, data=red, effective_gain=1.0)
        assert np.all(bright.kron_flux_err > 1.5 * other.kron_flux_err)

    def test_trail(self, bkg, red, data, segments):
        """The flag is of the image in which the light of the trail is."""
        crossed = DiffusionBackground(data + 60 * np.exp(-((Y - 60) ** 2) / 4), 32)
        on_trail = np.abs(bkg.catalog(segments).y - 60) < 5
        assert on_trail.any()
        for one, other, expected in (
            (bkg, crossed, on_trail),
            (crossed, red, np.zeros_like(on_trail)),
        ):
            flags = one.catalog(segments, data=other).detection_flags
            assert_array_equal(flags & 1024 > 0, expected)

    def test_array(self, bkg, red, segments):
        """As it is: the sky is off, and errors are those that are given."""
        values, rms = red.subtract(), red.background_rms
        expected = bkg.catalog(segments, data=red)
        for options in (
            {'data': values, 'error': rms},
            {'data': NDData(values, uncertainty=StdDevUncertainty(rms))},
            {'data': NDData(values, uncertainty=VarianceUncertainty(rms**2))},
        ):
            found = bkg.catalog(segments, **options)
            assert_allclose(found.kron_flux, expected.kron_flux)
            assert_allclose(found.kron_flux_err, expected.kron_flux_err, rtol=1e-5)
        plain = bkg.catalog(segments, data=values)
        assert np.isnan(plain.snr).all()
        assert 'background_mean' not in plain.to_table().colnames

    def test_unit_and_mask(self, bkg, red, segments):
        values = np.ma.masked_array(red.subtract(), np.zeros(SHAPE, dtype=bool))
        values.mask[20, 25] = True
        found = bkg.catalog(segments, data=values)
        full = bkg.catalog(segments, data=red.subtract())
        assert found.kron_flux[0] < 0.95 * full.kron_flux[0]
        assert_array_equal(found.kron_flux[1:], full.kron_flux[1:])
        # it is the flux that lacks a pixel
        changed = found.detection_flags - full.detection_flags
        assert decode_detection_flags(changed[0]) == ['masked_pixels']
        assert not changed[1:].any()
        found = bkg.catalog(segments, data=red.subtract() << u.Jy, zero_point=8.9)
        assert found.kron_flux.unit == u.Jy
        assert_allclose(found.kron_mag, found.kron_flux.to_value(u.ABmag), atol=1e-6)

    def test_background_with_a_unit(self, bkg, red, segments):
        """The other image can have a unit that this one has not."""
        other = DiffusionBackground((red.subtract() + red.background) << u.Jy, 32)
        found = bkg.catalog(segments, data=other)
        plain = bkg.catalog(segments, data=red)
        assert found.background_mean.unit == found.kron_flux.unit == u.Jy
        assert_allclose(found.kron_flux.value, plain.kron_flux, rtol=0.02)
        assert_array_equal(found.half_light_radius, plain.half_light_radius)

    def test_sky_that_is_still_there(self, bkg, segments, data):
        match = r'the median of data outside the sources is 200\.?\d*: the sky of an'
        with pytest.warns(AstropyUserWarning, match=match):
            bkg.catalog(segments, data=data)

    def test_bad_input(self, bkg, red, segments):
        with pytest.raises(ValueError, match=r'data must have the shape of the image'):
            bkg.catalog(segments, data=np.zeros((5, 6)))
        values, rms = red.subtract(), red.background_rms
        with pytest.raises(ValueError, match='effective_gain needs the noise'):
            bkg.catalog(segments, data=values, effective_gain=2.0)
        with pytest.raises(ValueError, match='effective_gain must be None'):
            bkg.catalog(segments, data=values, error=rms, effective_gain=2.0)


class TestNDData:
    def test_array(self, bkg):
        nddata = bkg.to_nddata()
        assert type(nddata) is NDData
        assert_array_equal(nddata.data, bkg.subtract())
        assert_array_equal(nddata.uncertainty.array, bkg.background_rms)
        assert isinstance(nddata.uncertainty, StdDevUncertainty)
        assert not nddata.mask.any()
        nddata.mask[:] = True
        nddata.data[:] = 0
        assert not bkg.to_nddata().mask.any()

    def test_ccddata(self, data, wcs):
        """All that came with the image goes with it."""
        mask = np.zeros(SHAPE, dtype=bool)
        mask[3, 4] = True
        error = np.sqrt(NOISE**2 + paint(FLUX))
        ccd = CCDData(
            data, unit='adu', wcs=wcs, mask=mask, meta={'FILTER': 'r'},
            uncertainty=VarianceUncertainty(error**2),
        )  # fmt: skip
        bkg = DiffusionBackground(ccd, 32)
        found = bkg.to_nddata()
        assert type(found) is CCDData
        assert found.unit == u.adu
        assert found.wcs is wcs
        assert found.header['FILTER'] == 'r'
        assert_array_equal(found.mask, mask)
        known = ~mask
        assert_allclose(found.uncertainty.array[known], error[known], rtol=1e-6)
        assert_array_equal(found.data, bkg.subtract().value)
        found.header['FILTER'] = 'g'
        assert bkg.to_nddata().header['FILTER'] == 'r'
        assert ccd.header['FILTER'] == 'r'
        # and back again
        again = DiffusionBackground(found, 32)
        assert_allclose(again.background.value, 0, atol=1)
