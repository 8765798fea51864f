"""
The catalog of photutils 3.0, measured in batches.

photutils 3.0 measures the sources one by one, at some milliseconds each; in 3.1, the
loops are compiled. Here the pixels around many sources are in one array. The results
are those of photutils 3.0, except for rounding. Only the slow parts are replaced.
"""

import numpy as np
from astropy import units as u
from astropy.utils import lazyproperty
from photutils.geometry import circular_overlap_grid, elliptical_overlap_grid
from photutils.segmentation import SourceCatalog

from bgrem.detect.late import LateImage, ShapeImage

__all__ = ['BatchedCatalog', 'Catalog']

_KRON_SCALE = 6.0  # of the ellipse in which a Kron radius is measured
_ROUNDING = 1e-12
_MAX_CHUNK = 200_000  # pixels of the windows held at once
_MAX_APERTURE = 1_000_000  # pixels, as photutils has it; or those of the image


class BatchedCatalog(SourceCatalog):
    """
    Class for the catalog of photutils 3.0, measured in batches.

    Parameters
    ----------
    *args, **kwargs
        As for `~photutils.segmentation.SourceCatalog`.
    """

    def _validate_array(self, array, name, *, shape=True):
        # of what is made where it is looked at there is no array
        if isinstance(array, (LateImage, ShapeImage)):
            return array
        return super()._validate_array(array, name, shape=shape)

    @lazyproperty
    def _places(self):
        """The pixels of each segment, by their places in the flat image."""
        if isinstance(self._detection_catalog, BatchedCatalog):
            return self._detection_catalog._places
        labels = self._segmentation_image.data
        place = np.flatnonzero(labels)
        own = labels.ravel()[place]
        order = np.argsort(own, kind='stable')
        index = np.atleast_1d(self.labels)
        first, end = (
            np.searchsorted(own[order], index, side) for side in ('left', 'right')
        )
        place = place[order]
        return [place[i:j] for i, j in zip(first, end, strict=True)]

    @lazyproperty
    def _good_places(self):
        """The same, of those that are not masked."""
        place = np.concatenate(self._places)
        good = np.isfinite(self._data.ravel()[place])
        if self._mask is not None:
            good &= ~self._mask.ravel()[place]
        if good.all():
            return self._places
        ends = np.cumsum([one.size for one in self._places])
        return [
            one[is_good]
            for one, is_good in zip(
                self._places, np.split(good, ends[:-1]), strict=True
            )
        ]

    @lazyproperty
    def _all_masked(self):
        """Whether all pixels of a segment are masked."""
        return np.array([place.size == 0 for place in self._good_places])

    def _values_of(self, image):
        """Return the values of the segments, NaN for those that are all masked."""
        if image is None:
            return self._null_objects
        ends = np.cumsum([place.size for place in self._good_places])
        values = image.ravel()[np.concatenate(self._good_places)]
        return [
            one if one.size else np.array([np.nan])
            for one in np.split(values, ends[:-1])
        ]

    # What follows is soon made again, and would be as large as images.
    @property
    def _data_values(self):
        """The data of each segment."""
        return self._values_of(self._data)

    @property
    def _error_values(self):
        """The error of each segment."""
        return self._values_of(self._error)

    @property
    def _background_values(self):
        """The background of each segment."""
        return self._values_of(self._background)

    @lazyproperty
    def moments(self):
        """Spatial moments up to 3rd order of the source."""
        if self._detection_catalog is not None:
            return self._detection_catalog.moments
        return self._moments(np.zeros((self.n_labels, 2)))

    @lazyproperty
    def moments_central(self):
        """Central moments (translation invariant) of the source up to 3rd order."""
        if self._detection_catalog is not None:
            return self._detection_catalog.moments_central
        moments = self._moments(np.atleast_2d(self.cutout_centroid))
        # of a line of pixels rounding would make what is not positive semidefinite
        across, along = moments[..., 0, 2], moments[..., 2, 0]
        limit = (1 - _ROUNDING) * np.sqrt(across * along)
        moments[..., 1, 1] = np.clip(moments[..., 1, 1], -limit, limit)
        return moments

    def _moments(self, center):
        """Return moments about places ``(x, y)`` of the cutouts."""
        row = np.repeat(np.arange(self.n_labels), [len(one) for one in self._places])
        place = np.concatenate(self._places)
        value = self._convolved_data.ravel()[place].astype(float)
        counts = np.isfinite(value) & (value >= 0)
        if self._mask is not None:
            counts &= ~self._mask.ravel()[place]
        value = np.where(counts, value, 0)
        y, x = np.divmod(place, self._data.shape[1])
        # not rounded in the coordinates of the image: thin sources have no area to lose
        y, x = (
            pixel - np.atleast_1d(first)[row] - center[row, axis]
            for pixel, first, axis in ((y, self.bbox_ymin, 1), (x, self.bbox_xmin, 0))
        )
        of_y, of_x = ([1, one, one * one, one * one * one] for one in (y, x))
        moments = [
            np.bincount(row, value * by_y * by_x, self.n_labels)
            for by_y in of_y
            for by_x in of_x
        ]
        moments = np.transpose(moments).reshape(-1, 4, 4)
        return moments[0] if self.isscalar else moments

    def circular_photometry(self, radius, name=None, overwrite=False):
        """
        Perform circular aperture photometry for each source.

        Parameters
        ----------
        radius, name, overwrite
            As for `~photutils.segmentation.SourceCatalog`.

        Returns
        -------
        flux, flux_err : float or `~numpy.ndarray` of floats
            The aperture fluxes and flux errors; NaN if the centroid is not finite
            or the source is completely masked.
        """
        if radius <= 0:
            msg = 'radius must be > 0'
            raise ValueError(msg)
        x, y = self._x_centroid, self._y_centroid
        shape = np.array([x, y, x * 0 + radius, x * 0 + radius, x * 0])
        fluxes = self._photometry(shape)
        if self._data_unit is not None:
            fluxes = tuple(values << self._data_unit for values in fluxes)
        if self.isscalar:
            fluxes = tuple(values[0] for values in fluxes)
        if name is not None:
            for key, values in zip(('flux', 'flux_err'), fluxes, strict=True):
                self.add_property(f'{name}_{key}', values, overwrite=overwrite)
        return fluxes

    def _calc_kron_photometry(self, *, kron_params=None):
        """Return flux and error in the Kron apertures."""
        if kron_params is None:
            kron_params = self.kron_params
        else:
            kron_params = self._validate_kron_params(kron_params)
        scale = self._calc_kron_radius(kron_params).value * kron_params[0]
        shape = np.array(
            [
                self._x_centroid,
                self._y_centroid,
                *np.atleast_1d(
                    self.semimajor_axis.value * scale, self.semiminor_axis.value * scale
                ),
                np.atleast_1d(self.orientation.to_value('rad')),
            ]
        )
        is_point = (shape[2] == 0) & (shape[3] == 0)
        if is_point.any():
            shape[2:4, is_point] = kron_params[2]
        return self._photometry(shape)

    def _photometry(self, shape):
        """
        Measure in one ellipse for each source.

        Parameters
        ----------
        shape : 2D `~numpy.ndarray` of float
            Center, semiaxes and angle, of shape (5, n).

        Returns
        -------
        flux, flux_err : 1D `~numpy.ndarray` of float
            NaN where the ellipse is not known, or holds nothing that is.
        """
        flux, flux_err = np.full((2, self.n_labels), np.nan)
        boxes, is_held = self._boxes(*shape[:2], *_extent(*shape[2:]))
        is_held &= ~self._all_masked
        images = [np.asarray(self._data)]
        if self._error is not None:
            images.append(self._error)
        for part in _chunks(boxes, shape[:2], np.flatnonzero(is_held)):
            windows = _Windows(self, part, shape[:2, part], boxes[part])
            (light, *noise), good = windows.take(images)
            weights = windows.overlap(shape[2:, part])
            known = np.any(good & (weights > 0), axis=(1, 2))
            total = np.einsum('nij,nij->n', weights, light)
            flux[part] = np.where(known, total, np.nan)
            if noise:
                # an error that is not known counts only within the aperture
                power = np.where(weights > 0, noise[0], 0) ** 2
                total = np.sqrt(np.einsum('nij,nij->n', weights, power))
                flux_err[part] = np.where(known, total, np.nan)
        return flux, flux_err

    @lazyproperty
    def _measured_kron_radius(self):
        """The Kron radius as it is measured, without its least value."""
        if self._detection_catalog is not None:
            return self._detection_catalog._measured_kron_radius
        center = np.array([self._x_centroid, self._y_centroid])
        a, b, theta, *ellipse = (
            np.atleast_1d(values)
            for values in (
                self.semimajor_axis.value * _KRON_SCALE,
                self.semiminor_axis.value * _KRON_SCALE,
                self.orientation.to_value('rad'),
                self.ellipse_cxx.value,
                self.ellipse_cxy.value,
                self.ellipse_cyy.value,
            )
        )
        is_point = (a == 0) & (b == 0)
        least = self.kron_params[2] if len(self.kron_params) == 3 else 0.0
        sides = np.where(is_point, least, (a, b))
        boxes, is_held = self._boxes(*center, *_extent(*sides, theta))
        is_held &= ~self._all_masked & ~(is_point & (least <= 0))
        radius = np.full(self.n_labels, np.nan)
        data = np.asarray(self._data)  # made once, not for each source
        for part in _chunks(boxes, center, np.flatnonzero(is_held)):
            windows = _Windows(self, part, center[:, part], boxes[part])
            (light,), good = windows.take([data], background=False)
            xx, xy, yy = (values[part, None, None] for values in ellipse)
            dx, dy = windows.offset
            distance2 = xx * dx**2 + xy * (dx * dy) + yy * dy**2
            distance = np.sqrt(np.maximum(distance2, 0))
            inside = distance <= _KRON_SCALE
            if (point := is_point[part]).any():
                inside[point] = (dx**2 + dy**2)[point] <= least**2
            light[~(inside & good)] = 0
            total = light.sum(axis=(1, 2))
            moment = np.einsum('nij,nij->n', light, np.where(inside, distance, 0))
            with np.errstate(divide='ignore', invalid='ignore'):
                radius[part] = np.where(
                    (moment > 0) & (total > 0), moment / total, self.kron_params[1]
                )
        return radius

    def flux_radius(self, fraction, name=None, overwrite=False):
        """
        Calculate the circular radius that encloses a fraction of the Kron flux.

        Parameters
        ----------
        fraction, name, overwrite
            As for `~photutils.segmentation.SourceCatalog`.

        Returns
        -------
        radius : float or 1D `~numpy.ndarray`
            The radius; NaN if there is none, or if the Kron flux is 0 or not finite.
        """
        if fraction not in self._flux_radius_cache and 0 < fraction <= 1:
            radius = np.full(self.n_labels, np.nan)
            owner = self if self._detection_catalog is None else self._detection_catalog
            for part, found in owner._pixels_of_radii():
                # some sources at a time: all pixels of theirs are many images
                vars(self)['_flux_radius_optimizer_args'] = found
                radius[part] = u.Quantity(super().flux_radius(fraction)).value
                del self._flux_radius_cache[fraction]
            vars(self).pop('_flux_radius_optimizer_args', None)
            self._flux_radius_cache[fraction] = radius << u.pix
        return super().flux_radius(fraction, name=name, overwrite=overwrite)

    def _pixels_of_radii(self):
        """
        Yield which sources come next, and what photutils looks for their radii in.

        That is a list of their pixels, the grid of these, the flux and the bound.
        """
        kron_flux = self._kron_photometry[:, 0]
        largest = self._max_circular_kron_radius
        center = np.array([self._x_centroid, self._y_centroid])
        boxes, is_held = self._boxes(*center, largest, largest)
        is_held &= np.isfinite(kron_flux) & (kron_flux != 0)
        data = np.asarray(self._data)
        height, width = data.shape
        for part in _chunks(boxes, center, np.flatnonzero(is_held)):
            windows = _Windows(self, part, center[:, part], boxes[part])
            (light,), _ = windows.take([data])
            found = []
            for n, row in enumerate(part):
                left, right, bottom, top = boxes[row]
                left, bottom = max(left, 0), max(bottom, 0)
                right, top = min(right, width), min(top, height)
                first_x, first_y = windows.first[:, n]
                pixels = light[
                    n,
                    bottom - first_y : top - first_y,
                    left - first_x : right - first_x,
                ]
                x, y = center[:, row]
                edges = left - 0.5 - x, right - 0.5 - x, bottom - 0.5 - y, top - 0.5 - y
                grid = (*edges, right - left, top - bottom, 1, 1)
                found.append([pixels.copy(), grid, kron_flux[row], largest[row]])
            yield part, found

    def _boxes(self, x, y, reach_x, reach_y):
        """
        Return the pixels around sources that some apertures can hold.

        Parameters
        ----------
        x, y, reach_x, reach_y : 1D `~numpy.ndarray` of float
            The centers, and how far the apertures reach.

        Returns
        -------
        boxes : 2D `~numpy.ndarray` of int
            First and last but one pixel along x and y, of shape (n, 4).
        is_held : 1D `~numpy.ndarray` of bool
            Whether the box is known, not too large, and overlaps with the image.
        """
        sides = np.array([x - reach_x, x + reach_x, y - reach_y, y + reach_y]) + 0.5
        is_held = np.isfinite(sides).all(axis=0)
        # beyond that no box is held
        limit = 2 * (sum(self._data.shape) + _MAX_APERTURE)
        sides = np.clip(np.where(is_held, sides, 0), -limit, limit)
        sides[::2], sides[1::2] = np.floor(sides[::2]), np.ceil(sides[1::2])
        left, right, bottom, top = boxes = sides.astype(np.int64)
        height, width = self._data.shape
        is_held &= (right > 0) & (left < width) & (top > 0) & (bottom < height)
        n_pixels = (right - left) * (top - bottom)
        is_held &= (n_pixels <= max(self._data.size, _MAX_APERTURE)) & (n_pixels > 0)
        return boxes.T, is_held


class _Windows:
    """
    Windows of one size around the pixels in which sources have their centers.

    Parameters
    ----------
    catalog : `BatchedCatalog`
        The catalog.
    rows : 1D `~numpy.ndarray` of int
        Which of its sources.
    center : 2D `~numpy.ndarray` of float
        Their ``(x, y)``, of shape (2, n).
    boxes : 2D `~numpy.ndarray` of int
        The pixels in use, of shape (n, 4), as `BatchedCatalog._boxes` has them.
    """

    def __init__(self, catalog, rows, center, boxes):
        self._catalog, self._rows, self._boxes = catalog, rows, boxes
        # photutils mirrors at this pixel
        middle = np.trunc(center + 0.5).astype(np.int64)
        reach = _reach(boxes, middle).max(axis=0)
        self.first = middle - reach[:, np.newaxis]
        pixels, inside = [], []
        for axis in (0, 1):
            place = self.first[axis, :, np.newaxis] + np.arange(2 * reach[axis] + 1)
            size = catalog._data.shape[1 - axis]
            lowest, highest = boxes[:, 2 * axis], boxes[:, 2 * axis + 1]
            inside.append(
                (place >= np.maximum(lowest, 0)[:, np.newaxis])
                & (place < np.minimum(highest, size)[:, np.newaxis])
            )
            pixels.append(np.clip(place, 0, size - 1))
            pixels[axis] = pixels[axis] * (catalog._data.shape[1] if axis else 1)
            self.offset = (*getattr(self, 'offset', ()), place - center[axis, :, None])
        dx, dy = self.offset
        self.offset = dx[:, np.newaxis, :], dy[:, :, np.newaxis]
        self._pixels = pixels[1][:, :, np.newaxis] + pixels[0][:, np.newaxis, :]
        self._inside = inside[1][:, :, np.newaxis] & inside[0][:, np.newaxis, :]

    def take(self, images, *, background=True):
        """
        Return the pixels of images without those of neighbors.

        Parameters
        ----------
        images : list of 2D `~numpy.ndarray`
            The data, and others that are treated alike.
        background : bool, optional
            Whether the local background of the sources is taken off the data.

        Returns
        -------
        windows : list of 3D `~numpy.ndarray` of float64
            One for each image, of shape (n, height, width); 0 where it is not good.
        good : 3D `~numpy.ndarray` of bool
            `True` at pixels that count.
        """
        catalog = self._catalog
        windows = [image.ravel()[self._pixels].astype(float) for image in images]
        good = self._inside & np.isfinite(windows[0])
        if catalog._mask is not None:
            good &= ~catalog._mask.ravel()[self._pixels]
        if background and catalog.local_bkg_width:
            windows[0] -= catalog._local_background[self._rows, None, None]
        method = catalog.aperture_mask_method
        if method != 'none':
            owner = catalog._segmentation_image.data.ravel()[self._pixels]
            labels = np.atleast_1d(catalog.labels)[self._rows, None, None]
            other = (owner != 0) & (owner != labels)
            if method == 'mask':
                good &= ~other
            else:
                # the pixel opposite, if it is the source's own or nobody's
                mirrored = (good & ~other)[:, ::-1, ::-1]
                for window in windows:
                    opposite = np.where(mirrored, window[:, ::-1, ::-1], 0)
                    window[...] = np.where(other, opposite, window)
        for window in windows:
            window[~good] = 0
        return windows, good

    def overlap(self, shapes):
        """Return what part of each pixel lies in ellipses, of shape (3, n)."""
        weights = np.zeros(self._pixels.shape)
        left, _, bottom, _ = self._boxes.T
        width, height = np.diff(self._boxes)[:, ::2].T
        x, y = left - self.first[0], bottom - self.first[1]
        first_x = self.offset[0][np.arange(len(x)), 0, x] - 0.5
        first_y = self.offset[1][np.arange(len(y)), y, 0] - 0.5
        columns = x, y, width, height, first_x, first_y, *shapes
        rows = zip(*(values.tolist() for values in columns), strict=True)
        for weight, (i, j, nx, ny, x0, y0, a, b, theta) in zip(
            weights, rows, strict=True
        ):
            edges = x0, x0 + nx, y0, y0 + ny, nx, ny
            weight[j : j + ny, i : i + nx] = (
                circular_overlap_grid(*edges, a, 1, 1)
                if a == b
                else elliptical_overlap_grid(*edges, a, b, theta, 1, 1)
            )
        return weights


def _extent(a, b, theta):
    """Return how far ellipses reach along x and y."""
    cos, sin = np.cos(theta), np.sin(theta)
    return np.hypot(a * cos, b * sin), np.hypot(a * sin, b * cos)


def _reach(boxes, middle):
    """Return how far boxes reach from some pixels, of shape (n, 2)."""
    first, last = boxes[:, ::2], boxes[:, 1::2] - 1
    return np.maximum(middle.T - first, last - middle.T)


def _chunks(boxes, center, rows):
    """Yield which sources have windows of about one size, the largest first."""
    middle = np.trunc(np.nan_to_num(center[:, rows]) + 0.5).astype(np.int64)
    sides = 2 * _reach(boxes[rows], middle).max(axis=1) + 1
    order = np.argsort(sides, kind='stable')
    while order.size:
        n = max(1, int(_MAX_CHUNK // sides[order[-1]] ** 2))
        yield rows[order[-n:]]
        order = order[:-n]


#: The catalog of the installed photutils, of which 3.1 has batches of its own.
Catalog = (
    SourceCatalog if 'kron_radius_measured' in vars(SourceCatalog) else BatchedCatalog
)
