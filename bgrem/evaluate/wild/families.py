"""
The families of the suite ``wild``, by name.
"""

import zlib
from functools import partial

import numpy as np

from bgrem.evaluate.wild import coverage, objects, sampling, skies
from bgrem.evaluate.wild.counts import (
    BLANK_LEVELS,
    make_blank,
    poisson_cluster,
    poisson_stars,
)
from bgrem.evaluate.wild.painting import moffat

__all__ = ['STRIPED_FAMILIES', 'WILD_FAMILIES', 'wild_scenes']


def _broad(rng, size, index, *, fwhm):
    return sampling.broad_scene(rng, size, moffat(fwhm, beta=4.5))


# Each takes a random generator, the side of the image in pixels and the number of the
# scene, by which it turns its own knob (fractions, widths, steps, levels), and returns
# a `~bgrem.evaluate.wild.scene.WildScene`.
WILD_FAMILIES = {
    **{name: getattr(coverage, name) for name in coverage.__all__},
    **{name: getattr(skies, name) for name in skies.__all__},
    **{name: getattr(objects, name) for name in objects.__all__},
    'drizzled_3': sampling.drizzled_3,
    'drizzled_4': sampling.drizzled_4,
    'interpolated': sampling.interpolated,
    'psf_matched': sampling.psf_matched,
    **{f'broad_{fwhm}': partial(_broad, fwhm=fwhm) for fwhm in (9, 13, 18)},
    'defocused': sampling.defocused,
    **{f'blank_{level:g}': make_blank(level) for level in BLANK_LEVELS},
    'poisson_stars': poisson_stars,
    'poisson_cluster': poisson_cluster,
}

# Whose rows or columns can be taken out first.
STRIPED_FAMILIES = ('one_over_f', 'bias_stripes')


def wild_scenes(family, n_scenes, size, seed):
    """
    Make the scenes of one family one by one.

    Parameters
    ----------
    family : str
        Name in `WILD_FAMILIES`.
    n_scenes : int
        Number of scenes.
    size : int
        Side of each scene in pixels; resampled and broad images are larger.
    seed : int
        The same seed gives the same scenes, independently of other families.

    Yields
    ------
    scene : `~bgrem.evaluate.wild.scene.WildScene`

    Raises
    ------
    ValueError
        If the family is unknown.
    """
    if family not in WILD_FAMILIES:
        msg = f'family must be one of {", ".join(WILD_FAMILIES)}, got {family!r}'
        raise ValueError(msg)
    for index in range(n_scenes):
        rng = np.random.default_rng([seed, zlib.crc32(family.encode()), index])
        yield WILD_FAMILIES[family](rng, size, index)
