"""
The demonstration: a simulated image, everything made from it, and the truth.
"""

import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np

from bgrem._extras import import_extra
from bgrem.detect.segments import no_segments
from bgrem.files.io import read_image
from bgrem.files.products import Products, write_catalog, write_products

__all__ = ['DEMO_SIZE', 'find_with_photutils', 'found_table', 'run_demo']

DEMO_SIZE = 512
BOX_SIZE = 64

# This one of the random PSFs is a Moffat with a FWHM of 3.2 pixels.
_BANK_SEED = 26

# Edges of the rows of the table, in signal-to-noise ratio; the first is the
# least that counts as a source.
_SNR_EDGES = (2, 3, 5, 10, 30, 100, np.inf)


def run_demo(folder, *, seed=1, quiet=False, size=DEMO_SIZE, **kwargs):
    """
    Simulate an image, run everything on it, and compare with the truth.

    The image has stars, galaxies up to a half-light radius of 30 pixels, a
    tilted sky, nebulosity, cosmic rays and noise. The same image goes through
    bgrem and through plain photutils (see `find_with_photutils`).

    Parameters
    ----------
    folder : path-like
        Where to write; created if it does not exist. Files of a previous
        demonstration are replaced.

    seed : int, optional
        Another seed gives another image.

    quiet : bool, optional
        Whether to omit the progress bar and the printed table.

    size : int, optional
        The side of the image in pixels.

    **kwargs
        Passed to `bgrem.DiffusionBackground`.

    Returns
    -------
    rows : list of tuple
        As from `found_table`.

    Raises
    ------
    ImportError
        If GalSim or matplotlib is missing.
    OSError
        If a file cannot be written.

    Notes
    -----
    Takes about ten seconds on two cores, including a few seconds for the stamps.
    """
    # What is missing is found before anything is done.
    import_extra('galsim')
    import_extra('matplotlib')
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    image_path, products_path, catalog_path, plot_path = (
        folder / name
        for name in ('image.fits', 'products.fits', 'catalog.ecsv', 'picture.png')
    )
    batch = _compose(seed, size)
    from bgrem.background import DiffusionBackground
    from bgrem.plotting import save_plot
    from bgrem.simulate.write import write_scene

    write_scene(image_path, batch, overwrite=True)
    image = read_image(image_path, 'SCI')

    background = DiffusionBackground(
        image.data << image.unit, progress=not quiet, **kwargs
    )
    promise = {'false_discovery_rate': 0.05}
    segments = background.detect(**promise)
    if segments is None:
        segments = no_segments(image.data.shape)
    catalog = background.catalog(segments, wcs=image.wcs)
    products = Products(background, image, segments, catalog, promise)
    write_products(products_path, [products], overwrite=True)
    write_catalog(catalog_path, catalog, products.provenance, overwrite=True)
    save_plot(plot_path, background, wcs=image.wcs, **promise)

    truth = {name: values.numpy() for name, values in batch.catalog.items()}
    rows = found_table(
        truth,
        float(batch.fwhm[0]),
        {
            'bgrem': _positions(catalog, 'x', 'y', 'detection_probability'),
            'photutils': _positions(
                find_with_photutils(image.data),
                *('x_centroid', 'y_centroid', 'segment_flux'),
            ),
        },
        image.data.shape,
    )
    if not quiet:
        _print_report(rows, [image_path, products_path, catalog_path, plot_path])
    return rows


def find_with_photutils(data):
    """
    Find sources with `~photutils.background.Background2D` and a threshold.

    This follows the user guide of photutils: a background in boxes of 64 pixels, the
    image smoothed with a Gaussian of 3 pixels FWHM, 10 connected pixels above 1.5 sigma
    of the noise of the smoothed image, deblended.

    Parameters
    ----------
    data : 2D `~numpy.ndarray`
        The image.

    Returns
    -------
    catalog : `~photutils.segmentation.SourceCatalog` or `None`
        The sources found; `None` if there are none.
    """
    from astropy.convolution import convolve
    from photutils.background import Background2D
    from photutils.segmentation import (
        SourceCatalog,
        SourceFinder,
        make_2dgaussian_kernel,
    )

    from bgrem.evaluate.peers import NO_PROGRESS_BAR

    background = Background2D(data, BOX_SIZE)
    subtracted = data - background.background
    kernel = make_2dgaussian_kernel(3.0, size=5)
    smooth = convolve(subtracted, kernel)
    # what smoothing leaves of white noise
    noise = background.background_rms * np.sqrt(np.sum(kernel.array**2))
    finder = SourceFinder(n_pixels=10, **NO_PROGRESS_BAR)
    with warnings.catch_warnings():
        # A detail of photutils' deblending that does not concern the user.
        warnings.filterwarnings('ignore', message='The deblending mode')
        segments = finder(smooth, 1.5 * noise)
    if segments is None:
        return None
    return SourceCatalog(subtracted, segments, convolved_data=smooth)


def found_table(truth, fwhm, detections, shape):
    """
    Count true sources, detected sources, and false detections.

    Parameters
    ----------
    truth : dict of str to 1D `~numpy.ndarray`
        The ``x``, ``y`` and ``snr`` of the true sources.

    fwhm : float
        The FWHM of the PSF in pixels. A detection is true if it lies within the larger
        of 2 pixels and half the FWHM of a source with S/N above 2 that has no other
        detection. A detection that is not true but lies this close to a source with S/N
        above 1 is not counted.

    detections : dict of str to tuple
        For each method, the ``x``, ``y`` and score of its detections.

    shape : tuple of int
        The shape of the image.

    Returns
    -------
    rows : list of tuple
        The first row is the heading. Then comes one row for each range of S/N, with the
        number of true sources and, for each method, of those that it found. The last
        rows are the numbers of false detections, their percentages of all detections
        that count, and the numbers of detections that would be true by chance: if they
        were displaced by 20 px.
    """
    from bgrem.evaluate.matching import judge, match, match_radius, shift_positions

    snr, radius = truth['snr'], match_radius(fwhm)
    edges = list(pairwise(_SNR_EDGES))
    in_range = [(snr > low) & (snr <= high) for low, high in edges]
    columns = [[int(kept.sum()) for kept in in_range] + [''] * 3]
    for x, y, score in detections.values():
        index = match(x, y, score, truth['x'], truth['y'], snr, radius)
        found = np.zeros(snr.size, dtype=bool)
        found[index[index >= 0]] = True
        is_true, is_neutral = judge(x, y, score, truth, radius)
        n_false = int(np.sum(~is_true & ~is_neutral))
        n_counted = int(np.sum(~is_neutral))
        elsewhere = shift_positions(np.asarray(x), shape)
        by_chance, _ = judge(elsewhere, y, score, truth, radius)
        columns.append(
            [
                *(int((found & kept).sum()) for kept in in_range),
                n_false,
                f'{n_false / n_counted:.1%}' if n_counted else '-',
                int(by_chance.sum()),
            ]
        )
    names = [f'S/N {a}-{b}' if np.isfinite(b) else f'S/N > {a}' for a, b in edges]
    names += ['false', 'of all', 'by chance']
    return [('', 'true', *detections), *zip(names, *columns, strict=True)]


def _compose(seed, size):
    """Return the scene of the demonstration."""
    import torch

    from bgrem.simulate import SceneComposer, SceneConfig, build_stamp_bank

    config = SceneConfig(
        density=(5e-3, 5e-3),
        bright_probability=0.0,
        snr_max=(3e3, 3e3),
        flux_slope=(1.0, 1.0),
        star_fraction=(0.5, 0.5),
        large_galaxies=(0.2, 0.2),
        large_probability=1.0,
        half_light_radius=(8.0, 30.0),
        large_snr=(100.0, 2000.0),
        clustering=0.0,
        sky=(500.0, 500.0),
        read_noise=(5.0, 5.0),
        photon_counting_probability=0.0,
        gain=(1.0, 1.0),
        gradient=(15.0, 15.0),
        gradient_probability=1.0,
        nebulosity=(1.5, 1.5),
        nebulosity_probability=1.0,
        nebulosity_slope=(-3.0, -3.0),
        nebulosity_scale=(10.0, 10.0),
        depth_probability=0.0,
        correlation_probability=0.0,
        cosmic_rays=(150.0, 150.0),
        cosmic_ray_probability=1.0,
        hot_pixel_probability=0.0,
        column_probability=0.0,
        trail_probability=0.0,
        saturation_probability=0.0,
        no_data_probability=0.0,
    )
    composer = SceneComposer(build_stamp_bank(1, seed=_BANK_SEED), config)
    return composer.compose(1, size, torch.Generator().manual_seed(seed))


def _positions(catalog, *names):
    """Return the positions and scores of what has a position."""
    if catalog is None:
        return np.empty((3, 0))
    values = np.stack([np.asarray(getattr(catalog, name)) for name in names])
    return values[:, np.isfinite(values).all(axis=0)]


def _print_report(rows, paths):
    print('\nSources found in the simulated image, and false detections:\n')
    widths = [
        max(len(str(cell)) for cell in column) for column in zip(*rows, strict=True)
    ]
    for row in rows:
        first, *others = (
            str(cell).rjust(width) for cell, width in zip(row, widths, strict=True)
        )
        print('  '.join([first, *others]))
    print(
        '\nbgrem promises 5% of false detections. What lies on a source of S/N 1 to 2\n'
        'counts neither way; by chance, 20 px beside their places, so many would be\n'
        'true. photutils: Background2D, 1.5 sigma of the smoothed noise, 10 connected\n'
        'pixels, deblended, as in its user guide.\n'
    )
    for path in paths:
        print(path)
    print(
        f'\nNext, look at {paths[-1]}, and then take an image of your own:\n\n'
        '    bgrem subtract IMAGE.fits -o result.fits\n'
        '    bgrem plot result.fits -o result.png\n\n'
        "'bgrem subtract --help' shows what can be chosen."
    )
