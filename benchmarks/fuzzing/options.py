# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Forms of images, and options right and wrong."""

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import (
    CCDData,
    InverseVariance,
    NDData,
    StdDevUncertainty,
    UnknownUncertainty,
    VarianceUncertainty,
)
from astropy.stats import SigmaClip
from astropy.utils.masked import Masked
from astropy.wcs import WCS
from photutils import background as estimators

__all__ = ['WRONG', 'WRONG_CALLS', 'give', 'odd_options', 'odd_wcs']

# Most leave a box where the image has one.
PERCENTILES = (0, 1, 10, 10, 50, 90, *10 * [100])
UNITS = ('adu', 'electron', 'electron / s', 'Jy', 'MJy / sr', 'nJy', '', 'km')


def odd_wcs(rng):
    """Return a WCS, good or not, and whether it gives every pixel its place."""
    header = fits.Header({'CTYPE1': 'RA---TAN', 'CTYPE2': 'DEC--TAN', 'NAXIS': 2})
    header.update(CRVAL1=rng.uniform(0, 360), CRVAL2=rng.uniform(-90, 90))
    header.update(CRPIX1=rng.uniform(-50, 150), CRPIX2=rng.uniform(-50, 150))
    header.update(CDELT1=-1e-4, CDELT2=1e-4)
    kind = str(rng.choice(['tan', 'sip', 'galactic', 'linear', 'nowhere', 'planet']))
    if kind == 'sip':
        header.update(CTYPE1='RA---TAN-SIP', CTYPE2='DEC--TAN-SIP')
        header.update(A_ORDER=2, B_ORDER=2, A_2_0=1e-6, B_0_2=1e-6)
    elif kind == 'galactic':
        header.update(CTYPE1='GLON-CAR', CTYPE2='GLAT-CAR')
    elif kind == 'linear':
        header.update(CTYPE1='LINEAR', CTYPE2='LINEAR')
    elif kind == 'nowhere':
        # Most pixels lie beyond the limb.
        header.update(CTYPE1='RA---SIN', CTYPE2='DEC--SIN', CDELT1=-3.0, CDELT2=3.0)
    elif kind == 'planet':
        header.update(CTYPE1='MALN-TAN', CTYPE2='MALT-TAN')
    return WCS(header), kind in ('tan', 'sip', 'galactic')


def give(data, rng):
    """Return an image in one of its forms, the name of that, mask and WCS."""
    unit = u.Unit(str(rng.choice(UNITS)))
    mask = rng.random(data.shape) < rng.choice([0.0, 0.01, 0.3])
    wcs = odd_wcs(rng)
    form = str(rng.choice(FORMS))
    masks = {'masked array', 'Masked', 'NDData', 'CCDData'}
    mask = mask if form in masks else None
    wcs = wcs if form in ('NDData', 'CCDData') else (None, False)
    return _form(form, data, unit, mask, wcs[0], rng), form, mask, wcs


FORMS = (
    *4 * ['array'], 'read-only', 'Fortran order', 'every other pixel', 'list',
    'masked array', 'Masked', 'Quantity', 'Quantity', 'NDData', 'CCDData', 'CCDData',
)  # fmt: skip


def _form(form, data, unit, mask, wcs, rng):
    if form == 'read-only':
        data = data.copy()
        data.flags.writeable = False
    elif form == 'Fortran order':
        data = np.asfortranarray(data)
    elif form == 'every other pixel':
        data = np.repeat(np.repeat(data, 2, 0), 2, 1)[::2, ::-2][:, ::-1]
    elif form == 'list':
        data = data.tolist()
    elif form == 'masked array':
        data = np.ma.array(data, mask=mask)
    elif form == 'Masked':
        data = Masked(data, mask=mask)
    elif form == 'Quantity':
        data = u.Quantity(data, unit, dtype=data.dtype)
    elif form in ('NDData', 'CCDData'):
        uncertainty = None
        if rng.random() < 0.5:
            kinds = StdDevUncertainty, VarianceUncertainty, InverseVariance
            kind = [*kinds, UnknownUncertainty][rng.integers(4)]
            uncertainty = kind(odd_error(data, rng))
        options = {'mask': mask, 'wcs': wcs, 'uncertainty': uncertainty}
        make = CCDData if form == 'CCDData' else NDData
        data = make(data, unit=unit, meta={'OBJECT': 'x'}, **options)
    return data


def odd_error(data, rng):
    """Return an error of each pixel, a share of them of no use."""
    with np.errstate(all='ignore'):
        finite = data[np.isfinite(data)].astype(float)
        scale = float(np.std(finite)) if finite.size else 1.0
    scale = scale if np.isfinite(scale) and scale > 0 else 1.0
    error = scale * rng.uniform(0.1, 10, data.shape)
    bad = rng.random(data.shape) < rng.choice([0, 0.02, 0.5])
    error[bad] = rng.choice([0, -1, np.nan, np.inf], int(bad.sum()))
    return error


def odd_options(data, rng):
    """Return options for the constructor, and the names of what is rare among them."""
    options, names = {}, []

    def maybe(share, name, value):
        if rng.random() < share:
            options[name] = value()
            names.append(f'option: {name}')

    maybe(0.5, 'box_size', lambda: _box_size(rng))
    maybe(0.7, 'exclude_percentile', lambda: float(rng.choice(PERCENTILES)))
    maybe(0.15, 'filter_size', lambda: _either(rng, 1, 3, 5, (3, 1), (1, 7), (9, 9)))
    maybe(0.05, 'filter_threshold', lambda: float(np.nan_to_num(np.nanmedian(data))))
    maybe(
        0.1,
        'mask',
        lambda: rng.random(data.shape) < rng.choice([0.001, 0.1, 0.1, 0.99]),
    )
    maybe(0.1, 'coverage_mask', lambda: _uncovered(data.shape, rng))
    maybe(0.1, 'fill_value', lambda: _either(rng, np.nan, -1.0, 1e30))
    maybe(0.15, 'error', lambda: _error(data, rng))
    maybe(0.1, 'sigma_clip', lambda: _either(rng, None, SigmaClip(2), SigmaClip(1e3)))
    maybe(0.1, 'bkg_estimator', lambda: _estimator(rng, 'Background'))
    maybe(0.1, 'bkg_rms_estimator', lambda: _estimator(rng, 'BackgroundRMS'))
    maybe(0.1, 'remove_stripes', lambda: True)
    maybe(0.05, 'n_steps', lambda: int(rng.integers(1, 4)))
    maybe(0.05, 'n_symmetries', lambda: int(rng.choice([2, 4, 8])))
    maybe(0.15, 'normalization', lambda: _normalization(data.shape, rng))
    maybe(0.05, 'batch_size', lambda: int(rng.integers(1, 5)))
    maybe(0.05, 'use_nddata_mask', lambda: False)
    return options, names


def _either(rng, *values):
    return values[rng.integers(len(values))]


def _box_size(rng):
    return _either(
        rng, 'auto', 1 + int(rng.integers(7)), 8, 16, 25, 32, 64, 200, (10, 50),
        (300, 3), np.array([20, 20]), np.int16(31),
    )  # fmt: skip


def _uncovered(shape, rng):
    uncovered = np.zeros(shape, bool)
    uncovered[:, : rng.integers(1, shape[1] + 1)] = True
    return np.ascontiguousarray(uncovered[:, :: int(rng.choice([1, -1]))])


def _error(data, rng):
    kinds = [np.asarray, StdDevUncertainty, VarianceUncertainty, InverseVariance]
    return kinds[rng.integers(4)](odd_error(data, rng))


def _estimator(rng, ending):
    kinds = [
        name
        for name in dir(estimators)
        if name.endswith(ending) and not name.startswith(('Local', ending))
    ]
    return getattr(estimators, str(rng.choice(kinds)))()


def _normalization(shape, rng):
    factor = 10.0 ** rng.uniform(-3, 3, shape)
    factor[rng.random(shape) < 0.1] = rng.choice([0, np.nan, np.inf])
    return _either(rng, 'local', 'global', 10.0 ** rng.uniform(-6, 6), factor)


# ------------------------------------------- values that must be refused, by parameter
def _of(shape, value=0.0, dtype=float):
    return np.full(shape, value, dtype)


#: Of the constructor: each a function of an image.
WRONG = {
    'data': (
        lambda d: d[0], lambda d: d[None], lambda d: d[:0], lambda d: d.astype(str),
        lambda d: d + 0j, lambda d: d.astype(object), lambda d: None,
        lambda d: 'x.fits', lambda d: d[:, :0], lambda d: 3.0,
        lambda d: d.astype('M8[s]'),
    ),
    'box_size': (
        'big', 0, -3, (1, 2, 3), np.nan, 2.5, (), (0, 5), np.inf, True, None, (5, 'a'),
    ),
    'filter_size': (2, 0, -1, (3, 3, 3), (3, 2), np.nan, 1.5, 'a', (), None),
    'exclude_percentile': (-1, 101, np.nan, 'a', None, (1, 2)),
    'filter_threshold': ('a', (1, 2)),
    'fill_value': ('a', (1, 2), None),
    'mask': (
        lambda d: _of((3, 3), False, bool), lambda d: _of(d.shape, 0, int),
        lambda d: _of(d.shape), lambda d: _of(d.size, False, bool), lambda d: 'a',
    ),
    'coverage_mask': (
        lambda d: _of((3, 3), False, bool), lambda d: _of(d.shape, 0, int),
        lambda d: _of((*d.shape[::-1], 1), False, bool), lambda d: True,
    ),
    'error': (
        lambda d: _of((3, 3), 1), lambda d: _of(d.shape), lambda d: _of(d.shape, -1),
        lambda d: _of(d.shape, np.nan), lambda d: _of(d.shape, 1, complex),
        lambda d: 'a', lambda d: 1.0, lambda d: _of(d.shape, 1) << u.Unit('kpc'),
        lambda d: _of(d.shape, True, bool),
    ),
    'sigma_clip': ('a', 3, SigmaClip),
    'bkg_estimator': ('a', 3),
    'bkg_rms_estimator': ('a', 3),
    'n_steps': (0, -1, 1.5, 'a', np.nan),
    'n_symmetries': (0, 3, 16, 'a', None, 1.5),
    'normalization': (
        'x', '', 0, -1, np.nan, np.inf, -np.inf, lambda d: _of((3, 3), 1),
        lambda d: _of(d.shape, -1), lambda d: _of(d.shape[0], 1), lambda d: {},
        lambda d: _of(d.shape, 1, complex),
    ),
    'device': ('abc', '', 3.5, 'cpu:x', None, 'cuda:99'),
    'batch_size': (0, -1, 1.5, 'a', np.nan),
    'weights': ('nope', '', 3, None, b'x', '/', 'no/such.safetensors'),
    'nothing_like_it': (1,),
}  # fmt: skip

#: Of the methods: name, parameter and value, or a function of an image.
WRONG_CALLS = (
    *[('detect', 'threshold', value) for value in (-1, 1.5, np.nan, 'a', (1, 2))],
    *[('detect', 'false_discovery_rate', v) for v in (-1, 1.5, np.nan, 'a', None)],
    *[('detect', 'n_pixels', value) for value in (0, -1, 1.5, 'a', None, np.nan)],
    *[
        ('catalog', 'effective_gain', value)
        for value in (
            -1, 'a', np.nan, np.inf, lambda d: _of((3, 3), 1), 1 * u.kpc, (1, 2),
            lambda d: _of(d.shape, -1),
        )
    ],
    *[
        ('catalog', 'error', value)
        for value in (lambda d: _of((3, 3), 1), lambda d: _of(d.shape), 'a', 1.0)
    ],
    *[('catalog', 'zero_point', value) for value in ('a', np.nan, np.inf, (1, 2))],
    *[
        ('catalog', 'aperture_radii', value)
        for value in (0, (0,), (-1, 2), (np.nan,), 'a', ('a',), (np.inf,), ((1, 2),))
    ],
    *[('catalog', 'saturation', value) for value in ('a', 1 * u.kpc, np.nan, (1, 2))],
    *[
        ('catalog', 'data', value)
        for value in (lambda d: _of((3, 3)), lambda d: d[0], 'a', 1.0, lambda d: d + 0j)
    ],
    *[('catalog', 'wcs', value) for value in (3, 'a')],
    *[
        ('catalog', 'segmentation_image', value)
        for value in (
            3, 'a', lambda d: _of(d.shape, 1, int), lambda d: _of((3, 3), 1, int),
        )
    ],
    *[
        ('detection_mask', 'footprint', value)
        for value in (lambda d: _of(3, True), lambda d: _of((3, 3), False), 'a', 3)
    ],
    *[
        ('subtract', 'data', value)
        for value in (lambda d: _of((3, 3)), lambda d: d[0], 'a', lambda d: d + 0j)
    ],
    *[('finder', 'threshold', value) for value in (-1, 'a', np.nan)],
    *[('finder', 'n_pixels', value) for value in (0, 'a')],
    *[('finder', 'false_discovery_rate', value) for value in (2, 'a')],
)  # fmt: skip
