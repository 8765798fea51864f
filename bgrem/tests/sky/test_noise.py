"""Tests of bgrem.sky.noise."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from bgrem.sky.noise import (
    away_from_sources,
    noise_correlation,
    noise_covariance,
    noise_skewness,
)


def test_away_from_sources():
    source = np.zeros((20, 30))
    source[10, 15] = 11.0
    clean = away_from_sources(source, 2.0)
    y, x = np.mgrid[:20, :30]
    assert_array_equal(clean, np.abs(y - 10) + np.abs(x - 15) > 3)
    assert away_from_sources(source, np.full(source.shape, 2.3)).all()


def smooth_noise(sigma, seed=4):
    noise = np.random.default_rng(seed).normal(3, 2, (600, 500))
    smooth = ndimage.gaussian_filter(noise, sigma)
    return smooth / smooth.std()


class TestNoiseCorrelation:
    def test_by_hand(self):
        y, x = np.mgrid[:9, :10]
        everywhere = np.ones(y.shape, bool)
        assert noise_correlation(1.0 - 2 * ((y + x) % 2), everywhere) == -1
        rows = 1.0 - 2 * (y % 2)
        # along the rows there is nothing to be seen
        assert noise_correlation(rows, everywhere) == 0

    @pytest.mark.parametrize('sigma', [1.0, 1.5])
    def test_of_smoothed_noise(self, sigma):
        """A Gaussian kernel of sigma s leaves exp(-k**2 / (4 s**2)) over k pixels."""

        def shared(k):
            return np.exp(-(k**2) / (4 * sigma**2))

        noise = smooth_noise(sigma)
        clean = np.random.default_rng(5).random(noise.shape) > 0.1
        hidden = np.where(clean, noise, np.nan)
        # of d[0] = r[0] - (r[-3] + r[3]) / 2, and d[1]
        product = 1.5 * shared(1) - shared(2) - shared(4) + (shared(5) + shared(7)) / 4
        expected = product / (1.5 - 2 * shared(3) + shared(6) / 2)
        assert_allclose(noise_correlation(hidden, clean), expected, atol=0.02)

    def test_of_white_noise_on_a_sky(self):
        noise = np.random.default_rng(4).normal(size=(400, 300))
        everywhere = np.ones(noise.shape, bool)
        assert abs(noise_correlation(noise, everywhere)) < 0.01
        y, x = np.mgrid[:400, :300]
        fringes = 2 * np.sin(2 * np.pi * (x + 0.4 * y) / 30)
        steps = 200.0 * (x >= 110) - 30 * (y >= 222)
        for sky in (0.1 * x + 7, fringes, steps):
            assert abs(noise_correlation(noise + sky, everywhere)) < 0.05

    def test_nothing_known(self):
        one = np.zeros((9, 9), bool)
        one[2, 2] = True
        everywhere = np.ones((9, 9), bool)
        assert noise_correlation(np.ones((9, 9)), one) == 0
        assert noise_correlation(np.full((9, 9), np.nan), ~everywhere) == 0
        assert noise_correlation(np.ones((9, 9)), everywhere) == 0
        narrow = np.random.default_rng(1).normal(size=(5, 20))
        assert noise_correlation(narrow, np.ones((5, 20), bool)) == 0


class TestNoiseSkewness:
    @pytest.mark.parametrize('mean', [0.5, 2.0, 30.0])
    def test_of_photons(self, mean):
        counts = np.random.default_rng(6).poisson(mean, (400, 400)).astype(float)
        everywhere = np.ones(counts.shape, bool)
        # five standard deviations leave out little
        assert_allclose(noise_skewness(counts, everywhere), mean**-0.5, atol=0.06)
        assert_allclose(noise_skewness(-counts, everywhere), -(mean**-0.5), atol=0.06)

    def test_of_a_large_image(self):
        noise = (
            np.random.default_rng(8).gamma(4.0, size=(2500, 2400)).astype(np.float32)
        )
        everywhere = np.ones(noise.shape, bool)
        assert_allclose(noise_skewness(noise, everywhere), 0.9, atol=0.1)

    def test_outliers_and_bounds(self):
        noise = np.random.default_rng(7).normal(size=(300, 300))
        noise[5, 5] = 50
        clean = np.ones(noise.shape, bool)
        clean[:100] = False
        noise[:100] = np.nan
        assert abs(noise_skewness(noise, clean)) < 0.05
        rare = (np.arange(10_000) % 20 == 0).astype(float).reshape(100, 100)
        assert noise_skewness(rare, np.ones(rare.shape, bool)) == 2

    def test_nothing_known(self):
        assert noise_skewness(np.full((3, 3), np.nan), np.zeros((3, 3), bool)) == 0
        assert noise_skewness(np.ones((3, 3)), np.ones((3, 3), bool)) == 0


class TestNoiseCovariance:
    def test_by_hand(self):
        residual = np.array([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]])
        clean = np.array([[True, True, True], [True, True, False]])
        found = noise_covariance(residual, clean, 1)
        assert_allclose(found[1, 1], (4 + 1 + 9) / 5)
        assert_allclose(found[1], [0, 14 / 5, 0], atol=1e-12)
        assert_allclose(found, found[::-1, ::-1], atol=1e-12)
        # one pixel below and to the right: 2 with 3 alone
        assert_allclose(found[2, 2], 6.0)

    def test_of_smoothed_noise(self):
        noise = np.random.default_rng(4).normal(size=(500, 600))
        smooth = ndimage.gaussian_filter(noise, 1.0, mode='wrap')
        clean = np.random.default_rng(5).random(noise.shape) > 0.3
        found = noise_covariance(smooth, clean, 3)
        y, x = np.mgrid[-3:4, -3:4]
        expected = smooth.var() * np.exp(-(x**2 + y**2) / 4)
        assert_allclose(found, expected, atol=0.02 * smooth.var())
        assert_allclose(noise_covariance(smooth, ~clean, 3), expected, atol=0.003)

    def test_nothing_is_known(self):
        """Of no pixel, and of pixels farther apart than there are."""
        nothing = np.zeros((5, 5), dtype=bool)
        assert_array_equal(noise_covariance(np.full((5, 5), np.nan), nothing, 2), 0)
        found = noise_covariance(np.ones((2, 2)), np.ones((2, 2), dtype=bool), 4)
        assert_array_equal(found[:3], 0)
        assert_allclose(found[4, 3:6], 1)
