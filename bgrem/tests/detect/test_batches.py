"""Tests of bgrem.detect.batches."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from photutils.aperture import CircularAperture, aperture_photometry
from photutils.segmentation import SegmentationImage, SourceCatalog

from bgrem.detect.batches import BatchedCatalog, Catalog

# photutils 3.1 measures in batches itself
pytestmark = pytest.mark.skipif(
    Catalog is not BatchedCatalog, reason='of photutils 3.0 only'
)


@pytest.fixture
def crowd():
    """Data, noise and segments of 60 sources, some across the border or masked."""
    rng = np.random.default_rng(4)
    y, x = np.indices((90, 120))
    light, owner = np.zeros((2, 90, 120))
    brightest = np.full((90, 120), 0.5)
    for label in range(1, 61):
        x0, y0 = rng.uniform([-1, -1], [121, 91])
        a, b, theta = rng.uniform([1, 0.3, 0], [3, 1, np.pi])
        along = (x - x0) * np.cos(theta) + (y - y0) * np.sin(theta)
        across = (y - y0) * np.cos(theta) - (x - x0) * np.sin(theta)
        one = 20 * np.exp(-0.5 * ((along / a) ** 2 + (across / b / a) ** 2))
        light += one
        owner[one > brightest] = label
        brightest = np.maximum(one, brightest)
    owner[40, 50:53] = 61  # a line that rounding gives an area below zero
    data = light + rng.normal(0, 1, light.shape)
    data[20:23, 60:70] = np.nan
    mask = rng.random(data.shape) < 0.03
    mask[owner == 7] = True
    error = rng.uniform(0.5, 1.5, data.shape)
    segments = SegmentationImage(owner.astype(int))
    return data, segments, error, mask


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'aperture_mask_method': 'mask', 'kron_params': (2.5, 1.4, 3.0)},
        {'aperture_mask_method': 'none', 'local_bkg_width': 3},
        {'local_bkg_width': 4},
    ],
)
@pytest.mark.parametrize('has_error', [True, False])
def test_as_photutils(crowd, options, has_error):
    data, segments, error, mask = crowd
    options |= {'mask': mask, 'error': error if has_error else None}
    ours, theirs = (
        cls(data, segments, **options) for cls in (BatchedCatalog, SourceCatalog)
    )
    names = ['kron_flux', 'kron_flux_err', 'kron_radius', 'segment_flux', 'max_value']
    names += ['segment_flux_err', 'moments', 'centroid', 'gini', 'segment_area']
    for name in names:
        values = np.array(getattr(theirs, name), dtype=float)
        scale = 1e-11 * np.nanmax(np.abs(values), initial=0)
        found = np.array(getattr(ours, name), dtype=float)
        assert_allclose(found, values, rtol=1e-9, atol=scale, err_msg=name)
    for radius in (0.4, 3.7, 40.0):
        found = np.array(ours.circular_photometry(radius), dtype=float)
        assert_allclose(found, theirs.circular_photometry(radius), rtol=1e-9)
    assert_allclose(ours.flux_radius(0.5), theirs.flux_radius(0.5), rtol=1e-6)
    assert np.isfinite(ours.kron_flux).sum() > 40
    # of photutils two of these have a NaN, as rounding makes it
    known = np.isfinite(theirs.semimajor_axis)
    for name in ('semimajor_axis', 'semiminor_axis', 'orientation'):
        found, values = (getattr(one, name).value[known] for one in (ours, theirs))
        assert_allclose(found, values, rtol=1e-6, atol=1e-9)


def test_part_of_a_catalogue(crowd):
    data, segments, error, _ = crowd
    result = BatchedCatalog(data, segments, error=error)
    whole = result.circular_photometry(2.0, name='small')[0]
    for rows in ([4, 2, 30], np.arange(5, 9), 11):
        # what is known already, and what is not
        part = result[rows]
        assert_allclose(part.circular_photometry(2.0)[0], whole[rows])
        assert_allclose(part.small_flux, whole[rows])
        assert_allclose(part.kron_flux, result.kron_flux[rows])
        assert_allclose(part.moments, result.moments[rows])
        alone = BatchedCatalog(data, segments, error=error)[rows]
        assert_allclose(alone.moments_central, result.moments_central[rows])
        assert_allclose(alone.flux_radius(0.3), result.flux_radius(0.3)[rows])


def test_thin_sources_have_a_shape():
    """A diagonal of pixels: the variance of its length, and 1/12 across."""
    data, labels = np.zeros((2, 40, 70))
    rng = np.random.default_rng(1)
    for label in range(1, 40):
        y, x = rng.integers(0, 37), label * 1.5
        place = y + np.arange(3), int(x) + np.arange(3)
        if labels[place].any():
            continue
        labels[place], data[place] = label, rng.uniform(0.1, 0.3, 3)
    result = BatchedCatalog(data, SegmentationImage(labels.astype(int)))
    assert_allclose(result.semiminor_axis.value, 12**-0.5, rtol=1e-3)
    assert np.isfinite(result.semimajor_axis).all()


def test_large_and_small_sources_together():
    """A circle that holds all of the image beside those of a pixel."""
    rng = np.random.default_rng(2)
    data = rng.normal(10, 1, (100, 300))
    labels = np.zeros(data.shape, dtype=int)
    labels[48:53, 10:290] = 1
    labels[5, 10:290:20] = np.arange(2, 16)
    result = BatchedCatalog(
        data, SegmentationImage(labels), aperture_mask_method='none'
    )
    for radius in (0.6, 30.0):
        circles = CircularAperture(result.centroid, radius)
        expected = aperture_photometry(data, circles)['aperture_sum']
        assert_allclose(result.circular_photometry(radius)[0], expected, rtol=1e-9)
    assert result.kron_flux[0] > 20 * result.kron_flux[1]


def test_refuses_no_radius(crowd):
    with pytest.raises(ValueError, match='radius must be > 0'):
        BatchedCatalog(*crowd[:2]).circular_photometry(0)
