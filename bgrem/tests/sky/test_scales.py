"""Tests of the surface through the means of boxes."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bgrem.sky.maps import interpolate_mesh
from bgrem.sky.scales import BoxMeans, fit_surface, sum_triangle

SHAPE = (64, 80)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
NOISE = np.random.default_rng(4).normal(size=SHAPE)


def surface_of(mean, weight=None, correlation=0.0):
    """Return the surface in all boxes, and itself."""
    weight = np.ones(mean.shape) if weight is None else weight
    means = BoxMeans(mean, weight, *np.zeros((2, *mean.shape)))
    surface = fit_surface(means, lambda _: (correlation, correlation))
    size = (surface.factor,) * 2
    return interpolate_mesh(surface.level, mean.shape, size, edges='linear'), surface


def rms(values):
    return np.sqrt(np.mean(np.square(values)))


class TestBoxMeans:
    def test_pairs(self):
        """Means, weights and places of twice the boxes, the last one cut."""
        mean = np.arange(15.0).reshape(3, 5)
        weight = np.ones((3, 5))
        weight[0, 0] = 3
        pairs = BoxMeans(mean, weight, *np.zeros((2, *mean.shape))).paired()
        assert_array_equal(pairs.weight, [[6, 4, 2], [2, 2, 1]])
        assert_allclose(pairs.mean[0, 0], (0 + 0 + 0 + 1 + 5 + 6) / 6)
        # the middle of the first pair is (0.5, 0.5), the unit is two boxes
        assert_allclose(pairs.y[0, 0], (2 / 6 - 0.5) / 2)
        assert_allclose([pairs.y[1, 1], pairs.x[1, 1]], [-0.25, 0.0])
        assert_allclose([pairs.y[1, 2], pairs.x[1, 2]], [-0.25, -0.25])

    def test_empty_boxes(self):
        weight = np.zeros((2, 2))
        pairs = BoxMeans(weight, weight, weight, weight).paired()
        assert_array_equal(pairs.weight, [[0]])
        assert np.isfinite(pairs.mean).all()


class TestSumTriangle:
    def test_known_answer(self):
        values = np.zeros((15, 15))
        values[7, 7] = 1
        triangle = [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25, 0]
        assert_allclose(
            sum_triangle(values, 4)[3:12, 3:12], np.outer(triangle, triangle)
        )


class TestFitSurface:
    def test_constant(self):
        level, surface = surface_of(np.full(SHAPE, 3.0))
        assert_array_equal(level, 3.0)
        assert max(surface.level.shape) <= 4

    @pytest.mark.parametrize('seed', range(10))
    def test_noise_alone(self, seed):
        """Nothing but the mean of all boxes, or a plane through them."""
        noise = np.random.default_rng(seed).normal(size=SHAPE)
        level, surface = surface_of(noise)
        assert rms(level) < 5 / np.sqrt(noise.size)
        assert max(surface.level.shape) <= 5
        assert_allclose(np.median(surface.variance) * noise.size, 1, rtol=3)

    def test_plane(self):
        """A plane is a plane up to the borders, with and without noise."""
        plane = 0.3 * Y - 0.5 * X
        assert_allclose(surface_of(plane)[0], plane, atol=1e-6)
        assert rms(surface_of(plane + NOISE)[0] - plane) < 0.05

    @pytest.mark.parametrize('shape', [(1, 50), (2, 33), (8, 33), (32, 128)])
    def test_plane_of_elongated_images(self, shape):
        """A slope along few lines of boxes is a slope, along either axis."""
        plane = np.broadcast_to(np.linspace(-5, 5, shape[1]), shape)
        error = []
        for seed in range(4):
            noise = np.random.default_rng(seed).normal(size=shape)
            error.append(rms(surface_of(plane + noise)[0] - plane))
            turned = surface_of((plane + noise).T)[0]
            assert_allclose(rms(turned.T - plane), error[-1], rtol=1e-6)
        assert np.mean(error) < 3 / np.sqrt(plane.size)

    def test_waves(self):
        """Structure of 20 boxes is followed; what remains is a part of the noise."""
        sky = 3 * np.sin(2 * np.pi * X / 20) * np.sin(2 * np.pi * Y / 20)
        level, surface = surface_of(sky + NOISE)
        assert rms(level - sky) < 0.45
        assert surface.factor <= 2
        assert_allclose(np.sqrt(surface.variance.mean()), rms(level - sky), rtol=0.5)

    @pytest.mark.parametrize('height', [20, 2000])
    def test_step(self, height):
        """Sharp where it is, and not felt a few boxes away."""
        sky = np.where(X < 37, 0.0, height)
        level, _ = surface_of(sky + NOISE)
        away = np.abs(X - 36.5) > 12
        assert rms((level - sky)[away]) < 0.35 + 2e-4 * height

    def test_structure_in_one_place_only(self):
        """Where there is none the error stays that of a large box."""
        near = np.exp(-((Y - 20) ** 2 + (X - 20) ** 2) / 30)
        level, _ = surface_of(30 * near + NOISE)
        assert rms((level - 30 * near)[:, 55:]) < 0.12
        assert rms((level - 30 * near)[10:30, 10:30]) < 0.6

    def test_gap(self):
        """Boxes that were not measured go on as what surrounds them."""
        sky = 0.5 * X
        weight = np.where((np.abs(Y - 30) < 8) & (np.abs(X - 40) < 15), 0.0, 1.0)
        mean = np.where(weight > 0, sky + NOISE, 1e6)
        assert rms(surface_of(mean, weight)[0] - sky) < 0.1

    def test_heavier_means_count_more(self):
        """Half of the boxes hold light that is left over, and count little."""
        bad = (Y.astype(int) // 8 + X.astype(int) // 8) % 2 == 1
        mean = np.where(bad, 5.0, 0.0) + NOISE
        level, _ = surface_of(mean, np.where(bad, 1e-4, 1.0))
        assert rms(level[~bad]) < 0.1

    def test_one_wild_mean(self):
        mean = NOISE.copy()
        mean[30, 40] = 300
        level, _ = surface_of(mean)
        assert rms(level[np.hypot(Y - 30, X - 40) > 10]) < 0.15

    def test_correlated_noise_is_not_sky(self):
        """Noise that neighbors share is taken for sky only if nobody says so."""
        white = np.random.default_rng(2).normal(size=(65, 81))
        noise = (white[1:, 1:] + white[:-1, 1:] + white[1:, :-1] + white[:-1, :-1]) / 2
        # along each axis neighbors of n boxes share half a box of 2 n - 1
        taken, told = (
            fit_surface(
                BoxMeans(noise, np.ones(SHAPE), *np.zeros((2, *SHAPE))),
                lambda n, told=told: 2 * (told / (2 * n - 1),),
            )
            for told in (0.0, 0.5)
        )
        assert taken.factor == 1
        assert told.factor > 4
        assert rms(told.level) < 0.1

    def test_transposed(self):
        sky = 3 * np.sin(X / 5) + NOISE
        # what a scale adds is in float32
        assert_allclose(surface_of(sky.T)[0], surface_of(sky)[0].T, atol=1e-6)

    @pytest.mark.parametrize(
        'shape', [(1, 1), (1, 2), (2, 2), (1, 40), (40, 1), (5, 3)]
    )
    def test_few_boxes(self, shape):
        mean = np.random.default_rng(1).normal(size=shape)
        weight = np.zeros(shape)
        weight[-1, -1] = 1
        level, surface = surface_of(mean, weight)
        assert_allclose(level, mean[-1, -1], atol=1e-12)
        assert np.isfinite(surface.variance).all()
        assert np.isfinite(surface_of(mean)[0]).all()
