"""
Results of the suite as one JSON file and one Markdown table.
"""

import json
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bgrem.evaluate.gamma.tables import (
    completeness_table,
    diffuse_table,
    flux_table,
    means_table,
)
from bgrem.evaluate.wild.tables import (
    boxes_table,
    catalog_table,
    failure_table,
    level_table,
    warning_table,
)
from bgrem.files.atomic import atomic_path

__all__ = [
    'best_peer',
    'dated',
    'markdown_report',
    'noise_table',
    'promise_table',
    'ratios',
    'snr_range',
    'write_report',
]

_ORACLE = 'oracle'
# Sections that are written from the results of another part.
_SOURCES = {
    'promise': 'detection',
    'warnings': 'catalog',
    'profiles': 'sky',
    'kron': 'photometry',
    'total': 'photometry',
    'local': 'photometry',
    'positions': 'photometry',
    'kinds': 'photometry',
}


def write_report(results, folder):
    """
    Write ``results.json``, with the date and the version of bgrem, and ``results.md``.

    Parameters
    ----------
    results : dict
        From `bgrem.evaluate.suite.run_suite` or
        `bgrem.evaluate.real.run_real`.
    folder : path-like
        Folder to write into; made where it is missing.

    Returns
    -------
    markdown : str
        The text of ``results.md``.

    Examples
    --------
    >>> from bgrem.evaluate import run_suite, write_report
    >>> write_report(run_suite(n_scenes=4), 'runs/check')  # doctest: +SKIP
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    markdown = markdown_report(results)
    for name, text in (
        ('results.json', json.dumps(dated(results), indent=1, allow_nan=False) + '\n'),
        ('results.md', markdown),
    ):
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding='utf-8')
    return markdown


def dated(results):
    """
    Say when and by what results were made.

    Parameters
    ----------
    results : dict
        The results.

    Returns
    -------
    dated : dict
        With ``date`` (UTC) and ``version``, that of bgrem.
    """
    today = datetime.now(UTC).date()
    return {**results, 'date': today.isoformat(), 'version': version('bgrem')}


def markdown_report(results):
    """
    Format results as Markdown.

    Parameters
    ----------
    results : dict
        As for `write_report`; parts that were not measured are left out.

    Returns
    -------
    markdown : str
        Headings and tables.

    Examples
    --------
    >>> from bgrem.evaluate import markdown_report, run_suite
    >>> print(markdown_report(run_suite(n_scenes=4)))  # doctest: +SKIP
    """
    lines = [f'# bgrem evaluation: {results["suite"]}', '']
    lines += [f'- weights {n}: sha256 {s}' for n, s in results['weights'].items()]
    if 'n_scenes' in results:
        size = results['size']
        lines += [
            f'- {results["n_scenes"]} scenes of {size} x {size} px in each family, '
            f'seed {results["seed"]}'
        ]
    families = results['families']
    sections = {
        'detection': (
            'True positives at equal contamination',
            _detection_table,
            [results['contaminations'], list(results['weights'])],
        ),
        'promise': (
            'Promised and observed false-discovery rate',
            promise_table,
            [list(results['weights'])],
        ),
        'sky': ('Sky error, rms in units of the noise', _sky_table, []),
        'boxes': (
            'The sky by itself and with the best box, in units of the noise',
            boxes_table,
            [],
        ),
        'catalog': ('What a promise of 5% gives', catalog_table, []),
        'warnings': ('Scenes with a warning', warning_table, []),
        'level': ('Noise level', level_table, []),
        'profiles': ('Sky and light around sources', _profile_table, []),
        'photometry': (
            'Fixed-aperture fluxes (radius 1.5 FWHM)',
            _flux_table,
            ['aperture'],
        ),
        'kron': (
            'Kron fluxes of isolated sources against true total fluxes',
            _flux_table,
            ['kron'],
        ),
        'total': (
            'The same with an aperture correction',
            _flux_table,
            ['total'],
        ),
        'local': (
            'The same with an aperture correction and a local background',
            _flux_table,
            ['local'],
        ),
        'positions': ('Positions of isolated stars', _position_table, []),
        'kinds': ('Stars and galaxies by their concentration', _kind_table, []),
        'segmentation': (
            'Quality of the segments (Haigh et al. 2021)',
            _segmentation_table,
            [],
        ),
        'sensitivity': (
            'Other numbers of steps and other normalisations',
            _sensitivity_table,
            [],
        ),
        'injection': ('Injected stars', _injection_table, []),
        'means': ('Mean of the source image against the true mean', means_table, []),
        'diffuse': ('Error of the sky over its mean', diffuse_table, []),
        'fluxes': ('Fluxes of detected sources', flux_table, []),
        'completeness': (
            'Found and true at a promise of 5%, by photons per cm2 and s',
            completeness_table,
            [],
        ),
    }
    for part, (title, table, arguments) in sections.items():
        source = _SOURCES.get(part, part)
        parts = {f: p[source] for f, p in families.items() if source in p}
        if parts:
            lines += _section(title, *table(parts, *arguments))
    lines += _section('Refused scenes', *failure_table(families))
    if 'noise_false_alarms' in results:
        title = 'False alarms per megapixel of pure noise'
        lines += _section(title, *noise_table(results['noise_false_alarms']))
    return '\n'.join(lines) + '\n'


def _section(title, header, rows):
    """Return the lines of a heading and a Markdown table; numbers to the right."""
    if not rows:
        return []
    table = [header, ['---'] + ['---:'] * (len(header) - 1), *rows]
    lines = ['| ' + ' | '.join(str(cell) for cell in line) + ' |' for line in table]
    return ['', f'## {title}', '', *lines]


def _detection_table(parts, contaminations, ours):
    """
    One row per family and method, then the ratios to the best peer.

    The best peer is the best one at each contamination, the oracle apart.
    """
    header = ['family', 'method', *(f'{c:.0%}' for c in contaminations), 'Mpix/s']
    rows = []
    for family, part in parts.items():
        methods = part['methods']
        found = {name: method['true_positives'] for name, method in methods.items()}
        label = f'{family} ({part["n_true"]} true)'
        for name, counts in found.items():
            speed = methods[name]['megapixels_per_second']
            rows.append([label, name, *counts, f'{speed:.2f}'])
            label = ''
        references = {'best peer': best_peer(found, ours), _ORACLE: found.get(_ORACLE)}
        rows += [
            ['', f'{name} / {other}', *ratios(found[name], counts), '']
            for name in ours
            if name in found
            for other, counts in references.items()
            if counts
        ]
    return header, rows


def best_peer(found, ours):
    """
    Find the most true positives of any peer, at each contamination by itself.

    Parameters
    ----------
    found : dict of str to sequence of int
        True positives of every method.
    ours : collection of str
        The methods that are no peers; the oracle is none either.

    Returns
    -------
    counts : list of int
        Empty where there is no peer.
    """
    peers = [counts for name, counts in found.items() if name not in (*ours, _ORACLE)]
    return [max(counts) for counts in zip(*peers, strict=True)]


def ratios(counts, reference):
    """
    Format the ratio of two methods at each contamination.

    Parameters
    ----------
    counts, reference : sequence of int
        True positives.

    Returns
    -------
    cells : list of str
        Two decimals; a dash where the reference found nothing.
    """
    return [
        f'{n / m:.2f}' if m else '-' for n, m in zip(counts, reference, strict=True)
    ]


def promise_table(parts, ours):
    """
    Set promised beside observed false-discovery rates.

    Parameters
    ----------
    parts : dict of str to dict
        What was measured of detection, by family.
    ours : sequence of str
        The weights of which the rates were measured.

    Returns
    -------
    header : list of str
        The promised rates, after two columns of names.
    rows : list of list of str
        The observed rates.
    """
    rows, promised = [], []
    for family, part in parts.items():
        for name in ours:
            promises = part['methods'].get(name, {}).get('false_discovery')
            if promises:
                cells = [
                    '-' if p['observed'] is None else f'{p["observed"]:.1%}'
                    for p in promises
                ]
                rows.append([family, name, *cells])
                promised = [f'{p["promised"]:.0%}' for p in promises]
    return ['family', 'weights', *promised], rows


def _sky_table(parts):
    """One column per method; with the best box of a method stands its size."""
    first = next(iter(parts.values()))
    rows = [
        [family, *(_with_box(part[name]) for name in first)]
        for family, part in parts.items()
    ]
    header = [f'{name} (box)' if 'box_size' in first[name] else name for name in first]
    return ['family', *header], rows


def _with_box(method):
    box = f' ({method["box_size"]})' if 'box_size' in method else ''
    return f'{method["rms"]:.3f}{box}'


def _profile_table(parts):
    """Sky bias and light kept by bgrem in rings around bright sources."""
    rows, radii = [], []
    for family, part in parts.items():
        for kind, profile in part['bgrem']['profiles'].items():
            radii = [f'{radius:g}' for radius in profile['radius']]
            bias = ['-' if v is None else f'{v:+.3f}' for v in profile['bias']]
            kept = ['-' if v is None else f'{v:.2f}' for v in profile['light_kept']]
            rows.append([family, kind, 'sky bias (sigma)', *bias])
            rows.append(['', '', 'light kept', *kept])
    return ['family', 'kind', 'to radius (sizes)', *radii], rows


def _flux_table(parts, fluxes):
    header = ['family', 'image', 'kind', 'aperture S/N', 'n', 'median bias']
    header += ['pull mean', 'pull std', 'median distance (px)']
    rows = []
    for family, part in parts.items():
        for name, bins in part[fluxes].items():
            rows += [
                [
                    family,
                    name,
                    row['kind'],
                    snr_range(row),
                    row['n'],
                    f'{row["median_bias"]:+.3f} ± {row["bias_error"]:.3f}',
                    f'{row["pull_mean"]:+.2f}',
                    f'{row["pull_std"]:.2f}',
                    f'{row["median_distance"]:.2f}',
                ]
                for row in bins
            ]
    return header, rows


def _kind_table(parts):
    header = ['family', 'S/N', 'stars', 'galaxies', 'median star', 'median galaxy']
    header += ['area under the ROC', 'stars kept with 10% of the galaxies']
    rows = [
        [
            family,
            snr_range(row),
            row['n_stars'],
            row['n_galaxies'],
            f'{row["median_star"]:.2f}',
            f'{row["median_galaxy"]:.2f}',
            f'{row["area"]:.2f}',
            f'{row["stars_kept"]:.0%}',
        ]
        for family, part in parts.items()
        for row in part['kinds']
    ]
    return header, rows


def _position_table(parts):
    header = ['family', 'catalogued', 'not finite', 'isolated stars']
    header += ['centroid error (px)', 'error / limit']
    header += ['x, y error (px)', 'error / limit', 'error / x_err']
    rows = []
    for family, part in parts.items():
        found = part['positions']
        errors = [
            found[kind][key]
            for kind in ('centroid', 'position')
            for key in ('median_distance', 'ratio')
        ]
        errors.append(found['position']['pull_std'])
        rows.append(
            [
                family,
                found['n_sources'],
                found['n_not_finite'],
                found['centroid']['n'],
                *('-' if value is None else f'{value:.3f}' for value in errors),
            ]
        )
    return header, rows


def snr_range(row):
    """
    Name a bin of signal-to-noise ratio.

    Parameters
    ----------
    row : dict
        Has ``snr_low`` and ``snr_high`` (`None`: no limit).

    Returns
    -------
    name : str
    """
    low, high = row['snr_low'], row['snr_high']
    return f'> {low:g}' if high is None else f'{low:g}-{high:g}'


def _segmentation_table(parts):
    keys = ('f_score', 'area_score', 'combined_a', 'combined_b')
    keys += ('under_merging', 'over_merging')
    rows = [
        [family, name, *(f'{scores[key]:.3f}' for key in keys)]
        for family, part in parts.items()
        for name, scores in part.items()
    ]
    header = ['F-score', 'area score', 'combined A', 'combined B']
    return ['family', 'method', *header, 'under-merging', 'over-merging'], rows


def _sensitivity_table(parts):
    names = {'steps': 'number of steps', 'factors': 'factor'}
    rows = [
        [
            family,
            names[kind],
            f'{row["value"]:g}',
            f'{row["mean_absolute_error"]:.4f}',
            row['probability'],
            row['denoised'],
        ]
        for family, part in parts.items()
        for kind in names
        for row in part[kind]
    ]
    header = ['family', 'what', 'value', 'mean absolute error (sigma)']
    header += ['TP at 5% (probability)', 'TP at 5% (denoised image)']
    return header, rows


def _injection_table(parts):
    """
    Completeness, beside what the same threshold gives in all redrawn noise (false
    alarms) and in the image without injections (detections).
    """
    rows = []
    for image, part in parts.items():
        label = f'{image} ({part["noise_megapixels"]:.2f} Mpix of noise)'
        for name, method in part['methods'].items():
            complete = [f'{b["completeness"]:.2f}' for b in method['bins']]
            counts = [method['false_alarms'], method['detections']]
            rows.append([label, name, *counts, *complete])
            label = ''
            edges = [f'S/N {snr_range(b)}' for b in method['bins']]
    header = ['image', 'method', 'false alarms', 'detections', *edges]
    return header, rows


def noise_table(false_alarms):
    """
    Set the false alarms of several weights beside each other.

    Parameters
    ----------
    false_alarms : dict of str to dict
        Of each weights, what
        `bgrem.evaluate.suite.noise_false_alarms` counts.

    Returns
    -------
    header : list of str
        The kinds of noise, after the column of the weights.
    rows : list of list of str
    """
    kinds = list(next(iter(false_alarms.values())))
    rows = [
        [name, *(f'{alarms[kind]:.2f}' for kind in kinds)]
        for name, alarms in false_alarms.items()
    ]
    return ['weights', *kinds], rows
