"""
The parent's own tests, run on this package's class.

photutils ships the tests of Background2D. They are loaded from the installed
package with DiffusionBackground in place of Background2D, and must all pass, but for
those that are listed here with a reason.
"""

import importlib.util
from pathlib import Path

import photutils.background
import pytest

from bgrem import DiffusionBackground

_PATH = Path(photutils.background.__file__).parent / 'tests' / 'test_background_2d.py'
if not _PATH.exists():
    pytest.skip('this photutils comes without its tests', allow_module_level=True)

# Tests of the private kernel of photutils 3.1, which clips the pixels of one box. They
# count the pixels that are left of 24, or of 8, and of these the denoiser has taken
# light out before.
_OF_THE_KERNEL = (
    'test_biweight_final_bounds_survivors',
    'test_degenerate_clip_masks_all',
)


def _load_parent_tests():
    spec = importlib.util.spec_from_file_location('bgrem_contract', _PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # where the tests of the parent look for the class
    module.Background2D = DiffusionBackground
    for name in _OF_THE_KERNEL:
        # photutils 3.0 has no such kernel
        if hasattr(module, 'TestFastBoxStatistics'):
            delattr(module.TestFastBoxStatistics, name)
    return module


_parent_tests = _load_parent_tests()
# fixtures, test classes and test functions
globals().update(
    {key: value for key, value in vars(_parent_tests).items() if key[:2] != '__'}
)


def test_class_under_test():
    """The tests above really run on our class."""
    names = _parent_tests.TestBackground2D.test_background.__globals__
    assert names['Background2D'] is DiffusionBackground
