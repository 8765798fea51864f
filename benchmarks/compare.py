# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Measure sky and noise maps of an image by bgrem and by other tools, against the size of
the image, threads, views, diffusion steps, weights and precision:
``python benchmarks/compare.py -o FILE.json``, some six minutes on two cores.

Each row is a process of its own. ``python docs/make_results.py --speed FILE.json ...``
makes the table of the page; with several files, as of another photutils, theirs follow.
"""

import argparse
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from speed import (
    STAGES,
    cpu_name,
    forget_peak,
    in_process,
    peak_memory,
    settings_of,
    star_field,
)
from speed import measure as speed_of

from bgrem.denoise.run import cpu_has_bfloat16, tile_layout
from bgrem.weights import load_weights

SMALL = 256  # px; an image of this size is the first of each process
DENSITY = 5e-3  # stars per pixel
MATRIX = 4096  # side of the matrices whose product is timed


@dataclass(frozen=True)
class Setting:
    """What is measured: a tool, or weights of bgrem, and how they are run."""

    tool: str
    size: int = 1024
    threads: int = 2
    n_symmetries: int = 1
    n_steps: int | None = None  # as the weights say
    float32: bool = False


def settings(options):
    """Return all settings, none of them twice."""
    weights = Setting('optical', threads=options.threads)
    rows = []
    for tool in ('photutils', 'sep', 'optical', 'optical-fast'):
        rows += [replace(weights, tool=tool, size=size) for size in options.sizes]
    # others would take minutes
    rows.append(replace(weights, tool='optical-paper', size=min(options.sizes)))
    middle = replace(weights, size=2048)
    rows += [replace(middle, threads=number) for number in range(1, options.threads)]
    rows += [
        replace(middle, float32=True),
        replace(middle, tool='optical-fast', float32=True),
    ]
    rows += [replace(weights, n_symmetries=number) for number in (2, 4, 8)]
    rows += [replace(weights, n_steps=number) for number in (2, 4)]
    rows = [row for row in dict.fromkeys(rows) if row.tool in options.tools]
    # a network in bfloat16 is what there is to compare with
    return [row for row in rows if not row.float32 or cpu_has_bfloat16()]


def separate(setting, image):
    """Return the maps of sky and noise of an image."""
    if setting.tool == 'photutils':
        return STAGES['Background2D'](image, None)
    if setting.tool == 'sep':
        import sep

        found = sep.Background(image, bw=64, bh=64)
        return found.back(), found.rms()
    from bgrem import DiffusionBackground

    found = DiffusionBackground(
        image, weights=setting.tool, n_symmetries=setting.n_symmetries,
        n_steps=setting.n_steps, device='cpu',
    )  # fmt: skip
    return found.background, found.background_rms


def measure(setting, repeats, folder):
    """Return the least times (s) of an image, and memory (MiB) beyond a small one's."""
    times, peaks = [], []
    with settings_of(setting):
        for size in (SMALL, *repeats * [setting.size]):
            image = np.load(folder / f'{size}.npy')
            forget_peak()
            start = time.perf_counter(), time.process_time()
            maps = separate(setting, image)
            times.append(
                (time.perf_counter() - start[0], time.process_time() - start[1])
            )
            peaks.append(peak_memory() - image.nbytes / 2**20)
            del maps
    wall, cpu = np.min(times[1:], axis=0)
    return {'wall': wall, 'cpu': cpu, 'memory': peaks[1] - peaks[0]}


def network_rows(name, options, folder):
    """Return what a network does for each pixel of an image, and how fast."""
    rows = []
    for float32 in sorted({not cpu_has_bfloat16(), True}):
        setting = SimpleNamespace(
            weights=name, image_size=2048, threads=options.threads,
            repeats=options.repeats, float32=float32, device='cpu',
        )  # fmt: skip
        speed, *_ = in_process(speed_of, 'inference', setting, folder)
        dtype = 'float32' if float32 else 'bfloat16'
        rows.append({'weights': name, 'dtype': dtype, 'speed': speed})
    done = in_process(operations, name)
    return [{**row, 'operations': done} for row in rows]


def operations(name):
    """Return the operations of a network for each pixel of a large image."""
    from torch.utils.flop_counter import FlopCounterMode

    weights = load_weights(name)
    layout = tile_layout((2048, 2048), weights)
    tile = torch.zeros(1, 1, *layout.tile_shape)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        weights.network(torch.device('cpu'))(tile, torch.ones(1))
    return counter.get_total_flops() * weights.n_steps * len(layout) / 2048**2


def peak(threads, dtype):
    """Return the operations per second of a product of large matrices."""
    torch.set_num_threads(threads)
    matrix = torch.ones(MATRIX, MATRIX, dtype=dtype)
    spent = []
    for _ in range(4):
        start = time.perf_counter()
        matrix @ matrix
        spent.append(time.perf_counter() - start)
    return 2 * MATRIX**3 / min(spent)


def _parse(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tools = ['photutils', 'sep', 'optical', 'optical-fast', 'optical-paper']
    add = parser.add_argument
    add('-o', '--output', type=Path, required=True, metavar='FILE.json')
    add('--tools', nargs='+', choices=tools, default=tools)
    add('--sizes', nargs='+', type=int, default=[512, 1024, 2048, 4096])
    add('--threads', type=int, default=os.cpu_count())
    add('--repeats', type=int, default=3, help='of which the fastest counts')
    return parser.parse_args(arguments)


def main(arguments=None):
    """Measure, print what comes, and write a file."""
    options = _parse(arguments)
    rows, networks = [], []
    load = os.getloadavg()[0]
    print(f'load before the start: {load:.1f}; a busy machine is slower', flush=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for size in {SMALL, 1024, 2048, *options.sizes}:
            np.save(folder / f'{size}.npy', star_field(size, DENSITY))
        for setting in settings(options):
            found = in_process(measure, setting, options.repeats, folder)
            row = asdict(setting) | found
            if setting.tool in ('photutils', 'sep'):
                row['version'] = version(setting.tool)
            rows.append(row)
            print(row, flush=True)
        peaks = {
            str(dtype).removeprefix('torch.'): in_process(peak, options.threads, dtype)
            for dtype in (torch.float32, torch.bfloat16)
        }
        for name in ('optical', 'optical-fast'):
            if name in options.tools:
                networks += network_rows(name, options, folder)
                print(*networks[-2:], sep='\n', flush=True)
    results = {
        'cpu': cpu_name(),
        'cores': os.cpu_count(),
        'torch': torch.__version__,
        'bfloat16': cpu_has_bfloat16(),
        'rows': rows,
        'networks': networks,
        'peaks': peaks,
    }
    options.output.write_text(json.dumps(results, indent=1), encoding='utf-8')


if __name__ == '__main__':
    main()
