"""Tests of the tables of all suites."""

import pytest

from bgrem.evaluate.gamma.tables import (
    completeness_table,
    diffuse_table,
    flux_table,
    means_table,
)
from bgrem.evaluate.report import markdown_report
from bgrem.evaluate.tables import (
    best_peer,
    detection_table,
    injection_table,
    noise_table,
    profile_table,
    promise_table,
    ratios,
    segmentation_table,
    sensitivity_table,
    sky_table,
    snr_range,
)
from bgrem.evaluate.wild.tables import (
    catalog_table,
    failure_table,
    level_table,
    warning_table,
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


def test_profiles():
    """A ring without pixels has a dash."""
    profile = {'radius': [0.5, 2], 'bias': [-0.01, None], 'light_kept': [0.987, None]}
    part = {'bgrem': {'profiles': {'star': profile}}}
    header, rows = profile_table({'flat': part})
    assert header[-2:] == ['0.5', '2']
    assert rows == [
        ['flat', 'star', 'sky bias (sigma)', '-0.010', '-'],
        ['', '', 'light kept', '0.99', '-'],
    ]


def test_segments():
    keys = ('f_score', 'area_score', 'combined_a', 'combined_b', 'under_merging')
    scores = {key: 0.1 * n for n, key in enumerate((*keys, 'over_merging'))}
    header, rows = segmentation_table({'flat': {'bgrem': scores, 'photutils': scores}})
    assert [row[:2] for row in rows] == [['flat', 'bgrem'], ['flat', 'photutils']]
    named = dict(zip(header, rows[0], strict=True))
    assert named['F-score'] == '0.000'
    assert named['combined B'] == '0.300'
    assert named['over-merging'] == '0.500'


def test_sensitivity():
    row = {'value': 3, 'mean_absolute_error': 0.25, 'probability': 7, 'denoised': 5}
    part = {'steps': [row], 'factors': [{**row, 'value': 0.5}]}
    _, rows = sensitivity_table({'flat': part})
    assert rows == [
        ['flat', 'number of steps', '3', '0.2500', 7, 5],
        ['flat', 'factor', '0.5', '0.2500', 7, 5],
    ]


def make_catalog(**changes):
    names = ('silent, held', 'silent, broken', 'warns, held', 'warns, broken')
    names += ('n_needs_options', 'n_failed', 'n_true', 'n_found', 'n_false')
    names += ('n_chance', 'n_bright', 'n_bright_found')
    part = dict.fromkeys(names, 0) | {'false_fraction': None, 'first_error': None}
    return part | changes


class TestWild:
    def test_catalog(self):
        """Where nothing was kept there is no fraction; nor a ratio without a grid."""
        some = make_catalog(
            n_found=8, n_false=2, false_fraction=0.2, n_native=16, n_true=9
        )
        parts = {'gaps': make_catalog(), 'drizzled_3': some}
        header, rows = catalog_table(parts)
        none, some = (dict(zip(header, row, strict=True)) for row in rows)
        assert (none['false fraction'], none['found / native']) == ('-', '-')
        assert (some['false fraction'], some['native grid']) == ('20.0%', '16')
        assert some['found / native'] == '0.50'
        # a native grid on which nothing is found is no divisor
        (row,) = catalog_table({'a': make_catalog(n_native=0)})[1]
        assert row[-2:] == ['0', '-']

    def test_warnings_add_up(self):
        parts = {
            'a': make_catalog(n_failed=1, **{'silent, held': 3, 'warns, broken': 2}),
            'b': make_catalog(n_failed=2, **{'silent, held': 4, 'warns, held': 1}),
        }
        header, rows = warning_table(parts)
        assert rows[-1] == ['all', 7, 0, 1, 2, 0, 3]
        assert len(header) == len(rows[0]) == 7
        # of one family there is no sum
        assert len(warning_table({'a': parts['a']})[1]) == 1

    def test_levels(self):
        names = ('level', 'worst_level', 'parent', 'pull', 'lowest_sky', 'source_light')
        part = dict.fromkeys(names) | {'level': 1.02345, 'lowest_sky': 12345.6}
        _, rows = level_table({'a': part})
        assert rows == [['a', '1.023', '-', '-', '-', '1.235e+04', '-']]

    def test_failures(self):
        """A message breaks no table, however long it is and whatever is in it."""
        sky = {'n_failed': 2, 'first_error': 'ValueError: a | b\n  c'}
        fine = {'n_failed': 0, 'first_error': None}
        boxes = {'by itself': sky, 'bgrem given': fine, 'Background2D given': fine}
        catalog = make_catalog(n_failed=1, n_needs_options=2, first_error=300 * 'x')
        families = {'gaps': {'boxes': boxes, 'catalog': catalog}, 'islands': {}}
        _, rows = failure_table(families)
        assert rows[0] == ['gaps', 'sky, by itself', 2, 'ValueError: a / b c']
        assert rows[1] == ['gaps', 'detection', 3, 160 * 'x']
        assert len(rows) == 2


class TestGamma:
    def test_means(self):
        """Too few scenes for a line have no row."""
        line = {'slope': 0.98, 'intercept': 0.001, 'ratios': [0.5, 1, 2]}
        line |= {'mae': 0.1, 'mse': 12345.0}
        header, rows = means_table({'high': {'a': line, 'b': None}})
        expected = ['0.980', '0.001', '0.500', '1.000', '2.000', '0.100', '1.234e+04']
        assert rows == [['high', 'a', *expected]]
        assert len(header) == len(rows[0])

    def test_skies_of_some_families(self):
        one = {'rms': 0.05, 'bias': -0.01, 'worst': 1.0}
        header, rows = diffuse_table({'high': {'a': one}, 'plane': {'b': one}})
        assert header == ['family', 'a: rms (mean)', 'b: rms (mean)']
        assert rows == [
            ['high', '0.050 (-0.010)', '-'],
            ['plane', '-', '0.050 (-0.010)'],
        ]

    def test_fluxes(self):
        """Bins of a source or two have no row, those without a pull a dash."""
        bins = [
            {'low': 3, 'high': 5, 'n': 2},
            {'low': 5, 'high': 10, 'n': 4, 'bias': 0.1, 'median': -0.1,
             'pull_mean': 0.25, 'pull_width': 1.5},
            {'low': 10, 'high': None, 'n': 3, 'bias': 0.0, 'median': 0.0},
        ]  # fmt: skip
        _, rows = flux_table({'high': {'a': bins}})
        assert [row[2] for row in rows] == ['5-10', '> 10']
        assert rows[0][3:] == [4, '+0.100', '-0.100', '+0.25', '1.50']
        assert rows[1][-2:] == ['-', '-']

    def test_completeness(self):
        bins = [{'low': 1e-10, 'high': 2e-10, 'n_found': 3, 'n_true': 4}]
        parts = {'bins': bins, 'purity': None}, {'bins': bins, 'purity': 0.951}
        header, rows = completeness_table({'high': dict(zip('ab', parts, strict=True))})
        assert header == ['family', 'weights', '1e-10-2e-10', 'purity']
        assert [row[2:] for row in rows] == [['3 / 4', '-'], ['3 / 4', '0.951']]
