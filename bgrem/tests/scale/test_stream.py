"""Tests of files of any size."""

import gzip
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

import bgrem
import bgrem.scale.seen
from bgrem import DiffusionBackground
from bgrem.sky.bands import split_rows
from bgrem.tests.scale.conftest import MAPS, assert_same_maps, draw_image, in_memory


def subtract_file(*args, **options):
    """Make the maps alone."""
    return bgrem.subtract_file(*args, catalog=False, **options)


@pytest.fixture
def path(tmp_path, image):
    """A file of the image."""
    path = tmp_path / 'in.fits'
    header = fits.Header({'OBJECT': 'sky', 'BUNIT': 'adu', 'CRVAL1': 12.5})
    fits.PrimaryHDU(image, header).writeto(path, checksum=True)
    return path


def read(path, version=1):
    """The maps in a file."""
    with fits.open(path, checksum=True) as hdus:
        hdus.verify('exception')
        return {name: hdus[name, version].data for name in MAPS}


def count_tiles(monkeypatch, fail_at=None):
    """Count the calls of the network, and let one fail."""
    calls = []
    run = bgrem.scale.seen.run_tiles

    def counted(*args):
        calls.append(args[1][0].copy())
        if len(calls) == fail_at:
            msg = 'stopped here'
            raise KeyboardInterrupt(msg)
        return run(*args)

    monkeypatch.setattr('bgrem.scale.seen.run_tiles', counted)
    return calls


def test_as_in_memory(band_height, path, whole, tiny_weights):
    assert len(split_rows((390, 260))) == -(-390 // band_height)
    output = path.with_name('out.fits')
    (meta,) = subtract_file(path, output, weights=tiny_weights)
    assert_same_maps(read(output), whole)
    header = fits.getheader(output, 'SCI')
    assert header['OBJECT'] == 'sky'
    assert header['BUNIT'] == 'adu'
    assert header['CRVAL1'] == 12.5
    assert header['BGREMWTS'] == meta['weights'] == 'tiny'
    assert 'BUNIT' not in fits.getheader(output, 'PROBABILITY')
    assert sorted(one.name for one in path.parent.iterdir()) == ['in.fits', 'out.fits']


@pytest.mark.usefixtures('bands')
@pytest.mark.parametrize('kind', ['float64', 'scaled', 'compressed', 'packed', 'cube'])
def test_kinds_of_files(kind, tmp_path, tiny_weights):
    image = draw_image()
    path, options = tmp_path / 'in.fits', {}
    if kind == 'float64':
        fits.PrimaryHDU(image).writeto(path)
    elif kind == 'scaled':
        hdu = fits.PrimaryHDU(np.nan_to_num(image, nan=1000))
        hdu.scale('int16', bzero=1500, bscale=0.1)
        hdu.writeto(path)
    elif kind == 'compressed':
        path = tmp_path / 'in.fits.fz'
        fits.CompImageHDU(image.astype('f4'), quantize_level=16).writeto(path)
    elif kind == 'packed':
        path = tmp_path / 'in.fits.gz'
        fits.PrimaryHDU(image.astype('f4')).writeto(path)
    else:
        fits.PrimaryHDU(np.stack([image, image])[None]).writeto(path)
        options = {'plane': (1,)}
    with fits.open(path) as hdus:
        data = hdus[-1].data
    data = data[0, 1] if kind == 'cube' else data
    subtract_file(path, tmp_path / 'out.fits', weights=tiny_weights, **options)
    found = read(tmp_path / 'out.fits')
    assert_same_maps(found, in_memory(data, tiny_weights))
    is_double = data.dtype.itemsize == 8
    assert found['SCI'].dtype.itemsize == (8 if is_double else 4)


@pytest.mark.usefixtures('bands')
@pytest.mark.parametrize('is_group', [False, True])
def test_zarr(is_group, image, whole, tmp_path, tiny_weights):
    zarr = pytest.importorskip('zarr')
    path, output = tmp_path / 'in.zarr', tmp_path / 'out.zarr'
    if is_group:
        group = zarr.open_group(str(path), mode='w')
        group.create_array('noise', data=np.zeros((3, 3)))
        group.create_array('SCI', data=image, chunks=(100, 77))
    else:
        zarr.create_array(str(path), data=image, chunks=(100, 77))
    (meta,) = subtract_file(path, output, weights=tiny_weights)
    found = zarr.open(str(output), mode='r')
    assert_same_maps({name: found[name][:] for name in MAPS}, whole)
    assert found.attrs['weights'] == meta['weights'] == 'tiny'
    with pytest.raises(FileExistsError, match='out.zarr exists'):
        subtract_file(path, output, weights=tiny_weights)
    with pytest.raises(ValueError, match='is the input file'):
        subtract_file(path, path, weights=tiny_weights, overwrite=True)
    subtract_file(path, output, weights=tiny_weights, overwrite=True)
    assert sorted(one.name for one in tmp_path.iterdir()) == ['in.zarr', 'out.zarr']


def test_zarr_that_is_none(tmp_path, tiny_weights):
    zarr = pytest.importorskip('zarr')
    options = {'weights': tiny_weights}
    with pytest.raises(FileNotFoundError, match='no.zarr does not exist'):
        subtract_file(tmp_path / 'no.zarr', tmp_path / 'out.zarr', **options)
    (tmp_path / 'empty.zarr').mkdir()
    with pytest.raises(ValueError, match='empty.zarr cannot be read as Zarr'):
        subtract_file(tmp_path / 'empty.zarr', tmp_path / 'out.zarr', **options)
    zarr.create_array(str(tmp_path / 'cube.zarr'), data=np.zeros((2, 3, 4)))
    with pytest.raises(ValueError, match='must hold a two-dimensional image'):
        subtract_file(tmp_path / 'cube.zarr', tmp_path / 'out.zarr', **options)
    group = zarr.open_group(str(tmp_path / 'two.zarr'), mode='w')
    for name in ('a', 'b'):
        group.create_array(name, data=np.zeros((3, 3)))
    with pytest.raises(ValueError, match="no array 'SCI'; it has: a, b"):
        subtract_file(tmp_path / 'two.zarr', tmp_path / 'out.zarr', **options)


@pytest.mark.usefixtures('bands')
def test_mask(path, image, tiny_weights):
    mask = np.zeros(image.shape, dtype=np.uint8)
    mask[20:90, 150:210] = 4
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(mask, name='DQ')]).writeto(
        path.with_name('mask.fits')
    )
    output = path.with_name('out.fits')
    subtract_file(
        path, output, mask=(path.with_name('mask.fits'), 'DQ'), weights=tiny_weights
    )
    assert_same_maps(read(output), in_memory(image, tiny_weights, mask=mask > 0))


@pytest.mark.usefixtures('bands')
def test_chips(tmp_path, tiny_weights):
    images = [draw_image((200, 260)), draw_image((130, 150), 5)]
    hdus = [fits.ImageHDU(one.astype('f4'), name='SCI', ver=k + 1)
            for k, one in enumerate(images)]  # fmt: skip
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / 'in.fits')
    output = tmp_path / 'out.fits'
    subtract_file(tmp_path / 'in.fits', output, weights=tiny_weights)
    for version, hdu in enumerate(hdus, start=1):
        assert_same_maps(read(output, version), in_memory(hdu.data, tiny_weights))
    assert fits.getheader(output, ('SCI', 2))['BGREMEXT'] == 'SCI,2'


@pytest.mark.usefixtures('bands')
def test_resume_runs_no_tile_again(path, whole, tiny_weights, monkeypatch):
    output = path.with_name('out.fits')
    calls = count_tiles(monkeypatch, fail_at=3)
    with pytest.raises(KeyboardInterrupt, match='stopped here'):
        subtract_file(path, output, weights=tiny_weights)
    assert not output.exists()
    first = [row.tobytes() for row in calls]
    calls = count_tiles(monkeypatch)
    subtract_file(path, output, weights=tiny_weights)
    second = [row.tobytes() for row in calls]
    assert len(first) == 3
    assert second[0] == first[-1]
    assert not set(first[:-1]) & set(second)
    assert_same_maps(read(output), whole)


@pytest.mark.usefixtures('bands')
@pytest.mark.parametrize(
    'stage', ['seen.FoundMeasurement', 'image.SkyMeasurement', 'output.MapsFile']
)
def test_failure_after_the_network(stage, path, whole, tiny_weights, monkeypatch):
    output = path.with_name('out.fits')

    def fail(*_, **__):
        msg = 'disk full'
        raise OSError(msg)

    with monkeypatch.context() as patch:
        patch.setattr(f'bgrem.scale.{stage}', fail)
        with pytest.raises(OSError, match='disk full'):
            subtract_file(path, output, weights=tiny_weights)
    assert not output.exists()
    calls = count_tiles(monkeypatch)
    subtract_file(path, output, weights=tiny_weights)
    assert calls == []
    assert_same_maps(read(output), whole)


@pytest.mark.usefixtures('bands')
def test_other_work_is_not_gone_on_with(path, image, tiny_weights, monkeypatch):
    output = path.with_name('out.fits')
    count_tiles(monkeypatch, fail_at=3)
    with pytest.raises(KeyboardInterrupt, match='stopped here'):
        subtract_file(path, output, weights=tiny_weights)
    fits.PrimaryHDU(image + 100).writeto(path, overwrite=True)
    calls = count_tiles(monkeypatch)
    subtract_file(path, output, weights=tiny_weights)
    assert len(calls) == 3
    assert_same_maps(read(output), in_memory(image + 100, tiny_weights))


@pytest.mark.usefixtures('bands')
def test_a_call_that_cannot_be_done_costs_no_work(path, tiny_weights, monkeypatch):
    """Of hours of work nothing is lost by a slip of the keyboard."""
    output, options = path.with_name('out.fits'), {'weights': tiny_weights}
    fits.PrimaryHDU(np.zeros((5, 5))).writeto(path.with_name('small.fits'))
    count_tiles(monkeypatch, fail_at=3)
    with pytest.raises(KeyboardInterrupt, match='stopped here'):
        subtract_file(path, output, **options)
    for change, match in (
        ({'hdu': 'SCX'}, "no HDU 'SCX'"),
        ({'mask': path.with_name('small.fits')}, 'must have the same shape'),
        ({'mask': path.with_name('none.fits')}, 'does not exist'),
    ):
        with pytest.raises((FileNotFoundError, ValueError), match=match):
            subtract_file(path, output, **options, **change)
    path.rename(path.with_name('away.fits'))
    with pytest.raises(FileNotFoundError, match=r'in.fits does not exist'):
        subtract_file(path, output, **options)
    path.with_name('away.fits').rename(path)
    calls = count_tiles(monkeypatch)
    subtract_file(path, output, **options)
    assert len(calls) == 1
    assert {one.name for one in path.parent.iterdir()} == {
        'in.fits', 'small.fits', 'out.fits'
    }  # fmt: skip


@pytest.mark.usefixtures('bands')
def test_one_call_at_a_time(path, whole, tiny_weights, monkeypatch):
    """Each would write into the file of the other."""
    pytest.importorskip('fcntl')
    output = path.with_name('out.fits')
    run = bgrem.scale.seen.run_tiles

    def run_both(*args):
        with pytest.raises(FileExistsError, match='another process is at work on'):
            subtract_file(path, output, weights=tiny_weights)
        return run(*args)

    monkeypatch.setattr('bgrem.scale.seen.run_tiles', run_both)
    subtract_file(path, output, weights=tiny_weights)
    assert_same_maps(read(output), whole)


@pytest.mark.parametrize(
    ('given', 'output'),
    [('all.zarr/in.zarr', 'all.zarr'), ('all.zarr', 'all.zarr/out.zarr')],
)
def test_output_in_the_input(given, output, tmp_path, tiny_weights):
    """The input would be removed, or be another one with each part of the work."""
    zarr = pytest.importorskip('zarr')
    group = zarr.open_group(str(tmp_path / 'all.zarr'), mode='w')
    group.create_array('in.zarr', data=np.ones((9, 9)))
    with pytest.raises(ValueError, match='must not be in the input'):
        subtract_file(
            tmp_path / given, tmp_path / output, weights=tiny_weights, overwrite=True
        )
    with pytest.raises(ValueError, match='must not be in the input'):
        bgrem.detect_file(tmp_path / 'all.zarr', tmp_path / 'all.zarr' / 'a.fits')
    assert [one.name for one in tmp_path.iterdir()] == ['all.zarr']


@pytest.mark.usefixtures('bands')
def test_zarr_that_has_changed_meanwhile(tmp_path, image, tiny_weights, monkeypatch):
    """Its folder is as old as before when a chunk is written anew."""
    zarr = pytest.importorskip('zarr')
    path, output = tmp_path / 'in.zarr', tmp_path / 'out.zarr'
    group = zarr.open_group(str(path), mode='w')
    array = group.create_array('SCI', data=image, chunks=(100, 130))
    with monkeypatch.context() as patch:
        count_tiles(patch, fail_at=3)
        with pytest.raises(KeyboardInterrupt, match='stopped here'):
            subtract_file(path, output, weights=tiny_weights)
    newest = max(one.stat().st_mtime for one in path.rglob('*'))
    array[:100, :130] = image[:100, :130] + 50
    for one in path.rglob('*'):  # a chunk of a backup may be older than all others
        if one.stat().st_mtime > newest:
            os.utime(one, (newest - 99, newest - 99))
    subtract_file(path, output, weights=tiny_weights)
    changed = image.copy()
    changed[:100, :130] += 50
    found = zarr.open(str(output), mode='r')
    assert_same_maps(
        {name: found[name][:] for name in MAPS}, in_memory(changed, tiny_weights)
    )


def test_folder_of_somebody_else(path, tiny_weights):
    folder = path.with_name('out.fits.parts')
    folder.mkdir()
    (folder / 'notes.txt').write_text('mine')
    with pytest.raises(FileExistsError, match='holds other things'):
        subtract_file(path, path.with_name('out.fits'), weights=tiny_weights)
    assert (folder / 'notes.txt').read_text() == 'mine'


SCRIPT = """
    import os, signal, sys
    import bgrem.scale.seen as seen, bgrem.sky.bands as bands
    from bgrem import subtract_file
    bands._PIXELS = 64 * 260
    place, number = sys.argv[4], int(sys.argv[5])
    function, calls = getattr(seen, place), []
    def killed(*args):
        calls.append(args)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args)
    setattr(seen, place, killed)
    subtract_file(sys.argv[1], sys.argv[2], weights=sys.argv[3], catalog=False)
"""


@pytest.mark.usefixtures('bands')
@pytest.mark.parametrize(
    ('place', 'number'),
    [
        ('run_tiles', 2),
        *(
            pytest.param(*one, marks=pytest.mark.slow)
            for one in [('Found', n) for n in (1, 5, 9, 17, 23, 30, 33)]
        ),
    ],
)
def test_kill(place, number, path, whole, tiny_weights):
    """A file that looks complete is complete, whenever the process is killed."""
    output = path.with_name('out.fits')
    done = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(SCRIPT), path, output, tiny_weights,
         place, str(number)],
        check=False,
    )  # fmt: skip
    assert done.returncode == -9
    assert not output.exists()
    subtract_file(path, output, weights=tiny_weights)
    assert_same_maps(read(output), whole)
    assert not output.with_name('out.fits.parts').exists()


@pytest.mark.usefixtures('bands')
def test_counts_as_a_whole(tmp_path, tiny_weights):
    counts = np.random.default_rng(1).poisson(0.4, (150, 260)).astype(np.int16)
    fits.PrimaryHDU(counts).writeto(tmp_path / 'in.fits')
    with pytest.warns(AstropyUserWarning, match='as a whole, in memory: it holds sing'):
        subtract_file(tmp_path / 'in.fits', tmp_path / 'out.fits', weights=tiny_weights)
    assert_same_maps(read(tmp_path / 'out.fits'), in_memory(counts, tiny_weights))


def test_weights_of_counts(tmp_path, counts_weights):
    counts = np.random.default_rng(1).poisson(3, (90, 100)).astype(np.int16)
    fits.PrimaryHDU(counts).writeto(tmp_path / 'in.fits')
    with pytest.warns(AstropyUserWarning, match='it is a map of counts'):
        subtract_file(
            tmp_path / 'in.fits', tmp_path / 'out.fits', weights=counts_weights
        )
    whole = in_memory(counts.astype('f4'), counts_weights)
    assert_same_maps(read(tmp_path / 'out.fits'), whole)


class AnyPath:
    """A path that is no `pathlib.Path`."""

    def __fspath__(self):
        return 'none.fits'


@pytest.mark.parametrize(
    ('change', 'error', 'match'),
    [
        ({'output_path': 'out.png'}, ValueError, 'must end in .fits'),
        ({'output_path': 'out.fits.gz'}, ValueError, 'must end in .fits'),
        (
            {'output_path': 'in.fits', 'overwrite': True},
            ValueError,
            'is the input file',
        ),
        ({'output_path': 'in.fits'}, ValueError, 'is the input file'),
        ({'output_path': 'there.fits'}, FileExistsError, 'exists'),
        (
            {'output_path': 'there.fits', 'mask': 'none.fits'},
            FileNotFoundError,
            'none.fits does not exist',
        ),
        ({'output_path': 'no/out.fits'}, FileNotFoundError, 'folder'),
        ({'input_path': 'none.fits'}, FileNotFoundError, 'none.fits does not exist'),
        ({'n_steps': 0}, ValueError, 'n_steps must be a positive'),
        ({'n_symmetries': 3}, ValueError, 'n_symmetries must be'),
        ({'device': 'abacus'}, ValueError, 'device must be'),
        ({'batch_size': -1}, ValueError, 'batch_size must be'),
        ({'hdu': 7}, ValueError, 'has no HDU 7'),
        ({'mask': 'small.fits'}, ValueError, 'must have the same shape'),
        ({'mask': 'none.fits'}, FileNotFoundError, 'none.fits does not exist'),
        (
            {'input_path': np.ones((5, 5))},
            TypeError,
            'input_path must be the path of a file, got ndarray: subtract_array takes',
        ),
        ({'mask': np.ones((5, 5))}, TypeError, 'mask must be the path of a file, got'),
        ({'output_path': None}, TypeError, 'output_path must be the path .* NoneType$'),
        ({'overwrite': 'no'}, TypeError, 'overwrite must be True or False'),
        ({'hdus': 1}, TypeError, "'hdus': did you mean 'hdu'"),
        ({'fdr': 1}, TypeError, "'fdr': did you mean 'false_discovery_rate'"),
        ({'mask': AnyPath()}, FileNotFoundError, 'none.fits does not exist'),
        ({'error': AnyPath()}, FileNotFoundError, 'none.fits does not exist'),
    ],
)
def test_errors(change, error, match, path, tiny_weights, monkeypatch):
    monkeypatch.chdir(path.parent)
    fits.PrimaryHDU(np.zeros((5, 5))).writeto('small.fits')
    fits.PrimaryHDU(np.zeros((5, 5))).writeto('there.fits')
    options = {'input_path': path, 'output_path': 'out.fits', **change}
    with pytest.raises(error, match=match):
        subtract_file(**options, weights=tiny_weights)
    left = {one.name for one in path.parent.iterdir()}
    assert left == {'in.fits', 'small.fits', 'there.fits'}


def test_catalog_is_a_flag(path):
    with pytest.raises(TypeError, match="catalog must be True or False, got 'no'"):
        bgrem.subtract_file(path, 'out.fits', catalog='no')


def test_no_usable_pixel(tmp_path, tiny_weights):
    fits.PrimaryHDU(np.full((30, 30), np.nan)).writeto(tmp_path / 'in.fits')
    with pytest.raises(ValueError, match='data must have a usable pixel'):
        subtract_file(tmp_path / 'in.fits', tmp_path / 'out.fits', weights=tiny_weights)


def test_damaged_file(tmp_path, tiny_weights, image):
    content = gzip.compress(fits.PrimaryHDU(image).data.tobytes())
    (tmp_path / 'in.fits.gz').write_bytes(content[:500])
    with pytest.raises(ValueError, match='cannot be read'):
        subtract_file(
            tmp_path / 'in.fits.gz', tmp_path / 'out.fits', weights=tiny_weights
        )


def test_progress(path, tiny_weights, capsys):
    subtract_file(
        path, path.with_name('out.fits'), weights=tiny_weights, progress='night 3: '
    )
    shown = capsys.readouterr().err
    for what in ('level and noise', 'sources', 'sky', 'writing'):
        assert f'night 3: {what}' in shown


def test_huge_and_tiny_numbers(tmp_path, image, tiny_weights):
    for factor in (1e25, 1e-25):
        fits.PrimaryHDU(image * factor).writeto(tmp_path / 'in.fits', overwrite=True)
        output = tmp_path / 'out.fits'
        subtract_file(
            tmp_path / 'in.fits', output, weights=tiny_weights, overwrite=True
        )
        found = read(output)
        whole = DiffusionBackground(
            np.nan_to_num(image * factor, nan=1000 * factor), weights=tiny_weights
        )
        np.testing.assert_allclose(
            np.median(found['BACKGROUND']), whole.background_median, rtol=1e-3
        )


@pytest.mark.slow
def test_memory(tmp_path, tiny_weights):
    """It grows by less than the image does, where in memory it is many times that."""
    script = """
        import resource, sys
        import numpy as np
        from astropy.io import fits
        from bgrem import subtract_file
        size, path = int(sys.argv[1]), sys.argv[2] + '/in.fits'
        header = fits.Header({'SIMPLE': True, 'BITPIX': -32, 'NAXIS': 2,
                              'NAXIS1': size, 'NAXIS2': size})
        stream, rng = fits.StreamingHDU(path, header), np.random.default_rng(0)
        for _ in range(0, size, 64):
            stream.write(rng.standard_normal((64, size), dtype='f4') + 100)
        stream.close()
        subtract_file(path, sys.argv[2] + '/out.fits', weights=sys.argv[3],
                      catalog=False)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    """
    peaks = []
    for size in (1024, 4096):
        folder = tmp_path / str(size)
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, '-c', textwrap.dedent(script), str(size), folder,
             tiny_weights],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 4 * 4096**2 * 8
