"""Tests of files and arrays on the workers of a scheduler."""

import os
import signal
import time

import numpy as np
import pytest
from astropy.io import fits

from bgrem import subtract_array
from bgrem.cli.main import main
from bgrem.tests.scale.conftest import MAPS, assert_same_maps, draw_image, in_memory

distributed = pytest.importorskip('distributed')
da = pytest.importorskip('dask.array')

pytestmark = [
    pytest.mark.filterwarnings('ignore::ResourceWarning'),
    pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning'),
    pytest.mark.filterwarnings('ignore::DeprecationWarning'),
]


@pytest.fixture(scope='module')
def client():
    """A scheduler and a worker in this process."""
    with (
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            protocol='tcp://',
            host='127.0.0.1',
            dashboard_address='127.0.0.1:0',
            worker_dashboard_address='127.0.0.1:0',
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(client, *options):
    return main(['subtract', *options, '--scheduler', client.cluster.scheduler_address])


def test_many_files(client, folder, tiny_weights, capsys):
    images = [draw_image((100, 120), seed).astype('f4') for seed in range(3)]
    for number, image in enumerate(images):
        fits.PrimaryHDU(image).writeto(f'in{number}.fits')
    (folder / 'in3.fits').write_text('no image')
    names = [f'in{number}.fits' for number in range(4)]
    options = ['-o', '{}-out.fits', '--weights', str(tiny_weights)]
    assert run(client, *names, *options, '--stream') == 1
    said = capsys.readouterr()
    assert [line for line in said.err.splitlines() if 'in3.fits' in line] == [
        line for line in said.err.splitlines() if 'error' in line
    ]
    assert said.out.count('median sky') == 3
    for number, image in enumerate(images):
        with fits.open(f'in{number}-out.fits') as hdus:
            found = {name: hdus[name].data for name in MAPS}
        assert_same_maps(found, in_memory(image, tiny_weights))
    assert not (folder / 'in3-out.fits').exists()


def test_products_as_without_scheduler(client, folder, tiny_weights, capsys):
    fits.PrimaryHDU(draw_image((100, 120)).astype('f4')).writeto('in.fits')
    options = ['in.fits', '--weights', str(tiny_weights), '--threshold', '0.5']
    assert run(client, *options, '-o', 'there.fits') == 0
    there = capsys.readouterr().out
    assert main(['subtract', *options, '-o', 'here.fits', '-q']) == 0
    assert 'sources; median sky' in there
    with fits.open('here.fits') as here, fits.open('there.fits') as there:
        assert [hdu.name for hdu in here] == [hdu.name for hdu in there]
        for one, other in zip(here[1:], there[1:], strict=True):
            np.testing.assert_array_equal(one.data, other.data)


def test_no_scheduler(folder, tiny_weights, capsys):
    fits.PrimaryHDU(draw_image((100, 120)).astype('f4')).writeto('in.fits')
    options = ['-o', 'out.fits', '--weights', str(tiny_weights)]
    assert main(['subtract', 'in.fits', *options, '--scheduler', 'nonsense://x']) == 1
    assert 'nonsense' in capsys.readouterr().err


@pytest.mark.usefixtures('bands')
def test_array(client, image, whole, tiny_weights):
    arrays = subtract_array(
        da.from_array(image, chunks=(70, 110)), weights=tiny_weights
    )
    found = client.gather(client.compute(list(arrays)))
    names = ('BACKGROUND', 'BACKGROUND_RMS', 'SOURCE', 'PROBABILITY')
    assert_same_maps(
        dict(zip(names, found, strict=True)), {name: whole[name] for name in names}
    )


@pytest.mark.slow
@pytest.mark.usefixtures('bands')
def test_worker_killed_in_the_middle(image, whole, tiny_weights):
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host='127.0.0.1',
            dashboard_address='127.0.0.1:0',
            worker_dashboard_address='127.0.0.1:0',
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        array = da.from_array(image, chunks=(70, 110))
        # bands of the workers are those of the client, as the graph is made here
        futures = client.compute(list(subtract_array(array, weights=tiny_weights)))
        (victim, *_) = client.run(os.getpid).values()
        time.sleep(1.0)
        os.kill(victim, signal.SIGKILL)
        found = client.gather(futures)
    names = ('BACKGROUND', 'BACKGROUND_RMS', 'SOURCE', 'PROBABILITY')
    assert_same_maps(
        dict(zip(names, found, strict=True)), {name: whole[name] for name in names}
    )
