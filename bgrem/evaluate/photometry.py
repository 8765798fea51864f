"""
Errors of the sky and of fluxes, against a known truth.
"""

import warnings
from itertools import pairwise

import numpy as np
from astropy.utils.exceptions import AstropyWarning
from photutils.aperture import CircularAperture, aperture_photometry
from photutils.background import Background2D
from photutils.utils import calc_total_error

from bgrem.evaluate.matching import match, match_radius

__all__ = [
    'APERTURE_FWHM',
    'BOX_SIZES',
    'SNR_EDGES',
    'PhotometrySurvey',
    'SkySurvey',
    'aperture_sums',
    'sky_residual',
    'summarize_fluxes',
]

BOX_SIZES = (16, 32, 64, 128)
APERTURE_FWHM = 1.5
SNR_EDGES = (3.0, 5.0, 10.0, 20.0, np.inf)
# Clipped pixels count as excluded, and in a crowded field that is most of them.
_OPTIONS = {'exclude_percentile': 90.0}
_BGREM_BOX = 32
_PEER_BOX = 64


def sky_residual(background, scene):
    """
    Return the error of a sky map in units of the noise.

    Parameters
    ----------
    background : 2D `~numpy.ndarray` of float
        Estimated sky.
    scene : `~bgrem.evaluate.scenes.Scene`
        The truth.

    Returns
    -------
    residual : 1D `~numpy.ndarray` of float
        (background - true sky) / noise sigma at the pixels with data.
    """
    good = ~scene.mask
    return ((background - scene.sky) / scene.sigma)[good].astype(float)


class SkySurvey:
    """
    Measure the sky error of bgrem and of Background2D on the same scenes.

    Parameters
    ----------
    weights : `~bgrem.weights.Weights`
        Loaded weights.
    box_sizes : sequence of int, optional
        Boxes in pixels with which Background2D is run; bgrem is run with
        its default of 32.
    """

    def __init__(self, weights, box_sizes=BOX_SIZES):
        self.weights = weights
        self.box_sizes = box_sizes
        self._moments = {}

    def add(self, scene):
        """
        Measure one scene.

        Parameters
        ----------
        scene : `~bgrem.evaluate.scenes.Scene`
            Nothing is kept of it but the moments of the errors.
        """
        from bgrem import DiffusionBackground

        with warnings.catch_warnings():
            warnings.simplefilter('ignore', AstropyWarning)
            skies = {
                f'Background2D {box}': Background2D(
                    scene.image, box, mask=scene.mask, **_OPTIONS
                ).background
                for box in self.box_sizes
            }
            skies['bgrem'] = DiffusionBackground(
                scene.image,
                _BGREM_BOX,
                mask=scene.mask,
                weights=self.weights,
                **_OPTIONS,
            ).background
        for name, sky in skies.items():
            residual = sky_residual(sky, scene)
            moments = (residual.mean(), np.mean(residual**2))
            self._moments.setdefault(name, []).append(moments)

    def result(self):
        """
        Summarise all scenes added so far.

        Returns
        -------
        result : dict
            For each method ``rms`` (over all pixels of all scenes),
            ``median_rms`` (the median scene) and ``bias`` (mean error), in
            units of the noise.
        """
        summary = {}
        for name, moments in self._moments.items():
            mean, square = np.array(moments).T
            summary[name] = {
                'rms': float(np.sqrt(square.mean())),
                'median_rms': float(np.median(np.sqrt(square))),
                'bias': float(mean.mean()),
            }
        return summary


def aperture_sums(data, x, y, radius, error=None):
    """
    Sum an image in circular apertures.

    Parameters
    ----------
    data : 2D `~numpy.ndarray` of float
        Image.
    x, y : 1D `~numpy.ndarray` of float
        Centres in pixels.
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
    Measure flux bias, pulls and positions of catalogued sources.

    The aperture has a radius of 1.5 FWHM and is placed at the position that
    the catalogue gives. The true flux is the sum of the noise-free source
    image, neighbours and all, in the same aperture: only what sky subtraction
    and denoising do to the flux is measured. Besides `DiffusionBackground`
    (``bgrem``), its clipped denoised image (``denoised, clipped``: the
    paper's output) and ``Background2D`` (box of 64 px) are measured in the
    same apertures.

    Parameters
    ----------
    weights : `~bgrem.weights.Weights`
        Loaded weights.
    gain : float, optional
        Electrons per count of the scenes, for the sources' photon noise.
    """

    def __init__(self, weights, gain=1.0):
        self.weights = weights
        self.gain = gain
        self._rows = {}

    def add(self, scene):
        """
        Measure one scene.

        Parameters
        ----------
        scene : `~bgrem.evaluate.scenes.Scene`
            Only the matched fluxes are kept of it.
        """
        from bgrem import DiffusionBackground

        with warnings.catch_warnings():
            warnings.simplefilter('ignore', AstropyWarning)
            bkg = DiffusionBackground(
                scene.image,
                _BGREM_BOX,
                mask=scene.mask,
                weights=self.weights,
                **_OPTIONS,
            )
            segments = bkg.detect()
            if segments is None:
                return
            catalog = bkg.catalog(segments)
            sky = Background2D(scene.image, _PEER_BOX, mask=scene.mask, **_OPTIONS)
        x, y = np.atleast_1d(catalog.x_centroid), np.atleast_1d(catalog.y_centroid)
        truth = scene.catalog
        index = match(
            x,
            y,
            np.atleast_1d(catalog.detection_probability),
            truth['x'],
            truth['y'],
            truth['snr'],
            match_radius(scene.fwhm),
        )
        true = index >= 0
        x, y, index = x[true], y[true], index[true]
        if not index.size:
            return
        radius = APERTURE_FWHM * scene.fwhm
        flux, _ = aperture_sums(scene.source, x, y, radius)
        common = {
            'true_flux': flux,
            'snr': truth['snr'][index],
            'is_star': truth['is_star'][index].astype(bool),
            'distance': np.hypot(x - truth['x'][index], y - truth['y'][index]),
        }
        images = {
            'bgrem': (bkg.subtract(), bkg.background_rms),
            'denoised, clipped': (
                bkg.subtract(denoise=True, clip=True),
                bkg.background_rms,
            ),
            'Background2D': (scene.image - sky.background, sky.background_rms),
        }
        for name, (data, rms) in images.items():
            error = calc_total_error(data, rms, self.gain)
            flux, flux_error = aperture_sums(data, x, y, radius, error)
            row = {**common, 'flux': flux, 'flux_error': flux_error}
            self._rows.setdefault(name, []).append(row)

    def result(self):
        """
        Summarise all scenes added so far.

        Returns
        -------
        result : dict
            For each method the rows of `summarize_fluxes`.
        """
        return {
            name: summarize_fluxes(
                {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}
            )
            for name, rows in self._rows.items()
        }


def summarize_fluxes(table):
    """
    Summarise fluxes in bins of true signal-to-noise ratio.

    Parameters
    ----------
    table : dict of str to 1D `~numpy.ndarray`
        ``flux``, ``flux_error``, ``true_flux``, ``snr``, ``is_star`` and
        ``distance`` (from the true position, in pixels) of matched sources.

    Returns
    -------
    rows : list of dict
        For stars and for galaxies, for each bin of `SNR_EDGES` that is not
        empty: ``kind``, ``snr_low``, ``snr_high`` (`None`: no limit), ``n``,
        ``median_bias`` (of flux / true flux - 1), ``pull_mean`` and
        ``pull_std`` of (flux - true flux) / error with the farthest 1%
        on each side moved to the rest, and ``median_distance`` in pixels.
    """
    rows = []
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
            rows.append(
                {
                    'kind': kind,
                    'snr_low': low,
                    'snr_high': None if np.isinf(high) else high,
                    'n': int(inside.sum()),
                    'median_bias': float(np.median(bias[inside])),
                    'pull_mean': float(core.mean()),
                    'pull_std': float(core.std()),
                    'median_distance': float(np.median(table['distance'][inside])),
                }
            )
    return rows
