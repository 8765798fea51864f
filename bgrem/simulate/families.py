"""
The families of scenes on which methods are compared.
"""

from dataclasses import replace

from .config import SceneConfig

__all__ = ['FAMILIES']

# Stars and small galaxies on a plain sky; every family changes one thing.
_FLAT = SceneConfig(
    density=(2e-3, 2e-3),
    bright_probability=0.0,
    snr_max=(3000.0, 3000.0),
    flux_slope=(1.0, 1.0),
    star_fraction=(0.5, 0.5),
    large_probability=0.0,
    clustering=0.0,
    fwhm=(2.0, 5.0),
    spikes=False,
    sky=(500.0, 500.0),
    read_noise=(5.0, 5.0),
    photon_counting_probability=0.0,
    gain=(1.0, 1.0),
    gradient_probability=0.0,
    nebulosity_probability=0.0,
    depth_probability=0.0,
    correlation_probability=0.0,
    cosmic_ray_probability=0.0,
    hot_pixel_probability=0.0,
    column_probability=0.0,
    trail_probability=0.0,
    saturation_probability=0.0,
    no_data_probability=0.0,
)

FAMILIES = {
    'flat': _FLAT,
    'gradient': replace(
        _FLAT, gradient=(25.0, 25.0), curvature=0.0, gradient_probability=1.0
    ),
    'mosaic': replace(_FLAT, depth_steps=(1.5, 3.0), depth_probability=1.0),
    # The smallest clumps are 5 px across, half a wavelength.
    'nebulosity': replace(
        _FLAT,
        nebulosity=(4.0, 4.0),
        nebulosity_scale=(10.0, 10.0),
        nebulosity_slope=(-4.5, -4.5),
        nebulosity_probability=1.0,
    ),
    # Structure as sharp as the PSF, which no method can tell from sources.
    'filaments': replace(
        _FLAT,
        nebulosity=(4.0, 4.0),
        nebulosity_scale=(5.0, 5.0),
        nebulosity_slope=(-3.0, -3.0),
        nebulosity_probability=1.0,
    ),
    'crowded': replace(_FLAT, density=(8e-3, 8e-3)),
    'large_galaxies': replace(
        _FLAT,
        large_galaxies=(0.2, 0.4),
        large_probability=1.0,
        half_light_radius=(12.0, 35.0),
        large_snr=(50.0, 2000.0),
    ),
    'undersampled': replace(_FLAT, fwhm=(1.65, 1.95)),
    'broad': replace(_FLAT, fwhm=(6.2, 6.8)),
    'spikes': replace(_FLAT, spikes=True, snr_max=(3e4, 3e4), flux_slope=(0.8, 0.8)),
    'correlated': replace(_FLAT, correlation=(0.5, 1.0), correlation_probability=1.0),
    'photon_starved': replace(_FLAT, sky=(0.6, 0.6), read_noise=(0.0, 0.0)),
}
