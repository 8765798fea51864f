"""
A wider network that starts with what a narrower one has learned.
"""

from dataclasses import replace

import torch

__all__ = ['widen']

# what a wider network may have more of
_SIZES = ('widths', 'image_channels', 'bands', 'context')


def widen(state, narrow, network):
    """
    Give a network the weights of a narrower one.

    Channels that both networks have keep their weights, and at first get no input from
    the new channels. The new ones keep their initial weights (Chen et al. 2016, arXiv
    1511.05641, do the same with copies). Without normalization and context, the result
    is the narrower network, except for rounding; with them, it is nearly so, as both
    are means over all channels.

    Parameters
    ----------
    state : dict of `~torch.Tensor`
        The ``state_dict`` of the narrower network.

    narrow : `bgrem.nn.UNetConfig`
        Its architecture.

    network : `bgrem.nn.AttentionUNet`
        The network, with its initial weights, which is changed in place.

    Raises
    ------
    ValueError
        If the two differ in more than ``widths``, ``image_channels``, ``bands`` and
        ``context``, or one of these is smaller in ``network``.

    Examples
    --------
    >>> from bgrem.nn import AttentionUNet, UNetConfig
    >>> from bgrem.train.widening import widen
    >>> small = AttentionUNet(UNetConfig(widths=(4, 8), attention_gates=0))
    >>> large = AttentionUNet(UNetConfig(widths=(8, 8), attention_gates=0))
    >>> widen(small.state_dict(), small.config, large)
    >>> bool((large.down[0].conv2.weight[:4, 4:] == 0).all())
    True
    """
    wide = network.config
    _check(narrow, wide)
    places = _places(narrow, wide)
    result = network.state_dict()  # shares its memory with the network
    for name, old in state.items():
        index = [torch.arange(length) for length in old.shape]
        index = [
            places.get((name, axis), default) for axis, default in enumerate(index)
        ]
        if old.ndim > 1:
            # the input of a transposed convolution comes first
            outputs = 1 if name.startswith('up.') else 0
            result[name].index_fill_(outputs, index[outputs], 0)
        result[name][torch.meshgrid(*index, indexing='ij') if index else ...] = old


def _check(narrow, wide):
    """Raise an error unless the second shape is the first one, or wider."""
    sizes = {name: getattr(wide, name) for name in _SIZES}
    pairs = [
        *zip(narrow.widths, wide.widths, strict=False),
        *((getattr(narrow, name), sizes[name]) for name in _SIZES[1:]),
    ]
    is_kind = (
        len(narrow.widths) == len(wide.widths)
        and bool(narrow.context) == bool(wide.context)
        and replace(narrow, **sizes) == wide
    )
    if not is_kind or any(old > new for old, new in pairs):
        msg = (
            'init must be weights of the same network or of a narrower one (fewer '
            f'{", ".join(_SIZES)}), got {narrow}'
        )
        raise ValueError(msg)


def _places(narrow, wide):
    """Return where channels go that do not keep their number, by tensor and axis."""
    places = {}

    def join(name, axis, lengths):
        """Parts that lie side by side: the old and the new length of each."""
        indices, start = [], 0
        for old, new in lengths:
            indices.append(start + torch.arange(old))
            start += new
        places[name, axis] = torch.cat(indices)

    embedding = narrow.embedding_dim, wide.embedding_dim
    image = narrow.image_channels, wide.image_channels
    join('down.0.conv1.weight', 1, [image, embedding])
    levels = list(zip(narrow.widths, wide.widths, strict=True))
    # a skip and what comes from below
    merged = [2 * [level] for level in reversed(levels[:-1])]
    for depth, parts in enumerate(merged):
        join(f'merge.{depth}.conv1.weight', 1, parts)
    # four means of each level, and a gain and an offset for each part
    means = [level for level in levels for _ in range(4)]
    join('context.perceptron.0.weight', 1, means)
    changes = 2 * [part for parts in merged for part in parts]
    for kind in ('weight', 'bias'):
        join(f'context.perceptron.2.{kind}', 0, changes)
    return places
