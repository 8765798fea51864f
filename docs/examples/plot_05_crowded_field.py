"""
A crowded field
===============

In a star cluster, hardly any pixel is free of stars. A mesh then measures the faint
stars instead of the sky. The network removes the stars first. Its detections are the
peaks of a probability map, which separates neighbors.
"""

import matplotlib.pyplot as plt
import numpy as np
from astropy.convolution import convolve
from astropy.table import QTable
from photutils.background import Background2D
from photutils.datasets import make_model_image
from photutils.psf import MoffatPSF
from photutils.segmentation import (
    SourceCatalog,
    deblend_sources,
    detect_sources,
    make_2dgaussian_kernel,
)

from bgrem import DiffusionBackground

rng = np.random.default_rng(5)
shape = (256, 256)
n_stars = 4000
stars = QTable(
    {
        'x_0': rng.normal(128, 60, n_stars),
        'y_0': rng.normal(128, 60, n_stars),
        'flux': 25 / rng.uniform(0.002, 1, n_stars),
    }
)
stars = stars[np.hypot(stars['x_0'] - 128, stars['y_0'] - 128) < 127]
light = make_model_image(
    shape, MoffatPSF(alpha=2.5, beta=3), stars, model_shape=(41, 41)
)
data = 200 + light + rng.normal(0, 5, shape)

old = Background2D(data, 32, exclude_percentile=90)
subtracted = data - old.background
convolved = convolve(subtracted, make_2dgaussian_kernel(2.5, size=5))
segments = detect_sources(convolved, 1.5 * old.background_rms, n_pixels=5)
segments = deblend_sources(convolved, segments, n_pixels=5)
found_old = SourceCatalog(subtracted, segments)

new = DiffusionBackground(data)
found_new = new.catalog(false_discovery_rate=0.05)


def report(name, bkg, x_found, y_found):
    """Match detections, one to one, with stars within 2 px, bright ones first."""
    free = np.ones(len(x_found), dtype=bool)
    n_true = 0
    for star in stars[np.argsort(-stars['flux'])]:
        distance = np.hypot(x_found - star['x_0'], y_found - star['y_0'])
        distance[~free] = np.inf
        if distance.min() < 2:
            free[distance.argmin()] = False
            n_true += 1
    error = np.mean(bkg.background) - 200
    print(
        f'{name:10s} sky too high by {error:5.2f}, {len(x_found)} detections, '
        f'{n_true} of them matched with a star of their own'
    )


report('photutils', old, found_old.x_centroid, found_old.y_centroid)
report('bgrem', new, found_new.x, found_new.y)

# %%
# The sky of ``Background2D`` rises in the cluster (second panel), and faint stars
# are lost in it. That of bgrem stays flat, and comes out a tenth of the noise too low.
# Most stars are too faint for either. Among so many stars, chance matches are common:
# the numbers say how much is found, not how little is false.

panels = {
    'data': (data, 190, 330),
    'Background2D': (old.background, 190, 230),
    'bgrem': (new.background, 190, 230),
    'detections': (new.subtract(), -15, 130),
}
figure, axes = plt.subplots(1, 4, figsize=(9, 2.6), layout='constrained')
figure.set_label(
    'A star cluster (190 to 330 counts), the two sky maps (190 to 230 counts; the true '
    'sky is 200), and the image without its sky (-15 to 130 counts) with the '
    'detections of bgrem (dots). Axes in pixels.'
)
for axis, (title, (image, low, high)) in zip(axes, panels.items(), strict=True):
    axis.imshow(image, origin='lower', vmin=low, vmax=high, cmap='gray')
    axis.set_title(title)
axes[3].plot(found_new.x, found_new.y, '.', ms=1.5, color='tab:orange')
