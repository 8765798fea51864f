"""
Wild scenes with resampled pixels, and with broad images.
"""

import numpy as np
from scipy import ndimage

from bgrem.evaluate.wild.painting import (
    SIGMA,
    SKY,
    Psf,
    equivalent_fwhm,
    moffat,
    paint_field,
    paint_points,
    ring,
)
from bgrem.evaluate.wild.scene import WildScene, make_scene

__all__ = [
    'broad_scene',
    'defocused',
    'drizzled_3',
    'drizzled_4',
    'interpolated',
    'psf_matched',
]

_N_EXPOSURES = 4
_N_BROAD = 40
# On the native pixels.
_DRIZZLED_FWHM = (1.6, 1.4, 2.0, 2.5)
_INTERPOLATED_FWHM = (2.2, 1.6, 3.0)
# Sources that can be found whatever a resampling does to their S/N.
_SNR = (8.0, 300.0)
_DENSITY = 2.5e-3


def _native_field(rng, size, fwhm):
    psf = moffat(fwhm)
    n = int(_DENSITY * size**2)
    painted = paint_field(rng, (size, size), psf, n, _SNR, slope=0, galaxies=0.0)
    return painted, psf


def _resampled(native, image, source, sigma, stamp, zoom):
    """Return the scene of a native one on other pixels."""
    catalog = dict(native.catalog)
    for name in 'xy':
        catalog[name] = (catalog[name] + 0.5) * zoom - 0.5
    # A finer pixel keeps the surface brightness.
    catalog['flux'] = catalog['flux'] * zoom**2
    return WildScene(
        image=image.astype('f4'),
        source=source.astype('f4'),
        sky=np.full(image.shape, SKY, 'f4'),
        sigma=np.full(image.shape, sigma, 'f4'),
        mask=np.zeros(image.shape, bool),
        psf=stamp / stamp.sum(),
        fwhm=equivalent_fwhm(stamp),
        catalog=catalog,
        judged=np.ones(image.shape, bool),
        native=native,
    )


def _drizzled(rng, size, k, index):
    """
    Four dithered exposures of an undersampled image, added on pixels k times finer.

    Each fine pixel takes the value of the native pixel of each exposure that it lies
    in (pixfrac 1): the noise is correlated over k pixels.
    """
    n = size // 2
    painted, psf = _native_field(rng, n, fwhm=_DRIZZLED_FWHM[index % 4])
    catalog = painted[1]
    native = make_scene(rng, painted, SKY, psf)
    shape = (n * k, n * k)
    source, noise = np.zeros(shape), np.zeros(shape)
    reach = k * psf.reach
    stamp = np.zeros((2 * reach + 1, 2 * reach + 1))
    block = np.ones((k, k))
    for _ in range(_N_EXPOSURES):
        dy, dx = rng.integers(0, k, 2)
        cut = np.s_[dy : dy + shape[0], dx : dx + shape[1]]
        x, y = catalog['x'] + dx / k, catalog['y'] + dy / k
        light, _ = paint_points((n + 1, n + 1), psf, x, y, catalog['flux'])
        variance = _N_EXPOSURES * (SIGMA**2 + light)
        one = np.sqrt(variance) * rng.standard_normal(light.shape)
        source += np.kron(light, block)[cut] / _N_EXPOSURES
        noise += np.kron(one, block)[cut] / _N_EXPOSURES
    # Of a star in the middle of a fine pixel, with all dithers.
    middle = psf.reach + 1
    for dy in range(k):
        for dx in range(k):
            offset = ((dy + 0.5) / k - 0.5, (dx + 0.5) / k - 0.5)
            fine = np.kron(np.pad(psf.stamp(*offset), 1), block)
            # The star lies at this fine pixel.
            at = middle * k + dy, middle * k + dx
            rows, columns = (np.arange(-reach, reach + 1) + a for a in at)
            stamp += fine[np.clip(rows, 0, len(fine) - 1)][
                :, np.clip(columns, 0, len(fine) - 1)
            ]
    return _resampled(native, SKY + source + noise, source, SIGMA, stamp, k)


def drizzled_3(rng, size, index):
    """
    Four exposures drizzled onto pixels three times finer.
    """
    return _drizzled(rng, size, 3, index)


def drizzled_4(rng, size, index):
    """
    Four exposures drizzled onto pixels four times finer.
    """
    return _drizzled(rng, size, 4, index)


def _spline(image, zoom):
    """Return an image on finer pixels, by a cubic spline."""
    axes = [(np.arange(n * zoom) + 0.5) / zoom - 0.5 for n in image.shape]
    points = np.meshgrid(*axes, indexing='ij')
    return ndimage.map_coordinates(image.astype(float), points, order=3, mode='mirror')


def interpolated(rng, size, index):
    """
    An image interpolated by a cubic spline onto pixels three times finer.
    """
    zoom = 3
    fwhm = _INTERPOLATED_FWHM[index % 3]
    painted, psf = _native_field(rng, size // 2, fwhm)
    native = make_scene(rng, painted, SKY, psf)
    source = _spline(native.source, zoom)
    image = _spline(native.image, zoom)
    # Its noise depends on the phase of a pixel; this is the mean variance.
    sigma = SIGMA * _spline(rng.standard_normal((64, 64)), zoom).std()
    stamp = np.maximum(_spline(psf.stamp(), zoom), 0)
    return _resampled(native, image, source, sigma, stamp, zoom)


def psf_matched(rng, size, index):
    """
    An image convolved, with its noise, to a Gaussian PSF with a sigma of 3 px.
    """
    sigma_psf, target = 1.2, 3.0
    psf = Psf(lambda r: np.exp(-0.5 * (r / sigma_psf) ** 2), 2.355 * sigma_psf, 8, 3)
    n = int(0.5 * _DENSITY * size**2)
    painted = paint_field(rng, (size, size), psf, n, _SNR, slope=0, galaxies=0.0)
    native = make_scene(rng, painted, SKY, psf)
    kernel = np.sqrt(target**2 - sigma_psf**2)
    image, source = (
        ndimage.gaussian_filter(a.astype(float), kernel, mode='mirror')
        for a in (native.image, native.source)
    )
    stamp = ndimage.gaussian_filter(np.pad(psf.stamp(), 12), kernel)
    sigma = SIGMA / (2 * np.sqrt(np.pi) * kernel)
    return _resampled(native, image, source, sigma, stamp, 1)


def _isolated(rng, size, n):
    """Return n places, one in each of the cells of a grid, away from their edges."""
    n_cells = int(np.ceil(np.sqrt(n)))
    cell = size / n_cells
    chosen = rng.permutation(n_cells**2)[:n]
    jitter = rng.uniform(0.25, 0.75, (2, n))
    row, column = np.divmod(chosen, n_cells)
    return (column + jitter[0]) * cell, (row + jitter[1]) * cell


def broad_scene(rng, size, psf):
    """
    Forty isolated stars of S/N 60 to 1000 in an image half as wide again.
    """
    size = size * 3 // 2
    n = min(_N_BROAD, max(1, int(size / psf.fwhm / 2) ** 2))
    x, y = _isolated(rng, size, n)
    norm = np.sqrt(np.sum(psf.stamp() ** 2))
    flux = 60 * 16 ** rng.random(n) * SIGMA / norm
    painted = paint_points((size, size), psf, x, y, flux)
    return make_scene(rng, painted, SKY, psf)


def defocused(rng, size, index):
    """
    Stars out of focus: rings of 12 to 28 px across.
    """
    outer = (6, 8, 10, 14)[index % 4]
    return broad_scene(rng, size, ring(outer, rng.uniform(0.3, 0.5) * outer))
