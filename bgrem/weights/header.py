"""The rules of the header of a weights file."""

import numpy as np

__all__ = ['FORMAT_VERSION', 'check_header']

FORMAT_VERSION = 1
_REQUIRED_KEYS = {
    'format_version',
    'name',
    'network',
    'schedule',
    'n_steps',
    'normalization',
    'tile_size',
    'tile_overlap',
}
# More would be no use, and never end or find no memory.
_LARGEST = {'n_steps': 1000, 'tile_size': 2**14, 'tile_overlap': 2**14}
_OPTIONAL_KEYS = {'calibration', 'training', 'sha256_state'}


def check_header(header, path):
    """
    Refuse an invalid header; the network and the schedule are not checked.

    Parameters
    ----------
    header : dict
        The header.

    path : path-like
        The file, for the messages.

    Raises
    ------
    ValueError
        If a key is invalid, with the name of the first such key, the rule, and the
        value.
    """

    def fail(problem):
        msg = f'weights file {path}: {problem}'
        raise ValueError(msg)

    if not isinstance(header, dict):
        fail(f'its header must be a JSON object, got {type(header).__name__}')
    # First the version: of another version nothing else can be said.
    version = header.get('format_version')
    if version != FORMAT_VERSION:
        fail(
            f'format_version must be {FORMAT_VERSION}, got {version!r}; another '
            'version of bgrem made it'
        )
    if missing := sorted(_REQUIRED_KEYS - set(header)):
        fail(f'its header lacks {", ".join(missing)}')
    if unknown := sorted(set(header) - _REQUIRED_KEYS - _OPTIONAL_KEYS):
        fail(f'its header has unknown keys: {", ".join(unknown)}')
    if not (isinstance(header['name'], str) and header['name']):
        fail(f'name must be a non-empty string, got {header["name"]!r}')
    for key, minimum in (('n_steps', 1), ('tile_size', 1), ('tile_overlap', 0)):
        value = header[key]
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            fail(f'{key} must be an integer >= {minimum}, got {value!r}')
        if value > _LARGEST[key]:
            fail(f'{key} must be at most {_LARGEST[key]}, got {value}')
    if header['tile_overlap'] >= header['tile_size']:
        fail(
            f'tile_overlap must be less than tile_size ({header["tile_size"]}), '
            f'got {header["tile_overlap"]}'
        )
    normalization = header['normalization']
    is_factor = _is_number(normalization) and normalization > 0
    if normalization not in ('local', 'global') and not is_factor:
        fail(
            "normalization must be 'local', 'global' or a factor > 0, got "
            f'{normalization!r}'
        )
    if (calibration := header.get('calibration')) is not None:
        _check_calibration(calibration, fail)


def _check_calibration(calibration, fail):
    keys = {'logit', 'probability'}
    if not isinstance(calibration, dict) or set(calibration) - {'correction'} != keys:
        fail(
            "calibration must have the keys 'logit' and 'probability', may have "
            "'correction', and no other"
        )
    if 'correction' in calibration:
        _check_correction(calibration['correction'], fail)
    try:
        logit = np.asarray(calibration['logit'], dtype=float)
        probability = np.asarray(calibration['probability'], dtype=float)
    except (ArithmeticError, TypeError, ValueError):
        fail('calibration must hold lists of numbers')
    if logit.ndim != 1 or logit.size == 0 or logit.shape != probability.shape:
        fail('calibration logit and probability must be lists of the same length')
    # Written so that NaN fails too.
    if not (np.all(np.isfinite(logit)) and np.all(np.diff(logit) > 0)):
        fail('calibration logit must be finite and strictly ascending')
    # The log-odds of the probability are interpolated: 0 and 1 have none.
    if not np.all((probability > 0) & (probability < 1)):
        fail('calibration probability must be between 0 and 1 (exclusive)')
    if not np.all(np.diff(probability) > 0):
        fail('calibration probability must be strictly ascending')


def _check_correction(correction, fail):
    names = {'offset', 'excess', 'correlation', 'skewness', 'width', 'width_squared'}
    _check_numbers(correction, 'correction', names | {'limits'}, fail)
    limits = correction['limits']
    names = {'lowest', 'typical_width', 'narrowest', 'widest'}
    _check_numbers(limits, 'correction limits', names, fail)
    if not 0 < limits['narrowest'] <= limits['typical_width'] <= limits['widest']:
        fail(
            'calibration correction limits must be positive widths, narrowest <= '
            f'typical_width <= widest, got {limits!r}'
        )


def _check_numbers(values, what, names, fail):
    if not isinstance(values, dict) or set(values) != names:
        fail(f'calibration {what} must have the keys {", ".join(sorted(names))}')
    for name in names - {'limits'}:
        value = values[name]
        if not _is_number(value):
            fail(f'calibration {what} {name} must be a finite number, got {value!r}')


def _is_number(value):
    # Integers of JSON have no bounds.
    is_real = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_real and abs(value) < 1e300
