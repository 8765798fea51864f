# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Damaged files through the readers and the command line."""

import contextlib
import io

import numpy as np
from astropy.io import fits

from bgrem.cli.main import main as bgrem_command
from bgrem.files.io import read_images
from bgrem.files.side_maps import read_error, read_mask
from fuzzing.damage import damage_fits, good_files
from fuzzing.judge import refusable, require
from fuzzing.weights import write_tiny_weights

__all__ = ['FitsCases']


class FitsCases:
    """Damaged FITS files, read; one in ``every`` through the command line."""

    def __init__(self, folder, every=50):
        self.folder, self.every = folder, every
        self.files = good_files()
        self.weights = write_tiny_weights(folder / 'tiny.safetensors')

    def run(self, seed):
        """Run the case of a seed; return what was done and how it ended."""
        rng = np.random.default_rng([1, seed])
        name = list(self.files)[rng.integers(len(self.files))]
        content, what = damage_fits(self.files[name], rng)
        work = self.folder / 'work'
        work.mkdir(exist_ok=True)
        path = work / ('in.fits.gz' if name == 'gzip' else 'in.fits')
        path.write_bytes(content)
        try:
            if seed % self.every == 0:
                return [f'{what} (command)'], self._command(work, path, rng)
            return [what], refusable(path, lambda: self._read(path, rng))
        finally:
            for left in work.iterdir():
                left.unlink()

    def _read(self, path, rng):
        how = rng.integers(4)
        images = read_images(path, plane=(1,) if how == 0 else None)
        if how == 1:
            read_error(path, 'ERR', image=images[0])
        if how == 2:
            read_mask(path, 'DQ', bits=1, image=images[-1])

    def _command(self, work, path, rng):
        output = work / rng.choice(['out.fits', 'out.csv', 'out.ecsv', 'out.fits.gz'])
        command = 'detect' if 'sv' in output.suffix else 'subtract'
        argv = [command, str(path), '-o', str(output), '-q', '--threshold', '0.01']
        streams = io.StringIO(), io.StringIO()
        with (
            contextlib.redirect_stdout(streams[0]),
            contextlib.redirect_stderr(streams[1]),
        ):
            status = bgrem_command([*argv, '--weights', str(self.weights)])
        lines = streams[1].getvalue().splitlines()
        left = {one.name for one in work.iterdir()} - {path.name}
        errors = [line for line in lines if line.startswith('bgrem: error: ')]
        require(all(line.startswith('bgrem: ') for line in lines), lines)
        require(status in (0, 1), status)
        require(left == ({output.name} if status == 0 else set()), left)
        require(len(errors) == status, lines)
        require(all(str(path) in line for line in errors), lines)
        if status == 0 and '.fits' in output.name:
            with fits.open(output) as hdus:
                require(hdus[-1].name == 'CATALOG', hdus[-1].name)
        return 'good' if status == 0 else 'refused'
