"""
Values of parameters, checked: a message names the parameter and what it may be.
"""

import operator
from difflib import get_close_matches

import numpy as np

__all__ = ['as_number', 'check_count', 'check_finite', 'name_meant']


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


def name_meant(name, known):
    """
    Guess which parameter was meant by a name that is none.

    Parameters
    ----------
    name : str
        What was written.
    known : iterable of str
        The names that there are.

    Returns
    -------
    known_name : str or `None`
        The one that differs by a letter or two, or by underscores, hyphens and
        capitals alone;
        `None` where no name is so near.
    """

    def bare(text):
        return text.replace('_', '').replace('-', '').casefold()

    by_letters = {bare(one): one for one in known}
    nearest = get_close_matches(bare(name), by_letters, n=1, cutoff=0.8)
    return by_letters[nearest[0]] if nearest else None
