# Licensed under a 3-clause BSD style license - see LICENSE.rst
r"""
Adapt weights to a camera with fringes, and see what that gains and what it loses.

All of it, line by line::

    python benchmarks/camera.py frames runs/camera/blank
    bgrem train --init optical --noise-frames runs/camera/blank --steps 600 \
        -o runs/camera/tuned
    python -m bgrem.evaluate.calibration \
        --weights runs/camera/tuned/optical-tuned.safetensors
    python benchmarks/camera.py judge runs/camera/blank \
        --weights optical runs/camera/tuned/optical-tuned.safetensors \
        -o runs/camera/judged.json --picture runs/camera/fringes.png

The light of the sources is that of the family ``flat`` of the evaluation, the fringes
are those of benchmarks/fringes.py.
"""

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from fringes import (
    N_CHIPS,
    NIGHTS,
    SEED,
    exposures,
    fringe_maps,
    without_fringes,
    write_blank_frames,
)

from bgrem.evaluate.curves import CONTAMINATIONS
from bgrem.evaluate.matching import judge, match_radius
from bgrem.evaluate.peers import PEERS
from bgrem.evaluate.report import dated
from bgrem.evaluate.scenes import evaluation_bank, family_scenes
from bgrem.evaluate.separator import Separator
from bgrem.evaluate.sky import sky_residual
from bgrem.evaluate.suite import FALSE_DISCOVERY_RATES, DetectionSurvey
from bgrem.weights import load_weights

# Exposures of the chips of which there are blank frames, and of one without.
CHIPS = {'same chips': range(N_CHIPS), 'another chip': (N_CHIPS,)}
FAMILIES = ('flat', 'crowded', 'nebulosity')
PEER_NAMES = ('photutils', 'sep default', 'sep matched', 'oracle')
_WIDTH = 800  # of the picture


def judge_scenes(scenes, separators, maps=None):
    """
    Run all detectors on scenes.

    Parameters
    ----------
    scenes : iterable of `~bgrem.evaluate.scenes.Scene`
        The scenes.
    separators : dict of str to `~bgrem.evaluate.separator.Separator`
        The weights by name.
    maps : dict, optional
        As of `fringe_maps`: the first weights and photutils get the scenes without
        fringes as well.

    Returns
    -------
    result : dict
        ``n_true``, the true sources above S/N 2, and for each method ``true`` at 5 and
        10% contamination; for the weights also ``promise``, the true and the false
        detections at a promise of 5%, and the rms ``sky`` error in sigma.
    """
    detectors = {name: separator.detect for name, separator in separators.items()}
    probable = list(detectors)
    detectors |= {name: PEERS[name] for name in PEER_NAMES}
    if maps is not None:
        first = probable[0]
        mapped = {first: separators[first].detect, 'photutils': PEERS['photutils']}
        for name, detector in mapped.items():
            detectors[f'{name}, fringe map'] = partial(_detect_clean, detector, maps)
        probable.append(f'{first}, fringe map')
    survey = DetectionSurvey(detectors, probable)
    squares = {name: [] for name in separators}
    for scene in scenes:
        for name, separator in separators.items():
            residual = sky_residual(separator.background(scene).background, scene)
            squares[name].append(np.mean(residual**2))
        survey.add(scene)
    found = survey.result()
    at = [CONTAMINATIONS.index(c) for c in (0.05, 0.10)]
    methods = {}
    for name, method in found['methods'].items():
        methods[name] = {'true': [method['true_positives'][k] for k in at]}
        if name in probable:
            row = method['false_discovery'][FALSE_DISCOVERY_RATES.index(0.05)]
            n_false = round(row['n_detections'] * (row['observed'] or 0))
            methods[name]['promise'] = [row['n_detections'] - n_false, n_false]
        if name in squares:
            methods[name]['sky'] = float(np.sqrt(np.mean(squares[name])))
    return {'n_true': found['n_true'], 'methods': methods}


def judge_weights(names, blank, n_scenes, size):
    """
    Judge weights on the camera and on the usual families.

    Parameters
    ----------
    names : sequence of str
        Names or files of the weights.
    blank : path-like
        Folder of the blank frames, of which the fringe maps are made.
    n_scenes, size : int
        Scenes of each night and family, and their side in pixels.

    Returns
    -------
    results : dict
        As of `judge_scenes`, by chips and night, and by family.
    """
    separators = {w.name: Separator(w) for w in map(load_weights, names)}
    bank, maps = evaluation_bank(), fringe_maps(blank)
    results = {}
    for where, chips in CHIPS.items():
        for number, night in enumerate(NIGHTS):
            seed = SEED + 10 * number + len(chips)
            scenes = exposures(chips, night, n_scenes, size, bank, seed)
            used = maps if set(chips) <= set(maps) else None
            title = f'fringes of {100 * night[0]:g}%, {where}'
            results[title] = judge_scenes(scenes, separators, used)
            report(title, results[title])
    for family in FAMILIES:
        scenes = family_scenes(bank, family, n_scenes, size, SEED)
        results[family] = judge_scenes(scenes, separators)
        report(family, results[family])
    return dated({'n_scenes': n_scenes, 'size': size, 'results': results})


def _detect_clean(detector, maps, exposure):
    return detector(without_fringes(exposure, maps))


def report(title, result):
    """
    Print what was measured.
    """
    print(f'\n{title}: {result["n_true"]} sources above S/N 2')
    for name, method in result['methods'].items():
        line = '{:24s} {:5d} {:5d} true at 5, 10%'.format(name, *method['true'])
        if 'promise' in method:
            line += '; promise of 5%: {} true, {} false'.format(*method['promise'])
        if 'sky' in method:
            line += f'; sky wrong by {method["sky"]:.2f} sigma'
        print(line, flush=True)


def draw(path, names, size):
    """
    Draw an exposure of the last night, and what weights make of it.

    Parameters
    ----------
    path : path-like
        The PNG file.
    names : sequence of str
        Names or files of the weights.
    size : int
        Side of the image in pixels.
    """
    from matplotlib.figure import Figure
    from PIL import Image

    chips = CHIPS['another chip']
    bank = evaluation_bank()
    (scene,) = exposures(chips, NIGHTS[-1], 1, size, bank, SEED + 100)
    sigma, level = float(scene.sigma.mean()), float(scene.sky.mean())
    rows = [('data', scene.image - level), ('true sky', scene.sky - level),
            ('true sources', scene.source)]  # fmt: skip
    marks = {}
    for weights in map(load_weights, names):
        separator = Separator(weights)
        sky = separator.background(scene).background
        source = separator.separate(scene).source
        rows += [(f'{weights.name}: data - source', scene.image - source - level),
                 (f'{weights.name}: sky', sky - level),
                 (f'{weights.name}: source', source)]  # fmt: skip
        found = separator.detect(scene)
        kept = found.score >= found.threshold(0.05)
        x, y, score = found.x[kept], found.y[kept], found.score[kept]
        true, _ = judge(x, y, score, scene.catalog, match_radius(scene.fwhm))
        marks[len(rows) - 1] = x, y, true
    n_rows = len(rows) // 3
    figure = Figure(figsize=(9, 3.15 * n_rows), layout='constrained')
    for number, (title, image) in enumerate(rows):
        axis = figure.add_subplot(n_rows, 3, number + 1)
        axis.imshow(image / sigma, origin='lower', vmin=-5, vmax=8, cmap='gray')
        axis.set(title=title, xticks=[], yticks=[])
        if number in marks:
            x, y, true = marks[number]
            axis.plot(x[true], y[true], 'o', ms=9, mfc='none', mec='tab:green')
            axis.plot(x[~true], y[~true], 's', ms=9, mfc='none', mec='tab:red')
    figure.savefig(path, dpi=100)
    # A page has no use for more, and noise does not compress.
    picture = Image.open(path).convert('RGB')
    height = round(picture.height * _WIDTH / picture.width)
    picture = picture.resize((_WIDTH, height), Image.Resampling.LANCZOS)
    # This method keeps the few pixels of the circles.
    picture = picture.quantize(48, method=Image.Quantize.MAXCOVERAGE)
    picture.save(path, optimize=True)


def main(argv=None):
    """Run from the command line."""
    parser = argparse.ArgumentParser(description='Weights for a camera with fringes.')
    commands = parser.add_subparsers(dest='command', required=True)
    frames = commands.add_parser('frames', help='write the blank frames of the camera')
    frames.add_argument('folder')
    judged = commands.add_parser('judge', help='judge weights on new frames')
    judged.add_argument('folder', help='the blank frames')
    judged.add_argument('--weights', nargs='+', default=['optical'])
    judged.add_argument('--n-scenes', type=int, default=8, help='default 8')
    judged.add_argument('--size', type=int, default=256, help='in pixels, default 256')
    judged.add_argument('-o', '--output', metavar='JSON')
    judged.add_argument('--picture', metavar='PNG')
    options = parser.parse_args(argv)
    if options.command == 'frames':
        return write_blank_frames(options.folder)
    start = time.perf_counter()
    results = judge_weights(
        options.weights, options.folder, options.n_scenes, options.size
    )
    print(f'\n{time.perf_counter() - start:.0f} s')
    if options.output:
        Path(options.output).write_text(json.dumps(results, indent=1) + '\n')
    if options.picture:
        draw(options.picture, options.weights, options.size)
    return None


if __name__ == '__main__':
    sys.exit(main())
