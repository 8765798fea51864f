"""
The attention U-Net that predicts the background of an image.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from bgrem._config import Configuration

from .counts import N_FEATURES, count_features, expected_counts
from .inputs import compress, noise_bands, sinusoidal_embedding
from .layers import (
    AttentionGate,
    Context,
    DoubleConv,
    UpSample,
    pixel_gain,
    pointwise,
    unfold,
)

__all__ = ['AttentionUNet', 'CountsOutput', 'NetworkOutput', 'UNetConfig']


class NetworkOutput(NamedTuple):
    """
    The predictions of the network; each tensor has shape (B, 1, H, W).
    """

    background: torch.Tensor
    center_logit: torch.Tensor | None


class CountsOutput(NamedTuple):
    """
    The predictions of a network for counts; each tensor has shape (B, 1, H, W).
    """

    source: torch.Tensor
    sky: torch.Tensor
    center_logit: torch.Tensor | None


@dataclass(frozen=True)
class UNetConfig(Configuration):
    """
    The architecture of an `AttentionUNet`; stored in every weights file.

    The defaults are the released optical network of BGRem (arXiv
    2510.04718).

    Parameters
    ----------
    widths : tuple of int, optional
        The number of channels of each level, from the finest to the bottleneck.

    image_channels : int, optional
        The number of channels of the 1x1 convolution applied to the image.

    embedding_dim : int, optional
        The number of channels of the sinusoidal embedding of the noise variance; even.

    max_frequency : float, optional
        Highest frequency of the embedding, in cycles per unit noise variance.

    attention_gates : int, optional
        The number of skips, counted from the deepest, that pass an attention gate.

    unshuffle : int, optional
        Factor by which the image is folded into channels at the input and
        unfolded at the output; 1 works at full resolution.

    transfer : {'linear', 'arcsinh', 'counts'}, optional
        'linear' predicts the background itself, as the paper does.
        'arcsinh' compresses the input and predicts the compressed source as
        ``gate * arcsinh(x) + offset``, from which the background follows.
        'counts' takes counts and their expected level, and predicts the expected
        counts of sources and sky (`bgrem.nn.counts`).

    center_head : bool, optional
        Whether to predict the logit of a source center in each pixel.

    padding : {'symmetric', 'zeros'}, optional
        How 3x3 convolutions treat pixels beyond the border.

    normalize : bool, optional
        Whether to normalize the features of each pixel before each pair of
        convolutions except the first, and before the last convolution. Without it, the
        compressed network trains only at low learning rates, or not at all.

    bands : int, optional
        The number of `~bgrem.nn.inputs.noise_bands` that are inputs of the first layer
        besides the image.

    context : int, optional
        The number of channels of the `~bgrem.nn.layers.Context` of an image, from which
        the decoder learns about its PSF and noise; 0 for none.

    Raises
    ------
    ValueError
        If a value is out of range.

    Examples
    --------
    >>> from bgrem.nn import UNetConfig
    >>> UNetConfig().widths  # of the paper
    (16, 32, 64, 128, 256)
    """

    widths: tuple = (16, 32, 64, 128, 256)
    image_channels: int = 16
    embedding_dim: int = 32
    max_frequency: float = 1000.0
    attention_gates: int = 2
    unshuffle: int = 1
    transfer: str = 'linear'
    center_head: bool = False
    padding: str = 'symmetric'
    normalize: bool = False
    bands: int = 0
    context: int = 0

    def __post_init__(self):
        object.__setattr__(self, 'widths', tuple(int(width) for width in self.widths))
        rules = [
            ('widths', len(self.widths) >= 2 and min(self.widths) > 0,
             'must hold at least two positive integers'),
            ('image_channels', self.image_channels > 0, 'must be positive'),
            ('embedding_dim', self.embedding_dim > 0 and self.embedding_dim % 2 == 0,
             'must be a positive even integer'),
            ('max_frequency', 1 <= self.max_frequency < math.inf,
             'must be at least 1 and finite'),
            ('attention_gates', 0 <= self.attention_gates < len(self.widths),
             'must be between 0 and the number of skips'),
            ('unshuffle', self.unshuffle >= 1, 'must be at least 1'),
            ('transfer', self.transfer in ('linear', 'arcsinh', 'counts'),
             "must be 'linear', 'arcsinh' or 'counts'"),
            ('bands', self.transfer != 'counts' or self.bands == 0,
             "must be 0 with transfer 'counts'"),
            ('padding', self.padding in ('symmetric', 'zeros'),
             "must be 'symmetric' or 'zeros'"),
            # Each costs twice as much as the one before.
            ('bands', 0 <= self.bands <= 8, 'must be between 0 and 8'),
            ('context', self.context >= 0, 'must not be negative'),
        ]  # fmt: skip
        for name, holds, rule in rules:
            if not holds:
                msg = f'{name} {rule}, got {getattr(self, name)!r}'
                raise ValueError(msg)

    @property
    def size_multiple(self):
        """
        The number of which image height and width must be multiples.
        """
        return self.unshuffle * 2 ** (len(self.widths) - 1)


class AttentionUNet(nn.Module):
    """
    The attention U-Net of BGRem (arXiv 2510.04718) and the variant of this package.

    Parameters
    ----------
    config : `UNetConfig`
        The architecture of the network.

    Examples
    --------
    >>> import torch
    >>> from bgrem.nn import AttentionUNet, UNetConfig
    >>> network = AttentionUNet(UNetConfig(widths=(4, 8, 8))).eval()
    >>> image = torch.zeros(1, 1, 32, 32)
    >>> output = network(image, torch.ones(1))
    >>> tuple(output.background.shape)
    (1, 1, 32, 32)
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        widths = config.widths
        options = (config.padding, config.normalize)
        folded = config.unshuffle**2
        is_counts = config.transfer == 'counts'
        n_in = folded * (N_FEATURES if is_counts else 1 + config.bands)
        self.image_conv = nn.Conv2d(n_in, config.image_channels, 1)
        n_in = config.image_channels + config.embedding_dim
        self.down = nn.ModuleList()
        for level, width in enumerate(widths[:-1]):
            # The image itself keeps its scale: a faint source is a sum over many
            # pixels, which a gain that follows the noise of each would spoil.
            normalize = config.normalize and level > 0
            self.down.append(DoubleConv(n_in, width, config.padding, normalize))
            n_in = width
        self.bottleneck = DoubleConv(n_in, widths[-1], *options)
        self.up = nn.ModuleList()
        self.gates = nn.ModuleDict()
        self.merge = nn.ModuleList()
        n_in = widths[-1]
        for depth, width in enumerate(reversed(widths[:-1])):
            self.up.append(UpSample(n_in, width))
            if depth < config.attention_gates:
                self.gates[str(depth)] = AttentionGate(width)
            self.merge.append(DoubleConv(2 * width, width, *options))
            n_in = width
        self.context = Context(widths, config.context) if config.context else None
        n_maps = {'linear': 1, 'arcsinh': 2, 'counts': 3}[config.transfer]
        n_maps += config.center_head
        self.head = nn.Conv2d(n_in, n_maps * folded, 1)
        if config.center_head:
            # Source centers are rare: start from their prior, not from 1/2.
            if not self.head.weight.is_meta:  # as in the convolutions of the layers
                nn.init.normal_(self.head.weight, std=0.02)
            with torch.no_grad():
                self.head.bias[-folded:] = -4.0
        if is_counts:
            # most pixels hold no light of a source
            with torch.no_grad():
                self.head.bias[folded : 2 * folded] = -4.0

    def forward(self, x, noise_variance):
        """
        Predict the background (and the source centers) of noisy images.

        Parameters
        ----------
        x : `~torch.Tensor`
            Images in units of their noise, shape (B, 1, H, W), float32; H
            and W multiples of ``config.size_multiple``. With the transfer
            'counts': counts and their expected level, shape (B, 2, H, W).

        noise_variance : `~torch.Tensor`
            The squared noise rate of each image, shape (B,).

        Returns
        -------
        output : `NetworkOutput` or `CountsOutput`
            The predicted background, scaled such that the source is
            ``x - sqrt(noise_variance) * background``, and the center logit or `None`;
            float32. With the transfer 'counts', the expected counts of sources and
            sky.
        """
        config = self.config
        if config.transfer == 'counts':
            return self._forward_counts(x, noise_variance)
        compressed = compress(x) if config.transfer == 'arcsinh' else x
        seen = [compressed]
        if config.bands:
            seen += noise_bands(x, config.bands).split(1, dim=1)
        maps = self._features(seen, noise_variance)
        center_logit = maps[:, -1:] if config.center_head else None
        if config.transfer == 'linear':
            return NetworkOutput(maps[:, :1], center_logit)
        source = torch.sigmoid(maps[:, :1]) * compressed + maps[:, 1:2]
        # Far beyond any detector's range; keeps an untrained network finite.
        source = torch.sinh(source.clamp(-16, 16))
        noise_rate = noise_variance.sqrt().view(-1, 1, 1, 1)
        return NetworkOutput((x - source) / noise_rate, center_logit)

    def _forward_counts(self, x, noise_variance):
        counts, level = x[:, :1], x[:, 1:2]
        features = count_features(counts, level).split(1, dim=1)
        maps = self._features(features, noise_variance)
        source, sky = expected_counts(counts, level, maps[:, :3])
        return CountsOutput(
            source, sky, maps[:, 3:] if self.config.center_head else None
        )

    def _features(self, images, noise_variance):
        config = self.config
        x = self.down[0](
            self._fold(images, noise_variance), weight=self._folded_weight()
        )
        skips = [x]
        for block in self.down[1:]:
            x = block([functional.max_pool2d(x, 2)])
            skips.append(x)
        x = self.bottleneck([functional.max_pool2d(x, 2)])
        changes = self.context([*skips, x]) if self.context else None
        for depth, (up, merge) in enumerate(zip(self.up, self.merge, strict=True)):
            x = up(x)
            skip = skips.pop()
            if str(depth) in self.gates:
                skip = self.gates[str(depth)](skip, x)
            parts = [skip, x]
            # no name holds them while they are merged, which is where memory peaks
            del skip, x
            x = merge(parts, changes=changes and changes[depth])
        # In bf16 a logit above 4 would come in steps of 1/32.
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            gain = pixel_gain(x) if config.normalize else None
            maps = pointwise(self.head, x, gain)
        return unfold(maps, config.unshuffle)

    def _fold(self, images, noise_variance):
        """Return what the first 3x3 convolution sees with its `_folded_weight`."""
        config, step = self.config, self.config.unshuffle
        parts = [
            image[..., y::step, x::step]
            for image in images
            for y in range(step)
            for x in range(step)
        ]
        embedding = sinusoidal_embedding(
            noise_variance, config.embedding_dim, config.max_frequency
        )
        # with a one for the biases of the 1x1 convolution
        constants = torch.cat([embedding, torch.ones_like(embedding[:, :1])], dim=1)
        shape = (-1, -1, *parts[0].shape[2:])
        return [*parts, constants[:, :, None, None].expand(shape)]

    def _folded_weight(self):
        """
        Return the weight of the first 3x3 convolution after the 1x1 convolution.

        Nothing lies between the two, so that they are one with fewer channels.
        """
        config, conv = self.config, self.image_conv
        with torch.autocast(conv.weight.device.type, enabled=False):
            image, embedding = self.down[0].conv1.weight.split(
                [config.image_channels, config.embedding_dim], dim=1
            )
            mixed = torch.cat([conv.weight.flatten(1), conv.bias[:, None]], dim=1)
            image = torch.einsum('oiyx,ij->ojyx', image, mixed)
            weight = torch.cat([image[:, :-1], embedding, image[:, -1:]], dim=1)
            return weight.contiguous(memory_format=torch.channels_last)
