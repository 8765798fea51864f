"""
Additional inputs of the U-Net, besides the image itself.
"""

import math

import torch
from torch.nn import functional

__all__ = ['compress', 'noise_bands', 'sinusoidal_embedding']

# beyond, arcsinh(x) is ln(2 x) in any precision, and the square of x may overflow
_LARGE = 1e9


def compress(x):
    """
    Return arcsinh(x), except for rounding.

    Parameters
    ----------
    x : `~torch.Tensor`
        Any numbers, float32.

    Returns
    -------
    compressed : `~torch.Tensor`
        The same shape. Torch's own arcsinh computes one number at a time on CPUs.
    """
    size = x.abs()
    near = size.clamp(max=_LARGE)
    square = near.square()
    result = torch.log1p(near + square / (1 + torch.sqrt(1 + square)))
    result = result + torch.log((size / _LARGE).clamp(min=1))
    return torch.copysign(result, x)


def sinusoidal_embedding(values, n_channels, max_frequency):
    """
    Embed scalars as sines and cosines of log-spaced frequencies.

    Parameters
    ----------
    values : `~torch.Tensor`
        Scalars of shape (B,), here squared noise rates in [0, 1].

    n_channels : int
        The even number of channels.

    max_frequency : float
        The highest frequency, in cycles per unit; the lowest is one.

    Returns
    -------
    embedding : `~torch.Tensor`
        Shape (B, ``n_channels``): all sines, then all cosines.
    """
    exponents = torch.linspace(
        0.0,
        math.log(max_frequency),
        n_channels // 2,
        device=values.device,
    )
    phases = 2 * math.pi * torch.exp(exponents) * values[:, None]
    return torch.cat([torch.sin(phases), torch.cos(phases)], dim=1)


def noise_bands(x, n_bands):
    """
    Return the finest details of an image in bands of increasing frequency, each in
    units of its own noise.

    If noise is correlated, nearly all of its power is in low frequencies. A source as
    sharp as its pixels stands out in the high ones, but with amplitudes that are
    negligible beside the rest of the image. Giving each band the same noise whitens the
    noise, which is the first thing that the best linear detector does.

    Parameters
    ----------
    x : `~torch.Tensor`
        Images of shape (B, 1, H, W), float32; pixels without data are zero.

    n_bands : int
        The number of bands. The k-th is ``(1 - b)`` applied 2**k times, from
        k = 0, where b is the binomial smoothing of 3x3 pixels.

    Returns
    -------
    bands : `~torch.Tensor`
        Each band divided by its noise, which is measured from the median absolute value
        of each image; shape (B, n_bands, H, W), clipped at -6 and 6.
    """
    bands = []
    for k in range(n_bands):
        for _ in range(2 ** max(k - 1, 0)):
            x = x - _binomial(x)
        # A quarter of the pixels is enough; not the zeros of those without data.
        size = x[..., ::2, ::2].abs().flatten(1)
        # in two steps, as nanmedian takes twice the time; mostly all are known
        known = [one if one.all() else one[one > 0] for one in size]
        noise = [one.median() if len(one) else size.new_tensor(0.6745) for one in known]
        noise = torch.stack(noise) / 0.6745
        bands.append((x / noise.view(-1, 1, 1, 1)).clamp(-6, 6))
    return torch.cat(bands, dim=1)


def _binomial(x):
    x = functional.pad(x, (1, 1, 1, 1), mode='replicate')
    for axis in (-1, -2):
        n = x.shape[axis] - 2
        before, middle, after = (x.narrow(axis, start, n) for start in (0, 1, 2))
        x = (before + after).mul_(0.25).add_(middle, alpha=0.5)
    return x
