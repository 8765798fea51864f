"""
Centre and scale an image so that its noise has unit standard deviation.

The network sees ``(data - center) / scale``. How well it works depends as much
on these two maps as on its weights: a pedestal hides faint sources in the flat
part of its response, and a noise scale that is too small (correlated noise seen
by a high-pass estimator) fills the image with false sources. Both maps are
therefore measured on a coarse mesh, with estimators that stand sources,
gradients, correlated noise, discrete counts and missing data. Numpy and scipy
only.
"""

from copy import copy
from numbers import Real

import numpy as np
from scipy.ndimage import (
    distance_transform_edt,
    gaussian_filter,
    median_filter,
)

from bgrem.checks import as_number
from bgrem.sky.bands import (
    Measurement,
    NeedsWhole,
    each_band,
    measure,
    split_rows,
)
from bgrem.sky.blank import blank_pixels
from bgrem.sky.depth_steps import DepthSteps
from bgrem.sky.error_map import explains_better, sky_error
from bgrem.sky.lines import common_levels, find_lines, profiles, strips_of
from bgrem.sky.mesh import (
    LAG,
    box_centers,
    find_quantum,
    measure_boxes,
    measure_mesh,
    mesh_edges,
)
from bgrem.sky.windows import middle_of

__all__ = [
    'MARGIN',
    'LocalMaps',
    'Normalization',
    'NormalizationMeasurement',
    'check_factor',
    'estimate_normalization',
    'learn_error',
    'relative_error',
]

_LARGEST = np.float32(1e30)  # in units of the noise; keeps sums and products finite
# The network has no light at all for 0, but not exactly; in units of the noise.
_LEAST_SEEN = 1e-6
# Single hidden pixels are the mean of what is seen about them, in a window of this
# standard deviation in pixels, where that has this weight.
_GAP_SIGMA = 1.0
#: So far, in pixels, what is hidden is told by what is about it.
MARGIN = 8
_GAP_WEIGHT = 0.05
_ROWS = 64  # of an image that are interpolated at once
_SAMPLE = 2**18  # pixels that tell the steps of discrete data
# The medians of data in steps of more than this part of the noise jump.
_COARSE = 0.3
_LINE_ROUNDS = 2  # what is written across strong lines is found once these are out
_BAND = 2**19  # pixels of the boxes that are sorted at once


class Normalization:
    """
    The centre and the scale of an image.

    Parameters
    ----------
    center : 2D `~numpy.ndarray` or callable
        The local sky level, in the unit of the data; or what makes it in some rows (a
        slice) whenever it is needed, so that it is not held.
    scale : 2D `~numpy.ndarray`
        The local standard deviation of the noise, in the unit of the data; 0
        where none can be measured (a constant image).
    """

    def __init__(self, center, scale):
        self._center, self._scale = center, scale

    @property
    def center(self):
        """
        The local sky level, in the unit of the data (2D `~numpy.ndarray`).
        """
        return self._center_of(slice(0, len(self._scale)))

    @property
    def scale(self):
        """
        The local standard deviation of the noise (2D `~numpy.ndarray`).
        """
        return self._scale

    def _center_of(self, rows):
        return self._center(rows) if callable(self._center) else self._center[rows]

    def with_scale(self, scale):
        """
        Return the same centre with another scale (`Normalization`).
        """
        return Normalization(self._center, scale)

    def forward(self, data, mask=None, first_row=0):
        """
        Normalise an image.

        Parameters
        ----------
        data : 2D `~numpy.ndarray`
            The image.
        mask : 2D `~numpy.ndarray` of bool, optional
            `True` at pixels to hide.
        first_row : int, optional
            The number of the first row in a larger image of which this is a part. Its
            pixels are as in the whole one but for the outer `MARGIN` rows. Default 0.

        Returns
        -------
        image : 2D `~numpy.ndarray` of float32
            ``(data - center) / scale``. Where the data are masked or not finite, and
            where the scale is 0, it does not depend on them: the mean of the visible
            pixels around single pixels, rows and columns (0 if they are too few),
            noise of unit variance in areas of 3x3 px or more.

        Notes
        -----
        Beside an area of exact zeros a network takes the noise of what is left for
        light. The noise is a function of the position of the pixel alone.
        """
        visible = np.isfinite(data)
        visible &= self.scale > 0
        if mask is not None:
            visible &= ~mask
        image = np.zeros(np.shape(data), dtype=np.float32)
        gap = None
        if not visible.all():
            area = _areas(~visible)
            y, x = np.nonzero(area)
            image[area] = _noise_at(y + first_row, x)
            gap = ~visible & ~area

        def fill(start):
            rows = np.s_[start : start + _ROWS]
            np.divide(
                data[rows] - self._center_of(rows),
                self.scale[rows],
                out=image[rows],
                where=True if gap is None else visible[rows],
                casting='same_kind',
            )
            np.clip(image[rows], -_LARGEST, _LARGEST, out=image[rows])

        with np.errstate(over='ignore'):
            # some rows at a time: what lies between is as large as they are
            each_band(fill, range(0, len(image), _ROWS))
        if gap is not None and gap.any():
            weight = gaussian_filter(visible.astype(np.float32), _GAP_SIGMA)
            mean = gaussian_filter(np.where(visible, image, 0), _GAP_SIGMA)
            np.divide(mean, weight, out=image, where=gap & (weight > _GAP_WEIGHT))
        return image

    def inverse(self, source, out=None):
        """
        Give a normalised source image the unit of the data again.

        Parameters
        ----------
        source : 2D `~numpy.ndarray`
            A source image in units of the noise. Sources stand on the sky, so
            the centre is not added.
        out : 2D `~numpy.ndarray`, optional
            Where the result is written; may be ``source`` itself.

        Returns
        -------
        source : 2D `~numpy.ndarray`
            ``source * scale``, of the scale's dtype; exactly 0 where the scale
            is 0.
        """
        return np.multiply(source, self.scale, out=out)


def estimate_normalization(
    data, mask=None, method='local', error=None, lag=LAG, *, lines=True
):
    """
    Measure the centre and the scale of an image.

    Parameters
    ----------
    data : 2D `~numpy.ndarray`
        The image, of any real dtype. Values that are not finite are ignored.
    mask : 2D `~numpy.ndarray` of bool, optional
        `True` at pixels to ignore.
    method : {'local', 'global'}, float or 2D array_like, optional
        ``'local'`` (default): sky level and noise from a mesh of boxes of about
        48 px, interpolated bilinearly; steps of the noise, as between the panels of
        a mosaic, are drawn where they are (`bgrem.sky.depth_steps.DepthSteps`).
        Patches of exact zeros (the empty border of a mosaic) count as no data and get
        the scale 0. Where rows or columns have levels of their own, these are part of
        the centre (`bgrem.sky.lines`).
        ``'global'``: the median of all pixels and the one scale of arXiv 2510.04718,
        the standard deviation of the pixels below the 90th percentile, zeros ignored. A
        float is that paper's normalisation factor: the median is subtracted and the
        image is multiplied by it. A 2D array is such a factor for each pixel, with the
        local sky level as the centre; where it is 0 or not finite the scale is 0.
    error : 2D `~numpy.ndarray` of float, optional
        The total error of each pixel as a pipeline gives it, sources and all; 0 where
        it is not known. Only ``'local'`` uses it, see Notes.
    lag : int, optional
        Of the mesh, in pixels, see `bgrem.sky.mesh.measure_mesh`: so far apart the
        noise is independent. Default 3.
    lines : bool, optional
        Whether rows and columns with levels of their own are looked for. Default
        `True`.

    Returns
    -------
    normalization : `Normalization`
        The two maps, float64 for float64 data, else float32.

    Raises
    ------
    TypeError, ValueError
        If ``method`` is not one of the above, or has the wrong shape or sign.

    Notes
    -----
    Time and memory grow linearly with the number of pixels.

    Of ``error`` the sky part is taken (`bgrem.sky.error_map.sky_error`), and scaled by
    the noise that the image itself shows in units of it, as a map of boxes: a factor
    does no harm. Fine structure, as at a dithered border or in a noisy column, is that
    of the error map. It is not used where it explains the image less well than the
    noise measured without it (`bgrem.sky.error_map.explains_better`), nor for data in
    steps larger than their noise: counts so few have no error each.
    """
    data = np.asarray(data)
    unusable = ~np.isfinite(data)
    if mask is not None:
        unusable |= mask

    if isinstance(method, str):
        if method == 'local':
            maps = _local_normalization(data, unusable, lag, lines)
            if error is None:
                return maps
            return _use_error(maps, data, unusable, error, lag)
        if method == 'global':
            return _constant_normalization(data, unusable, _paper_scale(data, unusable))
        msg = (
            "normalization must be 'local', 'global', a positive number or a 2D array, "
            f'got {method!r}'
        )
        raise ValueError(msg)

    if isinstance(method, Real) or np.ndim(method) == 0:
        factor = as_number('normalization', method)
        if not (factor > 0 and np.isfinite(factor)):
            msg = f'normalization must be positive and finite, got {factor}'
            raise ValueError(msg)
        return _constant_normalization(data, unusable, 1 / factor)

    factor = np.asarray(method)
    if factor.dtype.kind not in 'fiub':
        msg = f'normalization must be of real numbers, got dtype {factor.dtype}'
        raise TypeError(msg)
    factor = factor.astype(float)
    if factor.shape != data.shape:
        msg = (
            f'normalization must have the shape of the data, {data.shape}, '
            f'got {factor.shape}'
        )
        raise ValueError(msg)
    if np.any(factor < 0):
        msg = f'normalization must not be negative, got {np.nanmin(factor)}'
        raise ValueError(msg)
    center = _local_normalization(data, unusable, lag, lines).center
    known = np.isfinite(factor) & (factor > 0)
    scale = np.zeros_like(center)
    # that of any image is less; `check_factor` refuses more
    factor = np.maximum(factor, 1 / _LARGEST)
    np.divide(1, factor, out=scale, where=known, casting='same_kind')
    return Normalization(center, scale)


def check_factor(maps, data, unusable):
    """
    Refuse a factor for which the whole image is nothing beside its noise.

    Parameters
    ----------
    maps : `Normalization`
        What the factor makes of the image.
    data : 2D `~numpy.ndarray` of float
        The image.
    unusable : 2D `~numpy.ndarray` of bool
        `True` at pixels to ignore, among them all that are not finite.

    Raises
    ------
    ValueError
        If all pixels are within a millionth of a standard deviation of the sky.
    """
    seen = ~unusable & (maps.scale > 0)
    deviation = np.abs(data[seen] - maps.center[seen])
    if deviation.any() and not np.any(deviation > _LEAST_SEEN * maps.scale[seen]):
        msg = (
            'normalization must be about one over the noise: with the factor given '
            f'all pixels are within {_LEAST_SEEN:g} standard deviations of the sky'
        )
        raise ValueError(msg)


def _areas(hidden):
    """
    Return where hidden pixels are an area, and no bad pixels or columns.

    A square of 3 px, within the image, fits there (an opening).
    """
    area = hidden
    for combine in (np.logical_and, np.logical_or):
        for _ in range(2):  # along one axis, and then along the other
            area = np.pad(area.T, [(1, 1), (0, 0)])
            area = combine(combine(area[:-2], area[1:-1]), area[2:])
    return area


def _noise_at(y, x):
    """
    Return a normal deviate for each pixel that depends on nothing but its position.

    SplitMix64 (Steele et al. 2014) in counter mode, then Box and Muller's transform: an
    image cut in blocks has the same noise as the whole one.
    """
    counter = (y.astype(np.uint64) << np.uint64(32) | x.astype(np.uint64)) << 1
    radius, turn = (
        (_mix(counter + np.uint64(k)) >> np.uint64(11)) * 2.0**-53 for k in (0, 1)
    )
    return np.sqrt(-2 * np.log1p(-radius)) * np.cos(2 * np.pi * turn)


def _mix(counter):
    """Return 64 bits that look random for each counter (uint64, wraps around)."""
    bits = (counter + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ bits >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ bits >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return bits ^ bits >> np.uint64(31)


class NormalizationMeasurement(Measurement):
    """
    The local level and noise of an image, measured in bands.

    It takes the images ``data`` and ``unusable``, which holds at blank pixels too.

    Parameters
    ----------
    shape : tuple of 2 int
        The shape of the image.
    dtype : dtype
        That of the maps.
    lag, lines : optional
        As for `estimate_normalization`.

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
        The margin that `LocalMaps` have at most (int).
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
    The local level and noise of an image, of which any rows can be had by themselves.

    Parameters
    ----------
    level, noise : 2D `~numpy.ndarray`
        Of the boxes of an image, as of `bgrem.sky.mesh.Mesh`.
    edges : tuple of 2 1D `~numpy.ndarray` of int
        The edges of the boxes.
    dtype : dtype
        That of the maps.
    lag : int, optional
        As for `estimate_normalization`.
    lines : dict of int to 1D `~numpy.ndarray`, optional
        The levels of all rows (0) and of all columns (1), if they have any: what is
        left without them are the boxes of.

    Attributes
    ----------
    margin : int
        So many rows beyond a part have to be read for it.
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
        # a galaxy in the centre, and to fill its valleys has no use
        self._level = np.minimum(level, filtered)
        self._noise = _filter(_fill(np.where(self._flat, np.nan, noise)), mode='edge')
        self._edges, self._dtype = edges, np.dtype(dtype)
        self._steps = DepthSteps(self._noise, edges, lag)
        self.margin = self._steps.margin
        if self.margin:
            self.margin += int(np.diff(edges[0]).max())

    def judge_steps(self, rows, data, unusable):
        """
        Ask some rows of boxes whether the noise changes in steps.

        Parameters
        ----------
        rows, data, unusable
            As for `bgrem.sky.depth_steps.DepthSteps.sharpen`.

        Returns
        -------
        votes : 1D `~numpy.ndarray` of float
            As of `bgrem.sky.depth_steps.DepthSteps.judge`.
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
            Which rows of the image.
        data, unusable : 2D `~numpy.ndarray`
            The image and its unusable pixels, in these rows and at least `margin` more
            on either side, as far as there are any.
        start : int, optional
            The first row of the image that is in them. Default 0.

        Returns
        -------
        maps : `Normalization`
            The maps, the same to rounding whatever the part.
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
            Its ``scale``.
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
            Which rows of the image.

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


def _local_normalization(data, unusable, lag, lines):
    """Interpolate the mesh of levels and that of scales."""
    dtype = _map_dtype(data)
    blank = blank_pixels(data, unusable)
    hidden = unusable | blank
    measurement = NormalizationMeasurement(data.shape, dtype, lag, lines=lines)
    measurement.n_pixels = _BAND
    try:
        maps = measure(measurement, lambda rows: (data[rows], hidden[rows])).result
    except NeedsWhole:
        # boxes that are too empty one by one may do all together
        mesh = measure_mesh(data, hidden, lag=lag)
        whole = measure_mesh(data, hidden, max(data.shape), lag + 1)
        noise = np.full_like(mesh.noise, np.nan_to_num(whole.noise).max())
        maps = LocalMaps(mesh.level, noise, mesh_edges(data.shape), dtype, lag + 1)
    scale = maps.noise(slice(0, len(data)), data, hidden)
    scale[blank] = 0
    return Normalization(maps.level, scale)


def _use_error(maps, data, unusable, error, lag):
    """Give the scale the structure of an error map, if the image has it too."""
    middle = middle_of(data.shape)
    parts = [one[middle] for one in (maps.center, maps.scale, data, unusable, error)]
    part = Normalization(*parts[:2]), *parts[2:]
    if not _has_error(*part[:3]):
        return maps
    # a small image is all middle
    constants = learn_error(*part) if parts[0].shape != data.shape else {}
    relative, deviation = relative_error(maps, data, unusable, error, constants)
    hidden = ~np.isfinite(deviation)
    ratio = _local_normalization(deviation / relative, hidden, lag, lines=False).scale
    refined = np.where(maps.scale > 0, relative * ratio, 0)
    if not explains_better(refined[middle], maps.scale[middle], deviation[middle]):
        return maps
    return maps.with_scale(refined)


def learn_error(maps, data, unusable, error):
    """
    Learn what an error map means for the noise of the sky.

    Parameters
    ----------
    maps : `Normalization`
        The maps of the image without it.
    data, unusable : 2D `~numpy.ndarray`
        The image, or the middle of it, and its unusable pixels.
    error : 2D `~numpy.ndarray` of float
        As for `estimate_normalization`.

    Returns
    -------
    constants : dict or `None`
        For `relative_error`; `None` where the error map is of no use.
    """
    if not _has_error(maps, data, unusable):
        return None
    constants = {}
    relative_error(maps, data, unusable, error, constants)
    return constants


def _has_error(maps, data, unusable):
    """Whether each pixel has an error of its own: counts so few have none."""
    visible = ~unusable & (maps.scale > 0)
    if not visible.any():
        return False
    return not find_quantum(data[visible]) > np.median(maps.scale[visible])


def relative_error(maps, data, unusable, error, constants):
    """
    Return the noise of the sky that an error map tells, up to a factor.

    Parameters
    ----------
    maps, data, unusable, error
        As for `learn_error`.
    constants : dict
        From there.

    Returns
    -------
    relative : 2D `~numpy.ndarray` of float
        The noise, but for the outer `bgrem.sky.error_map.MARGIN` pixels of a part.
    deviation : 2D `~numpy.ndarray` of float
        The image less its level; NaN where it cannot be used.
    """
    scale = maps.scale
    visible = ~unusable & (scale > 0)
    deviation = np.where(visible, data - maps.center, np.nan).astype(scale.dtype)
    return sky_error(error.astype(scale.dtype), deviation, scale, constants), deviation


def _constant_normalization(data, unusable, scale):
    dtype = _map_dtype(data)
    usable = data[~unusable]
    center = np.median(usable) if usable.size else 0.0
    return Normalization(
        np.full(data.shape, center, dtype=dtype),
        np.full(data.shape, min(scale, float(_LARGEST)), dtype=dtype),
    )


def _map_dtype(data):
    """Return the dtype of the maps: double only for double data."""
    return np.float64 if data.dtype.kind == 'f' and data.dtype.itemsize > 4 else 'f4'


def _paper_scale(data, unusable):
    """Return the scale of arXiv 2510.04718: one over its automatic factor."""
    values = data[~unusable & (data != 0)].astype(float)
    if values.size == 0:
        return 0.0
    low = values[values < np.percentile(values, 90)]
    return np.std(low) if low.size else 0.0


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
    """Interpolate a mesh bilinearly between the centres of its boxes, in some rows."""
    y_lower, y_upper, y_part = (
        one[rows] for one in _interpolation_weights(edges[0], extrapolate)
    )
    x_lower, x_upper, x_part = _interpolation_weights(edges[1], extrapolate)
    near = slice(y_lower.min(), y_upper.max() + 1)  # what is not used is not spread
    y_lower, y_upper, values = y_lower - near.start, y_upper - near.start, values[near]
    wide = values[:, x_lower] * (1 - x_part) + values[:, x_upper] * x_part
    wide, y_part = wide.astype(dtype), y_part[:, None].astype(dtype)
    image = np.empty((len(y_part), wide.shape[1]), dtype=dtype)

    def fill(start):
        some = np.s_[start : start + _ROWS]
        np.multiply(wide[y_lower[some]], 1 - y_part[some], out=image[some])
        image[some] += wide[y_upper[some]] * y_part[some]

    each_band(fill, range(0, len(image), _ROWS))
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
