"""
How finely the pixels of an image sample its PSF and its noise.

Networks are trained on certain widths and correlations. An image that was drizzled or
interpolated to finer pixels, matched to a broader PSF, or out of focus is broader and
smoother. Averaged over squares of pixels, it is like any other, and next to nothing is
lost as long as the PSF stays wider than two squares. If the noise is as smooth as the
sources, the image can also be sharpened. Numpy and scipy only.
"""

import math

import numpy as np
from scipy import ndimage

from bgrem.sky.mesh import LAG, measure_noise
from bgrem.sky.normalize import estimate_normalization
from bgrem.sky.sharpening import gaussian_smoothness
from bgrem.sky.windows import middle_of

__all__ = [
    'bin_image',
    'bright_widths',
    'choose_sampling',
    'noise_smoothness',
    'refine_source',
    'split_pixels',
    'spread_squares',
]

# On white noise the networks see sources up to here as they are (FWHM of the denoised
# ones in pixels). What they see on smoother noise says nothing.
_KNOWN_WIDTH = 4.2
_SMOOTH = 0.15
# Images are binned from here on (FWHM of the sources in pixels).
_MIN_WIDTH, _MIN_WIDTH_SMOOTH = 8.5, 4.3
# Stars are the most compact of the sources.
_COMPACT_PERCENTILE = 25
# The widths of most sources are that of the PSF; those of knots in nebulae differ by
# more than this, upper and lower quartile. Smooth noise says by itself that the pixels
# are fine.
_MAX_SPREAD = 1.25
# The width aimed at, in squares, and the largest of them.
_BEST_WIDTH = 2.1
_MAX_BINNING = 6
# Noise of a Gaussian kernel this wide, in widths of the sources, comes from smoothing
# both; they are then sharpened to this part of their width, and seen as wide as this.
_MATCHED = 0.8
_SHARPENED = 0.65
_SHARP_WIDTH = 2.8
_FWHM = math.sqrt(8 * math.log(2))  # of a Gaussian of standard deviation 1
# Smoother noise is not in the training (there the kernel has a sigma of at most
# 1.2 px); it is binned until it is no more than half as smooth as can be.
_UNKNOWN_SMOOTHNESS = 0.75
_MAX_SMOOTHNESS = 0.5
# Of the squares, in pixels.
_SCALES = (1, 2, 4, 8)
# Bright: this many standard deviations of the noise of a square. The half maximum is
# then well above the noise.
_BRIGHT_SIGMA = 12.0
# What is narrower along some direction, in squares, is the track of a cosmic ray, or
# is better measured on finer ones.
_MIN_RUN = 2.5
# What is wider, in squares, is measured with less noise on coarser ones.
_MAX_RUN = 8
_MIN_BRIGHT = 4
_MAX_BRIGHT = 200
_WINDOW = 24  # squares: half the side of the window in which a source is measured
# The noise is measured on the middle of large images, on more of it where that is
# hidden.
_SIDES = 512, 2048
# A square counts where this part of its pixels does.
_MIN_USABLE = 0.5


def choose_sampling(data, unusable, seen_width=math.nan):
    """
    Choose the pixels in which a network sees an image best.

    Parameters
    ----------
    data : 2D `~numpy.ndarray` of float
        The image.
    unusable : 2D `~numpy.ndarray` of bool
        True at pixels to ignore; must include all that are not finite.
    seen_width : float, optional
        The width, in pixels, of the sources of which a network is sure in the image as
        it is. Default NaN: there are none.

    Returns
    -------
    binning : int or float
        The side, in pixels, of the squares into which the image should be binned for
        the network; 1 keeps its pixels. For a sharpened image, it can be half-integer.
    sharpening : float
        The standard deviation, in pixels, of the Gaussian to be deconvolved from it
        first; 0 keeps the image as it is.

    Notes
    -----
    The middle of an image is used, see `bgrem.sky.windows.middle_of`.

    If bright sources are wider than 8.5 px, or than 4.3 px on noise shared by
    neighboring pixels, they should be about 2 squares wide. If the noise is nearly as
    smooth as they are, they are first made narrower by a third, and should be about 3
    squares wide. If there are none, the squares are just large enough to make smooth
    noise rough enough.
    """
    middle = middle_of(data.shape)
    data, unusable = data[middle], unusable[middle]
    smoothness = noise_smoothness(data, unusable)
    is_smooth = smoothness > _SMOOTH
    if seen_width < _KNOWN_WIDTH and not is_smooth:
        return 1, 0.0
    widths = bright_widths(data, unusable)
    if widths:
        low, high = map(float, np.percentile(widths, [_COMPACT_PERCENTILE, 75]))
        is_fine = low > (_MIN_WIDTH_SMOOTH if is_smooth else _MIN_WIDTH)
        if not is_fine or not (is_smooth or high < _MAX_SPREAD * low):
            return 1, 0.0
        binning = min(math.floor(low / _BEST_WIDTH), _MAX_BINNING)
        # in pixels the noise of all kernels that are much wider looks alike
        smoothness = noise_smoothness(*bin_image(data, unusable, binning))
        if smoothness < gaussian_smoothness(_MATCHED * low / _FWHM / binning):
            return binning, 0.0
        sharpening = math.sqrt(1 - _SHARPENED**2) * low / _FWHM
        halves = math.floor(2 * _SHARPENED * low / _SHARP_WIDTH)
        return min(max(halves / 2, 1), _MAX_BINNING), sharpening
    binning = 1
    if smoothness > _UNKNOWN_SMOOTHNESS:
        while smoothness > _MAX_SMOOTHNESS and binning < _MAX_BINNING:
            binning += 1
            smoothness = noise_smoothness(*bin_image(data, unusable, binning))
    return binning, 0.0


def bin_image(data, unusable, binning):
    """
    Average an image over squares.

    Parameters
    ----------
    data : 2D `~numpy.ndarray` of float
        The image.
    unusable : 2D `~numpy.ndarray` of bool
        True at pixels to exclude; must include all that are not finite.
    binning : int or float
        The side of the squares in pixels, an integer or half-integer. The first square
        begins at the first pixel; the last ones may extend beyond the image.

    Returns
    -------
    binned : 2D `~numpy.ndarray`
        The mean of the usable pixels of each square, dtype of ``data``.
    unusable : 2D `~numpy.ndarray` of bool
        True at squares of which less than half is usable; ``binned`` is 0 there.
    """
    count = _sum_squares(~unusable, binning)
    total = _sum_squares(np.where(unusable, 0, data), binning)
    _, side = split_pixels(binning)
    lost = count < max(1, _MIN_USABLE * side**2)
    mean = total / np.maximum(count, 1)
    return np.where(lost, 0, mean).astype(data.dtype), lost


def split_pixels(binning):
    """
    Divide pixels such that squares contain whole parts of them.

    Parameters
    ----------
    binning : int or float
        The side of the squares in pixels, an integer or half-integer.

    Returns
    -------
    n_parts, side : int
        The number of parts of a pixel along each axis, and that of a square.
    """
    n_parts = 1 if binning == int(binning) else 2
    return n_parts, int(n_parts * binning)


def _sum_squares(image, binning):
    """Return the sums of the parts of pixels in each square, in double precision."""
    n_parts, side = split_pixels(binning)
    for axis in (0, 1):
        # a pedestal may be high
        parts = np.repeat(image, n_parts, axis)
        starts = np.arange(0, parts.shape[axis], side)
        image = np.add.reduceat(parts, starts, axis, dtype=float)
    return image


def spread_squares(binned, binning, shape):
    """
    Give each pixel the value of its square, or the mean of the squares that share it.

    Parameters
    ----------
    binned : 2D `~numpy.ndarray` of float
        The value of each square.
    binning : int or float
        The side of the squares in pixels.
    shape : tuple of 2 int
        The shape ``(ny, nx)`` of the image.

    Returns
    -------
    image : 2D `~numpy.ndarray`
    """
    n_parts, side = split_pixels(binning)
    for axis in (0, 1):
        parts = np.repeat(binned, side, axis)
        n = shape[axis]
        first, last = (
            np.take(parts, np.arange(n) * n_parts + k, axis) for k in (0, n_parts - 1)
        )
        binned = first if n_parts == 1 else (first + last) / 2
    return binned


def refine_source(binned, binning, shape):
    """
    Convert an image of sources from squares back to pixels.

    Parameters
    ----------
    binned : 2D `~numpy.ndarray` of float
        The mean of the image in each square.
    binning : int or float
        The side of the squares in pixels.
    shape : tuple of 2 int
        The shape ``(ny, nx)`` of the image.

    Returns
    -------
    source : 2D `~numpy.ndarray`
        The image, smooth from square to square, dtype of ``binned``. Its mean in each
        square is that of ``binned``, or very nearly if squares share pixels.
    """
    source = np.zeros(shape)
    count = _sum_squares(np.ones(shape), binning)
    rest = binned.astype(float)
    # An interpolation does not keep the means; that of what it misses corrects it.
    for _ in range(3):
        source += ndimage.affine_transform(
            rest,
            [1 / binning] * 2,
            0.5 / binning - 0.5,
            output_shape=shape,
            mode='nearest',
        )
        rest = binned - _sum_squares(source, binning) / count
    source += spread_squares(rest, binning, shape)
    return source.astype(binned.dtype)


def noise_smoothness(data, unusable):
    """
    Measure how much of its noise a pixel shares with its neighbors.

    Parameters
    ----------
    data : 2D `~numpy.ndarray` of float
        The image.
    unusable : 2D `~numpy.ndarray` of bool
        True at pixels to ignore.

    Returns
    -------
    smoothness : float
        One minus the ratio of the noise measured from second differences of neighboring
        pixels to that from pixels 3 px apart: 0 for white noise, whatever the sky does
        on larger scales, 0.6 for noise smoothed with a kernel of sigma 1 px; 0 if it
        cannot be measured.
    """
    for side in _SIDES:
        middle = middle_of(data.shape, side)
        near, far = measure_noise(data[middle], unusable[middle], (1, LAG))
        known = (near >= 0) & (far > 0)
        if known.any():
            return float(1 - np.median(near[known] / far[known]))
    return 0.0


def bright_widths(data, unusable):
    """
    Measure the widths of the bright sources of an image, however broad they are.

    Parameters
    ----------
    data : 2D `~numpy.ndarray` of float
        The image.
    unusable : 2D `~numpy.ndarray` of bool
        True at pixels to ignore.

    Returns
    -------
    widths : list of float
        For each bright source, the diameter in pixels of the circle with the area that
        exceeds half of its maximum; empty if there are fewer than four.

    Notes
    -----
    The image is examined in squares of 1, 2, 4 and 8 px. The first size is used for
    which four sources exceed 12 standard deviations of the noise and are resolved: at
    least 2.5 squares wide in every direction, and most not more than 8.
    """
    found = []
    for scale in _SCALES:
        binned, lost = bin_image(data, unusable, scale)
        if min(binned.shape) < 2 * _MIN_BRIGHT:
            break
        image = estimate_normalization(binned, lost).forward(binned, lost)
        widths = _widths(image, lost)
        if len(widths) >= _MIN_BRIGHT:
            found = [scale * width for width in widths]
        if found and np.percentile(found, _COMPACT_PERCENTILE) < _MAX_RUN * scale:
            break
    return found


def _widths(image, hidden):
    """Return the width of each bright and resolved source of a normalized image."""
    labels, n_labels = ndimage.label((image > _BRIGHT_SIGMA) & ~hidden)
    if n_labels == 0:
        return []
    index = np.arange(1, n_labels + 1)
    peaks = np.array(ndimage.maximum_position(image, labels, index))
    heights = image[tuple(peaks.T)]
    order = np.argsort(-heights, kind='stable')
    # evenly over all brightnesses
    order = order[:: math.ceil(n_labels / _MAX_BRIGHT)]
    found = [_width(image, hidden, *peaks[k]) for k in order]
    return [width for width in found if width]


def _width(image, hidden, y, x):
    """Return the width of one source, 0 where it is cut or not resolved."""
    y0, x0 = max(0, y - _WINDOW), max(0, x - _WINDOW)
    window = np.s_[y0 : y + _WINDOW + 1, x0 : x + _WINDOW + 1]
    labels, _ = ndimage.label(image[window] > image[y, x] / 2)
    inside = labels == labels[y - y0, x - x0]
    grown = ndimage.binary_dilation(inside, np.ones((3, 3)))
    if grown[0].any() or grown[-1].any() or grown[:, 0].any() or grown[:, -1].any():
        return 0.0
    if hidden[window][grown].any() or _shortest_run(inside) < _MIN_RUN:
        return 0.0
    return math.sqrt(4 * np.count_nonzero(inside) / math.pi)


def _shortest_run(inside):
    """Return how thick a region is: the widest square that fits, about."""
    distance = ndimage.distance_transform_cdt(np.pad(inside, 1), 'chessboard')
    return 2 * distance.max() - 1
