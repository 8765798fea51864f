"""
Tables of the measurements of the suite ``wild``, and of the sky by default.
"""

__all__ = [
    'boxes_table',
    'catalog_table',
    'failure_table',
    'level_table',
    'warning_table',
]


def _number(value, spec):
    return '-' if value is None else format(value, spec)


def boxes_table(parts):
    """
    Compare the sky by default with the given and the best box.

    Parameters
    ----------
    parts : dict of str to dict
        Results of `bgrem.evaluate.boxes.BoxSurvey`, by family.

    Returns
    -------
    header : list of str
    rows : list of list of str
        Mean error (averaged over the scenes, and for the worst scene) and rms error.
    """
    plain = ['by itself', 'bgrem given', 'Background2D given']
    best = ['bgrem best', 'bgrem, mean best', 'Background2D best']
    header = ['family']
    header += [f'{name}: mean (worst)' for name in plain]
    header += [f'{name}: rms' for name in plain]
    header += [f'{name} (box/filter)' for name in best]
    header += ['by itself / best', 'by itself / best, mean', 'failed']
    rows = []
    for family, part in parts.items():
        row = [family]
        for name in plain:
            bias, worst = part[name]['bias'], part[name]['worst_bias']
            row.append(f'{_number(bias, "+.3f")} ({_number(worst, "+.2f")})')
        row += [_number(part[name]['rms'], '.3f') for name in plain]
        for name in best:
            choice = f'{part[name]["box_size"]}/{part[name]["filter_size"]}'
            row.append(f'{_number(part[name]["rms"], ".3f")} ({choice})')
        for name in best[:2]:
            mark = '' if part[name]['is_near'] in (True, None) else ' !'
            row.append(_number(part[name]['ratio'], '.2f') + mark)
        row.append('/'.join(str(part[name]['n_failed']) for name in plain))
        rows.append(row)
    return header, rows


def catalog_table(parts):
    """
    List the detections at a false discovery rate of 5%.

    Parameters
    ----------
    parts : dict of str to dict
        Results of `bgrem.evaluate.wild.survey.CatalogSurvey`, by family.

    Returns
    -------
    header : list of str
    rows : list of list of str
    """
    header = ['family', 'true', 'found', 'false', 'false fraction', 'by chance']
    header += ['S/N > 60', 'of them found', 'native grid', 'found / native']
    rows = []
    for family, part in parts.items():
        native = part.get('n_native')
        ratio = part['n_found'] / native if native else None
        rows.append(
            [
                family,
                part['n_true'],
                part['n_found'],
                part['n_false'],
                _number(part['false_fraction'], '.1%'),
                part['n_chance'],
                part['n_bright'],
                part['n_bright_found'],
                _number(native, 'd'),
                _number(ratio, '.2f'),
            ]
        )
    return header, rows


def warning_table(parts):
    """
    Count the scenes with a warning, and those where the promise is broken.

    Parameters
    ----------
    parts : dict of str to dict
        As for `catalog_table`.

    Returns
    -------
    header : list of str
    rows : list of list of str
        The last row is the sum of all families.
    """
    names = ['silent, held', 'silent, broken', 'warns, held', 'warns, broken']
    names += ['n_needs_options', 'n_failed']
    rows = [[family, *(part[name] for name in names)] for family, part in parts.items()]
    if len(rows) > 1:
        totals = [sum(row[k] for row in rows) for k in range(1, len(names) + 1)]
        rows.append(['all', *totals])
    return ['family', *names[:4], 'needs options', 'fails'], rows


def level_table(parts):
    """
    Compare the noise level with the truth.

    Parameters
    ----------
    parts : dict of str to dict
        Results of `bgrem.evaluate.wild.survey.LevelSurvey`, by family.

    Returns
    -------
    header : list of str
    rows : list of list of str
    """
    specs = {
        'level': '.3f',
        'worst_level': '.3f',
        'parent': '.3f',
        'pull': '.2f',
        'lowest_sky': '.4g',
        'source_light': '.3f',
    }
    header = ['family', 'noise / true', 'worst scene', 'Background2D / true']
    header += ['sky error / uncertainty', 'lowest sky', 'source / data']
    rows = [
        [family, *(_number(part[name], spec) for name, spec in specs.items())]
        for family, part in parts.items()
    ]
    return header, rows


def failure_table(families):
    """
    List the scenes that were refused, with the first message.

    Parameters
    ----------
    families : dict of str to dict
        Measurements, by family and part.

    Returns
    -------
    header : list of str
    rows : list of list of str
    """
    rows = []
    for family, parts in families.items():
        skies = parts.get('boxes', {})
        for name in ('by itself', 'bgrem given', 'Background2D given'):
            part = skies.get(name)
            if part and part['n_failed']:
                message = part['first_error']
                rows.append([family, f'sky, {name}', part['n_failed'], _cell(message)])
        part = parts.get('catalog')
        if part and part['first_error']:
            n_failed = part['n_failed'] + part['n_needs_options']
            rows.append([family, 'detection', n_failed, _cell(part['first_error'])])
    return ['family', 'what', 'scenes', 'first message'], rows


def _cell(text):
    """Return a message that breaks no table."""
    return ' '.join(text.replace('|', '/').split())[:160]
