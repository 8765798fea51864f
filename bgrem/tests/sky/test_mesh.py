"""Tests of the sky level and the noise in the boxes of a mesh."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bgrem.sky.mesh import (
    box_centers,
    find_quantum,
    measure_boxes,
    measure_mesh,
    measure_noise,
    mesh_edges,
    second_difference,
)

SHAPE = (150, 130)
SYMMETRIES = pytest.mark.parametrize(
    'turn',
    [lambda x: x[::-1], lambda x: x[:, ::-1], lambda x: x.T, lambda x: np.rot90(x)],
    ids=['upside_down', 'left_right', 'transposed', 'turned'],
)


@pytest.fixture(params=[1, 2, 3])
def data(request):
    """A sky with stars, whose noise differs from side to side."""
    rng = np.random.default_rng(request.param)
    image = 100 + rng.normal(size=SHAPE) * np.linspace(1, 3, SHAPE[1])
    image[tuple(rng.integers(3, 127, (2, 60)))] += 500
    return image


@pytest.fixture(scope='module')
def hidden():
    hidden = np.random.default_rng(9).random(SHAPE) < 0.2
    hidden[:50, :52] = True
    return hidden


class TestMeasureMesh:
    # of boxes that are all of the same size, whichever way the image is turned
    BOX = 25

    @SYMMETRIES
    def test_symmetries(self, data, turn):
        data = data[:, :125]
        plain, other = (
            measure_mesh(data, box_size=5),
            measure_mesh(turn(data), box_size=5),
        )
        assert_allclose(other.level, turn(plain.level))
        assert_allclose(other.noise, turn(plain.noise))

    @pytest.mark.parametrize('shift', [-7.5, 1024.0, 2.0**20])
    @pytest.mark.parametrize('factor', [2.0**-40, 0.5, 2.0**30])
    def test_equivariance(self, data, shift, factor):
        """A power of two, and a shift by as much: the same but for rounding."""
        plain = measure_mesh(data)
        other = measure_mesh(factor * (data + shift))
        assert_allclose(other.level, factor * (plain.level + shift), rtol=1e-12)
        assert_allclose(other.noise, factor * plain.noise, rtol=1e-8)

    def test_sign(self, data):
        """Below the sky is as above it."""
        plain, other = measure_mesh(data - 100), measure_mesh(100 - data)
        assert_allclose(other.level, -plain.level, atol=1e-12)
        assert_allclose(other.noise, plain.noise)

    def test_order_of_bytes_and_memory(self, data):
        plain = measure_mesh(data.astype('f4'))
        for other in (
            data.astype('>f4'),
            np.asfortranarray(data.astype('f4')),
            np.repeat(data.astype('f4'), 2, axis=1)[:, ::2],
        ):
            other.flags.writeable = False
            mesh = measure_mesh(other)
            assert_allclose(mesh.level, plain.level, rtol=1e-8)
            assert_allclose(mesh.noise, plain.noise, rtol=1e-5)

    @pytest.mark.parametrize('value', [np.nan, np.inf, 0.0, -1e30])
    def test_hidden_do_not_matter(self, data, hidden, value):
        plain = measure_mesh(data, hidden, self.BOX)
        other = measure_mesh(np.where(hidden, value, data), hidden, self.BOX)
        assert_array_equal(other.level, plain.level)
        assert_array_equal(other.noise, plain.noise)
        assert np.isnan(plain.level[:2, :2]).all()
        assert np.isfinite(plain.level[2:]).all()

    def test_boxes_do_not_matter_to_others(self, data, hidden):
        """What is far away changes nothing."""
        plain = measure_mesh(data, hidden, self.BOX)
        data[100:] = np.random.default_rng(5).gamma(2, size=(50, 130))
        other = measure_mesh(data, hidden, self.BOX)
        assert_array_equal(other.level[:3], plain.level[:3])
        assert_array_equal(other.noise[:3], plain.noise[:3])
        assert np.all(other.noise[4:] != plain.noise[4:])

    @pytest.mark.parametrize('lag', [1, 3, 5])
    def test_rows_of_boxes_by_themselves(self, data, hidden, lag):
        edges = mesh_edges(SHAPE)
        level, noise = measure_boxes(data, hidden, edges, 0.0, lag)
        for number, (start, stop) in enumerate(pairwise(edges[0])):
            seen = slice(max(start - lag, 0), stop + lag)
            found = measure_boxes(
                data[seen], hidden[seen], edges, 0.0, lag, slice(start, stop)
            )
            assert_array_equal(found[0], level[[number]])
            assert_array_equal(found[1], noise[[number]])

    def test_several_lags_at_once(self, data, hidden):
        noises = measure_noise(data, hidden, (1, 3, 4))
        for lag, noise in zip((1, 3, 4), noises, strict=True):
            assert_array_equal(noise, measure_mesh(data, hidden, lag=lag).noise)

    def test_a_tilt_is_no_noise(self, data):
        """Second differences do not see it, whatever its direction."""
        y, x = np.indices(SHAPE)
        plain = measure_mesh(data).noise
        tilted = measure_mesh(data + 2.0 * x - 0.5 * y).noise
        assert_allclose(tilted, plain, rtol=1e-9)

    @pytest.mark.parametrize('mean', [0.05, 0.3, 1.0, 2.5])
    def test_mean_of_counts(self, mean):
        """Of few counts a median is 0 or 1: the level is their mean."""
        counts = np.random.default_rng(4).poisson(mean, (192, 192))
        mesh = measure_mesh(counts)
        assert mesh.quantum == 1
        assert_allclose(mesh.level.mean(), mean, rtol=0.05)
        assert_allclose(mesh.noise.mean(), np.sqrt(mean), rtol=0.05)
        other = measure_mesh(0.25 * counts - 3.0)
        assert other.quantum == 0.25
        assert_allclose(other.level, 0.25 * mesh.level - 3)

    def test_stars_only_raise(self):
        """A mode is less than a mean, and a box of stars is not far above the sky."""
        rng = np.random.default_rng(2)
        noise = rng.normal(size=(96, 96))
        stars = np.where(
            rng.random(noise.shape) < 0.1, rng.exponential(30, noise.shape), 0
        )
        mesh = measure_mesh(noise + stars)
        assert np.all(mesh.level < 0.2)
        assert np.all(mesh.level > measure_mesh(noise).level - 0.05)
        assert (noise + stars).mean() > 2


class TestEdges:
    @pytest.mark.parametrize('n', [1, 23, 24, 71, 73, 500])
    @pytest.mark.parametrize('box_size', [1, 24, 48])
    def test_even_parts(self, n, box_size):
        edges, other = mesh_edges((n, 48), box_size)
        sizes = np.diff(edges)
        assert (edges[0], edges[-1]) == (0, n)
        assert np.ptp(sizes) <= 1
        assert len(sizes) == max(1, round(n / box_size))
        assert len(other) == 1 + 48 // box_size

    def test_centers(self):
        """Of a box of three pixels, the second one."""
        assert_array_equal(box_centers(np.array([0, 3, 6, 8])), [1, 4, 6.5])


class TestSecondDifference:
    @pytest.mark.parametrize('axis', [0, 1])
    @pytest.mark.parametrize('lag', [1, 2, 5])
    def test_parabola(self, axis, lag):
        """Of t squared it is twice the square of the lag, of a line nothing."""
        t = np.indices((12, 14))[axis].astype(float)
        found = second_difference(3 * t**2 - 5 * t + 7, lag, axis)
        inner = [slice(None)] * 2
        inner[axis] = slice(lag, -lag)
        assert_allclose(found[tuple(inner)], 6 * lag**2)
        assert np.count_nonzero(np.isfinite(found)) == found[tuple(inner)].size

    @pytest.mark.parametrize('shape', [(5, 4), (4, 5), (1, 1)])
    def test_too_narrow(self, shape):
        image = np.ones(shape, np.float32)
        for axis, n in enumerate(shape):
            found = second_difference(image, 2, axis)
            assert found.dtype == np.float32
            assert np.isfinite(found).any() == (n >= 5)
            assert np.isnan(second_difference(image, 0, axis)).all()

    def test_nan_spreads_to_its_neighbours_alone(self):
        image = np.zeros((9, 9))
        image[4, 4] = np.nan
        found = second_difference(image, 2, 1)[:, 2:-2]
        y, x = np.nonzero(np.isnan(found))
        assert_array_equal(y, 4)
        assert_array_equal(x + 2, [2, 4, 6])


class TestFindQuantum:
    @pytest.mark.parametrize('step', [0.25, 1.0, 3.0, 0.1])
    @pytest.mark.parametrize('offset', [0.0, 1000.0, -7.0])
    @pytest.mark.parametrize('seed', range(3))
    def test_step(self, step, offset, seed):
        """Whatever the order, and however often each number is there."""
        counts = np.random.default_rng(seed).poisson(30, 4000)
        values = step * counts + offset
        assert_allclose(find_quantum(values), step, rtol=1e-6)
        assert_allclose(find_quantum(np.sort(values)[::-1]), step, rtol=1e-6)
        assert_allclose(find_quantum(np.repeat(values, 3)), step, rtol=1e-6)

    @pytest.mark.parametrize('seed', range(3))
    def test_no_step(self, seed):
        rng = np.random.default_rng(seed)
        assert find_quantum(rng.normal(size=4000)) == 0
        # one value that lies off the grid, near the median, is enough
        values = np.append(rng.poisson(30, 4000), 30.4)
        assert find_quantum(values) == 0

    def test_of_few_levels(self):
        assert find_quantum(np.array([])) == 0
        assert find_quantum(np.full(9, 3.0)) == 0
        # two numbers are a grid if 0 is on it
        assert find_quantum(np.array([2.0, 4.0])) == 2
        assert find_quantum(np.array([2.0, 5.0])) == 0
        assert find_quantum(np.array([0.0, 5.0])) == 5
