"""
The sky of an image without its sources, in boxes chosen from the image itself.

Nobody knows the right size of the boxes in which a sky is measured: large enough for
its noise, small enough for its structure. Here the smallest boxes are 4 px, and at each
place it is determined how far larger ones do better (`bgrem.sky.scales`). The level of
a box is the mean of its pixels, which is unbiased for noise of any shape, excluding
pixels far from the medians around them. Boxes beneath the light of a galaxy have little
weight, as a tenth of this light may be left over, and boxes on a trail have none
(`bgrem.sky.trails`). Numpy and scipy only.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from bgrem.sky.bands import CACHED, Measurement, each_band, measure
from bgrem.sky.blocks import (
    at_pixels,
    average_blocks,
    block_moments,
    fold_blocks,
    in_blocks,
    sum_blocks,
)
from bgrem.sky.common import noise_reach, piece_correlations, shared_noise
from bgrem.sky.maps import MeshMap, interpolate_mesh
from bgrem.sky.scales import BoxMeans, fit_surface, sum_triangle
from bgrem.sky.stripes import stripes_of_sums, sum_lines
from bgrem.sky.trails import find_trails

__all__ = ['CLIP', 'BoxSky', 'SkyMeasurement', 'measure_sky']

_LEAST_BOX = 4  # pixels, where neighboring pixels have noise of their own
#: Pixels further from the sky than this, in standard deviations, are not used.
CLIP = 4.0
_COUNTS, _MOST_BOX = 4.0, 32
_CLIP_STEPS = 4.0  # of discrete data besides: few photons have long tails
# A box of the first sky that differs so much from the boxes around, in units of their
# scatter, where there are enough, holds a star that is not in the sources. In an image
# so thin that its boxes lie in one line, they are those of a longer window.
_STANDS_OUT = 5.0
_AROUND, _ALONG = 5, 13  # boxes
_MIN_AROUND, _MIN_ALONG = 9, 5
_MAX_SAMPLE = 2**18  # pixels, enough to see how far noise reaches
_MOST_BOXES = 2**14  # whose surroundings are looked at at once
# What is left in a box of the light of its stars may be this part of it.
_DOUBT = 0.1
# Light that is above this everywhere in squares of 16 px, in units of the noise, is
# that of a galaxy; what is left of it may be so many times the rest of it.
_FAINTEST = 0.1
_EXTENDED = 16  # pixels
_LEFT_OVER = 50.0
_BEST = 99.0  # percentile of the weights; where a hundredth is free, nothing changes
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
# A mesh through the noise of the boxes is finer than the sky needs where more than this
# part of the boxes would be off by more than that: at steps of the depth.
_RAMPS, _OFF = 0.01, 0.25
_FARTHEST = 1e12  # standard deviations; the squares of float32 are finite


@dataclass(frozen=True, eq=False)
class BoxSky:
    """
    Sky and noise on the finest mesh that an image needs.

    Attributes
    ----------
    box_size : int
        The side of a box in pixels. The first box begins at the first pixel; the last
        may extend beyond the image.
    level : 2D `~numpy.ndarray` of float64
        The sky at the center of each box, in the unit of the image, for
        `bgrem.sky.maps.interpolate_mesh` with linear extrapolation at the borders.
    noise : 2D `~numpy.ndarray` of float64
        The standard deviation of the noise around each box, likewise.
    error : 2D `~numpy.ndarray` of float64
        The standard error of ``level`` that is due to noise.
    beneath : 2D `~numpy.ndarray` of bool
        True at pixels of the image beneath the light of a galaxy, where its residual
        may exceed the error of a box.
    trails : 2D `~numpy.ndarray` of bool or `None`, optional
        True at pixels on a trail, from `bgrem.sky.trails.find_trails`. Default `None`:
        there is none.
    """

    box_size: int
    level: np.ndarray
    noise: np.ndarray
    error: np.ndarray
    beneath: np.ndarray
    trails: np.ndarray | None = None

    def meshes(self, unit, dtype, bounds=None):
        """
        Convert the sky to the unit, dtype and range of an image.

        Parameters
        ----------
        unit : float
            The unit of the sky, in units of the image.
        dtype : dtype
            The dtype of the image.
        bounds : tuple of 2 float, optional
            The lowest and the highest value of the image, to which the sky is limited.

        Returns
        -------
        level, noise, error : 2D `~numpy.ndarray`
            The meshes in the unit of the image.
        """
        largest = np.finfo(dtype).max
        level, noise, error = (
            # in double precision, as a unit may be beyond float32
            np.clip(values.astype(float) * unit, -largest, largest).astype(dtype)
            for values in (self.level, self.noise, self.error)
        )
        if bounds is not None:
            noise = np.minimum(noise, bounds[1] - bounds[0])
        return level, noise, error

    def on_grid(self, shape):
        """
        Return the sky on the finest boxes that any image can have.

        Parameters
        ----------
        shape : tuple of 2 int
            The shape of the image.

        Returns
        -------
        level : 2D `~numpy.ndarray` of float64
            The sky at the centers of the boxes.
        size : int
            The side of the boxes, 4 px.
        """
        n_boxes = self.box_size // _LEAST_BOX
        shape = [-(-n // _LEAST_BOX) for n in shape]
        level = interpolate_mesh(self.level, shape, (n_boxes,) * 2, edges='linear')
        return level, _LEAST_BOX


def measure_sky(data, source, usable, noise, quantum=0.0, binning=1):
    """
    Measure the sky of an image whose sources are known.

    Parameters
    ----------
    data : 2D `~numpy.ndarray` of float
        The image.
    source : 2D `~numpy.ndarray` of float
        Its sources, in the same unit, which are subtracted.
    usable : 2D `~numpy.ndarray` of bool
        True at pixels with data, of which there is at least one; ``data`` is finite
        there.
    noise : 2D `~numpy.ndarray` of float
        The standard deviation of the noise, in the same unit. Where it is 0, that of
        the rest of the image is assumed.
    quantum : float, optional
        The step of discrete data (1 for counts), 0 for continuous data.
    binning : int, optional
        The side, in pixels, of the squares into which the image was binned to find the
        sources, default 1. Residuals of sources within a square are not sky, so boxes
        are not smaller than this.

    Returns
    -------
    sky : `BoxSky`
        The sky, which is defined everywhere.

    Notes
    -----
    The weight of a pixel is one over its variance; pixels further than 4 standard
    deviations and 4 steps from a first sky of medians are excluded. Where the noise of
    neighboring pixels is correlated, or counts are few, the smallest boxes are 8, 16 or
    32 px. The image without its sources is never in memory as a whole.
    """

    def read(rows):
        light = source[rows]
        return data[rows] - light, usable[rows], noise[rows], light

    measurement = SkyMeasurement(data.shape, quantum, binning)
    measurement.n_pixels = CACHED
    sky = measure(measurement, read)
    beneath, trails = sky.covered(slice(None))
    return replace(sky.result, beneath=beneath, trails=trails)


class SkyMeasurement(Measurement):
    """
    The sky of an image without its sources, measured in bands (see `measure_sky`).

    It uses the images ``residual``, which is the data without the sources, ``usable``,
    ``noise`` and ``source``, as for `measure_sky`.

    Parameters
    ----------
    shape : tuple of 2 int
        The shape of the image.
    quantum, binning
        As for `measure_sky`.

    Attributes
    ----------
    result : `BoxSky` or `None`
        The sky, without ``beneath`` and ``trails``, which `covered` returns.
    """

    stage = 'sample'
    # of them means once more where everything is far off the first sky
    most_stages = 2 * _N_STRIPES + 5

    def __init__(self, shape, quantum=0.0, binning=1):
        super().__init__(shape)
        self._quantum, self._binning = quantum, binning
        self._step = max(1, math.prod(self.shape) // _MAX_SAMPLE)
        self._stripes, self._take_all, self.result = [], False, None

    def covered(self, rows):
        """
        Return where something else hides the sky.

        Parameters
        ----------
        rows : slice
            The rows of a band.

        Returns
        -------
        beneath : 2D `~numpy.ndarray` of bool
            As in `BoxSky`, in these rows.
        trails : 2D `~numpy.ndarray` of bool or `None`
            Likewise; `None` if the image has none.
        """
        trails = self._pixels(self._trails, rows) if self._trails.any() else None
        return self._pixels(self._beneath, rows), trails

    def _pixels(self, boxes, rows):
        """Return the boxes of each pixel of some rows."""
        start, stop, _ = rows.indices(self.shape[0])
        some = slice(start // self._box, -(-stop // self._box))
        size = stop - some.start * self._box, self.shape[1]
        pixels = at_pixels(boxes[some], self._box, size)
        return pixels[start - some.start * self._box :]

    def _see_sample(self, rows, residual, usable, noise, _source):
        """Return some lines of pixels along both axes; or any pixels there are."""
        lines = self._lines(rows, residual, usable, noise)
        values, seen, known = lines[0]
        if not seen.any():
            values, known = (one[usable][:: self._step] for one in (residual, noise))
            return values, known, lines
        return values[seen], known[seen], lines

    def _learn_sample(self, seen):
        values, known, lines = zip(*seen, strict=True)
        values, known = (np.concatenate(one).astype(float) for one in (values, known))
        middle, unit = _typical(values, known[known > 0])
        self._middle, self._unit = middle, unit
        sample = _join_lines(lines)
        sample = [
            (*self._normalize(residual, usable, noise), usable)
            for residual, usable, noise in sample
        ]
        box = _LEAST_BOX * noise_reach(sample)
        # a box of four counts at least: the scatter of less is not normal
        while box < _MOST_BOX and box * unit < _COUNTS**0.5 * self._quantum:
            box *= 2
        while box < self._binning:
            box *= 2
        self._box, self._bound = box, np.float32(_CLIP_STEPS * self._quantum / unit)
        self.stage = 'medians'

    def _lines(self, rows, *images):
        """Return columns, and rows as columns, of a band of a large image."""
        first = -rows.start % self._step
        return (
            [image[:, :: self._step] for image in images],
            [image[first :: self._step].T for image in images],
        )

    def _normalize(self, residual, usable, noise):
        """Return image and noise in units of the typical noise, about a level."""
        unit = self._unit
        noise = noise / unit
        if not noise.min(initial=1) > 0:
            noise[~(noise > 0)] = 1
        noise = np.clip(noise, _LEAST_NOISE, 1 / _LEAST_NOISE, out=noise)
        with np.errstate(over='ignore', invalid='ignore'):
            rest = residual - self._middle
            rest /= unit
            rest = rest.astype(np.float32, copy=False)
        if not usable.all():
            rest[~usable] = 0
        np.clip(rest, -_FARTHEST, _FARTHEST, out=rest)
        return rest, noise.astype(np.float32, copy=False)

    def _without_stripes(self, rest, rows):
        for levels, columns in self._stripes:
            rest = rest - (levels[rows, np.newaxis] + columns)
        return rest

    def _see_medians(self, rows, residual, usable, noise, _source):
        rest, noise = self._normalize(residual, usable, noise)
        rest, size = self._without_stripes(rest, rows), 2 * self._box
        taken = usable.astype(np.float32)
        n_values, *places = block_moments(taken, size)
        if not usable.all():
            rest = np.where(usable, rest, np.float32(np.inf))
        noise *= noise
        noise *= taken
        median = _median(in_blocks(rest, size, np.inf), n_values.astype(int))
        return median, n_values, sum_blocks(noise, size), *places

    def _learn_medians(self, seen):
        """Make a first sky of medians, which no wild pixel moves."""
        median, n_values, variance, *places = self._join_boxes(seen, 2 * self._box)
        weight = n_values**2 / np.where(variance > 0, variance, 1) / (np.pi / 2)
        weight[_stands_out(median, weight)] = 0
        surface = fit_surface(BoxMeans(median, weight, *places), lambda _: (0.0, 0.0))
        self._first = self._map(surface.level, 2 * self._box * surface.factor)
        self.stage = 'means'

    def _map(self, level, size):
        return MeshMap(level, self.shape, (size,) * 2, np.float32, edges='linear')

    def _clipped(self, rows, residual, usable, noise):
        """Return image and noise, the first sky, what is above it, and what is near."""
        rest, noise = self._normalize(residual, usable, noise)
        first = self._first.part(rows)
        above = self._without_stripes(rest, rows) - first
        good = usable
        if not self._take_all:
            good = usable & (np.abs(above) <= CLIP * noise + self._bound)
        return rest, noise, first, above, good

    def _see_means(self, rows, residual, usable, noise, source):
        _, noise, first, above, good = self._clipped(rows, residual, usable, noise)
        box, taken = self._box, good.astype(np.float32)
        # a bright line is one although most of it is clipped
        most = CLIP * noise + self._bound
        held = np.clip(above, -most, most)
        held *= usable
        held += first
        held = average_blocks(held, box)
        above *= taken
        lines, sums = self._lines(rows, above, good), None
        if self._looks_for_stripes:
            sums = (
                sum_lines(above, good, rows, self.shape[0]),
                first.mean(axis=1),
                first.sum(axis=0, dtype=float),
            )
        weight = taken / (noise * noise)
        total, *places = block_moments(weight, box)
        first += above
        first *= weight
        mean = sum_blocks(first, box) / np.where(total > 0, total, 1)
        with np.errstate(over='ignore'):
            light = source / noise
        light = np.where(usable, light, np.inf).astype(np.float32, copy=False)
        lightest = fold_blocks(light, box, np.minimum) / self._unit
        noise = average_blocks(noise, box)
        source = average_blocks(np.abs(source), box) / self._unit / noise
        boxes = [mean, *places, sum_blocks(taken, box).astype(np.uint16)]
        # boxes are many, and these say by how much others count
        more = total, lightest, source, noise, held
        more = [one.astype(np.float32) for one in more]
        return boxes + more, lines, sums

    @property
    def _looks_for_stripes(self):
        return len(self._stripes) < _N_STRIPES and not self._take_all

    def _join_boxes(self, bands, size):
        """Return the boxes of the image, value by value, from those of its bands."""
        shape, joined, start = [-(-n // size) for n in self.shape], None, 0
        for boxes in bands:
            if joined is None:
                joined = [np.empty(shape, one.dtype) for one in boxes]
            # all bands together may be as many bytes as an image: they come and go
            for whole, one in zip(joined, boxes, strict=True):
                whole[start : start + len(one)] = one
            start += len(boxes[0])
        return joined

    def _learn_means(self, seen):
        lines, sums = [], _LineSums()

        def read_boxes():
            for boxes, some_lines, some_sums in seen:
                lines.append(some_lines)
                if some_sums is not None:
                    sums.add(*some_sums)
                yield boxes

        boxes = self._join_boxes(read_boxes(), self._box)
        if not (self._take_all or boxes[3].any()):
            self._take_all = True
            return
        if self._looks_for_stripes and self._find_stripes(sums):
            # the first time they are clipped themselves
            self.stage = 'medians'
            return
        correlations = piece_correlations(_join_lines(lines), self._box // _LEAST_BOX)
        surface = fit_surface(
            self._weigh(boxes, correlations),
            lambda n: [shared_noise(one, _LEAST_BOX * n)[1] for one, _ in correlations],
        )
        self._surface = surface
        self._level = self._map(surface.level, self._box * surface.factor)
        self.stage = 'scatter'

    def _weigh(self, boxes, correlations):
        """Return the means with their weights, and keep what else is known of boxes."""
        mean, y, x, n_pixels, total, light, source, self._box_noise, held = boxes
        boxes.clear()  # nothing is kept longer than it is needed
        light = _left_over(_extended_light(light, self._box))
        self._beneath = light > 1 / self._box
        # in units of the noise of a pixel
        source *= _DOUBT
        doubt = np.hypot(light, source, out=source)
        del light
        shared = np.prod(
            [own * shared_noise(one, _LEAST_BOX)[0] for one, own in correlations]
        )
        total /= np.float32(shared)
        error = self._box_noise * np.float32(shared**0.5 / self._box)
        self._trails = find_trails(held, error)
        if not total[~self._trails].any():
            self._trails[:] = False  # there would be no sky
        total[self._trails] = 0
        return BoxMeans(mean, _discount(total, doubt, n_pixels), y, x)

    def _find_stripes(self, sums):
        """Whether there are stripes; then they are known from now on."""
        rows, along = (np.concatenate(one, -1) for one in (sums.rows, sums.along))
        means = along, sums.across / self.shape[0]
        stripes = _stripes(stripes_of_sums([(rows, sums.columns)]), means)
        if stripes is not None:
            self._stripes = [*self._stripes, stripes]
        return stripes is not None

    def _see_scatter(self, rows, residual, usable, noise, source):
        # to the pixels stripes are noise
        rest, noise, _, _, good = self._clipped(rows, residual, usable, noise)
        alone = np.abs(source) < _SOURCE_FREE * self._unit * noise
        alone &= good
        if self._trails.any():
            alone &= ~self._pixels(self._trails, rows)
        rest -= self._level.part(rows)
        rest /= noise
        rest *= rest
        alone = alone.astype(np.float32)
        rest *= alone
        return [sum_blocks(one, self._box) for one in (rest, alone)]

    def _learn_scatter(self, seen):
        ratio = _noise_ratio(self._join_boxes(seen, self._box))
        noise = ratio * self._box_noise
        surface, unit = _with_noise(self._surface, noise), self._unit
        ratio, noise = (average_blocks(one, surface.factor) for one in (ratio, noise))
        self.result = BoxSky(
            self._box * surface.factor,
            surface.level * unit + self._middle,
            noise * unit,
            np.sqrt(np.maximum(surface.variance, 0)) * ratio * unit,
            None,
        )
        # what only the measurement needs
        self._first = self._level = self._surface = self._box_noise = None
        self.stage = None


class _LineSums:
    """The sums along rows and columns of bands, which are as long as the image."""

    def __init__(self):
        self.rows, self.along, self.columns, self.across = [], [], 0, 0

    def add(self, sums, along, across):
        rows, columns = sums
        self.rows.append(rows)
        self.along.append(along)
        # of the columns all bands would be as many bytes as a part of the image
        self.columns = self.columns + columns
        self.across = self.across + across


def _join_lines(bands):
    """Return the lines of all bands, along both axes, for each of their images."""
    columns, rows = zip(*bands, strict=True)
    return (
        [np.concatenate(images) for images in zip(*columns, strict=True)],
        [
            np.ascontiguousarray(np.concatenate(images, axis=1))
            for images in zip(*rows, strict=True)
        ],
    )


def _typical(values, known):
    """Return a level and a noise near which all is computed."""
    middle = float(np.median(values))
    if known.size:
        low, high = np.percentile(values, [25, 75])
        return middle, max(float(np.median(known)), _LEAST_NOISE * (high - low))
    # too few pixels for a map of the noise: what they scatter
    spread = float(np.std(values))
    return middle, spread if spread > 0 else 1.0


def _stands_out(median, weight):
    """Whether a box is far from those around it, which agree: a star that is left."""
    known = weight > 0
    window, least = (_AROUND, _AROUND), _MIN_AROUND
    if 1 in known.shape:
        window, least = [1 if n == 1 else _ALONG for n in known.shape], _MIN_ALONG
    beyond = [(n // 2, n // 2) for n in window]
    values = np.pad(np.where(known, median, np.inf), beyond, constant_values=np.inf)
    found = np.empty_like(known)
    step = max(_MOST_BOXES // known.shape[1], 1)

    def look(start):
        rows = slice(start, start + step)
        around = values[start : start + step + window[0] - 1]
        around = sliding_window_view(around, window)
        around = around.reshape(*known[rows].shape, -1)
        n_around = np.count_nonzero(np.isfinite(around), axis=-1)
        middle = _median(around, n_around)
        distance = np.abs(around - middle[..., np.newaxis])
        spread = 1.4826 * _median(distance, n_around)
        error = np.sqrt(1 / np.where(known[rows], weight[rows], 1))
        is_far = np.abs(median[rows] - middle) > _STANDS_OUT * np.hypot(spread, error)
        found[rows] = known[rows] & is_far & (n_around >= least)

    # some rows at a time bound the memory
    each_band(look, range(0, len(known), step))
    return found


def _median(values, n_values):
    """Return the median of the first values of each row when sorted, 0 of none."""
    values = np.sort(values, axis=-1)
    last = np.maximum(n_values - 1, 0)[..., np.newaxis]
    low, high = (
        np.take_along_axis(values, n // 2, axis=-1)[..., 0] for n in (last, last + 1)
    )
    return np.where(n_values > 0, 0.5 * low + 0.5 * high, 0)


def _stripes(found, sky):
    """
    Return the levels of rows and columns without what is a slope of the sky.

    `None` where there are none. ``sky`` are the means of rows and columns of the sky.
    """
    if not any(levels.any() for levels in found):
        return None
    stripes = []
    for levels, means in zip(found, sky, strict=True):
        if levels.any():
            levels = levels + means
            levels -= levels.mean()
            place = np.linspace(-1, 1, len(levels))
            slope = np.polynomial.Polynomial.fit(place, levels, 2)(place)
            if np.sum(slope**2) > _MIN_SLOPE * np.sum(levels**2):
                levels -= slope
        stripes.append(levels.astype(np.float32))
    return stripes


def _left_over(light):
    """Return how much of the light of galaxies may be left, in units of the noise."""
    left_over = np.maximum(light - _FAINTEST, 0)
    left_over *= _LEFT_OVER * left_over
    left_over /= np.maximum(light, _FAINTEST)
    return left_over


def _discount(free_weight, left_over, n_pixels):
    """Return the weights with what may be left of galaxies in their variance."""
    known = free_weight > 0
    variance = left_over * left_over
    variance *= n_pixels
    variance += 1
    np.divide(variance, free_weight, out=variance, where=known)
    # Where light covers the whole image its faintest boxes are as good as any: there is
    # no sky without it, and weights that are all next to nothing would tell nothing.
    free = np.percentile(free_weight[known], _BEST, overwrite_input=True)
    weight = np.divide(1, variance, out=variance)
    best = np.percentile(weight[known], _BEST, overwrite_input=True)
    weight *= weight.dtype.type(free / best)
    weight[~known] = 0
    return weight


def _extended_light(light, box):
    """Return the light that fills squares, and that of what surrounds it."""
    width = max(_EXTENDED // box, 1)
    light = _open(light, width)
    light = np.where(np.isfinite(light), np.maximum(light, 0), 0)
    result = _over_windows(light, 2 * _BORDER + 1, np.maximum, _BORDER)
    while (light > _FAINTEST).any() and 2 * width <= _LARGEST:
        width *= 2
        light = _open(light, width)
        border = int(_OUTSKIRTS * width)
        wider = _over_windows(light, 2 * border + 1, np.maximum, border)
        result = np.maximum(result, wider)
    return result


def _open(light, width):
    """Return what is left of light in squares that it fills (a gray opening)."""
    # of an even width the windows lie off the middle, once to either side
    light = _over_windows(light, width, np.minimum, width // 2)
    return _over_windows(light, width, np.maximum, (width - 1) // 2)


def _over_windows(values, width, combine, before):
    """Combine the values in a square about each, as `ndimage.maximum_filter` does."""
    for axis in (0, 1):
        beyond = [(before, width - 1 - before), (0, 0)]
        values, reach = np.pad(values.swapaxes(0, axis), beyond, mode='edge'), 1
        while reach < width:
            step = min(reach, width - reach)
            values, reach = combine(values[:-step], values[step:]), reach + step
        values = values.swapaxes(0, axis)
    return values


def _noise_ratio(boxes):
    """Return the noise around each box, relative to a map of it."""
    square, n_pixels = boxes
    boxes.clear()  # nothing is kept longer than it is needed
    whole = square.sum() / max(n_pixels.sum(), 1)
    square = np.maximum(sum_triangle(square, _NOISE_WIDTH), 0)
    n_pixels = np.maximum(sum_triangle(n_pixels, _NOISE_WIDTH), 0)
    return np.sqrt((square + _NOISE_PRIOR * whole) / (n_pixels + _NOISE_PRIOR))


def _with_noise(surface, noise):
    """Return a surface on boxes small enough for a map of the noise, too."""
    while surface.factor > 1:
        size = (surface.factor,) * 2
        mapped = interpolate_mesh(
            average_blocks(noise, surface.factor), noise.shape, size
        )
        if np.mean(np.abs(mapped - noise) > _OFF * noise) <= _RAMPS:
            break
        half = surface.factor // 2
        surface = surface.halved([-(-n // half) for n in noise.shape])
    return surface
