"""
Measure the sky of an image after a denoiser has removed its sources.
"""

from dataclasses import replace
from functools import cached_property

import numpy as np
from astropy import units as u
from astropy.utils.masked import Masked
from photutils.background import Background2D

from bgrem.checks import check_flag, suggests_names
from bgrem.detections import DetectionMixin
from bgrem.inputs import parse_image, to_data_unit
from bgrem.pipeline import separate, with_threads
from bgrem.sky.blank import blank_pixels, wild_pixels
from bgrem.sky.boxes import measure_sky
from bgrem.sky.choice import (
    choose_one_box,
    chosen_estimators,
    is_automatic,
)
from bgrem.sky.count_level import counts_sky
from bgrem.sky.counts import CountsLevel, counts_estimators
from bgrem.sky.given import correct_levels, sky_in_boxes
from bgrem.sky.maps import interpolate_mesh
from bgrem.sky.normalize import check_factor
from bgrem.sky.parent import (
    NOTHING_MEASURED,
    check_as_parent,
    check_options,
    check_values,
    count_boxes,
    describe,
    filtered_boxes,
    given_options,
    is_fixed,
    levels_as_parent,
    measured_boxes,
    merge_signatures,
    silent_mask,
)
from bgrem.sky.stripes import measure_stripes
from bgrem.sky.trend import find_trend
from bgrem.sky.uncertainty import mesh_standard_error
from bgrem.sky.units import (
    binary_unit,
    error_in_unit,
    factor_in_unit,
    in_unit,
    is_count,
    warn_of_rounding,
)

__all__ = ['DiffusionBackground']

_COUNTS_WEIGHTS = 'fermi-lat'
# in units of the noise; what is left of a brighter source is not noise alone
_SOURCE_FREE = 0.5


class DiffusionBackground(DetectionMixin, Background2D):
    """
    Class to separate an image into sky, noise and sources with a denoiser.

    A diffusion denoiser first separates the sources. The sky and its noise are then
    measured on what is left: by the parent class,
    `photutils.background.Background2D`, with your box size, masks and estimators, or
    in boxes chosen from the image. Every parameter, attribute, error and warning of
    the parent class is available and has the same meaning.

    Parameters
    ----------
    data : array_like, `~astropy.units.Quantity` or `~astropy.nddata.NDData`
        The 2D image, of any real dtype and byte order. It is not changed. The mask of
        a masked array is used. A gammapy map (``WcsNDMap``) with one energy bin is
        also accepted, with its WCS.
    box_size : int, array_like of 2 int or 'auto', optional
        The size ``(ny, nx)`` of the boxes in which the sky is measured. With
        ``'auto'`` (default), the boxes, which may differ over the image, and any
        options of Background2D that are not given are chosen from the image (see
        Notes); the attributes report the choice.
    mask : 2D array_like of bool, optional
        `True` at bad pixels, which must not be used. No sources are found there, and
        the sky is interpolated. Sources do not need to be masked.
    coverage_mask : 2D array_like of bool, optional
        `True` where the image has no data. The sky maps are ``fill_value`` there.
    fill_value : float or `~astropy.units.Quantity`, optional
        The value of the sky maps where ``coverage_mask`` is `True`. Default 0.
    exclude_percentile : float, optional
        Boxes with more than this percentage of unusable pixels are excluded.
        Default 10, but 100 with ``box_size='auto'``.
    filter_size : int or array_like of 2 int, optional
        The size of the median filter applied to the mesh of boxes. Default
        ``(3, 3)``.
    filter_threshold : float or `~astropy.units.Quantity`, optional
        Filter only boxes above this value. Default: all.
    sigma_clip : `~astropy.stats.SigmaClip` or `None`, optional
        How the pixels of a box are clipped. Default: at 3 sigma, at most 10 times.
    bkg_estimator, bkg_rms_estimator : callable, optional
        The estimators of the sky and the noise in a box. Default:
        `~photutils.background.SExtractorBackground` and
        `~photutils.background.StdBackgroundRMS`.
    error : 2D array_like, Quantity, NDData or NDUncertainty, optional
        The total 1-sigma error of each pixel, as a pipeline provides it, including the
        photon noise of the sources. A plain array is in the unit of the data. The sky
        part of the error scales the image for the network (see Notes), and `catalog`
        uses the error for the flux errors. Pixels where it is negative, masked or not
        finite (an inverse variance of 0) are masked; 0 means that the error is not
        known. Default: the uncertainty of `~astropy.nddata.NDData` input, if it has one
        (a standard deviation, variance or inverse variance).
    exposure : 2D array_like, Quantity, NDData or gammapy map, optional
        For the weights for counts: the exposure of each pixel, relative or in cm2 s.
        The expected level of the sky follows it, and catalogs contain fluxes (counts
        divided by exposure) in addition to counts. Pixels where it is not positive are
        masked.
    remove_stripes : bool, optional
        Whether to first remove stripes: rows and columns that are brighter or darker
        along their whole length, from the 1/f noise and bias of some detectors
        (`bgrem.sky.stripes.measure_stripes`). They become part of `background`, but
        not of its mesh or of the noise. Default `False`: strong stripes are hidden
        from the network, but stay in the image (`bgrem.sky.lines`).
    weights : str, path-like or `bgrem.weights.Weights`, optional
        The name of weights in the package (see `bgrem.list_weights`) or the path of a
        ``.safetensors`` file. Default ``'optical'``.
    n_steps : int, optional
        The number of diffusion steps. Default: that of the weights.
    n_symmetries : {1, 2, 4, 8}, optional
        The number of rotated and flipped views of the image over which the network is
        averaged. More views find more sources; the cost is proportional to their
        number. Default 1.
    normalization : {'local', 'global'}, float or 2D array_like, optional
        How the image is centered and scaled for the network: ``'local'`` (default)
        uses maps of its sky and noise; ``'global'`` uses its median and a single
        factor, as in the paper; a float is that factor; a 2D array gives a factor for
        each pixel.
    device : str, optional
        ``'auto'`` (default), ``'cpu'``, ``'cuda'``, ``'cuda:1'`` or ``'mps'``.
    batch_size : int, optional
        The number of tiles that go through the network at once. It does not change
        the result. Default: depends on the device.
    progress : bool or str, optional
        Whether to show progress bars for each pass of the network and for the
        catalog. A string is prepended to their labels. Default `False`.
    use_nddata_mask : bool, optional
        Whether to use the mask and the uncertainty of `~astropy.nddata.NDData` input,
        which the parent class ignores. Default `True`.
    **options
        Any other parameter of the installed `~photutils.background.Background2D`,
        such as ``n_threads`` (photutils 3.1 and later).

    Raises
    ------
    TypeError
        If the data are not real numbers, or an option is unknown.
    ValueError
        If a parameter is out of range, shapes differ, or there is no usable pixel.

    Notes
    -----
    The constructor separates the sources and measures the sky. Two things are computed
    at their first use: the check of the ``false_discovery_rate``, which runs the
    network once more over the image (over a megapixel of a large one), and
    `background_uncertainty`, which simulates some noise. Results never change, so an
    instance can be shared by threads and pickled. Arrays are returned as new copies,
    except for `background_mesh`, `background_rms_mesh` and `n_pixels_mesh`. The
    instance holds a copy of the data, the source image and the probability.

    Maps are float64 for float64 data, else float32. Non-finite values are masked, with
    the warning of the parent class. Areas that were filled with a constant, such as
    zeros in the corners of a rotated frame, are also masked, without a warning, unless
    this would leave no box (see `bgrem.sky.blank.blank_pixels`).

    With ``box_size='auto'``, the level of a box of 4 px (8 to 32 px where the noise of
    neighboring pixels is correlated) is the mean of its pixels within 4 standard
    deviations, which is unbiased for noise of any shape. From coarse to fine scales, it
    is determined at each place how much structure the sky has on the next smaller scale
    (`bgrem.sky.scales.fit_surface`). Where none is seen, the sky is as smooth as that
    of the whole image, with its error; steps stay sharp. Where nothing can be measured
    (masked pixels, pixels beneath galaxies, satellite trails), the sky continues that
    of the surroundings. The mesh consists of the smallest boxes that were needed
    anywhere. Options that define the measurement (``filter_size``,
    ``exclude_percentile``, ``sigma_clip``, an estimator) require boxes of a single
    size. If one of them is given, this size and the other options are chosen from the
    image (`bgrem.sky.choice.choose_one_box`).

    In boxes of a single size, the parent class measures the sky. If an estimator or
    ``sigma_clip`` is given, the meshes are exactly those of the parent class on ``data
    - source``. With its default estimators, three corrections are made, using the sky
    in automatic boxes, which is measured as well. (1) A strong gradient, which the
    median filter and the borders of a mesh would flatten, is subtracted before the
    measurement and added back afterwards, if a polynomial of second degree leaves at
    most a twentieth of the variance of that sky (`bgrem.sky.trend.find_trend`). If an
    estimator is given, only the maps follow the gradient; with ``filter_threshold``,
    nothing does. (2) Pixels beneath galaxies, where a tenth of their light may be left,
    are not used. (3) All boxes are raised by the amount by which the default mode, 2.5
    median - 1.5 mean, falls short of the mean for skewed noise, if this is significant
    (`bgrem.sky.given.correct_levels`).

    The network sees the image divided by its noise, which is measured in boxes of 48
    px. With ``error``, its fine structure is that of the error map: a border with fewer
    exposures, a noisy column. The level of the map is checked on the image, so a
    constant factor does no harm, and the photon noise of the sources is removed from it
    (`bgrem.sky.error_map.sky_error`). The map is not used for this if it explains the
    image less well than the boxes do, if the counts are so few that single pixels have
    no errors, or if ``normalization`` is not ``'local'``. `background_rms` is measured
    on the sky, with or without ``error``.

    Where a pixel holds fewer than four counts, clipping at 3 standard deviations
    removes photons of the sky. If neither estimators nor ``sigma_clip`` are given, the
    sky and noise of such an image are the mean and standard deviation of its pixels,
    with less clipping (`bgrem.sky.counts.CountsClip`), and the light of `source` is
    limited to that in the data (`bgrem.sky.counts.limit_light`). No gradient is
    subtracted.

    The maps are interpolated from the meshes with the cubic interpolation of the parent
    class (`bgrem.sky.maps.interpolate_mesh`) or the deprecated ``interpolator``. With
    automatic boxes, they are extrapolated linearly beyond the outermost box centers.

    Examples
    --------
    >>> import numpy as np
    >>> from bgrem import DiffusionBackground
    >>> data = np.random.default_rng(1).normal(1000, 5, (100, 100))
    >>> bkg = DiffusionBackground(data)
    >>> bkg.background.shape, bkg.box_size
    ((100, 100), array([32, 32]))
    >>> DiffusionBackground(data, 25).background_mesh.shape
    (4, 4)
    >>> bool(np.allclose(bkg.background + bkg.source + bkg.noise, data))
    True
    """

    @suggests_names('photutils.background:Background2D')
    @with_threads
    def __init__(
        self,
        data,
        box_size='auto',
        *,
        mask=None,
        coverage_mask=None,
        error=None,
        exposure=None,
        remove_stripes=False,
        weights='optical',
        n_steps=None,
        n_symmetries=1,
        normalization='local',
        device='auto',
        batch_size=None,
        progress=False,
        use_nddata_mask=True,
        **options,
    ):
        from bgrem.weights import load_weights

        remove_stripes = check_flag('remove_stripes', remove_stripes)
        image = parse_image(
            data,
            mask=mask,
            coverage_mask=coverage_mask,
            error=error,
            exposure=exposure,
            use_nddata_mask=check_flag('use_nddata_mask', use_nddata_mask),
        )
        for name in ('fill_value', 'filter_threshold'):
            if name in options:
                options[name] = to_data_unit(name, options[name], image.unit)
        check_values(box_size, options)
        weights = load_weights(weights)
        _check_counts(image, weights, remove_stripes=remove_stripes)
        automatic = is_automatic(box_size)
        if automatic:
            check_options(image, options)
        else:
            check_as_parent(image, box_size, options)
        if not automatic:
            box_size = np.array(box_size, dtype=int)
        image = _hide_blank(image, None if automatic else box_size, options)
        self._stripes = None
        if remove_stripes:
            unit = binary_unit(image.data, image.unusable)
            stripes = measure_stripes(in_unit(image.data, unit), image.unusable)
            self._stripes = [levels * unit for levels in stripes]
            data = image.data - self._stripe_map(image.data.dtype)
            image = replace(image, data=data)
        # what cannot be squared is measured in a unit of its own
        is_free = options.get('interpolator') is None and not weights.is_for_counts
        self._size = binary_unit(image.data, image.unusable) if is_free else 1.0
        # kept for the flipped residual: neither array nor file may change till then
        self._detector = {
            'error': error_in_unit(image.error, self._size),
            'exposure': image.exposure,
            'weights': weights,
            'n_symmetries': n_symmetries,
            'normalization': factor_in_unit(normalization, self._size),
            'device': device,
            'batch_size': batch_size,
            'progress': progress,
        }
        unit, data = self._size, in_unit(image.data, self._size)
        separation = self._separate(data, image.unusable, n_steps=n_steps)
        self._image = image
        # never changed, and so not copied
        self._source = separation.source
        if unit != 1:
            self._source = separation.source * unit
        self._probability = separation.probability
        self._correction = separation.correction
        unusable, noise = image.unusable, separation.normalization.scale
        if not isinstance(normalization, str):
            check_factor(separation.normalization, data, unusable)
        if data.dtype == np.float32 and not noise[~unusable].any():
            warn_of_rounding(image.data[~unusable])
        separation = replace(separation, normalization=None)  # as large as the image
        step, self._is_counts = separation.step, weights.is_for_counts
        if self._is_counts:
            sky = counts_sky(separation.sky, separation.sky_error)
        else:
            sky = measure_sky(
                data,
                separation.source,
                ~unusable,
                noise,
                separation.step,
                separation.meta['binning'],
            )
        del noise  # as large as the image
        self._large, self._trails = sky.beneath, sky.trails
        self._bounds = None
        if not (self._is_counts or unusable.all()):
            self._bounds = _bounds(image.data, unusable)
        # of single counts there are no less than none, beyond the borders neither
        self._edges = 'reflect' if step else 'linear'
        if automatic and not given_options(options):
            self._take_boxes(sky, options)
        else:
            is_free = not is_fixed(options)
            options |= counts_estimators(step, options)
            residual = data - separation.source
            if automatic:
                # a box may lose to the clipping what its mask has left
                rest, mask = replace(image, data=residual), silent_mask(image)
                box_size, options = choose_one_box(
                    sky,
                    residual.shape,
                    options,
                    lambda *choice: count_boxes(mask, rest, *choice, clip=True),
                )
            self._measure_boxes(sky, residual, box_size, options, is_free=is_free)
        self._meta = {
            **separation.meta,
            **_given_factor(normalization),
            'remove_stripes': remove_stripes,
            'boxes': 'auto' if automatic else 'given',
            'box_size': tuple(int(size) for size in self.box_size),
            'filter_size': tuple(int(size) for size in self.filter_size),
        }

    def _separate(self, data, mask, **options):
        """Separate the sources; the evaluation has them separated elsewhere."""
        return separate(data, mask, **self._detector, **options)

    def _take_boxes(self, sky, options):
        """Take sky and noise in the boxes that the image chose."""
        image = self._image
        # the parent only counts the pixels
        options = {**options, 'filter_size': 1, 'exclude_percentile': 100.0}
        options.update(NOTHING_MEASURED)
        super().__init__(
            image.data if image.unit is None else image.data << image.unit,
            sky.box_size,
            mask=silent_mask(image),
            coverage_mask=image.coverage_mask,
            **options,
        )
        for name, value in chosen_estimators().items():
            setattr(self, name, value)
        if self._edges != 'linear':
            sky = replace(sky, level=np.maximum(sky.level, 0))
        level, noise, self._error_mesh = sky.meshes(
            self._size, image.data.dtype, self._bounds
        )
        self._level_mesh, self._noise_mesh = map(self._with_unit, (level, noise))
        self._interpolates = True

    def _measure_boxes(self, sky, residual, box_size, options, *, is_free):
        """Have the parent measure what is left of the image, in boxes of one size."""
        image, hidden = replace(self._image, data=residual), silent_mask(self._image)
        is_covered = False
        if is_free and sky.beneath.any():
            wider = sky.beneath if hidden is None else sky.beneath | hidden
            is_covered = count_boxes(wider, image, box_size, options, clip=True) == 0
            hidden = hidden if is_covered else wider
        is_counts = isinstance(options.get('bkg_estimator'), CountsLevel)
        threshold = options.get('filter_threshold')
        if threshold is not None:
            options = {**options, 'filter_threshold': in_unit(threshold, self._size)}
        self._interpolates = options.get('interpolator') is None
        trend, level = None, 0
        if self._interpolates and not is_counts:
            if threshold is None:
                trend = find_trend(sky, residual.shape, box_size)
            if is_free:
                # float32 would round the statistics of a high sky
                level = np.median(sky.level).astype(residual.dtype)
                residual = residual - (
                    level if trend is None else trend.image(residual.dtype)
                )
        super().__init__(
            residual if image.unit is None else residual << image.unit,
            box_size,
            mask=hidden,
            coverage_mask=image.coverage_mask,
            **options,
        )
        self._is_measured = measured_boxes(self)
        self._is_filtered = filtered_boxes(self, residual, hidden, options)
        mesh, noise = (
            _plain(values)
            for values in (super().background_mesh, super().background_rms_mesh)
        )
        self.filter_threshold = threshold  # the parent filters when it is asked
        self._error_mesh, self._trend = None, trend and trend.times(self._size)
        if trend is None:
            mesh = mesh + level
        elif is_free:
            self._trend_mesh = trend.mesh(mesh.shape, self.box_size).astype(mesh.dtype)
            mesh = mesh + self._trend_mesh
        else:
            # the mesh is the parent's, which has the trend as the parent sees it
            self._trend_mesh = levels_as_parent(
                trend.image(residual.dtype), hidden, self, options
            )
        if is_free and self._is_counts:
            # the mean of counts misses nothing, and their noise is known
            noise = np.sqrt(np.maximum(mesh, 0))
        elif is_free:
            boxes = sky_in_boxes(sky, ~image.unusable, self.box_size)
            # where galaxies cover all boxes the parent measured their light
            measured = self._is_measured & ~(boxes.beneath & is_covered)
            mesh = correct_levels(mesh, noise, measured, boxes)
        if trend is not None:
            self._trend_mesh = self._trend_mesh * self._size
        self._level_mesh = self._with_unit(mesh * self._size)
        self._noise_mesh = self._with_unit(noise * self._size)

    def __repr__(self):
        values = [f'{name}={value!r}' for name, value in self._parameters()]
        return f'{type(self).__name__}({", ".join(values)})'

    def __str__(self):
        values = [f'{name}: {value!r}' for name, value in self._parameters()]
        name = f'<{type(self).__module__}.{type(self).__name__}>'
        return '\n'.join([name, *values])

    def _parameters(self):
        own = ('weights', 'n_steps', 'normalization')
        return describe(self, self._image) + [(key, self._meta[key]) for key in own]

    def _with_unit(self, values):
        return values if self._image.unit is None else values << self._image.unit

    @property
    def background_mesh(self):
        """
        The sky level of each box (2D, unit of the data), always the same array.
        """
        return self._level_mesh

    @property
    def background_rms_mesh(self):
        """
        The noise of each box, 1 sigma (2D, unit of the data), always the same array.
        """
        return self._noise_mesh

    @property
    def background(self):
        """
        The sky level at each pixel (2D, unit of the data), a new array; includes the
        stripes removed by ``remove_stripes``.
        """
        background = self._smooth_background()
        if self._stripes is not None:
            stripes = self._stripe_map(background.dtype)
            if self.coverage_mask is not None:
                stripes[self.coverage_mask] = 0
            background += self._with_unit(stripes)
        return background

    def _stripe_map(self, dtype):
        rows, columns = (levels.astype(dtype) for levels in self._stripes)
        return rows[:, None] + columns

    def _smooth_background(self):
        if not self._interpolates:
            return super().background
        if self._error_mesh is not None:
            # straight on beyond the outer boxes, but not beyond all that was measured
            options = {'edges': self._edges, 'bounds': self._bounds}
            return self._as_map(self.background_mesh, **options)
        if self._trend is None:
            return self._as_map(self.background_mesh)
        deviation = _plain(self.background_mesh) - self._trend_mesh
        return self._as_map(deviation, trend=self._trend, bounds=self._bounds)

    @property
    def background_rms(self):
        """
        The noise at each pixel, 1 sigma (2D, unit of the data), a new array.
        """
        if not self._interpolates:
            return super().background_rms
        return self._as_map(self.background_rms_mesh)

    @property
    def background_uncertainty(self):
        """
        The standard error of `background` (2D, unit of the data), a new array.

        This is the error caused by the noise of the pixels. With automatic boxes, it is
        propagated from scale to scale (see `bgrem.sky.scales.Surface`). With boxes of a
        single size, it is propagated through the median filter of the mesh and includes
        the effects of the estimator and of correlated noise (see
        `bgrem.sky.uncertainty.box_variance`). It then holds at the centers of the
        boxes; between them, where the interpolation averages, it is up to 20% (without
        a filter, 40%) too large. Light left by the denoiser and sky structure smaller
        than a box are not included. Masked and non-finite pixels are interpolated over;
        without coverage it is ``fill_value``.
        """
        return self._as_map(self._standard_error_mesh)

    @with_threads
    def _as_map(self, mesh, *, edges='reflect', bounds=None, trend=None):
        """Return a map of the image, with its unit, from the values of the boxes."""
        shape, dtype = self._source.shape, self._source.dtype
        mesh = _plain(mesh)
        image = interpolate_mesh(mesh, shape, self.box_size, dtype, edges=edges)
        if trend is not None:
            image += trend.image(dtype)
        if bounds is not None:
            np.clip(image, *bounds, out=image)
        if self.coverage_mask is not None:
            image[self.coverage_mask] = self.fill_value
        return self._with_unit(image)

    @cached_property
    def _standard_error_mesh(self):
        """Return the standard error of the sky of each box."""
        if self._error_mesh is not None:
            return self._error_mesh
        rms = self._plain_rms()
        with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
            noise = _plain(self.noise) / rms
        usable = ~self._image.unusable & np.isfinite(noise)
        usable &= np.abs(self._source) < _SOURCE_FREE * rms
        return self._size * mesh_standard_error(
            noise,
            usable,
            in_unit(_plain(self.background_rms_mesh), self._size),
            self.n_pixels_mesh,
            self._is_measured,
            box_size=self.box_size,
            filter_size=self.filter_size,
            is_filtered=self._is_filtered,
            sigma_clip=self.sigma_clip,
            bkg_estimator=self.bkg_estimator,
            bkg_rms_estimator=self.bkg_rms_estimator,
        )

    @property
    def source(self):
        """
        The image of the sources alone (2D, unit of the data), a new array.

        It is not clipped and can be negative. It is 0 where the data are masked or not
        finite, and where no noise can be measured (constant data).
        """
        return self._with_unit(self._source.copy())

    @property
    def noise(self):
        """
        The noise that was removed, ``data - background - source`` (2D, unit of the
        data), a new array; not finite where the data are not finite.
        """
        noise = self.subtract()
        noise -= self.source
        return noise

    @property
    def meta(self):
        """
        How the sources were found, as a new dict: version of the package, name and
        sha256 of the weights, steps, normalization and device. ``'boxes'`` is
        ``'auto'`` if the boxes were chosen from the image, else ``'given'``;
        ``'box_size'`` and ``'filter_size'`` are the attributes of these names.
        ``'binning'`` is the side, in pixels, of the squares into which the image was
        binned for the network: 1 unless the image is broader or smoother than the
        training data (see `bgrem.sky.sampling.choose_sampling`). ``'sharpening'`` is
        the standard deviation, in pixels, of the Gaussian that was deconvolved from an
        image whose noise is as smooth as its sources, and 0 for all others.

        Once a ``false_discovery_rate`` has been used, ``'false_discovery'`` holds what
        the image itself says about its probabilities (see
        `bgrem.detect.discovery.ImageCheck`): the sums ``promised`` and ``flipped`` (for
        few photons: of redrawn photons) over false peaks, the ``correlation`` and
        ``skewness`` of the noise, the ``width`` of the compact sources (FWHM in pixels;
        `None` if there are too few), and the ``log_odds_shift`` by which the
        probabilities are corrected. For weights without a calibration of this shift, it
        is 0 and the only entry.
        """
        meta = dict(self._meta)
        if (check := vars(self).get('_false_discovery')) is not None:
            meta['false_discovery'] = dict(check)
        return meta

    @suggests_names()
    def subtract(self, data=None, *, denoise=False, clip=False):
        """
        Subtract the sky from an image.

        Parameters
        ----------
        data : array_like, `~astropy.units.Quantity` or NDData, optional
            Another image of the same shape with the same sky. Default: the image
            itself.
        denoise : bool, optional
            Whether to remove the noise too, and return `source`. Default `False`.
        clip : bool, optional
            Whether to set negative values to zero, as in the paper; photometry on
            the result is then biased. Default `False`.

        Returns
        -------
        image : 2D `~numpy.ndarray` or `~astropy.units.Quantity`
            ``data - background``, with noise symmetric about zero, or the source
            image. Non-finite values stay as they are. If ``data`` is a masked array (of
            numpy or astropy), so is the result, with the same mask.

        Raises
        ------
        ValueError
            If ``data`` has another shape, or is given together with ``denoise``.
        UnitConversionError
            If only one of data and background has a unit, or the units are not
            convertible.

        Examples
        --------
        >>> import numpy as np
        >>> from bgrem import DiffusionBackground
        >>> y, x = np.mgrid[:64, :64]
        >>> star = 500 * np.exp(-((x - 30) ** 2 + (y - 20) ** 2) / 5)
        >>> data = 100 + star + np.random.default_rng(1).normal(0, 5, (64, 64))
        >>> bkg = DiffusionBackground(data)
        >>> bool(np.allclose(bkg.subtract(), data - bkg.background))
        True
        >>> bool(bkg.subtract(denoise=True, clip=True).min() >= 0)
        True
        """
        clip = check_flag('clip', clip)
        if check_flag('denoise', denoise):
            if data is not None:
                msg = 'data must be None with denoise=True, which returns the source'
                raise ValueError(msg)
            image = self.source
        else:
            if data is None:
                # the stripes are out of the image already
                other, background = self._image, self._smooth_background()
            else:
                other, background = parse_image(data), self.background
            if other.data.shape != self._source.shape:
                msg = (
                    f'data must have the shape of the background, '
                    f'{self._source.shape}, got {other.data.shape}'
                )
                raise ValueError(msg)
            values = other.data if other.unit is None else other.data << other.unit
            try:
                image = values - background
            except u.UnitConversionError:
                msg = (
                    'data must have the unit of the background, '
                    f'{self._image.unit or "none"}, got {other.unit or "no unit"}'
                )
                raise u.UnitConversionError(msg) from None
        if clip:
            image[image < 0] = 0
        if isinstance(data, np.ma.MaskedArray):
            mask = np.ma.nomask if other.mask is None else other.mask
            return np.ma.MaskedArray(image, mask, fill_value=data.fill_value)
        return Masked(image, other.mask) if isinstance(data, Masked) else image

    @suggests_names('bgrem.plotting:plot_background')
    def plot(self, **kwargs):
        """
        Plot data, sky, noise level, sources, noise and segments side by side.

        Parameters
        ----------
        **kwargs
            Passed to `bgrem.plotting.plot_background`. With NDData input, the axes use
            its WCS.

        Returns
        -------
        figure : `~matplotlib.figure.Figure`
            The figure.

        Raises
        ------
        ImportError
            If matplotlib is not installed.

        Examples
        --------
        >>> import numpy as np
        >>> from bgrem import DiffusionBackground
        >>> y, x = np.mgrid[:64, :64]
        >>> star = 500 * np.exp(-((x - 30) ** 2 + (y - 20) ** 2) / 5)
        >>> data = 100 + star + np.random.default_rng(1).normal(0, 5, (64, 64))
        >>> bkg = DiffusionBackground(data)
        >>> bkg.plot().savefig('picture.png')  # doctest: +SKIP
        """
        from bgrem.plotting import plot_background

        return plot_background(self, **{'wcs': self._image.wcs, **kwargs})

    def _repr_html_(self):
        """Return a small picture and a table; None, for the text, if it cannot."""
        from bgrem.plotting import make_html

        return make_html(self)

    def _plain_rms(self):
        """Return the noise map without its unit."""
        return _plain(self.background_rms)


DiffusionBackground.__signature__ = merge_signatures(DiffusionBackground)


def _check_counts(image, weights, *, remove_stripes):
    """Refuse options that only weights for counts, or all but those, can use."""
    if not weights.is_for_counts:
        if image.exposure is not None:
            msg = (
                f'exposure needs weights for counts ({_COUNTS_WEIGHTS!r}), got the '
                f'weights {weights.name!r}'
            )
            raise ValueError(msg)
        return
    if not is_count(image.unit):
        msg = (
            f'data must be counts for the weights {weights.name!r}, got the unit '
            f'{image.unit}: convert them; for rates, pass the counts and the exposure'
        )
        raise ValueError(msg)
    if remove_stripes:
        msg = (
            f'remove_stripes must be False for the weights for counts {weights.name!r}'
        )
        raise ValueError(msg)
    usable = image.data[~image.unusable]
    if usable.size and usable.min() < 0:
        msg = (
            'data must be counts, which are not negative, for the weights '
            f'{weights.name!r}, got {usable.min():.4g}: the sky must not be subtracted'
        )
        raise ValueError(msg)


def _hide_blank(image, box_size, options):
    """Return the image that knows its blank pixels, if enough others are left."""
    blank = blank_pixels(image.data, image.unusable)
    blank |= wild_pixels(image.data, image.unusable | blank)
    if not blank.any():
        return image
    hidden = replace(image, blank=blank)
    if box_size is None:
        is_enough = not hidden.unusable.all()
    else:
        # where no box is left the parent would raise, and only because of what we hide
        is_enough = count_boxes(silent_mask(hidden), image, box_size, options) > 0
    return hidden if is_enough else image


def _bounds(data, unusable):
    """Return the least and the largest usable value of an image."""
    seen = True if not unusable.any() else ~unusable
    return data.min(where=seen, initial=np.inf), data.max(where=seen, initial=-np.inf)


def _given_factor(normalization):
    """Return what `meta` says of a factor in the unit of the data."""
    if normalization is None or isinstance(normalization, str):
        return {}
    return {'normalization': normalization if np.ndim(normalization) == 0 else 'map'}


def _plain(values):
    """Return values without their unit."""
    return getattr(values, 'value', values)
