"""
Sources so large that the sky beneath them cannot be measured.
"""

import numpy as np
from scipy import ndimage

from bgrem.sky.mesh import measure_mesh

__all__ = ['choose_large_sources', 'is_smooth', 'large_sources', 'source_glow']

# A tenth of the light of a galaxy that is left over or taken too much is no matter
# where its surface brightness is below this many noise standard deviations. Stars
# are narrower, so that small boxes stay full. Where galaxies fill an image only what
# is brighter can be spared: the first of these that leaves enough of the sky is taken,
# in pixels and in boxes, as gaps between galaxies are no good sky. The last one is left
# with what there is: even a few boxes are better than what is beneath the galaxies.
_LEVELS = (  # surface brightness, least part of the pixels, least part of the boxes
    (0.15, 0.3, 0.25),
    (0.3, 0.3, 0.25),
    (0.5, 0.0, 0.05),
)
_MIN_SIZE = 17  # pixels
# Boxes of the size of a galaxy; of nebulosity they show more than this many noise
# standard deviations, of an even sky next to nothing.
_BOX_SIZE = 48  # pixels
_MAX_STRUCTURE = 0.2
# The darkest pixels of the denoised image: gaps between sources, even in a crowd.
_DARK_PERCENTILE = 2
# More than that, in noise standard deviations, is the light of a galaxy after all.
_MAX_GLOW = 0.1


def choose_large_sources(source, noise, sky, unusable, part_of_boxes):
    """
    Choose the large sources beneath which the sky is to be interpolated.

    Parameters
    ----------
    source : 2D `~numpy.ndarray` of float
        The denoised image.
    noise : 2D `~numpy.ndarray` of float
        The standard deviation of the noise, in the same unit.
    sky : 2D `~numpy.ndarray` of float
        The image without its sources.
    unusable : 2D `~numpy.ndarray` of bool
        True at pixels that cannot be used anyway.
    part_of_boxes : callable
        Takes a mask and returns which part of the boxes can be measured with it.

    Returns
    -------
    large : 2D `~numpy.ndarray` of bool or `None`
        True on large sources: above 0.15, 0.3 or 0.5 times the noise, the first of
        these that leaves enough. `None` where there are none, where even the last
        leaves too few boxes, or where the sky around is too uneven.
    """
    for min_sigma, min_pixels, min_boxes in _LEVELS:
        large = large_sources(source, noise, min_sigma)
        if not large.any():
            return None
        if np.mean(~large, where=~unusable) < min_pixels:
            continue
        hidden = unusable | large
        # the cheap question comes first
        if part_of_boxes(hidden) >= min_boxes:
            return large if is_smooth(sky, hidden) else None
    return None


def large_sources(source, noise, min_sigma=_LEVELS[0][0]):
    """
    Return where a large source hides the sky.

    Parameters
    ----------
    source : 2D `~numpy.ndarray` of float
        The denoised image.
    noise : float or 2D `~numpy.ndarray` of float
        The standard deviation of the noise, in the same unit.
    min_sigma : float, optional
        The surface brightness above which a source hides the sky, in units of
        ``noise``.

    Returns
    -------
    large : 2D `~numpy.ndarray` of bool
        True in all squares of 17 px in which the denoised image is above that
        everywhere (a morphological opening). Beyond the border the image is continued
        by its edge.
    """
    bright = (source > min_sigma * np.asarray(noise)).astype(np.uint8)
    # Of a square the filters along rows and columns are the same, and far faster.
    smallest = ndimage.minimum_filter(bright, _MIN_SIZE, mode='nearest')
    return ndimage.maximum_filter(smallest, _MIN_SIZE, mode='nearest').astype(bool)


def is_smooth(sky, hidden):
    """
    Tell whether a sky can be interpolated where it is hidden.

    Parameters
    ----------
    sky : 2D `~numpy.ndarray` of float
        The image without its sources.
    hidden : 2D `~numpy.ndarray` of bool
        True where it cannot be used.

    Returns
    -------
    smooth : bool
        Whether the level of a box of 48 px is typically within a fifth of a standard
        deviation of the noise of the mean of its two neighbours. Steady gradients
        are smooth. False where no three boxes in a row can be compared.
    """
    mesh = measure_mesh(sky, hidden, _BOX_SIZE)
    bends = [np.diff(mesh.level, 2, axis=axis) / 2 for axis in (0, 1)]
    bends = np.concatenate([bend[np.isfinite(bend)] for bend in bends])
    noise = mesh.noise[np.isfinite(mesh.noise)]
    if not (bends.size and noise.size):
        return False
    return bool(np.median(np.abs(bends)) <= _MAX_STRUCTURE * np.median(noise))


def source_glow(source, noise, visible):
    """
    Return the glow of a denoised image where it is darkest.

    Parameters
    ----------
    source : 2D `~numpy.ndarray` of float
        The denoised image.
    noise : 2D `~numpy.ndarray` of float
        The standard deviation of the noise, in the same unit.
    visible : 2D `~numpy.ndarray` of bool
        True where nothing is hidden, neither by a mask nor by a large source.

    Returns
    -------
    glow : 2D `~numpy.ndarray` of float
        The second percentile of ``source / noise``, between 0 and 0.1, times
        ``noise``.

    Notes
    -----
    Where galaxies fill much of an image the network cannot tell their outskirts from
    the sky, and spreads some hundredths of the noise over all that lies between. There
    is always a place without a source.
    """
    visible = visible & (noise > 0)
    if not visible.any():
        return np.zeros_like(source)
    level = np.percentile(source[visible] / noise[visible], _DARK_PERCENTILE)
    return (np.clip(level, 0, _MAX_GLOW) * noise).astype(source.dtype)
