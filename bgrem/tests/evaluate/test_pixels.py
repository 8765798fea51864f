"""Tests of bgrem.evaluate.pixels and bgrem.evaluate.sensitivity."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bgrem.evaluate.pixels import PixelSurvey
from bgrem.evaluate.scenes import Scene
from bgrem.evaluate.sensitivity import SensitivitySurvey

SHAPE = (110, 120)


def make_scene(seed=0):
    """Stars of a pixel on a sky of 100 with a noise of 4; a stripe is masked."""
    rng = np.random.default_rng(seed)
    source = np.zeros(SHAPE)
    y, x = np.array([(20, 30), (50, 60), (80, 20), (90, 100)]).T
    source[y, x] = [40.0, 400.0, 4.0, 80.0]
    mask = np.zeros(SHAPE, dtype=bool)
    mask[:, 110:] = True
    sky, sigma = np.full(SHAPE, 100.0), np.full(SHAPE, 4.0)
    image = np.where(mask, np.nan, sky + source + rng.normal(0, 4, SHAPE))
    catalog = {'x': x.astype(float), 'y': y.astype(float), 'snr': source[y, x] / 4}
    return Scene(image, source, sky, sigma, mask, None, 3.0, catalog)


class Perfect:
    """It knows the truth, but for a sky that is too low by a quarter of the noise."""

    def background(self, scene):
        return SimpleNamespace(
            subtract=lambda: scene.image - scene.sky + scene.sigma / 4,
            source=scene.source,
        )


class TestPixelSurvey:
    @pytest.fixture
    def scenes(self):
        return [make_scene(seed) for seed in range(2)]

    @pytest.fixture
    def result(self, scenes):
        survey = PixelSurvey(Perfect())
        for scene in scenes:
            survey.add(scene)
        return survey.result()

    def test_counts_are_those_of_all_pixels_with_data(self, result, scenes):
        edges = np.array(result['edges'])
        assert (edges[0], edges[-1]) == (-6, 24)
        assert_allclose(np.diff(edges), 0.25)
        values = np.concatenate(
            [((s.image - s.sky) / s.sigma)[~s.mask] for s in scenes]
        )
        counts = result['counts']
        assert_array_equal(counts['data'], np.histogram(values, edges)[0])
        # a quarter of the noise is a bin
        assert_array_equal(counts['subtracted'][1:], counts['data'][:-1])
        truth = dict(zip(edges, counts['truth'], strict=False))
        # the star of 100 sigma is off the scale
        assert [truth[edge] for edge in (0, 1, 10, 20)] == [24192, 2, 2, 2]
        assert counts['denoised'] == counts['truth']

    def test_corner_of_the_first_scene(self, result, scenes):
        first = (scenes[0].image - scenes[0].sky) / scenes[0].sigma
        for name, image in result['cutouts'].items():
            assert np.shape(image) == (96, 96), name
        assert_allclose(result['cutouts']['data'], first[:96, :96], atol=0.005)
        assert result['cutouts']['truth'][50][60] == 100

    def test_nothing_is_left_out_under_a_mask(self):
        scene = make_scene()
        scene.mask[:, 50:] = True
        survey = PixelSurvey(Perfect())
        survey.add(scene)
        result = survey.result()
        assert sum(result['counts']['truth']) == 110 * 50
        assert np.all(np.array(result['cutouts']['data'])[:, 50:] == 0)


class TestSensitivity:
    """With weights that know the truth, but for an error of their own."""

    @pytest.fixture
    def asked(self, monkeypatch):
        asked = []

        def separate(image, mask, *, weights, n_steps=None, normalization=None):
            factor = None if normalization is None else np.median(normalization) * 4
            asked.append(factor if n_steps is None else n_steps)
            source = weights(asked[-1])
            probability = np.where(source > 0.5, 0.5 + source / 1000, 0.0)
            return SimpleNamespace(source=source, probability=probability)

        monkeypatch.setattr('bgrem.pipeline.separate', separate)
        return asked

    def test_known_error(self, asked):
        """A source image that is off by a tenth of the noise everywhere."""
        scene = make_scene()
        survey = SensitivitySurvey(
            lambda _: scene.source + 0.4, steps=(1, 4), factors=(1.0, 2.0)
        )
        survey.add(scene)
        result = survey.result()
        assert asked[:2] == [1, 4]
        # as measured on the noise, of which it is a factor
        assert_allclose(asked[2:], [1, 2], rtol=0.1)
        assert result['n_scenes'] == 1
        for kind, values in (('steps', [1, 4]), ('factors', [1, 2])):
            assert [row['value'] for row in result[kind]] == values
            for row in result[kind]:
                assert_allclose(row['mean_absolute_error'], 0.1)
                # the star of S/N 1 counts neither way, whoever finds it
                assert row['probability'] == row['denoised'] == 3

    def test_only_the_first_scenes(self, asked):
        scene = make_scene()
        survey = SensitivitySurvey(lambda _: scene.source, steps=(2,), factors=())
        for _ in range(6):
            survey.add(scene)
        result = survey.result()
        assert result['n_scenes'] == len(asked) == 4
        assert result['steps'][0]['probability'] == 12
        assert result['factors'] == []

    def test_false_peaks_cost_true_ones(self, asked):
        scene = make_scene()
        false = np.zeros(SHAPE)
        false[10:100:10, 5] = 500.0
        survey = SensitivitySurvey(
            lambda steps: scene.source + (false if steps == 2 else 0),
            steps=(1, 2),
            factors=(),
        )
        survey.add(scene)
        clean, spoilt = survey.result()['steps']
        assert (clean['denoised'], spoilt['denoised']) == (3, 0)
        assert clean['mean_absolute_error'] == 0
        expected = false.sum() / 4 / np.sum(~scene.mask)
        assert_allclose(spoilt['mean_absolute_error'], expected)
