"""
The options that are chosen from the image if they are not given.
"""

import warnings

import numpy as np
from astropy.stats import SigmaClip
from astropy.utils.exceptions import AstropyUserWarning
from photutils.background import MeanBackground, StdBackgroundRMS
from scipy import ndimage

from bgrem.sky.boxes import CLIP
from bgrem.sky.maps import interpolate_mesh
from bgrem.sky.parent import given_options, is_fixed

__all__ = [
    'choose_one_box',
    'chosen_estimators',
    'is_automatic',
]

_BOX_SIZES = (128, 64, 32, 16, 8)
_LAST_RESORT = (4, 2, 1)  # where masks and exclude_percentile leave no larger box
_FILTER_SIZES = (3, 1)
# The variance of a clipped mean of a box, in that of a pixel over their number; of an
# estimator that we do not know it may be that of a mode; after a median filter of 3.
_VARIANCE = {'mean': 1.0, 'unknown': 3.0}
_AFTER_FILTER = 0.2


def is_automatic(box_size):
    """
    Tell whether boxes are to be chosen from the image.

    Parameters
    ----------
    box_size : object
        The box size that was given.

    Returns
    -------
    automatic : bool
        Whether it is ``'auto'``.

    Raises
    ------
    ValueError
        If it is any other string.
    """
    if isinstance(box_size, str):
        if box_size != 'auto':
            msg = f"box_size must be 'auto' or a number of pixels, got {box_size!r}"
            raise ValueError(msg)
        return True
    return False


def chosen_estimators():
    """
    Return the estimators for automatic boxes (dict of options).
    """
    return {
        'sigma_clip': SigmaClip(sigma=CLIP, maxiters=10),
        'bkg_estimator': MeanBackground(sigma_clip=None),
        'bkg_rms_estimator': StdBackgroundRMS(sigma_clip=None),
    }


def choose_one_box(sky, shape, options, count_boxes):
    """
    Choose a single box size for a whole image, and the options that were not given.

    Parameters
    ----------
    sky : `~bgrem.sky.boxes.BoxSky`
        The sky in boxes that differ over the image.
    shape : tuple of 2 int
        The shape of the image.
    options : dict
        The options of `~photutils.background.Background2D` that were given.
    count_boxes : callable
        Called with a box size and options; returns how many boxes can be measured.

    Returns
    -------
    box_size : int
        The size of 8, 16, 32, 64 and 128 px (no larger than the image) that best
        follows ``sky``, considering structure and noise; smaller if none of these can
        be measured.
    options : dict
        Those given, and the choices for ``filter_size``, ``exclude_percentile``,
        ``sigma_clip`` and the estimators: the last three only if none was given.

    Warns
    -----
    `~astropy.utils.exceptions.AstropyUserWarning`
        If the ``exclude_percentile`` that was given leaves no box of 8 px or more in
        which sky is visible.
    """
    given = given_options(options)
    options = {n: v for n, v in options.items() if n in given or v is not None}
    kind = 'unknown'
    if not is_fixed(options):
        options |= chosen_estimators()
        kind = 'mean'
    sizes = [size for size in _BOX_SIZES if size <= max(shape)] or [max(shape)]
    filters = _FILTER_SIZES
    if 'filter_size' in given:
        filters = [tuple(int(n) for n in np.broadcast_to(given['filter_size'], 2))]
    errors = {}
    for size in sizes:
        for window in filters:
            errors[size, window] = _expected_error(
                sky, shape, size, window, _VARIANCE[kind]
            )
    ranked = sorted(errors, key=errors.get)
    ranked += [(size, filters[-1]) for size in _LAST_RESORT]
    for size, window in ranked:
        choice = {'exclude_percentile': 100.0, **options, 'filter_size': window}
        if count_boxes(size, choice):
            break
    else:
        # photutils 3.0 has no box for 0, whatever the image
        size, choice = ranked[0][0], {**choice, 'exclude_percentile': 100.0}
    percentile = options.get('exclude_percentile', 100.0)
    if choice['exclude_percentile'] != percentile or size < min(sizes):
        msg = (
            f'exclude_percentile={percentile} leaves no box that shows a sky: '
            f'boxes of {size} px and {choice["exclude_percentile"]} are used. Use a '
            'higher value.'
        )
        warnings.warn(msg, AstropyUserWarning, stacklevel=3)
    return size, choice


def _expected_error(sky, shape, size, window, variance):
    """Return the mean square error of the sky in boxes of one size."""
    level, pixel = sky.on_grid(shape)
    n_boxes = max(size // pixel, 1)
    more = [(0, -n % n_boxes) for n in level.shape]
    padded = np.pad(level, more, mode='edge')
    rows, columns = (n // n_boxes for n in padded.shape)
    mesh = padded.reshape(rows, n_boxes, columns, n_boxes).mean(axis=(1, 3))
    is_filtered = np.any(np.asarray(window) > 1)
    if is_filtered:
        mesh = ndimage.median_filter(mesh, size=window, mode='nearest')
    followed = interpolate_mesh(mesh, level.shape, (n_boxes, n_boxes))
    noise = np.median(sky.noise) ** 2 * variance / size**2
    return np.mean((followed - level) ** 2) + noise * (
        _AFTER_FILTER if is_filtered else 1
    )
