"""
Share the pixels of touching sources among them.
"""

import numpy as np

__all__ = ['deblend_region']

# A pixel changes hands only where the other source is this much brighter.
_DOMINANCE = 10.0
_MIN_CORE_PIXELS = 5


def deblend_region(region, source, peak_y, peak_x):
    """
    Give every pixel of a region to one of the sources in it.

    Parameters
    ----------
    region : 2D `~numpy.ndarray` of bool
        Pixels to give away. All peaks lie inside.
    source : 2D `~numpy.ndarray` of float
        Denoised image.
    peak_y, peak_x : 1D `~numpy.ndarray` of int
        Pixels of the peaks of the N sources.

    Returns
    -------
    labels : 2D `~numpy.ndarray` of int32
        1 to N in the order of the peaks, each at least at its peak; 0 outside
        the region and where no peak is reached.

    Notes
    -----
    A watershed from the peaks finds the borders between sources. Faint ones
    then return to their bright neighbours what they have cut off the wings
    of these.
    """
    # Takes a second to import, and masks do not need it.
    from skimage.segmentation import watershed

    markers = np.zeros(region.shape, dtype=np.int32)
    markers[peak_y, peak_x] = np.arange(1, len(peak_y) + 1)
    labels = watershed(-source, markers, mask=region, connectivity=2)
    return _return_wings(labels, source, peak_y, peak_x)


def _return_wings(labels, source, peak_y, peak_x):
    """
    Return to extended sources the light that faint neighbours have cut off.

    A watershed gives a star on the flank of a galaxy the whole flank behind
    it. Here each source is extrapolated from its peak, by its height above
    the saddle to a brighter neighbour and its radius at half that height; a
    pixel below the saddle goes to the dominant neighbour where that one's
    extrapolation is ten times as high. No label is lost.
    """
    first, second, saddle = _touching(labels, source)
    if first.size == 0:
        return labels
    height = np.append(0.0, source[peak_y, peak_x])
    inside = labels > 0
    own = labels[inside]
    # A source without a brighter neighbour stands on the sky.
    to_brighter = np.full(height.size, -np.inf)
    is_lower = height[first] <= height[second]
    np.maximum.at(to_brighter, first[is_lower], saddle[is_lower])
    to_any = np.full(height.size, -np.inf)
    np.maximum.at(to_any, first, saddle)
    is_top = np.isneginf(to_brighter)
    amplitude = np.maximum(height - np.where(is_top, 0, to_brighter), 0)
    in_core = source[inside] > (height - amplitude / 2)[own]
    n_core = np.bincount(own[in_core], minlength=height.size)
    radius2 = np.maximum(n_core, _MIN_CORE_PIXELS) / np.pi

    strength = amplitude * radius2**2  # of the wings, far out
    order = np.argsort(strength[second], kind='stable')
    dominant = np.arange(height.size)
    dominant[first[order]] = second[order]
    y, x = np.nonzero(inside)
    center_y, center_x = np.append(0, peak_y), np.append(0, peak_x)

    def squared_distance(label):
        return (y - center_y[label]) ** 2 + (x - center_x[label]) ** 2

    def light(label):
        # Moffat with beta 2: between the wings of a star and of a galaxy.
        scaled = squared_distance(label) / radius2[label]
        return amplitude[label] / (1 + (np.sqrt(2) - 1) * scaled) ** 2

    best, best_light = own.copy(), _DOMINANCE * light(own)
    saddle = np.where(is_top, to_any, to_brighter)
    kept = (source[inside] > saddle[own]) | (squared_distance(own) <= 1)
    best_light[kept] = np.inf
    for candidate in (dominant[own], dominant[dominant[own]]):
        candidate_light = light(candidate)
        wins = candidate_light > best_light
        best[wins], best_light[wins] = candidate[wins], candidate_light[wins]
    labels = labels.copy()
    labels[inside] = best
    return labels


def _touching(labels, source):
    """
    Return the pairs of touching labels, both ways round, and their saddles.
    """
    pairs = []
    for a, b in (
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:-1], np.s_[1:]),
        (np.s_[:-1, :-1], np.s_[1:, 1:]),
        (np.s_[:-1, 1:], np.s_[1:, :-1]),
    ):
        touch = (labels[a] != labels[b]) & (labels[a] > 0) & (labels[b] > 0)
        level = np.minimum(source[a][touch], source[b][touch])
        pairs += [(labels[a][touch], labels[b][touch], level)]
        pairs += [(labels[b][touch], labels[a][touch], level)]
    return [np.concatenate(column) for column in zip(*pairs, strict=True)]
