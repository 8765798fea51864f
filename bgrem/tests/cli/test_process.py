"""Signals, streams and forks: real processes."""

import io
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from tqdm import tqdm

from bgrem.cli.main import main
from bgrem.cli.process import Terminated, bars_in_lines, own_signals

SHAPE = (70, 60)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = tmp_path / 'work'
    folder.mkdir()
    monkeypatch.chdir(folder)
    data = np.random.default_rng(0).normal(100, 5, SHAPE).astype(np.float32)
    fits.writeto('in.fits', data)
    return folder


@pytest.fixture
def default_signals():
    """The signals as in a terminal; `nohup` ignores one of them."""
    numbers = signal.SIGTERM, signal.SIGHUP
    before = [signal.signal(number, signal.SIG_DFL) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


class Stream(io.StringIO):
    """A standard error that is a terminal or none."""

    def __init__(self, *, is_terminal):
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self):
        return self._is_terminal


def draw_bars():
    """Draw a bar within a bar, and say something."""
    with tqdm(total=3, desc='outer', mininterval=0, leave=False) as outer:
        for _ in range(3):
            for _ in tqdm(range(2), desc='inner', mininterval=0, leave=False):
                pass
            outer.update()
    print('what is said', 'in two pieces', file=sys.stderr)


@pytest.mark.parametrize('seconds', [0, 3600])
def test_bars_in_lines(monkeypatch, seconds):
    """In a log bars are lines, and not too many; all else is as it was."""
    stream = Stream(is_terminal=False)
    monkeypatch.setattr('sys.stderr', stream)
    monkeypatch.setattr('bgrem.cli.process._BAR_SECONDS', seconds)
    with bars_in_lines():
        draw_bars()
    assert sys.stderr is stream
    text = stream.getvalue()
    assert not set(text) & {'\r', '\x1b'}
    *bars, last = text.splitlines()
    assert last == 'what is said in two pieces'
    assert all(line.startswith(('outer: ', 'inner: ')) for line in bars)
    assert any('outer:  67%' in line for line in bars) == (seconds == 0)
    assert bool(bars) == (seconds == 0)


def test_bars_at_a_terminal(monkeypatch):
    stream = Stream(is_terminal=True)
    monkeypatch.setattr('sys.stderr', stream)
    with bars_in_lines():
        draw_bars()
    assert stream.getvalue().startswith('\router')
    assert '\x1b[A' in stream.getvalue()


def command(weights, *argv):
    return [sys.executable, '-m', 'bgrem', *argv, '--weights', str(weights)]


@pytest.mark.usefixtures('default_signals')
@pytest.mark.parametrize('name', ['SIGTERM', 'SIGHUP'])
def test_nothing_is_left_behind(folder, tiny_weights, monkeypatch, capsys, name):
    """The signal arrives while the file is being written."""
    number = getattr(signal, name)

    def interrupt(*_args, **_kwargs):
        assert len(list(folder.glob('.*.part.*'))) == 1
        os.kill(os.getpid(), number)
        time.sleep(10)

    monkeypatch.setattr('bgrem.files.products._image_hdus', interrupt)
    argv = ['subtract', 'in.fits', '-o', 'o.fits', '-q', '--threshold', '0.5']
    status = main([*argv, '--weights', str(tiny_weights)])
    assert status == 128 + number
    assert capsys.readouterr().err.splitlines()[-1] == 'bgrem: terminated'
    assert [path.name for path in folder.iterdir()] == ['in.fits']
    assert signal.getsignal(number) is signal.SIG_DFL


def test_signals_of_others_are_left_alone():
    def handler(*_):
        pass

    before = signal.signal(signal.SIGHUP, handler)
    try:
        with own_signals():
            assert signal.getsignal(signal.SIGHUP) is handler
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
            with pytest.raises(Terminated, match='signal 15') as caught:  # noqa: PT012
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(10)
            assert caught.value.number == signal.SIGTERM
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


START = """
import sys

class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == {name!r}:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
from bgrem.cli.main import main

sys.exit(main(['info', 'in.fits']))
"""


@pytest.mark.parametrize(
    'name', ['argparse', 'bgrem.cli.process', 'bgrem.cli.commands', 'numpy']
)
def test_interrupt_at_the_start(folder, name):
    """While modules are imported, before there is a command."""
    script = START.format(name=name)
    result = subprocess.run(
        [sys.executable, '-c', script], check=False, capture_output=True, text=True
    )
    assert (result.returncode, result.stdout) == (130, '')
    assert result.stderr == 'bgrem: interrupted\n'


@pytest.mark.parametrize('streams', [(2,), (1, 2), (0, 1, 2)])
def test_closed_streams(folder, tiny_weights, streams):
    argv = command(tiny_weights, 'subtract', 'in.fits', '-o', 'o.fits')
    closing = ' '.join(f'{number}>&-' for number in streams)
    result = subprocess.run(
        ['sh', '-c', f'exec "$@" {closing}', 'sh', *argv], check=False
    )
    assert result.returncode == 0
    assert fits.getdata('o.fits', 'SCI').shape == SHAPE


@pytest.mark.parametrize('name', ['søur 中.fits', 'line\nbreak.fits', b'caf\xe9.fits'])
def test_names_that_are_not_ascii(folder, tiny_weights, name):
    path = os.fsdecode(name)
    Path('in.fits').rename(path)
    output = path.replace('.fits', '_out.fits')
    argv = command(tiny_weights, 'subtract', path, '-o', output)
    environment = {**os.environ, 'PYTHONIOENCODING': 'ascii'}
    result = subprocess.run(argv, check=False, capture_output=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert b'sources; median sky' in result.stdout
    history = str(fits.getheader(output, 'SCI')['HISTORY'])
    assert path.encode('ascii', 'backslashreplace').decode()[:3] in history


def in_fork(queue, path):
    from bgrem import DiffusionBackground

    data = np.random.default_rng(2).normal(100, 5, SHAPE)
    # CUDA does not live on in a fork
    queue.put(DiffusionBackground(data, 32, weights=path, device='cpu').source)


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
@pytest.mark.filterwarnings('ignore:.*multi-threaded.*fork:DeprecationWarning')
def test_fork_after_the_network_ran(tiny_weights):
    """The threads of OpenMP are not there in the child, which must not wait."""
    import torch

    from bgrem import DiffusionBackground

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        data = np.random.default_rng(2).normal(100, 5, SHAPE)
        background = DiffusionBackground(data, 32, weights=tiny_weights, device='cpu')
        expected = background.source
        context = multiprocessing.get_context('fork')
        queue = context.Queue()
        child = context.Process(target=in_fork, args=(queue, tiny_weights))
        child.start()
        source = queue.get(timeout=100)
        child.join(timeout=100)
        assert child.exitcode == 0
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(source, expected, rtol=1e-3, atol=1e-3)


def test_dangling_link_is_not_replaced(folder, tiny_weights, capsys):
    (folder / 'o.fits').symlink_to('nowhere.fits')
    argv = ['subtract', 'in.fits', '-o', 'o.fits', '--weights', str(tiny_weights)]
    assert main(argv) == 1
    assert 'output file o.fits exists' in capsys.readouterr().err
    assert (folder / 'o.fits').is_symlink()


def test_memory_error_names_the_file(folder, tiny_weights, capsys, monkeypatch):
    def fail(*_args, **_kwargs):
        raise MemoryError

    monkeypatch.setattr('bgrem.denoise.run.denoise', fail)
    argv = ['subtract', 'in.fits', '-o', 'o.fits', '--weights', str(tiny_weights)]
    assert main(argv) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == 'bgrem: error: in.fits: not enough memory'


def test_long_name(folder, tiny_weights, capsys):
    """What can be the name of a file can be the name of an output."""
    name = 'x' * 250 + '.fits'
    argv = ['subtract', 'in.fits', '-o', name, '-q', '--threshold', '0.5']
    assert main([*argv, '--weights', str(tiny_weights)]) == 0
    assert (folder / name).exists()
    capsys.readouterr()
    argv[argv.index(name)] = 'x' * 260 + '.fits'
    assert main([*argv, '--weights', str(tiny_weights)]) == 1
    assert 'File name too long' in capsys.readouterr().err
