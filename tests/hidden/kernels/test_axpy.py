"""Hidden grader of chapter 14, kernels.axpy: against float64, and as the instruments see it."""

import pytest
import torch

from cs231n_gen.checking import draws
from cs231n_gen.checking.kernels.stages import DTYPES, POINTWISE, SIZES, Exact, Stages

axpy = pytest.mark.exercise("kernels.axpy.kernel")


def reference(x, y, a):
    return a * x + y


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
    """correct: in float32, float16 and bfloat16, as exact as torch"""
    for dtype in DTYPES:
        on(student).correct(*inputs(generator, 1500, dtype))


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
