"""Process the files of a command, one by one or on the workers of a cluster."""

import os
import threading
from contextlib import chdir
from pathlib import Path

from bgrem._extras import import_extra
from bgrem.cli.process import collect, say, tell

__all__ = ['run_all', 'run_there']

# The network uses all cores of a worker, and what it says is that of one file.
_one_at_a_time = threading.Lock()


def run_all(options, planned, job):
    """
    Process all files of a command.

    Parameters
    ----------
    options : `argparse.Namespace`
        The options of the command.

    planned : list of list of `~pathlib.Path`
        The output files for each input file.

    job : callable
        Called with the number of a file, its path and its outputs; prints its messages
        and returns whether the file succeeded. It can be pickled.

    Returns
    -------
    status : int
        1 if a file failed.
        1 if a file failed.

    Raises
    ------
    ImportError
        If a scheduler is given and distributed is not installed.
    OSError
        If the scheduler cannot be reached.
    """
    files = list(zip(options.input, planned, strict=True))
    if options.scheduler is None:
        results = [job(number, *one) for number, one in enumerate(files)]
        return int(not all(results))
    client = _connect(options.scheduler)
    from distributed import as_completed

    with client, client.as_current():
        folder = Path.cwd()
        futures = [
            client.submit(
                run_there, job, folder, options.quiet, number, *one,
                key=f'bgrem-{os.getpid()}-{number}-{Path(one[0]).name}', pure=False,
            )
            for number, one in enumerate(files)
        ]  # fmt: skip
        n_failed = 0
        try:
            for future in as_completed(futures):
                is_done, said, told = future.result()
                for line in said:
                    say(line)
                for line in told:
                    tell(line)
                n_failed += not is_done
        finally:
            client.cancel([future for future in futures if not future.done()])
    return min(n_failed, 1)


def _connect(address):
    return import_extra('distributed').Client(
        address, timeout='30s', set_as_default=False
    )


def run_there(job, folder, quiet, number, path, paths):
    """
    Process a file on a worker.

    Parameters
    ----------
    job : callable
        As for `run_all`.

    folder : `~pathlib.Path`
        The working directory of the command.

    quiet : bool
        Whether to suppress warnings.

    number, path, paths
        The arguments of the job.

    Returns
    -------
    is_done : bool
        Whether the file succeeded.
    said, told : list of str
        The lines for the standard error and the standard output.
    """
    import warnings

    from bgrem.cli.main import print_warnings

    with (
        _one_at_a_time,
        chdir(folder),
        collect() as (said, told),
        warnings.catch_warnings(),
    ):
        print_warnings(quiet=quiet)
        is_done = job(number, path, paths)
    return is_done, said, told
