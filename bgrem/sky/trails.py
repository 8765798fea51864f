"""
Long, straight and narrow lines of light: satellite trails, diffraction spikes.

They are no sky, and no sources for the network either. In most boxes a faint trail is
hidden in the noise; sums along lines of all slopes (the fast discrete Radon transform)
show it. Sky has such lines only beside dark ones like them, as fringes and stripes do.
Numpy only.
"""

import numpy as np

from bgrem.sky.bands import each_band

__all__ = ['find_trails']

# Boxes along a line, and along each of its pieces. Lines are summed in strips as wide
# as they are long, of which the next begins so many pieces further on.
_LENGTH, _PIECE = 64, 8
_N_PIECES, _STEP = _LENGTH // _PIECE, 4
_MOST_BOXES = 2**15  # that are looked at at once
# A line is two boxes wide, and is compared with those that lie so far beside it.
_BESIDE = (-5, -3, 3, 5)
# A piece counts by how far it is above all of these, less what they differ by, in units
# of its error. However bright it is, it counts no more than this: a trail has many
# such pieces, a star one or two.
_MOST = 5.0
_LEAST = 14.0  # for the sum of a line, which has three such pieces at least
_DARKER = 2.0  # and this many times that of the darkest line
_SEEN = 2.0  # for the first and the last piece, where a trail may end
_MARGIN = 2  # boxes on each side, for the wings


def find_trails(level, error):
    """
    Find the boxes of an image that lie on long, straight and narrow lines of light.

    Parameters
    ----------
    level : 2D `~numpy.ndarray` of float
        The means of the boxes, defined everywhere.
    error : 2D `~numpy.ndarray` of float
        Their standard errors, above 0.

    Returns
    -------
    found : 2D `~numpy.ndarray` of bool
        True on such lines and beside them.
    """
    found = np.zeros(level.shape, dtype=bool)
    if max(level.shape) < _LENGTH // 2:
        return found
    step, bands = _STEP * _PIECE, []
    for is_steep in (False, True):
        for is_mirrored in (False, True):
            views = [one if is_steep else one.T for one in (level, error, found)]
            views = [one[:, ::-1] if is_mirrored else one for one in views]
            n_rows, n_columns = level.shape if is_steep else level.shape[::-1]
            width = max(_MOST_BOXES // n_columns // step, 1) * step
            for start in range(0, max(n_rows - _LENGTH + step, 1), width):
                rows = slice(start, start + width + _LENGTH - step)
                bands.append([one[rows] for one in views])
    each_band(_look, bands)  # in any order, as nothing but True is written
    return found


def _look(band):
    """Mark the lines that move on by no more than one column from row to row."""
    level, error, _ = band
    pieces = _pieces(level, error)
    # No line is better than the best of its pieces together: hardly any is summed.
    best = pieces.max(axis=1)
    best = np.pad(best, [(0, 0), (0, -best.shape[1] % _LENGTH)])
    best = best.reshape(len(best), -1, _LENGTH).max(axis=2)
    best[:, :-1] = np.maximum(best[:, :-1], best[:, 1:])
    for first in range(0, len(pieces) - _N_PIECES + 1, _STEP):
        some = slice(first, first + _N_PIECES)
        places = np.flatnonzero(best[some].sum(axis=0) >= _LEAST)
        if places.size:
            start = min(places[0] * _LENGTH, pieces.shape[2] - _LENGTH)
            columns = slice(start, (places[-1] + 2) * _LENGTH)
            rows = slice(first * _PIECE, first * _PIECE + _LENGTH)
            _mark(pieces[some], columns, *(one[rows] for one in band))


def _mark(pieces, columns, level, error, found):
    """Mark the lines of a strip that begin in some columns."""
    lines = _sum_lines(pieces[..., columns], _LENGTH)[0]
    slope, start = np.nonzero(lines >= _LEAST)
    if not slope.size:
        return
    dark = _sum_lines(_pieces(-level, error), _LENGTH).max()
    is_alone = lines[slope, start] >= _DARKER * dark
    slope, start = slope[is_alone, np.newaxis], start[is_alone, np.newaxis]
    place = columns.start + start + _course(slope, _LENGTH)
    numbers = np.arange(_N_PIECES)
    seen = pieces[numbers, slope // _N_PIECES, place[:, ::_PIECE]] >= _SEEN
    # from the first to the last, as a star may hide what is between them
    until = np.maximum.accumulate(seen[:, ::-1], axis=1)[:, ::-1]
    seen = np.maximum.accumulate(seen, axis=1) & until
    line, row = np.nonzero(seen.repeat(_PIECE, axis=1)[:, : len(found)])
    for k in range(-_MARGIN, _MARGIN + 2):
        column = place[line, row] - _LENGTH // 2 + k
        inside = (column >= 0) & (column < found.shape[1])
        found[row[inside], column[inside]] = True


def _pieces(level, error):
    """
    Return for how much the pieces of lines count.

    The axes are those of the pieces along a line, of the slopes, and of the columns
    where they begin, the first of which is half the length of a line beyond the border.
    """
    far = _BESIDE[-1]
    beyond = [(0, -len(level) % _PIECE), (_LENGTH // 2 + far, _LENGTH + far)]
    # what goes on unchanged is no line
    level, error = (np.pad(one, beyond, mode='edge') for one in (level, error))
    variance = np.square(error).reshape(-1, 1, _PIECE, error.shape[1]).mean(axis=2)
    level = _sum_lines(level[:, np.newaxis], _PIECE)
    level = (level[..., :-1] + level[..., 1:]) / (2 * _PIECE)
    n = level.shape[2] - 2 * far
    first, *others = (level[..., far + k : far + k + n] for k in _BESIDE)
    high, result = first.copy(), first.copy()
    for beside in others:
        np.maximum(high, beside, out=high)
        np.minimum(result, beside, out=result)
    # level - high - (high - low), of which there is the lowest so far
    result += level[..., far : far + n]
    high *= 2
    result -= high
    result /= np.sqrt(variance[..., far : far + n] / (2 * _PIECE))
    np.clip(result, -_MOST, _MOST, out=result)
    n_more = max(_N_PIECES - len(result), -len(result) % _STEP)
    return np.pad(result, [(0, n_more), (0, 0), (0, 0)]) if n_more else result


def _sum_lines(values, length):
    """Join lines end to end, up to a length, for all slopes (the second axis)."""
    while values.shape[1] < length:
        n_slopes = values.shape[1]
        n = values.shape[2] - n_slopes
        first, second = values[::2], values[1::2]
        values = np.empty((len(first), 2 * n_slopes, n), values.dtype)
        for k in range(2 * n_slopes):
            # a line that rises by 2 k or 2 k + 1 has two halves that rise by k
            rise = (k + 1) // 2
            next_ones = second[:, k // 2, rise : rise + n]
            np.add(first[:, k // 2, :n], next_ones, out=values[:, k])
    return values


def _course(slope, length):
    """Return how far the lines of `_sum_lines` have moved on in each row."""
    if length == 1:
        return np.zeros_like(slope)
    half = _course(slope // 2, length // 2)
    return np.hstack([half, half + (slope + 1) // 2])
