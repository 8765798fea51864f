"""
Random sources from a stamp bank, and their light on the pixels.
"""

import torch
from torch.nn import functional

from .sky import uniform
from .stamps import STAMP_KINDS

__all__ = ['MEDIUM_FRACTION', 'draw_sources', 'paste_sources']

# The fraction of medium galaxies among all but the large ones.
MEDIUM_FRACTION = 0.12
# The highest density of sources, per square FWHM of the PSF.
_MOST_PER_FWHM2 = 0.7
# Stamps up to this size are pasted all at once.
_SMALL_STAMP = 65
# Above this S/N the wings of a star outside its small stamp would show.
_BRIGHT_STAR_SNR = 100.0
_KIND_INDEX = {kind.name: index for index, kind in enumerate(STAMP_KINDS)}


def draw_sources(bank, config, psf, lowest_snr, shape, generator):
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

    lowest_snr : `~torch.Tensor`
        The lowest S/N of the flux law of each scene, shape (B, 1, 1, 1).

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
    small = _population(bank, config, psf, lowest_snr, shape, generator)
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


def _population(bank, config, psf, lowest_snr, shape, generator):
    """
    Stars, small and medium galaxies with a power-law flux distribution.
    """
    n_scenes = len(psf)
    margin = 16
    area = (shape[0] + 2 * margin) * (shape[1] + 2 * margin)
    density = uniform(config.density, n_scenes, generator, log=True).flatten()
    density = torch.minimum(density, _MOST_PER_FWHM2 / bank.fwhm[psf] ** 2)
    counts = torch.poisson(density * area, generator=generator).long()
    sources = _scatter(counts, psf, shape, margin, generator)
    scene = sources['scene']
    n_sources = len(scene)
    clumped = _rand(n_scenes, generator) < config.clustering
    _gather(sources, clumped, generator)

    slope = uniform(config.flux_slope, n_scenes, generator).flatten()[scene]
    # At zero the power below is undefined; so near it is flat in log flux.
    slope = torch.where(slope.abs() < 1e-3, 1e-3, slope)
    high = uniform(config.snr_max, n_scenes, generator, log=True).flatten()[scene]
    # Inverse transform of the power law N(>s) ~ s**-slope cut at both ends.
    u = _rand(n_sources, generator)
    low = lowest_snr.flatten()[scene]
    snr = (low**-slope * (1 - u) + high**-slope * u) ** (-1 / slope)
    star_fraction = uniform(config.star_fraction, n_scenes, generator).flatten()
    is_star = _rand(n_sources, generator) < star_fraction[scene]
    medium = _rand(n_sources, generator) < MEDIUM_FRACTION
    kind = torch.full_like(scene, _KIND_INDEX['small_galaxy'])
    kind[medium] = _KIND_INDEX['medium_galaxy']
    kind[is_star] = _KIND_INDEX['star']
    kind[is_star & (snr > _BRIGHT_STAR_SNR)] = _KIND_INDEX['bright_star']
    return sources | {'kind': kind, 'snr': snr}


def _gather(sources, clumped, generator):
    """
    Pull three quarters of the sources of clumped scenes toward earlier ones.
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
        From `draw_sources`.

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
    # Around each scene so much room that a small stamp that touches it fits as a
    # whole: cheaper than to find out, pixel by pixel, what is inside.
    room = _SMALL_STAMP - 1
    canvas = torch.zeros(
        n_scenes, height + 2 * room, width + 2 * room, device=sources['scene'].device
    )
    light = canvas[:, room : room + height, room : room + width]
    for index, kind in enumerate(STAMP_KINDS):
        half = kind.size // 2 * kind.zoom
        row, column = sources['row'], sources['column']
        touches = (row >= -half) & (row < height + half)
        touches &= (column >= -half) & (column < width + half)
        chosen = torch.nonzero(touches & (sources['kind'] == index)).flatten()
        part = {name: values[chosen] for name, values in sources.items()}
        number = part['psf'] * kind.n_stamps + part['stamp']
        flux = part['flux'] * bank.scale[kind.name].flatten()[number]
        stamps = bank.stamps[kind.name].flatten(0, 1)
        if kind.size > _SMALL_STAMP:
            _add_one_by_one(light, stamps[number], flux, part, kind.zoom)
        else:
            _scatter_stamps(canvas, room - half, stamps, number, flux, part)
    return light[:, None].clamp(min=0)


def _scatter_stamps(canvas, margin, stamps, number, flux, sources):
    """
    Add small stamps to a canvas, in which the scenes begin after a margin.
    """
    size = stamps.shape[-1]
    _, height, width = canvas.shape
    line = sources['scene'] * height + sources['row'] + margin
    first = line * width + sources['column'] + margin
    offset = torch.arange(size, device=canvas.device)
    offset = (offset[:, None] * width + offset).flatten()
    # A few thousand at a time, to bound the memory.
    n_part = 4_000_000 // size**2
    for parts in zip(*(x.split(n_part) for x in (number, flux, first)), strict=True):
        number, flux, first = parts
        value = stamps.index_select(0, number).flatten(1).float()
        value *= flux[:, None]
        place = first[:, None] + offset
        canvas.view(-1).scatter_add_(0, place.flatten(), value.flatten())


def _add_one_by_one(light, stamps, flux, sources, zoom):
    """
    Add large stamps, most of whose pixels lie outside the scene.
    """
    size = stamps.shape[-1]
    width = zoom * (size - 1) + 1
    # Bicubic interpolation as a matrix, of which only some rows are needed.
    weights = functional.interpolate(
        torch.eye(size, device=light.device)[None, None],
        size=(width, size),
        mode='bicubic',
        align_corners=True,
    )[0, 0]
    place = torch.stack([sources[name] for name in ('scene', 'row', 'column')], 1)
    place[:, 1:] -= width // 2
    _, n_rows, n_columns = light.shape
    for (scene, row, column), stamp, total in zip(
        place.tolist(), stamps, flux, strict=True
    ):
        rows = slice(max(row, 0), min(row + width, n_rows))
        columns = slice(max(column, 0), min(column + width, n_columns))
        along = weights[rows.start - row : rows.stop - row]
        across = weights[columns.start - column : columns.stop - column]
        light[scene, rows, columns] += along @ (stamp.float() * total) @ across.T
