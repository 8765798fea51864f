# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of networks of counts and of their losses."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from bgrem.nn import AttentionUNet, UNetConfig, counts_deviance, ratio_deviance
from bgrem.nn.counts import N_FEATURES, count_features, expected_counts

SHAPE = (2, 1, 16, 16)


def full(value):
    return torch.full(SHAPE, float(value))


@pytest.mark.parametrize('level', [1e-9, 0.003, 1.0, 3000.0, 1e9])
@pytest.mark.parametrize('counts', [0.0, 1.0, 1e6, 1e12])
def test_features_are_finite(counts, level):
    features = count_features(full(counts), full(level))
    assert features.shape == (2, N_FEATURES, 16, 16)
    assert features.isfinite().all()
    assert features.abs().max() < 100


def test_features_of_the_noise():
    """Where there are many photons the noise is the same at any level."""
    generator = torch.Generator().manual_seed(3)
    for level in (30.0, 3000.0):
        big = torch.full((1, 1, 200, 200), level)
        features = count_features(torch.poisson(big, generator), big)
        # of unit variance but for what is compressed
        assert_allclose(features[:, 0].std(), 0.916, rtol=0.02)
        assert_allclose(features[:, 0].mean(), 0, atol=0.05)


def test_sums_of_single_photons():
    """Five photons in a pixel say about as much as five in five pixels."""
    one, five = (count_features(full(n), full(0.01))[0, 0, 0, 0] for n in (1, 5))
    assert 1.3 < five / one < 5


@pytest.mark.parametrize('level', [0.003, 1.0, 1e6])
def test_output_is_positive_and_bounded(level):
    maps = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 50
    counts = full(level)
    counts[:, :, 8, 8] += 100 * level + 5
    source, sky = expected_counts(counts, full(level), maps)
    for image in (source, sky):
        assert image.isfinite().all()
        assert (image >= 0).all()
    # far from the bright pixel no source can be invented
    assert source[..., :4, :4].max() < 2 * np.sqrt(level + 0.25)
    assert source.max() < 3 * counts.max()


def test_network():
    config = UNetConfig(
        widths=(4, 8), image_channels=4, attention_gates=0, unshuffle=2,
        transfer='counts', center_head=True,
    )  # fmt: skip
    torch.manual_seed(5)
    network = AttentionUNet(config).eval()
    x = torch.cat([full(3), full(2)], dim=1)
    output = network(x, torch.ones(2))
    for image in (output.source, output.sky, output.center_logit):
        assert image.shape == SHAPE
    # as it begins: hardly any sources, the sky near its level
    assert output.source.mean() < 0.1
    assert_allclose(output.sky.detach().mean(), 2, rtol=0.3)
    assert UNetConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match='bands must be 0 with transfer'):
        UNetConfig(transfer='counts', bands=2)
    with pytest.raises(ValueError, match='transfer must be'):
        UNetConfig(transfer='photons')


@pytest.mark.parametrize('loss', ['counts', 'ratio'])
def test_the_minimum_is_the_mean(loss):
    """Of three things that may be true the mean is the best answer, not the median."""
    true = torch.tensor([0.01, 0.2, 40.0]).view(3, 1, 1, 1)
    tried = torch.linspace(5, 20, 301)

    def mean_loss(value):
        predicted = torch.full_like(true, float(value))
        if loss == 'ratio':
            return float(ratio_deviance(predicted, true))
        return float(counts_deviance(predicted, true, torch.full_like(true, 0.7)))

    best = tried[int(np.argmin([mean_loss(value) for value in tried]))]
    assert_allclose(best, true.mean(), rtol=0.01)


def test_losses_vanish_and_have_gradients():
    true = torch.rand(SHAPE, generator=torch.Generator().manual_seed(2))
    true[0, 0, 0] = 0
    level = full(0.003)
    predicted = (true + 0.1).requires_grad_()
    valid = torch.ones(SHAPE, dtype=torch.bool)
    valid[1] = False
    for loss in (
        counts_deviance(predicted, true, level, valid=valid),
        ratio_deviance(predicted, true, valid=valid),
    ):
        (gradient,) = torch.autograd.grad(loss, predicted)
        assert loss > 0
        assert gradient.isfinite().all()
        assert (gradient[1] == 0).all()
    assert_allclose(counts_deviance(true, true, level), 0, atol=1e-6)
    assert_allclose(ratio_deviance(true + 1e-9, true), 0, atol=1e-6)
