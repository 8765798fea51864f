"""
Pixels that have a value but were not measured.

The empty border of a mosaic, the corners of a rotated frame and the gap between two
detectors are often filled with a constant: zero, -999, the level of the sky. Such a
number repeats exactly over whole areas, which noise never does. Numpy and scipy only.
"""

import numpy as np
from scipy.ndimage import (
    binary_dilation,
    find_objects,
    label,
    maximum_filter,
    minimum_filter,
)

from bgrem.sky.bands import (
    CACHED,
    Measurement,
    NeedsWhole,
    each_band,
    split_rows,
    widen,
)
from bgrem.sky.mesh import find_quantum

__all__ = [
    'BLANK_MARGIN',
    'BlankMeasurement',
    'BlankPixels',
    'blank_pixels',
    'wild_pixels',
]

_PATCH = np.ones((3, 3), dtype=bool)
_NEIGHBORS = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=bool)
# Centers of such patches that a number other than zero must have. Images that were
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
# One pixel in nine of white noise is a minimum of its neighbors, one in 200 if it is
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
_SAMPLE = 2**18  # pixels that tell what all are like
#: Rows in which it is seen whether an area has sharp edges; no margin is larger.
BLANK_MARGIN = 128


def blank_pixels(data, unusable=None):
    """
    Find the areas that were filled with a constant.

    Parameters
    ----------
    data : 2D `~numpy.ndarray`
        The image, of any real dtype.
    unusable : 2D `~numpy.ndarray` of bool, optional
        `True` at pixels known not to hold a measurement.

    Returns
    -------
    blank : 2D `~numpy.ndarray` of bool
        `True` at areas of 3x3 px or more of exact zeros, and of any other number that
        fills 100 such areas and is not far above the sky, or is farther above it than
        any star, or whose areas have edges that no saturated star has. Where zero
        counts are common, only areas of zeros that are too large for chance. Nowhere
        if zero is a common measurement of another kind (a cutoff at zero), if the rest
        of the image has no noise of its own (models), or if most pixels beside the
        areas are one step of the data above or below (a sky whose noise is smaller).
    """
    blank = np.zeros(data.shape, dtype=bool)
    usable = np.isfinite(data)
    if unusable is not None:
        usable &= ~unusable
    center = _patch_centers(data) & usable
    for number in _candidates(*np.unique(data[center], return_counts=True)):
        same, patches = _patches(number, data, usable, center)
        rest = usable & ~patches
        values = data[rest].astype(float)
        if values.size == 0:
            continue
        kind = _judge(
            number,
            values,
            values.min(),
            lambda rest=rest: _is_noisy(*_count_minima(data, rest)),
            lambda rest=rest: _is_noisy(*_count_minima(-1.0 * data, rest)),
            _rim(number, data, patches, rest),
        )
        if kind == 'areas':
            blank |= _empty_areas(same, usable)
        elif kind is not None:
            blank |= _filled(kind, same, patches, data, usable)
    return blank


class BlankMeasurement(Measurement):
    """
    The constants that fill the blank and wild pixels of an image, measured in bands.

    It uses the images ``data`` and ``unusable``; the latter must be True at all pixels
    that are not finite.

    Parameters
    ----------
    shape : tuple of 2 int
        The shape of the image.

    Attributes
    ----------
    result : `BlankPixels` or `None`
        What identifies these pixels.
    sample : 1D `~numpy.ndarray`
        The values of about 260000 usable pixels spread over the image.
    largest : float
        The largest absolute value of a usable pixel.
    n_usable : int
        The number of usable pixels.
    """

    stage = 'numbers'
    margin = 4
    most_stages = 2

    def __init__(self, shape):
        super().__init__(shape)
        self._step = max(1, self.shape[0] * self.shape[1] // _SAMPLE)
        self.result = None

    def _inner(self, rows):
        first = rows.start - max(rows.start - self.margin, 0)
        return slice(first, first + rows.stop - rows.start)

    def _see_numbers(self, rows, data, unusable):
        usable, inner = ~unusable, self._inner(rows)
        center = (_patch_centers(data) & usable)[inner]
        values = data[inner][usable[inner]]
        largest = float(np.abs(values).max()) if values.size else 0.0
        found = np.unique(data[inner][center], return_counts=True)
        return values[:: self._step], values.size, largest, found

    def _learn_numbers(self, seen):
        samples, sizes, largest, found = zip(*seen, strict=True)
        self.sample, self.n_usable = np.concatenate(samples), sum(sizes)
        self.largest = max(largest)
        numbers, counts = map(np.concatenate, zip(*found, strict=True))
        numbers, place = np.unique(numbers, return_inverse=True)
        counts = np.bincount(place, counts, len(numbers)).astype(int)
        self._numbers = _candidates(numbers, counts)
        self.stage = 'rest'
        if len(self._numbers) == 0:
            self._finish([])

    def _see_rest(self, rows, data, unusable):
        usable, inner, seen = ~unusable, self._inner(rows), []
        center = _patch_centers(data) & usable
        for number in self._numbers:
            _, patches = _patches(number, data, usable, center)
            rest = usable & ~patches
            values = data[inner][rest[inner]].astype(float)
            minima = [_count_minima(sign * data, rest, inner) for sign in (1.0, -1.0)]
            lowest = values.min() if values.size else np.inf
            rim = _rim(number, data, patches, rest, inner)
            seen.append((values[:: self._step], lowest, np.array(minima), rim))
        return seen

    def _learn_rest(self, seen):
        rules = []
        for number, of_bands in zip(
            self._numbers, zip(*seen, strict=True), strict=True
        ):
            values, lowest, minima, rim = zip(*of_bands, strict=True)
            values, minima = np.concatenate(values), np.sum(minima, axis=0)
            if values.size == 0:
                continue
            kind = _judge(
                number,
                values,
                min(lowest),
                lambda minima=minima: _is_noisy(*minima[0]),
                lambda minima=minima: _is_noisy(*minima[1]),
                np.concatenate(rim),
            )
            if kind == 'areas':
                msg = 'it holds single counts'
                raise NeedsWhole(msg)
            if kind is not None:
                rules.append((number, kind))
        self._finish(rules)

    def _finish(self, rules):
        self.result = BlankPixels(rules, _wild_bounds(self.sample.astype(float)))
        self.stage = None


class BlankPixels:
    """
    What identifies the blank and wild pixels of an image, in any band of it.

    Parameters
    ----------
    rules : list of tuple
        The numbers that fill areas, and how these areas are recognized.
    wild : tuple of 2 float or `None`
        A typical value and the median.

    Attributes
    ----------
    margin : int
        The number of rows on each side of a band that are needed with it. An area
        brighter than all stars that extends farther is judged by the part inside.
    """

    def __init__(self, rules, wild):
        self._rules, self._wild = rules, wild
        is_edged = any(isinstance(kind, tuple) for _, kind in rules)
        self.margin = (BLANK_MARGIN if is_edged else 4) if rules else 0

    def find(self, data, unusable):
        """
        Find the blank and the wild pixels.

        Parameters
        ----------
        data, unusable : 2D `~numpy.ndarray`
            The band with its margin, and its unusable pixels.

        Returns
        -------
        blank : 2D `~numpy.ndarray` of bool
            As from `blank_pixels` and `wild_pixels` combined.
        """
        blank, usable = np.zeros(data.shape, dtype=bool), ~unusable
        center = _patch_centers(data) & usable if self._rules else blank
        for number, kind in self._rules:
            same, patches = _patches(number, data, usable, center)
            blank |= _filled(kind, same, patches, data, usable)
        if self._wild is not None and _has_wild(data, *self._wild):
            blank |= usable & _is_wild(data, *self._wild)
        return blank


def _candidates(numbers, counts):
    """Return the numbers that may fill patches, the most frequent first."""
    chosen = np.flatnonzero((numbers == 0) | (counts >= _MIN_CENTERS))
    order = np.argsort(-counts[chosen], kind='stable')[:_MAX_NUMBERS]
    return numbers[chosen[order]]


def _patches(number, data, usable, center):
    """Return where the image has a number, and where in whole patches."""
    same = usable & (data == number)
    return same, same & binary_dilation(center & same, _PATCH)


def _patch_centers(data):
    """Return where all pixels of 3x3 have the same value; a border counts as inside."""
    center = np.empty(data.shape, dtype=bool)

    def look(rows):
        wider = widen(rows, 1, len(data))
        inner = slice(rows.start - wider.start, rows.stop - wider.start)
        center[rows] = _centers_of_part(data[wider])[inner]

    each_band(look, split_rows(data.shape, n_pixels=CACHED))
    return center


def _centers_of_part(data):
    along = data[:, 1:] == data[:, :-1]
    if not along.any():
        return np.zeros(data.shape, dtype=bool)
    equal = _both_sides(along, axis=1)
    equal &= _both_sides(data[1:] == data[:-1], axis=0)
    # a pixel like its four neighbors, and so the row above and the row below
    rows = _both_sides(along, axis=1)
    equal[1:] &= rows[:-1]
    equal[:-1] &= rows[1:]
    return equal


def _both_sides(equal, axis):
    """Return where a pixel equals the one before and after it along an axis."""
    shape = [n + (k == axis) for k, n in enumerate(equal.shape)]
    both = np.ones(shape, dtype=bool)
    first, last = both.swapaxes(0, axis)[:-1], both.swapaxes(0, axis)[1:]
    first &= equal.swapaxes(0, axis)
    last &= equal.swapaxes(0, axis)
    return both


def _judge(number, values, lowest, is_noisy, is_spotty, rim):
    """
    Return what a number stands for, from the values of the other pixels.

    ``'patches'``: no data, in all of its patches; a tuple: no data, in those beside
    which hardly a pixel is above its number; ``'areas'``: no data, in areas of zero
    counts that are too large for chance; `None`: it is a measurement.
    """
    low, middle, high = np.percentile(values, [25, 50, 75])
    quantum = find_quantum(values)
    if quantum > 0 and high - low < 8 * quantum:
        # Steps as coarse as the noise. Single photons stand out, they are no minima.
        if not (is_noisy() or is_spotty()):
            return None
        if np.mean(values == number) < _MAX_USUAL:
            return 'patches'
        return 'areas' if number == 0 <= lowest else None
    if not is_noisy():
        return None
    spread = (high - low) / 1.349
    is_wild = number - middle > _WILD * spread > 0
    if number - middle > _MAX_LEVEL * spread and not is_wild:
        return (middle + max(_RIM_HEIGHT * (number - middle), 3 * spread),)
    near = np.mean(values - number < 0.1 * (high - low))
    is_cut = lowest >= number and near > _MAX_CUT
    return None if is_cut or _is_smooth(rim, quantum) else 'patches'


def _rim(number, data, patches, rest, rows=slice(None)):
    """Return how far the pixels beside the patches of a number are from it."""
    beside = (binary_dilation(patches, _PATCH) & rest)[rows]
    return np.abs(data[rows][beside].astype(float) - number)


def _is_smooth(rim, quantum):
    """
    Whether patches go over into what is beside them, one step up or down.

    So does a sky whose noise is smaller than its steps. A fill ends where it ends.
    """
    return rim.size > 0 and quantum > 0 and np.median(rim) < 1.5 * quantum


def _filled(kind, same, patches, data, usable):
    """Return which of the patches of a number stand for missing data."""
    if kind == 'patches':
        return patches
    return patches & _sharp_edged(same, usable, data > kind[0])


def wild_pixels(data, unusable):
    """
    Find the pixels whose values are implausibly far from all others.

    Parameters
    ----------
    data : 2D `~numpy.ndarray` of float
        The image.
    unusable : 2D `~numpy.ndarray` of bool
        `True` at pixels to ignore, including all that are not finite.

    Returns
    -------
    wild : 2D `~numpy.ndarray` of bool
        `True` at pixels beyond 1e16 medians, or 1e16 standard deviations from the
        quartiles.
    """
    usable = ~unusable
    values = data[usable] if unusable.any() else data.ravel()
    bounds = _wild_bounds(values[:: max(1, values.size // _SAMPLE)].astype(float))
    if bounds is None:
        return np.zeros(data.shape, dtype=bool)
    if not _has_wild(values, *bounds):
        return np.zeros(data.shape, dtype=bool)
    return usable & _is_wild(data, *bounds)


def _wild_bounds(values):
    """Return a typical value and the median, or `None` where there is none."""
    if values.size == 0:
        return None
    low, middle, high = np.percentile(values, [25, 50, 75])
    typical = max((high - low) / 1.349, abs(middle))
    return (typical, middle) if typical > 0 else None


def _has_wild(data, typical, middle):
    """Whether any pixel is wild, NaN aside: in most images none is."""
    ends = [combine.reduce(data, axis=None) for combine in (np.fmin, np.fmax)]
    return bool(_is_wild(np.array(ends), typical, middle).any())


def _is_wild(data, typical, middle):
    """Whether pixels are farther than anything is from all others."""
    with np.errstate(over='ignore', invalid='ignore'):
        return np.abs(data / typical - middle / typical) > _WILD_PIXEL


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


def _count_minima(data, rest, rows=slice(None)):
    """Return how many pixels of the rest are local minima, and how many there are."""
    lowest = minimum_filter(
        np.where(rest, data, np.inf), footprint=_NEIGHBORS, mode='nearest'
    )
    inner = minimum_filter(rest, size=3, mode='nearest')[rows]
    is_lower = (data < lowest)[rows]
    return np.count_nonzero(is_lower & inner), np.count_nonzero(inner)


def _is_noisy(n_minima, n_pixels):
    """Whether the rest of an image has as many local minima as noise has."""
    return n_minima > _MIN_MINIMA * n_pixels
