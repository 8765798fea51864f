"""
From the center logit of the network to a calibrated probability.
"""

import numpy as np
from scipy import ndimage
from scipy.special import expit, logit

from bgrem.detect.peaks import find_peaks
from bgrem.sky.bands import each_band
from bgrem.sky.sampling import split_pixels

__all__ = ['calibrate', 'pool_centers', 'refine_probability']

_AROUND = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=bool)
_MAX_BLOCK = 2**16  # pixels that stay in the caches
_CELLS = 256  # in which knots are looked up
_ABOVE = 0.02  # of the way from the squares around to the peak


def calibrate(center_logit, calibration=None, *, out=None):
    """
    Convert the center logit of the network to a calibrated probability.

    Parameters
    ----------
    center_logit : `~numpy.ndarray` of float
        The logit of "a source center is here", any shape.
    calibration : dict or `None`, optional
        ``{'logit': [...], 'probability': [...]}``, both strictly increasing, with
        probabilities between 0 and 1 (exclusive). The log-odds of the probability are
        interpolated linearly between these knots, and extrapolated with unit slope
        beyond them. So the result is strictly increasing everywhere (to rounding), and
        no two peaks merge. `None` means that the logit is already the log-odds.
    out : `~numpy.ndarray` of float32, optional
        Where the result is written; may be ``center_logit`` itself.

    Returns
    -------
    probability : `~numpy.ndarray` of float32
        Probability in [0, 1], shape of ``center_logit``. NaN stays NaN.

    Raises
    ------
    ValueError
        If the knots are not strictly increasing, differ in number or lie
        outside their range.
    """
    center_logit = np.asarray(center_logit)
    if calibration is None:
        return expit(center_logit.astype(np.float32), out=out)
    knots, log_odds = _calibration_knots(calibration)
    # of the lines below, between and above the knots; the first is a knot of two
    slopes = np.concatenate([[1], np.diff(log_odds) / np.diff(knots), [1]])
    knots, log_odds = (np.concatenate([one[:1], one]) for one in (knots, log_odds))
    lines = [one.astype(np.float32) for one in (slopes, knots, log_odds)]
    find_line = _line_finder(lines[1])
    probability = out
    if out is None:
        probability = np.empty(center_logit.shape, dtype=np.float32)
    result = probability.reshape(-1)
    values = center_logit.reshape(-1)

    def fill(start):
        part = values[start : start + _MAX_BLOCK].astype(np.float32, copy=False)
        line = find_line(part)
        slope, knot, odds = (one[line] for one in lines)
        slope *= np.subtract(part, knot, out=knot)
        slope += odds
        result[start : start + _MAX_BLOCK] = _logistic(slope)

    # a part at a time stays in the caches
    each_band(fill, range(0, values.size, _MAX_BLOCK))
    return probability


def _line_finder(knots):
    """
    Return a function that tells how many of the knots values have reached.

    The first of them is there twice. Between the first and the last knot are cells of
    one size: a cell says it, but for the few knots in it.
    """
    first, size = knots[0], (knots[-1] - knots[0]) / _CELLS
    if not size > 0:
        return lambda values: (values >= first).astype(np.intp)
    cells = first + size * np.arange(_CELLS + 2)
    known = np.searchsorted(knots[1:], cells, side='right')
    known[1:] = known[:-1].copy()  # rounding may have put a value into the cell before
    n_more = int(np.diff(known, append=knots.size - 1).max()) + 1
    following = np.append(knots[1:], np.float32(np.nan))

    def find(values):
        # NaN may be anywhere
        place = np.fmin(np.fmax((values - first) / size, 0), _CELLS)
        line = known[place.astype(np.intp)]
        line[values < first] = 0
        for _ in range(n_more):
            line += values >= following[line]
        return line

    return find


def _logistic(values):
    """Return the logistic function of float32, written into them."""
    with np.errstate(over='ignore'):  # then it is 0
        np.exp(np.negative(values, out=values), out=values)
    values += 1
    return np.reciprocal(values, out=values)


def _calibration_knots(calibration):
    knots = np.asarray(calibration['logit'], dtype=float)
    probability = np.asarray(calibration['probability'], dtype=float)
    if knots.ndim != 1 or knots.shape != probability.shape or knots.size == 0:
        msg = (
            'calibration logit and probability must be non-empty lists of equal '
            f'length, got shapes {knots.shape} and {probability.shape}'
        )
        raise ValueError(msg)
    if not (np.all(np.diff(knots) > 0) and np.all(np.diff(probability) > 0)):
        msg = 'calibration logit and probability must be strictly increasing'
        raise ValueError(msg)
    if not (probability[0] > 0 and probability[-1] < 1):
        msg = 'calibration probability must be between 0 and 1 (exclusive)'
        raise ValueError(msg)
    return knots, logit(probability)


def pool_centers(center_logit, *, edges='nearest', out=None):
    """
    Average the probability of a source center over 3x3 pixels.

    The network spreads the probability of a source over all the pixels where
    its center may be. If only its highest pixel counted, a bright galaxy with an
    uncertain center would rank below a faint star.

    Parameters
    ----------
    center_logit : 2D `~numpy.ndarray` of float
        The network's logit of "a source center is here", finite.
    edges : {'nearest', 'constant'}, optional
        Whether the image is extended beyond the border by its edge (default), or has
        no center there.
    out : 2D `~numpy.ndarray` of float32, optional
        Where the result is written; may be ``center_logit`` itself.

    Returns
    -------
    pooled : 2D `~numpy.ndarray` of float32
        The logit of the averaged probability, between -16 and 16.
    """
    center_logit = np.asarray(center_logit, dtype=np.float32)
    pooled = np.empty_like(center_logit) if out is None else out
    low = np.float32(expit(-16.0))
    n_rows, n_columns = center_logit.shape
    step = max(1, _MAX_BLOCK // n_columns)
    starts = np.arange(0, n_rows, step)
    # the rows beside a part, before they are written
    above = center_logit[np.maximum(starts - 1, 0)]
    below = center_logit[np.minimum(starts + step, n_rows - 1)]

    def fill(number):
        start, stop = starts[number], min(starts[number] + step, n_rows)
        padded = np.zeros((stop - start + 2, n_columns + 2), dtype=np.float32)
        inner = padded[:, 1:-1]
        inner[0], inner[-1] = above[number], below[number]
        inner[1:-1] = center_logit[start:stop]
        _logistic(inner)
        if edges == 'nearest':
            padded[:, [0, -1]] = padded[:, [1, -2]]
        else:
            padded[0] *= start > 0
            padded[-1] *= stop < n_rows
        rows = padded[:-2] + padded[1:-1]
        rows += padded[2:]
        total = rows[:, :-2] + rows[:, 1:-1]
        total += rows[:, 2:]
        total /= 9
        np.clip(total, low, 1 - low, out=total)
        odds = np.divide(total, 1 - total, out=pooled[start:stop])
        np.log(odds, out=odds)

    each_band(fill, range(len(starts)))
    return pooled


def refine_probability(binned, binning, shape):
    """
    Convert a map of probabilities from squares back to pixels.

    Parameters
    ----------
    binned : 2D `~numpy.ndarray` of float
        The calibrated probability of each square.
    binning : int or float
        The side of the squares in pixels.
    shape : tuple of 2 int
        The shape ``(ny, nx)`` of the image.

    Returns
    -------
    probability : 2D `~numpy.ndarray` of float32
        The probability of the square that holds the pixel, or the highest if it has
        parts in several squares. In the squares of the peaks, it is instead a
        paraboloid in the log-odds, which is as high as the square, so that the peak
        stays calibrated, and highest where the surrounding squares place the source.
    """
    n_parts, side = split_pixels(binning)
    tiny = np.finfo(np.float32).epsneg
    log_odds = logit(np.clip(binned, tiny, 1 - tiny).astype(float))
    fine = np.repeat(np.repeat(log_odds, side, axis=0), side, axis=1)
    peaks = find_peaks(binned)
    y, x = peaks['y'], peaks['x']
    top = log_odds[y, x][:, None, None]
    padded = np.pad(log_odds, 1, mode='edge')
    # of the pixels in a square, in squares
    offset = (np.arange(side) + 0.5) / side - 0.5
    bowls = []
    for (dy, dx), shift in (
        ((1, 0), peaks['y_center'] - y),
        ((0, 1), peaks['x_center'] - x),
    ):
        sides = padded[y + 1 - dy, x + 1 - dx] + padded[y + 1 + dy, x + 1 + dx]
        curvature = sides - 2 * log_odds[y, x]
        bowl = 0.5 * curvature[:, None] * (offset - shift[:, None]) ** 2
        bowls.append(bowl - bowl.max(axis=1, keepdims=True))
    squares = top + bowls[0][:, :, None] + bowls[1][:, None]
    # nowhere below the squares around, which would become peaks
    around = ndimage.maximum_filter(log_odds, footprint=_AROUND, mode='nearest')
    floor = around[y, x][:, None, None]
    squares = np.maximum(squares, floor + _ABOVE * (top - floor))
    # a view: pixel (y, i, x, j) is that of row i and column j in the square (y, x)
    view = fine.reshape(binned.shape[0], side, binned.shape[1], side)
    view[y, :, x, :] = squares
    ny, nx = (n_parts * n for n in shape)
    parts = fine[:ny, :nx].reshape(shape[0], n_parts, shape[1], n_parts)
    return expit(parts.max(axis=(1, 3))).astype(np.float32)
