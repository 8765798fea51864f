"""
From the probability of a source centre to peaks, segments and a catalogue.
"""

__all__ = []
