"""Tests of the standard error of the sky."""

import pickle

import numpy as np
import pytest
from astropy import units as u
from astropy.stats import SigmaClip
from numpy.testing import assert_allclose, assert_array_equal
from photutils.background import (
    MeanBackground,
    MedianBackground,
    SExtractorBackground,
    StdBackgroundRMS,
)
from scipy.ndimage import gaussian_filter

from bgrem import DiffusionBackground, background
from bgrem.pipeline import Separation
from bgrem.sky.normalization import Normalization
from bgrem.sky.uncertainty import (
    box_variance,
    filtered_standard_error,
    mesh_standard_error,
    noise_autocorrelation,
)

SHAPE = (128, 160)
WHITE = np.pad([[1.0]], 8)
SIGMA_CLIP = SigmaClip(sigma=3, maxiters=10)


def smooth_noise(rng, shape, sigma=1.0):
    noise = gaussian_filter(rng.normal(size=shape), sigma, mode='wrap')
    return noise * np.sqrt(4 * np.pi) * sigma


def variance(correlation, estimator, box_size=(32, 32)):
    rms = StdBackgroundRMS(sigma_clip=None)
    return box_variance(correlation, box_size, SIGMA_CLIP, estimator, rms)


@pytest.fixture
def make(monkeypatch, tiny_weights):
    """Return the class with a separation that finds no source."""

    def separate(image, mask=None, **_):
        meta = {'weights': 'none', 'n_steps': 1, 'normalization': 'local', 'binning': 1}
        source = np.zeros_like(image)
        maps = Normalization(source, np.ones_like(source))
        return Separation(source, source.astype(np.float32), maps, meta)

    monkeypatch.setattr(background, 'separate', separate)
    return DiffusionBackground


@pytest.fixture
def data():
    return 50 + 3 * np.random.default_rng(4).normal(size=SHAPE)


def test_autocorrelation_white():
    """Independent pixels: 1 at lag zero; the rest is nearly all nothing."""
    noise = np.random.default_rng(1).normal(size=(256, 300))
    correlation = noise_autocorrelation(noise, np.ones(noise.shape, dtype=bool))
    assert correlation.shape == (17, 17)
    assert correlation[8, 8] == 1
    assert np.count_nonzero(correlation) <= 5
    assert_allclose(correlation.sum(), 1, atol=0.05)


@pytest.mark.parametrize('shape', [(300, 256), (1200, 900)])
def test_autocorrelation_smooth(shape):
    """A kernel of 1 px gives exp(-r^2 / 4); masked pixels do not enter."""
    rng = np.random.default_rng(2)
    noise = smooth_noise(rng, shape)
    usable = rng.random(shape) < 0.6
    noise[~usable] = np.nan
    correlation = noise_autocorrelation(noise, usable)
    y, x = np.mgrid[-8:9, -8:9]
    assert_allclose(correlation, np.exp(-(y**2 + x**2) / 4), atol=0.04)
    assert_allclose(correlation, correlation[::-1, ::-1], atol=1e-12)


def test_autocorrelation_outliers():
    """A few wild pixels beside each other are no correlation of the noise."""
    noise = np.random.default_rng(3).normal(size=(200, 200))
    noise[50:52, 50:90] = 1e4
    correlation = noise_autocorrelation(noise, np.ones(noise.shape, dtype=bool))
    assert_allclose(correlation.sum(), 1, atol=0.05)


@pytest.mark.parametrize('shape', [(1, 1), (1, 5), (6, 2)])
@pytest.mark.parametrize('usable', [True, False])
def test_autocorrelation_tiny(shape, usable):
    correlation = noise_autocorrelation(np.zeros(shape), np.full(shape, usable))
    expected = np.zeros([2 * n - 1 for n in shape])
    expected[shape[0] - 1, shape[1] - 1] = 1
    assert_array_equal(correlation, expected)


@pytest.mark.parametrize(
    ('estimator', 'expected'),
    [
        (MeanBackground, 1),
        (MedianBackground, np.pi / 2),
        (SExtractorBackground, 25 * np.pi / 8 - 21 / 4),
    ],
)
def test_box_variance_white(estimator, expected):
    """The known efficiencies of mean, median and mode."""
    found = variance(WHITE, estimator(sigma_clip=None))
    assert_allclose(found, expected, rtol=0.15)
    # large boxes: as at 32 px
    assert variance(WHITE, estimator(sigma_clip=None), (999, 500)) == found


def test_box_variance_correlated():
    """The sums over the correlation of the mean, and over its arcsine."""
    y, x = np.mgrid[-8:9, -8:9]
    r = np.exp(-(y**2 + x**2) / 4)
    mode = 25 / 4 * np.arcsin(r).sum() - 21 / 4 * r.sum()
    assert_allclose(variance(r, MeanBackground(sigma_clip=None)), r.sum(), rtol=0.2)
    assert_allclose(variance(r, SExtractorBackground(sigma_clip=None)), mode, rtol=0.2)


def test_box_variance_any_estimator():
    """Any callable is measured: here the mean of every second pixel."""

    def half_mean(boxes, axis):
        return np.nanmean(boxes[:, ::2], axis=axis)

    assert_allclose(variance(WHITE, half_mean), 2, rtol=0.15)


@pytest.mark.parametrize('filter_size', [(3, 3), (5, 3), (1, 3), (7, 7)])
def test_filter(filter_size):
    """The median filter does to the scatter what the formula says."""
    from scipy.ndimage import generic_filter

    rng = np.random.default_rng(5)
    found = filtered_standard_error(
        np.full((6, 7), 2.0), np.ones((6, 7), bool), filter_size
    )
    filtered = [
        generic_filter(
            2 * rng.normal(size=(6, 7)),
            np.nanmedian,
            size=filter_size,
            mode='constant',
            cval=np.nan,
        )
        for _ in range(150)
    ]
    # by distance from the border alone, so that the mesh can be folded
    measured = np.sqrt(np.mean(np.square(filtered), axis=0))
    fold = (slice(None, None, -1), slice(None, None, -1))
    measured = np.sqrt(np.mean([measured**2, measured[fold] ** 2], axis=0))
    assert_allclose(found, measured, rtol=0.25)
    assert_allclose(np.mean(found / measured), 1, rtol=0.05)


def test_filter_none():
    """A window of one box changes nothing."""
    error = np.random.default_rng(6).uniform(1, 2, (4, 5))
    assert_allclose(
        filtered_standard_error(error, np.ones((4, 5), bool), (1, 1)), error
    )


def test_filter_boxes_left_out():
    """Boxes that were filled bring no information."""
    error = np.ones((3, 12))
    measured = np.ones((3, 12), dtype=bool)
    full = filtered_standard_error(error, measured, (3, 3))
    measured[:, 4:10] = False
    found = filtered_standard_error(error, measured, (3, 3))
    assert_array_equal(found[:, :3], full[:, :3])
    assert np.all(found[:, 3] > full[:, 3])
    assert np.all(np.isinf(found[:, 6]))


def test_mesh_not_filtered():
    """Boxes below the filter threshold keep their own error; filled ones get one."""
    shape = (5, 5)
    measured = np.ones(shape, dtype=bool)
    measured[2, 2] = False
    n_pixels = np.where(measured, 1024, 0)
    error = mesh_standard_error(
        np.random.default_rng(7).normal(size=(160, 160)),
        np.ones((160, 160), dtype=bool),
        np.full(shape, 3.0),
        n_pixels,
        measured,
        box_size=(32, 32),
        filter_size=(3, 3),
        is_filtered=np.zeros(shape, dtype=bool),
        sigma_clip=None,
        bkg_estimator=MeanBackground(sigma_clip=None),
        bkg_rms_estimator=StdBackgroundRMS(sigma_clip=None),
    )
    assert_allclose(error, 3 / 32, rtol=0.1)
    assert np.ptp(error) == 0


@pytest.mark.parametrize('correlated', [False, True])
@pytest.mark.parametrize('estimator', [MeanBackground, SExtractorBackground])
def test_pull(make, correlated, estimator):
    """The sky errs by as much as is said, whatever the noise and the estimator."""
    rng = np.random.default_rng(8)
    pulls = []
    for _ in range(6):
        noise = smooth_noise(rng, SHAPE) if correlated else rng.normal(size=SHAPE)
        bkg = make(7 + 5 * noise, 16, bkg_estimator=estimator())
        pulls.append((bkg.background - 7) / bkg.background_uncertainty)
    assert 0.8 < np.sqrt(np.mean(np.square(pulls))) < 1.15


def test_scales(make, data):
    """Proportional to the noise, and to one over the side of a box."""
    plain = make(data, 16).background_uncertainty
    assert_allclose(make(10 * data, 16).background_uncertainty, 10 * plain, rtol=1e-5)
    wide = make(data, 32, filter_size=1).background_uncertainty
    narrow = make(data, 16, filter_size=1).background_uncertainty
    assert_allclose(np.median(narrow) / np.median(wide), 2, rtol=0.1)
    # a median of nine: 0.41
    assert_allclose(np.median(plain) / np.median(narrow), 0.41, rtol=0.1)


def test_filter_threshold(make, data):
    """Above all boxes the filter does nothing, below all it does as without."""
    plain = make(data, 16).background_uncertainty
    low = make(data, 16, filter_threshold=-1e3).background_uncertainty
    high = make(data, 16, filter_threshold=1e3).background_uncertainty
    assert_allclose(low, plain)
    assert_allclose(high, make(data, 16, filter_size=1).background_uncertainty)


def test_filter_threshold_one_box(make, data):
    """A box above the threshold takes over the median of its neighbors."""
    data[48:64, 64:80] += 100
    bkg = make(data, 16, filter_threshold=80)
    assert bkg.background_mesh[3, 4] < 60
    error = bkg.background_uncertainty
    # the median of nine boxes, beside boxes that keep their own
    assert_allclose(error[55:57, 71:73] / np.median(error), 0.41, rtol=0.1)


def test_mask(make, data):
    """Finite everywhere, also where masks leave whole boxes without a pixel."""
    mask = np.zeros(SHAPE, dtype=bool)
    mask[:64, :64] = True
    data[100, 3] = np.nan
    with pytest.warns(match='non-?finite'):
        bkg = make(data, 16, mask=mask)
    error = bkg.background_uncertainty
    assert np.all(np.isfinite(error))
    assert error.min() > 0
    assert error[~mask].max() < 2 * np.median(error)


@pytest.mark.parametrize('fill_value', [0.0, -1.0, np.nan])
def test_coverage_mask(make, data, fill_value):
    """Outside the coverage it is the fill value, as the other maps are."""
    coverage_mask = np.zeros(SHAPE, dtype=bool)
    coverage_mask[:, :50] = True
    bkg = make(data, 16, coverage_mask=coverage_mask, fill_value=fill_value)
    error = bkg.background_uncertainty
    assert_array_equal(error[coverage_mask], fill_value)
    assert np.all(error[~coverage_mask] > 0)


def test_unit(make, data):
    plain = make(data).background_uncertainty
    bkg = make(data << u.Jy)
    assert bkg.background_uncertainty.unit == u.Jy
    assert_array_equal(bkg.background_uncertainty.value, plain)
    assert bkg.background_rms.unit == u.Jy


@pytest.mark.parametrize('dtype', ['f4', 'f8', 'i2'])
def test_dtype(make, data, dtype):
    bkg = make(data.astype(dtype))
    assert bkg.background_uncertainty.dtype == bkg.background_rms.dtype


@pytest.mark.parametrize('shape', [(1, 1), (1, 90), (5, 5)])
def test_small(make, shape):
    data = np.random.default_rng(1).normal(size=shape)
    error = make(data, 4).background_uncertainty
    assert error.shape == shape
    assert np.all(np.isfinite(error))
    assert_array_equal(make(np.ones(shape), 4).background_uncertainty, 0)


def test_fresh_copy(make, data):
    """Editing a result changes nothing inside; the map of the noise stays too."""
    bkg = make(data)
    rms, before = bkg.background_rms, bkg.background_uncertainty
    bkg.background_uncertainty[...] = -1
    assert_array_equal(bkg.background_uncertainty, before)
    assert_array_equal(bkg.background_rms, rms)
    copy = pickle.loads(pickle.dumps(bkg))
    assert_array_equal(copy.background_uncertainty, before)


def test_with_sources(tiny_weights, data):
    """With a network that takes half of everything it is still a standard error."""
    bkg = DiffusionBackground(data, weights=tiny_weights)
    error = bkg.background_uncertainty
    assert np.all((error > 0) & (error < bkg.background_rms))


@pytest.mark.slow
@pytest.mark.parametrize(
    ('family', 'low', 'high'),
    [
        ('flat', 0.7, 1.5),
        ('correlated', 0.7, 1.5),
        ('crowded', 0.7, 1.5),
        ('large_galaxies', 0.7, 3.3),
    ],
)
def test_scenes(family, low, high):
    """
    On simulated scenes the sky errs by as much as is said.

    Of the wings of large galaxies some light is left; the standard error does not
    know that.
    """
    pytest.importorskip('galsim')
    from bgrem.evaluate.scenes import evaluation_bank, family_scenes

    pulls = []
    for scene in family_scenes(evaluation_bank(), family, 6, 256, seed=777):
        bkg = DiffusionBackground(scene.image, 32, exclude_percentile=90)
        pulls.append((bkg.background - scene.sky) / bkg.background_uncertainty)
    rms = np.sqrt(np.mean(np.square(pulls)))
    print(f'{family}: rms of the pull {rms:.2f}')
    assert low < rms < high
