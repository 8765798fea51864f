"""
The sky of an image: its level, its noise, and what may disturb them.

Numpy, scipy, astropy and photutils only; nothing here knows the network.
"""

__all__ = []
