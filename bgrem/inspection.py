"""
What an image itself says about the reliability of its probabilities.

The network is run once more, on an image that has only noise: the sign-flipped
residual, or photons drawn anew. Whatever it finds there is false.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from bgrem.detect.discovery import PRIOR_WEIGHT, ImageCheck
from bgrem.detect.peaks import MIN_PROBABILITY, find_peaks, peak_widths
from bgrem.pipeline import as_seen, separate
from bgrem.sky.counts import (
    draw_photons,
    has_photon_noise,
    may_be_sparse,
    sparse_step,
)
from bgrem.sky.noise import away_from_sources, noise_correlation, noise_skewness
from bgrem.sky.normalization import Normalization
from bgrem.sky.normalize import estimate_normalization
from bgrem.sky.sampling import bin_image
from bgrem.sky.sharpening import sharpen
from bgrem.sky.windows import spread_windows

__all__ = ['Inspection', 'WindowNoise', 'inspect_image', 'inspect_windows']

# The flipped residual is seen in windows of this side in pixels, and at least so many
# pixels of it: a tile of the network each.
_WINDOW = 512
_SAMPLE = 2**20
_CERTAIN = 0.2  # the relative standard error of the sum of its probabilities
_MOST_DRAWS = 8  # of the photons of a window


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
class Inspection:
    """
    What is found in an image that has only the noise of another one.

    Attributes
    ----------
    flipped : 1D `~numpy.ndarray` of float32
        The probabilities of the peaks found in the sign-flipped residual, which are
        all false, away from all bright sources (`bgrem.sky.noise.away_from_sources`).
    clean_fraction : float
        The fraction of the usable pixels that is away from them and was examined.
    correlation : float
        The correlation of the noise there, see `bgrem.sky.noise.noise_correlation`.
    skewness : float
        The skewness of the noise there, see `bgrem.sky.noise.noise_skewness`.
    is_drawn : bool
        Whether the image holds few photons. As their noise is not symmetric, the
        detector then sees new photons, drawn from the sky and the bright sources of the
        image, instead of the flipped residual.
    noise : `WindowNoise`
        The noise of the residual.
    widths : 1D `~numpy.ndarray` of float64 or `None`
        The FWHM of each peak of the image, see `bgrem.detect.peaks.peak_widths`.
    """

    flipped: np.ndarray
    clean_fraction: float
    correlation: float
    skewness: float
    is_drawn: bool
    noise: WindowNoise
    widths: np.ndarray | None = None

    def check(self, probability):
        """
        Compare what is found with the peaks of the image.

        Parameters
        ----------
        probability : 1D `~numpy.ndarray` of float
            The calibrated probabilities of the peaks of the image.

        Returns
        -------
        check : `~bgrem.detect.discovery.ImageCheck`
        """
        return ImageCheck.from_peaks(
            probability,
            self.flipped,
            self.clean_fraction,
            self.correlation,
            self.skewness,
            self.widths,
            self.is_drawn,
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
        The sources of the image, from `bgrem.pipeline.separate`.
    peaks : structured `~numpy.ndarray`
        The peaks of its probability, from `bgrem.detect.peaks.find_peaks`.
    min_probability : float, optional
        Peaks of the flipped residual below this probability are not listed. Default:
        as in `bgrem.detect.peaks.find_peaks`.
    binning, sharpening : optional
        Those used for the separation, see `bgrem.pipeline.sampling_of`. All results
        refer to squares of this size. Default: 1 and 0.
    **options
        The arguments of `bgrem.pipeline.separate`, except ``n_steps``.

    Returns
    -------
    inspection : `Inspection`
        The result, with the widths of ``peaks``.

    Notes
    -----
    For images of up to a megapixel, this takes as long as to separate their sources
    with a single step. Of larger ones, if the normalization is ``'local'``, evenly
    spread windows are examined: a megapixel, and more until the sum of the
    probabilities of the flipped peaks is known to 20%. Of a smaller image of few
    photons there are as many draws as have a megapixel, up to eight: a single one holds
    few false peaks.
    """
    y, x = (((peaks[name] + 0.5) / binning).astype(int) for name in 'yx')
    hidden = ~np.isfinite(data) if mask is None else ~np.isfinite(data) | mask
    error = options.pop('error', None)
    if binning > 1 or sharpening:
        source, _ = bin_image(source, hidden, binning)
        data, hidden, error = as_seen(data, hidden, error, binning, sharpening)
        hidden = hidden | ~np.isfinite(data)
        if sharpening:
            source = sharpen(source, hidden, sharpening / binning)

    def read(window):
        part = None if error is None else error[window]
        return data[window], hidden[window], source[window], part

    inspection = inspect_windows(
        data.shape,
        read,
        np.count_nonzero(~hidden),
        min_probability=min_probability,
        **options,
    )
    widths, noise = np.full(y.size, np.nan), inspection.noise
    if noise.typical is not None:
        widths = peak_widths(source, noise.part(np.s_[:, :], data.shape), y, x)
    return replace(inspection, widths=widths)


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
    inspection : `Inspection`
        The result, without the widths of peaks.
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
        nothing = np.empty(0, dtype=np.float32)
        return Inspection(nothing, 0.0, 0.0, 0.0, False, WindowNoise())
    n_clean, n_usable, n_visible = (
        sum(np.count_nonzero(getattr(view, name)) for view in views)
        for name in ('clean', 'usable', 'visible')
    )
    residual = _beside([view.residual for view in views])
    clean = _beside([view.clean for view in views])
    n_usable *= n_shown / max(n_visible, 1)
    return Inspection(
        np.concatenate([view.flipped for view in views]),
        float(n_clean / n_usable) if n_usable else 0.0,
        noise_correlation(residual, clean),
        # The image's own, not that of its flipped copy.
        -noise_skewness(residual, clean),
        any(view.is_drawn for view in views),
        WindowNoise(seen, [view.scale for view in views]),
    )


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
