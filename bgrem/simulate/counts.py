"""
Fields of photon counts for training, made from patches that are drawn once.

The expected counts of sources and of sky are known everywhere. Photons are drawn anew
each time that a patch is used, on the CPU or a GPU.
"""

from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import repeat
from multiprocessing import get_context

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tqdm import tqdm

from bgrem._config import Configuration

from .gamma import FieldConfig, LatConfig, simulate_field, simulate_lat_patch
from .stamps import save_tensors

__all__ = [
    'CountsBank',
    'CountsBatch',
    'CountsComposer',
    'CountsConfig',
    'draw_counts_bank',
]

_CHUNK = 100  # patches that one process draws at once
_CATALOG = ('x', 'y', 'flux', 'snr')


@dataclass(frozen=True)
class CountsConfig(Configuration):
    """
    The patches of a training on counts.

    Parameters
    ----------
    n_patches : int
        The number of patches. Each is used many times, with a different part of it,
        rotated and with other photons.
    patch_size : int
        The height and width in pixels.
    lat : tuple of `~bgrem.simulate.gamma.LatConfig`
        Patches of the gamma-ray sky; all kinds are equally frequent. Their ``shape``
        and ``poisson`` are not used.
    lat_fraction : float
        The fraction of the patches that are of this kind; the others are fields of any
        kind.
    field : `~bgrem.simulate.gamma.FieldConfig`
        These fields; their ``shape`` and ``poisson`` are not used either.
    expected_fraction : float
        The fraction of the views with expected counts, without Poisson noise.
    wide_fraction : float
        The fraction of the steps whose crops are fewer and half as wide again, so that
        there are sources as wide as a crop with some sky around them.
    seed : int
        The seed of the patches.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    n_patches: int = 16000
    patch_size: int = 96
    lat: tuple = (LatConfig(),)
    lat_fraction: float = 0.5
    field: FieldConfig = field(default_factory=FieldConfig)
    expected_fraction: float = 0.1
    wide_fraction: float = 0.0
    seed: int = 1

    def __post_init__(self):
        object.__setattr__(self, 'lat', tuple(self.lat))
        for name in ('lat_fraction', 'expected_fraction', 'wide_fraction'):
            self._require(name, 0 <= getattr(self, name) <= 1, 'must be in [0, 1]')
        for name in ('n_patches', 'patch_size'):
            self._require(name, getattr(self, name) >= 1, 'must be at least 1')
        is_enough = self.lat or self.lat_fraction == 0
        self._require('lat', is_enough, 'must hold at least one kind of patch')

    def to_dict(self):
        """
        The configuration as a plain `dict` that JSON and TOML can hold.

        Returns
        -------
        values : dict
            All fields by name.
        """
        return super().to_dict() | {
            'lat': [one.to_dict() for one in self.lat],
            'field': self.field.to_dict(),
        }

    @classmethod
    def from_dict(cls, values):
        """
        Build a configuration from `to_dict` output.

        Parameters
        ----------
        values : dict
            As for `Configuration.from_dict`.

        Returns
        -------
        config : `CountsConfig`
            The configuration.

        Raises
        ------
        ValueError
            If ``values`` contains an unknown key or a value out of range.
        """
        values = dict(values)
        if 'lat' in values:
            values['lat'] = tuple(LatConfig.from_dict(one) for one in values['lat'])
        if 'field' in values:
            values['field'] = FieldConfig.from_dict(values['field'])
        return super().from_dict(values)


@dataclass(frozen=True)
class CountsBank:
    """
    Patches of expected counts; images have shape (N, 1, H, W).

    Parameters
    ----------
    source, sky : `~torch.Tensor` of float32
        The expected counts of the sources of S/N 1 or more, and of everything else.
    exposure : `~torch.Tensor` of float16
        The exposure divided by that of the best pixel of the patch; 0 where there is
        none.
    fwhm : `~torch.Tensor`
        The FWHM of the PSF in pixels, shape (N,).
    catalog : `~torch.Tensor`
        Position, flux in counts and S/N of all sources, shape (M, 4).
    start : `~torch.Tensor` of int64
        The index of the first source of each patch, and the end; shape (N + 1,).
    """

    source: torch.Tensor
    sky: torch.Tensor
    exposure: torch.Tensor
    fwhm: torch.Tensor
    catalog: torch.Tensor
    start: torch.Tensor

    def __len__(self):
        return len(self.fwhm)

    def save(self, path):
        """
        Write the bank.

        Parameters
        ----------
        path : path-like
            A safetensors file.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        save_tensors(dict(vars(self)), path)

    @classmethod
    def load(cls, path):
        """
        Read a bank written by `save`.

        Parameters
        ----------
        path : path-like
            A safetensors file.

        Returns
        -------
        bank : `CountsBank`
            The bank.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it is damaged.
        """
        try:
            return cls(**load_file(path))
        except (SafetensorError, TypeError) as error:
            msg = f'bank of counts {path} is damaged: {error}'
            raise ValueError(msg) from error


def draw_counts_bank(config, *, n_workers=1, progress=False):
    """
    Draw the patches of a training.

    Parameters
    ----------
    config : `CountsConfig`
        The configuration of the patches.
    n_workers : int, optional
        The number of processes that draw them. The patches do not depend on it.
    progress : bool, optional
        Whether to show a progress bar.

    Returns
    -------
    bank : `CountsBank`
        The patches. Drawing takes about 20 ms for each patch, and 10 bytes of memory
        for each pixel.
    """
    sizes = [_CHUNK] * (config.n_patches // _CHUNK)
    sizes += [config.n_patches % _CHUNK] * (config.n_patches % _CHUNK > 0)
    seeds = np.random.SeedSequence(config.seed).spawn(len(sizes))
    pool = nullcontext()
    if n_workers > 1:
        pool = ProcessPoolExecutor(n_workers, mp_context=get_context('spawn'))
    with pool as workers:
        run = map if workers is None else workers.map
        chunks = run(_draw_chunk, repeat(config), seeds, sizes)
        bar = tqdm(chunks, 'patches of counts', len(sizes), disable=not progress)
        columns = zip(*bar, strict=True)
    *images, catalog, lengths = (np.concatenate(one) for one in columns)
    start = np.concatenate([[0], np.cumsum(lengths)])
    return CountsBank(*map(torch.from_numpy, (*images, catalog, start)))


def _draw_chunk(config, seed, n_patches):
    """Return arrays of the tensors of `CountsBank`, with numbers for the starts."""
    shape = (config.patch_size, config.patch_size)
    kinds = [replace(one, shape=shape, poisson=False) for one in config.lat]
    any_kind = replace(config.field, shape=shape, poisson=False)
    images, fwhm, catalogs = [], [], []
    for rng in np.random.default_rng(seed).spawn(n_patches):
        if rng.random() < config.lat_fraction:
            patch = simulate_lat_patch(rng, kinds[rng.integers(len(kinds))])
        else:
            patch = simulate_field(rng, any_kind)
        exposure = patch.exposure / max(patch.exposure.max(), 1e-30)
        images.append((patch.source[None], patch.sky[None], exposure[None]))
        fwhm.append(patch.fwhm)
        columns = (patch.catalog[name] for name in ('x', 'y', 'counts', 'snr'))
        catalogs.append(np.stack([*columns], axis=1))
    source, sky, exposure = (np.stack(one) for one in zip(*images, strict=True))
    lengths = np.array([len(one) for one in catalogs])
    fwhm = np.array(fwhm, 'f4')
    return source, sky, exposure.astype('f2'), fwhm, np.concatenate(catalogs), lengths


@dataclass(frozen=True)
class CountsBatch:
    """
    Fields of counts and the truth about them; images have shape (B, 1, H, W).

    Parameters
    ----------
    counts : `~torch.Tensor`
        Photons, or the expected counts if a field has no Poisson noise. 0 in gaps.
    source : `~torch.Tensor`
        The expected counts of all sources of S/N 1 or more.
    sky : `~torch.Tensor`
        The expected counts of everything else.
    exposure : `~torch.Tensor`
        The relative exposure, 0 in gaps.
    fwhm : `~torch.Tensor`
        The FWHM of the PSF in pixels, shape (B,).
    catalog : dict of `~torch.Tensor`
        One entry per source whose center is inside its field: ``scene`` (number),
        ``x``, ``y`` (pixels, 0 at the center of the first one), ``flux`` (expected
        counts) and ``snr`` (as defined in `bgrem.simulate.gamma`).
    """

    counts: torch.Tensor
    source: torch.Tensor
    sky: torch.Tensor
    exposure: torch.Tensor
    fwhm: torch.Tensor
    catalog: dict


class CountsComposer:
    """
    Makes random fields of counts from a bank.

    Parameters
    ----------
    bank : `CountsBank`
        The patches.

    expected_fraction : float, optional
        The fraction of the fields without Poisson noise.

    Examples
    --------
    >>> import torch
    >>> from bgrem.simulate import CountsComposer, CountsConfig, draw_counts_bank
    >>> bank = draw_counts_bank(CountsConfig())  # doctest: +SKIP
    >>> composer = CountsComposer(bank)  # doctest: +SKIP
    >>> batch = composer.compose(4, 64, torch.Generator())  # doctest: +SKIP
    """

    def __init__(self, bank, expected_fraction=0.0):
        self._bank = bank
        self._expected_fraction = expected_fraction

    def compose(self, n_fields, size, generator):
        """
        Make fields: parts of patches, rotated and flipped, with their own photons.

        Parameters
        ----------
        n_fields : int
            The number of fields.
        size : int
            Height and width in pixels.
        generator : `~torch.Generator`
            The source of all randomness; the fields are on its device.

        Returns
        -------
        batch : `CountsBatch`
            The fields, float32.

        Raises
        ------
        ValueError
            If ``size`` is larger than that of the patches.
        """
        bank, device = self._bank, generator.device
        patch_size = bank.sky.shape[-1]
        if size > patch_size:
            msg = f'size must be at most that of the patches, {patch_size}, got {size}'
            raise ValueError(msg)
        room = patch_size - size + 1
        draw = torch.rand(6, n_fields, generator=generator, device=device)
        number, row, column, turn, flip = (
            (u * n).long().clamp(max=n - 1).tolist()
            for u, n in zip(draw, (len(bank), room, room, 4, 2), strict=False)
        )
        looks = [*zip(row, column, turn, flip, strict=True)]
        source, sky, exposure = (
            torch.stack(
                [
                    _look(images[n], look, size)
                    for n, look in zip(number, looks, strict=True)
                ]
            ).to(device, torch.float32)
            for images in (bank.source, bank.sky, bank.exposure)
        )
        expected = source + sky
        is_noisy = draw[5].view(-1, 1, 1, 1) >= self._expected_fraction
        photons = torch.poisson(expected, generator)
        return CountsBatch(
            torch.where(is_noisy, photons, expected),
            source,
            sky,
            exposure,
            bank.fwhm[number].to(device),
            self._catalog(number, looks, size, device),
        )

    def _catalog(self, number, looks, size, device):
        parts, scene = [], []
        for i, (n, look) in enumerate(zip(number, looks, strict=True)):
            rows = self._bank.catalog[self._bank.start[n] : self._bank.start[n + 1]]
            x, y = _look_at(rows[:, 0], rows[:, 1], look, size)
            edge = size - 0.5
            inside = (x >= -0.5) & (x < edge) & (y >= -0.5) & (y < edge)
            parts.append(torch.stack([x, y, rows[:, 2], rows[:, 3]])[:, inside])
            scene.append(torch.full((parts[-1].shape[1],), i))
        columns = torch.cat(parts, dim=1).to(device)
        return {'scene': torch.cat(scene).to(device)} | dict(
            zip(_CATALOG, columns, strict=True)
        )


def _look(image, look, size):
    row, column, turn, flip = look
    image = image[..., row : row + size, column : column + size]
    image = torch.rot90(image, turn, (-2, -1))
    return image.flip(-1) if flip else image


def _look_at(x, y, look, size):
    """Return where positions are in what `_look` gives."""
    row, column, turn, flip = look
    x, y = x - column, y - row
    for _ in range(turn):
        x, y = y, size - 1 - x
    return (size - 1 - x if flip else x), y
