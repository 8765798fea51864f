"""
What skewed noise does to an estimator of the sky.

The sky that leaves the flux of a source right is the mean of the pixels without it.
Estimators that stand outliers measure something else where the noise is skewed, as
that of photons is. At 500 electrons in a pixel the median is 0.007 standard deviations
of the noise below the mean, the mode of SExtractor, 2.5 median - 1.5 mean, 0.018, and
at 0.6 both are zero. In one pixel 0.02 are nothing, but an aperture adds them up. With
the sources gone the noise of all boxes together shows them. Numpy only.
"""

import math

import numpy as np

__all__ = ['skewness_offset']

# Pixels further than this from the mean, in standard deviations, are no noise.
_CLIP = 5.0
_N_PASSES = 3
# The skewness of n pixels of Gaussian noise has the standard deviation sqrt(6 / n).
# What is not above it by this factor is taken for none: then the sky is exactly that
# of the estimator.
_MIN_SIGNIFICANCE = 2.0
# Photons are independent from pixel to pixel. Where neighbours share more than this,
# the skewness may be that of countless faint stars, against which a mode is right, or
# of a sky finer than the boxes.
_MAX_CORRELATION = 0.1
_MAX_PIXELS = 4_000_000  # say enough, of a large image


def skewness_offset(sky, usable, level, noise, box_size, bkg_estimator, sigma_clip):
    """
    Measure by how much a sky is too low because the noise is skewed.

    Parameters
    ----------
    sky : 2D `~numpy.ndarray` of float
        The image without its sources.
    usable : 2D `~numpy.ndarray` of bool
        True where it holds nothing but sky and noise; finite there.
    level, noise : 2D `~numpy.ndarray` of float
        The sky and the standard deviation of the noise of each box, in the unit of
        ``sky``.
    box_size : sequence of 2 int
        The size ``(ny, nx)`` of a box; the first one begins at the first pixel.
    bkg_estimator, sigma_clip : callable
        As for `~photutils.background.Background2D`, with which ``level`` was measured.

    Returns
    -------
    offset : float
        What is to be added to the level of each box, in units of its noise: the mean
        of the noise about ``level``, less what it would be if the noise were not
        skewed. 0 where the noise is not measurably skewed to the bright side, or
        neighbouring pixels have more than a tenth of it in common.

    Notes
    -----
    The noise is pooled over all boxes in units of their standard deviation; pixels
    beyond 5 standard deviations of the whole are left out. If it were not skewed: the
    estimator is run on the pooled noise and its mirror image together. That gives zero
    for a measure of the middle, and not for, say, a percentile, which stays one. Of
    images of more than 4 megapixels as many are taken, in rows evenly spread.
    """
    step = math.ceil(sky.size / _MAX_PIXELS)
    rows = np.arange(0, sky.shape[0], step) // box_size[0]
    boxes = np.ix_(rows, np.arange(sky.shape[1]) // box_size[1])
    usable = usable[::step] & (noise[boxes] > 0)
    values = np.full(usable.shape, np.nan)
    np.subtract(sky[::step], level[boxes], out=values, where=usable)
    np.divide(values, noise[boxes], out=values, where=usable)
    for _ in range(_N_PASSES):
        mean, deviation = _moments(values)
        if not deviation > 0:
            return 0.0
        values[np.abs(values - mean) > _CLIP * deviation] = np.nan
    mean, deviation = _moments(values)
    values = (values - mean) / deviation
    if not _moments(values[:, 1:] * values[:, :-1])[0] < _MAX_CORRELATION:
        return 0.0
    values = values[np.isfinite(values)]
    if not np.mean(values**3) > _MIN_SIGNIFICANCE * math.sqrt(6 / values.size):
        return 0.0
    values *= deviation
    mirrored = np.concatenate([values, -values])[np.newaxis]  # as one box
    if sigma_clip is not None:
        mirrored = sigma_clip(mirrored, axis=1, masked=False, copy=False)
    return float(mean + bkg_estimator(mirrored, axis=1)[0])


def _moments(values):
    """Return mean and standard deviation of the values that are not NaN."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return math.nan, math.nan
    return finite.mean(), finite.std()
