"""
The suite ``wild``: images that look like nothing the weights were trained on.

Its scenes share no code with `bgrem.simulate`, and are never part of a training or
a calibration. Everything about them is known: the sources, the sky and the noise.
"""

__all__ = []
