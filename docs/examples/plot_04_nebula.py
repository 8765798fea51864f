"""
A nebula
========

Nebulosity is sky that has structure on all scales. A mesh with large boxes does not
follow it, and small boxes mistake stars for sky.
"""

import matplotlib.pyplot as plt
import numpy as np
from astropy.table import QTable
from photutils.background import Background2D
from photutils.datasets import make_model_image
from photutils.psf import MoffatPSF

from bgrem import DiffusionBackground

rng = np.random.default_rng(4)
shape = (256, 256)
# Random phases, and an amplitude that falls with the frequency to the power of 2.
frequency = np.hypot(
    *np.meshgrid(np.fft.fftfreq(256), np.fft.rfftfreq(256), indexing='ij')
)
frequency[0, 0] = np.inf
waves = np.fft.rfft2(rng.normal(size=shape)) * frequency**-2
waves *= np.exp(-((frequency / 0.04) ** 2))
nebula = np.fft.irfft2(waves, s=shape)
true_sky = 200 + 50 * (nebula - nebula.min()) / np.ptp(nebula)

stars = QTable(
    {
        'x_0': rng.uniform(0, 255, 400),
        'y_0': rng.uniform(0, 255, 400),
        'flux': 100 / rng.uniform(0.01, 1, 400),
    }
)
light = make_model_image(
    shape, MoffatPSF(alpha=2.5, beta=3), stars, model_shape=(31, 31)
)
data = true_sky + light + rng.normal(0, 5, shape)

# %%
# The best box size of ``Background2D`` is found here from the truth, which nobody has
# for a real image.

errors = {}
for box_size in (8, 16, 32, 64):
    bkg = Background2D(data, box_size, exclude_percentile=90)
    errors[box_size] = np.sqrt(np.mean((bkg.background - true_sky) ** 2)) / 5
    print(
        f'Background2D, box {box_size:2d}: error of the sky '
        f'{errors[box_size]:.2f} sigma'
    )
best = min(errors, key=lambda box_size: errors[box_size])
old = Background2D(data, best, exclude_percentile=90)
new = DiffusionBackground(data)
error = np.sqrt(np.mean((new.background - true_sky) ** 2)) / 5
print(f'DiffusionBackground:  error of the sky {error:.2f} sigma')
print(f'its smallest boxes: {new.box_size[0]} px')

# %%
# bgrem chose its boxes from the image. Both error maps have the same scale, from -2 to
# +2 sigma. Even with its best box size, the map of ``Background2D`` shows the stars.
# That of bgrem shows small waves, from structure finer than its boxes. Structure as
# narrow as a star cannot be told from a star in a single image. There, detections are
# false more often than promised, and the first call of ``detect`` may issue a warning.

panels = {
    'data': (data, 190, 270),
    'Background2D - truth': (old.background - true_sky, -10, 10),
    'bgrem - truth': (new.background - true_sky, -10, 10),
    'bgrem, data - sky': (new.subtract(), -15, 60),
}
figure, axes = plt.subplots(1, 4, figsize=(9, 2.6), layout='constrained')
figure.set_label(
    'Stars on a nebula (190 to 270 counts), the errors of the two sky maps (-10 to 10 '
    'counts), and the image without its sky (-15 to 60 counts). Axes in pixels.'
)
for axis, (title, (image, low, high)) in zip(axes, panels.items(), strict=True):
    axis.imshow(image, origin='lower', vmin=low, vmax=high, cmap='gray')
    axis.set_title(title)
