"""
FITS products, catalogues and region files out.

Output files appear whole or not at all, keep the header and WCS of the input,
and say by which weights they were made.
"""

import os
import warnings
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table

from bgrem.files.atomic import atomic_path
from bgrem.files.io import open_fits

__all__ = [
    'catalog_table',
    'check_output',
    'product_provenance',
    'write_catalog',
    'write_products',
    'write_regions',
]

FITS_ENDINGS = ('.fits', '.fit', '.fts', '.fits.gz', '.fit.gz', '.fts.gz')
CATALOG_ENDINGS = (*FITS_ENDINGS, '.ecsv', '.csv')

# What meta of a background is written under, and the comment beside it. The
# sha256 fills its card: there is no room for a comment.
_KEYWORDS = {
    'version': ('BGREMVER', 'version of bgrem'),
    'weights': ('BGREMWTS', 'weights of the denoiser'),
    'weights_sha256': ('BGREMSHA', ''),
    'n_steps': ('BGREMSTP', 'diffusion steps'),
    'n_symmetries': ('BGREMSYM', 'views averaged'),
    'normalization': ('BGREMNRM', 'normalisation'),
    'device': ('BGREMDEV', 'device of the denoiser'),
}

# Keywords that belong to one file or one data array, not to what they show.
_NOT_COPIED = (
    'BLANK',
    'CHECKSUM',
    'DATASUM',
    'ZHECKSUM',
    'ZDATASUM',
    'DATAMIN',
    'DATAMAX',
    'EXTNAME',
    'EXTVER',
    'EXTLEVEL',
    'INHERIT',
)

# The columns of a catalogue without sources, so that it can be read by what
# expects sources.
_EMPTY_COLUMNS = {
    'label': int,
    'x_centroid': float,
    'y_centroid': float,
    'x_centroid_win': float,
    'y_centroid_win': float,
    'area': float,
    'segment_flux': float,
    'segment_flux_err': float,
    'kron_flux': float,
    'kron_flux_err': float,
    'detection_probability': np.float32,
}


def check_output(path, *, overwrite=False, inputs=(), endings=FITS_ENDINGS):
    """
    Refuse a path that cannot be written, before any work is done for it.

    Parameters
    ----------
    path : path-like
        The file to make.

    overwrite : bool, optional
        Whether an existing file may be replaced.

    inputs : iterable of path-like, optional
        Files that must never be replaced.

    endings : tuple of str, optional
        The endings allowed for the name.

    Returns
    -------
    path : `~pathlib.Path`
        The path.

    Raises
    ------
    ValueError
        If the ending is none of ``endings`` or the path is an input.
    FileExistsError
        If the file exists and ``overwrite`` is False.
    FileNotFoundError
        If its folder does not exist.
    PermissionError
        If its folder cannot be written.
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
    if path.exists():
        if any(Path(p).exists() and path.samefile(p) for p in inputs):
            msg = f'output file {path} is the input file'
            raise ValueError(msg)
        if not overwrite:
            msg = f'output file {path} exists; it is replaced only with overwrite'
            raise FileExistsError(msg)
    if not os.access(folder, os.W_OK):
        msg = f'output folder {folder} cannot be written'
        raise PermissionError(msg)
    return path


def write_products(
    path, background, image, segmentation_image=None, catalog=None, *, overwrite=False
):
    """
    Write everything that was made of an image to one FITS file.

    Parameters
    ----------
    path : path-like
        The file to make. With ``.gz`` at its end it is compressed.

    background : `bgrem.DiffusionBackground`
        The background of ``image``.

    image : `bgrem.files.io.FitsImage`
        The image.

    segmentation_image : `~photutils.segmentation.SegmentationImage` or `None`
        The detections; `None` for none.

    catalog : `~photutils.segmentation.SourceCatalog` or `None`, optional
        Their catalogue; `None` for none.

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
    (int32, 0 is no source) and CATALOG (a table). The images carry the
    header and so the exact WCS of the input; BUNIT is kept where the pixels
    still have it.
    """
    path = check_output(path, overwrite=overwrite, inputs=(image.path,))
    provenance = _provenance_cards(background.meta)
    primary = fits.PrimaryHDU(header=_product_header(image.primary_header))
    primary.header.extend(provenance, update=True)
    hdus = fits.HDUList([primary])
    has_unit = {
        'SCI': background.subtract(),
        'BACKGROUND': background.background,
        'BACKGROUND_RMS': background.background_rms,
        'SOURCE': background.source,
    }
    for name, values in has_unit.items():
        hdus.append(_image_hdu(name, u.Quantity(values).value, image, provenance))
    labels = np.zeros(image.data.shape, dtype=np.int32)
    if segmentation_image is not None:
        labels[:] = segmentation_image.data
    no_unit = {'PROBABILITY': background.detection_probability, 'SEGM': labels}
    for name, values in no_unit.items():
        hdus.append(_image_hdu(name, values, image, provenance))
        hdus[name].header.remove('BUNIT', ignore_missing=True)
    _add_history(hdus['SCI'].header, background.meta, image)
    hdus.append(_table_hdu(catalog_table(catalog), provenance))
    _write_hdus(path, hdus)


def catalog_table(catalog):
    """
    Turn a catalogue into a table that every file format can hold.

    Parameters
    ----------
    catalog : `~photutils.segmentation.SourceCatalog` or `None`
        The catalogue; `None` gives the main columns without a row.

    Returns
    -------
    table : `~astropy.table.QTable`
        The columns of ``catalog.to_table()``, where sky coordinates became
        ``ra`` and ``dec`` (ICRS, degrees) and empty columns are left out.
    """
    if catalog is None:
        return Table(names=_EMPTY_COLUMNS, dtype=_EMPTY_COLUMNS.values())
    table = catalog.to_table()
    table.meta.clear()
    for name in table.colnames:
        column = table[name]
        if isinstance(column, SkyCoord):
            icrs = column.icrs
            index = table.colnames.index(name)
            table.add_columns([icrs.ra, icrs.dec], [index, index], ['ra', 'dec'])
            table.remove_column(name)
        elif column.dtype == object:
            table.remove_column(name)
    return table


def write_catalog(path, catalog, meta, *, overwrite=False, inputs=()):
    """
    Write a catalogue to a FITS, ECSV or CSV file.

    Parameters
    ----------
    path : path-like
        The file to make; its ending gives the format.

    catalog : `~photutils.segmentation.SourceCatalog` or `None`
        The catalogue; `None` is written as one without a row.

    meta : dict
        The provenance (``DiffusionBackground.meta``); CSV files have no
        place for it.

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
    table = catalog_table(catalog)
    if path.name.lower().endswith(FITS_ENDINGS):
        table_hdu = _table_hdu(table, _provenance_cards(meta))
        _write_hdus(path, fits.HDUList([fits.PrimaryHDU(), table_hdu]))
        return
    for card in _provenance_cards(meta):
        table.meta[card.keyword] = card.value
    ascii_format = 'ascii.ecsv' if path.suffix.lower() == '.ecsv' else 'ascii.csv'
    with atomic_path(path) as temporary:
        table.write(temporary, format=ascii_format)


def write_regions(path, catalog, *, overwrite=False, inputs=()):
    """
    Write the ellipses of a catalogue as a DS9 region file.

    Parameters
    ----------
    path : path-like
        The file to make, ending in ``.reg``.

    catalog : `~photutils.segmentation.SourceCatalog` or `None`
        The catalogue; `None` gives a file without regions.

    overwrite, inputs : bool, iterable of path-like, optional
        As for `check_output`.

    Raises
    ------
    OSError, ValueError
        As for `check_output`, or if the disk is full.

    Notes
    -----
    The ellipses, in DS9's image coordinates (the first pixel is 1), have
    three times the axes of the second moments and at least 2 pixels.
    """
    path = check_output(path, overwrite=overwrite, inputs=inputs, endings=('.reg',))
    lines = ['# Region file format: DS9 version 4.1', 'global color=green', 'image']
    if catalog is not None:
        columns = ('label', 'x_centroid', 'y_centroid')
        shape = ('semimajor_axis', 'semiminor_axis', 'orientation')
        table = catalog.to_table(columns=(*columns, *shape))
        for row in table:
            label, x, y = (row[name] for name in columns)
            major, minor, angle = (
                np.nan_to_num(u.Quantity(row[name]).value) for name in shape
            )
            major, minor = max(3 * major, 2.0), max(3 * minor, 2.0)
            lines.append(
                f'ellipse({x + 1:.3f},{y + 1:.3f},{major:.2f},{minor:.2f},{angle:.1f})'
                f' # text={{{label}}}'
            )
    with atomic_path(path) as temporary:
        temporary.write_text('\n'.join(lines) + '\n', encoding='ascii')


def product_provenance(path):
    """
    Return what bgrem wrote about the making of a FITS product.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    provenance : dict of str to object
        The values of the provenance keywords by the names they have in
        ``DiffusionBackground.meta``; empty if bgrem did not make the file.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file or it is not FITS.
    """
    with open_fits(Path(path)) as hdus:
        for hdu in hdus:
            if 'BGREMVER' in hdu.header:
                return {
                    name: hdu.header[keyword]
                    for name, (keyword, _) in _KEYWORDS.items()
                    if keyword in hdu.header
                }
    return {}


def _product_header(header):
    """Return a copy of a header without what describes the old data array."""
    copy = fits.Header() if header is None else header.copy(strip=True)
    for keyword in _NOT_COPIED:
        copy.remove(keyword, ignore_missing=True, remove_all=True)
    return copy


def _provenance_cards(meta):
    cards = []
    for name, (keyword, comment) in _KEYWORDS.items():
        value = meta.get(name)
        if value is not None:
            simple = value if isinstance(value, (int, float)) else str(value)
            cards.append(fits.Card(keyword, simple, comment))
    return cards


def _image_hdu(name, values, image, provenance):
    hdu = fits.ImageHDU(values, header=_product_header(image.header), name=name)
    hdu.header.extend(provenance, update=True)
    return hdu


def _add_history(header, meta, image):
    now = datetime.now(UTC).strftime('%Y-%m-%dT%H:%M:%S')
    header.add_history(f'bgrem {meta.get("version")} at {now} UTC')
    header.add_history(f'bgrem: image {image.path.name} HDU {image.hdu}')
    header.add_history('bgrem: SCI is data - background, not clipped')
    for name, value in meta.items():
        header.add_history(f'bgrem: {name} = {value}')


def _table_hdu(table, provenance):
    with warnings.catch_warnings():
        # Units outside the FITS standard (DN, ...) are written all the same.
        warnings.filterwarnings('ignore', message='The unit .* could not be saved')
        hdu = fits.table_to_hdu(table)
    for name in table.colnames:
        if table[name].unit is not None and not hdu.columns[name].unit:
            hdu.columns[name].unit = table[name].unit.to_string()
    hdu.name = 'CATALOG'
    hdu.header.extend(provenance, update=True)
    return hdu


def _write_hdus(path, hdus):
    with atomic_path(path) as temporary, warnings.catch_warnings():
        # Odd cards of the input header are repaired, or kept as they are.
        warnings.simplefilter('ignore', fits.verify.VerifyWarning)
        hdus.writeto(temporary, checksum=True, output_verify='silentfix+ignore')
