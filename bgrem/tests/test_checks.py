import numpy as np
import pytest

from bgrem.checks import as_number, check_count, check_finite, name_meant


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


NAMES = ['box_size', 'filter_size', 'n_steps', 'mask', '--zero-point']


@pytest.mark.parametrize('name', NAMES)
def test_a_name_means_itself(name):
    """Whatever its underscores, hyphens and capitals, and with a letter wrong."""
    assert name_meant(name, NAMES) == name
    assert name_meant(name.upper().replace('_', ''), NAMES) == name
    assert name_meant(name.replace('_', '-'), NAMES) == name
    assert name_meant(f'{name}s', NAMES) == name


@pytest.mark.parametrize('name', ['', 'x', 'wavelength', 'steps_of_the_network'])
def test_a_name_that_means_nothing(name):
    assert name_meant(name, NAMES) is None
    assert name_meant(name, []) is None
