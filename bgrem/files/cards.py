"""The headers and bytes of the FITS files that are written."""

import warnings
from datetime import UTC, datetime
from io import BytesIO

import numpy as np
from astropy.io import fits

from bgrem.files.opening import fits_errors, open_fits

__all__ = [
    'EXTENSION',
    'add_history',
    'hdu_bytes',
    'header_provenance',
    'plain_text',
    'product_header',
    'product_provenance',
    'provenance_cards',
    'table_hdu',
]

# What meta of a background and what was asked for are written under, and the comment
# beside it. The sha256 fills its card: there is no room for a comment.
_KEYWORDS = {
    'version': ('BGREMVER', 'version of bgrem'),
    'weights': ('BGREMWTS', 'weights of the denoiser'),
    'weights_sha256': ('BGREMSHA', ''),
    'n_steps': ('BGREMSTP', 'diffusion steps'),
    'n_symmetries': ('BGREMSYM', 'views averaged'),
    'normalization': ('BGREMNRM', 'normalization'),
    'boxes': ('BGREMBXS', 'auto, chosen from the image, or given'),
    'box_size': ('BGREMBOX', 'boxes of the sky, ny and nx'),
    'device': ('BGREMDEV', 'device of the denoiser'),
    'mask': ('BGREMMSK', 'mask'),
    'error': ('BGREMERR', 'total errors'),
    'exposure': ('BGREMEXP', 'exposure'),
    'weight': ('BGREMWHT', 'weights of the pixels'),
    'measure': ('BGREMMEA', 'image that is measured'),
    'effective_gain': ('BGREMGAI', 'electrons per data unit'),
    'background_median': ('BGREMSKY', 'median of the boxes of the sky'),
    'background_rms_median': ('BGREMRMS', 'median of the boxes of the noise'),
    'threshold': ('BGREMTHR', 'probability that is enough to be detected'),
    'false_discovery_rate': ('BGREMFDR', 'expected fraction of false detections'),
    'zero_point': ('MAGZERO', 'magnitude of a source of one data unit'),
}

# The characters of a card for a text and a comment: the rest are the keyword, quotes
# and what separates them.
_ROOM = 65

# The size of a primary HDU without data: one block.
_PRIMARY_SIZE = 2880

# The keyword that names the HDU of the input in products of several images.
EXTENSION = 'BGREMEXT'

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


def product_provenance(path):
    """
    Return the record of how a FITS product was made.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    provenance : dict of str to object
        The values of the provenance keywords, under the names they have in
        ``DiffusionBackground.meta``; empty if bgrem did not make the file.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file does not exist or is not FITS.
    """
    with open_fits(path) as hdus, fits_errors(path, 'has a damaged header'):
        for hdu in hdus:
            if 'BGREMVER' in hdu.header:
                return header_provenance(hdu.header)
    return {}


def header_provenance(header):
    """
    Return the record in a header of how the file was made.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        The header.

    Returns
    -------
    provenance : dict of str to object
        As from `product_provenance`.
    """
    return {
        name: header[keyword]
        for name, (keyword, _) in _KEYWORDS.items()
        if keyword in header
    }


def product_header(header):
    """
    Copy a header without the cards that describe the old data array.

    Parameters
    ----------
    header : `~astropy.io.fits.Header` or `None`
        The header of an input; `None` gives an empty one.

    Returns
    -------
    copy : `~astropy.io.fits.Header`
        The copy.
    """
    copy = fits.Header() if header is None else header.copy(strip=True)
    for keyword in _NOT_COPIED:
        copy.remove(keyword, ignore_missing=True, remove_all=True)
    return copy


def provenance_cards(meta):
    """
    Return the cards that record how a product was made.

    Parameters
    ----------
    meta : dict
        ``DiffusionBackground.meta``, and the options of the detection.

    Returns
    -------
    cards : list of `~astropy.io.fits.Card`
        The cards.
    """
    cards = []
    for name, (keyword, comment) in _KEYWORDS.items():
        value = meta.get(name)
        if value is not None:
            if isinstance(value, np.generic):
                value = value.item()
            simple = value if isinstance(value, (int, float)) else plain_text(value)
            if isinstance(simple, str) and len(simple) + len(comment) > _ROOM:
                comment = ''
            cards.append(fits.Card(keyword, simple, comment))
    return cards


def add_history(header, meta, image):
    """
    Add the history of a product to its header.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        The header, changed in place.

    meta : dict
        ``DiffusionBackground.meta``, and the options that were used.

    image : `bgrem.files.io.FitsImage`
        The image from which the product was made.
    """
    now = datetime.now(UTC).strftime('%Y-%m-%dT%H:%M:%S')
    header.add_history(f'bgrem {meta.get("version")} at {now} UTC')
    plane = '' if image.plane is None else f' plane {image.plane}'
    place = plain_text(f'{image.path.name} HDU {image.hdu}{plane}')
    header.add_history(f'bgrem: image {place}')
    header.add_history('bgrem: SCI is data - background, not clipped')
    for name, value in meta.items():
        header.add_history(plain_text(f'bgrem: {name} = {value}'))


def plain_text(value):
    """
    Return a string that fits into a card.

    Parameters
    ----------
    value : object
        Any object with a string representation.

    Returns
    -------
    text : str
        The string in printable ASCII, with everything else escaped.
    """
    text = str(value)
    return ''.join(
        c if c.isascii() and c.isprintable() else ascii(c)[1:-1] for c in text
    )


def table_hdu(table, provenance):
    """
    Convert a catalog to an HDU.

    Parameters
    ----------
    table : `~astropy.table.Table`
        The catalog.

    provenance : list of `~astropy.io.fits.Card`
        Cards to add.

    Returns
    -------
    hdu : `~astropy.io.fits.BinTableHDU`
        The HDU, named CATALOG.
    """
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


def hdu_bytes(hdus, *, extensions=False):
    """
    Convert HDUs to bytes.

    Parameters
    ----------
    hdus : list of HDU
        The HDUs.

    extensions : bool, optional
        Whether they follow a primary HDU that has already been written.

    Returns
    -------
    content : bytes
        A whole file, or a part of one.
    """
    buffer = BytesIO()
    start = [fits.PrimaryHDU()] if extensions else []
    with warnings.catch_warnings():
        # Odd cards of the input header are repaired, or kept as they are.
        warnings.simplefilter('ignore', fits.verify.VerifyWarning)
        fits.HDUList([*start, *hdus]).writeto(
            buffer, checksum=True, output_verify='silentfix+ignore'
        )
    return buffer.getvalue()[_PRIMARY_SIZE if extensions else 0 :]
