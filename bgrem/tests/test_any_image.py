"""Images of any size, and options that cannot be."""

import numpy as np
import pytest
from astropy import units as u
from astropy.stats import SigmaClip
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal

from bgrem import DiffusionBackground

SHAPE = (96, 90)
NOISE = 3.0


@pytest.fixture(scope='module')
def image():
    rng = np.random.default_rng(8)
    y, x = np.indices(SHAPE)
    data = rng.normal(100 + 0.2 * x, NOISE)
    for y0, x0 in rng.uniform(8, 82, (9, 2)):
        data += 60 * np.exp(-((y - y0) ** 2 + (x - x0) ** 2) / 5)
    return data


SIZES = [('f4', -130), ('f4', -60), ('f4', 90), ('f4', 118), ('f8', -1000), ('f8', 900)]


@pytest.mark.parametrize('box_size', ['auto', 24])
@pytest.mark.parametrize(('dtype', 'exponent'), SIZES)
def test_any_unit(image, dtype, exponent, box_size):
    """A power of two in all pixels is one in all results, also if squares overflow."""
    options = {'box_size': box_size, 'remove_stripes': True}
    plain, other = (
        DiffusionBackground(np.ldexp(image.astype(dtype), power), **options)
        for power in (0, exponent)
    )
    # the least float32 have few bits left
    rtol = 1e-2 if exponent < -125 and dtype == 'f4' else 1e-5
    for name in ('background', 'background_rms', 'background_uncertainty', 'source'):
        first, second = (getattr(one, name).astype(float) for one in (plain, other))
        second = np.ldexp(second, -exponent)
        atol = rtol * np.abs(first).max()
        assert_allclose(second, first, rtol=rtol, atol=atol, err_msg=name)
    away = other.detection_probability - plain.detection_probability
    assert np.abs(away).max() < (0.05 if rtol > 1e-3 else 1e-3)
    assert other.detect(threshold=0.5).n_labels == 9
    assert np.all(other.background_rms > 0)


@pytest.mark.parametrize('exponent', [-60, 90])
def test_catalog_of_any_unit(image, exponent):
    """Squares of fluxes that float32 cannot hold are taken in double precision."""
    plain, other = (
        DiffusionBackground(np.ldexp(image.astype('f4'), power) << u.Jy)
        for power in (0, exponent)
    )
    tables = [one.catalog(threshold=0.5).to_table() for one in (plain, other)]
    for name in ('kron_flux', 'kron_flux_err', 'aperture_2_flux'):
        first, second = (table[name].value for table in tables)
        assert_allclose(np.ldexp(second.astype(float), -exponent), first, rtol=1e-4)
    assert_allclose(tables[1]['x'], tables[0]['x'], atol=1e-3)
    with pytest.warns(AstropyUserWarning, match='median of data outside the sources'):
        other.catalog(threshold=0.5, data=np.ldexp(image, exponent) << u.Jy)
    found = other.finder(threshold=0.5)(np.ldexp(image, exponent) << u.Jy)
    assert len(found) == 9
    expected = plain.finder(threshold=0.5)(image << u.Jy)['flux']
    assert_allclose(np.ldexp(found['flux'].value, -exponent), expected.value, rtol=1e-4)


@pytest.mark.parametrize('exponent', [-700, 700])
def test_no_catalog_of_what_cannot_be_squared(image, exponent):
    bkg = DiffusionBackground(np.ldexp(image, exponent))
    assert bkg.detect(threshold=0.5).n_labels == 9
    with pytest.raises(ValueError, match='cannot be squared.*use another unit'):
        bkg.catalog(threshold=0.5)


def test_options_in_the_unit_of_the_data(image):
    """Error, normalization and filter_threshold go with the unit."""
    error = np.full(SHAPE, NOISE)
    results = []
    for power in (0, 90):
        bkg = DiffusionBackground(
            np.ldexp(image, power),
            16,
            error=np.ldexp(error, power),
            normalization=np.ldexp(1 / NOISE, -power),
            filter_threshold=np.ldexp(110.0, power),
            coverage_mask=np.arange(SHAPE[1]) + np.zeros(SHAPE) < 20,
            fill_value=-7.0,
        )
        assert bkg.filter_threshold == np.ldexp(110.0, power)
        assert bkg.meta['normalization'] == np.ldexp(1 / NOISE, -power)
        assert_array_equal(bkg.background[:, :20], -7)
        results.append(np.ldexp(bkg.background[:, 20:], -power))
    assert_allclose(results[1], results[0], rtol=1e-6)


@pytest.mark.parametrize('value', [1e37, -3e38])
def test_wild_pixel(image, value):
    """One pixel whose square is infinite is no measurement, and harms no other."""
    data = image.astype('f4')
    data[40, 50] = value
    bad = np.zeros(SHAPE, dtype=bool)
    bad[40, 50] = True
    found, expected = DiffusionBackground(data), DiffusionBackground(image, mask=bad)
    assert_allclose(found.background, expected.background, rtol=1e-4)
    assert_allclose(found.background_rms, expected.background_rms, rtol=1e-3)
    assert found.to_nddata().mask[40, 50]


@pytest.mark.parametrize('ratio', [3e5, 1e6, 4e6])
def test_high_sky_of_float32(image, ratio):
    """Noise of a few steps of float32 is noise."""
    data = (image + ratio * NOISE).astype('f4')
    bkg = DiffusionBackground(data)
    expected = DiffusionBackground(image)
    assert_allclose(bkg.background_rms, expected.background_rms, rtol=0.15)
    sky = bkg.background.astype(float) - ratio * NOISE
    assert np.abs(sky - expected.background).max() < 0.5 * NOISE
    assert bkg.detect(threshold=0.5).n_labels == 9


def test_noise_below_float32():
    """Where float32 has rounded the noise away this is said."""
    data = np.random.default_rng(1).normal(1e9, 20, SHAPE)
    with pytest.warns(AstropyUserWarning, match='no noise is seen: float32 rounds'):
        DiffusionBackground(data.astype('f4'))
    bkg = DiffusionBackground(data)
    assert_allclose(bkg.background_rms, 20, rtol=0.1)


@pytest.mark.parametrize(
    'box_size', [np.int8(24), np.int16(24), np.array([24, 24], 'i1')]
)
def test_box_size_of_any_integer(image, box_size):
    bkg = DiffusionBackground(image, box_size)
    assert_array_equal(bkg.background, DiffusionBackground(image, 24).background)


def test_sky_stays_within_the_data():
    """Straight on beyond the outer boxes, but not beyond all that was measured."""
    y, x = np.indices((72, 76))
    data = 1.0 + (x + y) % 2
    data[:, :30] = 65535
    bkg = DiffusionBackground(data.astype('f4'), coverage_mask=y < 9, fill_value=-5)
    assert_array_equal(bkg.background[:9], -5)
    assert bkg.background[9:].min() >= 1
    assert bkg.background[9:].max() <= 65535


WRONG_OPTIONS = [
    ('box_size', None), ('box_size', (5, 'a')), ('filter_size', 'a'),
    ('exclude_percentile', 'a'), ('exclude_percentile', (1, 2)),
    ('filter_threshold', 'a'), ('fill_value', 'a'), ('fill_value', None),
    ('sigma_clip', 3), ('sigma_clip', SigmaClip), ('bkg_estimator', 'a'),
    ('bkg_rms_estimator', 3), ('normalization', {}),
    ('normalization', np.ones(SHAPE, complex)),
]  # fmt: skip


@pytest.mark.parametrize(('name', 'value'), WRONG_OPTIONS)
def test_wrong_type_is_named(image, name, value):
    with pytest.raises(TypeError, match=f'{name} must be'):
        DiffusionBackground(image, **{name: value})


@pytest.mark.parametrize('value', [{}, np.ones(SHAPE, complex)])
def test_wrong_factor_of_huge_data(image, value):
    """They are computed in another unit."""
    with pytest.raises(TypeError, match='normalization must be'):
        DiffusionBackground(1e130 * image.astype(float), normalization=value)


@pytest.fixture(scope='module')
def bkg(image):
    return DiffusionBackground(image)


WRONG_CALLS = [
    ('detect', 'threshold', 'a', TypeError),
    ('detect', 'false_discovery_rate', None, TypeError),
    ('detect', 'n_pixels', 'a', TypeError),
    ('finder', 'threshold', (1, 2), TypeError),
    ('catalog', 'zero_point', 'a', TypeError),
    ('catalog', 'zero_point', np.nan, ValueError),
    ('catalog', 'aperture_radii', 3, TypeError),
    ('catalog', 'aperture_radii', 'a', TypeError),
    ('catalog', 'aperture_radii', (-1, 2), ValueError),
    ('catalog', 'aperture_radii', (np.inf,), ValueError),
    ('catalog', 'aperture_radii', [1, 2] * u.arcsec, u.UnitConversionError),
    ('catalog', 'mask', np.zeros((2, 2), bool), TypeError),
    ('catalog', 'effective_gain', 'a', TypeError),
    ('catalog', 'effective_gain', np.nan, ValueError),
    ('catalog', 'saturation', 'a', TypeError),
    ('catalog', 'saturation', np.nan, ValueError),
    ('catalog', 'saturation', 1 * u.kpc, u.UnitConversionError),
    ('catalog', 'wcs', 3, TypeError),
]


@pytest.mark.parametrize(('method', 'name', 'value', 'error'), WRONG_CALLS)
def test_wrong_value_is_named(bkg, method, name, value, error):
    """Whether or not anything is detected."""
    with pytest.raises(error, match=f'{name} must'):
        getattr(bkg, method)(**{name: value})


def make_wcs(ctypes):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ctypes
    wcs.wcs.crpix = [45, 45]
    wcs.wcs.cdelt = [-1e-4, 1e-4]
    return wcs


def test_wcs_without_a_sky(bkg):
    """The table has no place for coordinates that are none of the sky."""
    table = bkg.catalog(threshold=0.5, wcs=make_wcs(['LINEAR', 'LINEAR'])).to_table()
    assert 'ra' not in table.colnames
    assert len(table) == 9


def test_wcs_that_fails(bkg):
    with pytest.warns(AstropyUserWarning, match='the WCS cannot be used'):
        table = bkg.catalog(threshold=0.5, wcs=make_wcs(['MALN-TAN', 'MALT-TAN']))
    assert table.n_labels == 9


def test_gain_of_a_scaled_unit(image):
    """The error has the unit of the data, whatever astropy makes of the root."""
    plain, other = (
        DiffusionBackground(image << u.Unit(unit)).catalog(
            threshold=0.5, effective_gain=2.0
        )
        for unit in ('Jy', 'nJy')
    )
    assert other.kron_flux_err.unit == u.nJy
    assert_allclose(other.kron_flux_err.value, plain.kron_flux_err.value, rtol=1e-6)


def test_finder_gives_every_source_a_place(image, bkg):
    """Also a segment in which the probability has no peak of its own."""
    found = bkg.finder(threshold=0.002, n_pixels=1)(image)
    assert len(found) > 20
    assert np.isfinite(found['x']).all()
    assert np.isfinite(found['y']).all()


def test_negative_sky_in_steps_of_float32():
    """Steps of rounding are no counts, which cannot be negative."""
    data = np.random.default_rng(2).normal(-12800, 0.002, SHAPE).astype('f4')
    for box_size in ('auto', 16):
        sky = DiffusionBackground(data, box_size).background
        assert_allclose(sky, -12800, atol=0.002)


def test_trend_stays_within_the_data():
    x = np.indices((80, 80))[1]
    data = np.random.default_rng(3).normal(50 * x, 1)
    mask = x > 20
    bkg = DiffusionBackground(data, 16, mask=mask, exclude_percentile=100)
    assert bkg.background.max() <= data[~mask].max()


@pytest.mark.parametrize('fill_value', [np.nan, -5.0, 1e30])
def test_catalog_beside_a_fill_value(image, fill_value):
    """What stands for no coverage is no noise."""
    uncovered = np.zeros(SHAPE, dtype=bool)
    uncovered[:, :4] = True
    options = {'coverage_mask': uncovered, 'fill_value': fill_value}
    table = DiffusionBackground(image, **options).catalog(threshold=0.5).to_table()
    expected = DiffusionBackground(image, mask=uncovered).catalog(threshold=0.5)
    assert_allclose(table['kron_flux'], expected.kron_flux, rtol=1e-5)


def test_factor_of_another_image(image):
    with pytest.raises(ValueError, match='normalization must be about one over'):
        DiffusionBackground(1e-18 * image, normalization=1e-2)
