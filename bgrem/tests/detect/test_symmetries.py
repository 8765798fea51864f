"""Properties of detections that hold for every image, way round and unit."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, logit

from bgrem.checks import check_promise, check_rate, check_threshold
from bgrem.detect.discovery import (
    ImageCheck,
    choose_threshold,
    shift_probability,
    source_width,
)
from bgrem.detect.flags import (
    DETECTION_FLAGS,
    decode_detection_flags,
    detection_flags,
)
from bgrem.detect.hidden import doubt_hidden_centers
from bgrem.detect.hierarchy import find_owners, star_height, touching
from bgrem.detect.late import ShapeImage
from bgrem.detect.peaks import find_peaks, peak_roundness, peak_widths
from bgrem.detect.positions import Positions
from bgrem.detect.probability import calibrate, pool_centers, refine_probability
from bgrem.detect.segments import check_n_pixels, detection_mask, segment
from bgrem.detect.window import window_errors, windowed_positions
from bgrem.tests.detect.conftest import blob

TURNS = {
    'transposed': np.transpose,
    'upside down': np.flipud,
    'mirrored': np.fliplr,
    'turned': np.rot90,
}


@pytest.fixture(params=TURNS.values(), ids=TURNS.keys())
def turn(request):
    return request.param


def turned_places(turn, shape, y, x):
    """Return where pixels go."""
    numbers = np.arange(np.prod(shape)).reshape(shape)
    turned = turn(numbers)
    where = np.empty((numbers.size, 2), dtype=int)
    where[turned.ravel()] = np.indices(turned.shape).reshape(2, -1).T
    return where[numbers[y, x]].T


def crowd(seed=0, shape=(70, 90), n=40):
    """Stars of all brightness, and the probability of a good detector."""
    rng = np.random.default_rng(seed)
    source, probability = np.zeros((2, *shape))
    for y, x, u in rng.uniform((2, 2, 0), (68, 88, 1), (n, 3)):
        source += blob(shape, y, x, 1.3 + 2 * (u > 0.9), 0.3 * 1000**u)
        probability = np.maximum(probability, blob(shape, y, x, 1, 0.3 + 0.69 * u))
    # no two are equal, so that the order of the pixels decides nothing
    source += 1e-6 * rng.random(shape)
    return source, probability * (1 - 1e-6 * rng.random(shape))


class TestPeaks:
    def test_any_way_round(self, turn):
        _, probability = crowd(1)
        mask = np.random.default_rng(2).random(probability.shape) < 0.03
        peaks = find_peaks(probability, mask, 0.2)
        found = find_peaks(turn(probability), turn(mask), 0.2)
        assert len(peaks) > 20
        expected = turned_places(turn, mask.shape, peaks['y'], peaks['x'])
        assert_array_equal([found['y'], found['x']], expected)
        assert_array_equal(found['probability'], peaks['probability'])
        # the refined centers are as far from their pixels
        offsets = [
            np.abs([one['y_center'] - one['y'], one['x_center'] - one['x']])
            for one in (peaks, found)
        ]
        assert_allclose(np.sort(offsets[0], axis=0), np.sort(offsets[1], axis=0))

    @pytest.mark.parametrize('minimum', [0.1, 0.5, 0.9])
    def test_minimum_only_selects(self, minimum):
        _, probability = crowd(3)
        all_peaks = find_peaks(probability, None, 0.01)
        kept = all_peaks['probability'] >= np.float32(minimum)
        assert_array_equal(find_peaks(probability, None, minimum), all_peaks[kept])
        assert kept.any()

    def test_widths_and_roundness(self, turn):
        """Of the unit of the light they know nothing, nor of the way round."""
        source, probability = crowd(4)
        peaks = find_peaks(probability)
        y, x = peaks['y'], peaks['x']
        place = turned_places(turn, source.shape, y, x)
        expected = peak_widths(source, 0.1, y, x)
        assert np.isfinite(expected).sum() > 15
        assert_allclose(peak_widths(turn(source), 0.1, *place), expected, rtol=1e-5)
        assert_allclose(peak_widths(64 * source, 6.4, y, x), expected, rtol=1e-5)
        noise = np.full(source.shape, 0.1)
        assert_array_equal(peak_widths(source, noise, y, x), expected)
        rounds = peak_roundness(source, y, x, 1.5)
        assert_allclose(peak_roundness(turn(source), *place, 1.5), rounds, atol=1e-6)
        assert_allclose(peak_roundness(8 * source, y, x, 1.5), rounds, atol=1e-9)


class TestSegments:
    def test_any_way_round(self, turn):
        """The same pixels, divided in the same way but for what lies between two."""
        source, probability = crowd(5)
        one = segment(source, probability, 1.0, threshold=0.4).data
        two = segment(turn(source), turn(probability), 1.0, threshold=0.4).data
        assert_array_equal(two > 0, turn(one) > 0)
        assert one.max() == two.max() > 15
        pairs = np.unique(np.stack([turn(one).ravel(), two.ravel()]), axis=1)
        overlap = np.zeros((one.max() + 1, one.max() + 1))
        np.add.at(overlap, (turn(one).ravel(), two.ravel()), 1)
        assert pairs.shape[1] >= one.max()
        assert overlap.max(axis=1).sum() > 0.99 * one.size
        # in reading order whichever way
        for labels in (one, two):
            _, first = np.unique(labels, return_index=True)
            assert_array_equal(np.argsort(first[1:]), np.arange(labels.max()))

    @pytest.mark.parametrize('factor', [2.0**-40, 4.0])
    def test_unit(self, factor):
        source, probability = crowd(6)
        rms = np.random.default_rng(0).uniform(0.5, 2, source.shape)
        options = {'threshold': 0.5, 'n_pixels': 6}
        expected = segment(source, probability, rms, **options).data
        found = segment(factor * source, probability, factor * rms, **options).data
        assert_array_equal(found, expected)

    def test_more_sources_with_a_lower_threshold(self):
        """What was found is found still: the mask only grows."""
        source, probability = crowd(7)
        masks = [
            detection_mask(source, probability, 1.0, threshold=t)
            for t in (0.9, 0.7, 0.4)
        ]
        for smaller, larger in pairwise(masks):
            assert not np.any(smaller & ~larger)
            assert larger.sum() > smaller.sum()

    def test_least_area_only_selects(self):
        source, probability = crowd(8)
        everything = segment(source, probability, 1.0, threshold=0.4)
        for n_pixels in (5, 12, 40):
            found = segment(source, probability, 1.0, threshold=0.4, n_pixels=n_pixels)
            kept = everything.areas >= n_pixels
            assert_array_equal(found.areas, everything.areas[kept])
            remaining = np.isin(everything.data, everything.labels[kept])
            assert_array_equal(found.data > 0, remaining)

    def test_footprints(self):
        """A pixel changes nothing, larger ones go farther; none crosses the mask."""
        source, probability = crowd(9)
        mask = np.zeros(source.shape, dtype=bool)
        mask[:, 40:45] = True
        options = {'threshold': 0.4, 'mask': mask}
        plain = detection_mask(source, probability, 1.0, **options)
        for size in (1, 3, 7):
            found = detection_mask(
                source, probability, 1.0, footprint=np.ones((size, size)), **options
            )
            assert not np.any(plain & ~found)
            assert not found[mask].any()
            assert (found.sum() == plain.sum()) == (size == 1)

    @pytest.mark.parametrize('value', ['3', None, [3]])
    def test_what_is_no_number_of_pixels(self, value):
        assert check_n_pixels(7) == 7
        with pytest.raises(TypeError, match='n_pixels must be a number'):
            check_n_pixels(value)


class TestHierarchy:
    def test_pairs_that_touch(self, turn):
        """Both ways round, at the lower of the two pixels."""
        rng = np.random.default_rng(3)
        labels = np.kron(rng.integers(0, 5, (6, 8)), np.ones((2, 3), dtype=int))
        source = rng.random(labels.shape)
        rows = [
            np.sort(np.rec.fromarrays(touching(one, light)))
            for one, light in ((labels, source), (turn(labels), turn(source)))
        ]
        assert_array_equal(*rows)
        first, second, saddle = touching(labels, source)
        both = set(zip(first, second, saddle, strict=True))
        assert both == set(zip(second, first, saddle, strict=True))
        assert np.all(first != second)
        assert min(first.min(), second.min()) > 0
        # each pair of neighbors of different labels, twice
        padded = np.pad(labels, 1)
        n = sum(
            np.sum((labels > 0) & (other > 0) & (other != labels))
            for dy in range(3)
            for dx in range(3)
            for other in [padded[dy : dy + 12, dx : dx + 24]]
        )
        assert len(first) == n

    def test_heights_of_stars_on_anything_flat(self):
        """A level or a tilt beneath has no curvature; a star of the width has all."""
        shape, sigma = (41, 41), 4.0 / np.sqrt(8 * np.log(2))
        star = blob(shape, 20, 20, sigma, 7.0)
        y, x = np.indices(shape)
        place = np.array([20]), np.array([20])
        height = star_height(star, *place, 4.0)
        assert_allclose(height, 7, rtol=0.06)
        for below in (500.0, 3.0 * x - 2.0 * y):
            # the Gaussian of the smoothing ends, at a thousandth of a level
            found = star_height(star + below, *place, 4.0)
            assert_allclose(found, height, atol=1e-3 * np.max(below))
        assert_allclose(star_height(2 * star, *place, 4.0), 2 * height)
        ridge = 50.0 - 0.3 * (x - 20) ** 2 + 0 * y
        assert_allclose(star_height(ridge, *place, 4.0), 0, atol=0.05)

    def test_alone_everyone_is_its_own(self):
        labels = np.zeros((20, 30), dtype=int)
        labels[5:9, 3:8], labels[5:9, 12:18] = 1, 2
        source = np.where(labels == 1, 900.0, 3.0)
        owners = find_owners(
            labels, source, 1.0, np.array([6, 6]), np.array([5, 15]), 3.0
        )
        assert_array_equal(owners, [0, 1, 2])


class TestThresholds:
    @pytest.mark.parametrize('seed', range(4))
    @pytest.mark.parametrize('shift', [0.0, -1.0, 2.0])
    def test_against_every_peak(self, seed, shift):
        """No lower one keeps the promise; shifted first or on the way is the same."""
        p = np.round(np.random.default_rng(seed).random(40), 2)
        corrected = shift_probability(p, shift)
        for rate in (0.02, 0.1, 0.4):
            threshold = choose_threshold(p, rate, shift)
            clean = [t for t in np.unique(p) if np.mean(1 - corrected[p >= t]) <= rate]
            assert threshold == min(clean, default=1.0)
            other = choose_threshold(corrected, rate)
            assert np.sum(corrected >= other) == np.sum(p >= threshold)

    def test_more_with_a_higher_rate(self):
        p = np.random.default_rng(9).random(60)
        for nearest in (False, True):
            chosen = [
                choose_threshold(p, rate, nearest=nearest)
                for rate in np.linspace(0.01, 0.6, 30)
            ]
            assert np.all(np.diff(chosen) <= 0)
        assert choose_threshold(p[::-1], 0.1) == choose_threshold(p, 0.1)

    def test_ends(self):
        """Both of a threshold are thresholds, neither of a rate is a rate."""
        for value in (0, 0.3, 1):
            check_threshold(value)
        check_rate(0.3)
        for value in (-0.01, 1.01, np.nan):
            with pytest.raises(ValueError, match='threshold must be between 0 and 1'):
                check_threshold(value)
        for check in (check_rate, check_threshold):
            with pytest.raises(TypeError, match='must be a number'):
                check('0.5')

    def test_a_threshold_goes_before_a_rate(self):
        assert check_promise(None, 0.3) == {'false_discovery_rate': 0.3}
        # the rate is not used, whatever it is
        assert check_promise(0, 3) == {'threshold': 0}
        with pytest.raises(ValueError, match='false_discovery_rate must be between'):
            check_promise(None, 3)
        with pytest.raises(ValueError, match='threshold must be between'):
            check_promise(3, 0.3)

    def test_three_sure_sources_have_a_width(self):
        widths = [3.0, 4.0, 5.0]
        assert_allclose(source_width(widths, [0.99, 1.0, 0.995]), 3.4)
        assert np.isnan(source_width(widths, [0.98, 1.0, 0.995]))

    def test_excess_changes_sign_with_its_sides(self):
        for promised, flipped in ((0.0, 5.0), (8.0, 1.0), (3.0, 3.0)):
            one, other = ImageCheck(promised, flipped), ImageCheck(flipped, promised)
            assert_allclose(one.log_excess, -other.log_excess)

    @pytest.mark.parametrize('fraction', [0.2, 0.5])
    def test_seen_part_stands_for_the_whole(self, fraction):
        peaks, flipped = np.array([0.5, 0.7]), np.array([0.2, 0.6, 0.4])
        whole = ImageCheck.from_peaks(peaks, flipped)
        part = ImageCheck.from_peaks(peaks, flipped, fraction, 0.1, 0.2)
        assert_allclose(part.flipped, whole.flipped / fraction)
        assert part.promised == whole.promised
        assert (part.correlation, part.skewness) == (0.1, 0.2)


class TestProbability:
    @pytest.mark.parametrize('seed', range(3))
    def test_calibration_is_linear_between_its_knots(self, seed):
        rng = np.random.default_rng(seed)
        knots = np.sort(rng.uniform(-9, 6, 12))
        table = {
            'logit': knots.tolist(),
            'probability': np.sort(rng.uniform(0.001, 0.999, 12)).tolist(),
        }
        values = rng.uniform(-12, 9, 500).astype(np.float32)
        odds = logit(np.array(table['probability']))
        expected = np.interp(values, knots, odds)
        expected += np.minimum(values - knots[0], 0) + np.maximum(values - knots[-1], 0)
        found = calibrate(values, table)
        assert_allclose(found, expit(expected), rtol=1e-4, atol=1e-6)
        # one by one, in another shape, into another array
        again = np.empty((50, 10), dtype=np.float32)
        calibrate(values.reshape(50, 10), table, out=again)
        assert_array_equal(again.ravel(), found)
        assert_array_equal(
            [calibrate(values[k : k + 1], table)[0] for k in range(20)], found[:20]
        )

    @pytest.mark.parametrize('edges', ['nearest', 'constant'])
    def test_pooling(self, turn, edges):
        rng = np.random.default_rng(5)
        value = rng.normal(-4, 3, (30, 41)).astype(np.float32)
        found = pool_centers(value, edges=edges)
        assert_allclose(
            pool_centers(turn(value), edges=edges), turn(found), rtol=1e-4, atol=1e-4
        )
        mode = {'nearest': 'edge', 'constant': 'constant'}[edges]
        padded = np.pad(expit(value.astype(float)), 1, mode=mode)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
        assert_allclose(expit(found.astype(float)), windows.mean((2, 3)), rtol=1e-4)
        before = value.copy()
        pool_centers(before, edges=edges, out=before)
        assert_array_equal(before, found)

    def test_pooling_in_parts(self, monkeypatch):
        value = np.random.default_rng(6).normal(-3, 3, (33, 20)).astype(np.float32)
        for edges in ('nearest', 'constant'):
            expected = pool_centers(value, edges=edges)
            for size in (1, 60, 200):
                monkeypatch.setattr('bgrem.detect.probability._MAX_BLOCK', size)
                assert_array_equal(pool_centers(value.copy(), edges=edges), expected)

    @pytest.mark.parametrize('binning', [2, 3])
    def test_squares_that_are_no_peaks_stay(self, binning):
        _, probability = crowd(10, n=12)
        binned = probability.astype(np.float32)
        fine = refine_probability(binned, binning, np.multiply(binned.shape, binning))
        first = fine[::binning, ::binning]
        peaks = find_peaks(binned)
        plain = np.ones(binned.shape, dtype=bool)
        plain[peaks['y'], peaks['x']] = False
        assert_allclose(first[plain], binned[plain], atol=1e-6)
        highest = fine.reshape(70, binning, 90, binning).max(axis=(1, 3))
        assert_allclose(highest, binned, rtol=1e-4, atol=1e-6)


class TestWindow:
    shape = (50, 60)

    def inputs(self, seed=0):
        source, _ = crowd(seed, self.shape, 0)
        starts = np.array([[15.2, 20.1], [40.3, 30.8], [30.0, 12.5]])
        for x, y in starts:
            source += blob(self.shape, y + 0.2, x - 0.3, 1.5, 50)
        noise = np.random.default_rng(seed).normal(0, 0.5, self.shape)
        labels = np.zeros(self.shape, dtype=int)
        for label, (x, y) in enumerate(np.rint(starts).astype(int), start=1):
            labels[y - 3 : y + 4, x - 3 : x + 4] = label
        return source, source + noise, labels, starts

    def measure(self, data, labels, starts, factor=1.0):
        options = {'usable': np.ones(data.shape, dtype=bool)}
        index, radius = np.arange(1, 4), np.array([1.7, 2.0, 2.5])
        position = windowed_positions(data, labels, index, starts, radius, **options)
        error = np.full(data.shape, 0.5 * factor)
        return position, window_errors(
            data, error, labels, index, position, radius, **options
        )

    def test_any_way_round(self):
        _, data, labels, starts = self.inputs()
        position, error = self.measure(data, labels, starts)
        last = np.array([59, 49])
        for change, to, axes in (
            (np.transpose, lambda p: p[:, ::-1], [1, 0]),
            (
                np.fliplr,
                lambda p: np.column_stack([last[0] - p[:, 0], p[:, 1]]),
                [0, 1],
            ),
            (
                np.flipud,
                lambda p: np.column_stack([p[:, 0], last[1] - p[:, 1]]),
                [0, 1],
            ),
        ):
            found = self.measure(change(data).copy(), change(labels).copy(), to(starts))
            assert_allclose(found[0], to(position), atol=1e-3)
            assert_allclose(found[1], error[:, axes], rtol=1e-2)

    def test_shift_and_unit(self):
        _, data, labels, starts = self.inputs(1)
        position, error = self.measure(data, labels, starts)
        moved = [np.roll(one, (3, 5), axis=(0, 1)) for one in (data, labels)]
        found = self.measure(*moved, np.add(starts, (5, 3)))
        assert_allclose(found[0], np.add(position, (5, 3)), atol=1e-9)
        assert_allclose(found[1], error, rtol=1e-9)
        found = self.measure(1e6 * data, labels, starts, 1e6)
        assert_allclose(found[0], position, atol=1e-9)
        assert_allclose(found[1], error, rtol=1e-9)
        # the error is that of the noise, over the light
        assert_allclose(self.measure(data, labels, starts, 3)[1], 3 * error)


class TestFlags:
    @pytest.mark.parametrize('seed', range(3))
    def test_any_way_round(self, seed, turn):
        source, probability = crowd(seed)
        segments = segment(source, probability, 1.0, threshold=0.4)
        rng = np.random.default_rng(seed)
        images = {
            'data': np.minimum(source, 120.0),
            'source': source,
            'noise': np.ones(source.shape),
            'unusable': rng.random(source.shape) < 0.01,
            'large': source > 20,
        }
        n = segments.n_labels
        y, x = (rng.integers(2, size - 2, n) for size in source.shape)
        positions = Positions(
            position=np.column_stack([x, y]).astype(float),
            error=np.ones((n, 2)),
            core_fwhm=np.ones(n),
            probability=rng.random(n),
            has_peak=rng.random(n) < 0.8,
            is_windowed=rng.random(n) < 0.5,
            width=3.0,
        )
        options = {'kron_flux': rng.normal(1, 1, n), 'log_odds_shift': -0.1}
        expected = detection_flags(segments, positions, **images, **options)
        assert np.unique(expected).size > 4
        other = type(segments)(turn(segments.data).copy())
        place = turned_places(turn, source.shape, y, x)
        found = detection_flags(
            other,
            replace(positions, position=place[::-1].T.astype(float)),
            **{name: turn(image).copy() for name, image in images.items()},
            **options,
        )
        assert_array_equal(found, expected)

    def test_every_value_is_the_sum_of_its_bits(self):
        values = np.arange(sum(value for value, _ in DETECTION_FLAGS.values()) + 1)
        bits = decode_detection_flags(values, return_bit_values=True)
        assert_array_equal([sum(one) for one in bits], values)
        names = decode_detection_flags(values.astype('u2'))
        assert [len(one) for one in names] == [len(one) for one in bits]
        assert len({tuple(one) for one in names}) == values.size


def test_doubts_any_way_round(turn):
    """And they are small, where all that is hidden is far away."""
    source, probability = crowd(11)
    hidden = np.zeros(source.shape, dtype=bool)
    hidden[:, 40:44] = True
    image = source + np.random.default_rng(1).normal(size=source.shape)
    expected = doubt_hidden_centers(probability, image, hidden)
    found = doubt_hidden_centers(turn(probability), turn(image), turn(hidden))
    assert_allclose(found, turn(expected), rtol=1e-9)
    assert np.all(expected <= probability)
    far = np.ones(source.shape, dtype=bool)
    far[:, 36:48] = False
    assert_array_equal(expected[far], probability[far])
    assert np.any(expected < 0.5 * probability)


def test_shape_image_has_the_unit_of_its_light():
    rng = np.random.default_rng(2)
    source, probability, noise = rng.uniform(-1, 1, (3, 20, 30))
    noise = np.abs(noise)
    noise[3] = 0
    one = np.asarray(ShapeImage(source, probability, noise))
    two = np.asarray(ShapeImage(8 * source, probability, 8 * noise))
    assert_allclose(two, 8 * one)
    # the brighter and the more probable have more of it
    more = np.asarray(ShapeImage(source + 1, probability + 1, noise))
    assert np.all(more >= one)
