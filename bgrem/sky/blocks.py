"""
Square blocks of pixels, of which the last ones may be cut. Numpy only.
"""

import numpy as np

__all__ = [
    'at_pixels',
    'average_blocks',
    'block_moments',
    'fold_blocks',
    'in_blocks',
    'sum_blocks',
]


def in_blocks(values, size, fill):
    """
    Collect the values of each block.

    Parameters
    ----------
    values : 2D `~numpy.ndarray`
        The values.
    size : int
        The side of a block.
    fill : scalar
        The value of pixels of a block that lie outside.

    Returns
    -------
    blocks : 3D `~numpy.ndarray`
        Shape ``(rows, columns, size**2)``.
    """
    more = [(0, -n % size) for n in values.shape]
    if any(after for _, after in more):
        values = np.pad(values, more, constant_values=fill)
    n_rows, n_columns = (n // size for n in values.shape)
    values = values.reshape(n_rows, size, n_columns, size).swapaxes(1, 2)
    return values.reshape(n_rows, n_columns, -1)


def at_pixels(values, size, shape):
    """
    Give each pixel the value of its block.

    Parameters
    ----------
    values : 2D `~numpy.ndarray`
        One value for each block.
    size : int
        The side of a block.
    shape : tuple of 2 int
        The shape of the image.

    Returns
    -------
    values : 2D `~numpy.ndarray`
        The image.
    """
    return values.repeat(size, axis=0).repeat(size, axis=1)[: shape[0], : shape[1]]


def fold_blocks(values, size, combine, axes=(0, 1)):
    """
    Combine the values of each block.

    Parameters
    ----------
    values : `~numpy.ndarray`
        The values.
    size : int
        The side of a block.
    combine : `~numpy.ufunc`
        What combines two values, as `numpy.add` does.
    axes : tuple of int, optional
        The axes along which blocks extend. Default: rows and columns.

    Returns
    -------
    values : `~numpy.ndarray`
        One value for each block, of the same dtype.
    """
    for axis in axes:
        values = values.swapaxes(0, axis)
        n_whole = len(values) // size
        result = np.empty((-(-len(values) // size), *values.shape[1:]), values.dtype)
        # faster than along the axis of a reshaped array
        whole = result[:n_whole]
        whole[...] = values[: n_whole * size : size]
        for k in range(1, size):
            combine(whole, values[k : n_whole * size : size], out=whole)
        if n_whole < len(result):
            result[-1] = combine.reduce(values[n_whole * size :], axis=0)
        values = result.swapaxes(0, axis)
    return values


def sum_blocks(values, size):
    """
    Return the sum of each block, as `fold_blocks`.

    Parameters
    ----------
    values, size
        As for `fold_blocks`.

    Returns
    -------
    total : 2D `~numpy.ndarray`
        The sums.
    """
    return fold_blocks(values, size, np.add)


def average_blocks(values, size):
    """
    Return the mean of each block.

    Parameters
    ----------
    values, size
        As for `fold_blocks`.

    Returns
    -------
    mean : 2D `~numpy.ndarray`
        The means; of a block that is cut, that of its pixels.
    """
    n_values = [
        np.minimum(np.arange(0, n, size) + size, n) - np.arange(0, n, size)
        for n in values.shape
    ]
    total = sum_blocks(values, size)
    return total / np.multiply.outer(*n_values).astype(total.dtype)


def block_moments(weight, size):
    """
    Return the sum of the weights of each block, and where they are on average.

    Parameters
    ----------
    weight : 2D `~numpy.ndarray` of float
        The weights.
    size : int
        The side of a block.

    Returns
    -------
    total, y, x : 2D `~numpy.ndarray`
        The sum, and the place along y and x from the middle of the block, in blocks.
    """
    along_y = fold_blocks(weight, size, np.add, axes=(0,))
    total = fold_blocks(along_y, size, np.add, axes=(1,))
    divisor = size * np.where(total > 0, total, 1)
    places = []
    for axis, values in ((0, weight), (1, along_y)):
        # from the middles of the blocks
        place = np.arange(weight.shape[axis], dtype=np.float32) % size
        place -= np.float32((size - 1) / 2)
        moment = values * np.expand_dims(place, 1 - axis)
        axes = (0, 1) if axis == 0 else (1,)
        places.append(fold_blocks(moment, size, np.add, axes) / divisor)
    return total, *places
