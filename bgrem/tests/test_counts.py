# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of DiffusionBackground with weights of counts."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal
from photutils.background import MedianBackground
from photutils.segmentation import SegmentationImage

from bgrem import DiffusionBackground
from bgrem.pipeline import separate

SHAPE = (90, 110)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]


@pytest.fixture
def rng():
    return np.random.default_rng(31)


@pytest.fixture
def make(counts_weights):
    """Return the class with the tiny weights of counts."""

    def make(data, box_size='auto', **options):
        return DiffusionBackground(data, box_size, weights=counts_weights, **options)

    return make


@pytest.fixture
def segments():
    labels = np.zeros(SHAPE, dtype=int)
    labels[40:51, 50:61] = 1
    return SegmentationImage(labels)


def as_map(values, unit='', wcs=None):
    """Return what gammapy's WcsNDMap has of names."""
    geom = SimpleNamespace(wcs=wcs)
    return SimpleNamespace(data=values, unit=u.Unit(unit), geom=geom)


@pytest.mark.parametrize('mean', [0.003, 0.3, 20.0, 1e6])
def test_sky_in_counts(rng, make, mean):
    data = rng.poisson(mean, SHAPE)
    bkg = make(data)
    error = np.sqrt(mean / data.size)
    assert_allclose(bkg.background.mean(), mean, atol=5 * error + 0.3 * mean)
    if mean > 1e3:  # so many photons leave nothing to the network
        total = (bkg.background + bkg.source).mean()
        assert_allclose(total, data.mean(), rtol=0.01)
    assert bkg.background.min() >= 0
    assert_allclose(bkg.background_rms**2, bkg.background, rtol=0.05)
    assert_allclose(bkg.background_rms_mesh**2, bkg.background_mesh, rtol=1e-5)
    assert np.all(bkg.background_uncertainty > 0)
    assert_allclose(bkg.background + bkg.source + bkg.noise, data, rtol=1e-5, atol=1e-5)
    assert bkg.meta['weights'] == 'tiny-counts'
    assert bkg.meta['boxes'] == 'auto'


@pytest.mark.parametrize('dtype', ['i2', '>f4', 'f8', bool])
def test_nothing_there(make, dtype):
    bkg = make(np.zeros(SHAPE, dtype=dtype))
    for name in ('background', 'background_rms', 'source', 'detection_probability'):
        values = getattr(bkg, name)
        assert np.isfinite(values).all()
        assert values.min() >= 0
    assert bkg.background.max() < 1e-3


def test_one_photon(make):
    data = np.zeros(SHAPE)
    data[30, 40] = 1
    bkg = make(data)
    assert np.isfinite(bkg.background).all()
    assert_allclose(bkg.background.sum(), 1, atol=1)


def test_box_of_the_caller(rng, make):
    data = rng.poisson(3.0, SHAPE)
    bkg = make(data, 30)
    assert_array_equal(bkg.box_size, [30, 30])
    assert bkg.background_mesh.shape == (3, 4)
    assert_allclose(bkg.background, 3, atol=0.3)
    assert_allclose(bkg.background_rms_mesh**2, bkg.background_mesh, rtol=1e-5)
    median = make(data, 30, bkg_estimator=MedianBackground(), sigma_clip=None)
    assert_allclose(median.background_mesh, 3, atol=0.2)
    chosen = make(data, 'auto', filter_size=3)
    assert chosen.box_size[0] > 4
    assert_allclose(chosen.background, 3, atol=0.3)


def test_exposure(rng, make, segments):
    exposure = np.where(X < 55, 4e11, 1e11)
    exposure[:, 80:84] = 0
    exposure[5, 5] = np.nan
    data = rng.poisson(6.0 * np.nan_to_num(exposure) / 4e11)
    bkg = make(data, exposure=exposure << u.Unit('cm2 s'))
    assert_allclose(bkg.background[:, :45].mean(), 6, rtol=0.2)
    assert_allclose(bkg.background[:, 90:].mean(), 1.5, rtol=0.2)
    assert bkg.source[:, 80:84].max() == 0
    catalog = bkg.catalog(segments)
    assert_allclose(catalog.exposure.value, 4e11 if catalog.x[0] < 54.5 else 1e11)
    assert_allclose(catalog.flux, catalog.segment_flux / catalog.exposure)
    assert_allclose(catalog.flux_err, catalog.segment_flux_err / catalog.exposure)
    assert catalog.flux.unit == u.Unit('1 / (cm2 s)')
    assert 'flux' in catalog.to_table().colnames
    relative = make(data, exposure=exposure / 4e11)
    assert_allclose(relative.background, bkg.background, rtol=1e-5)
    assert 'exposure' not in make(data).catalog(segments).to_table().colnames


def test_errors_of_counts(rng, make, segments):
    """The photons of a source are its noise; all its pixels share the sky's error."""
    data = rng.poisson(2 + 100 * np.exp(-((Y - 45) ** 2 + (X - 55) ** 2) / 8))
    bkg = make(data)
    catalog = bkg.catalog(segments)
    photons = data[segments.data > 0].sum()
    of_sky = bkg.background_uncertainty[segments.data > 0].sum()
    assert_allclose(catalog.segment_flux_err, np.hypot(photons**0.5, of_sky), rtol=0.1)
    assert catalog[0].segment_flux_err == catalog.segment_flux_err[0]
    plain = np.hypot(bkg.background_rms, np.sqrt(np.maximum(bkg.subtract(), 0)))
    given = bkg.catalog(segments, error=plain)
    assert_allclose(given.segment_flux_err, np.sqrt(photons), rtol=0.1)
    circle, of_photons = (one.circular_photometry(4.0)[1] for one in (catalog, given))
    assert of_photons < circle < np.hypot(of_photons, of_sky)
    assert (catalog.kron_flux_err > given.kron_flux_err).all()


def test_other_image_of_counts(rng, make, segments, tiny_weights):
    """Its own photons and exposure, whatever has found the sources."""
    data = rng.poisson(2 + 100 * np.exp(-((Y - 45) ** 2 + (X - 55) ** 2) / 8))
    exposure = np.full(SHAPE, 3.0)
    bkg = make(data, exposure=exposure)
    expected = bkg.catalog(segments).to_table()
    other = make(data, exposure=5 * exposure)
    for finder in (other, make(data), DiffusionBackground(data, weights=tiny_weights)):
        table = finder.catalog(segments, data=bkg).to_table()
        assert_array_equal(table['exposure'], 3)
        for name in ('flux', 'flux_err', 'segment_flux', 'segment_flux_err'):
            assert_allclose(table[name], expected[name])
        if finder is other:
            assert_allclose(table['x_err'], expected['x_err'])
    # of an array neither is known
    table = bkg.catalog(segments, data=bkg.subtract()).to_table()
    assert 'exposure' not in table.colnames
    assert np.isnan(table['segment_flux_err']).all()


def test_map_of_gammapy(rng, make):
    """It comes in with its WCS; more than one energy bin is no image."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ['GLON-CAR', 'GLAT-CAR']
    wcs.wcs.cdelt = [-0.1, 0.1]
    data = rng.poisson(2.0, SHAPE).astype('f4')
    bkg = make(
        as_map(data[None], wcs=wcs),
        exposure=as_map(np.full((1, *SHAPE), 3e11), 'cm2 s'),
    )
    plain = make(data)
    assert_allclose(bkg.background, plain.background, rtol=1e-6)
    assert bkg.to_nddata().wcs is wcs
    assert make(as_map(data, 'ct')).background.unit == u.ct
    with pytest.raises(ValueError, match='data must be a 2D array, got 3 dim'):
        make(as_map(np.stack([data, data])))


def test_hidden_pixels(rng, make):
    data = rng.poisson(2.0, SHAPE).astype(float)
    mask = np.zeros(SHAPE, dtype=bool)
    mask[20:30, 20:60] = True
    bkg = make(data, mask=mask)
    data[mask] = 1e5
    again = make(data, mask=mask)
    assert_array_equal(bkg.background, again.background)
    assert_array_equal(bkg.source, again.source)
    assert bkg.source[mask].max() == 0
    assert_allclose(bkg.background[mask], 2, atol=0.5)


def test_pickle_and_n_symmetries(rng, make):
    data = rng.poisson(0.5, SHAPE)
    bkg = make(data, n_symmetries=8)
    assert_array_equal(pickle.loads(pickle.dumps(bkg)).background, bkg.background)
    turned = make(data[::-1, ::-1].T, n_symmetries=8)
    assert_allclose(turned.source[::-1, ::-1].T, bkg.source, atol=0.02)


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        ({'n_steps': 3}, 'n_steps must be 1 or None'),
        ({'normalization': 'global'}, "normalization must be 'local'"),
        ({'normalization': np.ones(SHAPE)}, "normalization must be 'local'"),
        ({'remove_stripes': True}, 'remove_stripes must be False'),
        ({'exposure': np.zeros(SHAPE)}, 'exposure must be positive'),
        ({'exposure': np.ones((3, 3))}, 'exposure must have the shape'),
    ],
)
def test_bad_options(make, options, match):
    with pytest.raises(ValueError, match=match):
        make(np.ones(SHAPE), **options)


def test_what_is_no_counts(make, tiny_weights, rng):
    with pytest.raises(ValueError, match='data must be counts'):
        make(rng.normal(0, 1, SHAPE))
    for unit in ('ct / s', 'Jy', 'ct / arcsec2', '1000 ct', 'percent'):
        with pytest.raises(ValueError, match='data must be counts.*, got the unit'):
            make(rng.poisson(1.0, SHAPE) * u.Unit(unit))
    with pytest.raises(ValueError, match='exposure needs weights for counts'):
        DiffusionBackground(
            np.ones(SHAPE), weights=tiny_weights, exposure=np.ones(SHAPE)
        )
    with pytest.raises(TypeError, match='exposure must be an array of real'):
        make(np.ones(SHAPE), exposure=np.full(SHAPE, 'a'))
    with pytest.raises(ValueError, match='finder needs weights'):
        make(rng.poisson(1.0, SHAPE)).finder()


def test_expected_counts(make, counts_weights):
    """An image without noise, as of a model, goes through the same weights."""
    data = 2 + 30 * np.exp(-((Y - 45) ** 2 + (X - 55) ** 2) / 8)
    found = separate(data, weights=counts_weights)
    assert np.isfinite(found.source).all()
    assert_allclose(found.sky[:20].mean(), 2, rtol=0.2)
