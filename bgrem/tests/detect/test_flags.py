"""Tests of bgrem.detect.flags."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from photutils.segmentation import SegmentationImage

from bgrem import decode_detection_flags
from bgrem.detect.flags import DETECTION_FLAGS, detection_flags
from bgrem.detect.positions import Positions

SHAPE = (60, 60)
PLACES = [(10, 10), (10, 30), (30, 10), (30, 30), (30, 37)]
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]


def disk(y, x, radius):
    return np.hypot(Y - y, X - x) < radius


@pytest.fixture
def inputs():
    """Five discs, the last two of which touch."""
    labels = np.zeros(SHAPE, dtype=int)
    for label, (y, x) in enumerate(PLACES, start=1):
        labels[disk(y, x, 4)] = label
    source = sum(np.exp(-((Y - y) ** 2 + (X - x) ** 2) / 4) for y, x in PLACES)
    positions = Positions(
        position=np.array([(x, y) for y, x in PLACES], dtype=float),
        error=np.full((5, 2), 0.1),
        core_fwhm=np.full(5, 3.0),
        probability=np.full(5, 0.9, dtype=np.float32),
        has_peak=np.ones(5, dtype=bool),
        is_windowed=np.ones(5, dtype=bool),
        width=3.0,
    )
    return {
        'segmentation_image': SegmentationImage(labels),
        'positions': positions,
        'data': 100 * source,
        'source': source,
        'noise': np.ones(SHAPE),
        'unusable': np.zeros(SHAPE, dtype=bool),
        'kron_flux': np.ones(5),
    }


def names(inputs):
    return decode_detection_flags(detection_flags(**inputs))


def test_nothing_but_blended(inputs):
    assert names(inputs) == [[], [], [], ['blended'], ['blended']]


@pytest.mark.parametrize('n_rows', [1, 34, 35])
def test_blended_across_bands(inputs, monkeypatch, n_rows):
    """It does not matter where the bands end in which borders are looked for."""
    monkeypatch.setattr('bgrem.detect.flags._ROWS', n_rows)
    labels = inputs['segmentation_image'].data.T.copy()
    labels[33, 30], labels[34, 30] = 4, 5
    inputs['segmentation_image'] = SegmentationImage(labels)
    assert [number for number, one in enumerate(names(inputs)) if 'blended' in one] == [
        3,
        4,
    ]


def test_saturated(inputs):
    """A plateau in a bright core; or what the caller says."""
    data = inputs['data']
    inputs['data'] = np.where(disk(10, 10, 2), 90.0, data)
    # as broad as a plateau, and no plateau
    inputs['data'] = np.where(
        disk(10, 30, 4), 90 - 0.5 * np.hypot(Y - 10, X - 30), inputs['data']
    )
    # counts, of which many are equal
    inputs['data'] = np.where(disk(30, 10, 4), 3.0, inputs['data'])
    assert [n for n in names(inputs) if 'saturated' in n] == [['saturated']]
    assert names(inputs)[0] == ['saturated']
    assert names({**inputs, 'saturated': disk(30, 10, 1)})[2] == ['saturated']
    assert names({**inputs, 'saturated': disk(50, 50, 1)})[0] == []


def test_border(inputs):
    labels = inputs['segmentation_image'].data
    labels[:14, 10] = 1
    inputs['segmentation_image'] = SegmentationImage(labels)
    assert names(inputs)[0] == ['touches_border']
    assert names(inputs)[1] == []


@pytest.mark.parametrize('place', [(10, 31), (10, 34)])
def test_masked_pixels(inputs, place):
    """In the segment, or beside it."""
    inputs['unusable'][place] = True
    assert names(inputs)[1] == ['masked_pixels']
    assert names(inputs)[0] == []


def test_position(inputs):
    has_peak = np.array([True, False, True, True, True])
    is_windowed = np.array([True, False, False, True, True])
    inputs['positions'] = replace(
        inputs['positions'], has_peak=has_peak, is_windowed=is_windowed
    )
    assert names(inputs)[:3] == [
        [],
        ['window_fallback', 'no_peak'],
        ['window_fallback'],
    ]


def test_flux(inputs):
    inputs['kron_flux'] = np.array([0.0, -1.0, np.nan, 1.0, 1.0])
    assert names(inputs)[:3] == [['nonpositive_flux']] * 3
    assert 'nonpositive_flux' not in names(inputs)[3]


def test_large_sources(inputs):
    """The one with most of the light is the large source, the others lie on it."""
    inputs['source'] = inputs['source'] * (1 + 9 * disk(30, 30, 3))
    inputs['large'] = disk(30, 33, 12)
    assert names(inputs) == [
        [],
        [],
        [],
        ['blended', 'sky_interpolated'],
        ['blended', 'on_large_source', 'sky_interpolated'],
    ]


def test_trails(inputs):
    """What a trail crosses, not what it passes by."""
    inputs['trails'] = np.abs(Y - 12) < 2
    crossed = ['on_trail' in one for one in names(inputs)]
    labels = inputs['segmentation_image'].data
    expected = [(labels[11:14] == label).any() for label in range(1, 6)]
    assert any(expected)
    assert not all(expected)
    assert crossed == expected
    inputs['trails'] = np.zeros(SHAPE, dtype=bool)
    assert not any('on_trail' in one for one in names(inputs))


def test_probability(inputs):
    """Where the correction matters: that of a sure source does not change."""
    probability = np.array([0.5, 0.9999, 0.5, 0.5, 0.5], dtype=np.float32)
    inputs['positions'] = replace(inputs['positions'], probability=probability)
    for shift in (-0.5, 0.5):
        found = names({**inputs, 'log_odds_shift': shift})
        assert found[:2] == [['probability_corrected'], []]


class TestDecode:
    def test_all_bits(self):
        values = [value for value, _ in DETECTION_FLAGS.values()]
        assert values == [2**k for k in range(len(values))]
        assert decode_detection_flags(sum(values)) == list(DETECTION_FLAGS)
        assert decode_detection_flags(sum(values), return_bit_values=True) == values

    def test_shapes(self):
        assert decode_detection_flags(0) == []
        assert decode_detection_flags(np.int64(3)) == ['saturated', 'touches_border']
        nested = decode_detection_flags([[0, 1], [2, 8]])
        assert nested == [[[], ['saturated']], [['touches_border'], ['blended']]]
        assert decode_detection_flags([]) == []

    def test_bad_values(self):
        with pytest.raises(TypeError, match='flags must be integers, got dtype float'):
            decode_detection_flags(1.0)
        for value in (-1, 2048):
            with pytest.raises(ValueError, match='flags must be between 0 and 2047'):
                decode_detection_flags([1, value])


def test_array_is_not_changed(inputs):
    copies = {k: np.copy(v) for k, v in inputs.items() if isinstance(v, np.ndarray)}
    detection_flags(**inputs)
    for name, values in copies.items():
        assert_array_equal(inputs[name], values)
