"""Tests of bgrem.detect.footprints, on noise of known correlation."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import ndimage

from bgrem.detect.footprints import correlated_noise, footprint_level
from bgrem.detect.segments import detection_mask, segment
from bgrem.tests.detect.conftest import blob

SHAPE = (400, 400)


def draw(smoothing=0.0, seed=0, factor=1):
    """Noise of unit variance, smoothed or in pixels of several."""
    side = SHAPE[0] // factor
    noise = np.random.default_rng(seed).normal(size=(side, side))
    noise = np.kron(noise, np.ones((factor, factor)))
    if smoothing:
        noise = ndimage.gaussian_filter(noise, smoothing, mode='wrap')
    return noise / noise.std()


def measure(noise, width, source=0.0, usable=None):
    usable = np.ones(noise.shape, dtype=bool) if usable is None else usable
    source = np.broadcast_to(source, noise.shape)
    ones = np.ones(noise.shape)
    return correlated_noise(
        noise + source, source=source, noise=ones, usable=usable, width=width
    )


@pytest.mark.parametrize('width', [1.8, 3.0, 8.0])
def test_white_noise(width):
    """Nothing changes, in no bit."""
    source = blob(SHAPE, 200, 200, 4, 1e3)
    assert measure(draw(), width, source) is None
    assert footprint_level(width) == 0.2 * min(1, 2.5 / width)


@pytest.mark.parametrize('smoothing', [0.7, 1.0])
@pytest.mark.parametrize('width', [9.0, 12.0])
def test_smoothed_noise(smoothing, width):
    """As the noise of the mean, weighted with a star, of noise of a known spectrum."""
    sigma = width / 2.3548
    covariance = measure(draw(smoothing), width)
    share = footprint_level(width, covariance) / footprint_level(width)
    # the integral of both autocorrelations
    expected = np.sqrt(4 * np.pi / (smoothing**-2 + sigma**-2))
    # what a sky of twice the width takes away with it
    assert 0.85 * expected < share < 1.03 * expected


@pytest.mark.parametrize('width', [1.8, 2.5, 6.0])
def test_never_higher_than_that_of_a_narrow_star(width):
    covariance = measure(draw(2.0), width)
    assert footprint_level(width, covariance) == 0.2


@pytest.mark.parametrize('factor', [2, 3])
def test_repeated_pixels(factor):
    """A star in smaller pixels ends at the same level."""
    covariance = measure(draw(factor=factor), factor * 3.0)
    level = footprint_level(factor * 3.0, covariance)
    assert level == pytest.approx(footprint_level(3.0), rel=0.12)
    assert footprint_level(factor * 3.0) == pytest.approx(footprint_level(3.0) / factor)


def test_what_is_no_noise():
    """Sources, what is left of them, wild rows and masked pixels do not count."""
    noise = draw(1.0)
    source = blob(SHAPE, 200, 200, 6, 300)
    usable = np.ones(SHAPE, dtype=bool)
    usable[:30] = False
    expected = footprint_level(10.0, measure(noise, 10.0, usable=usable))
    wild = noise + 0.1 * source
    wild[:30] = np.nan
    wild[40], wild[:, 390:] = -100, 1e6
    found = footprint_level(10.0, measure(wild, 10.0, source, usable))
    assert found == pytest.approx(expected, rel=0.03)


def test_only_the_middle_of_a_large_image():
    noise = draw(1.0)
    large = np.pad(noise, 300, mode='wrap')
    far = np.abs(np.arange(1000) - 500) > 260
    large[far], large[:, far] = 0, 0
    found, expected = (
        footprint_level(10.0, measure(one, 10.0)) for one in (large, noise)
    )
    assert found == pytest.approx(expected, rel=0.02)


def test_too_few_pixels():
    assert measure(draw(1.0)[:25, :25], 3.0) is None


def paint(factor):
    """Three stars of a FWHM of 3.8 px, in pixels of 1 / factor of the size."""
    source, probability = np.zeros((2, 140 * factor, 140 * factor))
    for y, x in ((25, 30), (70, 75), (110, 40)):
        place = factor * y + (factor - 1) / 2, factor * x + (factor - 1) / 2
        source += blob(source.shape, *place, 1.6 * factor, 20)
        probability += blob(source.shape, *map(round, place), 0.5, 0.999)
    return source, probability


@pytest.mark.parametrize('factor', [2, 3])
def test_segments_of_smaller_pixels(factor):
    """They are as large on the sky."""
    options = {'threshold': 0.5}
    expected = detection_mask(*paint(1), 1.0, **options)
    images, covariance = paint(factor), measure(draw(factor=factor), factor * 3.8)
    found = segment(*images, 1.0, covariance=covariance, **options)
    mask = detection_mask(*images, 1.0, covariance=covariance, **options)
    assert_array_equal(found.data > 0, mask)
    area = np.count_nonzero(expected) * factor**2
    assert np.count_nonzero(mask) == pytest.approx(area, rel=0.07)
    before = detection_mask(*images, 1.0, **options)
    assert np.count_nonzero(before) > 1.15 * area
