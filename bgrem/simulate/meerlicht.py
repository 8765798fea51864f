"""
Exact full frames modeled on MeerLICHT, with every source drawn by GalSim.

MeerLICHT is a 65 cm telescope at Sutherland with one CCD of 10560 x 10560
pixels of 0.56 arcsec (2.7 square degrees). Scenes for training come from a stamp
bank (`bgrem.simulate.SceneComposer`), which is thousands of times faster. Here,
each source has its own point-spread function, its own subpixel position and a stamp
large enough for its light.
"""

from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table
from tqdm import tqdm

from bgrem._extras import import_extra

from .meerlicht_config import MeerLICHTConfig
from .stamps import PSF_SIZE
from .write import tangent_wcs

__all__ = ['MeerLICHTFrame', 'simulate_meerlicht']

# Sources up to this far outside the frame are drawn too: their light reaches in.
_MARGIN = 64
# The magnitude at which densities and radii are given.
_PIVOT = 20.0
# Galaxies: decrease of the logarithm of the half-light radius per magnitude, its
# scatter, and the radii allowed, in arcsec.
_RADIUS_SLOPE, _RADIUS_SCATTER, _RADIUS_LIMITS = 0.12, 0.2, (0.2, 30.0)
# Sersic profiles end at this many half-light radii, as the de Vaucouleurs
# profiles of SDSS do: the wings of large indices would need endless stamps.
_TRUNCATION = 8.0


@dataclass(frozen=True)
class MeerLICHTFrame:
    """
    A simulated frame and its truth; all images are float32 and of the same shape.

    Parameters
    ----------
    image : 2D `~numpy.ndarray`
        Observed counts: source, sky and noise, clipped at saturation.

    source : 2D `~numpy.ndarray`
        The light of the sources without noise, in counts, never clipped.

    sky : 2D `~numpy.ndarray`
        Sky and mean dark current without noise, in counts.

    sigma : 2D `~numpy.ndarray`
        The standard deviation of the noise where there is no source, in counts.

    psf : 2D `~numpy.ndarray`
        The PSF at the center of the frame, unit sum, 33 x 33 pixels.

    fwhm : float
        Its full width at half maximum in pixels.

    catalog : `~astropy.table.Table`
        The sources whose center is in the frame: ``x``, ``y`` (pixels, 0 at the
        center of the first one), ``flux`` (counts), ``snr`` (of a matched filter
        in ``sigma``), ``is_star``, ``half_light_radius`` (pixels along the
        geometric mean of the axes, before convolution; 0 for stars),
        ``magnitude``, ``sersic_index`` (0 for stars), ``axis_ratio`` and
        ``position_angle`` (degrees, from x toward y).

    header : `~astropy.io.fits.Header`
        WCS, detector, conditions and seed.
    """

    image: np.ndarray
    source: np.ndarray
    sky: np.ndarray
    sigma: np.ndarray
    psf: np.ndarray
    fwhm: float
    catalog: Table
    header: fits.Header


class _Conditions(NamedTuple):
    """What a frame has drawn from the ranges of its configuration."""

    sky_brightness: float
    sky_gradient: float
    sky_curvature: float
    seeing: float
    moffat_beta: float
    ellipticity: float
    corner_ellipticity: float
    corner_broadening: float
    gradient_angle: float
    ellipticity_angle: float

    @classmethod
    def draw(cls, config, rng):
        drawn = [rng.uniform(*getattr(config, name)) for name in cls._fields[:-2]]
        return cls(*drawn, *rng.uniform(0, 2 * np.pi, 2))

    def psf(self, x, y, config, params):
        """The PSF at a pixel, in arcsec."""
        import galsim

        # Outside the frame the PSF is that of its edge.
        u, v = np.clip(_field_coordinates(x, y, config.size), -1, 1)
        # A shear is a spin-2 quantity: (u + iv)^2 points to the center.
        shear = self.ellipticity * np.exp(2j * self.ellipticity_angle)
        shear += self.corner_ellipticity * (u + 1j * v) ** 2 / 2
        fwhm = self.seeing * (1 + self.corner_broadening * (u**2 + v**2) / 2)
        psf = galsim.Moffat(self.moffat_beta, fwhm=fwhm, gsparams=params)
        return psf.shear(g1=shear.real, g2=shear.imag)


def simulate_meerlicht(config=None, *, seed=0, progress=False):
    """
    Simulate one frame, with every source drawn by GalSim.

    Parameters
    ----------
    config : `MeerLICHTConfig`, optional
        The properties of the frame.

    seed : int, optional
        The frame depends only on ``config`` and ``seed``.

    progress : bool, optional
        Whether to show a progress bar.

    Returns
    -------
    frame : `MeerLICHTFrame`
        The frame.

    Raises
    ------
    ImportError
        If GalSim is not installed.
    ValueError
        If ``seed`` is negative.

    Notes
    -----
    GalSim draws 220 to 330 sources per second on one core: the 1000 x 1000 pixels
    of ``bgrem simulate meerlicht --size 1000 1000`` contain 690 sources, including
    those just outside, and took 2.1 and 3.1 s of processor time with two seeds. A full
    frame has 60000 sources, which would take 3 to 5 minutes. Its noise and its file
    take half a minute more, and 3.8 GB of memory (measured on a full frame with
    ``--star-density 3 --galaxy-density 1``).
    """
    galsim = import_extra('galsim')
    if seed != int(seed) or seed < 0:
        msg = f'seed must be a non-negative integer, got {seed!r}'
        raise ValueError(msg)
    config = MeerLICHTConfig() if config is None else config
    # One stream each: more stars do not change the weather.
    of_conditions, of_catalog, of_noise = map(
        np.random.default_rng, np.random.SeedSequence(int(seed)).spawn(3)
    )
    conditions = _Conditions.draw(config, of_conditions)
    sky = _draw_sky(config, conditions)
    sigma = np.sqrt(sky * config.gain + config.read_noise**2) / config.gain
    catalog = _draw_catalog(config, of_catalog)
    source, norm = _render_sources(catalog, config, conditions, progress=progress)

    image = galsim.Image(source + sky)
    # The seed 0 would make GalSim take its own from the system.
    rng = galsim.BaseDeviate(int(of_noise.integers(1, 2**31)))
    image.addNoise(galsim.CCDNoise(rng, gain=config.gain, read_noise=config.read_noise))
    np.minimum(image.array, config.saturation, out=image.array)

    ny, nx = config.size
    row, column = np.rint([catalog['y'], catalog['x']]).astype(int)
    inside = (row >= 0) & (row < ny) & (column >= 0) & (column < nx)
    catalog = catalog[inside]
    catalog['snr'] = norm[inside] / sigma[row[inside], column[inside]]
    psf = conditions.psf((nx - 1) / 2, (ny - 1) / 2, config, galsim.GSParams())
    psf = psf.drawImage(nx=PSF_SIZE, ny=PSF_SIZE, scale=config.pixel_scale).array
    return MeerLICHTFrame(
        image=image.array,
        source=source,
        sky=sky,
        sigma=sigma,
        psf=psf / psf.sum(),
        fwhm=conditions.seeing / config.pixel_scale,
        catalog=catalog,
        header=_make_header(config, conditions, seed),
    )


def _draw_catalog(config, rng):
    """Draw the sources of a frame and its surroundings; all columns but snr."""
    shape = np.array(config.size) + 2 * _MARGIN
    area = shape.prod() * (config.pixel_scale / 3600) ** 2
    stars, galaxies = (
        _draw_magnitudes(
            area * getattr(config, f'{kind}_density'),
            getattr(config, f'{kind}_slope'),
            getattr(config, f'{kind}_magnitude'),
            rng,
        )
        for kind in ('star', 'galaxy')
    )
    n_star, n_galaxy = len(stars), len(galaxies)
    n_sources = n_star + n_galaxy
    magnitude = np.concatenate([stars, galaxies])
    is_star = np.arange(n_sources) < n_star
    y, x = rng.uniform(-0.5, shape[:, None] - 0.5, (2, n_sources)) - _MARGIN

    scatter = rng.normal(0, _RADIUS_SCATTER, n_galaxy)
    dex = scatter - _RADIUS_SLOPE * (galaxies - _PIVOT)
    radius = np.clip(config.galaxy_radius * 10**dex, *_RADIUS_LIMITS)
    is_disc = rng.random(n_galaxy) < config.disc_fraction
    fraction, axis_fraction = rng.random((2, n_galaxy))
    index = np.where(is_disc, 0.8 + 0.7 * fraction, 2.5 + 2 * fraction)
    lowest = np.where(is_disc, 0.2, 0.5)

    def of_galaxies(values, star_value):
        return np.concatenate([np.full(n_star, star_value), values])

    return Table(
        {
            'x': x,
            'y': y,
            'flux': config.counts(magnitude),
            'is_star': is_star,
            'half_light_radius': of_galaxies(radius / config.pixel_scale, 0.0),
            'magnitude': magnitude,
            # GalSim keeps the tables of an index: tenths are used again.
            'sersic_index': of_galaxies(np.round(index, 1), 0.0),
            'axis_ratio': of_galaxies(lowest + (1 - lowest) * axis_fraction, 1.0),
            'position_angle': of_galaxies(rng.uniform(0, 180, n_galaxy), 0.0),
        },
        units={
            'x': 'pix',
            'y': 'pix',
            'flux': 'ct',
            'half_light_radius': 'pix',
            'magnitude': 'mag',
            'position_angle': 'deg',
        },
    )


def _render_sources(catalog, config, conditions, *, progress):
    """
    Draw the light of the sources in counts, without noise.

    Returns also the square root of the sum of the squared pixels of each source,
    of the part outside the frame too.
    """
    import galsim

    ny, nx = config.size
    frame = galsim.ImageF(nx, ny, xmin=0, ymin=0)
    norm = np.zeros(len(catalog))
    names = ('x', 'y', 'flux', 'half_light_radius')
    shapes = ('sersic_index', 'axis_ratio', 'position_angle')
    columns = [np.asarray(catalog[name]).tolist() for name in (*names, *shapes)]
    bar = tqdm(
        zip(*columns, strict=True),
        total=len(catalog),
        desc='sources',
        disable=not progress,
    )
    for k, (x, y, flux, radius, *shape) in enumerate(bar):
        params = galsim.GSParams(folding_threshold=_light_outside(flux, config))
        profile = conditions.psf(x, y, config, params)
        if radius > 0:
            galaxy = _make_galaxy(radius * config.pixel_scale, *shape, params)
            profile = galsim.Convolve(galaxy, profile)
        # Odd, so that the center of the stamp is the center of a pixel.
        n = profile.getGoodImageSize(config.pixel_scale) | 1
        column, row = round(x), round(y)
        stamp = profile.withFlux(flux).drawImage(
            nx=n, ny=n, scale=config.pixel_scale, offset=(x - column, y - row)
        )
        norm[k] = np.linalg.norm(stamp.array)
        stamp.setCenter(column, row)
        overlap = stamp.bounds & frame.bounds
        if overlap.isDefined():
            frame[overlap] += stamp[overlap]
    return frame.array, norm


def _light_outside(flux, config):
    """
    The fraction of a source that may fall outside its stamp: at most 0.1%, and in
    total less than the noise of one pixel of the darkest sky. At 1e-5 GalSim ends
    a Moffat profile anyhow.
    """
    dark = config.counts(max(config.sky_brightness)) * config.pixel_scale**2
    sigma = np.hypot(np.sqrt(dark * config.gain), config.read_noise) / config.gain
    # Powers of ten, because GalSim keeps its tables of Sersic profiles per value.
    return 10.0 ** np.floor(np.log10(np.clip(sigma / flux, 1e-6, 1e-3)))


def _make_galaxy(radius, index, axis_ratio, position_angle, params):
    import galsim

    galaxy = galsim.Sersic(
        index,
        half_light_radius=radius,
        trunc=_TRUNCATION * radius,
        gsparams=params,
    )
    return galaxy.shear(q=axis_ratio, beta=position_angle * galsim.degrees)


def _draw_magnitudes(n_pivot, slope, limits, rng):
    """Draw from N(< m) ~ 10**(slope m), which is ``n_pivot`` at the pivot."""
    low, high = 10 ** (slope * (np.array(limits) - _PIVOT))
    n_sources = rng.poisson(n_pivot * (high - low))
    return _PIVOT + np.log10(rng.uniform(low, high, n_sources)) / slope


def _field_coordinates(x, y, size):
    """Coordinates from -1 to 1 between opposite edges of the frame."""
    ny, nx = size
    return (2 * x + 1) / nx - 1, (2 * y + 1) / ny - 1


def _draw_sky(config, conditions):
    ny, nx = config.size
    mean = config.counts(conditions.sky_brightness) * config.pixel_scale**2
    u, v = _field_coordinates(
        np.arange(nx, dtype=np.float32),
        np.arange(ny, dtype=np.float32)[:, None],
        config.size,
    )
    toward = np.cos(conditions.gradient_angle), np.sin(conditions.gradient_angle)
    tilt = (u * toward[0] + v * toward[1]) / (2 * np.sum(np.abs(toward)))
    # The mean of u^2 + v^2 is 2/3, its value in the corners is 2.
    bowl = (u**2 + v**2) / 2 - 1 / 3
    shape = 1 + conditions.sky_gradient * tilt - conditions.sky_curvature * bowl
    dark = config.dark_current * config.exposure_time / config.gain
    return (mean * shape + dark).astype(np.float32)


def _make_header(config, conditions, seed):
    header = tangent_wcs(config.size, config.pixel_scale).to_header()
    header['BUNIT'] = 'ct'
    for name, value, comment in (
        ('GAIN', config.gain, 'electrons per count'),
        ('RDNOISE', config.read_noise, 'electrons'),
        ('EXPTIME', config.exposure_time, 'seconds'),
        ('DARKCUR', config.dark_current, 'electrons per second and pixel'),
        ('SATURATE', config.saturation, 'counts'),
        ('MAGZERO', config.zero_point, 'magnitude of one electron per second'),
        ('PIXSCALE', config.pixel_scale, 'arcsec'),
        ('SEEING', round(conditions.seeing, 4), 'arcsec, FWHM at the centre'),
        ('MOFFBETA', round(conditions.moffat_beta, 4), 'exponent of the PSF'),
        ('SKYMAG', round(conditions.sky_brightness, 4), 'mag per square arcsec'),
        ('SEED', int(seed), 'of bgrem simulate meerlicht'),
    ):
        header[name] = (value, comment)
    for name, value in asdict(config).items():
        header['HISTORY'] = f'bgrem simulate meerlicht: {name} = {value}'
    return header
