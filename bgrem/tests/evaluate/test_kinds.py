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
