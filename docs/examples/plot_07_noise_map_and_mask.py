"""
A noise map and a mask
======================

The pipeline often knows more about the noise than one image can show: where fewer
exposures overlap, which columns are noisy. Pass its error map as ``error`` and its bad
pixels as ``mask``.
"""

import matplotlib.pyplot as plt
import numpy as np
from astropy.table import QTable
from photutils.datasets import make_model_image
from photutils.psf import MoffatPSF

from bgrem import DiffusionBackground

rng = np.random.default_rng(7)
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
# The depth changes in the ragged border, and some columns are noisy.
error = np.full(shape, 5.0)
error[:20] = error[:, :14] = 15
error[:, 130:133] = 40
bad = np.zeros(shape, dtype=bool)
bad[60:64, 40:200] = True

data = 200 + light + rng.normal(0, error)
data[bad] = 60000

# %%
# Sources need no mask; bad pixels do. The error map is that of the total error, with
# the photon noise of the sources if it matters. bgrem checks its level on the image, so
# a map that is wrong by a constant factor does no harm.

plain = DiffusionBackground(data, mask=bad)
informed = DiffusionBackground(data, mask=bad, error=error)


def report(name, bkg):
    found = bkg.catalog()
    distance = np.hypot(
        found.x[:, None] - stars['x_0'], found.y[:, None] - stars['y_0']
    ).min(axis=1)
    noisy = error[np.round(found.y).astype(int), np.round(found.x).astype(int)] > 5
    is_true = distance < 2
    print(
        f'{name:18s} {len(found)} detections, {np.sum(~is_true)} no star; in the noisy '
        f'parts {np.sum(noisy)}, {np.sum(noisy & ~is_true)} no star'
    )
    return found


found_plain = report('without error map', plain)
found_informed = report('with error map', informed)

# %%
# Masked pixels are red. With the map, the noise in the middle is not mixed with that of
# the borders and of the noisy columns, and more stars are found at the same promised
# rate. The errors of the fluxes in the catalog come from the error map, too.

panels = {
    'data': (data, 180, 300, None),
    'error map': (error, 0, 40, None),
    'without it': (plain.subtract(), -15, 60, found_plain),
    'with it': (informed.subtract(), -15, 60, found_informed),
}
figure, axes = plt.subplots(1, 4, figsize=(9, 2.6), layout='constrained')
figure.set_label(
    'The data (180 to 300 counts), the error map (0 to 40 counts), and the image '
    'without its sky (-15 to 60 counts), with the detections (circles) that are found '
    'without and with the error map. Bad pixels are red; axes in pixels.'
)
for axis, (title, (image, low, high, found)) in zip(axes, panels.items(), strict=True):
    cmap = plt.colormaps['gray'].with_extremes(bad='tab:red')
    shown = np.where(bad, np.nan, image)
    axis.imshow(shown, origin='lower', vmin=low, vmax=high, cmap=cmap)
    if found is not None:
        axis.plot(found.x, found.y, 'o', ms=4, mfc='none', mec='tab:orange', mew=0.6)
    axis.set_title(title)
