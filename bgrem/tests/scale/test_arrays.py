"""Tests of arrays of dask."""

import pickle
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import NDData, StdDevUncertainty
from numpy.testing import assert_allclose, assert_array_equal

import bgrem.scale.graph
from bgrem import DiffusionBackground, load_weights, subtract_array
from bgrem.scale.steps import Job
from bgrem.tests.scale.conftest import assert_same_maps, draw_image, in_memory

dask = pytest.importorskip('dask')
da = pytest.importorskip('dask.array')

pytestmark = pytest.mark.usefixtures('bands')

NAMES = {
    'BACKGROUND': 'background',
    'BACKGROUND_RMS': 'background_rms',
    'SOURCE': 'source',
    'PROBABILITY': 'probability',
}


def assert_as_in_memory(arrays, whole):
    found = {name: getattr(arrays, attribute) for name, attribute in NAMES.items()}
    assert_same_maps(found, {name: whole[name] for name in NAMES})


def computed(arrays, **options):
    options.setdefault('scheduler', 'synchronous')
    return type(arrays)(*dask.compute(*arrays, **options))


@pytest.mark.parametrize('chunks', [(50, 70), (77, 260), (390, 260), (200, 33)])
def test_as_in_memory(chunks, image, whole, tiny_weights):
    array = da.from_array(image, chunks=chunks)
    arrays = subtract_array(array, weights=tiny_weights)
    for one in arrays:
        assert one.chunks == array.chunks
    found = computed(arrays)
    for one, promised in zip(found, arrays, strict=True):
        assert one.dtype == promised.dtype == np.float32
    assert_as_in_memory(found, whole)


def test_chunks_of_no_pixel(image, tiny_weights):
    """They are what dask has where nothing is left of a chunk."""
    image = np.ascontiguousarray(image[:100, 100:190])
    array = da.from_array(image, chunks=((40, 0, 60), (0, 90)))
    arrays = subtract_array(array, weights=tiny_weights)
    assert arrays.background.chunks == array.chunks
    assert_as_in_memory(computed(arrays), in_memory(image, tiny_weights))


@pytest.mark.parametrize('dtype', ['f8', '>i2'])
def test_mask_and_dtypes(dtype, tiny_weights):
    image = np.nan_to_num(draw_image((200, 260)), nan=1000).astype(dtype)
    mask = np.zeros(image.shape, dtype=bool)
    mask[20:90, 150:210] = True
    arrays = subtract_array(
        da.from_array(image, chunks=(90, 260)),
        mask=da.from_array(mask, chunks=(40, 100)),
        weights=tiny_weights,
    )
    found = computed(arrays)
    assert found.source.dtype == ('f8' if dtype == 'f8' else 'f4')
    assert_as_in_memory(found, in_memory(image, tiny_weights, mask=mask))


def test_nothing_is_computed_when_the_graph_is_built(tiny_weights):
    def fail(*_, **__):
        msg = 'it has been computed'
        raise RuntimeError(msg)

    array = da.map_blocks(
        fail, chunks=((64, 66), (260,)), dtype='f4', meta=np.empty((0, 0), 'f4')
    )
    arrays = subtract_array(array, weights=tiny_weights, block_size=(50, 100))
    assert arrays.source.chunks == ((50, 50, 30), (100, 100, 60))
    with pytest.raises(RuntimeError, match='it has been computed'):
        arrays.background[:2, :2].compute(scheduler='synchronous')


def test_graph_is_small():
    """The weights of 10 MB are not in it, and neither is anything of the image."""
    array = da.random.random((8192, 8192), chunks=2048).astype('f4')
    arrays = subtract_array(array)
    size = len(pickle.dumps(dict(arrays.source.__dask_graph__())))
    assert size < 1_000_000
    path = load_weights('optical').path
    assert path.stat().st_size > 4_000_000


def test_no_more_is_sent_than_twice_what_is_used(tiny_weights, monkeypatch):
    """What a band takes of its neighbors is cut out where they are."""
    monkeypatch.setattr('bgrem.sky.bands._PIXELS', 512 * 100)
    array = da.ones((4000, 100), chunks=(1500, 100), dtype='f4')
    tasks = dict(subtract_array(array, weights=tiny_weights).source.__dask_graph__())
    stacks = [
        task[2:4]
        for task in tasks.values()
        if isinstance(task, tuple) and task[0] is bgrem.scale.graph._stack
    ]
    assert len(stacks) > 4 * 4000 // 512  # of four passes
    for places, wanted in stacks:
        taken = sum(rows.stop - rows.start for rows, _ in places)
        assert wanted.stop - wanted.start <= taken
        assert taken <= 2 * (wanted.stop - wanted.start)


def test_what_is_known_is_not_sent_to_look_at_nothing(image, tiny_weights):
    looked = []

    def note(key, value, *_):
        if 'looking' in key:
            looked.append(value)

    with dask.callbacks.Callback(posttask=note):
        computed(subtract_array(da.from_array(image), weights=tiny_weights))
    assert any(one is None for one in looked)
    assert all(one is None or one.stage for one in looked)


def test_a_huge_array_is_not_hashed(image, tiny_weights, monkeypatch):
    def fail(*_, **__):
        msg = 'it has been hashed'
        raise RuntimeError(msg)

    monkeypatch.setattr('dask.array.core.tokenize', fail)
    subtract_array(image, weights=tiny_weights, return_type='dask')


@pytest.mark.parametrize('parallel', ['current-scheduler', False, True, 2])
def test_numpy_in_and_out(parallel, image, whole, tiny_weights):
    with dask.config.set(scheduler='synchronous'):
        found = subtract_array(image, weights=tiny_weights, parallel=parallel)
    assert all(type(one) is np.ndarray for one in found)
    assert_as_in_memory(found, whole)


def test_return_types(image, tiny_weights):
    array = da.from_array(image[:100, :100], chunks=50)
    lazy = subtract_array(array, weights=tiny_weights)
    assert all(isinstance(one, da.Array) for one in lazy)
    found = subtract_array(
        array, weights=tiny_weights, return_type='numpy', parallel=False
    )
    assert all(type(one) is np.ndarray for one in found)


def test_network_runs_once_for_all_maps(image, tiny_weights, monkeypatch):
    calls = []
    run = bgrem.scale.graph.run_tiles

    def counted(job, image, layout):
        calls.append(len(layout))
        return run(job, image, layout)

    monkeypatch.setattr('bgrem.scale.graph.run_tiles', counted)
    array = da.from_array(image, chunks=70)
    computed(subtract_array(array, weights=tiny_weights))
    job = Job(image.shape, np.dtype('f4'), load_weights(tiny_weights), 1)
    assert sum(calls) == len(job.layout)


def test_job_takes_its_weights_from_where_it_is(tiny_weights, tmp_path):
    shipped = Job((9, 9), np.dtype('f4'), load_weights('optical'), 1)
    content = pickle.dumps(shipped)
    assert len(content) < 500
    assert b'safetensors' not in content
    assert pickle.loads(content) == shipped
    other = tmp_path / 'other.safetensors'
    other.write_bytes(tiny_weights.read_bytes())
    content = pickle.dumps(Job((9, 9), np.dtype('f4'), load_weights(other), 1))
    other.write_bytes(load_weights('optical').path.read_bytes())
    with pytest.raises(ValueError, match='differ from those of the process that sent'):
        pickle.loads(content)


@pytest.mark.parametrize(
    ('change', 'error', 'match'),
    [
        ({'array': np.zeros(5)}, ValueError, 'array must be a 2D array'),
        ({'array': np.zeros((0, 5))}, ValueError, 'array must have at least one pixel'),
        (
            {'array': da.zeros((3, 5, 5))},
            ValueError,
            r'array must be a 2D array, got 3 dim.*: give one plane, as array\[0\]',
        ),
        ({'mask': np.ones((3, 5, 5))}, ValueError, r'give one plane, as mask\[0\]'),
        ({'block_size': 'a'}, ValueError, "one or two numbers of pixels, got 'a'"),
        ({'block_size': 2.5}, ValueError, 'one or two numbers of pixels, got 2.5'),
        ({'maks': None}, TypeError, "'maks': did you mean 'mask'"),
        ({'blocksize': 5}, TypeError, "'blocksize': did you mean 'block_size'"),
        ({'array': np.zeros((5, 5), complex)}, TypeError, 'of real numbers'),
        ({'array': 'image.fits'}, TypeError, 'subtract_file takes files'),
        ({'array': fits.HDUList([fits.PrimaryHDU()])}, TypeError, 'a whole FITS file'),
        ({'array': fits.ImageHDU(np.zeros((5, 5)))}, TypeError, 'give its .data'),
        (
            {'array': np.ma.array(np.ones((5, 5)), mask=True)},
            TypeError,
            'a mask of its',
        ),
        (
            {'array': da.ma.masked_less(da.ones((5, 5)), 0)},
            TypeError,
            'a mask of its own: give its values, and mask=',
        ),
        (
            {'array': NDData(np.ones((5, 5)), mask=np.eye(5) > 0)},
            TypeError,
            'a mask of its own',
        ),
        (
            {'array': NDData(np.ones((5, 5)), uncertainty=StdDevUncertainty(1))},
            TypeError,
            'an uncertainty',
        ),
        ({'array': np.ones((5, 5)) * u.Jy}, TypeError, 'the unit Jy: give its values'),
        ({'mask': np.zeros((5, 6))}, ValueError, 'must have the same shape'),
        ({'parallel': 'all'}, ValueError, "parallel must be 'current-scheduler'"),
        ({'parallel': -1}, ValueError, 'parallel must be a positive integer'),
        ({'return_type': 'zarr'}, ValueError, "return_type must be 'numpy' or 'dask'"),
        ({'n_steps': 0}, ValueError, 'n_steps must be a positive integer'),
        ({'n_symmetries': 5}, ValueError, 'n_symmetries must be'),
        ({'batch_size': 0}, ValueError, 'batch_size must be a positive integer'),
    ],
)
def test_errors(change, error, match, tiny_weights):
    options = {'array': np.zeros((5, 5)), 'weights': tiny_weights, **change}
    with pytest.raises(error, match=match):
        subtract_array(**options)


@pytest.mark.parametrize('shape', [(1, 1), (2, 2), (1, 5)])
@pytest.mark.parametrize('is_masked', [False, True])
def test_as_small_as_can_be(shape, is_masked, tiny_weights):
    """What blocks are too small for is processed as a whole, if it is in memory."""
    image = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
    mask = np.zeros(shape, dtype=int)
    mask[0, -1] = is_masked and image.size > 1
    whole = DiffusionBackground(image, mask=mask > 0, weights=tiny_weights)
    found = subtract_array(image, mask=mask, weights=tiny_weights)
    for name, values in found._asdict().items():
        name = 'detection_probability' if name == 'probability' else name
        assert_allclose(values, getattr(whole, name), rtol=1e-5)


def test_too_small_for_blocks(tiny_weights):
    maps = subtract_array(da.ones((1, 1)), weights=tiny_weights)
    with pytest.raises(ValueError, match='cannot be processed in blocks: no box has'):
        maps.background.compute()


def test_unknown_chunks(tiny_weights):
    array = da.ones((20, 20), chunks=5)
    array = array[array[:, 0] > 0]
    with pytest.raises(ValueError, match='array must have a known shape'):
        subtract_array(array, weights=tiny_weights)


def test_counts_need_the_whole(tiny_weights, counts_weights):
    counts = np.random.default_rng(1).poisson(0.4, (150, 260)).astype(np.int16)
    with pytest.raises(ValueError, match='need the whole image in memory'):
        subtract_array(counts, weights=counts_weights)
    maps = subtract_array(da.from_array(counts), weights=tiny_weights)
    with pytest.raises(ValueError, match='in blocks: it holds single counts. Use Diff'):
        maps.source.compute(scheduler='synchronous')
    found = subtract_array(counts, weights=tiny_weights, parallel=False)
    whole = DiffusionBackground(counts, weights=tiny_weights)
    assert_array_equal(found.source, whole.source)


def odd_images():
    """Images that are like none of a camera, by what they are."""
    rng = np.random.default_rng(5)
    noise = 20 + 5 * rng.normal(size=(64, 80))
    number = np.arange(64 * 80).reshape(64, 80)
    yield from ((dtype, noise.astype(dtype)) for dtype in ('?', 'u1', '>i8', 'f2', 'g'))
    yield 'row', noise[:1]
    yield 'column', noise[:, :1]
    yield 'constant', np.full((20, 30), 3.0)
    yield 'zeros', np.zeros((20, 30))
    yield 'ramp', 1.0 * number
    yield 'stripes', noise + 100 * rng.normal(size=(64, 1))
    yield 'half_empty', np.where(number % 80 < 40, 0, noise)
    yield 'holes', np.where(rng.random((64, 80)) < 0.3, np.nan, noise)
    yield 'wild', np.where(number == 100, 1e30, noise).astype('f4')
    yield 'huge', (1e35 * noise).astype('f4')
    yield 'tiny', (1e-43 * noise).astype('f4')
    yield 'high', (1e6 + noise / 10).astype('f4')


ODD = dict(odd_images())


@pytest.mark.parametrize('name', ODD)
def test_odd_images_as_in_memory(name, tiny_weights):
    array = da.from_array(ODD[name], chunks=(50, 70))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        found = computed(subtract_array(array, weights=tiny_weights))
    known = in_memory(ODD[name], tiny_weights)
    assert found.background.dtype == known['BACKGROUND'].dtype
    size = np.median(known['BACKGROUND_RMS']) or 1
    for map_name, attribute in NAMES.items():
        unit = 1 if map_name == 'PROBABILITY' else size
        one, other = getattr(found, attribute), known[map_name]
        np.testing.assert_allclose(one / unit, other / unit, rtol=0, atol=2e-3)
