"""Images read and written some rows at a time, for files larger than the memory."""

import bz2
import gzip
import lzma
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits

from bgrem.files.cards import (
    EXTENSION,
    add_history,
    plain_text,
    product_header,
    provenance_cards,
)
from bgrem.files.hdus import hdu_name, image_indices, map_index
from bgrem.files.io import FitsImage, readable_header
from bgrem.files.opening import check_size, fits_errors, open_fits

__all__ = ['FitsRows', 'MapsFile', 'ZarrMaps', 'ZarrRows', 'open_mask', 'open_rows']

ZARR_ENDING = '.zarr'
_OPENERS = {'.gz': gzip.open, '.bz2': bz2.open, '.xz': lzma.open}
_BLOCK = 2880  # bytes of which a FITS file is made


class FitsRows:
    """
    A two-dimensional image of a FITS file, read by rows.

    Parameters
    ----------
    path : `~pathlib.Path`
        The file.

    index : int
        The number of the HDU.

    plane : tuple of int or `None`, optional
        As for `bgrem.files.io.read_images`.

    content : `~pathlib.Path`, optional
        Where the file is unpacked. Default: ``path``.

    **place
        As for `bgrem.files.io.read_hdu`.

    Attributes
    ----------
    image : `bgrem.files.io.FitsImage`
        What describes it, without the pixels.
    shape : tuple of 2 int
        Its shape.
    dtype : `~numpy.dtype`
        That of the pixels.
    """

    def __init__(self, path, index, plane=None, content=None, **place):
        self._path, self._index = Path(path), index
        self._hdus = open_fits(content or path)
        hdu, name = self._hdus[index], hdu_name(self._hdus, index)
        with fits_errors(path, f'has a damaged image, HDU {name}'):
            check_size(hdu, Path(content or path))
            steps = iter(plane or ())
            lead = [0 if n == 1 else next(steps) for n in hdu.shape[:-2]]
            self._lead, self.shape = tuple(lead), tuple(hdu.shape[-2:])
            self.dtype = self[0:1].dtype
            header = readable_header(hdu.header)
        self.image = FitsImage(
            path=self._path,
            hdu=name,
            data=None,
            header=header,
            primary_header=self._hdus[0].header.copy() if index else None,
            wcs=None,
            unit=None,
            version=hdu.ver,
            plane=plane,
            **place,
        )

    def __getitem__(self, rows):
        """Return some rows (a slice) in native byte order."""
        with fits_errors(self._path, f'has a damaged image, HDU {self._index}'):
            values = self._hdus[self._index].section[(*self._lead, rows, slice(None))]
            return np.asarray(values, dtype=values.dtype.newbyteorder('='))

    def close(self):
        """Close the file."""
        self._hdus.close()


class ZarrRows:
    """
    A two-dimensional array of Zarr, read by rows.

    Parameters
    ----------
    path : `~pathlib.Path`
        The array, or a group with one array.

    name : str or `None`, optional
        The array of a group. Default: the one named SCI, else the only one.

    Attributes
    ----------
    image, shape, dtype
        As of `FitsRows`.
    """

    def __init__(self, path, name=None):
        import zarr

        if not Path(path).exists():
            msg = f'file {path} does not exist'
            raise FileNotFoundError(msg)
        try:
            node = zarr.open(str(path), mode='r')
        except Exception as exc:  # of damaged files it raises a dozen kinds
            msg = f'{path} cannot be read as Zarr: {exc}'
            raise ValueError(msg) from exc
        if not isinstance(node, zarr.Array):
            arrays = dict(node.arrays())
            if name is None and len(arrays) == 1:
                name = next(iter(arrays))
            name = name or 'SCI'
            if name not in arrays:
                found = ', '.join(sorted(arrays)) or 'none'
                msg = f'{path} has no array {name!r}; it has: {found}'
                raise ValueError(msg)
            node = arrays[name]
        if node.ndim != 2 or 0 in node.shape:
            msg = f'{path} must hold a two-dimensional image, it is of {node.shape}'
            raise ValueError(msg)
        self._array, self.shape, self.dtype = node, node.shape, node.dtype
        self.image = FitsImage(
            path=Path(path),
            hdu=name or '0',
            data=None,
            header=fits.Header(),
            primary_header=None,
            wcs=None,
            unit=None,
        )

    def __getitem__(self, rows):
        """Return some rows (a slice)."""
        return self._array[rows]

    def close(self):
        """There is nothing to be closed."""


def open_rows(path, hdu=None, plane=None, *, folder):
    """
    Open the images of a file, to be read by rows.

    Parameters
    ----------
    path : path-like
        A FITS file (plain, tile-compressed, or packed as a whole), or Zarr.

    hdu, plane : optional
        As for `bgrem.files.io.read_images`.

    folder : `~pathlib.Path`
        Where a file that is packed as a whole is unpacked.

    Returns
    -------
    images : list of `FitsRows` or `ZarrRows`
        The images, to be closed by the caller.

    Raises
    ------
    FileNotFoundError, ValueError
        As `bgrem.files.io.read_images`.
    """
    path = Path(path)
    if path.suffix.lower() == ZARR_ENDING:
        return [ZarrRows(path, hdu)]
    content = _unpacked(path, folder)
    with open_fits(content) as hdus, fits_errors(path, 'cannot be read'):
        indices, _ = image_indices(hdus, path, hdu, plane)
    return [
        FitsRows(path, index, plane, content, number=number, n_images=len(indices))
        for number, index in enumerate(indices)
    ]


def open_mask(path, hdu, image, *, folder):
    """
    Open the mask of an image, to be read by rows.

    Parameters
    ----------
    path, hdu : optional
        As for `open_rows`.

    image : `bgrem.files.io.FitsImage`
        The image that it masks.

    folder : `~pathlib.Path`
        As for `open_rows`.

    Returns
    -------
    mask : `FitsRows` or `ZarrRows`
        Not zero where the image is masked.
    """
    path = Path(path)
    if path.suffix.lower() == ZARR_ENDING:
        return ZarrRows(path, hdu)
    content = _unpacked(path, folder)
    place = {name: getattr(image, name) for name in ('version', 'number', 'n_images')}
    with open_fits(content) as hdus, fits_errors(path, 'cannot be read'):
        index, plane = map_index(hdus, path, hdu, plane=image.plane, **place)
    return FitsRows(path, index, plane, content)


def _unpacked(path, folder):
    """Return the path of a file without its packing, done once."""
    opener = _OPENERS.get(path.suffix.lower())
    if opener is None or not path.exists():
        return path
    target = folder / f'unpacked-{path.stem}'
    if not target.exists():
        temporary = target.with_name(f'{target.name}.part')
        with (
            fits_errors(path, 'cannot be read as FITS'),
            opener(path) as packed,
            temporary.open('wb') as file,
        ):
            shutil.copyfileobj(packed, file, 2**22)
        temporary.replace(target)
    return target


class MapsFile:
    """
    A FITS file of maps that are written some rows at a time.

    Parameters
    ----------
    path : path-like
        The file, which is replaced.

    images : list of tuple
        For each image its `FitsRows` or `ZarrRows`, the dtype of each map by its name,
        and how they were made (dict).
    """

    def __init__(self, path, images):
        self._places, headers, offset = {}, [], 0
        primary = fits.PrimaryHDU(
            header=product_header(images[0][0].image.primary_header)
        )
        primary.header.extend(provenance_cards(images[0][2]), update=True)
        for number, (rows, dtypes, meta) in enumerate(
            [(None, {'': None}, None), *images]
        ):
            for name, dtype in dtypes.items():
                hdu = primary if rows is None else _hdu(name, dtype, rows, meta)
                text = _header_bytes(hdu)
                headers.append((offset, text))
                offset += len(text)
                if rows is not None:
                    dtype = np.dtype(dtype).newbyteorder('>')
                    self._places[number - 1, name] = offset, dtype, rows.shape[1]
                    n_bytes = rows.shape[0] * rows.shape[1] * dtype.itemsize
                    offset += -(-n_bytes // _BLOCK) * _BLOCK
        self._file = Path(path).open('wb')  # noqa: SIM115
        self._file.truncate(offset)
        for place, text in headers:
            self._file.seek(place)
            self._file.write(text)

    def write(self, number, rows, maps):
        """
        Write some rows.

        Parameters
        ----------
        number : int
            Of the image, from 0.

        rows : slice
            The rows.

        maps : dict of str to 2D `~numpy.ndarray`
            The maps in these rows.
        """
        for name, values in maps.items():
            offset, dtype, width = self._places[number, name]
            self._file.seek(offset + rows.start * width * dtype.itemsize)
            self._file.write(np.ascontiguousarray(values, dtype=dtype).data)

    def close(self):
        """Close the file, once all of it is on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
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
    if name == 'PROBABILITY':
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


class ZarrMaps:
    """
    A Zarr group of maps that are written some rows at a time.

    Parameters
    ----------
    path : path-like
        The group, which is replaced.

    images : list of tuple
        As for `MapsFile`. Of several images each has a group named by its number.

    chunks : tuple of 2 int, optional
        The chunks of the arrays. Default ``(1024, 1024)``.
    """

    def __init__(self, path, images, chunks=(1024, 1024)):
        import zarr

        root = zarr.open_group(str(path), mode='w')
        self._groups = []
        for number, (rows, dtypes, meta) in enumerate(images):
            group = root.create_group(str(number)) if len(images) > 1 else root
            group.attrs.update(_plain_attributes(meta))
            group.attrs['header'] = product_header(rows.image.header).tostring('\n')
            for name, dtype in dtypes.items():
                size = [min(n, m) for n, m in zip(chunks, rows.shape, strict=True)]
                group.create_array(name, shape=rows.shape, chunks=size, dtype=dtype)
            self._groups.append(group)

    def write(self, number, rows, maps):
        """Write some rows, as `MapsFile`."""
        for name, values in maps.items():
            self._groups[number][name][rows] = values

    def close(self):
        """There is nothing to be closed."""


def _plain_attributes(meta):
    """Return what JSON can hold."""
    return {
        name: value if isinstance(value, (int, float, bool)) else str(value)
        for name, value in meta.items()
        if value is not None
    }
