"""Tests of the places of the panels."""

import itertools

import pytest
from numpy.testing import assert_allclose

from bgrem.plotting.layout import Layout

SHAPES = [(100, 100), (30, 400), (900, 20), (1, 1), (1, 10**5), (2000, 1500)]


def overlap(one, other):
    """Whether two places, of left, bottom, width and height, have an area in common."""
    return all(
        one[k] < other[k] + other[k + 2] and other[k] < one[k] + one[k + 2]
        for k in (0, 1)
    )


@pytest.fixture(params=SHAPES, ids=str)
def shape(request):
    return request.param


@pytest.fixture(params=[1, 12])
def layout(shape, request):
    return Layout.of_image(shape, request.param)


def test_all_is_on_the_page_and_apart(layout):
    places = [layout.panel(k) for k in range(6)]
    places += [layout.color_bar(k) for k in range(6)]
    for left, bottom, width, height in places:
        assert 0 < left < left + width < 1
        assert 0 < bottom < bottom + height < layout.title_height() < 1
        assert width > 0 < height
    for one, other in itertools.combinations(places, 2):
        assert not overlap(one, other)


def test_every_row_and_column_has_its_labels(layout):
    assert layout.rows * layout.columns == 6
    assert sum(map(layout.is_left, range(6))) == layout.rows
    assert sum(map(layout.is_bottom, range(6))) == layout.columns
    lowest = min(layout.panel(k)[1] for k in range(6))
    leftmost = min(layout.panel(k)[0] for k in range(6))
    for k in range(6):
        left, bottom, *_ = layout.panel(k)
        assert layout.is_left(k) == (abs(left - leftmost) < 1e-9)
        assert layout.is_bottom(k) == (abs(bottom - lowest) < 1e-9)


def test_pixels_are_squares_where_they_can_be(shape, layout):
    ratio = layout.width / layout.height
    assert layout.has_square_pixels == (1 / 8 <= shape[1] / shape[0] <= 8)
    if layout.has_square_pixels:
        assert_allclose(ratio, shape[1] / shape[0])
    else:
        assert_allclose(max(ratio, 1 / ratio), 8)


@pytest.mark.parametrize('figsize', [(6.0, 4.0), (20.0, 5.0), (3.0, 12.0)])
def test_page_of_a_given_size(shape, figsize):
    layout = Layout.of_image(shape, 5, figsize)
    assert layout.figsize == figsize
    for k in range(6):
        left, bottom, width, height = layout.panel(k)
        assert left + width < 1.001
        assert bottom + height < 1.001


def test_turned_image_has_as_large_panels():
    """Of a page that is nearly as wide as high."""
    one, other = (Layout.of_image(shape, 3) for shape in ((100, 400), (400, 100)))
    areas = [layout.width * layout.height for layout in (one, other)]
    assert_allclose(areas[0], areas[1], rtol=0.7)
    assert (one.rows, one.columns) != (other.rows, other.columns)
