"""
Add newly trained weights to those in the package.
"""

import json
from pathlib import Path

from bgrem.files.atomic import atomic_path
from bgrem.weights import registry
from bgrem.weights.store import load_weights

__all__ = ['register']


def register(path, *, name=None, description=None, folder=None):
    """
    Add a weights file to the table of the weights in the package.

    The file is read and checked completely, copied into ``data/`` (unless it is
    already there), and its row in ``registry.json`` is written with its sha256.
    This is a step of making a release, not of using the package.

    Parameters
    ----------
    path : path-like
        A ``.safetensors`` file written by `bgrem.weights.save_weights`.

    name : str or `None`, optional
        The name to register; by default the one in the file's header.

    description : str or `None`, optional
        One line; by default that in the table, if any.

    folder : path-like or `None`, optional
        The folder that holds ``registry.json`` and ``data/``; by default
        that of the imported package.

    Returns
    -------
    row : `~bgrem.weights.registry.ShippedWeights`
        The row that was written.

    Raises
    ------
    ValueError
        If the file is not a valid weights file, or there is no description.
    """
    folder = registry.FOLDER if folder is None else Path(folder)
    weights = load_weights(Path(path))
    name = weights.name if name is None else name
    table = registry.shipped_weights(folder)
    if description is None:
        if name not in table:
            msg = f'description is needed for weights that are new here: {name!r}'
            raise ValueError(msg)
        description = table[name].description
    target = folder / 'data' / f'{name}.safetensors'
    if not target.exists() or not target.samefile(path):
        with atomic_path(target) as temporary:
            temporary.write_bytes(Path(path).read_bytes())
    row = registry.ShippedWeights(name, target, weights.sha256, description)
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
