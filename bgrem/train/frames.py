"""
Real background: crops of blank-sky images with simulated sources on them.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bgrem.files.io import read_image
from bgrem.simulate import SceneComposer
from bgrem.sky.normalize import estimate_normalization

__all__ = ['FrameComposer', 'read_frames']

_SUFFIXES = ('.fits', '.fit', '.fts', '.fits.gz', '.fits.fz')
# What the frames bring themselves.
_NO_BACKGROUND = {
    'gradient_probability': 0.0,
    'nebulosity_probability': 0.0,
    'depth_probability': 0.0,
    'correlation_probability': 0.0,
    'cosmic_ray_probability': 0.0,
    'hot_pixel_probability': 0.0,
    'column_probability': 0.0,
    'trail_probability': 0.0,
    'saturation_probability': 0.0,
    'no_data_probability': 0.0,
}


class FrameComposer:
    """
    Makes scenes whose sky, noise and defects are those of real images.

    A scene is a random crop of a random frame. The light of simulated sources is added,
    in units of the noise measured in the crop, with its photon noise if the gain is
    known. Sources already in the frame count as background.

    Parameters
    ----------
    bank : `bgrem.simulate.StampBank`
        The stamps, on the device on which the scenes are made.

    scene : `bgrem.simulate.SceneConfig`
        The sources; its background is not used.

    frames : list
        From `read_frames`.
    """

    def __init__(self, bank, scene, frames):
        self._frames = frames
        self._sources = SceneComposer(bank, replace(scene, **_NO_BACKGROUND))

    def compose(self, n_scenes, size, generator):
        """
        Make ``n_scenes`` scenes.

        Parameters
        ----------
        n_scenes : int
            The number of scenes.

        size : int
            Height and width in pixels.

        generator : `~torch.Generator`
            The source of all randomness, on the device of the bank.

        Returns
        -------
        batch : `bgrem.simulate.SceneBatch`
            The scenes, in the counts of the frames; the sky and its noise are
            those measured in the crops.
        """
        scenes = self._sources.compose(n_scenes, size, generator)
        crop, sky, sigma, noise, gain = self._crops(n_scenes, size, generator)
        mask = sigma == 0
        # On a plain simulated sky sigma is one number per scene.
        relative = noise / scenes.sigma[..., :1, :1]
        light = scenes.source * relative
        known = torch.isfinite(gain)
        electrons = light * torch.where(known, gain, 0)
        photons = torch.poisson(electrons, generator=generator) - electrons
        photons = torch.where(known, photons / gain, 0)
        image = torch.where(mask, 0, crop + light + photons)
        catalog = dict(scenes.catalog)
        catalog['flux'] = catalog['flux'] * relative[catalog['scene'], 0, 0, 0]
        return replace(
            scenes,
            image=image,
            source=light,
            background=image - light,
            sky=sky,
            sigma=sigma,
            mask=mask,
            catalog=catalog,
        )

    def _crops(self, n_scenes, size, generator):
        """
        Pixels, sky level and noise of random crops; noise and gain of each.
        """
        device = generator.device
        draw = torch.rand(3, n_scenes, generator=generator, device=device).tolist()
        found = []
        for which, y, x in zip(*draw, strict=True):
            frame, gain = self._frames[int(which * len(self._frames))]
            row = int(y * (frame.shape[0] - size + 1))
            column = int(x * (frame.shape[1] - size + 1))
            crop = frame[row : row + size, column : column + size]
            maps = estimate_normalization(crop)
            scale = np.where(np.isfinite(crop), maps.scale, 0)
            noise = np.median(scale[scale > 0]) if np.any(scale > 0) else 0
            found.append((np.nan_to_num(crop), maps.center, scale, noise, gain))
        # Each of shape (B, 1, H, W), or (B, 1, 1, 1) where there is one number.
        return [
            torch.from_numpy(np.stack(values).astype(np.float32)[:, None])
            .view(n_scenes, 1, *(np.shape(values[0]) or (1, 1)))
            .to(device)
            for values in zip(*found, strict=True)
        ]


def read_frames(config):
    """
    Read the noise frames of a training.

    Parameters
    ----------
    config : `TrainingConfig`
        Provides ``noise_frames``, ``noise_gain`` and the smallest size of a frame
        (``crop_size``).

    Returns
    -------
    frames : list of tuple
        The pixels, float32 and NaN where there are none, and the gain in electrons
        per count, NaN if it is not known.

    Raises
    ------
    ValueError
        If the folder contains no FITS images, or one that is damaged, smaller than
        a crop or constant.
    """
    folder = Path(config.noise_frames)
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    paths = [path for path in found if path.name.lower().endswith(_SUFFIXES)]
    if not paths:
        what = 'is no folder'
        if folder.is_dir():
            names = [path.name for path in found[:3]] + ['...'] * (len(found) > 3)
            what = f'holds {", ".join(names) or "nothing"}'
        msg = (
            'noise_frames (--noise-frames) must be a folder with FITS images '
            f'({", ".join(_SUFFIXES)}), but {folder} {what}'
        )
        raise ValueError(msg)
    return [_read_frame(path, config) for path in paths]


def _read_frame(path, config):
    image = read_image(path)
    frame = image.data.astype(np.float32)
    frame[~np.isfinite(frame)] = np.nan
    size = config.crop_size
    if min(frame.shape) < size:
        msg = (
            f'noise_frames must be at least {size} px wide and high, got {path} of '
            f'shape {frame.shape}'
        )
        raise ValueError(msg)
    seen = frame[np.isfinite(frame)]
    if not seen.size or seen.min() == seen.max():
        msg = f'noise_frames must not be constant, got {path}'
        raise ValueError(msg)
    gain = config.noise_gain
    for header in (image.header, image.primary_header):
        if gain is None and header is not None:
            gain = header.get('GAIN')
    # Cameras write their gain setting, zero or text into GAIN too.
    usable = isinstance(gain, (int, float)) and np.isfinite(gain) and gain > 0
    return frame, float(gain) if usable else np.nan
