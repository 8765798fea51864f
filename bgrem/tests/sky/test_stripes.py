"""Tests of the stripes: images whose rows and columns are known."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bgrem.sky.stripes import find_stripes, measure_stripes

SHAPE = (200, 260)
SIGMA = 4.0
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]
NOWHERE = np.zeros(SHAPE, dtype=bool)


@pytest.fixture
def rng():
    return np.random.default_rng(33)


@pytest.fixture
def noise(rng):
    return rng.normal(1000, SIGMA, SHAPE)


def step_error(error):
    return np.std(np.diff(error)) / np.sqrt(2)


def check(data, rows, columns, unusable=NOWHERE, *, precision=0.12):
    """
    The levels are right to little more than a median can be, in units of the noise.

    What they have in common over the width of a box is the smooth sky's.
    """
    found = measure_stripes(data, unusable)
    for levels, truth in zip(found, (rows, columns), strict=True):
        assert step_error(levels - truth) < precision * SIGMA


@pytest.mark.parametrize('strength', [2.0, 4.0, 12.0])
@pytest.mark.parametrize('which', ['rows', 'columns', 'both'])
def test_stripes(rng, noise, strength, which):
    rows, columns = (strength * rng.normal(size=n) for n in SHAPE)
    rows *= which != 'columns'
    columns *= which != 'rows'
    check(noise + rows[:, None] + columns, rows, columns)


def test_without_stripes(noise):
    """Hardly anything is taken from an image that has none."""
    for levels in measure_stripes(noise, NOWHERE):
        # the errors of the medians alone are 0.08 to 0.09
        assert np.std(levels) < 0.02 * SIGMA


@pytest.mark.parametrize('sigma', [0.3, 0.5, 1.0])
def test_coarse_steps(rng, sigma):
    """The median of integers jumps by one; that is no stripe."""
    data = np.rint(rng.normal(100.5, sigma, SHAPE))
    for levels in measure_stripes(data, NOWHERE):
        assert np.std(levels) < 0.1 * np.std(data)
    rows = rng.normal(size=SHAPE[0])
    data = np.rint(rng.normal(100.5 + rows[:, None], sigma, SHAPE))
    found, _ = measure_stripes(data, NOWHERE)
    assert step_error(found - rows) < 0.2


def test_counts(rng):
    """The median of photons is not their mean, and all rows are alike in that."""
    for mean in (0.3, 1.7, 5.7):
        for levels in measure_stripes(rng.poisson(mean, SHAPE), NOWHERE):
            assert np.std(levels) < 0.05 * np.sqrt(mean)
            assert abs(np.mean(levels)) < 0.05 * np.sqrt(mean)


def test_smooth_sky(rng, noise):
    """What varies more slowly is the sky's."""
    sky = 40 * np.sin(X / 60) + 0.2 * Y
    rows = 8 * rng.normal(size=SHAPE[0])
    check(noise + sky + rows[:, None], rows, np.zeros(SHAPE[1]), precision=0.25)


def test_sources(rng, noise):
    """Rows through stars and galaxies are not darker for it."""
    galaxy = 300 * np.exp(-np.hypot(Y - 100, (X - 90) / 2) / 12)
    stars = sum(
        500 * np.exp(-((Y - y) ** 2 + (X - x) ** 2) / 6)
        for y, x in rng.uniform(0, 200, (150, 2))
    )
    rows = 4 * rng.normal(size=SHAPE[0])
    data = noise + rows[:, None] + galaxy + stars
    check(data, rows, np.zeros(SHAPE[1]), precision=0.2)


def test_mask(rng, noise):
    """What is masked does not matter; a line without pixels has no level."""
    rows = 12 * rng.normal(size=SHAPE[0])
    data = noise + rows[:, None]
    mask = (X > 200) | (Y < 10)
    found = measure_stripes(data, mask)
    assert_array_equal(found[0][:10], 0)
    assert_array_equal(found[1][201:], 0)
    data[mask] = np.nan
    for one, other in zip(found, measure_stripes(data, mask), strict=True):
        assert_array_equal(one, other)
    assert step_error((found[0] - rows)[10:]) < 0.15 * SIGMA


@pytest.mark.parametrize('shape', [(1, 1), (1, 40), (3, 3), (60, 2)])
def test_small(shape, rng):
    data = rng.normal(size=shape)
    for levels, n in zip(measure_stripes(data, data > 9), shape, strict=True):
        assert levels.shape == (n,)
        assert np.all(np.isfinite(levels))
    for levels in measure_stripes(data, data < 9):
        assert_array_equal(levels, 0)


class TestFindStripes:
    """Rows and columns that are like no sky."""

    NOISE = np.random.default_rng(6).normal(size=(120, 160))
    ALL = np.ones((120, 160), dtype=bool)

    @pytest.mark.parametrize('strength', [0.5, 3.0])
    def test_found(self, strength):
        rng = np.random.default_rng(2)
        columns = strength * rng.normal(size=160)
        rows, found = find_stripes(columns + self.NOISE, self.ALL)
        assert_array_equal(rows, 0)
        assert_allclose(found, columns, atol=4 / np.sqrt(120))
        found = find_stripes((columns + self.NOISE).T, self.ALL.T)[0]
        assert_allclose(found, columns, atol=4 / np.sqrt(120))

    def test_red_noise(self):
        """1/f noise is rough, too."""
        spectrum = np.fft.rfft(np.random.default_rng(2).normal(size=1200))
        spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
        rows = np.fft.irfft(spectrum)[:120]
        rows /= rows.std()
        found = find_stripes(rows[:, np.newaxis] + self.NOISE, self.ALL)[0]
        assert_allclose(found, rows, atol=0.4)

    def test_masked_rows(self):
        usable = self.ALL.copy()
        usable[40:50] = False
        data = np.where(usable, self.NOISE, np.nan)
        data += 2 * np.random.default_rng(2).normal(size=(120, 1))
        rows, columns = find_stripes(data, usable)
        assert_array_equal(rows[40:50], 0)
        assert np.count_nonzero(rows) == 110
        assert_array_equal(columns, 0)

    @pytest.mark.parametrize(
        'sky',
        [
            lambda y, x: 0 * y + 0 * x,
            lambda y, x: 0.3 * y + 0 * x,
            lambda y, x: 50 * (y > 70) + 0 * x,
            lambda y, x: 50 * (y == 70) + 0 * x,
            lambda y, x: 3 * np.sin(y / 6) + 0 * x,
            lambda y, x: 4 * np.sin(y / 4) * np.sin(x / 4),
        ],
        ids=['flat', 'slope', 'step', 'bad_row', 'fringes', 'nebulosity'],
    )
    def test_no_stripes(self, sky):
        for found in find_stripes(sky(*np.ogrid[:120, :160]) + self.NOISE, self.ALL):
            assert_array_equal(found, 0)

    def test_small_image(self):
        """Of few rows nobody can tell."""
        rows = 5 * np.random.default_rng(2).normal(size=(120, 1))
        for place in (np.s_[:20, :20], np.s_[:20], np.s_[:, :60]):
            for found in find_stripes((rows + self.NOISE)[place], self.ALL[place]):
                assert_array_equal(found, 0)
        assert find_stripes((rows + self.NOISE)[:, :70], self.ALL[:, :70])[0].all()
