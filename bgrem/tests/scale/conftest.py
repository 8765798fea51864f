"""Fixtures of the tests of large images."""

import numpy as np
import pytest

from bgrem import DiffusionBackground

MAPS = ('SCI', 'BACKGROUND', 'BACKGROUND_RMS', 'SOURCE', 'PROBABILITY')


def draw_image(shape=(390, 260), seed=3):
    """A sky with a step and a wave, stars, an empty corner, bad pixels, two depths."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    sigma = np.where(y < 250, 5, 9)
    image = 1000 + sigma * rng.normal(size=shape)
    image += 20 * np.sin(y / 60) + 8 * (x > 100)
    for _ in range(80):
        y0, x0 = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        flux = 10 ** rng.uniform(2, 4)
        image += flux / 12 * np.exp(-((y - y0) ** 2 + (x - x0) ** 2) / 3.9)
    image[100:150, 50:120] = 0
    image[200:203, 7] = np.nan
    return image


def maps_of(background):
    """All maps of a background, by the names that they have in files."""
    maps = (
        background.subtract(),
        background.background,
        background.background_rms,
        background.source,
        background.detection_probability,
    )
    return dict(zip(MAPS, maps, strict=True))


@pytest.fixture(scope='session')
def image():
    return draw_image().astype(np.float32)


@pytest.fixture(scope='session')
def whole(image, tiny_weights):
    """The maps of the image, made in memory."""
    return in_memory(image, tiny_weights)


def in_memory(image, weights, **options):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return maps_of(DiffusionBackground(image, weights=weights, **options))


def assert_same_maps(found, expected):
    """Within thousandths of the noise: a GPU rounds to 10 bits, not always alike."""
    noise = np.median(expected['BACKGROUND_RMS'])
    for name, values in expected.items():
        unit = 1 if name == 'PROBABILITY' else noise
        np.testing.assert_allclose(
            found[name] / unit, values / unit, rtol=0, atol=3e-3, err_msg=name
        )


@pytest.fixture(params=[64, 192])
def band_height(request, monkeypatch):
    """Rows of the bands in which the image is seen; by default it is one band."""
    monkeypatch.setattr('bgrem.sky.bands._PIXELS', request.param * 260)
    return request.param


@pytest.fixture
def bands(monkeypatch):
    monkeypatch.setattr('bgrem.sky.bands._PIXELS', 64 * 260)
