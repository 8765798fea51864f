"""Tests of the interpolation of a mesh."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from bgrem.sky.maps import interpolate_mesh


def draw_mesh(n_boxes):
    return np.random.default_rng(5).normal(size=n_boxes)


@pytest.mark.parametrize(
    ('n_boxes', 'box_size'), [((12, 15), (7, 4)), ((15, 12), (1, 16)), ((40, 13), 3)]
)
def test_equals_zoom(n_boxes, box_size):
    """It is the cubic zoom of the parent, cropped and clipped."""
    mesh = draw_mesh(n_boxes)
    size = np.broadcast_to(box_size, 2)
    shape = tuple(mesh.shape * size - (size > 2))
    expected = ndimage.zoom(mesh, size, order=3, mode='reflect', grid_mode=True)
    expected = np.clip(expected, mesh.min(), mesh.max())[: shape[0], : shape[1]]
    assert_allclose(interpolate_mesh(mesh, shape, size), expected, atol=1e-12)


@pytest.mark.parametrize('box_size', [(5, 9), (31, 1)])
@pytest.mark.parametrize('n_boxes', [(2, 3), (1, 4), (6, 2)])
def test_meets_the_mesh(n_boxes, box_size):
    """The centre of a box of odd size has the value of the box."""
    mesh = draw_mesh(n_boxes)
    shape = np.multiply(n_boxes, box_size)
    image = interpolate_mesh(mesh, shape, box_size)
    centers = image[box_size[0] // 2 :: box_size[0], box_size[1] // 2 :: box_size[1]]
    assert_allclose(centers, mesh, atol=1e-12)


def test_cubic():
    """Far from the borders it is exact for a polynomial of third degree."""
    n, size = 40, 8
    center = size * np.arange(n) + (size - 1) / 2
    y, x = np.arange(n * size)[:, None] / 100, np.arange(n * size) / 100
    yc, xc = center[:, None] / 100, center / 100
    image = interpolate_mesh(yc**3 - 2 * yc * xc**2 + xc, (n * size,) * 2, (size,) * 2)
    inner = slice(15 * size, -15 * size)
    expected = (y**3 - 2 * y * x**2 + x)[inner, inner]
    assert_allclose(image[inner, inner], expected, rtol=1e-7)


@pytest.mark.parametrize(
    ('shape', 'size'), [((100, 100), 32), ((64, 25), 16), ((70, 90), 70), ((9, 9), 1)]
)
@pytest.mark.parametrize('pedestal', [100, -1e7, 1e7])
def test_pedestal(shape, size, pedestal):
    """A constant more in the mesh is that constant more in the map."""
    mesh = draw_mesh([-(-n // size) for n in shape])
    plain = interpolate_mesh(mesh, shape, (size, size))
    high = interpolate_mesh(mesh + pedestal, shape, (size, size))
    assert_allclose(high - pedestal, plain, rtol=0, atol=1e-8)


def test_symmetry():
    """Rows and columns, and both directions, are treated alike."""
    mesh = draw_mesh((5, 3))
    image = interpolate_mesh(mesh, (40, 18), (8, 6))
    assert_allclose(interpolate_mesh(mesh.T, (18, 40), (6, 8)).T, image, atol=1e-12)
    turned = interpolate_mesh(mesh[::-1, ::-1], (40, 18), (8, 6))
    assert_allclose(turned[::-1, ::-1], image, atol=1e-12)


def test_range():
    """It does not leave the range of the mesh; a constant mesh stays exact."""
    mesh = np.zeros((6, 6))
    mesh[2:4, 2:4] = 1
    image = interpolate_mesh(mesh, (60, 60), (10, 10))
    assert image.min() == 0
    assert image.max() == 1
    assert_array_equal(interpolate_mesh(np.full((3, 2), 0.1), (25, 9), (9, 5)), 0.1)


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_dtype(dtype):
    mesh = draw_mesh((4, 4)).astype(dtype)
    before = mesh.copy()
    assert interpolate_mesh(mesh, (30, 30), (8, 8)).dtype == dtype
    assert interpolate_mesh(mesh, (30, 30), (8, 8), np.float32).dtype == np.float32
    assert_array_equal(mesh, before)


def test_blocks(monkeypatch):
    """The blocks of rows that it works in do not matter."""
    mesh = draw_mesh((6, 5))
    whole = interpolate_mesh(mesh, (90, 70), (16, 16))
    monkeypatch.setattr('bgrem.sky.maps._MAX_BLOCK', 500)
    assert_array_equal(interpolate_mesh(mesh, (90, 70), (16, 16)), whole)
