"""
The threshold for a promised fraction of false detections.

The calibrated probabilities say how many detections are false in an image like
those of the calibration. How far the user's own image is from those is seen by
running the detector on its sign-flipped residual: noise is as often negative as
positive and sources are not, so that all that is found there is false. Numpy and
scipy only.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import expit, logit

__all__ = [
    'SymmetryCheck',
    'away_from_sources',
    'check_rate',
    'choose_threshold',
    'shift_probability',
]

# What bright sources leave in the residual is no noise, and not symmetric: the
# flipped image counts only where the denoised image is below this many noise
# standard deviations, and some pixels away from the rest.
_BRIGHT_SIGMA = 5.0
_BRIGHT_MARGIN = 3
# Added to both sums of `SymmetryCheck.log_excess`, so that the few peaks of a small
# image do not throw the threshold: a plain field of 256 px has sums of about 30.
_PRIOR_WEIGHT = 2.0


@dataclass(frozen=True)
class SymmetryCheck:
    """
    False detections as promised, and as found in the sign-flipped residual.

    Both are sums over false peaks of their probability, so that the many hopeless
    ones count little.

    Parameters
    ----------
    promised : float
        What the probabilities p of the image's own peaks promise: the sum of
        p (1 - p).
    flipped : float
        The sum of p over the peaks of the flipped residual, scaled to the area of
        the image.
    """

    promised: float
    flipped: float

    @classmethod
    def from_peaks(cls, probability, flipped_probability, clean_fraction=1.0):
        """
        Sum over peaks.

        Parameters
        ----------
        probability, flipped_probability : 1D array_like of float
            The calibrated probabilities of the peaks of the image, and of those of
            the flipped residual that lie in its clean part.
        clean_fraction : float, optional
            The part of the image that is clean, see `away_from_sources`. Where none
            is, the promise stands unchecked.

        Returns
        -------
        check : `SymmetryCheck`
            The two sums.
        """
        probability = np.asarray(probability, dtype=float)
        flipped = np.asarray(flipped_probability, dtype=float)
        promised = float(np.sum(probability * (1 - probability)))
        if clean_fraction <= 0:
            return cls(promised, promised)
        return cls(promised, float(np.sum(flipped)) / clean_fraction)

    @property
    def log_excess(self):
        """
        The natural logarithm of flipped over promised, 2 added to both; 0 without
        any peaks.
        """
        return float(
            np.log((self.flipped + _PRIOR_WEIGHT) / (self.promised + _PRIOR_WEIGHT))
        )

    def log_odds_shift(self, symmetry):
        """
        Return how much the log-odds of all peaks of the image are to be raised.

        Parameters
        ----------
        symmetry : dict
            The fit of `bgrem.evaluate.symmetry.fit_symmetry`: ``offset``,
            ``slope`` and ``lowest``.

        Returns
        -------
        shift : float
            ``offset + slope * log_excess``. An excess below ``lowest``, as no
            image of the calibration had, counts as ``lowest``: without noise peaks
            in the flipped image nothing is known about those of the image itself
            (the counts of a photon-starved sky are not symmetric).
        """
        excess = max(self.log_excess, symmetry['lowest'])
        return symmetry['offset'] + symmetry['slope'] * excess


def away_from_sources(source, noise):
    """
    Return where the residual holds nothing but noise.

    Parameters
    ----------
    source : 2D `~numpy.ndarray` of float
        The denoised image.
    noise : float or 2D `~numpy.ndarray` of float
        The standard deviation of the noise, in the same unit.

    Returns
    -------
    clean : 2D `~numpy.ndarray` of bool
        True where the denoised image does not exceed 5 standard deviations
        within 3 px, counted along the axes.
    """
    bright = source > _BRIGHT_SIGMA * np.asarray(noise)
    return ~ndimage.binary_dilation(bright, iterations=_BRIGHT_MARGIN)


def shift_probability(probability, shift):
    """
    Shift the log-odds of probabilities, which keeps their order.

    Parameters
    ----------
    probability : array_like of float
        Probabilities in [0, 1].
    shift : float
        What is added to the log-odds.

    Returns
    -------
    shifted : `~numpy.ndarray` of float
        Probabilities in [0, 1].
    """
    return expit(logit(np.asarray(probability, dtype=float)) + shift)


def check_rate(false_discovery_rate):
    """
    Refuse a false-discovery rate that no threshold can have.

    Parameters
    ----------
    false_discovery_rate : float
        Expected fraction of false detections.

    Raises
    ------
    ValueError
        If it is not between 0 and 1 (exclusive).
    """
    if not 0 < false_discovery_rate < 1:
        msg = (
            'false_discovery_rate must be between 0 and 1 (exclusive), got '
            f'{false_discovery_rate}'
        )
        raise ValueError(msg)


def choose_threshold(peak_probabilities, false_discovery_rate, shift=0.0):
    """
    Choose the threshold for a given expected fraction of false detections.

    Parameters
    ----------
    peak_probabilities : 1D array_like of float
        Calibrated probabilities of the peaks. A peak of probability p is
        false with probability 1 - p.
    false_discovery_rate : float
        Expected fraction of false detections, between 0 and 1 (exclusive).
    shift : float, optional
        What is added to the log-odds of the probabilities first, see
        `SymmetryCheck.log_odds_shift`. Default 0.

    Returns
    -------
    threshold : float
        The lowest peak probability, as given, such that the mean of 1 - p over
        all peaks at or above it does not exceed ``false_discovery_rate``; 1 where
        no peak is probable enough.

    Raises
    ------
    ValueError
        If ``false_discovery_rate`` is not between 0 and 1 (exclusive).
    """
    check_rate(false_discovery_rate)
    falling = np.sort(np.asarray(peak_probabilities, dtype=float).ravel())[::-1]
    corrected = shift_probability(falling, shift) if shift else falling
    expected = np.cumsum(1 - corrected) / np.arange(1, falling.size + 1)
    # equal peaks are kept together or not at all
    is_last = np.diff(falling, append=-np.inf) < 0
    kept = np.flatnonzero(is_last & (expected <= false_discovery_rate))
    return float(falling[kept[-1]]) if kept.size else 1.0
