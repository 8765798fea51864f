"""
Results of the suite ``optical`` as tables: column names, and rows of cells.
"""

__all__ = [
    'aperture_table',
    'best_peer',
    'detection_table',
    'injection_table',
    'kind_table',
    'noise_table',
    'position_table',
    'profile_table',
    'promise_table',
    'ratios',
    'segmentation_table',
    'sensitivity_table',
    'sky_table',
    'snr_range',
]

_ORACLE = 'oracle'


def detection_table(parts, contaminations, ours):
    """
    Count true positives at equal contamination, and compare with the best peer.

    Parameters
    ----------
    parts : dict of str to dict
        Measurements of detection, by family.
    contaminations : sequence of float
        False / all detections at each count.
    ours : sequence of str
        The methods that are not peers.

    Returns
    -------
    header : list of str
        The names of the columns.
    rows : list of list of str
        Their cells; one row for each family and method, then the
        ratios to the best peer (at each contamination separately) and to the oracle.
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
    Find the most true positives of any peer, at each contamination separately.

    Parameters
    ----------
    found : dict of str to sequence of int
        True positives of every method.
    ours : collection of str
        The methods that are not peers; neither is the oracle.

    Returns
    -------
    counts : list of int
        The numbers; empty if there is no peer.
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
        Ratios with two decimals; a dash if the reference found nothing.
    """
    return [
        f'{n / m:.2f}' if m else '-' for n, m in zip(counts, reference, strict=True)
    ]


def promise_table(parts, ours):
    """
    Compare promised with observed false discovery rates.

    Parameters
    ----------
    parts : dict of str to dict
        Measurements of detection, by family.
    ours : sequence of str
        The weights for which the rates were measured.

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


def sky_table(parts):
    """
    List the error of the sky, one column for each method.

    Parameters
    ----------
    parts : dict of str to dict
        Measurements of the sky, by family.

    Returns
    -------
    header : list of str
        The names of the columns.
    rows : list of list of str
        Their cells; the best box of a method is given with its size.
    """
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


def profile_table(parts):
    """
    List the bias of the sky, and the fraction of light kept, around bright sources.

    Parameters
    ----------
    parts : dict of str to dict
        Measurements of the sky, by family.

    Returns
    -------
    header : list of str
        The names of the columns.
    rows : list of list of str
        Their cells.
    """
    rows, radii = [], []
    for family, part in parts.items():
        for kind, profile in part['bgrem']['profiles'].items():
            radii = [f'{radius:g}' for radius in profile['radius']]
            bias = ['-' if v is None else f'{v:+.3f}' for v in profile['bias']]
            kept = ['-' if v is None else f'{v:.2f}' for v in profile['light_kept']]
            rows.append([family, kind, 'sky bias (sigma)', *bias])
            rows.append(['', '', 'light kept', *kept])
    return ['family', 'kind', 'to radius (sizes)', *radii], rows


def aperture_table(parts, fluxes):
    """
    List the bias and the pulls of fluxes.

    Parameters
    ----------
    parts : dict of str to dict
        Measurements of fluxes, by family.
    fluxes : {'aperture', 'kron', 'total', 'local'}
        The kind of flux.

    Returns
    -------
    header : list of str
        The names of the columns.
    rows : list of list of str
        Their cells.
    """
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


def kind_table(parts):
    """
    List how well stars and galaxies are distinguished.

    Parameters
    ----------
    parts : dict of str to dict
        Measurements of photometry, by family.

    Returns
    -------
    header : list of str
        The names of the columns.
    rows : list of list of str
        Their cells.
    """
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


def position_table(parts):
    """
    List the errors of positions, and compare them with their limit.

    Parameters
    ----------
    parts : dict of str to dict
        Measurements of photometry, by family.

    Returns
    -------
    header : list of str
        The names of the columns.
    rows : list of list of str
        Their cells.
    """
    header = ['family', 'cataloged', 'not finite', 'isolated stars']
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
    Return the name of a bin of signal-to-noise ratio.

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


def segmentation_table(parts):
    """
    List the scores of segments.

    Parameters
    ----------
    parts : dict of str to dict
        Measurements of segments, by family.

    Returns
    -------
    header : list of str
        The names of the columns.
    rows : list of list of str
        Their cells.
    """
    keys = ('f_score', 'area_score', 'combined_a', 'combined_b')
    keys += ('under_merging', 'over_merging')
    rows = [
        [family, name, *(f'{scores[key]:.3f}' for key in keys)]
        for family, part in parts.items()
        for name, scores in part.items()
    ]
    header = ['F-score', 'area score', 'combined A', 'combined B']
    return ['family', 'method', *header, 'under-merging', 'over-merging'], rows


def sensitivity_table(parts):
    """
    List the results with other numbers of steps and other factors.

    Parameters
    ----------
    parts : dict of str to dict
        Measurements of sensitivity, by family.

    Returns
    -------
    header : list of str
        The names of the columns.
    rows : list of list of str
        Their cells.
    """
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


def injection_table(parts):
    """
    List the completeness for injected stars.

    Parameters
    ----------
    parts : dict of str to dict
        Measurements of injections, by image.

    Returns
    -------
    header : list of str
        The names of the columns.
    rows : list of list of str
        Their cells, with the number of false alarms at the same threshold in all
        redrawn noise, and of detections in the image without injections.
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
    Compare the false alarms of several weights.

    Parameters
    ----------
    false_alarms : dict of str to dict
        For each weights, the result of `bgrem.evaluate.suite.noise_false_alarms`.

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
