"""What the commands of ``bgrem`` do, once their options are parsed."""

import json
import platform
import sys
import warnings
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from astropy import units as u

from bgrem.checks import check_count
from bgrem.cli.inputs import output_paths, read_chips, with_unit
from bgrem.cli.process import EXPECTED_ERRORS, describe, say
from bgrem.files.cards import product_provenance
from bgrem.files.products import (
    CATALOG_ENDINGS,
    FITS_ENDINGS,
    Products,
    catalog_table,
    check_output,
    join_tables,
    write_catalog,
    write_products,
    write_regions,
)
from bgrem.weights import load_weights, shipped_weights

__all__ = ['demo', 'detect', 'info', 'plot', 'subtract']

PICTURE_ENDINGS = ('.png', '.pdf', '.svg', '.jpg')
_PACKAGES = ('bgrem', 'numpy', 'astropy', 'photutils', 'torch', 'galsim')


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
    return _run_files(options, _subtract, {'output': FITS_ENDINGS})


def _subtract(options, chips, paths, weights):
    counts = []

    def products():
        for chip in chips:
            one = _make_products(options, chip, weights)
            counts.append(_Count(one))
            yield one

    write_products(paths[0], products(), overwrite=options.overwrite)
    return counts, paths


def detect(options):
    """
    Run ``bgrem detect``: FITS images to catalogues.

    Parameters
    ----------
    options : `argparse.Namespace`
        The options of the command.

    Returns
    -------
    status : int
        1 if an image failed.
    """
    outputs = {'output': CATALOG_ENDINGS}
    if options.regions is not None:
        outputs['regions'] = ('.reg',)
    return _run_files(options, _detect, outputs)


def _detect(options, chips, paths, weights):
    # Pixels are those of one image: several have a file of regions each.
    regions = _number(options, paths[1], len(chips)) if len(paths) > 1 else []
    tables, counts, written = [], [], []
    for index, chip in enumerate(chips):
        one = _make_products(options, chip, weights)
        counts.append(_Count(one))
        tables.append((chip.image.hdu, catalog_table(one.catalog)))
        if regions:
            written.append((regions[index], one.catalog))
    write_catalog(
        paths[0],
        join_tables(tables),
        one.background.meta,
        overwrite=options.overwrite,
    )
    for path, catalog in written:
        write_regions(path, catalog, overwrite=options.overwrite)
    return counts, [paths[0], *regions]


def plot(options):
    """
    Run ``bgrem plot``: FITS images to pictures.

    Parameters
    ----------
    options : `argparse.Namespace`
        The options of the command.

    Returns
    -------
    status : int
        1 if an image failed.
    """
    return _run_files(options, _plot, {'output': PICTURE_ENDINGS})


def _plot(options, chips, paths, weights):
    from bgrem.plotting import save_plot

    pictures = _number(options, paths[0], len(chips))
    counts = []
    for chip, path in zip(chips, pictures, strict=True):
        one = _make_products(options, chip, weights, measure=False)
        save_plot(
            path,
            one.background,
            data=chip.image.data,
            segmentation_image=one.segmentation_image,
        )
        counts.append(_Count(one))
    return counts, pictures


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


def info(options):
    """
    Run ``bgrem info``: versions and weights, or the making of a file.

    Parameters
    ----------
    options : `argparse.Namespace`
        The options of the command.
    """
    if options.what is None:
        _print_environment()
    elif not options.what.lower().endswith((*FITS_ENDINGS, '.fz')):
        _print_weights(options.what)
    else:
        provenance = product_provenance(options.what)
        if not provenance:
            msg = f'file {options.what} was not made by bgrem'
            raise ValueError(msg)
        _print_pairs(provenance.items())


def _run_files(options, process, outputs):
    """Process one file after the other; say what failed, and go on."""
    _check_options(options)
    planned = output_paths(options, outputs)
    weights, n_failed = None, 0
    for path, paths in zip(options.input, planned, strict=True):
        with _warnings_of(path, named=len(planned) > 1):
            result = None
            chips = _attempt(path, read_chips, options, path)
            if chips is not None:
                # They take seconds: bad files are reported before. Without weights no
                # file can be processed, so that their errors end it all.
                weights = weights or _load_weights(options)
                result = _attempt(path, process, options, chips, paths, weights)
            if result is None:
                n_failed += 1
            else:
                _summary(options, path, *result)
    return min(n_failed, 1)


def _attempt(path, function, *args):
    """Call a function; where it fails for a good reason say so and return None."""
    try:
        return function(*args)
    except EXPECTED_ERRORS as exc:
        say(f'error: {describe(exc, path)}')
        return None


@contextmanager
def _warnings_of(path, *, named):
    """Give each file its own warnings, with its name where there are several."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_with_name(message, *args, **kwargs):
            text = str(message)
            if named and path not in text:
                message = f'{path}: {text}'
            show(message, *args, **kwargs)

        warnings.showwarning = show_with_name
        yield


def _check_options(options):
    """Refuse what would otherwise fail after the network has run."""
    from bgrem.detect.discovery import check_rate, check_threshold

    if options.threshold is None:
        check_rate(options.false_discovery_rate)
    else:
        check_threshold(options.threshold)
    if options.error is not None and options.weight is not None:
        msg = 'error and weight must not be given together'
        raise ValueError(msg)
    if options.error is not None and options.gain is not None:
        msg = (
            'gain must not be given with error, the total error, which has the photon '
            'noise of the sources already'
        )
        raise ValueError(msg)


def _load_weights(options):
    """Load the weights, and check how they are to be used."""
    from bgrem.denoise.run import check_symmetries, resolve_device

    weights = load_weights(options.weights)
    resolve_device(options.device)
    check_symmetries(options.n_symmetries)
    for name in ('n_steps', 'batch_size'):
        if getattr(options, name) is not None:
            check_count(name, getattr(options, name))
    return weights


def _make_background(options, data, weights, **maps):
    from bgrem.background import DiffusionBackground

    given = {}
    if options.exclude_percentile is not None:
        given['exclude_percentile'] = options.exclude_percentile
    return DiffusionBackground(
        data,
        options.box_size,
        **maps,
        remove_stripes=options.remove_stripes,
        weights=weights,
        n_steps=options.n_steps,
        n_symmetries=options.n_symmetries,
        normalization=options.normalization,
        device=options.device,
        batch_size=options.batch_size,
        progress=not options.quiet,
        **given,
    )


def _make_products(options, chip, weights, *, measure=True):
    background = _make_background(
        options, chip.data, weights, mask=chip.mask, error=chip.error
    )
    segments = background.detect(
        threshold=options.threshold, false_discovery_rate=options.false_discovery_rate
    )
    catalog = None
    if segments is not None and measure:
        fluxes = {'effective_gain': chip.gain}
        if chip.measured is not None:
            data = with_unit(chip.measured)
            fluxes['data'] = _make_background(options, data, weights)
        elif chip.weight is not None:
            fluxes = {'error': _scaled_error(background, chip)}
        catalog = background.catalog(
            segments,
            wcs=chip.image.wcs,
            zero_point=options.zero_point,
            aperture_correction=options.aperture_correction,
            **fluxes,
        )
    return Products(background, chip.image, segments, catalog)


def _scaled_error(background, chip):
    """Return the total error of weights that are known but for a factor."""
    rms = u.Quantity(background.background_rms).value
    known = chip.weight > 0
    if chip.mask is not None:
        known &= ~chip.mask
    root = np.sqrt(chip.weight)
    with np.errstate(divide='ignore'):
        error = np.median(rms[known] * root[known]) / root
    if chip.gain is not None:
        signal = np.nan_to_num(u.Quantity(background.subtract()).value)
        error = np.sqrt(error**2 + np.maximum(signal, 0) / chip.gain)
    return error


def _number(options, path, n_images):
    """Return a path for each of several images: a-1.png, a-2.png."""
    if n_images == 1:
        return [path]
    stem, ending = path.name.rsplit('.', 1)
    paths = [path.with_name(f'{stem}-{k + 1}.{ending}') for k in range(n_images)]
    for one in paths:
        check_output(one, overwrite=options.overwrite, endings=(one.suffix.lower(),))
    return paths


class _Count:
    """What the summary says of an image."""

    def __init__(self, products):
        background, segments = products.background, products.segmentation_image
        self.n_sources = 0 if segments is None else segments.n_labels
        self.sky = u.Quantity(background.background_median)
        self.noise = u.Quantity(background.background_rms_median)


def _summary(options, path, counts, paths):
    """Print one line for a file."""
    if options.quiet:
        return
    n_sources = sum(one.n_sources for one in counts)
    where = f' in {len(counts)} images' if len(counts) > 1 else ''
    unit = counts[0].sky.unit
    sky, noise = (
        np.median([getattr(one, name).to_value(unit) for one in counts]) * unit
        for name in ('sky', 'noise')
    )
    files = ', '.join(map(str, paths))
    print(
        f'{path}: {n_sources} sources{where}; median sky {sky:.6g}, noise {noise:.4g}; '
        f'{files}'
    )


def _print_pairs(pairs):
    pairs = list(pairs)
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        print(f'{name:<{width}}  {value}')


def _print_environment():
    versions = [('python', platform.python_version())]
    for package in _PACKAGES:
        try:
            versions.append((package, version(package)))
        except PackageNotFoundError:
            versions.append((package, 'not installed'))
    _print_pairs(versions)
    print(f'devices: {", ".join(_devices())}')
    print('weights:')
    for row in shipped_weights().values():
        print(f'  {row.name}: {row.description}')
        print(f'    {row.path.name}  sha256 {row.sha256}')


def _devices():
    import torch

    devices = [f'cpu ({torch.get_num_threads()} threads)']
    devices += [
        f'cuda:{i} ({torch.cuda.get_device_name(i)})'
        for i in range(torch.cuda.device_count())
    ]
    if torch.backends.mps.is_available():
        devices.append('mps')
    return devices


def _print_weights(name_or_path):
    weights = load_weights(name_or_path)
    header = weights.header
    training = header.pop('training', None)
    calibration = header.pop('calibration', None)
    header.pop('sha256_state', None)
    n_parameters = sum(p.numel() for p in weights.network().parameters())
    pairs = [('path', weights.path), ('sha256', weights.sha256)]
    pairs += [(name, json.dumps(value)) for name, value in header.items()]
    pairs.append(('n_parameters', n_parameters))
    knots = 0 if calibration is None else np.size(calibration['logit'])
    pairs.append(('calibration', f'{knots} knots' if knots else 'none'))
    _print_pairs(pairs)
    if training is not None:
        json.dump(training, sys.stdout, indent=2)
        print()
