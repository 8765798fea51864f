"""Tests of what is taken of a pipeline's error map: images with known noise."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bgrem.sky.error_map import explains_better, sky_error
from bgrem.sky.normalize import estimate_normalization

SIZE = 192
Y, X = np.mgrid[:SIZE, :SIZE]
SKY = 500.0
# a border that fewer exposures cover, in steps, and two noisy columns
NOISE = 20 * np.where(X < 20, 4.0, np.where(X < 45, 2.0, 1.0))
NOISE[:, [100, 150]] *= 3


@pytest.fixture
def rng():
    return np.random.default_rng(41)


@pytest.fixture
def stars():
    stars = np.zeros((SIZE, SIZE))
    for y, x, peak in ((90, 90, 1e5), (30, 160, 3e3), (150, 60, 500), (60, 30, 2e4)):
        stars += peak * np.exp(-((Y - y) ** 2 + (X - x) ** 2) / 8)
    return stars


@pytest.fixture
def image(rng, stars):
    """Data and their total error, one photon for each unit of data."""
    error = np.sqrt(NOISE**2 + stars)
    return SKY + stars + rng.normal(size=error.shape) * error, error


def check(scale, *, typical=0.03, worst=0.8):
    # worst is a star on a step, under which the steps are smooth
    # a noisy column is not known where it is hidden by the brightest star
    visible = np.hypot(Y - 90, X - 90) > 25
    logarithm = np.log(scale / NOISE)[visible]
    assert abs(np.mean(logarithm)) < typical
    assert np.std(logarithm) < typical
    assert np.max(np.abs(logarithm)) < worst


@pytest.mark.parametrize('factor', [1, 0.1, 30])
def test_fine_structure(image, factor):
    """Steps and single columns are there; a factor and the stars are not."""
    data, error = image
    result = estimate_normalization(data, error=factor * error)
    check(result.scale)
    # The mesh alone sees neither.
    assert np.std(np.log(estimate_normalization(data).scale / NOISE)) > 0.1


@pytest.mark.parametrize('photons', [False, True])
def test_crowded(rng, photons):
    """Among stars that leave no pixel clean steps and columns are kept, too."""
    stars = np.zeros((SIZE, SIZE))
    for part, y, x in zip(
        rng.uniform(size=800), *rng.uniform(0, SIZE, (2, 800)), strict=True
    ):
        peak = 3000 / (1 + 999 * part)
        stars += peak * np.exp(-((Y - y) ** 2 + (X - x) ** 2) / 6)
    noise = np.sqrt(NOISE**2 + stars)
    data = SKY + stars + rng.normal(size=noise.shape) * noise
    scale = estimate_normalization(data, error=noise if photons else NOISE).scale
    logarithm = np.log(scale / NOISE)
    assert abs(np.mean(logarithm)) < 0.1
    assert np.std(logarithm) < 0.06
    assert abs(np.mean(logarithm[:, 100])) < 0.1


def test_own_counts(rng, stars):
    """The error of a pixel that had more photons by chance is not larger."""
    data = rng.poisson(30 + stars / 10).astype(float)
    result = estimate_normalization(data, error=np.sqrt(data))
    logarithm = np.log(result.scale / np.sqrt(30))
    assert abs(np.mean(logarithm)) < 0.02
    assert np.std(logarithm) < 0.06
    assert np.std(np.log(np.sqrt(data) / np.sqrt(30))) > 0.09


def test_sky_alone(image):
    """The noise of the sky without the stars is kept as it is."""
    data, _ = image
    check(estimate_normalization(data, error=NOISE).scale)


def test_float32(image):
    data, error = (values.astype('f4') for values in image)
    result = estimate_normalization(data, error=error)
    assert result.scale.dtype == result.center.dtype == np.float32
    double = estimate_normalization(data.astype(float), error=error)
    assert_allclose(result.scale, double.scale, rtol=1e-3)


def test_mask(image):
    """What is under a mask does not matter, to the bit."""
    data, error = image
    mask = (Y > 100) & (X > 120)
    first = estimate_normalization(data, mask, error=error)
    data[mask], error[mask] = np.nan, 0
    second = estimate_normalization(data, mask, error=error)
    assert_array_equal(first.scale[~mask], second.scale[~mask])
    assert np.all(np.isfinite(second.scale))


def test_unknown_error(image):
    """Where the error is zero it is that of the pixels around."""
    data, error = image
    unknown = (Y % 7 == 0) & (X % 5 == 0)
    error[unknown] = 0
    scale = estimate_normalization(data, error=error).scale
    plain = unknown & (X > 70) & (np.hypot(Y - 90, X - 90) > 25)
    plain &= ~np.isin(X, [100, 150])
    assert_allclose(scale[plain], NOISE[plain], rtol=0.2)


@pytest.mark.parametrize('kind', ['wrong', 'noisy', 'sparse'])
def test_refused(rng, kind):
    """An error map that explains nothing changes nothing."""
    data = rng.normal(SKY, 10, (SIZE, SIZE))
    error = np.full(data.shape, 10.0)
    if kind == 'wrong':
        error[:, ::9] = 60
    elif kind == 'noisy':  # as from the scatter of three exposures
        error *= np.sqrt(rng.chisquare(2, data.shape) / 2)
    else:
        data = rng.poisson(0.1, data.shape).astype(float)
        error = np.sqrt(data)
    result = estimate_normalization(data, error=error)
    assert_array_equal(result.scale, estimate_normalization(data).scale)


@pytest.mark.parametrize('method', ['global', 0.1])
def test_other_methods(image, method):
    data, error = image
    result = estimate_normalization(data, method=method, error=error)
    assert_array_equal(result.scale, estimate_normalization(data, method=method).scale)


def test_nothing_known():
    data = np.full((20, 20), np.nan)
    assert_array_equal(sky_error(np.ones((20, 20)), data, np.ones((20, 20))), 1)
    bright = np.full((20, 20), 1e3)
    assert_array_equal(sky_error(np.ones((20, 20)), bright, np.ones((20, 20))), 1)


def test_explains_better(rng):
    noise = np.where(X < 100, 1.0, 2.0)
    data = noise * rng.normal(size=noise.shape)
    data[:5] = np.nan
    assert explains_better(noise, np.full(noise.shape, 1.5), data)
    assert not explains_better(np.full(noise.shape, 1.5), noise, data)
