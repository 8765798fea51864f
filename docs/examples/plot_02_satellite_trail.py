"""
A satellite trail
=================

A trail is neither smooth sky nor a source. A threshold turns it into a chain of
sources. The training data of the network have trails, as something that is not to be
detected.
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

rng = np.random.default_rng(2)
shape = (256, 256)
stars = QTable(
    {
        'x_0': rng.uniform(0, 255, 500),
        'y_0': rng.uniform(0, 255, 500),
        'flux': 25 / rng.uniform(0.003, 1, 500),
    }
)
light = make_model_image(
    shape, MoffatPSF(alpha=2.5, beta=3), stars, model_shape=(31, 31)
)
y, x = np.mgrid[:256, :256]
distance = (y - 0.6 * x - 40) / np.hypot(1, 0.6)
trail = 20 * np.exp(-0.5 * (distance / 1.5) ** 2)
data = 200 + light + trail + rng.normal(0, 5, shape)

# %%
# First photutils, following its user guide: convolve, threshold, deblend.

old = Background2D(data, 32)
subtracted = data - old.background
convolved = convolve(subtracted, make_2dgaussian_kernel(2.5, size=5))
segments = detect_sources(convolved, 1.5 * old.background_rms, n_pixels=5)
segments = deblend_sources(convolved, segments, n_pixels=5)
found_old = SourceCatalog(subtracted, segments)

# %%
# Then bgrem. By default, 5% of the detections may be false.

new = DiffusionBackground(data)
found_new = new.catalog(false_discovery_rate=0.05)


def report(name, x_found, y_found):
    distances = np.hypot(
        x_found[:, None] - stars['x_0'], y_found[:, None] - stars['y_0']
    )
    is_star = distances.min(axis=1) < 2
    on_trail = np.abs(y_found - 0.6 * x_found - 40) < 5
    print(
        f'{name:10s} {len(x_found)} detections, {is_star.sum()} of them stars; '
        f'on the trail {np.sum(on_trail)}, of them stars {np.sum(on_trail & is_star)}'
    )


report('photutils', found_old.x_centroid, found_old.y_centroid)
report('bgrem', found_new.x, found_new.y)

# %%
# The circles are the detections. photutils finds a chain of them along the trail. The
# bright trail also raises its noise map, so that it misses faint stars near the trail.
# On the trail, bgrem finds nothing but stars, and not all of those. The trail is no sky
# either: its light stays in the image, and fluxes measured on it are wrong. The catalog
# marks them (``on_trail``). Mask the trail for photometry.

panels = {
    'data': (data - 200, [], []),
    'photutils': (subtracted, found_old.x_centroid, found_old.y_centroid),
    'bgrem': (new.subtract(), found_new.x, found_new.y),
}
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout='constrained')
figure.set_label(
    'A field with a satellite trail, less its sky, from -15 to 40 counts; circles: the '
    'detections of each. Axes in pixels.'
)
for axis, (title, (image, x_found, y_found)) in zip(axes, panels.items(), strict=True):
    axis.imshow(image, origin='lower', vmin=-15, vmax=40, cmap='gray')
    axis.plot(x_found, y_found, 'o', ms=5, mfc='none', mec='tab:orange', mew=0.7)
    axis.set_title(title)
