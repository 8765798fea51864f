import sys
from types import ModuleType

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from photutils.utils.exceptions import NoDetectionsWarning

from bgrem.cli.demo import find_with_photutils, found_table, run_demo

TRUTH = {
    'x': np.array([10.0, 30.0, 50.0, 70.0, 90.0]),
    'y': np.array([10.0, 10.0, 10.0, 10.0, 10.0]),
    'snr': np.array([1.5, 2.5, 7.0, 50.0, 500.0]),
}
NOTHING = (np.empty(0),) * 3


def test_found_table():
    detections = {
        # Of two detections of one source the second is false; the one near the source
        # with S/N 1.5 counts neither way, and that with nothing near is false.
        'good': ([50.5, 51.0, 70.0, 10.0, 30.0], [10, 10, 11, 10, 40], [5, 4, 3, 2, 1]),
        'blind': NOTHING,
    }
    assert found_table(TRUTH, 3.0, detections, (60, 120)) == [
        ('', 'true', 'good', 'blind'),
        ('S/N 2-3', 1, 0, 0),
        ('S/N 3-5', 0, 0, 0),
        ('S/N 5-10', 1, 1, 0),
        ('S/N 10-30', 0, 0, 0),
        ('S/N 30-100', 1, 1, 0),
        ('S/N > 100', 1, 0, 0),
        ('false', '', 2, 0),
        ('of all', '', '50.0%', '-'),
        # 20 px further there is another source
        ('by chance', '', 3, 0),
    ]


def test_find_with_photutils():
    rng = np.random.default_rng(0)
    y, x = np.indices((128, 128))
    data = rng.normal(100, 1, (128, 128))
    data += 30 * np.exp(-((x - 40) ** 2 + (y - 70) ** 2) / 8)
    catalog = find_with_photutils(data)
    brightest = catalog[np.argmax(catalog.segment_flux)]
    assert abs(brightest.x_centroid - 40) < 0.2
    assert abs(brightest.y_centroid - 70) < 0.2
    # 10 pixels above 1.5 sigma of the smoothed noise are often noise
    assert np.all(catalog.segment_area.value >= 10)
    assert len(catalog) > 10


def test_find_nothing_with_photutils():
    with pytest.warns(NoDetectionsWarning, match='No sources were found'):
        assert find_with_photutils(np.full((64, 64), 5.0)) is None


@pytest.mark.filterwarnings('ignore::photutils.utils.exceptions.NoDetectionsWarning')
def test_run_demo(tmp_path, tiny_weights, capsys):
    pytest.importorskip('galsim')
    pytest.importorskip('matplotlib')
    folder = tmp_path / 'demo'
    rows = run_demo(folder, size=96, weights=tiny_weights)
    assert {p.name for p in folder.iterdir()} == {
        'image.fits',
        'products.fits',
        'catalog.ecsv',
        'picture.png',
    }
    assert rows[0] == ('', 'true', 'bgrem', 'photutils')
    assert sum(row[1] for row in rows[1:-3]) > 5
    assert fits.getdata(folder / 'products.fits', 'SCI').shape == (96, 96)
    assert 'x' in Table.read(folder / 'catalog.ecsv').colnames
    out = capsys.readouterr().out
    assert 'S/N 5-10' in out
    assert 'bgrem subtract IMAGE.fits -o result.fits' in out.partition('picture.png')[2]
    assert out.count('\n\n\n') == 0
    # Again: the same numbers, the files replaced.
    assert run_demo(folder, size=96, weights=tiny_weights, quiet=True) == rows
    assert capsys.readouterr().out == ''


@pytest.fixture
def extras(monkeypatch):
    """As if they were installed."""
    for name in ('galsim', 'matplotlib'):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))


@pytest.mark.parametrize('name', ['galsim', 'matplotlib'])
@pytest.mark.usefixtures('extras')
def test_without_an_extra(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=f'^{name} is not installed: '):
        run_demo(tmp_path / 'demo')
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures('extras')
def test_no_place_for_the_demo(tmp_path):
    with pytest.raises(FileNotFoundError, match='no/demo'):
        run_demo(tmp_path / 'no' / 'demo')
