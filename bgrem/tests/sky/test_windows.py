"""Tests of the windows that say what an image is like."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bgrem.sky.windows import middle_of, read_middle, spread_windows


@pytest.mark.parametrize('shape', [(1, 1), (40, 40), (41, 300), (257, 130)])
def test_each_pixel_once(shape):
    seen = np.zeros(shape, dtype=int)
    sizes = []
    for window in spread_windows(shape, 40):
        seen[window] += 1
        sizes.append(seen[window].shape)
    assert_array_equal(seen, 1)
    assert np.max(sizes) <= 40
    assert np.all(np.ptp(sizes, axis=0) <= 1)


def test_the_first_are_spread():
    """A quarter of the windows misses no large part of an image."""
    windows = spread_windows((400, 400), 40)
    y, x = np.array([[axis.start for axis in w] for w in windows[:25]]).T
    row, column = np.mgrid[0:400:40, 0:400:40]
    distance = np.hypot(row[..., None] - y, column[..., None] - x).min(axis=-1)
    assert distance.max() <= 3 * 40


def test_middle():
    image = np.arange(5 * 9).reshape(5, 9)
    assert_array_equal(image[middle_of(image.shape, 3)], image[1:4, 3:6])
    assert image[middle_of(image.shape)].shape == (5, 9)


def test_read_middle():
    """All that is read are rows of the middle, a part at a time, without a gap."""
    shape = 2500, 2100
    image = np.arange(shape[0])[:, np.newaxis] * 3000 + np.arange(shape[1])
    read = []

    def rows_of(rows):
        read.append(rows)
        return image[rows], -image[rows]

    found, other = read_middle(rows_of, shape)
    assert_array_equal(found, image[middle_of(shape)])
    assert_array_equal(other, -found)
    assert len(read) > 1
    assert max(one.stop - one.start for one in read) * shape[1] <= 2**21
