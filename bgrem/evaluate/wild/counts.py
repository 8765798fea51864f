"""
Wild scenes of photon counts, down to one photon in a hundred pixels.
"""

import numpy as np

from bgrem.evaluate.wild.painting import (
    catalog_of,
    grid,
    moffat,
    paint_points,
)
from bgrem.evaluate.wild.scene import WildScene, finish_catalog

__all__ = ['BLANK_LEVELS', 'make_blank', 'poisson_cluster', 'poisson_stars']

BLANK_LEVELS = (0.01, 0.03, 0.1, 0.3, 1.0, 5.0, 20.0)
STAR_LEVELS = (0.01, 0.03, 0.1, 0.3, 1.0, 5.0)
CLUSTER_LEVELS = (0.03, 0.05, 0.1, 0.5)
_MIN_SNR = 3.0
_FWHM = 3.0


def _count(rng, painted, level, psf, judged=None):
    """Return the scene of a source image and a sky, in counted photons."""
    source, catalog = painted
    shape = source.shape
    sigma = np.full(shape, level**0.5, 'f4')
    stamp = psf.stamp()
    # Here the photons of a source are most of its noise.
    snr = np.array(
        [
            np.sqrt(np.sum((f * stamp) ** 2 / (level + f * stamp)))
            for f in catalog['flux']
        ]
    )
    everywhere = np.ones(shape, bool)
    return WildScene(
        image=rng.poisson(level + source).astype('f4'),
        source=source.astype('f4'),
        sky=np.full(shape, level, 'f4'),
        sigma=sigma,
        mask=~everywhere,
        psf=stamp,
        fwhm=psf.fwhm,
        catalog=finish_catalog(catalog, sigma, ~everywhere, snr),
        judged=judged,
        min_snr=_MIN_SNR,
        is_counts=True,
    )


def make_blank(level):
    """
    Return the family of blank skies with a given mean number of counts per pixel.

    Parameters
    ----------
    level : float
        The mean number.

    Returns
    -------
    family : callable
        Like the other families.
    """

    def blank(rng, size, index):
        nothing = np.zeros((size, size)), catalog_of([], [], [], 0.0)
        return _count(rng, nothing, level, moffat(_FWHM))

    blank.__doc__ = f'A blank sky of {level:g} counts in a pixel.'
    return blank


def poisson_stars(rng, size, index):
    """
    Stars of 3 to 400 photons on a sky of 0.01 to 5 photons per pixel.
    """
    level = STAR_LEVELS[index % len(STAR_LEVELS)]
    psf = moffat(_FWHM)
    n = int(8e-4 * size**2)
    x, y = rng.uniform(-0.5, size - 0.5, (2, n))
    flux = 3 * 130 ** rng.random(n) * max(level, 0.3) ** 0.5
    return _count(rng, paint_points((size, size), psf, x, y, flux), level, psf)


def poisson_cluster(rng, size, index):
    """
    A cluster of galaxies in X-rays: a broad halo on a sky of 0.03 to 0.5 counts.
    """
    level = CLUSTER_LEVELS[index % len(CLUSTER_LEVELS)]
    y, x = grid(size)
    center = size * rng.uniform(0.4, 0.6, 2)
    core = 0.1 * size
    radius = np.hypot(y - center[0], x - center[1])
    halo = 2 * (1 + (radius / core) ** 2) ** -1.5
    flux = halo.sum()
    norm = np.sqrt(np.sum(halo**2)) / flux
    catalog = catalog_of(center[1], center[0], flux, norm, 1.3 * core)
    # The halo has no end; beyond this it is lost in the noise of the sky.
    judged = halo < 0.1 * level**0.5
    if not judged.any():
        judged = radius >= np.quantile(radius, 0.9)
    return _count(rng, (halo, catalog), level, moffat(_FWHM), judged)
