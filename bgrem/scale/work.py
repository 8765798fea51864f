"""
The finished parts of an output, which are kept until all of it is complete.
"""

import hashlib
import os
import pickle
import re
import shutil

import numpy as np

__all__ = ['FlatMap', 'Work']

# of the work on an image; what follows is quickly done again
_PARTS = ('hidden', 'maps', 'tiles', 'check', 'sky')
_LOCK = 'lock'


class Work:
    """
    The finished parts of an output, in a folder beside it, for one process at a time.

    Each part is a file that appears when it is complete. Parts left by another call for
    the same output, with other options or another input, are kept beside it until it is
    known that this call is possible (`remove_others`).

    Parameters
    ----------
    output : `~pathlib.Path`
        The output, beside which the folder lies.
    key : str
        Identifies work that can be continued.

    Attributes
    ----------
    folder : `~pathlib.Path`
        The folder of this work.

    Raises
    ------
    FileExistsError
        If there is a folder of that name with other contents, or another process is
        working on the output.
    """

    def __init__(self, output, key):
        self._home = output.with_name(f'{output.name}.parts')
        self.folder = self._home / hashlib.sha256(key.encode()).hexdigest()[:16]
        if self._home.exists() and not all(
            one.name == _LOCK or re.fullmatch('[0-9a-f]{16}(.gone)?', one.name)
            for one in self._home.iterdir()
        ):
            msg = f'folder {self._home}, for the work on {output}, holds other things'
            raise FileExistsError(msg)
        self._home.mkdir(exist_ok=True)
        self._lock = (self._home / _LOCK).open('ab')
        if not _is_free(self._lock):
            self._lock.close()
            msg = f'another process is at work on {output}, in the folder {self._home}'
            raise FileExistsError(msg)
        self.folder.mkdir(exist_ok=True)

    def close(self):
        """
        Let other processes work on the output.
        """
        self._lock.close()

    def remove_others(self):
        """
        Remove the work of other calls.
        """
        for one in self._home.iterdir():
            if one not in (self.folder, self._home / _LOCK):
                _remove(one)

    def _write(self, name, write):
        temporary = self.folder / f'{name}.{os.getpid()}.new'
        write(temporary)
        temporary.replace(self.folder / name)

    def has(self, name):
        """
        Whether a part is finished.
        """
        return (self.folder / name).exists()

    def save(self, name, value):
        """
        Keep a result.
        """

        def write(path):
            with path.open('wb') as file:
                pickle.dump(value, file, pickle.HIGHEST_PROTOCOL)

        self._write(name, write)

    def forget(self, name):
        """
        Remove a part, if there is one.
        """
        (self.folder / name).unlink(missing_ok=True)

    def load(self, name):
        """
        Return a result that was kept.
        """
        with (self.folder / name).open('rb') as file:
            return pickle.load(file)

    def save_maps(self, name, maps):
        """
        Keep maps of the same shape (2D `~numpy.ndarray` of float32).
        """

        def write(path):
            with path.open('wb') as file:
                for values in maps:
                    # numpy's own writer is silent where the disk gets full at the end
                    file.write(np.ascontiguousarray(values).data)

        self._write(name, write)

    def load_maps(self, name, shape, rows):
        """
        Return some rows (a slice) of maps of a given shape.
        """
        path = self.folder / name
        size = shape[0] * shape[1] * 4
        n_maps = path.stat().st_size // size
        height = rows.stop - rows.start
        return [
            np.fromfile(
                path,
                np.float32,
                height * shape[1],
                offset=number * size + rows.start * shape[1] * 4,
            ).reshape(height, shape[1])
            for number in range(n_maps)
        ]

    def flat_map(self, name, shape, dtype):
        """
        Return a map that is kept with the work.

        Parameters
        ----------
        name : str
            The name of the map.
        shape, dtype
            As for `FlatMap`.

        Returns
        -------
        flat_map : `FlatMap`
        """
        return FlatMap(self.folder / name, shape, dtype)

    def remove(self):
        """
        Remove the folder.
        """
        self.remove_others()
        self._remove_own()

    def remove_if_nothing_is_done(self):
        """
        Remove the parts of this call, but not those of others, if nothing could be
        continued.
        """
        if not any(one.name.startswith(_PARTS) for one in self.folder.glob('*-*')):
            self._remove_own()

    def _remove_own(self):
        _remove(self.folder)
        if [one.name for one in self._home.iterdir()] == [_LOCK]:
            (self._home / _LOCK).unlink()
            self._home.rmdir()


def _is_free(file):
    """Lock a file until it is closed or the process ends, unless another one has."""
    try:
        import fcntl
    except ImportError:
        file.close()  # without locks an open file could only not be removed
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # there are disks without locks
        pass
    return True


def _remove(folder):
    """Remove a folder; what is left of it where that is interrupted is no work."""
    gone = folder.with_suffix('.gone')
    if folder != gone:
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
    shutil.rmtree(gone)


class FlatMap:
    """
    A map in a file of its own, any part of which can be read and written.

    Parameters
    ----------
    path : `~pathlib.Path`
        The file; it is created, filled with zeros, if it does not exist.
    shape : tuple of 2 int
        The shape of the map.
    dtype : dtype
        The dtype of its values.
    """

    def __init__(self, path, shape, dtype):
        self._path, self._shape, self._dtype = path, shape, np.dtype(dtype)
        size = shape[0] * shape[1] * self._dtype.itemsize
        if not path.exists() or path.stat().st_size != size:
            with path.open('wb') as file:
                file.truncate(size)

    def __getitem__(self, place):
        """Return a copy of a part (a tuple of slice)."""
        values = np.memmap(self._path, self._dtype, 'r', shape=self._shape)
        # of the file no more stays in memory than what is copied
        return np.array(values[place])

    def __setitem__(self, place, values):
        """Write a part (a tuple of slice)."""
        values = np.ascontiguousarray(values, dtype=self._dtype)
        (first, _, _), (left, _, _) = (
            side.indices(n) for side, n in zip(place, self._shape, strict=True)
        )
        with self._path.open('r+b') as file:
            # not by a map of the memory: on a full disk the process would be killed
            for number, row in enumerate(values, start=first):
                file.seek((number * self._shape[1] + left) * self._dtype.itemsize)
                file.write(row.data)
