"""Tests of bgrem.detect.window."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bgrem.detect.window import window_errors, windowed_positions

SHAPE = (70, 80)
RADIUS = 1.77  # the half-light radius of a star of FWHM 3


def star(x, y, fwhm=3.0):
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    distance2 = (rows - y) ** 2 + (columns - x) ** 2
    return np.exp(-4 * np.log(2) * distance2 / fwhm**2)


def measure(data, starts, *, labels=None, usable=None, radius=RADIUS, **options):
    starts = np.atleast_2d(starts).astype(float)
    return windowed_positions(
        data,
        np.zeros(SHAPE, dtype=int) if labels is None else labels,
        np.arange(1, len(starts) + 1),
        starts,
        np.broadcast_to(radius, len(starts)).astype(float),
        usable=np.isfinite(data) if usable is None else usable,
        **options,
    )


@pytest.mark.parametrize('center', [(30.0, 40.0), (30.37, 40.81), (55.5, 12.5)])
@pytest.mark.parametrize('fwhm', [2.5, 4.0])
def test_star(center, fwhm):
    """It finds the center from a pixel away, whatever the flux."""
    start = np.add(center, (0.8, -0.7))
    for flux in (1e-3, 1e5):
        found = measure(flux * star(*center, fwhm), start, radius=fwhm / 2)
        assert_allclose(found, [center], atol=2e-3)


def test_noise():
    """The scatter is what noise does to the weighted mean; there is no bias."""
    rng = np.random.default_rng(2)
    noise = 0.02
    centers = rng.uniform(20, 50, (400, 2))
    found = np.concatenate(
        [measure(star(*c) + rng.normal(0, noise, SHAPE), c) for c in centers]
    )
    offset = found - centers
    # Of a window as wide as the star: the limit is 0.5 fwhm / 1.18 / (snr) = 0.045 px
    sigma = 3 / np.sqrt(8 * np.log(2))
    limit = sigma / (np.sqrt(np.pi) * sigma / noise)
    assert abs(offset.mean()) < 4 * limit / np.sqrt(offset.size)
    assert limit < offset.std() < 2 * limit


def test_neighbour():
    """The pixels of a neighbor are those opposite, or none, or count."""
    data = star(30, 40) + 20 * star(36, 41)
    labels = np.where(np.hypot(*np.mgrid[-40:30, -30:50]) < 3, 1, 0)
    labels[35:48, 33:42] = 2
    starts = [(30, 40), (36, 41)]
    found = measure(data, starts, labels=labels)
    assert_allclose(found, starts, atol=0.1)
    masked = measure(data, starts, labels=labels, neighbours='mask')
    counted = measure(data, starts, labels=labels, neighbours='none')
    assert counted[0, 0] > masked[0, 0] + 0.5
    with pytest.raises(ValueError, match="neighbours must be one of .*, got 'half'"):
        measure(data, starts, neighbours='half')


def test_bad_pixels_do_not_matter():
    """What is not usable can have any value."""
    data = star(30.3, 40.2)
    usable = np.ones(SHAPE, dtype=bool)
    usable[43, 28:33] = False
    expected = measure(data, (30, 40), usable=usable)
    for value in (np.nan, np.inf, 1e30):
        data[~usable] = value
        assert_array_equal(measure(data, (30, 40), usable=usable), expected)
    assert_allclose(expected, [(30.3, 40.2)], atol=0.15)


def test_no_position():
    """NaN where nothing is known, and where there is no light."""
    start = [(np.nan, 40), (30, 40), (30, 40)]
    found = measure(star(30, 40), start, radius=[2, np.nan, 2])
    assert_array_equal(np.isfinite(found).all(axis=1), [False, False, True])
    assert np.isnan(measure(-star(30, 40), (30, 40))).all()
    assert np.isnan(measure(np.zeros(SHAPE), (30, 40))).all()
    assert measure(np.zeros(SHAPE), np.empty((0, 2))).shape == (0, 2)


def test_border():
    """A star on the corner stays there; a window wider than the image works."""
    assert_allclose(measure(star(0, 0), (0, 0)), [(0, 0)], atol=1.0)
    assert_allclose(measure(star(40, 35, 9), (40, 35), radius=1e4), [(40, 35)], atol=1)


def test_each_for_itself(monkeypatch):
    """A position does not depend on what else is measured with it."""
    rng = np.random.default_rng(7)
    centers = rng.uniform(5, 60, (30, 2))
    data = sum(star(*center) for center in centers)
    radius = rng.uniform(0.2, 6, 30)
    together = measure(data, centers, radius=radius)
    monkeypatch.setattr('bgrem.detect.window._MAX_CHUNK', 1)
    assert_allclose(measure(data, centers, radius=radius), together, atol=1e-9)


class TestErrors:
    def test_known_answer(self):
        """Of a Gaussian under its own window: the least that noise allows."""
        sigma = 3 / np.sqrt(8 * np.log(2))
        data = 50 * star(30.2, 40.4)
        found = window_errors(
            data, np.full(SHAPE, 2.0), np.zeros(SHAPE, int), [1],
            np.array([[30.2, 40.4]]), np.array([sigma * np.sqrt(2 * np.log(2))]),
            usable=np.ones(SHAPE, dtype=bool),
        )  # fmt: skip
        # Of peak height h and pixels of noise s: s / h * sqrt(2 / pi), which is what
        # Cramer and Rao have for a known window
        assert_allclose(found, 2.0 / 50 * np.sqrt(2 / np.pi), rtol=0.01)

    def test_neighbours_and_unknown_places(self):
        data = star(30, 40) + 20 * star(36, 41)
        labels = np.zeros(SHAPE, dtype=int)
        labels[35:48, 33:42] = 2
        positions = np.array([[30.0, 40.0], [np.nan, 3.0], [10.0, 10.0]])
        options = {
            'half_light_radius': np.full(3, RADIUS),
            'usable': np.ones(SHAPE, dtype=bool),
        }
        error = np.full(SHAPE, 0.1)
        args = (error, labels, [1, 2, 3], positions)
        alone = window_errors(star(30, 40), *args, **options)
        found = window_errors(data, *args, **options)
        assert_allclose(found[0], alone[0], rtol=0.1)
        assert np.isnan(found[1:]).all()  # no place; no light
