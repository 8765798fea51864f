"""Tests of the tables of the suite ``optical``."""

import pytest

from bgrem.evaluate.report import markdown_report
from bgrem.evaluate.tables import (
    best_peer,
    detection_table,
    injection_table,
    noise_table,
    promise_table,
    ratios,
    sky_table,
    snr_range,
)

FOUND = {'ours': [5, 9], 'a': [1, 8], 'b': [4, 2], 'oracle': [50, 90]}


def test_best_peer():
    """Another one at each contamination; neither ours nor the oracle."""
    assert best_peer(FOUND, ['ours']) == [4, 8]
    assert best_peer(FOUND, ['ours', 'b']) == [1, 8]
    assert best_peer(FOUND, []) == [5, 9]
    assert best_peer(FOUND, ['ours', 'a', 'b']) == []


def test_ratios():
    assert ratios([5, 9], [4, 0]) == ['1.25', '-']
    assert ratios([0], [3]) == ['0.00']
    assert ratios(range(1, 9), range(1, 9)) == ['1.00'] * 8
    with pytest.raises(ValueError, match='argument 2 is shorter'):
        ratios([1, 2], [1])


@pytest.mark.parametrize(
    ('low', 'high', 'name'), [(3.0, 5.0, '3-5'), (2.5, 9, '2.5-9'), (20, None, '> 20')]
)
def test_snr_range(low, high, name):
    assert snr_range({'snr_low': low, 'snr_high': high}) == name


def make_detection(found, promised=()):
    methods = {
        name: {'true_positives': counts, 'megapixels_per_second': 1.5}
        for name, counts in found.items()
    }
    methods['ours']['false_discovery'] = [
        {'promised': rate, 'observed': observed} for rate, observed in promised
    ]
    return {'methods': methods, 'n_true': 100}


def test_detection():
    parts = {'flat': make_detection(FOUND), 'crowded': make_detection(FOUND)}
    header, rows = detection_table(parts, [0.01, 0.1], ['ours'])
    assert header == ['family', 'method', '1%', '10%', 'Mpix/s']
    assert [len(row) for row in rows] == [5] * 12
    assert rows[0] == ['flat (100 true)', 'ours', 5, 9, '1.50']
    # named once, where it begins
    assert [row[0] for row in rows].count('') == 10
    assert rows[4] == ['', 'ours / best peer', '1.25', '1.12', '']
    assert rows[5] == ['', 'ours / oracle', '0.10', '0.10', '']
    assert rows[6][0] == 'crowded (100 true)'


def test_detection_alone():
    """Without peers there is nothing to compare with."""
    _, rows = detection_table({'flat': make_detection({'ours': [3]})}, [0.05], ['ours'])
    assert rows == [['flat (100 true)', 'ours', 3, '1.50']]


def test_promise():
    part = make_detection(FOUND, [(0.05, 0.0345), (0.2, None)])
    header, rows = promise_table({'flat': part}, ['ours', 'others', 'a'])
    assert header == ['family', 'weights', '5%', '20%']
    assert rows == [['flat', 'ours', '3.5%', '-']]


def test_sky():
    """With the best box of a method stands its size."""
    part = {'box auto': {'rms': 0.0123}, 'best': {'rms': 0.5, 'box_size': 64}}
    header, rows = sky_table({'flat': part})
    assert header == ['family', 'box auto', 'best (box)']
    assert rows == [['flat', '0.012', '0.500 (64)']]


def test_noise():
    alarms = {'white': 0.0, 'correlated': 1.234}
    header, rows = noise_table({'a': alarms, 'b': alarms})
    assert header == ['weights', 'white', 'correlated']
    assert rows == [[name, '0.00', '1.23'] for name in 'ab']


def test_injections():
    bins = [
        {'snr_low': 3, 'snr_high': 5, 'completeness': 0.5},
        {'snr_low': 5, 'snr_high': None, 'completeness': 1.0},
    ]
    method = {'bins': bins, 'false_alarms': 2, 'detections': 7}
    part = {'noise_megapixels': 0.25, 'methods': {'ours': method, 'sep': method}}
    header, rows = injection_table({'ntt': part})
    assert header[-2:] == ['S/N 3-5', 'S/N > 5']
    assert [row[0] for row in rows] == ['ntt (0.25 Mpix of noise)', '']
    assert all(row[2:] == [2, 7, '0.50', '1.00'] for row in rows)


def test_report_has_what_was_measured_and_no_more():
    """Each table is as wide as its header, and no heading is without a table."""
    results = {
        'suite': 'optical',
        'weights': {'ours': 'abc'},
        'contaminations': [0.01, 0.1],
        'families': {'flat': {'detection': make_detection(FOUND, [(0.05, 0.04)])}},
        'noise_false_alarms': {'ours': {'white': 0.0}},
    }
    report = markdown_report(results)
    assert report.count('## ') == 3
    assert 'sha256 abc' in report
    for table in report.split('## ')[1:]:
        lines = [line for line in table.splitlines() if line.startswith('|')]
        assert len(lines) >= 3
        assert len({line.count('|') for line in lines}) == 1
    del results['noise_false_alarms'], results['families']['flat']
    assert '## ' not in markdown_report(results)
