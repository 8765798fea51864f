"""
Stars injected into a real image and recovered at an equal rate of false alarms.
"""

from dataclasses import replace

import numpy as np
from astropy.modeling.functional_models import Moffat2D
from scipy import ndimage
from scipy.spatial import KDTree

from bgrem.evaluate.matching import match_radius
from bgrem.evaluate.surrogate import measure_noise

__all__ = [
    'FALSE_ALARMS_PER_MPIX',
    'SNR_BINS',
    'is_near',
    'judge_injections',
    'moffat_psf',
]

FALSE_ALARMS_PER_MPIX = 25.0
# Noise is drawn until its clear parts have this area, which holds 50 false alarms,
# but not more often than this: a crowded image is hardly anywhere empty.
NOISE_MEGAPIXELS = 2.0
MAX_DRAWS = 12
SNR_BINS = ((3.0, 5.0), (5.0, 8.0), (8.0, 15.0), (15.0, 50.0))
# Stars closer than this to each other would blend.
INJECTION_SPACING = 32
MOFFAT_BETA = 3.0
PSF_HALF_SIZE = 16


def judge_injections(scene, detectors, rng):
    """
    Measure the completeness of injected stars at equal false-alarm rate.

    Stars with signal-to-noise ratios from 3 to 50, drawn log-uniformly, are placed
    where the image shows no source. The threshold of each detector is the one at which
    it gives 25 false alarms per 10^6 pixels there, after the noise has been redrawn:
    Gaussian, with the rms and the correlation of the image
    (`bgrem.evaluate.surrogate`). The sources and everything around them stay in place
    and the same stars are injected, so that the detector is affected by the same
    crowding, and by the same errors of sky and noise, as in the image itself. False
    alarms are counted 2 FWHM and more from the stars.

    This rate is that of noise alone: cosmic rays, hot pixels and skewed noise are not
    included. These, and real sources, are among the detections in the image without
    injections, which are counted at the same threshold.

    Parameters
    ----------
    scene : `~bgrem.evaluate.scenes.Scene`
        A real image, its mask and its PSF.
    detectors : dict of str to callable
        As for `bgrem.evaluate.suite.DetectionSurvey`.
    rng : `~numpy.random.Generator`
        Draws positions, fluxes and noise.

    Returns
    -------
    result : dict
        ``fwhm`` (pixels), ``n_injected``, ``empty_megapixels`` (the area that
        shows no source), ``noise_megapixels`` (the area in which false alarms
        were counted, for all draws of the noise together), ``correlation`` (the factor
        by which it increases the noise of the matched filter) and ``methods``: for each
        detector its ``threshold``, the ``false_alarms`` above it, its ``detections`` in
        the whole image without injections and the ``completeness`` in each bin of
        signal-to-noise ratio.

    Raises
    ------
    ValueError
        If the image has sources everywhere.

    Notes
    -----
    The signal-to-noise ratio is that of a matched filter in the noise of the image,
    including its correlation, but without the photon noise of the stars.

    The relative uncertainty of the rate is 1 / sqrt(N) for N false alarms: 14% for 50
    of them, or 0.04 in the threshold of a matched filter.
    """
    noise = measure_noise(scene.image, scene.mask, scene.fwhm)
    filter_noise = noise.filter_noise(scene.psf)
    stars = _draw_stars(scene, filter_noise, noise.empty, rng)
    clear = noise.empty & ~_near_stars(stars, scene)
    area = float(clear.sum() / 1e6)
    if area == 0:
        msg = 'image must have room for stars and for false alarms, got none'
        raise ValueError(msg)
    n_draws = min(int(np.ceil(NOISE_MEGAPIXELS / area)), MAX_DRAWS)
    surrogates = [noise.redraw(scene.image, rng) for _ in range(n_draws)]
    with_stars = [
        replace(scene, image=_inject(image, stars, scene.fwhm))
        for image in (scene.image, *surrogates)
    ]
    methods = {}
    for name, detector in detectors.items():
        found, *on_noise = (detector(s) for s in with_stars)
        alarms = np.concatenate([_scores_in(clear, other) for other in on_noise])
        threshold = _threshold(alarms, int(FALSE_ALARMS_PER_MPIX * area * n_draws))
        observed = detector(scene)
        methods[name] = {
            'threshold': threshold,
            'false_alarms': int(np.sum(alarms > threshold)),
            'detections': int(np.sum(observed.score > threshold)),
            'bins': _bins(stars, found, threshold, scene.fwhm),
        }
    correlation = filter_noise / noise.rms * np.sqrt(np.sum(scene.psf**2))
    return {
        'fwhm': scene.fwhm,
        'n_injected': len(stars['x']),
        'empty_megapixels': float(noise.empty.sum() / 1e6),
        'noise_megapixels': area * n_draws,
        'correlation': float(np.median(correlation)),
        'methods': methods,
    }


def moffat_psf(fwhm, dx=0.0, dy=0.0):
    """
    Return a Moffat PSF (beta 3) of unit sum.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum in pixels.
    dx, dy : float, optional
        Center, relative to the central pixel.

    Returns
    -------
    psf : 2D `~numpy.ndarray` of float
        33 x 33 px, each the mean of the PSF over 5 x 5 points.
    """
    gamma = fwhm / (2 * np.sqrt(2 ** (1 / MOFFAT_BETA) - 1))
    n_side = 2 * PSF_HALF_SIZE + 1
    fine = (np.arange(5 * n_side) + 0.5) / 5 - 0.5 - PSF_HALF_SIZE
    model = Moffat2D(1.0, dx, dy, gamma, MOFFAT_BETA)
    values = model(*np.meshgrid(fine, fine))
    psf = values.reshape(n_side, 5, n_side, 5).mean(axis=(1, 3))
    return psf / psf.sum()


def is_near(positions, others, radius):
    """
    Return which positions have another one nearby.

    Parameters
    ----------
    positions, others : 2D `~numpy.ndarray` of float
        Columns x and y.
    radius : float
        Largest distance.

    Returns
    -------
    near : 1D `~numpy.ndarray` of bool
        One per position.
    """
    if len(others) == 0:
        return np.zeros(len(positions), dtype=bool)
    return KDTree(others).query(positions)[0] <= radius


def _scores_in(region, found):
    inside = region[np.rint(found.y).astype(int), np.rint(found.x).astype(int)]
    return found.score[inside]


def _threshold(scores, n_allowed):
    """Return the threshold that no more than so many scores exceed."""
    scores = np.sort(scores)[::-1]
    return float(scores[n_allowed]) if scores.size > n_allowed else 0.0


def _draw_stars(scene, filter_noise, empty, rng):
    """Draw stars on a jittered grid, where the image is empty."""
    ny, nx = scene.image.shape
    half = PSF_HALF_SIZE
    y, x = np.mgrid[
        half : ny - half : INJECTION_SPACING, half : nx - half : INJECTION_SPACING
    ].reshape(2, -1)
    jitter = INJECTION_SPACING / 4
    y = np.clip(y + rng.uniform(-jitter, jitter, y.size), half, ny - half - 1)
    x = np.clip(x + rng.uniform(-jitter, jitter, x.size), half, nx - half - 1)
    free = empty[np.rint(y).astype(int), np.rint(x).astype(int)]
    y, x = y[free], x[free]
    low, high = SNR_BINS[0][0], SNR_BINS[-1][1]
    snr = low * (high / low) ** rng.random(x.size)
    flux = snr * filter_noise[np.rint(y).astype(int), np.rint(x).astype(int)]
    return {'x': x, 'y': y, 'snr': snr, 'flux': flux}


def _near_stars(stars, scene):
    """Return the pixels within 2 FWHM of a star."""
    is_star = np.zeros(scene.image.shape, bool)
    is_star[np.rint(stars['y']).astype(int), np.rint(stars['x']).astype(int)] = True
    if not is_star.any():
        return is_star
    return ndimage.distance_transform_edt(~is_star) < 2 * scene.fwhm


def _inject(image, stars, fwhm):
    image = image.copy()
    half = PSF_HALF_SIZE
    for x, y, flux in zip(stars['x'], stars['y'], stars['flux'], strict=True):
        row, column = int(np.rint(y)), int(np.rint(x))
        window = np.s_[row - half : row + half + 1, column - half : column + half + 1]
        image[window] += flux * moffat_psf(fwhm, x - column, y - row)
    return image


def _bins(stars, found, threshold, fwhm):
    """Return the completeness in each bin of signal-to-noise ratio."""
    is_found = is_near(
        np.column_stack([stars['x'], stars['y']]),
        np.column_stack([found.x, found.y])[found.score > threshold],
        match_radius(fwhm),
    )
    bins = []
    for low, high in SNR_BINS:
        inside = (stars['snr'] >= low) & (stars['snr'] < high)
        complete = float(is_found[inside].mean()) if inside.any() else 0.0
        bins.append(
            {
                'snr_low': low,
                'snr_high': high,
                'n': int(inside.sum()),
                'completeness': complete,
            }
        )
    return bins
