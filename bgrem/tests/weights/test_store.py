import json
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save, save_file

from bgrem.nn import AttentionUNet, CosineSchedule, UNetConfig
from bgrem.weights import (
    Weights,
    list_weights,
    load_weights,
    register,
    save_weights,
    shipped_weights,
    store,
)
from bgrem.weights.__main__ import main

CONFIG = UNetConfig(
    widths=(4, 8), image_channels=4, attention_gates=1, unshuffle=2, center_head=True
)


def make_header(**changes):
    header = {
        'format_version': 1,
        'name': 'tiny',
        'network': CONFIG.to_dict(),
        'schedule': CosineSchedule().to_dict(),
        'n_steps': 2,
        'normalization': 'local',
        'tile_size': 32,
        'tile_overlap': 8,
        'calibration': {'logit': [-5.0, 0.0, 5.0], 'probability': [0.1, 0.4, 0.9]},
        'training': {'steps': 10},
    }
    return header | changes


@pytest.fixture(scope='module')
def state():
    torch.manual_seed(1)
    return AttentionUNet(CONFIG).state_dict()


@pytest.fixture
def path(tmp_path, state):
    path = tmp_path / 'tiny.safetensors'
    save_weights(path, state, make_header())
    return path


def write_raw(path, state, header):
    """Write a file past all the checks of save_weights."""
    text = header if isinstance(header, str) else json.dumps(header)
    path.write_bytes(save(state, metadata={'bgrem': text}))
    return path


def test_round_trip_is_bit_equal(path, state):
    weights = load_weights(path)
    loaded = weights.network().state_dict()
    assert list(loaded) == list(state)
    for key, tensor in state.items():
        assert torch.equal(loaded[key], tensor)
    header = weights.header
    assert len(header.pop('sha256_state')) == 64
    assert header == make_header()


def test_attributes(path):
    weights = load_weights(str(path))
    assert isinstance(weights, Weights)
    assert weights.name == 'tiny'
    assert weights.path == path
    assert len(weights.sha256) == 64
    assert weights.config == CONFIG
    assert weights.schedule == CosineSchedule()
    assert weights.n_steps == 2
    assert weights.normalization == 'local'
    assert (weights.tile_size, weights.tile_overlap) == (32, 8)
    assert weights.calibration['probability'] == [0.1, 0.4, 0.9]
    assert repr(weights).startswith("Weights(name='tiny', path=")
    assert load_weights(weights) is weights


def test_weights_are_immutable(path):
    weights = load_weights(path)
    with pytest.raises(FrozenInstanceError, match='cannot assign'):
        weights.name = 'other'
    weights.header['n_steps'] = 99
    assert weights.n_steps == 2


def test_calibration_and_training_are_optional(tmp_path, state):
    header = make_header(calibration=None)
    del header['training']
    save_weights(tmp_path / 'a.safetensors', state, header)
    assert load_weights(tmp_path / 'a.safetensors').calibration is None
    del header['calibration']
    save_weights(tmp_path / 'b.safetensors', state, header)
    assert load_weights(tmp_path / 'b.safetensors').calibration is None


def test_network_is_shared_and_ready(path):
    weights = load_weights(path)
    network = weights.network()
    assert load_weights(path).network() is network
    assert weights.network('cpu') is network
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


def test_half_precision_files_compute_in_float32(tmp_path, state):
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    path = tmp_path / 'half.safetensors'
    save_weights(path, half, make_header())
    assert {t.dtype for t in load_file(path).values()} == {torch.float16, torch.int64}
    network = load_weights(path).network()
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    output = network(torch.zeros(1, 1, 8, 8), torch.ones(1))
    assert output.background.dtype == torch.float32


def test_integer_buffers_are_kept(tmp_path):
    network = AttentionUNet(CONFIG)
    buffers = [k for k, v in network.state_dict().items() if not v.is_floating_point()]
    assert buffers  # the batch norm of the attention gate counts its batches
    state = network.state_dict()
    state[buffers[0]] = torch.tensor(7)
    path = tmp_path / 'w.safetensors'
    save_weights(path, state, make_header())
    loaded = load_weights(path).network().state_dict()[buffers[0]]
    assert loaded.item() == 7
    assert loaded.dtype == torch.int64


def test_shared_and_strided_tensors_are_written(tmp_path, state):
    state = dict(state)
    key = next(k for k, v in state.items() if v.ndim == 4 and v.shape[1] > 1)
    state[key] = state[key].to(memory_format=torch.channels_last)
    save_weights(tmp_path / 'w.safetensors', state, make_header())
    loaded = load_weights(tmp_path / 'w.safetensors').network().state_dict()
    assert torch.equal(loaded[key], state[key])


def test_pickle_is_small_and_works(path):
    weights = load_weights(path)
    content = pickle.dumps(weights)
    assert len(content) < 5000
    assert pickle.loads(content) == weights
    assert pickle.loads(content).network() is weights.network()


def test_threads_share_one_network(path):
    weights = load_weights(path)
    store._networks.clear()
    with ThreadPoolExecutor(8) as pool:
        networks = list(pool.map(lambda _: weights.network(), range(32)))
    assert len(set(map(id, networks))) == 1


def test_cache_is_bounded(tmp_path, state):
    key = next(iter(state))
    for i in range(store._N_CACHED_NETWORKS + 2):
        path = tmp_path / f'{i}.safetensors'
        save_weights(path, state | {key: state[key] + i}, make_header())
        load_weights(path)
    assert len(store._networks) == store._N_CACHED_NETWORKS


def test_random_state_is_left_alone(path):
    store._networks.clear()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    load_weights(path)
    assert torch.equal(torch.get_rng_state(), before)


def test_changed_file_is_refused(path, tmp_path, state):
    weights = load_weights(path)
    store._networks.clear()
    save_weights(path, state, make_header(n_steps=3))
    with pytest.raises(ValueError, match='has changed since it was loaded'):
        weights.network()
    path.unlink()
    with pytest.raises(FileNotFoundError, match='does not exist'):
        weights.network()


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no\.safetensors does not exist'):
        load_weights(tmp_path / 'no.safetensors')
    with pytest.raises(FileNotFoundError, match='does not exist'):
        load_weights('some/where')
    with pytest.raises(ValueError, match='is a directory'):
        load_weights(tmp_path)


def test_unknown_name():
    match = r"weights 'nope' are not known; the names in the package are: .*; the path "
    with pytest.raises(ValueError, match=match):
        load_weights('nope')


@pytest.mark.parametrize('value', [None, 3, b'optical'])
def test_wrong_kind_of_name(value):
    with pytest.raises(
        TypeError, match='weights must be the name of weights in the package'
    ):
        load_weights(value)


@pytest.mark.parametrize(
    'content', [b'', b'abc', b'not a safetensors file', b'\x00' * 64, b'\xff' * 64]
)
def test_not_safetensors(tmp_path, content):
    path = tmp_path / 'w.safetensors'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='is not a safetensors file'):
        load_weights(path)


def test_pickled_checkpoint_is_refused(tmp_path, state):
    path = tmp_path / 'w.safetensors'
    torch.save(state, path)
    with pytest.raises(ValueError, match='is not a safetensors file'):
        load_weights(path)


@pytest.mark.parametrize('fraction', [0.001, 0.1, 0.5, 0.999])
def test_truncated(path, fraction):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(ValueError, match='corrupted or truncated'):
        load_weights(path)


def test_flipped_bit(path):
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match='its tensors fail their checksum'):
        load_weights(path)


def test_no_header(tmp_path, state):
    path = tmp_path / 'w.safetensors'
    save_file(state, path)
    with pytest.raises(ValueError, match="has no 'bgrem' header"):
        load_weights(path)
    save_file(state, path, metadata={'format': 'pt'})
    with pytest.raises(ValueError, match="has no 'bgrem' header"):
        load_weights(path)


@pytest.mark.parametrize(
    ('text', 'match'),
    [
        ('{', "its 'bgrem' header is not JSON"),
        ('[1]', 'its header must be a JSON object, got list'),
        ('{}', 'format_version must be 1, got None'),
        ('{"format_version": 2}', 'format_version must be 1, got 2; another version'),
        ('{"format_version": 1}', 'its header lacks n_steps, name, network'),
    ],
)
def test_bad_header_text(tmp_path, state, text, match):
    path = write_raw(tmp_path / 'w.safetensors', state, text)
    with pytest.raises(ValueError, match=match):
        load_weights(path)


GOOD_CALIBRATION = {'logit': [0, 1], 'probability': [0.2, 0.5]}
CALIBRATION = 'calibration logit and probability must be lists of the same length'


@pytest.mark.parametrize(
    ('changes', 'match'),
    [
        ({'flavour': 1}, 'its header has unknown keys: flavour'),
        ({'name': ''}, "name must be a non-empty string, got ''"),
        ({'n_steps': 0}, 'n_steps must be an integer >= 1, got 0'),
        ({'n_steps': True}, 'n_steps must be an integer >= 1, got True'),
        ({'tile_size': 1.5}, 'tile_size must be an integer >= 1, got 1.5'),
        ({'tile_size': 33}, 'tile_size must be a multiple of 4 for this network'),
        ({'tile_overlap': -1}, 'tile_overlap must be an integer >= 0, got -1'),
        ({'tile_overlap': 32}, r'tile_overlap must be less than tile_size \(32\)'),
        ({'normalization': 'none'}, "normalization must be 'local', 'global' or a"),
        ({'normalization': -1.0}, "normalization must be 'local', 'global' or a"),
        ({'network': {'depth': 3}}, r"bad network in its header: .*\['depth'\]"),
        ({'network': 3}, 'bad network in its header'),
        ({'network': {'widths': [4]}}, 'bad network in its header: widths must'),
        ({'schedule': {'rate': 3}}, r"bad schedule in its header: .*\['rate'\]"),
        ({'calibration': [1, 2]}, 'calibration must have the keys'),
        ({'calibration': {'logit': [1]}}, 'calibration must have the keys'),
        ({'calibration': {'logit': [], 'probability': []}}, CALIBRATION),
        ({'calibration': {'logit': [0, 1], 'probability': [0]}}, CALIBRATION),
        (
            {'calibration': {'logit': ['a'], 'probability': [0]}},
            'calibration must hold lists of numbers',
        ),
        (
            {'calibration': {'logit': [1, 1], 'probability': [0.1, 0.2]}},
            'calibration logit must be finite and strictly ascending',
        ),
        (
            {'calibration': {'logit': [0, 1], 'probability': [0, 0.5]}},
            r'calibration probability must be between 0 and 1 \(exclusive\)',
        ),
        (
            {'calibration': {'logit': [0, 1], 'probability': [0.5, 0.2]}},
            'calibration probability must be strictly ascending',
        ),
        (
            {'calibration': {**GOOD_CALIBRATION, 'correction': {'excess': 1.0}}},
            'calibration correction must have the keys correlation, excess, limits, ',
        ),
    ],
)
def test_bad_header_values(tmp_path, state, changes, match):
    header = make_header(**changes)
    good, bad = tmp_path / 'good.safetensors', tmp_path / 'bad.safetensors'
    with pytest.raises(ValueError, match=match):
        save_weights(good, state, header)
    assert not good.exists()
    write_raw(bad, state, header)
    with pytest.raises(ValueError, match=match):
        load_weights(bad)
    assert [p.name for p in tmp_path.iterdir()] == ['bad.safetensors']


@pytest.mark.parametrize(
    ('changes', 'limits', 'match'),
    [
        ({'offset': None}, {}, 'correction offset must be a finite number, got None'),
        ({'limits': 3}, {}, 'correction limits must have the keys lowest, narrowest'),
        ({}, {'widest': np.inf}, 'correction limits widest must be a finite number'),
        ({}, {'narrowest': 4.0}, 'limits must be positive widths, narrowest <= typic'),
        ({}, {'narrowest': 0.0}, 'limits must be positive widths, narrowest <= typic'),
    ],
)
def test_bad_correction(tmp_path, state, make_correction, changes, limits, match):
    correction = make_correction()
    correction['limits'] |= limits
    correction |= changes
    header = make_header(calibration={**GOOD_CALIBRATION, 'correction': correction})
    with pytest.raises(ValueError, match=match):
        save_weights(tmp_path / 'bad.safetensors', state, header)


def drop_last(state):
    return dict(list(state.items())[:-1])


def add_one(state):
    return state | {'extra.weight': torch.zeros(3)}


def wrong_shape(state):
    return state | {'head.bias': torch.zeros(3)}


def wrong_type(state):
    return state | {'head.bias': state['head.bias'].to(torch.int32)}


def not_finite(state):
    return state | {'head.bias': torch.full_like(state['head.bias'], np.nan)}


@pytest.mark.parametrize(
    ('change', 'match'),
    [
        (drop_last, r"tensor '.*' is missing \(1 are\)"),
        (add_one, r"tensor 'extra.weight' is not of this network \(1 are not\)"),
        (wrong_shape, r"tensor 'head.bias' must have shape \(8,\), got \(3,\)"),
        (wrong_type, "tensor 'head.bias' has type torch.int32, not torch.float32"),
        (not_finite, "tensor 'head.bias' holds values that are not finite"),
    ],
)
def test_bad_tensors(tmp_path, state, change, match):
    path = tmp_path / 'w.safetensors'
    with pytest.raises(ValueError, match=match):
        save_weights(path, change(state), make_header())
    assert list(tmp_path.iterdir()) == []
    write_raw(path, change(state), make_header())
    with pytest.raises(ValueError, match=match):
        load_weights(path)


def test_save_refuses_other_endings(tmp_path, state):
    with pytest.raises(ValueError, match=r'must end in \.safetensors, got .*w\.pt'):
        save_weights(tmp_path / 'w.pt', state, make_header())


def test_save_into_missing_folder(tmp_path, state):
    with pytest.raises(FileNotFoundError, match='no-folder'):
        save_weights(tmp_path / 'no-folder' / 'w.safetensors', state, make_header())


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / 'weights'
    (folder / 'data').mkdir(parents=True)
    (folder / 'registry.json').write_text('{}')
    return folder


def test_register(path, folder, state, monkeypatch):
    row = register(path, description='For tests.', folder=folder)
    assert row.path == folder / 'data' / 'tiny.safetensors'
    assert shipped_weights(folder) == {'tiny': row}
    assert row.path.read_bytes() == path.read_bytes()
    # Newer weights of the same name keep the description.
    save_weights(path, state, make_header(n_steps=5))
    newer = register(path, folder=folder)
    assert newer.sha256 != row.sha256
    assert newer.description == 'For tests.'
    # A file that is in its place already is registered where it is.
    assert register(newer.path, folder=folder) == newer
    monkeypatch.setattr('bgrem.weights.registry.FOLDER', folder)
    assert list_weights() == ['tiny']
    assert load_weights('tiny').n_steps == 5
    assert load_weights('tiny').sha256 == newer.sha256
    with pytest.raises(
        ValueError, match="the names in the package are: 'tiny'; the path"
    ):
        load_weights('optical')


def test_register_needs_a_description(path, folder):
    with pytest.raises(ValueError, match=r"description is needed for .* 'tiny'"):
        register(path, folder=folder)
    assert json.loads((folder / 'registry.json').read_text()) == {}


def test_sha256_of_shipped_files_is_checked(path, folder, state, monkeypatch):
    row = register(path, description='For tests.', folder=folder)
    monkeypatch.setattr('bgrem.weights.registry.FOLDER', folder)
    save_weights(row.path, state, make_header(n_steps=5))
    with pytest.raises(ValueError, match=r"weights 'tiny': the sha256 of .* is"):
        load_weights('tiny')
    # As a path it is a file like any other.
    assert load_weights(row.path).n_steps == 5
    row.path.unlink()
    with pytest.raises(FileNotFoundError, match='does not exist'):
        load_weights('tiny')


def test_register_command(path, folder, monkeypatch, capsys):
    monkeypatch.setattr('bgrem.weights.registry.FOLDER', folder)
    assert main([str(path), '--description', 'For tests.', '--name', 'best']) == 0
    assert capsys.readouterr().out.startswith('best  ')
    assert list_weights() == ['best']
    assert main([str(folder)]) == 1
    assert capsys.readouterr().err.startswith('error: weights file ')


@pytest.mark.parametrize('name', list_weights())
def test_every_shipped_file_loads(name):
    weights = load_weights(name)
    assert weights.name == name
    assert shipped_weights()[name].description


def test_every_data_file_is_registered():
    folder = Path(store.__file__).parent / 'data'
    files = {row.path.name for row in shipped_weights().values()}
    assert {p.name for p in folder.glob('*.safetensors')} == files


def test_listing_does_not_import_torch():
    code = (
        'import sys; from bgrem.weights import list_weights; list_weights(); '
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0


def test_copy_of_a_file_has_the_same_weights(path, tmp_path):
    shutil.copy(path, tmp_path / 'copy.safetensors')
    assert load_weights(tmp_path / 'copy.safetensors').sha256 == (
        load_weights(path).sha256
    )
