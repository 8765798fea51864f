"""
How many sources any detector could find: the limit for sources of known shapes.

A detector that knows the sky, the noise of every pixel and its correlation, the PSF,
the very stamps that the sources are made of, their number and the law of their fluxes
ranks the pixels by the odds of a source above S/N 2 there against none above S/N 1,
summed over stamps, fluxes and the nearest pixels. For one isolated source nothing can
do better (Neyman and Pearson 1933). Sources above S/N 5 (in the noise that there is,
whitened) are handed to it and their light is taken out exactly, so that it has neither
bright neighbors nor fragments to fight with. What it finds is an upper limit. Where
there is nebulosity it does not know the sky but only its power spectrum, and is the
best of all linear filters. Beside it, on the same scenes, bgrem, the oracle of the
suite and those of its peers that know the PSF::

    python benchmarks/limits.py --families flat correlated --n-scenes 10 -o limits.json

The file has the layout of the ``results.json`` of ``bgrem evaluate``.
"""

import argparse
import json
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import fft, ndimage

from bgrem.evaluate.curves import CONTAMINATIONS
from bgrem.evaluate.matching import MIN_SNR, NEUTRAL_SNR
from bgrem.evaluate.peers import PEERS, Detections, probability_peaks
from bgrem.evaluate.report import dated
from bgrem.evaluate.scenes import evaluation_bank, split_batch
from bgrem.evaluate.suite import DetectionSurvey
from bgrem.simulate import FAMILIES, SceneComposer
from bgrem.simulate.noise import KERNEL_RADIUS, correlate
from bgrem.simulate.sky import uniform
from bgrem.simulate.sources import MEDIUM_FRACTION, paste_sources
from bgrem.weights import load_weights

SIZE = 256
MARGIN = 32  # around the scene, where the whitening may go wrong
FOUND_SNR = 5.0
# Below this part of its mean the noise spectrum is not divided by.
FLOOR = 1e-5
SHAPE = (SIZE + 2 * MARGIN,) * 2
INNER = (slice(MARGIN, -MARGIN),) * 2
FAMILY_NAMES = (
    'flat', 'gradient', 'nebulosity', 'undersampled', 'broad', 'spikes', 'correlated'
)  # fmt: skip


class Composer(SceneComposer):
    """
    A composer that keeps what the detector has to know of its last scene.
    """

    def _catalog(self, sources, shape, unit, sigma, gain):
        self.sources, self.unit = sources, float(unit)
        row = torch.round(sources['y']).long().clamp(0, shape[0] - 1)
        column = torch.round(sources['x']).long().clamp(0, shape[1] - 1)
        # In the local noise, as the catalog has it.
        self.snr = sources['snr'] * self.unit / sigma[0, 0, row, column]
        return super()._catalog(sources, shape, unit, sigma, gain)

    def light(self, chosen):
        """
        The light of some of the sources, in counts.
        """
        sources = {name: values[chosen] for name, values in self.sources.items()}
        light = paste_sources(self.bank, sources, 1, SHAPE)[0, 0].numpy()
        return light * self.unit


def transfer(kernel_sigma):
    """
    How the correlation of the noise changes its amplitude at every frequency.
    """
    delta = torch.zeros(1, 1, *(n + 2 * KERNEL_RADIUS for n in SHAPE))
    delta[..., SHAPE[0] // 2 + KERNEL_RADIUS, SHAPE[1] // 2 + KERNEL_RADIUS] = 1
    kernel = correlate(delta, torch.full((1, 1, 1, 1), kernel_sigma))[0, 0].numpy()
    return fft.rfft2(fft.ifftshift(kernel.astype(float))).real


def nebulosity_transfer(composer, generator, n_scenes=8):
    """
    The same for white noise and nebulosity together, as if both were noise.
    """
    window = taper()
    power = 0.0
    for _ in range(n_scenes):
        batch = composer.compose(1, SHAPE, generator)
        sky, sigma = batch.sky[0, 0].numpy(), float(batch.sigma.mean())
        spectrum = abs(fft.fft2((sky - sky.mean()) / sigma * window)) ** 2
        power = power + spectrum / np.sum(window**2) / n_scenes
    # It depends on the wavelength alone: smooth it over rings of one frequency.
    frequency = np.hypot(*np.meshgrid(*(fft.fftfreq(n) * n for n in SHAPE)))
    ring = frequency.astype(int)
    mean = np.bincount(ring.ravel(), power.ravel()) / np.bincount(ring.ravel())
    return np.sqrt(1 + mean[ring])[:, : SHAPE[1] // 2 + 1]


def taper():
    """
    A window that falls to zero in the outer half of the margin.
    """
    ramp = np.sin(np.linspace(0, np.pi / 2, MARGIN // 2)) ** 2
    sides = [
        np.concatenate([ramp, np.ones(n - 2 * len(ramp)), ramp[::-1]]) for n in SHAPE
    ]
    return sides[0][:, None] * sides[1]


def templates(composer, psf, kind, inverse):
    """
    The stamps of one kind as the whitening leaves them, of unit S/N in white noise.
    """
    bank = composer.bank
    stamps = bank.stamps[kind][psf].float() * bank.scale[kind][psf, :, None, None]
    for stamp, norm in zip(stamps.numpy(), bank.norm[kind][psf], strict=True):
        canvas = np.zeros(SHAPE)
        canvas[: len(stamp), : len(stamp)] = stamp
        canvas = np.roll(canvas, (-(len(stamp) // 2),) * 2, (0, 1))
        canvas = fft.irfft2(fft.rfft2(canvas) * inverse, SHAPE)
        yield canvas * composer.unit / float(norm)


def fractions(config):
    """
    The fraction of the sources that are of each kind.
    """
    star = config.star_fraction[0]
    return {
        'star': star,
        'small_galaxy': (1 - star) * (1 - MEDIUM_FRACTION),
        'medium_galaxy': (1 - star) * MEDIUM_FRACTION,
    }


def odds_maps(residual, sigma, composer, psf, inverse, found_snr):
    """
    The odds of sources above S/N 2, and below S/N 1, at every pixel.
    """
    white = fft.irfft2(fft.rfft2(residual * taper()) * inverse, SHAPE)
    weight = 1 / sigma**2
    signal_f, weight_f = fft.rfft2(white * weight), fft.rfft2(weight)
    config = composer.config
    slope, high = config.flux_slope[0], config.snr_max[0]
    snr = np.geomspace(config.snr_min, 2 * found_snr, 25)
    law = snr**-slope  # per unit of log S/N
    law *= slope / (config.snr_min**-slope - high**-slope) * np.log(snr[1] / snr[0])
    odds = np.zeros((2, *SHAPE))
    for kind, fraction in fractions(config).items():
        stamps = list(templates(composer, psf, kind, inverse))
        for canvas in stamps:
            match = fft.irfft2(signal_f * fft.rfft2(canvas).conj(), SHAPE)
            power = fft.irfft2(weight_f * fft.rfft2(canvas**2).conj(), SHAPE)
            prior = config.density[0] * fraction / len(stamps)
            for s, p in zip(snr, law, strict=True):
                value = prior * p * np.exp(s * match - 0.5 * s**2 * power)
                # The S/N of the catalog is that in the local noise. A detection on
                # what is between the two counts neither way.
                local = s * composer.unit / sigma
                odds[0] += np.where(local > MIN_SNR, value, 0)
                odds[1] += np.where(local <= NEUTRAL_SNR, value, 0)
    return odds


def limit(scene, composer, response):
    """
    The detections of the ideal detector in the inner part of a scene.
    """
    psf = int(composer.sources['psf'][0])
    inverse = response / (response**2 + FLOOR)
    star = next(templates(composer, psf, 'star', inverse)) / composer.unit
    # As bright in the noise that there is as FOUND_SNR is in white noise.
    found_snr = FOUND_SNR / np.sqrt(np.sum(star**2))
    image, source, sky, sigma = (
        getattr(scene, name).astype(float)
        for name in ('image', 'source', 'sky', 'sigma')
    )
    level = sky.mean() if composer.config.nebulosity_probability else sky
    residual = image - source - level + composer.light(composer.snr <= found_snr)
    photons = sky + composer.config.read_noise[0] ** 2
    noise = sigma * np.sqrt(1 + source / photons)
    odds = odds_maps(residual, noise, composer, psf, inverse, found_snr)
    disc = np.hypot(*np.mgrid[-2:3, -2:3]) <= 2
    target, false = (ndimage.convolve(o, disc.astype(float)) for o in odds)
    score, odds = (target / (1 + target + false))[INNER], odds[0][INNER]
    peak = odds == ndimage.maximum_filter(odds, footprint=disc)
    y, x = np.nonzero(peak & (score > 1e-3))
    catalog = crop(scene).catalog
    bright = catalog['snr'] > found_snr
    return Detections(
        np.concatenate([x, catalog['x'][bright]]),
        np.concatenate([y, catalog['y'][bright]]),
        np.concatenate([score[y, x], np.full(bright.sum(), 2.0)]),
    )


def crop(scene):
    """
    The inner part of a scene.
    """
    images = {
        name: np.ascontiguousarray(getattr(scene, name)[INNER])
        for name in ('image', 'source', 'sky', 'sigma', 'mask')
    }
    catalog = dict(scene.catalog)
    inside = np.ones(len(catalog['x']), dtype=bool)
    for name in 'xy':
        catalog[name] = catalog[name] - MARGIN
        inside &= (catalog[name] > -0.5) & (catalog[name] < SIZE - 0.5)
    catalog = {name: values[inside] for name, values in catalog.items()}
    return replace(scene, **images, catalog=catalog)


def survey(family, bank, weights, n_scenes, seed):
    """
    Compare the detectors on one family.
    """
    ideal = []
    result = DetectionSurvey(
        {
            'limit': lambda _: ideal[-1],
            'oracle': PEERS['oracle'],
            'Background2D + matched filter': PEERS['Background2D + matched filter'],
            'sep matched': PEERS['sep matched'],
            weights.name: lambda scene: probability_peaks(
                scene.image, scene.mask, weights
            ),
        }
    )
    generator = torch.Generator().manual_seed(seed + zlib.crc32(family.encode()))
    config = FAMILIES[family]
    response = transfer(0.0)
    if config.nebulosity_probability:
        response = nebulosity_transfer(Composer(bank, config), generator)
    for _ in range(n_scenes):
        if config.correlation_probability:
            kernel = float(uniform(FAMILIES[family].correlation, 1, generator))
            config = replace(config, correlation=(kernel, kernel))
            response = transfer(kernel)
        composer = Composer(bank, config)
        (scene,) = split_batch(composer.compose(1, SHAPE, generator))
        ideal.append(limit(scene, composer, response))
        result.add(crop(scene))
    return {'detection': result.result()}


def main():
    """
    Print the table and write it to a file.
    """
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--families', nargs='+', default=FAMILY_NAMES)
    parser.add_argument('--weights', default='optical')
    parser.add_argument('--n-scenes', type=int, default=10)
    parser.add_argument('--seed', type=int, default=990_007)
    parser.add_argument('-o', '--output', type=Path, metavar='FILE', help='JSON')
    options = parser.parse_args()
    warnings.simplefilter('ignore')
    bank, weights = evaluation_bank(), load_weights(options.weights)
    print('true positives at 1, 2, 5, 10 and 20% contamination')
    results = {
        'suite': 'limits',
        'n_scenes': options.n_scenes,
        'size': SIZE,
        'seed': options.seed,
        'contaminations': list(CONTAMINATIONS),
        'weights': {weights.name: weights.sha256},
        'families': {},
    }
    for family in options.families:
        part = survey(family, bank, weights, options.n_scenes, options.seed)
        results['families'][family] = part
        for name, row in part['detection']['methods'].items():
            print(f'{family:15} {name:30}', *row['true_positives'], flush=True)
    if options.output:
        options.output.write_text(
            json.dumps(dated(results), indent=1) + '\n', encoding='utf-8'
        )


if __name__ == '__main__':
    main()
