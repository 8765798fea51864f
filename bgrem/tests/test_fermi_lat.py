# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the shipped weights for photon counts."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from photutils.utils.exceptions import NoDetectionsWarning

from bgrem import DiffusionBackground, list_weights
from bgrem.evaluate.matching import judge, match_radius
from bgrem.simulate.gamma import LatConfig, simulate_lat_patch
from bgrem.weights import load_weights

SHAPE = (128, 128)


def observe(data, **options):
    return DiffusionBackground(data, weights='fermi-lat', **options)


def test_they_are_shipped_and_not_the_default():
    assert 'fermi-lat' in list_weights()
    weights = load_weights('fermi-lat')
    assert weights.is_for_counts
    assert weights.calibration is not None
    assert not load_weights('optical').is_for_counts
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert DiffusionBackground(np.ones(SHAPE)).meta['weights'] == 'optical'


def test_nothing_at_all():
    """Without a photon there is neither sky nor source."""
    bkg = observe(np.zeros(SHAPE))
    assert np.isfinite(bkg.background).all()
    assert 0 <= bkg.background.sum() < 1
    assert 0 <= bkg.source.sum() < 1
    with pytest.warns(NoDetectionsWarning, match='No sources'):
        assert bkg.detect() is None


def test_a_single_photon():
    data = np.zeros(SHAPE)
    data[60, 70] = 1
    bkg = observe(data)
    assert_allclose(bkg.background.sum() + bkg.source.sum(), 1, atol=2)
    with pytest.warns(NoDetectionsWarning, match='No sources'):
        assert bkg.detect() is None


@pytest.mark.parametrize('seed', range(5, 8))
def test_a_handful_of_photons(seed):
    """None of them is a source, though nothing says that there is a sky."""
    rng = np.random.default_rng(seed)
    data = np.zeros((300, 513))
    data[tuple(rng.integers(data.shape, size=(5, 2)).T)] = 1
    bkg = observe(data)
    assert bkg.background.min() > 0
    assert 0 < bkg.background.sum() + bkg.source.sum() < 10
    with pytest.warns(NoDetectionsWarning, match='No sources'):
        assert len(bkg.catalog()) == 0


@pytest.mark.parametrize('mean', [0.001, 0.003, 0.01, 0.05, 0.5, 10.0, 1000.0, 1e6])
def test_empty_sky(mean):
    """No source is seen in any number of photons, and no photon is lost."""
    data = np.random.default_rng(44).poisson(mean, (192, 192))
    bkg = observe(data)
    noise = np.sqrt(mean)
    error = noise / np.sqrt(data.size)
    for name in ('background', 'background_rms', 'background_uncertainty', 'source'):
        assert np.isfinite(getattr(bkg, name)).all()
    # In each pixel there may be a source that nobody sees: some light is its.
    assert 0 <= bkg.source.mean() < 0.05 * min(mean, noise) + error
    total = bkg.background.mean() + bkg.source.mean()
    assert_allclose(total, data.mean(), rtol=2e-3, atol=0.03 * min(mean, noise) + error)
    assert_allclose(bkg.background.mean(), mean, rtol=2e-4, atol=2 * error)
    assert_allclose(bkg.background_rms**2, bkg.background, rtol=0.05)
    assert not bkg.detection_mask().any()


@pytest.mark.parametrize('mean', [0.001, 0.01, 1.0, 1e3, 1e6])
def test_sky_beneath_sources(mean):
    """Their light does not lift it, nor do gaps and steps of the exposure."""
    rng = np.random.default_rng(45)
    y, x = np.mgrid[:192, :192]
    light = 25 * np.sqrt(mean * 28) + 60
    centers = [(40, 50), (40, 140), (120, 60), (100, 150), (160, 110)]
    source = sum(
        light * np.exp(-((y - y0) ** 2 + (x - x0) ** 2) / 4.5) / 14.1
        for y0, x0 in centers
    )
    exposure = np.where(x < 60, 0.5, 1.0)
    exposure[170:, :80] = 0
    data = rng.poisson((mean + source) * exposure)
    bkg = observe(data, exposure=exposure)
    seen = exposure > 0
    # not where boxes of the sky lie on the step
    for half in (seen & (x < 50), seen & (x > 66)):
        ratio = bkg.background[half].sum() / exposure[half].sum()
        error = np.sqrt(mean / exposure[half].sum())
        assert_allclose(ratio, mean, rtol=2e-3, atol=3 * error + 0.02 * min(mean, 1))
    assert bkg.source[~seen].max() == 0
    catalog = bkg.catalog()
    distance = np.hypot(*(
        found[:, None] - true
        for found, true in zip(
            (catalog.y, catalog.x), np.array(centers).T, strict=True
        )
    ))  # fmt: skip
    assert distance.min(axis=0).max() < 2
    # where all sources are bright, the promise of 5% is kept to a factor of two
    assert np.sum(distance.min(axis=1) > 3) <= 2


@pytest.mark.filterwarnings('ignore:No sources were found')
def test_patches_of_the_gamma_ray_sky():
    """Bright sources are found, none is invented, and their light is theirs."""
    n_true = n_found = n_false = 0
    true = found = 0.0
    for seed in range(8):
        rng = np.random.default_rng([3, seed])
        patch = simulate_lat_patch(rng, LatConfig(latitude=(20, 60)))
        bkg = observe(patch.counts, exposure=patch.exposure)
        true += patch.source.sum()
        found += bkg.source.sum()
        bright = patch.catalog['snr'] > 10
        catalog = bkg.catalog()
        if catalog is None:
            assert not bright.any()
            continue
        x, y = catalog.x, catalog.y
        for x0, y0 in zip(
            patch.catalog['x'][bright], patch.catalog['y'][bright], strict=True
        ):
            n_true += 1
            n_found += np.hypot(x - x0, y - y0).min() < 2
        is_true, is_neutral = judge(
            x, y, catalog.detection_probability, patch.catalog,
            match_radius(patch.fwhm), min_snr=3.0,
        )  # fmt: skip
        n_false += np.sum(~is_true & ~is_neutral)
        assert_allclose(
            bkg.background.mean(), patch.sky.mean(), rtol=0.1, err_msg=str(seed)
        )
        assert np.all(catalog.flux[np.isfinite(catalog.flux)] > -1e-9)
    assert n_found >= 0.85 * n_true > 5
    assert n_false <= 3
    assert_allclose(found, true, rtol=0.15)


def test_turned_upside_down():
    rng = np.random.default_rng(7)
    patch = simulate_lat_patch(rng, LatConfig(latitude=(5, 10)))
    first, second = (
        observe(image, n_symmetries=8) for image in (patch.counts, patch.counts[::-1])
    )
    assert_allclose(first.source, second.source[::-1], atol=0.05, rtol=0.05)


def test_without_noise():
    """Expected counts, as of a model, show sources that photons hide."""
    config = LatConfig(latitude=(30, 60), poisson=False)
    patch = simulate_lat_patch(np.random.default_rng(5), config)
    bkg = observe(patch.counts)
    assert_allclose(bkg.source.sum(), patch.source.sum(), rtol=0.3)
    assert bkg.detect().n_labels >= 0.5 * np.sum(patch.catalog['snr'] > 5)
