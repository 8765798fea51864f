"""
From the mesh of boxes to a map of the image.

`photutils.background.Background2D` enlarges its meshes by `scipy.ndimage.zoom`. That
loses a thousandth of a constant where an axis has two or three boxes (the spline's
first coefficient, in scipy before 1.18), so that its maps depend on the pedestal of
the image; here they do not. Numpy and scipy only.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.linalg import solveh_banded

__all__ = ['interpolate_mesh']

_REACH = 2  # boxes: half the width of a cubic B-spline
_MAX_BLOCK = 1_000_000  # pixels held in float64


def interpolate_mesh(mesh, shape, box_size, dtype=None):
    """
    Interpolate the values of the boxes of a mesh at every pixel.

    Parameters
    ----------
    mesh : 2D array_like of float
        The values at the centres of the boxes, all finite.
    shape : tuple of 2 int
        The shape ``(ny, nx)`` of the map; boxes may reach beyond its far borders.
    box_size : sequence of 2 int
        The size ``(ny, nx)`` of a box; the first one begins at the first pixel.
    dtype : dtype, optional
        The dtype of the map. Default: that of ``mesh``.

    Returns
    -------
    image : 2D `~numpy.ndarray`
        The map, a new array. It never leaves the range of the mesh.

    Notes
    -----
    The cubic spline through the values, continued by reflection about the outer edges
    of the boxes, and clipped to their range: what Background2D's default
    interpolation is (``zoom`` with ``order=3``, ``mode='reflect'``,
    ``grid_mode=True``), in double precision whatever the dtype.
    """
    mesh = np.asarray(mesh)
    low, high = mesh.min(), mesh.max()
    dtype = mesh.dtype if dtype is None else dtype
    if low == high:
        return np.full(shape, low, dtype=dtype)
    # A spline of large numbers that are nearly the same would lose what differs.
    middle = 0.5 * float(low) + 0.5 * float(high)
    coefficients = _spline_coefficients(mesh.astype(float) - middle, axis=0)
    coefficients = _spline_coefficients(coefficients, axis=1)
    coefficients = np.pad(coefficients, _REACH, mode='symmetric')
    y_weights, x_weights = (_box_weights(int(size)) for size in box_size)

    windows = sliding_window_view(coefficients, 2 * _REACH + 1, axis=0)
    rows = np.einsum('yxk,kp->ypx', windows, y_weights)
    rows = rows.reshape(-1, coefficients.shape[1])[: shape[0]]
    image = np.empty(shape, dtype=dtype)
    step = max(1, _MAX_BLOCK // shape[1])
    for start in range(0, shape[0], step):
        block = slice(start, start + step)
        windows = sliding_window_view(rows[block], 2 * _REACH + 1, axis=1)
        values = (windows @ x_weights).reshape(len(windows), -1)[:, : shape[1]]
        values += middle
        image[block] = np.clip(values, low, high)
    return image


def _spline_coefficients(values, axis):
    """Return the coefficients of the cubic B-splines that meet the values."""
    values = np.moveaxis(values, axis, 0)
    if len(values) == 1:
        return np.moveaxis(values, 0, axis)
    # A spline is 2/3 at its own box and 1/6 at the next; beyond the edge a box
    # has its own coefficient for a neighbour.
    matrix = np.full((2, len(values)), 1 / 6)
    matrix[1] = 2 / 3
    matrix[1, 0] += 1 / 6
    matrix[1, -1] += 1 / 6
    return np.moveaxis(solveh_banded(matrix, values, check_finite=False), 0, axis)


def _box_weights(box_size):
    """
    Return the cubic B-splines of a box and its neighbours at the pixels of the box.

    Shape ``(5, box_size)``: the cubic B-spline (Unser 1999, IEEE Signal Processing
    Magazine 16, 22) at the distances of the pixels from the centres of the boxes.
    """
    place = (np.arange(box_size) + 0.5) / box_size - 0.5
    distance = np.abs(np.arange(-_REACH, _REACH + 1)[:, np.newaxis] - place)
    return np.where(
        distance < 1,
        2 / 3 - distance**2 + distance**3 / 2,
        np.maximum(2 - distance, 0) ** 3 / 6,
    )
