# Licensed under a 3-clause BSD style license - see LICENSE.rst
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal

from bgrem.cli.main import main as bgrem_main
from bgrem.simulate.__main__ import main
from bgrem.simulate.gamma import (
    FieldConfig,
    LatConfig,
    simulate_field,
    simulate_lat_patch,
)
from bgrem.simulate.gamma.canvas import Canvas
from bgrem.simulate.gamma.emission import (
    interstellar,
    power_law_field,
    scale_to_band,
)
from bgrem.simulate.gamma.lat import EXPOSURE_PER_YEAR
from bgrem.simulate.gamma.psf import EVENT_TYPES, analytic_psf, lat_psf
from bgrem.simulate.gamma.shapes import beta_model, shell
from bgrem.simulate.gamma.significance import (
    point_significance,
    significance_table,
    template_significance,
)
from bgrem.simulate.gamma.sources import (
    FLUX_LIMITS,
    draw_fluxes,
    draw_pulsar_fluxes,
    draw_remnant_fluxes,
    draw_remnant_radii,
    number_above,
    pulsar_density,
    pulsar_scale,
    remnant_density,
)
from bgrem.simulate.gamma.template import read_diffuse

PIXEL = 10 / 64
SOLID_ANGLE = np.radians(PIXEL) ** 2


def same_patches(one, other):
    names = ('counts', 'source', 'sky', 'exposure', 'psf')
    return all(np.array_equal(getattr(one, n), getattr(other, n)) for n in names)


class TestPSF:
    def test_lat_psf_of_the_mission(self):
        """Radii in degrees that the mission's livetime-weighted PSF has, 1-2 GeV."""
        psf = lat_psf()
        assert_allclose(PIXEL * psf.containment_radius(0.68), 0.63, rtol=0.02)
        assert_allclose(PIXEL * psf.containment_radius(0.95), 1.6, rtol=0.04)
        assert_allclose(PIXEL * psf.fwhm, 0.5, rtol=0.04)

    def test_event_types_are_in_order(self):
        radii = [lat_psf(event_type=f'PSF{n}').containment_radius(0.68) for n in '0123']
        assert radii == sorted(radii, reverse=True)
        front, back = (
            lat_psf(event_type=name).containment_radius(0.68)
            for name in ('FRONT', 'BACK')
        )
        assert front < lat_psf().containment_radius(0.68) < back

    def test_energy_and_pixels(self):
        assert lat_psf((10, 500)).fwhm < lat_psf((2, 20)).fwhm < lat_psf().fwhm
        fine = lat_psf(pixel_size=PIXEL / 2)
        assert_allclose(fine.fwhm, 2 * lat_psf().fwhm)
        assert_allclose(lat_psf(widening=1.5).fwhm, 1.5 * lat_psf().fwhm, rtol=0.01)

    def test_refused(self):
        with pytest.raises(ValueError, match='event_type must be among ALL, FRONT'):
            lat_psf(event_type='MIDDLE')
        with pytest.raises(ValueError, match='energy must be an ascending pair'):
            lat_psf(energy=(2, 1))
        with pytest.raises(ValueError, match='kind must be'):
            analytic_psf('airy', 2.0)

    @pytest.mark.parametrize('kind', ['gauss', 'moffat', 'king'])
    @pytest.mark.parametrize('fwhm', [1.2, 4.0, 10.0])
    def test_analytic(self, kind, fwhm):
        psf = analytic_psf(kind, fwhm)
        assert_allclose(psf.fwhm, fwhm, rtol=0.01)
        kernel = psf.kernel((64, 63))
        assert_allclose(kernel.sum(), 1)
        assert kernel.argmax() == 0
        assert_allclose(kernel[1:], kernel[:0:-1], atol=1e-12)

    def test_kernel_of_a_gaussian(self):
        """Pixels hold what the integral of the Gaussian says."""
        from scipy.special import erf

        sigma = 1.2 / np.sqrt(8 * np.log(2))
        edge = 0.5 / sigma / np.sqrt(2)
        kernel = analytic_psf('gauss', 1.2).kernel((32, 32))
        assert_allclose(kernel[0, 0], erf(edge) ** 2, rtol=0.01)
        side = (erf(3 * edge) - erf(edge)) / 2
        assert_allclose(kernel[0, 1], erf(edge) * side, rtol=0.01)


class TestCanvas:
    @pytest.mark.parametrize('fwhm', [1.2, 2.0, 3.3, 8.0])
    def test_points_are_where_they_are(self, fwhm):
        canvas = Canvas((40, 50), analytic_psf('gauss', fwhm))
        image = canvas.paint([20.3, 7.8], [11.6, 30.1], [100.0, 0.0])[canvas.inner]
        y, x = np.indices(image.shape)
        assert_allclose(image.sum(), 100, rtol=1e-3)
        assert_allclose((image * x).sum() / image.sum(), 20.3, atol=0.01)
        assert_allclose((image * y).sum() / image.sum(), 11.6, atol=0.01)

    @pytest.mark.parametrize('fwhm', [1.2, 3.3])
    def test_painted_and_smoothed_agree(self, fwhm):
        """In the middle of a pixel a point is the kernel."""
        canvas = Canvas((32, 32), analytic_psf('moffat', fwhm))
        painted = canvas.paint([10.0], [20.0], [1.0])
        smoothed = canvas.smooth(canvas.scatter([10.0], [20.0], [1.0]))
        assert_allclose(painted, smoothed, atol=2e-3 * canvas.kernel.max())

    def test_scatter_keeps_light_and_place(self):
        canvas = Canvas((32, 32), analytic_psf('gauss', 3.0))
        image = canvas.scatter([10.25, 3.0], [20.75, 3.0], [8.0, 0.0])[canvas.inner]
        assert_allclose(image.sum(), 8)
        y, x = np.indices(image.shape)
        assert_allclose([(image * x).sum() / 8, (image * y).sum() / 8], [10.25, 20.75])

    def test_much_light_outside_reaches_in(self):
        canvas = Canvas((32, 32), lat_psf())
        light = canvas.paint([-4.0], [16.0], [1000.0])[canvas.inner]
        assert 50 < light.sum() < 500
        assert light[:, :4].sum() > 10 * light[:, -4:].sum()


class TestSignificance:
    kernel = analytic_psf('gauss', 3.0).kernel((64, 64))

    def snr(self, counts, sky):
        table = significance_table(self.kernel)
        counts = np.atleast_1d(np.asarray(counts, float))
        return point_significance(table, counts, counts / sky)

    def test_matched_filter_on_a_bright_sky(self):
        expected = 100 * np.sqrt(np.sum(self.kernel**2) / 1e4)
        assert_allclose(self.snr(100, 1e4), expected, rtol=2e-3)

    @pytest.mark.parametrize(('counts', 'sky'), [(3, 0.003), (50, 1), (1e4, 30)])
    def test_as_the_template(self, counts, sky):
        expected = template_significance(
            counts * self.kernel, np.full_like(self.kernel, sky)
        )
        assert_allclose(self.snr(counts, sky), expected, rtol=5e-3)

    def test_one_photon_is_not_significant(self):
        assert self.snr(1, 0.003) < 3

    def test_flux_of_snr_5(self):
        """What the sky of the LAT allows, from the plane to the poles."""
        counts_per_pixel = np.array([2.5, 4.1, 7.1, 13, 31, 68])
        flux = np.array([1.8, 2.2, 2.8, 3.7, 5.5, 8.0]) * 1e-10
        canvas = Canvas((64, 64), lat_psf())
        counts = flux * 10 * EXPOSURE_PER_YEAR
        assert_allclose(
            canvas.significance(counts, counts / counts_per_pixel), 5, rtol=0.12
        )


class TestSources:
    def test_numbers_follow_the_law(self):
        area = 4 * np.pi
        flux = draw_fluxes(area, np.random.default_rng(1))
        assert flux.min() >= FLUX_LIMITS[0]
        assert flux.max() <= FLUX_LIMITS[1]
        for limit in (1e-12, 1e-11, 1e-10, 1e-9, 1e-8):
            expected = area * number_above(limit)
            assert abs((flux > limit).sum() - expected) < 4 * np.sqrt(expected)

    def test_slopes(self):
        # S**-2 and S**-3 in the differential number.
        ratio = (number_above(1e-11) - number_above(2e-11)) / (
            number_above(1e-10) - number_above(2e-10)
        )
        assert_allclose(ratio, 10)
        ratio = (number_above(1e-8) - number_above(2e-8)) / (
            number_above(1e-7) - number_above(2e-7)
        )
        assert_allclose(ratio, 100)

    def test_seven_above_1e_10_in_a_patch(self):
        assert_allclose(number_above(1e-10) * 64**2 * SOLID_ANGLE, 7.2, rtol=0.05)

    def test_pulsars(self):
        """More than half of them within 10 degrees of the plane."""
        lat = np.linspace(-90, 90, 18001)
        weight = np.cos(np.radians(lat))
        number = pulsar_density(lat) * weight
        near = number[np.abs(lat) < 10].sum() / number.sum()
        assert_allclose(near, 0.6, atol=0.05)
        total = np.sum(number) * 2 * np.pi * np.radians(0.01)
        assert 200 < total < 300
        flux = draw_pulsar_fluxes(20_000, np.random.default_rng(0))
        assert_allclose(np.median(flux), 1.7e-9, rtol=0.05)

    def test_spectrum_of_pulsars_ends(self):
        assert_allclose(pulsar_scale((1, 2)), 1)
        whole = pulsar_scale((1, 3)) + pulsar_scale((3, 9))
        assert_allclose(pulsar_scale((1, 9)), whole, rtol=1e-3)
        assert pulsar_scale((10, 500)) < scale_to_band((10, 500), 2.3) / 3

    def test_remnants_of_the_whole_sky(self):
        """The numbers of 3FHL and FGES, both above 10 GeV, to a factor of two."""
        lon, lat = np.meshgrid(np.arange(-179.5, 180), np.arange(-19.975, 20, 0.05))
        solid = np.radians(1) * np.radians(0.05) * np.cos(np.radians(lat))
        number = float(np.sum(remnant_density(lon, lat) * solid))
        rng = np.random.default_rng(3)
        flux = draw_remnant_fluxes(100_000, rng) * scale_to_band((10, 2000), 2.2)
        radius = draw_remnant_radii(100_000, rng)
        assert 70 < number * (flux > 7e-11).mean() < 280
        assert 23 <= number * ((flux > 1.5e-10) & (radius > 0.2)).mean() < 92
        assert_allclose(np.median(radius), (0.02 * 1.5) ** 0.5, rtol=0.05)


class TestEmission:
    def test_spectrum(self):
        assert_allclose(scale_to_band((1, 2)), 1)
        whole = scale_to_band((1, 3)) + scale_to_band((3, 9))
        assert_allclose(scale_to_band((1, 9)), whole)

    def test_symmetric_and_wrapped(self):
        lon = np.array([10.0, -10.0, 350.0, 370.0])
        assert_allclose(interstellar(lon, 5.0), interstellar(10.0, -5.0))

    def test_power_law_field(self):
        field = power_law_field((256, 256), -4.0, np.random.default_rng(2))
        power = np.abs(np.fft.fft2(field)) ** 2
        f = np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(256)]))
        low = power[(f > 0.02) & (f < 0.03)].mean()
        high = power[(f > 0.2) & (f < 0.3)].mean()
        assert_allclose(np.log10(low / high), 4, atol=0.3)
        assert_allclose([field.mean(), field.std()], [0, 1], atol=1e-6)

    @pytest.mark.parametrize(
        ('latitude', 'intensity'),
        [
            ((40, 90), 8.4e-7),
            ((20, 40), 1.4e-6),
            ((10, 20), 2.4e-6),
            ((5, 10), 4.3e-6),
            ((2, 5), 1.05e-5),
            ((0, 2), 2.3e-5),
        ],
    )
    def test_means_of_the_sky(self, latitude, intensity):
        config = LatConfig(shape=(12, 12), latitude=latitude, poisson=False)
        means = []
        for seed in range(150):
            patch = simulate_lat_patch(np.random.default_rng(seed), config)
            means.append((patch.counts / patch.exposure).mean() / SOLID_ANGLE)
        error = np.std(means) / len(means) ** 0.5
        assert abs(np.mean(means) - intensity) < 0.15 * intensity + 2 * error


class TestLatPatch:
    def test_reproducible(self):
        one, two, other = (
            simulate_lat_patch(np.random.default_rng(seed)) for seed in (1, 1, 2)
        )
        assert same_patches(one, two)
        assert not same_patches(one, other)
        assert one.meta == two.meta

    def test_expected_counts(self):
        config = LatConfig(poisson=False, years=(3.0, 3.0))
        patch = simulate_lat_patch(np.random.default_rng(3), config)
        assert_allclose(patch.counts, patch.sky + patch.source, rtol=1e-5)
        assert_allclose(patch.exposure, 3 * EXPOSURE_PER_YEAR, rtol=0.1)
        assert patch.counts.dtype == patch.exposure.dtype == np.float32
        assert_allclose(patch.psf.sum(), 1, rtol=1e-5)
        assert not patch.mask.any()

    def test_poisson_variance(self):
        """The same sky, photons drawn: chi-square is what it should be."""
        config = LatConfig(latitude=(30, 60))
        patch = simulate_lat_patch(np.random.default_rng(4), config)
        expected = patch.sky + patch.source
        assert_array_equal(patch.counts, np.round(patch.counts))
        chi = np.mean((patch.counts - expected) ** 2 / expected)
        assert_allclose(chi, 1, atol=4 * np.sqrt(3 / expected.size))
        assert_allclose(patch.counts.sum() / expected.sum(), 1, atol=0.04)

    def test_light_of_the_sources(self):
        """What is in the catalog is in the image, and hardly anything else."""
        config = LatConfig(latitude=(60, 90), poisson=False, shape=(128, 128))
        patch = simulate_lat_patch(np.random.default_rng(5), config)
        catalog = patch.catalog
        assert_allclose(patch.source.sum(), catalog['counts'].sum(), rtol=0.06)
        assert_allclose(catalog['counts'] / catalog['flux'], 4e11, rtol=0.1)
        assert (catalog['snr'] >= 1).all()
        assert (catalog['extent'] == 0).all()
        assert (np.diff(catalog['snr']) <= 0).all()
        for name in 'xy':
            assert catalog[name].min() > -0.5
            assert catalog[name].max() < 127.5

    def test_unresolved_sources_are_an_eighth_of_the_sky(self):
        """What stands below S/N 1 far from the plane is sky."""
        config = LatConfig(latitude=(60, 90), poisson=False, pulsars=False)
        fractions = []
        for seed in range(12):
            patch = simulate_lat_patch(np.random.default_rng(seed), config)
            seen = patch.catalog['flux'].min() if len(patch.catalog['flux']) else 1e-10
            light = 2.4e-8 * np.log(seen / FLUX_LIMITS[0]) * SOLID_ANGLE
            fractions.append(light * patch.exposure.mean() / patch.sky.mean())
        assert_allclose(np.mean(fractions), 1 / 8, rtol=0.2)

    def test_center_and_galactic_plane(self):
        config = LatConfig(center=(0, 0), poisson=False, pulsars=False)
        patch = simulate_lat_patch(np.random.default_rng(6), config)
        assert (patch.meta['lon'], patch.meta['lat']) == (0, 0)
        ridge, edge = patch.sky[30:34].mean(), patch.sky[[0, -1]].mean()
        assert 5 < ridge / edge < 40

    def test_bands_and_event_types(self):
        means = {
            name: simulate_lat_patch(
                np.random.default_rng(7),
                LatConfig(center=(90, 45), event_type=name, poisson=False),
            ).counts.mean()
            for name in ('ALL', 'PSF3', 'FRONT')
        }
        assert_allclose(means['PSF3'] / means['ALL'], 0.25, rtol=0.2)
        assert_allclose(means['FRONT'] / means['ALL'], 0.55, rtol=0.2)
        hard = LatConfig(center=(90, 45), energy=(10, 500), poisson=False)
        patch = simulate_lat_patch(np.random.default_rng(7), hard)
        assert patch.counts.mean() < 0.1 * means['ALL']

    def test_remnants_of_the_galactic_center(self):
        """As many sources of TS above 25 as 3FHL has there, and as bright ones."""
        config = LatConfig(
            center=(0, 0), shape=(100, 400), pixel_size=0.05, energy=(10, 2000),
            years=(5.5, 5.5), remnants=(1, 1), poisson=False,
        )  # fmt: skip
        patches = [simulate_lat_patch(np.random.default_rng(s), config) for s in (1, 2)]
        bright = [patch.catalog['snr'] > 4.5 for patch in patches]
        assert 10 <= np.mean([one.sum() for one in bright]) <= 32
        for patch, kept in zip(patches, bright, strict=True):
            assert 150 < patch.catalog['counts'][kept].max() < 3000
            extent = patch.catalog['extent'][kept] * config.pixel_size
            assert 0 < (extent > 0).mean() < 1
            assert extent.max() < 1.6

    def test_remnants_are_sources(self):
        """Those that stand out, and only they; without them the patch is the same."""
        config = LatConfig(
            center=(20, 0), energy=(10, 500), pixel_size=0.05, poisson=False
        )
        none, some = (
            simulate_lat_patch(np.random.default_rng(3), replace(config, remnants=one))
            for one in ((0, 0), (3, 3))
        )
        assert some.source.sum() > none.source.sum()
        assert (some.sky >= none.sky * (1 - 1e-5)).all()
        is_extended = some.catalog['extent'] > 0
        assert is_extended.any()
        assert (none.catalog['extent'] == 0).all()
        assert (some.catalog['snr'] >= 1).all()

    def test_diffuse_of_the_user(self):
        config = LatConfig(
            center=(30, 40), poisson=False, pulsars=False, source_scale=(1e-9, 1e-9)
        )
        patch = simulate_lat_patch(
            np.random.default_rng(8), config, diffuse=lambda lon, lat: 1e-5 + 0 * lon
        )
        assert patch.source.sum() == 0
        intensity = patch.sky / patch.exposure / SOLID_ANGLE
        assert_allclose(intensity, 1e-5 + 2.9e-7, rtol=0.005)

    def test_config(self):
        config = LatConfig(latitude=(10, 20), center=(3, 4), energy=(2, 20))
        assert LatConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
        assert LatConfig.from_dict(LatConfig().to_dict()) == LatConfig()
        for values, text in (
            ({'latitude': (20, 10)}, 'latitude must be an ascending pair'),
            ({'energy': (0, 1)}, 'energy must be positive'),
            ({'pixel_size': 0}, 'pixel_size must be positive'),
            ({'shape': (0, 10)}, 'shape must be two positive numbers'),
            ({'event_type': 'X'}, f'ALL, {", ".join(EVENT_TYPES)}'),
            ({'remnants': (-1, 1)}, 'remnants must not be negative'),
            ({'color': 1}, 'unknown keys'),
        ):
            with pytest.raises(ValueError, match=text):
                LatConfig.from_dict(values)


class TestField:
    def test_anything_goes(self):
        """Finite, not negative, in the ranges; with empty and extended ones among."""
        rng = np.random.default_rng(0)
        n_sources, extents, covered = [], [], []
        for _ in range(60):
            patch = simulate_field(rng)
            for image in (patch.counts, patch.source, patch.sky, patch.exposure):
                assert image.shape == (64, 64)
                assert np.isfinite(image).all()
                assert image.min() >= 0
            assert (patch.counts[patch.mask] == 0).all()
            assert (patch.sky[~patch.mask] > 0).all()
            assert_allclose(patch.exposure.max(), 1, rtol=1e-6)
            assert 1.1 < patch.fwhm < 10.5
            assert 0.003 <= patch.meta['level'] <= 3000
            n_sources.append(len(patch.catalog['x']))
            extents.append((patch.catalog['extent'] > 0).any())
            covered.append(not patch.mask.any())
        assert min(n_sources) == 0
        assert max(n_sources) > 20
        assert 0 < np.mean(extents) < 0.5
        assert 0.5 < np.mean(covered) < 1

    def test_level(self):
        config = FieldConfig(
            level=(5.0, 5.0),
            empty_probability=1.0,
            vignetting_probability=0.0,
            gap_probability=0.0,
            border_probability=0.0,
        )
        for seed in range(5):
            patch = simulate_field(np.random.default_rng(seed), config)
            assert len(patch.catalog['x']) == 0
            assert_allclose(patch.sky.mean(), 5, rtol=1e-4)
            assert_allclose(patch.counts.mean(), 5, atol=5 * np.sqrt(5) / 64)

    def test_particles_know_no_vignetting(self):
        config = FieldConfig(
            level=(5.0, 5.0),
            empty_probability=1.0,
            particles=(1.0, 1.0),
            particle_probability=1.0,
            vignetting_probability=1.0,
            vignetting=(0.8, 0.8),
            gap_probability=0.0,
            border_probability=0.0,
        )
        patch = simulate_field(np.random.default_rng(1), config)
        assert patch.exposure.min() < 0.5
        assert_allclose(patch.sky, 5, rtol=1e-5)

    def test_extended_sources_have_their_snr(self):
        config = FieldConfig(
            level=(10.0, 10.0),
            fwhm=(2.0, 2.0),
            density=(1e-9, 1e-9),
            structure_probability=0.0,
            gradient_probability=0.0,
            particle_probability=0.0,
            empty_probability=0.0,
            extended=(1.0, 1.0),
            extended_snr=(50.0, 50.0),
            extended_probability=1.0,
            vignetting_probability=0.0,
            gap_probability=0.0,
            border_probability=0.0,
            poisson=False,
        )
        snr = []
        for seed in range(12):
            patch = simulate_field(np.random.default_rng(seed), config)
            assert_allclose(
                patch.source.sum(), patch.catalog['counts'].sum(), rtol=1e-4
            )
            snr += list(patch.catalog['snr'])
        # Some lie partly outside.
        assert 40 < np.median(snr) < 51
        assert max(snr) < 52

    def test_reproducible(self):
        one, two = (simulate_field(np.random.default_rng(9)) for _ in range(2))
        assert same_patches(one, two)

    def test_shapes(self):
        radius = np.linspace(0, 20, 2001)
        assert beta_model(0.0, 3.0, 2 / 3) == 1
        assert_allclose(beta_model(3.0, 3.0, 2 / 3), 2**-1.5)
        assert beta_model(37.0, 3.0, 2 / 3) == 0
        profile = shell(radius, 10.0, 0.1)
        assert_allclose(radius[profile.argmax()], 9.0, atol=0.01)
        assert_allclose(profile[0], 1)
        # The light of a shell is its volume.
        light = np.trapezoid(2 * np.pi * radius * shell(radius, 10.0, 1.0), radius)
        assert_allclose(2 * light, 4 / 3 * np.pi * 1e3, rtol=1e-3)


class TestTemplate:
    energies = np.array([500.0, 1000.0, 2000.0, 4000.0, 8000.0])

    @pytest.fixture
    def car(self, tmp_path):
        """A cube of E**-2 photons per MeV, brighter in the north."""
        lat = np.linspace(-89.5, 89.5, 180)
        plane = 1e-9 * np.repeat(1 + (lat[:, None] > 0), 360, axis=1)
        cube = plane * (self.energies[:, None, None] / 1000) ** -2.0
        wcs = WCS(naxis=3)
        wcs.wcs.ctype = ['GLON-CAR', 'GLAT-CAR', 'ENERGY']
        wcs.wcs.crpix, wcs.wcs.crval = [180.5, 90.5, 1], [0, 0, 500]
        wcs.wcs.cdelt = [-1, 1, 1]
        header = wcs.to_header()
        table = fits.BinTableHDU(Table({'Energy': self.energies}), name='ENERGIES')
        path = tmp_path / 'cube.fits'
        fits.HDUList([fits.PrimaryHDU(cube.astype('f4'), header), table]).writeto(path)
        return path

    def test_cube(self, car):
        diffuse = read_diffuse(car, (1.0, 2.0))
        # 1e-9 * 1e6 / E**2 per MeV, from 1000 to 2000 MeV.
        expected = 1e-3 * (1 / 1000 - 1 / 2000)
        lon = np.array([0.0, 179.9, 180.1, 300.0])
        assert_allclose(diffuse(lon, np.full(4, -30.0)), expected, rtol=1e-4)
        assert_allclose(diffuse(lon, np.full(4, 30.0)), 2 * expected, rtol=1e-4)
        between = read_diffuse(car, (1.3, 3.3))(lon, np.full(4, -30.0))
        assert_allclose(between, 1e-3 * (1 / 1300 - 1 / 3300), rtol=1e-4)

    def test_band_outside(self, car):
        with pytest.raises(ValueError, match='energy must be within 0.5-8 GeV'):
            read_diffuse(car, (4.0, 20.0))

    def test_map_without_energies(self, car, tmp_path):
        with fits.open(car) as hdus:
            cube, header = hdus[0].data, hdus[0].header
            path, two = tmp_path / 'cube.fits.gz', tmp_path / 'two.fits'
            fits.PrimaryHDU(cube, header).writeto(path)
            fits.PrimaryHDU(cube[0], WCS(header).celestial.to_header()).writeto(two)
        with pytest.raises(ValueError, match='a cube needs a table ENERGIES'):
            read_diffuse(path)
        assert_allclose(
            read_diffuse(two)(np.full(2, 10.0), np.full(2, 10.0)), 2 * cube[0, 0, 0]
        )

    def test_small_map(self, car, tmp_path):
        path = tmp_path / 'small.fits'
        with fits.open(car) as hdus:
            header = WCS(hdus[0].header).celestial[80:100, 170:190].to_header()
            fits.PrimaryHDU(hdus[0].data[0, 80:100, 170:190], header).writeto(path)
        diffuse = read_diffuse(path)
        assert diffuse(np.zeros(2), np.full(2, 5.0)).min() > 0
        with pytest.raises(ValueError, match='does not hold all of the image'):
            diffuse(np.full(2, 50.0), np.full(2, 5.0))

    def test_nothing_in_it(self, tmp_path):
        path = tmp_path / 'plain.fits'
        fits.PrimaryHDU(np.ones((5, 5))).writeto(path)
        with pytest.raises(ValueError, match='no image with a WCS of the sky'):
            read_diffuse(path)

    def test_matrix_of_pixels(self, car, tmp_path):
        """It is all around the sky also where its scale is in CD, not in CDELT."""
        with fits.open(car) as hdus:
            plane = hdus[0].data[0] * np.arange(1, 361)
            header = WCS(hdus[0].header).celestial.to_header()
        for name in ('CDELT1', 'CDELT2'):
            number = name[-1]
            header[f'CD{number}_{number}'] = header.pop(name) / 2
            header[f'CRPIX{number}'] = 2 * header[f'CRPIX{number}'] - 0.5
        path = tmp_path / 'matrix.fits'
        fits.PrimaryHDU(np.repeat(np.repeat(plane, 2, 0), 2, 1), header).writeto(path)
        lon, lat = np.array([0.25, 100.25, 179.75, -179.75]), np.full(4, -40.25)
        column = np.array([180, 80, 1, 360])
        # of the lowest plane, 0.5 GeV
        assert_allclose(read_diffuse(path)(lon, lat), 4e-9 * column, rtol=1e-5)

    def test_gap(self, car, tmp_path):
        with fits.open(car, mode='update') as hdus:
            hdus[0].data[:, 90:92, 170:190] = np.nan
        diffuse = read_diffuse(car)
        assert diffuse(np.zeros(2), np.full(2, 5.0)).min() > 0
        with pytest.raises(ValueError, match='does not hold all of the image'):
            diffuse(np.zeros(2), np.full(2, 1.0))

    def write_healpix(self, path, values=None, **cards):
        values = np.arange(48.0) if values is None else values
        table = fits.BinTableHDU(Table({'flux': values.reshape(12, 4)}))
        cards = {'PIXTYPE': 'HEALPIX', 'ORDERING': 'RING', 'COORDSYS': 'G'} | cards
        table.header.update(cards)
        fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)

    def test_healpix(self, tmp_path):
        healpix = pytest.importorskip('astropy_healpix')
        self.write_healpix(tmp_path / 'map.fits')
        diffuse = read_diffuse(tmp_path / 'map.fits')
        lon, lat = healpix.HEALPix(2).healpix_to_lonlat(np.arange(48))
        assert_allclose(diffuse(lon.deg, lat.deg), np.arange(48), atol=1e-9)

    @pytest.mark.parametrize('name', ['G', 'Galactic', 'C', 'equatorial', 'ICRS'])
    def test_frame_of_healpix(self, name, tmp_path):
        healpix = pytest.importorskip('astropy_healpix')
        self.write_healpix(tmp_path / 'map.fits', COORDSYS=name)
        frame = 'galactic' if name[0] == 'G' else 'icrs'
        where = healpix.HEALPix(2, frame=frame).healpix_to_skycoord(np.arange(48))
        where = where.galactic
        found = read_diffuse(tmp_path / 'map.fits')(where.l.deg, where.b.deg)
        assert_allclose(found, np.arange(48), atol=1e-6)

    @pytest.mark.parametrize(
        ('cards', 'match'),
        [
            ({'COORDSYS': 'E'}, r'must be galactic \(G\) or celestial \(C\), got E'),
            ({'INDXSCHM': 'EXPLICIT'}, 'must be of the whole sky'),
        ],
    )
    def test_other_kinds_of_healpix(self, cards, match, tmp_path):
        pytest.importorskip('astropy_healpix')
        self.write_healpix(tmp_path / 'map.fits', **cards)
        with pytest.raises(ValueError, match=match):
            read_diffuse(tmp_path / 'map.fits')

    @pytest.mark.parametrize('lost', [np.nan, -1.6375e30])
    def test_pixels_without_a_value(self, lost, tmp_path):
        healpix = pytest.importorskip('astropy_healpix')
        values = np.where(np.arange(48) < 24, 1.0, lost)
        self.write_healpix(tmp_path / 'map.fits', values)
        diffuse = read_diffuse(tmp_path / 'map.fits')
        lon, lat = healpix.HEALPix(2).healpix_to_lonlat(np.arange(48))
        assert_allclose(diffuse(lon.deg[:8], lat.deg[:8]), 1)
        with pytest.raises(ValueError, match='does not hold all of the image'):
            diffuse(lon.deg[30:], lat.deg[30:])

    def test_healpix_is_missing(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, 'astropy_healpix', None)
        self.write_healpix(tmp_path / 'map.fits')
        with pytest.raises(ImportError, match=r"pip install 'bgrem\[gamma\]'"):
            read_diffuse(tmp_path / 'map.fits')


class TestCommand:
    def test_gamma(self, tmp_path, capsys):
        path = tmp_path / 'gamma.fits'
        args = ['gamma', '-o', str(path), '--center', '120', '-35', '--seed', '3']
        args += ['--shape', '40', '50', '--energy', '1', '3', '--exposure', '2e11']
        assert main(args) == 0
        assert 'sources above S/N 1' in capsys.readouterr().out
        with fits.open(path, checksum=True) as hdus:
            names = [hdu.name for hdu in hdus[1:]]
            assert names == ['SCI', 'SOURCE', 'SKY', 'EXPOSURE', 'PSF', 'TRUTH']
            counts, truth = hdus['SCI'].data, Table(hdus['TRUTH'].data)
            assert hdus['SCI'].header['BUNIT'] == 'ct'
            assert_allclose(hdus['EXPOSURE'].data, 2e11, rtol=0.1)
            assert hdus['EXPOSURE'].header['BUNIT'] == 'cm2 s'
            wcs = WCS(hdus['SCI'].header)
        assert counts.shape == (40, 50)
        assert_array_equal(counts, np.round(counts))
        assert_allclose(wcs.pixel_to_world_values(24.5, 19.5), (120, -35))
        x, y = wcs.world_to_pixel_values(truth['glon'], truth['glat'])
        assert_allclose(x, truth['x'], atol=1e-3)
        assert_allclose(y, truth['y'], atol=1e-3)

    def test_counts(self, tmp_path):
        path = tmp_path / 'counts.fits'
        args = ['counts', '-o', str(path), '-q', '--level', '7', '--fwhm', '3']
        assert main([*args, '--no-poisson']) == 0
        with fits.open(path) as hdus:
            total = hdus['SOURCE'].data + hdus['SKY'].data
            assert_allclose(np.nan_to_num(hdus['SCI'].data), total, rtol=1e-5)
            assert_allclose(hdus['PSF'].header['FWHM'], 3, rtol=0.03)

    def test_one_line_of_error(self, tmp_path, capsys):
        plain = tmp_path / 'plain.fits'
        fits.PrimaryHDU(np.ones((5, 5))).writeto(plain)
        output = tmp_path / 'gamma.fits'
        args = ['simulate', 'gamma', '-o', str(output), '--diffuse', str(plain)]
        assert bgrem_main(args) == 1
        assert capsys.readouterr().err.count('\n') == 1
        assert not output.exists()
        assert bgrem_main(['simulate', 'gamma', '-o', str(plain)]) == 1
        assert 'exists' in capsys.readouterr().err
