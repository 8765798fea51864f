"""Tests of masks, errors and weights beside an image."""

import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_array_equal

from bgrem.files.side_maps import parse_bits, read_mask, read_weight

SHAPE = (7, 9)
RAMP = np.arange(63, dtype=np.float32).reshape(SHAPE)


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'image.fits'


def test_mask(path):
    data = np.zeros(SHAPE, np.float32)
    data[1, 2], data[3, 4] = 4, np.nan
    fits.writeto(path, data)
    mask = read_mask(path)
    assert mask.dtype == bool
    assert_array_equal(np.argwhere(mask), [[1, 2], [3, 4]])


def test_bits_of_a_mask(path):
    fits.writeto(path, RAMP.astype(np.int16))
    assert_array_equal(read_mask(path), RAMP > 0)
    assert_array_equal(read_mask(path, bits=parse_bits('4')), RAMP.astype(int) & 4 > 0)
    assert_array_equal(
        read_mask(path, bits=parse_bits('1,16')), RAMP.astype(int) & 17 > 0
    )
    assert_array_equal(
        read_mask(path, bits=parse_bits('~1')), RAMP.astype(int) & ~1 != 0
    )
    with pytest.raises(ValueError, match="bits must be powers of two .* got 'hot'"):
        parse_bits('hot')


@pytest.mark.parametrize('dtype', ['uint8', 'int32', 'uint32', 'float32'])
def test_bits_of_every_type(path, dtype):
    fits.writeto(path, RAMP.astype(dtype))
    assert_array_equal(read_mask(path, bits=2), RAMP.astype(int) & 2 > 0)


def test_information_of_jwst_does_not_mask(path):
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(RAMP.astype(np.uint32), name='DQ')]
    hdus[0].header['TELESCOP'] = 'JWST'
    fits.HDUList(hdus).writeto(path)
    assert_array_equal(read_mask(path, 'DQ'), RAMP % 2 == 1)


def test_weights(path):
    values = RAMP - 1
    values[0, 5] = np.nan
    fits.writeto(path, values)
    weight = read_weight(path)
    assert_array_equal(weight[0, [0, 1, 2, 5]], [0, 0, 1, 0])
    fits.writeto(path, values * 0, overwrite=True)
    with pytest.raises(ValueError, match=r'weights of .*image\.fits must be positive'):
        read_weight(path)
