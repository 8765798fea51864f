"""
The measurements of the suite ``gamma`` besides detections.
"""

import warnings

import numpy as np
from astropy.utils.exceptions import AstropyWarning
from photutils.background import Background2D

from bgrem.evaluate.gamma.test_statistic import search
from bgrem.evaluate.matching import judge, match, match_radius
from bgrem.evaluate.photometry import APERTURE_FWHM, aperture_sums

__all__ = [
    'FLUX_BINS',
    'CompletenessSurvey',
    'DiffuseSurvey',
    'FluxSurvey',
    'MeansSurvey',
]

# Photons per cm2 and s at 1-2 GeV, as of Panes et al. 2021 ("UNEK").
FLUX_BINS = ((1e-10, 1.5e-10), (2e-10, 3e-10), (3e-10, 5e-10))
SNR_BINS = ((3.0, 5.0), (5.0, 10.0), (10.0, np.inf))
_RATE = 0.05
_BOX = 16
# In UNEK an estimate is as good as the source that it belongs to.
_ANY_SNR = 0.0


class MeansSurvey:
    """
    Compare the mean of the source image with that of the true sources.

    Parameters
    ----------
    observers : dict of str to `~bgrem.evaluate.wild.survey.Observer`
        The observers of the scenes.
    """

    def __init__(self, observers):
        self.observers = observers
        self._rows = {name: [] for name in observers}

    def add(self, scene):
        """
        Measure one scene.

        Parameters
        ----------
        scene : `~bgrem.evaluate.gamma.scenes.GammaScene`
            The scene, of which only means are kept.
        """
        for name, observer in self.observers.items():
            bkg = observer.observe(scene)['background']
            if bkg is None:
                continue
            error = bkg.source - scene.source
            self._rows[name].append(
                (
                    scene.source.mean(),
                    bkg.source.mean(),
                    np.abs(error).mean(),
                    np.mean(error**2),
                )
            )

    def result(self):
        """
        Summarize all scenes added so far.

        Returns
        -------
        result : dict
            For each observer: ``slope`` and ``intercept`` of a line through measured
            against true means (counts per pixel), ``ratios`` of their sums in thirds
            of the true mean, ``mae`` and ``mse`` of the pixels, and the ``points``.
            `None` if there are fewer than three scenes.
        """
        return {
            name: _line(np.array(rows)) if len(rows) >= 3 else None
            for name, rows in self._rows.items()
        }


def _line(rows):
    true, found = rows[np.argsort(rows[:, 0]), :2].T
    slope, intercept = np.polyfit(true, found, 1)
    thirds = zip(np.array_split(true, 3), np.array_split(found, 3), strict=True)
    return {
        'slope': float(slope),
        'intercept': float(intercept),
        'ratios': [float(f.sum() / max(t.sum(), 1e-12)) for t, f in thirds],
        'mae': float(rows[:, 2].mean()),
        'mse': float(rows[:, 3].mean()),
        'points': [[float(t), float(f)] for t, f in zip(true, found, strict=True)],
    }


class DiffuseSurvey:
    """
    Measure the error of the sky, in units of its mean.

    bgrem is compared with ``Background2D`` with boxes of 16 px, and with the wrong
    model, whose norms are fitted during its search for sources.

    Parameters
    ----------
    observers : dict of str to `~bgrem.evaluate.wild.survey.Observer`
        The observers of the scenes.
    """

    def __init__(self, observers):
        self.observers = observers
        self._rows = {}

    def add(self, scene):
        """
        Measure one scene.

        Parameters
        ----------
        scene : `~bgrem.evaluate.gamma.scenes.GammaScene`
            The scene, of which only moments are kept.
        """
        skies = {
            name: observer.observe(scene)['background']
            for name, observer in self.observers.items()
        }
        skies = {name: b.background for name, b in skies.items() if b is not None}
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', AstropyWarning)
            parent = Background2D(scene.image, _BOX, mask=scene.mask, **scene.options)
        skies['Background2D'] = parent.background
        skies['wrong model'] = search(
            scene.image, scene.wrong_model, scene.psf, fit=True
        )[1]
        mean = scene.sky[scene.judged].mean()
        for name, sky in skies.items():
            error = (sky - scene.sky)[scene.judged] / mean
            self._rows.setdefault(name, []).append(
                (np.sqrt(np.mean(error**2)), error.mean())
            )

    def result(self):
        """
        Summarize all scenes added so far.

        Returns
        -------
        result : dict
            For each sky, the ``rms`` and the mean (``bias``) of its error divided by
            the mean of the true sky, averaged over the scenes, and the ``worst`` rms.
        """
        summary = {}
        for name, rows in self._rows.items():
            rms, bias = np.array(rows).T
            summary[name] = {
                'rms': float(rms.mean()),
                'bias': float(bias.mean()),
                'worst': float(rms.max()),
            }
        return summary


class FluxSurvey:
    """
    Measure bias and pulls of the fluxes of detections at a false discovery rate of 5%.

    The flux is the sum of the counts minus the background in a circle of 1.5 FWHM
    around the detection, compared with the expected counts of all sources in the same
    circle. Its error consists of ``background_rms``, the photon noise of the source,
    and the sum of ``background_uncertainty``, as in a catalog of counts.

    Parameters
    ----------
    observers : dict of str to `~bgrem.evaluate.wild.survey.Observer`
        The observers of the scenes.
    """

    def __init__(self, observers):
        self.observers = observers
        self._rows = {name: [] for name in [*observers, 'true sky']}

    def add(self, scene):
        """
        Measure one scene.

        Parameters
        ----------
        scene : `~bgrem.evaluate.gamma.scenes.GammaScene`
            The scene, of which only the matched fluxes are kept.
        """
        first = next(iter(self.observers))
        for name, observer in self.observers.items():
            bkg = observer.observe(scene)['background']
            if bkg is None:
                continue
            found = _kept(observer.detect(scene))
            own = (bkg.background, bkg.background_rms, bkg.background_uncertainty)
            self._measure(name, scene, found, *own)
            if name == first:
                known = np.zeros_like(scene.sky)
                self._measure('true sky', scene, found, scene.sky, scene.sigma, known)

    def _measure(self, name, scene, found, sky, rms, sky_error):
        x, y, score = found
        truth = scene.catalog
        index = match(
            x, y, score, truth['x'], truth['y'], truth['snr'],
            match_radius(scene.fwhm), min_snr=scene.min_snr,
        )  # fmt: skip
        x, y, index = x[index >= 0], y[index >= 0], index[index >= 0]
        if not x.size:
            return
        radius = APERTURE_FWHM * scene.fwhm
        data = scene.image - sky
        error = np.sqrt(rms**2 + np.maximum(data, 0))
        flux, flux_error = aperture_sums(data, x, y, radius, error)
        flux_error = np.hypot(flux_error, aperture_sums(sky_error, x, y, radius)[0])
        true, _ = aperture_sums(scene.source, x, y, radius)
        self._rows[name].append(
            np.stack([truth['snr'][index], true, flux, flux_error], axis=1)
        )

    def result(self):
        """
        Summarize all scenes added so far.

        Returns
        -------
        result : dict
            For each observer, and for the true sky at the positions of the first, a
            list of bins of S/N (``low``, ``high``, ``n``): the ``bias`` (ratio of the
            sums of measured and true fluxes, minus 1), the ``median`` of the ratio
            minus 1, and the mean and half the central 68% of the ``pull``.
        """
        return {name: _bins(rows) for name, rows in self._rows.items() if rows}


def _bins(rows):
    snr, true, flux, error = np.concatenate(rows).T
    # Without any noise there is no pull.
    pulls = np.full(flux.shape, np.nan)
    np.divide(flux - true, error, out=pulls, where=error > 0)
    bins = []
    for low, high in SNR_BINS:
        kept = (snr > low) & (snr <= high)
        row = {'low': low, 'high': high if np.isfinite(high) else None}
        row['n'] = int(kept.sum())
        if row['n'] > 2:
            row |= {
                'bias': float(flux[kept].sum() / true[kept].sum() - 1),
                'median': float(np.median(flux[kept] / true[kept]) - 1),
            }
            pull = pulls[kept & np.isfinite(pulls)]
            if pull.size > 2:
                low_pull, high_pull = np.percentile(pull, (15.87, 84.13))
                row['pull_mean'] = float(pull.mean())
                row['pull_width'] = float((high_pull - low_pull) / 2)
        bins.append(row)
    return bins


class CompletenessSurvey:
    """
    Count detections at a false discovery rate of 5% by source flux, and their purity.

    Parameters
    ----------
    observers : dict of str to `~bgrem.evaluate.wild.survey.Observer`
        The observers of the scenes.
    """

    def __init__(self, observers):
        self.observers = observers
        self._sums = {name: np.zeros((len(FLUX_BINS), 2), int) for name in observers}
        self._purity = {name: np.zeros(2, int) for name in observers}

    def add(self, scene):
        """
        Measure one scene.

        Parameters
        ----------
        scene : `~bgrem.evaluate.gamma.scenes.GammaScene`
            The scene, of which only sums are kept.
        """
        truth, radius = scene.catalog, match_radius(scene.fwhm)
        for name, observer in self.observers.items():
            x, y, score = _kept(observer.detect(scene))
            index = match(
                x, y, score, truth['x'], truth['y'], truth['snr'], radius,
                min_snr=_ANY_SNR,
            )  # fmt: skip
            found = np.isin(np.arange(truth['x'].size), index)
            for k, (low, high) in enumerate(FLUX_BINS):
                flux = truth['photon_flux']
                inside = (flux > low) & (flux <= high)
                self._sums[name][k] += (found & inside).sum(), inside.sum()
            is_true, is_neutral = judge(
                x, y, score, truth, radius, min_snr=scene.min_snr
            )
            self._purity[name] += is_true.sum(), (~is_neutral).sum()

    def result(self):
        """
        Summarize all scenes added so far.

        Returns
        -------
        result : dict
            For each observer: ``bins`` with ``low``, ``high``, ``n_found`` and
            ``n_true``, and the ``purity`` (`None` if nothing is found).
        """
        summary = {}
        for name, sums in self._sums.items():
            n_true, n_kept = self._purity[name]
            summary[name] = {
                'bins': [
                    {'low': low, 'high': high, 'n_found': int(f), 'n_true': int(n)}
                    for (low, high), (f, n) in zip(FLUX_BINS, sums, strict=True)
                ],
                'purity': float(n_true / n_kept) if n_kept else None,
            }
        return summary


def _kept(found):
    """Return x, y and score of what a promise of 5% keeps."""
    kept = found.score >= found.threshold(_RATE)
    return found.x[kept], found.y[kept], found.score[kept]
