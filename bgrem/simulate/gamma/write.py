"""
Patches of counts as FITS files.
"""

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from bgrem.simulate.write import image_hdus, write_hdus

__all__ = ['galactic_wcs', 'write_patch']


def write_patch(path, patch, wcs=None, *, overwrite=False):
    """
    Write a patch and the truth about it to a FITS file.

    Parameters
    ----------
    path : path-like
        The file to write.

    patch : `bgrem.simulate.gamma.CountsPatch`
        The patch.

    wcs : `~astropy.wcs.WCS`, optional
        Its WCS. With it, TRUTH has the columns ``glon`` and ``glat`` (degrees), and
        fluxes are photons per cm2 and s.

    overwrite : bool, optional
        Whether an existing file may be replaced.

    Raises
    ------
    OSError, ValueError
        As for `bgrem.files.products.check_output`.

    Notes
    -----
    The extensions are SCI (the counts, float32; NaN where there is no exposure),
    SOURCE and SKY (expected counts), EXPOSURE, PSF, and TRUTH: the catalog of the
    patch. The random values of the patch are in the header of SCI.
    """
    header = fits.Header() if wcs is None else wcs.to_header()
    counts = np.where(patch.mask, np.nan, patch.counts).astype('f4')
    values = {'sci': counts, 'source': patch.source, 'sky': patch.sky}
    values['exposure'] = patch.exposure
    images = image_hdus(values, header)
    for image in images[:3]:
        image.header['BUNIT'] = 'ct'
    if wcs is not None:
        images[3].header['BUNIT'] = 'cm2 s'
    for name, value in patch.meta.items():
        images[0].header[f'HIERARCH bgrem {name}'] = value
    table = Table(patch.catalog)
    for name in ('x', 'y', 'extent'):
        table[name].unit = 'pix'
    table['counts'].unit = 'ct'
    if wcs is not None:
        table['flux'].unit = 'cm-2 s-1'
        table['glon'], table['glat'] = wcs.pixel_to_world_values(table['x'], table['y'])
        table['glon'].unit = table['glat'].unit = 'deg'
    write_hdus(path, images, patch.psf, patch.fwhm, table, overwrite=overwrite)


def galactic_wcs(config, center):
    """
    Make the WCS of a patch of the gamma-ray sky.

    Parameters
    ----------
    config : `bgrem.simulate.gamma.LatConfig`
        The pixels.

    center : tuple of float
        Galactic longitude and latitude of the center of the image in degrees.

    Returns
    -------
    wcs : `~astropy.wcs.WCS`
        The WCS in galactic coordinates, in the tangent plane.
    """
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ['GLON-TAN', 'GLAT-TAN']
    wcs.wcs.crval = center
    wcs.wcs.crpix = [(size + 1) / 2 for size in config.shape[::-1]]
    wcs.wcs.cdelt = [-config.pixel_size, config.pixel_size]
    return wcs
