"""
Parts of an image whose maps are in a file, with the methods that detect sources.
"""

import warnings
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from astropy.wcs.wcsapi import HighLevelWCSWrapper, SlicedLowLevelWCS
from photutils.segmentation import SegmentationImage
from photutils.utils.exceptions import NoDetectionsWarning

from bgrem.detections import DetectionMixin
from bgrem.inputs import ImageInput
from bgrem.inspection import inspect_windows
from bgrem.scale.image import HIDDEN, LARGE, TRAIL
from bgrem.sky.bands import split_rows
from bgrem.sky.sampling import bin_image
from bgrem.sky.units import error_in_unit, in_unit
from bgrem.sky.windows import middle_of

__all__ = ['Part', 'StoredMaps', 'StreamedDetections']


class StoredMaps(NamedTuple):
    """
    The maps of an image in a file.

    Parameters
    ----------
    file : `bgrem.files.maps.MapsFile` or `bgrem.files.maps.ZarrMaps`
        The file.
    image : `bgrem.scale.image.StreamedImage`
        The image.
    flags : `bgrem.scale.work.FlatMap`
        Further information about each pixel, see `bgrem.scale.image`.
    errors : `bgrem.scale.work.FlatMap` or `None`, optional
        The total error of each pixel.
    """

    file: object
    image: object
    flags: object
    errors: object = None

    @property
    def shape(self):
        """The shape of the image."""
        return self.image.job.shape

    def read(self, name, place):
        """
        Read a part of a map.

        Parameters
        ----------
        name : str
            The name of the map.
        place : tuple of slice
            The part.

        Returns
        -------
        values : 2D `~numpy.ndarray`
            In the unit of the data.
        """
        return self.file.read(self.image.rows.image.number, name, place)

    @property
    def shape_in_squares(self):
        """The shape of the image in the squares that the network sees."""
        return tuple(-(-n // self.image.binning) for n in self.shape)

    def place_of(self, squares):
        """
        Return the place of squares in the image.

        Parameters
        ----------
        squares : tuple of slice
            Rows and columns of squares.

        Returns
        -------
        place : tuple of slice
            The rows and columns of their pixels.
        """
        binning, result = self.image.binning, []
        for side, n, n_squares in zip(
            squares, self.shape, self.shape_in_squares, strict=True
        ):
            first, last, _ = side.indices(n_squares)
            result.append(slice(first * binning, min(last * binning, n)))
        return tuple(result)

    def read_squares(self, names, place):
        """
        Read parts of maps in the squares that the network sees.

        Parameters
        ----------
        names : list of str
            Of the maps.
        place : tuple of slice
            The part, consisting of whole squares.

        Returns
        -------
        maps : list of 2D `~numpy.ndarray`
            The maps, in the unit of all computations, and finally which squares are
            hidden.
        """
        hidden = self.flags[place] & HIDDEN > 0
        maps = [in_unit(self.read(name, place), self.image.unit) for name in names]
        if self.image.binning == 1:
            return [*maps, hidden]
        empty = np.zeros(hidden.shape, dtype=np.float32)
        lost = bin_image(empty, hidden, self.image.binning)[1]
        return [*(bin_image(one, hidden, self.image.binning)[0] for one in maps), lost]


class Part(DetectionMixin):
    """
    Class for a part of an image whose maps are in a file.

    It has the detection methods of `bgrem.DiffusionBackground`, in its own pixel
    coordinates.

    Parameters
    ----------
    maps : `StoredMaps`
        The maps of the image.
    place : tuple of slice
        The part.
    star_width : float, optional
        The FWHM of a star of the image in pixels.
    covariance : 2D `~numpy.ndarray`, optional
        That of its noise, from `bgrem.detect.footprints.correlated_noise`.
    check : dict, optional
        What the whole image says about its false discovery rate.
    """

    _is_counts = False

    def __init__(self, maps, place, star_width=None, covariance=None, check=None):
        image, flags = maps.image.rows.image, maps.flags[place]
        read = {
            name: maps.read(name, place)
            for name in ('SCI', 'BACKGROUND', 'BACKGROUND_RMS', 'SOURCE', 'PROBABILITY')
        }
        self._subtracted, self._level, self._rms = list(read.values())[:3]
        self._source, self._probability = read['SOURCE'], read['PROBABILITY']
        self._image = ImageInput(
            data=self._subtracted + self._level,
            mask=flags & HIDDEN > 0,
            unit=image.unit,
            wcs=_wcs_of_part(image.wcs, place),
            error=None if maps.errors is None else maps.errors[place],
        )
        self._large, self._trails = flags & LARGE > 0, flags & TRAIL > 0
        self._size, self._detector = maps.image.unit, {'progress': False}
        self._star_width, self._covariance = star_width, covariance
        self._false_discovery = check or {}
        self._meta = maps.image.meta

    def _with_unit(self, values):
        unit = self._image.unit
        return values if unit is None else values << unit

    def _plain_rms(self):
        return self._rms.copy()

    @property
    def background(self):
        """As in `bgrem.DiffusionBackground`."""
        return self._with_unit(self._level.copy())

    @property
    def background_rms(self):
        """As in `bgrem.DiffusionBackground`."""
        return self._with_unit(self._rms.copy())

    @property
    def source(self):
        """As in `bgrem.DiffusionBackground`."""
        return self._with_unit(self._source.copy())

    def subtract(self):
        """
        Return the part without its sky.
        """
        return self._with_unit(self._subtracted.copy())

    def find_segments(self, threshold):
        """
        Detect the sources.

        Parameters
        ----------
        threshold : float
            As for `detect`.

        Returns
        -------
        labels : 2D `~numpy.ndarray` of int
            The segments, 0 elsewhere.
        """
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', NoDetectionsWarning)
            found = self.detect(threshold=threshold)
        return np.zeros(self._source.shape, np.int32) if found is None else found.data

    def inputs(self, labels, **options):
        """
        Return the arguments of `bgrem.detect.catalog.catalog`.

        Parameters
        ----------
        labels : 2D `~numpy.ndarray` of int
            The segments, 0 elsewhere.
        **options
            As for `catalog`.

        Returns
        -------
        inputs : dict
        """
        return self._catalog_inputs(SegmentationImage(labels), **options)

    def noise_inputs(self):
        """
        Return the arguments of `bgrem.detect.positions.noise_around` (dict).
        """
        return self._noise_inputs()

    def doubts(self, threshold, check):
        """
        Return the reasons why the false discovery rate may be wrong (list of str).

        Parameters
        ----------
        threshold : float
            Peaks at or above it are detections; infinite if the image has none.
        check : `bgrem.detect.discovery.ImageCheck`
            The check of the whole image.
        """
        self._image_check = check
        found = self._peaks[self._peaks['probability'] >= threshold]
        # of an image with detections elsewhere this part says nothing
        return self._doubts(found) if found.size or np.isinf(threshold) else []


def _whole_squares(shape, binning):
    """Cut an image into bands of whole squares."""
    edges = np.append(np.arange(0, shape[0], 64 * binning), shape[0])
    return split_rows(shape, edges)


def _wcs_of_part(wcs, place):
    """Return the world coordinates of a part of an image."""
    if wcs is None:
        return None
    return HighLevelWCSWrapper(SlicedLowLevelWCS(wcs, list(place)))


class StreamedDetections(DetectionMixin):
    """
    Class for what the detections need to know about the whole of an image.

    The thresholds are those of `bgrem.DiffusionBackground`.

    Parameters
    ----------
    maps : `StoredMaps`
        The maps of the image.
    find_peaks : callable
        Returns the probabilities of the peaks of the image, and the widths of those of
        which the network is sure (1D `~numpy.ndarray`).
    """

    _is_counts = False

    def __init__(self, maps, find_peaks):
        self._maps, self._find_peaks = maps, find_peaks
        weights = maps.image.job.weights
        self._correction = (weights.calibration or {}).get('correction')

    def choose_threshold(self, threshold, false_discovery_rate):
        """
        Return the threshold on the probability.

        Parameters
        ----------
        threshold, false_discovery_rate
            As for `bgrem.DiffusionBackground.detect`.

        Returns
        -------
        threshold : float
        check : dict
            What the image says about its false discovery rate; empty if this was not
            measured.

        Warns
        -----
        `~astropy.utils.exceptions.AstropyUserWarning`
            If the false discovery rate cannot be relied upon.
        """
        threshold = self._threshold(threshold, false_discovery_rate)
        return threshold, dict(vars(self).get('_false_discovery', {}))

    @cached_property
    def _inspection(self):
        """What the windows of the flipped residual show."""
        maps, image = self._maps, self._maps.image
        job = image.job
        options = {
            'weights': job.weights,
            'n_symmetries': job.n_symmetries,
            'normalization': 'local',
            'device': job.device,
            'batch_size': job.batch_size,
        }
        n_shown = sum(
            np.count_nonzero(~maps.read_squares([], (rows, slice(0, job.shape[1])))[-1])
            for rows in _whole_squares(job.shape, image.binning)
        )

        def read(window):
            place = maps.place_of(window)
            subtracted, level, source, hidden = maps.read_squares(
                ['SCI', 'BACKGROUND', 'SOURCE'], place
            )
            data, error = subtracted + level, None
            if maps.errors is not None:
                error = error_in_unit(maps.errors[place], image.unit)
            return data, hidden | ~np.isfinite(data), source, error

        return image.kept(
            'promise',
            lambda: inspect_windows(maps.shape_in_squares, read, n_shown, **options),
        )

    def _inspect(self):
        return replace(self._inspection, widths=self._find_peaks()[1])

    @property
    def noise(self):
        """The noise of the flipped residual; `None` where it is not examined."""
        return None if self._correction is None else self._inspection.noise

    @cached_property
    def _peaks(self):
        probability = self._find_peaks()[0]
        return probability.view([('probability', probability.dtype)])

    def _doubts(self, found):
        """Of a large image the middle is looked at."""
        part = Part(self._maps, middle_of(self._maps.shape))
        lowest = found['probability'].min(initial=np.inf)
        return part.doubts(lowest, self._image_check)
