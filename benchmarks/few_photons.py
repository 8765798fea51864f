# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
False detections among few photons: ``python benchmarks/few_photons.py``.

Fields of few stars, most of them bright, as X-ray and ultraviolet images have: per
megapixel a seventh of the sources of the scenes of ``bgrem evaluate``. For each level
of the sky it prints the promised and the observed false discovery rates. ``--normal``
has normal noise of the same variance instead of photons.
"""

import argparse
import warnings

import numpy as np
from astropy.table import QTable
from astropy.utils.exceptions import AstropyUserWarning
from photutils.datasets import make_model_image
from photutils.psf import MoffatPSF
from scipy.spatial import KDTree

from bgrem import DiffusionBackground

_SHAPE = 384, 384
_N_STARS = 40
_FAINTEST, _BRIGHTEST = 15, 405  # photons
_RADIUS = 4.0  # pixels; the FWHM is 3
_RATES = 0.05, 0.1
_LEVELS = 0.1, 0.3, 0.5, 1, 3


def main(argv=None):
    """Run from the command line."""
    parser = argparse.ArgumentParser(description='False detections in few photons.')
    parser.add_argument('--levels', type=float, nargs='+', default=_LEVELS)
    parser.add_argument('--n-images', type=int, default=20)
    parser.add_argument('--seed', type=int, default=400)
    parser.add_argument('--normal', action='store_true')
    parser.add_argument('--weights', default='optical')
    options = parser.parse_args(argv)
    warnings.simplefilter('ignore', AstropyUserWarning)
    for level in options.levels:
        counts = np.zeros((len(_RATES), 2), dtype=int)
        for number in range(options.n_images):
            rng = np.random.default_rng([options.seed, number])
            truth, image = make_field(rng, level, options.normal)
            counts += count_detections(image, truth, options.weights)
        told = '; '.join(
            f'{rate:.0%} promised: {n_false} of {n_all} false, {n_false / n_all:.1%}'
            for rate, (n_all, n_false) in zip(_RATES, counts, strict=True)
        )
        print(f'{level:g} photons in a pixel; {told}', flush=True)


def make_field(rng, level, is_normal):
    """Return the positions of the stars, shape (N, 2), and an image."""
    y, x = rng.uniform(10, np.array(_SHAPE)[:, np.newaxis] - 10, (2, _N_STARS))
    flux = np.exp(rng.uniform(*np.log([_FAINTEST, _BRIGHTEST]), _N_STARS))
    beta = 3.0
    psf = MoffatPSF(alpha=3 / 2 / np.sqrt(2 ** (1 / beta) - 1), beta=beta)
    stars = make_model_image(
        _SHAPE, psf, QTable({'x_0': x, 'y_0': y, 'flux': flux}), model_shape=(71, 71)
    )
    mean = level + stars
    image = rng.normal(mean, np.sqrt(mean)) if is_normal else rng.poisson(mean)
    return np.stack([x, y], axis=1), image.astype(float)


def count_detections(image, truth, weights):
    """Return how many detections there are for each rate, and how many are false."""
    bkg, counts = DiffusionBackground(image, weights=weights), []
    for rate in _RATES:
        table = bkg.catalog(false_discovery_rate=rate).to_table()
        position = np.stack([table['x'], table['y']], axis=1)
        far = KDTree(truth).query(position)[0] > _RADIUS if len(table) else []
        counts.append((len(table), np.count_nonzero(far)))
    return np.array(counts)


if __name__ == '__main__':
    main()
