"""
The positions at which a catalog measures, and the properties of the image they need.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.coordinates import ConvertError
from photutils.utils import calc_total_error

from bgrem.detect.batches import Catalog
from bgrem.detect.late import ShapeImage
from bgrem.detect.positions import find_cores, measure_positions
from bgrem.detect.sources import DetectionCatalog, PlacedCatalog

__all__ = ['Sources', 'WholeImage', 'not_infinite', 'plain', 'total_error']

# What a catalog with a detection catalog has from that one.
_SHAPE_OPTIONS = ('wcs', 'kron_params', 'aperture_mask_method')


class WholeImage(NamedTuple):
    """
    The properties of a whole image that measurements in a part of it use.

    Parameters
    ----------
    width : float
        The FWHM of the compact sources, from `bgrem.detect.positions.typical_width`.
    covariance : 2D `~numpy.ndarray` or `None`
        That of the noise, from `bgrem.detect.positions.noise_around`.
    growth : tuple of 2 `~numpy.ndarray`, optional
        The curve of growth of the stars, from `bgrem.detect.growth.growth_of`.
    """

    width: float
    covariance: np.ndarray | None
    growth: tuple = ()


class Sources:
    """
    The sources of an image and their positions.

    Parameters
    ----------
    data, segmentation_image, source, probability, background_rms
        As for `bgrem.detect.catalog.catalog`.
    error, effective_gain, mask, whole
        As for `bgrem.detect.catalog.catalog`.
    options : dict
        Passed to `~photutils.segmentation.SourceCatalog`. Options of shapes and
        apertures are removed from it.

    Attributes
    ----------
    data : 2D `~numpy.ndarray` or `~astropy.units.Quantity`
        The image, without infinities.
    source, noise, error : 2D `~numpy.ndarray`
        The denoised image, the noise of the sky and the total error, without units.
    unusable : 2D `~numpy.ndarray` of bool
        `True` at pixels to exclude.
    """

    def __init__(
        self,
        data,
        segmentation_image,
        *,
        source,
        probability,
        background_rms,
        error,
        effective_gain,
        mask,
        whole,
        options,
    ):
        self.data = data = not_infinite(data)
        if error is None:
            error = total_error(data, background_rms, effective_gain)
        unusable = ~np.isfinite(data)
        if mask is not None:
            unusable |= mask
            # one of both is enough
            unusable = mask if np.array_equal(mask, unusable) else unusable
        self.unusable = unusable
        self._shape_image = options.pop('convolved_data', None)
        if self._shape_image is None:
            self._shape_image = ShapeImage(
                *map(plain, (source, probability, background_rms)),
                getattr(source, 'unit', None),
            )
        self._given = options.pop('detection_catalog', None)
        names = [name for name in _SHAPE_OPTIONS if name in options]
        self._options = {name: options.pop(name) for name in names}
        self._options['mask'] = unusable
        self._image = data, error, mask
        self._segments, self._probability = segmentation_image, probability
        self._whole = whole
        self.source, self.noise, self.error = map(
            plain, (source, background_rms, error)
        )

    @cached_property
    def shapes(self):
        """The catalog of the denoised image (`bgrem.detect.batches.Catalog`)."""
        return self._given or Catalog(
            self._shape_image, self._segments, **self._options
        )

    @cached_property
    def cores(self):
        """The starting points of the positions (`bgrem.detect.positions.Cores`)."""
        return find_cores(
            self._segments,
            self.shapes.centroid,
            source=np.where(self.unusable, 0, self.source),
            probability=self._probability,
        )

    @cached_property
    def positions(self):
        """The positions of the sources (`bgrem.detect.positions.Positions`)."""
        return measure_positions(
            plain(self.data),
            self._segments,
            self.shapes.centroid,
            source=self.source,
            probability=self._probability,
            noise=self.noise,
            error=self.error,
            usable=~self.unusable,
            neighbours=self.shapes.aperture_mask_method,
            whole=self._whole,
        )

    @cached_property
    def places(self):
        """The catalog with these positions as centroids, and thus its apertures."""
        return self._given or PlacedCatalog(
            self._shape_image,
            self._segments,
            position=self.positions.position,
            **self._options,
        )

    def catalog(self, measured=None, sky_error=None, **kwargs):
        """
        Return the catalog of an image at these positions.

        Parameters
        ----------
        measured : tuple of 3, optional
            As for `bgrem.detect.catalog.catalog`. Default: the image itself.
        sky_error : 2D `~numpy.ndarray` or `~astropy.units.Quantity`, optional
            As for `bgrem.detect.catalog.catalog`.
        **kwargs
            Passed to `~photutils.segmentation.SourceCatalog`.

        Returns
        -------
        catalog : `~bgrem.detect.sources.DetectionCatalog`
            The catalog, with the positions.
        """
        data, error, mask = measured or self._image
        kwargs = {'error': error, 'mask': mask, **kwargs}
        apertures = Catalog(
            data, self._segments, detection_catalog=self.places, **kwargs
        )
        sky = sky_error
        if sky is not None:
            sky = Catalog(sky, self._segments, detection_catalog=self.places, mask=mask)
        result = DetectionCatalog(
            data,
            self._segments,
            detection_catalog=self.shapes,
            apertures=apertures,
            sky=sky,
            **kwargs,
        )
        _add_positions(result, self.positions)
        return result


def _add_positions(result, positions):
    """Add where the sources are, and how sure and how wide."""
    x, y = positions.position.T
    x_err, y_err = positions.error.T
    columns = {'x': x, 'y': y, 'x_err': x_err, 'y_err': y_err}
    columns |= _sky_coordinates(result.wcs, x, y)
    columns['detection_probability'] = positions.probability
    columns['core_fwhm'] = positions.core_fwhm << u.pix
    for name, values in columns.items():
        result.add_property(name, values)


def _sky_coordinates(wcs, x, y):
    """Return ICRS coordinates, if there are any."""
    if wcs is None:
        return {}
    try:
        sky = wcs.pixel_to_world(x, y).icrs
    except ConvertError:  # the frame has no place on the sky, as that of a planet
        return {}
    return {
        'ra': sky.ra.to(u.deg).view(u.Quantity),
        'dec': sky.dec.to(u.deg).view(u.Quantity),
    }


def not_infinite(values):
    """
    Replace infinity by NaN; photutils would warn of infinity times 0.
    """
    infinite = np.isinf(plain(values))
    return np.where(infinite, np.nan, values) if infinite.any() else values


def plain(values):
    """
    Return values without their unit.
    """
    return getattr(values, 'value', values)


def total_error(data, background_rms, effective_gain):
    """
    Add the photon noise of the sources to that of the sky.

    Parameters
    ----------
    data, background_rms, effective_gain
        As for `bgrem.detect.catalog.catalog`.

    Returns
    -------
    error : 2D `~numpy.ndarray` or `~astropy.units.Quantity`
        The total error of each pixel.
    """
    if effective_gain is None:
        return background_rms
    unit = getattr(data, 'unit', None)
    if unit is not None and not hasattr(effective_gain, 'unit'):
        effective_gain = effective_gain * u.electron / unit
    if np.ndim(effective_gain) == 0:
        # photutils loses the unit of a scalar on images larger than 181 px
        effective_gain = np.broadcast_to(effective_gain, data.shape, subok=True)
    error = calc_total_error(data, background_rms, effective_gain)
    # of photutils the square root of a square, for it another unit
    return error if unit is None else error.to(unit)
