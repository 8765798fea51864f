"""``python -m bgrem.weights FILE``: add a weights file to those in the package."""

import argparse
import sys

from bgrem.weights.release import register

__all__ = ['main']


def main(argv=None):
    """
    Run the command.

    Parameters
    ----------
    argv : list of str or `None`, optional
        The arguments; by default those of the process.

    Returns
    -------
    status : int
        0, or 1 after one line on the standard error.
    """
    parser = argparse.ArgumentParser(
        prog='python -m bgrem.weights',
        description='Copy a weights file into the package and register its sha256.',
    )
    parser.add_argument('file', help='.safetensors file of trained weights')
    parser.add_argument('--name', help="default: the name in the file's header")
    parser.add_argument('--description', help='one line; kept if already registered')
    options = parser.parse_args(argv)
    try:
        row = register(options.file, name=options.name, description=options.description)
    except (OSError, ValueError) as exc:
        sys.stderr.write(f'error: {exc}\n')
        return 1
    sys.stdout.write(f'{row.name}  {row.sha256}  {row.path}\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
