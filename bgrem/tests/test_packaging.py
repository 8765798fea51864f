# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What the package promises as a package: light to import, complete when
installed, described in one place.
"""

import ast
import configparser
import importlib
import inspect
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import bgrem
from bgrem._extras import EXTRAS

PACKAGE = Path(bgrem.__file__).parent
ROOT = PACKAGE.parent
HEAVY = ['galsim', 'matplotlib', 'sep', 'skimage', 'torch']
README_COMMAND_START = 'python3 -m venv .venv && '

in_source_tree = pytest.mark.skipif(
    not (ROOT / 'pyproject.toml').exists(),
    reason='the installed package does not hold the project files',
)
in_repository = pytest.mark.skipif(
    not (ROOT / '.ci').exists(),
    reason='the source archive does not hold the tools of the repository',
)


def public_modules():
    """Return the names of all modules that are not tests and not private."""
    names = ['bgrem']
    for module in pkgutil.walk_packages([str(PACKAGE)], 'bgrem.'):
        parts = module.name.split('.')
        if 'tests' not in parts and 'conftest' not in parts:
            names.append(module.name)
    return [name for name in names if not name.rsplit('.', 1)[-1].startswith('_')]


def readme_commands():
    """Return the commands that README.rst gives to a fresh clone."""
    text = (ROOT / 'README.rst').read_text(encoding='utf-8')
    return re.findall(rf'^ +({re.escape(README_COMMAND_START)}.*)$', text, re.MULTILINE)


def run_python(code):
    return subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
    ).stdout


def test_import_is_light():
    code = (
        'import json, sys, bgrem, bgrem.cli.main\n'
        'bgrem.__version__, dir(bgrem)\n'
        f'print(json.dumps([name for name in {HEAVY} if name in sys.modules]))'
    )
    assert json.loads(run_python(code)) == []


def test_public_names():
    expected = {
        'DiffusionBackground',
        '__version__',
        'list_weights',
        'load_weights',
        'make_detection_mask',
    }
    assert expected <= set(bgrem.__all__)
    assert set(bgrem.__all__) <= set(dir(bgrem))
    for name in bgrem.__all__:
        assert getattr(bgrem, name) is not None


def typed_names():
    """Return the definitions of the stub file by name, methods with their class."""
    stub = ast.parse((PACKAGE / '__init__.pyi').read_text(encoding='utf-8'))
    typed = {}
    for node in stub.body:
        if isinstance(node, ast.ClassDef):
            typed |= {f'{node.name}.{method.name}': method for method in node.body}
        elif isinstance(node, ast.FunctionDef):
            typed[node.name] = node
    return typed


@pytest.mark.parametrize('name', sorted(typed_names()))
def test_types_have_the_parameters_of_the_code(name):
    value = bgrem
    for part in name.split('.'):
        value = getattr(value, part)
    # photutils 3.1 has cached properties.
    if not callable(value):
        return
    arguments = typed_names()[name].args
    typed = {x.arg for x in [*arguments.args, *arguments.kwonlyargs]}
    if name.endswith('.__init__'):
        # What the parent takes is in the signature of the class alone, and what only
        # some versions of photutils know needs no type.
        known = set(inspect.signature(bgrem.DiffusionBackground).parameters)
        assert set(inspect.signature(value).parameters) - {'options'} <= typed
        assert typed <= known | {'self'}
    else:
        variable = {'kwargs', 'options'}
        assert typed == set(inspect.signature(value).parameters) - variable


def test_every_public_name_has_a_type():
    typed = typed_names()
    own = [
        f'DiffusionBackground.{name}'
        for name in dir(bgrem.DiffusionBackground)
        if not name.startswith('_')
    ]
    inherited = {'npixels_map', 'npixels_mesh', 'plot_meshes'}
    wanted = {name for name in own if name.split('.')[1] not in inherited}
    wanted |= set(bgrem.__all__) - {'DiffusionBackground', '__version__'}
    assert wanted <= set(typed)
    assert (PACKAGE / 'py.typed').is_file()


def test_unknown_name():
    with pytest.raises(AttributeError, match='no_such_name'):
        _ = bgrem.no_such_name


def test_version():
    version = Version(bgrem.__version__)
    assert str(version) == bgrem.__version__


@pytest.mark.parametrize('name', public_modules())
def test_module_lists_its_names(name):
    module = importlib.import_module(name)
    assert module.__doc__
    assert len(module.__all__) == len(set(module.__all__))
    for public_name in module.__all__:
        value = getattr(module, public_name)
        if inspect.isclass(value) or inspect.isfunction(value):
            # Not inspect.getdoc, which would take the text of a parent class.
            assert value.__doc__, f'{name}.{public_name} has no docstring'


@in_source_tree
def test_reference_documents_every_public_name():
    documented = set()
    for page in (ROOT / 'docs' / 'reference').glob('*.rst'):
        for name in re.findall(r'automodapi:: (\S+)', page.read_text(encoding='utf-8')):
            module = importlib.import_module(name)
            documented |= {id(getattr(module, x)) for x in module.__all__}
    for name in public_modules():
        module = importlib.import_module(name)
        values = {x: getattr(module, x) for x in module.__all__}
        missing = [
            f'{name}.{x}'
            for x, value in values.items()
            if (inspect.isclass(value) or inspect.isfunction(value))
            and id(value) not in documented
            and x != 'main'  # described with the command that it runs
        ]
        assert not missing


@in_source_tree
def test_setup_cfg_repeats_nothing():
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg')
    assert set(config.sections()) == {'flake8', 'pycodestyle'}


@in_source_tree
def test_changelog_has_this_version():
    text = (ROOT / 'CHANGES.rst').read_text(encoding='utf-8')
    newest = re.match(r'(\S+) \(.+\)\n=+\n', text)
    assert newest, 'CHANGES.rst does not start with "VERSION (DATE)"'
    release = Version(bgrem.__version__).release
    assert Version(newest[1]) >= Version('.'.join(map(str, release)))


def requirements(without=()):
    """Return the requirements of pyproject.toml by name, those of extras included."""
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    extras = project['optional-dependencies']
    lines = [*project['dependencies']]
    lines += [line for name in set(extras) - set(without) for line in extras[name]]
    return {r.name: r.specifier for r in map(Requirement, lines) if r.specifier}


@in_source_tree
def test_constraints_meet_the_requirements():
    lines = (ROOT / 'constraints.txt').read_text(encoding='utf-8').splitlines()
    pins = dict(line.split('==') for line in lines if line and line[0] != '#')
    assert set(requirements(without={'dev'})) <= set(pins)
    for name, specifier in requirements().items():
        assert name not in pins or specifier.contains(pins[name]), name


@in_source_tree
def test_oldest_versions_are_the_lower_bounds():
    text = (ROOT / 'tox.ini').read_text(encoding='utf-8')
    oldest = dict(re.findall(r'oldestdeps: (\w[\w-]*)[^=\n]*==(\S+)', text))
    bounds = requirements(without={'docs', 'dev'})
    assert set(oldest) == set(bounds)
    for name, version in oldest.items():
        (bound,) = (s.version for s in bounds[name] if s.operator == '>=')
        assert Version(bound) == Version(version), name


@in_source_tree
def test_extras_install_what_is_imported():
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    installed = {
        Requirement(line).name.replace('-', '_'): extra
        for extra, lines in project['optional-dependencies'].items()
        if extra not in {'all', 'test', 'docs', 'dev'}
        for line in lines
    }
    installed.pop('bgrem')  # an extra that another one contains
    assert installed == EXTRAS


@in_repository
def test_readme_commands_are_the_checked_ones():
    main_job, tests = readme_commands()
    assert main_job.endswith('&& .venv/bin/bgrem demo')
    assert tests.endswith('&& .venv/bin/pytest')
    text = (ROOT / '.ci' / 'run').read_text(encoding='utf-8')
    lines = [line.strip() for line in text.splitlines()]
    assert main_job in lines
    assert tests in lines


@in_repository
def test_workflows_run_what_there_is():
    text = ''.join(
        path.read_text(encoding='utf-8')
        for path in (ROOT / '.github' / 'workflows').glob('*.yml')
    )
    script = (ROOT / '.ci' / 'run').read_text(encoding='utf-8')
    parts = re.findall(r'\.ci/run (\w+)', text)
    parts += re.search(r'part: \[(.+)\]', text)[1].split(', ')
    assert set(parts) == set(re.findall(r'if wants (\w+);', script)) | {'current'}
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / 'tox.ini')
    for name in re.findall(r'tox -e (\w\S+)', text) + re.findall(
        r'^ +- (py3\S+)', text, re.MULTILINE
    ):
        assert f'testenv:{name}' in tox or re.fullmatch(
            r'py31[123]-test(-alldeps)?(-oldestdeps|-devdeps|-predeps)?', name
        )


@in_source_tree
def test_readme_pictures_exist():
    text = (ROOT / 'README.rst').read_text(encoding='utf-8')
    pictures = re.findall(r'^\.\. (?:image|figure):: (\S+)$', text, re.MULTILINE)
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).is_file()


@in_source_tree
def test_package_data_patterns_match_the_weights():
    config = tomllib.loads((ROOT / 'pyproject.toml').read_text())
    patterns = config['tool']['setuptools']['package-data']['bgrem.weights']
    folder = PACKAGE / 'weights'
    packaged = {path for pattern in patterns for path in folder.glob(pattern)}
    assert folder / 'registry.json' in packaged
    for row in json.loads((folder / 'registry.json').read_text()).values():
        assert folder / 'data' / row['file'] in packaged


@pytest.mark.slow
@in_source_tree
def test_wheel_holds_weights_and_no_more(tmp_path):
    pytest.importorskip('setuptools_scm', reason='the wheel is built offline')
    tree = tmp_path / 'tree'
    shutil.copytree(
        PACKAGE, tree / 'bgrem', ignore=shutil.ignore_patterns('__pycache__')
    )
    for name in ('pyproject.toml', 'setup.cfg', 'README.rst', 'LICENSE.rst'):
        shutil.copy(ROOT / name, tree)
    command = [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps']
    command += ['--no-build-isolation', '--no-index', '-w', str(tmp_path), str(tree)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob('bgrem-*.whl')
    assert wheel.stat().st_size < 40e6
    names = set(zipfile.ZipFile(wheel).namelist())
    registry = json.loads((PACKAGE / 'weights' / 'registry.json').read_text())
    assert {'bgrem/weights/registry.json', 'bgrem/py.typed', 'bgrem/__init__.pyi'} <= (
        names
    )
    for row in registry.values():
        assert f'bgrem/weights/data/{row["file"]}' in names
    assert all(name.startswith(('bgrem/', 'bgrem-')) for name in names)
