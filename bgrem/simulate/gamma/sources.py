"""
The sources of the gamma-ray sky at 1-2 GeV: their numbers and fluxes.

Fluxes are in photons per cm2 and s.
"""

import numpy as np

__all__ = [
    'FLUX_LIMITS',
    'draw_fluxes',
    'draw_pulsar_fluxes',
    'number_above',
    'pulsar_density',
]

# dN/dS = 2.4e-8 S**-2 per sr up to the break, S**-3 above it.
_NORM, _BREAK = 2.4e-8, 5.6e-9
FLUX_LIMITS = (1e-12, 1e-6)
# 5, 50 and 95% of the pulsars of the 4FGL catalog: 2.5e-10, 1.7e-9, 2.2e-8.
_PULSAR_MEDIAN, _PULSAR_WIDTH = 1.7e-9, 1.4
# Pulsars per sr, all over the sky and in the plane; there are 230 of them, 60%
# closer than 10 degrees to it.
_PULSARS, _PULSARS_PLANE, _PLANE_SCALE = 8.0, 200.0, 3.0


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
        Sources per sr between it and the highest flux there is.
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
        In sr.

    rng : `~numpy.random.Generator`
        The source of randomness.

    Returns
    -------
    flux : 1D `~numpy.ndarray` of float
        A Poisson number of them, between `FLUX_LIMITS`.
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
        Per sr.
    """
    return _PULSARS + _PULSARS_PLANE * np.exp(-np.abs(lat) / _PLANE_SCALE)


def draw_pulsar_fluxes(number, rng):
    """
    Draw the fluxes of pulsars, log-normal as in the 4FGL catalog.

    Parameters
    ----------
    number : int
        How many.

    rng : `~numpy.random.Generator`
        The source of randomness.

    Returns
    -------
    flux : 1D `~numpy.ndarray` of float
        At most the brightest flux there is.
    """
    flux = _PULSAR_MEDIAN * np.exp(_PULSAR_WIDTH * rng.standard_normal(number))
    return np.minimum(flux, FLUX_LIMITS[1])
