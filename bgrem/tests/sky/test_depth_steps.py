"""Tests of the noise map where the depth changes in steps."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from bgrem.sky.depth_steps import DepthSteps
from bgrem.sky.mesh import mesh_edges
from bgrem.sky.normalize import estimate_normalization

SHAPE = (240, 250)
EDGE = 130


def noise_map(ratio=2.0):
    """A panel of noise 1 and one of noise ``ratio`` beside it."""
    sigma = np.ones(SHAPE)
    sigma[:, EDGE:] = ratio
    return sigma


def error_of(scale, sigma):
    return np.abs(np.log(scale / sigma))


@pytest.mark.parametrize('transposed', [False, True])
@pytest.mark.parametrize('ratio', [1.6, 3.0])
def test_step_is_where_it_is(ratio, transposed):
    sigma = noise_map(ratio)
    image = 50 + sigma * np.random.default_rng(1).normal(size=SHAPE)
    if transposed:
        sigma, image = sigma.T, image.T
    error = error_of(estimate_normalization(image).scale, sigma)
    if transposed:
        error = error.T
    # Interpolated, the noise would be off by a tenth of the step and more for 20 px.
    assert np.median(error[:, EDGE - 20 : EDGE - 8]) < 0.06
    assert np.median(error[:, EDGE + 8 : EDGE + 20]) < 0.06
    assert np.mean(error) < 0.06


def test_stars_make_no_steps():
    rng = np.random.default_rng(2)
    image = rng.normal(size=SHAPE)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for _ in range(60):
        y0, x0 = rng.uniform(0, 240, 2)
        image += 30 * np.exp(-0.5 * ((y - y0) ** 2 + (x - x0) ** 2) / 1.5**2)
    error = error_of(estimate_normalization(image).scale, 1.0)
    assert np.max(error) < 0.1


def test_smooth_change_is_left_alone(monkeypatch):
    """Noise that doubles along the image, as on a gradient, is interpolated."""
    sigma = np.broadcast_to(np.linspace(1, 3, SHAPE[1]), SHAPE)
    image = sigma * np.random.default_rng(3).normal(size=SHAPE)
    scale = estimate_normalization(image).scale
    monkeypatch.setattr('bgrem.sky.depth_steps.DepthSteps.sharpen', lambda *_: None)
    assert_array_equal(scale, estimate_normalization(image).scale)


def patchy_noise(seed):
    """Noise that differs from place to place, as light of a crowd or a nebula does."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=SHAPE), 14, mode='wrap')
    return np.exp(0.5 * field / field.std()) * rng.normal(size=SHAPE)


@pytest.mark.parametrize('seed', [6, 7, 8])
def test_patches_are_no_steps(seed, monkeypatch):
    image = patchy_noise(seed)
    scale = estimate_normalization(image).scale
    monkeypatch.setattr('bgrem.sky.depth_steps.DepthSteps.sharpen', lambda *_: None)
    assert_array_equal(scale, estimate_normalization(image).scale)


def test_all_rows_of_boxes_are_judged_together():
    """Votes of parts add up to those of the whole, and no row is an exception."""
    edges = mesh_edges(SHAPE)
    sigma = noise_map(2.5)
    image = sigma * np.random.default_rng(9).normal(size=SHAPE)
    unusable = np.zeros(SHAPE, dtype=bool)
    y, x = edges
    boxes = [np.median(sigma[:, a:b]) for a, b in pairwise(x)]
    steps = DepthSteps(np.tile(boxes, (len(y) - 1, 1)), edges)
    ramp = np.broadcast_to(
        np.interp(np.arange(250), 0.5 * (x[1:] + x[:-1]), boxes), SHAPE
    )

    def votes(rows):
        seen = slice(max(rows.start - steps.margin, 0), rows.stop + steps.margin)
        return steps.judge(ramp[rows], rows, image[seen], unusable[seen])

    parts = [votes(slice(a, b)) for a, b in pairwise(y)]
    total = votes(slice(0, 240))
    assert_allclose(np.sum(parts, axis=0), total)
    assert steps.are_real(total)
    # a bright star, which no window about it can tell, does not hide the steps
    image[60:120, 20:90] += np.random.default_rng(10).normal(0, 30, (60, 70))
    assert steps.are_real(votes(slice(0, 240)))


def test_no_data_and_wild_pixels():
    sigma = noise_map()
    image = sigma * np.random.default_rng(4).normal(size=SHAPE)
    whole = estimate_normalization(image).scale
    image[60:70, 100:160] = np.nan
    image[100, EDGE] = 1e30
    scale = estimate_normalization(image).scale
    assert np.all(np.isfinite(scale))
    assert np.all(scale > 0)
    away = np.ones(SHAPE, dtype=bool)
    away[40:120] = False
    assert np.mean(error_of(scale, whole)[away]) < 0.02


def test_equivariance():
    image = noise_map() * np.random.default_rng(5).normal(size=SHAPE)
    scale = estimate_normalization(image).scale
    np.testing.assert_allclose(
        estimate_normalization(8 * image - 300).scale, 8 * scale, rtol=1e-6
    )
