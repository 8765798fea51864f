"""
The detections that `bgrem.DiffusionBackground` adds to its parent class.
"""

import warnings
from copy import deepcopy
from dataclasses import asdict
from functools import cached_property

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData, NDData, StdDevUncertainty
from astropy.stats import mad_std
from astropy.utils.exceptions import AstropyUserWarning

from bgrem.checks import (
    as_number,
    check_flag,
    check_promise,
    check_shape,
    suggests_names,
)
from bgrem.detect.discovery import choose_threshold
from bgrem.detect.footprints import correlated_noise
from bgrem.detect.hierarchy import image_width
from bgrem.detect.kind import find_doubts
from bgrem.detect.late import LateImage
from bgrem.detect.peaks import MIN_PROBABILITY, find_peaks
from bgrem.detect.segments import (
    check_n_pixels,
    detection_mask,
    no_segments,
    segment,
)
from bgrem.finder import SourceDetector
from bgrem.inputs import parse_error, parse_image, to_data_unit
from bgrem.inspection import inspect_image
from bgrem.pipeline import bar_name, sampling_of
from bgrem.sky.units import error_in_unit, in_unit

__all__ = ['DetectionMixin']

# in standard deviations of the noise
_MAX_SKY = 1.0
# Fluxes of so many typical pixels have squares, and these have inverses.
_MAX_SIZE = 1e140
_LARGEST_SINGLE = 1e15


class DetectionMixin:
    """
    Mixin class with the detections of a background object.

    The class that it is mixed into holds the image, the source image and the detection
    probability, and measures ``background_rms``.
    """

    _star_width = None  # of an image that is a part, that of the whole
    _stripes = None  # of rows and columns, where they were taken out

    @property
    def detection_probability(self):
        """
        The probability that a source center lies at each pixel (2D float32 in
        [0, 1]), a new array.

        It is calibrated at its local maxima. It is 0 where the data are masked or not
        finite, and where no noise can be measured (constant data).
        """
        return self._probability.copy()

    @suggests_names()
    def detection_mask(
        self, *, threshold=None, false_discovery_rate=0.05, footprint=None
    ):
        """
        Mask the pixels of detected sources.

        Parameters
        ----------
        threshold : float, optional
            Peaks of `detection_probability` at or above it are detections. Default:
            chosen from ``false_discovery_rate``.
        false_discovery_rate : float, optional
            The expected fraction of false detections, between 0 and 1. Default
            0.05. Not used with ``threshold``. The calibrated probabilities are
            checked, and corrected, by running the network on the sign-flipped
            residual of the image (for few photons, on redrawn photons); `meta` reports
            the result.
        footprint : 2D array_like of bool, optional
            A structuring element with which each source is dilated.

        Returns
        -------
        source_mask : 2D `~numpy.ndarray` of bool
            `True` on sources.

        Raises
        ------
        ValueError
            If ``threshold`` or ``false_discovery_rate`` is out of range, or
            ``footprint`` is not a 2D array with a `True` element.

        Warns
        -----
        `~astropy.utils.exceptions.AstropyUserWarning`
            The first time, if the image shows that the false discovery rate may be
            exceeded, or that other weights may find sources where these find none.

        Examples
        --------
        >>> import numpy as np
        >>> from bgrem import DiffusionBackground
        >>> y, x = np.mgrid[:64, :64]
        >>> star = 500 * np.exp(-((x - 30) ** 2 + (y - 20) ** 2) / 5)
        >>> data = 100 + star + np.random.default_rng(1).normal(0, 5, (64, 64))
        >>> bkg = DiffusionBackground(data)
        >>> mask = bkg.detection_mask(threshold=0.9, footprint=np.ones((3, 3)))
        >>> bool(mask[20, 30]), bool(mask[50, 50])
        (True, False)
        """
        return detection_mask(
            in_unit(self._source, self._size),
            self._probability,
            in_unit(self._plain_rms(), self._size),
            threshold=self._threshold(threshold, false_discovery_rate),
            footprint=footprint,
            mask=self._image.unusable,
            covariance=self._covariance,
        )

    @suggests_names()
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
            The minimum number of pixels of a source. Default 1.
        deblend : bool, optional
            Whether touching sources become separate segments. Default `True`.

        Returns
        -------
        segmentation_image : `~photutils.segmentation.SegmentationImage` or `None`
            One label for each source, including bright sources whose centers are masked
            or outside the image. Peaks that do not stand out from a large, bright
            source belong to it. `None`, with photutils'
            `~photutils.utils.exceptions.NoDetectionsWarning`, if there are no sources.

        Raises
        ------
        ValueError
            If a parameter is out of range.

        Warns
        -----
        `~astropy.utils.exceptions.AstropyUserWarning`
            As for `detection_mask`.

        Examples
        --------
        >>> import numpy as np
        >>> from bgrem import DiffusionBackground
        >>> y, x = np.mgrid[:64, :64]
        >>> star = 500 * np.exp(-((x - 30) ** 2 + (y - 20) ** 2) / 5)
        >>> data = 100 + star + np.random.default_rng(1).normal(0, 5, (64, 64))
        >>> bkg = DiffusionBackground(data)
        >>> segments = bkg.detect(threshold=0.9)
        >>> segments.n_labels, bool(segments.data[20, 30] > 0)
        (1, True)
        """
        deblend = check_flag('deblend', deblend)
        threshold = self._threshold(threshold, false_discovery_rate)
        return segment(
            in_unit(self._source, self._size),
            self._probability,
            in_unit(self._plain_rms(), self._size),
            threshold=threshold,
            n_pixels=n_pixels,
            deblend=deblend,
            mask=self._image.unusable,
            peaks=self._peaks if threshold >= MIN_PROBABILITY else None,
            width=self._star_width,
            covariance=self._covariance,
        )

    @suggests_names('photutils.segmentation:SourceCatalog')
    def catalog(
        self,
        segmentation_image=None,
        *,
        threshold=None,
        false_discovery_rate=0.05,
        effective_gain=None,
        data=None,
        error=None,
        zero_point=None,
        aperture_radii=None,
        saturation=None,
        aperture_correction=False,
        wcs=None,
        **kwargs,
    ):
        """
        Measure the sources on the unclipped, background-subtracted data.

        Parameters
        ----------
        segmentation_image : `~photutils.segmentation.SegmentationImage`, optional
            The sources. Default: those found by `detect`.
        threshold, false_discovery_rate
            As for `detection_mask`; used only without ``segmentation_image``.
        effective_gain : float, 2D array_like or `~astropy.units.Quantity`, optional
            Electrons per data unit. It adds the photon noise of the sources to
            `background_rms` in the errors. Default with weights for counts: 1, and
            the flux errors then include the sum of `background_uncertainty`.
        data : `DiffusionBackground`, 2D array_like, Quantity or NDData, optional
            Another image on the same pixel grid, for example in another band, whose
            fluxes are measured in the same apertures. A DiffusionBackground subtracts
            its own sky. The sky of an array must be subtracted already; its errors are
            unknown without ``error`` or an uncertainty, and its exposure is unknown.
            Default: the image itself.
        error : 2D array_like, `~astropy.units.Quantity` or NDUncertainty, optional
            The total error of each pixel of the measured image; a plain array is in
            the unit of the data. Where it is 0, it is not known, and `background_rms`
            is used. Default: the error that came with the image, else that from
            `background_rms` and ``effective_gain``.
        zero_point : float, optional
            The magnitude of one data unit. If given, magnitudes are added.
        aperture_radii : sequence of float, optional
            Radii of the circular apertures in pixels. Default: 0.5, 1 and 1.5 times the
            FWHM of the compact sources of the image.
        saturation : float or `~astropy.units.Quantity`, optional
            The level, including the sky, at and above which pixels are flagged as
            saturated. Default: that of the plateaus in the cores of bright sources.
            These become uneven when stripes are removed, so give the level with
            ``remove_stripes``.
        aperture_correction : bool, optional
            Whether to add ``total_flux`` and ``total_flux_err``: the Kron flux, and
            its error, divided by the fraction of a star's light within an aperture of
            that size, which is measured on the stars of the image itself
            (`bgrem.detect.growth.star_growth`). NaN, with a warning, if no star is
            suitable. Default `False`.
        wcs : WCS, optional
            The world coordinate system. Default: that of NDData input.
        **kwargs
            Passed to `~photutils.segmentation.SourceCatalog`, which gets data, error
            and mask from this method.

        Returns
        -------
        catalog : `~photutils.segmentation.SourceCatalog`
            A catalog of photutils' class, one row for each source in the order of the
            labels. The first columns of its table are the label, the position of the
            detection with its errors (``x``, ``y``, ``x_err`` and ``y_err``, in pixels)
            and, with a WCS, ``ra`` and ``dec`` (ICRS), the probability, the
            signal-to-noise ratio and the flags (`bgrem.decode_detection_flags`). The
            user guide has a page on all columns. With an ``exposure``, fluxes (counts
            divided by exposure) are given besides the counts. Kron and circular
            apertures are centered on ``x``, ``y``, where photutils alone uses the
            centroid. If nothing is detected, the table has the same columns, with their
            units, but no rows, and `detect` warns.

        Raises
        ------
        TypeError, ValueError
            If a parameter is out of range, ``effective_gain`` is given although the
            error already includes the photon noise of the sources, ``data`` has
            another shape, or squares of the image exceed float64 (values of 1e280).
        UnitConversionError
            If the unit of ``error`` is not convertible to that of the data.

        Warns
        -----
        `~astropy.utils.exceptions.AstropyUserWarning`
            If the sky of an array given as ``data`` seems not to be subtracted.

        Examples
        --------
        >>> import numpy as np
        >>> from bgrem import DiffusionBackground
        >>> y, x = np.mgrid[:64, :64]
        >>> star = 500 * np.exp(-((x - 30) ** 2 + (y - 20) ** 2) / 5)
        >>> data = 100 + star + np.random.default_rng(1).normal(0, 5, (64, 64))
        >>> bkg = DiffusionBackground(data)
        >>> table = bkg.catalog(threshold=0.9, zero_point=25).to_table()
        >>> star = table[0]
        >>> print(f'{star["x"]:.1f}, {star["y"]:.1f}, {star["kron_mag"]:.0f}')
        30.0, 20.0, 15
        """
        # what photutils measures of segments takes half a second to import
        from bgrem.detect.catalog import catalog
        from bgrem.files.cards import provenance_cards

        aperture_correction = check_flag('aperture_correction', aperture_correction)
        inputs = self._catalog_inputs(
            segmentation_image,
            threshold=threshold,
            false_discovery_rate=false_discovery_rate,
            effective_gain=effective_gain,
            data=data,
            error=error,
            zero_point=zero_point,
            aperture_radii=aperture_radii,
            saturation=saturation,
            wcs=wcs,
            kwargs=kwargs,
        )
        result = catalog(
            **inputs,
            aperture_correction=aperture_correction,
            progress=bar_name(self._detector['progress'], 'catalog'),
        )
        made = {**self._meta, 'zero_point': inputs['zero_point']}
        if segmentation_image is None:
            made |= check_promise(threshold, false_discovery_rate)
        result.provenance = {
            card.keyword: card.value for card in provenance_cards(made)
        }
        return result

    def _catalog_inputs(
        self,
        segmentation_image,
        *,
        threshold=None,
        false_discovery_rate=0.05,
        effective_gain=None,
        data=None,
        error=None,
        zero_point=None,
        aperture_radii=None,
        saturation=None,
        wcs=None,
        kwargs=(),
    ):
        """
        Return the arguments of `bgrem.detect.catalog.catalog`, from those of `catalog`.
        """
        from photutils.segmentation import SegmentationImage

        from bgrem.detect.catalog import check_options

        image, kwargs = self._image, dict(kwargs)
        if 'mask' in kwargs:
            msg = 'mask must be given to DiffusionBackground; the catalog uses that one'
            raise TypeError(msg)
        if not isinstance(segmentation_image, SegmentationImage | None):
            msg = (
                'segmentation_image must be a SegmentationImage, got '
                f'{type(segmentation_image).__name__}'
            )
            raise TypeError(msg)
        shape = self._source.shape
        if segmentation_image is not None:
            check_shape('segmentation_image', segmentation_image.shape, shape)
        zero_point, aperture_radii, wcs = check_options(
            zero_point,
            aperture_radii,
            effective_gain,
            image.wcs if wcs is None else wcs,
        )
        if not 1 / _MAX_SIZE < self._size < _MAX_SIZE:
            msg = (
                f'data of the order of {self._size:.0e} cannot be squared, as a '
                'catalog requires: use another unit'
            )
            raise ValueError(msg)
        if saturation is not None:
            saturation = _saturation_level(saturation, image.unit)
        measured, own_error, own_gain = None, image.error, None
        if data is not None:
            measured = _other_image(data, self._source.shape, error, effective_gain)
        else:
            own_error = _known_error(image, error, effective_gain)
            own_gain = effective_gain
        own_gain, sky_error = self._photon_noise(own_error, own_gain)
        exposure = self._exposure()
        if segmentation_image is None:
            segmentation_image = self.detect(
                threshold=threshold, false_discovery_rate=false_discovery_rate
            )
        if segmentation_image is None:
            segmentation_image = no_segments(shape)
        background = self._late_background()
        if measured is not None:
            values, errors, unusable, background, sky_error, exposure = measured
            measured = values, errors, unusable | image.unusable
            if background is None:
                _warn_of_sky(values, unusable | (segmentation_image.data > 0))
        if background is not None:
            kwargs.setdefault('background', background)
        if saturation is not None:
            if self._stripes is not None:  # they are out of the image
                saturation = saturation - self._stripe_map(image.data.dtype)
            with np.errstate(invalid='ignore'):
                saturation = image.data >= saturation
        check = vars(self).get('_false_discovery', {})
        if own_error is not None:
            own_error = _fill_unknown(own_error, self._plain_rms)
            own_error = error_in_unit(own_error, self._size) * self._size
            own_error = self._in_double(self._with_unit(own_error))
        return {
            'data': self._in_double(self.subtract()),
            'segmentation_image': segmentation_image,
            # as it is: a catalog measures on it, and does not show it
            'source': self._in_double(self._with_unit(self._source)),
            'probability': self._probability,
            'background_rms': self._in_double(self.background_rms),
            'error': own_error,
            'effective_gain': own_gain,
            'sky_error': sky_error,
            'exposure': exposure,
            'mask': image.unusable,
            'measured': measured,
            'zero_point': zero_point,
            'aperture_radii': aperture_radii,
            'large': self._large,
            # those whose light is in the fluxes
            'trails': (data if isinstance(data, DetectionMixin) else self)._trails,
            'saturated': saturation,
            'log_odds_shift': check.get('log_odds_shift', 0.0),
            'wcs': wcs,
            **kwargs,
        }

    @suggests_names()
    def finder(
        self, *, threshold=None, false_discovery_rate=0.05, n_pixels=1, deblend=True
    ):
        """
        Return a finder for photutils' PSF photometry.

        Parameters
        ----------
        threshold, false_discovery_rate, n_pixels, deblend
            As for `detect`.

        Returns
        -------
        finder : `~bgrem.finder.SourceDetector`
            A callable ``(data, mask=None)`` that runs the network on each image passed
            to it, which must have the shape and the noise of this one, and returns a
            table of the sources. It can be the ``finder`` of
            `~photutils.psf.PSFPhotometry` and `~photutils.psf.IterativePSFPhotometry`.

        Raises
        ------
        ValueError
            If a parameter is out of range, or the weights are for counts.

        Examples
        --------
        >>> import numpy as np
        >>> from bgrem import DiffusionBackground
        >>> y, x = np.mgrid[:64, :64]
        >>> star = 500 * np.exp(-((x - 30) ** 2 + (y - 20) ** 2) / 5)
        >>> data = 100 + star + np.random.default_rng(1).normal(0, 5, (64, 64))
        >>> bkg = DiffusionBackground(data)
        >>> sources = bkg.finder(threshold=0.9)(data)
        >>> print(f'{sources["x"][0]:.1f}, {sources["y"][0]:.1f}')
        30.0, 20.0
        """
        if self._is_counts:
            msg = (
                'finder needs weights that take images without their sky, got those of '
                f'counts {self._meta["weights"]!r}'
            )
            raise ValueError(msg)
        deblend, shift = check_flag('deblend', deblend), 0.0
        check_promise(threshold, false_discovery_rate)
        if threshold is None:
            shift = self._false_discovery['log_odds_shift']
        return SourceDetector(
            self._image,
            self._detector,
            **sampling_of(self._meta),
            size=self._size,
            noise=self._plain_rms(),
            threshold=threshold,
            false_discovery_rate=false_discovery_rate,
            log_odds_shift=shift,
            n_pixels=check_n_pixels(n_pixels),
            deblend=deblend,
            covariance=self._covariance,
        )

    def to_nddata(self):
        """
        Return the background-subtracted image with its mask, error, WCS and header.

        Returns
        -------
        nddata : `~astropy.nddata.CCDData` or `~astropy.nddata.NDData`
            ``data - background`` with mask, WCS and header, if the image came with
            them. Its uncertainty is a standard deviation: the total error where it is
            known (not 0), else `background_rms`. CCDData if the image has a unit.

        Examples
        --------
        >>> import numpy as np
        >>> from bgrem import DiffusionBackground
        >>> y, x = np.mgrid[:64, :64]
        >>> star = 500 * np.exp(-((x - 30) ** 2 + (y - 20) ** 2) / 5)
        >>> data = 100 + star + np.random.default_rng(1).normal(0, 5, (64, 64))
        >>> bkg = DiffusionBackground(data)
        >>> subtracted = bkg.to_nddata()
        >>> subtracted.data.shape, type(subtracted.uncertainty).__name__
        ((64, 64), 'StdDevUncertainty')
        """
        image = self._image
        if image.error is None:
            error = self._plain_rms()
        else:
            error = _fill_unknown(image.error, self._plain_rms)
        values = {
            'uncertainty': StdDevUncertainty(error.copy()),
            'mask': image.unusable,
            'wcs': image.wcs,
            'meta': deepcopy(image.header),
        }
        data = self.subtract()
        if image.unit is None:
            return NDData(data, **values)
        return CCDData(data.value, unit=image.unit, **values)

    def _photon_noise(self, error, effective_gain):
        """Return the gain, and the error of the sky of counts if they have no other."""
        if not (self._is_counts and error is None and effective_gain is None):
            return effective_gain, None
        return 1.0, self._in_double(self.background_uncertainty)

    def _exposure(self):
        """Return the exposure with its unit; None where it is not known."""
        image = self._image
        if image.exposure is None or image.exposure_unit is None:
            return image.exposure
        return image.exposure << image.exposure_unit

    def _late_background(self):
        """Return the sky for a catalog, which may not look at it."""

        def make():
            background = self._in_double(self.background)
            return getattr(background, 'value', background)

        return LateImage(make, self._source.shape, self._image.unit)

    def _in_double(self, values):
        """Return values whose squares float32 may not hold as float64."""
        return values.astype(float) if self._size != 1 else _large_in_double(values)

    def _threshold(self, threshold, false_discovery_rate):
        """Return the threshold on the probability."""
        # Before the network is run once more.
        check_promise(threshold, false_discovery_rate)
        if threshold is None:
            threshold = choose_threshold(
                self._peaks['probability'],
                false_discovery_rate,
                self._false_discovery['log_odds_shift'],
                # maps of counts hold few sources
                nearest=self._is_counts,
            )
            self._warn_once(threshold)
        return threshold

    @cached_property
    def _false_discovery(self):
        """What the image says about its promise, measured at the first use."""
        if self._correction is None:
            return {'log_odds_shift': 0.0}
        check = self._image_check
        shift = check.log_odds_shift(self._correction)
        values = {**asdict(check), 'log_odds_shift': shift}
        del values['noise_shift']  # the shift itself, if at all
        # NaN would not be equal to itself in two copies of meta.
        return {
            name: None if np.isnan(value) else round(value, 4)
            for name, value in values.items()
        }

    @cached_property
    def _image_check(self):
        return self._inspect().check(self._peaks['probability'])

    def _warn_once(self, threshold):
        """Warn, the first time, where the promise cannot be relied upon."""
        found = self._peaks[self._peaks['probability'] >= threshold]
        name, token = '_warning' if found.size else '_hint', object()
        # Of several threads one is the first.
        is_first = vars(self).setdefault(name, token) is token
        if not is_first or self._correction is None:
            return
        doubts = self._doubts(found)
        if doubts and found.size == 0:
            msg = f'other weights may find sources here: {doubts[0]}'
            warnings.warn(msg, AstropyUserWarning, stacklevel=5)
        elif doubts:
            msg = (
                'the fraction of false detections may be far above the '
                f'false_discovery_rate: {"; ".join(doubts)}. Look at the detections '
                'before you use them, count false ones with injected sources, or '
                'ask for a lower rate.'
            )
            warnings.warn(msg, AstropyUserWarning, stacklevel=5)

    def _doubts(self, found):
        """Return what `find_doubts` says, given the peaks that are detections."""
        data, source, noise = (
            in_unit(values, self._size)
            for values in (self._image.data, self._source, self._plain_rms())
        )
        return find_doubts(
            data,
            self._image.unusable,
            source,
            noise,
            found,
            self._image_check,
            **sampling_of(self._meta),
        )

    def _inspect(self):
        """Run the network once more; the evaluation has it run elsewhere."""
        return inspect_image(
            in_unit(self._image.data, self._size),
            self._image.unusable,
            in_unit(self._source, self._size),
            self._peaks,
            **sampling_of(self._meta),
            **self._detector,
        )

    @cached_property
    def _covariance(self):
        """That of the noise; `None` if it is white, as that of photons."""
        if self._is_counts:
            return None
        inputs = self._noise_inputs()
        width = image_width(inputs['source'], inputs['noise'], self._peaks)
        return correlated_noise(**inputs, width=width)

    def _noise_inputs(self):
        """Return the arguments of `bgrem.detect.positions.noise_around` (dict)."""
        data = self.subtract()
        return {
            'data': in_unit(getattr(data, 'value', data), self._size),
            'source': in_unit(self._source, self._size),
            'noise': in_unit(self._plain_rms(), self._size),
            'usable': ~self._image.unusable,
        }

    @cached_property
    def _peaks(self):
        return find_peaks(self._probability, self._image.unusable)


def _known_error(image, error, effective_gain):
    """Return the total error of an image, None where it is not known."""
    if error is None:
        error = image.error
    else:
        error, unusable = parse_error(error, image.data, image.unit)
        error[unusable] = np.nan
    if error is not None and effective_gain is not None:
        msg = (
            'effective_gain must be None if the total error is given, which already '
            'includes the photon noise of the sources'
        )
        raise ValueError(msg)
    return error


def _fill_unknown(error, noise):
    """Return an error map with the noise of the sky where it is 0, not known."""
    unknown = error == 0
    return np.where(unknown, noise(), error) if unknown.any() else error


def _large_in_double(values):
    """Return values of which some have no square in float32 as float64."""
    plain = getattr(values, 'value', values)
    largest = max(np.nanmax(plain, initial=0), -np.nanmin(plain, initial=0))
    return values if largest < _LARGEST_SINGLE else values.astype(float)


def _saturation_level(saturation, unit):
    """Return the saturation level in the unit of the data."""
    level = as_number('saturation', to_data_unit('saturation', saturation, unit))
    if np.isnan(level):
        msg = 'saturation must be a number, got nan'
        raise ValueError(msg)
    return level


def _other_image(data, shape, error, effective_gain):
    """Return data, error, unusable pixels, sky, its error and exposure of an image."""
    from bgrem.detect.places import total_error

    background = rms = sky_error = exposure = None
    if isinstance(data, DetectionMixin):
        image = data._image
        background, exposure = data._late_background(), data._exposure()
        values, rms = map(data._in_double, (data.subtract(), data.background_rms))
    else:
        image = parse_image(data)
        values = _large_in_double(image.data)
        values = values if image.unit is None else values << image.unit
    if image.data.shape != shape:
        msg = f'data must have the shape of the image, {shape}, got {image.data.shape}'
        raise ValueError(msg)
    known = _known_error(image, error, effective_gain)
    if known is not None:
        noise = (lambda: np.nan) if rms is None else data._plain_rms
        known = _large_in_double(_fill_unknown(known, noise))
        known = known if image.unit is None else known << image.unit
    elif rms is not None:
        effective_gain, sky_error = data._photon_noise(known, effective_gain)
        known = total_error(values, rms, effective_gain)
    elif effective_gain is not None:
        msg = (
            'effective_gain needs the noise of the sky, which a plain image does not '
            'have: use a DiffusionBackground as data, or pass the total error'
        )
        raise ValueError(msg)
    return values, known, image.unusable, background, sky_error, exposure


def _warn_of_sky(values, hidden):
    """Warn where an image that should have no sky seems to have one."""
    sky = u.Quantity(values[~hidden]).value
    if sky.size and abs(level := np.median(sky)) > _MAX_SKY * mad_std(sky) > 0:
        msg = (
            f'the median of data outside the sources is {level:.4g}: the sky of an '
            'array must be subtracted; or pass a DiffusionBackground of that image'
        )
        warnings.warn(msg, AstropyUserWarning, stacklevel=5)
