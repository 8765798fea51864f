"""Tests of bgrem.evaluate.injections on noise of known covariance."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage
from scipy.stats import norm

from bgrem.evaluate import injections
from bgrem.evaluate.injections import is_near, judge_injections, moffat_psf
from bgrem.evaluate.peers import Detections, matched_filter, oracle
from bgrem.evaluate.scenes import Scene

FWHM = 3.0


def noise_scene(kernel_sigma=0.0, n_stars=8, shape=(390, 400), n_masked=0):
    """Noise of rms 5, smoothed, and bright stars on a sky of 300."""
    rng = np.random.default_rng(1)
    noise = ndimage.gaussian_filter(rng.normal(size=shape), kernel_sigma)
    stars = {
        'x': rng.uniform(20, shape[1] - 20, n_stars),
        'y': rng.uniform(20, shape[0] - 20, n_stars),
        'flux': rng.uniform(2000, 8000, n_stars),
    }
    image = injections._inject(300 + 5 * noise / noise.std(), stars, FWHM)
    mask = np.zeros(shape, bool)
    mask[:n_masked] = True
    image[mask] = 0
    return Scene(
        image=image.astype(np.float32),
        source=None,
        sky=np.full(shape, 300.0),
        sigma=np.full(shape, 5.0),
        mask=mask,
        psf=moffat_psf(FWHM),
        fwhm=FWHM,
        catalog=None,
    )


def test_moffat_psf():
    psf = moffat_psf(3.0)
    assert psf.shape == (33, 33)
    assert_allclose(psf.sum(), 1)
    assert_allclose(psf, psf[::-1, ::-1])
    moved = moffat_psf(3.0, dx=0.3, dy=-0.2)
    y, x = np.mgrid[-16:17, -16:17]
    core = np.hypot(x, y) < 8
    assert_allclose((moved * x)[core].sum() / moved[core].sum(), 0.3, atol=0.03)
    assert_allclose((moved * y)[core].sum() / moved[core].sum(), -0.2, atol=0.03)


@pytest.mark.parametrize('kernel_sigma', [0.0, 0.7])
def test_matched_filter_reaches_its_theory(monkeypatch, kernel_sigma):
    monkeypatch.setattr(injections, 'MAX_DRAWS', 8)
    # more stars, so that chance says less
    monkeypatch.setattr(injections, 'INJECTION_SPACING', 20)
    result = judge_injections(
        noise_scene(kernel_sigma, n_masked=20),
        {'oracle': oracle, 'matched': matched_filter},
        np.random.default_rng(0),
    )
    if kernel_sigma == 0:
        assert_allclose(result['correlation'], 1, atol=0.05)
    else:
        assert result['correlation'] > 1.3
    methods = result['methods']
    # Peaks of a Gaussian field of this width exceed 4.0 sigma 25 times in 1 Mpix
    # (Bardeen et al. 1986); correlation raises the noise of the filter.
    threshold = methods['oracle']['threshold'] / result['correlation']
    assert_allclose(threshold, 4.0, atol=0.35)
    for number, (low, high) in enumerate(((3, 5), (5, 8))):
        expected = norm.sf(threshold - np.geomspace(low, high, 50)).mean()
        found, blind = (methods[m]['bins'][number] for m in ('oracle', 'matched'))
        error = 3 * np.sqrt(expected * (1 - expected) / found['n'])
        assert_allclose(found['completeness'], expected, atol=error)
        # What the stars do to its sky and its noise is in its threshold.
        assert_allclose(blind['completeness'], found['completeness'], atol=0.15)
    assert methods['matched']['threshold'] < 0.95 * methods['oracle']['threshold']
    assert methods['matched']['bins'][-1]['completeness'] > 0.98
    assert sum(b['n'] for b in methods['oracle']['bins']) == result['n_injected']


def test_false_alarms_are_those_of_the_clear_parts(monkeypatch):
    monkeypatch.setattr(injections, 'MAX_DRAWS', 3)
    monkeypatch.setattr(injections, 'FALSE_ALARMS_PER_MPIX', 1000.0)
    scene = noise_scene(n_masked=150)
    seen = []

    def detector(scene):
        """Fire everywhere alike."""
        seen.append(scene.image)
        y, x = np.divmod(np.arange(scene.image.size), scene.image.shape[1])
        score = np.random.default_rng(len(seen)).random(scene.image.size)
        return Detections(x, y, score)

    result = judge_injections(scene, {'any': detector}, np.random.default_rng(0))
    method = result['methods']['any']
    empty, clear = result['empty_megapixels'], result['noise_megapixels'] / 3
    assert 0.05 < clear < empty < 240 * 400 / 1e6
    assert method['false_alarms'] == int(1000 * clear * 3)
    # within 3 times the chance of 150
    assert_allclose(method['detections'], 1000 * scene.image.size / 1e6, rtol=0.25)
    # the image with stars, three times redrawn, and without stars
    assert len(seen) == 5
    assert_array_equal(seen[-1], scene.image)
    assert np.all((seen[0] >= scene.image)[~scene.mask])
    assert not np.array_equal(seen[1], seen[2])
    for image in seen[:4]:
        assert_array_equal(image[scene.mask], seen[0][scene.mask])


def test_no_room_between_the_stars(monkeypatch):
    monkeypatch.setattr(injections, 'INJECTION_SPACING', 4)
    scene = noise_scene(n_stars=0, shape=(120, 130))
    scene.mask[:] = True
    scene.mask[20:-20, 20:-20] = False
    with pytest.raises(ValueError, match='image must have room for stars and for'):
        judge_injections(scene, {}, np.random.default_rng(0))


def test_quiet_detector_keeps_all_it_finds(monkeypatch):
    monkeypatch.setattr(injections, 'MAX_DRAWS', 1)

    def detector(scene):
        y, x = np.nonzero(scene.image > 350)
        return Detections(x, y, scene.image[y, x] - 300.0)

    result = judge_injections(
        noise_scene(shape=(200, 200)), {'quiet': detector}, np.random.default_rng(0)
    )
    method = result['methods']['quiet']
    assert method['threshold'] == method['false_alarms'] == 0
    assert method['detections'] > 8


def test_injected_star_has_its_flux():
    image = np.zeros((80, 80))
    stars = {
        'x': np.array([40.3]), 'y': np.array([39.8]), 'flux': np.array([50.0])
    }  # fmt: skip
    result = injections._inject(image, stars, 3.0)
    assert_allclose(result.sum(), 50)
    assert not image.any()


def test_is_near():
    positions = np.array([[0.0, 0.0], [5.0, 5.0]])
    assert_array_equal(is_near(positions, np.array([[0.0, 1.0]]), 1.0), [True, False])
    assert_array_equal(is_near(positions, np.empty((0, 2)), 1.0), [False, False])
    assert is_near(np.empty((0, 2)), positions, 1.0).shape == (0,)


@pytest.mark.parametrize('fwhm', [2.5, 4.0, 6.0])
def test_width_of_a_moffat(fwhm):
    """Of four times as many pixels inside half the maximum, if it is twice as wide."""
    area = np.sum(moffat_psf(fwhm) > moffat_psf(fwhm).max() / 2)
    assert_allclose(2 * np.sqrt(area / np.pi), fwhm, rtol=0.15)
    turned = moffat_psf(fwhm, 0.3, 0.1)
    assert_allclose(moffat_psf(fwhm, 0.1, 0.3), turned.T)
    assert_allclose(moffat_psf(fwhm, -0.3, 0.1), turned[:, ::-1])


@pytest.mark.parametrize('n_allowed', [0, 3, 10])
def test_no_more_false_alarms_than_allowed(n_allowed):
    scores = np.random.default_rng(n_allowed).integers(1, 40, 50) / 8
    threshold = injections._threshold(scores, n_allowed)
    assert np.sum(scores > threshold) <= n_allowed < np.sum(scores >= threshold)
    assert injections._threshold(scores[:n_allowed], n_allowed) == 0


def test_stars_are_where_the_image_is_empty():
    """On a grid with room for their stamps; their flux is what their S/N needs."""
    scene = noise_scene(shape=(200, 230))
    empty = np.ones((200, 230), bool)
    empty[:90] = False
    noise = np.linspace(1, 2, 230) * np.ones((200, 1))
    stars = injections._draw_stars(scene, noise, empty, np.random.default_rng(2))
    x, y = stars['x'], stars['y']
    assert len(x) > 10
    assert min(x.min(), y.min()) >= 16
    assert (x.max(), y.max()) <= (213, 183)
    assert empty[np.rint(y).astype(int), np.rint(x).astype(int)].all()
    apart = np.hypot(x - x[:, None], y - y[:, None])[~np.eye(len(x), dtype=bool)]
    assert apart.min() > 16
    assert 3 <= stars['snr'].min() < stars['snr'].max() <= 50
    assert_allclose(stars['flux'] / stars['snr'], 1 + np.rint(x) / 229)


def test_completeness_in_bins_by_hand():
    """What is as bright as the lower edge belongs to a bin; a score must be above."""
    stars = {
        'x': np.array([10.0, 30, 50, 70]),
        'y': np.full(4, 5.0),
        'snr': np.array([3.0, 4.9, 5.0, 20.0]),
    }
    found = Detections(
        np.array([10.5, 30, 52.1, 70]), np.full(4, 5.0), np.array([9.0, 1, 9, 2])
    )
    bins = injections._bins(stars, found, 1.0, FWHM)
    assert [one['n'] for one in bins] == [2, 1, 0, 1]
    assert [one['completeness'] for one in bins] == [0.5, 0, 0, 1]
