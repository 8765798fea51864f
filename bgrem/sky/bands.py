"""
An image seen a band of rows after the other, so that it need not be there as a whole.

What belongs to the whole image is measured in stages. In each stage all bands are
looked at, by a function of the band alone; what they show together says what is to be
looked for in the next stage, or is the result. An image in memory and one in a file
or on a cluster are measured by the same stages in the same bands. Numpy only.
"""

from copy import copy

__all__ = ['Measurement', 'measure', 'split_rows']

_PIXELS = 2**21  # of a band
# All blocks that are measured have sides that fit into this number of rows.
_MULTIPLE = 64


class Measurement:
    """
    What is known of an image while it is measured, stage by stage.

    Subclasses have for each stage ``x`` a method ``_see_x(rows, *images)``, which says
    what a band shows, and ``_learn_x(seen)``, which makes of what all bands show what
    the image is like, and sets the next stage.

    Attributes
    ----------
    stage : str or `None`
        What is looked for next; `None` once all is known.
    """

    stage = None

    def see(self, rows, *images):
        """
        Look at a band.

        Parameters
        ----------
        rows : slice
            The rows of the band in the image.
        *images : 2D `~numpy.ndarray`
            What the measurement takes, in these rows.

        Returns
        -------
        seen : object
            What the band shows, to be pickled; `None` where all is known.
        """
        return self.stage and getattr(self, f'_see_{self.stage}')(rows, *images)

    def learn(self, seen):
        """
        Take in what the bands show.

        Parameters
        ----------
        seen : list
            Of all bands in their order, from `see`.

        Returns
        -------
        measurement : `Measurement`
            A new one, for the next stage.
        """
        if self.stage is None:
            return self
        result = copy(self)
        getattr(result, f'_learn_{self.stage}')(seen)
        return result


def measure(measurement, read, bands):
    """
    Go through all stages of a measurement.

    Parameters
    ----------
    measurement : `Measurement`
        What is known before.
    read : callable
        Takes the rows of a band (a slice) and returns the images that the measurement
        takes.
    bands : list of slice
        The bands, from `split_rows`.

    Returns
    -------
    measurement : `Measurement`
        With all that there is to know.
    """
    while measurement.stage is not None:
        measurement = measurement.learn(
            [measurement.see(rows, *read(rows)) for rows in bands]
        )
    return measurement


def split_rows(shape):
    """
    Cut an image into bands of rows.

    Parameters
    ----------
    shape : tuple of 2 int
        Its shape.

    Returns
    -------
    bands : list of slice
        Of about two megapixels and whole multiples of 64 rows, but for the last.
    """
    height = max(_PIXELS // (shape[1] * _MULTIPLE), 1) * _MULTIPLE
    return [
        slice(start, min(start + height, shape[0]))
        for start in range(0, shape[0], height)
    ]
