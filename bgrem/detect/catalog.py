"""
The catalogue: what is measured of each source, on the unclipped data.
"""

import numpy as np
from astropy import units as u
from photutils.segmentation import SourceCatalog
from photutils.utils import calc_total_error
from scipy import ndimage

from bgrem.detect.growth import light_fraction, star_growth
from bgrem.detect.peaks import find_peaks, peak_widths
from bgrem.detect.window import windowed_positions

__all__ = ['catalog']

# What the table of a catalogue has beside photutils' own columns: positions
# measured on the data, more accurate than the centroids for stars.
_POSITION_COLUMNS = ['x_centroid_win', 'y_centroid_win']

# The half-light radius of a star's window over half the FWHM of its core. Of a
# Gaussian it would be one; light in the wings is worth little to a position.
_WINDOW_RADIUS = 1.15

# What a catalogue with a detection catalogue has from that one.
_SHAPE_OPTIONS = ('wcs', 'kron_params', 'aperture_mask_method')


class _SourceCatalog(SourceCatalog):
    # Windowed positions on the data, with the window of the denoised source. photutils
    # sets it by the half-light radius of the data, which is as noisy as the Kron flux.
    @property
    def centroid_win(self):
        return self.window_centroid

    @property
    def x_centroid_win(self):
        return self.window_centroid[..., 0]

    @property
    def y_centroid_win(self):
        return self.window_centroid[..., 1]


def catalog(
    data,
    segmentation_image,
    *,
    source,
    probability,
    background_rms,
    error=None,
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
    error : 2D `~numpy.ndarray` or `~astropy.units.Quantity`, optional
        The total error of each pixel. Default: ``background_rms``, with
        ``effective_gain``.
    effective_gain : float, 2D array_like or `~astropy.units.Quantity`, optional
        Electrons (or photons) per data unit. If given, the photon noise of
        the sources is added to the errors. A plain number is taken as
        electrons per data unit where ``data`` has a unit.
    aperture_correction : bool, optional
        Whether to add the columns ``total_flux`` and ``total_flux_err``: the Kron
        flux and its error over the part of a star's light in a circle as large as the
        Kron aperture, from the stars of the image (`bgrem.detect.growth.star_growth`).
        NaN, with a warning, where the image has no star for it. Default `False`.
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
    For stars the windowed centroid is the most accurate position. It is
    SourceExtractor's ``XWIN_IMAGE`` (`bgrem.detect.window.windowed_positions`), as in
    photutils, but for its window. There it is set by the half-light radius of the Kron
    aperture on the data, which is noisy, and not finite where the Kron flux is zero or
    noise drives the Kron radius beyond 6. Here it is ``window_radius``: 1.15 times half
    the FWHM of the core of the denoised source (`bgrem.detect.peaks.peak_widths`), or
    the median of the others where a source has none. The isophotal centroid stands in
    its place where it leaves the 1-sigma ellipse of the source, or the image.

    All else is photutils' own: a catalogue of the data whose ``detection_catalog`` is
    that of the denoised image. Kron apertures have the size that they have there; on
    the data it would grow with the noise. photutils 3.1 gives the narrowest sources
    another shape than 3.0 does, and all of them a smaller ``kron_flux_err``, as it
    weighs the variance of a pixel that an aperture cuts by the square of the part;
    ``flux_radius`` is that of the denoised image on 3.0 and that of the data on 3.1.
    """
    if error is None:
        error = _total_error(data, background_rms, effective_gain)
    # Where the denoised image is empty the probability alone gives the
    # position, so that every source has one.
    shape_image = np.maximum(source, 0 * source) + (
        1e-3 * np.maximum(probability, np.finfo(np.float32).tiny) * background_rms
    )
    unusable = ~np.isfinite(data) if mask is None else ~np.isfinite(data) | mask
    # Positions, shapes and Kron apertures of the result are those of this one.
    shapes = kwargs.pop('detection_catalog', None) or _SourceCatalog(
        kwargs.pop('convolved_data', shape_image),
        segmentation_image,
        mask=unusable,
        **{name: kwargs.pop(name) for name in _SHAPE_OPTIONS if name in kwargs},
    )
    result = _SourceCatalog(
        data,
        segmentation_image,
        error=error,
        mask=mask,
        detection_catalog=shapes,
        **kwargs,
    )
    index, labels = segmentation_image.labels, segmentation_image.data
    highest = _highest_probability(index, labels, probability)
    result.add_property('detection_probability', highest)
    radius = _window_radius(index, labels, getattr(shape_image, 'value', shape_image))
    result.add_property('window_radius', radius)
    position = _window_centroid(result, data, labels, ~unusable)
    result.add_property('window_centroid', position)
    if isinstance(shapes, _SourceCatalog):
        shapes.add_property('window_centroid', position, overwrite=True)
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


def _total_error(data, background_rms, effective_gain):
    """Add the photon noise of the sources to that of the sky."""
    if effective_gain is None:
        return background_rms
    unit = getattr(data, 'unit', None)
    if unit is not None and not hasattr(effective_gain, 'unit'):
        effective_gain = effective_gain * u.electron / unit
    if np.ndim(effective_gain) == 0:
        # photutils loses the unit of a scalar on images larger than 181 px
        effective_gain = np.broadcast_to(effective_gain, data.shape, subok=True)
    return calc_total_error(data, background_rms, effective_gain)


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


def _window_centroid(result, data, labels, usable):
    """Return the windowed position of each source, its centroid where it has none."""
    centroid = result.centroid
    windowed = windowed_positions(
        getattr(data, 'value', data),
        labels,
        result.labels,
        centroid,
        result.window_radius,
        usable=usable,
        neighbours=result.aperture_mask_method,
    )
    # As in photutils, what leaves the 1-sigma ellipse is the position of a neighbour.
    dx, dy = (windowed - centroid).T
    cxx, cxy, cyy = (getattr(result, f'ellipse_c{c}').value for c in ('xx', 'xy', 'yy'))
    inside = cxx * dx**2 + cxy * dx * dy + cyy * dy**2 <= 1
    return np.where(inside[:, np.newaxis], windowed, centroid)


def _window_radius(index, labels, image):
    """Return the radius of the window of each segment's position, in pixels."""
    places = ndimage.maximum_position(image, labels, index)
    y, x = np.array(places, dtype=int).reshape(-1, 2).T
    widths = peak_widths(image, 0.0, y, x)
    known = np.isfinite(widths)
    if known.any():
        widths[~known] = np.median(widths[known])
    return _WINDOW_RADIUS * widths / 2
