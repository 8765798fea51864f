"""
Images of any size, processed block by block: files, and dask arrays.

Whatever the blocks are, boxes and tiles lie on the grid of the whole image. What
belongs to the image as a whole is measured by the same code as for an image in memory
(`bgrem.sky.bands`).
"""

__all__ = []
