"""Tests of the reading of images."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import (
    CCDData,
    InverseVariance,
    NDData,
    StdDevUncertainty,
    UnknownUncertainty,
    VarianceUncertainty,
)
from astropy.table import Table
from astropy.utils.exceptions import AstropyUserWarning
from astropy.utils.masked import Masked
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal

from bgrem.inputs import parse_image

VALUES = np.arange(12).reshape(3, 4) % 2
MASK = VALUES.astype(bool)


@pytest.mark.parametrize(
    ('dtype', 'expected'),
    [
        ('f2', 'f4'),
        ('f4', 'f4'),
        ('>f4', 'f4'),
        ('f8', 'f8'),
        ('>f8', 'f8'),
        ('longdouble', 'f8'),
        ('i2', 'f4'),
        ('>i2', 'f4'),
        ('u2', 'f4'),
        ('i8', 'f4'),
        ('?', 'f4'),
    ],
)
def test_dtype(dtype, expected):
    image = parse_image(VALUES.astype(dtype))
    assert image.data.dtype == np.dtype(expected)
    assert image.data.dtype.isnative
    assert image.data.flags.c_contiguous
    assert_array_equal(image.data, VALUES)
    assert image.unit is None
    assert image.mask is None
    assert not image.unusable.any()


def test_list():
    assert_array_equal(parse_image(VALUES.tolist()).data, VALUES)


def test_copies():
    """The record does not change when the caller's arrays do."""
    data, mask = np.zeros((3, 4)), np.zeros((3, 4), dtype=bool)
    image = parse_image(data, mask=mask, coverage_mask=mask)
    data += 1
    mask |= True
    assert not image.data.any()
    assert not image.unusable.any()


def test_read_only_and_strided():
    data = np.arange(48.0).reshape(6, 8)
    data.flags.writeable = False
    assert_array_equal(parse_image(data[::-2, ::2]).data, data[::-2, ::2])


@pytest.mark.parametrize(
    'data',
    [
        VALUES << u.ct,
        NDData(VALUES, unit=u.ct),
        CCDData(VALUES, unit=u.ct),
        NDData(VALUES << u.ct),
        Masked(VALUES << u.ct, mask=MASK),
    ],
    ids=['quantity', 'nddata', 'ccddata', 'nddata_of_quantity', 'masked_quantity'],
)
def test_unit(data):
    image = parse_image(data)
    assert image.unit == u.ct
    assert type(image.data) is np.ndarray
    assert_array_equal(image.data, VALUES)


@pytest.mark.parametrize(
    'data',
    [
        np.ma.MaskedArray(VALUES, mask=MASK),
        Masked(VALUES, mask=MASK),
        NDData(VALUES, mask=MASK),
        CCDData(VALUES, mask=MASK, unit=u.ct),
        NDData(np.ma.MaskedArray(VALUES, mask=MASK)),
    ],
    ids=['ma', 'masked', 'nddata', 'ccddata', 'nddata_of_ma'],
)
def test_carried_mask(data):
    """The mask of the data is added to the mask argument."""
    assert_array_equal(parse_image(data).mask, MASK)
    mask = np.zeros_like(MASK)
    mask[0, 0] = True
    both = parse_image(data, mask=mask)
    assert_array_equal(both.mask, MASK | mask)
    assert_array_equal(both.unusable, MASK | mask)


def test_wcs():
    wcs = WCS(naxis=2)
    assert parse_image(CCDData(VALUES, unit=u.ct, wcs=wcs)).wcs is not None
    assert parse_image(VALUES).wcs is None


def test_nddata_mask_off():
    data = NDData(VALUES, mask=MASK)
    assert parse_image(data, use_nddata_mask=False).mask is None


def test_no_mask():
    data = np.ma.MaskedArray(VALUES)
    image = parse_image(data, mask=np.ma.nomask, coverage_mask=np.ma.nomask)
    assert image.mask is None
    assert image.coverage_mask is None


def test_unusable():
    data = np.array([[np.nan, 1.0, np.inf, 1.0]])
    mask = np.array([[False, True, False, False]])
    image = parse_image(data, coverage_mask=mask)
    assert image.coverage_mask.dtype == bool
    assert_array_equal(image.unusable, [[True, True, True, False]])


def test_beyond_double():
    data = np.array([[np.finfo('longdouble').max, 1]])
    if data.dtype.itemsize <= 8:
        pytest.skip('there is nothing wider than float64 here')
    assert_array_equal(parse_image(data).unusable, [[True, False]])


@pytest.mark.parametrize(
    'data', [VALUES * 1j, VALUES.astype(str), [[None]], 'image.fits']
)
def test_not_real(data):
    with pytest.raises(TypeError, match='data must be an array of real numbers'):
        parse_image(data)


@pytest.mark.parametrize(
    ('data', 'got'),
    [
        ('image.fits', "the name 'image.fits': read the file, as by CCDData.read"),
        (Path('image.fits'), "the name 'image.fits': read the file"),
        (fits.ImageHDU(VALUES), 'the HDU itself (ImageHDU): give its .data'),
        (
            fits.HDUList(
                [
                    fits.PrimaryHDU(),
                    fits.ImageHDU(np.zeros((4, 6)), name='SCI'),
                    fits.BinTableHDU(),
                    fits.ImageHDU(np.zeros((2, 3, 5))),
                ]
            ),
            'a whole FITS file (HDUList), give one of its images: [1].data (SCI, '
            '(4, 6)), [3].data ((2, 3, 5))',
        ),
        (
            fits.HDUList([fits.PrimaryHDU()]),
            'a whole FITS file (HDUList), with no image',
        ),
        ([[None]], 'dtype object'),
        (Table([[1.0]], names=['flux']), 'Table of dtype'),
    ],
)
def test_files_are_not_read(data, got):
    """What is given for an image, an error or an exposure is named, with a way out."""
    for name in ('data', 'error', 'exposure'):
        match = re.escape(f'{name} must be an array of real numbers, got {got}')
        with pytest.raises(TypeError, match=match):
            parse_image(**{'data': VALUES, name: data})


@pytest.mark.parametrize('name', ['mask', 'coverage_mask'])
@pytest.mark.parametrize(
    ('mask', 'got'),
    [
        ('bad.fits', "the name 'bad.fits': read the file"),
        (fits.ImageHDU(VALUES), 'the HDU itself (ImageHDU): give its .data'),
        ([[None]], 'dtype object'),
        ([['yes']], 'dtype <U3'),
    ],
)
def test_no_mask_at_all(name, mask, got):
    match = re.escape(f'{name} must be a boolean array, got {got}')
    with pytest.raises(TypeError, match=match):
        parse_image(VALUES, **{name: mask})


def test_a_plane_of_a_cube():
    """What the message says of a cube makes an image of it."""
    cube = np.zeros((2, 3, 4, 5))
    with pytest.raises(ValueError, match=r'\(2, 3, 4, 5\): give one plane') as error:
        parse_image(cube)
    index = re.search(r'as data(\[.+\])$', str(error.value))[1]
    assert index == '[0, 0]'
    assert parse_image(cube[0, 0]).data.shape == (4, 5)


def test_a_plane_of_colors():
    with pytest.raises(ValueError, match=r'one plane, as data\[\.\.\., 0\]'):
        parse_image(np.zeros((7, 8, 3)))


def test_magnitudes():
    data = u.Magnitude(1 + VALUES, u.STmag)
    match = 'data must have a linear unit, got mag.*: there is no sky in magnitudes'
    with pytest.raises(TypeError, match=match):
        parse_image(data)
    assert parse_image(data.physical).unit == data.physical.unit
    for unit in (u.mag, u.dex, u.dB):
        for one in (VALUES * unit, CCDData(VALUES, unit=unit)):
            with pytest.raises(TypeError, match='data must have a linear unit'):
                parse_image(one)


@pytest.mark.parametrize('name', ['data', 'mask', 'coverage_mask', 'error', 'exposure'])
def test_rows_of_different_lengths(name):
    given = {'data': VALUES, name: [[1, 2], [3]]}
    with pytest.raises(ValueError, match=f'^{name} must be a 2D array: .*inhomogeneo'):
        parse_image(**given)


def test_empty():
    with pytest.raises(ValueError, match='data must have at least one pixel'):
        parse_image(np.zeros((0, 5)))


@pytest.mark.parametrize('name', ['mask', 'coverage_mask'])
def test_invalid_mask(name):
    with pytest.raises(ValueError, match=f'data and {name} must have the same shape'):
        parse_image(VALUES, **{name: MASK[1:]})
    with pytest.raises(ValueError, match=f'{name} must be a 2D array, got 1'):
        parse_image(VALUES, **{name: MASK[1]})
    for dtype in (float, int):
        match = (
            f'{name} must be a boolean array, `True` at pixels to leave out, got dtype '
            f'{np.dtype(dtype)}: give {name} != 0, or {name} == 0 where 1 is good'
        )
        with pytest.raises(TypeError, match=match):
            parse_image(VALUES, **{name: MASK.astype(dtype)})


def test_integer_mask_of_nddata():
    """NDData takes flags for a mask, of which any but 0 masks."""
    image = parse_image(NDData(VALUES, mask=MASK * np.uint16(64)))
    assert image.mask.dtype == bool
    assert_array_equal(image.mask, MASK)
    with pytest.raises(TypeError, match='mask must be a boolean array, .*got dtype f'):
        parse_image(NDData(VALUES, mask=MASK.astype(float)))


ERROR = 1 + np.arange(12.0).reshape(3, 4)


def nddata(uncertainty, unit=None):
    return NDData(VALUES, uncertainty=uncertainty, unit=unit)


@pytest.mark.parametrize(
    ('data', 'options'),
    [
        (VALUES, {'error': ERROR}),
        (VALUES, {'error': ERROR.tolist()}),
        (VALUES << u.ct, {'error': ERROR}),
        (VALUES << u.Jy, {'error': 1000 * ERROR << u.mJy}),
        (VALUES << u.Jy, {'error': VarianceUncertainty(ERROR**2 << u.Jy**2)}),
        (nddata(StdDevUncertainty(ERROR)), {}),
        (nddata(VarianceUncertainty(ERROR**2)), {}),
        (nddata(InverseVariance(ERROR**-2)), {}),
        (nddata(StdDevUncertainty(1000 * ERROR, unit='mJy'), 'Jy'), {}),
        (nddata(VarianceUncertainty(1e6 * ERROR**2, unit='mJy2'), 'Jy'), {}),
        (nddata(InverseVariance(ERROR**-2), 'Jy'), {}),
        (CCDData(VALUES, unit='ct', uncertainty=VarianceUncertainty(ERROR**2)), {}),
        (nddata(StdDevUncertainty(0 * ERROR)), {'error': ERROR}),
    ],
)
def test_error(data, options):
    """Whatever form it has, it is a standard deviation in the unit of the data."""
    image = parse_image(data, **options)
    assert type(image.error) is np.ndarray
    assert image.error.dtype == image.data.dtype
    assert_allclose(image.error, ERROR, rtol=1e-6)
    assert image.mask is None or not image.mask.any()


def test_error_copies():
    error = ERROR.copy()
    image = parse_image(VALUES, error=error)
    error *= 2
    assert_allclose(image.error, ERROR)


def test_no_error():
    assert parse_image(VALUES).error is None
    data = nddata(StdDevUncertainty(ERROR))
    assert parse_image(data, use_nddata_mask=False).error is None
    with pytest.warns(AstropyUserWarning, match='UnknownUncertainty, is ignored'):
        assert parse_image(nddata(UnknownUncertainty(ERROR))).error is None


@pytest.mark.parametrize('wrong', [np.nan, np.inf, -1.0, 1e300])
@pytest.mark.parametrize('given', [None, MASK])
def test_error_masks(wrong, given):
    """What has no error is masked; 0 is the root of no counts, and no mask."""
    error = ERROR.copy()
    error[1, 2], error[0, 0] = wrong, 0
    image = parse_image(VALUES, mask=given, error=error)
    expected = np.zeros(VALUES.shape, dtype=bool) if given is None else given.copy()
    expected[1, 2] = True
    assert_array_equal(image.unusable, expected)
    assert image.error[1, 2] == image.error[0, 0] == 0


@pytest.mark.parametrize(
    'uncertainty',
    [
        InverseVariance(np.where(MASK, 0, ERROR)),
        InverseVariance(np.where(MASK, 1e-100, ERROR)),
        VarianceUncertainty(np.where(MASK, -1, ERROR)),
        StdDevUncertainty(np.where(MASK, np.nan, ERROR)),
    ],
)
def test_uncertainty_masks(uncertainty):
    """An inverse variance of zero is how surveys mark bad pixels."""
    assert_array_equal(parse_image(nddata(uncertainty)).unusable, MASK)


@pytest.mark.parametrize(
    'error', [np.ma.MaskedArray(ERROR, MASK), Masked(ERROR, mask=MASK)]
)
def test_masked_error(error):
    assert_array_equal(parse_image(VALUES, error=error).unusable, MASK)


@pytest.mark.parametrize(
    ('data', 'error', 'kind', 'message'),
    [
        (VALUES, ERROR[:2], ValueError, r'same shape, got \(3, 4\) and \(2, 4\)'),
        (VALUES, 3.0, ValueError, 'must be a 2D array, got the number 3.0'),
        (VALUES, 0 * ERROR, ValueError, 'positive and finite'),
        (VALUES, np.nan * ERROR, ValueError, 'positive and finite'),
        (VALUES, ERROR + 1j, TypeError, 'real numbers, got dtype complex128'),
        (VALUES, ERROR << u.ct, u.UnitConversionError, 'in ct, they have no unit'),
        (VALUES << u.Jy, ERROR << u.ct, u.UnitConversionError, 'they are in Jy'),
    ],
)
def test_bad_error(data, error, kind, message):
    with pytest.raises(kind, match=message):
        parse_image(data, error=error)


@pytest.mark.parametrize('name', ['data', 'mask', 'coverage_mask', 'error', 'exposure'])
@pytest.mark.parametrize(
    ('value', 'got'),
    [
        (np.float64(2.5), 'the number 2.5'),
        (np.ones(4), '1 dimension'),
        (np.ones((3, 9, 9)), r'.*the shape \(3, 9, 9\): give one plane, as {}\[0\]'),
        (
            np.ones((9, 9, 3)),
            r'.*the shape \(9, 9, 3\): give one plane, as {}\[..., 0\]',
        ),
    ],
)
def test_not_2d(name, value, got):
    """Each name is told what was given, and what to give instead of a cube."""
    options = {'data': np.ones((9, 9)), name: value}
    match = f'^{name} must be a 2D array, got {got.format(name)}'
    with pytest.raises(ValueError, match=match):
        parse_image(**options)


class Map:
    """What a map of gammapy has."""

    def __init__(self, data, unit='', wcs=None):
        self.data, self.unit = np.asarray(data), u.Unit(unit)
        self.geom = SimpleNamespace(wcs=wcs)


@pytest.mark.parametrize('axes', [(), (1,), (1, 1)])
def test_map(axes):
    """An energy axis of one bin is none; the unit and the WCS are the map's."""
    wcs = WCS(naxis=2)
    known = np.arange(12.0).reshape(3, 4)
    image = parse_image(Map(known.reshape(*axes, 3, 4), 'cm-2 s-1', wcs))
    assert_array_equal(image.data, known)
    assert image.unit == u.Unit('cm-2 s-1')
    assert image.wcs is wcs
    assert parse_image(Map(known)).unit is None


@pytest.mark.parametrize('shape', [(2, 3, 4), (1, 2, 3, 4), (2, 1, 3, 4)])
def test_map_of_more_bins(shape):
    with pytest.raises(ValueError, match='data must be a 2D array, got'):
        parse_image(Map(np.ones(shape)))


@pytest.mark.parametrize('wrong', [0.0, -1.0, np.nan, np.inf, -np.inf])
def test_exposure_masks(wrong):
    """Where there is none; elsewhere it is as it was given."""
    exposure = np.arange(1.0, 13).reshape(3, 4)
    exposure[1, 2] = wrong
    before = exposure.copy()
    for given in (exposure, exposure << u.cm**2, Map(exposure[np.newaxis], 'cm2')):
        image = parse_image(np.ones((3, 4)), exposure=given)
        expected = np.where(exposure == exposure[1, 2], 0, exposure)
        expected[1, 2] = 0
        assert_array_equal(image.exposure, expected)
        assert_array_equal(image.mask, image.exposure == 0)
        assert image.exposure_unit == (None if given is exposure else u.cm**2)
    assert_array_equal(exposure, before)


@pytest.mark.parametrize('form', [np.ma.MaskedArray, Masked, NDData, CCDData])
def test_masks_and_units_of_what_comes_with_the_data(form):
    """Of an error, an exposure and a mask, as of the data."""
    values, unit = np.arange(1.0, 13).reshape(3, 4), None
    options = {'mask': MASK}
    if form is CCDData:
        options['unit'] = unit = u.Unit(1000 * u.ct)
    given = form(values, **options)
    image = parse_image(np.ones((3, 4)) * u.ct, error=given)
    factor = 1 if unit is None else 1000
    assert_allclose(image.error, np.where(MASK, 0, factor * values))
    assert_array_equal(image.mask, MASK)
    image = parse_image(np.ones((3, 4)), exposure=given)
    assert_array_equal(image.exposure, np.where(MASK, 0, values))
    assert_array_equal(image.mask, MASK)
    assert image.exposure_unit == unit
    # what is masked in a mask is not known to be good
    options = {} if unit is None else {'unit': ''}
    given = form(values > 8, mask=MASK, **options)
    image = parse_image(np.ones((3, 4)), mask=given, coverage_mask=given)
    assert_array_equal(image.mask, MASK | (values > 8))
    assert_array_equal(image.coverage_mask, image.mask)


def test_nddata_of_a_masked_array_without_a_mask():
    """Its mask is one False."""
    nddata = NDData(np.ma.MaskedArray(1.0 + VALUES))
    assert nddata.mask is np.ma.nomask
    assert not parse_image(nddata).mask.any()
    assert parse_image(VALUES, error=nddata).error.all()
    assert parse_image(VALUES, exposure=nddata).exposure.all()


@pytest.mark.parametrize('name', ['data', 'mask', 'error', 'exposure'])
def test_nddata_with_a_mask_of_another_shape(name):
    given = {'data': VALUES, name: NDData(VALUES + 1, mask=MASK[1:])}
    with pytest.raises(ValueError, match='data and mask must have the same shape'):
        parse_image(**given)


@pytest.mark.parametrize('seed', range(3))
def test_all_masks_are_one(seed):
    """A pixel is unusable if anything says so."""
    rng = np.random.default_rng(seed)
    masks = rng.random((5, 6, 7)) < 0.2
    given, carried, coverage, wrong, lost = masks
    data = np.where(lost, np.nan, 1.0)
    error, exposure = np.where(wrong, np.nan, 1.0), np.ones((6, 7))
    exposure[2, 3] = 0
    image = parse_image(
        np.ma.array(data, mask=carried),
        mask=given,
        coverage_mask=coverage,
        error=error,
        exposure=exposure,
    )
    expected = np.logical_or.reduce(masks)
    expected[2, 3] = True
    assert_array_equal(image.unusable, expected)
    assert_array_equal(image.coverage_mask, coverage)
    without_nan = given | carried | wrong
    without_nan[2, 3] = True
    assert_array_equal(image.mask, without_nan)


@pytest.mark.parametrize(
    'kind', [StdDevUncertainty, VarianceUncertainty, InverseVariance]
)
@pytest.mark.parametrize('unit', [None, u.mJy])
def test_kinds_of_uncertainty_are_one(kind, unit):
    """A variance is the square, in the square of the unit."""
    error = np.arange(1.0, 13).reshape(3, 4)
    power = {StdDevUncertainty: 1, VarianceUncertainty: 2, InverseVariance: -2}[kind]
    values = error**power if unit is None else (error << unit) ** power
    image = parse_image(np.ones((3, 4)) << u.Jy, error=kind(values))
    assert_allclose(image.error, error if unit is None else error / 1000)
    assert image.mask is None or not image.mask.any()
