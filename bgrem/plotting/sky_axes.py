"""
The axes of a panel, in pixels or celestial coordinates.
"""

import numpy as np
from astropy import units as u

__all__ = ['draw_coordinates']

_NAMES = {'DEC': 'Dec', 'GLON': 'l', 'GLAT': 'b'}


def draw_coordinates(axis, wcs, *, left, bottom, size):
    """
    Label the axes of a panel with coordinates.

    Parameters
    ----------
    axis : `~matplotlib.axes.Axes`
        The panel; a `~astropy.visualization.wcsaxes.WCSAxes` if there is a WCS.
    wcs : `~astropy.wcs.WCS` or `None`
        The coordinates; `None` for pixels.
    left, bottom : bool
        Whether to label the left side and the bottom of the panel.
    size : float
        The font size in points.
    """
    if wcs is None:
        axis.tick_params(
            labelsize=size, left=left, bottom=bottom, labelleft=left, labelbottom=bottom
        )
        axis.locator_params(nbins=5, integer=True)
        if left:
            axis.set_ylabel('y [px]', fontsize=size)
        if bottom:
            axis.set_xlabel('x [px]', fontsize=size)
        return
    places = 'bl' if _runs_along_x(wcs, axis) else 'lb'
    for number, place in enumerate(places):
        coordinate = axis.coords[number]
        if not {'l': left, 'b': bottom}[place]:
            place = ''
        name = wcs.wcs.ctype[number].partition('-')[0]
        coordinate.set_ticks(number=4)
        coordinate.set_ticks_position(place)
        coordinate.set_ticklabel_position(place)
        coordinate.set_axislabel_position(place)
        coordinate.set_ticklabel(size=size, exclude_overlapping=True)
        pad = 0.4 if place == 'l' else 0.8
        coordinate.set_axislabel(_NAMES.get(name, name), fontsize=size, minpad=pad)


def _runs_along_x(wcs, axis):
    """Whether the first coordinate changes along x more than along y."""
    x, y = np.mean(axis.get_xlim()), np.mean(axis.get_ylim())
    sky = wcs.pixel_to_world([x, x + 1, x], [y, y, y + 1])
    frame = sky[0].skyoffset_frame()
    offset = sky.transform_to(frame)
    values = (offset.lon, offset.lat)[0 if wcs.wcs.lng == 0 else 1]
    values = values.wrap_at(180 * u.deg) if hasattr(values, 'wrap_at') else values
    return abs(values[1].value) >= abs(values[2].value)
