"""FITS files: which of their HDUs are images, and what damage does to them."""

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

__all__ = [
    'check_size',
    'fits_errors',
    'hdu_name',
    'image_indices',
    'map_index',
    'open_fits',
    'split_hdu',
]

# Names of extensions that stand beside an image and are none.
_AUXILIARY = {
    'ERR', 'ERROR', 'ERRORS', 'STDDEV', 'SIGMA', 'RMS', 'UNC', 'UNCERT',
    'UNCERTAINTY', 'NOISE', 'VAR', 'VARIANCE', 'VARPOISSON', 'VARRNOISE',
    'VARFLAT', 'IVAR', 'INVVAR', 'WHT', 'WGT', 'WEIGHT', 'WEIGHTS', 'EXP',
    'EXPTIME', 'EXPOSURE', 'EXPMAP', 'TIME', 'SAMP', 'NSAMP', 'COV', 'COVERAGE',
    'NEXP', 'DQ', 'DQI', 'MASK', 'MSK', 'FLAG', 'FLAGS', 'FLG', 'QUALITY', 'BPM',
    'BADPIX', 'CTX', 'CON', 'AREA', 'SEG', 'SEGM', 'PSF', 'BKG', 'BACKGROUND',
    'BACKGROUNDRMS', 'PROBABILITY',
}  # fmt: skip
# Constant pixels, the best case, are compressed by some thousands.
_BEST_COMPRESSION = 20_000

# More axes than the standard allows are damage.
_MOST_AXES = 999
_OPENERS = {b'\x1f\x8b': gzip.open, b'BZh': bz2.open, b'\xfd7zXZ': lzma.open}


@contextmanager
def fits_errors(path, problem):
    """
    Turn whatever reading a damaged file raises into one readable error.

    Parameters
    ----------
    path : path-like
        The file.

    problem : str
        What is wrong: the message is ``file PATH PROBLEM: ...``.

    Raises
    ------
    MemoryError
        If the memory does not suffice.
    ValueError
        If anything else is wrong.
    """
    try:
        yield
    except Exception as exc:
        if isinstance(exc, ValueError) and str(path) in str(exc):
            raise
        # Of damaged bytes astropy, zlib and cfitsio raise a dozen kinds.
        text = ' '.join(str(exc).split()) or type(exc).__name__
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
        To be closed by the caller.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
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
        with path.open('rb') as file:
            start = file.read(6)
            file.seek(0)
            opener = next((_OPENERS[m] for m in _OPENERS if start.startswith(m)), None)
            content = None if opener is None else BytesIO(opener(file).read())
            _check_headers(file if content is None else content)
        # Without uint=False unsigned integers would skip the BLANK value. The
        # file is read at once: scaled data cannot be mapped anyhow.
        hdus = fits.open(content or path, memmap=False, uint=False)
        try:
            len(hdus)  # reads all headers
        except BaseException:
            hdus.close()
            raise
    return hdus


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
            problem = _find_problem(header)
            if problem is None and not header.get('GROUPS', False):
                axes = [header[f'NAXIS{k + 1}'] for k in range(header.get('NAXIS', 0))]
                n_values = header.get('PCOUNT', 0) + (math.prod(axes) if axes else 0)
                n_bytes = (
                    abs(header['BITPIX']) // 8 * header.get('GCOUNT', 1) * n_values
                )
                file.seek(-(-n_bytes // 2880) * 2880, os.SEEK_CUR)
        except Exception:
            # The end of the file, or something that astropy will complain of.
            break
        if problem is not None:
            msg = f'HDU {index} cannot have {problem} = {header[problem]}'
            raise ValueError(msg)
    file.seek(0)


def _find_problem(header):
    """Return the keyword of a number that cannot be, or None."""
    for key in ('NAXIS', 'TFIELDS', 'ZNAXIS'):
        if not 0 <= header.get(key, 0) <= _MOST_AXES:
            return key
    pattern = re.compile(r'PCOUNT|GCOUNT|Z?NAXIS\d+|ZTILE\d+')
    for key in filter(pattern.fullmatch, header):
        lowest = 1 if key.startswith('ZTILE') else 0
        if not lowest <= header[key] < 2**62:
            return key
    for k in range(header.get('ZNAXIS', 0)):
        if header.get(f'ZTILE{k + 1}', 1) > header[f'ZNAXIS{k + 1}']:
            return f'ZTILE{k + 1}'
    known = {'BLOCKSIZE': (16, 32), 'BYTEPIX': (1, 2, 4, 8)}
    for key in filter(re.compile(r'ZNAME\d+').fullmatch, header):
        value = key.replace('NAME', 'VAL')
        if header[value] not in known.get(header[key], (header[value],)):
            return value
    return None


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
        If the header promises more pixels than there can be.
    """
    n_bytes = math.prod(hdu.shape) * abs(hdu.header['BITPIX']) // 8
    packed = isinstance(hdu, fits.CompImageHDU) or path.suffix.lower() != '.fits'
    if n_bytes > path.stat().st_size * (_BEST_COMPRESSION if packed else 1):
        msg = f'its header promises {n_bytes} bytes, which the file does not hold'
        raise ValueError(msg)


def split_hdu(text):
    """
    Split the name of a file from that of an HDU in brackets.

    Parameters
    ----------
    text : str
        Such as ``'in.fits'``, ``'in.fits[ERR]'`` or ``'in.fits[SCI,2]'``.

    Returns
    -------
    path : str
        The file; empty for ``'[ERR]'``.
    hdu : str or `None`
        The HDU, if one is named.
    """
    if not text.endswith(']') or '[' not in text or Path(text).exists():
        return text, None
    path, _, hdu = text[:-1].rpartition('[')
    return path, hdu


def hdu_name(hdus, index):
    """
    Return how an HDU is named where it must be told from the others.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        The HDUs of a file.

    index : int
        The number of one.

    Returns
    -------
    name : str
        Its name, as ``'SCI,2'`` where several have it, or its number where it has
        none, or shares name and version with another.
    """
    name, version = hdus[index].name, hdus[index].ver
    same = [hdu.ver for hdu in hdus if hdu.name == name]
    if not name or name == 'PRIMARY' or same.count(version) > 1:
        return str(index)
    return name if len(same) == 1 else f'{name},{version}'


def image_indices(hdus, path, hdu=None, plane=None):
    """
    Choose the images of a file.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        The HDUs of the file.

    path : path-like
        The file, for the messages.

    hdu : int or str or `None`, optional
        The number or name (``'SCI'`` or ``'SCI,2'``) of one image. By default all
        that are named SCI; else the first that is not named as what stands beside an
        image (ERR, WHT, DQ, ...), with the other chips of the same camera: those whose
        names differ in their digits alone, or where all have the keyword DETSEC.

    plane : tuple of int or `None`, optional
        The plane of a cube that is to be read, one number for each axis beyond the
        two of an image.

    Returns
    -------
    indices : list of int
        The numbers of the HDUs.
    left_out : list of int
        Other images that could have been meant, where the names do not tell.

    Raises
    ------
    ValueError
        If there is no such HDU or image.
    """
    if hdu is not None:
        index = _named_index(hdus, path, hdu)
        shape = _shape(hdus[index])
        if shape is None or not _is_2d(shape, plane):
            what = 'a table' if shape is None else f'of shape {shape}'
            msg = f'HDU {hdu!r} of {path} must be a two-dimensional image, it is {what}'
            raise ValueError(msg + _plane_hint(shape, plane))
        return [index], []
    images = _images(hdus, path, plane)
    if science := [i for i in images if _kind(hdus[i]) == 'SCI']:
        return science, []
    candidates = [i for i in images if _kind(hdus[i]) not in _AUXILIARY]
    if not candidates:
        found = ', '.join(_label(hdus, i) for i in images)
        msg = (
            f'file {path} holds no image but {found}, which look like what stands '
            'beside an image; name the HDU to use one'
        )
        raise ValueError(msg)
    first = hdus[candidates[0]]
    chips = [i for i in candidates if _is_sister(hdus[i], first)]
    return chips, [i for i in candidates if i not in chips]


def map_index(hdus, path, hdu=None, plane=None, *, version=1, number=0, n_images=1):
    """
    Choose the HDU that stands beside an image: a mask, an error, a weight.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        The HDUs of the file.

    path : path-like
        The file, for the messages.

    hdu : int or str or `None`, optional
        The number or name of the HDU. Of several with the same name it is the one
        with the version of the image. By default the first image; where there are
        several images to go with, and as many in the file, that at the same place.

    plane : tuple of int or `None`, optional
        The plane of the image, if that is one of a cube.

    version : int, optional
        EXTVER of the image.

    number, n_images : int, optional
        The image is that many-th of so many, from 0.

    Returns
    -------
    index : int
        The number of the HDU.
    plane : tuple of int or `None`
        The plane, if the HDU is a cube too.

    Raises
    ------
    ValueError
        If there is no such HDU, or no way to tell which it is.
    """
    index = _beside(hdus, path, hdu, plane, version, (number, n_images))
    shape = _shape(hdus[index])
    for used in (None, plane):
        if shape is not None and _is_2d(shape, used):
            return index, used
    what = 'a table' if shape is None else f'of shape {shape}'
    msg = f'HDU {index} of {path} must be a two-dimensional image, it is {what}'
    raise ValueError(msg)


def _beside(hdus, path, hdu, plane, version, place):
    number, n_images = place
    if hdu is None:
        candidates = _images(hdus, path, None, plane)
        if n_images == 1 or len(candidates) == 1:
            return candidates[0]
    else:
        index = _named_index(hdus, path, hdu)
        name = hdus[index].name
        candidates = [i for i in range(len(hdus)) if hdus[i].name == name]
        if str(hdu).strip().upper() != name or len(candidates) == 1:
            return index
        same = [i for i in candidates if hdus[i].ver == version]
        if len(same) == 1:
            return same[0]
    if len(candidates) == n_images:
        return candidates[number]
    found = ', '.join(_label(hdus, i) for i in candidates)
    images = 'one image' if n_images == 1 else f'{n_images} images'
    msg = f'file {path} has HDUs {found} for {images}: name the one to use'
    raise ValueError(msg)


def _images(hdus, path, *planes):
    """Return the numbers of the two-dimensional images, at least one."""
    shapes = [_shape(hdu) for hdu in hdus]
    found = [
        index
        for index, shape in enumerate(shapes)
        if shape is not None and any(_is_2d(shape, plane) for plane in planes)
    ]
    if not found:
        seen = ', '.join(
            f'{_label(hdus, i)} ' + ('table' if shape is None else f'shape {shape}')
            for i, shape in enumerate(shapes)
        )
        msg = f'file {path} holds no two-dimensional image; its HDUs are: {seen}'
        hints = {_plane_hint(shape, planes[-1]) for shape in shapes}
        raise ValueError(msg + max(hints))
    return found


def _shape(hdu):
    kinds = (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU)
    is_image = isinstance(hdu, kinds) and not isinstance(hdu, fits.GroupsHDU)
    return tuple(hdu.shape) if is_image else None


def _is_2d(shape, plane):
    long_axes = sum(length != 1 for length in shape[:-2])
    return len(shape) >= 2 and long_axes == len(plane or ()) and 0 not in shape


def _plane_hint(shape, plane):
    is_cube = shape is not None and len(shape) > 2 and not _is_2d(shape, plane)
    return '; a plane of a cube can be named' if is_cube and plane is None else ''


def _kind(hdu):
    """Return the name without the part that tells chips apart: A.ERR, VAR_FLAT."""
    return re.sub(r'[\W_\d]+', '', hdu.name.upper().rpartition('.')[2])


def _is_sister(hdu, first):
    if hdu is first or ('DETSEC' in hdu.header and 'DETSEC' in first.header):
        return True
    stems = {re.sub(r'\d+', '#', one.name) for one in (hdu, first)}
    return len(stems) == 1 and '#' in stems.pop()


def _label(hdus, index):
    name = hdu_name(hdus, index)
    return name if name == str(index) else f'{index} ({name})'


def _named_index(hdus, path, hdu):
    """Return the number of the HDU with a number, a name or a name and version."""
    key = hdu
    if isinstance(hdu, str):
        name, _, version = hdu.partition(',')
        if re.fullmatch(r'\s*-?\d{1,9}\s*', hdu):
            key = int(hdu)
        elif version.strip().isdecimal():
            key = (name.strip(), int(version))
    try:
        index = range(len(hdus))[key] if isinstance(key, int) else hdus.index_of(key)
    except (KeyError, IndexError):
        known = ', '.join(_label(hdus, i) for i in range(len(hdus)))
        msg = f'file {path} has no HDU {hdu!r}; it has: {known}'
        raise ValueError(msg) from None
    return index
