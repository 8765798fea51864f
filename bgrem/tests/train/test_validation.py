# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of bgrem.train.validation."""

import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from bgrem.tests.train.conftest import CONFIG
from bgrem.train import validation
from bgrem.train.validation import Validation, find_score_peaks

CPU = torch.device('cpu')


@pytest.fixture
def make(bank, monkeypatch):
    """Return a function that makes the validation on flat scenes."""
    monkeypatch.setattr(validation, 'FAMILIES', {'flat': CONFIG.scene})
    monkeypatch.setattr(validation, 'VALIDATION_FAMILIES', ('flat',))
    return lambda: Validation(bank, CONFIG, CPU, None)


def test_peaks_of_a_score():
    """Highest first, those of each map alone; what is as low as the rest is none."""
    score = torch.zeros(3, 1, 20, 30)
    score[0, 0, 5, 6], score[0, 0, 12, 20], score[0, 0, 12, 21] = 1.0, 3.0, 2.0
    score[2, 0, 19, 0] = 0.5
    (place, rank), (nowhere, _), (corner, _) = find_score_peaks(score)
    assert_array_equal(place, [[12, 20], [5, 6]])
    assert_allclose(rank, [3, 1])
    assert_array_equal(corner, [[19, 0]])
    assert nowhere.shape == (0, 2)


def test_score(make):
    """The truth finds all sources, and nothing finds none; scenes are the same."""
    n_true = 0

    def truth(network, examples):
        nonlocal n_true
        n_true = sum(len(rank) for _, rank in find_score_peaks(examples.centers))
        return torch.tensor(0.25), examples.centers

    metrics = make()(None, truth)
    assert metrics['loss'] == 0.25
    assert metrics['detections'] == metrics['flat']
    assert n_true > 10
    assert 0.9 * n_true <= metrics['flat'] <= n_true
    assert make()(None, truth) == metrics
    blind = make()(None, lambda _, examples: (1.0, 0 * examples.centers))
    assert blind['detections'] == 0
