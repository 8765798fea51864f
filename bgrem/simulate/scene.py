"""
Composes scenes from a stamp bank, on the CPU or a GPU, on the fly.
"""

from dataclasses import dataclass

import torch

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
        All the rest: sky, noise and defects.

    sky : `~torch.Tensor`
        The true sky without noise.

    sigma : `~torch.Tensor`
        The standard deviation of the noise of the sky.

    mask : `~torch.Tensor`
        `True` where there is no data.

    psf : `~torch.Tensor`
        The PSF of each scene, unit sum, shape (B, 33, 33).

    fwhm : `~torch.Tensor`
        Its full width at half maximum in pixels, shape (B,).

    catalog : dict of `~torch.Tensor`
        One entry per source whose centre is inside its scene: ``scene``
        (number), ``x``, ``y`` (pixels, 0 at the centre of the first one),
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
        The stamps, on the device on which scenes are to be made.

    config : `SceneConfig`
        The ingredients.

    Raises
    ------
    ValueError
        If the bank holds no PSF that ``config`` allows.
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
        pick = torch.randint(
            len(self._psfs), (n_scenes,), generator=generator, device=generator.device
        )
        psf = self._psfs[pick]
        mean_sky = uniform(config.sky, n_scenes, generator, log=True)
        read_noise = uniform(config.read_noise, n_scenes, generator)
        # Noise sigma of the mean sky: the unit of every structure below.
        unit = (mean_sky + read_noise**2).sqrt()
        structure = self._sky_structure(n_scenes, shape, generator)
        # Darkest clouds still let a tenth of the sky through.
        sky = torch.maximum(mean_sky + unit * structure, 0.1 * mean_sky)
        depth = self._depth(n_scenes, shape, generator)
        sigma = (sky + read_noise**2).sqrt() * depth

        sources = draw_sources(self.bank, config, psf, shape, generator)
        light = paste_sources(self.bank, sources, n_scenes, shape) * unit
        level = self._saturation_level(n_scenes, generator) * unit
        expected = sky + light
        photons = torch.poisson(expected, generator=generator) - expected
        photons += read_noise * self._normal(photons.shape, generator)
        photons = defects.correlate(photons, self._correlation(n_scenes, generator))
        charge = self._defects(n_scenes, shape, generator)
        full = defects.bleed(light, level, generator)
        image = expected + photons * depth + charge * unit
        image = torch.where(full, sky + level, torch.minimum(image, sky + level))
        source = torch.minimum(light, level)

        mask = defects.no_data(
            n_scenes, shape, self._chosen(config.no_data_probability, n_scenes,
                                          generator), generator)  # fmt: skip
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

    def _chosen(self, probability, n_scenes, generator):
        u = torch.rand(n_scenes, 1, 1, 1, generator=generator, device=generator.device)
        return u < probability

    def _normal(self, shape, generator):
        return torch.randn(shape, generator=generator, device=generator.device)

    def _sky_structure(self, n_scenes, shape, generator):
        """
        Sky minus its mean, in noise sigma.
        """
        config = self.config
        amplitude = uniform(config.gradient, n_scenes, generator)
        chosen = self._chosen(config.gradient_probability, n_scenes, generator)
        structure = skies.gradient(
            n_scenes, shape, amplitude * chosen, config.curvature, generator
        )
        chosen = self._chosen(config.nebulosity_probability, n_scenes, generator)
        if chosen.any():
            field = skies.nebulosity(
                n_scenes,
                shape,
                uniform(config.nebulosity_slope, n_scenes, generator),
                uniform(config.nebulosity_scale, n_scenes, generator, log=True),
                generator,
            )
            strength = uniform(config.nebulosity, n_scenes, generator, log=True)
            structure = structure + field * strength * chosen
        return structure

    def _depth(self, n_scenes, shape, generator):
        config = self.config
        ratio = uniform(config.depth_steps, n_scenes, generator)
        chosen = self._chosen(config.depth_probability, n_scenes, generator)
        ratio = torch.where(chosen, ratio, 1.0)
        return skies.depth_map(n_scenes, shape, ratio, generator)

    def _correlation(self, n_scenes, generator):
        config = self.config
        kernel = uniform(config.correlation, n_scenes, generator)
        chosen = self._chosen(config.correlation_probability, n_scenes, generator)
        return torch.where(chosen, kernel, 0)

    def _saturation_level(self, n_scenes, generator):
        config = self.config
        level = uniform(config.saturation, n_scenes, generator, log=True)
        chosen = self._chosen(config.saturation_probability, n_scenes, generator)
        return torch.where(chosen, level, torch.inf)

    def _defects(self, n_scenes, shape, generator):
        config = self.config
        density = uniform(config.cosmic_rays, n_scenes, generator, log=True)
        density *= self._chosen(config.cosmic_ray_probability, n_scenes, generator)
        charge = defects.cosmic_rays(n_scenes, shape, density, generator)
        fraction = uniform(config.hot_pixels, n_scenes, generator, log=True)
        fraction *= self._chosen(config.hot_pixel_probability, n_scenes, generator)
        charge += defects.hot_pixels(n_scenes, shape, fraction, generator)
        chosen = self._chosen(config.column_probability, n_scenes, generator)
        if chosen.any():
            charge += defects.bad_lines(n_scenes, shape, chosen, generator)
        chosen = self._chosen(config.trail_probability, n_scenes, generator)
        if chosen.any():
            charge += defects.trails(n_scenes, shape, chosen, generator)
        return charge

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
