"""The entry point of the command line: one-line errors and exit codes."""

# Nothing that takes time: until main() is called, an interrupt is a traceback.
import sys

__all__ = ['main', 'print_warnings']


def main(argv=None):
    """
    Run a ``bgrem`` command.

    Parameters
    ----------
    argv : list of str or `None`, optional
        The arguments; by default those of the process.

    Returns
    -------
    status : int
        0 on success; 1 if the input was bad or an output cannot be written, after
        one line on the standard error; 130 if the user interrupted it; 128 plus the
        number of the signal after SIGTERM or SIGHUP. Wrong options raise
        `SystemExit` with status 2.
    """
    try:
        return _guarded(sys.argv[1:] if argv is None else list(argv))
    except KeyboardInterrupt:
        if sys.stderr is not None:
            sys.stderr.write('bgrem: interrupted\n')
        return 130


def _guarded(argv):
    """Run a command; turn requests to end, and errors, into one line."""
    import warnings

    from bgrem.cli.process import (
        EXPECTED_ERRORS,
        Terminated,
        bars_in_lines,
        describe,
        open_streams,
        own_signals,
        say,
    )

    open_streams()
    try:
        with own_signals(), bars_in_lines(), warnings.catch_warnings():
            return _run(argv) or 0
    except Terminated as exc:
        say('terminated')
        return 128 + exc.number
    except EXPECTED_ERRORS as exc:
        say(f'error: {describe(exc)}')
        return 1


def _run(argv):
    import importlib

    from bgrem.cli.parser import DISPATCHED, make_parser

    if argv and argv[0] in DISPATCHED:
        module = importlib.import_module(DISPATCHED[argv[0]][0])
        print_warnings()
        return module.main(argv[1:])
    options = make_parser().parse_args(argv)
    commands = importlib.import_module('bgrem.cli.commands')
    # Only now: astropy takes over the printing of warnings when imported.
    print_warnings(quiet=getattr(options, 'quiet', False))
    return getattr(commands, options.command)(options)


def print_warnings(*, quiet=False):
    """
    Print warnings that concern the user in one line each, and no others.

    Parameters
    ----------
    quiet : bool, optional
        Whether to print nothing at all. Default `False`.
    """
    import logging
    import warnings

    from astropy import log
    from astropy.io.fits.verify import VerifyWarning
    from astropy.utils.exceptions import AstropyDeprecationWarning, AstropyWarning

    from bgrem.cli.process import say

    def show(message, category, filename, lineno, file=None, line=None):  # noqa: ARG001
        say(f'warning: {" ".join(str(message).split())}')

    # What astropy tells of odd WCS headers it repairs itself.
    log.setLevel('ERROR')
    # What matplotlib tells of fonts.
    logging.getLogger('matplotlib').setLevel('ERROR')
    warnings.simplefilter('ignore')
    if quiet:
        return
    for category in (UserWarning, AstropyWarning):
        warnings.simplefilter('default', category)
    # Odd cards of the input are kept as they are: nobody needs to act.
    for category in (AstropyDeprecationWarning, VerifyWarning):
        warnings.simplefilter('ignore', category)
    warnings.filterwarnings('ignore', message='The following header keyword is inv')
    warnings.showwarning = show


if __name__ == '__main__':
    sys.exit(main())
