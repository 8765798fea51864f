# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the bank of patches of counts, and of the fields made from it."""

from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.testing import assert_allclose

from bgrem.simulate import CountsBank, CountsComposer, CountsConfig, draw_counts_bank
from bgrem.simulate.gamma import FieldConfig, LatConfig

CONFIG = CountsConfig(n_patches=6, patch_size=48, lat=(LatConfig(latitude=(0, 5)),))


@pytest.fixture(scope='module')
def bank():
    return draw_counts_bank(CONFIG)


def compose(bank, n=24, size=32, seed=1, **options):
    generator = torch.Generator().manual_seed(seed)
    return CountsComposer(bank, **options).compose(n, size, generator)


def test_bank(bank, tmp_path):
    assert len(bank) == 6
    assert bank.source.shape == bank.sky.shape == bank.exposure.shape == (6, 1, 48, 48)
    for image in (bank.source, bank.sky, bank.exposure):
        assert image.isfinite().all()
        assert (image >= 0).all()
    assert_allclose(bank.exposure.amax(dim=(1, 2, 3)), 1)
    assert (bank.catalog[:, 3] >= 1).all()
    bank.save(tmp_path / 'bank.safetensors')
    again = CountsBank.load(tmp_path / 'bank.safetensors')
    for name, value in vars(bank).items():
        assert torch.equal(getattr(again, name), value)
    content = (tmp_path / 'bank.safetensors').read_bytes()
    for damaged in (b'', content[:-9], b'no bank', safetensors.torch.save({})):
        (tmp_path / 'bank.safetensors').write_bytes(damaged)
        with pytest.raises(ValueError, match='bank.safetensors is damaged'):
            CountsBank.load(tmp_path / 'bank.safetensors')


def test_bank_from_two_processes():
    config = replace(CONFIG, n_patches=101, patch_size=16, lat_fraction=1.0)
    one, two = draw_counts_bank(config), draw_counts_bank(config, n_workers=2)
    assert torch.equal(one.sky, two.sky)
    assert torch.equal(one.start, two.start)
    assert len(one) == 101
    assert len(one.sky.unique(dim=0)) == 101


def test_kinds():
    """The kinds of patches have the widths of their PSFs."""
    config = replace(
        CONFIG, lat_fraction=1.0, lat=(LatConfig(), LatConfig(pixel_size=0.1))
    )
    fwhm = draw_counts_bank(replace(config, n_patches=12)).fwhm
    assert_allclose(fwhm.unique(), (3.29, 5.14), rtol=0.02)
    narrow = FieldConfig(fwhm=(2.0, 2.0))
    fields = draw_counts_bank(replace(config, lat_fraction=0.0, lat=(), field=narrow))
    assert_allclose(fields.fwhm, 2.0, rtol=0.05)


def test_fields(bank):
    batch = compose(bank)
    assert batch.counts.shape == batch.source.shape == (24, 1, 32, 32)
    closed = batch.exposure == 0
    for image in (batch.counts, batch.source, batch.sky):
        assert (image[closed] == 0).all()
    assert torch.equal(batch.counts, batch.counts.round())
    expected = (batch.source + batch.sky).sum(dim=(1, 2, 3))
    pull = (batch.counts.sum(dim=(1, 2, 3)) - expected) / (expected + 1).sqrt()
    assert pull.abs().max() < 5
    x, y = batch.catalog['x'], batch.catalog['y']
    assert min(x.min(), y.min()) >= -0.5
    assert max(x.max(), y.max()) < 31.5


def test_sources_are_where_they_are_said_to_be():
    """However a field is cut out, turned and flipped."""
    field = FieldConfig(
        fwhm=(2, 2), level=(100, 100), extended_probability=0, empty_probability=0,
        density=(2e-3, 2e-3), snr_min=30.0, gap_probability=0, border_probability=0,
        vignetting_probability=0, structure_probability=0, gradient_probability=0,
    )  # fmt: skip
    config = replace(CONFIG, lat_fraction=0.0, field=field)
    batch = compose(draw_counts_bank(config), n=40)
    catalog = batch.catalog
    bright = catalog['snr'] > 25
    inner = torch.ones_like(bright)
    for name in ('x', 'y'):
        inner &= (catalog[name] > 1) & (catalog[name] < 30)
    row, column = (catalog[name].round().long() for name in ('y', 'x'))
    chosen = bright & inner
    assert chosen.sum() > 20
    for scene, y, x in torch.stack([catalog['scene'], row, column])[
        :, chosen
    ].T.tolist():
        light = batch.source[scene, 0]
        assert light[y, x] > 0.5 * light[y - 1 : y + 2, x - 1 : x + 2].max()
        assert light[y, x] > 0


def test_looks_differ(bank):
    batch = compose(bank, n=60)
    assert len(batch.sky.unique(dim=0)) > 50
    again, other = compose(bank, n=60), compose(bank, n=60, seed=2)
    assert torch.equal(batch.counts, again.counts)
    assert not torch.equal(batch.counts, other.counts)


def test_expected_counts(bank):
    batch = compose(bank, expected_fraction=1.0)
    assert torch.equal(batch.counts, batch.source + batch.sky)
    some = compose(bank, n=200, size=16, expected_fraction=0.3)
    is_expected = (some.counts == some.source + some.sky).all(dim=-1).all(dim=-1)
    assert 0.2 < is_expected.float().mean() < 0.4


def test_field_larger_than_the_patches(bank):
    with pytest.raises(
        ValueError, match='size must be at most that of the patches, 48, got 50'
    ):
        compose(bank, size=50)


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        ({'lat_fraction': 1.5}, r'lat_fraction must be in \[0, 1\], got 1.5'),
        ({'expected_fraction': -1}, 'expected_fraction must be in'),
        ({'n_patches': 0}, 'n_patches must be at least 1'),
        ({'lat': ()}, 'lat must hold at least one kind'),
    ],
)
def test_bad_options(options, match):
    with pytest.raises(ValueError, match=match):
        CountsConfig(**options)


def test_options_to_and_fro():
    config = CountsConfig(lat=(LatConfig(years=(2, 3)), LatConfig()), seed=4)
    assert CountsConfig.from_dict(config.to_dict()) == config
    assert np.size(config.to_dict()['lat']) == 2
    with pytest.raises(ValueError, match='unknown'):
        CountsConfig.from_dict({'no_such': 1})
    with pytest.raises(ValueError, match='unknown'):
        CountsConfig.from_dict({'lat': [{'no_such': 1}]})
