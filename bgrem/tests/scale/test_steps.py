"""Tests of the steps from an image to its maps, for parts of it."""

import pickle
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal

from bgrem import load_weights
from bgrem.pipeline import FINISH_MARGIN
from bgrem.scale.catalog import split_blocks
from bgrem.scale.graph import Graph
from bgrem.scale.image import HIDDEN
from bgrem.scale.parts import Part, StoredMaps
from bgrem.scale.steps import (
    Found,
    FoundMeasurement,
    Job,
    Sky,
    as_float,
    float_dtype,
    measure_hidden,
    normalize_rows,
    run_tiles,
    sky_meshes,
)
from bgrem.sky.bands import Measurement, measure, split_rows, widen
from bgrem.sky.blank import BlankMeasurement
from bgrem.sky.boxes import measure_sky
from bgrem.sky.local_maps import NormalizationMeasurement
from bgrem.sky.normalization import MARGIN
from bgrem.tests.scale.conftest import draw_image

SHAPE = (200, 150)
CUTS = [(0, 200), (0, 64), (64, 128), (100, 101), (137, 200)]


@pytest.fixture(scope='module')
def job(tiny_weights):
    return Job(SHAPE, np.dtype(np.float32), load_weights(tiny_weights), 1)


@pytest.fixture(scope='module')
def pixels():
    """Data and unusable pixels, with an empty corner."""
    image = draw_image(SHAPE).astype(np.float32)
    return as_float(image)


@pytest.fixture(scope='module')
def hidden(pixels):
    return measure_hidden(
        measure(BlankMeasurement(SHAPE), lambda rows: [one[rows] for one in pixels])
    )


@pytest.fixture(scope='module')
def seen(pixels, hidden):
    """Data in their unit, and all that is hidden."""
    return hidden.apply(*pixels)


@pytest.fixture(scope='module')
def maps(seen):
    measurement = NormalizationMeasurement(SHAPE, np.float32)
    return measure(measurement, lambda rows: [one[rows] for one in seen]).result


@pytest.fixture(scope='module')
def find(job, maps, seen):
    """What is found in some rows."""
    image = normalize_rows(job, maps, slice(0, SHAPE[0]), *seen, 0)
    blended = run_tiles(job, image, job.layout)

    def find(rows):
        near = widen(rows, FINISH_MARGIN, SHAPE[0])
        wider = widen(near, maps.margin + MARGIN, SHAPE[0])
        data, unseen = (one[wider] for one in seen)
        parts = [None if one is None else one[near] for one in blended]
        return Found(job, maps, rows, data, unseen, wider.start, parts)

    return find


class TestPixels:
    @pytest.mark.parametrize(
        'dtype', ['?', 'u1', '>i2', 'i8', 'f2', '>f4', 'f8', '>f8']
    )
    def test_as_float(self, dtype):
        data = np.array([[0, 1], [1, 0]]).astype(dtype)
        found, unusable = as_float(data[::-1], np.array([[0, 4], [0, 0]]))
        assert found.dtype == float_dtype(dtype) == ('f8' if 'f8' in dtype else 'f4')
        assert found.dtype.isnative
        assert found.flags.c_contiguous
        assert_array_equal(found, [[1, 0], [0, 1]])
        assert_array_equal(unusable, [[False, True], [False, False]])

    def test_not_finite(self):
        data = np.array([[np.nan, np.inf], [-np.inf, 3.0]])
        assert_array_equal(as_float(data)[1], [[True, True], [True, False]])

    @pytest.mark.parametrize('dtype', ['c8', 'U3', 'M8[s]', 'O'])
    def test_no_numbers(self, dtype):
        with pytest.raises(TypeError, match='data must be an array of real numbers'):
            float_dtype(dtype)

    @pytest.mark.parametrize('exponent', [-100, 0, 60])
    def test_unit(self, exponent):
        """Data of any size are near one; without loss, as it is a power of two."""
        data = np.ldexp(draw_image(SHAPE), exponent).astype(np.float32)
        data = as_float(data)
        found = measure_hidden(
            measure(BlankMeasurement(SHAPE), lambda rows: [one[rows] for one in data])
        )
        assert np.log2(found.unit) == np.rint(np.log2(found.unit))
        values, unseen = found.apply(*data)
        assert 1e-8 < np.median(values[~unseen]) < 1e8
        assert_array_equal(values * np.float32(found.unit), data[0])
        assert unseen[data[1]].all()

    def test_nothing_usable(self):
        data = as_float(np.full((20, 30), np.nan))
        seen = measure(BlankMeasurement((20, 30)), lambda rows: [d[rows] for d in data])
        with pytest.raises(ValueError, match='data must have a usable pixel'):
            measure_hidden(seen)


class TestParts:
    """What is made of a part is what is made of the whole."""

    @pytest.mark.parametrize('cut', CUTS)
    def test_hidden(self, pixels, hidden, seen, cut):
        rows = slice(*cut)
        wider = widen(rows, hidden.margin, SHAPE[0])
        data, unseen = hidden.apply(*(one[wider] for one in pixels))
        inner = slice(rows.start - wider.start, rows.stop - wider.start)
        assert_array_equal(data[inner], seen[0][rows])
        assert_array_equal(unseen[inner], seen[1][rows])
        assert seen[1][100:150, 50:120].all()

    @pytest.mark.parametrize('cut', CUTS)
    def test_normalized(self, job, maps, seen, cut):
        whole = normalize_rows(job, maps, slice(0, SHAPE[0]), *seen, 0)
        rows = slice(*cut)
        wider = widen(rows, maps.margin + MARGIN, SHAPE[0])
        part = normalize_rows(
            job, maps, rows, *(one[wider] for one in seen), wider.start
        )
        assert part.dtype == np.float32
        assert_allclose(part, whole[rows], atol=2e-4)

    def test_tiles(self, job, maps, seen):
        """The rows of tiles, each from its own rows, add up to the image."""
        image = normalize_rows(job, maps, slice(0, SHAPE[0]), *seen, 0)
        whole = run_tiles(job, image, job.layout)
        total = np.zeros((2, *SHAPE), np.float32)
        for number in range(len(job.layout.y_starts)):
            part, place = job.layout.part(slice(number, number + 1))
            found = run_tiles(job, np.ascontiguousarray(image[place]), part)
            total[:, place[0], place[1]] += found
        assert_allclose(total, whole, atol=1e-5)

    @pytest.mark.parametrize('cut', CUTS)
    def test_found(self, find, seen, cut):
        rows, whole = slice(*cut), find(slice(0, SHAPE[0]))
        part = find(rows)
        for name in ('data', 'hidden', 'noise', 'source', 'probability'):
            values = getattr(part, name)
            assert_allclose(values, getattr(whole, name)[rows], atol=2e-3, err_msg=name)
        assert_array_equal(part.data, seen[0][rows])
        assert not part.source[part.hidden].any()
        assert not part.probability[part.hidden].any()
        assert whole.source.any()

    @pytest.mark.parametrize('seed', range(3))
    def test_found_measurement(self, seed):
        """In bands it is seen what is seen at once; each peak once."""
        rng = np.random.default_rng(seed)
        y, x = np.indices(SHAPE)
        source = np.zeros(SHAPE)
        for row in range(12, 200, 25):
            distance2 = (y - row - rng.integers(-5, 5)) ** 2 + (
                x - rng.integers(9, 140)
            ) ** 2
            source += 30 * np.exp(-distance2 / 4)
        data, hidden = source + rng.normal(size=SHAPE), rng.random(SHAPE) < 0.1
        data[hidden] = np.nan
        images = data, hidden, np.ones(SHAPE), source, np.minimum(source / 30, 0.999)

        def look(n_pixels):
            measurement = FoundMeasurement(SHAPE)
            measurement.n_pixels = n_pixels
            return measure(measurement, lambda rows: [one[rows] for one in images])

        found = look(None)
        assert found.widths.shape == found.probability.shape == (8,)
        assert_allclose(found.widths, 2.355 * 2**0.5, rtol=0.1)
        assert found.bounds == (np.nanmin(data), np.nanmax(data))
        in_bands = look(1)
        assert in_bands.bounds == found.bounds
        assert_array_equal(in_bands.widths, found.widths)
        assert_array_equal(in_bands.probability, found.probability)

    @pytest.mark.parametrize('columns', [None, slice(20, 90)])
    @pytest.mark.parametrize('cut', CUTS)
    def test_sky(self, job, find, cut, columns):
        found = find(slice(0, SHAPE[0]))
        boxes = measure_sky(
            found.data - found.source, found.source, ~found.hidden, found.noise
        )
        size, level, noise, bounds = sky_meshes(job, boxes, 2.0, (3.0, 1e3))
        assert bounds == (6.0, 2e3)
        assert_allclose(noise, 2 * boxes.noise, rtol=1e-6)
        sky = Sky(job, size, level, noise, (1990.0, 2010.0))
        assert sky.median == float(np.median(level))
        assert sky.noise == float(np.median(noise))
        part = sky.maps(slice(*cut), columns)
        some = slice(*cut), columns or slice(None)
        for values, known in zip(part, sky.maps(slice(0, SHAPE[0])), strict=True):
            assert values.dtype == np.float32
            assert_allclose(values, known[some], rtol=1e-6)
        assert part[0].min() >= 1990
        assert part[0].max() <= 2010


class Tasks(Graph):
    """The tasks that read an array of dask, and no others."""

    def __init__(self, array):
        self._token, self._tasks, self._sources = 'test', {}, [array]
        self._shape, self._bands = array.shape, [slice(0, array.shape[0])]
        for place in np.ndindex(array.numblocks):
            self._tasks[array.name, *place] = (array.blocks[place].compute,)
        self.parts = self._read(array, None)

    def run(self, key):
        """Compute a task, and those that it needs."""
        function, *args = self._tasks[key]
        return function(*map(self._known, args))

    def _known(self, arg):
        if isinstance(arg, list):
            return [self._known(one) for one in arg]
        is_key = isinstance(arg, (str, tuple)) and arg in self._tasks
        return self.run(arg) if is_key else arg


@pytest.mark.parametrize('seed', range(5))
def test_rows_of_chunks(seed):
    """Whatever the chunks, any rows are those of the image."""
    dask = pytest.importorskip('dask')
    da = pytest.importorskip('dask.array')
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(40, 30)).astype(np.float32)
    cuts = [np.sort(rng.choice(np.arange(1, n), 3, replace=False)) for n in (40, 30)]
    chunks = [
        tuple(np.diff([0, *cut, n]).tolist())
        for cut, n in zip(cuts, (40, 30), strict=True)
    ]
    with dask.config.set(scheduler='synchronous'):
        tasks = Tasks(da.from_array(image, chunks=tuple(chunks)))
        for _ in range(4):
            start, stop = np.sort(rng.choice(41, 2, replace=False)).tolist()
            for columns in (slice(None), slice(7, 20)):
                key = tasks.parts.get(slice(start, stop), columns)
                data, unusable = tasks.run(key)
                assert_array_equal(data, image[start:stop, columns])
                assert not unusable.any()


class Total(Measurement):
    """The sum of an image, and then that of its squares."""

    stage, margin, most_stages = 'sum', 2, 2

    def _see_sum(self, rows, image):
        first = rows.start - max(rows.start - self.margin, 0)
        return image[first : first + rows.stop - rows.start].sum()

    def _learn_sum(self, seen):
        self.total, self.stage = sum(seen), 'squares'

    def _see_squares(self, rows, image):
        return self._see_sum(rows, image**2)

    def _learn_squares(self, seen):
        self.squares, self.stage = sum(seen), None


class TestMeasurement:
    @pytest.mark.parametrize('n_pixels', [1, 5000, 10**9])
    def test_each_row_once(self, n_pixels):
        """Margins overlap, what is seen does not; a measurement can be sent."""
        image = np.random.default_rng(1).integers(0, 9, (300, 70))
        measurement = Total(image.shape)
        measurement.n_pixels = n_pixels
        asked = []

        def read(rows):
            asked.append(rows)
            return [image[rows]]

        found = measure(pickle.loads(pickle.dumps(measurement)), read)
        assert (found.total, found.squares) == (image.sum(), (image**2).sum())
        assert measurement.stage == 'sum'
        assert len(asked) == 2 * len(measurement.bands)
        assert min(one.start for one in asked) == 0
        assert max(one.stop for one in asked) == 300

    def test_all_is_known(self):
        found = measure(Total((70, 3)), lambda rows: [np.ones((70, 3))[rows]])
        assert found.see(slice(0, 70), None) is None
        assert found.learn([]) is found

    @pytest.mark.parametrize('shape', [(1, 1), (64, 5), (65, 5), (1000, 333)])
    @pytest.mark.parametrize('n_pixels', [1, 20_000, None])
    def test_bands(self, shape, n_pixels):
        """Without a gap, of whole multiples of 64 rows and no more than is asked."""
        bands = split_rows(shape, n_pixels=n_pixels)
        edges = [0, *(one.stop for one in bands)]
        assert [one.start for one in bands] == edges[:-1]
        assert edges[-1] == shape[0]
        assert all(edge % 64 == 0 for edge in edges[:-1])
        most = max(n_pixels or 2**21, 64 * shape[1])
        assert all((b - a) * shape[1] <= most for a, b in pairwise(edges))
        # no two neighbors could be one
        assert all(
            (c - a) * shape[1] > most for a, c in zip(edges, edges[2:], strict=False)
        )

    def test_bands_between_edges(self):
        bands = split_rows((100, 10), np.array([0, 30, 47, 100]), n_pixels=480)
        assert bands == [slice(0, 47), slice(47, 100)]

    def test_widen(self):
        assert widen(slice(5, 9), 3, 20) == slice(2, 12)
        assert widen(slice(1, 19), 3, 20) == slice(0, 20)
        assert widen(slice(5, 9), 0, 20) == slice(5, 9)


class TestBlocks:
    @pytest.mark.parametrize('shape', [(1, 1), (1024, 1500), (1537, 5000), (20, 9999)])
    def test_each_pixel_once(self, shape):
        """About a megapixel each, row by row, and nothing twice."""
        blocks = split_blocks(shape)
        area = [(y.stop - y.start) * (x.stop - x.start) for y, x in blocks]
        assert sum(area) == shape[0] * shape[1]
        assert max(area) <= 1.5**2 * 2**20
        corners = [(y.start, x.start) for y, x in blocks]
        assert corners == sorted(set(corners))
        assert (blocks[-1][0].stop, blocks[-1][1].stop) == shape


class TestStoredMaps:
    """Squares of the network, and parts, of maps in a file."""

    NAMES = ('SCI', 'BACKGROUND', 'BACKGROUND_RMS', 'SOURCE', 'PROBABILITY')

    def stored(self, binning, unit=1.0, wcs=None):
        rng = np.random.default_rng(2)
        values = {name: rng.uniform(1, 2, (31, 22)) for name in self.NAMES}
        flags = np.zeros((31, 22), np.uint8)
        flags[5:9, 3:20] = HIDDEN
        image = SimpleNamespace(number=4, unit=None, wcs=wcs)
        seen = SimpleNamespace(
            binning=binning,
            unit=unit,
            meta={},
            job=SimpleNamespace(shape=(31, 22)),
            rows=SimpleNamespace(image=image),
        )

        def read(number, name, place):
            assert number == 4
            return values[name][place].copy()

        file = SimpleNamespace(read=read)
        return StoredMaps(file, seen, flags), values, flags

    @pytest.mark.parametrize('binning', [1, 2, 3])
    def test_places_of_squares(self, binning):
        """All squares are all pixels, each once; the last ones are cut."""
        maps, *_ = self.stored(binning)
        covered = np.zeros(maps.shape, dtype=int)
        for y, x in np.ndindex(*maps.shape_in_squares):
            place = maps.place_of((slice(y, y + 1), slice(x, x + 1)))
            covered[place] += 1
            assert all(0 < one.stop - one.start <= binning for one in place)
        assert_array_equal(covered, 1)
        assert maps.place_of(np.s_[:, :]) == np.s_[0:31, 0:22]

    @pytest.mark.parametrize('unit', [1.0, 4.0])
    def test_read_squares(self, unit):
        place = np.s_[0:12, 0:22]
        maps, values, flags = self.stored(1, unit)
        source, hidden = maps.read_squares(['SOURCE'], place)
        assert_array_equal(source, values['SOURCE'][place] / unit)
        assert_array_equal(hidden, flags[place] > 0)
        maps, *_ = self.stored(2, unit)
        source, lost = maps.read_squares(['SOURCE'], place)
        visible = np.where(flags[place] > 0, np.nan, values['SOURCE'][place])
        squares = visible.reshape(6, 2, 11, 2).swapaxes(1, 2).reshape(6, 11, 4)
        assert_array_equal(lost, np.isfinite(squares).sum(axis=-1) < 2)
        expected = np.nanmean(squares[~lost], axis=-1) / unit
        assert_allclose(source[~lost], expected, rtol=1e-6)

    def test_part(self):
        """In its own pixels, which know where they are; copies, whoever asks."""
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
        wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [150, 2], [9, 7], [-1e-4, 1e-4]
        maps, values, flags = self.stored(1, wcs=wcs)
        place = np.s_[4:20, 2:13]
        part = Part(maps, place)
        for name, attribute in (
            ('BACKGROUND', 'background'),
            ('BACKGROUND_RMS', 'background_rms'),
            ('SOURCE', 'source'),
        ):
            found = getattr(part, attribute)
            assert_array_equal(found, values[name][place])
            found[:] = 0
            assert_array_equal(getattr(part, attribute), values[name][place])
        assert_array_equal(part.subtract(), values['SCI'][place])
        data = values['SCI'] + values['BACKGROUND']
        assert_array_equal(part._image.data, data[place])
        assert_array_equal(part.noise_inputs()['usable'], flags[place] == 0)
        here = part._image.wcs.pixel_to_world(3, 5)
        assert here.separation(wcs.pixel_to_world(5, 9)).arcsec < 1e-6
        assert (
            part.inputs(np.zeros((16, 11), np.int32))['segmentation_image'].n_labels
            == 0
        )
