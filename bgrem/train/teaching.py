"""
A teacher: trained weights whose answers a smaller network learns.

The truth of a scene includes sources that nobody could detect. A trained network
answers with what can be known.
"""

from typing import NamedTuple

import torch

from bgrem.denoise.run import average_views, cpu_has_bfloat16
from bgrem.nn import sample
from bgrem.weights import load_weights

from .examples import Examples

__all__ = ['Lesson', 'Teacher']

# What bfloat16 keeps of a number is less than float16 does, up to its largest.
_LARGEST = 6e4
# Batches that are there before the first step.
_FIRST = 16


class Lesson(NamedTuple):
    """
    Examples and the teacher's answers to them; tensors of shape (B, 1, H, W).
    """

    examples: Examples
    source: torch.Tensor
    center_logit: torch.Tensor

    def targets(self, fraction, observed):
        """
        Return the targets of the student.

        Parameters
        ----------
        fraction : float
            The fraction of the teacher in the targets; the rest is the truth.

        observed : `~torch.Tensor`
            Whether each image is shown as observed, which is how the teacher saw it, of
            shape (B, 1, 1, 1). The targets of other images are the truth.

        Returns
        -------
        source, centers : `~torch.Tensor`
            Means of truth and teacher: of the arcsinh of the sources, and of the
            probability of a center, for which the cross-entropy with the mean is the
            mean of the cross-entropies.
        """
        weight = fraction * observed.float()
        truth = self.examples
        source = torch.lerp(truth.source.arcsinh(), self.source.arcsinh(), weight)
        centers = torch.lerp(truth.centers, self.center_logit.sigmoid(), weight)
        return source.sinh(), centers


class Teacher:
    """
    Provides lessons, each of them several times.

    The answers of a teacher take longer than a step of a small student. So the crops of
    the last batches are kept with their answers, and each step learns from some of them
    drawn at random, each in one of the eight symmetries of the square.

    Parameters
    ----------
    config : `TrainingConfig`
        Names the teacher and its options.

    device : `~torch.device`
        The device of the computation.

    Raises
    ------
    ValueError
        If the teacher cannot teach the network of ``config``.
    """

    def __init__(self, config, device):
        weights = load_weights(config.teacher)
        if weights.is_for_counts or not weights.config.center_head:
            msg = f'teacher must find centers in images, got {config.teacher!r}'
            raise ValueError(msg)
        self.config = config
        self.weights = weights
        self.network = weights.network(device)
        self._kept = None
        self._next = 0

    def lesson(self, draw, step, generator):
        """
        Return the lesson of one step.

        Parameters
        ----------
        draw : callable
            Draws the `Examples` of a batch; called once in ``config.teacher_uses``
            steps, and at first until there are some batches.

        step : int
            The number of the step.

        generator : `~torch.Generator`
            The source of randomness.

        Returns
        -------
        lesson : `Lesson`
            As many crops as in a batch.
        """
        n_missing = _FIRST if self._kept is None else 0
        for _ in range(max(n_missing, step % self.config.teacher_uses == 0)):
            self._keep(draw())
        return self._choose(generator)

    def answer(self, image):
        """
        Return the answers of the teacher.

        Parameters
        ----------
        image : `~torch.Tensor`
            Images in units of the noise, shape (B, 1, H, W).

        Returns
        -------
        source, center_logit : `~torch.Tensor`
            As from `bgrem.denoise.run.denoise`, float32.
        """

        def run(x):
            return sample(self.network, x, self.weights.schedule, self.weights.n_steps)

        kind, n_views = image.device.type, self.config.teacher_symmetries
        native = kind != 'cpu' or cpu_has_bfloat16()
        with torch.no_grad(), torch.autocast(kind, torch.bfloat16, enabled=native):
            return average_views(run, image, ('source', 'center_logit'), n_views)

    def _keep(self, examples):
        """Put a batch into the place of the oldest one."""
        source, center_logit = self.answer(examples.image)
        new = [
            part if part.dtype == torch.bool else part.clamp(-_LARGEST, _LARGEST).half()
            for part in (*examples, source, center_logit)
        ]
        n_batches = max(self.config.teacher_crops // len(new[0]), _FIRST)
        if self._kept is None:
            self._kept = [[] for _ in new]
        for kept, part in zip(self._kept, new, strict=True):
            kept[self._next : self._next + 1] = [part]
        self._next = (self._next + 1) % n_batches

    def _choose(self, generator):
        n_crops = self.config.batch_size
        n_kept = len(self._kept[0]), len(self._kept[0][0]), 4, 2
        draws = [
            torch.randint(n, (n_crops,), generator=generator, device=generator.device)
            for n in n_kept
        ]
        draws = torch.stack(draws, 1).tolist()
        parts = []
        for kept in self._kept:
            crops = []
            for batch, crop, turn, flip in draws:
                one = torch.rot90(kept[batch][crop], turn, (-2, -1))
                crops.append(one.flip(-1) if flip else one)
            part = torch.stack(crops)
            parts.append(part if part.dtype == torch.bool else part.float())
        return Lesson(Examples(*parts[:4]), *parts[4:])
