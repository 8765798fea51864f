"""
The processes that train a network together.
"""

import os
from contextlib import contextmanager

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

__all__ = ['Processes']


class Processes:
    """
    The processes of one training: this one alone, or all that ``torchrun`` started.

    Parameters
    ----------
    device : `torch.device`
        The device of this process; if there are several GPUs, each process has its own.

    Attributes
    ----------
    rank : int
        The number of this process, from 0.
    n_processes : int
        The number of processes.
    """

    def __init__(self, device):
        # torchrun says so in the environment
        self.n_processes = int(os.environ.get('WORLD_SIZE', 1))
        # one alone is the first, whatever number others have given it
        self.rank = int(os.environ.get('RANK', 0)) if self.n_processes > 1 else 0
        self.device = device
        if self.n_processes > 1:
            is_cuda = device.type == 'cuda'
            if is_cuda:
                torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', 0)))
            if not distributed.is_initialized():
                distributed.init_process_group('nccl' if is_cuda else 'gloo')

    @property
    def is_first(self):
        """Whether this process is the one that writes."""
        return self.rank == 0

    def wrap(self, network):
        """
        Return a network whose gradients are the mean over all processes.

        Parameters
        ----------
        network : `torch.nn.Module`
            The network of this process. It gets the values of the first one.

        Returns
        -------
        network : `torch.nn.Module`
            The same network if there is only one process.
        """
        return network if self.n_processes == 1 else DistributedDataParallel(network)

    def mean(self, value):
        """
        Return the mean of a number over all processes.

        Parameters
        ----------
        value : float
            The number of this process.

        Returns
        -------
        mean : float
            The mean, which is the same in all processes.
        """
        if self.n_processes == 1:
            return value
        total = torch.tensor(value, dtype=torch.float32, device=self.device)
        distributed.all_reduce(total)
        return float(total) / self.n_processes

    def of_first(self, value):
        """
        Return the value of the first process.

        Parameters
        ----------
        value : float
            The value of this process.

        Returns
        -------
        value : float
            The value of the first process.
        """
        if self.n_processes == 1:
            return value
        return self.n_processes * self.mean(float(value) if self.is_first else 0.0)

    @contextmanager
    def first_alone(self):
        """Let the first process do the block before the others."""
        if not self.is_first:
            distributed.barrier()
        yield
        if self.is_first and self.n_processes > 1:
            distributed.barrier()

    def close(self):
        """Leave the other processes."""
        if self.n_processes > 1:
            distributed.destroy_process_group()
