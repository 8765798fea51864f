"""
Read every accepted form of an image into one record.
"""

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.nddata import NDData
from astropy.utils.masked import Masked

__all__ = ['ImageInput', 'parse_image']


@dataclass(frozen=True, eq=False)
class ImageInput:
    """
    An image as the rest of the package sees it.

    Attributes
    ----------
    data : 2D `~numpy.ndarray`
        The pixel values, a copy of the caller's: float64 where these were
        float64 or wider, else float32; native byte order. Values that are
        not finite are still there.
    mask : 2D `~numpy.ndarray` of bool or `None`
        `True` where a pixel must not be used, from the ``mask`` argument and
        the mask that the data carried. `None` if there was neither.
    coverage_mask : 2D `~numpy.ndarray` of bool or `None`
        `True` where the image has no data.
    unit : `~astropy.units.Unit` or `None`
        The unit of the data.
    wcs : object or `None`
        The world coordinates of an `~astropy.nddata.NDData`.
    """

    data: np.ndarray
    mask: np.ndarray | None = None
    coverage_mask: np.ndarray | None = None
    unit: u.UnitBase | None = None
    wcs: object = None

    @property
    def unusable(self):
        """
        `True` at pixels that are masked, uncovered or not finite (2D bool).
        """
        unusable = ~np.isfinite(self.data)
        for mask in (self.mask, self.coverage_mask):
            if mask is not None:
                unusable |= mask
        return unusable


def parse_image(data, *, mask=None, coverage_mask=None, use_nddata_mask=True):
    """
    Read an image in any accepted form.

    Parameters
    ----------
    data : array_like, `~astropy.units.Quantity` or `~astropy.nddata.NDData`
        The 2D image: of any real dtype and byte order (float16, integers and
        bool too), a nested list, a `~numpy.ma.MaskedArray`, an
        `~astropy.utils.masked.Masked` array, a `~astropy.units.Quantity`, an
        `~astropy.nddata.NDData` or `~astropy.nddata.CCDData`. It is copied,
        never changed.
    mask : 2D array_like of bool, optional
        `True` where a pixel must not be used (a bad pixel, a known source).
        The mask of a masked array and, with ``use_nddata_mask``, that of an
        `~astropy.nddata.NDData`, where integers count as boolean, are added to it.
    coverage_mask : 2D array_like of bool, optional
        `True` where the image has no data at all.
    use_nddata_mask : bool, optional
        Whether to honour the mask of an `~astropy.nddata.NDData`. Default
        `True`; `False` is what `photutils.background.Background2D` does.

    Returns
    -------
    image : `ImageInput`
        The image.

    Raises
    ------
    TypeError
        If the data are not real numbers or a mask is not boolean.
    ValueError
        If the data or a mask are not 2D, their shapes differ, or the image
        has no pixel.
    """
    carried = []
    unit = wcs = None
    if isinstance(data, NDData):
        wcs = data.wcs
        if use_nddata_mask and data.mask is not None:
            # NDData takes any mask; there integers count as boolean
            nddata_mask = np.asarray(data.mask)
            is_integer = nddata_mask.dtype.kind in 'iu'
            carried.append(nddata_mask.astype(bool) if is_integer else nddata_mask)
        unit = data.unit
        data = data.data
    if isinstance(data, Masked):
        carried.append(data.mask)
        data = data.unmasked
    if isinstance(data, u.Quantity):
        unit = data.unit
        data = data.value
    if isinstance(data, np.ma.MaskedArray):
        carried.append(data.mask)
        data = data.data

    data = _as_float_image(data)
    masks = [_as_mask(one, data.shape, 'mask') for one in (mask, *carried)]
    given = [one for one in masks if one is not None]
    return ImageInput(
        data=data,
        mask=np.logical_or.reduce(given) if given else None,
        coverage_mask=_as_mask(coverage_mask, data.shape, 'coverage_mask'),
        unit=unit,
        wcs=wcs,
    )


def _as_float_image(data):
    """Copy to a native float array that keeps float64 and no wider type."""
    data = np.asarray(data)
    if data.dtype.kind not in 'fiub':
        msg = f'data must be an array of real numbers, got dtype {data.dtype}'
        raise TypeError(msg)
    if data.ndim != 2:
        msg = f'data must be a 2D array, got {data.ndim} dimensions'
        raise ValueError(msg)
    if data.size == 0:
        msg = f'data must have at least one pixel, got the shape {data.shape}'
        raise ValueError(msg)
    # integers become float32, as in Background2D; numpy would choose float64
    # for those of 32 bits and more
    double = data.dtype.kind == 'f' and data.dtype.itemsize >= 8
    return np.array(data, dtype=np.float64 if double else np.float32, order='C')


def _as_mask(mask, shape, name):
    """Check a mask, as Background2D does from photutils 3.1 on."""
    if mask is None or mask is np.ma.nomask:
        return None
    mask = np.asarray(mask)
    if mask.dtype != bool:
        msg = f'{name} must be a boolean array, got dtype {mask.dtype}'
        raise TypeError(msg)
    if mask.ndim != 2:
        msg = f'{name} must be a 2D array, got {mask.ndim} dimensions'
        raise ValueError(msg)
    if mask.shape != shape:
        msg = f'data and {name} must have the same shape, got {shape} and {mask.shape}'
        raise ValueError(msg)
    return mask.copy()
