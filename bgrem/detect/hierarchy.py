"""
Which peaks are sources of their own, and which are part of a brighter source.

The network lists all places where a source may be. In the halo of a saturated star, in
the arms of a large galaxy, and on a saturated core, some of these are merely features
of the bright source itself.
"""

import numpy as np
from scipy import ndimage

from bgrem.detect.discovery import source_width
from bgrem.detect.peaks import peak_widths
from bgrem.detect.pixels import curvatures, highest_pixels
from bgrem.sky.bands import CACHED, each_band, split_rows

__all__ = [
    'find_hidden_cores',
    'find_owners',
    'image_width',
    'star_height',
    'star_width',
    'touching',
]

# A source is tested only against a brighter one that is larger than this, in squares of
# the FWHM, where it is seen above half the noise: a star of 500 times the noise, or a
# galaxy.
_LARGE, _SEEN = 20.0, 0.5
# It is, only if the light between both is so high a part of its own.
_MERGED = 0.6
# A source of its own is at least as high, as a star, in units of the noise, of the
# light that it stands on and of the peak of the brighter source. A PSF has features of
# its own about a thousandth of its peak.
_MIN_HEIGHT = 0.6
_MIN_CONTRAST = 0.1
_MIN_PEAK = 1.5e-3
# The least and, where the image does not tell, the assumed FWHM of a star in pixels.
_MIN_WIDTH, _DEFAULT_WIDTH = 1.8, 2.5
# Light as bright, in units of the noise, is a source also where its center is hidden.
_BRIGHT = 20.0
# Half the width of what is masked of a core, in pixels.
_HOLE = 10
# On a plateau the network cannot tell where the center is. But nothing else is as high,
# and above _BRIGHT in a disc of this radius in FWHM: no trail, no cosmic ray.
_CORE_HEIGHT, _CORE_RADIUS = 500.0, 3.0
_EIGHT_CONNECTED = ndimage.generate_binary_structure(2, 2)


def image_width(source, noise, peaks):
    """
    Return the FWHM of the compact sources of an image, in pixels.

    Parameters
    ----------
    source : 2D `~numpy.ndarray` of float
        Denoised image.
    noise : float or 2D `~numpy.ndarray` of float
        Noise of the observed image.
    peaks : structured `~numpy.ndarray`
        From `bgrem.detect.peaks.find_peaks`.

    Returns
    -------
    width : float
        At least 1.8; 2.5 if too few sources have a width.
    """
    widths = peak_widths(source, noise, peaks['y'], peaks['x'])
    return star_width(widths, peaks['probability'])


def star_width(widths, probability):
    """
    Return the FWHM of the compact sources of an image from the widths of its peaks.

    Parameters
    ----------
    widths, probability : 1D `~numpy.ndarray` of float
        As for `bgrem.detect.discovery.source_width`.

    Returns
    -------
    width : float
        As from `image_width`.
    """
    width = source_width(widths, probability)
    return max(width, _MIN_WIDTH) if np.isfinite(width) else _DEFAULT_WIDTH


def find_hidden_cores(source, noise, y, x, width, mask=None):
    """
    Find the bright sources whose centers are masked, outside the image or uncertain.

    Parameters
    ----------
    source : 2D `~numpy.ndarray` of float
        Denoised image.
    noise : float or 2D `~numpy.ndarray` of float
        Noise of the observed image, in the same unit.
    y, x : 1D `~numpy.ndarray` of int
        Pixels of the peaks already found.
    width : float
        FWHM of a star in pixels.
    mask : 2D `~numpy.ndarray` of bool, optional
        True at masked pixels.

    Returns
    -------
    y, x : 1D `~numpy.ndarray` of int
        The brightest visible pixel of each source.

    Notes
    -----
    A saturated star whose core is masked has no peak, and one with a large core may
    have only peaks below the threshold. Without this, all its light would be assigned
    to some faint source in its halo, or to none.
    """
    hidden = np.zeros(source.shape, dtype=bool) if mask is None else mask
    bright = (source > _BRIGHT * np.asarray(noise)) & ~hidden
    if not bright.any():
        return np.zeros(0, int), np.zeros(0, int)
    # What a hole or a masked column divides is one.
    joined = bright
    if hidden.any():
        joined = ndimage.binary_dilation(
            bright, structure=_EIGHT_CONNECTED, iterations=_HOLE, mask=bright | hidden
        )
    labels, n_labels = ndimage.label(joined, structure=_EIGHT_CONNECTED)
    labels[~bright] = 0
    area = np.bincount(labels[bright], minlength=n_labels + 1)[1:]
    top_y, top_x = highest_pixels(source, labels, n_labels)
    height = source[top_y, top_x]
    is_high = height > _CORE_HEIGHT * np.broadcast_to(noise, source.shape)[top_y, top_x]
    at_peaks = np.zeros(n_labels + 1)
    np.maximum.at(at_peaks, labels[y, x], source[y, x])
    rim = hidden.copy()
    if hidden.any():
        rim = ndimage.binary_dilation(hidden, structure=_EIGHT_CONNECTED)
    rim[[0, -1]] = True
    rim[:, [0, -1]] = True
    is_hidden = rim[top_y, top_x]
    is_core = (at_peaks[1:] < 0.5 * height) & (area > width**2) & (is_hidden | is_high)
    uncertain = np.flatnonzero(is_core & ~is_hidden)
    boxes = ndimage.find_objects(labels) if uncertain.size else []
    for k in uncertain:
        region = labels[boxes[k]] == k + 1
        is_core[k] = _inner_radius(region) > _CORE_RADIUS * width
    return top_y[is_core], top_x[is_core]


def _inner_radius(region):
    """Return the radius of the largest disc in a region without its holes."""
    region = np.pad(ndimage.binary_fill_holes(region), 1)
    return ndimage.distance_transform_edt(region).max()


def find_owners(labels, source, noise, y, x, width):
    """
    Find the source that each peak belongs to.

    Parameters
    ----------
    labels : 2D `~numpy.ndarray` of int
        The segments of the N peaks, numbered from 1, 0 elsewhere.
    source : 2D `~numpy.ndarray` of float
        Denoised image.
    noise : float or 2D `~numpy.ndarray` of float
        Noise of the observed image, in the same unit.
    y, x : 1D `~numpy.ndarray` of int
        Pixels of the peaks.
    width : float
        FWHM of a star in pixels.

    Returns
    -------
    owners : 1D `~numpy.ndarray` of int
        N + 1 labels, the first of which is 0: for each segment its own label, or that
        of the brighter source of which it is a part.

    Notes
    -----
    The height that a peak would have as a star is that of `star_height`.
    """
    first, second, saddle = touching(labels, source)
    height = np.append(0.0, source[y, x])
    owners = np.arange(height.size)
    brighter = (height[second] > height[first]) | (
        (height[second] == height[first]) & (second < first)
    )
    first, second, saddle = first[brighter], second[brighter], saddle[brighter]
    order = np.argsort(saddle, kind='stable')
    parent, level = owners.copy(), np.full(height.size, -np.inf)
    parent[first[order]], level[first[order]] = second[order], saddle[order]

    noise = np.broadcast_to(noise, source.shape)
    inside = labels > 0
    seen = labels[inside][source[inside] > _SEEN * noise[inside]]
    noise = np.append(1.0, noise[y, x])
    area = np.bincount(seen, minlength=height.size) / width**2
    # Where it stands out of the noise and of the light beneath, it is never tested.
    candidates = np.flatnonzero((parent != owners) & (level > _MERGED * height))
    star = np.zeros(height.size)
    star[candidates] = star_height(source, y[candidates - 1], x[candidates - 1], width)
    # From the top down, so that the owner of a parent is known.
    for label in candidates[np.argsort(-height[candidates], kind='stable')]:
        owner = owners[parent[label]]
        needed = max(
            _MIN_HEIGHT * noise[label],
            _MIN_CONTRAST * level[label],
            _MIN_PEAK * height[owner],
        )
        if area[owner] + area[label] > _LARGE and star[label] < needed:
            owners[label] = owner
            area[owner] += area[label]
    return owners


def star_height(source, y, x, width):
    """
    Return the height of the star that is as strongly curved as the image at each peak.

    Parameters
    ----------
    source : 2D `~numpy.ndarray` of float
        Denoised image.
    y, x : 1D `~numpy.ndarray` of int
        Pixels of the N peaks.
    width : float
        FWHM of a star in pixels.

    Returns
    -------
    height : 1D `~numpy.ndarray` of float64
        N heights, unit of ``source``, independent of the light on which the peaks stand
        (to better than a thousandth of it); 0 or less where the image is not curved
        downwards in all directions.

    Notes
    -----
    The image is smoothed with a Gaussian of the star's own width s. The curvature of a
    star of height A is then A / 4 s^2. The direction in which the image is least curved
    counts, as in that direction a ridge or the smooth flank of a galaxy is not curved.
    """
    sigma = width / np.sqrt(8 * np.log(2))
    down, across, mixed = curvatures(source, y, x, sigma)
    least = 0.5 * (down + across) + np.hypot(0.5 * (down - across), mixed)
    return -4 * sigma**2 * least


def touching(labels, source):
    """
    Find the pairs of segments that touch.

    Parameters
    ----------
    labels : 2D `~numpy.ndarray` of int
        Segments, 0 elsewhere.
    source : 2D `~numpy.ndarray` of float
        Denoised image.

    Returns
    -------
    first, second : 1D `~numpy.ndarray` of int
        Their labels, each pair in both orders and as often as its pixels touch.
    saddle : 1D `~numpy.ndarray` of float64
        The lower of the values of the two touching pixels.
    """
    pairs, bands = [], split_rows(labels.shape, n_pixels=CACHED)
    for down, across in ((0, 1), (1, 0), (1, 1), (1, -1)):

        def look(rows, down=down, across=across):
            near = labels[rows.start : rows.stop + down]
            n, left, right = len(near) - down, max(-across, 0), max(across, 0)
            here = near[:n, left : labels.shape[1] - right]
            there = near[down:, right : labels.shape[1] - left]
            touch = here != there
            touch &= here > 0
            touch &= there > 0
            # a place in the flat image is found sooner than its row and column
            y, x = np.divmod(np.flatnonzero(touch), touch.shape[1])
            return (y + rows.start) * labels.shape[1] + x + left

        place = np.concatenate(each_band(look, bands))
        beside = place + down * labels.shape[1] + across
        here, there = labels.ravel()[place], labels.ravel()[beside]
        level = np.minimum(source.ravel()[place], source.ravel()[beside])
        pairs += [(here, there, level), (there, here, level)]
    first, second, saddle = (np.concatenate(one) for one in zip(*pairs, strict=True))
    # of these types numpy indexes and compares far sooner than of mixed ones
    return first.astype(np.intp), second.astype(np.intp), saddle.astype(float)
