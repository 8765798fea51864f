from dataclasses import replace

import pytest
import torch

from bgrem.nn import AttentionUNet, UNetConfig
from bgrem.train.widening import widen

NARROW = UNetConfig(
    widths=(6, 8, 10), image_channels=5, embedding_dim=2, max_frequency=4.0,
    attention_gates=0, unshuffle=2, transfer='arcsinh', center_head=True, bands=1,
)  # fmt: skip
WIDE = replace(NARROW, widths=(7, 12, 10), image_channels=8, bands=3)


def _network(config, seed=1):
    torch.manual_seed(seed)
    return AttentionUNet(config).eval()


def _image(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def _widened(old, config):
    network = _network(config, seed=2)
    widen(old.state_dict(), old.config, network)
    return network


@torch.no_grad()
@pytest.mark.parametrize('gates', [0, 1, 2])
def test_without_normalization_nothing_changes(gates):
    old = _network(replace(NARROW, attention_gates=gates))
    new = _widened(old, replace(WIDE, attention_gates=gates))
    image, rate = _image(2, 1, 48, 32), torch.tensor([1.0, 0.3])
    expected, result = old(image, rate), new(image, rate)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)
    # and the wider one can tell more: its new channels are not dead
    assert (new.down[1].conv1.weight[8:].abs().amax(dim=(1, 2, 3)) > 0).all()


@torch.no_grad()
def test_the_changes_of_the_context_go_where_their_channels_are():
    old = _network(replace(NARROW, context=3))
    torch.nn.init.normal_(old.context.perceptron[-1].weight)
    new = _widened(old, replace(WIDE, context=4))
    levels = [_image(1, width, 8, 8) for width in NARROW.widths]
    # new channels that leave the root mean square of each pixel as it was
    wide = [
        torch.cat(
            [one, *(more - one.shape[1]) * [one.square().mean(1, True).sqrt()]], 1
        )
        for one, more in zip(levels, WIDE.widths, strict=True)
    ]
    expected, result = old.context(levels), new.context(wide)
    for depth, width in enumerate([8, 6]):
        wider = [7, 12][1 - depth]
        for before, after, nothing in zip(
            expected[depth], result[depth], (1, 0), strict=True
        ):
            skip, up = after.split(wider, dim=1)
            kept = torch.cat([skip[:, :width], up[:, :width]], dim=1)
            torch.testing.assert_close(kept, before, rtol=1e-4, atol=1e-4)
            assert (skip[:, width:] == nothing).all()
            assert (up[:, width:] == nothing).all()


def test_the_same_shape_is_a_copy():
    old = _network(replace(NARROW, context=3, normalize=True))
    new = _widened(old, old.config)
    for name, value in old.state_dict().items():
        torch.testing.assert_close(new.state_dict()[name], value, rtol=0, atol=0)


@pytest.mark.parametrize(
    'change',
    [
        {'widths': (6, 8)},
        {'widths': (5, 8, 10)},
        {'image_channels': 4},
        {'bands': 0},
        {'context': 1},
        {'unshuffle': 1},
        {'embedding_dim': 4},
    ],
)
def test_another_kind_or_a_narrower_one_is_refused(change):
    old = _network(NARROW)
    network = _network(replace(NARROW, **change), seed=2)
    before = {name: one.clone() for name, one in network.state_dict().items()}
    with pytest.raises(ValueError, match='init must be weights of the same network'):
        widen(old.state_dict(), old.config, network)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
