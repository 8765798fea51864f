"""
The catalog of photutils, with apertures at the positions of the detections.
"""

from datetime import UTC, datetime
from functools import wraps

import numpy as np
from photutils.segmentation import SourceCatalog

from bgrem.detect.batches import Catalog

__all__ = ['DetectionCatalog', 'PlacedCatalog']

# What photutils says of its options in a table, under names that FITS can hold.
_KEYWORDS = {
    'local_bkg_width': 'LOCALBKG',
    'aperture_mask_method': 'APERMASK',
    'kron_params': 'KRONPAR',
}


def _plain_numbers(values):
    """Return a tuple of Python's numbers, whose text is the same for all numpy."""
    return tuple(np.asarray(values).tolist())


def _property(name):
    """Return photutils' property of that name, of the catalog of the apertures."""
    original = vars(SourceCatalog)[name]

    def measure(self):
        return getattr(self.apertures, name)

    measure.__name__, measure.__doc__ = name, original.__doc__
    # of photutils' own kind, so that it is listed, kept and sliced as the others
    return type(original)(measure)


def _error_property(name):
    """Return the same of the error of a flux, with that of the sky beneath it."""
    original = vars(SourceCatalog)[f'{name}_err']

    def measure(self):
        error = getattr(self.apertures, f'{name}_err')
        return error if self.sky is None else np.hypot(error, getattr(self.sky, name))

    measure.__name__, measure.__doc__ = f'{name}_err', original.__doc__
    return type(original)(measure)


def _method(name):
    """Return photutils' method of that name, of the catalog of the apertures."""
    original = getattr(SourceCatalog, name)

    @wraps(original)
    def measure(self, *args, **kwargs):
        return getattr(self.apertures, name)(*args, **kwargs)

    return measure


def _photometry(name):
    """Return a method as `_method` does; what it adds is added here."""
    original = getattr(SourceCatalog, name)

    @wraps(original)
    def measure(self, *args, name=None, overwrite=False, **kwargs):
        result = getattr(self.apertures, original.__name__)(*args, **kwargs)
        if self.sky is not None and isinstance(result, tuple):
            beneath, _ = getattr(self.sky, original.__name__)(*args, **kwargs)
            result = result[0], np.hypot(result[1], beneath)
        if name is not None:
            pairs = [(name, result)]
            if isinstance(result, tuple):
                pairs = zip((f'{name}_flux', f'{name}_flux_err'), result, strict=True)
            for key, values in pairs:
                self.add_property(key, values, overwrite=overwrite)
        return result

    return measure


class DetectionCatalog(Catalog):
    """
    Class for the catalog of the detections of an image.

    Everything is as in photutils, except that Kron and circular apertures, and radii
    measured with them, are centered on the positions ``x`` and ``y`` of the detections
    instead of the isophotal centroids.

    Parameters
    ----------
    data, segmentation_image
        As for `~photutils.segmentation.SourceCatalog`.
    apertures : `~photutils.segmentation.SourceCatalog` or `None`
        The catalog of the same data and segments whose centroids are the positions;
        `None` for the apertures of photutils.
    sky : `~photutils.segmentation.SourceCatalog`, optional
        A catalog of the same segments and positions whose data are the standard error
        of the sky. All pixels of an aperture share this error, so its sum is added to
        the error of a flux.
    **kwargs
        As for `~photutils.segmentation.SourceCatalog`.

    Attributes
    ----------
    provenance : dict
        How the detections were made, under FITS keywords, for `to_table`.
    """

    kron_radius = _property('kron_radius')
    kron_aperture = _property('kron_aperture')
    kron_flux = _property('kron_flux')
    kron_flux_err = _error_property('kron_flux')
    segment_flux_err = _error_property('segment_flux')
    make_kron_apertures = _method('make_kron_apertures')
    plot_kron_apertures = _method('plot_kron_apertures')
    kron_photometry = _photometry('kron_photometry')
    make_circular_apertures = _method('make_circular_apertures')
    plot_circular_apertures = _method('plot_circular_apertures')
    circular_photometry = _photometry('circular_photometry')
    flux_radius = _photometry('flux_radius')
    if 'kron_radius_measured' in vars(SourceCatalog):  # photutils 3.1
        kron_radius_measured = _property('kron_radius_measured')
        flags = _property('flags')

    def __init__(self, data, segmentation_image, *, apertures, sky=None, **kwargs):
        super().__init__(data, segmentation_image, **kwargs)
        self.apertures = apertures
        self.sky = sky
        self.provenance = {}

    def to_table(self, *args, **kwargs):
        """
        Create a table of the sources.

        Parameters
        ----------
        *args, **kwargs
            As for `photutils.segmentation.SourceCatalog.to_table`.

        Returns
        -------
        table : `~astropy.table.QTable`
            The table. Its ``meta`` contains that of `catalog` and how the detections
            were made, under keywords and as values that every file format can hold.
        """
        table = super().to_table(*args, **kwargs)
        table.meta.clear()
        version = self.meta['version']['photutils']
        date = datetime.now(UTC).strftime('%Y-%m-%dT%H:%M:%S')  # as FITS has it
        table.meta.update({'DATE': date, 'PHOTVER': version})
        for name, keyword in _KEYWORDS.items():
            value = self.meta[name]
            is_plain = isinstance(value, (int, str))
            table.meta[keyword] = value if is_plain else str(_plain_numbers(value))
        table.meta.update(self.provenance)
        return table

    def remove_properties(self, names):
        """
        Remove properties that were added, and their columns of the table.

        Parameters
        ----------
        names : list of str or str
            As for `photutils.segmentation.SourceCatalog.remove_properties`.
        """
        super().remove_properties(names)
        gone = [names] if isinstance(names, str) else names
        kept = [name for name in self.default_columns if name not in gone]
        self.default_columns = kept

    def rename_property(self, name, new_name):
        """
        Rename a property that was added, and its column of the table.

        Parameters
        ----------
        name, new_name : str
            As for `photutils.segmentation.SourceCatalog.rename_property`.
        """
        columns = self.default_columns
        super().rename_property(name, new_name)
        renamed = [new_name if column == name else column for column in columns]
        self.default_columns = renamed

    def without_rows(self):
        """
        Return the catalog without any of its sources.

        Returns
        -------
        catalog : `DetectionCatalog`
            A catalog of length 0 with all properties.
        """
        for name in self.properties:
            getattr(self, name)  # of nothing photutils cannot measure it later
        return self[:0]

    def __getitem__(self, index):
        part = super().__getitem__(index)
        part.apertures = self.apertures[index]
        part.sky = None if self.sky is None else self.sky[index]
        part.provenance = self.provenance
        return part


class PlacedCatalog(Catalog):
    """
    Class for the catalog of an image whose centroids are given positions.

    Parameters
    ----------
    data, segmentation_image
        As for `~photutils.segmentation.SourceCatalog`.
    position : 2D `~numpy.ndarray` of float
        ``(x, y)`` of each source in pixels, of shape (n, 2).
    **kwargs
        As for `~photutils.segmentation.SourceCatalog`.
    """

    def __init__(self, data, segmentation_image, *, position, **kwargs):
        super().__init__(data, segmentation_image, **kwargs)
        self.add_property('position', position)

    @property
    def centroid(self):
        """The positions ``(x, y)``."""
        return self.position

    @property
    def x_centroid(self):
        """The positions along x."""
        return self.position[..., 0]

    @property
    def y_centroid(self):
        """The positions along y."""
        return self.position[..., 1]
