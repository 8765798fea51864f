"""
How many false detections?
==========================

There is no threshold in sigma to choose. You say what fraction of the detections may be
false, and get the stars that come with it.
"""

import matplotlib.pyplot as plt
import numpy as np
from astropy.table import QTable
from photutils.datasets import make_model_image
from photutils.psf import MoffatPSF

from bgrem import DiffusionBackground

rng = np.random.default_rng(12)
shape = (320, 320)
n_stars = 1200
stars = QTable(
    {
        'x_0': rng.uniform(0, 319, n_stars),
        'y_0': rng.uniform(0, 319, n_stars),
        'flux': 20 / rng.uniform(0.003, 1, n_stars),
    }
)
light = make_model_image(
    shape, MoffatPSF(alpha=2.5, beta=3), stars, model_shape=(31, 31)
)
data = 200 + light + rng.normal(0, 5, shape)

# %%
# The signal-to-noise ratio of a star is that of the optimal filter, which knows the
# PSF.

y, x = np.mgrid[-15:16, -15:16]
one_star = MoffatPSF(alpha=2.5, beta=3)(x, y)
snr = stars['flux'] * np.sqrt(np.sum(one_star**2)) / 5
print(f'{n_stars} stars, {np.sum(snr > 2)} of S/N above 2, {np.sum(snr > 5)} above 5')

bkg = DiffusionBackground(data)
rates = [0.01, 0.02, 0.05, 0.1, 0.2, 0.4]
n_true, n_false = [], []
for rate in rates:
    found = bkg.catalog(false_discovery_rate=rate)
    distance = np.hypot(
        found.x[:, None] - stars['x_0'], found.y[:, None] - stars['y_0']
    )
    is_true = (distance[:, snr > 1] < 2).any(axis=1)
    n_true.append(is_true.sum())
    n_false.append(np.sum(~is_true))
    print(
        f'promised {rate:4.0%}: {len(found)} detections, {n_false[-1]} false '
        f'({n_false[-1] / len(found):.1%})'
    )

# %%
# More stars come with more false detections. Here the observed rates are below the
# promised ones. They vary from image to image: ten false detections are ten, give or
# take three. The promise holds on average, for images like those of the calibration.

figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout='constrained')
figure.set_label(
    'Left: stars found against false detections, for each promised rate. Right: the '
    'probability in a corner of the image, from 0 (dark) to 1 (yellow), and the '
    'detections at a promised rate of 40% (circles). Axes in pixels.'
)
axes[0].plot(n_false, n_true, 'o-')
for rate, false, true in zip(rates, n_false, n_true, strict=True):
    axes[0].annotate(f'{rate:.0%}', (false, true), (4, -10), textcoords='offset points')
axes[0].set(xlabel='false detections', ylabel='stars found')
axes[0].margins(0.12)
loose = bkg.catalog(false_discovery_rate=0.4)
axes[1].imshow(bkg.detection_probability[:128, :128], origin='lower', vmin=0, vmax=1)
axes[1].set_title('probability of a source center')
inside = (loose.x < 127) & (loose.y < 127)
axes[1].plot(
    loose.x[inside], loose.y[inside], 'o', ms=6, mfc='none', mec='tab:orange', mew=0.7
)
