"""Tests of bgrem.evaluate.real on images made by hand."""

import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_allclose

from bgrem.evaluate import injections, real
from bgrem.evaluate.injections import moffat_psf
from bgrem.evaluate.peers import matched_filter
from bgrem.evaluate.real import judge_stack, run_real

DETECTORS = {'matched': matched_filter}


def star_field(seed, noise=5.0, n_stars=30, fwhm=3.0, shape=(260, 270)):
    rng = np.random.default_rng(seed)
    places = np.random.default_rng(77)  # the same field whatever the noise
    image = np.full(shape, 300.0)
    for _ in range(n_stars):
        y, x = places.uniform(20, np.array(shape) - 20)
        row, column = round(y), round(x)
        window = np.s_[row - 16 : row + 17, column - 16 : column + 17]
        psf = moffat_psf(fwhm, x - column, y - row)
        image[window] += places.uniform(500, 8000) * psf
    return (image + rng.normal(0, noise, shape)).astype(np.float32)


def test_fwhm_is_measured():
    scene = real._observed(star_field(1, fwhm=3.4))
    assert_allclose(scene.fwhm, 3.4, rtol=0.12)


def test_fwhm_needs_sources():
    noise = np.random.default_rng(0).normal(size=(150, 150))
    with pytest.raises(ValueError, match='too few bright sources'):
        real._observed(noise)


def test_stack_is_the_truth():
    result = judge_stack(star_field(1), star_field(2, noise=1.0), DETECTORS)
    assert 25 <= result['n_true'] <= 40
    counts = result['methods']['matched']['true_positives']
    assert counts[-1] > 20


def test_stack_keeps_close_pairs_apart():
    fwhm = 5.0
    image = np.random.default_rng(5).normal(300, 1, (120, 120))
    for x, y, flux in ((60, 60, 4000), (60, 67, 2500), (20, 90, 3000), (95, 30, 66)):
        image[y - 16 : y + 17, x - 16 : x + 17] += flux * moffat_psf(fwhm)
    scene = real._scene(image, np.zeros(image.shape, bool), fwhm)
    found = real._stack_sources(scene)
    near = np.hypot(found.x - 60, found.y - 66.5) < 1.5
    assert near.sum() == 1
    # The matched filter alone sees one source there ...
    alone = matched_filter(scene)
    certain = alone.score > real.STACK_SNR
    assert not np.any(np.hypot(alone.x - 60, alone.y - 66.5)[certain] < 1.5)
    # ... but finds the faint star that the narrow filter misses, once.
    assert np.sum(np.hypot(found.x - 95, found.y - 30) < 2.5) == 1


def test_run_real(tmp_path, tiny_weights, monkeypatch):
    monkeypatch.setattr(injections, 'MAX_DRAWS', 2)
    fits.HDUList(
        [
            fits.PrimaryHDU(),
            fits.ImageHDU(star_field(1), name='EXP_A'),
            fits.ImageHDU(star_field(2, noise=1.0), name='STACK_BCDE'),
        ]
    ).writeto(tmp_path / real.STACK_IMAGE)
    image = star_field(4)
    image[:40] = np.nan
    fits.writeto(tmp_path / real.INJECTION_IMAGES[0], image)
    results = run_real(tmp_path, [tiny_weights], peers=DETECTORS)
    stack, injection = results['families'].values()
    assert stack['detection']['methods'].keys() == {'tiny', 'matched'}
    assert injection['injection']['methods'].keys() == {'tiny', 'matched'}
    text = real_report(results)
    assert 'Injected stars' in text
    assert 'S/N 15-50' in text
    assert '| detections |' in text


def real_report(results):
    from bgrem.evaluate.report import markdown_report

    return markdown_report(results)


def test_folder_without_images(tmp_path, tiny_weights):
    with pytest.raises(FileNotFoundError, match='holds none of the images'):
        run_real(tmp_path, [tiny_weights])
