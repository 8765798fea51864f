"""
Tests of bgrem.simulate: the truth that a scene carries must be true.
"""

from dataclasses import fields, replace
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bgrem.simulate import FAMILIES, SceneComposer, SceneConfig, StampBank
from bgrem.simulate import noise as defects
from bgrem.simulate import sky as skies
from bgrem.simulate.sources import paste_sources
from bgrem.simulate.stamps import STAMP_KINDS, build_stamp_bank

ANY_PSF = {'fwhm': (1.5, 7.0), 'spikes': None}


@pytest.fixture(scope='module')
def bank():
    pytest.importorskip('galsim')
    return build_stamp_bank(1, seed=3)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def compose(bank, config, n_scenes=2, size=96, seed=0):
    config = replace(config, **ANY_PSF)
    return SceneComposer(bank, config).compose(n_scenes, size, generator(seed))


class TestStamps:
    def test_unit_flux(self, bank):
        for kind in STAMP_KINDS:
            scale = bank.scale[kind.name][..., None, None]
            flux = (bank.stamps[kind.name].float() * scale).sum((-2, -1))
            expected = torch.full_like(flux, 1 / kind.zoom**2)
            torch.testing.assert_close(flux, expected, rtol=2e-3, atol=0)
        assert float(bank.psf.sum()) == pytest.approx(1)

    def test_offset_is_the_centroid_of_stars(self, bank):
        stamps = bank.stamps['star'][0].float()
        axis = torch.arange(33) - 16.0
        flux = stamps.sum((-2, -1))
        x = (stamps.sum(-2) * axis).sum(-1) / flux
        y = (stamps.sum(-1) * axis).sum(-1) / flux
        measured = torch.stack([x, y], dim=-1)
        torch.testing.assert_close(measured, bank.offset['star'][0], atol=0.1, rtol=0)

    def test_save_and_load(self, bank, tmp_path):
        path = tmp_path / 'bank.safetensors'
        bank.save(path)
        again = StampBank.load(path)
        torch.testing.assert_close(again.psf, bank.psf)
        for kind in STAMP_KINDS:
            assert torch.equal(again.stamps[kind.name], bank.stamps[kind.name])

    def test_load_refuses_other_files(self, tmp_path):
        from safetensors.torch import save_file

        path = tmp_path / 'other.safetensors'
        save_file({'a': torch.zeros(1)}, path)
        with pytest.raises(ValueError, match='bank must be a stamp bank of this'):
            StampBank.load(path)

    def test_bad_n_psf(self):
        with pytest.raises(ValueError, match='n_psf must be a positive integer, got 0'):
            build_stamp_bank(0)

    @pytest.mark.parametrize('fwhm', [(0.0, 2.0), (3.0, 2.0)])
    def test_bad_fwhm(self, fwhm):
        with pytest.raises(ValueError, match='fwhm must be an ascending pair .* got'):
            build_stamp_bank(1, fwhm=fwhm)

    def test_fwhm(self):
        pytest.importorskip('galsim')
        bank = build_stamp_bank(1, fwhm=(1.0, 1.1), seed=3)
        assert 1.0 <= float(bank.fwhm) <= 1.1
        # Nearly all light of so narrow a star is in one pixel and its neighbors.
        assert float(bank.psf[0, 15:18, 15:18].sum()) > 0.8

    @pytest.mark.parametrize('fraction', [0.0, 1.0])
    def test_gaussian_fraction(self, fraction):
        pytest.importorskip('galsim')
        bank = build_stamp_bank(1, fwhm=(3.0, 3.1), gaussian_fraction=fraction, seed=3)
        wings = 1 - float(bank.psf[0, 10:23, 10:23].sum())
        assert wings < 5e-5 if fraction else wings > 1e-3

    @pytest.mark.parametrize('fraction', [-0.1, 1.1, np.nan])
    def test_bad_gaussian_fraction(self, fraction):
        with pytest.raises(ValueError, match='gaussian_fraction must be between 0 and'):
            build_stamp_bank(1, gaussian_fraction=fraction)


class TestScenes:
    def test_same_seed_same_scene(self, bank):
        first = compose(bank, SceneConfig(), seed=5)
        again = compose(bank, SceneConfig(), seed=5)
        other = compose(bank, SceneConfig(), seed=6)
        assert torch.equal(first.image, again.image)
        assert not torch.equal(first.image, other.image)

    def test_parts_add_up(self, bank):
        batch = compose(bank, SceneConfig())
        torch.testing.assert_close(batch.image, batch.source + batch.background)
        for name in ('image', 'source', 'sky', 'sigma'):
            values = getattr(batch, name)
            assert values.shape == (2, 1, 96, 96)
            assert torch.isfinite(values).all()
        assert (batch.sigma > 0).all()
        assert (batch.source >= 0).all()
        assert (batch.image[batch.mask] == 0).all()

    @pytest.mark.parametrize('name', [n for n in FAMILIES if n != 'spikes'])
    def test_noise_is_what_sigma_says(self, bank, name):
        config = replace(FAMILIES[name], density=(1e-6, 1e-6), large_probability=0.0)
        batch = compose(bank, config, n_scenes=4, size=128)
        pull = (batch.background - batch.sky) / batch.sigma
        assert float(pull.mean()) == pytest.approx(0, abs=0.05)
        assert float(pull.std()) == pytest.approx(1, abs=0.06)

    def test_flux_of_isolated_star(self, bank):
        sources = {
            'scene': torch.tensor([0]),
            'psf': torch.tensor([0]),
            'kind': torch.tensor([0]),
            'stamp': torch.tensor([2]),
            'row': torch.tensor([30]),
            'column': torch.tensor([40]),
            'flux': torch.tensor([250.0]),
        }
        light = paste_sources(bank, sources, 1, (64, 80))
        assert float(light.sum()) == pytest.approx(250, rel=2e-3)
        peak = np.unravel_index(int(light.argmax()), (64, 80))
        assert abs(peak[0] - 30) <= 1
        assert abs(peak[1] - 40) <= 1

    def test_snr_is_the_matched_filter_snr(self, bank):
        config = replace(FAMILIES['flat'], density=(1e-4, 1e-4), star_fraction=(1, 1))
        batch = compose(bank, config, n_scenes=1, size=256)
        sigma = float(batch.sigma.mean())
        norm = float(bank.psf.square().sum().sqrt())
        expected = batch.catalog['flux'] * norm / sigma
        # The stamps differ from the centered PSF by their sub-pixel offset.
        torch.testing.assert_close(batch.catalog['snr'], expected, rtol=0.1, atol=0)

    def test_density(self, bank):
        batch = compose(bank, FAMILIES['crowded'], n_scenes=4, size=256)
        expected = 8e-3 * 4 * 256**2
        assert len(batch.catalog['x']) == pytest.approx(expected, rel=0.1)

    def test_broad_psfs_have_a_highest_density(self, bank):
        config = replace(FAMILIES['crowded'], density=(0.5, 0.5))
        batch = compose(bank, config, n_scenes=4, size=128)
        n_sources = np.bincount(batch.catalog['scene'], minlength=4)
        expected = 0.7 * 128**2 / batch.fwhm**2
        assert n_sources == pytest.approx(expected.numpy(), rel=0.15)

    def test_bright_scenes_have_a_bright_structure(self, bank):
        config = replace(FAMILIES['nebulosity'], snr_max=(300.0, 300.0))
        plain = compose(bank, config, n_scenes=8)
        bright = compose(bank, replace(config, bright_probability=1.0), n_scenes=8)
        spread = [batch.sky.std(dim=(1, 2, 3)).numpy() for batch in (plain, bright)]
        assert np.all(spread[0] < 4.5 * 525**0.5)
        assert np.median(spread[1]) > 3 * np.median(spread[0])

    def test_bright_scenes_have_no_faint_sources(self, bank):
        config = replace(FAMILIES['crowded'], snr_max=(300.0, 300.0))
        without = compose(bank, config, n_scenes=8)
        bright = compose(bank, replace(config, bright_probability=1.0), n_scenes=8)
        scene = without.catalog['scene']
        lowest = [float(without.catalog['snr'][scene == k].min()) for k in range(8)]
        assert max(lowest) < 1.2
        scene = bright.catalog['scene']
        lowest = [float(bright.catalog['snr'][scene == k].min()) for k in range(8)]
        assert min(lowest) >= 1
        assert max(lowest) > 5

    def test_photon_counting(self, bank):
        config = replace(
            FAMILIES['photon_starved'],
            read_noise=(5.0, 5.0),
            photon_counting_probability=1.0,
        )
        config = replace(config, photon_counting_sky=(2.0, 3.0))
        batch = compose(bank, config)
        torch.testing.assert_close(batch.sigma, batch.sky.sqrt())
        assert torch.equal(batch.image, batch.image.round())
        assert float(batch.sky.min()) >= 2
        assert float(batch.sky.max()) <= 3

    def test_empty_scene(self, bank):
        config = replace(FAMILIES['flat'], density=(1e-9, 1e-9))
        batch = compose(bank, config)
        assert len(batch.catalog['x']) == 0
        assert float(batch.source.sum()) == 0

    def test_rectangular_scene(self, bank):
        config = replace(SceneConfig(), **ANY_PSF)
        batch = SceneComposer(bank, config).compose(1, (48, 80), generator())
        assert batch.image.shape == (1, 1, 48, 80)

    def test_no_psf_left(self, bank):
        config = replace(SceneConfig(), fwhm=(6.99, 7.0))
        with pytest.raises(ValueError, match='fwhm must leave a PSF of the bank'):
            SceneComposer(bank, config)


class TestConfig:
    def test_round_trip(self):
        config = SceneConfig(density=(1e-3, 2e-3), spikes=True)
        assert SceneConfig.from_dict(config.to_dict()) == config

    def test_unknown_key(self):
        with pytest.raises(ValueError, match=r"unknown keys: \['moon'\]"):
            SceneConfig.from_dict({'moon': 1})

    @pytest.mark.parametrize(
        ('name', 'value', 'rule'),
        [
            ('density', (2, 1), 'ascending pair'),
            ('sky', (0, 1), 'must be positive'),
            ('nebulosity_scale', (0, 9), 'must be positive'),
            ('cosmic_rays', (0, 9), 'must be positive'),
            ('hot_pixels', (0, 0.1), 'must be positive'),
            ('trail_probability', 1.5, 'between 0 and 1'),
            ('snr_min', -1.0, 'between 0 and snr_max'),
        ],
    )
    def test_bad_values(self, name, value, rule):
        with pytest.raises(ValueError, match=f'{name} must be .*{rule[-8:]}'):
            SceneConfig(**{name: value})

    def test_every_probability_is_checked(self):
        names = [f.name for f in fields(SceneConfig) if 'probability' in f.name]
        for name in names:
            with pytest.raises(ValueError, match=f'{name} must be between 0 and 1'):
                SceneConfig(**{name: -0.1})


class TestSky:
    def test_gradient_amplitude(self):
        amplitude = torch.full((50, 1, 1, 1), 25.0)
        sky = skies.gradient(50, (64, 64), amplitude, 1 / 3, generator())
        assert float(sky.mean()) == pytest.approx(0, abs=1e-4)
        span = sky.amax((-2, -1)) - sky.amin((-2, -1))
        assert 20 < float(span.mean()) < 40

    def test_gradient_without_curvature_is_a_plane(self):
        amplitude = torch.full((3, 1, 1, 1), 25.0)
        sky = skies.gradient(3, (64, 64), amplitude, 0.0, generator())
        for axis in (-1, -2):
            assert float(sky.diff(2, dim=axis).abs().max()) < 1e-4
        across = (sky[..., -1, -1] - sky[..., 0, 0]) ** 2
        across += (sky[..., -1, 0] - sky[..., 0, -1]) ** 2
        assert (across / 2).sqrt().flatten().tolist() == pytest.approx([25.0] * 3, 1e-3)

    def test_nebulosity_has_unit_variance_and_no_small_scales(self):
        slope = torch.full((3, 1, 1, 1), -3.0)
        smallest = torch.full((3, 1, 1, 1), 10.0)
        field = skies.nebulosity(3, (128, 128), slope, smallest, generator())
        assert field.std((-2, -1)).flatten().tolist() == pytest.approx([1] * 3, 1e-3)
        step = field.diff(dim=-1).std()
        assert float(step) < 0.4

    def test_low_pass_keeps_constants_and_means(self):
        image = torch.full((1, 1, 50, 70), 3.0)
        torch.testing.assert_close(skies.low_pass(image, 24), image)

    def test_depth(self):
        ratio = torch.full((20, 1, 1, 1), 2.0)
        depth = skies.depth_map(20, (32, 32), ratio, generator())
        assert set(depth.unique().tolist()) == {1.0, 2.0, 4.0}


class TestDefects:
    def test_correlation_keeps_variance(self):
        noise = torch.randn(2, 1, 264, 264, generator=generator())
        sigma = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
        correlated = defects.correlate(noise, sigma)
        assert correlated.shape == (2, 1, 256, 256)
        torch.testing.assert_close(correlated[0], noise[0, :, 4:-4, 4:-4])
        assert float(correlated[1].std()) == pytest.approx(1, abs=0.05)
        neighbor = (correlated[1, :, :, 1:] * correlated[1, :, :, :-1]).mean()
        # Gaussian kernel of sigma 1: autocorrelation exp(-1/4) at lag one.
        assert float(neighbor) == pytest.approx(np.exp(-0.25), abs=0.06)

    def test_correlated_noise_does_not_wrap(self, bank):
        config = replace(
            FAMILIES['correlated'], correlation=(1, 1), density=(1e-6, 1e-6)
        )
        batch = compose(bank, config, n_scenes=64, size=32)
        pull = ((batch.background - batch.sky) / batch.sigma)[:, 0]
        # Along the edges as well as inside; opposite edges are strangers.
        assert float(pull[..., 0].std()) == pytest.approx(1, abs=0.08)
        neighbor = (pull[..., 0] * pull[..., 1]).mean()
        assert float(neighbor) == pytest.approx(np.exp(-0.25), abs=0.08)
        for first, last in ((pull[..., 0], pull[..., -1]), (pull[:, 0], pull[:, -1])):
            assert float((first * last).mean()) == pytest.approx(0, abs=0.1)

    def test_cosmic_rays(self):
        density = torch.full((1, 1, 1, 1), 1000.0)
        charge = defects.cosmic_rays(1, (512, 512), density, generator())
        assert (charge >= 0).all()
        assert 100 < int((charge > 0).sum()) < 5000

    def test_hot_pixel_fraction(self):
        fraction = torch.full((1, 1, 1, 1), 0.01)
        charge = defects.hot_pixels(1, (512, 512), fraction, generator())
        assert float((charge != 0).float().mean()) == pytest.approx(0.01, rel=0.1)
        assert (charge < 0).any()

    def test_bleed_runs_along_columns(self):
        signal = torch.zeros(1, 1, 65, 65)
        signal[..., 32, 32] = 100
        trail = defects.bleed(signal, torch.ones(1, 1, 1, 1), generator())
        assert trail.any(dim=-2).sum() == 1
        assert trail[..., 32].sum() > 3

    def test_bleed_of_unsaturated_scenes(self):
        signal = torch.full((2, 1, 16, 16), 1e6)
        level = torch.tensor([torch.inf, 1e6]).view(2, 1, 1, 1)
        assert not defects.bleed(signal, level, generator()).any()

    def test_bad_lines_are_one_to_three_whole_lines(self):
        charge = defects.bad_lines(40, (32, 32), generator())[:, 0]
        for scene in charge:
            rows = (scene != 0).all(dim=1).sum()
            columns = (scene != 0).all(dim=0).sum()
            assert 1 <= int(rows + columns) <= 3
            assert int((scene != 0).sum()) == 32 * int(rows + columns)

    def test_trail_crosses_its_scene(self):
        charge = defects.trails(20, (64, 64), generator())
        assert (charge >= 0).all()
        assert (charge.amax((-2, -1)) > 0.3).all()
        # A trail is narrow: half of the pixels see next to nothing of it.
        assert float(charge.flatten(1).median(dim=1).values.max()) < 0.1

    def test_trails_are_knotted_and_may_end(self):
        charge = defects.trails(200, (64, 64), generator())[:, 0]
        lit = charge > 0.02 * charge.amax((1, 2), keepdim=True)
        sides = [lit[:, 0], lit[:, -1], lit[:, :, 0], lit[:, :, -1]]
        touched = sum(side.any(dim=1).int() for side in sides)
        # One that ends inside the scene leaves it on one side only.
        assert 0.1 < float((touched < 2).float().mean()) < 0.35

        position = torch.arange(-60.0, 60.0).expand(50, 1, 1, 120)
        values = defects._wander(position, torch.full((50, 1, 1, 1), 3.0), generator())
        values = values[:, 0, 0]
        assert float(values.square().mean()) == pytest.approx(1, abs=0.15)
        lag = float((values[:, 3:] * values[:, :-3]).mean() / values.square().mean())
        assert lag == pytest.approx(np.exp(-(3**2) / (4 * 3**2)), abs=0.07)

    def test_no_data_leaves_data(self):
        mask = defects.no_data(50, (64, 64), generator())
        assert mask.dtype == torch.bool
        assert 0.02 < float(mask.float().mean()) < 0.4
        assert not mask.flatten(1).all(dim=1).any()


# Per ingredient, a configuration with nothing else in it.
INGREDIENTS = {
    'gradient': {'gradient': (20.0, 20.0)},
    'nebulosity': {'nebulosity': (5.0, 5.0)},
    'depth': {'depth_steps': (2.0, 2.0)},
    'cosmic_ray': {'cosmic_rays': (2000.0, 2000.0)},
    'hot_pixel': {'hot_pixels': (0.01, 0.01)},
    'column': {},
    'trail': {},
    'no_data': {},
}


class TestIngredients:
    """
    Each is in the fraction of the scenes that its probability says.
    """

    @pytest.mark.parametrize('name', INGREDIENTS)
    def test_probability(self, bank, name):
        changes = {f'{name}_probability': 0.5} | INGREDIENTS[name]
        config = replace(FAMILIES['flat'], density=(1e-9, 1e-9), **changes)
        batch = compose(bank, config, n_scenes=60, size=48)
        if name in ('gradient', 'nebulosity', 'depth'):
            changed = batch.sigma.flatten(1).std(dim=1) > 1e-3
        elif name == 'no_data':
            changed = batch.mask.flatten(1).any(dim=1)
        else:
            pull = (batch.background - batch.sky) / batch.sigma
            changed = pull.abs().flatten(1).amax(dim=1) > 5
        # 30 +- 4 have it; some lines and borders are faint or miss their scene.
        assert 10 <= int(changed.sum()) <= 42
        never = replace(config, **{f'{name}_probability': 0.0})
        batch = compose(bank, never, n_scenes=4, size=48)
        pull = (batch.background - batch.sky) / batch.sigma
        assert float(pull.abs().max()) < 6
        assert not batch.mask.any()

    def test_saturation_is_a_ceiling(self, bank):
        config = replace(
            FAMILIES['flat'],
            saturation=(5.0, 5.0),
            saturation_probability=1.0,
            density=(1e-2, 1e-2),
            snr_min=20.0,
        )
        batch = compose(bank, config, n_scenes=2, size=96)
        ceiling = batch.sky + 5 * batch.sigma
        assert (batch.image <= ceiling * (1 + 1e-5)).all()
        assert float((batch.image >= ceiling * (1 - 1e-5)).float().mean()) > 1e-3
        assert (batch.source <= 5 * batch.sigma * (1 + 1e-5)).all()

    @pytest.mark.parametrize('sky', [0.6, 30.0, 1e4])
    def test_photon_noise_is_poisson(self, bank, sky):
        config = replace(
            FAMILIES['photon_starved'], sky=(sky, sky), density=(1e-9, 1e-9)
        )
        counts = compose(bank, config, n_scenes=4, size=256).image
        assert torch.equal(counts, counts.round())
        deviation = (counts - sky) / sky**0.5
        assert float(deviation.mean()) == pytest.approx(0, abs=0.01)
        assert float(deviation.var()) == pytest.approx(1, abs=0.02)
        skewness = deviation.pow(3).mean()
        assert float(skewness) == pytest.approx(sky**-0.5, abs=0.04)


class TestPaste:
    def light(self, bank, kind, row, column, shape):
        index = [k.name for k in STAMP_KINDS].index(kind)
        sources = {
            'scene': [0], 'psf': [0], 'kind': [index], 'stamp': [1],
            'row': [row], 'column': [column],
        }  # fmt: skip
        sources = {name: torch.tensor(value) for name, value in sources.items()}
        sources['flux'] = torch.tensor([100.0])
        return paste_sources(bank, sources, 1, shape)[0, 0]

    @pytest.mark.parametrize('kind', [kind.name for kind in STAMP_KINDS])
    def test_edges_cut_and_nothing_else(self, bank, kind):
        whole = self.light(bank, kind, 150, 160, (300, 310))
        assert float(whole.sum()) == pytest.approx(100, rel=5e-3)
        for top, left in ((150, 160), (140, 40), (30, 200), (165, 175)):
            part = self.light(bank, kind, 150 - top, 160 - left, (64, 48))
            expected = whole[top : top + 64, left : left + 48]
            torch.testing.assert_close(part, expected)

    @pytest.mark.parametrize('kind', [kind.name for kind in STAMP_KINDS])
    def test_far_away(self, bank, kind):
        for row, column in ((-500, 10), (10, 900), (10, -129), (64 + 128, 10)):
            assert not self.light(bank, kind, row, column, (64, 48)).any()

    def test_zoomed_stamp_is_interpolated(self, bank):
        image = self.light(bank, 'large_galaxy', 128, 128, (257, 257))
        samples = bank.stamps['large_galaxy'][0, 1].float()
        samples = samples * bank.scale['large_galaxy'][0, 1] * 100
        torch.testing.assert_close(image[::2, ::2], samples, rtol=1e-5, atol=1e-6)


class TestSpeedCommand:
    @pytest.fixture
    def speed(self):
        path = Path(__file__).parents[3] / 'benchmarks' / 'speed.py'
        if not path.exists():
            pytest.skip('benchmarks are in the repository only')
        return SimpleNamespace(**run_path(str(path)))

    @pytest.mark.parametrize('name', ['composer', 'training', 'inference'])
    def test_measures(self, speed, bank, name, tmp_path, monkeypatch):
        # The validation scenes want PSFs that a bank of one does not hold.
        monkeypatch.setattr('bgrem.train.loop.Validation', lambda *_: None)
        bank.save(tmp_path / 'bank.safetensors')
        options = SimpleNamespace(
            threads=torch.get_num_threads(),
            repeats=1,
            n_crops=2,
            crop_size=32,
            image_size=64,
            float32=True,
            weights='optical',
            device='cpu',
        )
        speed_, cpu, peak, before = speed.measure(name, options, tmp_path)
        assert speed_ > 0
        assert cpu > 0
        assert peak >= before > 1

    def test_unknown_benchmark(self, speed, capsys):
        with pytest.raises(SystemExit, match='2'):
            speed.main(['--what', 'telescope'])
        assert "invalid choice: 'telescope'" in capsys.readouterr().err
