"""Garments in few calls: the trial, with a small teacher that knows the answer."""

import math

import pytest
import torch
from cs231n_gen.data import Images, fashion_mnist
from cs231n_gen.few_steps_trial import METHODS

from cs231n_gen import few_steps_trial, flow, guidance
from cs231n_gen.given import judge
from cs231n_gen.given.unet import UNet


@pytest.fixture
def teacher():
    torch.manual_seed(0)
    net = UNet(width=8, classes=11)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return net.eval().requires_grad_(False)


@pytest.fixture
def images():
    test = fashion_mnist("test", 16)
    return Images(test.x[::10], test.y[::10])


def lesson(method, teacher, images, **options):
    options = {"seconds": 0.3, "batch": 4, "progress": False} | options
    return few_steps_trial.run(method, teacher=teacher, images=images, **options)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("w", [0.0, 1.0])
def test_a_student_of_each_kind(method, w, teacher, images):
    before = [p.clone() for p in teacher.parameters()]
    state = torch.get_rng_state()
    student = lesson(method, teacher, images, w=w)
    assert torch.equal(torch.get_rng_state(), state)
    for p, was in zip(teacher.parameters(), before, strict=True):
        assert torch.equal(p, was) and p.grad is None and not p.requires_grad
    assert student.method == method and student.w == w and 1 in student.calls
    assert student.steps == len(student.losses) >= 1 and 0.3 <= student.seconds < 10
    assert (student.pairs > 0) == (method in ("direct", "reflow", "adversarial"))
    y = torch.arange(10)
    for calls in student.calls:
        x = few_steps_trial.pictures(student, y, calls)
        assert x.shape == (10, 1, 16, 16) and not x.requires_grad
        assert float(x.abs().max()) <= 1 and bool(x.isfinite().all())
        assert torch.equal(x, few_steps_trial.pictures(student, y, calls))
    with pytest.raises(ValueError, match=rf"{method} was trained for .* calls, got 3"):
        few_steps_trial.pictures(student, y, 3)


@pytest.mark.parametrize("w", [0.0, 1.5])
def test_the_teacher_is_sampled_as_in_chapter_05(w, teacher):
    y = torch.arange(10)
    z = torch.randn(10, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    want = guidance.sample(teacher, z, 4, y, 10, w) if w else flow.sample(teacher, z, 4, y)
    found = few_steps_trial.pictures(few_steps_trial.of_teacher(teacher, w), y, 4, seed=3)
    torch.testing.assert_close(found, want.clamp(-1, 1))


def test_a_student_that_takes_the_weight_begins_as_the_teacher(teacher):
    net = few_steps_trial.WeightedUNet(teacher)
    x_t, t, y = torch.randn(3, 1, 16, 16), torch.rand(3), torch.tensor([0, 4, 10])
    assert torch.equal(net(x_t, t, y, torch.tensor([0.0, 1.0, 2.0])), teacher(x_t, t, y))


def test_what_is_refused(teacher, images):
    with pytest.raises(ValueError, match=r"a method is one of direct, .* got 'magic'"):
        lesson("magic", teacher, images)
    with pytest.raises(ValueError, match="seconds must be above 0, got 0"):
        lesson("direct", teacher, images, seconds=0)
    for garments in (30, 45):
        with pytest.raises(ValueError, match=f"at least 40, got {garments}"):
            few_steps_trial.trial(0.1, garments=garments, teacher=teacher)


def test_real_images_get_the_best_score(images):
    real = few_steps_trial.score(images.x, images.y, images, seconds=2.0)
    assert real.frechet == pytest.approx(0, abs=1e-6)
    assert real.precision == real.recall == 1 and real.spread == pytest.approx(1)
    assert real.right == judge.class_accuracy(images.x, images.y)
    assert real.a_second == len(images.x) / 2


def test_one_image_a_class_repeated_is_precise_and_reaches_little(images):
    """What adversarial training is feared for: the Fréchet distance alone would not say it."""
    first = torch.stack([images.x[images.y == c][0] for c in range(10)])
    y = torch.arange(200) % 10
    g = torch.Generator().manual_seed(0)
    x = first[y] + 0.01 * torch.randn(200, 1, 16, 16, generator=g)
    score = few_steps_trial.score(x, y, images)
    assert score.precision > 0.9 and score.recall < 0.2 and score.spread < 0.05
    assert math.isnan(score.a_second)


def test_a_trial_of_two_methods(teacher, images):
    found = few_steps_trial.trial(
        0.3,
        methods=("direct", "consistency"),
        garments=40,
        teacher=teacher,
        train=images,
        test=images,
        teacher_calls=(4, 1),
        batch=4,
        progress=False,
    )
    asked = [("teacher", 4), ("teacher", 1), ("direct", 1)]
    assert list(found.scores) == asked + [("consistency", n) for n in (1, 2, 4)]
    assert all(s.frechet > 0 and s.a_second > 0 for s in found.scores.values())
    table = found.table()
    assert table.count("\n") == 8 and "real images" in table and "w = 1" in table
    assert all(name in table for name in ("teacher", "direct", "consistency"))


def test_the_shipped_teacher_makes_what_is_asked_for():
    teacher = few_steps_trial.load_teacher()
    assert not teacher.training and not any(p.requires_grad for p in teacher.parameters())
    y = torch.arange(100) % 10
    guided, plain = (few_steps_trial.of_teacher(teacher, w) for w in (1.0, 0.0))
    right = [judge.class_accuracy(few_steps_trial.pictures(s, y, 8), y) for s in (guided, plain)]
    assert right[0] > 0.92 and 0.7 < right[1] <= right[0], right


@pytest.mark.parametrize("w", few_steps_trial.STUDENTS)
def test_a_shipped_student_lands_where_its_teacher_does(w):
    """From the same noise, one call of it is nearer to 20 steps of the teacher than one of his."""
    student = few_steps_trial.load_student(w)
    assert student.calls == (1,) and student.w == w
    teacher = few_steps_trial.of_teacher(few_steps_trial.load_teacher(), w)
    y = torch.arange(50) % 10
    many, one = (few_steps_trial.pictures(teacher, y, n, seed=9) for n in (20, 1))
    own = few_steps_trial.pictures(student, y, 1, seed=9)
    apart = [float((x - many).square().mean()) for x in (own, one)]
    assert apart[0] < 0.5 * apart[1], apart


def test_there_is_no_student_of_another_weight():
    with pytest.raises(ValueError, match=r"a student for w = 1.0, 0.0, got 2"):
        few_steps_trial.load_student(2)


def test_direct_regression_learns_in_a_few_seconds(images):
    """It starts as the teacher, whose one call is far from its many, and comes nearer."""
    student = lesson("direct", few_steps_trial.load_teacher(), images, seconds=4.0, batch=16)
    teacher = few_steps_trial.of_teacher(few_steps_trial.load_teacher(), 1.0)
    y = torch.arange(50) % 10
    many, one = (few_steps_trial.pictures(teacher, y, n, seed=9) for n in (20, 1))
    own = few_steps_trial.pictures(student, y, 1, seed=9)
    apart = [float((x - many).square().mean()) for x in (own, one)]
    assert apart[0] < 0.8 * apart[1], apart
