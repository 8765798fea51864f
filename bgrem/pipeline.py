"""
The complete path from an image to its sources.
"""

import math
from dataclasses import dataclass, replace
from functools import wraps
from importlib.metadata import version

import numpy as np

from bgrem.checks import check_count
from bgrem.detect.discovery import SURE, source_width
from bgrem.detect.hidden import doubt_hidden_centers
from bgrem.detect.peaks import find_peaks, peak_widths
from bgrem.detect.probability import calibrate, pool_centers, refine_probability
from bgrem.sky.bands import use_threads
from bgrem.sky.count_level import (
    adjust_sky,
    continue_sky,
    expected_level,
    hold_light,
    likely_light,
    lone_photons,
)
from bgrem.sky.counts import (
    limit_light,
    sparse_step,
)
from bgrem.sky.mesh import LAG
from bgrem.sky.normalization import Normalization
from bgrem.sky.normalize import estimate_normalization
from bgrem.sky.sampling import (
    bin_image,
    choose_sampling,
    refine_source,
    spread_squares,
)
from bgrem.sky.sharpening import sharpen, smooth

__all__ = [
    'FINISH_MARGIN',
    'Separation',
    'as_seen',
    'bar_name',
    'describe',
    'finish_probability',
    'finish_source',
    'network_factor',
    'sampling_of',
    'separate',
    'with_threads',
]

#: So far, in pixels, the image tells of the probability: of a center hidden 4 px
#: away, the light 8 px around that.
FINISH_MARGIN = 12
_MOST_COUNTS = 1e12  # in a pixel; squares of it are finite in float32


@dataclass(frozen=True, eq=False)
class Separation:
    """
    The sources of an image, separated from its sky and noise.

    Attributes
    ----------
    source : 2D `~numpy.ndarray`
        The image of the sources, in the unit of the data; float64 for float64
        data, else float32. It is not clipped and can be negative.
    probability : 2D `~numpy.ndarray` of float32
        The calibrated probability that a source center lies at each pixel.
    normalization : `bgrem.sky.normalization.Normalization`
        The maps with which the image was centered and scaled.
    meta : dict
        How it was made: package version, weights, steps, normalization, device, and
        the ``binning`` and ``sharpening`` with which the network saw the image.
    correction : dict or `None`
        How the calibration of the weights uses the properties of the image itself, for
        `bgrem.detect.discovery.ImageCheck`; `None` if it does not use them.
    step : float
        The value of one count if the image consists of single counts, else 0; from
        `bgrem.sky.counts.sparse_step`.
    sky, sky_error : 2D `~numpy.ndarray` or `None`
        The expected counts of the sky and their standard error, from weights for
        counts; `None` from other weights.
    """

    source: np.ndarray
    probability: np.ndarray
    normalization: Normalization
    meta: dict
    correction: dict | None = None
    step: float = 0.0
    sky: np.ndarray | None = None
    sky_error: np.ndarray | None = None


def separate(
    data,
    mask=None,
    *,
    error=None,
    exposure=None,
    weights='optical',
    n_steps=None,
    n_symmetries=1,
    normalization='local',
    device='auto',
    batch_size=None,
    progress=False,
    task='sources',
    binning=None,
    sharpening=0.0,
):
    """
    Separate the sources of an image from its sky and noise.

    Parameters
    ----------
    data : 2D `~numpy.ndarray` of float
        The image; values that are not finite are masked.
    mask : 2D `~numpy.ndarray` of bool, optional
        `True` at pixels that must not be used. Source and probability are 0
        there, and where no noise can be measured (constant data).
    error : 2D `~numpy.ndarray` of float, optional
        The total error of each pixel, 0 where it is not known; used by the
        normalization ``'local'``.
    exposure : 2D `~numpy.ndarray` of float, optional
        The exposure of each pixel in any unit, for weights for counts. Pixels where it
        is not positive must be masked.
    weights : str, path-like or `bgrem.weights.Weights`, optional
        The name of weights in the package, a path, or weights already loaded.
    n_steps, n_symmetries
        See `bgrem.denoise.run.denoise`.
    normalization : optional
        See `bgrem.sky.normalize.estimate_normalization`. `None` is the method with
        which the weights were trained.
    device, batch_size
        See `bgrem.denoise.run.denoise`.
    progress : bool or str, optional
        Whether to show a progress bar for each pass of the network. A string is
        prepended to its label. Default `False`.
    task : str, optional
        The label of the progress bar. Default ``'sources'``.
    binning : int or float, optional
        The side, in pixels, of the squares into which the image is binned for the
        network; the results are converted back to pixels. Default: 1 if the network
        was trained on images as broad and smooth as this one, else chosen by
        `bgrem.sky.sampling.choose_sampling`, together with the sharpening. It is 1 for
        single counts, and if the normalization is not ``'local'``.
    sharpening : float, optional
        With a ``binning``: the standard deviation, in pixels, of the Gaussian that is
        first deconvolved from the image, and with which the sources are convolved
        again. Default 0: none.

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
        'progress': bar_name(progress, task),
    }
    hidden = ~np.isfinite(data)
    if mask is not None:
        hidden |= mask
    if weights.is_for_counts:
        return _separate_counts(data, hidden, exposure, **options)
    found = None
    if binning is None:
        found = _separate(data, hidden, error, **options)
        binning = 1
        # of single counts, halos of gas are the only bright and broad things
        if isinstance(method, str) and method == 'local' and not found.step:
            binning, sharpening = choose_sampling(data, hidden, _seen_width(found))
    if binning > 1 or sharpening:
        if np.ndim(method) == 2:
            options['normalization'] = bin_image(method, hidden, binning)[0]
        task = f'{task} in squares of {binning} px'
        options['progress'] = bar_name(progress, task)
        seen = as_seen(data, hidden, error, binning, sharpening)
        binned = _separate(*seen, **options)
        # what is bright and broad may be structure of the sky, not sources
        if found is not None and _count_sure(binned) < _count_sure(found):
            return found
        if sharpening:
            source = smooth(binned.source, seen[1], sharpening / binning)
            binned = replace(binned, source=source)
        lag = math.ceil(LAG * math.hypot(binning, sharpening))
        maps = estimate_normalization(data, hidden, method, error, lag)
        return _refine(binned, binning, sharpening, maps, hidden | (maps.scale == 0))
    return found or _separate(data, hidden, error, **options)


def with_threads(function):
    """
    Let a function examine bands of an image in as many threads as a network uses.
    """

    @wraps(function)
    def run(*args, **options):
        from bgrem.denoise.run import n_threads

        with use_threads(n_threads()):
            return function(*args, **options)

    return run


def bar_name(progress, task):
    """
    Return the label of a progress bar.

    Parameters
    ----------
    progress : bool or str
        Whether to show it; a string is prepended to the label.
    task : str
        The task whose progress is shown.

    Returns
    -------
    name : str or `None`
        The label; `None` for no bar.
    """
    if not progress:
        return None
    return f'{progress}{task}' if isinstance(progress, str) else task


def sampling_of(meta):
    """
    Return how the network saw an image, so that it can see another one likewise.

    Parameters
    ----------
    meta : dict
        The ``meta`` of a `Separation`.

    Returns
    -------
    sampling : dict
        The ``binning`` and ``sharpening``, for `separate` and
        `bgrem.inspection.inspect_image`.
    """
    return {name: meta[name] for name in ('binning', 'sharpening')}


def network_factor(data, mask, *, normalization, error=None, binning=1, sharpening=0.0):
    """
    Return the factor by which an image was multiplied for the network.

    Parameters
    ----------
    data, mask, normalization, error
        The arguments of `separate`.
    binning, sharpening : optional
        Those used for the separation, see `sampling_of`. Default: 1 and 0.

    Returns
    -------
    factor : 2D `~numpy.ndarray`
        A ``normalization`` with which `separate` treats another image likewise; 0
        where no noise could be measured.
    """
    hidden = ~np.isfinite(data) | mask
    if binning > 1 or sharpening:
        seen, lost, error = as_seen(data, hidden, error, binning, sharpening)
        scale = estimate_normalization(seen, lost, normalization, error).scale
        scale = spread_squares(scale, binning, data.shape)
    else:
        scale = estimate_normalization(data, hidden, normalization, error).scale
    return np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)


def _separate(data, hidden, error, *, weights, normalization, **options):
    """Separate the sources of an image as the network sees it."""
    from bgrem.denoise.run import denoise

    maps = estimate_normalization(data, hidden, normalization, error)
    image = maps.forward(data, hidden)
    source, center_logit = denoise(image, weights, **options)
    hidden = hidden | (maps.scale == 0)
    probability = finish_probability(center_logit, image, hidden, weights)
    del center_logit, image  # each as large as the data
    source = finish_source(source, hidden, maps)
    if step := sparse_step(data, hidden, maps.scale):
        source = limit_light(source, data, hidden, maps.center, maps.scale, step)
    correction = (weights.calibration or {}).get('correction')
    meta = describe(weights, normalization, **options)
    return Separation(source, probability, maps, meta, correction, step)


def finish_source(source, hidden, maps):
    """
    Convert the sources in an image, or in a part, from the network to data units.

    Parameters
    ----------
    source : 2D `~numpy.ndarray` of float32
        From `bgrem.denoise.run.denoise`; reused for the result if that is float32.
    hidden : 2D `~numpy.ndarray` of bool
        True at pixels that are not used, or where no noise can be measured.
    maps : `bgrem.sky.normalization.Normalization`
        The maps with which the image was centered and scaled.

    Returns
    -------
    source : 2D `~numpy.ndarray`
        As in `Separation`.
    """
    source[hidden] = 0
    is_alike = source.dtype == maps.scale.dtype
    return maps.inverse(source, out=source if is_alike else None)


def finish_probability(center_logit, image, hidden, weights):
    """
    Convert the logit of source centers in an image, or in a part, to a probability.

    Parameters
    ----------
    center_logit : 2D `~numpy.ndarray` of float32
        From `bgrem.denoise.run.denoise`; reused for the result.
    image : 2D `~numpy.ndarray` of float32
        The image as the network saw it.
    hidden : 2D `~numpy.ndarray` of bool
        As for `finish_source`.
    weights : `bgrem.weights.Weights`
        The weights.

    Returns
    -------
    probability : 2D `~numpy.ndarray` of float32
        As in `Separation`, except for the outer `FINISH_MARGIN` pixels of a part.
    """
    pooled = pool_centers(center_logit, out=center_logit)
    probability = calibrate(pooled, weights.calibration, out=pooled)
    if hidden.any():
        probability = doubt_hidden_centers(probability, image, hidden)
        probability[hidden] = 0
    return probability


def _separate_counts(data, hidden, exposure, *, weights, normalization, **options):
    """Separate the sources of a map of counts from its sky."""
    from bgrem.denoise.run import denoise_counts

    if options.pop('n_steps') != 1:
        msg = f'n_steps must be 1 or None for the weights for counts {weights.name!r}'
        raise ValueError(msg)
    if not (isinstance(normalization, str) and normalization == 'local'):
        msg = (
            "normalization must be 'local' for the weights for counts "
            f'{weights.name!r}: their noise is that of photons'
        )
        raise ValueError(msg)
    level = expected_level(data, hidden, exposure)
    counts = np.where(hidden, level, data)
    counts, shown = (
        np.clip(one, 0, _MOST_COUNTS).astype(np.float32) for one in (counts, level)
    )
    source, sky, center_logit = denoise_counts(counts, shown, weights, **options)
    sky = continue_sky(source, sky, level, hidden)
    source = hold_light(source, sky, counts, level, hidden)
    # among single photons a network sees some light where there is none
    source = limit_light(source, counts, hidden, level, np.sqrt(level), 1.0)
    # of a source beyond the border, whose light falls in, the center is not here
    pooled = pool_centers(center_logit, edges='constant')
    probability = calibrate(pooled, weights.calibration)
    shown = data[~hidden]
    # in expected counts, which are no whole numbers, all that is seen is there
    if np.array_equal(shown, np.round(shown)):
        lone = lone_photons(np.where(hidden, 0, data))
        source[lone], probability[lone] = 0, 0
        likely = source * likely_light(source, sky, probability)
        source, sky = likely, sky + (source - likely)
    sky, error = adjust_sky(sky, data, source, hidden)
    probability[hidden] = 0
    dtype = np.float64 if data.dtype == np.float64 else np.float32
    maps = Normalization(sky.astype(dtype), np.sqrt(sky).astype(dtype))
    meta = describe(weights, normalization, n_steps=1, **options)
    return Separation(
        source.astype(dtype), probability, maps, meta, None, 1.0, sky, sky * error
    )


def describe(weights, normalization, *, n_steps, n_symmetries, device, **_):
    """
    Return how the sources of an image are separated.

    Parameters
    ----------
    weights, normalization, n_steps, n_symmetries, device
        As for `separate`, none of them `None`.

    Returns
    -------
    meta : dict
        As in `Separation`, for an image that is neither binned nor sharpened.
    """
    return {
        'package': 'bgrem',
        'version': version('bgrem'),
        'weights': weights.name,
        'weights_sha256': weights.sha256,
        'n_steps': n_steps,
        'n_symmetries': n_symmetries,
        'normalization': normalization if np.ndim(normalization) == 0 else 'map',
        'device': str(device),
        'binning': 1,
        'sharpening': 0.0,
    }


def _seen_width(found):
    """Return the width of the sources of which the network is sure."""
    peaks = find_peaks(found.probability, min_probability=SURE)
    scale = found.normalization.scale
    widths = peak_widths(found.source, scale, peaks['y'], peaks['x'])
    return source_width(widths, peaks['probability'])


def _count_sure(found):
    """Return how many sources the network is sure of."""
    return len(find_peaks(found.probability, min_probability=SURE))


def as_seen(data, hidden, error, binning, sharpening):
    """
    Return an image as the network is to see it.

    Parameters
    ----------
    data : 2D `~numpy.ndarray` of float
        The image.
    hidden : 2D `~numpy.ndarray` of bool
        True at pixels that are not used.
    error : 2D `~numpy.ndarray` of float or `None`
        The total error of each pixel.
    binning, sharpening
        As for `separate`.

    Returns
    -------
    data, hidden, error
        The same for each square of pixels.
    """
    if error is not None:
        # of white noise, but for a factor that the normalization finds
        error = np.sqrt(bin_image(np.square(error), hidden, binning)[0])
    data, hidden = bin_image(data, hidden, binning)
    if sharpening:
        maps = estimate_normalization(data, hidden)
        hidden = hidden | (maps.scale == 0)
        light = sharpen(data - maps.center, hidden, sharpening / binning)
        data = maps.center + light
    return data, hidden, error


def _refine(found, binning, sharpening, maps, hidden):
    """Bring what was found in squares of pixels back to the pixels."""
    source, probability = found.source, found.probability
    if binning > 1:
        source = refine_source(source, binning, hidden.shape)
        probability = refine_probability(probability, binning, hidden.shape)
    source[hidden] = 0
    probability[hidden] = 0
    return replace(
        found,
        source=source,
        probability=probability,
        normalization=maps,
        step=0.0,
        meta={**found.meta, 'binning': binning, 'sharpening': sharpening},
    )
