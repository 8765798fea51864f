"""
Patches of the gamma-ray sky for the evaluation.
"""

import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage

from bgrem._extras import import_extra
from bgrem.evaluate.scenes import Scene
from bgrem.simulate.gamma import LatConfig, simulate_lat_patch
from bgrem.simulate.gamma.canvas import Canvas
from bgrem.simulate.gamma.emission import interstellar
from bgrem.simulate.gamma.lat import sky_coordinates
from bgrem.simulate.gamma.psf import lat_psf

__all__ = [
    'GAMMA_FAMILIES',
    'MIN_SNR',
    'GammaScene',
    'Templates',
    'gamma_scenes',
    'judged_catalog',
    'read_templates',
]

# The range of the absolute galactic latitude of the centers, in degrees.
GAMMA_FAMILIES = {
    f'{name}{noise}': latitude
    for noise in ('', '_expected')
    for name, latitude in (
        ('high', (20.0, 90.0)),
        ('middle', (6.0, 18.0)),
        ('plane', (0.0, 4.0)),
    )
}
# A source has to be brighter to be expected where photons are counted.
MIN_SNR = 3.0
# Where gas is drawn, its maps are no finer than this, in pixels.
_KNOWN_TO = 2.0
# How far beyond the border a source may be that is seen at it.
_BORDER_FWHM = 2.0
# Latitudes at which a template is given the brightness of the sky.
_NORM_LATITUDE = 10.0


@dataclass(frozen=True, kw_only=True)
class GammaScene(Scene):
    """
    A patch with everything that the suite ``gamma`` needs.

    Parameters
    ----------
    exposure : 2D `~numpy.ndarray` of float
        The exposure in cm2 s.
    wrong_model : 3D `~numpy.ndarray` of float
        The sky as modeled by an analyst, in counts and up to a factor for each plane:
        interstellar emission of another shape, and isotropic emission.
    latitude : float
        The latitude of the center in degrees.
    """

    exposure: np.ndarray
    wrong_model: np.ndarray
    latitude: float


@dataclass(frozen=True)
class Templates:
    """
    Interstellar emission: the true one, and the one assumed by an analyst.

    Parameters
    ----------
    true, wrong : callable
        Each is called with galactic longitudes and latitudes in degrees and returns
        photons per cm2, s and sr.
    """

    true: object
    wrong: object


def read_templates(path):
    """
    Read published templates of the gamma-ray sky.

    Parameters
    ----------
    path : path-like
        A ``.npz`` file of HEALPix maps (RING, galactic) of expected counts:
        ``diffuse_p6v11``, ``diffuse_F_pi``, ``diffuse_F_ic`` and ``exposure``.

    Returns
    -------
    templates : `Templates`
        The first map is the true sky, the sum of the next two the assumed one; each has
        the mean brightness of the sky at latitudes above 10 degrees.

    Raises
    ------
    ImportError
        If astropy-healpix is not installed.
    OSError, ValueError
        If the file cannot be read or lacks a map.
    """
    healpix = import_extra('astropy_healpix')
    names = ('diffuse_p6v11', 'diffuse_F_pi', 'diffuse_F_ic', 'exposure')
    with np.load(Path(path)) as file:
        if missing := sorted(set(names) - set(file)):
            msg = f'{path} lacks {", ".join(missing)}'
            raise ValueError(msg)
        p6, pi, ic, exposure = (file[name].astype(float) for name in names)
    sphere = healpix.HEALPix(round((p6.size / 12) ** 0.5), 'ring')
    lon, lat = (angle.deg for angle in sphere.healpix_to_lonlat(np.arange(p6.size)))
    far = np.abs(lat) > _NORM_LATITUDE
    known = interstellar(lon[far], lat[far]).mean()

    def look_up(values, lon, lat):
        from astropy.units import deg

        # astropy-healpix 2.0.1 gives NaN at other longitudes.
        lon = np.mod(lon, 360) * deg
        return sphere.interpolate_bilinear_lonlat(lon, lat * deg, values)

    return Templates(
        *(
            partial(look_up, values * known / values[far].mean())
            for values in (p6 / exposure, (pi + ic) / exposure)
        )
    )


def gamma_scenes(family, n_scenes, size, seed, templates=None):
    """
    Make the patches of one family one by one.

    Parameters
    ----------
    family : str
        A name in `GAMMA_FAMILIES`. A family that ends in ``_expected`` has the same
        patches as the one without this ending, but no photon noise.
    n_scenes : int
        Number of patches.
    size : int
        Side of a patch in pixels of 10/64 degrees.
    seed : int
        Another seed gives other patches.
    templates : `Templates`, optional
        Interstellar emission; by default it is drawn, and half of it is assumed.

    Yields
    ------
    scene : `GammaScene`
        The next patch.
    """
    name = family.removesuffix('_expected')
    config = LatConfig(
        shape=(size, size), latitude=GAMMA_FAMILIES[name], poisson=name == family
    )
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    for child in rng.spawn(n_scenes):
        yield _scene(child, config, templates)


def _scene(rng, config, templates):
    diffuse = None if templates is None else templates.true
    patch = simulate_lat_patch(rng, config, diffuse=diffuse)
    return GammaScene(
        image=patch.counts,
        source=patch.source,
        sky=patch.sky,
        sigma=np.sqrt(patch.sky),
        mask=patch.mask,
        psf=patch.psf,
        fwhm=patch.fwhm,
        catalog=judged_catalog(patch),
        min_snr=MIN_SNR,
        exposure=patch.exposure,
        wrong_model=_wrong_model(patch, config, templates),
        latitude=patch.meta['lat'],
    )


def _wrong_model(patch, config, templates):
    """Return interstellar emission of another shape, and isotropic emission."""
    canvas = Canvas(config.shape, lat_psf(pixel_size=config.pixel_size))
    center = patch.meta['lon'], patch.meta['lat']
    believed = interstellar if templates is None else templates.wrong
    gas = believed(*sky_coordinates(*canvas.grid(), center, config))
    gas = canvas.smooth(gas)[canvas.inner]
    if templates is None:
        # Of the gas that is drawn at random half is known, in the logarithm.
        known = ndimage.gaussian_filter(patch.sky / patch.exposure, _KNOWN_TO)
        gas = np.sqrt(gas * known)
    planes = gas * patch.exposure, patch.exposure
    return np.stack([plane / plane.mean() for plane in planes])


def judged_catalog(patch):
    """
    Return the truth about a patch by which detections are judged.

    Parameters
    ----------
    patch : `~bgrem.simulate.gamma.CountsPatch`
        The patch.

    Returns
    -------
    catalog : dict of 1D `~numpy.ndarray`
        Its sources, in counts. Sources just beyond the border are visible at it, but
        need not be found: they are placed there with an S/N that counts neither way.
    """
    height, width = patch.counts.shape
    inside, outside = patch.catalog, patch.outside
    x = np.clip(outside['x'], 0, width - 1)
    y = np.clip(outside['y'], 0, height - 1)
    near = np.hypot(x - outside['x'], y - outside['y']) < _BORDER_FWHM * patch.fwhm
    outside = {
        **outside,
        'x': x,
        'y': y,
        'flux': np.zeros_like(x),
        'snr': np.minimum(outside['snr'], MIN_SNR),
    }
    both = {
        name: np.concatenate([values, outside[name][near]])
        for name, values in inside.items()
    }
    return {
        'x': both['x'],
        'y': both['y'],
        'flux': both['counts'],
        'photon_flux': both['flux'],
        'snr': both['snr'],
        'is_star': both['extent'] == 0,
        'half_light_radius': both['extent'],
    }
