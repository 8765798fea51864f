# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of bgrem.evaluate.count_calibration."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bgrem.evaluate import count_calibration
from bgrem.evaluate.count_calibration import counts_peaks, draw_patches
from bgrem.weights import load_weights


def test_patches_belong_to_their_number():
    """However many are drawn, and another seed has others."""
    few, more = (list(draw_patches(n, 32, seed=1)) for n in (2, 4))
    assert len(more) == 4
    for patch, same in zip(few, more, strict=False):
        assert patch.counts.shape == (32, 32)
        assert_array_equal(patch.counts, same.counts)
    (other,) = draw_patches(1, 32, seed=2)
    assert not np.array_equal(other.counts, few[0].counts)


def test_two_of_three_are_the_gamma_ray_sky():
    """From the plane, where it is bright, to the poles."""
    skies = [patch.sky.mean() for patch in draw_patches(12, 32, seed=3)]
    near, far = (
        [skies[3 * kind + place] for kind, place in where]
        for where in (((0, 0), (2, 0)), ((1, 1), (3, 1)))
    )
    assert min(near) > max(far)


@pytest.fixture
def seen(monkeypatch):
    """Let every pixel with a source above S/N 5 be a peak."""
    calls = []

    def separate(data, mask, *, exposure, weights):
        patch = calls[-1].patch
        calls[-1].calibration, calls[-1].exposure = weights.calibration, exposure
        probability = np.full(data.shape, 1e-6, dtype='f4')
        bright = patch.catalog['snr'] > 5
        y, x = (np.rint(patch.catalog[name][bright]).astype(int) for name in 'yx')
        probability[y, x] = 1.0
        return SimpleNamespace(probability=probability)

    def draw(*args):
        for patch in draw_patches(*args):
            calls.append(SimpleNamespace(patch=patch))
            yield patch

    monkeypatch.setattr(count_calibration, 'separate', separate)
    monkeypatch.setattr(count_calibration, 'draw_patches', draw)
    return calls


def test_peaks_on_sources_are_true(seen, counts_weights):
    """The surest has a finite logit, and the weights go in without a calibration."""
    logit, is_true = counts_peaks(load_weights(counts_weights), n_patches=6, seed=4)
    assert len(seen) == 6
    assert all(call.calibration is None for call in seen)
    assert all(call.exposure is call.patch.exposure for call in seen)
    assert is_true.size > 5
    assert is_true.mean() > 0.9
    assert_allclose(logit, np.log(2.0**24), rtol=1e-3)
