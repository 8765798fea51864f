"""Show what is installed, and how weights and products were made."""

import json
import platform
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from bgrem.files.cards import product_provenance
from bgrem.files.products import FITS_ENDINGS
from bgrem.weights import load_weights, shipped_weights

__all__ = ['info']

_PACKAGES = ('bgrem', 'numpy', 'astropy', 'photutils', 'torch', 'galsim')


def info(options):
    """
    Run ``bgrem info``: versions and weights, or how a file was made.

    Parameters
    ----------
    options : `argparse.Namespace`
        The options of the command.
    """
    if options.what is None:
        _print_environment()
    elif not options.what.lower().endswith((*FITS_ENDINGS, '.fz')):
        _print_weights(options.what)
    else:
        provenance = product_provenance(options.what)
        if not provenance:
            msg = f'file {options.what} was not made by bgrem'
            raise ValueError(msg)
        if provenance.pop('boxes', None) == 'auto':
            finest = provenance['box_size'].strip('()').replace(', ', ' x ')
            provenance['box_size'] = f'auto (finest {finest})'
        _print_pairs(provenance.items())


def _print_pairs(pairs):
    pairs = list(pairs)
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        print(f'{name:<{width}}  {value}')


def _print_environment():
    versions = [('python', platform.python_version())]
    for package in _PACKAGES:
        try:
            versions.append((package, version(package)))
        except PackageNotFoundError:
            versions.append((package, 'not installed'))
    _print_pairs(versions)
    print(f'devices: {", ".join(_devices())}')
    print('weights:')
    for row in shipped_weights().values():
        print(f'  {row.name}: {row.description}')
        print(f'    {row.path.name}  sha256 {row.sha256}')


def _devices():
    import torch

    devices = [f'cpu ({torch.get_num_threads()} threads)']
    devices += [
        f'cuda:{i} ({torch.cuda.get_device_name(i)})'
        for i in range(torch.cuda.device_count())
    ]
    if torch.backends.mps.is_available():
        devices.append('mps')
    return devices


def _print_weights(name_or_path):
    weights = load_weights(name_or_path)
    header = weights.header
    training = header.pop('training', None)
    calibration = header.pop('calibration', None)
    header.pop('sha256_state', None)
    n_parameters = sum(p.numel() for p in weights.network().parameters())
    pairs = [('path', weights.path), ('sha256', weights.sha256)]
    if name_or_path in (shipped := shipped_weights()):
        pairs.insert(0, ('purpose', shipped[name_or_path].description))
    pairs += [(name, json.dumps(value)) for name, value in header.items()]
    pairs.append(('n_parameters', n_parameters))
    knots = 0 if calibration is None else np.size(calibration['logit'])
    pairs.append(('calibration', f'{knots} knots' if knots else 'none'))
    _print_pairs(pairs)
    if training is not None:
        print(_indented(training))


def _indented(record, indent=''):
    """Return JSON with a line for each key, and lists on the line of theirs."""
    if not isinstance(record, dict) or not record:
        return json.dumps(record)
    deeper = f'{indent}  '
    lines = (
        f'{deeper}{json.dumps(key)}: {_indented(value, deeper)}'
        for key, value in record.items()
    )
    return '{\n' + ',\n'.join(lines) + f'\n{indent}}}'
