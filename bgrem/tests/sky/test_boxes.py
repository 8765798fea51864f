"""Tests of the sky in boxes that the image chooses."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from bgrem.sky.boxes import BoxSky, measure_sky
from bgrem.sky.maps import interpolate_mesh

SHAPE = (150, 210)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]
NOISE = np.random.default_rng(8).normal(size=SHAPE)


def measure(data, usable=None, noise=1.0, source=None, quantum=0.0):
    usable = np.isfinite(data) if usable is None else usable
    source = np.zeros(data.shape) if source is None else source
    return measure_sky(
        data + source, source, usable, np.broadcast_to(noise, data.shape), quantum
    )


def to_map(sky, values=None, shape=SHAPE):
    values = sky.level if values is None else values
    return interpolate_mesh(values, shape, (sky.box_size,) * 2, edges='linear')


def rms(values):
    return np.sqrt(np.mean(np.square(values)))


def galaxy(peak, scale):
    return peak * np.exp(-np.hypot(Y - 70, X - 110) / scale)


class TestLevel:
    @pytest.mark.parametrize('noise', [0.0, 1.0])
    def test_constant(self, noise):
        """Exactly, whatever the noise is said to be."""
        sky = measure(np.full(SHAPE, 7.25), noise=noise)
        assert_array_equal(sky.level, 7.25)
        assert_array_equal(sky.noise, 0)
        assert_array_equal(sky.error, 0)

    def test_flat(self):
        """As good as the mean of the whole image, in few boxes."""
        sky = measure(100 + NOISE)
        assert sky.box_size >= 64
        assert rms(to_map(sky) - 100) < 0.02
        assert_allclose(sky.noise, 1, rtol=0.04)
        assert np.all(sky.error < 0.02)

    def test_binning(self):
        """What changes within the squares in which sources were seen is not sky."""
        fine = 3 * np.sin(np.pi * Y / 16) * np.sin(np.pi * X / 16)
        source = np.zeros(SHAPE)
        usable = np.ones(SHAPE, dtype=bool)
        follows, smooth = (
            measure_sky(fine + NOISE, source, usable, source + 1, binning=binning)
            for binning in (4, 30)
        )
        assert follows.box_size < 16
        assert rms(to_map(follows) - fine) < 0.5
        assert smooth.box_size >= 32
        assert rms(to_map(smooth)) < 0.05

    def test_light_everywhere(self):
        """Where light covers the whole image the sky beneath is followed as well."""
        structure = 5 * np.sin(np.pi * Y / 40) * np.sin(np.pi * X / 40)
        free, covered = (
            measure(structure + NOISE, source=np.full(SHAPE, light))
            for light in (0.0, 30.0)
        )
        # the doubt about the light of stars is more, and the same in all boxes
        assert rms(to_map(free) - structure) < 0.3
        assert rms(to_map(covered) - structure) < 0.3
        assert np.all(covered.beneath)
        assert not np.any(free.beneath)

    @pytest.mark.parametrize('pedestal', [0, 1e7, -1e7])
    def test_tilt(self, pedestal):
        """Up to the borders, and on any pedestal."""
        plane = 0.2 * Y - 0.1 * X
        level = to_map(measure(pedestal + plane + NOISE))
        assert rms(level - pedestal - plane) < 0.03

    def test_nebulosity(self):
        sky = 4 * np.sin(2 * np.pi * X / 60) * np.sin(2 * np.pi * Y / 60)
        found = measure(sky + NOISE)
        assert found.box_size <= 8
        assert rms(to_map(found) - sky) < 0.2
        error = to_map(found, found.error)
        assert_allclose(rms((to_map(found) - sky) / error), 1, rtol=0.5)
        assert_allclose(found.noise, 1, rtol=0.06)

    def test_step(self):
        sky = np.where(X < 101, 100.0, 600.0)
        level = to_map(measure(sky + NOISE))
        assert rms((level - sky)[np.abs(X - 100.5) > 48]) < 0.3

    def test_wild_pixels(self):
        """Cosmic rays, a bad column, and a value for no data."""
        data = 100 + NOISE
        rng = np.random.default_rng(1)
        data[rng.integers(0, 150, 300), rng.integers(0, 210, 300)] += 300
        data[:, 40] = 1e5
        data[10, 10], data[140, 200] = 1e30, -1e30
        assert rms(to_map(measure(data)) - 100) < 0.03

    def test_stars_that_are_left(self):
        """Bright ones, of which nothing was taken out."""
        data = 100 + NOISE
        for y, x in ((30, 40), (100, 60), (70, 170)):
            data += 1000 * np.exp(-((Y - y) ** 2 + (X - x) ** 2) / 6)
        assert rms(to_map(measure(data)) - 100) < 0.03

    def test_light_that_is_left_of_stars(self):
        """Boxes beneath stars count little, as a tenth of their light may be left."""
        rng = np.random.default_rng(4)
        stars = sum(
            30 * np.exp(-((Y - y) ** 2 + (X - x) ** 2) / 6)
            for y, x in rng.uniform(0, SHAPE, (40, 2))
        )
        left = 100 + 0.1 * stars + NOISE
        seen, known, none = (
            to_map(measure(data, source=source)).mean()
            for data, source in ((left, None), (left, stars), (100 + NOISE, None))
        )
        assert seen - none > 0.05
        assert abs(known - none) < 0.02

    def test_noise_that_varies(self):
        noise = np.where(X < 100, 1.0, 3.0)
        sky = measure(100 + noise * NOISE, noise=noise)
        assert rms(to_map(sky) - 100) < 0.03
        found = to_map(sky, sky.noise)
        assert_allclose(found[:, [20, 190]] / noise[:, [20, 190]], 1, rtol=0.15)

    @pytest.mark.parametrize('factor', [0.5, 2.0])
    def test_noise_that_is_not_known_well(self, factor):
        sky = measure(100 + NOISE, noise=factor)
        assert rms(to_map(sky) - 100) < 0.03
        # half of it, and beyond 2 standard deviations it is clipped
        assert_allclose(sky.noise, 0.88 if factor < 1 else 1, rtol=0.04)

    @pytest.mark.parametrize('level', [0.01, 0.1, 0.6, 5, 30])
    def test_counts(self, level):
        """The mean, however few photons there are."""
        data = np.random.default_rng(3).poisson(level, SHAPE).astype(float)
        sky = measure(data, noise=np.sqrt(level), quantum=1.0)
        assert_allclose(to_map(sky).mean(), data.mean(), atol=0.01 * np.sqrt(level))
        assert_allclose(np.median(sky.noise), data.std(), rtol=0.03)

    @pytest.mark.parametrize('sigma', [1, 2, 3])
    def test_correlated_noise(self, sigma):
        """Noise of neighbors in common is no structure."""
        noise = ndimage.gaussian_filter(NOISE, sigma, mode='wrap')
        noise /= noise.std()
        sky = measure(100 + noise)
        assert rms(to_map(sky) - 100) < 0.06 * sigma
        assert_allclose(np.median(sky.noise), 1, rtol=0.05)

    @pytest.mark.parametrize('sigma', [0.5, 1.5, 2.5])
    def test_error_in_correlated_noise(self, sigma):
        """The sky is a mean of the image, whose error follows from its correlation."""
        rng = np.random.default_rng(4)
        dot = np.zeros((33, 33))
        dot[16, 16] = 1
        kernel = ndimage.gaussian_filter(dot, sigma)
        known = 1 / np.sqrt(np.sum(kernel**2)) / 256  # of a mean of 256 x 256 pixels
        levels, errors = [], []
        for _ in range(12):
            noise = rng.normal(size=(256, 256))
            noise = ndimage.gaussian_filter(noise, sigma, mode='wrap')
            sky = measure(7 + 256 * known * noise)
            assert sky.box_size == 64
            levels.append(to_map(sky, shape=noise.shape) - 7)
            errors.append(sky.error)
        assert_allclose(rms(errors), known, rtol=0.15)
        assert_allclose(rms(levels), known, rtol=0.4)  # twelve of them

    @pytest.mark.parametrize('masked', [0.5, 0.9])
    def test_error_of_scattered_pixels(self, masked):
        """Where most are masked, those of a large box are as independent as ever."""
        rng = np.random.default_rng(5)
        counts = rng.poisson(0.01, (256, 256)).astype(float)
        usable = rng.random(counts.shape) > masked
        sky = measure(counts, usable, noise=0.1, quantum=1)
        assert_allclose(sky.level, 0.01, atol=5e-3)
        assert_allclose(sky.error, 0.1 / np.sqrt(usable.sum()), rtol=0.3)

    @pytest.mark.parametrize('kept', [2, 4])
    def test_error_of_some_rows(self, kept):
        """A mean of some rows of broad noise is as good as that of all rows."""
        rng = np.random.default_rng(6)
        noise = ndimage.gaussian_filter(rng.normal(size=(256, 256)), 4, mode='wrap')
        usable = np.broadcast_to(np.arange(256)[:, np.newaxis] % kept == 0, noise.shape)
        known = 1 / (2 * np.sqrt(np.pi) * 4)  # of a pixel
        sky = measure(noise / known, usable)
        assert_allclose(sky.error, 1 / known / 256, rtol=0.2)

    @pytest.mark.parametrize('slope', [0, 0.3])
    def test_stripes_are_no_sky(self, slope):
        """But they are noise to the pixels."""
        columns = 2 * np.random.default_rng(2).normal(size=SHAPE[1])
        columns -= columns.mean()
        sky = measure(slope * X + columns + NOISE)
        assert rms(to_map(sky) - slope * X) < 0.1
        assert_allclose(np.median(sky.noise), np.hypot(1, columns.std()), rtol=0.1)

    @pytest.mark.parametrize('seed', [2, 3])
    def test_stripes_both_ways(self, seed):
        """Those of rows hide a part of those of columns, which are found then."""
        rng = np.random.default_rng(seed)
        sky = measure(3 * rng.normal(size=210) + 3 * rng.normal(size=(150, 1)) + NOISE)
        assert sky.box_size >= 32
        assert_allclose(np.median(sky.noise), np.sqrt(1 + 2 * 3**2), rtol=0.1)

    def test_noise_is_that_of_the_sky(self):
        """Beneath sources there is more."""
        source = np.where((X // 30 + Y // 30) % 3 == 0, 20.0, 0.0)
        sky = measure(100 + np.where(source > 0, 2, 1) * NOISE, source=source)
        assert_allclose(sky.noise, 1, rtol=0.05)

    @pytest.mark.parametrize('ratio', [1.1, 3.0])
    def test_depth_step(self, ratio):
        """Boxes wide enough for the sky would draw a step of the noise as a ramp."""
        depth = np.where(X < 98, 1.0, ratio)
        sky = measure(100 + depth * NOISE, noise=depth)
        assert (sky.box_size < 16) == (ratio > 2)
        assert rms(to_map(sky) - 100) < 0.03 * ratio
        if ratio > 2:
            noise = to_map(sky, sky.noise)
            assert_allclose(noise[:, :90], 1, rtol=0.1)
            assert_allclose(noise[:, 106:], ratio, rtol=0.1)

    def test_few_boxes(self):
        """Of three of them none is a star that is left."""
        step = np.where(np.arange(24) < 16, 100.0, 150.0)
        level = to_map(measure(step + NOISE[:8, :24]), shape=(8, 24))
        assert np.all(level[:, -1] > 130)

    def test_transposed(self):
        data = 4 * np.sin(X / 9) + NOISE
        sky, other = measure(data), measure(data.T)
        assert sky.box_size == other.box_size
        assert_allclose(other.level, sky.level.T, atol=1e-4)
        assert_allclose(other.noise, sky.noise.T, rtol=1e-4)

    def test_unit(self):
        """In another unit it is the same sky."""
        sky, other = (
            measure(4 * np.sin(X / 9) + NOISE),
            measure(1e-9 * NOISE, noise=1e-9),
        )
        assert sky.box_size < other.box_size
        scaled = measure(1e6 * (4 * np.sin(X / 9) + NOISE), noise=1e6)
        assert_allclose(scaled.level, 1e6 * sky.level, rtol=1e-4, atol=1e2)


def trail(peak, width, angle, offset=0.0):
    """A Gaussian of a full width at half maximum, through the middle."""
    angle = np.deg2rad(angle)
    far = (X - 105) * np.sin(angle) - (Y - 75) * np.cos(angle) - offset
    return peak * np.exp(-4 * np.log(2) * (far / width) ** 2)


class TestTrails:
    @pytest.mark.parametrize(
        ('peak', 'width', 'angle'),
        [(2, 4, 0), (2, 8, 20), (4, 8, 45), (8, 3, 90), (30, 2, 110), (30, 8, 160)],
    )
    def test_no_light_in_the_sky(self, peak, width, angle):
        """Nor in the noise; without their rejection it is 5 to 80%."""
        light = trail(peak, width, angle)
        sky = measure(100 + NOISE + light)
        level = to_map(sky)
        assert abs(np.sum((level - 100) * light)) < 0.02 * np.sum(light**2)
        assert rms(level - 100) < 0.04
        assert_allclose(sky.noise, 1, rtol=0.05)

    def test_two(self):
        light = np.maximum(trail(10, 4, 20), trail(10, 4, 110, 30))
        assert rms(to_map(measure(100 + NOISE + light)) - 100) < 0.04

    def test_on_structure(self):
        """What is broad beneath a trail stays sky."""
        structure = 4 * np.sin(2 * np.pi * X / 150) * np.sin(2 * np.pi * Y / 150)
        light = trail(15, 4, 30)
        without, with_it = (
            to_map(measure(structure + more + NOISE)) for more in (0, light)
        )
        assert abs(np.sum((with_it - without) * light)) < 0.02 * np.sum(light**2)
        assert rms(with_it - structure) < 0.3

    def test_missing_pixels(self):
        data = 100 + NOISE + trail(15, 4, 30)
        data[60:90, 100:120] = np.nan
        data[::7, ::5] = np.nan
        level = to_map(measure(np.nan_to_num(data), np.isfinite(data)))
        assert rms(level - 100) < 0.04

    def test_bands(self, monkeypatch):
        data = 100 + NOISE + trail(15, 4, 70)
        whole = measure(data)
        monkeypatch.setattr('bgrem.sky.boxes.CACHED', 64 * SHAPE[1])
        parts = measure(data)
        assert_array_equal(parts.level, whole.level)
        assert_array_equal(parts.noise, whole.noise)
        assert_array_equal(parts.trails, whole.trails)

    def test_where_they_are(self):
        """All of the light, a margin, and no more."""
        sky = measure(100 + NOISE + trail(15, 4, 70))
        assert sky.trails.shape == SHAPE
        assert np.all(sky.trails[trail(1, 4, 70) > 0.1])
        far = np.abs(trail(1, 60, 70)) < 0.5
        assert not np.any(sky.trails[far])
        assert measure(100 + NOISE).trails is None

    def test_nothing_else(self, monkeypatch):
        """There is still sky where all of it is on a trail."""
        monkeypatch.setattr(
            'bgrem.sky.boxes.find_trails',
            lambda level, _: np.ones(level.shape, dtype=bool),
        )
        sky = measure(100 + NOISE)
        assert rms(to_map(sky) - 100) < 0.02
        assert_allclose(sky.noise, 1, rtol=0.04)


class TestMasks:
    def test_one_pixel(self):
        usable = np.zeros(SHAPE, dtype=bool)
        usable[100, 30] = True
        sky = measure(np.where(usable, 5.5, np.nan))
        assert_array_equal(to_map(sky), 5.5)

    def test_all_but_one_box(self):
        usable = (Y // 16 == 4) & (X // 16 == 7)
        sky = measure(np.where(usable, 100 + NOISE, np.nan))
        assert_allclose(to_map(sky), 100 + NOISE[usable].mean(), atol=0.01)

    @pytest.mark.parametrize('kind', ['gap', 'stripes', 'random', 'islands'])
    def test_masked_pixels_do_not_matter(self, kind):
        masks = {
            'gap': np.abs(X - 100) < 30,
            'stripes': X // 16 % 2 == 1,
            'random': np.random.default_rng(5).random(SHAPE) < 0.9,
            'islands': (Y // 20 % 3 > 0) | (X // 20 % 3 > 0),
        }
        plane = 0.1 * Y
        usable = ~masks[kind]
        data = np.where(usable, plane + NOISE, 1e4)
        sky = measure(data, usable)
        assert rms((to_map(sky) - plane)[usable]) < 0.1
        assert rms(to_map(sky) - plane) < 0.2
        again = measure(np.where(usable, data, np.nan), usable)
        assert_array_equal(again.level, sky.level)


class TestGalaxies:
    def test_light_that_is_left(self):
        """A tenth of a galaxy is left over, and does not reach the sky."""
        true = galaxy(150.0, 12.0)
        data = 100 + 0.1 * true + NOISE
        seen, hidden = (
            to_map(measure(data, source=source)) for source in (None, 0.9 * true)
        )
        assert np.abs(seen - 100).max() > 3
        assert np.abs(hidden - 100).max() < 0.15

    def test_beneath(self):
        """Where the light fills squares of 16 px, and some pixels around."""
        beneath = measure(100 + NOISE, source=galaxy(150.0, 5.0)).beneath
        assert beneath[70, 110]
        assert 0.1 < beneath.mean() < 0.5
        assert not beneath[:, :20].any()
        star = 1e3 * np.exp(-((Y - 70) ** 2 + (X - 110) ** 2) / 8)
        assert not measure(100 + NOISE, source=star).beneath.any()
        assert not measure(100 + NOISE).beneath.any()

    @pytest.mark.parametrize(('size', 'border'), [(12, 0), (20, 8), (44, 8), (68, 16)])
    def test_outskirts(self, size, border):
        """They are the wider, the wider the light is; a star has none."""
        source, expected = np.zeros(SHAPE), np.zeros(SHAPE, dtype=bool)
        source[40 : 40 + size, 40 : 40 + size] = 5
        beneath = measure(100 + NOISE, source=source).beneath
        if border:
            sides = slice(40 - border, 40 + size + border)
            expected[sides, sides] = True
        assert_array_equal(beneath, expected)

    def test_a_nebulous_sky_is_measured_beneath(self):
        """There nothing else tells what it is."""
        wave = 6 * np.sin(2 * np.pi * X / 60) * np.sin(2 * np.pi * Y / 60)
        level = to_map(measure(wave + NOISE, source=galaxy(5.0, 8.0)))
        assert rms(level - wave) < 0.4
        assert rms((level - wave)[60:80, 100:120]) < 1.5

    def test_a_galaxy_that_fills_the_image(self):
        source = galaxy(50.0, 200.0)
        level = to_map(measure(100 + NOISE, source=source))
        assert rms(level - 100) < 0.3


def test_meshes():
    """The noise is not more than the data differ, and all can be written."""
    level, noise = np.array([[1.0, 2.0]]), np.array([[5.0, 0.1]])
    sky = BoxSky(4, level, noise, np.ones((1, 2)), None)
    level, noise, error = sky.meshes(2.0, np.float32, (0.0, 3.0))
    assert_allclose(level, [[2, 4]])
    assert_allclose(noise, [[3, 0.2]])
    assert_allclose(error, 2)
    for values in sky.meshes(1e60, np.float32):
        assert values.dtype == np.float32
        assert_array_equal(values, np.finfo('f4').max)


def test_all_far_off_the_first_sky():
    """Of values that are all off their median nothing is clipped."""
    data = np.where((X + Y) % 2 == 0, 100.0, -100.0)
    sky = measure(data)
    assert_allclose(sky.level, 0, atol=1)
    assert_allclose(sky.noise, 100, rtol=0.01)


@pytest.mark.parametrize('shape', [(1, 1), (1, 2), (3, 3), (1, 90), (90, 1), (17, 4)])
def test_small_images(shape):
    data = 3 + np.random.default_rng(1).normal(size=shape)
    sky = measure(data)
    for values in (sky.level, sky.noise, sky.error):
        assert np.isfinite(values).all()
    assert abs(to_map(sky, shape=shape).mean() - data.mean()) < 0.5
    assert sky.beneath.shape == shape


@pytest.mark.parametrize('shape', [(1, 200), (200, 1), (3, 200), (5, 200)])
def test_star_in_thin_images(shape):
    """A star that is left does not raise the sky of a line of boxes."""
    y, x = np.indices(shape)
    distance = (y - shape[0] // 3) ** 2 + (x - shape[1] // 3) ** 2
    star = 500 * np.exp(-distance / 4)
    for seed in range(4):
        noise = np.random.default_rng(seed).normal(size=shape)
        sky = measure(100 + star + noise)
        assert_allclose(to_map(sky, shape=shape), 100, atol=0.5)


def test_slope_of_thin_images():
    """A slope of many standard deviations is followed to the ends of a single row."""
    slope = np.linspace(0, 20, 200)[np.newaxis]
    sky = measure(slope + NOISE.reshape(-1)[:200])
    assert_allclose(to_map(sky, shape=slope.shape), slope, atol=0.5)


def test_on_grid():
    plane = 0.2 * Y - 0.1 * X
    level, size = measure(plane + NOISE).on_grid(SHAPE)
    assert size == 4
    assert level.shape == (38, 53)
    y, x = 4 * np.indices(level.shape) + 1.5
    assert_allclose(level, 0.2 * y - 0.1 * x, atol=0.1)
