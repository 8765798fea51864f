"""A small share of benchmarks/fuzz.py."""

from pathlib import Path
from runpy import run_path

import pytest

SCRIPT = Path(__file__).parents[2] / 'benchmarks' / 'fuzz.py'


@pytest.fixture(scope='module')
def script():
    if not SCRIPT.exists():
        pytest.skip('the benchmarks are not installed')
    return run_path(str(SCRIPT))


@pytest.mark.parametrize(('kind', 'n_cases'), [('fits', 60), ('weights', 60)])
def test_damaged_files(script, tmp_path, kind, n_cases):
    faults = []
    counts = script['run_cases'](kind, range(n_cases), tmp_path, faults.append)
    assert faults == []
    outcomes = dict.fromkeys(('good', 'refused'), 0)
    for (_, outcome), n in counts.items():
        outcomes[outcome] += n
    assert sum(outcomes.values()) == n_cases
    # Most damage is found; what is harmless is not refused.
    assert outcomes['refused'] > n_cases // 10
    assert outcomes['good'] > 2


def test_odd_images(script, tmp_path):
    faults = []
    counts = script['run_cases']('images', range(10), tmp_path, faults.append)
    assert faults == []
    assert sum(counts.values()) == 10


def test_a_fault_is_reported(script, tmp_path, monkeypatch):
    class Broken:
        def __init__(self, folder):
            pass

        def run(self, seed):
            raise KeyError(seed)

    script['KINDS']['broken'] = Broken
    faults = []
    counts = script['run_cases']('broken', [7], tmp_path, faults.append)
    del script['KINDS']['broken']
    assert counts == {('any', 'fault'): 1}
    assert faults[0].startswith('broken 7: Traceback')
    table = script['make_table']({'broken': counts})
    assert table[-1].split() == ['broken', 'all', '1', '0', '0', '1']
