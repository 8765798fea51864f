"""
Sources in a starlet transform with stabilized variance (MS-VSTS).
"""

import numpy as np
from scipy import ndimage

from bgrem.detect.peaks import find_peaks
from bgrem.evaluate.peers import Detections

__all__ = ['starlet', 'starlet_significance']

_N_SCALES = 3
_LOWEST = 2.0


def starlet(scene):
    """
    Find the peaks of the most significant starlet coefficient.

    Parameters
    ----------
    scene : `~bgrem.evaluate.scenes.Scene`
        The scene, of which only counts and mask are used.

    Returns
    -------
    detections : `~bgrem.evaluate.peers.Detections`
        The score is the significance.
    """
    snr = starlet_significance(scene.image)
    peaks = find_peaks(snr, scene.mask, _LOWEST)
    return Detections(
        peaks['x_center'], peaks['y_center'], peaks['probability'].astype(float)
    )


def starlet_significance(counts, n_scales=_N_SCALES):
    """
    Return the highest starlet coefficient of any scale, in units of its noise.

    Parameters
    ----------
    counts : 2D `~numpy.ndarray` of float
        The image.
    n_scales : int, optional
        The number of scales of 1, 2, 4, ... pixels.

    Returns
    -------
    significance : 2D `~numpy.ndarray` of float
        An image of the same shape; normally distributed where the sky is flat.
    """
    smooth = np.asarray(counts, float)
    kernel = np.ones(1)
    before, before_kernel = _stabilize(smooth, kernel), kernel
    best = np.full(smooth.shape, -np.inf)
    for scale in range(n_scales):
        taps = np.zeros(4 * 2**scale + 1)
        taps[:: 2**scale] = np.array([1, 4, 6, 4, 1]) / 16
        for axis in (0, 1):
            smooth = ndimage.convolve1d(smooth, taps, axis, mode='mirror')
        kernel = np.convolve(before_kernel, taps)
        after = _stabilize(smooth, kernel)
        sigma = _difference_sigma(before_kernel, kernel)
        best = np.maximum(best, (before - after) / sigma)
        before, before_kernel = after, kernel
    return best


def _stabilize(values, kernel):
    """Zhang, Fadili & Starck 2008, eqs. 8, 13 and 14, for a kernel of unit sum."""
    second, third = (np.sum(kernel**k) ** 2 for k in (2, 3))
    shift = 7 * second / 8 - third / (2 * second)
    values = values + shift
    return np.sign(values) * np.sqrt(np.abs(values))


def _difference_sigma(before, after):
    """The same, Theorem 2: the noise of a coefficient, on any flat sky."""
    wide = np.pad(before, (len(after) - len(before)) // 2)
    squares = (np.sum(before**2) ** 2, np.sum(after**2) ** 2, np.sum(wide * after) ** 2)
    return np.sqrt(squares[0] / 4 + squares[1] / 4 - squares[2] / 2)
