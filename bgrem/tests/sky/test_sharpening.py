"""Tests of sharpening: noise of known kernels, stars, hidden pixels."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import fourier_gaussian, gaussian_filter

from bgrem.sky.sampling import noise_smoothness
from bgrem.sky.sharpening import gaussian_smoothness, sharpen, smooth

SHAPE = (150, 181)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]
NONE = np.zeros(SHAPE, dtype=bool)


def white(seed=0):
    return np.random.default_rng(seed).normal(size=SHAPE)


def star(sigma, y=71.3, x=90.2):
    """A star of unit flux."""
    profile = np.exp(-0.5 * ((Y - y) ** 2 + (X - x) ** 2) / sigma**2)
    return profile / (2 * np.pi * sigma**2)


def neighbor_correlation(image):
    return np.mean(image[:, 1:] * image[:, :-1]) / np.mean(image**2)


class TestSharpen:
    @pytest.mark.parametrize('sigma', [0.4, 0.5, 0.6])
    def test_whitens(self, sigma):
        """Noise is white again if the kernel leaves enough of it everywhere."""
        spectrum = fourier_gaussian(np.fft.fft2(white()), sigma)
        smoothed = np.fft.ifft2(spectrum).real
        assert neighbor_correlation(smoothed) > 0.15
        sharp = sharpen(smoothed, NONE, sigma)
        assert abs(neighbor_correlation(sharp)) < 0.05
        assert_allclose(sharp.std(), 1, rtol=0.05)

    @pytest.mark.parametrize(('kernel', 'sigma'), [(2, 1), (2, 1.5), (3, 2.3)])
    def test_part(self, kernel, sigma):
        """What is left is as if a narrower kernel had smoothed the noise."""
        sharp = sharpen(gaussian_filter(white(), kernel), NONE, sigma)
        rest = kernel**2 - sigma**2
        assert_allclose(neighbor_correlation(sharp), np.exp(-0.25 / rest), atol=0.04)
        assert_allclose(sharp.std(), 0.5 / np.sqrt(np.pi * rest), rtol=0.1)

    @pytest.mark.parametrize(('width', 'sigma'), [(3, 2.3), (2, 1.5), (4, 2)])
    @pytest.mark.parametrize('dtype', ['f4', 'f8'])
    def test_star(self, width, sigma, dtype):
        """A star keeps its light and becomes narrower."""
        sharp = sharpen((100 * star(width)).astype(dtype), NONE, sigma)
        expected = 100 * star(np.sqrt(width**2 - sigma**2))
        assert sharp.dtype == np.dtype(dtype)
        assert_allclose(sharp.sum(), 100, rtol=1e-4)
        assert_allclose(sharp, expected, atol=0.1 * expected.max())

    @pytest.mark.parametrize('sigma', [0.5, 1, 2, 5])
    def test_gain(self, sigma):
        """Nothing is enhanced by more than 20."""
        image = white(1)
        assert np.sum(sharpen(image, NONE, sigma) ** 2) < (20.1**2) * np.sum(image**2)
        for period in (2, 3, 5, 9):
            wave = np.cos(2 * np.pi * (X + 0.5) / period)
            assert np.abs(sharpen(wave, NONE, sigma))[50:-50, 50:-50].max() < 20.2

    @pytest.mark.parametrize(
        'hidden',
        [white(3) > 2, abs(X - 90) < 1, (Y // 8 + X // 8) % 4 == 0, X > 75],
        ids=['pixels', 'column', 'squares', 'half'],
    )
    def test_hidden_do_not_matter(self, hidden):
        data = gaussian_filter(white() + 5e3 * star(2), 2).astype('f4')
        other = np.where(hidden, np.nan, data)
        assert_array_equal(sharpen(other, hidden, 1.5), sharpen(data, hidden, 1.5))
        assert np.isfinite(sharpen(other, hidden, 1.5)).all()

    @pytest.mark.parametrize('hidden', [white(3) > 2, abs(X - 90) < 1])
    def test_few_hidden(self, hidden):
        """Single pixels and columns are known from what is around them."""
        data = gaussian_filter(white() + 2e3 * star(1.5), 2.5)
        expected, found = (sharpen(data, mask, 1.9) for mask in (NONE, hidden))
        error = (found - expected)[~hidden]
        assert error.std() < 0.15 * np.median(abs(expected)) / 0.67

    def test_far_pixels_do_not_matter(self):
        """A part of an image gives what the whole one gives there."""
        data = gaussian_filter(white(), 2.5)
        whole = sharpen(data, NONE, 1.9)
        part = sharpen(data[20:120, 30:160], NONE[20:120, 30:160], 1.9)
        error = whole[50:90, 60:130] - part[30:70, 30:100]
        assert error.std() < 0.02 * whole.std()

    @pytest.mark.parametrize('shape', [(1, 1), (1, 9), (7, 2)])
    def test_small(self, shape):
        image, hidden = np.full(shape, 3.0), np.zeros(shape, dtype=bool)
        assert_allclose(sharpen(image, hidden, 2), 3, rtol=1e-6)
        assert_array_equal(sharpen(image, ~hidden, 2), 0)


class TestSmooth:
    def test_back(self):
        """A sharpened star is what it was."""
        image = 100 * star(3)
        back = smooth(sharpen(image, NONE, 2.2), NONE, 2.2)
        assert_allclose(back, image, atol=0.01 * image.max())
        assert_allclose(back.sum(), 100, rtol=1e-3)

    def test_hidden(self):
        """A constant stays one beside hidden pixels, whose values do not matter."""
        hidden = (X > 60) & (X < 80) | (white(3) > 1)
        found = smooth(np.where(hidden, np.nan, 4.0), hidden, 1.7)
        assert_allclose(found, np.where(hidden, 0, 4), rtol=1e-12)
        assert_array_equal(smooth(np.ones(SHAPE), ~NONE, 2), 0)


@pytest.mark.parametrize('sigma', [0.8, 1.2, 1.6, 2])
def test_gaussian_smoothness(sigma):
    expected = noise_smoothness(gaussian_filter(white(), sigma, mode='wrap'), NONE)
    assert_allclose(gaussian_smoothness(sigma), expected, atol=0.05)
