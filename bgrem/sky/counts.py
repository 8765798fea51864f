"""
The sky of single counts.

Where a pixel holds a few photons or none, the median is 0 or 1, clipping at three
standard deviations removes every photon, and the network takes the remainder between
the photons for a glow. Then the mean is right, and there is no light where there are no
photons. Numpy, scipy and photutils only.
"""

import math

import numpy as np
from photutils.background import MeanBackground, StdBackgroundRMS
from scipy.special import ndtri

from bgrem.sky.mesh import SKEW_STEPS, SPARSE, find_quantum

__all__ = [
    'CountsClip',
    'CountsLevel',
    'counts_estimators',
    'draw_photons',
    'has_photon_noise',
    'limit_light',
    'may_be_sparse',
    'sparse_step',
]

_CLIP = 3.0  # standard deviations
_MOST_COUNTS = 100  # in a pixel; of far more the noise is not that of photons
_MAX_ITERATIONS = 10
_SAMPLE = 2**18  # pixels that tell whether an image holds single counts
_MAX_VARIANCE = 1.5  # of photon noise over the level, or the other way round
_MANY_PHOTONS = 100  # in a pixel; their distribution is normal
# A photon this many standard deviations above the sky (fewer than 0.05 in a pixel)
# looks like a star, and many of them like a glow. Where there are more photons the
# network knows it better than the sum, from which faint wings of stars are missing.
_LONE = 4.5
# Nor does the network know it where less than this part of a window is shown: to it,
# photons between masked rows are light.
_SHOWN = 0.9
# The sky from which light is counted is not above this percentile of its windows, so
# that a cluster as large as a box is light.
_LOW_PERCENTILE = 25
# How far the light of a window of this many pixels may exceed that of the data by
# chance, in standard deviations of sky and light together.
_WINDOW = 144
_TOLERANCE = 0.5


def sparse_step(data, unusable, noise):
    """
    Tell whether an image consists of single counts.

    Parameters
    ----------
    data : 2D `~numpy.ndarray`
        The image.
    unusable : 2D `~numpy.ndarray` of bool
        True at pixels to ignore, including all that are not finite.
    noise : 2D `~numpy.ndarray`
        The standard deviation of the noise of each pixel; 0 where there is none.

    Returns
    -------
    step : float
        The value of one count if it is more than half the typical noise, as is the case
        for fewer than four counts per pixel; else 0.
    """
    some = _sample(data.size)
    usable = ~unusable[some] & (noise[some] > 0)
    if usable.any():
        data, noise = data[some], noise[some]
    else:
        usable = ~unusable & (noise > 0)
    if not usable.any():
        return 0.0
    values = data[usable]
    step = find_quantum(values)
    # of the images of most cameras no more needs to be known
    if step == 0 or not step > SPARSE * np.median(noise[usable]):
        return 0.0
    low, middle = np.percentile(values.astype(float), [1, 50])
    # what float32 has rounded on a high sky comes in steps too
    is_counts = low > -0.5 * step and middle < _MOST_COUNTS * step
    return step if is_counts else 0.0


def may_be_sparse(data, unusable):
    """
    Tell whether an image may hold single photons, before its noise is known.

    Parameters
    ----------
    data, unusable
        As for `sparse_step`.

    Returns
    -------
    may_be : bool
        Whether the values near the median lie on a grid, and the median is at most four
        of its steps.
    """
    some = _sample(data.size)
    values = data[some][~unusable[some]]
    if values.size == 0:
        return False
    step = find_quantum(values)
    return bool(step > 0 and np.median(values) * SPARSE**2 <= step)


def _sample(n_pixels):
    """Return which rows and columns of an image are looked at."""
    every = max(1, math.isqrt(n_pixels // _SAMPLE))
    return np.s_[::every, ::every]


def has_photon_noise(step, level, noise):
    """
    Tell whether the noise of single counts is that of photons.

    Parameters
    ----------
    step : float
        The value of one count.
    level, noise : 2D `~numpy.ndarray` of float
        The sky level and the standard deviation of the noise of each pixel; pixels
        without noise are ignored.

    Returns
    -------
    is_photons : bool
        Whether the median variance is that of this number of photons, within a factor
        of 1.5. It is not if a noise of one or two steps was rounded on another sky.
    """
    known = noise > 0
    if not known.any():
        return False
    expected = step * np.median(level[known])
    ratio = np.median(noise[known]) ** 2 / expected if expected > 0 else 0
    return bool(1 / _MAX_VARIANCE < ratio < _MAX_VARIANCE)


def draw_photons(level, step, seed=0):
    """
    Redraw the photons of an image.

    Parameters
    ----------
    level : 2D `~numpy.ndarray` of float
        The expected value of each pixel; negative values are treated as 0.
    step : float
        The value of one count.
    seed : int, optional
        Another seed gives another draw. Default 0.

    Returns
    -------
    image : 2D `~numpy.ndarray` of float64
        The image. The same level always gives the same image, and a nearly equal level
        gives the same values in nearly all pixels.
    """
    mean = np.maximum(level, 0).astype(float) / step
    # One uniform number for each pixel, through the inverse of the distribution: a
    # generator of Poisson numbers takes as many as it needs, so that the last digit of
    # one pixel would change all that follow.
    uniform = np.random.default_rng(seed).random(mean.shape)
    counts = np.rint(mean + np.sqrt(mean) * ndtri(uniform))
    left = np.flatnonzero(mean < _MANY_PHOTONS)
    few, uniform = mean.ravel()[left], uniform.ravel()[left]
    term, number = np.exp(-few), 0
    while left.size:
        uniform = uniform - term
        counts.flat[left] = number
        more = (uniform > 0) & (term > 0)
        left, uniform, few, term = (part[more] for part in (left, uniform, few, term))
        number += 1
        term = term * few / number
    return step * counts


class CountsClip:
    """
    Clip the pixels of a box that are too bright for a sky of counts.

    It replaces `~astropy.stats.SigmaClip` and clips at 3 standard deviations from the
    mean plus 1.9 counts, by which such a high quantile of photons exceeds that of a
    normal distribution.

    Parameters
    ----------
    step : float
        The value of one count.
    """

    def __init__(self, step):
        self.step = step

    def __repr__(self):
        return f'{type(self).__name__}(step={self.step:g})'

    def __call__(self, data, axis=None, masked=False, copy=True):  # noqa: ARG002
        """
        Clip values.

        Parameters
        ----------
        data : `~numpy.ndarray` of float
            The values; NaN is ignored.
        axis : int or `None`, optional
            The axis along which they are clipped together.
        masked, copy : bool, optional
            For compatibility with `~astropy.stats.SigmaClip`; the result is always a
            new plain array.

        Returns
        -------
        clipped : `~numpy.ndarray` of float
            The values, with NaN for those that were clipped.
        """
        finite = np.isfinite(data)
        ordered = np.sort(np.where(finite, data, np.inf), axis)
        n_values = np.sum(finite, axis, keepdims=True)
        if axis is None:
            ordered = ordered.reshape((*n_values.shape[:-1], -1))

        def pick(part):
            index = np.maximum((part * n_values).astype(int) - 1, 0)
            return np.take_along_axis(ordered, index, -1 if axis is None else axis)

        # from below, so that no source has to be clipped first
        low, center, high = (
            np.where(n_values > 0, pick(part), 0) for part in (0.25, 0.5, 0.75)
        )
        spread = (high - low) / 1.349
        kept = finite
        for _ in range(_MAX_ITERATIONS):
            bound = _CLIP * spread + SKEW_STEPS * self.step
            deviation = np.where(finite, data - center, 0)
            previous, kept = kept, finite & (np.abs(deviation) <= bound)
            if np.array_equal(previous, kept):
                break
            deviation[~kept] = 0
            n_kept = np.maximum(np.sum(kept, axis, keepdims=True), 1)
            shift = np.sum(deviation, axis, keepdims=True) / n_kept
            power = np.sum(deviation**2, axis, keepdims=True) / n_kept
            center = center + shift
            spread = np.sqrt(np.maximum(power - shift**2, 0))
        return np.where(kept, data, np.nan)


class CountsLevel(MeanBackground):
    """
    The mean of the pixels of a box, or 0 if it is negative: there cannot be fewer than
    no counts.
    """

    def __init__(self):
        super().__init__(sigma_clip=None)

    def calc_background(self, data, axis=None, masked=False):
        """
        Measure the level like `~photutils.background.MeanBackground`.

        Parameters
        ----------
        data : array_like
            The values; NaN is ignored.
        axis : int or `None`, optional
            The axis along which they are averaged.
        masked : bool, optional
            Whether a masked array is returned.

        Returns
        -------
        level : float or `~numpy.ndarray`
            The level.
        """
        return np.maximum(super().calc_background(data, axis=axis, masked=masked), 0)


def counts_estimators(step, options):
    """
    Choose the estimators of the sky for an image of single counts.

    Parameters
    ----------
    step : float
        The value of one count, from `sparse_step`; 0 for any other image.
    options : dict
        The options of `~photutils.background.Background2D` that were given.

    Returns
    -------
    options : dict
        ``sigma_clip``, ``bkg_estimator`` and ``bkg_rms_estimator`` for an image of
        single counts. Empty for any other image, or if one of the three has been
        given.
    """
    estimators = ('bkg_estimator', 'bkg_rms_estimator', 'bkgrms_estimator')
    if 'sigma_clip' in options or any(options.get(name) for name in estimators):
        return {}
    if not step:
        return {}
    return {
        'sigma_clip': CountsClip(step),
        'bkg_estimator': CountsLevel(),
        'bkg_rms_estimator': StdBackgroundRMS(sigma_clip=None),
    }


def limit_light(source, data, unusable, center, noise, step):
    """
    Limit the light of a denoised image of counts to that in the data.

    Parameters
    ----------
    source : 2D `~numpy.ndarray` of float
        The denoised image.
    data : 2D `~numpy.ndarray` of float
        The image.
    unusable : 2D `~numpy.ndarray` of bool
        True at pixels to ignore, including all that are not finite.
    center, noise : 2D `~numpy.ndarray` of float
        The sky level and the standard deviation of the noise of each pixel.
    step : float
        The value of one count, from `sparse_step`.

    Returns
    -------
    source : 2D `~numpy.ndarray` of float
        The light, which is not negative. In windows of 144 px and over the whole image,
        its sum does not exceed that of the data. If a single photon is 4.5 standard
        deviations above the sky, or a tenth of a window is unusable, the sum there
        does not exceed that of the data without the sky by more than half the noise of
        both. Any excess is subtracted as an even glow, as far as there is light; this
        gives the nearest image with that sum (a projection onto a simplex).
    """
    source = np.maximum(source, 0)
    source[unusable] = 0
    usable = ~unusable
    if not usable.any():
        return source
    y, x = edges = [_edges(n) for n in source.shape]
    held, sky, n_usable, variance = (
        _window_sums(np.where(usable, values, 0), edges)
        for values in (data, center, usable, np.square(noise))
    )
    level = sky / np.maximum(n_usable, 1)
    low = np.percentile(level[n_usable > 0], _LOW_PERCENTILE)
    light = np.maximum(held - np.minimum(level, low) * n_usable, 0)
    allowed = np.where(
        (step > _LONE * np.median(noise[usable]))
        | (n_usable < _SHOWN * np.outer(y[2:] - y[:-2], x[2:] - x[:-2])),
        light + _TOLERANCE * np.sqrt(variance + step * light),
        np.maximum(held, 0),
    )
    glow = np.zeros_like(allowed)
    for i, j in np.ndindex(*glow.shape):
        window = source[y[i] : y[i + 2], x[j] : x[j + 2]]
        glow[i, j] = _even_excess(window, allowed[i, j])
    if glow.any():
        # bilinear between the centers of the windows
        rows, columns = (
            np.stack([np.interp(np.arange(one[-1]), one[1:-1] - 0.5, unit)
                      for unit in np.eye(len(one) - 2)])
            for one in edges
        )  # fmt: skip
        source = np.maximum(source - (rows.T @ glow @ columns), 0).astype(source.dtype)
    total = max(data[usable].sum(dtype=float), 0)
    return np.maximum(source - source.dtype.type(_even_excess(source, total)), 0)


def _edges(n_pixels):
    """Return where along an axis windows begin, each two such steps wide."""
    n_steps = max(2, round(2 * n_pixels / _WINDOW))
    return np.arange(n_steps + 1) * n_pixels // n_steps


def _window_sums(values, edges):
    """Return the sums in windows of two by two steps."""
    for axis, one in enumerate(edges):
        values = np.add.reduceat(values, one[:-1], axis, dtype=float)
    return values[1:, 1:] + values[1:, :-1] + values[:-1, 1:] + values[:-1, :-1]


def _even_excess(values, allowed):
    """Return what has to be taken off all values, as far as they go, for a sum."""
    if values.sum(dtype=float) <= allowed:
        return 0.0
    falling = np.sort(values, axis=None)[::-1].astype(float)
    excess = (np.cumsum(falling) - allowed) / np.arange(1, falling.size + 1)
    lit = np.flatnonzero(falling > excess)
    # by rounding a little less than none
    return max(float(excess[lit[-1]] if lit.size else falling[0]), 0.0)
