"""
What a training run is made of; one TOML file per run.
"""

import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path

from bgrem._config import Configuration
from bgrem.denoise.run import check_symmetries
from bgrem.nn import CosineSchedule, UNetConfig
from bgrem.simulate import CountsConfig, SceneConfig
from bgrem.weights import load_weights

__all__ = ['TrainingConfig', 'fine_tuning_config', 'load_config']

# Of the bank of a fine-tuning: half a minute on two cores.
_FINE_TUNING_PSFS = 32

_COUNTS = (
    'bank_psfs',
    'n_steps',
    'batch_size',
    'validate_every',
    'validation_scenes',
    'inference_steps',
    'decay_steps',
    'teacher_crops',
    'teacher_uses',
)


@dataclass(frozen=True)
class TrainingConfig(Configuration):
    """
    One training run.

    Parameters
    ----------
    name : str
        The name of the weights.

    network : `bgrem.nn.UNetConfig`
        The shape of the network.

    schedule : `bgrem.nn.CosineSchedule`
        The diffusion schedule.

    scene : `bgrem.simulate.SceneConfig`
        The training scenes.

    counts : `bgrem.simulate.CountsConfig` or `None`
        Fields of photon counts, which take the place of the scenes. With a network
        whose transfer is 'counts' they are seen as such, and the loss is that of
        `bgrem.train.count_examples.counts_loss`; with any other as images.

    family_fraction : float
        The fraction of steps whose scenes are of one of `bgrem.simulate.FAMILIES`,
        drawn at random, instead of ``scene``. In ``scene`` nearly every image has
        several things that are difficult; most real ones have none or one. Not with
        ``noise_frames``.

    inference_schedule : `bgrem.nn.CosineSchedule` or `None`
        The schedule of the released weights; `None` is the one of the training.

    min_peak : float
        Crops whose brightest source pixel is fainter are dropped, and others
        drawn in their place; in counts.

    noise_frames : str or `None`
        A folder of FITS images of blank sky. Their pixels then take the place of
        the simulated sky, noise and defects; of ``scene`` only the sources are
        used.

    noise_gain : float or `None`
        Electrons per count of these images; `None` takes the keyword GAIN of
        each. Without either the light of the sources has no photon noise there.

    bank_psfs : int
        PSFs in the stamp bank.

    bank_gaussian_fraction : float
        The fraction of them that are Gaussian.

    bank_seed : int
        Seed of the stamp bank.

    n_steps : int
        Optimiser steps.

    batch_size : int
        Crops per step.

    crop_size : int
        Height and width of a crop in pixels.

    optimizer : {'adamw', 'muon'}
        'muon' trains the 3x3 convolutions with Muon and the rest with AdamW.

    learning_rate : float
        The highest learning rate of AdamW.

    muon_learning_rate : float
        The highest learning rate of Muon.

    warmup_steps : int
        Steps of linear warm-up.

    decay : {'cosine', 'exponential'}
        'cosine' falls to one hundredth of the learning rate at the last step;
        'exponential' multiplies it by ``decay_rate`` every ``decay_steps``.

    decay_rate : float
        See ``decay``; the paper uses 0.92 per epoch.

    decay_steps : int
        See ``decay``.

    weight_decay : float
        Decoupled weight decay, of both optimisers.

    clip : float
        Largest norm of the gradient.

    ema : float
        Decay per step of the moving average of the weights, which is what is
        validated and released.

    loss : {'mae', 'mse', 'huber'}
        The kind of difference loss. Huber's is quadratic for errors below one
        noise sigma, so that faint light is the mean of what it may be, and
        absolute above.

    loss_space : {'background', 'arcsinh'}
        'background' compares backgrounds (the paper's Eq. 5), 'arcsinh' the
        arcsinh of the sources in noise units.

    center_weight : float
        Weight of the centre cross-entropy.

    blob_sigma : float
        Width in pixels of the blobs that mark source centres.

    observed_fraction : float
        The fraction of crops shown at diffusion time one, as observed; the
        others at a uniform time.

    seed : int
        Seed of everything random but the bank.

    validate_every : int
        Steps between validations, which also write a checkpoint.

    validation_scenes : int
        Scenes of each family of the validation.

    patience : int
        Validations without a lower loss, on scenes like those of the training,
        after which it stops; 0 never stops.

    inference_steps : int
        The default number of diffusion steps of the released weights.

    normalization : {'local', 'global'}
        Their default normalisation. With 'global' the training crops are
        normalised by it too; with 'local' they are by the truth and the errors
        that its estimator would make.

    tile_size, tile_overlap : int
        Their tiles, in pixels.

    teacher : str or `None`
        Weights, by name or file, whose answers are learnt beside the truth. Not with
        ``counts``.

    teacher_fraction : float
        The part of the teacher in what is learnt.

    teacher_symmetries : {1, 2, 4, 8}
        Over how many symmetries of the square its answers are averaged.

    teacher_uses : int
        How often each crop is learnt from, about.

    teacher_crops : int
        How many crops are kept for that, with the answers, in memory: 11 bytes a pixel.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    name: str
    network: UNetConfig = field(default_factory=UNetConfig)
    schedule: CosineSchedule = field(default_factory=CosineSchedule)
    scene: SceneConfig = field(default_factory=SceneConfig)
    counts: CountsConfig | None = None
    family_fraction: float = 0.0
    inference_schedule: CosineSchedule | None = None
    min_peak: float = 0.0
    noise_frames: str | None = None
    noise_gain: float | None = None
    bank_psfs: int = 120
    bank_gaussian_fraction: float = 0.2
    bank_seed: int = 1
    n_steps: int = 20000
    batch_size: int = 12
    crop_size: int = 128
    optimizer: str = 'adamw'
    learning_rate: float = 2e-3
    muon_learning_rate: float = 1e-2
    warmup_steps: int = 300
    decay: str = 'cosine'
    decay_rate: float = 0.92
    decay_steps: int = 1000
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.999
    loss: str = 'mae'
    loss_space: str = 'arcsinh'
    center_weight: float = 5.0
    blob_sigma: float = 1.0
    observed_fraction: float = 0.75
    seed: int = 0
    validate_every: int = 1000
    validation_scenes: int = 4
    patience: int = 0
    inference_steps: int = 1
    normalization: str = 'local'
    measured_fraction: float = 0.0
    tile_size: int = 256
    tile_overlap: int = 64
    teacher: str | None = None
    teacher_fraction: float = 0.9
    teacher_symmetries: int = 2
    teacher_uses: int = 6
    teacher_crops: int = 1200

    def __post_init__(self):
        for name in _COUNTS:
            self._require(name, getattr(self, name) >= 1, 'must be at least 1')
        for name in ('learning_rate', 'muon_learning_rate', 'clip', 'blob_sigma'):
            self._require(name, getattr(self, name) > 0, 'must be positive')
        for name in (
            'bank_gaussian_fraction',
            'ema',
            'family_fraction',
            'observed_fraction',
            'decay_rate',
            'measured_fraction',
            'teacher_fraction',
        ):
            self._require(name, 0 <= getattr(self, name) <= 1, 'must be in [0, 1]')
        for name, choices in (
            ('optimizer', ('adamw', 'muon')),
            ('decay', ('cosine', 'exponential')),
            ('loss', ('mae', 'mse', 'huber')),
            ('loss_space', ('background', 'arcsinh')),
            ('normalization', ('local', 'global')),
        ):
            value = getattr(self, name)
            self._require(name, value in choices, f'must be one of {choices}')
        self._require('min_peak', self.min_peak >= 0, 'must not be negative')
        self._require(
            'family_fraction',
            self.family_fraction == 0 or self.noise_frames is None,
            'must be 0 with noise_frames',
        )
        self._require(
            'counts',
            self.counts is not None or self.network.transfer != 'counts',
            "must be given for a network whose transfer is 'counts'",
        )
        check_symmetries(self.teacher_symmetries, 'teacher_symmetries')
        self._require(
            'teacher',
            self.teacher is None or (self.counts is None and self.network.center_head),
            'must be None for counts, or for a network without center_head',
        )
        if self.counts is not None:
            largest = self.counts.patch_size
            widest = self.crop_size
            if self.counts.wide_fraction:
                widest = widest * 3 // 2
            rule = f'must fit the patch_size of counts, {largest}, as must wide crops'
            self._require('crop_size', widest <= largest, rule)
        gain = self.noise_gain
        self._require('noise_gain', gain is None or gain > 0, 'must be positive')
        multiple = self.network.size_multiple
        for name in ('crop_size', 'tile_size'):
            size = getattr(self, name)
            self._require(
                name,
                size > 0 and size % multiple == 0,
                f'must be a multiple of {multiple}',
            )

    def to_dict(self):
        """
        The configuration as a plain nested `dict`.

        Returns
        -------
        values : dict
            Every field by name.
        """
        return super().to_dict() | {
            'network': self.network.to_dict(),
            'schedule': self.schedule.to_dict(),
            'scene': self.scene.to_dict(),
            'counts': None if self.counts is None else self.counts.to_dict(),
        }

    @classmethod
    def from_dict(cls, values):
        """
        Build a configuration from `to_dict` output.

        Parameters
        ----------
        values : dict
            Fields by name; missing ones take their default.

        Returns
        -------
        config : `TrainingConfig`
            The configuration.

        Raises
        ------
        ValueError
            If a key is unknown, ``name`` is missing, or a value is out of
            range.
        """
        if 'name' not in values:
            msg = 'training config must have a name'
            raise ValueError(msg)
        released, counts = values.get('inference_schedule'), values.get('counts')
        return super().from_dict(
            values
            | {
                'network': UNetConfig.from_dict(values.get('network', {})),
                'schedule': CosineSchedule.from_dict(values.get('schedule', {})),
                'scene': SceneConfig.from_dict(values.get('scene', {})),
                'counts': None if counts is None else CountsConfig.from_dict(counts),
                'inference_schedule': (
                    None if released is None else CosineSchedule.from_dict(released)
                ),
            }
        )


def load_config(path):
    """
    Read a training configuration from a TOML file.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        The file. Top-level keys are the fields of `TrainingConfig`; the
        tables ``network``, ``schedule``, ``inference_schedule``, ``scene`` and
        ``counts`` hold theirs.

    Returns
    -------
    config : `TrainingConfig`
        The configuration.

    Raises
    ------
    ValueError
        If the file is not TOML or holds a bad key or value.

    OSError
        If the file cannot be read.

    Examples
    --------
    >>> from bgrem.train import load_config
    >>> config = load_config('configs/optical.toml')  # doctest: +SKIP
    """
    path = Path(path)
    if not path.exists():
        msg = f'config file {path} does not exist'
        raise FileNotFoundError(msg)
    with path.open('rb') as handle:
        try:
            values = tomllib.load(handle)
        except tomllib.TOMLDecodeError as error:
            msg = f'config must be a TOML file, got {path}: {error}'
            raise ValueError(msg) from None
    return TrainingConfig.from_dict(values)


def fine_tuning_config(init):
    """
    The configuration of a short training that adapts weights.

    Parameters
    ----------
    init : str, `~pathlib.Path` or `~bgrem.weights.Weights`
        The weights to start from.

    Returns
    -------
    config : `TrainingConfig`
        That of their own training, with the name NAME-tuned and 1000 steps of
        AdamW at a learning rate of 3e-4 that falls as a cosine; no noise frames,
        no scenes but those of its ``scene``, and a bank of at most 32 PSFs.

    Raises
    ------
    ValueError
        If the weights do not say how they were trained.

    Examples
    --------
    >>> from bgrem.train import fine_tuning_config
    >>> from bgrem.weights import load_weights
    >>> fine_tuning_config(load_weights('optical')).n_steps  # doctest: +SKIP
    1000
    """
    weights = load_weights(init)
    values = (weights.header.get('training') or {}).get('config')
    if values is None:
        msg = f'init must hold the configuration of its training, got {init!s}'
        raise ValueError(msg)
    config = TrainingConfig.from_dict(values)
    return replace(
        config,
        name=f'{weights.name}-tuned',
        noise_frames=None,
        noise_gain=None,
        family_fraction=0.0,
        measured_fraction=1.0,
        teacher=None,
        # Drawing the bank must not take longer than the training.
        bank_psfs=min(config.bank_psfs, _FINE_TUNING_PSFS),
        n_steps=1000,
        optimizer='adamw',
        learning_rate=3e-4,
        warmup_steps=100,
        decay='cosine',
        validate_every=250,
        patience=0,
    )
