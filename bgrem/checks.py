"""
Check the values of parameters: messages name the parameter and its allowed values.
"""

import inspect
import operator
import re
from difflib import get_close_matches
from functools import wraps
from pkgutil import resolve_name

import numpy as np

__all__ = [
    'as_number',
    'check_count',
    'check_finite',
    'check_flag',
    'check_promise',
    'check_rate',
    'check_shape',
    'check_threshold',
    'name_meant',
    'suggests_names',
]


# Names that photutils, sep and SExtractor use, and some of this package, and where what
# they mean belongs.
_BELONGS = {
    'wcs': 'world coordinates come with the data, as CCDData, or are wcs of catalog()',
    'gain effectivegain': 'electrons per data unit are effective_gain of catalog()',
    'zeropoint magzeropoint': (
        'the magnitude of a source of one data unit is zero_point of catalog()'
    ),
    'npixels minarea detectminarea': (
        'the least number of pixels of a source is n_pixels of detect()'
    ),
    'nsigma thresh detectthresh threshold falsediscoveryrate': (
        'sources are chosen by false_discovery_rate, or by threshold, a probability, '
        'of detect(), detection_mask() and catalog()'
    ),
    'nlevels contrast deblendnthresh deblendcont deblendmincont': (
        'sources are separated, or not, by deblend of detect()'
    ),
    'bw bh box boxsize backsize': (
        'the boxes of the sky are box_size of DiffusionBackground()'
    ),
    'fw fh filtersize backfiltersize': (
        'the boxes of the sky are filtered by filter_size of DiffusionBackground()'
    ),
    'err error var': 'the total error is error of DiffusionBackground()',
}


def as_number(name, value):
    """
    Return a parameter that must be a real number.

    Parameters
    ----------
    name : str
        The name of the parameter.
    value : float
        Its value, which may be NaN or infinite.

    Returns
    -------
    number : float
        The same.

    Raises
    ------
    TypeError
        If it is not a real number (a string, a sequence, `None`) or has a unit.
    """
    if str(getattr(value, 'unit', None) or ''):
        msg = f'{name} must be a number without a unit, got {value}'
        raise TypeError(msg)
    values = np.asarray(value) if np.isscalar(value) or np.ndim(value) == 0 else None
    if values is None or values.dtype.kind not in 'fiub':
        shape = np.shape(value) if isinstance(value, np.ndarray) else ()
        got = f'an array of shape {shape}' if shape else repr(value)
        msg = f'{name} must be a number, got {got}'
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
        If it is not a real number.
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


def check_flag(name, value):
    """
    Return a parameter that must be `True` or `False`.

    Parameters
    ----------
    name : str
        The name of the parameter.
    value : bool
        Its value; 0 and 1 are also accepted.

    Returns
    -------
    flag : bool
        The value.

    Raises
    ------
    TypeError
        If it is anything else, such as a string, which would always count as `True`.
    """
    try:
        # before numpy 2.4 its booleans are indices too, with a warning
        number = int(value) if isinstance(value, np.bool_) else operator.index(value)
    except TypeError:
        number = None
    if number not in (0, 1):
        msg = f'{name} must be True or False, got {value!r}'
        raise TypeError(msg)
    return bool(number)


def check_shape(name, shape, of_data):
    """
    Check that an image has the shape of the data.

    Parameters
    ----------
    name : str
        The name of the parameter.
    shape, of_data : tuple of int
        Its shape, and that of the data.

    Raises
    ------
    ValueError
        If they differ.
    """
    if shape != of_data:
        msg = f'{name} must have the shape of the data, {of_data}, got {shape}'
        raise ValueError(msg)


def check_rate(false_discovery_rate):
    """
    Refuse a false discovery rate that no threshold can have.

    Parameters
    ----------
    false_discovery_rate : float
        Expected fraction of false detections.

    Raises
    ------
    TypeError, ValueError
        If it is not a number between 0 and 1 (exclusive).
    """
    if not 0 < as_number('false_discovery_rate', false_discovery_rate) < 1:
        msg = (
            'false_discovery_rate must be between 0 and 1 (exclusive), got '
            f'{false_discovery_rate}'
        )
        raise ValueError(msg)


def check_threshold(threshold):
    """
    Refuse a threshold that is not a probability.

    Parameters
    ----------
    threshold : float
        The threshold.

    Raises
    ------
    TypeError, ValueError
        If it is not a number between 0 and 1 (inclusive).
    """
    if not 0 <= as_number('threshold', threshold) <= 1:
        msg = (
            f'threshold must be between 0 and 1 (inclusive), got {threshold}: it is a '
            'probability, not a level of the data'
        )
        raise ValueError(msg)


def check_promise(threshold, false_discovery_rate):
    """
    Return the option by which detections are chosen.

    Parameters
    ----------
    threshold : float or `None`
        The minimum probability of a detection.
    false_discovery_rate : float
        The expected fraction of false detections, not used with ``threshold``.

    Returns
    -------
    promise : dict
        The option that is used, under its name.

    Raises
    ------
    TypeError, ValueError
        If it is out of range.
    """
    if threshold is None:
        check_rate(false_discovery_rate)
        return {'false_discovery_rate': false_discovery_rate}
    check_threshold(threshold)
    return {'threshold': threshold}


def _words(text):
    return re.findall(r'[^\W_]+', text.casefold())


def name_meant(name, known):
    """
    Guess which parameter was meant by an unknown name.

    Parameters
    ----------
    name : str
        The unknown name.
    known : iterable of str
        The existing names.

    Returns
    -------
    known_name : str or `None`
        The name that differs by one or two letters, or only in underscores, hyphens
        and capitals; else the only one with these initials, or that contains this
        word. `None` if there is none.
    """
    short = ''.join(_words(name))
    by_letters = {''.join(_words(one)): one for one in known}
    nearest = get_close_matches(short, by_letters, n=1, cutoff=0.75)
    if nearest:
        return by_letters[nearest[0]]
    found = [
        one
        for one in by_letters.values()
        if short in (*_words(one), ''.join(word[0] for word in _words(one)))
    ]
    return found[0] if len(found) == 1 and len(short) > 1 else None


def suggests_names(passes_to=None):
    """
    Make a function suggest which of its parameters was meant by an unknown name.

    Parameters
    ----------
    passes_to : str, optional
        The callable to which unknown options are passed, such as
        ``'photutils.segmentation:SourceCatalog'``. It is imported only if a name is
        unknown.

    Returns
    -------
    decorator : callable
        For a function, whose signature is preserved.
    """

    def decorate(function):
        @wraps(function)
        def call(*args, **options):
            try:
                return function(*args, **options)
            except TypeError as exc:
                unknown = re.search(r"unexpected keyword argument '(\w+)'", str(exc))
                name = unknown and unknown[1]
                if name not in options:
                    raise
                known = _parameters(function, passes_to)
                if name in known:
                    raise
                # the name that the caller has used, not that of who does the work
                msg = (
                    f'{_short_name(function)}() got an unexpected keyword argument '
                    f'{name!r}{_hint(name, known)}'
                )
                raise TypeError(msg) from None

        return call

    return decorate


def _hint(name, known):
    """Return what to add to a message about a name that is none of those known."""
    short, meant = ''.join(_words(name)), name_meant(name, known)
    for names, text in _BELONGS.items():
        # what is spelled alike can be something else: back_size is no batch_size
        if short in names.split() and (meant is None or meant not in text):
            return f': {text}'
    return '' if meant is None else f': did you mean {meant!r}?'


def _parameters(function, passes_to):
    """Return the names of the parameters of a function and what it passes others to."""
    takers = [function, *([resolve_name(passes_to)] if passes_to else [])]
    kinds = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    return [
        name
        for taker in takers
        for name, parameter in inspect.signature(taker).parameters.items()
        if parameter.kind in kinds and name != 'self'
    ]


def _short_name(function):
    """Return the name by which a function, or the class of a constructor, is called."""
    return function.__qualname__.removesuffix('.__init__').rpartition('.')[2]
