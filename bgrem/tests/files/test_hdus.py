"""Tests of which HDU of a file is meant."""

import gzip

import numpy as np
import pytest
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from numpy.testing import assert_array_equal

from bgrem.files.hdus import split_hdu
from bgrem.files.io import read_image, read_images
from bgrem.files.opening import open_fits
from bgrem.files.rows import open_map
from bgrem.files.side_maps import (
    read_error,
    read_mask,
    read_weight,
)

SHAPE = (7, 9)
RAMP = np.arange(63, dtype=np.float32).reshape(SHAPE)


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'image.fits'


def write(path, *names, **cards):
    """Write an image RAMP + number for each name, 'SCI' or 'SCI,2'."""
    hdus = [fits.PrimaryHDU()]
    for number, name in enumerate(names):
        stem, _, version = name.partition(',')
        hdu = fits.ImageHDU(RAMP + number, name=stem)
        if version:
            hdu.ver = int(version)
        hdu.header.update(cards)
        hdus.append(hdu)
    fits.HDUList(hdus).writeto(path)


@pytest.mark.parametrize(
    ('names', 'expected'),
    [
        (['SCI,1', 'ERR,1', 'DQ,1', 'SCI,2', 'ERR,2'], [0, 3]),
        (['ERR', 'DQ', 'SCI'], [2]),
        (['WHT', 'IMAGE'], [1]),
        (['VAR_POISSON', 'DATA'], [1]),
        (['CCDID 1-1.RMS', 'CCDID 1-1.SCI', 'CCDID 1-2.SCI'], [1, 2]),
        (['ccd00', 'ccd01', 'ccd11'], [0, 1, 2]),
        (['MODEL', 'SCI'], [1]),
    ],
)
def test_which_images_are_read(path, names, expected):
    write(path, *names)
    images = read_images(path)
    assert [image.data[0, 0] for image in images] == expected
    assert [image.number for image in images] == list(range(len(expected)))
    assert {image.n_images for image in images} == {len(expected)}
    assert read_image(path).data[0, 0] == expected[0]


def test_chips_of_one_detector(path):
    write(path, 'S29', 'N4', DETSEC='[1:9,1:7]')
    assert [image.hdu for image in read_images(path)] == ['S29', 'N4']


def test_images_that_are_left_out_are_named(path):
    write(path, 'A', 'B', 'ERR')
    match = 'holds more images than HDU A, which is used: B; name an HDU'
    with pytest.warns(AstropyUserWarning, match=match):
        assert len(read_images(path)) == 1


def test_errors_are_never_the_image(path):
    write(path, 'ERR', 'DQ,2')
    with pytest.raises(ValueError, match=r'holds no image but 1 \(ERR\), 2 \(DQ\)'):
        read_images(path)
    assert_array_equal(read_image(path, 'ERR').data, RAMP)


def test_names_of_images(path):
    write(path, 'SCI,1', 'SCI,2')
    assert [image.hdu for image in read_images(path)] == ['SCI,1', 'SCI,2']
    path.unlink()
    # Two with the same name and version are told apart by their number.
    write(path, 'SCI,1', 'SCI,1')
    assert [image.hdu for image in read_images(path)] == ['1', '2']


def test_plane_of_a_cube(path, tmp_path):
    cube = np.stack([RAMP, RAMP + 1, RAMP + 2])
    fits.writeto(path, cube[:, None])
    match = r'shape \(3, 1, 7, 9\); a plane of a cube can be named'
    with pytest.raises(ValueError, match=match):
        read_images(path)
    (image,) = read_images(path, plane=(2,))
    assert_array_equal(image.data, RAMP + 2)
    assert image.plane == (2,)
    # What stands beside it can be a cube or not.
    error = tmp_path / 'error.fits'
    fits.writeto(error, cube[:, None] - 1)
    assert_array_equal(read_error(error, image=image), RAMP + 1)
    fits.writeto(error, RAMP - 5, overwrite=True)
    assert_array_equal(read_error(error, image=image), RAMP - 5)


@pytest.mark.parametrize('plane', [(3,), (0, 0), (-4,)])
def test_wrong_plane(path, plane):
    fits.writeto(path, np.stack([RAMP] * 3))
    with pytest.raises(ValueError, match=r'file .*image\.fits '):
        read_images(path, plane=plane)


def test_what_belongs_to_a_chip(path, tmp_path):
    write(path, 'SCI,1', 'SCI,2', 'ERR,2', 'ERR,1')
    first, second = read_images(path)
    assert read_error(path, 'ERR', image=first)[0, 0] == 3
    assert read_error(path, 'ERR', image=second)[0, 0] == 2
    assert read_error(path, 'ERR,2', image=first)[0, 0] == 2
    # In a file of its own the place tells.
    other = tmp_path / 'other.fits'
    write(other, 'A', 'B')
    assert read_error(other, image=second)[0, 0] == 1
    single = tmp_path / 'single.fits'
    write(single, 'A')
    assert read_error(single, image=second)[0, 0] == 0
    three = tmp_path / 'three.fits'
    write(three, 'A', 'B', 'C')
    with pytest.raises(ValueError, match='for 2 images: name the one to use'):
        read_error(three, image=second)


@pytest.mark.parametrize('hdu', [None, 'SCI', 'SCI,2', 0])
def test_nothing_is_beside_itself(path, tmp_path, hdu):
    """Without the name of its HDU an error would be the image itself."""
    write(path, 'SCI,1', 'SCI,2', 'ERR,1', 'ERR,2')
    if hdu in (None, 0):
        fits.writeto(path, RAMP, overwrite=True)
    image = read_images(path)[-1]
    link = tmp_path / 'link.fits'
    link.symlink_to(path)
    for name in (path, link):
        for read in (read_error, read_mask, read_weight):
            with pytest.raises(ValueError, match='is the image itself: name the HDU'):
                read(name, hdu, image=image)
        with pytest.raises(ValueError, match='is the image itself: name the HDU'):
            open_map(name, hdu, image, folder=tmp_path)


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('a.fits', ('a.fits', None)),
        ('a.fits[ERR]', ('a.fits', 'ERR')),
        ('a[1].fits[SCI,2]', ('a[1].fits', 'SCI,2')),
        ('[DQ]', ('', 'DQ')),
        ('x]', ('x]', None)),
    ],
)
def test_split_hdu(text, expected):
    assert split_hdu(text) == expected


def edit(path, keyword, value, *, after=0):
    """Replace the value of a card in the bytes of a file."""
    content = bytearray(path.read_bytes())
    place = content.index(f'{keyword:8}='.encode(), after)
    content[place : place + 80] = f'{keyword:8}= {value:>20}'.ljust(80).encode()
    path.write_bytes(content)


@pytest.mark.parametrize(
    ('keyword', 'value'),
    [('GCOUNT', -64), ('GCOUNT', -1), ('PCOUNT', -9000), ('NAXIS', 2**31)],
)
def test_headers_without_end(path, keyword, value):
    write(path, 'A', 'B')
    edit(path, keyword, value, after=2880)
    match = rf'image\.fits cannot be read as FITS: HDU 1 cannot have {keyword} = '
    with pytest.raises(ValueError, match=match):
        open_fits(path)


@pytest.mark.parametrize(
    ('keyword', 'value'), [('ZTILE2', -1), ('ZTILE1', 2**40), ('TFIELDS', 2**31)]
)
def test_tiles_that_cannot_be(path, keyword, value):
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(RAMP)]).writeto(path)
    edit(path, keyword, value)
    with pytest.raises(ValueError, match=f'HDU 1 cannot have {keyword} = '):
        open_fits(path)


def test_promises_of_a_header(path):
    """Memory for an image is not taken before its file is known to hold it."""
    write(path, 'A')
    edit(path, 'NAXIS1', 2**30, after=2880)
    with (
        pytest.warns(AstropyUserWarning, match='truncated'),
        pytest.raises(ValueError, match='HDU A: its header promises 30064771072 bytes'),
    ):
        read_images(path)


@pytest.mark.parametrize('n_bytes', [30, 200, -20])
def test_damaged_gzip(tmp_path, n_bytes):
    path = tmp_path / 'image.fits.gz'
    fits.writeto(path, RAMP)
    packed = path.read_bytes()
    path.write_bytes(packed[:n_bytes])
    with pytest.raises(ValueError, match=r'image\.fits\.gz cannot be read as FITS'):
        read_images(path)
    content = bytearray(gzip.decompress(packed))
    path.write_bytes(gzip.compress(bytes(content)))
    assert_array_equal(read_image(path).data, RAMP)


def test_pipe_is_not_waited_for(tmp_path):
    import os

    path = tmp_path / 'pipe.fits'
    os.mkfifo(path)
    with pytest.raises(ValueError, match='it is not a regular file'):
        open_fits(path)
