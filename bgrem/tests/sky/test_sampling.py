"""Tests of the sampling of an image: widths, smooth noise, binning and back."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import gaussian_filter, zoom

from bgrem.sky.sampling import (
    bin_image,
    bright_widths,
    choose_sampling,
    noise_smoothness,
    refine_source,
    spread_squares,
)

SHAPE = (240, 260)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]
USABLE = np.zeros(SHAPE, dtype=bool)


def white(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).normal(size=shape)


def stars(fwhm, height, n_stars=12, seed=1):
    """Gaussian stars on a jittered grid, so that none touches another."""
    rng = np.random.default_rng(seed)
    y, x = (a.ravel() for a in np.meshgrid([40, 120, 200], [35, 98, 161, 225]))
    image = np.zeros(SHAPE)
    for k in range(n_stars):
        dy, dx = rng.uniform(-5, 5, 2)
        distance2 = (Y - y[k] - dy) ** 2 + (X - x[k] - dx) ** 2
        image += height * np.exp(-4 * np.log(2) * distance2 / fwhm**2)
    return image


def rings(radius, height):
    image = np.zeros(SHAPE)
    for y in (45, 125, 205):
        for x in (45, 130, 215):
            distance = np.hypot(Y - y - 0.3, X - x + 0.2)
            image[(distance < radius) & (distance > 0.4 * radius)] = height
    return gaussian_filter(image, 1.5)


class TestBin:
    @pytest.mark.parametrize('binning', [1, 2, 3, 4, 7])
    @pytest.mark.parametrize('dtype', ['f4', 'f8'])
    def test_mean(self, binning, dtype):
        data = (1e3 + white()[:84, :168]).astype(dtype)
        binned, lost = bin_image(data, np.zeros(data.shape, bool), binning)
        blocks = data.reshape(84 // binning, binning, 168 // binning, binning)
        assert binned.dtype == np.dtype(dtype)
        assert_allclose(binned, blocks.mean(axis=(1, 3), dtype=float), rtol=1e-6)
        assert not lost.any()

    def test_masked(self):
        """Pixels that cannot be used do not count, and most of a square must."""
        data = np.full((6, 6), 5.0)
        unusable = np.zeros((6, 6), dtype=bool)
        data[0, :2], unusable[0, :2] = np.nan, True
        data[2:4, 2:4], unusable[2:4, 2:4] = 1e9, True
        data[4, 4], unusable[4:, 4:] = np.inf, [[True, False], [True, True]]
        binned, lost = bin_image(data, unusable, 2)
        assert_array_equal(lost, [[0, 0, 0], [0, 1, 0], [0, 0, 1]])
        assert_array_equal(binned, np.where(lost, 0, 5))

    def test_border(self):
        """Squares that reach beyond the image hold what lies inside."""
        binned, lost = bin_image(np.full((7, 9), 3.0), np.zeros((7, 9), bool), 4)
        assert_array_equal(lost, [[0, 0, 1], [0, 0, 1]])
        assert_array_equal(binned, np.where(lost, 0, 3))

    def test_half(self):
        """A pixel that two squares share counts half in each."""
        row = np.array([1.0, 4.0, 7.0, 2.0])
        data = row[:, None] + 10 * row
        unusable = np.zeros((4, 4), dtype=bool)
        expected = np.array([3 / 1.5, 9 / 1.5, 2.0])
        binned, lost = bin_image(data, unusable, 1.5)
        # of the last squares two thirds lie outside, and a third in the corner
        assert_array_equal(lost, [[0, 0, 0], [0, 0, 0], [0, 0, 1]])
        expected = expected[:, None] + 10 * expected
        assert_allclose(binned, np.where(lost, 0, expected), rtol=1e-12)
        unusable[0, 0], data[0, 0] = True, np.nan
        binned, lost = bin_image(data, unusable, 1.5)
        assert_allclose(binned[0, 0], (14 * 0.5 + 41 * 0.5 + 44 * 0.25) / 1.25)

    @pytest.mark.parametrize('binning', [1, 1.5, 2, 2.5, 3])
    def test_spread(self, binning):
        """A pixel has the value of its square, or what lies between two."""
        plane = np.arange(12.0)[:, None] + np.zeros(9)
        shape = (int(12 * binning), int(9 * binning))
        spread = spread_squares(plane, binning, shape)
        places = (np.arange(shape[0]) + 0.5) / binning
        expected = np.where(places % 1 == 0, places - 0.5, np.floor(places))
        assert_array_equal(spread, np.broadcast_to(expected[:, None], shape))


class TestRefine:
    @pytest.mark.parametrize('binning', [2, 3, 4, 8])
    def test_flux(self, binning):
        """Each square keeps its mean, whatever is in it."""
        binned = white(3, (14, 11)).astype('f4')
        source = refine_source(binned, binning, (14 * binning, 11 * binning))
        back, _ = bin_image(source, np.zeros(source.shape, bool), binning)
        assert source.dtype == np.float32
        assert_allclose(back, binned, atol=1e-5)

    @pytest.mark.parametrize(('fwhm', 'binning'), [(5, 1.5), (8, 2.5)])
    def test_half(self, fwhm, binning):
        binned, _ = bin_image(stars(fwhm, 100), USABLE, binning)
        source = refine_source(binned, binning, SHAPE)
        assert_allclose(source.sum(), stars(fwhm, 100).sum(), rtol=1e-3)
        back, _ = bin_image(source, USABLE, binning)
        assert_allclose(back, binned, atol=0.5)

    @pytest.mark.parametrize(
        ('fwhm', 'binning'), [(5, 1.5), (9, 3), (9, 2.5), (12, 4), (16, 5)]
    )
    def test_star(self, fwhm, binning):
        """A star that is three squares wide comes back as it was."""
        image = stars(fwhm, 100)
        binned, _ = bin_image(image, USABLE, binning)
        assert_allclose(refine_source(binned, binning, SHAPE), image, atol=4)

    @pytest.mark.parametrize('shape', [(1, 1), (1, 9), (5, 2)])
    def test_small(self, shape):
        binned, _ = bin_image(np.full(shape, 2.0), np.zeros(shape, bool), 2)
        assert refine_source(binned, 2, shape).shape == shape


class TestSmoothness:
    def test_white(self):
        """Neither a pedestal, nor a tilt, nor nebulosity is smooth noise."""
        sky = 1e4 + 0.3 * X + 8 * gaussian_filter(white(5), 12) / 0.023
        assert abs(noise_smoothness(sky + white(), USABLE)) < 0.08

    @pytest.mark.parametrize(('sigma', 'expected'), [(0.5, 0.19), (1, 0.69), (2, 0.84)])
    def test_kernel(self, sigma, expected):
        # with the correlation c, the noise in second differences of lag d is
        # sqrt(1 - 4 c(d) / 3 + c(2 d) / 3); here that of 1 over that of 3
        found = noise_smoothness(100 + gaussian_filter(white(), sigma), USABLE)
        assert_allclose(found, expected, atol=0.05)

    def test_linear_interpolation(self):
        """Between its nodes it has no noise at all."""
        data = zoom(white(shape=(80, 80)), 3, order=1, grid_mode=True, mode='nearest')
        assert noise_smoothness(data, np.zeros(data.shape, bool)) > 0.75

    def test_constant(self):
        assert noise_smoothness(np.ones(SHAPE), USABLE) == 0


class TestWidths:
    @pytest.mark.parametrize('fwhm', [4, 7, 10, 14, 19])
    @pytest.mark.parametrize('height', [15, 300])
    def test_stars(self, fwhm, height):
        widths = bright_widths(50 + white() + stars(fwhm, height), USABLE)
        assert len(widths) >= 9
        assert_allclose(np.median(widths), fwhm, rtol=0.12)

    @pytest.mark.parametrize('fwhm', [12, 18])
    def test_faint_in_a_pixel(self, fwhm):
        """What is broad can be bright as a whole."""
        widths = bright_widths(50 + white() + stars(fwhm, 7), USABLE)
        assert_allclose(np.median(widths), fwhm, rtol=0.15)

    @pytest.mark.parametrize('radius', [6, 10, 16])
    def test_rings(self, radius):
        widths = bright_widths(50 + white() + rings(radius, 40), USABLE)
        area = np.pi * radius**2 * (1 - 0.4**2)
        assert_allclose(np.median(widths), np.sqrt(4 * area / np.pi), rtol=0.1)

    def test_cosmic_rays(self):
        """Bright lines and pixels are not resolved across."""
        data = 50 + white()
        data[20:40, 30], data[100, 50:80], data[70, 70] = 500, 900, 1e4
        data[np.arange(150, 170), np.arange(150, 170)] = 800
        for start in range(10, 200, 20):
            data[start, start + 30 : start + 34] = 2000
        assert bright_widths(data, USABLE) == []

    def test_cut_sources_do_not_count(self):
        data = 50 + white() + stars(8, 100)
        masked = (X % 63 > 34) & (X % 63 < 38)
        assert bright_widths(np.where(masked, 50, data), masked) == []

    def test_empty(self):
        assert bright_widths(white(), USABLE) == []
        assert bright_widths(np.ones((3, 4)), np.zeros((3, 4), bool)) == []
        assert bright_widths(np.zeros(SHAPE), ~USABLE) == []


class TestChoice:
    @pytest.mark.parametrize(
        ('fwhm', 'binning'), [(2, 1), (4, 1), (7, 1), (10, 4), (14, 6), (19, 6)]
    )
    def test_white_noise(self, fwhm, binning):
        """What the networks know is left as it is."""
        found, sharpening = choose_sampling(50 + white() + stars(fwhm, 60), USABLE)
        assert abs(found - binning) <= (binning > 1)
        assert sharpening == 0

    @pytest.mark.parametrize('factor', [2, 3, 4])
    @pytest.mark.parametrize('order', [0, 1, 3])
    def test_finer_pixels(self, factor, order):
        """An interpolated image is seen in about its own pixels."""
        native = (50 + white() + stars(2.6, 80))[: 720 // factor, : 720 // factor]
        data = zoom(native, factor, order=order, mode='nearest', grid_mode=True)
        found, sharpening = choose_sampling(data, np.zeros(data.shape, bool))
        assert abs(found - factor) <= 1
        assert found > 1
        assert sharpening == 0

    @pytest.mark.parametrize('sigma', [2, 3, 5])
    def test_matched(self, sigma):
        """Smoothed as much as its noise, an image is sharpened by a third."""
        data = gaussian_filter(50 + white() + stars(3, 500 * sigma), sigma)
        binning, sharpening = choose_sampling(data, USABLE)
        width = np.hypot(3, 2.355 * sigma)
        sharpened = np.sqrt(width**2 - (2.355 * sharpening) ** 2)
        assert_allclose(sharpened, 0.65 * width, rtol=0.1)
        assert 2.4 < sharpened / binning < 4
        assert sharpening < sigma

    def test_broad_on_smooth_noise(self):
        """Sources much broader than the kernel of the noise are not sharpened."""
        data = gaussian_filter(50 + white() + stars(9, 200), 2)
        binning, sharpening = choose_sampling(data, USABLE)
        assert binning in (4, 5)
        assert sharpening == 0

    def test_smooth_noise_alone(self):
        """Without a bright source the noise decides."""
        assert choose_sampling(white(), USABLE) == (1, 0)
        assert choose_sampling(gaussian_filter(white(), 1), USABLE) == (1, 0)
        binning, sharpening = choose_sampling(gaussian_filter(white(), 3), USABLE)
        assert binning >= 3
        assert sharpening == 0

    def test_seen(self):
        """Sources that the network sees well on white noise say that all is well."""
        data = 50 + white() + stars(10, 60)
        assert choose_sampling(data, USABLE, seen_width=2.5) == (1, 0)
        assert choose_sampling(data, USABLE, seen_width=5.0)[0] > 1
        data = gaussian_filter(50 + white() + stars(3, 500), 3)
        assert choose_sampling(data, USABLE, seen_width=2.5)[0] > 1

    def test_knots(self):
        """Bright knots of all sizes are not a PSF."""
        data = 50 + white()
        for k, fwhm in enumerate((10, 13, 18, 24, 30, 36)):
            y, x = (60, 180)[k % 2], (40, 130, 210)[k // 2]
            data += 60 * np.exp(-2.77 * ((Y - y) ** 2 + (X - x) ** 2) / fwhm**2)
        assert choose_sampling(data, USABLE) == (1, 0)
