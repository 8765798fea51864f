"""Tests of the interpolation of a mesh."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage
from scipy.interpolate import CubicSpline

from bgrem.sky.maps import MeshMap, interpolate_mesh


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
    """The center of a box of odd size has the value of the box."""
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


class TestStraightOn:
    """A mesh that goes on straight beyond the centers of its outer boxes."""

    @pytest.mark.parametrize('n_boxes', [(6, 5), (2, 3), (1, 4), (7, 1)])
    def test_plane(self, n_boxes):
        """A slope goes on as it is, beyond the mesh too."""
        y, x = np.indices(n_boxes)
        slopes = [
            0 if n == 1 else slope for n, slope in zip(n_boxes, (3, -2), strict=True)
        ]
        mesh = slopes[0] * y + slopes[1] * x + 7.0
        box_size = 8, 5
        shape = tuple(
            n * size + 3 * size - 2 for n, size in zip(n_boxes, box_size, strict=True)
        )
        image = interpolate_mesh(mesh, shape, box_size, edges='linear')
        y, x = (
            (np.arange(n) + 0.5) / size - 0.5
            for n, size in zip(shape, box_size, strict=True)
        )
        expected = slopes[0] * y[:, np.newaxis] + slopes[1] * x + 7
        assert_allclose(image, expected, atol=1e-10)

    def test_meets_the_mesh(self):
        mesh = draw_mesh((6, 7))
        image = interpolate_mesh(mesh, (30, 63), (5, 9), edges='linear')
        assert_allclose(image[2::5, 4::9], mesh, atol=1e-12)

    def test_is_the_natural_spline(self):
        """Along one axis: without a bend at its ends."""
        values = draw_mesh((1, 8))
        image = interpolate_mesh(values, (1, 8 * 16), (1, 16), edges='linear')
        spline = CubicSpline(np.arange(8), values[0], bc_type='natural')
        inner = slice(8, -8)
        expected = spline((np.arange(8 * 16) + 0.5) / 16 - 0.5)[inner]
        # clipped to the range of the mesh and of one box around it
        before, after = (
            2 * values[0, 0] - values[0, 1],
            2 * values[0, -1] - values[0, -2],
        )
        ends = np.append(values, [before, after])
        assert_allclose(
            image[0, inner], np.clip(expected, ends.min(), ends.max()), atol=1e-12
        )

    def test_symmetry(self):
        mesh = draw_mesh((5, 3))
        options = {'edges': 'linear'}
        image = interpolate_mesh(mesh, (40, 18), (8, 6), **options)
        assert_allclose(
            interpolate_mesh(mesh.T, (18, 40), (6, 8), **options).T, image, atol=1e-12
        )
        turned = interpolate_mesh(mesh[::-1, ::-1], (40, 18), (8, 6), **options)
        assert_allclose(turned[::-1, ::-1], image, atol=1e-12)

    @pytest.mark.parametrize('pedestal', [-1e7, 1e7])
    @pytest.mark.parametrize('factor', [0.25, 1000.0])
    def test_equivariance(self, pedestal, factor):
        mesh = draw_mesh((4, 6))
        plain = interpolate_mesh(mesh, (75, 99), (20, 16), edges='linear')
        other = interpolate_mesh(
            factor * mesh + pedestal, (75, 99), (20, 16), edges='linear'
        )
        assert_allclose((other - pedestal) / factor, plain, atol=1e-7)

    def test_linear_in_the_mesh(self):
        """Maps add up as meshes do, as long as none is clipped."""
        y, x = np.indices((9, 9))
        first, second = 3.0 * y, np.exp(x / 5)
        maps = [
            interpolate_mesh(mesh, (70, 70), (8, 8), edges='linear')
            for mesh in (first, second, first + second)
        ]
        assert_allclose(maps[0] + maps[1], maps[2], atol=1e-10)


@pytest.mark.parametrize('edges', ['reflect', 'linear'])
class TestParts:
    @pytest.mark.parametrize('box_size', [(8, 5), (70, 90), (1, 3)])
    def test_of_the_whole(self, edges, box_size):
        """Any part is that of the whole map; negative and missing ends count too."""
        shape = 121, 64
        mesh = draw_mesh(
            [-(-n // size) for n, size in zip(shape, box_size, strict=True)]
        )
        surface = MeshMap(mesh, shape, box_size, edges=edges)
        whole = interpolate_mesh(mesh, shape, box_size, edges=edges)
        for part in (
            np.s_[:, :], np.s_[3:7, 60:], np.s_[:-100, 10:11], np.s_[120:, :40],
            np.s_[33:97, -9:], np.s_[40:40, :], np.s_[100:300, :],
        ):  # fmt: skip
            found = surface.part(*part)
            assert found.shape == whole[part].shape
            assert_allclose(found, whole[part], rtol=0, atol=1e-12)
        assert_array_equal(surface.part(), whole)

    def test_a_new_array(self, edges):
        for mesh in (draw_mesh((3, 3)), np.full((3, 3), 2.5)):
            surface = MeshMap(mesh, (20, 20), (7, 7), edges=edges)
            part = surface.part(slice(0, 5))
            part[:] = 99
            assert surface.part(slice(0, 5)).max() < 99

    def test_rounding_does_not_depend_on_the_part(self, edges):
        mesh = draw_mesh((2, 2)).astype(np.float32) + 1e6
        surface = MeshMap(mesh, (300, 20), (150, 10), np.float32, edges=edges)
        whole = surface.part()
        for start in (0, 13, 149, 150, 151, 290):
            part = surface.part(slice(start, start + 10))
            assert_array_equal(part, whole[start : start + 10])

    def test_range_of_a_dtype(self, edges):
        """A spline that overshoots what a dtype can hold stays finite."""
        mesh = np.zeros((5, 5), np.float32)
        mesh[2, 2] = np.finfo(np.float32).max
        image = interpolate_mesh(mesh, (50, 50), (10, 10), edges=edges)
        assert np.all(np.isfinite(image))
        assert image.min() >= 0
        assert 0.9 * mesh.max() < image.max() <= mesh.max()

    def test_constant(self, edges):
        surface = MeshMap(np.full((3, 4), 0.1), (25, 30), (9, 9), edges=edges)
        assert_array_equal(
            surface.part(slice(3, 9), slice(20, None)), np.full((6, 10), 0.1)
        )
