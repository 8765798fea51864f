"""
Windows that represent a large image. Numpy only.
"""

import numpy as np

__all__ = ['middle_of', 'read_middle', 'spread_windows']

# Multiples of these fill a square evenly, however many are taken (Roberts 2018, "The
# unreasonable effectiveness of quasirandom sequences"): 1/g and 1/g^2, g^3 = g + 1.
_STEPS = 0.7548776662466927, 0.5698402909980532
# Of large images the middle tells how wide the sources are, and what errors mean.
_MAX_VIEW = 2048
_PIXELS = 2**21  # that are read at once


def spread_windows(shape, side):
    """
    Divide an image into windows, the first of which are spread over all of it.

    Parameters
    ----------
    shape : tuple of 2 int
        The shape of the image.
    side : int
        The largest side of a window in pixels.

    Returns
    -------
    windows : list of tuple of slice
        Windows that contain each pixel of the image once. Their sizes differ by at most
        one pixel.
    """
    edges = [np.arange(-(-n // side) + 1) * n // -(-n // side) for n in shape]
    y, x = (np.arange(len(edge) - 1) for edge in edges)
    order = (y[:, np.newaxis] * _STEPS[0] + x * _STEPS[1]) % 1
    rows, columns = np.unravel_index(np.argsort(order, axis=None), order.shape)
    (bottom, top), (left, right) = ((edge[:-1], edge[1:]) for edge in edges)
    return [
        np.s_[bottom[j] : top[j], left[i] : right[i]]
        for j, i in zip(rows, columns, strict=True)
    ]


def middle_of(shape, side=_MAX_VIEW):
    """
    Return the middle of a large image, or all of it.

    Parameters
    ----------
    shape : tuple of 2 int
        The shape of the image.
    side : int, optional
        The side of the middle in pixels. Default 2048.

    Returns
    -------
    middle : tuple of 2 slice
    """
    return tuple(slice(max(0, (n - side) // 2), (n + side) // 2) for n in shape)


def read_middle(read, shape):
    """
    Read the middle of a large image in bands of rows.

    Parameters
    ----------
    read : callable
        Called with rows (a slice); returns images in these rows, with all columns.
    shape : tuple of 2 int
        The shape of the image.

    Returns
    -------
    images : list of 2D `~numpy.ndarray`
        The images in its middle, as given by `middle_of`.
    """
    rows, columns = middle_of(shape)
    start, stop, _ = rows.indices(shape[0])
    step = max(_PIXELS // shape[1], 1)
    parts = [
        # a view would hold the whole rows
        [one[:, columns].copy() for one in read(slice(k, min(k + step, stop)))]
        for k in range(start, stop, step)
    ]
    return [np.concatenate(images) for images in zip(*parts, strict=True)]
