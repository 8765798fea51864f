"""
What the pixels of correlated noise have in common, and so the boxes of a sky.

It is seen in lines of pixels, along y and along x. Numpy only.
"""

import numpy as np

from bgrem.sky.blocks import fold_blocks

__all__ = ['noise_reach', 'piece_correlations', 'shared_noise']

# Lags in pixels, to see how far noise reaches: as far as the mean square of its
# differences is less than this part of that of independent pixels. A wild pixel counts
# as this many standard deviations.
_LAGS = (1, 2, 4, 8)
_LEAST_DIFFERENCE = 0.6
_MOST_DIFFERENCE = 7.0
_N_CORRELATIONS = 6  # lags; at the last two there is sky, but no noise in common
_MIN_SIGNIFICANCE = 3.0  # of a correlation, in its standard deviation


def noise_reach(sample):
    """
    Measure how far noise reaches.

    Parameters
    ----------
    sample : list of tuple
        For each axis, lines of pixels along the first axis of arrays: the image in
        units of its noise, the noise of each pixel, and whether it is used.

    Returns
    -------
    reach : int
        By how much to enlarge the least boxes: 1, 2, 4 or 8.
    """
    reach = 0
    for values, spread, given in sample:
        for number, lag in enumerate(_LAGS):
            pairs = given[lag:] & given[:-lag]
            if not pairs.any():
                break
            difference = np.abs(values[lag:] - values[:-lag])[pairs]
            difference = np.minimum(difference / spread[lag:][pairs], _MOST_DIFFERENCE)
            if np.mean(difference**2) / 2 >= _LEAST_DIFFERENCE:
                break
            reach = max(reach, number)
    return 2**reach


def piece_correlations(sample, size):
    """
    Measure what pixels have in common along y and x, in pieces of lines.

    Parameters
    ----------
    sample : list of tuple
        For each axis, lines of pixels along the first axis of arrays: the image less
        its sky, 0 where it is not used, and whether it is used.
    size : int
        The pixels of a piece.

    Returns
    -------
    correlations : list of tuple
        For each axis, the correlation of pieces 0, 1, ... apart, and by how much the
        variance of the mean of a piece is larger than that of independent pixels.
    """
    result = []
    for values, given in sample:
        given = given.astype(np.float32)
        variance = _mean_product(values, given, 0)
        if size > 1:
            # sums, as boxes have them: single pixels so far apart do not tell what
            # those between them have in common
            values, given = (
                fold_blocks(one, size, np.add, axes=(0,)) for one in (values, given)
            )
        covariance = np.zeros(_N_CORRELATIONS + 1)
        for lag in range(min(len(covariance), len(values))):
            covariance[lag] = _mean_product(values, given, lag)
        # what is left of the sky is common to pixels far apart, too
        of_sky = covariance[-2:].mean()
        covariance -= of_sky
        correlation, own = np.zeros_like(covariance), 1.0
        if covariance[0] > 0:
            correlation = covariance / covariance[0]
            # pixels in the piece of each pixel, where masked ones share nothing
            n_around = np.vdot(given, given) / given.sum()
            own = n_around * covariance[0] / max(variance - of_sky, covariance[0])
        limit = _MIN_SIGNIFICANCE / np.sqrt(max(np.count_nonzero(given), 1))
        correlation[(correlation < limit) | (np.arange(len(correlation)) > 4)] = 0
        correlation[0] = 1
        result.append((correlation, max(own, 1.0)))
    return result


def _mean_product(values, given, lag):
    """Return the mean product of pixels so many rows apart, of those that are given."""
    first, second = slice(lag, None), slice(len(values) - lag)
    product, n_pairs = (
        float(np.vdot(one[first], one[second])) for one in (values, given)
    )
    return product / max(n_pairs, 1)


def shared_noise(correlation, size):
    """
    Return what correlated pieces do to boxes along one axis.

    Parameters
    ----------
    correlation : 1D `~numpy.ndarray`
        The correlation of pieces 0, 1, ... apart, from `piece_correlations`.
    size : int
        The side of the boxes in pieces.

    Returns
    -------
    own : float
        By how much the variance of the mean of a box is larger than that of
        independent pieces.
    neighbor : float
        The correlation of the means of two neighbors.
    """
    lags = np.arange(1 - len(correlation), len(correlation))
    both = correlation[np.abs(lags)]
    own, next_one = (
        np.sum(np.maximum(size - np.abs(lags - shift), 0) * both) / size
        for shift in (0, size)
    )
    return own, next_one / own
