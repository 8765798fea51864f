"""Tests of the way from an image to its sources."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import gaussian_filter

from bgrem.pipeline import (
    bar_name,
    describe,
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
