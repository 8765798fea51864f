"""
Judge detections, sky and photometry against a known truth.

Every method gets the same images in the same run. Methods are compared at equal
contamination, never at thresholds of their own choosing.
"""

from importlib import import_module

# Training uses the matching alone and must not pay for the rest.
_MODULES = {
    'match': 'matching',
    'match_radius': 'matching',
    'detection_curve': 'curves',
    'threshold_at': 'curves',
    'true_positives_at': 'curves',
    'fit_calibration': 'calibration',
    'fit_peaks': 'calibration',
    'fit_table': 'calibration',
    'reliability': 'calibration',
    'run_suite': 'suite',
    'run_real': 'real',
    'markdown_report': 'report',
    'write_report': 'report',
}

__all__ = list(_MODULES)


def __getattr__(name):
    if name not in _MODULES:
        msg = f'module {__name__!r} has no attribute {name!r}'
        raise AttributeError(msg)
    return getattr(import_module(f'{__name__}.{_MODULES[name]}'), name)


def __dir__():
    return sorted([*globals(), *__all__])
