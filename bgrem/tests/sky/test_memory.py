"""Tests of images that are seen band after band, and of what stays in memory then."""

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bgrem.sky.bands import Measurement, measure
from bgrem.sky.blank import BlankMeasurement
from bgrem.sky.boxes import SkyMeasurement
from bgrem.sky.local_maps import NormalizationMeasurement
from bgrem.sky.maps import MeshMap


class EveryTenth(Measurement):
    """Class with a sparse sample of an image, as views of its bands."""

    stage = 'sample'
    n_pixels = 64 * 100

    def _see_sample(self, rows, image):
        return [image[::10]], rows.start

    def _learn_sample(self, seen):
        images, starts = zip(*seen, strict=True)
        self.sample = [one for (one,) in images]
        self.starts, self.stage = starts, None


def test_bands_are_not_held():
    """What is kept of a band is a copy, and the same."""
    image = np.random.default_rng(1).normal(size=(320, 100))
    found = measure(EveryTenth(image.shape), lambda rows: [image[rows]])
    assert found.starts == (0, 64, 128, 192, 256)
    for start, one in zip(found.starts, found.sample, strict=True):
        assert one.base is None
        assert_array_equal(one, image[start : start + 64 : 10])


def peak_of(function, *args):
    """Return the most bytes that were taken while a function runs."""
    tracemalloc.start()
    try:
        function(*args)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def draw(rows, n_columns):
    """Return some rows of a noisy image on a slope, with a star here and there."""
    image = np.random.default_rng(rows.start).normal(
        100, 1, (rows.stop - rows.start, n_columns)
    )
    image += np.linspace(0, 5, n_columns)
    return image.astype(np.float32)


def see_sky(rows, n_columns):
    image = draw(rows, n_columns)
    usable = np.ones(image.shape, dtype=bool)
    source = np.zeros_like(image)
    source[::40, ::40] = 20
    return image, usable, np.ones_like(image), source


def see_data(rows, n_columns):
    image = draw(rows, n_columns)
    return image, np.zeros(image.shape, dtype=bool)


@pytest.mark.parametrize(
    ('kind', 'see', 'most'),
    [
        # boxes of 4 px, of which each has less than 60 bytes
        (SkyMeasurement, see_sky, 60 / 4**2),
        (lambda shape: NormalizationMeasurement(shape, 'f4'), see_data, 0.3),
        (BlankMeasurement, see_data, 0.3),
    ],
)
def test_memory_of_a_whole_image(kind, see, most):
    """So many bytes for each pixel more there are in an image of twice the rows."""
    peaks, n_columns, heights = [], 512, (2048, 4096)
    for height in heights:
        measurement = kind((height, n_columns))
        measurement.n_pixels = 2**16
        peaks.append(peak_of(measure, measurement, lambda rows: see(rows, n_columns)))
    assert peaks[1] - peaks[0] < most * n_columns * (heights[1] - heights[0])


def test_memory_of_some_rows():
    """Of a surface on large boxes no more is made than the rows that are asked for."""
    mesh = np.random.default_rng(2).normal(size=(3, 3))
    surface = MeshMap(mesh, (4096, 4096), (2048, 2048), np.float32, edges='linear')
    rows = slice(100, 164)
    part = surface.part(rows)
    assert_array_equal(part[3:], surface.part(slice(103, 164)))
    assert peak_of(surface.part, rows) < 8 * part.nbytes
