"""
Compose scenes from a stamp bank during training, on the CPU or a GPU.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional

from . import noise as defects
from . import sky as skies
from .sky import uniform
from .sources import draw_sources, paste_sources

__all__ = ['SceneBatch', 'SceneComposer']


@dataclass(frozen=True)
class SceneBatch:
    """
    Scenes and the truth about them; images have shape (B, 1, H, W).

    Parameters
    ----------
    image : `~torch.Tensor`
        The observed counts: ``source + background``. Zero where ``mask``.

    source : `~torch.Tensor`
        The light of the sources without noise, up to saturation.

    background : `~torch.Tensor`
        Everything else: sky, noise and defects.

    sky : `~torch.Tensor`
        The true sky without noise.

    sigma : `~torch.Tensor`
        The standard deviation of the noise of the sky.

    mask : `~torch.Tensor`
        `True` where there are no data.

    psf : `~torch.Tensor`
        The PSF of each scene, unit sum, shape (B, 33, 33).

    fwhm : `~torch.Tensor`
        Its full width at half maximum in pixels, shape (B,).

    catalog : dict of `~torch.Tensor`
        One entry per source whose center is inside its scene: ``scene``
        (number), ``x``, ``y`` (pixels, 0 at the center of the first one),
        ``flux`` (counts), ``snr`` (of a matched filter in the sky noise),
        ``is_star``, ``half_light_radius`` (pixels).
    """

    image: torch.Tensor
    source: torch.Tensor
    background: torch.Tensor
    sky: torch.Tensor
    sigma: torch.Tensor
    mask: torch.Tensor
    psf: torch.Tensor
    fwhm: torch.Tensor
    catalog: dict


class SceneComposer:
    """
    Makes random scenes.

    Parameters
    ----------
    bank : `StampBank`
        The stamps, on the device on which the scenes are made.

    config : `SceneConfig`
        The ingredients.

    Raises
    ------
    ValueError
        If the bank contains no PSF that ``config`` allows.

    Examples
    --------
    >>> import torch
    >>> from bgrem.simulate import SceneComposer, SceneConfig, cached_stamp_bank
    >>> bank = cached_stamp_bank(16)  # doctest: +SKIP
    >>> composer = SceneComposer(bank, SceneConfig())  # doctest: +SKIP
    >>> batch = composer.compose(4, 128, torch.Generator())  # doctest: +SKIP
    """

    def __init__(self, bank, config):
        self.bank = bank
        self.config = config
        low, high = config.fwhm
        allowed = (bank.fwhm >= low) & (bank.fwhm <= high)
        if config.spikes is not None:
            allowed &= bank.spikes == config.spikes
        self._psfs = torch.nonzero(allowed).flatten()
        if not len(self._psfs):
            msg = (
                f'fwhm must leave a PSF of the bank, got {config.fwhm!r} with '
                f'spikes={config.spikes!r}'
            )
            raise ValueError(msg)

    def compose(self, n_scenes, size, generator):
        """
        Make ``n_scenes`` scenes.

        Parameters
        ----------
        n_scenes : int
            The number of scenes.

        size : int or tuple of int
            Height and width in pixels.

        generator : `~torch.Generator`
            The source of all randomness, on the device of the bank.

        Returns
        -------
        batch : `SceneBatch`
            The scenes, in counts, float32.
        """
        shape = (size, size) if isinstance(size, int) else tuple(size)
        config = self.config
        psf = self._draw_psfs(n_scenes, generator)
        mean_sky = uniform(config.sky, n_scenes, generator, log=True)
        read_noise = uniform(config.read_noise, n_scenes, generator)
        if config.photon_counting_probability:
            some = self._some(config.photon_counting_probability, n_scenes, generator)
            read_noise[some] = 0.0
            mean_sky[some] = uniform(
                config.photon_counting_sky, len(some), generator, log=True
            )
        lowest = self._lowest_snr(n_scenes, generator)
        # Noise sigma of the mean sky: the unit of every structure below.
        unit = (mean_sky + read_noise**2).sqrt()
        structure = self._mix(n_scenes, shape, generator, self._structures())
        structure = structure * lowest / config.snr_min
        # Darkest clouds still let a tenth of the sky through.
        sky = torch.maximum(mean_sky + unit * structure, 0.1 * mean_sky)
        depth = self._depth(n_scenes, shape, generator)
        sigma = (sky + read_noise**2).sqrt() * depth

        sources = draw_sources(self.bank, config, psf, lowest, shape, generator)
        light = paste_sources(self.bank, sources, n_scenes, shape) * unit
        level = self._saturation_level(n_scenes, generator) * unit
        expected = sky + light
        noise = self._noise(expected, read_noise, generator) * depth
        charge = self._mix(n_scenes, shape, generator, self._defects())
        full = defects.bleed(light, level, generator)
        image = torch.minimum(expected + noise + charge * unit, sky + level)
        image = torch.where(full, sky + level, image)
        source = torch.minimum(light, level)

        mask = self._no_data(n_scenes, shape, generator)
        gain = uniform(config.gain, n_scenes, generator, log=True)
        image = torch.where(mask, 0, image) / gain
        source = source / gain
        catalog = self._catalog(sources, shape, unit, sigma, gain)
        return SceneBatch(
            image=image,
            source=source,
            background=image - source,
            sky=sky / gain,
            sigma=sigma / gain,
            mask=mask,
            psf=self.bank.psf[psf],
            fwhm=self.bank.fwhm[psf],
            catalog=catalog,
        )

    def _draw_psfs(self, n_scenes, generator):
        device = generator.device
        size = (n_scenes,)
        pick = torch.randint(len(self._psfs), size, generator=generator, device=device)
        return self._psfs[pick]

    def _some(self, probability, n_scenes, generator):
        """
        The numbers of the scenes that have an ingredient.
        """
        u = torch.rand(n_scenes, generator=generator, device=generator.device)
        return torch.nonzero(u < probability).flatten()

    def _lowest_snr(self, n_scenes, generator):
        """
        Where the flux law of each scene begins.
        """
        config = self.config
        low = torch.full((n_scenes, 1, 1, 1), config.snr_min, device=generator.device)
        if config.bright_probability:
            some = self._some(config.bright_probability, n_scenes, generator)
            bounds = (config.snr_min, config.snr_max[0])
            low[some] = uniform(bounds, len(some), generator, log=True)
        return low

    def _mix(self, n_scenes, shape, generator, ingredients):
        """
        The sum of ingredients, each made only for the scenes that have it.
        """
        total = torch.zeros(n_scenes, 1, *shape, device=generator.device)
        for probability, make in ingredients:
            some = self._some(probability, n_scenes, generator)
            if len(some):
                total[some] += make(len(some), shape, generator)
        return total

    def _structures(self):
        """
        What the sky adds to its mean, in noise sigma.
        """
        config = self.config

        def gradient(n_scenes, shape, generator):
            amplitude = uniform(config.gradient, n_scenes, generator)
            return skies.gradient(
                n_scenes, shape, amplitude, config.curvature, generator
            )

        def nebulosity(n_scenes, shape, generator):
            slope = uniform(config.nebulosity_slope, n_scenes, generator)
            scale = uniform(config.nebulosity_scale, n_scenes, generator, log=True)
            strength = uniform(config.nebulosity, n_scenes, generator, log=True)
            field = skies.nebulosity(n_scenes, shape, slope, scale, generator)
            return strength * field

        return (
            (config.gradient_probability, gradient),
            (config.nebulosity_probability, nebulosity),
        )

    def _defects(self):
        """
        What the detector and the sky add to the noise, in noise sigma.
        """
        config = self.config

        def cosmic_rays(n_scenes, shape, generator):
            density = uniform(config.cosmic_rays, n_scenes, generator, log=True)
            return defects.cosmic_rays(n_scenes, shape, density, generator)

        def hot_pixels(n_scenes, shape, generator):
            fraction = uniform(config.hot_pixels, n_scenes, generator, log=True)
            return defects.hot_pixels(n_scenes, shape, fraction, generator)

        return (
            (config.cosmic_ray_probability, cosmic_rays),
            (config.hot_pixel_probability, hot_pixels),
            (config.column_probability, defects.bad_lines),
            (config.trail_probability, defects.trails),
        )

    def _depth(self, n_scenes, shape, generator):
        config = self.config
        depth = torch.ones(n_scenes, 1, *shape, device=generator.device)
        some = self._some(config.depth_probability, n_scenes, generator)
        ratio = uniform(config.depth_steps, len(some), generator)
        depth[some] = skies.depth_map(len(some), shape, ratio, generator)
        return depth

    def _noise(self, expected, read_noise, generator):
        """
        Photon and read noise, in some scenes correlated.
        """
        config = self.config
        noise = torch.empty_like(expected)
        some = self._some(config.correlation_probability, len(expected), generator)
        white = torch.ones(len(expected), dtype=torch.bool, device=expected.device)
        white[some] = False
        noise[white] = _white_noise(expected[white], read_noise[white], generator)
        if len(some):
            # The kernel reaches beyond the edges of a scene: there is noise too.
            margin = [defects.KERNEL_RADIUS] * 4
            wider = functional.pad(expected[some], margin, mode='replicate')
            wider = _white_noise(wider, read_noise[some], generator)
            kernel = uniform(config.correlation, len(some), generator)
            noise[some] = defects.correlate(wider, kernel)
        return noise

    def _no_data(self, n_scenes, shape, generator):
        device = generator.device
        mask = torch.zeros(n_scenes, 1, *shape, dtype=torch.bool, device=device)
        some = self._some(self.config.no_data_probability, n_scenes, generator)
        mask[some] = defects.no_data(len(some), shape, generator)
        return mask

    def _saturation_level(self, n_scenes, generator):
        config = self.config
        level = torch.full((n_scenes, 1, 1, 1), torch.inf, device=generator.device)
        some = self._some(config.saturation_probability, n_scenes, generator)
        level[some] = uniform(config.saturation, len(some), generator, log=True)
        return level

    def _catalog(self, sources, shape, unit, sigma, gain):
        """
        The sources inside their scenes, S/N in the local noise, flux in counts.
        """
        x, y = sources['x'], sources['y']
        row, column = torch.round(y).long(), torch.round(x).long()
        inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
        catalog = {name: values[inside] for name, values in sources.items()}
        scene = catalog['scene']
        ratio = unit[scene, 0, 0, 0] / sigma[scene, 0, row[inside], column[inside]]
        scale = unit[scene, 0, 0, 0] / gain[scene, 0, 0, 0]
        return {
            'scene': scene,
            'x': catalog['x'],
            'y': catalog['y'],
            'flux': catalog['flux'] * scale,
            'snr': catalog['snr'] * ratio,
            'is_star': catalog['half_light_radius'] == 0,
            'half_light_radius': catalog['half_light_radius'],
        }


def _white_noise(expected, read_noise, generator):
    """
    The difference between observed and expected electrons.
    """
    photons = torch.poisson(expected, generator=generator)
    read = torch.randn(expected.shape, generator=generator, device=generator.device)
    return photons - expected + read_noise * read
