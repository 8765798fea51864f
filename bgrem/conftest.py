# Licensed under a 3-clause BSD style license - see LICENSE.rst
import os

# No test opens a window; set before anything imports matplotlib.
os.environ.setdefault('MPLBACKEND', 'agg')


def pytest_configure(config):
    """List the packages that matter in the header of the test report."""
    try:
        from pytest_astropy_header.display import PYTEST_HEADER_MODULES
    except ImportError:  # the header is optional
        return
    config.option.astropy_header = True
    PYTEST_HEADER_MODULES.pop('Pandas', None)
    PYTEST_HEADER_MODULES.pop('h5py', None)
    PYTEST_HEADER_MODULES.update(
        {
            'astropy': 'astropy',
            'photutils': 'photutils',
            'scikit-image': 'skimage',
            'torch': 'torch',
            'galsim': 'galsim',
            'sep': 'sep',
        }
    )
