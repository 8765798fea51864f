"""
The representation of a background object in a notebook.
"""

from base64 import b64encode
from html import escape
from io import BytesIO

from bgrem.plotting.maps import plain_maps
from bgrem.plotting.scales import FLAT_SIGMA, level_scale, light_scale

__all__ = ['make_html']

# The largest side of each of the three pictures, in pixels.
_SIZE = 220


def make_html(bkg):
    """
    Draw small images of data, sky and sources, and list how they were made.

    Parameters
    ----------
    bkg : `bgrem.DiffusionBackground`
        The background. Neither the network nor the detection is run again.

    Returns
    -------
    html : str or `None`
        A picture, embedded in the text, and a table; `None` without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    height, width = bkg.source.shape
    meta = bkg.meta
    box = ' × '.join(map(str, meta['box_size']))
    rows = {
        'shape': f'{height} × {width} px',
        'boxes': f'{box} px ({meta["boxes"]})',
        'weights': meta['weights'],
        'steps': meta['n_steps'],
        'views': meta['n_symmetries'],
    }
    cells = ''.join(
        f'<tr><th style="text-align: left">{name}</th>'
        f'<td style="text-align: left">{escape(str(value))}</td></tr>'
        for name, value in rows.items()
    )
    picture = b64encode(_picture(bkg, Figure)).decode('ascii')
    return (
        f'<div><p><b>{type(bkg).__name__}</b></p>'
        f'<img alt="image, sky and sources" src="data:image/png;base64,{picture}"/>'
        f'<table>{cells}</table></div>'
    )


def _picture(bkg, figure_class):
    """Return three small pictures side by side as PNG."""
    maps = plain_maps(bkg)
    usable, sigma = maps.is_usable, maps.sigma
    sky, light = maps.background[usable], maps.source[usable]
    shown = [
        ('image', maps.data, light_scale(light, sigma, sky), 'gray'),
        ('sky', maps.background, level_scale(sky, FLAT_SIGMA * sigma), 'viridis'),
        ('sources', maps.source, light_scale(light, sigma), 'gray'),
    ]
    height, width = maps.data.shape
    scale = _SIZE / max(height, width)
    # In inches of 100 pixels; a title needs some width.
    height, width = max(0.4, height * scale / 100), max(0.7, width * scale / 100)
    page = 3 * width + 0.2, height + 0.25
    figure = figure_class(figsize=page)
    for number, (title, values, colors, name) in enumerate(shown):
        axis = figure.add_axes(
            (number * (width + 0.1) / page[0], 0, width / page[0], height / page[1])
        )
        step = -(-max(values.shape) // (4 * _SIZE))
        axis.imshow(
            values[::step, ::step],
            origin='lower',
            cmap=name,
            norm=colors.norm(),
            aspect='auto',
        )
        axis.set_axis_off()
        axis.set_title(title, fontsize=8, pad=3)
    content = BytesIO()
    figure.savefig(content, dpi=100, format='png')
    return content.getvalue()
