"""
Training: new simulated scenes at each step, one loop, resumable at any time.
"""

from .config import TrainingConfig, fine_tuning_config, load_config
from .loop import train

__all__ = ['TrainingConfig', 'fine_tuning_config', 'load_config', 'train']
