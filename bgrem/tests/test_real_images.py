"""
Real images: they run, give finite maps, and leave the data alone.

The images are not part of the package. They are looked for in the folder that the
environment variable BGREM_TEST_DATA names; without it these tests are skipped.
"""

import os
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from bgrem import DiffusionBackground

DATA = Path(os.environ.get('BGREM_TEST_DATA', os.devnull))
NAMES = [
    'cfhtls_w3_r',
    'chandra_acis_g21.5',
    'decam_i_obs04_5exp',
    'fermi_3fhl_gc_10GeV',
    'fermi_gc_8deg_two_evtypes',
    'ntt_emmi_R_galaxies',
    'ps1_stack_nanedge',
    'spitzer_irac_glimpse',
    'toros_eso085-030_004',
    'twomass_k_gc',
    'wise12um_w5',
    'ystar_saao_satstreak',
]

# Crowds that fill the image, stars narrower than a pixel, filaments, few photons.
DOUBTFUL = {
    'chandra_acis_g21.5',
    'fermi_3fhl_gc_10GeV',
    'fermi_gc_8deg_two_evtypes',
    'spitzer_irac_glimpse',
    'twomass_k_gc',
    'wise12um_w5',
}

NO_IMAGES = 'no real images: set BGREM_TEST_DATA to the folder that holds them'
pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason=NO_IMAGES),
    # NaN borders are part of real images; that they warn is tested elsewhere.
    pytest.mark.filterwarnings('ignore:Input data contains non-?finite'),
    pytest.mark.filterwarnings('ignore:No sources were found'),
    # Headers of old instruments.
    pytest.mark.filterwarnings('ignore:The following header keyword is invalid'),
]


def read(name):
    with fits.open(DATA / f'{name}.fits', memmap=False) as hdus:
        hdu = next(h for h in hdus if h.data is not None and h.data.ndim == 2)
        return hdu.data.copy()


def check(data, **options):
    before = data.copy()
    bkg = DiffusionBackground(data, 64, exclude_percentile=90, **options)
    np.testing.assert_array_equal(data, before)
    for image in (bkg.background, bkg.background_rms, bkg.source):
        assert image.shape == data.shape
        assert np.isfinite(image).all()
    assert (bkg.background_rms >= 0).all()
    probability = bkg.detection_probability
    assert 0 <= probability.min() <= probability.max() <= 1
    finite = np.isfinite(data)
    total = bkg.background + bkg.source + bkg.noise
    scale = np.abs(data[finite].astype(float)).max()
    np.testing.assert_allclose(total[finite], data[finite], atol=1e-5 * scale)
    segments = bkg.detect()
    if segments is not None:
        table = bkg.catalog(segments).to_table()
        assert len(table) == segments.n_labels
        assert np.isfinite(table['x_centroid']).all()
        assert np.isfinite(table['segment_flux']).all()
    return bkg


def doubts(name):
    """Expect the warning on images that the weights do not know, on others none."""
    if name in DOUBTFUL:
        # The latter where nothing is detected.
        reasons = 'false detections may be far|other weights may find sources'
        return pytest.warns(AstropyUserWarning, match=reasons)
    return nullcontext()


@pytest.mark.parametrize('name', NAMES)
def test_cut_out(name):
    data = read(name)
    # Where no rounding decides about the warning: the middle of some has few sources.
    y, x = (0 if name in DOUBTFUL else max(0, n // 2 - 64) for n in data.shape)
    with doubts(name):
        check(data[y : y + 128, x : x + 128])


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_whole_image(name):
    data = read(name)
    with doubts(name):
        check(data)


def test_galaxy_field_has_sources():
    data = read('ntt_emmi_R_galaxies')[200:456, 500:756]
    bkg = check(data)
    assert bkg.detect().n_labels > 20
    # A deep exposure of a flat sky: 61 counts of noise on 6850.
    assert bkg.background_median == pytest.approx(6850, abs=30)
    assert bkg.background_rms_median == pytest.approx(61, abs=5)


def test_trail_is_not_a_row_of_sources():
    data = read('ystar_saao_satstreak')
    bkg = check(data)
    segments = bkg.detect()
    # A trail found as one source, or as a string of them, is far longer than any
    # star of this image.
    if segments is not None:
        sizes = [max(s.stop - s.start for s in pair) for pair in segments.slices]
        assert max(sizes) < 200
