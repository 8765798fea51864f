"""
The scenes of the evaluation: never used in training, and the same for every method.
"""

from dataclasses import dataclass, field

import numpy as np
import torch

from bgrem.evaluate.matching import MIN_SNR
from bgrem.simulate import FAMILIES, SceneComposer, cached_stamp_bank

__all__ = ['BANK_SEED', 'Scene', 'evaluation_bank', 'family_scenes', 'split_batch']

# No training run uses this seed, neither for its stamp bank nor its scenes.
BANK_SEED = 990_011
BANK_N_PSF = 48

_BATCH = 4


@dataclass(frozen=True)
class Scene:
    """
    One simulated image and its truth.

    Parameters
    ----------
    image, source, sky, sigma : 2D `~numpy.ndarray` of float
        Observed image, noise-free sources, noise-free sky, and the standard
        deviation of the sky noise at each pixel.
    mask : 2D `~numpy.ndarray` of bool
        True where there are no data.
    psf : 2D `~numpy.ndarray` of float
        Point-spread function, centered in an array with odd sides.
    fwhm : float
        Its full width at half maximum in pixels.
    catalog : dict of str to 1D `~numpy.ndarray`
        True sources: ``x``, ``y``, ``flux``, ``snr``, ``is_star``,
        ``half_light_radius``.
    judged : 2D `~numpy.ndarray` of bool, optional
        True where the sky is judged; by default wherever there are data.
    options : dict, optional
        Options with which `~photutils.background.Background2D` does not fail. Clipped
        pixels count as excluded, and in a crowded field these are most of the pixels.
    min_snr : float, optional
        The S/N that a source has to exceed to be expected in a catalog.
    """

    image: np.ndarray
    source: np.ndarray
    sky: np.ndarray
    sigma: np.ndarray
    mask: np.ndarray
    psf: np.ndarray
    fwhm: float
    catalog: dict
    judged: np.ndarray | None = None
    options: dict = field(default_factory=lambda: {'exclude_percentile': 90.0})
    min_snr: float = MIN_SNR

    def __post_init__(self):
        if self.judged is None:
            object.__setattr__(self, 'judged', ~self.mask)


def evaluation_bank(n_psf=BANK_N_PSF, *, cache=None, n_workers=1):
    """
    Return the stamp bank of the evaluation, built at first use.

    Parameters
    ----------
    n_psf : int, optional
        Number of point-spread functions in it.
    cache : path-like, optional
        Folder where the bank is kept. By default that of
        `bgrem.simulate.cached_stamp_bank`.
    n_workers : int, optional
        Number of processes that build it.

    Returns
    -------
    bank : `~bgrem.simulate.StampBank`
        The bank, which is always the same for the same ``n_psf``.
    """
    return cached_stamp_bank(n_psf, folder=cache, seed=BANK_SEED, n_workers=n_workers)


def family_scenes(bank, family, n_scenes, size, seed):
    """
    Make the scenes of one family one by one.

    Parameters
    ----------
    bank : `~bgrem.simulate.StampBank`
        The stamps from which scenes are composed.
    family : str or `~bgrem.simulate.SceneConfig`
        Name in `bgrem.simulate.FAMILIES`, or a configuration.
    n_scenes : int
        Number of scenes.
    size : int
        Side of each scene in pixels.
    seed : int
        The same seed gives the same scenes.

    Yields
    ------
    scene : `Scene`

    Raises
    ------
    ValueError
        If the family is unknown.
    """
    if isinstance(family, str):
        if family not in FAMILIES:
            msg = f'family must be one of {", ".join(FAMILIES)}, got {family!r}'
            raise ValueError(msg)
        family = FAMILIES[family]
    composer = SceneComposer(bank, family)
    generator = torch.Generator().manual_seed(seed)
    for first in range(0, n_scenes, _BATCH):
        n_batch = min(_BATCH, n_scenes - first)
        yield from split_batch(composer.compose(n_batch, size, generator))


def split_batch(batch):
    """
    Split a batch of scenes.

    Parameters
    ----------
    batch : `~bgrem.simulate.SceneBatch`
        The scenes as a composer makes them, on the CPU.

    Yields
    ------
    scene : `Scene`
    """
    columns = {name: np.asarray(value) for name, value in batch.catalog.items()}
    for k in range(len(batch.image)):
        of_scene = columns['scene'] == k
        images = {
            name: np.asarray(getattr(batch, name)[k, 0])
            for name in ('image', 'source', 'sky', 'sigma', 'mask')
        }
        yield Scene(
            **images,
            psf=np.asarray(batch.psf[k]),
            fwhm=float(batch.fwhm[k]),
            catalog={
                name: value[of_scene]
                for name, value in columns.items()
                if name != 'scene'
            },
        )
