"""
Interstellar emission from a file: all-sky maps and cubes.
"""

from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.units import deg
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from scipy.ndimage import map_coordinates

from bgrem._extras import import_extra

__all__ = ['read_diffuse']

# MeV; the planes of the cubes of the mission are given per MeV.
_GEV = 1000.0
# Pixels without a value have -1.6375e30 in HEALPix maps.
_UNSEEN = -1e30
# What COORDSYS of HEALPix maps calls the frames; E is that of the ecliptic.
_FRAMES = {
    'galactic': ('G', 'GAL', 'GALACTIC'),
    'icrs': ('C', 'CEL', 'CELESTIAL', 'EQU', 'EQUATORIAL', 'Q', 'J2000', 'FK5', 'ICRS'),
}


def read_diffuse(path, energy=(1.0, 2.0)):
    """
    Read a map or a cube of diffuse emission.

    Parameters
    ----------
    path : path-like
        A FITS file: a HEALPix table, or an image with a WCS (CAR or any other) that
        covers the required part of the sky. A map is in photons per cm2, s and sr in
        the band; a cube has a table ``ENERGIES`` in MeV, one for each plane (or
        column), and is in photons per cm2, s, sr and MeV, like the ``gll_iem`` files
        of the mission.

    energy : tuple of float, optional
        The band in GeV in which a cube is integrated.

    Returns
    -------
    diffuse : callable
        Called with galactic longitudes and latitudes in degrees; returns the emission
        there in photons per cm2, s and sr, interpolated linearly.

    Raises
    ------
    ImportError
        If a HEALPix map is given and astropy-healpix is not installed.
    OSError, ValueError
        If the file cannot be read, contains no map, or does not cover the band or
        the positions.
    """
    if not Path(path).exists():
        msg = f'diffuse file {path} does not exist'
        raise FileNotFoundError(msg)
    with fits.open(path) as hdus:
        energies = _energies(hdus)
        for hdu in hdus:
            if str(hdu.header.get('PIXTYPE', '')).upper() == 'HEALPIX':
                planes = _healpix_planes(hdu, energies)
                return _healpix(_in_band(planes, energies, energy), hdu.header)
        for hdu in hdus:
            if hdu.is_image and hdu.data is not None and hdu.data.ndim >= 2:
                planes = np.asarray(hdu.data, 'f8')
                planes = planes.reshape(-1, *planes.shape[-2:])
                wcs = WCS(hdu.header).celestial
                if wcs.naxis != 2:
                    break
                return _image(_in_band(planes, energies, energy), wcs)
    msg = f'{path} holds no HEALPix map, and no image with a WCS of the sky'
    raise ValueError(msg)


def _energies(hdus):
    """Return the energies of the planes in GeV, or `None`."""
    for hdu in hdus:
        if hdu.name == 'ENERGIES':
            return np.asarray(hdu.data.field(0), 'f8') / _GEV
    return None


def _healpix_planes(hdu, energies):
    """Return the columns that are maps, shape (planes, pixels)."""
    if str(hdu.header.get('INDXSCHM', '')).strip().upper() == 'EXPLICIT':
        msg = 'a HEALPix map must be of the whole sky, got one with INDXSCHM = EXPLICIT'
        raise ValueError(msg)
    table = hdu.data
    names = table.names[: 1 if energies is None else len(energies)]
    columns = [np.asarray(table[name], 'f8') for name in names]
    # Old files have many pixels in a row; some hold a spectrum in each.
    if len(columns) == 1 and energies is not None and len(energies) > 1:
        planes = columns[0].T
    else:
        planes = np.stack([column.ravel() for column in columns])
    return np.where(planes < _UNSEEN, np.nan, planes)


def _healpix_frame(header):
    """Return the frame of a HEALPix map."""
    name = str(header.get('COORDSYS', 'G')).upper().strip()
    for frame, names in _FRAMES.items():
        if name in names:
            return frame
    msg = f'COORDSYS of a HEALPix map must be galactic (G) or celestial (C), got {name}'
    raise ValueError(msg)


def _in_band(planes, energies, energy):
    """Return photons per cm2, s and sr in a band."""
    if energies is None:
        if len(planes) != 1:
            msg = 'a cube needs a table ENERGIES'
            raise ValueError(msg)
        return planes[0]
    if len(planes) != len(energies):
        msg = f'{len(energies)} energies are given for {len(planes)} planes'
        raise ValueError(msg)
    low, high = energy
    # Energies are stored with the rounding of a logarithm.
    if not energies[0] < 1.001 * low < high < 1.001 * energies[-1]:
        msg = (
            f'energy must be within {energies[0]:g}-{energies[-1]:g} GeV, '
            f'got {low:g}-{high:g}'
        )
        raise ValueError(msg)
    inside = energies[(energies > low) & (energies < high)]
    edges = np.concatenate([[low], inside, [high]])
    values = [_at_energy(planes, energies, one) for one in edges]
    total = np.zeros(planes.shape[1:])
    for k in range(len(edges) - 1):
        total += _power_law(edges[k], edges[k + 1], values[k], values[k + 1])
    return total * _GEV


def _at_energy(planes, energies, energy):
    """Interpolate as a power law; what is not positive stays at zero."""
    k = int(np.clip(np.searchsorted(energies, energy) - 1, 0, len(energies) - 2))
    step = np.log(energy / energies[k]) / np.log(energies[k + 1] / energies[k])
    low, high = (np.log(np.maximum(planes[k + n], 1e-300)) for n in (0, 1))
    return np.exp(low + step * (high - low))


def _power_law(low, high, at_low, at_high):
    """Integrate a power law between two energies."""
    ratio = np.log(high / low)
    power = 1 + np.log(np.maximum(at_high, 1e-300) / np.maximum(at_low, 1e-300)) / ratio
    # (exp(p r) - 1) / p, also where p is zero.
    flat = np.abs(power) < 1e-8
    safe = np.where(flat, 1.0, power)
    return at_low * low * np.where(flat, ratio, np.expm1(safe * ratio) / safe)


def _healpix(values, header):
    healpix = import_extra('astropy_healpix')
    sphere = healpix.HEALPix(
        nside=round((values.size / 12) ** 0.5),
        order=header.get('ORDERING', 'RING').lower(),
        frame=_healpix_frame(header),
    )

    def diffuse(lon, lat):
        where = SkyCoord(lon * deg, lat * deg, frame='galactic')
        # Longitudes from 0 to 360 degrees: astropy-healpix 2.0.1 gives NaN at others.
        where = where.transform_to(sphere.frame).spherical
        found = sphere.interpolate_bilinear_lonlat(where.lon, where.lat, values)
        return _known_everywhere(found)

    return diffuse


def _known_everywhere(values):
    """Return the values of a map, if there is one at each position."""
    if not np.all(np.isfinite(values)):
        msg = 'the diffuse map does not hold all of the image and its margin'
        raise ValueError(msg)
    return values


def _image(values, wcs):
    def diffuse(lon, lat):
        where = SkyCoord(lon * deg, lat * deg, frame='galactic')
        x, y = wcs.world_to_pixel(where)
        width = values.shape[1]
        # also of a matrix of rotation and scale
        turn = 360 / proj_plane_pixel_scales(wcs)[0]
        around = width >= turn - 0.5
        if around:
            # The first column follows the last.
            x = np.mod(x, turn)
        outside = (y < -1) | (y > values.shape[0])
        if not around:
            outside |= (x < -1) | (x > width)
        wide = np.pad(values, ((0, 0), (0, int(around))), mode='wrap')
        outside |= ~np.isfinite(x + y)
        places = [np.where(outside, 0, one) for one in (y, x)]
        found = map_coordinates(wide, places, order=1, mode='nearest')
        return _known_everywhere(np.where(outside, np.nan, found))

    return diffuse
