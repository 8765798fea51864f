"""
The calibration of weights for counts.
"""

import json
from dataclasses import replace

import numpy as np
from scipy.special import expit, logit
from tqdm import tqdm

from bgrem.detect.peaks import find_peaks
from bgrem.evaluate.gamma.scenes import MIN_SNR, judged_catalog
from bgrem.evaluate.matching import judge, match_radius
from bgrem.pipeline import separate
from bgrem.simulate.gamma import (
    FieldConfig,
    LatConfig,
    simulate_field,
    simulate_lat_patch,
)

__all__ = ['COUNTS_SEED', 'counts_peaks', 'draw_patches']

# Neither that of the training nor that of the suite.
COUNTS_SEED = 990_017
_MIN_LOGIT = -9.0
# Not as the sphere has them: most of it is far from the plane.
_LATITUDES = ((0.0, 4.0), (4.0, 10.0), (10.0, 30.0), (30.0, 90.0))


def draw_patches(n_patches, size, seed):
    """
    Simulate patches that were not part of the training.

    Parameters
    ----------
    n_patches : int
        The number of patches. Of three, two are of the gamma-ray sky, at all latitudes,
        and one is a field of counts of any kind.
    size : int
        Their side in pixels.
    seed : int
        Another seed gives other patches.

    Yields
    ------
    patch : `~bgrem.simulate.gamma.CountsPatch`
        The next patch.
    """
    fields = FieldConfig(shape=(size, size))
    skies = [LatConfig(shape=(size, size), latitude=one) for one in _LATITUDES]
    for number in range(n_patches):
        rng = np.random.default_rng([seed, number])
        kind, place = divmod(number, 3)
        if place == 2:
            yield simulate_field(rng, fields)
        else:
            yield simulate_lat_patch(rng, skies[(2 * kind + place) % len(skies)])


def counts_peaks(weights, *, n_patches=600, size=64, seed=COUNTS_SEED, progress=False):
    """
    Find the peaks of patches, and determine which are true.

    Parameters
    ----------
    weights : `~bgrem.weights.Weights`
        Weights for counts; an existing calibration is not used.
    n_patches, size, seed
        As for `draw_patches`.
    progress : bool, optional
        Whether to show a progress bar.

    Returns
    -------
    center_logit : 1D `~numpy.ndarray` of float
        The logit of each peak, except for those that count neither way.
    is_true : 1D `~numpy.ndarray` of bool
        Whether each peak is a source above S/N 3.
    """
    header = {**weights.header, 'calibration': None}
    raw = replace(weights, header_json=json.dumps(header))
    logits, truths = [], []
    patches = draw_patches(n_patches, size, seed)
    for patch in tqdm(patches, total=n_patches, disable=not progress):
        found = separate(patch.counts, patch.mask, exposure=patch.exposure, weights=raw)
        peaks = find_peaks(found.probability, patch.mask, expit(_MIN_LOGIT))
        # float32 rounds the probability of the surest peaks to one
        probability = np.minimum(peaks['probability'].astype(float), 1 - 2.0**-24)
        is_true, is_neutral = judge(
            peaks['x_center'],
            peaks['y_center'],
            probability,
            judged_catalog(patch),
            match_radius(patch.fwhm),
            min_snr=MIN_SNR,
        )
        logits.append(logit(probability[~is_neutral]))
        truths.append(is_true[~is_neutral])
    return np.concatenate(logits), np.concatenate(truths)
