"""
A smooth trend of the sky across the whole image.
"""

from dataclasses import dataclass, replace

import numpy as np

__all__ = ['SkyTrend', 'find_trend']

_MIN_RANGE = 0.3  # in units of the noise; less is not worth a trend
# A step, a border or a galaxy is no trend: a polynomial follows its broad shape, by
# this part of the variance or less, and is wrong everywhere.
_MIN_EXPLAINED = 0.95
_N_POINTS = 64  # along each axis


@dataclass(frozen=True)
class SkyTrend:
    """
    A polynomial of at most second degree in y and x.

    Attributes
    ----------
    shape : tuple of 2 int
        The shape of the image; the polynomial is in coordinates that run from -1
        to 1 across it.
    terms : tuple of (int, int)
        The powers of y and x of each term.
    coefficients : tuple of float
        The coefficient of each term, in the unit of the image.
    """

    shape: tuple
    terms: tuple
    coefficients: tuple

    def __call__(self, y, x, dtype=float):
        """
        Evaluate the trend on a grid.

        Parameters
        ----------
        y, x : 1D array_like of float
            Rows and columns, in pixels.
        dtype : dtype, optional
            The dtype of the result.

        Returns
        -------
        trend : 2D `~numpy.ndarray`
            The trend, of shape ``(len(y), len(x))``.
        """
        y, x = (
            _unit_coordinate(np.asarray(position), n)
            for position, n in zip((y, x), self.shape, strict=True)
        )
        trend = np.zeros((len(y), len(x)), dtype=dtype)
        for (i, j), value in zip(self.terms, self.coefficients, strict=True):
            trend += (value * y[:, None] ** i).astype(dtype) * (x**j).astype(dtype)
        return trend

    def times(self, factor):
        """
        Return the trend multiplied by a number (`SkyTrend`).
        """
        values = tuple(factor * value for value in self.coefficients)
        return replace(self, coefficients=values)

    def image(self, dtype=float):
        """
        Evaluate the trend at every pixel.

        Parameters
        ----------
        dtype : dtype, optional
            The dtype of the result.

        Returns
        -------
        trend : 2D `~numpy.ndarray`
            The trend, of the image's shape.
        """
        return self(*(np.arange(n) for n in self.shape), dtype=dtype)

    def mesh(self, n_boxes, box_size):
        """
        Evaluate the trend at the centers of boxes.

        Parameters
        ----------
        n_boxes, box_size : sequence of 2 int
            The number of boxes and their size, ``(ny, nx)``.

        Returns
        -------
        trend : 2D `~numpy.ndarray` of float
            The trend.
        """
        centers = (
            size * np.arange(n) + (size - 1) / 2
            for n, size in zip(n_boxes, box_size, strict=True)
        )
        return self(*centers)


def find_trend(sky, shape, box_size):
    """
    Find the trend of a sky, if the sky consists of little else.

    Parameters
    ----------
    sky : `~bgrem.sky.boxes.BoxSky`
        The sky in boxes chosen from the image, which follow any structure.
    shape : tuple of 2 int
        The shape of the image.
    box_size : int or array_like of 2 int
        The size ``(ny, nx)`` of the boxes given by the user. Along an axis with one
        box, there is no trend; with two, it is at most linear.

    Returns
    -------
    trend : `SkyTrend` or `None`
        The polynomial nearest to the sky (least squares). `None` if it spans less than
        0.3 times the noise, or explains less than 95% of the variance of the sky:
        subtracting such a trend does more harm than good.
    """
    n_powers = np.minimum(-(-np.array(shape) // np.asarray(box_size)), 3)
    terms = tuple((i, j) for i, j in np.ndindex(*n_powers) if i + j <= 2)
    level, spacing = sky.on_grid(shape)
    every = [-(-n // _N_POINTS) for n in level.shape]
    y, x = (
        _unit_coordinate(spacing * (np.arange(0, n, step) + 0.5) - 0.5, n_pixels)
        for n, step, n_pixels in zip(level.shape, every, shape, strict=True)
    )
    level = level[:: every[0], :: every[1]]
    design = np.stack([np.outer(y**i, x**j).ravel() for i, j in terms], axis=-1)
    values = level.ravel() - level.mean()
    coefficients = np.linalg.lstsq(design, values, rcond=None)[0]
    fitted = design @ coefficients
    if np.ptp(fitted) < _MIN_RANGE * np.median(sky.noise):
        return None
    if np.sum((values - fitted) ** 2) > (1 - _MIN_EXPLAINED) * np.sum(values**2):
        return None
    coefficients[0] += level.mean()
    return SkyTrend(tuple(shape), terms, tuple(float(c) for c in coefficients))


def _unit_coordinate(position, n_pixels):
    """Map pixel numbers to -1 ... 1."""
    return (2 * position - (n_pixels - 1)) / max(n_pixels - 1, 1)
