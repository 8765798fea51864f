"""
Sharpen an image that was smoothed, noise and all, as far as its noise allows.

The noise of an image that was matched to a broader PSF is as smooth as its sources, so
that next to nothing is lost: a Gaussian can be taken out of both. Numpy and scipy only.
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
    Take a Gaussian out of an image.

    Parameters
    ----------
    image : 2D `~numpy.ndarray` of float
        The image without its sky.
    hidden : 2D `~numpy.ndarray` of bool
        True at pixels whose values must not matter.
    sigma : float
        The standard deviation of the Gaussian in pixels.

    Returns
    -------
    sharp : 2D `~numpy.ndarray`
        The image, dtype of ``image``, that smoothed with the Gaussian comes nearest to
        what is visible, where no structure is enhanced by more than a factor of 20
        (Wiener's filter, if nothing is hidden). Its sum is that of ``image``. Beyond
        the border it is continued as in a mirror.

    Notes
    -----
    With the Gaussian G and the mask M the least squares are (G M G + e) x = G M y.
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
    Smooth an image with a Gaussian, which `sharpen` has taken out of it.

    Parameters
    ----------
    image : 2D `~numpy.ndarray` of float
        The image.
    hidden : 2D `~numpy.ndarray` of bool
        True at pixels whose values must not matter.
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
    Return how smooth white noise is once it is smoothed with a Gaussian.

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
