"""What the commands of ``bgrem`` do, once their options are parsed."""

import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from astropy import units as u
from astropy.nddata import InverseVariance, StdDevUncertainty, VarianceUncertainty

from bgrem.files.io import read_error, read_image, read_mask
from bgrem.files.products import (
    CATALOG_ENDINGS,
    FITS_ENDINGS,
    check_output,
    product_provenance,
    write_catalog,
    write_products,
    write_regions,
)
from bgrem.weights import load_weights, shipped_weights

__all__ = ['demo', 'detect', 'info', 'plot', 'subtract']

PICTURE_ENDINGS = ('.png', '.pdf', '.svg', '.jpg')
_UNCERTAINTIES = {
    'std': StdDevUncertainty,
    'var': VarianceUncertainty,
    'ivar': InverseVariance,
}
_PACKAGES = ('bgrem', 'numpy', 'astropy', 'photutils', 'torch', 'galsim')


def subtract(options):
    """
    Run ``bgrem subtract``: a FITS image to a FITS file of products.

    Parameters
    ----------
    options : `argparse.Namespace`
        The options of the command.
    """
    inputs = _inputs(options)
    path = check_output(options.output, overwrite=options.overwrite, inputs=inputs)
    image, background = _make_background(options)
    segments, catalog = _find_sources(options, image, background)
    write_products(
        path, background, image, segments, catalog, overwrite=options.overwrite
    )
    _summary(options, background, segments, [path])


def detect(options):
    """
    Run ``bgrem detect``: a FITS image to a catalogue.

    Parameters
    ----------
    options : `argparse.Namespace`
        The options of the command.
    """
    common = {'overwrite': options.overwrite, 'inputs': _inputs(options)}
    paths = [check_output(options.output, endings=CATALOG_ENDINGS, **common)]
    if options.regions is not None:
        paths.append(check_output(options.regions, endings=('.reg',), **common))
    image, background = _make_background(options)
    segments, catalog = _find_sources(options, image, background)
    write_catalog(paths[0], catalog, background.meta, **common)
    if options.regions is not None:
        write_regions(paths[1], catalog, **common)
    _summary(options, background, segments, paths)


def plot(options):
    """
    Run ``bgrem plot``: a FITS image to a picture.

    Parameters
    ----------
    options : `argparse.Namespace`
        The options of the command.
    """
    path = check_output(
        options.output,
        overwrite=options.overwrite,
        inputs=_inputs(options),
        endings=PICTURE_ENDINGS,
    )
    from bgrem.plotting import save_plot

    image, background = _make_background(options)
    segments, _ = _find_sources(options, image, background, measure=False)
    save_plot(path, background, data=image.data, segmentation_image=segments)
    _summary(options, background, segments, [path])


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


def _inputs(options):
    paths = [options.input, options.mask, _split_hdu(options.error)[0]]
    return [path for path in paths if path]


def _split_hdu(text):
    """Return path and HDU of a text like in.fits[ERR]."""
    if text is None or not text.endswith(']'):
        return text, None
    path, _, hdu = text[:-1].rpartition('[')
    return path, hdu


def _make_background(options):
    image = read_image(options.input, options.hdu)
    mask = None
    if options.mask is not None:
        mask = read_mask(options.mask, options.mask_hdu)
    error = None
    if options.error is not None:
        error = read_error(*_split_hdu(options.error))
        error = _UNCERTAINTIES[options.error_type](error)
    # It imports torch, which takes seconds: bad files are reported before.
    from bgrem.background import DiffusionBackground

    background = DiffusionBackground(
        image.data if image.unit is None else image.data << image.unit,
        options.box_size,
        mask=mask,
        error=error,
        remove_stripes=options.remove_stripes,
        exclude_percentile=options.exclude_percentile,
        weights=options.weights,
        n_steps=options.n_steps,
        n_symmetries=options.n_symmetries,
        normalization=options.normalization,
        device=options.device,
        batch_size=options.batch_size,
        progress=not options.quiet,
    )
    return image, background


def _find_sources(options, image, background, *, measure=True):
    segments = background.detect(
        threshold=options.threshold, false_discovery_rate=options.false_discovery_rate
    )
    if segments is None or not measure:
        return segments, None
    return segments, background.catalog(segments, wcs=image.wcs)


def _summary(options, background, segments, paths):
    if options.quiet:
        return
    n_sources = 0 if segments is None else segments.n_labels
    sky = u.Quantity(background.background_median)
    noise = u.Quantity(background.background_rms_median)
    print(f'{n_sources} sources; median sky {sky:.6g}, noise {noise:.4g}')
    for path in paths:
        print(path)


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
