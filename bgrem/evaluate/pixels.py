"""
The effect of denoising on the values of the pixels.
"""

import numpy as np

__all__ = ['PixelSurvey']

_EDGES = np.linspace(-6, 24, 121)  # noise sigma
_CUTOUT = 96  # pixels


class PixelSurvey:
    """
    Count pixel values before and after, and keep a cutout for inspection.

    All values are in units of the noise. ``data`` is the image minus its true
    sky, ``subtracted`` the image minus the sky of bgrem, ``denoised`` its
    source image and ``truth`` the noise-free one.

    Parameters
    ----------
    separator : `~bgrem.evaluate.separator.Separator`
        The separator of the scenes.
    """

    def __init__(self, separator):
        self.separator = separator
        self._counts = {}
        self._cutouts = {}

    def add(self, scene):
        """
        Count the pixels of one scene.

        Parameters
        ----------
        scene : `~bgrem.evaluate.scenes.Scene`
            The scene. A cutout of the first one is kept.
        """
        bkg = self.separator.background(scene)
        images = {
            'data': scene.image - scene.sky,
            'subtracted': bkg.subtract(),
            'denoised': bkg.source,
            'truth': scene.source,
        }
        first = not self._cutouts
        for name, image in images.items():
            values = np.where(scene.mask, 0, image / scene.sigma)
            counts, _ = np.histogram(values[~scene.mask], _EDGES)
            self._counts[name] = self._counts.get(name, 0) + counts
            if first:
                part = values[:_CUTOUT, :_CUTOUT].astype(float)
                self._cutouts[name] = np.round(part, 2).tolist()

    def result(self):
        """
        Summarize all scenes added so far.

        Returns
        -------
        result : dict
            ``edges`` of the bins and ``counts`` in them by image, and
            ``cutouts``: for each image the corner of the first scene, a list
            of rows.
        """
        return {
            'edges': _EDGES.tolist(),
            'counts': {name: n.tolist() for name, n in self._counts.items()},
            'cutouts': self._cutouts,
        }
