"""Public checks of chapter 14: kernels.velocity_mse."""

import pytest
import torch

from cs231n_gen.checking import expect
from cs231n_gen.checking.kernels.by_hand import alone, left
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
def test_another_block(student, generator):
    """correct: program i writes partials[i] and block i of the gradient, for another BLOCK too"""
    (prediction, v), n, mine = pair(generator, 100), 100, [2, 6]
    before, sums = torch.full((n,), 7.0), torch.full((7,), 7.0)
    args, constants = [prediction, v, sums, before, 0.5, n], {"WANTED": True, "BLOCK": 16}
    says, where = (
        "with BLOCK = 16 programs 2 and 6 do not do their blocks",
        {"programs": [[2], [6]]},
    )
    came = left(student, "kernels.velocity_mse.kernel", [7], args, constants, says, **where)
    off = prediction.double() - v.double()
    whole = torch.stack([part.square().sum() / 2 for part in off.split(16)])
    expect.close(came[2], alone(whole, sums, 1, mine), f"{says}: partials")
    expect.close(came[3], alone(off, before, 16, mine), f"{says}: gradient")


@velocity_mse
def test_errors_of_any_size(student, generator):
    """correct: large and small errors count alike, to all their digits"""
    size = torch.logspace(-12, 12, 8).repeat_interleave(16)
    prediction, v = (size * k for k in pair(generator, 128))
    args = [prediction, v, torch.zeros(8), torch.zeros(128), 0.75, 128]
    says, constants = "a large error is clipped, or a small one dropped", {"WANTED": True}
    constants["BLOCK"] = 16
    came = left(student, "kernels.velocity_mse.kernel", [8], args, constants, says)
    off = prediction.double() - v.double()
    whole = torch.stack([0.75 * part.square().sum() for part in off.split(16)])
    expect.close(came[2], whole, f"{says}: partials", rtol=1e-5, atol=0)
    expect.close(came[3], 1.5 * off, f"{says}: gradient", rtol=1e-6, atol=0)


@velocity_mse
def test_the_gradient_is_rounded_once(student, generator):
    """backward: in bfloat16 differences keep their digits until the gradient is stored"""
    prediction = (129 + 2 * torch.arange(60)).bfloat16()
    v, says = torch.full((60,), -128.0).bfloat16(), "the gradient is rounded before it is stored"
    args = [prediction, v, torch.zeros(4), torch.zeros(60).bfloat16(), 0.75, 60]
    constants = {"WANTED": True, "BLOCK": 16}
    came = left(student, "kernels.velocity_mse.kernel", [4], args, constants, says)[3]
    want = (1.5 * (prediction.float() - v.float())).bfloat16()  # exact until it is rounded
    expect.close(came, want, says, rtol=0, atol=0)


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
