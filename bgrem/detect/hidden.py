"""
Whether the center of a source is hidden beside the pixels that show it.

The wing of a star under a mask looks like a faint source at the edge of the mask, and
the network is sure of it. Numpy and scipy only.
"""

import numpy as np
from scipy import ndimage

from bgrem.detect.peaks import MIN_PROBABILITY

__all__ = ['doubt_hidden_centers']

# Stars and small galaxies as the network knows them: the FWHM in pixels.
_WIDTHS = (3.0, 4.8)
_FWHM = 2.3548  # standard deviations
# Pixels. A hidden center this near is where the source is said to be: a detection is
# true within 2 px, and its position known to half a pixel. One farther than the reach
# has next to no light here.
_NEAR = 1.5
_REACH = 4
_LEAST_SEEN = 1e-4  # of the sum of the squares of a star, per pixel
_BRIGHTEST = 1e6  # in units of the noise; its square is far from the largest number
_BLOCK = 2**14  # pixels looked at at once


def doubt_hidden_centers(probability, image, hidden):
    """
    Lower the probability of a source beside hidden pixels by the chance that its
    center is hidden beneath them.

    Parameters
    ----------
    probability : 2D `~numpy.ndarray` of float
        The probability that a source center lies at the pixel, if all were visible.
    image : 2D `~numpy.ndarray` of float
        The image without its sky, in units of the noise. Values at hidden pixels are
        not used.
    hidden : 2D `~numpy.ndarray` of bool
        True at pixels that are not visible.

    Returns
    -------
    probability : 2D `~numpy.ndarray`
        A new array, which differs only within 4 px of hidden pixels.

    Notes
    -----
    At each place, the evidence for a star or a galaxy is that of the visible pixels:
    ``exp(w F**2 / 2) / sqrt(w)``, with the output ``F`` of their matched filter, of
    inverse variance ``w`` in units of the noise, times the number of sources of that
    brightness, which is proportional to ``F**-2``. The probability is multiplied by the
    fraction of the evidence within 4 px that lies on visible pixels or within 1.5 px.
    """
    probability = probability.copy()
    near = ndimage.maximum_filter(hidden, size=2 * _REACH + 1)
    y, x = np.nonzero(near & ~hidden & (probability >= MIN_PROBABILITY))
    if y.size == 0:
        return probability
    evidence = np.pad(_log_evidence(image, hidden), _REACH, constant_values=-np.inf)
    unseen = np.pad(hidden, _REACH)
    dy, dx = np.indices((2 * _REACH + 1,) * 2) - _REACH
    distance = np.hypot(dy, dx)
    within = distance <= _REACH
    dy, dx, here = dy[within], dx[within], distance[within] <= _NEAR
    for start in range(0, y.size, _BLOCK):
        part = np.s_[start : start + _BLOCK]
        rows, columns = (
            one[part, np.newaxis] + _REACH + step for one, step in ((y, dy), (x, dx))
        )
        around = evidence[rows, columns]
        highest = around.max(axis=1, keepdims=True)
        # no light at all says nothing
        weight = np.exp(around - np.where(np.isfinite(highest), highest, 0))
        seen = np.sum(weight * (here | ~unseen[rows, columns]), axis=1)
        total = weight.sum(axis=1)
        share = np.divide(seen, total, out=np.ones_like(total), where=total > 0)
        probability[y[part], x[part]] *= share
    return probability


def _log_evidence(image, hidden):
    """Return the logarithm of the evidence for a source at each pixel."""
    visible = (~hidden).astype(float)
    light = np.where(hidden, 0.0, np.clip(image, -_BRIGHTEST, _BRIGHTEST))
    evidence = np.full(hidden.shape, -np.inf)
    for width in _WIDTHS:
        sigma = width / _FWHM
        total = ndimage.gaussian_filter(light, sigma, mode='constant')
        # the square of a Gaussian is one, narrower
        squares = ndimage.gaussian_filter(visible, sigma / np.sqrt(2), mode='constant')
        squares /= 4 * np.pi * sigma**2
        known = (total > 0) & (squares > _LEAST_SEEN)
        total, squares = np.where(known, total, 0), np.where(known, squares, 1)
        # fainter than the noise of a pixel there is no end to their number
        flux = np.maximum(total / squares, 1)
        term = 0.5 * total**2 / squares - 2 * np.log(flux) - 0.5 * np.log(squares)
        evidence = np.logaddexp(evidence, np.where(known, term, -np.inf))
    return evidence
