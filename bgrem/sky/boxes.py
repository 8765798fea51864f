"""
The sky of an image without its sources, in boxes that the image itself chooses.

Nobody knows how large the boxes should be in which a sky is measured: large enough for
its noise, small enough for its structure. Here they begin at 4 px, and it is seen at
each place which larger ones do better (`bgrem.sky.scales`). The level of a box is the
mean of its pixels, which noise of any shape leaves right, without those that lie far
off the medians around. Boxes beneath the light of a galaxy count little, as a tenth of
it may be left over. Numpy and scipy only.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage

from bgrem.sky.maps import interpolate_mesh
from bgrem.sky.scales import BoxMeans, fit_surface, sum_triangle
from bgrem.sky.stripes import find_stripes

__all__ = ['CLIP', 'BoxSky', 'measure_sky']

_LEAST_BOX = 4  # pixels, where neighbouring pixels have noise of their own
#: Pixels further from the sky than this, in standard deviations, are not used.
CLIP = 4.0
_COUNTS, _MOST_BOX = 4.0, 32
_CLIP_STEPS = 4.0  # of discrete data besides: few photons have long tails
# A box of the first sky that differs so much from the boxes around, in units of their
# scatter, where there are enough, holds a star that is not in the sources.
_STANDS_OUT = 5.0
_MIN_AROUND = 9
# Lags in pixels, to see how far noise reaches: as far as the mean square of its
# differences is less than this part of that of independent pixels. A wild pixel counts
# as this many standard deviations.
_LAGS = (1, 2, 4, 8)
_LEAST_DIFFERENCE = 0.6
_MOST_DIFFERENCE = 7.0
_N_CORRELATIONS = 6  # lags; at the last two there is sky, but no noise in common
_MIN_SIGNIFICANCE = 3.0  # of a correlation, in its standard deviation
_MAX_SAMPLE = 2**18  # pixels, enough for all of these
# What is left in a box of the light of its stars may be this part of it.
_DOUBT = 0.1
# Light that is above this everywhere in squares of 16 px, in units of the noise, is
# that of a galaxy; what is left of it may be so many times the rest of it.
_FAINTEST = 0.1
_EXTENDED = 16  # pixels
_LEFT_OVER = 50.0
# Around that the outskirts: so many boxes, and this part of the width of the galaxy.
_BORDER = 2
_OUTSKIRTS = 0.25
_LARGEST = 64  # boxes across a galaxy
# A slope with stripes on it is sky where it is this part of their variance; 1/f noise
# has slopes of its own.
_MIN_SLOPE = 0.8
_N_STRIPES = 3
_SOURCE_FREE = 0.5  # in units of the noise; beneath more there is not noise alone
_NOISE_WIDTH = 16  # boxes: half the width of the window in which noise is measured
_NOISE_PRIOR = 1e-3  # pixels with the noise of the whole image, for empty windows
# A factor that the caller gave may be of another image: noise is not less than this
# part of what the pixels scatter, nor elsewhere in the image than this part of it.
_LEAST_NOISE = 1e-6
_FARTHEST = 1e12  # standard deviations; the squares of float32 are finite


@dataclass(frozen=True, eq=False)
class BoxSky:
    """
    Sky and noise on the finest mesh that an image needs.

    Attributes
    ----------
    box_size : int
        The side of a box in pixels; the first one begins at the first pixel, the last
        may reach beyond the image.
    level : 2D `~numpy.ndarray` of float64
        The sky at the centre of each box, in the unit of the image; to be interpolated
        by `bgrem.sky.maps.interpolate_mesh`, straight on beyond the borders.
    noise : 2D `~numpy.ndarray` of float64
        The standard deviation of the noise around each box, likewise.
    error : 2D `~numpy.ndarray` of float64
        The standard error of ``level``, as far as noise makes it.
    beneath : 2D `~numpy.ndarray` of bool
        True at pixels of the image beneath the light of a galaxy, where what is left
        of it may be more than the error of a box.
    """

    box_size: int
    level: np.ndarray
    noise: np.ndarray
    error: np.ndarray
    beneath: np.ndarray

    def on_grid(self, shape):
        """
        Return the sky on the finest boxes that any image has.

        Parameters
        ----------
        shape : tuple of 2 int
            The shape of the image.

        Returns
        -------
        level : 2D `~numpy.ndarray` of float64
            The sky at the centres of the boxes.
        size : int
            Their side, 4 px.
        """
        n_boxes = self.box_size // _LEAST_BOX
        shape = [-(-n // _LEAST_BOX) for n in shape]
        level = interpolate_mesh(self.level, shape, (n_boxes,) * 2, edges='linear')
        return level, _LEAST_BOX


def measure_sky(residual, usable, noise, source, quantum=0.0, binning=1):
    """
    Measure the sky of an image whose sources have been taken out.

    Parameters
    ----------
    residual : 2D `~numpy.ndarray` of float
        The image without its sources.
    usable : 2D `~numpy.ndarray` of bool
        True at pixels with data, of which there is at least one; ``residual`` is
        finite there.
    noise : 2D `~numpy.ndarray` of float
        The standard deviation of the noise, in the same unit. Where it is 0 it is
        taken to be as in the rest of the image.
    source : 2D `~numpy.ndarray` of float
        What has been taken out.
    quantum : float, optional
        The step of discrete data (1 for counts), 0 for continuous ones.
    binning : int, optional
        The side in pixels of the squares in which the sources were seen, default 1.
        What is left of them within a square is no sky: boxes are not smaller.

    Returns
    -------
    sky : `BoxSky`
        The sky. It exists wherever the pixels are.

    Notes
    -----
    Pixels count as one over their variance, those further than 4 standard deviations
    and 4 steps from a first sky of medians not at all. Where neighbouring pixels share
    their noise, or have few counts, the least boxes are of 8, 16 or 32 px.
    """
    middle, unit = _typical(residual, usable, noise)
    noise = np.where(noise > 0, noise, unit) / unit
    noise = np.clip(noise, _LEAST_NOISE, 1 / _LEAST_NOISE).astype(np.float32)
    rest = np.zeros(residual.shape, dtype=np.float32)
    with np.errstate(over='ignore'):
        np.divide(residual - middle, unit, out=rest, where=usable, casting='same_kind')
    np.clip(rest, -_FARTHEST, _FARTHEST, out=rest)
    box = _LEAST_BOX * _noise_reach(rest, usable, noise)
    # a box of four counts at least: the scatter of less is not normal
    while box < _MOST_BOX and box * unit < _COUNTS**0.5 * quantum:
        box *= 2
    while box < binning:
        box *= 2
    first = _first_sky(rest, usable, noise, box)
    bound = CLIP * noise + np.float32(_CLIP_STEPS * quantum / unit)
    stripes = None
    for _ in range(_N_STRIPES):  # the first time they are clipped themselves
        more = _stripes(rest, first, usable & (np.abs(rest - first) <= bound))
        if more is None:
            break
        stripes = more if stripes is None else stripes + more
        rest = rest - more
        first = _first_sky(rest, usable, noise, box)
    good = usable & (np.abs(rest - first) <= bound)
    if not good.any():
        good = usable
    stride = box // _LEAST_BOX
    correlations = _autocorrelations(np.where(good, rest - first, 0), good, stride)
    means, n_pixels = _box_means(rest, good, noise, box, correlations)
    light = _extended_light(source, usable, noise * unit, box)
    left_over = _left_over(light)
    # in units of the noise of a pixel
    relative = _average(np.abs(source), box) / unit / _average(noise, box)
    doubt = np.hypot(left_over, _DOUBT * relative)
    surface = fit_surface(
        _discount(means, doubt, n_pixels),
        lambda n: [_shared(one, n)[1] for one in correlations],
    )

    factor = surface.factor
    level = interpolate_mesh(
        surface.level, rest.shape, (box * factor,) * 2, np.float32, edges='linear'
    )
    noise_alone = good & (np.abs(source) < _SOURCE_FREE * unit * noise)
    if stripes is not None:  # to the pixels they are noise
        level -= stripes
    ratio, noise_mesh = _measure_noise(rest - level, noise_alone, noise, box)
    ratio, noise_mesh = (_average(one, factor) for one in (ratio, noise_mesh))
    return BoxSky(
        box * factor,
        surface.level * unit + middle,
        noise_mesh * unit,
        np.sqrt(np.maximum(surface.variance, 0)) * ratio * unit,
        _at_pixels(left_over > 1 / box, box, rest.shape),
    )


def _typical(residual, usable, noise):
    """Return a level and a noise near which all is computed."""
    step = max(1, residual.size // _MAX_SAMPLE)
    middle = float(np.median(residual[usable][::step].astype(float)))
    known = noise[usable & (noise > 0)]
    if known.size:
        low, high = np.percentile(residual[usable][::step].astype(float), [25, 75])
        return middle, max(float(np.median(known[::step])), _LEAST_NOISE * (high - low))
    # too few pixels for a map of the noise: what they scatter
    spread = float(np.std(residual[usable][::step].astype(float)))
    return middle, spread if spread > 0 else 1.0


def _first_sky(rest, usable, noise, box):
    """Return a sky of medians at every pixel, which no wild pixel moves."""
    size = 2 * box
    values = _blocks(np.where(usable, rest, np.inf), size, np.inf).swapaxes(1, 2)
    values = values.reshape(*values.shape[:2], -1)
    n_values = np.count_nonzero(np.isfinite(values), axis=-1)
    median = _median(values, n_values)
    variance = _sum_blocks(np.where(usable, noise**2, 0), size)
    weight = n_values**2 / np.where(variance > 0, variance, 1) / (np.pi / 2)
    weight[_stands_out(median, weight)] = 0
    means = BoxMeans(median, weight, *_places(usable, n_values, size))
    surface = fit_surface(means, lambda _: (0.0, 0.0))
    return interpolate_mesh(
        surface.level,
        rest.shape,
        (size * surface.factor,) * 2,
        np.float32,
        edges='linear',
    )


def _stands_out(median, weight):
    """Whether a box is far from those around it, which agree: a star that is left."""
    known = weight > 0
    values = np.pad(np.where(known, median, np.inf), 2, constant_values=np.inf)
    around = sliding_window_view(values, (5, 5)).reshape(*median.shape, -1)
    n_around = np.count_nonzero(np.isfinite(around), axis=-1)
    middle = _median(around, n_around)
    distance = np.abs(around - middle[..., np.newaxis])
    spread = 1.4826 * _median(distance, n_around)
    error = np.sqrt(1 / np.where(known, weight, 1))
    found = np.abs(median - middle) > _STANDS_OUT * np.hypot(spread, error)
    return found & (n_around >= _MIN_AROUND)


def _median(values, n_values):
    """Return the median of the first values of each row when sorted, 0 of none."""
    values = np.sort(values, axis=-1)
    last = np.maximum(n_values - 1, 0)[..., np.newaxis]
    low, high = (
        np.take_along_axis(values, n // 2, axis=-1)[..., 0] for n in (last, last + 1)
    )
    return np.where(n_values > 0, 0.5 * low + 0.5 * high, 0)


def _stripes(rest, first, good):
    """Return the stripes of an image, without what is a slope of the sky."""
    if not good.any():
        return None
    found = find_stripes(rest - first, good)
    if not any(levels.any() for levels in found):
        return None
    stripes = np.zeros(rest.shape, dtype=np.float32)
    for axis, levels in enumerate(found):
        if levels.any():
            levels = levels + first.mean(axis=1 - axis)
            levels -= levels.mean()
            place = np.linspace(-1, 1, len(levels))
            slope = np.polynomial.Polynomial.fit(place, levels, 2)(place)
            if np.sum(slope**2) > _MIN_SLOPE * np.sum(levels**2):
                levels -= slope
            stripes += np.expand_dims(levels, 1 - axis).astype(np.float32)
    return stripes


def _box_means(rest, good, noise, box, correlations):
    """Return the means of the boxes and from how many pixels they come."""
    weight = np.where(good, 1 / noise**2, 0)
    n_pixels = _sum_blocks(good, box)
    total = _sum_blocks(weight, box)
    weighted = weight * rest
    divisor = np.where(total > 0, total, 1)
    mean = _sum_blocks(weighted, box) / divisor
    more = np.prod([_shared(one, 1)[0] for one in correlations])
    return BoxMeans(mean, total / more, *_places(weight, total, box)), n_pixels


def _places(weight, total, size):
    """Return where the pixels of blocks are on average, in blocks."""
    row, column = (np.arange(n, dtype=np.float32) for n in weight.shape)
    total = np.where(total > 0, total, 1)
    for place in (row[:, np.newaxis], column):
        yield (_sum_blocks(weight * place, size) / total - (size - 1) / 2) / size


def _left_over(light):
    """Return how much of the light of galaxies may be left, in units of the noise."""
    more = np.maximum(light - _FAINTEST, 0)
    return _LEFT_OVER * more**2 / np.maximum(light, _FAINTEST)


def _discount(means, left_over, n_pixels):
    """Return the means with what may be left of galaxies in their variance."""
    known = means.weight > 0
    weight = np.where(known, means.weight, 1)
    variance = 1 / weight + left_over**2 * n_pixels / weight
    return BoxMeans(means.mean, np.where(known, 1 / variance, 0), means.y, means.x)


def _extended_light(source, usable, noise, box):
    """Return the light that fills squares, and that of what surrounds it."""
    light = np.where(usable, source / noise, np.inf)
    light = _blocks(light, box, np.inf).min(axis=(1, 3))
    width = max(_EXTENDED // box, 1)
    light = _open(light, width)
    light = np.where(np.isfinite(light), np.maximum(light, 0), 0)
    result = ndimage.maximum_filter(light, 2 * _BORDER + 1, mode='nearest')
    while (light > _FAINTEST).any() and 2 * width <= _LARGEST:
        width *= 2
        light = _open(light, width)
        border = int(_OUTSKIRTS * width)
        wider = ndimage.maximum_filter(light, 2 * border + 1, mode='nearest')
        result = np.maximum(result, wider)
    return result


def _open(light, width):
    """Return what is left of light in squares that it fills (a grey opening)."""
    light = ndimage.minimum_filter(light, width, mode='nearest')
    # of an even width the windows lie off the middle, once to either side
    origin = -1 if width % 2 == 0 else 0
    return ndimage.maximum_filter(light, width, mode='nearest', origin=origin)


def _measure_noise(rest, noise_alone, noise, box):
    """Return the noise around each box, relative to a map of it and by itself."""
    square = (np.where(noise_alone, rest, 0) / noise) ** 2
    square, n_pixels = _sum_blocks(square, box), _sum_blocks(noise_alone, box)
    whole = square.sum() / max(n_pixels.sum(), 1)
    square, n_pixels = (
        np.maximum(sum_triangle(one, _NOISE_WIDTH), 0) for one in (square, n_pixels)
    )
    ratio = (square + _NOISE_PRIOR * whole) / (n_pixels + _NOISE_PRIOR)
    ratio = np.sqrt(ratio)
    return ratio, ratio * _average(noise, box)


def _noise_reach(rest, usable, noise):
    """Return by how much to enlarge the least boxes, as noise is correlated."""
    reach = 0
    for values, given, spread in _both_ways(rest, usable, noise):
        for number, lag in enumerate(_LAGS):
            pairs = given[lag:] & given[:-lag]
            if not pairs.any():
                break
            difference = np.abs(values[lag:] - values[:-lag])[pairs]
            difference = np.minimum(difference / spread[lag:][pairs], _MOST_DIFFERENCE)
            if np.mean(difference**2) / 2 >= _LEAST_DIFFERENCE:
                break
            reach = max(reach, number)
    return 2**reach


def _autocorrelations(noise, good, stride):
    """Return the correlation of pixels 0, 1, ... strides apart, along y and x."""
    result = []
    for values, given in _both_ways(noise, good):
        covariance = np.zeros(_N_CORRELATIONS + 1)
        for number in range(min(len(covariance), -(-len(values) // stride))):
            lag = number * stride
            n_pairs = np.count_nonzero(given[lag:] & given[: len(given) - lag])
            product = np.vdot(values[lag:], values[: len(values) - lag])
            covariance[number] = product / max(n_pairs, 1)
        # what is left of the sky is common to pixels far apart, too
        covariance -= covariance[-2:].mean()
        correlation = np.zeros_like(covariance)
        if covariance[0] > 0:
            correlation = covariance / covariance[0]
        limit = _MIN_SIGNIFICANCE / np.sqrt(max(np.count_nonzero(given), 1))
        correlation[(correlation < limit) | (np.arange(len(correlation)) > 4)] = 0
        correlation[0] = 1
        result.append(correlation)
    return result


def _both_ways(*images):
    """Yield images along y, then along x, of large ones some columns and rows."""
    step = max(1, images[0].size // _MAX_SAMPLE)
    for axis in (0, 1):
        yield [np.moveaxis(one, axis, 0)[:, ::step] for one in images]


def _shared(correlation, n_boxes):
    """
    Return what correlated pixels do along one axis to boxes of ``n_boxes`` least ones.

    By how much the variance of their mean is larger than that of independent pixels,
    and the correlation of the means of neighbours.
    """
    size = _LEAST_BOX * n_boxes
    lags = np.arange(1 - len(correlation), len(correlation))
    both = correlation[np.abs(lags)]
    own, next_one = (
        np.sum(np.maximum(size - np.abs(lags - shift), 0) * both) / size
        for shift in (0, size)
    )
    return own, next_one / own


def _blocks(values, size, fill):
    """Return a view in blocks, shape ``(rows, size, columns, size)``."""
    more = [(0, -n % size) for n in values.shape]
    if any(after for _, after in more):
        values = np.pad(values, more, constant_values=fill)
    n_rows, n_columns = (n // size for n in values.shape)
    return values.reshape(n_rows, size, n_columns, size)


def _at_pixels(values, size, shape):
    """Return the values of blocks at their pixels."""
    return values.repeat(size, axis=0).repeat(size, axis=1)[: shape[0], : shape[1]]


def _sum_blocks(values, size):
    """Return the sum of each block."""
    return _blocks(values, size, 0).sum(axis=1, dtype=float).sum(axis=2)


def _average(values, size):
    """Return the mean of each block, of which the last may reach beyond."""
    n_values = _sum_blocks(np.ones_like(values, dtype=bool), size)
    return _sum_blocks(values, size) / n_values
