# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Odd images through constructor, detection and catalog."""

import pickle
import re
import warnings
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.nddata import NDData

from bgrem import DiffusionBackground
from bgrem.inputs import parse_image
from bgrem.weights import load_weights
from fuzzing import properties
from fuzzing.judge import Fault, require
from fuzzing.options import WRONG, WRONG_CALLS, give, odd_error, odd_options, odd_wcs
from fuzzing.scenes import odd_scene
from fuzzing.weights import write_tiny_weights

__all__ = ['ImageCases']

# A share of the images goes through a network that was never trained, which sees
# light anywhere.
TINY_SHARE = 0.2
WRONG_SHARE = 0.06


class ImageCases:
    """
    Odd images, forms of them and options, right and wrong ones.

    Parameters
    ----------
    folder : path-like
        A folder to work in; nothing may be left there.
    """

    def __init__(self, folder):
        path = write_tiny_weights(Path(folder) / 'tiny.safetensors')
        self.weights = {
            'optical': load_weights('optical'),
            'tiny': load_weights(path),
        }
        self.folder = Path(folder)

    def run(self, seed):
        """Run the case of a seed; return what was done and how it ended."""
        rng = np.random.default_rng([3, seed])
        scene = odd_scene(rng)
        kind = 'tiny' if rng.random() < TINY_SHARE else 'optical'
        before = self._files()
        case = _Case(scene, self.weights[kind], rng)
        if rng.random() < WRONG_SHARE:
            names, end = case.run_wrong(), 'refused'
        else:
            names, end = case.run()
        require(self._files() == before, 'files are left')
        return [f'weights: {kind}', *names], end

    def _files(self):
        return {path for folder in (self.folder, Path()) for path in folder.iterdir()}


class _Case:
    """One image with one set of options."""

    def __init__(self, scene, weights, rng):
        self.scene, self.weights, self.rng = scene, weights, rng
        with np.errstate(all='ignore'):
            self.given, self.form, mask, self.wcs = give(scene.data, rng)
        self.data = scene.data
        if self.form == 'list':
            self.data = np.array(self.given)
        self.hidden = np.zeros(self.data.shape, bool) if mask is None else mask.copy()
        self.unit = properties.unit_of(self.given)
        self.names = [
            f'values: {scene.values}', f'defect: {scene.defect}', f'form: {self.form}',
            'size: ' + ('over 64 px' if scene.is_large else 'less'),
        ]  # fmt: skip

    def run(self):
        """Run it; return what was done and how it ended."""
        options, names = odd_options(self.data, self.rng)
        self.names += names
        untouched = _pixels(self.given, options)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            try:
                background = self._construct(options)
            except ValueError as exc:
                self._hide(options)
                known = self.data, self.hidden
                properties.refusal_is_right(exc, known, options)
                end = 'refused'
            else:
                self._hide(options, background)
                self._use(background, options)
                end = 'good'
        properties.check_warnings(caught)
        require(_pixels(self.given, options) == untouched, 'input was changed')
        return self.names, end

    def _construct(self, options):
        return DiffusionBackground(self.given, weights=self.weights, **options)

    def _hide(self, options, background=None):
        """Add what the options hide to what the image hides."""
        if not options.get('use_nddata_mask', True) and isinstance(self.given, NDData):
            self.hidden[:] = False
        for name in ('mask', 'coverage_mask'):
            if options.get(name) is not None:
                self.hidden |= options[name]
        if background is None:
            # An error of no use hides a pixel too.
            names = ('error', 'use_nddata_mask')
            given = {name: options[name] for name in names if name in options}
            self.hidden |= parse_image(self.given, **given).unusable
        if background is not None:
            # Errors of no use hide pixels, and so does a number in place of data.
            self.hidden |= background._image.unusable & np.isfinite(self.data)

    def _use(self, background, options):
        rng, fill = self.rng, options.get('fill_value', 0.0)
        data = self.data
        names = ['background', 'background_rms', 'source']
        if rng.random() < 0.2:
            # It takes as long as the sky.
            names.append('background_uncertainty')
        properties.check_maps(background, names, data, self.hidden, self.unit, fill)
        # Whoever gives a factor that is wrong by far has light in place of the sky.
        # Whoever has stripes removed where there are none to be seen has others.
        is_right = not options.get('remove_stripes')
        if is_right and isinstance(options.get('normalization', 'local'), str):
            is_plain = set(options) <= {'exclude_percentile', 'n_steps', 'batch_size'}
            truth = self.scene.truth if is_plain and self.scene.is_large else None
            properties.check_sky(background, data, self.hidden, truth)
        how = {}
        if rng.random() < 0.6:
            how['threshold'] = float(rng.choice([1e-4, 0.01, 0.1, 0.5, 0.9, 1.0]))
        elif rng.random() < 0.5:
            how['false_discovery_rate'] = float(rng.choice([1e-3, 0.01, 0.2, 0.999]))
        mask = background.detection_mask(**how) if rng.random() < 0.5 else None
        if rng.random() < 0.2:
            how['n_pixels'] = int(rng.choice([1, 2, 5, 20]))
        if rng.random() < 0.2:
            how['deblend'] = bool(rng.random() < 0.5)
        segments = background.detect(**how)
        properties.check_segments(segments, mask, self.hidden, data)
        self._measure(background, segments, how)
        for share, check in (
            (0.04, self._check_finder), (0.1, self._check_nddata),
            (0.05, self._check_pickle), (0.03, self._check_scaled),
        ):  # fmt: skip
            if rng.random() < share:
                self.names.append(check.__name__.replace('_check_', 'also: '))
                check(background, options, how)

    def _measure(self, background, segments, how):
        """Measure the catalog, and check it."""
        options, measured = self._catalog_options(background)
        self.names.append('reached: catalogue')
        if self.scene.is_large:
            self.names.append('reached: catalog, over 64 px')
        if segments is None:
            names = ('threshold', 'false_discovery_rate')
            keep = {name: how[name] for name in names if name in how}
            if 'n_pixels' not in how:
                try:
                    table = background.catalog(**keep, **options)
                    require(len(table) == 0, 'a catalog of nothing')
                except ValueError as exc:
                    texts = 'another unit', 'error must be positive'
                    require(any(text in str(exc) for text in texts), repr(exc))
            return
        self.names.append('reached: catalog with sources')
        before = segments.data.copy()
        try:
            catalog = background.catalog(segments, **options)
        except ValueError as exc:
            is_extreme = not 1e-140 < background._size < 1e140
            require(is_extreme and 'another unit' in str(exc), repr(exc))
            self.names.append('refused: catalog of squares beyond float64')
            return
        properties.check_catalog(catalog, segments, measured, options)
        require(np.array_equal(before, segments.data), 'segments were changed')
        names = catalog.to_table().colnames
        is_sky = self._wcs_is_good if 'wcs' in options else self.wcs[1]
        require(not is_sky or {'ra', 'dec'} <= set(names), 'no sky coordinates')

    def _catalog_options(self, background):
        """Return options of a catalog, and the image that it measures, and where."""
        rng, options = self.rng, {}
        usable = np.isfinite(self.data) & ~self.hidden
        image = properties.plain(background.subtract())
        known = background._image.error is not None
        if rng.random() < 0.1:
            options['data'] = self._other_image(background)
            if not isinstance(options['data'], DiffusionBackground):
                image = properties.plain(options['data'])
                usable = usable & np.isfinite(image)
                known = True
        if rng.random() < 0.15:
            options['error'] = _error_with_unit(self.data, self.unit, rng)
            known = True
        if not known and rng.random() < 0.2:
            options['effective_gain'] = self._gain()
        for share, name, values in (
            (0.3, 'zero_point', (25.0, 0, -3)),
            (0.1, 'aperture_radii', ((3,), (0.1, 200.0), [1, 2, 3, 4])),
            (0.1, 'aperture_correction', (True,)),
            (0.1, 'local_bkg_width', (5, 24)),
            (0.1, 'saturation', (0.0, 1e3, float(np.nanmax(self.data, initial=0)))),
        ):
            if rng.random() < share:
                options[name] = values[rng.integers(len(values))]
        if rng.random() < 0.1:
            options['wcs'], self._wcs_is_good = odd_wcs(rng)
        self.names += [f'catalogue: {name}' for name in options]
        return options, (image, usable)

    def _other_image(self, background):
        rng = self.rng
        other = rng.normal(size=self.data.shape)
        other[rng.random(other.shape) < 0.01] = np.nan
        if rng.random() < 0.5:
            return other if self.unit is None else other << self.unit
        return background

    def _gain(self):
        rng = self.rng
        gain = 10.0 ** rng.uniform(-2, 2)
        if rng.random() < 0.3:
            gain = np.full(self.data.shape, gain)
        if self.unit is not None and rng.random() < 0.5:
            gain = gain * u.electron / self.unit
        return gain

    def _check_finder(self, background, options, how):
        keep = {name: how[name] for name in how if name != 'deblend'}
        found = background.finder(**keep)(self.given)
        if found is not None:
            require(np.isfinite(found['x']).all(), 'finder: x')
            require(len(found) > 0, 'finder: an empty table')

    def _check_nddata(self, background, options, how):
        made = background.to_nddata()
        require(made.unit == self.unit, 'to_nddata: unit')
        expected = properties.plain(background.subtract())
        require(np.array_equal(made.data, expected, equal_nan=True), 'to_nddata: data')
        unusable = self.hidden | ~np.isfinite(self.data)
        require(np.array_equal(made.mask, unusable), 'to_nddata: mask')

    def _check_pickle(self, background, options, how):
        copy = pickle.loads(pickle.dumps(background))
        require(copy.meta == background.meta, 'pickle: meta')
        for one in (copy, background):
            repr(one), str(one)
        first, second = (properties.plain(one.background) for one in (copy, background))
        require(np.array_equal(first, second, equal_nan=True), 'pickle: background')

    def _check_scaled(self, background, options, how):
        unit_free = {'filter_threshold', 'error', 'normalization', 'fill_value'}
        data = np.asarray(self.data)
        if data.dtype.kind != 'f' or unit_free & set(options) or self.form != 'array':
            return
        size = np.abs(data[np.isfinite(data)])
        size = size[size > 0]
        if not size.size or not 1e-12 < float(size.min()) <= float(size.max()) < 1e12:
            return
        # Float16 has no room.
        data = data.astype(np.promote_types(data.dtype, np.float32))
        first = DiffusionBackground(data, weights=self.weights, **options)
        factor = 2.0 ** int(self.rng.choice([-10, 10]))
        second = DiffusionBackground(data * factor, weights=self.weights, **options)
        properties.check_scaled(first, second, factor)

    def run_wrong(self):
        """Give a value that must be refused; return what was done."""
        rng = self.rng
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            if rng.random() < 0.5 or not np.isfinite(self.data).any():
                name = str(rng.choice(list(WRONG)))
                function, options = self._wrong_option(name)
                where = 'constructor'
            else:
                where, name, value = WRONG_CALLS[rng.integers(len(WRONG_CALLS))]
                background = DiffusionBackground(self.data, weights=self.weights)
                options = {name: value(self.data) if _is_function(value) else value}
                function = getattr(background, where)
            try:
                result = function(**options)
            except (ValueError, TypeError, OSError) as exc:
                # The image may be refused first.
                others = 'contains all non-?finite', 'give them another unit'
                is_named = any(re.search(text, str(exc)) for text in (name, *others))
                require(is_named, f'{where} does not name {name}: {exc!r}')
            else:
                # Where nothing is detected nothing is measured.
                if result is not None or where != 'catalog':
                    msg = f'{where} took {options}'
                    raise Fault(msg)
        return [*self.names, f'wrong: {where}, {name}']

    def _wrong_option(self, name):
        values = WRONG[name]
        value = values[self.rng.integers(len(values))]
        options = {'data': self.data, 'weights': self.weights}
        options[name] = value(self.data) if _is_function(value) else value
        return DiffusionBackground, options


def _pixels(given, options):
    """Return the bytes of all arrays that the caller gave."""
    values = [
        given,
        *(options.get(name) for name in ('mask', 'coverage_mask', 'error')),
    ]
    values += [getattr(given, name, None) for name in ('mask', 'uncertainty')]
    values = [getattr(one, 'array', one) for one in values if one is not None]
    values = [np.asarray(getattr(one, 'data', one)) for one in values]
    # Of longdouble some bytes are not part of the number.
    return [one.astype(float).tobytes() for one in values]


def _is_function(value):
    return callable(value) and not isinstance(value, type)


def _error_with_unit(data, unit, rng):
    error = odd_error(data, rng)
    return error << unit if unit is not None and rng.random() < 0.5 else error
