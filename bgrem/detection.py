"""
From the probability map to peaks, masks, segments and a catalogue.

The peaks of the probability are the detections; the denoised image says which
pixels belong to them; fluxes are measured on the unclipped data.
"""

import warnings
from copy import copy

import numpy as np
from astropy import units as u
from astropy.utils import lazyproperty
from photutils.segmentation import SegmentationImage, SourceCatalog
from photutils.utils import calc_total_error
from photutils.utils.exceptions import NoDetectionsWarning
from scipy import ndimage

from bgrem.deblend import deblend_region
from bgrem.discovery import peak_widths
from bgrem.growth import light_fraction, star_growth

__all__ = [
    'MIN_PROBABILITY',
    'catalog',
    'detection_mask',
    'find_peaks',
    'segment',
]

# Peaks below this are not worth listing: they could only matter for a false
# discovery rate close to one.
MIN_PROBABILITY = 0.01

# Surface brightness, in units of the pixel noise, down to which a pixel of
# the denoised image belongs to its source. The denoised image has almost no
# noise, so this can be far below the 1.5 to 3 usual on raw images.
_FOOTPRINT_SIGMA = 0.5

# Every detection owns at least these pixels, also where the denoised image
# has nothing: the probability finds fainter sources than the image shows.
_MINIMAL_FOOTPRINT = ndimage.generate_binary_structure(2, 1)
_EIGHT_CONNECTED = ndimage.generate_binary_structure(2, 2)

# What the table of a catalogue has beside photutils' own columns: positions
# measured on the data, more accurate than the centroids for stars.
_POSITION_COLUMNS = ['x_centroid_win', 'y_centroid_win']

# The half-light radius of a star's window over half the FWHM of its core. Of a
# Gaussian it would be one; light in the wings is worth little to a position.
_WINDOW_RADIUS = 1.15


def find_peaks(probability, mask=None, min_probability=MIN_PROBABILITY):
    """
    Find the local maxima of a probability map.

    Parameters
    ----------
    probability : 2D `~numpy.ndarray` of float
        Detection probability per pixel.
    mask : 2D `~numpy.ndarray` of bool, optional
        True where no peak may lie. Masked pixels do not hide a peak beside
        them either. NaN pixels are masked.
    min_probability : float, optional
        Peaks below it are not listed.

    Returns
    -------
    peaks : structured `~numpy.ndarray`
        One row per peak, the most probable first, with the fields ``y`` and
        ``x`` (int64, the peak pixel), ``y_center`` and ``x_center`` (float64,
        refined to a fraction of a pixel) and ``probability`` (float32).

    Notes
    -----
    A peak is a pixel not below any of its 8 neighbours; of a plateau only the
    pixel nearest its centre of mass is listed. Peaks on the border count.
    The refined centre is the vertex of the parabola through the logarithm of
    three pixels on each axis, exact for a Gaussian blob; it is at most half
    a pixel away from the peak pixel, and stays on it along an axis on which a
    neighbour is missing.
    """
    values = np.where(np.isnan(probability), -np.inf, probability)
    if mask is not None:
        values = np.where(mask, -np.inf, values)
    y, x = _local_maxima(values, min_probability)
    order = np.argsort(-values[y, x], kind='stable')
    y, x = y[order], x[order]

    peaks = np.empty(
        y.size,
        dtype=[
            ('y', np.int64),
            ('x', np.int64),
            ('y_center', np.float64),
            ('x_center', np.float64),
            ('probability', np.float32),
        ],
    )
    peaks['y'], peaks['x'], peaks['probability'] = y, x, values[y, x]
    padded = np.pad(values, 1, constant_values=-np.inf)
    peaks['y_center'] = y + _vertex(padded, y, x, axis=0)
    peaks['x_center'] = x + _vertex(padded, y, x, axis=1)
    return peaks


def _local_maxima(values, minimum):
    """Return y and x of the 3x3 maxima of an image, one for each plateau."""
    highest = ndimage.maximum_filter(values, size=3, mode='constant', cval=-np.inf)
    is_peak = (values == highest) & (values >= minimum) & (values > -np.inf)
    labels, n_labels = ndimage.label(is_peak, structure=_EIGHT_CONNECTED)
    y, x = np.nonzero(is_peak)
    label = labels[y, x]
    size = np.bincount(label, minlength=n_labels + 1)
    # Part of a plateau can look like a peak where another part touches higher
    # ground: such a plateau has a pixel that no longer equals its maximum.
    shoulder = ndimage.maximum_filter(
        np.where(is_peak, -np.inf, values), size=3, mode='constant', cval=-np.inf
    )
    rejected = np.zeros(n_labels + 1, dtype=bool)
    rejected[label[shoulder[y, x] == values[y, x]]] = True

    center_y = np.bincount(label, y, n_labels + 1) / np.maximum(size, 1)
    center_x = np.bincount(label, x, n_labels + 1) / np.maximum(size, 1)
    distance = np.hypot(y - center_y[label], x - center_x[label])
    order = np.lexsort((x, y, distance, label))
    _, first = np.unique(label[order], return_index=True)
    nearest = order[first]
    nearest = np.sort(nearest[~rejected[label[nearest]]])
    return y[nearest], x[nearest]


def _vertex(padded, y, x, axis):
    """Return the offset of the parabola's vertex from the pixels (y, x)."""
    dy, dx = (1, 0) if axis == 0 else (0, 1)
    tiny = np.finfo(np.float32).tiny
    values = np.stack([padded[y + 1 + k * dy, x + 1 + k * dx] for k in (-1, 0, 1)])
    left, middle, right = np.log(np.maximum(values, tiny).astype(float))
    curvature = left - 2 * middle + right
    usable = np.isfinite(values).all(axis=0) & (curvature < 0)
    return np.where(usable, (left - right) / np.where(usable, 2 * curvature, 1), 0.0)


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
        Noise of the observed image, unit of ``source``.
    threshold : float
        Peaks of the probability at or above it are detections.
    n_pixels : int, optional
        Smaller segments are dropped. Every detection has at least a
        plus-shaped footprint of 5 pixels (fewer at borders, masked pixels and
        neighbours).
    deblend : bool, optional
        If True, segments that touch are divided: by a watershed of
        ``source`` from the peaks, after which faint sources give back what
        they have cut off the wings of brighter ones. If False they share one
        label.
    footprint : 2D array_like of bool, optional
        Structuring element by which the footprints are widened.
    mask : 2D `~numpy.ndarray` of bool, optional
        True where no segment may lie.

    Returns
    -------
    segmentation_image : `~photutils.segmentation.SegmentationImage` or `None`
        `None`, with a `~photutils.utils.exceptions.NoDetectionsWarning`, if
        nothing is found. The labels run from 1 without gaps.

    Raises
    ------
    ValueError
        If ``n_pixels`` is not a positive integer, or ``footprint`` not a 2D array
        with a True element.
    """
    if not (n_pixels >= 1 and n_pixels % 1 == 0):
        msg = f'n_pixels must be a positive integer, got {n_pixels}'
        raise ValueError(msg)
    peaks = find_peaks(probability, mask, threshold)
    region = _source_region(source, peaks, rms, footprint, mask)
    labels, _ = ndimage.label(region, structure=_EIGHT_CONNECTED)
    if deblend and peaks.size:
        labels = deblend_region(region, source, peaks['y'], peaks['x'])
    labels = _drop_small(labels, n_pixels)
    if not labels.any():
        msg = (
            'No sources were found. Try lowering the threshold or raising the '
            'false_discovery_rate.'
        )
        warnings.warn(msg, NoDetectionsWarning, stacklevel=2)
        return None
    return SegmentationImage(labels)


def detection_mask(source, probability, rms, *, threshold, footprint=None, mask=None):
    """
    Return the pixels that belong to detected sources.

    Parameters
    ----------
    source, probability, rms, threshold, footprint, mask
        As for `segment`.

    Returns
    -------
    source_mask : 2D `~numpy.ndarray` of bool
        True on source pixels; nowhere True where ``mask`` is.

    Raises
    ------
    ValueError
        If ``footprint`` is not a 2D array with a True element.
    """
    peaks = find_peaks(probability, mask, threshold)
    return _source_region(source, peaks, rms, footprint, mask)


def _source_region(source, peaks, rms, footprint, mask):
    """Return the pixels of all footprints that hold a peak."""
    markers = np.zeros(source.shape, dtype=bool)
    markers[peaks['y'], peaks['x']] = True
    bright = source > _FOOTPRINT_SIGMA * np.asarray(rms)
    region = ndimage.binary_propagation(
        markers, structure=_EIGHT_CONNECTED, mask=bright | markers
    )
    region |= ndimage.binary_dilation(markers, structure=_MINIMAL_FOOTPRINT)
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
    """Drop the labels with fewer pixels and close the gaps in the numbering."""
    size = np.bincount(labels.ravel())
    size[0] = 0
    kept = size >= n_pixels
    new_label = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return new_label[labels]


class _SourceCatalog(SourceCatalog):
    # photutils sets the window by the half-light radius of the data, which is as noisy
    # as the Kron flux, and leaves NaN where that is zero or its radius without bounds.
    @lazyproperty
    def centroid_win(self):
        windowing = copy(self)
        radius = self.window_radius * u.pix
        windowing.flux_radius = lambda _: radius
        windowed = super(_SourceCatalog, windowing).centroid_win
        return np.where(np.isfinite(windowed), windowed, self.centroid)

    # Of the data it would be larger where the noise is high, and the flux with it.
    @lazyproperty
    def _measured_kron_radius(self):
        measuring = copy(self)
        measuring._data = self._convolved_data
        return super(_SourceCatalog, measuring)._measured_kron_radius


def catalog(
    data,
    segmentation_image,
    *,
    source,
    probability,
    background_rms,
    effective_gain=None,
    aperture_correction=False,
    mask=None,
    **kwargs,
):
    """
    Measure the detected sources on the unclipped data.

    Parameters
    ----------
    data : 2D `~numpy.ndarray` or `~astropy.units.Quantity`
        The background-subtracted image, negative pixels and all.
    segmentation_image : `~photutils.segmentation.SegmentationImage`
        One label per source.
    source : 2D `~numpy.ndarray` or `~astropy.units.Quantity`
        The denoised image. Positions, shapes and the sizes of the Kron apertures
        are measured on it, fluxes are not.
    probability : 2D `~numpy.ndarray` of float
        Calibrated detection probability.
    background_rms : 2D `~numpy.ndarray` or `~astropy.units.Quantity`
        Noise of the sky.
    effective_gain : float, 2D array_like or `~astropy.units.Quantity`, optional
        Electrons (or photons) per data unit. If given, the photon noise of
        the sources is added to the errors. A plain number is taken as
        electrons per data unit where ``data`` has a unit.
    aperture_correction : bool, optional
        Whether to add the columns ``total_flux`` and ``total_flux_err``: the Kron
        flux and its error over the part of a star's light in a circle as large as the
        Kron aperture, from the stars of the image (`bgrem.growth.star_growth`). NaN,
        with a warning, where the image has no star for it. Default `False`.
    mask : 2D `~numpy.ndarray` of bool, optional
        True on pixels to leave out of every measurement.
    **kwargs
        Passed to `~photutils.segmentation.SourceCatalog`: ``wcs``,
        ``local_bkg_width``, ``kron_params``, ...

    Returns
    -------
    catalog : `~photutils.segmentation.SourceCatalog`
        With the additional properties, and table columns,
        ``detection_probability``, the highest peak of the probability in each
        segment. The table also has ``x_centroid_win`` and ``y_centroid_win``,
        the windowed centroids measured on ``data``. They are finite wherever
        the centroid is, which photutils alone does not promise (see Notes).

    Notes
    -----
    For stars the windowed centroid is the most accurate position. It is that of
    `~photutils.segmentation.SourceCatalog`, SourceExtractor's ``XWIN_IMAGE``, but for
    its window. There it is set by the half-light radius of the Kron aperture on the
    data, which is noisy, and not finite where the Kron flux is zero or noise
    drives the Kron radius beyond 6. Here it is ``window_radius``: 1.15 times half
    the FWHM of the core of the denoised source (`bgrem.discovery.peak_widths`), or
    the median of the others where a source has none. photutils itself puts the
    isophotal centroid in its place where it leaves the 1-sigma ellipse of the source,
    or the image.

    Kron apertures have the size that they would have on the denoised image; photutils
    sets it on the data, where it grows with the noise.
    """
    error = background_rms
    if effective_gain is not None:
        unit = getattr(data, 'unit', None)
        if unit is not None and not hasattr(effective_gain, 'unit'):
            effective_gain = effective_gain * u.electron / unit
        error = calc_total_error(data, background_rms, effective_gain)
    # Where the denoised image is empty the probability alone gives the
    # position, so that every source has one.
    shape_image = np.maximum(source, 0 * source) + (
        1e-3 * np.maximum(probability, np.finfo(np.float32).tiny) * background_rms
    )
    result = _SourceCatalog(
        data,
        segmentation_image,
        error=error,
        mask=mask,
        **{'convolved_data': shape_image, **kwargs},
    )
    index, labels = segmentation_image.labels, segmentation_image.data
    highest = _highest_probability(index, labels, probability)
    result.add_property('detection_probability', highest)
    radius = _window_radius(index, labels, getattr(shape_image, 'value', shape_image))
    result.add_property('window_radius', radius)
    after = result.default_columns.index('y_centroid') + 1
    result.default_columns = [
        *result.default_columns[:after],
        *_POSITION_COLUMNS,
        *result.default_columns[after:],
        'detection_probability',
    ]
    if aperture_correction:
        plain = getattr(source, 'value', source)
        growth = star_growth(plain, segmentation_image, result)
        fraction = light_fraction(result.kron_aperture, *growth)
        for name in ('flux', 'flux_err'):
            result.add_property(
                f'total_{name}', getattr(result, f'kron_{name}') / fraction
            )
            result.default_columns.append(f'total_{name}')
    return result


def _highest_probability(index, labels, probability):
    """Return the highest peak in each segment, or else its highest pixel."""
    values = ndimage.maximum(probability, labels, index).astype(np.float32)
    # A segment can hold the flank of a neighbour's higher peak. Of its own peaks the
    # most probable comes first.
    peaks = find_peaks(probability, min_probability=np.finfo(np.float32).tiny)
    found, first = np.unique(labels[peaks['y'], peaks['x']], return_index=True)
    inside = found > 0
    rows = np.searchsorted(index, found[inside])
    values[rows] = peaks['probability'][first[inside]]
    return values


def _window_radius(index, labels, image):
    """Return the radius of the window of each segment's position, in pixels."""
    places = ndimage.maximum_position(image, labels, index)
    y, x = np.array(places, dtype=int).reshape(-1, 2).T
    widths = peak_widths(image, 0.0, y, x)
    known = np.isfinite(widths)
    if known.any():
        widths[~known] = np.median(widths[known])
    return _WINDOW_RADIUS * widths / 2
