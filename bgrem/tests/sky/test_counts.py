"""Tests of the sky of single counts: Poisson images with known means."""

import numpy as np
import pytest
from astropy.stats import SigmaClip
from numpy.testing import assert_allclose, assert_array_equal
from photutils.background import Background2D, MeanBackground, StdBackgroundRMS
from scipy.stats import poisson

from bgrem.sky.counts import (
    CountsClip,
    CountsLevel,
    counts_estimators,
    draw_photons,
    has_photon_noise,
    limit_light,
    may_be_sparse,
    sparse_step,
)
from bgrem.sky.normalize import estimate_normalization

SIZE = 192
SHAPE = (SIZE, SIZE)
Y, X = np.mgrid[:SIZE, :SIZE]
NOWHERE = np.zeros(SHAPE, dtype=bool)


@pytest.fixture
def rng():
    return np.random.default_rng(71)


def star(y, x, counts, sigma=1.5):
    profile = np.exp(-((Y - y) ** 2 + (X - x) ** 2) / (2 * sigma**2))
    return counts * profile / profile.sum()


@pytest.mark.parametrize('step', [1, 0.37])
@pytest.mark.parametrize(
    ('mean', 'sparse'), [(0.01, True), (0.5, True), (2, True), (8, False), (60, False)]
)
def test_sparse_step(rng, mean, sparse, step):
    data = step * rng.poisson(mean, SHAPE)
    noise = np.full(SHAPE, step * np.sqrt(mean))
    assert_allclose(sparse_step(data, NOWHERE, noise), step * sparse)
    assert sparse_step(data, ~NOWHERE, noise) == 0
    assert sparse_step(data, NOWHERE, 0 * noise) == 0


def test_not_sparse(rng):
    """Neither continuous data nor those rounded finer than their noise."""
    data = rng.normal(100, 5, SHAPE)
    for image in (data, np.rint(data), np.full(SHAPE, 3.0)):
        assert sparse_step(image, NOWHERE, np.full(SHAPE, 5.0)) == 0


@pytest.mark.parametrize('step', [1, 0.37])
@pytest.mark.parametrize('mean', [0.01, 0.5, 3, 8, 60])
def test_photon_noise(rng, mean, step):
    """Photons are few below four in a pixel; their variance is their mean."""
    data = step * rng.poisson(mean, SHAPE)
    assert may_be_sparse(data, NOWHERE) == (mean < 4)
    assert not may_be_sparse(data, ~NOWHERE)
    level, noise = (np.full(SHAPE, v * step) for v in (mean, np.sqrt(mean)))
    assert has_photon_noise(step, level, noise)
    for other in (2 * noise, 0.5 * noise, 0 * noise):
        assert not has_photon_noise(step, level, other)
    assert not has_photon_noise(step, 0 * level, noise)
    noise[:90] = 0  # no data, of any level
    level[:90] = 50 * step
    assert has_photon_noise(step, level, noise)


def test_not_few_photons(rng):
    for image in (rng.gamma(1, size=SHAPE), rng.normal(0, 1, SHAPE), np.ones(SHAPE)):
        assert not may_be_sparse(image, NOWHERE)


@pytest.mark.parametrize('step', [1, 0.25])
def test_drawn_photons(step):
    """Whole counts of the expected mean and variance, the same each time."""
    level = np.select([Y < 60, Y < 120], [0.5, 3.0], 400.0) * step
    level[:, :10] = -step
    image = draw_photons(level, step)
    counts = image / step
    assert_allclose(counts, np.rint(counts), rtol=1e-12)
    assert_array_equal(counts[:, :10], 0)
    for rows, mean in ((np.s_[:60], 0.5), (np.s_[60:120], 3.0), (np.s_[120:], 400.0)):
        part = counts[rows, 10:]
        assert_allclose([part.mean(), part.var()], mean, rtol=0.05)
    assert_array_equal(draw_photons(level, step), image)
    # with another seed nothing is the same, with nearly the same level nearly all is
    other = draw_photons(level, step, seed=1)
    assert abs(np.corrcoef(image[:60, 10:].flat, other[:60, 10:].flat)[0, 1]) < 0.05
    moved = draw_photons(level * (1 + 1e-6), step)
    assert np.mean(np.abs(moved - image) > step / 2) < 1e-3


@pytest.mark.parametrize('mean', [0.1, 2.0, 30.0])
def test_drawn_photons_have_the_distribution_of_poisson(mean):
    counts = draw_photons(np.full((200, 200), mean), 1.0).astype(int).ravel()
    k = np.arange(counts.max() + 1)
    expected = poisson.pmf(k, mean) * counts.size
    sigma = np.sqrt(expected + 1)
    assert (np.abs(np.bincount(counts) - expected) < 4.5 * sigma).all()


@pytest.mark.parametrize('level', [0, 1000])
def test_coarse_steps_are_no_counts(rng, level):
    """Photons are not negative, and of a thousand the noise is not 1.5."""
    data = np.rint(rng.normal(level, 1.5, SHAPE))
    assert sparse_step(data, NOWHERE, np.full(SHAPE, 1.5)) == 0
    assert sparse_step(np.abs(data - level), NOWHERE, np.full(SHAPE, 1.5)) == 1


@pytest.mark.parametrize('mean', [0.003, 0.01, 0.03, 0.1, 0.3, 1, 3])
@pytest.mark.parametrize('dtype', ['f4', 'f8'])
def test_clip_leaves_sky(rng, mean, dtype):
    """Of blank counts mean and variance stay, of stars nothing."""
    data = rng.poisson(mean, (20, 4096)).astype(dtype)
    result = CountsClip(1)(data, axis=-1, masked=False, copy=False)
    assert result.dtype == data.dtype
    kept = result[np.isfinite(result)]
    assert_allclose(kept.mean(), data.mean(), atol=0.01 * np.sqrt(mean))
    assert_allclose(kept.std(), data.std(), rtol=0.04)
    data[:, ::100] += 30
    result = CountsClip(1)(data, axis=-1)
    assert np.isnan(result[:, ::100]).all()
    # a plain clipping takes every photon
    if mean < 0.1:
        assert np.nanmax(SigmaClip(3)(data, axis=-1, masked=False)) == 0


def test_clip_axes(rng):
    data = rng.poisson(0.2, (6, 5, 300)).astype(float)
    data[0, 0, :200] = data[3, :, 0] = np.nan
    data[2, 2] = np.nan
    clip = CountsClip(1.0)
    before = data.copy()
    result = clip(data, axis=-1)
    assert_array_equal(data, before)
    for i, j in np.ndindex(6, 5):
        assert_array_equal(result[i, j], clip(data[i, j]))
    assert_array_equal(clip(np.moveaxis(data, -1, 0), axis=0)[:, 1, 2], result[1, 2])
    assert np.isnan(result[2, 2]).all()
    assert repr(clip) == 'CountsClip(step=1)'


def test_level():
    data = np.array([[1.0, 2.0, np.nan], [-3.0, 1.0, 1.0]])
    assert_allclose(CountsLevel()(data, axis=1), [1.5, 0])


@pytest.mark.parametrize('mean', [0.03, 0.4])
def test_parent_takes_the_estimators(rng, mean):
    data = rng.poisson(mean, SHAPE).astype(float)
    options = counts_estimators(1.0, {'filter_size': 3})
    parent = Background2D(data, 48, **options)
    assert_allclose(parent.background_median, mean, atol=0.03 * np.sqrt(mean))
    assert_allclose(parent.background_rms_median, np.sqrt(mean), rtol=0.05)
    assert Background2D(data, 48).background_rms_median < 0.8 * np.sqrt(mean)


@pytest.mark.parametrize(
    'given',
    [
        {'sigma_clip': None},
        {'bkg_estimator': MeanBackground()},
        {'bkg_rms_estimator': StdBackgroundRMS()},
        {'bkgrms_estimator': StdBackgroundRMS()},
    ],
)
def test_estimators_of_the_caller(given):
    """What the caller gives is the caller's."""
    assert counts_estimators(1.0, given) == {}
    assert counts_estimators(0.0, {}) == {}


@pytest.mark.parametrize('counts', [0.01, 0.05, 0.5])
def test_normalization(rng, counts):
    """Level and noise of the boxes, among stars of a thousand photons too."""
    data = rng.poisson(counts + sum(star(y, y, 1000) for y in (20, 90, 150)))
    result = estimate_normalization(data)
    sigma = np.sqrt(counts)
    assert_allclose(np.median(result.center), counts, atol=0.03 * sigma)
    assert_allclose(np.median(result.scale), sigma, rtol=0.06)


class TestLimitLight:
    MEAN = 0.03

    @pytest.fixture
    def stars(self):
        return star(40, 50, 60) + star(100, 130, 300)

    @pytest.fixture
    def limit(self, rng, stars):
        data = rng.poisson(self.MEAN + stars).astype(float)

        def limit(source, mask=NOWHERE, data=data):
            center = np.full(SHAPE, self.MEAN)
            return limit_light(source, data, mask, center, np.sqrt(center), 1), data

        return limit

    def test_true_light_stays(self, limit, stars):
        result, _ = limit(stars, data=self.MEAN + stars)
        assert_array_equal(result, stars)

    @pytest.mark.parametrize('glow', [0.02, 0.5, 7])
    def test_glow(self, limit, stars, glow):
        """An even glow is taken off, and the stars stay."""
        result, data = limit(stars + glow)
        assert result.sum() <= data.sum()
        assert_allclose(result.sum(), stars.sum(), rtol=0.2)
        assert_allclose(result[100, 130], stars[100, 130], rtol=0.05)
        assert np.mean(result[Y > 150]) < 0.03 * np.sqrt(self.MEAN)
        assert result.min() >= 0

    @pytest.mark.parametrize('factor', [0.5, 3, 1e6, -1])
    def test_any_source(self, limit, rng, factor):
        """Whatever comes in, what is left is not negative and not too much."""
        result, data = limit(factor * rng.random(SHAPE).astype('f4'))
        assert result.dtype == np.float32
        assert result.min() >= 0
        assert result.sum(dtype=float) <= data.sum() * (1 + 1e-6)
        dark = data - result
        assert np.mean(dark) >= 0

    @pytest.mark.parametrize('pedestal', [0, 1000])
    def test_pedestal(self, rng, pedestal):
        """Steps of four standard deviations on a pedestal are no photons of light."""
        data = pedestal + 4 * np.rint(rng.normal(0.0, 0.25, SHAPE))
        center, noise = np.full(SHAPE, data.mean()), np.full(SHAPE, data.std())
        result = limit_light(np.full(SHAPE, 0.3), data, NOWHERE, center, noise, 4)
        assert result.mean() < 0.02

    def test_cluster(self, rng):
        """What is as large as the boxes of the sky is light, too."""
        cluster = 2 * (1 + ((Y - 96) ** 2 + (X - 96) ** 2) / 20**2) ** -1.5
        data = rng.poisson(self.MEAN + cluster).astype(float)
        center = estimate_normalization(data).center
        noise = np.full(SHAPE, np.sqrt(self.MEAN))
        result = limit_light(cluster, data, NOWHERE, center, noise, 1)
        assert result.sum() > 0.7 * cluster.sum()

    def test_light_that_the_sky_has_taken_up(self, rng):
        """In a part of the windows the level is that of a cluster; it is light."""
        cluster = np.zeros((288, 288))
        cluster[:144, :144] = 0.5
        data = rng.poisson(self.MEAN + cluster).astype(float)
        noise = np.full(cluster.shape, np.sqrt(self.MEAN))
        nowhere = np.zeros(cluster.shape, dtype=bool)
        result = limit_light(cluster, data, nowhere, self.MEAN + cluster, noise, 1)
        assert_allclose(result.sum(), cluster.sum(), rtol=0.05)

    def test_mask(self, limit, stars):
        """What is masked is not light, and does not matter."""
        mask = X > 120
        result, data = limit(stars + 0.5, mask)
        assert_array_equal(result[mask], 0)
        changed, source = np.where(mask, np.nan, data), np.where(mask, 1e9, stars + 0.5)
        assert_array_equal(limit(source, mask, changed)[0], result)
        assert_array_equal(limit(stars, ~NOWHERE)[0], 0)

    @pytest.mark.parametrize('kind', ['rows', 'pixels'])
    def test_glow_among_masked_pixels(self, rng, stars, kind):
        """There the network takes photons for light, also if there are more of them."""
        data = rng.poisson(0.1 + stars).astype(float)
        center = np.full(SHAPE, 0.1)
        mask = Y % 2 == 1 if kind == 'rows' else rng.random(SHAPE) < 0.2
        args = data, mask, center, np.sqrt(center), 1
        result = limit_light(np.where(mask, 0, stars + 0.05), *args)
        assert_allclose(result.sum(), stars[~mask].sum(), rtol=0.3)
        assert np.mean(result[Y > 150]) < 0.01

    @pytest.mark.parametrize('shape', [(1, 1), (3, 200), (100, 40)])
    def test_small(self, shape):
        one = np.ones(shape)
        result = limit_light(3 * one, one, np.zeros(shape, bool), 0 * one, one, 1)
        assert result.sum() <= one.sum() * (1 + 1e-9)
        empty = limit_light(one, 0 * one, np.zeros(shape, bool), 0 * one, 0 * one, 1)
        assert_array_equal(empty, 0)
