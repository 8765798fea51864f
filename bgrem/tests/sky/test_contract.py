"""
What holds of all that is measured on an image, whichever way it is given.

Each measurement takes an image and its unusable pixels, and returns maps of its shape
and numbers. Turned, the maps are turned and the numbers are the same; in another unit
they are in that unit.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bgrem.sky.blank import blank_pixels, wild_pixels
from bgrem.sky.boxes import measure_sky
from bgrem.sky.count_level import (
    adjust_sky,
    continue_sky,
    expected_level,
    hold_light,
    likely_light,
    lone_photons,
)
from bgrem.sky.counts import limit_light, sparse_step
from bgrem.sky.error_map import explains_better, sky_error
from bgrem.sky.mesh import find_quantum, measure_mesh
from bgrem.sky.noise import (
    away_from_sources,
    noise_correlation,
    noise_covariance,
    noise_skewness,
)
from bgrem.sky.normalize import estimate_normalization
from bgrem.sky.sampling import bin_image, noise_smoothness, refine_source
from bgrem.sky.sharpening import sharpen, smooth
from bgrem.sky.uncertainty import noise_autocorrelation

SHAPE = (96, 192)  # of whole boxes, squares and tiles


def local_maps(image, hidden):
    maps = estimate_normalization(image, hidden)
    return maps.center, maps.scale


def global_maps(image, hidden):
    maps = estimate_normalization(image, hidden, method='global')
    return maps.center, maps.scale


def sky_in_boxes(image, hidden):
    unit = unit_of(image, hidden)
    light = np.where((image > 130 * unit) & ~hidden, 10 * unit, 0)
    noise = np.full_like(image, 2 * unit)
    sky = measure_sky(np.where(hidden, 0, image), light, ~hidden, noise)
    return sky.on_grid(image.shape)[0], sky.beneath


def mesh(image, hidden):
    found = measure_mesh(image, hidden)
    return found.level, found.noise


def errors(image, hidden):
    unit = unit_of(image, hidden)
    error = np.hypot(2 * unit, 0.1 * np.abs(np.where(hidden, 0, image)))
    deviation = np.where(hidden, np.nan, image - 100 * unit)
    return [sky_error(error, deviation, np.full_like(image, 2 * unit))]


def unit_of(image, hidden):
    """The unit in which the sky is 100."""
    return np.median(image[~hidden]) / 100


# functions of image and hidden pixels, in the unit of the image; and how much what
# they return changes when the image is turned (some look at every second pixel)
MEASUREMENTS = {
    'local': (local_maps, 0.08),
    'global': (global_maps, 1e-9),
    'sky': (sky_in_boxes, 2e-3),
    'mesh': (mesh, 0.08),
    'error': (errors, 1e-5),
    'bin': (lambda image, hidden: [bin_image(image, hidden, 4)[0]], 1e-12),
    'bin_half': (lambda image, hidden: [bin_image(image, hidden, 1.5)[0]], 1e-12),
    'refine': (lambda image, hidden: [refine_source(
        np.where(hidden, 0, image)[::4, ::4], 4, image.shape)], None),
    'sharpen': (lambda image, hidden: [sharpen(
        np.where(hidden, 0, image), hidden, 0.8)], 1e-4),
    'smooth': (lambda image, hidden: [smooth(image, hidden, 1.2)], 1e-9),
}  # fmt: skip
# in units of the noise already, or numbers without a unit
WITHOUT_UNIT = {
    'blank': (lambda image, hidden: [blank_pixels(image, hidden)], 0),
    'wild': (lambda image, hidden: [wild_pixels(image, hidden)], 0),
    'roughness': (lambda image, hidden: [1 - noise_smoothness(image, hidden)], 0.05),
}
# of an image without its sky, in units of the noise, and where it is clean
NOISE = {
    'correlation': noise_correlation,
    'skewness': noise_skewness,
    'covariance': lambda residual, clean: noise_covariance(residual, clean, 4),
    'autocorrelation': noise_autocorrelation,
}
TURNS = {
    'upside_down': lambda x: x[::-1],
    'left_right': lambda x: x[:, ::-1],
    'transposed': lambda x: x.T,
    'turned': lambda x: np.rot90(x),
}
turns = pytest.mark.parametrize('turn', TURNS.values(), ids=TURNS)
of_image = pytest.mark.parametrize('name', [*MEASUREMENTS, *WITHOUT_UNIT])
ALL = MEASUREMENTS | WITHOUT_UNIT


@pytest.fixture
def image():
    """A sky with a tilt, stars, an empty corner and a wild pixel."""
    rng = np.random.default_rng(2)
    y, x = np.indices(SHAPE)
    image = 100 + 0.02 * x + 2 * rng.normal(size=SHAPE)
    for y0, x0 in rng.uniform((5, 5), (90, 150), (15, 2)):
        image += 60 * np.exp(-((y - y0) ** 2 + (x - x0) ** 2) / 5)
    image[:20, 170:] = 0
    image[60, 100] = 1e25
    return image


@pytest.fixture
def hidden(image):
    hidden = np.random.default_rng(5).random(SHAPE) < 0.1
    return hidden | (image > 1e20) | (image == 0)


def turned(values, turn):
    return turn(values) if np.ndim(values) else values


def assert_alike(found, known, tolerance):
    for one, other in zip(found, known, strict=True):
        size = np.nanmax(np.abs(np.asarray(other, float)))
        assert_allclose(one, other, rtol=tolerance, atol=tolerance * size)


@turns
@pytest.mark.parametrize('name', [name for name in ALL if ALL[name][1] is not None])
def test_turned(name, turn, image, hidden):
    measured, tolerance = ALL[name]
    known = [turned(one, turn) for one in measured(image, hidden)]
    if name == 'local':
        # every second pixel tells the noise
        known[1], found = None, list(measured(turn(image), turn(hidden)))
        scale, found[1] = found[1], None
        whole = measured(image, hidden)[1]
        assert_allclose(scale, turn(whole), rtol=tolerance)
        assert_allclose(found[0], known[0], atol=0.3)
        return
    assert_alike(measured(turn(image), turn(hidden)), known, tolerance)


@pytest.mark.parametrize('power', [-30, 3, 25])
@of_image
def test_in_another_unit(name, power, image, hidden):
    """A power of two rounds nothing: the result is the same to the last bits."""
    measured, _ = ALL[name]
    factor = 2.0**power
    known = measured(image, hidden)
    if name in MEASUREMENTS:
        known = [one if one.dtype == bool else factor * one for one in known]
    assert_alike(measured(factor * image, hidden), known, 1e-9)


@pytest.mark.parametrize('value', [np.nan, -np.inf, 0.0, 1e20])
@of_image
def test_what_is_hidden_does_not_matter(name, value, image, hidden):
    measured, _ = ALL[name]
    known = measured(image, hidden)
    found = measured(np.where(hidden, value, image), hidden)
    if name in ('blank', 'wild'):
        assert not any(one[hidden].any() for one in found)
    for one, other in zip(found, known, strict=True):
        assert_array_equal(one, other)


@of_image
def test_however_it_lies_in_memory(name, image, hidden):
    """What was given stays as it is; columns first, and views, are as good."""
    measured, _ = ALL[name]
    known = measured(image, hidden)
    wide = np.repeat(image, 2, axis=1)[:, ::2]
    for other in (np.asfortranarray(image), wide, image.copy()):
        before = other.copy()
        other.flags.writeable = hidden.flags.writeable = False
        assert_alike(measured(other, hidden), known, 1e-12)
        assert_array_equal(other, before)


@of_image
def test_single_precision(name, image, hidden):
    """To rounding it is what it is in double precision."""
    measured, _ = ALL[name]
    image[hidden] = 100
    known = measured(image, hidden)
    assert_alike(
        measured(image.astype(np.float32), hidden),
        known,
        0.02 if name == 'sharpen' else 2e-4,
    )


@turns
@pytest.mark.parametrize('name', NOISE)
def test_noise_has_no_direction(name, turn, image, hidden):
    """Nor has what it is like a sign, but for the skewness."""
    residual = np.where(hidden, 0, image - 100) / 2
    clean = ~hidden & away_from_sources(residual, 1.0)
    known = np.asarray(NOISE[name](residual, clean))
    found = NOISE[name](turn(residual), turn(clean))
    assert_allclose(found, turned(known, turn), atol=1e-12)
    sign = -1 if name == 'skewness' else 1
    assert_allclose(NOISE[name](-residual, clean), sign * known, atol=1e-12)
    other = np.where(clean, residual, 1e3)
    assert_allclose(NOISE[name](other, clean), known, atol=1e-12)
    if known.ndim:
        # of a distance and the opposite one
        assert_allclose(known, known[::-1, ::-1], atol=1e-12)


def counts_of(seed):
    """Photons, their expected sky and sources, and which pixels are hidden."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(SHAPE)
    sky = 0.5 + 0.005 * x
    source = 40 * np.exp(-((y - 40) ** 2 + (x - 90) ** 2) / 20)
    hidden = rng.random(SHAPE) < 0.05
    counts = rng.poisson(sky + source).astype(float)
    return counts, sky, source, hidden


def of_counts(name, counts, sky, source, hidden):
    """What of counts is a map."""
    level = expected_level(np.where(hidden, 7, counts), hidden)
    probability = np.where(source > 30, 0.9, 1e-4)
    return {
        'level': lambda: level,
        'continue': lambda: continue_sky(source, sky, 5 * sky, hidden),
        'hold': lambda: hold_light(source, sky, counts, 5 * sky, hidden),
        'likely': lambda: likely_light(source, sky, probability),
        'lone': lambda: lone_photons(np.where(counts > 3, counts, 0)),
        'adjust': lambda: adjust_sky(sky, counts, source, hidden)[0],
        'error': lambda: adjust_sky(sky, counts, source, hidden)[1],
        'limit': lambda: limit_light(
            source.copy(), counts, hidden, sky, np.sqrt(sky), 1.0
        ),
    }[name]()


NAMES_OF_COUNTS = pytest.mark.parametrize(
    'name', ['level', 'continue', 'hold', 'likely', 'lone', 'adjust', 'error', 'limit']
)


@turns
@NAMES_OF_COUNTS
def test_counts_turned(name, turn):
    images = counts_of(3)
    known = of_counts(name, *images)
    found = of_counts(name, *(turn(one) for one in images))
    # the mean of windows of an even number of pixels lies half a pixel off
    assert_allclose(found, turn(known), rtol=0.02, atol=0.02 * known.max())


@pytest.mark.parametrize('value', [0.0, 50.0])
@pytest.mark.parametrize('name', ['level', 'hold', 'adjust', 'error', 'limit'])
def test_hidden_counts_do_not_matter(name, value):
    counts, sky, source, hidden = counts_of(4)
    known = of_counts(name, counts, sky, source, hidden)
    other = np.where(hidden, value, counts)
    assert_allclose(of_counts(name, other, sky, source, hidden), known, rtol=1e-9)


@NAMES_OF_COUNTS
def test_counts_are_left_alone(name):
    images = counts_of(5)
    for one in images:
        one.flags.writeable = False
    found = of_counts(name, *images)
    assert found.shape == SHAPE
    assert np.all(np.isfinite(found))
    assert np.all(found >= 0)


@pytest.mark.parametrize('exposure', [1.0, 1e9, 'half'])
def test_level_of_exposure(exposure):
    """Of the exposure no unit matters; half of it has half the counts."""
    rng = np.random.default_rng(6)
    seen = np.ones(SHAPE) if exposure == 'half' else np.full(SHAPE, exposure)
    if exposure == 'half':
        seen[:, 96:] = 0.5
    relative = seen / seen.max()
    counts = rng.poisson(3 * relative).astype(float)
    level = expected_level(counts, np.zeros(SHAPE, bool), seen)
    assert_allclose(np.mean(level / relative), 3, rtol=0.02)
    assert_allclose(level.sum(), counts.sum(), rtol=0.02)
    plain = expected_level(counts, np.zeros(SHAPE, bool), 7 * seen)
    assert_allclose(plain, level, rtol=1e-12)


@pytest.mark.parametrize('step', [0.25, 1.0, 1024.0])
@turns
def test_steps(step, turn):
    """Few counts are few, whichever way they lie; of many no step is told."""
    counts, hidden = counts_of(1)[0], np.zeros(SHAPE, bool)
    few, many = turn(step * counts), turn(step * (counts + 400))
    noise = np.full(few.shape, step)
    assert sparse_step(few, turn(hidden), noise) == step
    assert find_quantum(few.ravel()) == step
    assert sparse_step(few, turn(hidden), 100 * noise) == 0
    assert sparse_step(many, turn(hidden), noise) == 0
    assert sparse_step(few, ~turn(hidden), noise) == 0


@pytest.mark.parametrize('seed', range(4))
def test_the_right_error_explains_best(seed):
    """And it does not matter in what unit."""
    rng = np.random.default_rng(seed)
    right = np.where(rng.random(SHAPE) < 0.5, 1.0, 3.0)
    deviation = right * rng.normal(size=SHAPE)
    even = np.full(SHAPE, np.sqrt(np.mean(right**2)))
    assert explains_better(right, even, deviation)
    assert not explains_better(even, right, deviation)
    assert not explains_better(right, right, deviation)
    assert explains_better(8 * right, 8 * even, 8 * deviation)
