"""Read the products of an image back from their file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bgrem.files.cards import header_provenance
from bgrem.files.io import read_hdu, read_pixels
from bgrem.files.opening import fits_errors, open_fits
from bgrem.files.products import Products

__all__ = ['StoredBackground', 'read_products']

_MAPS = ('BACKGROUND', 'BACKGROUND_RMS', 'SOURCE')


@dataclass(frozen=True, eq=False)
class StoredBackground:
    """
    The part of a `~bgrem.DiffusionBackground` that is stored in a file.

    Parameters
    ----------
    subtracted : 2D `~numpy.ndarray` or `~astropy.units.Quantity`
        The data without their sky.
    background, background_rms, source : 2D `~numpy.ndarray` or Quantity
        The sky, its noise and the sources.
    meta : dict
        How they were made.
    """

    subtracted: object
    background: object
    background_rms: object
    source: object
    meta: dict

    def subtract(self):
        """
        Return the data without their sky.

        Returns
        -------
        image : 2D `~numpy.ndarray` or `~astropy.units.Quantity`
            The data as in the file.
        """
        return self.subtracted

    @property
    def background_median(self):
        """The median of the boxes of the sky, or else of its map."""
        return self._median('background')

    @property
    def background_rms_median(self):
        """The median of the boxes of the noise, or else of its map."""
        return self._median('background_rms')

    def _median(self, name):
        values = getattr(self, name)
        known = self.meta.get(f'{name}_median')
        if known is None:
            return np.median(values)
        unit = getattr(values, 'unit', None)
        return known if unit is None else known << unit


def read_products(path):
    """
    Read the products that `bgrem.files.products.write_products` wrote.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    products : list of `bgrem.files.products.Products`
        The products of each image, with a `StoredBackground`, the labels of the
        segments as a 2D array, and no catalog. Empty if the file is of another kind.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    MemoryError
        If an image does not fit in memory.
    ValueError
        If the file is not FITS or is damaged.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        with fits_errors(path, 'cannot be read'):
            places = _find_products(hdus)
        return [
            _read_one(hdus, path, place, number, len(places))
            for number, place in enumerate(places)
        ]


def _find_products(hdus):
    """Return for each image the numbers of its HDUs by name."""
    found = {}
    for index, hdu in enumerate(hdus):
        if 'BGREMVER' in hdu.header:
            found.setdefault(hdu.ver, {}).setdefault(hdu.name, index)
    needed = {'SCI', 'SEGM', *_MAPS}
    return [place for place in found.values() if needed <= set(place)]


def _read_one(hdus, path, place, number, n_images):
    image = read_hdu(hdus, path, place['SCI'], number=number, n_images=n_images)
    pixels = {
        name: read_pixels(hdus, path, place[name])[0] for name in (*_MAPS, 'SEGM')
    }
    labels = pixels.pop('SEGM')
    for name, values in [*pixels.items(), ('SEGM', labels)]:
        if values.shape != image.data.shape:
            msg = (
                f'{path} must have SCI and {name} of the same shape, got '
                f'{image.data.shape} and {values.shape}'
            )
            raise ValueError(msg)
    if labels.dtype.kind not in 'iu':
        msg = f'{path} must have whole numbers in SEGM, got {labels.dtype}'
        raise ValueError(msg)
    maps = [image.data, *pixels.values()]
    if image.unit is not None:
        maps = [values << image.unit for values in maps]
    background = StoredBackground(*maps, header_provenance(image.header))
    return Products(background, image, labels)
