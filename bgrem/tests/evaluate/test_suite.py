"""Tests of bgrem.evaluate.scenes, suite, report, figures and the command."""

import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import bgrem.evaluate
from bgrem.evaluate.__main__ import main
from bgrem.evaluate.calibration import fit_calibration
from bgrem.evaluate.peers import Detections, oracle
from bgrem.evaluate.report import markdown_report, write_report
from bgrem.evaluate.scenes import evaluation_bank, family_scenes
from bgrem.evaluate.suite import (
    PARTS,
    DetectionSurvey,
    noise_false_alarms,
    run_suite,
)
from bgrem.simulate import FAMILIES
from bgrem.weights import load_weights


@pytest.fixture(scope='module')
def bank(tmp_path_factory):
    pytest.importorskip('galsim')
    return evaluation_bank(n_psf=2, cache=tmp_path_factory.mktemp('cache'))


@pytest.fixture(scope='module')
def scenes(bank):
    return list(family_scenes(bank, 'flat', 3, 96, seed=1))


def test_public_names_resolve():
    for name in bgrem.evaluate.__all__:
        assert callable(getattr(bgrem.evaluate, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        bgrem.evaluate.nothing  # noqa: B018


class TestScenes:
    def test_bank_is_cached(self, tmp_path, monkeypatch, bank):
        monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
        draw = 'bgrem.simulate.cache.build_stamp_bank'
        monkeypatch.setattr(draw, lambda *_, **__: bank)
        assert_array_equal(evaluation_bank(n_psf=2).fwhm, bank.fwhm)
        monkeypatch.setattr(draw, None)
        assert_array_equal(evaluation_bank(n_psf=2).fwhm, bank.fwhm)

    def test_same_seed_same_scenes(self, bank, scenes):
        again = list(family_scenes(bank, 'flat', 3, 96, seed=1))
        other = next(family_scenes(bank, 'flat', 3, 96, seed=2))
        for a, b in zip(scenes, again, strict=True):
            assert_array_equal(a.image, b.image)
        assert np.any(other.image != scenes[0].image)

    def test_truth_belongs_to_the_image(self, scenes):
        assert len(scenes) == 3
        for scene in scenes:
            assert scene.image.shape == scene.sky.shape == (96, 96)
            assert scene.mask.dtype == bool
            assert_allclose(scene.psf.sum(), 1, rtol=1e-3)
            residual = (scene.image - scene.source - scene.sky) / scene.sigma
            assert abs(np.median(residual)) < 0.1
            bright = scene.catalog['snr'] > 30
            x, y = (scene.catalog[k][bright] for k in 'xy')
            light = scene.source[np.rint(y).astype(int), np.rint(x).astype(int)]
            assert np.all(light > scene.sigma.mean())

    def test_batches_do_not_lose_scenes(self, bank):
        assert len(list(family_scenes(bank, 'flat', 6, 32, seed=1))) == 6

    def test_unknown_family(self, bank):
        with pytest.raises(ValueError, match="family must be one of flat.*'round'"):
            next(family_scenes(bank, 'round', 1, 32, seed=1))


class TestDetectionSurvey:
    def test_perfect_detector_finds_all(self, scenes):
        def perfect(scene):
            truth = scene.catalog
            real = truth['snr'] > 2
            return Detections(truth['x'][real], truth['y'][real], truth['snr'][real])

        survey = DetectionSurvey({'perfect': perfect})
        for scene in scenes:
            survey.add(scene)
        result = survey.result()
        n_true = sum(int(np.sum(s.catalog['snr'] > 2)) for s in scenes)
        assert result['n_true'] == n_true > 5
        assert result['methods']['perfect']['true_positives'] == [n_true] * 5
        assert result['methods']['perfect']['curve']['n_true'][-1] == n_true
        assert_allclose(result['megapixels'], 3 * 96**2 / 1e6)

    def test_faint_sources_count_neither_way(self, scenes):
        """Only what lies on nothing, or below S/N 1, is false."""
        truth = {
            'x': np.array([10.0, 30.0, 50.0]),
            'y': np.full(3, 40.0),
            'snr': np.array([5.0, 1.5, 0.5]),
        }
        scene = replace(scenes[0], catalog=truth)

        def every(scene):
            catalog = scene.catalog
            return Detections(catalog['x'], catalog['y'], np.array([0.9, 0.8, 0.7]))

        survey = DetectionSurvey({'every': every}, ['every'])
        survey.add(scene)
        result = survey.result()
        method = result['methods']['every']
        assert result['n_true'] == 1
        assert method['n_detections'] == 2
        assert method['curve'] == {'n_true': [1], 'n_false': [0]}
        (row,) = [r for r in method['false_discovery'] if r['promised'] == 0.2]
        assert (row['n_detections'], row['observed']) == (2, 0.5)

    def test_promise_of_an_honest_detector(self, scenes):
        """One false detection of probability 0.8 for each four true ones."""

        def honest(scene):
            truth = scene.catalog
            real = np.flatnonzero(truth['snr'] > 2)[:4]
            far = np.array([-50.0])
            return Detections(
                np.append(truth['x'][real], far),
                np.append(truth['y'][real], far),
                np.full(real.size + 1, 0.8),
            )

        survey = DetectionSurvey({'honest': honest}, probabilistic=['honest'])
        for scene in scenes:
            survey.add(scene)
        method = survey.result()['methods']['honest']
        promise = {p['promised']: p for p in method['false_discovery']}
        assert promise[0.1]['observed'] is None
        assert promise[0.1]['n_detections'] == 0
        assert_allclose(promise[0.2]['observed'], 0.2)
        (row,) = method['reliability']
        assert_allclose([row['promised'], row['observed']], 0.8)

    def test_promise_of_a_corrected_detector(self, scenes):
        """Its probabilities are too high, and it says by how much."""

        def corrected(scene):
            x, y = scene.catalog['x'][:1] - 50, scene.catalog['y'][:1] - 50
            return Detections(x, y, np.array([0.99]), log_odds_shift=-6.0)

        survey = DetectionSurvey({'corrected': corrected}, ['corrected'])
        survey.add(scenes[0])
        method = survey.result()['methods']['corrected']
        assert [row['n_detections'] for row in method['false_discovery']] == [0] * 5

    def test_blind_detector(self, scenes):
        survey = DetectionSurvey({'blind': lambda _: Detections(*np.empty((3, 0)))})
        survey.add(scenes[0])
        method = survey.result()['methods']['blind']
        assert method['true_positives'] == [0] * 5
        assert method['curve'] == {'n_true': [], 'n_false': []}


@pytest.fixture(scope='module')
def results(bank, tiny_weights):
    return run_suite(
        [tiny_weights],
        families=['flat', 'crowded'],
        n_scenes=2,
        size=64,
        parts=PARTS,
        peers={'oracle': oracle, 'again': oracle},
        bank=bank,
        noise_megapixels=0.01,
    )


def check_sensitivity(part):
    assert part['n_scenes'] == 2
    assert [row['value'] for row in part['steps']] == [1, 3, 6, 11, 15]
    by_factor = {row['value']: row for row in part['factors']}
    # the tiny weights' default is one step of the local normalization
    expected = {**part['steps'][0], 'value': 1.0}
    assert by_factor[1.0] == pytest.approx(expected, rel=1e-3)
    assert by_factor[0.25] != by_factor[4.0]


def check_pixels(part):
    n_bins = len(part['edges']) - 1
    for counts in part['counts'].values():
        assert len(counts) == n_bins
        assert 0 < sum(counts) <= 2 * 64**2
    for cutout in part['cutouts'].values():
        assert np.shape(cutout) == (64, 64)
    assert np.min(part['cutouts']['truth']) >= 0


def test_suite_measures_everything(results):
    assert list(results['families']) == ['flat', 'crowded']
    assert results['weights'].keys() == {'tiny'}
    for part in results['families'].values():
        methods = part['detection']['methods']
        assert list(methods) == ['tiny', 'oracle', 'again']
        counts = [methods[m]['true_positives'] for m in ('oracle', 'again')]
        assert counts[0] == counts[1]
        assert {'false_discovery', 'reliability'} <= methods['tiny'].keys()
        assert part['sky']['bgrem']['rms'] > 0
        assert part['sky'].keys() >= {'Background2D 16', 'bgrem 128'}
        for name in ('Background2D best', 'bgrem best'):
            assert part['sky'][name]['box_size'] in {8, 16, 32, 64, 128}
        assert part['photometry'].keys() == {
            'aperture', 'kron', 'total', 'local', 'positions', 'kinds', 'flux_flux'
        }  # fmt: skip
        assert part['segmentation'].keys() == {'bgrem', 'bgrem, 20%', 'photutils'}
        check_sensitivity(part['sensitivity'])
        check_pixels(part['pixels'])
    assert results['noise_false_alarms']['tiny'].keys() == {
        'white', 'correlated', 'gradient'
    }  # fmt: skip


def test_family_scenes_do_not_depend_on_the_others(bank, tiny_weights, results):
    alone = run_suite(
        [tiny_weights],
        families=['crowded'],
        n_scenes=2,
        size=64,
        parts=['detection'],
        peers={'oracle': oracle},
        bank=bank,
    )
    expected = results['families']['crowded']['detection']['methods']['oracle']
    method = alone['families']['crowded']['detection']['methods']['oracle']
    assert method['curve'] == expected['curve']
    assert alone['families']['crowded'].keys() == {'detection'}


def test_report_round_trip(results, tmp_path):
    text = write_report(results, tmp_path / 'new' / 'folder')
    folder = tmp_path / 'new' / 'folder'
    assert (folder / 'results.md').read_text(encoding='utf-8') == text
    written = json.loads((folder / 'results.json').read_text())
    assert written.pop('version') == bgrem.__version__
    assert re.fullmatch(r'20\d\d-\d\d-\d\d', written.pop('date'))
    assert written == results
    for heading in (
        'True positives',
        'false-discovery',
        'Sky error',
        'Sky and light around sources',
        'Positions of isolated stars',
        'Haigh et al. 2021',
        'numbers of steps',
        'False alarms',
    ):
        assert heading in text
    for line in text.splitlines():
        if line.startswith('| ---'):
            width = line.count('|')
        elif line.startswith('|'):
            assert line.count('|') >= 3
    assert width


def test_report_ratios_by_hand():
    def method(counts):
        return {'true_positives': counts, 'megapixels_per_second': 1.0}

    detection = {
        'n_true': 50,
        'methods': {
            'ours': method([10, 30]),
            'a': method([5, 10]),
            'b': method([4, 20]),
            'oracle': method([0, 40]),
        },
    }
    text = markdown_report(
        {
            'suite': 'optical',
            'weights': {'ours': 'abc'},
            'contaminations': [0.01, 0.2],
            'families': {'flat': {'detection': detection}},
        }
    )
    assert '| flat (50 true) | ours | 10 | 30 | 1.00 |' in text
    assert '| ours / best peer | 2.00 | 1.50 |' in text
    assert '| ours / oracle | - | 0.75 |' in text


def test_sky_table_by_hand():
    sky = {
        'bgrem': {'rms': 0.0421, 'profiles': {}},
        'bgrem best': {'rms': 0.02, 'box_size': 64},
    }
    text = markdown_report(
        {
            'suite': 'optical',
            'weights': {},
            'contaminations': [],
            'families': {'flat': {'sky': sky}},
        }
    )
    assert '| family | bgrem | bgrem best (box) |' in text
    assert '| flat | 0.042 | 0.020 (64) |' in text


@pytest.fixture
def photometry():
    """Fluxes of one method in two bins, as `PhotometrySurvey` gives them."""
    row = {
        'kind': 'star', 'snr_low': 20.0, 'snr_high': None, 'n': 7,
        'median_bias': 0.01234, 'bias_error': 0.002, 'pull_mean': -0.1,
        'pull_std': 1.05, 'median_distance': 0.12,
    }  # fmt: skip
    position = {'n': 5, 'median_distance': 0.1, 'ratio': 1.1}
    return {
        'aperture': {'bgrem': [{**row, 'snr_low': 5.0, 'snr_high': 10.0}, row]},
        'kron': {'bgrem': [row]},
        'total': {'bgrem': [row]},
        'local': {'bgrem': [row]},
        'positions': {
            'n_sources': 9,
            'n_not_finite': 0,
            'centroid': position,
            'position': {
                'n': 0,
                'median_distance': None,
                'ratio': None,
                'pull_std': None,
            },
            'detection': {**position, 'ratio': 1.2},
        },
        'kinds': [
            {
                'snr_low': 50.0,
                'snr_high': None,
                'n_stars': 4,
                'n_galaxies': 3,
                'median_star': 1.0,
                'median_galaxy': 0.6,
                'area': 0.93,
                'stars_kept': 0.75,
            }
        ],
        'flux_flux': {'bgrem': {'true': [5.0, 50.0], 'measured': [6.0, 49.0]}},
    }


def test_photometry_tables_by_hand(photometry):
    text = markdown_report(
        {
            'suite': 'optical',
            'weights': {},
            'contaminations': [],
            'families': {'flat': {'photometry': photometry}},
        }
    )
    cells = 'star | > 20 | 7 | +0.012 ± 0.002 | -0.10 | 1.05 | 0.12 |'
    assert text.count(cells) == 4
    assert '| flat | bgrem | star | 5-10 | 7 |' in text
    assert 'Kron fluxes' in text
    assert '| flat | 9 | 0 | 5 | 0.100 | 1.100 | - | - | - |' in text
    assert '| flat | > 50 | 4 | 3 | 1.00 | 0.60 | 0.93 | 75% |' in text


def test_flux_figure(photometry):
    pytest.importorskip('matplotlib')
    import matplotlib.pyplot as plt

    from bgrem.evaluate.image_figures import plot_flux_flux

    figure = plot_flux_flux({'flat': photometry, 'crowded': photometry})
    line = figure.axes[1].lines[0]
    assert_array_equal(line.get_xydata(), [[5, 6], [50, 49]])
    plt.close(figure)


def test_figures(results, tmp_path):
    pytest.importorskip('matplotlib')
    from bgrem.evaluate.figures import write_figures

    log = tmp_path / 'log.csv'
    log.write_text('step,train_loss,validation_loss\n100,0.5,0.6\n200,0.4,0.5\n')
    paths = write_figures(results, tmp_path, training_log=log)
    assert {p.stem for p in paths} == {
        'before_after', 'curves', 'flux_flux', 'light_kept', 'normalization',
        'pixel_histogram', 'reliability', 'sky_error', 'steps', 'training',
        'without_false',
    }  # fmt: skip
    assert all(p.stat().st_size > 1000 for p in paths)


def test_figures_of_one_part(results, tmp_path):
    pytest.importorskip('matplotlib')
    from bgrem.evaluate.figures import write_figures

    families = {f: {'sky': part['sky']} for f, part in results['families'].items()}
    paths = write_figures({**results, 'families': families}, tmp_path)
    assert {p.name for p in paths} == {'sky_error.png', 'light_kept.png'}


def test_training_figure_refuses_other_tables(tmp_path):
    pytest.importorskip('matplotlib')
    from bgrem.evaluate.image_figures import plot_training

    path = tmp_path / 'log.csv'
    path.write_text('epoch,accuracy\n1,0.5\n')
    with pytest.raises(ValueError, match=r'must have columns step and \*loss, got'):
        plot_training(path)


@pytest.mark.parametrize(
    ('kwargs', 'match'),
    [
        ({'families': ['round']}, 'families must be among flat.*got round'),
        ({'parts': ['taste']}, 'parts must be among detection.*got taste'),
    ],
)
def test_suite_refuses_unknown_names(kwargs, match):
    with pytest.raises(ValueError, match=match):
        run_suite(**kwargs)


def test_noise_false_alarms_are_counted(tiny_weights):
    alarms = noise_false_alarms(load_weights(tiny_weights), megapixels=0.004, size=64)
    assert all(value >= 0 for value in alarms.values())


def test_fit_calibration(bank, tiny_weights):
    weights = load_weights(tiny_weights)
    scenes = FAMILIES['flat']
    table = fit_calibration(weights, scenes=scenes, n_scenes=2, size=64, bank=bank)
    assert np.all(np.diff(table['probability']) > 0)
    limits = table['correction'].pop('limits')
    values = [*table['correction'].values(), *limits.values()]
    assert np.all(np.isfinite(values))
    assert weights.calibration == load_weights(tiny_weights).calibration


class TestCommand:
    def test_unknown_weights(self, capsys, tmp_path):
        path, out = tmp_path / 'none.safetensors', tmp_path / 'out'
        assert main(['--no-figures', '--weights', str(path), '-o', str(out)]) == 1
        error = capsys.readouterr().err
        assert error.startswith('error: ')
        assert 'none.safetensors' in error
        assert not out.exists()

    def test_no_figures_can_be_drawn(self, capsys, monkeypatch):
        """It is said before anything is measured."""
        monkeypatch.setattr('bgrem.evaluate.__main__._measure', lambda _: 1 / 0)
        monkeypatch.setitem(sys.modules, 'matplotlib', None)
        assert main([]) == 1
        error = capsys.readouterr().err
        assert (
            error == "error: matplotlib is not installed: pip install 'bgrem[plot]'\n"
        )

    @pytest.mark.parametrize('option', ['--n-scenes', '--size'])
    def test_bad_number(self, option, capsys):
        assert main(['--no-figures', option, '0']) == 1
        assert 'must be a positive integer, got 0' in capsys.readouterr().err

    def test_empty_folder_of_real_images(self, capsys, tmp_path, tiny_weights):
        arguments = ['--real', str(tmp_path), '--weights', str(tiny_weights)]
        assert main([*arguments, '--no-figures']) == 1
        assert 'holds none of the images' in capsys.readouterr().err

    def test_run(self, capsys, tmp_path, tiny_weights, bank, monkeypatch):
        monkeypatch.setattr('bgrem.evaluate.suite.evaluation_bank', lambda: bank)
        monkeypatch.setattr('bgrem.evaluate.suite.PEERS', {'oracle': oracle})
        out = tmp_path / 'out'
        arguments = ['--weights', str(tiny_weights), '-o', str(out), '--no-figures']
        arguments += ['--families', 'flat', '--parts', 'detection']
        assert main([*arguments, '--n-scenes', '1', '--size', '64']) == 0
        assert 'tiny / oracle' in capsys.readouterr().out
        assert {p.name for p in out.iterdir()} == {'results.json', 'results.md'}
