"""
Point-spread functions of photon counters: the Fermi-LAT's, King, Moffat, Gauss.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

__all__ = ['EVENT_TYPES', 'RadialPSF', 'analytic_psf', 'lat_psf']

# P8R3_SOURCE: c0 and c1 (rad) of the scaling of the PSF with energy, and the share
# of the exposure that each event type has.
EVENT_TYPES = {
    'FRONT': (6.38e-2, 1.26e-3, 0.55),
    'BACK': (1.23e-1, 2.22e-3, 0.45),
    'PSF0': (1.53e-1, 5.70e-3, 0.25),
    'PSF1': (9.64e-2, 1.78e-3, 0.25),
    'PSF2': (7.02e-2, 1.07e-3, 0.25),
    'PSF3': (4.97e-2, 6.13e-4, 0.25),
}
# The two King functions at 2 GeV: share, scale and slope.
_CORE = (0.748988, 0.428654, 7.823632)
_TAIL = (1 - 0.748988, 0.715963, 3.618837)
# What the parametrization lacks of the livetime-weighted PSF of the mission.
_WIDENING = 1.13
_SPECTRUM = 2.4


@dataclass(frozen=True, eq=False)
class RadialPSF:
    """
    A round PSF in pixels, given as a table.

    Parameters
    ----------
    radius : 1D `~numpy.ndarray` of float
        Radii in pixels, ascending from 0.

    density : 1D `~numpy.ndarray` of float
        Light per square pixel at these radii, with any normalization.
    """

    radius: np.ndarray
    density: np.ndarray

    def __post_init__(self):
        light = self._cumulative()[-1]
        object.__setattr__(self, 'density', self.density / light)

    def _cumulative(self):
        rings = 2 * np.pi * self.radius * self.density
        steps = np.diff(self.radius) * (rings[1:] + rings[:-1]) / 2
        return np.concatenate([[0.0], np.cumsum(steps)])

    @property
    def fwhm(self):
        """The full width at half maximum in pixels."""
        half = self.density[0] / 2
        return 2 * float(np.interp(-half, -self.density, self.radius))

    def containment_radius(self, fraction):
        """
        Return the radius that holds a fraction of the light.

        Parameters
        ----------
        fraction : float
            Between 0 and 1.

        Returns
        -------
        radius : float
            The radius in pixels.
        """
        return float(np.interp(fraction, self._cumulative(), self.radius))

    def kernel(self, shape, oversample=1):
        """
        Integrate the PSF over the pixels of an array.

        Parameters
        ----------
        shape : tuple of int
            Height and width of the array.

        oversample : int, optional
            The number of pixels of the array, along an axis, in one pixel of the units
            of the PSF.

        Returns
        -------
        kernel : 2D `~numpy.ndarray` of float
            The integrals, with unit sum, centered on pixel (0, 0) and periodic, as
            required for a Fourier transform.
        """
        # Where the PSF is wide in pixels, the middle of a pixel is enough.
        n = max(1, int(np.ceil(9 / (self.fwhm * oversample)))) | 1
        within = (np.arange(n) - n // 2) / n
        # The center is on a pixel center, and so is it on each axis of subpixels.
        y, x = (np.fft.fftfreq(size, 1 / size)[:, None] + within for size in shape)
        y, x = y.ravel() / oversample, x.ravel() / oversample
        radius = np.sqrt(y[:, None] ** 2 + x**2)
        values = np.interp(radius, self.radius, self.density, right=0.0)
        values = values.reshape(shape[0], n, shape[1], n).sum(axis=(1, 3))
        return values / values.sum()


def _king(x, scale, slope):
    norm = (1 - 1 / slope) / (2 * np.pi * scale**2)
    return norm * (1 + x**2 / (2 * slope * scale**2)) ** -slope


@lru_cache(maxsize=32)
def lat_psf(energy=(1.0, 2.0), event_type='ALL', pixel_size=10 / 64, widening=1.0):
    """
    Return the PSF of the Fermi-LAT (P8R3) in an energy band.

    The scaling with energy is that of each event type. The shape of the scaled
    profile is that at 2 GeV for all of them, widened to agree with the mission's
    livetime-weighted PSF.

    Parameters
    ----------
    energy : tuple of float, optional
        The band in GeV, weighted as E**-2.4.

    event_type : str, optional
        One of `EVENT_TYPES`, or ``'ALL'`` for the mixture of the four quartiles.

    pixel_size : float, optional
        Side of a pixel in degrees.

    widening : float, optional
        A factor by which the PSF is wider than this.

    Returns
    -------
    psf : `RadialPSF`
        The PSF in pixels.

    Raises
    ------
    ValueError
        If the event type is not known or the band is not ascending.
    """
    if event_type != 'ALL' and event_type not in EVENT_TYPES:
        known = ', '.join(['ALL', *EVENT_TYPES])
        msg = f'event_type must be among {known}, got {event_type!r}'
        raise ValueError(msg)
    if not 0 < energy[0] < energy[1]:
        msg = f'energy must be an ascending pair, got {energy!r}'
        raise ValueError(msg)
    names = [event_type]
    if event_type == 'ALL':
        names = [name for name in EVENT_TYPES if name.startswith('PSF')]
    edges = np.geomspace(*energy, 17)
    middle = np.sqrt(edges[1:] * edges[:-1])
    weight = middle**-_SPECTRUM * np.diff(edges)
    degrees = np.concatenate([[0.0], np.geomspace(1e-3, 30.0, 400)])
    density = np.zeros(degrees.size)
    for name in names:
        c0, c1, _ = EVENT_TYPES[name]
        for one, share in zip(middle, weight, strict=True):
            # Fermi-LAT, Cicerone: S_P(E), E in units of 100 MeV.
            scale = np.hypot(c0 * (10 * one) ** -0.8, c1) * _WIDENING * widening
            x = np.radians(degrees) / scale
            core, tail = (
                part * _king(x, s, slope) for part, s, slope in (_CORE, _TAIL)
            )
            density += share * (core + tail) / scale**2
    return RadialPSF(degrees / pixel_size, density)


@lru_cache(maxsize=256)
def analytic_psf(kind, fwhm):
    """
    Return a PSF of a textbook shape.

    Parameters
    ----------
    kind : str
        ``'gauss'``, ``'moffat'`` (exponent 2.5) or ``'king'`` (exponent 1.5, the
        widest wings; its light ends at 40 core radii).

    fwhm : float
        The full width at half maximum in pixels.

    Returns
    -------
    psf : `RadialPSF`
        The PSF in pixels.

    Raises
    ------
    ValueError
        If the kind is not known.
    """
    if kind == 'gauss':
        radius = np.linspace(0, 4 * fwhm, 600)
        return RadialPSF(radius, np.exp(-4 * np.log(2) * (radius / fwhm) ** 2))
    exponents = {'moffat': 2.5, 'king': 1.5}
    if kind not in exponents:
        msg = f"kind must be 'gauss', 'moffat' or 'king', got {kind!r}"
        raise ValueError(msg)
    exponent = exponents[kind]
    core = fwhm / 2 / np.sqrt(2 ** (1 / exponent) - 1)
    radius = core * np.concatenate([[0.0], np.geomspace(1e-2, 40.0, 600)])
    return RadialPSF(radius, (1 + (radius / core) ** 2) ** -exponent)
