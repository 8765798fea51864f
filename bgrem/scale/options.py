"""
The options of detection and measurement in an image of any size.
"""

import hashlib
import json
from dataclasses import asdict, dataclass

from bgrem.checks import check_finite, check_promise
from bgrem.detect.segments import no_segments
from bgrem.files.products import catalog_table

__all__ = ['CatalogOptions', 'detect_whole']


@dataclass(frozen=True)
class CatalogOptions:
    """
    The options of `bgrem.DiffusionBackground.catalog`.

    Parameters
    ----------
    threshold, false_discovery_rate, effective_gain, zero_point, aperture_correction
        As in that method.
    """

    threshold: float | None = None
    false_discovery_rate: float = 0.05
    effective_gain: float | None = None
    zero_point: float | None = None
    aperture_correction: bool = False

    def __post_init__(self):
        # before anything is done for it
        self.promise  # noqa: B018
        if self.zero_point is not None:
            check_finite('zero_point', self.zero_point)

    @property
    def promise(self):
        """The options of the detection (dict)."""
        return check_promise(self.threshold, self.false_discovery_rate)

    @property
    def fluxes(self):
        """The options of the fluxes (dict)."""
        return {'effective_gain': self.effective_gain, 'zero_point': self.zero_point}

    @property
    def key(self):
        """A word that differs for different options."""
        text = json.dumps(asdict(self), default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def detect_whole(background, options, wcs):
    """
    Make the segments and the catalog of an image that is in memory as a whole.

    Parameters
    ----------
    background : `bgrem.DiffusionBackground`
        The background of the image.
    options : `CatalogOptions`
        The options of detection and measurement.
    wcs : WCS or `None`
        The world coordinate system.

    Returns
    -------
    table : `~astropy.table.QTable`
        As from `bgrem.scale.catalog.StreamedCatalog.measure`.
    labels : 2D `~numpy.ndarray` of int32
        The segments.
    meta : dict
        As from `bgrem.scale.catalog.StreamedCatalog.measure`.
    """
    segments = background.detect(**options.promise)
    if segments is None:
        segments = no_segments(background.source.shape)
    found = background.catalog(
        segments,
        wcs=wcs,
        aperture_correction=options.aperture_correction,
        **options.fluxes,
    )
    return catalog_table(found), segments.data, background.meta
