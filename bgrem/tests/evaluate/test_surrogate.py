"""Tests of bgrem.evaluate.surrogate on noise of known covariance."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from bgrem.evaluate.surrogate import (
    MAX_LAG,
    ImageNoise,
    draw_noise,
    measure_noise,
    noise_covariance,
)

KERNEL = np.array([[0.0, 1.0, 0.0], [1.0, 3.0, 2.0], [0.0, 1.0, 0.0]])


def known_covariance():
    """The covariance of white noise convolved with KERNEL."""
    covariance = np.zeros((2 * MAX_LAG + 1,) * 2)
    near = slice(MAX_LAG - 2, MAX_LAG + 3)
    padded = np.pad(KERNEL, 1)
    covariance[near, near] = ndimage.correlate(padded, KERNEL, mode='constant')
    return covariance / np.sum(KERNEL**2)


def correlated_noise(seed, shape=(500, 520)):
    noise = np.random.default_rng(seed).normal(size=shape)
    noise = ndimage.convolve(noise, KERNEL, mode='wrap')
    return noise / np.sqrt(np.sum(KERNEL**2))


def star_image(seed=0, shape=(300, 280), fwhm=3.0):
    """Correlated noise whose rms doubles along x, on a slope, and stars."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    sky, rms = 500 + 0.02 * y, 4 * (1 + x / shape[1])
    image = sky + rms * correlated_noise(seed, shape)
    for _ in range(25):
        y0, x0 = rng.uniform(0, shape)
        r2 = (x - x0) ** 2 + (y - y0) ** 2
        image += 2000 * np.exp(-0.5 * r2 / (fwhm / 2.355) ** 2)
    return image, sky, rms


def test_covariance_is_measured():
    noise = correlated_noise(1)
    everywhere = np.ones(noise.shape, bool)
    measured = noise_covariance(noise, everywhere)
    assert measured.shape == (33, 33)
    # the chance of 260 000 pixels
    assert_allclose(measured, known_covariance(), atol=0.015)
    assert_allclose(measured, measured[::-1, ::-1], atol=1e-12)


def test_covariance_ignores_unusable_pixels():
    noise = correlated_noise(2)
    good = np.random.default_rng(3).random(noise.shape) < 0.6
    good[100:250, 50:300] = False
    covariance = noise_covariance(np.where(good, noise, 1e6), good)
    assert_allclose(covariance, known_covariance(), atol=0.03)


def test_covariance_of_one_pixel():
    good = np.zeros((5, 4), bool)
    good[2, 2] = True
    expected = np.zeros((33, 33))
    expected[16, 16] = 9
    assert_allclose(noise_covariance(np.full((5, 4), 3.0), good), expected, atol=1e-12)


def test_covariance_needs_pixels():
    with pytest.raises(ValueError, match='good must have True pixels, got none'):
        noise_covariance(np.zeros((30, 30)), np.zeros((30, 30), bool))


@pytest.mark.parametrize('shape', [(700, 601), (5, 90_001)])
def test_drawn_noise_has_the_covariance(shape):
    noise = draw_noise(known_covariance(), shape, np.random.default_rng(4))
    assert noise.shape == shape
    for dy, dx in ((0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (1, -1), (3, 3)):
        product = (noise * np.roll(noise, (-dy, -dx), axis=(0, 1)))[: shape[0] - dy]
        expected = known_covariance()[MAX_LAG + dy, MAX_LAG + dx]
        assert_allclose(product[:, 1:-3].mean(), expected, atol=0.015)


def test_drawn_noise_is_repeatable():
    first, second, other = (
        draw_noise(known_covariance(), (40, 50), np.random.default_rng(seed))
        for seed in (5, 5, 6)
    )
    assert_array_equal(first, second)
    assert np.abs(first - other).max() > 1


def test_drawn_noise_keeps_the_variance_of_an_impossible_covariance():
    covariance = np.zeros((33, 33))
    covariance[16, 15:18] = -1, 1, -1
    noise = draw_noise(covariance, (600, 600), np.random.default_rng(7))
    assert_allclose(noise.var(), 1, rtol=0.02)


@pytest.mark.parametrize('seed', [11, 12])
def test_covariance_has_the_symmetries_of_the_noise(seed):
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(60, 80)), (0.5, 1.5))
    good = rng.random(noise.shape) < 0.8
    covariance = noise_covariance(noise, good)
    assert covariance[16, 18] > 2 * covariance[18, 16]
    for turn in (np.transpose, np.flipud, np.fliplr):
        found = noise_covariance(turn(noise), turn(good))
        assert_allclose(found, turn(covariance), atol=1e-12)
    # a variance has the square of the unit, whatever the sign
    assert_allclose(noise_covariance(-3 * noise, good), 9 * covariance, atol=1e-12)
    assert_allclose(covariance[16, 16], np.mean(noise[good] ** 2))
    assert_allclose(covariance[[0, -1]], 0, atol=1e-12)
    assert_allclose(covariance[:, [0, -1]], 0, atol=1e-12)


def test_drawn_noise_scales_with_the_covariance():
    one, two = (
        draw_noise(factor * known_covariance(), (30, 40), np.random.default_rng(3))
        for factor in (1, 4)
    )
    assert_allclose(two, 2 * one)


def test_filter_noise():
    shape = (400, 400)
    x = np.arange(-8, 9)
    psf = np.exp(-0.5 * (x**2 + x[:, None] ** 2) / 1.5**2)
    psf /= psf.sum()
    rms = np.full(shape, 2.0)
    noise = ImageNoise(np.zeros(shape), rms, np.ones(shape, bool), known_covariance())
    drawn = noise.redraw(np.zeros(shape), np.random.default_rng(8))
    flux = ndimage.convolve(drawn.astype(float), psf) / np.sum(psf**2)
    assert_allclose(noise.filter_noise(psf)[0, 0], flux.std(), rtol=0.03)
    white = np.zeros((33, 33))
    white[16, 16] = 1
    independent = ImageNoise(noise.sky, rms, noise.empty, white)
    assert_allclose(independent.filter_noise(psf), 2 / np.sqrt(np.sum(psf**2)))


def test_noise_of_an_image_with_sources():
    image, sky, rms = star_image()
    # bright cosmic rays, which no mask of 5 connected pixels finds
    image[50:250:40, 30] += 500
    mask = np.zeros(image.shape, bool)
    mask[:, 200:215] = True
    noise = measure_noise(np.where(mask, 0, image), mask, 3.0)
    assert not noise.empty[mask].any()
    assert 0.5 < noise.empty.mean() < 0.95
    assert_allclose((noise.sky - sky)[noise.empty] / rms[noise.empty], 0, atol=0.4)
    total = noise.rms * np.sqrt(noise.covariance[16, 16])
    assert_allclose(np.mean((total / rms)[noise.empty]), 1, rtol=0.03)
    correlation = noise.covariance / noise.covariance[16, 16]
    assert_allclose(correlation, known_covariance(), atol=0.05)


def test_sources_stay_and_the_rest_is_drawn_anew():
    image, sky, rms = star_image()
    noise = measure_noise(image, np.zeros(image.shape, bool), 3.0)
    surrogate = noise.redraw(image, np.random.default_rng(9))
    assert surrogate.dtype == np.float32
    assert_array_equal(surrogate[~noise.empty], image[~noise.empty].astype(np.float32))
    old, new = (((i - sky) / rms)[noise.empty] for i in (image, surrogate))
    assert abs(np.corrcoef(old, new)[0, 1]) < 0.03
    assert_allclose(new.std(), old.std(), rtol=0.02)
    # the stars reach 200 sigma: none has leaked
    assert np.abs(new).max() < 6


def test_pure_noise_is_empty():
    image = correlated_noise(10)
    noise = measure_noise(image, np.zeros(image.shape, bool), 3.0)
    assert noise.empty.mean() > 0.9
    variance = noise.rms**2 * noise.covariance[16, 16]
    assert_allclose(variance.mean(), 1, rtol=0.03)


def test_image_without_empty_pixels():
    with pytest.raises(ValueError, match='image must have pixels without a source'):
        measure_noise(np.zeros((40, 40)), np.ones((40, 40), bool), 3.0)
