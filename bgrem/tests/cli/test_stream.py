"""Tests of `bgrem subtract --stream`."""

import gzip
import re

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from bgrem.cli.main import main
from bgrem.evaluate.calibration import rewrite_header
from bgrem.files import opening
from bgrem.tests.cli.test_main import history
from bgrem.tests.scale.conftest import MAPS, assert_same_maps, draw_image, in_memory
from bgrem.weights import load_weights


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mask = (draw_image((150, 120)) > 1200).astype('u1')
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(draw_image((150, 120)).astype('f4'))]
    fits.HDUList([*hdus, fits.ImageHDU(mask, name='BPM')]).writeto('in.fits')
    return 'in.fits'


def test_stream(path, tiny_weights, capsys, monkeypatch):
    monkeypatch.setattr('bgrem.cli.process._BAR_SECONDS', 0)
    options = ['-o', '{}-out.fits', '--weights', str(tiny_weights), '--stream']
    assert main(['subtract', path, *options, '--mask', '[BPM]']) == 0
    said = capsys.readouterr()
    assert 'median sky 1' in said.out
    assert 'in-out.fits' in said.out
    assert 'sources' in said.err
    with fits.open('in-out.fits') as hdus, fits.open(path) as given:
        found = {name: hdus[name].data for name in MAPS}
        whole = in_memory(given[1].data, tiny_weights, mask=given['BPM'].data > 0)
        assert_same_maps(found, whole)
    assert main(['subtract', path, *options]) == 1
    assert 'in-out.fits exists' in capsys.readouterr().err
    assert main(['subtract', path, *options, '--overwrite', '-q']) == 0
    said = capsys.readouterr()
    assert said.out == said.err == ''


def test_same_history(path, tiny_weights, make_correction, capsys):
    """What the image says of its promise, too, which is known after the maps."""
    calibration = {'logit': [-6.0, 0.0], 'probability': [0.001, 0.6]}
    calibration['correction'] = make_correction(excess=0.5)
    rewrite_header(load_weights(tiny_weights), 'checked.safetensors', calibration)
    options = ['--weights', 'checked.safetensors', '--fdr', '0.9', '-q', '--gain', '2']
    options += ['--mask', '[BPM]']
    found = []
    for name, more in (('memory', []), ('stream', ['--stream'])):
        assert main(['subtract', path, '-o', f'{name}.fits', *options, *more]) == 0
        found.append(history(f'{name}.fits'))
        with fits.open(f'{name}.fits') as hdus:
            hdus.verify('exception')
    assert capsys.readouterr().err == ''
    memory, stream = found
    assert sorted(memory) == sorted(stream)
    assert any(line.startswith("false_discovery = {'promised': ") for line in stream)
    assert {'mask = in.fits[BPM]', 'effective_gain = 2.0'} < set(stream)


@pytest.mark.parametrize('ending', ['.fits', '.fits.gz'])
@pytest.mark.parametrize(('unit', 'shown'), [('E-/S', ' electron / s'), ('', '')])
def test_unit(ending, unit, shown, path, tiny_weights, capsys):
    """What is said of a file is what is said without --stream, its unit too."""
    with fits.open(path) as hdus:
        hdus[1].header['BUNIT'] = unit
        hdus.writeto(f'unit{ending}')
    options = ['--weights', str(tiny_weights), '--threshold', '0.0195']
    for number, more in enumerate(([], ['--stream'])):
        outputs = [f'{number}.fits', f'{number}.ecsv']
        for command, output in zip(('subtract', 'detect'), outputs, strict=True):
            assert main([command, f'unit{ending}', '-o', output, *options, *more]) == 0
    said = [line.split('; ')[:2] for line in capsys.readouterr().out.splitlines()]
    assert said[:2] == said[2:]
    for line in said:
        assert re.fullmatch(rf'median sky 1[\d.]+{shown}, noise [\d.]+{shown}', line[1])


def test_a_packed_file_is_unpacked_once(path, tiny_weights, monkeypatch):
    with fits.open(path) as hdus:
        hdus.writeto('packed.fits.gz')
    opened = []

    def open_packed(*args):
        opened.append(args)
        return gzip.open(*args)

    monkeypatch.setitem(opening._OPENERS, b'\x1f\x8b', open_packed)
    options = ['--weights', str(tiny_weights), '-o', 'out.fits', '--stream']
    assert main(['subtract', 'packed.fits.gz', *options]) == 0
    assert len(opened) == 1


@pytest.mark.parametrize(
    'option',
    [
        ['--weight', '[WHT]'],
        ['--remove-stripes'],
        ['--box-size', '32'],
        ['--normalization', 'global'],
        ['--exposure', '[EXP]'],
    ],
)
def test_options_that_need_the_whole_image(option, path, tiny_weights, capsys):
    options = ['-o', 'out.fits', '--weights', str(tiny_weights), '--stream']
    assert main(['subtract', path, *options, *option]) == 1
    said = capsys.readouterr().err
    assert f'{option[0]} cannot be given with --stream: it needs the whole' in said


def test_catalog(path, tiny_weights, capsys):
    """Both commands have the segments and the catalog that they have in memory."""
    options = ['--weights', str(tiny_weights), '--threshold', '0.0195', '--gain', '2']
    options += ['--mask', '[BPM]', '--zero-point', '25', '--aperture-correction']
    for name, more in (('memory', []), ('stream', ['--stream'])):
        assert main(['subtract', path, '-o', f'{name}.fits', *options, *more]) == 0
        assert main(['detect', path, '-o', f'{name}.ecsv', *options, *more]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split(';')[:2] for line in said[:2]] == [
        line.split(';')[:2] for line in said[2:]
    ]
    found, expected = (
        [Table.read(f'{name}.fits', hdu='CATALOG'), Table.read(f'{name}.ecsv')]
        for name in ('stream', 'memory')
    )
    for one, other in zip(found, expected, strict=True):
        assert one.colnames == other.colnames
        assert len(one) == len(other) > 0
        np.testing.assert_allclose(one['kron_flux'], other['kron_flux'])
        assert 'total_flux' in one.colnames
    labels = [fits.getdata(f'{name}.fits', 'SEGM') for name in ('stream', 'memory')]
    np.testing.assert_array_equal(*labels)
    options += ['--stream', '--regions', 'out.reg', '-o', 'out.ecsv']
    assert main(['detect', path, *options]) == 1
    assert '--regions cannot be given with --stream' in capsys.readouterr().err


def test_bad_file(path, tiny_weights, capsys):
    options = ['-o', '{}-out.fits', '--weights', str(tiny_weights), '--stream']
    assert main(['subtract', 'none.fits', path, *options]) == 1
    said = capsys.readouterr()
    assert 'none.fits does not exist' in said.err
    assert 'in-out.fits' in said.out
