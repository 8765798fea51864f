"""Pictures of what a background object holds."""

import warnings

import numpy as np
from astropy import units as u

from bgrem.files.atomic import atomic_path

__all__ = ['plot_background', 'save_plot']

_INSTALL_HINT = "plots need matplotlib: pip install 'bgrem[plot]'"

# The grey levels of the stretched panels go from this many noise sigma below
# the sky; the colour bars have ticks at these numbers of sigma.
_LOW_SIGMA = -3.0
_TICKS = np.array([0, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000])


def plot_background(bkg, data=None, segmentation_image=None, figsize=None):
    """
    Draw data, background, noise level, sources, noise and segments.

    Parameters
    ----------
    bkg : `bgrem.DiffusionBackground`
        The background.

    data : 2D array_like or `~astropy.units.Quantity` or `None`, optional
        The image; by default the sum of background, source and noise, which
        is the same but for pixels without data.

    segmentation_image : `~photutils.segmentation.SegmentationImage` or `None`
        The segments; by default those of ``bkg.detect()``.

    figsize : tuple of float or `None`, optional
        Width and height in inches; by default what suits the image.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        With six panels, each with a colour bar but the last. Data and
        sources are stretched by arcsinh about the sky, in units of the
        median noise. Pixels that are not finite are red.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as exc:
        raise ImportError(_INSTALL_HINT) from exc
    figure = plt.figure(figsize=figsize or _figsize(bkg), layout='constrained')
    _draw(figure, bkg, data, segmentation_image)
    return figure


def save_plot(path, bkg, *, data=None, segmentation_image=None):
    """
    Write the picture of `plot_background` to a file, whole or not at all.

    Parameters
    ----------
    path : path-like
        The file to make; its ending gives the format.

    bkg, data, segmentation_image
        As for `plot_background`.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    OSError
        If the file cannot be written.
    """
    try:
        # Without pyplot no display is asked for.
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise ImportError(_INSTALL_HINT) from exc
    figure = Figure(figsize=_figsize(bkg), layout='constrained')
    _draw(figure, bkg, data, segmentation_image)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _figsize(bkg):
    """Return width and height in inches that suit the shape of the image."""
    height, width = bkg.source.shape
    return 15, float(np.clip(9 * height / width, 4, 30)) + 1


def _draw(figure, bkg, data, segmentation_image):
    """Fill a figure with the six panels."""
    from matplotlib import colormaps

    background, rms, source, noise = (
        u.Quantity(getattr(bkg, name)).value
        for name in ('background', 'background_rms', 'source', 'noise')
    )
    data = background + source + noise if data is None else u.Quantity(data).value
    if segmentation_image is None:
        segmentation_image = _default_segments(bkg)
    sky, sigma = _percentile(background, 50), _positive_median(rms)
    high = max(_percentile(source, 99.9), 10 * sigma)
    unit = getattr(bkg.background_median, 'unit', '')

    axes = figure.subplots(2, 3, sharex=True, sharey=True)
    shown = [
        ('data', data, _arcsinh(sky, sigma, high), 'gray'),
        ('background', background, _linear(background), 'viridis'),
        ('background rms', rms, _linear(rms), 'viridis'),
        ('source', source, _arcsinh(0.0, sigma, high), 'gray'),
        ('noise', noise, {'vmin': -4 * sigma, 'vmax': 4 * sigma}, 'gray'),
    ]
    for axis, (title, values, stretch, name) in zip(axes.flat, shown, strict=False):
        ticks = stretch.pop('ticks', None)
        cmap = colormaps[name].with_extremes(bad='tab:red')
        picture = axis.imshow(values, origin='lower', cmap=cmap, **stretch)
        figure.colorbar(picture, ax=axis, ticks=ticks, label=str(unit), format='%.5g')
        axis.set_title(title)
    _draw_segments(axes[1, 2], segmentation_image, data.shape)


def _default_segments(bkg):
    from photutils.utils.exceptions import NoDetectionsWarning

    with warnings.catch_warnings():
        warnings.simplefilter('ignore', NoDetectionsWarning)
        return bkg.detect()


def _positive_median(rms):
    """Return the median noise, or 1 for an image without any."""
    sigma = np.median(rms)
    return sigma if np.isfinite(sigma) and sigma > 0 else 1.0


def _percentile(values, percent):
    finite = values[np.isfinite(values)]
    return np.percentile(finite, percent) if finite.size else 0.0


def _linear(values):
    low, high = _percentile(values, 0.5), _percentile(values, 99.5)
    if high <= low:
        # A constant map: any range about its value.
        low, high = low - max(abs(low), 1) / 100, high + max(abs(high), 1) / 100
    return {'vmin': low, 'vmax': high}


def _arcsinh(center, sigma, height):
    """Return a stretch that is linear within the noise, logarithmic above."""
    from matplotlib.colors import FuncNorm

    norm = FuncNorm(
        (
            lambda x: np.arcsinh((x - center) / sigma),
            lambda y: center + sigma * np.sinh(y),
        ),
        vmin=center + _LOW_SIGMA * sigma,
        vmax=center + height,
    )
    ticks = center + sigma * _TICKS
    return {'norm': norm, 'ticks': ticks[ticks <= center + height]}


def _draw_segments(axis, segmentation_image, shape):
    if segmentation_image is None:
        axis.imshow(np.zeros(shape), origin='lower', cmap='gray')
        axis.set_title('no segments')
        return
    axis.imshow(
        segmentation_image.data,
        origin='lower',
        cmap=segmentation_image.cmap,
        interpolation='nearest',
    )
    axis.set_title(f'{segmentation_image.n_labels} segments')
