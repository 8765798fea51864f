"""
Sources so large that the sky beneath them cannot be measured.
"""

import numpy as np
from scipy import ndimage

__all__ = ['large_sources']

# A tenth of the light of a galaxy that is left over or taken too much is no matter
# where its surface brightness is below this many noise standard deviations. Stars
# are narrower, so that small boxes stay full in crowded fields.
_MIN_SIGMA = 0.5
_MIN_SIZE = 17  # pixels


def large_sources(source, noise):
    """
    Return where a large source hides the sky.

    Parameters
    ----------
    source : 2D `~numpy.ndarray` of float
        The denoised image.
    noise : float or 2D `~numpy.ndarray` of float
        The standard deviation of the noise, in the same unit.

    Returns
    -------
    large : 2D `~numpy.ndarray` of bool
        True in all squares of 17 px in which the denoised image is above half a
        standard deviation everywhere (a morphological opening). Beyond the border the
        image is continued by its edge.
    """
    bright = (source > _MIN_SIGMA * np.asarray(noise)).astype(np.uint8)
    # Of a square the filters along rows and columns are the same, and far faster.
    smallest = ndimage.minimum_filter(bright, _MIN_SIZE, mode='nearest')
    return ndimage.maximum_filter(smallest, _MIN_SIZE, mode='nearest').astype(bool)
