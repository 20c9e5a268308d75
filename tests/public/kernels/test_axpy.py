"""Public checks of chapter 14: kernels.axpy."""

import pytest
import torch

from cs231n_gen.checking.kernels.stages import POINTWISE, SIZES, Exact, Stages

axpy = pytest.mark.exercise("kernels.axpy.kernel")


def reference(x, y, a):
    return a * x + y


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
def test_half_precision(student, generator):
    """correct: in half precision, calculated in float32"""
    x, y = (v.half() for v in pair(generator, 300))
    on(student).correct(x, y, 2.5)


@axpy
def test_safe(student, generator):
    """safe: every access is inside, and no two programs meet"""
    on(student).safe(*pair(generator, 2500), -0.5)


@axpy
def test_lean(student, generator):
    """lean: x and y are read once, the result is written once"""
    on(student).lean(POINTWISE, *pair(generator, 2500), -0.5)
