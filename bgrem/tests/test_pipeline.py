"""Tests of the way from an image to its sources."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import gaussian_filter

from bgrem import pipeline
from bgrem.detect.peaks import find_peaks
from bgrem.pipeline import (
    WindowNoise,
    bar_name,
    describe,
    inspect_image,
    network_factor,
    sampling_of,
    separate,
)
from bgrem.weights import load_weights


@pytest.fixture
def data():
    data = 100 + np.random.default_rng(6).normal(size=(90, 100))
    data[40, 50] = 5000
    return data


@pytest.mark.parametrize('dtype', ['f4', 'f8'])
def test_separate(data, dtype, tiny_weights):
    data = data.astype(dtype)
    result = separate(data, weights=tiny_weights)
    assert result.source.shape == result.probability.shape == data.shape
    assert result.source.dtype == np.dtype(dtype)
    assert result.probability.dtype == np.float32
    assert np.all(np.isfinite(result.source))
    assert np.all((result.probability >= 0) & (result.probability <= 1))
    assert result.source[40, 50] > 3
    assert_allclose(result.normalization.center, 100, atol=0.2)


def test_masked(data, tiny_weights):
    """Masked and broken pixels hold no source and change nothing elsewhere."""
    mask = np.zeros(data.shape, dtype=bool)
    mask[40:43, 50:53] = True
    data[10, 10], data[11, 11] = np.nan, -np.inf
    hidden = mask | ~np.isfinite(data)
    result = separate(data, mask, weights=tiny_weights)
    assert_array_equal(result.source[hidden], 0)
    assert_array_equal(result.probability[hidden], 0)
    data[hidden] = 1e4
    other = separate(data, hidden, weights=tiny_weights)
    assert_array_equal(other.source, result.source)
    assert_array_equal(other.probability, result.probability)
    assert mask.sum() == 9


def test_constant(tiny_weights):
    result = separate(np.full((50, 60), 3.0), weights=tiny_weights)
    assert_array_equal(result.source, 0)
    assert_array_equal(result.probability, 0)


def test_counts(data, tiny_weights):
    """Of single counts no more is light than there is; of others nothing changes."""
    counts = np.random.default_rng(6).poisson(0.05, (90, 100)).astype(float)
    result = separate(counts, weights=tiny_weights)
    assert result.source.min() >= 0
    assert result.source.sum() <= counts.sum()
    assert separate(data, weights=tiny_weights).source.min() < 0


def test_equivariance(data, tiny_weights):
    """A change of unit and of pedestal changes the source as it should."""
    expected = separate(data, weights=tiny_weights)
    result = separate(8 * data - 500, weights=tiny_weights)
    assert_allclose(result.source, 8 * expected.source, rtol=1e-3, atol=1e-3)
    assert_allclose(result.probability, expected.probability, rtol=1e-3, atol=1e-3)


NO_PEAKS = find_peaks(np.zeros((3, 3)), min_probability=0.5)


def test_inspect_image(tiny_weights):
    """Without sources the flipped peaks are those of the negative image."""
    data = 100 + np.random.default_rng(7).gamma(4.0, size=(90, 100))
    source = np.zeros_like(data)
    expected = find_peaks(separate(-data, weights=tiny_weights).probability)
    found, clean, correlation, skewness, widths, is_drawn = inspect_image(
        data, None, source, NO_PEAKS, weights=tiny_weights
    )
    assert_array_equal(found, expected['probability'])
    assert clean == 1
    assert_allclose(correlation, 0, atol=0.05)
    # 2 / sqrt(4), but for the tail; of the image, not of its negative
    assert 0.7 < skewness < 1.05
    assert widths.size == 0
    assert not is_drawn

    # sources, and a margin of 3 px about them, do not take part
    star = np.hypot(*(np.mgrid[:90, :100] - np.reshape((45, 80), (2, 1, 1))))
    source[:, 60:] = 30
    source += 500 * np.exp(-((star / 2.0) ** 2))
    peaks = find_peaks(source / 600, min_probability=0.5)
    found, clean, correlation, _, widths, _ = inspect_image(
        data + source, None, source, peaks, weights=tiny_weights
    )
    kept = expected[expected['x'] < 57]
    assert_allclose(np.sort(found), np.sort(kept['probability']), rtol=1e-3)
    assert_allclose(clean, 0.57)
    assert_allclose(correlation, 0, atol=0.07)
    # of the Gaussian 3.3 px; the 30 counts beneath it make it look wider
    assert_allclose(widths, 3.4, atol=0.1)


class TestFewPhotons:
    """Their noise is not symmetric: they are drawn anew."""

    @pytest.fixture
    def seen(self, monkeypatch):
        seen = []

        def shown(data, *args, **options):
            seen.append(data)
            return separate(data, *args, **options)

        monkeypatch.setattr(pipeline, 'separate', shown)
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
        assert result[-1]
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
        assert_allclose(result[1], 8 * (1 - 57 / 9000))
        # of the image itself
        assert_allclose(result[3], 2**0.5, atol=0.15)

    def test_the_same_each_time(self, tiny_weights):
        data = np.random.default_rng(5).poisson(0.5, (90, 100)).astype(float)
        one, other = (self.inspect(data, 0 * data, tiny_weights) for _ in range(2))
        assert_array_equal(one[0], other[0])
        masked = data.copy()
        masked[:20] = np.nan
        assert np.all(np.isfinite(self.inspect(masked, 0 * data, tiny_weights)[0]))

    @pytest.mark.parametrize('kind', ['many', 'rounded', 'continuous'])
    def test_other_images_are_flipped(self, seen, tiny_weights, kind):
        rng = np.random.default_rng(5)
        data = {
            'many': rng.poisson(9, (90, 100)),
            'rounded': np.rint(rng.normal(3.3, 0.8, (90, 100))),
            'continuous': rng.gamma(1.0, size=(90, 100)),
        }[kind].astype(float)
        assert not self.inspect(data, 0 * data, tiny_weights)[-1]
        assert_array_equal(seen[0], -data)


class TestSample:
    """Of a large image only a part is looked at, while that says enough."""

    @pytest.fixture
    def looks(self, monkeypatch):
        looks = []

        def counted(data, *args, **options):
            looks.append(data.shape)
            return separate(data, *args, **options)

        monkeypatch.setattr(pipeline, 'separate', counted)
        monkeypatch.setattr(pipeline, '_SAMPLE', 64**2)
        monkeypatch.setattr(pipeline, '_WINDOW', 32)
        monkeypatch.setattr(pipeline, '_CERTAIN', 1.0)
        return looks

    def inspect(self, data, weights, **options):
        return inspect_image(
            data, None, np.zeros_like(data), NO_PEAKS, weights=weights, **options
        )

    def test_says_what_the_whole_says(self, looks, tiny_weights, monkeypatch):
        data = gaussian_filter(np.random.default_rng(9).normal(size=(160, 192)), 0.7)
        found, seen, correlation, skewness, *_ = self.inspect(data, tiny_weights)
        assert looks == 4 * [(32, 32)]
        assert_allclose(seen, 64**2 / data.size)
        monkeypatch.setattr(pipeline, '_SAMPLE', data.size)
        whole, all_seen, *expected, _, _ = self.inspect(data, tiny_weights)
        assert looks[4:] == [data.shape]
        assert all_seen == 1
        assert_allclose(np.sum(found) / seen, np.sum(whole), rtol=0.2)
        assert_allclose(correlation, expected[0], atol=0.06)
        assert_allclose(skewness, expected[1], atol=0.2)

    def test_more_where_it_is_not_certain(self, looks, tiny_weights, monkeypatch):
        data = np.random.default_rng(9).normal(size=(160, 192))
        monkeypatch.setattr(pipeline, '_CERTAIN', 0.0)
        _, seen, *_ = self.inspect(data, tiny_weights)
        assert len(looks) == 30
        assert seen == 1

    def test_windows_without_data_say_nothing(self, looks, tiny_weights):
        data = np.random.default_rng(9).normal(size=(160, 192))
        data[:, 64:] = np.nan
        _, seen, correlation, *_ = self.inspect(data, tiny_weights)
        assert looks == 4 * [(32, 32)]
        assert_allclose(seen, 0.4)
        assert_allclose(correlation, 0, atol=0.06)

    def test_a_factor_is_that_of_the_whole(self, looks, tiny_weights):
        data = np.random.default_rng(9).normal(size=(160, 192))
        self.inspect(data, tiny_weights, normalization=1.0)
        assert looks == [data.shape]


def test_inspect_image_with_correlated_noise(tiny_weights):
    noise = gaussian_filter(np.random.default_rng(8).normal(size=(90, 100)), 0.7)
    _, _, correlation, skewness, *_ = inspect_image(
        noise, None, 0 * noise, NO_PEAKS, weights=tiny_weights
    )
    # of second differences of pixels 3 px apart
    one, two = np.exp(-0.25 * np.array([1, 4]) / 0.49)
    assert_allclose(correlation, (1.5 * one - two) / 1.5, atol=0.05)
    assert_allclose(skewness, 0, atol=0.1)


def test_inspect_masked_image(data, tiny_weights):
    mask = np.ones(data.shape, dtype=bool)
    mask[:, :50] = False
    data[5, 5] = np.nan
    source = np.zeros_like(data)
    found, clean, correlation, skewness, *_ = inspect_image(
        data, mask, source, NO_PEAKS, weights=tiny_weights
    )
    assert np.all(np.isfinite(found))
    assert clean == 1
    assert_allclose([correlation, skewness], 0, atol=0.15)
    nothing = inspect_image(data, ~mask | mask, source, NO_PEAKS, weights=tiny_weights)
    assert nothing[0].size == 0
    assert nothing[1:4] == (0, 0, 0)


def test_meta(data, tiny_weights):
    weights = load_weights(tiny_weights)
    meta = separate(data, weights=weights, device='cpu', n_steps=2).meta
    assert meta['weights'] == 'tiny'
    assert meta['weights_sha256'] == weights.sha256
    assert meta['n_steps'] == 2
    assert meta['normalization'] == 'local'
    assert meta['device'] == 'cpu'
    assert meta['version']


@pytest.mark.parametrize(
    ('normalization', 'name'),
    [(None, 'local'), ('global', 'global'), (0.5, 0.5), (np.ones((90, 100)), 'map')],
)
def test_normalization(data, normalization, name, tiny_weights):
    result = separate(data, weights=tiny_weights, normalization=normalization)
    assert result.meta['normalization'] == name
    assert np.all(np.isfinite(result.source))


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        ({'n_steps': 0}, 'n_steps must be a positive integer, got 0'),
        ({'batch_size': 0}, 'batch_size must be a positive integer, got 0'),
        ({'device': 'abacus'}, 'device must be'),
        ({'normalization': 'mean'}, 'normalization must be'),
    ],
)
def test_invalid(data, options, match, tiny_weights):
    with pytest.raises(ValueError, match=match):
        separate(data, **{'weights': tiny_weights, **options})


def test_unknown_weights(data):
    with pytest.raises(ValueError, match="weights 'nonsense' are not known"):
        separate(data, weights='nonsense')


def test_factor_of_the_network(data, tiny_weights):
    """It is what the image was multiplied by; 0 where no noise is."""
    data[:, 70:] = 3.0
    mask = np.zeros(data.shape, dtype=bool)
    mask[:5] = True
    scale = separate(data, mask, weights=tiny_weights).normalization.scale
    factor = network_factor(data, mask, normalization='local')
    assert_allclose(factor[scale > 0] * scale[scale > 0], 1)
    assert np.any(scale == 0)
    assert not factor[scale == 0].any()
    # of squares of pixels it is that of their means
    coarse = network_factor(
        data[:, :60], mask[:, :60], normalization='local', binning=2
    )
    assert coarse.shape == (90, 60)
    assert_allclose(np.median(coarse[10:]) / np.median(factor[10:, :60]), 2, rtol=0.1)


def test_all_views_see_an_image_any_way_round(tiny_weights):
    """The mean over the eight symmetries turns with the image."""
    data = gaussian_filter(np.random.default_rng(2).normal(0, 9, (64, 64)), 0.5)
    options = {'weights': tiny_weights, 'normalization': 0.3, 'n_symmetries': 8}
    expected = separate(data, **options)
    for turn in (np.transpose, np.flipud, np.rot90):
        found = separate(turn(data).copy(), **options)
        for name in ('source', 'probability'):
            one, other = turn(getattr(expected, name)), getattr(found, name)
            assert_allclose(other, one, atol=0.02 * np.abs(one).max())
    assert expected.source.std() > 1


@pytest.mark.parametrize(
    ('progress', 'name'),
    [(False, None), ('', None), (True, 'sources'), ('chip 3: ', 'chip 3: sources')],
)
def test_names_of_bars(progress, name):
    assert bar_name(progress, 'sources') == name


def test_sampling_is_part_of_what_is_told(data, tiny_weights):
    """It is that which the inspection takes."""
    meta = separate(data, weights=tiny_weights, binning=2).meta
    assert sampling_of(meta) == {'binning': 2, 'sharpening': 0.0}
    given = describe(
        load_weights(tiny_weights),
        np.ones((2, 2)),
        n_steps=4,
        n_symmetries=2,
        device='cpu',
        batch_size=9,
    )
    assert given.keys() == meta.keys()
    assert (given['normalization'], given['n_steps']) == ('map', 4)
    assert sampling_of(given) == {'binning': 1, 'sharpening': 0.0}


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
