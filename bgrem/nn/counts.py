"""
What a network sees of photon counts, and what its output means.

A pixel of the data is a number of photons; its expected level, from a mean over many
pixels, is known beforehand. What counts deviate by is stabilised by that level, and the
level itself is an input, so that one network serves from one photon in hundreds of
pixels to thousands in each.
"""

import math
import os

import torch
from torch.nn import functional

__all__ = ['N_FEATURES', 'count_features', 'expected_counts']

KIND = os.environ.get('KIND', 'asinh')
N_FEATURES = {'both':3,'scales':5}.get(KIND,2)

# In counts: below it the noise of a pixel is not that of its expected level.
_FLOOR = 0.25
_LEVELS = (1e-3, 1e4)
_LARGEST = 16.0  # sinh of it is beyond any detector; keeps an untrained network finite
_MAX_LOG_RATIO = 6.0


def count_features(counts, level):
    """
    Prepare counts for the network.

    Parameters
    ----------
    counts : `~torch.Tensor`
        Photons, or expected counts, shape (B, 1, H, W).

    level : `~torch.Tensor`
        The expected counts of the sky there, not negative; same shape.

    Returns
    -------
    features : `~torch.Tensor`
        Shape (B, `N_FEATURES`, H, W).
    """
    low, high = _LEVELS
    condition = (level.clamp(low, high).log() - 1) / 4
    a = torch.arcsinh((counts - level) / torch.sqrt(level + _FLOOR))
    b = torch.arcsinh(2 * (torch.sqrt(counts.clamp(min=0) + .375) - torch.sqrt(level + .375)))
    if KIND == 'asinh':
        return torch.cat([a, condition], dim=1)
    if KIND == 'anscombe':
        return torch.cat([b, condition], dim=1)
    if KIND == 'scales':
        return torch.cat([a, *smoothed(counts, level), condition], dim=1)
    if KIND == 'both':
        return torch.cat([a, b, condition], dim=1)
    if KIND == 'logratio':
        return torch.cat([torch.log((counts + .5) / (level + .5)) * torch.sqrt(level.clamp(max=30) + .25), condition], dim=1)
    if KIND == 'linear':
        x = (counts - level) / torch.sqrt(level + 0.02)
        return torch.cat([2 * torch.arcsinh(x / 2), condition], dim=1)


SCALES = (1.0, 2.0, 4.0)


def smoothed(counts, level):
    """
    Deviations from the level in Gaussian windows, in units of their noise.
    """
    result = []
    for sigma in SCALES:
        half = math.ceil(3 * sigma)
        axis = torch.arange(-half, half + 1, device=counts.device, dtype=counts.dtype)
        kernel = torch.exp(-0.5 * (axis / sigma) ** 2)
        kernel = kernel / kernel.sum()
        power = kernel.square()
        deviation = _convolve(counts - level, kernel)
        variance = _convolve(level, power, 'replicate')
        # of a few photons at most
        floor = _FLOOR * power.sum() ** 2
        result.append(torch.arcsinh(deviation / torch.sqrt(variance + floor)))
    return result


def _convolve(x, kernel, mode='constant'):
    half = len(kernel) // 2
    x = functional.pad(x, (half, half, half, half), mode=mode)
    x = functional.conv2d(x, kernel.view(1, 1, 1, -1))
    return functional.conv2d(x, kernel.view(1, 1, -1, 1))


def expected_counts(deviation, level, maps):
    """
    Turn the maps of a network into expected counts.

    Parameters
    ----------
    deviation : `~torch.Tensor`
        The first of the features.

    level : `~torch.Tensor`
        As for `count_features`.

    maps : `~torch.Tensor`
        Gate and offset of the source and the logarithm of the sky, shape
        (B, 3, H, W).

    Returns
    -------
    source, sky : `~torch.Tensor`
        Expected counts, positive, shape (B, 1, H, W).
    """
    gate, offset, log_ratio = maps[:, :1], maps[:, 1:2], maps[:, 2:]
    size = functional.softplus(torch.sigmoid(gate) * deviation + offset)
    unit = torch.sqrt(level + _FLOOR)
    source = unit * torch.sinh(size.clamp(max=_LARGEST))
    sky = level * torch.exp(log_ratio.clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO))
    return source, sky
