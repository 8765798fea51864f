"""
What is finished of an output, kept until all of it is.
"""

import hashlib
import os
import pickle
import shutil

import numpy as np

__all__ = ['FlatMap', 'Work']

# of the work on an image; what follows is quickly done again
_PARTS = ('hidden', 'maps', 'tiles', 'check', 'sky')


class Work:
    """
    The folder of what is finished of an output.

    Each part is a file that appears when it is whole.

    Parameters
    ----------
    output : `~pathlib.Path`
        The output, beside which it lies.
    key : str
        What must be the same for work to be gone on with; other work is removed.

    Attributes
    ----------
    folder : `~pathlib.Path`
        The folder.

    Raises
    ------
    FileExistsError
        If there is a folder of that name that is none of work.
    """

    def __init__(self, output, key):
        self.folder = output.with_name(f'{output.name}.parts')
        self.key = hashlib.sha256(key.encode()).hexdigest()
        known = self.folder / 'key'
        if known.exists():
            if known.read_text() != self.key:
                shutil.rmtree(self.folder)
        elif self.folder.exists() and any(
            not one.name.endswith('.new') for one in self.folder.iterdir()
        ):
            msg = f'folder {self.folder}, for the work on {output}, holds other things'
            raise FileExistsError(msg)
        self.folder.mkdir(exist_ok=True)
        self._write('key', lambda path: path.write_text(self.key))

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
        Keep what was measured.
        """

        def write(path):
            with path.open('wb') as file:
                pickle.dump(value, file, pickle.HIGHEST_PROTOCOL)

        self._write(name, write)

    def load(self, name):
        """
        Return what was measured.
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
                    values.tofile(file)

        self._write(name, write)

    def load_maps(self, name, shape, rows):
        """
        Return some rows (a slice) of maps of a shape.
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
            Its name.
        shape, dtype
            As for `FlatMap`.

        Returns
        -------
        flat_map : `FlatMap`
        """
        return FlatMap(self.folder / name, shape, dtype)

    def remove(self):
        """
        Remove all of it.
        """
        shutil.rmtree(self.folder)

    def remove_if_nothing_is_done(self):
        """
        Remove it where there is nothing to go on with.
        """
        if not any(one.name.startswith(_PARTS) for one in self.folder.glob('*-*')):
            self.remove()


class FlatMap:
    """
    A map in a file of nothing else, of which any part can be read and written.

    Parameters
    ----------
    path : `~pathlib.Path`
        The file; made, with zeros, if it is not there.
    shape : tuple of 2 int
        The shape of the map.
    dtype : dtype
        That of its values.
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
