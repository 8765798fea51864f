"""Read FITS images."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS

from bgrem.files.hdus import hdu_name, image_indices
from bgrem.files.opening import check_size, fits_errors, open_fits
from bgrem.files.units import parse_unit

__all__ = [
    'FitsImage',
    'celestial_wcs',
    'choose_images',
    'plane_index',
    'read_hdu',
    'read_image',
    'read_images',
    'read_pixels',
    'readable_header',
    'tell_if_product',
]


@dataclass(frozen=True)
class FitsImage:
    """
    A two-dimensional image of a FITS file with its metadata.

    Parameters
    ----------
    path : `~pathlib.Path`
        The file.
    hdu : str
        The name of the HDU (``'SCI,2'`` if several have the same name) or its number.
    data : 2D `~numpy.ndarray`
        The image in native byte order. Integers without scaling keep their type;
        everything else is float32 or float64. Pixels with the BLANK value are NaN.
    header : `~astropy.io.fits.Header`
        The header of the HDU.
    primary_header : `~astropy.io.fits.Header` or `None`
        The primary header; `None` if it is the header of the HDU itself.
    wcs : `~astropy.wcs.WCS` or `None`
        The two-dimensional WCS; `None` if there is no celestial one.
    unit : `~astropy.units.Unit` or `None`
        The unit; `None` if BUNIT is missing, empty, or not understood.
    version : int, optional
        EXTVER of the HDU.
    number, n_images : int, optional
        Its number among the images read from the file, and how many there are.
    plane : tuple of int or `None`, optional
        The plane, if the HDU is a cube.
    """

    path: Path
    hdu: str
    data: np.ndarray
    header: fits.Header
    primary_header: fits.Header | None
    wcs: WCS | None
    unit: u.UnitBase | None
    version: int = 1
    number: int = 0
    n_images: int = 1
    plane: tuple | None = None


def read_image(path, hdu=None, plane=None):
    """
    Read one image from a FITS file.

    Parameters
    ----------
    path, hdu, plane
        As for `read_images`.

    Returns
    -------
    image : `FitsImage`
        The first image that `read_images` would return.

    Raises
    ------
    FileNotFoundError, MemoryError, ValueError
        As for `read_images`.

    Warns
    -----
    `~astropy.utils.exceptions.AstropyUserWarning`
        As for `read_images`, except for images that are left out.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        with fits_errors(path, 'cannot be read'):
            index = image_indices(hdus, path, hdu, plane)[0][0]
        return _read(hdus, path, index, plane)


def read_images(path, hdu=None, plane=None):
    """
    Read the images of a FITS file, for example the chips of a camera.

    Parameters
    ----------
    path : path-like
        The file: single- or multi-extension, plain, gzipped, or
        tile-compressed (``.fz``).

    hdu : int or str or `None`, optional
        The number or name (``'SCI'`` or ``'SCI,2'``) of one HDU. By default,
        all images named SCI; else the first image whose name is not that of an
        auxiliary image (ERR, WHT, DQ, ...), and the other chips of its camera, see
        `bgrem.files.hdus.image_indices`.

    plane : tuple of int or `None`, optional
        The plane of a cube to read: one number, from 0, for each axis longer than 1
        beyond the two of an image, in the order of numpy.

    Returns
    -------
    images : list of `FitsImage`
        The images. Axes of length 1 beyond the second FITS axis, as in radio
        images, are dropped: NAXIS = 4 with shape (1, 1, ny, nx) is
        two-dimensional. Other cubes require a ``plane``.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    MemoryError
        If an image does not fit in memory.
    ValueError
        If the file is not FITS or is damaged, if there is no such HDU, or if
        it does not contain a two-dimensional image.

    Warns
    -----
    `~astropy.utils.exceptions.AstropyUserWarning`
        If an image is already a product of bgrem, if a unit or a WCS cannot be used,
        or if there are other images that might have been meant.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        indices = choose_images(hdus, path, hdu, plane)
        n_images = len(indices)
        return [
            _read(hdus, path, index, plane, number=number, n_images=n_images)
            for number, index in enumerate(indices)
        ]


def choose_images(hdus, path, hdu=None, plane=None):
    """
    Choose the images of a file, and warn of others that might have been meant.

    Parameters
    ----------
    hdus, path, hdu, plane
        As for `bgrem.files.hdus.image_indices`.

    Returns
    -------
    indices : list of int
        The numbers of the HDUs.

    Raises
    ------
    ValueError
        If there is no such HDU or image.

    Warns
    -----
    `~astropy.utils.exceptions.AstropyUserWarning`
        If there are other images that might have been meant.
    """
    with fits_errors(path, 'cannot be read'):
        indices, left_out = image_indices(hdus, path, hdu, plane)
    if left_out:
        names = ', '.join(hdu_name(hdus, i) for i in left_out)
        taken = ', '.join(hdu_name(hdus, i) for i in indices)
        msg = (
            f'{path} holds more images than HDU {taken}, which is used: {names}; '
            'name an HDU to use another'
        )
        warnings.warn(msg, AstropyUserWarning, stacklevel=3)
    return indices


def _read(hdus, path, index, plane, **place):
    image = read_hdu(hdus, path, index, plane, **place)
    tell_if_product(image.header, path)
    return image


def tell_if_product(header, path):
    """
    Warn if an image is already a product of bgrem.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        The header of the image.

    path : path-like
        The file.

    Warns
    -----
    `~astropy.utils.exceptions.AstropyUserWarning`
        If it is a product.
    """
    if 'BGREMVER' in header:
        msg = (
            f'{path} was made by bgrem {header["BGREMVER"]} already: its '
            'background would be removed twice'
        )
        warnings.warn(msg, AstropyUserWarning, stacklevel=4)


def read_hdu(hdus, path, index, plane=None, **place):
    """
    Read one image from an open FITS file.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        The HDUs of the file.

    path : `~pathlib.Path`
        The file.

    index : int
        The number of the HDU.

    plane : tuple of int or `None`, optional
        As for `read_images`.

    **place
        The ``number`` of the image and ``n_images``, see `FitsImage`.

    Returns
    -------
    image : `FitsImage`
        The image.

    Raises
    ------
    MemoryError, ValueError
        As for `read_images`.

    Warns
    -----
    `~astropy.utils.exceptions.AstropyUserWarning`
        If a unit or a WCS cannot be used.
    """
    data, header = read_pixels(hdus, path, index, plane)
    return FitsImage(
        path=path,
        hdu=hdu_name(hdus, index),
        data=data,
        header=header,
        primary_header=hdus[0].header.copy() if index else None,
        wcs=celestial_wcs(header, hdus, path, data.shape),
        unit=parse_unit(header.get('BUNIT'), path),
        version=hdus[index].ver,
        plane=plane,
        **place,
    )


def read_pixels(hdus, path, index, plane=None):
    """
    Read the pixels and the header of an image from an open FITS file.

    Parameters
    ----------
    hdus, path, index, plane
        As for `read_hdu`.

    Returns
    -------
    data : 2D `~numpy.ndarray`
        As in `FitsImage`.
    header : `~astropy.io.fits.Header`
        The header, as from `readable_header`.

    Raises
    ------
    MemoryError, ValueError
        As for `read_images`.
    """
    hdu, name = hdus[index], hdu_name(hdus, index)
    with fits_errors(path, f'has a damaged image, HDU {name}'):
        check_size(hdu, path)
        lead = plane_index(hdu, path, name, plane)
        data = hdu.data[lead]
        data = data.astype(data.dtype.newbyteorder('='))
        return data, readable_header(hdu.header, lead)


def plane_index(hdu, path, name, plane):
    """
    Return the index of a plane in the array of an HDU.

    Parameters
    ----------
    hdu : HDU
        The HDU.
    path, name : path-like, str
        The file and the name of the HDU, for the message.
    plane : tuple of int or `None`
        As for `read_images`: a number for each axis that is longer than 1.

    Returns
    -------
    index : tuple of int
        A number, from 0, for each axis except the last two.

    Raises
    ------
    ValueError
        If there is no such plane.
    """
    lengths = [n for n in hdu.shape[:-2] if n != 1]
    if any(not -n <= k < n for k, n in zip(plane or (), lengths, strict=False)):
        known = ', '.join(f'0 to {n - 1}' for n in lengths)
        msg = f'file {path} (HDU {name}) has the planes {known}, got the plane {plane}'
        raise ValueError(msg)
    steps = iter(plane or ())
    return tuple(0 if n == 1 else next(steps) % n for n in hdu.shape[:-2])


def readable_header(header, lead=()):
    """
    Return a copy of a header without the cards that cannot be read at all.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        The header.
    lead : tuple of int, optional
        The plane of a cube, from `plane_index`: it becomes the first one of the WCS.

    Returns
    -------
    header : `~astropy.io.fits.Header`
        The copy.
    """
    header = header.copy()
    for index in reversed(range(len(header.cards))):
        card = header.cards[index]
        try:
            card.value, card.comment, str(card)
        except Exception:  # each kind of damage has its own
            del header[index]
    for axis, number in enumerate(reversed(lead), start=3):
        for version in ('', *ascii_uppercase):
            pixel = header.get(f'CRPIX{axis}{version}')
            if isinstance(pixel, (int, float)):
                header[f'CRPIX{axis}{version}'] = pixel - number
    return header


def celestial_wcs(header, hdus, path, shape):
    """
    Return the WCS of the last two array axes, or None.
    """
    with warnings.catch_warnings():
        # wcslib reports what it repaired in old headers: not our business.
        warnings.simplefilter('ignore')
        try:
            wcs = WCS(header, fobj=hdus, naxis=2)
            if wcs.has_celestial:
                # What cannot be inverted, or has an unknown frame, fails here.
                wcs.pixel_to_world([0, shape[1] / 2], [0, shape[0] / 2])
        except Exception as exc:  # wcslib raises many kinds; pixels need no WCS
            wcs, problem = None, exc
    if wcs is None:
        msg = f'the WCS of {path} cannot be used: {" ".join(str(problem).split())}'
        warnings.warn(msg, AstropyUserWarning, stacklevel=4)
        return None
    return wcs if wcs.has_celestial else None
