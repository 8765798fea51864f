# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A camera with fringes, for benchmarks/camera.py.

Thin CCDs show the lines of the night sky as interference fringes: light that goes
through the silicon and back again meets itself 2 n d later, and a pixel is brighter or
fainter by the cosine of that phase. The thickness d belongs to the chip; the lines
change from frame to frame.
"""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from astropy.io import fits
from scipy import ndimage

from bgrem.evaluate.scenes import Scene, family_scenes

CHIP_SIZE = 1024  # pixels
GAIN = 2.0  # electrons per count
READ_NOISE = 5.0  # electrons
INDEX = 3.65  # of silicon at 0.9 micrometres
THICKNESS = 40.0  # micrometres
# One fringe is lambda / (2 n) = 0.13 micrometres of thickness. A relief with this
# standard deviation, smooth over so many pixels, makes fringes of 10 to 60 px.
RELIEF = 0.35
SMOOTHNESS = 60
# Bands of the airglow of OH in a z filter: micrometres, and shares of the light.
LINES = {0.8827: 0.15, 0.8919: 0.2, 0.9376: 0.25, 0.9502: 0.2, 0.9700: 0.2}
LINE_SCATTER = 0.15  # of the shares, from frame to frame
# Blank frames: the sky in electrons, and the fringes as a part of it.
BLANK_SKY = (3000.0, 20000.0)
BLANK_AMPLITUDE = (0.005, 0.04)
N_CHIPS = 4
N_BLANK = 5  # of each chip
# Judged are other nights, amplitude and sky, on the same chips and on one of which
# there is no blank frame.
NIGHTS = ((0.015, 6000.0), (0.03, 9000.0), (0.05, 16000.0))
# Of no training, nor of another evaluation.
SEED = 990_041
SMOOTH_MAP = 1.5  # pixels


@dataclass(frozen=True, kw_only=True)
class Exposure(Scene):
    """A scene, and where it lies on which chip."""

    chip: int
    corner: tuple


@cache
def thickness(chip):
    """
    Return the thickness of a chip in micrometres, each with a relief of its own.
    """
    rng = np.random.default_rng([SEED, chip])
    shape = (CHIP_SIZE, CHIP_SIZE)
    relief = ndimage.gaussian_filter(rng.standard_normal(shape), SMOOTHNESS)
    return THICKNESS + RELIEF * (relief - relief.mean()) / relief.std()


def fringe_pattern(depth, lines):
    """
    Return what interference adds to the light of some lines, as a part of it.

    Parameters
    ----------
    depth : 2D `~numpy.ndarray` of float
        Thickness of the silicon in micrometres.
    lines : dict of float to float
        The light of each line, by its wavelength in micrometres.

    Returns
    -------
    pattern : 2D `~numpy.ndarray` of float
        Mean of the cosines: from -1 to 1 where one line has all the light.
    """
    # twice through silicon of index n: the phase is 2 pi (2 n d) / lambda
    phases = {line: 4 * np.pi * INDEX * depth / line for line in lines}
    return sum(
        light / sum(lines.values()) * np.cos(phases[line])
        for line, light in lines.items()
    )


def blank_sky(chip, sky, amplitude, rng):
    """
    Return the sky that one exposure of a chip sees, without noise.

    Parameters
    ----------
    chip : int
        Number of the chip.
    sky : float
        Mean level in electrons.
    amplitude : float
        That of a sine with the standard deviation of the fringes, as a part of the
        sky.
    rng : `~numpy.random.Generator`
        Source of the light of the lines.

    Returns
    -------
    sky : 2D `~numpy.ndarray` of float
        In electrons.
    """
    scatter = np.exp(LINE_SCATTER * rng.standard_normal(len(LINES)))
    lines = dict(zip(LINES, scatter * [*LINES.values()], strict=True))
    pattern = fringe_pattern(thickness(chip), lines)
    pattern = (pattern - pattern.mean()) / (np.sqrt(2) * pattern.std())
    return sky * (1 + amplitude * pattern)


def expose(electrons, rng):
    """
    Return counts with photon noise and read noise, of expected electrons.
    """
    noise = READ_NOISE * rng.standard_normal(electrons.shape)
    return ((rng.poisson(electrons) + noise) / GAIN).astype(np.float32)


def write_blank_frames(folder):
    """
    Write `N_BLANK` blank frames of each of `N_CHIPS` chips, in counts, into a folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for chip in range(N_CHIPS):
        for number in range(N_BLANK):
            rng = np.random.default_rng([SEED, chip, number])
            sky = np.exp(rng.uniform(*np.log(BLANK_SKY)))
            amplitude = rng.uniform(*BLANK_AMPLITUDE)
            hdu = fits.PrimaryHDU(expose(blank_sky(chip, sky, amplitude, rng), rng))
            hdu.header['GAIN'] = GAIN, 'electrons per count'
            hdu.header['CHIP'] = chip
            hdu.header['FRINGES'] = round(amplitude, 4), 'amplitude / sky'
            hdu.writeto(folder / f'blank_{chip}_{number}.fits', overwrite=True)


def fringe_maps(folder):
    """
    Return the fringe map of each chip, the classical remedy, from its blank frames.

    Parameters
    ----------
    folder : path-like
        What `write_blank_frames` wrote.

    Returns
    -------
    maps : dict of int to 2D `~numpy.ndarray` of float
        Mean of the frames by their levels, less one, a little smoothed.
    """
    maps = {}
    for chip in range(N_CHIPS):
        frames = map(fits.getdata, sorted(Path(folder).glob(f'blank_{chip}_*.fits')))
        mean = np.mean([frame / np.median(frame) - 1 for frame in frames], axis=0)
        maps[chip] = ndimage.gaussian_filter(mean, SMOOTH_MAP)
    return maps


def without_fringes(exposure, maps):
    """
    Return an exposure less the fringe map of its chip.

    Its amplitude is fitted three times, each without the pixels 3 sigma off. An
    exposure of a chip that has no map stays as it is.
    """
    if exposure.chip not in maps:
        return exposure
    y, x = exposure.corner
    height, width = exposure.image.shape
    part = maps[exposure.chip][y : y + height, x : x + width]
    basis = np.stack([np.ones(part.size), part.ravel()], axis=1)
    data, good = exposure.image.ravel(), np.ones(part.size, bool)
    for _ in range(3):
        fit = np.linalg.lstsq(basis[good], data[good])[0]
        residual = data - basis @ fit
        spread = 1.4826 * np.median(abs(residual - np.median(residual)))
        good = abs(residual) < 3 * spread
    return replace(exposure, image=exposure.image - np.float32(fit[1]) * part)


def exposures(chips, night, n_scenes, size, bank, seed):
    """
    Yield exposures of one night, with the light of stars and galaxies.

    Parameters
    ----------
    chips : sequence of int
        The chips, one after the other.
    night : tuple of float
        Amplitude of the fringes as a part of the sky, and the sky in electrons.
    n_scenes, size : int
        Number of the exposures, and their side in pixels.
    bank : `~bgrem.simulate.StampBank`
        Stamps of the sources.
    seed : int
        The same seed gives the same exposures.

    Yields
    ------
    exposure : `Exposure`
        The S/N of its sources is that in the noise of the mean sky.
    """
    amplitude, level = night
    sigma = np.sqrt(level + READ_NOISE**2)
    scenes = family_scenes(bank, 'flat', n_scenes, size, seed)
    for number, scene in enumerate(scenes):
        rng = np.random.default_rng([seed, number])
        chip = chips[number % len(chips)]
        y, x = rng.integers(0, CHIP_SIZE - size + 1, 2)
        sky = blank_sky(chip, level, amplitude, rng)
        sky = sky[y : y + size, x : x + size]
        source = scene.source / scene.sigma * sigma
        ratio = sigma / scene.sigma.mean() / GAIN
        catalog = scene.catalog | {'flux': scene.catalog['flux'] * ratio}
        yield Exposure(
            image=expose(sky + source, rng),
            source=(source / GAIN).astype(np.float32),
            sky=(sky / GAIN).astype(np.float32),
            sigma=(np.sqrt(sky + READ_NOISE**2) / GAIN).astype(np.float32),
            mask=scene.mask,
            psf=scene.psf,
            fwhm=scene.fwhm,
            catalog=catalog,
            chip=chip,
            corner=(int(y), int(x)),
        )
