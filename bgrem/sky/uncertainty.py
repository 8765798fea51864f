"""
The standard error of a sky measured in the boxes of a mesh.

Numpy and scipy only; nothing here depends on the denoiser.
"""

import numpy as np
from scipy import fft, ndimage

__all__ = [
    'box_variance',
    'filtered_standard_error',
    'mesh_standard_error',
    'noise_autocorrelation',
]

_MAX_LAG = 8  # pixels; resampled images share noise over some 4
_MIN_SIGNIFICANCE = 3.0  # of a correlation, in its standard deviation
_TILE_SIZE = 256  # pixels
_MAX_TILES = 64  # 4 million pixels tell the correlation to 0.0005
_CLIP = 4.0  # standard deviations; one cosmic ray must not decide a correlation
_MAX_BOX_SIZE = 32  # pixels; beyond, the variance falls as one over the pixels
_N_BOXES = 512  # the standard error is known to 1 / sqrt(2 * 512) = 3%
_SEED = 20251006


def mesh_standard_error(
    noise,
    usable,
    background_rms_mesh,
    n_pixels_mesh,
    measured,
    *,
    box_size,
    filter_size,
    is_filtered,
    sigma_clip,
    bkg_estimator,
    bkg_rms_estimator,
):
    """
    Return the standard error of the sky at each box of a mesh.

    Parameters
    ----------
    noise : 2D `~numpy.ndarray` of float
        The noise of the image in units of its standard deviation.
    usable : 2D `~numpy.ndarray` of bool
        The pixels that are noise alone.
    background_rms_mesh : 2D `~numpy.ndarray` of float
        The standard deviation of the noise in each box.
    n_pixels_mesh : 2D `~numpy.ndarray` of int
        The number of pixels from which the sky of each box was measured.
    measured : 2D `~numpy.ndarray` of bool
        The boxes that were measured, not filled from others.
    box_size, filter_size : sequence of 2 int
        The size ``(ny, nx)`` of a box and of the window of the median filter.
    is_filtered : 2D `~numpy.ndarray` of bool
        The boxes to which the median filter was applied.
    sigma_clip, bkg_estimator, bkg_rms_estimator : callable
        As for `~photutils.background.Background2D`.

    Returns
    -------
    standard_error : 2D `~numpy.ndarray` of float
        The standard error, in the unit of ``background_rms_mesh``. Boxes that were
        filled have that of the nearest measured box.
    """
    variance = box_variance(
        noise_autocorrelation(noise, usable),
        box_size,
        sigma_clip,
        bkg_estimator,
        bkg_rms_estimator,
    )
    error = background_rms_mesh * np.sqrt(variance / np.maximum(n_pixels_mesh, 1))
    filtered = filtered_standard_error(error, measured, filter_size)
    error = np.where(is_filtered, filtered, error)
    known = measured | (is_filtered & np.isfinite(filtered))
    _, nearest = ndimage.distance_transform_edt(~known, return_indices=True)
    return error[tuple(nearest)]


def noise_autocorrelation(noise, usable):
    """
    Measure the correlation between the noise of neighboring pixels.

    Parameters
    ----------
    noise : 2D `~numpy.ndarray` of float
        Noise of mean zero, in units of its standard deviation, which may vary
        over the image.
    usable : 2D `~numpy.ndarray` of bool
        The pixels to use; ``noise`` is finite there.

    Returns
    -------
    correlation : 2D `~numpy.ndarray` of float
        The correlation coefficient at lags of -8 to 8 pixels along each axis (less
        in smaller images), with lag zero, where it is 1, in the center. Where it is
        less than 3 times its own standard deviation, it is set to 0.

    Notes
    -----
    Products of the pixels at each lag are summed by Fourier transforms of at most
    64 tiles of 256 px, evenly spread, so time and memory do not increase with the
    size of the image. Values beyond 4 standard deviations are excluded.
    """
    max_lag = [min(_MAX_LAG, n - 1) for n in noise.shape]
    shape = [2 * lag + 1 for lag in max_lag]
    products, counts = np.zeros(shape), np.zeros(shape)
    for rows, columns in _tiles(noise.shape):
        used = usable[rows, columns] & (np.abs(noise[rows, columns]) < _CLIP)
        values = np.where(used, noise[rows, columns], 0)
        products += _lag_sums(values, max_lag)
        counts += np.rint(_lag_sums(used, max_lag))
    correlation = np.zeros(shape)
    covariance = products / np.maximum(counts, 1)
    power = covariance[*max_lag]
    if power > 0:
        correlation = covariance / power
        noise_limit = _MIN_SIGNIFICANCE / np.sqrt(np.maximum(counts, 1))
        correlation[np.abs(correlation) < noise_limit] = 0
    correlation[*max_lag] = 1
    return correlation


def box_variance(correlation, box_size, sigma_clip, bkg_estimator, bkg_rms_estimator):
    """
    Measure the variance of a sky estimator, times the number of pixels.

    Parameters
    ----------
    correlation : 2D `~numpy.ndarray` of float
        From `noise_autocorrelation`.
    box_size : sequence of 2 int
        The size ``(ny, nx)`` of a box.
    sigma_clip, bkg_estimator, bkg_rms_estimator : callable
        As for `~photutils.background.Background2D`.

    Returns
    -------
    variance : float
        The variance of the sky of a box in units of the variance of a pixel, both
        according to the estimators, times the number of pixels left after clipping:
        1 for the mean of independent pixels.

    Notes
    -----
    The estimators run on 512 boxes of Gaussian noise with this correlation. For large
    boxes of independent pixels, the results are known: 1 for the mean, pi / 2 for the
    median, 25 pi / 8 - 21 / 4 = 4.57 for the mode of SExtractor, 2.5 median - 1.5 mean.
    If pixels are correlated, the three are closer to each other, as in ``25 / 4
    sum(arcsin(r)) - 21 / 4 sum(r)`` for the mode, which cannot be expressed by an
    effective number of pixels common to all estimators. Boxes larger than 32 px are
    simulated at 32 px.
    """
    rng = np.random.default_rng(_SEED)
    box_shape = [min(int(n), _MAX_BOX_SIZE) for n in box_size]
    boxes = _correlated_boxes(rng, correlation, box_shape)
    if sigma_clip is not None:
        boxes = sigma_clip(boxes, axis=1, masked=False, copy=False)
    sky = bkg_estimator(boxes, axis=1)
    n_used = np.count_nonzero(~np.isnan(boxes), axis=1)
    rms = np.mean(bkg_rms_estimator(boxes, axis=1))
    # boxes of one or two pixels can have no noise
    return float(np.var(sky) * np.mean(n_used) / rms**2) if rms > 0 else 1.0


def filtered_standard_error(standard_error, measured, filter_size):
    """
    Propagate standard errors through the median filter of a mesh.

    Parameters
    ----------
    standard_error : 2D `~numpy.ndarray` of float
        The standard error of each box, independent of those of other boxes.
    measured : 2D `~numpy.ndarray` of bool
        The boxes that count; filled boxes add no information.
    filter_size : sequence of 2 int
        The size ``(ny, nx)`` of the window.

    Returns
    -------
    filtered : 2D `~numpy.ndarray` of float
        The standard error after the filter; infinite if no box of the window was
        measured.

    Notes
    -----
    The median of m independent normal values with the same mean has, for large m, the
    variance ``pi / 2 * m / sum(1 / standard_error)**2``. For small m, pi / 2 becomes
    ``pi / 2 * m / (n + pi / 2 - 1)``, with n the smallest odd number that is at least
    m: the standard error is exact for one value, and accurate to 6% for more.
    """
    window = np.ones(np.asarray(filter_size, dtype=int))
    n_values = np.rint(
        ndimage.convolve(measured.astype(float), window, mode='constant')
    )
    # a box without noise has no error, and neither has a median that meets it
    with np.errstate(divide='ignore', invalid='ignore'):
        weight = np.where(measured, 1 / standard_error, 0)
        total = ndimage.convolve(weight, window, mode='constant')
        n_odd = n_values + (n_values % 2 == 0)
        factor = np.pi / 2 / (n_odd + np.pi / 2 - 1)
        filtered = n_values * np.sqrt(factor) / total
    return np.where(n_values > 0, filtered, np.inf)


def _tiles(shape):
    """Yield the slices of tiles spread evenly over an image."""
    counts = [-(-n // _TILE_SIZE) for n in shape]
    n_tiles = counts[0] * counts[1]
    for number in np.unique(np.linspace(0, n_tiles - 1, _MAX_TILES).astype(int)):
        y, x = (int(k) * _TILE_SIZE for k in divmod(number, counts[1]))
        yield slice(y, y + _TILE_SIZE), slice(x, x + _TILE_SIZE)


def _lag_sums(values, max_lag):
    """Return the sums of products of pixels at each lag."""
    shape = [
        fft.next_fast_len(n + lag, real=True)
        for n, lag in zip(values.shape, max_lag, strict=True)
    ]
    power = np.abs(fft.rfft2(values.astype(float), shape)) ** 2
    sums = fft.irfft2(power, shape)
    rows, columns = (np.arange(-lag, lag + 1) for lag in max_lag)
    return sums[np.ix_(rows, columns)]


def _correlated_boxes(rng, correlation, box_shape):
    """Return boxes of Gaussian noise of unit variance, shape (boxes, pixels)."""
    if np.count_nonzero(correlation) == 1:
        return rng.standard_normal((_N_BOXES, box_shape[0] * box_shape[1]))
    lags = [n // 2 for n in correlation.shape]
    # the noise is periodic: room for all lags keeps the ends of a box apart
    shape = [n + lag for n, lag in zip(box_shape, lags, strict=True)]
    shape = [max(n, 2 * lag + 1) for n, lag in zip(shape, lags, strict=True)]
    periodic = np.zeros(shape)
    rows, columns = (np.arange(-lag, lag + 1) for lag in lags)
    periodic[np.ix_(rows, columns)] = correlation
    # what the measurement errors of the correlation have made negative is no power
    power = np.maximum(fft.fft2(periodic).real, 0)
    power /= power.mean()
    white = rng.standard_normal((_N_BOXES, *shape))
    boxes = fft.ifft2(fft.fft2(white) * np.sqrt(power)).real
    boxes = boxes[:, : box_shape[0], : box_shape[1]]
    return boxes.reshape(_N_BOXES, -1)
