"""Fixtures shared by the tests."""

import pytest


@pytest.fixture(scope='session')
def tiny_weights(tmp_path_factory):
    """
    The path of the weights of a small untrained network.

    It halves the (arcsinh of the) image: about half of everything is source.
    """
    import torch

    from bgrem.nn import AttentionUNet, CosineSchedule, UNetConfig
    from bgrem.weights import save_weights

    config = UNetConfig(
        widths=(4, 8, 8),
        image_channels=4,
        embedding_dim=4,
        attention_gates=1,
        unshuffle=2,
        transfer='arcsinh',
        center_head=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = AttentionUNet(config)
        torch.nn.init.normal_(network.head.weight, std=0.1)
    header = {
        'format_version': 1,
        'name': 'tiny',
        'network': config.to_dict(),
        'schedule': CosineSchedule().to_dict(),
        'n_steps': 1,
        'normalization': 'local',
        'tile_size': 64,
        'tile_overlap': 16,
        'calibration': {'logit': [-6.0, 0.0], 'probability': [0.001, 0.6]},
    }
    path = tmp_path_factory.mktemp('weights') / 'tiny.safetensors'
    save_weights(path, network.state_dict(), header)
    return path


@pytest.fixture(scope='session')
def counts_weights(tmp_path_factory):
    """
    The path of the weights of a small untrained network of counts.

    It sees hardly any sources, and a sky near the level of the counts.
    """
    import torch

    from bgrem.nn import AttentionUNet, CosineSchedule, UNetConfig
    from bgrem.weights import save_weights

    config = UNetConfig(
        widths=(4, 8, 8),
        image_channels=4,
        embedding_dim=2,
        attention_gates=0,
        unshuffle=2,
        transfer='counts',
        center_head=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = AttentionUNet(config)
    header = {
        'format_version': 1,
        'name': 'tiny-counts',
        'network': config.to_dict(),
        'schedule': CosineSchedule().to_dict(),
        'n_steps': 1,
        'normalization': 'local',
        'tile_size': 64,
        'tile_overlap': 16,
        'calibration': None,
    }
    path = tmp_path_factory.mktemp('weights') / 'tiny-counts.safetensors'
    save_weights(path, network.state_dict(), header)
    return path


@pytest.fixture(scope='session')
def make_correction():
    """Return the correction of a calibration, all factors zero but those given."""

    def make_correction(lowest=-1.0, **factors):
        names = (
            'offset',
            'excess',
            'correlation',
            'skewness',
            'width',
            'width_squared',
        )
        limits = {'typical_width': 3.0, 'narrowest': 2.0, 'widest': 5.0}
        return {
            **dict.fromkeys(names, 0.0),
            **factors,
            'limits': {'lowest': lowest, **limits},
        }

    return make_correction
