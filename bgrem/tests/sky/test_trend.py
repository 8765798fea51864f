"""Tests of the smooth trend of the sky."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bgrem.sky.trend import SkyTrend, fit_trend

SHAPE = (150, 200)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]
NOISE = np.random.default_rng(8).normal(size=SHAPE)
NOTHING = np.zeros(SHAPE, dtype=bool)


@pytest.mark.parametrize(
    'sky',
    [0.1 * X, 1000 - 0.1 * Y + 0.05 * X, 1e-3 * X**2 + 5e-4 * X * Y - 1e-3 * Y**2],
    ids=['x', 'plane', 'quadratic'],
)
def test_found(sky):
    trend = fit_trend(sky + NOISE, NOTHING, 32)
    assert np.sqrt(np.mean((trend.image() - sky) ** 2)) < 0.05
    assert trend.image('f4').dtype == np.float32
    part = trend([3, 80.5], [0, 10, 199])
    assert part.shape == (2, 3)
    assert_allclose(part[0], trend.image()[3, [0, 10, 199]])


@pytest.mark.parametrize('seed', range(20))
def test_pure_noise(seed):
    noise = np.random.default_rng(seed).normal(size=SHAPE)
    assert fit_trend(1000 + 7 * noise, NOTHING, 32) is None


@pytest.mark.parametrize('data', [np.ones(SHAPE), 0.1 * X, np.zeros((1, 1))])
def test_no_noise(data):
    """Where nothing tells what is significant, nothing is done."""
    assert fit_trend(data, np.zeros(data.shape, dtype=bool), 32) is None


def test_no_data():
    assert fit_trend(np.full(SHAPE, np.nan), ~NOTHING, 32) is None


def test_outliers():
    """Masked pixels and a large galaxy that was left over do not tilt the sky."""
    sky = 0.1 * X
    data = sky + NOISE + 300 * np.exp(-((X - 50) ** 2 + (Y - 40) ** 2) / 200)
    data[120:, 150:] = np.nan
    trend = fit_trend(data, np.isnan(data), 32)
    assert np.sqrt(np.mean((trend.image() - sky) ** 2)) < 0.2


def test_degrees():
    """A trend only along the axes that allow it."""
    data = 0.1 * X + 0.1 * Y + NOISE
    assert fit_trend(data, NOTHING, 200) is None
    assert fit_trend(data, NOTHING, (75, 200)).terms == ((0, 0), (1, 0))
    assert len(fit_trend(data, NOTHING, 32).terms) == 6


def test_evaluation():
    trend = SkyTrend((3, 5), ((0, 0), (1, 0), (0, 2)), (10.0, 1.0, 4.0))
    assert_allclose(trend.image()[0], [13, 10, 9, 10, 13])
    assert_allclose(trend.image()[:, 2], [9, 10, 11])


def test_single_pixel():
    assert_allclose(SkyTrend((1, 1), ((0, 0),), (2.0,)).image(), [[2.0]])
