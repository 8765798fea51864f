"""
The ingredients of the wild scenes: stars and small galaxies.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.signal import fftconvolve

__all__ = [
    'SIGMA',
    'SKY',
    'Psf',
    'add_stamp',
    'catalog_of',
    'equivalent_fwhm',
    'grid',
    'merge',
    'moffat',
    'paint_field',
    'paint_points',
    'power_law',
    'ring',
]

# Electrons: a sky of 500 in a pixel and a read noise of 5.
SKY = 500.0
SIGMA = (SKY + 25.0) ** 0.5


@dataclass(frozen=True)
class Psf:
    """
    A point-spread function that can be drawn anywhere.

    Parameters
    ----------
    profile : callable
        Its surface brightness, in any unit, at an array of distances in pixels.
    fwhm : float
        The full width at half maximum in pixels; for a ring, its diameter.
    reach : int
        Half the side of its stamps in pixels.
    n_sub : int, optional
        Points along each side of a pixel over which the light is averaged.
    """

    profile: Callable
    fwhm: float
    reach: int
    n_sub: int = 1

    def stamp(self, dy=0.0, dx=0.0):
        """
        Draw a source of unit flux.

        Parameters
        ----------
        dy, dx : float, optional
            The offset of its center from the middle of the stamp, in pixels.

        Returns
        -------
        stamp : 2D `~numpy.ndarray` of float
            A stamp of ``2 * reach + 1`` pixels on each side.
        """
        axis = np.arange(-self.reach, self.reach + 1, dtype=float)
        sub = (np.arange(self.n_sub) + 0.5) / self.n_sub - 0.5
        fine = (axis[:, None] + sub).ravel()
        drawn = self.profile(np.hypot((fine - dy)[:, None], fine - dx))
        shape = (axis.size, self.n_sub, axis.size, self.n_sub)
        drawn = drawn.reshape(shape).mean(axis=(1, 3))
        return drawn / drawn.sum()


def moffat(fwhm, beta=3.0):
    """
    Make a Moffat point-spread function.

    Parameters
    ----------
    fwhm : float
        The full width at half maximum in pixels, before integration over the
        pixels.
    beta : float, optional
        The exponent of its wings.

    Returns
    -------
    psf : `Psf`
    """
    scale = fwhm / 2 / np.sqrt(2 ** (1 / beta) - 1)
    reach = int(np.ceil(6 * fwhm)) + 2
    n_sub = 5 if fwhm < 3 else 1
    return Psf(lambda r: (1 + (r / scale) ** 2) ** -beta, fwhm, reach, n_sub)


def ring(outer, inner, seeing=1.0):
    """
    Make the point-spread function of a telescope that is out of focus: its pupil.

    Parameters
    ----------
    outer, inner : float
        The radii of the pupil and of its obstruction, in pixels.
    seeing : float, optional
        The width, in pixels, over which the edges are blurred.

    Returns
    -------
    psf : `Psf`
    """

    def profile(radius):
        blurred = np.tanh((radius - inner) / seeing) - np.tanh(
            (radius - outer) / seeing
        )
        return blurred / 2

    return Psf(profile, 2.0 * outer, int(np.ceil(outer + 6 * seeing)), 3)


def equivalent_fwhm(stamp):
    """
    Return the diameter of the circle that exceeds half the maximum.

    Parameters
    ----------
    stamp : 2D `~numpy.ndarray` of float
        A point source.

    Returns
    -------
    fwhm : float
        The diameter in pixels.
    """
    # Only part of the pixels at the edge of the circle belongs to it.
    fine = np.kron(stamp, np.ones((8, 8)))
    kernel = np.ones((8, 8)) / 64
    smooth = fftconvolve(fine, kernel, mode='same')
    return float(2 * np.sqrt(np.sum(smooth > smooth.max() / 2) / np.pi) / 8)


def grid(size):
    """
    Return the coordinates of a square image.

    Parameters
    ----------
    size : int
        Its side in pixels.

    Returns
    -------
    y, x : 2D `~numpy.ndarray` of float
    """
    y, x = np.mgrid[:size, :size].astype(float)
    return y, x


def add_stamp(image, stamp, y, x):
    """
    Add a stamp to an image, in place; parts outside the image are lost.

    Parameters
    ----------
    image, stamp : 2D `~numpy.ndarray` of float
        The stamp has odd sides.
    y, x : int
        The pixel of the image at the middle of the stamp.
    """
    to, of = [], []
    for center, n, side in zip((y, x), image.shape, stamp.shape, strict=True):
        first = center - side // 2
        low, high = max(first, 0), min(first + side, n)
        if low >= high:
            return
        to.append(slice(low, high))
        of.append(slice(low - first, high - first))
    image[tuple(to)] += stamp[tuple(of)]


def power_law(rng, n, low, high, slope=1.0):
    """
    Draw from N(>F) ~ F**-slope between two limits.

    Parameters
    ----------
    rng : `~numpy.random.Generator`
        The source of all randomness.
    n : int
        The number of values.
    low, high : float
        The limits.
    slope : float, optional
        0 is uniform in the logarithm.

    Returns
    -------
    values : 1D `~numpy.ndarray` of float
    """
    u = rng.random(n)
    if slope == 0:
        return low * (high / low) ** u
    return (low**-slope + u * (high**-slope - low**-slope)) ** (-1 / slope)


def _galaxy(rng, radius, psf_stamp):
    """Return an exponential disc of a given half-light radius, seen through a PSF."""
    reach = int(np.ceil(5 * radius)) + psf_stamp.shape[0] // 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(float)
    angle, axis_ratio = rng.uniform(0, np.pi), rng.uniform(0.3, 1.0)
    u = x * np.cos(angle) + y * np.sin(angle)
    v = (y * np.cos(angle) - x * np.sin(angle)) / axis_ratio
    disc = np.exp(-1.678 * np.hypot(u, v) / radius)
    stamp = fftconvolve(disc, psf_stamp, mode='same')
    return np.maximum(stamp, 0) / stamp.sum()


def paint_points(shape, psf, x, y, flux):
    """
    Paint point sources.

    Parameters
    ----------
    shape : tuple of int
        The shape of the image.
    psf : `Psf`
        The PSF of the sources.
    x, y, flux : 1D array_like of float
        Positions in pixels, and total light.

    Returns
    -------
    source : 2D `~numpy.ndarray` of float
    catalog : dict of 1D `~numpy.ndarray`
        As `catalog_of` returns it.
    """
    source = np.zeros(shape)
    for x0, y0, light in zip(x, y, flux, strict=True):
        row, column = round(y0), round(x0)
        add_stamp(source, light * psf.stamp(y0 - row, x0 - column), row, column)
    norm = np.sqrt(np.sum(psf.stamp() ** 2))
    return source, catalog_of(x, y, flux, norm)


def paint_field(rng, shape, psf, n, snr=(1.0, 1000.0), *, slope=1.0, galaxies=0.3):
    """
    Paint stars and small galaxies at random places.

    Parameters
    ----------
    rng : `~numpy.random.Generator`
        The source of all randomness.
    shape : tuple of int
        The shape of the image.
    psf : `Psf`
        The PSF of the stars.
    n : int
        The number of sources.
    snr : tuple of float, optional
        The range of the S/N of a matched filter in white noise of ``SIGMA``.
    slope : float, optional
        The slope of the flux law, see `power_law`.
    galaxies : float, optional
        The fraction of galaxies, with half-light radii of 1 to 5 px.

    Returns
    -------
    source : 2D `~numpy.ndarray` of float
    catalog : dict of 1D `~numpy.ndarray`
        As `catalog_of` returns it.
    """
    source = np.zeros(shape)
    y, x = (rng.uniform(-0.5, side - 0.5, n) for side in shape)
    snr = power_law(rng, n, *snr, slope)
    radius = np.where(rng.random(n) < galaxies, rng.uniform(1, 5, n), 0.0)
    norm = np.empty(n)
    for i in range(n):
        row, column = round(y[i]), round(x[i])
        stamp = psf.stamp(y[i] - row, x[i] - column)
        if radius[i]:
            stamp = _galaxy(rng, radius[i], stamp)
        norm[i] = np.sqrt(np.sum(stamp**2))
        add_stamp(source, snr[i] * SIGMA / norm[i] * stamp, row, column)
    return source, catalog_of(x, y, snr * SIGMA / norm, norm, radius)


def catalog_of(x, y, flux, norm, half_light_radius=0.0):
    """
    Make a catalog; `~bgrem.evaluate.wild.scene.make_scene` adds the S/N.

    Parameters
    ----------
    x, y, flux : 1D array_like of float
        Positions in pixels, and total light.
    norm : float or 1D array_like of float
        The root of the sum of the squares of a source of unit flux.
    half_light_radius : float or 1D array_like of float, optional
        Half-light radii in pixels; 0 for stars.

    Returns
    -------
    catalog : dict of 1D `~numpy.ndarray`
    """
    x = np.atleast_1d(np.asarray(x, float))
    columns = {
        'x': x,
        'y': y,
        'flux': flux,
        'norm': norm,
        'half_light_radius': half_light_radius,
    }
    return {
        name: np.array(np.broadcast_to(np.asarray(values, float), x.shape))
        for name, values in columns.items()
    }


def merge(*painted):
    """
    Combine pairs of a source image and its catalog.

    Parameters
    ----------
    *painted : tuple
        Pairs of a source image and a catalog.

    Returns
    -------
    source : 2D `~numpy.ndarray` of float
    catalog : dict of 1D `~numpy.ndarray`
    """
    sources, catalogs = zip(*painted, strict=True)
    names = catalogs[0]
    return sum(sources), {
        name: np.concatenate([catalog[name] for catalog in catalogs]) for name in names
    }
