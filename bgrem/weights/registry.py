"""
The table of the weights in the package.

The table is ``registry.json``, beside this file: for each name, the file in ``data/``,
its sha256, and one line that says what the weights are for. ``python -m bgrem.weights
FILE`` adds a newly trained file to it.
"""

import json
from dataclasses import dataclass
from pathlib import Path

__all__ = ['FOLDER', 'ShippedWeights', 'list_weights', 'shipped_weights']

#: Where the table lies.
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class ShippedWeights:
    """
    One row of the table of the weights in the package.

    Parameters
    ----------
    name : str
        The name for users: ``weights=name``.
    path : `~pathlib.Path`
        The installed file.
    sha256 : str
        The hexadecimal sha256 that the file must have.
    description : str
        One line that says what the weights are for.
    """

    name: str
    path: Path
    sha256: str
    description: str


def shipped_weights(folder=None):
    """
    Return the table of the weights in the package.

    Parameters
    ----------
    folder : path-like or `None`, optional
        The folder that holds ``registry.json`` and ``data/``; by default
        the installed one.

    Returns
    -------
    table : dict of str to `ShippedWeights`
        The table, in the order of ``registry.json``.

    Examples
    --------
    >>> from bgrem.weights import shipped_weights
    >>> shipped_weights()['optical'].path.name
    'optical.safetensors'
    """
    folder = FOLDER if folder is None else Path(folder)
    rows = json.loads((folder / 'registry.json').read_text(encoding='utf-8'))
    return {
        name: ShippedWeights(
            name=name,
            path=folder / 'data' / row['file'],
            sha256=row['sha256'],
            description=row['description'],
        )
        for name, row in rows.items()
    }


def list_weights():
    """
    Return the names of the weights in the package.

    Returns
    -------
    names : list of str
        The names, for any parameter ``weights``.

    Examples
    --------
    >>> from bgrem.weights import list_weights
    >>> isinstance(list_weights(), list)
    True
    """
    return list(shipped_weights())
