"""
The part of a pipeline's error map that is due to the sky.

The network needs the noise of the sky. The total error from a pipeline includes the
photon noise of the sources: dividing by it would flatten stars. But it contains
information that a mesh of boxes cannot have: a border with fewer exposures, a noisy
column. Numpy and scipy only.
"""

from functools import partial

import numpy as np
from scipy import ndimage

__all__ = ['MARGIN', 'explains_better', 'sky_error']

# A pixel holds light of a source where the mean of the 3x3 pixels around it is this
# many of its standard deviations above the sky; and so do some pixels around.
_LIGHT = 4.0
_MARGIN = 3
# Beneath a source the error is that of the clean pixels in the first of these windows
# that has enough of them.
_WINDOWS = (17, 65, 257)
#: So far, in pixels, an image tells of its sky error: twice the largest, and some.
MARGIN = 264
_MIN_CLEAN = 0.1
# Variances closer than this to those around, in units of them, are no structure: the
# photons of faint sources, and of the noise. Below the other they are not known.
_FINE = 0.3
_LEAST = 1e-12
_OTHER = 0.5  # in the logarithm: not of the kind of the pixels around
# The photons of a source are known from pixels of so many standard deviations; where
# they are more than this part of a variance, what else is in it is not.
_SEEN = 10.0
_SOURCE_PART = 0.3
_MOST_VARIANCE = 1e30  # that of a wild pixel
# Of the relation between the error of a pixel and its own noise.
_NOISE_CLIP = 3.0
_MIN_SIGNIFICANCE = 3.0
_MIN_FACTOR = 0.25
# Pixels further away say nothing more about the scale of the noise.
_COST_CLIP = 5.0
_MIN_GAIN = 10.0  # of the logarithm of the likelihood


def sky_error(error, deviation, scale, constants=None):
    """
    Remove the photon noise of the sources from a total error.

    Parameters
    ----------
    error : 2D `~numpy.ndarray` of float
        The total error of each pixel; 0 where it is not known.
    deviation : 2D `~numpy.ndarray` of float
        The image minus its local sky level; NaN where it cannot be used.
    scale : 2D `~numpy.ndarray` of float
        The noise as measured on the image, which need not be right everywhere; 0
        where there is none.
    constants : dict, optional
        Values that are the same for a whole image, if this is a part of it. Those that
        are missing are measured here and added.

    Returns
    -------
    error : 2D `~numpy.ndarray` of float
        The error that each pixel would have without its source, up to a factor;
        positive. All 1 if it cannot be determined.

    Notes
    -----
    If the photon noise of the sources is included, the ratio of the variance of bright
    pixels to the geometric mean of that of the clean pixels around them increases with
    the light. This part is subtracted. Where it is most of the variance, or where the
    two are nearly the same, as around faint sources, the variance of the clean pixels
    is used instead.

    Some pipelines determine the photon noise from the counts of the pixel itself.
    Variance and noise are then correlated, and pixels with positive noise seem to be
    noisier. The slope ``k`` of ``error**2 = variance * (1 + k * deviation)`` is fitted
    to the clean pixels, and the variance is divided by the term in parentheses.
    """
    constants = {} if constants is None else constants

    def constant(name, measure):
        if name not in constants:
            constants[name] = measure()
        return constants[name]

    variance = np.square(error)
    known = (variance > 0) & np.isfinite(deviation) & (scale > 0)
    if not known.any():
        return np.ones_like(error)
    bright = _bright_pixels(variance, deviation, known, constant)
    clean = known & ~bright
    if not clean.any() and 'clean' not in constants:
        return np.ones_like(error)
    typical = _local_mean(variance, clean, partial(constant, 'clean'))
    # once more without the noisy columns among them
    ordinary = clean & (np.abs(np.log(np.where(clean, variance / typical, 1))) < _OTHER)
    if ordinary.any() or 'ordinary' in constants:
        typical = _local_mean(variance, ordinary, partial(constant, 'ordinary'))
    factor = constant('factor', lambda: np.median(scale[known] / error[known]))
    slope = constant(
        'slope',
        lambda: _photon_slope(variance / typical, deviation, factor * error, clean),
    )
    if slope:
        bracket = 1 + slope * np.where(known, deviation, 0)
        variance = variance / np.maximum(bracket, _MIN_FACTOR)
    least = np.where(
        variance > _LEAST * typical, np.minimum(variance, typical), typical
    )
    photons = _source_variance(
        variance, typical, deviation, factor * error, bright & known, constant
    )
    variance = np.where(photons > _SOURCE_PART * variance, least, variance - photons)
    variance = np.maximum(variance, least)
    same = np.abs(variance / typical - 1) < _FINE
    return np.sqrt(np.where(same, typical, variance))


def explains_better(scale, other, deviation):
    """
    Tell whether one of two noise maps explains an image better than the other.

    Parameters
    ----------
    scale, other : 2D `~numpy.ndarray` of float
        The maps.
    deviation : 2D `~numpy.ndarray` of float
        The image minus its local sky level; NaN where it cannot be used.

    Returns
    -------
    better : bool
        Whether the logarithm of the Gaussian likelihood with the first map is higher by
        10 than with the second, over the pixels within 5 standard deviations of both.
    """
    usable = np.isfinite(deviation) & (scale > 0) & (other > 0)
    usable &= np.abs(np.where(usable, deviation, 0)) < _COST_CLIP * np.minimum(
        scale, other
    )
    deviation = deviation[usable]
    costs = [
        np.sum(np.log(noise) + np.square(deviation / noise) / 2, dtype=float)
        for noise in (scale[usable], other[usable])
    ]
    return bool(costs[0] + _MIN_GAIN < costs[1])


def _bright_pixels(variance, deviation, known, constant):
    """Return where the 3x3 pixels together show light."""
    light, noise = (
        ndimage.uniform_filter(np.where(known, values, 0), 3)
        for values in (deviation, variance)
    )
    noise = np.sqrt(np.maximum(noise, 0))  # its sum is rounded
    significance = np.divide(light, noise, out=light, where=noise > 0)
    # from below, where no sources are, and whatever factor the error is wrong by
    low, middle = constant(
        'significance', lambda: np.percentile(significance[known], [16, 50])
    )
    bright = known & (significance > middle + _LIGHT * (middle - low))
    return ndimage.binary_dilation(bright, iterations=_MARGIN)


def _local_mean(variance, clean, constant):
    """Return the geometric mean of the clean pixels around each pixel."""
    logarithm = np.zeros_like(variance)
    np.log(variance, out=logarithm, where=clean)
    weight = clean.astype(variance.dtype)
    # where there is nothing clean around
    mean = constant(lambda: np.mean(logarithm[clean], dtype=float))
    mean = np.full_like(variance, mean)
    found = np.zeros(clean.shape, dtype=bool)
    for window in _WINDOWS:
        part = ndimage.uniform_filter(weight, window, mode='constant')
        total = ndimage.uniform_filter(logarithm, window, mode='constant')
        new = ~found & (part > _MIN_CLEAN)
        mean[new] = total[new] / part[new]
        found |= new
        if found.all():
            break
    return np.exp(mean)


def _source_variance(variance, typical, deviation, noise, bright, constant):
    """Return which part of the variance of bright pixels is that of their light."""
    light = np.where(bright, deviation, 0)
    light = np.maximum(light, ndimage.uniform_filter(light, 3))
    seen = bright & (light > _SEEN * noise)

    def measure():
        if not seen.any():
            return 0.0
        return np.median((variance / typical - 1)[seen] / light[seen])

    slope = constant('of_light', measure)
    # of a wild pixel it may be more than float32 holds
    of_light = max(float(slope), 0.0) * typical.astype(float) * np.maximum(light, 0)
    return np.minimum(of_light, _MOST_VARIANCE).astype(variance.dtype)


def _photon_slope(ratio, deviation, noise, clean):
    """Return by how much the variance rises with the noise of the pixel itself."""
    chosen = clean & (ratio > 0.5) & (ratio < 2)
    chosen &= np.abs(np.where(clean, deviation, 0)) < _NOISE_CLIP * noise
    if np.count_nonzero(chosen) < 2:
        return 0.0
    deviation, ratio = (values[chosen].astype(float) for values in (deviation, ratio))
    deviation -= deviation.mean()
    ratio -= ratio.mean()
    power = np.sum(deviation**2)
    if power == 0:
        return 0.0
    slope = np.sum(deviation * ratio) / power
    error = np.sqrt(np.mean((ratio - slope * deviation) ** 2) / power)
    return float(slope) if abs(slope) > _MIN_SIGNIFICANCE * error else 0.0
