"""
Simulated photon counts: the gamma-ray sky, and fields as X-ray telescopes see them.

Nothing here needs more than numpy and scipy. One patch of 64 pixels takes some
milliseconds: they are made while training runs.
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
