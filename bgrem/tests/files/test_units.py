"""Tests of the units that observatories write."""

import pytest
from astropy import units as u
from astropy.utils.exceptions import AstropyUserWarning

from bgrem.files.units import parse_unit

WORDS = ['adu', 'electrons', 'counts', 'dn', 'photon', 'jy', 'nanomaggies']


@pytest.mark.parametrize('word', WORDS)
@pytest.mark.parametrize('behind', ['', '/s', '/SEC', ' s-1', ' / second'])
def test_capitals_mean_nothing(word, behind):
    found = {
        parse_unit(form(word) + behind, 'in.fits')
        for form in (str.lower, str.upper, str.title)
    }
    assert len(found) == 1
    (unit,) = found
    per_second = parse_unit(word, 'in.fits') / (u.s if behind else 1)
    assert unit == per_second


@pytest.mark.parametrize(('text', 'unit'), [('mjy', 'mJy'), ('MJY', 'MJy')])
def test_but_of_the_jansky(text, unit):
    """In capitals it is that of infrared images."""
    assert parse_unit(f'{text}/SR', 'in.fits') == u.Unit(unit) / u.sr


@pytest.mark.parametrize('unit', ['ct', 'Jy', 'MJy / sr', 'W / m2', 'K', 'adu', 'm'])
@pytest.mark.parametrize('form', ['fits', 'generic', 'vounit'])
def test_what_astropy_writes_is_read(unit, form):
    try:
        text = u.Unit(unit).to_string(form)
    except ValueError:
        pytest.skip('this form has no such unit')
    assert parse_unit(text, 'in.fits') == u.Unit(unit)


@pytest.mark.parametrize('text', [None, '', '   '])
def test_no_unit(text):
    assert parse_unit(text, 'in.fits') is None


@pytest.mark.parametrize('text', ['mag', 'mag/arcsec2', 'furlongs', '???', 7, True])
def test_what_is_no_linear_unit(text):
    """There is no sky in magnitudes."""
    match = f'BUNIT = {text!r} of in.fits is not understood'.replace('?', r'\?')
    with pytest.warns(AstropyUserWarning, match=match):
        assert parse_unit(text, 'in.fits') is None
