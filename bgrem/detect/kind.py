"""
Whether an image is of the kind for which weights were trained.

The calibrated probabilities, corrected by what the image says about itself, hold for
images like those of the calibration. Some images show by themselves that they are
different: what looks like sources lies on the ridges of a nebula, fills the image, is
narrower than a pixel, or is also found in the noise without sources, or there are
hardly any photons. Numpy and scipy only.
"""

import math

import numpy as np

from bgrem.detect.peaks import peak_roundness
from bgrem.sky.counts import sparse_step
from bgrem.sky.mesh import LAG, measure_mesh
from bgrem.sky.noise import away_from_sources
from bgrem.sky.windows import middle_of

__all__ = ['find_doubts', 'sky_structure']

# The shape of a peak is seen above this many standard deviations of the noise.
_SHAPE_SIGMA = 3.0
# A peak half as curved along one direction as along the other lies on a ridge; among
# stars and galaxies, also in crowds, up to a sixth do, of some dozens a quarter by
# chance.
_RIDGE = 0.5
_MIN_SHAPES = 30
_MAX_RIDGES = 0.22
# Sky that is rougher over 8 px than over 3 px, as a ratio of the noise seen there;
# nebulae, fringes and steps are, and sources are found beside them all the same.
_FAR_LAG = 8
_MAX_STRUCTURE = 1.15
# The least part of the image from which the noise is known.
_MIN_CLEAN = 0.2
_MIN_WIDTH = 1.4  # pixels; less is hardly seen from a hot pixel
# Of the natural logarithm of what is found in the noise without sources, over what is
# promised: where the promise holds it is below 2, also where photons are few.
_MAX_EXCESS = 2.0
_MIN_COUNTS = 0.3  # in a pixel; training and calibration have hardly any with fewer
# The structure is measured on the middle of large images.
_MAX_SIDE = 1024


def find_doubts(
    data, unusable, source, noise, found, check, *, binning=1, sharpening=0.0
):
    """
    Return the reasons why the false discovery rate may not hold for an image.

    Parameters
    ----------
    data : 2D `~numpy.ndarray` of float
        The image.
    unusable : 2D `~numpy.ndarray` of bool
        True at pixels to ignore, including all that are not finite.
    source : 2D `~numpy.ndarray` of float
        The denoised image.
    noise : 2D `~numpy.ndarray` of float
        The standard deviation of the noise, in the same unit.
    found : structured `~numpy.ndarray`
        The detections, from the peaks of `bgrem.detect.peaks.find_peaks`. If there are
        none, the only possible reason is that the image may need other weights.
    check : `bgrem.detect.discovery.ImageCheck`
        The result of the flipped residual.
    binning : int, optional
        The side, in pixels, of the squares into which the image was binned for the
        network.
    sharpening : float, optional
        The standard deviation, in pixels, of the Gaussian deconvolved from it before.

    Returns
    -------
    doubts : list of str
        The reasons; empty if there are none.
    """
    doubts = []
    usable = ~unusable & (noise > 0)
    step = sparse_step(data, unusable, noise)
    # Of the sky: a few bright sources hold most of the photons of a sparse image.
    counts = np.mean((data - source)[usable]) / step if step else np.inf
    if counts < _MIN_COUNTS:
        doubts.append(
            f"a pixel of the sky holds {max(counts, 0):.2g} counts, which 'fermi-lat' "
            'knows best'
        )
    if found.size == 0:
        return doubts
    if check.log_excess > _MAX_EXCESS:
        doubts.append(
            'in noise like its own, where there are no sources, the network finds '
            f'{np.exp(check.log_excess):.0f} times as many as the probabilities promise'
        )
    if check.width < _MIN_WIDTH:
        doubts.append(f'stars are only {check.width:.1f} px wide (FWHM)')
    clean = away_from_sources(source, noise) & usable
    part = np.count_nonzero(clean) / max(np.count_nonzero(usable), 1)
    if part < _MIN_CLEAN:
        doubts.append(f'only {part:.0%} of the image is free of bright sources')
    at_peaks = found['y'], found['x']
    bright = found[source[at_peaks] > _SHAPE_SIGMA * noise[at_peaks]]
    if bright.size >= _MIN_SHAPES:
        roundness = peak_roundness(source, bright['y'], bright['x'], binning)
        ridges = np.mean(roundness < _RIDGE)
        # noise as smooth as the sources is no structure
        scale = math.hypot(binning, sharpening) if sharpening else 1
        middle = middle_of(data.shape, _MAX_SIDE)
        residual = data[middle] - source[middle]
        if ridges > _MAX_RIDGES and (
            sky_structure(residual, ~clean[middle], scale) > _MAX_STRUCTURE
        ):
            doubts.append(
                f'{ridges:.0%} of what was found lies on the ridges of a structured sky'
            )
    return doubts


def sky_structure(residual, hidden, scale=1):
    """
    Measure how much rougher a sky is on larger scales than on small ones.

    Parameters
    ----------
    residual : 2D `~numpy.ndarray` of float
        The image without its sources.
    hidden : 2D `~numpy.ndarray` of bool
        True at pixels to ignore.
    scale : float, optional
        Factor for the distances. Default 1.

    Returns
    -------
    structure : float
        The noise from second differences of pixels 8 px apart, divided by that from
        pixels 3 px apart: 1 for noise and smooth gradients, and if it cannot be
        measured.
    """
    middle = middle_of(residual.shape, _MAX_SIDE)
    near, far = (
        measure_mesh(residual[middle], hidden[middle], lag=math.ceil(lag * scale)).noise
        for lag in (LAG, _FAR_LAG)
    )
    known = (near > 0) & (far > 0)
    return float(np.median(far[known] / near[known])) if known.any() else 1.0
