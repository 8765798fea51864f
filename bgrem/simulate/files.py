"""Simulated scenes as FITS files."""

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from bgrem.atomic import atomic_path
from bgrem.products import check_output

__all__ = ['write_scene']

# Where the simulated sky is, and the size of its pixels in degrees: they make
# the file a complete example, and mean nothing.
_CENTER = (150.1, 2.2)
_PIXEL_SCALE = 0.2 / 3600


def write_scene(path, batch, index=0, *, overwrite=False):
    """
    Write one scene and the truth about it to a FITS file.

    Parameters
    ----------
    path : path-like
        The file to make.

    batch : `bgrem.simulate.SceneBatch`
        Scenes.

    index : int, optional
        The one to write.

    overwrite : bool, optional
        Whether an existing file may be replaced.

    Raises
    ------
    OSError, ValueError
        As for `bgrem.products.check_output`.

    Notes
    -----
    The extensions are SCI (the image, float32, with a WCS; NaN where there is
    no data), SOURCE (the light of the sources without noise), SKY (without
    noise), SIGMA (the standard deviation of its noise), PSF, and TRUTH: a
    table of the sources with ``x``, ``y`` (pixels, the first one is 0),
    ``flux`` (counts), ``snr``, ``is_star`` and ``half_light_radius`` (pixels).
    """
    path = check_output(path, overwrite=overwrite)
    image = batch.image[index, 0].cpu().numpy().copy()
    image[batch.mask[index, 0].cpu().numpy()] = np.nan
    header = _make_wcs(image.shape).to_header()
    header['BUNIT'] = 'ct'
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image, header, name='SCI')])
    for name in ('source', 'sky', 'sigma'):
        values = getattr(batch, name)[index, 0].cpu().numpy()
        hdus.append(fits.ImageHDU(values, header, name=name.upper()))
    hdus.append(fits.ImageHDU(batch.psf[index].cpu().numpy(), name='PSF'))
    hdus['PSF'].header['FWHM'] = (round(float(batch.fwhm[index]), 4), 'pixels')
    hdus.append(fits.table_to_hdu(_truth(batch.catalog, index)))
    hdus[-1].name = 'TRUTH'
    with atomic_path(path) as temporary:
        hdus.writeto(temporary, checksum=True)


def _make_wcs(shape):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
    wcs.wcs.crval = _CENTER
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    wcs.wcs.cdelt = [-_PIXEL_SCALE, _PIXEL_SCALE]
    return wcs


def _truth(catalog, index):
    columns = {name: values.cpu().numpy() for name, values in catalog.items()}
    kept = columns.pop('scene') == index
    table = Table({name: values[kept] for name, values in columns.items()})
    for name in ('x', 'y', 'half_light_radius'):
        table[name].unit = 'pix'
    table['flux'].unit = 'ct'
    return table
