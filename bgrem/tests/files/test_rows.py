"""Tests of images that are read by rows."""

import numpy as np
import pytest
from astropy.io import fits

from bgrem.files.io import read_images, read_mask
from bgrem.files.rows import open_mask, open_rows


@pytest.mark.parametrize('telescope', ['JWST', 'Palomar'])
@pytest.mark.parametrize('bits', [None, 5])
def test_mask_as_in_memory(telescope, bits, tmp_path):
    """Of the data quality of JWST only DO_NOT_USE masks, unless bits are given."""
    flags = np.array([[0, 1, 4], [8, 12, 3]], np.uint8)
    hdus = [
        fits.PrimaryHDU(header=fits.Header({'TELESCOP': telescope})),
        fits.ImageHDU(np.ones((2, 3), 'f4'), name='SCI'),
        fits.ImageHDU(flags, name='DQ'),
    ]
    fits.HDUList(hdus).writeto(tmp_path / 'in.fits')
    (rows,) = open_rows(tmp_path / 'in.fits', folder=tmp_path)
    (image,) = read_images(tmp_path / 'in.fits')
    assert (rows.image.unit, rows.image.wcs) == (image.unit, image.wcs) == (None, None)
    options = {'bits': bits, 'image': image}
    expected = read_mask(tmp_path / 'in.fits', 'DQ', **options)
    mask = open_mask(tmp_path / 'in.fits', 'DQ', rows.image, bits=bits, folder=tmp_path)
    np.testing.assert_array_equal(mask[0:2], expected)
    assert expected.any()
    assert not expected.all()
    mask.close()
    rows.close()
