"""
The effect of the number of steps and the normalization on detections and images.
"""

import numpy as np

from bgrem.detect.peaks import MIN_PROBABILITY, find_peaks
from bgrem.evaluate.curves import true_positives_at
from bgrem.evaluate.matching import judge, match_radius

__all__ = ['CONTAMINATION', 'FACTORS', 'STEPS', 'SensitivitySurvey']

STEPS = (1, 3, 6, 11, 15)
FACTORS = (0.25, 0.5, 0.7, 1.0, 1.4, 2.0, 4.0)
CONTAMINATION = 0.05
# 43 runs of the network for each scene are enough of a few scenes.
_MAX_SCENES = 4
_MIN_SOURCE_SNR = 0.1  # of a peak of the denoised image, in units of the noise


class SensitivitySurvey:
    """
    Run weights with other numbers of steps and other normalizations.

    Only the first four scenes of a family are used: each takes 36 steps of
    the network for `STEPS` and one default run for each of `FACTORS`.

    Parameters
    ----------
    weights : `~bgrem.weights.Weights`
        Loaded weights.
    steps : sequence of int, optional
        Numbers of diffusion steps.
    factors : sequence of float, optional
        Factors by which the normalized image is multiplied; 1 is the local
        normalization itself.
    """

    def __init__(self, weights, steps=STEPS, factors=FACTORS):
        self.weights = weights
        self.choices = {'steps': tuple(steps), 'factors': tuple(factors)}
        self._runs = {}
        self._n_scenes = 0

    def add(self, scene):
        """
        Measure one scene, if it is among the first four.

        Parameters
        ----------
        scene : `~bgrem.evaluate.scenes.Scene`
            The scene, of which only the matched detections are kept.
        """
        from bgrem.pipeline import separate
        from bgrem.sky.normalize import estimate_normalization

        if self._n_scenes == _MAX_SCENES:
            return
        self._n_scenes += 1
        scale = estimate_normalization(scene.image, scene.mask).scale
        inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
        options = {
            'steps': [{'n_steps': n} for n in self.choices['steps']],
            'factors': [
                {'normalization': f * inverse} for f in self.choices['factors']
            ],
        }
        for kind, choices in self.choices.items():
            for value, option in zip(choices, options[kind], strict=True):
                found = separate(
                    scene.image, scene.mask, weights=self.weights, **option
                )
                run = self._runs.setdefault((kind, value), [])
                run.append(_judge(found, scene))

    def result(self):
        """
        Summarize all scenes added so far.

        Returns
        -------
        result : dict
            ``n_scenes``; ``steps`` and ``factors``: a list of dict, each with
            ``value`` (number of steps, or factor), ``mean_absolute_error`` of
            the denoised image in units of the noise, and the true positives
            at 5% contamination by the ``probability`` and by the peaks of the
            ``denoised`` image divided by the noise.
        """
        result = {'n_scenes': self._n_scenes, 'steps': [], 'factors': []}
        for (kind, value), run in self._runs.items():
            row = {
                'value': value,
                'mean_absolute_error': float(np.mean([error for error, _ in run])),
            }
            for name in ('probability', 'denoised'):
                score, is_true = (
                    np.concatenate([found[name][k] for _, found in run]) for k in (0, 1)
                )
                row[name] = int(true_positives_at(score, is_true, [CONTAMINATION])[0])
            result[kind].append(row)
        return result


def _judge(separation, scene):
    """Return the error of the denoised image, and scores and truth of peaks."""
    good = ~scene.mask
    error = np.abs(separation.source - scene.source)[good] / scene.sigma[good]
    maps = {
        'probability': (separation.probability, MIN_PROBABILITY),
        'denoised': (separation.source / scene.sigma, _MIN_SOURCE_SNR),
    }
    found = {}
    for name, (image, minimum) in maps.items():
        peaks = find_peaks(image, scene.mask, minimum)
        score = peaks['probability'].astype(float)
        is_true, is_neutral = judge(
            peaks['x_center'],
            peaks['y_center'],
            score,
            scene.catalog,
            match_radius(scene.fwhm),
        )
        found[name] = (score[~is_neutral], is_true[~is_neutral])
    return float(error.mean()), found
