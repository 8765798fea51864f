"""Tests of the reading of images."""

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData, NDData
from astropy.utils.masked import Masked
from astropy.wcs import WCS
from numpy.testing import assert_array_equal

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


@pytest.mark.parametrize(
    'data', [VALUES * 1j, VALUES.astype(str), [[None]], 'image.fits']
)
def test_not_real(data):
    with pytest.raises(TypeError, match='data must be an array of real numbers'):
        parse_image(data)


@pytest.mark.parametrize('shape', [(), (4,), (2, 3, 4)])
def test_not_2d(shape):
    match = f'data must be a 2D array, got {len(shape)} dimensions'
    with pytest.raises(ValueError, match=match):
        parse_image(np.zeros(shape))


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
        match = f'{name} must be a boolean array, got dtype {np.dtype(dtype)}'
        with pytest.raises(TypeError, match=match):
            parse_image(VALUES, **{name: MASK.astype(dtype)})


def test_integer_mask_of_nddata():
    """NDData takes flags for a mask, of which any but 0 masks."""
    image = parse_image(NDData(VALUES, mask=MASK * np.uint16(64)))
    assert image.mask.dtype == bool
    assert_array_equal(image.mask, MASK)
    with pytest.raises(TypeError, match='mask must be a boolean array, got dtype f'):
        parse_image(NDData(VALUES, mask=MASK.astype(float)))
