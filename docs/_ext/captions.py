# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Give the pictures of the gallery captions: the labels of their figures.

An example sets one by ``figure.set_label('...')``; without it there is a warning.
"""

import re

from sphinx.util import logging


def figure_scraper(block, block_vars, gallery_conf):
    """Save the figures of a block, and return them as figures with captions."""
    import matplotlib.pyplot as plt
    from sphinx_gallery.scrapers import matplotlib_scraper

    captions = [plt.figure(number).get_label() for number in plt.get_fignums()]
    text = matplotlib_scraper(block, block_vars, gallery_conf)
    images = re.findall(r'image-sg:: (\S+)\n\s+:alt: (.*)\n', text)
    if not all(captions):
        logging.getLogger(__name__).warning(
            'a figure has no label, its caption: %s', block_vars['src_file']
        )
    return ''.join(
        f'\n.. figure:: {path}\n   :alt: {alt}\n   :width: 100%\n\n   {caption}\n\n'
        for (path, alt), caption in zip(images, captions, strict=True)
    )


def _get_sg_image_scraper():
    """Name the scraper to sphinx-gallery."""
    return figure_scraper
