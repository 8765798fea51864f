"""
Center and scale an image such that its noise has unit standard deviation.

The network sees ``(data - center) / scale``. How well it works depends as much on these
two maps as on its weights: a pedestal moves faint sources to the flat part of its
response, and a noise scale that is too small (correlated noise measured by a high-pass
estimator) fills the image with false sources. Both maps are therefore measured on a
coarse mesh, with estimators that are robust against sources, gradients, correlated
noise, discrete counts and missing data. Numpy and scipy only.
"""

from numbers import Real

import numpy as np

from bgrem.checks import as_number, check_shape
from bgrem.sky.bands import NeedsWhole, measure
from bgrem.sky.blank import blank_pixels
from bgrem.sky.error_map import explains_better, sky_error
from bgrem.sky.local_maps import LocalMaps, NormalizationMeasurement
from bgrem.sky.mesh import LAG, find_quantum, measure_mesh, mesh_edges
from bgrem.sky.normalization import LARGEST, Normalization
from bgrem.sky.windows import middle_of

__all__ = [
    'check_factor',
    'estimate_normalization',
    'learn_error',
    'relative_error',
]

# The network has no light at all for 0, but not exactly; in units of the noise.
_LEAST_SEEN = 1e-6
_BAND = 2**19  # pixels of the boxes that are sorted at once


def estimate_normalization(
    data, mask=None, method='local', error=None, lag=LAG, *, lines=True
):
    """
    Measure the center and the scale of an image.

    Parameters
    ----------
    data : 2D `~numpy.ndarray`
        The image, of any real dtype. Non-finite values are ignored.
    mask : 2D `~numpy.ndarray` of bool, optional
        `True` at pixels to ignore.
    method : {'local', 'global'}, float or 2D array_like, optional
        ``'local'`` (default): sky level and noise from a mesh of boxes of about
        48 px, interpolated bilinearly; steps of the noise, as between the panels of
        a mosaic, are placed at their exact positions
        (`bgrem.sky.depth_steps.DepthSteps`). Areas of exact zeros (the empty border of
        a mosaic) are treated as missing data and have the scale 0. Offsets of rows or
        columns are part of the center (`bgrem.sky.lines`).
        ``'global'``: the median of all pixels and the single scale of arXiv 2510.04718,
        the standard deviation of the pixels below the 90th percentile, ignoring zeros.
        A float is the normalization factor of that paper: the median is subtracted and
        the image is multiplied by the factor. A 2D array gives a factor for each pixel,
        with the local sky level as the center; where it is 0 or not finite, the scale
        is 0.
    error : 2D `~numpy.ndarray` of float, optional
        The total error of each pixel, as a pipeline provides it, including sources; 0
        where it is not known. Only ``'local'`` uses it, see Notes.
    lag : int, optional
        The lag of the mesh in pixels, see `bgrem.sky.mesh.measure_mesh`: the distance
        at which the noise is independent. Default 3.
    lines : bool, optional
        Whether to look for offsets of rows and columns. Default `True`.

    Returns
    -------
    normalization : `Normalization`
        The two maps, float64 for float64 data, else float32.

    Raises
    ------
    TypeError, ValueError
        If ``method`` is not one of the above, or has the wrong shape or sign.

    Notes
    -----
    Time and memory grow linearly with the number of pixels.

    The sky part of ``error`` (`bgrem.sky.error_map.sky_error`) is scaled, with a map of
    boxes, by the noise of the image itself in units of it, so a constant factor does no
    harm. Fine structure, as at a dithered border or in a noisy column, is that of the
    error map. The map is not used if it explains the image less well than the noise
    measured without it (`bgrem.sky.error_map.explains_better`), nor for data in steps
    larger than their noise: with so few counts, single pixels have no errors.
    """
    data = np.asarray(data)
    unusable = ~np.isfinite(data)
    if mask is not None:
        unusable |= mask

    if isinstance(method, str):
        if method == 'local':
            maps = _local_normalization(data, unusable, lag, lines)
            if error is None:
                return maps
            return _use_error(maps, data, unusable, error, lag)
        if method == 'global':
            return _constant_normalization(data, unusable, _paper_scale(data, unusable))
        msg = (
            "normalization must be 'local', 'global', a positive number or a 2D array, "
            f'got {method!r}'
        )
        raise ValueError(msg)

    if isinstance(method, Real) or np.ndim(method) == 0:
        factor = as_number('normalization', method)
        if not (factor > 0 and np.isfinite(factor)):
            msg = f'normalization must be positive and finite, got {factor}'
            raise ValueError(msg)
        return _constant_normalization(data, unusable, 1 / factor)

    if str(getattr(method, 'unit', None) or ''):
        msg = f'normalization must have no unit, got one in {method.unit}'
        raise TypeError(msg)
    factor = np.asarray(method)
    if factor.dtype.kind not in 'fiub':
        msg = f'normalization must be of real numbers, got dtype {factor.dtype}'
        raise TypeError(msg)
    factor = factor.astype(float)
    check_shape('normalization', factor.shape, data.shape)
    if np.any(factor < 0):
        msg = f'normalization must not be negative, got {np.nanmin(factor)}'
        raise ValueError(msg)
    center = _local_normalization(data, unusable, lag, lines).center
    known = np.isfinite(factor) & (factor > 0)
    scale = np.zeros_like(center)
    # that of any image is less; `check_factor` refuses more
    factor = np.maximum(factor, 1 / LARGEST)
    np.divide(1, factor, out=scale, where=known, casting='same_kind')
    return Normalization(center, scale)


def check_factor(maps, data, unusable):
    """
    Refuse a factor that makes the whole image negligible compared with the noise.

    Parameters
    ----------
    maps : `Normalization`
        The result of the factor.
    data : 2D `~numpy.ndarray` of float
        The image.
    unusable : 2D `~numpy.ndarray` of bool
        `True` at pixels to ignore, including all that are not finite.

    Raises
    ------
    ValueError
        If all pixels are within a millionth of a standard deviation of the sky.
    """
    seen = ~unusable & (maps.scale > 0)
    deviation = np.abs(data[seen] - maps.center[seen])
    if deviation.any() and not np.any(deviation > _LEAST_SEEN * maps.scale[seen]):
        msg = (
            'normalization must be about one over the noise: with the factor given '
            f'all pixels are within {_LEAST_SEEN:g} standard deviations of the sky'
        )
        raise ValueError(msg)


def _local_normalization(data, unusable, lag, lines):
    """Interpolate the mesh of levels and that of scales."""
    dtype = _map_dtype(data)
    blank = blank_pixels(data, unusable)
    hidden = unusable | blank
    measurement = NormalizationMeasurement(data.shape, dtype, lag, lines=lines)
    measurement.n_pixels = _BAND
    try:
        maps = measure(measurement, lambda rows: (data[rows], hidden[rows])).result
    except NeedsWhole:
        # boxes that are too empty one by one may do all together
        mesh = measure_mesh(data, hidden, lag=lag)
        whole = measure_mesh(data, hidden, max(data.shape), lag + 1)
        noise = np.full_like(mesh.noise, np.nan_to_num(whole.noise).max())
        maps = LocalMaps(mesh.level, noise, mesh_edges(data.shape), dtype, lag + 1)
    scale = maps.noise(slice(0, len(data)), data, hidden)
    scale[blank] = 0
    return Normalization(maps.level, scale)


def _use_error(maps, data, unusable, error, lag):
    """Give the scale the structure of an error map, if the image has it too."""
    middle = middle_of(data.shape)
    parts = [one[middle] for one in (maps.center, maps.scale, data, unusable, error)]
    part = Normalization(*parts[:2]), *parts[2:]
    if not _has_error(*part[:3]):
        return maps
    # a small image is all middle
    constants = learn_error(*part) if parts[0].shape != data.shape else {}
    relative, deviation = relative_error(maps, data, unusable, error, constants)
    hidden = ~np.isfinite(deviation)
    ratio = _local_normalization(deviation / relative, hidden, lag, lines=False).scale
    refined = np.where(maps.scale > 0, relative * ratio, 0)
    if not explains_better(refined[middle], maps.scale[middle], deviation[middle]):
        return maps
    return maps.with_scale(refined)


def learn_error(maps, data, unusable, error):
    """
    Determine what an error map means for the noise of the sky.

    Parameters
    ----------
    maps : `Normalization`
        The maps of the image without the error map.
    data, unusable : 2D `~numpy.ndarray`
        The image, or the middle of it, and its unusable pixels.
    error : 2D `~numpy.ndarray` of float
        As for `estimate_normalization`.

    Returns
    -------
    constants : dict or `None`
        For `relative_error`; `None` if the error map is of no use.
    """
    if not _has_error(maps, data, unusable):
        return None
    constants = {}
    relative_error(maps, data, unusable, error, constants)
    return constants


def _has_error(maps, data, unusable):
    """Whether each pixel has an error of its own: counts so few have none."""
    visible = ~unusable & (maps.scale > 0)
    if not visible.any():
        return False
    return not find_quantum(data[visible]) > np.median(maps.scale[visible])


def relative_error(maps, data, unusable, error, constants):
    """
    Return the noise of the sky according to an error map, up to a factor.

    Parameters
    ----------
    maps, data, unusable, error
        As for `learn_error`.
    constants : dict
        From `learn_error`.

    Returns
    -------
    relative : 2D `~numpy.ndarray` of float
        The noise, except for the outer `bgrem.sky.error_map.MARGIN` pixels of a part.
    deviation : 2D `~numpy.ndarray` of float
        The image minus its level; NaN where it cannot be used.
    """
    scale = maps.scale
    visible = ~unusable & (scale > 0)
    deviation = np.where(visible, data - maps.center, np.nan).astype(scale.dtype)
    return sky_error(error.astype(scale.dtype), deviation, scale, constants), deviation


def _constant_normalization(data, unusable, scale):
    dtype = _map_dtype(data)
    usable = data[~unusable]
    center = np.median(usable) if usable.size else 0.0
    return Normalization(
        np.full(data.shape, center, dtype=dtype),
        np.full(data.shape, min(scale, float(LARGEST)), dtype=dtype),
    )


def _map_dtype(data):
    """Return the dtype of the maps: double only for double data."""
    return np.float64 if data.dtype.kind == 'f' and data.dtype.itemsize > 4 else 'f4'


def _paper_scale(data, unusable):
    """Return the scale of arXiv 2510.04718: one over its automatic factor."""
    values = data[~unusable & (data != 0)].astype(float)
    if values.size == 0:
        return 0.0
    low = values[values < np.percentile(values, 90)]
    return np.std(low) if low.size else 0.0
