"""Convert the units written by observatories to units of astropy."""

import re
import warnings

from astropy import units as u
from astropy.utils.exceptions import AstropyUserWarning

__all__ = ['parse_unit']

# What BUNIT calls its units, in whatever case, and their names in astropy. Read
# literally, DN/S would be per siemens.
_NAMES = {
    'adu': ('adu', 'adus'),
    'DN': ('dn', 'dns'),
    'ct': ('ct', 'cts', 'count', 'counts'),
    'electron': ('e', 'e-', 'el', 'els', 'elec', 'electron', 'electrons'),
    'photon': ('ph', 'photon', 'photons'),
    'ct/s': ('cps',),
    's': ('s', 'sec', 'secs', 'second', 'seconds'),
    'Jy': ('jy', 'jansky'),
    'uJy': ('ujy', 'microjy', 'microjansky'),
    'nJy': ('njy', 'nanojy', 'nanojansky'),
    'beam': ('beam', 'beams', 'bm'),
    'sr': ('sr', 'ster', 'steradian'),
    'arcsec': ('arcsec', 'arcsecond', 'arcseconds'),
    'pix': ('pix', 'pixel', 'pixels'),
    'mgy': ('mgy', 'maggy', 'maggies'),
    'nmgy': ('nmgy', 'nanomaggy', 'nanomaggies'),
    'erg': ('erg', 'ergs'),
    'Hz': ('hz',),
    'cm': ('cm',),
    'Angstrom': ('angstrom', 'angstroms', 'ang'),
}
_NAMES = {word: name for name, words in _NAMES.items() for word in words}
# A name, but not the exponent of a number; e- only where no digit follows.
_WORD = re.compile(r'(?<![\d.A-Za-z])(?:[eE]-(?!\d)|[A-Za-z]+)')


def parse_unit(text, path):
    """
    Return the unit of a BUNIT value.

    Parameters
    ----------
    text : object
        The value of the card; `None` if there is none.

    path : path-like
        The file, for the warning.

    Returns
    -------
    unit : `~astropy.units.Unit` or `None`
        The unit; `None` if the text is missing, empty, not understood, or not a
        linear unit (there is no sky in magnitudes).

    Warns
    -----
    `~astropy.utils.exceptions.AstropyUserWarning`
        If there is a text but it is not a usable unit.
    """
    if text is None or not str(text).strip():
        return None
    unit = _find_unit(text) if isinstance(text, str) else None
    if unit is None:
        msg = f'BUNIT = {text!r} of {path} is not understood: the results have no unit'
        warnings.warn(msg, AstropyUserWarning, stacklevel=4)
    return unit


def _find_unit(text):
    for candidate in (_WORD.sub(_standard_name, text), text):
        try:
            with warnings.catch_warnings():
                # Of what the standard discourages, as two slashes.
                warnings.simplefilter('ignore', u.UnitsWarning)
                unit = u.Unit(candidate, parse_strict='silent')
        except Exception:  # the parsers raise many kinds on what is no unit
            continue
        if isinstance(unit, u.UnrecognizedUnit):
            continue
        is_linear = isinstance(unit, u.UnitBase) and u.mag not in unit.bases
        return unit if is_linear else None
    return None


def _standard_name(match):
    word = match[0]
    if word.lower() == 'mjy':
        # In capitals it is the unit of infrared images.
        return 'MJy' if word.startswith('M') else 'mJy'
    return _NAMES.get(word.lower(), word)
