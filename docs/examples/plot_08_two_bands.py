"""
Two images, one catalog
=======================

Detect in one image and measure in another, as in SExtractor's dual-image mode. The
example measures the colors of red and blue stars that are found on the deeper image.
"""

import matplotlib.pyplot as plt
import numpy as np
from astropy.table import QTable
from photutils.datasets import make_model_image
from photutils.psf import MoffatPSF

from bgrem import DiffusionBackground

rng = np.random.default_rng(8)
shape = (256, 256)
n_stars = 200
x_true, y_true = rng.uniform(0, 255, (2, n_stars))
flux = 300 / rng.uniform(0.01, 1, n_stars)
true_color = np.where(rng.random(n_stars) < 0.5, 0.3, 1.2)
psf = MoffatPSF(alpha=2.5, beta=3)


def observe(fluxes, sky, sigma):
    table = QTable({'x_0': x_true, 'y_0': y_true, 'flux': fluxes})
    light = make_model_image(shape, psf, table, model_shape=(31, 31))
    return sky + light + rng.normal(0, sigma, shape)


red = observe(flux, 300, 5)
blue = observe(flux * 10 ** (-0.4 * true_color), 100, 5)

# %%
# Pass the background of the other image as ``data``: it subtracts its own sky and has
# its own noise. Both catalogs have the same rows.

deep, shallow = DiffusionBackground(red), DiffusionBackground(blue)
segments = deep.detect()
in_red = deep.catalog(segments, zero_point=25)
in_blue = deep.catalog(segments, data=shallow, zero_point=25)
color = in_blue.aperture_2_mag - in_red.aperture_2_mag
error = np.hypot(in_blue.aperture_2_mag_err, in_red.aperture_2_mag_err)
print(f'{len(in_red)} sources in red, {np.sum(np.isfinite(color))} with a blue flux')

distance = np.hypot(in_red.x[:, None] - x_true, in_red.y[:, None] - y_true)
good = (distance.min(axis=1) < 1) & (error < 0.2)
pull = (color - true_color[distance.argmin(axis=1)])[good] / error[good]
print(
    f'colors of {good.sum()} stars: median of (measured - true) / error '
    f'{np.median(pull):+.2f}'
)

# %%
# The two sequences are where they were put (lines), within the errors of the catalog.
# Some points lie between them: there, a red and a blue star share an aperture.

figure, axes = plt.subplots(1, 3, figsize=(9, 3), layout='constrained')
figure.set_label(
    'Two images of one field, from 15 counts below the sky to 60 above it, axes in '
    'pixels; and the colors of the stars with their errors. Lines: the two true '
    'colors.'
)
for axis, (title, image) in zip(axes, {'red': red, 'blue': blue}.items(), strict=False):
    low = np.median(image)
    axis.imshow(image, origin='lower', vmin=low - 15, vmax=low + 60, cmap='gray')
    axis.set_title(title)
axes[2].errorbar(in_red.kron_mag[good], color[good], error[good], fmt='.', ms=4, lw=0.6)
for value in (0.3, 1.2):
    axes[2].axhline(value, color='tab:orange', lw=0.8)
axes[2].set_xlabel('red [mag]')
axes[2].set_ylabel('blue - red [mag]')
