"""
Wild scenes with skies and detectors that are not part of the training simulations.
"""

import numpy as np
from scipy import ndimage

from bgrem.evaluate.wild.painting import (
    SIGMA,
    SKY,
    grid,
    moffat,
    paint_field,
)
from bgrem.evaluate.wild.scene import make_scene

__all__ = [
    'amplifier_steps',
    'bias_stripes',
    'cirrus',
    'fringes',
    'one_over_f',
    'vignetting',
]

STEPS = (5, 15, 50, 150, 500)
STRIPES = (0.5, 1.0, 2.0, 3.0)
# How far from a step the sky is judged: a box of 32 px.
_BOX = 32


def _field(rng, size, density=2e-3):
    psf = moffat(rng.uniform(2.2, 4.5))
    return paint_field(rng, (size, size), psf, int(density * size**2)), psf


def amplifier_steps(rng, size, index):
    """
    Two or four amplifiers, with offsets of 5 to 500 sigma between them.
    """
    painted, psf = _field(rng, size)
    y, x = grid(size)
    step = STEPS[index % len(STEPS)] * SIGMA
    cut_x, cut_y = rng.integers(int(0.4 * size), int(0.6 * size) + 1, 2)
    sky = SKY + step * (x >= cut_x)
    near = abs(x + 0.5 - cut_x) < _BOX
    if index // len(STEPS) % 2:
        sky += rng.choice([-0.5, 0.5]) * step * (y >= cut_y)
        near |= abs(y + 0.5 - cut_y) < _BOX
    return make_scene(rng, painted, sky, psf, judged=~near)


def vignetting(rng, size, index):
    """
    A bright sky that decreases by a fifth to the corners, with rings of dust in it.
    """
    painted, psf = _field(rng, size)
    y, x = grid(size)
    center = size * rng.uniform(0.35, 0.65, 2)
    radius = np.hypot(y - center[0], x - center[1]) / size
    flat = 1 - rng.uniform(0.3, 0.5) * radius**2
    for _ in range(2 + index % 4):
        place = rng.uniform(0, size, 2)
        distance = np.hypot(y - place[0], x - place[1])
        outer = rng.uniform(0.05, 0.12) * size
        inside = ndimage.gaussian_filter(
            (distance < outer) & (distance > 0.4 * outer), 2.0, output=float
        )
        flat *= 1 - rng.uniform(0.02, 0.05) * inside
    sky = 4 * SKY * flat
    return make_scene(rng, painted, sky, psf, sigma=np.sqrt(sky + 25))


def fringes(rng, size, index):
    """
    Interference fringes of 1 to 4 sigma, 20 to 48 px wide and bent.
    """
    painted, psf = _field(rng, size)
    y, x = grid(size)
    amplitude = (1, 2, 3, 4)[index % 4] * SIGMA
    angle, wavelength = rng.uniform(0, np.pi), rng.uniform(20, 48)
    bend = ndimage.gaussian_filter(
        rng.standard_normal((size, size)), size / 6, mode='wrap'
    )
    phase = (np.cos(angle) * x + np.sin(angle) * y) / wavelength
    phase += 0.7 * bend / bend.std()
    sky = SKY + amplitude * np.sin(2 * np.pi * phase)
    return make_scene(rng, painted, sky, psf)


def cirrus(rng, size, index):
    """
    Clouds with a lognormal brightness: mostly faint, bright where they are dense.
    """
    painted, psf = _field(rng, size)
    wave = np.hypot(np.fft.fftfreq(2 * size)[:, None], np.fft.fftfreq(2 * size))
    amplitude = np.zeros_like(wave)
    large = wave > 0
    amplitude[large] = wave[large] ** -1.6 * np.exp(-((16 * wave[large]) ** 2))
    noise = np.fft.fft2(rng.standard_normal(wave.shape))
    field = np.real(np.fft.ifft2(noise * amplitude))[:size, :size]
    clouds = np.exp(1.2 * field / field.std())
    strength = (1, 2, 3, 5)[index % 4] * SIGMA
    sky = SKY + strength * (clouds - clouds.mean()) / clouds.std()
    return make_scene(rng, painted, sky, psf)


def one_over_f(rng, size, index):
    """
    Rows with 1/f noise of 0.5 to 3 sigma, as from an infrared detector.
    """
    painted, psf = _field(rng, size)
    frequency = np.fft.rfftfreq(8 * size)
    amplitude = np.zeros_like(frequency)
    amplitude[1:] = frequency[1:] ** -0.5
    spectrum = np.fft.rfft(rng.standard_normal(8 * size)) * amplitude
    rows = np.fft.irfft(spectrum, 8 * size)[:size]
    rows -= rows.mean()
    rows *= STRIPES[index % len(STRIPES)] * SIGMA / rows.std()
    stripes = np.repeat(rows[:, None], size, axis=1)
    return make_scene(rng, painted, SKY, psf, stripes=stripes)


def bias_stripes(rng, size, index):
    """
    Columns with individual biases of 0.5 to 3 sigma.
    """
    painted, psf = _field(rng, size)
    columns = rng.standard_normal(size)
    columns -= columns.mean()
    columns *= STRIPES[index % len(STRIPES)] * SIGMA / columns.std()
    stripes = np.repeat(columns[None], size, axis=0)
    return make_scene(rng, painted, SKY, psf, stripes=stripes)
