"""
Convert images of any magnitude to numbers that can be squared.

Numpy and astropy only.
"""

import warnings
from copy import copy

import numpy as np
from astropy import units as u
from astropy.utils.exceptions import AstropyUserWarning

__all__ = [
    'binary_unit',
    'error_in_unit',
    'factor_in_unit',
    'in_unit',
    'is_count',
    'warn_of_rounding',
]

# Of float32 the fourth powers are finite, and not 0.
_MOST = 2.0**25
# The squares of what is so much larger than the typical pixel are finite.
_RANGE = 2.0**50
_SAMPLE = 2**18  # pixels that tell what is typical
_LARGEST_ERROR = 1e15  # its square is finite in float32
# So many pixels that differ from the median by so few steps of float32, and no noise,
# are what rounding has left of one.
_ROUNDING, _ROUNDED_PART = 4.0, 1e-3


def binary_unit(data, unusable):
    """
    Choose the unit in which the values of an image are of order one.

    Parameters
    ----------
    data : 2D `~numpy.ndarray` of float
        The image.
    unusable : 2D `~numpy.ndarray` of bool
        True at pixels to ignore, including all that are not finite.

    Returns
    -------
    unit : float
        A power of two, so that it causes no rounding; 1 for images whose typical
        pixel is between 3e-8 and 3e7, or 0, and which have no pixel above 1e15. Larger
        if a pixel would otherwise exceed 1e15.
    """
    sizes = np.abs(data[~unusable] if unusable.any() else data.ravel())
    largest = float(sizes.max(initial=0))
    if largest == 0:
        return 1.0
    if not sizes.all():
        sizes = sizes[sizes > 0]
    size = float(np.median(sizes[:: max(1, sizes.size // _SAMPLE)]))
    if 1 / _MOST < size < _MOST and largest < _RANGE:
        return 1.0
    # the least numbers have no reciprocal
    size = max(size, largest / _RANGE, float(np.finfo(data.dtype).tiny))
    return float(2.0 ** np.floor(np.log2(size)))


def in_unit(values, unit):
    """
    Return values in the unit of `binary_unit`; unchanged if it is 1.
    """
    if unit == 1:
        return values
    with np.errstate(over='ignore'):  # of pixels that are not used
        return values / unit


def error_in_unit(error, unit):
    """
    Return an error, or `None`, in another unit, limited to useful values.

    Values above a limit are of no use, and those below the rounding are not known (0).
    """
    if error is None:
        return None
    error = np.minimum(in_unit(error, unit), error.dtype.type(_LARGEST_ERROR))
    error[error < 1 / _LARGEST_ERROR] = 0
    return error


def factor_in_unit(normalization, unit):
    """
    Return a copy of the factor of the network, or its name, for data in another unit.
    """
    factor = np.asarray(normalization)
    # What is no real number, or has a unit, is refused where it is used.
    is_plain = factor.dtype.kind in 'iuf' and not hasattr(normalization, 'unit')
    if unit == 1 or not is_plain:
        return copy(normalization)
    return factor.astype(float)[()] * unit


def is_count(unit):
    """
    Tell whether numbers in a unit can be photon counts.

    Parameters
    ----------
    unit : `~astropy.units.Unit` or `None`
        The unit.

    Returns
    -------
    is_count : bool
        False for rates, fluxes, surface brightness and multiples of a count.

    Examples
    --------
    >>> from astropy import units as u
    >>> from bgrem.sky.units import is_count
    >>> [is_count(unit) for unit in (None, u.ct, u.electron, u.ct / u.s, u.Jy)]
    [True, True, True, False, False]
    """
    if unit is None:
        return True
    unit = unit.decompose()
    return unit.scale == 1 and not u.si.bases & set(unit.bases)


def warn_of_rounding(values):
    """
    Warn if an image without noise varies by no more than its rounding.

    Parameters
    ----------
    values : 1D `~numpy.ndarray` of float32
        The usable pixels of an image in which no noise is seen.

    Warns
    -----
    `~astropy.utils.exceptions.AstropyUserWarning`
        If one pixel in a thousand differs from the median by a few steps of float32.
    """
    middle = np.median(values).astype(float)
    away = np.abs(values - middle)
    step = np.finfo(np.float32).eps * abs(middle)
    if np.mean((away > 0) & (away <= _ROUNDING * step)) > _ROUNDED_PART:
        msg = (
            f'no noise is seen: float32 rounds values near {middle:.6g} by as much as '
            'these differ. Give the data as float64, or subtract a constant first.'
        )
        warnings.warn(msg, AstropyUserWarning, stacklevel=5)
