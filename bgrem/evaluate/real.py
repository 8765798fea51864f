"""
The evaluation on real images: a deep stack as truth, and injected stars.

No real image comes with the truth. Two substitutes are used: for a single
exposure, the sources of the deep stack of the same field; for the rest, stars
put into the image itself, found again at equal rate of false alarms.
"""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.modeling.functional_models import Moffat2D
from astropy.utils.exceptions import AstropyWarning
from photutils.background import Background2D
from photutils.psf import fit_fwhm
from photutils.segmentation import detect_sources
from scipy import ndimage
from scipy.spatial import KDTree

from bgrem.evaluate.curves import CONTAMINATIONS
from bgrem.evaluate.matching import match_radius
from bgrem.evaluate.peers import (
    PEERS,
    Detections,
    matched_filter,
    probability_peaks,
)
from bgrem.evaluate.scenes import Scene
from bgrem.evaluate.suite import DetectionSurvey
from bgrem.weights import load_weights

__all__ = ['INJECTION_IMAGES', 'judge_injections', 'judge_stack', 'run_real']

STACK_IMAGE = 'decam_i_obs04_5exp.fits'
INJECTION_IMAGES = (
    'ntt_emmi_R_galaxies.fits',
    'toros_eso085-030_004.fits',
    'ps1_stack_nanedge.fits',
    'spitzer_irac_glimpse.fits',
)
MOFFAT_BETA = 3.0
PSF_HALF_SIZE = 16
FALSE_ALARMS_PER_MPIX = 25.0
SNR_BINS = ((3.0, 5.0), (5.0, 8.0), (8.0, 15.0), (15.0, 50.0))
# Stars closer than this to each other would blend.
INJECTION_SPACING = 32
# Peaks of the stack below this are not certain enough to be a truth.
STACK_SNR = 6.0


def run_real(folder, weights=('optical',), *, seed=990_004, peers=None):
    """
    Judge weights and their peers on the real images of a folder.

    Parameters
    ----------
    folder : path-like
        Holds the files `STACK_IMAGE` and `INJECTION_IMAGES`; those missing
        are left out.
    weights : sequence of str or path-like, optional
        Names of shipped weights or paths.
    seed : int, optional
        Seed of the positions and fluxes of the injected stars.
    peers : dict of str to callable, optional
        Detectors to compare with; by default those of
        `bgrem.evaluate.peers.PEERS` but the oracle.

    Returns
    -------
    results : dict
        As `bgrem.evaluate.suite.run_suite`, an image in place of a family.

    Raises
    ------
    FileNotFoundError
        If the folder holds none of the images.
    """
    folder = Path(folder)
    loaded = {w.name: w for w in map(load_weights, weights)}
    detectors = {name: _as_detector(w) for name, w in loaded.items()}
    if peers is None:
        peers = {name: peer for name, peer in PEERS.items() if name != 'oracle'}
    detectors |= peers
    families = {}
    if (path := folder / STACK_IMAGE).exists():
        exposure, stack = _read(path, 'EXP_A'), _read(path, 'STACK_BCDE')
        families[path.stem] = {'detection': judge_stack(exposure, stack, detectors)}
    for path in (folder / name for name in INJECTION_IMAGES):
        if path.exists():
            rng = np.random.default_rng(seed)
            result = judge_injections(_read(path), detectors, rng)
            families[path.stem] = {'injection': result}
    if not families:
        msg = f'folder {str(folder)!r} holds none of the images of the evaluation'
        raise FileNotFoundError(msg)
    return {
        'suite': 'real',
        'seed': seed,
        'contaminations': list(CONTAMINATIONS),
        'weights': {name: w.sha256 for name, w in loaded.items()},
        'families': families,
    }


def _as_detector(weights):
    def detect(scene):
        return probability_peaks(scene.image, scene.mask, weights)

    return detect


def _read(path, extension=None):
    """Return an image as float32, native byte order."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        data = fits.getdata(path, extension or 0)
    return np.asarray(data, dtype=np.float32)


def _observed(image):
    """
    Return a scene of a real image: its PSF is a Moffat of the measured FWHM.
    """
    mask = ~np.isfinite(image)
    image = np.where(mask, 0, image).astype(np.float32)
    fwhm = _measure_fwhm(image, mask)
    return _scene(image, mask, fwhm)


def _scene(image, mask, fwhm, catalog=None):
    return Scene(
        image=image,
        source=None,
        sky=None,
        sigma=None,
        mask=mask,
        psf=moffat_psf(fwhm),
        fwhm=fwhm,
        catalog=catalog,
    )


def moffat_psf(fwhm, dx=0.0, dy=0.0):
    """
    Return a Moffat PSF (beta 3) of unit sum.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum in pixels.
    dx, dy : float, optional
        Centre, from the central pixel.

    Returns
    -------
    psf : 2D `~numpy.ndarray` of float
        33 x 33 px, each the mean over 5 x 5 points of it.
    """
    gamma = fwhm / (2 * np.sqrt(2 ** (1 / MOFFAT_BETA) - 1))
    n_side = 2 * PSF_HALF_SIZE + 1
    fine = (np.arange(5 * n_side) + 0.5) / 5 - 0.5 - PSF_HALF_SIZE
    model = Moffat2D(1.0, dx, dy, gamma, MOFFAT_BETA)
    values = model(*np.meshgrid(fine, fine))
    psf = values.reshape(n_side, 5, n_side, 5).mean(axis=(1, 3))
    return psf / psf.sum()


def _sky(image, mask):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyWarning)
        return Background2D(image, 64, mask=mask, exclude_percentile=90)


def _measure_fwhm(image, mask):
    """
    Measure the FWHM of the stars: the lower quartile of the bright peaks.

    A Gaussian is fitted to the core alone, because it makes the wings too wide.
    Galaxies and blends are wider than stars, cosmic rays narrower than any
    PSF that samples (1.3 px).
    """
    sky = _sky(image, mask)
    data = image - sky.background
    significance = ndimage.gaussian_filter(data, 1.0) / sky.background_rms
    peak = (significance == ndimage.maximum_filter(significance, 11)) & ~mask
    peak &= significance > 10
    # Saturated cores are flat: leave the brightest out.
    peak &= data < np.percentile(data[peak], 90) if peak.any() else True
    y, x = np.nonzero(peak)
    order = np.argsort(-significance[y, x])[:200]
    if order.size < 5:
        msg = f'image has too few bright sources to measure its FWHM: {order.size}'
        raise ValueError(msg)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyWarning)
        fwhm = fit_fwhm(
            data, xypos=np.column_stack([x, y])[order], fit_shape=7, mask=mask
        )
    fwhm = np.atleast_1d(fwhm)
    fwhm = fwhm[np.isfinite(fwhm) & (fwhm > 1.3) & (fwhm < 12)]
    return float(np.percentile(fwhm, 25))


def judge_stack(exposure, stack, detectors):
    """
    Judge detections in one exposure against a deep stack of the same field.

    Parameters
    ----------
    exposure, stack : 2D `~numpy.ndarray` of float
        Images on the same pixels. The truth is every peak of the stack above
        6 sigma, in its matched filter or in one of half the width, which keeps
        close pairs and faint neighbours of bright galaxies apart; the
        signal-to-noise ratio of a source in the exposure is the one in the stack
        times the ratio of their noise.
    detectors : dict of str to callable
        As for `bgrem.evaluate.suite.DetectionSurvey`.

    Returns
    -------
    result : dict
        As `bgrem.evaluate.suite.DetectionSurvey.result`.
    """
    deep = _observed(stack)
    scene = _observed(exposure)
    found = _stack_sources(deep)
    noise = [_sky(s.image, s.mask).background_rms_median for s in (deep, scene)]
    catalog = {
        'x': found.x,
        'y': found.y,
        'snr': found.score * noise[0] / noise[1],
    }
    survey = DetectionSurvey(detectors)
    survey.add(_scene(scene.image, scene.mask, scene.fwhm, catalog))
    return survey.result()


def _stack_sources(deep):
    narrow = matched_filter(replace(deep, psf=moffat_psf(deep.fwhm / 2)))
    broad = matched_filter(deep)
    new = ~_are_found(
        {'x': broad.x, 'y': broad.y},
        narrow.x[narrow.score > STACK_SNR],
        narrow.y[narrow.score > STACK_SNR],
        match_radius(deep.fwhm),
    )
    x, y, score = (
        np.concatenate([getattr(narrow, name), getattr(broad, name)[new]])
        for name in ('x', 'y', 'score')
    )
    certain = score > STACK_SNR
    return Detections(x[certain], y[certain], score[certain])


def judge_injections(image, detectors, rng):
    """
    Measure the completeness of injected stars at equal false-alarm rate.

    Stars with signal-to-noise ratios from 3 to 50, drawn log-uniformly, are
    put where the image shows no source. The threshold of each detector is the
    one at which it gives 25 false alarms per 10^6 pixels on the image turned
    upside down (twice the sky minus the image, without the surroundings of
    its sources): noise is symmetric, sources are not. A detector that knows
    what sources look like may be quieter on such an image than on real noise,
    which would flatter it. The stars' own photon noise is left out.

    Parameters
    ----------
    image : 2D `~numpy.ndarray` of float
        Real image; pixels that are not finite are masked.
    detectors : dict of str to callable
        As for `bgrem.evaluate.suite.DetectionSurvey`.
    rng : `~numpy.random.Generator`
        Draws positions and fluxes.

    Returns
    -------
    result : dict
        ``fwhm`` (pixels), ``n_injected`` and ``methods``: for each detector
        its ``threshold`` and, for each bin of signal-to-noise ratio, the
        ``completeness``.
    """
    scene = _observed(image)
    sky = _sky(scene.image, scene.mask)
    empty = ~_source_surroundings(scene, sky)
    stars = _draw_stars(scene, sky.background_rms, empty, rng)
    with_stars = _scene(_inject(scene.image, stars, scene.fwhm), scene.mask, scene.fwhm)
    flipped = (2 * sky.background - scene.image).astype(np.float32)
    flipped = _scene(flipped, scene.mask, scene.fwhm)

    methods = {}
    n_allowed = int(FALSE_ALARMS_PER_MPIX * empty.sum() / 1e6)
    for name, detector in detectors.items():
        alarms = detector(flipped)
        at_empty = empty[np.rint(alarms.y).astype(int), np.rint(alarms.x).astype(int)]
        scores = np.sort(alarms.score[at_empty])[::-1]
        threshold = float(scores[n_allowed]) if scores.size > n_allowed else 0.0
        found = detector(with_stars)
        kept = found.score > threshold
        is_found = _are_found(
            stars, found.x[kept], found.y[kept], match_radius(scene.fwhm)
        )
        methods[name] = {
            'threshold': threshold,
            'bins': [
                _completeness(stars['snr'], is_found, low, high)
                for low, high in SNR_BINS
            ],
        }
    return {'fwhm': scene.fwhm, 'n_injected': len(stars['x']), 'methods': methods}


def _source_surroundings(scene, sky):
    """
    Return the pixels of and around the image's own sources, the masked too.
    """
    data = ndimage.gaussian_filter(scene.image - sky.background, scene.fwhm / 2.355)
    noise = sky.background_rms / (2 * np.sqrt(np.pi) * scene.fwhm / 2.355)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyWarning)
        segments = detect_sources(data, 3 * noise, n_pixels=5, mask=scene.mask)
    near = scene.mask.copy()
    if segments is not None:
        near |= segments.data > 0
    return ndimage.binary_dilation(near, iterations=int(np.ceil(2 * scene.fwhm)))


def _draw_stars(scene, rms, empty, rng):
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
    noise = rms[np.rint(y).astype(int), np.rint(x).astype(int)]
    flux = snr * noise / np.sqrt(np.sum(scene.psf**2))
    return {'x': x, 'y': y, 'snr': snr, 'flux': flux}


def _inject(image, stars, fwhm):
    image = image.copy()
    half = PSF_HALF_SIZE
    for x, y, flux in zip(stars['x'], stars['y'], stars['flux'], strict=True):
        row, column = int(np.rint(y)), int(np.rint(x))
        window = np.s_[row - half : row + half + 1, column - half : column + half + 1]
        image[window] += flux * moffat_psf(fwhm, x - column, y - row)
    return image


def _are_found(stars, x, y, radius):
    if x.size == 0:
        return np.zeros(stars['x'].size, dtype=bool)
    distance, _ = KDTree(np.column_stack([x, y])).query(
        np.column_stack([stars['x'], stars['y']])
    )
    return distance <= radius


def _completeness(snr, is_found, low, high):
    inside = (snr >= low) & (snr < high)
    return {
        'snr_low': low,
        'snr_high': high,
        'n': int(inside.sum()),
        'completeness': float(is_found[inside].mean()) if inside.any() else 0.0,
    }
