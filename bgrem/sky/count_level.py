"""
The expected level of a map of counts, and its sky from the network.

The level is determined before any source: it is the mean in coarse boxes (the median of
a few photons is 0 or 1), without anything that stands out, divided by the exposure. The
network converts it to a sky with structure. This sky is then corrected by the photons,
the more reliably the more of them there are. Numpy and scipy only.
"""

import numpy as np
from scipy import ndimage
from scipy.special import expit, logit

from bgrem.sky.boxes import BoxSky

__all__ = [
    'adjust_sky',
    'continue_sky',
    'counts_sky',
    'expected_level',
    'hold_light',
    'likely_light',
    'lone_photons',
]

_BOX = 32  # pixels
# What is more than so many times the level, and by so many standard deviations and
# photons more, counts as that much: sources, in squares of that side. A bright ridge of
# the sky, as the plane of the Galaxy, is not cut off as it would be by clipping.
_MOST = (3.0, 3.0, 2.0)
_SQUARE = 5
_N_ITERATIONS = 8
# A box counts with the mean of all by this weight, in photons: of few it is uncertain.
_PRIOR = 4.0
# The sky of the network is right to some percent: it counts as much as these photons.
_TRUST = 8000.0
_LOCAL_TRUST = 300.0  # what its error from place to place is worth
_WINDOWS = (32, 8)  # pixels, in which it is compared with the photons
_SOURCE_ERROR = 0.1  # of the light of a source
_HIDDEN_ERROR = 0.04  # of the sky where all that is seen is a source
# Where the level is so many times the sky that the network finds, a source as wide as
# the boxes of the level is in it. Few of those have been seen in training.
_WIDE_SOURCE = (3.0, 6.0)
_WIDE_ERROR = 0.2  # of the network's light of such a source
# Within a box of it the level is lifted too, and the edges of the boxes show in the
# sky, where the level is so many times that.
_LIFTED = (1.2, 2.0)
# Light is a source's where its center lies within so many pixels with that probability.
_REACH, _UNLIKELY = 6, 0.007
_LEAST_PHOTONS = 2  # so near to a source
_TAPER = (2.0, 0.5)  # pixels and log-odds, over which light becomes sky
_LEAST = 1e-30
# How far the photons of a window can lower and raise the sky.
_FACTORS = (0.1, 10.0)
_VIEW = 64.0**2  # pixels
_SKY_BOX = 4  # pixels, the least of `bgrem.sky.boxes`


def expected_level(counts, unusable, exposure=None):
    """
    Measure the level of the sky of a map of counts.

    Parameters
    ----------
    counts : 2D `~numpy.ndarray` of float
        Photons, or expected counts.
    unusable : 2D `~numpy.ndarray` of bool
        True at pixels to ignore, including all that are not finite.
    exposure : 2D `~numpy.ndarray` of float, optional
        The exposure of each pixel in any unit; pixels where it is not positive must be
        unusable. Default: the same everywhere.

    Returns
    -------
    level : 2D `~numpy.ndarray` of float64
        Expected counts of the sky in each pixel, positive; at unusable pixels, that of
        the surroundings. Tiny if there are no photons at all.

    Notes
    -----
    The rate is a mean in boxes of about 32 px, interpolated linearly. Iteratively,
    squares of 5 px are limited to three times this rate, plus 3 standard deviations
    and 2 photons.
    """
    usable = ~unusable
    exposure = np.ones(counts.shape) if exposure is None else exposure.astype(float)
    exposure = np.where(usable, exposure, 0)
    if not exposure.any():
        return np.full(counts.shape, _LEAST)
    exposure = exposure / exposure[usable].mean()
    photons = _mean_of_squares(np.where(usable, counts, 0).astype(float))
    seen = _mean_of_squares(exposure)
    axes = [_boxes(n) for n in counts.shape]
    times, sigma, more = _MOST
    rate = _smooth_rate(photons, seen, axes)
    for _ in range(_N_ITERATIONS):
        level = rate * seen
        noise = np.sqrt(np.maximum(level, 0)) / _SQUARE
        limit = times * level + sigma * noise + more / _SQUARE**2
        rate = _smooth_rate(np.minimum(photons, limit), seen, axes)
    return np.maximum(rate * _fill(exposure), _LEAST)


def _fill(exposure):
    """Return the exposure that the nearest pixel has, where there is none."""
    gaps = exposure <= 0
    if not gaps.any():
        return exposure
    nearest = ndimage.distance_transform_edt(
        gaps, return_distances=False, return_indices=True
    )
    return exposure[tuple(nearest)]


def _boxes(n_pixels):
    """Return where boxes begin, and the matrix that interpolates them linearly."""
    n_boxes = max(1, round(n_pixels / _BOX))
    edges = np.arange(n_boxes + 1) * n_pixels // n_boxes
    middle = (edges[:-1] + edges[1:] - 1) / 2
    pixels = np.arange(n_pixels)
    columns = [np.interp(pixels, middle, one) for one in np.eye(n_boxes)]
    return edges[:-1], np.stack(columns, axis=1)


def _mean_of_squares(values):
    return ndimage.uniform_filter(values, _SQUARE, mode='reflect')


def _smooth_rate(photons, seen, axes):
    """Return the photons per exposure in boxes, interpolated."""
    (rows, along_y), (columns, along_x) = axes
    n_photons, exposure = (
        np.add.reduceat(np.add.reduceat(values, rows, 0), columns, 1)
        for values in (photons, seen)
    )
    if not n_photons.any():
        return np.zeros(photons.shape)
    mean = n_photons.sum() / exposure.sum()
    # a box with hardly any exposure has the rate of all
    rate = (n_photons + _PRIOR) / (exposure + _PRIOR / mean)
    return along_y @ rate @ along_x.T


def continue_sky(source, sky, level, unusable):
    """
    Continue the sky beneath very wide sources from their surroundings.

    Parameters
    ----------
    source, sky : 2D `~numpy.ndarray` of float
        Expected counts of sources and sky, from the network.
    level : 2D `~numpy.ndarray` of float
        The level given to the network, from `expected_level`.
    unusable : 2D `~numpy.ndarray` of bool
        True at pixels to ignore.

    Returns
    -------
    sky : 2D `~numpy.ndarray` of float64
        The same sky, except where, within a box whose light is mostly that of such a
        source, the level is more than 1.2 times the sky, in windows of 8 px. Where it
        is twice the sky, the mean of the surrounding sky, weighted by a Gaussian of 32
        px and by the fraction of the photons that belong to the sky; in between, a
        value between the two.

    Notes
    -----
    The network returns the sky as a multiple of the level. If the level contains the
    light of a supernova remnant, the multiple is small, and its error is large compared
    with the sky. Such a source has several times the light of the sky in the whole box,
    and raises the level to more than three times the sky.
    """
    source = np.maximum(source.astype(float), 0)
    sky = np.maximum(sky.astype(float), _LEAST)
    # structure of the sky, that the level does not follow, lifts it too
    wide = _lift(level, sky, unusable, _WIDE_SOURCE)
    wide *= _lift(source + sky, sky, unusable, _WIDE_SOURCE, 2 * _BOX)
    if not wide.any():
        return sky
    light, total = (
        np.maximum(_window_mean(np.where(unusable, 0, one), _WINDOWS[-1]), _LEAST)
        for one in (source, source + sky)
    )
    # whole where half of the light is the source's
    wide *= np.minimum(2 * light / total, 1)
    near = ndimage.maximum_filter(wide, 2 * _BOX + 1)
    share = near * _lift(level, sky, unusable, _LIFTED)
    weight = (1 - share) * _sky_share(sky, source, unusable)
    known, around = (
        ndimage.gaussian_filter(one, _BOX, mode='reflect')
        for one in (weight, weight * sky)
    )
    around = np.divide(around, known, out=sky.copy(), where=known > _LEAST)
    return sky + share * (around - sky)


def hold_light(source, sky, counts, level, unusable):
    """
    Bring the light of very wide sources into agreement with the photons.

    Parameters
    ----------
    source, sky : 2D `~numpy.ndarray` of float
        Expected counts of sources and sky, from the network.
    counts : 2D `~numpy.ndarray` of float
        The data.
    level : 2D `~numpy.ndarray` of float
        The level given to the network, from `expected_level`.
    unusable : 2D `~numpy.ndarray` of bool
        True at pixels to ignore.

    Returns
    -------
    source : 2D `~numpy.ndarray` of float64
        The same light where the level is less than three times the sky, in windows of
        8 px. Where it is more than six times the sky, the weighted mean of the light
        from the network, with an error of 20%, and of the data minus the sky, with the
        error of the photons; in between, a value between the two.
    """
    window = _WINDOWS[-1]
    source, sky = (np.maximum(one.astype(float), 0) for one in (source, sky))
    light, photons, variance = (
        _window_mean(np.where(unusable, 0, one), window) * window**2
        for one in (source, counts - sky, source + sky)
    )
    # sums of zeros can be rounded to less
    light, variance = (np.maximum(one, _LEAST) for one in (light, variance))
    share = _lift(level, sky, unusable, _WIDE_SOURCE)
    own = (_WIDE_ERROR * light) ** 2
    change = share * own / (own + variance) * (photons - light)
    return source * np.clip(1 + change / light, *_FACTORS)


def _lift(level, sky, unusable, limits, window=_WINDOWS[-1]):
    """Return from 0 to 1 how far the level is above the sky, of these multiples."""
    found, told = (
        np.maximum(_window_mean(np.where(unusable, 0, one), window), _LEAST)
        for one in (sky, level)
    )
    low, high = np.log(limits)
    return np.clip((np.log(told / found) - low) / (high - low), 0, 1)


def likely_light(source, sky, probability):
    """
    Distinguish the light of likely sources from a glow that belongs to the sky.

    Parameters
    ----------
    source, sky : 2D `~numpy.ndarray` of float
        Expected counts of sources and sky, from the network.
    probability : 2D `~numpy.ndarray` of float
        The probability that a source center lies at each pixel.

    Returns
    -------
    share : 2D `~numpy.ndarray` of float64
        The fraction of ``source`` that belongs to sources: less than half if no center
        within 6 px has a probability above 0.7%, unless the light outshines the sky.

    Notes
    -----
    Light that may be a cloud, or one of many sources too faint to be distinguished,
    belongs to sources on average but to none in particular. Summed over images with few
    sources, it exceeds their light.
    """
    y, x = np.mgrid[-_REACH : _REACH + 1, -_REACH : _REACH + 1]
    near = ndimage.maximum_filter(probability, footprint=x**2 + y**2 <= _REACH**2)
    smooth, width = _TAPER
    # float32 rounds the surest to one
    log_odds = logit(np.clip(near.astype(float), 1e-6, 1 - 1e-6))
    log_odds = ndimage.gaussian_filter(log_odds, smooth, mode='nearest')
    likely = expit((log_odds - logit(_UNLIKELY)) / width)
    bright = source / np.maximum(source + sky, _LEAST)
    return likely + (1 - likely) * bright


def lone_photons(counts):
    """
    Find the pixels around which there are too few photons for a source.

    Parameters
    ----------
    counts : 2D `~numpy.ndarray` of float
        Whole photons; 0 where there are no data.

    Returns
    -------
    lone : 2D `~numpy.ndarray` of bool
        True where a square of 13 px holds one photon or none. In an almost empty image,
        the network takes each photon for a source, as nothing indicates a sky.
    """
    side = 2 * _REACH + 1
    n_photons = ndimage.uniform_filter(counts.astype(float), side, mode='constant')
    return n_photons * side**2 < _LEAST_PHOTONS - 0.5


def adjust_sky(sky, counts, source, unusable):
    """
    Bring the sky of the network into agreement with the photons.

    Parameters
    ----------
    sky : 2D `~numpy.ndarray` of float
        Expected counts of the sky, from the network.
    counts : 2D `~numpy.ndarray` of float
        The data.
    source : 2D `~numpy.ndarray` of float
        Expected counts of the sources, from the network.
    unusable : 2D `~numpy.ndarray` of bool
        True at pixels to ignore.

    Returns
    -------
    sky : 2D `~numpy.ndarray` of float64
        The sky, multiplied by a smooth factor.
    error : 2D `~numpy.ndarray` of float64
        Its relative standard error.

    Notes
    -----
    The network is accurate to a few percent, as if it had seen 8000 photons in each
    window. Where a window holds many more, the factor is determined by them, so that
    no light is lost in sums; where it holds fewer, it is near one (the posterior mean
    of a gamma distribution). The same is first done for the image as a whole.
    """
    sky = np.maximum(sky.astype(float), _LEAST)
    source = np.maximum(source.astype(float), 0)
    rest = np.where(unusable, 0, counts - source)
    # Of the image as a whole shares are those of surroundings: as the network sees some
    # light in each single photon, at the pixels themselves a photon would count for
    # less than the emptiness beside it.
    wide = (_window_mean(one, _WINDOWS[0]) for one in (sky, source))
    share = _sky_share(*wide, unusable)
    held, promised = (np.sum(share * one) for one in (rest, sky))
    # it has seen no more photons than there are in its field of view
    trust = min(_TRUST, _VIEW * promised / max(share.sum(), 1))
    sky *= np.clip((max(held, 0) + trust) / (promised + trust), *_FACTORS)
    share = _sky_share(sky, source, unusable)
    for window in _WINDOWS:
        held, promised = (
            _window_mean(share * one, window) * window**2 for one in (rest, sky)
        )
        factor = (np.maximum(held, 0) + _TRUST) / (promised + _TRUST)
        sky = sky * np.clip(factor, *_FACTORS)
    error = 1 / np.sqrt(np.maximum(promised, 0) + min(trust, _LOCAL_TRUST) + _LEAST)
    hidden = _HIDDEN_ERROR**2 * source / (sky + source)
    return sky, np.sqrt(error**2 + hidden)


def _sky_share(sky, source, unusable):
    """Return the part of the variance of a pixel that is the sky's."""
    share = sky / (sky + source + (_SOURCE_ERROR * source) ** 2)
    share[unusable] = 0
    return share


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
        Means in boxes of 4 px, with the noise of their counts.
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
