"""
Tests of bgrem.evaluate.matching.
"""

import numpy as np
import pytest

from bgrem.evaluate.matching import judge, match, match_radius, shift_positions


@pytest.mark.parametrize(('fwhm', 'radius'), [(1.5, 2.0), (4.0, 2.0), (7.0, 3.5)])
def test_match_radius(fwhm, radius):
    assert match_radius(fwhm) == radius


def test_each_detection_finds_its_source():
    x, y = np.array([10.0, 30.0, 50.0]), np.array([5.0, 25.0, 45.0])
    index = match(
        x + 0.5, y - 0.5, [1, 2, 3], x[::-1], y[::-1], np.full(3, 10.0), radius=2
    )
    np.testing.assert_array_equal(index, [2, 1, 0])


def test_one_source_is_matched_once_to_the_highest_score():
    index = match([10, 11], [10, 10], [1, 5], [10.2], [10.0], [50.0], radius=2)
    np.testing.assert_array_equal(index, [-1, 0])


def test_equal_scores_are_settled_by_distance():
    index = match([11.5, 10], [10, 10], [1, 1], [10.2], [10.0], [50.0], radius=2)
    np.testing.assert_array_equal(index, [-1, 0])


def test_loser_takes_the_next_free_source():
    # Both detections are nearest to source 0; the weaker one gets source 1.
    index = match(
        [10.0, 10.4], [10, 10], [5, 1], [10.1, 11.5], [10, 10], [9, 9], radius=2
    )
    np.testing.assert_array_equal(index, [0, 1])


def test_radius_is_a_limit():
    assert match([10], [10], [1], [12.01], [10], [9], radius=2)[0] == -1
    assert match([10], [10], [1], [11.99], [10], [9], radius=2)[0] == 0


def test_detection_of_a_source_below_the_limit_is_false():
    assert match([10], [10], [1], [10], [10], [2.0], radius=2)[0] == -1
    assert match([10], [10], [1], [10], [10], [2.01], radius=2)[0] == 0
    assert match([10], [10], [1], [10], [10], [2.0], radius=2, min_snr=1)[0] == 0


def test_faint_source_does_not_hide_a_bright_one():
    index = match([10], [10], [1], [10, 11], [10, 10], [1.5, 9.0], radius=2)
    np.testing.assert_array_equal(index, [1])


@pytest.mark.parametrize('n', [0, 3])
def test_empty_catalogues(n):
    column = np.arange(n, dtype=float)
    np.testing.assert_array_equal(
        match(column, column, column, [], [], [], radius=2), np.full(n, -1)
    )
    assert match([], [], [], column, column, column, radius=2).shape == (0,)


def test_no_source_is_taken_twice_in_a_crowd():
    rng = np.random.default_rng(1)
    x, y, score = rng.uniform(0, 40, (3, 300))
    true_x, true_y = rng.uniform(0, 40, (2, 200))
    index = match(x, y, score, true_x, true_y, np.full(200, 5.0), radius=2)
    found = index[index >= 0]
    assert found.size == np.unique(found).size > 100
    distance = np.hypot(x - true_x[index], y - true_y[index])[index >= 0]
    assert distance.max() <= 2


@pytest.fixture(params=[2, 3])
def crowd(request):
    """Detections and true sources, some of which are too faint to count."""
    rng = np.random.default_rng(request.param)
    x, y, score = rng.uniform(0, 30, (3, 120))
    true_x, true_y, snr = rng.uniform(0, 30, (3, 80))
    return [x, y, score], [true_x, true_y, snr / 5]


def test_against_one_pair_after_the_other(crowd):
    """The best detection chooses first, each the nearest that is left."""
    (x, y, score), (true_x, true_y, snr) = crowd
    expected, free = np.full(x.size, -1), snr > 2
    for k in np.argsort(-score):
        distance = np.where(free, np.hypot(x[k] - true_x, y[k] - true_y), np.inf)
        if distance.min() <= 2.5:
            expected[k] = distance.argmin()
            free[expected[k]] = False
    found = match(x, y, score, true_x, true_y, snr, 2.5)
    np.testing.assert_array_equal(found, expected)
    assert 20 < np.sum(found >= 0) < np.sum(snr > 2)


def test_order_place_and_unit_do_not_matter(crowd):
    detected, true = crowd
    expected = match(*detected, *true, 2.5)
    rng = np.random.default_rng(0)
    first, second = rng.permutation(120), rng.permutation(80)
    found = match(
        *(one[first] for one in detected), *(one[second] for one in true), 2.5
    )
    back = np.append(second, -1)[found]
    np.testing.assert_array_equal(back, expected[first])
    (x, y, score), (true_x, true_y, snr) = detected, true
    for changed in (
        match(x + 64, y - 32, score, true_x + 64, true_y - 32, snr, 2.5),
        match(4 * x, 4 * y, score, 4 * true_x, 4 * true_y, snr, 10.0),
        match(y, 29 - x, score, true_y, 29 - true_x, snr, 2.5),
        # only the order of the scores counts
        match(x, y, np.exp(score) - 7, true_x, true_y, snr, 2.5),
        match(x, y, score, true_x, true_y, 3 * snr, 2.5, min_snr=6.0),
    ):
        np.testing.assert_array_equal(changed, expected)


def test_what_is_false_changes_nothing(crowd):
    """Detections that have no source near, and sources that no one has found."""
    (x, y, score), true = crowd
    expected = match(x, y, score, *true, 2.5)
    more = match(np.append(x, -50), np.append(y, -50), np.append(score, 99), *true, 2.5)
    np.testing.assert_array_equal(more, np.append(expected, -1))
    kept = np.isin(np.arange(80), expected)
    found = match(x, y, score, *(one[kept] for one in true), 2.5)
    np.testing.assert_array_equal(found >= 0, expected >= 0)


def test_bad_input():
    with pytest.raises(ValueError, match='x, y and score must have the same length'):
        match([1], [1, 2], [1], [1], [1], [1], radius=2)
    with pytest.raises(ValueError, match='true_x, true_y and true_snr must be finite'):
        match([1], [1], [1], [1], [np.nan], [1], radius=2)


class TestJudge:
    catalog = {  # noqa: RUF012
        'x': np.array([10.0, 30.0, 50.0]),
        'y': np.array([10.0, 10.0, 10.0]),
        'snr': np.array([8.0, 1.5, 0.5]),
    }

    def test_true_neutral_and_false(self):
        x = np.array([10.5, 30.5, 50.5, 80.0])
        is_true, is_neutral = judge(x, np.full(4, 10.0), x, self.catalog, 2.0)
        assert is_true.tolist() == [True, False, False, False]
        assert is_neutral.tolist() == [False, True, False, False]

    def test_one_source_excuses_one_detection(self):
        x = np.array([10.5, 10.0, 30.0, 30.5])
        is_true, is_neutral = judge(
            x, np.full(4, 10.0), [1, 2, 3, 4], self.catalog, 2.0
        )
        assert is_true.tolist() == [False, True, False, False]
        assert is_neutral.tolist() == [False, False, False, True]

    def test_limits(self):
        x, y = self.catalog['x'], self.catalog['y']
        is_true, is_neutral = judge(
            x, y, x, self.catalog, 2.0, min_snr=8.0, neutral_snr=8.0
        )
        assert not is_true.any()
        assert not is_neutral.any()

    @pytest.mark.parametrize('seed', [4, 5])
    def test_verdicts(self, seed):
        """Never both; true ones do not depend on what is neutral."""
        rng = np.random.default_rng(seed)
        x, y, score = rng.uniform(0, 30, (3, 150))
        names = ('x', 'y', 'snr')
        catalog = dict(zip(names, rng.uniform(0, 30, (3, 90)), strict=True))
        catalog['snr'] = catalog['snr'] / 6
        is_true, is_neutral = judge(x, y, score, catalog, 2.0)
        assert not np.any(is_true & is_neutral)
        assert is_true.sum() <= np.sum(catalog['snr'] > 2)
        between = (catalog['snr'] > 1) & (catalog['snr'] <= 2)
        assert 0 < is_neutral.sum() <= between.sum()
        bright = {name: values[catalog['snr'] > 2] for name, values in catalog.items()}
        alone, none = judge(x, y, score, bright, 2.0)
        np.testing.assert_array_equal(alone, is_true)
        assert not none.any()
        # a detection of what is fainter still is false
        limits = {'min_snr': 2.0, 'neutral_snr': 1.5}
        fewer = judge(x, y, score, catalog, 2.0, **limits)[1]
        assert fewer.sum() < is_neutral.sum()

    def test_nothing_found(self):
        for verdict in judge([], [], [], self.catalog, 2.0):
            assert verdict.shape == (0,)
            assert verdict.dtype == bool


def test_shifted_positions_stay_in_the_image():
    shifted = shift_positions(np.array([-0.5, 5.0, 90.0]), (40, 100))
    assert shifted.tolist() == [19.5, 25.0, 10.0]


@pytest.mark.parametrize('width', [21, 64, 100])
def test_shift_goes_around(width):
    """As far as 20 px is from nothing, all positions are others; none is lost."""
    x = np.arange(width, dtype=float)
    shifted = shift_positions(x, (7, width))
    np.testing.assert_array_equal(np.sort(shifted), x)
    apart = np.abs(shifted - x)
    np.testing.assert_array_equal(np.minimum(apart, width - apart), min(20, width - 20))
