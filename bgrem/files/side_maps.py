"""Read the maps that belong to a FITS image: mask, error, weights."""

from pathlib import Path

import numpy as np
from astropy.nddata import InverseVariance, StdDevUncertainty, VarianceUncertainty
from astropy.nddata.bitmask import interpret_bit_flags

from bgrem.files.hdus import hdu_name, map_index
from bgrem.files.io import read_pixels
from bgrem.files.opening import fits_errors, open_fits
from bgrem.files.units import parse_unit

__all__ = [
    'ERROR_TYPES',
    'find_map',
    'masked_pixels',
    'parse_bits',
    'read_error',
    'read_gain',
    'read_mask',
    'read_weight',
]

#: What the values of an error map can be.
ERROR_TYPES = {
    'std': StdDevUncertainty,
    'var': VarianceUncertainty,
    'ivar': InverseVariance,
}
# In the flags of these telescopes all but one bit are information.
_DO_NOT_USE = {'JWST': 1, 'ROMAN': 1}


def read_mask(path, hdu=None, *, bits=None, image=None):
    """
    Read a mask from a FITS file.

    Parameters
    ----------
    path : path-like
        The file.

    hdu : int or str or `None`, optional
        The number or name of the HDU; see `bgrem.files.hdus.map_index`.

    bits : int or `None`, optional
        The bits that count, from `parse_bits`. By default, all; for data quality of
        JWST and Roman, only DO_NOT_USE, as the other bits are informative.

    image : `bgrem.files.io.FitsImage` or `None`, optional
        The image to which the mask belongs, which determines the chip and the plane.

    Returns
    -------
    mask : 2D `~numpy.ndarray` of bool
        True where the image in the file is nonzero; NaN is nonzero.

    Raises
    ------
    FileNotFoundError, MemoryError, ValueError
        As for `bgrem.files.io.read_images`.
    """
    values, *headers = _read_map(path, hdu, image)
    return masked_pixels(values, bits, *headers)


def masked_pixels(values, bits, header, primary_header):
    """
    Return the pixels that a mask hides.

    Parameters
    ----------
    values : 2D `~numpy.ndarray`
        The mask, or a part of it.

    bits : int or `None`
        As for `read_mask`.

    header, primary_header : `~astropy.io.fits.Header`
        The headers of the HDU and of its file.

    Returns
    -------
    mask : 2D `~numpy.ndarray` of bool
        As from `read_mask`.
    """
    if bits is None and header.get('EXTNAME') == 'DQ':
        bits = _DO_NOT_USE.get(primary_header.get('TELESCOP'))
    if bits is None:
        return values != 0
    # Beyond 2**53 floats skip integers, but no flag is as high as that.
    whole = np.nan_to_num(values, nan=-1, posinf=-1, neginf=-1).astype(np.int64)
    return whole & bits != 0


def parse_bits(text):
    """
    Parse the bits of a flag image that mask pixels.

    Parameters
    ----------
    text : str
        A sum, or a list of bits: ``'5'``, ``'1+4'`` and ``'1,4'`` are the same;
        ``'~1,4'`` stands for all other bits.

    Returns
    -------
    bits : int
        The bits.

    Raises
    ------
    ValueError
        If the text has none of these forms.
    """
    try:
        return int(interpret_bit_flags(text))
    except (TypeError, ValueError):
        msg = (
            "bits must be powers of two like '4096', '16,64' or '~4', or a sum of "
            f'them, got {text!r}'
        )
        raise ValueError(msg) from None


def read_error(path, hdu=None, *, image=None):
    """
    Read the uncertainty of an image from a FITS file.

    Parameters
    ----------
    path, hdu, image
        As for `read_mask`.

    Returns
    -------
    uncertainty : 2D `~numpy.ndarray` or `~astropy.units.Quantity`
        The values, with a unit if the file has one that is understood.

    Raises
    ------
    FileNotFoundError, MemoryError, ValueError
        As for `bgrem.files.io.read_images`.
    """
    values, header, _ = _read_map(path, hdu, image)
    unit = parse_unit(header.get('BUNIT'), path)
    return values if unit is None else values << unit


def read_weight(path, hdu=None, *, image=None):
    """
    Read the weights of pixels (relative inverse variances) from a FITS file.

    Parameters
    ----------
    path, hdu, image
        As for `read_mask`.

    Returns
    -------
    weight : 2D `~numpy.ndarray`
        The weights; negative and non-finite values are replaced by 0.

    Raises
    ------
    FileNotFoundError, MemoryError, ValueError
        As for `bgrem.files.io.read_images`, or if no weight is positive.
    """
    values, _, _ = _read_map(path, hdu, image)
    weight = np.where(np.isfinite(values) & (values > 0), values, 0)
    if not weight.any():
        msg = f'weights of {path} must be positive and finite in at least one pixel'
        raise ValueError(msg)
    return weight


def read_gain(gain, image):
    """
    Return the gain as a number.

    Parameters
    ----------
    gain : float or str
        A number, or a header keyword.

    image : `bgrem.files.io.FitsImage`
        The image with the header.

    Returns
    -------
    gain : float
        The gain, which is positive.

    Raises
    ------
    ValueError
        If there is no such keyword, or it is not a positive number.
    """
    try:
        value = float(gain)
    except ValueError:
        for header in (image.header, image.primary_header or {}):
            if gain in header:
                value = header[gain]
                break
        else:
            msg = f'{image.path}, HDU {image.hdu}, has no keyword {gain} for the gain'
            raise ValueError(msg) from None
    if not (isinstance(value, (int, float)) and np.isfinite(value) and value > 0):
        msg = f'gain must be a positive number, got {value!r}'
        raise ValueError(msg)
    return float(value)


def _read_map(path, hdu, image):
    """Return pixels, header and primary header of what stands beside an image."""
    path = Path(path)
    with open_fits(path) as hdus:
        index, plane = find_map(hdus, path, hdu, image)
        pixels, header = read_pixels(hdus, path, index, plane)
        return pixels, header, hdus[0].header


def find_map(hdus, path, hdu, image):
    """
    Choose the HDU of a map that belongs to an image: a mask, an error, a weight.

    Parameters
    ----------
    hdus, path, hdu
        As for `bgrem.files.hdus.map_index`.

    image : `bgrem.files.io.FitsImage` or `None`
        The image, which determines the chip and the plane.

    Returns
    -------
    index : int
        The number of the HDU.
    plane : tuple of int or `None`
        The plane, if the HDU is a cube too.

    Raises
    ------
    ValueError
        If there is no such HDU, it cannot be determined which one is meant, or it is
        the image itself.
    """
    place = {}
    if image is not None:
        names = ('plane', 'version', 'number', 'n_images')
        place = {name: getattr(image, name) for name in names}
    with fits_errors(path, 'cannot be read'):
        index, plane = map_index(hdus, path, hdu, **place)
    name = hdu_name(hdus, index)
    if image is not None and name == image.hdu and path.samefile(image.path):
        msg = f'HDU {name} of {path} is the image itself: name the HDU of the map'
        raise ValueError(msg)
    return index, plane
