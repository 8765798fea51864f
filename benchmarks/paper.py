# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The headline of the BGRem paper: sep on the denoised image and on the image itself.

``python benchmarks/paper.py`` simulates frames modeled on MeerLICHT, with the real
density of stars and galaxies, and runs sep, which is SExtractor's algorithm, with its
default options at many thresholds: on the frame less sep's own background, and on the
denoised frame, negatives set to zero, of each weights. Both thresholds are in units of
sep's global rms of the frame. Beside them stand the peaks of the probability of the
weights that have one, and the oracle of ``bgrem evaluate``. The file has the layout of
the ``results.json`` of ``bgrem evaluate``.
"""

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import sep

from bgrem.detect.peaks import find_peaks
from bgrem.evaluate.curves import CONTAMINATIONS, true_positives_at
from bgrem.evaluate.matching import MIN_SNR, judge, match_radius
from bgrem.evaluate.peers import list_peaks, oracle
from bgrem.evaluate.report import dated
from bgrem.evaluate.scenes import Scene
from bgrem.pipeline import separate
from bgrem.simulate.meerlicht import simulate_meerlicht
from bgrem.simulate.meerlicht_config import MeerLICHTConfig
from bgrem.weights import load_weights

# DETECT_THRESH of SExtractor's default.sex.
USUAL = 1.5
# A denoised image has hardly any noise: there, low thresholds find more.
THRESHOLDS = np.unique(np.append(np.geomspace(0.1, 30, 40), USUAL))


def make_scene(size, seed):
    """Simulate one frame of a given side in pixels, with the truth about it."""
    frame = simulate_meerlicht(MeerLICHTConfig(size=(size, size)), seed=seed)
    return Scene(
        image=frame.image.astype(float),
        source=frame.source,
        sky=frame.sky,
        sigma=frame.sigma,
        mask=np.zeros(frame.image.shape, dtype=bool),
        psf=frame.psf,
        fwhm=frame.fwhm,
        catalog={name: np.asarray(frame.catalog[name]) for name in ('x', 'y', 'snr')},
    )


def count(x, y, score, scene):
    """Return which detections are true, of those that count."""
    radius = match_radius(scene.fwhm)
    is_true, is_neutral = judge(x, y, score, scene.catalog, radius)
    return is_true, ~is_neutral


def sweep(image, rms, scene):
    """True and false detections of sep on an image, (n_thresholds, 2)."""
    counts = []
    for threshold in THRESHOLDS:
        found = sep.extract(image, threshold, err=rms)
        is_true, counted = count(found['x'], found['y'], found['peak'], scene)
        counts.append((np.sum(is_true), np.sum(~is_true & counted)))
    return np.array(counts)


def at_contaminations(counts):
    """The most true detections at the thresholds that are clean enough."""
    n_true, n_false = counts.T
    return [
        int(n_true[n_false <= rate * (n_true + n_false)].max(initial=0))
        for rate in CONTAMINATIONS
    ]


def survey(scenes, all_weights):
    """Run everything on all frames."""
    sweeps, ranked, n_true = {}, {}, 0
    for scene in scenes:
        n_true += int(np.sum(scene.catalog['snr'] > MIN_SNR))
        sky = sep.Background(scene.image)
        images = {'sep': scene.image - sky.back()}
        found = {'oracle': oracle(scene)}
        for weights in all_weights:
            # None: the normalization that the weights were trained with.
            separation = separate(
                scene.image, scene.mask, weights=weights, normalization=None
            )
            name = f'sep, denoised by {weights.name}'
            images[name] = np.maximum(separation.source, 0).astype(float)
            peaks = find_peaks(separation.probability, scene.mask)
            found[weights.name] = list_peaks(peaks)
        for name, image in images.items():
            counts = sweep(image, sky.globalrms, scene)
            sweeps[name] = sweeps.get(name, 0) + counts
        for name, one in found.items():
            is_true, counted = count(one.x, one.y, one.score, scene)
            rows = ranked.setdefault(name, [])
            rows.append(np.array([one.score, is_true])[:, counted])
    methods = {name: at_contaminations(counts) for name, counts in sweeps.items()}
    for name, rows in ranked.items():
        score, is_true = np.concatenate(rows, axis=1)
        methods[name] = true_positives_at(score, is_true).tolist()
    part = {name: {'true_positives': found} for name, found in methods.items()}
    return {'n_true': n_true, 'methods': part}, sweeps


def headline(sweeps):
    """Compare at as many false detections as sep has at its usual threshold."""
    n_true, n_false = sweeps['sep'][np.searchsorted(THRESHOLDS, USUAL)]
    print(f'sep at {USUAL} sigma: {n_true} true, {n_false} false; with no more false:')
    best = {
        name: counts[counts[:, 1] <= n_false, 0].max(initial=0)
        for name, counts in sweeps.items()
    }
    for name, found in best.items():
        print(f'{name:30} {found} true, {found / best["sep"] - 1:+.1%}')


def main():
    """Print the comparison and write it to a file."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--weights', nargs='+', default=['optical', 'optical-paper'])
    parser.add_argument('--n-frames', type=int, default=8)
    parser.add_argument('--size', type=int, default=1024, help='pixels (default: 1024)')
    parser.add_argument('--seed', type=int, default=990_021)
    parser.add_argument('-o', '--output', type=Path, metavar='FILE', help='JSON')
    options = parser.parse_args()
    warnings.simplefilter('ignore')
    sep.set_extract_pixstack(3_000_000)
    sep.set_sub_object_limit(8192)
    all_weights = [load_weights(name) for name in options.weights]
    seeds = range(options.seed, options.seed + options.n_frames)
    scenes = (make_scene(options.size, seed) for seed in seeds)
    part, sweeps = survey(scenes, all_weights)
    print(f'{part["n_true"]} true sources; found at 1, 2, 5, 10 and 20% contamination')
    for name, method in part['methods'].items():
        print(f'{name:30}', *method['true_positives'])
    headline(sweeps)
    if options.output:
        results = {
            'suite': 'meerlicht',
            'n_scenes': options.n_frames,
            'size': options.size,
            'seed': options.seed,
            'contaminations': list(CONTAMINATIONS),
            'weights': {weights.name: weights.sha256 for weights in all_weights},
            'families': {'meerlicht': {'detection': part}},
        }
        options.output.write_text(
            json.dumps(dated(results), indent=1) + '\n', encoding='utf-8'
        )


if __name__ == '__main__':
    main()
