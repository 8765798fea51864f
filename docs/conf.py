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
html_css_files = ['bgrem.css']
# Without the logo and the links of the Astropy project, whose package this is not; and
# with the whole list of pages at the left of each.
html_theme = 'pydata_sphinx_theme'
html_theme_options = {
    'logo': {'text': f'bgrem {version}'},
    'navbar_center': [],
    # Not beside the examples: their code is as wide as the page.
    'secondary_sidebar_items': {
        pages: ['page-toc'] for pages in ('*', 'user_guide/*', 'development/*')
    },
}
html_sidebars = {'**': ['globaltoc.html']}
# The tables are parts of the page of results.
exclude_patterns = [
    '_build',
    'api/*.rst.txt',
    'development/tables/*',
    'examples/*',
    'gallery/*.py',
    'gallery/*.ipynb',
]

sys.path.insert(0, str(Path(__file__).parent / '_ext'))
extensions += [  # noqa: F405
    'mathml',
    'result_figures',
    'weights_cards',
    'sphinx_gallery.gen_gallery',
]
html_math_renderer = 'mathml'
# No progress bars among what the examples print.
os.environ['TQDM_DISABLE'] = '1'
# Every example is run, without the network, and one that fails stops the build.
sphinx_gallery_conf = {
    'examples_dirs': 'examples',
    'gallery_dirs': 'gallery',
    'within_subsection_order': 'FileNameSortKey',
    'download_all_examples': False,
    'show_memory': False,
    # What is not printed is no output.
    'capture_repr': (),
    'write_computation_times': False,
    'show_signature': False,
    'abort_on_example_error': True,
    'reference_url': {'bgrem': None},
    'backreferences_dir': None,
    'matplotlib_animations': False,
    'image_scrapers': ('captions',),
}
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
