"""
From the logit of the network to a probability that keeps its promise.

``python -m bgrem.evaluate.calibration --weights FILE`` measures, on simulated scenes
like those of the training, how often a peak with a given logit is a true source, and
how this depends on properties of the image itself: what the detector finds in its
sign-flipped residual, the correlation and skewness of its noise, and the width of its
sources. It writes the result to the header of the weights file.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import expit, logit
from tqdm import tqdm

from bgrem.detect.discovery import shift_probability
from bgrem.detect.peaks import find_peaks
from bgrem.evaluate.count_calibration import counts_peaks
from bgrem.evaluate.image_check import ScenePeaks, fit_correction, fit_offset
from bgrem.evaluate.matching import judge, match_radius
from bgrem.evaluate.scenes import evaluation_bank, family_scenes
from bgrem.inspection import inspect_image
from bgrem.pipeline import separate
from bgrem.simulate import SceneConfig
from bgrem.weights import load_weights, save_weights

__all__ = [
    'CALIBRATION_SCENES',
    'fit_calibration',
    'fit_peaks',
    'fit_table',
    'main',
    'reliability',
]

# The scenes of the training, never the families on which all is judged; but without
# the defects that an image has lost, or has masked, before sources are looked for.
CALIBRATION_SCENES = SceneConfig(
    cosmic_ray_probability=0.0,
    hot_pixel_probability=0.0,
    column_probability=0.0,
    trail_probability=0.0,
)
N_KNOTS = 32
# Neither the seed of a training run nor that of the suite: the calibration
# must not be judged on the scenes that it was fitted to.
CALIBRATION_SEED = 990_003
_N_RELIABILITY_BINS = 12
_MIN_LOGIT = -9.0
# A scene with more false detections than promised by this many standard deviations
# is one where the network fails (nebulosity taken for sources, bleeding columns). A
# few such would set the probability of the best peaks of all other images. To leave out
# more than these few would promise too much in the images that are merely difficult.
_MAX_SURPRISE = 5.0
# The merely difficult ones say how the promise depends on the image, but at a rate of
# 5% they are most of what is false: table and offset are those of the ordinary scenes.
_MAX_ORDINARY = 2.0
_MAX_ROUNDS = 5


def reliability(probability, is_true):
    """
    Compare promised with observed probabilities in bins.

    Parameters
    ----------
    probability : 1D array_like of float
        Calibrated probabilities of peaks.
    is_true : 1D array_like of bool
        Whether each peak is matched to a true source.

    Returns
    -------
    rows : list of dict
        For each bin that is not empty, in ascending order: the mean ``promised``
        probability, the ``observed`` fraction and the number ``n`` of peaks. The bins
        have equal widths.

    Examples
    --------
    >>> from bgrem.evaluate import reliability
    >>> bins = reliability([0.9, 0.95, 0.1], [True, True, False])
    >>> sorted(bins[0])
    ['n', 'observed', 'promised']
    """
    probability = np.asarray(probability, dtype=float)
    is_true = np.asarray(is_true, dtype=bool)
    edges = np.linspace(0, 1, _N_RELIABILITY_BINS + 1)
    place = np.clip(np.digitize(probability, edges) - 1, 0, _N_RELIABILITY_BINS - 1)
    return [
        {
            'promised': float(probability[place == k].mean()),
            'observed': float(is_true[place == k].mean()),
            'n': int(np.sum(place == k)),
        }
        for k in np.unique(place)
    ]


def fit_table(center_logit, is_true, n_knots=N_KNOTS):
    """
    Fit the monotonic table from logit to probability.

    Parameters
    ----------
    center_logit : 1D array_like of float
        Logits of peaks.
    is_true : 1D array_like of bool
        Whether each peak is matched to a true source.
    n_knots : int, optional
        The maximum number of knots of the table.

    Returns
    -------
    calibration : dict
        ``logit`` and ``probability``, both strictly increasing lists, for
        `bgrem.detect.probability.calibrate`.

    Raises
    ------
    ValueError
        If there are no true or no false peaks, so that nothing can be fitted.

    Notes
    -----
    The peaks are binned by rank, such that bins contain equal amounts of true and
    false peaks together, and the fractions of the bins are made monotonic by
    isotonic regression. The fraction of each bin is (n_true + 1/2) / (n + 1), so
    that no probability is 0 or 1 merely because a bin is small.
    """
    center_logit = np.asarray(center_logit, dtype=float)
    is_true = np.asarray(is_true, dtype=bool)
    n_true = int(is_true.sum())
    if not 0 < n_true < is_true.size:
        msg = (
            'is_true must hold true and false peaks, got '
            f'{n_true} true ones of {is_true.size}'
        )
        raise ValueError(msg)
    order = np.argsort(center_logit, kind='stable')
    center_logit, is_true = center_logit[order], is_true[order]
    # Noise peaks outnumber true ones by far: half of the weight each, or
    # nearly all the bins would lie where nothing is true.
    share = np.where(is_true, 0.5 / n_true, 0.5 / (is_true.size - n_true))
    place = (n_knots * (np.cumsum(share) - share / 2)).astype(int)
    place = np.unique(place, return_inverse=True)[1]
    count = np.bincount(place)
    fraction = (np.bincount(place, is_true) + 0.5) / (count + 1)
    blocks = isotonic_regression(fraction, weights=count).blocks
    # A block is where the fractions would fall: it becomes one knot, hence
    # the knots are strictly increasing.
    n_block = np.add.reduceat(count, blocks[:-1])
    true_block = np.add.reduceat(np.bincount(place, is_true), blocks[:-1])
    sum_block = np.add.reduceat(np.bincount(place, center_logit), blocks[:-1])
    knots = sum_block / n_block
    probability = (true_block + 0.5) / (n_block + 1)
    kept = _increasing(knots, probability)
    return {
        'logit': [round(float(v), 4) for v in knots[kept]],
        'probability': [round(float(v), 7) for v in probability[kept]],
    }


def _increasing(knots, probability):
    """Return the indices of knots that rise by more than rounding."""
    kept = []
    for k in range(knots.size):
        if not kept or (
            knots[k] > knots[kept[-1]] + 1e-3
            and probability[k] > probability[kept[-1]] + 1e-6
        ):
            kept.append(k)
    return kept


def fit_calibration(
    weights,
    *,
    scenes=CALIBRATION_SCENES,
    n_scenes=480,
    size=256,
    seed=CALIBRATION_SEED,
    bank=None,
    progress=False,
):
    """
    Measure the calibration of weights on simulated scenes.

    Parameters
    ----------
    weights : `~bgrem.weights.Weights`
        Loaded weights; an existing calibration is not used.
    scenes : str or `~bgrem.simulate.SceneConfig`, optional
        The contents of the scenes, or the name of a family. By default
        ``CALIBRATION_SCENES``: those of the training, without defects.
    n_scenes : int, optional
        Number of scenes.
    size : int, optional
        Side of the scenes in pixels.
    seed : int, optional
        Seed of the scenes.
    bank : `~bgrem.simulate.StampBank`, optional
        The cached evaluation bank by default.
    progress : bool, optional
        Whether to show a progress bar.

    Returns
    -------
    calibration : dict
        As from `fit_table`, with the additional key ``correction`` from
        `bgrem.evaluate.image_check.fit_correction`. For weights for counts, which are
        calibrated on patches of `bgrem.evaluate.count_calibration.draw_patches`, it has
        no such key.

    Notes
    -----
    The fit is repeated without the scenes with more false detections (of a corrected
    probability above 0.5) than promised, by 5 standard deviations. Finally, the table
    and the ``offset`` are fitted to the scenes with an excess of less than 2 standard
    deviations, and the rest of the correction to all remaining scenes.
    """
    if weights.is_for_counts:
        return fit_table(*counts_peaks(weights, n_patches=n_scenes, progress=progress))
    header = {**weights.header, 'calibration': None}
    raw = replace(weights, header_json=json.dumps(header))
    bank = evaluation_bank() if bank is None else bank
    made = family_scenes(bank, scenes, n_scenes, size, seed)
    measured = [
        _measure(scene, raw)
        for scene in tqdm(made, total=n_scenes, disable=not progress)
    ]
    return fit_peaks(measured)


def fit_peaks(scenes):
    """
    Fit the calibration to the peaks of scenes.

    Parameters
    ----------
    scenes : sequence of `~bgrem.evaluate.image_check.ScenePeaks`
        The scenes.

    Returns
    -------
    calibration : dict
        As from `fit_calibration`.
    """
    used = scenes
    for _ in range(_MAX_ROUNDS):
        table = _fit_scenes(used)
        correction = fit_correction(used, table)
        surprise = np.array([_surprise(s, table, correction) for s in scenes])
        kept = [scenes[k] for k in np.flatnonzero(surprise < _MAX_SURPRISE)]
        if len(kept) == len(used):
            break
        used = kept
    ordinary = [scenes[k] for k in np.flatnonzero(surprise < _MAX_ORDINARY)]
    table = _fit_scenes(ordinary)
    correction = fit_offset(ordinary, table, fit_correction(used, table))
    return {**table, 'correction': correction}


def _fit_scenes(scenes):
    return fit_table(
        np.concatenate([scene.center_logit[scene.counts] for scene in scenes]),
        np.concatenate([scene.is_true[scene.counts] for scene in scenes]),
    )


def _measure(scene, raw):
    """Return the peaks of a scene and what it says about them."""
    options = {'weights': raw, 'normalization': None, 'binning': 1}
    found = separate(scene.image, scene.mask, **options)
    peaks = find_peaks(found.probability, scene.mask, expit(_MIN_LOGIT))
    inspection = inspect_image(
        scene.image,
        scene.mask,
        found.source,
        peaks,
        min_probability=expit(_MIN_LOGIT),
        **options,
    )
    is_true, is_neutral = judge(
        peaks['x_center'],
        peaks['y_center'],
        peaks['probability'],
        scene.catalog,
        match_radius(scene.fwhm),
    )
    return ScenePeaks(
        _as_logit(peaks['probability']),
        is_true,
        _as_logit(inspection.flipped),
        inspection.clean_fraction,
        inspection.correlation,
        inspection.skewness,
        inspection.widths,
        is_neutral,
    )


def _as_logit(probability):
    # float32 rounds the probability of the surest peaks to one.
    return logit(np.minimum(probability.astype(float), 1 - 2.0**-24))


def _surprise(scene, table, correction):
    """Return by how many standard deviations too much of a scene is false."""
    shift = scene.check(table).log_odds_shift(correction)
    p = shift_probability(scene.probability(table), shift)
    likely = (p > 0.5) & scene.counts
    excess = np.sum(~scene.is_true[likely]) - np.sum(1 - p[likely])
    return excess / np.sqrt(np.sum(p[likely] * (1 - p[likely])) + 1)


def main(argv=None):
    """
    Run the command.

    Parameters
    ----------
    argv : list of str or `None`, optional
        The arguments; by default those of the process.

    Returns
    -------
    status : int
        0, or 1 after one line on the standard error.
    """
    parser = argparse.ArgumentParser(
        prog='python -m bgrem.evaluate.calibration',
        description='Fit the calibration of weights and write it into their header.',
    )
    parser.add_argument('--weights', required=True, help='.safetensors file')
    parser.add_argument('-o', '--output', help='default: rewrite the file itself')
    parser.add_argument('--n-scenes', type=int, default=480, help='default 480')
    parser.add_argument('--size', type=int, default=256, help='of a scene in pixels')
    options = parser.parse_args(argv)
    try:
        weights = load_weights(options.weights)
        calibration = fit_calibration(
            weights, n_scenes=options.n_scenes, size=options.size, progress=True
        )
        output = Path(options.output or weights.path)
        rewrite_header(weights, output, calibration)
    except (OSError, ValueError) as error:
        sys.stderr.write(f'error: {error}\n')
        return 1
    rows = zip(calibration['logit'], calibration['probability'], strict=True)
    sys.stdout.write(''.join(f'{x:9.4f} {p:.6f}\n' for x, p in rows))
    sys.stdout.write(json.dumps(calibration.get('correction')) + '\n')
    return 0


def rewrite_header(weights, path, calibration):
    """
    Save weights with another calibration and unchanged tensors.

    Parameters
    ----------
    weights : `~bgrem.weights.Weights`
        Loaded weights.
    path : path-like
        File to write; may be that of ``weights``.
    calibration : dict
        From `fit_calibration`.
    """
    import safetensors.torch

    state = safetensors.torch.load_file(weights.path)
    header = {**weights.header, 'calibration': calibration}
    save_weights(path, state, header)


if __name__ == '__main__':
    sys.exit(main())
