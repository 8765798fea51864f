"""
The threshold for a promised fraction of false detections.

The calibrated probabilities say how many detections are false in an image like
those of the calibration. How far the user's own image is from those is seen in several
ways. The detector is run on its sign-flipped residual: noise is as often negative as
positive and sources are not, so that all that is found there is false. The noise of
neighbouring pixels may be correlated, or what is left of the sky may be; noise that is
skewed, as that of single photons is, looks more like sources. And the PSF may be
broad: then the position of a source is uncertain, and so is the probability of each
pixel, more than that of the source. Numpy and scipy only.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, stats
from scipy.special import expit, logit

__all__ = [
    'SURE',
    'ImageCheck',
    'away_from_sources',
    'check_rate',
    'choose_threshold',
    'noise_correlation',
    'noise_skewness',
    'peak_widths',
    'shift_probability',
    'source_width',
]

# What bright sources leave in the residual is no noise, and not symmetric: the
# flipped image counts only where the denoised image is below this many noise
# standard deviations, and some pixels away from the rest.
_BRIGHT_SIGMA = 5.0
_BRIGHT_MARGIN = 3
# Added to both sums of `ImageCheck.log_excess`, so that the few peaks of a small
# image do not throw the threshold: a plain field of 256 px has sums of about 30.
_PRIOR_WEIGHT = 2.0

#: The probability of a peak that is almost certain.
SURE = 0.99
# The width is that of such peaks whose light is seen, at least three of them; stars
# are the most compact of them.
_SEEN_SIGMA = 0.5
_MIN_SURE = 3
_COMPACT_PERCENTILE = 20
_FWHM = np.sqrt(8 * np.log(2))
# Pixels further than this from the mean, in standard deviations, would be most of a
# skewness; and the skewness of a sky without any photons has no bounds.
_SKEWNESS_CLIP = 5.0
_MAX_SKEWNESS = 2.0
_MAX_PIXELS = 4_000_000


@dataclass(frozen=True)
class ImageCheck:
    """
    What an image itself says about the promise of its probabilities.

    The first two are sums over false peaks of their probability, so that the many
    hopeless ones count little.

    Parameters
    ----------
    promised : float
        What the probabilities p of the image's own peaks promise: the sum of
        p (1 - p).
    flipped : float
        The sum of p over the peaks of the flipped residual, scaled to the area of
        the image.
    correlation : float, optional
        Of the noise of neighbouring pixels, see `noise_correlation`. Default 0.
    skewness : float, optional
        Of the noise, see `noise_skewness`. Default 0.
    width : float, optional
        The FWHM of the compact sources in pixels, see `source_width`. Default
        NaN: not known.
    """

    promised: float
    flipped: float
    correlation: float = 0.0
    skewness: float = 0.0
    width: float = np.nan

    @classmethod
    def from_peaks(
        cls,
        probability,
        flipped_probability,
        clean_fraction=1.0,
        correlation=0.0,
        skewness=0.0,
        widths=(),
    ):
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
        correlation, skewness : float, optional
            As of the class.
        widths : 1D array_like of float, optional
            The width of each peak of the image, see `peak_widths`.

        Returns
        -------
        check : `ImageCheck`
            The sums and the rest.
        """
        probability = np.asarray(probability, dtype=float)
        flipped = np.asarray(flipped_probability, dtype=float)
        promised = float(np.sum(probability * (1 - probability)))
        width = source_width(widths, probability) if len(widths) else np.nan
        found = promised
        if clean_fraction > 0:
            found = float(np.sum(flipped)) / clean_fraction
        return cls(promised, found, correlation, skewness, width)

    @property
    def log_excess(self):
        """
        The natural logarithm of flipped over promised, 2 added to both; 0 without
        any peaks.
        """
        return float(
            np.log((self.flipped + _PRIOR_WEIGHT) / (self.promised + _PRIOR_WEIGHT))
        )

    def terms(self, limits):
        """
        Return what the log-odds shift is a linear function of.

        Parameters
        ----------
        limits : dict
            ``lowest``, ``typical_width``, ``narrowest`` and ``widest``, of the images
            of the calibration.

        Returns
        -------
        terms : dict
            ``offset``, which is 1; ``excess``, not below ``lowest``: without noise
            peaks in the flipped image nothing is known about those of the image
            itself (the counts of a photon-starved sky are not symmetric);
            ``correlation``; ``skewness``; ``width``, the logarithm of the width over
            the typical one, the width within its limits and 0 where it is not
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
        Return how much the log-odds of all peaks of the image are to be raised.

        Parameters
        ----------
        correction : dict
            The fit of `bgrem.evaluate.image_check.fit_correction`: one factor for
            each of the `terms`, and their ``limits``.

        Returns
        -------
        shift : float
            The sum of the terms, each times its factor.
        """
        terms = self.terms(correction['limits'])
        return sum(correction[name] * value for name, value in terms.items())


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


def noise_correlation(residual, clean):
    """
    Return the correlation of the residual of neighbouring pixels.

    Parameters
    ----------
    residual : 2D `~numpy.ndarray` of float
        The image without its sources, in units of the noise.
    clean : 2D `~numpy.ndarray` of bool
        True where it holds nothing else, see `away_from_sources`; finite there.

    Returns
    -------
    correlation : float
        The mean over rows and columns of the autocorrelation at one pixel; 0
        where there are no two clean neighbours.
    """
    n_clean = np.sum(clean)
    if n_clean == 0:
        return 0.0
    mean = float(np.mean(residual, where=clean, dtype=float))
    residual = np.where(clean, residual - mean, 0)
    power = _sum_of_products(residual, residual) / n_clean
    products = []
    for here, next_one in (
        (np.s_[1:, :], np.s_[:-1, :]),
        (np.s_[:, 1:], np.s_[:, :-1]),
    ):
        n_pairs = np.sum(clean[here] & clean[next_one])
        if n_pairs == 0 or power == 0:
            return 0.0
        products.append(_sum_of_products(residual[here], residual[next_one]) / n_pairs)
    return float(np.mean(products) / power)


def _sum_of_products(first, second):
    # without an array for the products
    return np.einsum('ij,ij->', first, second, dtype=float)


def noise_skewness(residual, clean):
    """
    Return the skewness of the residual.

    Parameters
    ----------
    residual : 2D `~numpy.ndarray` of float
        The image without its sources, in units of the noise.
    clean : 2D `~numpy.ndarray` of bool
        True where it holds nothing else, see `away_from_sources`; finite there.

    Returns
    -------
    skewness : float
        Of the pixels within 5 standard deviations of the mean, between -2 and 2; 0
        where there are none, or all are the same. Of images of more than 4
        megapixels only as many are taken, evenly spread.
    """
    # Of a large image some pixels say enough, and sorting them out takes memory.
    step = math.ceil(math.sqrt(residual.size / _MAX_PIXELS))
    residual, clean = residual[::step, ::step], clean[::step, ::step]
    values = residual[clean].astype(float)
    if values.size == 0 or np.ptp(values) == 0:
        return 0.0
    values = (values - values.mean()) / values.std()
    skewness = stats.skew(values[np.abs(values) < _SKEWNESS_CLIP])
    return float(np.clip(np.nan_to_num(skewness), -_MAX_SKEWNESS, _MAX_SKEWNESS))


def source_width(widths, probability):
    """
    Return the width of the compact sources of an image.

    Parameters
    ----------
    widths : 1D array_like of float
        The FWHM of each peak, as `peak_widths`.
    probability : 1D array_like of float
        The calibrated probabilities of the peaks.

    Returns
    -------
    width : float
        The 20th percentile of the widths of the peaks that have one and a
        probability of at least 0.99; NaN where there are less than three.
    """
    widths = np.asarray(widths, dtype=float)
    sure = np.isfinite(widths) & (np.asarray(probability) >= SURE)
    if np.sum(sure) < _MIN_SURE:
        return np.nan
    return float(np.percentile(widths[sure], _COMPACT_PERCENTILE))


def peak_widths(source, noise, y, x):
    """
    Measure the width of the denoised image at the peaks of the probability.

    Parameters
    ----------
    source : 2D `~numpy.ndarray` of float
        The denoised image.
    noise : float or 2D `~numpy.ndarray` of float
        The standard deviation of the noise, in the same unit.
    y, x : 1D `~numpy.ndarray` of int
        The pixels of the peaks.

    Returns
    -------
    widths : 1D `~numpy.ndarray` of float64
        The FWHM in pixels of the Gaussian that has the curvature of the logarithm of
        the image at its highest pixel within one of the peak, geometric mean of both
        axes. NaN where that pixel does not exceed half a noise standard deviation, is
        no maximum along both axes or lies on the border.
    """
    widths = np.full(y.size, np.nan)
    noise = np.broadcast_to(noise, source.shape)
    last_y, last_x = source.shape[0] - 1, source.shape[1] - 1
    dy, dx = np.indices((3, 3)).reshape(2, 9, 1) - 1
    y, x = np.clip(y + dy, 0, last_y), np.clip(x + dx, 0, last_x)
    highest = np.argmax(source[y, x], axis=0), np.arange(y.shape[1])
    y, x = y[highest], x[highest]
    inside = (y > 0) & (x > 0) & (y < last_y) & (x < last_x)
    seen = np.flatnonzero(inside & (source[y, x] > _SEEN_SIGMA * noise[y, x]))
    y, x = y[seen], x[seen]
    neighbors = source[y - 1, x], source[y + 1, x], source[y, x - 1], source[y, x + 1]
    # Light below a thousandth of the peak's says nothing about the core.
    above, below, left, right = (
        np.log(np.maximum(values / source[y, x], 1e-3)) for values in neighbors
    )
    curvatures = np.maximum(-(above + below), 0) * np.maximum(-(left + right), 0)
    curved = curvatures > 0
    widths[seen[curved]] = _FWHM * curvatures[curved] ** -0.25
    return widths


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
        `ImageCheck.log_odds_shift`. Default 0.

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
