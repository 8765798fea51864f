"""Tests of what a process does with the memory that it has freed."""

import os
import platform
import subprocess
import sys

import pytest

from bgrem.denoise.memory import keep_freed_memory

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != 'glibc',
    reason='the C library is not glibc',
)

# how often the system has to give a page while 10 MB come and go a hundred times
FAULTS = """
import resource
import sys
from bgrem.denoise.memory import keep_freed_memory

changed = keep_freed_memory() if sys.argv[1] == 'keep' else None

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

bytes(10**7)
before = faults()
for _ in range(100):
    bytearray(b'1') * 10**7
print(changed, faults() - before)
"""


def run(threshold, what):
    environment = {**os.environ, 'MALLOC_TRIM_THRESHOLD_': threshold}
    done = subprocess.run(
        [sys.executable, '-c', FAULTS, what],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    changed, n_faults = done.stdout.split()
    return changed, int(n_faults)


def test_a_worker_keeps_what_it_frees():
    pages = 10**7 / os.sysconf('SC_PAGE_SIZE')
    assert run('65536', 'leave')[1] > 50 * pages
    changed, n_faults = run('65536', 'keep')
    assert changed == 'True'
    assert n_faults < 5 * pages


def test_what_somebody_chose_stays():
    assert run('100000', 'keep')[0] == 'False'


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('MALLOC_MMAP_THRESHOLD_', '1000000'),
        ('GLIBC_TUNABLES', 'glibc.malloc.mmap_threshold=1000000'),
    ],
)
def test_what_somebody_chose_beside_it_stays(name, value, monkeypatch):
    monkeypatch.setenv('MALLOC_TRIM_THRESHOLD_', '65536')
    monkeypatch.setenv(name, value)
    assert keep_freed_memory.__wrapped__() is False


def test_no_worker(monkeypatch):
    monkeypatch.delenv('MALLOC_TRIM_THRESHOLD_', raising=False)
    assert keep_freed_memory.__wrapped__() is False
