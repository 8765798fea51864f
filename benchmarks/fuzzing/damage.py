# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""FITS files that are whole, and ways to damage them."""

import gzip
import io

import numpy as np
from astropy.io import fits

__all__ = ['damage_fits', 'flip_bytes', 'good_files']

SHAPE = (44, 48)
# Values that no header should have, but headers of damaged files do.
ODD_VALUES = [
    0, 1, -1, 2, 3, 7, 8, -8, 16, 999, 1000, -32, -64, 65, 2**31 - 1, -(2**31), 2**31,
    2**32, 2**63 - 1, 2**63, -(2**63), 10**30, 0.5, -0.5, 1e-300, 1e300, 'NaN', 'Inf',
    'T', 'F', '', "''", "'", "'SCI", "'x'", '1 / 2', '(1, 2)', 'æ', '\x00', '\n', '/',
    '1E', '1D400', '--1', "'RICE_1'", "'GZIP_2'", "'PLIO_1'", "'HCOMPRESS_1'",
    "'RA---TAN-SIP'", "'DEC--TPV'", "'GLON-HPX'", "'2P(100)'", "'100M'", "'1QE'",
]  # fmt: skip
STRUCTURE = [
    'SIMPLE', 'BITPIX', 'NAXIS', 'NAXIS1', 'NAXIS2', 'NAXIS3', 'PCOUNT', 'GCOUNT',
    'EXTEND', 'XTENSION', 'TFIELDS', 'TFORM1', 'TFORM2', 'TTYPE1', 'ZIMAGE', 'ZBITPIX',
    'ZNAXIS', 'ZNAXIS1', 'ZNAXIS2', 'ZTILE1', 'ZTILE2', 'ZCMPTYPE', 'ZQUANTIZ',
    'ZDITHER0', 'ZVAL1', 'ZNAME1', 'ZBLANK', 'BSCALE', 'BZERO', 'BLANK', 'BUNIT',
    'EXTNAME', 'EXTVER', 'CTYPE1', 'CTYPE2', 'CRVAL1', 'CRPIX2', 'CDELT1', 'CD1_1',
    'CD2_2', 'PC1_2', 'LONPOLE', 'RADESYS', 'EQUINOX', 'WCSAXES', 'A_ORDER', 'A_2_0',
    'B_ORDER', 'CUNIT1', 'TELESCOP', 'GROUPS', 'THEAP', 'INHERIT', 'CHECKSUM', 'END',
]  # fmt: skip


def good_files():
    """Return the bytes of files that are whole, by name."""
    rng = np.random.default_rng(1)
    data = rng.normal(100, 5, SHAPE).astype(np.float32)
    data[20:23, 30:33] += 200
    wcs = fits.Header()
    for name, value in {
        'CTYPE1': 'RA---TAN-SIP', 'CTYPE2': 'DEC--TAN-SIP', 'CRVAL1': 150.0,
        'CRVAL2': 2.0, 'CRPIX1': 24.0, 'CRPIX2': 22.0, 'CD1_1': -1e-4, 'CD1_2': 0.0,
        'CD2_1': 0.0, 'CD2_2': 1e-4, 'A_ORDER': 2, 'B_ORDER': 2, 'A_2_0': 1e-6,
        'B_0_2': 1e-6, 'RADESYS': 'ICRS', 'BUNIT': 'ELECTRONS/S',
    }.items():  # fmt: skip
        wcs[name] = value
    short = data.astype(np.int16)
    scaled = fits.PrimaryHDU(short, wcs)
    scaled.header['BLANK'] = -32768
    scaled.header['BSCALE'], scaled.header['BZERO'] = 0.5, 100.0
    chips = [fits.PrimaryHDU()]
    for version in (1, 2):
        flags = (data > 115).astype(np.int16)
        for name, pixels in {'SCI': data, 'ERR': data * 0 + 5, 'DQ': flags}.items():
            hdu = fits.ImageHDU(pixels, wcs, name=name)
            hdu.ver = version
            chips.append(hdu)
    table = fits.BinTableHDU.from_columns([fits.Column('a', 'E', array=[1.0, 2.0])])
    # Not HCOMPRESS_1: of tiles that are not what the header says, the C code in
    # astropy writes past its memory, which ends the process.
    packed = {
        'rice': fits.CompImageHDU(short, wcs, compression_type='RICE_1'),
        'gzip tiles': fits.CompImageHDU(data, wcs, compression_type='GZIP_2'),
    }
    files = {
        'float': [fits.PrimaryHDU(data, wcs)],
        'scaled': [scaled],
        'double': [fits.PrimaryHDU(data.astype('f8'), wcs)],
        'unsigned': [fits.PrimaryHDU(data.astype('u2'), wcs)],
        'long': [fits.PrimaryHDU(data.astype('i8'), wcs)],
        'chips': chips,
        'cube': [fits.PrimaryHDU(np.stack([data, data]), wcs)],
        'table first': [fits.PrimaryHDU(), table, fits.ImageHDU(data, wcs)],
        **{name: [fits.PrimaryHDU(), hdu] for name, hdu in packed.items()},
    }
    content = {}
    for name, hdus in files.items():
        buffer = io.BytesIO()
        fits.HDUList(hdus).writeto(buffer)
        content[name] = buffer.getvalue()
    content['gzip'] = gzip.compress(content['float'], mtime=0)
    return content


def damage_fits(content, rng):
    """Return damaged bytes of a FITS file, and what was done to them."""
    content = bytearray(content)
    ways = {
        'flip bytes': flip_bytes, 'flip header': _flip_header,
        'card value': _card_value, 'card swap': _card_swap,
        'card delete': _card_delete, 'truncate': _truncate,
        'cut block': _cut, 'double block': _double, 'append': _append, 'zeros': _zeros,
    }  # fmt: skip
    # The headers are where the surprises are.
    weights = np.array([2, 4, 12, 2, 3, 2, 1, 1, 1, 1])
    name = rng.choice(list(ways), p=weights / weights.sum())
    for _ in range(int(rng.choice([1, 1, 2, 4]))):
        content = bytearray(ways[name](content, rng))
        if len(content) < 100:
            break
    return bytes(content), str(name)


def flip_bytes(content, rng):
    """Return bytes of which some were changed."""
    for place in rng.integers(len(content), size=rng.integers(1, 20)):
        content[place] = rng.integers(256)
    return content


def _flip_header(content, rng):
    for place in rng.integers(min(2880, len(content)), size=rng.integers(1, 4)):
        content[place] = rng.integers(32, 127)
    return content


def _cards(content):
    """Return where the cards of all headers start."""
    return [
        place
        for place in range(0, len(content) - 79, 80)
        if content[place : place + 8].isascii()
        and bytes(content[place : place + 8]).rstrip(b' ').decode('ascii') in STRUCTURE
    ]


def _card_value(content, rng):
    places = _cards(content)
    if not places:
        return content
    place = int(rng.choice(places))
    value = ODD_VALUES[rng.integers(len(ODD_VALUES))]
    text = f'{value:>20}'.encode('latin-1')[:70].ljust(70)
    content[place + 8 : place + 80] = b'= ' + text
    return content


def _card_swap(content, rng):
    places = _cards(content)
    if len(places) < 2:
        return content
    a, b = (int(one) for one in rng.choice(places, 2, replace=False))
    content[a : a + 80], content[b : b + 80] = content[b : b + 80], content[a : a + 80]
    return content


def _card_delete(content, rng):
    places = _cards(content)
    if places:
        place = int(rng.choice(places))
        content[place : place + 80] = b' ' * 80
    return content


def _truncate(content, rng):
    return content[: rng.integers(len(content))]


def _cut(content, rng):
    place = 2880 * int(rng.integers(max(len(content) // 2880, 1)))
    return content[:place] + content[place + 2880 :]


def _double(content, rng):
    place = 2880 * int(rng.integers(max(len(content) // 2880, 1)))
    return content[: place + 2880] + content[place:]


def _append(content, rng):
    return content + rng.bytes(int(rng.integers(1, 6000)))


def _zeros(content, rng):
    place = int(rng.integers(len(content)))
    n = min(int(rng.integers(1, 3000)), len(content) - place)
    content[place : place + n] = bytes(n)
    return content
