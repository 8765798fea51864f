"""
From the network's logit to a probability that keeps its promise.

``python -m bgrem.evaluate.calibration --weights FILE`` measures, on simulated
scenes of all families, how often a peak of a given logit is a true source, and
writes the table into the header of the weights file.
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

from bgrem.evaluate.matching import match, match_radius
from bgrem.evaluate.peers import probability_peaks
from bgrem.evaluate.scenes import evaluation_bank, family_scenes
from bgrem.simulate import FAMILIES
from bgrem.weights import load_weights, save_weights

__all__ = ['fit_calibration', 'fit_table', 'main', 'reliability']

N_KNOTS = 32
# Neither the seed of a training run nor that of the suite: the calibration
# must not be judged on the scenes that it was fitted to.
CALIBRATION_SEED = 990_003
_N_RELIABILITY_BINS = 12


def reliability(probability, is_true):
    """
    Compare promised with observed probability in bins.

    Parameters
    ----------
    probability : 1D array_like of float
        Calibrated probabilities of peaks.
    is_true : 1D array_like of bool
        Whether each peak is matched to a true source.

    Returns
    -------
    rows : list of dict
        For each bin that is not empty, in rising order: the mean
        ``promised`` probability, the ``observed`` fraction and the number
        ``n`` of peaks. The bins are equally wide.
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
    Fit the monotone table from logit to probability.

    Parameters
    ----------
    center_logit : 1D array_like of float
        Logits of peaks.
    is_true : 1D array_like of bool
        Whether each peak is matched to a true source.
    n_knots : int, optional
        Most knots of the table.

    Returns
    -------
    calibration : dict
        ``logit`` and ``probability``, both strictly increasing lists, for
        `bgrem.detection.calibrate`.

    Raises
    ------
    ValueError
        If there are no true or no false peaks: nothing can be fitted then.

    Notes
    -----
    The peaks are binned by rank, in bins that hold equal amounts of true and
    false peaks together, and the fractions of the bins are made monotone by
    isotonic regression. Each bin's fraction is (n_true + 1/2) / (n + 1), so
    that no probability is 0 or 1 because a bin is small.
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
    families=None,
    n_scenes=12,
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
        Loaded weights; a calibration that they have is not used.
    families : sequence of str, optional
        Scene families, all with equal area; all of
        `bgrem.simulate.FAMILIES` by default.
    n_scenes : int, optional
        Scenes of each family.
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
        As `fit_table`.
    """
    header = {**weights.header, 'calibration': None}
    raw = replace(weights, header_json=json.dumps(header))
    bank = evaluation_bank() if bank is None else bank
    logits, are_true = [], []
    families = list(FAMILIES if families is None else families)
    for k, family in enumerate(tqdm(families, disable=not progress)):
        for scene in family_scenes(bank, family, n_scenes, size, seed + k):
            peaks = probability_peaks(
                scene.image, scene.mask, raw, min_probability=expit(-9.0)
            )
            truth = scene.catalog
            index = match(
                peaks.x,
                peaks.y,
                peaks.score,
                truth['x'],
                truth['y'],
                truth['snr'],
                match_radius(scene.fwhm),
            )
            # float32 rounds the probability of the surest peaks to one.
            logits.append(logit(np.minimum(peaks.score, 1 - 2.0**-24)))
            are_true.append(index >= 0)
    return fit_table(np.concatenate(logits), np.concatenate(are_true))


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
    parser.add_argument('--n-scenes', type=int, default=12, help='of each family')
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
    return 0


def rewrite_header(weights, path, calibration):
    """
    Save weights with another calibration, the tensors untouched.

    Parameters
    ----------
    weights : `~bgrem.weights.Weights`
        Loaded weights.
    path : path-like
        File to write; may be the one of ``weights``.
    calibration : dict
        As `fit_table`.
    """
    import safetensors.torch

    state = safetensors.torch.load_file(weights.path)
    header = {**weights.header, 'calibration': calibration}
    header.pop('sha256_state', None)
    save_weights(path, state, header)


if __name__ == '__main__':
    sys.exit(main())
