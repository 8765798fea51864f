"""
A bank of exact, PSF-convolved star and galaxy stamps drawn with GalSim.

GalSim is exact but needs about 0.25 s per core for a crowded scene of 256 px. A bank
is drawn once, and scenes are composed from it thousands of times faster. Using a bank
requires only torch.
"""

import hashlib
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tqdm import tqdm

from bgrem._extras import import_extra

__all__ = [
    'PSF_SIZE',
    'STAMP_KINDS',
    'StampBank',
    'StampKind',
    'build_stamp_bank',
    'save_tensors',
]

PSF_SIZE = 33


def save_tensors(tensors, path, metadata=None):
    """
    Write tensors to a safetensors file.

    Parameters
    ----------
    tensors : dict of str to `~torch.Tensor`
        The tensors.

    path : path-like
        The file.

    metadata : dict of str to str or `None`, optional
        The metadata of the file.

    Raises
    ------
    OSError
        If the file cannot be written (safetensors itself raises a different error).
    """
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        raise OSError(str(error)) from error


@dataclass(frozen=True)
class StampKind:
    """
    One kind of stamp in the bank.

    Parameters
    ----------
    name : str
        The name of the kind.

    size : int
        Height and width of the drawn stamps, odd, in stamp pixels.

    n_stamps : int
        Stamps per PSF, each with its own shape and sub-pixel offset.

    half_light_radius : tuple of float or `None`
        The range of half-light radii in image pixels; `None` for stars.

    zoom : int
        Image pixels per stamp pixel. Large galaxies are smooth, so they are
        drawn on a coarser grid and interpolated when they are used.
    """

    name: str
    size: int
    n_stamps: int
    half_light_radius: tuple | None = None
    zoom: int = 1


STAMP_KINDS = (
    StampKind('star', 33, 8),
    StampKind('bright_star', 129, 2),
    StampKind('small_galaxy', 33, 16, (0.4, 3.0)),
    StampKind('medium_galaxy', 65, 8, (2.0, 10.0)),
    StampKind('large_galaxy', 129, 3, (8.0, 40.0), zoom=2),
)


@dataclass(frozen=True)
class StampBank:
    """
    PSFs and the unit-flux stamps convolved with them.

    Parameters
    ----------
    fwhm : `~torch.Tensor`
        The full width at half maximum of each PSF in pixels, shape (P,).

    spikes : `~torch.Tensor`
        Whether each PSF has diffraction spikes, bool, shape (P,).

    psf : `~torch.Tensor`
        The centered PSFs with unit sum, shape (P, 33, 33).

    stamps : dict of `~torch.Tensor`
        Per kind of stamp, shape (P, K, S, S), float16, scaled to a peak of
        one.

    scale : dict of `~torch.Tensor`
        Per kind, shape (P, K): multiplies a stamp to unit flux.

    offset : dict of `~torch.Tensor`
        Per kind, shape (P, K, 2): the center (x, y) relative to the center of
        the central pixel, in image pixels.

    half_light_radius : dict of `~torch.Tensor`
        Per kind, shape (P, K), in image pixels before convolution; zero for
        stars.

    norm : dict of `~torch.Tensor`
        Per kind, shape (P, K): the square root of the sum of the squared
        unit-flux stamp. The S/N of a source of flux F in white noise of
        standard deviation s, found with a matched filter, is ``F norm / s``.
    """

    fwhm: torch.Tensor
    spikes: torch.Tensor
    psf: torch.Tensor
    stamps: dict
    scale: dict
    offset: dict
    half_light_radius: dict
    norm: dict

    def save(self, path):
        """
        Write the bank to a safetensors file.

        Parameters
        ----------
        path : str or `~pathlib.Path`
            The file to write; its directory is created if it does not exist.
        """
        tensors = {'fwhm': self.fwhm, 'spikes': self.spikes, 'psf': self.psf}
        for field in ('stamps', 'scale', 'offset', 'half_light_radius', 'norm'):
            for kind, tensor in getattr(self, field).items():
                tensors[f'{field}/{kind}'] = tensor.contiguous()
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        kinds = [kind.name for kind in STAMP_KINDS]
        metadata = {'bgrem_stamp_kinds': json.dumps(kinds), 'sha256': _digest(tensors)}
        save_tensors(tensors, path, metadata)

    @classmethod
    def load(cls, path):
        """
        Read a bank written by `save`.

        Parameters
        ----------
        path : str or `~pathlib.Path`
            The file to read.

        Returns
        -------
        bank : `StampBank`
            The bank.

        Raises
        ------
        OSError
            If the file cannot be read.

        ValueError
            If it is not a stamp bank of this version, or is damaged.
        """
        try:
            with safe_open(path, framework='pt') as handle:
                metadata = handle.metadata() or {}
                tensors = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118
            kinds = json.loads(metadata.get('bgrem_stamp_kinds', 'null'))
        except (SafetensorError, ValueError) as error:
            msg = f'stamp bank {path} is damaged: {error}'
            raise ValueError(msg) from error
        if kinds != [kind.name for kind in STAMP_KINDS]:
            msg = f'bank must be a stamp bank of this version of bgrem, got {path}'
            raise ValueError(msg)
        # Banks of earlier versions have no digest.
        if metadata.get('sha256') not in (None, _digest(tensors)):
            msg = f'stamp bank {path} is damaged: its stamps fail their checksum'
            raise ValueError(msg)
        values = {}
        for key, tensor in tensors.items():
            field, _, kind = key.partition('/')
            if kind:
                values.setdefault(field, {})[kind] = tensor
            else:
                values[field] = tensor
        if set(values) != {field.name for field in fields(cls)}:
            msg = f'stamp bank {path} is damaged: it has {sorted(values)}'
            raise ValueError(msg)
        return cls(**values)

    def to(self, device):
        """
        Copy the bank to a device.

        Parameters
        ----------
        device : str or `~torch.device`
            The device.

        Returns
        -------
        bank : `StampBank`
            The bank on that device.
        """

        def move(value):
            if isinstance(value, dict):
                return {kind: tensor.to(device) for kind, tensor in value.items()}
            return value.to(device)

        return StampBank(**{name: move(value) for name, value in vars(self).items()})


def _digest(tensors):
    """
    The sha256 of tensors, as hexadecimal text.
    """
    digest = hashlib.sha256()
    for key in sorted(tensors):
        digest.update(key.encode())
        digest.update(tensors[key].numpy().tobytes())
    return digest.hexdigest()


def build_stamp_bank(
    n_psf=120,
    *,
    fwhm=(1.5, 7.0),
    gaussian_fraction=0.2,
    seed=0,
    n_workers=1,
    progress=False,
):
    """
    Draw a stamp bank with GalSim.

    The FWHM of the PSFs is log-uniform and stratified. A fraction of them is Gaussian;
    of the others, 7 of 16 are Moffat (beta 2.5-5), 5 of 16 Kolmogorov, and 4 of 16 an
    obscured Airy disk with four struts, convolved with a little seeing, which has
    diffraction spikes. All are sheared by up to 0.1. Stars and Sersic galaxies (n from
    0.5 to 4.5, axis ratio from 0.25) are drawn at random subpixel offsets.

    Parameters
    ----------
    n_psf : int, optional
        The number of PSFs. The bank takes about 0.3 MB for each.

    fwhm : tuple of float, optional
        The range of the FWHM of the PSFs in pixels, before integration over the
        pixels. The stamps are large enough for PSFs up to 8 px.

    gaussian_fraction : float, optional
        The fraction of the PSFs that are Gaussian, which have no wings.

    seed : int, optional
        The bank depends only on this and the parameters above.

    n_workers : int, optional
        The number of processes. One PSF takes about two seconds of one core.

    progress : bool, optional
        Whether to show a progress bar.

    Returns
    -------
    bank : `StampBank`
        The bank, on the CPU.

    Raises
    ------
    ImportError
        If GalSim is not installed.
    ValueError
        If ``n_psf`` is less than one, ``fwhm`` is not an ascending pair of positive
        numbers, or ``gaussian_fraction`` is not between 0 and 1.
    """
    if n_psf < 1:
        msg = f'n_psf must be a positive integer, got {n_psf!r}'
        raise ValueError(msg)
    if not 0 < fwhm[0] <= fwhm[1]:
        msg = f'fwhm must be an ascending pair of positive numbers, got {fwhm!r}'
        raise ValueError(msg)
    if not 0 <= gaussian_fraction <= 1:
        msg = f'gaussian_fraction must be between 0 and 1, got {gaussian_fraction!r}'
        raise ValueError(msg)
    import_extra('galsim')  # here, not in the processes
    draw = partial(
        _draw_psf_group,
        n_psf=n_psf,
        fwhm_range=fwhm,
        gaussian_fraction=gaussian_fraction,
        seed=seed,
    )
    bar = {
        'total': n_psf,
        'disable': not progress,
        'desc': 'drawing stamps',
        'unit': 'PSF',
    }
    if n_workers == 1:
        groups = list(tqdm(map(draw, range(n_psf)), **bar))
    else:
        # Forking a process that has used torch threads can deadlock.
        context = get_context('spawn')
        with ProcessPoolExecutor(n_workers, mp_context=context) as pool:
            groups = list(tqdm(pool.map(draw, range(n_psf)), **bar))
    fields = {
        name: torch.from_numpy(np.array([group[name] for group in groups]))
        for name in ('fwhm', 'spikes', 'psf')
    }
    for name in ('stamps', 'scale', 'offset', 'half_light_radius', 'norm'):
        fields[name] = {
            kind.name: torch.from_numpy(np.stack([g[name][kind.name] for g in groups]))
            for kind in STAMP_KINDS
        }
    return StampBank(**fields)


def _draw_psf_group(index, *, n_psf, fwhm_range, gaussian_fraction, seed):
    """
    Everything that belongs to one PSF of the bank.
    """
    import galsim

    rng = np.random.default_rng([seed, index])
    low, high = fwhm_range
    fwhm = low * (high / low) ** ((index + rng.random()) / n_psf)
    psf, spikes = _random_psf(galsim, rng, fwhm, gaussian_fraction)
    group = {
        'fwhm': np.float32(fwhm),
        'spikes': spikes,
        'psf': _draw(psf, PSF_SIZE, (0.0, 0.0), 1),
        'stamps': {},
        'scale': {},
        'offset': {},
        'half_light_radius': {},
        'norm': {},
    }
    group['psf'] /= group['psf'].sum()
    for kind in STAMP_KINDS:
        drawn = [_random_stamp(galsim, rng, psf, kind) for _ in range(kind.n_stamps)]
        for name, values in zip(
            ('stamps', 'scale', 'offset', 'half_light_radius', 'norm'),
            zip(*drawn, strict=True),
            strict=True,
        ):
            dtype = np.float16 if name == 'stamps' else np.float32
            group[name][kind.name] = np.array(values, dtype=dtype)
    return group


def _random_psf(galsim, rng, fwhm, gaussian_fraction):
    """
    A sheared PSF of a random family and whether it has spikes.
    """
    others = (1 - gaussian_fraction) / 0.8
    family = rng.choice(
        ['moffat', 'gaussian', 'kolmogorov', 'struts'],
        p=[0.35 * others, gaussian_fraction, 0.25 * others, 0.2 * others],
    )
    if family == 'moffat':
        psf = galsim.Moffat(beta=rng.uniform(2.5, 5.0), fwhm=fwhm)
    elif family == 'gaussian':
        # Without such, a network adds wings to stars that have none.
        psf = galsim.Gaussian(fwhm=fwhm)
    elif family == 'kolmogorov':
        psf = galsim.Kolmogorov(fwhm=fwhm)
    else:
        # The FWHM of an Airy disc is about 1.03 lambda / D.
        optics = galsim.OpticalPSF(
            lam_over_diam=0.8 * fwhm / 1.03,
            obscuration=0.3,
            nstruts=4,
            strut_thick=rng.uniform(0.02, 0.06),
            strut_angle=rng.uniform(0, 90) * galsim.degrees,
        )
        psf = galsim.Convolve(optics, galsim.Gaussian(fwhm=0.6 * fwhm))
    shear, angle = rng.uniform(0, 0.1), rng.uniform(0, 180)
    psf = psf.shear(g=shear, beta=angle * galsim.degrees)
    return psf, family == 'struts'


def _random_stamp(galsim, rng, psf, kind):
    """
    One stamp: image of unit peak, its scale to unit flux, offset, half-light
    radius and norm.
    """
    offset = rng.uniform(-0.5, 0.5, 2)
    radius = 0.0
    profile = psf
    if kind.half_light_radius is not None:
        low, high = kind.half_light_radius
        radius = low * (high / low) ** rng.random()
        # Steep profiles of large radius would need far larger stamps.
        index = np.round(rng.choice([1.0, rng.uniform(0.5, 4.5)]), 1)
        galaxy = galsim.Sersic(index, half_light_radius=radius)
        axis_ratio, angle = rng.uniform(0.25, 1.0), rng.uniform(0, 180)
        galaxy = galaxy.shear(q=axis_ratio, beta=angle * galsim.degrees)
        params = galsim.GSParams(maximum_fft_size=16384, folding_threshold=1e-2)
        profile = galsim.Convolve(galaxy, psf).withGSParams(params)
    stamp = _draw(profile, kind.size, offset, kind.zoom)
    stamp *= _edge_taper(kind.size)
    # A pixel of a zoomed stamp holds the flux of zoom**2 image pixels.
    flux = stamp.sum()
    norm = np.sqrt((stamp**2).sum()) / flux / kind.zoom
    peak = stamp.max()
    return stamp / peak, peak / flux / kind.zoom**2, offset, radius, norm


def _draw(profile, size, offset, zoom):
    drawn = profile.drawImage(
        nx=size, ny=size, scale=float(zoom), offset=tuple(np.divide(offset, zoom))
    )
    return drawn.array.astype(np.float32)


def _edge_taper(size):
    """
    One in the middle, a smooth fall to zero over the outer eighth of the radius,
    so that a bright source has no square edge.
    """
    axis = np.abs(np.arange(size) - size // 2) / (size // 2)
    radius = np.hypot(axis[:, None], axis)
    ramp = np.clip((1 - radius) / 0.125, 0, 1)
    return (0.5 - 0.5 * np.cos(np.pi * ramp)).astype(np.float32)
