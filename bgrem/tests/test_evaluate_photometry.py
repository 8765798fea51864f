"""Tests of bgrem.evaluate.photometry."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bgrem.evaluate.photometry import aperture_sums, sky_residual, summarize_fluxes
from bgrem.evaluate.scenes import Scene


@pytest.fixture
def scene():
    shape = (30, 40)
    mask = np.zeros(shape, dtype=bool)
    mask[:, 0] = True
    return Scene(
        image=None,
        source=None,
        sky=np.full(shape, 100.0),
        sigma=np.full(shape, 4.0),
        mask=mask,
        psf=None,
        fwhm=3.0,
        catalog={},
    )


def test_sky_residual(scene):
    background = scene.sky + 2.0
    background[:, 0] = 1e6  # masked
    residual = sky_residual(background, scene)
    assert residual.size == 30 * 39
    assert_allclose(residual, 0.5)


def test_aperture_sums():
    data = np.full((40, 40), 3.0)
    flux, error = aperture_sums(data, np.array([20.0]), np.array([18.5]), 5.0)
    assert_allclose(flux, 3 * np.pi * 25)
    assert error is None
    _, error = aperture_sums(data, [20.0], [18.5], 5.0, np.full(data.shape, 2.0))
    assert_allclose(error, 2 * np.sqrt(np.pi * 25))


def test_summary_of_perfect_errors():
    rng = np.random.default_rng(0)
    n = 20_000
    snr = rng.uniform(3, 60, n)
    flux_error = np.full(n, 2.0)
    true_flux = 2.0 * snr
    table = {
        'flux': rng.normal(1.02 * true_flux, flux_error),
        'flux_error': flux_error,
        'true_flux': true_flux,
        'snr': snr,
        'is_star': np.arange(n) % 2 == 0,
        'distance': np.full(n, 0.25),
    }
    rows = summarize_fluxes(table)
    assert [(r['kind'], r['snr_low']) for r in rows] == [
        (kind, low) for kind in ('star', 'galaxy') for low in (3, 5, 10, 20)
    ]
    assert rows[-1]['snr_high'] is None
    assert sum(r['n'] for r in rows) == n
    bright = rows[3]
    assert_allclose(bright['median_bias'], 0.02, atol=0.002)
    faint = rows[0]
    assert_allclose(faint['pull_mean'], 0.02 * 4, atol=0.1)
    assert_allclose(faint['pull_std'], 1, atol=0.08)
    assert_allclose([r['median_distance'] for r in rows], 0.25)


def test_summary_leaves_out_empty_bins():
    table = {
        name: np.array([value])
        for name, value in (
            ('flux', 30.0), ('flux_error', 1.0), ('true_flux', 30.0),
            ('snr', 30.0), ('is_star', True), ('distance', 0.0),
        )
    }  # fmt: skip
    rows = summarize_fluxes(table)
    assert len(rows) == 1
    assert rows[0]['n'] == 1
    assert rows[0]['median_bias'] == 0
