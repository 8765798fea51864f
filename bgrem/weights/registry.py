"""
The table of weights that are shipped with the package.

The table is ``registry.json``, beside this file: for each name the file in
``data/``, its sha256, and one line that says what the weights are for.
``python -m bgrem.weights FILE`` puts a newly trained file into it.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from bgrem.atomic import atomic_path

__all__ = ['ShippedWeights', 'list_weights', 'register', 'shipped_weights']

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class ShippedWeights:
    """
    One row of the table of shipped weights.

    Parameters
    ----------
    name : str
        What users write: ``weights=name``.
    path : `~pathlib.Path`
        The installed file.
    sha256 : str
        Hexadecimal sha256 that the file must have.
    description : str
        One line: what the weights are for.
    """

    name: str
    path: Path
    sha256: str
    description: str


def shipped_weights(folder=None):
    """
    Return the table of shipped weights.

    Parameters
    ----------
    folder : path-like or `None`, optional
        The folder that holds ``registry.json`` and ``data/``; by default
        the installed one.

    Returns
    -------
    table : dict of str to `ShippedWeights`
        In the order of ``registry.json``.
    """
    folder = _FOLDER if folder is None else Path(folder)
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
    Return the names of the weights that are shipped with the package.

    Returns
    -------
    names : list of str
        Each can be given as ``weights=`` wherever weights are asked for.

    Examples
    --------
    >>> from bgrem.weights import list_weights
    >>> isinstance(list_weights(), list)
    True
    """
    return list(shipped_weights())


def register(path, *, name=None, description=None, folder=None):
    """
    Put a weights file into the table of shipped weights.

    The file is read and checked in full, copied into ``data/`` (unless it is
    there already), and its row in ``registry.json`` written with its sha256.
    This is a step of making a release, not of using the package.

    Parameters
    ----------
    path : path-like
        A ``.safetensors`` file written by `bgrem.weights.save_weights`.

    name : str or `None`, optional
        The name to register; by default the one in the file's header.

    description : str or `None`, optional
        One line; by default the one already in the table, if any.

    folder : path-like or `None`, optional
        The folder that holds ``registry.json`` and ``data/``; by default
        that of the imported package.

    Returns
    -------
    row : `ShippedWeights`
        The row as written.

    Raises
    ------
    ValueError
        If the file is not a good weights file, or there is no description.
    """
    from bgrem.weights.store import load_weights

    folder = _FOLDER if folder is None else Path(folder)
    weights = load_weights(Path(path))
    name = weights.name if name is None else name
    table = shipped_weights(folder)
    if description is None:
        if name not in table:
            msg = f'description is needed for weights that are new here: {name!r}'
            raise ValueError(msg)
        description = table[name].description
    target = folder / 'data' / f'{name}.safetensors'
    if not target.exists() or not target.samefile(path):
        with atomic_path(target) as temporary:
            temporary.write_bytes(Path(path).read_bytes())
    row = ShippedWeights(name, target, weights.sha256, description)
    table[name] = row
    rows = {
        r.name: {
            'file': r.path.name,
            'sha256': r.sha256,
            'description': r.description,
        }
        for r in table.values()
    }
    text = json.dumps(rows, indent=2, sort_keys=True) + '\n'
    with atomic_path(folder / 'registry.json') as temporary:
        temporary.write_text(text, encoding='utf-8')
    return row
