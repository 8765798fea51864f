"""
A finder for photutils' PSF photometry.
"""

import warnings

import numpy as np
from astropy.table import QTable
from photutils.utils.exceptions import NoDetectionsWarning

from bgrem.detect.discovery import choose_threshold
from bgrem.detect.peaks import find_peaks
from bgrem.detect.positions import measure_positions
from bgrem.detect.segments import segment
from bgrem.inputs import parse_image, to_data_unit
from bgrem.pipeline import network_factor, separate
from bgrem.sky.units import in_unit

__all__ = ['SourceDetector']


class SourceDetector:
    """
    Class to find the sources of images that have the same noise as a given image.

    It can be the ``finder`` of `~photutils.psf.PSFPhotometry` and
    `~photutils.psf.IterativePSFPhotometry`. It runs the network on each array passed
    to it, independently of previous ones. In the residual image, after stars have been
    subtracted, it finds those that were hidden by them.

    Parameters
    ----------
    image : `~bgrem.inputs.ImageInput`
        The image that defines the noise.
    detector : dict
        The options of `bgrem.pipeline.separate` with which its sources were separated.
    size : float
        The unit in which they were separated, in units of the image
        (`bgrem.sky.units.binary_unit`).
    binning, sharpening
        Those used for the separation, see `bgrem.pipeline.sampling_of`.
    noise : 2D `~numpy.ndarray` of float
        The noise of its sky.
    threshold : float or `None`
        Peaks of the probability at or above it are detections.
    false_discovery_rate : float
        The expected fraction of false detections, if ``threshold`` is `None`.
    log_odds_shift : float
        Added to the log-odds of the probabilities before the threshold is chosen.
    **options
        Passed to `bgrem.detect.segments.segment`.
    """

    def __init__(
        self,
        image,
        detector,
        *,
        size,
        binning,
        sharpening,
        noise,
        threshold,
        false_discovery_rate,
        log_odds_shift,
        **options,
    ):
        self._shape, self._unit, self._unusable = (
            image.data.shape,
            image.unit,
            image.unusable,
        )
        self._size = size
        factor = network_factor(
            in_unit(image.data, size),
            image.unusable,
            normalization=detector['normalization'],
            error=detector['error'],
            binning=binning,
            sharpening=sharpening,
        )
        # The probability is read at the first step, so that one is enough.
        self._detector = {
            **detector,
            'error': None,
            'normalization': factor,
            'binning': binning,
            'sharpening': sharpening,
            'n_steps': 1,
        }
        self._noise = noise
        self._threshold = threshold
        self._rate = (false_discovery_rate, log_odds_shift)
        self._options = options

    def __repr__(self):
        name = self._detector['weights'].name
        return f'<{type(self).__name__}: weights {name!r}, shape {self._shape}>'

    def __call__(self, data, mask=None):
        """
        Find the sources of an image.

        Parameters
        ----------
        data : 2D array_like, `~astropy.units.Quantity` or `~astropy.nddata.NDData`
            The image, with or without its sky. Its shape must be that of the image
            that defines the noise, and its unit must be convertible.
        mask : 2D array_like of bool, optional
            `True` at pixels where nothing should be found.

        Returns
        -------
        sources : `~astropy.table.QTable` or `None`
            A table in reading order, with ``id``, the position ``x`` and ``y`` and its
            errors ``x_err`` and ``y_err`` in pixels, the ``flux`` in the segment in the
            unit of the image, and ``detection_probability``. `None`, with photutils'
            `~photutils.utils.exceptions.NoDetectionsWarning`, if nothing is found.

        Raises
        ------
        ValueError
            If the shape is different.
        UnitConversionError
            If the unit is not convertible.
        """
        image = parse_image(data, mask=mask)
        if image.data.shape != self._shape:
            msg = (
                f'data must have the shape of the image, {self._shape}, got '
                f'{image.data.shape}'
            )
            raise ValueError(msg)
        scale = 1.0
        if image.unit is not None and self._unit is not None:
            scale = to_data_unit('data', 1 * image.unit, self._unit)
        unusable = image.unusable | self._unusable
        data = in_unit(scale * image.data, self._size)
        found = separate(data, unusable, **self._detector)
        threshold = self._threshold
        if threshold is None:
            peaks = find_peaks(found.probability, unusable)
            threshold = choose_threshold(peaks['probability'], *self._rate)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', NoDetectionsWarning)
            segments = segment(
                found.source,
                found.probability,
                in_unit(self._noise, self._size),
                threshold=threshold,
                mask=unusable,
                **self._options,
            )
        table = None
        if segments is not None:
            data = np.where(unusable, 0, data - found.normalization.center)
            table = self._table(data, segments, found, ~unusable, threshold)
        if table is None or len(table) == 0:
            msg = 'No sources were found.'
            warnings.warn(msg, NoDetectionsWarning, stacklevel=2)
            return None
        return table

    def _table(self, data, segments, found, usable, threshold):
        """Return the sources as photutils wants them."""
        index, labels = segments.labels, segments.data
        noise = in_unit(self._noise, self._size)
        positions = measure_positions(
            data,
            segments,
            np.full((len(index), 2), np.nan),
            source=found.source,
            probability=found.probability,
            noise=noise,
            error=noise,
            usable=usable,
        )
        flux = self._size * np.bincount(labels.ravel(), data.ravel())[index]
        table = QTable(
            {
                'id': index,
                'x': positions.position[:, 0],
                'y': positions.position[:, 1],
                'x_err': positions.error[:, 0],
                'y_err': positions.error[:, 1],
                'flux': flux if self._unit is None else flux << self._unit,
                'detection_probability': positions.probability,
            }
        )
        # A source whose center is hidden has no peak.
        return table[positions.probability >= threshold]
