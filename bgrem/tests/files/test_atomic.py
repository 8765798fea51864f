"""Tests of files that appear whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from bgrem.files.atomic import atomic_path


@pytest.mark.parametrize('name', ['a.fits', 'a', '.hidden', 'a' * 240 + '.fits.gz'])
def test_appears_whole(tmp_path, name):
    path = tmp_path / name
    with atomic_path(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith(path.name[-40:])
        temporary.write_text('new')
        assert not path.exists()
    assert path.read_text() == 'new'
    assert list(tmp_path.iterdir()) == [path]


def test_replaces(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with atomic_path(str(path)) as temporary:
        temporary.write_text('new')
        assert path.read_text() == 'old'
    assert path.read_text() == 'new'


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize('existing', [True, False])
def test_nothing_is_left(tmp_path, error, existing):
    path = tmp_path / 'a.txt'
    if existing:
        path.write_text('old')

    def write():
        with atomic_path(path) as temporary:
            temporary.write_text('half')
            msg = 'stop'
            raise error(msg)

    with pytest.raises(error, match='stop'):
        write()
    assert list(tmp_path.iterdir()) == [path] * existing
    assert not existing or path.read_text() == 'old'


def test_two_writers(tmp_path):
    """The last one that ends has the file, and neither writes into the other's."""
    path = tmp_path / 'a.txt'
    with atomic_path(path) as one, atomic_path(path) as other:
        assert one != other
        one.write_text('one')
        other.write_text('other')
    assert path.read_text() == 'one'
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk(tmp_path):
    """The error tells which file it was, and what."""
    path = tmp_path / 'a.txt'
    match = f'file {path} cannot be written: {os.strerror(errno.ENOSPC)}'
    with pytest.raises(OSError, match=match), atomic_path(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_no_folder(tmp_path):
    path = tmp_path / 'none' / 'a.txt'
    with (
        pytest.raises(FileNotFoundError, match='cannot be written: No such file'),
        atomic_path(path) as temporary,
    ):
        Path(temporary).write_text('new')
