"""Tests of reading FITS images."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal

from bgrem.files.io import read_image
from bgrem.files.opening import open_fits
from bgrem.files.side_maps import read_mask

SHAPE = (7, 9)
RAMP = np.arange(63, dtype=np.float32).reshape(SHAPE)


def make_wcs():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = [4.5, 3.5]
    wcs.wcs.cdelt = [-1e-4, 1e-4]
    return wcs


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'image.fits'


def test_simple_image(path):
    header = make_wcs().to_header()
    header['BUNIT'] = 'MJy/sr'
    header['OBJECT'] = 'M 31'
    fits.writeto(path, RAMP, header)
    image = read_image(path)
    assert_array_equal(image.data, RAMP)
    assert image.data.dtype == np.float32
    assert image.data.dtype.isnative
    assert image.hdu == '0'
    assert image.header['OBJECT'] == 'M 31'
    assert image.primary_header is None
    assert image.unit == u.MJy / u.sr
    assert image.wcs.pixel_n_dim == 2
    assert_allclose(image.wcs.wcs_pix2world([[4.5, 3.5]], 1), [[150.0, 2.0]])
    assert read_image(str(path)).path == Path(path)


def test_file_is_closed_and_not_changed(path):
    fits.writeto(path, RAMP)
    before = path.read_bytes()
    image = read_image(path)
    image.data[:] = -1
    assert path.read_bytes() == before


def test_no_wcs_no_unit(path):
    fits.writeto(path, RAMP)
    image = read_image(path)
    assert image.wcs is None
    assert image.unit is None


def test_unusable_wcs_is_reported(path):
    header = make_wcs().to_header()
    header['CTYPE1'] = 'RA---XYZ'
    fits.writeto(path, RAMP, header)
    with pytest.warns(AstropyUserWarning, match='the WCS of .* cannot be used'):
        image = read_image(path)
    assert image.wcs is None
    assert_array_equal(image.data, RAMP)


@pytest.mark.parametrize(
    ('text', 'unit'),
    [
        ('adu', u.adu),
        ('ADU', u.adu),
        ('ELECTRONS', u.electron),
        ('electron/s', u.electron / u.s),
        ('ELECTRONS/S', u.electron / u.s),
        ('e-/s', u.electron / u.s),
        ('COUNTS', u.count),
        ('COUNTS/S', u.count / u.s),
        ('cps', u.count / u.s),
        ('DN/S', u.DN / u.s),
        ('Jy/beam', u.Jy / u.beam),
        ('JY/BEAM', u.Jy / u.beam),
        ('mJy/beam', u.mJy / u.beam),
        ('MJY/SR', u.MJy / u.sr),
        ('nanomaggies', u.Unit('nmgy')),
        ('PHOTONS/S/CM2', u.photon / u.s / u.cm**2),
        ('1e-17 erg/s/cm2/Angstrom', 1e-17 * u.erg / u.s / u.cm**2 / u.AA),
        ('', None),
    ],
)
def test_units(path, text, unit):
    fits.writeto(path, RAMP, fits.Header({'BUNIT': text}))
    assert read_image(path).unit == unit


@pytest.mark.parametrize('text', ['who knows', 'mag(AB)', 'mag', 3, '1/0', '(('])
def test_units_that_are_not_understood(path, text):
    fits.writeto(path, RAMP, fits.Header({'BUNIT': text}))
    with pytest.warns(AstropyUserWarning, match=r'BUNIT = .* of .* is not understood'):
        assert read_image(path).unit is None


@pytest.mark.parametrize('dtype', ['u1', 'i2', 'i4', 'i8', 'f4', 'f8'])
def test_types_without_scaling_are_kept(path, dtype):
    fits.writeto(path, RAMP.astype(dtype))
    image = read_image(path)
    assert_array_equal(image.data, RAMP)
    assert image.data.dtype == np.dtype(dtype)


@pytest.mark.parametrize('dtype', ['u2', 'u4', 'i1'])
def test_pseudo_integers(path, dtype):
    data = RAMP.astype(dtype)
    data[0, 0] = np.iinfo(dtype).max
    fits.writeto(path, data)
    assert 'BZERO' in fits.getheader(path)
    image = read_image(path)
    assert image.data.dtype.kind == 'f'
    assert_array_equal(image.data, data.astype(float))


def test_scaled_int16_with_blank(path):
    stored = np.arange(63, dtype=np.int16).reshape(SHAPE)
    stored[2, 3] = -32768
    hdu = fits.PrimaryHDU(stored)
    hdu.header['BLANK'] = -32768
    hdu.writeto(path)
    with fits.open(path, mode='update', do_not_scale_image_data=True) as hdus:
        hdus[0].header['BSCALE'] = 0.5
        hdus[0].header['BZERO'] = 100.0
    image = read_image(path)
    expected = 100 + 0.5 * stored
    expected[2, 3] = np.nan
    assert_allclose(image.data, expected)


@pytest.mark.parametrize('bzero', [0, 32768])
def test_blank_of_integers(path, bzero):
    stored = np.arange(63, dtype=np.int16).reshape(SHAPE)
    stored[2, 3] = -32768
    hdu = fits.PrimaryHDU(stored)
    hdu.header['BLANK'] = -32768
    hdu.writeto(path)
    with fits.open(path, mode='update', do_not_scale_image_data=True) as hdus:
        if bzero:
            hdus[0].header['BZERO'] = bzero
    data = read_image(path).data
    assert np.isnan(data[2, 3])
    assert np.isnan(data).sum() == 1
    assert data[2, 4] == bzero + 22


def make_mef(path):
    primary = fits.PrimaryHDU()
    primary.header['TELESCOP'] = 'T80'
    hdus = [
        primary,
        fits.BinTableHDU.from_columns([fits.Column('a', 'E', array=[1.0])]),
        fits.ImageHDU(np.zeros(5, np.float32), name='LINE'),
        fits.ImageHDU(np.zeros((3, *SHAPE), np.float32), name='CUBE'),
        fits.ImageHDU(RAMP, name='SCI', ver=1),
        fits.ImageHDU(RAMP + 1, name='SCI', ver=2),
        fits.CompImageHDU((RAMP + 2).astype(np.int32), name='PACKED'),
    ]
    fits.HDUList(hdus).writeto(path)


def test_default_hdu_is_the_first_2d_image(path):
    make_mef(path)
    image = read_image(path)
    assert image.hdu == 'SCI,1'
    assert_array_equal(image.data, RAMP)
    assert image.primary_header['TELESCOP'] == 'T80'
    assert image.header['EXTNAME'] == 'SCI'


@pytest.mark.parametrize(
    ('hdu', 'offset'),
    [(4, 0), ('4', 0), ('SCI', 0), ('sci', 0), ('SCI,2', 1), ('PACKED', 2), (-1, 2)],
)
def test_choosing_the_hdu(path, hdu, offset):
    make_mef(path)
    assert_array_equal(read_image(path, hdu).data, RAMP + offset)


@pytest.mark.parametrize(
    ('hdu', 'match'),
    [
        (9, r'has no HDU 9; it has: 0, 1, 2 \(LINE\), 3 \(CUBE\), 4 \(SCI,1\), 5'),
        ('ERR', "has no HDU 'ERR'; it has"),
        ('SCI,3', "has no HDU 'SCI,3'; it has"),
        (0, r'HDU 0 of .* must be a two-dimensional image, it is of shape \(\)'),
        (1, 'HDU 1 of .* must be a two-dimensional image, it is a table'),
        ('LINE', r'must be a two-dimensional image, it is of shape \(5,\)'),
        ('CUBE', r'must be a two-dimensional image, it is of shape \(3, 7, 9\)'),
    ],
)
def test_wrong_hdu(path, hdu, match):
    make_mef(path)
    with pytest.raises(ValueError, match=match):
        read_image(path, hdu)


@pytest.mark.parametrize('shape', [(5,), (3, 4, 5), (4, 5, 1)])
def test_no_2d_image(path, shape):
    fits.writeto(path, np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match='holds no two-dimensional image; its HDUs'):
        read_image(path)


def test_no_image_at_all(path):
    fits.PrimaryHDU().writeto(path)
    match = r'holds no two-dimensional image; its HDUs are: 0 shape \(\)'
    with pytest.raises(ValueError, match=match):
        read_image(path)


def test_image_without_pixels(path):
    hdu = fits.PrimaryHDU(np.zeros((2, 2), np.float32))
    hdu.header['NAXIS2'] = 0
    path.write_bytes(hdu.header.tostring().encode('ascii'))
    with pytest.raises(ValueError, match='holds no two-dimensional image'):
        read_image(path)


def test_degenerate_axes_are_dropped(path):
    wcs = WCS(naxis=4)
    wcs.wcs.ctype = ['RA---SIN', 'DEC--SIN', 'FREQ', 'STOKES']
    wcs.wcs.crval = [10.0, 20.0, 1.4e9, 1.0]
    fits.writeto(path, RAMP[None, None], wcs.to_header())
    image = read_image(path)
    assert_array_equal(image.data, RAMP)
    assert image.wcs.pixel_n_dim == 2
    assert_allclose(image.wcs.wcs.crval, [10, 20])


@pytest.mark.parametrize('shape', [(1, 1), (1, 8), (8, 1)])
def test_narrow_images(path, shape):
    fits.writeto(path, np.ones(shape, np.float32))
    assert read_image(path).data.shape == shape


def test_gzip(tmp_path, path):
    fits.writeto(path, RAMP)
    packed = tmp_path / 'image.fits.gz'
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert_array_equal(read_image(packed).data, RAMP)


def test_tile_compressed(tmp_path):
    header = make_wcs().to_header()
    header['BUNIT'] = 'adu'
    hdu = fits.CompImageHDU(RAMP.astype(np.int16), header)
    path = tmp_path / 'image.fits.fz'
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    image = read_image(path)
    assert image.hdu == 'COMPRESSED_IMAGE'
    assert_array_equal(image.data, RAMP)
    assert image.unit == u.adu
    assert image.wcs.has_celestial
    assert 'ZCMPTYPE' not in image.header


def test_tile_compressed_uint16(tmp_path):
    hdu = fits.CompImageHDU(RAMP.astype(np.uint16) + np.uint16(40000))
    path = tmp_path / 'image.fits.fz'
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    assert_array_equal(read_image(path).data, RAMP + 40000)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no\.fits does not exist'):
        read_image(tmp_path / 'no.fits')


@pytest.mark.parametrize('content', [b'', b'hello', b'\x89PNG' * 1000])
def test_not_fits(path, content):
    path.write_bytes(content)
    # astropy's hint at an option that nobody can set is left out
    match = r'image\.fits cannot be read as FITS: (?!.*ignore_missing_simple)'
    with pytest.raises(ValueError, match=match):
        read_image(path)


def test_folder(tmp_path):
    with pytest.raises(ValueError, match='cannot be read as FITS'):
        open_fits(tmp_path)


@pytest.mark.filterwarnings('ignore:File may have been truncated')
def test_truncated(path):
    fits.writeto(path, np.zeros((100, 100), np.float32))
    path.write_bytes(path.read_bytes()[:10000])
    with pytest.raises(ValueError, match=r'image\.fits has a damaged image, HDU 0'):
        read_image(path)


@pytest.mark.parametrize('key', ['EXTVER', 'EXTNAME'])
def test_name_that_cannot_be_parsed(path, key):
    hdu = fits.ImageHDU(RAMP, name='SCI')
    hdu.header['EXTVER'] = 1
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    content = bytearray(path.read_bytes())
    place = content.index(key.encode())
    content[place + 8 : place + 80] = b"= 'SCI".ljust(72)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf'image\.fits cannot be read.*{key}'):
        read_image(path)


@pytest.mark.parametrize('value', ["'x'", 'no value', '1E', '(1, 2)'])
def test_unreadable_size_before_an_endless_one(path, value):
    """A card that cannot be read does not hide the axes without number behind it."""
    table = fits.BinTableHDU.from_columns([fits.Column('a', 'E', array=[1.0, 2.0])])
    image = fits.ImageHDU(RAMP, name='SCI')
    fits.HDUList([fits.PrimaryHDU(), table, image]).writeto(path)
    content = bytearray(path.read_bytes())
    place = content.index(b'TFIELDS ')
    content[place + 8 : place + 80] = f'= {value}'.ljust(72).encode()
    place = content.index(b'NAXIS   ', content.index(b"'IMAGE"))
    content[place + 8 : place + 80] = f'= {2**63 - 1:20}'.ljust(72).encode()
    path.write_bytes(content)
    match = r'image\.fits cannot be read as FITS: HDU 1 cannot have TFIELDS'
    with pytest.raises(ValueError, match=match):
        read_image(path)


def test_product_is_recognised(path):
    fits.writeto(path, RAMP, fits.Header({'BGREMVER': '0.1'}))
    with pytest.warns(AstropyUserWarning, match=r'was made by bgrem 0\.1 already'):
        read_image(path)
    # Its segments are a good mask.
    assert read_mask(path).sum() == 62
