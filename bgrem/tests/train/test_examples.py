"""Properties of what networks are shown and asked, without any bank of stamps."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from bgrem.nn import AttentionUNet
from bgrem.simulate import SceneBatch
from bgrem.tests.train.conftest import CONFIG, TINY
from bgrem.train.examples import Examples, _random_symmetry, center_blobs, make_examples
from bgrem.train.optimizer import Optimizers
from bgrem.train.teaching import Lesson
from bgrem.train.validation import find_score_peaks

SHAPE = (3, 1, 40, 48)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def close(found, expected, rtol=1e-4, atol=1e-4):
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)


def catalog_of(n=20, seed=1, shape=SHAPE):
    u = torch.rand(4, n, generator=generator(seed))
    scene = (u[0] * shape[0]).long()
    y, x = u[1] * (shape[2] + 4) - 2, u[2] * (shape[3] + 4) - 2
    return {'scene': scene, 'x': x, 'y': y, 'snr': 10 * u[3]}


class TestBlobs:
    def test_each_pixel_has_the_nearest_source(self):
        catalog = catalog_of()
        blobs = center_blobs(catalog, SHAPE, 1.3)
        y, x = torch.meshgrid(
            *(torch.arange(float(n)) for n in SHAPE[2:]), indexing='ij'
        )
        for k in range(3):
            own = (catalog['scene'] == k) & (catalog['snr'] > 2)
            apart = (x - catalog['x'][own, None, None]) ** 2
            apart = (apart + (y - catalog['y'][own, None, None]) ** 2).amin(dim=0)
            near = apart < 9
            close(blobs[k, 0][near], torch.exp(-apart / 2 / 1.3**2)[near])
            assert not blobs[k, 0][apart > 41].any()

    def test_mirrored(self):
        catalog = catalog_of(seed=2)
        mirrored = {**catalog, 'x': SHAPE[3] - 1 - catalog['x']}
        close(
            center_blobs(mirrored, SHAPE, 1.0),
            center_blobs(catalog, SHAPE, 1.0).flip(-1),
        )
        turned = {**catalog, 'x': catalog['y'], 'y': catalog['x']}
        close(
            center_blobs(turned, (3, 1, 48, 40), 1.0),
            center_blobs(catalog, SHAPE, 1.0).transpose(-2, -1),
        )

    def test_faint_ones_and_none(self):
        catalog = catalog_of()
        catalog['snr'] = torch.full_like(catalog['snr'], 2.0)
        assert not center_blobs(catalog, SHAPE, 1.0).any()
        empty = {name: values[:0] for name, values in catalog.items()}
        assert center_blobs(empty, SHAPE, 1.0).shape == SHAPE


def make_batch(seed=3):
    g = generator(seed)
    source = 200 * torch.rand(SHAPE, generator=g) ** 30
    sky = 100 + torch.linspace(0, 5, 48).expand(SHAPE).clone()
    sigma = torch.full(SHAPE, 4.0)
    background = sky + sigma * torch.randn(SHAPE, generator=g)
    mask = torch.rand(SHAPE, generator=g) < 0.05
    image = torch.where(mask, 0, source + background)
    return SceneBatch(
        image, source, background, sky, sigma, mask, None, None, catalog_of(60)
    )


class TestMakeExamples:
    @pytest.mark.parametrize('fraction', [0.0, 1.0])
    @pytest.mark.parametrize('jitter', [False, True])
    def test_unit(self, fraction, jitter):
        """The counts per electron are in nothing that the network sees."""
        batch = make_batch()
        names = ('image', 'source', 'background', 'sky', 'sigma')
        scaled = replace(batch, **{name: 16 * getattr(batch, name) for name in names})
        one, other = (
            make_examples(b, generator(4), jitter=jitter, measured_fraction=fraction)
            for b in (batch, scaled)
        )
        for before, after in zip(one, other, strict=True):
            close(after, before, rtol=1e-3, atol=1e-3)

    def test_without_errors_it_is_the_truth(self):
        batch = make_batch()
        examples = make_examples(batch, generator(), jitter=False)
        assert torch.equal(examples.valid, ~batch.mask)
        close(examples.source[examples.valid], batch.source[~batch.mask] / 4)
        for image in (examples.image, examples.source):
            assert not image[batch.mask].any()
        close(examples.centers, center_blobs(batch.catalog, SHAPE, 1.0))

    def test_errors_are_of_the_size_they_say(self):
        """15% of the scale, and of the noise in the center."""
        batch = make_batch()
        scales = []
        for seed in range(60):
            examples = make_examples(batch, generator(seed))
            total = examples.source.sum(dim=(1, 2, 3))
            scales.append(total / (batch.source * ~batch.mask).sum(dim=(1, 2, 3)) * 4)
        logs = torch.cat(scales).log()
        assert float(logs.std()) == pytest.approx(0.15, abs=0.03)
        assert abs(float(logs.mean())) < 0.04

    def test_one_symmetry_for_all_that_belongs_together(self):
        image = torch.randn(SHAPE, generator=generator())
        seen = set()
        for seed in range(40):
            found = _random_symmetry(Examples(*4 * [image]), generator(seed))
            assert all(torch.equal(part, found.image) for part in found)
            close(found.image.flatten().sort()[0], image.flatten().sort()[0])
            seen.add((found.image.shape[-2], float(found.image[0, 0, 0, 0])))
        # four corners, and two ways round each
        assert len(seen) == 8


def test_peaks_any_way_round():
    score = torch.rand(2, 1, 30, 36, generator=generator(5))
    for turn in (lambda s: s.flip(-1), lambda s: s.transpose(-2, -1)):
        for (_, expected), (_, found) in zip(
            find_score_peaks(score), find_score_peaks(turn(score)), strict=True
        ):
            assert found.tolist() == expected.tolist()
            assert len(found) > 50
    (place, rank), _ = find_score_peaks(score)
    assert score[0, 0][place[:, 0], place[:, 1]].tolist() == rank.tolist()


@pytest.mark.parametrize('optimizer', ['adamw', 'muon'])
class TestOptimizers:
    def make(self, optimizer):
        torch.manual_seed(3)
        network = AttentionUNet(TINY).to(memory_format=torch.channels_last)
        return network, Optimizers(network, replace(CONFIG, optimizer=optimizer))

    def step(self, network, optimizers, seed, factor=1.0):
        g = generator(seed)
        for parameter in network.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=g)
        optimizers.step(factor)

    def test_state_goes_on_where_it_was(self, optimizer):
        network, optimizers = self.make(optimizer)
        self.step(network, optimizers, 1)
        other, resumed = self.make(optimizer)
        other.load_state_dict(network.state_dict())
        resumed.load_state_dict(deepcopy(optimizers.state_dict()))
        for one, its in ((network, optimizers), (other, resumed)):
            self.step(one, its, 2)
        for one, two in zip(network.parameters(), other.parameters(), strict=True):
            close(two, one, rtol=0, atol=1e-7)

    def test_factor(self, optimizer):
        """Of 0 nothing moves, of a half half as far; the next step is whole again."""
        steps = {}
        for factor in (0.0, 0.5, 1.0):
            network, optimizers = self.make(optimizer)
            before = [one.detach().clone() for one in network.parameters()]
            self.step(network, optimizers, 1, factor)
            steps[factor] = [
                one.detach() - old
                for one, old in zip(network.parameters(), before, strict=True)
            ]
        for none, half, whole in zip(*steps.values(), strict=True):
            assert not none.any()
            close(2 * half, whole, rtol=1e-3, atol=1e-6)
            assert whole.abs().max() > 0


@pytest.mark.parametrize('fraction', [0.2, 0.7])
def test_a_lesson_lies_between_truth_and_teacher(fraction):
    """Nearer to the teacher the more it counts, and the same for both signs."""
    g = generator(6)
    source, taught = 50 * torch.randn(2, 2, 1, 8, 8, generator=g)
    centers, logit = torch.rand(2, 2, 1, 8, 8, generator=g)
    lesson = Lesson(Examples(source, source, centers, centers > 0), taught, logit)
    shown = torch.ones(2, 1, 1, 1, dtype=torch.bool)
    found, blobs = lesson.targets(fraction, shown)
    assert ((found - source) * (found - taught) <= 1e-3).all()
    close(blobs, (1 - fraction) * centers + fraction * logit.sigmoid())
    negative = Lesson(Examples(source, -source, centers, centers > 0), -taught, logit)
    close(negative.targets(fraction, shown)[0], -found, atol=1e-3)
