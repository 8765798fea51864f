"""Tests of the smooth trend of the sky."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bgrem.sky.boxes import measure_sky
from bgrem.sky.trend import find_trend

SHAPE = (150, 200)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]
NOISE = np.random.default_rng(8).normal(size=SHAPE)


def trend_of(data, box_size=32):
    usable = np.isfinite(data)
    sky = measure_sky(data, np.zeros(SHAPE), usable, np.ones(SHAPE))
    return find_trend(sky, SHAPE, box_size)


@pytest.mark.parametrize(
    'sky',
    [0.1 * X, 1000 - 0.1 * Y + 0.05 * X, 1e-3 * X**2 + 5e-4 * X * Y - 1e-3 * Y**2],
    ids=['x', 'plane', 'quadratic'],
)
def test_found(sky):
    trend = trend_of(sky + NOISE)
    assert np.sqrt(np.mean((trend.image() - sky) ** 2)) < 0.06
    assert trend.image('f4').dtype == np.float32
    part = trend([3, 80.5], [0, 10, 199])
    assert part.shape == (2, 3)
    assert_allclose(part[0], trend.image()[3, [0, 10, 199]])


def test_mesh():
    """At the centers of boxes, of which the last may reach beyond the image."""
    mesh = trend_of(0.1 * X + NOISE).mesh((5, 7), (32, 32))
    expected = 0.1 * (15.5 + 32 * np.arange(7))
    assert_allclose(mesh, np.broadcast_to(expected, (5, 7)), atol=0.1)


@pytest.mark.parametrize('seed', range(10))
def test_pure_noise(seed):
    noise = np.random.default_rng(seed).normal(size=SHAPE)
    assert trend_of(1000 + noise) is None


@pytest.mark.parametrize('height', [3, 500])
@pytest.mark.parametrize('edge', [60, 100, 170])
def test_a_step_is_no_trend(height, edge):
    assert trend_of(np.where(edge > X, 0, height) + NOISE) is None


def test_a_galaxy_is_no_trend():
    assert trend_of(30 * np.exp(-np.hypot(Y - 75, X - 100) / 30) + NOISE) is None


def test_nebulosity_is_no_trend():
    assert trend_of(5 * np.sin(X / 12) * np.sin(Y / 12) + NOISE) is None


def test_no_data():
    """A masked corner and wild values do not tilt the sky."""
    data = 0.1 * X + NOISE
    data[120:, 150:] = np.nan
    data[40:44, 40:44] = 1e4
    trend = trend_of(data)
    assert np.sqrt(np.mean((trend.image() - 0.1 * X) ** 2)) < 0.15


def test_degrees():
    """A trend only along the axes that allow it."""
    data = 0.1 * X + NOISE
    assert trend_of(data, 200) is None
    assert trend_of(data, (150, 100)).terms == ((0, 0), (0, 1))
    assert len(trend_of(data, 32).terms) == 6
