"""
Diffusion-model background removal for astronomical images.

`DiffusionBackground` is a drop-in replacement for
`photutils.background.Background2D`. The public names are loaded on first
use, so that ``import bgrem`` is fast: it imports neither torch nor
GalSim nor matplotlib.
"""

import importlib

__all__ = [
    'DiffusionBackground',
    '__version__',
    'decode_detection_flags',
    'detect_file',
    'list_weights',
    'load_weights',
    'make_detection_mask',
    'subtract_array',
    'subtract_file',
]

_HOMES = {
    'decode_detection_flags': 'bgrem.detect.flags',
    'detect_file': 'bgrem.scale.stream',
    'DiffusionBackground': 'bgrem.background',
    'make_detection_mask': 'bgrem.masking',
    'list_weights': 'bgrem.weights',
    'load_weights': 'bgrem.weights',
    'subtract_array': 'bgrem.scale.arrays',
    'subtract_file': 'bgrem.scale.stream',
}


def __getattr__(name):
    if name == '__version__':
        from importlib.metadata import version

        value = version('bgrem')
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        msg = f'module {__name__!r} has no attribute {name!r}'
        raise AttributeError(msg)
    # cached as a plain attribute: __getattr__ runs once per name
    globals()[name] = value
    return value


def __dir__():
    return __all__
