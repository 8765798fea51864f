"""
How well stars are distinguished from galaxies.
"""

import itertools

import numpy as np

__all__ = ['KIND_SNR_EDGES', 'roc_area', 'summarize_kinds']

KIND_SNR_EDGES = (3.0, 10.0, 20.0, 50.0, np.inf)
# The stars that are kept where this part of the galaxies is taken for stars too.
_GALAXIES_KEPT = 0.1


def roc_area(star_score, galaxy_score):
    """
    Return the area under the receiver operating characteristic.

    Parameters
    ----------
    star_score, galaxy_score : 1D array_like of float
        The scores of stars and of galaxies, higher for objects more like a star.

    Returns
    -------
    area : float
        The probability that a star has a higher score than a galaxy, with ties counted
        as half; NaN without both.
    """
    stars, galaxies = np.sort(star_score), np.asarray(galaxy_score, dtype=float)
    if not (stars.size and galaxies.size):
        return np.nan
    above = stars.size - np.searchsorted(stars, galaxies, side='right')
    equal = stars.size - np.searchsorted(stars, galaxies, side='left') - above
    return float(np.mean(above + equal / 2) / stars.size)


def summarize_kinds(table):
    """
    Summarize a measure of stars and galaxies in bins of signal-to-noise ratio.

    Parameters
    ----------
    table : dict of str to 1D `~numpy.ndarray`
        ``concentration``, ``snr`` and ``is_star`` of matched sources. Those without a
        finite concentration are excluded.

    Returns
    -------
    rows : list of dict
        For each bin of `KIND_SNR_EDGES` with both kinds: ``snr_low``, ``snr_high``
        (`None`: no limit), ``n_stars``, ``n_galaxies``, their ``median_star`` and
        ``median_galaxy``, the ``area`` under the ROC and ``stars_kept``, the fraction
        of the stars above a limit that a tenth of the galaxies exceeds.
    """
    rows = []
    known = np.isfinite(table['concentration'])
    score, snr, is_star = (
        np.asarray(table[name])[known] for name in ('concentration', 'snr', 'is_star')
    )
    for low, high in itertools.pairwise(KIND_SNR_EDGES):
        inside = (snr >= low) & (snr < high)
        stars, galaxies = score[inside & is_star], score[inside & ~is_star]
        if not (stars.size and galaxies.size):
            continue
        limit = np.quantile(galaxies, 1 - _GALAXIES_KEPT)
        rows.append(
            {
                'snr_low': low,
                'snr_high': None if np.isinf(high) else high,
                'n_stars': int(stars.size),
                'n_galaxies': int(galaxies.size),
                'median_star': float(np.median(stars)),
                'median_galaxy': float(np.median(galaxies)),
                'area': roc_area(stars, galaxies),
                'stars_kept': float(np.mean(stars > limit)),
            }
        )
    return rows
