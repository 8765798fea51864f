# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Measure how files of any size are processed: ``python benchmarks/stream.py --help``.

``size`` makes fields of stars of several sizes, band by band, and streams them: time,
peak memory and disk, and the slope of the time against the pixels. ``kill`` ends a
process at random moments and has another one go on. ``workers`` compares two workers
of dask with one process that has both cores.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from astropy.io import fits

BAND = 256  # rows that are drawn at once
SIDE = 1024  # of the field of stars that is repeated; the noise is not
STEP = 0.2  # s between two looks at a process


def draw_light(density, seed=0):
    """Return the light of stars, which goes on beyond each border at the other one."""
    rng = np.random.default_rng(seed)
    n_stars = int(density * SIDE**2)
    y, x = rng.uniform(0, SIDE, (2, n_stars))
    flux = 400 * (1 + rng.pareto(0.9, n_stars)).clip(max=3000)
    offset = np.arange(-8, 9)
    rows, columns = (
        np.floor(one).astype(int)[:, np.newaxis] + offset for one in (y, x)
    )
    along, across = (
        np.exp(-((pixel - place[:, np.newaxis]) ** 2) / (2 * 1.4**2))
        for pixel, place in ((rows, y), (columns, x))
    )
    stars = (flux / (2 * np.pi * 1.4**2))[:, np.newaxis, np.newaxis]
    stars = stars * along[:, :, np.newaxis] * across[:, np.newaxis, :]
    light = np.zeros((SIDE, SIDE), dtype=np.float32)
    place = rows[:, :, np.newaxis] % SIDE, columns[:, np.newaxis] % SIDE
    np.add.at(light, place, stars)
    return light


def write_field(path, size, density):
    """Write a field of stars on a sky of some slope, a band at a time."""
    light = draw_light(density)
    rng = np.random.default_rng(1)
    header = fits.Header(
        {'SIMPLE': True, 'BITPIX': -32, 'NAXIS': 2, 'NAXIS1': size, 'NAXIS2': size}
    )
    sky = np.linspace(1000, 1060, size, dtype=np.float32)
    stream = fits.StreamingHDU(path, header)
    for start in range(0, size, BAND):
        rows = np.arange(start, min(start + BAND, size)) % SIDE
        image = sky + light[rows][:, np.arange(size) % SIDE]
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        stream.write(image + noise * np.sqrt(image / 7))
    stream.close()


STREAM = """
import json, resource, sys, time
import torch
torch.set_num_threads(int(sys.argv[4]))
from bgrem import subtract_file
start = time.perf_counter(), time.process_time()
(meta,) = subtract_file(sys.argv[1], sys.argv[2], catalog=sys.argv[3] == 'True',
                        weights=sys.argv[5])
spent = [time.perf_counter() - start[0], time.process_time() - start[1]]
peak = sum(resource.getrusage(who).ru_maxrss
           for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(json.dumps([*spent, peak / 2**10, meta.get('n_sources', 0)]))
"""


def _disk(folder):
    """Return the bytes of the files in a folder that are on disk."""
    total = 0
    for path in folder.rglob('*'):
        try:
            total += path.lstat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total


def stream_once(folder, size, options):
    """Return wall and CPU time (s), memory (MiB), sources and disk (bytes/pixel)."""
    path, output = folder / 'in.fits', folder / 'out.fits'
    write_field(path, size, options.density)
    known, stop, most = _disk(folder), threading.Event(), [0]

    def watch():
        while not stop.wait(STEP):
            most[0] = max(most[0], _disk(folder) - known)

    watcher = threading.Thread(target=watch)
    watcher.start()
    arguments = [path, output, not options.maps_only, options.threads, options.weights]
    try:
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', STREAM, *map(str, arguments)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    finally:
        stop.set()
        watcher.join()
    path.unlink()
    output.unlink()
    return *json.loads(done.stdout.splitlines()[-1]), most[0] / size**2


def size(options, folder):
    """Stream fields of several sizes, and print a table."""
    print(' side    Mpix  wall s   CPU s  CPU s/Mpix  peak MiB  disk B/px  sources')
    megapixels, spent = [], []
    for side in options.size:
        wall, cpu, peak, n_sources, disk = stream_once(folder, side, options)
        megapixels.append(side**2 / 1e6)
        spent.append(cpu)
        print(
            f'{side:5d}{megapixels[-1]:8.1f}{wall:8.1f}{cpu:8.1f}'
            f'{cpu / megapixels[-1]:12.3f}{peak:10.0f}{disk:11.1f}{n_sources:9d}',
            flush=True,
        )
    if len(spent) > 1:
        slope = np.polyfit(np.log(megapixels), np.log(spent), 1)[0]
        print(f'slope of log(CPU time) against log(pixels): {slope:.3f}')


def _fork(function):
    """Run a function in a process of its own; return its number."""
    child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException as exc:  # the parent sees the status
            print(repr(exc), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return child


def _content(path):
    """Return all data of a file, by their names."""
    with fits.open(path) as hdus:
        hdus.verify('exception')
        return [(hdu.name, hdu.data.tobytes()) for hdu in hdus[1:]]


def kill(options, folder):
    """Kill a process at random moments, have another one go on, and compare."""
    import warnings

    # what takes seconds to import is there before the process is divided
    import skimage.segmentation  # noqa: F401
    import torch

    import bgrem.denoise.run  # noqa: F401
    from bgrem import subtract_file
    from bgrem.scale import catalog
    from bgrem.sky import bands

    warnings.simplefilter('ignore')
    # a small image in many parts
    catalog._BLOCK, bands._PIXELS = options.block, options.block * options.size[0]
    torch.set_num_threads(1)
    side = options.size[0]
    path, output = folder / 'in.fits', folder / 'out.fits'
    write_field(path, side, options.density)

    def run():
        subtract_file(path, output, weights=options.weights)

    start = time.perf_counter()
    if os.waitpid(_fork(run), 0)[1] != 0:
        return False
    length = time.perf_counter() - start
    expected = _content(output)
    output.unlink()
    rng, n_killed, n_same = np.random.default_rng(options.seed), 0, 0
    while n_killed < options.number:
        moment = rng.uniform(0, length)
        child = _fork(run)
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):  # it was faster
            output.unlink()
            continue
        n_killed += 1
        left = sorted(one.name for one in (folder / 'out.fits.parts').glob('*'))
        # it may be there already
        status = 0 if output.exists() else os.waitpid(_fork(run), 0)[1]
        is_same = status == 0 and _content(output) == expected
        n_same += is_same
        print(
            f'{n_killed:3d}: killed after {moment:6.2f} of {length:.2f} s, '
            f'{len(left)} parts left; {"the same" if is_same else "DIFFERENT"}',
            flush=True,
        )
        output.unlink(missing_ok=True)
        shutil.rmtree(folder / 'out.fits.parts', ignore_errors=True)
    print(f'{n_same} of {n_killed} files are the same')
    return n_same == n_killed


def _in_memory(data, weights):
    """Return what an image in memory gives."""
    from bgrem import DiffusionBackground

    found = DiffusionBackground(data, weights=weights)
    return found.subtract(), found.background, found.background_rms


def _worker_file(path, output, weights):
    """Process a file in memory as ``bgrem subtract`` does without its catalog."""
    found = _in_memory(fits.getdata(path).astype(np.float32), weights)
    fits.PrimaryHDU(found[0]).writeto(output, overwrite=True)


def _read_block(path, block_info=None):
    """Return a block of an image: only its place is in the graph, not its pixels."""
    place = block_info[None]['array-location']
    with fits.open(path) as hdus:
        pixels = hdus[0].section[tuple(slice(*one) for one in place)]
    return pixels.astype(np.float32)


def workers(options, folder):
    """Compare two workers of dask with one process that has both cores."""
    import torch

    torch.set_num_threads(2)
    side = options.size[0]
    paths = [folder / f'{number}.fits' for number in range(options.number)]
    for path in paths:
        write_field(path, side, options.density)
    small = folder / 'small.fits'
    write_field(small, 256, options.density)

    def time_files(names):
        start = time.perf_counter()
        for path in names:
            _in_memory(fits.getdata(path).astype(np.float32), options.weights)
        return time.perf_counter() - start

    time_files([small])  # all imports
    one, files = time_files(paths[:1]), time_files(paths)
    by_array, by_files = _time_workers(paths, small, side, options.weights)
    for n_images, whole, divided in (
        (1, one, by_array),
        (len(paths), files, by_files),
    ):
        pixels = n_images * side**2 / 1e6
        print(
            f'{n_images} of {side} x {side} px: in memory, 2 threads '
            f'{pixels / whole:.3f} Mpix/s; 2 workers {pixels / divided:.3f} Mpix/s, '
            f'ratio {whole / divided:.2f}',
            flush=True,
        )


def _time_workers(paths, small, side, weights):
    """Return how long two workers take for one array, and for all files."""
    import dask.array as da
    from distributed import Client, LocalCluster, wait

    from bgrem import subtract_array

    def submit(path, **where):
        return client.submit(
            _worker_file, path, path.with_suffix('.out'), weights, pure=False, **where
        )

    def maps(path, size):
        array = da.map_blocks(
            _read_block,
            path,
            chunks=da.core.normalize_chunks(max(size // 2, 1), (size, size)),
            dtype=np.float32,
            meta=np.empty((0, 0), np.float32),
        )
        return client.persist(list(subtract_array(array, weights=weights)))

    with (
        LocalCluster(n_workers=2, threads_per_worker=1) as cluster,
        Client(cluster) as client,
    ):
        # all imports, and what dask learns of its own tasks, are not counted
        there = list(client.scheduler_info()['workers'])
        wait([submit(small, workers=[one]) for one in there])
        wait(maps(small, 256))
        start = time.perf_counter()
        done = maps(paths[0], side)
        wait(done)
        by_array = time.perf_counter() - start
        del done
        start = time.perf_counter()
        client.gather([submit(path) for path in paths])
        return by_array, time.perf_counter() - start


def _parse(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('what', choices=['size', 'kill', 'workers'])
    add('--size', nargs='+', type=int, help='sides of the images in pixels')
    add('--density', type=float, default=1e-3, help='stars per pixel')
    add('--weights', default='optical')
    add('--threads', type=int, default=os.cpu_count())
    add('--maps-only', action='store_true', help='without segments and catalogue')
    add('--number', type=int, help='how many are killed, or files of the workers')
    add('--block', type=int, default=128, help='side of the blocks of `kill`')
    add('--seed', type=int, default=0, help='of the moments of `kill`')
    add('--folder', help='for the files; by default that for temporary ones')
    return parser.parse_args(arguments)


def main(arguments=None):
    """Measure, and print a table."""
    options = _parse(arguments)
    defaults = {
        'size': ([1024, 2048, 4096], 0),
        'kill': ([256], 20),
        'workers': ([2048], 6),
    }
    sizes, number = defaults[options.what]
    options.size, options.number = options.size or sizes, options.number or number
    load = os.getloadavg()[0]
    print(f'{os.cpu_count()} cores; load before the start: {load:.1f}', flush=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        is_right = globals()[options.what](options, Path(folder))
    return int(is_right is False)


if __name__ == '__main__':
    sys.exit(main())
