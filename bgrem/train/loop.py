"""
The training loop.
"""

import copy
import csv
import json
import math
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import torch
from tqdm import tqdm

from bgrem.denoise.run import cpu_has_bfloat16, resolve_device
from bgrem.files.atomic import atomic_path
from bgrem.nn import AttentionUNet, center_cross_entropy, difference_loss
from bgrem.simulate import (
    FAMILIES,
    CountsBank,
    CountsComposer,
    SceneComposer,
    StampBank,
    cached_stamp_bank,
    draw_counts_bank,
)
from bgrem.weights import load_weights, save_weights

from .config import TrainingConfig
from .count_examples import (
    CountsImages,
    CountsValidation,
    counts_loss,
    draw_counts_examples,
)
from .examples import draw_examples
from .frames import FrameComposer, read_frames
from .optimizer import Optimizers
from .processes import Processes
from .teaching import Teacher
from .validation import Validation
from .widening import widen

__all__ = ['train']

# A batch whose loss is this many times the recent one is not learned from: one
# such spike undoes thousands of steps of a network without normalization.
_SPIKE = 6.0
# After so many of them in a row the weights themselves are bad.
_PATIENCE = 20


def train(
    config,
    folder,
    *,
    init=None,
    device='auto',
    n_workers=1,
    progress=True,
    stop_after=None,
):
    """
    Train a network, or continue where a previous call with this ``folder`` stopped.

    Every step draws its scenes from a seed made of ``config.seed`` and the step number,
    so a run that was stopped and resumed sees the same scenes as one that was not. With
    a teacher, however, whose crops are used several times, these are drawn anew.

    Parameters
    ----------
    config : `TrainingConfig`
        The run.

    folder : str or `~pathlib.Path`
        Where to write ``log.csv``, ``state.pt`` (to resume) and
        ``NAME.safetensors`` (the averaged weights), all at each validation.
        The stamp bank of the run is ``bank.safetensors``, a copy of that of
        `bgrem.simulate.cached_stamp_bank`; ``bank.json`` records for what it was drawn.

    init : str, `~pathlib.Path` or `None`, optional
        Weights from which a new run starts, by name or path, of the same network or
        of a narrower one (`bgrem.train.widening.widen`). A resumed run has its own
        weights. `None` starts from random ones.

    device : str, optional
        As for `bgrem.denoise.run.denoise`: 'auto' is the GPU if there is one.

    n_workers : int, optional
        The number of processes that draw the stamp bank.

    progress : bool, optional
        Whether to show progress bars.

    stop_after : float or `None`, optional
        Stop, with a checkpoint, after this many seconds of training. The time needed
        to draw the stamps before does not count.

    Returns
    -------
    path : `~pathlib.Path`
        The weights file.

    Raises
    ------
    ValueError
        If the state in ``folder`` belongs to another configuration, or ``init`` to
        another kind of network or to a wider one.

    Notes
    -----
    The default network trains at about half a megapixel per second on two cores with
    native bf16 (``python benchmarks/speed.py --what training``).

    If ``torchrun`` starts several processes, each draws its own scenes, so that a
    step learns from ``config.batch_size`` crops of each. The first process validates
    and writes.

    Examples
    --------
    >>> from bgrem.train import load_config, train
    >>> config = load_config('configs/optical.toml')  # doctest: +SKIP
    >>> train(config, 'runs/optical')  # doctest: +SKIP
    """
    run = _Run(config, Path(folder), resolve_device(device), n_workers, init, progress)
    try:
        return run.go(stop_after)
    finally:
        run.processes.close()


class _Run:
    def __init__(self, config, folder, device, n_workers, init, progress=False):
        self.config = config
        self.processes = Processes(device)
        self.progress = progress and self.processes.is_first
        self.folder = folder
        self.device = device
        self.is_for_counts = config.network.transfer == 'counts'
        self.families = []
        # Before anything that takes long or leaves traces.
        state = self._earlier_state()
        self.teacher = config.teacher and Teacher(config, device)
        if config.counts is None:
            self._prepare_scenes(n_workers)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            options = {'n_workers': n_workers, 'progress': self.progress}
            bank = self._bank(
                CountsBank,
                lambda: draw_counts_bank(config.counts, **options),
                config.counts.to_dict(),
            )
            composer = CountsComposer(bank, config.counts.expected_fraction)
            self.composer = composer if self.is_for_counts else CountsImages(composer)
            self.validation = CountsValidation(config, device)
        # The caller's random state is not touched.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            network = AttentionUNet(config.network)
        if init is not None:
            weights = load_weights(init)
            widen(weights.network().state_dict(), weights.config, network)
        self.network = network.to(device, memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimizer = Optimizers(self.network, self.config)
        self.step = 0
        self.recent = math.inf
        self.skipped = 0
        self.best, self.waited = math.inf, 0
        if state is not None:
            self._resume(state)
        self.parallel = self.processes.wrap(self.network)

    def _prepare_scenes(self, n_workers):
        config, device = self.config, self.device
        # before it leaves traces, too
        frames = None if config.noise_frames is None else read_frames(config)
        self.folder.mkdir(parents=True, exist_ok=True)
        options = {
            'fwhm': config.scene.fwhm,
            'gaussian_fraction': config.bank_gaussian_fraction,
            'seed': config.bank_seed,
        }
        more = {'n_workers': n_workers, 'progress': self.progress}
        bank = self._bank(
            StampBank,
            lambda: cached_stamp_bank(config.bank_psfs, **options, **more),
            {'n_psf': config.bank_psfs, **options},
        )

        def composer(bank):
            if frames is None:
                return SceneComposer(bank, config.scene)
            return FrameComposer(bank, config.scene, frames)

        self.validation = Validation(bank, config, device, composer(bank))
        bank = bank.to(device)
        self.composer = composer(bank)
        if config.family_fraction:
            self.families = [SceneComposer(bank, scene) for scene in FAMILIES.values()]

    @property
    def weights_path(self):
        return self.folder / f'{self.config.name}.safetensors'

    def _bank(self, kind, draw, depends):
        """Return the bank of the run, which the first process draws once."""
        path, key = self.folder / 'bank.safetensors', self.folder / 'bank.json'
        text = json.dumps(depends, sort_keys=True)
        with self.processes.first_alone():
            # a run that was stopped before its first checkpoint may have had another
            if key.exists() and key.read_text() != text:
                path.unlink(missing_ok=True)
            if not path.exists():
                bank = draw()
                with atomic_path(key) as temporary:
                    temporary.write_text(text)
                with atomic_path(path) as temporary:
                    bank.save(temporary)
            return kind.load(path)

    def go(self, stop_after):
        config = self.config
        start = time.monotonic()
        bar = tqdm(
            total=config.n_steps,
            initial=self.step,
            disable=not self.progress,
            desc=f'training {config.name}',
            mininterval=10,
        )
        with bar:
            while self.step < config.n_steps:
                loss = self._train_step()
                self.step += 1
                bar.update()
                bar.set_postfix(loss=f'{loss:.4f}', refresh=False)
                late = stop_after is not None and bool(
                    self.processes.of_first(time.monotonic() - start > stop_after)
                )
                last = self.step == config.n_steps
                if self.step % config.validate_every == 0 or late or last:
                    if self.processes.is_first:
                        self._checkpoint(loss, time.monotonic() - start)
                    self.waited = self.processes.of_first(self.waited)
                if late or (config.patience and self.waited >= config.patience):
                    break
        return self.weights_path

    def _train_step(self):
        config = self.config
        # of a seed torch takes 32 bits: those of other processes are far away in them
        seed = config.seed * 1_000_000_007 + self.step
        seed += self.processes.rank * 500_000_003
        generator = torch.Generator(self.device).manual_seed(seed)
        examples, lesson = self._draw(generator)
        rate = self._noise_rate(config.batch_size, generator)
        self.network.train()
        loss, _ = self._loss(self.parallel, examples, rate, lesson)
        # the same in all processes, which do the same then
        value = self.processes.mean(float(loss.detach()))
        if not value < _SPIKE * self.recent:
            self.skipped += 1
            if self.skipped == _PATIENCE:
                self._fall_back()
            return value
        self.skipped = 0
        self.recent = value if math.isinf(self.recent) else (
            0.99 * self.recent + 0.01 * value
        )  # fmt: skip
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        if torch.isfinite(norm):
            self.optimizer.step(self._decay())
            self._update_average()
        return value

    def _fall_back(self):
        """
        Go back to the averaged weights after a loss spike that stays.
        """
        self.network.load_state_dict(self.average.state_dict())
        self.optimizer = Optimizers(self.network, self.config)
        self.skipped = 0

    def _draw(self, generator):
        """
        The examples of a step, and a lesson about them if there is a teacher.
        """
        function = draw_counts_examples if self.is_for_counts else draw_examples

        def draw():
            return function(self._choose_composer(generator), self.config, generator)

        if self.teacher is None:
            return draw(), None
        lesson = self.teacher.lesson(draw, self.step, generator)
        return lesson.examples, lesson

    def _choose_composer(self, generator):
        if not self.families:
            return self.composer
        chosen, family = torch.rand(2, generator=generator, device=self.device).tolist()
        if chosen >= self.config.family_fraction:
            return self.composer
        return self.families[int(family * len(self.families))]

    def _noise_rate(self, n_crops, generator):
        draw = torch.rand(2, n_crops, 1, 1, 1, generator=generator, device=self.device)
        observed = draw[0] < self.config.observed_fraction
        return self.config.schedule.noise_rate(torch.where(observed, 1.0, draw[1]))

    def _loss(self, network, examples, rate=None, lesson=None):
        """
        The training loss, and the map in which sources are looked for.
        """
        config = self.config
        if self.is_for_counts:
            # all of the sky is there, as `bgrem.denoise.run.denoise_counts` has it
            x = torch.cat([examples.counts, examples.level], dim=1)
            output = self._forward(network, x, x.new_ones(len(x)))
            loss = counts_loss(output, examples, config.center_weight)
            return loss, output.center_logit
        image, source, centers, valid = examples
        if rate is None:
            rate = config.schedule.noise_rate(torch.ones(len(image), 1, 1, 1))
            rate = rate.to(image)
        background = image - source
        x = source + rate * background
        output = self._forward(network, x, rate.flatten() ** 2)
        predicted = x - rate * output.background
        if lesson is not None:
            observed = rate == config.schedule.noise_rate(torch.ones_like(rate))
            source, centers = lesson.targets(config.teacher_fraction, observed)
            background = (x - source) / rate
        if config.loss_space == 'arcsinh':
            pair = torch.arcsinh(predicted), torch.arcsinh(source)
            # One noise sigma, seen through the slope of the arcsinh there.
            delta = torch.rsqrt(1 + source.square())
        else:
            pair, delta = (output.background, background), 1.0
        loss = difference_loss(*pair, kind=config.loss, delta=delta, valid=valid)
        if output.center_logit is None:
            return loss, predicted
        entropy = center_cross_entropy(output.center_logit, centers, valid=valid)
        return loss + config.center_weight * entropy, output.center_logit

    def _forward(self, network, x, variance):
        native = self.device.type != 'cpu' or cpu_has_bfloat16()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=native):
            return network(x, variance)

    def _decay(self):
        """
        The learning rate of this step relative to the highest.
        """
        config = self.config
        warm = min(1.0, (self.step + 1) / max(1, config.warmup_steps))
        if config.decay == 'cosine':
            phase = math.pi * min(1.0, self.step / config.n_steps)
            return warm * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(phase)))
        return warm * config.decay_rate ** (self.step // config.decay_steps)

    def _update_average(self):
        # A young average follows faster, so that it forgets the first weights.
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        new = self.network.state_dict()
        for name, value in self.average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(new[name], 1 - decay)
            else:
                value.copy_(new[name])

    def _checkpoint(self, loss, seconds):
        metrics = self.validation(self.average, self._loss)
        row = {'step': self.step, 'seconds': round(seconds, 1),
               'learning_rate': self.config.learning_rate * self._decay(),
               'train_loss': loss}  # fmt: skip
        row |= {f'validation_{name}': value for name, value in metrics.items()}
        if not _add_to_log(self.folder / 'log.csv', row):
            # the best so far is of another validation
            self.best, self.waited = math.inf, 0
        improved = metrics['loss'] < self.best
        self.best = min(self.best, metrics['loss'])
        self.waited = 0 if improved else self.waited + 1
        state = {
            'config': self.config.to_dict(),
            'step': self.step,
            'recent': self.recent,
            'skipped': self.skipped,
            'best': self.best,
            'waited': self.waited,
            'network': self.network.state_dict(),
            'average': self.average.state_dict(),
            'optimizer': self.optimizer.state_dict(),
        }
        # Half precision rounds less than the bf16 arithmetic that will use it. The
        # variances of a batch normalization can be too large for it.
        parameters = dict(self.average.named_parameters())
        weights = {
            name: value.half() if name in parameters else value
            for name, value in self.average.state_dict().items()
        }
        save_weights(self.weights_path, weights, self._header(metrics))
        # last, or a run that is stopped here would not do again what is missing
        # by way of the memory, as torch does not say that a disk is full
        content = BytesIO()
        torch.save(state, content)
        with atomic_path(self.folder / 'state.pt') as temporary:
            temporary.write_bytes(content.getbuffer())

    def _earlier_state(self):
        """Return where an earlier call of the same run has stopped, or `None`."""
        path = self.folder / 'state.pt'
        if not path.exists():
            return None
        state = torch.load(path, map_location=self.device, weights_only=True)
        # A longer run of the same network may go on from a shorter one, and one
        # that lacks newer options had their defaults.
        earlier = TrainingConfig.from_dict(state['config'])
        if replace(earlier, n_steps=self.config.n_steps) != self.config:
            msg = f'folder {self.folder} holds a run of another configuration'
            raise ValueError(msg)
        return state

    def _resume(self, state):
        self.network.load_state_dict(state['network'])
        self.average.load_state_dict(state['average'])
        self.optimizer.load_state_dict(state['optimizer'])
        for name in ('step', 'recent', 'skipped', 'best', 'waited'):
            setattr(self, name, state[name])

    def _header(self, metrics):
        config = self.config
        n_crops = config.batch_size * self.processes.n_processes
        pixels = self.step * n_crops * config.crop_size**2
        return {
            'format_version': 1,
            'name': config.name,
            'network': config.network.to_dict(),
            'schedule': (config.inference_schedule or config.schedule).to_dict(),
            'n_steps': config.inference_steps,
            'normalization': config.normalization,
            'tile_size': config.tile_size,
            'tile_overlap': config.tile_overlap,
            'calibration': None,
            'training': {
                'config': config.to_dict(),
                'steps': self.step,
                'megapixels': round(pixels / 1e6, 1),
                'validation': metrics,
            },
        }


def _add_to_log(path, row):
    """
    Add a row to a table, which gets the columns that it lacks.

    Whether it lacked none is returned.
    """
    rows = []
    if path.exists():
        with path.open(newline='') as handle:
            rows = list(csv.DictReader(handle))
    known = rows[0] if rows else row
    with atomic_path(path) as temporary, temporary.open('w', newline='') as handle:
        writer = csv.DictWriter(handle, {**known, **row}, extrasaction='ignore')
        writer.writeheader()
        writer.writerows([*rows, row])
    return row.keys() <= known.keys()
