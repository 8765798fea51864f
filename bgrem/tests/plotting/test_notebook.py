import pickle
import re
import sys
from base64 import b64decode

import numpy as np
import pytest
from astropy import units as u

from bgrem import DiffusionBackground


def fail(*_args, **_kwargs):
    msg = 'the network or the detection runs again'
    raise AssertionError(msg)


@pytest.fixture(scope='module')
def background(tiny_weights):
    data = np.random.default_rng(1).normal(100, 5, (70, 90))
    data[:5] = np.nan
    with pytest.warns(match='non-?finite'):
        return DiffusionBackground(data << u.adu, 30, weights=tiny_weights)


def test_picture_and_table(background, monkeypatch):
    pytest.importorskip('matplotlib')
    before = pickle.dumps(background)
    for name in ('pipeline.separate', 'detections.segment', 'detections.find_peaks'):
        monkeypatch.setattr(f'bgrem.{name}', fail)
    html = background._repr_html_()
    assert pickle.dumps(background) == before
    picture = b64decode(re.search(r'src="data:image/png;base64,([^"]+)"', html)[1])
    assert picture.startswith(b'\x89PNG')
    cells = re.findall(r'<t[hd][^>]*>([^<]*)</t[hd]>', html)
    table = dict(zip(cells[::2], cells[1::2], strict=True))
    assert table == {
        'shape': '70 × 90 px',
        'boxes': '30 × 30 px (given)',
        'weights': 'tiny',
        'steps': '1',
        'views': '1',
    }


@pytest.mark.parametrize('shape', [(1, 700), (900, 3)])
def test_odd_shapes(tiny_weights, shape):
    image = pytest.importorskip('matplotlib.image')
    data = np.random.default_rng(1).normal(100, 5, shape)
    html = DiffusionBackground(data, 1, weights=tiny_weights)._repr_html_()
    content = b64decode(re.search(r'base64,([^"]+)"', html)[1])
    from io import BytesIO

    height, width = image.imread(BytesIO(content)).shape[:2]
    assert 30 < height < 300
    assert 30 < width < 800


def test_text_without_matplotlib(background, monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    assert background._repr_html_() is None
    assert 'box_size=' in repr(background)
