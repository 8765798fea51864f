"""
``python -m bgrem.weights.average FILE OTHER -o NEW``: the mean of two trainings.

Two networks, one of which was trained on from the other, make different errors where
the data do not constrain them. The mean of their weights makes smaller errors (Wortsman
et al. 2022, "model soups"), at the cost of one network.
"""

import argparse
import sys

from safetensors.torch import load_file

from .store import load_weights, save_weights

__all__ = ['average_weights', 'main']


def average_weights(path, other, output, fraction=0.5):
    """
    Write the weighted mean of the weights of two files.

    Parameters
    ----------
    path, other : path-like
        Weights files of the same network.

    output : path-like
        The file to write. Its header is that of ``other`` without the calibration,
        which does not apply to it; ``training`` records what was averaged.

    fraction : float, optional
        The weight of ``other``; that of the first file is the remainder.

    Raises
    ------
    ValueError
        If ``fraction`` is not between 0 and 1 (exclusive), or the networks differ.

    OSError
        If a file cannot be read or written.
    """
    if not 0 < fraction < 1:
        msg = f'fraction must be between 0 and 1 (exclusive), got {fraction}'
        raise ValueError(msg)
    first, second = load_weights(path), load_weights(other)
    if first.config != second.config:
        msg = f'other must hold the network of {path}, got {other}'
        raise ValueError(msg)
    tensors, others = load_file(first.path), load_file(second.path)
    mean = {
        # Not the counters of a batch normalization.
        name: value.float().lerp(others[name].float(), fraction).to(value.dtype)
        if value.is_floating_point()
        else others[name]
        for name, value in tensors.items()
    }
    header = {**second.header, 'calibration': None}
    header['training'] = {
        **(header.get('training') or {}),
        'mean_of': [[first.sha256, 1 - fraction], [second.sha256, fraction]],
    }
    save_weights(output, mean, header)


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
        prog='python -m bgrem.weights.average',
        description='Write the weighted mean of two weights files.',
    )
    parser.add_argument('file', help='.safetensors file, or the name of weights')
    parser.add_argument('other', help='another one of the same network')
    parser.add_argument('-o', '--output', required=True, help='.safetensors file')
    parser.add_argument(
        '--fraction', type=float, default=0.5, help='of the other one (default: 0.5)'
    )
    options = parser.parse_args(argv)
    try:
        average_weights(options.file, options.other, options.output, options.fraction)
    except (OSError, ValueError) as exc:
        sys.stderr.write(f'error: {exc}\n')
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
