"""Tests of bgrem.evaluate.photometry, positions and sky."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bgrem import DiffusionBackground
from bgrem.evaluate.photometry import (
    PhotometrySurvey,
    aperture_sums,
    summarize_fluxes,
)
from bgrem.evaluate.positions import (
    is_isolated,
    position_limit,
    summarize_positions,
)
from bgrem.evaluate.scenes import Scene
from bgrem.evaluate.separator import Separator
from bgrem.evaluate.sky import RADIUS_EDGES, SkySurvey, sky_residual
from bgrem.pipeline import Separation
from bgrem.sky.normalization import Normalization
from bgrem.weights import load_weights

FWHM = 3.0


@pytest.fixture
def scene():
    shape = (30, 40)
    mask = np.zeros(shape, dtype=bool)
    mask[:, 0] = True
    return Scene(
        image=None,
        source=None,
        sky=np.full(shape, 100.0),
        sigma=np.full(shape, 4.0),
        mask=mask,
        psf=None,
        fwhm=3.0,
        catalog={},
    )


def test_sky_residual(scene):
    background = scene.sky + 2.0
    background[:, 0] = 1e6  # masked
    residual = sky_residual(background, scene)
    assert residual.size == 30 * 39
    assert_allclose(residual, 0.5)


def test_aperture_sums():
    data = np.full((40, 40), 3.0)
    flux, error = aperture_sums(data, np.array([20.0]), np.array([18.5]), 5.0)
    assert_allclose(flux, 3 * np.pi * 25)
    assert error is None
    _, error = aperture_sums(data, [20.0], [18.5], 5.0, np.full(data.shape, 2.0))
    # photutils 3.1 weighs the variance of a pixel that the circle cuts by the square
    assert_allclose(error, 2 * np.sqrt(np.pi * 25), rtol=0.05)


def test_summary_of_perfect_errors():
    rng = np.random.default_rng(0)
    n = 20_000
    snr = rng.uniform(3, 60, n)
    flux_error = np.full(n, 2.0)
    true_flux = 2.0 * snr
    table = {
        'flux': rng.normal(1.02 * true_flux, flux_error),
        'flux_error': flux_error,
        'true_flux': true_flux,
        'snr': snr,
        'is_star': np.arange(n) % 2 == 0,
        'distance': np.full(n, 0.25),
    }
    rows = summarize_fluxes(table)
    assert [(r['kind'], r['snr_low']) for r in rows] == [
        (kind, low) for kind in ('star', 'galaxy') for low in (3, 5, 10, 20)
    ]
    assert rows[-1]['snr_high'] is None
    assert sum(r['n'] for r in rows) == n
    bright = rows[3]
    assert_allclose(bright['median_bias'], 0.02, atol=0.002)
    assert abs(bright['median_bias'] - 0.02) < 4 * bright['bias_error'] < 0.004
    faint = rows[0]
    assert_allclose(faint['pull_mean'], 0.02 * 4, atol=0.1)
    assert_allclose(faint['pull_std'], 1, atol=0.08)
    assert_allclose([r['median_distance'] for r in rows], 0.25)


def test_summary_leaves_out_empty_bins():
    table = {
        name: np.array([value])
        for name, value in (
            ('flux', 30.0), ('flux_error', 1.0), ('true_flux', 30.0),
            ('snr', 30.0), ('is_star', True), ('distance', 0.0),
        )
    }  # fmt: skip
    rows = summarize_fluxes(table)
    assert len(rows) == 1
    assert rows[0]['n'] == 1
    assert rows[0]['median_bias'] == 0


def test_summary_leaves_out_what_is_not_finite():
    table = {
        'flux': np.array([30.0, np.nan]), 'flux_error': np.array([1.0, np.nan]),
        'true_flux': np.full(2, 30.0), 'snr': np.full(2, 30.0),
        'is_star': np.full(2, True), 'distance': np.zeros(2),
    }  # fmt: skip
    (row,) = summarize_fluxes(table)
    assert row['n'] == 1


def gaussian(y0, x0, fwhm=FWHM, size=33):
    y, x = np.mgrid[:size, :size]
    sigma = fwhm / 2.3548
    profile = np.exp(-((y - y0) ** 2 + (x - x0) ** 2) / (2 * sigma**2))
    return profile / (2 * np.pi * sigma**2)


def test_position_limit_of_a_gaussian():
    """Known answer: sqrt(8 pi) w^2 / (F / noise), w the Gaussian's sigma."""
    width = FWHM / 2.3548
    limit = position_limit(gaussian(16, 16), [1000.0, 2000.0], [5.0, 5.0])
    assert_allclose(limit, np.sqrt(8 * np.pi) * width**2 / [200, 400], rtol=1e-3)
    # Photon noise alone: width / sqrt(number of electrons).
    limit = position_limit(gaussian(16, 16), [1000.0], [0.1], gain=4.0)
    assert_allclose(limit, width / np.sqrt(4000), rtol=2e-2)


def test_position_limit_is_reached_by_a_fit():
    """The maximum-likelihood shift of a star scatters by the limit."""
    rng = np.random.default_rng(5)
    star = 1000 * gaussian(16, 16)
    slope = 1000 * (gaussian(16, 16.01) - gaussian(16, 15.99)) / 0.02
    noise = rng.normal(0, 5, (2000, 33, 33))
    shift = np.sum(noise * slope, axis=(1, 2)) / np.sum(slope**2)
    (limit,) = position_limit(gaussian(16, 16), [star.sum()], [5.0])
    assert_allclose(shift.std(), limit, rtol=0.05)


def test_is_isolated():
    catalog = {
        'x': np.array([0.0, 100.0, 104.0, 200.0, 203.0]),
        'y': np.zeros(5),
        'snr': np.array([10.0, 10.0, 3.0, 50.0, 1.5]),
    }
    expected = [True, False, False, True, False]
    assert is_isolated(catalog, FWHM).tolist() == expected


def test_positions_at_the_limit():
    rng = np.random.default_rng(6)
    limit = rng.uniform(0.1, 0.3, 20_000)
    distance = np.hypot(*rng.normal(0, limit, (2, limit.size)))
    summary = summarize_positions(distance, limit)
    assert_allclose(summary['ratio'], 1, atol=0.02)
    assert_allclose(summarize_positions(2 * distance, limit)['ratio'], 2, atol=0.04)
    assert summarize_positions([], []) == {
        'n': 0, 'median_distance': None, 'ratio': None
    }  # fmt: skip


@pytest.fixture(scope='module')
def stars():
    """A scene of isolated stars of aperture S/N above 10 on a sky of 100."""
    rng = np.random.default_rng(7)
    shape, sigma = (192, 192), 10.0
    y, x = (c.ravel().astype(float) for c in np.mgrid[16:192:32, 16:192:32])
    y, x = y + rng.uniform(-0.5, 0.5, y.size), x + rng.uniform(-0.5, 0.5, x.size)
    flux = rng.uniform(4000, 12_000, x.size)
    source = np.zeros(shape)
    for y0, x0, f in zip(y, x, flux, strict=True):
        rows, columns = int(y0) - 16, int(x0) - 16
        box = np.s_[rows + 1 : rows + 32, columns + 1 : columns + 32]
        source[box] += f * gaussian(y0 - rows, x0 - columns)[1:32, 1:32]
    noise = rng.normal(0, sigma, shape) + rng.normal(size=shape) * np.sqrt(source)
    return Scene(
        image=source + 100 + noise,
        source=source,
        sky=np.full(shape, 100.0),
        sigma=np.full(shape, sigma),
        mask=np.zeros(shape, bool),
        psf=gaussian(16, 16),
        fwhm=FWHM,
        catalog={
            'x': x,
            'y': y,
            'flux': flux,
            'snr': flux / (sigma * np.sqrt(4 * np.pi) * FWHM / 2.3548),
            'is_star': np.ones(x.size, bool),
            'half_light_radius': np.zeros(x.size),
        },
    )


class PerfectSeparator(Separator):
    """It knows the truth of a scene."""

    def separate(self, scene):
        probability = np.full(scene.image.shape, 1e-4, dtype=np.float32)
        row, column = (np.rint(scene.catalog[k]).astype(int) for k in 'yx')
        probability[row, column] = 0.99
        meta = {
            'weights': 'perfect',
            'n_steps': 1,
            'normalization': 'local',
            'binning': 1,
        }
        return Separation(
            scene.source.copy(),
            probability,
            Normalization(scene.sky, scene.sigma),
            meta,
        )


@pytest.fixture
def perfect(tiny_weights):
    return PerfectSeparator(load_weights(tiny_weights))


class TestPhotometrySurvey:
    @pytest.fixture
    def result(self, stars, perfect):
        survey = PhotometrySurvey(perfect)
        survey.add(stars)
        return survey.result()

    def test_perfect_separation(self, result):
        """The fluxes are as good as the noise allows."""
        ours, ideal = (result['aperture'][n] for n in ('bgrem', 'true sky'))
        assert sum(row['n'] for row in ours) == 36
        others = [
            row
            for name in ('bgrem, mean', 'bgrem 8', 'bgrem, mean 8')
            for row in result['aperture'][name]
        ]
        for row in ours + ideal + others:
            assert abs(row['median_bias']) < 0.05
            assert 0.5 < row['pull_std'] < 1.5
        for row in result['aperture']['denoised, clipped']:
            # here the denoised image is the truth, at whatever aperture
            assert_allclose(row['median_bias'], 0, atol=1e-9)

    def test_kron_fluxes_are_total(self, result):
        for row in result['kron']['denoised, clipped']:
            assert -0.06 < row['median_bias'] < 0.01

    def test_total_fluxes_have_what_kron_apertures_leave_out(self, result):
        kron, total = (result[kind]['denoised, clipped'] for kind in ('kron', 'total'))
        for part, whole in zip(kron, total, strict=True):
            assert part['median_bias'] < whole['median_bias']
            assert abs(whole['median_bias']) < 0.01

    def test_local_background(self, result):
        """On a flat sky it changes little; it is not measured on all images."""
        assert list(result['local']) == ['bgrem', 'true sky']
        for total, local in zip(
            result['total']['bgrem'], result['local']['bgrem'], strict=True
        ):
            assert total['n'] == local['n'] > 0
            assert total['median_bias'] != local['median_bias']
            assert abs(local['median_bias']) < 0.05

    def test_positions(self, result):
        positions = result['positions']
        assert positions['n_sources'] == positions['centroid']['n'] == 36
        assert positions['n_not_finite'] == 0
        # one is measured on an image without noise, the other on the data
        assert positions['centroid']['ratio'] < 0.5
        assert 0.7 < positions['position']['ratio'] < 1.5
        # the peaks are whole pixels here, and some are too far off
        assert 0.7 < positions['position']['pull_std'] < 1.5
        assert positions['position']['n'] == 36

    def test_pairs(self, result):
        pairs = result['flux_flux']['denoised, clipped']
        assert len(pairs['true']) == 36
        assert_allclose(pairs['measured'], pairs['true'])

    def test_nothing_found(self, stars, perfect, monkeypatch):
        monkeypatch.setattr(DiffusionBackground, 'detect', lambda _: None)
        survey = PhotometrySurvey(perfect)
        survey.add(stars)
        result = survey.result()
        assert result['aperture'] == result['kron'] == {}
        assert result['positions']['position']['ratio'] is None
        assert result['positions']['position']['pull_std'] is None


def test_sky_profiles(stars, perfect):
    survey = SkySurvey(perfect, box_sizes=(64,))
    survey.add(stars)
    result = survey.result()
    assert list(result) == [
        'Background2D 64', 'bgrem', 'bgrem 64', 'bgrem, mean', 'bgrem, mean 64',
        'Background2D best', 'bgrem best', 'bgrem, mean best',
    ]  # fmt: skip
    profile = result['bgrem']['profiles']['star']
    assert profile['radius'] == list(RADIUS_EDGES[1:])
    assert_allclose(profile['light_kept'], 1)
    assert_allclose(profile['bias'], 0, atol=0.1)
    assert np.all(np.abs(profile['bias']) <= np.array(profile['rms']) + 1e-9)
    assert 'light_kept' not in result['Background2D 64']['profiles']['star']


class BiasedSeparator:
    """A sky too high by sigma * 16 / box size (auto: 32), and half of the light."""

    def background(self, scene, box_size, _):
        box_size = 32 if box_size == 'auto' else box_size
        return SimpleNamespace(background=scene.sky + 16 / box_size * scene.sigma)

    def separate(self, scene):
        return SimpleNamespace(source=scene.source / 2)


def test_sky_profile_of_a_known_error(stars):
    """The same error in every ring; there is no best one of no boxes."""
    survey = SkySurvey(BiasedSeparator(), box_sizes=())
    survey.add(stars)
    assert list(survey.result()) == ['bgrem', 'bgrem, mean']
    result = survey.result()['bgrem']
    profile = result['profiles']['star']
    assert_allclose(result['bias'], 0.5)
    for key in ('bias', 'rms', 'light_kept'):
        assert_allclose(profile[key], 0.5)


@pytest.mark.parametrize(
    ('box_sizes', 'best', 'name'),
    [((16, 32), 32, 'bgrem 32'), ((16, 64, 32), 64, 'bgrem 64')],
)
def test_best_box(box_sizes, best, name, stars):
    survey = SkySurvey(BiasedSeparator(), box_sizes=box_sizes)
    survey.add(stars)
    result = survey.result()
    assert result['bgrem best'] == {'box_size': best, **result[name]}
    assert_allclose(result['bgrem best']['rms'], 16 / best)
    parent = {box: result[f'Background2D {box}'] for box in box_sizes}
    best = min(box_sizes, key=lambda box: parent[box]['rms'])
    assert result['Background2D best'] == {'box_size': best, **parent[best]}


def test_no_scenes(perfect):
    assert SkySurvey(perfect).result() == {}


def test_sums_are_linear_and_move_with_the_image():
    rng = np.random.default_rng(8)
    one, two = rng.normal(10, 3, (2, 50, 60))
    x, y = rng.uniform(12, 35, (2, 9))
    sums = [aperture_sums(data, x, y, 4.3)[0] for data in (one, two)]
    both, _ = aperture_sums(2 * one - two, x, y, 4.3)
    assert_allclose(both, 2 * sums[0] - sums[1])
    moved, _ = aperture_sums(np.roll(one, (6, 8), axis=(0, 1)), x + 8, y + 6, 4.3)
    assert_allclose(moved, sums[0])
    assert_allclose(aperture_sums(one.T, y, x, 4.3)[0], sums[0])
    _, error = aperture_sums(one, x, y, 4.3, np.abs(two))
    assert_allclose(aperture_sums(one, x, y, 4.3, 5 * np.abs(two))[1], 5 * error)


def test_bins_of_fluxes_hold_their_lower_edge():
    """Fainter ones have no row; an error of 0 is none."""
    snr = np.array([2.99, 3.0, 4.99, 5.0, 20.0, 500.0, 30.0])
    table = {
        'flux': 1.1 * snr,
        'flux_error': np.array([1, 1, 1, 1, 1, 1, 0.0]),
        'true_flux': snr,
        'snr': snr,
        'is_star': np.array([True, True, False, True, True, True, True]),
        'distance': np.arange(7.0),
    }
    rows = summarize_fluxes(table)
    names = ('kind', 'snr_low', 'n', 'median_distance')
    assert [tuple(row[name] for name in names) for row in rows] == [
        ('star', 3, 1, 1), ('star', 5, 1, 3), ('star', 20, 2, 4.5), ('galaxy', 3, 1, 2)
    ]  # fmt: skip
    assert_allclose([row['median_bias'] for row in rows], 0.1)
    assert_allclose(rows[1]['pull_mean'], 0.5)


def test_one_cosmic_ray_decides_no_bin():
    rng = np.random.default_rng(9)
    n = 400
    table = {
        'flux': 30 + rng.normal(size=n), 'flux_error': np.ones(n),
        'true_flux': np.full(n, 30.0), 'snr': np.full(n, 30.0),
        'is_star': np.ones(n, dtype=bool), 'distance': np.zeros(n),
    }  # fmt: skip
    table['flux'][7] = 1e9
    (row,) = summarize_fluxes(table)
    assert abs(row['pull_mean']) < 0.2
    assert 0.85 < row['pull_std'] < 1.15


def test_position_limits_of_other_units_and_axes():
    psf = gaussian(16, 16) + 0.4 * gaussian(15, 18, 5.0)
    psf /= psf.sum()
    flux, sigma = np.array([100.0, 900.0]), np.array([2.0, 3.0])
    limit = position_limit(psf, flux, sigma)
    assert_allclose(position_limit(psf.T, flux, sigma), limit)
    assert_allclose(position_limit(psf[::-1], flux, sigma), limit)
    assert_allclose(position_limit(psf, 7 * flux, 7 * sigma), limit)
    assert_allclose(position_limit(psf, 2 * flux, sigma), limit / 2)
    # photons only add; half as many electrons per count are twice the variance
    noisy = [position_limit(psf, flux, sigma, gain) for gain in (0.5, 1.0, 1e9)]
    assert np.all(noisy[0] > noisy[1])
    assert np.all(noisy[1] > limit)
    assert_allclose(noisy[2], limit, rtol=1e-3)


def test_neighbours_are_those_that_count():
    """With none at all everyone is alone; oneself is no neighbor."""
    faint = {'x': np.zeros(3), 'y': np.zeros(3), 'snr': np.full(3, 2.0)}
    assert is_isolated(faint, FWHM).all()
    rng = np.random.default_rng(4)
    x, y = rng.uniform(0, 90, (2, 60))
    snr = rng.uniform(0, 9, 60)
    apart = np.hypot(x - x[:, None], y - y[:, None])
    np.fill_diagonal(apart, np.inf)
    expected = apart[:, snr > 2].min(axis=1) > 3 * FWHM
    found = is_isolated({'x': x, 'y': y, 'snr': snr}, FWHM)
    assert found.tolist() == expected.tolist()
    assert 5 < found.sum() < 55
