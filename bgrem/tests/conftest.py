"""Fixtures shared by the tests."""

from contextlib import contextmanager

import pytest


@contextmanager
def full_disk(n_bytes):
    """Let no file grow larger than that, as on a disk that gets full."""
    resource = pytest.importorskip('resource')
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def save_tiny_weights(path, calibration, head=None, **options):
    """Write the weights of a small untrained network, its head of that width."""
    import torch

    from bgrem.nn import AttentionUNet, CosineSchedule, UNetConfig
    from bgrem.weights import save_weights

    config = UNetConfig(
        widths=(4, 8, 8), image_channels=4, unshuffle=2, center_head=True, **options
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = AttentionUNet(config)
        if head is not None:
            torch.nn.init.normal_(network.head.weight, std=head)
    header = {
        'format_version': 1,
        'name': path.stem,
        'network': config.to_dict(),
        'schedule': CosineSchedule().to_dict(),
        'n_steps': 1,
        'normalization': 'local',
        'tile_size': 64,
        'tile_overlap': 16,
        'calibration': calibration,
    }
    save_weights(path, network.state_dict(), header)
    return path


@pytest.fixture(scope='session')
def tiny_weights(tmp_path_factory):
    """
    The path of the weights of a small untrained network.

    It halves the (arcsinh of the) image: about half of everything is source.
    """
    return save_tiny_weights(
        tmp_path_factory.mktemp('weights') / 'tiny.safetensors',
        {'logit': [-6.0, 0.0], 'probability': [0.001, 0.6]},
        head=0.1,
        embedding_dim=4,
        attention_gates=1,
        transfer='arcsinh',
    )


@pytest.fixture(scope='session')
def counts_weights(tmp_path_factory):
    """
    The path of the weights of a small untrained network of counts.

    It sees hardly any sources, and a sky near the level of the counts.
    """
    return save_tiny_weights(
        tmp_path_factory.mktemp('weights') / 'tiny-counts.safetensors',
        None,
        embedding_dim=2,
        attention_gates=0,
        transfer='counts',
    )


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
