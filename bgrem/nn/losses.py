"""
Training losses.
"""

import torch
from torch.nn import functional

__all__ = [
    'center_cross_entropy',
    'counts_deviance',
    'difference_loss',
    'ratio_deviance',
]

_KINDS = ('huber', 'mae', 'mse')


def difference_loss(predicted, true, *, kind='mae', delta=1.0, valid=None):
    """
    Mean difference between two images (BGRem, arXiv 2510.04718, Eq. 5 and
    Appendix B).

    Parameters
    ----------
    predicted, true : `~torch.Tensor`
        Tensors of the same shape.

    kind : {'mae', 'mse', 'huber'}, optional
        Mean absolute error (minimized by the median), mean squared error (minimized
        by the mean), or Huber's loss, which is quadratic for errors up to ``delta``
        and the absolute error minus ``delta / 2`` beyond.

    delta : float or `~torch.Tensor`, optional
        The error at this transition, positive; a tensor of the same shape gives a
        value for every pixel.

    valid : `~torch.Tensor`, optional
        Boolean tensor of the same shape; other pixels do not count.

    Returns
    -------
    loss : `~torch.Tensor`
        A scalar; zero when no pixel is valid.

    Raises
    ------
    ValueError
        If ``kind`` is not one of those above.

    Examples
    --------
    >>> import torch
    >>> from bgrem.nn import difference_loss
    >>> predicted, true = torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 3.0)
    >>> float(difference_loss(predicted, true, kind='mae'))
    3.0
    >>> float(difference_loss(predicted, true, kind='mse'))
    9.0
    """
    if kind not in _KINDS:
        msg = f'kind must be one of {", ".join(_KINDS)}, got {kind!r}'
        raise ValueError(msg)
    error = predicted - true
    if kind == 'mse':
        return _mean(error.square(), valid)
    error = error.abs()
    if kind == 'huber':
        beyond = error - delta / 2
        error = torch.where(error < delta, error.square() / (2 * delta), beyond)
    return _mean(error, valid)


def center_cross_entropy(logit, target, *, valid=None):
    """
    Binary cross-entropy between the center logit and a map of source centers.

    Parameters
    ----------
    logit : `~torch.Tensor`
        The center logit.

    target : `~torch.Tensor`
        Values in [0, 1], one at a source center and falling off as a Gaussian
        blob around it; the shape of ``logit``.

    valid : `~torch.Tensor`, optional
        Boolean tensor of the same shape; other pixels do not count.

    Returns
    -------
    loss : `~torch.Tensor`
        A scalar; zero when no pixel is valid.

    Examples
    --------
    >>> import torch
    >>> from bgrem.nn import center_cross_entropy
    >>> logit = torch.zeros(1, 1, 2, 2)
    >>> print(f'{float(center_cross_entropy(logit, torch.ones(1, 1, 2, 2))):.3f}')
    0.693
    """
    loss = functional.binary_cross_entropy_with_logits(logit, target, reduction='none')
    return _mean(loss, valid)


def _mean(loss, valid):
    if valid is None:
        return loss.mean()
    return torch.where(valid, loss, 0).sum() / valid.sum().clamp(min=1)


def counts_deviance(predicted, true, level, *, valid=None):
    """
    Difference between expected counts that is minimized by their mean.

    This is the deviance of a negative binomial distribution (a Bregman divergence,
    Banerjee et al. 2005, which is minimized by the mean for any weights) about the
    level of the sky. For a faint source it is the likelihood of its photons; for a
    bright source, a fifth of its light has the weight of its noise. Sums are unbiased,
    unlike with a mean absolute error, which is minimized by the median.

    Parameters
    ----------
    predicted, true : `~torch.Tensor`
        Expected counts of the sources, not negative.

    level : `~torch.Tensor`
        The expected counts of the sky, positive, as given to the network.

    valid : `~torch.Tensor`, optional
        Boolean tensor of the same shape; other pixels do not count.

    Returns
    -------
    loss : `~torch.Tensor`
        A scalar; zero when no pixel is valid.

    Examples
    --------
    >>> import torch
    >>> from bgrem.nn import counts_deviance
    >>> true = torch.full((1, 1, 2, 2), 3.0)
    >>> level = torch.ones(1, 1, 2, 2)
    >>> right = counts_deviance(true, true, level)
    >>> bool(right < counts_deviance(true / 2, true, level))
    True
    """
    # the variance is mu + mu**2 / size: of a bright source a fifth, of a sky less
    size = 25 + 4 * level
    y, mu = true + level, predicted + level
    loss = y * torch.log(y / mu) - (y + size) * torch.log((y + size) / (mu + size))
    return _mean(loss, valid)


def ratio_deviance(predicted, true, *, valid=None):
    """
    The deviance of the Poisson distribution between two positive ratios.

    Parameters
    ----------
    predicted, true : `~torch.Tensor`
        Positive values about one.

    valid : `~torch.Tensor`, optional
        Boolean tensor of the same shape; other pixels do not count.

    Returns
    -------
    loss : `~torch.Tensor`
        A scalar; zero when no pixel is valid.

    Examples
    --------
    >>> import torch
    >>> from bgrem.nn import ratio_deviance
    >>> true = torch.full((1, 1, 2, 2), 3.0)
    >>> bool(ratio_deviance(true, true) < ratio_deviance(true / 2, true))
    True
    """
    loss = torch.xlogy(true, true) - true * predicted.log() + predicted - true
    return _mean(loss, valid)
