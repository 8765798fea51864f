"""Tests of rows and columns with levels of their own."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bgrem.sky.bands import measure
from bgrem.sky.lines import common_levels, find_lines, profiles, strips_of
from bgrem.sky.local_maps import NormalizationMeasurement
from bgrem.sky.mesh import mesh_edges
from bgrem.sky.normalize import estimate_normalization

SHAPE = (230, 250)
SIGMA = 3.0
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]
STEP = np.where(X >= 117, 1.0, 0.0)
GALAXY = 400 * np.exp(-np.hypot(Y - 100, (X - 90) / 2) / 20)


@pytest.fixture
def rng():
    return np.random.default_rng(8)


@pytest.fixture
def noise(rng):
    return rng.normal(200, SIGMA, SHAPE)


def error(data, truth, mask=None):
    """The rms error of the center about its mean, in units of the noise."""
    center = estimate_normalization(data, mask).center
    return np.std(center - truth) / SIGMA


def lines_of(data, mask=None, n_pixels=None):
    """The levels of the lines that are found."""
    unusable = ~np.isfinite(data) if mask is None else mask | ~np.isfinite(data)
    measurement = NormalizationMeasurement(data.shape, data.dtype)
    measurement.n_pixels = n_pixels
    maps = measure(measurement, lambda rows: (data[rows], unusable[rows])).result
    return maps._lines


@pytest.mark.parametrize('strength', [0.3, 1.0, 5.0])
@pytest.mark.parametrize('axis', [0, 1])
def test_stripes(rng, noise, strength, axis):
    levels = SIGMA * strength * rng.normal(size=SHAPE[axis])
    stripes = levels[:, None] if axis == 0 else levels[None]
    assert error(noise + stripes, stripes) < 0.2
    assert list(lines_of(noise + stripes)) == [axis]


@pytest.mark.parametrize('height', [2.0, 20.0, 500.0])
def test_amplifiers(noise, height):
    """Steps are drawn where they are; a weak one is found beside a strong one."""
    steps = height * SIGMA * STEP + 2 * SIGMA * (Y >= 90)
    assert error(noise + steps, steps) < 0.2
    maps = estimate_normalization(noise + steps)
    assert_allclose(maps.scale, SIGMA, rtol=0.15)
    rest = maps.forward(noise + steps)
    assert abs(rest[:90, 100:117].mean() - rest[:90, 117:134].mean()) < 0.2


@pytest.mark.parametrize(
    'sky',
    [
        np.zeros(SHAPE),
        0.5 * Y + 1.5 * X,
        4 * SIGMA * np.sin(2 * np.pi * X / 16),
        8 * SIGMA * np.exp(-(((X - 120) / 6.0) ** 2)),
        50 * SIGMA * (X == 70),
        GALAXY,
    ],
    ids=['flat', 'slope', 'fringes', 'beam', 'bad column', 'galaxy'],
)
def test_no_lines(noise, sky):
    """What a sky, a galaxy or a single bad column is like is no line."""
    assert lines_of(noise + sky) == {}
    maps = estimate_normalization(noise + sky)
    assert_array_equal(
        maps.center, estimate_normalization(noise + sky, lines=False).center
    )


def test_half_a_step(noise):
    """What ends in the middle of the image may be anything."""
    assert lines_of(noise + 30 * STEP * (Y < 100)) == {}


def test_coarse(rng):
    """The medians of a few photons tell nothing."""
    data = rng.poisson(2.0, SHAPE).astype(float)
    assert lines_of(data + 5 * STEP) == {}


def test_small(noise):
    """In two strips a galaxy cannot be told from a line."""
    data = (noise + 20 * STEP)[:110]
    assert lines_of(data) == {}


def test_light_is_left(rng, noise):
    """The levels of lines hold nothing of a galaxy across them."""
    columns = 2 * SIGMA * rng.normal(size=SHAPE[1])
    galaxy = 100 * np.exp(-np.hypot(Y - 100, (X - 90) / 2) / 12)
    plain = estimate_normalization(noise + galaxy)
    striped = estimate_normalization(noise + galaxy + columns)
    difference = striped.center - plain.center - columns
    assert np.std(difference) < 0.35 * SIGMA


def test_mask(rng, noise):
    """What is masked does not matter, and lines without pixels have no level."""
    columns = 2 * SIGMA * rng.normal(size=SHAPE[1])
    mask = (X < 20) | (abs(Y - 130) < 9)
    data = np.where(mask, 1e6, noise + columns)
    found = lines_of(data, mask)
    assert list(found) == [1]
    assert_array_equal(found[1][:20], 0)
    assert np.std((found[1] - columns)[20:]) < 0.25 * SIGMA
    data[mask] = np.nan
    assert_array_equal(lines_of(data)[1], found[1])


def test_bands(rng, noise):
    """It does not matter in which bands an image is seen."""
    data = noise + 2 * SIGMA * rng.normal(size=(SHAPE[0], 1)) + 300 * STEP
    data = data.astype(np.float32)
    whole, parts = lines_of(data), lines_of(data, n_pixels=100)
    assert sorted(whole) == sorted(parts) == [0, 1]
    for axis, levels in whole.items():
        assert_allclose(parts[axis], levels, atol=1e-3)


def test_transpose(rng, noise):
    data = noise + 2 * SIGMA * rng.normal(size=(SHAPE[0], 1)) + 300 * STEP
    center = estimate_normalization(data).center
    assert_allclose(estimate_normalization(data.T).center.T, center, atol=1e-9)


def test_profiles():
    """Medians of rows and columns, strip by strip; NaN where half is missing."""
    edges = mesh_edges(SHAPE)
    unusable = (X == 3) | ((Y == 5) & (X < 30))
    of_rows, of_columns = profiles(1.0 * X, unusable, edges, slice(0, SHAPE[0]))
    assert of_columns.shape == (len(edges[0]) - 1, SHAPE[1])
    assert np.isnan(of_columns[:, 3]).all()
    assert_array_equal(of_columns[:, 4:], np.tile(X[0, 4:], (len(of_columns), 1)))
    assert of_rows.shape == (len(edges[1]) - 1, SHAPE[0])
    assert np.isnan(of_rows[0, 5])
    assert np.isfinite(of_rows[1:]).all()


@pytest.mark.parametrize('n_boxes', [1, 5, 12, 13, 200])
def test_strips(n_boxes):
    chosen = strips_of(n_boxes)
    assert chosen[0] == 0
    assert len(chosen) <= 12
    assert len(chosen) > min(n_boxes, 12) / 2 - 1
    assert len(np.unique(np.diff(chosen))) <= 1


def test_common_levels():
    """The smooth sky of each strip is its own; one strip of four is outvoted."""
    edges = np.array([0, 10, 20, 30, 40])
    own = np.array([1.0, -1.0] * 20)
    smooth = np.arange(4.0)[:, None] * np.arange(40)
    levels = own + smooth
    levels[2, 10:20] += 50
    found = common_levels(
        levels, edges, np.arange(4.0)[:, None] * (4.5, 14.5, 24.5, 34.5)
    )
    assert_allclose(found[5:35], own[5:35], atol=1e-9)
    assert not find_lines(levels[:2], 1.0)


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_medians_of_what_is_known(noise, dtype):
    noise = noise.astype(dtype)
    noise[:, 60:100:2], noise[30:50, 20:60] = np.nan, np.nan
    edges = mesh_edges(SHAPE)
    of_rows, _ = profiles(noise, np.isnan(noise), edges, slice(0, SHAPE[0]))
    for levels, k in zip(of_rows, strips_of(len(edges[1]) - 1), strict=True):
        strip = noise[:, edges[1][k] : edges[1][k + 1]]
        enough = np.mean(np.isfinite(strip), axis=1) >= 0.5
        assert levels.dtype == dtype
        assert_array_equal(levels[enough], np.nanmedian(strip[enough], axis=1))
        assert np.isnan(levels[~enough]).all()


def test_filters_of_warnings(monkeypatch, noise):
    """They are those of all threads: none may change them, even for a while."""

    class Forbidden:
        def __init__(self, **_):
            pytest.fail('filters are changed')

    noise[60:90], noise[:, 40:43], noise[100:130, :200] = np.nan, np.nan, np.nan
    monkeypatch.setattr(warnings, 'catch_warnings', Forbidden)
    assert np.isfinite(estimate_normalization(noise).center).all()


@pytest.mark.parametrize('width', [1.5, 3.0])
@pytest.mark.parametrize('axis', [0, 1])
def test_light_along_lines(noise, width, axis):
    """The disc of a galaxy, and a trail, fall off on both sides: no border does."""
    noise, along = (noise, X) if axis == 0 else (noise.T, X.T)
    across = Y if axis == 0 else Y.T
    profile = np.exp(-(((across - 100) / width) ** 2) / 2)
    for light in (90 * profile, 150 * profile * np.exp(-np.abs(along - 120) / 60)):
        assert not lines_of(noise + light)


@pytest.mark.parametrize('axis', [0, 1])
def test_galaxy_along_stripes(rng, noise, axis):
    """Most of its light is left, though it crosses the whole image."""
    stripes = SIGMA * rng.normal(size=SHAPE[0])[:, None]
    light = 600 * np.exp(-np.hypot((Y - 100) / 4, (X - 120) / 40))
    data, sky = noise + stripes + light, noise + stripes
    data, sky = (data, sky) if axis == 0 else (data.T, sky.T)
    assert list(lines_of(data)) == [axis]
    taken = estimate_normalization(data).center - estimate_normalization(sky).center
    assert taken.sum() < 0.6 * light.sum()


class TestLevelsOfLines:
    """What is found in the levels of lines, which are given."""

    @staticmethod
    def striped(seed, height=1.0, n_strips=6):
        """Levels of 200 lines in some strips, with an error of their own."""
        rng = np.random.default_rng(seed)
        common = height * rng.normal(size=200)
        return common, common + 0.1 * rng.normal(size=(n_strips, 200))

    @pytest.mark.parametrize('seed', range(3))
    def test_what_does_not_matter(self, seed):
        """The level of a strip, the order of the strips, and the direction."""
        _, levels = self.striped(seed)
        known, rng = common_levels(levels), np.random.default_rng(seed)
        offsets = levels + 100 * rng.normal(size=(6, 1))
        assert_allclose(common_levels(offsets), known, atol=1e-12)
        assert_array_equal(common_levels(rng.permutation(levels)), known)
        assert_array_equal(common_levels(levels[:, ::-1]), known[::-1])
        assert_allclose(common_levels(7 * levels), 7 * known)
        for other in (levels, offsets, levels[::-1], levels[:, ::-1]):
            assert find_lines(other, 0.5)
            assert find_lines(3 * other, 1.5)

    @pytest.mark.parametrize('seed', range(3))
    def test_near_the_truth(self, seed):
        common, levels = self.striped(seed)
        found = common_levels(levels)
        assert_allclose(found, common - np.median(common), atol=0.35)
        assert abs(np.median(found)) < 0.05

    def test_unknown_lines(self):
        """Of less than three strips nothing is common; NaN is no level."""
        common, levels = self.striped(4)
        levels[:4, 50], levels[:3, 60] = np.nan, np.nan
        found = common_levels(levels)
        assert found[50] == 0
        assert_allclose(found[60], common[60] - np.median(common), atol=0.4)
        levels[:] = np.nan
        assert_array_equal(common_levels(levels), 0)
        assert not find_lines(levels, 1.0)

    @pytest.mark.parametrize('height', [0.05, 0.09, 0.2, 1.0])
    def test_weak_stripes_are_left(self, height):
        """Less than a tenth of the noise does no harm."""
        _, levels = self.striped(5, height, 12)
        assert find_lines(levels, 1.0) == (height > 0.1)

    @pytest.mark.parametrize('seed', range(3))
    def test_of_each_strip_its_own(self, seed):
        """What the strips do not share are no lines, nor is a smooth sky."""
        rng = np.random.default_rng(seed)
        assert not find_lines(rng.normal(size=(8, 200)), 1.0)
        wave = 20 * np.sin(np.arange(200) / 12)
        assert not find_lines(wave + 0.1 * rng.normal(size=(8, 200)), 1.0)

    @pytest.mark.parametrize('value', [50.0, -50.0])
    def test_bad_lines_are_left_to_the_network(self, value):
        """A few of them in all strips make no stripes, and hide none."""
        rng = np.random.default_rng(6)
        levels = 0.05 * rng.normal(size=(8, 200))
        levels[:, [40, 41, 90]] += value
        assert not find_lines(levels, 1.0)
        _, levels = self.striped(6)
        levels[:, [40, 41, 90]] += value
        assert find_lines(levels, 1.0)

    @pytest.mark.parametrize('place', [7, 8, 100, 191, 192])
    @pytest.mark.parametrize('sign', [-1, 1])
    def test_borders(self, place, sign):
        """A step that lasts, with 8 lines on either side."""
        rng = np.random.default_rng(7)
        levels = 0.05 * rng.normal(size=(8, 200))
        levels[:, place:] += sign * 3.0
        assert find_lines(levels, 1.0) == (8 <= place <= 192)
        # in three strips of four it is enough, in half of them not
        levels[0, place:] -= sign * 3.0
        assert find_lines(levels, 1.0) == (8 <= place <= 192)
        levels[1:5, place:] -= sign * 3.0
        assert not find_lines(levels, 1.0)

    def test_a_trail_is_no_border(self):
        rng = np.random.default_rng(8)
        levels = 0.05 * rng.normal(size=(8, 200))
        levels[:, 100:105] += 3
        assert not find_lines(levels, 1.0)

    @pytest.mark.parametrize(('n_lines', 'n_strips'), [(31, 8), (200, 2), (0, 8)])
    def test_too_few(self, n_lines, n_strips):
        _, levels = self.striped(9)
        assert not find_lines(np.tile(levels, (2, 1))[:n_strips, :n_lines], 0.5)
        assert find_lines(levels[:3, :32], 0.5)
