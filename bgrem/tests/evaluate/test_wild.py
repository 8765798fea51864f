"""Tests of bgrem.evaluate.wild and bgrem.evaluate.boxes."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from photutils.background import Background2D

from bgrem import DiffusionBackground
from bgrem.evaluate.__main__ import main
from bgrem.evaluate.boxes import CHOICES, BoxSurvey
from bgrem.evaluate.peers import Detections
from bgrem.evaluate.report import markdown_report
from bgrem.evaluate.separator import Separator
from bgrem.evaluate.wild import survey as survey_module
from bgrem.evaluate.wild.families import WILD_FAMILIES, wild_scenes
from bgrem.evaluate.wild.painting import (
    SIGMA,
    add_stamp,
    equivalent_fwhm,
    moffat,
    paint_points,
    power_law,
    ring,
)
from bgrem.evaluate.wild.suite import run_wild
from bgrem.evaluate.wild.survey import CatalogSurvey, LevelSurvey, Observer
from bgrem.weights import load_weights

SIZE = 64


class TestPainting:
    @pytest.mark.parametrize('psf', [moffat(1.6), moffat(4.0), ring(8, 3)])
    def test_star_has_its_flux_and_place(self, psf):
        image, catalog = paint_points((128, 128), psf, [60.3], [64.6], [250.0])
        y, x = np.mgrid[:128, :128]
        assert_allclose(image.sum(), 250)
        assert_allclose((image * x).sum() / 250, 60.3, atol=0.02)
        assert_allclose((image * y).sum() / 250, 64.6, atol=0.02)
        assert_allclose(catalog['norm'], np.sqrt(np.sum(image**2)) / 250, rtol=0.05)

    @pytest.mark.parametrize('fwhm', [3.0, 7.0])
    def test_width(self, fwhm):
        assert_allclose(equivalent_fwhm(moffat(fwhm).stamp()), fwhm, rtol=0.1)

    def test_stamp_beyond_the_border_is_cut(self):
        image = np.zeros((5, 6))
        add_stamp(image, np.ones((3, 3)), 0, 5)
        assert image.sum() == 4
        assert image[:2, 4:].min() == 1
        add_stamp(image, np.ones((3, 3)), -4, 2)
        assert image.sum() == 4

    @pytest.mark.parametrize('slope', [0.0, 1.0])
    def test_power_law(self, slope):
        values = power_law(np.random.default_rng(1), 4000, 2.0, 200.0, slope)
        assert values.min() >= 2
        assert values.max() <= 200
        # Half of them are above 20, or 1/11 of the range of 1/F below it.
        expected = 0.5 if slope == 0 else (1 / 20 - 1 / 200) / (1 / 2 - 1 / 200)
        assert_allclose(np.mean(values > 20), expected, atol=0.03)


@pytest.mark.parametrize('family', WILD_FAMILIES)
def test_truth_adds_up(family):
    """Image - sources - sky is noise of the stated level and mean zero."""
    scene, again = (next(wild_scenes(family, 1, SIZE, 3)) for _ in range(2))
    assert_array_equal(scene.image, again.image)
    assert scene.judged.any()
    seen = np.isfinite(scene.image) & (scene.is_counts | (scene.image != 0))
    variance = scene.sigma**2
    if scene.native is None:
        variance = variance + np.maximum(scene.source, 0)
    else:
        # Photon noise of sources is resampled as all noise is.
        seen &= scene.source < 0.1 * scene.sigma
    stripes = 0 if scene.stripes is None else scene.stripes
    residual = (scene.image - scene.source - scene.sky - stripes) / np.sqrt(variance)
    residual = residual[seen]
    n_independent = residual.size / (100 if scene.native is not None else 1)
    assert abs(residual.mean()) < 5 / np.sqrt(n_independent)
    assert_allclose(residual.std(), 1, atol=0.05 + 4 / np.sqrt(n_independent))
    assert np.all(scene.catalog['snr'] > 0)
    if scene.error is not None:
        assert_allclose(scene.error, np.sqrt(variance), rtol=1e-3)


@pytest.mark.parametrize('family', ['gaps', 'globular', 'drizzled_3', 'broad_9'])
def test_bright_sources_are_where_the_catalog_says(family):
    n_bright = 0
    for scene in wild_scenes(family, 3, 2 * SIZE, 4):
        catalog = scene.catalog
        for k in np.flatnonzero(catalog['snr'] > 30):
            y, x = (round(catalog[name][k]) for name in 'yx')
            light = scene.source[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            assert light.max() > scene.sigma[y, x]
            n_bright += 1
    assert n_bright


def test_masked_fraction_turns():
    fractions = [s.mask.mean() for s in wild_scenes('source_mask', 5, SIZE, 1)]
    assert_allclose(fractions, [0.36, 0.5, 0.65, 0.8, 0.9], atol=0.03)
    scene = next(wild_scenes('source_mask', 1, SIZE, 1))
    assert not np.any(scene.source[~scene.mask] > SIGMA)
    hidden = scene.mask[
        tuple(np.rint(scene.catalog[name]).astype(int) for name in 'yx')
    ]
    assert hidden.any()
    assert scene.catalog['snr'][hidden].max() <= scene.min_snr


def test_resampled_scene_is_the_field_of_its_native_one():
    scene = next(wild_scenes('drizzled_4', 1, SIZE, 1))
    native = scene.native
    assert scene.image.shape == (2 * SIZE, 2 * SIZE)
    assert native.image.shape == (SIZE // 2, SIZE // 2)
    assert_array_equal(scene.catalog['snr'], native.catalog['snr'])
    binned = scene.source.reshape(SIZE // 2, 4, SIZE // 2, 4).mean(axis=(1, 3))
    assert_allclose(binned.sum(), native.source.sum(), rtol=0.05)
    # Neighbors in a native pixel share the noise.
    noise = scene.image - scene.source - scene.sky
    pairs = np.mean(noise[:, 1:] * noise[:, :-1]) / np.mean(noise**2)
    assert 0.5 < pairs < 0.95


def test_unknown_family():
    with pytest.raises(ValueError, match="family must be one of circle_mask.*'round'"):
        next(wild_scenes('round', 1, SIZE, 1))


@pytest.fixture(scope='module')
def weights(tiny_weights):
    return load_weights(tiny_weights)


class TestBoxSurvey:
    def test_known_sky(self, weights):
        """The best of Background2D is what Background2D gives."""
        scenes = list(wild_scenes('vignetting', 2, SIZE, 2))
        survey = BoxSurvey(Separator(weights))
        for scene in scenes:
            survey.add(scene)
        result = survey.result()
        best = result['Background2D best']
        squares = []
        for scene in scenes:
            sky = Background2D(
                scene.image,
                best['box_size'],
                filter_size=best['filter_size'],
                **scene.options,
            ).background
            squares.append(np.mean(((sky - scene.sky) / scene.sigma) ** 2))
        assert_allclose(best['rms'], np.sqrt(np.mean(squares)), rtol=1e-4)
        assert best['rms'] == min(result['choices']['Background2D'].values())
        assert len(result['choices']['bgrem']) == len(CHOICES) == 10
        assert result['bgrem best']['ratio'] > 0
        assert result['by itself']['n_failed'] == 0

    def test_refusal_is_a_result(self):
        def refuse(scene, *, box_size=64, **_):
            if box_size != 16:
                msg = 'no box is left'
                raise ValueError(msg)
            return SimpleNamespace(background=scene.sky + scene.sigma)

        survey = BoxSurvey(SimpleNamespace(background_with=refuse))
        survey.add(next(wild_scenes('fringes', 1, SIZE, 2)))
        result = survey.result()
        assert result['by itself'] == {
            'bias': None, 'worst_bias': None, 'rms': None, 'n_failed': 1,
            'first_error': 'ValueError: no box is left',
        }  # fmt: skip
        best = result['bgrem best']
        assert best['box_size'] == 16
        assert_allclose(best['rms'], 1, rtol=1e-4)
        assert best['ratio'] is None

    def test_compared_on_the_scenes_that_both_took(self):
        """Alone it refuses the second scene, and is as good on the first."""
        scenes = list(wild_scenes('fringes', 2, SIZE, 2))

        def sky(scene, *, box_size=None, **_):
            if box_size is None and scene is scenes[1]:
                msg = 'no box is left'
                raise ValueError(msg)
            error = 1 if scene is scenes[0] else 9
            return SimpleNamespace(background=scene.sky + error * scene.sigma)

        survey = BoxSurvey(SimpleNamespace(background_with=sky))
        for scene in scenes:
            survey.add(scene)
        result = survey.result()
        assert_allclose(result['bgrem best']['rms'], np.sqrt(41), rtol=1e-4)
        assert_allclose(result['bgrem best']['ratio'], 1, rtol=1e-4)
        assert result['bgrem best']['is_near'] is False


class FixedObserver:
    """Finds given sources, and false ones."""

    def __init__(self, n_false=0, warnings=(), background=0):
        self.n_false = n_false
        self.seen = {'warnings': list(warnings), 'background': background}
        self.seen |= {'by_itself': True, 'error': None}

    def observe(self, scene):
        return self.seen

    def detect(self, scene):
        truth = scene.catalog
        real = truth['snr'] > scene.min_snr
        outside = np.full(self.n_false, -90.0)
        x = np.append(truth['x'][real], outside)
        y = np.append(truth['y'][real], outside)
        return Detections(x, y, np.full(x.size, 0.99))


class TestCatalogSurvey:
    def test_perfect(self):
        survey = CatalogSurvey(FixedObserver())
        scenes = list(wild_scenes('drizzled_3', 2, SIZE, 5))
        for scene in scenes:
            survey.add(scene)
        result = survey.result()
        n_true = sum(int(np.sum(s.catalog['snr'] > 2)) for s in scenes)
        assert result['n_true'] == result['n_found'] == result['n_native'] == n_true
        assert result['false_fraction'] == 0
        assert result['n_bright_found'] == result['n_bright'] > 0
        assert result['silent, held'] == 2

    @pytest.mark.parametrize('warnings', [[], ['beware']])
    def test_broken_promise(self, warnings):
        survey = CatalogSurvey(FixedObserver(30, warnings))
        survey.add(next(wild_scenes('broad_9', 1, SIZE, 5)))
        result = survey.result()
        assert result['n_false'] == 30
        said = 'warns' if warnings else 'silent'
        assert result[f'{said}, broken'] == 1
        assert sum(result[f'{s}, held'] for s in ('warns', 'silent')) == 0


class TestObserver:
    def test_no_island_is_refused(self, weights):
        """Background2D by itself finds no box in an island of 8 px."""
        scene = next(wild_scenes('islands', 1, SIZE, 1))
        observed = Observer(weights).observe(scene)
        assert observed['by_itself']
        assert observed['error'] is None

    def test_refused_scene_is_run_with_its_options(self, weights, monkeypatch):
        scene = next(wild_scenes('islands', 1, SIZE, 1))

        def choosy(*args, box_size='auto', **options):
            if box_size == 'auto':
                msg = 'no box'
                raise ValueError(msg)
            return DiffusionBackground(*args, box_size=box_size, **options)

        monkeypatch.setattr(survey_module, 'DiffusionBackground', choosy)
        observed = Observer(weights).observe(scene)
        assert not observed['by_itself']
        assert observed['background'].exclude_percentile == 100
        assert observed['error'] == 'ValueError: no box'

    def test_failure_is_a_result(self, weights):
        scene = next(wild_scenes('fringes', 1, SIZE, 1))
        scene = replace(scene, mask=np.ones_like(scene.mask))
        observed = Observer(weights).observe(scene)
        assert observed['background'] is None
        assert observed['detections'].score.size == 0
        survey = LevelSurvey(Observer(weights))
        survey.add(scene)
        assert survey.result()['level'] is None

    def test_noise_level(self, weights):
        """The tiny network takes half of the noise for sources."""
        observer = Observer(weights)
        survey = LevelSurvey(observer)
        scene = next(wild_scenes('blank_20', 1, SIZE, 1))
        survey.add(scene)
        result = survey.result()
        rms = observer.observe(scene)['background'].background_rms
        assert_allclose(result['level'], np.median(rms) / 20**0.5, rtol=1e-4)
        assert_allclose(result['parent'], 1, atol=0.1)
        assert result['lowest_sky'] > 10


def test_suite(tiny_weights, capsys, tmp_path):
    families = ['gaps', 'islands', 'interpolated', 'blank_0.01']
    arguments = ['--suite', 'wild', '--weights', str(tiny_weights), '--no-figures']
    arguments += ['--n-scenes', '1', '--size', '48', '-o', str(tmp_path)]
    assert main([*arguments, '--families', *families]) == 0
    text = capsys.readouterr().out
    for heading in ('best box', 'promise of 5%', 'Noise level'):
        assert heading in text
    assert 'sky, by itself | 1 |' not in text
    assert {p.name for p in tmp_path.iterdir()} == {'results.json', 'results.md'}


def test_striped_family_is_detected_without_its_stripes(tiny_weights):
    results = run_wild(
        [tiny_weights, tiny_weights],
        families=['bias_stripes', 'gaps'],
        n_scenes=1,
        size=48,
        parts=['detection'],
        peers={},
    )
    striped, plain = (
        results['families'][family]['detection']['methods']
        for family in ('bias_stripes', 'gaps')
    )
    assert list(plain) == ['tiny']
    assert {'tiny', 'tiny, no stripes'} <= striped.keys() <= results['weights'].keys()
    assert 'bias_stripes' in markdown_report(results)


@pytest.mark.parametrize(
    ('kwargs', 'match'),
    [
        ({'families': ['round']}, 'families must be among circle_mask.*got round'),
        ({'parts': ['taste']}, 'parts must be among detection.*got taste'),
    ],
)
def test_suite_refuses_unknown_names(kwargs, match):
    with pytest.raises(ValueError, match=match):
        run_wild(**kwargs)


def test_tables_by_hand():
    summary = {'bias': -0.0123, 'worst_bias': -0.2, 'rms': 0.1, 'n_failed': 0}
    best = {'box_size': 64, 'filter_size': 1, 'rms': 0.05, 'ratio': 2.0}
    boxes = {
        **dict.fromkeys(('by itself', 'bgrem given', 'Background2D given'), summary),
        'bgrem best': {**best, 'is_near': False},
        'bgrem, mean best': {**best, 'is_near': True},
        'Background2D best': best,
    }
    text = markdown_report(
        {
            'suite': 'wild',
            'weights': {},
            'contaminations': [],
            'families': {'gaps': {'boxes': boxes}},
        }
    )
    assert '| gaps | -0.012 (-0.20) |' in text
    assert '| 0.050 (64/1) | 2.00 ! | 2.00 | 0/0/0 |' in text
