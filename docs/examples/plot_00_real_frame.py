"""
Tutorial: a real frame
======================

From the file to a list of stars, for the center of the globular cluster M13.
The image comes with astropy, so you can copy and run every line of this page without
a network connection. For your own image, put the name of its file in place of ``path``.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from astropy.nddata import CCDData
from astropy.utils.data import get_pkg_data_filename
from photutils.background import Background2D

from bgrem import DiffusionBackground, decode_detection_flags

# %%
# Read the image
# --------------
# ``CCDData`` keeps the unit and the WCS, and bgrem uses both.

path = get_pkg_data_filename(
    'data/m13.fits', package='astropy.io.fits.hdu.compressed.tests'
)
image = CCDData.read(path, unit='adu')
print(image.shape, image.wcs.wcs.ctype[0], f'median {np.median(image.data)}')

# %%
# The sky
# -------
# There is nothing to choose. For comparison, here is the sky of photutils in boxes of
# 32 px.

bkg = DiffusionBackground(image)
old = Background2D(image.data, 32, exclude_percentile=50)

corner, center = (20, 20), (150, 150)
for name, sky in {
    'Background2D': old.background,
    'bgrem': np.asarray(bkg.background),
}.items():
    print(f'{name:12} corner {sky[corner]:.0f} adu, center {sky[center]:.0f} adu')

# %%
# Both rise toward the center, because the stars there are too faint to be separated.
# The mesh rises by about 50 adu (boxes of 50 px find 132 adu at the center, and boxes
# of 25 px 175), bgrem by a third of that. Where a cluster fills the image, nobody can
# see the sky in it. If you know that the sky is flat, subtract its level at a corner.

figure, axes = plt.subplots(1, 3, figsize=(9, 3.1), layout='constrained')
figure.set_label(
    'M13, and two maps of its sky on the same scale: by photutils and by bgrem.'
)
panels = {
    'data': (image.data, 105, 250),
    'sky, Background2D': (old.background, 105, 170),
    'sky, bgrem': (np.asarray(bkg.background), 105, 170),
}
for axis, (title, (values, low, high)) in zip(axes, panels.items(), strict=True):
    picture = axis.imshow(values, origin='lower', vmin=low, vmax=high, cmap='gray')
    axis.set(title=title, xlabel='x [px]', ylabel='y [px]')
    figure.colorbar(picture, ax=axis, shrink=0.7, label='adu')

# %%
# The stars
# ---------
# The first detection in an image may issue a warning. This one does: the image
# itself shows that the promised rate of false detections may not hold.

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    catalog = bkg.catalog()
for warning in caught:
    print(warning.message)

# %%
# Take the warning seriously: keep what is probable by itself and bright enough.

table = catalog.to_table()
sure = table[(table['detection_probability'] > 0.9) & (table['snr'] > 10)]
print(f'{len(table)} detections, {len(sure)} sure ones')

# %%
# The table has sky coordinates, because the image has a WCS. The flags tell what to
# know about a star; ``decode_detection_flags`` gives their names. The list is sorted by
# the flux in the segment, while the S/N is that of the Kron flux.

sure.sort('segment_flux', reverse=True)
for row in sure[:5]:
    names = ', '.join(decode_detection_flags(row['detection_flags']))
    print(f'{row["ra"]:.5f} {row["dec"]:.5f} S/N {row["snr"]:.0f}  {names}')

# %%
# Look at the result
# ------------------
# Do this with each new kind of image. The sky should show no stars, and the sources
# no noise pattern. The last panel shows what is left: here the cores of
# stars and, in the middle of the cluster, more than noise. That is why bgrem warns.

figure = bkg.plot()
figure.set_label(
    'What ``bkg.plot()`` shows of the frame, in adu. Orange: the outlines of the '
    'segments.'
)

# %%
# The panels share their axes, so one line of code zooms in on a corner of all of them.
# Here the outlines of the segments can be told apart.

figure = bkg.plot()
figure.axes[0].set(xlim=(0, 90), ylim=(0, 90))
figure.set_label('The lower left corner of the same picture, 90 px wide, in adu.')

# %%
# Check the result
# ----------------
# How many stars are missed? Nobody knows for the real ones. So add some of your own,
# as wide as those of the image, and see how many are recovered. In a crowd, a detection
# may be close by chance. The first number, for a peak of 0 adu, tells how often.

fwhm = float(np.nanmedian(sure['core_fwhm'].value))
x_true, y_true = np.random.default_rng(0).uniform(10, 290, (2, 60))
y, x = np.mgrid[:300, :300]
stars = sum(
    np.exp(-4 * np.log(2) * ((x - x0) ** 2 + (y - y0) ** 2) / fwhm**2)
    for x0, y0 in zip(x_true, y_true, strict=True)
)
finder = bkg.finder(threshold=0.9)
for peak in (0, 15, 60, 240):
    found = finder(image.data + peak * stars)
    dx = np.asarray(found['x'])[:, None] - x_true
    dy = np.asarray(found['y'])[:, None] - y_true
    n_back = np.sum(np.hypot(dx, dy).min(axis=0) < fwhm / 3)
    print(f'peak of {peak:3} adu: {n_back} of 60 have a detection near')
