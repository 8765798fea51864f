"""What belongs to the process of a command: its signals, streams, last words."""

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager, redirect_stderr, suppress
from contextvars import ContextVar

__all__ = [
    'EXPECTED_ERRORS',
    'Terminated',
    'bars_in_lines',
    'collect',
    'describe',
    'open_streams',
    'own_signals',
    'say',
    'tell',
]

#: What bad input, a bad file system or too little memory raise. Anything else is a
#: fault of this package and keeps its traceback.
EXPECTED_ERRORS = (
    ImportError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


_BAR_SECONDS = 60  # between two lines of progress


class Terminated(KeyboardInterrupt):
    """The process was asked to terminate; unwinds like an interrupt."""

    def __init__(self, number):
        super().__init__(f'signal {number}')
        self.number = number


def describe(error, path=None):
    """
    Describe an error in one line.

    Parameters
    ----------
    error : Exception
        The error.

    path : path-like or `None`, optional
        The file that was processed, to be named if the error does not name it.

    Returns
    -------
    text : str
        The line.
    """
    text = ' '.join(str(error).split())
    if isinstance(error, MemoryError):
        text = f'not enough memory: {text}' if text else 'not enough memory'
    text = text or type(error).__name__
    return text if path is None or str(path) in text else f'{path}: {text}'


# Where what is said goes on a worker: two lists of lines.
_collected = ContextVar('collected', default=None)


def say(text):
    """
    Write one line to the standard error, if anybody can read it.

    Parameters
    ----------
    text : str
        The line.
    """
    if (collected := _collected.get()) is not None:
        collected[0].append(text)
        return
    with suppress(OSError, ValueError):
        sys.stderr.write(f'bgrem: {text}\n')


def tell(text):
    """
    Write one line to the standard output.

    Parameters
    ----------
    text : str
        The line.
    """
    if (collected := _collected.get()) is not None:
        collected[1].append(text)
        return
    print(text)


@contextmanager
def collect():
    """
    Collect what is said and told in the block, in this thread only, as lists of lines.
    """
    said, told = [], []
    token = _collected.set((said, told))
    try:
        yield said, told
    finally:
        _collected.reset(token)


class _BarsInLines:
    """
    A stream that writes progress bars as lines, and everything else unchanged.

    tqdm begins each bar that it draws with a carriage return, or with the way to the
    line of the bar: line feeds, and an escape sequence for the way back.

    Parameters
    ----------
    stream : text file
        The stream to which everything is written.
    """

    def __init__(self, stream):
        self._stream, self._held, self._last = stream, '', time.monotonic()

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text):
        """Write a text."""
        if text and not text.strip('\n'):
            self._held += text
        elif text.startswith(('\r', '\x1b')):
            self._held = ''
            bar = text.replace('\x1b[A', '').strip()
            if bar and time.monotonic() - self._last >= _BAR_SECONDS:
                self._last = time.monotonic()
                self._stream.write(f'{bar}\n')
        else:
            self.finish()
            self._stream.write(text)
        return len(text)

    def finish(self):
        """Write the line feeds that may have been those of a bar."""
        self._stream.write(self._held)
        self._held = ''


@contextmanager
def bars_in_lines():
    """
    Draw progress bars in the block if the standard error is a terminal.

    Elsewhere, as in the log of a job, they are lines, at most one per minute, so that
    readers see that the work continues.
    """
    if sys.stderr.isatty():
        yield
        return
    stream = _BarsInLines(sys.stderr)
    try:
        with redirect_stderr(stream):
            yield
    finally:
        with suppress(OSError, ValueError):
            stream.finish()


@contextmanager
def own_signals():
    """
    Turn termination requests into `Terminated`, so that no partial file stays behind.

    Only during the block, in the main thread, and where nobody else handles the
    signals: under ``nohup``, SIGHUP stays ignored.
    """
    changed = []

    def stop(number, _frame):
        # Once is enough: a second request must not stop the clearing up.
        for other in changed:
            signal.signal(other, signal.SIG_IGN)
        raise Terminated(number)

    if threading.current_thread() is threading.main_thread():
        for name in ('SIGTERM', 'SIGHUP'):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, stop)
                changed.append(number)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)


def open_streams():
    """
    Replace closed standard streams of a process with streams that discard everything.

    Otherwise the number of a closed stream would be given to the next file that is
    opened, which would then receive every stray message of a library, and printing
    would fail. File names that the terminal cannot show are escaped.
    """
    for name, mode in (('stdin', 'r'), ('stdout', 'w'), ('stderr', 'w')):
        if getattr(sys, name) is None:
            # Open until the process ends.
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115
    if hasattr(sys.stdout, 'reconfigure'):
        sys.stdout.reconfigure(errors='backslashreplace')
