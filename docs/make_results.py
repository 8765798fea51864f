# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Write the tables of the page of results: ``python docs/make_results.py FOLDER ...``.

Each FOLDER holds the ``results.json`` of a run of ``bgrem evaluate``; families and
parts may be divided among several. Only the tables of what was measured are written.
"""

import argparse
import io
import json
import re
import textwrap
from itertools import pairwise, product
from pathlib import Path

import numpy as np
from astropy.table import Table

from bgrem.evaluate.curves import CONTAMINATIONS
from bgrem.evaluate.photometry import SNR_EDGES
from bgrem.evaluate.separator import BGREM_BOX_SIZE, GIVEN_BOX_SIZE
from bgrem.evaluate.sky import bgrem_name
from bgrem.evaluate.tables import best_peer, noise_table, promise_table, snr_range
from bgrem.evaluate.wild.tables import (
    boxes_table,
    catalog_table,
    level_table,
    warning_table,
)
from bgrem.simulate import FAMILIES

TABLES = Path(__file__).parent / 'development' / 'tables'
NOTE = '.. Written by ``python docs/make_results.py``; do not edit.\n\n'
# Fluxes are shown where the skies differ most, and above this S/N in the aperture.
FLUX_FAMILIES = (
    'flat', 'gradient', 'mosaic', 'nebulosity', 'crowded', 'large_galaxies'
)  # fmt: skip
FLUX_BINS = [
    {'snr_low': low, 'snr_high': None if np.isinf(high) else high, 'n': 0}
    for low, high in pairwise(SNR_EDGES)
    if low >= 5
]
FLUX_METHODS = {
    'bgrem': f'box {BGREM_BOX_SIZE}',
    'bgrem, mean': f'box {BGREM_BOX_SIZE}, mean',
    'bgrem 8': 'box 8',
    'bgrem, mean 8': 'box 8, mean',
    'true sky': 'true sky',
    'Background2D': 'Background2D',
    'denoised, clipped': 'denoised, clipped',
}
TOTAL_FLUXES = {'kron': 'Kron', 'total': 'total', 'local': 'local'}
TOTAL_METHODS = ('bgrem', 'true sky')
POSITIONS = ['position', 'centroid']
# A bias or a pull of fewer sources says nothing.
MIN_SOURCES = 5
# Above this S/N most methods find every injected star.
MAX_INJECTION_SNR = 8.0
RATES = [f'{rate:.0%}' for rate in CONTAMINATIONS]
# What stands above each table.
CAPTIONS = {
    'runs': (
        'What was run: weights, parts, scenes of each family and seed; when, and by '
        'which version of bgrem.'
    ),
    'detection': (
        'Number of true sources found where 1, 2, 5, 10 and 20% of the detections '
        'are false.'
    ),
    'limits': 'The same beside the limit, on other scenes.',
    'meerlicht': (
        'Number of true sources found where 1, 2, 5, 10 and 20% of the detections '
        'are false, in frames modeled on MeerLICHT.'
    ),
    'false_discovery': (
        'Percentage of false detections where 1, 2, 5, 10 and 20% were promised.'
    ),
    'noise': 'False detections per megapixel of pure noise at the default threshold.',
    'sky': (
        'Rms error of the sky in units of the noise of a pixel; in brackets the side '
        'of the box in pixels.'
    ),
    'boxes': (
        'Error of the sky in units of the noise of a pixel: mean of the scenes and '
        'worst scene, and rms; in brackets the side of the box in pixels and of its '
        'median filter in boxes.'
    ),
    'fluxes': 'Median error of aperture fluxes in percent of the true flux.',
    'totals': 'Median error of total fluxes in percent of the true flux.',
    'pulls': (
        'Mean and standard deviation of (measured - true) / error of aperture fluxes; '
        'n is the number of sources.'
    ),
    'positions': 'Median error of positions in units of the Cramer-Rao limit.',
    'real_detection': 'One real exposure: number of sources of the deep stack found.',
    'injections': (
        'Fraction of the stars injected into real images that is found, by their S/N.'
    ),
    'wild_catalog': 'What a promised rate of 5% false detections gives, in sources.',
    'wild_warnings': (
        'Number of scenes by whether bgrem warns and whether the promised rate is kept.'
    ),
    'wild_level': 'Noise and sky level beside the truth.',
    'speed': (
        'Sky and noise maps of a field of stars: wall-clock speed, CPU time, and '
        'peak memory beyond the image itself.'
    ),
    'operations': (
        'The networks alone: floating-point operations for each pixel of an image, and '
        'the part that is used of what a product of large matrices reaches.'
    ),
}
CAPTIONS['wild_sky'] = CAPTIONS['boxes']


def read_results(path):
    """Read one file of results."""
    results = json.loads(path.read_text(encoding='utf-8'))
    if not isinstance(results, dict) or 'families' not in results:
        msg = f'results must have families, got {str(path)!r} without'
        raise ValueError(msg)
    return results


def merge(runs):
    """Join weights and families of runs of one suite, in the order of FAMILIES."""
    weights, families = {}, {}
    for run in runs:
        for name, sha256 in run['weights'].items():
            if weights.setdefault(name, sha256) != sha256:
                msg = (
                    f'weights {name!r} must be the same in all folders, got sha256 '
                    f'{weights[name][:8]} and {sha256[:8]}'
                )
                raise ValueError(msg)
        for family, parts in run['families'].items():
            merged = families.setdefault(family, {})
            if twice := sorted(merged.keys() & parts.keys()):
                msg = f'folders must not overlap, got {twice} of {family!r} twice'
                raise ValueError(msg)
            merged.update(parts)
    names = dict.fromkeys([*FAMILIES, *families])
    return weights, {name: families[name] for name in names if name in families}


def choose(families, part):
    """Return one part of the families of which it was measured."""
    return {name: parts[part] for name, parts in families.items() if part in parts}


def runs_table(runs):
    """What was run, when and with what, on how many scenes, from which seed."""
    rows = []
    for run in runs:
        parts = dict.fromkeys(part for p in run['families'].values() for part in p)
        scenes = run.get('n_scenes', '-') if parts else '-'
        parts = [*parts, *(['noise'] if 'noise_false_alarms' in run else [])]
        made = [run.get(name, '-') for name in ('date', 'version')]
        what = ', '.join(parts), scenes, run['seed'], *made
        rows += [
            (run['suite'], name, sha256[:8], *what)
            for name, sha256 in run['weights'].items()
        ]
    header = ['suite', 'weights', 'sha256', 'parts', 'scenes of a family', 'seed']
    header += ['date', 'version']
    # Families that were divided among runs give the same row again.
    return header, list(dict.fromkeys(rows))


def true_positives(part):
    """Return the true positives of every method at each contamination."""
    return {name: m['true_positives'] for name, m in part['methods'].items()}


def counts_table(parts, ours, peers, others):
    """True positives at each contamination, the best peer after ours."""
    rows = []
    for family, part in parts.items():
        found = true_positives(part)
        found[peers] = best_peer(found, [*ours, *others])
        # The weights of the paper may have met fewer families.
        rows += [
            [family, name, *found[name]]
            for name in (*ours, peers, *others)
            if name in found
        ]
    return ['family', 'method', *RATES], rows


def sky_table(parts):
    """The rms of the sky error in the best boxes, the default and given ones."""
    names = list(next(iter(parts.values())))
    smallest, *boxes = sorted(
        int(size)
        for name in names
        if (size := name.removeprefix('Background2D ')).isdigit()
    )
    # Other boxes, and the best one, are named at the end.
    estimators = [
        name
        for name in names
        if name.startswith('bgrem')
        and not name.endswith(' best')
        and not name.split()[-1].isdigit()
    ]
    best = {n: f'{n} best' for n in estimators if f'{n} best' in names}
    titles = {n: n.replace('bgrem', f'box {BGREM_BOX_SIZE}') for n in estimators}
    given = bgrem_name(GIVEN_BOX_SIZE)
    if given in names:
        titles[given] = f'box {GIVEN_BOX_SIZE}'
    rows = []
    for family, part in parts.items():
        parent, box = min((part[f'Background2D {box}']['rms'], box) for box in boxes)
        cells = [f'{parent:.3f} ({box})']
        cells += [f'{part[f"Background2D {smallest}"]["rms"]:.3f}']
        for sky in map(part.get, best.values()):
            cells += [f'{sky["rms"]:.3f} ({sky["box_size"]})']
            cells += [f'{parent / sky["rms"]:.1f}']
        cells += [f'{part[name]["rms"]:.3f}' for name in titles]
        rows.append([family, *cells])
    header = [f'Background2D, best of {boxes[0]}-{boxes[-1]}', f'box {smallest}']
    for name in best:
        header += [f'{name}, best of {smallest}-{boxes[-1]}']
        header += [name.replace('bgrem', 'ratio')]
    return ['family', *header, *titles.values()], rows


def flux_bins(parts, fluxes='aperture'):
    """Give family, kind and, for each method, what was measured in the FLUX_BINS."""
    for family, kind in product(FLUX_FAMILIES, ('star', 'galaxy')):
        if family in parts:
            bins = {
                (name, b['snr_low']): b
                for name, measured in parts[family][fluxes].items()
                for b in measured
                if b['kind'] == kind
            }
            # A bin without a source is not among those measured.
            filled = {
                name: [bins.get((name, b['snr_low']), b) for b in FLUX_BINS]
                for name in parts[family][fluxes]
            }
            yield family, kind, filled


def bias(measured):
    """Return the median bias of a bin in percent."""
    if measured['n'] < MIN_SOURCES:
        return '-'
    return f'{100 * measured["median_bias"]:+.1f}'


def flux_table(parts):
    """The median bias of aperture fluxes in percent."""
    measured = next(iter(parts.values()))['aperture']
    methods = {n: title for n, title in FLUX_METHODS.items() if n in measured}
    rows = [
        [family, kind, snr_range(one), *(bias(bins[name][k]) for name in methods)]
        for family, kind, bins in flux_bins(parts)
        for k, one in enumerate(FLUX_BINS)
    ]
    return ['family', 'kind', 'S/N', *methods.values()], rows


def total_table(parts):
    """The median bias of Kron and total fluxes in percent, and how many there are."""
    rows = []
    for same in zip(*(flux_bins(parts, name) for name in TOTAL_FLUXES), strict=True):
        family, kind, _ = same[0]
        for k, one in enumerate(FLUX_BINS):
            found = [bins[name][k] for *_, bins in same for name in TOTAL_METHODS]
            # of the last, the local ones
            n = found[-2]['n']
            rows.append([family, kind, snr_range(one), *map(bias, found), n])
    names = product(TOTAL_FLUXES.values(), ('', ', true sky'))
    return ['family', 'kind', 'S/N', *map(''.join, names), 'n of local'], rows


def pull_table(parts):
    """Mean and standard deviation of the pulls, and with the true sky."""
    methods = ('bgrem', 'true sky')
    rows = []
    for family, kind, bins in flux_bins(parts):
        for k, one in enumerate(FLUX_BINS):
            cells = []
            for b in (bins[name][k] for name in methods):
                few = b['n'] < MIN_SOURCES
                cells += (
                    ['-', '-']
                    if few
                    else [f'{b["pull_mean"]:+.2f}', f'{b["pull_std"]:.2f}']
                )
            rows.append([family, kind, snr_range(one), bins['bgrem'][k]['n'], *cells])
    header = [', '.join(pair) for pair in product(methods, ('mean', 'std'))]
    return ['family', 'kind', 'S/N', 'n', *header], rows


def position_table(parts):
    """The errors of positions over their limit."""
    rows = []
    for family, part in parts.items():
        found = part['positions']
        ratio = [found[kind]['ratio'] for kind in POSITIONS]
        rows.append(
            [
                family,
                found['n_sources'],
                found['n_not_finite'],
                found['position']['n'],
                *('-' if r is None else f'{r:.2f}' for r in ratio),
            ]
        )
    header = ['family', 'sources', 'not finite', 'isolated stars', *POSITIONS]
    return header, rows


def injection_table(parts):
    """The completeness of every method for faint injected stars."""
    rows = []
    for image, part in parts.items():
        methods = {name: method['bins'] for name, method in part['methods'].items()}
        for k, one in enumerate(next(iter(methods.values()))):
            if one['snr_high'] <= MAX_INJECTION_SNR:
                found = [f'{bins[k]["completeness"]:.2f}' for bins in methods.values()]
                rows.append([image, snr_range(one), one['n'], *found])
    return ['image', 'S/N', 'stars', *methods], rows


def join(parts, others, names):
    """Put the methods of other weights beside those that met the same scenes."""
    joined = {}
    for family, part in parts.items():
        other = others.get(family, {'n_true': part['n_true'], 'methods': {}})
        if part['n_true'] != other['n_true']:
            msg = (
                f'scenes of {family!r} must be the same, got {part["n_true"]} and '
                f'{other["n_true"]} true sources'
            )
            raise ValueError(msg)
        methods = {n: m for n, m in other['methods'].items() if n in names}
        joined[family] = {**part, 'methods': part['methods'] | methods}
    return joined


def suite_tables(suite, paper, promise):
    """Make the tables of the simulated scenes."""
    tables = {}
    # of one name, the weights must be the same here, too
    merge([{**run, 'families': {}} for run in [*suite, *promise]])
    weights, families = merge(suite)
    if detection := choose(families, 'detection'):
        first = next(iter(weights))
        of_promise = choose(merge(promise)[1], 'detection') or detection
        tables['false_discovery'] = promise_table(of_promise, [first])
        others, families_of_others = merge(paper)
        detection = join(detection, choose(families_of_others, 'detection'), others)
        tables['detection'] = counts_table(
            detection, weights, 'best peer at each', [*others, 'oracle']
        )
    for name, part, table in (
        ('sky', 'sky', sky_table),
        ('boxes', 'boxes', boxes_table),
        ('fluxes', 'photometry', flux_table),
        ('totals', 'photometry', total_table),
        ('pulls', 'photometry', pull_table),
        ('positions', 'photometry', position_table),
    ):
        if parts := choose(families, part):
            tables[name] = table(parts)
    noise = {n: a for r in suite for n, a in r.get('noise_false_alarms', {}).items()}
    if noise:
        tables['noise'] = noise_table(noise)
    return tables


def wild_tables(wild):
    """Make the tables of the suite of scenes that are like none of the training."""
    _, families = merge(wild)
    makers = {
        'wild_sky': ('boxes', boxes_table),
        'wild_catalog': ('catalog', catalog_table),
        'wild_warnings': ('catalog', warning_table),
        'wild_level': ('level', level_table),
    }
    return {
        name: table(parts)
        for name, (part, table) in makers.items()
        if (parts := choose(families, part))
    }


def limit_tables(limits):
    """Make the table of what could be found at all."""
    weights, families = merge(limits)
    parts = choose(families, 'detection')
    table = counts_table(parts, ['limit', *weights], 'best filter', ['oracle'])
    return {'limits': table} if parts else {}


def meerlicht_tables(runs):
    """Make the table of the paper's headline."""
    _, families = merge(runs)
    rows = [
        [name, *found]
        for part in choose(families, 'detection').values()
        for name, found in true_positives(part).items()
    ]
    return {'meerlicht': (['method', *RATES], rows)} if rows else {}


def speed_row(run, row):
    """Return the cells of one measurement: what was run, and what it took."""
    megapixels = row['size'] ** 2 / 1e6
    spent = f'{megapixels / row["wall"]:.2f}', f'{row["cpu"] / megapixels:.2f}'
    memory = f'{row["memory"] * 2**20 / (4e6 * megapixels):.1f}'
    if 'version' in row:
        name = {'photutils': 'Background2D', 'sep': 'sep.Background'}[row['tool']]
        name += f' ({row["tool"]} {row["version"]})'
        return name, row['size'], 1, '-', '-', '-', *spent, memory
    how = row['threads'], row['n_symmetries'], row['n_steps'] or 'default'
    dtype = 'bfloat16' if run['bfloat16'] and not row['float32'] else 'float32'
    return row['tool'], row['size'], *how, dtype, *spent, memory


def operations_row(run, network):
    """Return the cells of a network alone."""
    done = network['operations'] * network['speed'] * 1e6
    peak = run['peaks'][network['dtype']]
    return (
        network['weights'],
        network['dtype'],
        f'{network["operations"] / 1e3:.0f}',
        f'{network["speed"]:.2f}',
        f'{done / 1e9:.0f}',
        f'{peak / 1e9:.0f}',
        f'{done / peak:.0%}',
    )


def speed_tables(runs):
    """Make the tables of speed and memory."""
    tables = {}
    # without the tools that a later file has measured again
    rows = [speed_row(run, row) for run in runs for row in run['rows']]
    rows = {row[:6]: row for row in rows}
    if rows:
        header = ['tool', 'side (px)', 'threads', 'views', 'steps', 'network in']
        header += ['Mpix/s', 'CPU (s/Mpix)', 'memory (images)']
        tables['speed'] = header, list(rows.values())
    if rows := [operations_row(run, one) for run in runs for one in run['networks']]:
        header = ['weights', 'in', 'kFLOP/px', 'Mpix/s', 'GFLOP/s', 'matrices', 'part']
        tables['operations'] = header, rows
    return tables


def real_tables(real):
    """Make the tables of the real images."""
    tables = {}
    weights, families = merge(real)
    if detection := choose(families, 'detection'):
        (_, *header), rows = counts_table(detection, weights, 'best peer at each', [])
        rows = [[image, detection[image]['n_true'], *cells] for image, *cells in rows]
        tables['real_detection'] = ['image', 'sources', *header], rows
    if injections := choose(families, 'injection'):
        tables['injections'] = injection_table(injections)
    return tables


def write_table(path, header, rows):
    """Write a table with its caption as reStructuredText."""
    # A dash at the start of a cell would be the bullet of a list.
    rows = [[re.sub(r'^-(?= |$)', r'\-', str(cell)) for cell in row] for row in rows]
    text = io.StringIO()
    Table(rows=rows, names=header).write(text, format='ascii.rst')
    caption = f'.. table:: {CAPTIONS[path.stem]}\n   :class: numbers\n\n'
    body = textwrap.indent(text.getvalue(), '   ')
    path.write_text(NOTE + caption + body, encoding='utf-8')


def main():
    """Write the tables."""
    parser = argparse.ArgumentParser(description='Write the tables of the results.')
    parser.add_argument('folders', nargs='*', type=Path, metavar='FOLDER')
    parser.add_argument(
        '--paper',
        nargs='+',
        default=[],
        type=Path,
        metavar='FOLDER',
        help='the suite, on the same scenes, with the weights of the paper',
    )
    parser.add_argument(
        '--promise',
        nargs='+',
        default=[],
        type=Path,
        metavar='FOLDER',
        help='the suite on more scenes, for the table of false-discovery rates',
    )
    parser.add_argument(
        '--limits',
        nargs='+',
        default=[],
        type=Path,
        metavar='FILE',
        help='written by benchmarks/limits.py',
    )
    parser.add_argument(
        '--meerlicht',
        nargs='+',
        default=[],
        type=Path,
        metavar='FILE',
        help='written by benchmarks/paper.py',
    )
    parser.add_argument(
        '--speed',
        nargs='+',
        default=[],
        type=Path,
        metavar='FILE',
        help='written by benchmarks/compare.py',
    )
    parser.add_argument('-o', '--output', default=TABLES, type=Path, metavar='DIR')
    options = parser.parse_args()
    try:
        runs = [read_results(folder / 'results.json') for folder in options.folders]
        paper = [read_results(folder / 'results.json') for folder in options.paper]
        promise = [read_results(folder / 'results.json') for folder in options.promise]
        limits = [read_results(path) for path in options.limits]
        meerlicht = [read_results(path) for path in options.meerlicht]
        real = [run for run in runs if run['suite'] == 'real']
        wild = [run for run in runs if run['suite'] == 'wild']
        suite = [run for run in runs if run['suite'] not in ('real', 'wild')]
        runs = [*suite, *wild, *paper, *promise, *limits, *meerlicht, *real]
        tables = {'runs': runs_table(runs)} if runs else {}
        tables |= wild_tables(wild)
        tables |= suite_tables(suite, paper, promise)
        tables |= limit_tables(limits) | meerlicht_tables(meerlicht)
        tables |= real_tables(real)
        speed = [json.loads(path.read_text(encoding='utf-8')) for path in options.speed]
        tables |= speed_tables(speed)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    options.output.mkdir(parents=True, exist_ok=True)
    for name, (header, rows) in tables.items():
        write_table(options.output / f'{name}.rst', header, rows)


if __name__ == '__main__':
    main()
