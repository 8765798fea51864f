"""Tests of the shipped weights for whole frames on a CPU: they stand for 'optical'."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bgrem import DiffusionBackground
from bgrem.evaluate.matching import match_radius
from bgrem.weights import load_weights


@pytest.fixture(scope='module')
def field():
    """A field of stars on a tilted sky, in noise of 5."""
    rng = np.random.default_rng(77)
    y, x = np.indices((256, 256))
    image = rng.normal(1000 + 0.05 * x, 5)
    stars = np.stack([*rng.uniform(10, 246, (2, 60)), 5 * 10 ** rng.uniform(1, 3, 60)])
    for x0, y0, flux in stars.T:
        r2 = (x - x0) ** 2 + (y - y0) ** 2
        image += flux * np.exp(-r2 / (2 * 1.3**2)) / (2 * np.pi * 1.3**2)
    return image


@pytest.fixture(scope='module')
def both(field):
    return [DiffusionBackground(field, weights=w) for w in ('optical-fast', 'optical')]


def test_is_calibrated_and_cheaper():
    fast, optical = load_weights('optical-fast'), load_weights('optical')
    assert set(fast.calibration) == set(optical.calibration)
    done = []
    for weights in (fast, optical):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            weights.network()(torch.zeros(1, 1, 256, 256), torch.ones(1))
        done.append(counter.get_total_flops())
    assert done[0] < 0.4 * done[1]


def test_same_sky_and_noise(both):
    fast, optical = both
    difference = (fast.background - optical.background) / optical.background_rms
    assert abs(float(difference.mean())) < 0.02
    assert float(np.abs(difference).max()) < 0.15
    np.testing.assert_allclose(fast.background_rms, optical.background_rms, rtol=0.03)


def test_same_sources(both):
    """But for one that is lost beside a bright star."""
    fast, optical = (bkg.catalog(bkg.detect()).to_table() for bkg in both)
    sure = optical[optical['snr'] > 10]
    distance = np.hypot(
        fast['x'] - np.array(sure['x'])[:, np.newaxis],
        fast['y'] - np.array(sure['y'])[:, np.newaxis],
    ).min(axis=1)
    assert len(sure) > 20
    assert np.sum(distance > match_radius(3.0)) <= 1


def test_same_light(both):
    fast, optical = both
    assert abs(float(fast.source.sum() / optical.source.sum()) - 1) < 0.1
