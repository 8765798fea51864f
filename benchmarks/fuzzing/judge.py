# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Run cases one after the other, and count how they ended."""

import faulthandler
import signal
import traceback
import warnings
from collections import Counter
from pathlib import Path

__all__ = ['Fault', 'make_table', 'refusable', 'require', 'run_cases']

# One case may not take longer: seconds of the processor, however busy it is.
TIME_LIMIT = 60
ENDS = ('good', 'refused', 'fault')


class Hang(BaseException):
    """A case took longer than `TIME_LIMIT`."""


class Fault(Exception):
    """A case that ended well broke a promise."""


def require(holds, what):
    """Raise a `Fault` unless something holds."""
    if not holds:
        raise Fault(what)


def refusable(path, function):
    """Call a function that may refuse a file in one line that names it."""
    try:
        function()
    except (MemoryError, OSError, ValueError) as exc:
        require(str(path) in str(exc), f'the file is not named: {exc!r}')
        require('\n' not in str(exc), f'more than a line: {exc!r}')
        return 'refused'
    return 'good'


def run_cases(kind, cases, seeds, folder, report=None):
    """
    Run cases of one kind.

    Parameters
    ----------
    kind : str
        Its name, for the report.

    cases : object
        Its ``run`` takes a seed and returns what was done, as a list of names, and
        ``'good'`` or ``'refused'``.

    seeds : iterable of int
        One for each case.

    folder : path-like
        Where the cases write their files.

    report : callable, optional
        Called with a text for each fault.

    Returns
    -------
    counts : `~collections.Counter`
        How many cases ended how, by what was done (``'all'`` is one of the names) and
        ``'good'``, ``'refused'`` or ``'fault'``.
    """
    counts = Counter()

    def stop(*_):
        raise Hang

    signal.signal(signal.SIGPROF, stop)
    for seed in seeds:
        signal.setitimer(signal.ITIMER_PROF, TIME_LIMIT)
        # What ends the process leaves the seed and the file behind.
        (Path(folder) / 'seed').write_text(f'{kind} {seed}\n')
        # What hangs where no exception is heard ends the process, with a traceback.
        faulthandler.dump_traceback_later(60 * TIME_LIMIT, exit=True)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                names, end = cases.run(seed)
        except KeyboardInterrupt:
            raise
        except BaseException:
            names, end = [], 'fault'
            if report is not None:
                again = f'python benchmarks/fuzz.py {kind} --cases 1 --seed {seed}'
                report(f'{kind} {seed}: {traceback.format_exc()}again: {again}\n')
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            faulthandler.cancel_dump_traceback_later()
        for name in ['all', *names]:
            counts[name, end] += 1
    return counts


def make_table(counts):
    """Return the lines that say how many cases of each kind ended how."""
    lines = [f'{"kind":8} {"what":34}    tried     good  refused    fault']
    for kind, of_kind in counts.items():
        names = {name for name, _ in of_kind if name != 'all'}
        for name in [*sorted(names), 'all']:
            numbers = [of_kind.get((name, end), 0) for end in ENDS]
            columns = ''.join(f'{n:9}' for n in [sum(numbers), *numbers])
            lines.append(f'{kind:8} {name:34}{columns}')
    return lines
