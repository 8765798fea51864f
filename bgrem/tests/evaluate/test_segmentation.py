"""Tests of bgrem.evaluate.segmentation."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from bgrem.evaluate import segmentation
from bgrem.evaluate.scenes import Scene
from bgrem.evaluate.segmentation import (
    SegmentationSurvey,
    area_score,
    combined_scores,
    detection_counts,
    f_score,
    merging_errors,
    true_segments,
)
from bgrem.evaluate.separator import Separator
from bgrem.pipeline import Separation
from bgrem.sky.normalization import Normalization
from bgrem.weights import load_weights

SHAPE = (10, 20)


@pytest.fixture
def truth():
    """Two squares of 16 pixels, the first one brighter."""
    labels = np.zeros(SHAPE, int)
    labels[3:7, 2:6], labels[3:7, 10:14] = 1, 2
    return labels


@pytest.fixture
def image():
    image = np.zeros(SHAPE)
    image[4, 3], image[5, 12] = 9, 5
    return image


def test_perfect(truth, image):
    # whatever the numbers of the labels
    segments = np.array([0, 7, 3])[truth]
    assert detection_counts(truth, segments, image) == (2, 0, 0)
    assert f_score(2, 0, 0) == 1
    assert merging_errors(truth, segments) == (0, 0)
    assert area_score(0, 0) == 1
    assert_allclose(combined_scores(1, 0, 0), [np.sqrt(2), 1])


def test_nothing_found(truth, image):
    segments = np.zeros_like(truth)
    assert detection_counts(truth, segments, image) == (0, 0, 2)
    assert f_score(0, 0, 2) == 0
    under, over = merging_errors(truth, segments)
    # the sky is whole, but holds both sources: 168 of its 200 pixels are right
    assert under == 0
    expected = (200 - 168) * 168 / 200 + 2 * (200 - 16) * 16 / 200
    assert_allclose(over, expected / 200)
    assert combined_scores(0, under, over)[1] == 0


def test_nothing_there(image):
    empty = np.zeros(SHAPE, int)
    assert detection_counts(empty, empty, image) == (0, 0, 0)
    assert f_score(0, 0, 0) == 0
    assert merging_errors(empty, empty) == (0, 0)


def test_split(truth, image):
    """Half a square found as another segment is under-merging alone."""
    segments = truth.copy()
    segments[5:7, 2:6] = 3
    assert detection_counts(truth, segments, image) == (2, 1, 0)
    under, over = merging_errors(truth, segments)
    assert_allclose(under, 2 * (16 - 8) * 8 / 16 / 200)
    assert over == 0
    # exchanged, it is over-merging
    assert merging_errors(segments, truth) == (over, under)


def test_merged(truth, image):
    """One segment over both: it is the brighter source."""
    segments = (truth > 0).astype(int)
    assert detection_counts(truth, segments, image) == (1, 0, 1)
    under, over = merging_errors(truth, segments)
    assert_allclose([under, over], [(16 - 16) / 200, 2 * (32 - 16) * 16 / 32 / 200])


def test_false_segment(truth, image):
    segments = truth.copy()
    segments[0, 18] = 3
    assert detection_counts(truth, segments, image) == (2, 1, 0)
    assert_allclose(f_score(2, 1, 0), 2 * (2 / 3) / (2 / 3 + 1))


def test_scores_by_hand():
    assert_allclose(area_score(0.3, 0.4), 0.5)
    assert_allclose(combined_scores(0.5, 0.3, 0.4), [np.sqrt(0.5), 0.21 ** (1 / 3)])


def test_shapes_must_agree(truth, image):
    with pytest.raises(ValueError, match='must have the same shape, got'):
        detection_counts(truth, truth[1:], image)
    with pytest.raises(ValueError, match='must have the same shape, got'):
        merging_errors(truth, truth[1:])


@pytest.fixture(params=[0, 1])
def drawn(request):
    """Two segmentations of noise that have to do with each other."""
    rng = np.random.default_rng(request.param)
    image = ndimage.gaussian_filter(rng.normal(size=(40, 50)), 2)
    other = image + 0.5 * ndimage.gaussian_filter(rng.normal(size=(40, 50)), 2)
    truth, segments = (ndimage.label(one > 0.05)[0] for one in (image, other))
    return truth, segments, image


def test_scores_do_not_depend_on_labels_or_direction(drawn):
    truth, segments, image = drawn
    counts, errors = detection_counts(*drawn), merging_errors(truth, segments)
    rng = np.random.default_rng(5)
    new = [
        np.append(0, 10 + rng.permutation(one.max()))[one] for one in (truth, segments)
    ]
    for turn in (lambda one: one, np.transpose, np.flipud, np.rot90):
        turned = [turn(one) for one in (*new, image)]
        assert detection_counts(*turned) == counts
        assert_allclose(merging_errors(*turned[:2]), errors)
    assert counts[0] > 3
    assert counts[0] + counts[2] == len(np.unique(truth)) - 1
    assert counts[0] + counts[1] == len(np.unique(segments)) - 1
    # brightness in another unit
    assert detection_counts(truth, segments, 4 * image - 3) == counts


def test_ranges_of_the_scores(drawn):
    truth, segments, _ = drawn
    under, over = merging_errors(truth, segments)
    assert_allclose(merging_errors(segments, truth), (over, under))
    assert 0 < min(under, over) <= max(under, over) < 1
    precision, recall = 3 / 7, 3 / 8
    f = f_score(3, 4, 5)
    assert_allclose(f, 2 * precision * recall / (precision + recall))
    assert 0 < area_score(under, over) < 1 - max(under, over)
    combined_a, combined_b = combined_scores(f, under, over)
    assert f < combined_a < np.sqrt(2)
    assert 0 < combined_b < 1
    better = combined_scores(f, under / 2, over / 2)
    assert better[0] > combined_a
    assert better[1] > combined_b


@pytest.fixture
def scene():
    """Two touching stars, one that is too faint to count, and a hole."""
    y, x = np.mgrid[:64, :64]
    catalog = {
        'x': np.array([20.0, 28.0, 50.0]),
        'y': np.array([32.0, 32.0, 50.0]),
        'flux': np.array([4000.0, 2000.0, 5.0]),
        'snr': np.array([100.0, 50.0, 1.0]),
    }
    source = sum(
        flux * np.exp(-((y - y0) ** 2 + (x - x0) ** 2) / 8) / (8 * np.pi)
        for x0, y0, flux in zip(
            catalog['x'], catalog['y'], catalog['flux'], strict=True
        )
    )
    mask = np.zeros((64, 64), bool)
    mask[:30] = True
    noise = np.random.default_rng(1).normal(size=mask.shape)
    return Scene(
        image=np.where(mask, 0, 10 + source + noise),
        source=source,
        sky=np.full(mask.shape, 10.0),
        sigma=np.ones(mask.shape),
        mask=mask,
        psf=None,
        fwhm=2 * 2.3548,
        catalog=catalog,
    )


def test_true_segments(scene):
    labels = true_segments(scene)
    assert_array_equal(np.unique(labels), [0, 1, 2])
    assert labels[32, 20] == 1
    assert labels[32, 28] == 2
    # the border runs where the light is least
    assert_array_equal(labels[32, 14:34], np.repeat([1, 2], [11, 9])[:20])
    assert not labels[scene.mask].any()
    lit = (scene.source > 0.1) & ~scene.mask
    assert np.all(labels[lit & (np.arange(64) < 40)] > 0)
    assert not labels[~lit].any()


class PerfectSeparator(Separator):
    """It knows the truth of the scene."""

    def separate(self, scene):
        probability = np.full(scene.image.shape, 1e-4, dtype=np.float32)
        probability[32, [20, 28]] = 0.99
        meta = {
            'weights': 'perfect',
            'n_steps': 1,
            'normalization': 'local',
            'binning': 1,
        }
        source = np.where(scene.mask, 0, scene.source)
        return Separation(
            source, probability, Normalization(scene.sky, scene.sigma), meta
        )


def test_survey(scene, tiny_weights):
    """Segments made of the truth itself find both stars."""
    survey = SegmentationSurvey(PerfectSeparator(load_weights(tiny_weights)))
    survey.add(scene)
    result = survey.result()
    assert list(result) == ['bgrem', 'bgrem, 20%', 'photutils']
    ours = result['bgrem']
    assert ours['n_true_positive'] == 2
    assert ours['n_false_positive'] == ours['n_false_negative'] == 0
    assert ours['f_score'] == 1
    assert 0.9 < ours['area_score'] < 1
    expected = combined_scores(1.0, ours['under_merging'], ours['over_merging'])
    assert_allclose([ours['combined_a'], ours['combined_b']], expected)


def test_survey_without_detections(scene, monkeypatch):
    blind = SimpleNamespace(detect=lambda **_: None)
    monkeypatch.setattr(segmentation, 'photutils_segments', lambda _: None)
    survey = SegmentationSurvey(SimpleNamespace(background=lambda _: blind))
    survey.add(scene)
    for score in survey.result().values():
        assert score['f_score'] == 0
        assert score['n_false_negative'] == 2
