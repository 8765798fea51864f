"""
Tests of bgrem.train.teaching: what a student is asked, and what it learns.
"""

from dataclasses import replace

import pytest
import torch

from bgrem.simulate import StampBank
from bgrem.tests.train import conftest as tiny
from bgrem.train import fine_tuning_config, train
from bgrem.train.examples import Examples
from bgrem.train.teaching import Lesson, Teacher
from bgrem.weights import load_weights

CPU = torch.device('cpu')
STUDENT = replace(tiny.TINY, normalize=True)
CONFIG = replace(
    tiny.CONFIG, name='student', network=STUDENT, validate_every=4, teacher_symmetries=8
)


@pytest.fixture
def config(tiny_weights):
    return replace(CONFIG, teacher=str(tiny_weights))


def draw_noise(n_drawn=None, seed=0):
    """Return a function that draws noise without sources, and counts."""
    generator = torch.Generator().manual_seed(seed)
    n_drawn = [] if n_drawn is None else n_drawn

    def draw():
        n_drawn.append(1)
        image = torch.randn(2, 1, 32, 32, generator=generator)
        nothing = torch.zeros_like(image)
        return Examples(image, nothing, nothing, image < 3)

    return draw


class TestLesson:
    @pytest.fixture
    def lesson(self):
        source, centers = torch.full((2, 1, 4, 4), 5.0), torch.ones(2, 1, 4, 4)
        truth = Examples(source, source, centers, centers > 0)
        return Lesson(truth, 0 * source, torch.full_like(source, -30.0))

    def test_all_of_the_truth_or_of_the_teacher(self, lesson):
        shown = torch.ones(2, 1, 1, 1, dtype=torch.bool)
        source, centers = lesson.targets(0.0, shown)
        torch.testing.assert_close(source, lesson.examples.source)
        torch.testing.assert_close(centers, lesson.examples.centers)
        source, centers = lesson.targets(1.0, shown)
        assert float(source.abs().max()) == 0
        assert float(centers.max()) < 1e-12

    def test_between(self, lesson):
        source, centers = lesson.targets(0.5, torch.ones(2, 1, 1, 1))
        # half of the arcsinh of 5
        torch.testing.assert_close(
            source, torch.full_like(source, 5).arcsinh().div(2).sinh()
        )
        torch.testing.assert_close(centers, torch.full_like(centers, 0.5))

    def test_the_teacher_says_nothing_of_what_it_has_not_seen(self, lesson):
        shown = torch.tensor([True, False]).view(2, 1, 1, 1)
        source, _ = lesson.targets(1.0, shown)
        assert source.amax(dim=(1, 2, 3)).tolist() == pytest.approx([0, 5])


class TestTeacher:
    def test_answers_belong_to_the_images(self, config):
        """Also once they are turned: the mean over all views turns with the image."""
        teacher = Teacher(config, CPU)
        generator = torch.Generator().manual_seed(4)
        lesson = teacher.lesson(draw_noise(), 0, generator)
        image = lesson.examples.image
        assert image.shape == (2, 1, 32, 32)
        assert torch.equal(lesson.examples.valid, image < 3)
        source, logit = teacher.answer(image)
        torch.testing.assert_close(lesson.source, source, rtol=0.05, atol=0.05)
        torch.testing.assert_close(lesson.center_logit, logit, rtol=0.05, atol=0.05)
        assert float(source.std()) > 0.1

    def test_each_crop_is_used_several_times(self, config):
        teacher = Teacher(replace(config, teacher_uses=5), CPU)
        generator = torch.Generator().manual_seed(4)
        drawn = []
        draw = draw_noise(drawn)
        teacher.lesson(draw, 0, generator)
        n_first = len(drawn)
        for step in range(1, 51):
            teacher.lesson(draw, step, generator)
        assert len(drawn) - n_first == 10

    def test_old_crops_make_place(self, config):
        teacher = Teacher(replace(config, teacher_uses=1, teacher_crops=1), CPU)
        generator = torch.Generator().manual_seed(4)
        teacher.lesson(draw_noise(), 0, generator)

        def draw():
            return Examples(*(torch.zeros_like(part) for part in draw_noise()()))

        for step in range(20):
            lesson = teacher.lesson(draw, step, generator)
        assert float(lesson.examples.image.abs().max()) == 0

    def test_numbers_too_large_for_half_precision(self, config):
        def draw():
            image, *others = draw_noise()()
            return Examples(image + 1e8, *others)

        lesson = Teacher(config, CPU).lesson(draw, 0, torch.Generator())
        assert torch.isfinite(lesson.examples.image).all()
        assert torch.isfinite(lesson.source).all()

    def test_one_that_finds_no_centres_is_refused(self, config, counts_weights):
        for name in ('optical-paper', str(counts_weights)):
            with pytest.raises(ValueError, match='teacher must find centers in images'):
                Teacher(replace(config, teacher=name), CPU)


class TestConfig:
    @pytest.mark.parametrize(
        ('changes', 'rule'),
        [
            ({'teacher_symmetries': 3}, 'teacher_symmetries must be 1, 2, 4 or 8'),
            ({'teacher_fraction': 1.5}, r'teacher_fraction must be in \[0, 1\]'),
            ({'teacher_uses': 0}, 'teacher_uses must be at least 1'),
            ({'network': replace(STUDENT, center_head=False)}, 'teacher must be None'),
        ],
    )
    def test_out_of_range(self, changes, rule):
        with pytest.raises(ValueError, match=rule):
            replace(CONFIG, teacher='optical', **changes)

    def test_fine_tuning_is_without(self, folder, config):
        weights = load_weights(train(config, folder, progress=False))
        assert weights.header['training']['config']['teacher'] == config.teacher
        assert fine_tuning_config(weights).teacher is None


def test_student_learns_what_the_teacher_says(folder, config):
    """Of noise the teacher makes sources, which the truth never does."""
    config = replace(
        config, n_steps=60, learning_rate=2e-2, teacher_fraction=1.0, ema=0.9
    )
    teacher = Teacher(config, CPU)
    image = draw_noise(seed=9)().image
    wanted = teacher.answer(image)

    def distances(name):
        config_of = replace(config, name=name, teacher_fraction=float(name))
        path = folder / name
        StampBank.load(folder / 'bank.safetensors').save(path / 'bank.safetensors')
        weights = train(config_of, path, progress=False)
        student = Teacher(replace(config, teacher=str(weights)), CPU)
        answer = student.answer(image)
        return [
            float((a - b).abs().mean()) for a, b in zip(answer, wanted, strict=True)
        ]

    taught, not_taught = distances('1'), distances('0')
    assert taught[0] < 0.5 * not_taught[0]
    assert taught[1] < 0.5 * not_taught[1]


def test_resumed(folder, config):
    """The crops are drawn anew; steps and weights are kept."""
    train(replace(config, n_steps=2), folder, progress=False)
    weights = load_weights(train(config, folder, progress=False))
    assert weights.header['training']['steps'] == 4
