"""``bgrem simulate`` and ``python -m bgrem.simulate``."""

import argparse
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from bgrem.files.atomic import atomic_path
from bgrem.files.products import check_output
from bgrem.simulate.families import FAMILIES
from bgrem.simulate.gamma.command import simulate_counts, simulate_gamma
from bgrem.simulate.meerlicht import simulate_meerlicht
from bgrem.simulate.meerlicht_config import MeerLICHTConfig
from bgrem.simulate.scene import SceneComposer
from bgrem.simulate.stamps import StampBank, build_stamp_bank
from bgrem.simulate.write import write_frame, write_scene

__all__ = ['main']


def main(argv=None):
    """
    Write a simulated image of a named family, with its truth, to a FITS file.

    With ``meerlicht`` as the first argument, the image is a full frame modeled on
    MeerLICHT instead, drawn exactly by GalSim; its options are the fields of
    `~bgrem.simulate.meerlicht_config.MeerLICHTConfig`. With ``gamma``, it is a patch of
    the gamma-ray sky; with ``counts``, any field of counted photons.

    Parameters
    ----------
    argv : list of str or `None`, optional
        The arguments; `None` takes them from the command line.

    Returns
    -------
    status : int
        Zero.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    others = {
        'counts': simulate_counts,
        'gamma': simulate_gamma,
        'meerlicht': _simulate_meerlicht,
    }
    if argv and argv[0] in others:
        return others[argv[0]](argv[1:])
    parser = argparse.ArgumentParser(
        prog='bgrem simulate',
        description='Write a simulated image of a named family, with its truth, to '
        'a FITS file. Needs GalSim unless there is a bank of stamps.',
        epilog="'bgrem simulate meerlicht --help' shows the options of an exact full "
        "frame modeled on MeerLICHT; 'gamma' instead makes a patch of the gamma-ray "
        "sky, 'counts' a field in X-rays.",
    )
    _add_common_options(parser)
    parser.add_argument(
        '--family', choices=FAMILIES, default='flat', help='default: flat'
    )
    parser.add_argument('--size', type=int, default=512, help='pixels (default: 512)')
    parser.add_argument(
        '--n-psf',
        type=int,
        default=24,
        help='PSFs to choose from, two seconds each (default: 24)',
    )
    parser.add_argument(
        '--bank',
        metavar='FILE',
        help='.safetensors file of stamps; created if it does not exist',
    )
    options = parser.parse_args(argv)
    if options.size < 1:
        parser.error(f'argument --size: must be positive, got {options.size}')

    check_output(options.output, overwrite=options.overwrite)
    composer = SceneComposer(_bank(options), FAMILIES[options.family])
    generator = torch.Generator().manual_seed(options.seed)
    batch = composer.compose(1, options.size, generator)
    write_scene(options.output, batch, overwrite=options.overwrite)
    if not options.quiet:
        print(f'{len(batch.catalog["x"])} sources, FWHM {float(batch.fwhm[0]):.2f} px')
        print(options.output)
    return 0


def _add_common_options(parser):
    parser.add_argument('-o', '--output', required=True, help='FITS file to write')
    parser.add_argument('--overwrite', action='store_true', help='replace the output')
    parser.add_argument(
        '--seed',
        type=int,
        default=1,
        help='another seed gives another image (default: 1)',
    )
    parser.add_argument('-q', '--quiet', action='store_true', help='no progress bar')


def _simulate_meerlicht(argv):
    parser = argparse.ArgumentParser(
        prog='bgrem simulate meerlicht',
        description='Write an exact full frame modeled on MeerLICHT, with its truth, '
        'to a FITS file. A full frame takes several minutes and 1.8 GB. Needs GalSim.',
    )
    _add_common_options(parser)
    for field in fields(MeerLICHTConfig):
        default, unit = field.default, field.metadata['unit']
        # Suppressed: only what is given reaches the configuration.
        kind = {'type': float, 'default': argparse.SUPPRESS}
        if field.name == 'size':
            kind |= {'type': int, 'nargs': 2, 'metavar': ('NY', 'NX')}
        elif isinstance(default, tuple):
            kind |= {'nargs': 2, 'metavar': ('LOW', 'HIGH')}
        shown = ' '.join(map(str, np.atleast_1d(default)))
        parser.add_argument(
            f'--{field.name.replace("_", "-")}',
            help=f'{unit} (default: {shown})',
            **kind,
        )
    options = parser.parse_args(argv)
    names = {field.name for field in fields(MeerLICHTConfig)}
    config = MeerLICHTConfig(**{n: v for n, v in vars(options).items() if n in names})
    path = check_output(options.output, overwrite=options.overwrite)
    frame = simulate_meerlicht(config, seed=options.seed, progress=not options.quiet)
    write_frame(path, frame, overwrite=options.overwrite)
    if not options.quiet:
        print(f'{len(frame.catalog)} sources, FWHM {frame.fwhm:.2f} px')
        print(path)
    return 0


def _bank(options):
    path = None if options.bank is None else Path(options.bank)
    if path is not None and path.exists():
        return StampBank.load(path)
    bank = build_stamp_bank(
        options.n_psf, seed=options.seed, progress=not options.quiet
    )
    if path is not None:
        with atomic_path(path) as temporary:
            bank.save(temporary)
    return bank


if __name__ == '__main__':
    sys.exit(main())
