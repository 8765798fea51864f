"""
Windowed positions: the center of the light of a source within a small window.

Numpy only.
"""

import math

import numpy as np

__all__ = ['window_errors', 'window_sigma', 'windowed_positions']

# A half-light radius of a Gaussian is this many standard deviations.
_HALF_LIGHT = math.sqrt(2 * math.log(2))
_MIN_HALF_LIGHT_RADIUS = 0.5  # pixels
_MAX_RADIUS = 4.0  # of the window, in its standard deviation
_N_PASSES = 16
_TOLERANCE = 1e-4  # pixels
_MAX_CHUNK = 200_000  # pixels of the windows held at once
_NEIGHBOURS = ('correct', 'mask', 'none')


def windowed_positions(
    data, labels, index, start, half_light_radius, *, usable, neighbours='correct'
):
    """
    Measure the windowed positions of sources.

    Parameters
    ----------
    data : 2D `~numpy.ndarray` of float
        The image without its sky.
    labels : 2D `~numpy.ndarray` of int
        The label of the source to which each pixel belongs, 0 for none.
    index : 1D array_like of int
        The labels of the n sources.
    start : 2D `~numpy.ndarray` of float
        Their initial positions ``(x, y)``, of shape (n, 2), in pixels.
    half_light_radius : 1D `~numpy.ndarray` of float
        That of the window of each source, in pixels; at least 0.5 is used.
    usable : 2D `~numpy.ndarray` of bool
        `False` at pixels to exclude.
    neighbours : {'correct', 'mask', 'none'}, optional
        What replaces the pixels of other sources: the opposite pixel, nothing, or
        they are kept. Like ``aperture_mask_method`` of
        `~photutils.segmentation.SourceCatalog`.

    Returns
    -------
    position : 2D `~numpy.ndarray` of float
        The windowed positions, of shape (n, 2). NaN if the initial position or the
        radius is, if the light under the window is not positive, or if the position
        leaves the image.

    Notes
    -----
    These are XWIN_IMAGE and YWIN_IMAGE of SourceExtractor (its manual, "Windowed
    positional parameters"): ``x <- x + 2 sum(w I (x_i - x)) / sum(w I)``, with a
    Gaussian w of standard deviation ``half_light_radius / sqrt(2 ln 2)``, cut at 4
    standard deviations. This is repeated until the mean offset under the window is
    below 1e-4 px, or 16 times.
    """
    if neighbours not in _NEIGHBOURS:
        msg = f'neighbours must be one of {_NEIGHBOURS}, got {neighbours!r}'
        raise ValueError(msg)
    sigma = window_sigma(half_light_radius, data.shape)
    position = np.full(start.shape, np.nan)
    for rows, reach in _chunks(start, sigma):
        position[rows] = _iterate(
            data,
            usable,
            labels,
            np.asarray(index)[rows],
            start[rows],
            sigma[rows],
            reach,
            neighbours,
        )
    return position


def window_sigma(half_light_radius, shape):
    """
    Return the standard deviations of windows.

    Parameters
    ----------
    half_light_radius : 1D `~numpy.ndarray` of float
        The half-light radii of the windows in pixels.
    shape : tuple of int
        The shape of the image.

    Returns
    -------
    sigma : 1D `~numpy.ndarray` of float
        In pixels, with the half-light radius limited to the range from 0.5 px to the
        side of the image.
    """
    # no window need be larger than the image
    radius = np.clip(half_light_radius, _MIN_HALF_LIGHT_RADIUS, max(shape))
    return radius / _HALF_LIGHT


def window_errors(
    source,
    error,
    labels,
    index,
    position,
    half_light_radius,
    *,
    usable,
    neighbours='correct',
):
    """
    Return the errors of windowed positions due to independent noise.

    Parameters
    ----------
    source : 2D `~numpy.ndarray` of float
        The image without noise.
    error : 2D `~numpy.ndarray` of float
        The standard deviation of the noise of each pixel. Where it is not finite, it
        is not known and the pixel is not used.
    labels, index
        As for `windowed_positions`.
    position : 2D `~numpy.ndarray` of float
        The positions ``(x, y)``, of shape (n, 2), in pixels.
    half_light_radius, usable, neighbours
        As for `windowed_positions`.

    Returns
    -------
    error : 2D `~numpy.ndarray` of float
        The standard deviations along x and y, of shape (n, 2), in pixels. NaN if
        the position is, or if the light under the window does not define one.

    Notes
    -----
    The position is where ``sum(w I dx)`` vanishes. Its variance is that of the sum,
    ``sum(w^2 sigma^2 dx^2)``, divided by the square of the slope of the sum,
    ``sum(w I (1 - dx^2 / s^2))``, with the standard deviation s of the window.
    SourceExtractor's ERRX2WIN_IMAGE is the same if the window is that of a Gaussian
    source.
    """
    sigma = window_sigma(half_light_radius, source.shape)
    result = np.full(position.shape, np.nan)
    for rows, reach in _chunks(position, sigma):
        windows = labels, np.asarray(index)[rows], _middle(position[rows]), reach
        light = _cut_out(source, usable, *windows, neighbours)
        noise = _cut_out(error, usable, *windows, 'none')
        noise[~np.isfinite(noise)] = 0
        weight, offset = _weigh(position[rows], sigma[rows], reach)
        light, noise = light * weight, (noise * weight) ** 2
        for axis, (offset_of, index_of) in enumerate(zip(offset, 'ji', strict=True)):
            scaled = 1 - (offset_of / sigma[rows, np.newaxis]) ** 2
            slope, power = (
                np.einsum(f'nij,n{index_of}->n', values, of_axis)
                for values, of_axis in ((light, scaled), (noise, offset_of**2))
            )
            slope[~(slope > 0)] = np.nan
            result[rows, axis] = np.sqrt(power) / slope
    return result


def _chunks(position, sigma):
    """Yield which sources have windows of about one size, and the size."""
    known = np.flatnonzero(np.isfinite(sigma) & np.isfinite(position).all(axis=1))
    known = known[np.argsort(sigma[known], kind='stable')]
    while known.size:
        # the largest first
        reach = math.ceil(_MAX_RADIUS * sigma[known[-1]]) + 1
        n = max(1, _MAX_CHUNK // (2 * reach + 1) ** 2)
        yield known[-n:], reach
        known = known[:-n]


def _iterate(values, usable, labels, index, position, sigma, reach, neighbours):
    """Return the positions of some sources; the windows hold all pixels in reach."""
    position = position.copy()
    moving, middle = np.arange(len(index)), _middle(position)
    light = _cut_out(values, usable, labels, index, middle, reach, neighbours)
    for _ in range(_N_PASSES):
        weight, (dx, dy) = _weigh(position[moving], sigma[moving], reach)
        weight *= light[moving]
        total = weight.sum(axis=(1, 2))
        total[~(total > 0)] = np.nan
        step = np.stack(
            [np.einsum('nij,nj->n', weight, dx), np.einsum('nij,ni->n', weight, dy)], 1
        )
        step /= total[:, np.newaxis]
        position[moving] += 2 * step
        size = np.hypot(*step.T)
        # beyond the image there is no light, and NaN moves no more
        inside = (position[moving] > -1) & (position[moving] < values.shape[::-1])
        position[moving[~inside.all(axis=1)]] = np.nan
        moving = moving[(size > _TOLERANCE) & inside.all(axis=1)]
        if moving.size == 0:
            break
        left = moving[(_middle(position[moving]) != middle[moving]).any(axis=1)]
        middle[left] = _middle(position[left])
        light[left] = _cut_out(
            values, usable, labels, index[left], middle[left], reach, neighbours
        )
    return position


def _middle(position):
    """Return the pixels that hold some positions."""
    return np.floor(position + 0.5).astype(int)


def _weigh(position, sigma, reach):
    """Return the weights of the pixels under each window, and how far they are."""
    offset = np.arange(-reach, reach + 1)
    away = (_middle(position) - position)[:, :, np.newaxis] + offset
    scaled = (away / sigma[:, np.newaxis, np.newaxis]) ** 2
    x, y = np.exp(-0.5 * scaled).transpose(1, 0, 2)
    weight = y[:, :, np.newaxis] * x[:, np.newaxis, :]
    distance2 = scaled[:, 1, :, np.newaxis] + scaled[:, 0, np.newaxis, :]
    weight[distance2 > _MAX_RADIUS**2] = 0
    return weight, (away[:, 0], away[:, 1])


def _cut_out(values, usable, labels, index, middle, reach, neighbours):
    """Return the pixels of each window, and what stands for those of other sources."""
    offset = np.arange(-reach, reach + 1)
    height, width = values.shape
    x, y = middle[:, :1] + offset, middle[:, 1:] + offset
    inside = ((y >= 0) & (y < height))[:, :, np.newaxis]
    inside = inside & ((x >= 0) & (x < width))[:, np.newaxis, :]
    rows = np.clip(y, 0, height - 1)[:, :, np.newaxis] * width
    pixels = rows + np.clip(x, 0, width - 1)[:, np.newaxis, :]
    light = np.where(inside & usable.ravel()[pixels], values.ravel()[pixels], 0.0)
    if neighbours == 'none':
        return light
    owner = labels.ravel()[pixels]
    own = ~inside | (owner == 0) | (owner == index[:, np.newaxis, np.newaxis])
    if neighbours == 'mask':
        return np.where(own, light, 0)
    mirrored = np.where(own, light, 0)[:, ::-1, ::-1]
    return np.where(own, light, mirrored)
