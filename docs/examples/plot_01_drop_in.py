"""
Change one name
===============

`~bgrem.DiffusionBackground` replaces `~photutils.background.Background2D`.
The image has a thousand stars, noise of standard deviation 5, and a sky that rises by
25 from left to right.
"""

import matplotlib.pyplot as plt
import numpy as np
from astropy.table import QTable
from photutils.background import Background2D
from photutils.datasets import make_model_image
from photutils.psf import MoffatPSF

from bgrem import DiffusionBackground

rng = np.random.default_rng(1)
shape = (256, 256)
stars = QTable(
    {
        'x_0': rng.uniform(0, 255, 1000),
        'y_0': rng.uniform(0, 255, 1000),
        'flux': 30 / rng.uniform(0.006, 1, 1000),
    }
)
light = make_model_image(
    shape, MoffatPSF(alpha=2.5, beta=3), stars, model_shape=(31, 31)
)
true_sky = 200 + 0.1 * np.mgrid[:256, :256][1]
data = true_sky + light + rng.normal(0, 5, shape)

# %%
# The call is the same, except that there is no box size to choose.

old = Background2D(data, 32, exclude_percentile=50)
new = DiffusionBackground(data)

for name, bkg in {'Background2D': old, 'DiffusionBackground': new}.items():
    error = bkg.background - true_sky
    print(
        f'{name:20s} mean error {np.mean(error):+.2f}, rms error {np.std(error):.2f}, '
        f'noise {bkg.background_rms_median:.2f} (5 is right)'
    )

# %%
# The stars raise the sky of ``Background2D`` by a fifth of the noise on average, and
# unevenly. Its noise is too high, too. ``DiffusionBackground`` measured an image
# without the stars. Its level is only a little too low, by 4% of the noise. With a
# larger box, the map of ``Background2D`` would be smoother, but would lose the tilt at
# the borders.

panels = {
    'data': data,
    'true sky': true_sky,
    'Background2D': old.background,
    'DiffusionBackground': new.background,
}
figure, axes = plt.subplots(1, 4, figsize=(9, 2.7), layout='constrained')
figure.set_label(
    'The data, the true sky, which rises from left to right, and the two sky maps, '
    'all on the same scale. Axes in pixels.'
)
for axis, (title, image) in zip(axes, panels.items(), strict=True):
    picture = axis.imshow(image, origin='lower', vmin=195, vmax=235, cmap='gray')
    axis.set_title(title)
figure.colorbar(picture, ax=axes, label='counts', shrink=0.6)
