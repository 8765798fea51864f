"""
From peaks to pixels: masks and segmentation images.

The peaks of the probability are the detections; the denoised image determines which
pixels belong to them.
"""

import warnings

import numpy as np
from photutils.utils.exceptions import NoDetectionsWarning
from scipy import ndimage

from bgrem.checks import as_number
from bgrem.detect.deblend import deblend_region
from bgrem.detect.footprints import footprint_level
from bgrem.detect.hierarchy import find_hidden_cores, image_width
from bgrem.detect.peaks import find_peaks
from bgrem.detect.pixels import DISC, open_disc, renumber, spread

__all__ = ['check_n_pixels', 'detection_mask', 'no_segments', 'segment']

# Every detection owns at least these pixels, also where the denoised image
# has nothing: the probability finds fainter sources than the image shows.
_MINIMAL_FOOTPRINT = ndimage.generate_binary_structure(2, 1)
_EIGHT_CONNECTED = ndimage.generate_binary_structure(2, 2)
# The far light of a source is not narrower than a disc, but for pixels that one disc
# beside another can reach.
_NEAR = ndimage.binary_dilation(np.pad(DISC, len(DISC) // 2), DISC)


def segment(
    source,
    probability,
    rms,
    *,
    threshold,
    n_pixels=1,
    deblend=True,
    footprint=None,
    mask=None,
    peaks=None,
    width=None,
    covariance=None,
):
    """
    Make a segmentation image: one label for each detection.

    Parameters
    ----------
    source : 2D `~numpy.ndarray` of float
        Denoised image of the sources alone.
    probability : 2D `~numpy.ndarray` of float
        Calibrated detection probability.
    rms : float or 2D `~numpy.ndarray` of float
        Noise of the observed image, in the unit of ``source``.
    threshold : float
        Peaks of the probability at or above it are detections.
    n_pixels : int, optional
        Smaller segments are dropped. Every detection has at least a
        plus-shaped footprint of 5 pixels (fewer at borders, masked pixels and
        neighbors).
    deblend : bool, optional
        If True, segments that touch are divided by a watershed of
        ``source`` from the peaks, after which faint sources return the parts
        of the wings of brighter ones that were assigned to them. If False,
        they share one label.
    footprint : 2D array_like of bool, optional
        Structuring element with which the footprints are dilated.
    mask : 2D `~numpy.ndarray` of bool, optional
        True where no segment may lie.
    peaks : structured `~numpy.ndarray`, optional
        The peaks of the probability outside the mask, if already known, from
        `bgrem.detect.peaks.find_peaks`, including all above ``threshold``.
    width : float, optional
        The FWHM of a star in pixels, if this is a part of an image. Default:
        determined from the peaks (`bgrem.detect.hierarchy.image_width`).
    covariance : 2D `~numpy.ndarray` or `None`, optional
        That of the noise, from `bgrem.detect.footprints.correlated_noise`. Default: the
        noise is white.

    Returns
    -------
    segmentation_image : `~photutils.segmentation.SegmentationImage` or `None`
        `None`, with a `~photutils.utils.exceptions.NoDetectionsWarning`, if
        nothing is found. The labels run from 1 without gaps, in reading order: by
        the first pixel of each segment, row by row.

    Raises
    ------
    ValueError
        If ``n_pixels`` is not a positive integer, or ``footprint`` is not a 2D array
        with a True element.

    Notes
    -----
    A footprint ends where the denoised image falls below the level of
    `bgrem.detect.footprints.footprint_level`, which is that of the noise of a mean over
    a star: the segments of a resampled image are about as large on the sky.

    A peak that does not stand out from the light of a large and brighter source as a
    star would is part of this source (`bgrem.detect.hierarchy.find_owners`). A bright
    source whose center is masked or outside the image, or whose core is so large that
    its center is uncertain, has a segment although it has no peak; other light without
    a peak has none.
    """
    # Takes half a second to import.
    from photutils.segmentation import SegmentationImage

    check_n_pixels(n_pixels)
    if peaks is None:
        peaks = find_peaks(probability, mask, threshold)
    peaks = peaks[peaks['probability'] >= threshold]
    labels = _label_sources(source, peaks, rms, footprint, mask, width, covariance)
    if not deblend:
        labels, _ = ndimage.label(labels > 0, structure=_EIGHT_CONNECTED)
    if not _drop_small(labels, n_pixels):
        msg = (
            'No sources were found. Try lowering the threshold or raising the '
            'false_discovery_rate.'
        )
        warnings.warn(msg, NoDetectionsWarning, stacklevel=4)
        return None
    return SegmentationImage(labels)


def no_segments(shape):
    """
    Return a segmentation image without sources, for an empty catalog.

    Parameters
    ----------
    shape : tuple of 2 int
        The shape of the image.

    Returns
    -------
    segmentation_image : `~photutils.segmentation.SegmentationImage`
        An image without labels.
    """
    from photutils.segmentation import SegmentationImage

    return SegmentationImage(np.zeros(shape, dtype=np.int32))


def check_n_pixels(n_pixels):
    """
    Refuse an invalid number of pixels.

    Parameters
    ----------
    n_pixels : int
        The minimum number of pixels of a segment.

    Returns
    -------
    n_pixels : int
        The same.

    Raises
    ------
    ValueError
        If it is not a positive integer.
    """
    if not (as_number('n_pixels', n_pixels) >= 1 and n_pixels % 1 == 0):
        msg = f'n_pixels must be a positive integer, got {n_pixels}'
        raise ValueError(msg)
    return n_pixels


def detection_mask(
    source,
    probability,
    rms,
    *,
    threshold,
    footprint=None,
    mask=None,
    covariance=None,
):
    """
    Return the pixels that belong to detected sources.

    Parameters
    ----------
    source, probability, rms, threshold, footprint, mask, covariance
        As for `segment`.

    Returns
    -------
    source_mask : 2D `~numpy.ndarray` of bool
        True at pixels of sources; False where ``mask`` is True.

    Raises
    ------
    ValueError
        If ``footprint`` is not a 2D array with a True element.
    """
    peaks = find_peaks(probability, mask, threshold)
    labels = _label_sources(source, peaks, rms, footprint, mask, covariance=covariance)
    return labels > 0


def _label_sources(source, peaks, rms, footprint, mask, width=None, covariance=None):
    """Return the labels of the sources: here alone it is decided what is one."""
    width = width or image_width(source, rms, peaks)
    y, x = peaks['y'], peaks['x']
    hidden_y, hidden_x = find_hidden_cores(source, rms, y, x, width, mask)
    y, x = np.append(y, hidden_y), np.append(x, hidden_x)
    level = footprint_level(width, covariance) * np.asarray(rms)
    region = _source_region(source > level, y, x, footprint, mask)
    if y.size == 0:
        return region.astype(np.int32)
    return deblend_region(region, source, rms, y, x, width=width)


def _source_region(is_seen, y, x, footprint, mask):
    """Return the pixels of all footprints that hold a peak."""
    region = is_seen.copy()
    region[y, x] = True
    parts, n_parts = ndimage.label(region, _EIGHT_CONNECTED)
    has_peak = np.zeros(n_parts + 1, dtype=parts.dtype)
    has_peak[parts[y, x]] = 1
    renumber(parts, has_peak)
    region = parts.astype(bool)
    del parts  # as large as the image
    # Threads and strips of light that is barely seen are not part of what they touch.
    # An opening would take small sources with them.
    near = spread(y, x, _NEAR, region.shape)
    near |= open_disc(region)
    region &= near
    del near
    region |= spread(y, x, _MINIMAL_FOOTPRINT, region.shape)
    if footprint is not None:
        footprint = np.asarray(footprint, dtype=bool)
        if footprint.ndim != 2 or not footprint.any():
            msg = (
                'footprint must be a 2D array with at least one True element, got '
                f'shape {footprint.shape} with {np.count_nonzero(footprint)}'
            )
            raise ValueError(msg)
        region = ndimage.binary_dilation(region, structure=footprint)
    if mask is not None:
        region &= ~mask
    return region


def _drop_small(labels, n_pixels):
    """
    Drop the labels with fewer pixels and number the rest in reading order, in place.

    Return how many these are.
    """
    place = np.flatnonzero(labels)
    label = labels.ravel()[place]
    size = np.bincount(label, minlength=1)
    first = np.zeros(size.size, dtype=np.intp)
    first[label[::-1]] = place[::-1]
    kept = np.flatnonzero(size >= n_pixels)
    new_label = np.zeros(size.size, dtype=np.int32)
    new_label[kept[np.argsort(first[kept])]] = np.arange(1, kept.size + 1)
    renumber(labels, new_label)
    return kept.size
