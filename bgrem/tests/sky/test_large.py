"""
Tests of bgrem.sky.large, and of what the background does with it.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from photutils.background import Background2D

from bgrem import DiffusionBackground, background
from bgrem.pipeline import Separation
from bgrem.sky.large import is_smooth, large_sources, source_glow
from bgrem.sky.normalize import Normalization

SHAPE = (192, 256)
SKY, NOISE = 100.0, 2.0
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]


def galaxy(peak=60.0, scale=12.0):
    return peak * np.exp(-np.hypot(Y - 80, X - 150) / scale)


class TestLargeSources:
    def test_squares_that_fit(self):
        source = np.zeros((60, 80))
        source[10:27, 20:40] = 0.33
        source[40:56, 20:40] = 9.0  # one row less than a square
        expected = np.zeros(source.shape, dtype=bool)
        expected[10:27, 20:40] = True
        assert_array_equal(large_sources(source, 2.0), expected)
        assert not large_sources(source, np.full(source.shape, 2.3)).any()

    def test_edge(self):
        source = np.zeros((60, 80))
        source[:9, :9] = 1.0
        assert_array_equal(large_sources(source, 1.0), source > 0)
        source[:9, :8] = 0.0
        assert not large_sources(source, 1.0).any()

    def test_stars_are_not_large(self):
        star = 1e3 * np.exp(-((Y - 80) ** 2 + (X - 150) ** 2) / 8)
        assert not large_sources(star, NOISE).any()

    def test_no_noise(self):
        """Constant data have no sources either."""
        assert not large_sources(np.zeros((40, 40)), np.zeros((40, 40))).any()


class TestIsSmooth:
    def test_noise_and_gradient(self, noise):
        hidden = np.zeros(SHAPE, dtype=bool)
        hidden[40:110, 60:150] = True
        assert is_smooth(noise, hidden)
        assert is_smooth(noise + 0.1 * X - 0.2 * Y, hidden)

    def test_waves(self, noise):
        """Of 100 px, with an amplitude of twice the noise, and of a tenth of it."""
        wave = np.sin(2 * np.pi * X / 100) * np.sin(2 * np.pi * Y / 100)
        nothing = np.zeros(SHAPE, dtype=bool)
        assert not is_smooth(noise + 2 * NOISE * wave, nothing)
        assert is_smooth(noise + 0.1 * NOISE * wave, nothing)

    def test_nothing_to_compare(self, noise):
        assert not is_smooth(noise[:90, :90], np.zeros((90, 90), dtype=bool))
        assert not is_smooth(noise, np.ones(SHAPE, dtype=bool))


class TestSourceGlow:
    def test_known_answer(self):
        """The level between the sources, in units of the noise of each pixel."""
        noise = 2.0 + 0.01 * X
        source = galaxy() + 0.03 * noise
        glow = source_glow(source, noise, np.ones(SHAPE, dtype=bool))
        assert_allclose(glow, 0.03 * noise, rtol=0.1)

    def test_hidden_pixels_do_not_count(self):
        source = np.full(SHAPE, 0.1)
        source[:50] = 0.02
        visible = Y >= 50
        noise = np.where(X < 100, 2.0, 0.0)
        assert_allclose(source_glow(source, noise, visible), 0.05 * noise)
        assert not source_glow(source, noise, Y < 0).any()

    @pytest.mark.parametrize(('level', 'expected'), [(-0.02, 0.0), (0.3, 0.1)])
    def test_limits(self, level, expected):
        source = np.full(SHAPE, level, dtype=np.float32)
        glow = source_glow(source, np.ones(SHAPE), np.ones(SHAPE, dtype=bool))
        assert glow.dtype == np.float32
        assert_allclose(glow, expected)


@pytest.fixture
def make(monkeypatch, tiny_weights):
    """Return the class with a given separation."""

    def make(data, source, box_size=32, **options):
        def separate(image, mask=None, **_):
            meta = {'weights': 'none', 'n_steps': 1, 'normalization': 'local'}
            maps = Normalization(np.full(image.shape, SKY), np.full(image.shape, NOISE))
            return Separation(source, np.zeros(image.shape), maps, meta)

        monkeypatch.setattr(background, 'separate', separate)
        return DiffusionBackground(data, box_size, weights=tiny_weights, **options)

    return make


@pytest.fixture
def noise():
    return NOISE * np.random.default_rng(5).normal(size=SHAPE)


def test_light_left_in_a_galaxy_is_not_sky(make, noise):
    """A tenth of the galaxy is left over, and does not reach the sky map."""
    true = galaxy(peak=300.0)
    data, source = SKY + true + noise, 0.9 * true
    error = make(data, source, exclude_percentile=50.0).background - SKY
    seen = Background2D(data - source, 32, exclude_percentile=50.0).background - SKY
    assert np.abs(seen).max() > 1.0
    assert np.abs(error).max() < 0.4


def test_the_result_is_that_of_the_parent_with_a_mask(make, noise):
    source = galaxy()
    data = SKY + source + noise
    mask = np.zeros(SHAPE, dtype=bool)
    mask[150:160, 20:30] = True
    large = large_sources(source, NOISE)
    assert 0.05 < large.mean() < 0.3
    bkg = make(data, source, mask=mask)
    expected = Background2D(data - bkg.source, 32, mask=mask | large)
    assert_allclose(bkg.background, expected.background, rtol=1e-5)
    assert_allclose(bkg.background_rms, expected.background_rms, rtol=1e-5)
    assert_array_equal(bkg.n_pixels_mesh, expected.n_pixels_mesh)
    assert np.all(np.isfinite(bkg.background_uncertainty))


@pytest.mark.parametrize('scale', [60.0, 500.0])
def test_a_source_that_leaves_too_few_boxes(make, noise, scale):
    """The sky is measured beneath it, rather than at a few places elsewhere."""
    source = galaxy(scale=scale)
    data = SKY + source + noise
    bkg = make(data, source)
    expected = Background2D(data - source, 32).background
    assert_allclose(bkg.background, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ('scale', 'min_sigma'), [(14.0, 0.15), (20.0, 0.3), (24.0, 0.5)]
)
def test_as_much_is_hidden_as_leaves_enough_boxes(make, noise, scale, min_sigma):
    source = galaxy(scale=scale)
    data = SKY + source + noise
    hidden = large_sources(source, NOISE, min_sigma)
    bkg = make(data, source)
    expected = Background2D(data - bkg.source, 32, mask=hidden)
    assert_allclose(bkg.background, expected.background, rtol=1e-5)


def test_the_glow_around_large_sources_is_sky(make, noise):
    """And only around large ones; what is masked stays without a source."""
    mask = X < 5
    for true, left in ((galaxy(), 0.0), (galaxy(scale=2.0), 0.06)):
        separated = np.where(mask, 0, true + 0.06)
        bkg = make(SKY + true + noise, separated, mask=mask)
        assert_array_equal(bkg.source[mask], 0)
        assert_allclose(np.median((bkg.source - true)[~mask]), left, atol=0.02)
        free = Background2D(SKY + noise, 32, mask=mask)
        missing = free.background_median - bkg.background_median
        assert_allclose(missing, left, atol=0.02)


def test_a_nebulous_sky_is_measured_everywhere(make, noise):
    source = galaxy()
    wave = 6 * NOISE * np.sin(2 * np.pi * X / 100) * np.sin(2 * np.pi * Y / 100)
    data = SKY + source + noise + wave
    bkg = make(data, source, 16)
    expected = Background2D(data - source, 16).background
    assert_allclose(bkg.background, expected, rtol=1e-5)


def test_no_warning_comes_twice(make, noise):
    source = galaxy()
    data = SKY + source + noise
    data[3, 3] = np.nan
    with pytest.warns(UserWarning, match='non-?finite') as caught:
        bkg = make(data, source)
    assert len(caught) == 1
    assert_allclose(bkg.background_median, SKY, atol=0.2)
