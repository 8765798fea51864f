# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What holds for every image, whatever it is."""

import re

import numpy as np
from astropy import units as u

import bgrem
from fuzzing.judge import Fault, require

__all__ = [
    'check_catalog',
    'check_maps',
    'check_scaled',
    'check_segments',
    'check_sky',
    'check_warnings',
    'plain',
    'refusal_is_right',
]

# What the documentation says that there are warnings of.
DOCUMENTED = (
    'Input data contains non-?finite', 'the fraction of false detections may be',
    'no star in the image is bright enough', 'the uncertainty, a .* is ignored',
    'exclude_percentile=.* leaves no box', 'the median of data outside the sources',
    'No sources were found', 'the WCS cannot be used',
    'no noise is seen: float32 rounds',
)  # fmt: skip


def plain(values):
    """Return values without their unit."""
    return getattr(values, 'value', values)


def check_warnings(caught):
    """Check that each warning is one that the documentation names."""
    for one in caught:
        text = str(one.message)
        known = any(re.match(start, text) for start in DOCUMENTED)
        where = f'{one.filename}:{one.lineno}'
        require(known, f'{one.category.__name__} at {where}: {text}')


def refusal_is_right(exc, background_input, options):
    """Check that an image was refused for what is true of it."""
    data, hidden = background_input
    text = str(exc)
    finite = np.isfinite(data)
    is_right = {
        # photutils 3.1 writes it without the hyphen
        'contains all non-?finite': not finite.any(),
        'All input pixels are masked': not (finite & ~hidden).any(),
        # In boxes of the image's choice there is always one.
        'All boxes contain': isinstance(options.get('box_size', 'auto'), str) is False,
        'error must be positive': True,
        'normalization must be about': not isinstance(
            options.get('normalization', 'local'), str
        ),
    }
    for part, holds in is_right.items():
        if re.search(part, text):
            require(holds, f'refused without reason: {exc!r}')
            return
    raise Fault(repr(exc)) from exc


def check_maps(background, names, data, hidden, unit, fill):
    """Check the maps of a background."""
    dtype = np.float64 if data.dtype.itemsize >= 8 and data.dtype.kind == 'f' else 'f4'
    maps = {name: getattr(background, name) for name in names}
    for name, values in maps.items():
        require(getattr(values, 'unit', None) == unit, f'{name}: unit')
        values = maps[name] = plain(values)
        require(values.shape == data.shape, f'{name}: {values.shape}')
        require(values.dtype == dtype, f'{name}: {values.dtype}')
        if name != 'source' and background.coverage_mask is not None:
            filled = values[background.coverage_mask]
            require(np.array_equal(filled, np.full_like(filled, fill), equal_nan=True),
                    f'{name}: fill_value')  # fmt: skip
            maps[name] = values[~background.coverage_mask]
        require(np.isfinite(maps[name]).all(), f'{name} is not finite')
        if name in ('background_rms', 'background_uncertainty'):
            require((maps[name] >= 0).all(), f'{name} is negative')
    source = maps['source']
    usable = np.isfinite(data) & ~hidden
    require(not source[~usable].any(), 'light where there is no data')
    probability = background.detection_probability
    require(probability.dtype == np.float32, 'probability: dtype')
    require(((probability >= 0) & (probability <= 1)).all(), 'probability: range')
    require(not probability[~usable].any(), 'probability where there is no data')
    _check_sum(background, data, usable)


def _check_sum(background, data, usable):
    """Check that sky, light and noise are the image."""
    parts = [plain(getattr(background, name)) for name in ('source', 'noise')]
    sky = plain(background.background)
    if background.coverage_mask is not None:
        usable = usable & ~background.coverage_mask
    total = (sky + sum(parts))[usable].astype(float)
    values = data[usable].astype(parts[0].dtype).astype(float)
    # Of large stripes and a large sky beneath little is left.
    size = max(np.abs(one).max(initial=0) for one in (values, sky, parts[0]))
    precision = np.finfo(parts[0].dtype)
    close = np.abs(total - values) <= 8 * precision.eps * size + 8 * precision.tiny
    require(close.all(), 'sky + source + noise is not the image')


def check_sky(background, data, hidden, truth):
    """Check that the sky is about where the data are, and as true as can be told."""
    usable = np.isfinite(data) & ~hidden
    if background.coverage_mask is not None:
        usable &= ~background.coverage_mask
    if not usable.any():
        return
    values = data[usable].astype(float)
    sky, rms = (
        plain(one)[usable].astype(float)
        for one in (background.background, background.background_rms)
    )
    low, high = values.min(), values.max()
    more = (high - low) + 1e-5 * max(abs(low), abs(high)) + np.finfo('f4').tiny
    require((sky > low - more).all(), f'sky {sky.min()} of data {low} to {high}')
    require((sky < high + more).all(), f'sky {sky.max()} of data {low} to {high}')
    require((rms <= 2 * more).all(), f'noise {rms.max()} of data {low} to {high}')
    if truth is not None and data.size > 64**2:
        level, noise = truth
        require(abs(np.median(sky) - level) < noise, f'sky {np.median(sky)}: {truth}')
        ratio = np.median(rms) / noise
        require(0.6 < ratio < 1.6, f'noise {np.median(rms)}: {truth}')


def check_segments(segments, mask, hidden, data):
    """Check a segmentation image and the detection mask of the same threshold."""
    unusable = hidden | ~np.isfinite(data)
    if mask is not None:
        require(mask.dtype == bool and mask.shape == data.shape, 'detection_mask')
        require(not mask[unusable].any(), 'detection_mask where there is no data')
    if segments is None:
        return
    require(segments.data.shape == data.shape, 'segments: shape')
    require(not segments.data[unusable].any(), 'segments where there is no data')
    labels = np.unique(segments.data)
    require(np.array_equal(labels[labels > 0], segments.labels), 'labels')
    require(np.array_equal(segments.labels, 1 + np.arange(segments.n_labels)), 'labels')
    if mask is not None:
        require(mask[segments.data > 0].all(), 'a segment outside the mask')


def check_catalog(catalog, segments, measured, options):
    """Check the table of a catalog."""
    table = catalog.to_table()
    require(len(table) == segments.n_labels, 'rows')
    require(np.array_equal(table['label'], segments.labels), 'labels')
    n_rows, n_columns = segments.data.shape
    x, y = np.asarray(table['x']), np.asarray(table['y'])
    require(np.isfinite(x).all() and np.isfinite(y).all(), 'a position is not finite')
    inside = (x >= -0.5) & (x <= n_columns - 0.5) & (y >= -0.5) & (y <= n_rows - 0.5)
    require(inside.all(), f'positions {x[~inside]} {y[~inside]}')
    for name in ('x_err', 'y_err', 'core_fwhm', 'half_light_radius'):
        require(not (plain(table[name]) < 0).any(), f'{name} is negative')
    probability = np.asarray(table['detection_probability'])
    flags = [bgrem.decode_detection_flags(int(one)) for one in table['detection_flags']]
    for one, names in zip(probability, flags, strict=True):
        require(0 <= one <= 1 or 'no_peak' in names, f'probability {one}: {names}')
    _check_fluxes(table, flags, segments, measured, options)
    if (zero_point := options.get('zero_point')) is not None:
        flux = plain(table['kron_flux'])
        known = flux > 0
        magnitude = zero_point - 2.5 * np.log10(flux[known])
        require(np.allclose(table['kron_mag'][known], magnitude), 'magnitudes')
        require(np.isnan(table['kron_mag'][~known]).all(), 'magnitudes of nothing')


def _check_fluxes(table, flags, segments, measured, options):
    """Check fluxes against sums, and flags against fluxes."""
    data, usable = measured
    flux = plain(table['kron_flux'])
    for one, names in zip(flux, flags, strict=True):
        require(one > 0 or 'nonpositive_flux' in names, f'Kron flux {one}: {names}')
        require(np.isfinite(one) or not one > 0, f'Kron flux {one}')
    inside = np.where(usable & (segments.data > 0), data, 0).astype(float)
    sums = np.bincount(segments.data.ravel(), inside.ravel(), segments.max_label + 1)
    size = np.bincount(
        segments.data.ravel(), np.abs(inside).ravel(), segments.max_label + 1
    )
    segment_flux = plain(table['segment_flux']).astype(float)
    known = np.isfinite(segment_flux)
    labels = segments.labels
    measurable = np.bincount(segments.data.ravel(), usable.ravel())[labels] > 0
    require(np.array_equal(known, measurable), 'segment_flux is not finite')
    if 'local_bkg_width' not in options:
        off = np.abs(segment_flux - sums[labels])[known]
        require(
            (off <= 1e-4 * size[labels][known]).all(), 'segment_flux is not the sum'
        )
    with np.errstate(all='ignore'):
        snr = flux / plain(table['kron_flux_err'])
    require(np.allclose(table['snr'], snr, equal_nan=True), 'snr')


def check_scaled(first, second, factor):
    """Check that a power of two changes the unit and nothing else."""
    for name in ('background', 'background_rms', 'source'):
        one, other = (plain(getattr(part, name)) for part in (first, second))
        close = np.abs(other - factor * one) <= 1e-3 * factor * np.abs(one).max()
        require(close.all(), f'{name}: not of the unit')
    away = np.abs(first.detection_probability - second.detection_probability)
    require((away < 0.01).all(), f'probability: not of the unit, {away.max()}')


def unit_of(given):
    """Return the unit of an image in any form."""
    unit = getattr(given, 'unit', None)
    return None if unit is None else u.Unit(unit)
