"""A small share of benchmarks/fuzz.py."""

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / 'benchmarks'


@pytest.fixture(scope='module')
def driver():
    if not BENCHMARKS.exists():
        pytest.skip('the benchmarks are not installed')
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import fuzz

        yield fuzz


def run(driver, kind, seeds, folder):
    faults = []
    cases = driver.KINDS[kind](folder)
    counts = driver.run_cases(kind, cases, seeds, folder, faults.append)
    assert faults == []
    return {end: counts['all', end] for end in ('good', 'refused')}


@pytest.mark.parametrize(('kind', 'n_cases'), [('fits', 60), ('weights', 60)])
def test_damaged_files(driver, tmp_path, kind, n_cases):
    outcomes = run(driver, kind, range(n_cases), tmp_path)
    assert sum(outcomes.values()) == n_cases
    # Most damage is found; what is harmless is not refused.
    assert outcomes['refused'] > n_cases // 10
    assert outcomes['good'] > 2


def test_odd_images(driver, tmp_path):
    outcomes = run(driver, 'images', range(25), tmp_path)
    assert sum(outcomes.values()) == 25
    assert outcomes['good'] > 12


class Broken:
    def run(self, seed):
        raise KeyError(seed)


def test_a_fault_is_reported(driver, tmp_path):
    faults = []
    counts = driver.run_cases('broken', Broken(), [7], tmp_path, faults.append)
    assert counts == {('all', 'fault'): 1}
    assert faults[0].startswith('broken 7: Traceback')
    assert 'again: python benchmarks/fuzz.py broken --cases 1 --seed 7' in faults[0]
    table = driver.make_table({'broken': counts})
    assert table[-1].split() == ['broken', 'all', '1', '0', '0', '1']


def test_a_campaign_goes_on(driver, tmp_path, monkeypatch):
    """The same command again runs what is left, and the table counts all."""
    seen = []

    class Cases:
        def __init__(self, folder):
            pass

        def run(self, seed):
            seen.append(seed)
            return ['a kind'], 'good'

    monkeypatch.setitem(driver.KINDS, 'weights', Cases)
    # The limits of a process that does nothing else.
    monkeypatch.setattr(driver, 'limit_process', lambda memory: None)
    table = tmp_path / 'table'
    options = ['weights', '--seed', '5', '--table', str(table)]
    assert driver.main([*options, '--cases', '70']) == 0
    assert driver.main([*options, '--cases', '130']) == 0
    assert seen == list(range(5, 135))
    rows = [line.split() for line in table.read_text().splitlines()]
    assert rows[1] == ['weights', 'a', 'kind', '130', '130', '0', '0']
    assert rows[2] == ['weights', 'all', '130', '130', '0', '0']
