"""
A mask of the sources of an image, in one call.
"""

from bgrem.background import DiffusionBackground
from bgrem.checks import suggests_names

__all__ = ['make_detection_mask']


@suggests_names('bgrem:DiffusionBackground')
def make_detection_mask(
    bkg_or_data,
    box_size='auto',
    *,
    threshold=None,
    false_discovery_rate=0.05,
    footprint=None,
    **options,
):
    """
    Return a mask of the sources of an image.

    Parameters
    ----------
    bkg_or_data : `DiffusionBackground` or array_like
        A background, or an image in any form that `DiffusionBackground` accepts.
    box_size : int, array_like of 2 int or 'auto', optional
        As for `DiffusionBackground`; for an image only.
    threshold, false_discovery_rate, footprint
        As for `DiffusionBackground.detection_mask`.
    **options
        Other parameters of `DiffusionBackground`; for an image only.

    Returns
    -------
    source_mask : 2D `~numpy.ndarray` of bool
        `True` on sources.

    Raises
    ------
    TypeError
        If options are given with a background, which has already been measured.
    ValueError
        If a parameter is out of range.

    Notes
    -----
    An image takes as long as the constructor of `DiffusionBackground`, plus one more
    pass of the network for the ``false_discovery_rate``. A background takes only the
    latter, and only the first time.

    Examples
    --------
    >>> import numpy as np
    >>> from bgrem import make_detection_mask
    >>> y, x = np.mgrid[:64, :64]
    >>> star = 500 * np.exp(-((x - 30) ** 2 + (y - 20) ** 2) / 5)
    >>> data = 100 + star + np.random.default_rng(1).normal(0, 5, (64, 64))
    >>> mask = make_detection_mask(data, footprint=np.ones((3, 3)))
    >>> mask.shape, bool(mask[20, 30])
    ((64, 64), True)
    """
    bkg = bkg_or_data
    if not isinstance(bkg, DiffusionBackground):
        bkg = DiffusionBackground(bkg_or_data, box_size, **options)
    elif options or not (isinstance(box_size, str) and box_size == 'auto'):
        names = sorted(options) or ['box_size']
        msg = f'options {names} cannot change a background that already exists'
        raise TypeError(msg)
    return bkg.detection_mask(
        threshold=threshold,
        false_discovery_rate=false_discovery_rate,
        footprint=footprint,
    )
