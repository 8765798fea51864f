"""Tests of the unit in which an image can be squared."""

import warnings

import numpy as np
import pytest
from astropy.utils.exceptions import AstropyUserWarning
from numpy.testing import assert_allclose, assert_array_equal

from bgrem.sky.units import (
    binary_unit,
    error_in_unit,
    factor_in_unit,
    in_unit,
    warn_of_rounding,
)

SHAPE = (40, 30)


def draw(seed=1):
    return 3 + np.random.default_rng(seed).normal(size=SHAPE)


def unit_of(data, unusable=None):
    unusable = np.zeros(data.shape, bool) if unusable is None else unusable
    return binary_unit(data, unusable)


class TestBinaryUnit:
    @pytest.mark.parametrize('exponent', [-900, -120, -40, -24, 0, 20, 40, 120, 900])
    @pytest.mark.parametrize('seed', range(3))
    def test_of_the_order_of_one(self, exponent, seed):
        """A power of two, so that there and back is the same to the last bit."""
        data = np.ldexp(draw(seed), exponent)
        unit = unit_of(data)
        assert np.frexp(unit)[0] == 0.5
        scaled = in_unit(data, unit)
        assert 2.0**-25 < np.median(np.abs(scaled)) < 2.0**25
        assert_array_equal(scaled * unit, data)
        # of what can be squared as it is nothing is changed
        if abs(exponent) < 25:
            assert unit == 1
            assert scaled is data
        else:
            assert 1 <= np.median(np.abs(scaled)) < 2

    @pytest.mark.parametrize('power', [-300, -3, 7, 500])
    def test_moves_with_the_data(self, power):
        data = np.ldexp(draw(), 60)
        assert unit_of(np.ldexp(data, power + 60)) == np.ldexp(
            unit_of(data), power + 60
        )

    def test_sign_order_and_zeros_do_not_matter(self):
        data = np.ldexp(draw(), 90)
        unit = unit_of(data)
        assert unit_of(-data) == unit_of(data[::-1]) == unit_of(data.T) == unit
        data[:20] = 0
        assert unit_of(data) == unit

    def test_what_is_unusable_does_not_matter(self):
        data = np.ldexp(draw(), 90)
        hidden = np.arange(data.size).reshape(SHAPE) % 3 == 0
        unit = unit_of(data, hidden)
        for value in (np.nan, np.inf, 0.0, 1e300):
            assert unit_of(np.where(hidden, value, data), hidden) == unit

    @pytest.mark.parametrize('dtype', ['f4', 'f8'])
    @pytest.mark.parametrize('value', [0.0, np.nan])
    def test_nothing_known(self, value, dtype):
        data = np.full(SHAPE, value, dtype)
        assert unit_of(data, np.isnan(data)) == 1

    def test_one_wild_pixel(self):
        """It is not larger than 1e15 in the unit, whatever the others are."""
        data = draw()
        data[3, 3] = 1e30
        unit = unit_of(data)
        assert unit > 1
        assert data[3, 3] / unit < 2.0**51
        assert data[3, 3] / unit > 2.0**49

    def test_least_numbers(self):
        """Of subnormal numbers the reciprocal is no number."""
        data = np.full(SHAPE, np.finfo(np.float32).smallest_subnormal)
        unit = unit_of(data)
        assert np.isfinite(np.float32(1) / np.float32(unit))


class TestInUnit:
    def test_errors(self):
        error = np.array([[0.0, 1e-20, 4.0], [8.0, 1e17, np.inf]])
        found = error_in_unit(error, 4.0)
        assert_array_equal(found, [[0, 0, 1], [2, 1e15, 1e15]])
        assert_array_equal(error_in_unit(error, 1), [[0, 0, 4], [8, 1e15, 1e15]])
        # what was given stays
        assert error[0, 1] == 1e-20
        assert error_in_unit(None, 4.0) is None

    def test_errors_keep_their_dtype(self):
        error = np.full(SHAPE, 3e30, np.float32)
        assert error_in_unit(error, 2.0**90).dtype == np.float32
        assert_allclose(error_in_unit(error, 2.0**90), 3e30 / 2.0**90, rtol=1e-6)

    @pytest.mark.parametrize(
        'factor', [0.5, 3, np.full(SHAPE, 2), np.ones(SHAPE, 'f4')]
    )
    def test_factors(self, factor):
        """Times the data in their unit it is what it was times the data."""
        data, unit = np.ldexp(draw(), 50), 2.0**50
        found = factor_in_unit(factor, unit)
        assert_allclose(found * in_unit(data, unit), factor * data)
        same = factor_in_unit(factor, 1)
        assert_array_equal(same, factor)
        assert same is not factor or np.isscalar(factor)

    @pytest.mark.parametrize('name', ['local', 'global', 1j, None])
    def test_what_is_no_factor_stays(self, name):
        assert factor_in_unit(name, 2.0**50) == name


class TestRounding:
    @pytest.mark.parametrize('level', [1e6, -1e6, 1e25, 1e-25])
    def test_few_steps_from_the_median(self, level):
        step = np.finfo(np.float32).eps * level
        steps = np.random.default_rng(1).integers(-2, 3, 5000)
        values = (level + steps * step).astype(np.float32)
        with pytest.warns(AstropyUserWarning, match='float32 rounds values near'):
            warn_of_rounding(values)

    @pytest.mark.parametrize(
        'values',
        [
            np.full(5000, 1e6),
            np.where(np.arange(5000) < 4, 1e6 + 0.125, 1e6),
            np.where(np.arange(5000) % 2, 1e6, 1e6 + 1),
        ],
        ids=['constant', 'rare', 'steps'],
    )
    def test_silent(self, values):
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            warn_of_rounding(values.astype(np.float32))
