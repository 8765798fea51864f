"""
An image that is seen a band of rows after the other, and its maps.
"""

import warnings
from functools import cached_property

import numpy as np
from astropy import units as u
from astropy.utils.exceptions import AstropyUserWarning
from tqdm.auto import tqdm

from bgrem.pipeline import FINISH_MARGIN, describe
from bgrem.scale.steps import (
    Found,
    FoundMeasurement,
    Job,
    Sky,
    as_float,
    check_sampling,
    float_dtype,
    measure_hidden,
    normalize_rows,
    run_tiles,
)
from bgrem.sky.bands import NeedsWhole, measure, split_rows, widen
from bgrem.sky.blank import BlankMeasurement
from bgrem.sky.boxes import SkyMeasurement
from bgrem.sky.normalize import MARGIN, NormalizationMeasurement
from bgrem.sky.sampling import middle_of

__all__ = ['HIDDEN', 'LARGE', 'MAPS', 'StreamedImage']

MAPS = ('SCI', 'BACKGROUND', 'BACKGROUND_RMS', 'SOURCE', 'PROBABILITY')
#: The bits of the pixels that are not used, and of those beneath large sources.
HIDDEN, LARGE = 1, 2


class StreamedImage:
    """
    One image of a file, and what is known of it.

    Parameters
    ----------
    rows : `bgrem.files.rows.FitsRows` or `bgrem.files.rows.ZarrRows`
        The image.
    masked : `bgrem.files.rows.MaskRows` or `None`
        Its mask.
    options : dict
        The weights and how they are to be used.
    work : `bgrem.scale.work.Work`
        What is finished.
    bar : str or `False`
        What stands before the names of progress bars; `False` for none.

    Attributes
    ----------
    rows
        As given.
    name : str
        What the parts of the work on it are named by.
    job : `bgrem.scale.steps.Job`
        What a step needs beside pixels.
    whole : `bgrem.DiffusionBackground` or `None`
        The result, if the image can only be processed as a whole.
    """

    def __init__(self, rows, masked, options, work, bar):
        self.rows, self._masked, self._work, self._bar = rows, masked, work, bar
        self._options = options
        self.name = f'{rows.image.number}'
        self.job = Job(rows.shape, float_dtype(rows.dtype), **options)
        self.whole = None

    def measure(self):
        """
        Go through all steps but the last, or all at once where that is needed.
        """
        try:
            if self.job.weights.is_for_counts:
                msg = 'it is a map of counts'
                raise NeedsWhole(msg)
            self._run_network()
            self._check()
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
            progress=self._bar if self._bar is False else (self._bar or True),
            **self._options,
        )

    def kept(self, name, measure):
        """
        Return what was measured already, or measure it.

        Parameters
        ----------
        name : str
            Of the part of the work.
        measure : callable
            Returns it.

        Returns
        -------
        result : object
            From the file, in any case.
        """
        name = f'{name}-{self.name}'
        if not self._work.has(name):
            self._work.save(name, measure())
        return self._work.load(name)

    def _measured(self, measurement, read, what):
        """Go through a measurement, with a progress bar."""
        with self.progress(what, None) as bar:

            def read_on(rows):
                bar.update()
                return read(rows)

            return measure(measurement, read_on)

    def progress(self, what, total, unit='band', initial=0):
        """
        Return a progress bar.

        Parameters
        ----------
        what, unit : str
            Its name, and of what there are so many.
        total : int or `None`
            How many, if that is known.
        initial : int, optional
            How many of them are done.

        Returns
        -------
        bar : `~tqdm.tqdm`
        """
        return tqdm(
            total=total,
            desc=f'{self._bar or ""}{what}',
            unit=unit,
            leave=False,
            initial=initial,
            disable=self._bar is False,
        )

    def _read(self, rows):
        mask = None if self._masked is None else self._masked[rows]
        return as_float(self.rows[rows], mask)

    @cached_property
    def layout(self):
        """Its tiles."""
        return self.job.layout

    @cached_property
    def hidden(self):
        """What hides its pixels."""
        return self.kept(
            'hidden',
            lambda: measure_hidden(
                self._measured(
                    BlankMeasurement(self.job.shape), self._read, 'unusable pixels'
                )
            ),
        )

    def _read_hidden(self, rows):
        wider = widen(rows, self.hidden.margin, self.job.shape[0])
        inner = slice(rows.start - wider.start, rows.stop - wider.start)
        return [one[inner] for one in self.hidden.apply(*self._read(wider))]

    @cached_property
    def maps(self):
        """Its level and noise."""
        measurement = NormalizationMeasurement(self.job.shape, self.job.dtype)
        return self.kept(
            'maps',
            lambda: (
                self._measured(measurement, self._read_hidden, 'level and noise').result
            ),
        )

    def _run_network(self):
        """Run the network on all rows of tiles that are not finished."""
        layout = self.layout
        n_rows, n_columns = len(layout.y_starts), len(layout.x_starts)
        todo = [k for k in range(n_rows) if not self._work.has(self._tiles(k))]
        done = (n_rows - len(todo)) * n_columns
        with self.progress('sources', len(layout), 'tile', done) as bar:
            for row in todo:
                part, place = layout.part(slice(row, row + 1))
                wider = widen(place[0], self.maps.margin + MARGIN, self.job.shape[0])
                data, hidden = self._read_hidden(wider)
                image = normalize_rows(
                    self.job, self.maps, place[0], data, hidden, wider.start
                )
                found = run_tiles(self.job, image, part)
                self._work.save_maps(
                    self._tiles(row), [one for one in found if one is not None]
                )
                bar.update(n_columns)

    def _tiles(self, row):
        return f'tiles-{self.name}-{row}'

    def _blended(self, rows):
        """Return what the network found in some rows."""
        layout, total = self.layout, None
        for row in range(len(layout.y_starts)):
            _, (covered, _) = layout.part(slice(row, row + 1))
            both = slice(max(covered.start, rows.start), min(covered.stop, rows.stop))
            if both.start >= both.stop:
                continue
            shape = covered.stop - covered.start, self.job.shape[1]
            inner = slice(both.start - covered.start, both.stop - covered.start)
            maps = self._work.load_maps(self._tiles(row), shape, inner)
            if total is None:
                shape = rows.stop - rows.start, self.job.shape[1]
                total = [np.zeros(shape, np.float32) for _ in maps]
            place = slice(both.start - rows.start, both.stop - rows.start)
            for one, values in zip(total, maps, strict=True):
                one[place] += values
        return total if len(total) == 2 else (*total, None)

    def found(self, rows):
        """
        Return what was found in some rows (`bgrem.scale.steps.Found`).
        """
        near = widen(rows, FINISH_MARGIN, self.job.shape[0])
        wider = widen(near, self.maps.margin + MARGIN, self.job.shape[0])
        data, hidden = self._read_hidden(wider)
        blended = self._blended(near)
        return Found(self.job, self.maps, rows, data, hidden, wider.start, blended)

    def _check(self):
        """Raise an error where the image has to be seen in another way."""
        self.kept('check', self._measure_found)

    def _measure_found(self):
        def read(rows):
            one = self.found(rows)
            return one.data, one.hidden, one.noise, one.source, one.probability

        known = self._measured(
            FoundMeasurement(self.job.shape), read, 'widths of sources'
        )
        rows, columns = middle_of(self.job.shape)
        data, hidden = self._read_hidden(slice(*rows.indices(self.job.shape[0])[:2]))
        check_sampling(known, data[:, columns], hidden[:, columns])
        return known.bounds

    @cached_property
    def _sky(self):
        """What was measured of its sky."""

        def read(rows):
            one = self.found(rows)
            with np.errstate(invalid='ignore'):
                return one.data - one.source, ~one.hidden, one.noise, one.source

        return self.kept(
            'sky',
            lambda: self._measured(SkyMeasurement(self.job.shape), read, 'sky'),
        )

    @cached_property
    def sky(self):
        """Its sky."""
        bounds = self._work.load(f'check-{self.name}')
        return Sky(self.job, self._sky, self.unit, bounds)

    @property
    def meta(self):
        """How its maps were made."""
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
                'remove_stripes': False,
                'boxes': 'auto',
                'box_size': (sky.box_size,) * 2,
                'filter_size': (1, 1),
            }
            median, noise = sky.median, sky.noise
        return {**meta, 'background_median': median, 'background_rms_median': noise}

    def write(self, file, flags):
        """
        Write all maps.

        Parameters
        ----------
        file : `bgrem.files.maps.MapsFile` or `bgrem.files.maps.ZarrMaps`
            The file for them.
        flags : `bgrem.scale.work.FlatMap`
            For what else is needed of each pixel, see `HIDDEN` and `LARGE`.
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
        data, _ = self._read(rows)
        unit = self.job.dtype.type(self.unit)
        maps = data - level, level, noise, found.source * unit, found.probability
        bits = HIDDEN * found.hidden + LARGE * self._sky.beneath(rows)
        return maps, bits.astype(np.uint8)

    @property
    def unit(self):
        """In what unit of the data all is computed."""
        return self.hidden.unit
