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
        If the package is not installed; the message says how to install it.
    """
    package = name.partition('.')[0]
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        msg = f"{package} is not installed: pip install 'bgrem[{EXTRAS[package]}]'"
        raise ImportError(msg) from error
