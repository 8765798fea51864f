"""
Figures of the evaluation. They need matplotlib.
"""

from pathlib import Path

__all__ = ['plot_curves', 'plot_reliability', 'plot_sky_error', 'write_figures']


def write_figures(results, folder):
    """
    Write every figure that the results allow.

    Parameters
    ----------
    results : dict
        From `bgrem.evaluate.suite.run_suite` or
        `bgrem.evaluate.real.run_real`.
    folder : path-like
        Existing folder.

    Returns
    -------
    paths : list of `~pathlib.Path`
        ``curves.png``, ``reliability.png`` and ``sky_error.png``, as far as
        they were measured.
    """
    import matplotlib.pyplot as plt

    ours = list(results['weights'])
    parts = {'detection': {}, 'sky': {}}
    for family, measured in results['families'].items():
        for part in parts:
            if part in measured:
                parts[part][family] = measured[part]
    figures = {}
    if parts['detection']:
        figures['curves'] = plot_curves(parts['detection'], ours)
        if _reliabilities(parts['detection'], ours):
            figures['reliability'] = plot_reliability(parts['detection'], ours)
    if parts['sky']:
        figures['sky_error'] = plot_sky_error(parts['sky'])
    paths = []
    for name, figure in figures.items():
        paths.append(Path(folder) / f'{name}.png')
        figure.savefig(paths[-1], dpi=120)
        plt.close(figure)
    return paths


def _panels(n_panels, **kwargs):
    """Return a figure and a flat list of as many axes as wanted."""
    import matplotlib.pyplot as plt

    n_columns = min(n_panels, 4)
    n_rows = -(-n_panels // n_columns)
    figure, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=(3.4 * n_columns, 3.1 * n_rows),
        layout='constrained',
        squeeze=False,
        **kwargs,
    )
    for ax in axes.flat[n_panels:]:
        ax.set_visible(False)
    return figure, list(axes.flat[:n_panels])


def plot_curves(detection, ours=()):
    """
    Plot true against false positives, one panel per family.

    Parameters
    ----------
    detection : dict
        Results of `bgrem.evaluate.suite.DetectionSurvey` by family.
    ours : collection of str, optional
        Methods drawn with heavy lines.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
    """
    figure, axes = _panels(len(detection))
    for ax, (family, part) in zip(axes, detection.items(), strict=True):
        for name, method in part['methods'].items():
            curve = method['curve']
            ax.plot(
                curve['n_false'],
                curve['n_true'],
                label=name,
                lw=2.2 if name in ours else 1,
                ls='--' if name == 'oracle' else '-',
                color='k' if name == 'oracle' else None,
            )
        ax.set_title(f'{family}: {part["n_true"]} true', fontsize=9)
        # False positives beyond 20% contamination of everything that is there.
        ax.set_xlim(0, max(part['n_true'] / 4, 1))
        ax.set_ylim(0, None)
        ax.set_xlabel('false positives')
        ax.set_ylabel('true positives')
    axes[0].legend(fontsize=6)
    return figure


def _reliabilities(detection, ours):
    return {
        (family, name): part['methods'][name]['reliability']
        for family, part in detection.items()
        for name in ours
        if 'reliability' in part['methods'].get(name, {})
    }


def plot_reliability(detection, ours):
    """
    Plot the observed fraction of true peaks against the promised one.

    Parameters
    ----------
    detection : dict
        Results of `bgrem.evaluate.suite.DetectionSurvey` by family.
    ours : collection of str
        Methods whose scores are probabilities.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
    """
    rows = _reliabilities(detection, ours)
    names = list(dict.fromkeys(name for _, name in rows))
    figure, axes = _panels(len(names))
    for ax, wanted in zip(axes, names, strict=True):
        ax.plot([0, 1], [0, 1], 'k:', lw=1)
        for (family, name), bins in rows.items():
            if name == wanted:
                ax.plot(
                    [b['promised'] for b in bins],
                    [b['observed'] for b in bins],
                    '.-',
                    lw=1,
                    label=family,
                )
        ax.set_title(wanted, fontsize=9)
        ax.set_xlabel('promised probability')
        ax.set_ylabel('observed fraction')
    axes[0].legend(fontsize=6)
    return figure


def plot_sky_error(sky):
    """
    Plot the rms error of the sky, one group of bars per family.

    Parameters
    ----------
    sky : dict
        Results of `bgrem.evaluate.photometry.SkySurvey` by family.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
    """
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(1.2 + 1.0 * len(sky), 3.6), layout='constrained')
    methods = list(next(iter(sky.values())))
    width = 0.8 / len(methods)
    for k, method in enumerate(methods):
        ax.bar(
            [i + (k + 0.5) * width - 0.4 for i in range(len(sky))],
            [part[method]['rms'] for part in sky.values()],
            width,
            label=method,
        )
    ax.set_xticks(range(len(sky)), list(sky), rotation=30, ha='right', fontsize=8)
    ax.set_yscale('log')
    ax.set_ylabel('sky error / noise sigma')
    ax.legend(fontsize=7)
    return figure
