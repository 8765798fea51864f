"""
The building blocks of the U-Net.
"""

import torch
from torch import nn
from torch.nn import functional

__all__ = [
    'AttentionGate',
    'Context',
    'DoubleConv',
    'UpSample',
    'lay_out',
    'pixel_gain',
    'pixel_norm',
    'pointwise',
    'unfold',
]

_NEGATIVE_SLOPE = 0.2


def pixel_norm(x):
    """
    Divide each pixel by the root mean square of its channels (Karras et al.
    2018, arXiv 1710.10196).

    Unlike batch or group normalization, it depends on one pixel only, so the result
    depends neither on the batch nor on the borders of tiles.

    Parameters
    ----------
    x : `~torch.Tensor`
        Features of shape (B, C, H, W).

    Returns
    -------
    x : `~torch.Tensor`
        The normalized features.
    """
    return x * pixel_gain(x).to(x.dtype)


def pixel_gain(x):
    """
    Return the factor by which `pixel_norm` multiplies each pixel.

    Parameters
    ----------
    x : `~torch.Tensor`
        Features of shape (B, C, H, W).

    Returns
    -------
    gain : `~torch.Tensor`
        Shape (B, 1, H, W), float32.
    """
    # a norm is one pass over the features and leaves no squares of them behind
    size = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32)
    return torch.rsqrt(size.square() / x.shape[1] + 1e-2)


def lay_out(parts, padding, *, changes=None, normalize=False):
    """
    Concatenate features, with a border for a 3x3 convolution.

    Parameters
    ----------
    parts : list of `~torch.Tensor`
        Features of shape (B, C, H, W), each with its own C.

    padding : {'symmetric', 'zeros'}
        The values of the border: the adjacent pixel, or zeros.

    changes : tuple of `~torch.Tensor`, optional
        A gain and an offset for each channel of all parts, of shape (B, C, 1, 1).

    normalize : bool, optional
        Whether to apply `pixel_norm`, after the changes. Default `False`.

    Returns
    -------
    x : `~torch.Tensor`
        Shape (B, sum of C, H + 2, W + 2), the dtype of the first part.

    Notes
    -----
    Without gradients, everything is written into one new tensor. On a CPU, allocating
    memory at each step would take a quarter of the time of the convolutions.
    """
    dtype = parts[0].dtype
    if changes is not None:
        changes = [change.to(dtype) for change in changes]
    if not torch.is_grad_enabled():
        return _lay_out_at_once(parts, padding, changes, normalize)
    x = torch.cat([part.to(dtype) for part in parts], dim=1)
    x = x.contiguous(memory_format=torch.channels_last)
    if changes is not None:
        x = x * changes[0] + changes[1]
    if normalize:
        x = pixel_norm(x)
    # one pixel of symmetric padding repeats the border pixel
    mode = 'replicate' if padding == 'symmetric' else 'constant'
    return functional.pad(x, (1, 1, 1, 1), mode=mode)


def _lay_out_at_once(parts, padding, changes, normalize):
    """Do what `lay_out` does without a copy for each step."""
    n_channels = [part.shape[1] for part in parts]
    batch, _, height, width = parts[0].shape
    x = torch.empty(
        (batch, sum(n_channels), height + 2, width + 2),
        dtype=parts[0].dtype,
        device=parts[0].device,
        memory_format=torch.channels_last,
    )
    inner = x[..., 1:-1, 1:-1]
    targets = inner.split(n_channels, dim=1)
    if changes is None:
        for target, part in zip(targets, parts, strict=True):
            target.copy_(part)
    else:
        gains, offsets = (change.split(n_channels, dim=1) for change in changes)
        for target, *terms in zip(targets, offsets, parts, gains, strict=True):
            torch.addcmul(*terms, out=target)
    if normalize:
        inner.mul_(pixel_gain(inner).to(x.dtype))
    for axis in (2, 3):
        for side, beside in ((0, 1), (-1, -2)):
            border = x.select(axis, side)
            if padding == 'symmetric':
                border.copy_(x.select(axis, beside))
            else:
                border.zero_()
    return x


def pointwise(conv, x, gain=None):
    """
    Apply a 1x1 convolution as a matrix product.

    Parameters
    ----------
    conv : `~torch.nn.Conv2d`
        The convolution.

    x : `~torch.Tensor`
        Features of shape (B, C, H, W), channels last in memory.

    gain : `~torch.Tensor`, optional
        A factor by which each pixel is first multiplied, of shape (B, 1, H, W). It is
        applied to the output, which has fewer channels.

    Returns
    -------
    x : `~torch.Tensor`
        The result, channels last.
    """
    x = functional.linear(x.movedim(1, -1), conv.weight.flatten(1))
    if gain is not None:
        x = x * gain.movedim(1, -1)
    return (x + conv.bias).movedim(-1, 1)


def unfold(x, factor):
    """
    Apply `torch.nn.functional.pixel_shuffle` to features with channels last.

    Parameters
    ----------
    x : `~torch.Tensor`
        Features of shape (B, C factor**2, H, W), channels last in memory, for which
        the function of torch takes twice as long.

    factor : int
        The factor by which height and width increase.

    Returns
    -------
    x : `~torch.Tensor`
        Shape (B, C, H factor, W factor).
    """
    batch, n_folded, height, width = x.shape
    shape = batch, n_folded // factor**2, height * factor, width * factor
    x = x.movedim(1, -1).unflatten(-1, (-1, factor, factor))
    return x.permute(0, 3, 1, 4, 2, 5).reshape(shape)


class DoubleConv(nn.Module):
    """
    Two 3x3 convolutions, each followed by a leaky ReLU.

    Parameters
    ----------
    n_in, n_out : int
        The numbers of input and output channels.

    padding : {'symmetric', 'zeros'}
        How the convolutions treat pixels beyond the border.

    normalize : bool
        Whether to apply `pixel_norm` to the input.
    """

    def __init__(self, n_in, n_out, padding, normalize):
        super().__init__()
        self.padding = padding
        self.normalize = normalize
        self.conv1 = nn.Conv2d(n_in, n_out, 3)
        self.conv2 = nn.Conv2d(n_out, n_out, 3)
        for conv in (self.conv1, self.conv2):
            _initialize(conv)

    def forward(self, parts, *, changes=None, weight=None):
        """
        Apply the block.

        Parameters
        ----------
        parts : list of `~torch.Tensor`
            The input, to be concatenated: features of shape (B, C, H, W).

        changes : tuple of `~torch.Tensor`, optional
            A gain and an offset for each of their channels, see `lay_out`.

        weight : `~torch.Tensor`, optional
            Replaces the weight of the first convolution.

        Returns
        -------
        x : `~torch.Tensor`
            Shape (B, n_out, H, W).
        """
        weight = self.conv1.weight if weight is None else weight
        x = lay_out(parts, self.padding, changes=changes, normalize=self.normalize)
        x = functional.conv2d(x, weight, self.conv1.bias)
        x = functional.leaky_relu(x, _NEGATIVE_SLOPE, inplace=True)
        x = self.conv2(lay_out([x], self.padding))
        return functional.leaky_relu(x, _NEGATIVE_SLOPE, inplace=True)


class UpSample(nn.Module):
    """
    Transposed 3x3 convolution of stride 2: doubles height and width.

    Parameters
    ----------
    n_in, n_out : int
        The numbers of input and output channels.
    """

    def __init__(self, n_in, n_out):
        super().__init__()
        self.conv = nn.ConvTranspose2d(
            n_in, n_out, 3, stride=2, padding=1, output_padding=1
        )
        _initialize(self.conv, mode='fan_out')

    def forward(self, x):
        """
        Apply the layer to ``x`` of shape (B, n_in, H, W).
        """
        return self.conv(x)


class AttentionGate(nn.Module):
    """
    Additive attention gate: weights a skip connection by what the decoder needs.

    1x1 convolutions with batch normalization on the gate and the skip, ReLU of
    their sum, a 1x1 convolution to one map and a sigmoid, which multiplies the
    skip (Oktay et al. 2018, arXiv 1804.03999).

    Parameters
    ----------
    width : int
        The number of channels of the skip and of the gate.
    """

    def __init__(self, width):
        super().__init__()
        self.gate = nn.Sequential(nn.Conv2d(width, width, 1), nn.BatchNorm2d(width))
        self.skip = nn.Sequential(nn.Conv2d(width, width, 1), nn.BatchNorm2d(width))
        self.score = nn.Conv2d(width, 1, 1)

    def forward(self, skip, gate):
        """
        Weight ``skip`` by ``gate``, both of shape (B, width, H, W).
        """
        combined = functional.relu(self.skip(skip) + self.gate(gate))
        return skip * torch.sigmoid(self.score(combined))


class Context(nn.Module):
    """
    The properties of a whole image, as an input of the decoder.

    The width of the PSF and the correlation of the noise can be measured on a whole
    image but hardly on the surroundings of one faint source. Four weighted means over
    the image are taken of the normalized features of each level of the encoder. The
    weights are learned, as bright stars contain more information than empty sky. A
    small perceptron converts the means to a gain and an offset for each channel that
    the decoder merges (Perez et al. 2018, arXiv 1709.07871).

    Parameters
    ----------
    widths : tuple of int
        The number of channels of each level, from the finest to the bottleneck.

    n_channels : int
        The number of channels between the two layers of the perceptron.
    """

    _N_MEANS = 4

    def __init__(self, widths, n_channels):
        super().__init__()
        self.weigh = nn.ModuleList(
            nn.Conv2d(width, self._N_MEANS, 1) for width in widths
        )
        self.widths = [2 * width for width in reversed(widths[:-1])]
        self.perceptron = nn.Sequential(
            nn.Linear(self._N_MEANS * sum(widths), n_channels),
            nn.LeakyReLU(_NEGATIVE_SLOPE),
            nn.Linear(n_channels, 2 * sum(self.widths)),
        )
        # At first the decoder is as if there were no context.
        nn.init.zeros_(self.perceptron[-1].weight)
        nn.init.zeros_(self.perceptron[-1].bias)

    def forward(self, levels):
        """
        Return the gain and the offset of each step of the decoder.

        Parameters
        ----------
        levels : list of `~torch.Tensor`
            The features of each level, from the finest to the bottleneck.

        Returns
        -------
        changes : list of tuple of `~torch.Tensor`
            Gain and offset, each of shape (B, C, 1, 1), from the deepest step up.
        """
        means = []
        # In bf16 a mean over an image would not be exact.
        with torch.autocast(levels[0].device.type, enabled=False):
            for x, weigh in zip(levels, self.weigh, strict=True):
                x = x.float()
                gain = pixel_gain(x)
                weight = torch.sigmoid(pointwise(weigh, x, gain)).flatten(2)
                total = weight.sum(dim=2, keepdim=True)
                mean = (weight * gain.flatten(2)) @ x.flatten(2).transpose(1, 2) / total
                means.append(mean.flatten(1))
            changes = self.perceptron(torch.cat(means, dim=1))
        gains, offsets = changes[:, :, None, None].chunk(2, dim=1)
        pairs = zip(
            gains.split(self.widths, dim=1),
            offsets.split(self.widths, dim=1),
            strict=True,
        )
        return [(1 + gain, offset) for gain, offset in pairs]


def _initialize(conv, **options):
    """Give a convolution its initial values."""
    # on 'meta' there are none, and what would not fill them takes a second to import
    if not conv.weight.is_meta:
        nn.init.kaiming_normal_(conv.weight, a=_NEGATIVE_SLOPE, **options)
    nn.init.zeros_(conv.bias)
