"""
A patch of counted photons, and the truth about it.
"""

from dataclasses import dataclass, field

import numpy as np

from .significance import template_significance

__all__ = ['FAINTEST', 'CountsPatch', 'ExtendedSource', 'PointSources', 'compose_patch']

# Sources below this S/N in their own patch belong to its sky.
FAINTEST = 1.0


@dataclass(frozen=True)
class PointSources:
    """
    Unresolved sources.

    Parameters
    ----------
    x, y : 1D `~numpy.ndarray` of float
        Positions in pixels of the image, margins included.

    flux : 1D `~numpy.ndarray` of float
        Counts per unit of exposure.
    """

    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray


@dataclass(frozen=True)
class ExtendedSource:
    """
    A source with a shape.

    Parameters
    ----------
    x, y : float
        Its center in pixels of the image.

    image : 2D `~numpy.ndarray` of float
        Counts per unit of exposure in each pixel of the canvas, before the PSF.

    extent : float
        The radius that holds half of its light, in pixels.
    """

    x: float
    y: float
    image: np.ndarray
    extent: float


@dataclass(frozen=True)
class CountsPatch:
    """
    Counted photons and expected counts; all images are float32 and of the same shape.

    Positions are in pixels, 0 at the center of the first one.

    Parameters
    ----------
    counts : 2D `~numpy.ndarray`
        The photons, or the expected counts if none were drawn. 0 where the exposure
        is 0.

    source : 2D `~numpy.ndarray`
        The expected counts of the sources of S/N above 1.

    sky : 2D `~numpy.ndarray`
        The expected counts of everything else: diffuse emission, particles, and the
        sources below S/N 1.

    exposure : 2D `~numpy.ndarray`
        Counts per unit of flux: in cm2 s for a gamma-ray flux in photons per cm2 and s,
        otherwise relative to the best pixel. 0 where there are no data.

    psf : 2D `~numpy.ndarray`
        The PSF, of unit sum and an odd number of pixels to a side.

    fwhm : float
        Its full width at half maximum in pixels.

    catalog : dict of 1D `~numpy.ndarray`
        The sources of ``source`` whose centers are in the patch: ``x``, ``y``,
        ``flux`` (counts per unit of exposure), ``counts`` (expected, with the mean
        exposure under the core of the PSF), ``snr`` (see
        `bgrem.simulate.gamma.significance`; in the noise of the sky alone, without
        other sources), ``extent`` (the radius that holds half of the light before
        the PSF, in pixels; 0 for point sources).

    outside : dict of 1D `~numpy.ndarray`
        The same for sources whose centers are outside but whose light reaches the
        patch.

    meta : dict
        All other random values of the patch: numbers and strings.
    """

    counts: np.ndarray
    source: np.ndarray
    sky: np.ndarray
    exposure: np.ndarray
    psf: np.ndarray
    fwhm: float
    catalog: dict
    outside: dict
    meta: dict = field(default_factory=dict)

    @property
    def mask(self):
        """True where there are no data."""
        return self.exposure <= 0


def compose_patch(canvas, emission, exposure, points, extended, rng, *,
                  particles=0.0, meta=None):  # fmt: skip
    """
    Compose a patch.

    Parameters
    ----------
    canvas : `bgrem.simulate.gamma.canvas.Canvas`
        The pixels and the PSF.

    emission : 2D `~numpy.ndarray` of float
        The sky in counts per pixel and unit of exposure, on the canvas, after the
        PSF; without sources.

    exposure : 2D `~numpy.ndarray` of float
        The exposure on the image, not on the canvas.

    points : `PointSources`
        Sources of any flux, on the canvas.

    extended : sequence of `ExtendedSource`
        Sources with a shape.

    rng : `~numpy.random.Generator` or `None`
        Draws the photons; with `None`, the counts are the expected ones.

    particles : float or 2D `~numpy.ndarray` of float, optional
        Counts per pixel that are not focused by the telescope, on the image.

    meta : dict, optional
        Kept with the patch.

    Returns
    -------
    patch : `CountsPatch`
        The patch.
    """
    inner = canvas.inner
    per_exposure = np.divide(
        particles, exposure, out=np.zeros(exposure.shape), where=exposure > 0
    )
    # Beyond its edge a patch goes on as it ends: a source there is judged as one
    # would be that is at the edge.
    wide, noise = (
        np.pad(image, canvas.ends, mode='edge') for image in (exposure, per_exposure)
    )
    seen = canvas.values_at(canvas.smooth_squared(wide), points.x, points.y)
    unresolved, bright, snr = _divide(canvas, emission + noise, points, seen)
    sky = (emission + unresolved)[inner] * exposure
    sky = sky + np.where(exposure > 0, particles, 0.0)
    x, y, flux = points.x[bright], points.y[bright], points.flux[bright]
    source = canvas.paint(x, y, flux)[inner] * exposure
    counts = flux * seen[bright]
    rows = [*zip(x, y, flux, counts, snr[bright], np.zeros(x.size), strict=True)]
    for one in extended:
        own = canvas.smooth(one.image)[inner] * exposure
        own_snr = template_significance(own, sky)
        if own_snr < FAINTEST:
            sky = sky + own
            continue
        source = source + own
        rows.append((one.x, one.y, one.image.sum(), own.sum(), own_snr, one.extent))
    expected = sky + source
    counts = expected if rng is None else rng.poisson(expected)
    images = (counts, source, sky, exposure)
    catalog, outside = _catalogs(rows, canvas.shape)
    return CountsPatch(
        *(np.asarray(image, 'f4') for image in images),
        psf=_stamp(canvas),
        fwhm=canvas.psf.fwhm,
        catalog=catalog,
        outside=outside,
        meta=dict(meta or {}),
    )


def _divide(canvas, sky, points, exposure):
    """Return the light that belongs to the sky, which sources do not, and their S/N."""

    def point_snr(sky):
        level = np.maximum(canvas.values_at(sky, points.x, points.y), 1e-300)
        return canvas.significance(points.flux * exposure, points.flux / level)

    # Twice: the light of the faintest is noise for those just above.
    faint = point_snr(sky) < FAINTEST
    unresolved = canvas.smooth(_scatter(canvas, points, faint))
    snr = point_snr(sky + unresolved)
    lost = ~faint & (snr < FAINTEST)
    if lost.any():
        unresolved = unresolved + canvas.smooth(_scatter(canvas, points, lost))
    return unresolved, ~faint & ~lost, snr


def _scatter(canvas, points, kept):
    return canvas.scatter(points.x[kept], points.y[kept], points.flux[kept])


def _catalogs(rows, shape):
    """Return the sources whose center is on a pixel and the others, brightest first."""
    names = ('x', 'y', 'flux', 'counts', 'snr', 'extent')
    table = np.array(rows, float).reshape(-1, len(names))
    table = table[np.argsort(-table[:, 4])]
    is_inside = (np.abs(table[:, 0] - (shape[1] - 1) / 2) < shape[1] / 2) & (
        np.abs(table[:, 1] - (shape[0] - 1) / 2) < shape[0] / 2
    )
    return tuple(
        {name: np.asarray(part[:, i], 'f4') for i, name in enumerate(names)}
        for part in (table[is_inside], table[~is_inside])
    )


def _stamp(canvas):
    """Return the PSF in an array as small as 99% of its light allow."""
    half = int(np.ceil(canvas.psf.containment_radius(0.99)))
    half = min(half, *((size - 1) // 2 for size in canvas.padded))
    rolled = np.roll(canvas.kernel, (half, half), axis=(0, 1))
    stamp = rolled[: 2 * half + 1, : 2 * half + 1]
    return np.asarray(stamp / stamp.sum(), 'f4')
