"""
Measure an image in bands of rows, so that it need not be in memory as a whole.

Properties of the whole image are measured in stages. In each stage, all bands are
examined by a function that depends only on the band. Together, their results determine
what is measured in the next stage, or are the final result. An image in memory and one
in a file or on a cluster go through the same stages in the same bands. Several threads
can each examine a band: numpy lets others compute while it sorts and adds. Numpy only.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from copy import copy
from functools import partial

import numpy as np

__all__ = [
    'CACHED',
    'Measurement',
    'NeedsWhole',
    'each_band',
    'measure',
    'split_rows',
    'use_threads',
    'widen',
]

_PIXELS = 2**21  # of a band
#: Pixels of a band of which some images fit into the caches of a processor.
CACHED = 2**18
# All blocks that are measured have sides that fit into this number of rows.
_MULTIPLE = 64
_n_threads = ContextVar('n_threads', default=1)


@contextmanager
def use_threads(n_threads):
    """
    Let `each_band` use several threads meanwhile, in this thread and context.

    Parameters
    ----------
    n_threads : int
        The number of threads; 1 is the thread itself and no others.
    """
    token = _n_threads.set(n_threads)
    try:
        yield
    finally:
        _n_threads.reset(token)


def each_band(function, bands):
    """
    Apply a function to each of some bands, several at a time (see `use_threads`).

    Parameters
    ----------
    function : callable
        Called with a band. What it returns, or writes, depends on no other band.
    bands : sequence
        The bands.

    Returns
    -------
    results : list
        The results, in the order of the bands for any number of threads.

    Notes
    -----
    The threads end before this function returns, so that a fork does not wait for them.
    The function itself uses no further threads.
    """
    return list(_over_bands(function, bands))


def _over_bands(function, bands):
    """Yield what `each_band` returns."""
    n_threads = min(_n_threads.get(), len(bands))
    if n_threads <= 1:
        yield from map(function, bands)
        return
    numbers, results = iter(range(len(bands))), {}

    def look(number):
        _n_threads.set(1)
        results[number] = function(bands[number])

    def look_at_all():
        for number in numbers:
            look(number)

    # what numpy is to do about overflows is part of the context
    here, *contexts = (copy_context() for _ in range(n_threads))
    # This thread is one of them: to wake another one for each band, and this one for
    # each result, takes as long as to look at a band.
    with ThreadPoolExecutor(n_threads - 1) as pool:
        others = [pool.submit(context.run, look_at_all) for context in contexts]
        try:
            for number in range(len(bands)):
                while number not in results:
                    following = next(numbers, None)
                    if following is not None:
                        here.run(look, following)
                        continue
                    for one in others:
                        one.result()
                yield results.pop(number)
        finally:
            for _ in numbers:
                pass  # after an error nothing more is looked at


class NeedsWhole(Exception):
    """The image cannot be measured in bands; the text says why."""


class Measurement:
    """
    The state of a measurement of an image, which is done in stages.

    For each stage ``x``, subclasses have a method ``_see_x(rows, *images)``, which
    measures a band, and a method ``_learn_x(seen)``, which combines the results of all
    bands and sets the next stage.

    Attributes
    ----------
    shape : tuple of 2 int
        The shape of the image.
    stage : str or `None`
        The next stage; `None` once the measurement is complete.
    margin : int
        The number of rows on each side of a band that are needed with it, as far as
        there are any.
    most_stages : int
        The maximum number of stages.
    n_pixels : int or `None`
        The number of pixels of a band; `None` means two million.
    """

    stage = None
    margin = 0
    most_stages = 1
    n_pixels = None

    def __init__(self, shape):
        self.shape = tuple(int(n) for n in shape)

    @property
    def bands(self):
        """
        The bands in which the image is seen (list of slice).
        """
        return split_rows(self.shape, n_pixels=self.n_pixels)

    def see(self, rows, *images):
        """
        Measure a band.

        Parameters
        ----------
        rows : slice
            The rows of the band in the image.
        *images : 2D `~numpy.ndarray`
            The images that the measurement uses, in these rows and the margin.

        Returns
        -------
        seen : object
            The result, which can be pickled; `None` if the measurement is complete.
        """
        return self.stage and _own(getattr(self, f'_see_{self.stage}')(rows, *images))

    def learn(self, seen):
        """
        Combine the results of the bands.

        Parameters
        ----------
        seen : iterable
            The results of `see` for all bands, in order.

        Returns
        -------
        measurement : `Measurement`
            A new measurement, for the next stage.

        Raises
        ------
        NeedsWhole
            If the image cannot be measured in bands.
        """
        if self.stage is None:
            return self
        result = copy(self)
        getattr(result, f'_learn_{self.stage}')(seen)
        return result


def _own(values):
    """Return arrays that are views as copies, or each would hold all of its band."""
    if isinstance(values, (list, tuple)):
        return type(values)(_own(one) for one in values)
    is_view = isinstance(values, np.ndarray) and values.base is not None
    return np.copy(values) if is_view else values


def measure(measurement, read):
    """
    Go through all stages of a measurement.

    Parameters
    ----------
    measurement : `Measurement`
        The initial state.
    read : callable
        Called with rows (a slice); returns the images that the measurement uses.

    Returns
    -------
    measurement : `Measurement`
        The complete measurement.

    Raises
    ------
    NeedsWhole
        If the image cannot be measured in bands.
    """
    while measurement.stage is not None:
        see = partial(_see, measurement, read)
        measurement = measurement.learn(_over_bands(see, measurement.bands))
    return measurement


def _see(measurement, read, rows):
    wider = widen(rows, measurement.margin, measurement.shape[0])
    return measurement.see(rows, *read(wider))


def widen(rows, margin, n_rows):
    """
    Return rows and those on each side of them, as far as there are any.

    Parameters
    ----------
    rows : slice
        The rows.
    margin : int
        The number of rows to add on each side.
    n_rows : int
        The number of rows of the image.

    Returns
    -------
    wider : slice
    """
    return slice(max(rows.start - margin, 0), min(rows.stop + margin, n_rows))


def split_rows(shape, edges=None, n_pixels=None):
    """
    Divide an image into bands of rows.

    Parameters
    ----------
    shape : tuple of 2 int
        The shape of the image.
    edges : 1D `~numpy.ndarray` of int, optional
        Where a band may begin, and the end. Default: at multiples of 64 rows.
    n_pixels : int, optional
        The number of pixels of a band. Default: two million.

    Returns
    -------
    bands : list of slice
        Bands of about that number of pixels.
    """
    if edges is None:
        edges = [*range(0, shape[0], _MULTIPLE), shape[0]]
    bands, start = [], 0
    n_pixels = _PIXELS if n_pixels is None else n_pixels
    for edge, following in zip(edges[1:], [*edges[2:], None], strict=True):
        if following is None or (following - start) * shape[1] > n_pixels:
            bands.append(slice(int(start), int(edge)))
            start = edge
    return bands
