"""
PSF photometry
==============

Where stars overlap, fit them. `~bgrem.DiffusionBackground.finder` makes the detector
available as the ``finder`` of photutils' PSF photometry, which searches the residual
of the first fit again.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from photutils.psf import (
    CircularGaussianPRF,
    IterativePSFPhotometry,
    SourceGrouper,
    make_psf_model_image,
)
from photutils.utils import calc_total_error

from bgrem import DiffusionBackground

psf = CircularGaussianPRF(fwhm=3)
light, truth = make_psf_model_image(
    (128, 128),
    psf,
    n_sources=150,
    flux=(300, 6000),
    min_separation=2.5,
    border_size=3,
    seed=7,
)
gain = 2.0
data = np.random.default_rng(7).poisson(gain * (100 + light)) / gain

bkg = DiffusionBackground(data)
subtracted = bkg.subtract()
error = calc_total_error(subtracted, bkg.background_rms, gain)
photometry = IterativePSFPhotometry(
    psf,
    (5, 5),
    bkg.finder(false_discovery_rate=0.05),
    grouper=SourceGrouper(min_separation=7.5),
    aperture_radius=3,
    maxiters=2,
)
with warnings.catch_warnings():
    # A false detection may have no fit that converges; its flag tells.
    warnings.simplefilter('ignore')
    fitted = photometry(subtracted, error=error)
fitted = fitted[fitted['flags'] & 8 == 0]

# %%
# Compare each fit with the nearest star.

distance = np.hypot(
    fitted['x_fit'][:, None] - truth['x_0'], fitted['y_fit'][:, None] - truth['y_0']
)
matched = distance.min(axis=1) < 1
true_flux = truth['flux'][distance.argmin(axis=1)]
ratio = (fitted['flux_fit'] / true_flux)[matched]
pull = ((fitted['flux_fit'] - true_flux) / fitted['flux_err'])[matched]
print(f'{len(truth)} stars, {len(fitted)} fits, {matched.sum()} within 1 px of a star')
print(f'found in the second round: {np.sum(fitted["iter_detected"] == 2)}')
print(f'flux / true flux: median {np.median(ratio):.3f}')
print(f'(flux - true flux) / error: half within {np.median(np.abs(pull)):.2f}')

# %%
# Half of all Gaussian errors are within 0.67; here they are somewhat larger. If the
# detector takes two stars for one in both rounds, they are fitted as one. They show up
# as bright and dark pairs in the residual, and as points far from the line in the last
# panel.

residual = photometry.make_residual_image(subtracted, psf_shape=(15, 15))
figure, axes = plt.subplots(1, 3, figsize=(9, 3.1), layout='constrained')
figure.set_label(
    'The stars with the fitted positions (crosses), and what the fit leaves of them '
    '(both -25 to 100 counts, axes in pixels); and the fitted over the true fluxes, '
    'with their errors.'
)
panels = {'data - sky': subtracted, 'residual of the fit': residual}
for axis, (title, image) in zip(axes, panels.items(), strict=False):
    axis.imshow(image, origin='lower', vmin=-25, vmax=100, cmap='gray')
    axis.set_title(title)
axes[0].plot(fitted['x_fit'], fitted['y_fit'], '+', ms=4, color='tab:orange', mew=0.7)
magnitude = 25 - 2.5 * np.log10(true_flux[matched])
relative_error = (fitted['flux_err'] / true_flux)[matched]
axes[2].errorbar(magnitude, ratio, relative_error, fmt='.', lw=0.6)
axes[2].axhline(1, color='tab:orange', lw=0.8)
axes[2].set(ylim=(0.5, 1.5), xlabel='true magnitude [mag]', ylabel='flux / true flux')
