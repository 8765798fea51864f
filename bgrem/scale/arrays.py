"""
Arrays of dask: the same maps, computed when they are asked for.

Tasks get one another's results, and nothing of the graph is large: the weights are
loaded where they are used, once for each process.
"""

import math
import operator
import uuid
from functools import wraps
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from bgrem.checks import check_count
from bgrem.pipeline import FINISH_MARGIN
from bgrem.scale.steps import (
    Found,
    FoundMeasurement,
    Job,
    Sky,
    as_float,
    check_sampling,
    float_dtype,
    measure_hidden,
    normalize_rows,
    run_tiles,
)
from bgrem.sky.bands import NeedsWhole, split_rows, widen
from bgrem.sky.blank import BLANK_MARGIN, BlankMeasurement
from bgrem.sky.boxes import SkyMeasurement
from bgrem.sky.local_maps import NormalizationMeasurement
from bgrem.sky.normalization import MARGIN
from bgrem.sky.windows import middle_of

__all__ = ['SubtractedArrays', 'subtract_array']

_RETURN_TYPES = ('numpy', 'dask')
_TILES = 2  # side by side, in a task


class SubtractedArrays(NamedTuple):
    """
    What was made of an array.

    Parameters
    ----------
    background, background_rms, source, probability : 2D array
        As `DiffusionBackground <bgrem.DiffusionBackground>` has them; ``array -
        background`` is the array without its sky.
    """

    background: object
    background_rms: object
    source: object
    probability: object


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
    Measure the sky of an array of dask, and separate its sources.

    Parameters
    ----------
    array : 2D `dask.array.Array` or array_like
        The image, of any real dtype and in any chunks. Values that are not finite are
        masked.
    mask : 2D `dask.array.Array` or array_like, optional
        Not zero at pixels that must not be used.
    weights, n_steps, n_symmetries, device, batch_size
        As for `bgrem.DiffusionBackground`. The file of the weights must be at the same
        place for all workers, or shipped with the package that they have.
    block_size : tuple of 2 int, optional
        The chunks of the result. Default: those of ``array``. They do not change it.
    parallel : {'current-scheduler'}, bool or int, optional
        How the result is computed if ``return_type`` is ``'numpy'``: by the scheduler
        that dask uses now (default), in this thread (`False`), or in threads, as many
        as there are processors (`True`) or so many.
    return_type : {'numpy', 'dask'}, optional
        Whether the result is computed (``'numpy'``), or arrays of dask that are.
        Default: what ``array`` is.

    Returns
    -------
    arrays : `SubtractedArrays`
        The maps ``background``, ``background_rms``, ``source`` and ``probability``.

    Raises
    ------
    ImportError
        If dask is not installed.
    TypeError, ValueError
        If a parameter is out of range. When the maps are computed, if the image can
        only be processed as a whole (see `bgrem.subtract_file`).

    Notes
    -----
    Nothing is computed before it is asked for; but whatever part of a map is asked for,
    the sky of the whole image is measured for it. Compute all maps together
    (``dask.compute(*arrays)``, or ``dask.array.store``), or each runs the network
    again. The result is that of ``DiffusionBackground(array, mask=mask)``.

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
    try:
        import dask
        import dask.array as da
    except ImportError as exc:
        msg = 'subtract_array needs the package dask: pip install "bgrem[scale]"'
        raise ImportError(msg) from exc

    from bgrem.denoise.run import check_symmetries
    from bgrem.weights import load_weights

    is_dask = isinstance(array, da.Array)
    if return_type is None:
        return_type = 'dask' if is_dask else 'numpy'
    if return_type not in _RETURN_TYPES:
        msg = f"return_type must be 'numpy' or 'dask', got {return_type!r}"
        raise ValueError(msg)
    options = _scheduler_options(parallel)
    check_symmetries(n_symmetries)
    if batch_size is not None:
        check_count('batch_size', batch_size)
    weights = load_weights(weights)
    if weights.is_for_counts:
        msg = f'weights of counts ({weights.name!r}) need the whole image in memory'
        raise ValueError(msg)
    array = _as_dask(array, 'array', block_size)
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
        chunks = da.core.normalize_chunks(tuple(block_size), array.shape)
    arrays = SubtractedArrays(*_Graph(job, array, mask).maps(chunks))
    if return_type == 'dask':
        return arrays
    return SubtractedArrays(*dask.compute(*arrays, **options))


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


def _as_dask(array, name, chunks):
    """Return an array of dask, without a look at its values."""
    import dask.array as da

    if not isinstance(array, da.Array):
        array = np.asanyarray(array)
    if array.ndim != 2 or 0 in array.shape:
        msg = f'{name} must be a 2D array with a pixel, got the shape {array.shape}'
        raise ValueError(msg)
    if isinstance(array, da.Array):
        if any(math.isnan(n) for n in array.shape):
            msg = f'{name} must have a known shape: compute its chunk sizes first'
            raise ValueError(msg)
        return array
    # to hash all of its values for a name would take its time
    label = f'bgrem-{name}-{uuid.uuid4().hex}'
    return da.from_array(array, chunks=chunks or 'auto', name=label)


class _Graph:
    """
    The tasks from an image to its maps, as dask has them: tuples by their keys.

    One dictionary holds all of them: a collection for each would take longer to make
    than an image to be processed.
    """

    def __init__(self, job, array, mask):
        self._token, self._tasks = uuid.uuid4().hex, {}
        self._shape, self._dtype, self._layout = job.shape, job.dtype, job.layout
        self._sources = [array] if mask is None else [array, mask]
        self._job = self._add('job', job)
        raw = self._read(array, mask)
        blank = self._measure(BlankMeasurement(job.shape), raw)
        self._hidden = self._call(_check_blank, blank)
        self._bands = split_rows(job.shape)
        seen = self._hide(raw)
        maps = NormalizationMeasurement(job.shape, job.dtype)
        margin = maps.most_margin
        self._maps = self._call(_result, self._measure(maps, seen))
        tiles = self._run(seen, margin)
        self._found = self._find(seen, tiles, margin)
        self._known = self._check(seen)
        rest = _Rows(
            self._bands, [self._call(_rest, one) for one in self._found.keys], self
        )
        sky = self._measure(SkyMeasurement(job.shape), rest)
        self._sky = self._call(_make_sky, self._job, sky, self._hidden, self._known)

    def _add(self, name, task):
        key = f'bgrem-{name}-{self._token}-{len(self._tasks)}'
        self._tasks[key] = task
        return key

    def _call(self, function, *args):
        """Add a task, and return its key."""
        return self._add(function.__name__.strip('_'), (function, *args))

    def stack(self, parts, places, rows, columns=slice(None)):
        """Add a task that cuts rows out of parts of images (a list of arrays)."""
        chosen = [
            (key, place)
            for key, place in zip(parts, places, strict=True)
            if place[0].start < rows.stop and rows.start < place[0].stop
        ]
        keys, places = (list(one) for one in zip(*chosen, strict=True))
        places = [list(place) for place in places]
        return self._call(_stack, keys, places, rows, columns, self._shape[1])

    def _read(self, array, mask):
        """Return the pixels, and which of them are unusable."""
        keys, places = [], []
        edges = [np.cumsum([0, *one]).tolist() for one in array.chunks]
        if mask is not None:
            mask = mask.rechunk(array.chunks)
            self._sources[1] = mask
        for i, j in np.ndindex(array.numblocks):
            blocks = [(one.name, i, j) for one in (array, mask) if one is not None]
            keys.append(self._call(as_float, *blocks))
            places.append([slice(*edges[0][i : i + 2]), slice(*edges[1][j : j + 2])])
        return _Rows(places, keys, self)

    def _hide(self, raw):
        keys = []
        for rows in self._bands:
            wider = widen(rows, BLANK_MARGIN, self._shape[0])
            seen = raw.get(wider)
            keys.append(self._call(_hide, self._hidden, seen, rows, wider.start))
        return _Rows(self._bands, keys, self)

    def _measure(self, measurement, images):
        """Return a measurement with all that there is to know."""
        parts = [
            (rows, images.get(widen(rows, measurement.margin, self._shape[0])))
            for rows in measurement.bands
        ]
        known = self._add(type(measurement).__name__, measurement)
        for _ in range(measurement.most_stages):
            seen = [self._call(_see, known, *one) for one in parts]
            known = self._call(_learn, known, seen)
        return known

    def _run(self, seen, margin):
        """Run the network on all tiles; return keys and places of what it makes."""
        keys, places = [], []
        for row in range(len(self._layout.y_starts)):
            one_row = slice(row, row + 1)
            rows = self._layout.part(one_row)[1][0]
            wider = widen(rows, margin + MARGIN, self._shape[0])
            image = self._call(
                _normalize, self._job, self._maps, rows, seen.get(wider), wider.start
            )
            for column in range(0, len(self._layout.x_starts), _TILES):
                some = slice(column, column + _TILES)
                place = self._layout.part(one_row, some)[1]
                part = self._call(_columns, image, place[1])
                keys.append(self._call(_run, self._job, part, one_row, some))
                places.append(place)
        return keys, places

    def _find(self, seen, tiles, margin):
        """Return what was found in each band."""
        keys = []
        for rows in self._bands:
            near = widen(rows, FINISH_MARGIN, self._shape[0])
            wider = widen(near, margin + MARGIN, self._shape[0])
            blended = self.stack(*tiles, near)
            pixels = seen.get(wider)
            keys.append(
                self._call(
                    _find, self._job, self._maps, rows, pixels, wider.start, blended
                )
            )
        return _Rows(self._bands, keys, self)

    def _check(self, seen):
        known = self._measure(FoundMeasurement(self._shape), self._found)
        rows, columns = middle_of(self._shape)
        rows = slice(*rows.indices(self._shape[0])[:2])
        return self._call(_check, known, seen.get(rows, columns))

    def maps(self, chunks):
        """Return the arrays of dask."""
        rows, columns = (
            [slice(int(a), int(b)) for a, b in pairwise(np.cumsum([0, *one]))]
            for one in chunks
        )
        sky = [
            [self._call(_sky_part, self._sky, one, other) for other in columns]
            for one in rows
        ]
        skies = [
            self._array(
                name,
                {
                    (i, j): (operator.getitem, key, k)
                    for i, keys in enumerate(sky)
                    for j, key in enumerate(keys)
                },
                chunks,
                self._dtype,
            )
            for k, name in enumerate(('background', 'background_rms'))
        ]
        heights = tuple(one.stop - one.start for one in self._bands)
        in_bands = heights, (self._shape[1],)
        found = [
            self._array(
                name,
                {
                    (i, 0): (_output, key, k, self._hidden, self._known)
                    for i, key in enumerate(self._found.keys)
                },
                in_bands,
                dtype,
            ).rechunk(chunks)
            for name, k, dtype in (
                ('source', 3, self._dtype),
                ('probability', 4, np.dtype(np.float32)),
            )
        ]
        return *skies, *found

    def _array(self, name, blocks, chunks, dtype):
        import dask.array as da
        from dask.highlevelgraph import HighLevelGraph

        name, base = f'bgrem-{name}-{self._token}', f'bgrem-{self._token}'
        blocks = {(name, *place): task for place, task in blocks.items()}
        graph = HighLevelGraph.from_collections(base, self._tasks, self._sources)
        layers = {**graph.layers, name: blocks}
        graph = HighLevelGraph(layers, {**graph.dependencies, name: {base}})
        return da.Array(graph, name, chunks, dtype=dtype)


class _Rows:
    """Parts of images that tasks make: their places and keys."""

    def __init__(self, places, keys, graph):
        self.keys, self._graph = keys, graph
        self._places = [
            [one, slice(None)] if isinstance(one, slice) else one for one in places
        ]

    def get(self, rows, columns=slice(None)):
        """Return the key of the images in some rows (a list of arrays)."""
        return self._graph.stack(self.keys, self._places, rows, columns)


def _stack(parts, places, rows, columns, width):
    """Cut rows out of parts of images, and add up where they overlap."""
    result = [None] * len(parts[0])
    for images, (part_rows, part_columns) in zip(parts, places, strict=True):
        start, stop, _ = part_columns.indices(width)
        first, last = max(part_rows.start, rows.start), min(part_rows.stop, rows.stop)
        place = slice(first - rows.start, last - rows.start), slice(start, stop)
        some = slice(first - part_rows.start, last - part_rows.start)
        for number, image in enumerate(images):
            if image is None:
                continue
            if result[number] is None:
                shape = rows.stop - rows.start, width
                result[number] = np.zeros(shape, dtype=image.dtype)
            result[number][place] += image[some]
    return [None if one is None else one[:, columns] for one in result]


def _whole_only(function):
    """Return a function that says what is to be done where bands do not tell enough."""

    @wraps(function)
    def wrapped(*args):
        try:
            return function(*args)
        except NeedsWhole as exc:
            msg = (
                f'the image cannot be processed in blocks: {exc}. Use '
                'DiffusionBackground, which takes all of it into memory.'
            )
            raise ValueError(msg) from exc

    return wrapped


def _see(measurement, rows, images):
    return measurement.see(rows, *images)


@_whole_only
def _learn(measurement, seen):
    return measurement.learn(_copy_lists(seen))


def _copy_lists(values):
    """Return lists of the same arrays, as results of tasks are not to be changed."""
    if isinstance(values, (list, tuple)):
        return type(values)(_copy_lists(one) for one in values)
    return values


def _result(measurement):
    return measurement.result


def _check_blank(measurement):
    return measure_hidden(measurement)


def _hide(hidden, images, rows, start):
    data, unusable = hidden.apply(*images)
    inner = slice(rows.start - start, rows.stop - start)
    return data[inner], unusable[inner]


def _normalize(job, maps, rows, images, start):
    return normalize_rows(job, maps, rows, *images, start)


def _columns(image, columns):
    return image[:, columns].copy()  # or the whole rows would be sent


def _run(job, image, rows, columns):
    return run_tiles(job, image, job.layout.part(rows, columns)[0])


def _find(job, maps, rows, images, start, blended):
    found = Found(job, maps, rows, *images, start, blended)
    images = found.data, found.hidden, found.noise, found.source, found.probability
    return [np.ascontiguousarray(one) for one in images]


@_whole_only
def _check(known, images):
    check_sampling(known, *images)
    return known.bounds


def _rest(images):
    data, hidden, noise, source, _ = images
    with np.errstate(invalid='ignore'):
        return data - source, ~hidden, noise, source


def _make_sky(job, measured, hidden, bounds):
    return Sky(job, measured, hidden.unit, bounds)


def _sky_part(sky, rows, columns):
    return sky.maps(rows, columns)


def _output(images, number, hidden, known):  # noqa: ARG001
    """Return the map of a band, once it is known that it can be relied upon."""
    values = images[number]
    return values * values.dtype.type(hidden.unit) if number == 3 else values
