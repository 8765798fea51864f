"""One-to-one matching of detections to true sources."""

import numpy as np
from scipy.spatial import KDTree

__all__ = [
    'MIN_SNR',
    'NEUTRAL_SNR',
    'judge',
    'match',
    'match_radius',
    'shift_positions',
]

# A source this faint is not expected to be found by anything: it does not count in
# the completeness. The rule is the same for every method.
MIN_SNR = 2.0
# A detection of a source between this and the limit counts neither way. One that lands
# on a fainter source by chance is as false as any other.
NEUTRAL_SNR = 1.0
_SHIFT = 20.0


def match_radius(fwhm):
    """
    Return the matching radius for a point-spread function.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum of the point-spread function in pixels.

    Returns
    -------
    radius : float
        ``max(2, fwhm / 2)`` in pixels.

    Examples
    --------
    >>> from bgrem.evaluate import match_radius
    >>> match_radius(3.0), match_radius(6.0)
    (2.0, 3.0)
    """
    return max(2.0, float(fwhm) / 2.0)


def match(x, y, score, true_x, true_y, true_snr, radius, *, min_snr=MIN_SNR):
    """
    Match detections to true sources, one to one.

    The detections choose in order of descending score (and, at equal score, of
    ascending distance): each takes the nearest true source within ``radius``
    that is still free. Only sources with a true signal-to-noise ratio above
    ``min_snr`` can be taken; a detection that has only fainter ones nearby
    counts as false.

    Parameters
    ----------
    x, y : 1D array_like of float, length N
        Positions of the detections in pixels.
    score : 1D array_like of float, length N
        Scores of the detections, the most significant highest. Only their order
        matters.
    true_x, true_y : 1D array_like of float, length M
        Positions of the true sources in pixels.
    true_snr : 1D array_like of float, length M
        Signal-to-noise ratio of the true sources.
    radius : float
        Largest distance of a matching pair in pixels.
    min_snr : float, optional
        Signal-to-noise ratio that a true source must exceed to count.

    Returns
    -------
    index : 1D `~numpy.ndarray` of int, length N
        Index of the true source matched to each detection, -1 for a false
        detection. No true source appears twice.

    Raises
    ------
    ValueError
        If the arrays of one catalog differ in length, or a position or a
        score is not finite.

    Notes
    -----
    The time is proportional to (N + M) log(N + M) for a limited number of sources per
    matching radius.

    Examples
    --------
    >>> from bgrem.evaluate import match
    >>> match([10, 50], [10, 50], [0.9, 0.8], [11], [10], [7.0], radius=2)
    array([ 0, -1])
    """
    detected = _positions('x, y and score', x, y, score)
    true = _positions('true_x, true_y and true_snr', true_x, true_y, true_snr)
    index = np.full(len(detected), -1)
    candidates = np.flatnonzero(true[:, 2] > min_snr)
    if len(detected) == 0 or len(candidates) == 0:
        return index

    pairs = KDTree(detected[:, :2]).sparse_distance_matrix(
        KDTree(true[candidates, :2]), radius, output_type='ndarray'
    )
    rank = np.lexsort((pairs['v'], -detected[pairs['i'], 2]))
    free = np.ones(len(candidates), dtype=bool)
    for i, j in zip(pairs['i'][rank], pairs['j'][rank], strict=True):
        if index[i] < 0 and free[j]:
            index[i] = candidates[j]
            free[j] = False
    return index


def judge(x, y, score, catalog, radius, *, min_snr=MIN_SNR, neutral_snr=NEUTRAL_SNR):
    """
    Distinguish true detections, and those that count neither way, from false ones.

    Parameters
    ----------
    x, y, score : 1D array_like of float, length N
        The detections, as for `match`.
    catalog : dict of str to 1D `~numpy.ndarray`
        ``x``, ``y`` and ``snr`` of the true sources.
    radius : float
        Largest distance of a matching pair in pixels.
    min_snr : float, optional
        A detection that is matched to a source above this S/N is true.
    neutral_snr : float, optional
        One that is not true, but is matched to a source above this S/N, counts neither
        way.

    Returns
    -------
    is_true, is_neutral : 1D `~numpy.ndarray` of bool, length N
    """
    x, y, score = (np.asarray(column, dtype=float) for column in (x, y, score))
    truth = np.array([catalog[name] for name in ('x', 'y', 'snr')])
    is_true = match(x, y, score, *truth, radius, min_snr=min_snr) >= 0
    faint = truth[:, truth[2] <= min_snr]
    rest = np.flatnonzero(~is_true)
    index = match(x[rest], y[rest], score[rest], *faint, radius, min_snr=neutral_snr)
    is_neutral = np.zeros_like(is_true)
    is_neutral[rest[index >= 0]] = True
    return is_true, is_neutral


def shift_positions(x, shape):
    """
    Displace detections, to see how many are matched by chance.

    Parameters
    ----------
    x : 1D `~numpy.ndarray` of float
        Their columns in pixels.
    shape : tuple of int
        The shape of the image.

    Returns
    -------
    x : 1D `~numpy.ndarray` of float
        Columns displaced by 20 px, and wrapped around at the edge of the image.
    """
    return np.mod(x + _SHIFT + 0.5, shape[1]) - 0.5


def _positions(names, *columns):
    """Return the columns of one catalog as a checked float array (N, 3)."""
    columns = [np.asarray(column, dtype=float).ravel() for column in columns]
    lengths = [column.size for column in columns]
    if len(set(lengths)) > 1:
        msg = f'{names} must have the same length, got {lengths}'
        raise ValueError(msg)
    table = np.stack(columns, axis=1)
    if not np.isfinite(table).all():
        msg = f'{names} must be finite'
        raise ValueError(msg)
    return table
