import sys
from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from numpy.testing import assert_allclose, assert_array_equal
from photutils.segmentation import SegmentationImage

from bgrem.plotting import plot_background, save_plot

plt = pytest.importorskip('matplotlib.pyplot')

TITLES = ['data', 'background', 'background rms', 'source', 'noise', '1 segments']


def make_background(unit=None, *, found=True, rms=2.0):
    shape = (30, 40)
    maps = {
        'background': np.full(shape, 100.0) + np.arange(40),
        'background_rms': np.full(shape, rms),
        'source': np.zeros(shape),
        'noise': np.random.default_rng(0).normal(0, 2, shape),
    }
    maps['source'][10:15, 10:15] = 500
    segments = SegmentationImage((maps['source'] > 0).astype(int)) if found else None
    if unit is not None:
        maps = {name: values << unit for name, values in maps.items()}
    return SimpleNamespace(
        **maps,
        background_median=np.median(maps['background']),
        detect=lambda: segments,
    )


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close('all')


def panels(figure):
    return {axis.get_title(): axis for axis in figure.axes if axis.get_title()}


@pytest.mark.parametrize('unit', [None, u.adu])
def test_panels(unit):
    background = make_background(unit)
    figure = plot_background(background)
    figure.canvas.draw()
    axes = panels(figure)
    assert list(axes) == TITLES
    for name in ('background', 'source', 'noise'):
        shown = axes[name].images[0].get_array()
        assert_array_equal(shown, u.Quantity(getattr(background, name)).value)
    total = background.background + background.source + background.noise
    assert_allclose(axes['data'].images[0].get_array(), u.Quantity(total).value)
    labels = [axis.get_ylabel() for axis in figure.axes]
    assert labels.count('adu') == (0 if unit is None else 5)


def test_stretch_is_about_the_sky():
    axes = panels(plot_background(make_background()))
    norm = axes['data'].images[0].norm
    sky = 119.5
    assert_allclose([norm.vmin, norm.vmax], [sky - 6, sky + 500])
    # One sigma above the sky and ten of them: arcsinh(1) and arcsinh(10).
    low = np.arcsinh(-3)
    expected = (np.arcsinh([1, 10]) - low) / (np.arcsinh(250) - low)
    assert_allclose(norm([sky + 2, sky + 20]), expected)
    assert_allclose(norm.inverse(norm([sky + 7])), [sky + 7])


def test_given_data_and_segments():
    data = np.full((30, 40), 3.0)
    data[0, 0] = np.nan
    segments = SegmentationImage(np.eye(30, 40, dtype=int))
    figure = plot_background(
        make_background(), data=data, segmentation_image=segments, figsize=(6, 4)
    )
    figure.canvas.draw()
    axes = panels(figure)
    assert_array_equal(axes['1 segments'].images[0].get_array(), segments.data)
    assert_array_equal(np.ma.filled(axes['data'].images[0].get_array(), np.nan), data)
    assert_allclose(figure.get_size_inches(), (6, 4))
    assert np.isnan(data[0, 0])


@pytest.mark.parametrize('rms', [0.0, np.nan])
def test_no_noise_and_no_segments(rms):
    figure = plot_background(make_background(found=False, rms=rms))
    figure.canvas.draw()
    assert 'no segments' in panels(figure)


@pytest.mark.parametrize('ending', ['png', 'pdf', 'svg', 'jpg'])
def test_save_plot(tmp_path, ending):
    path = tmp_path / f'picture.{ending}'
    save_plot(path, make_background())
    assert path.stat().st_size > 1000
    assert list(tmp_path.iterdir()) == [path]
    assert plt.get_fignums() == []


def test_failed_picture_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match='is not supported'):
        save_plot(tmp_path / 'picture.xyz', make_background())
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib.pyplot', None)
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    with pytest.raises(ImportError, match=r"plots need matplotlib: pip install 'bgrem"):
        plot_background(make_background())
    with pytest.raises(ImportError, match='plots need matplotlib'):
        save_plot(tmp_path / 'picture.png', make_background())
