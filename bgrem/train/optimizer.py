"""
The optimizers of a training run.
"""

import torch

__all__ = ['Optimizers']


class Optimizers:
    """
    AdamW for all parameters, or Muon for the convolutions and AdamW for the rest.

    Muon (Jordan et al. 2024) makes every step of a weight matrix orthogonal, so that
    rare features are learned as fast as common ones. It is used for the 3x3
    convolutions, as matrices of output channels by inputs; the first and the last layer
    and the biases stay with AdamW, as recommended by its authors.

    Parameters
    ----------
    network : `~torch.nn.Module`
        The network whose parameters are trained in place.

    config : `TrainingConfig`
        Provides ``optimizer``, ``learning_rate``, ``muon_learning_rate`` and
        ``weight_decay``.
    """

    def __init__(self, network, config):
        self._matrices = []
        others = []
        for parameter in network.parameters():
            inner = parameter.ndim == 4 and parameter.shape[-1] > 1
            if config.optimizer == 'muon' and inner:
                self._matrices.append(
                    (parameter, torch.nn.Parameter(_matrix(parameter)))
                )
            else:
                others.append(parameter)
        self._all = [
            torch.optim.AdamW(
                others, lr=config.learning_rate, weight_decay=config.weight_decay
            )
        ]
        if self._matrices:
            self._all.append(
                torch.optim.Muon(
                    [matrix for _, matrix in self._matrices],
                    lr=config.muon_learning_rate,
                    weight_decay=config.weight_decay,
                )
            )
        self._rates = [optimizer.param_groups[0]['lr'] for optimizer in self._all]

    def step(self, factor):
        """
        Update the parameters from their gradients.

        Parameters
        ----------
        factor : float
            Factor for the learning rates.
        """
        for parameter, matrix in self._matrices:
            gradient = parameter.grad.permute(0, 2, 3, 1)
            matrix.grad = gradient.reshape(matrix.shape)
        for optimizer, rate in zip(self._all, self._rates, strict=True):
            optimizer.param_groups[0]['lr'] = rate * factor
            optimizer.step()

    def state_dict(self):
        """
        Return the state of the optimizers.

        Returns
        -------
        state : list of dict
            For `load_state_dict`.
        """
        return [optimizer.state_dict() for optimizer in self._all]

    def load_state_dict(self, state):
        """
        Restore a state.

        Parameters
        ----------
        state : list of dict
            From `state_dict`.
        """
        for optimizer, own in zip(self._all, state, strict=True):
            optimizer.load_state_dict(own)


def _matrix(weight):
    """
    The weight of a convolution as a matrix that shares its memory.

    Returns
    -------
    matrix : `~torch.Tensor`
        Shape (channels, the rest); the weight itself is laid out channels last.
    """
    # Unlike a reshape, a view is never a copy, which would not train anything.
    return weight.detach().permute(0, 2, 3, 1).view(len(weight), -1)
