"""Tests of the cache of stamp banks."""

import pytest
import torch

from bgrem.simulate import cache as cache_module
from bgrem.simulate import cached_stamp_bank
from bgrem.simulate.stamps import StampBank
from bgrem.tests.conftest import full_disk

pytest.importorskip('galsim')


@pytest.fixture(scope='module')
def bank():
    from bgrem.simulate import build_stamp_bank

    return build_stamp_bank(1, fwhm=(3.0, 3.1), seed=3)


@pytest.fixture
def drawn(bank, monkeypatch):
    """What the banks were drawn with that were drawn."""
    drawn = []

    def draw(n_psf, **options):
        drawn.append((n_psf, options))
        return bank

    monkeypatch.setattr(cache_module, 'build_stamp_bank', draw)
    return drawn


def same(first, second):
    return torch.equal(first.psf, second.psf) and all(
        torch.equal(first.stamps[kind], second.stamps[kind]) for kind in first.stamps
    )


def test_drawn_once(bank, drawn, tmp_path):
    folder = tmp_path / 'not' / 'yet'
    for _ in range(3):
        assert same(cached_stamp_bank(1, folder=folder, seed=3, n_workers=2), bank)
    assert drawn == [(1, {'n_workers': 2, 'progress': False, 'seed': 3})]
    assert [path.suffix for path in folder.iterdir()] == ['.safetensors']


def test_other_parameters_are_another_bank(drawn, tmp_path, monkeypatch):
    for options in ({}, {'seed': 1}, {'fwhm': (2.0, 3.0)}, {'fwhm': (2.0, 4.0)}):
        cached_stamp_bank(1, folder=tmp_path, **options)
    cached_stamp_bank(2, folder=tmp_path)
    monkeypatch.setattr('galsim.__version__', '99')
    cached_stamp_bank(1, folder=tmp_path)
    assert len(drawn) == len(list(tmp_path.iterdir())) == 6


@pytest.mark.parametrize('damage', ['short', 'empty', 'other bytes', 'one bit'])
def test_damaged_file_is_drawn_again(bank, drawn, tmp_path, damage):
    cached_stamp_bank(1, folder=tmp_path)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    if damage == 'one bit':
        content[len(content) // 2] ^= 1
    content = {
        'short': content[:-100],
        'empty': b'',
        'other bytes': b'\x07' * 1000,
        'one bit': content,
    }[damage]
    path.write_bytes(content)
    with pytest.raises(ValueError, match='is damaged'):
        StampBank.load(path)
    for _ in range(2):
        assert same(cached_stamp_bank(1, folder=tmp_path), bank)
    assert len(drawn) == 2


def test_bank_without_all_its_parts(bank, tmp_path):
    path = tmp_path / 'bank.safetensors'
    bank.save(path)
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    del tensors['fwhm']
    with safe_open(path, framework='pt') as handle:
        metadata = handle.metadata()
    del metadata['sha256']
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(ValueError, match='is damaged: it has'):
        StampBank.load(path)


def test_folder_that_cannot_be_written(bank, drawn, tmp_path):
    """It is drawn each time."""
    (tmp_path / 'file').write_text('not a folder')
    for _ in range(2):
        assert same(cached_stamp_bank(1, folder=tmp_path / 'file' / 'bgrem'), bank)
    assert len(drawn) == 2


def test_full_disk(bank, drawn, tmp_path):
    """The minutes that the stamps took are not lost."""
    for _ in range(2):
        with full_disk(1000):
            assert same(cached_stamp_bank(1, folder=tmp_path), bank)
    assert len(drawn) == 2
    assert list(tmp_path.iterdir()) == []


def test_default_folder(drawn, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    cached_stamp_bank(1)
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', str(tmp_path))
    cached_stamp_bank(1)
    assert len(list((tmp_path / 'cache' / 'bgrem').iterdir())) == 1
    assert len(list((tmp_path / '.cache' / 'bgrem').iterdir())) == 1
