"""
Cut an image into overlapping tiles and join them again.

All tiles of an image have the same shape, so that they can be stacked into
batches. Neighboring tiles overlap and are blended with taper windows that
sum to one at every pixel; the taper lies only on edges inside the image.
Numpy only.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ['TileLayout', 'make_layout', 'merge', 'split']


@dataclass(frozen=True, eq=False)
class TileLayout:
    """
    The positions of the tiles of an image, and how they are blended.

    Built by `make_layout`. Tiles are numbered row by row; tile ``i`` has its
    lower left pixel at ``(y_starts[i // n_x], x_starts[i % n_x])`` where
    ``n_x = len(x_starts)``.

    Attributes
    ----------
    shape : tuple of 2 int
        The shape ``(ny, nx)`` of the image.
    tile_shape : tuple of 2 int
        The shape ``(h, w)`` of each tile.
    y_starts, x_starts : 1D `~numpy.ndarray` of int
        The first row (column) of each row (column) of tiles.
    y_windows, x_windows : 2D `~numpy.ndarray` of float32
        The blending weights of each row (column) of tiles, of shape
        ``(len(y_starts), h)`` and ``(len(x_starts), w)``.
    """

    shape: tuple
    tile_shape: tuple
    y_starts: np.ndarray
    x_starts: np.ndarray
    y_windows: np.ndarray
    x_windows: np.ndarray

    def __len__(self):
        return len(self.y_starts) * len(self.x_starts)

    def take(self, image, indices):
        """
        Cut out some tiles.

        Parameters
        ----------
        image : 2D `~numpy.ndarray`
            The image, of the layout's shape. Tiles that extend beyond its last row or
            column continue it by reflection (edge pixels repeated).
        indices : iterable of int
            The numbers of the tiles.

        Returns
        -------
        tiles : 3D `~numpy.ndarray`
            A new array of shape ``(len(indices), h, w)`` and the image's
            dtype.
        """
        indices = list(indices)
        height, width = self.tile_shape
        tiles = np.empty((len(indices), height, width), dtype=image.dtype)
        for tile, index in zip(tiles, indices, strict=True):
            y0, x0 = self._start(index)
            rows = _reflect(np.arange(y0, y0 + height), self.shape[0])
            columns = _reflect(np.arange(x0, x0 + width), self.shape[1])
            tile[...] = image[np.ix_(rows, columns)]
        return tiles

    def add(self, image, tiles, indices):
        """
        Add tiles, weighted by their windows, to an image, in place.

        Parameters
        ----------
        image : 2D `~numpy.ndarray`
            The image to which tiles are added; start with zeros. Once all tiles have
            been added, it is the blended image.
        tiles : 3D `~numpy.ndarray`
            The tiles, of shape ``(len(indices), h, w)``.
        indices : iterable of int
            The numbers of the tiles.
        """
        ny, nx = self.shape
        for tile, index in zip(tiles, indices, strict=True):
            row, column = divmod(index, len(self.x_starts))
            y0, x0 = self._start(index)
            part = image[y0 : y0 + tile.shape[0], x0 : x0 + tile.shape[1]]
            height, width = min(tile.shape[0], ny - y0), min(tile.shape[1], nx - x0)
            window = self.y_windows[row, :height, None] * self.x_windows[column, :width]
            part += tile[:height, :width] * window

    def part(self, rows, columns=slice(None)):
        """
        Return some of the tiles as a layout of the rectangle that they cover.

        Parameters
        ----------
        rows, columns : slice, optional
            The rows and columns of tiles.

        Returns
        -------
        layout : `TileLayout`
            A layout with the tiles and windows of the whole layout. The blended parts
            add up to the blended image.
        place : tuple of 2 slice
            The location of the rectangle in the image.
        """
        starts, place = [], []
        axes = (self.y_starts[rows], self.x_starts[columns])
        for chosen, side, n in zip(axes, self.tile_shape, self.shape, strict=True):
            place.append(slice(int(chosen[0]), int(min(chosen[-1] + side, n))))
            starts.append(chosen - chosen[0])
        layout = TileLayout(
            tuple(one.stop - one.start for one in place),
            self.tile_shape,
            *starts,
            self.y_windows[rows],
            self.x_windows[columns],
        )
        return layout, tuple(place)

    def _start(self, index):
        row, column = divmod(index, len(self.x_starts))
        return self.y_starts[row], self.x_starts[column]


def make_layout(shape, tile_size, overlap, multiple):
    """
    Lay tiles over an image.

    Parameters
    ----------
    shape : tuple of 2 int
        The shape ``(ny, nx)`` of the image; each at least 1.
    tile_size : int
        The largest side of a tile in pixels, a multiple of ``multiple``. Along each
        axis, tiles are as small as possible for the number needed to cover the image.
    overlap : int
        The minimum overlap of neighboring tiles in pixels, at least 0 and less than
        ``tile_size``; rounded up to ``multiple``.
    multiple : int
        The sides of tiles and the distances between them are multiples of
        this number of pixels, so that a network that halves its resolution several
        times has the same pixel grid in all tiles.

    Returns
    -------
    layout : `TileLayout`
        The layout.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """
    if len(shape) != 2 or min(shape) < 1:
        msg = f'shape must be two positive integers, got {tuple(shape)}'
        raise ValueError(msg)
    if multiple < 1:
        msg = f'multiple must be a positive integer, got {multiple}'
        raise ValueError(msg)
    if tile_size < 1 or tile_size % multiple:
        msg = f'tile_size must be a positive multiple of {multiple}, got {tile_size}'
        raise ValueError(msg)
    rounded_overlap = -(-overlap // multiple) * multiple
    if overlap < 0 or rounded_overlap >= tile_size:
        msg = (
            f'overlap must be at least 0 and, rounded up to a multiple of {multiple}, '
            f'less than tile_size={tile_size}, got {overlap}'
        )
        raise ValueError(msg)

    axes = [_lay_axis(n, tile_size, rounded_overlap, multiple) for n in shape]
    (height, y_starts), (width, x_starts) = axes
    return TileLayout(
        shape=tuple(int(n) for n in shape),
        tile_shape=(height, width),
        y_starts=y_starts,
        x_starts=x_starts,
        y_windows=_windows(y_starts, height),
        x_windows=_windows(x_starts, width),
    )


def split(image, tile_size, overlap, multiple):
    """
    Cut an image into overlapping tiles.

    Parameters
    ----------
    image : 2D `~numpy.ndarray`
        The image, of any shape from 1x1 up.
    tile_size, overlap, multiple : int
        See `make_layout`.

    Returns
    -------
    tiles : 3D `~numpy.ndarray`
        The tiles, of shape ``(n, h, w)`` and the image's dtype.
    layout : `TileLayout`
        The layout, from which `merge` can join them again.
    """
    layout = make_layout(image.shape, tile_size, overlap, multiple)
    return layout.take(image, range(len(layout))), layout


def merge(tiles, layout):
    """
    Blend tiles into an image: the inverse of `split`, except for rounding.

    Parameters
    ----------
    tiles : 3D `~numpy.ndarray`
        The tiles, of shape ``(n, h, w)``.
    layout : `TileLayout`
        The layout returned by `split`.

    Returns
    -------
    image : 2D `~numpy.ndarray`
        The image, of the tiles' dtype.

    Raises
    ------
    ValueError
        If the tiles do not match the layout.
    """
    expected = (len(layout), *layout.tile_shape)
    if tiles.shape != expected:
        msg = f'tiles must have the shape {expected}, got {tiles.shape}'
        raise ValueError(msg)
    image = np.zeros(layout.shape, dtype=tiles.dtype)
    layout.add(image, tiles, range(len(layout)))
    return image


def _lay_axis(n_pixels, tile_size, overlap, multiple):
    """Return the tile side and the first pixel of each tile along one axis."""
    # in units of `multiple`, so that every distance is a whole number of them
    n_units = -(-n_pixels // multiple)
    overlap //= multiple
    side = min(tile_size // multiple, n_units)
    n_tiles = 1 + -(-(n_units - side) // max(side - overlap, 1))
    # no more overlap than is asked for
    side = min(side, -(-(n_units + (n_tiles - 1) * overlap) // n_tiles))
    starts = np.rint(np.linspace(0, n_units - side, n_tiles)).astype(int)
    return side * multiple, starts * multiple


def _windows(starts, side):
    """Return the blending weights of each tile along one axis."""
    position = np.arange(side) + 0.5
    windows = np.ones((len(starts), side))
    for i, overlap in enumerate(starts[:-1] + side - starts[1:]):
        # sin^2 and its mirror image cos^2 sum to one over the overlap
        ramp = np.sin(0.5 * np.pi * position[:overlap] / max(overlap, 1)) ** 2
        windows[i, side - overlap :] *= ramp[::-1]
        windows[i + 1, :overlap] *= ramp
    # where more than two tiles overlap (an image hardly larger than a tile)
    # the products do not sum to one by themselves
    total = np.zeros(starts[-1] + side)
    for start, window in zip(starts, windows, strict=True):
        total[start : start + side] += window
    for start, window in zip(starts, windows, strict=True):
        window /= total[start : start + side]
    return windows.astype(np.float32)


def _reflect(index, n_pixels):
    """Fold pixel numbers beyond the last pixel back into the image."""
    index = index % (2 * n_pixels)
    return np.minimum(index, 2 * n_pixels - 1 - index)
