"""Test the curve of growth of the image's own stars."""

import numpy as np
import pytest
from astropy import units as u
from astropy.utils.exceptions import AstropyUserWarning
from numpy.testing import assert_allclose
from photutils.segmentation import SegmentationImage

from bgrem.detect.catalog import catalog
from bgrem.detect.growth import light_fraction, star_growth
from bgrem.detect.segments import segment

SHAPE = (200, 220)
FWHM = 4.0
FLUX = 5000.0
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]
PLACES = [(40, 40), (40, 120), (100, 60), (110.3, 150.6), (160, 100)]


def gaussian(y, x, fwhm=FWHM):
    variance = (fwhm / 2.3548) ** 2
    return np.exp(-((Y - y) ** 2 + (X - x) ** 2) / (2 * variance)) / (
        2 * np.pi * variance
    )


def expected(radius):
    """Known answer: the light of a Gaussian within a radius, of that within 3 FWHM."""
    inside = 1 - 2.0 ** (-((2 * radius / FWHM) ** 2))
    return inside / (1 - 2.0**-36)


@pytest.fixture
def measure():
    """Return a catalog of an image without noise, and what it is made of."""

    def measure(source, places=PLACES, **options):
        probability = np.full(SHAPE, 1e-4, dtype=np.float32)
        for y, x in places:
            probability[round(y), round(x)] = 0.995
        rms = np.ones(SHAPE)
        unit = getattr(source, 'unit', 1)
        plain = getattr(source, 'value', source)
        segmentation_image = segment(plain, probability, rms, threshold=0.5)
        result = catalog(
            source,
            segmentation_image,
            source=source,
            probability=probability,
            background_rms=rms * unit,
            **options,
        )
        return plain, segmentation_image, result

    return measure


@pytest.fixture
def stars():
    return FLUX * sum(gaussian(y, x) for y, x in PLACES)


class TestStarGrowth:
    def test_known_answer(self, measure, stars):
        radius, fraction = star_growth(*measure(stars))
        assert fraction[0] == 0
        assert fraction[-1] == 1
        assert_allclose(radius[-1], 3 * FWHM, rtol=0.05)
        assert_allclose(fraction, expected(radius), atol=0.015)

    def test_neighbours_do_not_count(self, measure, stars):
        """Neither those that are known nor those that are not."""
        near = FLUX * gaussian(40, 49) + FLUX * gaussian(100, 70)
        hidden = 0.3 * FLUX * gaussian(160, 92)
        source = measure(stars + near + hidden, [*PLACES, (40, 49), (100, 70)])
        radius, fraction = star_growth(*source)
        assert_allclose(fraction, expected(radius), atol=0.02)

    def test_galaxies_do_not_count(self, measure, stars):
        galaxies = sum(
            3 * FLUX * gaussian(y, x, 3 * FWHM) for y, x in ((100, 105), (60, 180))
        )
        source = measure(stars + galaxies, [*PLACES, (100, 105), (60, 180)])
        radius, fraction = star_growth(*source)
        assert_allclose(fraction, expected(radius), atol=0.02)

    @pytest.mark.parametrize('scale', [0.02, 0])
    def test_no_bright_star(self, measure, stars, scale):
        radius, fraction = star_growth(*measure(scale * stars))
        assert radius.size == fraction.size == 0

    def test_stars_on_the_border(self, measure):
        places = [(5, 40), (40, 5), (195, 60), (100, 215)]
        source = FLUX * sum(gaussian(y, x) for y, x in places)
        assert star_growth(*measure(source, places))[0].size == 0

    @pytest.mark.parametrize('side', range(4))
    @pytest.mark.parametrize(('distance', 'is_known'), [(10.5, False), (14.0, True)])
    def test_the_whole_circle_is_in_the_image(self, measure, side, distance, is_known):
        """Three FWHM from any border, and no less."""
        height, width = SHAPE
        along = np.array([40.0, 90.0, 150.0])
        across = np.full(3, distance)
        y, x = [
            (across, along), (along, across),
            (height - 1 - across, along), (along, width - 1 - across),
        ][side]  # fmt: skip
        places = list(zip(y, x, strict=True))
        source = FLUX * sum(gaussian(*place) for place in places)
        assert (star_growth(*measure(source, places))[0].size > 0) == is_known


class TestTotalFlux:
    def test_total_flux(self, measure, stars):
        _, _, result = measure(stars, aperture_correction=True)
        assert_allclose(result.total_flux, FLUX, rtol=0.01)
        # a smaller aperture and a larger correction
        _, _, small = measure(stars, aperture_correction=True, kron_params=(1.2, 0.1))
        assert np.all(small.kron_flux < 0.9 * result.kron_flux)
        assert_allclose(small.total_flux, FLUX, rtol=0.02)
        assert_allclose(
            small.total_flux_err / small.kron_flux_err,
            small.total_flux / small.kron_flux,
        )
        table = result.to_table()
        assert_allclose(table['total_flux'], result.total_flux)
        assert table.colnames[-2:] == ['total_flux', 'total_flux_err']

    def test_unit(self, measure, stars):
        _, _, result = measure(stars * u.nJy, aperture_correction=True)
        assert result.total_flux.unit == u.nJy
        assert_allclose(result.total_flux.value, FLUX, rtol=0.01)

    def test_not_asked_for(self, measure, stars):
        assert 'total_flux' not in measure(stars)[2].to_table().colnames

    def test_no_star(self, measure, stars):
        with pytest.warns(AstropyUserWarning, match='no star in the image'):
            _, _, result = measure(0.02 * stars, aperture_correction=True)
        assert np.all(np.isnan(result.total_flux))
        assert np.all(np.isfinite(result.kron_flux))


def test_light_fraction():
    """A circle of the same area; all of the light outside the curve."""
    from photutils.aperture import CircularAperture, EllipticalAperture

    apertures = [
        CircularAperture((9, 9), 2),
        EllipticalAperture((9, 9), 4, 1),
        CircularAperture((9, 9), 50),
        None,
    ]
    radius = np.array([0.0, 1, 2, 3])
    fraction = light_fraction(apertures, radius, np.array([0, 0.3, 0.8, 1]))
    assert_allclose(fraction, [0.8, 0.8, 1, np.nan])


def test_one_source(measure):
    source = FLUX * gaussian(100, 100)
    plain, segmentation_image, result = measure(source, [(100, 100)])
    assert isinstance(segmentation_image, SegmentationImage)
    # three stars at least say how wide a star is
    assert star_growth(plain, segmentation_image, result)[0].size == 0
