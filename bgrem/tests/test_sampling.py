"""
Tests of images whose pixels are finer, or whose holes are larger, than those of the
training: through the network that is shipped.
"""

from contextlib import nullcontext

import numpy as np
import pytest
from astropy.utils.exceptions import AstropyUserWarning
from numpy.testing import assert_allclose, assert_array_equal
from photutils.background import Background2D
from scipy.ndimage import gaussian_filter, zoom

from bgrem import DiffusionBackground
from bgrem.detect.peaks import find_peaks
from bgrem.inspection import inspect_image
from bgrem.pipeline import sampling_of, separate

SIZE = 360
Y, X = np.mgrid[:SIZE, :SIZE]
PLACES = [(y + y % 7, x + x % 5) for y in (50, 162, 290) for x in (45, 97, 187, 301)]


def noise(seed=0, size=SIZE):
    return np.random.default_rng(seed).normal(size=(size, size))


def star(y, x, fwhm, snr):
    """A Gaussian star of given S/N on white noise of unit variance."""
    profile = np.exp(-4 * np.log(2) * ((Y - y) ** 2 + (X - x) ** 2) / fwhm**2)
    return snr * profile / np.sqrt(np.sum(profile**2))


def ring(y, x, radius, snr):
    """A defocused star."""
    distance = np.hypot(Y - y, X - x)
    inside = (distance < radius) & (distance > 0.4 * radius)
    profile = gaussian_filter(inside.astype(float), 1.5)
    return snr * profile / np.sqrt(np.sum(profile**2))


def count_found(background, radius, places=PLACES, names=('y_centroid', 'x_centroid')):
    """Return how many places have a detection nearby, and how many detections none."""
    table = background.catalog().to_table()
    y, x = (np.asarray(table[name]) for name in names)
    distance = np.hypot(
        *(
            found[:, None] - true
            for found, true in zip((y, x), np.transpose(places), strict=True)
        )
    )
    return np.sum(distance.min(0) < radius), np.sum(distance.min(1) > radius)


@pytest.mark.parametrize(
    ('make', 'width'), [(star, 9), (star, 13), (star, 18), (ring, 7), (ring, 10)]
)
def test_broad_sources(make, width):
    data = 100 + noise()
    for k, (y, x) in enumerate(PLACES):
        data += make(y, x, width, 70 + 10 * k)
    background = DiffusionBackground(data, 72, exclude_percentile=90)
    found, false = count_found(background, 0.7 * width)
    assert found == len(PLACES)
    assert false <= 3
    assert background.meta['binning'] > 1
    assert_allclose(background.background, 100, atol=0.5)


@pytest.mark.parametrize('factor', [2, 3])
def test_finer_pixels(factor):
    """An interpolated image gives the sources of the image itself."""
    native = 100 + noise(1)
    for k, (y, x) in enumerate(PLACES):
        native += star(y, x, 2.4, (40, 7)[k % 2])
    native = native[:240, :240]
    fine = zoom(native, factor, order=1, mode='nearest', grid_mode=True)
    counts = []
    for data, scale in ((native, 1), (fine, factor)):
        background = DiffusionBackground(data, 40 * scale, exclude_percentile=90)
        inside = [(y, x) for y, x in PLACES if max(y, x) < 230]
        scaled = [((y + 0.5) * scale - 0.5, (x + 0.5) * scale - 0.5) for y, x in inside]
        counts.append(count_found(background, 2 * scale, scaled))
        assert background.meta['binning'] == scale
    (native_found, _), (found, false) = counts
    assert abs(found - native_found) <= 1
    assert false <= 2


def test_matched():
    """An image matched to a broad PSF gives the sources of the image itself."""
    native = 100 + noise(1)
    # what was smoothed is 7 px wide, and every other star has a neighbor at 5.8 px
    places = PLACES + [(y + 5, x + 3) for y, x in PLACES[::2]]
    for k, (y, x) in enumerate(places):
        native += star(y, x, 2.8, (60, 50, 40)[k % 3])
    data = gaussian_filter(native, 2.7)
    background = DiffusionBackground(data, 72, exclude_percentile=90)
    found, false = count_found(background, 2, places, ('y', 'x'))
    assert found >= len(places) - 1
    assert false <= 2
    assert background.meta['sharpening'] > 1.5
    assert_allclose(background.background, 100, atol=0.1)
    assert abs(len(background.finder()(data)) - len(places)) <= 2


@pytest.mark.parametrize(('binning', 'sharpening'), [(4, 0.0), (1, 1.5), (1.5, 2.0)])
def test_binning(tiny_weights, binning, sharpening):
    """What was found in squares is there on the pixels; masked pixels do not matter."""
    sampling = {'binning': binning, 'sharpening': sharpening}
    data = 100 + noise()[:90, :101] + star(40, 50, 8, 300)[:90, :101]
    mask = np.zeros(data.shape, dtype=bool)
    mask[10:30, 60:85] = True
    found = separate(data, mask, weights=tiny_weights, **sampling)
    assert sampling_of(found.meta) == sampling
    assert found.source.shape == found.probability.shape == data.shape
    assert found.normalization.scale.shape == data.shape
    assert_array_equal(found.source[mask], 0)
    assert_array_equal(found.probability[mask], 0)
    other = separate(np.where(mask, np.nan, data), weights=tiny_weights, **sampling)
    assert_array_equal(other.source, found.source)
    assert_array_equal(other.probability, found.probability)
    peaks = find_peaks(found.probability, mask)
    inspection = inspect_image(
        data, mask, found.source, peaks, weights=tiny_weights, **sampling
    )
    assert 0.5 < inspection.clean_fraction <= 1
    assert len(inspection.widths) == len(peaks)


def test_single_counts_are_not_binned(tiny_weights):
    """A halo of photons is no broad PSF."""
    halo = 2 / (1 + ((X - 180) ** 2 + (Y - 170) ** 2) / 30**2) ** 1.5
    data = np.random.default_rng(4).poisson(0.1 + halo)
    assert separate(data * 1.0, weights=tiny_weights).meta['binning'] == 1


def test_binning_with_error(tiny_weights):
    """An error map is binned with the image; a factor of it does no harm."""
    error = np.where(X < 120, 1.0, 3.0)
    data = 100 + error * noise()
    first, second = (
        separate(data, weights=tiny_weights, binning=2, error=factor * error)
        for factor in (1, 5)
    )
    assert_allclose(second.probability, first.probability, atol=1e-3)
    scale = first.normalization.scale
    assert_allclose(np.median(scale[:, 140:]) / np.median(scale[:, :100]), 3, rtol=0.1)


def holes():
    """Kinds of masks with area."""
    islands = np.ones((SIZE, SIZE), dtype=bool)
    islands[60:92, 70:102] = islands[180:212, 200:232] = False
    gaps = (X % 80 > 68) | (abs(Y - 100) < 6)
    dots = gaussian_filter(noise(5), 4) > 0.01
    return [X // 8 % 2 == 1, X // 16 % 2 == 1, islands, gaps, dots]


@pytest.mark.parametrize(
    'hidden', holes(), ids=['stripes8', 'stripes16', 'islands', 'gaps', 'blobs']
)
@pytest.mark.parametrize('as_nan', [True, False])
def test_sky_beside_holes(hidden, as_nan):
    """Hidden areas do not make the noise beside them a source."""
    data = 100 + noise(6)
    options = {'exclude_percentile': 97}
    if as_nan:
        data[hidden] = np.nan
    else:
        options['mask'] = hidden
    warning = pytest.warns(AstropyUserWarning, match='non-?finite')
    with warning if as_nan else nullcontext():
        background = DiffusionBackground(data, 60, **options)
    with warning if as_nan else nullcontext():
        expected = Background2D(data, 60, **options)
    error = np.mean(background.background[~hidden]) - 100
    parent_error = np.mean(expected.background[~hidden]) - 100
    assert abs(error) < max(0.03, abs(parent_error) + 0.01)
    assert np.mean(background.source[~hidden]) < 0.03
