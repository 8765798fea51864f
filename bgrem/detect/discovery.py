"""
The threshold for a given fraction of false detections.

The calibrated probabilities say how many detections are false in an image like those of
the calibration. Several measurements show how far the user's own image is from those.
The detector is run on the sign-flipped residual: noise is as often negative as positive
but sources are not, so everything found there is false. Few photons are not symmetric;
they are redrawn instead. The noise of neighboring pixels may be correlated, and skewed
noise looks more like sources. And if the PSF is broad, the position of a source is
uncertain, so the probability of each pixel is more uncertain than that of the source.
Numpy and scipy only.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit

from bgrem.checks import check_rate

__all__ = [
    'PRIOR_WEIGHT',
    'SURE',
    'ImageCheck',
    'choose_threshold',
    'noise_shift',
    'shift_probability',
    'source_width',
]

#: Added to both sums of `ImageCheck.log_excess`, so that the few peaks of a small
#: image do not throw the threshold: a plain field of 256 px has sums of about 30.
PRIOR_WEIGHT = 2.0

#: The probability of a peak that is almost certain.
SURE = 0.99
# By how much the noise alone lowers the log-odds at most, a factor of twenty: so few
# peaks say how much it is that the brightest stars are not to depend on it.
_LOWEST_SHIFT = -3.0
# The width is that of such peaks, at least three of them; stars are the most compact.
_MIN_SURE = 3
_COMPACT_PERCENTILE = 20


@dataclass(frozen=True)
class ImageCheck:
    """
    What an image itself says about the reliability of its probabilities.

    The first two parameters are sums of probabilities over false peaks, so that the
    many improbable peaks have little weight.

    Parameters
    ----------
    promised : float
        What the probabilities p of the peaks of the image promise: the sum of
        p (1 - p).
    flipped : float
        The sum of p over the peaks of the flipped residual, or of the redrawn photons,
        scaled to the area of the image.
    correlation : float, optional
        The correlation of the noise of neighboring pixels, see `noise_correlation`.
        Default 0.
    skewness : float, optional
        The skewness of the noise, see `noise_skewness`. Default 0.
    width : float, optional
        The FWHM of the compact sources in pixels, see `source_width`. Default
        NaN: not known.
    noise_shift : float, optional
        The shift of the log-odds with which as many peaks are false as in an image of
        the noise alone, see the function `noise_shift`. Default infinity: there is no
        such image.
    """

    promised: float
    flipped: float
    correlation: float = 0.0
    skewness: float = 0.0
    width: float = np.nan
    noise_shift: float = np.inf

    @classmethod
    def from_peaks(
        cls,
        probability,
        flipped_probability,
        clean_fraction=1.0,
        correlation=0.0,
        skewness=0.0,
        widths=None,
        is_drawn=False,
    ):
        """
        Make the sums from the peaks.

        Parameters
        ----------
        probability, flipped_probability : 1D array_like of float
            The calibrated probabilities of the peaks of the image, and of those of
            the flipped residual that lie in its clean part.
        clean_fraction : float, optional
            The fraction of the image that is clean, see `away_from_sources`. If it is
            0, the probabilities are not checked.
        correlation, skewness : float, optional
            As for the class.
        widths : 1D array_like of float or `None`, optional
            The width of each peak of the image, see `peak_widths`. Default `None`: not
            known.
        is_drawn : bool, optional
            Whether the peaks are those of redrawn photons instead of the flipped
            residual, see `bgrem.inspection.inspect_image`. Default `False`.

        Returns
        -------
        check : `ImageCheck`
            The check.
        """
        probability = np.asarray(probability, dtype=float)
        flipped = np.asarray(flipped_probability, dtype=float)
        promised = float(np.sum(probability * (1 - probability)))
        width = np.nan if widths is None else source_width(widths, probability)
        found, highest = promised, np.inf
        if clean_fraction > 0:
            found = float(np.sum(flipped)) / clean_fraction
            if is_drawn:
                highest = noise_shift(probability, flipped, clean_fraction)
        return cls(promised, found, correlation, skewness, width, highest)

    @property
    def log_excess(self):
        """
        The natural logarithm of ``(flipped + 2) / (promised + 2)``; 0 without any
        peaks.
        """
        return float(
            np.log((self.flipped + PRIOR_WEIGHT) / (self.promised + PRIOR_WEIGHT))
        )

    def terms(self, limits):
        """
        Return the quantities of which the log-odds shift is a linear function.

        Parameters
        ----------
        limits : dict
            ``lowest``, ``typical_width``, ``narrowest`` and ``widest`` of the images
            of the calibration.

        Returns
        -------
        terms : dict
            ``offset``, which is 1; ``excess``, which is at least ``lowest`` (without
            noise peaks in the flipped image, nothing is known about those of the image
            itself); ``correlation``; ``skewness``; ``width``, the logarithm of the
            width divided by the typical one, with the width limited to its range, and 0
            if it is not
            known; and ``width_squared``.
        """
        width = limits['typical_width'] if np.isnan(self.width) else self.width
        width = np.clip(width, limits['narrowest'], limits['widest'])
        log_width = float(np.log(width / limits['typical_width']))
        return {
            'offset': 1.0,
            'excess': max(self.log_excess, limits['lowest']),
            'correlation': self.correlation,
            'skewness': self.skewness,
            'width': log_width,
            'width_squared': log_width**2,
        }

    def log_odds_shift(self, correction):
        """
        Return the shift to be added to the log-odds of all peaks of the image.

        Parameters
        ----------
        correction : dict
            The fit of `bgrem.evaluate.image_check.fit_correction`: one factor for
            each of the `terms`, and their ``limits``.

        Returns
        -------
        shift : float
            The sum of the products of terms and factors, but at most `noise_shift`.
        """
        terms = self.terms(correction['limits'])
        shift = sum(correction[name] * value for name, value in terms.items())
        return min(shift, self.noise_shift)


def noise_shift(probability, drawn, clean_fraction=1.0):
    """
    Compare the peaks of an image with those of an image of its noise.

    The fraction of the peaks that is false depends on the number of sources, which the
    network does not know. The number of false peaks caused by the noise does not.

    Parameters
    ----------
    probability, drawn : 1D array_like of float
        The calibrated probabilities of the peaks of the image, and of those of the
        noise.
    clean_fraction : float, optional
        The fraction of the image in which the latter were searched for.

    Returns
    -------
    shift : float
        The shift of the log-odds of the peaks with which as many are false as are found
        in the noise: the sums of p squared are then equal, so that probable peaks,
        among which the threshold lies, have the largest weight. At least -3, and
        infinite if the noise has no peaks.
    """
    probability, drawn = (np.asarray(p, dtype=float) for p in (probability, drawn))
    wanted = np.sum(drawn**2) / clean_fraction

    def excess(shift):
        false = 1 - shift_probability(probability, shift)
        return np.sum(probability**2 * false) - wanted

    if excess(-_LOWEST_SHIFT) >= 0:
        return np.inf
    if excess(_LOWEST_SHIFT) <= 0:
        return _LOWEST_SHIFT
    return float(brentq(excess, _LOWEST_SHIFT, -_LOWEST_SHIFT))


def source_width(widths, probability):
    """
    Return the width of the compact sources of an image.

    Parameters
    ----------
    widths : 1D array_like of float
        The FWHM of each peak, from `peak_widths`.
    probability : 1D array_like of float
        The calibrated probabilities of the peaks.

    Returns
    -------
    width : float
        The 20th percentile of the widths of the peaks that have a width and a
        probability of at least 0.99; NaN if there are fewer than three.
    """
    widths = np.asarray(widths, dtype=float)
    sure = np.isfinite(widths) & (np.asarray(probability) >= SURE)
    if np.sum(sure) < _MIN_SURE:
        return np.nan
    return float(np.percentile(widths[sure], _COMPACT_PERCENTILE))


def shift_probability(probability, shift):
    """
    Shift the log-odds of probabilities, which keeps their order.

    Parameters
    ----------
    probability : array_like of float
        Probabilities in [0, 1].
    shift : float
        The number added to the log-odds.

    Returns
    -------
    shifted : `~numpy.ndarray` of float
        Probabilities in [0, 1].
    """
    return expit(logit(np.asarray(probability, dtype=float)) + shift)


def choose_threshold(
    peak_probabilities, false_discovery_rate, shift=0.0, *, nearest=False
):
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
        The shift added to the log-odds of the probabilities first, see
        `ImageCheck.log_odds_shift`. Default 0.
    nearest : bool, optional
        Whether the expected fraction may be slightly larger than the rate, if it is
        then closer to it. Otherwise, in images with only a handful of detections each,
        it is far below the rate on average. Default `False`.

    Returns
    -------
    threshold : float
        The lowest peak probability, as given, such that the mean of 1 - p over all
        peaks at or above it does not exceed ``false_discovery_rate``, or is closest to
        it; 1 if no peak is probable enough.

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
    # with no peak at all the fraction is zero
    falling = np.concatenate([[1.0], falling[is_last]])
    expected = np.concatenate([[0.0], expected[is_last]])
    if nearest:
        return float(falling[np.argmin(np.abs(expected - false_discovery_rate))])
    return float(falling[np.flatnonzero(expected <= false_discovery_rate)[-1]])
