"""
What `bgrem.DiffusionBackground` shares with its parent class in photutils.
"""

import inspect
from dataclasses import replace

import numpy as np
from photutils.background import Background2D, MeanBackground

from bgrem.checks import as_number

__all__ = [
    'NOTHING_MEASURED',
    'check_as_parent',
    'check_options',
    'check_values',
    'count_boxes',
    'describe',
    'filtered_boxes',
    'given_options',
    'is_fixed',
    'levels_as_parent',
    'measured_boxes',
    'merge_signatures',
    'silent_mask',
]

# deprecated names that would warn twice
_DEPRECATED_OPTIONS = ('interpolator', 'bkgrms_estimator')
# Options that say how the sky is measured, in the unit of the data or by functions
# that may give more than a constant more where all pixels have a constant more.
_FIXING_OPTIONS = (
    'filter_threshold',
    'sigma_clip',
    'bkg_estimator',
    'bkg_rms_estimator',
    *_DEPRECATED_OPTIONS,
)
_MEASURING_OPTIONS = ('exclude_percentile', 'filter_size', *_FIXING_OPTIONS)


def _no_estimate(data, axis=None):
    return np.zeros_like(np.any(data, axis=axis), dtype=float)


#: Options with which the parent counts the pixels of its boxes and does nothing else.
NOTHING_MEASURED = {
    'sigma_clip': None,
    'bkg_estimator': _no_estimate,
    'bkg_rms_estimator': _no_estimate,
}


def check_values(box_size, options):
    """
    Check the types of options that the parent class does not check itself.
    """
    for name in ('box_size', 'filter_size'):
        value = box_size if name == 'box_size' else options.get(name, 1)
        if isinstance(value, str) and name == 'box_size':
            continue  # 'auto', or refused in its own words
        try:
            kind = np.asarray(value).dtype.kind
        except ValueError:  # nested unevenly
            kind = 'O'
        if kind not in 'fiub' or hasattr(value, 'unit'):
            msg = f'{name} must be one or two numbers of pixels, got {value!r}'
            raise TypeError(msg)
    for name in ('exclude_percentile', 'filter_threshold', 'fill_value'):
        value = options.get(name)
        if name in options and not (value is None and name == 'filter_threshold'):
            as_number(name, value)
    for name in ('sigma_clip', 'bkg_estimator', 'bkg_rms_estimator'):
        value = options.get(name)
        if value is not None and (isinstance(value, type) or not callable(value)):
            msg = f'{name} must be callable, as an instance of its class, got {value!r}'
            raise TypeError(msg)


def check_options(image, options):
    """
    Raise the errors and issue the warnings of the parent class without a box size.
    """
    percentile = options.get('exclude_percentile', 100.0)
    if not 0 <= percentile <= 100:
        msg = (
            'exclude_percentile must be between 0 and 100 (inclusive), got '
            f'{percentile}'
        )
        raise ValueError(msg)
    options = {**options, 'exclude_percentile': 100.0}
    has_masks = not (image.mask is None and image.coverage_mask is None)
    if not has_masks and np.isfinite(image.data).all():
        image = replace(image, data=image.data[:1, :1])  # of the pixels nothing depends
    check_as_parent(image, image.data.shape, options)


def check_as_parent(image, box_size, options, *, clip=False):
    """
    Raise the errors and issue the warnings of the parent class before the long work.

    The parent class runs on the data with estimators that do nothing, and clips no
    pixels unless ``clip``. The number of boxes that it uses is returned. If it refuses
    a parameter, the value is appended to its message.
    """
    given = {'box_size': box_size, **options}
    options = {k: v for k, v in options.items() if k not in _DEPRECATED_OPTIONS}
    nothing = dict(NOTHING_MEASURED)
    if clip:
        del nothing['sigma_clip']
    options.update(nothing)
    try:
        parent = Background2D(
            image.data,
            box_size,
            mask=image.mask,
            coverage_mask=image.coverage_mask,
            **options,
        )
    except ValueError as exc:
        name = str(exc).partition(' must ')[0]
        if name not in given:
            raise
        msg = f'{exc}, got {given[name]!r}'
        raise ValueError(msg) from None
    return np.count_nonzero(measured_boxes(parent))


def count_boxes(mask, image, box_size, options, *, clip=False):
    """Return how many of its boxes the parent can measure with a wider mask."""
    image = replace(image, mask=mask)
    try:
        return check_as_parent(image, box_size, options, clip=clip)
    except ValueError:  # none is left
        return 0


def silent_mask(image):
    """
    Return the mask with blank pixels, and those whose values the parent warned about.
    """
    hidden = ~np.isfinite(image.data)
    if image.blank is not None:
        hidden |= image.blank
    if not hidden.any():
        return image.mask
    return hidden if image.mask is None else hidden | image.mask


def measured_boxes(background):
    """
    Return the boxes that the parent measured, and did not fill from others (2D bool).

    It reports the pixels that it used, and fills the boxes that have fewer than
    ``exclude_percentile`` requires. (photutils 3.0 also fills those with exactly that
    number.)
    """
    n_pixels = background.n_pixels_mesh
    least = (1 - background.exclude_percentile / 100) * np.prod(background.box_size)
    return (n_pixels > 0) & (n_pixels >= least)


def filtered_boxes(background, sky, mask, options):
    """
    Return the boxes to which the parent applied its median filter (2D bool).

    These are the ones with an unfiltered level above ``filter_threshold``.
    """
    if background.filter_threshold is None:
        return np.ones(background.n_pixels_mesh.shape, dtype=bool)
    options = {k: v for k, v in options.items() if k not in _DEPRECATED_OPTIONS}
    options.update(filter_size=1, filter_threshold=None)
    unfiltered = Background2D(
        sky,
        background.box_size,
        mask=mask,
        coverage_mask=background.coverage_mask,
        **options,
    )
    return unfiltered.background_mesh > background.filter_threshold


def levels_as_parent(image, mask, background, options):
    """
    Return the mesh that the parent would make of an image without noise.

    This is the mean of the pixels of each box, with the boxes, mask and median filter
    of ``background``.
    """
    options = {k: v for k, v in options.items() if k not in _DEPRECATED_OPTIONS}
    options.update(
        sigma_clip=None,
        bkg_estimator=MeanBackground(),
        bkg_rms_estimator=_no_estimate,
    )
    parent = Background2D(
        image,
        background.box_size,
        mask=mask,
        coverage_mask=background.coverage_mask,
        **options,
    )
    return parent.background_mesh


def given_options(options):
    """
    Return the options that define how boxes are measured and combined.

    `None` means that an option is not given, except for ``sigma_clip``.
    """
    return {
        name: options[name]
        for name in _MEASURING_OPTIONS
        if name in options and (name == 'sigma_clip' or options[name] is not None)
    }


def is_fixed(options):
    """Return whether an option says how, or relative to what, the sky is measured."""
    return not given_options(options).keys().isdisjoint(_FIXING_OPTIONS)


def describe(background, image):
    """
    Return the parameters of the parent with the values that an instance has.

    The result is a list of pairs of name and value, with arrays in words, for ``repr``.
    """
    array = f'<array; shape={image.data.shape}>'
    arrays = {
        'data': array,
        'mask': None if image.mask is None else array,
        'coverage_mask': None if image.coverage_mask is None else array,
    }
    return [
        (name, arrays[name] if name in arrays else getattr(background, name))
        for name in inspect.signature(Background2D).parameters
    ]


def merge_signatures(cls):
    """Return the signature of Background2D with the parameters of a subclass added."""
    own = inspect.signature(cls.__init__).parameters
    inherited = inspect.signature(Background2D).parameters
    names = dict.fromkeys(['data', 'box_size', *inherited, *own])
    names = [name for name in names if name not in ('self', 'options')]
    return inspect.Signature([own.get(n, inherited.get(n)) for n in names])
