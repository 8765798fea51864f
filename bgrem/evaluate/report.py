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
from bgrem.evaluate.tables import (
    aperture_table,
    detection_table,
    injection_table,
    kind_table,
    noise_table,
    position_table,
    profile_table,
    promise_table,
    segmentation_table,
    sensitivity_table,
    sky_table,
)
from bgrem.evaluate.wild.tables import (
    boxes_table,
    catalog_table,
    failure_table,
    level_table,
    warning_table,
)
from bgrem.files.atomic import atomic_path

__all__ = ['dated', 'markdown_report', 'write_report']

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
        Folder to write to; created if it does not exist.

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
    Add the date and the version to results.

    Parameters
    ----------
    results : dict
        The results.

    Returns
    -------
    dated : dict
        The results with ``date`` (UTC) and ``version``, that of bgrem.
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
            detection_table,
            [results['contaminations'], list(results['weights'])],
        ),
        'promise': (
            'Promised and observed false-discovery rate',
            promise_table,
            [list(results['weights'])],
        ),
        'sky': ('Sky error, rms in units of the noise', sky_table, []),
        'boxes': (
            'The sky by itself and with the best box, in units of the noise',
            boxes_table,
            [],
        ),
        'catalog': ('What a promise of 5% gives', catalog_table, []),
        'warnings': ('Scenes with a warning', warning_table, []),
        'level': ('Noise level', level_table, []),
        'profiles': ('Sky and light around sources', profile_table, []),
        'photometry': (
            'Fixed-aperture fluxes (radius 1.5 FWHM)',
            aperture_table,
            ['aperture'],
        ),
        'kron': (
            'Kron fluxes of isolated sources against true total fluxes',
            aperture_table,
            ['kron'],
        ),
        'total': (
            'The same with an aperture correction',
            aperture_table,
            ['total'],
        ),
        'local': (
            'The same with an aperture correction and a local background',
            aperture_table,
            ['local'],
        ),
        'positions': ('Positions of isolated stars', position_table, []),
        'kinds': ('Stars and galaxies by their concentration', kind_table, []),
        'segmentation': (
            'Quality of the segments (Haigh et al. 2021)',
            segmentation_table,
            [],
        ),
        'sensitivity': (
            'Other numbers of steps and other normalisations',
            sensitivity_table,
            [],
        ),
        'injection': ('Injected stars', injection_table, []),
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
