"""What holds of networks and losses whatever their weights and images."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from bgrem.nn import (
    AttentionUNet,
    CosineSchedule,
    UNetConfig,
    center_cross_entropy,
    difference_loss,
    sample,
)
from bgrem.nn.counts import count_features, expected_counts
from bgrem.nn.inputs import compress, noise_bands, sinusoidal_embedding
from bgrem.nn.layers import (
    AttentionGate,
    Context,
    DoubleConv,
    UpSample,
    lay_out,
    pixel_gain,
    pixel_norm,
    pointwise,
)

OPTIONS = {
    'paper': {},
    'ours': {
        'unshuffle': 2, 'transfer': 'arcsinh', 'center_head': True, 'normalize': True,
        'bands': 2, 'context': 6, 'attention_gates': 1,
    },
    'counts': {'transfer': 'counts', 'center_head': True, 'attention_gates': 0},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _random_state():
    """Tests begin with a seed and leave the random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        yield


@pytest.fixture(params=OPTIONS)
def network(request):
    """A network that has learned something at random."""
    config = UNetConfig(
        widths=(4, 6, 8), image_channels=4, embedding_dim=4, **OPTIONS[request.param]
    )
    network = AttentionUNet(config).eval()
    with torch.no_grad():
        for one in network.parameters():
            one.add_(0.05 * torch.randn_like(one))
    return network


def draw(network, batch=2, height=16, width=24):
    """Images as a network takes them."""
    if network.config.transfer != 'counts':
        return torch.randn(batch, 1, height, width) * 3
    level = torch.rand(batch, 1, height, width) + 0.5
    return torch.cat([torch.poisson(level), level], dim=1)


def run(network, x, variance=1.0):
    """All that it predicts, side by side."""
    with torch.no_grad():
        output = network(x, torch.full((len(x),), variance))
    return torch.cat([one for one in output if one is not None], dim=1)


class TestNetwork:
    def test_images_of_a_batch_do_not_meet(self, network):
        x = draw(network, batch=3)
        whole = run(network, x)
        for number in range(3):
            alone = run(network, x[number : number + 1])
            torch.testing.assert_close(whole[[number]], alone, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(run(network, x.flip(0)), whole.flip(0))

    def test_each_image_has_its_own_variance(self, network):
        x = draw(network)
        with torch.no_grad():
            both = network(x, torch.tensor([0.3, 0.9]))[0]
        for number, variance in enumerate((0.3, 0.9)):
            alone = run(network, x[number : number + 1], variance)[:, :1]
            torch.testing.assert_close(both[[number]], alone, rtol=1e-4, atol=1e-5)

    def test_order_in_memory(self, network):
        """Views, and channels that come last, are as good as any."""
        x = draw(network)
        known = run(network, x)
        wide = x.repeat_interleave(2, dim=-1)[..., ::2]
        turned = x.transpose(-1, -2).contiguous().transpose(-1, -2)
        for other in (wide, turned, x.contiguous(memory_format=torch.channels_last)):
            torch.testing.assert_close(run(network, other), known)

    def test_input_is_left_alone(self, network):
        x = draw(network)
        before = x.clone()
        run(network, x)
        assert torch.equal(x, before)

    def test_copies_and_states(self, network):
        """The state of a network is all of it."""
        x = draw(network)
        other = AttentionUNet(UNetConfig.from_dict(network.config.to_dict())).eval()
        assert not torch.equal(run(other, x), run(network, x))
        other.load_state_dict(network.state_dict())
        assert torch.equal(run(other, x), run(network, x))
        assert torch.equal(run(copy.deepcopy(network), x), run(network, x))

    # context and the noise of bands are of the whole image
    @pytest.mark.parametrize('network', ['paper', 'counts'], indirect=True)
    def test_far_pixels_do_not_matter(self, network):
        x = draw(network, batch=1, height=16, width=160)
        other = x.clone()
        other[..., -16:] = draw(network, batch=1, height=16, width=16)
        known, found = run(network, x), run(network, other)
        torch.testing.assert_close(found[..., :80], known[..., :80])
        assert not torch.equal(found[..., -16:], known[..., -16:])


class TestLayers:
    @pytest.mark.parametrize('factor', [1e-2, 7.0, 1e6])
    def test_pixel_norm(self, factor):
        """It takes off the size of a pixel, and nothing else."""
        x = 100 * torch.randn(2, 5, 4, 3)
        normal = pixel_norm(x)
        torch.testing.assert_close(normal, x * pixel_gain(x))
        size = normal.square().mean(dim=1)
        torch.testing.assert_close(size, torch.ones_like(size), rtol=1e-2, atol=0)
        if factor > 1:
            torch.testing.assert_close(
                pixel_norm(factor * x), normal, rtol=2e-3, atol=0
            )
        cosine = nn.functional.cosine_similarity(pixel_norm(factor * x), x)
        torch.testing.assert_close(cosine, torch.ones_like(cosine))

    def test_pixel_norm_of_nothing(self):
        """It stays finite where there is nothing, in half precision too."""
        assert not pixel_norm(torch.zeros(1, 4, 3, 3)).any()
        large = torch.full((1, 4, 3, 3), 300.0, dtype=torch.float16)
        assert pixel_norm(large).dtype == torch.float16
        torch.testing.assert_close(pixel_norm(large), torch.ones_like(large))

    @pytest.mark.parametrize('padding', ['symmetric', 'zeros'])
    @pytest.mark.parametrize('normalize', [False, True])
    def test_parts_are_one(self, padding, normalize):
        """Side by side, or as one part: with gains and offsets of their own too."""
        x = torch.randn(2, 5, 6, 7)
        changes = torch.randn(2, 5, 1, 1), torch.randn(2, 5, 1, 1)
        for own in (None, changes):
            options = {'changes': own, 'normalize': normalize}
            whole = lay_out([x], padding, **options)
            parts = lay_out([x[:, :2], x[:, 2:]], padding, **options)
            torch.testing.assert_close(parts, whole)
            with torch.no_grad():
                at_once = lay_out([x[:, :2], x[:, 2:]], padding, **options)
            torch.testing.assert_close(at_once, whole)
            assert whole.shape == (2, 5, 8, 9)

    @pytest.mark.parametrize('axis', [-1, -2])
    def test_in_a_mirror(self, axis):
        """Mirrored weights make of a mirrored image what is mirrored."""
        block = DoubleConv(3, 5, 'symmetric', normalize=True)
        other = copy.deepcopy(block)
        x = torch.randn(2, 3, 9, 7)
        with torch.no_grad():
            for conv in (other.conv1, other.conv2):
                conv.weight.copy_(conv.weight.flip(axis))
            found = other([x.flip(axis)]).flip(axis)
            torch.testing.assert_close(found, block([x]))

    def test_a_constant_has_no_border(self):
        """With symmetric padding a constant stays one; zeros draw a border."""
        x = torch.ones(1, 3, 6, 8)
        with torch.no_grad():
            for padding, is_flat in (('symmetric', True), ('zeros', False)):
                found = DoubleConv(3, 4, padding, normalize=False)([x])
                spread = found.amax((2, 3)) - found.amin((2, 3))
                assert bool((spread < 1e-5).all()) == is_flat

    def test_up_sample(self):
        """Twice the size, and what it makes of a pixel lies where the pixel was."""
        up = UpSample(2, 3)
        x = torch.zeros(1, 2, 5, 6)
        x[0, :, 2, 4] = 1
        with torch.no_grad():
            found = up(x) - up(torch.zeros_like(x))
        assert found.shape == (1, 3, 10, 12)
        _, _, rows, columns = torch.nonzero(found, as_tuple=True)
        assert (rows.min(), rows.max()) == (3, 5)
        assert (columns.min(), columns.max()) == (7, 9)

    def test_a_gate_only_weakens(self):
        gate = AttentionGate(4).eval()
        skip, seen = torch.randn(2, 4, 5, 5), torch.randn(2, 4, 5, 5)
        with torch.no_grad():
            found = gate(skip, seen)
            share = found / skip
            torch.testing.assert_close(share, share[:, :1].expand_as(share))
            assert bool(((share > 0) & (share < 1)).all())
            gate.score.bias.fill_(40.0)
            torch.testing.assert_close(gate(skip, seen), skip)

    def test_pointwise_of_nothing(self):
        """Only the bias is left of zeros, and of a gain of zero."""
        conv = nn.Conv2d(3, 2, 1)
        bias = conv.bias[None, :, None, None].expand(1, 2, 4, 5)
        x = torch.randn(1, 3, 4, 5)
        torch.testing.assert_close(pointwise(conv, 0 * x), bias)
        torch.testing.assert_close(pointwise(conv, x, torch.zeros(1, 1, 4, 5)), bias)

    @pytest.mark.parametrize('turns', [1, 2, 3])
    def test_context_has_no_direction(self, turns):
        """What an image is like does not change when it is turned or rearranged."""
        context = Context((3, 4), 5)
        nn.init.normal_(context.perceptron[-1].weight)
        levels = [torch.randn(2, 3, 8, 8), torch.randn(2, 4, 4, 4)]
        turned = [torch.rot90(one, turns, (-2, -1)) for one in levels]
        for one, other in zip(context(levels), context(turned), strict=True):
            for known, found in zip(one, other, strict=True):
                torch.testing.assert_close(found, known, rtol=1e-4, atol=1e-5)
                assert known.std() > 0

    def test_context_is_a_weighted_mean(self):
        """Of the normalized features of each level, with weights from the same."""
        context = Context((3, 4), 5)
        nn.init.normal_(context.perceptron[-1].weight)
        levels = [torch.randn(2, 3, 8, 6), torch.randn(2, 4, 4, 3)]
        means = []
        for x, weigh in zip(levels, context.weigh, strict=True):
            normal = pixel_norm(x)
            weight = torch.sigmoid(weigh(normal))
            total = torch.einsum('bnyx,bcyx->bnc', weight, normal)
            means.append((total / weight.sum((2, 3))[..., None]).flatten(1))
        known = context.perceptron(torch.cat(means, dim=1))
        ((gain, offset),) = context(levels)
        found = torch.cat([gain - 1, offset], dim=1)[..., 0, 0]
        torch.testing.assert_close(found, known, rtol=1e-4, atol=1e-5)


class TestInputs:
    @pytest.mark.parametrize('size', [1e-30, 1e-6, 1.0, 1e5, 1e20, 1e38])
    def test_compress(self, size):
        """Odd, rising, and what expands again to what it was."""
        x = size * torch.linspace(-3, 3, 101)
        found = compress(x)
        torch.testing.assert_close(compress(-x), -found, rtol=0, atol=0)
        assert bool((found.diff() > 0).all())
        known = torch.asinh(x.double())
        torch.testing.assert_close(found.double(), known, rtol=2e-6, atol=1e-37)

    @pytest.mark.parametrize('n_channels', [2, 6])
    def test_embedding(self, n_channels):
        """Sine and cosine of each frequency, from one cycle to the most."""
        values = torch.tensor([0.0, 0.3, 1.0])
        found = sinusoidal_embedding(values, n_channels, 10.0)
        sine, cosine = found.chunk(2, dim=1)
        assert found.shape == (3, n_channels)
        torch.testing.assert_close(sine**2 + cosine**2, torch.ones_like(sine))
        torch.testing.assert_close(cosine[0], torch.ones_like(cosine[0]))
        angle = torch.tensor(0.3 * 2 * torch.pi)
        torch.testing.assert_close(sine[1, 0], angle.sin())
        if n_channels > 2:
            torch.testing.assert_close(
                sine[1, -1], (10 * angle).sin(), rtol=0, atol=1e-4
            )

    @pytest.mark.parametrize('factor', [1e-3, 8.0, -1.0])
    def test_bands_have_no_unit(self, factor):
        x = torch.randn(2, 1, 24, 32)
        sign = 1 if factor > 0 else -1
        found = noise_bands(factor * x, 3)
        torch.testing.assert_close(
            sign * found, noise_bands(x, 3), rtol=1e-3, atol=1e-4
        )

    def test_bands_see_no_sky(self):
        """A constant is in none of them; each image has a noise of its own."""
        x = torch.randn(2, 1, 24, 32)
        scaled = x * torch.tensor([1.0, 9.0]).view(2, 1, 1, 1) + 50
        torch.testing.assert_close(
            noise_bands(scaled, 3), noise_bands(x, 3), rtol=1e-3, atol=1e-3
        )
        assert noise_bands(x, 3).shape == (2, 3, 24, 32)
        assert not noise_bands(torch.zeros(1, 1, 8, 8), 2).any()

    def test_bands_in_a_mirror(self):
        """What is a quarter of the pixels lies on the same ones of an odd number."""
        x = torch.randn(1, 1, 25, 33)
        for axis in (-1, -2):
            found = noise_bands(x.flip(axis), 2).flip(axis)
            torch.testing.assert_close(found, noise_bands(x, 2), rtol=1e-4, atol=1e-5)


class TestCounts:
    @pytest.mark.parametrize('level', [1e-4, 0.3, 20.0, 1e4])
    def test_more_photons_are_more(self, level):
        counts = torch.arange(0.0, 200, 5).view(1, 1, 1, -1)
        deviation, condition = count_features(counts, torch.full_like(counts, level))[0]
        assert bool((deviation.diff() > 0).all())
        assert condition.unique().numel() == 1
        same = count_features(
            torch.full((1, 1, 1, 1), level), torch.full((1, 1, 1, 1), level)
        )
        torch.testing.assert_close(same[0, 0], torch.zeros(1, 1))

    def test_condition_has_limits(self):
        """Beyond them the network is told no more."""
        level = torch.tensor([1e-9, 1e-3, 1e4, 1e9]).view(1, 1, 1, 4)
        condition = count_features(level, level)[0, 1, 0]
        assert condition[0] == condition[1] < condition[2] == condition[3]

    @pytest.mark.parametrize('ratio', [-9.0, -2.0, 0.0, 1.5, 9.0])
    def test_sky_is_a_multiple_of_the_level(self, ratio):
        level = torch.rand(1, 1, 6, 7) + 0.1
        maps = torch.randn(1, 3, 6, 7)
        maps[:, 2] = ratio
        source, sky = expected_counts(torch.poisson(level), level, maps)
        most = torch.tensor(max(-6.0, min(ratio, 6.0))).exp()
        torch.testing.assert_close(sky, level * most)
        assert bool((source > 0).all())

    def test_source_rises_with_its_maps(self):
        level, counts = torch.ones(1, 1, 6, 7), torch.full((1, 1, 6, 7), 9.0)
        zero = torch.zeros(1, 3, 6, 7)
        known, _ = expected_counts(counts, level, zero)
        for number in (0, 1):
            maps = zero.clone()
            maps[:, number] = 0.5
            assert bool((expected_counts(counts, level, maps)[0] > known).all())


def loss_of(kind, predicted, true, **options):
    if kind == 'center':
        return center_cross_entropy(predicted, true.sigmoid(), **options)
    return difference_loss(predicted, true, kind=kind, **options)


class TestLosses:
    @pytest.mark.parametrize('kind', ['mae', 'mse', 'huber', 'center'])
    def test_invalid_pixels_do_not_matter(self, kind):
        predicted, true = torch.randn(2, 2, 1, 6, 7)
        valid = torch.rand(2, 1, 6, 7) > 0.4
        known = loss_of(kind, predicted, true, valid=valid)
        other = torch.where(valid, predicted, 1e4)
        torch.testing.assert_close(loss_of(kind, other, true, valid=valid), known)
        torch.testing.assert_close(loss_of(kind, predicted[valid], true[valid]), known)
        every = torch.ones_like(valid)
        torch.testing.assert_close(
            loss_of(kind, predicted, true, valid=every), loss_of(kind, predicted, true)
        )
        assert loss_of(kind, predicted, true, valid=~every) == 0

    @pytest.mark.parametrize('kind', ['mae', 'mse', 'huber'])
    def test_of_the_difference_alone(self, kind):
        first, second = torch.randn(2, 1, 1, 6, 7)
        known = loss_of(kind, first, second)
        torch.testing.assert_close(loss_of(kind, second, first), known)
        torch.testing.assert_close(loss_of(kind, first + 3, second + 3), known)
        assert known > loss_of(kind, first, first) == 0

    def test_huber_is_between_the_two(self):
        first, second = torch.randn(2, 1, 1, 6, 7)
        mae, mse = (loss_of(kind, first, second) for kind in ('mae', 'mse'))
        for delta in (0.5, 1.0, 100.0):
            huber = loss_of('huber', first, second, delta=delta)
            assert mae - delta / 2 <= huber <= mae
            assert huber <= mse / (2 * delta) + 1e-6
        torch.testing.assert_close(huber, mse / 200)
        torch.testing.assert_close(loss_of('huber', first, second, delta=1e-6), mae)

    def test_cross_entropy_is_least_at_the_truth(self):
        truth = torch.randn(1, 1, 6, 7)
        least = loss_of('center', truth, truth)
        for shift in (-1.0, -0.1, 0.1, 1.0):
            assert loss_of('center', truth + shift, truth) > least


class TestSample:
    @pytest.mark.parametrize('n_steps', [1, 2, 5])
    def test_background_and_source_are_the_image_of_the_step(self, n_steps):
        """Each step takes off what it says, and hands on what is left."""
        schedule, seen = CosineSchedule(), []

        def network(x, variance):
            seen.append((x, variance))
            background = 0.3 * x + 1
            return SimpleNamespace(background=background, center_logit=x)

        x = torch.randn(2, 1, 4, 5)
        output = sample(network, x, schedule, n_steps)
        assert len(seen) == n_steps
        torch.testing.assert_close(seen[0][0], x)
        torch.testing.assert_close(output.center_logit, x)
        last, variance = seen[-1]
        rate = variance.sqrt().view(-1, 1, 1, 1)
        torch.testing.assert_close(output.source + rate * output.background, last)
        times = [1 - step / n_steps for step in range(n_steps)]
        for time, (_, variance) in zip(times, seen, strict=True):
            expected = (schedule.noise_rate(time) ** 2).expand(2)
            torch.testing.assert_close(variance, expected)

    def test_schedules_fall(self):
        """With time there is ever more background, and less signal."""
        time = torch.linspace(0, 1, 50)
        for options in ({}, {'max_signal_rate': 0.9, 'min_signal_rate': 0.2}):
            schedule = CosineSchedule(**options)
            assert bool((schedule.noise_rate(time).diff() > 0).all())
            assert bool((schedule.signal_rate(time).diff() < 0).all())
