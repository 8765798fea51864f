"""
Tests of bgrem.evaluate.curves.
"""

import numpy as np
import pytest

from bgrem.evaluate.curves import (
    CONTAMINATIONS,
    detection_curve,
    threshold_at,
    true_positives_at,
)

# By falling score: T T F T T T T T F F
SCORES = np.arange(10, 0, -1.0)
IS_TRUE = np.array([1, 1, 0, 1, 1, 1, 1, 1, 0, 0], dtype=bool)


def test_curve_by_hand():
    thresholds, n_true, n_false = detection_curve(SCORES, IS_TRUE)
    np.testing.assert_array_equal(thresholds, SCORES)
    np.testing.assert_array_equal(n_true, [1, 2, 2, 3, 4, 5, 6, 7, 7, 7])
    np.testing.assert_array_equal(n_false, [0, 0, 1, 1, 1, 1, 1, 1, 2, 3])


@pytest.mark.parametrize(
    ('contamination', 'n_true'),
    [
        (0.0, 2),  # before the first false detection
        (0.1, 2),  # 1 of 8 is already 12.5%
        (0.125, 7),  # exactly one of eight
        (0.2, 7),
        (0.3, 7),  # three of ten
        (1.0, 7),
    ],
)
def test_contamination_by_hand(contamination, n_true):
    np.testing.assert_array_equal(
        true_positives_at(SCORES, IS_TRUE, [contamination]), [n_true]
    )


def test_order_of_input_does_not_matter():
    shuffle = np.random.default_rng(0).permutation(10)
    np.testing.assert_array_equal(
        true_positives_at(SCORES[shuffle], IS_TRUE[shuffle]),
        true_positives_at(SCORES, IS_TRUE),
    )


def test_perfect_detector_finds_everything():
    np.testing.assert_array_equal(
        true_positives_at(np.arange(25), np.ones(25, dtype=bool)),
        np.full(len(CONTAMINATIONS), 25),
    )


def test_only_false_detections():
    np.testing.assert_array_equal(
        true_positives_at(np.arange(25), np.zeros(25, dtype=bool)), 0
    )
    assert threshold_at(np.arange(25), np.zeros(25, dtype=bool), 0.2) == np.inf


def test_no_detections():
    np.testing.assert_array_equal(true_positives_at([], []), 0)


def test_ties_enter_together():
    # The true one of a tied pair cannot be had without the false one.
    scores, is_true = [3.0, 2.0, 2.0, 1.0], [True, True, False, True]
    thresholds, n_true, n_false = detection_curve(scores, is_true)
    np.testing.assert_array_equal(thresholds, [3, 2, 1])
    np.testing.assert_array_equal(n_true, [1, 2, 3])
    np.testing.assert_array_equal(n_false, [0, 1, 1])
    np.testing.assert_array_equal(true_positives_at(scores, is_true, [0.0]), [1])


def test_threshold_gives_the_promised_contamination():
    rng = np.random.default_rng(3)
    is_true = rng.random(2000) < 0.5
    scores = rng.normal(np.where(is_true, 2.0, 0.0), 1.0)
    for contamination in CONTAMINATIONS:
        kept = scores >= threshold_at(scores, is_true, contamination)
        assert np.mean(~is_true[kept]) <= contamination
        n_true = true_positives_at(scores, is_true, [contamination])
        assert np.sum(is_true[kept]) == n_true[0] > 0


@pytest.fixture(params=[0, 1, 2])
def drawn(request):
    """Scores with ties, and whether they are true."""
    rng = np.random.default_rng(request.param)
    return rng.integers(0, 25, 80) / 4, rng.random(80) < 0.6


def test_against_every_threshold(drawn):
    """The lowest that is clean enough, of all that there are."""
    scores, is_true = drawn
    for contamination in (0.0, 0.1, 0.3, 0.5, 1.0):
        clean = [
            t
            for t in np.unique(scores)
            if np.mean(~is_true[scores >= t]) <= contamination
        ]
        expected = min(clean, default=np.inf)
        assert threshold_at(scores, is_true, contamination) == expected
        n_true = true_positives_at(scores, is_true, [contamination])
        assert n_true == np.sum(is_true & (scores >= expected))


def test_curve_counts_all_and_only_rises(drawn):
    scores, is_true = drawn
    thresholds, n_true, n_false = detection_curve(scores, is_true)
    np.testing.assert_array_equal(thresholds, np.unique(scores)[::-1])
    assert np.all(np.diff(n_true) >= 0)
    assert np.all(np.diff(n_false) >= 0)
    assert np.all(np.diff(n_true + n_false) > 0)
    assert (n_true[-1], n_false[-1]) == (is_true.sum(), (~is_true).sum())
    # true and false exchanged
    _, *others = detection_curve(scores, ~is_true)
    np.testing.assert_array_equal(others, [n_false, n_true])


def test_more_contamination_more_sources(drawn):
    scores, is_true = drawn
    rates = np.linspace(0, 1, 21)
    n_true = true_positives_at(scores, is_true, rates)
    assert np.all(np.diff(n_true) >= 0)
    assert n_true[-1] == is_true.sum()
    # only the order of the scores counts
    np.testing.assert_array_equal(
        true_positives_at(scores**3 - 9, is_true, rates), n_true
    )


def test_bad_input():
    with pytest.raises(ValueError, match='contamination must be between 0 and 1'):
        true_positives_at(SCORES, IS_TRUE, [1.5])
    with pytest.raises(ValueError, match='scores and is_true must have the same'):
        detection_curve(SCORES, IS_TRUE[:3])
    with pytest.raises(ValueError, match='scores must not contain NaN'):
        detection_curve([np.nan], [True])
