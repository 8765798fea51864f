"""Tests of `bgrem subtract --stream`."""

import pytest
from astropy.io import fits

from bgrem.cli.main import main
from bgrem.tests.scale.conftest import MAPS, assert_same_maps, draw_image, in_memory


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mask = (draw_image((150, 120)) > 1200).astype('u1')
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(draw_image((150, 120)).astype('f4'))]
    fits.HDUList([*hdus, fits.ImageHDU(mask, name='BPM')]).writeto('in.fits')
    return 'in.fits'


def test_stream(path, tiny_weights, capsys):
    options = ['-o', '{}-out.fits', '--weights', str(tiny_weights), '--stream']
    assert main(['subtract', path, *options, '--mask', '[BPM]']) == 0
    said = capsys.readouterr()
    assert 'in.fits: median sky 1' in said.out
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


@pytest.mark.parametrize(
    'option',
    [
        ['--error', '[ERR]'],
        ['--remove-stripes'],
        ['--box-size', '32'],
        ['--normalization', 'global'],
        ['--gain', '2'],
    ],
)
def test_options_that_need_the_whole_image(option, path, tiny_weights, capsys):
    options = ['-o', 'out.fits', '--weights', str(tiny_weights), '--stream']
    assert main(['subtract', path, *options, *option]) == 1
    said = capsys.readouterr().err
    assert f'{option[0]} cannot be given with --stream: it needs the whole' in said


def test_bad_file(path, tiny_weights, capsys):
    options = ['-o', '{}-out.fits', '--weights', str(tiny_weights), '--stream']
    assert main(['subtract', 'none.fits', path, *options]) == 1
    said = capsys.readouterr()
    assert 'none.fits does not exist' in said.err
    assert 'in-out.fits' in said.out
