"""
The output file of images of any size.
"""

import shutil
from contextlib import closing
from dataclasses import replace

import numpy as np

from bgrem.files.maps import MapsFile, ZarrMaps
from bgrem.files.products import join_tables
from bgrem.files.rows import ZARR_ENDING
from bgrem.files.side_maps import read_gain
from bgrem.scale.catalog import StreamedCatalog
from bgrem.scale.image import MAPS
from bgrem.scale.options import detect_whole
from bgrem.scale.parts import StoredMaps
from bgrem.sky.bands import split_rows

__all__ = ['Output', 'publish']

_CHUNK = 2**20  # pixels of a chunk of Zarr


class Output:
    """
    The maps, segments and catalog of all images on their way to a file.

    Parameters
    ----------
    path : `~pathlib.Path`
        The file, in the folder of the work.
    images : list of `bgrem.scale.image.StreamedImage`
        The images.
    options : `bgrem.scale.options.CatalogOptions` or `None`
        The options of detection and measurement; `None` for maps only.
    beside : dict
        The files that came with the images (mask, error, ...), by name.
    work : `bgrem.scale.work.Work`
        The parts that are finished.

    Attributes
    ----------
    metas : list of dict
        The list that `bgrem.subtract_file` returns, after all is written.
    """

    def __init__(self, path, images, options, beside, work):
        self._path, self._images, self._options = path, images, options
        self._work, self.metas = work, []
        self._asked = dict(beside)
        if options is not None:
            self._asked |= {**options.promise, 'zero_point': options.zero_point}
        gain = None if options is None else options.effective_gain
        self._gains = [
            None if gain is None else read_gain(gain, image.rows.image)
            for image in images
        ]

    def write(self):
        """
        Write everything.

        Returns
        -------
        table : `~astropy.table.Table` or `None`
            The catalog of all images, if one is made.
        """
        work, options = self._work, self._options
        # all inputs are there, and of the same shape
        work.remove_others()
        for image in self._images:
            image.measure()
        self.metas = [dict(image.meta) for image in self._images]
        is_new = not (self._path.exists() and self._written == self._contents)
        stored = [self._flat_maps(image) for image in self._images]
        if is_new:
            work.forget('written')
        with closing(self._open(is_new=is_new)) as file:
            if is_new:
                for image, flat_maps in zip(self._images, stored, strict=True):
                    image.write(file, *flat_maps)
                file.save()
                work.save('written', self._contents)
            for image in self._images:
                image.forget_sky()
            if options is None:
                return None
            tables = []
            for number, image in enumerate(self._images):
                maps = StoredMaps(file, image, *stored[number])

                def write(rows, labels, number=number):
                    file.write(number, rows, {'SEGM': labels.astype(np.int32)})

                table, meta = self._detect(maps, self._gains[number], write)
                if 'false_discovery' in meta:
                    found = {'false_discovery': meta['false_discovery']}
                    self.metas[number] |= found
                    file.add_history(number, found)
                self.metas[number]['n_sources'] = len(table)
                tables.append((image.rows.image.hdu, table))
            table = join_tables(tables)
            file.add_table(table, self.provenance)
        return table

    @property
    def _contents(self):
        """A string that identifies what the file contains besides pixels."""
        key = None if self._options is None else self._options.key
        paths = [str(image.rows.image.path) for image in self._images]
        return repr([key, self._asked, self.metas, paths])

    @property
    def _written(self):
        """The contents for which the file has all maps, or `None`."""
        return self._work.load('written') if self._work.has('written') else None

    def _flat_maps(self, image):
        """Return the flags of its pixels and, if it has some, its errors."""
        shape, maps = image.job.shape, []
        if image.errors is not None and image.whole is None:
            maps = [self._work.flat_map(f'errors-{image.name}', shape, image.job.dtype)]
        return self._work.flat_map(f'flags-{image.name}', shape, np.uint8), *maps

    def _detect(self, maps, gain, write):
        image, options = maps.image, replace(self._options, effective_gain=gain)
        if image.whole is None:
            return StreamedCatalog(maps, options, self._work).measure(write)
        table, labels, meta = detect_whole(image.whole, options, image.rows.image.wcs)
        write(slice(0, len(labels)), labels)
        return table, meta

    @property
    def provenance(self):
        """How the products were made."""
        return {**self.metas[0], **self._asked_of(0)}

    def _asked_of(self, number):
        gain = self._gains[number]
        return self._asked | ({} if gain is None else {'effective_gain': gain})

    def _open(self, *, is_new):
        records = []
        for image, meta in zip(self._images, self.metas, strict=True):
            dtypes = dict.fromkeys(MAPS, image.job.dtype)
            dtypes['PROBABILITY'] = np.dtype(np.float32)
            if self._options is not None:
                dtypes['SEGM'] = np.dtype(np.int32)
            known = {**meta, **self._asked_of(image.rows.image.number)}
            del known['background_unit']  # which the maps have
            records.append((image.rows, dtypes, known))
        if self._path.suffix.lower() != ZARR_ENDING:
            return MapsFile(self._path, records, is_new=is_new)
        if is_new:
            shutil.rmtree(self._path, ignore_errors=True)
        height = split_rows(self._images[0].job.shape)[0].stop
        chunks = height, max(_CHUNK // height, 1)
        return ZarrMaps(self._path, records, chunks, is_new=is_new)


def publish(path, output, *, overwrite):
    """
    Move a complete file to its final name.

    Parameters
    ----------
    path, output : `~pathlib.Path`
        The file, and its final name.
    overwrite : bool
        Whether a file of that name may be replaced.

    Raises
    ------
    FileExistsError
        If there is such a file and it must not be replaced.
    """
    if not overwrite and output.exists():
        msg = f'output file {output} has appeared in the meantime'
        raise FileExistsError(msg)
    if output.is_symlink():
        output.unlink()
    elif output.is_dir():
        shutil.rmtree(output)
    path.replace(output)
