"""
Pixels that hold a value and no measurement.

The empty border of a mosaic, the corners of a rotated frame, the gap between two
detectors are often filled with a number: zero, -999, the level of the sky. Such a
number repeats itself exactly over patches, which noise never does. Numpy and scipy
only.
"""

import numpy as np
from scipy.ndimage import (
    binary_dilation,
    find_objects,
    label,
    maximum_filter,
    minimum_filter,
)

from bgrem.sky.mesh import find_quantum

__all__ = ['blank_pixels', 'wild_pixels']

_PATCH = np.ones((3, 3), dtype=bool)
_NEIGHBORS = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=bool)
# Centres of such patches that a number other than zero must have. Images that were
# enlarged by repeating their pixels are full of smaller ones.
_MIN_CENTERS = 100
_MAX_NUMBERS = 4  # the most frequent; each takes its time
# What is further above the median, in standard deviations from the quartiles, may be
# saturated stars: these fade into the sky, a fill ends where it ends. Of the pixels
# around it no more than this part is brighter than this part of its height.
_MAX_LEVEL = 5.0
_RIM_PART = 0.05
_RIM_HEIGHT = 0.2
_WILD = 1e12  # no star is so many standard deviations bright
# nor is a single pixel so many of them, or medians, away: its square means nothing
_WILD_PIXEL = 1e16
# Of the values within a tenth of the quartiles' distance above the number, when
# nothing lies below: so many, and they were cut off there, not filled.
_MAX_CUT = 0.01
# One pixel in nine of white noise is a minimum of its neighbours, one in 200 if it is
# correlated over 3 px. Stars without noise have none.
_MIN_MINIMA = 1 / 500
# In counts a number is usual if more than this part of the rest has it.
_MAX_USUAL = 0.001
# Where zero counts are usual, a window of zeros that an image has by chance with this
# probability is a fill.
_CHANCE = 1e-4
_MAX_ROUNDS = 5  # of finding them, and then how usual zeros are elsewhere
_LARGEST_WINDOW = 4  # px; in it zeros are counted to see how they hang together
_MIN_WINDOWS = 20
# How far from such an area the sky is seen, in px; right beside it there are no zeros.
_RIM = (2, 6)
_LEAST_SKY = 1 / 2  # of that of the whole image


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
        star, or has edges that no saturated star has. Where zero counts are usual,
        patches of zeros so large that chance does not leave them. Nowhere where zero
        is a usual measurement of another kind (a cut-off at zero), nor where the rest
        of the image has no noise of its own (models).
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
        blank |= _filled(number, data, usable, same, patches)
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


def _filled(number, data, usable, same, patches):
    """Return which of the patches of a number stand for missing data."""
    none = np.zeros_like(patches)
    rest = usable & ~patches
    values = data[rest].astype(float)
    if values.size == 0:
        return none
    low, middle, high = np.percentile(values, [25, 50, 75])
    quantum = find_quantum(values)
    if quantum > 0 and high - low < 8 * quantum:
        # Steps as coarse as the noise. Single photons stand out, they are no minima.
        if not (_is_noisy(data, rest) or _is_noisy(-1.0 * data, rest)):
            return none
        if np.mean(values == number) < _MAX_USUAL:
            return patches
        return _empty_areas(same, usable) if number == 0 <= values.min() else none
    if not _is_noisy(data, rest):
        return none
    spread = (high - low) / 1.349
    is_wild = number - middle > _WILD * spread > 0
    if number - middle > _MAX_LEVEL * spread and not is_wild:
        least = middle + max(_RIM_HEIGHT * (number - middle), 3 * spread)
        return patches & _sharp_edged(same, usable, data > least)
    above = values - number
    is_lowest = not np.any(above < 0)
    is_cut = is_lowest and np.mean(above < 0.1 * (high - low)) > _MAX_CUT
    return none if is_cut else patches


def wild_pixels(data, unusable):
    """
    Find the pixels that are farther from all others than anything is.

    Parameters
    ----------
    data : 2D `~numpy.ndarray` of float
        The image.
    unusable : 2D `~numpy.ndarray` of bool
        `True` at pixels to ignore, among them all that are not finite.

    Returns
    -------
    wild : 2D `~numpy.ndarray` of bool
        `True` at pixels beyond 1e16 medians, or standard deviations from the quartiles.
    """
    usable = ~unusable
    values = data[usable].astype(float)
    if values.size == 0:
        return np.zeros(data.shape, dtype=bool)
    low, middle, high = np.percentile(values, [25, 50, 75])
    typical = max((high - low) / 1.349, abs(middle))
    if typical == 0:
        return np.zeros(data.shape, dtype=bool)
    with np.errstate(over='ignore', invalid='ignore'):
        return usable & (np.abs(data / typical - middle / typical) > _WILD_PIXEL)


def _sharp_edged(same, usable, bright):
    """Return the areas of a number around which hardly a pixel is bright."""
    labels, n_labels = label(same, _PATCH)
    rim = usable & ~same
    beside = maximum_filter(labels, size=3)[rim]
    n_rim = np.bincount(beside, minlength=n_labels + 1)
    n_bright = np.bincount(beside[bright[rim]], minlength=n_labels + 1)
    is_sharp = (n_rim > 0) & (n_bright <= _RIM_PART * n_rim)
    is_sharp[0] = False
    return is_sharp[labels]


def _empty_areas(zero, usable):
    """Return the areas of zero counts that are too large for chance."""
    empty = np.zeros_like(zero)
    most = 1  # at first what is found lies among the rest, and hangs together
    for _ in range(_MAX_ROUNDS):
        rate = _emptiness(zero, usable & ~empty, most)
        found = _opened(zero, rate, zero.size)
        if most > 1 and np.array_equal(found, empty):
            break
        empty, most = found, _LARGEST_WINDOW
    # A sky that fades away is thin where it ends.
    typical = _emptiness(zero, usable & ~empty, 1)
    labels, _ = label(empty, _PATCH)
    for index, place in enumerate(find_objects(labels), start=1):
        around = tuple(slice(max(one.start - _RIM[1], 0), one.stop + _RIM[1])
                       for one in place)  # fmt: skip
        area = labels[around] == index
        near, far = (binary_dilation(area, _PATCH, iterations=n) for n in _RIM)
        rim = far & ~near & usable[around] & ~empty[around]
        if not _emptiness(zero[around], rim, 1) > _LEAST_SKY * typical:
            empty[labels == index] = False
    return empty


def _emptiness(zero, rest, most):
    """
    Return how fast windows of zeros become rare with their area.

    Of white noise that is the logarithm of one over the part of the zeros.
    """
    rates = []
    for size in range(1, most + 1):
        inside = minimum_filter(rest, size=size, mode='constant')
        n_zero = np.count_nonzero(minimum_filter(zero & rest, size, mode='constant'))
        n_all = np.count_nonzero(inside)
        if size == 1 or n_zero >= _MIN_WINDOWS:
            rates.append(-np.log(max(n_zero, 0.5) / max(n_all, 1)) / size**2)
    return min(rates)


def _opened(zero, rate, n_places):
    """Return the zeros in windows that are too large to be empty by chance."""
    if rate <= 0:
        return np.zeros_like(zero)
    n_pixels = np.log(n_places / _CHANCE) / rate
    # of an odd number, so that they have a middle; borders and gaps are long
    side = max(int(np.ceil(np.sqrt(n_pixels))), 3) | 1
    length = max(int(np.ceil(n_pixels / 3)), 3) | 1
    found = np.zeros_like(zero)
    for window in ((side, side), (3, length), (length, 3)):
        if all(n <= m for n, m in zip(window, zero.shape, strict=True)):
            middle = minimum_filter(zero, window, mode='constant')
            found |= maximum_filter(middle, window, mode='constant')
    return found


def _is_noisy(data, rest):
    """Whether the rest of an image has as many local minima as noise has."""
    lowest = minimum_filter(
        np.where(rest, data, np.inf), footprint=_NEIGHBORS, mode='nearest'
    )
    inner = minimum_filter(rest, size=3, mode='nearest')
    return np.mean(data < lowest, where=inner) > _MIN_MINIMA if inner.any() else False
