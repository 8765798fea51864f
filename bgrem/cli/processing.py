"""
Process the files of a command one by one: read, separate, measure, summarize.
"""

import warnings
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from astropy import units as u

from bgrem.checks import check_count, check_finite, check_promise
from bgrem.cli.cluster import run_all
from bgrem.cli.inputs import (
    Chip,
    check_streamed,
    map_place,
    output_paths,
    place_texts,
    read_chips,
    with_unit,
)
from bgrem.cli.process import EXPECTED_ERRORS, describe, say, tell
from bgrem.files.products import Products
from bgrem.weights import load_weights

__all__ = ['process_files', 'stream_files']


def process_files(options, write, outputs, *, read=read_chips, measure=True):
    """
    Process the files one by one; report those that fail, and continue.

    Parameters
    ----------
    options : `argparse.Namespace`
        The options of the command.

    write : callable
        Called with the options, the `bgrem.files.products.Products` of each image, the
        paths of the outputs and the number of images; returns the paths that it wrote.

    outputs : dict of str to tuple of str
        The names of the output options, and the file extensions that each may have.

    read : callable, optional
        Called with the options and a file; returns its images (`bgrem.cli.inputs.Chip`)
        or products that already exist.

    measure : bool, optional
        Whether to make a catalog. Default `True`.

    Returns
    -------
    status : int
        1 if a file failed.

    Raises
    ------
    OSError, ValueError
        If an option or an output is refused, before any file is read.
    """
    _check_options(options)
    planned = output_paths(options, outputs)
    return run_all(options, planned, _Runner(options, write, read, measure=measure))


class _Runner:
    """
    What is done with each file; it says whether that went well.

    It can be sent to another machine.
    """

    def __init__(self, options, write, read, *, measure):
        self._options, self._write, self._read = options, write, read
        self._measure, self._weights = measure, None

    def __call__(self, number, path, paths):
        options, result = self._options, None
        with _warnings_of(path, named=len(options.input) > 1):
            chips = _attempt(path, self._read, options, path)
            if chips is not None:
                # They take seconds: bad files are reported before. Without weights no
                # file can be processed, so that their errors end it all.
                if isinstance(chips[0], Chip):
                    self._weights = self._weights or _load_weights(options)
                make = partial(
                    _make_products,
                    options,
                    weights=self._weights,
                    number=number,
                    measure=self._measure,
                )
                result = _attempt(
                    path, _process, options, chips, paths, self._write, make
                )
            if result is not None:
                _summary(options, path, *result)
        return result is not None


def _process(options, chips, paths, write, make):
    """Return what the summary says of each image, and the files that were written."""
    counts = []

    def products():
        for chip in chips:
            one = chip
            if isinstance(chip, Chip):
                one = make(chip)
            counts.append(_Count(one))
            yield one

    written = write(options, products(), paths, len(chips))
    return counts, written


class _Count:
    """What the summary says of an image."""

    def __init__(self, products):
        background, labels = products.background, products.labels
        self.n_sources = np.unique(labels[labels > 0]).size
        self.sky = u.Quantity(background.background_median)
        self.noise = u.Quantity(background.background_rms_median)


def stream_files(options, function, endings):
    """
    Process the files one by one, each in bands of rows.

    Parameters
    ----------
    options : `argparse.Namespace`
        The options of the command.

    function : callable
        `bgrem.subtract_file` or `bgrem.detect_file`.

    endings : tuple of str
        The file extensions that an output may have.

    Returns
    -------
    status : int
        1 if a file failed.

    Raises
    ------
    OSError, ValueError
        If an option or an output is refused, before any file is read.
    """
    check_streamed(options)
    _check_options(options)
    _load_weights(options)
    planned = output_paths(options, {'output': endings})
    return run_all(options, planned, partial(_stream_file, options, function))


def _stream_file(options, function, number, path, paths):
    """Process a file row by row; return whether that went well."""
    bars, n_files = not (options.quiet or options.scheduler), len(options.input)
    if bars and n_files > 1:
        bars = f'[{number + 1}/{n_files}] {Path(path).name}: '
    mask, error = (map_place(options, path, name) for name in ('mask', 'error'))
    with _warnings_of(path, named=len(options.input) > 1):
        metas = _attempt(
            path,
            partial(
                function,
                path,
                paths[0],
                hdu=options.hdu,
                plane=options.plane,
                mask=mask,
                mask_bits=options.dq_bits,
                error=error,
                error_type=options.error_type,
                threshold=options.threshold,
                false_discovery_rate=options.false_discovery_rate,
                effective_gain=options.gain,
                zero_point=options.zero_point,
                aperture_correction=options.aperture_correction,
                weights=options.weights,
                n_steps=options.n_steps,
                n_symmetries=options.n_symmetries,
                device=options.device,
                batch_size=options.batch_size,
                progress=bars,
                overwrite=options.overwrite,
            ),
        )
    if metas is not None and not options.quiet:
        unit = metas[0]['background_unit'] or u.dimensionless_unscaled
        sky, noise = (
            np.median([meta[name] for meta in metas]) * unit
            for name in ('background_median', 'background_rms_median')
        )
        n_sources = sum(meta['n_sources'] for meta in metas)
        tell(_sum_up(path, n_sources, len(metas), (sky, noise), paths))
    return metas is not None


def _bars(options, number, image, *more):
    """Return what stands before the names of progress bars; False for no bars."""
    if options.quiet or options.scheduler:
        return False
    n_files = len(options.input)
    parts = []
    if n_files > 1:
        parts.append(f'[{number + 1}/{n_files}] {image.path.name}')
    if image.n_images > 1:
        parts.append(f'HDU {image.hdu}')
    parts += more
    return f'{", ".join(parts)}: ' if parts else True


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
    check_promise(options.threshold, options.false_discovery_rate)
    if options.error is not None and options.weight is not None:
        msg = 'error and weight must not be given together'
        raise ValueError(msg)
    # of another image that is measured the error is not known
    has_error = options.error is not None and options.measure is None
    if has_error and options.gain is not None:
        msg = (
            'gain must not be given with error, the total error, which already '
            'includes the photon noise of the sources'
        )
        raise ValueError(msg)
    if options.zero_point is not None:
        check_finite('zero_point', options.zero_point)


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


def _make_background(options, data, weights, bars, **maps):
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
        progress=bars,
        **given,
    )


def _make_products(options, chip, weights, number, measure):
    from bgrem.detect.segments import no_segments

    bars = _bars(options, number, chip.image)
    background = _make_background(
        options,
        chip.data,
        weights,
        bars,
        mask=chip.mask,
        error=chip.error,
        exposure=chip.exposure,
    )
    asked = check_promise(options.threshold, options.false_discovery_rate)
    segments, catalog = background.detect(**asked), None
    if segments is None:
        segments = no_segments(chip.image.data.shape)
    asked |= place_texts(options, chip.image.path)
    if chip.gain is not None:
        asked['effective_gain'] = chip.gain
    if measure:
        fluxes = {'effective_gain': chip.gain}
        if chip.measured is not None:
            data = with_unit(chip.measured)
            bars = _bars(options, number, chip.image, 'image to measure')
            fluxes['data'] = _make_background(options, data, weights, bars)
        elif chip.weight is not None:
            fluxes = {'error': _scaled_error(background, chip)}
        catalog = background.catalog(
            segments,
            wcs=chip.image.wcs,
            zero_point=options.zero_point,
            aperture_correction=options.aperture_correction,
            **fluxes,
        )
    asked['zero_point'] = options.zero_point
    return Products(background, chip.image, segments, catalog, asked)


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


def _summary(options, path, counts, paths):
    """Print one line for a file."""
    if options.quiet:
        return
    n_sources = sum(one.n_sources for one in counts)
    unit = counts[0].sky.unit
    sky, noise = (
        np.median([getattr(one, name).to_value(unit) for one in counts]) * unit
        for name in ('sky', 'noise')
    )
    tell(_sum_up(path, n_sources, len(counts), (sky, noise), paths))


def _sum_up(path, n_sources, n_images, levels, paths):
    """Say in one line what was found in a file, and what was written."""
    where = f' in {n_images} images' if n_images > 1 else ''
    files = ', '.join(map(str, paths))
    sources = 'source' if n_sources == 1 else 'sources'
    return (
        f'{path}: {n_sources} {sources}{where}; median sky {levels[0]:.6g}, noise '
        f'{levels[1]:.4g}; {files}'
    )
