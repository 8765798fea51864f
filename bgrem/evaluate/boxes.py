"""
The sky that a tool measures by default, compared with the best box chosen by the truth.
"""

import warnings
from itertools import product

import numpy as np
from astropy.utils.exceptions import AstropyWarning
from photutils.background import Background2D

from bgrem.evaluate.separator import GIVEN_BOX_SIZE
from bgrem.evaluate.sky import BGREM_ESTIMATORS, BOX_SIZES, sky_residual

__all__ = ['ALLOWANCE', 'CHOICES', 'FILTER_SIZES', 'BoxSurvey']

FILTER_SIZES = (1, 3)
CHOICES = tuple(product(BOX_SIZES, FILTER_SIZES))
# The sky by itself may be that many times, or that much of the noise, worse than the
# best choice, whichever is larger.
ALLOWANCE = (1.2, 0.005)
_GIVEN = (GIVEN_BOX_SIZE, 3)
_PARENT = 'Background2D'


class BoxSurvey:
    """
    Measure the sky by default, and with each of ten choices, on the same scenes.

    The choices are boxes of 8, 16, 32, 64 and 128 px, with a median filter of 1 or 3
    boxes; bgrem has ten with each of `bgrem.evaluate.sky.BGREM_ESTIMATORS`. The best is
    the choice with the smallest rms error over all scenes of a family, which can only
    be made with the truth. Scenes that a tool refuses are counted.

    Parameters
    ----------
    separator : `~bgrem.evaluate.separator.Separator`
        The separator of the scenes.
    """

    def __init__(self, separator):
        self.separator = separator
        self._moments = {}
        self._errors = {}
        self._n_scenes = 0

    def add(self, scene):
        """
        Measure one scene.

        Parameters
        ----------
        scene : `~bgrem.evaluate.scenes.Scene`
            The scene, of which only sums are kept.
        """
        self._n_scenes += 1
        ours = self.separator.background_with
        self._measure('by itself', scene, ours)
        for box_size, filter_size in CHOICES:
            choice = {'box_size': box_size, 'filter_size': filter_size}
            choice |= scene.options
            key = box_size, filter_size
            self._measure((_PARENT, *key), scene, _parent, **choice)
            for tool, estimator in BGREM_ESTIMATORS.items():
                choice['bkg_estimator'] = estimator
                self._measure((tool, *key), scene, ours, **choice)

    def _measure(self, name, scene, measure, **options):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore', AstropyWarning)
                background = measure(scene, **options).background
            residual = sky_residual(background, scene)
            if not np.isfinite(residual).all():
                msg = 'the sky is not finite'
                raise ValueError(msg)
        # Whatever stops a tool is a result here, not the end of the run.
        except Exception as error:
            self._errors.setdefault(name, []).append(f'{type(error).__name__}: {error}')
        else:
            moments = residual.mean(), np.mean(residual**2)
            self._moments.setdefault(name, {})[self._n_scenes] = moments

    def result(self):
        """
        Summarize all scenes added so far.

        Returns
        -------
        result : dict
            ``by itself``: bgrem without any option; ``bgrem given`` and
            ``Background2D given``: boxes of 32 px; ``bgrem best``, ``bgrem, mean
            best`` and ``Background2D best``, which have ``box_size`` and
            ``filter_size``; ``choices``, the rms of each of them. For each: ``bias``
            (mean error, averaged over the scenes), ``worst_bias`` (of the scene where
            it is farthest from 0) and ``rms``, in units of the noise, and
            ``n_failed``, the number of scenes that it refused, with the
            ``first_error``. The best choices of bgrem also have the ``ratio`` of the
            rms by default to theirs, for the scenes that both accepted, and
            ``is_near``, whether it is within ``ALLOWANCE`` and as many scenes were
            accepted. `None` means that there is no value.
        """
        tools = [*BGREM_ESTIMATORS, _PARENT]
        result = {
            'by itself': self._summary('by itself'),
            'bgrem given': self._summary(('bgrem', *_GIVEN)),
            f'{_PARENT} given': self._summary((_PARENT, *_GIVEN)),
            **{f'{tool} best': self._best(tool) for tool in tools},
            'choices': {
                tool: {
                    f'{box}/{window}': self._summary((tool, box, window))['rms']
                    for box, window in CHOICES
                }
                for tool in tools
            },
        }
        for tool in BGREM_ESTIMATORS:
            best = result[f'{tool} best']
            best |= self._compare((tool, best['box_size'], best['filter_size']))
        return result

    def _compare(self, best):
        """Compare the sky by itself with a choice, on the scenes that both have."""
        own = self._moments.get('by itself', {})
        other = self._moments.get(best, {})
        both = own.keys() & other.keys()
        if not both:
            return {'ratio': None, 'is_near': None}
        rms, least = (
            np.sqrt(np.mean([moments[k][1] for k in both])) for moments in (own, other)
        )
        limit = max(ALLOWANCE[0] * least, least + ALLOWANCE[1])
        is_near = rms <= limit and other.keys() <= own.keys()
        return {'ratio': float(rms / max(least, 1e-9)), 'is_near': bool(is_near)}

    def _summary(self, name):
        errors = self._errors.get(name, [])
        summary = dict.fromkeys(('bias', 'worst_bias', 'rms'))
        if name in self._moments:
            bias, square = np.array(list(self._moments[name].values())).T
            summary = {
                'bias': float(bias.mean()),
                'worst_bias': float(bias[np.argmax(abs(bias))]),
                'rms': float(np.sqrt(square.mean())),
            }
        first = errors[0] if errors else None
        return {**summary, 'n_failed': len(errors), 'first_error': first}

    def _best(self, tool):
        """Return the best of the choices that refused the fewest scenes."""

        def rank(choice):
            summary = self._summary((tool, *choice))
            rms = summary['rms']
            return summary['n_failed'], np.inf if rms is None else rms

        box_size, filter_size = min(CHOICES, key=rank)
        return {
            'box_size': box_size,
            'filter_size': filter_size,
            **self._summary((tool, box_size, filter_size)),
        }


def _parent(scene, box_size, **options):
    return Background2D(scene.image, box_size, mask=scene.mask, **options)
