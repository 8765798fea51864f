"""
Tests of bgrem.weights.average.
"""

import pytest
import torch
from safetensors.torch import load_file

from bgrem.evaluate.calibration import rewrite_header
from bgrem.nn import AttentionUNet
from bgrem.weights import load_weights, save_weights
from bgrem.weights.average import average_weights, main


@pytest.fixture
def pair(tiny_weights, tmp_path):
    """Return two files of the same network, the second with all weights one."""
    weights = load_weights(tiny_weights)
    header = {**weights.header, 'name': 'ones', 'training': {'steps': 7}}
    state = {k: torch.ones_like(v) for k, v in load_file(weights.path).items()}
    path = tmp_path / 'ones.safetensors'
    save_weights(path, state, header)
    table = {'logit': [-1.0, 1.0], 'probability': [0.2, 0.8]}
    rewrite_header(load_weights(path), path, table)
    return tiny_weights, path


def test_mean(pair, tmp_path):
    output = tmp_path / 'mean.safetensors'
    average_weights(*pair, output, fraction=0.25)
    first, found = (load_file(path) for path in (load_weights(pair[0]).path, output))
    for name, value in first.items():
        is_weight = value.is_floating_point()
        expected = 0.75 * value.float() + 0.25 if is_weight else torch.ones(())
        torch.testing.assert_close(found[name].float(), expected, rtol=1e-3, atol=1e-3)
    weights = load_weights(output)
    assert weights.name == 'ones'
    assert weights.calibration is None
    shares = [
        [load_weights(p).sha256, f] for p, f in zip(pair, (0.75, 0.25), strict=True)
    ]
    assert weights.header['training'] == {'steps': 7, 'mean_of': shares}


def test_command(pair, tmp_path, capsys):
    output = tmp_path / 'mean.safetensors'
    assert main([str(pair[0]), str(pair[1]), '-o', str(output)]) == 0
    assert load_weights(output).header['training']['mean_of'][0][1] == 0.5
    assert main([str(pair[0]), str(tmp_path / 'none.safetensors'), '-o', 'x']) == 1
    assert 'none.safetensors' in capsys.readouterr().err


@pytest.mark.parametrize('fraction', [0.0, 1.0, float('nan')])
def test_bad_fraction(pair, tmp_path, fraction):
    with pytest.raises(ValueError, match='fraction must be between 0 and 1'):
        average_weights(*pair, tmp_path / 'x.safetensors', fraction)


def test_other_network(pair, tmp_path):
    weights = load_weights(pair[0])
    header = {**weights.header, 'calibration': None}
    config = {**header['network'], 'widths': [8, 16]}
    network = AttentionUNet(type(weights.config).from_dict(config))
    path = tmp_path / 'other.safetensors'
    save_weights(path, network.state_dict(), {**header, 'network': config})
    with pytest.raises(ValueError, match='other must hold the network of'):
        average_weights(pair[0], path, tmp_path / 'x.safetensors')
