"""
The input of a network for photon counts, and the meaning of its output.

A pixel of the data is a number of photons; its expected level, a mean over many pixels,
is known beforehand. The deviation of the photons from it is divided by the noise at
that level, and the level itself is an input. So one network works from one photon in
hundreds of pixels to thousands of photons per pixel.
"""

import torch
from torch.nn import functional

__all__ = ['N_FEATURES', 'count_features', 'expected_counts']

N_FEATURES = 2

_LEVELS = (1e-3, 1e4)  # beyond, the network is told no more
_LEAST_VARIANCE = 0.02  # counts: of a lone photon, what the network is shown is finite
_SOFTENING = 2.0  # standard deviations, from which on they are compressed
_LEAST_UNIT = 0.25  # counts: the light of a source is in units of the noise, or of half
_AROUND = 5  # pixels about one that hold the light of a source
_MAX_LOG_RATIO = 6.0


def count_features(counts, level):
    """
    Prepare counts for the network.

    Parameters
    ----------
    counts : `~torch.Tensor`
        Photons, or expected counts, shape (B, 1, H, W).

    level : `~torch.Tensor`
        The expected counts of the sky at each pixel, not negative; same shape.

    Returns
    -------
    features : `~torch.Tensor`
        Shape (B, `N_FEATURES`, H, W): the deviation in units of the noise (linear where
        it is small, as a matched filter requires even for single photons, and
        logarithmic where it is large) and the logarithm of the level.
    """
    noise = torch.sqrt(level + _LEAST_VARIANCE)
    deviation = torch.arcsinh((counts - level) / (_SOFTENING * noise)) * _SOFTENING
    condition = (level.clamp(*_LEVELS).log() - 1) / 4
    return torch.cat([deviation, condition], dim=1)


def expected_counts(counts, level, maps):
    """
    Convert the maps of a network to expected counts.

    Parameters
    ----------
    counts, level : `~torch.Tensor`
        As for `count_features`.

    maps : `~torch.Tensor`
        Gate and offset of the source, and the logarithm of the sky divided by the
        level, shape (B, 3, H, W).

    Returns
    -------
    source, sky : `~torch.Tensor`
        Expected counts, positive, shape (B, 1, H, W).
    """
    gate, offset, log_ratio = maps[:, :1], maps[:, 1:2], maps[:, 2:]
    unit = torch.sqrt(level + _LEAST_UNIT)
    deviation = torch.arcsinh((counts - level) / unit)
    size = functional.softplus(torch.sigmoid(gate) * deviation + offset)
    # No more than a few times what the brightest pixel nearby has: what is not yet
    # learned, or not known, cannot explode.
    most = functional.max_pool2d(deviation, _AROUND, 1, _AROUND // 2).clamp(min=0) + 1
    size = most * (1 - torch.exp(-size / most))
    log_ratio = log_ratio.clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO)
    return unit * torch.sinh(size), level * torch.exp(log_ratio)
