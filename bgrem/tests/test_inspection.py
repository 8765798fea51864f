"""Tests of what an image says about its own probabilities."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import gaussian_filter

from bgrem import inspection
from bgrem.detect.peaks import find_peaks
from bgrem.inspection import WindowNoise, inspect_image
from bgrem.pipeline import separate

NO_PEAKS = find_peaks(np.zeros((3, 3)), min_probability=0.5)


def test_inspect_image(tiny_weights):
    """Without sources the flipped peaks are those of the negative image."""
    data = 100 + np.random.default_rng(7).gamma(4.0, size=(90, 100))
    source = np.zeros_like(data)
    expected = find_peaks(separate(-data, weights=tiny_weights).probability)
    found = inspect_image(data, None, source, NO_PEAKS, weights=tiny_weights)
    assert_array_equal(found.flipped, expected['probability'])
    assert found.clean_fraction == 1
    assert_allclose(found.correlation, 0, atol=0.05)
    # 2 / sqrt(4), but for the tail; of the image, not of its negative
    assert 0.7 < found.skewness < 1.05
    assert found.widths.size == 0
    assert not found.is_drawn

    # sources, and a margin of 3 px about them, do not take part
    star = np.hypot(*(np.mgrid[:90, :100] - np.reshape((45, 80), (2, 1, 1))))
    source[:, 60:] = 30
    source += 500 * np.exp(-((star / 2.0) ** 2))
    peaks = find_peaks(source / 600, min_probability=0.5)
    found = inspect_image(data + source, None, source, peaks, weights=tiny_weights)
    kept = expected[expected['x'] < 57]
    assert_allclose(np.sort(found.flipped), np.sort(kept['probability']), rtol=1e-3)
    assert_allclose(found.clean_fraction, 0.57)
    assert_allclose(found.correlation, 0, atol=0.07)
    # of the Gaussian 3.3 px; the 30 counts beneath it make it look wider
    assert_allclose(found.widths, 3.4, atol=0.1)


class TestFewPhotons:
    """Their noise is not symmetric: they are drawn anew."""

    @pytest.fixture
    def seen(self, monkeypatch):
        seen = []

        def shown(data, *args, **options):
            seen.append(data)
            return separate(data, *args, **options)

        monkeypatch.setattr(inspection, 'separate', shown)
        return seen

    def inspect(self, data, source, weights):
        return inspect_image(data, None, source, NO_PEAKS, weights=weights)

    @pytest.mark.parametrize('unit', [1.0, 0.25])
    def test_sky_and_bright_sources(self, seen, tiny_weights, unit):
        """Each draw has the sky and the light of the star; its peaks do not count."""
        source = np.zeros((90, 100))
        source[40:43, 50:53] = 300
        source[10, 10] = 2  # too faint to be spared by the check
        data = np.random.default_rng(5).poisson(0.5 + source) * unit
        result = self.inspect(data, unit * source, tiny_weights)
        assert result.is_drawn
        assert len(seen) == 8  # of a small image
        for number, draw in enumerate(seen):
            counts = draw / unit
            assert_array_equal(counts, np.rint(counts))
            assert_allclose(counts[40:43, 50:53], 300, rtol=0.25)
            counts[40:43, 50:53] = 0
            assert counts.max() < 9
            assert_allclose(counts.mean(), 0.5, rtol=0.05)
            assert not np.array_equal(counts == 0, data == 0)
            assert not any(np.array_equal(draw, other) for other in seen[:number])
        assert_allclose(result.clean_fraction, 8 * (1 - 57 / 9000))
        # of the image itself
        assert_allclose(result.skewness, 2**0.5, atol=0.15)

    def test_the_same_each_time(self, tiny_weights):
        data = np.random.default_rng(5).poisson(0.5, (90, 100)).astype(float)
        one, other = (self.inspect(data, 0 * data, tiny_weights) for _ in range(2))
        assert_array_equal(one.flipped, other.flipped)
        masked = data.copy()
        masked[:20] = np.nan
        found = self.inspect(masked, 0 * data, tiny_weights)
        assert np.all(np.isfinite(found.flipped))

    @pytest.mark.parametrize('kind', ['many', 'rounded', 'continuous'])
    def test_other_images_are_flipped(self, seen, tiny_weights, kind):
        rng = np.random.default_rng(5)
        data = {
            'many': rng.poisson(9, (90, 100)),
            'rounded': np.rint(rng.normal(3.3, 0.8, (90, 100))),
            'continuous': rng.gamma(1.0, size=(90, 100)),
        }[kind].astype(float)
        assert not self.inspect(data, 0 * data, tiny_weights).is_drawn
        assert_array_equal(seen[0], -data)


class TestSample:
    """Of a large image only a part is looked at, while that says enough."""

    @pytest.fixture
    def looks(self, monkeypatch):
        looks = []

        def counted(data, *args, **options):
            looks.append(data.shape)
            return separate(data, *args, **options)

        monkeypatch.setattr(inspection, 'separate', counted)
        monkeypatch.setattr(inspection, '_SAMPLE', 64**2)
        monkeypatch.setattr(inspection, '_WINDOW', 32)
        monkeypatch.setattr(inspection, '_CERTAIN', 1.0)
        return looks

    def inspect(self, data, weights, **options):
        return inspect_image(
            data, None, np.zeros_like(data), NO_PEAKS, weights=weights, **options
        )

    def test_says_what_the_whole_says(self, looks, tiny_weights, monkeypatch):
        data = gaussian_filter(np.random.default_rng(9).normal(size=(160, 192)), 0.7)
        found = self.inspect(data, tiny_weights)
        assert looks == 4 * [(32, 32)]
        assert_allclose(found.clean_fraction, 64**2 / data.size)
        monkeypatch.setattr(inspection, '_SAMPLE', data.size)
        whole = self.inspect(data, tiny_weights)
        assert looks[4:] == [data.shape]
        assert whole.clean_fraction == 1
        n_flipped = np.sum(found.flipped) / found.clean_fraction
        assert_allclose(n_flipped, np.sum(whole.flipped), rtol=0.2)
        assert_allclose(found.correlation, whole.correlation, atol=0.06)
        assert_allclose(found.skewness, whole.skewness, atol=0.2)

    def test_more_where_it_is_not_certain(self, looks, tiny_weights, monkeypatch):
        data = np.random.default_rng(9).normal(size=(160, 192))
        monkeypatch.setattr(inspection, '_CERTAIN', 0.0)
        assert self.inspect(data, tiny_weights).clean_fraction == 1
        assert len(looks) == 30

    def test_windows_without_data_say_nothing(self, looks, tiny_weights):
        data = np.random.default_rng(9).normal(size=(160, 192))
        data[:, 64:] = np.nan
        found = self.inspect(data, tiny_weights)
        assert looks == 4 * [(32, 32)]
        assert_allclose(found.clean_fraction, 0.4)
        assert_allclose(found.correlation, 0, atol=0.06)

    def test_a_factor_is_that_of_the_whole(self, looks, tiny_weights):
        data = np.random.default_rng(9).normal(size=(160, 192))
        self.inspect(data, tiny_weights, normalization=1.0)
        assert looks == [data.shape]


def test_inspect_image_with_correlated_noise(tiny_weights):
    noise = gaussian_filter(np.random.default_rng(8).normal(size=(90, 100)), 0.7)
    found = inspect_image(noise, None, 0 * noise, NO_PEAKS, weights=tiny_weights)
    # of second differences of pixels 3 px apart
    one, two = np.exp(-0.25 * np.array([1, 4]) / 0.49)
    assert_allclose(found.correlation, (1.5 * one - two) / 1.5, atol=0.05)
    assert_allclose(found.skewness, 0, atol=0.1)


def test_inspect_masked_image(tiny_weights):
    data = 100 + np.random.default_rng(6).normal(size=(90, 100))
    mask = np.ones(data.shape, dtype=bool)
    mask[:, :50] = False
    data[5, 5] = np.nan
    source = np.zeros_like(data)
    found = inspect_image(data, mask, source, NO_PEAKS, weights=tiny_weights)
    assert np.all(np.isfinite(found.flipped))
    assert found.clean_fraction == 1
    assert_allclose([found.correlation, found.skewness], 0, atol=0.15)
    nothing = inspect_image(data, ~mask | mask, source, NO_PEAKS, weights=tiny_weights)
    assert nothing.flipped.size == 0
    assert nothing.clean_fraction == nothing.correlation == nothing.skewness == 0


@pytest.mark.parametrize('seed', range(3))
def test_noise_of_any_part_is_that_of_the_whole(seed):
    rng = np.random.default_rng(seed)
    shape = (40, 50)
    windows = [np.s_[0:12, 0:12], np.s_[20:32, 8:20], np.s_[28:40, 38:50]]
    noise = WindowNoise(windows, list(rng.uniform(1, 2, (3, 12, 12))))
    whole = noise.part(np.s_[:, :], shape)
    for _ in range(40):
        (y, end_y), (x, end_x) = (np.sort(rng.integers(0, n + 1, 2)) for n in shape)
        place = np.s_[y:end_y, x:end_x]
        assert_array_equal(noise.part(place, shape), whole[place])
    assert np.sum(whole != np.float32(noise.typical)) >= 3 * 144 - 1


def test_window_noise():
    """Known in windows, elsewhere as typical."""
    noise = WindowNoise(
        [np.s_[0:2, 0:2], np.s_[2:4, 2:5]], [np.ones((2, 2)), np.full((2, 3), 3.0)]
    )
    assert noise.typical == 3
    part = noise.part(np.s_[1:3, 1:4], (4, 5))
    assert part.tolist() == [[1, 3, 3], [3, 3, 3]]
    whole = noise.part(np.s_[:, :], (4, 5))
    assert np.argwhere(whole == 1).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert WindowNoise().typical is None


@pytest.mark.parametrize('what', ['columns', 'amplifier'])
def test_lines_are_no_light(what):
    """Beside stripes and steps sources are found as without them."""
    rng = np.random.default_rng(15)
    y, x = np.mgrid[:180, :192]
    image = rng.normal(300, 5, (180, 192))
    for row, column in rng.uniform(5, 175, (60, 2)):
        image += 30 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 5)
    if what == 'columns':
        lines = 10 * rng.normal(size=(1, 192))
    else:
        lines = np.where(x >= 101, 600.0, 0.0)
    found = [separate(one, weights='optical') for one in (image, image + lines)]
    sure = [len(find_peaks(one.probability, min_probability=0.9)) for one in found]
    assert sure[0] > 40
    assert sure[1] > 0.9 * sure[0]
    center = found[1].normalization.center - lines
    assert np.std(center - found[0].normalization.center) < 1.5
