# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The camera of benchmarks/fringes.py, and how benchmarks/camera.py judges it."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits

from bgrem.evaluate.peers import Detections

BENCHMARKS = Path(__file__).parents[3] / 'benchmarks'
LINE = 0.9  # a wavelength in micrometres


@pytest.fixture(scope='module')
def benchmarks():
    if not BENCHMARKS.exists():
        pytest.skip('the benchmarks are not installed')
    pytest.importorskip('galsim')
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import camera
        import fringes

        patch.setattr(fringes, 'CHIP_SIZE', 200)
        fringes.thickness.cache_clear()
        yield SimpleNamespace(camera=camera, fringes=fringes)
        fringes.thickness.cache_clear()


@pytest.fixture(scope='module')
def fringes(benchmarks):
    return benchmarks.fringes


@pytest.fixture(scope='module')
def bank():
    from bgrem.simulate import build_stamp_bank

    return build_stamp_bank(1, fwhm=(3.0, 3.1), gaussian_fraction=1.0, seed=3)


def rng(seed=1):
    return np.random.default_rng(seed)


def test_a_wavelength_of_path_is_one_fringe(fringes):
    step = LINE / (2 * fringes.INDEX)
    depth = fringes.THICKNESS + step * np.linspace(0, 7, 8001)
    pattern = fringes.fringe_pattern(depth, {LINE: 3.0})
    assert np.sum(np.diff(np.sign(np.diff(pattern))) < 0) == 7
    np.testing.assert_allclose(pattern.max(), 1, atol=1e-5)
    shifted = fringes.fringe_pattern(depth + step / 2, {LINE: 3.0})
    np.testing.assert_allclose(shifted, -pattern, atol=1e-9)


def test_two_lines_beat(fringes):
    lines = {0.90: 1.0, 0.91: 1.0}
    # their fringes are in step again where one more of the shorter line fits in
    beat = 1 / (2 * fringes.INDEX) / (1 / 0.90 - 1 / 0.91)
    depth = np.linspace(0, beat, 100001)
    pattern = fringes.fringe_pattern(depth, lines)[:-1]
    envelope = abs(pattern).reshape(100, -1).max(axis=1)
    assert envelope[[0, -1]].min() > 0.98
    assert envelope[48:52].max() < 0.1


@pytest.mark.parametrize('amplitude', [0.01, 0.05])
def test_level_and_amplitude_are_those_asked_for(fringes, amplitude):
    sky = fringes.blank_sky(0, 8000.0, amplitude, rng())
    np.testing.assert_allclose(sky.mean(), 8000)
    np.testing.assert_allclose(sky.std(), 8000 * amplitude / np.sqrt(2))


def test_the_pattern_is_that_of_the_chip(fringes):
    first, again, other = (
        fringes.blank_sky(chip, 1.0, 0.02, rng(seed)).ravel()
        for chip, seed in ((0, 1), (0, 2), (1, 1))
    )
    assert np.corrcoef(first, again)[0, 1] > 0.8
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.4


def test_counts_have_the_noise_of_their_electrons(fringes):
    counts = fringes.expose(np.full((300, 300), 900.0), rng())
    assert counts.dtype == np.float32
    variance = (900 + fringes.READ_NOISE**2) / fringes.GAIN**2
    assert abs(counts.mean() - 900 / fringes.GAIN) < 4 * np.sqrt(variance) / 300
    np.testing.assert_allclose(counts.var(), variance, rtol=0.03)


def test_blank_frames_and_their_maps(fringes, tmp_path):
    fringes.write_blank_frames(tmp_path)
    paths = sorted(tmp_path.glob('*.fits'))
    assert len(paths) == fringes.N_CHIPS * fringes.N_BLANK
    headers = [fits.getheader(path) for path in paths]
    assert {header['GAIN'] for header in headers} == {fringes.GAIN}
    low, high = fringes.BLANK_AMPLITUDE
    assert all(low <= header['FRINGES'] <= high for header in headers)
    maps = fringes.fringe_maps(tmp_path)
    for chip, found in maps.items():
        true = fringes.blank_sky(chip, 1.0, 0.02, rng())
        assert np.corrcoef(found.ravel(), true.ravel())[0, 1] > 0.8


def test_a_map_is_taken_off_with_its_amplitude(fringes):
    pattern = np.sin(np.arange(60) / 3) * np.ones((60, 1))
    whole = np.zeros((100, 100))
    whole[7:67, 5:65] = pattern
    noise = rng().standard_normal(pattern.shape)
    bright = np.zeros_like(pattern)
    bright[20:24, 30:34] = 500
    image = (100 + 5 * pattern + noise + bright).astype(np.float32)
    exposure = fringes.Exposure(
        image=image, source=bright, sky=image, sigma=noise, psf=noise, fwhm=3.0,
        mask=np.zeros(image.shape, bool), catalog={}, chip=2, corner=(7, 5),
    )  # fmt: skip
    cleaned = fringes.without_fringes(exposure, {2: whole}).image
    np.testing.assert_allclose(cleaned - bright, 100 + noise, atol=0.15)
    assert fringes.without_fringes(exposure, {0: whole}) is exposure


def test_exposures_are_sky_light_and_noise(fringes, bank):
    night = (0.03, 9000.0)
    made = list(fringes.exposures((0, 3), night, 3, 96, bank, seed=4))
    assert [scene.chip for scene in made] == [0, 3, 0]
    for scene in made:
        noise = (scene.image - scene.sky - scene.source) / scene.sigma
        faint = scene.source < scene.sigma
        assert abs(noise[faint].mean()) < 5 / 96
        np.testing.assert_allclose(noise[faint].std(), 1, rtol=0.05)
        y, x = scene.corner
        assert min(y, x) >= 0
        assert max(y, x) <= fringes.CHIP_SIZE - 96
        isolated = scene.catalog['snr'] > 50
        assert (scene.catalog['flux'][isolated] > scene.sigma.mean() * 50).all()
    again = next(fringes.exposures((0, 3), night, 3, 96, bank, seed=4))
    np.testing.assert_array_equal(again.image, made[0].image)


def test_judged_by_what_is_true(benchmarks, bank):
    camera, fringes = benchmarks.camera, benchmarks.fringes
    scenes = list(fringes.exposures((0,), (0.03, 9000.0), 2, 96, bank, seed=4))

    def perfect(scene):
        x, y = (scene.catalog[name] for name in 'xy')
        return Detections(x, y, np.full(x.size, 0.99))

    separator = SimpleNamespace(
        detect=perfect,
        background=lambda scene: SimpleNamespace(background=scene.sky + scene.sigma),
    )
    result = camera.judge_scenes(scenes, {'perfect': separator})
    n_true = sum(int(np.sum(scene.catalog['snr'] > 2)) for scene in scenes)
    assert result['n_true'] == n_true
    ours = result['methods']['perfect']
    assert ours['true'] == [n_true, n_true]
    assert ours['promise'] == [n_true, 0]
    np.testing.assert_allclose(ours['sky'], 1, rtol=1e-5)
    assert set(result['methods']) == {'perfect', *camera.PEER_NAMES}
    maps = {0: np.zeros((fringes.CHIP_SIZE, fringes.CHIP_SIZE))}
    methods = camera.judge_scenes(scenes, {'perfect': separator}, maps)['methods']
    for name in ('perfect', 'photutils'):
        assert methods[f'{name}, fringe map']['true'] == methods[name]['true']
