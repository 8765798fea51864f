"""
What the noise of an image is like where it has no sources.

Numpy and scipy only.
"""

import math

import numpy as np
from scipy import ndimage, stats

__all__ = ['away_from_sources', 'noise_correlation', 'noise_skewness']

# What bright sources leave in the residual is no noise, and not symmetric: the
# image counts only where the denoised image is below this many noise standard
# deviations, and some pixels away from the rest.
_BRIGHT_SIGMA = 5.0
_BRIGHT_MARGIN = 3
# Pixels further than this from the mean, in standard deviations, would be most of a
# skewness; and the skewness of a sky without any photons has no bounds.
_SKEWNESS_CLIP = 5.0
_MAX_SKEWNESS = 2.0
_MAX_PIXELS = 4_000_000


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
