import errno
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal

import bgrem
from bgrem.cli.main import main
from bgrem.evaluate.calibration import rewrite_header
from bgrem.nn import AttentionUNet
from bgrem.plotting import save_plot
from bgrem.tests.files.test_io import make_wcs
from bgrem.tests.weights.test_store import CONFIG, make_header
from bgrem.weights import (
    list_weights,
    load_weights,
    save_weights,
    shipped_weights,
)

SHAPE = (60, 70)


@pytest.fixture
def weights(tiny_weights):
    return str(tiny_weights)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder."""
    folder = tmp_path / 'work'
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def make_data(shape=SHAPE, dtype=np.float32):
    rng = np.random.default_rng(3)
    y, x = np.indices(shape)
    star = 300 * np.exp(-((y - 20) ** 2 + (x - 40) ** 2) / 8)
    return (rng.normal(1000, 10, shape) + star).astype(dtype)


@pytest.fixture
def image(folder):
    """The path of an image with a WCS and a unit."""
    header = make_wcs().to_header()
    header['BUNIT'] = 'adu'
    header['OBJECT'] = 'field 1'
    fits.writeto('in.fits', make_data(), header)
    return 'in.fits'


def run(capsys, *argv):
    """Return the exit code and the lines on both outputs."""
    capsys.readouterr()
    status = main([str(word) for word in argv])
    captured = capsys.readouterr()
    return status, captured.out.splitlines(), captured.err.splitlines()


def said(err):
    """Return what a command said between the progress bars."""
    return [line for line in err if line.startswith('bgrem: ')]


def options(weights):
    return ['--weights', weights, '-q', '--threshold', '0.017']


def history(path):
    """Return what bgrem wrote into the history of a product, an entry each."""
    text = ''.join(map(str, fits.getheader(path, 'SCI')['HISTORY']))
    return [one.strip() for one in text.split('bgrem: ')[1:]]


@pytest.fixture
def drawn(monkeypatch):
    """Have each step of a bar written, not one a minute."""
    monkeypatch.setattr('bgrem.cli.process._BAR_SECONDS', 0)


def test_subtract(folder, image, weights, capsys):
    before = (folder / image).read_bytes()
    status, out, err = run(
        capsys, 'subtract', image, '-o', 'out.fits', *options(weights)
    )
    assert (status, out, err) == (0, [], [])
    assert (folder / image).read_bytes() == before
    with fits.open('out.fits', checksum=True) as hdus:
        names = [hdu.name for hdu in hdus[1:]]
        assert names == [
            'SCI',
            'BACKGROUND',
            'BACKGROUND_RMS',
            'SOURCE',
            'PROBABILITY',
            'SEGM',
            'CATALOG',
        ]
        sky = hdus['BACKGROUND'].data
        assert_allclose(hdus['SCI'].data, make_data() - sky, atol=1e-3)
        assert all(np.isfinite(hdu.data).all() for hdu in hdus[1:6])
        assert hdus['SEGM'].data.max() == len(hdus['CATALOG'].data) > 0
        assert hdus['SCI'].header['OBJECT'] == 'field 1'
        assert hdus['SCI'].header['BUNIT'] == 'adu'
        assert hdus['SCI'].header['BGREMWTS'] == 'tiny'
        assert_allclose(
            WCS(hdus['SOURCE'].header).wcs_pix2world(3, 5, 0),
            make_wcs().wcs_pix2world(3, 5, 0),
        )
        assert hdus['CATALOG'].columns['segment_flux'].unit == 'adu'
        columns = {'ra', 'dec', 'x', 'y', 'x_err', 'y_err', 'snr', 'detection_flags'}
        assert columns <= set(hdus['CATALOG'].columns.names)


@pytest.mark.usefixtures('drawn')
def test_summary_and_progress(image, weights, capsys):
    argv = ['subtract', image, '-o', 'out.fits', '--weights', weights]
    status, out, err = run(capsys, *argv, '--threshold', '0.017')
    assert status == 0
    assert len(out) == 1
    assert re.fullmatch(
        r'in\.fits: \d+ sources; median sky .* adu, noise .* adu; out\.fits', out[0]
    )
    for name in ('sources: ', 'catalog: positions: '):
        assert any(line.startswith(name) for line in err)


def test_no_bars_in_a_log(image, weights, capfd):
    """Of a command that takes less than a minute, and is not seen at a terminal."""
    argv = ['detect', image, '-o', 'c.csv', '--weights', weights]
    assert main([*argv, '--threshold', '0.017']) == 0
    captured = capfd.readouterr()
    assert captured.err == ''
    assert len(captured.out.splitlines()) == 1


@pytest.mark.usefixtures('drawn')
def test_bars_of_each_pass(image, weights, capsys, make_correction):
    calibration = {'logit': [-6.0, 0.0], 'probability': [0.001, 0.6]}
    calibration['correction'] = make_correction()
    rewrite_header(load_weights(weights), 'checked.safetensors', calibration)
    argv = ['detect', image, '-o', 'c.csv', '--weights', 'checked.safetensors']
    status, _, err = run(capsys, *argv, '--fdr', '0.9', '--n-symmetries', '2')
    assert status == 0
    for name in ('sources (2 views): ', 'check of false detections (2 views): '):
        assert any(line.startswith(name) and 'tile' in line for line in err)


@pytest.mark.parametrize('command', ['subtract', 'detect', 'plot'])
def test_quiet(image, weights, capsys, command):
    """Nothing is said, not even of an image without detections."""
    if command == 'plot':
        pytest.importorskip('matplotlib')
    name = {'subtract': 'o.fits', 'detect': 'o.csv', 'plot': 'o.png'}[command]
    argv = [command, image, '-o', name, '--weights', weights, '-q']
    assert run(capsys, *argv, '--threshold', '1') == (0, [], [])
    assert Path(name).exists()


@pytest.mark.parametrize('name', ['c.fits', 'c.ecsv', 'c.csv'])
def test_detect(folder, image, weights, capsys, name):
    argv = ['detect', image, '-o', name, '--regions', 'c.reg', *options(weights)]
    status, out, err = run(capsys, *argv)
    assert (status, out, err) == (0, [], [])
    table = Table.read(name, 1) if name == 'c.fits' else Table.read(name)
    assert len(table) > 0
    regions = (folder / 'c.reg').read_text().splitlines()
    assert sum(line.startswith('ellipse') for line in regions) == len(table)


def test_plot(folder, image, weights, capsys):
    pytest.importorskip('matplotlib')
    status, _, err = run(capsys, 'plot', image, '-o', 'a.png', *options(weights))
    assert (status, err) == (0, [])
    assert (folder / 'a.png').read_bytes()[:4] == b'\x89PNG'


@pytest.fixture
def titles(monkeypatch):
    """The titles of the pictures that are saved."""
    pytest.importorskip('matplotlib')
    titles = []

    def keep(path, background, labels, *, wcs, title):
        titles.append(title)
        assert wcs is not None
        save_plot(path, background, labels, wcs=wcs, title=title)

    monkeypatch.setattr('bgrem.plotting.save_plot', keep)
    return titles


def no_network(*_args, **_kwargs):
    msg = 'the network runs again'
    raise AssertionError(msg)


def test_plot_without_matplotlib(image, weights, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    monkeypatch.setattr('bgrem.denoise.run.denoise', no_network)
    status, _, err = run(capsys, 'plot', image, '-o', 'a.png', *options(weights))
    message = "matplotlib is not installed: pip install 'bgrem[plot]'"
    assert (status, err) == (1, [f'bgrem: error: in.fits: {message}'])


@pytest.mark.parametrize('asked', [['--fdr', '0.5'], ['--threshold', '0.017']])
def test_plot_of_a_product(folder, image, weights, capsys, titles, monkeypatch, asked):
    more = ['--weights', weights, *asked]
    assert run(capsys, 'plot', image, '-o', 'a.png', *more)[0] == 0
    status, out, _ = run(capsys, 'subtract', image, '-o', 'p.fits', *more)
    assert status == 0
    for name in ('bgrem.denoise.run.denoise', 'bgrem.weights.load_weights'):
        monkeypatch.setattr(name, no_network)
    monkeypatch.setattr('bgrem.detections.DetectionMixin.detect', no_network)
    status, again, err = run(capsys, 'plot', 'p.fits', '-o', 'p.png')
    assert (status, err) == (0, [])
    promise = 'false discovery rate 50%' if '--fdr' in asked else 'at least 0.017'
    number = int(re.search(r': (\d+) sources', out[0])[1])
    for title, file in zip(titles, ('in.fits', 'p.fits'), strict=True):
        assert title.startswith(f'{file} – weights tiny – {number} source')
        assert title.endswith(promise)
    # the same sky and noise, though boxes and their map differ
    assert again[0].split(';')[1] == out[0].split(';')[1]
    assert again[0].endswith(' adu; p.png')
    # what is seen is the same but for the title
    import matplotlib.image

    first, second = (matplotlib.image.imread(name) for name in ('a.png', 'p.png'))
    assert first.shape == second.shape
    assert_allclose(first[60:], second[60:], atol=0.1)


def test_plot_of_an_hdu_of_a_product(image, weights, capsys, titles):
    argv = options(weights)
    run(capsys, 'subtract', image, '-o', 'p.fits', *argv)
    run(capsys, 'plot', 'p.fits', '-o', 'p.png', '--hdu', 'SCI', *argv[:2])
    assert titles[0].endswith('false discovery rate 5%')


@pytest.mark.parametrize('damage', ['shape', 'labels'])
def test_plot_of_a_damaged_product(image, weights, capsys, damage):
    run(capsys, 'subtract', image, '-o', 'p.fits', *options(weights))
    with fits.open('p.fits', mode='update') as hdus:
        if damage == 'shape':
            hdus['SOURCE'].data = hdus['SOURCE'].data[1:]
        else:
            hdus['SEGM'].data = hdus['SEGM'].data.astype(float)
    status, _, err = run(capsys, 'plot', 'p.fits', '-o', 'p.png')
    assert status == 1
    (line,) = err
    assert line.startswith('bgrem: error: p.fits must have ')


def test_same_answer_again(image, weights, capsys):
    for name in ('a.fits', 'b.fits'):
        run(capsys, 'subtract', image, '-o', name, *options(weights))
    # The history holds the time.
    difference = fits.FITSDiff(
        'a.fits', 'b.fits', ignore_keywords=['HISTORY', '*SUM'], ignore_comments=['*']
    )
    assert difference.identical, difference.report()


def test_overwrite(folder, image, weights, capsys):
    (folder / 'out.fits').write_text('precious')
    argv = ['subtract', image, '-o', 'out.fits', *options(weights)]
    status, _, err = run(capsys, *argv)
    assert status == 1
    assert err == [
        'bgrem: error: output file out.fits exists; it is replaced only with '
        'overwrite=True (--overwrite)'
    ]
    # what is wrong with an input is told first
    (folder / 'text.fits').write_text('no image')
    for more, message in (
        (['--mask', 'no.fits[DQ]'], 'file no.fits does not exist'),
        (['--error', 'text.fits'], 'file text.fits cannot be read as FITS'),
        (['--mask', 'no.fits', '--stream'], 'file no.fits does not exist'),
    ):
        check_failure(folder, capsys, [*argv, *more], message)
    argv[1] = 'no.fits'
    for more in ([], ['--stream']):
        check_failure(folder, capsys, [*argv, *more], 'file no.fits does not exist')
    argv[1] = image
    assert (folder / 'out.fits').read_text() == 'precious'
    assert run(capsys, *argv, '--overwrite')[0] == 0
    assert fits.getdata('out.fits', 'SCI').shape == SHAPE


@pytest.mark.parametrize('kind', ['std', 'var', 'ivar'])
def test_error(image, weights, capsys, kind):
    """Fluxes have the errors of the pipeline, whichever way it writes them."""
    error = np.full(SHAPE, 10, np.float32)
    error[:, :30] = 40
    power = {'std': 1, 'var': 2, 'ivar': -2}[kind]
    hdu = fits.ImageHDU(error**power, name='ERR')
    hdu.header['BUNIT'] = f'adu{power}'
    fits.HDUList([fits.PrimaryHDU(np.ones(SHAPE)), hdu]).writeto('err.fits')
    argv = ['detect', image, '--overwrite', *options(weights)]
    tables = []
    for name, more in (
        ('plain.ecsv', []),
        ('bracket.ecsv', ['--error', 'err.fits[ERR]', '--error-type', kind]),
        ('number.ecsv', ['--error', 'err.fits[1]', '--error-type', kind]),
    ):
        assert run(capsys, *argv, '-o', name, *more) == (0, [], [])
        tables.append(Table.read(name))
    plain, bracket, number = tables
    assert_allclose(bracket['segment_flux_err'], number['segment_flux_err'])
    area = np.asarray(bracket['area'])
    right = bracket['x_centroid'] > 50
    assert right.any()
    assert_allclose(
        bracket['segment_flux_err'][right], 10 * np.sqrt(area[right]), rtol=1e-5
    )
    assert np.max(bracket['segment_flux_err'] / np.sqrt(area)) > 39
    assert np.max(plain['segment_flux_err'] / np.sqrt(plain['area'])) < 15


def test_exposure(folder, counts_weights, capsys):
    """Counts and their exposure: fluxes in the catalog, gaps without sources."""
    exposure = np.full(SHAPE, 2e11, np.float32)
    exposure[:, 40:44] = 0
    counts = np.random.default_rng(3).poisson(4 * (exposure > 0), SHAPE)
    counts[20:23, 20:23] += 30
    hdu = fits.ImageHDU(exposure, name='EXPOSURE')
    hdu.header['BUNIT'] = 'cm2 s'
    primary = fits.PrimaryHDU(counts.astype('i4'))
    primary.header['BUNIT'] = 'count'
    fits.HDUList([primary, hdu]).writeto('counts.fits')
    argv = ['counts.fits', '--weights', counts_weights, '-q']
    more = ['--exposure', '[EXPOSURE]', '--threshold', 0.01]
    status, _, err = run(capsys, 'detect', *argv, *more, '-o', 'list.ecsv')
    assert (status, err) == (0, [])
    table = Table.read('list.ecsv')
    assert_allclose(table['flux'], table['segment_flux'] / 2e11)
    assert table['flux'].unit == 'ct / (cm2 s)'
    assert run(capsys, 'subtract', *argv, *more, '-o', 'out.fits')[::2] == (0, [])
    assert not fits.getdata('out.fits', 'PROBABILITY')[:, 40:44].any()
    assert_allclose(fits.getdata('out.fits', 'BACKGROUND').mean(), 4, rtol=0.2)


def test_hdu_and_mask(image, weights, capsys):
    mask = np.zeros(SHAPE, np.uint8)
    mask[:30] = 1
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(make_data() + 500, name='B'),
        fits.ImageHDU(mask, name='DQ'),
    ]
    fits.HDUList(hdus).writeto('mef.fits')
    argv = ['subtract', 'mef.fits', '-o', 'out.fits', '--hdu', 'B']
    argv += ['--mask', '[DQ]', '--box-size', 10]
    assert run(capsys, *argv, *options(weights))[::2] == (0, [])
    assert abs(np.median(fits.getdata('out.fits', 'BACKGROUND')) - 1500) < 10
    assert not fits.getdata('out.fits', 'SEGM')[:30].any()
    assert not fits.getdata('out.fits', 'PROBABILITY')[:30].any()
    assert 'mask = mef.fits[DQ]' in history('out.fits')
    assert fits.getheader('out.fits', 'CATALOG')['BGREMMSK'] == 'mef.fits[DQ]'


def test_all_that_came_with_the_image_is_named(image, weights, capsys):
    """Whoever reads a product learns which pixels were left out, and why."""
    fits.writeto('flags.fits', np.full(SHAPE, 2, np.uint8))
    fits.writeto('weight.fits', np.ones(SHAPE, np.float32))
    fits.writeto('blue.fits', make_data() / 2)
    argv = ['subtract', image, '-o', 'out.fits', *options(weights)]
    more = ['--mask', 'flags.fits', '--dq-bits', '~2', '--weight', 'weight.fits[0]']
    more += ['--measure', 'blue.fits', '--gain', '2.5']
    assert run(capsys, *argv, *more)[::2] == (0, [])
    assert {
        'mask = flags.fits, bits ~2',
        'weight = weight.fits[0]',
        'measure = blue.fits',
        'effective_gain = 2.5',
    } <= set(history('out.fits'))
    _, out, _ = run(capsys, 'info', 'out.fits')
    pairs = dict(line.split(maxsplit=1) for line in out)
    assert pairs['mask'] == 'flags.fits, bits ~2'
    argv[0], argv[3] = 'detect', 'c.ecsv'
    assert run(capsys, *argv, *more)[::2] == (0, [])
    assert Table.read('c.ecsv').meta['BGREMWHT'] == 'weight.fits[0]'


def test_denoiser_options(image, weights, capsys):
    argv = ['subtract', image, '-o', 'out.fits', '--weights', weights, '--n-steps', 3]
    argv += ['--normalization', '0.1', '--device', 'cpu', '--batch-size', 1]
    assert run(capsys, *argv, '--fdr', '0.9', '-q')[0] == 0
    header = fits.getheader('out.fits', 'SCI')
    assert header['BGREMSTP'] == 3
    assert header['BGREMNRM'] == 0.1
    assert header['BGREMDEV'] == 'cpu'


def test_no_detections_is_a_warning(image, weights, capsys):
    argv = ['subtract', image, '-o', 'out.fits', '--weights', weights]
    status, _, err = run(capsys, *argv, '--threshold', '1')
    assert status == 0
    (line,) = said(err)
    assert line.startswith('bgrem: warning: No sources were found')
    assert len(fits.getdata('out.fits', 'CATALOG')) == 0


@pytest.mark.parametrize('more', [[], ['--stream']])
def test_empty_field_has_all_columns(image, weights, capsys, more):
    tables = []
    for threshold in ('0.017', '1'):
        argv = ['detect', image, '-o', f'{threshold}.ecsv', '--zero-point', '25', *more]
        argv += ['--gain', '2', '--aperture-correction', '--threshold', threshold]
        assert run(capsys, *argv, '--weights', weights, '-q')[::2] == (0, [])
        tables.append(Table.read(f'{threshold}.ecsv'))
    filled, empty = tables
    assert len(filled) > len(empty) == 0
    assert empty.colnames == filled.colnames
    for name in filled.colnames:
        assert empty[name].unit == filled[name].unit, name
        assert empty[name].dtype.kind == filled[name].dtype.kind, name
    assert 'total_flux' in empty.colnames
    assert empty['kron_mag'].unit == 'mag'


def test_second_application_warns(image, weights, capsys):
    run(capsys, 'subtract', image, '-o', 'out.fits', *options(weights))
    argv = ['subtract', 'out.fits', '-o', 'twice.fits', '--weights', weights]
    status, _, err = run(capsys, *argv, '--threshold', '0.017')
    assert status == 0
    assert said(err)[0].startswith('bgrem: warning: out.fits was made by bgrem')


GOOD_IMAGES = {
    'nan holes': np.where(make_data() > 1150, np.nan, make_data()),
    'inf': np.where(make_data() > 1150, np.inf, make_data()),
    'every other pixel': np.where(np.indices(SHAPE).sum(0) % 2, np.nan, make_data()),
    'constant': np.full(SHAPE, 7.0, np.float32),
    'zero': np.zeros(SHAPE, np.float32),
    'int16': make_data(dtype=np.int16),
    'uint16': make_data(dtype=np.uint16) + np.uint16(40000),
    'float64': make_data(dtype=np.float64),
    'column': make_data((50, 1)),
    'row': make_data((1, 50)),
    'one plane': make_data()[None],
    **{f'{n}x{n}': make_data((n, n)) for n in range(1, 6)},
}


@pytest.mark.parametrize('name', GOOD_IMAGES)
def test_odd_images_simply_work(folder, weights, capsys, name):
    data = GOOD_IMAGES[name]
    fits.writeto('in.fits', data)
    argv = ['subtract', 'in.fits', '-o', 'out.fits', '--weights', weights, '-q']
    status, _, err = run(capsys, *argv)
    assert status == 0, err
    assert all(line.startswith('bgrem: warning: ') for line in err)
    with fits.open('out.fits') as hdus:
        for hdu in hdus[1:7]:
            assert hdu.data.shape == data.shape[-2:]
        for hdu in hdus[2:7]:
            assert np.isfinite(hdu.data).all()
        assert_array_equal(
            np.isfinite(hdus['SCI'].data),
            np.isfinite(data.squeeze().reshape(data.shape[-2:])),
        )


def test_odd_cards_are_nobodys_business(folder, weights, capsys):
    fits.writeto('in.fits', make_data(), fits.Header({'OTHER': 1, 'CARD': 'a'}))
    content = Path('in.fits').read_bytes()
    card = b"CARD    = 'a       '"
    assert card in content
    odd = b'03:04:08> DATE = 1'.ljust(len(card))
    Path('in.fits').write_bytes(content.replace(card, odd))
    argv = ['subtract', 'in.fits', '-o', 'out.fits', *options(weights)]
    assert run(capsys, *argv) == (0, [], [])
    assert b'OTHER   =                    1' in Path('out.fits').read_bytes()


def bad_input(data=None, *, content=None, hdus=None):
    def make(path):
        if content is not None:
            path.write_bytes(content)
        elif hdus is not None:
            fits.HDUList(hdus).writeto(path)
        else:
            fits.writeto(path, data)

    return make


EMPTY = fits.Header({'SIMPLE': True, 'BITPIX': -32, 'NAXIS': 2})
EMPTY['NAXIS1'], EMPTY['NAXIS2'] = 5, 0
TABLE = fits.BinTableHDU.from_columns([fits.Column('a', 'E', array=[1.0])])
BAD_IMAGES = {
    '1D': (bad_input(np.ones(9)), 'holds no two-dimensional image'),
    '3D': (bad_input(np.ones((2, 3, 4))), 'holds no two-dimensional image'),
    'empty': (
        bad_input(content=EMPTY.tostring().encode()),
        'holds no two-dimensional image',
    ),
    'no image': (
        bad_input(hdus=[fits.PrimaryHDU(), TABLE]),
        'holds no two-dimensional image; its HDUs are: 0 shape (), 1 table',
    ),
    'all NaN': (
        bad_input(np.full(SHAPE, np.nan)),
        '(NaN or infinity) values. Cannot compute a background.',
    ),
    'text': (bad_input(content=b'hello'), 'in.fits cannot be read as FITS'),
    'missing': (lambda _: None, 'file in.fits does not exist'),
    'truncated': (
        bad_input(content=fits.PrimaryHDU(np.ones(SHAPE)).header.tostring().encode()),
        'file in.fits has a damaged image, HDU 0',
    ),
}
COMMANDS = {'subtract': 'out.fits', 'detect': 'out.csv', 'plot': 'out.png'}


def check_failure(folder, capsys, argv, message):
    """Run a command that must fail with one line and leave nothing."""
    before = sorted(p.name for p in folder.rglob('*'))
    status, out, err = run(capsys, *argv)
    assert status == 1
    assert out == []
    errors = [line for line in err if not line.startswith('bgrem: warning: ')]
    assert len(errors) == 1
    assert errors[0].startswith('bgrem: error: ')
    assert message in errors[0]
    assert sorted(p.name for p in folder.rglob('*')) == before


@pytest.mark.parametrize('name', BAD_IMAGES)
@pytest.mark.parametrize('command', COMMANDS)
def test_bad_images(folder, weights, capsys, command, name):
    if command == 'plot':
        pytest.importorskip('matplotlib')
    make, message = BAD_IMAGES[name]
    make(folder / 'in.fits')
    argv = [command, 'in.fits', '-o', COMMANDS[command], '--weights', weights, '-q']
    check_failure(folder, capsys, argv, message)


BAD_OPTIONS = {
    'weights name': (['--weights', 'nope'], "weights 'nope' are not known"),
    'no weights file': (['--weights', 'no.safetensors'], 'does not exist'),
    'corrupted weights': (['--weights', 'bad.safetensors'], 'corrupted or truncated'),
    'device': (['--device', 'abacus'], 'device'),
    'negative steps': (['--n-steps', '-1'], 'n_steps must be'),
    'no batch': (['--batch-size', '0'], 'batch_size must be'),
    'box size': (['--box-size', '0'], 'box_size must be > 0'),
    'factor': (['--normalization', '-2'], 'normalization'),
    'all masked': (['--mask', 'ones.fits'], 'All input pixels are masked'),
    'mask shape': (['--mask', 'small.fits'], 'data and mask must have the same shape'),
    'no mask file': (['--mask', 'no.fits'], 'file no.fits does not exist'),
    'hdu': (['--hdu', 'SCI'], "has no HDU 'SCI'"),
    'threshold': (['--threshold', '2'], 'threshold'),
    'rate': (['--fdr', '1.5'], 'false_discovery_rate must be between 0 and 1'),
    'no folder': (['-o', 'no/out.fits'], 'no does not exist'),
    'ending': (['-o', 'out.txt'], 'output file out.txt must end in .fits'),
    'input': (['-o', 'in.fits', '--overwrite'], 'in.fits is the input file'),
    'error shape': (
        ['--error', 'small.fits'],
        'data and error must have the same shape',
    ),
    'no error file': (['--error', 'no.fits[2]'], 'file no.fits does not exist'),
    'no error HDU': (['--error', 'ones.fits[ERR]'], "ones.fits has no HDU 'ERR'"),
    'exposure of no counts': (
        ['--exposure', 'ones.fits'],
        'exposure needs weights for counts',
    ),
    'error file': (
        ['--error', 'ones.fits[0]', '-o', 'ones.fits', '--overwrite'],
        'output file ones.fits is the input file',
    ),
    'mask file': (
        ['--mask', 'ones.fits', '-o', 'ones.fits', '--overwrite'],
        'ones.fits is the input file',
    ),
}


@pytest.mark.parametrize('name', BAD_OPTIONS)
def test_bad_options(folder, image, weights, capsys, name):
    fits.writeto('ones.fits', np.ones(SHAPE, np.uint8))
    fits.writeto('small.fits', np.zeros((3, 3), np.uint8))
    (folder / 'bad.safetensors').write_bytes(Path(weights).read_bytes()[:-50])
    extra, message = BAD_OPTIONS[name]
    argv = ['subtract', image, '-o', 'out.fits', '--weights', weights, '-q', *extra]
    check_failure(folder, capsys, argv, message)


def test_unwritable_folder(folder, image, weights, capsys, monkeypatch):
    # The superuser may write everywhere, so the answer is made up.
    monkeypatch.setattr('os.access', lambda *_: False)
    argv = ['subtract', image, '-o', 'out.fits', '--weights', weights]
    check_failure(folder, capsys, argv, 'cannot be written')


def test_full_disk(folder, image, weights, capsys, monkeypatch):
    def fail(self, file, **kwargs):
        file.write(b'SIMPLE')
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fits.HDUList, 'writeto', fail)
    argv = ['subtract', image, '-o', 'out.fits', *options(weights)]
    message = 'in.fits: file out.fits cannot be written: No space left on device'
    check_failure(folder, capsys, argv, message)


def test_interrupt(folder, image, weights, capsys, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr('bgrem.cli.commands.write_products', interrupt)
    argv = ['subtract', image, '-o', 'out.fits', *options(weights)]
    status, _, err = run(capsys, *argv)
    assert (status, err) == (130, ['bgrem: interrupted'])


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        ([], 'required: COMMAND'),
        (['fly'], "invalid choice: 'fly'"),
        (['subtract'], 'required: IN.fits, -o/--output'),
        (
            ['subtract', 'in.fits', '-o', 'a.fits', '--boxsize', '32'],
            'unrecognized arguments: --boxsize 32 (did you mean --box-size?)',
        ),
        (
            ['detect', 'in.fits', '-o', 'a.csv', '--zeropoint=25'],
            'unrecognized arguments: --zeropoint=25 (did you mean --zero-point?)',
        ),
        (
            ['plot', 'in.fits', '-o', 'a.png', '--wavelength', '3'],
            'unrecognized arguments: --wavelength 3\n',
        ),
        (
            ['plot', 'in.fits', '-o', 'a.png', '--regions', 'a.reg'],
            'arguments: --regions a.reg (an option of bgrem subtract and bgrem detect)',
        ),
        (
            ['info', 'a.fits', '--seed=3'],
            'unrecognized arguments: --seed=3 (an option of bgrem demo)',
        ),
        (['subtract', 'in.fits', '-o', 'a.fits', '--n-steps', 'x'], 'invalid int'),
        (
            ['plot', 'in.fits', '-o', 'a.png', '--normalization', 'none'],
            "must be 'local', 'global' or a number, got 'none'",
        ),
        (
            ['plot', 'in.fits', '-o', 'a.png', '--box-size', '1.5'],
            "must be 'auto' or a number of pixels, got '1.5'",
        ),
        (
            # the rate is the default: given all the same
            ['detect', 'in.fits', '-o', 'a.csv', '--fdr', '0.05', '--threshold', '0.5'],
            'argument --threshold: not allowed with argument --false-discovery-rate',
        ),
    ],
)
def test_usage_errors(capsys, argv, message):
    with pytest.raises(SystemExit, match='2'):
        main(argv)
    assert message in capsys.readouterr().err


def test_info(capsys):
    status, out, err = run(capsys, 'info')
    assert (status, err) == (0, [])
    text = '\n'.join(out)
    assert bgrem.__version__ in text
    assert 'devices: cpu' in text
    assert all(name in text for name in list_weights())


def test_info_about_weights(folder, capsys):
    state = AttentionUNet(CONFIG).state_dict()
    save_weights('tiny.safetensors', state, make_header())
    status, out, _ = run(capsys, 'info', 'tiny.safetensors')
    assert status == 0
    text = '\n'.join(out)
    for expected in ('sha256', 'n_parameters', '"widths": [4, 8]', '3 knots'):
        assert expected in text
    assert json.loads('\n'.join(out[out.index('{') :])) == {'steps': 10}


def test_info_about_shipped_weights(capsys):
    _, out, _ = run(capsys, 'info', 'optical')
    assert out[0].split(maxsplit=1) == [
        'purpose',
        shipped_weights()['optical'].description,
    ]
    # a list takes one line
    assert '      "fwhm": [1.1, 8.0],' in out


@pytest.mark.parametrize('command', ['subtract', 'detect', 'plot', 'demo'])
def test_help_groups_the_options(capsys, command):
    with pytest.raises(SystemExit, match='0'):
        main([command, '--help'])
    text = capsys.readouterr().out
    for option in ('--quiet', '--weights', '--seed' if command == 'demo' else '--hdu'):
        assert len(re.findall(rf'^ +(-\w, )?{option}\b', text, re.MULTILINE)) == 1
    assert '\nnetwork:\n' in text


def test_info_about_a_product(image, weights, capsys):
    run(capsys, 'subtract', image, '-o', 'out.fits', *options(weights))
    status, out, _ = run(capsys, 'info', 'out.fits')
    assert status == 0
    pairs = dict(line.split(maxsplit=1) for line in out)
    assert pairs['weights'] == 'tiny'
    assert len(pairs['weights_sha256']) == 64
    assert re.fullmatch(r'auto \(finest \d+ x \d+\)', pairs['box_size'])
    argv = ['subtract', image, '-o', 'given.fits', '--box-size', '30']
    run(capsys, *argv, *options(weights))
    _, out, _ = run(capsys, 'info', 'given.fits')
    assert ['box_size', '(30, 30)'] in [line.split(maxsplit=1) for line in out]


@pytest.mark.parametrize(
    ('what', 'message'),
    [
        ('in.fits', 'file in.fits was not made by bgrem'),
        ('no.fits', 'file no.fits does not exist'),
        ('no.safetensors', 'does not exist'),
        ('nope', "weights 'nope' are not known"),
    ],
)
def test_info_failures(folder, image, capsys, what, message):
    check_failure(folder, capsys, ['info', what], message)


def test_version(capsys):
    with pytest.raises(SystemExit, match='0'):
        main(['--version'])
    assert capsys.readouterr().out == f'bgrem {bgrem.__version__}\n'


@pytest.mark.parametrize('command', ['train', 'evaluate', 'simulate'])
def test_dispatched_commands(capsys, command):
    with pytest.raises(SystemExit, match='0'):
        main([command, '--help'])
    assert f'usage: bgrem {command}' in capsys.readouterr().out


def test_errors_of_dispatched_commands(folder, capsys):
    check_failure(
        folder, capsys, ['train', 'no.toml'], 'config file no.toml does not exist'
    )
    argv = ['simulate', 'gamma', '-o', 'out.fits', '--diffuse', 'no.fits']
    check_failure(folder, capsys, argv, 'diffuse file no.fits does not exist')


def test_warning_filters_are_restored(capsys):
    before, show = list(warnings.filters), warnings.showwarning
    run(capsys, 'info', 'nope')
    assert warnings.filters == before
    assert warnings.showwarning is show


def test_help_is_light():
    code = (
        'import sys\n'
        'from bgrem.cli.main import main\n'
        'try:\n'
        "    main(['--help'])\n"
        'except SystemExit:\n'
        '    pass\n'
        "heavy = {'torch', 'galsim', 'matplotlib', 'skimage', 'astropy'}\n"
        'sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)'
    )
    result = subprocess.run(
        [sys.executable, '-c', code], check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def test_python_m_bgrem(folder):
    result = subprocess.run(
        [sys.executable, '-m', 'bgrem', 'info', 'no.fits'],
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stderr == 'bgrem: error: file no.fits does not exist\n'
