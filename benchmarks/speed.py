# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Measure speed and memory: ``python benchmarks/speed.py``.
"""

import argparse
import os
import platform
import resource
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import torch

from bgrem.denoise.run import cpu_has_bfloat16, denoise
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
    step = _Run(config, folder, torch.device('cpu'), 1, None)._train_step
    return step, options.n_crops * options.crop_size**2


def inference(options, _folder):
    """Return a function that runs the shipped weights over an image."""
    weights = load_weights('optical')
    size = options.image_size
    image = torch.randn(size, size, generator=torch.Generator().manual_seed(0)).numpy()

    def run():
        denoise(image, weights, device='cpu')

    return run, size**2


BENCHMARKS = {'composer': composer, 'training': training, 'inference': inference}


def measure(name, options, folder):
    """Return speed (Mpix/s), CPU time (s/Mpix) and memory (MiB): peak and imports."""
    torch.set_num_threads(options.threads)
    before = _peak_memory()
    run, n_pixels = BENCHMARKS[name](options, folder)
    run()
    wall, cpu = [], []
    for _ in range(options.repeats):
        start = time.perf_counter(), time.process_time()
        run()
        wall.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
    megapixels = n_pixels / 1e6
    return (
        megapixels / statistics.median(wall),
        statistics.median(cpu) / megapixels,
        _peak_memory(),
        before,
    )


def _peak_memory():
    # Kibibytes, but bytes on macOS.
    unit = 2**20 if platform.system() == 'Darwin' else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _cpu_name():
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(':')[1].strip() for line in lines if 'model name' in line]
    return names[0] if names else platform.machine()


def _parse(arguments):
    parser = argparse.ArgumentParser(description='Measure speed and memory on the CPU.')
    add = parser.add_argument
    add('--what', nargs='+', choices=BENCHMARKS, default=list(BENCHMARKS))
    add('--repeats', type=int, default=5, help='the medians of so many are printed')
    add('--threads', type=int, default=os.cpu_count())
    add('--n-crops', type=int, default=12, help='crops of a training batch')
    add('--crop-size', type=int, default=128, help='side of a crop in pixels')
    add('--image-size', type=int, default=1024, help='side of the denoised image')
    add('--bank', help='stamp bank; by default one of 8 PSFs is drawn')
    return parser.parse_args(arguments)


def main(arguments=None):
    """Measure, each benchmark in its own process, and print a table."""
    options = _parse(arguments)
    print(f'CPU:     {_cpu_name()}, {os.cpu_count()} cores')
    print(f'threads: {options.threads}, torch {torch.__version__}')
    print(f'bfloat16 network: {cpu_has_bfloat16()}')
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
            # A fresh process: the peak of memory is one number per process.
            with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as pool:
                row = pool.submit(measure, name, options, folder).result()
            print('{:10s}{:8.2f}{:12.3f}{:10.0f}{:13.0f}'.format(name, *row))


if __name__ == '__main__':
    main()
