"""
The noise of a mosaic whose depth changes in steps.

A mesh of boxes turns a step into a ramp two boxes wide. Along it, the noise of the deep
side is taken for sources, and the sources of the shallow side for noise. Numpy and
scipy only.
"""

import numpy as np
from scipy import ndimage

from bgrem.sky.mesh import LAG, box_centers, second_difference

__all__ = ['DepthSteps']

# Boxes whose neighbors differ by less have no step among them.
_MIN_RATIO = 1.25
# A box is cut by a step if it differs by this factor from the quietest and from the
# noisiest of its neighbors; what is measured there is the noise of neither side, and
# counts that much.
_CUT_RATIO = 1.12
_CUT_WEIGHT = 0.02
# The noise of a pixel is seen in a window of this size; the error of its logarithm.
_WINDOW = 11
_ERROR = 0.15
# Boxes further away count less, as a Gaussian of this width in boxes.
_REACH = 1.0
# How many times better than the ramp the steps must explain the windows: noise that
# changes smoothly, as on a strong gradient, is left alone. A star that fills a window
# says no more against either than a misfit of three errors.
_MIN_GAIN = 1.85
_MOST_MISFIT = 3 * _ERROR
# At least this part of a window must be measured.
_MIN_MEASURED = 0.15
# The mean logarithm of the absolute value stands stars, not zeros.
_FLOOR = 0.05


class DepthSteps:
    """
    The steps in a map of the noise, at their exact positions.

    Parameters
    ----------
    noise : 2D `~numpy.ndarray`
        The noise of each box, positive or zero.
    edges : tuple of 2 1D `~numpy.ndarray` of int
        The edges of the boxes, as in `bgrem.sky.mesh.Mesh`.
    lag : int, optional
        The distance of the second differences in pixels, as for the mesh. Default 3.

    Attributes
    ----------
    margin : int
        How far from a pixel, in rows, the image is used for its noise; 0 without steps.

    Notes
    -----
    Only where the noise of neighboring boxes differs by a quarter is anything done:
    most images are left as they are, at no cost. There, each pixel gets the weighted
    geometric mean of the noise of the surrounding boxes. The weight decreases with the
    distance, and with the disagreement between this noise and the logarithms of the
    second differences in a window of 11 px (a joint bilateral upsampling, Kopf et al.
    2007).

    Whether these are steps is decided by all windows of the image together: half of
    them must agree with that noise within their error, and it must explain all of them
    better than the interpolation does. In a crowded field or a nebula, the noise in a
    window is that of none of the surrounding boxes.
    """

    def __init__(self, noise, edges, lag=LAG):
        lowest = ndimage.minimum_filter(noise, 3, mode='nearest')
        highest = ndimage.maximum_filter(noise, 3, mode='nearest')
        self._stepped = (lowest > 0) & (highest > _MIN_RATIO * lowest)
        self._edges, self._lag, self.margin = edges, lag, 0
        if not self._stepped.any():
            return
        self.margin = self.most_margin(lag)
        is_cut = (noise > _CUT_RATIO * lowest) & (_CUT_RATIO * noise < highest)
        self._weight = np.where(is_cut, _CUT_WEIGHT, 1.0)
        self._floor = _FLOOR * noise[noise > 0].min()
        self._log_noise = np.log(np.maximum(noise, np.finfo(float).tiny))

    @staticmethod
    def most_margin(lag=LAG):
        """
        Return the `margin` that is used if there are steps.
        """
        return _WINDOW // 2 + lag

    def judge(self, scale, rows, data, unusable):
        """
        Test whether there are steps, using the windows in some rows of boxes.

        Parameters
        ----------
        scale, rows, data, unusable
            As for `sharpen`; nothing is changed.

        Returns
        -------
        votes : 1D `~numpy.ndarray` of float
            For `are_real`, after summing over all rows of the image.
        """
        votes = np.zeros(4)
        for _, seen, ramp, steps in self._draw(scale, rows, data, unusable):
            misfits = [
                np.minimum(np.abs(seen - log), _MOST_MISFIT) for log in (ramp, steps)
            ]
            votes += [
                seen.size,
                np.count_nonzero(misfits[1] < _ERROR),
                *(np.sum(np.square(misfit)) for misfit in misfits),
            ]
        return votes

    @staticmethod
    def are_real(votes):
        """
        Return whether the differences between the boxes are steps.

        Parameters
        ----------
        votes : 1D `~numpy.ndarray` of float
            The sum of the votes of all windows, from `judge`.

        Returns
        -------
        are_real : bool
        """
        n_windows, n_explained, of_ramp, of_steps = votes
        return n_explained > 0.5 * n_windows and of_ramp > _MIN_GAIN * of_steps

    def sharpen(self, scale, rows, data, unusable):
        """
        Draw the steps in some rows of boxes.

        Parameters
        ----------
        scale : 2D `~numpy.ndarray`
            The noise of each pixel of these rows, interpolated between the boxes;
            changed in place.
        rows : slice
            The rows of the image, from edge to edge of boxes.
        data : 2D `~numpy.ndarray`
            The image in these rows and `margin` more on each side, as far as there
            are any.
        unusable : 2D `~numpy.ndarray` of bool
            True at pixels to ignore, including all that are not finite, in the same
            rows.
        """
        for place, _, _, steps in self._draw(scale, rows, data, unusable):
            scale[place] = np.exp(steps)

    def _draw(self, scale, rows, data, unusable):
        """
        Yield for each row of boxes the pixels beside steps, and the logarithm of the
        noise that is seen there, of the ramp and of the steps.
        """
        y_edges, x_edges = self._edges
        widths = np.diff(x_edges)
        there = max(rows.start - self.margin, 0)
        # one row of boxes at a time bounds the memory
        for row in np.flatnonzero(self._stepped.any(axis=1)):
            start, stop = y_edges[row], y_edges[row + 1]
            if start < rows.start or stop > rows.stop:
                continue
            inner = slice(start - there, stop - there)
            seen, measured = _log_noise(data, unusable, inner, self._floor, self._lag)
            own = scale[start - rows.start : stop - rows.start]
            chosen = measured & np.repeat(self._stepped[row], widths) & (own > 0)
            if not chosen.any():
                continue
            ramp = np.log(own[chosen])
            # The constant of Gaussian noise, or whatever it is in discrete data.
            seen = seen - np.median(seen[chosen] - ramp)
            steps = _weighted_noise(
                seen, row, self._log_noise, self._weight, self._edges
            )
            y, x = np.nonzero(chosen)
            place = y + start - rows.start, x
            yield place, seen[chosen], ramp, steps[chosen]


def _log_noise(data, unusable, rows, floor, lag):
    """Return the mean logarithm of the differences around each pixel of some rows."""
    halo = _WINDOW // 2 + lag
    first = max(rows.start - halo, 0)
    strip = slice(first, rows.stop + halo)
    image = np.where(unusable[strip], np.nan, data[strip].astype(float))
    total, count = np.zeros(image.shape), np.zeros(image.shape)
    for axis in (0, 1):
        difference = np.abs(second_difference(image, lag, axis))
        known = np.isfinite(difference)
        total[known] += np.log(np.maximum(difference[known], floor))
        count += known
    total, count = (
        ndimage.uniform_filter(part, _WINDOW, mode='constant')
        for part in (total, count)
    )
    inner = slice(rows.start - first, rows.stop - first)
    # of two differences for each pixel
    measured = count[inner] > 2 * _MIN_MEASURED
    return np.where(
        measured, total[inner] / np.maximum(count[inner], 1e-6), 0
    ), measured


def _weighted_noise(seen, row, log_noise, weight, edges):
    """Return the logarithm of the noise of each pixel in a row of boxes."""
    y_edges, x_edges = edges
    y_center, x_center = map(box_centers, edges)
    height, width = (np.diff(one).mean() for one in edges)
    y = np.arange(y_edges[row], y_edges[row + 1])
    x = np.arange(x_edges[-1])
    column = np.repeat(np.arange(len(x_center)), np.diff(x_edges))
    total, norm = np.zeros(seen.shape), np.zeros(seen.shape)
    for other_row in range(max(row - 1, 0), min(row + 2, len(y_center))):
        for step in (-1, 0, 1):
            others = np.clip(column + step, 0, len(x_center) - 1)
            log = log_noise[other_row, others]
            distance2 = ((y - y_center[other_row]) / height)[:, None] ** 2 + (
                (x - x_center[others]) / width
            ) ** 2
            misfit2 = np.square((seen - log) / _ERROR)
            part = np.exp(-0.5 * (distance2 / _REACH**2 + misfit2)) + 1e-12
            part *= weight[other_row, others]
            total += part * log
            norm += part
    return total / norm
