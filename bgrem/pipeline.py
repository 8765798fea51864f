"""
The complete path from an image to its sources.
"""

import math
from dataclasses import dataclass, replace
from functools import wraps
from importlib.metadata import version

import numpy as np

from bgrem.checks import check_count
from bgrem.detect.discovery import PRIOR_WEIGHT, SURE, source_width
from bgrem.detect.hidden import doubt_hidden_centers
from bgrem.detect.peaks import MIN_PROBABILITY, find_peaks, peak_widths
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
    draw_photons,
    has_photon_noise,
    limit_light,
    may_be_sparse,
    sparse_step,
)
from bgrem.sky.mesh import LAG
from bgrem.sky.noise import away_from_sources, noise_correlation, noise_skewness
from bgrem.sky.normalization import Normalization
from bgrem.sky.normalize import estimate_normalization
from bgrem.sky.sampling import (
    bin_image,
    choose_sampling,
    refine_source,
    spread_squares,
)
from bgrem.sky.sharpening import sharpen, smooth
from bgrem.sky.windows import spread_windows

__all__ = [
    'FINISH_MARGIN',
    'Separation',
    'WindowNoise',
    'bar_name',
    'describe',
    'finish_probability',
    'finish_source',
    'inspect_image',
    'inspect_windows',
    'network_factor',
    'sampling_of',
    'separate',
    'with_threads',
]

#: So far, in pixels, the image tells of the probability: of a center hidden 4 px
#: away, the light 8 px around that.
FINISH_MARGIN = 12
_MOST_COUNTS = 1e12  # in a pixel; squares of it are finite in float32
# The flipped residual is seen in windows of this side in pixels, and at least so many
# pixels of it: a tile of the network each.
_WINDOW = 512
_SAMPLE = 2**20
_CERTAIN = 0.2  # the relative standard error of the sum of its probabilities
_MOST_DRAWS = 8  # of the photons of a window


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
        seen = _as_seen(data, hidden, error, binning, sharpening)
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
        The ``binning`` and ``sharpening``, for `separate` and `inspect_image`.
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
        seen, lost, error = _as_seen(data, hidden, error, binning, sharpening)
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


def _as_seen(data, hidden, error, binning, sharpening):
    """Return data, hidden pixels and error as the network is to see them."""
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


def inspect_image(
    data,
    mask,
    source,
    peaks,
    *,
    min_probability=MIN_PROBABILITY,
    binning=1,
    sharpening=0.0,
    **options,
):
    """
    Measure what an image itself says about the reliability of its probabilities.

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
        Peaks of the flipped residual below this probability are not listed. Default:
        as in `bgrem.detect.peaks.find_peaks`.
    binning, sharpening : optional
        Those used for the separation, see `sampling_of`. All results refer to squares
        of this size. Default: 1 and 0.
    **options
        The arguments of `separate`, except ``n_steps``.

    Returns
    -------
    flipped : 1D `~numpy.ndarray` of float32
        The probabilities of the peaks found in the sign-flipped residual, which are
        all false, away from all bright sources (`bgrem.sky.noise.away_from_sources`).
    clean_fraction : float
        The fraction of the usable pixels that is away from them and was examined.
    correlation : float
        The correlation of the noise there, see `bgrem.sky.noise.noise_correlation`.
    skewness : float
        The skewness of the noise there, see `bgrem.sky.noise.noise_skewness`.
    widths : 1D `~numpy.ndarray` of float64
        The FWHM of each of ``peaks``, see `bgrem.detect.peaks.peak_widths`.
    is_drawn : bool
        Whether the image holds few photons. As their noise is not symmetric, the
        detector then sees new photons, drawn from the sky and the bright sources of the
        image, instead of the flipped residual.

    Notes
    -----
    For images of up to a megapixel, this takes as long as `separate` with a single
    step. Of larger ones, if the normalization is ``'local'``, evenly spread windows
    are examined: a megapixel, and more until the sum of the probabilities of the
    flipped peaks is known to 20%. Of a smaller image of few photons there are as many
    draws as have a megapixel, up to eight: a single one holds few false peaks. The
    results are, in this order, the last arguments of
    `bgrem.detect.discovery.ImageCheck.from_peaks`.
    """
    y, x = (((peaks[name] + 0.5) / binning).astype(int) for name in 'yx')
    hidden = ~np.isfinite(data) if mask is None else ~np.isfinite(data) | mask
    error = options.pop('error', None)
    if binning > 1 or sharpening:
        source, _ = bin_image(source, hidden, binning)
        data, hidden, error = _as_seen(data, hidden, error, binning, sharpening)
        hidden = hidden | ~np.isfinite(data)
        if sharpening:
            source = sharpen(source, hidden, sharpening / binning)

    def read(window):
        part = None if error is None else error[window]
        return data[window], hidden[window], source[window], part

    *found, noise = inspect_windows(
        data.shape,
        read,
        np.count_nonzero(~hidden),
        min_probability=min_probability,
        **options,
    )
    *found, is_drawn = found
    widths = np.full(y.size, np.nan)
    if noise.typical is not None:
        widths = peak_widths(source, noise.part(np.s_[:, :], data.shape), y, x)
    return *found, widths, is_drawn


def inspect_windows(
    shape, read, n_shown, *, min_probability=MIN_PROBABILITY, **options
):
    """
    Do the part of `inspect_image` that is done window by window.

    Parameters
    ----------
    shape : tuple of 2 int
        The shape of the image.
    read : callable
        Called with a window (a tuple of slices); returns its data, hidden pixels,
        sources and error (or `None`), as the network sees them.
    n_shown : int
        The number of pixels of the image that are not hidden.
    min_probability, **options
        As for `inspect_image`, without its ``error``.

    Returns
    -------
    flipped, clean_fraction, correlation, skewness, is_drawn
        As from `inspect_image`.
    noise : `WindowNoise`
        The noise of the residual.
    """
    windows, n_pixels = [np.s_[:, :]], math.prod(shape)
    method = options.get('normalization', 'local')
    if n_pixels > _SAMPLE and isinstance(method, str) and method == 'local':
        windows = spread_windows(shape, _WINDOW)
    views, seen = [], []
    for number, window in enumerate(windows * _MOST_DRAWS):
        # A flipped residual is always the same, another draw of the photons is not.
        if number >= len(windows) and not any(view.is_drawn for view in views):
            break
        data, hidden, source, error = read(window)
        if hidden.all():
            continue
        view = _look_at(
            data, hidden, source, min_probability, number, error=error, **options
        )
        seen.append(window)
        views.append(view)
        if _is_certain(views, n_pixels):
            break
    if not views:
        return np.empty(0, dtype=np.float32), 0.0, 0.0, 0.0, False, WindowNoise()
    n_clean, n_usable, n_visible = (
        sum(np.count_nonzero(getattr(view, name)) for view in views)
        for name in ('clean', 'usable', 'visible')
    )
    residual = _beside([view.residual for view in views])
    clean = _beside([view.clean for view in views])
    n_usable *= n_shown / max(n_visible, 1)
    return (
        np.concatenate([view.flipped for view in views]),
        float(n_clean / n_usable) if n_usable else 0.0,
        noise_correlation(residual, clean),
        # The image's own, not that of its flipped copy.
        -noise_skewness(residual, clean),
        any(view.is_drawn for view in views),
        WindowNoise(seen, [view.scale for view in views]),
    )


class WindowNoise:
    """
    The noise in some windows of an image, and its median elsewhere.

    Parameters
    ----------
    windows : list of tuple of slice, optional
        The windows in which it is known.
    noise : list of 2D `~numpy.ndarray`, optional
        The noise in these windows.

    Attributes
    ----------
    typical : float or `None`
        The median; `None` if nothing is known.
    """

    def __init__(self, windows=(), noise=()):
        self._windows, self._noise, self.typical = windows, noise, None
        if noise:
            values = np.concatenate([one.ravel() for one in noise])
            self.typical = np.nanmedian(values)

    def part(self, place, shape):
        """
        Return the noise in a part of an image.

        Parameters
        ----------
        place : tuple of slice
            The part.
        shape : tuple of 2 int
            The shape of the image.

        Returns
        -------
        noise : 2D `~numpy.ndarray` of float32
        """
        (y, end_y), (x, end_x) = (
            side.indices(n)[:2] for side, n in zip(place, shape, strict=True)
        )
        result = np.full((end_y - y, end_x - x), self.typical, dtype=np.float32)
        for window, values in zip(self._windows, self._noise, strict=True):
            bottom, left = (side.start or 0 for side in window)
            seen = values[
                max(y - bottom, 0) : max(end_y - bottom, 0),
                max(x - left, 0) : max(end_x - left, 0),
            ]
            first, column = max(bottom - y, 0), max(left - x, 0)
            result[first : first + len(seen), column : column + seen.shape[1]] = seen
        return result


@dataclass(frozen=True, eq=False)
class _View:
    """What a window of the flipped residual shows."""

    flipped: np.ndarray  # the probabilities of its peaks
    clean: np.ndarray
    usable: np.ndarray
    visible: np.ndarray
    residual: np.ndarray  # in units of its noise
    scale: np.ndarray
    is_drawn: bool  # few photons, instead of flipped


def _look_at(data, hidden, source, min_probability, number, **options):
    """Run the network on an image with the noise of a window (`_View`)."""
    residual = shown = source - data
    photons = _see_photons(data, hidden, source, options.get('error'), seed=number)
    if photons:
        shown, maps = photons
    # The probability is read at the first step, so that one is enough.
    found = separate(
        shown,
        hidden,
        n_steps=1,
        binning=1,
        task='check of false detections',
        **options,
    )
    if not photons:
        maps = found.normalization
    usable = (maps.scale > 0) & ~hidden
    clean = away_from_sources(source, maps.scale) & usable
    peaks = find_peaks(found.probability, hidden, min_probability)
    return _View(
        peaks['probability'][clean[peaks['y'], peaks['x']]],
        clean,
        usable,
        ~hidden,
        maps.forward(residual, ~usable),
        maps.scale,
        bool(photons),
    )


def _see_photons(data, hidden, source, error, seed):
    """
    Redraw the photons of a window, if it holds only a few photons.

    Returns
    -------
    photons : tuple or `None`
        The draw, which has the sky and the bright sources of the window, as the network
        doubts all in an image without any; and the maps of the flipped residual.
    """
    if not may_be_sparse(data, hidden):
        return None
    maps = estimate_normalization(data, hidden, 'local', error)
    step = sparse_step(data, hidden, maps.scale)
    if not (step and has_photon_noise(step, maps.center, maps.scale)):
        return None
    bright = np.where(away_from_sources(source, maps.scale), 0, source)
    drawn = draw_photons(maps.center + bright, step, seed)
    return drawn, Normalization(-maps.center, maps.scale)


def _is_certain(views, n_pixels):
    """Whether enough of an image was seen."""
    n_seen = sum(view.clean.size for view in views)
    flipped = np.concatenate([view.flipped for view in views]).astype(float)
    known = np.sum(flipped) + PRIOR_WEIGHT * n_seen / n_pixels
    return n_seen >= _SAMPLE and np.sqrt(np.sum(flipped**2)) <= _CERTAIN * known


def _beside(images):
    """Lay the images of windows side by side, with a row of zeros between them."""
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    rows = [
        np.pad(image, [(0, height - image.shape[0] + 1), (0, width - image.shape[1])])
        for image in images
    ]
    return np.concatenate(rows)
