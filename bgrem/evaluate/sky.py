"""
Errors of the sky, and the light kept by denoising, compared with a known truth.
"""

import warnings

import numpy as np
from astropy.utils.exceptions import AstropyWarning
from photutils.background import Background2D, MeanBackground

from bgrem.evaluate.separator import BGREM_BOX_SIZE

__all__ = [
    'BGREM_ESTIMATORS',
    'BOX_SIZES',
    'RADIUS_EDGES',
    'SkySurvey',
    'bgrem_name',
    'sky_residual',
]

# With its sources gone an image can be measured in boxes as small as its nebulosity.
BOX_SIZES = (8, 16, 32, 64, 128)
# The default mode, 2.5 median - 1.5 mean, guards against sources. Where they are
# gone it only adds noise.
BGREM_ESTIMATORS = {'bgrem': None, 'bgrem, mean': MeanBackground()}
# Radii around sources, in units of their size.
RADIUS_EDGES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_MIN_PROFILE_SNR = 10.0


def sky_residual(background, scene):
    """
    Return the error of a sky map in units of the noise.

    Parameters
    ----------
    background : 2D `~numpy.ndarray` of float
        Estimated sky.
    scene : `~bgrem.evaluate.scenes.Scene`
        The truth.

    Returns
    -------
    residual : 1D `~numpy.ndarray` of float
        (background - true sky) / noise sigma where the sky of the scene is judged.
    """
    return ((background - scene.sky) / scene.sigma)[scene.judged].astype(float)


class SkySurvey:
    """
    Measure the sky error of bgrem and of Background2D on the same scenes.

    Besides the error over the whole scene, the error in rings around true sources with
    S/N above 10 is measured, and the fraction of their light that the denoised image
    keeps there. The rings are in units of the size of a source: the FWHM for stars;
    the FWHM and twice the half-light radius, added in quadrature, for galaxies.
    Neighbors in a ring are not removed.

    Parameters
    ----------
    separator : `~bgrem.evaluate.separator.Separator`
        The separator of the scenes.
    box_sizes : sequence of int, optional
        Boxes in pixels with which Background2D and bgrem are run, to compare the best
        of each (for bgrem, with each of `BGREM_ESTIMATORS`). The default of bgrem,
        automatic boxes, is also run.
    """

    def __init__(self, separator, box_sizes=BOX_SIZES):
        self.separator = separator
        self.box_sizes = box_sizes
        self._moments = {}
        self._rings = {}

    def add(self, scene):
        """
        Measure one scene.

        Parameters
        ----------
        scene : `~bgrem.evaluate.scenes.Scene`
            The scene, of which only sums are kept.
        """
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', AstropyWarning)
            skies = {
                _parent(box): Background2D(
                    scene.image, box, mask=scene.mask, **scene.options
                ).background
                for box in self.box_sizes
            }
        for method, estimator in BGREM_ESTIMATORS.items():
            for box in dict.fromkeys([BGREM_BOX_SIZE, *self.box_sizes]):
                background = self.separator.background(scene, box, estimator)
                skies[bgrem_name(box, method)] = background.background
        for name, sky in skies.items():
            residual = sky_residual(sky, scene)
            moments = (residual.mean(), np.mean(residual**2))
            self._moments.setdefault(name, []).append(moments)
        self._add_rings(scene, skies, self.separator.separate(scene).source)

    def _add_rings(self, scene, skies, denoised):
        """Sum errors and light in rings around the bright sources."""
        maps = {name: (sky - scene.sky) / scene.sigma for name, sky in skies.items()}
        truth = scene.catalog
        size = np.hypot(scene.fwhm, 2 * truth['half_light_radius'])
        for i in np.flatnonzero(truth['snr'] > _MIN_PROFILE_SNR):
            kind = 'star' if truth['is_star'][i] else 'galaxy'
            reach = RADIUS_EDGES[-1] * size[i]
            box = tuple(
                slice(max(int(center - reach), 0), int(center + reach) + 2)
                for center in (truth['y'][i], truth['x'][i])
            )
            y, x = np.mgrid[box[0].start : box[0].stop, box[1].start : box[1].stop]
            part = np.s_[: scene.mask[box].shape[0], : scene.mask[box].shape[1]]
            radius = np.hypot(y - truth['y'][i], x - truth['x'][i])[part] / size[i]
            ring = np.digitize(radius, RADIUS_EDGES) - 1
            good = ~scene.mask[box] & (ring < len(RADIUS_EDGES) - 1)
            self._count(kind, 'n', ring[good], 1.0)
            for name, error in maps.items():
                values = error[box][good]
                self._count(kind, (name, 'sum'), ring[good], values)
                self._count(kind, (name, 'square'), ring[good], values**2)
            # Every source counts the same, however bright.
            for name, light in (('true', scene.source), ('kept', denoised)):
                self._count(kind, name, ring[good], light[box][good] / truth['flux'][i])

    def _count(self, kind, name, ring, values):
        weights = np.broadcast_to(np.asarray(values, float), ring.shape)
        sums = np.bincount(ring, weights, minlength=len(RADIUS_EDGES) - 1)
        rings = self._rings.setdefault(kind, {})
        rings[name] = rings.get(name, 0.0) + sums

    def result(self):
        """
        Summarize all scenes added so far.

        Returns
        -------
        result : dict
            For each method ``rms`` (over all pixels of all scenes),
            ``median_rms`` (the median scene) and ``bias`` (mean error), in
            units of the noise, and ``profiles``: for stars and for galaxies
            ``radius`` (the outer edge of each ring, in sizes), ``bias`` and
            ``rms`` in it. ``bgrem`` also has ``light_kept``, denoised divided by
            true light in each ring. `None` means that there are no pixels.
            ``Background2D best``, ``bgrem best`` and ``bgrem, mean best`` repeat
            the box with the smallest ``rms`` among the ``box_sizes``, with its
            ``box_size``.
        """
        summary = {}
        for name, moments in self._moments.items():
            mean, square = np.array(moments).T
            summary[name] = {
                'rms': float(np.sqrt(square.mean())),
                'median_rms': float(np.median(np.sqrt(square))),
                'bias': float(mean.mean()),
                'profiles': {
                    kind: _profile(rings, name) for kind, rings in self._rings.items()
                },
            }
        names = {'Background2D': {box: _parent(box) for box in self.box_sizes}}
        for method in BGREM_ESTIMATORS:
            names[method] = {box: bgrem_name(box, method) for box in self.box_sizes}
        for method, of_box in names.items():
            of_box = {box: summary[name] for box, name in of_box.items() if summary}
            if of_box:
                box = min(of_box, key=lambda box: of_box[box]['rms'])
                summary[f'{method} best'] = {'box_size': box, **of_box[box]}
        return summary


def _parent(box_size):
    return f'Background2D {box_size}'


def bgrem_name(box_size, method='bgrem'):
    """
    Return the name of the sky that bgrem measures in boxes of a given size.

    Parameters
    ----------
    box_size : int or str
        The box in pixels, or ``'auto'``.
    method : str, optional
        The name of the method in `BGREM_ESTIMATORS`.

    Returns
    -------
    name : str
        The name of the method, with the size unless it is the default.
    """
    return method if box_size == BGREM_BOX_SIZE else f'{method} {box_size}'


def _profile(rings, name):
    """Return one method's profile around one kind of source."""
    n = rings['n']
    profile = {
        'radius': list(RADIUS_EDGES[1:]),
        'bias': _ratios(rings[name, 'sum'], n),
        'rms': [
            None if square is None else square**0.5
            for square in _ratios(rings[name, 'square'], n)
        ],
    }
    if name == 'bgrem':
        profile['light_kept'] = _ratios(rings['kept'], rings['true'])
    return profile


def _ratios(sums, norms):
    return [float(a / b) if b > 0 else None for a, b in zip(sums, norms, strict=True)]
