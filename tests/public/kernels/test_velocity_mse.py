"""Public checks of chapter 14: kernels.velocity_mse."""

import pytest
import torch

from cs231n_gen.checking.kernels.stages import POINTWISE, Exact, Stages

velocity_mse = pytest.mark.exercise("kernels.velocity_mse.kernel")


def reference(prediction, v):
    wide = torch.promote_types(prediction.dtype, torch.float32)
    return (prediction.to(wide) - v.to(wide)).square().mean()


def on(student, n):
    # Besides the n additions, 1/n and the product with it are rounded: 2 levels more.
    exact = Exact(reference, wrt=(0,), sums={0: 4 * n})
    return Stages(student, "kernels.velocity_mse.velocity_mse", exact)


def pair(generator, n, dtype=torch.float32):
    return [torch.randn(n, generator=generator).to(dtype) for _ in range(2)]


@velocity_mse
@pytest.mark.parametrize("n", (1, 7, 1025))
def test_the_loss(student, generator, n):
    """correct: the mean of (prediction − v)², for any number of elements"""
    on(student, n).correct(*pair(generator, n))


@velocity_mse
def test_large_numbers_that_are_nearly_equal(student, generator):
    """correct: where prediction and v are large and nearly equal"""
    prediction, v = pair(generator, 300)
    on(student, 300).correct(500 + prediction, 500 + v)


@velocity_mse
def test_half_precision(student, generator):
    """correct: in float16 squares may be beyond 65504, the largest number there is"""
    prediction, v = pair(generator, 300)
    on(student, 300).correct((100 * prediction).half(), (300 + v).half())


@velocity_mse
def test_differences_in_bfloat16(student, generator):
    """correct: in bfloat16 differences have more digits than it holds, and keep them"""
    prediction = 129 + 4 * torch.randint(0, 20, (300,), generator=generator)
    v = torch.full((300,), -128.0).bfloat16()
    on(student, 300).correct(prediction.bfloat16(), v)  # 257, 261, …, all between two numbers


@velocity_mse
def test_the_gradient(student, generator):
    """backward: the gradient of prediction is 2 (prediction − v) / n"""
    on(student, 1100).backward(*pair(generator, 1100))


@velocity_mse
def test_small_gradients_in_half_precision(student, generator):
    """backward: in half precision small gradients survive until a loss scale makes them larger"""
    prediction, v = (x.half() for x in (1e-3 * y for y in pair(generator, 1100)))
    on(student, 1100).backward(prediction, v, upstream=lambda like: 1e5 * torch.ones_like(like))


@velocity_mse
def test_safe(student, generator):
    """safe: every access is inside, and no two programs meet"""
    on(student, 2500).safe(*pair(generator, 2500), gradient=True)


@velocity_mse
def test_safe_where_no_gradient_is_wanted(student, generator):
    """safe: no gradient is written where none is wanted"""
    on(student, 1100).safe(*pair(generator, 1100))


@velocity_mse
def test_lean(student, generator):
    """lean: prediction and v are read once, the gradient is written meanwhile"""
    least = 3 * 2500 * 4
    on(student, 2500).lean(POINTWISE, *pair(generator, 2500), gradient=True, least=least)
