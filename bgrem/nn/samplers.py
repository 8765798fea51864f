"""
Samplers: plain functions of a network, an image and a schedule.
"""

from typing import NamedTuple

import torch

__all__ = ['SampleOutput', 'sample']


class SampleOutput(NamedTuple):
    """
    The output of a sampler; every tensor has the shape of the input.
    """

    source: torch.Tensor
    background: torch.Tensor
    center_logit: torch.Tensor | None


def sample(network, x, schedule, n_steps, callback=None):
    r"""
    Remove the background in ``n_steps`` deterministic steps (BGRem, arXiv
    2510.04718, section 2).

    At diffusion times t = 1, 1 - 1/K, ..., 1/K the network predicts the
    background :math:`\hat b`; the source estimate is
    :math:`\hat s = x - n(t)\,\hat b` and the next image is
    :math:`x \leftarrow \hat s + n(t - 1/K)\,\hat b`, where n is the noise rate.
    A network that knows the background returns the exact source for any K.

    Parameters
    ----------
    network : callable
        ``network(x, noise_variance)`` returning an object with the attributes
        ``background`` and ``center_logit``, such as `AttentionUNet`.

    x : `~torch.Tensor`
        The observed, normalized images of shape (B, 1, H, W).

    schedule : `CosineSchedule`
        The schedule, of which only ``noise_rate`` is used.

    n_steps : int
        The number of steps K >= 1. The cost is proportional to it.

    callback : callable, optional
        Called after each step with the step number and the current source
        estimate.

    Returns
    -------
    output : `SampleOutput`
        The source and background of the last step, and the center logit of the first
        one, whose input is the observed image (`None` if the network has no such
        head).

    Raises
    ------
    ValueError
        If ``n_steps`` is less than one.

    Examples
    --------
    >>> import torch
    >>> from bgrem.nn import AttentionUNet, CosineSchedule, UNetConfig, sample
    >>> network = AttentionUNet(UNetConfig(widths=(4, 8, 8))).eval()
    >>> with torch.no_grad():
    ...     found = sample(network, torch.zeros(1, 1, 32, 32), CosineSchedule(), 3)
    >>> tuple(found.source.shape)
    (1, 1, 32, 32)
    """
    if n_steps < 1:
        msg = f'n_steps must be a positive integer, got {n_steps!r}'
        raise ValueError(msg)
    center_logit = None
    for step in range(n_steps):
        rate = schedule.noise_rate(1 - step / n_steps).to(x)
        output = network(x, (rate**2).expand(len(x)))
        source = x - rate * output.background
        if step == 0:
            center_logit = output.center_logit
        if callback is not None:
            callback(step, source)
        next_rate = schedule.noise_rate(1 - (step + 1) / n_steps).to(x)
        x = source + next_rate * output.background
    return SampleOutput(source, output.background, center_logit)
