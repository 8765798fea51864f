"""Tests of bgrem.detect.late."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bgrem.detect.late import LateImage, ShapeImage

PLACES = [np.s_[3:7, 2:5], np.s_[:, :], (np.array([1, 8]), np.array([0, 3]))]


@pytest.fixture
def calls():
    return []


@pytest.fixture
def image():
    return np.random.default_rng(1).normal(size=(100, 7)).astype(np.float32)


@pytest.fixture
def late(image, calls):
    def make():
        calls.append(1)
        return image

    return LateImage(make, image.shape)


class TestLateImage:
    def test_made_once_and_not_before(self, late, image, calls):
        assert late.shape == image.shape
        assert late.value is late
        assert late.unit is None
        assert calls == []
        for place in PLACES:
            assert_array_equal(late[place], image[place])
        assert_array_equal(late, image)
        assert_array_equal(late.ravel(), image.ravel())
        assert calls == [1]

    def test_a_pickle_holds_the_image(self, late, image):
        found = pickle.loads(pickle.dumps(late))
        assert isinstance(found, np.ndarray)
        assert_array_equal(found, image)


class TestShapeImage:
    def test_known_answer(self):
        """The light, and where there is none the probability, in units of the noise."""
        source = np.array([[5.0, -3.0, 0.0]])
        probability, noise = np.array([[0.0, 0.5, 1.0]]), np.array([[2.0, 2.0, np.nan]])
        expected = [[5, 1e-3 * 2 * 0.5, 1e-3 * 2]]
        np.testing.assert_allclose(
            ShapeImage(source, probability, noise), expected, rtol=1e-15
        )

    @pytest.mark.parametrize('place', PLACES)
    def test_parts(self, image, place):
        """What it is somewhere does not depend on what is looked at."""
        rng = np.random.default_rng(2)
        noise = rng.uniform(0.5, 2, image.shape).astype(np.float32)
        noise[4] = 0
        shape = ShapeImage(image, rng.uniform(size=image.shape), noise)
        whole = np.asarray(shape)
        assert whole.shape == shape.shape == image.shape
        assert shape.size == image.size
        assert np.all(whole > 0)
        assert_array_equal(shape[place], whole[place])
        assert_array_equal(shape.ravel()[5:90], whole.ravel()[5:90])
