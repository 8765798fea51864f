"""Tests of DiffusionBackground.finder with photutils' PSF photometry."""

import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.utils.exceptions import AstropyUserWarning
from numpy.testing import assert_allclose, assert_array_equal
from photutils.psf import CircularGaussianPRF, IterativePSFPhotometry, PSFPhotometry
from photutils.utils.exceptions import NoDetectionsWarning

from bgrem import DiffusionBackground

SHAPE = (140, 140)
FWHM = 3.2
SKY, NOISE, FLUX = 100.0, 5.0, 6000.0
# pairs at less than a FWHM: one peak of the light
FIRST = [(x, y) for x in (25.2, 70.4, 114.9) for y in (24.7, 70.0, 115.3)]
SECOND = [(x + 2.2, y - 1.4) for x, y in FIRST]


def paint(places, flux):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return sum(
        CircularGaussianPRF(flux=flux, x_0=x0, y_0=y0, fwhm=FWHM)(x, y)
        for x0, y0 in places
    )


@pytest.fixture(scope='module')
def stars():
    return paint(FIRST, FLUX), paint(SECOND, 0.3 * FLUX)


@pytest.fixture(scope='module')
def noise():
    return np.random.default_rng(3).normal(0, NOISE, SHAPE)


@pytest.fixture(scope='module')
def bkg(stars, noise):
    return DiffusionBackground(SKY + sum(stars) + noise, 64)


@pytest.fixture(scope='module')
def finder(bkg):
    return bkg.finder(false_discovery_rate=0.01)


def distance(table, places):
    found = np.column_stack([table['x'], table['y']])
    return np.array([np.hypot(*(found - place).T).min() for place in places])


def test_it_finds_what_it_is_given(bkg, finder, stars, noise):
    """The image, that without the first stars, and noise: nothing is remembered."""
    table = finder(bkg.subtract())
    assert distance(table, FIRST).max() < 1.2
    assert len(table) < 12
    left = finder(stars[1] + noise)
    assert distance(left, SECOND).max() < 0.5
    assert len(left) <= 10
    with pytest.warns(NoDetectionsWarning, match='No sources were found'):
        assert finder(noise) is None
    again = finder(bkg.subtract())
    for name in table.colnames:
        assert_array_equal(again[name], table[name])


def test_table(finder, stars, noise):
    """In reading order, with fluxes; the sky does not matter."""
    table = finder(stars[0] + noise)
    assert table.colnames == [
        'id', 'x', 'y', 'x_err', 'y_err', 'flux', 'detection_probability'
    ]  # fmt: skip
    assert_array_equal(table['id'], np.arange(1, len(table) + 1))
    assert np.all(np.diff(table['y']) > -3)
    assert_allclose(table['flux'], FLUX, rtol=0.15)
    pulls = distance(table, FIRST) / np.hypot(table['x_err'], table['y_err'])
    assert pulls.max() < 3
    with_sky = finder(stars[0] + noise + 1000)
    assert_allclose(with_sky['x'], table['x'], atol=0.05)
    assert_allclose(with_sky['flux'], table['flux'], rtol=0.02)


def test_the_noise_is_that_of_the_image(finder, stars, noise):
    """Not that of what it is given, which may have less."""
    quiet = 0.1 * noise
    for kind in stars:
        assert len(finder(kind + quiet)) == 9
        with pytest.warns(NoDetectionsWarning, match='No sources were found'):
            assert finder(3e-3 * kind + quiet) is None
    own = DiffusionBackground(3e-2 * stars[1] + quiet, 64)
    assert len(own.finder()(3e-2 * stars[1] + quiet)) >= 9


def test_mask(finder, stars, noise):
    mask = np.zeros(SHAPE, dtype=bool)
    mask[:50] = True
    data = stars[0] + noise
    data[mask] = np.nan
    table = finder(data, mask=mask)
    assert np.all(table['y'] > 50)
    assert distance(table, [place for place in FIRST if place[1] > 50]).max() < 0.2


def test_options(bkg, stars, noise):
    data = stars[0] + noise
    loose, strict = (len(bkg.finder(threshold=p)(data)) for p in (0.01, 0.9))
    assert loose > strict >= 9
    assert bkg.finder(threshold=0.9, n_pixels=10_000).__class__.__name__ in repr(
        bkg.finder(threshold=0.9)
    )
    with pytest.warns(NoDetectionsWarning, match='No sources were found'):
        assert bkg.finder(threshold=0.9, n_pixels=10_000)(data) is None
    with pytest.raises(ValueError, match='false_discovery_rate must be between'):
        bkg.finder(false_discovery_rate=2)
    with pytest.raises(ValueError, match='threshold must be between'):
        bkg.finder(threshold=-1)
    with pytest.raises(ValueError, match='n_pixels must be a positive integer'):
        bkg.finder(threshold=0.5, n_pixels=0)


def test_other_shape(finder):
    with pytest.raises(ValueError, match=r'data must have the shape of the image, \('):
        finder(np.zeros((20, 30)))


def test_units(stars, noise):
    data = stars[0] + noise
    bkg = DiffusionBackground((SKY + data) * u.Jy, 64)
    plain = DiffusionBackground(SKY + data, 64).finder()(data)
    table = bkg.finder()(data * 1e3 << u.mJy)
    assert table['flux'].unit == u.Jy
    assert_allclose(table['x'], plain['x'], atol=1e-3)
    with pytest.raises(u.UnitConversionError, match='data must have the unit of'):
        bkg.finder()(data << u.s)


def test_psf_photometry(bkg, finder):
    photometry = PSFPhotometry(
        CircularGaussianPRF(fwhm=FWHM), (7, 7), finder=finder, aperture_radius=4
    )
    table = photometry(bkg.subtract(), error=bkg.background_rms)
    assert len(table) == len(finder(bkg.subtract()))
    assert np.all(table['flux_fit'] > 0.8 * FLUX)


def test_iterative_psf_photometry(bkg, finder):
    """The second pass sees what the first has left."""
    photometry = IterativePSFPhotometry(
        CircularGaussianPRF(fwhm=FWHM), (7, 7), finder, aperture_radius=4, maxiters=2
    )
    with warnings.catch_warnings():
        # a fit of noise need not converge
        warnings.simplefilter('ignore', AstropyUserWarning)
        table = photometry(bkg.subtract(), error=bkg.background_rms)
    later = table[table['iter_detected'] == 2]
    places = np.column_stack([later['x_fit'], later['y_fit']])
    far = [np.hypot(*(places - place).T).min() for place in SECOND]
    assert np.mean(np.array(far) < FWHM / 2) > 0.7
