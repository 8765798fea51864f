"""
What the class of this package adds to its parent: detections.
"""

import warnings
from dataclasses import asdict
from functools import cached_property

import numpy as np
from astropy.utils.exceptions import AstropyUserWarning

from bgrem.detect.catalog import catalog
from bgrem.detect.discovery import (
    ImageCheck,
    check_rate,
    check_threshold,
    choose_threshold,
)
from bgrem.detect.kind import find_doubts
from bgrem.detect.peaks import find_peaks
from bgrem.detect.segments import detection_mask, segment
from bgrem.inputs import parse_error
from bgrem.pipeline import inspect_image

__all__ = ['DetectionMixin']


class DetectionMixin:
    """
    Mixin class with the detections of a background object.

    The class that it is mixed into holds the image, its source image and its
    probability, and measures ``background_rms``.
    """

    @property
    def detection_probability(self):
        """
        The probability that a source centre lies at the pixel (2D float32 in
        [0, 1]), a new array.

        It is calibrated at its local maxima. 0 where the data are masked or not
        finite, and where no noise can be measured (constant data).
        """
        return self._probability.copy()

    def detection_mask(
        self, *, threshold=None, false_discovery_rate=0.05, footprint=None
    ):
        """
        Mask the pixels of detected sources.

        Parameters
        ----------
        threshold : float, optional
            Peaks of `detection_probability` at or above it are detections. Default:
            chosen by ``false_discovery_rate``.
        false_discovery_rate : float, optional
            The expected fraction of false detections, between 0 and 1. Default
            0.05. Not used with ``threshold``. The calibrated probabilities are
            checked, and corrected, by running the network on the sign-flipped
            residual of the image; `meta` tells the result.
        footprint : 2D array_like of bool, optional
            A structuring element by which each source is widened.

        Returns
        -------
        source_mask : 2D `~numpy.ndarray` of bool
            `True` on sources.

        Raises
        ------
        ValueError
            If ``threshold`` or ``false_discovery_rate`` is out of range, or
            ``footprint`` is not a 2D array with a `True` element.
        """
        return detection_mask(
            self._source,
            self._probability,
            self._plain_rms(),
            threshold=self._threshold(threshold, false_discovery_rate),
            footprint=footprint,
            mask=self._image.unusable,
        )

    def detect(
        self, *, threshold=None, false_discovery_rate=0.05, n_pixels=1, deblend=True
    ):
        """
        Detect the sources.

        Parameters
        ----------
        threshold, false_discovery_rate
            As for `detection_mask`.
        n_pixels : int, optional
            The least number of pixels of a source. Default 1.
        deblend : bool, optional
            Whether touching sources become separate segments. Default `True`.

        Returns
        -------
        segmentation_image : `~photutils.segmentation.SegmentationImage` or `None`
            One label for each source. `None`, with photutils'
            `~photutils.utils.exceptions.NoDetectionsWarning`, where there is none.

        Raises
        ------
        ValueError
            If a parameter is out of range.
        """
        return segment(
            self._source,
            self._probability,
            self._plain_rms(),
            threshold=self._threshold(threshold, false_discovery_rate),
            n_pixels=n_pixels,
            deblend=deblend,
            mask=self._image.unusable,
        )

    def catalog(
        self,
        segmentation_image=None,
        *,
        threshold=None,
        false_discovery_rate=0.05,
        effective_gain=None,
        error=None,
        aperture_correction=False,
        wcs=None,
        **kwargs,
    ):
        """
        Measure the sources on the unclipped, background-subtracted data.

        Parameters
        ----------
        segmentation_image : `~photutils.segmentation.SegmentationImage`, optional
            The sources. Default: those that `detect` finds.
        threshold, false_discovery_rate
            As for `detection_mask`; used only without ``segmentation_image``.
        effective_gain : float, 2D array_like or `~astropy.units.Quantity`, optional
            Electrons per data unit, from which the photon noise of the sources is
            added to `background_rms` for the errors.
        error : 2D array_like, `~astropy.units.Quantity` or NDUncertainty, optional
            The total error of each pixel; a plain array has the unit of the data.
            Default: that of the image where it came with one, else from
            `background_rms` and ``effective_gain``.
        aperture_correction : bool, optional
            Whether to add ``total_flux`` and ``total_flux_err``: the Kron flux, and
            its error, over the part of a star's light that an aperture of its size
            holds, measured on the stars of the image itself
            (`bgrem.detect.growth.star_growth`). NaN, with a warning, where there is
            none. Default `False`.
        wcs : WCS, optional
            The world coordinates. Default: those of NDData input.
        **kwargs
            Passed to `~photutils.segmentation.SourceCatalog`, which has data, error
            and mask from here.

        Returns
        -------
        catalog : `~photutils.segmentation.SourceCatalog` or `None`
            With the extra columns ``detection_probability``, ``x_centroid_win`` and
            ``y_centroid_win``. The windowed centroids, measured on the data, are the
            best positions of stars; they are the centroid where no window can be set.
            `None`, with the warning of `detect`, where nothing is detected.

        Raises
        ------
        ValueError
            If a parameter is out of range, or there is an ``effective_gain`` beside
            an error that has the photon noise of the sources already.
        UnitConversionError
            If ``error`` has a unit that is not of the kind of that of the data.
        """
        image = self._image
        if error is None:
            error = image.error
        else:
            error, unusable = parse_error(error, image.data, image.unit)
            error[unusable] = np.nan
        if error is not None and effective_gain is not None:
            msg = (
                'effective_gain must be None where the total error is known, which '
                'has the photon noise of the sources already'
            )
            raise ValueError(msg)
        if segmentation_image is None:
            segmentation_image = self.detect(
                threshold=threshold, false_discovery_rate=false_discovery_rate
            )
        if segmentation_image is None:
            return None
        return catalog(
            self.subtract(),
            segmentation_image,
            source=self.source,
            probability=self._probability,
            background_rms=self.background_rms,
            error=None if error is None else self._with_unit(error),
            effective_gain=effective_gain,
            aperture_correction=aperture_correction,
            mask=image.unusable,
            wcs=image.wcs if wcs is None else wcs,
            **kwargs,
        )

    def _threshold(self, threshold, false_discovery_rate):
        """Return the threshold on the probability."""
        if threshold is None:
            # Before the network is run once more.
            check_rate(false_discovery_rate)
            threshold = choose_threshold(
                self._peaks['probability'],
                false_discovery_rate,
                self._false_discovery['log_odds_shift'],
            )
            self._warn_once(threshold)
            return threshold
        check_threshold(threshold)
        return threshold

    @cached_property
    def _false_discovery(self):
        """What the image says about its promise, measured at the first use."""
        if self._correction is None:
            return {'log_odds_shift': 0.0}
        check = self._image_check
        shift = check.log_odds_shift(self._correction)
        values = {**asdict(check), 'log_odds_shift': shift}
        # NaN would not be equal to itself in two copies of meta.
        return {
            name: None if np.isnan(value) else round(value, 4)
            for name, value in values.items()
        }

    @cached_property
    def _image_check(self):
        return ImageCheck.from_peaks(self._peaks['probability'], *self._inspect())

    def _warn_once(self, threshold):
        """Warn, the first time, where the promise cannot be relied upon."""
        found = self._peaks[self._peaks['probability'] >= threshold]
        if found.size == 0:
            return
        token = object()
        # Of several threads one is the first.
        is_first = vars(self).setdefault('_warning', token) is token
        if not is_first or self._correction is None:
            return
        doubts = find_doubts(
            self._image.data,
            self._image.unusable,
            self._source,
            self._plain_rms(),
            found,
            self._image_check,
            self._meta['binning'],
        )
        if doubts:
            msg = (
                'the fraction of false detections may be far above the '
                f'false_discovery_rate: {"; ".join(doubts)}. Look at the detections '
                'before you use them, count false ones with injected sources, or '
                'give a higher threshold.'
            )
            warnings.warn(msg, AstropyUserWarning, stacklevel=4)

    def _inspect(self):
        """Run the network once more; the evaluation has it run elsewhere."""
        return inspect_image(
            self._image.data,
            self._image.unusable,
            self._source,
            self._peaks,
            binning=self._meta['binning'],
            **self._detector,
        )

    @cached_property
    def _peaks(self):
        return find_peaks(self._probability, self._image.unusable)
