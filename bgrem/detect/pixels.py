"""
Operations on the pixels of segments and around peaks, without work on all others.

Functions of `scipy.ndimage` sort the whole image to find the maximum of each segment,
and filter all of it to give values at a few pixels. Numpy only.
"""

import numpy as np

from bgrem.sky.bands import CACHED, split_rows
from bgrem.sky.bands import widen as widen_rows

__all__ = [
    'DISC',
    'curvatures',
    'highest_pixels',
    'highest_values',
    'open_disc',
    'renumber',
    'spread',
    'widen',
]

_TRUNCATE = 4.0  # standard deviations of a Gaussian
#: A disc of 7 pixels across, and the rectangles (height, width) that make it up.
DISC = np.hypot(*np.indices((7, 7)) - 3) < 3.5
_RECTANGLES = (3, 7), (5, 5), (7, 3)
_MAX_CHUNK = 1_000_000  # pixels of the windows held at once


def highest_values(image, labels, n_labels):
    """
    Return the maximum of an image in each segment.

    Parameters
    ----------
    image : 2D `~numpy.ndarray` of float
        The image; finite in the segments.
    labels : 2D `~numpy.ndarray` of int
        The segments, 0 elsewhere.
    n_labels : int
        The highest label needed.

    Returns
    -------
    values : 1D `~numpy.ndarray`
        For the labels 0 to ``n_labels``, dtype of ``image``; -inf for label 0 and for
        labels without pixels.
    """
    inside = labels > 0
    values = np.full(n_labels + 1, -np.inf, dtype=image.dtype)
    np.maximum.at(values, labels[inside], image[inside])
    return values


def highest_pixels(image, labels, n_labels):
    """
    Return the highest pixel of each segment.

    Parameters
    ----------
    image, labels, n_labels
        As for `highest_values`.

    Returns
    -------
    y, x : 1D `~numpy.ndarray` of int
        The first of the highest pixels of the segments 1 to ``n_labels``; 0 for a
        segment without a pixel.
    """
    values = highest_values(image, labels, n_labels)
    place = np.flatnonzero(labels)
    label = labels.ravel()[place]
    is_highest = image.ravel()[place] == values[label]
    first = np.zeros(n_labels + 1, dtype=np.intp)
    # of several the first one is written last
    first[label[is_highest][::-1]] = place[is_highest][::-1]
    return np.divmod(first[1:], labels.shape[1])


def curvatures(image, y, x, scale):
    """
    Return the second derivatives of a smoothed image at some pixels.

    Parameters
    ----------
    image : 2D `~numpy.ndarray` of float
        The image; it is extended beyond the border by its edge.
    y, x : 1D `~numpy.ndarray` of int
        The pixels.
    scale : float
        The standard deviation of the Gaussian in pixels.

    Returns
    -------
    down, across, mixed : 1D `~numpy.ndarray` of float64
        The second derivatives along y, along x, and along both. They are those of
        `scipy.ndimage.gaussian_filter`, but computed only at these pixels.
    """
    reach = int(_TRUNCATE * scale + 0.5)
    offset = np.arange(-reach, reach + 1)
    smooth = np.exp(-0.5 * (offset / scale) ** 2)
    smooth /= smooth.sum()
    slope = smooth * offset / scale**2
    bend = smooth * ((offset / scale) ** 2 - 1) / scale**2
    result = np.empty((3, len(y)))
    step = max(1, _MAX_CHUNK // offset.size**2)
    for start in range(0, len(y), step):
        part = np.s_[start : start + step]
        rows = np.clip(y[part, np.newaxis] + offset, 0, image.shape[0] - 1)
        columns = np.clip(x[part, np.newaxis] + offset, 0, image.shape[1] - 1)
        window = image[rows[:, :, np.newaxis], columns[:, np.newaxis, :]].astype(float)
        for k, (of_y, of_x) in enumerate(
            ((bend, smooth), (smooth, bend), (slope, slope))
        ):
            result[k, part] = np.einsum('nij,j->ni', window, of_x) @ of_y
    return result


def renumber(labels, numbers):
    """
    Renumber segments in place.

    Parameters
    ----------
    labels : 2D `~numpy.ndarray` of int
        The segments, 0 elsewhere.
    numbers : 1D `~numpy.ndarray` of int
        The new label for each old one, including 0.
    """
    # as an index labels are twice as large as an image
    for rows in split_rows(labels.shape, n_pixels=CACHED):
        labels[rows] = numbers[labels[rows]]


def open_disc(region):
    """
    Return the part of a region that `DISC` fits into.

    Parameters
    ----------
    region : 2D `~numpy.ndarray` of bool
        The region; it does not extend beyond the border.

    Returns
    -------
    opened : 2D `~numpy.ndarray` of bool
        As from `scipy.ndimage.binary_opening`.
    """
    opened = np.empty_like(region)
    for rows in split_rows(region.shape):
        near = widen_rows(rows, len(DISC) - 1, len(region))
        part = region[near]
        # what erodes it, then what dilates it again
        for combine in (np.logical_and, np.logical_or):
            padded = np.pad(part, len(DISC) // 2)
            part, *others = (_slide(padded, combine, *sides) for sides in _RECTANGLES)
            for other in others:
                combine(part, other, out=part)
        opened[rows] = part[rows.start - near.start :][: rows.stop - rows.start]
    return opened


def widen(region):
    """
    Add to a region the pixels that touch it, including diagonally.

    Parameters
    ----------
    region : 2D `~numpy.ndarray` of bool
        The region.

    Returns
    -------
    widened : 2D `~numpy.ndarray` of bool
        As from `scipy.ndimage.binary_dilation` with a square of 3 x 3 pixels.
    """
    rows = region.copy()
    rows[1:] |= region[:-1]
    rows[:-1] |= region[1:]
    widened = rows.copy()
    widened[:, 1:] |= rows[:, :-1]
    widened[:, :-1] |= rows[:, 1:]
    return widened


def spread(y, x, structure, shape):
    """
    Return the pixels covered by a structure placed at a few pixels.

    Parameters
    ----------
    y, x : 1D `~numpy.ndarray` of int
        The pixels.
    structure : 2D `~numpy.ndarray` of bool
        The structure, whose sides are odd.
    shape : tuple of int
        The shape of the image.

    Returns
    -------
    region : 2D `~numpy.ndarray` of bool
        As from `scipy.ndimage.binary_dilation` of an image that is True at the pixels.
    """
    margin = np.array(structure.shape) // 2
    region = np.zeros(np.array(shape) + 2 * margin, dtype=bool)
    flat = region.ravel()
    place = y * region.shape[1] + x
    for row, column in np.argwhere(structure):
        flat[place + (row * region.shape[1] + column)] = True
    (down, across), (height, width) = margin, shape
    return region[down : down + height, across : across + width]


def _slide(padded, combine, *sides):
    """Combine the pixels of a rectangle around each pixel of an image."""
    for axis, side in enumerate(sides):
        padded = np.moveaxis(padded, axis, 0)
        margin = (len(DISC) - side) // 2
        padded = padded[margin : len(padded) - margin]
        n_combined = 1
        while n_combined < side:
            step = min(n_combined, side - n_combined)
            padded = combine(padded[:-step], padded[step:])
            n_combined += step
        padded = np.moveaxis(padded, 0, axis)
    return padded
