"""
An image seen a band of rows after the other, so that it need not be there as a whole.

What belongs to the whole image is measured in stages. In each stage all bands are
looked at, by a function of the band alone; what they show together says what is to be
looked for in the next stage, or is the result. An image in memory and one in a file
or on a cluster are measured by the same stages in the same bands. Several threads can
look at a band each: numpy lets others compute while it sorts and adds. Numpy only.
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
    Let `each_band` use so many threads meanwhile, in this thread and context.

    Parameters
    ----------
    n_threads : int
        The number; 1 is none but the thread itself.
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
        Takes a band. What it returns, or writes, depends on no other band.
    bands : sequence
        The bands.

    Returns
    -------
    results : list
        One for each band, in their order, whatever the number of threads.

    Notes
    -----
    The threads end before this returns, so that a fork waits for none of them. Within
    the function there are no further threads.
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
    """What an image holds cannot be told from its bands; the text says what it is."""


class Measurement:
    """
    What is known of an image while it is measured, stage by stage.

    Subclasses have for each stage ``x`` a method ``_see_x(rows, *images)``, which says
    what a band shows, and ``_learn_x(seen)``, which makes of what all bands show what
    the image is like, and sets the next stage.

    Attributes
    ----------
    shape : tuple of 2 int
        The shape of the image.
    stage : str or `None`
        What is looked for next; `None` once all is known.
    margin : int
        The rows beyond a band on either side that are seen with it, as far as there
        are any.
    most_stages : int
        After so many all is known.
    n_pixels : int or `None`
        Of a band; `None` are two millions.
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
        Look at a band.

        Parameters
        ----------
        rows : slice
            The rows of the band in the image.
        *images : 2D `~numpy.ndarray`
            What the measurement takes, in these rows and the margin.

        Returns
        -------
        seen : object
            What the band shows, to be pickled; `None` where all is known.
        """
        return self.stage and _own(getattr(self, f'_see_{self.stage}')(rows, *images))

    def learn(self, seen):
        """
        Take in what the bands show.

        Parameters
        ----------
        seen : iterable
            Of all bands in their order, from `see`.

        Returns
        -------
        measurement : `Measurement`
            A new one, for the next stage.

        Raises
        ------
        NeedsWhole
            If bands do not tell enough.
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
        What is known before.
    read : callable
        Takes rows (a slice) and returns the images that the measurement takes.

    Returns
    -------
    measurement : `Measurement`
        With all that there is to know.

    Raises
    ------
    NeedsWhole
        If bands do not tell enough.
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
    Return rows and those beside them, as far as there are any.

    Parameters
    ----------
    rows : slice
        The rows.
    margin : int
        How many more on either side.
    n_rows : int
        The rows of the image.

    Returns
    -------
    wider : slice
    """
    return slice(max(rows.start - margin, 0), min(rows.stop + margin, n_rows))


def split_rows(shape, edges=None, n_pixels=None):
    """
    Cut an image into bands of rows.

    Parameters
    ----------
    shape : tuple of 2 int
        Its shape.
    edges : 1D `~numpy.ndarray` of int, optional
        Where a band may begin, and the end. Default: at multiples of 64 rows.
    n_pixels : int, optional
        Of a band. Default: two millions.

    Returns
    -------
    bands : list of slice
        Each of about so many pixels.
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
