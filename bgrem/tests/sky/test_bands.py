# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Bands of rows, looked at by one or several threads."""

import multiprocessing
import os
import threading

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bgrem.detect.peaks import find_peaks
from bgrem.detect.probability import calibrate, pool_centers
from bgrem.sky.bands import each_band, use_threads
from bgrem.sky.boxes import measure_sky
from bgrem.sky.maps import interpolate_mesh
from bgrem.sky.normalize import estimate_normalization

SHAPE = (400, 900)
CALIBRATION = {'logit': [-5.0, 0.0, 4.0], 'probability': [0.001, 0.3, 0.97]}


@pytest.fixture(params=[2, 3])
def n_threads(request):
    return request.param


@pytest.fixture(scope='module')
def image():
    rng = np.random.default_rng(7)
    sky = 1000 + 30 * np.sin(np.arange(SHAPE[1]) / 100)
    data = (sky + rng.normal(0, 4, SHAPE)).astype(np.float32)
    data[40:60, 100:130] = np.nan
    return data


def by_threads(function, n_threads):
    """Return what a function makes alone, and what in threads."""
    alone = function()
    with use_threads(n_threads):
        return alone, function()


def test_results_in_order(n_threads):
    # the first is the last to be done
    done = threading.Event()

    def run(band):
        if band == 0:
            assert done.wait(30)
        done.set()
        return band**2

    with use_threads(n_threads):
        assert each_band(run, range(8)) == [k**2 for k in range(8)]


def test_as_many_threads_as_allowed(n_threads):
    meeting = threading.Barrier(n_threads, timeout=30)

    def run(_):
        meeting.wait()  # breaks if fewer are there at once
        return threading.current_thread().name

    with use_threads(n_threads):
        names = each_band(run, range(2 * n_threads))
    assert len(set(names)) == n_threads


def test_one_thread_by_default():
    here = threading.current_thread()
    assert all(each_band(lambda _: threading.current_thread() is here, range(4)))
    with use_threads(4):
        pass
    assert all(each_band(lambda _: threading.current_thread() is here, range(4)))


def test_no_threads_within_threads(n_threads):
    def outer(_):
        return each_band(lambda _: threading.current_thread(), range(3))

    with use_threads(n_threads):
        for inner in each_band(outer, range(4)):
            assert len(set(inner)) == 1


def test_threads_end(n_threads):
    before = threading.active_count()
    with use_threads(n_threads):
        each_band(abs, range(10))
        assert threading.active_count() == before


def test_error_of_a_band(n_threads):
    def run(band):
        return 1 / (band - 5)

    with use_threads(n_threads), pytest.raises(ZeroDivisionError, match='by zero'):
        each_band(run, range(10))


def test_floating_point_errors_as_outside(n_threads):
    with (
        use_threads(n_threads),
        np.errstate(divide='raise'),
        pytest.raises(FloatingPointError, match='divide by zero'),
    ):
        each_band(lambda band: np.ones(3) / (band - 1), np.arange(4.0))


def in_fork(queue):
    with use_threads(2):
        queue.put(each_band(abs, range(-4, 0)))


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
@pytest.mark.filterwarnings('ignore:.*multi-threaded.*fork:DeprecationWarning')
def test_fork_while_threads_run():
    """The child has threads of its own, and waits for none of its parent's."""
    context = multiprocessing.get_context('fork')
    queue = context.Queue()

    def run(band):
        if band:
            return []
        child = context.Process(target=in_fork, args=(queue,))
        child.start()
        result = queue.get(timeout=60)
        child.join(timeout=60)
        return result

    with use_threads(2):
        assert each_band(run, range(3)) == [[4, 3, 2, 1], [], []]


def test_normalization(image, n_threads):
    def run():
        maps = estimate_normalization(image)
        return maps.center, maps.scale, maps.forward(image)

    for alone, together in zip(*by_threads(run, n_threads), strict=True):
        assert_array_equal(together, alone)


def test_sky(image, n_threads):
    usable = np.isfinite(image)
    noise, source = np.full(SHAPE, 4, np.float32), np.zeros(SHAPE, np.float32)

    def run():
        sky = measure_sky(np.where(usable, image, 0), source, usable, noise)
        return sky.level, sky.noise, sky.error, sky.beneath

    for alone, together in zip(*by_threads(run, n_threads), strict=True):
        assert_array_equal(together, alone)


def test_probability_and_peaks(n_threads):
    logit = np.random.default_rng(3).normal(-4, 3, SHAPE).astype(np.float32)

    def run():
        pooled = pool_centers(logit.copy())
        probability = calibrate(pooled, CALIBRATION)
        return pooled, probability, find_peaks(probability)

    for alone, together in zip(*by_threads(run, n_threads), strict=True):
        assert_array_equal(together, alone)


def test_map(n_threads):
    mesh = np.random.default_rng(3).normal(0, 1, (13, 29))
    alone, together = by_threads(
        lambda: interpolate_mesh(mesh, (1300, 1200), (100, 42)), n_threads
    )
    assert_array_equal(together, alone)
