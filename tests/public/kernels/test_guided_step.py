"""Public checks of chapter 14: kernels.guided_step."""

import pytest
import torch

from cs231n_gen.checking import expect
from cs231n_gen.checking.kernels.by_hand import alone, left
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
def test_any_guidance_and_step(student, generator):
    """correct: for w and dt of any sign and size"""
    given = eighths(generator, 60)
    for w, dt in ((-3.0, 0.25), (1 + 3 / 4096, 1.0), (40.0, 0.25), (1 / 256, 0.25), (0.5, -2.0)):
        says = f"the step is wrong for w = {w:g} and dt = {dt:g}"
        on(student).correct(*given, w, dt, says=says)
    on(student).correct(*given, 1.0, 1 + 3 / 4096, says="the step is wrong for dt = 1 + 3/4096")


@guided_step
def test_large_and_small_numbers(student, generator):
    """correct: for very large and very small numbers"""
    size = torch.logspace(-30, 30, 60)
    on(student).correct(*(size * k for k in like_images(generator, 60)), 7.5, 0.25)
    says, small = "small numbers are lost", [1e-10 * k for k in like_images(generator, 60)]
    on(student).correct(*small, 7.5, 0.25, says=says)


@guided_step
def test_half_precision(student, generator):
    """correct: in half precision, calculated in float32"""
    x, v_y, v_null = [k.half() for k in like_images(generator, 1000)]
    says = "in half precision the result is not exact enough: calculate in float32, round once"
    on(student).correct(x, v_y, v_null, 15.0, 1.0, says=says)
    x = (x.float() / 8 + 16 * v_y.float() - 15 * v_null.float()).half()
    on(student).correct(x, v_y, v_null, 15.0, 1.0, says=says)


@guided_step
def test_another_block(student, generator):
    """correct: program i writes block i and nothing else, for another BLOCK too"""
    given, before = eighths(generator, 100), torch.full((100,), 7.0)
    args, where = [*given, before, 2.5, 0.25, 100], {"programs": [[2], [6]]}
    says, name = "with BLOCK = 16 programs 2 and 6 do not do their blocks", "guided_step.kernel"
    came = left(student, f"kernels.{name}", [7], args, {"BLOCK": 16}, says, **where)
    expect.close(came[3], alone(reference(*given, 2.5, 0.25), before, 16, [2, 6]), says)


@guided_step
def test_safe(student, generator):
    """safe: every access is inside, and no two programs meet"""
    on(student).safe(*eighths(generator, 2500), 2.5, 0.25)


@guided_step
def test_lean(student, generator):
    """lean: x and both velocities are read once, the result is written once"""
    on(student).lean(POINTWISE, *eighths(generator, 2500), 2.5, 0.25)
