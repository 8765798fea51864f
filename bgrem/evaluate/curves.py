"""Detection curves, and the number of detections at equal contamination."""

import numpy as np

__all__ = ['CONTAMINATIONS', 'detection_curve', 'threshold_at', 'true_positives_at']

CONTAMINATIONS = (0.01, 0.02, 0.05, 0.10, 0.20)


def detection_curve(scores, is_true):
    """
    Count true and false detections as the threshold decreases.

    Parameters
    ----------
    scores : 1D array_like of float
        Scores of the detections, pooled over all images.
    is_true : 1D array_like of bool
        Whether each detection is matched to a true source.

    Returns
    -------
    thresholds : 1D `~numpy.ndarray` of float
        The distinct scores in descending order. Detections of equal score
        cannot be separated by a threshold and enter together.
    n_true, n_false : 1D `~numpy.ndarray` of int
        Number of true and false detections with a score at or above each
        threshold.

    Raises
    ------
    ValueError
        If the inputs differ in length or a score is NaN.

    Examples
    --------
    >>> from bgrem.evaluate import detection_curve
    >>> thresholds, n_true, n_false = detection_curve([3, 2, 1], [True, True, False])
    >>> n_true, n_false
    (array([1, 2, 2]), array([0, 0, 1]))
    """
    scores = np.asarray(scores, dtype=float).ravel()
    is_true = np.asarray(is_true, dtype=bool).ravel()
    if scores.size != is_true.size:
        msg = (
            'scores and is_true must have the same length, got '
            f'{scores.size} and {is_true.size}'
        )
        raise ValueError(msg)
    if np.isnan(scores).any():
        msg = 'scores must not contain NaN'
        raise ValueError(msg)
    order = np.argsort(-scores, kind='stable')
    scores, is_true = scores[order], is_true[order]
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)[: scores.size])
    n_true = np.cumsum(is_true)[last]
    return scores[last], n_true, last + 1 - n_true


def true_positives_at(scores, is_true, contaminations=CONTAMINATIONS):
    """
    Count the true detections that can be obtained at a given contamination.

    The contamination of a list of detections is its number of false
    detections divided by its length. The threshold is the lowest one at which
    the contamination does not exceed the given value, so that an early false
    detection can be outweighed by true ones further down.

    Parameters
    ----------
    scores : 1D array_like of float
        Scores of the detections, pooled over all images.
    is_true : 1D array_like of bool
        Whether each detection is matched to a true source.
    contaminations : sequence of float, optional
        Contaminations between 0 and 1. At 0 the result is the number of
        true detections before the first false one.

    Returns
    -------
    n_true : 1D `~numpy.ndarray` of int
        Number of true detections, one per contamination; 0 if no
        threshold is clean enough.

    Examples
    --------
    >>> from bgrem.evaluate import true_positives_at
    >>> true_positives_at([4, 3, 2, 1], [True, True, False, True], [0.0, 0.25])
    array([2, 3])
    """
    _, n_true, n_false = detection_curve(scores, is_true)
    last = [_last_clean(n_true, n_false, c) for c in contaminations]
    return np.array([0 if k < 0 else n_true[k] for k in last], dtype=int)


def threshold_at(scores, is_true, contamination):
    """
    Return the lowest threshold at which a contamination is not exceeded.

    Parameters
    ----------
    scores, is_true
        As for `true_positives_at`.
    contamination : float
        Contamination between 0 and 1.

    Returns
    -------
    threshold : float
        Keep the detections with a score at or above it; infinity if no
        threshold is clean enough.

    Examples
    --------
    >>> from bgrem.evaluate import threshold_at
    >>> threshold_at([4, 3, 2, 1], [True, True, False, True], 0.0)
    3.0
    """
    thresholds, n_true, n_false = detection_curve(scores, is_true)
    last = _last_clean(n_true, n_false, contamination)
    return float(thresholds[last]) if last >= 0 else np.inf


def _last_clean(n_true, n_false, contamination):
    """Return the index of the last clean enough threshold, -1 for none."""
    if not 0 <= contamination <= 1:
        msg = f'contamination must be between 0 and 1, got {contamination}'
        raise ValueError(msg)
    clean = np.flatnonzero(n_false <= contamination * (n_true + n_false))
    return clean[-1] if clean.size else -1
