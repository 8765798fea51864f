"""
The image as the network sees it: ``(data - center) / scale``.

Numpy and scipy only.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

from bgrem.sky.bands import CACHED, each_band, split_rows

__all__ = ['LARGEST', 'MARGIN', 'Normalization']

#: In units of the noise; keeps sums and products finite.
LARGEST = np.float32(1e30)
# Single hidden pixels are the mean of what is seen about them, in a window of this
# standard deviation in pixels, where that has this weight.
_GAP_SIGMA = 1.0
_GAP_WEIGHT = 0.05
#: So far, in pixels, what is hidden is told by what is about it.
MARGIN = 8


class Normalization:
    """
    The center and the scale of an image.

    Parameters
    ----------
    center : 2D `~numpy.ndarray` or callable
        The local sky level, in the unit of the data; or a callable that computes it for
        some rows (a slice) when it is needed, so that it is not kept in memory.
    scale : 2D `~numpy.ndarray`
        The local standard deviation of the noise, in the unit of the data; 0
        where none can be measured (a constant image).
    """

    def __init__(self, center, scale):
        self._center, self._scale = center, scale

    @property
    def center(self):
        """
        The local sky level, in the unit of the data (2D `~numpy.ndarray`).
        """
        return self._center_of(slice(0, len(self._scale)))

    @property
    def scale(self):
        """
        The local standard deviation of the noise (2D `~numpy.ndarray`).
        """
        return self._scale

    def _center_of(self, rows):
        return self._center(rows) if callable(self._center) else self._center[rows]

    def with_scale(self, scale):
        """
        Return the same center with another scale (`Normalization`).
        """
        return Normalization(self._center, scale)

    def forward(self, data, mask=None, first_row=0):
        """
        Normalize an image.

        Parameters
        ----------
        data : 2D `~numpy.ndarray`
            The image.
        mask : 2D `~numpy.ndarray` of bool, optional
            `True` at pixels to hide.
        first_row : int, optional
            The number of the first row in a larger image of which this is a part. Its
            pixels are as in the whole image, except for the outer `MARGIN` rows.
            Default 0.

        Returns
        -------
        image : 2D `~numpy.ndarray` of float32
            ``(data - center) / scale``. Where the data are masked or not finite, and
            where the scale is 0, it does not depend on them: the mean of the visible
            pixels around single pixels, rows and columns (0 if there are too few), and
            noise of unit variance in areas of 3x3 px or more.

        Notes
        -----
        Beside an area of exact zeros, a network takes the noise of the other pixels for
        light. The noise depends only on the position of the pixel.
        """
        visible = np.isfinite(data)
        visible &= self.scale > 0
        if mask is not None:
            visible &= ~mask
        image = np.zeros(np.shape(data), dtype=np.float32)
        gap = None
        if not visible.all():
            area = _areas(~visible)
            y, x = np.nonzero(area)
            image[area] = _noise_at(y + first_row, x)
            gap = ~visible & ~area

        def fill(rows):
            np.divide(
                data[rows] - self._center_of(rows),
                self.scale[rows],
                out=image[rows],
                where=True if gap is None else visible[rows],
                casting='same_kind',
            )
            np.clip(image[rows], -LARGEST, LARGEST, out=image[rows])

        with np.errstate(over='ignore'):
            # some rows at a time: what lies between is as large as they are
            each_band(fill, split_rows(image.shape, n_pixels=CACHED))
        if gap is not None and gap.any():
            weight = gaussian_filter(visible.astype(np.float32), _GAP_SIGMA)
            mean = gaussian_filter(np.where(visible, image, 0), _GAP_SIGMA)
            np.divide(mean, weight, out=image, where=gap & (weight > _GAP_WEIGHT))
        return image

    def inverse(self, source, out=None):
        """
        Convert a normalized source image to the unit of the data.

        Parameters
        ----------
        source : 2D `~numpy.ndarray`
            A source image in units of the noise. Sources are relative to the sky, so
            the center is not added.
        out : 2D `~numpy.ndarray`, optional
            Where the result is written; may be ``source`` itself.

        Returns
        -------
        source : 2D `~numpy.ndarray`
            ``source * scale``, in the dtype of the scale; exactly 0 where the scale
            is 0.
        """
        return np.multiply(source, self.scale, out=out)


def _areas(hidden):
    """
    Return where hidden pixels are an area, and no bad pixels or columns.

    A square of 3 px, within the image, fits there (an opening).
    """
    area = hidden
    for combine in (np.logical_and, np.logical_or):
        for _ in range(2):  # along one axis, and then along the other
            area = np.pad(area.T, [(1, 1), (0, 0)])
            area = combine(combine(area[:-2], area[1:-1]), area[2:])
    return area


def _noise_at(y, x):
    """
    Return a normal deviate for each pixel that depends on nothing but its position.

    SplitMix64 (Steele et al. 2014) in counter mode, then Box and Muller's transform: an
    image cut in blocks has the same noise as the whole one.
    """
    counter = (y.astype(np.uint64) << np.uint64(32) | x.astype(np.uint64)) << 1
    radius, turn = (
        (_mix(counter + np.uint64(k)) >> np.uint64(11)) * 2.0**-53 for k in (0, 1)
    )
    return np.sqrt(-2 * np.log1p(-radius)) * np.cos(2 * np.pi * turn)


def _mix(counter):
    """Return 64 bits that look random for each counter (uint64, wraps around)."""
    bits = (counter + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ bits >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ bits >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return bits ^ bits >> np.uint64(31)
