"""Images that are read by rows, for files larger than the memory."""

import hashlib
import shutil
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from astropy.io import fits

from bgrem._extras import import_extra
from bgrem.files.hdus import hdu_name
from bgrem.files.io import (
    FitsImage,
    celestial_wcs,
    choose_images,
    plane_index,
    readable_header,
    tell_if_product,
)
from bgrem.files.opening import (
    ZARR_ENDING,
    check_size,
    fits_errors,
    open_fits,
    unpacking,
)
from bgrem.files.side_maps import find_map, masked_pixels
from bgrem.files.units import parse_unit

__all__ = [
    'FitsRows',
    'MaskRows',
    'ZarrRows',
    'open_map',
    'open_mask',
    'open_rows',
]


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
        The unpacked file. Default: ``path``.

    **place
        As for `bgrem.files.io.read_hdu`.

    Attributes
    ----------
    image : `bgrem.files.io.FitsImage`
        Its metadata, without the pixels.
    shape : tuple of 2 int
        The shape of the image.
    dtype : `~numpy.dtype`
        The dtype of the pixels.
    """

    def __init__(self, path, index, plane=None, content=None, **place):
        self._path, self._index = Path(path), index
        self._hdus = open_fits(content or path)
        with ExitStack() as stack:
            # unless all is well
            stack.callback(self.close)
            self.image = self._describe(path, content or path, plane, place)
            stack.pop_all()

    def _describe(self, path, content, plane, place):
        """Learn where the image is, and return all but its pixels."""
        index = self._index
        hdu, name = self._hdus[index], hdu_name(self._hdus, index)
        with fits_errors(path, f'has a damaged image, HDU {name}'):
            check_size(hdu, Path(content))
            self._lead = plane_index(hdu, path, name, plane)
            self.shape = tuple(hdu.shape[-2:])
            self.dtype = self[0:1].dtype
            header = readable_header(hdu.header, self._lead)
            wcs = celestial_wcs(header, self._hdus, path, self.shape)
        return FitsImage(
            path=self._path,
            hdu=name,
            data=None,
            header=header,
            primary_header=self._hdus[0].header.copy() if index else None,
            wcs=wcs,
            unit=parse_unit(header.get('BUNIT'), path),
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


class MaskRows:
    """
    A mask, of which only some bits may count, read by rows.

    Parameters
    ----------
    rows : `FitsRows` or `ZarrRows`
        The mask.

    bits : int or `None`
        As for `bgrem.files.side_maps.read_mask`.

    Attributes
    ----------
    shape : tuple of 2 int
        The shape of the mask.
    """

    def __init__(self, rows, bits):
        self._rows, self._bits, self.shape = rows, bits, rows.shape
        image = rows.image
        self._headers = image.header, image.primary_header or image.header

    def __getitem__(self, rows):
        """Return some rows (a slice): `True` where the image is masked."""
        return masked_pixels(self._rows[rows], self._bits, *self._headers)

    def close(self):
        """Close the file."""
        self._rows.close()


class ZarrRows:
    """
    A two-dimensional Zarr array, read by rows.

    Parameters
    ----------
    path : `~pathlib.Path`
        The array, or a group with one array.

    name : str or `None`, optional
        The array in a group. Default: the one named SCI, else the only one.

    Attributes
    ----------
    image, shape, dtype
        As for `FitsRows`.
    """

    def __init__(self, path, name=None):
        zarr = import_extra('zarr')

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
        """Do nothing: there is nothing to close."""


def open_rows(path, hdu=None, plane=None, *, folder):
    """
    Open the images of a file, to be read by rows.

    Parameters
    ----------
    path : path-like
        A FITS file (plain, tile-compressed, or compressed as a whole), or Zarr.

    hdu, plane : optional
        As for `bgrem.files.io.read_images`.

    folder : `~pathlib.Path`
        The folder into which a file that is compressed as a whole is unpacked.

    Returns
    -------
    images : list of `FitsRows` or `ZarrRows`
        The images; the caller must close them.

    Raises
    ------
    FileNotFoundError, ValueError
        As for `bgrem.files.io.read_images`.

    Warns
    -----
    `~astropy.utils.exceptions.AstropyUserWarning`
        As for `bgrem.files.io.read_images`.
    """
    path = Path(path)
    if path.suffix.lower() == ZARR_ENDING:
        return [ZarrRows(path, hdu)]
    content = _unpacked(path, folder)
    with open_fits(content) as hdus:
        indices = choose_images(hdus, path, hdu, plane)
    images, n_images = [], len(indices)
    with ExitStack() as stack:
        for number, index in enumerate(indices):
            place = {'number': number, 'n_images': n_images}
            images.append(FitsRows(path, index, plane, content, **place))
            stack.callback(images[-1].close)
            tell_if_product(images[-1].image.header, path)
        stack.pop_all()
    return images


def open_mask(path, hdu, image, *, bits=None, folder):
    """
    Open the mask of an image, to be read by rows.

    Parameters
    ----------
    path, hdu : optional
        As for `open_rows`.

    image : `bgrem.files.io.FitsImage`
        The image that it masks.

    bits : int or `None`, optional
        As for `bgrem.files.side_maps.read_mask`.

    folder : `~pathlib.Path`
        As for `open_rows`.

    Returns
    -------
    mask : `MaskRows`
        `True` where the image is masked.
    """
    return MaskRows(open_map(path, hdu, image, folder=folder), bits)


def open_map(path, hdu, image, *, folder):
    """
    Open a map that belongs to an image, such as its errors, to be read by rows.

    Parameters
    ----------
    path, hdu, image, folder
        As for `open_mask`.

    Returns
    -------
    rows : `FitsRows` or `ZarrRows`
        The map.
    """
    path = Path(path)
    if path.suffix.lower() == ZARR_ENDING:
        return ZarrRows(path, hdu)
    content = _unpacked(path, folder)
    with open_fits(content) as hdus:
        index, plane = find_map(hdus, path, hdu, image)
    return FitsRows(path, index, plane, content)


def _unpacked(path, folder):
    """Return the path of a file without its packing, done once."""
    opener = unpacking(path) if path.is_file() else None
    if opener is None:
        return path
    # files of other folders may have the same name
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    target = folder / f'unpacked-{place}-{path.stem}'
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
