"""
Validation on fixed scenes: the loss and, more importantly, detections.
"""

import torch
from torch.nn import functional

from bgrem.evaluate.curves import true_positives_at
from bgrem.evaluate.matching import match, match_radius
from bgrem.simulate import FAMILIES, SceneComposer

from .examples import Examples, make_examples

__all__ = ['VALIDATION_FAMILIES', 'Validation', 'find_score_peaks']

VALIDATION_FAMILIES = ('flat', 'nebulosity', 'crowded', 'large_galaxies', 'correlated')
_CONTAMINATION = 0.05
_SEED = 20_000_000


class Validation:
    """
    Scenes made once from a fixed seed, and the score of a network on them.

    Parameters
    ----------
    bank : `bgrem.simulate.StampBank`
        The stamps.

    config : `TrainingConfig`
        Provides the number of scenes, the width of the blobs and the normalization.
        If it names noise frames, detections are also counted on them.

    device : `~torch.device`
        The device of the network.

    composer : `bgrem.simulate.SceneComposer` or `FrameComposer`
        The composer of scenes like those of the training.

    Notes
    -----
    ``bank`` and ``composer`` are on the CPU, where a seed gives the same scenes on all
    machines: a run that goes on elsewhere is compared with what it was before.
    """

    def __init__(self, bank, config, device, composer):
        composers = {
            name: (SceneComposer(bank, FAMILIES[name]), 256)
            for name in VALIDATION_FAMILIES
        }
        # Scenes like those of the training. Frames need not be larger than a crop.
        composers['own'] = composer, config.crop_size
        self._counted = list(VALIDATION_FAMILIES)
        if config.noise_frames is not None:
            composers['noise_frames'] = composers.pop('own')
            self._counted.append('noise_frames')
        self._scenes = {}
        for number, (name, (composer, size)) in enumerate(composers.items()):
            generator = torch.Generator().manual_seed(_SEED + number)
            batch = composer.compose(config.validation_scenes, size, generator)
            examples = make_examples(
                batch,
                generator,
                blob_sigma=config.blob_sigma,
                jitter=False,
                method=config.normalization,
                # As at inference, if the training has seen that.
                measured_fraction=float(config.measured_fraction > 0),
            )
            examples = Examples(*(one.to(device) for one in examples))
            self._scenes[name] = (batch, examples)

    def __call__(self, network, loss):
        """
        Score a network.

        Parameters
        ----------
        network : `~bgrem.nn.AttentionUNet`
            The network, in evaluation mode.

        loss : callable
            ``loss(network, examples)`` at diffusion time one.

        Returns
        -------
        metrics : dict of float
            ``loss`` on scenes like those of the training, ``family_loss``, the mean
            over the families, and for each family the true positives at 5%
            contamination.
        """
        losses, found = {}, {}
        with torch.no_grad():
            for name, (batch, examples) in self._scenes.items():
                value, score = loss(network, examples)
                losses[name] = float(value)
                if name in self._counted:
                    found[name] = _true_positives(batch, score)
        *families, own = losses.values()
        return {
            'loss': own,
            'family_loss': sum(families) / len(families),
            **found,
            'detections': sum(found.values()),
        }


def find_score_peaks(score):
    """
    Find the peaks of score maps.

    Parameters
    ----------
    score : `~torch.Tensor`
        Shape (B, 1, H, W).

    Returns
    -------
    peaks : list of tuple
        For each map, the rows and columns (shape (N, 2)) and the scores of its highest
        peaks, at most 2000, highest first.
    """
    highest = functional.max_pool2d(score, 3, 1, 1)
    found = torch.nonzero((score == highest) & (score > score.amin() + 1e-3))
    values = score[tuple(found.T)]
    peaks = []
    for scene in range(len(score)):
        of_scene = found[:, 0] == scene
        top = values[of_scene].argsort(descending=True)[:2000]
        place = found[of_scene][top].cpu().numpy()
        peaks.append((place[:, 2:], values[of_scene][top].cpu().numpy()))
    return peaks


def _true_positives(batch, score):
    """
    True sources found at 5% contamination by the peaks of a score map.
    """
    ranks, found = [], []
    catalog = {name: tensor.numpy() for name, tensor in batch.catalog.items()}
    for scene, (place, rank) in enumerate(find_score_peaks(score)):
        true = catalog['scene'] == scene
        index = match(
            place[:, 1], place[:, 0], rank,
            *(catalog[name][true] for name in ('x', 'y', 'snr')),
            match_radius(float(batch.fwhm[scene])),
        )  # fmt: skip
        ranks.extend(rank)
        found.extend(index >= 0)
    return int(true_positives_at(ranks, found, (_CONTAMINATION,))[0])
