"""
A large galaxy, and light that is too extended
==============================================

A mesh with boxes smaller than a galaxy subtracts the galaxy. The network keeps galaxies
as sources, if they are like those of its training data. This example shows both sides
of that limit: a galaxy with a half-light radius of 25 px, and a faint glow with a FWHM
of 180 px.
"""

import matplotlib.pyplot as plt
import numpy as np
from astropy.modeling.models import Gaussian2D, Sersic2D
from astropy.table import QTable
from photutils.background import Background2D
from photutils.datasets import make_model_image
from photutils.psf import MoffatPSF

from bgrem import DiffusionBackground

rng = np.random.default_rng(6)
shape = (384, 384)
y, x = np.mgrid[:384, :384]
stars = QTable(
    {
        'x_0': rng.uniform(0, 383, 300),
        'y_0': rng.uniform(0, 383, 300),
        'flux': 100 / rng.uniform(0.02, 1, 300),
    }
)
light = make_model_image(
    shape, MoffatPSF(alpha=2.5, beta=3), stars, model_shape=(31, 31)
)
galaxy = Sersic2D(20, r_eff=25, n=1.5, x_0=110, y_0=130, ellip=0.3, theta=0.5)(x, y)
glow = Gaussian2D(4, 280, 270, 75, 75)(x, y)  # standard deviation, not FWHM
data = 200 + light + galaxy + glow + rng.normal(0, 5, shape)

old = Background2D(data, 32, exclude_percentile=90)
new = DiffusionBackground(data)

# %%
# How much of the light of the galaxy is left in the image after subtracting the sky?

aperture = np.hypot(x - 110, y - 130) < 50
for name, image in {
    'Background2D, box 32': data - old.background,
    'bgrem': new.subtract(),
}.items():
    kept = np.sum((image - light - glow)[aperture]) / np.sum(galaxy[aperture])
    print(f'{name:21s} within 50 px: {kept:.0%} of the galaxy')
    middle = np.hypot(x - 280, y - 270) < 40
    kept = np.mean((image - light)[middle]) / np.mean(glow[middle])
    print(f'{"":21s} in the middle of the glow: {kept:.0%} of it')

# %%
# The galaxy stays, with bgrem nearly all of it; the 32 px mesh mistakes a quarter of it
# for sky. The glow is fainter than one sigma per pixel and wider than any galaxy of the
# training data, and both methods treat it as sky. So bgrem is not the tool for tidal
# tails, shells and intracluster light: for these, fit the sky far from the object.

panels = {
    'data': (data - 200, -15, 40),
    'Background2D, sky': (old.background - 200, -2, 20),
    'bgrem, sky': (new.background - 200, -2, 20),
    'bgrem, data - sky': (new.subtract(), -15, 40),
}
figure, axes = plt.subplots(1, 4, figsize=(9, 2.6), layout='constrained')
figure.set_label(
    'A galaxy (lower left) and a wide glow (upper right), less the true sky of 200 '
    'counts (-15 to 40 counts); how much of them is in the two sky maps (-2 to 20 '
    'counts); and what bgrem leaves in the image (-15 to 40 counts). Axes in pixels.'
)
for axis, (title, (image, low, high)) in zip(axes, panels.items(), strict=True):
    axis.imshow(image, origin='lower', vmin=low, vmax=high, cmap='gray')
    axis.set_title(title)
