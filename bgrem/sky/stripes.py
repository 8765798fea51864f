"""
Rows and columns that are brighter or darker along their whole length.

Detectors write them: the 1/f noise of an infrared array, the bias of each column. To the
network they are faint lines of light. Numpy only.
"""

import numpy as np

__all__ = ['measure_stripes']

# A row with a smaller part of usable pixels than this has no level of its own.
_MIN_PART = 0.1
# The variance of a median, of independent normal values, over that of their mean.
_MEDIAN_VARIANCE = np.pi / 2
_N_PASSES = 2


def measure_stripes(sky, usable):
    """
    Measure the levels of the rows and of the columns of an image.

    Parameters
    ----------
    sky : 2D `~numpy.ndarray` of float
        The image without its sources and its smooth sky, in units of the noise.
    usable : 2D `~numpy.ndarray` of bool
        True where it holds nothing else; finite there.

    Returns
    -------
    rows, columns : 1D `~numpy.ndarray` of float
        What is to be subtracted from each row and each column, in the same units.

    Notes
    -----
    They are medians, first of the rows, then of the columns of what is left, twice.
    A median has an error of its own: all are multiplied by the part of their variance
    that is more than that (the filter of Wiener), which is none in an image without
    stripes.
    """
    rest = np.where(usable, sky, np.nan)
    levels = [np.zeros(n) for n in sky.shape]
    for _ in range(_N_PASSES):
        for axis in (0, 1):
            across = 1 - axis
            found = _levels(rest, axis)
            levels[axis] += found
            rest -= np.expand_dims(found, across)
    return tuple(
        level * _signal_part(level, np.count_nonzero(usable, axis=1 - axis))
        for axis, level in enumerate(levels)
    )


def _levels(values, axis):
    """Return the median of each line that has enough values, else 0."""
    known = ~np.isnan(values)
    enough = np.mean(known, axis=1 - axis) > _MIN_PART
    levels = np.zeros(values.shape[axis])
    lines = values if axis == 0 else values.T
    if enough.any():
        levels[enough] = np.nanmedian(lines[enough], axis=1)
    return levels


def _signal_part(levels, n_values):
    """Return which part of the variance of the levels is not that of their errors."""
    measured = levels != 0
    if not measured.any():
        return 0.0
    error = np.mean(_MEDIAN_VARIANCE / n_values[measured])
    variance = np.mean(np.square(levels[measured]))
    return max(1 - error / variance, 0.0) if variance > 0 else 0.0
