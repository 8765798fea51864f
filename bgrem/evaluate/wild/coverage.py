"""
Wild scenes with masks, gaps, empty borders and uneven exposure.
"""

import numpy as np
from scipy import ndimage

from bgrem.evaluate.wild.painting import (
    SIGMA,
    SKY,
    grid,
    moffat,
    paint_field,
)
from bgrem.evaluate.wild.scene import make_scene

__all__ = [
    'circle_mask',
    'dithered_border',
    'gaps',
    'islands',
    'nan_stripes',
    'random_pixels',
    'rotated_on_nan',
    'rotated_on_zeros',
    'source_mask',
    'zero_padding',
]

MASKED_FRACTIONS = (0.36, 0.5, 0.65, 0.8, 0.9)
RANDOM_FRACTIONS = (0.1, 0.3, 0.5, 0.7, 0.9)
STRIPE_WIDTHS = (2, 4, 8, 16, 32)
ISLAND_SIZES = (8, 16, 32, 64, 100)
_DENSITY = 2e-3
# Boxes with a few pixels left are all that a heavy mask leaves.
_HEAVY = {'exclude_percentile': 97.0}
_ANY = {'exclude_percentile': 100.0}


def _field(rng, size, density=_DENSITY, **options):
    psf = moffat(rng.uniform(2.2, 4.5))
    return paint_field(rng, (size, size), psf, int(density * size**2), **options), psf


def source_mask(rng, size, index):
    """
    A dilated mask of all true sources, as passed to Background2D: 36 to 90%.
    """
    painted, psf = _field(rng, size, density=3e-3, snr=(3, 1000))
    away = ndimage.distance_transform_edt(painted[0] < SIGMA)
    fraction = MASKED_FRACTIONS[index % len(MASKED_FRACTIONS)]
    mask = away <= np.quantile(away, fraction)
    judged = np.ones_like(mask)
    return make_scene(rng, painted, SKY, psf, mask=mask, judged=judged, options=_HEAVY)


def circle_mask(rng, size, index):
    """
    Circles around the brightest sources, then anywhere, over 36 to 90%.
    """
    painted, psf = _field(rng, size)
    y, x = grid(size)
    catalog = painted[1]
    order = np.argsort(-catalog['flux'])
    centers = list(zip(catalog['y'][order], catalog['x'][order], strict=True))
    mask = np.zeros((size, size), bool)
    fraction = MASKED_FRACTIONS[index % len(MASKED_FRACTIONS)]
    while mask.mean() < fraction:
        center = centers.pop(0) if centers else rng.uniform(0, size, 2)
        mask |= np.hypot(y - center[0], x - center[1]) < rng.uniform(5, 25)
    judged = np.ones_like(mask)
    return make_scene(rng, painted, SKY, psf, mask=mask, judged=judged, options=_HEAVY)


def random_pixels(rng, size, index):
    """
    Single pixels masked at random, 10 to 90% of them.
    """
    painted, psf = _field(rng, size)
    fraction = RANDOM_FRACTIONS[index % len(RANDOM_FRACTIONS)]
    mask = rng.random((size, size)) < fraction
    judged = np.ones_like(mask)
    return make_scene(rng, painted, SKY, psf, mask=mask, judged=judged, options=_HEAVY)


def gaps(rng, size, index):
    """
    NaN between the chips of a camera, and in bad columns.
    """
    painted, psf = _field(rng, size)
    valid = np.ones((size, size), bool)
    for lines in (valid, valid.T):
        width = int(rng.uniform(0.04, 0.16) * size)
        first = int(rng.uniform(0.2, 0.7) * size)
        lines[first : first + width] = False
    for _ in range(4 + 4 * (index % 5)):
        first = rng.integers(size)
        valid[rng.integers(size) :, first : first + rng.integers(1, 4)] = False
    return make_scene(rng, painted, SKY, psf, valid=valid)


def nan_stripes(rng, size, index):
    """
    Stripes of data, 2 to 32 px wide, between equally wide stripes of NaN.
    """
    painted, psf = _field(rng, size)
    width = STRIPE_WIDTHS[index % len(STRIPE_WIDTHS)]
    valid = np.broadcast_to(np.arange(size) // width % 2 == 0, (size, size))
    if rng.random() < 0.5:
        valid = valid.T
    return make_scene(rng, painted, SKY, psf, valid=valid, options=_HEAVY)


def islands(rng, size, index):
    """
    A square of data, 8 to 100 px wide, and a smaller one, in an image of NaN.
    """
    # A bright star would leave no sky in the smallest.
    painted, psf = _field(rng, size, snr=(1, 20))
    side = min(ISLAND_SIZES[index % len(ISLAND_SIZES)], size // 2)
    valid = np.zeros((size, size), bool)
    for n in (side, max(side // 2, 6)):
        y, x = rng.integers(0, size - n, 2)
        valid[y : y + n, x : x + n] = True
    return make_scene(rng, painted, SKY, psf, valid=valid, options=_ANY)


def zero_padding(rng, size, index):
    """
    Zeros, not masked, beside, around or outside a circle of data on a high or low sky.
    """
    painted, psf = _field(rng, size)
    y, x = grid(size)
    edge = rng.uniform(0.12, 0.4) * size
    center = (size - 1) / 2
    shapes = (
        x >= edge,
        np.maximum(abs(x - center), abs(y - center)) < size / 2 - edge / 3,
        np.hypot(x - center, y - center) < rng.uniform(0.35, 0.48) * size,
    )
    sky = SKY if index % 2 == 0 else 2 * SIGMA
    return make_scene(rng, painted, sky, psf, valid=shapes[index % 3], blank=0.0)


def _rotated(rng, size, index, blank):
    painted, psf = _field(rng, size)
    y, x = grid(size) - np.array((size - 1) / 2)
    angle = np.deg2rad(rng.uniform(10, 40))
    u = np.cos(angle) * x + np.sin(angle) * y
    v = np.cos(angle) * y - np.sin(angle) * x
    valid = np.maximum(abs(u), abs(v)) < 0.37 * size
    sky = SKY if index % 2 == 0 else 2 * SIGMA
    return make_scene(rng, painted, sky, psf, valid=valid, blank=blank)


def rotated_on_zeros(rng, size, index):
    """
    A frame rotated by 10 to 40 degrees, zeros in the corners.
    """
    return _rotated(rng, size, index, 0.0)


def rotated_on_nan(rng, size, index):
    """
    A frame rotated by 10 to 40 degrees, NaN in the corners.
    """
    return _rotated(rng, size, index, np.nan)


def dithered_border(rng, size, index):
    """
    Sixteen dithered exposures; only one at the border: fourfold noise; error map.
    """
    painted, psf = _field(rng, size, density=3e-3)
    y, x = grid(size)
    reach = (0.15, 0.25, 0.35)[index % 3] * size
    n = np.ones((size, size))
    for dy, dx in rng.uniform(-reach, reach, (15, 2)):
        n += (abs(x - size / 2 - dx) < 0.35 * size) & (
            abs(y - size / 2 - dy) < 0.35 * size
        )
    # The light of a source was gathered as long as that of the sky around it.
    sigma = SIGMA * np.sqrt(16 / n)
    error = np.sqrt(sigma**2 + painted[0])
    return make_scene(rng, painted, SKY, psf, sigma=sigma, error=error.astype('f4'))
