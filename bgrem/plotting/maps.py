"""
The maps that a figure shows.
"""

import warnings
from dataclasses import dataclass, replace

import numpy as np
from astropy import units as u
from astropy.wcs import WCS
from photutils.utils.exceptions import NoDetectionsWarning

from bgrem.checks import check_promise, check_shape
from bgrem.plotting.scales import percentile

__all__ = ['Maps', 'collect_maps', 'describe', 'plain_maps']

# A file name can have 255 characters; the picture is not as wide.
_LONGEST_NAME = 80


@dataclass(frozen=True, eq=False)
class Maps:
    """
    The maps of an image, without units.

    Parameters
    ----------
    data, subtracted, background, rms, source : 2D `~numpy.ndarray` of float
        The image, the image without its sky, the sky, its noise, and the sources.
    labels : 2D `~numpy.ndarray` of int or `None`, optional
        The labels of the segments; 0 where there is none.
    unit : str, optional
        The unit; empty for none.
    wcs : `~astropy.wcs.WCS` or `None`, optional
        The celestial coordinates.
    title : str, optional
        The title of the figure.
    """

    data: np.ndarray
    subtracted: np.ndarray
    background: np.ndarray
    rms: np.ndarray
    source: np.ndarray
    labels: np.ndarray | None = None
    unit: str = ''
    wcs: WCS | None = None
    title: str = ''

    @property
    def noise(self):
        """The part of the data that is neither sky nor source."""
        return self.subtracted - self.source

    @property
    def is_usable(self):
        """`True` where there are data, with noise if there is any (2D bool)."""
        finite = np.isfinite(self.data)
        noisy = finite & (self.rms > 0)
        return noisy if noisy.any() else finite

    @property
    def sigma(self):
        """
        The typical noise; for an image without noise, a hundredth of its level, or 1.
        """
        usable = self.is_usable
        return (
            percentile(self.rms[usable], 50)
            or abs(percentile(self.data[usable], 50)) / 100
            or 1.0
        )


def plain_maps(bkg):
    """
    Return the maps of a background object, without segments or title.

    Parameters
    ----------
    bkg : `bgrem.DiffusionBackground`
        The background, or any object with ``background``, ``background_rms``,
        ``source`` and ``subtract``.

    Returns
    -------
    maps : `Maps`
        The maps.
    """
    subtracted, background = u.Quantity(bkg.subtract()), u.Quantity(bkg.background)
    return Maps(
        data=(subtracted + background).value,
        subtracted=subtracted.value,
        background=background.value,
        rms=u.Quantity(bkg.background_rms).value,
        source=u.Quantity(bkg.source).value,
        unit=str(background.unit),
    )


def collect_maps(
    bkg,
    segmentation_image=None,
    *,
    threshold=None,
    false_discovery_rate=0.05,
    wcs=None,
    title=None,
):
    """
    Collect the maps that a figure of a background object shows.

    Parameters
    ----------
    bkg, segmentation_image, threshold, false_discovery_rate, wcs, title
        As for `bgrem.plotting.plot_background`. If segments and title are given,
        ``bkg`` can be any object that `plain_maps` accepts.

    Returns
    -------
    maps : `Maps`
        The maps.
    """
    maps = plain_maps(bkg)
    promise = {}
    if segmentation_image is None:
        promise = check_promise(threshold, false_discovery_rate)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', NoDetectionsWarning)
            segmentation_image = bkg.detect(**promise)
    labels = np.zeros(maps.data.shape, dtype=np.int32)
    if segmentation_image is not None:
        given = np.asarray(segmentation_image)
        check_shape('segmentation_image', given.shape, labels.shape)
        labels[:] = given
    if title is None:
        title = describe(bkg.meta, labels, **promise)
    return replace(maps, labels=labels, wcs=wcs, title=title)


def describe(meta, labels, *, name=None, threshold=None, false_discovery_rate=None):
    """
    Return a title that says what a figure shows.

    Parameters
    ----------
    meta : dict
        The metadata of the background, with the name of the ``weights``.
    labels : 2D `~numpy.ndarray` of int
        The labels of the segments.
    name : str or `None`, optional
        The name of the image.
    threshold, false_discovery_rate : float or `None`, optional
        The probability threshold of the detection, or the false discovery rate from
        which it was chosen.

    Returns
    -------
    title : str
        The title.
    """
    n_sources = np.unique(labels[labels > 0]).size
    parts = [] if name is None else [_readable(name)]
    parts.append(f'weights {meta["weights"]}')
    parts.append(f'{n_sources} source{"" if n_sources == 1 else "s"}')
    if threshold is not None:
        parts.append(f'probability at least {threshold:.4g}')
    elif false_discovery_rate is not None:
        parts.append(f'false discovery rate {100 * false_discovery_rate:.4g}%')
    return ' – '.join(parts)


def _readable(name):
    """Return a name in one line, and not too long."""
    name = ' '.join(name.encode('utf-8', 'backslashreplace').decode().split())
    if len(name) > _LONGEST_NAME:
        half = _LONGEST_NAME // 2
        name = f'{name[:half]}…{name[-half:]}'
    return name
