"""Properties of skies, defects and sources, whatever is drawn."""

from types import SimpleNamespace

import pytest
import torch

from bgrem.simulate import SceneConfig
from bgrem.simulate import noise as defects
from bgrem.simulate import sky as skies
from bgrem.simulate.sources import _gather, _within_radius, draw_sources
from bgrem.simulate.stamps import STAMP_KINDS

SHAPE = (48, 64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def filled(value, n=6):
    return torch.full((n, 1, 1, 1), float(value))


def close(found, expected, rtol=1e-4, atol=1e-4):
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)


MAKERS = {
    'cosmic_rays': lambda g: defects.cosmic_rays(6, SHAPE, filled(3000), g),
    'hot_pixels': lambda g: defects.hot_pixels(6, SHAPE, filled(0.01), g),
    'bad_lines': lambda g: defects.bad_lines(6, SHAPE, g),
    'trails': lambda g: defects.trails(6, SHAPE, g),
    'no_data': lambda g: defects.no_data(6, SHAPE, g),
    'gradient': lambda g: skies.gradient(6, SHAPE, filled(9), 0.3, g),
    'nebulosity': lambda g: skies.nebulosity(6, SHAPE, filled(-3), filled(8), g),
    'depth': lambda g: skies.depth_map(6, SHAPE, filled(2), g),
}


@pytest.mark.parametrize('name', MAKERS)
def test_drawn_anew_from_the_seed_alone(name):
    make = MAKERS[name]
    first, again, other = make(generator(3)), make(generator(3)), make(generator(4))
    assert first.shape == (6, 1, *SHAPE)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    # and each scene for itself
    assert len(first.unique(dim=0)) > 3
    if first.is_floating_point():
        assert torch.isfinite(first).all()


@pytest.mark.parametrize('log', [False, True])
def test_uniform(log):
    values = skies.uniform((2.0, 200.0), 3000, generator(), log=log)
    assert values.shape == (3000, 1, 1, 1)
    assert 2 <= float(values.min()) < float(values.max()) <= 200
    middle = 20.0 if log else 101.0
    assert float(values.median()) == pytest.approx(middle, rel=0.12)
    assert (skies.uniform((5.0, 5.0), 4, generator(), log=log) == 5).all()


class TestSky:
    def test_gradient_scales_with_its_amplitude(self):
        one, three = (
            skies.gradient(6, SHAPE, filled(a), 0.3, generator()) for a in (1, 3)
        )
        close(three, 3 * one)
        close(one.mean(dim=(-2, -1)), torch.zeros(6, 1))

    def test_smallest_wavelength(self):
        """What is smoother has smaller steps from pixel to pixel."""
        steps = [
            float(
                skies.nebulosity(6, SHAPE, filled(-2.5), filled(s), generator())
                .diff(dim=-1)
                .std()
            )
            for s in (4, 8, 16)
        ]
        assert steps[0] > 1.2 * steps[1] > 1.4 * steps[2]

    def test_three_kinds_of_nebulosity(self):
        """Gaussian ones are symmetric, clumps stand out, ridges are dark on bright."""
        n = 90
        field = skies.nebulosity(n, SHAPE, filled(-0.5, n), filled(1, n), generator())
        skewness = field.pow(3).mean(dim=(-3, -2, -1))
        for low, high in ((-9, -0.25), (-0.25, 0.25), (0.25, 9)):
            share = ((skewness > low) & (skewness < high)).float().mean()
            assert float(share) == pytest.approx(1 / 3, abs=0.15)

    def test_depth(self):
        """One, or the ratio once or twice, at straight edges."""
        depth = skies.depth_map(40, SHAPE, filled(3, 40), generator())
        assert set(depth.unique().tolist()) == {1.0, 3.0, 9.0}
        rows = depth[:, 0, :, :1] / depth[:, 0, :1, :1]
        close(depth[:, 0] / depth[:, 0, :1], rows.expand(-1, -1, 64))
        assert (skies.depth_map(6, SHAPE, filled(1), generator()) == 1).all()

    def test_low_pass_is_linear_and_keeps_the_mean(self):
        image = torch.randn(3, 1, 96, 128, generator=generator())
        smooth = skies.low_pass(image, 16)
        close(skies.low_pass(2 * image - 5, 16), 2 * smooth - 5)
        close(smooth.flip(-1), skies.low_pass(image.flip(-1), 16))
        assert float((smooth.mean() - image.mean()).abs()) < 0.02
        assert float(smooth.std()) < 0.12
        # of a box as large as the image it is one number
        close(skies.low_pass(image, 500), image.mean((-2, -1), True).expand_as(image))


class TestDefects:
    def test_correlation_is_linear(self):
        one, two = torch.randn(2, 3, 1, 56, 72, generator=generator())
        sigma = torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1)
        both = defects.correlate(2 * one - two, sigma)
        close(both, 2 * defects.correlate(one, sigma) - defects.correlate(two, sigma))
        turned = defects.correlate(one.transpose(-2, -1), sigma).transpose(-2, -1)
        close(turned, defects.correlate(one, sigma))

    @pytest.mark.parametrize('density', [0.0, 500.0, 5000.0])
    def test_number_of_cosmic_rays(self, density):
        """Ten times as many, ten times the charge; none, none."""
        charge = defects.cosmic_rays(8, (256, 256), filled(density, 8), generator(1))
        hit = float((charge > 0).float().mean()) * 1e6
        # a track has some eight pixels
        assert 3 * density <= hit <= 15 * density
        assert float(charge.min()) == 0

    def test_hot_and_dead_pixels(self):
        """Two thirds too bright, one third without signal."""
        charge = defects.hot_pixels(4, (256, 256), filled(0.03, 4), generator())
        hot, dead = charge[charge > 0], charge[charge < 0]
        assert len(hot) / (len(hot) + len(dead)) == pytest.approx(2 / 3, abs=0.03)
        assert 4 <= float(hot.min()) < float(hot.max()) <= 600
        assert -25 <= float(dead.min()) < float(dead.max()) <= -5

    def test_bleeding_holds_what_is_saturated(self):
        signal = 40 * torch.rand(4, 1, 50, 40, generator=generator()) ** 20
        for level in (1.0, 5.0):
            trail = defects.bleed(signal, filled(level, 4), generator(2))
            assert trail[signal > 4 * level].all()
            assert not trail[..., ~(signal > 4 * level).any(-2)[2, 0]][2].any()
        lower, higher = (
            defects.bleed(signal, filled(level, 4), generator(2)) for level in (2, 6)
        )
        assert (lower | ~higher).all()
        assert lower.sum() > higher.sum()

    def test_trails_are_straight_and_not_wide(self):
        """Most of the light of one lies near a line."""
        charge = defects.trails(12, (64, 64), generator(5))[:, 0]
        y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing='ij')
        for light in charge:
            weight = light / light.sum()
            dx, dy = x - (weight * x).sum(), y - (weight * y).sum()
            xx, yy, xy = ((weight * v).sum() for v in (dx * dx, dy * dy, dx * dy))
            across = (xx + yy) / 2 - torch.hypot((xx - yy) / 2, xy)
            assert float(across.clamp(min=0).sqrt()) < 4.5


@pytest.fixture(scope='module')
def bank():
    g = generator(9)
    names = ('norm', 'half_light_radius', 'offset')
    bank = {name: {} for name in names}
    for kind in STAMP_KINDS:
        shape = (2, kind.n_stamps)
        low, high = kind.half_light_radius or (0.0, 0.0)
        bank['norm'][kind.name] = torch.rand(shape, generator=g) + 0.1
        radius = low + (high - low) * torch.rand(shape, generator=g)
        bank['half_light_radius'][kind.name] = radius
        bank['offset'][kind.name] = torch.rand((*shape, 2), generator=g) - 0.5
    return SimpleNamespace(fwhm=torch.tensor([2.0, 4.0]), **bank)


class TestSources:
    def draw(self, bank, seed=0, **changes):
        options = {'density': (5e-3, 5e-3), 'clustering': 0.0, 'snr_max': (100, 100)}
        config = SceneConfig(**(options | changes))
        psf = torch.tensor([0, 1, 0, 1])
        lowest = filled(config.snr_min, 4)
        return draw_sources(bank, config, psf, lowest, (200, 220), generator(seed))

    def test_columns_belong_together(self, bank):
        sources = self.draw(bank, large_probability=1.0)
        assert len({len(values) for values in sources.values()}) == 1
        assert torch.equal(sources['psf'], sources['scene'] % 2)
        for number, kind in enumerate(STAMP_KINDS):
            of_kind = {k: v[sources['kind'] == number] for k, v in sources.items()}
            place = of_kind['psf'], of_kind['stamp']
            close(of_kind['flux'] * bank.norm[kind.name][place], of_kind['snr'])
            close(
                of_kind['half_light_radius'], bank.half_light_radius[kind.name][place]
            )
            offset = torch.stack(
                [of_kind['x'] - of_kind['column'], of_kind['y'] - of_kind['row']], 1
            )
            close(offset, bank.offset[kind.name][place])

    @pytest.mark.parametrize('slope', [-0.5, 0.0, 1.5])
    def test_flux_law(self, bank, slope):
        """N(>s) ~ s**-a between both ends; near 0 flat in the logarithm."""
        sources = self.draw(
            bank, flux_slope=(slope, slope), large_probability=0.0, density=(2e-2, 2e-2)
        )
        snr = sources['snr']
        assert 1 <= float(snr.min()) < float(snr.max()) <= 100.001
        expected = 0.5
        if slope:
            expected = (10**-slope - 100**-slope) / (1 - 100**-slope)
        assert float((snr > 10).float().mean()) == pytest.approx(expected, abs=0.04)

    @pytest.mark.parametrize('fraction', [0.0, 1.0])
    def test_stars_and_galaxies(self, bank, fraction):
        sources = self.draw(
            bank, star_fraction=(fraction, fraction), large_probability=0.0
        )
        is_star = sources['half_light_radius'] == 0
        assert bool(is_star.all() if fraction else ~is_star.any())
        names = [STAMP_KINDS[k].name for k in sources['kind'].unique()]
        expected = ['star'] if fraction else ['small_galaxy', 'medium_galaxy']
        assert names == expected

    def test_bright_stars_have_large_stamps(self, bank):
        sources = self.draw(bank, snr_max=(1e4, 1e4), flux_slope=(0.1, 0.1))
        star = sources['half_light_radius'] == 0
        bright = sources['kind'] == [k.name for k in STAMP_KINDS].index('bright_star')
        assert torch.equal(bright, star & (sources['snr'] > 100))

    def test_large_galaxies_have_a_radius_in_range(self, bank):
        """That drawn, or the nearest of the PSF where none is."""
        psf = torch.arange(2).repeat_interleave(3)
        number = torch.arange(3).repeat(2)
        radius = bank.half_light_radius['large_galaxy']
        wide = SimpleNamespace(half_light_radius=(0.0, 99.0))
        assert torch.equal(_within_radius(bank, wide, psf, number), number)
        narrow = SimpleNamespace(half_light_radius=(0.0, 1.0))
        expected = radius.argmin(dim=1)[psf]
        assert torch.equal(_within_radius(bank, narrow, psf, number), expected)

    def test_clumps_stay_in_their_scene(self):
        scene = torch.arange(3).repeat_interleave(200)
        row, column = torch.randint(0, 500, (2, 600), generator=generator())
        sources = {'scene': scene, 'row': row, 'column': column + 1000 * scene}
        before = dict(sources)
        _gather(sources, torch.tensor([True, False, True]), generator(1))
        moved = (sources['row'] != before['row']) | (
            sources['column'] != before['column']
        )
        share = [float(moved[scene == k].float().mean()) for k in range(3)]
        assert share == pytest.approx([0.75, 0, 0.75], abs=0.1)
        # a partner is of the same scene, and 12 px wide is the spread around it
        assert ((sources['column'] / 1000).floor() - scene).abs().max() <= 1
        assert (sources['column'] - 1000 * scene).float().mean() < 600
