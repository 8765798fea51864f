# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Write equations as MathML, which browsers show without a script and the network.

docutils does the translation; Sphinx itself has MathJax, from the network, or LaTeX.
"""

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml


def visit_math(self, node):
    """Write an equation within a line."""
    self.body.append(tex2mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def visit_displaymath(self, node):
    """Write an equation that stands alone."""
    equation = tex2mathml(node.astext(), as_block=True)
    self.body.append(f'<div class="math">{equation}</div>\n')
    raise nodes.SkipNode


def setup(app):
    """Offer it as ``html_math_renderer``."""
    app.add_html_math_renderer('mathml', (visit_math, None), (visit_displaymath, None))
    return {'parallel_read_safe': True}
