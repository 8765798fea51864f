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


def test_bad_input():
    with pytest.raises(ValueError, match='contamination must be between 0 and 1'):
        true_positives_at(SCORES, IS_TRUE, [1.5])
    with pytest.raises(ValueError, match='scores and is_true must have the same'):
        detection_curve(SCORES, IS_TRUE[:3])
    with pytest.raises(ValueError, match='scores must not contain NaN'):
        detection_curve([np.nan], [True])
