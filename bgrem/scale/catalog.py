"""
The segments and the catalog of an image whose maps are in a file, block by block.

Each source belongs to the block in which its segment begins. It is measured there,
together with as much of its surroundings as needed. What belongs to the image as a
whole, the threshold and the width of its stars, is determined first.
"""

import math
import warnings
from functools import cached_property, partial
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
from astropy.table import vstack
from astropy.utils.exceptions import AstropyUserWarning
from photutils.utils.exceptions import NoDetectionsWarning
from scipy import ndimage

from bgrem.detect.catalog import catalog
from bgrem.detect.discovery import SURE, source_width
from bgrem.detect.footprints import correlated_noise
from bgrem.detect.growth import N_RADII, growth_of, star_curves
from bgrem.detect.hierarchy import star_width, touching
from bgrem.detect.peaks import find_peaks, peak_widths
from bgrem.detect.places import Sources, WholeImage
from bgrem.detect.positions import noise_around, typical_width
from bgrem.files.products import catalog_table
from bgrem.scale.image import HIDDEN
from bgrem.scale.parts import Part, StreamedDetections
from bgrem.sky.bands import split_rows, widen
from bgrem.sky.units import in_unit
from bgrem.sky.windows import middle_of

__all__ = ['StreamedCatalog', 'split_blocks']

_BLOCK = 1024  # pixels, the side of a block
# Around a block so much is seen with it, and twice as much, up to the last, where a
# segment that begins in it comes near the edge of that, or touches one that does.
_MARGIN, _MOST_MARGIN = 128, 1024
_NEAR = 16
_PEAK_MARGIN = 16  # no plateau of the probability is wider
# Around segments so much is seen when they are measured, or as much as they are long.
_AROUND = 64
_MIDDLE = 1024  # pixels, the side of the part in which the noise is looked at
# The columns that count pixels along x and y.
_ALONG = {
    name: axis
    for axis, names in enumerate(('y y_centroid', 'x x_centroid'))
    for name in names.split()
} | {f'bbox_{name}': int(name[0] == 'x') for name in ('xmin', 'xmax', 'ymin', 'ymax')}


class _Segments(NamedTuple):
    """The segments that begin in a block."""

    first: np.ndarray  # place of the first pixel in the flat image
    box: np.ndarray  # first row and column, last but one row and column
    core_fwhm: np.ndarray
    probability: np.ndarray
    is_cut: bool  # whether one is larger than what was seen


class StreamedCatalog:
    """
    The segments and the catalog of an image, made block by block.

    Parameters
    ----------
    maps : `bgrem.scale.parts.StoredMaps`
        The maps of the image.
    options : `bgrem.scale.options.CatalogOptions`
        The options of detection and measurement.
    work : `bgrem.scale.work.Work`
        The parts that are finished.
    """

    def __init__(self, maps, options, work):
        self._maps, self._options = maps, options
        self._blocks = split_blocks(maps.shape)
        # of each segment the place in the flat image where it begins, from 1
        is_large = math.prod(maps.shape) > np.iinfo(np.int32).max
        self._labels = work.flat_map(
            f'labels-{maps.image.name}-{options.key}',
            maps.shape,
            np.int64 if is_large else np.int32,
        )

    def measure(self, write):
        """
        Detect and measure all sources.

        Parameters
        ----------
        write : callable
            Called with rows (a slice) and the segments in them.

        Returns
        -------
        table : `~astropy.table.QTable`
            The catalog, as from `bgrem.files.products.catalog_table`.
        meta : dict
            What the image says about its false discovery rate.
        """
        _, check = self._threshold
        tables, bands = self._tables(), split_rows(self._maps.shape)
        if not tables:
            msg = 'No sources were found.'
            warnings.warn(msg, NoDetectionsWarning, stacklevel=4)
            tables = [self._no_rows()]
        table = vstack(tables, metadata_conflicts='silent')
        table.sort('label')
        known = np.array(table['label'])
        table['label'] = np.arange(1, len(table) + 1, dtype=np.int32)
        with self._maps.image.progress('segments to file', len(bands)) as bar:
            for rows in bands:
                values = self._labels[rows, :]
                write(rows, np.searchsorted(known, values, side='right'))
                bar.update()
        return table, {'false_discovery': check} if check else {}

    def _each(self, what, measure):
        """Return what is measured in each block, or was."""
        image, results = self._maps.image, []
        with image.progress(what, len(self._blocks), 'block') as bar:
            for number, block in enumerate(self._blocks):
                name = f'{what}-{self._options.key}-{number}'
                results.append(image.kept(name, partial(measure, number, block)))
                bar.update()
        return results

    @cached_property
    def _detections(self):
        return StreamedDetections(self._maps, lambda: self._peaks[:2])

    @cached_property
    def _threshold(self):
        """The threshold, and what the image says about its promise."""
        options = self._options
        return self._maps.image.kept(
            f'threshold-{options.key}',
            lambda: self._detections.choose_threshold(
                options.threshold, options.false_discovery_rate
            ),
        )

    @cached_property
    def _star_width(self):
        probability, _, widths = self._peaks
        found = probability >= self._threshold[0]
        return star_width(widths[found], probability[found])

    @cached_property
    def _covariance(self):
        """That of the noise, as in memory."""
        probability, _, widths = self._peaks
        width = star_width(widths, probability)
        return correlated_noise(**self._middle.noise_inputs(), width=width)

    @property
    def _middle(self):
        """The part in which the noise is looked at."""
        middle = middle_of(self._maps.shape, _MIDDLE)
        return Part(self._maps, _widen(middle, _MARGIN, self._maps.shape))

    @cached_property
    def _peaks(self):
        """Probabilities of peaks; widths, in the noise of the residual and the rms."""
        noise = None
        if self._options.threshold is None:
            noise = self._detections.noise
        found = self._each('peaks', partial(self._find_peaks, noise))
        return [np.concatenate(values) for values in zip(*found, strict=True)]

    def _find_peaks(self, noise, _, block):
        maps, binning = self._maps, self._maps.image.binning
        squares = tuple(
            slice(side.start // binning, -(-side.stop // binning))
            for side in _widen(block, _PEAK_MARGIN, maps.shape)
        )
        place = maps.place_of(squares)
        hidden = maps.flags[place] & HIDDEN > 0
        peaks = find_peaks(maps.read('PROBABILITY', place), hidden)
        first = [side.start for side in place]
        peaks = peaks[_is_inside(peaks['y'] + first[0], peaks['x'] + first[1], block)]
        sure = peaks['probability'] >= SURE
        y, x = peaks['y'][sure], peaks['x'][sure]
        source, rms = (
            in_unit(maps.read(name, place), maps.image.unit)
            for name in ('SOURCE', 'BACKGROUND_RMS')
        )
        widths = np.full((2, peaks.size), np.nan)
        widths[1, sure] = peak_widths(source, rms, y, x)
        if noise is not None and noise.typical is not None:
            source, _ = maps.read_squares(['SOURCE'], place)
            scale = noise.part(squares, maps.shape_in_squares)
            y, x = (((one + 0.5) / binning).astype(int) for one in (y, x))
            widths[0, sure] = peak_widths(source, scale, y, x)
        return peaks['probability'], *widths

    @cached_property
    def _segments(self):
        """The segments of all blocks, in the order of their numbers (`_Segments`)."""
        whole = self._star_width, self._covariance
        found = self._each('segments', partial(self._find_segments, whole))
        if any(one.is_cut for one in found):
            image = self._maps.image.rows.image
            msg = (
                f'{image.path}, HDU {image.hdu}, has sources of more than '
                f'{_MOST_MARGIN} pixels: they are cut'
            )
            warnings.warn(msg, AstropyUserWarning, stacklevel=4)
        return found

    def _find_segments(self, whole, _, block):
        threshold, check = self._threshold
        margin = _MARGIN
        while True:
            place = _widen(block, margin, self._maps.shape)
            part = Part(self._maps, place, *whole, check)
            labels = part.find_segments(threshold)
            own, first, is_cut = self._own(labels, part.source, block, place)
            if not is_cut or margin >= _MOST_MARGIN:
                break
            margin *= 2
        if not own.any():
            return _Segments(*np.zeros((4, 0), np.int64), is_cut=False)
        self._keep(labels, own, first, place)
        corners = [
            [side.start + edge.start for side, edge in zip(box, place, strict=True)]
            + [side.stop + edge.start for side, edge in zip(box, place, strict=True)]
            for box, is_own in zip(ndimage.find_objects(labels), own, strict=True)
            if is_own
        ]
        cores = _sources(part.inputs(labels)).cores
        return _Segments(
            first[own],
            np.array(corners),
            cores.fwhm[own],
            cores.probability[own],
            is_cut,
        )

    def _own(self, labels, source, block, place):
        """
        Return which segments of a part begin in a block, where all begin in the flat
        image, and whether something of the block is to be seen in a larger part.
        """
        height, width = self._maps.shape
        pixel = np.flatnonzero(labels)
        first = np.zeros(labels.max() + 1, dtype=np.int64)
        first[labels.ravel()[pixel[::-1]]] = pixel[::-1]
        y, x = np.divmod(first[1:], labels.shape[1])
        y, x = y + place[0].start, x + place[1].start
        own = _is_inside(y, x, block)
        near = np.zeros(labels.max() + 1, dtype=bool)
        for axis, n in enumerate((height, width)):
            sides = np.moveaxis(labels, axis, 0)
            if place[axis].start > 0:
                near[sides[:_NEAR]] = True
            if place[axis].stop < n:
                near[sides[-_NEAR:]] = True
        here, there, _ = touching(labels, source)
        beside = near.copy()
        beside[here[near[there]]] = True
        return own, y * width + x, bool(beside[1:][own].any())

    def _keep(self, labels, own, first, place):
        """Write the segments of a block, where there is none yet."""
        value = np.zeros(labels.max() + 1, dtype=np.int64)
        value[1:][own] = first[own] + 1
        values = value[labels]
        known = self._labels[place]
        self._labels[place] = np.where(known == 0, values, known)

    @cached_property
    def _whole(self):
        """What is known of the whole image (`bgrem.detect.places.WholeImage`)."""
        fwhm, probability = (
            np.concatenate([getattr(one, name) for one in self._segments])
            for name in ('core_fwhm', 'probability')
        )
        width = typical_width(fwhm, probability)
        covariance = noise_around(**self._middle.noise_inputs(), width=width)
        whole = WholeImage(width, covariance)
        star = source_width(fwhm, probability)
        if np.isnan(star):
            return whole._replace(growth=(np.empty(0), np.empty(0)))
        found = self._each('stars', partial(self._find_stars, whole, star))
        snr, curves = (np.concatenate(values) for values in zip(*found, strict=True))
        return whole._replace(growth=growth_of(star, snr, curves))

    def _find_stars(self, whole, width, number, _):
        found = self._part(number)
        if found is None:
            return np.empty(0), np.empty((0, N_RADII))
        inputs, own = found[:2]
        sources = _sources(inputs, whole)
        segments = inputs['segmentation_image']
        return star_curves(sources.source, segments, sources.catalog(), width, own)

    def _part(self, number):
        """Return what the sources of a block are measured in, and which they are."""
        found, shape = self._segments[number], self._maps.shape
        if found.first.size == 0:
            return None
        low, high = found.box[:, :2], found.box[:, 2:]
        around = np.maximum(np.max(high - low, axis=1, keepdims=True), _AROUND)
        start, stop = (low - around).min(axis=0), (high + around).max(axis=0)
        most = _widen(self._blocks[number], _MOST_MARGIN, shape)
        place = tuple(
            slice(int(max(a, side.start)), int(min(b, side.stop)))
            for a, b, side in zip(start, stop, most, strict=True)
        )
        values = self._labels[place]
        inside = values > 0
        known, label = np.unique(values[inside], return_inverse=True)
        labels = np.zeros(values.shape, dtype=np.int32)
        labels[inside] = label + 1
        part = Part(self._maps, place, check=self._threshold[1])
        inputs = part.inputs(labels, **self._options.fluxes)
        return inputs, np.isin(known, found.first + 1), known, place

    def _tables(self):
        """Return the catalogs of the blocks."""
        if not any(one.first.size for one in self._segments):
            return []
        whole = self._whole
        found = self._each('catalog', partial(self._measure, whole))
        return [one for one in found if one is not None]

    def _measure(self, whole, block_number, _):
        found = self._part(block_number)
        if found is None:
            return None
        inputs, own, number, place = found
        table = self._table(inputs, whole)[own]
        for name, axis in _ALONG.items():
            if name in table.colnames:
                table[name] += place[axis].start
        table['label'] = number[own]
        return table

    def _table(self, inputs, whole=None):
        correction = self._options.aperture_correction
        return catalog_table(
            catalog(**inputs, aperture_correction=correction, whole=whole)
        )

    def _no_rows(self):
        """Return the catalog of no source, with the columns of any other."""
        middle = middle_of(self._maps.shape, _MARGIN)
        part = Part(self._maps, middle, check=self._threshold[1])
        nothing = np.zeros(part.source.shape, dtype=np.int32)
        return self._table(part.inputs(nothing, **self._options.fluxes))


def _sources(inputs, whole=None):
    """Return the places of sources that a catalog would measure."""
    names = (
        'data',
        'segmentation_image',
        'source',
        'probability',
        'background_rms',
        'error',
        'effective_gain',
        'mask',
    )
    return Sources(**{name: inputs[name] for name in names}, whole=whole, options={})


def split_blocks(shape):
    """
    Divide an image into blocks.

    Parameters
    ----------
    shape : tuple of 2 int
        The shape of the image.

    Returns
    -------
    blocks : list of tuple of slice
        Blocks of about a megapixel, row by row.
    """
    edges = [
        np.linspace(0, n, max(round(n / _BLOCK), 1) + 1).astype(int).tolist()
        for n in shape
    ]
    rows, columns = ([slice(*pair) for pair in pairwise(one)] for one in edges)
    return list(product(rows, columns))


def _widen(block, margin, shape):
    """Return a block and what is around it, as far as there is anything."""
    return tuple(widen(side, margin, n) for side, n in zip(block, shape, strict=True))


def _is_inside(y, x, block):
    """Return which pixels are in a block."""
    rows, columns = block
    return (
        (y >= rows.start) & (y < rows.stop) & (x >= columns.start) & (x < columns.stop)
    )
