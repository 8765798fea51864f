"""Tests of bgrem.detect.kind."""

import re

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bgrem.detect.discovery import ImageCheck
from bgrem.detect.kind import find_doubts, sky_structure
from bgrem.detect.peaks import find_peaks, peak_roundness

SHAPE = (200, 240)
Y, X = np.indices(SHAPE)
GRID = [(y, x) for y in range(20, 190, 30) for x in range(20, 230, 30)]
CHECK = ImageCheck(promised=10.0, flipped=3.0, width=3.0)


def stars(y_sigma=1.5, x_sigma=1.5, height=20.0):
    """Return an image of Gaussians, long ones if the two differ."""
    return sum(
        height * np.exp(-0.5 * ((Y - y) ** 2 / y_sigma**2 + (X - x) ** 2 / x_sigma**2))
        for y, x in GRID
    )


def waves(height):
    """Return a sky with structure of 12 px."""
    return height * np.sin(2 * np.pi * Y / 12) * np.sin(2 * np.pi * X / 12)


def doubts(source, sky=0.0, check=CHECK, unusable=None, level=500.0):
    noise = np.random.default_rng(4).normal(size=SHAPE)
    peaks = find_peaks(np.clip(source / 21, 0, 0.99), min_probability=0.5)
    unusable = np.zeros(SHAPE, bool) if unusable is None else unusable
    data = level + sky + source + noise
    return find_doubts(data, unusable, source, np.ones(SHAPE), peaks, check)


def test_roundness():
    """Of a Gaussian smoothed by 1 px the variances decide."""
    y, x = np.array(GRID).T
    assert_allclose(peak_roundness(stars(), y, x), 1, rtol=1e-3)
    long = peak_roundness(stars(2.0, 4.0), y, x)
    assert_allclose(long, (2.0**2 + 1) / (4.0**2 + 1), rtol=0.02)
    ridge, hollow = -((Y - 50.0) ** 2), (Y - 50.0) ** 2 + (X - 60.0) ** 2
    one = np.array([50]), np.array([60])
    assert_allclose(peak_roundness(ridge, *one), 0, atol=1e-3)
    assert_allclose(
        peak_roundness(ridge + 0.5 * (X - 60.0) ** 2, *one), -0.5, rtol=1e-2
    )
    assert np.isnan(peak_roundness(hollow, *one)).all()
    assert_allclose(peak_roundness(stars(3.0, 5.0), y, x, 2.0), 13 / 29, rtol=0.02)


@pytest.mark.parametrize('slope', [0.0, 0.5])
def test_structure_of_noise_is_one(slope):
    noise = np.random.default_rng(5).normal(size=SHAPE) + slope * X
    hidden = np.zeros(SHAPE, bool)
    assert_allclose(sky_structure(noise, hidden), 1, atol=0.03)
    assert sky_structure(noise + waves(2.0), hidden) > 1.15
    assert sky_structure(noise, ~hidden) == 1


def test_nothing_to_doubt():
    assert doubts(stars()) == []
    # long sources on a plain sky are galaxies, round ones in a nebula are stars
    assert doubts(stars(1.5, 4.0)) == []
    assert doubts(stars(), waves(3.0)) == []


@pytest.mark.parametrize(
    ('check', 'match'),
    [
        (
            ImageCheck(1.0, 50.0, width=3.0),
            '17 times as many as the probabilities promise',
        ),
        (ImageCheck(10.0, 3.0, width=1.1), r'stars are only 1.1 px wide'),
    ],
)
def test_check(check, match):
    (doubt,) = doubts(stars(), check=check)
    assert re.search(match, doubt)


def test_ridges():
    (doubt,) = doubts(stars(1.5, 4.0), waves(3.0))
    assert re.fullmatch(r'100% of what .* lies on the ridges .*', doubt)


def test_sources_everywhere():
    (doubt,) = doubts(stars(10.0, 10.0))
    assert re.search(r'only \d+% of the image is free', doubt)
    # what is masked is no part of the image
    unusable = np.zeros(SHAPE, bool)
    unusable[:, 40:] = True
    assert doubts(stars(), unusable=unusable) == []


@pytest.mark.parametrize(('level', 'doubtful'), [(0.05, True), (0.6, False)])
def test_few_counts(level, doubtful):
    rng = np.random.default_rng(6)
    source = stars(height=50.0)
    data = rng.poisson(level + source).astype(float)
    assert data.mean() > 0.6  # most photons are those of the stars
    peaks = find_peaks(np.clip(source / 52, 0, 0.99), min_probability=0.5)
    noise = np.full(SHAPE, np.sqrt(level))
    visible = np.zeros(SHAPE, bool)
    found = find_doubts(data, visible, source, noise, peaks, CHECK)
    assert any("counts, which 'fermi-lat'" in one for one in found) == doubtful
    # where nothing is found, other weights may
    nothing = find_doubts(data, visible, source, noise, peaks[:0], CHECK)
    assert len(nothing) == doubtful


def test_nothing_found():
    """Without a detection there is no promise that might not hold."""
    assert doubts(0 * stars(), waves(3.0), ImageCheck(1.0, 50.0, width=1.1)) == []
