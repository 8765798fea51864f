"""Find the HDUs of a FITS file that are images, and those that belong to them."""

import re
from pathlib import Path

from astropy.io import fits

__all__ = ['hdu_name', 'image_indices', 'map_index', 'map_texts', 'split_hdu']

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


def split_hdu(text):
    """
    Split a string into the name of a file and that of an HDU in brackets.

    Parameters
    ----------
    text : str
        For example ``'in.fits'``, ``'in.fits[ERR]'`` or ``'in.fits[SCI,2]'``.

    Returns
    -------
    path : str
        The file; empty for ``'[ERR]'``.
    hdu : str or `None`
        The HDU, if one is given.
    """
    if not text.endswith(']') or '[' not in text or Path(text).exists():
        return text, None
    path, _, hdu = text[:-1].rpartition('[')
    return path, hdu


def map_texts(places, bits=None, error_type=None):
    """
    Return the locations of maps as strings, the reverse of `split_hdu`.

    Parameters
    ----------
    places : dict of str to tuple
        The file of each map and, if one is named, its HDU, by the name of the map.

    bits : str or int or `None`, optional
        The bits of the ``'mask'`` that are used.

    error_type : str or `None`, optional
        The kind of the ``'error'``.

    Returns
    -------
    texts : dict of str
        For example ``{'error': 'in.fits[ERR], std'}``.
    """
    kinds = {'mask': None if bits is None else f'bits {bits}', 'error': error_type}
    texts = {}
    for name, (path, *hdu) in places.items():
        named = ''.join(f'[{one}]' for one in hdu if one is not None)
        kind = kinds.get(name)
        texts[name] = f'{path}{named}' if kind is None else f'{path}{named}, {kind}'
    return texts


def hdu_name(hdus, index):
    """
    Return a name that distinguishes an HDU from the others.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        The HDUs of a file.

    index : int
        The number of the HDU.

    Returns
    -------
    name : str
        Its name, with the version if several HDUs share it (``'SCI,2'``); its number
        if it has no name, or shares name and version with another HDU.
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
        The number or name (``'SCI'`` or ``'SCI,2'``) of one image. By default, all
        images named SCI; else the first image whose name is not that of an auxiliary
        image (ERR, WHT, DQ, ...), with the other chips of the same camera: those whose
        names differ from its name only in digits, or which like it have the keyword
        DETSEC.

    plane : tuple of int or `None`, optional
        The plane of a cube to read, one number for each axis beyond the two of an
        image.

    Returns
    -------
    indices : list of int
        The numbers of the HDUs.
    left_out : list of int
        Other images that might have been meant, if the names are not conclusive.

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
            f'file {path} holds no image but {found}, which look like maps that '
            'belong to an image; name the HDU to use one'
        )
        raise ValueError(msg)
    first = hdus[candidates[0]]
    chips = [i for i in candidates if _is_sister(hdus[i], first)]
    return chips, [i for i in candidates if i not in chips]


def map_index(hdus, path, hdu=None, plane=None, *, version=1, number=0, n_images=1):
    """
    Choose the HDU of a map that belongs to an image: a mask, an error, a weight.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        The HDUs of the file.

    path : path-like
        The file, for the messages.

    hdu : int or str or `None`, optional
        The number or name of the HDU. If several have this name, the one with the
        version of the image is used. By default, the first image; if there are several
        images, and as many in the file, the one at the same place.

    plane : tuple of int or `None`, optional
        The plane of the image, if it is a plane of a cube.

    version : int, optional
        EXTVER of the image.

    number, n_images : int, optional
        The number of the image, from 0, and how many images there are.

    Returns
    -------
    index : int
        The number of the HDU.
    plane : tuple of int or `None`
        The plane, if the HDU is a cube too.

    Raises
    ------
    ValueError
        If there is no such HDU, or it cannot be determined which one is meant.
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
    if shape is None or _is_2d(shape, plane):
        return ''
    if plane is not None:
        return (
            f'; a plane is one number for each axis of a cube beyond two, got {plane}'
        )
    return '; a plane of a cube can be named (plane, --plane)' if len(shape) > 2 else ''


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
