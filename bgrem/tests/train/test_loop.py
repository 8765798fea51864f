"""
Tests of bgrem.train: short runs of a tiny network.
"""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from astropy.io import fits
from numpy.testing import assert_allclose
from scipy.ndimage import gaussian_filter

from bgrem import DiffusionBackground
from bgrem.nn import CosineSchedule, UNetConfig
from bgrem.simulate import SceneComposer, StampBank
from bgrem.sky.normalize import estimate_normalization
from bgrem.tests.train.conftest import CONFIG, TINY, FlatValidation
from bgrem.train import TrainingConfig, fine_tuning_config, load_config, train
from bgrem.train import loop as loop_module
from bgrem.train.__main__ import main
from bgrem.train.examples import center_blobs, draw_examples, make_examples
from bgrem.train.frames import FrameComposer, read_frames
from bgrem.weights import load_weights, save_weights

TOML = (
    'name = "tiny"\nn_steps = 1\nbatch_size = 1\ncrop_size = 32\ntile_size = 64\n'
    'tile_overlap = 16\n[network]\nwidths = [4, 8]\nattention_gates = 0\n'
)


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
        # a GPU adds up in another order each time
        whole = state(run(folder, config, device='cpu'))
        run(other, replace(config, n_steps=2), device='cpu')
        resumed = state(run(other, config, device='cpu'))
        for name, tensor in whole.items():
            torch.testing.assert_close(resumed[name], tensor)

    def test_log_of_another_validation_gets_its_columns(self, folder):
        run(folder, replace(CONFIG, n_steps=2))
        log = folder / 'log.csv'
        lines = log.read_text().replace('validation_loss', 'other_loss')
        log.write_text(lines)
        state = torch.load(folder / 'state.pt', weights_only=True)
        torch.save({**state, 'best': 0.0, 'waited': 5}, folder / 'state.pt')
        run(folder)
        with log.open() as handle:
            rows = list(csv.DictReader(handle))
        assert [row['step'] for row in rows] == ['2', '4']
        assert rows[0]['other_loss']
        assert [row['validation_loss'] == '' for row in rows] == [True, False]
        assert [row['other_loss'] == '' for row in rows] == [False, True]
        # losses of two validations are not compared
        state = torch.load(folder / 'state.pt', weights_only=True)
        assert state['best'] == pytest.approx(float(rows[1]['validation_loss']))
        assert state['waited'] == 0

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
        # a GPU adds up in another order each time
        whole = state(run(folder, config, device='cpu'))
        run(other, replace(config, n_steps=2), device='cpu')
        resumed = state(run(other, config, device='cpu'))
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

    def test_large_variances_survive(self, folder):
        network = UNetConfig(widths=(4, 8), image_channels=4, attention_gates=1)
        config = replace(CONFIG, network=network, n_steps=1, loss_space='background')
        run(folder, config)
        path = folder / 'state.pt'
        checkpoint = torch.load(path, weights_only=True)
        for part in ('network', 'average'):
            checkpoint[part]['gates.0.skip.1.running_var'].fill_(1e6)
        torch.save(checkpoint, path)
        saved = state(run(folder, replace(config, n_steps=2)))
        assert float(saved['gates.0.skip.1.running_var'].min()) > 65504

    def test_other_configuration_is_refused(self, folder):
        run(folder)
        with pytest.raises(ValueError, match='holds a run of another configuration'):
            run(folder, replace(CONFIG, learning_rate=1e-4))

    def test_bank_is_that_of_the_configuration(self, folder, bank, monkeypatch):
        """Also where an earlier run was stopped before its first checkpoint."""
        drawn = []

        def draw(n_psf, **options):
            drawn.append((n_psf, options['seed']))
            return bank

        monkeypatch.setattr(loop_module, 'cached_stamp_bank', draw)

        def start(**changes):
            config = replace(CONFIG, **changes)
            loop_module._Run(config, folder / 'run', torch.device('cpu'), 1, None)

        for _ in range(2):
            start(bank_psfs=5)
        assert drawn == [(5, 1)]
        start(bank_psfs=5, bank_seed=2, learning_rate=1e-4)
        assert drawn == [(5, 1), (5, 2)]
        # that of a run of another configuration stays
        run(folder / 'run', replace(CONFIG, bank_psfs=5, bank_seed=2, n_steps=1))
        with pytest.raises(ValueError, match='holds a run of another configuration'):
            start(bank_psfs=6)
        assert (folder / 'run' / 'bank.safetensors').exists()
        assert len(drawn) == 2

    def test_full_disk_at_the_end(self, folder, monkeypatch):
        """What could not be written then is written by the next call."""
        save = loop_module.save_weights

        def fail(path, state, header):
            if header['training']['steps'] == 4:
                msg = 'disk full'
                raise OSError(msg)
            save(path, state, header)

        with monkeypatch.context() as patch:
            patch.setattr(loop_module, 'save_weights', fail)
            with pytest.raises(OSError, match='disk full'):
                run(folder)
        assert run(folder).header['training']['steps'] == 4

    def test_state_without_newer_options_is_resumed(self, folder):
        run(folder, replace(CONFIG, n_steps=2))
        state = torch.load(folder / 'state.pt', weights_only=True)
        for name in ('min_peak', 'inference_schedule', 'noise_frames', 'noise_gain'):
            del state['config'][name]
        torch.save(state, folder / 'state.pt')
        assert run(folder).header['training']['steps'] == 4

    def test_released_schedule(self, folder):
        schedule = CosineSchedule(min_signal_rate=0.0)
        config = replace(CONFIG, n_steps=1, schedule=schedule)
        assert run(folder, config).schedule == schedule
        released = CosineSchedule(min_signal_rate=0.01)
        other = replace(config, name='b', inference_schedule=released)
        (folder / 'state.pt').unlink()
        assert run(folder, other).schedule == released

    def test_paper_weights_detect(self, folder, bank):
        network = UNetConfig(widths=(4, 8), image_channels=4, attention_gates=1)
        config = replace(CONFIG, n_steps=1, network=network, loss_space='background',
                         normalization='global', inference_steps=2)  # fmt: skip
        weights = run(folder, config)
        # A network that predicts no background leaves the normalized image.
        tensors = state(weights)
        empty = {
            name: torch.zeros_like(value) if name.startswith('head') else value
            for name, value in tensors.items()
        }
        path = folder / 'empty.safetensors'
        save_weights(path, empty, weights.header)
        data = np.random.default_rng(8).normal(100, 2, (96, 96))
        data[40:43, 50:53] += 200
        bkg = DiffusionBackground(data, 32, weights=path, normalization='global')
        expected = np.maximum(data - np.median(data), 0)
        assert_allclose(bkg.subtract(denoise=True, clip=True), expected, atol=0.5)
        assert bkg.detection_probability[41, 51] > 0.99
        segments = bkg.detect(threshold=0.99)
        assert segments.n_labels == 1
        assert segments.data[41, 51] == 1
        assert bkg.meta['n_steps'] == 2

    def test_spikes_are_skipped_and_bad_weights_left(self, folder, monkeypatch):
        monkeypatch.setattr(loop_module, '_SPIKE', 0.0)
        monkeypatch.setattr(loop_module, '_PATIENCE', 2)
        weights = run(folder)
        torch.manual_seed(CONFIG.seed)
        fresh = loop_module.AttentionUNet(TINY).state_dict()
        for name, tensor in state(weights).items():
            # Weights are stored in half precision.
            assert torch.equal(tensor, fresh[name].half().float())

    def test_families_beside_the_scene(self, folder, monkeypatch):
        seen = []

        def draw(composer, config, generator):
            seen.append(composer.config)
            return draw_examples(composer, config, generator)

        monkeypatch.setattr(loop_module, 'draw_examples', draw)
        family = replace(CONFIG.scene, density=(1e-3, 1e-3))
        monkeypatch.setattr(loop_module, 'FAMILIES', {'sparse': family})
        run(folder, replace(CONFIG, family_fraction=0.5, n_steps=30))
        assert 8 <= seen.count(family) <= 22
        assert seen.count(family) + seen.count(CONFIG.scene) == 30

    def test_starts_from_given_weights(self, folder, bank, tmp_path):
        first = run(folder)
        other = tmp_path / 'other'
        bank.save(other / 'bank.safetensors')
        config = replace(CONFIG, n_steps=1, learning_rate=1e-12, seed=9)
        started = state(run(other, config, init=first.path))
        for name, tensor in state(first).items():
            torch.testing.assert_close(started[name], tensor, rtol=0, atol=1e-4)

    def test_weights_of_another_network_are_refused(self, folder):
        with pytest.raises(ValueError, match='init must be weights of the same'):
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

    def test_measured_normalization_is_that_of_inference(self, bank):
        generator = torch.Generator().manual_seed(5)
        batch = SceneComposer(bank, CONFIG.scene).compose(2, 64, generator)
        examples = make_examples(
            batch, generator, jitter=False, method='global', measured_fraction=1.0
        )
        image = batch.image[1, 0].numpy()
        expected = estimate_normalization(image, method='global').forward(image)
        assert_allclose(examples.image[1, 0].numpy(), expected, rtol=1e-5, atol=1e-5)

    def test_faint_crops_are_replaced(self, bank):
        composer = SceneComposer(bank, CONFIG.scene)
        batch = composer.compose(20, 32, torch.Generator().manual_seed(6))
        peaks = batch.source.amax(dim=(1, 2, 3))
        config = replace(CONFIG, batch_size=20, min_peak=float(peaks.median()))
        generator = torch.Generator().manual_seed(6)
        examples = draw_examples(composer, config, generator)
        assert len(examples.image) == 20
        # The jittered scale of the noise is within a factor of two.
        noise = float(batch.sigma.mean())
        assert float(examples.source.amax(dim=(1, 2, 3)).min()) > (
            config.min_peak / noise / 2
        )

    def test_peak_no_scene_reaches(self, bank):
        composer = SceneComposer(bank, CONFIG.scene)
        config = replace(CONFIG, min_peak=1e9)
        with pytest.raises(ValueError, match='min_peak must leave some crops'):
            draw_examples(composer, config, torch.Generator().manual_seed(6))

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


@pytest.fixture
def frames(tmp_path):
    """
    A folder of two frames of correlated noise on different levels.
    """
    folder = tmp_path / 'frames'
    folder.mkdir()
    rng = np.random.default_rng(7)
    for number in range(2):
        noise = gaussian_filter(rng.normal(size=(80, 100)), 1.5)
        data = 1000 * (number + 1) + 12 * noise / noise.std()
        fits.writeto(folder / f'sky{number}.fits', data.astype('f4'))
    return folder


def compose_on_frames(bank, config):
    return FrameComposer(bank, config.scene, read_frames(config))


class TestFrames:
    def test_background_is_the_frame(self, bank, frames):
        config = replace(CONFIG, noise_frames=str(frames))
        batch = compose_on_frames(bank, config).compose(
            6, 32, torch.Generator().manual_seed(3)
        )
        background = batch.background[:, 0].numpy()
        assert float(batch.source.max()) > 12
        every = [fits.getdata(path) for path in sorted(frames.iterdir())]
        used = set()
        for crop in background:
            number = round(float(np.median(crop)) / 1000) - 1
            used.add(number)
            windows = np.lib.stride_tricks.sliding_window_view(every[number], (32, 32))
            error = np.abs(windows - crop).max(axis=(2, 3))
            # float32 counts, from which a bright source was subtracted
            assert error.min() < 0.1
        assert used == {0, 1}

    def test_sources_scale_with_the_noise(self, bank, frames):
        config = replace(CONFIG, noise_frames=str(frames))
        faint = compose_on_frames(bank, config).compose(
            2, 64, torch.Generator().manual_seed(3)
        )
        for path in frames.iterdir():
            fits.writeto(path, 10 * fits.getdata(path), overwrite=True)
        bright = compose_on_frames(bank, config).compose(
            2, 64, torch.Generator().manual_seed(3)
        )
        torch.testing.assert_close(bright.source, 10 * faint.source, rtol=1e-3, atol=0)
        torch.testing.assert_close(
            bright.catalog['flux'], 10 * faint.catalog['flux'], rtol=1e-3, atol=0
        )
        torch.testing.assert_close(bright.catalog['snr'], faint.catalog['snr'])

    @pytest.mark.parametrize('where', ['header', 'option'])
    def test_gain_gives_photon_noise(self, bank, frames, where):
        gain = 0.5
        config = replace(CONFIG, noise_frames=str(frames), crop_size=64)
        plain = compose_on_frames(bank, config)
        if where == 'header':
            for path in frames.iterdir():
                fits.setval(path, 'GAIN', value=gain)
        else:
            config = replace(config, noise_gain=gain)
        noisy = compose_on_frames(bank, config)
        before, after = (
            composer.compose(60, 64, torch.Generator().manual_seed(4))
            for composer in (plain, noisy)
        )
        bright = before.source > 4
        photons = (after.image - before.image)[bright]
        expected = (before.source / gain)[bright]
        assert float((photons**2 / expected).mean()) == pytest.approx(1, abs=0.1)

    def test_missing_pixels_are_masked(self, bank, frames):
        for path in frames.iterdir():
            data = fits.getdata(path)
            data[:, ::2] = np.nan
            fits.writeto(path, data, overwrite=True)
        config = replace(CONFIG, noise_frames=str(frames))
        batch = compose_on_frames(bank, config).compose(
            2, 64, torch.Generator().manual_seed(4)
        )
        assert float(batch.mask.float().mean()) == 0.5
        assert torch.all(batch.image[batch.mask] == 0)
        examples = make_examples(batch, torch.Generator(), method='local')
        assert torch.all(torch.isfinite(examples.image))

    def test_no_images(self, bank, tmp_path):
        config = replace(CONFIG, noise_frames=str(tmp_path / 'nothing'))
        message = r'noise_frames \(--noise-frames\) must be a folder with FITS images '
        with pytest.raises(ValueError, match=f'{message}.*nothing is no folder$'):
            compose_on_frames(bank, config)
        (tmp_path / 'nothing').mkdir()
        with pytest.raises(ValueError, match=f'{message}.*nothing holds nothing$'):
            compose_on_frames(bank, config)
        for name in 'abcd':
            (tmp_path / 'nothing' / f'{name}.png').touch()
        with pytest.raises(ValueError, match=r'holds a\.png, b\.png, c\.png, \.\.\.$'):
            compose_on_frames(bank, config)

    def test_not_fits(self, bank, frames):
        (frames / 'a.fits').write_text('no')
        config = replace(CONFIG, noise_frames=str(frames))
        with pytest.raises(ValueError, match=r'a\.fits cannot be read as FITS'):
            compose_on_frames(bank, config)

    def test_small_frames(self, bank, frames):
        config = replace(CONFIG, noise_frames=str(frames), crop_size=96)
        with pytest.raises(ValueError, match='must be at least 96 px wide and high'):
            compose_on_frames(bank, config)

    @pytest.mark.parametrize('value', [3.0, np.nan])
    def test_constant_frames(self, bank, frames, value):
        fits.writeto(frames / 'flat.fits', np.full((64, 64), value))
        config = replace(CONFIG, noise_frames=str(frames))
        with pytest.raises(ValueError, match='noise_frames must not be constant'):
            compose_on_frames(bank, config)


class TestConfig:
    def test_fine_tuning(self, folder):
        weights = run(folder, replace(CONFIG, n_steps=1))
        config = fine_tuning_config(weights)
        assert config.name == 'tiny-tuned'
        assert config.network == CONFIG.network
        assert config.scene == CONFIG.scene
        assert config.n_steps == 1000

    def test_round_trip(self):
        config = replace(CONFIG, inference_schedule=CosineSchedule())
        assert TrainingConfig.from_dict(config.to_dict()) == config
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
         ('crop_size', 30), ('min_peak', -1), ('normalization', 'mesh'),
         ('noise_gain', 0), ('family_fraction', 1.5)],
    )  # fmt: skip
    def test_bad_value(self, name, value):
        with pytest.raises(ValueError, match=f'{name} must'):
            replace(CONFIG, **{name: value})

    def test_families_or_frames(self):
        with pytest.raises(ValueError, match='family_fraction must be 0 with noise_fr'):
            replace(CONFIG, family_fraction=0.1, noise_frames='somewhere')


def test_command(folder, capsys):
    config = folder / 'tiny.toml'
    config.write_text(TOML)
    assert main([str(config), '-o', str(folder)]) == 0
    captured = capsys.readouterr()
    assert load_weights(captured.out.strip()).name == 'tiny'
    assert 'training tiny: ' in captured.err


def test_quiet_command_draws_the_bank(bank, tmp_path, monkeypatch, capsys):
    """It is kept in the cache, and copied to the folder of the run."""
    asked = []

    def draw(n_psf, **options):
        asked.append((n_psf, options['progress']))
        return bank

    monkeypatch.setattr('bgrem.simulate.cache.build_stamp_bank', draw)
    monkeypatch.setattr(loop_module, 'Validation', FlatValidation)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    config = tmp_path / 'tiny.toml'
    config.write_text(f'bank_psfs = 7\n{TOML}')
    for name in ('first', 'second'):
        assert main([str(config), '-o', str(tmp_path / name), '--quiet']) == 0
        assert StampBank.load(tmp_path / name / 'bank.safetensors').psf.shape[0] == 1
        assert load_weights(tmp_path / name / 'tiny.safetensors').name == 'tiny'
    assert asked == [(7, False)]
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ('', '')


def test_command_adapts_weights_to_frames(folder, frames, bank, capsys):
    first = run(folder)
    output = folder / 'tuned'
    bank.save(output / 'bank.safetensors')
    arguments = ['--init', str(first.path), '--noise-frames', str(frames), '--steps',
                 '1', '-o', str(output)]  # fmt: skip
    assert main(arguments) == 0
    tuned = load_weights(capsys.readouterr().out.strip())
    assert tuned.name == 'tiny-tuned'
    stored = tuned.header['training']['config']
    assert stored['noise_frames'] == str(frames)
    assert stored['n_steps'] == 1
    # So that drawing it does not take longer than the training.
    assert stored['bank_psfs'] == 32


def test_command_trains_on_frames_alone(folder, frames, capsys):
    config = folder / 'tiny.toml'
    config.write_text(f'family_fraction = 0.5\n{TOML}')
    arguments = [str(config), '-o', str(folder), '--noise-frames', str(frames)]
    assert main(arguments) == 0
    stored = load_weights(capsys.readouterr().out.strip()).header['training']['config']
    assert stored['family_fraction'] == 0


def test_command_needs_a_configuration():
    with pytest.raises(ValueError, match='config must be given'):
        main(['--init', 'optical'])
