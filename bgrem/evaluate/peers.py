"""
The detectors with which bgrem is compared, and bgrem itself.

Every detector takes a `~bgrem.evaluate.scenes.Scene` and returns the positions and
scores of its detections, down to a threshold low enough that most of the last ones are
false. All of them see the same image, mask and point-spread function; only the oracle
sees more. Nothing is tuned to a scene family. All use sky boxes of 64 px. Thresholds
and options of the segmentation-based peers are those that gave them the most true
positives over all families together: lower thresholds merge neighbors, and sep's
cleaning removes more true sources than false ones.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import photutils
from astropy.utils import minversion
from astropy.utils.exceptions import AstropyWarning
from photutils.background import Background2D
from photutils.segmentation import (
    deblend_sources,
    detect_sources,
    make_2dgaussian_kernel,
)
from scipy import ndimage
from scipy.signal import oaconvolve

from bgrem._extras import import_extra
from bgrem.detect.discovery import choose_threshold
from bgrem.detect.peaks import find_peaks

__all__ = [
    'NO_PROGRESS_BAR',
    'PEERS',
    'Detections',
    'list_peaks',
    'matched_filter',
    'matched_filter_snr',
    'oracle',
    'photutils_segmentation',
    'photutils_segments',
    'probability_peaks',
    'sep_default',
    'sep_matched',
]

BOX_SIZE = 64
MIN_PEAK_SNR = 1.5
SEGMENT_SNR = 2.0

# photutils 3.0 draws one unless it is told not to; 3.1 never does, and says that the
# option is deprecated.
NO_PROGRESS_BAR = {} if minversion(photutils, '3.1') else {'progress_bar': False}


@dataclass(frozen=True)
class Detections:
    """
    The detections of one detector in one image.

    Parameters
    ----------
    x, y : 1D `~numpy.ndarray` of float
        Positions in pixels.
    score : 1D `~numpy.ndarray` of float
        The most significant detection has the highest score.
    log_odds_shift : float, optional
        If the score is a probability, the shift added to its log-odds before a
        threshold for a false discovery rate is chosen. Default 0.
    nearest : bool, optional
        How the threshold is chosen, see `choose_threshold`. Default `False`.
    """

    x: np.ndarray
    y: np.ndarray
    score: np.ndarray
    log_odds_shift: float = 0.0
    nearest: bool = False

    def threshold(self, false_discovery_rate):
        """
        Choose the threshold of the score, if it is a probability.

        Parameters
        ----------
        false_discovery_rate : float
            The expected fraction of false detections.

        Returns
        -------
        threshold : float
            As from `~bgrem.detect.discovery.choose_threshold`.
        """
        return choose_threshold(
            self.score, false_discovery_rate, self.log_odds_shift, nearest=self.nearest
        )


def matched_filter_snr(data, sigma, psf, mask=None):
    """
    Return the signal-to-noise ratio of a point source at each pixel.

    Parameters
    ----------
    data : 2D `~numpy.ndarray` of float
        Image with the sky subtracted.
    sigma : float or 2D `~numpy.ndarray` of float
        Noise of each pixel, assumed to be independent; pixels without noise (0)
        have no weight, as if masked.
    psf : 2D `~numpy.ndarray` of float
        Point-spread function, centered in an array with odd sides.
    mask : 2D `~numpy.ndarray` of bool, optional
        True at pixels to exclude. Pixels outside the image are also excluded, so the
        result is valid up to the borders.

    Returns
    -------
    snr : 2D `~numpy.ndarray` of float
        The ratio; 0 if no pixel in reach has any weight.
    """
    sigma = np.broadcast_to(np.asarray(sigma, float), data.shape)
    good = np.isfinite(data) & np.isfinite(sigma) & (sigma > 0)
    if mask is not None:
        good &= ~mask
    weight = np.divide(1.0, sigma**2, out=np.zeros(data.shape), where=good)
    flipped = np.asarray(psf, float)[::-1, ::-1]
    weighted = np.where(good, data, 0.0) * weight
    signal = oaconvolve(weighted, flipped, mode='same')
    variance = oaconvolve(weight, flipped**2, mode='same')
    # The transforms leave rounding where there should be nothing.
    empty = variance <= 1e-9 * variance.max(initial=0.0)
    return np.where(empty, 0.0, signal / np.sqrt(np.where(empty, 1.0, variance)))


def _peaks(snr, mask):
    peaks = find_peaks(snr, mask, MIN_PEAK_SNR)
    return Detections(
        peaks['x_center'], peaks['y_center'], peaks['probability'].astype(float)
    )


def oracle(scene):
    """
    Peaks of the matched filter with the true sky, noise and PSF.

    This is the classical limit for one isolated source in independent noise.
    """
    data = scene.image - scene.sky
    return _peaks(
        matched_filter_snr(data, scene.sigma, scene.psf, scene.mask), scene.mask
    )


def _background(scene):
    """Return the image less its Background2D sky, and the noise map."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyWarning)
        sky = Background2D(scene.image, BOX_SIZE, mask=scene.mask, **scene.options)
        return scene.image - sky.background, sky.background_rms


def matched_filter(scene):
    """
    Peaks of the matched filter after Background2D.

    Sky and noise come from `~photutils.background.Background2D` with its default
    estimators; the filter is the true PSF.
    """
    data, rms = _background(scene)
    return _peaks(matched_filter_snr(data, rms, scene.psf, scene.mask), scene.mask)


def photutils_segments(scene):
    """
    Segment a scene as in the documentation of photutils.

    Background2D, convolution with a Gaussian (here of the true FWHM),
    detect_sources at 2 sigma of the convolved noise, deblend_sources.

    Parameters
    ----------
    scene : `~bgrem.evaluate.scenes.Scene`
        The scene, of which only the observables and the FWHM are used.

    Returns
    -------
    segments : `~photutils.segmentation.SegmentationImage` or `None`
        `None` if nothing is found.
    """
    return _photutils_segments(scene, *_background(scene))


def _photutils_segments(scene, data, rms):
    kernel = _gaussian_kernel(scene.fwhm)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyWarning)
        convolved = ndimage.convolve(np.where(scene.mask, 0, data), kernel)
        threshold = SEGMENT_SNR * rms * np.sqrt(np.sum(kernel**2))
        segments = detect_sources(convolved, threshold, n_pixels=5, mask=scene.mask)
        if segments is None:
            return None
        return deblend_sources(convolved, segments, n_pixels=5, **NO_PROGRESS_BAR)


def _gaussian_kernel(fwhm):
    size = 2 * int(np.ceil(1.5 * fwhm)) + 1
    return make_2dgaussian_kernel(fwhm, size=size).array


def photutils_segmentation(scene):
    """
    Run the pipeline of the photutils documentation.

    The segments are those of `photutils_segments`. The score is the highest
    matched-filter signal-to-noise ratio in the segment, and the position is
    where it is reached.
    """
    data, rms = _background(scene)
    segments = _photutils_segments(scene, data, rms)
    if segments is None:
        return Detections(*np.empty((3, 0)))
    snr = matched_filter_snr(data, rms, _gaussian_kernel(scene.fwhm), scene.mask)
    peaks = ndimage.maximum_position(snr, segments.data, segments.labels)
    y, x = np.array(peaks, dtype=int).T
    return Detections(x.astype(float), y.astype(float), snr[y, x])


def sep_default(scene):
    """
    Run sep (SExtractor's algorithm) with its default 3x3 filter.
    """
    kernel = np.array([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]])
    return _sep(scene, kernel, minarea=5)


def sep_matched(scene):
    """
    Run sep (SExtractor's algorithm) with the true PSF as matched filter.
    """
    half = int(np.ceil(1.5 * scene.fwhm))
    center = scene.psf.shape[0] // 2
    inner = slice(max(center - half, 0), center + half + 1)
    return _sep(scene, scene.psf[inner, inner], minarea=1)


def _sep(scene, kernel, minarea):
    """Run sep; score and position are those of the filtered peak."""
    sep = import_extra('sep')
    # A blend of thousands of noise peaks overflows the default buffers.
    sep.set_extract_pixstack(1_000_000)
    sep.set_sub_object_limit(4096)
    image = np.ascontiguousarray(scene.image, dtype=np.float32)
    sky = sep.Background(image, mask=scene.mask, bw=BOX_SIZE, bh=BOX_SIZE)
    data, rms = image - sky.back(), sky.rms()
    objects = sep.extract(
        data,
        SEGMENT_SNR,
        err=rms,
        mask=scene.mask,
        filter_kernel=np.ascontiguousarray(kernel, dtype=np.float32),
        minarea=minarea,
        clean=False,
    )
    snr = matched_filter_snr(data, rms, kernel, scene.mask)
    x, y = objects['xcpeak'], objects['ycpeak']
    # The filter carries light into the mask.
    x, y = x[~scene.mask[y, x]], y[~scene.mask[y, x]]
    return Detections(x.astype(float), y.astype(float), snr[y, x])


def probability_peaks(image, mask, weights, **options):
    """
    Run bgrem: the peaks of the calibrated detection probability, and their check.

    As for the users of `bgrem.DiffusionBackground`, the network runs twice: on the
    image and, if the calibration of the weights can use it, on its sign-flipped
    residual.

    Parameters
    ----------
    image : 2D `~numpy.ndarray` of float
        Observed image.
    mask : 2D `~numpy.ndarray` of bool or `None`
        True where there is no data.
    weights : `~bgrem.weights.Weights`
        Loaded weights.
    **options
        Passed to `bgrem.pipeline.separate`: ``n_steps``, ``device``, ...

    Returns
    -------
    detections : `Detections`
        The score is the probability.
    """
    from bgrem.inspection import inspect_image
    from bgrem.pipeline import sampling_of, separate

    # None: the normalization that the weights were trained with.
    options = {'weights': weights, 'normalization': None, **options}
    found = separate(image, mask, **options)
    peaks = find_peaks(found.probability, mask)
    inspection = None
    if found.correction is not None:
        options.pop('n_steps', None)
        inspection = inspect_image(
            image,
            mask,
            found.source,
            peaks,
            **sampling_of(found.meta),
            **options,
        )
    return list_peaks(peaks, found.correction, inspection)


def list_peaks(peaks, correction=None, inspection=None):
    """
    List the peaks of a probability, and what the check of their image says.

    Parameters
    ----------
    peaks : structured `~numpy.ndarray`
        From `bgrem.detect.peaks.find_peaks`.
    correction : dict, optional
        How the calibration uses the check, see `bgrem.pipeline.Separation`.
    inspection : `bgrem.inspection.Inspection`, optional
        From `bgrem.inspection.inspect_image`; required with a ``correction``, and only
        then.

    Returns
    -------
    detections : `Detections`
        The score is the probability.
    """
    score = peaks['probability'].astype(float)
    shift = 0.0
    if correction is not None:
        shift = inspection.check(score).log_odds_shift(correction)
    return Detections(peaks['x_center'], peaks['y_center'], score, shift)


PEERS = {
    'sep default': sep_default,
    'sep matched': sep_matched,
    'photutils': photutils_segmentation,
    'Background2D + matched filter': matched_filter,
    'oracle': oracle,
}
