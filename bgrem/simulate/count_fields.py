"""
Composes fields of photon counts for the training, on the CPU or a GPU, on the fly.

The expected counts of sources and of sky are known everywhere, and photons are drawn
from them. Sources below S/N 1 at their own place belong to the sky. The sources lie on
a torus: light of those beyond a border falls in, as in a piece of a real map.
"""

import math
from dataclasses import asdict, dataclass

import torch
from torch.nn import functional

from bgrem._config import check_keys, plain_values

from .sky import uniform

__all__ = ['CountsBatch', 'CountsComposer', 'CountsConfig']

_SKY_SNR = 1.0  # what is fainter belongs to the sky
_FOLD = 2  # sources are drawn on pixels of half the size
_CORE = 16  # half the side of the part of the PSF that decides the S/N, in pixels
# of the table of S/N: sources from so many times fainter than a pixel of the sky
_FLUX_RATIOS = (1e-4, 1e8)
_N_RATIOS = 30
_MOST_SOURCES = 1500  # of a field, those that are sky included
_MOST_CROWDED = 0.2  # sources above S/N 5 in a square FWHM


@dataclass(frozen=True)
class CountsConfig:
    """
    The ingredients of a field of counts; every field draws its own values.

    A range is a pair (low, high) from which each field draws log-uniformly, or
    uniformly where said. An ingredient with a probability is in that part of them.

    Parameters
    ----------
    level : tuple of float
        Mean expected counts of the diffuse sky per pixel, of most fields.
    wide_level : tuple of float
        Those of the other fields.
    wide_probability : float
        The part of the other fields.
    fwhm : tuple of float
        Full width at half maximum of the PSF in pixels.
    lat_probability : float
        The part of the fields whose PSF has the width and the wings of the Fermi-LAT in
        1-2 GeV on pixels of 10/64 degree, to 20%.
    density : tuple of float
        Sources above S/N 5 in 64 x 64 px.
    slope : tuple of float
        The slope a of their flux law N(>F) ~ F**-a; uniform.
    steep_slope : tuple of float
        That of bright sources; uniform.
    cluster_probability : float
        The part of the fields whose sources crowd about one place.
    extended_probability : float
        The part of the fields that have an extended source (a cluster, a remnant).
    plane_probability : float
        The part of the fields that hold a piece of a bright plane.
    vignetting_probability, gap_probability : float
        The part of the fields whose exposure falls off, and that have a gap.
    expected_probability : float
        The part of the fields that are given as expected counts, without Poisson noise.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    level: tuple = (0.5, 100.0)
    wide_level: tuple = (0.003, 3000.0)
    wide_probability: float = 0.4
    fwhm: tuple = (1.2, 10.0)
    lat_probability: float = 0.4
    density: tuple = (0.5, 25.0)
    slope: tuple = (0.4, 1.3)
    steep_slope: tuple = (1.2, 2.5)
    cluster_probability: float = 0.15
    extended_probability: float = 0.12
    plane_probability: float = 0.35
    vignetting_probability: float = 0.15
    gap_probability: float = 0.1
    expected_probability: float = 0.12

    def __post_init__(self):
        for name, value in asdict(self).items():
            if name.endswith('probability'):
                self._require(name, 0 <= value <= 1, 'must be in [0, 1]')
            else:
                object.__setattr__(self, name, tuple(float(v) for v in value))
                low, *high = getattr(self, name)
                self._require(
                    name,
                    len(high) == 1 and 0 < low <= high[0] < math.inf,
                    'must be a pair (low, high) of positive numbers',
                )

    def _require(self, name, holds, rule):
        if not holds:
            msg = f'{name} {rule}, got {getattr(self, name)!r}'
            raise ValueError(msg)

    def to_dict(self):
        """
        The configuration as a plain `dict`.

        Returns
        -------
        values : dict
            Every field by name.
        """
        return plain_values(self)

    @classmethod
    def from_dict(cls, values):
        """
        Build a configuration from `to_dict` output.

        Parameters
        ----------
        values : dict
            Fields by name; missing ones take their default.

        Returns
        -------
        config : `CountsConfig`
            The configuration.

        Raises
        ------
        ValueError
            If ``values`` holds an unknown key or a value out of range.
        """
        check_keys(cls, values, 'counts')
        return cls(**values)


@dataclass(frozen=True)
class CountsBatch:
    """
    Fields of counts and the truth about them; images have shape (B, 1, H, W).

    Parameters
    ----------
    counts : `~torch.Tensor`
        Photons, or the expected counts where a field has no Poisson noise. 0 in gaps.
    source : `~torch.Tensor`
        The expected counts of all sources of S/N 1 or more.
    sky : `~torch.Tensor`
        The expected counts of all the rest.
    exposure : `~torch.Tensor`
        The relative exposure, 0 in gaps.
    is_noisy : `~torch.Tensor`
        Whether the counts are photons, shape (B, 1, 1, 1).
    fwhm : `~torch.Tensor`
        Of the PSF in pixels, shape (B,).
    catalog : dict of `~torch.Tensor`
        One entry per source whose centre is inside its field: ``scene`` (number),
        ``x``, ``y`` (pixels, 0 at the centre of the first one), ``flux`` (expected
        counts) and ``snr`` (as `bgrem.simulate.gamma` has it, over the diffuse sky).
    """

    counts: torch.Tensor
    source: torch.Tensor
    sky: torch.Tensor
    exposure: torch.Tensor
    is_noisy: torch.Tensor
    fwhm: torch.Tensor
    catalog: dict

    def draw_again(self, generator):
        """
        Draw other photons from the same expected counts.

        Parameters
        ----------
        generator : `~torch.Generator`
            The source of randomness.

        Returns
        -------
        counts : `~torch.Tensor`
            As the attribute.
        """
        expected = self.source + self.sky
        photons = torch.poisson(expected, generator)
        return torch.where(self.is_noisy, photons, expected)


class CountsComposer:
    """
    Makes random fields of counts.

    Parameters
    ----------
    config : `CountsConfig`
        The ingredients.
    """

    def __init__(self, config):
        self.config = config

    def compose(self, n_fields, size, generator):
        """
        Make fields.

        Parameters
        ----------
        n_fields : int
            How many.
        size : int
            Height and width in pixels, even.
        generator : `~torch.Generator`
            The source of all randomness.

        Returns
        -------
        batch : `CountsBatch`
            The fields, float32.
        """
        config = self.config
        psf, fwhm = self._psf(n_fields, size, generator)
        transfer = torch.fft.rfft2(psf)
        pooled = functional.avg_pool2d(psf, _FOLD) * _FOLD**2
        exposure = self._exposure(n_fields, size, generator)
        level = uniform(config.level, n_fields, generator, log=True)
        wide = uniform(config.wide_level, n_fields, generator, log=True)
        level = torch.where(self._some('wide', n_fields, generator), wide, level)
        diffuse = self._diffuse(n_fields, size, fwhm, generator)
        diffuse = level * diffuse * exposure
        core = torch.roll(pooled, (_CORE, _CORE), dims=(-2, -1))
        table = _Significance(core[..., : 2 * _CORE + 1, : 2 * _CORE + 1])
        sources = self._sources(size, level, fwhm, table, generator)
        scene, x, y, flux = sources
        row, column = (v.round().long().clamp(0, size - 1) for v in (y, x))
        flux = flux * exposure[scene, 0, row, column]
        snr = table(scene, flux, diffuse[scene, 0, row, column].clamp(min=1e-12))
        is_source = snr >= _SKY_SNR
        source, faint = (
            _draw(scene[chosen], x[chosen], y[chosen], flux[chosen], transfer, size)
            for chosen in (is_source, ~is_source)
        )
        extended, more = self._extended(diffuse, fwhm, generator)
        names = ('scene', 'x', 'y', 'flux', 'snr')
        columns = [*sources[:3], flux, snr]
        catalog = {
            name: torch.cat([one, other])
            for name, one, other in zip(names, columns, more, strict=True)
        }
        is_open = exposure > 0
        source = torch.where(is_open, source + extended, 0)
        sky = torch.where(is_open, diffuse + faint, 0)
        is_noisy = ~self._some('expected', n_fields, generator)
        truth = (source, sky, exposure, is_noisy, fwhm, catalog)
        counts = CountsBatch(source, *truth).draw_again(generator)
        return CountsBatch(counts, *truth)

    def _some(self, name, n_fields, generator):
        chance = getattr(self.config, f'{name}_probability')
        draw = torch.rand(
            n_fields, 1, 1, 1, generator=generator, device=generator.device
        )
        return draw < chance

    def _psf(self, n_fields, size, generator):
        """
        Two King profiles, the PSF of the Fermi-LAT; near Gaussian to wide wings.
        """
        fwhm = uniform(self.config.fwhm, n_fields, generator, log=True)
        wings = uniform((0.0, 0.8), n_fields, generator)
        inner = uniform((2.0, 12.0), n_fields, generator)
        outer = uniform((1.5, 4.5), n_fields, generator)
        ratio = uniform((1.2, 3.0), n_fields, generator)
        is_lat = self._some('lat', n_fields, generator)
        like_lat = uniform((0.8, 1.2), n_fields, generator)
        fwhm = torch.where(is_lat, 3.3 * like_lat, fwhm)
        wings = torch.where(is_lat, 0.25 + 0.3 * wings, wings)
        outer = torch.where(is_lat, 1.6 + 0.25 * outer, outer)
        n = _FOLD * size
        axis = torch.arange(n, device=generator.device)
        axis = torch.minimum(axis, n - axis) / _FOLD
        radius2 = axis[:, None] ** 2 + axis**2
        # half of the maximum of the inner profile alone; the outer one is far below
        sigma2 = (fwhm / 2) ** 2 / (2 * inner * (2 ** (1 / inner) - 1))
        core = _king(radius2, sigma2, inner)
        psf = (1 - wings) * core + wings * _king(radius2, sigma2 * ratio**2, outer)
        psf = psf / psf.sum(dim=(-2, -1), keepdim=True)
        return psf, fwhm.flatten()

    def _exposure(self, n_fields, size, generator):
        device = generator.device
        axis = torch.linspace(-1, 1, size, device=device)
        x0, y0 = (uniform((-1, 1), n_fields, generator) for _ in range(2))
        radius2 = (axis - x0) ** 2 + (axis[:, None] - y0) ** 2
        falling = uniform((0.1, 0.8), n_fields, generator)
        vignetting = 1 / (1 + falling * radius2)
        exposure = torch.where(
            self._some('vignetting', n_fields, generator), vignetting, 1.0
        )
        angle = uniform((0, math.pi), n_fields, generator)
        across = (axis - x0) * angle.cos() + (axis[:, None] - y0) * angle.sin()
        width = uniform((0.02, 0.3), n_fields, generator)
        in_gap = (across.abs() < width) & self._some('gap', n_fields, generator)
        return torch.where(in_gap, 0.0, exposure)

    def _diffuse(self, n_fields, size, fwhm, generator):
        """
        Diffuse emission of unit mean, as seen through the PSF.
        """
        device = generator.device
        # interstellar clouds: a power law k^-4.5, drawn on coarser pixels
        clouds = _power_law(n_fields, size // 2, (4.0, 5.0), fwhm / 2, generator)
        clouds = functional.interpolate(clouds, scale_factor=2, mode='bilinear')
        log_sky = uniform((0.05, 0.35), n_fields, generator, log=True) * clouds
        # arcs and knots
        arcs = _power_law(n_fields, size, (2.0, 3.5), fwhm, generator)
        chance = torch.rand(n_fields, 1, 1, 1, generator=generator, device=device)
        arcs = torch.where(chance < 0.2, arcs, -arcs.abs())
        amplitude = uniform((0.03, 0.3), n_fields, generator, log=True)
        log_sky = log_sky + torch.where(chance < 0.4, amplitude * arcs, 0)
        axis = torch.linspace(-1, 1, size, device=device)
        angle, place = (
            uniform(bounds, n_fields, generator)
            for bounds in ((0, 2 * math.pi), (-1.3, 1.3))
        )
        across = axis * angle.cos() + axis[:, None] * angle.sin() - place
        along = axis[:, None] * angle.cos() - axis * angle.sin()
        height = uniform((0.05, 0.6), n_fields, generator, log=True)
        height = torch.maximum(height, 1.4 * fwhm.view(-1, 1, 1, 1) / size)
        plane = uniform((0.3, 2.8), n_fields, generator) / (1 + (across / height) ** 2)
        # brighter towards one end, as towards the Galactic Centre
        plane = plane * (1 + uniform((-0.4, 0.4), n_fields, generator) * along)
        shown = self._some('plane', n_fields, generator)
        tilt, bend = (uniform((-0.5, 0.5), n_fields, generator) for _ in range(2))
        log_sky = log_sky + tilt * across + bend * across**2 * tilt.abs()
        log_sky = log_sky + torch.where(shown, plane, 0)
        sky = log_sky.exp()
        return sky / sky.mean(dim=(-2, -1), keepdim=True)

    def _sources(self, size, level, fwhm, table, generator):
        """
        Draw scene, x, y and flux of all point sources.
        """
        config, device, n_fields = self.config, generator.device, len(level)
        density, low, high, break_ratio, depth = (
            uniform(bounds, n_fields, generator, log=log).flatten()
            for bounds, log in (
                (config.density, True),
                (config.slope, False),
                (config.steep_slope, False),
                ((2.0, 100.0), True),
                ((20.0, 150.0), True),
            )
        )
        beams = size**2 / fwhm**2
        n_five = torch.minimum(density * (size / 64) ** 2, _MOST_CROWDED * beams)
        five = table.flux(5.0, level.flatten())
        # so many times fainter than S/N 5 there are as many sources as can be drawn
        depth = torch.minimum(depth, (_MOST_SOURCES / n_five) ** (1 / low))
        n_sources = torch.poisson(n_five * depth**low, generator).long()
        scene = torch.arange(n_fields, device=device).repeat_interleave(n_sources)
        x, y, u = torch.rand(3, len(scene), generator=generator, device=device)
        x, y = x * size - 0.5, y * size - 0.5
        spread = uniform((0.06, 0.3), n_fields, generator).flatten()[scene] * size
        normal = torch.randn(2, len(scene), generator=generator, device=device)
        middle = torch.rand(2, n_fields, generator=generator, device=device) * size
        crowded = self._some('cluster', n_fields, generator).flatten()[scene]
        x, y = (
            torch.where(
                crowded, (middle[k][scene] + spread * normal[k]) % size - 0.5, place
            )
            for k, place in enumerate((x, y))
        )
        # N(>F) = u N(>lowest), a power law that is steeper above its break
        ratio = u.clamp(min=1e-6) ** (-1 / low[scene]) / depth[scene]
        knee = break_ratio[scene]
        beyond = (ratio / knee).clamp(min=1) ** (low[scene] / high[scene])
        ratio = torch.where(ratio > knee, knee * beyond, ratio).clamp(max=3e3)
        return scene, x, y, ratio * five[scene]

    def _extended(self, diffuse, fwhm, generator):
        """
        Draw clusters, discs and shells, at most one in each field.
        """
        n_fields, _, size, _ = diffuse.shape
        device = generator.device
        image = torch.zeros_like(diffuse)
        scene = torch.nonzero(self._some('extended', n_fields, generator).flatten())
        scene = scene.flatten()
        n_fields = len(scene)
        fwhm = fwhm[scene].view(-1, 1, 1, 1)
        radius = uniform((1.5, 12.0), n_fields, generator, log=True)
        radius = torch.maximum(radius, 0.6 * fwhm)
        x, y = (uniform((0, size - 1), n_fields, generator) for _ in range(2))
        angle = uniform((0, math.pi), n_fields, generator)
        axis = torch.arange(size, device=device)
        dx, dy = axis - x, axis[:, None] - y
        along = dx * angle.cos() + dy * angle.sin()
        across = dy * angle.cos() - dx * angle.sin()
        across = across / uniform((0.6, 1.0), n_fields, generator)
        r = torch.hypot(along, across) / radius
        beta = (1 + r**2) ** -uniform((1.0, 2.5), n_fields, generator)
        edge = torch.sigmoid((1.5 - r) * 3 * radius / fwhm)
        shell = edge * (0.4 + (r / 1.5) ** 4)
        kind = torch.rand(n_fields, 1, 1, 1, generator=generator, device=device)
        profile = torch.where(kind < 0.5, beta, torch.where(kind < 0.75, edge, shell))
        profile = profile / profile.sum(dim=(-2, -1), keepdim=True)
        snr = uniform((5.0, 100.0), n_fields, generator, log=True).flatten()
        level = diffuse[scene].mean(dim=(-2, -1)).flatten().clamp(min=1e-12)
        flux = _Significance(profile).flux(snr, level)
        image[scene] = flux.view(-1, 1, 1, 1) * profile
        return image, (scene, x.flatten(), y.flatten(), flux, snr)


class _Significance:
    """
    The signal-to-noise ratio of the flux of a source, by its profile.

    The square root of the likelihood ratio of the expected counts, as of
    `bgrem.simulate.gamma.significance`: 2 sum((b + s) ln(1 + s / b) - s) for a source
    of s counts in a pixel on a sky of b (Cash 1979).
    """

    def __init__(self, profile):
        ratios = torch.logspace(
            *(math.log10(v) for v in _FLUX_RATIOS), _N_RATIOS, device=profile.device
        )
        # per count of the source, as a function of all its counts over b
        share = profile.flatten(1)[:, None].clamp(min=0) * ratios[:, None]
        series = share.square() - share**3 / 3
        excess = 2 * ((1 + share) * torch.log1p(share) - share)
        excess = torch.where(share < 1e-2, series, excess)
        self._log_sum = (excess.sum(dim=2) / ratios).clamp(min=1e-30).log()
        self._log_ratios = ratios.log()

    def __call__(self, scene, flux, level):
        """
        Return the S/N of sources in fields of those numbers.
        """
        first, step = self._log_ratios[0], self._log_ratios[1] - self._log_ratios[0]
        place = ((flux.clamp(min=1e-12) / level).log() - first) / step
        place = place.clamp(0, _N_RATIOS - 1.001)
        lower = place.long()
        part = place - lower
        of_scene = self._log_sum[scene]
        low, high = (of_scene.gather(1, (lower + k)[:, None]).flatten() for k in (0, 1))
        return torch.sqrt(flux * torch.exp(low + part * (high - low)))

    def flux(self, snr, level):
        """
        Return the flux of a source of that S/N in each field.
        """
        log_flux = self._log_ratios + level.log()[:, None]
        log_snr = (log_flux + self._log_sum) / 2  # rises with the flux
        wanted = torch.as_tensor(snr, device=level.device).expand(len(level)).log()
        upper = torch.searchsorted(log_snr, wanted[:, None].contiguous())
        upper = upper.clamp(1, _N_RATIOS - 1)
        (x0, x1), (y0, y1) = (
            [table.gather(1, upper - 1 + k).flatten() for k in (0, 1)]
            for table in (log_snr, log_flux)
        )
        return torch.exp(y0 + (wanted - x0) / (x1 - x0).clamp(min=1e-6) * (y1 - y0))


def _power_law(n_fields, size, slope, fwhm, generator):
    """
    Draw Gaussian fields of a power-law spectrum, seen through a PSF, of unit variance.
    """
    device = generator.device
    n = 3 * size // 2  # not periodic within the field
    frequency = torch.hypot(
        torch.fft.fftfreq(n, device=device)[:, None],
        torch.fft.rfftfreq(n, device=device),
    )
    frequency[0, 0] = torch.inf
    white = torch.randn(n_fields, 1, n, n, generator=generator, device=device)
    half = uniform(slope, n_fields, generator) / 2
    sigma = fwhm.view(-1, 1, 1, 1) / 2.355
    exponent = -half * frequency.log() - 2 * (math.pi * sigma * frequency) ** 2
    exponent[..., 0, 0] = -torch.inf
    field = torch.fft.rfft2(white) * torch.exp(exponent)
    field = torch.fft.irfft2(field, s=(n, n))[..., :size, :size]
    field = field - field.mean(dim=(-2, -1), keepdim=True)
    return field / field.std(dim=(-2, -1), keepdim=True).clamp(min=1e-9)


def _king(radius2, sigma2, gamma):
    scaled = radius2 / (2 * sigma2 * gamma)
    return (1 - 1 / gamma) / sigma2 * (1 + scaled) ** -gamma


def _draw(scene, x, y, flux, transfer, size):
    """
    Draw point sources with their PSF, on a torus.
    """
    n_fields, n = len(transfer), _FOLD * size
    image = torch.zeros(n_fields * n * n, device=flux.device)
    # the centre of a pixel of half the size is a quarter of a pixel off
    column, row = (_FOLD * v + (_FOLD - 1) / 2 for v in (x, y))
    lower_row, lower_column = row.floor(), column.floor()
    for right in (0, 1):
        for up in (0, 1):
            weight = (1 - (row - lower_row - up).abs()) * (
                1 - (column - lower_column - right).abs()
            )
            i = (lower_row.long() + up) % n
            j = (lower_column.long() + right) % n
            image.index_add_(0, (scene * n + i) * n + j, flux * weight)
    image = torch.fft.rfft2(image.view(n_fields, 1, n, n)) * transfer
    image = torch.fft.irfft2(image, s=(n, n))
    return functional.avg_pool2d(image, _FOLD).clamp(min=0) * _FOLD**2
