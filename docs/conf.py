# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Sphinx configuration."""

import os
import sys
from importlib.metadata import version as distribution_version
from pathlib import Path

# sphinx-astropy is configured by importing all its names.
from sphinx_astropy.conf.v3 import *  # noqa: F403

project = 'bgrem'
author = 'The bgrem developers'
copyright = f'2026, {author}'
release = distribution_version('bgrem')
version = '.'.join(release.split('.')[:2])

html_title = f'bgrem {release}'
html_static_path = ['_static']
# The tables are parts of the page of results.
exclude_patterns = ['_build', 'api/*.rst.txt', 'development/tables/*']

sys.path.insert(0, str(Path(__file__).parent / '_ext'))
extensions.append('weights_cards')  # noqa: F405
# The diagrams need graphviz, which pip does not install.
automodapi_inheritance_diagram = False
# The type names of numpydoc sections are prose ("2D array, same unit as data").
numpydoc_xref_param_type = False

intersphinx_mapping.update(  # noqa: F405
    {
        'photutils': ('https://photutils.readthedocs.io/en/stable/', None),
        'torch': ('https://docs.pytorch.org/docs/stable/', None),
        'skimage': ('https://scikit-image.org/docs/stable/', None),
    }
)
# A build without the network: no inventories of other packages, so names of
# other packages stay plain text.
if os.environ.get('BGREM_DOCS_OFFLINE') == '1':
    intersphinx_mapping = {}
