"""
How significant a source is, given its counts and those of the sky.
"""

import numpy as np

__all__ = ['point_significance', 'significance_table', 'template_significance']

_RATIOS = np.geomspace(1e-6, 1e9, 121)


def template_significance(source, sky):
    """
    Return the S/N of a source whose shape is known.

    Parameters
    ----------
    source : `~numpy.ndarray` of float
        The expected counts of the source in each pixel.

    sky : `~numpy.ndarray` of float
        The expected counts of everything else; pixels without sky are not used.

    Returns
    -------
    snr : float
        The square root of the likelihood ratio of the expected counts with and
        without the source, ``2 sum((b + s) ln(1 + s/b) - s)`` (Cash 1979). Where the
        sky is bright, this is the S/N of a matched filter, ``sqrt(sum(s**2 / b))``;
        where it is faint, it is no larger than the photons themselves allow.
    """
    seen = (sky > 0) & (source > 0)
    b, ratio = sky[seen], source[seen] / sky[seen]
    return float(np.sqrt(np.sum(b * _excess(ratio))))


def significance_table(kernel):
    """
    Tabulate the S/N of point sources on a locally flat sky.

    Parameters
    ----------
    kernel : 2D `~numpy.ndarray` of float
        The light of a source in each pixel, unit sum.

    Returns
    -------
    table : 1D `~numpy.ndarray` of float
        For `point_significance`.
    """
    light = kernel[kernel > 1e-6 * kernel.max()]
    # Pixels of the same light to 2% are counted together.
    group = np.round(np.log(light) / 0.02).astype(int)
    number = np.bincount(group - group.min())
    share = np.bincount(group - group.min(), light)[number > 0]
    number = number[number > 0]
    excess = _excess(_RATIOS[:, None] * (share / number))
    return np.log(excess @ number / _RATIOS)


def point_significance(table, counts, ratio):
    """
    Return the S/N of point sources.

    Parameters
    ----------
    table : 1D `~numpy.ndarray` of float
        From `significance_table`.

    counts : 1D `~numpy.ndarray` of float
        The expected counts of each source.

    ratio : 1D `~numpy.ndarray` of float
        These counts divided by those of the sky in one pixel.

    Returns
    -------
    snr : 1D `~numpy.ndarray` of float
        As from `template_significance`.
    """
    per_count = np.exp(np.interp(np.log(ratio), np.log(_RATIOS), table))
    return np.sqrt(counts * per_count)


def _excess(ratio):
    """Return 2 ((1 + u) ln(1 + u) - u), also where u is small."""
    series = ratio**2 - ratio**3 / 3
    return np.where(ratio < 1e-3, series, 2 * ((1 + ratio) * np.log1p(ratio) - ratio))
