"""
From fields of photons to the inputs and targets of a network for counts.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from bgrem.evaluate.curves import true_positives_at
from bgrem.evaluate.matching import judge, match_radius
from bgrem.nn import center_cross_entropy, counts_deviance, ratio_deviance
from bgrem.simulate import CountsComposer, SceneBatch, draw_counts_bank
from bgrem.sky.count_level import expected_level

from .examples import center_blobs, make_examples
from .validation import find_score_peaks

__all__ = [
    'CountsExamples',
    'CountsImages',
    'CountsValidation',
    'counts_loss',
    'draw_counts_examples',
    'make_counts_examples',
]

# The sources, the sky and the centers, so that each is learned.
_SOURCE_WEIGHT = 0.5
_SKY_WEIGHT = 10.0
_LEAST_LEVEL = 1e-3
_KNOWN_EXPOSURE = 0.5
_MIN_SNR = 3.0
_CONTAMINATION = 0.05
_SEED = 20_500_000
# of the sky in counts per pixel: of few photons, of some, of many
_BRIGHTNESS = {'few': (0.0, 0.3), 'some': (0.3, 10.0), 'many': (10.0, float('inf'))}


class CountsExamples(NamedTuple):
    """
    Training examples; every tensor has shape (B, 1, H, W).
    """

    counts: torch.Tensor
    level: torch.Tensor
    source: torch.Tensor
    sky: torch.Tensor
    centers: torch.Tensor
    valid: torch.Tensor


class CountsImages:
    """
    Makes fields of counts into scenes, for networks that are not for counts.

    Parameters
    ----------
    composer : `bgrem.simulate.CountsComposer`
        The composer of the fields.
    """

    def __init__(self, composer):
        self._composer = composer

    def compose(self, n_fields, size, generator):
        """
        Make fields.

        Parameters
        ----------
        n_fields, size, generator
            As for `bgrem.simulate.CountsComposer.compose`.

        Returns
        -------
        batch : `bgrem.simulate.SceneBatch`
            The fields; their noise is the photon noise of their sky.
        """
        return as_scenes(self._composer.compose(n_fields, size, generator))


def as_scenes(batch):
    """
    Return fields of counts as scenes.

    Parameters
    ----------
    batch : `bgrem.simulate.CountsBatch`
        The fields.

    Returns
    -------
    scenes : `bgrem.simulate.SceneBatch`
        The same fields, without their PSF.
    """
    return SceneBatch(
        image=batch.counts,
        source=batch.source,
        background=batch.counts - batch.source,
        sky=batch.sky,
        sigma=batch.sky.sqrt(),
        mask=batch.exposure <= 0,
        psf=None,
        fwhm=batch.fwhm,
        catalog=batch.catalog,
    )


def draw_counts_examples(composer, config, generator):
    """
    Draw the examples of one training step.

    Parameters
    ----------
    composer : `bgrem.simulate.CountsComposer`
        The composer of the fields.

    config : `TrainingConfig`
        Provides the number and the size of the crops and the width of the blobs.

    generator : `~torch.Generator`
        The source of randomness.

    Returns
    -------
    examples : `CountsExamples`
        ``config.batch_size`` examples, or the same number of pixels in wide crops.
    """
    number, size = config.batch_size, config.crop_size
    wide = config.counts.wide_fraction
    if (
        wide
        and float(torch.rand(1, generator=generator, device=generator.device)) < wide
    ):
        number, size = max(1, number * 4 // 9), size * 3 // 2
    batch = composer.compose(number, size, generator)
    return make_counts_examples(batch, config.blob_sigma, generator)


def make_counts_examples(batch, blob_sigma, generator):
    """
    Add to fields the level that is known at inference.

    It is measured on the photons, as at inference
    (`bgrem.sky.count_level.expected_level`); the exposure is known for half of the
    fields.

    Parameters
    ----------
    batch : `bgrem.simulate.CountsBatch`
        The fields.

    blob_sigma : float
        The width in pixels of the blobs that mark source centers.

    generator : `~torch.Generator`
        The source of randomness.

    Returns
    -------
    examples : `CountsExamples`
        The fields; in gaps the counts are the level.
    """
    valid = batch.exposure > 0
    draw = torch.rand(len(valid), generator=generator, device=generator.device)
    is_known = (draw < _KNOWN_EXPOSURE).view(-1, 1, 1, 1)
    exposure = torch.where(is_known, batch.exposure, valid.to(batch.exposure))
    levels = [
        expected_level(counts, unusable, given)
        for counts, unusable, given in zip(
            *(one[:, 0].cpu().numpy() for one in (batch.counts, ~valid, exposure)),
            strict=True,
        )
    ]
    level = torch.from_numpy(np.stack(levels)[:, None]).to(batch.counts)
    level = level.clamp(min=_LEAST_LEVEL)
    centers = center_blobs(batch.catalog, batch.counts.shape, blob_sigma)
    counts = torch.where(valid, batch.counts, level)
    return CountsExamples(counts, level, batch.source, batch.sky, centers, valid)


def counts_loss(output, examples, center_weight):
    """
    Return the training loss.

    Parameters
    ----------
    output : `bgrem.nn.CountsOutput`
        The output of the network.

    examples : `CountsExamples`
        The truth.

    center_weight : float
        The weight of the center cross-entropy.

    Returns
    -------
    loss : `~torch.Tensor`
        A scalar.
    """
    level, valid = examples.level, examples.valid
    source = counts_deviance(output.source, examples.source, level, valid=valid)
    sky = ratio_deviance(output.sky / level, examples.sky / level, valid=valid)
    centers = center_cross_entropy(output.center_logit, examples.centers, valid=valid)
    return _SOURCE_WEIGHT * source + _SKY_WEIGHT * sky + center_weight * centers


class CountsValidation:
    """
    Fields made once from a fixed seed, and the score of a network on them.

    Parameters
    ----------
    config : `TrainingConfig`
        Provides the fields; their number is 16 times its ``validation_scenes``.

    device : `~torch.device`
        The device of the network. The fields are made on the CPU, where a seed gives
        the same ones on all machines.
    """

    def __init__(self, config, device):
        generator = torch.Generator().manual_seed(_SEED)
        n_fields = 16 * config.validation_scenes
        fields = replace(config.counts, n_patches=n_fields, seed=_SEED)
        composer = CountsComposer(draw_counts_bank(fields), fields.expected_fraction)
        self._batch = composer.compose(n_fields, config.crop_size, generator)
        if config.network.transfer == 'counts':
            examples = make_counts_examples(self._batch, config.blob_sigma, generator)
        else:
            examples = make_examples(
                as_scenes(self._batch),
                generator,
                blob_sigma=config.blob_sigma,
                jitter=False,
                method=config.normalization,
                measured_fraction=config.measured_fraction,
            )
        self._examples = type(examples)(*(one.to(device) for one in examples))
        self._chunk = config.batch_size
        sky = self._batch.sky.mean(dim=(1, 2, 3))
        self._brightness = {
            name: torch.nonzero((sky >= low) & (sky < high)).flatten().tolist()
            for name, (low, high) in _BRIGHTNESS.items()
        }

    def __call__(self, network, loss):
        """
        Score a network.

        Parameters
        ----------
        network : `~bgrem.nn.AttentionUNet`
            The network, in evaluation mode.

        loss : callable
            ``loss(network, examples)`` and the map in which sources are searched for.

        Returns
        -------
        metrics : dict of float
            ``loss``, and the number of sources above S/N 3 found at 5% contamination
            in fields of few, some and many photons.
        """
        total, scores = 0.0, []
        examples, n_fields = self._examples, len(self._batch.counts)
        with torch.no_grad():
            for start in range(0, n_fields, self._chunk):
                stop = min(start + self._chunk, n_fields)
                part = type(examples)(*(one[start:stop] for one in examples))
                value, score = loss(network, part)
                total += float(value) * (stop - start)
                scores.append(score)
        metrics = {'loss': total / n_fields}
        score = torch.cat(scores)
        for name, fields in self._brightness.items():
            metrics[name] = self._true_positives(score, fields)
        metrics['detections'] = sum(metrics[name] for name in self._brightness)
        return metrics

    def _true_positives(self, score, fields):
        catalog = {name: one.numpy() for name, one in self._batch.catalog.items()}
        ranks, found = [], []
        for number in fields:
            place, rank = find_score_peaks(score[number : number + 1])[0]
            true = catalog['scene'] == number
            radius = match_radius(float(self._batch.fwhm[number]))
            is_true, is_neutral = judge(
                place[:, 1], place[:, 0], rank,
                {name: catalog[name][true] for name in ('x', 'y', 'snr')},
                radius, min_snr=_MIN_SNR,
            )  # fmt: skip
            ranks.extend(rank[~is_neutral])
            found.extend(is_true[~is_neutral])
        return int(true_positives_at(ranks, found, (_CONTAMINATION,))[0])
