"""
Pixels that hold a value and no measurement.

The empty border of a mosaic, the corners of a rotated frame, the gap between two
detectors are often filled with a number: zero, -999, the level of the sky. Such a
number repeats itself exactly over patches, which noise never does. Numpy and scipy
only.
"""

import numpy as np
from scipy.ndimage import binary_dilation, minimum_filter

from bgrem.sky.mesh import find_quantum

__all__ = ['blank_pixels']

_PATCH = np.ones((3, 3), dtype=bool)
_NEIGHBORS = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=bool)
# Centres of such patches that a number other than zero must have. Images that were
# enlarged by repeating their pixels are full of smaller ones.
_MIN_CENTERS = 100
_MAX_NUMBERS = 4  # the most frequent; each takes its time
# The brightest patches are saturated stars: numbers further above the median, in
# standard deviations from the quartiles, are left alone.
_MAX_LEVEL = 5.0
_WILD = 1e12  # no star is so many standard deviations bright
# Of the values within a tenth of the quartiles' distance above the number, when
# nothing lies below: so many, and they were cut off there, not filled.
_MAX_CUT = 0.01
# One pixel in nine of white noise is a minimum of its neighbours, one in 200 if it is
# correlated over 3 px. Stars without noise have none.
_MIN_MINIMA = 1 / 500
# In counts a number is usual if more than this part of the rest has it.
_MAX_USUAL = 0.001


def blank_pixels(data, unusable=None):
    """
    Find the patches that were filled with a number.

    Parameters
    ----------
    data : 2D `~numpy.ndarray`
        The image, of any real dtype.
    unusable : 2D `~numpy.ndarray` of bool, optional
        `True` at pixels known not to hold a measurement.

    Returns
    -------
    blank : 2D `~numpy.ndarray` of bool
        `True` at patches of 3x3 px or more of exact zeros, and of any other number
        that fills 100 such patches and is not far above the sky, or farther than any
        star. Nowhere where zero is a usual measurement (counts, a cut-off at zero),
        nor where the rest of the image has no noise of its own (models).
    """
    blank = np.zeros(data.shape, dtype=bool)
    usable = np.isfinite(data)
    if unusable is not None:
        usable &= ~unusable
    center = _patch_centers(data) & usable
    numbers, n_centers = np.unique(data[center], return_counts=True)
    candidates = np.flatnonzero((numbers == 0) | (n_centers >= _MIN_CENTERS))
    order = np.argsort(-n_centers[candidates], kind='stable')[:_MAX_NUMBERS]
    for number in numbers[candidates[order]]:
        same = usable & (data == number)
        patches = same & binary_dilation(center & same, _PATCH)
        if _is_fill(number, data, usable & ~patches):
            blank |= patches
    return blank


def _patch_centers(data):
    """Return where all pixels of 3x3 have the same value; a border counts as inside."""
    along = data[:, 1:] == data[:, :-1]
    if not along.any():
        return np.zeros(data.shape, dtype=bool)
    equal = _both_sides(along, axis=1)
    equal &= _both_sides(data[1:] == data[:-1], axis=0)
    # a pixel like its four neighbours, and so the row above and the row below
    rows = minimum_filter(_both_sides(along, axis=1), size=(3, 1), mode='nearest')
    return rows & equal


def _both_sides(equal, axis):
    """Return where a pixel equals the one before and after it along an axis."""
    width = [(1, 1) if k == axis else (0, 0) for k in (0, 1)]
    padded = np.moveaxis(np.pad(equal, width, constant_values=True), axis, 0)
    return np.moveaxis(padded[1:] & padded[:-1], 0, axis)


def _is_fill(number, data, rest):
    """Whether a number stands for missing data, given where the rest is."""
    values = data[rest].astype(float)
    if values.size == 0:
        return False
    low, middle, high = np.percentile(values, [25, 50, 75])
    quantum = find_quantum(values)
    if quantum > 0 and high - low < 8 * quantum:
        # Steps as coarse as the noise. Single photons stand out, they are no minima.
        is_noisy = _is_noisy(data, rest) or _is_noisy(-1.0 * data, rest)
        return is_noisy and np.mean(values == number) < _MAX_USUAL
    if not _is_noisy(data, rest):
        return False
    spread = (high - low) / 1.349
    is_wild = number - middle > _WILD * spread > 0
    if number - middle > _MAX_LEVEL * spread and not is_wild:
        return False
    above = values - number
    is_lowest = not np.any(above < 0)
    return not (is_lowest and np.mean(above < 0.1 * (high - low)) > _MAX_CUT)


def _is_noisy(data, rest):
    """Whether the rest of an image has as many local minima as noise has."""
    lowest = minimum_filter(
        np.where(rest, data, np.inf), footprint=_NEIGHBORS, mode='nearest'
    )
    inner = minimum_filter(rest, size=3, mode='nearest')
    return np.mean(data < lowest, where=inner) > _MIN_MINIMA if inner.any() else False
