"""Hidden grader of chapter 14, kernels.axpy: against float64, and as the instruments see it."""

import pytest
import torch

from cs231n_gen.checking import draws, expect
from cs231n_gen.checking.kernels.by_hand import alone, left
from cs231n_gen.checking.kernels.stages import DTYPES, POINTWISE, SIZES, Exact, Stages, checked

axpy = pytest.mark.exercise("kernels.axpy.kernel")


def reference(x, y, a):
    """In fp32 at least, rounded once."""
    X, Y = (k.to(torch.promote_types(k.dtype, torch.float32)) for k in (x, y))
    return (a * X + Y).to(x.dtype)


def on(student):
    return Stages(student, "kernels.axpy.axpy", Exact(reference))


def inputs(generator, shape, dtype=torch.float32):
    x, y = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
    return x, y, 1.5 + float(torch.rand(1, generator=generator))


@axpy(weight=3)
def test_every_size(student, generator):
    """correct: a x + y for 1, 7, 1023, 1024, 1025 and some thousand elements"""
    more = draws.whole(generator, 2000, 5000)
    for n in (*SIZES, more):
        on(student).correct(*inputs(generator, n))


@axpy
def test_every_dtype(student, generator):
    """correct: in float32, float16 and bfloat16, as exact as float32 rounded once"""
    for dtype in DTYPES:
        on(student).correct(*inputs(generator, 1500, dtype))


@axpy
def test_half_precision_is_for_inputs_alone(student, generator):
    """correct: where a x and y nearly cancel, and where a x is beyond what float16 holds"""
    x, left_over, a = inputs(generator, 700)
    y = left_over / 8 - 8 * a * x
    for dtype in DTYPES:
        on(student).correct((8 * x).to(dtype), y.to(dtype), a)
    on(student).correct((1000 + 50 * x).half(), (100 * left_over - 6e4).half(), 80.0)


@axpy
def test_any_a(student, generator):
    """correct: for a of any sign and size, 0 and whole numbers too"""
    x, y, a = inputs(generator, 60)
    large = 1e4 * (1 + draws.whole(generator, 0, 9))
    for k in (0, 1, -1, 3, -a, 1 + draws.whole(generator, 1, 4096) / 4096, large, -large, 1e-5):
        on(student).correct(x, y, k, says=f"the result is wrong for a = {k:g}")


@axpy
def test_any_x_and_y(student, generator):
    """correct: for numbers of any size, very large and very small ones side by side"""
    x, y, a = inputs(generator, 300)
    size = torch.logspace(-30, 30, 300)
    for shift in (0, 7):
        for scale in (size, size.flip(0)):
            on(student).correct(scale * x, scale.roll(shift) * y, a)
    for scale in (1e-25, 1e-10, 1e25):
        on(student).correct(scale * x, scale * y, a, says=f"the result is wrong for about {scale}")


@axpy
def test_what_is_not_finite(student, generator):
    """correct: infinity and NaN stay where they are, and what they are"""
    x, y, a = inputs(generator, 40)
    x[3], x[17], y[5], y[30] = float("inf"), float("nan"), float("-inf"), float("nan")
    wrapper = student.function("kernels.axpy.axpy")
    (got,) = checked(student.instruments.observe.call(wrapper, [x, y, a]))["results"]
    want = a * x.double() + y.double()
    near = {"atol": 1e-5, "rtol": 1e-5, "equal_nan": True}
    same = got.shape == want.shape and torch.allclose(got.double(), want, **near)
    expect.true(same, "where x or y is infinite or NaN a x + y must be, too, and nowhere else")


@axpy(weight=2)
def test_each_program_has_its_own_block(student, generator):
    """correct: program i writes block i and nothing else, for any BLOCK"""
    n = draws.whole(generator, 100, 190)
    x, y, a = inputs(generator, n)
    for block in (16, 64, 2048):
        last = -(-n // block) - 1
        mine = [draws.whole(generator, 0, last), last] if last else [0]
        args, before = [x, y, torch.full((n,), 7.0), a, n], torch.full((n,), 7.0)
        says = f"with BLOCK = {block} program i does not do block i"
        where = {"programs": [[i] for i in mine]}
        came = left(
            student, "kernels.axpy.kernel", [last + 1], args, {"BLOCK": block}, says, **where
        )
        expect.close(came[2], alone(a * x + y, before, block, mine), says)


@axpy
def test_any_layout(student, generator):
    """correct: for strided, transposed and expanded tensors too"""
    for layout in ("strided", "transposed", "expanded"):
        on(student).correct(*inputs(generator, (3, 20, 30)), layout=layout)


@axpy(weight=2)
def test_safe(student, generator):
    """safe: nothing outside of the tensors is touched, and no two programs meet"""
    n = draws.whole(generator, 1100, 2000)
    on(student).safe(*inputs(generator, n))


@axpy
def test_honest(student, generator):
    """honest: the kernel does the work, all of it, every time"""
    on(student).honest(inputs(generator, 1500), inputs(generator, 1500))


@axpy
def test_lean(student, generator):
    """lean: x and y are read once, the result is written once"""
    on(student).lean(POINTWISE, *inputs(generator, 3000))


@axpy
def test_compiles(student, generator):
    """compiles: for an H100, with loads of 128 bits and without spills"""
    on(student).compiles(inputs(generator, 1500), inputs(generator, 1 << 16))
