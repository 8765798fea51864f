import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable
from numpy.testing import assert_array_equal

from bgrem.files.io import read_image
from bgrem.simulate.__main__ import main
from bgrem.simulate.write import write_scene

torch = pytest.importorskip('torch')


@pytest.fixture
def batch():
    """Two scenes with known content."""
    from bgrem.simulate import SceneBatch

    generator = torch.Generator().manual_seed(0)
    source = torch.rand(2, 1, 20, 30, generator=generator)
    background = torch.rand(2, 1, 20, 30, generator=generator)
    mask = torch.zeros(2, 1, 20, 30, dtype=torch.bool)
    mask[1, 0, :3] = True
    return SceneBatch(
        image=torch.where(mask, 0, source + background),
        source=source,
        background=background,
        sky=torch.full((2, 1, 20, 30), 0.5),
        sigma=torch.full((2, 1, 20, 30), 0.3),
        mask=mask,
        psf=torch.rand(2, 33, 33, generator=generator),
        fwhm=torch.tensor([2.5, 3.5]),
        catalog={
            'scene': torch.tensor([0, 1, 1]),
            'x': torch.tensor([1.0, 2.0, 3.0]),
            'y': torch.tensor([4.0, 5.0, 6.0]),
            'flux': torch.tensor([10.0, 20.0, 30.0]),
            'snr': torch.tensor([1.0, 2.0, 3.0]),
            'is_star': torch.tensor([True, False, True]),
            'half_light_radius': torch.tensor([0.0, 2.0, 0.0]),
        },
    )


def test_write_scene(tmp_path, batch):
    path = tmp_path / 'scene.fits'
    write_scene(path, batch, 1)
    with fits.open(path, checksum=True) as hdus:
        names = [hdu.name for hdu in hdus]
        assert names == ['PRIMARY', 'SCI', 'SOURCE', 'SKY', 'SIGMA', 'PSF', 'TRUTH']
        assert_array_equal(hdus['SOURCE'].data, batch.source[1, 0])
        assert_array_equal(hdus['SKY'].data, batch.sky[1, 0])
        assert_array_equal(hdus['SIGMA'].data, batch.sigma[1, 0])
        assert_array_equal(hdus['PSF'].data, batch.psf[1])
        assert hdus['PSF'].header['FWHM'] == 3.5
    image = read_image(path)
    assert image.unit == u.count
    assert image.wcs.has_celestial
    assert_array_equal(np.isnan(image.data), batch.mask[1, 0])
    assert_array_equal(image.data[3:], batch.image[1, 0, 3:])
    truth = QTable.read(path, 'TRUTH')
    assert_array_equal(truth['x'], [2, 3] * u.pix)
    assert_array_equal(truth['flux'], [20, 30] * u.count)
    assert_array_equal(truth['is_star'], [False, True])
    with pytest.raises(FileExistsError, match='exists'):
        write_scene(path, batch)


def test_command(tmp_path, capsys):
    pytest.importorskip('galsim')
    first, second, bank = (
        str(tmp_path / name) for name in ('a.fits', 'b.fits', 'bank.safetensors')
    )
    argv = ['--size', '40', '--seed', '3', '--n-psf', '2', '--bank', bank]
    assert main([*argv, '-o', first, '--family', 'gradient']) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].endswith(' px')
    assert out[1] == first
    # The bank is used again: the same seed gives the same image.
    assert main([*argv, '-o', second, '--family', 'gradient', '-q']) == 0
    assert capsys.readouterr().out == ''
    assert fits.getdata(first, 'SCI').shape == (40, 40)
    assert_array_equal(fits.getdata(first, 'SCI'), fits.getdata(second, 'SCI'))
    with pytest.raises(FileExistsError, match='exists; it is replaced only'):
        main([*argv, '-o', first])


def test_wrong_size(capsys):
    with pytest.raises(SystemExit, match='2'):
        main(['-o', 'a.fits', '--size', '0'])
    assert 'argument --size: must be positive, got 0' in capsys.readouterr().err
