"""Hidden grader of chapter 14, kernels.group_norm_silu: theory first, then against float64, and as
the instruments see it."""

import pytest
import torch
import torch.nn.functional as F

from cs231n_gen.checking import draws, expect
from cs231n_gen.checking.kernels.stages import DTYPES, NORM, Exact, Stages

ROUNDINGS = 2**6  # of μ, x − μ, 1/σ, products and the sigmoid: as good as six levels of additions
SHAPES = (((1, 1, 1, 7), 1), ((2, 6, 3, 3), 3), ((1, 2, 31, 33), 2), ((1, 1, 25, 41), 1))
LAYOUTS = ("strided", "transposed", "expanded")
NAME = "kernels.group_norm_silu.group_norm_silu"


forward = pytest.mark.exercise("kernels.group_norm_silu.kernel")
backward = pytest.mark.exercise("kernels.group_norm_silu.backward_kernel")


def reference(x, groups, weight, bias, eps=1e-6):
    return F.silu(F.group_norm(x, groups, weight.to(x.dtype), bias.to(x.dtype), eps))


def on(student, x, groups):
    added = ROUNDINGS * x[0].numel() // groups if x.dtype == torch.float32 else 1
    parts = {0: added, "x": added, "weight": ROUNDINGS * x.numel(), "bias": ROUNDINGS * x.numel()}
    return Stages(student, NAME, Exact(reference, (0, 2, 3), parts))


def inputs(generator, shape, groups, dtype=torch.float32):
    """x around 1, so that means are not 0 by chance; weights and biases of both signs."""
    x = 1 + torch.randn(shape, generator=generator)
    weight, bias = (torch.randn(shape[1], generator=generator) for _ in range(2))
    return x.to(dtype), groups, weight.to(dtype), bias.to(dtype)


def random_shape(generator):
    batch, groups, channels, height, width = (
        draws.whole(generator, low, high)
        for low, high in ((1, 4), (1, 4), (1, 6), (3, 12), (3, 12))
    )
    return (batch, groups * channels, height, width), groups


def result(student, *args, **options):
    seen = student.instruments.observe.call(student.function(NAME), [*args], options)
    expect.true(isinstance(seen, dict) and bool(seen.get("results")), "no result came")
    return expect.tensor(seen["results"][0], args[0].shape)


# --- the forward kernel -------------------------------------------------------------------------


@forward
def test_one_group_a_channel_is_instance_norm_and_one_for_all_is_layer_norm(student, generator):
    """correct: with a group a channel it is instance norm, with one group layer norm"""
    x, _, weight, bias = inputs(generator, (2, 5, 6, 7), 1)
    shape = (1, 5, 1, 1)
    instance = F.instance_norm(x, eps=1e-6) * weight.view(shape) + bias.view(shape)
    layer = F.layer_norm(x, x.shape[1:], eps=1e-6) * weight.view(shape) + bias.view(shape)
    for groups, normed in ((5, instance), (1, layer)):
        got = result(student, x, groups, weight, bias)
        # Both are sums of 42 and 210 numbers in float32: apart by a few units in the last place.
        expect.close(got, F.silu(normed), f"wrong with {groups} groups", atol=2e-5, rtol=1e-5)


@forward
def test_statistics_of_the_norm(student, generator):
    """correct: the norm does not see that x was moved and stretched"""
    x, groups, weight, bias = inputs(generator, (2, 6, 8, 9), 3)
    one, other = (result(student, y, groups, weight, bias) for y in (x, 2.5 * x - 3))
    # ε = 1e-6 beside variances of 1 and 6, and roundings of 2.5 x − 3.
    says = "the result changes when x is moved and stretched"
    expect.close(one, other, says, atol=2e-4, rtol=1e-4)


@forward(weight=3)
def test_every_size(student, generator):
    """correct: one number, 7, 1023, 1025, and shapes that are no power of 2"""
    for shape, groups in (*SHAPES, random_shape(generator), random_shape(generator)):
        args = inputs(generator, shape, groups)
        on(student, *args[:2]).correct(*args)


@forward
def test_eps(student, generator):
    """correct: ε is added to the variance, under the root"""
    args = inputs(generator, (2, 4, 3, 5), 2)
    on(student, *args[:2]).correct(0.3 * args[0], *args[1:], eps=0.25)


@forward
def test_a_large_group(student, generator):
    """correct: groups of more numbers than a program has at hand"""
    args = inputs(generator, (1, 3, 60, 61), 1)
    on(student, *args[:2]).correct(*args)


@forward
def test_far_from_zero(student, generator):
    """correct: for x whose mean is large beside its deviation"""
    x, groups, weight, bias = inputs(generator, (1, 4, 8, 8), 2)
    args = 300 + x.sub(1).mul(4).round().div(4), groups, weight, bias  # no rounding of its own
    got = result(student, *args)
    # x and x − μ are exact to 2⁻¹⁶ at 300; the difference of squares would be off by 300² 2⁻²⁴.
    want = reference(*(a.double() if isinstance(a, torch.Tensor) else a for a in args))
    expect.close(got, want, "digits are lost where the mean is large", atol=1e-3, rtol=1e-3)


@forward
def test_every_dtype(student, generator):
    """correct: in float32, float16 and bfloat16, as exact as torch"""
    for dtype in DTYPES:
        args = inputs(generator, (2, 4, 7, 9), 2, dtype)
        on(student, *args[:2]).correct(*args)


@forward
def test_any_layout(student, generator):
    """correct: for strided, transposed and expanded tensors too"""
    for layout in LAYOUTS:
        args = inputs(generator, (2, 4, 5, 6), 2)
        on(student, *args[:2]).correct(*args, layout=layout)


@forward
def test_what_is_left_for_the_backward_pass(student, generator):
    """correct: the mean and 1/σ of every group are stored"""
    groups, C, n = 3, 2, 35
    x = 1 + torch.randn(2, groups, C, n, generator=generator)
    weight, bias = torch.randn(2, groups, C, generator=generator)
    stats = torch.full((2, 2, groups), float("nan"))
    args = [x, weight, bias, torch.empty_like(x), *stats, groups, C, n, 1e-6]
    kernel = student.function("kernels.group_norm_silu.kernel")
    seen = student.instruments.observe.launch(
        kernel, [2 * groups], args, {"CHANNELS": 2, "BLOCK": 64}
    )
    expect.true(isinstance(seen, dict) and len(seen.get("args", ())) == len(args), "no result came")
    X = x.double().flatten(2)
    mean, inverse_std = seen["args"][4:6]
    expect.close(mean, X.mean(2), "the mean is wrong", atol=1e-5, rtol=1e-5)
    says = "1/σ is wrong"
    expect.close(inverse_std, (X.var(2, correction=0) + 1e-6).rsqrt(), says, atol=1e-5, rtol=1e-5)


@forward(weight=2)
def test_safe(student, generator):
    """safe: nothing outside of the tensors is touched, and no two programs meet"""
    args = inputs(generator, (2, 6, 5, 5), 2)
    on(student, *args[:2]).safe(*args)


@forward
def test_honest(student, generator):
    """honest: the kernel does the work, all of it, every time"""
    args, others = (inputs(generator, (2, 6, 11, 11), 2) for _ in range(2))
    on(student, *args[:2]).honest(args, others)


@forward
def test_lean(student, generator):
    """lean: x is read once, the result is written once"""
    args = inputs(generator, (2, 4, 16, 16), 2)
    on(student, *args[:2]).lean(NORM, *args)


@forward
def test_compiles(student, generator):
    """compiles: for an H100, with loads of 128 bits and without spills"""
    small, large = (inputs(generator, shape, 2) for shape in ((1, 4, 4, 4), (1, 16, 16, 16)))
    on(student, *small[:2]).compiles(small, large)


# --- the backward kernel ------------------------------------------------------------------------


@backward
def test_what_changes_nothing_has_no_gradient(student, generator):
    """backward: d_x has no part along a shift of x, nor along x itself"""
    x, groups, weight, bias = inputs(generator, (2, 6, 5, 7), 2)
    upstream = torch.randn(x.shape, generator=generator)
    wrapper = student.function(NAME)
    seen = student.instruments.observe.call(
        wrapper, [x, groups, weight, bias], wrt=[0, 2, 3], upstream=[upstream]
    )
    expect.true(isinstance(seen, dict) and len(seen.get("gradients", ())) == 3, "no gradient came")
    d_x = expect.tensor(seen["gradients"][0], x.shape, "the gradient of x").double()
    d_x, X = d_x.reshape(2, groups, -1), x.double().reshape(2, groups, -1)
    size = d_x.norm(dim=2) + 1e-6
    expect.true(bool((size > 1e-3).all()), "the gradient of x is 0")
    # Sums of 105 numbers in float32, and ε = 1e-6 beside a variance of 1.
    says = "a shift of x changes nothing, yet the gradient has a part along it"
    expect.close(d_x.sum(2) / size, torch.zeros(2, groups), says, atol=1e-4, rtol=1e-4)
    says = "stretching x changes nothing, yet the gradient has a part along x"
    along = (d_x * (X - X.mean(2, keepdim=True))).sum(2) / size
    expect.close(along, torch.zeros(2, groups), says, atol=1e-4, rtol=1e-4)


@backward(weight=3)
def test_gradients_of_every_size(student, generator):
    """backward: of x, weight and bias, for shapes that are no power of 2"""
    for shape, groups in (*SHAPES[1:], random_shape(generator)):
        args = inputs(generator, shape, groups)
        on(student, *args[:2]).backward(*args, upstream=torch.square)


@backward
def test_gradients_of_a_large_group(student, generator):
    """backward: of groups of more numbers than a program has at hand"""
    args = inputs(generator, (1, 3, 60, 61), 1)
    on(student, *args[:2]).backward(*args, upstream=torch.square)


@backward
def test_gradients_in_every_dtype(student, generator):
    """backward: in float32, float16 and bfloat16, as exact as torch"""
    for dtype in DTYPES:
        args = inputs(generator, (2, 4, 7, 9), 2, dtype)
        on(student, *args[:2]).backward(*args)


@backward
def test_gradients_of_any_layout(student, generator):
    """backward: with upstream gradients that are strided, transposed or expanded"""
    for layout in LAYOUTS:
        args = inputs(generator, (2, 4, 5, 6), 2)
        on(student, *args[:2]).backward(*args, upstream=torch.square, layout=layout)


@backward(weight=2)
def test_the_backward_pass_is_safe(student, generator):
    """safe: nothing outside of the tensors is touched, and no two programs meet"""
    args = inputs(generator, (2, 6, 5, 5), 2)
    on(student, *args[:2]).safe(*args, gradient=True)


@backward
def test_the_backward_pass_is_honest(student, generator):
    """honest: the kernels do the work, all of it, every time"""
    args, others = (inputs(generator, (2, 6, 11, 11), 2) for _ in range(2))
    on(student, *args[:2]).honest(args, others, gradient=True)


@backward
def test_the_backward_pass_is_lean(student, generator):
    """lean: both passes read x, x again and the upstream gradient, and write the result and d_x"""
    args = inputs(generator, (2, 4, 16, 16), 2)
    least = 5 * args[0].nbytes
    on(student, *args[:2]).lean(NORM, *args, gradient=True, least=least)


@backward
def test_the_backward_pass_compiles(student, generator):
    """compiles: for an H100, with loads of 128 bits and without spills"""
    small, large = (inputs(generator, shape, 2) for shape in ((1, 4, 4, 4), (1, 16, 16, 16)))
    on(student, *small[:2]).compiles(small, large, gradient=True)
