"""
The properties of a full frame modeled on MeerLICHT.
"""

from dataclasses import dataclass, field, fields

import numpy as np

__all__ = ['MeerLICHTConfig']


def _option(default, unit):
    return field(default=default, metadata={'unit': unit})


@dataclass(frozen=True)
class MeerLICHTConfig:
    """
    The properties of a frame modeled on MeerLICHT.

    A range is a pair (low, high) from which each frame draws uniformly; equal
    ends fix the value. The defaults of the detector and the zero point are those
    of the q band (440-720 nm) in the settings of MeerLICHT's pipeline, BlackBOX
    and ZOGY (https://github.com/pmvreeswijk): mean gain and mean read noise of
    its 16 channels, saturation level, ``zp_default``; seeing and sky are within
    its limits for good images. Counts of stars are typical of Galactic latitude
    40 deg.

    Parameters
    ----------
    size : tuple of int
        Height and width of the frame in pixels, (ny, nx).

    pixel_scale : float
        Side of a pixel in arcsec.

    exposure_time : float
        Seconds.

    gain : float
        Electrons per count.

    read_noise : float
        Standard deviation of the read noise in electrons per pixel.

    dark_current : float
        Electrons per second and pixel; its mean is part of the sky of the frame.
        The default is a choice for a CCD cooled to about 170 K, hardly visible in a
        minute.

    zero_point : float
        The AB magnitude, above the atmosphere or not as you prefer, of one
        electron per second.

    saturation : float
        Counts at which pixels are clipped. Charge does not bleed.

    sky_brightness : tuple of float
        The range of the mean sky in magnitudes per square arcsec.

    sky_gradient : tuple of float
        The range of the difference of the sky between the two ends of the frame,
        as a fraction of the mean; its direction is random.

    sky_curvature : tuple of float
        The range of the fraction by which the sky decreases from the center to the
        corners, as after an imperfect correction of the vignetting.

    seeing : tuple of float
        The range of the FWHM of the PSF at the center of the frame, in arcsec.

    moffat_beta : tuple of float
        The range of the exponent of the Moffat PSF.

    ellipticity : tuple of float
        The range of the ellipticity (a - b) / (a + b) of the PSF at the center;
        its direction is random.

    corner_ellipticity : tuple of float
        The range of the ellipticity, pointing to the center, that is added in the
        corners; it increases with the square of the distance from the center.

    corner_broadening : tuple of float
        The range of the fraction by which the PSF is wider in the corners; it increases
        likewise.

    star_density, galaxy_density : float
        Stars and galaxies per square degree brighter than magnitude 20.

    star_slope, galaxy_slope : float
        The slope a of the counts, N(< m) ~ 10**(a m).

    star_magnitude, galaxy_magnitude : tuple of float
        The brightest and the faintest magnitude.

    galaxy_radius : float
        The median half-light radius of galaxies of magnitude 20, in arcsec. It
        decreases by 0.12 dex per magnitude and has a scatter of 0.2 dex.

    disc_fraction : float
        The fraction of galaxies with Sersic index 0.8-1.5 and axis ratio 0.2-1;
        the others have 2.5-4.5 and 0.5-1.

    Raises
    ------
    ValueError
        If a value is out of its limits or a range is not an ascending pair.
    """

    size: tuple = _option((10560, 10560), 'pixels, height and width')
    pixel_scale: float = _option(0.56, 'arcsec')
    exposure_time: float = _option(60.0, 'seconds')
    gain: float = _option(2.4, 'electrons per count')
    read_noise: float = _option(10.5, 'electrons')
    dark_current: float = _option(0.01, 'electrons per second and pixel')
    zero_point: float = _option(23.8, 'magnitude of one electron per second')
    saturation: float = _option(55000.0, 'counts')
    sky_brightness: tuple = _option((20.5, 21.5), 'magnitudes per square arcsec')
    sky_gradient: tuple = _option((0.0, 0.1), 'of the mean sky, end to end')
    sky_curvature: tuple = _option((0.0, 0.1), 'of the mean sky, center to corner')
    seeing: tuple = _option((2.0, 4.0), 'FWHM in arcsec')
    moffat_beta: tuple = _option((2.5, 4.0), 'exponent of the PSF')
    ellipticity: tuple = _option((0.0, 0.06), 'of the PSF at the centre')
    corner_ellipticity: tuple = _option((0.0, 0.05), 'added in the corners')
    corner_broadening: tuple = _option((0.0, 0.1), 'of the FWHM, in the corners')
    star_density: float = _option(3000.0, 'per square degree to magnitude 20')
    star_slope: float = _option(0.25, 'dex per magnitude')
    star_magnitude: tuple = _option((9.0, 22.5), 'brightest and faintest')
    galaxy_density: float = _option(800.0, 'per square degree to magnitude 20')
    galaxy_slope: float = _option(0.42, 'dex per magnitude')
    galaxy_magnitude: tuple = _option((13.0, 22.5), 'brightest and faintest')
    galaxy_radius: float = _option(1.2, 'arcsec at magnitude 20')
    disc_fraction: float = _option(0.7, 'of the galaxies')

    def __post_init__(self):
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name == 'size':
                self._check_size(value)
            elif isinstance(one.default, tuple):
                value = tuple(float(bound) for bound in value)
                # Written so that NaN is refused.
                if len(value) != 2 or not value[0] <= value[1] < np.inf:
                    msg = f'{one.name} must be an ascending pair, got {value!r}'
                    raise ValueError(msg)
                object.__setattr__(self, one.name, value)
            elif not np.isfinite(value):
                msg = f'{one.name} must be finite, got {value!r}'
                raise ValueError(msg)
        for name in ('read_noise', 'dark_current', 'star_density', 'galaxy_density'):
            self._check_limits(name, 0, np.inf)
        for name in ('ellipticity', 'corner_ellipticity'):
            self._check_limits(name, 0, 0.4)
        for name in ('sky_gradient', 'sky_curvature'):
            # Together they must leave some sky everywhere.
            self._check_limits(name, 0, 0.6)
        self._check_limits('corner_broadening', 0, 1)
        self._check_limits('disc_fraction', 0, 1)
        # The wings of a smaller exponent would need endless stamps.
        self._check_limits('moffat_beta', 2, 20)
        for name in (
            *('pixel_scale', 'exposure_time', 'gain', 'saturation', 'seeing'),
            *('star_slope', 'galaxy_slope', 'galaxy_radius'),
        ):
            if not np.min(getattr(self, name)) > 0:
                msg = f'{name} must be positive, got {getattr(self, name)!r}'
                raise ValueError(msg)

    def _check_size(self, value):
        value = tuple(value)
        if len(value) != 2 or not all(n == int(n) and n > 0 for n in value):
            msg = f'size must be a pair of positive integers, got {value!r}'
            raise ValueError(msg)
        object.__setattr__(self, 'size', tuple(map(int, value)))

    def _check_limits(self, name, low, high):
        value = getattr(self, name)
        if np.min(value) < low or np.max(value) > high:
            rule = 'at least 0' if high == np.inf else f'between {low} and {high}'
            msg = f'{name} must be {rule}, got {value!r}'
            raise ValueError(msg)

    def counts(self, magnitude):
        """
        Return the counts of a magnitude in the whole exposure.

        Parameters
        ----------
        magnitude : float or `~numpy.ndarray`
            AB magnitudes.

        Returns
        -------
        counts : float or `~numpy.ndarray`
            Counts, not electrons.
        """
        electrons = self.exposure_time * 10 ** (0.4 * (self.zero_point - magnitude))
        return electrons / self.gain
