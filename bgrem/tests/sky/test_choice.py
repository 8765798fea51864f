"""Tests of what is chosen for the caller."""

import numpy as np
import pytest
from astropy.utils.exceptions import AstropyUserWarning
from photutils.background import MeanBackground, MedianBackground

from bgrem.sky.boxes import measure_sky
from bgrem.sky.choice import choose_one_box, chosen_estimators, is_automatic

SHAPE = (256, 300)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]
NOISE = np.random.default_rng(8).normal(size=SHAPE)
FLAT = 0 * X
WAVES = 4 * np.sin(2 * np.pi * X / 60) * np.sin(2 * np.pi * Y / 60)


def choose(structure, *, count_boxes=lambda *_: 1, **options):
    data = structure + NOISE
    sky = measure_sky(data, np.zeros(SHAPE), np.isfinite(data), np.ones(SHAPE))
    return choose_one_box(sky, SHAPE, options, count_boxes)


def test_is_automatic():
    assert is_automatic('auto')
    assert not any(is_automatic(size) for size in (32, (8, 16), np.array([4, 4])))
    with pytest.raises(ValueError, match="box_size must be 'auto' or a number of"):
        is_automatic('large')


class TestChooseOneBox:
    def test_structure_decides(self):
        """Large boxes and a filter where it is flat, small ones in nebulosity."""
        size, options = choose(FLAT)
        assert size == 128
        size, options = choose(WAVES)
        assert size == 8
        assert options['filter_size'] == 1
        assert options['exclude_percentile'] == 100

    def test_what_is_given_stays(self):
        given = {'filter_size': (1, 3), 'exclude_percentile': 30.0}
        _, options = choose(WAVES, **given)
        assert given.items() <= options.items()
        assert isinstance(options['bkg_estimator'], MeanBackground)

    @pytest.mark.parametrize(
        'given', [{'bkg_estimator': MedianBackground()}, {'sigma_clip': None}]
    )
    def test_estimators_belong_together(self, given):
        """With one given the others are the parent's."""
        options = choose(FLAT, **given)[1]
        assert options.keys() - given.keys() == {'filter_size', 'exclude_percentile'}

    def test_no_choice(self):
        options = choose(FLAT, bkg_estimator=None)[1]
        assert options.keys() >= chosen_estimators().keys()
        assert isinstance(options['bkg_estimator'], MeanBackground)

    def test_boxes_that_can_be_measured(self):
        """The next best where masks leave none, at last a single pixel."""
        tried = []

        def count_boxes(size, options):
            tried.append((size, options['filter_size']))
            return size == 1

        with pytest.warns(AstropyUserWarning, match='boxes of 1 px and 10.0 are used'):
            size, _ = choose(FLAT, count_boxes=count_boxes, exclude_percentile=10.0)
        assert size == 1
        assert len(tried) == len(set(tried)) == 13

    def test_no_boxes_at_all(self):
        """What cannot be is not done; it is said."""

        def count_boxes(size, options):
            return options['exclude_percentile'] > 0

        with pytest.warns(AstropyUserWarning, match='percentile=0 leaves no box that'):
            size, options = choose(FLAT, count_boxes=count_boxes, exclude_percentile=0)
        assert size == 128
        assert options['exclude_percentile'] == 100
