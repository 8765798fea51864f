# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of training on counts: short runs of tiny networks."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import bgrem
from bgrem.nn import CountsOutput, UNetConfig
from bgrem.pipeline import separate
from bgrem.simulate import CountsComposer, CountsConfig, draw_counts_bank
from bgrem.tests.train import conftest as tiny
from bgrem.train import TrainingConfig, load_config, train
from bgrem.train.count_examples import (
    CountsExamples,
    counts_loss,
    draw_counts_examples,
    make_counts_examples,
)
from bgrem.weights import load_weights

TINY = replace(tiny.TINY, transfer='counts')
CONFIG = replace(
    tiny.CONFIG,
    network=TINY,
    counts=CountsConfig(n_patches=8, patch_size=48),
    n_steps=3,
    batch_size=4,
)


def test_run_and_resume(tmp_path):
    # a GPU adds up in another order each time
    options = {'device': 'cpu', 'progress': False}
    whole = train(replace(CONFIG, decay='exponential'), tmp_path / 'a', **options)
    half = replace(CONFIG, decay='exponential', n_steps=2)
    train(half, tmp_path / 'b', **options)
    again = train(replace(half, n_steps=3), tmp_path / 'b', **options)
    whole, again = (load_weights(path) for path in (whole, again))
    for name, tensor in whole.network().state_dict().items():
        torch.testing.assert_close(again.network().state_dict()[name], tensor)
    assert whole.is_for_counts
    assert TrainingConfig.from_dict(whole.header['training']['config']) == replace(
        CONFIG, decay='exponential'
    )
    with (tmp_path / 'a' / 'log.csv').open() as handle:
        rows = list(csv.DictReader(handle))
    assert [row['step'] for row in rows] == ['2', '3']
    assert {'validation_few', 'validation_many'} <= set(rows[0])
    found = separate(np.ones((40, 50)), weights=whole)
    assert found.sky.shape == (40, 50)


def test_wide_crops():
    """As many pixels, in crops that are half as wide again."""
    counts = replace(CONFIG.counts, wide_fraction=0.5)
    config = replace(CONFIG, counts=counts, batch_size=9)
    composer = CountsComposer(draw_counts_bank(counts))
    shapes = {
        draw_counts_examples(
            composer, config, torch.Generator().manual_seed(n)
        ).counts.shape
        for n in range(12)
    }
    assert shapes == {(9, 1, 32, 32), (4, 1, 48, 48)}
    with pytest.raises(ValueError, match='crop_size must fit the patch_size of counts'):
        replace(CONFIG, counts=replace(counts, patch_size=40))


def test_network_of_images_on_counts(tmp_path):
    """The paper's network sees expected counts as an image."""
    network = UNetConfig(widths=(4, 8), image_channels=4, attention_gates=0)
    config = replace(
        CONFIG,
        network=network,
        loss_space='background',
        normalization='global',
        measured_fraction=1.0,
    )
    weights = load_weights(train(config, tmp_path, progress=False))
    assert not weights.is_for_counts


@pytest.fixture(scope='module')
def composer():
    return CountsComposer(draw_counts_bank(CONFIG.counts))


def test_what_the_network_is_shown(composer):
    generator = torch.Generator().manual_seed(4)
    examples = draw_counts_examples(composer, CONFIG, generator)
    assert examples.counts.shape == (4, 1, 32, 32)
    for image in examples[:5]:
        assert image.isfinite().all()
        assert (image >= 0).all()
    assert (examples.level > 0).all()
    assert (examples.counts == examples.level)[~examples.valid].all()
    assert (examples.centers.amax(dim=(1, 2, 3)) <= 1).all()


def test_level_is_that_of_the_sky(composer):
    generator = torch.Generator().manual_seed(4)
    batch = composer.compose(24, 48, generator)
    examples = make_counts_examples(batch, 1.0, generator)
    held, known = (
        (one * examples.valid).sum(dim=(1, 2, 3))
        for one in (batch.counts, examples.level)
    )
    enough = held > 400
    assert enough.sum() > 10
    ratio = known[enough] / batch.sky.sum(dim=(1, 2, 3))[enough]
    # with the light of sources that cannot be told from it
    assert 0.9 < ratio.median() < 1.2
    assert ((ratio > 0.6) & (ratio < 3)).all()


def test_loss_of_the_truth(composer):
    generator = torch.Generator().manual_seed(4)
    examples = draw_counts_examples(composer, CONFIG, generator)
    sure = torch.where(examples.centers > 0.5, 8.0, -8.0)
    sky = examples.sky.clamp(min=1e-9)
    truth = CountsOutput(examples.source, sky, sure)
    wrong = CountsOutput(examples.source + 3, sky, sure)
    assert abs(counts_loss(truth, examples, 0.0)) < 1e-4
    assert counts_loss(wrong, examples, 0.0) > 0.01
    assert counts_loss(truth, CountsExamples(*examples), 5.0) < 1


def test_counts_are_needed():
    with pytest.raises(ValueError, match='counts must be given'):
        replace(CONFIG, counts=None)


def test_crops_fit_into_the_patches():
    with pytest.raises(ValueError, match='crop_size must fit the patch_size of'):
        replace(CONFIG, crop_size=64)


@pytest.mark.parametrize('name', ['fermi-lat', 'fermi-paper'])
def test_configurations(name):
    path = Path(bgrem.__file__).parents[1] / 'configs' / f'{name}.toml'
    if not path.exists():
        pytest.skip('installed without configs')
    config = load_config(path)
    assert config.name == name
    assert TrainingConfig.from_dict(config.to_dict()) == config
