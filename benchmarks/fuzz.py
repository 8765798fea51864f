# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Feed damaged files and odd images to the package: ``python benchmarks/fuzz.py``.

Each case has a kind and a seed, which give it again. A case is *good* if it gives a
result that keeps its promises, *refused* if it ends in one line that names the file,
and a *fault* otherwise: another exception, a hang, a file left behind.
"""

import argparse
import contextlib
import faulthandler
import gzip
import io
import json
import os
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from astropy import log
from astropy import units as u
from astropy.io import fits
from astropy.nddata import StdDevUncertainty

from bgrem import DiffusionBackground
from bgrem.cli.main import main as bgrem_command
from bgrem.denoise.run import denoise
from bgrem.files.io import read_error, read_images, read_mask
from bgrem.nn import AttentionUNet, CosineSchedule, UNetConfig
from bgrem.weights import load_weights, save_weights

SHAPE = (44, 48)
# One case may not take longer: seconds of the processor, however busy it is.
TIME_LIMIT = 60
# Cases of a kind before those of the next.
CHUNK = 500
# Values that no header should have, but headers of damaged files do.
ODD_VALUES = [
    0, 1, -1, 2, 3, 7, 8, -8, 16, 999, 1000, -32, -64, 65, 2**31 - 1, -(2**31), 2**31,
    2**32, 2**63 - 1, 2**63, -(2**63), 10**30, 0.5, -0.5, 1e-300, 1e300, 'NaN', 'Inf',
    'T', 'F', '', "''", "'", "'SCI", "'x'", '1 / 2', '(1, 2)', 'æ', '\x00', '\n', '/',
    '1E', '1D400', '--1', "'RICE_1'", "'GZIP_2'", "'PLIO_1'", "'HCOMPRESS_1'",
    "'RA---TAN-SIP'", "'DEC--TPV'", "'GLON-HPX'", "'2P(100)'", "'100M'", "'1QE'",
]  # fmt: skip
STRUCTURE = [
    'SIMPLE', 'BITPIX', 'NAXIS', 'NAXIS1', 'NAXIS2', 'NAXIS3', 'PCOUNT', 'GCOUNT',
    'EXTEND', 'XTENSION', 'TFIELDS', 'TFORM1', 'TFORM2', 'TTYPE1', 'ZIMAGE', 'ZBITPIX',
    'ZNAXIS', 'ZNAXIS1', 'ZNAXIS2', 'ZTILE1', 'ZTILE2', 'ZCMPTYPE', 'ZQUANTIZ',
    'ZDITHER0', 'ZVAL1', 'ZNAME1', 'ZBLANK', 'BSCALE', 'BZERO', 'BLANK', 'BUNIT',
    'EXTNAME', 'EXTVER', 'CTYPE1', 'CTYPE2', 'CRVAL1', 'CRPIX2', 'CDELT1', 'CD1_1',
    'CD2_2', 'PC1_2', 'LONPOLE', 'RADESYS', 'EQUINOX', 'WCSAXES', 'A_ORDER', 'A_2_0',
    'B_ORDER', 'CUNIT1', 'TELESCOP', 'GROUPS', 'THEAP', 'INHERIT', 'CHECKSUM', 'END',
]  # fmt: skip


class Hang(BaseException):
    """A case took longer than `TIME_LIMIT`."""


class Fault(Exception):
    """A case that ended well broke a promise."""


# ------------------------------------------------------------------------------ files
def good_files():
    """Return the bytes of files that are whole, by name."""
    rng = np.random.default_rng(1)
    data = rng.normal(100, 5, SHAPE).astype(np.float32)
    data[20:23, 30:33] += 200
    wcs = fits.Header()
    for name, value in {
        'CTYPE1': 'RA---TAN-SIP', 'CTYPE2': 'DEC--TAN-SIP', 'CRVAL1': 150.0,
        'CRVAL2': 2.0, 'CRPIX1': 24.0, 'CRPIX2': 22.0, 'CD1_1': -1e-4, 'CD1_2': 0.0,
        'CD2_1': 0.0, 'CD2_2': 1e-4, 'A_ORDER': 2, 'B_ORDER': 2, 'A_2_0': 1e-6,
        'B_0_2': 1e-6, 'RADESYS': 'ICRS', 'BUNIT': 'ELECTRONS/S',
    }.items():  # fmt: skip
        wcs[name] = value
    short = data.astype(np.int16)
    scaled = fits.PrimaryHDU(short, wcs)
    scaled.header['BLANK'] = -32768
    scaled.header['BSCALE'], scaled.header['BZERO'] = 0.5, 100.0
    chips = [fits.PrimaryHDU()]
    for version in (1, 2):
        flags = (data > 115).astype(np.int16)
        for name, pixels in {'SCI': data, 'ERR': data * 0 + 5, 'DQ': flags}.items():
            hdu = fits.ImageHDU(pixels, wcs, name=name)
            hdu.ver = version
            chips.append(hdu)
    table = fits.BinTableHDU.from_columns([fits.Column('a', 'E', array=[1.0, 2.0])])
    # Not HCOMPRESS_1: of tiles that are not what the header says, the C code in
    # astropy writes past its memory, which ends the process.
    packed = {
        'rice': fits.CompImageHDU(short, wcs, compression_type='RICE_1'),
        'gzip tiles': fits.CompImageHDU(data, wcs, compression_type='GZIP_2'),
    }
    files = {
        'float': [fits.PrimaryHDU(data, wcs)],
        'scaled': [scaled],
        'chips': chips,
        'cube': [fits.PrimaryHDU(np.stack([data, data]), wcs)],
        'table first': [fits.PrimaryHDU(), table, fits.ImageHDU(data, wcs)],
        **{name: [fits.PrimaryHDU(), hdu] for name, hdu in packed.items()},
    }
    content = {}
    for name, hdus in files.items():
        buffer = io.BytesIO()
        fits.HDUList(hdus).writeto(buffer)
        content[name] = buffer.getvalue()
    content['gzip'] = gzip.compress(content['float'], mtime=0)
    return content


def damage_fits(content, rng):
    """Return damaged bytes of a FITS file, and what was done to them."""
    content = bytearray(content)
    ways = {
        'flip bytes': _flip, 'flip header': _flip_header, 'card value': _card_value,
        'card swap': _card_swap, 'card delete': _card_delete, 'truncate': _truncate,
        'cut block': _cut, 'double block': _double, 'append': _append, 'zeros': _zeros,
    }  # fmt: skip
    # The headers are where the surprises are.
    weights = np.array([2, 4, 12, 2, 3, 2, 1, 1, 1, 1])
    name = rng.choice(list(ways), p=weights / weights.sum())
    for _ in range(int(rng.choice([1, 1, 2, 4]))):
        content = bytearray(ways[name](content, rng))
        if len(content) < 100:
            break
    return bytes(content), str(name)


def _flip(content, rng):
    for place in rng.integers(len(content), size=rng.integers(1, 20)):
        content[place] = rng.integers(256)
    return content


def _flip_header(content, rng):
    for place in rng.integers(min(2880, len(content)), size=rng.integers(1, 4)):
        content[place] = rng.integers(32, 127)
    return content


def _cards(content):
    """Return where the cards of all headers start."""
    return [
        place
        for place in range(0, len(content) - 79, 80)
        if content[place : place + 8].isascii()
        and bytes(content[place : place + 8]).rstrip(b' ').decode('ascii') in STRUCTURE
    ]


def _card_value(content, rng):
    places = _cards(content)
    if not places:
        return content
    place = int(rng.choice(places))
    value = ODD_VALUES[rng.integers(len(ODD_VALUES))]
    text = f'{value:>20}'.encode('latin-1')[:70].ljust(70)
    content[place + 8 : place + 80] = b'= ' + text
    return content


def _card_swap(content, rng):
    places = _cards(content)
    if len(places) < 2:
        return content
    a, b = (int(one) for one in rng.choice(places, 2, replace=False))
    content[a : a + 80], content[b : b + 80] = content[b : b + 80], content[a : a + 80]
    return content


def _card_delete(content, rng):
    places = _cards(content)
    if places:
        place = int(rng.choice(places))
        content[place : place + 80] = b' ' * 80
    return content


def _truncate(content, rng):
    return content[: rng.integers(len(content))]


def _cut(content, rng):
    place = 2880 * int(rng.integers(max(len(content) // 2880, 1)))
    return content[:place] + content[place + 2880 :]


def _double(content, rng):
    place = 2880 * int(rng.integers(max(len(content) // 2880, 1)))
    return content[: place + 2880] + content[place:]


def _append(content, rng):
    return content + rng.bytes(int(rng.integers(1, 6000)))


def _zeros(content, rng):
    place = int(rng.integers(len(content)))
    n = min(int(rng.integers(1, 3000)), len(content) - place)
    content[place : place + n] = bytes(n)
    return content


class FitsCases:
    """Damaged FITS files, read; one in ``every`` through the command line."""

    def __init__(self, folder, every=50):
        self.folder, self.every = folder, every
        self.files = good_files()
        self.weights = write_tiny_weights(folder / 'tiny.safetensors')

    def run(self, seed):
        """Run the case of a seed; return what was done and how it ended."""
        rng = np.random.default_rng([1, seed])
        name = list(self.files)[rng.integers(len(self.files))]
        content, what = damage_fits(self.files[name], rng)
        work = self.folder / 'work'
        work.mkdir(exist_ok=True)
        path = work / ('in.fits.gz' if name == 'gzip' else 'in.fits')
        path.write_bytes(content)
        try:
            if seed % self.every == 0:
                return f'{what} (command)', self._command(work, path, rng)
            return what, _refusable(path, lambda: self._read(path, rng))
        finally:
            for left in work.iterdir():
                left.unlink()

    def _read(self, path, rng):
        how = rng.integers(4)
        images = read_images(path, plane=(1,) if how == 0 else None)
        if how == 1:
            read_error(path, 'ERR', image=images[0])
        if how == 2:
            read_mask(path, 'DQ', bits=1, image=images[-1])

    def _command(self, work, path, rng):
        output = work / rng.choice(['out.fits', 'out.csv', 'out.ecsv', 'out.fits.gz'])
        command = 'detect' if 'sv' in output.suffix else 'subtract'
        argv = [command, str(path), '-o', str(output), '-q', '--threshold', '0.01']
        streams = io.StringIO(), io.StringIO()
        with (
            contextlib.redirect_stdout(streams[0]),
            contextlib.redirect_stderr(streams[1]),
        ):
            status = bgrem_command([*argv, '--weights', str(self.weights)])
        lines = streams[1].getvalue().splitlines()
        left = {one.name for one in work.iterdir()} - {path.name}
        errors = [line for line in lines if line.startswith('bgrem: error: ')]
        _require(all(line.startswith('bgrem: ') for line in lines), lines)
        _require(status in (0, 1), status)
        _require(left == ({output.name} if status == 0 else set()), left)
        _require(len(errors) == status, lines)
        _require(all(str(path) in line for line in errors), lines)
        if status == 0 and '.fits' in output.name:
            with fits.open(output) as hdus:
                _require(hdus[-1].name == 'CATALOG', hdus[-1].name)
        return 'good' if status == 0 else 'refused'


# ---------------------------------------------------------------------------- weights
def write_tiny_weights(path):
    """Write the weights of a small network without training."""
    config = UNetConfig(
        widths=(4, 8), image_channels=4, embedding_dim=4, attention_gates=1,
        unshuffle=2, transfer='arcsinh', center_head=True,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = AttentionUNet(config)
        torch.nn.init.normal_(network.head.weight, std=0.1)
    header = {
        'format_version': 1,
        'name': 'tiny',
        'network': config.to_dict(),
        'schedule': CosineSchedule().to_dict(),
        'n_steps': 1,
        'normalization': 'local',
        'tile_size': 64,
        'tile_overlap': 16,
        'calibration': {
            'logit': [-6.0, 0.0],
            'probability': [0.001, 0.6],
            'correction': {
                **dict.fromkeys(('offset', 'excess', 'correlation'), 0.0),
                **dict.fromkeys(('skewness', 'width', 'width_squared'), 0.0),
                'limits': {
                    'lowest': -1.0, 'typical_width': 3.0, 'narrowest': 2.0,
                    'widest': 5.0,
                },
            },
        },
        'training': {'steps': 0},
    }  # fmt: skip
    save_weights(path, network.state_dict(), header)
    return path


class WeightsCases:
    """Damaged weights files, loaded and, if they load, used."""

    VALUES = (
        None, True, False, 0, 1, -1, 2, 3, 64, 10**6, 2**40, 2**63, 10**400, 0.5, -0.5,
        1e-320, 1e300, float('nan'), float('inf'), '', 'local', 'x' * 1000, [], {},
        [0], [1, 1], [4, 8, 8], ['a'], [float('nan')] * 2, [10**400] * 2, [2**40] * 2,
        [4] * 10_000, {'a': 1},
    )  # fmt: skip

    def __init__(self, folder):
        self.folder = folder
        self.content = write_tiny_weights(folder / 'base.safetensors').read_bytes()
        self.image = np.random.default_rng(1).normal(size=(32, 40)).astype(np.float32)

    def run(self, seed):
        """Run the case of a seed; return what was done and how it ended."""
        rng = np.random.default_rng([2, seed])
        ways = {
            'flip bytes': self._flip, 'flip start': self._flip_start,
            'truncate': self._truncate, 'header value': self._header_value,
            'header key': self._header_key, 'tensor table': self._tensor_table,
            'tensor values': self._tensor_values, 'nesting': self._nesting,
        }  # fmt: skip
        weights = np.array([2, 2, 1, 8, 2, 6, 2, 1])
        what = str(rng.choice(list(ways), p=weights / weights.sum()))
        path = self.folder / 'in.safetensors'
        path.write_bytes(ways[what](rng))
        return what, _refusable(path, lambda: self._use(path))

    def _use(self, path):
        weights = load_weights(path)
        source, logit = denoise(self.image, weights)
        _require(np.isfinite(source).all() and np.isfinite(logit).all(), 'not finite')
        _require(source.shape == logit.shape == self.image.shape, source.shape)

    def _flip(self, rng):
        return bytes(_flip(bytearray(self.content), rng))

    def _flip_start(self, rng):
        content = bytearray(self.content)
        for place in rng.integers(3000, size=rng.integers(1, 4)):
            content[place] = rng.integers(32, 127)
        return bytes(content)

    def _truncate(self, rng):
        return self.content[: rng.integers(len(self.content))]

    def _split(self):
        start = 8 + int.from_bytes(self.content[:8], 'little')
        table = json.loads(self.content[8:start])
        header = json.loads(table['__metadata__']['bgrem'])
        # Or else the checksum finds every change of the tensors.
        header.pop('sha256_state')
        return table, header, self.content[start:]

    def _join(self, table, header, tensors):
        text = header if isinstance(header, str) else json.dumps(header)
        table['__metadata__'] = {'bgrem': text}
        start = json.dumps(table).encode()
        return len(start).to_bytes(8, 'little') + start + tensors

    def _value(self, rng):
        return self.VALUES[rng.integers(len(self.VALUES))]

    def _header_value(self, rng):
        table, header, tensors = self._split()
        place = header
        while True:
            key = list(place)[rng.integers(len(place))]
            inside = isinstance(place[key], dict) and place[key]
            if inside and rng.random() < 0.85:
                place = place[key]
                continue
            place[key] = self._value(rng)
            return self._join(table, header, tensors)

    def _header_key(self, rng):
        table, header, tensors = self._split()
        if rng.random() < 0.5:
            del header[list(header)[rng.integers(len(header))]]
        else:
            header[rng.choice(['extra', '', 'é'])] = self._value(rng)
        return self._join(table, header, tensors)

    def _tensor_table(self, rng):
        table, header, tensors = self._split()
        names = [name for name in table if name != '__metadata__']
        entry = table[names[rng.integers(len(names))]]
        change = rng.integers(5)
        if change == 0:
            kinds = ['F8_E4M3', 'F8_E5M2', 'F16', 'BF16', 'F64', 'I32', 'BOOL', 'X']
            entry['dtype'] = str(rng.choice(kinds))
        elif change == 1:
            entry['shape'] = [int(one) for one in rng.integers(0, 2**40, 2)]
        elif change == 2:
            entry['data_offsets'] = [int(one) for one in rng.integers(0, 2**40, 2)]
        elif change == 3:
            entry[str(rng.choice(list(entry)))] = self._value(rng)
        else:
            del table[names[rng.integers(len(names))]]
        return self._join(table, header, tensors)

    def _tensor_values(self, rng):
        table, header, tensors = self._split()
        values = np.frombuffer(tensors, np.float32).copy()
        places = rng.integers(values.size, size=rng.integers(1, 100))
        values[places] = rng.choice([np.nan, np.inf, 3e38, -3e38, 1e20, 1e-45, 0])
        return self._join(table, header, values.tobytes())

    def _nesting(self, rng):
        table, header, tensors = self._split()
        depth = int(rng.choice([100, 900, 5_000, 100_000]))
        deep = '[' * depth + ']' * depth
        if rng.random() < 0.5:
            text = json.dumps(header)[:-1] + f', "training": {deep}}}'
            return self._join(table, text, tensors)
        start = json.dumps(table)[:-1].encode() + b', "x": ' + deep.encode() + b'}'
        return len(start).to_bytes(8, 'little') + start + tensors


# ----------------------------------------------------------------------------- images
class ImageCases:
    """Odd images through constructor, detection and catalogue."""

    # Of what cannot be measured the parent says so.
    REFUSED = (
        'All input pixels are masked', 'contains all non-finite', 'All boxes contain',
    )  # fmt: skip

    def __init__(self, folder):
        self.weights = load_weights(write_tiny_weights(folder / 'image.safetensors'))

    def run(self, seed):
        """Run the case of a seed; return what was done and how it ended."""
        rng = np.random.default_rng([3, seed])
        data, what = odd_image(rng)
        options = odd_options(data, rng)
        unit = rng.choice([None, 'adu', 'electron'])
        given = data if unit is None else data << u.Unit(unit)
        try:
            background = DiffusionBackground(given, weights=self.weights, **options)
        except ValueError as exc:
            _require(any(text in str(exc) for text in self.REFUSED), repr(exc))
            return what, 'refused'
        self._check(background, data, rng)
        return what, 'good'

    def _check(self, background, data, rng):
        sky, rms, source, probability = (
            u.Quantity(values).value
            for values in (
                background.background,
                background.background_rms,
                background.source,
                background.detection_probability,
            )
        )
        _require(all(m.shape == data.shape for m in (sky, rms, source)), sky.shape)
        finite = np.isfinite(data)
        for name, values in {'sky': sky, 'rms': rms, 'source': source}.items():
            _require(np.isfinite(values).all(), f'{name} is not finite')
        _require((rms >= 0).all(), 'negative noise')
        _require(((probability >= 0) & (probability <= 1)).all(), 'probability')
        total = sky + source + u.Quantity(background.noise).value
        size = np.abs(data[finite].astype(float)).max(initial=1)
        close = np.isclose(total[finite], data[finite].astype(float), atol=2e-5 * size)
        _require(close.all(), 'sky + source + noise is not the image')
        threshold = float(rng.choice([1e-4, 0.01, 0.1, 0.5, 1.0]))
        options = {'threshold': threshold} if rng.random() < 0.7 else {}
        segments = background.detect(**options)
        if segments is None:
            return
        _require(segments.data.shape == data.shape, 'segments')
        if not rms.any():
            # Without noise there is no source, whatever the threshold finds.
            return
        table = background.catalog(segments).to_table()
        _require(len(table) == segments.n_labels, 'rows')
        _require(np.array_equal(table['label'], segments.labels), 'labels')
        inside = np.isfinite(table['x_centroid']) & np.isfinite(table['y_centroid'])
        _require(inside.all(), 'a position is not finite')


def odd_image(rng):
    """Return an image larger than 64 px, and what is odd about it."""
    shape = tuple(int(n) for n in rng.integers(65, 120, 2))
    level, noise = 10.0 ** rng.uniform(-3, 5), 10.0 ** rng.uniform(-3, 3)
    data = rng.normal(level, noise, shape)
    y, x = np.indices(shape)
    for _ in range(rng.integers(0, 12)):
        center = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        r2 = (y - center[0]) ** 2 + (x - center[1]) ** 2
        width = rng.uniform(0.7, 8)
        data += noise * 10 ** rng.uniform(0, 4) * np.exp(-r2 / 2 / width**2)
    kinds = (
        'plain', 'counts', 'sparse counts', 'constant', 'zeros', 'step', 'nan', 'inf',
        'nan border', 'half nan', 'zero border', 'huge', 'tiny', 'negative',
        'one value', 'integers', 'checkers', 'float16', 'big-endian', 'gradient',
        'few values',
    )  # fmt: skip
    what = str(rng.choice(kinds))
    dtype = rng.choice([np.float32, np.float64])
    if what == 'counts':
        data = rng.poisson(np.clip(data / noise, 0, 1e6)).astype(float)
    elif what == 'sparse counts':
        data = rng.poisson(10.0 ** rng.uniform(-3, 0), shape).astype(float)
    elif what == 'constant':
        data[:] = level
    elif what == 'zeros':
        data[:] = 0
    elif what == 'step':
        data[:, shape[1] // 2 :] += 1000 * noise
    elif what in ('nan', 'inf'):
        bad = rng.random(shape) < 10 ** rng.uniform(-3, -0.1)
        data[bad] = {'nan': np.nan, 'inf': rng.choice([np.inf, -np.inf])}[what]
    elif what == 'nan border':
        data[: rng.integers(1, 60)] = np.nan
    elif what == 'half nan':
        data[y > x] = np.nan
    elif what == 'zero border':
        data[:, : rng.integers(1, 60)] = 0
    elif what == 'huge':
        # The parent squares float32: beyond 1e18 it has no noise.
        data *= 1e16 / np.abs(data).max()
    elif what == 'tiny':
        data *= 10.0 ** rng.uniform(-25, -10)
    elif what == 'negative':
        data = -data
    elif what == 'one value':
        data[:] = 0
        data[shape[0] // 2, shape[1] // 2] = level
    elif what == 'integers':
        dtype = rng.choice([np.uint8, np.int16, np.uint16, np.int32, np.int64])
        bounds = np.iinfo(dtype)
        data = np.clip(data, max(bounds.min, -1e9), min(bounds.max, 1e9))
    elif what == 'checkers':
        data = level + noise * ((x + y) % 2)
    elif what == 'float16':
        data, dtype = np.clip(data, -6e4, 6e4), np.float16
    elif what == 'big-endian':
        dtype = np.dtype('>f4')
    elif what == 'gradient':
        data += 10 ** rng.uniform(0, 3) * noise * (x + y)
    elif what == 'few values':
        data = np.round((data - level) / noise / 3)
    with np.errstate(over='ignore'):
        return data.astype(dtype), what


def odd_options(data, rng):
    """Return options for the constructor."""
    options = {'box_size': int(rng.choice([8, 16, 25, 32, 64, 200]))}
    # What is left of a ragged image is used.
    options['exclude_percentile'] = float(rng.choice([10, 50, 90, 100]))
    if rng.random() < 0.3:
        options['mask'] = rng.random(data.shape) < rng.choice([0.001, 0.1, 0.6, 0.99])
    if rng.random() < 0.15:
        coverage = np.zeros(data.shape, bool)
        coverage[:, : rng.integers(1, data.shape[1])] = True
        options['coverage_mask'] = coverage
    if rng.random() < 0.15:
        scale = np.nanstd(np.where(np.isfinite(data), data, np.nan).astype(float))
        error = np.full(data.shape, scale if np.isfinite(scale) and scale > 0 else 1.0)
        error *= rng.uniform(0.1, 10, data.shape)
        options['error'] = StdDevUncertainty(error)
    if rng.random() < 0.1:
        options['normalization'] = rng.choice(['global', 'local'])
    if rng.random() < 0.1:
        options['filter_size'] = int(rng.choice([1, 3, 5]))
    return options


# ------------------------------------------------------------------------------ judge
def _require(holds, what):
    if not holds:
        raise Fault(what)


def _refusable(path, function):
    """Call a function that may refuse a file in one line that names it."""
    try:
        function()
    except (MemoryError, OSError, ValueError) as exc:
        _require(str(path) in str(exc), f'the file is not named: {exc!r}')
        _require('\n' not in str(exc), f'more than a line: {exc!r}')
        return 'refused'
    return 'good'


KINDS = {'fits': FitsCases, 'weights': WeightsCases, 'images': ImageCases}


def run_cases(kind, seeds, folder, report=None):
    """
    Run cases of one kind.

    Parameters
    ----------
    kind : {'fits', 'weights', 'images'}
        The kind.

    seeds : iterable of int
        One for each case.

    folder : path-like
        Where the files are written; nothing else may be there.

    report : callable, optional
        Called with a line for each fault.

    Returns
    -------
    counts : `~collections.Counter`
        How many cases ended how, by what was done and ``'good'``, ``'refused'`` or
        ``'fault'``.
    """
    cases = KINDS[kind](Path(folder))
    counts = Counter()

    def stop(*_):
        raise Hang

    signal.signal(signal.SIGPROF, stop)
    for seed in seeds:
        signal.setitimer(signal.ITIMER_PROF, TIME_LIMIT)
        # What ends the process leaves the seed and the file behind.
        (Path(folder) / 'seed').write_text(f'{kind} {seed}\n')
        # What hangs where no exception is heard ends the process, with a traceback.
        faulthandler.dump_traceback_later(60 * TIME_LIMIT, exit=True)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                what, outcome = cases.run(seed)
        except KeyboardInterrupt:
            raise
        except BaseException:
            what, outcome = 'any', 'fault'
            if report is not None:
                report(f'{kind} {seed}: {traceback.format_exc()}')
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            faulthandler.cancel_dump_traceback_later()
        counts[what, outcome] += 1
    return counts


def make_table(counts):
    """Return the lines that say how many cases ended how."""
    lines = [f'{"kind":8} {"what":24}    tried     good  refused    fault']
    for kind, of_kind in counts.items():
        for name in [*sorted({what for what, _ in of_kind}), 'all']:
            numbers = [
                sum(
                    n
                    for (w, e), n in of_kind.items()
                    if e == end and name in (w, 'all')
                )
                for end in ('good', 'refused', 'fault')
            ]
            columns = ''.join(f'{n:9}' for n in [sum(numbers), *numbers])
            lines.append(f'{kind:8} {name:24}{columns}')
    return lines


def main(argv=None):
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('kinds', nargs='*', default=list(KINDS), help='default: all')
    parser.add_argument('--cases', type=int, default=1000, help='of each kind')
    parser.add_argument('--seed', type=int, default=0, help='that of the first case')
    parser.add_argument('--memory', type=float, default=8, help='limit in GiB')
    parser.add_argument('--table', type=Path, help='file to write the table to, often')
    options = parser.parse_args(argv)
    if unknown := set(options.kinds) - set(KINDS):
        parser.error(f'no such kind: {", ".join(unknown)}')
    torch.set_num_threads(1)
    log.setLevel('ERROR')
    limit = int(options.memory * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    counts = {kind: Counter() for kind in options.kinds}
    last = options.seed + options.cases
    for start in range(options.seed, last, CHUNK):
        for kind in options.kinds:
            with tempfile.TemporaryDirectory() as folder:
                seeds = range(start, min(start + CHUNK, last))
                counts[kind] += run_cases(kind, seeds, folder, report=print)
            sys.stdout.flush()
        if options.table is not None:
            options.table.write_text('\n'.join(make_table(counts)) + '\n')
    print('\n'.join(make_table(counts)))
    return int(any(end == 'fault' for of in counts.values() for _, end in of))


if __name__ == '__main__':
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    sys.exit(main())
