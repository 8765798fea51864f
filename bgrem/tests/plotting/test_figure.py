import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal
from photutils.segmentation import SegmentationImage

from bgrem.plotting import plot_background, save_plot

plt = pytest.importorskip('matplotlib.pyplot')

TITLES = [
    'data',
    'data − background',
    'background',
    'noise level',
    'sources',
    'noise and segments',
]
SHAPE = (30, 40)


def make_background(unit=None, *, found=True, rms=2.0, shape=SHAPE, slope=1.0):
    noise = np.random.default_rng(0).normal(0, 2, shape)
    maps = {
        'background': np.full(shape, 100.0) + slope * np.arange(shape[1]),
        'background_rms': np.full(shape, rms),
        'source': np.zeros(shape),
    }
    maps['source'][10:15, 10:15] = 500
    subtracted = maps['source'] + noise
    segments = SegmentationImage((maps['source'] > 0).astype(int)) if found else None
    if unit is not None:
        maps = {name: values << unit for name, values in maps.items()}
        subtracted = subtracted << unit
    return SimpleNamespace(
        **maps,
        meta={'weights': 'tiny'},
        subtract=lambda: subtracted,
        detect=lambda **_: segments,
    )


def make_wcs(angle):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = [20, 15]
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    wcs.wcs.cd = 1e-4 * np.array([[-cosine, sine], [sine, cosine]])
    return wcs


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close('all')


def panels(figure):
    return {axis.get_title(): axis for axis in figure.axes if axis.get_title()}


def color_bars(figure):
    return [axis for axis in figure.axes if not axis.get_title()]


def texts(figure):
    """Return the texts that are drawn, with their places in pixels."""
    found = []
    renderer = figure.canvas.get_renderer()
    draw_text = renderer.draw_text

    def draw(gc, x, y, text, *args, mtext, **kwargs):
        found.append((text, mtext.get_window_extent(renderer)))
        draw_text(gc, x, y, text, *args, mtext=mtext, **kwargs)

    renderer.draw_text = draw
    figure.draw(renderer)
    return found


@pytest.mark.parametrize('unit', [None, u.adu])
def test_panels(unit):
    background = make_background(unit)
    figure = plot_background(background)
    axes = panels(figure)
    assert list(axes) == TITLES
    maps = [u.Quantity(values).value for values in (
        background.subtract() + background.background,
        background.subtract(),
        background.background,
        background.background_rms,
        background.source,
        background.subtract() - background.source,
    )]  # fmt: skip
    for axis, values in zip(axes.values(), maps, strict=True):
        assert_allclose(axis.images[0].get_array(), values)
    labels = [axis.get_ylabel() for axis in color_bars(figure)]
    assert labels == ['' if unit is None else 'adu'] * 6


@pytest.mark.parametrize(
    ('shape', 'angle'),
    [((30, 40), 95), ((30, 400), None), ((300, 20), 10)],
)
def test_nothing_overlaps(shape, angle):
    """Of all that is written nothing is cut off, or lies on something else."""
    wcs = None if angle is None else make_wcs(angle)
    figure = plot_background(make_background(u.adu, shape=shape), wcs=wcs)
    page, seen = figure.bbox, texts(figure)
    for text, box in seen:
        assert page.x0 <= box.x0 < box.x1 <= page.x1, text
        assert page.y0 <= box.y0 < box.y1 <= page.y1, text
    assert len(seen) > 20
    boxes = [axis.get_window_extent() for axis in figure.axes]
    for number, (text, box) in enumerate(seen):
        inner = box.padded(-1)
        assert not any(inner.overlaps(other) for other in boxes), text
        for other, place in seen[:number]:
            assert not inner.overlaps(place.padded(-1)), (text, other)


@pytest.mark.parametrize('shape', [(30, 40), (90, 30)])
def test_color_bars_are_as_high_as_the_panels(shape):
    figure = plot_background(make_background(shape=shape))
    figure.canvas.draw()
    for axis, bar in zip(panels(figure).values(), color_bars(figure), strict=True):
        assert_allclose(axis.bbox.intervaly, bar.bbox.intervaly)
        assert 0 < bar.bbox.x0 - axis.bbox.x1 < 10
        assert_allclose(axis.bbox.width / axis.bbox.height, shape[1] / shape[0])


def test_stretch_is_about_the_sky():
    figure = plot_background(make_background(slope=0.0))
    norm = panels(figure)['data'].images[0].norm
    assert_allclose([norm.vmin, norm.vmax], [94, 600])
    # One sigma above the sky and ten of them: arcsinh(1) and arcsinh(10).
    low = np.arcsinh(-3)
    expected = (np.arcsinh([1, 10]) - low) / (np.arcsinh(250) - low)
    assert_allclose(norm([102, 120]), expected)
    assert_allclose(norm.inverse(norm([107])), [107])
    sources, subtracted = (
        panels(figure)[name].images[0].norm for name in ('sources', 'data − background')
    )
    assert [sources.vmin, sources.vmax] == [subtracted.vmin, subtracted.vmax]
    assert_allclose([sources.vmin, sources.vmax], [-6, 500])


@pytest.mark.parametrize(('slope', 'is_flat'), [(0.02, True), (2.0, False)])
def test_sky_that_varies_less_than_its_noise_looks_flat(slope, is_flat):
    """0.4 sigma from end to end, and 40."""
    axes = panels(plot_background(make_background(slope=slope)))
    shown = axes['background'].images[0]
    colors = shown.norm(shown.get_array())
    assert (np.ptp(colors) < 0.1) == is_flat
    assert (np.ptp(colors) > 0.9) != is_flat
    level = axes['noise level'].images[0].norm
    assert_allclose([level.vmin, level.vmax], [1.6, 2.4])


def test_outlines_go_round_the_segments():
    labels = np.zeros(SHAPE, dtype=int)
    labels[3:5, 6:9] = 1
    labels[3:5, 9:11] = 2
    figure = plot_background(make_background(), labels)
    axis = panels(figure)['noise and segments']
    (outline,) = axis.findobj(lambda artist: type(artist).__name__ == 'PathPatch')
    ends = outline.get_path().vertices.reshape(-1, 2, 2)
    assert_allclose(np.abs(np.diff(ends, axis=1)).sum(axis=-1), 1)
    # the outer border of both, and the line between them
    assert len(ends) == 2 * (5 + 2) + 2
    assert_allclose(ends.min(axis=(0, 1)), [5.5, 2.5])
    assert_allclose(ends.max(axis=(0, 1)), [10.5, 4.5])
    assert_allclose(axis.get_xlim(), (-0.5, 39.5))


def test_outlines_of_a_large_image():
    """Of more pixels than the picture has, none of the sources is lost."""
    shape = (2, 4000)
    labels = np.zeros(shape, dtype=int)
    labels[1, 1000] = 7
    background = make_background(shape=shape)
    axis = panels(plot_background(background, labels))['noise and segments']
    (outline,) = axis.findobj(lambda artist: type(artist).__name__ == 'PathPatch')
    vertices = outline.get_path().vertices
    assert vertices[:, 0].min() <= 1000 <= vertices[:, 0].max()
    assert np.ptp(vertices[:, 0]) < 5


def outline_width(figure):
    """Return the width of the outlines in points."""
    axis = panels(figure)['noise and segments']
    (outline,) = axis.findobj(lambda artist: type(artist).__name__ == 'PathPatch')
    return outline.get_linewidth()


def test_crowded_outlines_are_thin():
    """They hide no more of the noise than a tenth; enlarged, they are as ever."""
    shape = (300, 300)
    few, many = np.zeros(shape, int), np.arange(90000).reshape(shape)
    few[10:20, 10:20] = 1
    background = make_background(shape=shape)
    wide = outline_width(plot_background(background, few))
    figure = plot_background(background, many)
    axis = panels(figure)['noise and segments']
    # of each pixel two sides are drawn
    pixel = 72 * axis.bbox.width / figure.dpi / 300
    assert_allclose(2 * outline_width(figure) / pixel, 0.1, rtol=0.02)
    assert outline_width(figure) < wide / 3
    figure.axes[0].set(xlim=(0, 10), ylim=(0, 10))
    assert_allclose(outline_width(figure), wide)
    figure.axes[0].set(xlim=(-0.5, 299.5))
    assert outline_width(figure) < wide / 3


@pytest.mark.parametrize(
    ('angle', 'names'), [(85, ('Dec', 'RA')), (185, ('RA', 'Dec'))]
)
def test_sky_coordinates(angle, names):
    figure = plot_background(make_background(), wcs=make_wcs(angle))
    seen = [text for text, _ in texts(figure)]
    # below the three panels of the last row, and beside the two of the first column
    assert (seen.count(names[0]), seen.count(names[1])) == (3, 2)
    assert not any('px' in text for text in seen)


def test_pixels_without_a_wcs():
    seen = [text for text, _ in texts(plot_background(make_background()))]
    assert (seen.count('x [px]'), seen.count('y [px]')) == (3, 2)


@pytest.mark.parametrize(
    ('asked', 'title'),
    [
        ({}, 'weights tiny – 1 source – false discovery rate 5%'),
        ({'false_discovery_rate': 0.125}, '1 source – false discovery rate 12.5%'),
        ({'threshold': 0.3}, 'weights tiny – 1 source – probability at least 0.3'),
        ({'segmentation_image': np.eye(*SHAPE, dtype=int)}, 'tiny – 1 source'),
        ({'title': 'of my own: $a$'}, 'of my own: $a$'),
    ],
)
def test_title(asked, title):
    figure = plot_background(make_background(), **asked)
    assert figure.get_suptitle().endswith(title)


def test_given_segments():
    background = make_background()
    background.detect = None
    segments = SegmentationImage(np.eye(*SHAPE, dtype=int))
    figure = plot_background(background, segments, figsize=(6, 4))
    assert_allclose(figure.get_size_inches(), (6, 4))


def test_no_noise_and_no_segments():
    figure = plot_background(make_background(found=False, rms=np.nan))
    figure.canvas.draw()
    assert '0 sources' in figure.get_suptitle()


@pytest.mark.parametrize('level', [0.0, 5.0, -1e-19])
def test_constant_image(level):
    """Every map has one value, in the middle of its colors."""
    background = make_background(found=False, rms=0.0)
    flat = np.full(SHAPE, level)
    background.background, background.source = flat, np.zeros(SHAPE)
    background.subtract = lambda: np.zeros(SHAPE)
    figure = plot_background(background)
    figure.canvas.draw()
    shown = panels(figure)['background'].images[0]
    assert_allclose(shown.norm(shown.get_array()), 0.5)
    for bar in color_bars(figure):
        assert len(bar.get_yticks()) >= 2


def test_pixels_without_data_are_red():
    background = make_background()
    values = background.subtract()
    values[:10] = np.nan
    background.subtract = lambda: values
    figure = plot_background(background)
    shown = panels(figure)['data'].images[0]
    red, green, blue, _ = shown.to_rgba(shown.get_array())[0, 0]
    assert red > 0.6 > 0.3 > max(green, blue)
    assert np.isfinite([shown.norm.vmin, shown.norm.vmax]).all()


@pytest.mark.parametrize('ending', ['png', 'pdf', 'svg', 'jpg'])
def test_save_plot(tmp_path, ending):
    path = tmp_path / f'picture.{ending}'
    save_plot(path, make_background())
    assert path.stat().st_size > 1000
    assert list(tmp_path.iterdir()) == [path]
    assert plt.get_fignums() == []


def test_letters_that_the_font_does_not_have(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        save_plot(tmp_path / 'a.png', make_background(), title='søur 中.fits')


def test_segments_of_another_image():
    with pytest.raises(ValueError, match='must have the shape of the data, .* got'):
        plot_background(make_background(), np.zeros((3, 3), dtype=int))


def test_failed_picture_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match='is not supported'):
        save_plot(tmp_path / 'picture.xyz', make_background())
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib.pyplot', None)
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    with pytest.raises(ImportError, match=r'matplotlib is not .*bgrem\[plot\]'):
        plot_background(make_background())
    with pytest.raises(ImportError, match='matplotlib is not installed'):
        save_plot(tmp_path / 'picture.png', make_background())


def test_inputs_are_not_changed():
    background = make_background()
    before = background.subtract().copy()
    labels = np.eye(*SHAPE, dtype=int)
    plot_background(background, labels)
    assert_array_equal(background.subtract(), before)
    assert_array_equal(labels, np.eye(*SHAPE))
