"""
Rows and columns with offsets, which are removed for the network.

Detectors produce them: the bias of each column, the 1/f noise of each row, the offset
of an amplifier. Beside them, faint sources are lost. No sky is like that: it does not
change from one line of pixels to the next along the whole side of an image, whatever
lies beside it. So an image is examined in strips one box wide, and what all of them
have in common is not light. Numpy only.
"""

import numpy as np

from bgrem.sky.mesh import box_centers

__all__ = ['common_levels', 'find_lines', 'profiles', 'strips_of']

_MOST_STRIPS = 12  # more tell little more
_MIN_STRIPS = 3  # of two none can be the odd one
# The variance of a median, of independent normal values, over that of their mean.
_MEDIAN_VARIANCE = np.pi / 2
# A line with a smaller part of usable pixels in a strip than this has no level there.
_MIN_PART = 0.5

# Stripes: their variance is at least that of the error of the lines, and they are of
# more than a tenth of the noise, below which they do no harm. They are rough: the mean
# product of the steps in two strips is more than this part of that of steps four
# times as long. Fringes are not.
_LEAST_STRIPES = 0.1
_MIN_ROUGHNESS = 0.3
_LONG_STEP = 4
_CLIP = 3.0  # standard deviations: single bad lines are left to the network

# Strips differ by no more than so many times what they differ by in most lines.
_MOST_SPREAD = 5.0

# A border: the step from one line to the next is so many times its error and more than
# this part of the noise. It is as high as that between the levels of some lines on
# either side, within a factor of two, and seen in three strips of four.
_MIN_SIGNIFICANCE = 8.0
_LEAST_STEP = 0.3
_SIDE = 8
_ALIKE = 0.5
_MOST_SEEN = 0.75


def strips_of(n_boxes):
    """
    Choose the strips in which lines are examined.

    Parameters
    ----------
    n_boxes : int
        The number of boxes of an image along one axis.

    Returns
    -------
    chosen : 1D `~numpy.ndarray` of int
        At most 12 of them, evenly spaced.
    """
    return np.arange(0, n_boxes, -(-n_boxes // _MOST_STRIPS))


def profiles(data, unusable, edges, rows):
    """
    Measure the level of each row and column in strips of an image.

    Parameters
    ----------
    data : 2D `~numpy.ndarray` of float
        The image in these rows.
    unusable : 2D `~numpy.ndarray` of bool
        True at pixels to ignore, including all that are not finite.
    edges : tuple of 2 1D `~numpy.ndarray` of int
        The edges of the boxes of the image, as in `bgrem.sky.mesh.Mesh`.
    rows : slice
        These rows, from edge to edge of boxes.

    Returns
    -------
    of_rows : 2D `~numpy.ndarray` of float
        The median of each row in each chosen column of boxes, shape (strips, rows); NaN
        if less than half of its pixels are usable.
    of_columns : 2D `~numpy.ndarray` of float
        The median of each column in the chosen rows of boxes that are among these rows,
        shape (strips, columns).
    """
    y_edges, x_edges = edges
    dtype = data.dtype if data.dtype in (np.float32, np.float64) else np.float64
    if unusable.any():
        data = np.where(unusable, dtype.type(np.nan), data)
    boxes = strips_of(len(x_edges) - 1)
    of_rows = [_levels(data[:, x_edges[k] : x_edges[k + 1]], axis=1) for k in boxes]
    of_columns = [
        _levels(data[y_edges[k] - rows.start : y_edges[k + 1] - rows.start], axis=0)
        for k in strips_of(len(y_edges) - 1)
        if rows.start <= y_edges[k] < rows.stop
    ]
    return (
        np.array(of_rows).reshape(-1, len(data)),
        np.array(of_columns).reshape(-1, data.shape[1]),
    )


def find_lines(levels, noise):
    """
    Tell whether lines have offsets.

    Parameters
    ----------
    levels : 2D `~numpy.ndarray` of float
        The levels of all rows or of all columns, from `profiles`.
    noise : float
        The standard deviation of a pixel.

    Returns
    -------
    found : bool
        Whether there are stripes, or steps along the whole side of the image.
    """
    if len(levels) < _MIN_STRIPS or levels.shape[1] < 4 * _SIDE:
        return False
    return _has_stripes(levels, noise) or _has_border(levels, noise)


def common_levels(levels, edges=None, box_levels=None):
    """
    Return the offsets that all strips have in common.

    Parameters
    ----------
    levels : 2D `~numpy.ndarray` of float
        From `profiles`.
    edges : 1D `~numpy.ndarray` of int, optional
        The edges of the boxes along the axis of the lines.
    box_levels : 2D `~numpy.ndarray` of float, optional
        The levels of the boxes of each strip, shape (strips, boxes): the smooth sky,
        which is subtracted first. Default: nothing is subtracted.

    Returns
    -------
    common : 1D `~numpy.ndarray` of float
        The offset of each line from the median of all; 0 if fewer than three strips
        have a level. Where the strips differ far more than elsewhere, little more than
        their lower quartile: the rest is light, for example of a galaxy along the
        lines.
    """
    if box_levels is not None:
        pixels, centers = np.arange(levels.shape[1]), box_centers(edges)
        levels = levels - [np.interp(pixels, centers, row) for row in box_levels]
    levels = levels - _median(levels, axis=1)[:, np.newaxis]
    n_strips = np.count_nonzero(np.isfinite(levels), axis=0)
    common, known = _median(levels, axis=0), n_strips >= _MIN_STRIPS
    if not known.any():
        return np.zeros(len(common))
    quarter = np.maximum(n_strips - 1, 0)[np.newaxis] // 4
    low = np.take_along_axis(np.sort(levels, axis=0), quarter, axis=0)[0]
    # what it is in most lines, where there is no light
    spread = np.median((common - low)[known])
    return np.where(known, np.minimum(common, low + _MOST_SPREAD * spread), 0)


def _levels(values, axis):
    """Return medians, NaN where too few of the values are there."""
    there = np.isfinite(values)
    if there.all():
        # to sort so few numbers takes a tenth of the time of `numpy.median`
        ordered = np.array(np.moveaxis(values, axis, -1), order='C')
        ordered.sort(axis=-1)
        n = ordered.shape[-1]
        return (ordered[..., (n - 1) // 2] + ordered[..., n // 2]) / 2
    enough = np.mean(there, axis=axis) >= _MIN_PART
    return np.where(enough, _median(values, axis), np.nan)


def _median(values, axis=None):
    """
    Return the median of what is not NaN; NaN where all is.

    As `numpy.nanmedian`, but without its warning: to ignore that changes filters that
    all threads share, and in the end leaves them changed.
    """
    if axis is None:
        values, axis = values.ravel(), 0
    ordered = np.sort(values, axis=axis)  # NaN comes last
    n_known = np.count_nonzero(~np.isnan(values), axis=axis, keepdims=True)
    low, high = (
        np.take_along_axis(ordered, np.maximum(place, 0) // 2, axis=axis)
        for place in (n_known - 1, n_known)
    )
    return np.squeeze((low + high) / 2, axis=axis)


def _has_stripes(levels, noise):
    """Whether the steps from line to line are those of all strips, and rough."""
    own, common, n_strips = _products(levels, 1)
    _, smooth, _ = _products(levels, _LONG_STEP)
    return bool(
        # a step is the difference of two lines
        common > 2 * (_LEAST_STRIPES * noise) ** 2
        and common > (own - common) / n_strips
        and common > _MIN_ROUGHNESS * smooth
    )


def _products(levels, step):
    """
    Return the mean square of steps, the mean product of those in two strips, and how
    many strips there are in the mean.
    """
    steps = levels[:, step:] - levels[:, :-step]
    steps = steps[:, np.count_nonzero(np.isfinite(steps), axis=0) >= _MIN_STRIPS]
    if steps.size == 0:
        return 0.0, 0.0, 1.0
    middle = np.abs(_median(steps, axis=0))
    steps = steps[:, middle <= _CLIP * 1.4826 * np.median(middle)]
    bound = _CLIP * 1.4826 * _median(np.abs(steps))
    steps = np.clip(steps, -bound, bound)
    n_strips = np.count_nonzero(np.isfinite(steps), axis=0)
    steps = np.nan_to_num(steps)
    squares = np.sum(np.square(steps), axis=0)
    pairs = (np.square(np.sum(steps, axis=0)) - squares) / (n_strips * (n_strips - 1))
    return np.mean(squares / n_strips), np.mean(pairs), np.mean(n_strips)


def _has_border(levels, noise):
    """Whether there is a step that is sharp, lasting and seen in all strips."""
    step = np.diff(levels, axis=1)
    n_strips = np.count_nonzero(np.isfinite(step), axis=0)
    known = n_strips >= _MIN_STRIPS
    # a border has lines on both sides
    known[: _SIDE - 1] = known[-_SIDE + 1 :] = False
    if not known.any():
        return False
    places = np.flatnonzero(known)
    step, n_strips = step[:, places], n_strips[places]
    height = _median(step, axis=0)
    # as if a strip were as wide as any box; more where neighbors share their noise
    error = max(1.4826 * _median(np.abs(step)), 0.25 * noise)
    error = error * np.sqrt(_MEDIAN_VARIANCE / n_strips)
    height, sign = np.abs(height), np.sign(height)
    sharp = (height > _MIN_SIGNIFICANCE * error) & (height > _LEAST_STEP * noise)
    seen = np.sum(step * sign > _ALIKE * height, axis=0) >= _MOST_SEEN * n_strips
    for k in np.flatnonzero(sharp & seen):
        around = levels[:, places[k] + 1 - _SIDE : places[k] + 1 + _SIDE]
        far, near, after, beyond = (
            _median(part, axis=1) for part in np.split(around, 4, axis=1)
        )
        # what falls off again, as a trail or the disc of a galaxy, is no border
        lasting = sign[k] * np.array([_median(after - near), _median(beyond - far)])
        if np.all((_ALIKE * height[k] < lasting) & (lasting < height[k] / _ALIKE)):
            return True
    return False
