"""
A wild scene: sources, sky, noise and missing data, with the truth.
"""

from dataclasses import dataclass

import numpy as np

from bgrem.evaluate.matching import MIN_SNR
from bgrem.evaluate.scenes import Scene
from bgrem.evaluate.wild.painting import SIGMA

__all__ = ['WildScene', 'finish_catalog', 'make_scene']


@dataclass(frozen=True, kw_only=True)
class WildScene(Scene):
    """
    A scene with everything that the suite ``wild`` needs.

    Parameters
    ----------
    error : 2D `~numpy.ndarray` of float, optional
        The total error of each pixel, sources included, as a pipeline writes it.
    native : `WildScene`, optional
        The same field as seen by the detector, before it was resampled.
    is_counts : bool, optional
        Whether the pixels are counts of photons.
    stripes : 2D `~numpy.ndarray` of float, optional
        What the rows or columns of the detector add to sky and noise.
    """

    error: np.ndarray | None = None
    native: Scene | None = None
    is_counts: bool = False
    stripes: np.ndarray | None = None


def make_scene(
    rng,
    painted,
    sky,
    psf,
    *,
    sigma=SIGMA,
    valid=None,
    mask=None,
    blank=np.nan,
    judged=None,
    stripes=None,
    **more,
):
    """
    Add sky, noise and missing data to sources, and keep the truth.

    Parameters
    ----------
    rng : `~numpy.random.Generator`
        The source of the noise.
    painted : tuple
        The source image in electrons, and its catalog.
    sky : float or 2D `~numpy.ndarray` of float
        The true sky.
    psf : `Psf`
        The PSF of a star.
    sigma : float or 2D `~numpy.ndarray` of float, optional
        The noise of the sky, to which the photon noise of the sources is added.
    valid : 2D `~numpy.ndarray` of bool, optional
        False where the image is ``blank``, which is not masked unless it is NaN.
    mask : 2D `~numpy.ndarray` of bool, optional
        The mask that is passed to the tools.
    blank : float, optional
        The value where there are no data.
    judged : 2D `~numpy.ndarray` of bool, optional
        True where the sky is judged; by default ``valid``, also under a mask.
    stripes : 2D `~numpy.ndarray` of float, optional
        Added to the image; neither sky nor source.
    **more
        Other fields of the `WildScene`.

    Returns
    -------
    scene : `WildScene`
        The scene. Sources whose centers are masked or missing are in its catalog with
        at most the S/N that counts neither way.
    """
    source, catalog = painted
    shape = source.shape
    sky, sigma = (np.broadcast_to(v, shape).astype('f4') for v in (sky, sigma))
    valid = np.ones(shape, bool) if valid is None else valid
    mask = np.zeros(shape, bool) if mask is None else mask
    noise = np.sqrt(sigma**2 + np.maximum(source, 0)) * rng.standard_normal(shape)
    image = sky + source + noise + (0 if stripes is None else stripes)
    return WildScene(
        image=np.where(valid, image, blank).astype('f4'),
        source=source.astype('f4'),
        sky=sky,
        sigma=sigma,
        mask=mask | (~valid & np.isnan(blank)),
        psf=psf.stamp(),
        fwhm=psf.fwhm,
        catalog=finish_catalog(catalog, sigma, mask | ~valid),
        judged=valid if judged is None else judged & valid,
        stripes=stripes,
        **more,
    )


def finish_catalog(catalog, sigma, hidden, snr=None):
    """
    Keep the sources inside an image, with their S/N.

    Parameters
    ----------
    catalog : dict of 1D `~numpy.ndarray`
        From `catalog_of`.
    sigma : 2D `~numpy.ndarray` of float
        The noise of the sky.
    hidden : 2D `~numpy.ndarray` of bool
        True where a source cannot be seen.
    snr : 1D `~numpy.ndarray` of float, optional
        That of all sources; by default that of a matched filter in the noise of the
        sky.

    Returns
    -------
    catalog : dict of 1D `~numpy.ndarray`
        As in `bgrem.evaluate.scenes.Scene`.
    """
    row, column = (np.rint(catalog[name]).astype(int) for name in 'yx')
    inside = (row >= 0) & (row < sigma.shape[0])
    inside &= (column >= 0) & (column < sigma.shape[1])
    kept = {name: values[inside] for name, values in catalog.items()}
    row, column = row[inside], column[inside]
    norm = kept.pop('norm')
    own = kept['flux'] * norm / sigma[row, column]
    snr = own if snr is None else snr[inside]
    return {
        **kept,
        'snr': np.where(hidden[row, column], np.minimum(snr, MIN_SNR), snr),
        'is_star': kept['half_light_radius'] == 0,
    }
