"""
Wild scenes with objects that are in no stamp bank.
"""

import numpy as np
from scipy import ndimage

from bgrem.evaluate.wild.painting import (
    SIGMA,
    SKY,
    catalog_of,
    grid,
    merge,
    moffat,
    paint_field,
    paint_points,
    power_law,
)
from bgrem.evaluate.wild.scene import make_scene

__all__ = ['comet', 'filling_galaxy', 'globular', 'intracluster', 'spirals']

# In noise sigma; where the light of an object is fainter, the sky is judged.
_FAINT = 0.1


def _psf(rng):
    return moffat(rng.uniform(2.2, 4.5))


def _elliptical_radius(rng, size, center, axis_ratio):
    """Return the radius of each pixel in a frame turned at random."""
    y, x = grid(size)
    angle = rng.uniform(0, np.pi)
    u = (x - center[1]) * np.cos(angle) + (y - center[0]) * np.sin(angle)
    v = (y - center[0]) * np.cos(angle) - (x - center[1]) * np.sin(angle)
    return np.hypot(u, v / axis_ratio), np.arctan2(v, u)


def _extended(light, center, half_light_radius):
    """Return an image as one source of the catalog."""
    flux = light.sum()
    norm = np.sqrt(np.sum(light**2)) / flux
    return light, catalog_of(center[1], center[0], flux, norm, half_light_radius)


def filling_galaxy(rng, size, index):
    """
    A disk that reaches the borders of a frame twice as wide as the others, larger than
    what the network sees at once; the sky is judged in its corners.
    """
    size = 2 * size
    psf = _psf(rng)
    center = size * rng.uniform(0.45, 0.55, 2)
    axis_ratio = rng.uniform(0.6, 0.8)
    radius, _ = _elliptical_radius(rng, size, center, axis_ratio)
    half_light = (0.16, 0.2, 0.25, 0.29)[index % 4] * size
    disc = 5 * SIGMA * np.exp(-1.678 * (radius / half_light - 1))
    painted = merge(
        _extended(disc, center, half_light),
        paint_field(rng, disc.shape, psf, int(1e-3 * size**2), (5, 1000)),
    )
    faint = max(_FAINT * SIGMA, np.quantile(disc, 0.02))
    return make_scene(rng, painted, SKY, psf, judged=disc <= faint)


def intracluster(rng, size, index):
    """
    A cluster of galaxies, crowded toward its center, in intracluster light.
    """
    psf = _psf(rng)
    center = size * rng.uniform(0.4, 0.6, 2)
    radius, _ = _elliptical_radius(rng, size, center, 0.7)
    core = rng.uniform(0.05, 0.09) * size
    peak = (2, 4, 8, 16)[index % 4] * SIGMA
    # A de Vaucouleurs-like envelope, ended where it would never end.
    light = peak * (1 + (radius / core) ** 2) ** -1.25
    light *= np.exp(-((radius / (0.35 * size)) ** 4))
    brightest = 60 * SIGMA * np.exp(-3.0 * ((radius / (0.02 * size)) ** 0.5))
    members, catalog = np.zeros_like(light), []
    for snr in power_law(rng, 40, 10, 500, 0.8):
        place = center + rng.standard_cauchy(2) * 0.12 * size
        if not np.all((place > 0) & (place < size - 1)):
            continue
        own, _ = _elliptical_radius(rng, size, place, rng.uniform(0.5, 1))
        half_light = rng.uniform(1.5, 5)
        shape = np.exp(-3.67 * np.sqrt((own / half_light) + 0.05))
        shape = ndimage.gaussian_filter(shape, psf.fwhm / 2.355)
        norm = np.sqrt(np.sum(shape**2))
        shape *= snr * SIGMA / norm
        members += shape
        flux = shape.sum()
        catalog.append((place[1], place[0], flux, snr * SIGMA / flux, half_light))
    painted = merge(
        _extended(light + brightest, center, core),
        (members, catalog_of(*np.reshape(catalog, (-1, 5)).T)),
        paint_field(rng, light.shape, psf, int(1e-3 * size**2)),
    )
    return make_scene(rng, painted, SKY, psf, judged=light + brightest < _FAINT * SIGMA)


def spirals(rng, size, index):
    """
    Spiral galaxies with arms and knots; the knots are sources of their own.
    """
    psf = _psf(rng)
    painted = [paint_field(rng, (size, size), psf, int(1e-3 * size**2))]
    for _ in range(1 + index % 3):
        center = size * rng.uniform(0.2, 0.8, 2)
        scale = rng.uniform(0.04, 0.07) * size
        radius, angle = _elliptical_radius(rng, size, center, rng.uniform(0.5, 0.95))
        pitch = rng.uniform(2.5, 4.5)
        arms = np.cos(2 * angle - pitch * np.log(radius / scale + 0.2))
        disc = np.exp(-radius / scale)
        disc *= rng.uniform(8, 20) * SIGMA * (1 + 0.8 * arms * np.tanh(radius / scale))
        disc = ndimage.gaussian_filter(disc, psf.fwhm / 2.355)
        painted.append(_extended(disc, center, 1.68 * scale))
        # Star-forming regions lie where the arms are bright.
        chance = np.where(arms > 0.5, disc, 0).ravel()
        n = int(rng.integers(8, 20))
        chosen = rng.choice(chance.size, n, replace=False, p=chance / chance.sum())
        y, x = np.unravel_index(chosen, disc.shape)
        norm = np.sqrt(np.sum(psf.stamp() ** 2))
        flux = power_law(rng, n, 8, 100) * SIGMA / norm
        x, y = x + rng.uniform(-0.5, 0.5, n), y + rng.uniform(-0.5, 0.5, n)
        painted.append(paint_points(disc.shape, psf, x, y, flux))
    discs = sum(p[0] for p in painted[1:])
    return make_scene(rng, merge(*painted), SKY, psf, judged=discs < _FAINT * SIGMA)


def globular(rng, size, index):
    """
    A globular cluster, unresolved in its center.
    """
    psf = _psf(rng)
    n = int((1, 2, 3, 4)[index % 4] * 0.008 * size**2)
    center = size * rng.uniform(0.4, 0.6, 2)
    core = rng.uniform(0.05, 0.1) * size
    # Plummer's law, cut at ten core radii.
    u = rng.uniform(0, 0.99, n)
    radius, angle = core * np.sqrt(u / (1 - u)), rng.uniform(0, 2 * np.pi, n)
    x, y = center[1] + radius * np.cos(angle), center[0] + radius * np.sin(angle)
    norm = np.sqrt(np.sum(psf.stamp() ** 2))
    flux = power_law(rng, n, 1, 2000, 0.9) * SIGMA / norm
    painted = paint_points((size, size), psf, x, y, flux)
    return make_scene(rng, painted, SKY, psf)


def comet(rng, size, index):
    """
    A comet: its nucleus, a coma that falls off as 1/distance, and a tail.
    """
    psf = _psf(rng)
    center = size * rng.uniform(0.3, 0.7, 2)
    y, x = grid(size)
    angle = rng.uniform(0, 2 * np.pi)
    along = (x - center[1]) * np.cos(angle) + (y - center[0]) * np.sin(angle)
    across = (y - center[0]) * np.cos(angle) - (x - center[1]) * np.sin(angle)
    radius = np.hypot(along, across)
    strength = (10, 20, 40, 80)[index % 4] * SIGMA
    coma = strength / (1 + radius) * np.exp(-((radius / (0.15 * size)) ** 2))
    width = 2 + 0.15 * np.maximum(along, 0)
    tail = 0.1 * strength / width * np.exp(-((across / width) ** 2) / 2)
    tail *= np.exp(-np.maximum(along, 0) / (0.3 * size)) / (1 + np.exp(-along))
    light = ndimage.gaussian_filter(coma + tail, psf.fwhm / 2.355)
    painted = merge(
        _extended(light, center, 0.05 * size),
        paint_field(rng, light.shape, psf, int(1.5e-3 * size**2)),
    )
    return make_scene(rng, painted, SKY, psf, judged=light < _FAINT * SIGMA)
