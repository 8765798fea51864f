"""
Exposure maps: gaps between detectors, fields of view that end, vignetting.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

__all__ = ['draw_coverage', 'draw_vignetting']


def draw_coverage(shape, rng, *, gaps, border):
    """
    Draw the fraction of the time that each pixel was on a detector.

    Parameters
    ----------
    shape : tuple of int
        Height and width in pixels.

    rng : `~numpy.random.Generator`
        The source of randomness.

    gaps : bool
        Whether there are gaps between detectors, along the pixels or rotated; in a
        dithered field, they have some exposure.

    border : bool
        Whether the field of view ends within the image, at a straight or a round edge.

    Returns
    -------
    coverage : 2D `~numpy.ndarray` of float
        The fraction, between 0 and 1; 1 somewhere.
    """
    coverage = np.ones(shape)
    side = max(shape)
    y, x = np.ogrid[: shape[0], : shape[1]]
    turn = rng.uniform(0, np.pi / 2) if rng.random() < 0.5 else 0.0
    if gaps:
        depth = 1.0 if rng.random() < 0.5 else rng.uniform(0.2, 0.9)
        width = 1 + 0.1 * side * rng.random() ** 3
        for _ in range(rng.integers(1, 4)):
            angle = turn + rng.integers(2) * np.pi / 2
            along = x * np.cos(angle) + y * np.sin(angle)
            middle = rng.uniform(along.min(), along.max())
            inside = np.abs(along - middle) < width / 2
            coverage = np.where(inside, 1 - depth, coverage)
        if depth < 1 and rng.random() < 0.7:
            coverage = gaussian_filter(coverage, rng.uniform(0.5, 3), mode='nearest')
    if border:
        if rng.random() < 0.5:
            along = x * np.cos(turn) + y * np.sin(turn)
            if rng.random() < 0.5:
                along = -along
            low, high = along.min(), along.max()
            seen = along < low + (high - low) * rng.uniform(0.4, 0.95)
        else:
            radius = side * rng.uniform(0.4, 1.2)
            cy, cx = (size * rng.uniform(0.2, 0.8) for size in shape)
            seen = np.hypot(y - cy, x - cx) < radius
        coverage = np.where(seen, coverage, 0.0)
    best = coverage.max()
    return coverage / best if best > 0 else np.ones(shape)


def draw_vignetting(shape, loss, rng):
    """
    Draw the decrease of the exposure with the distance from the axis.

    Parameters
    ----------
    shape : tuple of int
        Height and width in pixels.

    loss : float
        The fraction that is lost at the far corner.

    rng : `~numpy.random.Generator`
        The source of randomness.

    Returns
    -------
    vignetting : 2D `~numpy.ndarray` of float
        1 on the axis, which is anywhere near the image, or at the best pixel.
    """
    cy, cx = (size * rng.uniform(-0.3, 1.3) for size in shape)
    y, x = np.ogrid[: shape[0], : shape[1]]
    square = (y - cy) ** 2 + (x - cx) ** 2
    vignetting = 1 - loss * square / square.max()
    return vignetting / vignetting.max()
