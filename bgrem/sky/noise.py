"""
The properties of the noise of an image where it has no sources.

Numpy and scipy only.
"""

import math

import numpy as np
from scipy import fft, ndimage

from bgrem.sky.mesh import LAG
from bgrem.sky.windows import middle_of

__all__ = [
    'BRIGHT_MARGIN',
    'MAX_SIDE',
    'away_from_sources',
    'noise_correlation',
    'noise_covariance',
    'noise_skewness',
]

# What bright sources leave in the residual is no noise, and not symmetric: the
# image counts only where the denoised image is below this many noise standard
# deviations, and some pixels away from the rest.
_BRIGHT_SIGMA = 5.0
#: Pixels.
BRIGHT_MARGIN = 3
# Second differences beyond this, in standard deviations of a pixel, are edges.
_EDGE_SIGMA = 5.0
# Pixels further than this from the mean, in standard deviations, would be most of a
# skewness; and the skewness of a sky without any photons has no bounds.
_SKEWNESS_CLIP = 5.0
_LEAST_SPREAD = 1e-6  # of what is left of one wild pixel, that is rounding alone
_MAX_SKEWNESS = 2.0
_MAX_PIXELS = 4_000_000
#: The covariance is measured in the middle of large images, of this side in pixels.
MAX_SIDE = 1024


def away_from_sources(source, noise):
    """
    Return where the residual contains only noise.

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
    return ~ndimage.binary_dilation(bright, iterations=BRIGHT_MARGIN)


def noise_correlation(residual, clean):
    """
    Return the correlation of the noise of neighboring pixels.

    Parameters
    ----------
    residual : 2D `~numpy.ndarray` of float
        The image without its sources, in units of the noise.
    clean : 2D `~numpy.ndarray` of bool
        True where it contains nothing else, see `away_from_sources`; finite there.

    Returns
    -------
    correlation : float
        The mean over rows and columns of the autocorrelation, at one pixel, of the
        second differences of pixels 3 px apart: 0 for white noise, whatever the sky
        does on larger scales, 0.60 for noise smoothed with a kernel of sigma 1 px; 0 if
        there are no two neighboring clean pixels.
    """
    correlations = []
    for axis in (0, 1):
        # without a copy where the rows are those of the image
        values, known = (np.moveaxis(image, axis, 0) for image in (residual, clean))
        before, here, after = np.s_[: -2 * LAG], np.s_[LAG:-LAG], np.s_[2 * LAG :]
        known = known[before] & known[here] & known[after]
        difference = np.zeros(known.shape, dtype=values.dtype)
        for part, factor in ((before, -0.5), (here, 1.0), (after, -0.5)):
            np.add(difference, factor * values[part], out=difference, where=known)
        # an edge of the sky is no noise
        known &= np.abs(difference) < _EDGE_SIGMA
        difference[~known] = 0
        power = _sum_of_products(difference, difference)
        n_pairs = np.count_nonzero(known[1:] & known[:-1])
        if n_pairs == 0 or power == 0:
            return 0.0
        product = _sum_of_products(difference[1:], difference[:-1])
        correlations.append(product / n_pairs / (power / np.count_nonzero(known)))
    return float(np.mean(correlations))


def noise_covariance(residual, clean, reach):
    """
    Measure the covariance of the residual of pixels at all distances.

    Parameters
    ----------
    residual : 2D `~numpy.ndarray` of float
        The image without its sources, in units of the noise.
    clean : 2D `~numpy.ndarray` of bool
        True where it contains nothing else, see `away_from_sources`; finite there.
    reach : int
        The largest distance along an axis, in pixels.

    Returns
    -------
    covariance : 2D `~numpy.ndarray` of float64
        Of shape ``(2 reach + 1, 2 reach + 1)``, with the variance in the center; 0 if
        there are no two clean pixels at that distance. It is relative to zero: no mean
        is subtracted.
    """
    middle = middle_of(residual.shape, MAX_SIDE)
    clean = clean[middle]
    residual = np.where(clean, residual[middle], 0).astype(float)
    shape = [fft.next_fast_len(n + reach, real=True) for n in clean.shape]
    products, pairs = (
        fft.irfft2(np.abs(fft.rfft2(image, shape)) ** 2, shape)
        for image in (residual, clean.astype(float))
    )
    lags = np.arange(-reach, reach + 1)
    products, pairs = (image[np.ix_(lags, lags)] for image in (products, pairs))
    n_pairs = np.rint(pairs)
    return np.where(n_pairs > 0, products / np.maximum(n_pairs, 1), 0)


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
        True where it contains nothing else, see `away_from_sources`; finite there.

    Returns
    -------
    skewness : float
        That of the pixels within 5 standard deviations of the mean, between -2 and 2;
        0 if there are none, or all are equal. Of images of more than 4 megapixels, only
        that number of pixels is used, evenly spread.
    """
    # Of a large image some pixels say enough, and sorting them out takes memory.
    step = math.ceil(math.sqrt(residual.size / _MAX_PIXELS))
    residual, clean = residual[::step, ::step], clean[::step, ::step]
    values = residual[clean].astype(float)
    if values.size == 0 or np.ptp(values) == 0:
        return 0.0
    values = (values - values.mean()) / values.std()
    values = values[np.abs(values) < _SKEWNESS_CLIP]
    values -= values.mean()
    spread = np.sqrt(np.mean(values**2))
    if not spread > _LEAST_SPREAD:
        return 0.0
    skewness = np.mean((values / spread) ** 3)
    return float(np.clip(skewness, -_MAX_SKEWNESS, _MAX_SKEWNESS))
