"""Tests of bgrem.evaluate.calibration."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit, logit

from bgrem.detect.discovery import ImageCheck, choose_threshold
from bgrem.detect.probability import calibrate
from bgrem.evaluate.calibration import (
    fit_peaks,
    fit_table,
    main,
    reliability,
    rewrite_header,
)
from bgrem.evaluate.image_check import ScenePeaks, fit_correction, fit_offset
from bgrem.weights import load_weights


def draw(n, seed, slope=0.7, offset=-1.0):
    """Peaks whose true log-odds are linear in the logit."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(-2, 3, n)
    return logit, rng.random(n) < expit(slope * logit + offset)


class TestFitTable:
    def test_finds_the_true_relation(self):
        table = fit_table(*draw(100_000, 0))
        logit = np.linspace(-4, 5, 30)
        assert_allclose(calibrate(logit, table), expit(0.7 * logit - 1), atol=0.03)

    def test_is_a_valid_table(self):
        table = fit_table(*draw(3000, 1), n_knots=32)
        assert 2 < len(table['logit']) <= 32
        assert np.all(np.diff(table['logit']) > 0)
        assert np.all(np.diff(table['probability']) > 0)
        assert 0 < table['probability'][0] < table['probability'][-1] < 1
        calibrate(np.zeros(3), table)

    def test_calibrated_peaks_keep_the_promise(self):
        table = fit_table(*draw(50_000, 2))
        logit, is_true = draw(50_000, 3)
        probability = calibrate(logit, table)
        for rate in (0.05, 0.1, 0.2):
            kept = probability >= choose_threshold(probability, rate)
            assert_allclose(np.mean(~is_true[kept]), rate, rtol=0.15)

    def test_order_does_not_matter(self):
        logit, is_true = draw(2000, 4)
        shuffled = np.random.default_rng(0).permutation(2000)
        assert fit_table(logit, is_true) == fit_table(
            logit[shuffled], is_true[shuffled]
        )

    @pytest.mark.parametrize('seed', [4, 5])
    def test_zero_and_copies_of_the_logit(self, seed):
        """Another zero point moves the knots; what is there twice changes little."""
        values, is_true = draw(3000, seed)
        table = fit_table(values, is_true)
        moved = fit_table(values + 2, is_true)
        assert moved['probability'] == table['probability']
        assert_allclose(np.subtract(moved['logit'], 2), table['logit'], atol=2e-4)
        twice = fit_table(np.tile(values, 2), np.tile(is_true, 2))
        grid = np.linspace(-8, 4, 20)
        assert_allclose(calibrate(grid, twice), calibrate(grid, table), atol=0.02)

    def test_useless_logit_gives_a_constant(self):
        rng = np.random.default_rng(5)
        table = fit_table(rng.normal(size=20_000), rng.random(20_000) < 0.3)
        values = calibrate(np.linspace(-1.5, 1.5, 20), table)
        assert_allclose(values, 0.3, atol=0.04)

    def test_perfect_separation(self):
        logit = np.arange(-50.0, 50.0)
        table = fit_table(logit, logit > 0)
        assert calibrate(np.array([-20.0]), table) < 0.1
        assert calibrate(np.array([20.0]), table) > 0.9

    @pytest.mark.parametrize('is_true', [np.zeros(5, bool), np.ones(5, bool), []])
    def test_nothing_to_fit(self, is_true):
        with pytest.raises(ValueError, match='must hold true and false peaks'):
            fit_table(np.zeros(len(is_true)), is_true)


TABLE = {'logit': [-6.0, 6.0], 'probability': [float(expit(-6)), float(expit(6))]}


def draw_scene(rng, log_excess, slope):
    """Peaks whose log-odds are off by what the flipped peaks tell."""
    logit = rng.uniform(-3, 4, 400)
    is_true = rng.random(400) < expit(logit + 0.2 + slope * log_excess)
    promised = ImageCheck.from_peaks(expit(logit), []).promised
    n_flipped = round(((promised + 2) * np.exp(log_excess) - 2) / 0.5)
    return ScenePeaks(logit, is_true, np.zeros(n_flipped))


class TestFitCorrection:
    def test_finds_the_true_relation(self):
        rng = np.random.default_rng(6)
        excess = rng.uniform(-1, 1, 300)
        scenes = [draw_scene(rng, value, -1.5) for value in excess]
        correction = fit_correction(scenes, TABLE)
        assert_allclose(correction['excess'], -1.5, atol=0.1)
        assert_allclose(correction['offset'], 0.2, atol=0.1)
        lowest = correction['limits']['lowest']
        assert_allclose(lowest, np.percentile(excess, 5), atol=0.05)

    def test_equal_scenes_leave_the_slope(self):
        rng = np.random.default_rng(7)
        scenes = [draw_scene(rng, 0.0, 0.0) for _ in range(50)]
        correction = fit_correction(scenes, TABLE)
        assert_allclose(correction['excess'], 0, atol=0.5)
        assert_allclose(correction['offset'], 0.2, atol=0.1)

    def test_properties_of_the_image(self):
        """Both are told apart from the rest, within the limits of the scenes."""
        rng = np.random.default_rng(10)
        scenes = []
        for correlation, skewness, width in rng.uniform(
            (0, 0, 2), (0.6, 1, 6), (300, 3)
        ):
            p_logit = rng.uniform(-3, 4, 400)
            shift = (
                -2 * correlation - skewness + np.log(width / 4) + np.log(width / 4) ** 2
            )
            is_true = rng.random(400) < expit(p_logit + shift)
            # sure peaks, which have the width
            p_logit = np.append(p_logit, np.full(4, 5.9))
            is_true = np.append(is_true, np.ones(4, bool))
            widths = np.full(404, width)
            peaks = ScenePeaks(p_logit, is_true, [], 1.0, correlation, skewness, widths)
            scenes.append(peaks)
        correction = fit_correction(scenes, TABLE)
        limits = correction['limits']
        assert 2 < limits['narrowest'] < 2.2 < 3.8 < limits['typical_width'] < 4.2
        assert 5.8 < limits['widest'] < 6
        expected = {'correlation': -2, 'skewness': -1, 'width': 1, 'width_squared': 1}
        for name, value in expected.items():
            assert_allclose(correction[name], value, atol=0.15)
        # without any width the limits are one pixel and the factors zero
        plain = [draw_scene(rng, 0.0, 0.0) for _ in range(20)]
        correction = fit_correction(plain, TABLE)
        assert correction['width'] == correction['width_squared'] == 0
        assert correction['limits']['typical_width'] == 1


def test_fit_offset(make_correction):
    rng = np.random.default_rng(11)
    scenes = [draw_scene(rng, value, -1.5) for value in rng.uniform(-1, 1, 100)]
    old = make_correction(offset=3.0, excess=-1.5)
    new = fit_offset(scenes, TABLE, old)
    assert_allclose(new['offset'], 0.2, atol=0.05)
    assert {**new, 'offset': 3.0} == old


def test_offset_is_found_once(make_correction):
    """Fitted again it stays; that of other scenes is another."""
    rng = np.random.default_rng(13)
    scenes = [draw_scene(rng, 0.0, 0.0) for _ in range(40)]
    first = fit_offset(scenes, TABLE, make_correction())
    again = fit_offset(scenes, TABLE, first)
    assert_allclose(again['offset'], first['offset'], atol=5e-3)
    sure = [replace(scene, is_true=scene.center_logit > -2) for scene in scenes]
    assert fit_offset(sure, TABLE, first)['offset'] > first['offset'] + 0.5


def test_what_a_scene_says_of_itself():
    """Faint peaks are not listed, neutral ones count not; both have a probability."""
    logits = np.array([-7.0, -1.0, 3.0])
    is_neutral = np.array([False, True, False])
    scene = ScenePeaks(
        logits, np.array([False, True, True]), [-1.0, -7.0], 0.5, 0.1, 0.2,
        is_neutral=is_neutral,
    )  # fmt: skip
    assert scene.counts.tolist() == [True, False, True]
    assert replace(scene, is_neutral=None).counts.all()
    assert_allclose(scene.probability(TABLE), expit(logits), rtol=1e-5)
    check = scene.check(TABLE)
    expected = expit(np.array([-1.0, 3.0]))
    assert_allclose(check.promised, np.sum(expected * (1 - expected)), rtol=1e-5)
    assert_allclose(check.flipped, expit(-1.0) / 0.5, rtol=1e-5)
    assert (check.correlation, check.skewness) == (0.1, 0.2)
    assert np.isnan(check.width)


class TestFitPeaks:
    def test_keeps_the_promise(self):
        rng = np.random.default_rng(8)
        scenes = [draw_scene(rng, v, -1.2) for v in rng.uniform(-0.8, 0.8, 100)]
        calibration = fit_peaks(scenes)
        n_false = n_kept = 0
        for scene in scenes:
            shift = scene.check(calibration).log_odds_shift(calibration['correction'])
            p = scene.probability(calibration)
            kept = p >= choose_threshold(p, 0.1, shift)
            n_kept += kept.sum()
            n_false += np.sum(~scene.is_true[kept])
        assert_allclose(n_false / n_kept, 0.1, rtol=0.2)

    def test_the_offset_is_that_of_ordinary_scenes(self):
        """One difficult scene in four does not make the others too cautious."""
        rng = np.random.default_rng(12)
        plain = [draw_scene(rng, 0.0, 0.0) for _ in range(60)]
        difficult = []
        for _ in range(20):
            scene = draw_scene(rng, 0.0, 0.0)
            is_true = rng.random(400) < expit(scene.center_logit - 0.8)
            difficult.append(replace(scene, is_true=is_true))
        calibration = fit_peaks([*plain, *difficult])
        p = np.concatenate([scene.probability(calibration) for scene in plain])
        is_true = np.concatenate([scene.is_true for scene in plain])
        correction = calibration['correction']
        shift = plain[0].check(calibration).log_odds_shift(correction)
        kept = p >= choose_threshold(p, 0.1, shift)
        assert_allclose(np.mean(~is_true[kept]), 0.1, rtol=0.1)

    def test_a_broken_scene_does_not_spoil_the_rest(self):
        rng = np.random.default_rng(9)
        scenes = [draw_scene(rng, 0.0, 0.0) for _ in range(40)]
        broken = ScenePeaks(np.full(400, 3.9), np.zeros(400, bool), np.zeros(0))
        alone, together = fit_peaks(scenes), fit_peaks([*scenes, broken])
        assert together == alone

    def test_what_counts_neither_way_is_left_out(self):
        """Half of the false peaks are on sources too faint to count."""
        rng = np.random.default_rng(12)
        scenes, marked = [draw_scene(rng, 0.0, 0.0) for _ in range(40)], []
        for scene in scenes:
            is_neutral = ~scene.is_true & (rng.random(400) < 0.5)
            marked.append(replace(scene, is_neutral=is_neutral))
        before, after = fit_peaks(scenes), fit_peaks(marked)
        for scene in marked[:5]:
            odds = [logit(scene.probability(fit)) for fit in (before, after)]
            assert_allclose(np.median(odds[1] - odds[0]), np.log(2), atol=0.15)
        nothing = replace(scenes[0], is_neutral=np.ones(400, dtype=bool))
        assert fit_peaks([*marked, nothing])['logit'] == after['logit']


def test_reliability_by_hand():
    rows = reliability([0.02, 0.04, 0.95, 0.97, 0.99, 1.0], [0, 1, 1, 1, 1, 0])
    assert [row['n'] for row in rows] == [2, 4]
    assert_allclose([row['promised'] for row in rows], [0.03, 0.9775])
    assert_allclose([row['observed'] for row in rows], [0.5, 0.75])
    assert reliability([], []) == []


@pytest.mark.parametrize('seed', [0, 1])
def test_reliability_loses_no_peak(seed):
    rng = np.random.default_rng(seed)
    p, is_true = rng.random(500), rng.random(500) < 0.4
    rows = reliability(p, is_true)
    n = np.array([row['n'] for row in rows])
    assert n.sum() == 500
    assert len(rows) <= 12
    for name, values in (('promised', p), ('observed', is_true)):
        assert_allclose(np.sum(n * [row[name] for row in rows]), values.sum())
    assert np.all(np.diff([row['promised'] for row in rows]) > 0)
    assert np.ptp(p[p < 1 / 12]) < 1 / 12
    assert rows[0]['n'] == np.sum(p < 1 / 12)


def test_command_writes_elsewhere(tiny_weights, tmp_path, monkeypatch, capsys):
    """The file that was given stays as it is, unless it is the one that is written."""
    table = {'logit': [-1.0, 1.5], 'probability': [0.2, 0.8]}
    seen = []

    def fit(weights, **options):
        seen.append(options)
        return table

    monkeypatch.setattr('bgrem.evaluate.calibration.fit_calibration', fit)
    path, other = tmp_path / 'tiny.safetensors', tmp_path / 'new.safetensors'
    path.write_bytes(tiny_weights.read_bytes())
    arguments = ['--weights', str(path), '--n-scenes', '3', '--size', '64']
    assert main([*arguments, '-o', str(other)]) == 0
    assert seen == [{'n_scenes': 3, 'size': 64, 'progress': True}]
    assert load_weights(other).calibration == table
    assert path.read_bytes() == tiny_weights.read_bytes()
    assert capsys.readouterr().out.splitlines() == [
        '  -1.0000 0.200000', '   1.5000 0.800000', 'null'
    ]  # fmt: skip
    assert main(arguments) == 0
    assert load_weights(path).calibration == table


def test_rewrite_header_keeps_the_tensors(tiny_weights, make_correction, tmp_path):
    weights = load_weights(tiny_weights)
    correction = make_correction(offset=0.1, excess=-1.2)
    table = {'logit': [-1.0, 1.0], 'probability': [0.2, 0.8], 'correction': correction}
    path = tmp_path / 'new.safetensors'
    rewrite_header(weights, path, table)
    new = load_weights(path)
    assert new.calibration == table
    old, new = weights.network().state_dict(), new.network().state_dict()
    assert all(old[key].equal(new[key]) for key in old)


def test_command_reports_a_missing_file(tmp_path, capsys):
    assert main(['--weights', str(tmp_path / 'none.safetensors')]) == 1
    assert 'none.safetensors' in capsys.readouterr().err
