"""
Convert every accepted form of an image to one record.
"""

import os
import warnings
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import (
    InverseVariance,
    NDData,
    StdDevUncertainty,
    VarianceUncertainty,
)
from astropy.utils.exceptions import AstropyUserWarning
from astropy.utils.masked import Masked

__all__ = [
    'ImageInput',
    'describe_dimensions',
    'describe_given',
    'parse_error',
    'parse_exposure',
    'parse_image',
    'to_data_unit',
]

_KINDS = (StdDevUncertainty, VarianceUncertainty, InverseVariance)
_IMAGE_HDUS = (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU)


@dataclass(frozen=True, eq=False)
class ImageInput:
    """
    An image in the form that the rest of the package uses.

    Attributes
    ----------
    data : 2D `~numpy.ndarray`
        The pixel values, a copy: float64 for float64 and wider input, else
        float32; native byte order. Non-finite values are kept.
    mask : 2D `~numpy.ndarray` of bool or `None`
        `True` where a pixel must not be used, from the ``mask`` argument and
        the mask of the data. `None` if there was neither.
    coverage_mask : 2D `~numpy.ndarray` of bool or `None`
        `True` where the image has no data.
    unit : `~astropy.units.Unit` or `None`
        The unit of the data.
    wcs : object or `None`
        The world coordinate system of an `~astropy.nddata.NDData`.
    error : 2D `~numpy.ndarray` or `None`
        The total 1-sigma error of each pixel, in the unit and dtype of the data; 0
        where it is not known. Pixels where it was negative or not finite are masked,
        and the error is 0.
    blank : 2D `~numpy.ndarray` of bool or `None`
        `True` where the image was filled with a constant, see
        `bgrem.sky.blank.blank_pixels`. `None` if this is not known, or nowhere.
    header : mapping or `None`
        A copy of the ``meta`` of an `~astropy.nddata.NDData`.
    exposure : 2D `~numpy.ndarray` of float64 or `None`
        The exposure of each pixel; 0 where there is none, and the pixel is masked.
    exposure_unit : `~astropy.units.Unit` or `None`
        The unit of the exposure.
    """

    data: np.ndarray
    mask: np.ndarray | None = None
    coverage_mask: np.ndarray | None = None
    unit: u.UnitBase | None = None
    wcs: object = None
    error: np.ndarray | None = None
    blank: np.ndarray | None = None
    header: object = None
    exposure: np.ndarray | None = None
    exposure_unit: u.UnitBase | None = None

    @property
    def unusable(self):
        """
        `True` at pixels that are masked, uncovered, blank or not finite (2D bool).
        """
        unusable = ~np.isfinite(self.data)
        for mask in (self.mask, self.coverage_mask, self.blank):
            if mask is not None:
                unusable |= mask
        return unusable


def parse_image(
    data,
    *,
    mask=None,
    coverage_mask=None,
    error=None,
    exposure=None,
    use_nddata_mask=True,
):
    """
    Convert an image in any accepted form.

    Parameters
    ----------
    data : array_like, `~astropy.units.Quantity` or `~astropy.nddata.NDData`
        The 2D image, of any real dtype and byte order (including float16, integers
        and bool): a nested list, a `~numpy.ma.MaskedArray`, an
        `~astropy.utils.masked.Masked` array, a `~astropy.units.Quantity`, an
        `~astropy.nddata.NDData` or `~astropy.nddata.CCDData`, or a gammapy map
        (``WcsNDMap``) with one energy bin. It is copied, never changed.
    mask : 2D array_like of bool, optional
        `True` where a pixel must not be used (a bad pixel, a known source).
        The mask of a masked array and, with ``use_nddata_mask``, that of an
        `~astropy.nddata.NDData` (whose integers are converted to bool) are added.
    coverage_mask : 2D array_like of bool, optional
        `True` where the image has no data at all.
    error : 2D array_like, Quantity, NDData or NDUncertainty, optional
        The total 1-sigma error of each pixel. A plain array is in the unit of the
        data; a variance or an inverse variance of astropy is converted. Pixels
        where it is negative, masked or not finite (an inverse variance of 0) are
        masked; 0 means that the error is not known. Default: with
        ``use_nddata_mask``, the uncertainty of an `~astropy.nddata.NDData`, if it is a
        standard deviation, a variance or an inverse variance.
    exposure : 2D array_like, Quantity, NDData or gammapy map, optional
        The exposure of each pixel. Pixels where it is not positive, masked or not
        finite are masked.
    use_nddata_mask : bool, optional
        Whether to use the mask and the uncertainty of an
        `~astropy.nddata.NDData`. Default `True`; `False` is the behavior of
        `photutils.background.Background2D`.

    Returns
    -------
    image : `ImageInput`
        The image.

    Raises
    ------
    TypeError
        If the data or their error are not real numbers, the unit of the data is not
        linear, or a mask is not boolean.
    ValueError
        If the data, a mask or the error are not 2D, their shapes differ, the image
        has no pixels, or the error is nowhere positive.
    UnitConversionError
        If the unit of the error is not convertible to that of the data.

    Warns
    -----
    `~astropy.utils.exceptions.AstropyUserWarning`
        If the uncertainty is ignored because it is of another kind.
    """
    carried = []
    unit = wcs = header = None
    if isinstance(data, NDData):
        wcs, header = data.wcs, deepcopy(data.meta)
        if use_nddata_mask and data.mask is not None:
            carried.append(_nddata_mask(data))
        if use_nddata_mask and error is None and _is_known(data.uncertainty):
            error = data.uncertainty
        unit = data.unit
        data = data.data
    elif _is_map(data):
        data, unit, wcs = _read_map(data)
    if isinstance(data, Masked):
        carried.append(data.mask)
        data = data.unmasked
    if isinstance(data, u.Quantity):
        unit = data.unit
        data = data.value
    if isinstance(data, np.ma.MaskedArray):
        carried.append(data.mask)
        data = data.data

    _check_linear(unit)
    data = _as_float_image(data)
    masks = [_as_mask(one, data.shape, 'mask') for one in (mask, *carried)]
    if error is not None:
        error, unusable = parse_error(error, data, unit)
        masks.append(unusable)
    exposure_unit = None
    if exposure is not None:
        exposure, exposure_unit = parse_exposure(exposure, data.shape)
        masks.append(exposure == 0)
    given = [one for one in masks if one is not None]
    return ImageInput(
        data=data,
        mask=np.logical_or.reduce(given) if given else None,
        coverage_mask=_as_mask(coverage_mask, data.shape, 'coverage_mask'),
        unit=unit,
        wcs=wcs,
        error=error,
        header=header,
        exposure=exposure,
        exposure_unit=exposure_unit,
    )


def parse_exposure(exposure, shape):
    """
    Convert the exposure of an image.

    Parameters
    ----------
    exposure : 2D array_like, Quantity, NDData or gammapy map
        The exposure.
    shape : tuple of int
        The shape of the image.

    Returns
    -------
    exposure : 2D `~numpy.ndarray` of float64
        The exposure; 0 where it was not positive, masked or not finite.
    unit : `~astropy.units.Unit` or `None`
        The unit of the exposure.

    Raises
    ------
    TypeError
        If it does not consist of real numbers.
    ValueError
        If it has another shape, or is nowhere positive.
    """
    missing = None
    if _is_map(exposure):
        exposure, unit, _ = _read_map(exposure)
    else:
        exposure, missing = _without_mask(exposure)
        unit = getattr(exposure, 'unit', None)
    values = _as_array(getattr(exposure, 'value', exposure), 'exposure')
    if values.dtype.kind not in 'fiub':
        got = describe_given(exposure, values.dtype)
        msg = f'exposure must be an array of real numbers, got {got}'
        raise TypeError(msg)
    _check_2d('exposure', values)
    if values.shape != shape:
        msg = f'exposure must have the shape of the data, {shape}, got {values.shape}'
        raise ValueError(msg)
    values = values.astype(float)
    values[~(np.isfinite(values) & (values > 0))] = 0
    if missing is not None:
        values[missing] = 0
    if not values.any():
        msg = 'exposure must be positive and finite at one pixel at least'
        raise ValueError(msg)
    return values, unit


def _check_linear(unit):
    """Refuse magnitudes and other logarithms."""
    if unit is None:
        return
    if isinstance(unit, u.FunctionUnitBase) or unit.is_equivalent(u.mag):
        msg = (
            f'data must have a linear unit, got {unit}: there is no sky in '
            'magnitudes; give fluxes (data.physical, of a Magnitude)'
        )
        raise TypeError(msg)


def _is_map(data):
    """Whether something is a map of gammapy, which is not imported for that."""
    return all(hasattr(data, name) for name in ('geom', 'data', 'unit'))


def _read_map(data):
    """Return the values, the unit and the WCS of a map of one energy bin."""
    values = np.asarray(data.data)
    if values.ndim > 2 and values.shape[:-2] == (1,) * (values.ndim - 2):
        values = values.reshape(values.shape[-2:])
    unit = u.Unit(data.unit)
    wcs = getattr(data.geom, 'wcs', None)
    return values, None if unit == u.dimensionless_unscaled else unit, wcs


def parse_error(error, data, unit, *, is_part=False):
    """
    Convert the total error of an image.

    Parameters
    ----------
    error : 2D array_like, Quantity, NDData or NDUncertainty
        As for `parse_image`.
    data : 2D `~numpy.ndarray` of float
        The data, without their unit.
    unit : `~astropy.units.Unit` or `None`
        The unit of the data.
    is_part : bool, optional
        Whether this is a part of an image, which may have no error at all. Default
        `False`.

    Returns
    -------
    error : 2D `~numpy.ndarray`
        The error in the unit and dtype of the data; 0 at unusable pixels.
    unusable : 2D `~numpy.ndarray` of bool
        `True` where the error is negative, masked or not finite.

    Raises
    ------
    TypeError, ValueError, UnitConversionError
        As for `parse_image`.
    """
    if isinstance(error, _KINDS):
        error = _standard_deviation(error)
    error, missing = _without_mask(error)
    error = to_data_unit('error', error, unit)
    given, error = error, _as_array(error, 'error')
    if error.dtype.kind not in 'fiu':
        got = describe_given(given, error.dtype)
        msg = f'error must be an array of real numbers, got {got}'
        raise TypeError(msg)
    _check_2d('error', error)
    if error.shape != data.shape:
        shapes = f'{data.shape} and {error.shape}'
        msg = f'data and error must have the same shape, got {shapes}'
        raise ValueError(msg)
    with np.errstate(over='ignore'):  # then it is infinite, and masked
        error = error.astype(data.dtype)
    unusable = ~(np.isfinite(error) & (error >= 0))
    if missing is not None:
        unusable |= missing
    error[unusable] = 0
    if not (is_part or error.any()):
        msg = 'error must be positive and finite at one pixel at least'
        raise ValueError(msg)
    return error, unusable


def _without_mask(values):
    """Return values, with their unit, and where they are masked (or `None`)."""
    masks = []
    if isinstance(values, NDData):
        if values.mask is not None:
            masks.append(_nddata_mask(values))
        unit, values = values.unit, values.data
        values = values if unit is None else values << unit
    if isinstance(values, Masked):
        masks.append(values.mask)
        values = values.unmasked
    if isinstance(values, np.ma.MaskedArray):
        masks.append(values.mask)
        values = values.data
    masks = [np.asarray(mask, dtype=bool) for mask in masks]
    return values, np.logical_or.reduce(masks) if masks else None


def _nddata_mask(nddata):
    """Return the mask of an NDData, where integers count as boolean."""
    mask, shape = np.asarray(nddata.mask), np.shape(nddata.data)
    if mask.ndim == 0:  # False, of a masked array that masks nothing
        mask = np.broadcast_to(mask, shape)
    if mask.shape != shape:
        msg = f'data and mask must have the same shape, got {shape} and {mask.shape}'
        raise ValueError(msg)
    return mask.astype(bool) if mask.dtype.kind in 'iu' else mask


def _is_known(uncertainty):
    """Whether an uncertainty is there, of a kind that can be used; else warn."""
    if uncertainty is None or isinstance(uncertainty, _KINDS):
        return uncertainty is not None
    msg = (
        f'the uncertainty, a {type(uncertainty).__name__}, is ignored: it is not a '
        'standard deviation, variance or inverse variance'
    )
    warnings.warn(msg, AstropyUserWarning, stacklevel=6)
    return False


def _standard_deviation(uncertainty):
    """Return the values of an NDUncertainty as standard deviations."""
    values, unit = np.asarray(uncertainty.array), uncertainty.unit
    kind = uncertainty.uncertainty_type
    if kind != 'std':
        # a root that keeps the sign: what is negative is wrong, and told from 0
        with np.errstate(divide='ignore'):
            root = np.sign(values) * np.sqrt(np.abs(values))
            values = root if kind == 'var' else 1 / root
        if unit is not None:
            unit = unit ** (0.5 if kind == 'var' else -0.5)
    return values if unit is None else values << unit


def to_data_unit(name, value, unit):
    """
    Convert a parameter to the unit of the data.

    Parameters
    ----------
    name : str
        The name of the parameter.
    value : object
        Its value; if it is not a `~astropy.units.Quantity`, it is already in this unit.
    unit : `~astropy.units.Unit` or `None`
        The unit of the data.

    Returns
    -------
    value : object
        The value, without a unit.

    Raises
    ------
    UnitConversionError
        If its unit is not convertible.
    """
    if not isinstance(value, u.Quantity):
        return value
    try:
        return value.to_value(u.dimensionless_unscaled if unit is None else unit)
    except u.UnitConversionError:
        have = 'have no unit' if unit is None else f'are in {unit}'
        msg = (
            f'{name} must have the unit of the data: it is in {value.unit}, they {have}'
        )
        raise u.UnitConversionError(msg) from None


def _as_float_image(data):
    """Copy to a native float array that keeps float64 and no wider type."""
    given, data = data, _as_array(data, 'data')
    if data.dtype.kind not in 'fiub':
        got = describe_given(given, data.dtype)
        msg = f'data must be an array of real numbers, got {got}'
        raise TypeError(msg)
    _check_2d('data', data)
    if data.size == 0:
        msg = f'data must have at least one pixel, got the shape {data.shape}'
        raise ValueError(msg)
    # integers become float32, as in Background2D; numpy would choose float64
    # for those of 32 bits and more
    double = data.dtype.kind == 'f' and data.dtype.itemsize >= 8
    with np.errstate(over='ignore'):  # of longdouble: then it is infinite
        return np.array(data, dtype=np.float64 if double else np.float32, order='C')


def _as_array(given, name):
    """Return an array, which a list of rows of different lengths is not."""
    try:
        return np.asarray(given)
    except ValueError as exc:
        msg = f'{name} must be a 2D array: {exc}'
        raise ValueError(msg) from None


def describe_given(given, dtype):
    """
    Describe what was given instead of an array of numbers, and what to give instead.

    Parameters
    ----------
    given : object
        The object that was given.
    dtype : `~numpy.dtype`
        Its data type as an array.

    Returns
    -------
    text : str
        The end of an error message, after "got".

    Examples
    --------
    >>> from bgrem.inputs import describe_given
    >>> describe_given('image.fits', 'O')
    "the name 'image.fits': read the file, as by CCDData.read"
    """
    if given is None:
        return 'None'
    if isinstance(given, (str, os.PathLike)):
        return f'the name {str(given)!r}: read the file, as by CCDData.read'
    if isinstance(given, fits.HDUList):
        images = [
            f'[{number}].data ({f"{hdu.name}, " if hdu.name else ""}{hdu.shape})'
            for number, hdu in enumerate(given)
            if isinstance(hdu, _IMAGE_HDUS) and len(hdu.shape) >= 2
        ]
        which = 'with no image'
        if images:
            which = f'give one of its images: {", ".join(images)}'
        return f'a whole FITS file (HDUList), {which}'
    if isinstance(given, _IMAGE_HDUS):
        return f'the HDU itself ({type(given).__name__}): give its .data'
    kind = f'dtype {dtype}'
    if type(given) in (np.ndarray, list, tuple):
        return kind
    return f'{type(given).__name__} of {kind}'


def describe_dimensions(values, name='data'):
    """
    Describe the dimensions of an array, and how to get an image from a cube.

    Parameters
    ----------
    values : array
        The array.
    name : str, optional
        Its name. Default ``'data'``.

    Returns
    -------
    text : str
        The end of an error message, after "got".

    Examples
    --------
    >>> import numpy as np
    >>> from bgrem.inputs import describe_dimensions
    >>> describe_dimensions(np.zeros((3, 20, 20)))
    '3 dimensions, the shape (3, 20, 20): give one plane, as data[0]'
    """
    if values.ndim == 0:
        return f'the number {values[()]}'
    if values.ndim == 1:
        return '1 dimension'
    index = '0, ' * (values.ndim - 3) + '0'
    if values.ndim == 3 and values.shape[-1] < 5 <= values.shape[0]:  # of colors
        index = '..., 0'
    return (
        f'{values.ndim} dimensions, the shape {values.shape}: give one plane, as '
        f'{name}[{index}]'
    )


def _check_2d(name, values):
    """Refuse an array of another number of dimensions."""
    if values.ndim != 2:
        msg = f'{name} must be a 2D array, got {describe_dimensions(values, name)}'
        raise ValueError(msg)


def _as_mask(mask, shape, name):
    """Check a mask, as Background2D does from photutils 3.1 on."""
    if mask is None or mask is np.ma.nomask:
        return None
    given, (mask, missing) = mask, _without_mask(mask)
    mask = _as_array(mask, name)
    if mask.dtype.kind in 'OSU':
        got = describe_given(given, mask.dtype)
        msg = f'{name} must be a boolean array, got {got}'
        raise TypeError(msg)
    _check_2d(name, mask)
    if mask.shape != shape:
        msg = f'data and {name} must have the same shape, got {shape} and {mask.shape}'
        raise ValueError(msg)
    if mask.dtype != bool:
        msg = (
            f'{name} must be a boolean array, `True` at pixels to leave out, got dtype '
            f'{mask.dtype}: give {name} != 0, or {name} == 0 where 1 is good'
        )
        raise TypeError(msg)
    return mask.copy() if missing is None else mask | missing
