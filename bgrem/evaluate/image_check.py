"""
What an image itself says about the reliability of its probabilities.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import logit

from bgrem.detect.discovery import ImageCheck
from bgrem.detect.peaks import MIN_PROBABILITY
from bgrem.detect.probability import calibrate

__all__ = ['ScenePeaks', 'fit_correction', 'fit_offset']

# Peaks below this have no say in the correction: thresholds are mostly above it.
_MIN_FITTED = 0.5
# Images beyond these percentiles of the calibration count as if they were there. The
# excess is the more wary one: scenes where the network fails have the lowest.
_LOWEST_PERCENTILE = 5
_WIDTH_PERCENTILES = (2, 50, 98)


@dataclass(frozen=True, eq=False)
class ScenePeaks:
    """
    The peaks of one scene, and those of its sign-flipped residual.

    Parameters
    ----------
    center_logit : 1D `~numpy.ndarray` of float
        The logits of the peaks.
    is_true : 1D `~numpy.ndarray` of bool
        Whether each is matched to a true source.
    flipped_logit : 1D `~numpy.ndarray` of float
        The logits of the peaks of the flipped residual.
    clean_fraction : float, optional
        The fraction of the image where these were searched for. Default 1.
    correlation : float, optional
        The correlation of the noise of neighboring pixels. Default 0.
    skewness : float, optional
        The skewness of the noise. Default 0.
    widths : 1D array_like of float or `None`, optional
        The FWHM of each peak; NaN if it has none. Default `None`: none has.
    is_neutral : 1D `~numpy.ndarray` of bool or `None`, optional
        Whether each peak counts neither way, see `bgrem.evaluate.matching.judge`. These
        are not used in fits. Default `None`: none does.
    """

    center_logit: np.ndarray
    is_true: np.ndarray
    flipped_logit: np.ndarray
    clean_fraction: float = 1.0
    correlation: float = 0.0
    skewness: float = 0.0
    widths: np.ndarray | None = None
    is_neutral: np.ndarray | None = None

    @property
    def counts(self):
        """
        Whether each peak is true or false (1D `~numpy.ndarray` of bool).
        """
        if self.is_neutral is None:
            return np.ones(len(self.is_true), dtype=bool)
        return ~self.is_neutral

    def probability(self, table):
        """
        Calibrate the peaks.

        Parameters
        ----------
        table : dict
            From `fit_table`.

        Returns
        -------
        probability : 1D `~numpy.ndarray` of float
            The probability of each peak.
        """
        return calibrate(self.center_logit, table).astype(float)

    def check(self, table):
        """
        Compare the image with the promised probabilities.

        Parameters
        ----------
        table : dict
            From `fit_table`.

        Returns
        -------
        check : `~bgrem.detect.discovery.ImageCheck`
            The check, as for the image of a user.
        """
        probability = self.probability(table)
        listed = probability >= MIN_PROBABILITY
        flipped = calibrate(self.flipped_logit, table)
        return ImageCheck.from_peaks(
            probability[listed],
            flipped[flipped >= MIN_PROBABILITY],
            self.clean_fraction,
            self.correlation,
            self.skewness,
            None if self.widths is None else self.widths[listed],
        )


def fit_correction(scenes, table):
    """
    Fit how properties of the images change the log-odds of their peaks.

    Parameters
    ----------
    scenes : sequence of `ScenePeaks`
        The scenes.
    table : dict
        Their calibration, from `fit_table`.

    Returns
    -------
    correction : dict
        For `bgrem.detect.discovery.ImageCheck.log_odds_shift`: a factor for each of the
        terms, and their ``limits``.

    Notes
    -----
    Logistic regression: the log-odds of a peak are those of the table plus a linear
    function of the `bgrem.detect.discovery.ImageCheck.terms` of its image. Only peaks
    with a probability above 0.5 are used. One scene in twenty is below the ``lowest``
    excess; one in fifty is narrower than the ``narrowest``, and one in fifty wider than
    the ``widest``.
    """
    checks = [scene.check(table) for scene in scenes]
    limits = _limits(checks)
    terms = [check.terms(limits) for check in checks]
    rows = [np.array(list(values.values())) for values in terms]
    factors = _fit_log_odds(scenes, table, rows, np.zeros(len(scenes)))
    pairs = zip(terms[0], factors, strict=True)
    return {**{name: round(float(value), 4) for name, value in pairs}, 'limits': limits}


def fit_offset(scenes, table, correction):
    """
    Refit the offset of a correction, with everything else unchanged.

    Parameters
    ----------
    scenes : sequence of `ScenePeaks`
        The scenes.
    table : dict
        Their calibration, from `fit_table`.
    correction : dict
        From `fit_correction`.

    Returns
    -------
    correction : dict
        A new correction, with another ``offset``.
    """
    shifts = [scene.check(table).log_odds_shift(correction) for scene in scenes]
    (change,) = _fit_log_odds(scenes, table, np.ones((len(scenes), 1)), shifts)
    return {**correction, 'offset': round(correction['offset'] + float(change), 4)}


def _fit_log_odds(scenes, table, terms, shifts):
    """
    Return the factors of the terms of each scene that explain its true peaks best.
    """
    parts = []
    for scene, values, shift in zip(scenes, terms, shifts, strict=True):
        p = scene.probability(table)
        fitted = (p >= _MIN_FITTED) & scene.counts
        columns = np.tile(values, (np.sum(fitted), 1))
        parts.append((logit(p[fitted]) + shift, scene.is_true[fitted], columns))
    log_odds, is_true, columns = map(np.concatenate, zip(*parts, strict=True))

    def loss(factors):
        z = log_odds + columns @ factors
        # A weak prior, without which equal scenes leave their factors undetermined.
        prior = 0.5 * np.sum(np.square(factors))
        return np.sum(np.logaddexp(0, z) - is_true * z) + prior

    return minimize(loss, np.zeros(columns.shape[1])).x


def _limits(checks):
    excess = [check.log_excess for check in checks]
    widths = np.array([check.width for check in checks])
    widths = widths[np.isfinite(widths)]
    # Where no scene has one its factor is zero, whatever the limits.
    narrowest, typical, widest = (
        np.percentile(widths, _WIDTH_PERCENTILES) if widths.size else np.ones(3)
    )
    values = {
        'lowest': np.percentile(excess, _LOWEST_PERCENTILE),
        'typical_width': typical,
        'narrowest': narrowest,
        'widest': widest,
    }
    return {name: round(float(value), 4) for name, value in values.items()}
