"""
The task graph that makes the maps of a dask array.

The parts that a task needs of its neighbors are cut out where they are stored, so that
no more than those is sent.
"""

import operator
import uuid
from functools import wraps
from itertools import pairwise

import numpy as np

from bgrem.denoise.memory import keep_freed_memory
from bgrem.pipeline import FINISH_MARGIN
from bgrem.scale.steps import (
    Found,
    FoundMeasurement,
    Sky,
    as_float,
    check_sampling,
    measure_hidden,
    normalize_rows,
    run_tiles,
    sky_meshes,
)
from bgrem.sky.bands import CACHED, NeedsWhole, split_rows, widen
from bgrem.sky.blank import BLANK_MARGIN, BlankMeasurement
from bgrem.sky.boxes import SkyMeasurement
from bgrem.sky.local_maps import NormalizationMeasurement
from bgrem.sky.normalization import MARGIN
from bgrem.sky.windows import middle_of

__all__ = ['Graph', 'NotInBlocksError']

_TILES = 2  # side by side, in a task


class Graph:
    """
    The tasks from an image to its maps, in the form of dask: tuples by their keys.

    A single dictionary holds all of them: making a collection for each would take
    longer than processing an image.

    Parameters
    ----------
    job : `bgrem.scale.steps.Job`
        The image, and how its sources are separated.
    array, mask : 2D `dask.array.Array`
        Its pixels, and the pixels that must not be used; ``mask`` may be `None`.
    """

    def __init__(self, job, array, mask):
        self._token, self._tasks = uuid.uuid4().hex, {}
        self._shape, self._dtype, self._layout = job.shape, job.dtype, job.layout
        self._sources = [array] if mask is None else [array, mask]
        self._job = self._add('job', job)
        self._bands = split_rows(job.shape)
        raw = self._read(array, mask)
        blank = self._measure(BlankMeasurement(job.shape), raw)
        self._hidden = self.call(_check_blank, blank)
        seen = self._hide(raw)
        maps = NormalizationMeasurement(job.shape, job.dtype)
        margin = maps.most_margin
        self._maps = self.call(_result, self._measure(maps, seen))
        tiles = self._run(seen, margin)
        self._found = self._find(seen, tiles, margin)
        rest = self._in_bands([self.call(_rest, one) for one in self._found.keys])
        sky = self._measure(SkyMeasurement(job.shape), rest, CACHED)
        self._known = self._check(seen)
        self._sky = self.call(_make_sky, self._job, sky, self._hidden, self._known)

    def _add(self, name, task):
        key = f'bgrem-{name}-{self._token}-{len(self._tasks)}'
        self._tasks[key] = task
        return key

    def call(self, function, *args):
        """
        Add a task.

        Parameters
        ----------
        function : callable
            The function that the task calls.
        *args
            Its arguments; a key stands for the result of that task.

        Returns
        -------
        key : str
            The key of the task.
        """
        return self._add(function.__name__.strip('_'), (function, *args))

    def _in_bands(self, keys):
        return _Parts([(rows, slice(0, self._shape[1])) for rows in self._bands], keys,
                      self)  # fmt: skip

    def _read(self, array, mask):
        """Return the pixels, and which of them are unusable."""
        keys, places = [], []
        edges = [np.cumsum([0, *one]).tolist() for one in array.chunks]
        if mask is not None:
            mask = mask.rechunk(array.chunks)
            self._sources[1] = mask
        for i, j in np.ndindex(array.numblocks):
            blocks = [(one.name, i, j) for one in (array, mask) if one is not None]
            keys.append(self.call(as_float, *blocks))
            places.append((slice(*edges[0][i : i + 2]), slice(*edges[1][j : j + 2])))
        chunks = _Parts(places, keys, self)
        return self._in_bands([chunks.get(rows) for rows in self._bands])

    def _hide(self, raw):
        keys = []
        for rows in self._bands:
            wider = widen(rows, BLANK_MARGIN, self._shape[0])
            seen = raw.get(wider)
            keys.append(self.call(_hide, self._hidden, seen, rows, wider.start))
        return self._in_bands(keys)

    def _measure(self, measurement, images, n_pixels=None):
        """Return a measurement with all that there is to know."""
        parts = [
            (rows, images.get(widen(rows, measurement.margin, self._shape[0])))
            for rows in measurement.bands
        ]
        known = self._add(type(measurement).__name__, measurement)
        for _ in range(measurement.most_stages):
            # what is known at last may be large, and is not sent to look at nothing
            looking = self.call(_looking, known)
            seen = [self.call(_see, looking, *one, n_pixels) for one in parts]
            known = self.call(_learn, known, seen)
        return known

    def _run(self, seen, margin):
        """Run the network on all tiles; return what it makes."""
        keys, places = [], []
        for row in range(len(self._layout.y_starts)):
            one_row = slice(row, row + 1)
            rows = self._layout.part(one_row)[1][0]
            wider = widen(rows, margin + MARGIN, self._shape[0])
            image = self.call(
                _normalize, self._job, self._maps, rows, seen.get(wider), wider.start
            )
            for column in range(0, len(self._layout.x_starts), _TILES):
                some = slice(column, column + _TILES)
                place = self._layout.part(one_row, some)[1]
                part = self.call(_columns, image, place[1])
                keys.append(self.call(_run, self._job, part, one_row, some))
                places.append(place)
        return _Parts(places, keys, self, _blend)

    def _find(self, seen, tiles, margin):
        """Return what was found in each band."""
        keys = []
        for rows in self._bands:
            near = widen(rows, FINISH_MARGIN, self._shape[0])
            wider = widen(near, margin + MARGIN, self._shape[0])
            pixels, blended = seen.get(wider), tiles.get(near)
            keys.append(
                self.call(
                    _find, self._job, self._maps, rows, pixels, wider.start, blended
                )
            )
        return self._in_bands(keys)

    def _check(self, seen):
        known = self._measure(FoundMeasurement(self._shape), self._found)
        rows, columns = middle_of(self._shape)
        rows = slice(*rows.indices(self._shape[0])[:2])
        return self.call(_check, known, seen.get(rows, columns))

    def maps(self, chunks):
        """
        Return the maps.

        Parameters
        ----------
        chunks : tuple of tuple of int
            The chunks of the maps.

        Returns
        -------
        background, background_rms, source, probability : 2D `dask.array.Array`
        """
        rows, columns = (
            [slice(int(a), int(b)) for a, b in pairwise(np.cumsum([0, *one]))]
            for one in chunks
        )
        sky = [
            [self.call(_sky_part, self._sky, one, other) for other in columns]
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


class _Parts:
    """Parts of images that tasks make: their places (rows and columns) and keys."""

    def __init__(self, places, keys, graph, join=None):
        self._places, self.keys, self._graph = places, keys, graph
        self._join = join or _stack
        self._width, self._cuts = max(columns.stop for _, columns in places), {}

    def get(self, rows, columns=slice(None)):
        """Return the key of the images in some rows (a list of arrays)."""
        whole = rows, slice(0, self._width)
        keys, places = [], []
        for key, place in zip(self.keys, self._places, strict=True):
            if place == whole and columns == slice(None):
                return key
            there = place[0]
            first, last = max(there.start, rows.start), min(there.stop, rows.stop)
            if first >= last:
                continue
            if 2 * (last - first) < there.stop - there.start:
                key = self._cut(key, slice(first - there.start, last - there.start))
                there = slice(first, last)
            keys.append(key)
            places.append([there, place[1]])
        return self._graph.call(self._join, keys, places, rows, columns, self._width)

    def _cut(self, key, rows):
        """Return the key of some rows of a part; they are cut out where it is."""
        name = key, rows.start, rows.stop
        if name not in self._cuts:
            self._cuts[name] = self._graph.call(_cut, key, rows)
        return self._cuts[name]


def _cut(images, rows):
    # what is sent of a view are its own values
    return [None if one is None else one[rows] for one in images]


def _stack(parts, places, rows, columns, width):
    """Cut rows out of parts of images that lie side by side."""
    shape = rows.stop - rows.start, width
    result = [np.empty(shape, dtype=one.dtype) for one in parts[0]]
    for images, place in zip(parts, places, strict=True):
        there, some = _overlap(rows, place)
        for whole, image in zip(result, images, strict=True):
            whole[there] = image[some]
    return [one[:, columns] for one in result]


def _blend(parts, places, rows, columns, width):  # noqa: ARG001
    """Add up the rows of what the network made of tiles."""
    shape = rows.stop - rows.start, width
    result = [
        None if one is None else np.zeros(shape, dtype=one.dtype) for one in parts[0]
    ]
    for images, place in zip(parts, places, strict=True):
        there, some = _overlap(rows, place)
        for whole, image in zip(result, images, strict=True):
            if whole is not None:
                whole[there] += image[some]
    return result


def _overlap(rows, place):
    """Return where a part lies in some rows of an image, and which of its rows do."""
    first, last = max(place[0].start, rows.start), min(place[0].stop, rows.stop)
    there = slice(first - rows.start, last - rows.start), place[1]
    return there, slice(first - place[0].start, last - place[0].start)


class NotInBlocksError(ValueError):
    """The error for an image that can only be processed as a whole."""


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
            raise NotInBlocksError(msg) from exc

    return wrapped


def _looking(measurement):
    """Return what has to look at the bands, or `None`."""
    return None if measurement.stage is None else measurement


def _see(measurement, rows, images, n_pixels):
    """Return what a band shows, seen in bands of so many pixels or at once."""
    keep_freed_memory()
    if measurement is None:
        return []
    if n_pixels is None:
        return [measurement.see(rows, *images)]
    seen = []
    for some in split_rows(images[0].shape, n_pixels=n_pixels):
        band = slice(rows.start + some.start, rows.start + some.stop)
        seen.append(measurement.see(band, *(one[some] for one in images)))
    return seen


@_whole_only
def _learn(measurement, seen):
    return measurement.learn([_copy_lists(one) for band in seen for one in band])


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
    return Sky(job, *sky_meshes(job, measured.result, hidden.unit, bounds))


def _sky_part(sky, rows, columns):
    return sky.maps(rows, columns)


def _output(images, number, hidden, known):  # noqa: ARG001
    """Return the map of a band, once it is known that it can be relied upon."""
    values = images[number]
    return values * values.dtype.type(hidden.unit) if number == 3 else values
