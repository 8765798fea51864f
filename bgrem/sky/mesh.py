"""
Measure sky level and noise on a coarse mesh.

The estimators are robust against sources, gradients, correlated noise, discrete counts
and missing data. Numpy and scipy only.
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
    'measure_noise',
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
_MAX_STEPS = 1e9  # between neighboring levels; more cannot be told from rounding
_MAX_ITERATIONS = 10
# Of the second differences in a box every second one along either axis is seen: what
# lies between tells little more. Those of boxes of less than so many pixels are all.
_EVERY, _MIN_SIDE = 2, 32
_MOST_PIXELS = 2**20  # that are sorted at once
_MIN_FRACTION = 0.1  # of the values of a box, or
_MIN_VALUES = 50  # this many: then a box is trusted


@dataclass(frozen=True, eq=False)
class Mesh:
    """
    Sky level and noise in the boxes of a coarse mesh.

    Attributes
    ----------
    level : 2D `~numpy.ndarray`
        The sky level of each box; NaN if it has too few usable pixels.
    noise : 2D `~numpy.ndarray`
        The standard deviation of the noise; 0 if the box is perfectly smooth,
        NaN if it cannot be measured.
    y_edges, x_edges : 1D `~numpy.ndarray` of int
        The first row (column) of each row (column) of boxes, and the end.
    quantum : float
        The step of discrete data (1 for counts), 0 for continuous data.
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
        `True` at pixels to ignore; must include all that are not finite.
    box_size : int, optional
        The desired side in pixels; each axis is divided into
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
    values left after clipping at 3 standard deviations (the median if the two
    differ by more than 0.3 standard deviations). For discrete data with steps of the
    order of the noise, for which a median has no meaning, it is the clipped mean.

    The noise of single counts (steps of more than half the noise) is the standard
    deviation of the same values. Otherwise, it is the clipped standard deviation of the
    second differences ``d[i-lag] - 2 d[i] + d[i+lag]`` along both axes, divided by
    sqrt(6): gradients cancel, sources are clipped, and the distance of 3 px makes it
    sensitive to nearly all of the noise shared by neighboring pixels.
    """
    if unusable is None:
        unusable = ~np.isfinite(data)
    edges = mesh_edges(data.shape, box_size)
    quantum = find_quantum(data[~unusable])
    level, noise = measure_boxes(data, unusable, edges, quantum, lag)
    return Mesh(level, noise, *edges, quantum)


def mesh_edges(shape, box_size=_BOX_SIZE):
    """
    Divide an image into boxes.

    Parameters
    ----------
    shape : tuple of 2 int
        The shape of the image.
    box_size : int, optional
        As for `measure_mesh`.

    Returns
    -------
    y_edges, x_edges : 1D `~numpy.ndarray` of int
        As in `Mesh`.
    """
    return tuple(_edges(n, box_size) for n in shape)


def measure_boxes(data, unusable, edges, quantum, lag=LAG, rows=None):
    """
    Measure sky level and noise in some boxes of an image.

    Parameters
    ----------
    data, unusable : 2D `~numpy.ndarray`
        As for `measure_mesh`, in the rows of the boxes and ``lag`` more on each side,
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
        As in `Mesh`, for these boxes.
    """
    levels, spreads, (noises,) = _measure(data, unusable, edges, quantum, (lag,), rows)
    return levels, _finish_noise(noises, levels, spreads, quantum, data.dtype)


def measure_noise(data, unusable, lags, box_size=_BOX_SIZE):
    """
    Measure the noise in boxes that cover the image evenly, at several lags.

    Parameters
    ----------
    data, unusable
        As for `measure_mesh`.
    lags : sequence of int
        The distances of the second differences in pixels.
    box_size : int, optional
        As for `measure_mesh`.

    Returns
    -------
    noises : list of 2D `~numpy.ndarray`
        As in `Mesh`, for each lag.
    """
    quantum = find_quantum(data[~unusable])
    levels, spreads, noises = _measure(
        data, unusable, mesh_edges(data.shape, box_size), quantum, lags, None
    )
    return [_finish_noise(one, levels, spreads, quantum, data.dtype) for one in noises]


def _measure(data, unusable, edges, quantum, lags, rows):
    """Return levels, standard deviations and, for each lag, noises of boxes."""
    y_edges, x_edges = edges
    n_rows, n_columns = y_edges[-1], x_edges[-1]
    rows = slice(0, n_rows) if rows is None else rows
    chosen = y_edges[(y_edges >= rows.start) & (y_edges <= rows.stop)]
    there = max(rows.start - max(lags), 0)  # the first row of the data
    # sorted as they are: in single precision that takes half the time
    dtype = np.float32 if data.dtype in (np.float16, np.float32) else np.float64
    height, width = (np.diff(one).max() for one in edges)
    step = _EVERY if min(height, width) >= _MIN_SIDE else 1
    levels, spreads, *noises = np.empty(
        (2 + len(lags), len(chosen) - 1, len(x_edges) - 1)
    )
    # some rows of boxes at a time bound the memory
    n_some = max(1, int(_MOST_PIXELS // (height * n_columns)))
    for start in range(0, len(levels), n_some):
        some = slice(start, start + n_some)
        values, differences = [], [[] for _ in lags]
        for y0, y1 in pairwise(chosen[start : start + n_some + 1]):
            reach = [
                slice(max(y0 - lag, 0) - there, min(y1 + lag, n_rows) - there)
                for lag in (max(lags), 0)
            ]
            strip = data[reach[0]].astype(dtype, copy=False)
            if unusable[reach[0]].any():
                strip = np.where(unusable[reach[0]], dtype(np.nan), strip)
            first = reach[1].start - reach[0].start
            inner = slice(first, first + y1 - y0)
            values.append(_boxes(strip[inner], x_edges, (height, width)))
            for lag, found in zip(lags, differences, strict=True):
                lag_y, lag_x = (min(lag, (n - 1) // 2) for n in (n_rows, n_columns))
                found.append(
                    np.concatenate(
                        [
                            _boxes(
                                second_difference(strip, lag_y, axis=0)[inner][::step],
                                x_edges,
                                (-(-height // step), width),
                            ),
                            _boxes(
                                second_difference(strip[inner], lag_x, axis=1),
                                x_edges,
                                (height, -(-width // step)),
                                step,
                            ),
                        ],
                        axis=1,
                    )
                )
        shape = -1, len(x_edges) - 1
        levels[some], spreads[some] = (
            one.reshape(shape)
            for one in _clipped_levels(np.concatenate(values), quantum)
        )
        for noise, found in zip(noises, differences, strict=True):
            found = _clipped_noise(np.concatenate(found), quantum)
            noise[some] = found.reshape(shape)
    return levels, spreads, noises


def _finish_noise(noise, level, spread, quantum, dtype):
    """Return the noise of boxes, of whatever kind it is."""
    # of single counts every second difference is clipped, or none
    sparse = (quantum > SPARSE * spread) & (noise > 0)
    noise = np.where(sparse, spread, noise)
    # a smooth noiseless image leaves only rounding errors
    rounding = np.finfo(dtype if dtype.kind == 'f' else np.float32).eps * np.abs(level)
    noise[noise <= np.nan_to_num(rounding)] = 0
    return noise


def box_centers(edges):
    """
    Return the centers of boxes along one axis.

    Parameters
    ----------
    edges : 1D `~numpy.ndarray` of int
        The first pixel of each box, and the end, as in `Mesh`.

    Returns
    -------
    centers : 1D `~numpy.ndarray` of float
        The centers in pixels.
    """
    return 0.5 * (edges[:-1] + edges[1:] - 1)


def find_quantum(values):
    """
    Find the step of discrete values.

    Parameters
    ----------
    values : 1D `~numpy.ndarray`
        Finite values; at most about 65536 of them are used.

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


def _boxes(strip, edges, shape, step=1):
    """Return every ``step``-th column of each box of a strip: (boxes, pixels)."""
    boxes = np.full((len(edges) - 1, *shape), np.nan, dtype=strip.dtype)
    for box, (start, stop) in zip(boxes, pairwise(edges), strict=True):
        part = strip[:, start:stop:step]
        box[: part.shape[0], : part.shape[1]] = part
    return boxes.reshape(len(boxes), -1)


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
    result = np.full(image.shape, np.nan, dtype=np.result_type(image, np.float32))
    n = image.shape[axis]
    if lag < 1 or n < 2 * lag + 1:
        return result
    image, target = np.moveaxis(image, axis, 0), np.moveaxis(result, axis, 0)
    middle, inner = image[lag : n - lag], target[lag : n - lag]
    with np.errstate(over='ignore', invalid='ignore'):  # of wild values
        # differences of values that are nearly the same are exact
        np.subtract(image[: n - 2 * lag], middle, out=inner)
        inner += image[2 * lag :] - middle
    return result


class _Sorted:
    """Rows of values in ascending order, and the sums of parts of them."""

    def __init__(self, values):
        # a place more, so that parts may end at the end
        self.values = np.empty((len(values), values.shape[1] + 1), values.dtype)
        self.values[:, :-1] = values
        self.values[:, -1] = np.nan
        self.values.sort(axis=1)  # NaN come last
        self.n_values = values.shape[1] - np.count_nonzero(np.isnan(values), axis=1)
        self._rows = np.arange(len(values)) * self.values.shape[1]
        self._squares = None

    def pick(self, index):
        """Return a value of each row."""
        index = np.clip(index, 0, self.values.shape[1] - 1)
        return self.values.ravel()[self._rows + index]

    def median(self, low, high):
        """Return the median of a part of each row."""
        first, second = (self.pick((low + high - k) // 2) for k in (1, 0))
        return 0.5 * first.astype(float) + 0.5 * second

    def count(self, bound, compare):
        """Return how many values of each row, up to a bound, compare with it so."""
        found = np.zeros_like(self.n_values)
        flat, step = self.values.ravel(), 1 << int(self.values.shape[1]).bit_length()
        while step := step // 2:
            tried = found + step
            is_inside = tried <= self.n_values
            place = np.minimum(tried, self.values.shape[1]) - 1
            is_inside &= compare(flat[self._rows + place], bound)
            found = np.where(is_inside, tried, found)
        return found

    def sum(self, low, high):
        """Return the sum of a part of each row."""
        return self._sum(self.values, low, high)

    def sum_squares(self, low, high):
        """Return the sum of the squares of a part of each row."""
        if self._squares is None:
            with np.errstate(over='ignore'):
                self._squares = np.square(self.values)
        return self._sum(self._squares, low, high)

    def _sum(self, values, low, high):
        places = np.stack([self._rows + low, self._rows + high], axis=1).ravel()
        with np.errstate(over='ignore', invalid='ignore'):  # of what is left out
            total = np.add.reduceat(values.ravel(), places)[::2]
        return np.where(high > low, total, 0.0)


def _clipped_levels(values, quantum):
    """Return the sky level of each row of values, and their standard deviation."""
    ordered = _Sorted(values)
    low, high = np.zeros_like(ordered.n_values), ordered.n_values
    enough = high >= _least_values(values.shape[1])
    # values about the median keep their precision on a high pedestal
    middle = np.where(high > 0, ordered.pick(high // 2), 0)
    ordered.values -= middle[:, np.newaxis]
    center = ordered.median(low, high)
    # quartiles, unlike the full standard deviation, stand many bright sources
    spread = (ordered.pick(3 * high // 4) - ordered.pick(high // 4)) / 1.349
    spread = spread.astype(float)
    for _ in range(_MAX_ITERATIONS):
        # one step more, or clipping would turn sparse counts into a constant
        bound = _LEVEL_CLIP * spread + SKEW_STEPS * quantum
        new_low = ordered.count(center - bound, np.less)
        new_high = ordered.count(center + bound, np.less_equal)
        done = np.array_equal(new_low, low) and np.array_equal(new_high, high)
        low, high = new_low, new_high
        n_left = np.maximum(high - low, 1)
        mean = ordered.sum(low, high) / n_left
        power = ordered.sum_squares(low, high) / n_left
        spread = np.sqrt(np.maximum(power - mean**2, 0))
        center = np.where(quantum > 0.3 * spread, mean, ordered.median(low, high))
        if done:
            break
    skewed = np.abs(mean - center) >= 0.3 * spread
    level = np.where(skewed, center, 2.5 * center - 1.5 * mean)
    level = np.where(quantum > 0.3 * spread, mean, level)
    return np.where(enough, middle + level, np.nan), np.where(enough, spread, np.nan)


def _clipped_noise(differences, quantum):
    """Return the noise from the second differences in each row."""
    # the squares must be finite
    size = np.minimum(np.abs(differences), np.sqrt(np.finfo(differences.dtype).max) / 8)
    n_all = np.count_nonzero(~np.isnan(size), axis=1)
    if quantum == 0:
        # noise never repeats exactly: these pixels were filled, not measured
        size[size == 0] = np.nan
    ordered = _Sorted(size)
    first, n_values = np.zeros_like(n_all), ordered.n_values
    # from below, so that sources never enter
    noise = np.where(n_values > 0, 1.4826 * ordered.pick(n_values // 2), 0.0)
    done = np.zeros(noise.shape, dtype=bool)
    for _ in range(_MAX_ITERATIONS):
        # one count changes a difference by two steps
        bound = _NOISE_CLIP * noise + 2 * _ONE_STEP * quantum
        inside = ordered.count(bound, np.less_equal)
        new = np.sqrt(ordered.sum_squares(first, inside) / np.maximum(inside, 1))
        ratio = np.divide(
            bound, noise, out=np.full_like(noise, np.inf), where=noise > 0
        )
        new /= _truncated_std(ratio)
        # one by one: what a box is does not depend on the others
        new, done = (
            np.where(done, noise, new),
            done | np.isclose(new, noise, rtol=1e-3, atol=0),
        )
        noise = new
        if done.all():
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
