"""
One image, step by step
=======================

What bgrem does with an image of stars, a galaxy and a cosmic ray on a wavy sky.

:doc:`../user_guide/method` explains each step.
"""

import matplotlib.pyplot as plt
import numpy as np
from astropy.modeling.models import Sersic2D
from astropy.table import QTable
from photutils.datasets import make_model_image
from photutils.psf import MoffatPSF

from bgrem import DiffusionBackground

rng = np.random.default_rng(13)
shape = (192, 192)
y, x = np.mgrid[:192, :192]
stars = QTable(
    {
        'x_0': rng.uniform(0, 191, 300),
        'y_0': rng.uniform(0, 191, 300),
        'flux': 25 / rng.uniform(0.003, 1, 300),
    }
)
light = make_model_image(
    shape, MoffatPSF(alpha=2.5, beta=3), stars, model_shape=(31, 31)
)
light += Sersic2D(25, r_eff=12, n=1.5, x_0=130, y_0=60, ellip=0.4, theta=0.6)(x, y)
sky = 200 + 15 * np.sin(x / 25) * np.cos(y / 30)
data = sky + light + rng.normal(0, 5, shape)
for step in range(12):  # a cosmic ray
    data[100 + step // 3, 40 + step] += 150

bkg = DiffusionBackground(data)
segments = bkg.detect()

# %%
# The network predicts the image of the sources and the probability that a source center
# lies at a pixel. Subtracting the sources leaves an image of the sky, the noise and the
# cosmic ray. The sky is measured on this image, in boxes. The detections are the
# peaks of the probability. The denoised image gives their footprints and shapes;
# positions and fluxes are measured on ``data - sky``.

panels = {
    'data': (data, 180, 260),
    'sources (network)': (bkg.source, -15, 60),
    'probability (network)': (bkg.detection_probability, 0, 1),
    'data - sources': (data - bkg.source, 180, 260),
    'sky': (bkg.background, 180, 260),
    'true sky': (sky, 180, 260),
    'data - sky': (bkg.subtract(), -15, 60),
    'segments': (segments.data, None, None),
}
figure, axes = plt.subplots(2, 4, figsize=(9, 5), layout='constrained')
figure.set_label(
    'One image of 192 x 192 px, step by step. Images with their sky are shown from 180 '
    '(black) to 260 counts (white), those without it from -15 to 60 counts, the '
    'probability from 0 to 1.'
)
for axis, (title, (image, low, high)) in zip(axes.flat, panels.items(), strict=True):
    cmap = segments.cmap if title == 'segments' else 'gray'
    axis.imshow(image, origin='lower', vmin=low, vmax=high, cmap=cmap)
    axis.set_title(title)
    axis.set(xticks=[], yticks=[])

# %%
# The three parts add up to the image: no light is lost. The cosmic ray is in
# neither panel of the network; it stays in the image without the sky. Beneath the
# galaxy, no sky can be seen, and the map is less certain than elsewhere. The segments
# are wide: they extend down to a fifth of the noise.

total = bkg.background + bkg.source + bkg.noise
print(f'largest difference from the data: {np.abs(total - data).max():.1e}')
ray = bkg.source[100:104, 40:52].max()
print(f'sources at the cosmic ray, which has 150: at most {ray:.1f}')
