"""
Images of any size in numbers that can be squared.

Numpy only.
"""

import numpy as np

__all__ = ['binary_unit', 'in_unit']

# Of float32 the fourth powers are finite, and not 0.
_MOST = 2.0**25
# The squares of what is so much larger than the typical pixel are finite.
_RANGE = 2.0**50


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
        pixel is between 3e-8 and 3e7, or 0, and none is larger than 1e15. Larger where
        a pixel would be beyond 1e15 else.
    """
    sizes = np.abs(data[~unusable & (data != 0)])
    if sizes.size == 0:
        return 1.0
    size, largest = float(np.median(sizes)), float(sizes.max())
    if 1 / _MOST < size < _MOST and largest < _RANGE:
        return 1.0
    # the least numbers have no reciprocal
    size = max(size, largest / _RANGE, float(np.finfo(data.dtype).tiny))
    return float(2.0 ** np.floor(np.log2(size)))


def in_unit(values, unit):
    """
    Return values in the unit of `binary_unit`: themselves where that is 1.
    """
    if unit == 1:
        return values
    with np.errstate(over='ignore'):  # of pixels that are not used
        return values / unit
