# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the level and the sky of maps of counts."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from bgrem.sky.count_level import (
    adjust_sky,
    continue_sky,
    counts_sky,
    expected_level,
    hold_light,
    likely_light,
    lone_photons,
)

SHAPE = (130, 150)
NOWHERE = np.zeros(SHAPE, dtype=bool)


@pytest.fixture
def rng():
    return np.random.default_rng(20)


@pytest.mark.parametrize('mean', [0.003, 0.05, 1.0, 30.0, 1e6])
def test_level_of_a_flat_sky(rng, mean):
    """A mean, whatever the number of photons, and not the median of zeros."""
    data = rng.poisson(mean, SHAPE).astype(float)
    level = expected_level(data, NOWHERE)
    assert level.shape == SHAPE
    assert level.min() > 0
    assert_allclose(level.mean(), mean, rtol=0.02 + 3 / np.sqrt(mean * data.size))
    if mean < 0.1:
        assert np.median(data) == 0


@pytest.mark.parametrize('mean', [0.02, 2.0, 200.0])
def test_level_without_sources(rng, mean):
    """Stars of thousands of photons, and of a few, do not raise it much."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    stars = np.zeros(SHAPE)
    for peak in (5, 50, 1000):
        for _ in range(3):
            y0, x0 = rng.uniform(0, 1, 2) * SHAPE
            stars += peak * np.exp(-((y - y0) ** 2 + (x - x0) ** 2) / 6)
    data = rng.poisson(mean + stars).astype(float)
    level = expected_level(data, NOWHERE).mean()
    assert level < mean + 0.2 * (data.mean() - mean) + 0.05 * mean


def test_level_follows_sky_and_exposure(rng):
    slope = np.linspace(1, 9, SHAPE[1])
    exposure = np.ones(SHAPE)
    exposure[:40] = 0.1
    exposure[60:64] = exposure[20:30, :40] = 0
    data = rng.poisson(slope * exposure).astype(float)
    level = expected_level(data, exposure == 0, 3e11 * exposure)
    assert_allclose(level[:40].mean(), 0.5, rtol=0.1)
    assert_allclose(level[70:].mean(), 5.0, rtol=0.03)
    assert level[70:, 130].mean() > 3.5 * level[70:, 20].mean()
    # where nothing was seen, what would have been, exposed as beside it
    assert level[60:64].mean() > 3
    assert_allclose(level[20:30, :40].mean(), 0.23, rtol=0.2)


def test_level_of_nothing():
    empty = expected_level(np.zeros(SHAPE), NOWHERE)
    assert np.all((empty > 0) & (empty < 1e-6))
    hidden = expected_level(np.full(SHAPE, np.nan), ~NOWHERE)
    assert np.isfinite(hidden).all()


def test_level_ignores_what_is_hidden(rng):
    data = rng.poisson(2.0, SHAPE).astype(float)
    hidden = rng.random(SHAPE) < 0.2
    seen = expected_level(data, hidden)
    data[hidden] = np.nan
    assert_array_equal(expected_level(data, hidden), seen)


def test_many_photons_decide(rng):
    """A sky that the network has 5% too low is right where photons abound."""
    source = np.zeros(SHAPE)
    for mean, rtol in ((1e6, 1e-4), (100.0, 0.02)):
        data = rng.poisson(mean, SHAPE).astype(float)
        sky, error = adjust_sky(np.full(SHAPE, 0.95 * mean), data, source, NOWHERE)
        assert_allclose(sky.mean(), mean, rtol=rtol)
    assert np.all(error < 0.03)


def test_few_photons_do_not():
    """Hundred photons of a few thousand are no reason to bend the sky there."""
    data = np.full(SHAPE, 0.3)
    data[50:60, 60:70] += 1
    sky, error = adjust_sky(np.full(SHAPE, 0.3), data, np.zeros(SHAPE), NOWHERE)
    assert_allclose(sky, 0.3, rtol=0.06)
    assert np.all((error > 0.01) & (error < 0.1))


def test_sum_of_single_photons():
    """A network that expects 20 of them has seen about as many: one is fewer."""
    data = np.zeros(SHAPE)
    data[50, 60] = 1
    sky, error = adjust_sky(np.full(SHAPE, 1e-3), data, np.zeros(SHAPE), NOWHERE)
    assert 1 < sky.sum() < 6
    assert np.all(error > 0.3)


@pytest.mark.parametrize('mean', [0.01, 0.03, 3.0])
def test_light_that_follows_the_photons(rng, mean):
    """A sky that is right stays right where a network sees light in each photon."""
    data = rng.poisson(mean, SHAPE).astype(float)
    source = 0.1 * ndimage.gaussian_filter(data, 1.5)
    right = np.full(SHAPE, 0.9 * data.mean())
    sky, _ = adjust_sky(right, data, source, NOWHERE)
    assert_allclose((sky + source).sum(), data.sum(), rtol=0.03)


def test_lone_photons():
    """Two photons within 6 px may be a source, one is not."""
    data = np.zeros(SHAPE)
    assert lone_photons(data).all()
    data[20, 30] = data[50, 60] = data[54, 63] = 1
    data[80, 90] = 7
    expected = np.ones(SHAPE, dtype=bool)
    expected[48:57, 57:67] = expected[74:87, 84:97] = False
    assert_array_equal(lone_photons(data), expected)
    assert not lone_photons(np.full(SHAPE, 1e6)).any()


def test_light_of_a_bright_source_is_no_sky():
    """What is missing of a bright source, a tenth, does not lift the sky."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    source = 1e5 * np.exp(-((y - 60) ** 2 + (x - 70) ** 2) / 6)
    data = 20 + 1.1 * source
    sky, _ = adjust_sky(np.full(SHAPE, 20.0), data, source, NOWHERE)
    assert_allclose(sky, 20, rtol=0.1)


def test_light_of_a_wide_source_is_that_of_the_photons(rng):
    """A remnant on a faint sky, a fifth of it missed, in a level that it has lifted."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    true = 10 * np.exp(-((y - 60) ** 2 + (x - 70) ** 2) / 200)
    sky = np.full(SHAPE, 0.2)
    data = rng.poisson(sky + true)
    data[:, :10] = 99
    hidden = x < 10
    level = sky + 0.5 * true
    held = hold_light(0.8 * true, sky, data, level, hidden)
    core = true > 2
    assert_allclose(held[core].sum(), true[core].sum(), rtol=0.04)
    assert 0.93 * true.sum() < held.sum() < 1.02 * true.sum()
    same = hold_light(0.8 * true, sky, data, 2 * sky, hidden)
    assert_array_equal(same, 0.8 * true)
    assert np.all(hold_light(0 * true, sky, data, level, hidden) == 0)


def test_sky_beneath_a_wide_source_is_that_around_it(rng):
    """As the network has it: three times too much beneath, and the corners of boxes."""
    y, x = np.indices(SHAPE)
    true = 0.2 * (1 + 0.3 * x / SHAPE[1])
    radius = np.hypot(y - 65, x - 70)
    source = np.where(radius < 30, 8.0, 0.0)
    # the level is lifted as far as a box around it, and the sky by part of that
    lifted = (abs(y - 65) < 45) & (abs(x - 70) < 45)
    level = np.where(lifted, 2.0, 1.0) * true + np.where(radius < 40, 4.0, 0.0)
    sky = np.where(radius < 30, 3.0, np.where(lifted, 1.3, 1.0)) * true
    hidden = rng.random(SHAPE) < 0.05
    found = continue_sky(source, sky, level, hidden)
    error = np.abs(found / true - 1)
    assert np.max(error[radius < 35]) < 0.2
    assert np.mean(error[lifted]) < 0.5 * np.mean(np.abs(sky / true - 1)[lifted])
    far = np.maximum(abs(y - 65), abs(x - 70)) > 55
    assert_array_equal(found[far], sky[far])


@pytest.mark.parametrize('source', [0.0, 0.1, 8.0])
def test_sky_is_left_where_no_wide_source_is(source):
    """A faint glow where the level is far too high, or a level that is right."""
    sky = np.full(SHAPE, 0.2)
    level = 10 * sky if source < 0.1 else sky
    same = continue_sky(np.full(SHAPE, source), sky, level, NOWHERE)
    assert_allclose(same, sky, rtol=1e-12)


def test_sky_beside_a_bright_plane_is_left():
    """The level of wide boxes is far above the sky there, with a source or without."""
    y, x = np.indices(SHAPE)
    sky = 0.3 + 9 * np.exp(-0.5 * ((y - 65) / 8) ** 2)
    level = np.where(abs(y - 65) < 40, 3.0, 0.3)
    source = 20 * np.exp(-0.5 * ((y - 95) ** 2 + (x - 40) ** 2) / 3**2)
    assert_array_equal(continue_sky(source, sky, level, NOWHERE), sky)


def test_sky_that_nothing_shows():
    """A source that fills the image, and an image that is hidden."""
    source, sky = np.full(SHAPE, 8.0), np.full(SHAPE, 0.2)
    for hidden in (NOWHERE, ~NOWHERE):
        assert_allclose(continue_sky(source, sky, 50 * sky, hidden), sky, rtol=1e-12)


def test_light_of_no_likely_source_is_sky():
    """A glow is sky, but around a likely center, or where it outshines the sky."""
    glow, sky = np.full(SHAPE, 0.02), np.ones(SHAPE)
    probability = np.full(SHAPE, 1e-4, 'f4')
    assert likely_light(glow, sky, probability).max() < 0.05
    probability[60, 70] = 1.0
    share = likely_light(glow, sky, probability)
    assert share[60, 70:75].min() > 0.9
    assert share[60, 85:].max() < 0.05
    assert share.min() >= 0
    assert share.max() <= 1
    bright = likely_light(np.full(SHAPE, 99.0), sky, 0 * probability)
    assert_allclose(bright, 0.99, rtol=1e-3)
    assert np.isfinite(likely_light(0 * sky, 0 * sky, probability)).all()


def test_sky_in_boxes(rng):
    sky = rng.uniform(1, 2, (10, 13))
    boxes = counts_sky(sky, 0.1 * sky)
    assert boxes.box_size == 4
    assert boxes.level.shape == (3, 4)
    assert_allclose(boxes.level[0, 0], sky[:4, :4].mean())
    assert_allclose(boxes.noise**2, boxes.level)
    assert_allclose(boxes.error, 0.1 * boxes.level)
    assert not boxes.beneath.any()
