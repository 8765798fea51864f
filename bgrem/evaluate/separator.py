"""
The denoiser, which runs once for each scene, for all measurements on it.
"""

import warnings

from astropy.utils.exceptions import AstropyWarning

from bgrem.background import DiffusionBackground
from bgrem.detect.peaks import find_peaks
from bgrem.evaluate.peers import list_peaks
from bgrem.inspection import inspect_image
from bgrem.pipeline import sampling_of, separate

__all__ = ['BGREM_BOX_SIZE', 'GIVEN_BOX_SIZE', 'Separator']

BGREM_BOX_SIZE = 'auto'
GIVEN_BOX_SIZE = 32  # where a box has to be given, as to Background2D


class Separator:
    """
    Separate scenes with given weights, each scene once.

    All measurements on a scene share one run of the network, and one more on the
    sign-flipped residual. Only the results of the last scene are kept.

    Parameters
    ----------
    weights : `~bgrem.weights.Weights`
        Loaded weights.
    n_symmetries : int, optional
        See `bgrem.denoise.run.denoise`.
    normalization : optional
        See `bgrem.pipeline.separate`; by default that of
        `~bgrem.DiffusionBackground`.
    """

    def __init__(self, weights, *, n_symmetries=1, normalization='local'):
        self.options = {
            'weights': weights,
            'n_symmetries': n_symmetries,
            'normalization': normalization,
        }
        self.weights = weights
        self._scene = None
        self._results = {}

    def _once(self, scene, key, function, *args, **options):
        """Return a result for the scene, computed at its first use."""
        if scene is not self._scene:
            self._scene, self._results = scene, {}
        if key not in self._results:
            self._results[key] = function(*args, **options)
        return self._results[key]

    def separate(self, scene):
        """
        Separate the sources of a scene.

        Parameters
        ----------
        scene : `~bgrem.evaluate.scenes.Scene`
            The scene, of which only image and mask are used.

        Returns
        -------
        separation : `~bgrem.pipeline.Separation`
            The result, which is shared: its arrays must not be changed.
        """
        return self._once(
            scene, 'separation', separate, scene.image, scene.mask, **self.options
        )

    def find_peaks(self, scene):
        """
        Find the peaks of the probability of a scene.

        Parameters
        ----------
        scene : `~bgrem.evaluate.scenes.Scene`
            Only image and mask are used.

        Returns
        -------
        peaks : structured `~numpy.ndarray`
            From `bgrem.detect.peaks.find_peaks`.
        """
        probability = self.separate(scene).probability
        return self._once(scene, 'peaks', find_peaks, probability, scene.mask)

    def inspect(self, scene):
        """
        Measure what a scene itself says about the reliability of its probabilities.

        Parameters
        ----------
        scene : `~bgrem.evaluate.scenes.Scene`
            Only image and mask are used.

        Returns
        -------
        inspection : `bgrem.inspection.Inspection`
        """
        return self._once(
            scene,
            'inspection',
            inspect_image,
            scene.image,
            scene.mask,
            self.separate(scene).source,
            self.find_peaks(scene),
            **sampling_of(self.separate(scene).meta),
            **self.options,
        )

    def detect(self, scene):
        """
        List the peaks of the calibrated detection probability of a scene.

        Parameters
        ----------
        scene : `~bgrem.evaluate.scenes.Scene`
            Only image and mask are used.

        Returns
        -------
        detections : `~bgrem.evaluate.peers.Detections`
            As from `bgrem.evaluate.peers.probability_peaks`.
        """
        found = self.separate(scene)
        inspection = None if found.correction is None else self.inspect(scene)
        return list_peaks(self.find_peaks(scene), found.correction, inspection)

    def background(self, scene, box_size=BGREM_BOX_SIZE, bkg_estimator=None):
        """
        Measure the sky of a scene.

        Parameters
        ----------
        scene : `~bgrem.evaluate.scenes.Scene`
            Only image and mask are used.
        box_size : int or str, optional
            The box in pixels, or ``'auto'``, the default of bgrem.
        bkg_estimator : callable, optional
            As for `~photutils.background.Background2D`.

        Returns
        -------
        background : `~bgrem.DiffusionBackground`
            The background; with a given box size, with the ``options`` of the scene.
        """
        options = {} if bkg_estimator is None else {'bkg_estimator': bkg_estimator}
        if box_size != BGREM_BOX_SIZE:
            options |= {'box_size': box_size, **scene.options}
        return self.background_with(scene, **options)

    def background_with(self, scene, **options):
        """
        Measure the sky of a scene with other options.

        Parameters
        ----------
        scene : `~bgrem.evaluate.scenes.Scene`
            Only image and mask are used.
        **options
            Options of `~bgrem.DiffusionBackground`, hashable; by default its own.

        Returns
        -------
        background : `~bgrem.DiffusionBackground`
        """
        key = ('background', tuple(options.items()))
        return self._once(scene, key, _SeparatedBackground, self, scene, options)


class _SeparatedBackground(DiffusionBackground):
    """The background of a scene whose sources are separated elsewhere."""

    def __init__(self, separator, scene, options):
        self._separator = separator
        self._scene = scene
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', AstropyWarning)
            super().__init__(
                scene.image, mask=scene.mask, **separator.options, **options
            )

    def _separate(self, *_, **__):
        return self._separator.separate(self._scene)

    def _inspect(self):
        return self._separator.inspect(self._scene)
