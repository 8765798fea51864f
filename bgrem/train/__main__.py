"""
``bgrem train CONFIG.toml`` and ``python -m bgrem.train CONFIG.toml``.
"""

import argparse
import sys
import warnings
from dataclasses import replace

__all__ = ['main']


def main(argv=None):
    """
    Train the weights that a configuration file describes.

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
        prog='bgrem train',
        description='Train the weights that a configuration file describes.',
    )
    parser.add_argument(
        'config', nargs='?', help='TOML file, see configs/; may be omitted when '
        'weights are adapted to noise frames'
    )  # fmt: skip
    parser.add_argument(
        '-o', '--output', help='folder of the run, which is resumed if it exists; '
        'default: runs/NAME'
    )  # fmt: skip
    parser.add_argument(
        '--init', metavar='WEIGHTS', help='start a new run from these weights (name '
        'or file)'
    )  # fmt: skip
    parser.add_argument(
        '--noise-frames', metavar='DIR', help='FITS images of blank sky, whose pixels '
        'replace the simulated sky and noise'
    )  # fmt: skip
    parser.add_argument(
        '--gain', type=float, help='electrons per count of the noise frames; default: '
        'their keyword GAIN'
    )  # fmt: skip
    parser.add_argument('--steps', type=int, help='number of training steps')
    parser.add_argument('--device', default='auto', help='cpu, cuda or auto (default)')
    parser.add_argument(
        '--workers', type=int, default=2, help='processes that draw stamps (default: 2)'
    )
    parser.add_argument(
        '--stop-after', type=float, metavar='SECONDS', help='stop with a checkpoint '
        'after this time; the same command continues. The time for drawing the stamps, '
        'before the first step, does not count'
    )  # fmt: skip
    parser.add_argument('-q', '--quiet', action='store_true', help='show nothing')
    args = parser.parse_args(argv)
    if args.quiet:
        warnings.simplefilter('ignore')

    from . import train

    config = _configuration(args)
    path = train(
        config,
        args.output or f'runs/{config.name}',
        init=args.init,
        device=args.device,
        n_workers=args.workers,
        progress=not args.quiet,
        stop_after=args.stop_after,
    )
    if not args.quiet:
        print(path)
    return 0


def _configuration(args):
    from . import fine_tuning_config, load_config

    if args.config is not None:
        config = load_config(args.config)
    elif args.init is None or args.noise_frames is None:
        msg = 'config must be given, or else both --init and --noise-frames, got none'
        raise ValueError(msg)
    else:
        config = fine_tuning_config(args.init)
    changes = {
        'noise_frames': args.noise_frames,
        'noise_gain': args.gain,
        'n_steps': args.steps,
    }
    if args.noise_frames is not None:
        # Real frames bring their own errors of the measurement.
        changes |= {'family_fraction': 0.0, 'measured_fraction': 1.0}
    given = {name: value for name, value in changes.items() if value is not None}
    return replace(config, **given)


if __name__ == '__main__':
    sys.exit(main())
