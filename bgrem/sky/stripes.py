"""
Rows and columns that are brighter or darker along their whole length.

Detectors produce them: the 1/f noise of an infrared array, the bias of each column. To
the network they are faint lines of light. Numpy and scipy only.
"""

import numpy as np
from scipy import ndimage

from bgrem.sky.mesh import find_quantum
from bgrem.sky.normalize import estimate_normalization

__all__ = ['find_stripes', 'measure_stripes', 'stripes_of_sums', 'sum_lines']

# A row with a smaller part of usable pixels than this has no level of its own.
_MIN_PART = 0.1
# The variance of a median, of independent normal values, over that of their mean.
_MEDIAN_VARIANCE = np.pi / 2
# Light is left out where the mean of so many pixels is so many of its own standard
# deviations above the sky.
_LIGHT_WINDOW = 5
_LIGHT = 3.0
# Stripes are the same in both halves of their length (correlation of the steps from one
# to the next), which the rest of the sky is not; and rough, which fringes are not: the
# mean square of the steps is more than this part of that of steps four times as long.
_MIN_COHERENCE = 0.5
_MIN_ROUGHNESS = 0.3
_LONG_STEP = 4
_MIN_STRIPES = 32


def measure_stripes(data, unusable):
    """
    Measure the levels of the rows and of the columns of an image.

    Parameters
    ----------
    data : 2D `~numpy.ndarray` of float
        The image.
    unusable : 2D `~numpy.ndarray` of bool
        True at pixels to ignore, including all that are not finite.

    Returns
    -------
    rows, columns : 1D `~numpy.ndarray` of float
        The levels to subtract from each row and each column, in the unit of the data.

    Notes
    -----
    The smooth sky is subtracted. The levels are then medians, first of the rows, then
    of the columns of what is left. All this is done once more, without the stripes
    found and without bright pixels, as far as these can be recognized in windows of 5
    px. What rows have in common over the 48 px of a box is left to the sky. A median
    has an error of its own, so all levels are multiplied by the fraction of their
    variance that exceeds it (the Wiener filter), which is zero in an image without
    stripes.
    """
    rows, columns = (np.zeros(n) for n in data.shape)
    usable = ~unusable
    # The median of data in coarse steps jumps by a whole step; spread evenly over their
    # steps, they have the median of grouped data.
    quantum = find_quantum(data[usable])
    data = data + quantum * (np.random.default_rng(0).random(data.shape) - 0.5)
    for last in (False, True):
        clean = data - rows[:, None] - columns
        maps = estimate_normalization(clean, unusable, lines=False)
        sky = np.where(usable & (maps.scale > 0), clean - maps.center, np.nan)
        if last:
            sky[_bright_pixels(sky, maps.scale)] = np.nan
        more = _levels(sky)
        rows += more
        sky -= more[:, None]
        columns += _levels(sky.T)
        noise = np.median(maps.scale)
    n_used = np.isfinite(sky)
    return tuple(
        levels * _signal_part(levels, noise, np.count_nonzero(n_used, axis))
        for levels, axis in ((rows, 1), (columns, 0))
    )


def find_stripes(rest, usable):
    """
    Find stripes: rows and columns with offsets.

    Parameters
    ----------
    rest : 2D `~numpy.ndarray` of float
        The image without its sources and most of its sky, in units of the noise.
    usable : 2D `~numpy.ndarray` of bool
        True at pixels that are not wild.

    Returns
    -------
    rows, columns : 1D `~numpy.ndarray` of float
        The mean of each row and column; 0 if they are not stripes.

    Notes
    -----
    Stripes differ as much from their neighbors as from lines a few pixels further on,
    and in the same way in both halves of the image. A step, an even slope or fringes do
    not.
    """
    rows = slice(0, len(rest))
    return stripes_of_sums([sum_lines(rest, usable, rows, len(rest))])


def sum_lines(rest, usable, rows, n_rows):
    """
    Sum a band of an image along its rows and columns, for `stripes_of_sums`.

    Parameters
    ----------
    rest, usable : 2D `~numpy.ndarray`
        As for `find_stripes`, in the rows of the band.
    rows : slice
        These rows.
    n_rows : int
        The number of rows of the image.

    Returns
    -------
    sums : tuple of 2 3D `~numpy.ndarray` of float64
        For each row of the band and for each column, the sums and the numbers of pixels
        (first axis) in both halves of its length (second axis).
    """
    rest = np.where(usable, rest, 0)
    usable = usable.astype(np.float32)
    middle = rest.shape[1] // 2
    below = min(max(n_rows // 2 - rows.start, 0), len(rest))
    halves = [
        [np.s_[:, :middle], np.s_[:, middle:]],
        [np.s_[:below], np.s_[below:]],
    ]
    return tuple(
        np.array(
            [[image[half].sum(axis=axis) for half in both] for image in (rest, usable)],
            dtype=float,
        )
        for both, axis in zip(halves, (1, 0), strict=True)
    )


def stripes_of_sums(sums):
    """
    Find the stripes of an image from the sums of its bands.

    Parameters
    ----------
    sums : list
        The results of `sum_lines` for all bands, in order.

    Returns
    -------
    rows, columns : 1D `~numpy.ndarray` of float
        As from `find_stripes`.
    """
    found = []
    of_rows = np.concatenate([one for one, _ in sums], axis=-1)
    of_columns = np.sum([one for _, one in sums], axis=0)
    lengths = of_columns.shape[-1], of_rows.shape[-1]
    for (total, n_values), length in zip((of_rows, of_columns), lengths, strict=True):
        half = length // 2
        levels = _means(total.sum(axis=0), n_values.sum(axis=0), length)
        halves = (
            _means(total[k], n_values[k], n)
            for k, n in enumerate((half, length - half))
        )
        is_striped = min(len(levels), half) >= _MIN_STRIPES and _are_stripes(*halves)
        found.append(np.nan_to_num(levels) if is_striped else np.zeros(len(levels)))
    return tuple(found)


def _means(total, n_values, length):
    """Return the mean of each row, NaN where it has too few values."""
    enough = n_values > _MIN_PART * length
    return np.where(enough, total / np.maximum(n_values, 1), np.nan)


def _are_stripes(first, second):
    """Whether the levels of two halves of rows are alike, and rough."""
    products = []
    for step in (1, _LONG_STEP):
        steps = np.stack([half[step:] - half[:-step] for half in (first, second)])
        steps = steps[:, np.isfinite(steps).all(axis=0)]
        if steps.shape[1] < _MIN_STRIPES:
            return False
        # a few large ones are those of a border or of amplifiers
        bound = 3 * 1.4826 * np.median(np.abs(steps), axis=1, keepdims=True)
        steps = np.clip(steps, -bound, bound)
        products.append((steps @ steps.T) / steps.shape[1])
    (own, common), (_, other) = products[0]
    coherence = common / np.sqrt(own * other) if own * other > 0 else 0
    return coherence > _MIN_COHERENCE and common > _MIN_ROUGHNESS * products[1][0, 1]


def _bright_pixels(sky, noise):
    """Return where windows of some pixels show light."""
    light = ndimage.uniform_filter(np.nan_to_num(sky), _LIGHT_WINDOW)
    return light > _LIGHT / _LIGHT_WINDOW * noise


def _levels(values):
    """
    Return the median of each row that has enough values, about that of all, else 0.

    The median of skewed noise is not its sky: all rows are off by the same.
    """
    enough = np.mean(np.isfinite(values), axis=1) > _MIN_PART
    levels = np.zeros(len(values))
    if enough.any():
        medians = np.nanmedian(values[enough], axis=1)
        levels[enough] = medians - np.median(medians)
    return levels


def _signal_part(levels, noise, n_values):
    """Return which part of the variance of the levels is not that of their errors."""
    measured = (levels != 0) & (n_values > 0)
    if not measured.any():
        return 0.0
    error = np.mean(_MEDIAN_VARIANCE * noise**2 / n_values[measured])
    return max(1 - error / np.mean(np.square(levels[measured])), 0.0)
