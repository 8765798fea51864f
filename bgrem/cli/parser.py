"""The options of the commands."""

import argparse
from types import MappingProxyType

from bgrem.checks import name_meant

__all__ = ['DISPATCHED', 'make_parser']

#: Commands with a parser of their own: here only their names, so that
#: `bgrem --help` does not import what they need.
DISPATCHED = {
    'simulate': ('bgrem.simulate.__main__', 'write a simulated image and its truth'),
    'train': ('bgrem.train.__main__', 'train weights from a configuration file'),
    'evaluate': ('bgrem.evaluate.__main__', 'measure how good weights are'),
}


def _normalization(text):
    if text in ('local', 'global'):
        return text
    try:
        return float(text)
    except ValueError:
        msg = f"must be 'local', 'global' or a number, got {text!r}"
        raise argparse.ArgumentTypeError(msg) from None


def _plane(text):
    try:
        return tuple(int(number) for number in text.split(','))
    except ValueError:
        msg = f'must be a number, or numbers separated by commas, got {text!r}'
        raise argparse.ArgumentTypeError(msg) from None


def make_parser():
    """
    Make the parser of ``bgrem``.

    Returns
    -------
    parser : `argparse.ArgumentParser`
        The parser with all commands; of those in `DISPATCHED`, only the names.
    """
    parser = _Parser(
        prog='bgrem',
        description='Separate sky, noise and sources in astronomical images.',
        epilog="'bgrem COMMAND --help' shows the options of a command.",
    )
    parser.add_argument('--version', action=_Version, help='show the version and exit')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')

    subtract = commands.add_parser(
        'subtract',
        help='FITS image to sky, noise, sources, segments and catalog in one FITS',
        description='Write the extensions SCI (data - background, not clipped), '
        'BACKGROUND, BACKGROUND_RMS, SOURCE, PROBABILITY, SEGM and CATALOG.',
    )
    _add_image_options(subtract, 'FITS file to write')
    _add_flux_options(subtract)
    _add_stream_option(subtract)

    detect = commands.add_parser(
        'detect',
        help='FITS image to a catalog',
        description='Detect sources and measure them on the unclipped '
        'data - background.',
    )
    _add_image_options(detect, 'catalog to write: .fits, .ecsv or .csv')
    _add_flux_options(detect)
    _add_stream_option(detect)

    plot = commands.add_parser(
        'plot',
        help='FITS image to a picture of what was found in it',
        description='Plot data, background, noise, sources and segments of an image, '
        'or of a file written by bgrem subtract; for the latter, the network does not '
        'run.',
    )
    _add_image_options(plot, 'picture to write: .png, .pdf, .svg or .jpg')
    # Nothing is measured for a picture.
    plot.set_defaults(gain=None, measure=None, zero_point=None)

    info = commands.add_parser(
        'info',
        help='versions, devices and weights, or how a product was made',
        description='Without an argument: versions, devices and weights in the '
        'package.',
    )
    info.add_argument(
        'what',
        nargs='?',
        help='name of weights, .safetensors file, or FITS file made by bgrem',
    )

    demo = commands.add_parser(
        'demo',
        help='simulate an image, run everything on it, compare with the truth',
        description='Requires GalSim and matplotlib; takes well under a minute.',
    )
    demo.add_argument(
        '-o',
        '--output',
        metavar='DIR',
        default='bgrem-demo',
        help='folder for the files; existing ones are replaced (default: bgrem-demo)',
    )
    demo.add_argument(
        '--seed',
        type=int,
        default=1,
        help='another seed gives another image (default: 1)',
    )
    demo.add_argument(
        '-q', '--quiet', action='store_true', help='no progress bars, no table'
    )
    _add_denoiser_options(demo.add_argument_group('network'))
    for name, (_, text) in DISPATCHED.items():
        commands.add_parser(name, help=text, add_help=False)
    for command in commands.choices.values():
        command.commands = commands.choices
    return parser


def _add_image_options(parser, output_help):
    parser.add_argument(
        'input', nargs='+', metavar='IN.fits', help='FITS image, also gzipped or .fz'
    )
    parser.add_argument(
        '-o',
        '--output',
        required=True,
        help=f"{output_help}; with several images, '{{}}' stands for the name of each",
    )
    parser.add_argument('--overwrite', action='store_true', help='replace the output')
    parser.add_argument(
        '--scheduler',
        metavar='ADDRESS',
        help='process the files on the workers of this dask scheduler, '
        'such as tcp://host:8786; they must have access to the same files',
    )
    parser.add_argument(
        '-q',
        '--quiet',
        action='store_true',
        help='errors only: no progress bars, no warnings, no summary',
    )
    _add_input_options(parser.add_argument_group('what goes in'))
    _add_sky_options(parser.add_argument_group('sky'))
    _add_promise_options(parser.add_argument_group('detections'))
    _add_denoiser_options(parser.add_argument_group('network'))


def _add_input_options(parser):
    parser.add_argument(
        '--hdu',
        help='number or name of the image HDU, such as 3 or SCI,2 (default: all named '
        'SCI, else the first image and the other chips of its camera)',
    )
    parser.add_argument(
        '--plane', type=_plane, metavar='N', help='plane of a cube, counted from 0'
    )
    parser.add_argument(
        '--mask',
        metavar='FITS[HDU]',
        help='mask image, nonzero at masked pixels; an HDU can be given in brackets, '
        'and [DQ] alone is an HDU of the input',
    )
    parser.add_argument(
        '--dq-bits',
        metavar='BITS',
        help="use only these bits of the --mask image or, without it, of the input's "
        "DQ: for example 1,4 or 5; '~4' for all others",
    )
    parser.add_argument(
        '--error',
        metavar='FITS[HDU]',
        help='image of the total errors, as the pipeline provides them',
    )
    parser.add_argument(
        '--error-type',
        choices=('std', 'var', 'ivar'),
        default='std',
        help='standard deviations, variances or inverse variances (default: std)',
    )
    parser.add_argument(
        '--exposure',
        metavar='FITS[HDU]',
        help='image of the exposure, for the weights for counts: fluxes are counts '
        'divided by it',
    )
    parser.add_argument(
        '--weight',
        metavar='FITS[HDU]',
        help='image of relative inverse variances; their scale is determined from the '
        'noise of the image',
    )


def _add_sky_options(parser):
    parser.add_argument(
        '--box-size',
        type=_box_size,
        default='auto',
        metavar='PIXELS',
        help='side of the boxes (default: auto, chosen from the image)',
    )
    parser.add_argument(
        '--exclude-percentile',
        type=float,
        metavar='P',
        help='exclude boxes with more than this percentage of bad or clipped '
        'pixels (default: 10; 100 if the boxes are chosen from the image)',
    )
    parser.add_argument(
        '--remove-stripes',
        action='store_true',
        help='remove offsets of whole rows and columns',
    )


def _add_promise_options(parser):
    parser = parser.add_mutually_exclusive_group()
    parser.add_argument(
        '--false-discovery-rate',
        '--fdr',
        type=float,
        default=0.05,
        metavar='Q',
        help='expected fraction of false detections (default: 0.05)',
    )
    parser.add_argument(
        '--threshold',
        type=float,
        metavar='P',
        help='minimum probability of a detection, instead of a false discovery rate',
    )


def _add_flux_options(parser):
    parser = parser.add_argument_group('catalog')
    parser.add_argument(
        '--gain',
        metavar='E',
        help='electrons per data unit, for the photon noise of the sources: a number '
        'or a header keyword',
    )
    parser.add_argument(
        '--zero-point',
        type=float,
        metavar='MAG',
        help='magnitude of one data unit; adds magnitudes to the catalog',
    )
    parser.add_argument(
        '--measure',
        metavar='FITS[HDU]',
        help='measure the fluxes on this image instead, in the apertures of the '
        'sources of IN; for example, another band on the same pixel grid',
    )
    parser.add_argument(
        '--aperture-correction',
        action='store_true',
        help='add total fluxes, with an aperture correction from the stars of the '
        'image',
    )
    parser.add_argument(
        '--regions', metavar='REG', help='write the ellipses as a DS9 region file too'
    )


def _add_stream_option(parser):
    parser.add_argument(
        '--stream',
        action='store_true',
        help='process images larger than the memory in parts, FITS or Zarr. After an '
        'interruption, the same command continues the work',
    )


def _box_size(text):
    """Return a number of pixels, or 'auto'."""
    try:
        return text if text == 'auto' else int(text)
    except ValueError:
        msg = f"must be 'auto' or a number of pixels, got {text!r}"
        raise argparse.ArgumentTypeError(msg) from None


def _add_denoiser_options(parser):
    parser.add_argument(
        '--weights',
        default='optical',
        help='name of weights in the package, or .safetensors file (default: optical)',
    )
    parser.add_argument(
        '--n-steps', type=int, help='diffusion steps (default: as for the weights)'
    )
    parser.add_argument(
        '--n-symmetries',
        type=int,
        default=1,
        help='number of views to average over: 1, 2, 4 or 8 (default: 1)',
    )
    parser.add_argument(
        '--normalization',
        type=_normalization,
        default='local',
        help="'local', 'global' or a factor (default: local)",
    )
    parser.add_argument(
        '--device', default='auto', help='auto, cpu, cuda, mps, ... (default: auto)'
    )
    parser.add_argument('--batch-size', type=int, help='number of tiles at once')


class _Parser(argparse.ArgumentParser):
    """
    A parser, also for each command, that suggests the option that may be meant.

    Attributes
    ----------
    commands : dict of `argparse.ArgumentParser`
        The parsers of all commands, if this is one of them.
    """

    commands = MappingProxyType({})

    def parse_known_args(self, args=None, namespace=None):
        options, rest = super().parse_known_args(args, namespace)
        unknown = [one for one in rest if one.startswith('--')]
        if unknown:
            hint = self._hint(unknown[0].partition('=')[0])
            self.error(f'unrecognized arguments: {" ".join(rest)}{hint}')
        return options, rest

    def _hint(self, option):
        owners = [
            f'bgrem {name}'
            for name, command in self.commands.items()
            if option in command._option_string_actions
        ]
        if owners:
            return f' (an option of {" and ".join(owners)})'
        known = {one.lstrip('-'): one for one in self._option_string_actions}
        name = name_meant(option.lstrip('-'), known)
        return f' (did you mean {known[name]}?)' if name else ''


class _Version(argparse.Action):
    """Print the version, which is not looked up at each start: that takes time."""

    def __init__(self, option_strings, dest, **kwargs):
        super().__init__(option_strings, dest, nargs=0, **kwargs)

    def __call__(self, parser, namespace, values, option_string=None):  # noqa: ARG002
        import bgrem

        print(f'bgrem {bgrem.__version__}')
        parser.exit()
