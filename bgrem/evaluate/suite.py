"""
The evaluation suite: every detector on the same scenes, family by family.
"""

import time
import zlib
from functools import cache

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from bgrem.evaluate.boxes import BoxSurvey
from bgrem.evaluate.calibration import reliability
from bgrem.evaluate.curves import (
    CONTAMINATIONS,
    detection_curve,
    threshold_at,
    true_positives_at,
)
from bgrem.evaluate.matching import judge, match_radius, shift_positions
from bgrem.evaluate.peers import PEERS, probability_peaks
from bgrem.evaluate.photometry import PhotometrySurvey
from bgrem.evaluate.pixels import PixelSurvey
from bgrem.evaluate.scenes import evaluation_bank, family_scenes
from bgrem.evaluate.segmentation import SegmentationSurvey
from bgrem.evaluate.sensitivity import SensitivitySurvey
from bgrem.evaluate.separator import Separator
from bgrem.evaluate.sky import SkySurvey
from bgrem.simulate import FAMILIES
from bgrem.weights import load_weights

__all__ = [
    'DEFAULT_SEED',
    'FALSE_DISCOVERY_RATES',
    'PARTS',
    'DetectionSurvey',
    'check_choices',
    'noise_false_alarms',
    'run_suite',
]

# No training run uses this seed.
DEFAULT_SEED = 990_002
FALSE_DISCOVERY_RATES = (0.01, 0.02, 0.05, 0.10, 0.20)
PARTS = (
    'detection',
    'sky',
    'boxes',
    'photometry',
    'segmentation',
    'sensitivity',
    'pixels',
    'noise',
)
_N_CURVE_POINTS = 200


class DetectionSurvey:
    """
    Run detectors over the scenes of one family and judge them together.

    Parameters
    ----------
    detectors : dict of str to callable
        Each takes a `~bgrem.evaluate.scenes.Scene` and returns
        `~bgrem.evaluate.peers.Detections`.
    probabilistic : collection of str, optional
        Names of the detectors whose scores are probabilities; for these, the
        reliability and the false discovery rates are also measured.

    Notes
    -----
    `~bgrem.evaluate.matching.judge` defines the rule: detections of sources with an S/N
    between 1 and the limit of the scene count neither way.
    """

    def __init__(self, detectors, probabilistic=()):
        self.detectors = dict(detectors)
        self.probabilistic = frozenset(probabilistic)
        self._score = {name: [] for name in self.detectors}
        self._is_true = {name: [] for name in self.detectors}
        self._is_neutral = {name: [] for name in self.detectors}
        self._is_chance = {name: [] for name in self.detectors}
        self._thresholds = {name: [] for name in self.probabilistic}
        self._seconds = dict.fromkeys(self.detectors, 0.0)
        self._n_true = 0
        self._n_pixels = 0

    def add(self, scene):
        """
        Run every detector on one scene.

        Parameters
        ----------
        scene : `~bgrem.evaluate.scenes.Scene`
            The scene, of which only the matched detections are kept.
        """
        truth, radius = scene.catalog, match_radius(scene.fwhm)
        self._n_true += int(np.sum(truth['snr'] > scene.min_snr))
        self._n_pixels += scene.image.size
        for name, detector in self.detectors.items():
            start = time.perf_counter()
            found = detector(scene)
            self._seconds[name] += time.perf_counter() - start
            is_true, is_neutral = judge(
                found.x, found.y, found.score, truth, radius, min_snr=scene.min_snr
            )
            elsewhere = shift_positions(found.x, scene.image.shape)
            is_chance, _ = judge(
                elsewhere, found.y, found.score, truth, radius, min_snr=scene.min_snr
            )
            self._score[name].append(found.score)
            self._is_true[name].append(is_true)
            self._is_neutral[name].append(is_neutral)
            self._is_chance[name].append(is_chance)
            if name in self.probabilistic:
                self._thresholds[name].append(
                    [found.threshold(rate) for rate in FALSE_DISCOVERY_RATES]
                )

    def result(self):
        """
        Judge all scenes added so far.

        Returns
        -------
        result : dict
            ``n_true`` (true sources that count), ``megapixels``, and
            ``methods``: for each detector the ``true_positives`` at the
            contaminations of `bgrem.evaluate.curves.CONTAMINATIONS`, those
            ``without_a_false_one``, the ``by_chance`` (true positives with all
            positions shifted), the ``curve`` of true against false positives and
            the speed.
        """
        methods = {}
        for name in self.detectors:
            score = np.concatenate([*self._score[name], np.empty(0)])
            none = np.empty(0, bool)
            is_true = np.concatenate([*self._is_true[name], none])
            is_chance = np.concatenate([*self._is_chance[name], none])
            counts = ~np.concatenate([*self._is_neutral[name], none])
            by_chance = _true_at_the_thresholds_of(
                score[counts], is_true[counts], is_chance[counts]
            )
            score, is_true = score[counts], is_true[counts]
            methods[name] = {
                'true_positives': true_positives_at(score, is_true).tolist(),
                'without_a_false_one': int(true_positives_at(score, is_true, [0])[0]),
                'by_chance': by_chance,
                'n_detections': int(score.size),
                'megapixels_per_second': self._n_pixels
                / 1e6
                / max(self._seconds[name], 1e-9),
                'curve': _thin_curve(score, is_true),
            }
            if name in self.probabilistic:
                methods[name]['false_discovery'] = _false_discovery(
                    self._score[name],
                    self._is_true[name],
                    self._is_neutral[name],
                    self._thresholds[name],
                )
                methods[name]['reliability'] = reliability(score, is_true)
        return {
            'n_true': self._n_true,
            'megapixels': self._n_pixels / 1e6,
            'methods': methods,
        }


def _thin_curve(score, is_true):
    """Return the curve as far as it matters, in few enough points to plot."""
    _, n_true, n_false = detection_curve(score, is_true)
    clean = np.flatnonzero(n_false <= 2 * max(CONTAMINATIONS) * (n_true + n_false))
    end = clean[-1] + 1 if clean.size else 0
    keep = np.unique(np.linspace(0, max(end - 1, 0), _N_CURVE_POINTS).astype(int))[:end]
    return {'n_true': n_true[keep].tolist(), 'n_false': n_false[keep].tolist()}


def _true_at_the_thresholds_of(score, is_true, is_chance):
    """Count what chance makes true among the detections of each contamination."""
    thresholds = (threshold_at(score, is_true, c) for c in CONTAMINATIONS)
    return [int(np.sum(is_chance & (score >= t))) for t in thresholds]


def _false_discovery(scores, are_true, are_neutral, thresholds):
    """
    Compare promised with observed rates, the threshold chosen scene by scene.
    """
    rows = []
    for number, rate in enumerate(FALSE_DISCOVERY_RATES):
        kept = [
            score >= of_scene[number]
            for score, of_scene in zip(scores, thresholds, strict=True)
        ]
        kept = [k & ~n for k, n in zip(kept, are_neutral, strict=True)]
        n_kept = sum(int(k.sum()) for k in kept)
        n_false = sum(int(np.sum(k & ~t)) for k, t in zip(kept, are_true, strict=True))
        rows.append(
            {
                'promised': rate,
                'observed': n_false / n_kept if n_kept else None,
                'n_detections': n_kept,
            }
        )
    return rows


def noise_false_alarms(weights, *, megapixels=1.0, size=512, seed=DEFAULT_SEED):
    """
    Count false alarms on images that contain nothing but sky and noise.

    Parameters
    ----------
    weights : `~bgrem.weights.Weights`
        Loaded weights.
    megapixels : float, optional
        Minimum area of each kind of noise.
    size : int, optional
        Side of the images in pixels.
    seed : int, optional
        Seed of the noise.

    Returns
    -------
    false_alarms : dict of str to float
        False alarms per 10^6 pixels at the default threshold (a false
        discovery rate of 5%, chosen image by image) for ``white`` noise,
        noise ``correlated`` by a Gaussian kernel of sigma 1 px, and white
        noise on a ``gradient`` of 25 noise sigma across the image.
    """
    rng = np.random.default_rng(seed)
    n_images = int(np.ceil(megapixels * 1e6 / size**2))
    tilt = np.linspace(-12.5, 12.5, size)
    counts = dict.fromkeys(('white', 'correlated', 'gradient'), 0)
    for _ in range(n_images):
        white = rng.normal(size=(size, size))
        smooth = ndimage.gaussian_filter(white, 1.0, mode='wrap')
        images = {
            'white': white,
            'correlated': smooth / smooth.std(),
            'gradient': white + tilt,
        }
        for kind, image in images.items():
            # Any zero point and scale will do: they must not matter.
            found = probability_peaks(1000 + 5 * image, None, weights)
            counts[kind] += int(np.sum(found.score >= found.threshold(0.05)))
    return {kind: n / (n_images * size**2 / 1e6) for kind, n in counts.items()}


def check_choices(**choices):
    """
    Refuse unknown names.

    Parameters
    ----------
    **choices
        For each parameter, the names that were given and those that are known.

    Raises
    ------
    ValueError
        If a given name is unknown.
    """
    for name, (given, known) in choices.items():
        if unknown := sorted(set(given) - set(known)):
            msg = f'{name} must be among {", ".join(known)}, got {", ".join(unknown)}'
            raise ValueError(msg)


def run_suite(
    weights=('optical',),
    *,
    families=None,
    n_scenes=40,
    size=256,
    seed=DEFAULT_SEED,
    parts=PARTS,
    peers=None,
    bank=None,
    noise_megapixels=2.0,
    n_symmetries=(1,),
    progress=False,
):
    """
    Judge weights and their peers on simulated scenes.

    Parameters
    ----------
    weights : sequence of str or path-like, optional
        Names of weights in the package or paths; all parts except ``'detection'`` and
        ``'noise'`` are measured with the first.
    families : sequence of str, optional
        Names in `bgrem.simulate.FAMILIES`; all by default.
    n_scenes : int, optional
        Number of scenes of each family.
    size : int, optional
        Side of the scenes in pixels.
    seed : int, optional
        Seed of the scenes. Each family has its own, which does not depend
        on the other families requested.
    parts : collection of str, optional
        What to measure: ``'detection'``, ``'sky'``, ``'boxes'``, ``'photometry'``,
        ``'segmentation'``, ``'sensitivity'``, ``'pixels'`` and ``'noise'``.
    peers : dict of str to callable, optional
        Detectors to compare with; `bgrem.evaluate.peers.PEERS` by default.
    bank : `~bgrem.simulate.StampBank`, optional
        The cached evaluation bank by default.
    noise_megapixels : float, optional
        Area of each kind of pure noise.
    n_symmetries : sequence of int, optional
        Detection is judged with each of these numbers of averaged views; see
        `bgrem.denoise.run.denoise`.
    progress : bool, optional
        Whether to show a progress bar.

    Returns
    -------
    results : dict
        All measurements, as plain Python types.

    Raises
    ------
    ValueError
        If a part or a family is unknown.

    Examples
    --------
    >>> from bgrem.evaluate import run_suite
    >>> results = run_suite(families=['flat'], n_scenes=4)  # doctest: +SKIP
    """
    families = list(FAMILIES if families is None else families)
    check_choices(parts=(parts, PARTS), families=(families, FAMILIES))
    loaded = {w.name: w for w in map(load_weights, weights)}
    bank = evaluation_bank() if bank is None else bank
    # What needs the same runs of the network shares the separator.
    shared = cache(Separator)
    own = {
        name if number == 1 else f'{name}, {number} views': shared(
            w, n_symmetries=number, normalization=w.normalization
        )
        for name, w in loaded.items()
        for number in n_symmetries
    }
    first = shared(next(iter(loaded.values())), n_symmetries=1, normalization='local')
    results = {
        'suite': 'optical',
        'n_scenes': n_scenes,
        'size': size,
        'seed': seed,
        'contaminations': list(CONTAMINATIONS),
        'weights': {name: s.weights.sha256 for name, s in own.items()},
        'families': {},
    }
    detectors = {name: separator.detect for name, separator in own.items()}
    detectors |= PEERS if peers is None else peers
    for family in tqdm(families, disable=not progress, desc='families'):
        surveys = _make_surveys(DetectionSurvey(detectors, own), first)
        surveys = {part: survey for part, survey in surveys.items() if part in parts}
        # The name, not the place in the list, decides the scenes.
        family_seed = seed + zlib.crc32(family.encode())
        scenes = family_scenes(bank, family, n_scenes, size, family_seed)
        for scene in tqdm(
            scenes, total=n_scenes, disable=not progress, desc=family, leave=False
        ):
            for survey in surveys.values():
                survey.add(scene)
        results['families'][family] = {
            part: survey.result() for part, survey in surveys.items()
        }
    if 'noise' in parts:
        results['noise_false_alarms'] = {
            name: noise_false_alarms(w, megapixels=noise_megapixels, seed=seed)
            for name, w in loaded.items()
        }
    return results


def _make_surveys(detection, separator):
    """Return what measures each part; all but detection with the same weights."""
    return {
        # First, so that the time that the network takes is counted where it is told.
        'detection': detection,
        'sky': SkySurvey(separator),
        'boxes': BoxSurvey(separator),
        'photometry': PhotometrySurvey(separator),
        'segmentation': SegmentationSurvey(separator),
        'sensitivity': SensitivitySurvey(separator.weights),
        'pixels': PixelSurvey(separator),
    }
