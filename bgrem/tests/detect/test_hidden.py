"""
Tests of bgrem.detect.hidden.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bgrem.detect import hidden as module
from bgrem.detect.hidden import doubt_hidden_centers
from bgrem.tests.detect.conftest import blob

SHAPE = (40, 40)
SIGMA = 3.0 / 2.3548


def beside(column, flux=60.0):
    """Return a star in noise and a mask that hides all from column 20 on."""
    noise = np.random.default_rng(3).standard_normal(SHAPE)
    peak = flux / (2 * np.pi * SIGMA**2)
    hidden = np.zeros(SHAPE, dtype=bool)
    hidden[:, 20:] = True
    return blob(SHAPE, 20, column, SIGMA, peak) + noise, hidden


class TestDoubtHiddenCenters:
    @pytest.mark.parametrize(('column', 'flux'), [(14, 30.0), (17, 60.0), (18, 200.0)])
    def test_visible_centers_are_trusted(self, column, flux):
        image, hidden = beside(column, flux)
        probability = blob(SHAPE, 20, column, 1.0, 0.99)
        result = doubt_hidden_centers(probability, image, hidden)
        assert result[20, column] > 0.95

    @pytest.mark.parametrize('column', [21, 22])
    def test_wings_of_hidden_stars_are_not(self, column):
        image, hidden = beside(column, 1000.0)
        probability = blob(SHAPE, 20, 18, 1.0, 0.99)
        result = doubt_hidden_centers(probability, image, hidden)
        assert result[20, 18] < 0.2
        assert_array_equal(result[:, :15], probability[:, :15])

    def test_one_hidden_pixel_in_a_core_is_where_the_source_is(self):
        image, _ = beside(20)
        hidden = np.zeros(SHAPE, dtype=bool)
        hidden[20, 20] = True
        probability = blob(SHAPE, 20, 20, 1.0, 0.99)
        result = doubt_hidden_centers(probability, image, hidden)
        assert_allclose(result[20, 19], probability[20, 19], rtol=0.01)

    def test_only_visible_values_matter(self):
        image, hidden = beside(21)
        probability = np.full(SHAPE, 0.9)
        expected = doubt_hidden_centers(probability, image, hidden)
        image[hidden] = np.nan
        assert_array_equal(doubt_hidden_centers(probability, image, hidden), expected)

    def test_without_hidden_pixels_or_light_nothing_changes(self):
        image, hidden = beside(22)
        probability = np.full(SHAPE, 0.9)
        nothing = np.zeros(SHAPE, dtype=bool)
        for seen, mask in ((image, nothing), (np.zeros(SHAPE), hidden)):
            result = doubt_hidden_centers(probability, seen, mask)
            assert_array_equal(result, probability)

    @pytest.mark.parametrize('factor', [-1e30, 1e30])
    def test_any_light_is_finite(self, factor):
        image, hidden = beside(21)
        probability = np.full(SHAPE, 0.9, dtype=np.float32)
        result = doubt_hidden_centers(probability, factor * image, hidden)
        assert result.dtype == np.float32
        assert np.all((result >= 0) & (result <= probability))

    def test_blocks_do_not_show(self, monkeypatch):
        image, hidden = beside(21)
        probability = np.full(SHAPE, 0.9)
        expected = doubt_hidden_centers(probability, image, hidden)
        monkeypatch.setattr(module, '_BLOCK', 7)
        assert_array_equal(doubt_hidden_centers(probability, image, hidden), expected)
