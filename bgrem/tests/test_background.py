"""Tests of DiffusionBackground and make_detection_mask."""

import inspect
import pickle
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData, NDData, StdDevUncertainty
from astropy.stats import SigmaClip
from astropy.table import QTable
from astropy.utils.exceptions import AstropyDeprecationWarning, AstropyUserWarning
from astropy.utils.masked import Masked
from astropy.wcs import WCS
from astropy.wcs.wcsapi import SlicedLowLevelWCS
from numpy.testing import assert_allclose, assert_array_equal
from photutils.background import (
    Background2D,
    MeanBackground,
    MedianBackground,
    SExtractorBackground,
)
from photutils.segmentation import SegmentationImage
from photutils.utils.exceptions import NoDetectionsWarning

import bgrem
from bgrem import DiffusionBackground, background, make_detection_mask
from bgrem.detections import DetectionMixin
from bgrem.evaluate.calibration import rewrite_header
from bgrem.pipeline import Separation
from bgrem.sky.maps import interpolate_mesh
from bgrem.sky.normalization import Normalization
from bgrem.weights import load_weights

SHAPE = (96, 130)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]
STARS = [(20, 30), (50, 100), (70, 60), (80, 20)]


@pytest.fixture
def data():
    """Noise of 2 on a sky of 100, with four stars."""
    data = 100 + 2 * np.random.default_rng(9).normal(size=SHAPE)
    for y, x in STARS:
        data += 500 * np.exp(-((Y - y) ** 2 + (X - x) ** 2) / 4)
    return data


@pytest.fixture
def make(tiny_weights):
    """Return the class with the tiny weights."""

    def make(data, box_size=32, **options):
        return DiffusionBackground(data, box_size, weights=tiny_weights, **options)

    return make


@pytest.fixture
def perfect(monkeypatch, make):
    """Return the class with a separation that knows stars from sky."""

    def perfect(data, box_size=32, *, n_sources=4, **options):
        def separate(image, mask=None, **_):
            source = np.zeros(image.shape, dtype=image.dtype)
            probability = np.full(image.shape, 1e-4, dtype=np.float32)
            for y, x in STARS[:n_sources]:
                source += 500 * np.exp(-((Y - y) ** 2 + (X - x) ** 2) / 4)
                probability[y, x] = 0.99
            source[mask], probability[mask] = 0, 0
            meta = {
                'weights': 'perfect',
                'n_steps': 1,
                'normalization': 'local',
                'binning': 1,
            }
            maps = Normalization(np.full(SHAPE, 100.0), np.full(SHAPE, 2.0))
            return Separation(source, probability, maps, meta)

        monkeypatch.setattr(background, 'separate', separate)
        return make(data, box_size, **options)

    return perfect


def same_as_parent(bkg, residual, box_size, rtol=0, **options):
    """The same meshes; maps as near as scipy's zoom is right for so few boxes."""
    parent = Background2D(residual, box_size, **options)
    for name in ('background', 'background_rms'):
        for suffix in ('_mesh', '_median'):
            ours, theirs = (getattr(one, name + suffix) for one in (bkg, parent))
            assert_allclose(ours, theirs, rtol=rtol)
        assert_allclose(getattr(bkg, name), getattr(parent, name), rtol=1e-3)
    assert_array_equal(bkg.n_pixels_mesh, parent.n_pixels_mesh)
    assert_array_equal(bkg.n_pixels_map, parent.n_pixels_map)


@pytest.mark.parametrize('box_size', [32, (16, 50), 500])
def test_equals_parent(data, make, box_size):
    """Without a trend the sky is the parent's, measured on data - source."""
    bkg = make(data, box_size)
    same_as_parent(bkg, data - bkg.source, box_size, rtol=1e-12)
    assert isinstance(bkg, Background2D)


def test_same_result_by_any_number_of_threads(monkeypatch, tiny_weights):
    data = np.random.default_rng(4).normal(100, 5, (300, 700)).astype(np.float32)
    mask = np.zeros(data.shape, dtype=bool)
    mask[:40, :60] = True
    results = []
    for n_threads in (1, 2, 3):
        monkeypatch.setattr('bgrem.denoise.run.n_threads', lambda n=n_threads: n)
        bkg = DiffusionBackground(data, mask=mask, weights=tiny_weights)
        results.append([bkg.background, bkg.background_rms, bkg.source])
    for one in results[1:]:
        assert_array_equal(one, results[0])


class TestAuto:
    """Boxes that the image chooses, the default."""

    def test_attributes(self, data, tiny_weights):
        bkg = DiffusionBackground(data, weights=tiny_weights)
        assert bkg.box_size.shape == bkg.filter_size.shape == (2,)
        assert bkg.box_size.dtype.kind == 'i'
        assert bkg.meta['box_size'] == tuple(bkg.box_size)
        assert bkg.meta['boxes'] == 'auto'
        assert isinstance(bkg.bkg_estimator, MeanBackground)
        assert bkg.sigma_clip.sigma == 4
        assert bkg.exclude_percentile == 100
        n_boxes = -(-np.array(SHAPE) // bkg.box_size)
        for name in ('background_mesh', 'background_rms_mesh', 'n_pixels_mesh'):
            assert_array_equal(getattr(bkg, name).shape, n_boxes)
        assert bkg.n_pixels_mesh.sum() == data.size
        assert 'box_size=array' in repr(bkg)

    def test_no_defaults_elsewhere(self, perfect, data):
        named, default = perfect(data, 'auto'), perfect(data)
        assert_array_equal(default.background_rms_mesh.shape, (3, 5))
        assert_array_equal(
            inspect.signature(make_detection_mask).parameters['box_size'].default,
            inspect.signature(DiffusionBackground).parameters['box_size'].default,
        )
        assert named.meta['boxes'] == 'auto'
        assert default.meta['boxes'] == 'given'

    @pytest.mark.parametrize('tilt', [0, 0.5])
    def test_sky(self, perfect, data, tilt):
        """The map is the interpolation of the mesh, borders included."""
        bkg = perfect(data + tilt * X, 'auto')
        assert np.sqrt(np.mean((bkg.background - tilt * X - 100) ** 2)) < 0.03 * 2
        assert_allclose(bkg.background_rms, 2, rtol=0.1)
        expected = interpolate_mesh(
            bkg.background_mesh, SHAPE, bkg.box_size, edges='linear'
        )
        assert_array_equal(bkg.background, expected)
        assert np.all(bkg.background_uncertainty < 0.05 * 2)
        assert np.all(bkg.background_uncertainty > 0)

    def test_pedestal(self, perfect, data):
        """A constant more in the image is that constant more in the sky."""
        plain, high = (perfect(data + 0.5 * X + c, 'auto') for c in (0, 1e7))
        assert_allclose(high.background - 1e7, plain.background, atol=1e-4)
        assert_allclose(high.background_rms, plain.background_rms, atol=1e-4)

    def test_one_usable_pixel(self, perfect, data):
        mask = np.ones(SHAPE, dtype=bool)
        mask[33, 77] = False
        bkg = perfect(data, 'auto', mask=mask)
        assert_allclose(bkg.background, data[33, 77])
        assert bkg.n_pixels_mesh.sum() == 1
        # with Background2D's own exclude_percentile too
        with pytest.warns(AstropyUserWarning, match='boxes of 1 px and 10.0 are used'):
            bkg = perfect(data, 'auto', mask=mask, exclude_percentile=10.0)
        assert_allclose(bkg.background, data[33, 77])
        assert bkg.exclude_percentile == 10

    @pytest.mark.parametrize(
        ('percentile', 'sigma_clip'), [(0, None), (0, 5.0), (10, 1.5)]
    )
    def test_clipping_counts(self, perfect, data, percentile, sigma_clip):
        """Boxes of which clipping leaves too little are not chosen."""
        options = {} if sigma_clip is None else {'sigma_clip': SigmaClip(sigma_clip)}
        with warnings.catch_warnings():
            # where photutils has no box for it
            warnings.filterwarnings('ignore', 'exclude_percentile=.* leaves no box')
            bkg = perfect(data, 'auto', exclude_percentile=percentile, **options)
        assert_allclose(bkg.background, 100, atol=2)

    def test_unit_mask_and_coverage(self, perfect, data):
        coverage_mask = X < 20
        data[Y < 5] = np.nan
        with pytest.warns(AstropyUserWarning, match='non-?finite'):
            bkg = perfect(
                data << u.Jy, 'auto', coverage_mask=coverage_mask, fill_value=-1.0
            )
        assert bkg.background.unit == bkg.background_mesh.unit == u.Jy
        assert_array_equal(bkg.background.value[coverage_mask], -1)
        assert_array_equal(bkg.background_rms.value[coverage_mask], -1)
        assert_allclose(bkg.background.value[~coverage_mask], 100, atol=0.2)

    @pytest.mark.parametrize(
        'options',
        [
            {'bkg_estimator': MedianBackground()},
            {'sigma_clip': None},
            {'bkg_estimator': MedianBackground(), 'filter_size': 1},
        ],
    )
    def test_given_estimators(self, perfect, data, options):
        """The meshes are those of the parent with the attributes that are named."""
        bkg = perfect(data, 'auto', **options)
        parent = Background2D(
            data - bkg.source,
            bkg.box_size,
            **{
                'filter_size': bkg.filter_size,
                'exclude_percentile': bkg.exclude_percentile,
                **options,
            },
        )
        assert_array_equal(bkg.background_mesh, parent.background_mesh)
        assert_array_equal(bkg.background_rms_mesh, parent.background_rms_mesh)

    @pytest.mark.parametrize(
        ('options', 'match'),
        [
            ({'box_size': 'large'}, "box_size must be 'auto' or a number"),
            ({'exclude_percentile': 101}, 'exclude_percentile must be between 0 and'),
            ({'filter_size': 2}, 'filter_size must have an odd value'),
            ({'mask': np.ones(SHAPE, bool)}, 'All input pixels are masked'),
        ],
    )
    def test_invalid(self, data, tiny_weights, monkeypatch, options, match):
        """Every mistake is reported before the network runs."""
        monkeypatch.setattr('bgrem.denoise.run._run', None)
        with pytest.raises(ValueError, match=match):
            DiffusionBackground(data, weights=tiny_weights, **options)


@pytest.mark.parametrize('tilt', [0, 0.3])
def test_meshes_of_given_estimators_are_the_parents(perfect, data, tilt):
    """Whatever the sky; and the map has a trend up to the borders all the same."""
    data += tilt * X
    bkg = perfect(data, 32, bkg_estimator=MedianBackground())
    parent = Background2D(data - bkg.source, 32, bkg_estimator=MedianBackground())
    assert_array_equal(bkg.background_mesh, parent.background_mesh)
    error = bkg.background - tilt * X - 100
    assert np.sqrt(np.mean(error**2)) < 0.1 * 2


@pytest.mark.parametrize('height', [10, 1000])
def test_a_step_is_no_trend(perfect, data, height):
    """A box away the sky is not worse than the parent's."""
    step = np.where(X < 70, 0, height)
    bkg = perfect(data + step, 16, n_sources=4)
    parent = Background2D(data + step - bkg.source, 16)
    away = np.abs(X - 70) > 16
    ours, theirs = (
        np.sqrt(np.mean((one.background - step - 100)[away] ** 2))
        for one in (bkg, parent)
    )
    assert ours < 1.05 * theirs + 0.005 * 2


def test_options_reach_parent(data, make):
    mask = data > 300
    options = {
        'mask': mask,
        'exclude_percentile': 50,
        'filter_size': (1, 3),
        'filter_threshold': 99.0,
        'sigma_clip': None,
        'bkg_estimator': MedianBackground(),
    }
    bkg = make(data, 20, **options)
    same_as_parent(bkg, data - bkg.source, 20, **options)
    assert_array_equal(bkg.source[mask], 0)


@pytest.mark.parametrize('dtype', ['f2', 'f4', '>f4', 'f8', '>f8', 'i2', '>i2', 'u2'])
def test_dtype(data, make, dtype):
    data = np.rint(data).astype(dtype)
    bkg = make(data)
    expected = np.dtype('f8' if dtype.endswith('f8') else 'f4')
    for name in ('background', 'background_rms', 'background_mesh', 'source', 'noise'):
        assert getattr(bkg, name).dtype == expected
    assert bkg.subtract().dtype == expected
    assert bkg.detection_probability.dtype == np.float32
    assert_allclose(bkg.background, 100, atol=2)


def test_bool(make):
    bkg = make(np.eye(40, dtype=bool), 10)
    assert np.all(np.isfinite(bkg.background))


@pytest.mark.parametrize(
    'shape', [(1, 1), (1, 2), (2, 2), (3, 3), (4, 5), (5, 5), (1, 90), (90, 1)]
)
@pytest.mark.parametrize('kind', ['noise', 'constant'])
def test_small(make, shape, kind):
    data = np.full(shape, 7.0)
    if kind == 'noise':
        data += np.random.default_rng(1).normal(size=shape)
    bkg = make(data, 4)
    for name in ('background', 'background_rms', 'source', 'noise'):
        assert getattr(bkg, name).shape == shape
        assert np.all(np.isfinite(getattr(bkg, name)))
    assert bkg.detection_mask().shape == shape
    if kind == 'constant':
        assert_array_equal(bkg.background, 7)
        assert_array_equal(bkg.source, 0)


def test_list(make):
    assert_array_equal(make([[1, 1], [1, 1]], 2).background, 1)


def test_read_only(data, make):
    data.flags.writeable = False
    before = data.copy()
    make(data)
    assert_array_equal(data, before)


def test_defaults():
    """The parent's parameters come first, with its defaults; then ours."""
    own = inspect.signature(DiffusionBackground).parameters
    parent = inspect.signature(Background2D).parameters
    assert list(own)[:2] == ['data', 'box_size']
    assert own['box_size'].default == 'auto'
    for name in set(parent) - {'box_size'}:
        assert own[name] == parent[name]
    assert own['weights'].default == 'optical'
    assert 'options' not in own


@pytest.mark.parametrize('form', ['quantity', 'nddata', 'ccddata'])
def test_unit(data, make, form):
    plain = make(data)
    forms = {
        'quantity': data << u.ct,
        'nddata': NDData(data, unit=u.ct),
        'ccddata': CCDData(data, unit=u.ct),
    }
    bkg = make(forms[form])
    names = ['source', 'noise', 'background', 'background_rms']
    names += ['background_median', 'background_rms_median']
    for name in names:
        assert getattr(bkg, name).unit == u.ct
        assert_array_equal(getattr(bkg, name).value, getattr(plain, name))
    assert bkg.subtract().unit == u.ct
    assert not hasattr(bkg.detection_probability, 'unit')
    assert_array_equal(bkg.detection_mask(), plain.detection_mask())
    with pytest.raises(u.UnitConversionError, match='data must have the unit'):
        bkg.subtract(data)


def test_nddata_mask(data, make):
    mask = np.zeros(SHAPE, dtype=bool)
    mask[:10] = True
    assert_array_equal(make(NDData(data, mask=mask)).source[mask], 0)
    assert np.any(make(NDData(data, mask=mask), use_nddata_mask=False).source[mask])


def test_not_finite(data, make):
    """One warning, finite maps, and no source where there are no data."""
    data[10:14, 20:30], data[40, 3], data[41, 3] = np.nan, np.inf, -np.inf
    bad = ~np.isfinite(data)
    with pytest.warns(AstropyUserWarning, match='non-?finite') as record:
        bkg = make(data)
    assert len(record) == 1
    for name in ('background', 'background_rms', 'source', 'detection_probability'):
        assert np.all(np.isfinite(getattr(bkg, name)))
    assert_array_equal(bkg.source[bad], 0)
    assert_array_equal(bkg.detection_probability[bad], 0)
    assert_array_equal(np.isfinite(bkg.noise), ~bad)
    assert ' mask=None' in repr(bkg)
    # the parent says nothing about values that are masked already
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert_array_equal(make(data, mask=bad).background, bkg.background)


@pytest.mark.parametrize('fill_value', [0.0, -1.0, np.nan])
@pytest.mark.parametrize('tilt', [0, 0.5])
def test_coverage_mask(data, make, fill_value, tilt):
    coverage_mask = np.zeros(SHAPE, dtype=bool)
    coverage_mask[:, :40] = True
    data[coverage_mask] = np.nan
    bkg = make(data + tilt * X, coverage_mask=coverage_mask, fill_value=fill_value)
    assert_array_equal(bkg.background[coverage_mask], fill_value)
    assert_array_equal(bkg.background_rms[coverage_mask], fill_value)
    assert_allclose((bkg.background - tilt * X)[~coverage_mask], 100, atol=4)
    assert_array_equal(bkg.source[coverage_mask], 0)
    assert not np.any(bkg.detection_mask()[coverage_mask])


@pytest.mark.parametrize('number', [0, -500, 100])
def test_blank_is_masked(data, perfect, number):
    """Corners filled with a number are what masked corners are, without a warning."""
    corner = (X > 80) & (Y > 50)
    data[corner] = number
    filled = perfect(data, 16, exclude_percentile=60)
    masked = perfect(data, 16, exclude_percentile=60, mask=corner)
    for name in ('background', 'background_rms', 'background_uncertainty', 'source'):
        assert_array_equal(getattr(filled, name), getattr(masked, name))
    assert_array_equal(filled.n_pixels_mesh, masked.n_pixels_mesh)
    assert not filled.detection_mask(threshold=0.5)[corner].any()
    assert_allclose(filled.background, 100, atol=1)


def test_blank_leaves_no_box(data, perfect):
    """Where the parent measures, so do we."""
    data[(X // 4 + Y // 4) % 2 == 0] = 0
    expected = Background2D(data, 16).n_pixels_mesh
    assert_allclose(perfect(data, 16).n_pixels_mesh, expected, atol=5)


@pytest.mark.parametrize(
    ('options', 'error', 'match'),
    [
        ({'box_size': 0}, ValueError, 'box_size must be > 0'),
        ({'box_size': (5, 5, 5)}, ValueError, 'box_size must have 1 or 2 elements'),
        ({'box_size': 3.5}, ValueError, 'box_size must have integer values'),
        ({'filter_size': 2}, ValueError, 'filter_size must have an odd value'),
        ({'exclude_percentile': 101}, ValueError, 'exclude_percentile must be between'),
        ({'mask': np.ones(SHAPE, bool)}, ValueError, 'All input pixels are masked'),
        ({'mask': np.ones((2, 2), bool)}, ValueError, 'data and mask must have the'),
        ({'mask': np.ones(SHAPE)}, TypeError, 'mask must be a boolean array'),
        ({'edge_method': 'pad'}, TypeError, 'unexpected keyword argument'),
        ({'weights': 'nonsense'}, ValueError, "weights 'nonsense' are not known"),
        ({'device': 'abacus'}, ValueError, 'device must be'),
        ({'n_steps': -1}, ValueError, 'n_steps must be a positive integer, got -1'),
        ({'batch_size': 0}, ValueError, 'batch_size must be a positive integer, got 0'),
        ({'normalization': 'mean'}, ValueError, 'normalization must be'),
    ],
)
def test_invalid(data, tiny_weights, monkeypatch, options, error, match):
    """Every mistake is reported before the network runs."""
    monkeypatch.setattr('bgrem.denoise.run._run', None)
    options = {'box_size': 32, 'weights': tiny_weights, **options}
    with pytest.raises(error, match=match):
        DiffusionBackground(data, **options)


@pytest.mark.parametrize('box_size', ['auto', 32])
@pytest.mark.parametrize(
    ('name', 'meant'),
    [
        ('boxsize', 'box_size'),
        ('boxSize', 'box_size'),
        ('filtersize', 'filter_size'),
        ('exclude_mesh_percentile', 'exclude_percentile'),
        ('rms_estimator', 'bkg_rms_estimator'),
        ('sigmaclip', 'sigma_clip'),
        ('nsteps', 'n_steps'),
        ('normalisation', 'normalization'),
        ('weight', 'weights'),
        ('coverage', 'coverage_mask'),
        ('errors', 'error'),
        ('batchsize', 'batch_size'),
        ('use_nddata_masks', 'use_nddata_mask'),
    ],
)
def test_near_misses(data, tiny_weights, box_size, name, meant):
    """A name that is nearly one says which."""
    match = f'unexpected keyword argument {name!r}: did you mean {meant!r}'
    with pytest.raises(TypeError, match=re.escape(match)):
        DiffusionBackground(data, box_size, weights=tiny_weights, **{name: 1})


@pytest.mark.parametrize(
    ('name', 'value', 'match'),
    [
        ('box_size', '64', "box_size must be 'auto' or a number of pixels, got '64'"),
        ('box_size', 32 * u.pix, 'box_size must be one or two numbers of pixels, got'),
        ('exclude_percentile', 5 * u.percent, 'must be a number without a unit, got'),
        ('box_size', 0, 'box_size must be > 0, got 0'),
        ('box_size', 3.5, 'box_size must have integer values, got 3.5'),
        ('box_size', (1, 2, 3), r'must have 1 or 2 elements, got \(1, 2, 3\)'),
        ('filter_size', 2, 'filter_size must have an odd value for both axes, got 2'),
        ('exclude_percentile', -1, r'between 0 and 100 \(inclusive\), got -1'),
        ('weights', None, 'weights must be the name .* got None'),
        ('weights', 'opticl', r"'opticl' are not known \(did you mean 'optical'\?\)"),
        ('mask', 2.0, 'mask must be a 2D array, got the number 2.0'),
        ('remove_stripes', 'no', "remove_stripes must be True or False, got 'no'"),
        ('use_nddata_mask', None, 'use_nddata_mask must be True or False, got None'),
        (
            'normalization',
            1 / u.adu,
            'must be a number without a unit, got 1.0 1 / adu',
        ),
        ('normalization', np.ones(SHAPE) / u.adu, 'must have no unit, got one in 1 / '),
    ],
)
def test_values_that_cannot_be(data, tiny_weights, name, value, match):
    """One message names the parameter, the rule and the value."""
    for given in ({}, {'box_size': 32}):
        options = {'weights': tiny_weights, **given, name: value}
        with pytest.raises((TypeError, ValueError), match=match):
            DiffusionBackground(data, **options)


@pytest.mark.parametrize('name', ['fill_value', 'filter_threshold'])
def test_options_in_the_unit_of_the_data(data, make, name):
    options = {'coverage_mask': X < 5, 'filter_size': 3}
    expected = make(data << u.Jy, **options, **{name: 99.0})
    bkg = make(data << u.Jy, **options, **{name: 99000 * u.mJy})
    assert_array_equal(bkg.background, expected.background)
    with pytest.raises(u.UnitConversionError, match=f'{name} must have the unit of'):
        make(data << u.Jy, **options, **{name: 99 * u.m})


@pytest.mark.parametrize(
    ('given', 'got'),
    [
        (np.zeros(SHAPE, dtype=int), 'ndarray'),
        ('segments.fits', 'str'),
        (0.9, 'float'),
    ],
)
def test_segments_that_are_none(perfect, data, given, got):
    match = f'segmentation_image must be a SegmentationImage, got {got}'
    with pytest.raises(TypeError, match=match):
        perfect(data).catalog(given)


def test_wcs_of_every_kind(perfect, data):
    wcs = WCS({'CTYPE1': 'RA---TAN', 'CTYPE2': 'DEC--TAN', 'CRVAL2': 20})
    bkg = perfect(data)
    expected = bkg.catalog(wcs=wcs).ra
    low = SlicedLowLevelWCS(wcs, (slice(None), slice(None)))
    assert_array_equal(bkg.catalog(wcs=low).ra, expected)
    match = r'wcs must be a WCS with .* method, got Header: give WCS\(header\)$'
    with pytest.raises(TypeError, match=match):
        bkg.catalog(wcs=wcs.to_header())


class BrokenWCS:
    """World coordinates that are none."""

    def pixel_to_world(self, *_):
        msg = 'no frame'
        raise ValueError(msg)


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        ({'data': np.random.default_rng(0).normal(99, 1, SHAPE)}, 'the median of data'),
        ({'wcs': BrokenWCS()}, 'the WCS'),
        ({'aperture_correction': True}, 'no star in the image'),
    ],
)
def test_warnings_of_a_catalog_name_the_line_of_the_caller(
    perfect, data, options, match
):
    bkg = perfect(data, n_sources=1)
    with pytest.warns(AstropyUserWarning, match=match) as record:
        bkg.catalog(**options)
    assert {one.filename for one in record} == {__file__}


@pytest.mark.parametrize('zero_point', [25, 25 * u.mag, 25 * u.ABmag])
def test_zero_points(perfect, data, zero_point):
    magnitude = perfect(data).catalog(zero_point=zero_point).kron_mag
    assert_array_equal(magnitude, perfect(data).catalog(zero_point=25.0).kron_mag)


def test_sizes_of_one_number(data, make):
    """They are of both axes, in a sequence too."""
    for given, plain, size in (
        ('auto', 'auto', (3,)),
        ('auto', 'auto', [3, 3]),
        ('auto', 'auto', np.array(3)),
        ((32,), 32, [3]),
    ):
        bkg, expected = (
            make(data, given, filter_size=size),
            make(data, plain, filter_size=3),
        )
        for name in ('box_size', 'filter_size', 'background'):
            assert_array_equal(getattr(bkg, name), getattr(expected, name))


@pytest.mark.parametrize(
    ('name', 'place'),
    [
        ('wcs', 'as CCDData'),
        ('gain', 'effective_gain of catalog'),
        ('npixels', 'n_pixels of detect'),
        ('thresh', 'threshold, a probability, of detect'),
        ('back_size', 'box_size of DiffusionBackground'),
    ],
)
def test_names_of_others(data, tiny_weights, name, place):
    """Those of photutils, sep and SExtractor say where what they mean belongs."""
    with pytest.raises(TypeError, match=f'{name!r}: .*{place}'):
        DiffusionBackground(data, weights=tiny_weights, **{name: 1})


@pytest.mark.filterwarnings(
    'ignore::astropy.utils.exceptions.AstropyDeprecationWarning'
)
def test_deprecated_names_are_no_misses(data, tiny_weights):
    """They are known, whatever else is wrong."""
    options = {'bkgrms_estimator': None, 'boxsize': 3, 'weights': tiny_weights}
    with pytest.raises(TypeError, match="'boxsize': did you mean 'box_size'"):
        DiffusionBackground(data, **options)


@pytest.mark.parametrize(
    ('data', 'match'),
    [
        (np.ones(5), 'data must be a 2D array'),
        (np.ones((2, 5, 5)), 'data must be a 2D array'),
        (np.ones((0, 5)), 'data must have at least one pixel'),
        (np.full((9, 9), np.nan), 'Input data contains all non-?finite'),
        (np.full((9, 9), np.inf), 'Input data contains all non-?finite'),
    ],
)
def test_invalid_data(make, data, match):
    with pytest.raises(ValueError, match=match):
        make(data)


def test_third_positional(data):
    with pytest.raises(TypeError, match='positional argument'):
        DiffusionBackground(data, 32, None)


@pytest.mark.parametrize('tilt', [(25, 0), (0, -25), (18, 18)])
@pytest.mark.parametrize('box_size', [32, 64])
def test_gradient(perfect, tilt, box_size):
    """A tilt of 25 sigma is followed to 0.05 sigma, borders included."""
    data = 2 * np.random.default_rng(3).normal(size=SHAPE)
    sky = 2 * (tilt[0] * Y / SHAPE[0] + tilt[1] * X / SHAPE[1])
    bkg = perfect(data + sky, box_size, n_sources=0)
    assert np.sqrt(np.mean((bkg.background - sky) ** 2)) < 0.05 * 2
    assert_allclose(bkg.background_rms, 2, rtol=0.1)
    # the mesh is that of the sky, at the centers of the boxes
    y, x = np.indices(bkg.background_mesh.shape) * box_size + (box_size - 1) / 2
    expected = 2 * (tilt[0] * y / SHAPE[0] + tilt[1] * x / SHAPE[1])
    assert_allclose(bkg.background_mesh, expected, atol=0.5)
    assert_allclose(bkg.background_median, np.median(bkg.background_mesh))
    assert bkg.background_mesh is bkg.background_mesh


def test_gradient_unit(perfect, data):
    bkg = perfect((data + X) << u.Jy, 32)
    assert bkg.background.unit == bkg.background_mesh.unit == u.Jy
    assert_allclose(bkg.background.value, 100 + X, atol=1)


def test_gradient_filter_threshold(perfect, data):
    """The threshold is a sky level: the sky must keep its trend."""
    bkg = perfect(data + X, 32, filter_threshold=150.0)
    same_as_parent(bkg, data + X - bkg.source, 32, filter_threshold=150.0)


@pytest.mark.parametrize('tilt', [0, 0.5])
def test_pedestal(perfect, data, tilt):
    """A constant more in the image is that constant more in the sky, nothing else."""
    data += tilt * X
    plain = perfect(data)
    for pedestal, atol in ((1e4, 1e-7), (-2e7, 1e-5)):
        bkg = perfect(data + pedestal)
        for name in ('background', 'background_mesh', 'background_median'):
            change = getattr(bkg, name) - getattr(plain, name)
            assert_allclose(change, pedestal, rtol=0, atol=atol)
        assert_allclose(bkg.background_rms, plain.background_rms, atol=atol)
        assert_allclose(
            bkg.background_uncertainty, plain.background_uncertainty, atol=atol
        )


def test_pedestal_float32(perfect, data):
    """The sky is right to a step of single precision, here 0.03 of the noise."""
    plain = perfect(data)
    bkg = perfect((data + 1e6).astype(np.float32))
    assert_allclose(bkg.background - 1e6, plain.background, rtol=0, atol=0.07)
    assert_allclose(bkg.background_rms, plain.background_rms, rtol=0.01)


def test_interpolator(make, data):
    """The deprecated interpolator makes the maps from the meshes, as in the parent."""

    def nearest(mesh, *, shape, box_size, **_):
        image = np.kron(getattr(mesh, 'value', mesh), np.ones(box_size))
        return image[: shape[0], : shape[1]]

    coverage_mask = X < 5
    with pytest.warns(AstropyDeprecationWarning, match="'interpolator' was deprecated"):
        bkg = make(
            (data + X) << u.Jy,
            interpolator=nearest,
            coverage_mask=coverage_mask,
            fill_value=-1,
        )
    for name in ('background', 'background_rms'):
        image, mesh = getattr(bkg, name), getattr(bkg, name + '_mesh')
        assert image.unit == u.Jy
        expected = nearest(mesh, shape=SHAPE, box_size=(32, 32))
        expected[coverage_mask] = -1
        assert_array_equal(image.value, expected)
    assert np.all(np.isfinite(bkg.background_uncertainty))


def test_n_threads(make, data):
    if 'n_threads' not in inspect.signature(Background2D).parameters:
        with pytest.raises(TypeError, match='n_threads'):
            make(data, n_threads=2)
        return
    bkg = make(data, n_threads=2)
    assert bkg.n_threads == 2
    assert 'n_threads=2' in repr(bkg)
    assert_array_equal(bkg.background, make(data).background)
    with pytest.raises(ValueError, match='n_threads must be a positive integer'):
        make(data, n_threads=0)


def test_no_private_name_is_shared_with_the_parent(make, data):
    """The parent's private names change from version to version."""
    parent = Background2D(data, 32)
    assert parent.background.shape == parent.background_rms.shape  # computed
    theirs = {name for name in dir(parent) if re.match('_[^_]', name)}
    ours = {name for cls in (DiffusionBackground, DetectionMixin) for name in vars(cls)}
    sources = [inspect.getsource(cls) for cls in (DiffusionBackground, DetectionMixin)]
    ours.update(*(re.findall(r'self\.(_[a-z]\w*)', source) for source in sources))
    assert len(ours) > 20
    assert not theirs & ours


def test_sources_leave_no_sky(perfect, data):
    """Small boxes are safe: no light of a star is left in them."""
    bkg = perfect(data, 8)
    assert_allclose(bkg.background, 100, atol=1)


def test_subtract(perfect, data):
    bkg = perfect(data)
    assert_array_equal(bkg.subtract(), data - bkg.background)
    assert_array_equal(bkg.subtract(denoise=True), bkg.source)
    assert_array_equal(bkg.subtract(clip=True), np.maximum(bkg.subtract(), 0))
    assert_array_equal(bkg.subtract(np.full(SHAPE, 100)), 100 - bkg.background)
    assert_allclose(bkg.noise, data - bkg.background - bkg.source)
    assert_allclose(np.std(bkg.noise), 2, rtol=0.05)
    with pytest.raises(ValueError, match='data must be None with denoise=True'):
        bkg.subtract(data, denoise=True)
    with pytest.raises(ValueError, match='data must have the shape of the background'):
        bkg.subtract(data[1:])


def test_subtract_other_unit(perfect, data):
    bkg = perfect(data << u.Jy)
    result = bkg.subtract(1e3 * data << u.mJy)
    assert_allclose(result.to_value(u.Jy), data - bkg.background.value)
    for other, units in ((data, 'no unit'), (data << u.ct, 'ct')):
        match = f'data must have the unit of the background, Jy, got {units}'
        with pytest.raises(u.UnitConversionError, match=match):
            bkg.subtract(other)


def test_subtract_from_no_unit(perfect, data):
    match = 'data must have the unit of the background, none, got Jy'
    with pytest.raises(u.UnitConversionError, match=match):
        perfect(data).subtract(data << u.Jy)


def test_subtract_from_masked_arrays(perfect, data):
    """They keep their mask, as in ``data - bkg.background``."""
    for unit in (None, u.Jy):
        image = data if unit is None else data << unit
        bkg, mask = perfect(image), data > 110
        masked = bkg.subtract(Masked(image, mask), clip=True)
        assert_array_equal(masked.mask, mask)
        assert_array_equal(masked.unmasked, bkg.subtract(clip=True))
        assert masked.unit == unit if unit else not hasattr(masked, 'unit')
    bkg = perfect(data)
    for mask in (data > 110, np.ma.nomask):
        given = np.ma.MaskedArray(data, mask, fill_value=-1)
        result, expected = bkg.subtract(given), given - bkg.background
        assert isinstance(result, np.ma.MaskedArray)
        assert_array_equal(result.mask, expected.mask)
        assert_array_equal(result.filled(), expected.filled())
    assert type(bkg.subtract(data.tolist())) is np.ndarray


def test_fresh_copies(make, data):
    """Editing a result, or the data, changes nothing inside."""
    bkg = make(data)
    names = ['background', 'background_rms', 'source', 'noise', 'detection_probability']
    before = {name: getattr(bkg, name) for name in names}
    for name in names:
        getattr(bkg, name)[...] = -5
    bkg.meta.clear()
    data -= bkg.background
    for name in names:
        assert_array_equal(getattr(bkg, name), before[name])
    assert bkg.meta['weights'] == 'tiny'


@pytest.mark.parametrize('tilt', [0, 1])
def test_pickle(make, data, tilt):
    bkg = make(data + tilt * X)
    copy = pickle.loads(pickle.dumps(bkg))
    for name in ('background', 'background_rms', 'source', 'detection_probability'):
        assert_array_equal(getattr(copy, name), getattr(bkg, name))
    assert repr(copy) == repr(bkg)
    assert_array_equal(copy.detection_mask(), bkg.detection_mask())


@pytest.mark.parametrize('tilt', [0, 1])
def test_threads(make, data, tilt):
    bkg = make(data + tilt * X)
    expected = bkg.background, bkg.background_rms, bkg.detection_mask()

    def read(_):
        return bkg.background, bkg.background_rms, bkg.detection_mask()

    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(read, range(8)):
            for one, other in zip(result, expected, strict=True):
                assert_array_equal(one, other)


def test_threads_construct(make, data):
    """Several threads use the same network at once."""
    expected = make(data).source
    with ThreadPoolExecutor(4) as pool:
        for bkg in pool.map(make, [data] * 4):
            assert_allclose(bkg.source, expected, rtol=1e-5, atol=1e-5)


def test_repr(make, data):
    bkg = make(data, n_steps=2)
    assert repr(bkg).startswith('DiffusionBackground(data=')
    assert repr(bkg).endswith("weights='tiny', n_steps=2, normalization='local')")
    assert str(bkg).startswith('<bgrem.background.DiffusionBackground>')
    assert str(bkg).endswith("weights: 'tiny'\nn_steps: 2\nnormalization: 'local'")


def test_meta(make, data):
    meta = make(data, device='cpu').meta
    assert meta['package'] == 'bgrem'
    assert meta['version'] == bgrem.__version__
    assert len(meta['weights_sha256']) == 64
    assert meta['device'] == 'cpu'


def test_detect(perfect, data):
    bkg = perfect(data)
    segments = bkg.detect()
    assert isinstance(segments, SegmentationImage)
    assert segments.n_labels == len(STARS)
    mask = bkg.detection_mask()
    assert mask.dtype == bool
    assert all(mask[y, x] and segments.data[y, x] for y, x in STARS)
    assert_array_equal(mask, segments.data > 0)
    assert 20 < mask.sum() < 1000
    wider = bkg.detection_mask(footprint=np.ones((5, 5)))
    assert np.all(wider[mask])
    assert wider.sum() > mask.sum()


def test_threshold(perfect, data):
    bkg = perfect(data)
    assert bkg.detect(threshold=0.5).n_labels == len(STARS)
    with pytest.warns(NoDetectionsWarning, match='No sources were found'):
        assert bkg.detect(threshold=0.995) is None
    with pytest.raises(ValueError, match='threshold must be between 0 and 1'):
        bkg.detect(threshold=1.5)
    with pytest.raises(ValueError, match='false_discovery_rate must be between 0'):
        bkg.detection_mask(false_discovery_rate=0)
    # It is refused before the network runs on the flipped residual.
    assert '_false_discovery' not in vars(bkg)


@pytest.fixture
def checked(data, tiny_weights, make_correction, tmp_path):
    """Return a background whose weights know the flipped residual."""

    def checked(offset=0.0, slope=-1.0, **options):
        calibration = {
            'logit': [-6.0, 0.0],
            'probability': [0.001, 0.6],
            'correction': make_correction(offset=offset, excess=slope),
        }
        path = tmp_path / f'{offset}.safetensors'
        rewrite_header(load_weights(tiny_weights), path, calibration)
        return DiffusionBackground(data, weights=path, **options)

    return checked


def test_false_discovery_is_checked_at_first_use(checked):
    bkg = checked()
    bkg.detection_mask(threshold=0.5)
    assert 'false_discovery' not in bkg.meta
    mask = bkg.detection_mask(false_discovery_rate=0.3)
    result = bkg.meta['false_discovery']
    excess = np.log((result['flipped'] + 2) / (result['promised'] + 2))
    assert_allclose(result['log_odds_shift'], -max(excess, -1.0), atol=1e-3)
    assert result['promised'] > 0
    # a copy, and the same once more
    bkg.meta['false_discovery'].clear()
    again = pickle.loads(pickle.dumps(checked()))
    assert_array_equal(again.detection_mask(false_discovery_rate=0.3), mask)
    assert again.meta['false_discovery'] == bkg.meta['false_discovery'] == result


def test_false_discovery_moves_the_threshold(checked):
    less, as_is, more = (
        checked(offset, 0.0).detection_mask(false_discovery_rate=0.3).sum()
        for offset in (-9.0, 0.0, 9.0)
    )
    assert less <= as_is < more
    assert less == 0


def test_doubts_are_one_warning(checked, monkeypatch):
    """Once for each instance, and only where the promise is asked for."""
    monkeypatch.setattr(
        'bgrem.detections.find_doubts', lambda *_, **__: ['this', 'that']
    )
    bkg = checked(9.0)
    bkg.detection_mask(threshold=0.5)
    _ = bkg.background, bkg.background_uncertainty, bkg.detection_probability
    # nothing is found, nothing is promised
    hint = 'other weights may find sources here: this$'
    with pytest.warns(AstropyUserWarning, match=hint):
        bkg.detection_mask(false_discovery_rate=1e-9)
    bkg.detection_mask(false_discovery_rate=1e-9)
    match = 'far above the false_discovery_rate: this; that. Look at'
    with pytest.warns(AstropyUserWarning, match=match) as record:
        bkg.detect(false_discovery_rate=0.5)
    assert len(record) == 1
    assert record[0].filename == __file__
    bkg.detection_mask()
    pickle.loads(pickle.dumps(bkg)).detection_mask()
    with pytest.warns(AstropyUserWarning, match=match):
        checked(9.0).catalog(false_discovery_rate=0.5)


def test_normalization_may_change_afterwards(checked):
    factor = np.full(SHAPE, 0.5)
    bkg, other = (checked(normalization=factor) for _ in range(2))
    expected = bkg.detection_mask(false_discovery_rate=0.3)
    factor[:] = 1e-3
    assert_array_equal(other.detection_mask(false_discovery_rate=0.3), expected)


def test_catalog(perfect, data):
    bkg = perfect(data)
    table = bkg.catalog().to_table()
    assert len(table) == len(STARS)
    assert_allclose(np.sort(table['x_centroid']), sorted(x for _, x in STARS), atol=0.1)
    # unclipped: the flux of 2 pi sigma^2 x peak within the footprint
    assert_allclose(table['segment_flux'], 500 * 4 * np.pi, rtol=0.05)
    assert_allclose(table['detection_probability'], 0.99)
    again = bkg.catalog(bkg.detect(threshold=0.5), effective_gain=1.0).to_table()
    assert np.all(again['segment_flux_err'] > table['segment_flux_err'])


def test_catalog_of_nddata(perfect, data):
    """Unit and world coordinates of the input reach the catalog."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = 'RA---TAN', 'DEC--TAN'
    bkg = perfect(CCDData(data, unit=u.Jy, wcs=wcs))
    table = bkg.catalog().to_table()
    assert table['segment_flux'].unit == u.Jy
    assert table['sky_centroid'][0] is not None


def test_error(make, data):
    """The error map of a noisy column reaches the network, not the sky maps."""
    noise = np.full(SHAPE, 2.0)
    noise[:, 60:64] = 10
    data[:, 60:64] += 4.9 * np.random.default_rng(2).normal(size=(SHAPE[0], 4)) * 2
    plain, given = make(data), make(data, error=noise)
    assert_allclose(given.background + given.source + given.noise, data)
    assert given.source[:, 60:64].std() > 0
    assert np.any(given.source != plain.source)
    same_as_parent(given, data - given.source, 32, rtol=1e-12)
    assert_array_equal(
        make(NDData(data, uncertainty=StdDevUncertainty(noise))).source, given.source
    )
    nddata = NDData(data, uncertainty=StdDevUncertainty(noise), mask=noise > 2)
    assert_array_equal(make(nddata, use_nddata_mask=False).source, plain.source)


def test_error_masks(make, data):
    error = np.full(SHAPE, 2.0)
    error[20:40, 30:50] = np.inf
    bkg = make(data, error=error, exclude_percentile=90)
    mask = make(data, mask=np.isinf(error), exclude_percentile=90)
    assert_array_equal(bkg.source[np.isinf(error)], 0)
    assert_array_equal(bkg.background, mask.background)


def test_error_in_promise(checked):
    """The flipped residual is divided by the same noise."""
    error = np.where(X < 40, 6.0, 2.0)
    bkg = checked(error=error)
    again = pickle.loads(pickle.dumps(bkg))
    mask = bkg.detection_mask(false_discovery_rate=0.3)
    assert_array_equal(again.detection_mask(false_discovery_rate=0.3), mask)
    assert bkg._detector['error'].dtype == np.float64


@pytest.mark.parametrize('unit', [None, u.electron])
def test_catalog_error(perfect, data, unit):
    """The total error is that of the fluxes, as it is."""

    def with_unit(values, unit=unit):
        return values if unit is None else values << unit

    error = np.random.default_rng(3).uniform(2, 20, SHAPE)
    image = with_unit(data)
    for bkg, options in (
        (perfect(image, error=error), {}),
        (perfect(image, error=with_unit(error)), {}),
        (perfect(image), {'error': with_unit(error)}),
        (perfect(image, error=5 * error), {'error': error}),
    ):
        segments = bkg.detect(threshold=0.5)
        table = bkg.catalog(segments, **options).to_table()
        expected = [
            np.sqrt(np.sum(error[segments.data == label] ** 2))
            for label in segments.labels
        ]
        assert_allclose(table['segment_flux_err'], with_unit(np.array(expected)))
        with pytest.raises(ValueError, match='effective_gain must be None if'):
            bkg.catalog(segments, effective_gain=1.0, **options)
    if unit is not None:
        with pytest.raises(u.UnitConversionError, match='must have the unit of the'):
            bkg.catalog(segments, error=error << u.Jy)


CATALOGS = [
    {},
    {'zero_point': 25.0, 'aperture_radii': [2, 3]},
    {'wcs': True, 'local_bkg_width': 8, 'effective_gain': 2.0},
]


@pytest.mark.parametrize('options', CATALOGS)
@pytest.mark.parametrize('unit', [None, u.Jy])
def test_catalog_of_nothing(perfect, data, options, unit):
    """It has the columns of that of something, and can be asked the same."""
    options = dict(options)
    if 'wcs' in options:
        options['wcs'] = WCS({'CTYPE1': 'RA---TAN', 'CTYPE2': 'DEC--TAN', 'CRVAL2': 20})
    image = data.astype(np.float32)
    image = image if unit is None else image << unit
    expected = perfect(image).catalog(**options).to_table()
    bkg = perfect(image, n_sources=0)
    with pytest.warns(NoDetectionsWarning, match='No sources were found'):
        catalog = bkg.catalog(**options)
    for segments in (None, SegmentationImage(np.zeros(SHAPE, dtype=int))):
        if segments is not None:
            catalog = bkg.catalog(segments, **options)
        table = catalog.to_table()
        assert len(catalog) == len(table) == catalog.n_labels == 0
        assert table.colnames == expected.colnames
        for name in table.colnames:
            assert type(table[name]) is type(expected[name])
            for what in ('dtype', 'unit'):
                has = [getattr(one[name], what, None) for one in (table, expected)]
                assert has[0] == has[1], name
        assert catalog.kron_flux.size == catalog.gini.size == 0
        assert catalog.circular_photometry(3.0)[0].size == 0


@pytest.mark.parametrize(
    ('options', 'error', 'match'),
    [
        ({'zeropoint': 25}, TypeError, "'zeropoint': did you mean 'zero_point'"),
        ({'local_bkg': 8}, TypeError, "'local_bkg': did you mean 'local_bkg_width'"),
        ({'colour': 1}, TypeError, "unexpected keyword argument 'colour'$"),
        ({'zero_point': 'a'}, TypeError, 'zero_point must be a number'),
        ({'kron_params': (1,)}, ValueError, 'kron_params must have'),
        ({'local_bkg_width': -1}, ValueError, 'local_bkg_width must be >= 0'),
        ({'background': np.ones((2, 2))}, ValueError, 'background must have the same'),
        ({'aperture_correction': 'no'}, TypeError, 'must be True or False, got'),
        ({'error': np.ones((2, 2))}, ValueError, 'error must have the same shape'),
    ],
)
@pytest.mark.filterwarnings('ignore::photutils.utils.exceptions.NoDetectionsWarning')
def test_options_of_a_catalog_of_nothing(perfect, data, options, error, match):
    """They are refused as those of a catalog with rows."""
    for n_sources in (0, 4):
        with pytest.raises(error, match=match):
            perfect(data, n_sources=n_sources).catalog(**options)


@pytest.mark.parametrize('name', ['table.fits', 'table.ecsv', 'table.xml'])
def test_table_to_file_and_back(perfect, data, tmp_path, name):
    """Without a warning, and with units and all that says how it was made."""
    wcs = WCS({'CTYPE1': 'RA---TAN', 'CTYPE2': 'DEC--TAN', 'CRVAL2': 20})
    bkg = perfect(data << u.Jy)
    table = bkg.catalog(wcs=wcs, zero_point=25, threshold=0.9)[:3].to_table()
    if name.endswith('.xml'):  # which has no columns of coordinates, nor metadata
        del table['sky_centroid']
    table.write(tmp_path / name, format='votable' if name.endswith('.xml') else None)
    again = QTable.read(tmp_path / name)
    assert again.colnames == table.colnames
    for column in table.colnames:
        assert getattr(again[column], 'unit', 0) == getattr(table[column], 'unit', 0)
    if not name.endswith('.xml'):
        assert dict(again.meta) == dict(table.meta)
        assert again.meta['BGREMWTS'] == bkg.meta['weights']
        assert (again.meta['BGREMTHR'], again.meta['MAGZERO']) == (0.9, 25)
        assert again.meta['KRONPAR'] == '(2.5, 1.4, 0.0)'
        age = datetime.now(UTC) - datetime.fromisoformat(f'{again.meta["DATE"]}+00:00')
        assert timedelta(0) <= age < timedelta(hours=1)
        assert again.meta['DATE'][10] == 'T'


def test_what_a_table_says_of_its_detections(perfect, data):
    bkg = perfect(data)
    assert bkg.catalog(false_discovery_rate=0.2).to_table().meta['BGREMFDR'] == 0.2
    meta = (
        bkg.catalog(threshold=np.float32(0.5), kron_params=np.array([2.5, 1.4, 0]))
        .to_table()
        .meta
    )
    assert (meta['BGREMTHR'], meta['KRONPAR']) == (0.5, '(2.5, 1.4, 0.0)')
    meta = bkg.catalog(bkg.detect(threshold=0.9)).to_table().meta
    assert not {'BGREMFDR', 'BGREMTHR', 'MAGZERO'} & set(meta)


@pytest.mark.parametrize(
    ('method', 'name', 'meant'),
    [
        ('detect', 'fdr', 'false_discovery_rate'),
        ('detect', 'npixels', 'n_pixels'),
        ('detection_mask', 'foot_print', 'footprint'),
        ('catalog', 'zeropoint', 'zero_point'),
        ('catalog', 'gain', 'effective_gain'),
        ('catalog', 'apertures_radii', 'aperture_radii'),
        ('catalog', 'kron_param', 'kron_params'),
        ('finder', 'deblended', 'deblend'),
        ('subtract', 'de_noise', 'denoise'),
    ],
)
def test_near_misses_of_methods(perfect, data, method, name, meant):
    match = f'^{method}\\(\\) got an unexpected .* {name!r}: did you mean {meant!r}'
    with pytest.raises(TypeError, match=match):
        getattr(perfect(data), method)(**{name: 1})


def test_a_mask_of_a_background_has_its_boxes(make, data):
    match = r"options \['box_size'\] cannot change a background that already exists"
    with pytest.raises(TypeError, match=match):
        make_detection_mask(make(data), 32)


@pytest.mark.parametrize('name', ['foot_print', 'boxsize', 'fdr'])
def test_near_misses_of_the_mask(data, tiny_weights, name):
    with pytest.raises(TypeError, match=rf'^\w+\(\) got .* {name!r}: did you mean'):
        make_detection_mask(data, weights=tiny_weights, **{name: 1})


@pytest.mark.parametrize(
    ('method', 'name'),
    [('detect', 'deblend'), ('finder', 'deblend'), ('subtract', 'denoise')],
)
def test_flags_of_methods(perfect, data, method, name):
    with pytest.raises(TypeError, match=f"{name} must be True or False, got 'no'"):
        getattr(perfect(data), method)(**{name: 'no'})


def test_make_detection_mask(make, data, tiny_weights):
    bkg = make(data, 'auto')
    for threshold in (None, 0.01):
        expected = bkg.detection_mask(threshold=threshold)
        assert_array_equal(make_detection_mask(bkg, threshold=threshold), expected)
        result = make_detection_mask(data, threshold=threshold, weights=tiny_weights)
        assert_array_equal(result, expected)
    match = r"options \['weights'\] cannot change a background that already exists"
    with pytest.raises(TypeError, match=match):
        make_detection_mask(bkg, weights=tiny_weights)


def test_plot(perfect, data):
    plt = pytest.importorskip('matplotlib.pyplot')
    figure = perfect(data).plot()
    assert len(figure.axes) >= 6
    plt.close(figure)


def test_counts(make):
    """With any weights the sky of counts lies between nothing and what they are."""
    data = np.random.default_rng(5).poisson(0.05, (128, 160)).astype('f4')
    bkg = make(data)
    assert bkg.background.min() >= 0
    assert bkg.background.max() <= data.mean() * 1.5
    assert bkg.background.mean() <= data.mean()
    assert 0 <= bkg.source.sum() <= data.sum()
    assert_allclose(bkg.background_rms_median, np.sqrt(0.05), rtol=0.1)
    same_as_parent(
        bkg,
        data - bkg.source,
        32,
        sigma_clip=bkg.sigma_clip,
        bkg_estimator=bkg.bkg_estimator,
        bkg_rms_estimator=bkg.bkg_rms_estimator,
    )
    assert 'CountsClip' in repr(bkg)
    assert_array_equal(pickle.loads(pickle.dumps(bkg)).background, bkg.background)
    # what the caller gives is the caller's
    given = make(data, sigma_clip=None)
    assert given.sigma_clip is None
    assert isinstance(given.bkg_estimator, SExtractorBackground)
    assert np.all(bkg.background_uncertainty > 0)


@pytest.mark.parametrize('counts', [0.1, 5])
def test_few_counts_want_other_weights(counts):
    """Said once, with the first detections, and not where photons are many."""
    y, x = np.mgrid[:96, :96]
    star = 300 / (2 * np.pi * 1.5**2) * np.exp(-(np.hypot(y - 40, x - 50) ** 2) / 4.5)
    bkg = DiffusionBackground(np.random.default_rng(2).poisson(counts + star))
    if counts < 1:
        with pytest.warns(AstropyUserWarning, match='counts, which .*fermi-lat'):
            bkg.detect()
    assert bkg.detect().data[40, 50] > 0


@pytest.mark.slow
@pytest.mark.parametrize('counts', [0.01, 0.03, 0.1, 0.5, 2, 20])
def test_blank_counts(counts):
    """Sky and noise of blank images of photons, with the shipped weights."""
    data = np.random.default_rng(8).poisson(counts, (256, 256))
    bkg = DiffusionBackground(data, 32)
    error = (bkg.background - data.mean()) / np.sqrt(counts)
    assert abs(np.mean(error)) < 0.03
    assert np.all(bkg.background >= 0)
    assert_allclose(np.mean(bkg.background_rms), np.sqrt(counts), rtol=0.05)
    assert bkg.source.sum() <= data.sum()


@pytest.mark.parametrize('unit', [None, u.adu])
def test_remove_stripes(make, data, unit):
    """Stripes are sky: photometry does not see them, and the noise is without."""
    rows = 6 * np.random.default_rng(2).normal(size=SHAPE[0])
    rows -= rows.mean()
    striped = (data + rows[:, None]) << unit if unit else data + rows[:, None]
    coverage = Y < 5
    options = {'remove_stripes': True, 'coverage_mask': coverage, 'fill_value': -1.0}
    bkg = make(striped, exclude_percentile=50, **options)
    found = u.Quantity(bkg.background).value
    assert_array_equal(found[coverage], -1)
    assert np.std((found - rows[:, None])[~coverage]) < 1
    assert np.std(found[~coverage]) > 5
    background = bkg.background
    assert_allclose((bkg.subtract() + background)[~coverage], striped[~coverage])
    assert_allclose(bkg.subtract(striped)[~coverage], bkg.subtract()[~coverage])
    total = bkg.noise + bkg.source + background
    assert_allclose(total[~coverage], striped[~coverage])
    assert u.Quantity(bkg.background_rms_median).value < 2.3
    plain = make(striped, exclude_percentile=50)
    assert u.Quantity(plain.background_rms_median).value > 3.5
    assert bkg.meta['remove_stripes']
    assert not plain.meta['remove_stripes']
    again = pickle.loads(pickle.dumps(bkg))
    assert_array_equal(again.background, background)


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_saturation_beside_stripes(make, data, dtype):
    """The level is that of the image as it was given, stripes and all."""
    rows = 6 * np.random.default_rng(2).normal(size=SHAPE[0])
    full = np.minimum(data + rows[:, None], 200.7).astype(dtype)
    labels = np.zeros(SHAPE, dtype=int)
    for label, (y, x) in enumerate(STARS, start=1):
        labels[y - 3 : y + 4, x - 3 : x + 4] = label
    segments = SegmentationImage(labels)
    bkg = make(full, remove_stripes=True)
    for level in (200.7, 200.8):
        flags = bkg.catalog(segments, saturation=level).detection_flags
        is_full = [full[labels == k].max() >= dtype(level) for k in segments.labels]
        assert_array_equal(flags & 1, is_full)
        assert any(is_full) == (level == 200.7)
