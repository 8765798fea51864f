# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Draw the picture of the README: ``python docs/make_picture.py``.

It is the picture of ``bgrem demo``, reduced in size.
"""

import argparse
import tempfile
from pathlib import Path

from PIL import Image

from bgrem.cli.demo import run_demo

PICTURE = Path(__file__).parent / '_static' / 'demo.png'
WIDTH = 1000


def main():
    """Run the demonstration and keep its picture."""
    parser = argparse.ArgumentParser(description='Draw the picture of the README.')
    parser.add_argument('--weights', default='optical')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run_demo(folder, weights=options.weights)
        picture = Image.open(Path(folder) / 'picture.png').convert('RGB')
    height = round(picture.height * WIDTH / picture.width)
    picture = picture.resize((WIDTH, height), Image.Resampling.LANCZOS)
    PICTURE.parent.mkdir(exist_ok=True)
    picture.save(PICTURE, optimize=True)


if __name__ == '__main__':
    main()
