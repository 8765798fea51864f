"""
Files of any size, a band of rows after the other.
"""

import json
import shutil
import warnings
from contextlib import ExitStack, closing
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
from astropy.utils.exceptions import AstropyUserWarning
from tqdm.auto import tqdm

from bgrem.checks import check_count
from bgrem.files.products import FITS_ENDINGS, check_output
from bgrem.files.rows import ZARR_ENDING, MapsFile, ZarrMaps, open_mask, open_rows
from bgrem.pipeline import FINISH_MARGIN, describe
from bgrem.scale.steps import (
    Found,
    FoundMeasurement,
    Job,
    Sky,
    as_float,
    check_sampling,
    float_dtype,
    measure_hidden,
    normalize_rows,
    run_tiles,
)
from bgrem.scale.work import Work
from bgrem.sky.bands import NeedsWhole, measure, split_rows, widen
from bgrem.sky.blank import BlankMeasurement
from bgrem.sky.boxes import SkyMeasurement
from bgrem.sky.normalize import MARGIN, NormalizationMeasurement
from bgrem.sky.sampling import middle_of

__all__ = ['subtract_file']

#: The endings of the files that can be written row by row.
ENDINGS = (*(one for one in FITS_ENDINGS if not one.endswith('.gz')), ZARR_ENDING)
_CHUNK = 2**20  # pixels of a chunk of Zarr
_MAPS = ('SCI', 'BACKGROUND', 'BACKGROUND_RMS', 'SOURCE', 'PROBABILITY')


def subtract_file(
    input_path,
    output_path,
    *,
    hdu=None,
    plane=None,
    mask=None,
    weights='optical',
    n_steps=None,
    n_symmetries=1,
    device='auto',
    batch_size=None,
    progress=False,
    overwrite=False,
):
    """
    Subtract the sky of an image of any size, from file to file.

    Parameters
    ----------
    input_path : path-like
        The image: FITS (plain, tile-compressed, packed as a whole, scaled), or a
        two-dimensional array of Zarr (a folder that ends in ``.zarr``).
    output_path : path-like
        The file to make: FITS, or Zarr if it ends in ``.zarr``. It has the extensions
        (arrays) SCI, BACKGROUND, BACKGROUND_RMS, SOURCE and PROBABILITY as ``bgrem
        subtract`` writes them, with headers and WCS of the input.
    hdu : int or str, optional
        The number or name of one HDU (of an array of a Zarr group). Default: every
        image named SCI, else the first one and the other chips of its camera.
    plane : tuple of int, optional
        The plane of a cube.
    mask : path-like or tuple, optional
        A file like the input, or the file and an HDU of it: not zero at pixels that
        must not be used. Pixels that are not finite are masked anyhow.
    weights, n_steps, n_symmetries, device, batch_size
        As for `bgrem.DiffusionBackground`.
    progress : bool or str, optional
        Whether to show progress bars; a text is put before their names. Default
        `False`.
    overwrite : bool, optional
        Whether an existing output may be replaced. Default `False`.

    Returns
    -------
    meta : list of dict
        For each image of the input how its maps were made, as `DiffusionBackground.meta
        <bgrem.DiffusionBackground>`, with the medians of its sky
        (``background_median``) and of its noise (``background_rms_median``).

    Raises
    ------
    FileExistsError, FileNotFoundError, ValueError
        If a file cannot be read or written, or a parameter is out of range.

    Warns
    -----
    `~astropy.utils.exceptions.AstropyUserWarning`
        If an image can only be processed as a whole, in memory (see Notes).

    Notes
    -----
    The result is that of ``DiffusionBackground(data, mask=mask)``: level, noise, tiles
    and boxes are those of the whole image. Memory is that of a few hundred full rows,
    of the middle 2048 x 2048 pixels, and some 4 bytes for each pixel of the image.

    The work is kept beside the output, in a folder of its name with ``.parts`` at its
    end, about nine bytes for each pixel. Where it is interrupted, the same call goes on
    with it: no tile that is finished is run again. The output appears when it is whole;
    then the folder is removed.

    Some images cannot be told from their bands: those with few counts in a pixel,
    those that the network has to see in larger pixels (`bgrem.sky.sampling`), and all
    with weights of counts. They are read as a whole, with a warning.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> from bgrem import subtract_file
    >>> data = np.random.default_rng(1).normal(1000, 5, (100, 100))
    >>> with TemporaryDirectory() as folder:
    ...     fits.writeto(f'{folder}/in.fits', data)
    ...     (meta,) = subtract_file(f'{folder}/in.fits', f'{folder}/out.fits')
    ...     background = fits.getdata(f'{folder}/out.fits', 'BACKGROUND')
    >>> background.shape, round(meta['background_median'])
    ((100, 100), 1000)
    """
    from bgrem.weights import load_weights

    weights = load_weights(weights)
    if n_steps is not None:
        check_count('n_steps', n_steps)
    options = {
        'weights': weights,
        'n_steps': weights.n_steps if n_steps is None else n_steps,
        'n_symmetries': n_symmetries,
        'device': device,
        'batch_size': batch_size,
    }
    _check_options(**options)
    masks = (
        () if mask is None else (mask, None) if isinstance(mask, str | Path) else mask
    )
    inputs = (input_path, *masks[:1])
    output = _check_output(output_path, overwrite=overwrite, inputs=inputs)
    work = Work(output, _key(inputs, hdu, plane, masks[1:], options))
    bar = progress if isinstance(progress, str) else ('' if progress else False)
    try:
        with ExitStack() as files:
            images = []
            for rows in open_rows(input_path, hdu, plane, folder=work.folder):
                files.enter_context(closing(rows))
                masked = None
                if masks:
                    masked = open_mask(*masks, rows.image, folder=work.folder)
                    files.enter_context(closing(masked))
                    _check_shape(rows, masked)
                images.append(_Image(rows, masked, options, work, bar))
            for image in images:
                image.measure()
            _write(output, images, work, overwrite=overwrite)
            return [image.meta for image in images]
    except BaseException:
        work.remove_if_nothing_is_done()
        raise


def _check_options(weights, n_steps, n_symmetries, device, batch_size):  # noqa: ARG001
    from bgrem.denoise.run import check_symmetries, resolve_device

    check_symmetries(n_symmetries)
    resolve_device(device)
    if batch_size is not None:
        check_count('batch_size', batch_size)


def _check_shape(rows, masked):
    if masked.shape != rows.shape:
        msg = (
            f'data and mask must have the same shape, got {rows.shape} in HDU '
            f'{rows.image.hdu} and {masked.shape}'
        )
        raise ValueError(msg)


def _check_output(path, *, overwrite, inputs):
    """Refuse an output that cannot be written, before any work is done for it."""
    path = Path(path)
    if path.suffix.lower() == ZARR_ENDING and path.is_dir():
        if not overwrite:
            msg = f'output file {path} exists; allow it to be replaced, or name another'
            raise FileExistsError(msg)
        if path.resolve() in [Path(one).resolve() for one in inputs]:
            msg = f'output file {path} is the input file'
            raise ValueError(msg)
        return path
    return check_output(path, overwrite=overwrite, inputs=inputs, endings=ENDINGS)


def _key(inputs, hdu, plane, mask_hdu, options):
    """Return what must be the same for work to be gone on with."""
    known = {name: value for name, value in options.items() if name != 'weights'}
    del known['batch_size']
    files = []
    for path in map(Path, inputs):
        if path.exists():
            state = path.stat()
            files.append([str(path.resolve()), state.st_size, state.st_mtime_ns])
    known |= {
        'version': version('bgrem'),
        'weights': options['weights'].sha256,
        'files': files,
        'hdus': [hdu, plane, mask_hdu],
    }
    return json.dumps(known, default=str, sort_keys=True)


class _Image:
    """One image of a file, and what is known of it."""

    def __init__(self, rows, masked, options, work, bar):
        self.rows, self._masked, self._work, self._bar = rows, masked, work, bar
        self._options = options
        self._name = f'{rows.image.number}'
        self.job = Job(rows.shape, float_dtype(rows.dtype), **options)
        self.whole = None

    def measure(self):
        """Go through all steps but the last, or all at once where that is needed."""
        try:
            if self.job.weights.is_for_counts:
                msg = 'it is a map of counts'
                raise NeedsWhole(msg)
            self._run_network()
            self._check()
            self.sky  # noqa: B018
        except NeedsWhole as exc:
            image = self.rows.image
            msg = (
                f'{image.path}, HDU {image.hdu}, is processed as a whole, in memory: '
                f'{exc}'
            )
            warnings.warn(msg, AstropyUserWarning, stacklevel=3)
            self.whole = self._as_whole()

    def _as_whole(self):
        from bgrem.background import DiffusionBackground

        everything = slice(0, self.job.shape[0])
        mask = None if self._masked is None else self._masked[everything] != 0
        return DiffusionBackground(
            self.rows[everything],
            mask=mask,
            progress=self._bar if self._bar is False else (self._bar or True),
            **self._options,
        )

    def _kept(self, name, measure):
        """Return what was measured already, or measure it."""
        name = f'{name}-{self._name}'
        if not self._work.has(name):
            self._work.save(name, measure())
        return self._work.load(name)

    def _measured(self, measurement, read, what):
        """Go through a measurement, with a progress bar."""
        with self._progress(what, None) as bar:

            def read_on(rows):
                bar.update()
                return read(rows)

            return measure(measurement, read_on)

    def _progress(self, what, total, unit='band', initial=0):
        return tqdm(
            total=total,
            desc=f'{self._bar or ""}{what}',
            unit=unit,
            leave=False,
            initial=initial,
            disable=self._bar is False,
        )

    def _read(self, rows):
        mask = None if self._masked is None else self._masked[rows]
        return as_float(self.rows[rows], mask)

    @cached_property
    def layout(self):
        """Its tiles."""
        return self.job.layout

    @cached_property
    def hidden(self):
        """What hides its pixels."""
        return self._kept(
            'hidden',
            lambda: measure_hidden(
                self._measured(
                    BlankMeasurement(self.job.shape), self._read, 'unusable pixels'
                )
            ),
        )

    def _read_hidden(self, rows):
        wider = widen(rows, self.hidden.margin, self.job.shape[0])
        inner = slice(rows.start - wider.start, rows.stop - wider.start)
        return [one[inner] for one in self.hidden.apply(*self._read(wider))]

    @cached_property
    def maps(self):
        """Its level and noise."""
        measurement = NormalizationMeasurement(self.job.shape, self.job.dtype)
        return self._kept(
            'maps',
            lambda: (
                self._measured(measurement, self._read_hidden, 'level and noise').result
            ),
        )

    def _run_network(self):
        """Run the network on all rows of tiles that are not finished."""
        layout = self.layout
        n_rows, n_columns = len(layout.y_starts), len(layout.x_starts)
        todo = [k for k in range(n_rows) if not self._work.has(self._tiles(k))]
        done = (n_rows - len(todo)) * n_columns
        with self._progress('sources', len(layout), 'tile', done) as bar:
            for row in todo:
                part, place = layout.part(slice(row, row + 1))
                wider = widen(place[0], self.maps.margin + MARGIN, self.job.shape[0])
                data, hidden = self._read_hidden(wider)
                image = normalize_rows(
                    self.job, self.maps, place[0], data, hidden, wider.start
                )
                found = run_tiles(self.job, image, part)
                self._work.save_maps(
                    self._tiles(row), [one for one in found if one is not None]
                )
                bar.update(n_columns)

    def _tiles(self, row):
        return f'tiles-{self._name}-{row}'

    def _blended(self, rows):
        """Return what the network found in some rows."""
        layout, total = self.layout, None
        for row in range(len(layout.y_starts)):
            _, (covered, _) = layout.part(slice(row, row + 1))
            both = slice(max(covered.start, rows.start), min(covered.stop, rows.stop))
            if both.start >= both.stop:
                continue
            shape = covered.stop - covered.start, self.job.shape[1]
            inner = slice(both.start - covered.start, both.stop - covered.start)
            maps = self._work.load_maps(self._tiles(row), shape, inner)
            if total is None:
                shape = rows.stop - rows.start, self.job.shape[1]
                total = [np.zeros(shape, np.float32) for _ in maps]
            place = slice(both.start - rows.start, both.stop - rows.start)
            for one, values in zip(total, maps, strict=True):
                one[place] += values
        return total if len(total) == 2 else (*total, None)

    def found(self, rows):
        """Return what was found in some rows (`Found`)."""
        near = widen(rows, FINISH_MARGIN, self.job.shape[0])
        wider = widen(near, self.maps.margin + MARGIN, self.job.shape[0])
        data, hidden = self._read_hidden(wider)
        blended = self._blended(near)
        return Found(self.job, self.maps, rows, data, hidden, wider.start, blended)

    def _check(self):
        """Raise an error where the image has to be seen in another way."""
        self._kept('check', self._measure_found)

    def _measure_found(self):
        def read(rows):
            one = self.found(rows)
            return one.data, one.hidden, one.noise, one.source, one.probability

        known = self._measured(
            FoundMeasurement(self.job.shape), read, 'widths of sources'
        )
        rows, columns = middle_of(self.job.shape)
        data, hidden = self._read_hidden(slice(*rows.indices(self.job.shape[0])[:2]))
        check_sampling(known, data[:, columns], hidden[:, columns])
        return known.bounds

    @cached_property
    def sky(self):
        """Its sky."""

        def read(rows):
            one = self.found(rows)
            with np.errstate(invalid='ignore'):
                return one.data - one.source, ~one.hidden, one.noise, one.source

        sky = self._kept(
            'sky',
            lambda: self._measured(SkyMeasurement(self.job.shape), read, 'sky'),
        )
        bounds = self._work.load(f'check-{self._name}')
        return Sky(self.job, sky, self.hidden.unit, bounds)

    @property
    def meta(self):
        """How its maps were made."""
        if self.whole is not None:
            median, noise = (
                float(np.median(one))
                for one in (self.whole.background_mesh, self.whole.background_rms_mesh)
            )
            meta = self.whole.meta
        else:
            from bgrem.denoise.run import resolve_device

            job, sky = self.job, self.sky
            meta = {
                **describe(
                    job.weights,
                    'local',
                    n_steps=job.n_steps,
                    n_symmetries=job.n_symmetries,
                    device=resolve_device(job.device),
                ),
                'remove_stripes': False,
                'boxes': 'auto',
                'box_size': (sky.box_size,) * 2,
                'filter_size': (1, 1),
            }
            median, noise = sky.median, sky.noise
        return {**meta, 'background_median': median, 'background_rms_median': noise}

    def products(self, rows):
        """Return all maps in some rows, by name."""
        if self.whole is not None:
            whole = self.whole
            maps = (
                whole.subtract(),
                whole.background,
                whole.background_rms,
                whole.source,
                whole.detection_probability,
            )
            return dict(zip(_MAPS, [one[rows] for one in maps], strict=True))
        found = self.found(rows)
        level, noise = self.sky.maps(rows)
        data, _ = self._read(rows)
        unit = self.job.dtype.type(self.hidden.unit)
        maps = data - level, level, noise, found.source * unit, found.probability
        return dict(zip(_MAPS, maps, strict=True))


def _write(output, images, work, *, overwrite):
    """Write the maps of all images, and let them appear at once."""
    records = []
    for image in images:
        dtypes = dict.fromkeys(_MAPS, image.job.dtype)
        dtypes['PROBABILITY'] = np.dtype(np.float32)
        meta = {k: v for k, v in image.meta.items() if not k.startswith('background_')}
        records.append((image.rows, dtypes, meta))
    temporary = work.folder / f'output{output.suffix}'
    if output.suffix.lower() == ZARR_ENDING:
        shutil.rmtree(temporary, ignore_errors=True)
        bands = split_rows(images[0].job.shape)
        height = bands[0].stop
        chunks = height, max(_CHUNK // height, 1)
        file = ZarrMaps(temporary, records, chunks)
    else:
        file = MapsFile(temporary, records)
    with closing(file):
        for number, image in enumerate(images):
            bands = split_rows(image.job.shape)
            if image.whole is not None:
                bands = [slice(0, image.job.shape[0])]
            with image._progress('writing', len(bands)) as bar:
                for rows in bands:
                    file.write(number, rows, image.products(rows))
                    bar.update()
    if not overwrite and output.exists():
        msg = f'output file {output} has appeared meanwhile'
        raise FileExistsError(msg)
    if output.is_dir():
        shutil.rmtree(output)
    temporary.replace(output)
    work.remove()
