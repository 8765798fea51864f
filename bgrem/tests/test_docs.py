"""What the documents say, held to what there is."""

import ast
import configparser
import re
from pathlib import Path

import pytest

import bgrem

PACKAGE = Path(bgrem.__file__).parent
ROOT = PACKAGE.parent

pytestmark = pytest.mark.skipif(
    not (ROOT / '.ci').exists(),
    reason='the installed package does not hold the documents',
)


def plain(text):
    """Return a text in small letters, with one space between words."""
    return ' '.join(text.split()).casefold()


def texts(node):
    """Return the fixed parts of a text, of which others are put in."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return [part.value for part in parts if isinstance(part, ast.Constant)]


def given_warnings():
    """Yield the place of each warning of the package, and the fixed parts of it."""
    for path in sorted(PACKAGE.rglob('*.py')):
        if 'tests' in path.parts:
            continue
        for function in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if not isinstance(function, ast.FunctionDef):
                continue
            message = None
            for node in sorted(
                (n for n in ast.walk(function) if hasattr(n, 'lineno')),
                key=lambda n: (n.lineno, n.col_offset),
            ):
                if isinstance(node, ast.Assign) and ast.unparse(node.targets) == 'msg':
                    message = node.value
                is_call = isinstance(node, ast.Call)
                if is_call and ast.unparse(node.func) == 'warnings.warn':
                    first = node.args[0]
                    text = message if isinstance(first, ast.Name) else first
                    yield f'{path.name}: {function.name}', texts(text)


def test_every_warning_is_found_by_its_words():
    """Who copies a part of a warning into the search of a browser finds it."""
    page = (ROOT / 'docs' / 'user_guide' / 'faq.rst').read_text(encoding='utf-8')
    page, n_warnings = plain(re.sub('[*`]', '', page)), 0
    for place, parts in given_warnings():
        # of the first sentence
        words = [plain(re.split(r'\. |: ', part)[0]).strip(' ,;:.(') for part in parts]
        assert any(len(word) > 12 and word in page for word in words), (place, parts)
        n_warnings += 1
    assert n_warnings > 15


@pytest.mark.parametrize('name', ['README.rst', 'CONTRIBUTING.rst'])
def test_links_to_files(name):
    """What stands in angle brackets is in the repository, with its heading."""
    text = (ROOT / name).read_text(encoding='utf-8')
    links = [one for one in re.findall(r'<([^<>\s]+)>`_', text) if '://' not in one]
    for link in links:
        path, _, heading = link.partition('#')
        page = (ROOT / path).read_text(encoding='utf-8')
        headings = re.findall(r'^(\w.*)\n[=^-]{3,}$', page, re.MULTILINE)
        anchors = [re.sub(r'\W+', '-', plain(one)).strip('-') for one in headings]
        assert not heading or heading in anchors, link
    assert links or name != 'README.rst'


def test_environments_of_tox():
    """Those that the documents name are there."""
    text = (ROOT / 'CONTRIBUTING.rst').read_text(encoding='utf-8')
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / 'tox.ini')
    names = re.findall(r'py31\d-test[\w-]*', text)
    assert names
    factors = set(re.findall(r'\w+', tox['tox']['env_list']))
    for name in names:
        assert set(name.split('-')) - {'py311', 'py313'} <= factors


def test_pages_are_within_reach():
    """Each page is named by another one, or by the list at the left."""
    pages = {
        path.relative_to(ROOT / 'docs').with_suffix('').as_posix()
        for path in (ROOT / 'docs').rglob('*.rst')
        if not {'gallery', 'tables', 'examples', '_build', 'api'} & set(path.parts)
    }
    named = {'index', 'gallery/index'}
    for page in pages:
        text = (ROOT / 'docs' / f'{page}.rst').read_text(encoding='utf-8')
        entries = ''.join(re.findall(r'toctree::\n((?: +.*\n|\n)*)', text))
        folder = Path(page).parent
        named |= {
            (folder / one).as_posix()
            for one in re.findall(r'^ +(\w[\w/]*)$', entries, re.MULTILINE)
        }
    assert pages <= named
