"""
Dask arrays: the same maps, computed on demand.

Tasks receive the results of other tasks. Nothing in the graph is large: the weights are
loaded where they are used, once per process.
"""

import math
import os
import uuid
from typing import NamedTuple

import numpy as np

from bgrem._extras import import_extra
from bgrem.checks import check_count, suggests_names
from bgrem.inputs import describe_dimensions, describe_given
from bgrem.scale.graph import Graph, NotInBlocksError
from bgrem.scale.steps import Job, float_dtype

__all__ = ['SubtractedArrays', 'subtract_array']

_RETURN_TYPES = ('numpy', 'dask')


class SubtractedArrays(NamedTuple):
    """
    The maps of an array.

    Parameters
    ----------
    background, background_rms, source, probability : 2D array
        As in `DiffusionBackground <bgrem.DiffusionBackground>`; ``array - background``
        is the array without its sky.
    """

    background: object
    background_rms: object
    source: object
    probability: object


@suggests_names()
def subtract_array(
    array,
    *,
    mask=None,
    weights='optical',
    n_steps=None,
    n_symmetries=1,
    device='auto',
    batch_size=None,
    block_size=None,
    parallel='current-scheduler',
    return_type=None,
):
    """
    Measure the sky of a dask array and separate its sources.

    Parameters
    ----------
    array : 2D `dask.array.Array` or array_like
        The image, of any real dtype and with any chunks, without a unit or a mask of
        its own. Non-finite values are masked.
    mask : 2D `dask.array.Array` or array_like, optional
        Nonzero at pixels that must not be used.
    weights, n_steps, n_symmetries, device, batch_size
        As for `bgrem.DiffusionBackground`. A file of weights must have the same path
        for all workers, or be part of the package that they have installed.
    block_size : int or tuple of 2 int, optional
        The chunk size of the result; it does not change the values. Default: the
        chunks of ``array``.
    parallel : {'current-scheduler'}, bool or int, optional
        How the result is computed if ``return_type`` is ``'numpy'``: by the current
        scheduler of dask (default), in this thread (`False`), in one thread per
        processor (`True`), or in a given number of threads.
    return_type : {'numpy', 'dask'}, optional
        Whether the result is computed (``'numpy'``) or consists of dask arrays
        (``'dask'``). Default: the type of ``array``.

    Returns
    -------
    arrays : `SubtractedArrays`
        The maps ``background``, ``background_rms``, ``source`` and ``probability``.

    Raises
    ------
    ImportError
        If dask is not installed.
    TypeError, ValueError
        If a parameter is out of range. Also, when the maps are computed, if a dask
        array can only be processed as a whole (see `bgrem.subtract_file`); any other
        array is in memory already, and is then processed as a whole.

    Notes
    -----
    Nothing is computed before it is needed; but any part of a map requires measuring
    the sky of the whole image. Compute all maps together (``dask.compute(*arrays)`` or
    ``dask.array.store``), or the network runs again for each of them. The result is
    that of ``DiffusionBackground(array, mask=mask)``.

    Examples
    --------
    >>> import dask
    >>> import dask.array as da
    >>> from bgrem import subtract_array
    >>> image = da.random.default_rng(1).normal(1000, 5, (100, 100), chunks=50)
    >>> maps = subtract_array(image)
    >>> maps.background.chunks
    ((50, 50), (50, 50))
    >>> background, source = dask.compute(maps.background, maps.source)
    >>> round(float(background.mean()))
    1000
    """
    dask = import_extra('dask')
    da = import_extra('dask.array')
    from bgrem.denoise.run import check_symmetries
    from bgrem.weights import load_weights

    is_dask = isinstance(array, da.Array)
    if return_type is None:
        return_type = 'dask' if is_dask else 'numpy'
    if return_type not in _RETURN_TYPES:
        msg = f"return_type must be 'numpy' or 'dask', got {return_type!r}"
        raise ValueError(msg)
    options = _scheduler_options(parallel)
    if block_size is not None:
        block_size = _as_block(block_size)
    check_symmetries(n_symmetries)
    if batch_size is not None:
        check_count('batch_size', batch_size)
    weights = load_weights(weights)
    if weights.is_for_counts:
        msg = f'weights for counts ({weights.name!r}) need the whole image in memory'
        raise ValueError(msg)
    given, array = array, _as_dask(array, 'array', block_size)
    if mask is not None:
        mask = _as_dask(mask, 'mask', None)
        if mask.shape != array.shape:
            msg = (
                f'array and mask must have the same shape, got {array.shape} and '
                f'{mask.shape}'
            )
            raise ValueError(msg)
    job = Job(
        array.shape,
        float_dtype(array.dtype),
        weights,
        weights.n_steps if n_steps is None else check_count('n_steps', n_steps),
        n_symmetries,
        device,
        batch_size,
    )
    chunks = array.chunks
    if block_size is not None:
        chunks = da.core.normalize_chunks(block_size, array.shape)
    arrays = SubtractedArrays(*Graph(job, array, mask).maps(chunks))
    if return_type == 'dask':
        return arrays
    try:
        return SubtractedArrays(*dask.compute(*arrays, **options))
    except NotInBlocksError:
        if is_dask:
            raise
        return _as_whole(job, given, mask)  # which is in the memory


def _as_whole(job, array, mask):
    """Return the maps of an array without blocks."""
    from bgrem.background import DiffusionBackground

    background = DiffusionBackground(
        array,
        mask=None if mask is None else mask.compute() != 0,
        weights=job.weights,
        n_steps=job.n_steps,
        n_symmetries=job.n_symmetries,
        device=job.device,
        batch_size=job.batch_size,
    )
    return SubtractedArrays(
        background.background,
        background.background_rms,
        background.source,
        background.detection_probability,
    )


def _as_block(size):
    """Return the sides of a block."""
    try:
        sides = size if np.ndim(size) else (size, size)
        height, width = (check_count('block_size', side) for side in sides)
    except (TypeError, ValueError):
        msg = f'block_size must be one or two numbers of pixels, got {size!r}'
        raise ValueError(msg) from None
    return height, width


def _scheduler_options(parallel):
    """Return the options of `dask.compute`."""
    if isinstance(parallel, str):
        if parallel != 'current-scheduler':
            msg = (
                "parallel must be 'current-scheduler', a bool or a number of threads, "
                f'got {parallel!r}'
            )
            raise ValueError(msg)
        return {}
    if parallel is False:
        return {'scheduler': 'synchronous'}
    if parallel is True:
        return {'scheduler': 'threads'}
    return {'scheduler': 'threads', 'num_workers': check_count('parallel', parallel)}


def _check_values_alone(given):
    """Raise an error for an image that carries a mask, an error or a unit."""
    import dask.array as da

    # what the blocks of an array of dask are like
    like = given._meta if isinstance(given, da.Array) else given
    is_masked = getattr(like, 'mask', None) is not None
    if isinstance(like, np.ma.MaskedArray):
        # of blocks it is not known whether anything is masked
        is_masked = like is not given or like.mask is not np.ma.nomask
    unit, error = (getattr(like, name, None) for name in ('unit', 'uncertainty'))
    for has, what, instead in (
        (is_masked, 'a mask of its own', 'its values, and mask='),
        (error is not None, 'an uncertainty', 'its values alone'),
        (unit is not None, f'the unit {unit}', 'its values (.value, .data)'),
    ):
        if has:
            msg = (
                f'array must hold numbers and nothing else, got one with {what}: give '
                f'{instead}'
            )
            raise TypeError(msg)


def _as_dask(array, name, chunks):
    """Return an array of dask, without a look at its values."""
    import dask.array as da

    given = array
    if not isinstance(array, da.Array):
        array = np.asanyarray(array)
    if isinstance(given, (str, os.PathLike)):
        msg = f'{name} must be an array, got {str(given)!r}: subtract_file takes files'
        raise TypeError(msg)
    # the blocks are arrays, which would lose what else there is without a word
    if name == 'array':
        _check_values_alone(given)
    if array.dtype.kind not in 'biuf':
        got = describe_given(given, array.dtype)
        msg = f'{name} must be an array of real numbers, got {got}'
        raise TypeError(msg)
    if array.ndim != 2:
        msg = f'{name} must be a 2D array, got {describe_dimensions(array, name)}'
        raise ValueError(msg)
    if 0 in array.shape:
        msg = f'{name} must have at least one pixel, got the shape {array.shape}'
        raise ValueError(msg)
    if isinstance(array, da.Array):
        if any(math.isnan(n) for n in array.shape):
            msg = f'{name} must have a known shape: compute its chunk sizes first'
            raise ValueError(msg)
        return array
    # to hash all of its values for a name would take its time
    label = f'bgrem-{name}-{uuid.uuid4().hex}'
    return da.from_array(array, chunks=chunks or 'auto', name=label)
