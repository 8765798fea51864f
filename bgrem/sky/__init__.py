"""
The sky of an image: its level, its noise, and what may affect them.

Numpy, scipy, astropy and photutils only; nothing here depends on the network.
"""

__all__ = []
