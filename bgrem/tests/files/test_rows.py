"""Tests of images that are read by rows."""

import gzip
import lzma
import re
from functools import partial

import numpy as np
import pytest
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from bgrem.files.io import read_images
from bgrem.files.rows import open_map, open_mask, open_rows
from bgrem.files.side_maps import read_mask


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


def write(path, kind, image):
    """Write an image in one of the ways in which it can be in a file."""
    if kind == 'scaled':
        hdu = fits.PrimaryHDU(image.astype('f8'))
        hdu.scale('int16', bzero=1500, bscale=0.25)
    elif kind == 'blank':
        hdu = fits.PrimaryHDU(image.astype('i2'))
        hdu.header['BLANK'] = int(image[4, 2].astype('i2'))
    elif kind == 'compressed':
        fits.CompImageHDU(image.astype('i4')).writeto(path)
        return
    elif kind == 'cube':
        hdu = fits.PrimaryHDU(np.stack([image - 5, image])[:, np.newaxis])
    else:
        hdu = fits.PrimaryHDU(image.astype(kind))
    hdu.writeto(path)


@pytest.mark.parametrize('ending', ['.fits', '.fits.gz', '.fits.bz2', '.fits.xz'])
@pytest.mark.parametrize(
    'kind',
    ['u1', '>i2', '>u2', '>i4', '>f4', '>f8', 'scaled', 'blank', 'compressed', 'cube'],
)
def test_rows_as_in_memory(kind, ending, tmp_path):
    """However an image is written, its rows are those of the whole one."""
    path = tmp_path / f'in{ending}'
    image = np.random.default_rng(3).integers(10, 200, (23, 17)).astype(float)
    write(path, kind, image)
    plane = (1,) if kind == 'cube' else None
    (known,) = read_images(path, plane=plane)
    (rows,) = open_rows(path, plane=plane, folder=tmp_path)
    assert rows.shape == known.data.shape == (23, 17)
    assert rows.dtype == known.data.dtype
    for start, stop in [(0, 23), (0, 1), (4, 20), (22, 23), (5, 5)]:
        part = rows[start:stop]
        assert part.dtype.isnative
        np.testing.assert_array_equal(part, known.data[start:stop])
    if kind == 'blank':
        assert np.isnan(rows[4:5][0, 2])
    assert rows.image.plane == known.plane
    assert rows.image.hdu == known.hdu
    rows.close()


@pytest.mark.parametrize('ending', ['.gz', '.bz2', '.xz'])
def test_unpacked_once(ending, tmp_path):
    """Beside the other work on it, and not again for the mask in the same file."""
    path = tmp_path / f'in.fits{ending}'
    hdus = [fits.PrimaryHDU(np.ones((4, 5))), fits.ImageHDU(np.eye(4, 5), name='DQ')]
    fits.HDUList(hdus).writeto(path)
    folder = tmp_path / 'work'
    folder.mkdir()
    (rows,) = open_rows(path, 0, folder=folder)
    (unpacked,) = folder.iterdir()
    before = unpacked.stat().st_mtime_ns
    mask = open_mask(path, 'DQ', rows.image, folder=folder)
    assert [one.stat().st_mtime_ns for one in folder.iterdir()] == [before]
    np.testing.assert_array_equal(mask[1:3], np.eye(4, 5)[1:3] > 0)
    # what it is called is what was given
    assert rows.image.path == path
    rows.close()
    mask.close()


@pytest.mark.parametrize(
    ('name', 'pack'),
    [('in.fits', gzip.compress), ('in.fits', lzma.compress), ('in.fits.gz', bytes)],
)
def test_packed_or_not_whatever_the_name_says(name, pack, tmp_path):
    """Servers pack and unpack what they send, and leave its name."""
    path, image = tmp_path / name, np.zeros((90, 80), 'f4')
    fits.PrimaryHDU(image).writeto(tmp_path / 'plain.fits')
    path.write_bytes(pack((tmp_path / 'plain.fits').read_bytes()))
    (known,) = read_images(path)
    (rows,) = open_rows(path, folder=tmp_path)
    np.testing.assert_array_equal(known.data, image)
    np.testing.assert_array_equal(rows[3:5], image[3:5])
    rows.close()


def test_packed_files_of_one_name(tmp_path):
    """A mask is often named as its image, in another folder."""
    for number, folder in enumerate(('images', 'masks', 'work')):
        (tmp_path / folder).mkdir()
        if folder != 'work':
            hdu = fits.PrimaryHDU(np.eye(4, 5, number))
            hdu.writeto(tmp_path / folder / 'in.fits.gz')
    options = {'folder': tmp_path / 'work'}
    (rows,) = open_rows(tmp_path / 'images' / 'in.fits.gz', **options)
    mask = open_mask(tmp_path / 'masks' / 'in.fits.gz', None, rows.image, **options)
    np.testing.assert_array_equal(rows[0:4], np.eye(4, 5))
    np.testing.assert_array_equal(mask[0:4], np.eye(4, 5, 1) > 0)
    rows.close()
    mask.close()


@pytest.mark.parametrize('plane', [(0,), (2,), (-1,), (-3,), (3,), (-4,), (0, 0), None])
def test_planes_as_in_memory(plane, tmp_path):
    """Those that there are, and the same message for others."""
    path = tmp_path / 'in.fits'
    fits.PrimaryHDU(np.arange(60.0).reshape(3, 1, 4, 5)).writeto(path)
    try:
        (known,) = read_images(path, plane=plane)
    except ValueError as error:
        with pytest.raises(ValueError, match=re.escape(str(error))):
            open_rows(path, plane=plane, folder=tmp_path)
        assert plane not in [(0,), (2,), (-1,), (-3,)]
        return
    (rows,) = open_rows(path, plane=plane, folder=tmp_path)
    np.testing.assert_array_equal(rows[0:4], known.data)
    rows.close()


def test_what_is_packed_and_damaged_leaves_nothing(tmp_path):
    path = tmp_path / 'in.fits.gz'
    fits.PrimaryHDU(np.random.default_rng(1).normal(size=(90, 90))).writeto(path)
    path.write_bytes(path.read_bytes()[:3000])
    for _ in range(2):
        with pytest.raises(ValueError, match=r'in.fits.gz cannot be read as FITS'):
            open_rows(path, folder=tmp_path)
        assert not list(tmp_path.glob('unpacked-*in.fits'))


def test_chips_in_their_order(tmp_path):
    """Each with its name, its number and the map that belongs to it."""
    hdus = [fits.PrimaryHDU()]
    for number in (1, 2, 3):
        hdus.append(
            fits.ImageHDU(np.full((2, 3), 10.0 * number), name='SCI', ver=number)
        )
        hdus.append(fits.ImageHDU(np.full((2, 3), number), name='DQ', ver=number))
    fits.HDUList(hdus).writeto(tmp_path / 'in.fits')
    chips = open_rows(tmp_path / 'in.fits', folder=tmp_path)
    assert [chip.image.hdu for chip in chips] == ['SCI,1', 'SCI,2', 'SCI,3']
    for number, chip in enumerate(chips, start=1):
        assert (chip.image.number, chip.image.n_images) == (number - 1, 3)
        np.testing.assert_array_equal(chip[0:2], 10 * number)
        flags = open_map(tmp_path / 'in.fits', 'DQ', chip.image, folder=tmp_path)
        np.testing.assert_array_equal(flags[0:2], number)
        flags.close()
        chip.close()


@pytest.mark.parametrize('read', [read_images, partial(open_rows, folder=None)])
def test_warnings_as_in_memory(tmp_path, read):
    """Of images that could be meant as well, and of a product of bgrem."""
    hdus = [fits.ImageHDU(np.ones((4, 5)), name=name) for name in ('A', 'B')]
    hdus[0].header['BGREMVER'] = '1.2'
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / 'in.fits')
    with (
        pytest.warns(AstropyUserWarning, match='holds more images than HDU A, which'),
        pytest.warns(AstropyUserWarning, match=r'was made by bgrem 1\.2 already'),
    ):
        (found,) = read(tmp_path / 'in.fits')
    if read is not read_images:
        found.close()


def test_zarr_as_fits(tmp_path):
    """An array of a group by its name; a mask of bits, as of any other file."""
    zarr = pytest.importorskip('zarr')
    image = np.random.default_rng(3).normal(size=(23, 17)).astype('f4')
    flags = np.arange(23 * 17).reshape(23, 17) % 8
    group = zarr.open_group(str(tmp_path / 'in.zarr'), mode='w')
    group.create_array('SCI', data=image, chunks=(5, 17))
    group.create_array('DQ', data=flags)
    (rows,) = open_rows(tmp_path / 'in.zarr', folder=tmp_path)
    assert (rows.shape, rows.dtype, rows.image.hdu) == ((23, 17), np.float32, 'SCI')
    np.testing.assert_array_equal(rows[4:21], image[4:21])
    options = {'bits': 5, 'folder': tmp_path}
    mask = open_mask(tmp_path / 'in.zarr', 'DQ', rows.image, **options)
    np.testing.assert_array_equal(mask[4:21], (flags & 5 > 0)[4:21])
    assert mask.shape == (23, 17)
    mask.close()
    rows.close()


@pytest.mark.parametrize('number', [1, 2])
def test_nothing_stays_open(tmp_path, number):
    """Not even the chips before one that is damaged (warnings are errors here)."""
    hdus = [fits.ImageHDU(np.ones((9, 9)), name='SCI', ver=k + 1) for k in range(2)]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / 'in.fits')
    content = bytearray((tmp_path / 'in.fits').read_bytes())
    places = [
        m.start() for m in re.finditer(rb'NAXIS2  =                    9', content)
    ]
    place = places[number - 1]
    content[place : place + 30] = b'NAXIS2  =             99999999'
    (tmp_path / 'in.fits').write_bytes(content)
    with pytest.raises(ValueError, match='in.fits'):
        open_rows(tmp_path / 'in.fits', folder=tmp_path)
