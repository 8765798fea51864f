"""
Write FITS products, catalogs and region files.

Output files are written completely or not at all, keep the header and WCS of the input,
and record which weights made them.
"""

import gzip
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table, vstack

from bgrem.files.atomic import atomic_path
from bgrem.files.cards import (
    EXTENSION,
    add_history,
    hdu_bytes,
    plain_text,
    product_header,
    provenance_cards,
    table_hdu,
)

__all__ = [
    'Products',
    'catalog_table',
    'check_output',
    'join_tables',
    'write_catalog',
    'write_products',
    'write_regions',
]

FITS_ENDINGS = ('.fits', '.fit', '.fts', '.fits.gz', '.fit.gz', '.fts.gz')
CATALOG_ENDINGS = (*FITS_ENDINGS, '.ecsv', '.csv')


class Products(NamedTuple):
    """
    The products of one image.

    Parameters
    ----------
    background : `bgrem.DiffusionBackground`
        The background of ``image``.
    image : `bgrem.files.io.FitsImage`
        The image.
    segmentation_image : `~photutils.segmentation.SegmentationImage` or `None`
        The detections; `None` if there are none.
    catalog : `~photutils.segmentation.SourceCatalog` or `None`
        The catalog; `None` if nothing is measured.
    asked : dict or `None`, optional
        The options used: the ``'false_discovery_rate'`` or the ``'threshold'`` of the
        detection, the ``'zero_point'`` of the catalog, and the files that came with the
        image, such as its ``'mask'``.
    """

    background: object
    image: object
    segmentation_image: object = None
    catalog: object = None
    asked: dict | None = None

    @property
    def provenance(self):
        """How the products were made, and the medians of sky and noise (dict)."""
        medians = {
            name: float(u.Quantity(getattr(self.background, name)).value)
            for name in ('background_median', 'background_rms_median')
        }
        return {**self.background.meta, **medians, **(self.asked or {})}

    @property
    def labels(self):
        """The labels of the segments, 0 where there is none (2D array of int)."""
        if self.segmentation_image is None:
            return np.zeros(self.image.data.shape, dtype=np.int32)
        return np.asarray(self.segmentation_image)


def check_output(path, *, overwrite=False, inputs=(), endings=FITS_ENDINGS):
    """
    Refuse a path that cannot be written, before any work is done for it.

    Parameters
    ----------
    path : path-like
        The file to write.

    overwrite : bool, optional
        Whether an existing file may be replaced.

    inputs : iterable of path-like, optional
        Files that must never be replaced.

    endings : tuple of str, optional
        The allowed file extensions.

    Returns
    -------
    path : `~pathlib.Path`
        The path.

    Raises
    ------
    ValueError
        If the extension is none of ``endings`` or the path is an input.
    FileExistsError
        If the file, or a link without a target, exists and ``overwrite`` is False.
    FileNotFoundError
        If its folder does not exist.
    PermissionError
        If its folder cannot be written to.
    """
    path = Path(path)
    if not path.name.lower().endswith(endings):
        msg = f'output file {path} must end in {", ".join(endings)}'
        raise ValueError(msg)
    folder = path.absolute().parent
    if not folder.is_dir():
        msg = f'output folder {folder} does not exist'
        raise FileNotFoundError(msg)
    if path.is_dir():
        msg = f'output file {path} is a folder'
        raise FileExistsError(msg)
    if path.exists() or path.is_symlink():
        if any(_is_same(path, p) for p in inputs):
            msg = f'output file {path} is the input file'
            raise ValueError(msg)
        if not overwrite:
            msg = (
                f'output file {path} exists; it is replaced only with overwrite=True '
                '(--overwrite)'
            )
            raise FileExistsError(msg)
    if not os.access(folder, os.W_OK):
        msg = f'output folder {folder} cannot be written to'
        raise PermissionError(msg)
    return path


def _is_same(path, other):
    return path.exists() and Path(other).exists() and path.samefile(other)


def write_products(path, products, *, overwrite=False):
    """
    Write all products of the images of a file to one FITS file.

    Parameters
    ----------
    path : path-like
        The file to write. It is compressed if its name ends in ``.gz``.

    products : iterable of `Products`
        The products of each image. They are requested one by one and not kept, so they
        can be made while the file is written.

    overwrite : bool, optional
        Whether an existing file may be replaced.

    Raises
    ------
    OSError, ValueError
        As for `check_output`, or if the disk is full.

    Notes
    -----
    The extensions are SCI (data - background, not clipped), BACKGROUND,
    BACKGROUND_RMS, SOURCE (the denoised image), PROBABILITY (float32), SEGM
    (int32, 0 where there is no source) and CATALOG (a table). The images have the
    header, and thus the exact WCS, of the input; BUNIT is kept where the pixels
    still have this unit.

    With several images, their extensions follow each other, with EXTVER as the number
    of the image and BGREMEXT as the name of its HDU. There is one CATALOG, at the end,
    with a column ``extension``.
    """
    path = check_output(path, overwrite=overwrite)
    tables = []
    with atomic_path(path) as temporary, temporary.open('wb') as file:
        stream = file
        if path.suffix.lower() == '.gz':
            # Without a time, so that the same input gives the same file.
            stream = gzip.GzipFile(filename='', mode='wb', fileobj=file, mtime=0)
        for one in products:
            check_output(path, overwrite=True, inputs=(one.image.path,))
            provenance = provenance_cards(one.provenance)
            if not tables:
                header = product_header(one.image.primary_header)
                primary = fits.PrimaryHDU(header=header)
                primary.header.extend(provenance, update=True)
                stream.write(hdu_bytes([primary]))
            stream.write(hdu_bytes(_image_hdus(one, provenance), extensions=True))
            tables.append((one.image.hdu, catalog_table(one.catalog)))
        table = table_hdu(join_tables(tables), provenance)
        stream.write(hdu_bytes([table], extensions=True))
        if stream is not file:
            stream.close()


def _image_hdus(products, provenance):
    background, image = products.background, products.image
    # Not an HDUList, which would make the first one a primary HDU.
    hdus = []
    has_unit = {
        'SCI': background.subtract(),
        'BACKGROUND': background.background,
        'BACKGROUND_RMS': background.background_rms,
        'SOURCE': background.source,
    }
    for name, values in has_unit.items():
        hdus.append(_image_hdu(name, u.Quantity(values).value, image, provenance))
    no_unit = {
        'PROBABILITY': background.detection_probability,
        'SEGM': products.labels.astype(np.int32),
    }
    for name, values in no_unit.items():
        hdus.append(_image_hdu(name, values, image, provenance))
        hdus[-1].header.remove('BUNIT', ignore_missing=True)
    add_history(hdus[0].header, products.provenance, image)
    return hdus


def catalog_table(catalog):
    """
    Convert a catalog to a table that can be written in any file format.

    Parameters
    ----------
    catalog : `~photutils.segmentation.SourceCatalog`
        The catalog.

    Returns
    -------
    table : `~astropy.table.QTable`
        The columns of ``catalog.to_table()``, with the sky coordinates of the centroids
        as ``ra_centroid`` and ``dec_centroid`` (ICRS, degrees; ``ra`` and ``dec`` if
        the catalog has no others), magnitudes with their unit, and without empty
        columns.
    """
    table = catalog.to_table()
    table.meta.clear()
    for name in table.colnames:
        column = table[name]
        if isinstance(column, SkyCoord):
            icrs = column.icrs
            index = table.colnames.index(name)
            names = ['ra', 'dec']
            if 'ra' in table.colnames:  # of the detection
                names = ['ra_centroid', 'dec_centroid']
            table.add_columns([icrs.ra, icrs.dec], [index, index], names)
            table.remove_column(name)
        elif column.dtype == object:
            table.remove_column(name)
        elif name.endswith(('_mag', '_mag_err')):
            # Readers of files expect it. In Python they are plain numbers, as a QTable
            # has no `table['kron_mag'] < 20` for those with a unit.
            column.unit = u.mag
    return table


def join_tables(tables):
    """
    Join the catalogs of the images of a file.

    Parameters
    ----------
    tables : list of tuple
        For each image, the name of its HDU and its table from `catalog_table`.

    Returns
    -------
    table : `~astropy.table.Table`
        All rows. If there are several images, the first column, ``extension``, names
        the HDU; labels start at 1 in each.
    """
    if len(tables) == 1:
        return tables[0][1]
    for name, table in tables:
        table.add_column(np.full(len(table), name), name='extension', index=0)
    return vstack([table for _, table in tables], metadata_conflicts='silent')


def write_catalog(path, catalog, meta, *, overwrite=False, inputs=()):
    """
    Write a catalog to a FITS, ECSV or CSV file.

    Parameters
    ----------
    path : path-like
        The file to write; its extension determines the format.

    catalog : `~photutils.segmentation.SourceCatalog` or `~astropy.table.Table`
        The catalog, or its table from `catalog_table` or `join_tables`.

    meta : dict
        The provenance (from `Products` or ``DiffusionBackground.meta``); CSV files
        cannot hold it.

    overwrite, inputs : bool, iterable of path-like, optional
        As for `check_output`.

    Raises
    ------
    OSError, ValueError
        As for `check_output`, or if the disk is full.
    """
    path = check_output(
        path, overwrite=overwrite, inputs=inputs, endings=CATALOG_ENDINGS
    )
    table = catalog if isinstance(catalog, Table) else catalog_table(catalog)
    if path.name.lower().endswith(FITS_ENDINGS):
        rows = table_hdu(table, provenance_cards(meta))
        content = hdu_bytes([fits.PrimaryHDU(), rows])
        if path.suffix.lower() == '.gz':
            content = gzip.compress(content, mtime=0)
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
        return
    for card in provenance_cards(meta):
        table.meta[card.keyword] = card.value
    ascii_format = 'ascii.ecsv' if path.suffix.lower() == '.ecsv' else 'ascii.csv'
    with atomic_path(path) as temporary:
        table.write(temporary, format=ascii_format)


def write_regions(path, catalog, *, overwrite=False, inputs=()):
    """
    Write the ellipses of a catalog as a DS9 region file.

    Parameters
    ----------
    path : path-like
        The file to write, ending in ``.reg``.

    catalog : `~photutils.segmentation.SourceCatalog`
        The catalog; one without sources gives a file without regions.

    overwrite, inputs : bool, iterable of path-like, optional
        As for `check_output`.

    Raises
    ------
    OSError, ValueError
        As for `check_output`, or if the disk is full.

    Notes
    -----
    The ellipses are centered on the positions of the detections (on the centroids, if
    the catalog has no others), in sky coordinates (ICRS) if there are any, else in the
    image coordinates of DS9 (the first pixel is 1). Their semiaxes are three times
    those of the second moments, and at least 2 pixels.
    """
    path = check_output(path, overwrite=overwrite, inputs=inputs, endings=('.reg',))
    lines = ['# Region file format: DS9 version 4.1', 'global color=green']
    if catalog.n_labels:
        lines += _ellipses(catalog)
    with atomic_path(path) as temporary:
        temporary.write_text('\n'.join(lines) + '\n', encoding='ascii')


def _ellipses(catalog):
    """Return the lines of the ellipses of a catalog."""
    names = ('semimajor_axis', 'semiminor_axis', 'orientation')
    position = ('x', 'y') if hasattr(catalog, 'x') else ('x_centroid', 'y_centroid')
    table = catalog.to_table(columns=('label', *position, *names))
    x, y = (np.asarray(table[name]) for name in position)
    major, minor, angle = (
        np.nan_to_num(u.Quantity(table[name]).value) for name in names
    )
    major, minor = (np.maximum(3 * axis, 2.0) for axis in (major, minor))
    if hasattr(catalog, 'ra'):
        sky = SkyCoord(np.atleast_1d(catalog.ra), np.atleast_1d(catalog.dec))
        # a step along each axis, so small that it does not leave the image
        step = 0.01
        dx, dy = step * np.cos(np.deg2rad(angle)), step * np.sin(np.deg2rad(angle))
        along = catalog.wcs.pixel_to_world(x + dx, y + dy).icrs
        across = catalog.wcs.pixel_to_world(x - dy, y + dx).icrs
        major = major * sky.separation(along).arcsec / step
        minor = minor * sky.separation(across).arcsec / step
        # DS9 counts from the west through north, in mirrored images too
        angle = np.mod(sky.position_angle(along).deg + 90, 360)
        x, y = sky.ra.deg, sky.dec.deg
        system, place, size = 'icrs', '.7f', '.3f"'
    else:
        x, y = x + 1, y + 1
        system, place, size = 'image', '.3f', '.2f'
    rows = zip(table['label'], x, y, major, minor, angle, strict=True)
    return [
        system,
        *(
            f'ellipse({x1:{place}},{y1:{place}},{_size(a, size)},{_size(b, size)},'
            f'{theta:.1f}) # text={{{label}}}'
            for label, x1, y1, a, b, theta in rows
        ),
    ]


def _size(value, spec):
    """Return a length with its unit, an arcsecond or nothing for a pixel."""
    return format(value, spec.removesuffix('"')) + ('"' if spec.endswith('"') else '')


def _image_hdu(name, values, image, provenance):
    hdu = fits.ImageHDU(values, header=product_header(image.header), name=name)
    hdu.header.extend(provenance, update=True)
    if image.n_images > 1:
        hdu.ver = image.number + 1
        hdu.header[EXTENSION] = (plain_text(image.hdu), 'HDU of the input')
    return hdu
