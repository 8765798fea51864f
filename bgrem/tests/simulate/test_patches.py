# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What holds of every patch of counts: light, places and significances."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bgrem.simulate.gamma import FieldConfig, LatConfig, simulate_field
from bgrem.simulate.gamma.canvas import Canvas
from bgrem.simulate.gamma.coverage import draw_coverage, draw_vignetting
from bgrem.simulate.gamma.emission import interstellar_structure, longitude_run
from bgrem.simulate.gamma.lat import sky_coordinates
from bgrem.simulate.gamma.patch import (
    FAINTEST,
    ExtendedSource,
    PointSources,
    compose_patch,
)
from bgrem.simulate.gamma.psf import analytic_psf, lat_psf
from bgrem.simulate.gamma.ranges import log_uniform
from bgrem.simulate.gamma.shapes import draw_extended, draw_remnant, shell
from bgrem.simulate.gamma.significance import (
    point_significance,
    significance_table,
    template_significance,
)
from bgrem.simulate.gamma.write import galactic_wcs

SHAPE = (40, 50)


@pytest.fixture(params=[1.3, 3.0])
def canvas(request):
    return Canvas(SHAPE, analytic_psf('gauss', request.param))


def draw_points(n=30, seed=1):
    rng = np.random.default_rng(seed)
    return rng.uniform(5, 30, n), rng.uniform(5, 30, n), rng.uniform(1, 9, n)


class TestCanvas:
    def test_the_image_is_inside(self, canvas):
        """With a margin on all sides; positions count from its first pixel."""
        y, x = canvas.grid()
        rows, columns = canvas.inner
        assert_array_equal(y[rows, 0], np.arange(40))
        assert_array_equal(x[0, columns], np.arange(50))
        for (before, after), size, padded in zip(
            canvas.ends, SHAPE, canvas.padded, strict=True
        ):
            assert before == canvas.margin <= after
            assert before + size + after == padded
        x, y = canvas.random_positions(2000, np.random.default_rng(0))
        for values, size, padded in (
            (x, 50, canvas.padded[1]),
            (y, 40, canvas.padded[0]),
        ):
            assert -canvas.margin - 0.5 <= values.min() < 0
            assert size < values.max() <= padded - canvas.margin - 0.5

    @pytest.mark.parametrize('paint', [Canvas.paint, Canvas.scatter])
    def test_light_adds_up_and_moves(self, canvas, paint):
        x, y, light = draw_points()
        whole = paint(canvas, x, y, light)
        assert_allclose(whole.sum(), light.sum(), rtol=1e-5)
        parts = [paint(canvas, x[k], y[k], light[k]) for k in (np.s_[:11], np.s_[11:])]
        scale = {'rtol': 1e-4, 'atol': 1e-5 * whole.max()}
        assert_allclose(sum(parts), whole, **scale)
        assert_allclose(paint(canvas, x, y, 3 * light), 3 * whole, **scale)
        moved = paint(canvas, x + 4, y + 7, light)
        assert_allclose(moved, np.roll(whole, (7, 4), axis=(0, 1)), **scale)

    def test_smoothing_keeps_light_and_constants(self, canvas):
        rng = np.random.default_rng(2)
        image = rng.random(canvas.padded)
        for smooth in (canvas.smooth, canvas.smooth_squared):
            found = smooth(image)
            assert_allclose(found.sum(), image.sum())
            assert image.min() <= found.min() < found.max() < image.max()
            assert_allclose(smooth(0 * image + 3), 3)
            moved = smooth(np.roll(image, (5, 6), axis=(0, 1)))
            assert_allclose(moved, np.roll(found, (5, 6), axis=(0, 1)))
        point = np.zeros(canvas.padded)
        point[0, 0] = 1
        assert_allclose(canvas.smooth(point), canvas.kernel, atol=1e-12)
        squared = canvas.kernel**2
        assert_allclose(
            canvas.smooth_squared(point), squared / squared.sum(), atol=1e-12
        )

    def test_values_at_the_nearest_pixel(self, canvas):
        """And beyond the canvas those of its other side."""
        image = np.random.default_rng(3).random(canvas.padded)
        inner = image[canvas.inner]
        x, y = np.array([0.0, 3.4, 48.6]), np.array([0.4, 7.0, 39.0])
        assert_array_equal(canvas.values_at(image, x, y), inner[[0, 7, 39], [0, 3, 49]])
        around = canvas.values_at(image, x + canvas.padded[1], y - canvas.padded[0])
        assert_array_equal(around, canvas.values_at(image, x, y))


class TestPSF:
    def test_light_within_a_radius(self):
        """Of a Gaussian half lies within half the FWHM."""
        psf = analytic_psf('gauss', 5.0)
        assert_allclose(psf.containment_radius(0.5), 2.5, rtol=0.01)
        assert_allclose(psf.containment_radius(1 - 2.0**-4), 5.0, rtol=0.01)
        radii = [lat_psf().containment_radius(f) for f in np.linspace(0, 1, 11)]
        assert radii[0] == 0
        assert np.all(np.diff(radii) > 0)

    @pytest.mark.parametrize('kind', ['gauss', 'king'])
    @pytest.mark.parametrize('n', [2, 3])
    def test_finer_kernel_holds_the_same_light(self, kind, n):
        psf = analytic_psf(kind, 4.0)
        fine = psf.kernel((60 * n, 48 * n), n)
        assert_allclose(fine.sum(), 1)
        width = [np.sum(one > one.max() / 2) for one in (psf.kernel((60, 48)), fine)]
        assert_allclose(width[1], n**2 * width[0], rtol=0.25)

    def test_density_has_any_normalisation(self):
        psf = analytic_psf('moffat', 3.0)
        other = type(psf)(psf.radius, 17 * psf.density)
        assert_allclose(other.density, psf.density)


class TestSignificance:
    def test_rises_with_the_source_and_falls_with_the_sky(self):
        shape = analytic_psf('gauss', 3.0).kernel((24, 24))
        values = [
            [template_significance(n * shape, np.full((24, 24), b)) for n in (1, 9, 80)]
            for b in (0.01, 1.0, 30.0)
        ]
        assert np.all(np.diff(values, axis=1) > 0)
        assert np.all(np.diff(values, axis=0) < 0)
        assert template_significance(0 * shape, shape) == 0

    def test_parts_add_in_quadrature(self):
        rng = np.random.default_rng(4)
        source, sky = rng.uniform(0, 3, (2, 20, 30))
        sky[:, 5] = 0  # pixels without sky do not count
        parts = [
            template_significance(source[k], sky[k]) for k in (np.s_[:8], np.s_[8:])
        ]
        assert_allclose(template_significance(source, sky), np.hypot(*parts))
        # k times as many of all is sqrt(k) times as significant
        found = template_significance(4 * source, 4 * sky)
        assert_allclose(found, 2 * template_significance(source, sky))

    def test_points_without_counts(self):
        table = significance_table(analytic_psf('gauss', 3.0).kernel((24, 24)))
        counts = np.array([0.0, 1.0, 10.0, 100.0])
        found = point_significance(table, counts, np.maximum(counts, 1e-12) / 2)
        assert found[0] == 0
        assert np.all(np.diff(found) > 0)
        assert np.all(found[1:] < np.sqrt(counts[1:] * 12))


class TestCoverage:
    @pytest.mark.parametrize(('gaps', 'border'), [(1, 0), (0, 1), (1, 1)])
    def test_any(self, gaps, border):
        rng = np.random.default_rng(5)
        drawn = [
            draw_coverage((30, 44), rng, gaps=gaps, border=border) for _ in range(30)
        ]
        for coverage in drawn:
            assert coverage.shape == (30, 44)
            assert coverage.min() >= 0
            assert coverage.max() == 1
        assert np.mean([one.min() < 1 for one in drawn]) > 0.5
        if not gaps:
            assert {0.0, 1.0} >= {v for one in drawn for v in np.unique(one)}

    def test_neither(self):
        coverage = draw_coverage(
            (20, 30), np.random.default_rng(6), gaps=False, border=False
        )
        assert_array_equal(coverage, np.ones((20, 30)))

    @pytest.mark.parametrize('loss', [0.0, 0.3, 0.8])
    def test_vignetting(self, loss):
        for seed in range(5):
            found = draw_vignetting((30, 40), loss, np.random.default_rng(seed))
            assert found.max() == 1
            assert 1 - loss <= found.min() <= 1 - 0.5 * loss
            # a paraboloid has the same second differences everywhere
            for axis in (0, 1):
                assert_allclose(np.ptp(np.diff(found, 2, axis=axis)), 0, atol=1e-12)


class TestShapes:
    def test_shell_of_any_thickness(self):
        """A thick one is a thin one and what is inside of it."""
        radius = np.linspace(0, 12, 50)
        inner = shell(radius, 8.0, 1.0)
        assert_allclose(
            shell(radius, 10.0, 0.2) + inner, shell(radius, 10.0, 1.0), atol=1e-12
        )
        assert not shell(radius, 10.0, 0.3)[radius > 10].any()

    @pytest.mark.parametrize('seed', range(4))
    def test_extended(self, seed, canvas):
        source = draw_extended(canvas, 5.0, 20.0, np.random.default_rng(seed))
        assert -0.5 <= source.x <= 49.5
        assert -0.5 <= source.y <= 39.5
        smooth = canvas.smooth(source.image)
        found = template_significance(smooth, np.full(smooth.shape, 5.0))
        assert_allclose(found, 20, rtol=0.1)
        y, x = canvas.grid()
        inside = np.hypot(x - source.x, y - source.y) <= source.extent
        assert_allclose(source.image[inside].sum() / source.image.sum(), 0.5, atol=0.15)

    @pytest.mark.parametrize('seed', range(4))
    def test_remnant(self, seed, canvas):
        source = draw_remnant(canvas, 20.0, 17.0, 8.0, np.random.default_rng(seed))
        assert_allclose(source.image.sum(), 1)
        assert (source.x, source.y) == (20, 17)
        assert 2 < source.extent < 9


class TestComposePatch:
    sky, n = 4.0, 60

    def compose(self, canvas, *, exposure=1.0, extended=(), rng=None, **options):
        x, y, flux = draw_points(self.n)
        points = PointSources(x, y, options.pop('scale', 10.0) * flux)
        emission = np.full(canvas.padded, self.sky)
        exposure = np.broadcast_to(exposure, canvas.shape).astype(float)
        return compose_patch(
            canvas, emission, exposure, points, extended, rng, **options
        )

    def test_all_light_is_in_source_or_sky(self, canvas):
        patch = self.compose(canvas, scale=2.0)
        light = 2.0 * draw_points(self.n)[2]
        total = light.sum() + self.sky * patch.counts.size
        assert_allclose(patch.counts, patch.source + patch.sky, rtol=1e-5)
        assert_allclose(patch.counts.sum(), total, rtol=2e-3)
        bright = len(patch.catalog['x'])
        assert 0 < bright < self.n
        assert_allclose(patch.source.sum(), patch.catalog['flux'].sum(), rtol=1e-2)
        assert patch.catalog['snr'].min() >= FAINTEST
        # those that are left to the sky are the faintest, by and large
        limit = 1.05 * patch.catalog['flux'].min()
        assert np.sum(light > limit) == np.sum(patch.catalog['flux'] > limit)

    def test_exposure(self, canvas):
        """Twice of it gives twice the counts; the fluxes stay."""
        one, two = (self.compose(canvas, exposure=e) for e in (1.0, 2.0))
        assert_allclose(two.sky, 2 * one.sky, rtol=1e-4)
        assert_allclose(two.source, 2 * one.source, rtol=1e-4)
        assert_array_equal(two.catalog['flux'], one.catalog['flux'])
        assert_allclose(two.catalog['counts'], 2 * one.catalog['counts'], rtol=1e-5)
        ratio = two.catalog['snr'] / one.catalog['snr']
        assert_allclose(ratio, np.sqrt(2), rtol=5e-3)

    def test_no_exposure(self, canvas):
        exposure = np.ones(SHAPE)
        exposure[:, 20:] = 0
        particles = np.full(SHAPE, 3.0)
        patch = self.compose(
            canvas,
            exposure=exposure,
            particles=particles,
            rng=np.random.default_rng(1),
        )
        assert_array_equal(patch.mask, exposure == 0)
        for image in (patch.counts, patch.source, patch.sky):
            assert not image[:, 20:].any()
        assert_allclose(patch.sky[0, :5], self.sky + 3, rtol=1e-3)
        assert_array_equal(patch.counts, np.round(patch.counts))

    def test_extended_sources(self, canvas):
        """One that stands out is a source, one that does not is sky."""
        y, x = canvas.grid()
        shape = np.exp(-((x - 20) ** 2 + (y - 20) ** 2) / 50)
        bright, faint = (
            ExtendedSource(20.0, 20.0, factor * shape / shape.sum(), 6.0)
            for factor in (900.0, 3.0)
        )
        plain = self.compose(canvas)
        patch = self.compose(canvas, extended=[faint, bright])
        assert_allclose(patch.source.sum() - plain.source.sum(), 900, rtol=0.01)
        assert_allclose(patch.sky.sum() - plain.sky.sum(), 3, rtol=0.1)
        (row,) = np.flatnonzero(patch.catalog['extent'])
        assert_allclose(patch.catalog['counts'][row], 900, rtol=0.01)
        assert_allclose(patch.catalog['flux'][row], 900, rtol=1e-5)

    def test_stamp(self, canvas):
        """The PSF in the middle of an odd number of pixels, with nearly all light."""
        stamp = self.compose(canvas).psf
        half = len(stamp) // 2
        assert stamp.shape == (2 * half + 1, 2 * half + 1)
        assert_allclose(stamp.sum(), 1, rtol=1e-5)
        assert stamp.argmax() == half * len(stamp) + half
        for turned in (stamp[::-1], stamp.T):
            assert_allclose(turned, stamp, atol=1e-7)
        assert_allclose(stamp[half, half:], canvas.kernel[0, : half + 1], rtol=0.02)

    def test_sources_beyond_the_border(self, canvas):
        x, y = np.array([-1.0, 20, 49.6, 20]), np.array([9.0, -0.4, 9, 40])
        points = PointSources(x, y, np.full(4, 500.0))
        patch = compose_patch(
            canvas, np.full(canvas.padded, 4.0), np.ones(SHAPE), points, [], None
        )
        assert patch.catalog['x'].tolist() == [20]
        assert sorted(patch.outside['x']) == pytest.approx([-1, 20, 49.6])
        assert (patch.source[:, 0] > 0.1).any()


@pytest.mark.parametrize('center', [(0.0, 0.0), (120.0, -35.0), (359.9, 70.0)])
def test_two_ways_to_sky_coordinates(center):
    """Those of the patch, and those of the WCS that is written with it."""
    config = LatConfig(shape=(30, 44))
    y, x = np.mgrid[:30:7, :44:9].astype(float)
    lon, lat = sky_coordinates(y, x, center, config)
    expected = galactic_wcs(config, center).pixel_to_world_values(x, y)
    assert_allclose(np.mod(lon - expected[0] + 180, 360) - 180, 0, atol=1e-9)
    assert_allclose(lat, expected[1], atol=1e-9)
    middle = sky_coordinates(14.5, 21.5, center, config)
    assert_allclose(middle, center, atol=1e-9)


def test_run_of_the_plane():
    """The same on both sides of the center, and all the way round; its mean is 1."""
    lon = np.linspace(-720, 720, 2881)
    run = longitude_run(lon)
    assert_allclose(run, run[::-1])
    assert_allclose(longitude_run(lon + 360), run)
    assert_allclose(run[:-1].mean(), 1, atol=0.03)
    assert run.max() == longitude_run(0.0)


@pytest.mark.parametrize('latitude', [0.0, 6.0, -60.0])
def test_structure_leaves_the_mean(latitude, canvas):
    found = [
        interstellar_structure(canvas, 10 / 64, latitude, np.random.default_rng(seed))
        for seed in range(6)
    ]
    for factor in found:
        assert factor.shape == canvas.padded
        assert factor.min() > 0
        assert_allclose(factor[canvas.inner].mean(), 1)
    spread = np.mean([np.log(one[canvas.inner]).std() for one in found])
    assert 0.02 < spread < 1.0


def test_log_uniform():
    rng = np.random.default_rng(7)
    values = [log_uniform((0.1, 1000.0), rng) for _ in range(2000)]
    assert 0.1 <= min(values) < max(values) <= 1000
    assert_allclose(np.median(np.log10(values)), 1, atol=0.12)
    assert log_uniform((3.0, 3.0), rng) == 3


@pytest.mark.parametrize('seed', range(3))
def test_fields_do_not_depend_on_the_photons(seed):
    """Whether they are drawn or not, the rest is the same."""
    config = FieldConfig(shape=(32, 40))
    drawn, expected = (
        simulate_field(
            np.random.default_rng(seed), FieldConfig(shape=(32, 40), poisson=p)
        )
        for p in (True, False)
    )
    assert config == FieldConfig.from_dict(config.to_dict())
    for name in ('source', 'sky', 'exposure', 'psf'):
        assert_array_equal(getattr(drawn, name), getattr(expected, name))
    assert_allclose(expected.counts, expected.source + expected.sky, rtol=1e-5)
    assert drawn.meta == expected.meta
