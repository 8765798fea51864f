"""
The sources of the gamma-ray sky at 1-2 GeV: their numbers and fluxes.

Fluxes are in photons per cm2 and s.
"""

import numpy as np

from .emission import longitude_run

__all__ = [
    'FLUX_LIMITS',
    'draw_fluxes',
    'draw_pulsar_fluxes',
    'draw_remnant_fluxes',
    'draw_remnant_radii',
    'number_above',
    'pulsar_density',
    'pulsar_scale',
    'remnant_density',
]

# dN/dS = 2.4e-8 S**-2 per sr up to the break, S**-3 above it.
_NORM, _BREAK = 2.4e-8, 5.6e-9
FLUX_LIMITS = (1e-12, 1e-6)
# 5, 50 and 95% of the pulsars of the 4FGL catalog: 2.5e-10, 1.7e-9, 2.2e-8.
_PULSAR_MEDIAN, _PULSAR_WIDTH = 1.7e-9, 1.4
# Pulsars per sr, all over the sky and in the plane; there are 230 of them, 60%
# closer than 10 degrees to it.
_PULSARS, _PULSARS_PLANE, _PLANE_SCALE = 8.0, 200.0, 3.0
# Their spectrum ends at a few GeV: E**-1.5 exp(-(E / 2 GeV)**(2/3)).
_PULSAR_SPECTRUM = (1.5, 2.0, 2 / 3)
# Remnants of supernovae and nebulae of pulsars: above 10 GeV 17 cataloged sources
# (3FHL, Ajello et al. 2017) brighter than 7e-11 (6e-10 at 1-2 GeV, by E**-2.2) are
# within 10 degrees of the Galactic Center and 2.5 of the plane, N(>S) ~ S**-0.8.
_REMNANTS, _REMNANT_SCALE = 1500.0, 1.0
_REMNANT_FLUX, _REMNANT_SLOPE = (2e-10, 6e-10, 4e-8), 0.8
# Their radii in degrees, as many in each octave. Those from 0.2 on are half as many as
# the 46 of the FGES catalog (Ackermann et al. 2017), the smaller ones look like points.
_REMNANT_RADIUS = (0.02, 1.5)


def number_above(flux):
    """
    Return the number of extragalactic sources.

    Parameters
    ----------
    flux : float or `~numpy.ndarray`
        The lowest flux.

    Returns
    -------
    number : float or `~numpy.ndarray`
        Sources per sr between this flux and the highest flux.
    """
    flux = np.asarray(flux, float)
    low, high = np.minimum(flux, _BREAK), np.maximum(flux, _BREAK)
    steep = _NORM * _BREAK / 2 * (high**-2.0 - FLUX_LIMITS[1] ** -2.0)
    return _NORM * (1 / low - 1 / _BREAK) + steep


def draw_fluxes(area, rng):
    """
    Draw the extragalactic sources of an area.

    Parameters
    ----------
    area : float
        The area in sr.

    rng : `~numpy.random.Generator`
        The source of randomness.

    Returns
    -------
    flux : 1D `~numpy.ndarray` of float
        The fluxes of a Poisson number of sources, between `FLUX_LIMITS`.
    """
    total = float(number_above(FLUX_LIMITS[0]))
    n = total * (1 - rng.random(rng.poisson(area * total)))
    # The inverse of `number_above`.
    at_break = float(number_above(_BREAK))
    shallow = 1 / (np.maximum(n - at_break, 0) / _NORM + 1 / _BREAK)
    steep = (2 * n / (_NORM * _BREAK) + FLUX_LIMITS[1] ** -2.0) ** -0.5
    return np.where(n > at_break, shallow, steep)


def pulsar_density(lat):
    """
    Return the density of pulsars.

    Parameters
    ----------
    lat : float or `~numpy.ndarray`
        Galactic latitude in degrees.

    Returns
    -------
    density : float or `~numpy.ndarray`
        The density per sr.
    """
    return _PULSARS + _PULSARS_PLANE * np.exp(-np.abs(lat) / _PLANE_SCALE)


def draw_pulsar_fluxes(number, rng):
    """
    Draw the fluxes of pulsars, log-normal as in the 4FGL catalog.

    Parameters
    ----------
    number : int
        The number of pulsars.

    rng : `~numpy.random.Generator`
        The source of randomness.

    Returns
    -------
    flux : 1D `~numpy.ndarray` of float
        The fluxes, limited to the highest flux.
    """
    flux = _PULSAR_MEDIAN * np.exp(_PULSAR_WIDTH * rng.standard_normal(number))
    return np.minimum(flux, FLUX_LIMITS[1])


def pulsar_scale(energy):
    """
    Return the ratio of the photons of pulsars in a band to those at 1-2 GeV.

    Parameters
    ----------
    energy : tuple of float
        The band in GeV.

    Returns
    -------
    ratio : float
        The ratio; 1 for (1, 2).
    """
    slope, end, power = _PULSAR_SPECTRUM

    def photons(low, high):
        grid = np.geomspace(low, high, 257)
        value = grid**-slope * np.exp(-((grid / end) ** power))
        return np.sum((value[1:] + value[:-1]) / 2 * np.diff(grid))

    return float(photons(*energy) / photons(1.0, 2.0))


def remnant_density(lon, lat):
    """
    Return the density of supernova remnants and pulsar wind nebulae.

    Parameters
    ----------
    lon, lat : float or `~numpy.ndarray`
        Galactic coordinates in degrees.

    Returns
    -------
    density : float or `~numpy.ndarray`
        The density per sr of all sources that `draw_remnant_fluxes` draws.
    """
    low, known, high = _REMNANT_FLUX
    number = (low**-_REMNANT_SLOPE - high**-_REMNANT_SLOPE) / (
        known**-_REMNANT_SLOPE - high**-_REMNANT_SLOPE
    )
    along = longitude_run(lon) / longitude_run(0.0)
    return _REMNANTS * number * along * np.exp(-np.abs(lat) / _REMNANT_SCALE)


def draw_remnant_fluxes(number, rng):
    """
    Draw the fluxes of remnants and nebulae from a power law.

    Parameters
    ----------
    number : int
        The number of sources.

    rng : `~numpy.random.Generator`
        The source of randomness.

    Returns
    -------
    flux : 1D `~numpy.ndarray` of float
        The fluxes at 1-2 GeV.
    """
    low, _, high = (one**-_REMNANT_SLOPE for one in _REMNANT_FLUX)
    return (low - rng.random(number) * (low - high)) ** (-1 / _REMNANT_SLOPE)


def draw_remnant_radii(number, rng):
    """
    Draw the radii of remnants and nebulae, log-uniform.

    Parameters
    ----------
    number : int
        The number of sources.

    rng : `~numpy.random.Generator`
        The source of randomness.

    Returns
    -------
    radius : 1D `~numpy.ndarray` of float
        The radii in degrees.
    """
    low, high = _REMNANT_RADIUS
    return low * (high / low) ** rng.random(number)
