"""
The steps from an image to its maps, each for a part of the image.

`bgrem.pipeline.separate` and `bgrem.DiffusionBackground` do the same for the whole
image, with the same functions. Here, a step takes only what it needs of the image and
of the results of previous steps, so that the steps can run one after the other or on
many machines.
"""

import math
from dataclasses import dataclass, fields

import numpy as np

from bgrem.detect.discovery import SURE, source_width
from bgrem.detect.peaks import find_peaks, peak_widths
from bgrem.pipeline import FINISH_MARGIN, finish_probability, finish_source
from bgrem.sky.bands import Measurement, NeedsWhole, widen
from bgrem.sky.counts import sparse_step
from bgrem.sky.maps import MeshMap
from bgrem.sky.normalization import MARGIN, Normalization
from bgrem.sky.sampling import choose_sampling
from bgrem.sky.units import binary_unit, in_unit
from bgrem.weights import load_weights

__all__ = [
    'Found',
    'FoundMeasurement',
    'Hidden',
    'Job',
    'Sky',
    'as_float',
    'check_sampling',
    'choose_binning',
    'float_dtype',
    'measure_hidden',
    'normalize_rows',
    'run_tiles',
    'sky_meshes',
]

_PEAK_MARGIN = 16  # rows; no peak of the probability is wider
_SAMPLE = 2**20  # pixels that tell whether an image holds single counts


def float_dtype(dtype):
    """
    Return the dtype of the maps of an image.

    Parameters
    ----------
    dtype : dtype
        The dtype of the image.

    Returns
    -------
    dtype : `~numpy.dtype`
        The dtype: float64 for float64 and wider types, else float32.

    Raises
    ------
    TypeError
        If the dtype is not that of real numbers.
    """
    dtype = np.dtype(dtype)
    if dtype.kind not in 'fiub':
        msg = f'data must be an array of real numbers, got dtype {dtype}'
        raise TypeError(msg)
    is_double = dtype.kind == 'f' and dtype.itemsize >= 8
    return np.dtype(np.float64 if is_double else np.float32)


def as_float(data, mask=None):
    """
    Convert pixels to the form that the steps use, and find those that are unusable.

    Parameters
    ----------
    data : 2D array_like
        Some rows of an image.
    mask : 2D `~numpy.ndarray`, optional
        Nonzero at pixels that must not be used.

    Returns
    -------
    data : 2D `~numpy.ndarray` of float
    unusable : 2D `~numpy.ndarray` of bool
    """
    data = np.asarray(data)
    data = np.ascontiguousarray(data, dtype=float_dtype(data.dtype))
    unusable = ~np.isfinite(data)
    if mask is not None:
        unusable |= np.asarray(mask) != 0
    return data, unusable


@dataclass(frozen=True)
class Job:
    """
    An image and the options of the separation: all that a step needs besides data.

    Attributes
    ----------
    shape : tuple of 2 int
        The shape of the image.
    dtype : `~numpy.dtype`
        The dtype of the maps.
    weights : `bgrem.weights.Weights`
        The weights; a pickle of them contains only their path.
    n_steps, n_symmetries, device, batch_size
        As for `bgrem.denoise.run.denoise`.
    """

    shape: tuple
    dtype: np.dtype
    weights: object
    n_steps: int
    n_symmetries: int = 1
    device: str = 'auto'
    batch_size: int | None = None

    def __reduce__(self):
        # where it arrives the package may be in another folder
        from bgrem.weights import list_weights

        weights = self.weights
        is_shipped = weights.name in list_weights() and (
            load_weights(weights.name).sha256 == weights.sha256
        )
        source = weights.name if is_shipped else str(weights.path)
        values = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name != 'weights'
        }
        return _load_job, (source, weights.sha256, values)

    @property
    def layout(self):
        """The tiles of the whole image (`bgrem.denoise.tiling.TileLayout`)."""
        from bgrem.denoise.run import tile_layout

        return tile_layout(self.shape, self.weights)


def _load_job(source, sha256, values):
    """Return a job whose weights are loaded here."""
    weights = load_weights(source)
    if weights.sha256 != sha256:
        msg = f'weights {source} differ from those of the process that sent the work'
        raise ValueError(msg)
    return Job(weights=weights, **values)


class Hidden:
    """
    The pixels of an image that are not used, and the unit of all computations.

    Parameters
    ----------
    blank : `bgrem.sky.blank.BlankPixels`
        What identifies blank pixels.
    unit : float
        The unit chosen by `bgrem.sky.units.binary_unit`.

    Attributes
    ----------
    margin : int
        The number of rows on each side of a part that are needed with it.
    """

    def __init__(self, blank, unit):
        self._blank, self.unit, self.margin = blank, unit, blank.margin

    def apply(self, data, unusable):
        """
        Return data in this unit, and all hidden pixels, including blank ones.

        Parameters
        ----------
        data, unusable : 2D `~numpy.ndarray`
            A part of the image with its margin.

        Returns
        -------
        data : 2D `~numpy.ndarray` of float
        hidden : 2D `~numpy.ndarray` of bool
        """
        hidden = unusable | self._blank.find(data, unusable)
        return in_unit(data, self.unit), hidden


def measure_hidden(found):
    """
    Return what hides pixels, from a measurement.

    Parameters
    ----------
    found : `bgrem.sky.blank.BlankMeasurement`
        The complete measurement.

    Returns
    -------
    hidden : `Hidden`

    Raises
    ------
    ValueError
        If no pixel is usable.
    """
    if found.n_usable == 0:
        msg = 'data must have a usable pixel: all are masked or not finite'
        raise ValueError(msg)
    sample = np.append(found.sample, found.sample.dtype.type(found.largest))
    unit = binary_unit(sample, np.zeros(sample.shape, dtype=bool))
    return Hidden(found.result, unit)


def normalize_rows(job, maps, rows, data, hidden, start):
    """
    Return some rows of an image as the network sees them.

    Parameters
    ----------
    job : `Job`
        The image.
    maps : `bgrem.sky.local_maps.LocalMaps`
        Its level and noise.
    rows : slice
        The rows.
    data, hidden : 2D `~numpy.ndarray`
        From `Hidden.apply`, in these rows and ``maps.margin + MARGIN`` more on each
        side, as far as there are any.
    start : int
        The first row in ``data`` and ``hidden``.

    Returns
    -------
    image : 2D `~numpy.ndarray` of float32
    """
    wider = widen(rows, MARGIN, job.shape[0])
    part = maps.part(wider, data, hidden, start)
    seen = slice(wider.start - start, wider.stop - start)
    image = part.forward(data[seen], hidden[seen], wider.start)
    first = rows.start - wider.start
    return image[first : first + rows.stop - rows.start]


def run_tiles(job, image, layout):
    """
    Run the network on some tiles.

    Parameters
    ----------
    job : `Job`
        The image.
    image : 2D `~numpy.ndarray` of float32
        From `normalize_rows`, where the tiles are.
    layout : `bgrem.denoise.tiling.TileLayout`
        A part of the layout of the job.

    Returns
    -------
    source, center_logit : 2D `~numpy.ndarray` of float32
        The contributions of the tiles to the blended maps, see
        `bgrem.denoise.run.denoise`.
    """
    from bgrem.denoise.run import denoise

    return denoise(
        image,
        job.weights,
        n_steps=job.n_steps,
        n_symmetries=job.n_symmetries,
        device=job.device,
        batch_size=job.batch_size,
        layout=layout,
    )


class Found:
    """
    What was found in some rows of an image.

    Parameters
    ----------
    job : `Job`
        The image.
    maps : `bgrem.sky.local_maps.LocalMaps`
        Its level and noise.
    rows : slice
        The rows.
    data, hidden : 2D `~numpy.ndarray`
        From `Hidden.apply`, in these rows and ``maps.margin + MARGIN + FINISH_MARGIN``
        more on each side, as far as there are any.
    start : int
        The first row in ``data`` and ``hidden``.
    blended : tuple
        The blended maps ``source`` and ``center_logit``, in these rows and
        `FINISH_MARGIN` more on each side.

    Attributes
    ----------
    data, hidden, noise, source : 2D `~numpy.ndarray`
        In these rows, in the unit of `Hidden`.
    """

    def __init__(self, job, maps, rows, data, hidden, start, blended):
        wider = widen(rows, FINISH_MARGIN, job.shape[0])
        widest = widen(wider, MARGIN, job.shape[0])
        part = maps.part(widest, data, hidden, start)
        seen = slice(widest.start - start, widest.stop - start)
        data, hidden = data[seen], hidden[seen]
        self._all = job, part, data, hidden, blended
        self._wider = slice(wider.start - widest.start, wider.stop - widest.start)
        self._inner = slice(rows.start - wider.start, rows.stop - wider.start)
        self._first_row = widest.start
        self.data, self.hidden, self.noise = map(self._cut, (data, hidden, part.scale))
        center = self._cut(part.center)
        self.source = finish_source(
            blended[0][self._inner].copy(),
            self.hidden | (self.noise == 0),
            Normalization(center, self.noise),
        )

    def _cut(self, image):
        return image[self._wider][self._inner]

    @property
    def probability(self):
        """
        The probability of source centers in these rows (2D `~numpy.ndarray`).
        """
        from bgrem.denoise.run import finish_logit

        job, part, data, hidden, blended = self._all
        image = part.forward(data, hidden, self._first_row)[self._wider]
        hidden = (hidden | (part.scale == 0))[self._wider]
        logit = finish_logit(*blended).copy()
        return finish_probability(logit, image, hidden, job.weights)[self._inner]


class FoundMeasurement(Measurement):
    """
    The widths of the sources of an image, and whether it contains single counts.

    It uses the images ``data``, ``hidden``, ``noise``, ``source`` and ``probability``
    of `Found`.

    Parameters
    ----------
    shape : tuple of 2 int
        The shape of the image.

    Attributes
    ----------
    widths : 1D `~numpy.ndarray`
        The widths of the peaks of which the network is sure.
    probability : 1D `~numpy.ndarray`
        Their probabilities.
    bounds : tuple of 2 float or `None`
        The lowest and the highest usable pixel.
    """

    stage = 'peaks'
    margin = _PEAK_MARGIN

    def _see_peaks(self, rows, data, hidden, noise, source, probability):
        first = rows.start - max(rows.start - self.margin, 0)
        inner = slice(first, first + rows.stop - rows.start)
        peaks = find_peaks(probability, min_probability=SURE)
        peaks = peaks[(peaks['y'] >= inner.start) & (peaks['y'] < inner.stop)]
        widths = peak_widths(source, noise, peaks['y'], peaks['x'])
        step = max(1, math.isqrt(math.prod(self.shape) // _SAMPLE))
        some = np.s_[inner.start + -rows.start % step : inner.stop : step, ::step]
        usable = data[inner][~hidden[inner]]
        bounds = (usable.min(), usable.max()) if usable.size else None
        sample = data[some], hidden[some], noise[some]
        return widths, peaks['probability'], sample, bounds

    def _learn_peaks(self, seen):
        widths, probability, samples, bounds = zip(*seen, strict=True)
        self.widths, self.probability = map(np.concatenate, (widths, probability))
        known = [one for one in bounds if one is not None]
        self.bounds = None
        if known:
            lowest, highest = zip(*known, strict=True)
            self.bounds = min(lowest), max(highest)
        if sparse_step(*map(np.concatenate, zip(*samples, strict=True))):
            msg = 'it holds single counts'
            raise NeedsWhole(msg)
        self.stage = None


def choose_binning(found, data, hidden):
    """
    Choose the squares into which an image is binned for the network.

    Parameters
    ----------
    found : `FoundMeasurement`
        What was found in the image.
    data, hidden : 2D `~numpy.ndarray`
        From `Hidden.apply`, in the middle of the image
        (`bgrem.sky.windows.middle_of`).

    Returns
    -------
    binning : int
        The side of the squares in pixels, see `bgrem.sky.sampling.choose_sampling`.

    Raises
    ------
    NeedsWhole
        If the image must be sharpened, too.
    """
    width = source_width(found.widths, found.probability)
    binning, sharpening = choose_sampling(data, hidden, width)
    if sharpening:
        msg = 'its noise is nearly as smooth as its sources'
        raise NeedsWhole(msg)
    return binning


def check_sampling(found, data, hidden):
    """
    Raise an error if the network has to see the image in other pixels.

    Parameters
    ----------
    found, data, hidden
        As for `choose_binning`.

    Raises
    ------
    NeedsWhole
        If it has to.
    """
    if choose_binning(found, data, hidden) != 1:
        msg = 'it is broader or smoother than the weights know'
        raise NeedsWhole(msg)


def sky_meshes(job, sky, unit, bounds):
    """
    Return the sky of an image in the form that `Sky` takes.

    Parameters
    ----------
    job : `Job`
        The image.
    sky : `bgrem.sky.boxes.BoxSky`
        Its sky. With small boxes it is as large as the image, and is not used again.
    unit : float
        The unit of `Hidden`.
    bounds : tuple of 2 float or `None`
        The lowest and the highest usable pixel, in that unit.

    Returns
    -------
    box_size : int
        The side of a box in pixels.
    level, noise : 2D `~numpy.ndarray`
        Sky and noise of the boxes, in the unit of the data.
    bounds : tuple of 2 float or `None`
        The bounds in the unit of the data.
    """
    bounds = None if bounds is None else tuple(unit * one for one in bounds)
    level, noise, _ = sky.meshes(unit, job.dtype, bounds)
    return sky.box_size, level, noise, bounds


class Sky:
    """
    The sky of an image, which can be computed for any part of it.

    Parameters
    ----------
    job : `Job`
        The image.
    box_size, level, noise, bounds
        From `sky_meshes`.

    Attributes
    ----------
    box_size : int
        The side of the boxes of the sky.
    median, noise : float
        The medians of sky and noise of the boxes.
    """

    def __init__(self, job, box_size, level, noise, bounds):
        self.box_size, self._bounds = box_size, bounds
        self.median, self.noise = float(np.median(level)), float(np.median(noise))
        boxes = (box_size,) * 2
        self._level = MeshMap(level, job.shape, boxes, job.dtype, edges='linear')
        self._noise = MeshMap(noise, job.shape, boxes, job.dtype)

    def maps(self, rows, columns=None):
        """
        Return the sky in a part of the image.

        Parameters
        ----------
        rows, columns : slice
            The part.

        Returns
        -------
        background, background_rms : 2D `~numpy.ndarray`
            As in `bgrem.DiffusionBackground`.
        """
        level = self._level.part(rows, columns)
        if self._bounds is not None:
            np.clip(level, *self._bounds, out=level)
        return level, self._noise.part(rows, columns)
