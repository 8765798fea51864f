"""Tests of long, straight and narrow lines of light."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bgrem.sky.trails import find_trails

SHAPE = (150, 110)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
NOISE = np.random.default_rng(5).normal(size=SHAPE)


def distance(angle, shape=SHAPE, offset=0.0):
    """From a line through the middle, in boxes."""
    y, x = np.indices(shape)
    y, x = y - shape[0] / 2, x - shape[1] / 2
    angle = np.deg2rad(angle)
    return x * np.sin(angle) - y * np.cos(angle) - offset


def find(light):
    return find_trails((light + NOISE).astype(np.float32), np.ones(SHAPE, np.float32))


@pytest.mark.parametrize('angle', range(0, 180, 15))
def test_angles(angle):
    """From border to border, and nothing else."""
    far = np.abs(distance(angle))
    found = find(5 * np.exp(-(far**2)))
    assert np.mean(found[far < 0.7]) > 0.97
    assert far[found].max() < 8


def test_faint():
    """Hidden in the noise of each box, but not in that of their sums."""
    far = np.abs(distance(20))
    assert np.mean(find(3 * (far < 0.8))[far < 0.7]) > 0.95


def test_two():
    near, other = np.abs(distance(20)), np.abs(distance(110, offset=20))
    found = find(6 * (np.minimum(near, other) < 0.8))
    assert np.mean(found[np.minimum(near, other) < 0.7]) > 0.97
    assert np.minimum(near, other)[found].max() < 8


def test_end():
    """A trail that ends within the image, to the length of a piece."""
    far = np.abs(distance(90))
    found = find(20 * np.exp(-(far**2)) * (Y < 70))
    assert found[:66].any(axis=1).all()
    assert not found[80:].any()


def test_star_on_it():
    far = np.abs(distance(90))
    star = 1000 * np.exp(-np.hypot(Y - 70, X - 55) / 3)
    found = find(20 * np.exp(-(far**2)) + star)
    assert found[:, 55].all()


NO_TRAILS = {
    'noise': 0 * X,
    'slope': 30 * X - 7 * Y,
    'step': np.where(distance(35) > 0, 100, 0),
    'broad': 100 * np.exp(-((distance(35) / 8) ** 2)),
    'short': 100 * np.exp(-(distance(90) ** 2)) * (np.abs(Y - 70) < 9),
    'stars': 1e4 * ((X % 40 == 9) & (Y % 40 == 9)),
    'dark': -100 * np.exp(-(distance(35) ** 2)),
    'fringes': 50 * np.sin(distance(35) * 2 * np.pi / 8),
    'stripes': 5 * np.random.default_rng(1).normal(size=SHAPE[1]) + 0 * X,
}


@pytest.mark.parametrize('kind', NO_TRAILS)
def test_no_trail(kind):
    assert not find(NO_TRAILS[kind]).any()


@pytest.mark.parametrize('light', [0, 1e4])
def test_noise_that_changes(light):
    """Less noise along a line is no light, nor is more."""
    for factor in (0.2, 5.0):
        error = np.where(np.abs(distance(20)) < 1.5, factor, 1)
        level = light + error * NOISE
        assert not find_trails(level, error).any()


@pytest.mark.parametrize('n_boxes', [1, 5000])
def test_bands(n_boxes, monkeypatch):
    """The same from few boxes at a time."""
    light = 5 * np.exp(-(distance(35) ** 2))
    whole = find(light)
    monkeypatch.setattr('bgrem.sky.trails._MOST_BOXES', n_boxes)
    assert_array_equal(find(light), whole)


@pytest.mark.parametrize(
    'shape', [(1, 1), (1, 500), (31, 31), (40, 3), (104, 64), (65, 104), (296, 40)]
)
def test_shapes(shape):
    """Of any size; what is thinner than a line and what is beside it has none."""
    far = np.abs(distance(0 if shape[0] < shape[1] else 90, shape))
    found = find_trails(9 * (far < 0.8), np.ones(shape))
    assert found.shape == shape
    is_large = max(shape) > 32 and min(shape) > 20
    assert found[far < 0.7].all() if is_large else not found.any()
