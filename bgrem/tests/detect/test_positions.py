"""Tests of bgrem.detect.positions."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from photutils.segmentation import SegmentationImage
from scipy import ndimage

from bgrem.detect.positions import measure_positions

SHAPE = (240, 240)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]
FWHM = 3.0


def gaussian(y, x, fwhm):
    """Of unit sum."""
    variance = (fwhm / 2.3548) ** 2
    r2 = (Y - y) ** 2 + (X - x) ** 2
    return np.exp(-r2 / (2 * variance)) / (2 * np.pi * variance)


class Field:
    """Stars on a grid, at random parts of a pixel, and all that is made of them."""

    def __init__(self, flux, *, seed=0, peak_scatter=0.1, correlation=0.0, fwhm=FWHM):
        rng = np.random.default_rng(seed)
        grid = np.stack(np.meshgrid(np.arange(15, 230, 21), np.arange(15, 230, 21)), -1)
        self.truth = grid.reshape(-1, 2) + rng.uniform(-0.5, 0.5, (121, 2))
        self.source = sum(flux * gaussian(y, x, fwhm) for x, y in self.truth)
        noise = rng.normal(size=SHAPE)
        if correlation:
            noise = ndimage.gaussian_filter(noise, correlation, mode='wrap')
            noise /= noise.std()
        self.data = self.source + noise
        places = self.truth + rng.normal(0, peak_scatter, self.truth.shape)
        self.probability = sum(0.999 * _blob(y, x) for x, y in places)
        labels = np.zeros(SHAPE, dtype=int)
        for label, (x, y) in enumerate(self.truth, start=1):
            labels[np.hypot(Y - y, X - x) < 5] = label
        self.segments = SegmentationImage(labels)
        self.usable = np.ones(SHAPE, dtype=bool)

    def measure(self, **changes):
        values = {
            'source': self.source,
            'probability': self.probability,
            'noise': np.ones(SHAPE),
            'error': np.ones(SHAPE),
            'usable': self.usable,
            **changes,
        }
        return measure_positions(self.data, self.segments, self.truth, **values)


def _blob(y, x):
    return np.exp(-((Y - y) ** 2 + (X - x) ** 2) / 2)


def scatter(positions, truth):
    """The standard deviation in units of the errors."""
    return np.std((positions.position - truth) / positions.error)


@pytest.mark.parametrize('flux', [150.0, 1000.0, 20_000.0])
def test_errors_of_bright_stars(flux):
    """As the noise has it, with the least error that there can be near."""
    field = Field(flux)
    found = field.measure()
    assert found.is_windowed.all()
    assert found.has_peak.all()
    assert 0.88 < scatter(found, field.truth) < 1.12
    # Cramer and Rao's, of a Gaussian in white noise of one per pixel
    sigma = FWHM / 2.3548
    limit = np.sqrt(8 * np.pi) * sigma**2 / flux
    assert_allclose(np.median(found.error), limit, rtol=0.12)
    assert_allclose(found.width, FWHM, rtol=0.1)
    assert_allclose(found.core_fwhm, FWHM, rtol=0.15)


@pytest.mark.parametrize('correlation', [0.7, 1.2])
def test_errors_in_correlated_noise(correlation):
    """They are those of the noise that is there: twice those of white noise."""
    field = Field(1000.0, correlation=correlation)
    found = field.measure()
    assert 0.85 < scatter(found, field.truth) < 1.15
    white = Field(1000.0).measure()
    assert np.median(found.error) > 1.5 * np.median(white.error)


def test_error_map_counts():
    field = Field(5000.0)
    found = field.measure(error=np.full(SHAPE, 3.0))
    assert_allclose(found.error, 3 * field.measure().error)


def test_faint_stars_have_the_peak():
    field = Field(20.0, peak_scatter=0.5)
    found = field.measure()
    assert not found.is_windowed.any()
    assert 0.5 < scatter(found, field.truth) < 1.2
    offset = np.hypot(*(found.position - field.truth).T)
    assert np.median(offset) > 0.3


def test_never_far_from_the_peak():
    """A neighbor that no peak tells of does not draw the position away."""
    field = Field(300.0)
    near = 30 * sum(gaussian(y, x + 2.5, FWHM) for x, y in field.truth)
    field.data = field.data + 300 * near
    found = field.measure()
    assert np.hypot(*(found.position - field.truth).T).max() < max(1, FWHM / 2) + 0.4


def test_sky_that_is_left():
    """A tilt that neither sky nor source has does not move the positions."""
    field = Field(2000.0)
    plain = field.measure().position
    field.data = field.data + 0.05 * X
    tilted = field.measure().position
    assert np.abs(tilted - plain)[field.truth[:, 0] < 220].max() < 0.01


def test_bands_do_not_matter(monkeypatch):
    """The sky that is left is the same to the last digit in bands of 64 rows."""
    field = Field(200)
    field.data += 3 * np.sin(X / 30) * np.cos(Y / 20)
    field.usable[100:130, 50:58] = False
    together = field.measure()
    monkeypatch.setattr('bgrem.sky.bands._PIXELS', 1)
    for name, values in vars(field.measure()).items():
        assert_array_equal(values, getattr(together, name))
    assert together.is_windowed.sum() > 100


def test_no_peak():
    """The centroid, and it says so."""
    field = Field(1000.0)
    field.probability = X / 1e3  # rises to the border
    found = field.measure()
    assert not found.has_peak.any()
    assert not found.is_windowed.any()
    assert_array_equal(found.position, field.truth)
    assert np.isfinite(found.error).all()
    last = [X[field.segments.data == k].max() for k in field.segments.labels]
    assert_allclose(found.probability, np.array(last) / 1e3)


def test_hidden_pixels_do_not_matter():
    field = Field(1000.0)
    field.usable[::9, ::7] = False
    expected = field.measure()
    field.data[~field.usable] = np.nan
    field.source = np.where(field.usable, field.source, 7.0)
    found = field.measure(error=np.where(field.usable, 1.0, np.nan))
    assert_array_equal(found.is_windowed, expected.is_windowed)
    assert_array_equal(found.position, expected.position)
    assert np.isfinite(found.error).all()


def test_empty_image():
    """Nothing has a width; the errors are those of a peak."""
    probability = 0.9 * _blob(50, 60)
    segments = SegmentationImage((np.hypot(Y - 50, X - 60) < 2).astype(int))
    zero = np.zeros(SHAPE)
    found = measure_positions(
        zero,
        segments,
        np.array([[60.0, 50.0]]),
        source=zero,
        probability=probability,
        noise=zero,
        error=zero,
        usable=np.ones(SHAPE, dtype=bool),
    )
    assert_allclose(found.position, [[60, 50]], atol=1e-6)
    assert np.isnan(found.core_fwhm).all()
    assert not found.is_windowed.any()
    assert np.all(found.error > 0)
    assert np.isfinite(found.error).all()
