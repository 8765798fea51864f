"""Tests of bgrem.evaluate.peers."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bgrem.evaluate.calibration import rewrite_header
from bgrem.evaluate.matching import match
from bgrem.evaluate.peers import PEERS, matched_filter_snr, probability_peaks
from bgrem.evaluate.real import moffat_psf
from bgrem.evaluate.scenes import Scene
from bgrem.weights import load_weights

FWHM = 3.0


@pytest.fixture(scope='module')
def scene():
    """Nine isolated stars of S/N 10 to 50 on a flat sky of noise 5."""
    rng = np.random.default_rng(8)
    shape, half = (160, 170), 16
    y, x = np.mgrid[30:150:45, 30:150:45].reshape(2, -1) + rng.uniform(-3, 3, (2, 9))
    snr = np.linspace(10, 50, 9)
    psf = moffat_psf(FWHM)
    flux = 5 * snr / np.sqrt(np.sum(psf**2))
    source = np.zeros(shape)
    for cx, cy, f in zip(x, y, flux, strict=True):
        i, j = round(cy), round(cx)
        source[i - half : i + half + 1, j - half : j + half + 1] += f * moffat_psf(
            FWHM, cx - j, cy - i
        )
    sky = np.full(shape, 200.0)
    return Scene(
        image=(sky + source + rng.normal(0, 5, shape)).astype(np.float32),
        source=source,
        sky=sky,
        sigma=np.full(shape, 5.0),
        mask=np.zeros(shape, dtype=bool),
        psf=psf,
        fwhm=FWHM,
        catalog={'x': x, 'y': y, 'snr': snr},
    )


class TestMatchedFilter:
    def test_signal_to_noise_of_a_star(self):
        psf = moffat_psf(FWHM)
        flux = 100.0
        data = np.zeros((65, 65))
        data[16:49, 16:49] = flux * psf
        snr = matched_filter_snr(data, 2.0, psf)
        assert_allclose(snr[32, 32], flux / 2 * np.sqrt(np.sum(psf**2)))
        assert np.unravel_index(snr.argmax(), snr.shape) == (32, 32)

    def test_noise_has_unit_variance_up_to_the_borders(self):
        rng = np.random.default_rng(0)
        sigma = np.linspace(1, 3, 300) * np.ones((300, 1))
        snr = matched_filter_snr(rng.normal(0, sigma), sigma, moffat_psf(2.5))
        assert_allclose(snr.std(), 1, atol=0.05)
        edge = np.concatenate([snr[:2].ravel(), snr[-2:].ravel()])
        assert_allclose(edge.std(), 1, atol=0.12)

    def test_masked_pixels_have_no_weight(self):
        psf = moffat_psf(FWHM)
        data = np.random.default_rng(1).normal(size=(60, 60))
        mask = np.zeros(data.shape, dtype=bool)
        mask[20:23, 30] = True
        expected = matched_filter_snr(data, 1.0, psf, mask)
        for bad in (1e5, np.nan):
            data[mask] = bad
            assert_allclose(matched_filter_snr(data, 1.0, psf, mask), expected)

    def test_asymmetric_psf_is_not_flipped(self):
        psf = np.zeros((5, 5))
        psf[2, 2], psf[2, 3], psf[1, 2] = 0.5, 0.3, 0.2
        data = np.zeros((21, 21))
        data[8:13, 8:13] = psf
        snr = matched_filter_snr(data, 1.0, psf)
        assert np.unravel_index(snr.argmax(), snr.shape) == (10, 10)

    def test_everything_masked(self):
        data = np.ones((20, 20))
        snr = matched_filter_snr(data, 1.0, moffat_psf(2.0), data > 0)
        assert not snr.any()


@pytest.mark.parametrize('name', PEERS)
def test_peer_finds_isolated_stars_first(name, scene):
    if name.startswith('sep'):
        pytest.importorskip('sep')
    found = PEERS[name](scene)
    truth = scene.catalog
    index = match(
        found.x, found.y, found.score, truth['x'], truth['y'], truth['snr'], radius=2
    )
    first = np.argsort(-found.score)[:9]
    assert set(index[first]) == set(range(9))
    assert found.score.size > 9  # deep enough for false detections too


def test_oracle_score_is_the_true_snr(scene):
    found = PEERS['oracle'](scene)
    truth = scene.catalog
    index = match(
        found.x, found.y, found.score, truth['x'], truth['y'], truth['snr'], radius=2
    )
    true = index >= 0
    pull = found.score[true] - truth['snr'][index[true]]
    assert np.abs(pull).max() < 4
    assert np.abs(found.x[true] - truth['x'][index[true]]).max() < 0.5
    assert np.abs(found.y[true] - truth['y'][index[true]]).max() < 0.5


@pytest.mark.parametrize('name', PEERS)
def test_peer_survives_a_large_mask(name, scene):
    if name.startswith('sep'):
        pytest.importorskip('sep')
    mask = scene.mask.copy()
    mask[:, :60] = True
    masked = replace(scene, mask=mask)
    found = PEERS[name](masked)
    assert not mask[np.rint(found.y).astype(int), np.rint(found.x).astype(int)].any()


def test_photutils_without_detections(scene):
    flat = replace(
        scene,
        image=np.full((64, 64), 7.0),
        mask=np.zeros((64, 64), dtype=bool),
    )
    assert PEERS['photutils'](flat).score.size == 0


def test_missing_sep_says_how_to_install(scene, monkeypatch):
    monkeypatch.setitem(sys.modules, 'sep', None)
    with pytest.raises(ImportError, match=r"pip install 'bgrem\[evaluate\]'"):
        PEERS['sep default'](scene)


def test_probability_peaks(scene, tiny_weights):
    weights = load_weights(tiny_weights)
    found = probability_peaks(scene.image, None, weights)
    assert np.all((found.score >= 0.01) & (found.score <= 1))
    mask = np.zeros(scene.image.shape, dtype=bool)
    mask[:, :100] = True
    masked = probability_peaks(scene.image, mask, weights)
    assert np.all(np.rint(masked.x) >= 100)


def test_probability_peaks_are_checked(scene, tiny_weights, make_correction, tmp_path):
    weights = load_weights(tiny_weights)
    correction = make_correction(offset=-2.0)
    path = tmp_path / 'checked.safetensors'
    rewrite_header(weights, path, {**weights.calibration, 'correction': correction})
    plain = probability_peaks(scene.image, None, weights)
    checked = probability_peaks(scene.image, None, load_weights(path))
    assert plain.log_odds_shift == 0
    assert checked.log_odds_shift == -2
    assert_allclose(checked.score, plain.score)
