"""
Images of any size in numbers that can be squared.

Numpy only.
"""

import numpy as np

__all__ = ['binary_unit', 'in_unit']

# Of float32 the fourth powers are finite, and not 0.
_MOST = 2.0**25


def binary_unit(data, unusable):
    """
    Choose the unit in which an image is of the order of one.

    Parameters
    ----------
    data : 2D `~numpy.ndarray` of float
        The image.
    unusable : 2D `~numpy.ndarray` of bool
        True at pixels to ignore, among them all that are not finite.

    Returns
    -------
    unit : float
        A power of two, so that nothing is rounded by it; 1 for images whose typical
        pixel is between 3e-8 and 3e7, or 0.
    """
    sizes = np.abs(data[~unusable & (data != 0)])
    if sizes.size == 0:
        return 1.0
    size = float(np.median(sizes))
    if 1 / _MOST < size < _MOST:
        return 1.0
    lowest = np.log2(np.finfo(data.dtype).tiny)
    return float(2.0 ** max(np.floor(np.log2(size)), lowest))


def in_unit(values, unit):
    """
    Return values in the unit of `binary_unit`: themselves where that is 1.
    """
    return values if unit == 1 else values / unit
