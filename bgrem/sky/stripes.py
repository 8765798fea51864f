"""
Rows and columns that are brighter or darker along their whole length.

Detectors write them: the 1/f noise of an infrared array, the bias of each column. To
the network they are faint lines of light. Numpy and scipy only.
"""

import numpy as np
from scipy import ndimage

from bgrem.sky.normalize import estimate_normalization

__all__ = ['measure_stripes']

# A row with a smaller part of usable pixels than this has no level of its own.
_MIN_PART = 0.1
# The variance of a median, of independent normal values, over that of their mean.
_MEDIAN_VARIANCE = np.pi / 2
# Light is left out where the mean of so many pixels is so many of its own standard
# deviations above the sky.
_LIGHT_WINDOW = 5
_LIGHT = 3.0


def measure_stripes(data, unusable):
    """
    Measure the levels of the rows and of the columns of an image.

    Parameters
    ----------
    data : 2D `~numpy.ndarray` of float
        The image.
    unusable : 2D `~numpy.ndarray` of bool
        True at pixels to ignore, among them all that are not finite.

    Returns
    -------
    rows, columns : 1D `~numpy.ndarray` of float
        What is to be subtracted from each row and each column, in the unit of the data.

    Notes
    -----
    The smooth sky is taken off, then the levels are medians, first of the rows, then
    of the columns of what is left; and all this once more without the stripes found,
    and leaving out what is bright, as far as that can be told in windows of 5 px. What
    rows have in common over the 48 px of a box is left to the sky. A median has
    an error of its own: all are multiplied by the part of their variance that is more
    than that (the filter of Wiener), which is none in an image without stripes.
    """
    rows, columns = (np.zeros(n) for n in data.shape)
    usable = ~unusable
    for last in (False, True):
        clean = data - rows[:, None] - columns
        maps = estimate_normalization(clean, unusable)
        sky = np.where(usable & (maps.scale > 0), clean - maps.center, np.nan)
        if last:
            sky[_bright_pixels(sky, maps.scale)] = np.nan
        more = _levels(sky)
        rows += more
        sky -= more[:, None]
        columns += _levels(sky.T)
        noise = np.median(maps.scale)
    n_used = np.isfinite(sky)
    return tuple(
        levels * _signal_part(levels, noise, np.count_nonzero(n_used, axis))
        for levels, axis in ((rows, 1), (columns, 0))
    )


def _bright_pixels(sky, noise):
    """Return where windows of some pixels show light."""
    light = ndimage.uniform_filter(np.nan_to_num(sky), _LIGHT_WINDOW)
    bright = light > _LIGHT / _LIGHT_WINDOW * noise
    return ndimage.binary_dilation(bright, iterations=_LIGHT_WINDOW // 2)


def _levels(values):
    """Return the median of each row that has enough values, else 0."""
    enough = np.mean(np.isfinite(values), axis=1) > _MIN_PART
    levels = np.zeros(len(values))
    if enough.any():
        levels[enough] = np.nanmedian(values[enough], axis=1)
    return levels


def _signal_part(levels, noise, n_values):
    """Return which part of the variance of the levels is not that of their errors."""
    measured = (levels != 0) & (n_values > 0)
    if not measured.any():
        return 0.0
    error = np.mean(_MEDIAN_VARIANCE * noise**2 / n_values[measured])
    return max(1 - error / np.mean(np.square(levels[measured])), 0.0)
