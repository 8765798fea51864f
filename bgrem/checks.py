"""
Values of parameters, checked: a message names the parameter and what it may be.
"""

import operator

import numpy as np

__all__ = ['as_number', 'check_count', 'check_finite']


def as_number(name, value):
    """
    Return a parameter that must be a real number.

    Parameters
    ----------
    name : str
        The name of the parameter.
    value : float
        Its value, NaN and infinity among them.

    Returns
    -------
    number : float
        The same.

    Raises
    ------
    TypeError
        If it is no real number: text, a sequence, `None`.
    """
    values = np.asarray(value) if np.isscalar(value) or np.ndim(value) == 0 else None
    if values is None or values.dtype.kind not in 'fiub':
        msg = f'{name} must be a number, got {value!r}'
        raise TypeError(msg)
    return float(values)


def check_finite(name, value):
    """
    Return a parameter that must be a finite number.

    Parameters
    ----------
    name, value
        As for `as_number`.

    Returns
    -------
    number : float
        The same.

    Raises
    ------
    TypeError
        If it is no real number.
    ValueError
        If it is NaN or infinite.
    """
    number = as_number(name, value)
    if not np.isfinite(number):
        msg = f'{name} must be finite, got {number}'
        raise ValueError(msg)
    return number


def check_count(name, value):
    """
    Check a parameter that must be a positive integer.

    Parameters
    ----------
    name : str
        The name of the parameter.
    value : int
        Its value.

    Returns
    -------
    count : int
        The value.

    Raises
    ------
    ValueError
        If it is not a positive integer.
    """
    try:
        count = operator.index(value)
    except TypeError:
        count = 0
    if count < 1:
        msg = f'{name} must be a positive integer, got {value!r}'
        raise ValueError(msg)
    return count
