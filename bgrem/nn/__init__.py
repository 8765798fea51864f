"""
Networks, schedules, samplers and losses: PyTorch only, no FITS, no units,
no tiles.
"""

from .losses import (
    center_cross_entropy,
    counts_deviance,
    difference_loss,
    ratio_deviance,
)
from .samplers import SampleOutput, sample
from .schedules import CosineSchedule
from .unet import AttentionUNet, CountsOutput, NetworkOutput, UNetConfig

__all__ = [
    'AttentionUNet',
    'CosineSchedule',
    'CountsOutput',
    'NetworkOutput',
    'SampleOutput',
    'UNetConfig',
    'center_cross_entropy',
    'counts_deviance',
    'difference_loss',
    'ratio_deviance',
    'sample',
]
