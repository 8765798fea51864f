"""Tests of the mesh estimators and the normalization: images with known answers."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import binary_opening, gaussian_filter

from bgrem.sky.mesh import find_quantum, measure_mesh
from bgrem.sky.normalization import Normalization
from bgrem.sky.normalize import estimate_normalization

SIZE = 192
Y, X = np.mgrid[:SIZE, :SIZE]


@pytest.fixture
def rng():
    return np.random.default_rng(20)


@pytest.fixture
def noise(rng):
    return rng.normal(size=(SIZE, SIZE))


def check(data, center, scale, *, center_rms=0.1, scale_error=0.05, mask=None):
    """Both maps are near the truth; errors are in units of the true noise."""
    result = estimate_normalization(data, mask)
    assert result.center.shape == result.scale.shape == data.shape
    error = (result.center - center) / scale
    assert np.sqrt(np.mean(error**2)) < center_rms
    assert_allclose(result.scale / scale, 1.0, atol=scale_error)


@pytest.mark.parametrize('dtype', ['f4', '>f4', 'f8'])
def test_white_noise_on_pedestal(noise, dtype):
    check((1e4 + 10 * noise).astype(dtype), 1e4, 10, center_rms=0.05)


@pytest.mark.parametrize('dtype', ['i2', '>i2', 'u2', 'i4', 'f2'])
def test_integers(noise, dtype):
    check(np.rint(200 + 5 * noise).astype(dtype), 200, np.sqrt(25 + 1 / 12))


@pytest.mark.parametrize('tilt', [(1, 0), (0, -1), (0.8, 0.6)])
def test_gradient(noise, tilt):
    """A tilt of 25 sigma is followed up to the corners."""
    sky = 25 * (tilt[0] * X + tilt[1] * Y) / SIZE
    check(sky + noise, sky, 1)
    result = estimate_normalization(sky + noise)
    corners = np.ix_([0, -1], [0, -1])
    assert_allclose(result.center[corners], sky[corners], atol=0.6)


@pytest.mark.parametrize('counts', [0.6, 0.2, 0.05, 0.01])
@pytest.mark.parametrize(('gain', 'pedestal'), [(1, 0), (0.37, 5)])
def test_poisson(rng, counts, gain, pedestal):
    """Sparse counts are neither clipped away nor collapse to a median of zero."""
    data = rng.poisson(counts, (SIZE, SIZE))
    assert find_quantum(data.ravel()) == 1
    check(
        gain * data + pedestal,
        gain * counts + pedestal,
        gain * np.sqrt(counts),
        scale_error=0.2,
    )


def test_poisson_gradient(rng):
    """The scale follows the mean of the counts."""
    counts = 0.5 + 2.0 * X / SIZE
    check(rng.poisson(counts), counts, np.sqrt(counts), scale_error=0.27)


def test_sparse_source(rng):
    """A source on sparse counts does not raise level and noise."""
    counts = 0.05 + 20 * np.exp(-((X - 90) ** 2 + (Y - 100) ** 2) / 8)
    result = estimate_normalization(rng.poisson(counts))
    assert_allclose(result.center[100, 90], 0.05, atol=0.03)
    assert_allclose(result.scale[100, 90], np.sqrt(0.05), rtol=0.2)


@pytest.mark.parametrize('sigma', [0.5, 0.7, 1.0])
def test_correlated_noise(rng, sigma):
    data = gaussian_filter(rng.normal(size=(SIZE, SIZE)), sigma, mode='wrap')
    check(data / data.std(), 0, 1, scale_error=0.15)


def test_depth_step(noise):
    """Twice the noise beyond a line is followed within about one box."""
    scale = np.where(X < 100, 1.0, 2.0)
    result = estimate_normalization(100 + scale * noise)
    assert_allclose(result.scale[:, :52], 1, rtol=0.1)
    assert_allclose(result.scale[:, 148:], 2, rtol=0.1)
    assert np.all(result.scale > 0.9)
    assert np.all(result.scale < 2.2)


@pytest.mark.parametrize('fwhm', [2, 3, 5])
def test_crowded(rng, noise, fwhm):
    """8e-3 sources per pixel raise the scale by less than 30 percent."""
    image = np.zeros((SIZE, SIZE))
    n_sources = int(8e-3 * SIZE**2)
    flux = np.minimum(3 * (1 + rng.pareto(1.6, n_sources)), 1e4) * fwhm * 4
    np.add.at(image, tuple(rng.integers(0, SIZE, (2, n_sources))), flux)
    image = gaussian_filter(image, fwhm / 2.355)
    result = estimate_normalization(image + noise)
    assert_allclose(result.scale, 1.15, atol=0.15)
    assert np.all(result.center < 0.6)


def test_bright_galaxy(noise):
    """A galaxy that fills one box hardly enters the center."""
    galaxy = 500 * np.exp(-np.hypot(X - 120, Y - 72) / 8)
    result = estimate_normalization(galaxy + noise)
    assert np.abs(result.center).max() < 2


@pytest.mark.parametrize('value', [0.0, 1.0, -3.7, 1e6])
@pytest.mark.parametrize('shape', [(1, 1), (5, 5), (100, 90)])
def test_constant(value, shape):
    data = np.full(shape, value)
    result = estimate_normalization(data)
    assert_array_equal(result.scale, 0)
    assert_array_equal(result.forward(data), result.forward(data + 1))
    assert_array_equal(result.inverse(np.ones(shape)), 0)


@pytest.mark.parametrize(
    'data',
    [
        0.1 * Y + 7.3 * X,
        (0.1 * Y + 1000).astype('f4'),
        np.arange(25.0).reshape(5, 5),
        np.where((X > 50) & (X < 75) & (Y > 25) & (Y < 50), 10.0, 1.0),
    ],
    ids=['tilt', 'float32_tilt', 'small_tilt', 'step'],
)
def test_noiseless(data):
    """Rounding errors and edges are not noise."""
    assert_array_equal(estimate_normalization(data).scale, 0)


def test_constant_half(noise):
    """Only the part without noise gets no scale."""
    data = np.where(Y < 96, 3.0, 3 + noise)
    result = estimate_normalization(data)
    assert_array_equal(result.scale[:90], 0)
    assert_allclose(result.scale[96:], 1, rtol=0.05)


def test_zero_border(noise):
    """Zeros round the field are no data and do not change its sky."""
    data = 1000 + noise
    data[:70] = 0
    data[:, 150:] = 0
    result = estimate_normalization(data)
    assert_array_equal(result.scale[data == 0], 0)
    assert_allclose(result.scale[data != 0], 1, rtol=0.05)
    assert_allclose(result.center[data != 0], 1000, atol=1)


def test_zero_counts_are_data(rng):
    data = rng.poisson(0.05, (SIZE, SIZE)).astype(float)
    assert np.all(estimate_normalization(data).scale > 0)


def test_missing_pixels(rng, noise):
    """NaN, inf and masked pixels do not count; boxes of them are filled."""
    data = 50 + noise
    data[rng.random(data.shape) < 0.05] = np.nan
    data[:60, :60] = np.nan
    data[100:160, 100:160] = 1e6
    data[5, 100] = np.inf
    data[7, 100] = -np.inf
    mask = np.zeros(data.shape, dtype=bool)
    mask[100:160, 100:160] = True
    check(data, 50, 1, mask=mask)
    image = estimate_normalization(data, mask).forward(data, mask)
    assert image.dtype == np.float32
    assert np.all(np.abs(image[[5, 7], 100]) < 3)
    assert_allclose(image[~mask].std(), 1, rtol=0.1)


@pytest.mark.parametrize('width', [3, 8, 60])
def test_fill_of_areas(noise, width):
    """Hidden areas look like the noise around, whatever the data hold there."""
    hidden = np.zeros(noise.shape, dtype=bool)
    hidden[20 : 20 + width, 10:150] = True
    hidden[100:180, -width:] = True
    data = 50 + 3 * noise
    normalization = estimate_normalization(data, hidden)
    image = normalization.forward(data, hidden)
    values = image[hidden]
    error = 1 / np.sqrt(values.size)
    assert abs(values.mean()) < 4 * error
    assert abs(values.std() - 1) < 4 * error
    assert abs(np.mean(values[1:] * values[:-1])) < 4 * error
    for value in (np.nan, np.inf, -7.0, 1e6):
        other = np.where(hidden, value, data)
        assert_array_equal(normalization.forward(other, hidden), image)


def test_fill_of_lines(rng, noise):
    """Bad pixels, rows and columns are about what is seen beside them."""
    hidden = rng.random(noise.shape) < 0.3
    hidden[:, 58:64], hidden[88:93] = False, False
    hidden[:, 60:62], hidden[90] = True, True
    y, x = np.indices(noise.shape)
    wave = 100 * np.sin(x / 9) * np.cos(y / 11)
    maps = Normalization(np.zeros(noise.shape), np.ones(noise.shape))
    image = maps.forward(wave + noise, hidden)
    gap = hidden & ~binary_opening(hidden, np.ones((3, 3)))
    inner = gap[2:-2, 2:-2]
    error = (image - wave)[2:-2, 2:-2][inner]
    assert np.std(error) < 3
    # what they hold does not matter
    wild = np.where(hidden, np.nan, wave + noise)
    assert_array_equal(maps.forward(wild), image)


def test_fill_depends_on_position_alone(noise):
    """More hidden pixels, or other maps, do not change the noise of an area."""
    small, large = np.zeros((2, *noise.shape), dtype=bool)
    small[40:80, 40:80] = True
    large[30:120, 20:190] = True
    unit = Normalization(np.zeros_like(noise), np.ones_like(noise))
    other = Normalization(5 + noise, 2 + np.abs(noise))
    image = unit.forward(noise, small)
    assert_array_equal(image[small], other.forward(noise, large)[small])
    rows = Normalization(unit.center[:60], unit.scale[:60])
    assert_array_equal(rows.forward(noise[:60], small[:60]), image[:60])


def test_wild_values(noise):
    """Values such as 1e30 for missing data do not ruin the sums."""
    data = noise.copy()
    data[50, 50], data[60, 60], data[70, 70] = -1e30, 1e300, -1e300
    check(data, 0, 1)
    assert np.all(np.isfinite(estimate_normalization(data).forward(data)))


def test_mostly_masked(rng, noise):
    mask = rng.random(noise.shape) < 0.75
    check(noise, 0, 1, mask=mask, center_rms=0.2, scale_error=0.3)


@pytest.mark.parametrize('size', [1, 2])
def test_checkerboard(noise, size):
    """No two of its pixels are an odd number of squares apart in a row."""
    mask = np.kron(np.indices(noise.shape).sum(axis=0) % 2, np.ones((size, size)))
    mask = mask[: noise.shape[0], : noise.shape[1]] == 0
    stars = np.where(noise > 2, 300, 0)
    check(noise + stars, 0, 1, mask=mask, center_rms=0.2, scale_error=0.2)


@pytest.mark.parametrize('data', [np.full((9, 9), np.nan), np.full((1, 1), np.inf)])
def test_no_data(data):
    result = estimate_normalization(data)
    assert_array_equal(result.scale, 0)
    assert np.all(np.isfinite(result.center))


@pytest.mark.parametrize(
    'shape', [(1, 1), (1, 2), (2, 2), (3, 3), (4, 5), (5, 5), (1, 300), (300, 1)]
)
@pytest.mark.parametrize('method', ['local', 'global', 0.5])
def test_small(rng, shape, method):
    data = 10 + rng.normal(size=shape)
    result = estimate_normalization(data, method=method)
    assert result.center.shape == shape
    assert np.all(np.isfinite(result.center))
    assert np.all(result.scale >= 0)
    if max(shape) == 300 and method == 'local':
        assert_allclose(result.scale, 1, atol=0.5)
        assert_allclose(result.center, 10, atol=1)


@pytest.mark.parametrize('method', ['local', 'global'])
@pytest.mark.parametrize(('a', 'b'), [(1e-17, 0.0), (8.0, 0.0), (0.5, 1024.0)])
def test_equivariance(noise, method, a, b):
    """A new unit or a pedestal changes the maps as it changes the data."""
    if method == 'global' and b == 0:
        noise = noise + 10
    plain = estimate_normalization(noise, method=method)
    other = estimate_normalization(a * noise + b, method=method)
    assert_allclose(other.center, a * plain.center + b, rtol=1e-9, atol=1e-9 * a)
    assert_allclose(other.scale, a * plain.scale, rtol=1e-9)


def test_transpose(noise):
    data = noise[:, :100] + 0.1 * X[:, :100]
    plain, other = estimate_normalization(data), estimate_normalization(data.T)
    assert_allclose(other.center.T, plain.center)
    assert_allclose(other.scale.T, plain.scale)


def test_input_untouched(noise):
    data, mask = noise.copy(), noise > 2
    data.flags.writeable = mask.flags.writeable = False
    estimate_normalization(data, mask).forward(data, mask)
    assert_array_equal(data, noise)


@pytest.mark.parametrize(
    ('dtype', 'expected'), [('f4', 'f4'), ('f8', 'f8'), ('i2', 'f4')]
)
@pytest.mark.parametrize('method', ['local', 'global', 2.0])
def test_map_dtype(noise, dtype, expected, method):
    result = estimate_normalization((20 * noise).astype(dtype), method=method)
    assert result.center.dtype == result.scale.dtype == np.dtype(expected)


def test_round_trip(noise):
    normalization = estimate_normalization(5 + 3 * noise)
    image = normalization.forward(5 + 3 * noise)
    assert_allclose(
        normalization.inverse(image) + normalization.center, 5 + 3 * noise, atol=1e-5
    )


def test_global(noise):
    """The paper's factor: 1 / std of what lies below the 90th percentile."""
    data = 7 + 2 * noise
    data[:10] = 0
    values = data[10:]
    expected = values[values < np.percentile(values, 90)].std()
    result = estimate_normalization(data, method='global')
    assert_allclose(result.scale, expected)
    assert_allclose(result.center, np.median(data))


def test_factor(noise):
    result = estimate_normalization(7 + noise, method=0.01)
    assert_allclose(
        result.forward(7 + noise), 0.01 * (noise - np.median(noise)), atol=1e-6
    )


def test_factor_map(noise):
    factor = np.where(X < 90, 1.0, 0.5)
    factor[0, 0], factor[0, 1] = 0, np.nan
    result = estimate_normalization(0.1 * X + noise, method=factor)
    assert_allclose(result.scale[1:], 1 / factor[1:])
    assert_array_equal(result.scale[0, :2], 0)
    assert_array_equal(result.center, estimate_normalization(0.1 * X + noise).center)


@pytest.mark.parametrize(
    ('method', 'match'),
    [
        ('median', "normalization must be 'local', 'global', .* got 'median'"),
        (0, 'normalization must be positive and finite, got 0'),
        (-2.5, 'normalization must be positive and finite, got -2.5'),
        (np.inf, 'normalization must be positive and finite, got inf'),
        (np.ones((2, 3)), r'normalization must have the shape of the data, \(8, 9\)'),
        (np.full((8, 9), -1.0), 'normalization must not be negative, got -1.0'),
    ],
)
def test_invalid(method, match):
    with pytest.raises(ValueError, match=match):
        estimate_normalization(np.ones((8, 9)), method=method)


def test_mesh(noise):
    """Boxes are nearly equal and cover the image."""
    mesh = measure_mesh(noise[:100] + 3, box_size=30)
    assert_array_equal(mesh.y_edges, [0, 33, 66, 100])
    assert_array_equal(mesh.x_edges, np.arange(7) * 32)
    assert mesh.level.shape == mesh.noise.shape == (3, 6)
    assert_allclose(mesh.level, 3, atol=0.3)
    assert_allclose(mesh.noise, 1, rtol=0.15)


def test_mesh_missing(noise):
    unusable = np.zeros(noise.shape, dtype=bool)
    unusable[:48, :48] = True
    mesh = measure_mesh(noise, unusable)
    assert_array_equal(np.isnan(mesh.level), np.isnan(mesh.noise))
    assert_array_equal(np.argwhere(np.isnan(mesh.level)), [[0, 0]])


@pytest.mark.parametrize(
    ('values', 'quantum'),
    [
        ([3, 5, 9, 11], 2),
        (np.arange(30) * 0.25 - 7, 0.25),
        ([0, 1], 1),
        ([4, 4, 4], 0),
        ([1.0, 2.0, 2.6, 9.1], 0),
        (np.linspace(0, 1, 500) ** 2, 0),
    ],
)
def test_find_quantum(values, quantum):
    assert_allclose(find_quantum(np.asarray(values, dtype=float)), quantum)


def test_frozen():
    normalization = Normalization(np.zeros((1, 1)), np.ones((1, 1)))
    with pytest.raises(AttributeError, match='scale'):
        normalization.scale = 3


class TestNormalization:
    """What the network sees, from maps that are known."""

    @staticmethod
    def unit(shape):
        return Normalization(np.zeros(shape), np.ones(shape))

    def test_single_pixels_are_as_their_surroundings(self):
        data = np.full((9, 11), 3.0)
        data[4, 5] = data[0, 0] = np.nan
        data[7] = -np.inf
        assert_allclose(self.unit(data.shape).forward(data), 3)

    def test_nothing_to_be_seen_nearby(self):
        """In a row that is too narrow for an area, 0 far from all that is seen."""
        data = np.full((2, 30), np.nan)
        data[:, 0] = 5.0
        image = self.unit(data.shape).forward(data)
        assert_allclose(image[:, :2], 5, rtol=1e-6)
        assert_array_equal(image[:, 4:], 0)
        data[:] = np.nan
        assert_array_equal(self.unit(data.shape).forward(data), 0)

    @pytest.mark.parametrize('scale', [1e-30, 1e-300])
    def test_largest(self, scale):
        """Sums and products of what is seen are finite."""
        data = np.array([[1e30, -1e30, 0.0]])
        maps = Normalization(np.zeros(data.shape), np.full(data.shape, scale))
        assert_array_equal(maps.forward(data), np.float32([[1e30, -1e30, 0]]))

    @pytest.mark.parametrize('first_row', [0, 3, 40])
    def test_rows_of_a_larger_image(self, noise, first_row):
        """A part has its own noise in areas, and the center that is made for it."""
        hidden = np.zeros(noise.shape, dtype=bool)
        hidden[20:80, 30:90] = True
        y = np.arange(len(noise))[:, np.newaxis]

        def center_of(rows, start=0):
            return np.broadcast_to(0.1 * y, noise.shape)[start:][rows]

        maps = Normalization(center_of, 2 + np.abs(noise))
        whole = maps.forward(noise, hidden)
        rows = slice(first_row, first_row + 50)
        part = Normalization(lambda some: center_of(some, first_row), maps.scale[rows])
        found = part.forward(noise[rows], hidden[rows], first_row)
        assert_array_equal(found, whole[rows])
        assert_array_equal(maps.center, np.broadcast_to(0.1 * y, noise.shape))

    def test_another_scale(self, noise):
        maps = Normalization(noise, np.ones(noise.shape))
        other = maps.with_scale(np.full(noise.shape, 4.0))
        assert_array_equal(other.center, noise)
        assert_array_equal(other.forward(noise + 8), 2)
        assert_array_equal(maps.forward(noise + 8), np.float32(noise + 8 - noise))

    def test_inverse_in_place(self, noise):
        maps = Normalization(noise, np.abs(noise))
        source = np.full(noise.shape, 2.0)
        assert maps.inverse(source, out=source) is source
        assert_array_equal(source, 2 * np.abs(noise))
