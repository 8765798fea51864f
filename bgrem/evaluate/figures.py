"""
Figures of the evaluation. They need matplotlib.

If a figure corresponds to one of the BGRem paper (arXiv 2510.04718), its docstring
names it.
"""

from pathlib import Path

from bgrem.evaluate.gamma.figures import plot_means
from bgrem.evaluate.image_figures import (
    panels,
    plot_before_after,
    plot_flux_flux,
    plot_normalization,
    plot_pixel_histogram,
    plot_steps,
    plot_training,
)

__all__ = [
    'plot_curves',
    'plot_light_kept',
    'plot_reliability',
    'plot_sky_error',
    'plot_without_false',
    'write_figures',
]

_SHOWN_SKIES = ('Background2D best', 'bgrem', 'bgrem best')


def write_figures(results, folder, *, training_log=None):
    """
    Write all figures that can be made from the results.

    Parameters
    ----------
    results : dict
        From `bgrem.evaluate.suite.run_suite` or
        `bgrem.evaluate.real.run_real`.
    folder : path-like
        An existing folder.
    training_log : path-like, optional
        The ``log.csv`` of a training, for the figure of its losses.

    Returns
    -------
    paths : list of `~pathlib.Path`
        Of the following, those that were measured: ``curves.png``,
        ``without_false.png``, ``reliability.png``, ``sky_error.png``,
        ``light_kept.png``, ``flux_flux.png``, ``normalization.png``, ``steps.png``,
        ``pixel_histogram.png``, ``before_after.png``, ``means.png`` and
        ``training.png``.
    """
    import matplotlib.pyplot as plt

    figures = _figures(results)
    if training_log is not None:
        figures['training'] = plot_training(training_log)
    paths = []
    for name, figure in figures.items():
        paths.append(Path(folder) / f'{name}.png')
        figure.savefig(paths[-1], dpi=120)
        plt.close(figure)
    return paths


def _figures(results):
    """Return the figures that the results allow, by name."""
    ours = list(results['weights'])
    parts = {}
    for family, measured in results['families'].items():
        for part, value in measured.items():
            parts.setdefault(part, {})[family] = value
    figures = {}
    if 'detection' in parts:
        figures['curves'] = plot_curves(parts['detection'], ours)
        if all(
            'without_a_false_one' in method
            for part in parts['detection'].values()
            for method in part['methods'].values()
        ):
            figures['without_false'] = plot_without_false(parts['detection'])
        if _reliabilities(parts['detection'], ours):
            figures['reliability'] = plot_reliability(parts['detection'], ours)
    plots = {
        'sky_error': ('sky', plot_sky_error),
        'light_kept': ('sky', plot_light_kept),
        'flux_flux': ('photometry', plot_flux_flux),
        'normalization': ('sensitivity', plot_normalization),
        'steps': ('sensitivity', plot_steps),
        'pixel_histogram': ('pixels', plot_pixel_histogram),
        'before_after': ('pixels', plot_before_after),
        'means': ('means', plot_means),
    }
    figures |= {
        name: plot(parts[part]) for name, (part, plot) in plots.items() if part in parts
    }
    return figures


def plot_curves(detection, ours=()):
    """
    Plot true against false positives, one panel per family.

    As the paper's Figs. 8 and 11.

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
    figure, axes = panels(len(detection))
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
    figure, axes = panels(len(names))
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

    Of the boxes, only the best are shown, and the default of bgrem.

    Parameters
    ----------
    sky : dict
        Results of `bgrem.evaluate.sky.SkySurvey` by family.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
    """
    figure, ax = _bars(
        {
            family: {name: part[name]['rms'] for name in _SHOWN_SKIES if name in part}
            for family, part in sky.items()
        }
    )
    ax.set_yscale('log')
    ax.set_ylabel('sky error / noise sigma')
    return figure


def plot_without_false(detection):
    """
    Plot the largest number of true positives without a false one.

    As the paper's Fig. 7.

    Parameters
    ----------
    detection : dict
        Results of `bgrem.evaluate.suite.DetectionSurvey` by family.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
    """
    values = {
        family: {
            name: method['without_a_false_one']
            for name, method in part['methods'].items()
        }
        for family, part in detection.items()
    }
    figure, ax = _bars(values)
    ax.set_ylabel('true positives without a false one')
    return figure


def plot_light_kept(sky):
    """
    Plot the sky error and the light kept against the radius around sources.

    Parameters
    ----------
    sky : dict
        Results of `bgrem.evaluate.sky.SkySurvey` by family.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        Left: the mean sky error; right: the fraction of the light of sources that the
        denoised image keeps. Stars solid, galaxies dashed.
    """
    figure, axes = panels(2)
    styles = {'star': '-', 'galaxy': '--'}
    for number, (family, part) in enumerate(sky.items()):
        for kind, profile in part['bgrem']['profiles'].items():
            for ax, key in zip(axes, ('bias', 'light_kept'), strict=True):
                ax.plot(
                    profile['radius'],
                    [float('nan') if v is None else v for v in profile[key]],
                    f'C{number % 10}{styles[kind]}',
                    marker='.',
                    lw=1,
                    label=family if kind == 'star' else None,
                )
    axes[0].axhline(0, color='k', lw=0.5)
    axes[0].set_ylabel('sky error / noise sigma')
    axes[0].set_yscale('symlog', linthresh=0.1)
    axes[1].axhline(1, color='k', lw=0.5)
    axes[1].set_ylabel('denoised / true light')
    axes[1].set_ylim(0, 1.6)
    axes[1].legend(fontsize=6)
    for ax in axes:
        ax.set_xlabel('radius / size of the source')
    return figure


def _bars(values):
    """Draw groups of bars, {group: {bar: height}}; not all groups need all bars."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(
        figsize=(max(5.5, 3 + 1.0 * len(values)), 3.6), layout='constrained'
    )
    names = list(dict.fromkeys(name for heights in values.values() for name in heights))
    width = 0.8 / len(names)
    for k, name in enumerate(names):
        ax.bar(
            [i + (k + 0.5) * width - 0.4 for i in range(len(values))],
            [heights.get(name, float('nan')) for heights in values.values()],
            width,
            label=name,
        )
    ax.set_xticks(range(len(values)), list(values), rotation=30, ha='right', fontsize=8)
    figure.legend(fontsize=7, loc='outside right upper')
    return figure, ax
