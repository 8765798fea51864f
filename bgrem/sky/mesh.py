"""
Measure sky level and noise on a coarse mesh.

The estimators stand sources, gradients, correlated noise, discrete counts and
missing data. Numpy and scipy only.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.special import erf

__all__ = [
    'LAG',
    'SKEW_STEPS',
    'SPARSE',
    'Mesh',
    'box_centers',
    'find_quantum',
    'measure_boxes',
    'measure_mesh',
    'mesh_edges',
    'second_difference',
]

_BOX_SIZE = 48  # pixels; wide enough for galaxies, narrow enough for moon glow
#: Of the second differences, in pixels: correlated noise of kernel sigma 1 px is
#: independent at 3 px.
LAG = 3
_LEVEL_CLIP = 3.0  # standard deviations
_NOISE_CLIP = 2.0  # tighter: in a crowded field every third difference holds a star
_ONE_STEP = 1.01  # steps of discrete data: one, with room for rounding
#: Steps of discrete data beyond the clipping at 3 standard deviations: by (z^2 - 1) / 6
#: the third cumulant of photons moves a quantile at z standard deviations (Cornish and
#: Fisher); of 3.5, or two photons in a pixel would never be sky.
SKEW_STEPS = (3.5**2 - 1) / 6
#: Data in steps of more than this part of the noise are single counts: of photons,
#: fewer than four in a pixel.
SPARSE = 0.5
_MAX_STEPS = 1e9  # between neighbouring levels; more cannot be told from rounding
_MAX_ITERATIONS = 10
_MIN_FRACTION = 0.1  # of the values of a box, or
_MIN_VALUES = 50  # this many: then a box is trusted


@dataclass(frozen=True, eq=False)
class Mesh:
    """
    Sky level and noise in the boxes of a coarse mesh.

    Attributes
    ----------
    level : 2D `~numpy.ndarray`
        The sky level of each box; NaN where it has too few usable pixels.
    noise : 2D `~numpy.ndarray`
        The standard deviation of the noise; 0 where the box is exactly smooth,
        NaN where it cannot be measured.
    y_edges, x_edges : 1D `~numpy.ndarray` of int
        The first row (column) of each row (column) of boxes, and the end.
    quantum : float
        The step of discrete data (1 for counts), 0 for continuous ones.
    """

    level: np.ndarray
    noise: np.ndarray
    y_edges: np.ndarray
    x_edges: np.ndarray
    quantum: float


def measure_mesh(data, unusable=None, box_size=_BOX_SIZE, lag=LAG):
    """
    Measure sky level and noise in boxes that cover the image evenly.

    Parameters
    ----------
    data : 2D `~numpy.ndarray`
        The image.
    unusable : 2D `~numpy.ndarray` of bool, optional
        `True` at pixels to ignore; must hold at all that are not finite.
    box_size : int, optional
        The side aimed at, in pixels; each axis is cut into
        ``max(1, round(n / box_size))`` nearly equal parts.
    lag : int, optional
        The distance of the second differences in pixels. Default 3.

    Returns
    -------
    mesh : `Mesh`
        The measurements.

    Notes
    -----
    The level is the mode as SExtractor estimates it, 2.5 median - 1.5 mean of the
    values left by clipping at 3 standard deviations (the median where the two
    differ by more than 0.3 standard deviations), and the clipped mean for discrete
    data with steps of the order of the noise, where a median has no meaning.

    The noise of single counts (steps of more than half of it) is the standard deviation
    of the same values. Else it is that, clipped too, of the second differences
    ``d[i-lag] - 2 d[i] + d[i+lag]`` along both axes, divided by sqrt(6): gradients
    cancel, sources are clipped, and the distance of 3 px makes it see nearly all
    of a noise that neighbouring pixels share.
    """
    if unusable is None:
        unusable = ~np.isfinite(data)
    edges = mesh_edges(data.shape, box_size)
    quantum = find_quantum(data[~unusable])
    level, noise = measure_boxes(data, unusable, edges, quantum, lag)
    return Mesh(level, noise, *edges, quantum)


def mesh_edges(shape, box_size=_BOX_SIZE):
    """
    Cut an image into boxes.

    Parameters
    ----------
    shape : tuple of 2 int
        The shape of the image.
    box_size : int, optional
        As for `measure_mesh`.

    Returns
    -------
    y_edges, x_edges : 1D `~numpy.ndarray` of int
        As of `Mesh`.
    """
    return tuple(_edges(n, box_size) for n in shape)


def measure_boxes(data, unusable, edges, quantum, lag=LAG, rows=None):
    """
    Measure sky level and noise in some boxes of an image.

    Parameters
    ----------
    data, unusable : 2D `~numpy.ndarray`
        As for `measure_mesh`, in the rows of the boxes and ``lag`` more on either side,
        as far as there are any.
    edges : tuple of 2 1D `~numpy.ndarray` of int
        From `mesh_edges`.
    quantum : float
        The step of discrete data.
    lag : int, optional
        As for `measure_mesh`.
    rows : slice, optional
        The rows of the image that the boxes fill, from edge to edge. Default: all.

    Returns
    -------
    level, noise : 2D `~numpy.ndarray`
        As of `Mesh`, of these boxes.
    """
    y_edges, x_edges = edges
    n_rows, n_columns = y_edges[-1], x_edges[-1]
    rows = slice(0, n_rows) if rows is None else rows
    lags = [min(lag, (n - 1) // 2) for n in (n_rows, n_columns)]
    columns = _box_index(x_edges)
    chosen = y_edges[(y_edges >= rows.start) & (y_edges <= rows.stop)]
    there = max(rows.start - lag, 0)  # the first row of the data

    dtype = np.float32 if data.dtype in (np.float16, np.float32) else np.float64
    level = np.empty((len(chosen) - 1, len(x_edges) - 1))
    noise = np.empty_like(level)
    # one row of boxes at a time bounds the memory
    for i, (y0, y1) in enumerate(pairwise(chosen)):
        first, last = max(y0 - lags[0], 0), min(y1 + lags[0], n_rows)
        part = slice(first - there, last - there)
        # sorted as they are: in single precision that takes half the time
        strip = np.where(unusable[part], dtype(np.nan), data[part])
        inner = slice(y0 - first, y1 - first)
        level[i], spread = _clipped_levels(_boxes(strip[inner], columns), quantum)
        strip = strip.astype(float, copy=False)
        differences = np.concatenate(
            [
                _boxes(second_difference(strip, lags[0], axis=0)[inner], columns),
                _boxes(second_difference(strip[inner], lags[1], axis=1), columns),
            ],
            axis=1,
        )
        noise[i] = _clipped_noise(differences, quantum)
        # of single counts every second difference is clipped, or none
        sparse = (quantum > SPARSE * spread) & (noise[i] > 0)
        noise[i] = np.where(sparse, spread, noise[i])

    # a smooth noiseless image leaves only rounding errors
    dtype = data.dtype if data.dtype.kind == 'f' else np.float32
    rounding = np.finfo(dtype).eps * np.abs(level)
    noise[noise <= np.nan_to_num(rounding)] = 0
    return level, noise


def box_centers(edges):
    """
    Return the centres of boxes along one axis.

    Parameters
    ----------
    edges : 1D `~numpy.ndarray` of int
        The first pixel of each box, and the end, as of `Mesh`.

    Returns
    -------
    centers : 1D `~numpy.ndarray` of float
        In pixels.
    """
    return 0.5 * (edges[:-1] + edges[1:] - 1)


def find_quantum(values):
    """
    Find the step of discrete values.

    Parameters
    ----------
    values : 1D `~numpy.ndarray`
        Finite values; at most about 65536 of them are looked at.

    Returns
    -------
    quantum : float
        The step of the grid on which all values near the median lie (1 for
        counts), 0 if there is none.
    """
    sample = values[:: max(1, values.size // 65536)]
    levels = np.unique(sample).astype(float)
    if levels.size < 2:
        return 0.0
    if levels.size == 2:
        # two levels alone always lie on a grid; zero is a third point of a real one
        levels = np.unique(np.append(levels, 0.0))
    middle = np.searchsorted(levels, np.median(sample))
    levels = levels[max(middle - 32, 0) : middle + 32]
    steps = np.diff(levels)
    if levels[-1] - levels[0] > _MAX_STEPS * steps.min():
        return 0.0
    ratio = (levels - levels[0]) / steps.min()
    on_grid = np.all(np.abs(ratio - np.rint(ratio)) < 0.02)
    return float(steps.min()) if on_grid else 0.0


def _edges(n_pixels, box_size):
    n_boxes = max(1, round(n_pixels / box_size))
    return np.arange(n_boxes + 1) * n_pixels // n_boxes


def _box_index(edges):
    """Return the column numbers of each box, -1 where a box is one px narrower."""
    widths = np.diff(edges)
    index = edges[:-1, None] + np.arange(widths.max())
    return np.where(index < edges[1:, None], index, -1)


def _boxes(strip, columns):
    """Return the values of each box of a strip: shape (boxes, pixels)."""
    padded = np.pad(strip, [(0, 0), (0, 1)], constant_values=np.nan)
    return np.moveaxis(padded[:, columns], 0, 1).reshape(len(columns), -1)


def second_difference(image, lag, axis):
    """
    Return d[i-lag] - 2 d[i] + d[i+lag].

    Parameters
    ----------
    image : 2D `~numpy.ndarray` of float
        The image.
    lag : int
        The distance in pixels.
    axis : {0, 1}
        The axis along which the differences are taken.

    Returns
    -------
    difference : 2D `~numpy.ndarray` of float
        NaN where it is not defined.
    """
    result = np.full(image.shape, np.nan)
    n = image.shape[axis]
    if lag < 1 or n < 2 * lag + 1:
        return result
    image, target = np.moveaxis(image, axis, 0), np.moveaxis(result, axis, 0)
    target[lag : n - lag] = (image[: n - 2 * lag] + image[2 * lag :]) - 2 * image[
        lag : n - lag
    ]
    return result


def _sort(values):
    """Sort each row with NaN last, replaced by 0; return also their number."""
    values = np.sort(values, axis=1).astype(float, copy=False)
    n_values = np.count_nonzero(~np.isnan(values), axis=1)
    values[np.isnan(values)] = 0
    return values, n_values


def _sums(values):
    """Return cumulative sums along the rows, from 0."""
    return np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, 1)], axis=1)


def _clipped_levels(values, quantum):
    """Return the sky level of each row of values, and their standard deviation."""
    values, n_values = _sort(values)
    rows, position = np.arange(len(values)), np.arange(values.shape[1])
    enough = n_values >= _least_values(values.shape[1])

    def pick(index):
        return values[rows, np.clip(index, 0, values.shape[1] - 1)]

    def median(low, high):
        return 0.5 * (pick((low + high - 1) // 2) + pick((low + high) // 2))

    low, high = np.zeros_like(n_values), n_values
    middle = median(low, high)
    # quartiles, unlike the full standard deviation, stand many bright sources
    spread = (pick(3 * n_values // 4) - pick(n_values // 4)) / 1.349
    # sums about the median keep their precision on a high pedestal
    values = np.where(position < n_values[:, None], values - middle[:, None], np.inf)
    # a wild value (1e30 for "no data") would swallow all others in a sum
    limit = 1e3 * (spread + quantum)[:, None]
    tame = np.clip(np.where(np.isinf(values), 0, values), -limit, limit)
    sums, squares = _sums(tame), _sums(tame**2)
    center = np.zeros(len(values))
    for _ in range(_MAX_ITERATIONS):
        # one step more, or clipping would turn sparse counts into a constant
        bound = _LEVEL_CLIP * spread + SKEW_STEPS * quantum
        new_low = np.count_nonzero(values < (center - bound)[:, None], axis=1)
        new_high = np.count_nonzero(values <= (center + bound)[:, None], axis=1)
        done = np.array_equal(new_low, low) and np.array_equal(new_high, high)
        low, high = new_low, new_high
        n_left = np.maximum(high - low, 1)
        mean = (sums[rows, high] - sums[rows, low]) / n_left
        variance = (squares[rows, high] - squares[rows, low]) / n_left - mean**2
        spread = np.sqrt(np.maximum(variance, 0))
        center = np.where(quantum > 0.3 * spread, mean, median(low, high))
        if done:
            break
    skewed = np.abs(mean - center) >= 0.3 * spread
    level = np.where(skewed, center, 2.5 * center - 1.5 * mean)
    level = np.where(quantum > 0.3 * spread, mean, level)
    return np.where(enough, middle + level, np.nan), np.where(enough, spread, np.nan)


def _clipped_noise(differences, quantum):
    """Return the noise from the second differences in each row."""
    size = np.minimum(np.abs(differences), 1e150)  # its square must be finite
    n_all = np.count_nonzero(~np.isnan(size), axis=1)
    if quantum == 0:
        # noise never repeats exactly: these pixels were filled, not measured
        size[size == 0] = np.nan
    size, n_values = _sort(size)
    rows = np.arange(len(size))
    squares = _sums(size**2)
    valid = np.arange(size.shape[1]) < n_values[:, None]
    # from below, so that sources never enter
    noise = 1.4826 * size[rows, n_values // 2]
    for _ in range(_MAX_ITERATIONS):
        # one count changes a difference by two steps
        bound = _NOISE_CLIP * noise + 2 * _ONE_STEP * quantum
        inside = np.count_nonzero((size <= bound[:, None]) & valid, axis=1)
        previous = noise
        noise = np.sqrt(squares[rows, inside] / np.maximum(inside, 1))
        ratio = np.divide(
            bound, previous, out=np.full_like(noise, np.inf), where=previous > 0
        )
        noise /= _truncated_std(ratio)
        if np.allclose(noise, previous, rtol=1e-3, atol=0):
            break
    noise = noise / np.sqrt(6)
    noise[n_values < _MIN_FRACTION * n_all] = 0
    noise[n_all < _least_values(size.shape[1])] = np.nan
    return noise


def _least_values(n_values):
    """Return how many values of a box must be usable for a measurement."""
    return max(1, min(_MIN_VALUES, _MIN_FRACTION * n_values))


def _truncated_std(bound):
    """Return the standard deviation of a unit normal truncated at +-bound."""
    bound = np.minimum(bound, 30.0)  # beyond, nothing is cut off
    density = np.exp(-0.5 * bound**2) * np.sqrt(2 / np.pi)
    return np.sqrt(1 - bound * density / erf(bound / np.sqrt(2)))
