"""
Sky structure (gradients, nebulosity, mosaics) in units of the noise.
"""

import torch
from torch.nn import functional

__all__ = ['depth_map', 'gradient', 'low_pass', 'nebulosity', 'uniform']


def uniform(bounds, n_scenes, generator, *, log=False):
    """
    Draw one value per scene from a range.

    Parameters
    ----------
    bounds : tuple of float
        The range (low, high).

    n_scenes : int
        The number of values.

    generator : `~torch.Generator`
        The source of randomness; the values are on its device.

    log : bool, optional
        Whether to draw log-uniformly.

    Returns
    -------
    values : `~torch.Tensor`
        Shape (n_scenes, 1, 1, 1).
    """
    low, high = bounds
    u = torch.rand(n_scenes, 1, 1, 1, generator=generator, device=generator.device)
    return low * (high / low) ** u if log else low + (high - low) * u


def gradient(n_scenes, shape, amplitude, curvature, generator):
    """
    Return a tilt in a random direction, plus a curvature.

    Parameters
    ----------
    n_scenes : int
        The number of scenes.

    shape : tuple of int
        Height and width.

    amplitude : `~torch.Tensor`
        The change from one end of the scene to the other along the tilt,
        shape (n_scenes, 1, 1, 1).

    curvature : float
        The largest coefficient of the parabola relative to the tilt.

    generator : `~torch.Generator`
        The source of randomness.

    Returns
    -------
    sky : `~torch.Tensor`
        Shape (n_scenes, 1, height, width), of zero mean.
    """
    device = generator.device
    y = torch.linspace(-0.5, 0.5, shape[0], device=device)[:, None]
    x = torch.linspace(-0.5, 0.5, shape[1], device=device)
    angle = uniform((0, 2 * torch.pi), n_scenes, generator)
    along = x * torch.cos(angle) + y * torch.sin(angle)
    center = uniform((-0.5, 0.5), n_scenes, generator)
    bend = uniform((-curvature, curvature), n_scenes, generator)
    sky = amplitude * (along + 4 * bend * (along - center) ** 2)
    return sky - sky.mean(dim=(-2, -1), keepdim=True)


def nebulosity(n_scenes, shape, slope, smallest, generator):
    """
    Return random fields of unit variance: Gaussian, clumpy (lognormal) and ridged.

    Parameters
    ----------
    n_scenes : int
        The number of scenes.

    shape : tuple of int
        Height and width.

    slope : `~torch.Tensor`
        The exponent of the power spectrum, shape (n_scenes, 1, 1, 1).

    smallest : `~torch.Tensor`
        The smallest wavelength in pixels, same shape.

    generator : `~torch.Generator`
        The source of randomness.

    Returns
    -------
    field : `~torch.Tensor`
        Shape (n_scenes, 1, height, width), mean zero and variance one.
    """
    device = generator.device
    # Twice the size, so that the field is not periodic within the scene.
    size = (2 * shape[0], 2 * shape[1])
    white = torch.randn(n_scenes, 1, *size, generator=generator, device=device)
    frequency = torch.hypot(
        torch.fft.fftfreq(size[0], device=device)[:, None],
        torch.fft.rfftfreq(size[1], device=device),
    )
    frequency[0, 0] = torch.inf
    # The power law by its logarithm: one exponential, faster than a power.
    field = _filter(white, torch.exp(slope / 2 * frequency.log()))
    field = _standardise(field)
    kind = torch.rand(n_scenes, generator=generator, device=device)
    field[kind < 1 / 3] = torch.exp(0.8 * field[kind < 1 / 3])
    field[kind > 2 / 3] = -field[kind > 2 / 3].abs()
    # Only now, as exponentials and ridges make small scales of their own.
    frequency[0, 0] = 0
    field = _filter(field, torch.exp(-((frequency * smallest) ** 2)))
    return _standardise(field[..., : shape[0], : shape[1]])


def _filter(field, transfer):
    return torch.fft.irfft2(torch.fft.rfft2(field) * transfer, s=field.shape[-2:])


def _standardise(field):
    field = field - field.mean(dim=(-2, -1), keepdim=True)
    variance = field.square().mean(dim=(-2, -1), keepdim=True)
    return field / variance.sqrt().clamp(min=1e-6)


def depth_map(n_scenes, shape, ratio, generator):
    """
    Return the noise of a mosaic relative to its deepest panel: steps at one or two
    straight edges.

    Parameters
    ----------
    n_scenes : int
        The number of scenes.

    shape : tuple of int
        Height and width.

    ratio : `~torch.Tensor`
        The ratio of the noise across an edge, shape (n_scenes, 1, 1, 1).

    generator : `~torch.Generator`
        The source of randomness.

    Returns
    -------
    depth : `~torch.Tensor`
        Shape (n_scenes, 1, height, width), at least one.
    """
    device = generator.device
    y = torch.linspace(0, 1, shape[0], device=device)[:, None]
    x = torch.linspace(0, 1, shape[1], device=device)
    depth = torch.ones(n_scenes, 1, *shape, device=device)
    for axis in (x.expand(shape), y.expand(shape)):
        edge = uniform((0.15, 0.85), n_scenes, generator)
        flip = torch.rand(n_scenes, 1, 1, 1, generator=generator, device=device) < 0.5
        used = torch.rand(n_scenes, 1, 1, 1, generator=generator, device=device) < 0.75
        beyond = ((axis > edge) ^ flip) & used
        depth = torch.where(beyond, depth * ratio, depth)
    return depth


def low_pass(image, box):
    """
    Return an image as seen by a mesh: means of boxes, interpolated linearly.

    Parameters
    ----------
    image : `~torch.Tensor`
        Shape (B, 1, H, W).

    box : int
        The box size in pixels.

    Returns
    -------
    smooth : `~torch.Tensor`
        The shape of ``image``.
    """
    height, width = image.shape[-2:]
    cells = (max(1, round(height / box)), max(1, round(width / box)))
    mesh = functional.adaptive_avg_pool2d(image, cells)
    return functional.interpolate(mesh, size=(height, width), mode='bilinear')
