"""
Light on pixels: a canvas with a margin, on which everything has the same PSF.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.fft import irfft2, next_fast_len, rfft2, rfftfreq

from .significance import point_significance, significance_table

__all__ = ['Canvas']

# The standard deviation of the core of the PSF, in pixels of the grid on which
# points are painted: then nothing is lost at its highest frequency.
_SAMPLING = 1.3
# Points painted at once: memory, and nothing else.
_CHUNK = 2048


class Canvas:
    """
    The pixels of an image and a margin around them, for one PSF.

    Positions are in pixels of the image, 0 at the center of its first one.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the image.

    psf : `bgrem.simulate.gamma.psf.RadialPSF`
        The PSF, in pixels.

    Attributes
    ----------
    margin : int
        Pixels around the image from which light reaches in.

    padded : tuple of int
        Height and width of the canvas. It is periodic: light that leaves it at one side
        returns at the other, and the margin keeps this light away from the image.
    """

    def __init__(self, shape, psf):
        self.shape = tuple(shape)
        self.psf = psf
        reach = min(psf.containment_radius(0.97), 6 * psf.fwhm)
        self.margin = int(np.ceil(max(12, reach)))
        self.padded = tuple(
            next_fast_len(size + 2 * self.margin, real=True) for size in self.shape
        )
        self._oversample = max(1, int(np.ceil(_SAMPLING * 2.355 / psf.fwhm)))
        self._optics = _optics(psf, self.padded, self._oversample)

    @property
    def kernel(self):
        """The PSF on the canvas, with unit sum, centered on pixel (0, 0)."""
        return self._optics.kernel

    @property
    def inner(self):
        """The slices of the image in the canvas."""
        return tuple(slice(self.margin, self.margin + size) for size in self.shape)

    @property
    def ends(self):
        """The pixels of the canvas before and after the image, along each axis."""
        return [
            (self.margin, size - self.margin - part)
            for size, part in zip(self.padded, self.shape, strict=True)
        ]

    def grid(self):
        """
        Return the positions of the pixels of the canvas.

        Returns
        -------
        y, x : 2D `~numpy.ndarray` of float
            Shapes (height, 1) and (1, width).
        """
        y, x = (np.arange(size) - self.margin for size in self.padded)
        return y[:, None].astype(float), x[None].astype(float)

    def random_positions(self, number, rng):
        """
        Draw positions on the whole canvas.

        Parameters
        ----------
        number : int
            The number of positions.

        rng : `~numpy.random.Generator`
            The source of randomness.

        Returns
        -------
        x, y : 1D `~numpy.ndarray` of float
            The positions in pixels of the image.
        """
        y, x = (
            rng.uniform(-0.5, size - 0.5, number) - self.margin for size in self.padded
        )
        return x, y

    def smooth(self, image):
        """
        Convolve an image of the canvas with the PSF.

        Parameters
        ----------
        image : 2D `~numpy.ndarray`
            An image of the shape of the canvas.

        Returns
        -------
        smooth : 2D `~numpy.ndarray` of float
            The convolved image, which is not negative if the image is not.
        """
        smooth = irfft2(rfft2(image) * self._optics.smooth, self.padded)
        return np.maximum(smooth, image.min())

    def smooth_squared(self, image):
        """
        Convolve an image with the square of the PSF, of unit sum.

        Parameters
        ----------
        image : 2D `~numpy.ndarray`
            An image of the shape of the canvas.

        Returns
        -------
        smooth : 2D `~numpy.ndarray` of float
            The mean of the image with the weights of a matched filter.
        """
        smooth = irfft2(rfft2(image) * self._optics.squared, self.padded)
        return np.maximum(smooth, 0.0)

    def paint(self, x, y, light):
        """
        Paint point sources at their subpixel positions.

        Parameters
        ----------
        x, y : 1D `~numpy.ndarray` of float
            Positions in pixels of the image.

        light : 1D `~numpy.ndarray` of float
            The sum of the light of each source.

        Returns
        -------
        image : 2D `~numpy.ndarray` of float
            An image of the shape of the canvas, not negative.
        """
        n = self._oversample
        height, width = (n * size for size in self.padded)
        transform = np.zeros((height, width // 2 + 1), complex)
        fy, fx = np.fft.fftfreq(height), rfftfreq(width)
        # The middle of a pixel lies between those of its subpixels.
        x, y = (n * (np.asarray(v) + self.margin) + (n - 1) / 2 for v in (x, y))
        light = np.asarray(light, float)
        for start in range(0, len(light), _CHUNK):
            part = slice(start, start + _CHUNK)
            along_y = _phases(y[part], fy).T
            along_x = _phases(x[part], fx) * light[part, None].astype('f4')
            transform += along_y @ along_x
        image = irfft2(transform * self._optics.paint, (height, width))
        image = image.reshape(self.padded[0], n, self.padded[1], n).sum(axis=(1, 3))
        return np.maximum(image, 0.0)

    def scatter(self, x, y, light):
        """
        Add light to the pixels around each position, without the PSF.

        This is a thousand times faster than `paint`, and just as good for light that
        cannot be located to a pixel. The result is to be smoothed with everything else.

        Parameters
        ----------
        x, y, light : 1D `~numpy.ndarray` of float
            As for `paint`.

        Returns
        -------
        image : 2D `~numpy.ndarray` of float
            An image of the shape of the canvas.
        """
        x, y = np.asarray(x) + self.margin, np.asarray(y) + self.margin
        column, row = np.floor(x).astype(int), np.floor(y).astype(int)
        right, up = x - column, y - row
        height, width = self.padded
        flat = np.zeros(height * width)
        for d, part in ((0, 1 - up), (1, up)):
            for e, share in ((0, 1 - right), (1, right)):
                index = (row + d) % height * width + (column + e) % width
                flat += np.bincount(index, light * part * share, flat.size)
        return flat.reshape(self.padded)

    def significance(self, counts, ratio):
        """
        Return the S/N of point sources, as from `point_significance`.

        Parameters
        ----------
        counts : 1D `~numpy.ndarray` of float
            The expected counts of each source.

        ratio : 1D `~numpy.ndarray` of float
            These counts divided by those of the sky in one pixel.

        Returns
        -------
        snr : 1D `~numpy.ndarray` of float
            The S/N; 0 for a source without counts.
        """
        return point_significance(self._optics.table, counts, ratio)

    def values_at(self, image, x, y):
        """
        Read an image of the canvas at the nearest pixels.

        Parameters
        ----------
        image : 2D `~numpy.ndarray`
            An image of the shape of the canvas.

        x, y : 1D `~numpy.ndarray` of float
            Positions in pixels of the image.

        Returns
        -------
        values : 1D `~numpy.ndarray`
            The value at each position.
        """
        row, column = (
            (np.round(v).astype(int) + self.margin) % size
            for v, size in zip((y, x), self.padded, strict=True)
        )
        return image[row, column]


def _phases(position, frequency):
    """Return exp(-2 pi i f x), shape (positions, frequencies), complex64."""
    angle = (-2 * np.pi * position[:, None] * frequency).astype('f4')
    phases = np.empty(angle.shape, 'c8')
    np.cos(angle, out=phases.real)
    np.sin(angle, out=phases.imag)
    return phases


class _Optics(NamedTuple):
    """A PSF on a canvas."""

    kernel: np.ndarray
    # Transforms of the kernel, of its fine grid and of its square.
    smooth: np.ndarray
    paint: np.ndarray
    squared: np.ndarray
    # The S/N of point sources.
    table: np.ndarray


@lru_cache(maxsize=64)
def _optics(psf, padded, oversample):
    kernel = psf.kernel(padded)
    fine = kernel
    if oversample > 1:
        fine = psf.kernel(tuple(oversample * size for size in padded), oversample)
    squared = kernel**2 / np.sum(kernel**2)
    return _Optics(
        kernel, rfft2(kernel), rfft2(fine), rfft2(squared), significance_table(kernel)
    )
