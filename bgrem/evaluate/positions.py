"""
Errors of the positions of stars, compared with the limit set by the noise.
"""

import numpy as np
from scipy import fft
from scipy.spatial import KDTree

from bgrem.evaluate.matching import MIN_SNR

__all__ = ['is_isolated', 'position_limit', 'summarize_positions']

_ISOLATION_FWHM = 3.0


def position_limit(psf, flux, sigma, gain=None):
    """
    Return the Cramer-Rao limit of the position error of a star.

    Parameters
    ----------
    psf : 2D `~numpy.ndarray` of float
        Point-spread function, of unit sum, sampled at the pixels.
    flux : 1D array_like of float
        Fluxes of the stars.
    sigma : 1D array_like of float
        Noise of the sky in a pixel at each star, unit of ``flux``.
    gain : float, optional
        Electrons per unit of ``flux``; if given, the photon noise of the
        stars is included.

    Returns
    -------
    limit : 1D `~numpy.ndarray` of float
        The smallest standard deviation of an unbiased position along one axis,
        the quadratic mean of both axes, in pixels.

    Notes
    -----
    The inverse of the Fisher information of a position, in Gaussian noise of
    known variance V and with known flux F, is 1 / sum((F dP/dx)^2 / V); the
    derivative is that of the band-limited function through the samples of P.
    """
    psf = np.asarray(psf, dtype=float)
    flux = np.atleast_1d(np.asarray(flux, dtype=float))[:, None, None]
    variance = np.atleast_1d(np.asarray(sigma, dtype=float))[:, None, None] ** 2
    if gain is not None:
        variance = variance + np.maximum(flux * psf, 0) / gain
    squares = 0.0
    for axis in (0, 1):
        shape = [1, 1]
        shape[axis] = psf.shape[axis]
        frequency = 2j * np.pi * fft.fftfreq(psf.shape[axis]).reshape(shape)
        slope = fft.ifft(frequency * fft.fft(psf, axis=axis), axis=axis).real
        squares = squares + 1 / np.sum((flux * slope) ** 2 / variance, axis=(1, 2))
    return np.sqrt(squares / 2)


def is_isolated(catalog, fwhm):
    """
    Tell which true sources are isolated.

    Parameters
    ----------
    catalog : dict of str to 1D `~numpy.ndarray`
        ``x``, ``y`` and ``snr`` of the true sources.
    fwhm : float
        Full width at half maximum of the PSF in pixels.

    Returns
    -------
    isolated : 1D `~numpy.ndarray` of bool
        True where no other source with S/N above 2 lies within 3 FWHM.
    """
    points = np.column_stack([catalog['x'], catalog['y']])
    counted = np.asarray(catalog['snr']) > MIN_SNR
    near = KDTree(points[counted]).query_ball_point(
        points, _ISOLATION_FWHM * fwhm, return_length=True
    )
    return near - counted == 0


def summarize_positions(distance, limit):
    """
    Compare position errors with their theoretical limit.

    Parameters
    ----------
    distance : 1D array_like of float
        Distances from the true positions in pixels.
    limit : 1D array_like of float
        From `position_limit`.

    Returns
    -------
    summary : dict
        ``n``, ``median_distance`` and ``ratio``: the median of distance /
        limit, divided by its value for normal errors along both axes with the limit as
        standard deviation (sqrt(2 ln 2)). The last two are `None` if there are no
        stars.
    """
    distance, limit = np.asarray(distance), np.asarray(limit)
    if not distance.size:
        return {'n': 0, 'median_distance': None, 'ratio': None}
    ratio = np.median(distance / limit) / np.sqrt(2 * np.log(2))
    return {
        'n': int(distance.size),
        'median_distance': float(np.median(distance)),
        'ratio': float(ratio),
    }
