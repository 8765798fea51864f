"""Tests of bgrem.detect.peaks."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from bgrem.detect.peaks import find_peaks
from bgrem.tests.detect.conftest import blob


class TestFindPeaks:
    def test_known_centers(self):
        shape = (30, 40)
        truth = [(8.3, 9.8, 0.9), (20.0, 30.45, 0.7), (12.6, 25.1, 0.5)]
        probability = sum(blob(shape, y, x, 1, h) for y, x, h in truth)
        peaks = find_peaks(probability)
        assert len(peaks) == 3
        assert_array_equal(peaks['y'], [8, 20, 13])
        assert_array_equal(peaks['x'], [10, 30, 25])
        assert_allclose(peaks['y_center'], [8.3, 20.0, 12.6], atol=0.01)
        assert_allclose(peaks['x_center'], [9.8, 30.45, 25.1], atol=0.01)
        assert np.all(np.diff(peaks['probability']) < 0)

    def test_plateau_gives_one_peak(self):
        probability = np.zeros((9, 9))
        probability[2:5, 3:6] = 0.7
        peaks = find_peaks(probability)
        assert_array_equal(peaks[['y', 'x']].tolist(), [(3, 4)])
        assert_allclose(peaks['probability'], 0.7)

    def test_plateau_beside_higher_ground_gives_none(self):
        probability = np.zeros((5, 9))
        probability[2, 2:6] = 0.5
        probability[2, 6] = 0.6
        peaks = find_peaks(probability)
        assert_array_equal(peaks[['y', 'x']].tolist(), [(2, 6)])

    def test_border_and_corner_count(self):
        probability = np.zeros((6, 7))
        probability[0, 0], probability[3, 6], probability[5, 2] = 0.9, 0.8, 0.7
        peaks = find_peaks(probability)
        assert_array_equal(peaks[['y', 'x']].tolist(), [(0, 0), (3, 6), (5, 2)])
        assert peaks['y_center'][0] == 0
        assert peaks['x_center'][1] == 6

    def test_masked_peak_is_dropped_and_does_not_hide_its_neighbour(self):
        probability = np.full((7, 7), 0.01)
        probability[3, 3], probability[3, 4] = 0.9, 0.4
        mask = np.zeros((7, 7), dtype=bool)
        mask[3, 3] = True
        peaks = find_peaks(probability, mask, min_probability=0.1)
        assert_array_equal(peaks[['y', 'x']].tolist(), [(3, 4)])
        assert peaks['x_center'][0] == 4

    def test_masked_center_gives_one_peak(self):
        probability = blob((11, 11), 5, 5.2, 1, 0.9)
        mask = np.zeros((11, 11), dtype=bool)
        mask[5, 5] = True
        assert_array_equal(find_peaks(probability, mask)[['y', 'x']].tolist(), [(5, 6)])
        # across two masked pixels there may be another source
        mask[4:6, 4:6] = True
        probability[:] = 0.01
        probability[3, 3], probability[6, 6] = 0.9, 0.8
        peaks = find_peaks(probability, mask, 0.1)
        assert_array_equal(peaks[['y', 'x']].tolist(), [(3, 3), (6, 6)])

    def test_nan_is_masked(self):
        probability = np.full((5, 5), np.nan)
        assert len(find_peaks(probability)) == 0
        probability[2, 2] = 0.5
        assert len(find_peaks(probability)) == 1

    def test_minimum(self):
        probability = blob((9, 9), 4, 4, 1, 0.3)
        assert len(find_peaks(probability, None, 0.3)) == 1
        assert len(find_peaks(probability, None, 0.31)) == 0
        assert len(find_peaks(np.zeros((9, 9)))) == 0

    def test_all_masked_and_one_pixel(self):
        assert len(find_peaks(np.ones((3, 3)), np.ones((3, 3), dtype=bool))) == 0
        assert len(find_peaks(np.ones((1, 1)))) == 1

    def test_against_brute_force(self):
        rng = np.random.default_rng(5)
        probability = rng.integers(1, 60, (25, 31)) / 100
        padded = np.pad(probability, 1)
        strict = {
            (y, x)
            for y in range(25)
            for x in range(31)
            if np.sum(padded[y : y + 3, x : x + 3] >= probability[y, x]) == 1
        }
        found = {(int(p['y']), int(p['x'])) for p in find_peaks(probability)}
        assert strict <= found
        for y, x in found - strict:  # only plateaus are left
            window = padded[y : y + 3, x : x + 3]
            assert window.max() == probability[y, x]
            assert np.sum(window == probability[y, x]) > 1
