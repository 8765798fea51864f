"""
Quality of segmentation images by the scores of Haigh et al. 2021.

The four scores are those of C. Haigh et al. 2021, A&A 645, A107, "Optimising
and comparing source-extraction tools using objective segmentation quality
criteria" (section on quality measures): the F-score of the detections, an area
score from the under- and over-merging errors, and two combinations of both.
"""

import warnings

import numpy as np
from astropy.utils.exceptions import AstropyWarning
from scipy import ndimage, sparse

from bgrem.evaluate.matching import MIN_SNR
from bgrem.evaluate.peers import photutils_segments

__all__ = [
    'SegmentationSurvey',
    'area_score',
    'combined_scores',
    'detection_counts',
    'f_score',
    'merging_errors',
    'true_segments',
]

# Surface brightness down to which light belongs to a true segment, in sigma.
TRUTH_SIGMA = 0.1
# A promise nearer to what the segments of photutils hold of false ones, a quarter and
# more: an F-score says nothing of methods that list differently much.
_LOOSE_RATE = 0.2


def detection_counts(truth, segments, image):
    """
    Match segments one to one with true ones by their brightest pixels.

    A segment is a candidate for every true segment whose brightest pixel it
    covers, and is assigned to the one whose brightest pixel is the brightest.

    Parameters
    ----------
    truth : 2D `~numpy.ndarray` of int
        True segments, 0 for the sky.
    segments : 2D `~numpy.ndarray` of int
        Detected segments, 0 for the sky.
    image : 2D `~numpy.ndarray` of float
        The image in which brightness is measured, preferably without noise.

    Returns
    -------
    n_true_positive, n_false_positive, n_false_negative : int
        Segments matched, other segments, other true segments.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if not truth.shape == segments.shape == image.shape:
        msg = (
            'truth, segments and image must have the same shape, got '
            f'{truth.shape}, {segments.shape} and {image.shape}'
        )
        raise ValueError(msg)
    labels = np.unique(truth[truth > 0])
    n_segments = np.unique(segments[segments > 0]).size
    n_matched = 0
    if labels.size:
        peaks = np.array(ndimage.maximum_position(image, truth, labels), dtype=int)
        covered = segments[peaks[:, 0], peaks[:, 1]]
        # Of all true ones that a segment covers, the brightest is found.
        n_matched = np.unique(covered[covered > 0]).size
    return n_matched, n_segments - n_matched, labels.size - n_matched


def f_score(n_true_positive, n_false_positive, n_false_negative):
    """
    Return the F-score, the harmonic mean of precision and recall.

    Parameters
    ----------
    n_true_positive, n_false_positive, n_false_negative : int
        From `detection_counts`.

    Returns
    -------
    score : float
        2 P R / (P + R) with P = TP / (TP + FP) and R = TP / (TP + FN),
        between 0 and 1; 0 if nothing is matched.
    """
    total = 2 * n_true_positive + n_false_positive + n_false_negative
    return 2 * n_true_positive / total if n_true_positive else 0.0


def merging_errors(truth, segments):
    """
    Return the under- and the over-merging error of a segmentation.

    Parameters
    ----------
    truth, segments : 2D `~numpy.ndarray` of int
        True and detected segments. The sky, 0, is a segment like the others.

    Returns
    -------
    under_merging, over_merging : float
        Between 0 and 1. A true segment that is broken into pieces (or partly
        lost to the sky) is under-merged; a detected segment that contains more than
        one true segment is over-merged.

    Raises
    ------
    ValueError
        If the shapes differ.

    Notes
    -----
    Each detected segment is compared with the true one with which it overlaps most,
    of area A, in c pixels: the under-merging error is the sum of (A - c) c / A
    over the detected segments, divided by the area of the image. The over-merging error
    is the same with detected and true segments exchanged.
    """
    if truth.shape != segments.shape:
        msg = (
            f'truth and segments must have the same shape, got {truth.shape} and '
            f'{segments.shape}'
        )
        raise ValueError(msg)
    pairs = truth.ravel(), segments.ravel()
    overlap = sparse.coo_array((np.ones(truth.size), pairs)).tocsr()
    return (
        _merging_error(overlap.T.tocsr()) / truth.size,
        _merging_error(overlap) / truth.size,
    )


def _merging_error(overlap):
    """Compare each row with the column that it overlaps most."""
    correct = overlap.max(axis=1).toarray().ravel()
    column = overlap.argmax(axis=1)
    area = np.asarray(overlap.sum(axis=0)).ravel()[column]
    some = correct > 0
    correct, area = correct[some], area[some]
    return float(np.sum((area - correct) * correct / area))


def area_score(under_merging, over_merging):
    """
    Return the area score, 1 - sqrt(UM^2 + OM^2).

    Parameters
    ----------
    under_merging, over_merging : float
        From `merging_errors`.

    Returns
    -------
    score : float
        1 for segments that agree with the true ones in every pixel.
    """
    return 1 - float(np.hypot(under_merging, over_merging))


def combined_scores(f, under_merging, over_merging):
    """
    Return the two scores that combine detections and areas.

    Parameters
    ----------
    f : float
        From `f_score`.
    under_merging, over_merging : float
        From `merging_errors`.

    Returns
    -------
    combined_a, combined_b : float
        A = sqrt(F^2 + area score^2), at most sqrt(2), and
        B = cbrt((1 - OM) (1 - UM) F), at most 1.
    """
    combined_a = np.hypot(f, area_score(under_merging, over_merging))
    combined_b = np.cbrt((1 - over_merging) * (1 - under_merging) * f)
    return float(combined_a), float(combined_b)


def true_segments(scene, threshold=TRUTH_SIGMA):
    """
    Return the segments of the true sources of a scene.

    Parameters
    ----------
    scene : `~bgrem.evaluate.scenes.Scene`
        The truth.
    threshold : float, optional
        Surface brightness of the noise-free sources, in units of the noise of
        a pixel, above which a pixel belongs to a source.

    Returns
    -------
    segments : 2D `~numpy.ndarray` of int32
        One label for each true source with S/N above 2 that reaches the
        threshold at its center, 0 elsewhere.

    Notes
    -----
    In the paper, a pixel belongs to the source that contributes most light.
    Here, only the sum of all sources is known, and a watershed of it from the
    true centers is used instead. Two centers in one pixel are one source.
    """
    # Takes a second to import.
    from skimage.segmentation import watershed

    truth = scene.catalog
    counted = np.asarray(truth['snr']) > MIN_SNR
    row, column = (np.rint(truth[k][counted]).astype(int) for k in 'yx')
    region = (scene.source > threshold * scene.sigma) & ~scene.mask
    inside = region[row, column]
    markers = np.zeros(scene.source.shape, dtype=np.int32)
    markers[row[inside], column[inside]] = np.arange(1, np.sum(inside) + 1)
    return watershed(-scene.source, markers, mask=region, connectivity=2)


class SegmentationSurvey:
    """
    Judge the segments of bgrem and of photutils on the same scenes.

    ``bgrem`` is `bgrem.DiffusionBackground.detect` with its defaults, ``bgrem, 20%``
    the same with a ``false_discovery_rate`` of 0.2, and ``photutils`` is
    `bgrem.evaluate.peers.photutils_segments`. The scores are those of all scenes
    together: from the sums of the counts and the mean merging errors.

    Parameters
    ----------
    separator : `~bgrem.evaluate.separator.Separator`
        The separator of the scenes.
    """

    def __init__(self, separator):
        self.separator = separator
        self._counts = {}
        self._errors = {}

    def add(self, scene):
        """
        Judge one scene.

        Parameters
        ----------
        scene : `~bgrem.evaluate.scenes.Scene`
            The scene, of which only the numbers are kept.
        """
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', AstropyWarning)
            background = self.separator.background(scene)
            found = {
                'bgrem': background.detect(),
                'bgrem, 20%': background.detect(false_discovery_rate=_LOOSE_RATE),
                'photutils': photutils_segments(scene),
            }
        truth = true_segments(scene)
        for name, segments in found.items():
            labels = np.zeros_like(truth) if segments is None else segments.data
            counts = detection_counts(truth, labels, scene.source)
            self._counts.setdefault(name, []).append(counts)
            errors = merging_errors(truth, labels)
            self._errors.setdefault(name, []).append(errors)

    def result(self):
        """
        Summarize all scenes added so far.

        Returns
        -------
        result : dict
            For each method ``f_score``, ``area_score``, ``combined_a``,
            ``combined_b``, ``under_merging``, ``over_merging`` and the counts
            ``n_true_positive``, ``n_false_positive`` and
            ``n_false_negative``.
        """
        result = {}
        for name, counts in self._counts.items():
            counts = [int(n) for n in np.sum(counts, axis=0)]
            under, over = (float(v) for v in np.mean(self._errors[name], axis=0))
            f = f_score(*counts)
            combined_a, combined_b = combined_scores(f, under, over)
            result[name] = {
                'f_score': f,
                'area_score': area_score(under, over),
                'combined_a': combined_a,
                'combined_b': combined_b,
                'under_merging': under,
                'over_merging': over,
                'n_true_positive': counts[0],
                'n_false_positive': counts[1],
                'n_false_negative': counts[2],
            }
        return result
