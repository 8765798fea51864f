"""
The suite ``gamma``: patches of the gamma-ray sky, with and without Poisson noise.

Its skies are drawn with seeds that no training uses, or come from a template that was
not part of the training.
"""

__all__ = []
