"""
Sources with a shape: clusters of galaxies and supernova remnants.
"""

import numpy as np

from .emission import power_law_field
from .patch import ExtendedSource
from .significance import template_significance

__all__ = ['beta_model', 'draw_extended', 'draw_remnant', 'shell']


def beta_model(radius, core, beta):
    """
    Return the surface brightness of hot gas in a cluster of galaxies.

    Parameters
    ----------
    radius : `~numpy.ndarray` of float
        Distance from the center.

    core : float
        The core radius, in the same unit.

    beta : float
        The slope; the profile ends at 12 core radii.

    Returns
    -------
    brightness : `~numpy.ndarray` of float
        1 at the center.
    """
    # Cavaliere & Fusco-Femiano 1976.
    profile = (1 + (radius / core) ** 2) ** (0.5 - 3 * beta)
    return np.where(radius < 12 * core, profile, 0.0)


def shell(radius, outer, thickness):
    """
    Return the projection of a hollow sphere.

    Parameters
    ----------
    radius : `~numpy.ndarray` of float
        Distance from the center.

    outer : float
        The radius of the sphere, in the same unit.

    thickness : float
        The fraction of the radius that shines: 1 is a full sphere.

    Returns
    -------
    brightness : `~numpy.ndarray` of float
        The length of the line of sight in the shell.
    """
    inner = outer * (1 - thickness)
    through = np.sqrt(np.maximum(outer**2 - radius**2, 0))
    return through - np.sqrt(np.maximum(inner**2 - radius**2, 0))


def draw_extended(canvas, level, snr, rng):
    """
    Draw a cluster or a remnant.

    Parameters
    ----------
    canvas : `bgrem.simulate.gamma.canvas.Canvas`
        The pixels.

    level : float
        The mean sky in counts per pixel.

    snr : float
        The S/N that the source would have with the whole canvas as the image.

    rng : `~numpy.random.Generator`
        The source of randomness.

    Returns
    -------
    source : `bgrem.simulate.gamma.patch.ExtendedSource`
        The source, whose center is on the image.
    """
    cy, cx = (rng.uniform(-0.5, size - 0.5) for size in canvas.shape)
    y, x = canvas.grid()
    radius, along = _ellipse(canvas, cx, cy, rng)
    side = max(canvas.shape)
    if rng.random() < 0.5:
        core = 1.5 * (side / 12) ** rng.random()
        image = beta_model(radius, core, rng.uniform(0.5, 0.9))
    else:
        outer = 4 * (side / 12) ** rng.random()
        image = _remnant(canvas, radius, along, outer, rng)
    image = image / image.sum()
    counts = np.geomspace(1e-2, 1e9, 23)
    smooth = canvas.smooth(image)
    smooth = smooth[smooth > 1e-3 * smooth.max()]
    sky = np.full(smooth.shape, level)
    known = np.log([template_significance(n * smooth, sky) for n in counts])
    total = np.exp(np.interp(np.log(snr), known, np.log(counts)))
    return ExtendedSource(
        cx, cy, total * image, _half_light_radius(image, x - cx, y - cy)
    )


def draw_remnant(canvas, x, y, outer, rng):
    """
    Draw the remnant of a supernova, or the nebula of a pulsar.

    Parameters
    ----------
    canvas : `bgrem.simulate.gamma.canvas.Canvas`
        The pixels.

    x, y : float
        Its center in pixels of the image.

    outer : float
        Its radius in pixels: that of a shell, or twice the standard deviation of a
        nebula.

    rng : `~numpy.random.Generator`
        The source of randomness.

    Returns
    -------
    source : `bgrem.simulate.gamma.patch.ExtendedSource`
        The source, whose light sums up to 1.
    """
    radius, along = _ellipse(canvas, x, y, rng)
    if rng.random() < 0.5:
        image = _remnant(canvas, radius, along, outer, rng)
    else:
        image = np.exp(-2 * (radius / outer) ** 2)
    image = image / image.sum()
    rows, columns = canvas.grid()
    extent = _half_light_radius(image, columns - x, rows - y)
    return ExtendedSource(x, y, image, extent)


def _ellipse(canvas, cx, cy, rng):
    """Return the distance from a center in ellipses, and that along their axis."""
    y, x = canvas.grid()
    angle, ratio = rng.uniform(0, np.pi), rng.uniform(0.6, 1.0)
    along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
    return np.hypot(along, across / ratio), along


def _remnant(canvas, radius, along, outer, rng):
    """A shell, brighter on one side, with filaments and perhaps a nebula inside."""
    image = shell(radius, outer, rng.uniform(0.08, 1.0))
    image = image * (1 + rng.uniform(0, 0.9) * along / np.maximum(radius, 1e-9))
    knots = power_law_field(canvas.padded, rng.uniform(-3.5, -2.0), rng)
    image = image * np.exp(rng.uniform(0, 0.8) * knots)
    if rng.random() < 0.3:
        inside = outer * rng.uniform(0.1, 0.3)
        image = image + image.max() * np.exp(-((radius / inside) ** 2))
    return image


def _half_light_radius(image, x, y):
    radius = np.hypot(x, y).ravel()
    order = np.argsort(radius)
    light = np.cumsum(image.ravel()[order])
    return float(radius[order][np.searchsorted(light, 0.5 * light[-1])])
