"""
Whether memory freed by a process is kept for later use or returned to the system.

A dask worker returns all of it immediately. Each array, and each layer of a network,
then begins with pages that the system must first fill with zeros, which takes as long
as the computation. Standard library only.
"""

import ctypes
import os
import sys
from functools import cache

__all__ = ['keep_freed_memory']

# what the nanny of a worker sets unless it is told otherwise, and by what name
_VARIABLE, _OF_WORKERS = 'MALLOC_TRIM_THRESHOLD_', '65536'
_OTHER = 'MALLOC_MMAP_THRESHOLD_'
# the numbers that glibc has for its thresholds
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# bytes; glibc moves its thresholds so far by itself, if none was set
_LARGEST = 2**25


@cache
def keep_freed_memory():
    """
    Make a dask worker keep the memory that it frees, as other processes do.

    Only the default setting of workers is changed, to what glibc would do without it,
    for the whole process and only once. A threshold set by the user stays, and so does
    any other C library.

    Returns
    -------
    changed : bool
        Whether anything was changed.
    """
    if sys.platform != 'linux' or os.environ.get(_VARIABLE) != _OF_WORKERS:
        return False
    if _OTHER in os.environ or 'glibc.malloc' in os.environ.get('GLIBC_TUNABLES', ''):
        return False
    change = getattr(ctypes.CDLL(None), 'mallopt', None)
    if change is None:
        return False
    thresholds = (_MMAP_THRESHOLD, _LARGEST), (_TRIM_THRESHOLD, 2 * _LARGEST)
    return [change(*one) for one in thresholds] == [1, 1]
