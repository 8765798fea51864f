"""
The halo of a bright star
=========================

Scattered light forms a halo around a bright star and covers a good part of the
image. There are faint stars in the halo.
"""

import matplotlib.pyplot as plt
import numpy as np
from astropy.table import QTable
from photutils.background import Background2D
from photutils.datasets import make_model_image
from photutils.psf import MoffatPSF

from bgrem import DiffusionBackground

rng = np.random.default_rng(3)
shape = (320, 320)
stars = QTable(
    {
        'x_0': rng.uniform(0, 319, 700),
        'y_0': rng.uniform(0, 319, 700),
        'flux': 25 / rng.uniform(0.003, 1, 700),
    }
)
light = make_model_image(
    shape, MoffatPSF(alpha=2.5, beta=3), stars, model_shape=(31, 31)
)
y, x = np.mgrid[:320, :320]
radius = np.hypot(x - 160, y - 160)
bright = MoffatPSF(flux=4e5, x_0=160, y_0=160, alpha=2.5, beta=3)(x, y)
bright = np.minimum(bright, 30000) + 400 / (1 + (radius / 12) ** 2)
noise = rng.normal(0, 5, shape)
data = 200 + light + bright + noise

old = Background2D(data, 32, exclude_percentile=50)
new = DiffusionBackground(data)
found = new.catalog()

# %%
# How much of the halo is left in the image, at several distances from the star? It
# belongs to the flux of the bright star, but not to that of a faint star in the halo.

for low, high in ((20, 40), (40, 80), (80, 160)):
    ring = (radius >= low) & (radius < high)
    left = [
        np.median((image - light)[ring])
        for image in (data - 200, data - old.background, new.subtract())
    ]
    print(
        f'{low:3d}-{high:3d} px: halo {left[0]:6.1f}, left by Background2D '
        f'{left[1]:6.1f}, by bgrem {left[2]:6.1f} (noise 5)'
    )

near = (np.hypot(found.x - 160, found.y - 160) > 15) & (
    np.hypot(found.x - 160, found.y - 160) < 80
)
inside = np.hypot(stars['x_0'] - 160, stars['y_0'] - 160)
distance = np.hypot(
    found.x[:, None] - stars['x_0'][None], found.y[:, None] - stars['y_0'][None]
)
is_star = distance.min(axis=1) < 2
print(
    f'between 15 and 80 px: {np.sum((inside > 15) & (inside < 80))} stars, '
    f'{np.sum(near)} detections, {np.sum(near & is_star)} of them stars'
)

# %%
# To bgrem, the halo is light of the star. Most of it stays in the image, out to where
# it is only a fraction of the noise and counts as sky. ``Background2D`` mistakes a
# larger part of it for sky and digs a dark ring. For faint stars *in* the halo, neither
# is enough: pass ``local_bkg_width`` to ``catalog``, which then measures the light
# around each source. Only a quarter of the stars between 15 and 80 px is found, because
# most of the others are too faint. None of the detections is false.

panels = {
    'data': (data - 200, False),
    'photutils': (data - old.background, False),
    'bgrem': (new.subtract(), False),
    'bgrem, detections': (new.source, True),
}
figure, axes = plt.subplots(1, 4, figsize=(9, 2.6), layout='constrained')
figure.set_label(
    'A bright star with its halo: the data less the true sky of 200 counts, the '
    'images less the two sky maps, and the denoised image of bgrem with the detections '
    '(circles). From -15 (black) to 60 counts (white); axes in pixels.'
)
for axis, (title, (image, with_marks)) in zip(axes, panels.items(), strict=True):
    axis.imshow(image, origin='lower', vmin=-15, vmax=60, cmap='gray')
    if with_marks:
        axis.plot(found.x, found.y, 'o', ms=4, mfc='none', mec='tab:orange', mew=0.6)
    axis.set_title(title)
