"""
Read and write files.
"""

__all__ = []
