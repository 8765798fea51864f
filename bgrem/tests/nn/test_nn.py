"""
Tests of bgrem.nn: schedule and sampler have known answers.
"""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from bgrem.nn import (
    AttentionUNet,
    CosineSchedule,
    NetworkOutput,
    UNetConfig,
    center_cross_entropy,
    difference_loss,
    sample,
)
from bgrem.nn.inputs import compress, noise_bands, sinusoidal_embedding
from bgrem.nn.layers import Context, lay_out, pixel_norm, pointwise, unfold
from bgrem.simulate.noise import correlate

SMALL_PAPER = UNetConfig(widths=(4, 8, 8), image_channels=4, embedding_dim=8)
SMALL_OURS = UNetConfig(
    widths=(4, 8, 8),
    image_channels=4,
    embedding_dim=8,
    attention_gates=0,
    unshuffle=2,
    transfer='arcsinh',
    center_head=True,
    padding='zeros',
    bands=2,
    context=4,
)
CONFIGS = pytest.mark.parametrize('config', [SMALL_PAPER, SMALL_OURS])


class TestSchedule:
    def test_ends(self):
        schedule = CosineSchedule(0.98, 0.01)
        assert float(schedule.signal_rate(0.0)) == pytest.approx(0.98)
        assert float(schedule.signal_rate(1.0)) == pytest.approx(0.01, abs=1e-6)
        assert float(schedule.noise_rate(0.0)) == pytest.approx(math.sqrt(1 - 0.98**2))

    def test_squares_sum_to_one(self):
        time = torch.linspace(0, 1, 11)
        schedule = CosineSchedule()
        total = schedule.signal_rate(time) ** 2 + schedule.noise_rate(time) ** 2
        torch.testing.assert_close(total, torch.ones(11))

    def test_angle_is_linear(self):
        schedule = CosineSchedule(1.0, 0.0)
        # A quarter of the way from 0 to 90 degrees.
        assert float(schedule.noise_rate(0.25)) == pytest.approx(
            math.sin(math.pi / 8), rel=1e-6
        )

    def test_round_trip(self):
        schedule = CosineSchedule(0.9, 0.02)
        assert CosineSchedule.from_dict(schedule.to_dict()) == schedule

    @pytest.mark.parametrize('rates', [(0.5, 0.6), (1.1, 0.0), (0.9, -0.1)])
    def test_bad_rates(self, rates):
        with pytest.raises(ValueError, match='max_signal_rate must satisfy'):
            CosineSchedule(*rates)

    def test_unknown_key(self):
        with pytest.raises(ValueError, match=r"unknown keys: \['speed'\]"):
            CosineSchedule.from_dict({'speed': 1})


class _Perfect:
    """
    A network that knows the source.
    """

    def __init__(self, source):
        self.source = source
        self.variances = []

    def __call__(self, x, noise_variance):
        self.variances.append(float(noise_variance[0]))
        rate = noise_variance.sqrt().view(-1, 1, 1, 1)
        return NetworkOutput((x - self.source) / rate, x)


class TestSampler:
    @pytest.mark.parametrize('n_steps', [1, 2, 3, 6, 11, 15])
    def test_perfect_network_returns_source(self, n_steps):
        generator = torch.Generator().manual_seed(1)
        source = torch.rand(2, 1, 8, 8, generator=generator, dtype=torch.float64)
        background = torch.randn(2, 1, 8, 8, generator=generator, dtype=torch.float64)
        output = sample(
            _Perfect(source), source + background, CosineSchedule(), n_steps
        )
        torch.testing.assert_close(output.source, source)

    def test_schedule_of_steps(self):
        schedule = CosineSchedule()
        network = _Perfect(torch.zeros(1, 1, 2, 2))
        sample(network, torch.ones(1, 1, 2, 2), schedule, 4)
        expected = schedule.noise_rate(torch.tensor([1, 0.75, 0.5, 0.25])) ** 2
        assert network.variances == pytest.approx(expected.tolist(), rel=1e-5)

    def test_logit_is_of_first_step(self):
        x = torch.ones(1, 1, 2, 2)
        output = sample(_Perfect(torch.zeros_like(x)), x, CosineSchedule(), 3)
        torch.testing.assert_close(output.center_logit, x)

    def test_zero_network_changes_nothing(self):
        def network(x, noise_variance):
            return NetworkOutput(torch.zeros_like(x), None)

        x = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(2))
        output = sample(network, x, CosineSchedule(), 6)
        torch.testing.assert_close(output.source, x)
        assert output.center_logit is None

    def test_callback(self):
        seen = []
        x = torch.ones(1, 1, 2, 2)
        sample(
            _Perfect(x), x, CosineSchedule(), 3, callback=lambda k, s: seen.append(k)
        )
        assert seen == [0, 1, 2]

    def test_bad_n_steps(self):
        x = torch.ones(1, 1, 2, 2)
        with pytest.raises(ValueError, match='n_steps must be a positive integer'):
            sample(_Perfect(x), x, CosineSchedule(), 0)


class TestUNet:
    @CONFIGS
    def test_shapes_and_gradients(self, config):
        torch.manual_seed(0)
        network = AttentionUNet(config)
        x = torch.randn(2, 1, 3 * config.size_multiple, 2 * config.size_multiple)
        output = network(x, torch.ones(2))
        assert output.background.shape == x.shape
        assert output.background.dtype == torch.float32
        assert (output.center_logit is not None) == config.center_head
        loss = output.background.square().mean()
        if config.center_head:
            loss = loss + output.center_logit.square().mean()
        loss.backward()
        assert all(
            torch.isfinite(parameter.grad).all() for parameter in network.parameters()
        )

    @CONFIGS
    def test_condition_matters(self, config):
        torch.manual_seed(0)
        network = AttentionUNet(config).eval()
        torch.nn.init.normal_(network.head.weight)
        x = torch.randn(1, 1, config.size_multiple, config.size_multiple)
        with torch.no_grad():
            first = network(x, torch.tensor([1.0])).background
            second = network(x, torch.tensor([0.5])).background
        assert not torch.allclose(first, second)

    @CONFIGS
    def test_gradients_change_no_value(self, config):
        # without them memory is used again
        torch.manual_seed(0)
        network = AttentionUNet(replace(config, normalize=True)).eval()
        if network.context:
            torch.nn.init.normal_(network.context.perceptron[-1].weight)
        x = 3 * torch.randn(2, 1, 3 * config.size_multiple, 2 * config.size_multiple)
        variance = torch.tensor([1.0, 0.5])
        before = x.clone()
        output = network(x, variance)
        with torch.inference_mode():
            other = network(x, variance)
        assert torch.equal(x, before)
        torch.testing.assert_close(other.background, output.background.detach())
        if config.center_head:
            torch.testing.assert_close(other.center_logit, output.center_logit.detach())

    @CONFIGS
    def test_first_convolutions_are_one(self, config):
        torch.manual_seed(0)
        network = AttentionUNet(config)
        torch.nn.init.normal_(network.image_conv.bias)
        torch.nn.init.normal_(network.down[0].conv1.bias)
        images = torch.randn(2, 1 + config.bands, 12, 8)
        variance = torch.tensor([1.0, 0.3])
        found = network.down[0](
            network._fold(images.split(1, dim=1), variance),
            weight=network._folded_weight(),
        )
        x = network.image_conv(functional.pixel_unshuffle(images, config.unshuffle))
        embedding = sinusoidal_embedding(
            variance, config.embedding_dim, config.max_frequency
        )[..., None, None].expand(-1, -1, *x.shape[2:])
        torch.testing.assert_close(network.down[0]([x, embedding]), found)

    def test_paper_parameter_count(self):
        # Symmetric padding, transposed convolutions and two gates at full width.
        network = AttentionUNet(UNetConfig())
        n_parameters = sum(parameter.numel() for parameter in network.parameters())
        assert 1e6 < n_parameters < 3e6
        assert network.config.size_multiple == 16
        assert len(network.gates) == 2

    def test_arcsinh_keeps_bright_sources_finite(self):
        torch.manual_seed(0)
        network = AttentionUNet(SMALL_OURS)
        x = torch.full((1, 1, 8, 8), 1e6)
        assert torch.isfinite(network(x, torch.ones(1)).background).all()

    @CONFIGS
    def test_config_round_trip(self, config):
        assert UNetConfig.from_dict(config.to_dict()) == config

    @pytest.mark.parametrize(
        ('name', 'value'),
        [
            ('widths', (8,)),
            ('image_channels', 0),
            ('embedding_dim', 3),
            ('max_frequency', 0.5),
            ('attention_gates', 9),
            ('unshuffle', 0),
            ('transfer', 'log'),
            ('padding', 'wrap'),
        ],
    )
    def test_bad_config(self, name, value):
        with pytest.raises(ValueError, match=f'{name} must'):
            UNetConfig(**{name: value})

    def test_unknown_key(self):
        with pytest.raises(ValueError, match=r"unknown keys: \['depth'\]"):
            UNetConfig.from_dict({'depth': 3})


class TestLayOut:
    @pytest.mark.parametrize('has_gradients', [True, False])
    @pytest.mark.parametrize('padding', ['symmetric', 'zeros'])
    def test_values(self, padding, has_gradients):
        first, second = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[3.0, 4.0]]]])
        gain, offset = torch.tensor([[1.0, 10.0]]), torch.tensor([[0.0, 0.5]])
        changes = [values[..., None, None] for values in (gain, offset)]
        with torch.set_grad_enabled(has_gradients):
            x = lay_out([first, second], padding, changes=changes)
        expected = torch.zeros(1, 2, 3, 4)
        expected[0, :, 1, 1:3] = torch.tensor([[1.0, 2.0], [30.5, 40.5]])
        if padding == 'symmetric':
            expected = expected[:, :, [1, 1, 1]][..., [1, 1, 2, 2]]
        assert torch.equal(x, expected)

    @pytest.mark.parametrize('has_gradients', [True, False])
    def test_normalized(self, has_gradients):
        parts = list(torch.randn(2, 6, 4, 5).split((2, 4), dim=1))
        with torch.set_grad_enabled(has_gradients):
            x = lay_out(parts, 'zeros', normalize=True)[..., 1:-1, 1:-1]
        torch.testing.assert_close(x, pixel_norm(torch.cat(parts, dim=1)))
        torch.testing.assert_close(
            x.square().mean(dim=1), torch.ones(2, 4, 5), atol=0.2, rtol=0
        )


class TestPointwise:
    def test_is_a_convolution(self):
        torch.manual_seed(0)
        conv = torch.nn.Conv2d(3, 5, 1)
        x, gain = torch.randn(2, 3, 4, 6), torch.rand(2, 1, 4, 6)
        torch.testing.assert_close(pointwise(conv, x), conv(x))
        torch.testing.assert_close(pointwise(conv, x, gain), conv(x * gain))


class TestUnfold:
    @pytest.mark.parametrize('factor', [1, 2, 4])
    def test_values(self, factor):
        x = torch.arange(2 * 32 * 3 * 5.0).reshape(2, 3, 5, 32).movedim(-1, 1)
        folded = functional.pixel_unshuffle(unfold(x, factor), factor)
        assert torch.equal(folded, x)
        assert float(unfold(x, factor)[0, 0, 0, 0]) == 0


class TestCompress:
    def test_is_arcsinh(self):
        x = torch.logspace(-30, 30, 601, dtype=torch.float64)
        x = torch.cat([-x, torch.zeros(1), x])
        torch.testing.assert_close(
            compress(x.float()), torch.arcsinh(x).float(), atol=0, rtol=1e-6
        )


class TestEmbedding:
    def test_values(self):
        embedding = sinusoidal_embedding(torch.tensor([0.0, 0.25]), 4, 1e3)
        # Frequencies 1 and 1000: a quarter of a cycle, and 250 whole ones.
        expected = torch.tensor([[0.0, 0.0, 1.0, 1.0], [1.0, 0.0, 0.0, 1.0]])
        torch.testing.assert_close(embedding, expected, atol=1e-3, rtol=0)


class TestNoiseBands:
    @pytest.mark.parametrize('kernel_sigma', [0.0, 1.0])
    def test_unit_noise_whatever_its_correlation(self, kernel_sigma):
        noise = torch.randn(2, 1, 136, 136, generator=torch.Generator().manual_seed(1))
        noise = correlate(noise, torch.full((2, 1, 1, 1), kernel_sigma))
        bands = noise_bands(5 * noise, 3)
        assert bands.shape == (2, 3, 128, 128)
        torch.testing.assert_close(
            bands.std((-2, -1)), torch.ones(2, 3), atol=0.05, rtol=0
        )

    def test_first_band_is_what_smoothing_removes(self):
        image = torch.zeros(1, 1, 9, 9)
        image[0, 0, 4, 4] = 16.0
        band = noise_bands(image, 1)[0, 0, 3:6, 3:6]
        # The only pixels that are not zero: 16 (1 - 1/4) in the middle, -2, -1.
        assert float(band[0, 1] / band[0, 0]) == pytest.approx(2)
        assert float(band[1, 1] / band[0, 0]) == pytest.approx(-12)

    def test_pixels_without_data(self):
        image = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(2))
        full = noise_bands(image, 1)[..., :20]
        image[..., 24:] = 0
        torch.testing.assert_close(
            noise_bands(image, 1)[..., :20], full, atol=0.6, rtol=0.1
        )
        assert torch.isfinite(noise_bands(torch.zeros(1, 1, 8, 8), 3)).all()


class TestContext:
    WIDTHS = (4, 8, 8)

    @pytest.fixture
    def context(self):
        torch.manual_seed(3)
        context = Context(self.WIDTHS, 5)
        torch.nn.init.normal_(context.perceptron[-1].weight)
        return context

    def levels(self, n_images=2):
        generator = torch.Generator().manual_seed(4)
        return [
            torch.randn(n_images, width, 32 >> k, 32 >> k, generator=generator)
            for k, width in enumerate(self.WIDTHS)
        ]

    def test_nothing_changes_at_first(self):
        changes = Context(self.WIDTHS, 5)(self.levels())
        assert [gain.shape for gain, _ in changes] == [(2, 16, 1, 1), (2, 8, 1, 1)]
        for gain, offset in changes:
            assert torch.all(gain == 1)
            assert torch.all(offset == 0)

    def test_what_an_image_is_like_not_where(self, context):
        levels = self.levels()
        moved = [level.roll((4, 4), (2, 3)).repeat(1, 1, 2, 1) for level in levels]
        for pair, other in zip(context(levels), context(moved), strict=True):
            torch.testing.assert_close(pair, other, atol=1e-4, rtol=1e-4)

    def test_each_image_has_its_own(self, context):
        levels = self.levels()
        changes = context([level[1:] for level in levels])
        for pair, other in zip(context(levels), changes, strict=True):
            torch.testing.assert_close([x[1:] for x in pair], list(other))
            assert not torch.allclose(pair[0][0], pair[0][1])


class TestLosses:
    @pytest.mark.parametrize(
        ('kind', 'expected'), [('mae', 2.0), ('mse', 4.0), ('huber', 1.5)]
    )
    def test_known_values(self, kind, expected):
        loss = difference_loss(torch.full((3,), 2.0), torch.zeros(3), kind=kind)
        assert float(loss) == pytest.approx(expected)

    def test_huber_has_a_transition_of_its_own_for_every_pixel(self):
        predicted = torch.tensor([0.5, 0.5, -3.0])
        delta = torch.tensor([1.0, 0.25, 2.0])
        expected = [0.125, 0.375, 2.0]
        for value, transition, loss in zip(predicted, delta, expected, strict=True):
            found = difference_loss(
                value, torch.tensor(0.0), kind='huber', delta=transition
            )
            assert float(found) == pytest.approx(loss)
        together = difference_loss(predicted, torch.zeros(3), kind='huber', delta=delta)
        assert float(together) == pytest.approx(sum(expected) / 3)

    def test_invalid_pixels_do_not_count(self):
        predicted = torch.tensor([1.0, 100.0])
        valid = torch.tensor([True, False])
        loss = difference_loss(predicted, torch.zeros(2), valid=valid)
        assert float(loss) == 1.0
        nothing = difference_loss(predicted, torch.zeros(2), valid=~valid & valid)
        assert float(nothing) == 0.0

    def test_cross_entropy(self):
        loss = center_cross_entropy(torch.zeros(4), torch.tensor([0.0, 1, 0.5, 1]))
        assert float(loss) == pytest.approx(math.log(2))

    def test_unknown_kind(self):
        with pytest.raises(ValueError, match="kind must be one of .* got 'l0'"):
            difference_loss(torch.ones(1), torch.ones(1), kind='l0')
