# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Draw the figures of the page of results from its tables, before each build.

They show the numbers of ``development/tables`` and are never stored, so that no figure
can be older than its table. Of a table that is not there no figure is drawn.
"""

import textwrap
from pathlib import Path

import numpy as np
from astropy.table import Table

# In this order methods get their colors in every figure.
COLORS = {
    'optical': 'C0',
    'best peer at each': 'C1',
    'oracle': 'k',
    'optical-paper': 'C2',
    'limit': 'C3',
    'best filter': 'C4',
    'sep': 'C1',
    'sep, denoised by optical': 'C9',
    'sep, denoised by optical-paper': 'C8',
}
# Which columns are shown, of those that there are.
FLUXES = (
    *('box auto', 'box 32', 'box 8', 'true sky', 'Background2D'),
    'denoised, clipped',
)
TOTALS = ('Kron', 'total', 'local')
MARKERS = 'osD^vPX*'


def read(path):
    """Read a table of the page, all cells as text."""
    text = path.read_text(encoding='utf-8').split('.. table::')[1]
    lines = textwrap.dedent(text.partition('\n\n')[2]).splitlines()
    return Table.read(lines, format='ascii.rst', converters={'*': str})


def numbers(column):
    """Return the first number of each cell, NaN where there is none."""
    first = (
        cell.replace('\\', '').rstrip('%').split()[0].rstrip('%') for cell in column
    )
    return np.array([np.nan if cell == '-' else float(cell) for cell in first])


def names_of(table, key):
    """Return what a column names, in the order of the table."""
    return list(dict.fromkeys(table[key]))


def new_figure(n_panels, n_columns, size, **options):
    """Return a figure and the flat list of its axes."""
    from matplotlib.figure import Figure

    n_rows = -(-n_panels // n_columns)
    figure = Figure(
        figsize=(size[0] * n_columns, size[1] * n_rows), layout='constrained'
    )
    axes = figure.subplots(n_rows, n_columns, squeeze=False, **options).ravel()
    for ax in axes[n_panels:]:
        ax.set_visible(False)
    return figure, axes[:n_panels]


def curves(table):
    """True positives against contamination, one panel for each family."""
    families = names_of(table, table.colnames[0])
    rates = [name for name in table.colnames if name.endswith('%')]
    alone = len(families) == 1
    figure, axes = new_figure(
        len(families), min(4, len(families)), (7, 3.4) if alone else (2.6, 2.3)
    )
    for ax, family in zip(axes, families, strict=True):
        for row in table[table[table.colnames[0]] == family]:
            # eight views would hide the line of one
            if not row['method'].endswith(' views'):
                ax.plot(
                    range(len(rates)),
                    [int(row[rate]) for rate in rates],
                    '--' if row['method'] in ('oracle', 'limit') else '-',
                    color=COLORS.get(row['method']),
                    marker='.',
                    label=row['method'],
                )
        ax.set_title(family, fontsize=10)
        ax.set_xticks(range(len(rates)), [rate.rstrip('%') for rate in rates])
        ax.set_ylim(0, None)
    figure.supxlabel('false / all detections [%]', fontsize=10)
    figure.supylabel('true sources found', fontsize=10)
    handles = {}
    for ax in axes:
        handles |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    figure.legend(
        handles.values(),
        handles,
        loc='outside right upper' if alone else 'outside upper center',
        ncols=1 if alone else 5,
        fontsize=9,
    )
    return figure


def meerlicht(table):
    """The curves of one family."""
    table.add_column('MeerLICHT-like frames', name='family', index=0)
    return curves(table)


def promises(table):
    """Observed against promised rates of false detections."""
    rates = [name for name in table.colnames if name.endswith('%')]
    promised = np.array([float(rate.rstrip('%')) for rate in rates])
    # On this scale there is no 0: it is drawn here, at the lower edge.
    lowest = 0.07
    figure, (ax,) = new_figure(1, 1, (6.5, 4.2))
    ax.fill_between(promised, promised / 2, 1.5 * promised, color='0.9')
    ax.plot(promised, promised, 'k:')
    for k, row in enumerate(table):
        observed = np.maximum(numbers([row[rate] for rate in rates]), lowest)
        ax.plot(promised, observed, f'C{k % 10}', marker=MARKERS[k % 8], ms=4, lw=1)
        ax.lines[-1].set_label(row['family'])
    ax.set(xscale='log', yscale='log', xlabel='promised [%]', ylabel='observed [%]')
    ax.set_ylim(lowest, None)
    ax.set_xticks(promised, [f'{rate:g}' for rate in promised])
    ticks = [0.1, 0.2, 0.5, *promised]
    ax.set_yticks(ticks, [f'{rate:g}' for rate in ticks])
    ax.minorticks_off()
    figure.legend(loc='outside right upper', fontsize=8)
    return figure


def dots(ax, table, columns, *, key='family'):
    """One row of dots for each family, one kind of dots for each column."""
    rows = names_of(table, key)
    for k, (name, label) in enumerate(columns.items()):
        values = numbers(table[name])
        ax.plot(
            values,
            [rows.index(row) for row in table[key]],
            MARKERS[k % 8],
            color=f'C{k}',
            ms=5,
            alpha=0.8,
            label=label,
        )
    ax.set_yticks(range(len(rows)), rows)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(axis='y', color='0.9')


def sky(table):
    """The error of the sky of each method, best boxes, the default and given ones."""
    shown = {
        name: name
        for name in table.colnames[1:]
        if not name.startswith(('ratio', 'box 8'))
        and ', mean' not in name
        and ('best' in name or name.startswith('box'))
    }
    shown = {
        name: f'bgrem, {name}' if name.startswith('box') else name for name in shown
    }
    figure, (ax,) = new_figure(1, 1, (7.5, 4.2))
    dots(ax, table, shown)
    ax.set(xscale='log', xlabel='rms error of the sky [noise of one pixel]')
    figure.legend(loc='outside upper center', ncols=3, fontsize=9)
    return figure


def wild_sky(table):
    """The error of the sky on scenes unlike those of the training."""
    shown = {
        f'{name}: rms': title
        for name, title in {
            'by itself': 'bgrem, without options',
            'bgrem given': 'bgrem, boxes of 32 px',
            'Background2D given': 'Background2D, boxes of 32 px',
        }.items()
    }
    figure, (ax,) = new_figure(1, 1, (7.5, 8))
    dots(ax, table, shown)
    ax.set(xscale='log', xlabel='rms error of the sky [noise of one pixel]')
    figure.legend(loc='outside upper center', ncols=3, fontsize=9)
    return figure


def wild_catalog(table):
    """The fraction of false detections at a promise of 5%."""
    table = table[np.isfinite(numbers(table['false fraction']))]
    figure, (ax,) = new_figure(1, 1, (7.5, 6.5))
    dots(ax, table, {'false fraction': 'observed'})
    # Two standard deviations of the number that was promised.
    found = numbers(table['found'])
    ax.barh(
        range(len(table)),
        5 + 200 * np.sqrt(0.05 * found) / found,
        color='0.92',
        label='promise, and twice the chance error',
    )
    ax.axvline(5, color='k', ls=':')
    ax.set(xlim=(-0.5, 30), xlabel='false detections [%]')
    figure.legend(loc='outside upper center', ncols=2, fontsize=9)
    return figure


def by_snr(table, columns, label, *, limit=None):
    """Dots of the columns, a panel for each kind and range of S/N."""
    kinds, ranges = names_of(table, 'kind'), names_of(table, 'S/N')
    columns = {name: name for name in columns if name in table.colnames}
    figure, axes = new_figure(
        len(kinds) * len(ranges), len(ranges), (3, 2.6), sharex=True, sharey=True
    )
    for ax, (kind, snr) in zip(
        axes, ((k, s) for k in kinds for s in ranges), strict=True
    ):
        chosen = table[(table['kind'] == kind) & (table['S/N'] == snr)]
        dots(ax, chosen, columns)
        ax.axvline(0, color='k', lw=0.7)
        ax.set_title(f'{kind}, S/N {snr}', fontsize=10)
        if limit is not None:
            ax.set_xlim(-limit, limit)
    figure.supxlabel(label, fontsize=10)
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc='outside upper center',
        ncols=len(columns),
        fontsize=9,
    )
    return figure


def fluxes(table):
    """The bias of aperture fluxes."""
    return by_snr(table, FLUXES, 'median error of the flux [%]', limit=25)


def totals(table):
    """The bias of total fluxes."""
    return by_snr(table, TOTALS, 'median error of the flux [%]', limit=30)


def pulls(table):
    """Mean and width of the pulls, all kinds and S/N of a family in one row."""
    figure, axes = new_figure(2, 2, (4.2, 3.2), sharey=True)
    for ax, what in zip(axes, ('mean', 'std'), strict=True):
        columns = {f'{name}, {what}': name for name in ('bgrem', 'true sky')}
        dots(ax, table, columns)
        ax.axvline(what == 'std', color='k', lw=0.7)
    axes[0].set_xlabel('mean of (measured - true) / error')
    axes[1].set(xscale='log', xlabel='standard deviation')
    ticks = [0.8, 1, 1.5, 2, 4, 8]
    axes[1].set_xticks(ticks, [f'{tick:g}' for tick in ticks])
    axes[1].minorticks_off()
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc='outside upper center', ncols=2
    )
    return figure


def positions(table):
    """The errors of positions over their limit."""
    figure, (ax,) = new_figure(1, 1, (7, 3.6))
    dots(ax, table, {name: name for name in table.colnames[4:]})
    ax.axvline(1, color='k', lw=0.7)
    ax.set_xlabel('median error / Cramer-Rao limit')
    figure.legend(loc='outside upper center', ncols=2)
    return figure


def injections(table):
    """The completeness for stars injected into real images."""
    ranges = names_of(table, 'S/N')
    figure, axes = new_figure(len(ranges), len(ranges), (4.5, 2.8), sharey=True)
    for ax, snr in zip(axes, ranges, strict=True):
        chosen = table[table['S/N'] == snr]
        dots(ax, chosen, {n: n for n in table.colnames[3:]}, key='image')
        ax.set(title=f'S/N {snr}', xlim=(0, 1.03))
    figure.supxlabel('fraction found')
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc='outside upper center',
        ncols=3,
        fontsize=9,
    )
    return figure


def speed(table):
    """Speed and memory against the side of the image, and what the options cost."""
    figure, axes = new_figure(3, 3, (3.1, 3.2))
    most = max(table['threads'], key=int)
    usual = (
        np.isin(table['threads'], ['1', most])
        & np.isin(table['views'], ['1', r'\-'])
        & np.isin(table['steps'], ['default', r'\-'])
    )
    native = table['network in'][[name == 'optical' for name in table['tool']]][0]
    usual &= np.isin(table['network in'], [native, r'\-'])
    is_network = np.array([not name.count('(') for name in table['tool']])
    usual &= ~is_network | (table['threads'] == most)
    for number, name in enumerate(names_of(table, 'tool')):
        rows = table[usual & (table['tool'] == name)]
        side = numbers(rows['side (px)'])
        style = {'marker': MARKERS[number % len(MARKERS)], 'label': name}
        axes[0].plot(side, numbers(rows['Mpix/s']), **style)
        axes[1].plot(side, numbers(rows['memory (images)']), **style)
    for ax, label in ((axes[0], 'Mpix/s (wall-clock)'), (axes[1], 'images of float32')):
        ax.set(
            xscale='log', yscale='log', xlabel='side of the image (px)', ylabel=label
        )
        ticks = sorted({int(side) for side in table['side (px)']})
        ax.set_xticks(ticks, [str(tick) for tick in ticks])
        ax.minorticks_off()
    axes[0].set_title('speed')
    axes[1].set_title('peak memory')
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc='outside upper center',
        ncols=3,
        fontsize=9,
    )
    rows = table[is_network & (table['tool'] == 'optical')]
    one = [
        (f'{views} views' if views != '1' else f'{steps} steps', rate, side)
        for side, views, steps, rate in zip(
            *(rows[name] for name in ('side (px)', 'views', 'steps')),
            numbers(rows['Mpix/s']),
            strict=True,
        )
        if views != '1' or steps != 'default'
    ]
    side = one[0][2]
    base = rows[(rows['side (px)'] == side) & (rows['views'] == '1')]
    base = base[base['steps'] == 'default']
    one = [('default', numbers(base['Mpix/s'])[0], side), *one]
    axes[2].barh([name for name, *_ in one][::-1], [rate for _, rate, _ in one][::-1])
    axes[2].set(xlabel='Mpix/s (wall-clock)', title=f'optical, {side} px')
    return figure


FIGURES = {
    'speed': speed,
    'detection': curves,
    'limits': curves,
    'meerlicht': meerlicht,
    'real_detection': curves,
    'false_discovery': promises,
    'sky': sky,
    'wild_sky': wild_sky,
    'wild_catalog': wild_catalog,
    'fluxes': fluxes,
    'totals': totals,
    'pulls': pulls,
    'positions': positions,
    'injections': injections,
}


def draw(app):
    """Draw every figure of which there is the table, and that of a training."""
    import matplotlib.pyplot as plt

    from bgrem.evaluate.image_figures import plot_training

    tables = Path(app.srcdir) / 'development' / 'tables'
    folder = Path(app.srcdir) / 'development' / 'figures'
    folder.mkdir(exist_ok=True)
    log = Path(app.srcdir).parent / 'configs' / 'optical-paper-log.csv'
    figure = plot_training(log)
    # Less than a decade: plain numbers.
    figure.axes[0].set_yscale('linear')
    figure.savefig(folder / 'training.png', dpi=130)
    # What stays open would be taken for a figure of the gallery.
    plt.close(figure)
    for name, make in FIGURES.items():
        path = tables / f'{name}.rst'
        if path.exists():
            make(read(path)).savefig(folder / f'{name}.png', dpi=130)


def setup(app):
    """Draw before the pages are read."""
    app.connect('builder-inited', draw)
    return {'parallel_read_safe': True}
