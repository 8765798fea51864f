"""Test what the skewness of the noise does to the sky."""

import numpy as np
import pytest
from astropy.stats import SigmaClip
from numpy.testing import assert_allclose
from photutils.background import (
    Background2D,
    MeanBackground,
    MedianBackground,
    SExtractorBackground,
)

from bgrem import DiffusionBackground
from bgrem.sky.skewness import skewness_offset

SHAPE = (512, 520)
BOX_SIZE = (32, 40)
ESTIMATORS = [SExtractorBackground, MedianBackground, MeanBackground]


def photons(mean, seed=3):
    return np.random.default_rng(seed).poisson(mean, SHAPE).astype(float)


def measure(sky, usable=None, *, sigma_clip=None, estimator=None):
    """Return the mesh of the parent and the offset."""
    if usable is None:
        usable = np.ones(SHAPE, dtype=bool)
    parent = Background2D(
        sky,
        BOX_SIZE,
        mask=~usable,
        exclude_percentile=100,
        filter_size=1,
        sigma_clip=sigma_clip,
        bkg_estimator=estimator,
    )
    offset = skewness_offset(
        sky,
        usable,
        parent.background_mesh,
        parent.background_rms_mesh,
        BOX_SIZE,
        parent.bkg_estimator,
        sigma_clip,
    )
    return parent, offset


class TestOffset:
    def test_known_answers(self):
        """Mean, median and mode of Poisson noise, without clipping."""
        sigma = np.sqrt(500)
        for estimator, expected in (
            (MeanBackground(), 0),
            (MedianBackground(), 1 / 6 / sigma),
            (SExtractorBackground(), 2.5 / 6 / sigma),
        ):
            parent, offset = measure(photons(500), estimator=estimator)
            missing = 500 - np.mean(parent.background_mesh)
            assert_allclose(offset, missing / sigma, atol=0.003)
            assert_allclose(offset, expected, atol=0.005)

    @pytest.mark.parametrize('estimator', ESTIMATORS)
    @pytest.mark.parametrize('mean', [0.6, 3, 30, 500])
    def test_the_sky_becomes_the_mean(self, mean, estimator):
        parent, offset = measure(
            photons(mean), sigma_clip=SigmaClip(3, maxiters=10), estimator=estimator()
        )
        sky = np.mean(parent.background_mesh + offset * parent.background_rms_mesh)
        assert abs(sky - mean) < 0.015 * np.sqrt(mean)

    def test_a_percentile_stays_one(self):
        """What is taken off is the skewness, not the meaning of the estimator."""

        def quartile(data, axis):
            return np.nanpercentile(data, 25, axis=axis)

        offset = measure(photons(500), estimator=quartile)[1]
        assert abs(offset) < 0.03

    def test_noise_that_is_not_skewed(self):
        noise = np.random.default_rng(1).normal(size=SHAPE)
        assert measure(noise)[1] == 0
        assert measure(-photons(3))[1] == 0

    def test_faint_stars_without_number(self):
        """The mode is far below their mean, and is left there."""
        rng = np.random.default_rng(2)
        x, y = rng.integers(0, SHAPE[1], 20000), rng.integers(0, SHAPE[0], 20000)
        stars = np.zeros(SHAPE)
        np.add.at(stars, (y, x), rng.exponential(3, x.size))
        stars += np.roll(stars, 1, axis=1)
        parent, offset = measure(stars + rng.normal(size=SHAPE))
        assert np.mean(parent.background_mesh) < stars.mean() - 0.1
        assert offset == 0

    def test_sky_finer_than_the_boxes(self):
        wave = 40 * np.sin(np.arange(SHAPE[1]) / 5) ** 4
        assert measure(photons(500) + wave)[1] == 0

    def test_outliers_and_hidden_pixels_do_not_count(self):
        noise = photons(500)
        expected = measure(noise, sigma_clip=SigmaClip(3))[1]
        usable = np.ones(SHAPE, dtype=bool)
        usable[100:130] = False
        noise[100:130] += 20
        noise[::50, ::50] = 1e5
        offset = measure(noise, usable, sigma_clip=SigmaClip(3))[1]
        assert_allclose(offset, expected, atol=0.003)

    def test_nothing_to_measure(self):
        assert measure(np.full(SHAPE, 7.0))[1] == 0
        sky, box = np.array([[0.0], [3.0]]), np.ones((1, 1))
        for usable in (sky > -1, sky < -1):
            arguments = sky, usable, box, box, (2, 1), MeanBackground(), None
            assert skewness_offset(*arguments) == 0

    def test_large_images_are_thinned(self, monkeypatch):
        noise = photons(3)
        expected = measure(noise)[1]
        monkeypatch.setattr('bgrem.sky.skewness._MAX_PIXELS', 60_000)
        offset = measure(noise)[1]
        assert offset != expected
        assert_allclose(offset, expected, atol=0.01)


@pytest.mark.parametrize('tilt', [0, 0.2])
def test_sky_of_photons(tilt):
    """The sky is the mean of the noise, with a trend and without."""
    true = 100 + tilt * np.arange(SHAPE[1]) + np.zeros(SHAPE)
    # like the noise of photons, but not discrete
    data = np.random.default_rng(4).gamma(true)
    bkg = DiffusionBackground(data, 64)
    assert abs(np.mean((bkg.background - true) / np.sqrt(true))) < 0.006
    assert bkg.background_median == np.median(bkg.background_mesh)
    if not tilt:
        parent = Background2D(data - bkg.source, 64)
        missing = (true - parent.background) / np.sqrt(true)
        assert 0.05 < np.mean(missing) < 0.1
        assert_allclose(bkg.background_mesh, parent.background_mesh + 0.7, atol=0.2)
        assert_allclose(bkg.background_rms, parent.background_rms, rtol=1e-3)
