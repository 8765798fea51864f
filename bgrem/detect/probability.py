"""
From the network's centre logit to a calibrated probability.
"""

import numpy as np
from scipy import ndimage
from scipy.special import expit, logit

from bgrem.detect.peaks import find_peaks
from bgrem.sky.sampling import split_pixels

__all__ = ['calibrate', 'pool_centers', 'refine_probability']

_AROUND = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=bool)
_MAX_BLOCK = 2**16  # pixels held in float64
_ABOVE = 0.02  # of the way from the squares around to the peak


def calibrate(center_logit, calibration=None):
    """
    Turn the network's centre logit into a calibrated probability.

    Parameters
    ----------
    center_logit : `~numpy.ndarray` of float
        The logit of "a source centre is here", any shape.
    calibration : dict or `None`, optional
        ``{'logit': [...], 'probability': [...]}``, both strictly increasing,
        the probabilities between 0 and 1 exclusive. The log-odds of the
        probability are interpolated linearly between the knots and go on
        with unit slope beyond them, so that the result is strictly
        increasing everywhere (to rounding) and no two peaks merge.
        `None` means that the logit is the log-odds already.

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
        return expit(center_logit.astype(np.float32))
    knots, log_odds = _calibration_knots(calibration)
    probability = np.empty(center_logit.shape, dtype=np.float32)
    result = probability.reshape(-1)
    values = center_logit.reshape(-1)
    # in double precision, a part at a time
    for start in range(0, values.size, _MAX_BLOCK):
        part = values[start : start + _MAX_BLOCK]
        inside = np.interp(part, knots, log_odds)
        # np.interp holds its end values: add what lies beyond the knots.
        inside += part - np.clip(part, knots[0], knots[-1])
        result[start : start + _MAX_BLOCK] = expit(inside)
    return probability


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


def pool_centers(center_logit, *, edges='nearest'):
    """
    Average the probability of a source centre over 3x3 pixels.

    The network spreads the probability of a source over all the pixels where
    its centre may be. A bright galaxy of uncertain centre would rank behind a
    faint star if its highest pixel alone counted.

    Parameters
    ----------
    center_logit : 2D `~numpy.ndarray` of float
        The network's logit of "a source centre is here", finite.
    edges : {'nearest', 'constant'}, optional
        Whether the image is continued beyond the border by its edge (default), or holds
        no centre there.

    Returns
    -------
    pooled : 2D `~numpy.ndarray` of float32
        The logit of the averaged probability, between -16 and 16.
    """
    probability = expit(np.asarray(center_logit, dtype=np.float32))
    pooled = ndimage.uniform_filter(probability, size=3, mode=edges)
    low = np.float32(expit(-16.0))
    np.clip(pooled, low, 1 - low, out=pooled)
    return logit(pooled, out=pooled)


def refine_probability(binned, binning, shape):
    """
    Bring a map of probabilities from squares back to pixels.

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
        That of the square of each pixel, the highest where it has parts in several,
        except in the squares of the peaks: there it is a paraboloid in the log-odds, as
        high as the square, so that the peak stays calibrated, and highest where the
        squares around say that the source is.
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
