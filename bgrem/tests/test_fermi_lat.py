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


@pytest.mark.parametrize('mean', [0.003, 0.05, 0.5, 10.0, 1000.0, 1e6])
def test_empty_sky(mean):
    """No source is seen in any number of photons, and no photon is lost."""
    data = np.random.default_rng(44).poisson(mean, SHAPE)
    bkg = observe(data)
    noise = np.sqrt(mean)
    error = noise / np.sqrt(data.size)
    # In each pixel there may be a source that nobody sees: some light is its.
    assert 0 <= bkg.source.mean() < 0.2 * noise
    total = bkg.background.mean() + bkg.source.mean()
    assert_allclose(
        total, data.mean(), rtol=2e-3, atol=0.1 * min(mean, noise) + 2 * error
    )
    assert not bkg.detection_mask().any()


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
