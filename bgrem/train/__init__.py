"""
Training: fresh simulated scenes, one loop, resumable at any moment.
"""

from .config import TrainingConfig, fine_tuning_config, load_config
from .loop import train

__all__ = ['TrainingConfig', 'fine_tuning_config', 'load_config', 'train']
