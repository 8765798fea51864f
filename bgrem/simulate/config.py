"""
The contents of a simulated scene.
"""

from dataclasses import dataclass, fields

from bgrem._config import Configuration

__all__ = ['SceneConfig']


@dataclass(frozen=True)
class SceneConfig(Configuration):
    """
    The ingredients of a scene; every scene draws its own values.

    A range is a pair (low, high) from which each scene draws uniformly, or
    log-uniformly where indicated. An ingredient with a probability is present in
    that fraction of the scenes. "Noise sigma" is the standard deviation of the
    noise of the scene's mean sky.

    Parameters
    ----------
    density : tuple of float
        Sources per pixel with S/N above ``snr_min``; log-uniform, but at most 0.7 per
        square FWHM of the PSF, beyond which nothing can be resolved.

    snr_min : float
        The lowest S/N of the flux law; the S/N is that of a matched filter
        in the sky noise.

    bright_probability : float
        The fraction of scenes without faint sources, as in clusters and galactic
        centers: the lowest S/N of their flux law is log-uniform up to the lower
        bound of ``snr_max``, and the structure of their sky is brighter by the
        ratio of this S/N to ``snr_min``.

    snr_max : tuple of float
        The highest S/N of the flux law; log-uniform.

    flux_slope : tuple of float
        The slope a of the flux law N(>F) ~ F**-a; if it is negative, bright sources
        are the most common.

    star_fraction : tuple of float
        The fraction of sources that are stars.

    large_galaxies : tuple of float
        The expected number of large galaxies per 10000 square pixels.

    large_probability : float
        The fraction of scenes with large galaxies.

    half_light_radius : tuple of float
        The range of half-light radii of the large galaxies, in pixels, within
        8-40.

    large_snr : tuple of float
        The range of S/N of the large galaxies; log-uniform.

    clustering : float
        The fraction of scenes whose sources are clustered.

    fwhm : tuple of float
        The range of the FWHM of the PSF in pixels, up to 8.

    spikes : bool or `None`
        `True` for PSFs with diffraction spikes only, `False` for PSFs without them,
        `None` for any.

    sky : tuple of float
        The mean sky in electrons per pixel; log-uniform.

    read_noise : tuple of float
        The read noise in electrons.

    photon_counting_probability : float
        The fraction of scenes without read noise and with a faint sky.

    photon_counting_sky : tuple of float
        The mean sky of these scenes, in electrons per pixel; log-uniform.

    gain : tuple of float
        Electrons per count; log-uniform.

    gradient : tuple of float
        The change of the sky across the scene, in noise sigma.

    gradient_probability : float
        The fraction of scenes with a gradient (a tilt and a curvature).

    curvature : float
        The largest curvature of the gradient, relative to its tilt.

    nebulosity : tuple of float
        The standard deviation of the nebulosity in noise sigma; log-uniform.

    nebulosity_probability : float
        The fraction of scenes with nebulosity.

    nebulosity_slope : tuple of float
        The exponent of its power spectrum.

    nebulosity_scale : tuple of float
        The smallest wavelength of the nebulosity, in pixels; log-uniform.

    depth_steps : tuple of float
        The ratio of the noise between the panels of a mosaic.

    depth_probability : float
        The fraction of scenes that are mosaics.

    correlation : tuple of float
        The standard deviation, in pixels, of the Gaussian kernel that
        correlates the noise.

    correlation_probability : float
        The fraction of scenes with correlated noise.

    cosmic_rays : tuple of float
        Cosmic rays per square megapixel; log-uniform.

    cosmic_ray_probability : float
        The fraction of scenes with cosmic rays.

    hot_pixels : tuple of float
        The fraction of hot and dead pixels; log-uniform.

    hot_pixel_probability : float
        The fraction of scenes with hot and dead pixels.

    column_probability : float
        The fraction of scenes with bad columns or rows.

    trail_probability : float
        The fraction of scenes with a satellite trail.

    saturation : tuple of float
        The saturation level above the sky in noise sigma; log-uniform.

    saturation_probability : float
        The fraction of scenes with saturation, which bleeds along columns.

    no_data_probability : float
        The fraction of scenes with a border or holes without data.

    Raises
    ------
    ValueError
        If a range is not an ascending pair or a probability is outside
        [0, 1].
    """

    density: tuple = (1e-4, 8e-2)
    snr_min: float = 1.0
    bright_probability: float = 0.25
    snr_max: tuple = (30.0, 3e4)
    flux_slope: tuple = (-0.5, 1.6)
    star_fraction: tuple = (0.1, 1.0)
    large_galaxies: tuple = (0.1, 2.0)
    large_probability: float = 0.4
    half_light_radius: tuple = (8.0, 40.0)
    large_snr: tuple = (10.0, 2000.0)
    clustering: float = 0.15
    fwhm: tuple = (1.1, 8.0)
    spikes: bool | None = None
    sky: tuple = (0.3, 2e4)
    read_noise: tuple = (0.0, 10.0)
    photon_counting_probability: float = 0.25
    photon_counting_sky: tuple = (0.1, 10.0)
    gain: tuple = (0.5, 4.0)
    gradient: tuple = (0.0, 40.0)
    gradient_probability: float = 0.35
    curvature: float = 1 / 3
    nebulosity: tuple = (0.5, 40.0)
    nebulosity_probability: float = 0.35
    nebulosity_slope: tuple = (-4.5, -2.5)
    nebulosity_scale: tuple = (5.0, 40.0)
    depth_steps: tuple = (1.0, 3.0)
    depth_probability: float = 0.15
    correlation: tuple = (0.3, 1.2)
    correlation_probability: float = 0.35
    cosmic_rays: tuple = (10.0, 2000.0)
    cosmic_ray_probability: float = 0.3
    hot_pixels: tuple = (1e-5, 1e-3)
    hot_pixel_probability: float = 0.2
    column_probability: float = 0.1
    trail_probability: float = 0.2
    saturation: tuple = (300.0, 1e4)
    saturation_probability: float = 0.3
    no_data_probability: float = 0.1

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith(('probability', 'clustering')):
                if not 0 <= value <= 1:
                    msg = f'{field.name} must be between 0 and 1, got {value!r}'
                    raise ValueError(msg)
            elif isinstance(field.default, tuple):
                value = tuple(float(bound) for bound in value)
                if len(value) != 2 or not value[0] <= value[1]:
                    msg = f'{field.name} must be an ascending pair, got {value!r}'
                    raise ValueError(msg)
                object.__setattr__(self, field.name, value)
        for name in ('density', 'snr_max', 'large_snr', 'sky', 'photon_counting_sky',
                     'gain', 'saturation',
                     'nebulosity', 'nebulosity_scale', 'cosmic_rays',
                     'hot_pixels'):  # fmt: skip
            if getattr(self, name)[0] <= 0:
                msg = f'{name} must be positive, got {getattr(self, name)!r}'
                raise ValueError(msg)
        if not 0 < self.snr_min < self.snr_max[0]:
            msg = f'snr_min must be between 0 and snr_max, got {self.snr_min!r}'
            raise ValueError(msg)
