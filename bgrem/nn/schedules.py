"""
The diffusion schedule: how much background is left at each diffusion time.
"""

import math
from dataclasses import dataclass

import torch

from bgrem._config import Configuration

__all__ = ['CosineSchedule']


@dataclass(frozen=True)
class CosineSchedule(Configuration):
    """
    The cosine rate schedule of BGRem (arXiv 2510.04718, section 2).

    The angle runs linearly with the diffusion time t in [0, 1] from
    ``arccos(max_signal_rate)`` to ``arccos(min_signal_rate)``; the signal
    rate is its cosine and the noise rate its sine, so their squares sum to
    one at every t.

    Parameters
    ----------
    max_signal_rate : float, optional
        The signal rate at t = 0, in (0, 1]. The paper uses 0.98.

    min_signal_rate : float, optional
        The signal rate at t = 1, in [0, ``max_signal_rate``). The paper uses
        0.01 for optical images and 0.02 for gamma rays.

    Raises
    ------
    ValueError
        If the rates do not satisfy
        ``0 <= min_signal_rate < max_signal_rate <= 1``.

    Examples
    --------
    >>> from bgrem.nn import CosineSchedule
    >>> schedule = CosineSchedule()
    >>> print(f'{float(schedule.noise_rate(1.0)):.2f}')
    1.00
    """

    max_signal_rate: float = 0.98
    min_signal_rate: float = 0.01

    def __post_init__(self):
        if not 0 <= self.min_signal_rate < self.max_signal_rate <= 1:
            msg = (
                'min_signal_rate and max_signal_rate must satisfy 0 <= '
                'min_signal_rate < max_signal_rate <= 1, got '
                f'{self.min_signal_rate!r} and {self.max_signal_rate!r}'
            )
            raise ValueError(msg)

    def _angle(self, time):
        start = math.acos(self.max_signal_rate)
        end = math.acos(self.min_signal_rate)
        return start + torch.as_tensor(time) * (end - start)

    def signal_rate(self, time):
        """
        Return the signal rate at diffusion time ``time``.

        Parameters
        ----------
        time : float or `~torch.Tensor`
            The diffusion time in [0, 1].

        Returns
        -------
        rate : `~torch.Tensor`
            The signal rate, the shape of ``time``.
        """
        return torch.cos(self._angle(time))

    def noise_rate(self, time):
        """
        Return the noise rate at diffusion time ``time``: the fraction of the
        background left in the image.

        Parameters
        ----------
        time : float or `~torch.Tensor`
            The diffusion time in [0, 1].

        Returns
        -------
        rate : `~torch.Tensor`
            The noise rate, the shape of ``time``.
        """
        return torch.sin(self._angle(time))
