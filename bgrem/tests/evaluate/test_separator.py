"""Tests of bgrem.evaluate.separator."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from photutils.background import MeanBackground

from bgrem import DiffusionBackground
from bgrem.evaluate import separator
from bgrem.evaluate.calibration import rewrite_header
from bgrem.evaluate.peers import probability_peaks
from bgrem.evaluate.separator import Separator
from bgrem.weights import load_weights


def make_scene(seed):
    rng = np.random.default_rng(seed)
    image = rng.normal(100, 5, (96, 90)).astype(np.float32)
    image[20:70:16, 20:80:16] += 200
    mask = np.zeros(image.shape, bool)
    mask[:4] = True
    options = {'exclude_percentile': 90.0}
    return SimpleNamespace(image=image, mask=mask, options=options)


@pytest.fixture(scope='module')
def scene():
    return make_scene(1)


@pytest.fixture(scope='module')
def weights(tiny_weights, make_correction, tmp_path_factory):
    """Weights that promise much and are checked with the flipped residual."""
    tiny = load_weights(tiny_weights)
    calibration = {
        'logit': [-6.0, 0.0],
        'probability': [0.3, 0.99],
        'correction': make_correction(offset=-0.5, excess=0.5, lowest=-3.0),
    }
    path = tmp_path_factory.mktemp('checked') / 'tiny.safetensors'
    rewrite_header(tiny, path, calibration)
    return load_weights(path)


@pytest.fixture
def runs(monkeypatch):
    """The names of the functions that have run the network."""
    names = []
    for name in ('separate', 'inspect_image'):
        function = getattr(separator, name)

        def counted(*args, name=name, function=function, **options):
            names.append(name)
            return function(*args, **options)

        monkeypatch.setattr(separator, name, counted)
    return names


@pytest.mark.parametrize('n_symmetries', [1, 2])
@pytest.mark.parametrize(
    ('box_size', 'estimator'), [(32, None), (16, MeanBackground())]
)
def test_background(scene, weights, box_size, estimator, n_symmetries):
    """It is the same as without the sharing."""
    shared = Separator(weights, n_symmetries=n_symmetries)
    bkg = shared.background(scene, box_size, estimator)
    expected = DiffusionBackground(
        scene.image,
        box_size,
        mask=scene.mask,
        bkg_estimator=estimator,
        weights=weights,
        n_symmetries=n_symmetries,
        **scene.options,
    )
    for name in ('background', 'background_rms', 'source', 'detection_probability'):
        assert_array_equal(getattr(bkg, name), getattr(expected, name))
    masks = [b.detection_mask(false_discovery_rate=0.5) for b in (bkg, expected)]
    assert_array_equal(*masks)
    assert masks[0].any()
    assert bkg.meta == expected.meta
    assert bkg.meta['false_discovery']['log_odds_shift'] != 0


def test_detect(scene, weights):
    found = Separator(weights, normalization='global').detect(scene)
    expected = probability_peaks(
        scene.image, scene.mask, weights, normalization='global'
    )
    for name in ('x', 'y', 'score'):
        assert_array_equal(getattr(found, name), getattr(expected, name))
    assert found.log_odds_shift == expected.log_odds_shift != 0


def test_network_runs_once(scene, weights, runs):
    shared = Separator(weights)
    shared.detect(scene)
    for box_size in (32, 16):
        shared.background(scene, box_size).detection_mask()
    assert shared.background(scene, 16) is shared.background(scene, 16)
    assert shared.background(scene) is not shared.background(scene, 16)
    assert runs == ['separate', 'inspect_image']


def test_no_check_without_correction(scene, tiny_weights, runs):
    shared = Separator(load_weights(tiny_weights))
    assert shared.detect(scene).log_odds_shift == 0
    shared.background(scene).detection_mask()
    assert runs == ['separate']


def test_another_scene(scene, weights, runs):
    """Nothing of the last scene is left, and nothing is kept of earlier ones."""
    shared = Separator(weights)
    first = shared.separate(scene).source
    other = make_scene(2)
    assert np.any(shared.separate(other).source != first)
    assert np.any(shared.background(other).source != first)
    assert_array_equal(shared.separate(scene).source, first)
    assert runs == ['separate'] * 3
