# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The house: which room may import which. Arrows point one way.
"""

import ast
from pathlib import Path

import pytest

import bgrem

PACKAGE = Path(bgrem.__file__).parent

# Each room (a module of the package root, or a folder) and the rooms that it may
# import, wherever in a file the import stands. A name with a dot is one module.
ARROWS = {
    '__init__': set(),
    '__main__': {'cli'},
    '_config': set(),
    '_extras': set(),
    'background': {
        'checks',
        'detections',
        'inputs',
        'pipeline',
        'plotting',
        'sky',
        'weights',
    },
    'checks': set(),
    'cli': {
        '_extras',
        'background',
        'checks',
        'denoise',
        'detect',
        'evaluate',
        'files',
        'plotting',
        'scale',
        'simulate',
        'weights',
    },
    'denoise': {'checks', 'nn'},
    'detect': {'checks', 'sky'},
    'detections': {
        'checks',
        'detect',
        'files.cards',
        'finder',
        'inputs',
        'inspection',
        'pipeline',
        'sky',
    },
    'evaluate': {
        '_extras',
        'background',
        'detect',
        'files',
        'inspection',
        'pipeline',
        'simulate',
        'sky',
        'weights',
    },
    'files': {'_extras'},
    'finder': {'detect', 'inputs', 'pipeline', 'sky'},
    'inputs': set(),
    'inspection': {'detect', 'pipeline', 'sky'},
    'masking': {'background', 'checks'},
    'nn': {'_config'},
    'pipeline': {'checks', 'denoise', 'detect', 'sky', 'weights'},
    'plotting': {'_extras', 'checks', 'files.atomic'},
    'scale': {
        '_extras',
        'background',
        'checks',
        'denoise',
        'detect',
        'detections',
        'files',
        'inputs',
        'inspection',
        'pipeline',
        'sky',
        'weights',
    },
    'simulate': {'_config', '_extras', 'files'},
    'sky': {'checks'},
    'train': {
        '_config',
        'denoise.run',
        'evaluate.curves',
        'evaluate.matching',
        'files.atomic',
        'files.io',
        'nn',
        'simulate',
        'sky',
        'weights',
    },
    'weights': {'checks', 'files.atomic', 'nn'},
}


def source_files():
    """Yield the room and the path of each file that is no test."""
    for path in sorted(PACKAGE.rglob('*.py')):
        parts = path.relative_to(PACKAGE).parts
        if 'tests' in parts or path.name in ('conftest.py', '_version.py'):
            continue
        yield parts[0].removesuffix('.py'), path


def imported_modules(path):
    """Yield the modules of this package that a file imports, as 'room.module'."""
    package = ['bgrem', *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            names = ['.'.join([*start, *filter(None, [node.module])])]
            if names == ['bgrem']:
                names = [f'bgrem.{alias.name}' for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith('bgrem.'):
                yield name.removeprefix('bgrem.')


def test_every_room_is_listed():
    assert {room for room, _ in source_files()} == set(ARROWS)


@pytest.mark.parametrize('room', sorted(ARROWS))
def test_arrows_point_one_way(room):
    for own, path in source_files():
        if own != room:
            continue
        for module in imported_modules(path):
            allowed = {module, module.split('.')[0], '.'.join(module.split('.')[:2])}
            assert allowed & {room, *ARROWS[room]}, f'{path.name} imports {module}'


def test_no_circle():
    """Rooms can be put into an order in which each imports only what came before."""
    graph = {
        room: {name.split('.')[0] for name in allowed}
        # The matching and the curves of the evaluation know nothing of the rest.
        - ({'evaluate'} if room == 'train' else set())
        for room, allowed in ARROWS.items()
    }
    while graph:
        free = [room for room, needs in graph.items() if not needs & set(graph)]
        assert free, f'a circle among {sorted(graph)}'
        for room in free:
            del graph[room]


@pytest.mark.parametrize(
    'folder', sorted(path.parent.name for path in PACKAGE.glob('*/__init__.py'))
)
def test_no_package_hides_a_module(folder):
    """A package does not re-export what is named like one of its modules."""
    package = __import__(f'bgrem.{folder}', fromlist=['__all__'])
    modules = {path.stem for path in (PACKAGE / folder).glob('*.py')}
    assert not modules & set(getattr(package, '__all__', []))
