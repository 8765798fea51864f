"""
Images of any size, block by block: files, and arrays of dask.

Whatever the blocks, boxes and tiles lie on the grid of the whole image, and what
belongs to it as a whole is measured by the code that measures an image in memory
(`bgrem.sky.bands`).
"""

__all__ = []
