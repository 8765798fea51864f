"""
The sky in boxes given by the user, if a sky in finer boxes is known.

Beneath galaxies there is nothing to measure, and for skewed noise a mode differs from
the mean. The sky in boxes chosen from the image (`bgrem.sky.boxes`) provides what is
missing. Numpy only.
"""

from dataclasses import dataclass

import numpy as np

from bgrem.sky.maps import interpolate_mesh

__all__ = ['SkyInBoxes', 'correct_levels', 'sky_in_boxes']

# What the boxes miss on average must be above chance by this factor, in standard
# deviations; after the median filter about four boxes of nine are independent.
_SIGNIFICANCE = 3.0
_PER_INDEPENDENT = 2.0
# What 2.5 median - 1.5 mean can miss of the mean, in standard deviations: a median is
# never further from it than one. Boxes that miss more have no noise to speak of.
_MOST_MISSING = 2.5
_TYPICAL = 3.0  # standard deviations of the boxes: above that one is above the sky


@dataclass(frozen=True, eq=False)
class SkyInBoxes:
    """
    A sky that is known everywhere, in the boxes of a mesh.

    Attributes
    ----------
    measured : 2D `~numpy.ndarray` of float64
        Its mean over the usable pixels of each box; if there are none, over all pixels.
    whole : 2D `~numpy.ndarray` of float64
        Its mean over the whole box, including pixels beyond the image.
    beneath : 2D `~numpy.ndarray` of bool
        True for boxes with a pixel beneath a galaxy.
    """

    measured: np.ndarray
    whole: np.ndarray
    beneath: np.ndarray


def sky_in_boxes(sky, usable, box_size):
    """
    Return the values that the boxes of a mesh should have for a given sky.

    Parameters
    ----------
    sky : `~bgrem.sky.boxes.BoxSky`
        The sky.
    usable : 2D `~numpy.ndarray` of bool
        True at pixels with data.
    box_size : sequence of 2 int
        The size ``(ny, nx)`` of the boxes.

    Returns
    -------
    in_boxes : `SkyInBoxes`
    """
    n_boxes = [-(-n // size) for n, size in zip(usable.shape, box_size, strict=True)]
    shape = [n * size for n, size in zip(n_boxes, box_size, strict=True)]

    def in_boxes(values):
        more = [(0, n - m) for n, m in zip(shape, values.shape, strict=True)]
        return np.pad(values, more).reshape(
            n_boxes[0], box_size[0], n_boxes[1], box_size[1]
        )

    level = in_boxes(
        interpolate_mesh(sky.level, shape, (sky.box_size,) * 2, edges='linear')
    )
    used = in_boxes(usable)
    whole = level.mean(axis=(1, 3))
    n_used = np.count_nonzero(used, axis=(1, 3))
    total = np.sum(level, axis=(1, 3), where=used)
    measured = np.where(n_used > 0, total / np.maximum(n_used, 1), whole)
    return SkyInBoxes(measured, whole, in_boxes(sky.beneath).any(axis=(1, 3)))


def correct_levels(mesh, noise, measured, boxes):
    """
    Correct the boxes given by the user for the bias of their estimator.

    Parameters
    ----------
    mesh, noise : 2D `~numpy.ndarray` of float
        The level of each box and the standard deviation of its noise.
    measured : 2D `~numpy.ndarray` of bool
        The boxes that were measured, not filled from others.
    boxes : `SkyInBoxes`
        A sky of means in these boxes.

    Returns
    -------
    mesh : 2D `~numpy.ndarray` of float
        Where galaxies left too few pixels, the sky of means. The other boxes are raised
        by the mean amount, in units of their noise, by which all boxes are too low, if
        this is significant and not more than a mode can miss; but no box is raised to
        more than the scatter of the boxes above the sky of means.
    """
    hidden = boxes.beneath & ~measured
    known = measured & (noise > 0)
    if np.count_nonzero(known) > 1:
        deviation = mesh - boxes.measured
        relative = deviation[known] / noise[known]
        scatter = np.std(relative)
        missing = -np.mean(relative)
        error = scatter * _PER_INDEPENDENT / np.sqrt(relative.size)
        if _SIGNIFICANCE * error < missing < _MOST_MISSING:
            room = np.maximum(_TYPICAL * scatter * noise - deviation, 0)
            mesh = mesh + np.minimum(missing * noise, room)
    return np.where(hidden, boxes.whole, mesh).astype(mesh.dtype)
