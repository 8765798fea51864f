"""
Sharpen an image whose noise was smoothed with it, as far as the noise allows.

If an image was matched to a broader PSF, its noise is as smooth as its sources, so next
to nothing is lost: both can be deconvolved with a Gaussian. Numpy and scipy only.
"""

import math

import numpy as np
from scipy import fft, ndimage
from scipy.sparse.linalg import LinearOperator, cg

from bgrem.sky.mesh import LAG

__all__ = ['gaussian_smoothness', 'sharpen', 'smooth']

# No structure is enhanced by more. What is finer than that is rounding, or noise that
# was added since, and is left out.
_MAX_GAIN = 20.0
# Of the conjugate gradients; a single step does where nothing is hidden.
_TOLERANCE = 1e-5
_MAX_STEPS = 40


def sharpen(image, hidden, sigma):
    """
    Deconvolve an image with a Gaussian.

    Parameters
    ----------
    image : 2D `~numpy.ndarray` of float
        The image without its sky.
    hidden : 2D `~numpy.ndarray` of bool
        True at pixels whose values must not be used.
    sigma : float
        The standard deviation of the Gaussian in pixels.

    Returns
    -------
    sharp : 2D `~numpy.ndarray`
        The image, dtype of ``image``, which after smoothing with the Gaussian is
        closest to what is visible, with no structure enhanced by more than a factor of
        20 (the Wiener filter, if nothing is hidden). Its sum is that of ``image``. It
        is continued beyond the border by reflection.

    Notes
    -----
    With the Gaussian G and the mask M, the least squares are (G M G + e) x = G M y.
    """
    shape, usable = image.shape, ~hidden
    floor = (0.5 / _MAX_GAIN) ** 2
    squares = [(np.pi * np.arange(n) / n) ** 2 for n in shape]
    power = -0.5 * sigma**2 * np.add.outer(*squares)
    gaussian = np.exp(power).astype(image.dtype)
    inverse = 1 / (gaussian**2 + floor)

    def apply(factor, values):
        return fft.idctn(factor * fft.dctn(values.reshape(shape)))

    def visible(values):
        return np.where(usable, values, 0)

    def blur_twice(values):
        twice = apply(gaussian, visible(apply(gaussian, values)))
        return twice.ravel() + floor * values.ravel()

    square, dtype = (image.size, image.size), image.dtype
    solution, _ = cg(
        LinearOperator(square, blur_twice, dtype=dtype),
        apply(gaussian, visible(image)).ravel(),
        M=LinearOperator(square, lambda x: apply(inverse, x).ravel(), dtype=dtype),
        rtol=_TOLERANCE,
        maxiter=_MAX_STEPS,
    )
    return ((1 + floor) * solution.reshape(shape)).astype(dtype)


def smooth(image, hidden, sigma):
    """
    Smooth an image with the Gaussian of `sharpen`.

    Parameters
    ----------
    image : 2D `~numpy.ndarray` of float
        The image.
    hidden : 2D `~numpy.ndarray` of bool
        True at pixels whose values must not be used.
    sigma : float
        The standard deviation of the Gaussian in pixels.

    Returns
    -------
    smoothed : 2D `~numpy.ndarray`
        The weighted mean of the visible pixels, dtype of ``image``; 0 at hidden ones.
    """
    weight = ndimage.gaussian_filter((~hidden).astype(image.dtype), sigma)
    values = ndimage.gaussian_filter(np.where(hidden, 0, image), sigma)
    smoothed = np.zeros_like(image)
    return np.divide(values, weight, out=smoothed, where=~hidden)


def gaussian_smoothness(sigma):
    """
    Return the smoothness of white noise after smoothing with a Gaussian.

    Parameters
    ----------
    sigma : float
        The standard deviation of the Gaussian in pixels.

    Returns
    -------
    smoothness : float
        As `bgrem.sky.sampling.noise_smoothness` measures it.
    """

    def seen(lag):
        # the noise in second differences
        near, far = (math.exp(-((d / sigma) ** 2) / 4) for d in (lag, 2 * lag))
        return math.sqrt(1 - (4 * near - far) / 3)

    return 1 - seen(1) / seen(LAG)
