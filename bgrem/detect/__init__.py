"""
From the probability of a source center to peaks, segments and a catalog.
"""

__all__ = []
