import numpy as np
import pytest

from bgrem.checks import as_number, check_count, check_finite


@pytest.mark.parametrize('value', [0, -2, 1.5, '3', None])
def test_check_count(value):
    with pytest.raises(ValueError, match='n_steps must be a positive integer, got'):
        check_count('n_steps', value)
    assert check_count('n_steps', np.int64(3)) == 3


@pytest.mark.parametrize(
    'value', ['3', None, (1, 2), [1], {}, 1 + 0j, np.zeros(3), b'1']
)
def test_no_number(value):
    with pytest.raises(TypeError, match='zero_point must be a number, got'):
        as_number('zero_point', value)


@pytest.mark.parametrize('value', [3, 2.5, np.float32(1.5), np.array(4), True, np.inf])
def test_number(value):
    number = as_number('threshold', value)
    assert type(number) is float
    assert number == value


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_check_finite(value):
    with pytest.raises(ValueError, match='zero_point must be finite, got'):
        check_finite('zero_point', value)
    assert check_finite('zero_point', -3) == -3.0
