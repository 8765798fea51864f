"""
The building blocks of the U-Net.
"""

import math

import torch
from torch import nn
from torch.nn import functional

__all__ = [
    'AttentionGate',
    'Context',
    'DoubleConv',
    'UpSample',
    'noise_bands',
    'pixel_norm',
    'sinusoidal_embedding',
]

_NEGATIVE_SLOPE = 0.2


def sinusoidal_embedding(values, n_channels, max_frequency):
    """
    Embed scalars as sines and cosines of log-spaced frequencies.

    Parameters
    ----------
    values : `~torch.Tensor`
        Scalars of shape (B,), here squared noise rates in [0, 1].

    n_channels : int
        The even number of channels.

    max_frequency : float
        The highest frequency, in cycles per unit; the lowest is one.

    Returns
    -------
    embedding : `~torch.Tensor`
        Shape (B, ``n_channels``): all sines, then all cosines.
    """
    exponents = torch.linspace(
        0.0,
        math.log(max_frequency),
        n_channels // 2,
        device=values.device,
    )
    phases = 2 * math.pi * torch.exp(exponents) * values[:, None]
    return torch.cat([torch.sin(phases), torch.cos(phases)], dim=1)


def pixel_norm(x):
    """
    Divide each pixel by the root mean square of its channels (Karras et al.
    2018, arXiv 1710.10196).

    Unlike batch or group normalisation it looks at one pixel only, so the result
    depends neither on the batch nor on where tiles are cut.

    Parameters
    ----------
    x : `~torch.Tensor`
        Features of shape (B, C, H, W).

    Returns
    -------
    x : `~torch.Tensor`
        The normalised features.
    """
    power = x.float().square().mean(dim=1, keepdim=True)
    return x * torch.rsqrt(power + 1e-2).to(x.dtype)


def noise_bands(x, n_bands):
    """
    The finest details of an image, in ever higher bands of frequency, each
    in units of its own noise.

    Where noise is correlated nearly all of its power is in low frequencies, and
    a source as sharp as its pixels stands out in the high ones, but with
    amplitudes that are lost beside the rest of the image. To give each band the same
    noise is to whiten the noise, which is the first thing that the best linear
    detector does.

    Parameters
    ----------
    x : `~torch.Tensor`
        Images of shape (B, 1, H, W), float32; pixels without data are zero.

    n_bands : int
        The number of bands. The k-th is ``(1 - b)`` applied 2**k times, from
        k = 0, where b is the binomial smoothing of 3x3 pixels.

    Returns
    -------
    bands : `~torch.Tensor`
        Each band over its noise, the latter from the median absolute value of
        each image; shape (B, n_bands, H, W), clipped at -6 and 6.
    """
    bands = []
    for k in range(n_bands):
        for _ in range(2 ** max(k - 1, 0)):
            x = x - _binomial(x)
        # A quarter of the pixels is enough; not the zeros of those without data.
        size = x[..., ::2, ::2].abs().flatten(1)
        noise = torch.where(size > 0, size, torch.nan).nanmedian(dim=1).values
        noise = torch.nan_to_num(noise, nan=1.0) / 0.6745
        bands.append((x / noise.view(-1, 1, 1, 1)).clamp(-6, 6))
    return torch.cat(bands, dim=1)


def _binomial(x):
    x = functional.pad(x, (1, 1, 1, 1), mode='replicate')
    x = 0.25 * (x[..., :-2] + x[..., 2:]) + 0.5 * x[..., 1:-1]
    return 0.25 * (x[..., :-2, :] + x[..., 2:, :]) + 0.5 * x[..., 1:-1, :]


class DoubleConv(nn.Module):
    """
    Two 3x3 convolutions, each followed by a leaky ReLU.

    Parameters
    ----------
    n_in, n_out : int
        The channels in and out.

    padding : {'symmetric', 'zeros'}
        How the convolutions see past the border.

    normalize : bool
        Whether to apply `pixel_norm` to the input.
    """

    def __init__(self, n_in, n_out, padding, normalize):
        super().__init__()
        self.normalize = normalize
        # One pixel of symmetric padding repeats the border pixel.
        mode = 'replicate' if padding == 'symmetric' else 'zeros'
        self.conv1 = nn.Conv2d(n_in, n_out, 3, padding=1, padding_mode=mode)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, padding_mode=mode)
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(conv.weight, a=_NEGATIVE_SLOPE)
            nn.init.zeros_(conv.bias)

    def forward(self, x):
        """
        Apply the block to ``x`` of shape (B, n_in, H, W).
        """
        if self.normalize:
            x = pixel_norm(x)
        x = functional.leaky_relu(self.conv1(x), _NEGATIVE_SLOPE, inplace=True)
        return functional.leaky_relu(self.conv2(x), _NEGATIVE_SLOPE, inplace=True)


class UpSample(nn.Module):
    """
    Transposed 3x3 convolution of stride 2: doubles height and width.

    Parameters
    ----------
    n_in, n_out : int
        The channels in and out.
    """

    def __init__(self, n_in, n_out):
        super().__init__()
        self.conv = nn.ConvTranspose2d(
            n_in, n_out, 3, stride=2, padding=1, output_padding=1
        )
        nn.init.kaiming_normal_(self.conv.weight, a=_NEGATIVE_SLOPE, mode='fan_out')
        nn.init.zeros_(self.conv.bias)

    def forward(self, x):
        """
        Apply the layer to ``x`` of shape (B, n_in, H, W).
        """
        return self.conv(x)


class AttentionGate(nn.Module):
    """
    Additive attention gate: weighs a skip by what the decoder looks for.

    1x1 convolutions with batch normalisation on the gate and the skip, ReLU of
    their sum, a 1x1 convolution to one map and a sigmoid, which multiplies the
    skip (Oktay et al. 2018, arXiv 1804.03999).

    Parameters
    ----------
    width : int
        Channels of the skip and of the gate.
    """

    def __init__(self, width):
        super().__init__()
        self.gate = nn.Sequential(nn.Conv2d(width, width, 1), nn.BatchNorm2d(width))
        self.skip = nn.Sequential(nn.Conv2d(width, width, 1), nn.BatchNorm2d(width))
        self.score = nn.Conv2d(width, 1, 1)

    def forward(self, skip, gate):
        """
        Weigh ``skip`` by ``gate``, both of shape (B, width, H, W).
        """
        combined = functional.relu(self.skip(skip) + self.gate(gate))
        return skip * torch.sigmoid(self.score(combined))


class Context(nn.Module):
    """
    What an image is like as a whole, for the decoder to know.

    How wide the PSF is and how the noise is correlated can be told from a whole image
    but hardly from what surrounds one faint source. Of the normalised features of
    every level of the encoder four weighted means over the image are taken, with
    weights that are learnt, as bright stars say more than empty sky. A small
    perceptron makes of them a gain and an offset for each channel that the decoder
    merges (Perez et al. 2018, arXiv 1709.07871).

    Parameters
    ----------
    widths : tuple of int
        Channels of each level from the finest to the bottleneck.

    n_channels : int
        The channels between the two layers of the perceptron.
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
            The features of each level from the finest to the bottleneck.

        Returns
        -------
        changes : list of tuple of `~torch.Tensor`
            Gain and offset, each of shape (B, C, 1, 1), from the deepest step on.
        """
        means = []
        # In bf16 a mean over an image would not be exact.
        with torch.autocast(levels[0].device.type, enabled=False):
            for x, weigh in zip(levels, self.weigh, strict=True):
                x = pixel_norm(x.float())
                weight = torch.sigmoid(weigh(x)).flatten(2)
                weight = weight / weight.sum(dim=2, keepdim=True)
                mean = weight @ x.flatten(2).transpose(1, 2)
                means.append(mean.flatten(1))
            changes = self.perceptron(torch.cat(means, dim=1))
        gains, offsets = changes[:, :, None, None].chunk(2, dim=1)
        pairs = zip(
            gains.split(self.widths, dim=1),
            offsets.split(self.widths, dim=1),
            strict=True,
        )
        return [(1 + gain, offset) for gain, offset in pairs]
