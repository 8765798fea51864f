"""Tests of files of maps that are written some rows at a time."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_array_equal

from bgrem.files.maps import MapsFile

META = {'version': '1.2', 'false_discovery_rate': 0.05}
FOUND = {'promised': 0.2409, 'flipped': None, 'log_odds_shift': -0.2578}


def make_images(n_cards):
    """Return two images with a header of so many cards."""
    header = fits.Header({f'CARD{k}': k for k in range(n_cards)})
    image = {
        'path': Path('in.fits'),
        'header': header,
        'primary_header': fits.Header(),
        'n_images': 2,
        'plane': None,
    }
    dtypes = {'SCI': 'f4', 'SEGM': 'i4'}
    return [
        (
            SimpleNamespace(
                image=SimpleNamespace(**image, number=k, hdu=f'{k}'), shape=(3, 4)
            ),
            dtypes,
            META,
        )
        for k in range(2)
    ]


@pytest.mark.parametrize('n_cards', range(8, 24))
def test_history_of_what_is_known_later(tmp_path, n_cards):
    """It fits before the pixels, whether or not it needs another block of cards."""
    images = make_images(n_cards)
    file = MapsFile(tmp_path / 'a.fits', images)
    pixels = np.arange(12.0).reshape(3, 4)
    for number in (0, 1):
        file.write(number, slice(0, 3), {'SCI': pixels + number, 'SEGM': pixels})
    file.close()
    size = (tmp_path / 'a.fits').stat().st_size
    # as where it goes on with it
    file = MapsFile(tmp_path / 'a.fits', images, is_new=False)
    for _ in range(2):
        file.add_history(1, {'false_discovery': FOUND})
    file.close()
    assert (tmp_path / 'a.fits').stat().st_size == size
    with fits.open(tmp_path / 'a.fits') as hdus:
        hdus.verify('exception')
        for number in (0, 1):
            hdu = hdus['SCI', number + 1]
            assert_array_equal(hdu.data, pixels + number)
            text = ''.join(hdu.header['HISTORY'])
            assert (f'false_discovery = {FOUND}' in text) == (number == 1)
            assert hdu.header[f'CARD{n_cards - 1}'] == n_cards - 1
            assert hdu.header['BGREMFDR'] == 0.05
            assert_array_equal(hdus['SEGM', number + 1].data, pixels)
