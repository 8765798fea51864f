"""
The diffuse gamma-ray sky at 1-2 GeV: interstellar and isotropic emission.

All intensities are means over the sky, as observed by the LAT from 2008 on, in photons
per cm2, s and sr.
"""

import numpy as np
from scipy.fft import irfft2, rfft2
from scipy.special import expit

__all__ = [
    'ISOTROPIC',
    'interstellar',
    'interstellar_structure',
    'longitude_run',
    'power_law_field',
    'scale_to_band',
]

# The range of published values.
ISOTROPIC = (2.6e-7, 3.2e-7)
_SPECTRUM = 2.45
# The mean over longitude of the interstellar emission, at latitudes in degrees.
_LATITUDE = (0.0, 0.25, 0.75, 1.5, 2.5, 4.0, 6.0, 8.5, 12.5, 17.5, 25.0, 35.0, 50.0,
             75.0, 90.0)  # fmt: skip
_PROFILE = (3.2e-5, 3.1e-5, 2.5e-5, 1.7e-5, 1.23e-5, 8.3e-6, 5.0e-6, 3.35e-6,
            2.2e-6, 1.5e-6, 1.0e-6, 6.8e-7, 3.7e-7, 2.2e-7, 2.0e-7)  # fmt: skip
# Its run with longitude in the plane, and how little of that is left at the poles.
_LONGITUDE = (0.0, 40.0, 55.0, 75.0, 110.0, 180.0)
_RUN = (2.65, 2.3, 1.27, 0.68, 0.32, 0.23)
_FAR_SHARE, _FAR_SCALE = 0.3, 4.0
# The inner two degrees stand out.
_CENTER = (3.0, 2.5, 0.6)
# The fractional rms of the field in a patch of 10 degrees. Far from the plane half
# of the sky is isotropic: of both together it is 0.06 to 0.1.
_RMS_LATITUDE = (0.0, 5.0, 7.5, 90.0)
_RMS = (0.28, 0.28, 0.14, 0.14)
_SLOPE = -4.5


def scale_to_band(energy, slope=_SPECTRUM):
    """
    Return the ratio of the photons of a band to those at 1-2 GeV.

    Parameters
    ----------
    energy : tuple of float
        The band in GeV.

    slope : float, optional
        The spectrum is E**-slope.

    Returns
    -------
    ratio : float
        The ratio; 1 for (1, 2).
    """
    low, high = energy
    power = 1 - slope
    return (low**power - high**power) / (1 - 2**power)


def interstellar(lon, lat):
    """
    Return the smooth interstellar emission.

    Parameters
    ----------
    lon, lat : `~numpy.ndarray` of float
        Galactic coordinates in degrees.

    Returns
    -------
    intensity : `~numpy.ndarray` of float
        The intensity at 1-2 GeV.
    """
    run = longitude_run(lon)
    lon = np.abs((np.asarray(lon) + 180) % 360 - 180)
    lat = np.abs(np.asarray(lat))
    profile = np.exp(np.interp(lat, _LATITUDE, np.log(_PROFILE)))
    share = _FAR_SHARE + (1 - _FAR_SHARE) * np.exp(-lat / _FAR_SCALE)
    height, along, across = _CENTER
    center = np.exp(-((lon / along) ** 2 + (lat / across) ** 2) / 2)
    return profile * (1 + (run - 1) * share) * (1 + height * center)


def longitude_run(lon):
    """
    Return how the brightness of the Galactic plane varies along it.

    Parameters
    ----------
    lon : float or `~numpy.ndarray`
        Galactic longitude in degrees.

    Returns
    -------
    ratio : float or `~numpy.ndarray`
        The brightness divided by its mean.
    """
    return np.interp(np.abs((np.asarray(lon) + 180) % 360 - 180), _LONGITUDE, _RUN)


def power_law_field(shape, slope, rng):
    """
    Draw a Gaussian field with a power-law spectrum.

    Parameters
    ----------
    shape : tuple of int
        Height and width; the field is periodic.

    slope : float
        The exponent of its power spectrum.

    rng : `~numpy.random.Generator`
        The source of randomness.

    Returns
    -------
    field : 2D `~numpy.ndarray` of float
        A field with zero mean and unit standard deviation.
    """
    noise = rfft2(rng.standard_normal(shape))
    fy, fx = np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1])
    power = fy[:, None] ** 2 + fx**2
    power[0, 0] = np.inf
    field = irfft2(noise * power ** (slope / 4), shape)
    return field / field.std()


def interstellar_structure(canvas, pixel_size, latitude, rng):
    """
    Draw the structure that gas adds to the smooth emission.

    This is a quadratic surface, a Gaussian field, and on top of them clouds with edges
    and thin arcs, all in the logarithm of the intensity.

    Parameters
    ----------
    canvas : `bgrem.simulate.gamma.canvas.Canvas`
        The pixels.

    pixel_size : float
        Side of a pixel in degrees.

    latitude : float
        Galactic latitude of the center in degrees.

    rng : `~numpy.random.Generator`
        The source of randomness.

    Returns
    -------
    factor : 2D `~numpy.ndarray` of float
        A factor for the intensity; its mean over the image is 1.
    """
    shape, inner = canvas.padded, canvas.inner
    extent = pixel_size * max(canvas.shape)
    rms = np.interp(abs(latitude), _RMS_LATITUDE, _RMS)
    # The variance within a patch grows with its size as the spectrum says.
    rms = min(1.0, rms * (extent / 10) ** (-(2 + _SLOPE) / 2))
    field = power_law_field(shape, _SLOPE, rng)
    field -= field[inner].mean()
    log = field * rms / max(field[inner].std(), 1e-9)
    log += _surface(canvas, rms, rng)
    log += _clouds(shape, rms, rng)
    log += _arcs(canvas, rms, rng)
    factor = np.exp(np.clip(log - log[inner].mean(), -4, 4))
    return factor / factor[inner].mean()


def _surface(canvas, rms, rng):
    """A tilt and a curvature across the image."""
    y, x = canvas.grid()
    side = max(canvas.shape)
    # Half of the image to its edge is 1.
    y, x = (2 * (v - (n - 1) / 2) / side for v, n in zip((y, x), canvas.shape,
                                                         strict=True))  # fmt: skip
    a = 0.7 * rms * rng.normal(size=5)
    return a[0] * x + a[1] * y + 0.5 * (a[2] * x**2 + a[3] * y**2 + a[4] * x * y)


def _clouds(shape, rms, rng):
    """Clouds with edges a few pixels wide: a rough field, and all above a level."""
    rough = power_law_field(shape, rng.uniform(-4.0, -3.0), rng)
    level, width = rng.uniform(0.3, 1.8), rng.uniform(0.05, 0.4)
    return rms * rng.uniform(0, 3) * expit((rough - level) / width)


def _arcs(canvas, rms, rng):
    """Parts of rings, as the edges of shells and loops are."""
    y, x = canvas.grid()
    total = np.zeros(canvas.padded)
    for _ in range(rng.poisson(1.0)):
        cx, cy = canvas.random_positions(1, rng)
        radius = max(canvas.shape) * rng.uniform(0.1, 1.0)
        width = rng.uniform(1.0, 4.0)
        r = np.hypot(x - cx, y - cy)
        ring = np.exp(-(((r - radius) / width) ** 2) / 2)
        angle = np.arctan2(y - cy, x - cx) - rng.uniform(0, 2 * np.pi)
        total += rms * rng.uniform(0, 2) * ring * expit(4 * np.cos(angle))
    return total
