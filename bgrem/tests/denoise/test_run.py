"""Tests of the border between numpy and torch."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from bgrem.denoise import run
from bgrem.denoise.run import denoise, resolve_device
from bgrem.nn import CosineSchedule, NetworkOutput
from bgrem.weights import load_weights

HAS_GPU = torch.cuda.is_available()


class PerfectNetwork:
    """Predicts that pixels below 5 are background, and centers at the others."""

    config = SimpleNamespace(size_multiple=8)

    def __init__(self, *, largest_batch=None, center_head=True, error=None):
        self.largest_batch = largest_batch
        self.center_head = center_head
        self.error = error or torch.OutOfMemoryError('CUDA out of memory.')
        self.batches = []
        self.shapes = set()

    def __call__(self, x, noise_variance):
        self.batches.append(len(x))
        self.shapes.add(tuple(x.shape[2:]))
        assert x.shape[2] % 8 == 0
        assert x.shape[3] % 8 == 0
        if self.largest_batch is not None and len(x) > self.largest_batch:
            raise self.error
        rate = noise_variance.sqrt().view(-1, 1, 1, 1)
        is_source = x >= 5
        background = torch.where(is_source, 0.0, x) / rate
        logit = torch.where(is_source, 7.0, -7.0) if self.center_head else None
        return NetworkOutput(background, logit)


def fake_weights(network, n_steps=1):
    return SimpleNamespace(
        network=lambda device: network,
        config=network.config,
        schedule=CosineSchedule(),
        n_steps=n_steps,
        # up to 32 px are in use
        tile_size=16,
        tile_overlap=8,
    )


@pytest.fixture
def image():
    image = np.random.default_rng(4).uniform(-3, 3, (70, 90)).astype(np.float32)
    image[::7, ::9] = 50
    return image


@pytest.mark.parametrize('n_steps', [None, 1, 3])
def test_perfect_network(image, n_steps):
    """A network that knows the background returns the exact source."""
    source, logit = denoise(image, fake_weights(PerfectNetwork()), n_steps=n_steps)
    assert source.dtype == logit.dtype == np.float32
    assert_allclose(source, np.where(image > 5, image, 0), atol=1e-4)
    assert_allclose(logit, np.where(image > 5, 7, -7), rtol=1e-5)


@pytest.mark.parametrize('shape', [(1, 1), (2, 3), (5, 5), (1, 100), (100, 1)])
def test_any_size(shape):
    source, logit = denoise(np.full(shape, 9, 'f4'), fake_weights(PerfectNetwork()))
    assert source.shape == logit.shape == shape
    assert_allclose(source, 9, rtol=1e-5)


@pytest.mark.parametrize('batch_size', [1, 3, 100])
def test_batch_size(image, batch_size, tiny_weights):
    """The batch size does not change the answer."""
    weights = load_weights(tiny_weights)
    expected = denoise(image, weights, batch_size=4)
    result = denoise(image, weights, batch_size=batch_size)
    assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(('n_pixels', 'side'), [(30, 32), (33, 24), (60, 32), (90, 32)])
def test_tiles_fit_the_image(n_pixels, side):
    """Tiles are at most 9/4 as large as the weights say, and overlap no more."""
    network = PerfectNetwork()
    image = np.full((n_pixels, 8), 9, 'f4')
    denoise(image, fake_weights(network), device='cpu', batch_size=100)
    assert network.shapes == {(side, 8)}


def test_repeatable(image, tiny_weights):
    weights = load_weights(tiny_weights)
    assert_array_equal(denoise(image, weights), denoise(image, weights))


def test_steps_of_weights(image):
    """Without n_steps the weights' own number of steps is taken."""
    network = PerfectNetwork()
    denoise(image, fake_weights(network, n_steps=3), batch_size=100)
    assert len(network.batches) == 3


@pytest.mark.parametrize(
    'error',
    [
        torch.OutOfMemoryError('CUDA out of memory.'),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        RuntimeError('MPS backend out of memory (MPS allocated: 1 GB)'),
        MemoryError(),
    ],
)
def test_out_of_memory(image, error):
    """The batch is halved until it fits, and no tile is lost."""
    network = PerfectNetwork(largest_batch=3, error=error)
    source, _ = denoise(image, fake_weights(network), batch_size=10)
    assert network.batches[:3] == [10, 5, 2]
    assert_allclose(source, np.where(image > 5, image, 0), atol=1e-4)


def test_out_of_memory_for_good(image):
    network = PerfectNetwork(largest_batch=0)
    match = 'one tile of 32x32 px does not fit the memory of cpu'
    with pytest.raises(MemoryError, match=match):
        denoise(image, fake_weights(network), batch_size=2, device='cpu')


def test_other_error(image):
    network = PerfectNetwork(largest_batch=0, error=RuntimeError('broken'))
    with pytest.raises(RuntimeError, match='broken'):
        denoise(image, fake_weights(network), device='cpu')


def test_no_center_head(image):
    """Without the second output, brighter peaks get a higher logit."""
    network = PerfectNetwork(center_head=False)
    image[7, 9] = 5000
    source, logit = denoise(image, fake_weights(network))
    assert np.all(np.isfinite(logit))
    assert logit[7, 9] > logit[0, 0] > logit[0, 1]
    assert_allclose(logit[7, 9], 1.5 * np.log(source[7, 9]), rtol=1e-6)


def test_image_untouched(image, tiny_weights):
    expected = image.copy()
    image.flags.writeable = False
    denoise(image, load_weights(tiny_weights))
    assert_array_equal(image, expected)


@pytest.fixture
def bars(monkeypatch):
    """What the progress bars had counted in the end, and to what."""
    bars = []

    class Bar(run.tqdm):
        def __exit__(self, *exception):
            bars.append((self.n, self.total))
            super().__exit__(*exception)

    monkeypatch.setattr(run, 'tqdm', Bar)
    return bars


def test_progress(image, tiny_weights, capsys, bars):
    weights = load_weights(tiny_weights)
    denoise(image, weights)
    assert capsys.readouterr().err == ''
    bars.clear()
    denoise(image, weights, progress='a star')
    denoise(image, weights, n_steps=3, n_symmetries=4, progress='a star')
    n_tiles = bars[0][0]
    assert bars == [(n_tiles, n_tiles), (12 * n_tiles, 12 * n_tiles)]
    err = capsys.readouterr().err
    assert re.search(r'a star: +0%.*tile', err)
    assert 'a star (4 views, 3 steps): ' in err


def test_progress_of_a_batch_that_does_not_fit(image, bars):
    network = PerfectNetwork(largest_batch=2)
    denoise(image, fake_weights(network), batch_size=4, progress='a star')
    ((n, total),) = bars
    assert n == total


def test_bfloat16(image, tiny_weights, monkeypatch):
    """Half precision where the CPU has it; nearly the same answer."""
    weights = load_weights(tiny_weights)
    monkeypatch.setattr(run, 'cpu_has_bfloat16', lambda: False)
    exact = denoise(image, weights, device='cpu')[0]
    monkeypatch.setattr(run, 'cpu_has_bfloat16', lambda: True)
    rounded = denoise(image, weights, device='cpu')[0]
    assert rounded.dtype == np.float32
    assert_allclose(rounded, exact, rtol=0.1, atol=0.1)


@pytest.mark.parametrize('number', range(8))
def test_symmetries_are_undone(number):
    x = torch.arange(24.0).reshape(1, 1, 4, 6)
    view = run._view(x, number)
    assert torch.equal(run._view_back(view, number), x)


def test_the_symmetries_differ():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    views = {tuple(run._view(x, n).flatten().tolist()) for n in range(8)}
    assert len(views) == 8


def test_average_over_all_symmetries_turns_with_the_image(image, tiny_weights):
    weights = load_weights(tiny_weights)
    options = {'n_symmetries': 8, 'device': 'cpu'}
    square = np.ascontiguousarray(image[:48, :48])
    straight = denoise(square, weights, **options)
    turned = denoise(np.ascontiguousarray(np.rot90(square)), weights, **options)
    for a, b in zip(straight, turned, strict=True):
        assert_allclose(b, np.rot90(a), rtol=1e-2, atol=1e-2)


def test_bad_symmetries(image, tiny_weights):
    with pytest.raises(ValueError, match='n_symmetries must be 1, 2, 4 or 8, got 3'):
        denoise(image, load_weights(tiny_weights), n_symmetries=3)


def test_probe_survives_new_torch(monkeypatch):
    monkeypatch.setattr(torch, 'cpu', SimpleNamespace())
    assert run.cpu_has_bfloat16() is False


def test_resolve_device():
    assert resolve_device('cpu') == torch.device('cpu')
    assert resolve_device(torch.device('cpu')) == torch.device('cpu')
    expected = 'cuda' if HAS_GPU else 'mps' if torch.mps.is_available() else 'cpu'
    assert resolve_device('auto').type == expected


@pytest.mark.parametrize('device', ['gpu', '', 'meta', 'cpu:', None, 3.5])
def test_unknown_device(device):
    with pytest.raises(ValueError, match="device must be 'auto', 'cpu', 'cuda', "):
        resolve_device(device)


def test_missing_device():
    with pytest.raises(ValueError, match="'cuda:99' is not available on this machine"):
        resolve_device('cuda:99')


@pytest.mark.parametrize('name', ['n_steps', 'batch_size'])
def test_invalid_count(image, name):
    with pytest.raises(ValueError, match=f'{name} must be a positive integer, got -1'):
        denoise(image, fake_weights(PerfectNetwork()), **{name: -1})


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason='needs a CUDA device')
def test_gpu(image, tiny_weights):
    weights = load_weights(tiny_weights)
    expected = denoise(image, weights, device='cpu')
    result = denoise(image, weights, device='cuda')
    assert_allclose(result, expected, rtol=0.1, atol=0.1)
