"""
A figure of a background object with six panels.
"""

import warnings
from contextlib import contextmanager

import numpy as np

from bgrem._extras import import_extra
from bgrem.checks import suggests_names
from bgrem.files.atomic import atomic_path
from bgrem.plotting.layout import Layout
from bgrem.plotting.maps import collect_maps
from bgrem.plotting.scales import (
    FLAT_SIGMA,
    Scale,
    level_scale,
    light_scale,
    percentile,
)
from bgrem.plotting.sky_axes import draw_coordinates

__all__ = ['plot_background', 'save_plot']

# A noise level that varies by less than this part of it looks flat.
_FLAT_PART = 0.2
_NOISE_SIGMA = 4.0

# Colors of pixels without a value, and of outlines.
_NO_VALUE = '#b03a2e'
_OUTLINE = '#ff9500'
# Outlines are drawn for so many pixels of the longer side at most.
_OUTLINE_PIXELS = 1500
# Their width in points, and the part of the panel that they cover at most.
_OUTLINE_WIDTH = 0.7
_OUTLINE_COVER = 0.1
_FONT_SIZE = 9


@suggests_names()
def plot_background(
    bkg,
    segmentation_image=None,
    *,
    threshold=None,
    false_discovery_rate=0.05,
    wcs=None,
    title=None,
    figsize=None,
):
    """
    Plot data, sky, noise level, sources and noise with the outlines of the segments.

    Parameters
    ----------
    bkg : `bgrem.DiffusionBackground`
        The background.

    segmentation_image : `~photutils.segmentation.SegmentationImage` or 2D array
        The segments; by default those of ``bkg.detect()``. An array contains labels,
        and 0 where there is no source.

    threshold, false_discovery_rate : float, optional
        As for ``bkg.detect``; not used with ``segmentation_image``.

    wcs : `~astropy.wcs.WCS` or `None`, optional
        The celestial coordinates of the axes; `None` for pixels. Default of
        ``bkg.plot``: those of NDData input.

    title : str, optional
        The title of the figure. Default: the weights, the number of sources and,
        without ``segmentation_image``, the false discovery rate or threshold.

    figsize : tuple of float or `None`, optional
        The width and height in inches; by default chosen to suit the image.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        A figure with six panels, each with a color bar. Data, data - background and
        sources have an arcsinh stretch centered on the sky, in units of the typical
        noise. A sky that varies by less than its noise looks flat. Non-finite pixels
        are red.

    Raises
    ------
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from bgrem import DiffusionBackground
    >>> y, x = np.mgrid[:64, :64]
    >>> star = 500 * np.exp(-((x - 30) ** 2 + (y - 20) ** 2) / 5)
    >>> data = 100 + star + np.random.default_rng(1).normal(0, 5, (64, 64))
    >>> bkg = DiffusionBackground(data)
    >>> from bgrem.plotting import plot_background
    >>> figure = plot_background(bkg)  # doctest: +SKIP
    """
    plt = import_extra('matplotlib.pyplot')
    maps = collect_maps(
        bkg,
        segmentation_image,
        threshold=threshold,
        false_discovery_rate=false_discovery_rate,
        wcs=wcs,
        title=title,
    )
    panels = _panels(maps)
    layout = _layout(maps, panels, figsize)
    figure = plt.figure(figsize=layout.figsize)
    _draw(figure, maps, panels, layout)
    return figure


def save_plot(path, bkg, segmentation_image=None, **kwargs):
    """
    Write the figure of `plot_background` to a file, completely or not at all.

    Parameters
    ----------
    path : path-like
        The file to write; its extension determines the format.

    bkg, segmentation_image
        As for `plot_background`. If segments and title are given, ``bkg`` can be any
        object with ``background``, ``background_rms``, ``source`` and ``subtract``.

    **kwargs
        The other parameters of `plot_background`, except ``figsize``.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import numpy as np
    >>> from bgrem import DiffusionBackground
    >>> y, x = np.mgrid[:64, :64]
    >>> star = 500 * np.exp(-((x - 30) ** 2 + (y - 20) ** 2) / 5)
    >>> data = 100 + star + np.random.default_rng(1).normal(0, 5, (64, 64))
    >>> bkg = DiffusionBackground(data)
    >>> from bgrem.plotting import save_plot
    >>> save_plot('picture.png', bkg)  # doctest: +SKIP
    """
    # Without pyplot no display is asked for.
    figures = import_extra('matplotlib.figure')
    maps = collect_maps(bkg, segmentation_image, **kwargs)
    panels = _panels(maps)
    layout = _layout(maps, panels)
    figure = figures.Figure(figsize=layout.figsize)
    _draw(figure, maps, panels, layout)
    with atomic_path(path) as temporary, _any_script():
        figure.savefig(temporary, dpi=120)


def _panels(maps):
    """Return title, values, scale and colors of each panel."""
    sigma, usable = maps.sigma, maps.is_usable
    sky, rms = maps.background[usable], maps.rms[usable]
    light = light_scale(maps.source[usable], sigma)
    level = level_scale(sky, FLAT_SIGMA * sigma)
    noise_level = level_scale(rms, _FLAT_PART * (percentile(rms, 50) or sigma))
    noise = Scale(-_NOISE_SIGMA * sigma, _NOISE_SIGMA * sigma)
    return [
        ('data', maps.data, light_scale(maps.source[usable], sigma, sky), 'gray'),
        ('data − background', maps.subtracted, light, 'gray'),
        ('background', maps.background, level, 'viridis'),
        ('noise level', maps.rms, noise_level, 'viridis'),
        ('sources', maps.source, light, 'gray'),
        ('noise and segments', maps.noise, noise, 'gray'),
    ]


def _layout(maps, panels, figsize=None):
    """Arrange the panels, with room for the numbers at the color bars."""
    texts = [text for _, _, scale, _ in panels for text in scale.ticks(0.1).values()]
    return Layout.of_image(maps.data.shape, max(map(len, texts), default=1), figsize)


def _draw(figure, maps, panels, layout):
    from matplotlib import colormaps

    first, spacing = None, max(0.25 / layout.height, 0.1)
    for number, (title, values, scale, colors) in enumerate(panels):
        options = {} if maps.wcs is None else {'projection': maps.wcs}
        axis = figure.add_axes(
            layout.panel(number), sharex=first, sharey=first, **options
        )
        first = first or axis
        cmap = colormaps[colors].with_extremes(bad=_NO_VALUE)
        picture = axis.imshow(
            values,
            origin='lower',
            cmap=cmap,
            norm=scale.norm(),
            aspect='equal' if layout.has_square_pixels else 'auto',
        )
        axis.set_title(title, fontsize=_FONT_SIZE + 1, pad=4)
        draw_coordinates(
            axis,
            maps.wcs,
            left=layout.is_left(number),
            bottom=layout.is_bottom(number),
            size=_FONT_SIZE,
        )
        ticks = scale.ticks(spacing)
        bar = figure.colorbar(picture, cax=figure.add_axes(layout.color_bar(number)))
        bar.minorticks_off()
        bar.set_ticks(list(ticks), labels=list(ticks.values()), fontsize=_FONT_SIZE)
        bar.set_label(maps.unit, fontsize=_FONT_SIZE)
    _draw_outlines(axis, maps.labels)
    figure.suptitle(
        maps.title, fontsize=_FONT_SIZE + 2, y=layout.title_height(), va='center',
        parse_math=False,
    )  # fmt: skip


def _draw_outlines(axis, labels):
    """Draw a line between pixels of different labels."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    step = -(-max(labels.shape) // _OUTLINE_PIXELS)
    for k, size in enumerate(labels.shape):
        labels = np.maximum.reduceat(labels, np.arange(0, size, step), axis=k)
    padded = np.pad(labels, 1)
    lines = []
    for flip in (False, True):
        values = padded.T if flip else padded
        # corners of the pixels: the first pixel begins at 0, and is number 1 here
        y, x = np.nonzero(values[:, 1:] != values[:, :-1])
        ends = np.stack([np.stack([x, y - 1], axis=-1), np.stack([x, y], axis=-1)], 1)
        lines.append(ends[..., ::-1] if flip else ends)
    vertices = step * np.concatenate(lines).reshape(-1, 2) - 0.5
    codes = np.tile([Path.MOVETO, Path.LINETO], len(vertices) // 2)
    # Not as a patch of the axes, which would scale them to hold the whole lines.
    outlines = PathPatch(Path(vertices, codes), fill=False, edgecolor=_OUTLINE)
    axis.add_artist(outlines)

    length = len(codes) / 2 / (step * labels.size)  # of all lines, for each pixel

    def fit_width(axis):
        points = 72 * axis.bbox.width / axis.figure.dpi / np.ptp(axis.get_xlim())
        cover = max(_OUTLINE_WIDTH / points * length, 1e-9)
        outlines.set_linewidth(_OUTLINE_WIDTH * min(1.0, _OUTLINE_COVER / cover))

    fit_width(axis)
    # Enlarged, they have room to be as wide as those of few sources.
    axis.callbacks.connect('xlim_changed', fit_width)


@contextmanager
def _any_script():
    """Draw boxes for the letters that the font does not have, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Glyph .* missing from')
        yield
