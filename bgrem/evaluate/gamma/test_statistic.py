"""
Sources by their likelihood ratio: an iterated map of the test statistic.
"""

import numpy as np
from scipy import ndimage
from scipy.signal import oaconvolve

from bgrem.evaluate.peers import Detections

__all__ = ['fit_norms', 'search', 'ts_true', 'ts_wrong']

# sqrt(TS) below which the search ends, and the most sources it may add.
_LOWEST = 2.5
_MOST = 80


def ts_true(scene):
    """
    Search with the true model of the sky: the practical limit.

    Parameters
    ----------
    scene : `~bgrem.evaluate.gamma.scenes.GammaScene`
        Counts, PSF and the expected counts of its sky are used.

    Returns
    -------
    detections : `~bgrem.evaluate.peers.Detections`
        The score is sqrt(TS).
    """
    return search(scene.image, scene.sky[None], scene.psf)[0]


def ts_wrong(scene):
    """
    Search with a model of the sky that has another shape, its norms fitted.

    Parameters
    ----------
    scene : `~bgrem.evaluate.gamma.scenes.GammaScene`
        Counts, PSF and the wrong model are used.

    Returns
    -------
    detections : `~bgrem.evaluate.peers.Detections`
        The score is sqrt(TS).
    """
    return search(scene.image, scene.wrong_model, scene.psf, fit=True)[0]


def search(counts, components, psf, *, fit=False):
    """
    Add the most significant source to the model, again and again.

    Parameters
    ----------
    counts : 2D `~numpy.ndarray` of float
        The image.
    components : 3D `~numpy.ndarray` of float
        What the model of the sky is the sum of, in counts.
    psf : 2D `~numpy.ndarray` of float
        Unit sum, centred in an array of odd sides.
    fit : bool, optional
        Whether the norms of the components are fitted, again after each source.

    Returns
    -------
    detections : `~bgrem.evaluate.peers.Detections`
        The score is sqrt(TS) when the source was added.
    sky : 2D `~numpy.ndarray` of float
        The model of the sky at the end, without the sources.
    """
    counts = np.asarray(counts, float)
    norms = np.ones(len(components))
    if fit:
        norms = norms * counts.mean() / len(norms)
    sources = np.zeros(counts.shape)
    found = []
    while True:
        if fit:
            norms = fit_norms(counts, components, norms, sources)
        sky = np.tensordot(norms, components, 1)
        best = _most_significant(counts, sky + sources, psf)
        if best is None or best[-1] < _LOWEST or len(found) == _MOST:
            break
        x, y, amplitude, root_ts = best
        found.append((x, y, root_ts))
        sources += amplitude * _place(psf, x, y, counts.shape)
    return Detections(*np.array(found).reshape(-1, 3).T), sky


def fit_norms(counts, components, norms, fixed, n_steps=100):
    """
    Fit the norms of a model to counts, by the expectation-maximisation algorithm.

    Parameters
    ----------
    counts : 2D `~numpy.ndarray` of float
        The image.
    components : 3D `~numpy.ndarray` of float
        What the model is the sum of.
    norms : 1D `~numpy.ndarray` of float
        Where to begin, positive.
    fixed : 2D `~numpy.ndarray` of float
        What else is in the image.
    n_steps : int, optional
        Steps to take.

    Returns
    -------
    norms : 1D `~numpy.ndarray` of float
        Those of the highest Poisson likelihood; not negative.
    """
    flat = components.reshape(len(components), -1)
    total = flat.sum(axis=1)
    for _ in range(n_steps):
        ratio = counts.ravel() / np.maximum(norms @ flat + fixed.ravel(), 1e-12)
        step = flat @ ratio / total
        norms = norms * step
        if np.abs(step - 1).max() < 1e-5:
            break
    return norms


def _most_significant(counts, model, psf):
    """
    Return x, y, counts and sqrt(TS) of the source that helps the model most.

    The score test gives the map; the likelihood is maximised at its peaks.
    """
    flipped = psf[::-1, ::-1]
    excess = oaconvolve(counts / model - 1, flipped, mode='same')
    # Of the counts, not of the model: where there are more of them TS grows slower.
    information = oaconvolve(1 / model, flipped**2, mode='same')
    score = excess / np.sqrt(information)
    is_peak = (score == ndimage.maximum_filter(score, 3)) & (score > 0.8 * _LOWEST)
    rows, columns = np.nonzero(is_peak)
    # The score test exaggerates: no peak is better than it says.
    order = np.argsort(-score[rows, columns])
    best = None
    for row, column in zip(rows[order], columns[order], strict=True):
        if best is not None and score[row, column] < best[-1]:
            break
        x, y = _refine(score, row, column)
        light = _place(psf, x, y, counts.shape)
        near = light > 0
        start = excess[row, column] / information[row, column]
        amplitude, ts = _fit(counts[near], model[near], light[near], start)
        if best is None or ts**0.5 > best[-1]:
            best = x, y, amplitude, ts**0.5
    return best


def _fit(counts, model, light, amplitude):
    """Maximise the Poisson likelihood of one amplitude, by Newton's method."""
    for _ in range(20):
        total = model + amplitude * light
        slope = np.sum(light * (counts / total - 1))
        curvature = np.sum(counts * (light / total) ** 2)
        step = slope / max(curvature, 1e-12)
        new = max(amplitude + step, amplitude / 3)
        if abs(new - amplitude) < 1e-4 * amplitude:
            break
        amplitude = new
    added = amplitude * light
    ts = 2 * np.sum(counts * np.log1p(added / model) - added)
    return amplitude, max(ts, 0.0)


def _refine(score, row, column):
    """Return the top of a parabola through a peak and its neighbours."""
    position = []
    for axis, at in ((1, column), (0, row)):
        line = score[row] if axis == 1 else score[:, column]
        shift = 0.0
        if 0 < at < len(line) - 1:
            left, middle, right = line[at - 1 : at + 2]
            bend = left - 2 * middle + right
            shift = np.clip((left - right) / (2 * bend), -0.5, 0.5) if bend < 0 else 0
        position.append(at + shift)
    return position


def _place(psf, x, y, shape):
    """Return the PSF at a position of an image."""
    column, row = round(x), round(y)
    moved = ndimage.shift(psf, (y - row, x - column), order=3, mode='constant')
    moved = np.maximum(moved, 0)
    half = psf.shape[0] // 2
    image = np.zeros(shape)
    top, left = row - half, column - half
    rows = slice(max(top, 0), min(top + psf.shape[0], shape[0]))
    columns = slice(max(left, 0), min(left + psf.shape[1], shape[1]))
    image[rows, columns] = moved[
        rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
    ]
    return image
