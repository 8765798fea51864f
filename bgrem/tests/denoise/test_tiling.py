"""Tests of the tiling."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bgrem.denoise.tiling import make_layout, merge, split

SHAPES = [
    (1, 1),
    (2, 3),
    (5, 5),
    (1, 300),
    (300, 1),
    (16, 64),
    (64, 64),
    (65, 64),
    (63, 130),
    (97, 101),
    (200, 48),
    # the shapes that the method's original script scrambles or rejects
    (106, 90),
    (90, 120),
]


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize(
    ('tile_size', 'overlap', 'multiple'), [(64, 16, 16), (64, 24, 8), (32, 0, 32)]
)
def test_identity(shape, tile_size, overlap, multiple):
    """A denoiser that does nothing gives the image back."""
    image = np.random.default_rng(1).normal(size=shape)
    tiles, layout = split(image, tile_size, overlap, multiple)
    assert len(tiles) == len(layout)
    assert tiles.shape[1] % multiple == 0
    assert tiles.shape[2] % multiple == 0
    assert max(tiles.shape[1:]) <= tile_size
    assert_allclose(merge(tiles, layout), image, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize('shape', SHAPES)
def test_windows_sum_to_one(shape):
    layout = make_layout(shape, 64, 32, 16)
    weights = merge(np.ones((len(layout), *layout.tile_shape)), layout)
    assert_allclose(weights, 1.0, rtol=1e-6)


@pytest.mark.parametrize('n_pixels', range(1, 400, 7))
def test_overlap_and_steps(n_pixels):
    """Neighbours overlap enough, and every step is a whole multiple."""
    layout = make_layout((n_pixels, 8), 64, 20, 8)
    steps = np.diff(layout.y_starts)
    assert np.all(steps % 8 == 0)
    assert np.all(steps > 0)
    assert np.all(steps <= 64 - 24)
    assert layout.y_starts[-1] + layout.tile_shape[0] >= n_pixels


@pytest.mark.parametrize(
    ('n_pixels', 'side', 'n_tiles'),
    [(576, 576, 1), (577, 352, 2), (1024, 544, 2), (2048, 576, 4), (4096, 576, 8)],
)
def test_as_small_as_possible(n_pixels, side, n_tiles):
    layout = make_layout((n_pixels, 8), 576, 64, 32)
    assert layout.tile_shape[0] == side
    assert len(layout) == n_tiles


def test_taper_only_inside():
    """Tiles keep their full weight at the borders of the image."""
    layout = make_layout((160, 160), 64, 16, 16)
    assert_array_equal(layout.y_windows[0, :48], 1)
    assert_array_equal(layout.y_windows[-1, 16:], 1)
    assert layout.y_windows[0, -1] < 0.01
    assert layout.y_windows[1, 0] < 0.01


def test_reflection():
    """Small images continue by reflection, as often as needed."""
    image = np.array([[1.0, 2.0, 3.0]])
    tiles, layout = split(image, 64, 16, 8)
    assert layout.tile_shape == (8, 8)
    assert_array_equal(tiles[0], np.tile([1, 2, 3, 3, 2, 1, 1, 2], (8, 1)))


def test_take_some():
    image = np.random.default_rng(2).normal(size=(130, 150)).astype('f4')
    tiles, layout = split(image, 64, 16, 16)
    some = [3, 1]
    taken = layout.take(image, some)
    assert taken.dtype == np.float32
    assert_array_equal(taken, tiles[some])


def test_image_untouched():
    image = np.zeros((70, 70))
    image.flags.writeable = False
    tiles, layout = split(image, 64, 16, 16)
    tiles += 1
    assert_allclose(merge(tiles, layout), 1, rtol=1e-6)
    assert not image.any()


@pytest.mark.parametrize(
    ('arguments', 'match'),
    [
        (((0, 4), 64, 16, 16), r'shape must be two positive integers, got \(0, 4\)'),
        (((4,), 64, 16, 16), 'shape must be two positive integers'),
        (((4, 4), 64, 16, 0), 'multiple must be a positive integer, got 0'),
        (((4, 4), 60, 16, 16), 'tile_size must be a positive multiple of 16, got 60'),
        (((4, 4), 64, -1, 16), 'overlap must be at least 0'),
        (((4, 4), 64, 49, 16), 'less than tile_size=64, got 49'),
    ],
)
def test_invalid(arguments, match):
    with pytest.raises(ValueError, match=match):
        make_layout(*arguments)


def test_wrong_tiles():
    tiles, layout = split(np.zeros((70, 70)), 64, 16, 16)
    with pytest.raises(ValueError, match=r'tiles must have the shape \(4, 48, 48\)'):
        merge(tiles[:1], layout)
