"""Public checks of chapter 14: kernels.axpy."""

import pytest
import torch

from cs231n_gen.checking import expect
from cs231n_gen.checking.kernels.by_hand import alone, left
from cs231n_gen.checking.kernels.stages import POINTWISE, SIZES, Exact, Stages

axpy = pytest.mark.exercise("kernels.axpy.kernel")


def reference(x, y, a):
    """In fp32 at least, rounded once."""
    X, Y = (k.to(torch.promote_types(k.dtype, torch.float32)) for k in (x, y))
    return (a * X + Y).to(x.dtype)


def on(student):
    return Stages(student, "kernels.axpy.axpy", Exact(reference))


def pair(generator, n):
    return torch.randn(n, generator=generator), torch.randn(n, generator=generator)


@axpy
@pytest.mark.parametrize("n", SIZES)
def test_the_sum(student, generator, n):
    """correct: a x + y, for any number of elements"""
    on(student).correct(*pair(generator, n), 2.5)


@axpy
def test_any_a(student, generator):
    """correct: for a of any sign and size"""
    for a in (0.0, -2.5, 1e4):
        on(student).correct(*pair(generator, 60), a, says=f"the result is wrong for a = {a:g}")


@axpy
def test_large_and_small_numbers(student, generator):
    """correct: for very large and very small numbers"""
    x, y = pair(generator, 60)
    size = torch.logspace(-30, 30, 60)
    on(student).correct(size * x, size.flip(0) * y, 2.5)
    on(student).correct(1e-10 * x, 1e-10 * y, 2.5, says="small numbers are lost")


@axpy
def test_half_precision(student, generator):
    """correct: in half precision, calculated in float32"""
    x, y = pair(generator, 300)
    says = "in half precision the result is not exact enough: calculate in float32, round once"
    on(student).correct((8 * x).half(), (y / 8 - 20 * x).half(), 2.5, says=says)


@axpy
def test_another_block(student, generator):
    """correct: program i writes block i and nothing else, for another BLOCK too"""
    (x, y), before = pair(generator, 100), torch.full((100,), 7.0)
    args, says = [x, y, before, 2.5, 100], "with BLOCK = 16 programs 2 and 6 do not do their blocks"
    where = {"programs": [[2], [6]]}
    came = left(student, "kernels.axpy.kernel", [7], args, {"BLOCK": 16}, says, **where)
    expect.close(came[2], alone(2.5 * x + y, before, 16, [2, 6]), says)


@axpy
def test_safe(student, generator):
    """safe: every access is inside, and no two programs meet"""
    on(student).safe(*pair(generator, 2500), -0.5)


@axpy
def test_lean(student, generator):
    """lean: x and y are read once, the result is written once"""
    on(student).lean(POINTWISE, *pair(generator, 2500), -0.5)
