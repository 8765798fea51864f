# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the fields of counts of the training."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from bgrem.simulate import CountsComposer, CountsConfig

PLAIN = {
    'wide_probability': 0.0,
    'extended_probability': 0.0,
    'plane_probability': 0.0,
    'vignetting_probability': 0.0,
    'gap_probability': 0.0,
    'expected_probability': 0.0,
}


def compose(n=8, size=64, seed=1, **options):
    generator = torch.Generator().manual_seed(seed)
    return CountsComposer(CountsConfig(**options)).compose(n, size, generator)


def test_what_is_there():
    batch = compose(24)
    assert batch.counts.shape == batch.source.shape == (24, 1, 64, 64)
    for image in (batch.counts, batch.source, batch.sky, batch.exposure):
        assert image.isfinite().all()
        assert (image >= 0).all()
    closed = batch.exposure == 0
    for image in (batch.counts, batch.source, batch.sky):
        assert (image[closed] == 0).all()
    expected = (batch.source + batch.sky).sum(dim=(1, 2, 3))
    pull = (batch.counts.sum(dim=(1, 2, 3)) - expected) / (expected + 1).sqrt()
    assert pull.abs().max() < 5
    x, y = batch.catalog['x'], batch.catalog['y']
    assert x.min() >= -0.5
    assert y.max() <= 63.5


def test_the_same_seed():
    first, second, other = compose(3), compose(3), compose(3, seed=2)
    assert torch.equal(first.counts, second.counts)
    assert not torch.equal(first.counts, other.counts)


def test_light_of_the_sources():
    """The source image holds the flux of all that are above S/N 1."""
    batch = compose(16, **PLAIN)
    catalog = batch.catalog
    bright = catalog['snr'] >= 1
    flux = torch.zeros(16).index_add(0, catalog['scene'][bright],
                                     catalog['flux'][bright])  # fmt: skip
    assert_allclose(batch.source.sum(dim=(1, 2, 3)), flux, rtol=1e-3)
    # a bright source is where it is said to be
    brightest = int(catalog['snr'].argmax())
    scene = int(catalog['scene'][brightest])
    row, column = divmod(int(batch.source[scene, 0].argmax()), 64)
    assert abs(row - float(catalog['y'][brightest])) < 1.5
    assert abs(column - float(catalog['x'][brightest])) < 1.5


def test_signal_to_noise():
    """As the simulated patches of the gamma-ray sky have it."""
    from bgrem.simulate.count_fields import _Significance
    from bgrem.simulate.gamma.significance import template_significance

    axis = torch.arange(33.0) - 16
    psf = torch.exp(-(axis**2 + axis[:, None] ** 2) / 8)
    psf = (psf / psf.sum())[None, None]
    table = _Significance(psf)
    for level in (0.004, 3.0, 500.0):
        for snr in (0.5, 5.0, 60.0):
            flux = table.flux(snr, torch.tensor([level]))
            source = float(flux) * psf[0, 0].numpy().astype(float)
            found = template_significance(source, np.full(source.shape, level))
            assert_allclose(found, snr, rtol=0.05)
            again = table(torch.tensor([0]), flux, torch.tensor([level]))
            assert_allclose(float(again), snr, rtol=0.02)


def test_expected_counts():
    batch = compose(6, **{**PLAIN, 'expected_probability': 1.0})
    assert torch.equal(batch.counts, batch.source + batch.sky)
    generator = torch.Generator().manual_seed(1)
    assert torch.equal(batch.draw_again(generator), batch.counts)
    noisy = compose(6, **PLAIN)
    other = noisy.draw_again(generator)
    assert not torch.equal(other, noisy.counts)
    assert torch.equal(other, other.round())


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        ({'fwhm': (3.0, 1.0)}, 'fwhm must be a pair'),
        ({'level': (0.0, 1.0)}, 'level must be a pair'),
        ({'gap_probability': 1.5}, 'gap_probability must be in'),
    ],
)
def test_bad_options(options, match):
    with pytest.raises(ValueError, match=match):
        CountsConfig(**options)


def test_options_to_and_fro():
    config = CountsConfig(fwhm=(2, 3), gap_probability=0.5)
    assert CountsConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match='unknown'):
        CountsConfig.from_dict({'no_such': 1})
