"""Tests of the search for pixels that were filled with a number."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.ndimage import gaussian_filter

from bgrem.sky.blank import blank_pixels

SIZE = 200
Y, X = np.mgrid[:SIZE, :SIZE]
CIRCLE = np.hypot(X - 110, Y - 90) > 85
GAP = (abs(X - 60 + 0.3 * Y) < 2) | (abs(Y - 140) < 4)


@pytest.fixture
def noise():
    return np.random.default_rng(3).normal(size=(SIZE, SIZE))


@pytest.mark.parametrize('dtype', ['f4', 'f8', '>f4'])
@pytest.mark.parametrize('outside', [CIRCLE, GAP, Y < 3], ids=['circle', 'gap', 'rows'])
@pytest.mark.parametrize(
    ('number', 'sky'), [(0, 100), (0, 2), (0, 0), (-999, 30), (1000, 1000), (-0.1, 0)]
)
def test_filled(noise, number, sky, outside, dtype):
    data = np.where(outside, number, sky + noise).astype(dtype)
    assert_array_equal(blank_pixels(data), outside)


@pytest.mark.parametrize('sigma', [0.7, 1.5, 2.5])
def test_filled_correlated(noise, sigma):
    smooth = gaussian_filter(noise, sigma)
    data = np.where(CIRCLE, 0, 5 + smooth / smooth.std())
    assert_array_equal(blank_pixels(data), CIRCLE)


def test_several_numbers(noise):
    """Each number counts by itself; masked pixels are nobody's."""
    data = np.where(CIRCLE, -999, 50 + noise)
    data[80:100, 100:130] = 0
    data[:, :10] = np.nan
    masked = Y < 20
    expected = (CIRCLE | (data == 0)) & (X >= 10)
    assert_array_equal(blank_pixels(data), expected)
    found = blank_pixels(data, masked)
    assert_array_equal(found[25:], expected[25:])
    assert not found[:20].any()


@pytest.mark.parametrize('number', [0, -1])
def test_integers(noise, number):
    data = np.where(CIRCLE, number, np.rint(1000 + 4 * noise))
    assert_array_equal(blank_pixels(data), CIRCLE)
    assert_array_equal(blank_pixels(data.astype('i4')), CIRCLE)


@pytest.mark.parametrize('counts', [0.01, 0.3, 2.0])
def test_counts(counts):
    """Zero photons are a measurement."""
    data = np.random.default_rng(4).poisson(counts, (SIZE, SIZE)).astype(float)
    assert not blank_pixels(data).any()
    assert not blank_pixels(data > 0).any()


def test_single_zeros(noise):
    """Zeros of one or two pixels across may be chance, or bad pixels."""
    data = 100 + noise
    data[50, 60], data[:, 90:92], data[130] = 0, 0, 0
    assert_array_equal(np.argwhere(blank_pixels(data)), np.empty((0, 2)))


@pytest.mark.parametrize(
    ('number', 'shape', 'is_blank'),
    [
        (0, (3, 3), True),
        (0, (2, 40), False),
        (-20, (12, 12), True),
        (-20, (11, 13), False),
        (-20, (5, 35), False),
        (-20, (5, 36), True),
    ],
)
def test_smallest_patches(noise, number, shape, is_blank):
    """A patch of 3x3 zeros; of any other number a hundred middles of such patches."""
    data = 5 + noise
    place = np.s_[40 : 40 + shape[0], 50 : 50 + shape[1]]
    data[place] = number
    expected = np.zeros(data.shape, dtype=bool)
    expected[place] = is_blank
    assert_array_equal(blank_pixels(data), expected)


def test_as_many_numbers_as_an_image_is_filled_with(noise):
    """The four most frequent, whatever their order."""
    data, filled = 5 + noise, np.zeros(noise.shape, dtype=bool)
    for k, number in enumerate((-7, -9, -6, -8, -5)):
        place = np.s_[40 * k + 9 : 40 * k + 13, 50 : 110 + 10 * k]
        data[place] = number
        filled[place] = k > 0
    assert_array_equal(blank_pixels(data), filled)


STARS = sum(
    500 * np.exp(-0.1 * ((X - x) ** 2 + (Y - y) ** 2))
    for x, y in np.random.default_rng(5).uniform(0, SIZE, (60, 2))
)


@pytest.mark.parametrize(
    'data',
    [
        np.zeros((SIZE, SIZE)),
        np.full((SIZE, SIZE), 7.0),
        np.where(CIRCLE, 1.0, 10.0),
        np.where(CIRCLE, 0.0, 3.0 + X),
        np.where(STARS < 1, 0, STARS),
        5.0 + np.where(STARS < 1, 0, STARS),
        np.zeros((1, 1)),
        np.zeros((1, 9)),
    ],
    ids=['zero', 'one', 'step', 'tilt', 'stars', 'pedestal', 'pixel', 'row'],
)
def test_models(data):
    """What is even in an image without noise is its sky."""
    assert not blank_pixels(data).any()


@pytest.mark.parametrize('sigma', [0.0, 1.0, 2.0])
def test_cut_off(noise, sigma):
    """Negative values that were set to zero are no gaps."""
    smooth = gaussian_filter(noise, sigma) if sigma else noise
    assert not blank_pixels(np.maximum(smooth, 0)).any()


def test_saturated(noise):
    star = 5e4 * np.exp(-((X - 90) ** 2 + (Y - 80) ** 2) / 100)
    assert not blank_pixels(np.minimum(100 + noise + star, 2e4)).any()


def test_enlarged(noise):
    """Pixels that were repeated are measurements."""
    assert not blank_pixels(np.kron(noise[:40, :40], np.ones((5, 5)))).any()


def test_input_untouched(noise):
    data = np.where(CIRCLE, 0, noise)
    data.flags.writeable = False
    masked = Y < 9
    masked.flags.writeable = False
    blank_pixels(data, masked)
    assert_array_equal(masked, Y < 9)


@pytest.mark.parametrize('number', [1e30, -1e30, np.finfo('f4').max])
def test_wild_numbers(noise, number):
    """No star is so bright, saturated or not."""
    data = np.where(CIRCLE, number, 100 + noise)
    assert_array_equal(blank_pixels(data), CIRCLE)
    assert_array_equal(blank_pixels(data.astype('f4')), CIRCLE)


@pytest.mark.parametrize('counts', [0.01, 0.3, 3.0, 30.0])
@pytest.mark.parametrize('number', [-1, -999])
def test_filled_counts(counts, number):
    """Where most pixels hold no photon at all, -999 is still no number of them."""
    data = np.random.default_rng(4).poisson(counts, (SIZE, SIZE)).astype(float)
    data[CIRCLE] = number
    assert_array_equal(blank_pixels(data), CIRCLE)
    assert_array_equal(blank_pixels(data.astype('i4')), CIRCLE)


@pytest.mark.parametrize('outside', [CIRCLE, GAP, Y < 3], ids=['circle', 'gap', 'rows'])
@pytest.mark.parametrize(
    ('number', 'sky', 'sigma'),
    [(65535, 100, 1), (1000, 100, 5), (200, 100, 5), (130, 100, 5)],
)
def test_filled_brightly(noise, number, sky, sigma, outside):
    """A number far above the sky that ends where it ends is no star."""
    data = np.where(outside, number, sky + sigma * noise)
    assert_array_equal(blank_pixels(data), outside)
    assert_array_equal(blank_pixels(np.rint(data).astype('u2')), outside)


def test_fill_beside_saturated_stars(noise):
    """Of the same number the border is a fill, and the stars are none."""
    star = 5e6 * (1 + ((X - 120) ** 2 + (Y - 80) ** 2) / 9) ** -2.5
    data = np.minimum(100 + 5 * noise + star, 65535)
    assert np.count_nonzero(data == 65535) > 100
    assert not blank_pixels(data).any()
    border = X < 12
    data[border] = 65535
    assert_array_equal(blank_pixels(data), border)


@pytest.mark.parametrize('fwhm', [1.5, 3, 10])
@pytest.mark.parametrize('beta', [2.5, 4.0])
@pytest.mark.parametrize('peak', [1e5, 1e7])
def test_saturated_stars(noise, fwhm, beta, peak):
    radius = fwhm / 2 / np.sqrt(2 ** (1 / beta) - 1)
    star = peak * (1 + ((X - 90.3) ** 2 + (Y - 80.6) ** 2) / radius**2) ** -beta
    assert not blank_pixels(np.minimum(100 + 5 * noise + star, 6e4)).any()


@pytest.mark.parametrize('counts', [0.3, 1.0, 3.0])
@pytest.mark.parametrize(
    'outside',
    [CIRCLE, X < 60, (X < 10) | (Y < 10) | (X > 189) | (Y > 189), Y < 3],
    ids=['circle', 'half', 'frame', 'rows'],
)
def test_zeros_beside_counts(counts, outside):
    """So many zeros together are no chance, where one alone is."""
    sky = np.random.default_rng(4).poisson(counts, (SIZE, SIZE))
    found = blank_pixels(np.where(outside, 0, sky))
    assert np.mean(found[outside]) > 0.99
    # zeros that touch them cannot be told from them
    assert not found[~outside][sky[~outside] > 0].any()
    assert np.mean(found[~outside]) < 0.05


@pytest.mark.parametrize('counts', [0.1, 1.0, 10.0])
@pytest.mark.parametrize(
    'shape',
    [
        np.exp(-X / 40),
        (X / SIZE) ** 2,
        np.exp(-((X - 100) ** 2 + (Y - 90) ** 2) / 2450),
    ],
    ids=['exponential', 'quadratic', 'disc'],
)
def test_counts_that_fade_away(counts, shape):
    """Where a sky becomes too faint for a photon it is still a measurement."""
    for seed in range(5):
        data = np.random.default_rng(seed).poisson(counts * shape)
        assert not blank_pixels(data).any()


def test_correlated_counts(noise):
    """Zeros that hang together because the noise does are measurements."""
    for sigma in (0.7, 1.5, 3.0):
        smooth = gaussian_filter(noise, sigma)
        data = np.maximum(np.rint(1 + smooth / smooth.std()), 0)
        assert np.mean(data == 0) > 0.25
        assert not blank_pixels(data).any()


def test_sky_of_coarse_steps_between_stars(noise):
    # A digitized plate of a cluster: the noise of the sky is smaller than a step.
    rng = np.random.default_rng(3)
    stars = rng.uniform(0, SIZE, (300, 2))
    light = sum(100 * np.exp(-(np.hypot(Y - y, X - x) ** 2) / 18) for y, x in stars)
    light *= 1 + 0.05 * rng.normal(size=light.shape)
    sky = 114.5 + gaussian_filter(noise, 2) + 0.3 * rng.normal(size=light.shape)
    data = np.rint(sky + light).astype('>i2')
    assert np.count_nonzero((data == 114) | (data == 115)) > 0.1 * data.size
    assert not blank_pixels(data).any()
    # A border of one number is still seen.
    data[:40] = 90
    assert_array_equal(blank_pixels(data), Y < 40)
