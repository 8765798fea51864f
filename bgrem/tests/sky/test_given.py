"""Tests of the sky in boxes of the caller."""

from dataclasses import replace

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
from photutils.background import Background2D

from bgrem.sky.boxes import measure_sky
from bgrem.sky.given import SkyInBoxes, correct_levels, sky_in_boxes

SHAPE = (150, 200)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]
NOISE = np.random.default_rng(8).normal(size=SHAPE)
ALL = np.ones(SHAPE, dtype=bool)


def sky_of(data, noise=1.0):
    return measure_sky(data, np.zeros(SHAPE), ALL, np.full(SHAPE, noise))


class TestSkyInBoxes:
    def test_tilt(self):
        """Of boxes that the border cuts, the part inside and the whole."""
        boxes = sky_in_boxes(sky_of(0.1 * X + NOISE), ALL, (32, 64))
        assert boxes.whole.shape == boxes.measured.shape == (5, 4)
        expected = 0.1 * np.array([31.5, 95.5, 159.5, 223.5])
        assert_allclose(boxes.whole, np.tile(expected, (5, 1)), atol=0.1)
        expected[-1] = 0.1 * (192 + 199) / 2
        assert_allclose(boxes.measured, np.tile(expected, (5, 1)), atol=0.1)
        assert not boxes.beneath.any()

    def test_masked_pixels(self):
        usable = ALL & (X >= 16)
        usable[:32] = False
        sky = replace(sky_of(0.1 * X + NOISE), beneath=X > 190)
        boxes = sky_in_boxes(sky, usable, (32, 32))
        assert_allclose(boxes.measured[1:, 0], 0.1 * (16 + 31) / 2, atol=0.1)
        # where nothing is usable, the whole
        assert_array_equal(boxes.measured[0], boxes.whole[0])
        assert_array_equal(boxes.beneath.any(axis=0), 5 * [False] + 2 * [True])


class TestCorrectLevels:
    @staticmethod
    def correct(data, noise, **options):
        """Return the parent, and its corrected mesh."""
        parent = Background2D(data, 25, **options)
        measured = parent.n_pixels_mesh > 0
        boxes = sky_in_boxes(sky_of(data, noise), ALL, (25, 25))
        mesh = parent.background_mesh
        return parent, correct_levels(mesh, parent.background_rms_mesh, measured, boxes)

    def test_gaussian_noise(self):
        """Nothing is changed."""
        parent, mesh = self.correct(100 + NOISE, 1.0)
        assert_array_equal(mesh, parent.background_mesh)

    def test_skewed_noise(self):
        """The mode misses the mean, by the same in all boxes."""
        data = np.random.default_rng(3).gamma(9, size=SHAPE)
        parent, mesh = self.correct(data, 3.0)
        assert_allclose(parent.background_median, 8, atol=0.3)
        assert_allclose(np.mean(mesh), 9, atol=0.1)

    def test_no_box_is_raised_above_the_sky(self):
        """A box that misses nothing, in a crowd that does, stays as it is."""
        rms = np.ones((6, 8))
        sky = sky_of(np.full(SHAPE, 10.0))
        boxes = sky_in_boxes(sky, ALL, (25, 25))
        mesh = np.full((6, 8), 9.5) + 0.01 * np.random.default_rng(1).normal(
            size=(6, 8)
        )
        mesh[2, 3] = 10.0
        corrected = correct_levels(mesh, rms, rms > 0, boxes)
        others = np.arange(48).reshape(6, 8) != 19
        assert_allclose(corrected[others], 10, atol=0.05)
        assert corrected[2, 3] < 10.3

    def test_beneath_galaxies(self):
        """The sky of means goes on where no pixel was left."""
        beneath = (np.abs(Y - 75) < 26) & (np.abs(X - 100) < 26)
        sky = replace(sky_of(0.1 * X + NOISE), beneath=beneath)
        boxes = sky_in_boxes(sky, ALL, (25, 25))
        measured = np.ones((6, 8), dtype=bool)
        measured[2:4, 3:5] = False
        mesh = boxes.whole + np.where(measured, 0, 50)
        corrected = correct_levels(mesh, np.ones((6, 8)), measured, boxes)
        assert_allclose(corrected, boxes.whole)


def test_boxes_without_noise_tell_nothing():
    """What they miss in units of a noise of nothing is no measure for the others."""
    shape = (4, 5)
    noise = np.full(shape, 1e-17)
    noise[0, 0] = 0.1
    mesh = np.zeros(shape)
    boxes = SkyInBoxes(np.full(shape, 0.05), mesh, np.zeros(shape, bool))
    corrected = correct_levels(mesh, noise, np.ones(shape, bool), boxes)
    assert_array_equal(corrected, mesh)
