"""
The configuration of a training run; one TOML file per run.
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
        The architecture of the network.

    schedule : `bgrem.nn.CosineSchedule`
        The diffusion schedule.

    scene : `bgrem.simulate.SceneConfig`
        The training scenes.

    counts : `bgrem.simulate.CountsConfig` or `None`
        Fields of photon counts, which replace the scenes. For a network with transfer
        'counts', they are input as counts, and the loss is
        `bgrem.train.count_examples.counts_loss`; for any other network, as images.

    family_fraction : float
        The fraction of steps whose scenes belong to one of `bgrem.simulate.FAMILIES`,
        drawn at random, instead of ``scene``. In ``scene``, nearly every image has
        several difficulties; most real images have none or one. Not with
        ``noise_frames``.

    inference_schedule : `bgrem.nn.CosineSchedule` or `None`
        The schedule of the released weights; `None` is that of the training.

    min_peak : float
        Crops whose brightest source pixel is fainter are replaced by others; in
        counts.

    noise_frames : str or `None`
        A folder of FITS images of blank sky. Their pixels then replace the simulated
        sky, noise and defects; of ``scene``, only the sources are used.

    noise_gain : float or `None`
        Electrons per count of these images; `None` uses the keyword GAIN of each.
        If there is neither, the light of the sources has no photon noise.

    bank_psfs : int
        The number of PSFs in the stamp bank.

    bank_gaussian_fraction : float
        The fraction of them that are Gaussian.

    bank_seed : int
        Seed of the stamp bank.

    n_steps : int
        The number of optimizer steps.

    batch_size : int
        The number of crops per step.

    crop_size : int
        The height and width of a crop in pixels.

    optimizer : {'adamw', 'muon'}
        'muon' trains the 3x3 convolutions with Muon and everything else with AdamW.

    learning_rate : float
        The highest learning rate of AdamW.

    muon_learning_rate : float
        The highest learning rate of Muon.

    warmup_steps : int
        The number of steps of linear warm-up.

    decay : {'cosine', 'exponential'}
        'cosine' decreases to one hundredth of the learning rate at the last step;
        'exponential' multiplies it by ``decay_rate`` every ``decay_steps``.

    decay_rate : float
        See ``decay``; the paper uses 0.92 per epoch.

    decay_steps : int
        See ``decay``.

    weight_decay : float
        Decoupled weight decay of both optimizers.

    clip : float
        The largest norm of the gradient.

    ema : float
        The decay per step of the moving average of the weights. This average is
        validated and released.

    loss : {'mae', 'mse', 'huber'}
        The kind of difference loss. Huber's loss is quadratic for errors below one
        noise sigma, so that faint light is predicted by its mean, and absolute above.

    loss_space : {'background', 'arcsinh'}
        'background' compares backgrounds (the paper's Eq. 5), 'arcsinh' the
        arcsinh of the sources in noise units.

    center_weight : float
        The weight of the center cross-entropy.

    blob_sigma : float
        The width, in pixels, of the blobs that mark source centers.

    observed_fraction : float
        The fraction of crops shown at diffusion time one, as observed; the
        others are at a uniformly distributed time.

    seed : int
        The seed of everything random except the bank.

    validate_every : int
        The number of steps between validations, which also write a checkpoint.

    validation_scenes : int
        The number of scenes of each family in the validation.

    patience : int
        The number of validations without a lower loss, on scenes like those of the
        training, after which it stops; 0 never stops.

    inference_steps : int
        The default number of diffusion steps of the released weights.

    normalization : {'local', 'global'}
        The default normalization of the released weights. With 'global', the training
        crops are normalized in the same way; with 'local', by the truth with the errors
        that its estimator would make.

    tile_size, tile_overlap : int
        The tiles of the released weights, in pixels.

    teacher : str or `None`
        Weights, by name or file, whose answers are learned besides the truth. Not with
        ``counts``.

    teacher_fraction : float
        The fraction of the teacher in the target; the rest is the truth.

    teacher_symmetries : {1, 2, 4, 8}
        The number of symmetries of the square over which its answers are averaged.

    teacher_uses : int
        The approximate number of times that each crop is used.

    teacher_crops : int
        The number of crops kept in memory for this, with the answers: 11 bytes a pixel.

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
        Return the configuration as a plain nested `dict`.

        Returns
        -------
        values : dict
            All fields by name.
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
            Fields by name; missing ones have their default values.

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
        The file. Top-level keys are the fields of `TrainingConfig`; the tables
        ``network``, ``schedule``, ``inference_schedule``, ``scene`` and ``counts``
        contain those of the corresponding classes.

    Returns
    -------
    config : `TrainingConfig`
        The configuration.

    Raises
    ------
    ValueError
        If the file is not TOML or contains an invalid key or value.

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
    Return the configuration of a short training that adapts weights.

    Parameters
    ----------
    init : str, `~pathlib.Path` or `~bgrem.weights.Weights`
        The weights to start from.

    Returns
    -------
    config : `TrainingConfig`
        That of their original training, with the name NAME-tuned and 1000 steps of
        AdamW at a learning rate of 3e-4 with cosine decay; no noise frames, no scenes
        except those of its ``scene``, and a bank of at most 32 PSFs.

    Raises
    ------
    ValueError
        If the weights do not record how they were trained.

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
