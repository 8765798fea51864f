"""
What the class of this package shares with its parent in photutils.
"""

import inspect
from dataclasses import replace

import numpy as np
from photutils.background import Background2D

__all__ = [
    'check_as_parent',
    'count_boxes',
    'merge_signatures',
    'parent_view',
    'silent_mask',
]

# deprecated names that would warn twice
_DEPRECATED_OPTIONS = ('interpolator', 'bkgrms_estimator')


def check_as_parent(image, box_size, options):
    """
    Raise the parent's errors and give its warnings before the long work begins.

    The parent runs on the data with estimators that do nothing. The number of boxes
    that it uses is returned.
    """
    options = {k: v for k, v in options.items() if k not in _DEPRECATED_OPTIONS}
    options.update(
        sigma_clip=None, bkg_estimator=_no_estimate, bkg_rms_estimator=_no_estimate
    )
    parent = Background2D(
        image.data,
        box_size,
        mask=image.mask,
        coverage_mask=image.coverage_mask,
        **options,
    )
    return np.sum(~parent._mesh_nan_mask)


def count_boxes(mask, image, box_size, options):
    """Return how many of its boxes the parent can measure with a wider mask."""
    try:
        return check_as_parent(replace(image, mask=mask), box_size, options)
    except ValueError:  # none is left
        return 0


def _no_estimate(data, axis=None):
    return np.zeros_like(np.any(data, axis=axis), dtype=float)


def silent_mask(image):
    """Return the mask with non-finite values, of which the warning has been given."""
    finite = np.isfinite(image.data)
    if finite.all():
        return image.mask
    return ~finite if image.mask is None else ~finite | image.mask


def parent_view(background):
    """Return a Background2D that holds what an instance of a subclass holds."""
    view = Background2D.__new__(Background2D)
    vars(view).update(vars(background))
    return view


def merge_signatures(cls):
    """Return the signature of Background2D with the parameters of a subclass added."""
    own = inspect.signature(cls.__init__).parameters
    inherited = inspect.signature(Background2D).parameters
    names = dict.fromkeys(['data', 'box_size', *inherited, *own])
    names = [name for name in names if name not in ('self', 'options')]
    return inspect.Signature([own.get(n, inherited.get(n)) for n in names])
