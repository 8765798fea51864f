"""
Tests of bgrem.weights.zero_point.
"""

import pytest
import torch
from safetensors.torch import load_file

from bgrem.nn import AttentionUNet, UNetConfig
from bgrem.weights import load_weights, save_weights
from bgrem.weights.zero_point import main, set_zero_point

CONFIG = UNetConfig(
    widths=(4, 8),
    image_channels=4,
    embedding_dim=2,
    attention_gates=0,
    unshuffle=2,
    transfer='arcsinh',
    center_head=True,
)


@pytest.fixture
def make(tiny_weights, tmp_path):
    """Return a function that writes a random network."""

    def make(config):
        torch.manual_seed(1)
        path = tmp_path / 'random.safetensors'
        header = {**load_weights(tiny_weights).header, 'network': config.to_dict()}
        header.pop('sha256_state', None)
        save_weights(path, AttentionUNet(config).state_dict(), header)
        return path

    return make


def test_mean_of_white_noise(make, tmp_path):
    path, output = make(CONFIG), tmp_path / 'new.safetensors'
    set_zero_point(path, output)
    noise = torch.randn(1, 1, 512, 512, generator=torch.Generator().manual_seed(2))
    before, after = (load_weights(p).network()(noise, torch.ones(1))
                     for p in (path, output))  # fmt: skip
    assert abs(float((noise - before.background).mean())) > 0.02
    assert abs(float((noise - after.background).mean())) < 0.01
    torch.testing.assert_close(after.center_logit, before.center_logit)
    old, new = load_file(path), load_file(output)
    changed = [name for name in old if not torch.equal(old[name], new[name])]
    assert changed == ['head.bias']
    shift = load_weights(output).header['training']['zero_point']
    shifted = (new['head.bias'] - old['head.bias'])[4:8]
    torch.testing.assert_close(
        shifted.float(), torch.full((4,), shift), atol=1e-3, rtol=0
    )


def test_command(make, tmp_path, capsys):
    output = tmp_path / 'new.safetensors'
    assert main([str(make(CONFIG)), '-o', str(output)]) == 0
    assert load_weights(output).header['training']['zero_point'] != 0
    linear = UNetConfig(widths=(4, 8), attention_gates=0)
    assert main([str(make(linear)), '-o', str(tmp_path / 'x.safetensors')]) == 1
    assert "transfer='arcsinh'" in capsys.readouterr().err
    assert not (tmp_path / 'x.safetensors').exists()
