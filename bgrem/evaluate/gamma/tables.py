"""
Tables of the measurements for the suite ``gamma`` only.
"""

__all__ = ['completeness_table', 'diffuse_table', 'flux_table', 'means_table']


def means_table(parts):
    """
    Compare the mean of the source image with that of the true sources.

    Parameters
    ----------
    parts : dict of str to dict
        Results of `bgrem.evaluate.gamma.survey.MeansSurvey`, by family.

    Returns
    -------
    header : list of str
    rows : list of list of str
    """
    header = ['family', 'weights', 'slope', 'intercept', 'faint third', 'middle third']
    header += ['bright third', 'MAE', 'MSE']
    rows = []
    for family, part in parts.items():
        for name, line in part.items():
            if line is None:
                continue
            cells = [line['slope'], line['intercept'], *line['ratios'], line['mae']]
            cells = [f'{value:.3f}' for value in cells]
            rows.append([family, name, *cells, f'{line["mse"]:.4g}'])
    return header, rows


def diffuse_table(parts):
    """
    Compare the error of the sky with those of others.

    Parameters
    ----------
    parts : dict of str to dict
        Results of `bgrem.evaluate.gamma.survey.DiffuseSurvey`, by family.

    Returns
    -------
    header : list of str
    rows : list of list of str
        Rms divided by mean, with the mean error divided by the mean in parentheses.
    """
    names = list(dict.fromkeys(name for part in parts.values() for name in part))
    rows = [
        [
            family,
            *(
                f'{part[name]["rms"]:.3f} ({part[name]["bias"]:+.3f})'
                if name in part
                else '-'
                for name in names
            ),
        ]
        for family, part in parts.items()
    ]
    return ['family', *(f'{name}: rms (mean)' for name in names)], rows


def flux_table(parts):
    """
    List bias and pulls of fluxes.

    Parameters
    ----------
    parts : dict of str to dict
        Results of `bgrem.evaluate.gamma.survey.FluxSurvey`, by family.

    Returns
    -------
    header : list of str
    rows : list of list of str
    """
    header = ['family', 'sky', 'S/N', 'n', 'sum ratio - 1', 'median ratio - 1']
    header += ['pull: mean', 'pull: width']
    rows = []
    for family, part in parts.items():
        for name, bins in part.items():
            for one in bins:
                if 'bias' not in one:
                    continue
                high = '' if one['high'] is None else f'{one["high"]:g}'
                rows.append(
                    [
                        family,
                        name,
                        f'{one["low"]:g}-{high}' if high else f'> {one["low"]:g}',
                        one['n'],
                        f'{one["bias"]:+.3f}',
                        f'{one["median"]:+.3f}',
                        *(
                            f'{one[key]:{spec}}' if key in one else '-'
                            for key, spec in (
                                ('pull_mean', '+.2f'),
                                ('pull_width', '.2f'),
                            )
                        ),
                    ]
                )
    return header, rows


def completeness_table(parts):
    """
    List detections at a false discovery rate of 5%, by source flux.

    Parameters
    ----------
    parts : dict of str to dict
        Results of `bgrem.evaluate.gamma.survey.CompletenessSurvey`, by family.

    Returns
    -------
    header : list of str
    rows : list of list of str
        Found / true, and the purity.
    """
    header, rows = [], []
    for family, part in parts.items():
        for name, measured in part.items():
            bins = measured['bins']
            header = ['family', 'weights']
            header += [f'{one["low"]:g}-{one["high"]:g}' for one in bins]
            purity = measured['purity']
            rows.append(
                [
                    family,
                    name,
                    *(f'{one["n_found"]} / {one["n_true"]}' for one in bins),
                    '-' if purity is None else f'{purity:.3f}',
                ]
            )
    return [*header, 'purity'], rows
