"""
The evaluation on real images: a deep stack as truth, and injected stars.

The truth is not known for any real image. Two substitutes are used: for a single
exposure, the sources of the deep stack of the same field; for the other images, stars
injected into the image itself and recovered at an equal rate of false alarms on noise
like its own.
"""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from photutils.background import Background2D
from photutils.psf import fit_fwhm
from scipy import ndimage

from bgrem.evaluate.curves import CONTAMINATIONS
from bgrem.evaluate.injections import is_near, judge_injections, moffat_psf
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

__all__ = ['INJECTION_IMAGES', 'judge_stack', 'run_real']

STACK_IMAGE = 'decam_i_obs04_5exp.fits'
INJECTION_IMAGES = (
    'ntt_emmi_R_galaxies.fits',
    'toros_eso085-030_004.fits',
    'ps1_stack_nanedge.fits',
    'spitzer_irac_glimpse.fits',
)
# Peaks of the stack below this are not certain enough to be a truth.
STACK_SNR = 6.0


def run_real(folder, weights=('optical',), *, seed=990_004, peers=None):
    """
    Judge weights and their peers on the real images of a folder.

    Parameters
    ----------
    folder : path-like
        Contains the files `STACK_IMAGE` and `INJECTION_IMAGES`; missing ones are left
        out.
    weights : sequence of str or path-like, optional
        Names of weights in the package or paths.
    seed : int, optional
        Seed of the positions and fluxes of the injected stars.
    peers : dict of str to callable, optional
        Detectors to compare with; by default those of
        `bgrem.evaluate.peers.PEERS` except the oracle.

    Returns
    -------
    results : dict
        As from `bgrem.evaluate.suite.run_suite`, with images instead of families.

    Raises
    ------
    FileNotFoundError
        If the folder contains none of the images.

    Examples
    --------
    >>> from bgrem.evaluate import run_real
    >>> results = run_real('images/')  # doctest: +SKIP
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
            result = judge_injections(_observed(_read(path)), detectors, rng)
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
        Images on the same pixel grid. The truth is every peak of the stack above
        6 sigma, in its matched filter or in one of half the width, which separates
        close pairs, and faint neighbors from bright galaxies. The signal-to-noise ratio
        of a source in the exposure is that in the stack times the ratio of their noise.
    detectors : dict of str to callable
        As for `bgrem.evaluate.suite.DetectionSurvey`.

    Returns
    -------
    result : dict
        As from `bgrem.evaluate.suite.DetectionSurvey.result`.
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
    certain = narrow.score > STACK_SNR
    new = ~is_near(
        np.column_stack([broad.x, broad.y]),
        np.column_stack([narrow.x, narrow.y])[certain],
        match_radius(deep.fwhm),
    )
    x, y, score = (
        np.concatenate([getattr(narrow, name), getattr(broad, name)[new]])
        for name in ('x', 'y', 'score')
    )
    certain = score > STACK_SNR
    return Detections(x[certain], y[certain], score[certain])
