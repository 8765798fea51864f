"""
``python -m bgrem.weights.zero_point FILE -o NEW``: no light where there is none.

A network that is right on average over its training data may still add a few
thousandths of the noise to an empty sky, or remove as much. This affects every pixel of
the sky map.
"""

import argparse
import sys

import torch
from safetensors.torch import load_file

from .store import load_weights, save_weights

__all__ = ['main', 'set_zero_point']

_SIZE = 256  # pixels
_N_BATCHES = 6  # of two images


def set_zero_point(path, output):
    """
    Shift the source image of a network such that its mean is zero on white noise.

    Parameters
    ----------
    path : path-like
        Weights, by name or file, of a network with ``transfer='arcsinh'``.

    output : path-like
        The file to write. Logits and calibration stay as they are; ``training`` in the
        header records by how many standard deviations of the noise the source was
        shifted.

    Raises
    ------
    ValueError
        If the network has another transfer.

    OSError
        If a file cannot be read or written.

    Notes
    -----
    The mean is that of 12 images of 256 px, with an error of at most 0.001 standard
    deviations of the noise; this takes a few seconds on one processor core.
    """
    weights = load_weights(path)
    config = weights.config
    if config.transfer != 'arcsinh':
        msg = f"path must hold a network with transfer='arcsinh', got {path}"
        raise ValueError(msg)
    mean = _mean_source(weights.network())
    tensors = load_file(weights.path)
    # The maps of the head: gate, offset, center, each folded.
    offset = slice(config.unshuffle**2, 2 * config.unshuffle**2)
    bias = tensors['head.bias']
    shifted = bias.float()
    shifted[offset] -= mean
    tensors['head.bias'] = shifted.to(bias.dtype)
    training = {
        **(weights.header.get('training') or {}),
        'zero_point': round(-mean, 5),
    }
    save_weights(output, tensors, {**weights.header, 'training': training})


def _mean_source(network):
    means = []
    for seed in range(100, 100 + _N_BATCHES):
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(2, 1, _SIZE, _SIZE, generator=generator)
        with torch.inference_mode():
            background = network(noise, torch.ones(2)).background
        means.append(float((noise - background).mean()))
    return sum(means) / len(means)


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
        prog='python -m bgrem.weights.zero_point',
        description='Shift the source of a network to zero on white noise.',
    )
    parser.add_argument('file', help='.safetensors file, or the name of weights')
    parser.add_argument('-o', '--output', required=True, help='.safetensors file')
    options = parser.parse_args(argv)
    try:
        set_zero_point(options.file, options.output)
    except (OSError, ValueError) as exc:
        sys.stderr.write(f'error: {exc}\n')
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
