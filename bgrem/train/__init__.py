"""
Training: fresh simulated scenes, one loop, resumable at any moment.
"""

from .config import TrainingConfig, load_config
from .loop import train

__all__ = ['TrainingConfig', 'load_config', 'train']
