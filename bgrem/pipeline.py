"""
The whole way from an image to its sources.
"""

from dataclasses import dataclass, replace
from importlib.metadata import version

import numpy as np

from bgrem.checks import check_count
from bgrem.detect.discovery import SURE, source_width
from bgrem.detect.peaks import MIN_PROBABILITY, find_peaks, peak_widths
from bgrem.detect.probability import calibrate, pool_centers, refine_probability
from bgrem.sky.counts import limit_light, sparse_step
from bgrem.sky.mesh import LAG
from bgrem.sky.noise import away_from_sources, noise_correlation, noise_skewness
from bgrem.sky.normalize import Normalization, estimate_normalization
from bgrem.sky.sampling import bin_image, choose_binning, refine_source

__all__ = ['Separation', 'inspect_image', 'network_factor', 'separate']


@dataclass(frozen=True, eq=False)
class Separation:
    """
    The sources of an image, separated from its sky and noise.

    Attributes
    ----------
    source : 2D `~numpy.ndarray`
        The image of the sources, in the unit of the data; float64 for float64
        data, else float32; not clipped, so that it can be negative.
    probability : 2D `~numpy.ndarray` of float32
        The calibrated probability that a source centre lies at the pixel.
    normalization : `bgrem.sky.normalize.Normalization`
        The maps by which the image was centred and scaled.
    meta : dict
        How it was made: package version, weights, steps, normalisation, device, and
        the ``binning`` at which the network saw the image.
    correction : dict or `None`
        What the calibration of the weights makes of the image's own properties, for
        `bgrem.detect.discovery.ImageCheck`; `None` where it makes nothing of them.
    """

    source: np.ndarray
    probability: np.ndarray
    normalization: Normalization
    meta: dict
    correction: dict | None = None


def separate(
    data,
    mask=None,
    *,
    error=None,
    weights='optical',
    n_steps=None,
    n_symmetries=1,
    normalization='local',
    device='auto',
    batch_size=None,
    progress=False,
    binning=None,
):
    """
    Separate the sources of an image from its sky and noise.

    Parameters
    ----------
    data : 2D `~numpy.ndarray` of float
        The image; values that are not finite are masked.
    mask : 2D `~numpy.ndarray` of bool, optional
        `True` at pixels that must not be used. Source and probability are 0
        there, as they are where no noise can be measured (constant data).
    error : 2D `~numpy.ndarray` of float, optional
        The total error of each pixel, 0 where it is not known; used by the
        normalisation ``'local'``.
    weights : str, path-like or `bgrem.weights.Weights`, optional
        The name of shipped weights, a path, or weights already loaded.
    n_steps, n_symmetries
        See `bgrem.denoise.run.denoise`.
    normalization : optional
        See `bgrem.sky.normalize.estimate_normalization`. `None` is the method that
        the weights were trained with.
    device, batch_size, progress
        See `bgrem.denoise.run.denoise`.
    binning : int, optional
        The network sees the means of squares of so many pixels, and what it finds is
        brought back to the pixels. Default: 1 if it knows images as broad and smooth as
        this one, else chosen by `bgrem.sky.sampling.choose_binning`. It is 1 for single
        counts, and where the normalisation is not ``'local'``.

    Returns
    -------
    separation : `Separation`
        The sources, their probability, and how they were found.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """
    # torch takes seconds to import
    from bgrem.denoise.run import check_symmetries, resolve_device
    from bgrem.weights import load_weights

    weights = load_weights(weights)
    method = weights.normalization if normalization is None else normalization
    options = {
        'weights': weights,
        'n_steps': check_count(
            'n_steps', weights.n_steps if n_steps is None else n_steps
        ),
        'n_symmetries': check_symmetries(n_symmetries),
        'normalization': method,
        'device': resolve_device(device),
        'batch_size': batch_size,
        'progress': progress,
    }
    hidden = ~np.isfinite(data)
    if mask is not None:
        hidden |= mask
    found = None
    if binning is None:
        found = _separate(data, hidden, error, **options)
        binning = 1
        # of single counts, halos of gas are the only bright and broad things
        sparse = sparse_step(data, hidden, found.normalization.scale)
        if isinstance(method, str) and method == 'local' and not sparse:
            binning = choose_binning(data, hidden, _seen_width(found))
    if binning > 1:
        if np.ndim(method) == 2:
            options['normalization'] = bin_image(method, hidden, binning)[0]
        binned = _separate(*_bin(data, hidden, error, binning), **options)
        # what is bright and broad may be structure of the sky, not sources
        if found is not None and _count_sure(binned) < _count_sure(found):
            return found
        maps = estimate_normalization(data, hidden, method, error, LAG * binning)
        return _refine(binned, binning, maps, hidden | (maps.scale == 0))
    return found or _separate(data, hidden, error, **options)


def network_factor(data, mask, *, normalization, error=None, binning=1):
    """
    Return by what the network has multiplied an image, to do so with another one.

    Parameters
    ----------
    data, mask, normalization, error
        As they were given to `separate`.
    binning : int, optional
        At which the sources were separated, from their ``meta``. Default 1.

    Returns
    -------
    factor : 2D `~numpy.ndarray`
        A ``normalization`` for `separate`; 0 where no noise could be measured.
    """
    hidden = ~np.isfinite(data) | mask
    if binning > 1:
        binned = _bin(data, hidden, error, binning)
        scale = estimate_normalization(*binned[:2], normalization, binned[2]).scale
        scale = np.kron(scale, np.ones((binning, binning), dtype=scale.dtype))
        scale = scale[: data.shape[0], : data.shape[1]]
    else:
        scale = estimate_normalization(data, hidden, normalization, error).scale
    return np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)


def _separate(data, hidden, error, *, weights, normalization, **options):
    """Separate the sources of an image as the network sees it."""
    from bgrem.denoise.run import denoise

    maps = estimate_normalization(data, hidden, normalization, error)
    source, center_logit = denoise(maps.forward(data, hidden), weights, **options)
    hidden = hidden | (maps.scale == 0)
    source[hidden] = 0
    source = maps.inverse(source)
    if step := sparse_step(data, hidden, maps.scale):
        source = limit_light(source, data, hidden, maps.center, maps.scale, step)
    probability = calibrate(pool_centers(center_logit), weights.calibration)
    probability[hidden] = 0
    meta = {
        'package': 'bgrem',
        'version': version('bgrem'),
        'weights': weights.name,
        'weights_sha256': weights.sha256,
        'n_steps': options['n_steps'],
        'n_symmetries': options['n_symmetries'],
        'normalization': normalization if np.ndim(normalization) == 0 else 'map',
        'device': str(options['device']),
        'binning': 1,
    }
    correction = (weights.calibration or {}).get('correction')
    return Separation(source, probability, maps, meta, correction)


def _seen_width(found):
    """Return the width of the sources of which the network is sure."""
    peaks = find_peaks(found.probability)
    scale = found.normalization.scale
    widths = peak_widths(found.source, scale, peaks['y'], peaks['x'])
    return source_width(widths, peaks['probability'])


def _count_sure(found):
    """Return how many sources the network is sure of."""
    return len(find_peaks(found.probability, min_probability=SURE))


def _bin(data, hidden, error, binning):
    """Return data, hidden pixels and error in squares of pixels."""
    if error is not None:
        # of white noise, but for a factor that the normalisation finds
        error = np.sqrt(bin_image(np.square(error), hidden, binning)[0])
    return *bin_image(data, hidden, binning), error


def _refine(found, binning, maps, hidden):
    """Bring what was found in squares of pixels back to the pixels."""
    source = refine_source(found.source, binning, hidden.shape)
    probability = refine_probability(found.probability, binning, hidden.shape)
    source[hidden] = 0
    probability[hidden] = 0
    return replace(
        found,
        source=source,
        probability=probability,
        normalization=maps,
        meta={**found.meta, 'binning': binning},
    )


def inspect_image(
    data,
    mask,
    source,
    peaks,
    *,
    min_probability=MIN_PROBABILITY,
    binning=1,
    **options,
):
    """
    Measure what an image itself says about the promise of its probabilities.

    Parameters
    ----------
    data : 2D `~numpy.ndarray` of float
        The image; values that are not finite are masked.
    mask : 2D `~numpy.ndarray` of bool or `None`
        `True` at pixels that must not be used.
    source : 2D `~numpy.ndarray` of float
        The sources of the image, from `separate`.
    peaks : structured `~numpy.ndarray`
        The peaks of its probability, from `bgrem.detect.peaks.find_peaks`.
    min_probability : float, optional
        Peaks of the flipped residual below it are not listed. Default: as in
        `bgrem.detect.peaks.find_peaks`.
    binning : int, optional
        At which the sources were separated, from their ``meta``. All of the below is
        measured in squares of so many pixels. Default 1.
    **options
        As they were given to `separate`, all but ``n_steps``.

    Returns
    -------
    flipped : 1D `~numpy.ndarray` of float32
        The probabilities of the peaks that the detector finds in the sign-flipped
        residual, where all that it finds is false, away from all bright sources, as
        `bgrem.sky.noise.away_from_sources` has it.
    clean_fraction : float
        The part of the usable pixels that lies there.
    correlation : float
        Of the noise there, see `bgrem.sky.noise.noise_correlation`.
    skewness : float
        Of the noise there, see `bgrem.sky.noise.noise_skewness`.
    widths : 1D `~numpy.ndarray` of float64
        The FWHM of each of ``peaks``, see `bgrem.detect.peaks.peak_widths`.

    Notes
    -----
    This costs as much as `separate` with a single step. These in their order are
    the last arguments of `bgrem.detect.discovery.ImageCheck.from_peaks`.
    """
    y, x = peaks['y'] // binning, peaks['x'] // binning
    if binning > 1:
        hidden = ~np.isfinite(data) if mask is None else ~np.isfinite(data) | mask
        source, _ = bin_image(source, hidden, binning)
        error = options.pop('error', None)
        data, mask, options['error'] = _bin(data, hidden, error, binning)
    residual = source - data
    # The probability is read at the first step, so that one is enough.
    flipped = separate(residual, mask, n_steps=1, binning=1, **options)
    noise = flipped.normalization.scale
    usable = (noise > 0) & np.isfinite(data)
    if mask is not None:
        usable &= ~mask
    clean = away_from_sources(source, noise) & usable
    found = find_peaks(flipped.probability, mask, min_probability)
    n_usable = np.sum(usable)
    flipped_noise = flipped.normalization.forward(residual, ~usable)
    return (
        found['probability'][clean[found['y'], found['x']]],
        float(np.sum(clean) / n_usable) if n_usable else 0.0,
        noise_correlation(flipped_noise, clean),
        # The image's own, not that of its flipped copy.
        -noise_skewness(flipped_noise, clean),
        peak_widths(source, noise, y, x),
    )
