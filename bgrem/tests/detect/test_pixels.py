"""Tests of what is asked of segments and pixels: answers of scipy, found faster."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from bgrem.detect.pixels import (
    DISC,
    curvatures,
    highest_pixels,
    highest_values,
    open_disc,
    renumber,
    spread,
    widen,
)


@pytest.fixture
def image():
    return np.random.default_rng(3).normal(size=(40, 50)).astype(np.float32)


@pytest.fixture
def labels(image):
    """Segments; the last but one has no pixel."""
    labels, n_labels = ndimage.label(ndimage.gaussian_filter(image, 2) > 0.05)
    labels[labels == n_labels] = n_labels + 1
    return labels


class TestHighest:
    def test_values(self, image, labels):
        n_labels = labels.max()
        found = highest_values(image, labels, n_labels)
        expected = ndimage.maximum(image, labels, np.arange(1, n_labels - 1))
        assert_array_equal(found[1:-2], expected)
        assert_array_equal(found[[0, -2]], -np.inf)

    def test_pixels(self, image, labels):
        n_labels = labels.max()
        y, x = highest_pixels(image, labels, n_labels)
        expected = ndimage.maximum_position(image, labels, np.arange(1, n_labels - 1))
        assert_array_equal(np.column_stack([y, x])[:-2], expected)
        assert (y[-2], x[-2]) == (0, 0)

    def test_first_of_equals(self):
        y, x = highest_pixels(np.ones((3, 4)), np.full((3, 4), 1) * [0, 2, 2, 2], 2)
        assert_array_equal([y[1], x[1]], [0, 1])


class TestCurvatures:
    @pytest.mark.parametrize('scale', [0.8, 2.5])
    def test_as_filters(self, image, scale):
        y, x = np.indices(image.shape).reshape(2, -1)
        expected = [
            ndimage.gaussian_filter(
                image.astype(float), scale, order=order, mode='nearest'
            ).ravel()
            for order in ((2, 0), (0, 2), (1, 1))
        ]
        assert_allclose(curvatures(image, y, x, scale), expected, atol=1e-12)

    def test_paraboloid(self):
        y, x = np.indices((41, 41)) - 20
        image = 1.5 * y**2 - 0.5 * x**2 + 2.0 * y * x
        found = curvatures(image, np.array([20]), np.array([20]), 2.0)
        assert_allclose(found[:, 0], [3, -1, 2], rtol=5e-3)

    def test_no_pixels(self, image):
        none = np.zeros(0, dtype=int)
        assert curvatures(image, none, none, 1.0).shape == (3, 0)


def test_renumber(labels):
    numbers = np.random.default_rng(5).permutation(labels.max() + 1)
    expected = numbers[labels]
    renumber(labels, numbers)
    assert_array_equal(labels, expected)


@pytest.mark.parametrize('shape', [(1, 1), (3, 90), (60, 70), (150, 20)])
def test_open_disc(shape, monkeypatch):
    """As an opening of the whole, in bands of 64 rows too."""
    monkeypatch.setattr('bgrem.sky.bands._PIXELS', 1)
    noise = np.random.default_rng(4).normal(size=shape)
    region = ndimage.gaussian_filter(noise, 2.5) > 0
    assert_array_equal(open_disc(region), ndimage.binary_opening(region, DISC))


@pytest.mark.parametrize('shape', [(1, 1), (1, 9), (5, 6), (40, 30)])
def test_spread_and_widen(shape):
    """As a dilation, also beyond the border of small images."""
    rng = np.random.default_rng(sum(shape))
    y, x = (rng.integers(0, n, 5) for n in shape)
    markers = np.zeros(shape, dtype=bool)
    markers[y, x] = True
    structure = np.array([[1, 0, 0], [1, 1, 1], [0, 0, 1]], dtype=bool)
    for one in (structure, DISC, np.ones((1, 3), dtype=bool)):
        expected = ndimage.binary_dilation(markers, one)
        assert_array_equal(spread(y, x, one, shape), expected)
    expected = ndimage.binary_dilation(markers, np.ones((3, 3)))
    assert_array_equal(widen(markers), expected)
    nothing = np.zeros(0, dtype=int)
    assert not spread(nothing, nothing, DISC, shape).any()
