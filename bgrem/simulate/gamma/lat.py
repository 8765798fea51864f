"""
Patches of the gamma-ray sky as the Fermi-LAT sees it.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from .canvas import Canvas
from .emission import ISOTROPIC, interstellar, interstellar_structure, scale_to_band
from .patch import PointSources, compose_patch
from .psf import EVENT_TYPES, lat_psf
from .ranges import Ranges, log_uniform
from .shapes import draw_remnant
from .sources import (
    draw_fluxes,
    draw_pulsar_fluxes,
    draw_remnant_fluxes,
    draw_remnant_radii,
    pulsar_density,
    pulsar_scale,
    remnant_density,
)

__all__ = ['LatConfig', 'simulate_lat_patch', 'sky_coordinates']

# cm2 s in one year at a few GeV.
EXPOSURE_PER_YEAR = 4e10
_SOURCE_SPECTRUM, _REMNANT_SPECTRUM = 2.3, 2.2
# Remnants with radii below that, in pixels, are points.
_RESOLVED = 1.0


@dataclass(frozen=True)
class LatConfig(Ranges):
    """
    The properties of a patch of the gamma-ray sky; each patch draws its own values.

    Parameters
    ----------
    shape : tuple of int
        Height and width in pixels.

    pixel_size : float
        Side of a pixel in degrees.

    latitude : tuple of float
        The range of the absolute galactic latitude of the center in degrees, within
        which the centers are uniform on the sphere.

    longitude : tuple of float
        The range of the galactic longitude of the center in degrees.

    center : tuple of float or `None`
        Galactic longitude and latitude instead of the ranges.

    energy : tuple of float
        The band in GeV.

    event_type : str
        ``'ALL'``, ``'FRONT'``, ``'BACK'`` or ``'PSF0'`` to ``'PSF3'``.

    years : tuple of float
        The range of the time of observation in years; log-uniform.

    psf_widening : tuple of float
        The factor by which the PSF is wider than nominal.

    diffuse_scale : tuple of float
        The factor by which the interstellar emission is brighter; log-uniform.

    source_scale : tuple of float
        The factor by which there are more sources; log-uniform.

    pulsars : bool
        Whether there are galactic sources besides those that are the same everywhere.

    remnants : tuple of float
        The factor by which there are more supernova remnants and pulsar wind nebulae,
        with radii of 0.02 to 1.5 degrees and spectra of E**-2.2, than are cataloged
        near the plane above 10 GeV (`bgrem.simulate.gamma.sources`). 0 means none.

    poisson : bool
        Whether photons are drawn; if not, the counts are the expected ones.

    Raises
    ------
    ValueError
        If a range is not an ascending pair, or the event type is not known.
    """

    positive: ClassVar = (
        'pixel_size',
        'energy',
        'years',
        'psf_widening',
        'diffuse_scale',
        'source_scale',
    )

    shape: tuple = (64, 64)
    pixel_size: float = 10 / 64
    latitude: tuple = (0.0, 90.0)
    longitude: tuple = (-180.0, 180.0)
    center: tuple | None = None
    energy: tuple = (1.0, 2.0)
    event_type: str = 'ALL'
    years: tuple = (10.0, 10.0)
    psf_widening: tuple = (1.0, 1.0)
    diffuse_scale: tuple = (0.7, 1.4)
    source_scale: tuple = (1.0, 1.0)
    pulsars: bool = True
    remnants: tuple = (0.0, 0.0)
    poisson: bool = True

    def __post_init__(self):
        super().__post_init__()
        self._require('remnants', self.remnants[0] >= 0, 'must not be negative')
        if self.center is not None:
            object.__setattr__(self, 'center', tuple(map(float, self.center)))
        if self.event_type not in ('ALL', *EVENT_TYPES):
            known = ', '.join(['ALL', *EVENT_TYPES])
            msg = f'event_type must be among {known}, got {self.event_type!r}'
            raise ValueError(msg)


def simulate_lat_patch(rng, config=None, *, diffuse=None):
    """
    Simulate one patch.

    Parameters
    ----------
    rng : `~numpy.random.Generator`
        The source of all randomness: with the same state, the patch is the same.

    config : `LatConfig`, optional
        The properties of the patch.

    diffuse : callable, optional
        Called with galactic longitudes and latitudes in degrees; returns the
        interstellar emission there, in photons per cm2, s and sr in the band of the
        patch, before the PSF. By default it is drawn.

    Returns
    -------
    patch : `bgrem.simulate.gamma.CountsPatch`
        The patch. Fluxes are in photons per cm2 and s, the exposure in cm2 s. ``meta``
        contains ``lon`` and ``lat`` of the center, and ``years``.

    Examples
    --------
    >>> import numpy as np
    >>> from bgrem.simulate.gamma import LatConfig, simulate_lat_patch
    >>> config = LatConfig(latitude=(30.0, 60.0))
    >>> patch = simulate_lat_patch(np.random.default_rng(1), config)
    >>> patch.counts.shape
    (64, 64)
    """
    config = LatConfig() if config is None else config
    lon, lat = _center(config, rng)
    widening = round(rng.uniform(*config.psf_widening), 2)
    psf = lat_psf(config.energy, config.event_type, config.pixel_size, widening)
    canvas = Canvas(config.shape, psf)
    years = log_uniform(config.years, rng)
    exposure = _exposure(config, years, rng)
    coordinates = sky_coordinates(*canvas.grid(), (lon, lat), config)
    solid_angle = np.radians(config.pixel_size) ** 2
    if diffuse is None:
        gas = interstellar(*coordinates) * scale_to_band(config.energy)
        gas = gas * interstellar_structure(canvas, config.pixel_size, lat, rng)
        gas *= log_uniform(config.diffuse_scale, rng)
    else:
        gas = diffuse(*coordinates)
    isotropic = rng.uniform(*ISOTROPIC) * scale_to_band(config.energy)
    emission = canvas.smooth(gas * solid_angle) + isotropic * solid_angle
    points = _sources(canvas, config, coordinates[1], rng)
    small, extended = _remnants(canvas, config, coordinates, rng)
    points = (np.concatenate(pair) for pair in zip(points, small, strict=True))
    points = PointSources(*points)
    meta = {'lon': lon, 'lat': lat, 'years': years, 'psf_widening': widening}
    photons = rng if config.poisson else None
    return compose_patch(
        canvas, emission, exposure, points, extended, photons, meta=meta
    )


def sky_coordinates(y, x, center, config):
    """
    Return the galactic coordinates of pixels in the tangent plane.

    Parameters
    ----------
    y, x : `~numpy.ndarray` of float
        Positions in pixels of the image.

    center : tuple of float
        Longitude and latitude of the center of the image in degrees.

    config : `LatConfig`
        The pixels.

    Returns
    -------
    lon, lat : `~numpy.ndarray` of float
        Coordinates in degrees; north is up and longitude increases to the left, as in
        the WCS of `bgrem simulate gamma`.
    """
    height, width = config.shape
    scale = np.radians(config.pixel_size)
    xi = -(np.asarray(x) - (width - 1) / 2) * scale
    eta = (np.asarray(y) - (height - 1) / 2) * scale
    lon0, lat0 = np.radians(center)
    # Calabretta & Greisen 2002, eqs. 2, 14, 15 and 55.
    down = np.cos(lat0) - eta * np.sin(lat0)
    lon = lon0 + np.arctan2(xi, down)
    lat = np.arctan2(np.sin(lat0) + eta * np.cos(lat0), np.hypot(xi, down))
    return np.degrees(lon), np.degrees(lat)


def _center(config, rng):
    lon = rng.uniform(*config.longitude)
    low, high = np.sin(np.radians(config.latitude))
    lat = np.degrees(np.arcsin(rng.uniform(low, high))) * rng.choice((-1, 1))
    if config.center is not None:
        lon, lat = config.center
    return float(lon), float(lat)


def _exposure(config, years, rng):
    """The exposure of the image: a few percent of tilt, as over the whole sky."""
    share = 1.0 if config.event_type == 'ALL' else EVENT_TYPES[config.event_type][2]
    y, x = (np.linspace(-0.5, 0.5, size) for size in config.shape)
    # The whole range of 10% is 90 degrees wide.
    tilt = rng.normal(0, 0.1 / 90 * config.pixel_size, 2)
    factor = rng.uniform(0.95, 1.05)
    factor = factor + tilt[0] * config.shape[0] * y[:, None]
    factor = factor + tilt[1] * config.shape[1] * x
    return EXPOSURE_PER_YEAR * years * share * np.maximum(factor, 0.5)


def _sources(canvas, config, lat, rng):
    solid_angle = np.radians(config.pixel_size) ** 2
    scale = log_uniform(config.source_scale, rng)
    area = solid_angle * lat.size
    flux = draw_fluxes(area * scale, rng)
    x, y = canvas.random_positions(len(flux), rng)
    flux = flux * scale_to_band(config.energy, _SOURCE_SPECTRUM)
    if config.pulsars:
        number, *place = _scatter(canvas, pulsar_density(lat) * scale, config, rng)
        pulsars = draw_pulsar_fluxes(number, rng) * pulsar_scale(config.energy)
        flux = np.concatenate([flux, pulsars])
        x, y = (np.concatenate(pair) for pair in zip((x, y), place, strict=True))
    return x, y, flux


def _remnants(canvas, config, coordinates, rng):
    """Return remnants and nebulae: those that are points, and those with a shape."""
    if not config.remnants[1]:
        return np.empty((3, 0)), []
    density = rng.uniform(*config.remnants) * remnant_density(*coordinates)
    number, x, y = _scatter(canvas, density, config, rng)
    flux = draw_remnant_fluxes(number, rng)
    flux *= scale_to_band(config.energy, _REMNANT_SPECTRUM)
    radius = draw_remnant_radii(number, rng) / config.pixel_size
    wide = radius > _RESOLVED
    extended = []
    for row in zip(x[wide], y[wide], flux[wide], radius[wide], strict=True):
        one = draw_remnant(canvas, *row[:2], row[3], rng)
        extended.append(replace(one, image=row[2] * one.image))
    return (x[~wide], y[~wide], flux[~wide]), extended


def _scatter(canvas, density, config, rng):
    """Draw positions of what each pixel of the canvas has its own density of."""
    expected = density * np.radians(config.pixel_size) ** 2
    row, column = np.nonzero(rng.poisson(expected))
    x, y = rng.uniform(-0.5, 0.5, (2, len(row))) - canvas.margin
    return len(row), column + x, row + y
