"""
What each choice of the recipe is worth: short trainings that differ in one thing.

``python benchmarks/ablations.py --bank runs/optical/bank.safetensors`` trains every
variant below for the same number of small steps from the same seed and prints the
true positives at 5% contamination on the validation scenes of every family, and the
mean absolute error of the source (arcsinh of noise units). Short trainings rank what
learns fast; what wins by a hair here need not win in a long run.
"""

import argparse
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from bgrem.nn import UNetConfig
from bgrem.simulate import SceneConfig
from bgrem.train import TrainingConfig, examples, load_config, loop
from bgrem.train.validation import VALIDATION_FAMILIES

ROOT = Path(__file__).parents[1]
BLOBS = examples.center_blobs


def source_pixels(catalog, shape, sigma):
    """
    Mark the pixels of a source in place of its center: a disc of three sigma.
    """
    return (BLOBS(catalog, shape, 3 * sigma) > 0.6).float()


def variants(base):
    """
    By name: the configuration, and the function that maps the centers.
    """
    net = base.network
    linear = replace(net, transfer='linear')
    paper_like = UNetConfig(widths=net.widths, unshuffle=2, normalize=True)
    flat_sky = SceneConfig(gradient_probability=0, nebulosity_probability=0)
    changes = {
        'as configs/optical.toml': base,
        'twice as long': replace(base, n_steps=2 * base.n_steps),
        'AdamW, 2e-3': replace(base, optimizer='adamw', learning_rate=2e-3),
        'MSE': replace(base, loss='mse'),
        'MAE': replace(base, loss='mae'),
        'linear': replace(base, network=linear, loss_space='background'),
        'linear, no center head': replace(
            base, network=paper_like, loss_space='background'
        ),
        'half the widths': replace(
            base, network=replace(net, widths=tuple(w // 2 for w in net.widths))
        ),
        'one level less': replace(
            base, network=replace(net, widths=net.widths[:-1])
        ),
        'embedding of the paper': replace(
            base, network=replace(net, embedding_dim=32, max_frequency=1000.0)
        ),
        'observed images only': replace(base, observed_fraction=1.0),
        'half at random times': replace(base, observed_fraction=0.5),
        'no context': replace(base, network=replace(net, context=0)),
        'attention gates': replace(base, network=replace(net, attention_gates=2)),
        'no structured sky': replace(base, scene=flat_sky),
        'mask of source pixels': base,
    }  # fmt: skip
    return {
        name: (config, source_pixels if name.startswith('mask') else BLOBS)
        for name, config in changes.items()
    }


class _Run(loop._Run):
    """
    A run that only measures: nothing is written but the row of the table.
    """

    def _checkpoint(self, _loss, seconds):
        # So short a run is judged by its weights, not by their slow average.
        self.average.load_state_dict(self.network.state_dict())
        metrics = self.validation(self.average, self._loss)
        with torch.no_grad():
            error = 0.0
            for _, scenes in self.validation._scenes.values():
                rate = torch.ones(len(scenes.image), 1, 1, 1)
                output = self.average(scenes.image, rate.flatten())
                source = torch.arcsinh(scenes.image - output.background)
                error += float((source - torch.arcsinh(scenes.source)).abs().mean())
        self.row = [metrics[name] for name in (*VALIDATION_FAMILIES, 'detections')]
        self.row += [error / len(self.validation._scenes), seconds]


def measure(config, centers, bank):
    """
    Train one variant and return its row of the table.
    """
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(bank, Path(folder) / 'bank.safetensors')
        run = _Run(config, Path(folder), torch.device('cpu'), 1, None)
        examples.center_blobs = centers
        try:
            run.go(progress=False, stop_after=None)
        finally:
            examples.center_blobs = BLOBS
    return run.row


def main():
    """
    Train and measure the variants asked for.
    """
    parser = argparse.ArgumentParser(description=__doc__.strip().split('\n')[0])
    parser.add_argument('--bank', required=True, help='stamp bank of a training run')
    parser.add_argument('--steps', type=int, default=400)
    parser.add_argument('--only', nargs='*', help='names of variants; default: all')
    args = parser.parse_args()
    base = replace(
        load_config(ROOT / 'configs' / 'optical.toml'),
        n_steps=args.steps,
        batch_size=8,
        crop_size=96,
        warmup_steps=30,
        validate_every=10 * args.steps,
        learning_rate=2e-3,
        muon_learning_rate=2e-2,
        center_weight=TrainingConfig.center_weight,
    )
    print(f'{"variant":26s}', *(f'{name[:10]:>10s}' for name in VALIDATION_FAMILIES),
          f'{"all":>6s} {"error":>7s} {"seconds":>8s}', flush=True)  # fmt: skip
    for name, (config, centers) in variants(base).items():
        if args.only and name not in args.only:
            continue
        start = time.process_time()
        *counts, error, _ = measure(config, centers, args.bank)
        print(f'{name:26s}', *(f'{count:10d}' for count in counts[:-1]),
              f'{counts[-1]:6d} {error:7.4f} {time.process_time() - start:8.0f}',
              flush=True)  # fmt: skip


if __name__ == '__main__':
    main()
