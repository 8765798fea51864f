"""Tests of docs/make_results.py, on results made by hand."""

import copy
import json
import sys
from pathlib import Path
from runpy import run_path

import pytest
from astropy.table import Table

SCRIPT = Path(__file__).parents[2] / 'docs' / 'make_results.py'
RATES = (0.01, 0.02, 0.05, 0.10, 0.20)


def method(*counts):
    return {'true_positives': list(counts)}


def detection(**ours):
    return {
        'n_true': 90,
        'methods': {
            **ours,
            'sep default': method(1, 40, 40, 40, 40),
            'sep matched': method(4, 8, 16, 32, 64),
            'oracle': method(0, 20, 40, 80, 80),
        },
    }


def flux_bin(kind, low, high, n=9):
    return {
        'kind': kind, 'snr_low': low, 'snr_high': high, 'n': n,
        'median_bias': -0.0123, 'pull_mean': 0.456, 'pull_std': 1.234,
    }  # fmt: skip


def photometry():
    bins = [
        flux_bin('star', 3.0, 5.0),
        flux_bin('star', 5.0, 10.0),
        flux_bin('star', 20.0, None),
        flux_bin('galaxy', 5.0, 10.0, n=4),
    ]
    names = ('bgrem', 'bgrem 8', 'true sky', 'Background2D', 'denoised, clipped')
    return {
        'aperture': dict.fromkeys(names, bins),
        'kron': dict.fromkeys(names, bins),
        'total': dict.fromkeys(names, bins[2:]),
        'local': dict.fromkeys(names, bins[2:]),
        'positions': {
            'n_sources': 12,
            'n_not_finite': 1,
            'position': {'n': 7, 'ratio': 1.118},
            'centroid': {'n': 7, 'ratio': None},
        },
    }


def sky():
    rms = {
        'Background2D 8': 0.05, 'Background2D 16': 0.3, 'Background2D 32': 0.2,
        'bgrem': 0.04, 'bgrem 8': 0.09, 'bgrem 32': 0.07, 'bgrem, old': 0.06,
        'bgrem, mean': 0.03, 'bgrem, mean 8': 0.02,
    }  # fmt: skip
    return {
        **{name: {'rms': value} for name, value in rms.items()},
        'Background2D best': {'rms': 0.05, 'box_size': 8},
        'bgrem best': {'rms': 0.04, 'box_size': 32},
        'bgrem, mean best': {'rms': 0.02, 'box_size': 8},
    }


def results(families, suite='optical', name='ours', **others):
    return {
        'suite': suite,
        'seed': 5,
        'weights': {name: '0123456789'},
        'families': families,
        **others,
    }


@pytest.fixture
def measured():
    """Two families, given in another order than that of the tables."""
    ours = method(8, 10, 16, 32, 64)
    ours['false_discovery'] = [
        {'promised': rate, 'observed': None if rate == 0.01 else rate / 2}
        for rate in RATES
    ]
    parts = {
        'detection': detection(ours=ours),
        'sky': sky(),
        'photometry': photometry(),
    }
    return results({'mosaic': parts, 'flat': parts}, n_scenes=3)


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Return a function that runs the script and gives the cells of its tables."""
    if not SCRIPT.exists():
        pytest.skip('the documentation is in the repository only')

    def run(*arguments):
        output = tmp_path / 'tables'
        argv = ['make_results.py', *map(str, arguments), '-o', str(output)]
        monkeypatch.setattr(sys, 'argv', argv)
        run_path(str(SCRIPT), run_name='__main__')
        tables = {}
        for path in output.iterdir():
            text = path.read_text(encoding='utf-8')
            note, _, caption, style, _, *lines = text.splitlines()
            assert style == '   :class: numbers'
            assert note.startswith('.. Written by ``python docs/make_results.py``')
            assert caption.startswith('.. table:: ')
            lines = [line.removeprefix('   ') for line in lines]
            table = Table.read(lines, format='ascii.rst', converters={'*': str})
            # The escape keeps a dash from being the bullet of a list.
            rows = [[cell.replace('\\-', '-') for cell in row] for row in table]
            tables[path.stem] = [
                dict(zip(table.colnames, row, strict=True)) for row in rows
            ]
        return tables

    return run


@pytest.fixture
def write(tmp_path):
    """Return a function that writes the results of a folder."""

    def write_folder(name, content):
        folder = tmp_path / name
        folder.mkdir()
        (folder / 'results.json').write_text(json.dumps(content), encoding='utf-8')
        return folder

    return write_folder


def test_detection(make, write, measured):
    others = detection(paper=method(1, 1, 2, 3, 5))
    paper = results({'flat': {'detection': others}}, name='paper', version='1.2')
    tables = make(write('a', measured), '--paper', write('paper', paper))
    found = {
        (row.pop('family'), row.pop('method')): ' '.join(row.values())
        for row in tables['detection']
    }
    flat = {
        'ours': '8 10 16 32 64',
        'best peer at each': '4 40 40 40 64',
        'paper': '1 1 2 3 5',
        'oracle': '0 20 40 80 80',
    }
    assert {
        name: cells for (family, name), cells in found.items() if family == 'flat'
    } == flat
    del flat['paper']
    assert (
        found.items()
        >= {('mosaic', name): cells for name, cells in flat.items()}.items()
    )
    assert ('mosaic', 'paper') not in found
    assert list(tables['detection'][0]) == ['1%', '2%', '5%', '10%', '20%']
    assert tables['false_discovery'][1] == {
        'family': 'mosaic',
        'weights': 'ours',
        **{'1%': '-', '2%': '1.0%', '5%': '2.5%', '10%': '5.0%', '20%': '10.0%'},
    }
    assert tables['runs'][1] == {
        'suite': 'optical',
        'weights': 'paper',
        'sha256': '01234567',
        'parts': 'detection',
        'scenes of a family': '-',
        'seed': '5',
        'date': '-',
        'version': '1.2',
    }


def test_promise_of_more_scenes(make, write, measured):
    """Only its false-discovery rates count."""
    more = copy.deepcopy(measured)
    for parts in more['families'].values():
        parts['detection']['methods']['ours']['true_positives'] = [99] * len(RATES)
        parts['detection']['methods']['ours']['false_discovery'] = [
            {'promised': rate, 'observed': 2 * rate} for rate in RATES
        ]
    folders = write('a', measured), '--promise', write('b', more)
    tables = make(*folders)
    assert tables['false_discovery'][0]['20%'] == '40.0%'
    assert tables['detection'][0]['method'] == 'ours'
    assert tables['detection'][0]['20%'] == '64'


def test_sky_takes_any_estimator(make, write, measured):
    assert make(write('a', measured))['sky'][0] == {
        'family': 'flat',
        'Background2D, best of 16-32': '0.200 (32)',
        'box 8': '0.050',
        'bgrem, best of 8-32': '0.040 (32)',
        'ratio': '5.0',
        'bgrem, mean, best of 8-32': '0.020 (8)',
        'ratio, mean': '10.0',
        'box auto': '0.040',
        'box auto, old': '0.060',
        'box auto, mean': '0.030',
        'box 32': '0.070',
    }


def test_photometry(make, write, measured):
    tables = make(write('a', measured))
    star, gap, bright, galaxy = tables['fluxes'][:4]
    assert star['family'] == galaxy['family'] == 'flat'
    assert [row['S/N'] for row in (star, gap, bright)] == ['5-10', '10-20', '> 20']
    # No source of S/N 10-20, and too few galaxies.
    assert star['box auto'] == bright['denoised, clipped'] == '-1.2'
    assert gap['box auto'] == galaxy['true sky'] == '-'
    star, gap, bright, galaxy = tables['pulls'][:4]
    assert [row['n'] for row in (star, gap, bright)] == ['9', '0', '9']
    assert [star['bgrem, mean'], bright['true sky, std']] == ['+0.46', '1.23']
    assert gap['bgrem, mean'] == galaxy['bgrem, std'] == '-'
    first, _, bright = tables['totals'][:3]
    assert first['n of local'] == '0'
    assert bright == {
        'family': 'flat',
        'kind': 'star',
        'S/N': '> 20',
        'Kron': '-1.2',
        'Kron, true sky': '-1.2',
        'total': '-1.2',
        'total, true sky': '-1.2',
        'local': '-1.2',
        'local, true sky': '-1.2',
        'n of local': '9',
    }
    assert tables['positions'][1] == {
        'family': 'mosaic',
        'sources': '12',
        'not finite': '1',
        'isolated stars': '7',
        'position': '1.12',
        'centroid': '-',
    }


def test_dash_is_no_bullet(make, write, measured, tmp_path):
    make(write('a', measured))
    lines = (tmp_path / 'tables' / 'positions.rst').read_text(encoding='utf-8')
    assert r' \-' in lines


def test_fluxes_of_the_mean(make, write, measured):
    titles = ['box auto', 'box 8', 'true sky', 'Background2D', 'denoised, clipped']
    row = make(write('a', measured))['fluxes'][0]
    assert list(row) == ['family', 'kind', 'S/N', *titles]
    aperture = measured['families']['flat']['photometry']['aperture']
    aperture['bgrem, mean'] = [flux_bin('star', 5.0, 10.0) | {'median_bias': 0.02}]
    row = make(write('b', measured))['fluxes'][0]
    assert row['box auto, mean'] == '+2.0'


def test_families_of_several_folders(make, write, measured):
    flat, mosaic = copy.deepcopy(measured), copy.deepcopy(measured)
    del flat['families']['mosaic'], mosaic['families']['flat']
    alarms = {'ours': {'white': 0.104, 'gradient': 0.0}}
    noise = results({'flat': {}}, n_scenes=1, noise_false_alarms=alarms)
    folders = [write('a', mosaic), write('b', flat), write('noise', noise)]
    tables = make(*folders)
    assert [row['family'] for row in tables['sky']] == ['flat', 'mosaic']
    assert tables['noise'] == [{'weights': 'ours', 'white': '0.10', 'gradient': '0.00'}]
    # Both halves are one row; the scenes of the noise are not those of a family.
    assert [row['scenes of a family'] for row in tables['runs']] == ['3', '-']
    with_one = make(write('c', measured))
    assert {n: with_one[n] for n in ('sky', 'pulls')} == {
        n: tables[n] for n in ('sky', 'pulls')
    }


def test_limits(make, write, measured, tmp_path):
    part = detection(ours=method(3, 3, 3, 3, 3), limit=method(5, 50, 50, 50, 70))
    limits = results({'flat': {'detection': part}}, 'limits')
    path = tmp_path / 'limits.json'
    path.write_text(json.dumps(limits), encoding='utf-8')
    rows = make(write('a', measured), '--limits', path)['limits']
    assert [row['method'] for row in rows] == ['limit', 'ours', 'best filter', 'oracle']
    assert rows[0] == {
        'family': 'flat',
        'method': 'limit',
        **{'1%': '5', '2%': '50', '5%': '50', '10%': '50', '20%': '70'},
    }
    assert rows[2]['5%'] == '40'


def test_meerlicht(make, tmp_path):
    """Every method of the file has a row, and no other command is needed."""
    part = {'n_true': 90, 'methods': {'sep': method(1, 2, 3, 4, 5)}}
    path = tmp_path / 'meerlicht.json'
    content = results({'meerlicht': {'detection': part}}, 'meerlicht', n_scenes=5)
    path.write_text(json.dumps(content), encoding='utf-8')
    tables = make('--meerlicht', path)
    assert tables.keys() == {'runs', 'meerlicht'}
    (row,) = tables['meerlicht']
    assert row == dict(zip(row, ('sep', *'12345'), strict=True))
    assert list(row) == ['method', '1%', '2%', '5%', '10%', '20%']


def test_real_images(make, write):
    stack = detection(ours=method(2, 2, 2, 2, 2))
    del stack['methods']['oracle']
    edges = ((3.0, 5.0), (5.0, 8.0), (8.0, 15.0))
    found = {
        'bins': [
            {'snr_low': low, 'snr_high': high, 'n': 20, 'completeness': low / 10}
            for low, high in edges
        ]
    }
    injected = {'methods': {'ours': found, 'sep default': found}}
    families = {'stack': {'detection': stack}, 'field': {'injection': injected}}
    tables = make(write('real', results(families, 'real')))
    assert tables.keys() == {'runs', 'real_detection', 'injections'}
    ours, peer = tables['real_detection']
    assert ours == {
        'image': 'stack',
        'sources': '90',
        'method': 'ours',
        **dict.fromkeys(('1%', '2%', '5%', '10%', '20%'), '2'),
    }
    assert [peer['method'], peer['20%']] == ['best peer at each', '64']
    faint, bright = tables['injections']
    assert faint == {
        'image': 'field',
        'S/N': '3-5',
        'stars': '20',
        'ours': '0.30',
        'sep default': '0.30',
    }
    assert [bright['S/N'], bright['ours']] == ['5-8', '0.50']


class TestErrors:
    @pytest.fixture
    def error(self, make, capsys, tmp_path):
        def run(*arguments):
            with pytest.raises(SystemExit, match='2'):
                make(*arguments)
            assert not (tmp_path / 'tables').exists()
            return capsys.readouterr().err

        return run

    def test_missing_file(self, error, write, measured, tmp_path):
        assert "missing/results.json'" in error(tmp_path / 'missing')
        folder = write('a', measured)
        assert "none.json'" in error(folder, '--limits', tmp_path / 'none.json')

    def test_other_weights_of_the_promise(self, error, write, measured):
        folder = write('a', measured)
        measured['weights']['ours'] = 'fedcba9876'
        message = error(folder, '--promise', write('b', measured))
        assert "weights 'ours' must be the same in all folders" in message

    @pytest.mark.parametrize('content', [[], {'suite': 'optical'}])
    def test_no_results(self, error, write, content):
        assert 'results must have families' in error(write('a', content))

    def test_the_same_twice(self, error, write, measured):
        folders = write('a', measured), write('b', measured)
        assert "folders must not overlap, got ['detection'," in error(*folders)

    def test_other_weights(self, error, write, measured):
        other = results({}) | {'weights': {'ours': '9876543210'}}
        message = error(write('a', measured), write('b', other))
        assert "weights 'ours' must be the same" in message
        assert 'got sha256 01234567 and 98765432' in message

    def test_other_scenes(self, error, write, measured):
        part = detection(paper=method(1, 1, 1, 1, 1)) | {'n_true': 91}
        paper = results({'flat': {'detection': part}}, name='paper')
        message = error(write('a', measured), '--paper', write('b', paper))
        assert "scenes of 'flat' must be the same, got 90 and 91" in message


def test_wild(make, write):
    summary = {'bias': -0.01, 'worst_bias': 0.2, 'rms': 0.1, 'n_failed': 0}
    best = {'box_size': 64, 'filter_size': 1, 'rms': 0.05}
    ratio = {'ratio': 2.0, 'is_near': False}
    boxes = {
        **dict.fromkeys(('by itself', 'bgrem given', 'Background2D given'), summary),
        **dict.fromkeys(('bgrem best', 'bgrem, mean best'), best | ratio),
        'Background2D best': best,
    }
    catalog = {
        'n_true': 9, 'n_found': 8, 'n_false': 0, 'false_fraction': None,
        'n_chance': 1, 'n_bright': 3, 'n_bright_found': 2, 'n_native': 10,
        'silent, held': 4, 'silent, broken': 1, 'warns, held': 0,
        'warns, broken': 2, 'n_needs_options': 5, 'n_failed': 6,
    }  # fmt: skip
    level = dict.fromkeys(
        ('level', 'worst_level', 'parent', 'pull', 'lowest_sky', 'source_light'), 0.5
    )
    parts = {'boxes': boxes, 'catalog': catalog, 'level': level}
    tables = make(write('wild', results({'gaps': parts}, 'wild', n_scenes=5)))
    (row,) = tables['wild_sky']
    assert row['by itself: mean (worst)'] == '-0.010 (+0.20)'
    assert row['bgrem best (box/filter)'] == '0.050 (64/1)'
    assert row['by itself / best'] == '2.00 !'
    (row,) = tables['wild_catalog']
    assert row['found / native'] == '0.80'
    assert row['false fraction'] == '-'
    (row,) = tables['wild_warnings']
    assert [row['silent, broken'], row['needs options']] == ['1', '5']
    (row,) = tables['wild_level']
    assert row['noise / true'] == '0.500'
    assert tables['runs'][0]['suite'] == 'wild'


def timing(tool, size, wall, **settings):
    defaults = {'threads': 2, 'n_symmetries': 1, 'n_steps': None, 'float32': False}
    made = {'wall': wall, 'cpu': 1.5 * wall, 'memory': 5 * size**2 * 4 / 2**20}
    return {'tool': tool, 'size': size, **defaults, **made, **settings}


@pytest.fixture
def timed():
    rows = [
        timing('photutils', 1000, 0.2, version='3.0.0'),
        timing('photutils', 2000, 0.8, version='3.0.0'),
        timing('optical', 1000, 0.5),
        timing('optical', 2000, 2.0),
        timing('optical', 2000, 4.0, threads=1),
        timing('optical', 2000, 3.0, float32=True),
        timing('optical', 1000, 2.0, n_symmetries=4),
        timing('optical', 1000, 1.0, n_steps=2),
    ]
    network = {'weights': 'optical', 'dtype': 'bfloat16', 'operations': 5e4, 'speed': 3}
    peaks = {'float32': 1e11, 'bfloat16': 3e11}
    return {'bfloat16': True, 'rows': rows, 'networks': [network], 'peaks': peaks}


def test_speed(make, write, timed, tmp_path):
    path = tmp_path / 'speed.json'
    path.write_text(json.dumps(timed))
    new = timed | {'rows': [timing('photutils', 1000, 0.1, version='3.1.0')]}
    other = tmp_path / 'other.json'
    other.write_text(json.dumps(new | {'networks': []}))
    tables = make('--speed', path, other)
    assert tables.keys() == {'speed', 'operations'}
    first, *rows = tables['speed']
    assert first['tool'] == 'Background2D (photutils 3.0.0)'
    assert [first['threads'], first['steps']] == ['1', '-']
    assert [first['Mpix/s'], first['CPU (s/Mpix)']] == ['5.00', '0.30']
    assert first['memory (images)'] == '5.0'
    assert [row['network in'] for row in rows].count('float32') == 1
    assert [row['views'] for row in rows].count('4') == 1
    assert rows[-1]['tool'] == 'Background2D (photutils 3.1.0)'
    # 5e4 operations for each of 3e6 pixels a second, of 3e11 that there could be
    (network,) = tables['operations']
    assert [network['GFLOP/s'], network['part']] == ['150', '50%']

    pytest.importorskip('matplotlib')
    draw = run_path(str(SCRIPT.parent / '_ext' / 'result_figures.py'))
    figure = draw['speed'](draw['read'](tmp_path / 'tables' / 'speed.rst'))
    speed, memory, options = figure.axes
    lines = {line.get_label(): line for line in speed.lines}
    assert lines.keys() == {row['tool'] for row in tables['speed']}
    # two threads, one view, in bfloat16
    assert list(lines['optical'].get_xdata()) == [1000, 2000]
    assert list(lines['optical'].get_ydata()) == [2, 2]
    assert list(memory.lines[0].get_ydata()) == [5, 5]
    names = [label.get_text() for label in options.get_yticklabels()]
    assert names == ['2 steps', '4 views', 'default']
    assert [bar.get_width() for bar in options.patches] == [1, 0.5, 2]


def test_figures(make, write, measured, tmp_path):
    """They show the numbers of the tables."""
    pytest.importorskip('matplotlib')
    make(write('a', measured))
    draw = run_path(str(SCRIPT.parent / '_ext' / 'result_figures.py'))
    figures = {
        path.stem: draw['FIGURES'][path.stem](draw['read'](path))
        for path in (tmp_path / 'tables').iterdir()
        if path.stem in draw['FIGURES']
    }
    assert figures.keys() >= {'detection', 'sky', 'fluxes', 'pulls', 'positions'}
    flat, mosaic = figures['detection'].axes
    ours, peer, oracle = flat.lines
    assert [flat.get_title(), mosaic.get_title()] == ['flat', 'mosaic']
    assert list(ours.get_ydata()) == [8, 10, 16, 32, 64]
    assert list(peer.get_ydata()) == [4, 40, 40, 40, 64]
    assert list(oracle.get_ydata()) == [0, 20, 40, 80, 80]
    (panel,) = figures['positions'].axes
    position, centroid, _ = panel.lines
    assert list(position.get_xdata()) == [1.12, 1.12]
    # a dash is no number
    assert all(value != value for value in centroid.get_xdata())


def test_no_false_detections():
    """A rate of 0, which has no logarithm, is drawn at the lower edge."""
    pytest.importorskip('matplotlib')
    draw = run_path(str(SCRIPT.parent / '_ext' / 'result_figures.py'))
    table = Table(
        {'family': ['flat'], 'weights': ['a'], '1%': ['0.0%'], '5%': ['3.3%']}
    )
    (panel,) = draw['promises'](table).axes
    _, rates = panel.lines
    assert list(rates.get_ydata()) == [panel.get_ylim()[0], 3.3]
