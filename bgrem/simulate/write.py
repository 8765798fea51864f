"""Write simulated scenes to FITS files."""

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from bgrem.files.atomic import atomic_path
from bgrem.files.products import check_output

__all__ = [
    'image_hdus',
    'tangent_wcs',
    'write_frame',
    'write_hdus',
    'write_scene',
]

# Where the simulated sky is: it makes the file a complete example, and means
# nothing. The size of the pixels of a scene, in arcsec, neither.
_CENTER = (150.1, 2.2)
_PIXEL_SCALE = 0.2


def write_scene(path, batch, index=0, *, overwrite=False):
    """
    Write one scene and its truth to a FITS file.

    Parameters
    ----------
    path : path-like
        The file to write.

    batch : `bgrem.simulate.SceneBatch`
        Scenes.

    index : int, optional
        The number of the scene to write.

    overwrite : bool, optional
        Whether an existing file may be replaced.

    Raises
    ------
    OSError, ValueError
        As for `bgrem.files.products.check_output`.

    Notes
    -----
    The extensions are SCI (the image, float32, with a WCS; NaN where there is
    no data), SOURCE (the light of the sources without noise), SKY (without
    noise), SIGMA (the standard deviation of its noise), PSF, and TRUTH: a
    table of the sources with ``x``, ``y`` (pixels, the first one is 0),
    ``flux`` (counts), ``snr``, ``is_star`` and ``half_light_radius`` (pixels).
    """
    image = batch.image[index, 0].cpu().numpy().copy()
    image[batch.mask[index, 0].cpu().numpy()] = np.nan
    header = tangent_wcs(image.shape, _PIXEL_SCALE).to_header()
    header['BUNIT'] = 'ct'
    truths = {
        name: getattr(batch, name)[index, 0].cpu().numpy()
        for name in ('source', 'sky', 'sigma')
    }
    psf, fwhm = batch.psf[index].cpu().numpy(), float(batch.fwhm[index])
    images = image_hdus({'sci': image, **truths}, header)
    table = _truth(batch.catalog, index)
    write_hdus(path, images, psf, fwhm, table, overwrite=overwrite)


def write_frame(path, frame, *, overwrite=False):
    """
    Write a frame modeled on MeerLICHT, and its truth, to a FITS file.

    Parameters
    ----------
    path : path-like
        The file to write; 1.8 GB for a full frame.

    frame : `bgrem.simulate.meerlicht.MeerLICHTFrame`
        The frame.

    overwrite : bool, optional
        Whether an existing file may be replaced.

    Raises
    ------
    OSError, ValueError
        As for `bgrem.files.products.check_output`.

    Notes
    -----
    The extensions are those of `write_scene`. The header of the images contains the
    detector, the conditions and the seed, and TRUTH has the additional columns of the
    catalog of the frame.
    """
    names = ('source', 'sky', 'sigma')
    images = {'sci': frame.image, **{name: getattr(frame, name) for name in names}}
    write_hdus(
        path,
        image_hdus(images, frame.header),
        frame.psf,
        frame.fwhm,
        frame.catalog,
        overwrite=overwrite,
    )


def tangent_wcs(shape, pixel_scale):
    """
    Make a WCS in the tangent plane, north up and east to the left.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the image in pixels.

    pixel_scale : float
        Side of a pixel in arcsec.

    Returns
    -------
    wcs : `~astropy.wcs.WCS`
        The WCS; its reference point is the center of the image.
    """
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
    wcs.wcs.crval = _CENTER
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    wcs.wcs.cdelt = [-pixel_scale / 3600, pixel_scale / 3600]
    return wcs


def write_hdus(path, images, psf, fwhm, table, *, overwrite=False):
    """
    Write images, their PSF and the table of their sources.

    Parameters
    ----------
    path : path-like
        The file to write.

    images : list of `~astropy.io.fits.ImageHDU`
        The first extensions.

    psf : 2D `~numpy.ndarray`
        The extension PSF.

    fwhm : float
        Its keyword FWHM, in pixels.

    table : `~astropy.table.Table`
        The extension TRUTH.

    overwrite : bool, optional
        Whether an existing file may be replaced.

    Raises
    ------
    OSError, ValueError
        As for `bgrem.files.products.check_output`.
    """
    path = check_output(path, overwrite=overwrite)
    hdus = fits.HDUList([fits.PrimaryHDU(), *images])
    hdus.append(fits.ImageHDU(psf, name='PSF'))
    hdus['PSF'].header['FWHM'] = (round(fwhm, 4), 'pixels')
    hdus.append(fits.table_to_hdu(table))
    hdus[-1].name = 'TRUTH'
    with atomic_path(path) as temporary:
        hdus.writeto(temporary, checksum=True)


def image_hdus(images, header):
    """
    Make extensions of images that share a header.

    Parameters
    ----------
    images : dict of str to 2D `~numpy.ndarray`
        The images by their names in lower case.

    header : `~astropy.io.fits.Header`
        The header of each of them.

    Returns
    -------
    hdus : list of `~astropy.io.fits.ImageHDU`
    """
    return [
        fits.ImageHDU(values, header, name=name.upper())
        for name, values in images.items()
    ]


def _truth(catalog, index):
    columns = {name: values.cpu().numpy() for name, values in catalog.items()}
    kept = columns.pop('scene') == index
    table = Table({name: values[kept] for name, values in columns.items()})
    for name in ('x', 'y', 'half_light_radius'):
        table[name].unit = 'pix'
    table['flux'].unit = 'ct'
    return table
