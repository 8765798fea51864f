"""
The color scales of maps, and the round numbers beside their color bars.
"""

import math
from dataclasses import dataclass

import numpy as np

__all__ = ['FLAT_SIGMA', 'Scale', 'level_scale', 'light_scale', 'percentile']

#: A sky that varies by less than so many sigmas about its median looks flat.
FLAT_SIGMA = 3.0

# The stretch of light begins so many sigmas of the noise below the sky, and reaches
# at least so many above it.
_LOW_SIGMA = 3.0
_HIGH_SIGMA = 10.0
_MOST_VALUES = 1_000_000


@dataclass(frozen=True)
class Scale:
    """
    The color scale of a map: linear, or with an arcsinh stretch.

    Parameters
    ----------
    low, high : float
        The values of the first and the last color.
    center : float, optional
        The center of the linear part of the stretch.
    sigma : float or `None`, optional
        The distance from ``center`` at which the stretch becomes logarithmic; `None`
        for a linear scale.
    """

    low: float
    high: float
    center: float = 0.0
    sigma: float | None = None

    def stretch(self, values):
        """
        Stretch values.

        Parameters
        ----------
        values : array_like of float
            The values.

        Returns
        -------
        stretched : `~numpy.ndarray` of float
            The stretched values, in which the colors are linear.
        """
        if self.sigma is None:
            return np.asarray(values, dtype=float)
        return np.arcsinh((np.asarray(values) - self.center) / self.sigma)

    def norm(self):
        """
        Return the scale as a normalization of matplotlib.

        Returns
        -------
        norm : `~matplotlib.colors.Normalize`
            The scale.
        """
        from matplotlib.colors import FuncNorm, Normalize

        if self.sigma is None:
            return Normalize(self.low, self.high)

        def unstretch(values):
            return self.center + self.sigma * np.sinh(values)

        return FuncNorm((self.stretch, unstretch), vmin=self.low, vmax=self.high)

    def ticks(self, spacing):
        """
        Return as many round values as there is room for.

        Parameters
        ----------
        spacing : float
            The minimum distance between two ticks, as a fraction of the whole scale.

        Returns
        -------
        ticks : dict of float to str
            The values in ascending order, and their labels.
        """
        first, last = self.stretch([self.low, self.high])
        least = spacing * (last - first)
        steps = self._steps() if self.sigma else [_round_up(least)]
        chosen, places = {}, np.array([])
        for step, exponent in steps:
            low, high = self.low, self.high
            if self.sigma:
                # Further away larger steps are round.
                low = max(low, self.center - 2 * step)
                high = min(high, self.center + 2 * step)
            for number in range(math.ceil(low / step), math.floor(high / step) + 1):
                value = number * step
                place = self.stretch(value)
                # of a linear scale they have the room, but for rounding
                if not self.sigma or np.all(np.abs(places - place) >= least):
                    places = np.append(places, place)
                    chosen[value] = _write(value, exponent)
        return dict(sorted(chosen.items()))

    def _steps(self):
        """Yield steps of round values down to the noise, with their power of ten."""
        largest = math.floor(math.log10(max(abs(self.low), abs(self.high))))
        smallest = math.floor(math.log10(self.sigma))
        for exponent in range(max(largest, smallest), smallest - 1, -1):
            for factor in (5, 2, 1):
                yield factor * 10.0**exponent, exponent


def _round_up(least):
    """Return the smallest round number above one, and its power of ten."""
    exponent = math.floor(math.log10(least))
    for factor in (1, 2, 5):
        if factor * 10.0**exponent >= least:
            return factor * 10.0**exponent, exponent
    return 10.0 ** (exponent + 1), exponent + 1


def _write(value, exponent):
    """Return a multiple of a power of ten as a text."""
    digits = round(value / 10.0**exponent)
    if digits == 0:
        return '0'
    size = math.floor(math.log10(abs(value)) + 1e-9)
    if -4 <= size < 8 and exponent > -6:
        return f'{value:.{max(0, -exponent)}f}'
    return f'{value:.{size - exponent + 1}g}'


def percentile(values, percent):
    """
    Return a percentile of the finite values, using a sample of very large arrays.

    Parameters
    ----------
    values : `~numpy.ndarray`
        The values.
    percent : float
        From 0 to 100.

    Returns
    -------
    value : float
        The percentile; 0 if no value is finite.
    """
    # So many tell it as well as all.
    values = values.ravel()[:: max(1, values.size // _MOST_VALUES)]
    finite = values[np.isfinite(values)]
    return float(np.percentile(finite, percent)) if finite.size else 0.0


def light_scale(light, sigma, sky=0.0):
    """
    Return a scale for faint and bright light: linear up to the noise, then logarithmic.

    Parameters
    ----------
    light : `~numpy.ndarray`
        The light above the sky.
    sigma : float
        The noise of the sky.
    sky : float or `~numpy.ndarray`, optional
        The sky, if it is part of the image. Default 0.

    Returns
    -------
    scale : `Scale`
        The scale.
    """
    sky = np.asarray(sky)
    low, middle, high = (percentile(sky, percent) for percent in (0.5, 50, 99.5))
    brightest = max(percentile(light, 99.9), _HIGH_SIGMA * sigma)
    # All of a sky with a gradient is in the linear part.
    linear = max(sigma, (high - low) / 4)
    return Scale(low - _LOW_SIGMA * sigma, high + brightest, middle, linear)


def level_scale(values, least):
    """
    Return a linear scale on which small differences look flat.

    Parameters
    ----------
    values : `~numpy.ndarray`
        The values.
    least : float
        The scale extends at least this far from the median on both sides, but not
        below zero if no value is negative.

    Returns
    -------
    scale : `Scale`
        The scale.
    """
    low, middle, high = (percentile(values, percent) for percent in (0.5, 50, 99.5))
    # of a sky of counts, which are never negative, half of the colors would be unused
    lowest = max(middle - least, 0.0) if high > low >= 0 else middle - least
    return Scale(min(low, lowest), max(high, middle + least))
