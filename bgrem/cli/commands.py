"""What the commands of ``bgrem`` do, once their options are parsed."""

from bgrem._extras import import_extra
from bgrem.cli.info import info
from bgrem.cli.inputs import read_chips
from bgrem.cli.processing import process_files, stream_files
from bgrem.files.products import (
    CATALOG_ENDINGS,
    FITS_ENDINGS,
    catalog_table,
    check_output,
    join_tables,
    write_catalog,
    write_products,
    write_regions,
)
from bgrem.files.stored import read_products

__all__ = ['demo', 'detect', 'info', 'plot', 'subtract']

PICTURE_ENDINGS = ('.png', '.pdf', '.svg', '.jpg')


def subtract(options):
    """
    Run ``bgrem subtract``: FITS images to FITS files of products.

    Parameters
    ----------
    options : `argparse.Namespace`
        The options of the command.

    Returns
    -------
    status : int
        1 if an image failed.
    """
    if options.stream:
        from bgrem.scale.stream import ENDINGS, subtract_file

        return stream_files(options, subtract_file, ENDINGS)
    return process_files(options, _write_products, _outputs(options, FITS_ENDINGS))


def _outputs(options, endings):
    """Return the options for outputs that are given, with their endings."""
    regions = {} if options.regions is None else {'regions': ('.reg',)}
    return {'output': endings, **regions}


def _write_products(options, products, paths, n_images):
    regions = _number(options, paths[1], n_images) if len(paths) > 1 else []
    catalogs = []

    def keep_catalogs():
        for one in products:
            if regions:
                catalogs.append(one.catalog)
            yield one

    write_products(paths[0], keep_catalogs(), overwrite=options.overwrite)
    return [paths[0], *_write_regions(options, regions, catalogs)]


def _write_regions(options, paths, catalogs):
    # Pixels are those of one image: several have a file of regions each.
    for path, catalog in zip(paths, catalogs, strict=bool(paths)):
        write_regions(path, catalog, overwrite=options.overwrite)
    return paths


def detect(options):
    """
    Run ``bgrem detect``: FITS images to catalogs.

    Parameters
    ----------
    options : `argparse.Namespace`
        The options of the command.

    Returns
    -------
    status : int
        1 if an image failed.
    """
    if options.stream:
        from bgrem.scale.stream import detect_file

        return stream_files(options, detect_file, CATALOG_ENDINGS)
    return process_files(options, _write_catalogs, _outputs(options, CATALOG_ENDINGS))


def _write_catalogs(options, products, paths, n_images):
    regions = _number(options, paths[1], n_images) if len(paths) > 1 else []
    catalogs, tables = [], []
    for one in products:
        catalogs.append(one.catalog)
        tables.append((one.image.hdu, catalog_table(one.catalog)))
    write_catalog(
        paths[0], join_tables(tables), one.provenance, overwrite=options.overwrite
    )
    return [paths[0], *_write_regions(options, regions, catalogs)]


def plot(options):
    """
    Run ``bgrem plot``: FITS images, or products made from them, to pictures.

    Parameters
    ----------
    options : `argparse.Namespace`
        The options of the command.

    Returns
    -------
    status : int
        1 if an image failed.
    """
    endings = {'output': PICTURE_ENDINGS}
    return process_files(
        options, _write_pictures, endings, read=_read_to_plot, measure=False
    )


def _read_to_plot(options, path):
    """Return the products that a file holds, else its images."""
    stored = read_products(path) if options.hdu is None else []
    found = stored or read_chips(options, path)
    import_extra('matplotlib')  # before the network runs
    return found


def _write_pictures(options, products, paths, n_images):
    from bgrem.plotting import save_plot
    from bgrem.plotting.maps import describe

    pictures = _number(options, paths[0], n_images)
    for path, one in zip(pictures, products, strict=True):
        image, labels = one.image, one.labels
        name = image.path.name
        if n_images > 1:
            name = f'{name}, HDU {image.hdu}'
        known = one.provenance
        promise = {key: known.get(key) for key in ('threshold', 'false_discovery_rate')}
        title = describe(known, labels, name=name, **promise)
        save_plot(path, one.background, labels, wcs=image.wcs, title=title)
    return pictures


def _number(options, path, n_images):
    """Return a path for each of several images: a-1.png, a-2.png."""
    if n_images == 1:
        return [path]
    stem, ending = path.name.rsplit('.', 1)
    paths = [path.with_name(f'{stem}-{k + 1}.{ending}') for k in range(n_images)]
    for one in paths:
        check_output(one, overwrite=options.overwrite, endings=(one.suffix.lower(),))
    return paths


def demo(options):
    """
    Run ``bgrem demo``.

    Parameters
    ----------
    options : `argparse.Namespace`
        The options of the command.
    """
    from bgrem.cli.demo import run_demo

    run_demo(
        options.output,
        seed=options.seed,
        weights=options.weights,
        n_steps=options.n_steps,
        n_symmetries=options.n_symmetries,
        normalization=options.normalization,
        device=options.device,
        batch_size=options.batch_size,
        quiet=options.quiet,
    )
