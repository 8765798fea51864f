"""Tests of bgrem.train.processes: two processes of a CPU train together."""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from numpy.testing import assert_allclose

from bgrem.tests.train import conftest as tiny
from bgrem.train import loop
from bgrem.train.processes import Processes

# What each process does: two steps, of which the gradients are kept.
SCRIPT = """
import sys
from pathlib import Path

from bgrem.tests.train.test_processes import take_steps

take_steps(Path(sys.argv[1]))
"""
N_STEPS = 2


def take_steps(folder, rank=None):
    """Take steps in this process; as that of a rank if the others are not there."""
    torch.set_num_threads(1)
    loop.Validation = tiny.FlatValidation
    run = loop._Run(CONFIG, folder, torch.device('cpu'), 1, None)
    if rank is not None:
        run.processes.rank = rank
    gradients = []
    for _ in range(N_STEPS if rank is None else 1):
        run._train_step()
        gradients.append([one.grad.clone() for one in run.network.parameters()])
        run.step += 1
    rank = run.processes.rank
    torch.save(
        {'gradients': gradients, 'weights': run.network.state_dict()},
        folder / f'{rank}.pt',
    )
    run.processes.close()


CONFIG = replace(tiny.CONFIG, clip=1e9)


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason='no torch.distributed')
def test_gradients_are_those_of_both_batches(folder):
    """As torchrun starts them, two processes do what one does with both batches."""
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        port = one.getsockname()[1]
    started = [
        subprocess.Popen(
            [sys.executable, '-c', SCRIPT, str(folder)],
            env={
                **os.environ,
                'PYTHONPATH': os.pathsep.join(map(str, _paths())),
                'RANK': str(rank),
                'LOCAL_RANK': str(rank),
                'WORLD_SIZE': '2',
                'MASTER_ADDR': '127.0.0.1',
                'MASTER_PORT': str(port),
            },
        )
        for rank in (0, 1)
    ]
    try:
        assert [one.wait(timeout=300) for one in started] == [0, 0]
    finally:
        for one in started:
            one.kill()
    both = [torch.load(folder / f'{rank}.pt') for rank in (0, 1)]
    # they learn the same, and stay the same
    for name, value in both[0]['weights'].items():
        torch.testing.assert_close(value, both[1]['weights'][name], rtol=0, atol=0)
    alone = []
    for rank in (0, 1):
        take_steps(folder, rank)
        alone.append(torch.load(folder / f'{rank}.pt')['gradients'][0])
    differ = False
    for found, *apart in zip(both[0]['gradients'][0], *alone, strict=True):
        expected = (apart[0] + apart[1]) / 2
        assert_allclose(found, expected, atol=1e-6 + 1e-4 * expected.abs().max())
        differ |= not torch.allclose(*apart, rtol=0.01)
    assert differ  # each has scenes of its own


def _paths():
    import bgrem

    return Path(bgrem.__file__).parents[1], *sys.path


@pytest.mark.parametrize('rank', [None, '3'])
def test_one_process_alone(rank, monkeypatch):
    """Whatever number a scheduler has given it: nobody else would write."""
    if rank is not None:
        monkeypatch.setenv('RANK', rank)
    processes = Processes(torch.device('cpu'))
    network = torch.nn.Linear(2, 1)
    assert processes.wrap(network) is network
    assert (processes.mean(0.5), processes.of_first(3)) == (0.5, 3)
    assert processes.is_first
    with processes.first_alone():
        done = True
    processes.close()
    assert done
