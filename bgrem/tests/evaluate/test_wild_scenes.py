"""Tests of what the scenes of bgrem.evaluate.wild are made of."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from bgrem.evaluate.wild import coverage, skies
from bgrem.evaluate.wild.counts import BLANK_LEVELS, STAR_LEVELS
from bgrem.evaluate.wild.families import WILD_FAMILIES, wild_scenes
from bgrem.evaluate.wild.painting import (
    SIGMA,
    SKY,
    catalog_of,
    merge,
    moffat,
    paint_field,
    paint_points,
    power_law,
    ring,
)
from bgrem.evaluate.wild.scene import finish_catalog, make_scene
from bgrem.evaluate.wild.survey import LevelSurvey, takes

SIZE = 64


class TestPainting:
    @pytest.mark.parametrize('psf', [moffat(2.0), moffat(5.0, 4.5), ring(7, 2)])
    def test_stamps_have_the_symmetries_of_their_place(self, psf):
        stamp = psf.stamp(0.3, 0.1)
        assert stamp.shape == (2 * psf.reach + 1, 2 * psf.reach + 1)
        assert_allclose(stamp.sum(), 1)
        assert stamp.min() >= 0
        assert_allclose(psf.stamp(0.1, 0.3), stamp.T)
        assert_allclose(psf.stamp(-0.3, 0.1), stamp[::-1])
        assert_allclose(psf.stamp(), psf.stamp()[:, ::-1])

    def test_ring_is_dark_in_its_middle(self):
        stamp = ring(10, 4).stamp()
        row = stamp[len(stamp) // 2]
        # half the light of a pixel at either radius
        middle = len(row) // 2
        bright = row[middle + 7]
        assert row[middle] < 0.01 * bright
        assert_allclose(row[[middle + 4, middle - 10]], bright / 2, rtol=0.05)

    def test_light_adds_up(self):
        """Painted together or one by one, in any order and any flux."""
        rng = np.random.default_rng(1)
        x, y, flux = rng.uniform(-3, 60, (3, 12))
        psf = moffat(3.0)
        whole, catalog = paint_points((50, 60), psf, x, y, 2 * flux)
        parts = [
            paint_points((50, 60), psf, x[part], y[part], flux[part])
            for part in (np.s_[5:], np.s_[:5])
        ]
        source, merged = merge(*parts)
        assert_allclose(whole, 2 * source, atol=1e-12)
        for name, values in merged.items():
            factor = 2 if name == 'flux' else 1
            assert_allclose(catalog[name], factor * np.roll(values, 5))
        moved, _ = paint_points((50, 60), psf, x + 7, y, flux)
        assert_allclose(moved[:, 7:], source[:, :-7], atol=1e-9 * source.max())

    @pytest.mark.parametrize('galaxies', [0.0, 1.0])
    def test_fields_have_their_signal_to_noise(self, galaxies):
        """That of a matched filter, of galaxies too; all of them on the pixels."""
        rng = np.random.default_rng(2)
        psf = moffat(3.0)
        source, catalog = paint_field(
            rng, (300, 300), psf, 1, (50.0, 50.0), galaxies=galaxies
        )
        assert min(catalog['x'][0], catalog['y'][0]) > 50
        assert_allclose(np.sqrt(np.sum(source**2)) / SIGMA, 50, rtol=1e-3)
        assert_allclose(source.sum(), catalog['flux'], rtol=1e-3)
        assert (catalog['half_light_radius'] > 0) == bool(galaxies)

    def test_catalogue_of_numbers(self):
        """One number stands for all; nothing is shared."""
        x = np.array([1.0, 2.0])
        catalog = catalog_of(x, 3, [4, 5], 0.5)
        assert {name: values.tolist() for name, values in catalog.items()} == {
            'x': [1, 2], 'y': [3, 3], 'flux': [4, 5], 'norm': [0.5, 0.5],
            'half_light_radius': [0, 0],
        }  # fmt: skip
        catalog['x'][0] = 9
        assert x[0] == 1

    @pytest.mark.parametrize('slope', [-0.5, 0.5, 2.0])
    def test_power_law_of_any_slope(self, slope):
        values = power_law(np.random.default_rng(3), 20_000, 1.0, 100.0, slope)
        for limit in (3.0, 30.0):
            above = (limit**-slope - 100**-slope) / (1 - 100**-slope)
            assert_allclose(np.mean(values > limit), above, atol=0.02)


class TestMakeScene:
    psf = moffat(2.5)

    def make(self, **options):
        rng = np.random.default_rng(4)
        painted = paint_points(
            (40, 50), self.psf, [10.0, 30.0, 70.0], [20.0, 25.0, 9.0], [9e3, 9e3, 1.0]
        )
        return make_scene(rng, painted, SKY, self.psf, **options)

    def test_plain(self):
        scene = self.make()
        assert_array_equal(scene.catalog['x'], [10, 30])  # the third is outside
        norm = np.sqrt(np.sum(self.psf.stamp() ** 2))
        assert_allclose(scene.catalog['snr'], 9e3 * norm / SIGMA)
        assert not scene.mask.any()
        assert scene.judged.all()
        assert_allclose(self.make(sigma=2 * SIGMA).catalog['snr'],
                        scene.catalog['snr'] / 2)  # fmt: skip

    @pytest.mark.parametrize('blank', [0.0, -7.0, np.nan])
    def test_blank(self, blank):
        """Only NaN is masked; elsewhere the image is as without it."""
        valid = np.ones((40, 50), dtype=bool)
        valid[:, :15] = False
        plain, scene = self.make(), self.make(valid=valid, blank=blank)
        assert_array_equal(scene.image[valid], plain.image[valid])
        assert_array_equal(scene.image[~valid], np.float32(blank))
        assert_array_equal(scene.mask, ~valid if np.isnan(blank) else 0 * valid)
        assert_array_equal(scene.judged, valid)
        everywhere = self.make(valid=valid, blank=blank, judged=valid | True)
        assert_array_equal(everywhere.judged, valid)
        assert scene.catalog['snr'][0] == 2 < plain.catalog['snr'][0]
        assert scene.catalog['snr'][1] == plain.catalog['snr'][1]

    def test_mask(self):
        """The sky under it is judged, unless it is said which is."""
        mask = np.zeros((40, 50), dtype=bool)
        mask[:30] = True
        scene = self.make(mask=mask)
        assert_array_equal(scene.image, self.make().image)
        assert_array_equal(scene.mask, mask)
        assert scene.judged.all()
        assert_array_equal(scene.catalog['snr'], 2)
        assert_array_equal(self.make(mask=mask, judged=mask).judged, mask)

    def test_stripes(self):
        stripes = np.arange(50.0) * np.ones((40, 1))
        scene, plain = self.make(stripes=stripes), self.make()
        assert_allclose(scene.image - plain.image, stripes, atol=1e-3)
        assert_array_equal(scene.sky, plain.sky)

    def test_positions_on_the_edges(self):
        """Half a pixel beyond the middle of the last is inside, and no more."""
        x = np.array([-0.51, -0.49, 9.49, 9.51])
        catalog = catalog_of(x, 3.0, 100.0, 0.5)
        sigma = np.full((8, 10), 5.0)
        found = finish_catalog(catalog, sigma, sigma < 0)
        assert_array_equal(found['x'], [-0.49, 9.49])
        assert_array_equal(found['snr'], 10)
        given = finish_catalog(catalog, sigma, sigma < 0, np.arange(4.0))
        assert_array_equal(given['snr'], [1, 2])
        assert found['is_star'].all()


def scenes_of(family, n, size=SIZE):
    return list(wild_scenes(family, n, size, 11))


class TestKnobs:
    """Each family turns its knob from scene to scene."""

    def test_masked_pixels(self):
        fractions = [scene.mask.mean() for scene in scenes_of('random_pixels', 5)]
        assert_allclose(fractions, coverage.RANDOM_FRACTIONS, atol=0.04)
        for scene, least in zip(
            scenes_of('circle_mask', 5), coverage.MASKED_FRACTIONS, strict=True
        ):
            # a circle of 25 px at most goes beyond
            assert least <= scene.mask.mean() < least + 0.5

    def test_stripes_and_islands(self):
        for scene, width in zip(
            scenes_of('nan_stripes', 4), coverage.STRIPE_WIDTHS, strict=False
        ):
            lines = scene.mask.any(axis=0), scene.mask.any(axis=1)
            (striped,) = (one for one in lines if not one.all())
            assert_array_equal(striped, np.arange(SIZE) // width % 2)
        for scene, side in zip(scenes_of('islands', 4), (8, 16, 32, 32), strict=True):
            shown = np.isfinite(scene.image).sum()
            assert side**2 <= shown <= side**2 + max(side // 2, 6) ** 2

    def test_gaps_are_wider_with_more_columns(self):
        shown = [np.mean(scene.mask) for scene in scenes_of('gaps', 5)]
        assert shown[0] < shown[-1]
        assert 0.05 < min(shown) < max(shown) < 0.7

    @pytest.mark.parametrize('family', ['zero_padding', 'rotated_on_zeros'])
    def test_zeros_are_not_masked(self, family):
        for scene in scenes_of(family, 3):
            empty = scene.image == 0
            assert 0.05 < empty.mean() < 0.75
            assert not scene.mask.any()
            assert_array_equal(scene.judged, ~empty)
        levels = [np.median(scene.sky) for scene in scenes_of(family, 2)]
        assert_allclose(levels, [SKY, 2 * SIGMA], rtol=1e-6)

    def test_corners_of_a_turned_frame(self):
        """Of 74% of the side, turned as far as they say, in the middle."""
        for scene in scenes_of('rotated_on_nan', 3):
            assert_allclose((~scene.mask).mean(), 0.74**2, atol=0.03)
            assert scene.mask[[0, 0, -1, -1], [0, -1, 0, -1]].all()
            assert_array_equal(scene.mask, scene.mask[::-1, ::-1])

    def test_sixteen_exposures_and_one(self):
        for scene in scenes_of('dithered_border', 3):
            ratio = scene.sigma / SIGMA
            # one exposure has four times the noise of sixteen
            assert_allclose(ratio.max(), 4)
            assert 1 <= ratio.min() < 1.3
            number = 16 / ratio**2
            assert_allclose(number, np.round(number), atol=1e-4)
            assert ratio[28:36, 28:36].mean() < ratio[[0, -1]].mean()

    def test_steps_between_amplifiers(self):
        for index, scene in enumerate(scenes_of('amplifier_steps', 10)):
            step = skies.STEPS[index % 5] * SIGMA
            levels = np.unique(scene.sky)
            assert_allclose(np.ptp(scene.sky[0]), step, rtol=1e-3)
            if index < 5:
                assert_allclose(np.ptp(levels), step, rtol=1e-3)
                assert len(levels) == 2
            else:
                assert_allclose(np.ptp(scene.sky[:, 0]), step / 2, rtol=1e-3)
                assert len(levels) == 4

    @pytest.mark.parametrize(
        ('family', 'axis'), [('one_over_f', 1), ('bias_stripes', 0)]
    )
    def test_stripes_of_known_strength(self, family, axis):
        for scene, strength in zip(scenes_of(family, 4), skies.STRIPES, strict=True):
            assert not np.ptp(scene.stripes, axis=axis).any()
            line = scene.stripes.take(0, axis=axis)
            assert_allclose([line.mean(), line.std()], [0, strength * SIGMA], atol=1e-9)
            assert_array_equal(np.unique(scene.sky), np.float32(SKY))

    def test_structure_of_known_strength(self):
        for index, scene in enumerate(scenes_of('cirrus', 4)):
            clouds = (scene.sky - SKY) / SIGMA
            assert_allclose([clouds.mean(), clouds.std()],
                            [0, (1, 2, 3, 5)[index]], atol=1e-3)  # fmt: skip
            # mostly faint, bright where they are dense
            assert np.mean(clouds**3) > 0
        for index, scene in enumerate(scenes_of('fringes', 4)):
            amplitude = np.abs(scene.sky - SKY).max() / SIGMA
            assert_allclose(amplitude, index + 1, rtol=0.02)

    def test_vignetting(self):
        """It falls by a fifth to the corners, and the noise as its root."""
        for scene in scenes_of('vignetting', 3):
            low = scene.sky[[0, 0, -1, -1], [0, -1, 0, -1]].min() / scene.sky.max()
            assert 0.6 < low < 0.95
            assert_allclose(scene.sigma**2, scene.sky + 25, rtol=1e-5)

    def test_counts(self):
        blank = [f'blank_{level:g}' for level in BLANK_LEVELS]
        assert set(blank) <= WILD_FAMILIES.keys()
        for family, level in zip(blank, BLANK_LEVELS, strict=True):
            (scene,) = scenes_of(family, 1)
            assert_allclose(scene.sky, level)
            assert not scene.source.any()
            n = level * SIZE**2
            assert abs(scene.image.sum() - n) < 5 * n**0.5
        for scene, level in zip(
            scenes_of('poisson_stars', 6), STAR_LEVELS, strict=True
        ):
            assert_allclose(scene.sky, level)
            assert_array_equal(scene.image, np.round(scene.image))
            # in their own photons no star is as good as on the sky alone
            norm = np.sqrt(np.sum(scene.psf**2) / level)
            assert np.all(scene.catalog['snr'] < scene.catalog['flux'] * norm)
            assert np.all(scene.catalog['snr'] < scene.catalog['flux'] ** 0.5)

    @pytest.mark.parametrize('family', ['globular', 'comet', 'spirals'])
    def test_objects_are_brighter_from_scene_to_scene(self, family):
        first, _, third = scenes_of(family, 3)
        assert third.source.sum() > first.source.sum()
        for scene in (first, third):
            if not scene.judged.all():
                light = ndimage.median_filter(scene.source, 15)
                assert light[scene.judged].mean() < light[~scene.judged].mean()

    def test_rings(self):
        """12 to 28 px across, and dark inside."""
        for scene, outer in zip(scenes_of('defocused', 4), (6, 8, 10, 14), strict=True):
            assert scene.fwhm == 2 * outer
            assert scene.image.shape == (96, 96)
            row = scene.psf[len(scene.psf) // 2]
            assert row[len(row) // 2] < 0.2 * row.max()


def level_of(factor, sky=0.0, source=0.5):
    """Return what an observer sees whose noise is off by a factor."""

    def observe(scene):
        bkg = SimpleNamespace(
            background=scene.sky + sky * scene.sigma,
            background_rms=factor * scene.sigma,
            background_uncertainty=0.5 * scene.sigma,
            source=source * np.nan_to_num(scene.image),
        )
        return {'background': bkg}

    return SimpleNamespace(observe=observe)


def test_levels_by_hand():
    """The mean of the scenes, and the one farthest from 1 by its ratio."""
    (scene,) = scenes_of('fringes', 1)
    survey = LevelSurvey(None)
    for factor, sky, source in ((1.1, 0.5, 0.5), (0.6, 1.0, 0.2), (1.5, 0.0, 0.3)):
        survey.observer = level_of(factor, sky, source)
        survey.add(scene)
    result = survey.result()
    assert_allclose(result['level'], 3.2 / 3, rtol=1e-5)
    assert_allclose(result['worst_level'], 0.6, rtol=1e-5)
    # errors of 1, 2 and 0 times the uncertainty
    assert_allclose(result['pull'], np.sqrt(5 / 3), rtol=1e-3)
    assert_allclose(result['lowest_sky'], scene.sky.min())
    assert_allclose(result['source_light'], 0.5, rtol=1e-5)
    assert LevelSurvey(None).result() == dict.fromkeys(result)


def test_levels_are_those_of_judged_pixels():
    (scene,) = scenes_of('blank_20', 1)
    judged = np.zeros_like(scene.judged)
    judged[:20] = True
    scene = replace(scene, judged=judged, sigma=np.where(judged, 10, 50).astype('f4'))
    survey = LevelSurvey(level_of(1.0))
    survey.add(scene)
    assert_allclose(survey.result()['level'], 1)
    assert_allclose(survey.result()['parent'], 20**0.5 / 10, rtol=0.15)


def test_takes():
    assert takes('remove_stripes')
    assert not takes('magic')
