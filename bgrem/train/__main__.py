"""
``bgrem train CONFIG.toml`` and ``python -m bgrem.train CONFIG.toml``.
"""

import argparse
import sys

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
    parser.add_argument('config', help='TOML file, see configs/')
    parser.add_argument(
        '-o', '--output', help='folder of the run, resumed when it exists; '
        'default: runs/NAME'
    )  # fmt: skip
    parser.add_argument(
        '--init', metavar='WEIGHTS', help='start a new run from these weights (name '
        'or file)'
    )  # fmt: skip
    parser.add_argument('--device', default='cpu', help='cpu or cuda')
    parser.add_argument('--workers', type=int, default=2, help='processes for stamps')
    parser.add_argument('--stop-after', type=float, metavar='SECONDS')
    parser.add_argument('--quiet', action='store_true', help='no progress bar')
    args = parser.parse_args(argv)

    from . import load_config, train

    config = load_config(args.config)
    path = train(
        config,
        args.output or f'runs/{config.name}',
        init=args.init,
        device=args.device,
        n_workers=args.workers,
        progress=not args.quiet,
        stop_after=args.stop_after,
    )
    print(path)
    return 0


if __name__ == '__main__':
    sys.exit(main())
