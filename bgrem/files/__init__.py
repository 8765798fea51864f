"""
Reading and writing files.
"""

__all__ = []
