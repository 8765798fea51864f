# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A tiny training, shared by the tests of it."""

from dataclasses import replace

import pytest
import torch

from bgrem.nn import UNetConfig
from bgrem.simulate import FAMILIES, SceneComposer, build_stamp_bank
from bgrem.train import TrainingConfig
from bgrem.train import loop as loop_module
from bgrem.train.examples import Examples, make_examples

TINY = UNetConfig(
    widths=(4, 8),
    image_channels=4,
    embedding_dim=4,
    attention_gates=0,
    unshuffle=2,
    transfer='arcsinh',
    center_head=True,
)
CONFIG = TrainingConfig(
    name='tiny',
    network=TINY,
    scene=replace(FAMILIES['flat'], fwhm=(1.5, 7.0)),
    n_steps=4,
    batch_size=2,
    crop_size=32,
    warmup_steps=0,
    validate_every=2,
    validation_scenes=1,
    tile_size=64,
    tile_overlap=16,
)


class FlatValidation:
    """
    The real validation wants a bank with PSFs of every family.
    """

    def __init__(self, bank, config, device, composer):
        examples = make_examples(
            SceneComposer(bank, CONFIG.scene).compose(
                1, 64, torch.Generator().manual_seed(1)
            ),
            torch.Generator().manual_seed(1),
            jitter=False,
        )
        self.examples = Examples(*(one.to(device) for one in examples))

    def __call__(self, network, loss):
        with torch.no_grad():
            return {'loss': float(loss(network, self.examples)[0])}


@pytest.fixture(scope='session')
def bank():
    pytest.importorskip('galsim')
    return build_stamp_bank(1, seed=3)


@pytest.fixture
def folder(bank, tmp_path, monkeypatch):
    """A folder for a run, with its stamps, validated on a flat scene."""
    bank.save(tmp_path / 'bank.safetensors')
    monkeypatch.setattr(loop_module, 'Validation', FlatValidation)
    return tmp_path
