"""Tests of bgrem.evaluate.kinds."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bgrem.evaluate.kinds import roc_area, summarize_kinds


def test_area_by_hand():
    # of six pairs the star is higher in three, equal in one
    assert roc_area([1.0, 3.0], [0.5, 2.0, 3.0]) == 3.5 / 6
    assert roc_area([2.0], [1.0]) == 1
    assert roc_area([1.0], [2.0]) == 0
    assert np.isnan(roc_area([], [1.0]))


def test_area_of_normal_scores():
    """Two normal distributions a sigma apart: Phi(1 / sqrt(2))."""
    rng = np.random.default_rng(0)
    found = roc_area(rng.normal(1, 1, 20_000), rng.normal(0, 1, 20_000))
    assert_allclose(found, 0.7602, atol=0.01)


@pytest.fixture
def table():
    snr = np.repeat([5.0, 100.0], 100)
    is_star = np.tile([True, False], 100)
    rng = np.random.default_rng(1)
    score = np.where(is_star, 1.0, 0.6) + rng.normal(0, 1, 200) / snr
    score[:3] = np.nan
    return {'concentration': score, 'snr': snr, 'is_star': is_star}


def test_summary(table):
    faint, bright = summarize_kinds(table)
    assert (faint['snr_low'], faint['snr_high']) == (3.0, 10.0)
    assert (bright['snr_low'], bright['snr_high']) == (50.0, None)
    assert (faint['n_stars'], faint['n_galaxies']) == (48, 49)
    assert bright['area'] == bright['stars_kept'] == 1
    assert faint['stars_kept'] < faint['area'] < 1
    assert_allclose([bright['median_star'], bright['median_galaxy']], [1, 0.6], 0.02)


def test_nothing_to_compare(table):
    table['is_star'][:] = True
    assert summarize_kinds(table) == []


@pytest.mark.parametrize('seed', [0, 1])
def test_area_is_a_fraction_of_pairs(seed):
    rng = np.random.default_rng(seed)
    stars, galaxies = rng.integers(2, 9, 40), rng.integers(0, 7, 30)
    difference = stars[:, None] - galaxies
    expected = np.mean((difference > 0) + 0.5 * (difference == 0))
    assert_allclose(roc_area(stars, galaxies), expected)
    assert_allclose(roc_area(galaxies, stars), 1 - expected)
    # of no order or unit of the scores
    assert_allclose(roc_area(np.exp(stars[::-1]), np.exp(galaxies)), expected)


def test_bins_hold_their_lower_edge(table):
    """What is fainter than the first has none."""
    snr = np.array([2.9, 2.9, 3.0, 3.0, 9.99, 9.99, 10.0, 10.0, 20.0, 50.0, 1e9])
    score = np.arange(11.0)
    is_star = np.array([1, 0, 1, 0, 1, 0, 1, 0, 1, 1, 1], dtype=bool)
    rows = summarize_kinds({'concentration': score, 'snr': snr, 'is_star': is_star})
    # 20 and more have no galaxy
    assert [row['snr_low'] for row in rows] == [3, 10]
    assert [(row['n_stars'], row['n_galaxies']) for row in rows] == [(2, 2), (1, 1)]
    assert [row['median_star'] for row in rows] == [3, 6]
    assert [row['median_galaxy'] for row in rows] == [4, 7]


def test_medians_and_limit_by_hand():
    """A tenth of eleven galaxies exceeds the second highest; one star does."""
    galaxies, stars = np.arange(11.0), np.array([0.0, 0.0, 9.0, 100.0])
    table = {
        'concentration': np.concatenate([stars, galaxies]),
        'snr': np.full(15, 60.0),
        'is_star': np.arange(15) < 4,
    }
    (row,) = summarize_kinds(table)
    assert (row['median_star'], row['median_galaxy']) == (4.5, 5.0)
    assert row['stars_kept'] == 0.25
