"""
What the sign-flipped residual of an image says about its probabilities.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import logit

from bgrem.detection import MIN_PROBABILITY
from bgrem.discovery import SymmetryCheck
from bgrem.probability import calibrate

__all__ = ['ScenePeaks', 'fit_symmetry']

# Peaks below this have no say in the correction: no threshold comes near them.
_MIN_FITTED = 0.1
_LOWEST_PERCENTILE = 5


@dataclass(frozen=True, eq=False)
class ScenePeaks:
    """
    The peaks of one scene, and those of its sign-flipped residual.

    Parameters
    ----------
    center_logit : 1D `~numpy.ndarray` of float
        The logits of the peaks.
    is_true : 1D `~numpy.ndarray` of bool
        Whether each is matched to a true source.
    flipped_logit : 1D `~numpy.ndarray` of float
        The logits of the peaks of the flipped residual.
    clean_fraction : float
        The part of the image where these were looked for.
    """

    center_logit: np.ndarray
    is_true: np.ndarray
    flipped_logit: np.ndarray
    clean_fraction: float = 1.0

    def probability(self, table):
        """
        Calibrate the peaks.

        Parameters
        ----------
        table : dict
            As `fit_table`.

        Returns
        -------
        probability : 1D `~numpy.ndarray` of float
            The probability of each peak.
        """
        return calibrate(self.center_logit, table).astype(float)

    def check(self, table):
        """
        Compare the flipped residual with the promise.

        Parameters
        ----------
        table : dict
            As `fit_table`.

        Returns
        -------
        check : `~bgrem.discovery.SymmetryCheck`
            As a user's image would have it.
        """
        listed = [
            p[p >= MIN_PROBABILITY]
            for p in (self.probability(table), calibrate(self.flipped_logit, table))
        ]
        return SymmetryCheck.from_peaks(*listed, self.clean_fraction)


def fit_symmetry(scenes, table):
    """
    Fit what the sign-flipped residual says about the log-odds of the peaks.

    Parameters
    ----------
    scenes : sequence of `ScenePeaks`
        The scenes.
    table : dict
        Their calibration, as `fit_table`.

    Returns
    -------
    symmetry : dict
        ``offset``, ``slope`` and ``lowest``, for
        `bgrem.discovery.SymmetryCheck.log_odds_shift`.

    Notes
    -----
    Logistic regression: the log-odds of a peak are those of the table plus ``offset
    + slope * log_excess``. Of the peaks, those of a probability above 0.1 count.
    ``lowest`` is the excess below which one scene in twenty lies.
    """
    excess = np.array([scene.check(table).log_excess for scene in scenes])
    rows = []
    for scene, value in zip(scenes, excess, strict=True):
        p = scene.probability(table)
        rows.append([p, scene.is_true, np.full(p.size, value)])
    p, is_true, value = (np.concatenate(column) for column in zip(*rows, strict=True))
    fitted = p >= _MIN_FITTED
    log_odds, is_true, value = logit(p[fitted]), is_true[fitted], value[fitted]

    def loss(parameters):
        z = log_odds + parameters[0] + parameters[1] * value
        # A weak prior, without which equal excesses leave the slope undetermined.
        prior = 0.5 * np.sum(np.square(parameters))
        return np.sum(np.logaddexp(0, z) - is_true * z) + prior

    offset, slope = minimize(loss, [0.0, 0.0]).x
    return {
        'offset': round(float(offset), 4),
        'slope': round(float(slope), 4),
        'lowest': round(float(np.percentile(excess, _LOWEST_PERCENTILE)), 4),
    }
