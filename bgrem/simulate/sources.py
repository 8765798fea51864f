"""
Random sources from a stamp bank, and their light on the pixels.
"""

import torch
from torch.nn import functional

from .sky import uniform
from .stamps import STAMP_KINDS

__all__ = ['draw_sources', 'paste_sources']

# Above this S/N the wings of a star outside its small stamp would show.
_BRIGHT_STAR_SNR = 100.0
_KIND_INDEX = {kind.name: index for index, kind in enumerate(STAMP_KINDS)}


def draw_sources(bank, config, psf, shape, generator):
    """
    Draw positions, shapes and fluxes of the sources of each scene.

    Parameters
    ----------
    bank : `StampBank`
        The stamps.

    config : `SceneConfig`
        The ingredients.

    psf : `~torch.Tensor`
        The number of the PSF of each scene, shape (B,).

    shape : tuple of int
        Height and width of the scenes.

    generator : `~torch.Generator`
        The source of randomness.

    Returns
    -------
    sources : dict of `~torch.Tensor`
        Arrays of one entry per source: ``scene``, ``psf``, ``kind``,
        ``stamp`` (indices into the bank), ``row``, ``column`` (integer
        position), ``x``, ``y``, ``snr``, ``flux`` (in units of the noise
        sigma) and ``half_light_radius``.
    """
    small = _population(config, psf, shape, generator)
    large = _large_galaxies(config, psf, shape, generator)
    sources = {name: torch.cat([small[name], large[name]]) for name in small}
    _assign_stamps(bank, config, sources, generator)
    sources['x'] = sources['column'] + sources.pop('dx')
    sources['y'] = sources['row'] + sources.pop('dy')
    return sources


def _rand(n_values, generator):
    return torch.rand(n_values, generator=generator, device=generator.device)


def _scatter(counts, psf, shape, margin, generator):
    """
    Uniform integer positions in each scene and a margin around it.
    """
    device = generator.device
    scene = torch.repeat_interleave(torch.arange(len(counts), device=device), counts)
    height, width = shape
    row = (_rand(len(scene), generator) * (height + 2 * margin)).long() - margin
    column = (_rand(len(scene), generator) * (width + 2 * margin)).long() - margin
    return {'scene': scene, 'psf': psf[scene], 'row': row, 'column': column}


def _population(config, psf, shape, generator):
    """
    Stars, small and medium galaxies with a power-law flux distribution.
    """
    n_scenes = len(psf)
    margin = 16
    area = (shape[0] + 2 * margin) * (shape[1] + 2 * margin)
    density = uniform(config.density, n_scenes, generator, log=True).flatten()
    counts = torch.poisson(density * area, generator=generator).long()
    sources = _scatter(counts, psf, shape, margin, generator)
    scene = sources['scene']
    n_sources = len(scene)
    clumped = _rand(n_scenes, generator) < config.clustering
    _gather(sources, clumped, generator)

    slope = uniform(config.flux_slope, n_scenes, generator).flatten()[scene]
    high = uniform(config.snr_max, n_scenes, generator, log=True).flatten()[scene]
    # Inverse transform of the power law N(>s) ~ s**-slope cut at both ends.
    u = _rand(n_sources, generator)
    low = torch.full_like(u, config.snr_min)
    snr = (low**-slope * (1 - u) + high**-slope * u) ** (-1 / slope)
    star_fraction = uniform(config.star_fraction, n_scenes, generator).flatten()
    is_star = _rand(n_sources, generator) < star_fraction[scene]
    medium = _rand(n_sources, generator) < 0.12
    kind = torch.full_like(scene, _KIND_INDEX['small_galaxy'])
    kind[medium] = _KIND_INDEX['medium_galaxy']
    kind[is_star] = _KIND_INDEX['star']
    kind[is_star & (snr > _BRIGHT_STAR_SNR)] = _KIND_INDEX['bright_star']
    return sources | {'kind': kind, 'snr': snr}


def _gather(sources, clumped, generator):
    """
    Pull three quarters of the sources of clumped scenes towards earlier ones.
    """
    scene = sources['scene']
    n_sources = len(scene)
    moves = clumped[scene] & (_rand(n_sources, generator) < 0.75)
    # Sources are ordered by scene, so a tenth of the way from the first one of
    # the scene to oneself is another source of the same scene.
    first = torch.searchsorted(scene, scene)
    order = torch.arange(n_sources, device=scene.device)
    partner = first + ((order - first) * 0.1).long()
    for name in ('row', 'column'):
        spread = torch.randn(n_sources, generator=generator, device=scene.device) * 12
        near = sources[name][partner] + spread.long()
        sources[name] = torch.where(moves, near, sources[name])


def _large_galaxies(config, psf, shape, generator):
    n_scenes = len(psf)
    margin = 32
    area = (shape[0] + 2 * margin) * (shape[1] + 2 * margin)
    rate = uniform(config.large_galaxies, n_scenes, generator).flatten() / 1e4
    rate *= _rand(n_scenes, generator) < config.large_probability
    counts = torch.poisson(rate * area, generator=generator).long()
    sources = _scatter(counts, psf, shape, margin, generator)
    kind = torch.full_like(sources['scene'], _KIND_INDEX['large_galaxy'])
    low, high = config.large_snr
    snr = low * (high / low) ** _rand(len(kind), generator)
    return sources | {'kind': kind, 'snr': snr}


def _assign_stamps(bank, config, sources, generator):
    """
    Give each source a stamp of its kind and PSF, and the flux of its S/N.
    """
    n_sources = len(sources['scene'])
    device = generator.device
    u = _rand(n_sources, generator)
    stamp = torch.zeros(n_sources, dtype=torch.long, device=device)
    values = torch.zeros(4, n_sources, device=device)
    for index, kind in enumerate(STAMP_KINDS):
        chosen = sources['kind'] == index
        psf = sources['psf'][chosen]
        number = (u[chosen] * kind.n_stamps).long()
        if kind.name == 'large_galaxy':
            number = _within_radius(bank, config, psf, number)
        stamp[chosen] = number
        values[0, chosen] = 1 / bank.norm[kind.name][psf, number]
        values[1, chosen] = bank.half_light_radius[kind.name][psf, number]
        values[2:, chosen] = bank.offset[kind.name][psf, number].T
    sources['stamp'] = stamp
    sources['flux'] = sources['snr'] * values[0]
    sources['half_light_radius'] = values[1]
    sources['dx'], sources['dy'] = values[2], values[3]


def _within_radius(bank, config, psf, number):
    """
    The stamp drawn, or, when its radius is out of range, the nearest of its PSF.
    """
    radius = bank.half_light_radius['large_galaxy'][psf]
    low, high = config.half_light_radius
    excess = torch.maximum(low - radius, radius - high).clamp(min=0)
    number = number[:, None]
    best = torch.where(
        excess.gather(1, number) == 0, number, excess.argmin(1, keepdim=True)
    )
    return best[:, 0]


def paste_sources(bank, sources, n_scenes, shape):
    """
    Add the light of the sources to empty images.

    Parameters
    ----------
    bank : `StampBank`
        The stamps.

    sources : dict of `~torch.Tensor`
        What `draw_sources` returned.

    n_scenes : int
        The number of images.

    shape : tuple of int
        Height and width.

    Returns
    -------
    light : `~torch.Tensor`
        Shape (n_scenes, 1, height, width), in noise sigma.
    """
    height, width = shape
    device = sources['scene'].device
    light = torch.zeros(n_scenes * height * width, device=device)
    for index, kind in enumerate(STAMP_KINDS):
        # Large stamps a few at a time, to bound the memory.
        side = (kind.size - 1) * kind.zoom + 1
        chosen = torch.nonzero(sources['kind'] == index).flatten()
        for part in chosen.split(max(1, 4_000_000 // side**2)):
            psf, number = sources['psf'][part], sources['stamp'][part]
            stamps = bank.stamps[kind.name][psf, number].float()
            if kind.zoom > 1:
                stamps = functional.interpolate(
                    stamps[:, None],
                    size=(side, side),
                    mode='bicubic',
                    align_corners=True,
                )[:, 0]
            flux = sources['flux'][part] * bank.scale[kind.name][psf, number]
            offset = torch.arange(side, device=device) - side // 2
            row = sources['row'][part, None] + offset
            column = sources['column'][part, None] + offset
            ok = ((row >= 0) & (row < height))[:, :, None]
            ok = ok & ((column >= 0) & (column < width))[:, None, :]
            line = sources['scene'][part, None] * height + row
            place = line[:, :, None] * width + column[:, None, :]
            value = stamps * flux[:, None, None]
            light.index_add_(0, place[ok], value[ok])
    return light.view(n_scenes, 1, height, width).clamp(min=0)
