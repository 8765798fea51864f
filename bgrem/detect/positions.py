"""
The positions of the detections: the peaks of the probability, refined on the data.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from bgrem.detect.discovery import source_width
from bgrem.detect.peaks import MIN_PROBABILITY, find_peaks, peak_widths
from bgrem.detect.pixels import highest_values
from bgrem.detect.window import window_errors, window_sigma, windowed_positions
from bgrem.sky.bands import split_rows, widen
from bgrem.sky.noise import (
    BRIGHT_MARGIN,
    MAX_SIDE,
    away_from_sources,
    noise_covariance,
)
from bgrem.sky.windows import middle_of

__all__ = [
    'Cores',
    'Positions',
    'find_cores',
    'measure_positions',
    'noise_around',
    'typical_width',
]

# The half-light radius of a star's window over half the FWHM of its core. Of a
# Gaussian it would be one; light in the wings is worth little to a position.
_WINDOW_RADIUS = 1.15
# What the denoiser leaves of the sky is smoother than this, in FWHM of the image.
_SKY_SIGMA = 2.0
# A windowed position stands where its error is below this part of the FWHM, and where
# it is that many errors from the peak at most.
_MAX_ERROR = 0.1
_MAX_OFFSET = 3.0
# The error of a peak of the probability is that of the window, but for so much that
# noise has no part in, and never more than the width of the blob that the networks are
# taught; in FWHM and in pixels.
_PEAK_FWHM, _PEAK_PIXELS = 0.05, 0.12
_BLOB_FWHM, _BLOB_PIXELS = 0.25, 0.35
# A peak is that of its segment only if it is so bright a part of the brightest there.
_MAIN = 0.5
# Where nothing in an image has a width, in pixels.
_DEFAULT_WIDTH = 2.0
# Noise is correlated no farther, in pixels; its covariance is not known from fewer
# pixels than these.
_NOISE_REACH = 12
_MIN_CLEAN = 1000
_MIN_EXCESS = 0.5  # of the variance


@dataclass(frozen=True)
class Positions:
    """
    The positions of detections, and how they were determined.

    Parameters
    ----------
    position : 2D `~numpy.ndarray` of float
        ``(x, y)`` of each detection, of shape (n, 2), in pixels.
    error : 2D `~numpy.ndarray` of float
        Their standard deviations along x and y, of shape (n, 2), in pixels.
    core_fwhm : 1D `~numpy.ndarray` of float
        The FWHM of the core of the denoised source, in pixels; NaN if it has no core.
    probability : 1D `~numpy.ndarray` of float32
        The highest peak of the probability in the segment, or else its highest pixel.
    has_peak : 1D `~numpy.ndarray` of bool
        Whether there is a peak. If not, the position is the centroid.
    is_windowed : 1D `~numpy.ndarray` of bool
        Whether the position was refined on the data. If not, it is that of the peak.
    width : float
        The FWHM of the compact sources of the image, in pixels.
    """

    position: np.ndarray
    error: np.ndarray
    core_fwhm: np.ndarray
    probability: np.ndarray
    has_peak: np.ndarray
    is_windowed: np.ndarray
    width: float


@dataclass(frozen=True)
class Cores:
    """
    The cores of detections, which are the starting points of the positions.

    Parameters
    ----------
    place : 2D `~numpy.ndarray` of float
        ``(x, y)`` of each core in pixels, of shape (n, 2): its highest peak, or else
        the centroid.
    probability, has_peak, fwhm : 1D `~numpy.ndarray`
        Like ``probability``, ``has_peak`` and ``core_fwhm`` of `Positions`.
    """

    place: np.ndarray
    probability: np.ndarray
    has_peak: np.ndarray
    fwhm: np.ndarray


def measure_positions(
    data,
    segmentation_image,
    centroid,
    *,
    source,
    probability,
    noise,
    error,
    usable,
    neighbours='correct',
    whole=None,
):
    """
    Measure the positions of detections.

    Parameters
    ----------
    data : 2D `~numpy.ndarray` of float
        The image without its sky.
    segmentation_image : `~photutils.segmentation.SegmentationImage`
        One label per detection.
    centroid : 2D `~numpy.ndarray` of float
        The centroid ``(x, y)`` of each segment, of shape (n, 2), in pixels.
    source, probability : 2D `~numpy.ndarray` of float
        The denoised image and the detection probability.
    noise, error : 2D `~numpy.ndarray` of float
        The noise of the sky, and the noise of each pixel including that of its source.
    usable : 2D `~numpy.ndarray` of bool
        `False` at pixels to exclude.
    neighbours : {'correct', 'mask', 'none'}, optional
        As for `bgrem.detect.window.windowed_positions`.
    whole : optional
        An object whose attributes ``width`` (`typical_width`) and ``covariance``
        (`noise_around`) are those of the whole image, if this is a part of one.
        Default: this is the whole image.

    Returns
    -------
    positions : `Positions`
        The positions, in the order of the labels.

    Notes
    -----
    A detection is the highest peak of the probability in its segment among those that
    are at least half as bright as the brightest. If the light of the source is bright
    enough, the position is that of the data within a Gaussian window at the peak
    (`bgrem.detect.window.windowed_positions`), 1.15 times as wide as the core of the
    denoised source. What the denoiser leaves of the sky is smooth and is subtracted.
    The windowed position is used if its error is below a tenth of the FWHM of the
    image's compact sources, and if it is within three of its errors and half that FWHM
    (at least 1 px) of the peak. Where the noise is higher, the peak is better, and it
    does not drift to a neighbor.

    Errors are those due to the noise under the window, with the correlation that the
    noise has in the image. In units of them, the positions of isolated stars scatter by
    0.9 to 1.1.
    """
    labels, index = segmentation_image.data, segmentation_image.labels
    cores = find_cores(
        segmentation_image,
        centroid,
        source=_known(source, usable),
        probability=probability,
    )
    start, has_peak, core_fwhm = cores.place, cores.has_peak, cores.fwhm
    width = (
        typical_width(core_fwhm, cores.probability) if whole is None else whole.width
    )
    radius = np.where(np.isfinite(core_fwhm), core_fwhm, width) * _WINDOW_RADIUS / 2
    options = {'usable': usable, 'neighbours': neighbours}
    flat = np.empty_like(source, dtype=np.result_type(data, source))
    (middle, columns), rest = _middle(data.shape), []
    for rows in split_rows(flat.shape):
        residual, sky = _residual(data, source, usable, width, rows)
        np.subtract(data[rows], sky, out=flat[rows])
        residual -= sky
        first, last = (max(n - rows.start, 0) for n in (middle.start, middle.stop))
        rest.append(residual[first:last, columns].copy())
    windowed = windowed_positions(flat, labels, index, start, radius, **options)
    del flat, residual, sky  # as large as the image, or a part of it
    of_noise = window_errors(source, error, labels, index, start, radius, **options)
    if whole is None:
        rest = np.concatenate(rest)
        covariance = _covariance(rest, source, noise, usable)
    else:
        covariance = whole.covariance
    if covariance is not None:
        of_noise *= _excess(covariance, window_sigma(radius, data.shape))
    # of the pixels of the window none may be usable, or without noise
    of_noise[~(of_noise > 0)] = np.inf

    total = np.sqrt(np.mean(of_noise**2, axis=1))
    least = np.hypot(_PEAK_FWHM * width, _PEAK_PIXELS)
    largest = np.minimum(_MAX_OFFSET * np.hypot(total, least), max(1, width / 2))
    is_windowed = has_peak & (total < _MAX_ERROR * width)
    is_windowed &= np.hypot(*(windowed - start).T) <= largest
    blob = np.hypot(_BLOB_FWHM * width, _BLOB_PIXELS)
    of_peak = np.hypot((of_noise**-2 + blob**-2) ** -0.5, least)
    chosen = is_windowed[:, np.newaxis]
    return Positions(
        position=np.where(chosen, windowed, start),
        error=np.where(chosen, of_noise, of_peak),
        core_fwhm=core_fwhm,
        probability=cores.probability,
        has_peak=has_peak,
        is_windowed=is_windowed,
        width=width,
    )


def find_cores(segmentation_image, centroid, *, source, probability):
    """
    Find the cores of detections.

    Parameters
    ----------
    segmentation_image, centroid
        As for `measure_positions`.
    source : 2D `~numpy.ndarray` of float
        The denoised image, 0 at pixels that are not usable.
    probability : 2D `~numpy.ndarray` of float
        As for `measure_positions`.

    Returns
    -------
    cores : `Cores`
        The cores, in the order of the labels.
    """
    labels, index = segmentation_image.data, segmentation_image.labels
    place, highest, has_peak = _highest_peaks(index, labels, source, probability)
    place[~has_peak] = centroid[~has_peak]
    lost = ~np.isfinite(place).all(axis=1)
    if lost.any():  # there is no light either
        found = ndimage.maximum_position(probability, labels, index[lost])
        place[lost] = np.array(found)[:, ::-1]
    last = np.array(source.shape[::-1]) - 1
    pixel = np.clip(np.floor(np.nan_to_num(place) + 0.5).astype(int), 0, last)
    fwhm = peak_widths(source, 0.0, pixel[:, 1], pixel[:, 0])
    return Cores(place, highest, has_peak, fwhm)


def _highest_peaks(index, labels, source, probability):
    """Return place and height of the highest peak of each segment that has one."""
    highest = highest_values(probability, labels, index[-1])[index].astype(np.float32)
    # A segment can hold the flank of a neighbour's higher peak. Of its own peaks the
    # most probable comes first.
    peaks = find_peaks(probability, min_probability=np.finfo(np.float32).tiny)
    own = labels[peaks['y'], peaks['x']]
    light = ndimage.maximum_filter(source, size=3)[peaks['y'], peaks['x']]
    # What is part of a brighter source can be as probable as that.
    listed = peaks['probability'] >= MIN_PROBABILITY
    brightest = np.full(labels.max() + 1, -np.inf)
    np.maximum.at(brightest, own[listed], light[listed])
    is_main = (own > 0) & (light >= _MAIN * brightest[own])
    peaks, own = peaks[is_main], own[is_main]
    found, first = np.unique(own, return_index=True)
    rows, peaks = np.searchsorted(index, found), peaks[first]
    place = np.full((len(index), 2), np.nan)
    place[rows] = np.column_stack([peaks['x_center'], peaks['y_center']])
    highest[rows] = peaks['probability']
    has_peak = np.zeros(len(index), dtype=bool)
    has_peak[rows] = True
    return place, highest, has_peak


def typical_width(core_fwhm, probability):
    """
    Return the FWHM of the compact sources of an image.

    Parameters
    ----------
    core_fwhm, probability : 1D `~numpy.ndarray` of float
        Those of all detections, as in `Positions`.

    Returns
    -------
    width : float
        The FWHM in pixels, as in `Positions`.
    """
    width = source_width(core_fwhm, probability)
    if np.isnan(width):
        known = core_fwhm[np.isfinite(core_fwhm)]
        width = float(np.median(known)) if known.size else _DEFAULT_WIDTH
    return width


def noise_around(data, *, source, noise, usable, width):
    """
    Measure the noise that affects positions.

    Parameters
    ----------
    data, source, noise, usable
        As for `measure_positions`; for a large image, only the middle is used.
    width : float
        The FWHM of the compact sources in pixels, from `typical_width`.

    Returns
    -------
    covariance : 2D `~numpy.ndarray` or `None`
        As from `bgrem.sky.noise.noise_covariance`; `None` if there are too few pixels.
    """
    rows, columns = _middle(data.shape)
    residual, sky = _residual(data, source, usable, width, rows)
    return _covariance((residual - sky)[:, columns], source, noise, usable)


def _known(image, usable):
    """Return an image with 0 where it is not usable."""
    return image if usable.all() else np.where(usable, image, 0)


def _middle(shape):
    """Return where in an image the noise is looked at."""
    return middle_of(shape, MAX_SIDE + 2 * BRIGHT_MARGIN)


def _covariance(residual, source, noise, usable):
    """Return what `noise_around` does, given the residual in the middle."""
    middle = _middle(source.shape)
    source, noise, usable = (one[middle] for one in (source, noise, usable))
    source = _known(source, usable)
    clean = usable & (noise > 0) & away_from_sources(source, noise)
    if np.count_nonzero(clean) <= _MIN_CLEAN:
        return None
    residual = np.divide(residual, noise, out=np.zeros_like(residual), where=clean)
    return noise_covariance(residual, clean, _NOISE_REACH)


def _residual(data, source, usable, width, rows):
    """
    Return what is left of the image without its sources, and the smooth sky in it.

    Of some rows; what is not usable does not count.
    """
    options = {'sigma': _SKY_SIGMA * width, 'mode': 'nearest', 'truncate': 3.0}
    start, stop, _ = rows.indices(len(data))
    rows = slice(start, stop)
    near = widen(rows, math.ceil(options['sigma'] * options['truncate']), len(data))
    residual = data[near] - source[near]
    residual[~usable[near]] = 0
    smooth = ndimage.gaussian_filter(residual, **options)
    if not usable.all():
        weight = usable[near].astype(residual.dtype)
        weight = ndimage.gaussian_filter(weight, **options)
        is_known = weight > 1e-3
        np.divide(smooth, weight, out=smooth, where=is_known)
        smooth[~is_known] = 0
    inner = slice(start - near.start, stop - near.start)
    return residual[inner], smooth[inner]


def _excess(covariance, sigma):
    """
    Return the error of windowed positions over that of white noise of unit variance.

    The sum of the noise with ``x exp(-r^2 / 2 s^2)`` has the variance that white noise
    gives it times the sum of the covariance with the autocorrelation of that function,
    ``(1 - x^2 / 2 s^2) exp(-r^2 / 4 s^2)``.
    """
    reach = len(covariance) // 2
    scaled = (np.arange(-reach, reach + 1) / sigma[:, np.newaxis]) ** 2
    across = np.exp(-scaled / 4)
    along = (1 - scaled / 2) * across
    factors = [
        np.einsum('ni,ij,nj->n', of_y, covariance, of_x, optimize=True)
        for of_x, of_y in ((along, across), (across, along))
    ]
    return np.sqrt(np.maximum(np.transpose(factors), _MIN_EXCESS))
