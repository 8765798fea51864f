import inspect

import numpy as np
import pytest
from astropy import units as u

from bgrem.checks import (
    as_number,
    check_count,
    check_finite,
    check_flag,
    check_shape,
    name_meant,
    suggests_names,
)


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


@pytest.mark.parametrize('value', [3 * u.Jy, 5 * u.percent, 25 * u.ABmag])
def test_number_with_a_unit(value):
    with pytest.raises(TypeError, match='threshold must be a number without a unit'):
        as_number('threshold', value)


@pytest.mark.parametrize(
    'value', [3, 2.5, 3 * u.one, np.float32(1.5), np.array(4), True, np.inf]
)
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


@pytest.mark.parametrize(
    ('name', 'meant'),
    [('bs', 'box_size'), ('box', 'box_size'), ('Zero', '--zero-point'), ('size', None)],
)
def test_initials_and_words(name, meant):
    """If they are those of one name alone."""
    assert name_meant(name, NAMES) == meant


@pytest.mark.parametrize('value', [True, np.True_, 1, False, np.False_, 0])
def test_flag(value):
    flag = check_flag('clip', value)
    assert type(flag) is bool
    assert flag == value


@pytest.mark.parametrize('value', ['no', 'False', None, 2, 0.5, [True], np.ones(2)])
def test_no_flag(value):
    with pytest.raises(TypeError, match='clip must be True or False, got'):
        check_flag('clip', value)


@suggests_names()
def inner(one_thing, *, other_thing=1):
    """Add."""
    return one_thing + other_thing


@suggests_names(f'{__name__}:inner')
def outer(*, third_thing=1, **options):
    return third_thing * inner(**options)


def test_suggestions_change_nothing_else():
    assert outer(third_thing=2, one_thing=3) == 8
    assert list(inspect.signature(inner).parameters) == ['one_thing', 'other_thing']
    assert inner.__doc__ == 'Add.'
    with pytest.raises(TypeError, match="missing .* argument: 'one_thing'"):
        inner()
    with pytest.raises(TypeError, match='can only concatenate'):
        inner('1')


@pytest.mark.parametrize(
    ('function', 'name', 'match'),
    [
        (
            inner,
            'otherthing',
            r"^inner\(\) got an .* 'otherthing': did .* 'other_thing'",
        ),
        (
            outer,
            'thirdthing',
            r"^outer\(\) got an .* 'thirdthing': did .* 'third_thing'",
        ),
        (outer, 'other', r"^outer\(\) got an .* 'other': did you mean 'other_thing'"),
        (inner, 'colour', r"^inner\(\) got an unexpected keyword argument 'colour'$"),
        (outer, 'colour', r"^outer\(\) got an unexpected keyword argument 'colour'$"),
        (
            inner,
            'wcs',
            r"'wcs': world coordinates come with the data, .* of catalog\(\)$",
        ),
        (inner, 'DETECT_MINAREA', r"'DETECT_MINAREA': the least .* is n_pixels of det"),
        (
            outer,
            'nsigma',
            r"'nsigma': sources are chosen by false_discovery_rate, or by",
        ),
    ],
)
def test_suggestions(function, name, match):
    """By the name of what was called, of all that it takes; or where that is."""
    with pytest.raises(TypeError, match=match):
        function(**{'one_thing': 1, name: 2})


def test_shape():
    """Of an image that comes with the data; what is of the same shape passes."""
    assert check_shape('labels', (3, 4), (3, 4)) is None
    match = r'^labels must have the shape of the data, \(3, 4\), got \(4, 3\)$'
    with pytest.raises(ValueError, match=match):
        check_shape('labels', (4, 3), (3, 4))
