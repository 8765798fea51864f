"""
A smooth surface through noisy means of boxes, as detailed as the image allows.

From scale to scale, coarse to fine, the residuals of the means from the current surface
are smoothed with local linear fits. How much of this is added is decided place by
place, by how well it predicts means that were not used. Where no structure is seen,
nothing is added, so that the error is that of the whole image; at a step, everything is
added, down to the boxes; where nothing was measured, the surface of the previous scale
is kept. Numpy and scipy only.
"""

from dataclasses import dataclass

import numpy as np

from bgrem.sky.maps import MeshMap

__all__ = ['BoxMeans', 'Surface', 'fit_surface', 'sum_triangle']

_COARSEST = 4  # boxes along the longer axis: there the surface is a plane
# In one line or two of boxes half of so few would be too few for a slope.
_FEW_LINES, _COARSEST_LINE = 2, 10
# Half widths of the smoothing, in boxes of each scale; the finest scale has a second.
_WIDTH, _LEAST_WIDTH = 4, 2
# Half widths of the windows, in boxes, over which it is judged what a smoothing tells,
# and the weights of their sums: the wider one is for places that are nearly empty.
_WINDOWS = ((16, 1.0), (48, 0.3 / 9))
# What a smoothing tells must be above chance by this factor. The products of two boxes
# come in twice, so that these are 2.5 standard deviations.
_SIGNIFICANCE = 3.5
_TILT_SIGNIFICANCE = 3.0
# A mean that is further off than this, in its standard deviations, counts less: a
# step or the rest of a star tells nothing about the sky beside it.
_TYPICAL = 3.0
# Where a smoothing is known more than ten times worse than usual (in variance) it
# stands on the means of a galaxy, or on none: then it is believed less, as if it were
# ten times worse.
_POOR = 10.0
_RIDGE = 1e-3  # of the local lines, in means of typical weight; for empty places
_MOST_BOXES = 2**15  # that are smoothed at once
# The windows, much wider, are summed over squares of so many boxes, where there are
# this many along both axes.
_SQUARE, _MANY = 4, 32


@dataclass(frozen=True, eq=False)
class BoxMeans:
    """
    The means of the boxes of a mesh.

    Attributes
    ----------
    mean : 2D `~numpy.ndarray` of float64
        The mean of each box; any finite value if there is none.
    weight : 2D `~numpy.ndarray` of float64
        The inverse variance of the mean; 0 if there is none.
    y, x : 2D `~numpy.ndarray` of float
        The mean position of the pixels of a box relative to its center, in boxes.
    """

    mean: np.ndarray
    weight: np.ndarray
    y: np.ndarray
    x: np.ndarray

    def paired(self):
        """
        Return the means of boxes of twice the size (`BoxMeans`).
        """
        weight = _sum_pairs(self.weight)
        total = np.where(weight > 0, weight, 1)
        mean = _sum_pairs(np.multiply(self.weight, self.mean, dtype=float)) / total
        places = []
        for axis, offset in enumerate((self.y, self.x)):
            second = np.arange(offset.shape[axis], dtype=offset.dtype) % 2
            place = offset + np.expand_dims(second, 1 - axis)
            middle = 0.5 * (weight > 0)  # of a pair
            places.append((_sum_pairs(self.weight * place) / total - middle) / 2)
        return BoxMeans(mean, weight, *places)

    def rows(self, some):
        """
        Return some rows of boxes (`BoxMeans`), in double precision.
        """
        values = self.mean, self.weight, self.y, self.x
        return BoxMeans(*(one[some].astype(float) for one in values))


@dataclass(frozen=True, eq=False)
class Surface:
    """
    A surface on the finest mesh that it needs.

    Attributes
    ----------
    level : 2D `~numpy.ndarray` of float64
        The surface at the centers of the boxes.
    variance : 2D `~numpy.ndarray` of float64
        Its variance due to the scatter of the means, in units of their inverse weight.
    factor : int
        The size of these boxes in units of those of the means, a power of two.
    """

    level: np.ndarray
    variance: np.ndarray
    factor: int

    def rows(self, some):
        """
        Return level and variance in some rows of boxes (a slice).
        """
        return self.level[some], self.variance[some]

    def halved(self, shape):
        """
        Return the same surface on ``shape`` boxes of half the size (`Surface`).
        """
        rows = _Halved(self, shape).rows(slice(0, shape[0]))
        return Surface(*rows, self.factor // 2)


class _Halved:
    """A surface on boxes of half the size, made row by row where it is needed."""

    def __init__(self, surface, shape):
        self._level = MeshMap(surface.level, shape, (2, 2), edges='linear')
        # a spline could make it negative
        self._variance, self._shape = surface.variance, shape

    def rows(self, some):
        start, stop, _ = some.indices(self._shape[0])
        variance = self._variance[start // 2 : -(-stop // 2)]
        variance = variance.repeat(2, axis=0).repeat(2, axis=1)
        first = start % 2
        variance = variance[first : first + stop - start, : self._shape[1]]
        return self._level.part(some), variance


def fit_surface(means, correlation):
    """
    Fit a smooth surface to the means of boxes.

    Parameters
    ----------
    means : `BoxMeans`
        The means. At least one has a weight; typical weights are near one.
    correlation : callable
        Called with a number of boxes ``n``; returns the correlation coefficients
        ``(y, x)`` of the noise of two neighbors that are ``n`` boxes wide, so that
        what they share for this reason is not taken for sky.

    Returns
    -------
    surface : `Surface`
        The surface.

    Notes
    -----
    The coarsest scale, with four boxes along the longer axis (up to ten if they are in
    one or two lines), is a plane. On each following scale, with boxes of half the size
    of the previous one, a linear function of y and x is fitted to the residuals of the
    means around each box, weighted by a triangle of half width 4 (on the finest scale,
    followed by one of 2). With its prediction ``p`` for a box from the others and the
    residual ``r``, the fraction of the fit that is added is ``(sum(w p r) - 3.5
    sqrt(sum(w p^2) v)) / sum(w p^2)``, clipped to 0 ... 1. The sums are over windows of
    half width 16, ``v`` is the variance of ``w^1/2 (r - p)`` there, and ``w`` is the
    weight, reduced for boxes that ``p`` misses by far. A scale that nowhere changes the
    surface by more than the standard error of its fits is left out.
    """
    pyramid = [means]
    while not _is_coarse(pyramid[-1].mean.shape):
        pyramid.append(pyramid[-1].paired())
    factor = 2 ** (len(pyramid) - 1)
    known = surface = Surface(*_fit_plane(pyramid.pop()), factor)
    while pyramid:
        current, factor = pyramid.pop(), factor // 2
        finer = _Halved(known, current.mean.shape)
        for width in (_WIDTH, _LEAST_WIDTH)[: 2 if factor == 1 else 1]:
            refined = _refine(current, finer, width, correlation(factor))
            if refined is not None:
                finer = surface = Surface(*refined, factor)
        if pyramid:
            known = Surface(*finer.rows(slice(0, len(current.mean))), factor)
    return surface


def _is_coarse(shape):
    """Whether there are so few boxes that their surface is a plane."""
    return max(shape) <= (_COARSEST_LINE if min(shape) <= _FEW_LINES else _COARSEST)


def _fit_plane(means):
    """Return a constant, or a plane where that is significantly better."""
    known = means.weight > 0
    row, column = np.indices(known.shape)
    weight, y, x, mean = (
        values[known].astype(float)
        for values in (means.weight, row + means.y, column + means.x, means.mean)
    )
    total = weight.sum()
    y_middle, x_middle, middle = ((weight * v).sum() / total for v in (y, x, mean))
    level = np.full(known.shape, middle)
    variance = np.full(known.shape, 1 / total)
    n_free = weight.size - 3
    if n_free < 3:
        return level, variance
    places = np.stack([y - y_middle, x - x_middle])
    moments = (places * weight) @ places.T
    # along an axis with one box there is no slope
    inverse = np.linalg.pinv(moments, rcond=1e-6, hermitian=True)
    slopes = inverse @ (places @ (weight * (mean - middle)))
    tilt = slopes @ places
    explained = np.sum(weight * tilt**2)
    scatter = np.sum(weight * (mean - middle - tilt) ** 2) / n_free
    variance *= max(scatter, 1)
    if explained > _TILT_SIGNIFICANCE**2 * scatter:
        part = 1 - _TILT_SIGNIFICANCE**2 * scatter / explained
        y, x = np.indices(known.shape)
        places = np.stack([y - y_middle, x - x_middle])
        level += part * np.tensordot(slopes, places, axes=1)
        of_slopes = np.einsum('ayx,ab,byx->yx', places, inverse, places)
        variance += part**2 * of_slopes * max(scatter, 1)
    return level, variance


def _refine(means, surface, width, correlation):
    """
    Return level and variance of a surface with what a scale adds, or `None`.

    The surface has its ``rows``: on the finest scale it is a part of an image, and
    not there as a whole unless it has changed.
    """
    shape = means.mean.shape
    side = _SQUARE if min(shape) >= _MANY else 1
    common = _common_noise(correlation, width)
    # correlated products scatter more
    wider = np.prod([1 + 2 * one**2 for one in correlation])
    # what is added is known to less than that
    line, spread = np.empty((2, *shape), dtype=np.float32)
    sums = np.empty((6, *(-(-n // side) for n in shape)))

    def fit(rows):
        near = slice(max(rows.start - width, 0), rows.stop + width)
        inner = slice(rows.start - near.start, rows.stop - near.start)
        line[rows], spread[rows], told = _lines(
            means.rows(near), surface.rows(near)[0], width, inner
        )
        squares = slice(rows.start // side, -(-rows.stop // side))
        for values, one in zip(sums, told, strict=True):
            values[squares] = _sum_squares(one, side)

    def add(rows):
        near = slice(max(rows.start // side - 1, 0), -(-rows.stop // side) + 1)
        first = rows.start - near.start * side
        inner = np.s_[first : first + rows.stop - rows.start, : shape[1]]
        part, typical, excess = (_enlarge(one[near], side)[inner] for one in told)
        poor = np.clip(spread[rows] / _POOR, typical, _POOR * typical)
        divisor = part * typical + (1 - part) * poor
        part *= typical / np.where(divisor > 0, divisor, 1)
        line[rows] *= part
        is_changed = np.any(np.square(line[rows]) > np.maximum(spread[rows], 0))
        # the smoothing holds the noise of the surface before, on which it stands
        part *= part
        spread[rows] *= part * excess
        spread[rows] += (1 - part) * surface.rows(rows)[1]
        return is_changed

    bands = _bands(shape)
    # one after the other: threads would wait for each other at each of many small steps
    for rows in bands:
        fit(rows)
    told = _believe(sums, side, common, wider)
    is_changed = [add(rows) for rows in bands]
    if not any(is_changed):
        return None
    # boxes are many: a surface on the same ones, which nobody else has, is replaced
    level = surface.level if isinstance(surface, Surface) else np.empty(shape)
    for rows in bands:
        np.add(surface.rows(rows)[0], line[rows], out=level[rows])
    return level, spread


def _bands(shape):
    """Return rows of boxes, as many as stay in the caches of a processor."""
    step = max(_MOST_BOXES // shape[1] // _SQUARE, 4) * _SQUARE
    return [slice(k, min(k + step, shape[0])) for k in range(0, shape[0], step)]


def _lines(means, level, width, inner):
    """
    Return local lines through the rest of the means, and what these tell of them.

    That is in the ``inner`` rows the line, its variance, and for each box what
    `_believe` sums up.
    """
    weight = means.weight
    known = weight > 0
    rest = np.where(known, means.mean - _at_means(level, means), 0)
    smooth, spread = _smooth(means, rest, width)
    weight, rest, known, smooth, spread = (
        one[inner] for one in (weight, rest, known, smooth, spread)
    )
    # what the others say about a box: its own part is taken out of the line
    own = np.clip(spread * weight, 0, 0.9)
    predicted = (smooth - own * rest) / (1 - own)
    missed = np.where(known, rest - predicted, 0)
    trust = weight / (1 + (missed**2 * weight / _TYPICAL**2) ** 2)
    by_trust = trust * predicted
    told = (
        by_trust * rest,
        by_trust * predicted,
        trust * missed**2,
        trust / np.where(known, weight, 1),
        trust * spread,
        trust,
    )
    return smooth, spread, told


def _believe(sums, side, common, wider):
    """
    Return which part of the lines tells something, around each square of boxes.

    Also the typical variance of the lines there, and by how much the boxes scatter more
    than by their weights, in variance.
    """

    def around(values):
        total = sum(
            factor * sum_triangle(values, width // side) for width, factor in _WINDOWS
        )
        return np.maximum(total, 0)

    both, power, scatter, noise, typical, total = map(around, sums)
    # what a prediction misses has lost about as much of the noise
    both -= common / (1 - common) * scatter
    excess = scatter / np.where(noise > 0, noise, 1)
    chance = np.sqrt(wider * power * excess)
    gain = both - _SIGNIFICANCE * chance
    part = np.clip(gain / np.where(power > 0, power, 1), 0, 1)
    typical /= np.where(total > 0, total, 1)
    return [one.astype(np.float32) for one in (part, typical, np.maximum(excess, 1))]


def _sum_squares(values, side):
    """Return the sums over squares of boxes, of which the last may be cut."""
    if side == 1:
        return values
    values = np.pad(values, [(0, -n % side) for n in values.shape])
    values = sum(values[k::side] for k in range(side))
    return sum(values[:, k::side] for k in range(side))


def _enlarge(values, side):
    """Return values between those of squares, linearly, for each of their boxes."""
    if side == 1:
        return values.copy()
    for _ in range(2):  # along one axis, and then along the other
        values = values.T
        padded = np.concatenate([values[:1], values, values[-1:]])
        result = np.empty((len(values), side, values.shape[1]), values.dtype)
        for k in range(side):
            offset = (k + 0.5) / side - 0.5
            beside = padded[:-2] if offset < 0 else padded[2:]
            result[:, k] = (1 - abs(offset)) * values + abs(offset) * beside
        values = result.reshape(-1, values.shape[1])
    return values


def _smooth(means, rest, width):
    """Return local straight lines at the centers of the boxes, and their variance."""
    weight = means.weight
    row, column = np.ogrid[: weight.shape[0], : weight.shape[1]]
    y, x = row + means.y, column + means.x

    def total(values):
        return sum_triangle(values, width)

    y_weight, x_weight = weight * y, weight * x
    w, wy, wx = total(weight), total(y_weight), total(x_weight)
    yy, yx, xx = total(y_weight * y), total(y_weight * x), total(x_weight * x)
    r, ry, rx = total(weight * rest), total(y_weight * rest), total(x_weight * rest)
    # about the center of each box; a slope needs more than a line of boxes
    yy = yy - 2 * row * wy + row**2 * w + 0.02 * w + _RIDGE * width**2 / 6
    xx = xx - 2 * column * wx + column**2 * w + 0.02 * w + _RIDGE * width**2 / 6
    yx = yx - row * wx - column * wy + row * column * w
    wy, wx = wy - row * w, wx - column * w
    ry, rx = ry - row * r, rx - column * r
    w = w + _RIDGE
    # the first row of the inverse of the matrix of the normal equations
    first, second, third = yy * xx - yx**2, wx * yx - wy * xx, wy * yx - wx * yy
    determinant = w * first + wy * second + wx * third
    smooth = (first * r + second * ry + third * rx) / determinant
    return smooth, first / determinant


def _at_means(level, means):
    """Return the surface where the pixels of the boxes are on average."""
    result = level.copy()
    for axis, offset in enumerate((means.y, means.x)):
        if level.shape[axis] > 1:
            result += np.gradient(level, axis=axis) * offset
    return result


def _common_noise(correlation, width):
    """Return the covariance of a box's noise with its prediction, over the variance."""
    triangle = np.maximum(1 - np.abs(np.arange(1 - width, width)) / width, 0)
    lags = np.abs(np.arange(1 - width, width))
    y, x = (np.select([lags == 0, lags == 1], [1, one]) for one in correlation)
    kernel = np.outer(triangle, triangle)
    return (np.sum(kernel * np.outer(y, x)) - 1) / (np.sum(kernel) - 1)


def sum_triangle(values, width):
    """
    Sum over all boxes with weights that fall to 0 over an even number of boxes.

    Near a border the sums are less than those of a whole triangle, as what the first
    of two windows has beyond it is lost to the second.
    """
    half = width // 2
    n_rows, n_columns = values.shape[-2:]
    for before in (half, half - 1):
        # a triangle is what two windows make of each other
        shape = *values.shape[:-2], n_rows + width - 1, n_columns + width - 1
        padded = np.zeros(shape, values.dtype)
        padded[..., before : before + n_rows, before : before + n_columns] = values
        values = _slide(_slide(padded, width, -2), width, -1)
    return values / width**2


def _slide(values, width, axis):
    """Sum along an axis over all windows that are so wide."""
    values, reach = values.swapaxes(0, axis), 1
    while reach < width:
        # of windows that lie side by side, or overlap by none
        factor = 2 if width // reach % 2 == 0 else width // reach
        n = len(values) - (factor - 1) * reach
        total = values[:n] + values[reach : n + reach]
        for k in range(2, factor):
            total += values[k * reach : n + k * reach]
        values, reach = total, reach * factor
    return values.swapaxes(0, axis)


def _sum_pairs(values):
    """Sum over squares of 2 by 2 boxes."""
    values = np.pad(values, [(0, n % 2) for n in values.shape])
    return values[::2, ::2] + values[1::2, ::2] + values[::2, 1::2] + values[1::2, 1::2]
