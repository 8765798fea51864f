"""
Images that are made when a catalog uses them.

They replace arrays that would be as large as the image. Numpy only.
"""

from functools import cached_property

import numpy as np

__all__ = ['LateImage', 'ShapeImage']

_ROWS = 64  # of an image that are made at once


class LateImage:
    """
    An image that is made when it is first used.

    Parameters
    ----------
    make : callable
        Returns the image (2D `~numpy.ndarray`).
    shape : tuple of 2 int
        Its shape.
    unit : `~astropy.units.Unit` or `None`, optional
        Its unit.

    Attributes
    ----------
    shape, unit
        As given.
    """

    def __init__(self, make, shape, unit=None):
        self._make, self.shape, self.unit = make, shape, unit

    @cached_property
    def _image(self):
        return self._make()

    @property
    def value(self):
        """The object itself: its unit is only nominal."""
        return self

    def ravel(self):
        """Return its pixels (1D `~numpy.ndarray`)."""
        return self._image.ravel()

    def __getitem__(self, place):
        """Return a part, as for an array."""
        return self._image[place]

    def __array__(self, dtype=None, copy=None):
        return np.array(self._image, dtype=dtype, copy=copy)

    def __reduce__(self):
        # what makes it may be far more
        return np.asarray, (self._image,)


class ShapeImage:
    """
    The image on which shapes are measured.

    Where the denoised image is empty, only the probability gives the position, so that
    every source has one, even in an area without noise.

    Parameters
    ----------
    source, probability, noise : `~numpy.ndarray` of float
        The denoised image, the detection probability and the noise of the sky, of the
        same shape.
    unit : `~astropy.units.Unit` or `None`, optional
        The unit of the source.
    largest : float, optional
        The noise where there is none. Default: the largest.

    Attributes
    ----------
    shape, size, unit
        Those of the image.
    """

    def __init__(self, source, probability, noise, unit=None, largest=None):
        self._images = source, probability, noise
        self._largest = np.nanmax(noise) if largest is None else largest
        self.shape, self.size, self.unit = source.shape, source.size, unit

    @property
    def value(self):
        """The object itself: its unit is only nominal."""
        return self

    def ravel(self):
        """Return the flattened image."""
        flat = (one.ravel() for one in self._images)
        return ShapeImage(*flat, self.unit, self._largest)

    def __getitem__(self, place):
        """Return a part (`~numpy.ndarray`), as for an array."""
        source, probability, noise = (one[place] for one in self._images)
        glow = np.where(noise > 0, noise, self._largest)
        glow *= 1e-3 * np.maximum(probability, np.finfo(np.float32).tiny)
        return np.maximum(source, 0) + glow

    def __array__(self, dtype=None, copy=None):
        starts = range(0, len(self._images[0]), _ROWS)
        parts = [self[start : start + _ROWS] for start in starts]
        return np.concatenate(parts, dtype=dtype)
