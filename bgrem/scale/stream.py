"""
Files of any size, processed in bands of rows.
"""

import hashlib
import json
import os
from contextlib import ExitStack, closing
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from bgrem._extras import import_extra
from bgrem.checks import check_count, check_flag, suggests_names
from bgrem.files.hdus import map_texts
from bgrem.files.opening import check_opens
from bgrem.files.products import (
    CATALOG_ENDINGS,
    FITS_ENDINGS,
    check_output,
    write_catalog,
)
from bgrem.files.rows import ZARR_ENDING, open_map, open_mask, open_rows
from bgrem.files.side_maps import ERROR_TYPES, parse_bits
from bgrem.scale.errors import ErrorRows
from bgrem.scale.image import StreamedImage
from bgrem.scale.options import CatalogOptions
from bgrem.scale.output import Output, publish
from bgrem.scale.work import Work

__all__ = ['detect_file', 'subtract_file']

#: The endings of the files that can be written row by row.
ENDINGS = (*(one for one in FITS_ENDINGS if not one.endswith('.gz')), ZARR_ENDING)


@suggests_names()
def subtract_file(
    input_path,
    output_path,
    *,
    hdu=None,
    plane=None,
    mask=None,
    mask_bits=None,
    error=None,
    error_type='std',
    weights='optical',
    n_steps=None,
    n_symmetries=1,
    device='auto',
    batch_size=None,
    catalog=True,
    threshold=None,
    false_discovery_rate=0.05,
    zero_point=None,
    aperture_correction=False,
    effective_gain=None,
    progress=False,
    overwrite=False,
):
    """
    Subtract the sky of an image of any size and measure its sources, file to file.

    Parameters
    ----------
    input_path : path-like
        The image: FITS (plain, tile-compressed, compressed as a whole, scaled), or a
        two-dimensional Zarr array (a folder whose name ends in ``.zarr``).
    output_path : path-like
        The file to write: FITS, or Zarr if its name ends in ``.zarr``. It has the
        extensions (arrays) SCI, BACKGROUND, BACKGROUND_RMS, SOURCE, PROBABILITY, SEGM
        and CATALOG as written by ``bgrem subtract``, with headers and WCS of the input.
        In Zarr, CATALOG is a group with one array per column.
    hdu : int or str, optional
        The number or name of an HDU (or an array of a Zarr group). Default: all images
        named SCI, else the first image and the other chips of its camera.
    plane : tuple of int, optional
        The plane of a cube.
    mask : path-like or tuple, optional
        A file like the input, or a file and one of its HDUs: nonzero at pixels that
        must not be used. Non-finite pixels are always masked.
    mask_bits : int or str, optional
        The bits of the mask that count, such as ``5``, ``'1,4'`` or ``'~4'`` (all
        others). Default: all; for data quality of JWST and Roman, only DO_NOT_USE.
    error : path-like or tuple, optional
        A file like the input, or a file and one of its HDUs: the total error of each
        pixel, as for `bgrem.DiffusionBackground`.
    error_type : {'std', 'var', 'ivar'}, optional
        Whether ``error`` holds standard deviations (default), variances or inverse
        variances.
    weights, n_steps, n_symmetries, device, batch_size
        As for `bgrem.DiffusionBackground`.
    catalog : bool, optional
        Whether to detect and measure the sources; if not, the output has neither SEGM
        nor CATALOG. Default `True`.
    threshold, false_discovery_rate, zero_point, aperture_correction
        As for `DiffusionBackground.catalog <bgrem.DiffusionBackground>`.
    effective_gain : float or str, optional
        As for ``DiffusionBackground.catalog``, or the header keyword that contains it.
    progress : bool or str, optional
        Whether to show progress bars. A string is prepended to their labels. Default
        `False`.
    overwrite : bool, optional
        Whether an existing output may be replaced. Default `False`.

    Returns
    -------
    meta : list of dict
        For each image of the input, how its maps were made, as in
        `DiffusionBackground.meta <bgrem.DiffusionBackground>`, with the medians of its
        sky (``background_median``) and of its noise (``background_rms_median``), the
        unit of both (``background_unit``, or `None`) and the number of its sources
        (``n_sources``).

    Raises
    ------
    FileExistsError, FileNotFoundError, ValueError
        If a file cannot be read or written, or a parameter is out of range.
    ImportError
        If a file of Zarr is read or written and zarr is not installed.

    Warns
    -----
    `~astropy.utils.exceptions.AstropyUserWarning`
        If an image can only be processed as a whole, in memory (see Notes), if a source
        extends beyond what is read around a block, or as by
        `DiffusionBackground.detect <bgrem.DiffusionBackground>`.

    Notes
    -----
    The result is that of ``DiffusionBackground(data, mask=mask)``: level, noise, tiles
    and boxes are those of the whole image, and so are the threshold, PSF and curve of
    growth of the catalog. The memory needed is that of a few hundred full rows and of
    the central 2048 x 2048 pixels, plus about 4 bytes for each pixel of the image and
    about a kilobyte for each source.

    A segment belongs to the block, of about a megapixel, in which it begins. It may
    extend into other blocks, and is measured once, together with its surroundings. If
    it comes close to the edge of the part that is read, a larger part is read, up to
    1024 pixels around the block.

    Intermediate results are kept beside the output, in a folder with the same name and
    ``.parts`` appended: about 14 bytes for each pixel (22 with errors), and the output
    itself. After an interruption, the same call continues the work: no finished tile or
    block is processed again. A call with other options or another input starts over.
    Only one process at a time can work on an output. The output appears when it is
    complete; the folder is then removed.

    Some images cannot be processed in bands: those with few counts per pixel, those
    whose noise is nearly as smooth as their sources (they are sharpened, see
    `bgrem.sky.sampling`), and all with weights for counts. They are read as a whole,
    with a warning.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> from bgrem import subtract_file
    >>> data = np.random.default_rng(1).normal(1000, 5, (100, 100))
    >>> with TemporaryDirectory() as folder:
    ...     fits.writeto(f'{folder}/in.fits', data)
    ...     (meta,) = subtract_file(
    ...         f'{folder}/in.fits', f'{folder}/out.fits', catalog=False
    ...     )
    ...     background = fits.getdata(f'{folder}/out.fits', 'BACKGROUND')
    >>> background.shape, round(meta['background_median'])
    ((100, 100), 1000)
    """
    _check_flags(overwrite=overwrite, aperture_correction=aperture_correction)
    beside = _Beside(
        _place('mask', mask), mask_bits, _place('error', error), error_type
    )
    for name, path in (('input_path', input_path), ('output_path', output_path)):
        _as_path(name, path)
    inputs = beside.files(input_path)
    check_opens(*inputs)
    output = _check_output(output_path, ENDINGS, overwrite=overwrite, inputs=inputs)
    measured = None
    if check_flag('catalog', catalog):
        measured = CatalogOptions(
            threshold,
            false_discovery_rate,
            beside.check_gain(effective_gain),
            zero_point,
            aperture_correction,
        )
    with _Run(
        output,
        input_path,
        beside,
        places=(hdu, plane),
        progress=progress,
        weights=weights,
        n_steps=n_steps,
        n_symmetries=n_symmetries,
        device=device,
        batch_size=batch_size,
    ) as run:
        path = run.work.folder / f'output{output.suffix}'
        made = Output(path, run.images(), measured, beside.texts, run.work)
        made.write()
        publish(path, output, overwrite=overwrite)
    return made.metas


@suggests_names()
def detect_file(
    input_path,
    output_path,
    *,
    hdu=None,
    plane=None,
    mask=None,
    mask_bits=None,
    error=None,
    error_type='std',
    weights='optical',
    n_steps=None,
    n_symmetries=1,
    device='auto',
    batch_size=None,
    threshold=None,
    false_discovery_rate=0.05,
    zero_point=None,
    aperture_correction=False,
    effective_gain=None,
    progress=False,
    overwrite=False,
):
    """
    Detect and measure the sources of an image of any size, file to file.

    Parameters
    ----------
    input_path : path-like
        As for `bgrem.subtract_file`.
    output_path : path-like
        The catalog to write: FITS, ECSV or CSV.
    hdu, plane, mask, mask_bits, error, error_type
        As for `bgrem.subtract_file`.
    weights, n_steps, n_symmetries, device, batch_size
        As for `bgrem.DiffusionBackground`.
    threshold, false_discovery_rate, zero_point, aperture_correction
        As for `DiffusionBackground.catalog <bgrem.DiffusionBackground>`.
    effective_gain : float or str, optional
        As for ``DiffusionBackground.catalog``, or the header keyword that contains it.
    progress, overwrite
        As for `bgrem.subtract_file`.

    Returns
    -------
    meta : list of dict
        As for `bgrem.subtract_file`.

    Raises
    ------
    FileExistsError, FileNotFoundError, ValueError
        If a file cannot be read or written, or a parameter is out of range.

    Warns
    -----
    `~astropy.utils.exceptions.AstropyUserWarning`
        As for `bgrem.subtract_file`.

    Notes
    -----
    Everything is as in `bgrem.subtract_file`, except that the maps are kept only while
    the catalog is made.

    Examples
    --------
    >>> from bgrem import detect_file
    >>> detect_file('mosaic.fits', 'catalog.fits', zero_point=25)  # doctest: +SKIP
    """
    _check_flags(overwrite=overwrite, aperture_correction=aperture_correction)
    beside = _Beside(
        _place('mask', mask), mask_bits, _place('error', error), error_type
    )
    for name, path in (('input_path', input_path), ('output_path', output_path)):
        _as_path(name, path)
    inputs = beside.files(input_path)
    check_opens(*inputs)
    output = _check_output(
        output_path, CATALOG_ENDINGS, overwrite=overwrite, inputs=inputs
    )
    measured = CatalogOptions(
        threshold,
        false_discovery_rate,
        beside.check_gain(effective_gain),
        zero_point,
        aperture_correction,
    )
    with _Run(
        output,
        input_path,
        beside,
        places=(hdu, plane),
        progress=progress,
        weights=weights,
        n_steps=n_steps,
        n_symmetries=n_symmetries,
        device=device,
        batch_size=batch_size,
    ) as run:
        path = run.work.folder / 'output.fits'
        made = Output(path, run.images(), measured, beside.texts, run.work)
        table = made.write()
        write_catalog(
            output, table, made.provenance, overwrite=overwrite, inputs=inputs
        )
    return made.metas


def _check_flags(**flags):
    for name, value in flags.items():
        check_flag(name, value)


def _as_path(name, path):
    """Return the path of a file."""
    if not isinstance(path, str | os.PathLike):
        hint = ': subtract_array takes arrays' if hasattr(path, '__array__') else ''
        msg = f'{name} must be the path of a file, got {type(path).__name__}{hint}'
        raise TypeError(msg)
    return path


def _place(name, path):
    """Return file and HDU of a map beside the image, or nothing."""
    if path is None:
        return ()
    if isinstance(path, tuple | list) and len(path) == 2:
        return _as_path(name, path[0]), path[1]
    return _as_path(name, path), None


class _Beside(NamedTuple):
    """What is beside an image."""

    mask: tuple
    mask_bits: object
    error: tuple
    error_type: str

    def files(self, path):
        """Return all files that are read for that of an image."""
        return (path, *self.mask[:1], *self.error[:1])

    @property
    def texts(self):
        """Where it is, by its name (dict of str)."""
        places = {'mask': self.mask, 'error': self.error}
        known = {name: place for name, place in places.items() if place}
        return map_texts(known, self.mask_bits, self.error_type)

    def check_gain(self, gain):
        """Return a gain, unless there is a total error, which has it already."""
        if self.error and gain is not None:
            msg = (
                'effective_gain must be None if the total error is given, which '
                'already includes the photon noise of the sources'
            )
            raise ValueError(msg)
        return gain


class _Run(ExitStack):
    """
    The work on a file, from its options to its images.

    The work is removed at the end of the block; after an error, only if it holds
    nothing that could be continued.
    """

    def __init__(self, output, path, beside, *, places, progress, weights, **options):
        from bgrem.weights import load_weights

        super().__init__()
        weights = load_weights(weights)
        if options['n_steps'] is not None:
            check_count('n_steps', options['n_steps'])
        else:
            options['n_steps'] = weights.n_steps
        self._options = {'weights': weights, **options}
        _check_options(**self._options)
        bits = beside.mask_bits
        if isinstance(bits, str):
            bits = parse_bits(bits)
        if beside.error_type not in ERROR_TYPES:
            kinds = ', '.join(ERROR_TYPES)
            msg = f'error_type must be one of {kinds}, got {beside.error_type!r}'
            raise ValueError(msg)
        self._path, self._beside, self._places = path, beside, places
        self._bits = bits
        known = [*places, beside.mask[1:], bits, beside.error[1:], beside.error_type]
        self.work = Work(output, _key(beside.files(path), known, self._options))
        self._bar = (
            progress if isinstance(progress, str) else ('' if progress else False)
        )

    def __exit__(self, kind, *details):
        super().__exit__(kind, *details)
        with closing(self.work) as work:
            if kind is None:
                work.remove()
            else:
                work.remove_if_nothing_is_done()

    def images(self):
        """
        Return the images (list of `bgrem.scale.image.StreamedImage`).
        """
        images, folder = [], self.work.folder
        for rows in open_rows(self._path, *self._places, folder=folder):
            self.enter_context(closing(rows))
            masked = errors = None
            if self._beside.mask:
                masked = self._open(rows, open_mask, 'mask', bits=self._bits)
            if self._beside.error:
                errors = ErrorRows(
                    self._open(rows, open_map, 'error'),
                    self._beside.error_type,
                    rows.image.unit,
                )
            images.append(
                StreamedImage(rows, masked, errors, self._options, self.work, self._bar)
            )
        return images

    def _open(self, rows, function, name, **options):
        """Open a map beside an image."""
        place = getattr(self._beside, name)
        found = function(*place, rows.image, folder=self.work.folder, **options)
        self.enter_context(closing(found))
        if found.shape != rows.shape:
            msg = (
                f'data and {name} must have the same shape, got {rows.shape} in HDU '
                f'{rows.image.hdu} and {found.shape}'
            )
            raise ValueError(msg)
        return found


def _check_options(weights, n_steps, n_symmetries, device, batch_size):  # noqa: ARG001
    from bgrem.denoise.run import check_symmetries, resolve_device

    check_symmetries(n_symmetries)
    resolve_device(device)
    if batch_size is not None:
        check_count('batch_size', batch_size)


def _check_output(path, endings, *, overwrite, inputs):
    """Refuse an output that cannot be written, before any work is done for it."""
    path = Path(path)
    own = path.resolve()
    for one in inputs:
        other = Path(one).resolve()
        if own in other.parents or other in own.parents:
            msg = f'output file {path} must not be in the input {one}, nor contain it'
            raise ValueError(msg)
        if own == other and path.is_dir():
            msg = f'output file {path} is the input file'
            raise ValueError(msg)
    is_zarr = path.suffix.lower() == ZARR_ENDING and ZARR_ENDING in endings
    if is_zarr:
        import_extra('zarr')
    if is_zarr and path.is_dir():
        if not overwrite:
            msg = f'output file {path} exists; allow it to be replaced, or name another'
            raise FileExistsError(msg)
        return path
    return check_output(path, overwrite=overwrite, inputs=inputs, endings=endings)


def _key(inputs, places, options):
    """Return what must be the same for work to be gone on with."""
    known = {name: value for name, value in options.items() if name != 'weights'}
    del known['batch_size']
    files = [
        [str(path), _state(path)]
        for path in (Path(one).resolve() for one in inputs)
        if path.exists()
    ]
    known |= {
        'version': version('bgrem'),
        'weights': options['weights'].sha256,
        'files': files,
        'hdus': places,
    }
    return json.dumps(known, default=str, sort_keys=True)


def _state(path):
    """Return what is another one once a file, or anything in a folder, has changed."""
    files = [path]
    if path.is_dir():  # of Zarr: a chunk that is written anew makes it no younger
        files = sorted(one for one in path.rglob('*') if one.is_file())
    states = [(one, one.stat()) for one in files]
    known = [f'{one}: {state.st_size} {state.st_mtime_ns}' for one, state in states]
    return hashlib.sha256('\n'.join(known).encode()).hexdigest()
