"""
The catalog: what is measured for each source, on the unclipped data.
"""

import warnings
from contextlib import contextmanager
from itertools import count

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io.fits import Header
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs.wcsapi import BaseHighLevelWCS, BaseLowLevelWCS, HighLevelWCSWrapper
from photutils.segmentation import SegmentationImage
from tqdm.auto import tqdm

from bgrem.checks import check_finite
from bgrem.detect.flags import detection_flags
from bgrem.detect.growth import light_fraction, star_growth
from bgrem.detect.places import Sources, not_infinite, plain

__all__ = ['catalog', 'check_options']

# Radii of the circular apertures in FWHM of the image. A star and a galaxy differ most
# in the light within the first over that within the last.
_APERTURE_FWHM = (0.5, 1.0, 1.5)


def catalog(
    data,
    segmentation_image,
    *,
    source,
    probability,
    background_rms,
    error=None,
    effective_gain=None,
    sky_error=None,
    aperture_correction=False,
    exposure=None,
    mask=None,
    measured=None,
    zero_point=None,
    aperture_radii=None,
    large=None,
    trails=None,
    saturated=None,
    log_odds_shift=0.0,
    progress=None,
    whole=None,
    **kwargs,
):
    """
    Measure the detected sources on the unclipped data.

    Parameters
    ----------
    data : 2D `~numpy.ndarray` or `~astropy.units.Quantity`
        The background-subtracted image, including its negative pixels.
    segmentation_image : `~photutils.segmentation.SegmentationImage`
        One label per source; without labels, the catalog has no rows.
    source : 2D `~numpy.ndarray` or `~astropy.units.Quantity`
        The denoised image. Shapes and the sizes of the Kron apertures are measured on
        it, but not fluxes.
    probability : 2D `~numpy.ndarray` of float
        The calibrated detection probability.
    background_rms : 2D `~numpy.ndarray` or `~astropy.units.Quantity`
        The noise of the sky.
    error : 2D `~numpy.ndarray` or `~astropy.units.Quantity`, optional
        The total error of each pixel. Default: from ``background_rms`` and
        ``effective_gain``.
    effective_gain : float, 2D array_like or `~astropy.units.Quantity`, optional
        Electrons (or photons) per data unit. If given, the photon noise of
        the sources is added to the errors. If ``data`` have a unit, a plain number
        means electrons per data unit.
    sky_error : 2D `~numpy.ndarray` or `~astropy.units.Quantity`, optional
        The standard error of the sky that is subtracted from the image on which the
        fluxes are measured, which is the same for neighboring pixels. If given, its sum
        is included in their errors.
    aperture_correction : bool, optional
        Whether to add the columns ``total_flux`` and ``total_flux_err``: the Kron
        flux and its error, divided by the fraction of a star's light within a circle as
        large as the Kron aperture, from the stars of the image
        (`bgrem.detect.growth.star_growth`). NaN, with a warning, if the image has no
        suitable star. Default `False`.
    exposure : 2D `~numpy.ndarray` or `~astropy.units.Quantity`, optional
        The exposure of each pixel. If given, the columns ``exposure`` (at the
        position), ``flux`` and ``flux_err`` are added: the flux in the segment (with
        ``aperture_correction``, the total flux) divided by the exposure.
    mask : 2D `~numpy.ndarray` of bool, optional
        True at pixels to exclude from all measurements.
    measured : tuple of 3, optional
        Another image on the same pixel grid, on which the fluxes are measured: its data
        without the sky, its error and its mask, each or the last two `None` if there is
        none. Positions and shapes are still those of ``data``.
    zero_point : float, optional
        The magnitude of one data unit. If given, magnitudes are added.
    aperture_radii : sequence of float, optional
        Radii of the circular apertures in pixels. Default: 0.5, 1 and 1.5 times the
        FWHM of the compact sources of the image.
    large : 2D `~numpy.ndarray` of bool, optional
        True where large sources hide the sky, for the flags.
    trails : 2D `~numpy.ndarray` of bool, optional
        True on trails, for the flags.
    saturated : 2D `~numpy.ndarray` of bool, optional
        True at saturated pixels. Default: pixels that look saturated.
    log_odds_shift : float, optional
        The shift of the log-odds of the probability from the check of the image.
    progress : str or `None`, optional
        The label of a progress bar; `None` (default) shows none.
    whole : `bgrem.detect.places.WholeImage`, optional
        Properties of the whole image, if this is a part of one. Default: this is the
        whole image.
    **kwargs
        Passed to `~photutils.segmentation.SourceCatalog`: ``wcs``,
        ``local_bkg_width``, ``kron_params``, ...

    Returns
    -------
    catalog : `~bgrem.detect.sources.DetectionCatalog`
        The catalog, with the additional properties and table columns that are described
        in the user guide.

    Notes
    -----
    Apertures are centered on the positions (`bgrem.detect.sources.DetectionCatalog`).
    Everything else is photutils' own: a catalog of the data whose ``detection_catalog``
    is that of the denoised image. The Kron apertures have the size measured there; on
    the data, it would increase with the noise. Compared with photutils 3.0, version 3.1
    gives the narrowest sources another shape, and all sources smaller aperture errors,
    as it weights the variance of a pixel that is partly in an aperture by the square of
    the fraction inside; ``flux_radius`` is that of the denoised image with 3.0 and that
    of the data with 3.1.
    """
    is_empty = segmentation_image.n_labels == 0
    if is_empty:
        # photutils has no catalog of nothing: one of something, without its row
        segmentation_image = _brightest_pixel(plain(data), mask)
    if measured is not None:
        measured = (not_infinite(measured[0]), *measured[1:])
    sources = Sources(
        data,
        segmentation_image,
        source=source,
        probability=probability,
        background_rms=background_rms,
        error=error,
        effective_gain=effective_gain,
        mask=mask,
        whole=whole,
        options=kwargs,
    )
    n_circles = len(_APERTURE_FWHM if aperture_radii is None else aperture_radii)
    with _stages(progress, n_circles + 5) as begin:
        begin('positions')
        positions = sources.positions
        has_background = 'background' in kwargs
        result = sources.catalog(measured, sky_error=sky_error, **kwargs)
        detected = result
        if measured is not None:
            kwargs.pop('background', None)  # of the other image
            detected = sources.catalog(**kwargs)
        begin('profile of the stars')
        radii = [k * positions.width for k in _APERTURE_FWHM]
        if whole is None:
            growth = star_growth(sources.source, segmentation_image, detected)
        else:
            growth = whole.growth
        begin('half-light radii')
        result.add_property('half_light_radius', sources.places.flux_radius(0.5))
        circles = radii if aperture_radii is None else list(aperture_radii)
        _add_fluxes(result, circles, begin)
        begin('concentration')
        _add_concentration(result, detected, radii[0], radii[-1], growth)
    flags = detection_flags(
        segmentation_image,
        positions,
        data=plain(sources.data),
        source=sources.source,
        noise=sources.noise,
        unusable=sources.unusable,
        kron_flux=plain(result.kron_flux),
        missing=None if measured is None else measured[2],
        large=large,
        trails=trails,
        saturated=saturated,
        log_odds_shift=log_odds_shift,
    )
    result.add_property('detection_flags', flags)
    if aperture_correction:
        fraction = light_fraction(result.kron_aperture, *growth)
        for name in ('flux', 'flux_err'):
            total = getattr(result, f'kron_{name}') / fraction
            result.add_property(f'total_{name}', total)
    if exposure is not None:
        # among photons a Kron aperture often reaches into the neighbors
        kind = 'total' if aperture_correction else 'segment'
        _add_exposure(result, exposure, positions.position, kind)
    if zero_point is not None:
        _add_magnitudes(result, zero_point)
    result.default_columns = _columns(result, has_background=has_background)
    return result.without_rows() if is_empty else result


def _brightest_pixel(data, mask):
    """Return a segment of one pixel."""
    usable = np.isfinite(data) if mask is None else np.isfinite(data) & ~mask
    labels = np.zeros(data.shape, dtype=np.int32)
    labels.flat[np.argmax(np.where(usable, data, -np.inf))] = 1
    return SegmentationImage(labels)


@contextmanager
def _stages(name, n_stages):
    """Give a function to be called as each stage begins, which a bar then names."""
    number = count()
    with tqdm(
        total=n_stages, desc=name, unit='stage', leave=False, disable=name is None
    ) as bar:

        def begin(stage):
            bar.n = next(number)
            bar.set_description(f'{name}: {stage}')

        yield begin


def check_options(zero_point, aperture_radii, effective_gain, wcs):
    """
    Check options of a catalog before anything is detected.

    Parameters
    ----------
    zero_point, aperture_radii, effective_gain, wcs
        As for `catalog`, each or `None`.

    Returns
    -------
    zero_point : float or `None`
        The same.
    aperture_radii : list of float or `None`
        The same.
    wcs : WCS or `None`
        The same; `None` if it does not give positions on the sky, which the tables of
        photutils could not hold.

    Raises
    ------
    TypeError, ValueError
        If an option is invalid.

    Warns
    -----
    `~astropy.utils.exceptions.AstropyUserWarning`
        If the WCS fails, for example with a frame that astropy does not know.
    """
    if zero_point is not None:
        unit = getattr(zero_point, 'unit', None)
        if unit == u.mag or isinstance(unit, u.MagUnit):
            zero_point = zero_point.value
        zero_point = check_finite('zero_point', zero_point)
    if aperture_radii is not None:
        aperture_radii = _as_radii(aperture_radii)
    if effective_gain is not None:
        values = np.asarray(plain(effective_gain))
        if values.dtype.kind not in 'fiu':
            msg = f'effective_gain must be of real numbers, got {effective_gain!r}'
            raise TypeError(msg)
        if values.ndim == 0 and not np.isfinite(values):
            msg = f'effective_gain must be finite, got {effective_gain}'
            raise ValueError(msg)
    return zero_point, aperture_radii, _sky_wcs(wcs)


def _sky_wcs(wcs):
    """Return world coordinates if they tell places on the sky, else `None`."""
    if wcs is None:
        return None
    if isinstance(wcs, BaseLowLevelWCS) and not isinstance(wcs, BaseHighLevelWCS):
        wcs = HighLevelWCSWrapper(wcs)
    if not hasattr(wcs, 'pixel_to_world'):
        hint = ': give WCS(header)' if isinstance(wcs, Header) else ''
        got = f'{type(wcs).__name__}{hint}'
        msg = f'wcs must be a WCS with a pixel_to_world method, got {got}'
        raise TypeError(msg)
    try:
        sky = wcs.pixel_to_world(0, 0)
    except Exception as exc:  # of any kind, by what is wrong with it
        msg = f'the WCS cannot be used: {" ".join(str(exc).split())}'
        warnings.warn(msg, AstropyUserWarning, stacklevel=6)
        return None
    return wcs if isinstance(sky, SkyCoord) else None


def _as_radii(radii):
    """Return the radii of the circular apertures as a list."""
    try:
        values = u.Quantity(radii, copy=None)
    except (TypeError, ValueError):  # no numbers at all
        values = np.asarray(radii)
    if getattr(values, 'unit', u.pix) not in (u.pix, u.dimensionless_unscaled):
        msg = f'aperture_radii must be in pixels, got {radii!r}'
        raise u.UnitConversionError(msg)
    values = np.asarray(values)
    if values.ndim != 1 or values.dtype.kind not in 'fiu':
        msg = f'aperture_radii must be a sequence of numbers of pixels, got {radii!r}'
        raise TypeError(msg)
    if not np.all(np.isfinite(values) & (values > 0)):
        msg = f'aperture_radii must be positive and finite, got {radii!r}'
        raise ValueError(msg)
    return values.tolist()


def _add_fluxes(result, radii, begin):
    """Add what is measured in apertures about the positions."""
    begin('Kron fluxes')
    with np.errstate(divide='ignore', invalid='ignore'):
        snr = plain(result.kron_flux) / plain(result.kron_flux_err)
    result.add_property('snr', snr)
    for number, radius in enumerate(radii, start=1):
        begin(f'fluxes in circle {number}')
        result.circular_photometry(radius, name=f'aperture_{number}')
        constant = np.full(result.n_labels, float(radius)) << u.pix
        result.add_property(f'aperture_{number}_radius', constant)


def _circular_photometry(result, radius):
    """Return flux and error in a circle, from the columns if they have them."""
    own = result.custom_properties
    for name in own:
        flux = f'{name.removesuffix("_radius")}_flux'
        if flux in own and np.all(plain(getattr(result, name)) == radius):
            return getattr(result, flux), getattr(result, f'{flux}_err')
    return result.circular_photometry(radius)


def _add_concentration(result, detected, inner, outer, growth):
    """
    Add the part of the light in a small circle over that of a star of the image.

    The noise of the small circle is part of that of the large one.
    """
    (flux, err), (total, total_err) = (
        map(plain, _circular_photometry(detected, radius)) for radius in (inner, outer)
    )
    of_star = np.nan
    if growth[0].size:
        of_star = np.divide(*np.interp([inner, outer], *growth))
    with np.errstate(divide='ignore', invalid='ignore'):
        part = np.where(total > 0, flux / total, np.nan)
        variance = err**2 * (1 - 2 * part) + (part * total_err) ** 2
        result.add_property('concentration', part / of_star)
        result.add_property(
            'concentration_err', np.sqrt(variance) / np.abs(total) / of_star
        )


def _add_exposure(result, exposure, position, kind):
    """Add the exposure at the positions, and fluxes over it."""
    with np.errstate(invalid='ignore'):
        column, row = np.rint(np.nan_to_num(position)).astype(int).T
    height, width = exposure.shape
    here = exposure[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    # a source whose center is hidden has none
    here = np.where(here > 0, here, np.nan)
    result.add_property('exposure', here)
    for name in ('flux', 'flux_err'):
        result.add_property(name, getattr(result, f'{kind}_{name}') / here)


def _add_magnitudes(result, zero_point):
    """Add a magnitude, and its error, for each flux that is no segment's."""
    for name in _flux_columns(result):
        flux, error = (
            plain(getattr(result, f'{name}_{k}')) for k in ('flux', 'flux_err')
        )
        with np.errstate(divide='ignore', invalid='ignore'):
            positive = np.where(flux > 0, flux, np.nan)
            magnitude = zero_point - 2.5 * np.log10(positive)
            magnitude_err = 2.5 / np.log(10) * error / positive
        result.add_property(f'{name}_mag', magnitude)
        result.add_property(f'{name}_mag_err', magnitude_err)


def _flux_columns(result):
    own = [name.removesuffix('_flux') for name in result.custom_properties]
    return [
        'kron',
        *(name for name in own if f'{name}_flux' in result.custom_properties),
    ]


def _columns(result, *, has_background):
    """Return the columns of the table, those looked for first at the left."""
    own = result.custom_properties
    first = ['x', 'y', 'x_err', 'y_err', 'ra', 'dec', 'detection_probability']
    first += ['snr', 'detection_flags']
    first = [name for name in first if name in own]
    theirs = [name for name in result.default_columns if name != 'label']
    theirs.append('fwhm')
    if has_background:
        theirs.append('background_mean')
    if result.local_bkg_width:
        theirs.append('local_background')
    return ['label', *first, *theirs, *(name for name in own if name not in first)]
