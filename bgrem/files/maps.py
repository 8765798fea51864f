"""Maps that are written by rows and read in parts, for files of any size."""

import os
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits

from bgrem._extras import import_extra
from bgrem.files.cards import (
    EXTENSION,
    add_history,
    hdu_bytes,
    plain_text,
    product_header,
    provenance_cards,
    table_hdu,
)

__all__ = ['MapsFile', 'ZarrMaps']

_BLOCK = 2880  # bytes of which a FITS file is made
_NO_UNIT = ('PROBABILITY', 'SEGM')  # the maps that are not in that of the image
# Before detections are made, so much is kept free in a header for what is said of them.
_LATER = {'false_discovery': '-' * 300}


class MapsFile:
    """
    A FITS file of maps that are written by rows.

    Parameters
    ----------
    path : path-like
        The file.

    images : list of tuple
        For each image, its rows (from `bgrem.files.rows`), a dict of the dtypes of its
        maps, and a dict that says how these were made.

    is_new : bool, optional
        Whether an existing file is replaced (default) or continued.
    """

    def __init__(self, path, images, *, is_new=True):
        self._path = Path(path)
        self._places, self._images, headers, offset = {}, images, [], 0
        primary = fits.PrimaryHDU(
            header=product_header(images[0][0].image.primary_header)
        )
        primary.header.extend(provenance_cards(images[0][2]), update=True)
        self._headers = {}  # of SCI: where they are, and how long
        for number, (rows, dtypes, meta) in enumerate(
            [(None, {'': None}, None), *images]
        ):
            for name, dtype in dtypes.items():
                hdu = primary if rows is None else _hdu(name, dtype, rows, meta)
                text = _header_bytes(hdu)
                if name == 'SCI' and 'false_discovery_rate' in meta:
                    later = _hdu(name, dtype, rows, {**meta, **_LATER})
                    text = _fill(text, len(_header_bytes(later)))
                    self._headers[number - 1] = offset, len(text)
                headers.append((offset, text))
                offset += len(text)
                if rows is not None:
                    dtype = np.dtype(dtype).newbyteorder('>')
                    self._places[number - 1, name] = offset, dtype, rows.shape
                    n_bytes = rows.shape[0] * rows.shape[1] * dtype.itemsize
                    offset += -(-n_bytes // _BLOCK) * _BLOCK
        self._end = offset
        self._file = self._path.open('wb' if is_new else 'r+b')
        self._file.truncate(offset)
        for place, text in headers if is_new else ():
            self._file.seek(place)
            self._file.write(text)

    def write(self, number, rows, maps):
        """
        Write some rows.

        Parameters
        ----------
        number : int
            The number of the image, from 0.

        rows : slice
            The rows.

        maps : dict of str to 2D `~numpy.ndarray`
            The maps in these rows.
        """
        for name, values in maps.items():
            offset, dtype, shape = self._places[number, name]
            self._file.seek(offset + rows.start * shape[1] * dtype.itemsize)
            self._file.write(np.ascontiguousarray(values, dtype=dtype).data)

    def add_history(self, number, meta):
        """
        Add the results of the detection in an image to the history of its products.

        Parameters
        ----------
        number : int
            The number of the image, from 0.

        meta : dict
            The results.
        """
        rows, dtypes, known = self._images[number]
        hdu = _hdu('SCI', dtypes['SCI'], rows, {**known, **meta})
        place, size = self._headers[number]
        self._file.seek(place)
        self._file.write(_fill(_header_bytes(hdu), size))

    def read(self, number, name, place):
        """
        Read a part of a map.

        Parameters
        ----------
        number : int
            The number of the image, from 0.

        name : str
            The name of the map.

        place : tuple of slice
            The part.

        Returns
        -------
        values : 2D `~numpy.ndarray`
            The values, in native byte order.
        """
        self._file.flush()
        offset, dtype, shape = self._places[number, name]
        # of the file no more stays in memory than what is copied
        values = np.memmap(self._path, dtype, 'r', offset, shape)[place]
        return values.astype(dtype.newbyteorder('='))

    def add_table(self, table, provenance):
        """
        Add a catalog as the last extension, replacing an existing one.

        Parameters
        ----------
        table : `~astropy.table.Table`
            The catalog.

        provenance : dict
            How it was made.
        """
        hdu = table_hdu(table, provenance_cards(provenance))
        self._file.truncate(self._end)
        self._file.seek(self._end)
        self._file.write(hdu_bytes([hdu], extensions=True))

    def save(self):
        """Make sure that all that was written is on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self):
        """Close the file, after all of it is on disk."""
        self.save()
        self._file.close()


def _hdu(name, dtype, rows, meta):
    """Return an HDU without pixels of its own."""
    image = rows.image
    pixels = np.broadcast_to(np.zeros((), dtype=dtype), rows.shape)
    hdu = fits.ImageHDU(pixels, header=product_header(image.header), name=name)
    hdu.header.extend(provenance_cards(meta), update=True)
    if image.n_images > 1:
        hdu.ver = image.number + 1
        hdu.header[EXTENSION] = (plain_text(image.hdu), 'HDU of the input')
    if name in _NO_UNIT:
        hdu.header.remove('BUNIT', ignore_missing=True)
    if name == 'SCI':
        add_history(hdu.header, meta, image)
    return hdu


def _header_bytes(hdu):
    with warnings.catch_warnings():
        # Odd cards of the input header are repaired, or kept as they are.
        warnings.simplefilter('ignore', fits.verify.VerifyWarning)
        hdu.verify('silentfix+ignore')
        return hdu.header.tostring().encode('ascii')


def _fill(text, size):
    """Return the bytes of a header, with blank cards before its end up to a size."""
    if len(text) == size:
        return text
    cards = text.rstrip().removesuffix(b'END')
    return cards.ljust(size - 80) + b'END'.ljust(80)


class ZarrMaps:
    """
    A Zarr group of maps that are written by rows.

    Parameters
    ----------
    path : path-like
        The group.

    images : list of tuple
        As for `MapsFile`. If there are several images, each has a group named by its
        number.

    chunks : tuple of 2 int, optional
        The chunks of the arrays. Default ``(1024, 1024)``.

    is_new : bool, optional
        As for `MapsFile`.
    """

    def __init__(self, path, images, chunks=(1024, 1024), *, is_new=True):
        zarr = import_extra('zarr')

        self._root = root = zarr.open_group(str(path), mode='w' if is_new else 'r+')
        self._groups = []
        if not is_new:
            names = [str(k) for k in range(len(images))]
            self._groups = [root[k] for k in names] if len(images) > 1 else [root]
            return
        for number, (rows, dtypes, meta) in enumerate(images):
            group = root.create_group(str(number)) if len(images) > 1 else root
            group.attrs.update(_plain_attributes(meta))
            group.attrs['header'] = product_header(rows.image.header).tostring('\n')
            for name, dtype in dtypes.items():
                size = [min(n, m) for n, m in zip(chunks, rows.shape, strict=True)]
                group.create_array(name, shape=rows.shape, chunks=size, dtype=dtype)
            self._groups.append(group)

    def write(self, number, rows, maps):
        """Write some rows, as `MapsFile` does."""
        for name, values in maps.items():
            self._groups[number][name][rows] = values

    def add_history(self, number, meta):
        """Add the results of the detection in an image, as `MapsFile` does."""
        self._groups[number].attrs.update(_plain_attributes(meta))

    def read(self, number, name, place):
        """Read a part of a map, as `MapsFile` does."""
        return self._groups[number][name][place]

    def add_table(self, table, provenance):
        """
        Add a catalog, as `MapsFile` does: a group with one array for each column.
        """
        group = self._root.create_group('CATALOG', overwrite=True)
        group.attrs.update(_plain_attributes(provenance))
        group.attrs['columns'] = table.colnames
        for name in table.colnames:
            column = table[name]
            values = np.asarray(getattr(column, 'value', column))
            array = group.create_array(name, data=values)
            if column.unit is not None:
                array.attrs['unit'] = column.unit.to_string()

    def save(self):
        """Do nothing: everything is written immediately."""

    def close(self):
        """Do nothing: there is nothing to close."""


def _plain_attributes(meta):
    """Return what JSON can hold."""
    return {
        name: value if isinstance(value, (int, float, bool)) else str(value)
        for name, value in meta.items()
        if value is not None
    }
