"""
From the mesh of boxes to a map of the image.

`photutils.background.Background2D` enlarges its meshes with `scipy.ndimage.zoom`. If an
axis has two or three boxes, this loses a thousandth of a constant (the first
coefficient of the spline, in scipy before 1.18), so the maps depend on the pedestal of
the image. Here they do not. Numpy and scipy only.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.linalg import solveh_banded

from bgrem.sky.bands import each_band

__all__ = ['MeshMap', 'interpolate_mesh']

_REACH = 2  # boxes: half the width of a cubic B-spline
_MAX_BLOCK = 2**18  # pixels held in float64
_MOST_ROWS = 32  # of a box that are made at once


def interpolate_mesh(mesh, shape, box_size, dtype=None, *, edges='reflect'):
    """
    Interpolate the values of the boxes of a mesh at every pixel.

    Parameters
    ----------
    mesh : 2D array_like of float
        The values at the centers of the boxes, all finite.
    shape : tuple of 2 int
        The shape ``(ny, nx)`` of the map; boxes may extend beyond its far borders.
    box_size : sequence of 2 int
        The size ``(ny, nx)`` of a box; the first one begins at the first pixel.
    dtype : dtype, optional
        The dtype of the map. Default: that of ``mesh``.
    edges : {'reflect', 'linear'}, optional
        How the mesh is continued beyond the outermost centers: by reflection at the
        outer edges of its boxes, as in the parent class, which flattens a slope there;
        or linearly, as far as ``shape`` extends.

    Returns
    -------
    image : 2D `~numpy.ndarray`
        The map, a new array. It never leaves the range of the mesh; with 'linear',
        that of the mesh continued by one more box than the map needs.

    Notes
    -----
    This is the cubic spline through the values, clipped to their range. With
    reflection, it is the default interpolation of Background2D (``zoom`` with
    ``order=3``, ``mode='reflect'``, ``grid_mode=True``), in double precision for any
    dtype; with linear continuation, the natural spline.
    """
    ny, nx = (int(n) for n in shape)
    surface = MeshMap(mesh, shape, box_size, dtype, edges=edges)
    image = np.empty((ny, nx), dtype=surface.dtype)
    step = max(1, _MAX_BLOCK // nx)

    def fill(start):
        rows = slice(start, min(start + step, ny))
        image[rows] = surface.part(rows)

    each_band(fill, range(0, ny, step))
    return image


class MeshMap:
    """
    The map of a mesh, which can be computed for any part of the image.

    Parameters
    ----------
    mesh, shape, box_size, dtype, edges
        As for `interpolate_mesh`.
    """

    def __init__(self, mesh, shape, box_size, dtype=None, *, edges='reflect'):
        mesh = np.asarray(mesh)
        low, high = mesh.min(), mesh.max()
        self.shape = tuple(int(n) for n in shape)
        self.dtype = np.dtype(mesh.dtype if dtype is None else dtype)
        self._box_size = tuple(int(size) for size in box_size)
        self._constant = low if low == high else None
        if self._constant is not None:
            return
        is_linear = edges == 'linear'
        # A spline of large numbers that are nearly the same would lose what differs.
        middle = 0.5 * float(low) + 0.5 * float(high)
        coefficients = mesh.astype(float) - middle
        if is_linear:
            beyond = [
                max(-(-n // size) - n_boxes, 0)
                for n, size, n_boxes in zip(
                    self.shape, self._box_size, mesh.shape, strict=True
                )
            ]
            wider = _continue_straight(coefficients, 1, beyond) + middle
            low, high = wider.min(), wider.max()
        for axis in (0, 1):
            coefficients = _spline_coefficients(coefficients, axis, is_linear)
        if is_linear:
            coefficients = _continue_straight(coefficients, _REACH, beyond)
        else:
            coefficients = np.pad(coefficients, _REACH, mode='symmetric')
        self._coefficients, self._middle = coefficients, middle
        self._limits = self.dtype.type(low), self.dtype.type(high)

    def part(self, rows=None, columns=None):
        """
        Return a part of the map.

        Parameters
        ----------
        rows, columns : slice, optional
            Rows and columns, without a step. Default: all.

        Returns
        -------
        image : 2D `~numpy.ndarray`
            A new array, which does not depend on the part, except for rounding.
        """
        slices = [
            slice(*(slice(None) if one is None else one).indices(n)[:2])
            for one, n in zip((rows, columns), self.shape, strict=True)
        ]
        shape = [one.stop - one.start for one in slices]
        if self._constant is not None:
            return np.full(shape, self._constant, dtype=self.dtype)
        if 0 in shape:
            return np.empty(shape, dtype=self.dtype)
        values = self._coefficients
        first, boxes = [], []
        for one, size in zip(slices, self._box_size, strict=True):
            boxes.append(slice(one.start // size, -(-one.stop // size) + 2 * _REACH))
            start = one.start - one.start // size * size
            first.append(slice(start, start + one.stop - one.start))
        values = values[boxes[0], boxes[1]]
        y_weights, x_weights = (_box_weights(size) for size in self._box_size)
        # along the rows there is less to do before there are many
        windows = sliding_window_view(values, 2 * _REACH + 1, axis=1)
        values = (windows @ x_weights).reshape(len(windows), -1)[:, first[1]]
        image = np.empty(shape, self.dtype)
        with np.errstate(over='ignore'):  # beyond the limits
            for some, piece in _over_rows(y_weights, values, first[0]):
                np.add(piece, self._middle, out=image[some], casting='same_kind')
        return np.clip(image, *self._limits, out=image)


def _over_rows(weights, values, rows):
    """
    Yield the sums of the splines along y, piece by piece.

    That is for some rows, counted from those of the first box, which of them, and their
    sums.
    """
    size = weights.shape[1]
    if size <= _MOST_ROWS:
        windows = sliding_window_view(values, 2 * _REACH + 1, axis=0).swapaxes(1, 2)
        pieces = (weights.T @ windows).reshape(-1, values.shape[1])
        yield slice(None), pieces[rows]
        return
    # Boxes may be far higher than the part. Of each whole pieces are made, or rounding
    # would depend on the part.
    for number in range(len(values) - 2 * _REACH):
        window = values[number : number + 2 * _REACH + 1]
        for start in range(number * size, (number + 1) * size, _MOST_ROWS):
            stop = min(start + _MOST_ROWS, (number + 1) * size)
            first, last = max(start, rows.start), min(stop, rows.stop)
            if first < last:
                some = weights[:, start - number * size : stop - number * size]
                piece = (some.T @ window)[first - start : last - start]
                yield slice(first - rows.start, last - rows.start), piece


def _spline_coefficients(values, axis, is_linear):
    """Return the coefficients of the cubic B-splines that meet the values."""
    values = np.moveaxis(values, axis, 0)
    if len(values) == 1:
        return np.moveaxis(values, 0, axis)
    # A spline is 2/3 at its own box and 1/6 at the next.
    matrix = np.full((2, len(values)), 1 / 6)
    matrix[1] = 2 / 3
    if is_linear:
        # Without a bend at its end its outer coefficient is the value there.
        first, last = values[0], values[-1]
        values = values.copy()
        values[1] -= first / 6
        values[-2] -= last / 6
        values[0], values[-1] = first, last
        matrix[0, [1, -1]] = 0
        matrix[1, [0, -1]] = 1
    else:
        # beyond the edge a box has its own coefficient for a neighbor
        matrix[1, [0, -1]] += 1 / 6
    return np.moveaxis(solveh_banded(matrix, values, check_finite=False), 0, axis)


def _continue_straight(values, n_around, n_beyond):
    """Continue a mesh straight on, on all sides and more so at the far ends."""
    for axis, n_more in enumerate(n_beyond):
        values = np.moveaxis(values, axis, 0)
        first, last = values[0], values[-1]
        before, after = np.zeros((2, *first.shape))
        if len(values) > 1:
            before, after = first - values[1], last - values[-2]
        steps = np.arange(1, n_around + n_more + 1).reshape(-1, 1)
        values = np.concatenate(
            [first + steps[n_around - 1 :: -1] * before, values, last + steps * after]
        )
        values = np.moveaxis(values, 0, axis)
    return values


def _box_weights(box_size):
    """
    Return the cubic B-splines of a box and its neighbors at the pixels of the box.

    Shape ``(5, box_size)``: the cubic B-spline (Unser 1999, IEEE Signal Processing
    Magazine 16, 22) at the distances of the pixels from the centers of the boxes.
    """
    place = (np.arange(box_size) + 0.5) / box_size - 0.5
    distance = np.abs(np.arange(-_REACH, _REACH + 1)[:, np.newaxis] - place)
    return np.where(
        distance < 1,
        2 / 3 - distance**2 + distance**3 / 2,
        np.maximum(2 - distance, 0) ** 3 / 6,
    )
