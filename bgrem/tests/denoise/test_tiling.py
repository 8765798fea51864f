"""Tests of the tiling."""

from dataclasses import FrozenInstanceError

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
    """Neighbors overlap enough, and every step is a whole multiple."""
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


@pytest.mark.parametrize('shape', [(96, 160), (64, 64), (128, 40)])
def test_windows_are_alike_from_both_ends(shape):
    """Tiles that lie evenly are blended as in a mirror."""
    layout = make_layout(shape, 32, 16, 8)
    for windows in (layout.y_windows, layout.x_windows):
        assert_allclose(windows[::-1, ::-1], windows, atol=1e-6)
    if len(layout.x_starts) > 1:
        overlap = layout.tile_shape[1] - layout.x_starts[1]
        first = np.sin(np.pi / 4 / overlap) ** 2
        assert_allclose(layout.x_windows[1, 0], first, rtol=1e-4)


@pytest.mark.parametrize('shape', SHAPES)
def test_parts_are_the_whole(shape):
    """What rows of tiles, or rectangles of them, blend adds up to the image."""
    image = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    layout = make_layout(shape, 32, 8, 8)
    n_y, n_x = len(layout.y_starts), len(layout.x_starts)
    for height, width in ((1, n_x), (2, 2), (n_y, 1)):
        total = np.zeros(shape, np.float32)
        n_tiles = 0
        for y in range(0, n_y, height):
            for x in range(0, n_x, width):
                some = slice(y, y + height), slice(x, x + width)
                part, place = layout.part(*some)
                n_tiles += len(part)
                seen = image[place]
                assert part.shape == seen.shape
                total[place] += merge(part.take(seen, range(len(part))), part)
        assert n_tiles == len(layout)
        assert_allclose(total, image, atol=1e-5)
    rows, place = layout.part(slice(0, 1))
    assert place[1] == slice(0, shape[1])
    assert len(rows) == n_x


def test_blending_is_linear():
    """Of sums the sums, of multiples the multiples, in single precision too."""
    rng = np.random.default_rng(4)
    layout = make_layout((70, 90), 32, 8, 8)
    first, second = rng.normal(size=(2, len(layout), *layout.tile_shape))
    total = merge(first + 3 * second, layout)
    assert_allclose(total, merge(first, layout) + 3 * merge(second, layout), atol=1e-6)
    assert merge(first.astype(np.float32), layout).dtype == np.float32
    constant = np.full_like(first, 7.0)
    assert_allclose(merge(constant, layout), 7.0, rtol=1e-6)


def test_tiles_of_a_pixel():
    """The least that there are; a layout is not to be changed."""
    image = np.arange(12.0).reshape(3, 4)
    tiles, layout = split(image, 1, 0, 1)
    assert_array_equal(tiles.ravel(), image.ravel())
    assert_array_equal(merge(tiles, layout), image)
    with pytest.raises(FrozenInstanceError, match='cannot assign to field'):
        layout.shape = (1, 1)
