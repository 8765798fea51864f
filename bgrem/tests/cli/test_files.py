"""Files as observatories write them, through the command line."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from numpy.testing import assert_allclose

from bgrem.cli.processing import _sum_up
from bgrem.tests.cli.test_main import check_failure, run, said

SHAPE = (80, 90)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = tmp_path / 'work'
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def options(tiny_weights):
    return ['--weights', str(tiny_weights), '-q', '--threshold', '0.017']


def make_wcs(chip):
    """Return the header of a chip's WCS, with distortion."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ['RA---TAN-SIP', 'DEC--TAN-SIP']
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = [45 + 100 * chip, 40]
    wcs.wcs.cdelt = [-1e-4, 1e-4]
    header = wcs.to_header()
    header['CTYPE1'], header['CTYPE2'] = 'RA---TAN-SIP', 'DEC--TAN-SIP'
    header.update({'A_ORDER': 2, 'B_ORDER': 2, 'A_2_0': 1e-4, 'B_0_2': 1e-4})
    return header


def make_data(x, y, seed=1):
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(SHAPE)
    star = 5000 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 6)
    return (rng.normal(100, 5, SHAPE) + star).astype(np.float32)


STARS = [(30, 50), (60, 20)]


@pytest.fixture
def exposure(folder):
    """Two chips with one star each, and ERR, DQ and WHT beside them."""
    hdus = [fits.PrimaryHDU(None, fits.Header({'TELESCOP': 'HST', 'GAINKEY': 4.0}))]
    for chip, (x, y) in enumerate(STARS):
        header = make_wcs(chip)
        header['BUNIT'] = 'ELECTRONS/S'
        flags = np.full(SHAPE, 4, np.int16)
        flags[:, 80:] |= 16
        maps = {
            'ERR': np.full(SHAPE, 5.0 + chip, np.float32),
            'DQ': flags,
            'SCI': make_data(x, y, chip),
            'WHT': np.where(np.indices(SHAPE)[0] < 40, 1.0, 0.25).astype(np.float32),
        }
        for name, pixels in maps.items():
            hdu = fits.ImageHDU(pixels, header if name == 'SCI' else None, name=name)
            hdu.ver = chip + 1
            hdus.append(hdu)
    fits.HDUList(hdus).writeto('in.fits')
    return 'in.fits'


def brightest(table, chip):
    rows = table[np.asarray(table['extension']).astype(str) == f'SCI,{chip}']
    return rows[np.argmax(np.asarray(rows['segment_flux']))]


@pytest.mark.parametrize('name', ['c.fits', 'c.ecsv', 'c.csv', 'out.fits.gz'])
def test_every_chip(exposure, options, capsys, name):
    command = 'subtract' if name.startswith('out') else 'detect'
    argv = [command, exposure, '-o', name, *options]
    assert run(capsys, *argv) == (0, [], [])
    kind = {'hdu': 'CATALOG', 'unit_parse_strict': 'silent'} if 'fits' in name else {}
    table = Table.read(name, **kind)
    assert table.colnames[0] == 'extension'
    for chip, (x, y) in enumerate(STARS):
        row = brightest(table, chip + 1)
        assert_allclose([row['x'], row['y']], [x, y], atol=1)
        place = row['x'], row['y']
        expected = WCS(make_wcs(chip)).all_pix2world(*place, 0)
        assert_allclose([row['ra'], row['dec']], expected, rtol=0, atol=1e-7)
    assert str(table['segment_flux'].unit or 'electron / s') in (
        'electron / s',
        'electron s-1',
    )


def test_products_of_chips(exposure, options, capsys):
    argv = ['subtract', exposure, '-o', 'out.fits', *options]
    assert run(capsys, *argv) == (0, [], [])
    with fits.open('out.fits', checksum=True) as hdus:
        hdus.verify('exception')
        assert len(hdus) == 1 + 2 * 6 + 1
        assert hdus[0].header['EXTEND'] is True
        assert hdus[0].header['TELESCOP'] == 'HST'
        for chip, (x, y) in enumerate(STARS):
            science = hdus['SCI', chip + 1]
            assert science.header['BGREMEXT'] == f'SCI,{chip + 1}'
            assert science.header['BUNIT'] == 'ELECTRONS/S'
            top = np.unravel_index(np.argmax(science.data), SHAPE)
            assert_allclose(top, (y, x), atol=1)
            n_labels = hdus['SEGM', chip + 1].data.max()
            names = np.asarray(hdus['CATALOG'].data['extension']).astype(str)
            assert np.sum(names == f'SCI,{chip + 1}') == n_labels


def test_summary_of_chips(exposure, options, capsys):
    options.remove('-q')
    status, out, _ = run(capsys, 'detect', exposure, '-o', 'c.csv', *options)
    assert status == 0
    assert len(out) == 1
    assert out[0].startswith('in.fits: ')
    assert ' sources in 2 images; median sky ' in out[0]
    assert out[0].endswith(' electron / s; c.csv')


def test_errors_of_each_chip(exposure, options, capsys):
    argv = ['detect', exposure, '-o', 'c.ecsv', '--error', '[ERR]', *options]
    assert run(capsys, *argv) == (0, [], [])
    table = Table.read('c.ecsv')
    for chip in (1, 2):
        row = brightest(table, chip)
        assert_allclose(
            row['segment_flux_err'], (4 + chip) * np.sqrt(row['area']), rtol=1e-5
        )


def test_weights_are_scaled_by_the_noise(exposure, options, capsys):
    with fits.open(exposure, mode='update') as hdus:
        for hdu in hdus:
            if hdu.name == 'WHT':
                hdu.data *= 1000
    # The untrained network leaves half of the star: boxes whose estimators clip it.
    argv = ['detect', exposure, '-o', 'c.ecsv', '--weight', '[WHT]', *options]
    assert run(capsys, *argv, '--box-size', '20') == (0, [], [])
    table = Table.read('c.ecsv')
    # At y = 50 the weight is a quarter of that at y = 20.
    errors = [
        brightest(table, chip)['segment_flux_err']
        / np.sqrt(brightest(table, chip)['area'])
        for chip in (1, 2)
    ]
    assert_allclose(errors[0] / errors[1], 2, rtol=0.15)
    # What is not scaled would be 0.03 and 0.06.
    assert 1 < errors[1] < 5


def test_plot_products_of_chips(folder, exposure, options, capsys, monkeypatch):
    """A picture for each, of what the file holds."""
    drawn = []

    def save_plot(path, background, labels, *, wcs, title):
        drawn.append((path.name, background, labels, wcs, title))

    pytest.importorskip('matplotlib')
    assert run(capsys, 'subtract', exposure, '-o', 'o.fits', *options)[0] == 0
    monkeypatch.setattr('bgrem.denoise.run.denoise', None)
    monkeypatch.setattr('bgrem.plotting.save_plot', save_plot)
    status, out, err = run(capsys, 'plot', 'o.fits', '-o', 'a.png')
    assert (status, err) == (0, [])
    assert out[0].endswith('a-1.png, a-2.png')
    with fits.open('o.fits') as hdus:
        for chip, (name, background, labels, wcs, title) in enumerate(drawn, start=1):
            assert name == f'a-{chip}.png'
            assert title.startswith(f'o.fits, HDU SCI,{chip} – weights tiny – ')
            assert_allclose(labels, hdus['SEGM', chip].data)
            assert_allclose(background.subtract().value, hdus['SCI', chip].data)
            assert_allclose(background.source.value, hdus['SOURCE', chip].data)
            assert background.background.unit == 'electron / s'
            assert wcs.wcs.crpix[0] == 45 + 100 * (chip - 1)


def test_flags(exposure, options, capsys, monkeypatch):
    monkeypatch.setattr('bgrem.cli.process._BAR_SECONDS', 0)

    def detect(*more):
        argv = ['detect', exposure, '-o', 'c.ecsv', '--overwrite', *options, *more]
        return run(capsys, *argv)

    status, _, err = detect('--dq-bits', '16')
    assert (status, err) == (0, [])
    assert np.all(Table.read('c.ecsv')['x_centroid'] < 80)
    assert detect('--mask', 'in.fits[DQ]', '--dq-bits', '~4')[::2] == (0, [])
    # Every flag masks: nothing is left of one chip.
    with fits.open(exposure, mode='update') as hdus:
        hdus['DQ', 2].data[:45] = 0
    options.remove('-q')
    status, _, err = detect('--mask', '[DQ]')
    assert status == 0
    assert said(err)[0] == (
        'bgrem: warning: in.fits, HDU SCI,1, has no usable pixel and is left out'
    )
    bars = [line for line in err if 'tile' in line]
    assert bars
    assert all(line.startswith('HDU SCI,2: sources: ') for line in bars)


def test_more_than_half_masked(exposure, options, capsys):
    with fits.open(exposure, mode='update') as hdus:
        hdus['DQ', 1].data[:35] = 0
    argv = ['detect', exposure, '-o', 'c.csv', '--hdu', 'SCI,1', '--mask', '[DQ]']
    options.remove('-q')
    status, _, err = run(capsys, *argv, *options)
    assert status == 0
    assert said(err)[0] == (
        'bgrem: warning: 56% of in.fits, HDU SCI,1, are masked; where the mask holds '
        'flags, --dq-bits chooses those that matter'
    )


def test_gain(exposure, options, capsys):
    tables = {}
    for name, more in {
        'none': [],
        'number': ['--gain', '4'],
        'keyword': ['--gain', 'GAINKEY'],
        'weight': ['--gain', '4', '--weight', '[WHT]'],
    }.items():
        argv = ['detect', exposure, '-o', f'{name}.ecsv', *options, *more]
        assert run(capsys, *argv) == (0, [], [])
        tables[name] = brightest(Table.read(f'{name}.ecsv'), 1)
    plain, number = tables['none'], tables['number']
    photons = number['segment_flux'] / 4
    expected = np.sqrt(plain['segment_flux_err'] ** 2 + photons)
    assert_allclose(number['segment_flux_err'], expected, rtol=0.02)
    assert_allclose(tables['keyword']['segment_flux_err'], number['segment_flux_err'])
    assert tables['weight']['segment_flux_err'] > number['segment_flux_err'] / 2


@pytest.mark.parametrize('more', [[], ['--stream']])
def test_zero_point_is_told(exposure, options, capsys, more):
    """Products and tables say what their magnitudes are relative to."""
    argv = [exposure, '--zero-point', '25', '--hdu', 'SCI,1', *options, *more]
    assert run(capsys, 'subtract', *argv, '-o', 'r.fits') == (0, [], [])
    assert fits.getheader('r.fits')['MAGZERO'] == 25
    assert run(capsys, 'detect', *argv, '-o', 'c.ecsv') == (0, [], [])
    assert Table.read('c.ecsv').meta['MAGZERO'] == 25


def test_aperture_correction(exposure, options, capsys):
    argv = ['detect', exposure, '-o', 'c.ecsv', '--aperture-correction', *options]
    assert run(capsys, *argv)[0] == 0
    assert 'total_flux' in Table.read('c.ecsv').colnames


def test_regions_and_pictures_of_chips(folder, exposure, options, capsys):
    pytest.importorskip('matplotlib')
    for command, name in (('detect', 'c.csv'), ('subtract', 's.fits')):
        argv = [command, exposure, '-o', name, '--regions', f'{name[0]}.reg', *options]
        assert run(capsys, *argv)[0] == 0
    assert run(capsys, 'plot', exposure, '-o', 'p.png', *options)[0] == 0
    names = {path.name for path in folder.iterdir()}
    regions = {f'{name}-{k}.reg' for name in 'cs' for k in (1, 2)}
    pictures = {'p-1.png', 'p-2.png'}
    assert names == {'in.fits', 'c.csv', 's.fits', *regions, *pictures}
    for k in (1, 2):
        text = (folder / f'c-{k}.reg').read_text()
        assert text == (folder / f's-{k}.reg').read_text()
        assert text.count('ellipse') > 0


def test_plane(folder, options, capsys):
    axis = {'CTYPE3': 'FREQ', 'CRVAL3': 1e9, 'CDELT3': 1e6, 'CRPIX3': 1.0, 'CRPIX3B': 5}
    cube = np.stack([make_data(20, 20), make_data(*STARS[0])])
    fits.writeto('in.fits', cube, fits.Header(axis))
    check_failure(folder, capsys, ['detect', 'in.fits', '-o', 'c.csv'], 'a plane of a')
    argv = ['subtract', 'in.fits', '-o', 'out.fits', '--plane', '1', *options]
    assert run(capsys, *argv) == (0, [], [])
    with fits.open('out.fits') as hdus:
        top = np.unravel_index(np.argmax(hdus['SCI'].data), SHAPE)
        assert_allclose(top[::-1], STARS[0], atol=1)
        header = hdus['SCI'].header
        assert any('plane (1,)' in line for line in header['HISTORY'])
        # what is left of the third axis is the second plane
        frequency = header['CRVAL3'] + (1 - header['CRPIX3']) * header['CDELT3']
        assert_allclose(frequency, 1.001e9)
        assert header['CRPIX3B'] == 4
    argv = ['detect', 'in.fits', '-o', 'c.csv', '--plane']
    check_failure(
        folder, capsys, [*argv, '2'], 'has the planes 0 to 1, got the plane (2,)'
    )
    check_failure(folder, capsys, [*argv, '0,1'], 'one number for each axis of a cube')


@pytest.fixture
def three(folder):
    for name in ('a', 'c'):
        fits.writeto(f'{name}.fits', make_data(40, 40))
    (folder / 'b.fits').write_bytes(b'no image')
    return ['a.fits', 'b.fits', 'c.fits']


def test_many_files(folder, three, options, capsys):
    options.remove('-q')
    status, out, err = run(capsys, 'detect', *three, '-o', '{}_cat.csv', *options)
    assert status == 1
    assert [line.partition(':')[0] for line in out] == ['a.fits', 'c.fits']
    errors = [line for line in err if 'error' in line]
    assert len(errors) == 1
    assert errors[0].startswith('bgrem: error: file b.fits cannot be read as FITS')
    assert {path.name for path in folder.glob('*.csv')} == {'a_cat.csv', 'c_cat.csv'}
    argv = ['detect', 'a.fits', 'c.fits', '-o', '{}.ecsv', *options, '-q']
    assert run(capsys, *argv) == (0, [], [])


def test_many_files_without_their_folder(folder, three, capsys):
    """None is processed, so the message is not about the one that fails by itself."""
    argv = ['detect', *three, '-o', 'no/{}.csv']
    check_failure(folder, capsys, argv, 'no does not exist')


@pytest.mark.parametrize(
    ('n_sources', 'text'), [(0, '0 sources'), (1, '1 source'), (2, '2 sources')]
)
def test_summary(n_sources, text):
    line = _sum_up('a.fits', n_sources, 1, (200, 5), ['b.fits'])
    assert line == f'a.fits: {text}; median sky 200, noise 5; b.fits'


def test_warnings_of_many_files(three, options, capsys, monkeypatch):
    monkeypatch.setattr('bgrem.cli.process._BAR_SECONDS', 0)
    argv = ['detect', 'a.fits', 'c.fits', '-o', '{}.csv', *options]
    argv[argv.index('0.017')] = '1'
    assert run(capsys, *argv) == (0, [], [])
    argv.remove('-q')
    status, _, err = run(capsys, *argv, '--overwrite')
    assert status == 0
    assert [line[:24] for line in said(err)] == [
        'bgrem: warning: a.fits: ',
        'bgrem: warning: c.fits: ',
    ]
    for number, name in enumerate(['a.fits', 'c.fits'], start=1):
        assert any(f'[{number}/2] {name}: sources: ' in line for line in err)


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['a.fits', 'c.fits', '-o', 'x.csv'], 'output file x.csv would be that of a'),
        (['a.fits', '--plane', '0', '-o', 'x.csv'], 'a.fits'),
        (['a.fits', '--gain', 'NOKEY', '-o', 'x.csv'], 'has no keyword NOKEY'),
        (['a.fits', '--gain', '-1', '-o', 'x.csv'], 'gain must be a positive number'),
        (['a.fits', '--dq-bits', 'x', '-o', 'x.csv'], 'bits must be powers of two'),
        (['a.fits', '--dq-bits', '1', '-o', 'x.csv'], "file a.fits has no HDU 'DQ'"),
        (
            ['a.fits', '--error', 'c.fits', '--gain', '1', '-o', 'x.csv'],
            'gain must not be given with error',
        ),
        (
            ['a.fits', '--error', 'c.fits', '--weight', 'c.fits', '-o', 'x.csv'],
            'error and weight must not be given together',
        ),
        (['a.fits', '--weight', 'b.fits', '-o', 'x.csv'], 'b.fits cannot be read'),
    ],
)
def test_refused(folder, three, options, capsys, argv, message):
    check_failure(folder, capsys, ['detect', *argv, *options], message)


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        (['--threshold', '2'], 'threshold must be between 0 and 1'),
        (['--fdr', '0'], 'false_discovery_rate must be between 0 and 1'),
        (['--n-steps', '0'], 'n_steps must be a positive integer'),
        (['--n-symmetries', '3'], 'n_symmetries must be 1, 2, 4 or 8'),
        (['--batch-size', '-1'], 'batch_size must be a positive integer'),
        (['--device', 'abacus'], "device must be 'auto'"),
        (['--zero-point', 'inf'], 'zero_point must be finite'),
    ],
)
def test_options_are_checked_before_the_network_runs(
    folder, three, options, capsys, monkeypatch, option, message
):
    def run_network(*args, **kwargs):
        pytest.fail('the network runs')

    monkeypatch.setattr('bgrem.denoise.run.denoise', run_network)
    argv = ['detect', 'a.fits', 'c.fits', '-o', '{}.csv', *options, *option]
    if option[0] == '--fdr':
        del argv[argv.index('--threshold') : argv.index('--threshold') + 2]
    check_failure(folder, capsys, argv, message)


def write_image(path, data, seed):
    noise = np.random.default_rng(seed).normal(0, 5, SHAPE)
    fits.writeto(path, (data + noise).astype(np.float32))


def test_measure_another_image(folder, options, capsys):
    """The sources of one image, the fluxes of the other, with its own sky."""
    star = make_data(40, 30, 3) - 100
    write_image('blue.fits', 100 + star, 1)
    write_image('red.fits', 900 + 3 * star, 2)
    run(capsys, 'detect', 'blue.fits', '-o', 'blue.ecsv', *options)
    argv = ['detect', 'blue.fits', '-o', 'both.ecsv', '--measure', 'red.fits']
    assert run(capsys, *argv, *options, '--zero-point', '25') == (0, [], [])
    blue, both = (Table.read(f'{name}.ecsv') for name in ('blue', 'both'))
    for name in ('x', 'y', 'detection_probability', 'orientation', 'area'):
        assert_allclose(both[name], blue[name])
    row = np.argmax(blue['segment_flux'])
    assert_allclose(both['kron_flux'][row] / blue['kron_flux'][row], 3, rtol=0.1)
    expected = 25 - 2.5 * np.log10(both['kron_flux'][row])
    assert_allclose(both['kron_mag'][row], expected)
    assert 'kron_mag' not in blue.colnames
    # products too, and never instead of what is read
    argv = ['subtract', 'blue.fits', '-o', 'out.fits', '--measure', 'red.fits']
    assert run(capsys, *argv, *options) == (0, [], [])
    with fits.open('out.fits') as hdus:
        assert_allclose(hdus['CATALOG'].data['kron_flux'], both['kron_flux'], rtol=1e-6)
    argv = ['subtract', 'blue.fits', '-o', 'red.fits', '--measure', 'red.fits']
    argv += ['--overwrite', *options]
    check_failure(folder, capsys, argv, 'red.fits')


def test_measure_chips(exposure, folder, options, capsys):
    """Each chip has its own; what does not fit is refused."""
    argv = ['detect', exposure, '-o', 'c.ecsv', '--measure', exposure, *options]
    assert run(capsys, *argv) == (0, [], [])
    plain = ['detect', exposure, '-o', 'p.ecsv', *options]
    assert run(capsys, *plain) == (0, [], [])
    own, other = (Table.read(name) for name in ('p.ecsv', 'c.ecsv'))
    assert_allclose(own['kron_flux'], other['kron_flux'], rtol=1e-5)
    fits.writeto('small.fits', np.ones((20, 30), np.float32))
    argv = ['detect', exposure, '-o', 'd.ecsv', '--measure', 'small.fits', *options]
    one_chip = [*argv, '--hdu', 'SCI,1']
    check_failure(folder, capsys, one_chip, 'must have the same shape')
    argv[5] = 'no.fits'
    check_failure(folder, capsys, argv, 'no.fits')
    # not the pixels of one chip in the apertures of the other
    argv[5] = 'in.fits[SCI,1]'
    check_failure(folder, capsys, argv, 'no image in HDU SCI,2 to measure')


def test_gain_of_the_image_to_measure(folder, options, capsys):
    """The total error is that of the other image."""
    write_image('blue.fits', make_data(40, 30, 3), 1)
    write_image('red.fits', make_data(40, 30, 3), 2)
    fits.writeto('err.fits', np.full(SHAPE, 7, np.float32))
    argv = ['detect', 'blue.fits', '-o', 'a.ecsv', '--measure', 'red.fits', *options]
    argv += ['--error', 'err.fits']
    assert run(capsys, *argv) == (0, [], [])
    argv[3] = 'b.ecsv'
    assert run(capsys, *argv, '--gain', '2') == (0, [], [])
    plain, photons = (Table.read(name) for name in ('a.ecsv', 'b.ecsv'))
    row = np.argmax(plain['segment_flux'])
    added = photons['segment_flux_err'] ** 2 - plain['segment_flux_err'] ** 2
    assert_allclose(added[row], plain['segment_flux'][row] / 2, rtol=0.02)


@pytest.mark.parametrize('unit', [None, 'adu'])
def test_chips_of_different_units(exposure, folder, options, capsys, unit):
    """No column holds both; each can be had by its HDU."""
    with fits.open(exposure, mode='update') as hdus:
        del hdus['SCI', 2].header['BUNIT']
        if unit is not None:
            hdus['SCI', 2].header['BUNIT'] = unit
    argv = ['detect', exposure, '-o', 'c.ecsv', *options]
    message = f'electron / s in HDU SCI,1, {unit or "none"} in HDU SCI,2'
    check_failure(folder, capsys, argv, message)
    assert run(capsys, *argv, '--hdu', 'SCI,2') == (0, [], [])
    assert str(Table.read('c.ecsv')['kron_flux'].unit) == str(unit)
