"""
Errors of fluxes and positions, compared with a known truth.
"""

import warnings
from itertools import pairwise

import numpy as np
from astropy.utils.exceptions import AstropyWarning
from photutils.aperture import CircularAperture, aperture_photometry
from photutils.background import Background2D
from photutils.utils import calc_total_error

from bgrem.detect.catalog import catalog as measure_catalog
from bgrem.evaluate.kinds import summarize_kinds
from bgrem.evaluate.matching import match, match_radius
from bgrem.evaluate.positions import (
    is_isolated,
    position_limit,
    summarize_positions,
)
from bgrem.evaluate.separator import BGREM_BOX_SIZE, GIVEN_BOX_SIZE
from bgrem.evaluate.sky import BGREM_ESTIMATORS, BOX_SIZES, bgrem_name

__all__ = [
    'APERTURE_FWHM',
    'SNR_EDGES',
    'PhotometrySurvey',
    'aperture_sums',
    'summarize_fluxes',
]

APERTURE_FWHM = 1.5
SNR_EDGES = (3.0, 5.0, 10.0, 20.0, np.inf)
# Positions of fainter stars are cut off by the radius of the matching.
_MIN_POSITION_SNR = 5.0
# What is compared with the total flux: a column of the catalog, and the width in
# pixels of the annulus of its local background. That is measured on fewer images.
_LARGE_FLUXES = {'kron': ('kron', 0), 'total': ('total', 0), 'local': ('total', 24)}
_LOCAL_IMAGES = ('bgrem', 'true sky')
_N_POINTS = 300  # of each method, for the flux-flux figure


def aperture_sums(data, x, y, radius, error=None):
    """
    Sum an image in circular apertures.

    Parameters
    ----------
    data : 2D `~numpy.ndarray` of float
        Image.
    x, y : 1D `~numpy.ndarray` of float
        Centers in pixels.
    radius : float
        Radius in pixels.
    error : 2D `~numpy.ndarray` of float, optional
        Noise of each pixel.

    Returns
    -------
    flux, flux_error : 1D `~numpy.ndarray` of float
        The sums over exact circles and their errors (`None` without
        ``error``).
    """
    apertures = CircularAperture(np.column_stack([x, y]), r=radius)
    table = aperture_photometry(data, apertures, error=error)
    flux = np.asarray(table['aperture_sum'])
    if error is None:
        return flux, None
    return flux, np.asarray(table['aperture_sum_err'])


class PhotometrySurvey:
    """
    Measure flux bias, pulls and positions of cataloged sources.

    The aperture has a radius of 1.5 FWHM and is placed at the position in the catalog.
    The true flux is the sum of the noise-free source image, including neighbors, in the
    same aperture, so only the effect of sky subtraction and denoising on the flux is
    measured. Kron fluxes of the same segments, and total fluxes (with an aperture
    correction, and with and without a local background from an annulus of 24 px), are
    compared with the true total flux of the matched source, if that has no neighbor.
    The S/N by which the fluxes are sorted is that of the *aperture*: true flux divided
    by the true noise in it. Positions of isolated stars, the centroids and the first
    columns of the table of the catalog, are compared with the Cramer-Rao limit.

    Besides `DiffusionBackground` (``bgrem``; with another sky estimator in its boxes
    ``bgrem, mean``; with the smallest of the boxes of the sky survey ``bgrem 8`` and
    ``bgrem, mean 8``), its clipped denoised image (``denoised, clipped``: the output of
    the paper), ``Background2D`` with the same box and the image minus its ``true sky``
    are measured in the same apertures. The last one shows errors that no sky could
    avoid: sources are selected, and apertures placed, where the noise is high.

    Parameters
    ----------
    separator : `~bgrem.evaluate.separator.Separator`
        The separator of the scenes.
    gain : float, optional
        Electrons per count of the scenes, for the photon noise of the sources.
    """

    def __init__(self, separator, gain=1.0):
        self.separator = separator
        self.gain = gain
        self._rows = {}
        self._positions = []
        self._n_sources = 0
        self._n_not_finite = 0

    def add(self, scene):
        """
        Measure one scene.

        Parameters
        ----------
        scene : `~bgrem.evaluate.scenes.Scene`
            The scene, of which only the matched fluxes are kept.
        """
        backgrounds = {
            bgrem_name(box, name): self.separator.background(scene, box, estimator)
            for name, estimator in BGREM_ESTIMATORS.items()
            for box in (BGREM_BOX_SIZE, BOX_SIZES[0])
        }
        bkg = backgrounds['bgrem']
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', AstropyWarning)
            segments = bkg.detect()
            if segments is None:
                return
            sky = Background2D(
                scene.image, GIVEN_BOX_SIZE, mask=scene.mask, **scene.options
            )
        images = {
            name: (own.subtract(), own.background_rms)
            for name, own in backgrounds.items()
        }
        images |= {
            'denoised, clipped': (
                bkg.subtract(denoise=True, clip=True),
                bkg.background_rms,
            ),
            'Background2D': (scene.image - sky.background, sky.background_rms),
            'true sky': (scene.image - scene.sky, scene.sigma),
        }
        catalogs = {
            (name, width): self._measure(scene, bkg, segments, *image, width)
            for width in dict.fromkeys(width for _, width in _LARGE_FLUXES.values())
            for name, image in images.items()
            if width == 0 or name in _LOCAL_IMAGES
        }
        found, common = self._matched(scene, catalogs['bgrem', 0])
        for name, (data, rms) in images.items():
            error = calc_total_error(data, rms, self.gain)
            flux, flux_error = aperture_sums(
                data, common['x'], common['y'], APERTURE_FWHM * scene.fwhm, error
            )
            row = {**common, 'flux': flux, 'flux_error': flux_error}
            for kind, (column, width) in _LARGE_FLUXES.items():
                if (measured := catalogs.get((name, width))) is not None:
                    for key in ('flux', 'flux_err'):
                        values = np.atleast_1d(getattr(measured, f'{column}_{key}'))
                        row[f'{kind}_{key}'] = values[found]
            self._rows.setdefault(name, []).append(row)

    def _measure(self, scene, bkg, segments, data, rms, local_bkg_width):
        """Return the catalog of one image."""
        with warnings.catch_warnings():
            # an empty scene has no star for the aperture correction
            warnings.simplefilter('ignore', AstropyWarning)
            return measure_catalog(
                data,
                segments,
                source=bkg.source,
                probability=bkg.detection_probability,
                background_rms=rms,
                effective_gain=self.gain,
                aperture_correction=True,
                mask=scene.mask,
                local_bkg_width=local_bkg_width,
            )

    def _matched(self, scene, catalog):
        """Return which sources of the catalog are real, and the truth of them."""
        table = catalog.to_table()
        x, y = np.asarray(table['x']), np.asarray(table['y'])
        columns = ('x_centroid', 'y_centroid', 'x_err', 'y_err')
        centroid, error = np.array([table[name] for name in columns]).reshape(2, 2, -1)
        finite = np.isfinite(x) & np.isfinite(y)
        all_finite = finite & np.isfinite(error).all(axis=0)
        self._n_sources += x.size
        self._n_not_finite += int(np.sum(~all_finite))
        truth = scene.catalog
        found = np.flatnonzero(finite)
        index = match(
            x[found],
            y[found],
            np.asarray(table['detection_probability'])[found],
            truth['x'],
            truth['y'],
            truth['snr'],
            match_radius(scene.fwhm),
        )
        found, index = found[index >= 0], index[index >= 0]
        x, y = x[found], y[found]
        centroid, error = centroid[:, found], error[:, found]
        noise = np.sqrt(scene.sigma**2 + scene.source / self.gain)
        true_flux, true_error = aperture_sums(
            scene.source, x, y, APERTURE_FWHM * scene.fwhm, noise
        )
        is_star = truth['is_star'][index].astype(bool)
        center = np.array([truth['x'][index], truth['y'][index]])
        distance = np.hypot(*([x, y] - center))
        is_alone = is_isolated(truth, scene.fwhm)[index]
        alone = is_star & is_alone & (truth['snr'][index] > _MIN_POSITION_SNR)
        row, column = (np.rint(truth[k][index[alone]]).astype(int) for k in 'yx')
        limit = position_limit(
            scene.psf,
            truth['flux'][index[alone]],
            scene.sigma[row, column],
            self.gain,
        )
        of_centroid = np.hypot(*(centroid - center))
        pulls = ([x, y] - center) / error
        measures = np.array([of_centroid, distance, *pulls])
        self._positions.append(np.vstack([limit, measures[:, alone]]))
        return found, {
            'x': x,
            'y': y,
            'true_flux': true_flux,
            'true_total': truth['flux'][index],
            'snr': true_flux / true_error,
            'is_star': is_star,
            'is_alone': is_alone,
            'distance': distance,
            'concentration': np.asarray(table['concentration'])[found],
        }

    def result(self):
        """
        Summarize all scenes added so far.

        Returns
        -------
        result : dict
            ``aperture``, ``kron``, ``total`` and ``local``: for each method the rows
            of `summarize_fluxes`. ``positions``: ``n_sources`` in the catalog, the
            number ``n_not_finite`` of those without finite positions and errors, and
            `summarize_positions` of the ``centroid`` and of the ``position``
            (``x``, ``y``) of isolated stars with S/N above 5, the latter with the
            ``pull_std``: the standard deviation of error / ``x_err``, with the farthest
            1% on each side moved to the rest. ``kinds``: the rows of
            `bgrem.evaluate.kinds.summarize_kinds`. ``flux_flux``: for
            each method some pairs of ``true`` and ``measured`` aperture flux,
            in units of the true error.
        """
        tables = {
            name: {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}
            for name, rows in self._rows.items()
        }
        limit, centroid, distance, *pulls = np.concatenate(
            [*self._positions, np.empty((5, 0))], axis=1
        )
        return {
            'aperture': {n: summarize_fluxes(table) for n, table in tables.items()},
            **{
                kind: {
                    n: summarize_fluxes(_alone(table, kind))
                    for n, table in tables.items()
                    if f'{kind}_flux' in table
                }
                for kind in _LARGE_FLUXES
            },
            'positions': {
                'n_sources': self._n_sources,
                'n_not_finite': self._n_not_finite,
                'centroid': summarize_positions(centroid, limit),
                'position': {
                    **summarize_positions(distance, limit),
                    'pull_std': _clipped_std(np.concatenate(pulls)),
                },
            },
            'kinds': summarize_kinds(tables['bgrem']) if tables else [],
            'flux_flux': {n: _pairs(table) for n, table in tables.items()},
        }


def _clipped_std(values):
    """Return the standard deviation, None of nothing; no outlier decides it."""
    if not values.size:
        return None
    return float(np.clip(values, *np.percentile(values, [1, 99])).std())


def _alone(table, kind):
    """Return the table of the large fluxes of sources without a neighbor."""
    totals = {
        **table,
        'true_flux': table['true_total'],
        'flux': table[f'{kind}_flux'],
        'flux_error': table[f'{kind}_flux_err'],
    }
    return {name: values[table['is_alone']] for name, values in totals.items()}


def _pairs(table):
    """Return some true and measured fluxes in units of the true error."""
    error = table['true_flux'] / table['snr']
    return {
        'true': (table['snr'][:_N_POINTS]).tolist(),
        'measured': (table['flux'] / error)[:_N_POINTS].tolist(),
    }


def summarize_fluxes(table):
    """
    Summarize fluxes in bins of true signal-to-noise ratio.

    Parameters
    ----------
    table : dict of str to 1D `~numpy.ndarray`
        ``flux``, ``flux_error``, ``true_flux``, ``snr``, ``is_star`` and
        ``distance`` (from the true position, in pixels) of matched sources.
        Sources without a finite flux and error are excluded.

    Returns
    -------
    rows : list of dict
        For stars and for galaxies, for each bin of `SNR_EDGES` that is not
        empty: ``kind``, ``snr_low``, ``snr_high`` (`None`: no limit), ``n``,
        ``median_bias`` (of flux / true flux - 1) and its standard error
        ``bias_error``, ``pull_mean`` and ``pull_std`` of (flux - true flux) /
        error with the farthest 1% on each side moved to the rest, and
        ``median_distance`` in pixels.
    """
    rows = []
    usable = np.isfinite(table['flux']) & (table['flux_error'] > 0)
    table = {name: values[usable] for name, values in table.items()}
    pull = (table['flux'] - table['true_flux']) / table['flux_error']
    bias = table['flux'] / table['true_flux'] - 1
    for kind, chosen in (('star', table['is_star']), ('galaxy', ~table['is_star'])):
        for low, high in pairwise(SNR_EDGES):
            inside = chosen & (table['snr'] >= low) & (table['snr'] < high)
            if not inside.any():
                continue
            # One cosmic ray must not decide a whole bin.
            limits = np.percentile(pull[inside], [1, 99])
            core = np.clip(pull[inside], *limits)
            quartiles = np.percentile(bias[inside], [25, 75])
            n = int(inside.sum())
            rows.append(
                {
                    'kind': kind,
                    'snr_low': low,
                    'snr_high': None if np.isinf(high) else high,
                    'n': n,
                    'median_bias': float(np.median(bias[inside])),
                    # of a median: sqrt(pi / 2) sigma / sqrt(n)
                    'bias_error': float(1.2533 * np.ptp(quartiles) / 1.349 / n**0.5),
                    'pull_mean': float(core.mean()),
                    'pull_std': float(core.std()),
                    'median_distance': float(np.median(table['distance'][inside])),
                }
            )
    return rows
