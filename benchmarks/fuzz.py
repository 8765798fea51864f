# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Feed damaged files and odd images to the package: ``python benchmarks/fuzz.py``.

Each case has a kind and a seed, which give it again. A case is *good* if it gives a
result that keeps its promises, *refused* if it ends in one line that names the file or
the parameter, and a *fault* otherwise: another exception or warning, a hang, a file
left behind, a promise that is broken.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch
from astropy import log
from fuzzing.fits_files import FitsCases
from fuzzing.images import ImageCases
from fuzzing.judge import make_table, run_cases
from fuzzing.weights import WeightsCases

# Cases of a kind before those of the next.
CHUNK = 50
KINDS = {'fits': FitsCases, 'weights': WeightsCases, 'images': ImageCases}


def main(argv=None):
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('kinds', nargs='*', default=list(KINDS), help='default: all')
    parser.add_argument('--cases', type=int, default=1000, help='of each kind')
    parser.add_argument('--seed', type=int, default=0, help='that of the first case')
    parser.add_argument('--memory', type=float, default=8, help='limit in GiB')
    parser.add_argument(
        '--table',
        type=Path,
        help='file to write the table to, often; the same command again goes on from '
        'where it was stopped (FILE.json)',
    )
    options = parser.parse_args(argv)
    if unknown := set(options.kinds) - set(KINDS):
        parser.error(f'no such kind: {", ".join(unknown)}')
    limit_process(options.memory)
    campaign = _Campaign(options)
    for start in range(campaign.next, options.seed + options.cases, CHUNK):
        campaign.run(range(start, min(start + CHUNK, options.seed + options.cases)))
    print('\n'.join(make_table(campaign.counts)))
    return int(any(end == 'fault' for of in campaign.counts.values() for _, end in of))


def limit_process(memory):
    """Take one thread, so many GiB, and no messages."""
    torch.set_num_threads(1)
    log.setLevel('ERROR')
    limit = int(memory * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


class _Campaign:
    """Cases that have been run, and their count on the disk."""

    def __init__(self, options):
        self.kinds, self.table, self.seconds = options.kinds, options.table, 0.0
        self.next = options.seed
        self.counts = {kind: Counter() for kind in options.kinds}
        if self.table is None:
            return
        self.state = self.table.with_suffix(self.table.suffix + '.json')
        if self.state.exists():
            state = json.loads(self.state.read_text())
            self.next, self.seconds = state['next'], state['seconds']
            for kind, items in state['counts'].items():
                self.counts[kind] = Counter({(what, end): n for what, end, n in items})

    def run(self, seeds):
        """Run the cases of some seeds of all kinds."""
        start = time.process_time()
        for kind in self.kinds:
            with tempfile.TemporaryDirectory() as folder:
                cases = KINDS[kind](Path(folder))
                counts = run_cases(kind, cases, seeds, folder, report=print)
            self.counts[kind] += counts
            sys.stdout.flush()
        self.next, self.seconds = (
            seeds.stop,
            self.seconds + time.process_time() - start,
        )
        if self.table is not None:
            self._write()

    def _write(self):
        lines = [*make_table(self.counts), f'{self.seconds:.0f} s of one processor']
        self.table.write_text('\n'.join(lines) + '\n')
        counts = {
            kind: [[what, end, n] for (what, end), n in of_kind.items()]
            for kind, of_kind in self.counts.items()
        }
        state = {'next': self.next, 'seconds': self.seconds, 'counts': counts}
        self.state.write_text(json.dumps(state))


if __name__ == '__main__':
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    sys.exit(main())
