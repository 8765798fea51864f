"""Without an optional dependency, one line says which extra installs it."""

import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits

from bgrem import subtract_array, subtract_file
from bgrem._extras import EXTRAS, import_extra
from bgrem.cli.cluster import run_all
from bgrem.files.maps import ZarrMaps
from bgrem.files.rows import ZarrRows
from bgrem.simulate import build_stamp_bank, cached_stamp_bank


def write_image(folder):
    fits.writeto(folder / 'in.fits', np.zeros((9, 9)))
    return folder / 'in.fits'


# Some of what needs a package; the rest is tested beside what it does.
NEEDS = [
    ('dask', lambda path: subtract_array(np.zeros((64, 64)))),
    (
        'distributed',
        lambda path: run_all(SimpleNamespace(input=[], scheduler='there'), [], None),
    ),
    ('galsim', lambda path: build_stamp_bank(1, n_workers=2)),
    ('galsim', lambda path: cached_stamp_bank(1, folder=path)),
    ('zarr', lambda path: subtract_file(write_image(path), path / 'out.zarr')),
    ('zarr', lambda path: ZarrMaps(path / 'out.zarr', [])),
    ('zarr', lambda path: ZarrRows(path / 'in.zarr')),
]


@pytest.mark.parametrize('name', [*EXTRAS, 'matplotlib.pyplot'])
def test_message(name, monkeypatch):
    package = name.partition('.')[0]
    monkeypatch.setitem(sys.modules, name, None)
    line = f"{package} is not installed: pip install 'bgrem[{EXTRAS[package]}]'"
    with pytest.raises(ImportError, match=f'^{re.escape(line)}$'):
        import_extra(name)


def test_dependency_of_package(monkeypatch, tmp_path):
    """A package that is installed, but not what it needs, is not called missing."""
    (tmp_path / 'sep.py').write_text('import a_missing_dependency')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'sep', raising=False)
    with pytest.raises(ImportError, match="^No module named 'a_missing_dependency'$"):
        import_extra('sep')


@pytest.mark.parametrize(('name', 'use'), NEEDS)
def test_not_installed(name, use, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=f'^{name} is not installed: '):
        use(tmp_path)
    assert {one.name for one in tmp_path.iterdir()} <= {'in.fits'}
