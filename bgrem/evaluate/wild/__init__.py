"""
The suite ``wild``: images unlike anything in the training data.

Its scenes share no code with `bgrem.simulate`, and are never part of a training or a
calibration. Their sources, sky and noise are known.
"""

__all__ = []
