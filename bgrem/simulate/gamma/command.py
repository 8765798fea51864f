"""``bgrem simulate gamma`` and ``bgrem simulate counts``."""

import argparse

import numpy as np

from bgrem.files.products import check_output

from .field import FieldConfig, simulate_field
from .lat import EXPOSURE_PER_YEAR, LatConfig, simulate_lat_patch
from .psf import EVENT_TYPES
from .template import read_diffuse
from .write import galactic_wcs, write_patch

__all__ = ['simulate_counts', 'simulate_gamma']


def simulate_gamma(argv):
    """
    Run ``bgrem simulate gamma``.

    Parameters
    ----------
    argv : list of str
        The arguments.

    Returns
    -------
    status : int
        Zero.
    """
    options = _gamma_parser().parse_args(argv)
    if options.exposure is not None:
        options.years = options.exposure / EXPOSURE_PER_YEAR
    given = _given(options, 'shape', 'latitude', 'center', 'pixel_size', 'energy',
                   'event_type')  # fmt: skip
    if options.years is not None:
        given['years'] = (options.years,) * 2
    if options.remnants is not None:
        given['remnants'] = (options.remnants,) * 2
    config = LatConfig(**given, poisson=options.poisson)
    check_output(options.output, overwrite=options.overwrite)
    diffuse = None
    if options.diffuse is not None:
        diffuse = read_diffuse(options.diffuse, config.energy)
    rng = np.random.default_rng(options.seed)
    patch = simulate_lat_patch(rng, config, diffuse=diffuse)
    wcs = galactic_wcs(config, (patch.meta['lon'], patch.meta['lat']))
    write_patch(options.output, patch, wcs, overwrite=options.overwrite)
    _tell(options, patch)
    return 0


def _gamma_parser():
    parser = argparse.ArgumentParser(
        prog='bgrem simulate gamma',
        description='Write a patch of the gamma-ray sky as the Fermi-LAT sees it, with '
        'its truth, to a FITS file.',
    )
    _add_common_options(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        '--latitude',
        type=float,
        nargs=2,
        metavar=('LOW', 'HIGH'),
        help='absolute galactic latitude of the center in degrees (default: 0 90)',
    )
    where.add_argument(
        '--center',
        type=float,
        nargs=2,
        metavar=('L', 'B'),
        help='galactic longitude and latitude of the center in degrees',
    )
    parser.add_argument(
        '--pixel-size', type=float, metavar='DEG', help='default: 10/64 degrees'
    )
    parser.add_argument(
        '--energy',
        type=float,
        nargs=2,
        metavar=('LOW', 'HIGH'),
        help='band in GeV (default: 1 2)',
    )
    parser.add_argument(
        '--event-type', choices=('ALL', *EVENT_TYPES), help='default: ALL'
    )
    how_long = parser.add_mutually_exclusive_group()
    how_long.add_argument(
        '--years', type=float, help='time of observation (default: 10)'
    )
    how_long.add_argument(
        '--exposure',
        type=float,
        metavar='CM2S',
        help='exposure of all events in cm2 s instead',
    )
    parser.add_argument(
        '--remnants',
        type=float,
        metavar='FACTOR',
        help='supernova remnants and pulsar wind nebulae, 1 for as many as are '
        'cataloged above 10 GeV (default: none)',
    )
    parser.add_argument(
        '--diffuse',
        metavar='FILE',
        help='interstellar emission from a map in photons per cm2, s and sr, or a cube '
        'of the mission (gll_iem), instead of a random one',
    )
    return parser


def simulate_counts(argv):
    """
    Run ``bgrem simulate counts``.

    Parameters
    ----------
    argv : list of str
        The arguments.

    Returns
    -------
    status : int
        Zero.
    """
    parser = argparse.ArgumentParser(
        prog='bgrem simulate counts',
        description='Write a field of counted photons as an X-ray or ultraviolet '
        'telescope sees it, with its truth, to a FITS file.',
    )
    _add_common_options(parser)
    for name, metavar, text in (
        ('fwhm', 'PIXELS', 'FWHM of the PSF (default: random, 1.2 to 10)'),
        (
            'level',
            'COUNTS',
            'counts of the sky per pixel (default: random, 0.003 to 3000)',
        ),
    ):
        parser.add_argument(f'--{name}', type=float, metavar=metavar, help=text)
    options = parser.parse_args(argv)
    given = _given(options, 'shape')
    given |= {
        name: (one,) * 2 for name, one in _given(options, 'fwhm', 'level').items()
    }
    config = FieldConfig(**given, poisson=options.poisson)
    check_output(options.output, overwrite=options.overwrite)
    patch = simulate_field(np.random.default_rng(options.seed), config)
    write_patch(options.output, patch, overwrite=options.overwrite)
    _tell(options, patch)
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
    parser.add_argument('-q', '--quiet', action='store_true', help='no summary')
    parser.add_argument(
        '--shape', type=int, nargs=2, metavar=('NY', 'NX'), help='default: 64 64'
    )
    parser.add_argument(
        '--no-poisson',
        dest='poisson',
        action='store_false',
        help='the expected counts, without the noise of the photons',
    )


def _given(options, *names):
    """Return the options that were given, by name."""
    values = {name: getattr(options, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _tell(options, patch):
    if not options.quiet:
        print(
            f'{len(patch.catalog["x"])} sources above S/N 1, '
            f'{patch.sky.mean():.3g} counts per pixel of sky'
        )
        print(options.output)
