# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Measure speed and memory: ``python benchmarks/speed.py``.
"""

import argparse
import os
import pickle
import platform
import resource
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from bgrem.denoise import run
from bgrem.denoise.run import cpu_has_bfloat16, denoise, resolve_device
from bgrem.simulate import SceneComposer, SceneConfig, StampBank, build_stamp_bank
from bgrem.train.config import load_config
from bgrem.train.loop import _Run
from bgrem.weights import load_weights

CONFIG = Path(__file__).parent.parent / 'configs' / 'optical.toml'
# Scenes differ in cost, so a measurement takes the same several batches.
N_BATCHES = 8


def composer(options, folder):
    """Return a function that composes scenes, and the pixels it makes."""
    bank = StampBank.load(folder / 'bank.safetensors')
    compose = SceneComposer(bank, SceneConfig()).compose

    def run():
        for seed in range(N_BATCHES):
            generator = torch.Generator().manual_seed(seed)
            compose(options.n_crops, options.crop_size, generator)

    return run, N_BATCHES * options.n_crops * options.crop_size**2


def training(options, folder):
    """Return a function that makes a training step, scenes included."""
    config = replace(
        load_config(CONFIG),
        batch_size=options.n_crops,
        crop_size=options.crop_size,
        validation_scenes=1,
        # A small bank lacks PSFs for some of the families.
        family_fraction=0.0,
    )
    # The step of the real loop, which has no public name of its own.
    step = _Run(config, folder, resolve_device(options.device), 1, None)._train_step
    return step, options.n_crops * options.crop_size**2


def inference(options, _):
    """Return a function that runs the shipped weights over an image."""
    weights = load_weights(options.weights)
    size = options.image_size
    image = torch.randn(size, size, generator=torch.Generator().manual_seed(0)).numpy()

    def once():
        denoise(image, weights, device=options.device)

    return once, size**2


def star_field(size, density, seed=0):
    """Return a field of stars on a sky, float32, with ``density`` stars per pixel."""
    rng = np.random.default_rng(seed)
    n_stars = int(density * size**2)
    y, x = rng.uniform(0, size, (2, n_stars))
    flux = 400 * (1 + rng.pareto(0.9, n_stars)).clip(max=3000)
    offset = np.arange(-8, 9)
    rows, columns = (
        np.floor(place).astype(int)[:, np.newaxis] + offset for place in (y, x)
    )
    along, across = (
        np.exp(-((pixel - place[:, np.newaxis]) ** 2) / (2 * 1.4**2))
        for pixel, place in ((rows, y), (columns, x))
    )
    stars = (flux / (2 * np.pi * 1.4**2))[:, np.newaxis, np.newaxis]
    stars = stars * along[:, :, np.newaxis] * across[:, np.newaxis, :]
    light = np.zeros((size + 16, size + 16))
    np.add.at(light, (rows[:, :, np.newaxis] + 8, columns[:, np.newaxis] + 8), stars)
    light = light[8:-8, 8:-8] + np.linspace(1000, 1060, size)
    return rng.normal(light, np.sqrt(light / 7)).astype(np.float32)


def _background2d(image, _):
    from photutils.background import Background2D

    background = Background2D(image, 64, exclude_percentile=90)
    return background.background, background.background_rms


def _constructor(image, _, weights, device):
    from bgrem import DiffusionBackground

    found = DiffusionBackground(image, weights=weights, device=device)
    return found, found.background, found.background_rms


# The image, and what the stage before has left, to what this one leaves.
STAGES = {
    'Background2D': _background2d,
    'constructor': _constructor,
    'first detect': lambda _, found: (found, found.detect()),
    'detect': lambda _, found: (found, found.detect()),
    'catalog': lambda _, found: (found, found.catalog(found.detect())),
    # the catalog once more, and its table
    'table': lambda _, found: (found.catalog(found.detect()).to_table(),),
}


def measure_stage(name, options, folder):
    """
    Return time by the clock and of the CPU (s), the least of all repeats, and peak
    memory (MiB) of a stage, less that of 256 px.

    What the stage before has left is read from a file, and counts.
    """
    stage = STAGES[name]
    if name == 'constructor':
        stage = partial(stage, weights=options.weights, device=options.device)
    with settings_of(options):
        times, peaks = [], []
        for size in (256, *options.repeats * [options.image_size]):
            path = folder / f'{size}.pickle'
            image, found, left = np.load(folder / f'{size}.npy'), None, None
            if len(times) == 1:
                peaks[0] += image.nbytes / 2**20
            if path.exists():
                found = pickle.loads(path.read_bytes())
            forget_peak()
            start = time.perf_counter(), time.process_time()
            left = stage(image, found)
            times.append(
                (time.perf_counter() - start[0], time.process_time() - start[1])
            )
            peaks.append(peak_memory())
            if name in ('constructor', 'first detect'):
                path.write_bytes(pickle.dumps(left[0]))
    wall, cpu = np.min(times[1:], axis=0)
    return wall, cpu, peaks[1] - peaks[0]


def stages(options, folder):
    """Measure all stages, each in its own process, and print a table."""
    megapixels = options.image_size**2 / 1e6
    one_image = options.image_size**2 * 4 / 2**20
    print('\n              s/Mpix: clock    CPU  speed/Background2D   memory (images)')
    for size in (256, options.image_size):
        np.save(folder / f'{size}.npy', star_field(size, options.density))
    first = None
    for name in options.stages:
        wall, cpu, memory = in_process(measure_stage, name, options, folder)
        first = first or wall
        print(
            f'{name:14s}{wall / megapixels:13.3f}{cpu / megapixels:7.3f}'
            f'{first / wall:20.3f}{memory / one_image:18.1f}'
        )


BENCHMARKS = {'composer': composer, 'training': training, 'inference': inference}


def measure(name, options, folder):
    """Return speed (Mpix/s), CPU time (s/Mpix) and memory (MiB): peak and imports."""
    with settings_of(options):
        before = peak_memory()
        run, n_pixels = BENCHMARKS[name](options, folder)
        # a GPU goes on while Python does not wait for it
        is_gpu = resolve_device(options.device).type == 'cuda'
        finish = torch.cuda.synchronize if is_gpu else (lambda: None)
        run()
        finish()
        wall, cpu = [], []
        for _ in range(options.repeats):
            start = time.perf_counter(), time.process_time()
            run()
            finish()
            wall.append(time.perf_counter() - start[0])
            cpu.append(time.process_time() - start[1])
    megapixels = n_pixels / 1e6
    return (
        megapixels / statistics.median(wall),
        statistics.median(cpu) / megapixels,
        peak_memory(),
        before,
    )


def in_process(function, *arguments):
    """Call a function in a fresh process, as the peak of memory is one for each."""
    with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as pool:
        return pool.submit(function, *arguments).result()


@contextmanager
def settings_of(options):
    """Run a network in so many threads, in float32 where that is asked for."""
    torch.set_num_threads(options.threads)
    native = cpu_has_bfloat16() and not options.float32
    with patch.object(run, 'cpu_has_bfloat16', lambda: native):
        yield


def forget_peak():
    """Let the peak of the memory begin with what is resident, on Linux."""
    with suppress(OSError):
        Path('/proc/self/clear_refs').write_text('5')


def peak_memory():
    """Return the peak of the memory of this process (MiB)."""
    try:
        lines = Path('/proc/self/status').read_text().splitlines()
    except OSError:
        lines = []
    # what the system counts as used begins with that of the process before this one
    for line in lines:
        if line.startswith('VmHWM'):
            return int(line.split()[1]) / 2**10
    # Kibibytes, but bytes on macOS.
    unit = 2**20 if platform.system() == 'Darwin' else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def cpu_name():
    """Return what the processor is called."""
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(':')[1].strip() for line in lines if 'model name' in line]
    return names[0] if names else platform.machine()


def _parse(arguments):
    parser = argparse.ArgumentParser(description='Measure speed and memory.')
    add = parser.add_argument
    names = [*BENCHMARKS, 'stages']
    add('--what', nargs='+', choices=names, default=names)
    add('--repeats', type=int, default=5, help='the medians of so many are printed')
    add('--threads', type=int, default=os.cpu_count())
    add('--n-crops', type=int, default=12, help='crops of a training batch')
    add('--crop-size', type=int, default=128, help='side of a crop in pixels')
    add('--image-size', type=int, default=1024, help='side of the image')
    add('--stages', nargs='+', choices=STAGES, default=list(STAGES), help='of these')
    add('--density', type=float, default=5e-3, help='stars per pixel of the stages')
    add('--weights', default='optical', help='of inference and stages')
    add('--device', default='cpu', help='of the network, as "cuda"')
    add('--float32', action='store_true', help='as without bfloat16 units')
    add('--bank', help='stamp bank; by default one of 8 PSFs is drawn')
    return parser.parse_args(arguments)


def main(arguments=None):
    """Measure, each benchmark in its own process, and print a table."""
    options = _parse(arguments)
    print(f'CPU:     {cpu_name()}, {os.cpu_count()} cores')
    print(f'threads: {options.threads}, torch {torch.__version__}')
    print(f'bfloat16 network: {cpu_has_bfloat16() and not options.float32}')
    load = os.getloadavg()[0]
    print(f'load before the start: {load:.1f}; a busy machine is slower by the clock\n')
    print('            Mpix/s  CPU s/Mpix  peak MiB  imports MiB')
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if options.bank is not None:
            shutil.copy(options.bank, folder / 'bank.safetensors')
        elif set(options.what) & {'composer', 'training'}:
            build_stamp_bank(8, seed=0).save(folder / 'bank.safetensors')
        for name in options.what:
            if name == 'stages':
                stages(options, folder)
                continue
            row = in_process(measure, name, options, folder)
            print('{:10s}{:8.2f}{:12.3f}{:10.0f}{:13.0f}'.format(name, *row))


if __name__ == '__main__':
    main()
