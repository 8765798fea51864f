"""
An image that is read in bands of rows, and its maps.
"""

import warnings
from functools import cached_property, partial

import numpy as np
from astropy import units as u
from astropy.utils.exceptions import AstropyUserWarning

from bgrem.pipeline import describe
from bgrem.scale.errors import ScaledMaps, refine_scale
from bgrem.scale.seen import BinnedImage, SeenImage
from bgrem.scale.steps import (
    Job,
    Sky,
    as_float,
    choose_binning,
    float_dtype,
    sky_meshes,
)
from bgrem.sky.bands import NeedsWhole, split_rows
from bgrem.sky.boxes import SkyMeasurement
from bgrem.sky.units import error_in_unit
from bgrem.sky.windows import read_middle

__all__ = ['HIDDEN', 'LARGE', 'MAPS', 'TRAIL', 'StreamedImage']

MAPS = ('SCI', 'BACKGROUND', 'BACKGROUND_RMS', 'SOURCE', 'PROBABILITY')
#: The bits of the pixels that are not used, of those beneath large sources, and of
#: those on trails.
HIDDEN, LARGE, TRAIL = 1, 2, 4


class StreamedImage(SeenImage):
    """
    One image of a file, and its maps.

    Parameters
    ----------
    rows : `bgrem.files.rows.FitsRows` or `bgrem.files.rows.ZarrRows`
        The image.
    masked : `bgrem.files.rows.MaskRows` or `None`
        Its mask.
    errors : `bgrem.scale.errors.ErrorRows` or `None`
        Its errors.
    options : dict
        The weights and the options of the network.
    work : `bgrem.scale.work.Work`
        The parts that are finished.
    bar : str or `False`
        A prefix for the names of progress bars; `False` for no bars.

    Attributes
    ----------
    rows
        As given.
    name, job
        As in `bgrem.scale.seen.SeenImage`.
    binning : int
        The side, in pixels, of the squares into which the image is binned for the
        network.
    whole : `bgrem.DiffusionBackground` or `None`
        The result, if the image can only be processed as a whole.
    """

    def __init__(self, rows, masked, errors, options, work, bar):
        job = Job(rows.shape, float_dtype(rows.dtype), **options)
        super().__init__(job, f'{rows.image.number}', work, bar)
        self.rows, self._masked, self._options = rows, masked, options
        self.errors = errors
        self.binning, self._binned, self.whole = 1, None, None

    def measure(self):
        """
        Do all steps except the last one, or all of them at once if that is necessary.
        """
        try:
            if self.job.weights.is_for_counts:
                msg = 'it is a map of counts'
                raise NeedsWhole(msg)
            self.run_network()
            self._choose_binning()
            self.sky  # noqa: B018
        except NeedsWhole as exc:
            image = self.rows.image
            msg = (
                f'{image.path}, HDU {image.hdu}, is processed as a whole, in memory: '
                f'{exc}'
            )
            warnings.warn(msg, AstropyUserWarning, stacklevel=3)
            self.whole = self._as_whole()

    def _as_whole(self):
        from bgrem.background import DiffusionBackground

        everything, unit = slice(0, self.job.shape[0]), self.rows.image.unit
        data = self.rows[everything]
        return DiffusionBackground(
            data if unit is None else data << unit,
            mask=None if self._masked is None else self._masked[everything],
            error=None if self.errors is None else self.errors.uncertainty(everything),
            progress=self._bar if self._bar is False else (self._bar or True),
            **self._options,
        )

    def read(self, rows):
        """
        Read some rows, as `bgrem.scale.seen.SeenImage` does.
        """
        mask = None if self._masked is None else self._masked[rows]
        data, unusable = as_float(self.rows[rows], mask)
        if self.errors is not None:
            unusable |= self.errors.read(rows, data.dtype)[1]
        return data, unusable

    def _error_of(self, rows):
        """Return the errors of some rows in the unit in which all is computed."""
        return error_in_unit(self.errors.read(rows, self.job.dtype)[0], self.unit)

    @cached_property
    def maps(self):
        """The level and the noise, with the structure of the error map."""
        maps = self.local_maps
        if self.errors is None:
            return maps
        name, job = f'scale-{self.name}', self.job
        scale = self._work.flat_map(name, job.shape, job.dtype)
        refine = partial(refine_scale, self, maps, self._error_of, scale)
        return ScaledMaps(maps, scale) if self.kept('maps_of_errors', refine) else maps

    @cached_property
    def _known(self):
        """Bounds, binning, and of how many sources the network is sure."""

        def find():
            known = self.look()
            middle = read_middle(self.read_hidden, self.job.shape)
            binning = choose_binning(known, *middle)
            return known.bounds, binning, known.probability.size

        return self.kept('check', find)

    def _choose_binning(self):
        """Have the network see the image in larger pixels, if it knows it better so."""
        _, binning, n_sure = self._known
        if binning == 1:
            return
        if self.errors is not None:
            msg = 'it has errors, and is broader or smoother than the weights know'
            raise NeedsWhole(msg)
        binned = BinnedImage(self, binning)
        binned.run_network()
        # what is bright and broad may be structure of the sky, not sources
        if binned.n_sure >= n_sure:
            self.binning, self._binned = binning, binned

    def found(self, rows):
        """
        Return what was found in some rows, as `bgrem.scale.seen.SeenImage` does, or as
        `bgrem.scale.seen.Refined`.
        """
        if self._binned is not None:
            return self._binned.refined(rows)
        return super().found(rows)

    @cached_property
    def _sky(self):
        """Its sky, and what tells where that is beneath galaxies and trails."""

        def read(rows):
            one = self.found(rows)
            with np.errstate(invalid='ignore'):
                return one.data - one.source, ~one.hidden, one.noise, one.source

        measurement = SkyMeasurement(self.job.shape, binning=self.binning)
        measured = self.kept('sky', lambda: self.measured(measurement, read, 'sky'))
        meshes = sky_meshes(self.job, measured.result, self.unit, self._known[0])
        measured.result = None
        return Sky(self.job, *meshes), measured

    @property
    def sky(self):
        """The sky of the image."""
        return self._sky[0]

    def forget_sky(self):
        """
        Forget the sky, which is a file of the work, after all maps have been written.
        """
        vars(self).pop('_sky', None)

    @cached_property
    def meta(self):
        """How the maps were made."""
        if self.whole is not None:
            median, noise = (
                float(np.median(u.Quantity(one).value))
                for one in (self.whole.background_mesh, self.whole.background_rms_mesh)
            )
            meta = self.whole.meta
        else:
            from bgrem.denoise.run import resolve_device

            job, sky = self.job, self.sky
            meta = {
                **describe(
                    job.weights,
                    'local',
                    n_steps=job.n_steps,
                    n_symmetries=job.n_symmetries,
                    device=resolve_device(job.device),
                ),
                'binning': self.binning,
                'remove_stripes': False,
                'boxes': 'auto',
                'box_size': (sky.box_size,) * 2,
                'filter_size': (1, 1),
            }
            median, noise = sky.median, sky.noise
        return {
            **meta,
            'background_median': median,
            'background_rms_median': noise,
            'background_unit': self.rows.image.unit,
        }

    def write(self, file, flags, errors=None):
        """
        Write all maps.

        Parameters
        ----------
        file : `bgrem.files.maps.MapsFile` or `bgrem.files.maps.ZarrMaps`
            The file to which the maps are written.
        flags : `bgrem.scale.work.FlatMap`
            For further information about each pixel, see `HIDDEN`.
        errors : `bgrem.scale.work.FlatMap`, optional
            For the errors, if there are any.
        """
        number, bands = self.rows.image.number, split_rows(self.job.shape)
        if self.whole is not None:
            bands = [slice(0, self.job.shape[0])]
        with self.progress('writing', len(bands)) as bar:
            for rows in bands:
                maps = self._from_whole if self.whole is not None else self._from_parts
                values, bits = maps(rows)
                file.write(number, rows, dict(zip(MAPS, values, strict=True)))
                if bits is not None:
                    flags[rows, :] = bits
                if errors is not None:
                    errors[rows, :] = self.errors.read(rows, self.job.dtype)[0]
                bar.update()

    def _from_whole(self, rows):
        whole = self.whole
        maps = (
            whole.subtract(),
            whole.background,
            whole.background_rms,
            whole.source,
            whole.detection_probability,
        )
        return [u.Quantity(one[rows], copy=None).value for one in maps], None

    def _from_parts(self, rows):
        found = self.found(rows)
        level, noise = self.sky.maps(rows)
        data, _ = self.read(rows)
        unit = self.job.dtype.type(self.unit)
        maps = data - level, level, noise, found.source * unit, found.probability
        bits = np.where(found.hidden, np.uint8(HIDDEN), np.uint8(0))
        beneath, trails = self._sky[1].covered(rows)
        bits[beneath] |= LARGE
        if trails is not None:
            bits[trails] |= TRAIL
        return maps, bits

    @property
    def unit(self):
        """The unit of all computations, in units of the data."""
        return self.hidden.unit
