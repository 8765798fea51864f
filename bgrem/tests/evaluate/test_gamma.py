"""Tests of bgrem.evaluate.gamma."""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bgrem.evaluate.__main__ import main
from bgrem.evaluate.gamma.figures import plot_means
from bgrem.evaluate.gamma.scenes import (
    GAMMA_FAMILIES,
    MIN_SNR,
    gamma_scenes,
    read_templates,
)
from bgrem.evaluate.gamma.starlet import starlet, starlet_significance
from bgrem.evaluate.gamma.suite import run_gamma
from bgrem.evaluate.gamma.survey import (
    FLUX_BINS,
    CompletenessSurvey,
    DiffuseSurvey,
    FluxSurvey,
    MeansSurvey,
)
from bgrem.evaluate.gamma.tables import flux_table
from bgrem.evaluate.gamma.test_statistic import (
    fit_norms,
    search,
    ts_true,
    ts_wrong,
)
from bgrem.evaluate.matching import judge
from bgrem.evaluate.peers import Detections
from bgrem.evaluate.report import markdown_report
from bgrem.simulate.gamma.canvas import Canvas
from bgrem.simulate.gamma.psf import analytic_psf, lat_psf
from bgrem.simulate.gamma.significance import template_significance


def painted(sources, psf=None, size=48):
    """Return the light of sources (x, y, counts) and the stamp of their PSF."""
    canvas = Canvas((size, size), analytic_psf('gauss', 3.3) if psf is None else psf)
    x, y, counts = np.array(sources, float).T
    stamp = np.roll(canvas.kernel, (12, 12), (0, 1))[:25, :25]
    return canvas.paint(x, y, counts)[canvas.inner], stamp / stamp.sum()


class TestScenes:
    @pytest.mark.parametrize('name', ['high', 'middle', 'plane'])
    def test_same_patch_with_and_without_noise(self, name):
        (counted,) = gamma_scenes(name, 1, 64, 5)
        (expected,) = gamma_scenes(f'{name}_expected', 1, 64, 5)
        for image in ('source', 'sky', 'exposure', 'psf', 'wrong_model'):
            assert_array_equal(getattr(counted, image), getattr(expected, image))
        assert_array_equal(counted.catalog['snr'], expected.catalog['snr'])
        assert_allclose(expected.image, expected.sky + expected.source, rtol=1e-5)
        chi = (counted.image - expected.image) ** 2 / expected.image
        assert_allclose(chi.mean(), 1, atol=0.15)
        low, high = GAMMA_FAMILIES[name]
        assert low <= abs(counted.latitude) <= high
        assert counted.min_snr == MIN_SNR

    def test_wrong_model_is_wrong_but_not_much(self):
        """Its norms fitted to the true sky, it is off by a few percent to tens."""
        for name, low, high in (('high', 0.02, 0.15), ('plane', 0.05, 0.6)):
            for scene in gamma_scenes(f'{name}_expected', 3, 64, 5):
                model = scene.wrong_model
                norms = fit_norms(scene.sky, model, np.ones(2), 0 * scene.sky)
                error = np.tensordot(norms, model, 1) / scene.sky - 1
                assert low < error.std() < high

    def test_more_scenes_do_not_change_the_first(self):
        one = next(gamma_scenes('high', 1, 64, 5))
        first, second = gamma_scenes('high', 2, 64, 5)
        assert_array_equal(one.image, first.image)
        assert not np.array_equal(first.image, second.image)

    def test_sources_beyond_the_border_count_neither_way(self):
        """They are seen at the border, and are not among the true ones."""
        n_beyond = 0
        for scene in gamma_scenes('plane_expected', 20, 32, 1):
            truth = scene.catalog
            beyond = truth['photon_flux'] == 0
            n_beyond += beyond.sum()
            assert (truth['snr'][beyond] <= MIN_SNR).all()
            assert (truth['x'][beyond] >= 0).all()
            assert (truth['x'][beyond] <= 31).all()
            catalog = {name: values[beyond] for name, values in truth.items()}
            x, y, score = catalog['x'], catalog['y'], np.ones(beyond.sum())
            is_true, is_neutral = judge(x, y, score, catalog, 2.0, min_snr=MIN_SNR)
            assert not is_true.any()
            assert is_neutral.all()
        assert n_beyond > 0


class TestTemplates:
    def write(self, path, **changes):
        names = ('diffuse_p6v11', 'diffuse_F_pi', 'diffuse_F_ic', 'exposure')
        maps = dict.fromkeys(names, np.ones(12 * 8**2)) | changes
        np.savez(path, **{name: v for name, v in maps.items() if v is not None})

    def test_read(self, tmp_path):
        healpix = pytest.importorskip('astropy_healpix')
        sphere = healpix.HEALPix(8, 'ring')
        lat = sphere.healpix_to_lonlat(np.arange(sphere.npix))[1].deg
        north = 1.0 + (lat > 0)
        self.write(
            tmp_path / 't.npz', diffuse_p6v11=5 * north, exposure=np.full(768, 3)
        )
        templates = read_templates(tmp_path / 't.npz')
        lon, lat = np.array([-170.0, 10.0, 190.0]), np.array([-40.0, 60.0, 30.0])
        true, wrong = templates.true(lon, lat), templates.wrong(lon, lat)
        assert_allclose(true[1:] / true[0], 2)
        assert_allclose(wrong[1:] / wrong[0], 1)
        # The mean of the simulated sky above 10 degrees.
        assert 5e-7 < wrong[0] < 1.5e-6
        assert_allclose(true.mean() / wrong[0], 5 / 4.5, rtol=0.02)
        (scene,) = gamma_scenes('high', 1, 16, 1, templates)
        gas = scene.wrong_model[0] / scene.exposure
        assert_allclose(gas / gas.mean(), 1, rtol=1e-4)

    def test_map_is_missing(self, tmp_path):
        pytest.importorskip('astropy_healpix')
        self.write(tmp_path / 't.npz', exposure=None)
        with pytest.raises(ValueError, match='lacks exposure'):
            read_templates(tmp_path / 't.npz')

    def test_extra_is_missing(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, 'astropy_healpix', None)
        with pytest.raises(ImportError, match=r"pip install 'bgrem\[gamma\]'"):
            read_templates(tmp_path / 't.npz')


class TestSearch:
    sky = np.full((1, 48, 48), 4.0)

    def test_nothing_on_what_was_expected(self):
        light, psf = painted([(20, 20, 0)])
        found, sky = search(self.sky[0] + light, self.sky, psf)
        assert found.x.size == 0
        assert_array_equal(sky, self.sky[0])

    def test_one_source(self):
        """Found where it is, with the significance that its counts have."""
        light, psf = painted([(20.3, 15.8, 100)])
        found, _ = search(self.sky[0] + light, self.sky, psf)
        assert_allclose(found.x[0], 20.3, atol=0.15)
        assert_allclose(found.y[0], 15.8, atol=0.15)
        expected = template_significance(light, self.sky[0])
        assert_allclose(found.score[0], expected, rtol=0.01)
        assert found.x.size == 1

    def test_bright_source_hides_none(self):
        light, psf = painted([(20, 20, 5000), (25, 20, 150)])
        found, _ = search(self.sky[0] + light, self.sky, psf)
        assert_allclose(found.x[:2], [20, 25], atol=0.5)
        assert found.score[0] > found.score[1] > 5

    def test_source_at_the_corner(self):
        light, psf = painted([(0, 47, 300)])
        found, _ = search(self.sky[0] + light, self.sky, psf)
        assert_allclose((found.x[0], found.y[0]), (0, 47), atol=0.2)

    def test_false_alarms_of_noise(self):
        """Hardly ever above 5 sigma, and about as often above 3 as pixels allow."""
        _, psf = painted([(20, 20, 0)])
        rng = np.random.default_rng(0)
        scores = [search(rng.poisson(self.sky[0]), self.sky, psf)[0].score
                  for _ in range(20)]  # fmt: skip
        scores = np.concatenate(scores)
        assert (scores > 5).sum() == 0
        assert 5 < (scores > 3).sum() < 100

    def test_norms(self):
        y, x = np.mgrid[:48, :48]
        components = np.stack([1 + x / 10, 1 + (y / 10) ** 2])
        counts = 3 * components[0] + 0.5 * components[1]
        fixed = np.full(counts.shape, 2.0)
        norms = fit_norms(counts + fixed, components, np.ones(2), fixed, n_steps=2000)
        assert_allclose(norms, [3, 0.5], rtol=1e-2)
        light, psf = painted([(30, 30, 400)])
        found, sky = search(counts + light, components, psf, fit=True)
        assert_allclose((found.x[0], found.y[0]), (30, 30), atol=0.2)
        assert_allclose(sky, counts, rtol=0.05)

    @pytest.mark.parametrize('seed', [3, 4])
    def test_norms_have_the_unit_and_the_sum_of_the_counts(self, seed):
        rng = np.random.default_rng(seed)
        components = rng.uniform(0.5, 2, (3, 20, 30))
        counts = rng.poisson(np.tensordot([5, 1, 3], components, 1)).astype(float)
        nothing = np.zeros(counts.shape)
        norms = fit_norms(counts, components, np.ones(3), nothing)
        assert_allclose(np.tensordot(norms, components, 1).sum(), counts.sum())
        more = fit_norms(8 * counts, components, np.full(3, 8.0), nothing)
        assert_allclose(more, 8 * norms)
        finer = fit_norms(counts, 2 * components, np.full(3, 0.5), nothing)
        assert_allclose(finer, norms / 2)
        order = [2, 0, 1]
        other = fit_norms(counts, components[order], np.ones(3), nothing)
        assert_allclose(other, norms[order])

    def test_any_way_round(self):
        light, psf = painted([(20.3, 15.8, 300), (33, 35, 90)])
        counts = self.sky[0] + light
        found, _ = search(counts, self.sky, psf)
        turned, _ = search(counts.T, self.sky, psf.T)
        assert_allclose(np.sort(turned.score), np.sort(found.score), rtol=1e-3)
        assert_allclose([turned.x[0], turned.y[0]], [found.y[0], found.x[0]], atol=0.2)

    def test_true_model_finds_more(self):
        n_true = np.zeros(2, int)
        for scene in gamma_scenes('middle', 3, 64, 3):
            for k, method in enumerate((ts_true, ts_wrong)):
                found = method(scene)
                is_true, is_neutral = judge(
                    found.x, found.y, found.score, scene.catalog, 2.0, min_snr=MIN_SNR
                )
                false = found.score[~is_true & ~is_neutral].max(initial=0)
                n_true[k] += (is_true & (found.score > false)).sum()
        assert n_true[0] > n_true[1] > 0


class TestStarlet:
    @pytest.mark.parametrize('level', [3, 10, 100])
    def test_noise_of_one_scale(self, level):
        counts = np.random.default_rng(1).poisson(level, (256, 256))
        assert_allclose(starlet_significance(counts, 1).std(), 1, rtol=0.05)

    def test_source(self):
        light, _ = painted([(20, 30, 300)])
        scene = SimpleNamespace(image=4 + light, mask=np.zeros(light.shape, bool))
        found = starlet(scene)
        best = found.score.argmax()
        assert_allclose((found.x[best], found.y[best]), (20, 30), atol=0.01)

    def test_any_way_round(self):
        counts = np.random.default_rng(5).poisson(3, (40, 56))
        found = starlet_significance(counts)
        for turn in (np.transpose, np.flipud, np.fliplr):
            assert_allclose(starlet_significance(turn(counts)), turn(found))
        # more scales have no lower coefficient
        assert np.all(found >= starlet_significance(counts, 2))
        assert_allclose(starlet_significance(np.full((9, 9), 7)), 0, atol=0.5)

    def test_slope_is_no_source(self):
        image = np.tile(np.linspace(20, 60, 64), (64, 1))
        assert np.abs(starlet_significance(image)[:, 8:-8]).max() < 0.5


class PerfectObserver:
    """Knows the truth, and finds what stands above S/N 3, and one thing more."""

    factor = 1.0
    uncertainty = 0.0

    def observe(self, scene):
        bkg = SimpleNamespace(
            source=self.factor * scene.source,
            background=scene.sky + (1 - self.factor) * scene.sky.mean(),
            background_rms=scene.sigma,
            background_uncertainty=self.uncertainty * np.ones_like(scene.sky),
        )
        return {'background': bkg}

    def detect(self, scene):
        truth = scene.catalog
        kept = truth['snr'] > MIN_SNR
        x, y = np.append(truth['x'][kept], -9), np.append(truth['y'][kept], -9)
        return Detections(x, y, np.full(x.size, 0.99))


class TestSurveys:
    def measure(self, survey, family='high_expected', n_scenes=4):
        for scene in gamma_scenes(family, n_scenes, 64, 7):
            survey.add(scene)
        return survey.result()

    def test_means(self):
        perfect, lossy = PerfectObserver(), PerfectObserver()
        lossy.factor = 0.9
        result = self.measure(MeansSurvey({'perfect': perfect, 'lossy': lossy}))
        assert_allclose(result['perfect']['slope'], 1, rtol=1e-6)
        assert_allclose(result['lossy']['slope'], 0.9, rtol=1e-6)
        assert_allclose(result['lossy']['ratios'], 0.9, rtol=1e-6)
        assert_allclose(result['perfect']['intercept'], 0, atol=1e-6)
        assert result['perfect']['mae'] == result['perfect']['mse'] == 0
        plot_means_or_skip(result)

    def test_too_few_for_a_line(self):
        result = self.measure(MeansSurvey({'perfect': PerfectObserver()}), n_scenes=2)
        assert result == {'perfect': None}

    def test_diffuse(self):
        lossy = PerfectObserver()
        lossy.factor = 0.9
        result = self.measure(
            DiffuseSurvey({'perfect': PerfectObserver(), 'lossy': lossy})
        )
        assert result['perfect'] == {'rms': 0, 'bias': 0, 'worst': 0}
        assert_allclose(result['lossy']['rms'], 0.1, rtol=1e-4)
        assert_allclose(result['lossy']['bias'], 0.1, rtol=1e-4)
        assert 0 < result['wrong model']['rms'] < 0.3
        assert 0 < result['Background2D']['rms'] < 0.3

    def test_fluxes(self):
        result = self.measure(FluxSurvey({'perfect': PerfectObserver()}))
        (faint, *_) = result['perfect']
        assert (faint['low'], faint['high']) == (3, 5)
        for one in result['perfect']:
            if one['n'] > 2:
                values = [one['bias'], one['median'], one['pull_mean']]
                assert_allclose(values, 0, atol=1e-4)
        assert result['true sky'] == result['perfect']

    def test_pulls_of_photons(self):
        """With the true sky the errors are what they say."""
        result = self.measure(
            FluxSurvey({'perfect': PerfectObserver()}), 'high', n_scenes=15
        )
        faint = result['perfect'][0]
        assert faint['n'] > 20
        assert abs(faint['pull_mean']) < 4 / np.sqrt(faint['n'])
        assert_allclose(faint['pull_width'], 1, atol=0.35)

    def test_pulls_of_an_uncertain_sky(self):
        """Its error is that of the whole circle, whatever the photons say."""

        class Unsure(PerfectObserver):
            uncertainty = 1e6

        result = self.measure(FluxSurvey({'unsure': Unsure()}), 'high', n_scenes=2)
        pulls = [one['pull_width'] for one in result['unsure'] if one['n'] > 2]
        assert pulls
        assert_allclose(pulls, 0, atol=1e-4)

    def test_no_pulls_without_noise(self):
        """A sky above all data, and no noise: no error to divide by."""

        class Drowned(PerfectObserver):
            def observe(self, scene):
                sky = scene.image.max() + np.zeros_like(scene.sky)
                bkg = SimpleNamespace(
                    background=sky,
                    background_rms=0 * sky,
                    background_uncertainty=0 * sky,
                )
                return {'background': bkg}

        result = self.measure(FluxSurvey({'drowned': Drowned()}))
        assert all('pull_mean' not in one for one in result['drowned'])
        json.dumps(result, allow_nan=False)
        rows = flux_table({'high_expected': result})[1]
        assert next(row[-2:] for row in rows if row[1] == 'drowned') == ['-', '-']

    def test_completeness(self):
        result = self.measure(CompletenessSurvey({'perfect': PerfectObserver()}))
        bins = result['perfect']['bins']
        assert [(one['low'], one['high']) for one in bins] == list(FLUX_BINS)
        assert bins[2]['n_found'] == bins[2]['n_true'] > 0
        assert 0.7 < result['perfect']['purity'] < 1


def plot_means_or_skip(result):
    plt = pytest.importorskip('matplotlib.pyplot')
    figure = plot_means({'high': result})
    assert len(figure.axes[0].lines) == 3
    plt.close(figure)


class TestSuite:
    def test_run(self, tiny_weights, capsys, tmp_path):
        arguments = ['--suite', 'gamma', '--weights', str(tiny_weights)]
        arguments += ['--families', 'high', 'middle_expected', '--n-scenes', '3']
        arguments += ['--no-figures', '-o', str(tmp_path)]
        assert main([*arguments, '--parts', 'means', 'diffuse', 'fluxes']) == 0
        text = capsys.readouterr().out
        assert '## Error of the sky over its mean' in text
        results = json.loads((tmp_path / 'results.json').read_text())
        assert results['suite'] == 'gamma'
        assert results['size'] == 64
        assert set(results['families']) == {'high', 'middle_expected'}

    def test_detection(self, tiny_weights):
        results = run_gamma(
            [tiny_weights],
            families=['high'],
            n_scenes=1,
            parts=['detection', 'catalog', 'completeness'],
            peers={'oracle': ts_true},
        )
        methods = results['families']['high']['detection']['methods']
        assert set(methods) == {'tiny', 'tiny, sep on its sources', 'oracle'}
        assert results['families']['high']['detection']['n_true'] > 0
        text = markdown_report(results)
        assert 'tiny / oracle' in text
        assert '## Found and true at a promise of 5%' in text

    @pytest.mark.parametrize(
        ('kwargs', 'match'),
        [
            ({'families': ['low']}, 'families must be among high, middle'),
            ({'parts': ['sky']}, 'parts must be among detection, means'),
        ],
    )
    def test_unknown_names(self, kwargs, match):
        with pytest.raises(ValueError, match=match):
            run_gamma(**kwargs)


def test_transformed_counts_reach_the_gaussian_network():
    """The Anscombe transform has unit noise where there are enough counts."""
    from bgrem.evaluate.gamma.suite import _Transformed

    seen = []
    observer = SimpleNamespace(detect=lambda scene: seen.append(scene.image))
    (scene,) = gamma_scenes('plane', 1, 64, 2)
    flat = replace(scene, image=np.random.default_rng(0).poisson(20, (64, 64)))
    _Transformed(observer).detect(flat)
    assert_allclose(seen[0].std(), 1, rtol=0.05)
    assert_allclose(lat_psf().fwhm, scene.fwhm)
