"""
Figures for the suite ``gamma`` only. They need matplotlib.
"""

from bgrem.evaluate.image_figures import panels

__all__ = ['plot_means']


def plot_means(means):
    """
    Plot the mean of the source image against the true mean, one panel per family.

    As the paper's Figs. 13 and 16.

    Parameters
    ----------
    means : dict
        Results of `bgrem.evaluate.gamma.survey.MeansSurvey` by family.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
    """
    figure, axes = panels(len(means))
    for ax, (family, part) in zip(axes, means.items(), strict=True):
        ax.axline((1, 1), slope=1, color='0.6', lw=1)
        for name, line in part.items():
            if line is None:
                continue
            true, found = zip(*line['points'], strict=True)
            label = f'{name}: slope {line["slope"]:.2f}'
            ax.plot(true, found, '.', ms=4, label=label)
        ax.set_xscale('log')
        ax.set_yscale('log')
        # Over a decade or two there is no room for the labels of minor ticks.
        ax.tick_params(which='minor', labelbottom=False, labelleft=False)
        ax.set_title(family, fontsize=9)
        ax.set_xlabel('true counts per pixel')
        ax.set_ylabel('source image, counts per pixel')
        ax.legend(fontsize=6)
    return figure
