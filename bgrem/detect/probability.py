"""
From the network's centre logit to a calibrated probability.
"""

import numpy as np
from scipy import ndimage
from scipy.special import expit, logit

__all__ = ['calibrate', 'pool_centers']


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
    inside = np.interp(center_logit, knots, log_odds)
    # np.interp holds its end values: add what lies beyond the knots.
    beyond = center_logit - np.clip(center_logit, knots[0], knots[-1])
    return expit(inside + beyond).astype(np.float32)


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


def pool_centers(center_logit):
    """
    Average the probability of a source centre over 3x3 pixels.

    The network spreads the probability of a source over all the pixels where
    its centre may be. A bright galaxy of uncertain centre would rank behind a
    faint star if its highest pixel alone counted.

    Parameters
    ----------
    center_logit : 2D `~numpy.ndarray` of float
        The network's logit of "a source centre is here", finite.

    Returns
    -------
    pooled : 2D `~numpy.ndarray` of float32
        The logit of the averaged probability, between -16 and 16. Beyond the
        border the image is continued by its edge.
    """
    probability = expit(np.asarray(center_logit, dtype=np.float32))
    pooled = ndimage.uniform_filter(probability, size=3, mode='nearest')
    low = np.float32(expit(-16.0))
    return logit(np.clip(pooled, low, 1 - low))
