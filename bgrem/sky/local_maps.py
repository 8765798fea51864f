"""
The local maps of the sky level and of the noise, from a mesh.

They are measured in bands, so that an image in memory, in a file or on a cluster has
the same maps: `NormalizationMeasurement` processes the bands, and `LocalMaps` computes
any rows of the maps. Numpy and scipy only.
"""

from copy import copy

import numpy as np
from scipy.ndimage import distance_transform_edt, median_filter

from bgrem.sky.bands import (
    CACHED,
    Measurement,
    NeedsWhole,
    each_band,
    split_rows,
)
from bgrem.sky.depth_steps import DepthSteps
from bgrem.sky.lines import common_levels, find_lines, profiles, strips_of
from bgrem.sky.mesh import LAG, box_centers, find_quantum, measure_boxes, mesh_edges
from bgrem.sky.normalization import Normalization

__all__ = ['LocalMaps', 'NormalizationMeasurement']

_SAMPLE = 2**18  # pixels that tell the steps of discrete data
# The medians of data in steps of more than this part of the noise jump.
_COARSE = 0.3
_LINE_ROUNDS = 2  # what is written across strong lines is found once these are out


class NormalizationMeasurement(Measurement):
    """
    The local level and noise of an image, measured in bands.

    It uses the images ``data`` and ``unusable``, which is also True at blank pixels.

    Parameters
    ----------
    shape : tuple of 2 int
        The shape of the image.
    dtype : dtype
        The dtype of the maps.
    lag, lines : optional
        As for `bgrem.sky.normalize.estimate_normalization`.

    Attributes
    ----------
    result : `LocalMaps` or `None`
        The maps.
    """

    stage = 'sample'
    most_stages = 3 + _LINE_ROUNDS

    def __init__(self, shape, dtype, lag=LAG, *, lines=True):
        super().__init__(shape)
        self._dtype, self._lag, self.result = np.dtype(dtype), lag, None
        # the levels of rows and of columns, once there are any
        self._lines, self._n_rounds = {}, _LINE_ROUNDS if lines else 0
        self.margin, self._edges = DepthSteps.most_margin(lag + 1), mesh_edges(shape)
        self._is_second = False

    @property
    def bands(self):
        """
        The bands, of whole boxes (list of slice).
        """
        return split_rows(self.shape, self._edges[0], self.n_pixels)

    @property
    def most_margin(self):
        """
        The largest possible margin of `LocalMaps` (int).
        """
        return self.margin + int(np.diff(self._edges[0]).max())

    def _see_sample(self, rows, data, unusable):
        first = rows.start - max(rows.start - self.margin, 0)
        inner = slice(first, first + rows.stop - rows.start)
        values = data[inner][~unusable[inner]]
        return values[:: max(1, self.shape[0] * self.shape[1] // _SAMPLE)]

    def _learn_sample(self, seen):
        self._quantum = find_quantum(np.concatenate(list(seen)))
        self.stage = 'boxes'

    def _see_boxes(self, rows, data, unusable):
        start = max(rows.start - self.margin, 0)
        data = _without_lines(data, start, self._lines)
        seen = None
        if self._n_rounds or self._lines:
            inner = slice(rows.start - start, rows.stop - start)
            seen = profiles(data[inner], unusable[inner], self._edges, rows)
        data, unusable = self._nearer(rows, self._lag, data, unusable)
        boxes = measure_boxes(
            data, unusable, self._edges, self._quantum, self._lag, rows
        )
        return *boxes, seen

    def _nearer(self, rows, margin, *images):
        """Leave out what lies farther before the rows than that."""
        extra = max(rows.start - margin, 0) - max(rows.start - self.margin, 0)
        return [image[extra:] for image in images]

    def _learn_boxes(self, seen):
        *boxes, strips = zip(*seen, strict=True)
        level, noise = map(np.concatenate, boxes)
        is_known = not np.isnan(noise).any() or np.any(noise > 0)
        if not is_known and not self._is_second:
            # a checkerboard leaves no pairs of pixels an odd distance apart
            self._level, self._is_second = level, True
            self._lag, self._n_rounds = self._lag + 1, 0
            return
        if not is_known:
            msg = 'no box has enough usable pixels for its noise'
            raise NeedsWhole(msg)
        if strips[0] is not None and self._learn_lines(level, noise, strips):
            return
        level = self._level if self._is_second else level
        self.result = LocalMaps(
            level, noise, self._edges, self._dtype, self._lag, self._lines
        )
        self.stage = 'steps' if self.result.margin else None

    def _see_steps(self, rows, data, unusable):
        near = self._nearer(rows, DepthSteps.most_margin(self._lag), data, unusable)
        return self.result.judge_steps(rows, *near)

    def _learn_steps(self, seen):
        if not DepthSteps.are_real(np.sum(list(seen), axis=0)):
            self.result = self.result.without_steps()
        self.stage = None

    def _learn_lines(self, level, noise, seen):
        """Take in the levels of lines; whether the boxes are to be seen without."""
        of_rows, of_columns = zip(*seen, strict=True)
        # stripes of rows lie side by side, those of columns one above the other
        strips = np.concatenate(of_rows, axis=1), np.concatenate(of_columns)
        typical = np.median(noise[noise > 0]) if np.any(noise > 0) else 0.0
        found = []
        if self._n_rounds and self._quantum <= _COARSE * typical and typical > 0:
            found = [
                axis
                for axis in (0, 1)
                if axis not in self._lines and find_lines(strips[axis], typical)
            ]
        lines, level = dict(self._lines), _fill(level)
        for axis in found or lines:
            more = common_levels(strips[axis])
            if not found:  # what the smooth sky is not
                smooth = level.T if axis == 0 else level
                smooth = smooth[strips_of(len(smooth))]
                more = common_levels(strips[axis], self._edges[axis], smooth)
            lines[axis] = lines.get(axis, 0) + more
        self._lines, self._n_rounds = lines, self._n_rounds - 1
        return bool(found)


def _without_lines(data, start, lines):
    """Take the levels of rows and columns off some rows of an image."""
    for axis, levels in lines.items():
        levels = levels.astype(np.result_type(data, np.float32))
        if axis == 0:
            levels = levels[start : start + len(data), np.newaxis]
        data = data - levels
    return data


class LocalMaps:
    """
    The local level and noise of an image, which can be computed for any rows.

    Parameters
    ----------
    level, noise : 2D `~numpy.ndarray`
        Those of the boxes of an image, as in `bgrem.sky.mesh.Mesh`.
    edges : tuple of 2 1D `~numpy.ndarray` of int
        The edges of the boxes.
    dtype : dtype
        The dtype of the maps.
    lag : int, optional
        As for `bgrem.sky.normalize.estimate_normalization`.
    lines : dict of int to 1D `~numpy.ndarray`, optional
        The offsets of all rows (0) and of all columns (1), if there are any. The boxes
        are those of the image without these offsets.

    Attributes
    ----------
    margin : int
        The number of rows on each side of a part that are needed with it.
    """

    def __init__(self, level, noise, edges, dtype, lag=LAG, lines=None):
        self._lines = {
            axis: levels.astype(dtype) for axis, levels in (lines or {}).items()
        }
        self._flat = noise == 0
        # replicated edges would shift the corners of a tilt by one box; a noise that
        # is continued beyond them could become negative
        level = _fill(level)
        filtered = _filter(level, mode='reflect', reflect_type='odd')
        # sources only raise a box; to lower a peak of the sky costs less than to keep
        # a galaxy in the center, and to fill its valleys has no use
        self._level = np.minimum(level, filtered)
        self._noise = _filter(_fill(np.where(self._flat, np.nan, noise)), mode='edge')
        self._edges, self._dtype = edges, np.dtype(dtype)
        self._steps = DepthSteps(self._noise, edges, lag)
        self.margin = self._steps.margin
        if self.margin:
            self.margin += int(np.diff(edges[0]).max())

    def judge_steps(self, rows, data, unusable):
        """
        Test whether the noise changes in steps, in some rows of boxes.

        Parameters
        ----------
        rows, data, unusable
            As for `bgrem.sky.depth_steps.DepthSteps.sharpen`.

        Returns
        -------
        votes : 1D `~numpy.ndarray` of float
            As from `bgrem.sky.depth_steps.DepthSteps.judge`.
        """
        start = max(rows.start - self._steps.margin, 0)
        data = _without_lines(data, start, self._lines)
        return self._steps.judge(self._ramp(rows), rows, data, unusable)

    def without_steps(self):
        """
        Return the same maps with a noise that changes smoothly (`LocalMaps`).
        """
        maps = copy(self)
        maps.margin = 0
        return maps

    def _ramp(self, rows):
        """Interpolate the noise between the boxes."""
        return _interpolate(
            self._noise, self._edges, self._dtype, rows, extrapolate=False
        )

    def part(self, rows, data, unusable, start=0):
        """
        Return the maps of some rows.

        Parameters
        ----------
        rows : slice
            The rows of the image.
        data, unusable : 2D `~numpy.ndarray`
            The image and its unusable pixels, in these rows and at least `margin` more
            on each side, as far as there are any.
        start : int, optional
            The first row of ``data`` and ``unusable`` in the image. Default 0.

        Returns
        -------
        maps : `Normalization`
            The maps, which do not depend on the part, except for rounding.
        """
        return Normalization(self.level(rows), self.noise(rows, data, unusable, start))

    def noise(self, rows, data, unusable, start=0):
        """
        Return the local noise of some rows.

        Parameters
        ----------
        rows, data, unusable, start
            As for `part`.

        Returns
        -------
        noise : 2D `~numpy.ndarray`
            The ``scale`` of `part`.
        """
        y_edges, x_edges = self._edges
        # whole boxes: their steps are drawn together
        first = y_edges[np.searchsorted(y_edges, rows.start, side='right') - 1]
        last = y_edges[np.searchsorted(y_edges, rows.stop)]
        wider = slice(int(first), int(last))
        scale = self._ramp(wider)
        if self.margin:
            there = max(wider.start - self._steps.margin, 0) - start
            seen = slice(there, wider.stop + self._steps.margin - start)
            clean = _without_lines(data[seen], start + there, self._lines)
            self._steps.sharpen(scale, wider, clean, unusable[seen])
        inner = slice(rows.start - wider.start, rows.stop - wider.start)
        scale = scale[inner]
        if self._flat.any():
            of_rows = np.repeat(self._flat, np.diff(y_edges), axis=0)[rows]
            scale[np.repeat(of_rows, np.diff(x_edges), axis=1)] = 0
        return scale

    def level(self, rows):
        """
        Return the local sky level of some rows.

        Parameters
        ----------
        rows : slice
            The rows of the image.

        Returns
        -------
        level : 2D `~numpy.ndarray`
            The ``center`` of `part`.
        """
        level = _interpolate(
            self._level, self._edges, self._dtype, rows, extrapolate=True
        )
        if 0 in self._lines:
            level += self._lines[0][rows, np.newaxis]
        if 1 in self._lines:
            level += self._lines[1]
        return level


def _fill(mesh):
    """Fill the boxes without a measurement from the nearest that have one."""
    missing = np.isnan(mesh)
    if missing.all():
        return np.zeros_like(mesh)
    if not missing.any():
        return mesh
    nearest = distance_transform_edt(
        missing, return_distances=False, return_indices=True
    )
    return mesh[tuple(nearest)]


def _filter(mesh, **edges):
    """Apply a 3x3 median filter to a mesh continued as `numpy.pad` is told."""
    width = [(1, 1) if n > 1 else (0, 0) for n in mesh.shape]
    padded = np.pad(mesh, width, **edges)
    filtered = median_filter(padded, size=[3 if n > 1 else 1 for n in mesh.shape])
    return filtered[tuple(slice(before, -before or None) for before, _ in width)]


def _interpolate(values, edges, dtype, rows, *, extrapolate):
    """Interpolate a mesh bilinearly between the centers of its boxes, in some rows."""
    y_lower, y_upper, y_part = (
        one[rows] for one in _interpolation_weights(edges[0], extrapolate)
    )
    x_lower, x_upper, x_part = _interpolation_weights(edges[1], extrapolate)
    near = slice(y_lower.min(), y_upper.max() + 1)  # what is not used is not spread
    y_lower, y_upper, values = y_lower - near.start, y_upper - near.start, values[near]
    wide = values[:, x_lower] * (1 - x_part) + values[:, x_upper] * x_part
    wide, y_part = wide.astype(dtype), y_part[:, None].astype(dtype)
    image = np.empty((len(y_part), wide.shape[1]), dtype=dtype)

    def fill(some):
        np.multiply(wide[y_lower[some]], 1 - y_part[some], out=image[some])
        image[some] += wide[y_upper[some]] * y_part[some]

    each_band(fill, split_rows(image.shape, n_pixels=CACHED))
    return image


def _interpolation_weights(edges, extrapolate):
    """Return for each pixel the box before and after, and the latter's weight."""
    centers = box_centers(edges)
    pixels = np.arange(edges[-1])
    if len(centers) == 1:
        zeros = np.zeros_like(pixels)
        return zeros, zeros, zeros.astype(float)
    lower = np.clip(np.searchsorted(centers, pixels) - 1, 0, len(centers) - 2)
    part = (pixels - centers[lower]) / (centers[lower + 1] - centers[lower])
    if not extrapolate:
        part = np.clip(part, 0, 1)
    return lower, lower + 1, part
