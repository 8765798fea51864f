"""
Run the suite ``wild``.
"""

from dataclasses import replace
from functools import partial

import numpy as np
from tqdm import tqdm

from bgrem.evaluate.boxes import BoxSurvey
from bgrem.evaluate.curves import CONTAMINATIONS
from bgrem.evaluate.peers import Detections, matched_filter, oracle
from bgrem.evaluate.separator import Separator
from bgrem.evaluate.suite import DEFAULT_SEED, DetectionSurvey, check_choices
from bgrem.evaluate.wild.families import (
    STRIPED_FAMILIES,
    WILD_FAMILIES,
    wild_scenes,
)
from bgrem.evaluate.wild.survey import (
    CatalogSurvey,
    LevelSurvey,
    Observer,
    takes,
)
from bgrem.weights import load_weights

__all__ = ['WILD_PARTS', 'WILD_PEERS', 'run_wild']

WILD_PARTS = ('detection', 'boxes', 'catalog', 'level')
WILD_PEERS = {'Background2D + matched filter': matched_filter, 'oracle': oracle}


def run_wild(
    weights=('optical',),
    *,
    families=None,
    n_scenes=5,
    size=256,
    seed=DEFAULT_SEED,
    parts=WILD_PARTS,
    peers=None,
    progress=False,
):
    """
    Judge weights on scenes unlike those of the training.

    Parameters
    ----------
    weights : sequence of str or path-like, optional
        Names of weights in the package or paths; all parts except ``'detection'`` are
        measured with the first.
    families : sequence of str, optional
        Names in `bgrem.evaluate.wild.families.WILD_FAMILIES`; all by default.
    n_scenes : int, optional
        Number of scenes of each family.
    size : int, optional
        Side of the scenes in pixels; resampled and broad images are larger.
    seed : int, optional
        Seed of the scenes. Each family has its own, which does not depend on the
        other families requested.
    parts : collection of str, optional
        What to measure: ``'detection'``, ``'boxes'`` (the sky), ``'catalog'``
        (detections at a false discovery rate of 5%) and ``'level'`` (the noise).
    peers : dict of str to callable, optional
        Detectors to compare with; ``WILD_PEERS`` by default.
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
    """
    families = list(WILD_FAMILIES if families is None else families)
    check_choices(parts=(parts, WILD_PARTS), families=(families, WILD_FAMILIES))
    observers = {w.name: Observer(w) for w in map(load_weights, weights)}
    first = next(iter(observers.values()))
    results = {
        'suite': 'wild',
        'n_scenes': n_scenes,
        'size': size,
        'seed': seed,
        'contaminations': list(CONTAMINATIONS),
        'weights': {name: o.weights.sha256 for name, o in observers.items()},
        'families': {},
    }
    others = WILD_PEERS if peers is None else peers
    others = {name: _never_failing(peer) for name, peer in others.items()}
    for family in tqdm(families, disable=not progress, desc='families'):
        ours = {name: observer.detect for name, observer in observers.items()}
        if family in STRIPED_FAMILIES:
            ours |= _without_stripes(observers)
            results['weights'] |= {
                name: results['weights'][name.split(',')[0]] for name in ours
            }
        surveys = {
            'detection': DetectionSurvey({**ours, **others}, ours),
            'boxes': BoxSurvey(Separator(first.weights)),
            'catalog': CatalogSurvey(first),
            'level': LevelSurvey(first),
        }
        surveys = {part: survey for part, survey in surveys.items() if part in parts}
        for scene in wild_scenes(family, n_scenes, size, seed):
            for survey in surveys.values():
                survey.add(scene)
        results['families'][family] = {
            part: survey.result() for part, survey in surveys.items()
        }
    return results


def _without_stripes(observers):
    """Return detectors that take the stripes out, and those that see none."""
    detectors = {}
    for name, observer in observers.items():
        plain = Observer(observer.weights)
        detectors[f'{name}, no stripes'] = partial(_detect_clean, plain)
        if takes('remove_stripes'):
            careful = Observer(observer.weights, remove_stripes=True)
            detectors[f'{name}, remove_stripes'] = careful.detect
    return detectors


def _detect_clean(observer, scene):
    return observer.detect(replace(scene, image=scene.image - scene.stripes))


def _never_failing(peer):
    """Return a peer that finds nothing in what it refuses."""

    def detector(scene):
        try:
            return peer(scene)
        except ValueError:
            return Detections(*np.empty((3, 0)))

    return detector
