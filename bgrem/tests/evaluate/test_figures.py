"""Tests of the figures of the evaluation: what they draw is what was measured."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bgrem.evaluate.figures import (
    plot_curves,
    plot_light_kept,
    plot_reliability,
    plot_sky_error,
    plot_without_false,
    write_figures,
)
from bgrem.evaluate.image_figures import (
    panels,
    plot_before_after,
    plot_normalization,
    plot_pixel_histogram,
    plot_steps,
    plot_training,
)

plt = pytest.importorskip('matplotlib.pyplot')


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close('all')


def method(n_true, n_false, **more):
    return {'curve': {'n_true': n_true, 'n_false': n_false}, **more}


@pytest.fixture
def detection():
    """Two families; the second has a method that the first has not."""
    flat = {
        'ours': method([1, 2, 4], [0, 0, 1], without_a_false_one=2),
        'oracle': method([1, 3], [0, 1], without_a_false_one=1),
    }
    rows = [{'promised': 0.1, 'observed': 0.2, 'n': 5}]
    flat['ours']['reliability'] = rows
    other = method([1], [0], without_a_false_one=3)
    striped = {**flat, 'ours, no stripes': other}
    return {
        'flat': {'n_true': 40, 'methods': flat},
        'striped': {'n_true': 2, 'methods': striped},
    }


def heights(figure):
    """Return the heights of the bars by the name of their method."""
    (ax,) = figure.axes
    return {
        bars.get_label(): [bar.get_height() for bar in bars] for bars in ax.containers
    }


@pytest.mark.parametrize(
    ('n_panels', 'n_columns'), [(1, 1), (3, 3), (4, 4), (5, 4), (6, 3), (9, 4)]
)
def test_panels(n_panels, n_columns):
    """As many as are wanted are seen, in rows of at most four."""
    figure, axes = panels(n_panels)
    assert len(axes) == n_panels
    assert sum(ax.get_visible() for ax in figure.axes) == n_panels
    assert axes[0].get_subplotspec().get_gridspec().ncols == n_columns
    assert len(figure.axes) == n_columns * -(-n_panels // n_columns)


def test_curves(detection):
    figure = plot_curves(detection, ['ours'])
    first, second = figure.axes
    ours, oracle = first.lines
    assert_array_equal(ours.get_xydata(), [[0, 1], [0, 2], [1, 4]])
    assert ours.get_linewidth() > oracle.get_linewidth()
    assert (oracle.get_color(), oracle.get_linestyle()) == ('k', '--')
    assert first.get_title() == 'flat: 40 true'
    # false ones up to a fifth of all, but for one at least
    assert first.get_xlim() == (0, 10)
    assert second.get_xlim() == (0, 1)
    assert [line.get_label() for line in second.lines][-1] == 'ours, no stripes'


@pytest.mark.parametrize('order', [1, -1])
def test_without_false(detection, order):
    """A method that only some families have stands in them, whichever come first."""
    parts = dict(list(detection.items())[::order])
    found = heights(plot_without_false(parts))
    assert found['ours'] == [2, 2]
    assert found['oracle'] == [1, 1]
    assert_array_equal(found['ours, no stripes'][::order], [np.nan, 3])


def test_reliability(detection):
    figure = plot_reliability(detection, ['ours', 'others'])
    (ax,) = figure.axes
    diagonal, *rows = ax.lines
    assert_array_equal(diagonal.get_xydata(), [[0, 0], [1, 1]])
    assert [row.get_label() for row in rows] == ['flat', 'striped']
    assert_allclose(rows[0].get_xydata(), [[0.1, 0.2]])
    assert ax.get_title() == 'ours'


def profile(bias, kept):
    return {'radius': [0.5, 1.0], 'bias': bias, 'light_kept': kept}


@pytest.fixture
def sky():
    profiles = {
        'star': profile([0.1, None], [1.0, 0.9]),
        'galaxy': profile([0.2, 0.3], [None, 0.8]),
    }
    part = {
        'bgrem': {'rms': 0.05, 'profiles': profiles},
        'bgrem best': {'rms': 0.03},
        'Background2D best': {'rms': 0.2},
        'Background2D 64': {'rms': 9.0},
    }
    return {'flat': part, 'crowded': {**part, 'bgrem best': {'rms': 0.04}}}


def test_sky_error(sky):
    """Of the boxes only the best."""
    found = heights(plot_sky_error(sky))
    expected = {'Background2D best': [0.2, 0.2], 'bgrem': [0.05, 0.05]}
    assert found == {**expected, 'bgrem best': [0.03, 0.04]}


def test_light_kept(sky):
    """Rings without a pixel leave a gap."""
    errors, kept = plot_light_kept(sky).axes
    star, galaxy = errors.lines[:2]
    assert_array_equal(star.get_ydata(), [0.1, np.nan])
    assert_array_equal(kept.lines[1].get_ydata(), [np.nan, 0.8])
    assert_array_equal(galaxy.get_xdata(), [0.5, 1])
    assert [line.get_linestyle() for line in (star, galaxy)] == ['-', '--']
    # the line of no error, after two kinds of two families
    assert len(errors.lines) == 5


def test_sensitivity():
    rows = [
        {'value': v, 'probability': 10 + v, 'denoised': v, 'mean_absolute_error': 1 / v}
        for v in (1, 3)
    ]
    parts = {'flat': {'steps': rows, 'factors': rows[::-1]}}
    for figure, values in (
        (plot_steps(parts), [1, 3]),
        (plot_normalization(parts), [3, 1]),
    ):
        counts, errors = figure.axes
        by_probability, by_image = counts.lines
        assert_array_equal(by_probability.get_xdata(), values)
        assert_array_equal(by_probability.get_ydata(), np.add(values, 10))
        assert_array_equal(by_image.get_ydata(), values)
        assert_allclose(errors.lines[0].get_ydata(), 1 / np.array(values))
    assert errors.get_xscale() == 'log'


def test_pixels():
    corner = [[0.0, 2.0], [30.0, -3.0]]
    part = {
        'edges': [-1.0, 0.0, 2.0],
        'counts': {'data': [3, 4], 'truth': [3, 4]},
        'cutouts': {'data': corner, 'truth': corner},
    }
    parts = {'flat': part, 'crowded': part}
    for ax in plot_pixel_histogram(parts).axes:
        values, edges, _ = ax.patches[0].get_data()
        assert (list(values), list(edges)) == ([3, 4], [-1, 0, 2])
    axes = plot_before_after(parts).axes
    assert [ax.get_title() for ax in axes] == ['data', 'truth', '', '']
    assert [ax.get_ylabel() for ax in axes] == ['flat', '', 'crowded', '']
    (image,) = axes[0].images
    assert_allclose(image.get_array(), np.arcsinh([[0, 1], [15, -1.5]]))
    assert_allclose(image.get_clim(), np.arcsinh([-1.5, 15]))


def test_training(tmp_path):
    log = tmp_path / 'log.csv'
    log.write_text('step,loss,validation_loss,seconds\n1,0.5,0.6,9\n2,0.4,0.5,9\n')
    (ax,) = plot_training(log).axes
    assert [line.get_label() for line in ax.lines] == ['loss', 'validation loss']
    assert_allclose(ax.lines[1].get_xydata(), [[1, 0.6], [2, 0.5]])


def test_only_what_was_measured_is_written(detection, tmp_path):
    results = {'weights': {'ours': 'abc'}, 'families': {}}
    assert write_figures(results, tmp_path) == []
    families = {name: {'detection': part} for name, part in detection.items()}
    paths = write_figures({**results, 'families': families}, tmp_path)
    assert [path.stem for path in paths] == ['curves', 'without_false', 'reliability']
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert plt.get_fignums() == []
