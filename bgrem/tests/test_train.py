"""
Tests of bgrem.train: short runs of a tiny network.
"""

import csv
from dataclasses import replace

import pytest
import torch

from bgrem.nn import UNetConfig
from bgrem.simulate import FAMILIES, SceneComposer, build_stamp_bank
from bgrem.train import TrainingConfig, load_config, train
from bgrem.train import loop as loop_module
from bgrem.train.__main__ import main
from bgrem.train.examples import center_blobs, make_examples
from bgrem.weights import load_weights

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


class _FlatValidation:
    """
    The real validation wants a bank with PSFs of every family.
    """

    def __init__(self, bank, config, device):
        self.examples = make_examples(
            SceneComposer(bank, CONFIG.scene).compose(
                1, 64, torch.Generator().manual_seed(1)
            ),
            torch.Generator().manual_seed(1),
            jitter=False,
        )

    def __call__(self, network, loss):
        with torch.no_grad():
            return {'loss': float(loss(network, self.examples)[0])}


@pytest.fixture(scope='module')
def bank():
    pytest.importorskip('galsim')
    return build_stamp_bank(1, seed=3)


@pytest.fixture
def folder(bank, tmp_path, monkeypatch):
    bank.save(tmp_path / 'bank.safetensors')
    monkeypatch.setattr(loop_module, 'Validation', _FlatValidation)
    return tmp_path


def run(folder, config=CONFIG, **kwargs):
    return load_weights(train(config, folder, progress=False, **kwargs))


def state(weights):
    return weights.network().state_dict()


class TestTrain:
    def test_writes_weights_and_log(self, folder):
        weights = run(folder)
        assert weights.name == 'tiny'
        assert weights.config == TINY
        assert weights.header['training']['steps'] == 4
        with (folder / 'log.csv').open() as handle:
            rows = list(csv.DictReader(handle))
        assert [row['step'] for row in rows] == ['2', '4']

    def test_resumed_run_equals_uninterrupted(self, folder, bank, tmp_path):
        other = tmp_path / 'other'
        bank.save(other / 'bank.safetensors')
        # The exponential decay does not depend on the length of the run.
        config = replace(CONFIG, decay='exponential', decay_steps=1)
        whole = state(run(folder, config))
        run(other, replace(config, n_steps=2))
        resumed = state(run(other, config))
        for name, tensor in whole.items():
            torch.testing.assert_close(resumed[name], tensor)

    def test_stop_after_leaves_a_checkpoint(self, folder):
        run(folder, stop_after=0.0)
        with (folder / 'log.csv').open() as handle:
            assert [row['step'] for row in csv.DictReader(handle)] == ['1']

    def test_learns(self, folder):
        config = replace(CONFIG, n_steps=60, validate_every=20, learning_rate=5e-3)
        run(folder, config)
        with (folder / 'log.csv').open() as handle:
            losses = [float(row['validation_loss']) for row in csv.DictReader(handle)]
        assert losses[-1] < losses[0]

    def test_resumed_muon_equals_uninterrupted(self, folder, bank, tmp_path):
        other = tmp_path / 'other'
        bank.save(other / 'bank.safetensors')
        config = replace(CONFIG, optimizer='muon', decay='exponential')
        whole = state(run(folder, config))
        run(other, replace(config, n_steps=2))
        resumed = state(run(other, config))
        for name, tensor in whole.items():
            torch.testing.assert_close(resumed[name], tensor)

    def test_muon_moves_every_parameter(self, folder):
        torch.manual_seed(CONFIG.seed)
        fresh = loop_module.AttentionUNet(TINY).state_dict()
        moved = state(run(folder, replace(CONFIG, optimizer='muon', ema=0.0)))
        for name, tensor in moved.items():
            assert not torch.equal(tensor, fresh[name].half().float()), name

    @pytest.mark.parametrize('loss', ['mae', 'mse', 'huber'])
    def test_paper_losses(self, folder, loss):
        network = UNetConfig(widths=(4, 8), image_channels=4, attention_gates=1)
        config = replace(CONFIG, network=network, loss=loss, loss_space='background')
        assert run(folder, config).config.center_head is False

    def test_other_configuration_is_refused(self, folder):
        run(folder)
        with pytest.raises(ValueError, match='holds a run of another configuration'):
            run(folder, replace(CONFIG, learning_rate=1e-4))

    def test_spikes_are_skipped_and_bad_weights_left(self, folder, monkeypatch):
        monkeypatch.setattr(loop_module, '_SPIKE', 0.0)
        monkeypatch.setattr(loop_module, '_PATIENCE', 2)
        weights = run(folder)
        torch.manual_seed(CONFIG.seed)
        fresh = loop_module.AttentionUNet(TINY).state_dict()
        for name, tensor in state(weights).items():
            # Weights are stored in half precision.
            assert torch.equal(tensor, fresh[name].half().float())

    def test_starts_from_given_weights(self, folder, bank, tmp_path):
        first = run(folder)
        other = tmp_path / 'other'
        bank.save(other / 'bank.safetensors')
        config = replace(CONFIG, n_steps=1, learning_rate=1e-12, seed=9)
        started = state(run(other, config, init=first.path))
        for name, tensor in state(first).items():
            torch.testing.assert_close(started[name], tensor, rtol=0, atol=1e-4)

    def test_weights_of_another_network_are_refused(self, folder):
        with pytest.raises(ValueError, match='init must be weights of the network of'):
            run(folder, init='optical')

    def test_early_stopping(self, folder):
        config = replace(CONFIG, n_steps=50, learning_rate=1e-12, patience=1)
        assert run(folder, config).header['training']['steps'] < 50


class TestExamples:
    def test_truth_is_consistent(self, bank):
        generator = torch.Generator().manual_seed(4)
        batch = SceneComposer(bank, CONFIG.scene).compose(2, 64, generator)
        examples = make_examples(batch, generator, jitter=False)
        background = examples.image - examples.source
        assert float(background.std()) == pytest.approx(1, abs=0.05)
        assert float(background.mean()) == pytest.approx(0, abs=0.05)

    def test_blobs_peak_at_centers(self):
        catalog = {
            'scene': torch.tensor([0, 0]),
            'x': torch.tensor([10.0, 3.0]),
            'y': torch.tensor([5.0, 3.0]),
            'snr': torch.tensor([5.0, 1.9]),
        }
        blobs = center_blobs(catalog, (1, 1, 16, 16), 1.0)
        assert float(blobs[0, 0, 5, 10]) == 1
        assert float(blobs[0, 0, 5, 11]) == pytest.approx(0.6065, abs=1e-4)
        # The source below S/N 2 is not marked.
        assert float(blobs[0, 0, 3, 3]) < 1e-3


class TestConfig:
    def test_round_trip(self):
        assert TrainingConfig.from_dict(CONFIG.to_dict()) == CONFIG

    def test_shipped_configs_load(self, request):
        configs = sorted((request.config.rootpath / 'configs').glob('*.toml'))
        if not configs:
            pytest.skip('configs/ is not installed')
        for path in configs:
            assert load_config(path).name == path.stem

    def test_not_toml(self, tmp_path):
        path = tmp_path / 'bad.toml'
        path.write_text('name = ')
        with pytest.raises(ValueError, match='config must be a TOML file'):
            load_config(path)

    def test_unknown_key(self):
        with pytest.raises(ValueError, match=r"unknown keys: \['epochs'\]"):
            TrainingConfig.from_dict({'name': 'a', 'epochs': 3})

    def test_name_is_needed(self):
        with pytest.raises(ValueError, match='must have a name'):
            TrainingConfig.from_dict({})

    @pytest.mark.parametrize(
        ('name', 'value'),
        [('n_steps', 0), ('optimizer', 'sgd'), ('muon_learning_rate', 0),
         ('learning_rate', 0), ('ema', 2), ('decay', 'linear'), ('loss', 'l0'),
         ('crop_size', 30)],
    )  # fmt: skip
    def test_bad_value(self, name, value):
        with pytest.raises(ValueError, match=f'{name} must'):
            replace(CONFIG, **{name: value})


def test_command(folder, capsys):
    config = folder / 'tiny.toml'
    config.write_text(
        'name = "tiny"\nn_steps = 1\nbatch_size = 1\ncrop_size = 32\ntile_size = 64\n'
        'tile_overlap = 16\n[network]\nwidths = [4, 8]\nattention_gates = 0\n'
    )
    assert main([str(config), '-o', str(folder), '--quiet']) == 0
    assert load_weights(capsys.readouterr().out.strip()).name == 'tiny'
