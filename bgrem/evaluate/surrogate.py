"""
Redraw the noise in the empty parts of a real image.

The false alarms of a detector on a real image cannot be distinguished from its faint
sources, but on noise made like that of the image they can. Nothing here uses bgrem.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from astropy.utils.exceptions import AstropyWarning
from photutils.background import Background2D
from photutils.segmentation import detect_sources
from scipy import ndimage
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.signal.windows import tukey
from scipy.stats import median_abs_deviation

__all__ = [
    'MAX_LAG',
    'ImageNoise',
    'draw_noise',
    'measure_noise',
    'noise_covariance',
]

# The correlation of the noise is measured, and kept, up to this many pixels.
MAX_LAG = 16
BOX_SIZE = 64
# Sources raise the noise that they are looked for in, so one pass is not enough.
N_MASKINGS = 3
SOURCE_SNR = 3.0
N_SOURCE_PIXELS = 5
# Cosmic rays and hot pixels that the mask of the sources has missed. In Gaussian
# noise these are 1 pixel in 16000.
MAX_DEVIATION = 4.0


@dataclass(frozen=True, eq=False)
class ImageNoise:
    """
    The sky and the noise of an image where it shows no source.

    Parameters
    ----------
    sky, rms : 2D `~numpy.ndarray` of float
        The sky and the standard deviation of the noise, in the unit of the image.
    empty : 2D `~numpy.ndarray` of bool
        True away from all sources and masked pixels.
    covariance : 2D `~numpy.ndarray` of float
        From `noise_covariance`, in units of ``rms**2``.
    """

    sky: np.ndarray
    rms: np.ndarray
    empty: np.ndarray
    covariance: np.ndarray

    def redraw(self, image, rng):
        """
        Replace the noise in the empty parts of the image.

        Parameters
        ----------
        image : 2D `~numpy.ndarray` of float
            The image on which the noise was measured.
        rng : `~numpy.random.Generator`
            The source of randomness.

        Returns
        -------
        surrogate : 2D `~numpy.ndarray` of float32
            The image around its sources; elsewhere, ``sky`` plus Gaussian noise of
            the same rms and covariance.
        """
        noise = self.rms * draw_noise(self.covariance, image.shape, rng)
        return np.where(self.empty, self.sky + noise, image).astype(np.float32)

    def filter_noise(self, psf):
        """
        Return the noise of a flux measured with the PSF as filter.

        Parameters
        ----------
        psf : 2D `~numpy.ndarray` of float
            Point-spread function of unit sum.

        Returns
        -------
        noise : 2D `~numpy.ndarray` of float
            The standard deviation of ``sum(psf * noise) / sum(psf**2)`` around
            each pixel, in the unit of the image. For independent pixels, it is
            ``rms / sqrt(sum(psf**2))``; correlated noise makes it higher.
        """
        power = np.sum(psf**2)
        variance = np.sum(psf * ndimage.convolve(psf, self.covariance, mode='constant'))
        return self.rms * np.sqrt(variance) / power


def measure_noise(image, mask, fwhm):
    """
    Measure the noise of an image where it shows no source.

    Sky and rms are those of `~photutils.background.Background2D` outside of the
    sources: pixels that exceed 3 times the noise in 5 connected pixels of the image
    smoothed with its PSF, and 2 FWHM around them. The noise of the smoothed image is
    measured on it, so that it is right for correlated noise. As the sources left
    in one pass increase the rms, there are three passes.

    Parameters
    ----------
    image : 2D `~numpy.ndarray` of float
        The image, finite everywhere.
    mask : 2D `~numpy.ndarray` of bool
        True where there are no data.
    fwhm : float
        The full width at half maximum of the PSF in pixels.

    Returns
    -------
    noise : `ImageNoise`
        ``sky`` is such that the mean of the empty pixels is right, and ``rms`` such
        that their variance is right.

    Raises
    ------
    ValueError
        If no pixel is empty.

    Notes
    -----
    The level, the rms and the correlation up to 16 px are preserved. Non-Gaussian
    features (cosmic rays, hot pixels, skewed noise) and correlations of longer range
    are not. Sources too faint to be masked count as noise: in a crowded image they are
    most of it.
    """
    hidden = mask
    for _ in range(N_MASKINGS):
        sky, rms = _sky(image, hidden)
        hidden = _near_sources(image - sky, rms, mask, hidden, fwhm)
    sky, rms = _sky(image, hidden)
    deviation = (image - sky) / rms
    good = ~hidden & (np.abs(deviation) < MAX_DEVIATION)
    offset = deviation[good].mean()
    return ImageNoise(
        sky=sky + offset * rms,
        rms=rms,
        empty=~hidden,
        covariance=noise_covariance(deviation - offset, good),
    )


def _sky(image, hidden):
    if hidden.all():
        msg = 'image must have pixels without a source, got none'
        raise ValueError(msg)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyWarning)
        sky = Background2D(image, BOX_SIZE, mask=hidden, exclude_percentile=95)
        return sky.background, sky.background_rms


def _near_sources(data, rms, mask, hidden, fwhm):
    """Return the pixels of and around the sources, and the masked ones."""
    smooth = ndimage.gaussian_filter(np.where(mask, 0, data), fwhm / 2.355) / rms
    noise = median_abs_deviation(smooth[~hidden], scale='normal')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyWarning)
        segments = detect_sources(
            smooth, SOURCE_SNR * noise, n_pixels=N_SOURCE_PIXELS, mask=mask
        )
    found = mask if segments is None else mask | (segments.data > 0)
    return ndimage.binary_dilation(found, iterations=int(np.ceil(2 * fwhm)))


def noise_covariance(noise, good):
    """
    Measure the autocovariance of noise from its usable pixels.

    Parameters
    ----------
    noise : 2D `~numpy.ndarray` of float
        Noise of zero mean.
    good : 2D `~numpy.ndarray` of bool
        True at the pixels to use.

    Returns
    -------
    covariance : 2D `~numpy.ndarray` of float
        33 x 33 px, with lag (0, 0) in the center: the mean product of all usable
        pairs of pixels, reduced smoothly to 0 between 8 and 16 px. 0 if there
        is no pair.

    Raises
    ------
    ValueError
        If no pixel is usable.
    """
    if not good.any():
        msg = 'good must have True pixels, got none'
        raise ValueError(msg)
    shape = _padded(noise.shape)
    products, pairs = (
        np.fft.fftshift(irfft2(np.abs(rfft2(values, shape)) ** 2, shape))
        for values in (np.where(good, noise, 0.0), good.astype(float))
    )
    near = tuple(np.s_[n // 2 - MAX_LAG : n // 2 + MAX_LAG + 1] for n in shape)
    products, pairs = products[near], np.rint(pairs[near])
    mean = np.divide(products, pairs, out=np.zeros_like(products), where=pairs > 0)
    window = tukey(2 * MAX_LAG + 1, 0.5)
    return mean * np.outer(window, window)


def _padded(shape):
    """Return the shape of a transform in which no lag goes across the border."""
    return [next_fast_len(max(n, MAX_LAG + 1) + MAX_LAG, real=True) for n in shape]


def draw_noise(covariance, shape, rng):
    """
    Draw stationary Gaussian noise.

    Parameters
    ----------
    covariance : 2D `~numpy.ndarray` of float
        From `noise_covariance`.
    shape : tuple of int
        Shape of the noise.
    rng : `~numpy.random.Generator`
        The source of randomness.

    Returns
    -------
    noise : 2D `~numpy.ndarray` of float
        Noise with zero mean and the variance of the covariance. Where the spectrum of
        the covariance is negative by chance, that of the noise is zero.
    """
    half = MAX_LAG
    padded = _padded(shape)
    kernel = np.zeros(padded)
    kernel[: 2 * half + 1, : 2 * half + 1] = covariance
    spectrum = rfft2(np.roll(kernel, (-half, -half), axis=(0, 1))).real.clip(min=0)
    variance = irfft2(spectrum, padded)[0, 0]
    spectrum *= covariance[half, half] / variance
    noise = irfft2(np.sqrt(spectrum) * rfft2(rng.normal(size=padded)), padded)
    return noise[: shape[0], : shape[1]]
