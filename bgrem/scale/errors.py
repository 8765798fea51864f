"""
The error map of an image of any size.
"""

import numpy as np

from bgrem.files.side_maps import ERROR_TYPES
from bgrem.inputs import parse_error
from bgrem.sky.bands import split_rows, widen
from bgrem.sky.error_map import MARGIN, explains_better
from bgrem.sky.local_maps import NormalizationMeasurement
from bgrem.sky.normalization import Normalization
from bgrem.sky.normalize import learn_error, relative_error
from bgrem.sky.windows import read_middle

__all__ = ['ErrorRows', 'ScaledMaps', 'refine_scale']


class ErrorRows:
    """
    The total errors of an image, read by rows.

    Parameters
    ----------
    rows : `bgrem.files.rows.FitsRows` or `bgrem.files.rows.ZarrRows`
        The error map.
    kind : {'std', 'var', 'ivar'}
        Whether its values are standard deviations, variances or inverse variances.
    unit : `~astropy.units.Unit` or `None`
        The unit of the image.

    Attributes
    ----------
    shape : tuple of 2 int
        The shape of the map.
    """

    def __init__(self, rows, kind, unit):
        self._rows, self._kind, self._unit = rows, ERROR_TYPES[kind], unit
        self.shape = rows.shape

    def uncertainty(self, rows):
        """
        Return some rows (a slice) as an uncertainty of astropy (NDUncertainty).
        """
        values, unit = self._rows[rows], self._rows.image.unit
        return self._kind(values if unit is None else values << unit)

    def read(self, rows, dtype):
        """
        Return some rows.

        Parameters
        ----------
        rows : slice
            The rows.
        dtype : dtype
            The dtype of the image.

        Returns
        -------
        error, unusable : 2D `~numpy.ndarray`
            As `bgrem.inputs.parse_error` returns them.
        """
        uncertainty = self.uncertainty(rows)
        data = np.broadcast_to(np.zeros((), dtype=dtype), uncertainty.array.shape)
        return parse_error(uncertainty, data, self._unit, is_part=True)


class ScaledMaps:
    """
    The level and the noise of an image, with the noise in a file.

    Parameters
    ----------
    maps : `bgrem.sky.local_maps.LocalMaps`
        The maps without the error map; they provide the level.
    scale : `bgrem.scale.work.FlatMap`
        The noise.

    Attributes
    ----------
    margin : int
        That of ``maps``.
    """

    def __init__(self, maps, scale):
        self._maps, self._scale, self.margin = maps, scale, maps.margin

    def part(self, rows, data, unusable, start=0):
        """
        Return the maps of some rows, as `bgrem.sky.local_maps.LocalMaps.part`.
        """
        part = self._maps.part(rows, data, unusable, start)
        return Normalization(part.center, self._scale[rows, :])


def refine_scale(image, maps, read_error, scale):
    """
    Give the noise of an image the structure of its error map, if the image has it.

    Parameters
    ----------
    image : `bgrem.scale.seen.SeenImage`
        The image.
    maps : `bgrem.sky.local_maps.LocalMaps`
        Its level and noise without the error map.
    read_error : callable
        Called with rows (a slice); returns their errors.
    scale : `bgrem.scale.work.FlatMap`
        The map to which the noise is written.

    Returns
    -------
    is_better : bool
        Whether the error map explains the middle of the image better, as judged by
        `bgrem.sky.normalize.estimate_normalization`.
    """
    n_rows = image.job.shape[0]

    def look(rows):
        """Return maps, data, unusable pixels and errors."""
        wider = widen(rows, maps.margin, n_rows)
        data, hidden = image.read_hidden(wider)
        part = maps.part(rows, data, hidden, wider.start)
        inner = slice(rows.start - wider.start, rows.stop - wider.start)
        return part, data[inner], hidden[inner], read_error(rows)

    def look_at_all(rows):
        part, *others = look(rows)
        return part.center, part.scale, *others

    center, scale_there, *others = read_middle(look_at_all, image.job.shape)
    constants = learn_error(Normalization(center, scale_there), *others)
    if constants is None:
        return False

    def relative(rows):
        """Return relative noise, deviation in units of it, and the noise before."""
        wider = widen(rows, MARGIN, n_rows)
        part, *others = look(wider)
        inner = slice(rows.start - wider.start, rows.stop - wider.start)
        noise, deviation = relative_error(part, *others, constants)
        return noise[inner], deviation[inner] / noise[inner], part.scale[inner]

    def read(rows):
        deviation = relative(rows)[1]
        return deviation, ~np.isfinite(deviation)

    measurement = NormalizationMeasurement(image.job.shape, image.job.dtype)
    ratios = image.measured(measurement, read, 'errors').result

    def refined(rows):
        wider = widen(rows, ratios.margin, n_rows)
        noise, deviation, before = relative(wider)
        hidden = ~np.isfinite(deviation)
        ratio = ratios.part(rows, deviation, hidden, wider.start).scale
        inner = slice(rows.start - wider.start, rows.stop - wider.start)
        noise, deviation, before = noise[inner], deviation[inner], before[inner]
        return np.where(before > 0, noise * ratio, 0), deviation * noise, before

    values, deviation, before = read_middle(refined, image.job.shape)
    if not explains_better(values, before, deviation):
        return False
    bands = split_rows(image.job.shape)
    with image.progress('noise', len(bands)) as bar:
        for band in bands:
            scale[band, :] = refined(band)[0]
            bar.update()
    return True
