"""
The flags of detections: reasons for caution, one bit each.
"""

import numpy as np
from scipy import ndimage

from bgrem.detect.peaks import connected_parts

__all__ = ['DETECTION_FLAGS', 'decode_detection_flags', 'detection_flags']

#: The bits of ``detection_flags``: value, and what it says.
DETECTION_FLAGS = {
    'saturated': (1, 'the core is a plateau, or at the saturation level'),
    'touches_border': (2, 'the segment touches the border of the image'),
    'masked_pixels': (4, 'pixels in or beside the segment are masked or not finite'),
    'blended': (8, 'the segment touches another one'),
    'window_fallback': (16, 'the position is that of the peak, not refined'),
    'on_large_source': (32, 'the source lies on top of another, large source'),
    'probability_corrected': (64, "the image's own check changes the probability"),
    'sky_interpolated': (128, 'a large source hides the sky, which is interpolated'),
    'nonpositive_flux': (256, 'the Kron flux is not positive, or not known'),
    'no_peak': (512, 'no peak of the probability: the position is the centroid'),
    'on_trail': (1024, 'the segment is on or near a trail: its light is in the flux'),
}

# A plateau: so many pixels that touch are equal to this part, and stand so many
# standard deviations of the noise above the sky. In the core of a star as broad as
# 30 px there are fewer.
_PLATEAU_PIXELS = 5
_PLATEAU_DEPTH = 3e-3
_PLATEAU_SIGMA = 50.0
# A probability that the check changes by more is flagged.
_CHANGED = 0.01
_ROWS = 256  # of an image that are looked at at once
_EIGHT_CONNECTED = ndimage.generate_binary_structure(2, 2)


def decode_detection_flags(flags, *, return_bit_values=False):
    """
    Return the names of the bits of detection flags.

    Parameters
    ----------
    flags : int or array_like of int
        Values of ``detection_flags``.
    return_bit_values : bool, optional
        Whether to return the values of the bits instead of their names. Default
        `False`.

    Returns
    -------
    decoded : list of str, list of int, or nested list
        The names of the bits that are set, lowest first. For an array, a list for
        each element, nested like the array.

    Raises
    ------
    TypeError
        If the flags are not integers.
    ValueError
        If a flag has a bit that does not exist.

    Examples
    --------
    >>> from bgrem import decode_detection_flags
    >>> decode_detection_flags(10)
    ['touches_border', 'blended']
    >>> decode_detection_flags([0, 1])
    [[], ['saturated']]
    """
    flags = np.asarray(flags)
    if flags.dtype.kind not in 'iu' and flags.size:
        msg = f'flags must be integers, got dtype {flags.dtype}'
        raise TypeError(msg)
    known = sum(value for value, _ in DETECTION_FLAGS.values())
    if np.any(flags < 0) or np.any(flags > known):
        msg = f'flags must be between 0 and {known}, got {flags.tolist()}'
        raise ValueError(msg)

    def decode(values):
        if isinstance(values, list):
            return [decode(value) for value in values]
        bits = {name: bit for name, (bit, _) in DETECTION_FLAGS.items() if values & bit}
        return list(bits.values() if return_bit_values else bits)

    return decode(flags.tolist())


def detection_flags(
    segmentation_image,
    positions,
    *,
    data,
    source,
    noise,
    unusable,
    kron_flux,
    missing=None,
    large=None,
    trails=None,
    saturated=None,
    log_odds_shift=0.0,
):
    """
    Return the flags of detections.

    Parameters
    ----------
    segmentation_image : `~photutils.segmentation.SegmentationImage`
        One label per detection.
    positions : `~bgrem.detect.positions.Positions`
        The positions of the detections.
    data, source, noise : 2D `~numpy.ndarray` of float
        The image without its sky, the denoised image, and the noise of the sky.
    unusable : 2D `~numpy.ndarray` of bool
        `True` at pixels that are masked or not finite.
    kron_flux : 1D `~numpy.ndarray` of float
        The Kron flux of each detection.
    missing : 2D `~numpy.ndarray` of bool, optional
        `True` at pixels that are masked or not finite in the image on which the fluxes
        are measured, if that is another one.
    large : 2D `~numpy.ndarray` of bool, optional
        `True` where large sources hide the sky.
    trails : 2D `~numpy.ndarray` of bool, optional
        `True` on trails.
    saturated : 2D `~numpy.ndarray` of bool, optional
        `True` at saturated pixels. Default: plateaus in bright cores.
    log_odds_shift : float, optional
        The shift of the log-odds of the probability from the check of the image.

    Returns
    -------
    flags : 1D `~numpy.ndarray` of int
        Sums of the values of `DETECTION_FLAGS`, in the order of the labels.
    """
    labels, index = segmentation_image.data, segmentation_image.labels
    if saturated is None:
        saturated = _plateaus(labels, index, data, noise, unusable)
    masked = unusable if missing is None else unusable | missing
    near_mask = ndimage.binary_dilation(masked, structure=_EIGHT_CONNECTED)
    border = np.concatenate([*labels[[0, -1]], *labels[:, [0, -1]].T])
    hidden, on_other = _on_large(labels, index, positions.position, source, large)
    odds = positions.probability.astype(float)
    change = odds * (1 - odds) * np.expm1(log_odds_shift)
    change /= 1 + odds * np.expm1(log_odds_shift)
    is_set = {
        'saturated': np.isin(index, labels[saturated]),
        'touches_border': np.isin(index, border),
        'masked_pixels': np.isin(index, labels[near_mask]),
        'blended': np.isin(index, _touching(labels)),
        'window_fallback': ~positions.is_windowed,
        'on_large_source': on_other,
        'probability_corrected': np.abs(change) > _CHANGED,
        'sky_interpolated': hidden,
        'nonpositive_flux': ~(kron_flux > 0),
        'no_peak': ~positions.has_peak,
        'on_trail': np.isin(index, [] if trails is None else labels[trails]),
    }
    flags = np.zeros(len(index), dtype=int)
    for name, values in is_set.items():
        flags[values] |= DETECTION_FLAGS[name][0]
    return flags


def _touching(labels):
    """Return the labels of the segments that touch another one."""
    other, found = labels.max() + 1, []
    # some rows at a time, and one more on either side
    for start in range(0, len(labels), _ROWS):
        near = slice(max(start - 1, 0), start + _ROWS + 1)
        inner = slice(start - near.start, start - near.start + _ROWS)
        own = labels[near]
        highest = ndimage.maximum_filter(own, 3, mode='nearest')
        own = np.where(own > 0, own, other)
        lowest = ndimage.minimum_filter(own, 3, mode='nearest')
        own, highest, lowest = own[inner], highest[inner], lowest[inner]
        touches = (own < other) & ((highest > own) | (lowest < own))
        found.append(np.unique(own[touches]))
    return np.unique(np.concatenate(found))


def _plateaus(labels, index, data, noise, unusable):
    """Return the pixels of the plateaus in bright cores, along y and x."""
    place = np.flatnonzero(labels)
    place = place[~unusable.ravel()[place]]
    own, values = labels.ravel()[place], data.ravel()[place]
    level = np.full(index[-1] + 1, -np.inf, dtype=values.dtype)
    np.maximum.at(level, own, values)
    level = level[own]
    is_flat = level > _PLATEAU_SIGMA * noise.ravel()[place]
    is_flat &= values > (1 - _PLATEAU_DEPTH) * level
    place = place[is_flat]
    parts = connected_parts(place, labels.shape)
    is_large = np.bincount(parts) >= _PLATEAU_PIXELS
    return np.divmod(place[is_large[parts]], labels.shape[1])


def _on_large(labels, index, position, source, large):
    """Return which detections lie on large sources, and on one that is another."""
    n = len(index)
    if large is None or not large.any():
        return np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    regions, n_regions = ndimage.label(large, structure=_EIGHT_CONNECTED)
    last = np.array(labels.shape[::-1]) - 1
    pixel = np.clip(np.floor(np.nan_to_num(position) + 0.5).astype(int), 0, last)
    region = regions[pixel[:, 1], pixel[:, 0]]
    # the large source itself is what has most of the light
    place = np.flatnonzero(labels)
    light = np.maximum(source.ravel()[place], 0)
    light = np.bincount(labels.ravel()[place], light)[index]
    order = np.argsort(light, kind='stable')
    owner = np.full(n_regions + 1, -1)
    owner[region[order]] = order
    is_hidden = region > 0
    return is_hidden, is_hidden & (owner[region] != np.arange(n))
