"""
The optional dependencies, imported where they are used.
"""

from importlib import import_module

__all__ = ['EXTRAS', 'import_extra']

#: The extra of pyproject.toml that installs a package, by the name of its import.
EXTRAS = {
    'astropy_healpix': 'gamma',
    'dask': 'scale',
    'distributed': 'scale',
    'galsim': 'simulate',
    'matplotlib': 'plot',
    'sep': 'evaluate',
    'zarr': 'scale',
}


def import_extra(name):
    """
    Import a module of an optional dependency.

    Parameters
    ----------
    name : str
        The module, of a package of `EXTRAS`.

    Returns
    -------
    module : module
        The module.

    Raises
    ------
    ImportError
        If the package is not installed; the message says how to install it. One that
        lacks a dependency of its own gives its own message.
    """
    package = name.partition('.')[0]
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        # what an installed package lacks itself has a message of its own
        if error.name not in {package, name}:
            raise
        msg = f"{package} is not installed: pip install 'bgrem[{EXTRAS[package]}]'"
        raise ImportError(msg) from error
