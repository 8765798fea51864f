"""Files that are written completely or not at all."""

import secrets
from contextlib import contextmanager
from pathlib import Path

__all__ = ['atomic_path']


@contextmanager
def atomic_path(path):
    """
    Provide a temporary path beside a file, and rename it to the file on success.

    Parameters
    ----------
    path : path-like
        The file to write; replaced if it exists.

    Yields
    ------
    temporary : `~pathlib.Path`
        The path to which to write. It is in the same folder (a rename across file
        systems would not be atomic) and has the same extension (many writers choose
        their format by it). It does not exist yet. If the block raises, it is
        removed and ``path`` is left as it was.

    Raises
    ------
    OSError
        If the folder of ``path`` does not exist or cannot be written to, or the disk
        is full; with the name of the file.
    """
    path = Path(path)
    # The random part keeps two writers of one file from meeting. A long name is
    # cut at its start: with more in front of it, it could be too long.
    temporary = path.with_name(f'.{secrets.token_hex(4)}.part.{path.name[-40:]}')
    try:
        yield temporary
        temporary.replace(path)
    except OSError as exc:
        # A full disk does not tell which file it was.
        msg = f'file {path} cannot be written: {exc.strerror or exc}'
        raise type(exc)(msg) from exc
    finally:
        temporary.unlink(missing_ok=True)
