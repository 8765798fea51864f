import numpy as np
import pytest
from numpy.testing import assert_allclose

from bgrem.plotting.maps import describe
from bgrem.plotting.scales import Scale, level_scale, light_scale, percentile


@pytest.mark.parametrize(
    ('low', 'high', 'expected'),
    [
        (0, 10, ['0', '2', '4', '6', '8', '10']),
        (-0.031, 0.032, ['-0.03', '-0.02', '-0.01', '0', '0.01', '0.02', '0.03']),
        (99.9, 100.4, ['99.9', '100.0', '100.1', '100.2', '100.3', '100.4']),
        (1.5e-17, 2.1e-17, ['1.5e-17', '1.6e-17', '1.7e-17']),
        (3.1e9, 3.9e9, ['3.2e+09', '3.4e+09', '3.6e+09', '3.8e+09']),
        (1599900, 1600100, ['1599900', '1599950', '1600000', '1600050', '1600100']),
    ],
)
def test_ticks_of_a_linear_scale(low, high, expected):
    ticks = Scale(low, high).ticks(0.15)
    written = list(ticks.values())
    assert written[: len(expected)] == expected
    assert_allclose([float(text) for text in written], list(ticks), rtol=1e-9)


@pytest.mark.parametrize('sky', [0.0, 1037.2, -4.5e-3])
@pytest.mark.parametrize('sigma', [12.0, 1e-4])
@pytest.mark.parametrize('brightest', [10, 300, 2e5])
def test_ticks_of_a_stretched_scale(sky, sigma, brightest):
    scale = Scale(sky - 3 * sigma, sky + brightest * sigma, sky, sigma)
    ticks = scale.ticks(0.1)
    values = np.array(list(ticks))
    assert 3 <= len(values) <= 11
    assert np.all((values >= scale.low) & (values <= scale.high))
    first, last = scale.stretch([scale.low, scale.high])
    assert np.all(np.diff(scale.stretch(values)) >= 0.1 * (last - first))
    assert_allclose([float(text) for text in ticks.values()], values, rtol=1e-9)
    # Round: of the light above a sky of 0, every number has one digit.
    if sky == 0:
        digits = {f'{value:e}'.strip('-0.')[:1] for value in values if value}
        assert digits <= {'1', '2', '4', '5'}


def test_light_scale_of_a_gradient():
    """All of the sky is in the linear part."""
    sky = np.linspace(1000, 5000, 101)
    scale = light_scale(np.zeros(101), 10.0, sky)
    assert scale.low < 1000
    assert scale.high > 5000
    steps = np.diff(scale.stretch(sky))
    assert steps.min() > 0.4 * steps.max()


def test_level_scale_is_never_narrower():
    scale = level_scale(np.array([5.0, 5.1, 4.9]), 2.0)
    assert_allclose([scale.low, scale.high], [3, 7])
    scale = level_scale(np.array([0.0, 100.0, np.nan]), 2.0)
    assert_allclose([scale.low, scale.high], [0.5, 99.5])


def test_level_scale_of_what_is_never_negative_begins_at_zero():
    scale = level_scale(np.array([0.2, 0.3, 0.4]), 2.0)
    assert_allclose([scale.low, scale.high], [0, 2.3])
    scale = level_scale(np.array([-0.2, 0.3, 0.4]), 2.0)
    assert_allclose([scale.low, scale.high], [-1.7, 2.3])


def test_percentile_of_many():
    values = np.random.default_rng(0).normal(size=(2000, 1500))
    values[0] = np.nan
    for percent in (0.5, 50, 99.9):
        expected = np.percentile(values[1:], percent)
        assert_allclose(percentile(values, percent), expected, atol=0.03)


def test_percentile_of_nothing():
    assert percentile(np.array([np.nan, np.inf]), 50) == 0
    assert percentile(np.array([]), 50) == 0


@pytest.mark.parametrize(
    ('name', 'start'),
    [
        ('a.fits', 'a.fits – '),
        ('line\nbreak.fits', 'line break.fits – '),
        ('caf\udce9.fits', 'caf\\udce9.fits – '),
        ('x' * 250 + '.fits', 'x' * 40 + '…' + 'x' * 35 + '.fits – '),
    ],
)
def test_names_in_a_title(name, start):
    labels = np.array([[0, 3], [3, 9]])
    title = describe({'weights': 'w'}, labels, name=name)
    assert title == f'{start}weights w – 2 sources'
