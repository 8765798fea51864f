"""
Simulated images with known truth: exact GalSim stamps, combined when needed.

GalSim is imported only when a stamp bank is built.
"""

from .cache import cached_stamp_bank
from .config import SceneConfig
from .counts import (
    CountsBank,
    CountsBatch,
    CountsComposer,
    CountsConfig,
    draw_counts_bank,
)
from .families import FAMILIES
from .scene import SceneBatch, SceneComposer
from .stamps import StampBank, build_stamp_bank

__all__ = [
    'FAMILIES',
    'CountsBank',
    'CountsBatch',
    'CountsComposer',
    'CountsConfig',
    'SceneBatch',
    'SceneComposer',
    'SceneConfig',
    'StampBank',
    'build_stamp_bank',
    'cached_stamp_bank',
    'draw_counts_bank',
]
