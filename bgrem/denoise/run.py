"""
Run a network over an image: the only interface between numpy and torch.
"""

import os

import numpy as np
import torch
from tqdm.auto import tqdm

from bgrem.checks import check_count
from bgrem.denoise.memory import keep_freed_memory
from bgrem.denoise.tiling import make_layout
from bgrem.nn import sample

__all__ = [
    'average_views',
    'check_symmetries',
    'cpu_has_bfloat16',
    'denoise',
    'denoise_counts',
    'finish_logit',
    'n_threads',
    'resolve_device',
    'tile_layout',
]

# quarter turns of each of the eight symmetries; the last four are flipped too
_TURNS = (0, 2, 1, 3, 0, 2, 1, 3)
# Tiles may be larger than those that the weights were made with, in these parts of
# their side: less overlaps, and what a network learns from a whole tile, it learns
# better. Still larger ones do not fit the caches of a processor.
_LARGER = 9, 4
# tiles at once: enough to keep the device busy, little enough to fit
_BATCH_SIZES = {'cpu': 1, 'cuda': 8, 'mps': 2}

# The threads of a parent do not live on in a fork, where OpenMP waits for them for
# ever; a single thread waits for nobody.
if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


def denoise(
    image,
    weights,
    *,
    n_steps=None,
    n_symmetries=1,
    device='auto',
    batch_size=None,
    progress=None,
    layout=None,
):
    """
    Remove the background from a normalized image.

    Parameters
    ----------
    image : 2D `~numpy.ndarray` of float32
        The image in units of its noise and centered on its sky; finite
        everywhere; noise, or 0, where there are no data.
    weights : `bgrem.weights.Weights`
        The network, its schedule and the size of its tiles.
    n_steps : int or `None`, optional
        The number of diffusion steps; `None` (default) is the number specified
        by the weights.
    n_symmetries : {1, 2, 4, 8}, optional
        The number of symmetries of the square over which the result is averaged: the
        network sees each tile rotated and flipped. The sky has no preferred
        direction, so any difference between the views is the network's own error.
        Default 1.
    device : str or `torch.device`, optional
        ``'auto'`` (default) is the first CUDA device, else Apple's MPS, else the
        CPU. Also ``'cpu'``, ``'cuda'``, ``'cuda:1'``, ``'mps'``.
    batch_size : int or `None`, optional
        The number of tiles that go through the network together. `None`
        (default) depends on the device. If there is not enough memory, it is
        halved; the result does not depend on it, except for rounding.
    progress : str or `None`, optional
        The label of a progress bar, which counts the tiles of each view in each step;
        `None` (default) shows none.
    layout : `bgrem.denoise.tiling.TileLayout`, optional
        The tiles. Default: those of `tile_layout`. With a part of them, from
        `bgrem.denoise.tiling.TileLayout.part`, the caller must add up the results of
        all parts and then call `finish_logit`.

    Returns
    -------
    source : 2D `~numpy.ndarray` of float32
        The image of the sources, in units of the noise.
    center_logit : 2D `~numpy.ndarray` of float32
        The logit of "a source center lies at this pixel", see `finish_logit`. With a
        ``layout``, it is `None` for a network without this output.

    Raises
    ------
    ValueError
        If a parameter is out of range, the device does not exist, or the network
        returns non-finite values.
    MemoryError
        If a single tile does not fit into the memory of the device.

    Notes
    -----
    The time is proportional to the numbers of pixels, steps and symmetries. Besides the
    image and the two results, the memory needed is that of one batch of tiles. On CPUs
    with bfloat16 units, the network runs in bfloat16, elsewhere in float32.

    Examples
    --------
    >>> import numpy as np
    >>> from bgrem.denoise import denoise
    >>> from bgrem.weights import load_weights
    >>> noise = np.random.default_rng(1).normal(0, 1, (64, 64)).astype(np.float32)
    >>> source, *_ = denoise(noise, load_weights('optical'))
    >>> source.shape
    (64, 64)
    """
    n_steps = weights.n_steps if n_steps is None else check_count('n_steps', n_steps)

    def run(network, x, count):
        return sample(network, x, weights.schedule, n_steps, lambda *_: count(len(x)))

    source, center_logit = _over_tiles(
        [image], ('source', 'center_logit'), run, weights,
        n_steps=n_steps, n_symmetries=n_symmetries, device=device,
        batch_size=batch_size, progress=progress, layout=layout,
    )  # fmt: skip
    if layout is None:
        center_logit = finish_logit(source, center_logit)
    return source, center_logit


def finish_logit(source, center_logit):
    """
    Return the center logit of an image for any network.

    Parameters
    ----------
    source, center_logit : 2D `~numpy.ndarray` of float32
        The sums of the results of `denoise` for all parts, or a part of these sums.

    Returns
    -------
    center_logit : 2D `~numpy.ndarray` of float32
        The same. For a network without this output (that of the paper), it is ``1.5 *
        ln(source)`` instead, with the source in units of the noise and at least 1e-6:
        increasing with the source, zero at one sigma, and not calibrated.
    """
    if center_logit is not None:
        return center_logit
    return 1.5 * np.log(np.maximum(source, np.float32(1e-6)))


def n_threads():
    """
    Return the number of threads that a network uses on a CPU (int).
    """
    return torch.get_num_threads()


def tile_layout(shape, weights):
    """
    Lay the tiles of a network over an image.

    Parameters
    ----------
    shape : tuple of 2 int
        The shape of the image.
    weights : `bgrem.weights.Weights`
        The network and the size of its tiles.

    Returns
    -------
    layout : `bgrem.denoise.tiling.TileLayout`
        The layout.
    """
    multiple = weights.config.size_multiple
    return make_layout(
        shape,
        weights.tile_size * _LARGER[0] // (_LARGER[1] * multiple) * multiple,
        weights.tile_overlap,
        multiple,
    )


def denoise_counts(
    counts,
    level,
    weights,
    *,
    n_symmetries=1,
    device='auto',
    batch_size=None,
    progress=None,
):
    """
    Separate the sources of a map of counts from its sky.

    Parameters
    ----------
    counts : 2D `~numpy.ndarray` of float32
        Photons, or expected counts; finite everywhere; ``level`` where there are no
        data.
    level : 2D `~numpy.ndarray` of float32
        The expected counts of the sky, positive.
    weights : `bgrem.weights.Weights`
        Weights whose transfer is 'counts'.
    n_symmetries, device, batch_size, progress
        As for `denoise`.

    Returns
    -------
    source, sky : 2D `~numpy.ndarray` of float32
        The expected counts of sources and sky, given the image; positive.
    center_logit : 2D `~numpy.ndarray` of float32
        The logit of "a source center lies at this pixel".

    Raises
    ------
    ValueError, MemoryError
        As for `denoise`.

    Notes
    -----
    There is a single step; for its cost see `denoise`.
    """

    def run(network, x, count):
        # all of the sky is there, as at the first step of a diffusion
        output = network(x, x.new_ones(len(x)))
        count(len(x))
        return output

    return _over_tiles(
        [counts, level], ('source', 'sky', 'center_logit'), run, weights,
        n_steps=1, n_symmetries=n_symmetries, device=device,
        batch_size=batch_size, progress=progress,
    )  # fmt: skip


def _over_tiles(
    images,
    names,
    run,
    weights,
    *,
    n_steps,
    n_symmetries,
    device,
    batch_size,
    progress,
    layout=None,
):
    """Run a network on the tiles of images; a map for each name, or `None`."""
    n_symmetries = check_symmetries(n_symmetries)
    device = resolve_device(device)
    if batch_size is None:
        batch_size = _BATCH_SIZES.get(device.type, 8)
    batch_size = check_count('batch_size', batch_size)

    keep_freed_memory()
    network = weights.network(device)
    layout = tile_layout(images[0].shape, weights) if layout is None else layout
    maps = [np.zeros(layout.shape, dtype=np.float32) for _ in names]
    start = 0
    n_passes = n_symmetries * n_steps
    with _progress_bar(progress, len(layout), n_symmetries, n_steps) as bar:
        while start < len(layout):
            indices = range(start, min(start + batch_size, len(layout)))
            tiles = np.stack([layout.take(image, indices) for image in images], 1)
            try:
                output = _run(
                    network, run, names, n_symmetries, device, tiles, bar.update
                )
            except (MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                output = None
            # outside the handler, where the traceback held the failed batch
            if output is None:
                batch_size = _halve(len(indices), layout.tile_shape, device)
                bar.update(start * n_passes - bar.n)  # back to where the batch began
                continue
            for number, part in enumerate(output):
                if part is None:
                    maps[number] = None
                else:
                    layout.add(maps[number], part, indices)
            start = indices.stop
    if not all(np.isfinite(one).all() for one in maps if one is not None):
        msg = f'weights {weights.name!r} ({weights.path}) give values beyond all bounds'
        raise ValueError(msg)
    return maps


def resolve_device(device):
    """
    Convert the name of a device to an existing device.

    Parameters
    ----------
    device : str or `torch.device`
        ``'auto'``, ``'cpu'``, ``'cuda'``, ``'cuda:N'`` or ``'mps'``.

    Returns
    -------
    device : `torch.device`
        The device.

    Raises
    ------
    ValueError
        If the name is none of these or the device does not exist.
    """
    has_mps = torch.backends.mps.is_available()
    if isinstance(device, str) and device == 'auto':
        if torch.cuda.is_available():
            return torch.device('cuda')
        return torch.device('mps' if has_mps else 'cpu')
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        found = None
    if found is None or found.type not in _BATCH_SIZES:
        msg = f"device must be 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps', got {device!r}"
        raise ValueError(msg)
    n_devices = {
        'cpu': 1,
        'cuda': torch.cuda.device_count() if torch.cuda.is_available() else 0,
        'mps': int(has_mps),
    }[found.type]
    if (found.index or 0) >= n_devices:
        msg = f'device {str(device)!r} is not available on this machine'
        raise ValueError(msg)
    return found


def check_symmetries(value, name='n_symmetries'):
    """
    Check the number of symmetries.

    Parameters
    ----------
    value : int
        The number.
    name : str, optional
        The name of the parameter.

    Returns
    -------
    n_symmetries : int
        The value.

    Raises
    ------
    ValueError
        If it is not 1, 2, 4 or 8.
    """
    if value not in (1, 2, 4, 8):
        msg = f'{name} must be 1, 2, 4 or 8, got {value!r}'
        raise ValueError(msg)
    return int(value)


def _progress_bar(name, n_tiles, n_symmetries, n_steps):
    """Return a progress bar over the passes of the network."""
    details = [(n_symmetries, 'views'), (n_steps, 'steps')]
    details = ', '.join(f'{n} {what}' for n, what in details if n > 1)
    return tqdm(
        total=n_tiles * n_symmetries * n_steps,
        desc=f'{name} ({details})' if details else name,
        unit='tile',
        leave=False,
        disable=name is None,
    )


def _run(network, run, names, n_symmetries, device, tiles, count):
    """Return the named maps of one batch of tiles."""
    use_bfloat16 = device.type == 'cpu' and cpu_has_bfloat16()
    with (
        torch.inference_mode(),
        torch.autocast(device.type, torch.bfloat16, enabled=use_bfloat16),
    ):
        x = torch.from_numpy(tiles).to(device)
        maps = average_views(
            lambda view: run(network, view, count), x, names, n_symmetries
        )
    return [None if one is None else one[:, 0].cpu().numpy() for one in maps]


def average_views(run, x, names, n_symmetries):
    """
    Average the maps from a network over symmetries of the square.

    Parameters
    ----------
    run : callable
        ``run(x)`` returns an object with maps, each of the height and width of ``x``.
    x : `~torch.Tensor`
        Images, shape (B, C, H, W).
    names : sequence of str
        The names of these maps.
    n_symmetries : {1, 2, 4, 8}
        The number of views over which to average.

    Returns
    -------
    maps : list of `~torch.Tensor` or `None`
        The mean of each map, float32; `None` if the network has no such map.
    """
    total = None
    for number in range(n_symmetries):
        output = run(_view(x, number))
        maps = [
            None if image is None else _view_back(image.float(), number)
            for image in (getattr(output, name) for name in names)
        ]
        if total is not None:
            maps = [a if b is None else a + b for a, b in zip(total, maps, strict=True)]
        total = maps
    return [None if image is None else image / n_symmetries for image in total]


def _view(x, number):
    """Apply one of the eight symmetries; the first two are identity and half turn."""
    x = torch.rot90(x, _TURNS[number], (-2, -1))
    return x.flip(-1) if number >= 4 else x


def _view_back(x, number):
    """Undo `_view`."""
    x = x.flip(-1) if number >= 4 else x
    return torch.rot90(x, -_TURNS[number], (-2, -1))


def cpu_has_bfloat16():
    """
    Whether the CPU multiplies bfloat16 natively; on other CPUs it is slower.

    Returns
    -------
    native : bool
        Whether the CPU does.
    """
    # private functions, whose names have changed before: absent means no
    probes = ('_is_amx_tile_supported', '_is_avx512_bf16_supported')
    return any(getattr(torch.cpu, name, bool)() for name in probes)


def _is_out_of_memory(error):
    """Whether an error says that the device's memory is full."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # the CPU and MPS raise a plain RuntimeError
    text = str(error).lower()
    return 'out of memory' in text or "can't allocate memory" in text


def _halve(batch_size, tile_shape, device):
    """Return the next smaller batch size."""
    if batch_size == 1:
        height, width = tile_shape
        msg = f'one tile of {height}x{width} px does not fit the memory of {device}'
        raise MemoryError(msg)
    if device.type == 'cuda':
        torch.cuda.empty_cache()
    return batch_size // 2
