"""
From scenes to the inputs and targets of the network.
"""

from typing import NamedTuple

import numpy as np
import torch

from bgrem.simulate.sky import low_pass, uniform
from bgrem.sky.normalize import estimate_normalization

__all__ = ['Examples', 'center_blobs', 'draw_examples', 'make_examples']

# Sources fainter than this are not asked for.
_MIN_SNR = 2.0
# Batches drawn, at most, to fill one with crops that are bright enough.
_MAX_DRAWS = 50


class Examples(NamedTuple):
    """
    Training examples; every tensor has shape (B, 1, H, W).
    """

    image: torch.Tensor
    source: torch.Tensor
    centers: torch.Tensor
    valid: torch.Tensor


def draw_examples(composer, config, generator):
    """
    Draw the examples of one training step.

    Parameters
    ----------
    composer : `bgrem.simulate.SceneComposer` or `FrameComposer`
        The composer of the scenes.

    config : `TrainingConfig`
        Provides the number and the size of the crops, the peak that they must have,
        and their normalization.

    generator : `~torch.Generator`
        The source of randomness.

    Returns
    -------
    examples : `Examples`
        ``config.batch_size`` examples.

    Raises
    ------
    ValueError
        If hardly any scene has a source as bright as ``config.min_peak``.
    """
    n_crops = config.batch_size
    kept = []
    for _ in range(_MAX_DRAWS):
        batch = composer.compose(n_crops, config.crop_size, generator)
        examples = make_examples(
            batch,
            generator,
            blob_sigma=config.blob_sigma,
            method=config.normalization,
            measured_fraction=config.measured_fraction,
        )
        bright = batch.source.amax(dim=(1, 2, 3)) >= config.min_peak
        kept.append(Examples(*(tensor[bright] for tensor in examples)))
        if sum(len(part.image) for part in kept) >= n_crops:
            tensors = zip(*kept, strict=True)
            return Examples(*(torch.cat(parts)[:n_crops] for parts in tensors))
    msg = f'min_peak must leave some crops of the scenes, got {config.min_peak!r}'
    raise ValueError(msg)


def make_examples(
    batch,
    generator,
    *,
    blob_sigma=1.0,
    jitter=True,
    method='local',
    measured_fraction=0.0,
):
    """
    Normalize scenes as at inference, errors included.

    At inference, the center and the scale are estimated on a mesh. This is also done
    here for a part of the scenes. For the others, they are the truth as seen by such a
    mesh, with the errors of an estimator: light of crowded fields and large galaxies
    leaks into the center, scales are off by some 15%, and in one scene of eight the
    center is a single number for the whole scene.

    Parameters
    ----------
    batch : `bgrem.simulate.SceneBatch`
        The scenes.

    generator : `~torch.Generator`
        The source of randomness.

    blob_sigma : float, optional
        The width in pixels of the blobs in ``centers``.

    jitter : bool, optional
        Whether to add the errors and to apply a random symmetry.

    method : {'local', 'global'}, optional
        The method of `~bgrem.sky.normalize.estimate_normalization`.

    measured_fraction : float, optional
        The fraction of the scenes, drawn at random, that are normalized by it.

    Returns
    -------
    examples : `Examples`
        Image and source in units of the noise; the blobs; the pixels with data.
    """
    center, scale = _simulated_maps(batch, generator, jitter)
    u = torch.rand(len(center), generator=generator, device=generator.device)
    for k in torch.nonzero(u < measured_fraction).flatten().tolist():
        center[k], scale[k] = _measured_maps(batch, k, method)
    mask = batch.mask | (scale == 0)
    image = torch.where(mask, 0, (batch.image - center) / scale)
    source = torch.where(mask, 0, batch.source / scale)
    centers = center_blobs(batch.catalog, batch.image.shape, blob_sigma)
    examples = Examples(image, source, centers, ~mask)
    return _random_symmetry(examples, generator) if jitter else examples


def _simulated_maps(batch, generator, jitter):
    """
    Center and scale as an estimator would find them, from the truth.
    """
    device = generator.device
    n_scenes = len(batch.image)
    box = 48
    if jitter:
        box = int(torch.randint(28, 68, (1,), generator=generator, device=device))
    center = low_pass(batch.sky, box)
    noise = low_pass(batch.sigma, box)
    if not jitter:
        return center, noise
    flat = batch.sky.mean(dim=(-2, -1), keepdim=True).expand_as(center)
    chosen = uniform((0, 1), n_scenes, generator) < 1 / 8
    center = torch.where(chosen, flat, center)
    leaked = low_pass(torch.minimum(batch.source, 3 * noise), box)
    leak = uniform((-0.5, 1), n_scenes, generator).clamp(min=0)
    offset = 0.15 * torch.randn(n_scenes, 1, 1, 1, generator=generator, device=device)
    center = center + leak * leaked + offset * noise
    error = torch.randn(n_scenes, 1, 1, 1, generator=generator, device=device)
    return center, noise * torch.exp(0.15 * error)


def _measured_maps(batch, k, method):
    """
    Center and scale of one scene by the very estimator of the inference.
    """
    image, mask = (tensor[k, 0].cpu().numpy() for tensor in (batch.image, batch.mask))
    found = estimate_normalization(image, mask, method)
    maps = torch.from_numpy(np.stack([found.center, found.scale])[:, None])
    return maps.to(batch.image)


def center_blobs(catalog, shape, sigma):
    """
    Return a map of source centers: a Gaussian blob of unit peak at each.

    Parameters
    ----------
    catalog : dict of `~torch.Tensor`
        The truth; sources with S/N above 2 are marked.

    shape : tuple of int
        (B, 1, H, W).

    sigma : float
        The width of the blobs in pixels.

    Returns
    -------
    blobs : `~torch.Tensor`
        Values in [0, 1]; where blobs overlap, the larger.
    """
    n_scenes, _, height, width = shape
    chosen = catalog['snr'] > _MIN_SNR
    scene, x, y = (catalog[name][chosen] for name in ('scene', 'x', 'y'))
    device = x.device
    blobs = torch.zeros(n_scenes * height * width, device=device)
    offset = torch.arange(-4, 5, device=device)
    column = torch.round(x).long()[:, None, None] + offset
    row = torch.round(y).long()[:, None, None] + offset[:, None]
    distance2 = (column - x[:, None, None]) ** 2 + (row - y[:, None, None]) ** 2
    value = torch.exp(-0.5 * distance2 / sigma**2)
    row, column = torch.broadcast_tensors(row, column)
    ok = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    place = (scene[:, None, None] * height + row) * width + column
    blobs.scatter_reduce_(0, place[ok], value[ok], 'amax')
    return blobs.view(shape)


def _random_symmetry(examples, generator):
    """
    One of the eight symmetries of the square, the same for the whole batch.
    """
    turn, flip = torch.randint(
        4, (2,), generator=generator, device=generator.device
    ).tolist()

    def apply(image):
        image = torch.rot90(image, turn, (-2, -1))
        return image.flip(-1) if flip % 2 else image

    return Examples(*map(apply, examples))
