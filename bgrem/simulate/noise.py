"""
Noise and detector defects.
"""

import torch
from torch.nn import functional

from .sky import uniform

__all__ = [
    'bad_lines',
    'bleed',
    'correlate',
    'cosmic_rays',
    'hot_pixels',
    'no_data',
    'trails',
]

# Where the kernel that correlates the noise is cut off, in pixels.
KERNEL_RADIUS = 4
# Samples along a cosmic-ray track, half a pixel apart.
_N_TRACK = 64


def correlate(noise, sigma):
    """
    Correlate white noise with a Gaussian kernel, keeping its variance, as when an
    image is resampled.

    Parameters
    ----------
    noise : `~torch.Tensor`
        White noise, shape (B, 1, H + 8, W + 8): 4 px more at each side than
        is returned, as the kernel ends there.

    sigma : `~torch.Tensor`
        The standard deviation of the kernel in pixels, shape (B, 1, 1, 1);
        zero leaves a scene unchanged.

    Returns
    -------
    noise : `~torch.Tensor`
        The correlated noise, shape (B, 1, H, W).
    """
    offsets = torch.arange(-KERNEL_RADIUS, KERNEL_RADIUS + 1, device=noise.device)
    kernel = torch.exp(-0.5 * (offsets / sigma.view(-1, 1).clamp(min=1e-3)) ** 2)
    kernel = kernel / kernel.square().sum(1, keepdim=True).sqrt()
    n_scenes = len(noise)
    noise = noise.transpose(0, 1)
    noise = functional.conv2d(noise, kernel[:, None, None, :], groups=n_scenes)
    noise = functional.conv2d(noise, kernel[:, None, :, None], groups=n_scenes)
    return noise.transpose(0, 1)


def cosmic_rays(n_scenes, shape, density, generator):
    """
    Straight, unresolved tracks of deposited charge.

    Parameters
    ----------
    n_scenes : int
        The number of scenes.

    shape : tuple of int
        Height and width.

    density : `~torch.Tensor`
        Cosmic rays per square megapixel, shape (n_scenes, 1, 1, 1).

    generator : `~torch.Generator`
        The source of randomness.

    Returns
    -------
    charge : `~torch.Tensor`
        Shape (n_scenes, 1, height, width), in noise sigma.
    """
    device = generator.device
    height, width = shape
    count = torch.poisson(density.flatten() * height * width / 1e6, generator=generator)
    scene = torch.repeat_interleave(torch.arange(n_scenes, device=device), count.long())

    def draw(low, high):
        u = torch.rand(len(scene), 1, generator=generator, device=device)
        return low + (high - low) * u

    y, x, angle = draw(0, height), draw(0, width), draw(0, 2 * torch.pi)
    # Most tracks are short, a few cross tens of pixels.
    length = (-4 * torch.log(draw(1e-4, 1))).clamp(max=_N_TRACK / 2)
    peak = 5 * torch.exp(2 * draw(0, 2.5))
    step = torch.arange(_N_TRACK, device=device) / 2
    bend = draw(-0.03, 0.03) * step
    row = (y + step * torch.sin(angle + bend)).long()
    column = (x + step * torch.cos(angle + bend)).long()
    ok = (step <= length) & (row >= 0) & (row < height)
    ok &= (column >= 0) & (column < width)
    charge = torch.zeros(n_scenes * height * width, device=device)
    index = (scene[:, None] * height + row) * width + column
    # Unequal charge along the track, as thin detectors record it.
    jitter = 0.3 + torch.rand(row.shape, generator=generator, device=device)
    charge.index_add_(0, index[ok], (0.5 * peak * jitter)[ok])
    return charge.view(n_scenes, 1, height, width)


def hot_pixels(n_scenes, shape, fraction, generator):
    """
    Single pixels with too much signal (two thirds) or none (one third).

    Parameters
    ----------
    n_scenes : int
        The number of scenes.

    shape : tuple of int
        Height and width.

    fraction : `~torch.Tensor`
        The fraction of such pixels, shape (n_scenes, 1, 1, 1).

    generator : `~torch.Generator`
        The source of randomness.

    Returns
    -------
    charge : `~torch.Tensor`
        Shape (n_scenes, 1, height, width), in noise sigma.
    """
    device = generator.device
    size = (n_scenes, 1, *shape)
    u = torch.rand(size, generator=generator, device=device)
    depth = torch.rand(size, generator=generator, device=device)
    charge = 4 * torch.exp(5 * depth)
    charge = torch.where(u < fraction / 3, -5 - 20 * depth, charge)
    return torch.where(u < fraction, charge, 0)


def bad_lines(n_scenes, shape, generator):
    """
    One to three bad columns or rows, offset along their whole length.

    Parameters
    ----------
    n_scenes : int
        The number of scenes.

    shape : tuple of int
        Height and width.

    generator : `~torch.Generator`
        The source of randomness.

    Returns
    -------
    charge : `~torch.Tensor`
        Shape (n_scenes, 1, height, width), in noise sigma.
    """
    device = generator.device
    height, width = shape
    charge = torch.zeros(n_scenes, 1, height, width, device=device)
    y = torch.arange(height, device=device)[:, None].expand(height, width)
    x = torch.arange(width, device=device).expand(height, width)
    row_wise = torch.rand(n_scenes, 1, 1, 1, generator=generator, device=device) < 0.3
    for _ in range(3):
        place = torch.rand(n_scenes, 1, 1, 1, generator=generator, device=device)
        offset = uniform((-8, 25), n_scenes, generator)
        line = torch.where(row_wise, y == (place * height).long(),
                           x == (place * width).long())  # fmt: skip
        charge = torch.where(line, charge + offset, charge)
    return charge


def trails(n_scenes, shape, generator):
    """
    A straight satellite trail, a few pixels wide, that may end in the scene.

    It glints as a tumbling satellite does, and the seeing breaks it up into knots
    that lie a little off its axis.

    Parameters
    ----------
    n_scenes : int
        The number of scenes.

    shape : tuple of int
        Height and width.

    generator : `~torch.Generator`
        The source of randomness.

    Returns
    -------
    charge : `~torch.Tensor`
        Shape (n_scenes, 1, height, width), in noise sigma.
    """
    device = generator.device
    height, width = shape
    y = torch.arange(height, device=device)[:, None] - uniform(
        (0, height), n_scenes, generator
    )
    x = torch.arange(width, device=device) - uniform((0, width), n_scenes, generator)
    angle = uniform((0, torch.pi), n_scenes, generator)
    across = x * torch.sin(angle) - y * torch.cos(angle)
    along = x * torch.cos(angle) + y * torch.sin(angle)
    sigma = uniform((0.8, 3.0), n_scenes, generator)
    peak = uniform((1, 60), n_scenes, generator, log=True)
    glint = uniform((0, 0.6), n_scenes, generator)
    period = uniform((10, 80), n_scenes, generator)
    peak = peak * (1 + glint * torch.sin(along * 2 * torch.pi / period))
    knots = uniform((0, 0.8), n_scenes, generator)
    peak = peak * (1 + knots * _wander(along, sigma, generator)).clamp(min=0)
    wobble = uniform((0, 0.8), n_scenes, generator)
    across = across + wobble * _wander(along, 2 * sigma, generator)
    # One trail in five begins or ends here.
    half = 0.5 * (height + width)
    for side in (-1, 1):
        end = uniform((0, 3 * half), n_scenes, generator)
        peak = peak * torch.sigmoid(2 * (end - side * along) / sigma)
    return peak * torch.exp(-0.5 * (across / sigma) ** 2)


def _wander(position, scale, generator):
    """
    Smooth Gaussian noise of unit variance along a line.

    Parameters
    ----------
    position : `~torch.Tensor`
        Positions on the line of each scene in pixels, shape (B, 1, H, W).

    scale : `~torch.Tensor`
        The standard deviation of the kernel that smooths it, shape (B, 1, 1, 1).

    generator : `~torch.Generator`
        The source of randomness.

    Returns
    -------
    values : `~torch.Tensor`
        The shape of ``position``.
    """
    n_scenes, _, height, width = position.shape
    length = 4 * (height + width)
    device = generator.device
    white = torch.randn(n_scenes, length, generator=generator, device=device)
    frequency = torch.fft.rfftfreq(length, device=device)
    kernel = torch.exp(-2 * (torch.pi * frequency * scale.view(-1, 1)) ** 2)
    values = torch.fft.irfft(torch.fft.rfft(white) * kernel, length)
    values = values / values.std(dim=1, keepdim=True)
    place = (position.flatten(1) + length / 2).long()
    return values.gather(1, place).view(position.shape)


def bleed(signal, level, generator):
    """
    Saturate a signal and let the brightest cores bleed along columns.

    Parameters
    ----------
    signal : `~torch.Tensor`
        The expected signal above the sky, shape (B, 1, H, W).

    level : `~torch.Tensor`
        The saturation level above the sky, shape (B, 1, 1, 1); infinite for
        none.

    generator : `~torch.Generator`
        The source of randomness.

    Returns
    -------
    trail : `~torch.Tensor`
        Whether a pixel is filled by bleeding charge, bool.
    """
    trail = signal > 4 * level
    length = int(
        torch.randint(3, 30, (1,), generator=generator, device=generator.device)
    )
    some = trail.flatten(1).any(dim=1)
    if some.any():
        core = trail[some].float()
        window = (2 * length + 1, 1)
        trail[some] = functional.max_pool2d(core, window, 1, (length, 0)) > 0
    return trail


def no_data(n_scenes, shape, generator):
    """
    Pixels without data: a border strip on one side, or a rectangular hole.

    Parameters
    ----------
    n_scenes : int
        The number of scenes.

    shape : tuple of int
        Height and width.

    generator : `~torch.Generator`
        The source of randomness.

    Returns
    -------
    mask : `~torch.Tensor`
        Shape (n_scenes, 1, height, width), `True` where there is no data.
    """
    device = generator.device
    y = torch.linspace(0, 1, shape[0], device=device)[:, None]
    x = torch.linspace(0, 1, shape[1], device=device)
    center = [uniform((0, 1), n_scenes, generator) for _ in range(2)]
    half = [uniform((0.01, 0.2), n_scenes, generator) for _ in range(2)]
    hole = ((y - center[0]).abs() < half[0]) & ((x - center[1]).abs() < half[1])
    angle = uniform((0, 2 * torch.pi), n_scenes, generator)
    edge = uniform((0.25, 0.6), n_scenes, generator)
    border = (x - 0.5) * torch.cos(angle) + (y - 0.5) * torch.sin(angle) > edge
    kind = torch.rand(n_scenes, 1, 1, 1, generator=generator, device=device)
    return torch.where(kind < 0.5, hole, border)
