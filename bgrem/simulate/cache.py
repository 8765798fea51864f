"""
Stamp banks that are drawn once and kept in the cache of the user.
"""

import hashlib
import json
import os
from pathlib import Path

from bgrem._extras import import_extra
from bgrem.files.atomic import atomic_path

from .stamps import PSF_SIZE, STAMP_KINDS, StampBank, build_stamp_bank

__all__ = ['cached_stamp_bank']

# To be raised when `build_stamp_bank` draws other stamps of the same parameters.
_VERSION = 1


def cached_stamp_bank(n_psf, *, folder=None, n_workers=1, progress=False, **options):
    """
    Return a stamp bank from the cache; draw it if it is not there.

    Parameters
    ----------
    n_psf : int
        The number of PSFs.

    folder : path-like or `None`, optional
        The folder of the banks. By default, ``bgrem`` in ``$XDG_CACHE_HOME``, or in
        ``~/.cache``. If the folder cannot be written to, there is no error, and the
        bank is drawn again the next time.

    n_workers, progress
        As for `build_stamp_bank`.

    **options
        The parameters of `build_stamp_bank` that change the bank.

    Returns
    -------
    bank : `StampBank`
        As from `build_stamp_bank`. If its file is damaged, it is drawn again.
    """
    path = _folder(folder) / f'stamps-{_key(n_psf=n_psf, **options)}.safetensors'
    try:
        return StampBank.load(path)
    except (OSError, ValueError):  # none yet, or damaged
        pass
    bank = build_stamp_bank(n_psf, n_workers=n_workers, progress=progress, **options)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            bank.save(temporary)
    except OSError:  # a cache is a help, not a duty
        pass
    return bank


def _folder(folder):
    if folder is not None:
        return Path(folder)
    cache = os.environ.get('XDG_CACHE_HOME')
    return Path(cache or Path('~/.cache').expanduser()) / 'bgrem'


def _key(**options):
    """Return a name for all that the stamps depend on."""
    depends = {
        'version': _VERSION,
        'galsim': import_extra('galsim').__version__,
        'kinds': [vars(kind) for kind in STAMP_KINDS],
        'psf_size': PSF_SIZE,
        **options,
    }
    text = json.dumps(depends, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
