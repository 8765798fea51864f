"""``bgrem evaluate``: measure the quality of weights, compared with their peers."""

import argparse
import sys
from pathlib import Path

from bgrem._extras import import_extra
from bgrem.evaluate.report import write_report

__all__ = ['main']


def build_parser():
    """
    Return the parser of the command.

    Returns
    -------
    parser : `~argparse.ArgumentParser`
    """
    parser = argparse.ArgumentParser(
        prog='bgrem evaluate',
        description='Measure weights and classical detectors on the same images.',
    )
    parser.add_argument(
        '--suite',
        choices=['optical', 'wild', 'gamma'],
        default='optical',
        help='the scenes: families of the training, unusual images, photon counts '
        '(default: optical)',
    )
    parser.add_argument(
        '--real', metavar='DIR', help='judge on the real images of a folder instead'
    )
    parser.add_argument(
        '--weights',
        nargs='+',
        default=['optical'],
        metavar='NAME_OR_PATH',
        help='names of weights in the package, or .safetensors files',
    )
    parser.add_argument('--families', nargs='+', help='default: all')
    parser.add_argument(
        '--parts',
        nargs='+',
        metavar='PART',
        help='what to measure (default: all)',
    )
    parser.add_argument(
        '--n-scenes',
        type=int,
        help='number of scenes of each family (default: 40; wild: 5; gamma: 30)',
    )
    parser.add_argument(
        '--size',
        type=int,
        help='side of a scene in pixels (default: 256; gamma: 64)',
    )
    parser.add_argument('--seed', type=int, help='another seed gives other scenes')
    parser.add_argument(
        '--noise-megapixels', type=float, default=2.0, help='area of pure noise'
    )
    parser.add_argument(
        '--n-symmetries',
        type=int,
        nargs='+',
        default=[1],
        metavar='N',
        help='numbers of views to average over (default: 1)',
    )
    parser.add_argument(
        '--gamma-templates',
        metavar='NPZ',
        help='interstellar emission of the suite gamma (default: drawn at random)',
    )
    parser.add_argument('--no-figures', action='store_true', help='tables only')
    parser.add_argument(
        '--training-log', metavar='CSV', help='also plot the losses of a training'
    )
    parser.add_argument(
        '-o',
        '--output',
        default='bgrem-evaluation',
        metavar='DIR',
        help='folder for the report (default: bgrem-evaluation)',
    )
    return parser


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
    options = build_parser().parse_args(argv)
    try:
        if not options.no_figures:
            import_extra('matplotlib')  # not only after hours of measuring
        results = _measure(options)
        print(write_report(results, options.output), end='')
        if not options.no_figures:
            from bgrem.evaluate.figures import write_figures

            write_figures(results, options.output, training_log=options.training_log)
    except (ImportError, OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(f'\nwritten to {Path(options.output).resolve()}')
    return 0


def _measure(options):
    given = {
        name: value
        for name in ('seed', 'parts')
        if (value := getattr(options, name)) is not None
    }
    if options.real is not None:
        from bgrem.evaluate.real import run_real

        given.pop('parts', None)
        return run_real(options.real, options.weights, **given)
    for name in ('n_scenes', 'size'):
        value = getattr(options, name)
        if value is not None:
            if value < 1:
                msg = f'{name} must be a positive integer, got {value}'
                raise ValueError(msg)
            given[name] = value
    given |= {'families': options.families, 'progress': True}
    if options.suite == 'gamma':
        from bgrem.evaluate.gamma.suite import run_gamma

        return run_gamma(options.weights, templates=options.gamma_templates, **given)
    if options.suite == 'wild':
        from bgrem.evaluate.wild.suite import run_wild

        return run_wild(options.weights, **given)
    from bgrem.evaluate.suite import run_suite

    return run_suite(
        options.weights,
        noise_megapixels=options.noise_megapixels,
        n_symmetries=options.n_symmetries,
        **given,
    )


if __name__ == '__main__':
    sys.exit(main())
