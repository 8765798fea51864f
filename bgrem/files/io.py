"""FITS images in, with what describes them."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS

__all__ = ['FitsImage', 'open_fits', 'read_error', 'read_image', 'read_mask']


@dataclass(frozen=True)
class FitsImage:
    """
    A two-dimensional image of a FITS file, with what describes it.

    Parameters
    ----------
    path : `~pathlib.Path`
        The file.
    hdu : str
        The HDU: its number, and its name if it has one.
    data : 2D `~numpy.ndarray`
        The image in native byte order; integers without scaling keep their
        type, the rest is float32 or float64. Pixels at the BLANK value are
        NaN.
    header : `~astropy.io.fits.Header`
        The header of the HDU.
    primary_header : `~astropy.io.fits.Header` or `None`
        The primary header, `None` if that is the HDU's own.
    wcs : `~astropy.wcs.WCS` or `None`
        The two-dimensional WCS, `None` where there is no celestial one.
    unit : `~astropy.units.Unit` or `None`
        The unit, `None` where BUNIT is missing, empty, or not understood.
    """

    path: Path
    hdu: str
    data: np.ndarray
    header: fits.Header
    primary_header: fits.Header | None
    wcs: WCS | None
    unit: u.UnitBase | None


def read_image(path, hdu=None):
    """
    Read an image from a FITS file.

    Parameters
    ----------
    path : path-like
        The file: single or multi-extension, plain, gzipped, or
        tile-compressed (``.fz``).

    hdu : int or str or `None`, optional
        The number or name (``'SCI'`` or ``'SCI,2'``) of the HDU. By default
        the first one that holds a two-dimensional image.

    Returns
    -------
    image : `FitsImage`
        The image. Axes of length 1 beyond the second FITS axis, as radio
        images have, are dropped: NAXIS = 4 with shape (1, 1, ny, nx) is
        two-dimensional. Other cubes are refused.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not FITS or is damaged, if there is no such HDU, or if
        it does not hold a two-dimensional image.

    Warns
    -----
    `~astropy.utils.exceptions.AstropyUserWarning`
        If the image is a product of bgrem already.
    """
    image = _read(Path(path), hdu)
    if 'BGREMVER' in image.header:
        msg = (
            f'{path} was made by bgrem {image.header["BGREMVER"]} already: its '
            'background would be removed twice'
        )
        warnings.warn(msg, AstropyUserWarning, stacklevel=2)
    return image


def _read(path, hdu):
    with open_fits(path) as hdus:
        index = _find_hdu(hdus, hdu, path)
        chosen = hdus[index]
        try:
            data = chosen.data
        except (OSError, TypeError, ValueError, IndexError, EOFError) as exc:
            msg = f'image of {path}, HDU {_label(hdus, index)}, is damaged: {exc}'
            raise ValueError(msg) from exc
        data = data.reshape(data.shape[-2:])
        data = data.astype(data.dtype.newbyteorder('='))
        header = chosen.header.copy()
        return FitsImage(
            path=path,
            hdu=_label(hdus, index),
            data=data,
            header=header,
            primary_header=hdus[0].header.copy() if index else None,
            wcs=_celestial_wcs(header, hdus, path),
            unit=_parse_unit(header.get('BUNIT')),
        )


def read_mask(path, hdu=None):
    """
    Read a mask from a FITS file.

    Parameters
    ----------
    path : path-like
        The file.

    hdu : int or str or `None`, optional
        As for `read_image`.

    Returns
    -------
    mask : 2D `~numpy.ndarray` of bool
        True where the image in the file is not zero; NaN is not zero.

    Raises
    ------
    FileNotFoundError, ValueError
        As for `read_image`.
    """
    return _read(Path(path), hdu).data != 0


def read_error(path, hdu=None):
    """
    Read the uncertainty of an image from a FITS file.

    Parameters
    ----------
    path : path-like
        The file.

    hdu : int or str or `None`, optional
        As for `read_image`.

    Returns
    -------
    uncertainty : 2D `~numpy.ndarray` or `~astropy.units.Quantity`
        The values, with a unit where the file has one that is understood.

    Raises
    ------
    FileNotFoundError, ValueError
        As for `read_image`.
    """
    image = _read(Path(path), hdu)
    return image.data if image.unit is None else image.data << image.unit


def open_fits(path):
    """
    Open a FITS file and read all its headers.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    hdus : `~astropy.io.fits.HDUList`
        To be closed by the caller.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read as FITS.
    """
    path = Path(path)
    if not path.exists():
        msg = f'file {path} does not exist'
        raise FileNotFoundError(msg)
    try:
        # Without uint=False unsigned integers would skip the BLANK value. The
        # file is read at once: scaled data cannot be mapped anyhow.
        hdus = fits.open(path, memmap=False, uint=False)
        len(hdus)  # reads all headers
    except (OSError, ValueError, TypeError, KeyError, IndexError, EOFError) as exc:
        msg = f'file {path} cannot be read as FITS: {exc}'
        raise ValueError(msg) from exc
    return hdus


def _is_image(hdu):
    kinds = (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU)
    return isinstance(hdu, kinds) and not isinstance(hdu, fits.GroupsHDU)


def _is_2d(shape):
    return len(shape) >= 2 and set(shape[:-2]) <= {1} and 0 not in shape


def _label(hdus, index):
    name = hdus[index].name
    return f'{index} ({name})' if name and name != 'PRIMARY' else str(index)


def _find_hdu(hdus, hdu, path):
    """Return the number of the HDU that was asked for, or of the default."""

    def shape(index):
        return hdus[index].shape if _is_image(hdus[index]) else None

    if hdu is None:
        for index in range(len(hdus)):
            if _is_image(hdus[index]) and _is_2d(shape(index)):
                return index
        found = ', '.join(
            f'{_label(hdus, i)} '
            + (f'shape {shape(i)}' if _is_image(hdus[i]) else 'table')
            for i in range(len(hdus))
        )
        msg = f'file {path} holds no two-dimensional image; its HDUs are: {found}'
        raise ValueError(msg)
    key = hdu
    if isinstance(hdu, str):
        name, _, version = hdu.partition(',')
        if name.strip().isdigit() and not version:
            key = int(name)
        elif version.strip().isdigit():
            key = (name.strip(), int(version))
    try:
        index = key if isinstance(key, int) else hdus.index_of(key)
        hdus[index]
    except (KeyError, IndexError):
        known = ', '.join(_label(hdus, i) for i in range(len(hdus)))
        msg = f'file {path} has no HDU {hdu!r}; it has: {known}'
        raise ValueError(msg) from None
    if shape(index) is None or not _is_2d(shape(index)):
        what = 'a table' if shape(index) is None else f'of shape {shape(index)}'
        msg = f'HDU {hdu!r} of {path} must be a two-dimensional image, it is {what}'
        raise ValueError(msg)
    return index


def _celestial_wcs(header, hdus, path):
    """Return the WCS of the last two array axes, or None."""
    with warnings.catch_warnings():
        # wcslib reports what it repaired in old headers: not our business.
        warnings.simplefilter('ignore')
        try:
            wcs = WCS(header, fobj=hdus, naxis=2)
        except Exception as exc:
            # wcslib raises many kinds, and the pixels are good without a WCS.
            wcs, problem = None, exc
    if wcs is None:
        msg = f'the WCS of {path} cannot be used: {" ".join(str(problem).split())}'
        warnings.warn(msg, AstropyUserWarning, stacklevel=3)
        return None
    return wcs if wcs.has_celestial else None


def _parse_unit(text):
    """Return the unit of a BUNIT value, or None."""
    if not isinstance(text, str) or not text.strip():
        return None
    # Capital letters are common (ADU, ELECTRONS) and not standard.
    for candidate in (text, text.lower(), text.lower().rstrip('s')):
        unit = u.Unit(candidate, parse_strict='silent')
        if isinstance(unit, u.UnrecognizedUnit):
            continue
        # Magnitudes and the like are no linear units: there is no sky in them.
        return unit if isinstance(unit, u.UnitBase) else None
    return None
