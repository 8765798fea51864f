"""
Figures of pixels, fluxes, sensitivity and training. They need matplotlib.

If a figure corresponds to one of the BGRem paper (arXiv 2510.04718), its docstring
names it.
"""

from pathlib import Path

import numpy as np
from astropy.table import Table

__all__ = [
    'panels',
    'plot_before_after',
    'plot_flux_flux',
    'plot_normalization',
    'plot_pixel_histogram',
    'plot_steps',
    'plot_training',
]


def panels(n_panels, **kwargs):
    """
    Return a figure and a flat list of the given number of axes.

    Parameters
    ----------
    n_panels : int
        At most four are in one row; six are in two rows of three.
    **kwargs
        Passed to `~matplotlib.pyplot.subplots`.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
    axes : list of `~matplotlib.axes.Axes`
    """
    import matplotlib.pyplot as plt

    n_columns = 3 if n_panels == 6 else min(n_panels, 4)
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


def plot_pixel_histogram(pixels):
    """
    Plot the histograms of pixel values before and after the background removal.

    As the paper's Fig. 5.

    Parameters
    ----------
    pixels : dict
        Results of `bgrem.evaluate.pixels.PixelSurvey` by family.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
    """
    figure, axes = panels(len(pixels))
    for ax, (family, part) in zip(axes, pixels.items(), strict=True):
        for name, counts in part['counts'].items():
            ax.stairs(counts, part['edges'], label=name)
        ax.set_yscale('log')
        ax.set_title(family, fontsize=9)
        ax.set_xlabel('pixel value / noise sigma')
        ax.set_ylabel('pixels')
    axes[0].legend(fontsize=6)
    return figure


def plot_before_after(pixels):
    """
    Show a corner of a scene before and after, one row per family.

    As the paper's Fig. 10.

    Parameters
    ----------
    pixels : dict
        Results of `bgrem.evaluate.pixels.PixelSurvey` by family.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
    """
    import matplotlib.pyplot as plt

    names = list(next(iter(pixels.values()))['cutouts'])
    figure, axes = plt.subplots(
        len(pixels),
        len(names),
        figsize=(2.2 * len(names), 2.2 * len(pixels) + 0.3),
        layout='constrained',
        squeeze=False,
    )
    for row, (family, part) in zip(axes, pixels.items(), strict=True):
        for ax, name in zip(row, names, strict=True):
            values = np.arcsinh(np.asarray(part['cutouts'][name]) / 2)
            limits = np.arcsinh(np.array([-3, 30]) / 2)
            ax.imshow(values, origin='lower', cmap='gray', clim=limits)
            ax.set_xticks([])
            ax.set_yticks([])
        row[0].set_ylabel(family, fontsize=8)
    for ax, name in zip(axes[0], names, strict=True):
        ax.set_title(name, fontsize=9)
    return figure


def plot_flux_flux(photometry):
    """
    Plot measured against true aperture fluxes, one panel per family.

    As the paper's Fig. 6.

    Parameters
    ----------
    photometry : dict
        Results of `bgrem.evaluate.photometry.PhotometrySurvey` by family.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
    """
    figure, axes = panels(len(photometry))
    for ax, (family, part) in zip(axes, photometry.items(), strict=True):
        for name, pairs in part['flux_flux'].items():
            if name != 'true sky':
                ax.plot(pairs['true'], pairs['measured'], '.', ms=3, label=name)
        ax.axline((1, 1), slope=1, color='k', lw=0.7)
        ax.set_xscale('log')
        ax.set_yscale('log')
        ax.set_xlim(1, None)
        ax.set_ylim(0.3, None)
        ax.set_title(family, fontsize=9)
        ax.set_xlabel('true aperture flux / error')
        ax.set_ylabel('measured / error')
    if axes[0].lines[:-1]:
        axes[0].legend(fontsize=6)
    return figure


def plot_normalization(sensitivity):
    """
    Plot detections and errors against a factor applied to the normalization.

    As the paper's Fig. 17.

    Parameters
    ----------
    sensitivity : dict
        Results of `bgrem.evaluate.sensitivity.SensitivitySurvey` by family.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        Left: the true positives at 5% contamination; right: the mean absolute
        error of the denoised image.
    """
    figure, axes = _sensitivity(sensitivity, 'factors')
    values = [row['value'] for row in next(iter(sensitivity.values()))['factors']]
    for ax in axes:
        ax.set_xscale('log')
        ax.set_xticks(values, [f'{value:g}' for value in values], fontsize=7)
        ax.set_xticks([], minor=True)
        ax.set_xlabel('factor on the normalized image')
    return figure


def plot_steps(sensitivity):
    """
    Plot detections and errors against the number of diffusion steps.

    As the paper's Fig. 18.

    Parameters
    ----------
    sensitivity : dict
        Results of `bgrem.evaluate.sensitivity.SensitivitySurvey` by family.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        Left: the true positives at 5% contamination; right: the mean absolute
        error of the denoised image.
    """
    figure, axes = _sensitivity(sensitivity, 'steps')
    for ax in axes:
        ax.set_xlabel('diffusion steps')
    return figure


def _sensitivity(sensitivity, kind):
    figure, axes = panels(2)
    styles = {'probability': '-', 'denoised': '--'}
    for number, (family, part) in enumerate(sensitivity.items()):
        values = [row['value'] for row in part[kind]]
        color = f'C{number % 10}'
        for name, style in styles.items():
            axes[0].plot(
                values,
                [row[name] for row in part[kind]],
                color + style,
                marker='.',
                label=f'{family}, by {name}',
            )
        error = [row['mean_absolute_error'] for row in part[kind]]
        axes[1].plot(values, error, color, marker='.', label=family)
    axes[0].set_ylabel('true positives at 5% contamination')
    axes[1].set_ylabel('mean absolute error / noise sigma')
    axes[1].set_yscale('log')
    for ax in axes:
        ax.legend(fontsize=5)
    return figure, axes


def plot_training(path):
    """
    Plot the losses of a training.

    As the paper's Figs. 19-21.

    Parameters
    ----------
    path : path-like
        The ``log.csv`` that ``bgrem train`` writes.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`

    Raises
    ------
    ValueError
        If the file has no column ``step`` or no column that ends in ``loss``.
    """
    log = Table.read(Path(path), format='ascii.csv')
    losses = [name for name in log.colnames if name.endswith('loss')]
    if 'step' not in log.colnames or not losses:
        msg = f'training_log must have columns step and *loss, got {log.colnames}'
        raise ValueError(msg)
    figure, (ax,) = panels(1)
    for name in losses:
        ax.plot(log['step'], log[name], label=name.replace('_', ' '))
    ax.set_xlabel('step')
    ax.set_ylabel('loss')
    ax.set_yscale('log')
    ax.legend(fontsize=7)
    return figure
