"""
The curve of growth of the stars of an image, for total fluxes.
"""

import math
import warnings

import numpy as np
from astropy.utils.exceptions import AstropyUserWarning
from photutils.profiles import RadialProfile

from bgrem.detect.discovery import SURE, source_width

__all__ = ['N_RADII', 'growth_of', 'light_fraction', 'star_curves', 'star_growth']

# Stars are almost certain, bright, and as wide as the compact sources of the image.
_MIN_SNR = 30.0
_MAX_LOG_WIDTH = 0.2
# The curve ends at that many FWHM. Farther out there is little light of a star, and
# in a denoised image more that is of something else.
_MAX_RADIUS = 3.0
#: The radii of a curve, zero among them.
N_RADII = 25
# A neighbor that was not found, or a galaxy taken for a star, makes a curve rise
# later, never sooner: the quarter that rises soonest is that of the lone stars.
_CONCENTRATION_RADIUS = 1.5
_LONE_FRACTION = 0.25
_MAX_STARS = 200


def star_growth(source, segmentation_image, catalog):
    """
    Measure the curve of growth of the stars of an image.

    Parameters
    ----------
    source : 2D `~numpy.ndarray` of float
        The denoised image.
    segmentation_image : `~photutils.segmentation.SegmentationImage`
        The sources of the image. Pixels of other sources do not count for a star.
    catalog : `~bgrem.detect.sources.DetectionCatalog`
        The catalog of the sources.

    Returns
    -------
    radius, fraction : 1D `~numpy.ndarray` of float
        Radii from 0 to 3 FWHM in pixels, and the fraction of the light within 3 FWHM
        that lies inside each; empty if the image has no suitable star.

    Notes
    -----
    Suitable stars have a probability of at least 0.99, an S/N above 30 in their
    segment, and a width within 20% of `bgrem.detect.discovery.source_width`; the whole
    circle must lie in the image. Of the brightest 200 (or fewer), the quarter with the
    most light within 1.5 FWHM is used, and at each radius the median of these.
    """
    width = source_width(catalog.core_fwhm.value, catalog.detection_probability)
    return growth_of(width, *star_curves(source, segmentation_image, catalog, width))


def star_curves(source, segmentation_image, catalog, width, among=None):
    """
    Measure the curves of growth of the stars of an image, or of a part of one.

    Parameters
    ----------
    source, segmentation_image, catalog
        As for `star_growth`.
    width : float
        The FWHM of the compact sources in pixels; NaN if it is not known.
    among : 1D `~numpy.ndarray` of bool, optional
        Which sources may be stars. Default: all.

    Returns
    -------
    snr : 1D `~numpy.ndarray` of float
        The S/N of the brightest stars in their segments, the highest first.
    curves : 2D `~numpy.ndarray` of float
        The light of each star within each radius of `growth_of`.
    """
    stars, snr = _find_stars(source, catalog, width, among)
    edges = np.linspace(0, _MAX_RADIUS * width, N_RADII)
    curves = [
        _growth(source, segmentation_image.data, catalog.labels[k], position, edges)
        for k, position in zip(
            stars, np.column_stack([catalog.x, catalog.y])[stars], strict=True
        )
    ]
    return snr, np.reshape(curves, (-1, N_RADII))


def growth_of(width, snr, curves):
    """
    Combine the curves of growth of stars into one.

    Parameters
    ----------
    width, snr, curves
        As for and from `star_curves`; for all parts of an image together.

    Returns
    -------
    radius, fraction : 1D `~numpy.ndarray` of float
        As from `star_growth`.
    """
    edges = np.linspace(0, _MAX_RADIUS * width, N_RADII)
    brightest = np.argsort(-snr, kind='stable')[:_MAX_STARS]
    curves = np.array(
        [curve / curve[-1] for curve in curves[brightest] if curve[-1] > 0]
    )
    if curves.size == 0:
        return np.empty(0), np.empty(0)
    inner = curves[:, np.searchsorted(edges, _CONCENTRATION_RADIUS * width)]
    n_lone = math.ceil(_LONE_FRACTION * len(curves))
    lone = np.argsort(-inner, kind='stable')[:n_lone]
    return edges, np.median(curves[lone], axis=0)


def _find_stars(source, catalog, width, among):
    """Return the indices and S/N of the bright stars, the brightest first."""
    last = np.array(source.shape[::-1]) - 1
    position = np.column_stack([catalog.x, catalog.y])
    widths = catalog.core_fwhm.value
    probability = catalog.detection_probability
    to_border = np.minimum(position, last - position)
    with np.errstate(divide='ignore', invalid='ignore'):  # boxes without any noise
        snr = np.array(catalog.segment_flux / catalog.segment_flux_err)
    is_star = (
        (probability >= SURE)
        & (snr > _MIN_SNR)
        & (np.abs(np.log(widths / width)) < _MAX_LOG_WIDTH)
        & (to_border.min(axis=1) > _MAX_RADIUS * width)
    )
    stars = np.flatnonzero(is_star if among is None else is_star & among)
    stars = stars[np.argsort(-snr[stars], kind='stable')][:_MAX_STARS]
    return stars, snr[stars]


def _growth(source, owner, label, position, edges):
    """Return the light of one star within each radius."""
    x, y = position
    margin = math.ceil(edges[-1]) + 1
    row, column = max(round(y) - margin, 0), max(round(x) - margin, 0)
    place = np.s_[row : row + 2 * margin + 1, column : column + 2 * margin + 1]
    others = (owner[place] != 0) & (owner[place] != label)
    profile = RadialProfile(
        source[place], (x - column, y - row), edges, mask=others
    ).profile
    # a ring that is all of others has no light known
    light = np.nan_to_num(profile) * np.pi * np.diff(edges**2)
    return np.concatenate([[0], np.cumsum(light)])


def light_fraction(apertures, radius, fraction):
    """
    Return the fraction of a star's light in apertures.

    Parameters
    ----------
    apertures : sequence of `~photutils.aperture.Aperture` or `None`
        Apertures centered on sources.
    radius, fraction : 1D `~numpy.ndarray` of float
        The curve of growth from `star_growth`.

    Returns
    -------
    fraction : 1D `~numpy.ndarray` of float
        The value of the curve at the radius of a circle of the same area; NaN if
        there is no aperture, or, with a warning, no curve.
    """
    if radius.size == 0:
        warnings.warn(
            'no star in the image is bright enough for an aperture correction',
            AstropyUserWarning,
            stacklevel=5,
        )
        return np.full(len(apertures), np.nan)
    area = [np.nan if aperture is None else aperture.area for aperture in apertures]
    return np.interp(np.sqrt(np.array(area) / np.pi), radius, fraction)
