"""
Run the suite ``gamma``.
"""

from dataclasses import replace

import numpy as np
from tqdm import tqdm

from bgrem.evaluate.curves import CONTAMINATIONS
from bgrem.evaluate.gamma.scenes import (
    GAMMA_FAMILIES,
    gamma_scenes,
    read_templates,
)
from bgrem.evaluate.gamma.starlet import starlet
from bgrem.evaluate.gamma.survey import (
    CompletenessSurvey,
    DiffuseSurvey,
    FluxSurvey,
    MeansSurvey,
)
from bgrem.evaluate.gamma.test_statistic import ts_true, ts_wrong
from bgrem.evaluate.peers import Detections, matched_filter, sep_default
from bgrem.evaluate.suite import DEFAULT_SEED, DetectionSurvey, check_choices
from bgrem.evaluate.wild.survey import CatalogSurvey, Observer
from bgrem.weights import load_weights

__all__ = ['GAMMA_PARTS', 'GAMMA_PEERS', 'run_gamma']

GAMMA_PARTS = ('detection', 'means', 'diffuse', 'fluxes', 'catalog', 'completeness')
GAMMA_PEERS = {
    'sep default': sep_default,
    'Background2D + matched filter': matched_filter,
    'TS map, wrong model': ts_wrong,
    'starlet': starlet,
    # What could be found at all: the TS map with the true model.
    'oracle': ts_true,
}
_GAUSSIAN = 'optical'


def run_gamma(
    weights=(_GAUSSIAN,),
    *,
    families=None,
    n_scenes=30,
    size=64,
    seed=DEFAULT_SEED,
    parts=GAMMA_PARTS,
    peers=None,
    templates=None,
    progress=False,
):
    """
    Judge weights and their peers on patches of the gamma-ray sky.

    Parameters
    ----------
    weights : sequence of str or path-like, optional
        Names of weights in the package or paths; ``'catalog'`` is measured with the
        first. The weights ``optical`` are also run on the Anscombe transform of the
        counts, as a peer.
    families : sequence of str, optional
        Names in `bgrem.evaluate.gamma.scenes.GAMMA_FAMILIES`; all by default.
    n_scenes : int, optional
        Number of patches of each family.
    size : int, optional
        Side of the patches in pixels of 10/64 degrees.
    seed : int, optional
        Seed of the patches.
    parts : collection of str, optional
        What to measure: ``'detection'``, ``'means'`` (of the source image),
        ``'diffuse'`` (the sky), ``'fluxes'``, ``'catalog'`` (detections at a false
        discovery rate of 5%) and ``'completeness'``.
    peers : dict of str to callable, optional
        Detectors to compare with; ``GAMMA_PEERS`` by default, and the weights
        ``optical`` on the Anscombe transform.
    templates : path-like, optional
        Interstellar emission, see `bgrem.evaluate.gamma.scenes.read_templates`; by
        default it is drawn.
    progress : bool, optional
        Whether to show a progress bar.

    Returns
    -------
    results : dict
        All measurements, as plain Python types.

    Raises
    ------
    ImportError, OSError
        If the templates cannot be read.
    ValueError
        If a part or a family is unknown.
    """
    families = list(GAMMA_FAMILIES if families is None else families)
    check_choices(parts=(parts, GAMMA_PARTS), families=(families, GAMMA_FAMILIES))
    skies = None if templates is None else read_templates(templates)
    observers = {w.name: _observer(w) for w in map(load_weights, weights)}
    ours = {name: observer.detect for name, observer in observers.items()}
    if peers is None:
        gaussian = _observer(load_weights(_GAUSSIAN))
        peers = GAMMA_PEERS | {'Anscombe + optical': _Transformed(gaussian).detect}
    others = {
        f'{name}, sep on its sources': _OnSources(observer).detect
        for name, observer in observers.items()
    }
    results = {
        'suite': 'gamma',
        'n_scenes': n_scenes,
        'size': size,
        'seed': seed,
        'templates': None if templates is None else str(templates),
        'contaminations': list(CONTAMINATIONS),
        'weights': {name: o.weights.sha256 for name, o in observers.items()},
        'families': {},
    }
    for family in tqdm(families, disable=not progress, desc='families'):
        surveys = {
            'detection': DetectionSurvey({**ours, **others, **peers}, ours),
            'means': MeansSurvey(observers),
            'diffuse': DiffuseSurvey(observers),
            'fluxes': FluxSurvey(observers),
            'catalog': CatalogSurvey(next(iter(observers.values()))),
            'completeness': CompletenessSurvey(observers),
        }
        surveys = {part: survey for part, survey in surveys.items() if part in parts}
        scenes = gamma_scenes(family, n_scenes, size, seed, skies)
        for scene in tqdm(
            scenes, total=n_scenes, disable=not progress, desc=family, leave=False
        ):
            for survey in surveys.values():
                survey.add(scene)
        results['families'][family] = {
            part: survey.result() for part, survey in surveys.items()
        }
    return results


def _observer(weights):
    """What observes with weights, normalized as they want their images."""
    if weights.is_for_counts:
        return Observer(weights)
    return Observer(weights, normalization=weights.normalization)


class _Transformed:
    """Weights for Gaussian noise, on counts whose noise has been made so."""

    def __init__(self, observer):
        self.observer = observer

    def detect(self, scene):
        # Anscombe 1948.
        stable = 2 * np.sqrt(scene.image + 3 / 8)
        return self.observer.detect(replace(scene, image=stable))


class _OnSources:
    """The paper's detector: sep on the denoised image."""

    def __init__(self, observer):
        self.observer = observer

    def detect(self, scene):
        bkg = self.observer.observe(scene)['background']
        if bkg is None or not bkg.source.any():
            return Detections(*np.empty((3, 0)))
        return sep_default(replace(scene, image=bkg.source))
