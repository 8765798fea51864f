"""
A smooth trend of the sky across the whole image.
"""

from dataclasses import dataclass, replace

import numpy as np

from bgrem.sky.mesh import box_centers, measure_mesh

__all__ = ['SkyTrend', 'fit_trend']

_MAX_BOX_SIZE = 48  # pixels
_MIN_BOXES = 8  # aimed at along each axis
_N_PASSES = 4
_BOX_CLIP = 4.0  # standard deviations of the boxes about the trend
_PIXEL_CLIP = 3.0  # standard deviations of the noise
_MIN_RANGE = 0.3  # in units of the noise; less is not worth a trend
# ratio of the mean squares of trend and rest; pure noise gives about 1
_MIN_SIGNIFICANCE = 10.0


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


def fit_trend(data, unusable, box_size):
    """
    Fit a smooth trend to an image of sky, if there is a significant one.

    Parameters
    ----------
    data : 2D `~numpy.ndarray` of float
        The image, free of sources.
    unusable : 2D `~numpy.ndarray` of bool
        `True` at pixels to ignore.
    box_size : int or array_like of 2 int
        The size ``(ny, nx)`` of the boxes of the caller's mesh. Along an axis with
        one box there is no trend, with two at most a linear one.

    Returns
    -------
    trend : `SkyTrend` or `None`
        `None` where the sky levels of boxes of some 48 px show no trend: it
        spans less than 0.3 times the noise, or it is not clearly above the
        scatter of the boxes about it, or no noise can be measured.

    Notes
    -----
    The fit is by least squares to the levels of the boxes, those more than 4
    standard deviations away left out and the fit repeated; then to all pixels within
    3 standard deviations of the result.
    """
    fit_box_size = np.clip(min(data.shape) // _MIN_BOXES, 8, _MAX_BOX_SIZE)
    mesh = measure_mesh(data, unusable, fit_box_size)
    noise = mesh.noise[mesh.noise > 0]
    n_boxes = -(-np.array(data.shape) // np.asarray(box_size))
    n_powers = np.minimum(n_boxes, 3)
    terms = tuple((i, j) for i, j in np.ndindex(*n_powers) if i + j <= 2)
    good = np.isfinite(mesh.level)
    if noise.size == 0 or np.count_nonzero(good) < 2 * len(terms):
        return None

    centers = [box_centers(edges) for edges in (mesh.y_edges, mesh.x_edges)]
    grid = np.meshgrid(
        *(_unit_coordinate(c, n) for c, n in zip(centers, data.shape, strict=True)),
        indexing='ij',
    )
    design = np.stack([grid[0] ** i * grid[1] ** j for i, j in terms], axis=-1)
    kept = good
    for _ in range(_N_PASSES):
        coefficients = np.linalg.lstsq(design[kept], mesh.level[kept], rcond=None)[0]
        rest = mesh.level - design @ coefficients
        spread = 1.4826 * np.median(np.abs(rest[kept]))
        kept = good & (np.abs(np.where(good, rest, 0)) <= _BOX_CLIP * spread)
        if np.count_nonzero(kept) < 2 * len(terms):
            return None
    fitted = (design @ coefficients)[kept]
    noise = np.median(noise)
    if np.ptp(fitted) < _MIN_RANGE * noise or len(terms) == 1:
        return None
    explained = np.var(fitted) * fitted.size / (len(terms) - 1)
    scatter = np.sum(rest[kept] ** 2) / (fitted.size - len(terms))
    if explained < _MIN_SIGNIFICANCE * scatter:
        return None
    trend = SkyTrend(data.shape, terms, tuple(float(c) for c in coefficients))
    return _refine(trend, data, unusable, _PIXEL_CLIP * noise)


def _refine(trend, data, unusable, limit):
    """Fit the trend to the pixels within a limit of it, which is more precise."""
    offset = data - trend.image(data.dtype)
    near = ~unusable & (np.abs(offset) <= limit)
    offset = np.where(near, offset, 0)
    # sums over pixels of near * y^i * x^j and of offset * y^i * x^j
    y_powers, x_powers = (
        _unit_coordinate(np.arange(n), n)[:, None] ** np.arange(5) for n in data.shape
    )
    moments = y_powers.T @ near.astype(float) @ x_powers
    offset_moments = y_powers.T @ offset @ x_powers
    normal = [[moments[i + k, j + m] for i, j in trend.terms] for k, m in trend.terms]
    right = [offset_moments[i, j] for i, j in trend.terms]
    change = np.linalg.lstsq(np.array(normal), np.array(right), rcond=None)[0]
    coefficients = tuple(
        value + float(more)
        for value, more in zip(trend.coefficients, change, strict=True)
    )
    return replace(trend, coefficients=coefficients)


def _unit_coordinate(position, n_pixels):
    """Map pixel numbers to -1 ... 1."""
    return (2 * position - (n_pixels - 1)) / max(n_pixels - 1, 1)
