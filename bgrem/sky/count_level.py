"""
The expected level of a map of counts, and its sky from the network.

A level is known before any source: a mean (a median of few photons is 0 or 1) of what
lies in coarse boxes, without what stands out, over the exposure. The network turns it
into a sky with structure; what the photons say against that sky, they say more surely
the more there are of them. Numpy and scipy only.
"""

import numpy as np
from scipy import ndimage

from bgrem.sky.boxes import BoxSky
from bgrem.sky.mesh import SKEW_STEPS

__all__ = ['adjust_sky', 'counts_sky', 'expected_level']

_BOX = 32  # pixels
_CLIP = 3.0  # standard deviations
_MAX_ITERATIONS = 6
# Sides of squares that are clipped together: a pixel, and a source that shows in none.
_SQUARES = (1, 5)
# A box counts with the mean of all by this weight, in photons: of few it is uncertain.
_PRIOR = 4.0
# The sky of the network is right to some per cent: it counts as much as these photons.
_TRUST = 2000.0
_WINDOWS = (32, 8)  # pixels, in which it is compared with the photons
_SOURCE_ERROR = 0.1  # of the light of a source
_LEAST = 1e-30
# How far the photons of a window can raise or lower the sky.
_MAX_FACTOR = 10.0
_SKY_BOX = 4  # pixels, the least of `bgrem.sky.boxes`


def expected_level(counts, unusable, exposure=None):
    """
    Measure the level of the sky of a map of counts.

    Parameters
    ----------
    counts : 2D `~numpy.ndarray` of float
        Photons, or expected counts.
    unusable : 2D `~numpy.ndarray` of bool
        True at pixels to ignore, among them all that are not finite.
    exposure : 2D `~numpy.ndarray` of float, optional
        The exposure of each pixel, of any unit; where it is not positive, the pixel
        must be unusable. Default: the same everywhere.

    Returns
    -------
    level : 2D `~numpy.ndarray` of float64
        Expected counts of the sky in each pixel, positive; where the pixel is unusable,
        as its surroundings have it. Tiny where there are no photons at all.

    Notes
    -----
    The rate is a mean in boxes of about 32 px, of single pixels and of squares of 5 px
    that are no more than 3 standard deviations, and 1.9 counts, above the rate as found
    before. It is interpolated linearly.
    """
    usable = ~unusable
    exposure = np.ones(counts.shape) if exposure is None else exposure.astype(float)
    exposure = np.where(usable, exposure, 0)
    if not usable.any() or not exposure.any():
        return np.full(counts.shape, _LEAST)
    exposure = exposure / exposure[usable].mean()
    photons = np.where(usable, counts, 0).astype(float)
    edges = [_edges(n) for n in counts.shape]
    kept = usable
    for _ in range(_MAX_ITERATIONS):
        level = _smooth_rate(photons, np.where(kept, exposure, 0), kept, edges)
        level = level * exposure
        previous, kept = kept, usable.copy()
        for size in _SQUARES:
            kept &= ~_stands_out(photons, level, size)
        if np.array_equal(previous, kept):
            break
    rate = _smooth_rate(photons, np.where(kept, exposure, 0), kept, edges)
    filled = np.where(exposure > 0, exposure, 1.0)
    return np.maximum(rate * filled, _LEAST)


def _edges(n_pixels):
    n_boxes = max(1, round(n_pixels / _BOX))
    return np.arange(n_boxes + 1) * n_pixels // n_boxes


def _smooth_rate(photons, exposure, kept, edges):
    """Return the photons per exposure in boxes, interpolated."""
    totals = []
    for values in (np.where(kept, photons, 0), exposure):
        for axis, one in enumerate(edges):
            values = np.add.reduceat(values, one[:-1], axis)
        totals.append(values)
    n_photons, seen = totals
    if not n_photons.any():
        return np.zeros(photons.shape)
    mean = n_photons.sum() / seen.sum()
    prior = _PRIOR / mean  # the exposure in which so many photons are expected
    rate = (n_photons + _PRIOR) / (seen + prior)
    for axis, one in enumerate(edges):
        middle = (one[:-1] + one[1:] - 1) / 2
        rate = np.apply_along_axis(
            lambda line, at=middle, n=one[-1]: np.interp(np.arange(n), at, line),
            axis,
            rate,
        )
    return rate


def _stands_out(photons, level, size):
    """Return where photons are more than a sky of that level has, in squares."""
    if size > 1:
        photons, level = (
            ndimage.uniform_filter(one, size, mode='nearest') * size**2
            for one in (photons, level)
        )
    limit = level + _CLIP * np.sqrt(np.maximum(level, 0)) + SKEW_STEPS
    return photons > limit


def adjust_sky(sky, counts, source, unusable):
    """
    Bring the sky of the network into agreement with the photons.

    Parameters
    ----------
    sky, source : 2D `~numpy.ndarray` of float
        Expected counts of sky and sources, from the network.
    counts : 2D `~numpy.ndarray` of float
        The data.
    unusable : 2D `~numpy.ndarray` of bool
        True at pixels to ignore.

    Returns
    -------
    sky : 2D `~numpy.ndarray` of float64
        The sky, times a smooth factor.
    error : 2D `~numpy.ndarray` of float64
        Its relative standard error.

    Notes
    -----
    The network is right to some per cent, as if it had seen 2000 photons in each
    window. Where a window holds many more of them the factor is what they say, so that
    no light is lost in sums; where it holds fewer it is near one (the posterior mean of
    a gamma distribution).
    """
    sky = np.maximum(sky.astype(float), _LEAST)
    source = np.maximum(source.astype(float), 0)
    rest = np.where(unusable, 0, counts - source)
    # of the variance of a pixel the part that is the sky's
    share = sky / (sky + source + (_SOURCE_ERROR * source) ** 2)
    share[unusable] = 0
    for window in _WINDOWS:
        held, promised = (
            _window_mean(share * one, window) * window**2 for one in (rest, sky)
        )
        factor = (np.maximum(held, 0) + _TRUST) / (promised + _TRUST)
        sky = sky * np.clip(factor, 1 / _MAX_FACTOR, _MAX_FACTOR)
        error = 1 / np.sqrt(np.maximum(promised, 0) + _TRUST)
    return sky, error


def _window_mean(values, window):
    """Return the mean about each pixel, weighted by a triangle of that width."""
    values = ndimage.uniform_filter(values, window // 2, mode='reflect')
    return ndimage.uniform_filter(values, window // 2 + 1, mode='reflect')


def counts_sky(sky, error):
    """
    Express a sky of counts in the boxes of a mesh.

    Parameters
    ----------
    sky, error : 2D `~numpy.ndarray` of float
        Expected counts and their standard error.

    Returns
    -------
    boxes : `~bgrem.sky.boxes.BoxSky`
        Means in boxes of 4 px, whose noise is that of their counts.
    """
    more = [(0, -n % _SKY_BOX) for n in sky.shape]
    level, error = (
        np.pad(one, more, mode='edge')
        .reshape(-1, _SKY_BOX, (one.shape[1] + more[1][1]) // _SKY_BOX, _SKY_BOX)
        .mean(axis=(1, 3))
        for one in (sky, error)
    )
    beneath = np.zeros(sky.shape, dtype=bool)
    return BoxSky(_SKY_BOX, level, np.sqrt(level), error, beneath)
