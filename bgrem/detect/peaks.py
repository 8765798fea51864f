"""
The peaks of the probability: the positions and widths of the sources.
"""

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from bgrem.detect.pixels import curvatures
from bgrem.sky.bands import each_band

__all__ = [
    'MIN_PROBABILITY',
    'connected_parts',
    'find_peaks',
    'peak_roundness',
    'peak_widths',
]

# Peaks below this are not worth listing: they could only matter for a false
# discovery rate close to one.
MIN_PROBABILITY = 0.01

# A width is measured only where the light of a peak is seen, in units of the noise.
_SEEN_SIGMA = 0.5
_FWHM = np.sqrt(8 * np.log(2))
_BESIDE = np.argwhere(np.arange(9).reshape(3, 3) != 4) - 1
_MAX_BLOCK = 2**17  # pixels looked at at once


def find_peaks(probability, mask=None, min_probability=MIN_PROBABILITY):
    """
    Find the local maxima of a probability map.

    Parameters
    ----------
    probability : 2D `~numpy.ndarray` of float
        The detection probability of each pixel.
    mask : 2D `~numpy.ndarray` of bool, optional
        True where no peak may lie. A masked pixel does not hide a peak beside it, but
        the pixels beyond it do: all pixels around a masked pixel are neighbors of each
        other. NaN pixels are masked.
    min_probability : float, optional
        Peaks below this probability are not listed.

    Returns
    -------
    peaks : structured `~numpy.ndarray`
        One row per peak, the most probable first, with the fields ``y`` and
        ``x`` (int64, the peak pixel), ``y_center`` and ``x_center`` (float64,
        refined to a fraction of a pixel) and ``probability`` (float32).

    Notes
    -----
    A peak is a pixel that is not lower than any of its 8 neighbors, nor than those on
    the other side of a masked neighbor: a source with a masked center has one peak. On
    a plateau, only the pixel nearest to its center of mass is listed. Peaks on the
    border count. The refined center is the vertex of the parabola through the logarithm
    of three pixels on each axis, exact for a Gaussian blob. It is at most half a pixel
    away from the peak pixel, and stays on it along an axis on which a neighbor is
    missing.
    """
    hidden = np.isnan(probability)
    if mask is not None:
        hidden |= mask
    values = probability
    if hidden.any():
        values = np.where(hidden, -np.inf, probability)
    y, x = _local_maxima(values, min_probability)
    order = np.argsort(-values[y, x], kind='stable')
    y, x = y[order], x[order]

    peaks = np.empty(
        y.size,
        dtype=[
            ('y', np.int64),
            ('x', np.int64),
            ('y_center', np.float64),
            ('x_center', np.float64),
            ('probability', np.float32),
        ],
    )
    peaks['y'], peaks['x'], peaks['probability'] = y, x, values[y, x]
    peaks['y_center'] = y + _vertex(values, y, x, axis=0)
    peaks['x_center'] = x + _vertex(values, y, x, axis=1)
    return peaks


def _local_maxima(values, minimum):
    """Return y and x of the 3x3 maxima of an image, one for each plateau."""
    n_rows = max(1, _MAX_BLOCK // values.shape[1])

    def look(start):
        near = slice(max(start - 2, 0), start + n_rows + 2)
        inner = slice(start - near.start, start - near.start + n_rows)
        part = values[near]
        highest = _highest_around(part)
        is_peak = (part == highest) & (part >= minimum) & (part > -np.inf)
        masked = part == -np.inf
        if masked.any():
            is_peak &= part >= _highest_around(np.where(masked, highest, -np.inf))
        return np.flatnonzero(is_peak[inner]) + start * values.shape[1]

    # some rows at a time stay in the caches
    place = np.concatenate(each_band(look, range(0, len(values), n_rows)))
    y, x = np.divmod(place, values.shape[1])
    label = connected_parts(place, values.shape)
    n_labels = label.max(initial=-1) + 1
    size = np.bincount(label, minlength=n_labels)
    # Part of a plateau can look like a peak where another part touches higher
    # ground: such a plateau has a pixel that no longer equals its maximum.
    rejected = np.zeros(n_labels, dtype=bool)
    last = np.array(values.shape)[:, np.newaxis] - 1
    for step in _BESIDE:
        beside = np.clip(np.stack([y, x]) + step[:, np.newaxis], 0, last)
        alike = np.flatnonzero(values[tuple(beside)] == values[y, x])
        beside = np.ravel_multi_index(beside[:, alike], values.shape)
        rejected[label[alike[_find(place, beside) < 0]]] = True

    center_y = np.bincount(label, y, n_labels) / np.maximum(size, 1)
    center_x = np.bincount(label, x, n_labels) / np.maximum(size, 1)
    distance = np.hypot(y - center_y[label], x - center_x[label])
    order = np.lexsort((x, y, distance, label))
    _, first = np.unique(label[order], return_index=True)
    nearest = order[first]
    nearest = np.sort(nearest[~rejected[label[nearest]]])
    return y[nearest], x[nearest]


def connected_parts(place, shape):
    """
    Find the connected parts of a set of pixels, including diagonal connections.

    Parameters
    ----------
    place : 1D `~numpy.ndarray` of int
        The indices of the pixels in the flattened image, in ascending order.
    shape : tuple of 2 int
        The shape of the image.

    Returns
    -------
    part : 1D `~numpy.ndarray` of int
        The number of the part of each pixel, from 0.
    """
    x = place % shape[1]
    pairs = []
    for dy, dx in ((0, 1), (1, -1), (1, 0), (1, 1)):
        inside = (x + dx >= 0) & (x + dx < shape[1])
        first = np.flatnonzero(inside)
        second = _find(place, place[first] + dy * shape[1] + dx)
        pairs.append((first[second >= 0], second[second >= 0]))
    first, second = (np.concatenate(one) for one in zip(*pairs, strict=True))
    links = sparse.coo_array(
        (np.ones(first.size, dtype=bool), (first, second)), shape=(place.size,) * 2
    )
    return connected_components(links, directed=False)[1]


def _find(ascending, wanted):
    """Return where values are among others, -1 for those that are not."""
    index = np.searchsorted(ascending, wanted)
    found = np.append(ascending, -1)[index] == wanted
    return np.where(found, index, -1)


def _highest_around(values):
    rows = values.copy()
    np.maximum(rows[1:], values[:-1], out=rows[1:])
    np.maximum(rows[:-1], values[1:], out=rows[:-1])
    highest = rows.copy()
    np.maximum(highest[:, 1:], rows[:, :-1], out=highest[:, 1:])
    np.maximum(highest[:, :-1], rows[:, 1:], out=highest[:, :-1])
    return highest


def _vertex(image, y, x, axis):
    """Return the offset of the parabola's vertex from the pixels (y, x)."""
    tiny = np.finfo(np.float32).tiny
    place, last = (y, x)[axis], image.shape[axis] - 1
    values = []
    for step in (-1, 0, 1):
        beside = [y, x]
        beside[axis] = np.clip(place + step, 0, last)
        values.append(
            np.where(beside[axis] == place + step, image[tuple(beside)], -np.inf)
        )
    values = np.stack(values)
    left, middle, right = np.log(np.maximum(values, tiny).astype(float))
    curvature = left - 2 * middle + right
    usable = np.isfinite(values).all(axis=0) & (curvature < 0)
    return np.where(usable, (left - right) / np.where(usable, 2 * curvature, 1), 0.0)


def peak_widths(source, noise, y, x):
    """
    Measure the width of the denoised image at the peaks of the probability.

    Parameters
    ----------
    source : 2D `~numpy.ndarray` of float
        The denoised image.
    noise : float or 2D `~numpy.ndarray` of float
        The standard deviation of the noise, in the same unit.
    y, x : 1D `~numpy.ndarray` of int
        The pixels of the peaks.

    Returns
    -------
    widths : 1D `~numpy.ndarray` of float64
        The FWHM in pixels of the Gaussian that has the same curvature of the logarithm
        as the image at its highest pixel within one pixel of the peak; the geometric
        mean of both axes. NaN if that pixel does not exceed half a noise standard
        deviation, is not a maximum along both axes, or lies on the border or beside a
        masked pixel, where the image is 0.
    """
    widths = np.full(y.size, np.nan)
    noise = np.broadcast_to(noise, source.shape)
    last_y, last_x = source.shape[0] - 1, source.shape[1] - 1
    dy, dx = np.indices((3, 3)).reshape(2, 9, 1) - 1
    y, x = np.clip(y + dy, 0, last_y), np.clip(x + dx, 0, last_x)
    highest = np.argmax(source[y, x], axis=0), np.arange(y.shape[1])
    y, x = y[highest], x[highest]
    inside = (y > 0) & (x > 0) & (y < last_y) & (x < last_x)
    # a noise that is not known may have any value
    least = np.maximum(_SEEN_SIGMA * noise[y, x], 0)
    seen = np.flatnonzero(inside & (source[y, x] > least))
    y, x = y[seen], x[seen]
    neighbors = np.stack(
        [source[y - 1, x], source[y + 1, x], source[y, x - 1], source[y, x + 1]]
    )
    # Light below a thousandth of the peak's says nothing about the core.
    above, below, left, right = (
        np.log(np.maximum(values / source[y, x], 1e-3)) for values in neighbors
    )
    curvatures = np.maximum(-(above + below), 0) * np.maximum(-(left + right), 0)
    # Exactly 0 are pixels that were masked, which say nothing either.
    curved = (curvatures > 0) & np.all(neighbors != 0, axis=0)
    widths[seen[curved]] = _FWHM * curvatures[curved] ** -0.25
    return widths


def peak_roundness(source, y, x, scale=1.0):
    """
    Measure how round the denoised image is at the peaks of the probability.

    Parameters
    ----------
    source : 2D `~numpy.ndarray` of float
        The denoised image.
    y, x : 1D `~numpy.ndarray` of int
        The pixels of the peaks.
    scale : float, optional
        The standard deviation, in pixels, of the Gaussian with which the image is
        first smoothed. Default 1.

    Returns
    -------
    roundness : 1D `~numpy.ndarray` of float64
        The ratio of the curvatures of the image along the directions of least and
        greatest curvature (the eigenvalues of its Hessian): 1 at a round peak, 0 on
        a ridge, negative on a saddle. NaN where it is not curved downwards at all.
    """
    down, across, mixed = curvatures(source, y, x, scale)
    mean = 0.5 * (down + across)
    spread = np.hypot(0.5 * (down - across), mixed)
    strongest = mean - spread
    roundness = np.full(y.size, np.nan)
    return np.divide(mean + spread, strongest, out=roundness, where=strongest < 0)
