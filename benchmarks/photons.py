# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Real photons of the Fermi-LAT: ``python benchmarks/photons.py --help``.

``--center FITS`` is a map of the Galactic Center with a table of its cataloged
sources and two random halves of its photons (HDUs COUNTS, SRC_3FHL, THIN_A, THIN_B).
``--sky NPZ`` is a HEALPix map (RING, galactic) of the northern sky, ``counts_north``,
with its ``exposure`` and a mask that is 1 at cataloged sources, ``mask4fgl_north``.
"""

import argparse
import warnings
from types import SimpleNamespace

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS

from bgrem import DiffusionBackground
from bgrem.evaluate.peers import sep_default
from bgrem.weights import load_weights

# Of the Galactic Center, in pixels of 0.05 degrees: the PSF above 10 GeV is 3 px wide.
_RADIUS = 5.0
_SIZE = 64
_COARSE = 4  # nside of the pixels, each of which is looked at in the middle of a patch


def main(argv=None):
    """Run from the command line."""
    parser = argparse.ArgumentParser(description='Detections in real photons.')
    parser.add_argument('--center', metavar='FITS', help='the Galactic Centre')
    parser.add_argument('--sky', metavar='NPZ', help='the northern sky')
    parser.add_argument('--weights', default='fermi-lat')
    parser.add_argument('--symmetries', type=int, default=1)
    options = parser.parse_args(argv)
    warnings.simplefilter('ignore', AstropyUserWarning)
    weights = load_weights(options.weights)
    if options.center:
        galactic_center(options.center, weights, options.symmetries)
    if options.sky:
        northern_sky(options.sky, weights, options.symmetries)


def galactic_center(path, weights, n_symmetries):
    """Print how many cataloged sources are in the list, and how halves agree."""
    with fits.open(path) as hdus:
        counts, *halves = (hdus[n].data.copy() for n in ('COUNTS', 'THIN_A', 'THIN_B'))
        table = hdus['SRC_3FHL'].data
        true = np.stack([table['x'], table['y']], axis=1).astype(float)
    found = _ours(counts, weights, n_symmetries)
    pairs = _pairs(true, found.position)
    print(
        f'{len(true)} cataloged sources, {len(found.position)} detections at the '
        f'default promise: {len(pairs)} pairs, {len(found.position) - len(pairs)} '
        f'detections match none'
    )
    n = len(true)
    for name, detect in (
        ('bgrem', lambda image: _ours(image, weights, n_symmetries, 0.9)),
        ('sep', _sep),
    ):
        first, second = (detect(image) for image in halves)
        best = first.position[np.argsort(-first.score)][:n]
        # as many of the other half, so that a long list is no help
        other = second.position[np.argsort(-second.score)][:n]
        print(
            f'{name}: of the {len(best)} best of one half {len(_pairs(best, other))} '
            f'are among the {len(other)} best of the other, '
            f'{len(_pairs(best, second.position))} in its whole list of '
            f'{len(second.position)}'
        )


def northern_sky(path, weights, n_symmetries):
    """Print how many detections lie outside the mask, at the number that sep has."""
    from astropy_healpix import HEALPix

    with np.load(path) as file:
        counts, mask, exposure = (
            file[name] for name in ('counts_north', 'mask4fgl_north', 'exposure')
        )
    sphere = HEALPix(round((counts.size / 12) ** 0.5), 'ring')
    coarse = HEALPix(_COARSE, 'ring')
    lon, lat = (angle.deg for angle in coarse.healpix_to_lonlat(np.arange(coarse.npix)))
    scores = {'bgrem': [], 'sep': []}
    outside = {'bgrem': [], 'sep': []}
    for number in np.flatnonzero(lat > 0):
        wcs = _wcs(lon[number], lat[number], sphere.pixel_resolution.to_value(u.deg))
        x, y = np.meshgrid(np.arange(_SIZE), np.arange(_SIZE))
        pixels = sphere.lonlat_to_healpix(*_sky(wcs, x, y))
        image, seen = counts[pixels].astype(float), counts[pixels] >= 0
        image[~seen] = 0
        if seen.mean() < 0.1:
            continue
        exposed = np.where(seen, exposure[pixels], 0)
        for name, found in (
            ('bgrem', _ours(image, weights, n_symmetries, 0.9, exposure=exposed)),
            ('sep', _sep(image, ~seen)),
        ):
            place = _sky(wcs, *found.position.T)
            own = coarse.lonlat_to_healpix(*place) == number
            own &= place[1] > 0
            scores[name].extend(found.score[own])
            at = sphere.lonlat_to_healpix(*place)[own]
            outside[name].extend(mask[at] == 0)
    for n in (len(scores['sep']), len(scores['sep']) // 2):
        wrong = {
            name: int(np.sum(np.array(outside[name])[np.argsort(-np.array(one))[:n]]))
            for name, one in scores.items()
        }
        print(f'northern sky, best {n}, outside the mask: {wrong}')


def _ours(image, weights, n_symmetries, rate=None, exposure=None):
    bkg = DiffusionBackground(
        image, weights=weights, n_symmetries=n_symmetries, exposure=exposure
    )
    options = {} if rate is None else {'false_discovery_rate': rate}
    segments = bkg.detect(**options)
    if segments is None:
        return SimpleNamespace(position=np.empty((0, 2)), score=np.empty(0))
    catalog = bkg.catalog(segments)
    return SimpleNamespace(
        position=np.stack([catalog.x, catalog.y], axis=1),
        score=np.asarray(catalog.detection_probability),
    )


def _sep(image, mask=None):
    mask = np.zeros(image.shape, bool) if mask is None else mask
    found = sep_default(SimpleNamespace(image=image, mask=mask))
    return SimpleNamespace(
        position=np.stack([found.x, found.y], axis=1), score=found.score
    )


def _wcs(lon, lat, pixel_size):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = 'GLON-TAN', 'GLAT-TAN'
    wcs.wcs.crval = lon, lat
    wcs.wcs.crpix = (_SIZE + 1) / 2, (_SIZE + 1) / 2
    wcs.wcs.cdelt = -pixel_size, pixel_size
    return wcs


def _sky(wcs, x, y):
    lon, lat = wcs.wcs_pix2world(x, y, 0)
    return np.mod(lon, 360) * u.deg, lat * u.deg


def _pairs(first, second):
    """Pair nearest positions, each but once."""
    if not len(first) or not len(second):
        return []
    distance = np.linalg.norm(first[:, None] - second, axis=2)
    pairs = []
    while distance.min() < _RADIUS:
        i, j = np.unravel_index(distance.argmin(), distance.shape)
        pairs.append((i, j))
        distance[i], distance[:, j] = np.inf, np.inf
    return pairs


if __name__ == '__main__':
    main()
