"""Public checks of chapter 14: kernels.guided_step."""

import pytest
import torch

from cs231n_gen.checking.kernels.stages import POINTWISE, SIZES, Exact, Stages

guided_step = pytest.mark.exercise("kernels.guided_step.kernel")


def reference(x, v_y, v_null, w, dt):
    """In fp32 at least, rounded once."""
    X, V_y, V_null = (k.to(torch.promote_types(k.dtype, torch.float32)) for k in (x, v_y, v_null))
    return (X - dt * ((1 + w) * V_y - w * V_null)).to(x.dtype)


def step_along_v_y(x, v_y, v_null, w, dt):
    return x - dt * v_y


def step_along_v_null(x, v_y, v_null, w, dt):
    return x - dt * v_null


def on(student, truth=reference):
    return Stages(student, "kernels.guided_step.guided_step", Exact(truth))


def eighths(generator, n):
    """Three times n multiples of 1/8 up to 4: with these a step is exact, in any order."""
    return [torch.randint(-32, 33, (n,), generator=generator) / 8 for _ in range(3)]


def like_images(generator, n):
    """A sample, and velocities that nearly agree, as those of a trained model do."""
    x, v, change = (torch.randn(n, generator=generator) for _ in range(3))
    return x, v + change / 10, v


@guided_step
@pytest.mark.parametrize("n", SIZES)
def test_the_step(student, generator, n):
    """correct: x − dt ((1 + w) v_y − w v_∅), for any number of elements"""
    on(student).correct(*eighths(generator, n), 2.5, 0.25)


@guided_step
def test_the_ends(student, generator):
    """correct: w = 0 is conditional, w = −1 unconditional"""
    given = eighths(generator, 300)
    says = "with w = 0 the step must be that along v_y, as if there were no guidance"
    on(student, step_along_v_y).correct(*given, 0.0, 0.25, says=says)
    says = "with w = −1 the step must be that along v_∅"
    on(student, step_along_v_null).correct(*given, -1.0, 0.25, says=says)


@guided_step
def test_nothing_to_guide(student, generator):
    """correct: where both velocities agree guidance changes nothing"""
    x, v, _ = eighths(generator, 300)
    says = "v_y and v_∅ are the same here, so that v_cfg must be, too, whatever w"
    on(student, step_along_v_y).correct(x, v, v, 7.5, 0.25, says=says)


@guided_step
def test_half_precision(student, generator):
    """correct: in half precision, calculated in float32"""
    given = [k.half() for k in like_images(generator, 1000)]
    says = "in half precision the result is not exact enough: calculate in float32, round once"
    on(student).correct(*given, 15.0, 1.0, says=says)


@guided_step
def test_safe(student, generator):
    """safe: every access is inside, and no two programs meet"""
    on(student).safe(*eighths(generator, 2500), 2.5, 0.25)


@guided_step
def test_lean(student, generator):
    """lean: x and both velocities are read once, the result is written once"""
    on(student).lean(POINTWISE, *eighths(generator, 2500), 2.5, 0.25)
