"""
The measurements of the suite ``wild``, made with only the public class.
"""

import warnings
from dataclasses import replace
from inspect import signature

import numpy as np
from astropy.utils.exceptions import AstropyUserWarning, AstropyWarning
from photutils.background import Background2D
from scipy.stats import binom

from bgrem.background import DiffusionBackground
from bgrem.detect.peaks import find_peaks
from bgrem.evaluate.matching import judge, match_radius, shift_positions
from bgrem.evaluate.peers import Detections
from bgrem.evaluate.separator import GIVEN_BOX_SIZE

__all__ = ['BRIGHT_SNR', 'CatalogSurvey', 'LevelSurvey', 'Observer', 'takes']

RATE = 0.05
# A star as bright as this is expected in every catalog.
BRIGHT_SNR = 60.0
# A scene whose false detections are as many only so rarely breaks the promise.
_RARE = 0.01


def takes(option):
    """
    Tell whether `~bgrem.DiffusionBackground` has an option.

    Parameters
    ----------
    option : str
        The name of the option.

    Returns
    -------
    takes : bool
    """
    return option in signature(DiffusionBackground.__init__).parameters


class Observer:
    """
    Run `~bgrem.DiffusionBackground` on scenes without options, as a user would.

    A scene that it refuses is run with boxes of 32 px and the options of the scene.
    Only the results of the last scene, and of its native one, are kept.

    Parameters
    ----------
    weights : `~bgrem.weights.Weights`
        Loaded weights.
    **options
        Options of `~bgrem.DiffusionBackground`, used for every scene.
    """

    def __init__(self, weights, **options):
        self.weights = weights
        self.options = options
        self._seen = {}

    def observe(self, scene):
        """
        Observe a scene once.

        Parameters
        ----------
        scene : `~bgrem.evaluate.wild.scene.WildScene`
            The scene, of which image, mask, error and options are used.

        Returns
        -------
        observed : dict
            ``background`` (`None` if everything failed), ``by_itself`` (whether it
            needed no options), ``detections`` (`~bgrem.evaluate.peers.Detections`,
            none if it failed), ``warnings`` (the texts of those that the detection
            issued) and ``error`` (the first, or `None`).
        """
        if id(scene) not in self._seen:
            # The scene itself is kept so that no other can have its identity.
            self._seen = {
                key: seen
                for key, seen in self._seen.items()
                if getattr(scene, 'native', None) is seen[0]
            }
            self._seen[id(scene)] = scene, self._observe(scene)
        return self._seen[id(scene)][1]

    def _observe(self, scene):
        observed = {
            'background': None,
            'by_itself': True,
            'detections': Detections(*np.empty((3, 0))),
            'warnings': [],
            'error': None,
        }
        own = {'mask': scene.mask, 'weights': self.weights, **self.options}
        if getattr(scene, 'error', None) is not None and takes('error'):
            own['error'] = scene.error
        for given in ({}, {'box_size': GIVEN_BOX_SIZE, **scene.options}):
            observed['by_itself'] = not given
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter('ignore', AstropyWarning)
                    bkg = DiffusionBackground(scene.image, **given, **own)
                found, observed['warnings'] = _detect(bkg, scene)
                observed['detections'] = replace(
                    found, nearest=self.weights.is_for_counts
                )
            # Whatever stops it is a result here, not the end of the run.
            except Exception as error:
                text = f'{type(error).__name__}: {error}'
                observed['error'] = observed['error'] or text
            else:
                observed['background'] = bkg
                break
        return observed

    def detect(self, scene):
        """
        List the peaks of the detection probability of a scene.

        Parameters
        ----------
        scene : `~bgrem.evaluate.wild.scene.WildScene`
            See `observe`.

        Returns
        -------
        detections : `~bgrem.evaluate.peers.Detections`
            The peaks; none if the tool failed.
        """
        return self.observe(scene)['detections']


def _detect(bkg, scene):
    """Return the peaks, and what the detection warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        bkg.detection_mask(false_discovery_rate=RATE)
    texts = [str(w.message) for w in caught if w.category is AstropyUserWarning]
    peaks = find_peaks(bkg.detection_probability, scene.mask)
    shift = bkg.meta['false_discovery']['log_odds_shift']
    score = peaks['probability'].astype(float)
    return Detections(peaks['x_center'], peaks['y_center'], score, shift), texts


class _Survey:
    """
    Base class of measurements that are made scene by scene.

    Parameters
    ----------
    observer : `Observer`
        The observer of the scenes.
    """

    def __init__(self, observer):
        self.observer = observer
        self._rows = []

    def add(self, scene):
        """
        Measure one scene.

        Parameters
        ----------
        scene : `~bgrem.evaluate.wild.scene.WildScene`
            The scene, of which only sums are kept.
        """
        self._rows.append(self._measure(scene))


class CatalogSurvey(_Survey):
    """
    Measure the detections (peaks) at a false discovery rate of 5%.

    Parameters
    ----------
    observer : `Observer`
        The observer of the scenes.
    """

    def _measure(self, scene):
        native = getattr(scene, 'native', None)
        row = self._judge(scene)
        if native is not None:
            row['n_native'] = self._judge(native)['n_found']
        observed = self.observer.observe(scene)
        row['warns'] = bool(observed['warnings'])
        row['breaks'] = bool(binom.sf(row['n_false'] - 1, row['n_kept'], RATE) < _RARE)
        row['fails'] = observed['background'] is None
        row['needs_options'] = not observed['by_itself'] and not row['fails']
        row['error'] = observed['error']
        return row

    def _judge(self, scene):
        found = self.observer.detect(scene)
        kept = found.score >= found.threshold(RATE)
        x, y, score = found.x[kept], found.y[kept], found.score[kept]
        truth, radius = scene.catalog, match_radius(scene.fwhm)
        limits = {'min_snr': scene.min_snr}
        is_true, is_neutral = judge(x, y, score, truth, radius, **limits)
        bright = {'min_snr': BRIGHT_SNR, 'neutral_snr': BRIGHT_SNR}
        elsewhere = shift_positions(x, scene.image.shape)
        chance, _ = judge(elsewhere, y, score, truth, radius, **limits)
        return {
            'n_kept': int(np.sum(~is_neutral)),
            'n_found': int(is_true.sum()),
            'n_false': int(np.sum(~is_true & ~is_neutral)),
            'n_chance': int(chance.sum()),
            'n_true': int(np.sum(truth['snr'] > scene.min_snr)),
            'n_bright': int(np.sum(truth['snr'] > BRIGHT_SNR)),
            'n_bright_found': int(judge(x, y, score, truth, radius, **bright)[0].sum()),
        }

    def result(self):
        """
        Summarize all scenes added so far.

        Returns
        -------
        result : dict
            Sums over the scenes: ``n_true`` (sources above the limit), ``n_found`` of
            them, ``n_kept`` (detections that count), ``n_false``, ``n_chance`` (those
            that would be true with all positions shifted), ``n_bright`` (S/N above 60),
            ``n_bright_found``, and, if there is a native grid, ``n_native``: those
            found there. ``false_fraction`` is `None` if nothing was kept. Numbers of
            scenes: ``warns`` or ``silent``, each with the promise ``held`` or
            ``broken`` (more false detections than by chance in 99% of the cases);
            ``n_failed``, ``n_needs_options`` (refused without options) and the
            ``first_error``.
        """
        names = ('n_true', 'n_found', 'n_kept', 'n_false', 'n_chance')
        names += ('n_bright', 'n_bright_found')
        if any('n_native' in row for row in self._rows):
            names += ('n_native',)
        sums = {name: sum(row[name] for row in self._rows) for name in names}
        kept = sums['n_kept']
        says = {
            f'{"warns" if warns else "silent"}, {"broken" if breaks else "held"}': sum(
                row['warns'] == warns and row['breaks'] == breaks and not row['fails']
                for row in self._rows
            )
            for warns in (False, True)
            for breaks in (False, True)
        }
        errors = [row['error'] for row in self._rows if row['error']]
        return {
            **sums,
            'false_fraction': sums['n_false'] / kept if kept else None,
            **says,
            'n_failed': sum(row['fails'] for row in self._rows),
            'n_needs_options': sum(row['needs_options'] for row in self._rows),
            'first_error': errors[0] if errors else None,
        }


class LevelSurvey(_Survey):
    """
    Compare the noise level with the true one, and the sky with the range of the data.

    Parameters
    ----------
    observer : `Observer`
        The observer of the scenes.
    """

    def _measure(self, scene):
        row = {'parent': _parent_level(scene)}
        bkg = self.observer.observe(scene)['background']
        if bkg is not None:
            row['level'] = _ratio(bkg.background_rms, scene)
            row['error'] = _error_ratio(bkg, scene)
            # Where photons are counted light cannot be negative.
            row['lowest_sky'] = float(bkg.background.min())
            data = np.where(scene.mask, 0, np.nan_to_num(scene.image)).sum()
            row['source_light'] = float(bkg.source.sum() / max(data, 1e-9))
        return row

    def result(self):
        """
        Summarize all scenes added so far.

        Returns
        -------
        result : dict
            ``level`` and ``parent``: the median over a scene of ``background_rms`` /
            true noise for bgrem and for Background2D (boxes of 32 px), averaged over
            the scenes; ``worst_level``, the one farthest from 1; ``pull``, the rms of
            the error of the sky divided by ``background_uncertainty``; ``lowest_sky``,
            the lowest value of any sky map; ``source_light``, the largest fraction of
            the light of an image that is in its source image. `None` means that there
            is no value.
        """
        columns = {
            name: [row[name] for row in self._rows if row.get(name) is not None]
            for name in ('level', 'parent', 'error', 'lowest_sky', 'source_light')
        }
        level = columns['level']
        worst = max(level, key=_distance_from_one, default=None)
        squares = columns['error']
        return {
            'level': _mean(level),
            'worst_level': worst,
            'parent': _mean(columns['parent']),
            'pull': float(np.sqrt(np.mean(squares))) if squares else None,
            'lowest_sky': min(columns['lowest_sky'], default=None),
            'source_light': max(columns['source_light'], default=None),
        }


def _distance_from_one(value):
    return abs(np.log(max(value, 1e-9)))


def _mean(values):
    return float(np.mean(values)) if values else None


def _ratio(rms, scene):
    """Return the median of a noise map over the truth; `None` where not finite."""
    value = float(np.median((rms / scene.sigma)[scene.judged]))
    return value if np.isfinite(value) else None


def _error_ratio(bkg, scene):
    """Return the mean square of the error of the sky over its standard error."""
    try:
        error = bkg.background_uncertainty
    # A failure here is counted by no one else, and is no reason to stop.
    except ValueError:
        return None
    good = scene.judged & (error > 0)
    squares = ((bkg.background - scene.sky)[good] / error[good]) ** 2
    return float(squares.mean()) if good.any() else None


def _parent_level(scene):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', AstropyWarning)
            parent = Background2D(
                scene.image, GIVEN_BOX_SIZE, mask=scene.mask, **scene.options
            )
            return _ratio(parent.background_rms, scene)
    except ValueError:
        return None
