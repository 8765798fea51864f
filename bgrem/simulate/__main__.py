"""``bgrem simulate`` and ``python -m bgrem.simulate``."""

import argparse
import sys
from pathlib import Path

import torch

from bgrem.products import check_output
from bgrem.simulate.families import FAMILIES
from bgrem.simulate.files import write_scene
from bgrem.simulate.scene import SceneComposer
from bgrem.simulate.stamps import StampBank, build_stamp_bank

__all__ = ['main']


def main(argv=None):
    """
    Write a simulated image of a named family, with its truth, to a FITS file.

    Parameters
    ----------
    argv : list of str or `None`, optional
        The arguments; `None` takes them from the command line.

    Returns
    -------
    status : int
        Zero.
    """
    parser = argparse.ArgumentParser(
        prog='bgrem simulate',
        description='Write a simulated image of a named family, with its truth, to '
        'a FITS file. Needs GalSim unless there is a bank of stamps.',
    )
    parser.add_argument('-o', '--output', required=True, help='FITS file to write')
    parser.add_argument('--overwrite', action='store_true', help='replace the output')
    parser.add_argument(
        '--family', choices=FAMILIES, default='flat', help='default: flat'
    )
    parser.add_argument('--size', type=int, default=512, help='pixels (default: 512)')
    parser.add_argument('--seed', type=int, default=1, help='another image')
    parser.add_argument(
        '--n-psf',
        type=int,
        default=24,
        help='PSFs to choose from, two seconds each (default: 24)',
    )
    parser.add_argument(
        '--bank',
        metavar='FILE',
        help='.safetensors file of stamps; made if it does not exist',
    )
    parser.add_argument('-q', '--quiet', action='store_true', help='no progress bar')
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


def _bank(options):
    path = None if options.bank is None else Path(options.bank)
    if path is not None and path.exists():
        return StampBank.load(path)
    bank = build_stamp_bank(
        options.n_psf, seed=options.seed, progress=not options.quiet
    )
    if path is not None:
        bank.save(path)
    return bank


if __name__ == '__main__':
    sys.exit(main())
