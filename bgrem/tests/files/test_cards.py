"""Tests of headers and bytes of what is written."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from numpy.testing import assert_array_equal

from bgrem.files.cards import (
    add_history,
    hdu_bytes,
    header_provenance,
    plain_text,
    product_header,
    product_provenance,
    provenance_cards,
    table_hdu,
)

META = {
    'version': '1.2',
    'weights': 'optical',
    'weights_sha256': 'a' * 64,
    'n_steps': 3,
    'n_symmetries': 1,
    'normalization': 'local',
    'boxes': 'auto',
    'box_size': (16, 32),
    'device': 'cpu',
    'mask': f'{"masks/" * 20}m.fits[DQ], bits ~4',
    'error': 'in.fits[ERR], var',
    'effective_gain': 2.5,
    'false_discovery_rate': 0.05,
}


@pytest.mark.parametrize(
    'text', ['plain', 'Größe', 'two\nlines', 'tab\t', '中', 'a' * 200, '', "it's"]
)
def test_plain_text(text):
    """It fits a card, and nothing that did fit is changed."""
    written = plain_text(text)
    assert written.isascii()
    assert written.isprintable()
    assert plain_text(written) == written
    assert (written == text) == (text.isascii() and text.isprintable())
    header = fits.Header()
    header.add_history(written)
    assert ''.join(header['HISTORY']) == written


def test_what_is_written_is_read_again():
    header = fits.Header(provenance_cards(META))
    found = header_provenance(fits.Header.fromstring(header.tostring()))
    assert found == {**META, 'box_size': '(16, 32)'}
    assert list(found) == list(META)


def test_what_is_not_known_is_not_written():
    assert provenance_cards({'threshold': None, 'other': 1}) == []
    assert header_provenance(fits.Header()) == {}


@pytest.mark.parametrize('value', [0.5, 3, 'a text', np.float32(0.25), (1, 2)])
def test_values_of_cards(value):
    (card,) = provenance_cards({'threshold': value})
    assert (card.keyword, len(str(card))) == ('BGREMTHR', 80)
    assert str(card.value) == str(value)


def test_product_header():
    """What belongs to the old array goes, all else stays; the input is not changed."""
    header = fits.Header({'OBJECT': 'M 13', 'EXTNAME': 'SCI', 'EXTVER': 2, 'BLANK': 0})
    header['DATAMIN'] = 3.0
    header['COMMENT'] = 'one'
    header['COMMENT'] = 'two'
    before = header.tostring()
    copy = product_header(header)
    assert header.tostring() == before
    assert list(copy) == ['OBJECT', 'COMMENT', 'COMMENT']
    assert product_header(copy).tostring() == copy.tostring()
    assert len(product_header(None)) == 0


@pytest.mark.parametrize(
    'name',
    ['CHECKSUM', 'DATASUM', 'ZHECKSUM', 'ZDATASUM', 'DATAMAX', 'INHERIT', 'EXTLEVEL'],
)
def test_what_is_true_of_one_file_alone(name):
    header = fits.Header([(name, 1), ('AIRMASS', 1.5), (name, 2)])
    assert list(product_header(header)) == ['AIRMASS']


@pytest.mark.parametrize('plane', [None, (3,)])
def test_history(plane):
    header = fits.Header()
    image = SimpleNamespace(path=Path('a/Größe.fits'), hdu='SCI,2', plane=plane)
    add_history(header, META, image)
    lines = ' '.join(header['HISTORY'])
    assert 'image Gr\\xf6\\xdfe.fits HDU SCI,2' in lines
    assert ('plane (3,)' in lines) == (plane is not None)
    assert all(f'bgrem: {name} = ' in lines for name in META)
    assert META['mask'] in ''.join(header['HISTORY'])


def test_table():
    """Units that FITS does not know are in the file all the same."""
    table = Table({'flux': [1.0, 2.0] * u.DN, 'x': [3.0, 4.0] * u.pix, 'n': [1, 2]})
    hdu = table_hdu(table, provenance_cards(META))
    assert hdu.name == 'CATALOG'
    assert hdu.columns.units == ['DN', 'pix', '']
    assert header_provenance(hdu.header)['weights'] == 'optical'
    for name in table.colnames:
        assert_array_equal(hdu.data[name], table[name].value)


def test_bytes_of_parts_are_those_of_the_whole(tmp_path):
    """A file can be written one HDU after the other."""
    primary = fits.PrimaryHDU(header=fits.Header(provenance_cards(META)))
    extensions = [
        fits.ImageHDU(np.arange(6.0).reshape(2, 3), name='SCI'),
        fits.ImageHDU(np.ones((4, 4), 'i2'), name='DQ'),
    ]
    parts = hdu_bytes([primary])
    for hdu in extensions:
        parts += hdu_bytes([hdu], extensions=True)
    path = tmp_path / 'a.fits'
    path.write_bytes(parts)
    assert product_provenance(path) == {**META, 'box_size': '(16, 32)'}
    with fits.open(io.BytesIO(parts), checksum=True) as hdus:
        hdus.verify('exception')
        assert [hdu.name for hdu in hdus] == ['PRIMARY', 'SCI', 'DQ']
        for hdu, expected in zip(hdus[1:], extensions, strict=True):
            assert_array_equal(hdu.data, expected.data)


def test_file_of_others(tmp_path):
    fits.writeto(tmp_path / 'a.fits', np.zeros((2, 2)))
    assert product_provenance(tmp_path / 'a.fits') == {}
    with pytest.raises(FileNotFoundError, match='b.fits does not exist'):
        product_provenance(tmp_path / 'b.fits')
