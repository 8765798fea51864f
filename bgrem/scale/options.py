"""
What is to be detected and measured in an image of any size.
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
    What is to be detected and measured, as `bgrem.DiffusionBackground.catalog` has it.

    Parameters
    ----------
    threshold, false_discovery_rate, effective_gain, zero_point, aperture_correction
        As there.
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
        """What the detection was asked for (dict)."""
        return check_promise(self.threshold, self.false_discovery_rate)

    @property
    def fluxes(self):
        """What the fluxes were asked for (dict)."""
        return {'effective_gain': self.effective_gain, 'zero_point': self.zero_point}

    @property
    def key(self):
        """A word that is another one for other options."""
        text = json.dumps(asdict(self), default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def detect_whole(background, options, wcs):
    """
    Make segments and catalogue of an image that is there as a whole.

    Parameters
    ----------
    background : `bgrem.DiffusionBackground`
        The background of the image.
    options : `CatalogOptions`
        What is wanted.
    wcs : WCS or `None`
        The world coordinates.

    Returns
    -------
    table : `~astropy.table.QTable`
        As of `bgrem.scale.catalog.StreamedCatalog.measure`.
    labels : 2D `~numpy.ndarray` of int32
        The segments.
    meta : dict
        As of `bgrem.scale.catalog.StreamedCatalog.measure`.
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
