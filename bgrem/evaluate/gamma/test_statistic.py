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
    Search with a sky model of another shape, with fitted norms.

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
    Add the most significant source to the model repeatedly.

    Parameters
    ----------
    counts : 2D `~numpy.ndarray` of float
        The image.
    components : 3D `~numpy.ndarray` of float
        The components of the sky model, in counts.
    psf : 2D `~numpy.ndarray` of float
        The PSF, with unit sum, centered in an array with odd sides.
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
        rows, columns, light = _place(psf, x, y, counts.shape)
        sources[rows, columns] += amplitude * light
    return Detections(*np.array(found).reshape(-1, 3).T), sky


def fit_norms(counts, components, norms, fixed, n_steps=100):
    """
    Fit the norms of a model to counts, by the expectation-maximization algorithm.

    Parameters
    ----------
    counts : 2D `~numpy.ndarray` of float
        The image.
    components : 3D `~numpy.ndarray` of float
        The components of the model.
    norms : 1D `~numpy.ndarray` of float
        Initial values, positive.
    fixed : 2D `~numpy.ndarray` of float
        Everything else in the image.
    n_steps : int, optional
        The number of steps.

    Returns
    -------
    norms : 1D `~numpy.ndarray` of float
        The norms with the highest Poisson likelihood; not negative.
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

    The score test gives the map; the likelihood is maximized at its peaks.
    """
    flipped = psf[::-1, ::-1]
    excess = oaconvolve(counts / model - 1, flipped, mode='same')
    information = oaconvolve(1 / model, flipped**2, mode='same')
    score = excess / np.sqrt(information)
    is_peak = (score == ndimage.maximum_filter(score, 3)) & (score > 0.8 * _LOWEST)
    rows, columns = np.nonzero(is_peak)
    order = np.argsort(-score[rows, columns])
    best = None
    for row, column in zip(rows[order], columns[order], strict=True):
        # The score test exaggerates: no peak is better than it says.
        if best is not None and score[row, column] < best[-1]:
            break
        start = excess[row, column] / information[row, column]
        fitted = _fit(counts, model, psf, column, row, start)
        if best is None or fitted[-1] > best[-1]:
            best = fitted
    return None if best is None else _climb(counts, model, psf, best)


def _climb(counts, model, psf, best):
    """Move a source to where its likelihood is highest, within its pixel."""
    step = 0.5
    while step > 0.1:
        x, y, amplitude, _ = best
        tried = [
            _fit(counts, model, psf, x + dx, y + dy, amplitude)
            for dx, dy in ((-step, 0), (step, 0), (0, -step), (0, step))
            if 0 <= x + dx < counts.shape[1] - 0.5
            and 0 <= y + dy < counts.shape[0] - 0.5
        ]
        top = max(tried, key=lambda one: one[-1])
        if top[-1] > best[-1]:
            best = top
        else:
            step /= 2
    return best


def _fit(counts, model, psf, x, y, amplitude):
    """Maximize the Poisson likelihood of one amplitude, by Newton's method."""
    rows, columns, light = _place(psf, x, y, counts.shape)
    counts, model = counts[rows, columns], model[rows, columns]
    for _ in range(20):
        total = model + amplitude * light
        slope = np.sum(light * (counts / total - 1))
        curvature = np.sum(counts * (light / total) ** 2)
        new = max(amplitude + slope / max(curvature, 1e-12), amplitude / 3)
        if abs(new - amplitude) < 1e-4 * amplitude:
            break
        amplitude = new
    added = amplitude * light
    # Cash 1979, eq. 6.
    ts = 2 * np.sum(counts * np.log1p(added / model) - added)
    return x, y, amplitude, max(ts, 0.0) ** 0.5


def _place(psf, x, y, shape):
    """Return the part of an image that a source reaches, and its light there."""
    column, row = round(x), round(y)
    if (x, y) != (column, row):
        psf = np.maximum(ndimage.shift(psf, (y - row, x - column), order=3), 0)
    half = psf.shape[0] // 2
    top, left = row - half, column - half
    rows = slice(max(top, 0), min(top + psf.shape[0], shape[0]))
    columns = slice(max(left, 0), min(left + psf.shape[1], shape[1]))
    light = psf[
        rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
    ]
    return rows, columns, light
