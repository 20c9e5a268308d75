"""Public checks of chapter 14: kernels.group_norm_silu."""

import pytest
import torch
import torch.nn.functional as F

from cs231n_gen.checking.kernels.by_hand import left
from cs231n_gen.checking.kernels.stages import NORM, Exact, Stages

forward = pytest.mark.exercise("kernels.group_norm_silu.kernel")
backward = pytest.mark.exercise("kernels.group_norm_silu.backward_kernel")
ROUNDINGS = 2**6  # of μ, x − μ, 1/σ, products and the sigmoid: as good as six levels of additions


def reference(x, groups, weight, bias, eps=1e-6):
    return F.silu(F.group_norm(x, groups, weight.to(x.dtype), bias.to(x.dtype), eps))


def on(student, x, groups):
    added = ROUNDINGS * x[0].numel() // groups if x.dtype == torch.float32 else 1
    parts = {0: added, "x": added, "weight": ROUNDINGS * x.numel(), "bias": ROUNDINGS * x.numel()}
    return Stages(
        student, "kernels.group_norm_silu.group_norm_silu", Exact(reference, (0, 2, 3), parts)
    )


def inputs(generator, shape, groups, dtype=torch.float32):
    """x around 1, so that means are not 0 by chance; weights and biases of both signs."""
    x = 1 + torch.randn(shape, generator=generator)
    weight, bias = (torch.randn(shape[1], generator=generator) for _ in range(2))
    return x.to(dtype), groups, weight.to(dtype), bias.to(dtype)


@forward
@pytest.mark.parametrize(
    ("shape", "groups"), [((2, 6, 5, 7), 2), ((2, 4, 4, 4), 4), ((1, 3, 8, 8), 1)], ids=str
)
def test_the_norm(student, generator, shape, groups):
    """correct: silu of w (x − μ) / σ + b, with the statistics of each group of each example"""
    args = inputs(generator, shape, groups)
    on(student, *args[:2]).correct(*args)


@forward
def test_eps(student, generator):
    """correct: ε is added to the variance, under the root"""
    args = inputs(generator, (2, 4, 3, 3), 2)
    on(student, *args[:2]).correct(0.3 * args[0], *args[1:], eps=0.25)


@forward
def test_a_large_group(student, generator):
    """correct: a group of more numbers than a program has at hand"""
    args = inputs(generator, (1, 2, 70, 75), 1)
    on(student, *args[:2]).correct(*args)


@forward
def test_half_precision(student, generator):
    """correct: in half precision, calculated in float32"""
    args = inputs(generator, (1, 4, 6, 6), 2, torch.float16)
    on(student, *args[:2]).correct(*args)


FIRST = 2**31 // 6 + 99  # the number of an example, whose 6 channels begin beyond element 2³¹


def far_away(student, name, given, learned, sizes):
    """What is left where the one example at hand is a window of a large tensor.

    Args:
        given: tensors, of which those in places `learned` are the same for all examples.
        sizes: the other arguments.
    """
    begins = [0 if k in learned else FIRST * t.numel() for k, t in enumerate(given)]
    where = {"programs": [[2 * FIRST], [2 * FIRST + 1]], "begins": begins}
    says = f"example {FIRST} begins beyond element 2³¹: what is stored is wrong"
    constants, name = {"CHANNELS": 4, "BLOCK": 4}, f"kernels.group_norm_silu.{name}"
    grid = [2 * FIRST + 2]
    return left(student, name, grid, [*given, *sizes], constants, says, **where), says


@forward
def test_more_groups_than_32_bits_can_count(student, generator):
    """correct: in an example that begins beyond element 2³¹ places are still right"""
    x, groups, weight, bias = args = inputs(generator, (1, 6, 5), 2)
    given = [x, weight, bias, torch.full_like(x, 7.0), *torch.full((2, 2), 7.0)]
    came, says = far_away(student, "kernel", given, (1, 2), (2, 3, 5, 1e-6))
    on(student, x, groups).exact.judge_results(came[3:4], args, {}, says)


@forward
def test_safe(student, generator):
    """safe: every access is inside, and no two programs meet"""
    args = inputs(generator, (2, 6, 5, 5), 2)
    on(student, *args[:2]).safe(*args)


@forward
def test_lean(student, generator):
    """lean: x is read once, the result is written once"""
    args = inputs(generator, (2, 4, 16, 16), 2)
    on(student, *args[:2]).lean(NORM, *args)


@backward
@pytest.mark.parametrize(("shape", "groups"), [((2, 6, 5, 7), 2), ((3, 4, 4, 4), 4)], ids=str)
def test_the_gradients(student, generator, shape, groups):
    """backward: of x, weight and bias"""
    args = inputs(generator, shape, groups)
    on(student, *args[:2]).backward(*args, upstream=torch.square)


@backward
def test_gradients_of_a_large_group(student, generator):
    """backward: of a group of more numbers than a program has at hand"""
    args = inputs(generator, (1, 2, 70, 75), 1)
    on(student, *args[:2]).backward(*args, upstream=torch.square)


@backward
def test_more_gradients_than_32_bits_can_count(student, generator):
    """backward: in an example that begins beyond element 2³¹ places are still right"""
    x, groups, weight, bias = args = inputs(generator, (1, 6, 5), 2)
    var, mean = torch.var_mean(x.reshape(2, 15), 1, correction=0)
    upstream = torch.randn(x.shape, generator=generator)
    empty = [torch.full(s, 7.0) for s in (x.shape, (6,), (6,))]
    given = [x, weight, bias, mean, (var + 1e-6).rsqrt(), upstream, *empty]
    came, says = far_away(student, "backward_kernel", given, (1, 2), (2, 3, 5))
    on(student, x, groups).exact.judge_gradients(came[6:9], args, [upstream], {}, says)


@backward
def test_the_backward_pass_is_safe(student, generator):
    """safe: every access is inside, and no two programs meet"""
    args = inputs(generator, (2, 6, 5, 5), 2)
    on(student, *args[:2]).safe(*args, gradient=True)


@backward
def test_the_backward_pass_is_lean(student, generator):
    """lean: both passes read x, x again and the upstream gradient, and write the result and d_x"""
    args = inputs(generator, (2, 4, 16, 16), 2)
    least = 5 * args[0].nbytes
    on(student, *args[:2]).lean(NORM, *args, gradient=True, least=least)
