"""
Fields of counted photons of any kind, as X-ray and ultraviolet telescopes see them.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .canvas import Canvas
from .coverage import draw_coverage, draw_vignetting
from .emission import power_law_field
from .patch import PointSources, compose_patch
from .psf import analytic_psf
from .ranges import Ranges, log_uniform
from .shapes import draw_extended

__all__ = ['FieldConfig', 'simulate_field']

_PSF_KINDS = ('gauss', 'moffat', 'king')
# PSFs are kept once they are made: their widths are rounded to this factor.
_FWHM_STEP = 1.05
# As many sources per square FWHM as can be told apart, and a third more.
_MOST_PER_FWHM2 = 0.4


@dataclass(frozen=True)
class FieldConfig(Ranges):
    """
    The properties of a field; each field draws its own values.

    Parameters
    ----------
    shape : tuple of int
        Height and width in pixels.

    fwhm : tuple of float
        The full width at half maximum of the PSF in pixels; log-uniform. It is a
        Gaussian, a Moffat or a King function.

    level : tuple of float
        The mean sky where the exposure is best, in counts per pixel; log-uniform.

    particles : tuple of float
        The fraction of this sky that is not focused by the telescope, and has no
        vignetting.

    particle_probability : float
        The fraction of the fields with such a component.

    structure : tuple of float
        The fractional standard deviation of the sky; log-uniform.

    structure_slope : tuple of float
        The exponent of its power spectrum.

    structure_probability : float
        The fraction of the fields whose sky has structure.

    gradient : tuple of float
        The change of the logarithm of the sky from edge to edge.

    gradient_probability : float
        The fraction of the fields whose sky has a gradient.

    density : tuple of float
        Point sources per pixel with S/N above ``snr_min``; log-uniform, but at most
        0.4 per square FWHM.

    snr_min : float
        The lowest S/N of the flux law, on the mean sky.

    snr_max : tuple of float
        The highest S/N of the flux law; log-uniform.

    flux_slope : tuple of float
        The slope a of the flux law N(>F) ~ F**-a.

    empty_probability : float
        The fraction of the fields without any sources.

    extended : tuple of float
        The mean number of clusters of galaxies and supernova remnants in fields with
        such sources.

    extended_snr : tuple of float
        Their S/N; log-uniform.

    extended_probability : float
        The fraction of the fields that may have them.

    vignetting : tuple of float
        The fraction of the exposure that is lost at the far corner.

    vignetting_probability : float
        The fraction of the fields with vignetting.

    gap_probability : float
        The fraction of the fields with gaps between detectors.

    border_probability : float
        The fraction of the fields that end within the image.

    poisson : bool
        Whether photons are drawn; if not, the counts are the expected ones.

    Raises
    ------
    ValueError
        If a range is not an ascending pair or a probability is outside [0, 1].
    """

    positive: ClassVar = (
        'fwhm',
        'level',
        'structure',
        'density',
        'snr_min',
        'snr_max',
        'flux_slope',
        'extended_snr',
    )

    shape: tuple = (64, 64)
    fwhm: tuple = (1.2, 10.0)
    level: tuple = (0.003, 3000.0)
    particles: tuple = (0.0, 0.9)
    particle_probability: float = 0.4
    structure: tuple = (0.02, 0.6)
    structure_slope: tuple = (-5.0, -3.0)
    structure_probability: float = 0.5
    gradient: tuple = (0.0, 1.0)
    gradient_probability: float = 0.3
    density: tuple = (1e-3, 1e-1)
    snr_min: float = 0.5
    snr_max: tuple = (10.0, 1000.0)
    flux_slope: tuple = (0.3, 1.5)
    empty_probability: float = 0.1
    extended: tuple = (0.3, 2.0)
    extended_snr: tuple = (4.0, 300.0)
    extended_probability: float = 0.3
    vignetting: tuple = (0.1, 0.8)
    vignetting_probability: float = 0.4
    gap_probability: float = 0.25
    border_probability: float = 0.15
    poisson: bool = True


def simulate_field(rng, config=None):
    """
    Simulate one field.

    Parameters
    ----------
    rng : `~numpy.random.Generator`
        The source of all randomness: with the same state, the field is the same.

    config : `FieldConfig`, optional
        The properties of the field.

    Returns
    -------
    patch : `bgrem.simulate.gamma.CountsPatch`
        The field. Fluxes are in counts at the best exposure, which is 1. ``meta``
        contains ``level`` and ``psf`` (its kind).

    Examples
    --------
    >>> import numpy as np
    >>> from bgrem.simulate.gamma import FieldConfig, simulate_field
    >>> field = simulate_field(np.random.default_rng(1), FieldConfig(shape=(48, 48)))
    >>> field.counts.shape
    (48, 48)
    """
    config = FieldConfig() if config is None else config
    kind = str(rng.choice(_PSF_KINDS))
    fwhm = log_uniform(config.fwhm, rng)
    fwhm = _FWHM_STEP ** np.round(np.log(fwhm) / np.log(_FWHM_STEP))
    canvas = Canvas(config.shape, analytic_psf(kind, float(np.round(fwhm, 4))))
    level = log_uniform(config.level, rng)
    particles = 0.0
    if rng.random() < config.particle_probability:
        particles = level * rng.uniform(*config.particles)
    emission = _emission(canvas, config, level - particles, rng)
    coverage = draw_coverage(
        config.shape,
        rng,
        gaps=rng.random() < config.gap_probability,
        border=rng.random() < config.border_probability,
    )
    exposure = coverage
    if rng.random() < config.vignetting_probability:
        loss = rng.uniform(*config.vignetting)
        exposure = coverage * draw_vignetting(config.shape, loss, rng)
        exposure = exposure / exposure.max()
    points, extended = PointSources(*np.empty((3, 0))), []
    if rng.random() >= config.empty_probability:
        points = _points(canvas, config, level, rng)
        if rng.random() < config.extended_probability:
            number = rng.poisson(rng.uniform(*config.extended))
            extended = [
                draw_extended(canvas, level, log_uniform(config.extended_snr, rng), rng)
                for _ in range(number)
            ]
    photons = rng if config.poisson else None
    meta = {'level': level, 'psf': kind}
    return compose_patch(
        canvas,
        emission,
        exposure,
        points,
        extended,
        photons,
        particles=particles * coverage,
        meta=meta,
    )


def _emission(canvas, config, level, rng):
    """The sky that is focused, of the mean that is asked for."""
    log = np.zeros(canvas.padded)
    if rng.random() < config.gradient_probability:
        y, x = canvas.grid()
        angle = rng.uniform(0, 2 * np.pi)
        along = (
            np.cos(angle) * x / canvas.shape[1] + np.sin(angle) * y / canvas.shape[0]
        )
        log = log + rng.uniform(*config.gradient) * along
    if rng.random() < config.structure_probability:
        slope = rng.uniform(*config.structure_slope)
        field = power_law_field(canvas.padded, slope, rng)
        log = (
            log + log_uniform(config.structure, rng) * field / field[canvas.inner].std()
        )
    sky = canvas.smooth(np.exp(np.clip(log - log[canvas.inner].mean(), -4, 4)))
    return level * sky / sky[canvas.inner].mean()


def _points(canvas, config, level, rng):
    """Sources of a power law of fluxes, on the whole canvas."""
    density = log_uniform(config.density, rng)
    density = min(density, _MOST_PER_FWHM2 / canvas.psf.fwhm**2)
    number = rng.poisson(density * np.prod(canvas.padded))
    x, y = canvas.random_positions(number, rng)
    # What S/N means in counts, on the mean sky.
    counts = np.geomspace(1e-4, 1e9, 261)
    snr = canvas.significance(counts, counts / level)
    low, high = np.exp(
        np.interp(
            np.log([config.snr_min, log_uniform(config.snr_max, rng)]),
            np.log(snr),
            np.log(counts),
        )
    )
    slope = rng.uniform(*config.flux_slope)
    u = rng.random(number)
    flux = (low**-slope - u * (low**-slope - high**-slope)) ** (-1 / slope)
    return PointSources(x, y, flux)
