"""
Divide the pixels of touching sources among them.
"""

import numpy as np
from scipy import ndimage

from bgrem.detect.hierarchy import find_owners, star_height, touching
from bgrem.detect.pixels import highest_pixels, renumber, widen

__all__ = ['deblend_region']

# A pixel changes hands only where the other source is this much brighter. In the second
# turn a bright source touches what is behind those that were between; a third changes
# next to nothing.
_DOMINANCE = 10.0
_N_TURNS = 2
_MIN_CORE_PIXELS = 5
# Light that is so much brighter than a peak, in units of it and of the noise, is not
# that of its source.
_ALIEN, _ALIEN_SIGMA = 2.0, 3.0
_MAX_ALIENS = 3
_CELL = 256  # pixels, the side of the parts that are flooded at once
_EIGHT_CONNECTED = ndimage.generate_binary_structure(2, 2)
_DOWN, _ACROSS = np.array([0, 0, 1, -1]), np.array([1, -1, 0, 0])


def deblend_region(region, source, noise, peak_y, peak_x, *, width):
    """
    Assign each pixel of a region to one of the sources in it.

    Parameters
    ----------
    region : 2D `~numpy.ndarray` of bool
        The pixels to assign. All peaks lie inside.
    source : 2D `~numpy.ndarray` of float
        Denoised image.
    noise : float or 2D `~numpy.ndarray` of float
        Noise of the observed image, in the same unit.
    peak_y, peak_x : 1D `~numpy.ndarray` of int
        Pixels of the peaks of the N sources.
    width : float
        FWHM of a star in pixels.

    Returns
    -------
    labels : 2D `~numpy.ndarray` of int32
        1 to N in the order of the peaks; 0 outside the region, where no peak is
        reached, and for light that belongs to no peak. Labels of peaks that are part of
        a brighter source are missing (`bgrem.detect.hierarchy.find_owners`).

    Notes
    -----
    A watershed from the peaks, each with the four pixels beside it, finds the borders
    between sources. Faint sources then return those parts of the wings of their bright
    neighbors that were assigned to them. This is done twice, because other sources may
    lie between a source and the brighter one whose light it has.
    """
    n_peaks = len(peak_y)
    cells = list(_cells(region))
    labels, peak_y, peak_x = _flood(region, cells, source, noise, peak_y, peak_x)
    owners = find_owners(labels, source, noise, peak_y, peak_x, width)
    renumber(labels, owners)
    star = star_height(source, peak_y, peak_x, width)
    for _ in range(_N_TURNS):
        labels = _return_wings(labels, source, peak_y, peak_x, star)
    labels = _join_pieces(cells, labels, source, peak_y, peak_x)
    labels[labels > n_peaks] = 0
    return labels


def _flood(region, cells, source, noise, y, x):
    """
    Divide a region by a watershed from the peaks.

    Where what a peak is given is far brighter than itself, it is the light of a source
    that has no peak, and that gets a label of its own, after those of the peaks.
    """
    noise = np.broadcast_to(noise, source.shape)
    labels = _watershed(cells, source, _mark(y, x, region))
    for _ in range(_MAX_ALIENS):
        top_y, top_x = highest_pixels(source, labels, len(y))
        limit = _ALIEN * _core(source, y, x) + _ALIEN_SIGMA * noise[y, x]
        alien = source[top_y, top_x] > limit
        if not alien.any():
            break
        y, x = np.append(y, top_y[alien]), np.append(x, top_x[alien])
        labels = _watershed(cells, source, _mark(y, x, region))
    return labels, y, x


def _mark(y, x, region):
    """
    Return an image in which some pixels and those beside them are numbered from 1.

    Outside the region there are none.

    On the flank of a brighter source a watershed from a single pixel leaves it alone:
    all around it is flooded from above before its turn comes. Of two the first has what
    is beside both.
    """
    numbers = np.arange(len(y), 0, -1)
    y, x = np.asarray(y)[::-1], np.asarray(x)[::-1]
    beside = y[:, np.newaxis] + _DOWN, x[:, np.newaxis] + _ACROSS
    y, x = (np.append(one, at) for one, at in zip(beside, (y, x), strict=True))
    numbers = np.append(numbers.repeat(_DOWN.size), numbers)
    inside = (y >= 0) & (y < region.shape[0]) & (x >= 0) & (x < region.shape[1])
    inside[inside] = region[y[inside], x[inside]]
    markers = np.zeros(region.shape, dtype=np.int32)
    # of several the first one is written last
    markers[y[inside], x[inside]] = numbers[inside]
    return markers


def _core(source, y, x):
    """Return the highest of the 3x3 pixels around some."""
    dy, dx = np.indices((3, 3)).reshape(2, 9, 1) - 1
    last_y, last_x = source.shape[0] - 1, source.shape[1] - 1
    around = source[np.clip(y + dy, 0, last_y), np.clip(x + dx, 0, last_x)]
    return around.max(axis=0)


def _watershed(cells, source, markers):
    """
    Flood the region of the cells from markers, as `skimage.segmentation.watershed`
    does, in place.

    The pixels that wait in a queue for their turn are those of a small part of the
    image at a time, which is four times as fast.
    """
    # Takes a second to import.
    from skimage.segmentation import watershed

    # in place of the markers, as parts of the region do not share pixels
    for box, inside in cells:
        flooded = watershed(-source[box], markers[box], mask=inside, connectivity=2)
        markers[box][inside] = flooded[inside]
    return markers


def _cells(region):
    """
    Yield boxes that hold all connected parts of a region, some at a time.

    With each of them where in it these parts are (2D `~numpy.ndarray` of bool).
    """
    parts, _ = ndimage.label(region, _EIGHT_CONNECTED)
    boxes = ndimage.find_objects(parts)
    corners, far = (
        np.array([[getattr(side, end) for side in box] for box in boxes]).reshape(-1, 2)
        for end in ('start', 'stop')
    )
    del boxes  # as large as an image of small parts
    cells, group = np.unique(corners // _CELL, axis=0, return_inverse=True)
    starts, ends = np.full((2, len(cells), 2), 0)
    starts[:] = region.shape
    np.minimum.at(starts, group.ravel(), corners)
    np.maximum.at(ends, group.ravel(), far)
    group = np.append(-1, group)
    for cell, (start, end) in enumerate(zip(starts, ends, strict=True)):
        box = tuple(map(slice, start, end))
        yield box, group[parts[box]] == cell


def _join_pieces(cells, labels, source, peak_y, peak_x):
    """Give what does not hang together with its peak to what lies around it."""
    from skimage.measure import label

    own = labels[peak_y, peak_x] == np.arange(1, len(peak_y) + 1)
    peak_y, peak_x = peak_y[own], peak_x[own]
    for box, inside in cells:
        rows, columns = box
        here = (peak_y >= rows.start) & (peak_y < rows.stop)
        here &= (peak_x >= columns.start) & (peak_x < columns.stop)
        at_peaks = peak_y[here] - rows.start, peak_x[here] - columns.start
        segments = np.where(inside, labels[box], 0)
        pieces = label(segments, connectivity=2)
        is_loose = np.ones(pieces.max() + 1, dtype=bool)
        is_loose[pieces[at_peaks]] = False
        is_loose[0] = False
        if is_loose.any():
            loose = is_loose[pieces]
            labels[box][loose] = 0
            # only what touches the loose pieces can flood them
            near = widen(loose) & (segments > 0)
            _watershed([(box, near)], source, labels)
    return labels


def _return_wings(labels, source, peak_y, peak_x, star):
    """
    Return to extended sources the light that faint neighbors have cut off.

    A watershed gives a star on the flank of a galaxy the whole flank behind
    it. Here, each source is extrapolated from its peak, by its height above
    the saddle to a brighter neighbor, or that of a star as curved as it is, and its
    radius at half that height; a pixel below the saddle goes to a neighbor, the
    dominant one or the one across the highest saddle, where that one's extrapolation is
    ten times as high. No label is lost.
    """
    first, second, saddle = touching(labels, source)
    if first.size == 0:
        return labels
    height = np.append(0.0, source[peak_y, peak_x])
    place = np.flatnonzero(labels)
    own, level = labels.ravel()[place], source.ravel()[place]
    # A source without a brighter neighbor stands on the sky.
    to_brighter = np.full(height.size, -np.inf)
    is_lower = height[first] <= height[second]
    np.maximum.at(to_brighter, first[is_lower], saddle[is_lower])
    to_any = np.full(height.size, -np.inf)
    np.maximum.at(to_any, first, saddle)
    is_top = np.isneginf(to_brighter)
    amplitude = np.maximum(height - np.where(is_top, 0, to_brighter), 0)
    amplitude = np.maximum(amplitude, np.minimum(np.append(0.0, star), height))
    in_core = level > (height - amplitude / 2)[own]
    n_core = np.bincount(own[in_core], minlength=height.size)
    radius2 = np.maximum(n_core, _MIN_CORE_PIXELS) / np.pi

    strength = amplitude * radius2**2  # of the wings, far out
    dominant = _choose_neighbor(first, second, strength[second], height.size)
    # what would flood the pixels of a source if that were not there
    nearest = _choose_neighbor(first, second, saddle, height.size)
    # Pixels above the saddle stay, and those of a source that no stronger one touches.
    saddle = np.where(is_top, to_any, to_brighter)
    may_change = dominant != np.arange(height.size)
    changes = may_change[own] & (level <= saddle[own])
    place, own = place[changes], own[changes]
    y, x = np.divmod(place, labels.shape[1])
    center_y, center_x = np.append(0, peak_y), np.append(0, peak_x)

    def squared_distance(label):
        return (y - center_y[label]) ** 2 + (x - center_x[label]) ** 2

    def light(label):
        # Moffat with beta 2: between the wings of a star and of a galaxy.
        scaled = squared_distance(label) / radius2[label]
        return amplitude[label] / (1 + (np.sqrt(2) - 1) * scaled) ** 2

    best, best_light = own.copy(), _DOMINANCE * light(own)
    best_light[squared_distance(own) <= 1] = np.inf
    for candidate in (nearest[own], dominant[own], dominant[dominant[own]]):
        candidate_light = light(candidate)
        wins = candidate_light > best_light
        best[wins], best_light[wins] = candidate[wins], candidate_light[wins]
    labels.ravel()[place] = best
    return labels


def _choose_neighbor(first, second, rank, n_labels):
    """Return the highest ranked neighbor of each label, itself where it has none."""
    highest = np.full(n_labels, -np.inf)
    np.maximum.at(highest, first, rank)
    is_highest = rank == highest[first]
    chosen = np.arange(n_labels)
    chosen[first[is_highest]] = second[is_highest]
    return chosen
