"""The files of a command: what is read for each image, and what is written."""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.nddata import InverseVariance
from astropy.utils.exceptions import AstropyUserWarning

from bgrem.files.hdus import map_texts, split_hdu
from bgrem.files.io import FitsImage, read_images
from bgrem.files.opening import check_opens
from bgrem.files.products import FITS_ENDINGS, check_output
from bgrem.files.side_maps import (
    ERROR_TYPES,
    parse_bits,
    read_error,
    read_gain,
    read_mask,
    read_weight,
)

__all__ = [
    'Chip',
    'check_streamed',
    'input_paths',
    'map_place',
    'output_paths',
    'place_texts',
    'read_chips',
    'with_unit',
]

_MAPS = ('mask', 'error', 'exposure', 'weight', 'measure')
# What needs the whole image in memory, and its value where it is not asked for.
_NOT_STREAMED = {
    'exposure': None,
    'weight': None,
    'measure': None,
    'regions': None,
    'remove_stripes': False,
    'box_size': 'auto',
    'exclude_percentile': None,
    'normalization': 'local',
}


class Chip(NamedTuple):
    """
    One image, and the data that the user provides with it.

    Parameters
    ----------
    image : `bgrem.files.io.FitsImage`
        The image.
    mask : 2D `~numpy.ndarray` of bool or `None`
        True at pixels that must not be used.
    error : `~astropy.nddata.NDUncertainty` or `None`
        The total error, or the relative inverse variance.
    weight : 2D `~numpy.ndarray` or `None`
        The relative inverse variance.
    gain : float or `None`
        Electrons per data unit of the image that is measured.
    measured : `bgrem.files.io.FitsImage` or `None`
        The image on which fluxes are measured, if it is another one.
    exposure : 2D `~numpy.ndarray` or `~astropy.units.Quantity` or `None`
        The exposure of each pixel.
    """

    image: FitsImage
    mask: np.ndarray | None
    error: object
    weight: np.ndarray | None
    gain: float | None
    measured: FitsImage | None
    exposure: object

    @property
    def data(self):
        """The image with its unit."""
        return with_unit(self.image)

    @property
    def is_empty(self):
        """Whether no pixel is usable."""
        usable = np.isfinite(self.image.data)
        return not np.any(usable if self.mask is None else usable & ~self.mask)


def with_unit(image):
    """
    Return the data of an image with their unit.

    Parameters
    ----------
    image : `bgrem.files.io.FitsImage`
        The image.

    Returns
    -------
    data : 2D `~numpy.ndarray` or `~astropy.units.Quantity`
        Without a unit if the image has none.
    """
    return image.data if image.unit is None else image.data << image.unit


def output_paths(options, outputs):
    """
    Plan what is written for each image, and refuse outputs that cannot be written.

    Parameters
    ----------
    options : `argparse.Namespace`
        The options of the command.

    outputs : dict of str to tuple of str
        The names of the output options, and the file extensions that each may have.

    Returns
    -------
    paths : list of list of `~pathlib.Path`
        The paths of the outputs for each input, where ``'{}'`` is replaced by the
        name of the input without its extension.

    Raises
    ------
    OSError, ValueError
        If an output cannot be written, see `bgrem.files.products.check_output`, or
        if two would be the same. Where a file exists already, and an input does not or
        cannot be read, the error is that of the input.
    """
    try:
        return _plan_outputs(options, outputs)
    except FileExistsError:
        # who allows an output to be replaced would learn of that only then
        for path in options.input:
            check_opens(*input_paths(options, path))
        raise


def _plan_outputs(options, outputs):
    protected = [one for path in options.input for one in input_paths(options, path)]
    seen, paths = {}, []
    for source in options.input:
        paths.append([])
        for name, endings in outputs.items():
            text = getattr(options, name).replace('{}', _stem(source))
            if text in seen:
                msg = (
                    f'output file {text} would be that of {seen[text]} and {source}; '
                    "'{}' in its name stands for the name of the input"
                )
                raise ValueError(msg)
            seen[text] = source
            path = check_output(
                text, overwrite=options.overwrite, inputs=protected, endings=endings
            )
            paths[-1].append(path)
    return paths


def input_paths(options, path):
    """
    Return the files that are read for an image.

    Parameters
    ----------
    options : `argparse.Namespace`
        The options of the command.

    path : str
        The file of the image.

    Returns
    -------
    paths : list of str
        This file, and the files of mask, error, exposure, weight and measured image.
    """
    return [path, *(place[0] for place in _map_places(options, path).values())]


def read_chips(options, path):
    """
    Read the images of a file, and the data given with them in the options.

    Parameters
    ----------
    options : `argparse.Namespace`
        The options of the command.

    path : str
        The file.

    Returns
    -------
    chips : list of `Chip`
        The images. Those without a usable pixel are left out, if others have some.

    Raises
    ------
    OSError, ValueError
        If something cannot be read, or the images have different units.

    Warns
    -----
    `~astropy.utils.exceptions.AstropyUserWarning`
        If an image has no usable pixel, or if more than half of it is masked.
    """
    images = read_images(path, options.hdu, options.plane)
    places = _map_places(options, path)
    bits = None if options.dq_bits is None else parse_bits(options.dq_bits)
    chips = [_read_chip(options, image, places, bits) for image in images]
    for chip in chips:
        _warn_of_mask(chip)
    full = [chip for chip in chips if not chip.is_empty]
    for chip in chips if full else ():
        if chip.is_empty:
            msg = f'{path}, HDU {chip.image.hdu}, has no usable pixel and is left out'
            warnings.warn(msg, AstropyUserWarning, stacklevel=2)
    chips = full or chips
    for images in ([chip.image for chip in chips], [chip.measured for chip in chips]):
        _check_units(images)
    return chips


def check_streamed(options):
    """
    Refuse options that need the whole image in memory.

    Parameters
    ----------
    options : `argparse.Namespace`
        The options of the command.

    Raises
    ------
    ValueError
        If one of them is used.
    """
    for name, default in _NOT_STREAMED.items():
        if getattr(options, name, default) != default:
            option = name.replace('_', '-')
            msg = f'--{option} cannot be given with --stream: it needs the whole image'
            raise ValueError(msg)


def map_place(options, path, name):
    """
    Return the location of a map that belongs to an image.

    Parameters
    ----------
    options : `argparse.Namespace`
        The options of the command.

    path : str
        The file of the image.

    name : str
        The option that names the map.

    Returns
    -------
    place : tuple or `None`
        The file and the HDU; `None` if the option is not used.
    """
    return _map_places(options, path).get(name)


def place_texts(options, path):
    """
    Return the locations of the maps of an image as strings, with their kinds.

    Parameters
    ----------
    options : `argparse.Namespace`
        The options of the command.

    path : path-like
        The file of the image.

    Returns
    -------
    texts : dict of str
        The locations, by the names of the options.
    """
    places = _map_places(options, str(path))
    return map_texts(places, options.dq_bits, options.error_type)


def _read_chip(options, image, places, bits):
    mask = error = weight = exposure = None
    if 'mask' in places:
        mask = read_mask(*places['mask'], bits=bits, image=image)
        _check_shape('mask', mask, image)
    if 'error' in places:
        values = read_error(*places['error'], image=image)
        _check_shape('error', values, image)
        error = ERROR_TYPES[options.error_type](values)
    if 'exposure' in places:
        # an image with a unit, as that of the errors is
        exposure = read_error(*places['exposure'], image=image)
        _check_shape('exposure', exposure, image)
    if 'weight' in places:
        weight = read_weight(*places['weight'], image=image)
        _check_shape('weight', weight, image)
        error = InverseVariance(weight)
    measured = None
    if 'measure' in places:
        measured = _read_measured(*places['measure'], image)
        _check_shape('the image to measure', measured.data, image)
    gain = None if options.gain is None else read_gain(options.gain, measured or image)
    return Chip(image, mask, error, weight, gain, measured, exposure)


def _read_measured(path, hdu, image):
    """Read the image to measure: of several the one with the HDU of the image."""
    images = read_images(path, hdu)
    if len(images) == image.n_images == 1:
        return images[0]
    for one in images:
        if one.hdu == image.hdu:
            return one
    names = ', '.join(str(one.hdu) for one in images)
    msg = f'{path} has no image in HDU {image.hdu} to measure, but in {names}'
    raise ValueError(msg)


def _map_places(options, path):
    """Return file and HDU of each map that the options name."""
    texts = {name: getattr(options, name) for name in _MAPS}
    if options.dq_bits is not None and options.mask is None:
        texts['mask'] = '[DQ]'
    places = {}
    for name, text in texts.items():
        if text is not None:
            file, hdu = split_hdu(text.replace('{}', _stem(path)))
            places[name] = (file or path, hdu)
    return places


def _check_shape(name, values, image):
    if values.shape != image.data.shape:
        msg = (
            f'data and {name} must have the same shape, got {image.data.shape} in HDU '
            f'{image.hdu} and {values.shape}'
        )
        raise ValueError(msg)


def _check_units(images):
    """Refuse images that no column of one catalog, nor zero point, can be of."""
    units = {}
    for image in images:
        if image is not None:
            units.setdefault(image.unit, image)
    if len(units) > 1:
        found = ', '.join(
            f'{"none" if unit is None else unit} in HDU {image.hdu}'
            for unit, image in units.items()
        )
        msg = (
            f'the images of {image.path} must have the same unit, got {found}; name an '
            'HDU to use one'
        )
        raise ValueError(msg)


def _warn_of_mask(chip):
    if chip.mask is None or chip.is_empty:
        return
    fraction = np.mean(chip.mask)
    if fraction > 0.5:
        msg = (
            f'{fraction:.0%} of {chip.image.path}, HDU {chip.image.hdu}, are masked; '
            'where the mask holds flags, --dq-bits chooses those that matter'
        )
        warnings.warn(msg, AstropyUserWarning, stacklevel=3)


def _stem(path):
    """Return the name of a FITS file without its ending."""
    name = Path(path).name
    for ending in ('.fz', '.zarr', *sorted(FITS_ENDINGS, key=len, reverse=True)):
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
    return name
