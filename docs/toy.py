# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The idea of bgrem in a hundred lines: ``python docs/toy.py [N_STEPS] [PICTURE]``.

A tiny network learns on simulated stars what of an image x = s + b is background b
(sky structure and noise), and where star centers are. A short diffusion takes b away;
Background2D then measures the sky on what is left, and the peaks of the probability
are the detections. It takes a minute of one core. A toy: one PSF, one noise, no galaxy.
"""

import sys
import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from photutils.background import Background2D
from torch import nn
from torch.nn import functional as F

y, x = np.mgrid[-10:11, -10:11]
PSF = (1 + (x**2 + y**2) / 2.5**2) ** -2.5  # Moffat, FWHM 2.8 px
PSF = torch.tensor(PSF / PSF.sum(), dtype=torch.float32)[None, None]
BLOB = torch.exp(-torch.tensor(x**2 + y**2, dtype=torch.float32) / 2)[None, None]
LEAST = 2 / torch.sqrt(torch.sum(PSF**2))  # the flux of a star of S/N 2


def scenes(n, size, density):
    """Return sources, sky, noise and blobs at the centers, in units of the noise."""
    stars = (torch.rand(n, 1, size, size) < density).float()
    flux = stars * LEAST / (torch.rand_like(stars) + 0.003)  # n(> f) ~ 1 / f
    sources = F.conv2d(flux, PSF, padding=10)
    blobs = F.conv2d(stars, BLOB, padding=10).clamp(max=1)
    knots = 3 * torch.randn(n, 1, size // 32, size // 32)  # a sky that waves
    sky = F.interpolate(knots, size=(size, size), mode='bicubic')
    return sources, sky, torch.randn_like(sources), blobs


class Net(nn.Module):
    """From an image on its way, and its noise rate, to sources and center logits."""

    def __init__(self, width=32):
        super().__init__()
        layers = [nn.Conv2d(5, width, 3, padding=1), nn.ReLU()]
        for d in (1, 2, 4, 2, 1):
            layers += [nn.Conv2d(width, width, 3, padding=d, dilation=d), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 12, 1))

    def forward(self, image, rate):
        """Return the arcsinh of the sources, and the logit of a center."""
        compressed = torch.asinh(image)  # stars span a factor of a thousand
        # Folded to half the size, with four channels for one: a quarter of the work.
        folded = F.pixel_unshuffle(compressed, 2)
        rates = (rate**2).expand(len(image), 1, *folded.shape[2:])
        out = F.pixel_shuffle(self.layers(torch.cat([folded, rates], 1)), 2)
        # To keep a pixel or to drop it is one saturated gate.
        return torch.sigmoid(out[:, :1]) * compressed + out[:, 1:2], out[:, 2:]


def train(net, n_steps):
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, n_steps)
    for step in range(n_steps):
        density = 10 ** (-3 + 1.5 * torch.rand(16, 1, 1, 1))  # empty to crowded
        sources, sky, noise, blobs = scenes(16, 64, density)
        rate = torch.sin(torch.rand(16, 1, 1, 1) * torch.pi / 2)
        rate[:8] = 1  # an observed image has all of its background
        estimate, logit = net(sources + rate * (sky + noise), rate)
        loss = F.huber_loss(estimate, torch.asinh(sources))
        loss = loss + 5 * F.binary_cross_entropy_with_logits(logit, blobs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == n_steps - 1:
            print(f'step {step:4d}  loss {loss.item():.3f}')


@torch.no_grad()
def separate(net, data, n_steps=3):
    """Take the background off in steps; the first sees the image for the centers."""
    image, probability = data, None
    for k in range(n_steps, 0, -1):
        rate, smaller = torch.sin(torch.tensor([k, k - 1]) / n_steps * torch.pi / 2)
        estimate, logit = net(image, rate.reshape(1, 1, 1, 1))
        source = torch.sinh(estimate)
        background = (image - source) / rate  # x_t = s + n(t) b
        image = source + smaller * background
        probability = torch.sigmoid(logit) if probability is None else probability
    return source[0, 0].numpy(), probability[0, 0].numpy()


def main(n_steps=500, picture='toy.png'):
    torch.manual_seed(1)
    torch.set_num_threads(1)
    net, start = Net(), time.process_time()
    train(net, int(n_steps))
    print(f'trained in {time.process_time() - start:.0f} s of one core')
    sources, sky, noise, blobs = scenes(1, 192, torch.tensor(0.03))
    data = sources + sky + noise
    source, probability = separate(net, data)
    data, sky, sources = (image[0, 0].numpy() for image in (data, sky, sources))
    maps = {}
    for name, image in {'Background2D': data, 'the toy': data - source}.items():
        tried = [Background2D(image, box, exclude_percentile=90) for box in (8, 16, 32)]
        errors = [np.sqrt(np.mean((bkg.background - sky) ** 2)) for bkg in tried]
        best = int(np.argmin(errors))
        maps[f'sky of {name}'] = tried[best].background
        print(f'sky of {name}: wrong by {errors[best]:.2f} sigma, box {8 << best}')
    peak = F.max_pool2d(torch.tensor(probability)[None, None], 5, 1, 2)[0, 0].numpy()
    found = (probability == peak) & (probability > 0.5)
    true = (blobs[0, 0].numpy() > 0.5)[found].sum()
    print(f'{found.sum()} detections, {true} of them within 1 px of a star')
    panels = {'data': data, 'true sky': sky, **maps, 'denoised sources': source}
    figure, axes = plt.subplots(2, 3, figsize=(9, 6), layout='constrained')
    for axis, (name, image) in zip(axes.flat, panels.items(), strict=False):
        axis.imshow(image, origin='lower', vmin=-8, vmax=12, cmap='gray')
        axis.set_title(name)
    axes[1, 2].imshow(probability, origin='lower', vmin=0, vmax=1)
    axes[1, 2].set_title('probability of a centre')
    figure.savefig(picture, dpi=80)


if __name__ == '__main__':
    main(*sys.argv[1:])
