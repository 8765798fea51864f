"""
Simulated photon counts: the gamma-ray sky, and fields as X-ray telescopes see them.

Only numpy and scipy are needed. A patch of 64 pixels takes a few milliseconds, so the
patches are made during training.
"""

from .field import FieldConfig, simulate_field
from .lat import LatConfig, simulate_lat_patch
from .patch import CountsPatch

__all__ = [
    'CountsPatch',
    'FieldConfig',
    'LatConfig',
    'simulate_field',
    'simulate_lat_patch',
]
