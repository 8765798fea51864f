# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of bgrem.train.validation."""

import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from bgrem.simulate import SceneComposer
from bgrem.tests.train.conftest import CONFIG
from bgrem.train import validation
from bgrem.train.validation import Validation, find_score_peaks

CPU = torch.device('cpu')


@pytest.fixture
def make(bank, monkeypatch):
    """Return a function that makes the validation on flat scenes."""
    monkeypatch.setattr(validation, 'FAMILIES', {'flat': CONFIG.scene})
    monkeypatch.setattr(validation, 'VALIDATION_FAMILIES', ('flat',))
    composer = SceneComposer(bank, CONFIG.scene)
    return lambda device=CPU: Validation(bank, CONFIG, device, composer)


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
    n_each = []

    def truth(network, examples):
        peaks = find_score_peaks(examples.centers)
        n_each.append(sum(len(rank) for _, rank in peaks))
        return torch.tensor(0.25), examples.centers

    metrics = make()(None, truth)
    n_true = n_each[0]
    assert metrics['loss'] == metrics['family_loss'] == 0.25
    assert metrics['detections'] == metrics['flat']
    assert n_true > 10
    assert 0.9 * n_true <= metrics['flat'] <= n_true
    assert make()(None, truth) == metrics
    blind = make()(None, lambda _, examples: (1.0, 0 * examples.centers))
    assert blind['detections'] == 0


def test_loss_is_of_scenes_like_those_of_the_training(make):
    """They come last, and are of the size of a crop; families have their own mean."""
    sizes = []

    def count(_, examples):
        sizes.append(examples.image.shape[-1])
        return torch.tensor(float(len(sizes))), examples.centers

    metrics = make()(None, count)
    assert sizes == [256, CONFIG.crop_size]
    assert metrics['loss'] == 2.0
    assert metrics['family_loss'] == 1.0
    assert 'own' not in metrics


def test_scenes_are_the_same_on_all_devices(make):
    """They are made on the CPU; the network finds them on its own device."""
    batch, examples = make()._scenes['own']
    other, elsewhere = make(torch.device('meta'))._scenes['own']
    assert_array_equal(batch.image, other.image)
    assert {one.device.type for one in examples} == {'cpu'}
    assert {one.device.type for one in elsewhere} == {'meta'}
