"""Tests of bgrem.detect.deblend."""

import numpy as np
import pytest

from bgrem.detect.deblend import deblend_region
from bgrem.tests.detect.conftest import blob


@pytest.mark.parametrize('distance', [9, 10, 12])
def test_star_on_a_flank_has_its_light(distance):
    """The watershed leaves it little where it is hardly a maximum."""
    shape = (80, 100)
    galaxy, star = blob(shape, 40, 40, 7, 60), blob(shape, 40, 40 + distance, 2, 25)
    source, x = galaxy + star, np.array([40, 40 + distance])
    labels = deblend_region(source > 0.2, source, 1.0, np.array([40, 40]), x, width=4.7)
    assert star[labels == 2].sum() > 0.8 * star.sum()
    # behind it is the galaxy
    assert labels[40, 62] == labels[40, 40] == 1


def test_flank_behind_a_small_source_is_not_that_of_a_far_star():
    """The small one is all that the far star touches."""
    shape = (21, 160)
    region = np.zeros(shape, dtype=bool)
    region[9:12] = True
    source = blob(shape, 10, 42, 1.2, 5)
    for x, height, width in ((140, 1000, 7), (30, 60, 14)):
        radius = np.hypot(*np.indices(shape) - np.array([10, x]).reshape(2, 1, 1))
        source += height * (1 + (radius / width) ** 2) ** -2.5
    labels = deblend_region(
        region, source, 1.0, np.full(3, 10), np.array([140, 30, 42]), width=2.8
    )
    assert labels[10, 140] == 1
    assert np.all(labels[10, :69] != 1)


def test_light_that_a_chain_of_sources_holds_goes_back_to_the_star():
    """A ghost of a bright star, and in it three sources of which one touches it."""
    shape = (110, 150)
    y, x = np.array([(55, 25), (60, 53), (54, 64), (53, 85)]).T
    radius = np.hypot(*np.indices(shape) - np.array([55, 25]).reshape(2, 1, 1))
    source = 800 * (1 + (radius / 8.8) ** 2) ** -2.5 + blob(shape, 55, 60, 18, 0.7)
    heights = [3, 7.5, 3]
    faint = [
        blob(shape, *p, 1.5, h) for *p, h in zip(y[1:], x[1:], heights, strict=True)
    ]
    source += np.sum(faint, axis=0)
    labels = deblend_region(source > 0.2, source, 1.0, y, x, width=3.5)
    assert np.unique(labels).tolist() == [0, 1, 2, 3, 4]
    for label, light in enumerate(faint, start=2):
        own = labels == label
        assert light[own].sum() > 0.9 * light.sum()
        # the ghost is brighter than that in more than 4000 px
        assert own.sum() < 250
    assert labels[75, 62] == 1
