"""Open FITS files, however damaged they may be."""

import bz2
import gzip
import lzma
import math
import os
import re
from contextlib import contextmanager
from io import BytesIO
from itertools import count
from pathlib import Path

from astropy.io import fits

__all__ = ['check_opens', 'check_size', 'fits_errors', 'open_fits', 'unpacking']

ZARR_ENDING = '.zarr'

# Constant pixels, the best case, are compressed by some thousands.
_BEST_COMPRESSION = 20_000

# More axes than the standard allows are damage.
_MOST_AXES = 999
_OPENERS = {b'\x1f\x8b': gzip.open, b'BZh': bz2.open, b'\xfd7zXZ': lzma.open}


@contextmanager
def fits_errors(path, problem):
    """
    Turn any exception from reading a damaged file into one readable error.

    Parameters
    ----------
    path : path-like
        The file.

    problem : str
        What is wrong: the message is ``file PATH PROBLEM: ...``.

    Raises
    ------
    MemoryError
        If there is not enough memory.
    ValueError
        If anything else is wrong.
    """
    try:
        yield
    except Exception as exc:  # astropy, zlib and cfitsio raise a dozen kinds
        if isinstance(exc, ValueError) and str(path) in str(exc):
            raise
        # without the hint of astropy at an option that nobody here can set
        text = ' '.join(str(exc).split()).partition(' If this is really a FITS file')[0]
        text = text or type(exc).__name__
        msg = f'file {path} {problem}: {text}'
        kind = MemoryError if isinstance(exc, MemoryError) else ValueError
        raise kind(msg) from exc


def open_fits(path):
    """
    Open a FITS file and read all its headers.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    hdus : `~astropy.io.fits.HDUList`
        The HDUs; the caller must close them.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If it cannot be read as FITS.
    """
    path = Path(path)
    if not path.exists():
        msg = f'file {path} does not exist'
        raise FileNotFoundError(msg)
    with fits_errors(path, 'cannot be read as FITS'):
        if not path.is_file():  # opening a pipe would wait for its writer
            msg = 'it is not a regular file'
            raise ValueError(msg)
        opener = unpacking(path)
        with path.open('rb') as file:
            content = None if opener is None else BytesIO(opener(file).read())
            _check_headers(file if content is None else content)
        # Without uint=False unsigned integers would skip the BLANK value. The
        # file is read at once: scaled data cannot be mapped anyhow.
        hdus = fits.open(content or path, memmap=False, uint=False)
        try:
            # reads all headers; a name that cannot be parsed is found out here
            [(hdu.name, hdu.ver) for hdu in hdus]
        except BaseException:
            hdus.close()
            raise
    return hdus


def check_opens(*paths):
    """
    Refuse files that do not exist, or do not begin like a readable file.

    This takes no time, except for opening them.

    Parameters
    ----------
    *paths : path-like
        The files; folders of Zarr must exist.

    Raises
    ------
    FileNotFoundError, ValueError
        As for `open_fits`.
    """
    for path in map(Path, paths):
        if path.is_dir() and path.suffix.lower() == ZARR_ENDING:
            continue
        if path.is_file():
            with fits_errors(path, 'cannot be read'):
                if _start(path).startswith((b'SIMPLE', *_OPENERS)):
                    continue
        open_fits(path).close()


def unpacking(path):
    """
    Return a function that opens a file that is compressed as a whole, for any name.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    opener : callable or `None`
        `gzip.open` or a similar function; `None` for a file that is not compressed.
    """
    start = _start(path)
    return next((_OPENERS[m] for m in _OPENERS if start.startswith(m)), None)


def _start(path):
    """Return the bytes of a file that tell how it is packed."""
    with Path(path).open('rb') as file:
        return file.read(6)


def _check_headers(file):
    """
    Refuse headers of which astropy would make no end, or worse.

    It walks from one header to the next by the size that each claims, backwards if
    that is negative, and over as many axes or columns as are named; and its C code
    believes the sizes of tiles.
    """
    for index in count():
        try:
            header = fits.Header.fromfile(file)
        except Exception:
            # The end of the file, or something that astropy will complain of.
            break
        if (problem := _find_problem(header)) is not None:
            msg = f'HDU {index} cannot have {problem} = {_shown(header, problem)}'
            raise ValueError(msg)
        try:
            if not header.get('GROUPS', False):
                axes = [
                    header.get(f'NAXIS{k + 1}', 0)
                    for k in range(header.get('NAXIS', 0))
                ]
                n_values = header.get('PCOUNT', 0) + (math.prod(axes) if axes else 0)
                n_bytes = (
                    abs(header['BITPIX']) // 8 * header.get('GCOUNT', 1) * n_values
                )
                file.seek(-(-n_bytes // 2880) * 2880, os.SEEK_CUR)
        except Exception:  # the end, or something that astropy will complain of
            break
    file.seek(0)


def _find_problem(header):
    """Return the keyword of a number that cannot be, or None."""
    for key, allowed in _rules(header):
        try:
            if not allowed(header[key]):
                return key
        except Exception:  # it has no value that can be read, or none that is a number
            return key
    return None


def _rules(header):
    """Yield the keywords with numbers, and functions that tell what these may be."""
    for key in ('NAXIS', 'TFIELDS', 'ZNAXIS'):
        if key in header:
            yield key, lambda value: 0 <= value <= _MOST_AXES
    pattern = re.compile(r'PCOUNT|GCOUNT|Z?NAXIS\d+|ZTILE\d+')
    for key in filter(pattern.fullmatch, header):
        lowest = 1 if key.startswith('ZTILE') else 0
        yield key, lambda value, lowest=lowest: lowest <= value < 2**62
    for key in filter(re.compile(r'ZTILE\d+').fullmatch, header):
        axis = key.replace('ZTILE', 'ZNAXIS')
        yield key, lambda value, axis=axis: value <= header[axis]
    known = {'BLOCKSIZE': (16, 32), 'BYTEPIX': (1, 2, 4, 8)}
    for key in filter(re.compile(r'ZNAME\d+').fullmatch, header):
        value = key.replace('NAME', 'VAL')
        name = header[key]
        yield value, lambda n, name=name: n in known.get(name, (n,))


def _shown(header, key):
    """Return the value of a card as a text."""
    try:
        return header[key]
    except Exception:  # a card that cannot be parsed, or none
        return 'what it is'


def check_size(hdu, path):
    """
    Refuse an image that is larger than its file can hold, before memory is taken.

    Parameters
    ----------
    hdu : HDU
        The image.

    path : `~pathlib.Path`
        The file.

    Raises
    ------
    ValueError
        If the header promises more pixels than the file can hold.
    """
    n_bytes = math.prod(hdu.shape) * abs(hdu.header['BITPIX']) // 8
    packed = isinstance(hdu, fits.CompImageHDU) or unpacking(path) is not None
    if n_bytes > path.stat().st_size * (_BEST_COMPRESSION if packed else 1):
        msg = f'its header promises {n_bytes} bytes, which the file does not hold'
        raise ValueError(msg)
