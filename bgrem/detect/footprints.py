"""
How faint the light of a source may be that belongs to its footprint.
"""

import numpy as np
from astropy.stats import gaussian_fwhm_to_sigma

from bgrem.detect.positions import noise_around
from bgrem.sky.noise import away_from_sources, noise_correlation
from bgrem.sky.windows import middle_of

__all__ = ['correlated_noise', 'footprint_level']

# Surface brightness, in units of the pixel noise, down to which a pixel of
# the denoised image belongs to its source. The denoised image has almost no
# noise, so this can be far below the 1.5 to 3 usual on raw images. It is that of
# sources of this FWHM in pixels; broader ones are known to fainter levels, as the noise
# of a mean over their area.
_SIGMA, _WIDTH = 0.2, 2.5
# Noise of a lower correlation is white to 1.3 in the noise of a mean. What is left of
# the light of nebulae in white noise has up to 0.16, resampled images 0.3 and more.
_WHITE = 0.2
# It is looked at in the middle of large images, of this side in pixels.
_SIDE = 512
# Pixels further from the sky, in units of the noise, are no noise.
_WILD = 5.0


def correlated_noise(data, *, source, noise, usable, width):
    """
    Measure the covariance of the noise, if neighboring pixels have noise in common.

    Parameters
    ----------
    data, source, noise, usable, width
        As for `bgrem.detect.positions.noise_around`. Of a large image only the middle
        is used.

    Returns
    -------
    covariance : 2D `~numpy.ndarray` or `None`
        As from `bgrem.detect.positions.noise_around`; `None` for white noise.
    """
    middle = middle_of(data.shape, _SIDE)
    data, source, noise, usable = (one[middle] for one in (data, source, noise, usable))
    residual = np.subtract(data, source, out=np.zeros_like(source), where=usable)
    clean = usable & (np.abs(residual) < _WILD * noise)
    clean &= away_from_sources(np.where(usable, source, 0), noise)
    residual = np.divide(residual, noise, out=np.zeros_like(residual), where=clean)
    if noise_correlation(residual, clean) < _WHITE:
        return None
    return noise_around(data, source=source, noise=noise, usable=clean, width=width)


def footprint_level(width, covariance=None):
    """
    Return the level down to which the denoised image belongs to its sources.

    Parameters
    ----------
    width : float
        The FWHM of a star in pixels.
    covariance : 2D `~numpy.ndarray` or `None`, optional
        That of the noise, from `correlated_noise`. Default: the noise is white.

    Returns
    -------
    level : float
        In units of the noise of a pixel: 0.2 for stars of up to 2.5 px, and as much
        less for broader ones as the noise of a mean over their area is lower, which it
        is not by as much if neighboring pixels have noise in common.
    """
    excess = 1 if covariance is None else _excess(covariance, width)
    return _SIGMA * min(1, _WIDTH / width * excess)


def _excess(covariance, width):
    """Return the noise of a mean over a star, over that of white noise."""
    reach = len(covariance) // 2
    sigma = width * gaussian_fwhm_to_sigma
    # the autocorrelation of a Gaussian star
    shared = np.exp(-((np.arange(-reach, reach + 1) / sigma) ** 2) / 4)
    variance = shared @ covariance @ shared / covariance[reach, reach]
    # rounded, for the same pixels where an image is read in parts
    return round(float(np.sqrt(max(variance, 1))), 3)
