"""
Networks, schedules, samplers and losses: PyTorch only, no FITS, no units,
no tiles.
"""

from .losses import center_cross_entropy, difference_loss
from .samplers import SampleOutput, sample
from .schedules import CosineSchedule
from .unet import AttentionUNet, NetworkOutput, UNetConfig

__all__ = [
    'AttentionUNet',
    'CosineSchedule',
    'NetworkOutput',
    'SampleOutput',
    'UNetConfig',
    'center_cross_entropy',
    'difference_loss',
    'sample',
]
