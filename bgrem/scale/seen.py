"""
An image as the network sees it, in bands of rows.
"""

import math
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from tqdm.auto import tqdm

from bgrem.detect.probability import refine_probability
from bgrem.pipeline import FINISH_MARGIN
from bgrem.scale.steps import (
    Found,
    FoundMeasurement,
    Hidden,
    measure_hidden,
    normalize_rows,
    run_tiles,
)
from bgrem.sky.bands import measure, split_rows, widen
from bgrem.sky.blank import BlankMeasurement
from bgrem.sky.local_maps import NormalizationMeasurement
from bgrem.sky.mesh import LAG
from bgrem.sky.normalization import MARGIN
from bgrem.sky.sampling import bin_image, refine_source

__all__ = ['BinnedImage', 'Refined', 'SeenImage']

# So many squares away, what is in a square does not matter to the pixels of another.
_FAR = 24


class SeenImage:
    """
    An image that the network sees, and what is found in it.

    Parameters
    ----------
    job : `bgrem.scale.steps.Job`
        What a step needs besides pixels.
    name : str
        A prefix for the names of its parts of the work.
    work : `bgrem.scale.work.Work`
        The parts that are finished.
    bar : str or `False`
        A prefix for the names of progress bars; `False` for no bars.

    Attributes
    ----------
    job, name
        As given.
    """

    def __init__(self, job, name, work, bar):
        self.job, self.name, self._work, self._bar = job, name, work, bar

    def read(self, rows):
        """
        Read some rows (a slice): data and unusable pixels, as
        `bgrem.scale.steps.as_float` returns them.
        """
        raise NotImplementedError

    def kept(self, name, measure):
        """
        Return a result that was measured before, or measure it.

        Parameters
        ----------
        name : str
            The name of this part of the work.
        measure : callable
            Returns the result.

        Returns
        -------
        result : object
            The result, in any case as read from the file.
        """
        name = f'{name}-{self.name}'
        if not self._work.has(name):
            self._work.save(name, measure())
        return self._work.load(name)

    def measured(self, measurement, read, what):
        """
        Do a measurement with a progress bar.

        Parameters
        ----------
        measurement, read
            As for `bgrem.sky.bands.measure`.
        what : str
            The name of the bar.

        Returns
        -------
        measurement : `~bgrem.sky.bands.Measurement`
            The measurement, complete.
        """
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
        what : str
            Its name.
        total : int or `None`
            The number of steps, if it is known.
        unit : str, optional
            What a step is.
        initial : int, optional
            The number of steps already done.

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

    @cached_property
    def layout(self):
        """The layout of the tiles."""
        return self.job.layout

    @cached_property
    def hidden(self):
        """What hides pixels of the image."""
        return self.kept(
            'hidden',
            lambda: measure_hidden(
                self.measured(
                    BlankMeasurement(self.job.shape), self.read, 'unusable pixels'
                )
            ),
        )

    def read_hidden(self, rows):
        """
        Read some rows (a slice): data and hidden pixels, as `Hidden.apply
        <bgrem.scale.steps.Hidden>` returns them.
        """
        wider = widen(rows, self.hidden.margin, self.job.shape[0])
        inner = slice(rows.start - wider.start, rows.stop - wider.start)
        return [one[inner] for one in self.hidden.apply(*self.read(wider))]

    @property
    def maps(self):
        """The level and the noise for the network."""
        return self.local_maps

    @cached_property
    def local_maps(self):
        """The level and the noise (`bgrem.sky.local_maps.LocalMaps`)."""
        measurement = NormalizationMeasurement(self.job.shape, self.job.dtype)
        return self.kept(
            'maps',
            lambda: (
                self.measured(measurement, self.read_hidden, 'level and noise').result
            ),
        )

    def run_network(self):
        """
        Run the network on all rows of tiles that are not finished.
        """
        layout = self.layout
        n_rows, n_columns = len(layout.y_starts), len(layout.x_starts)
        todo = [k for k in range(n_rows) if not self._work.has(self._tiles(k))]
        done = (n_rows - len(todo)) * n_columns
        with self.progress('sources', len(layout), 'tile', done) as bar:
            for row in todo:
                part, place = layout.part(slice(row, row + 1))
                found = run_tiles(self.job, self._normalized(place[0]), part)
                self._work.save_maps(
                    self._tiles(row), [one for one in found if one is not None]
                )
                bar.update(n_columns)

    def _normalized(self, rows):
        """Return some rows as the network sees them."""
        width = self.job.shape[1]
        image = np.empty((rows.stop - rows.start, width), dtype=np.float32)
        for some in split_rows(image.shape):
            band = slice(rows.start + some.start, rows.start + some.stop)
            wider = widen(band, self.maps.margin + MARGIN, self.job.shape[0])
            data, hidden = self.read_hidden(wider)
            image[some] = normalize_rows(
                self.job, self.maps, band, data, hidden, wider.start
            )
        return image

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
        data, hidden = self.read_hidden(wider)
        blended = self._blended(near)
        return Found(self.job, self.maps, rows, data, hidden, wider.start, blended)

    def look(self):
        """
        Examine what was found (`bgrem.scale.steps.FoundMeasurement`).

        Raises
        ------
        NeedsWhole
            If the image contains single counts.
        """

        def read(rows):
            one = self.found(rows)
            return one.data, one.hidden, one.noise, one.source, one.probability

        measurement = FoundMeasurement(self.job.shape)
        return self.measured(measurement, read, 'widths of sources')


class Refined(NamedTuple):
    """
    What was found in squares of pixels, for some rows of pixels.

    Parameters
    ----------
    data, hidden, noise, source, probability : 2D `~numpy.ndarray`
        As in `bgrem.scale.steps.Found`.
    """

    data: np.ndarray
    hidden: np.ndarray
    noise: np.ndarray
    source: np.ndarray
    probability: np.ndarray


class BinnedImage(SeenImage):
    """
    An image that is binned into squares of pixels for the network.

    Parameters
    ----------
    image : `SeenImage`
        The image.
    binning : int
        The side of the squares in pixels.
    """

    def __init__(self, image, binning):
        shape = tuple(-(-n // binning) for n in image.job.shape)
        job = replace(image.job, shape=shape)
        super().__init__(job, f'{image.name}-binned', image._work, image._bar)
        self._image, self._binning = image, binning

    def read(self, rows):
        """
        Read some rows of squares (a slice): their means, and which are unusable.
        """
        first, last = (self._binning * one for one in (rows.start, rows.stop))
        last = min(last, self._image.job.shape[0])
        return bin_image(*self._image.read_hidden(slice(first, last)), self._binning)

    @cached_property
    def hidden(self):
        """What hides squares of the image."""

        def find():
            blank = BlankMeasurement(self.job.shape)
            return self.measured(blank, self.read, 'unusable squares').result

        # in the unit of the image already
        return Hidden(self.kept('hidden', find), 1.0)

    @cached_property
    def n_sure(self):
        """The number of sources of which the network is sure."""
        return self.kept('check', lambda: self.look().probability.size)

    @cached_property
    def _maps_of_pixels(self):
        """Level and noise of the image itself."""
        job = self._image.job
        lag = math.ceil(LAG * self._binning)
        measurement = NormalizationMeasurement(job.shape, job.dtype, lag)
        read = self._image.read_hidden
        return self.kept(
            'maps_of_pixels', lambda: self.measured(measurement, read, 'noise').result
        )

    def refined(self, rows):
        """
        Return what was found for some rows of pixels.

        Parameters
        ----------
        rows : slice
            The rows.

        Returns
        -------
        found : `Refined`
            As from `bgrem.pipeline.separate`.
        """
        n_rows, n_columns = self._image.job.shape
        binning = self._binning
        squares = slice(rows.start // binning, -(-rows.stop // binning))
        squares = widen(squares, _FAR, self.job.shape[0])
        found = self.found(squares)
        first, last = (binning * one for one in (squares.start, squares.stop))
        shape = min(last, n_rows) - first, n_columns
        inner = slice(rows.start - first, rows.stop - first)
        source = refine_source(found.source, binning, shape)[inner]
        probability = refine_probability(found.probability, binning, shape)[inner]

        maps = self._maps_of_pixels
        wider = widen(rows, maps.margin, n_rows)
        data, hidden = self._image.read_hidden(wider)
        noise = maps.part(rows, data, hidden, wider.start).scale
        inner = slice(rows.start - wider.start, rows.stop - wider.start)
        data, hidden = data[inner], hidden[inner]
        lost = hidden | (noise == 0)
        source[lost] = 0
        probability[lost] = 0
        return Refined(data, hidden, noise, source, probability)
