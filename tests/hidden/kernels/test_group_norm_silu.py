"""Hidden grader of chapter 14, kernels.group_norm_silu: theory first, then against float64, and as
the instruments see it."""

import pytest
import torch
import torch.nn.functional as F

from cs231n_gen.checking import draws, expect
from cs231n_gen.checking.kernels.by_hand import left
from cs231n_gen.checking.kernels.reference import ulps
from cs231n_gen.checking.kernels.stages import DTYPES, NORM, Exact, Stages, nbytes

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


# --- the kernels alone ---------------------------------------------------------------------------


def up(x):
    return x if x.dtype == torch.float64 else x.float()


def stored(x, weight, bias, eps):
    """out, μ and 1/σ of (batch, groups, C, n), calculated in float32 or float64."""
    X = up(x)
    mu, r = X.mean((2, 3)), (X.var((2, 3), correction=0) + eps).rsqrt()
    normal = (X - mu[..., None, None]) * r[..., None, None]
    return F.silu(up(weight)[..., None] * normal + up(bias)[..., None]).to(x.dtype), mu, r


def stored_back(x, weight, bias, mean, inverse_std, upstream):
    """d_x, and each example's part of d_weight and d_bias."""
    w, r = up(weight)[..., None], inverse_std[..., None, None]
    normal = (up(x) - mean[..., None, None]) * r
    y = w * normal + up(bias)[..., None]
    s = y.sigmoid()
    h = up(upstream) * s * (1 + y * (1 - s))
    level, along = (k.mean((2, 3), keepdim=True) for k in (w * h, w * h * normal))
    d_x = r * (w * h - level - normal * along)
    return d_x.to(x.dtype), (h * normal).sum(3), h.sum(3)


TRUTH = {"kernel": stored, "backward_kernel": stored_back}
NAMES = {"kernel": ("out", "mean", "1/σ"), "backward_kernel": ("d_x", "d_weight", "d_bias")}


def grouped(generator, *shape, dtypes=(torch.float32,) * 3):
    """x around 1 of (batch, groups, C, n), weight and bias."""
    x = 1 + torch.randn(shape, generator=generator)
    both = (torch.randn(shape[1:3], generator=generator) for _ in range(2))
    return [v.to(d) for v, d in zip((x, *both), dtypes, strict=True)]


def back(generator, x, weight, bias, eps=1e-6):
    """The arguments of the backward kernel; no sum over what comes back is 0 by chance."""
    _, mean, r = stored(x, weight, bias, eps)
    upstream = (1 + torch.randn(x.shape, generator=generator)).to(x.dtype)
    return [x, weight, bias, mean, r, upstream]


def by_hand(student, kernel, args, channels, block, eps=1e-6, first=None):
    """Hold a launch without the wrapper to float64.

    Args:
        first: the number of the example at hand, if all of them are a window of a large tensor.
    Returns:
        The bytes moved, or None of a window.
    """
    batch, groups, C, n = args[0].shape
    options = {"eps": eps} if kernel == "kernel" else {}
    empty = [torch.full_like(t, float("nan")) for t in TRUTH[kernel](*args, **options)]
    given = [*args, *empty, groups, C, n, *options.values()]
    constants, name = {"CHANNELS": channels, "BLOCK": block}, f"kernels.group_norm_silu.{kernel}"
    says = f"what is stored is wrong for {C} channels of {n} in tiles of {channels} and {block}"
    if first is None:
        launch, function = student.instruments.observe.launch, student.function(name)
        seen = launch(function, [batch * groups], given, constants)
        good = isinstance(seen, dict) and len(seen.get("args", ())) == len(given)
        expect.true(good, "the instruments were tampered with")
        came, moved = seen["args"], seen["moved"]
    else:
        tensors = [t for t in given if isinstance(t, torch.Tensor)]
        learned = [k in (1, 2) for k in range(len(tensors))]
        begins = [0 if w else first * t.numel() for w, t in zip(learned, tensors, strict=True)]
        where = {"programs": [[first * groups + g] for g in range(groups)], "begins": begins}
        says = f"example {first} begins beyond element 2³¹: {says}"
        came = left(student, name, [(first + 1) * groups], given, constants, says, **where)
        moved = None
    exact = Exact(TRUTH[kernel], floors=dict.fromkeys(range(3), ulps(ROUNDINGS * C * n)))
    got = came[len(args) : len(args) + 3]
    exact.judge_results(got, args, options, says, NAMES[kernel])
    return moved


# Channels a group, positions, and the tile: more of each than there are, and less.
TILES = ((3, 7, 8, 16), (3, 50, 4, 16), (1, 33, 1, 32), (5, 32, 8, 8))
# Weights and biases in other dtypes than x have digits that count.
MIXED = (
    (torch.bfloat16, torch.float32, torch.float16),
    (torch.float16, torch.bfloat16, torch.float32),
    (torch.float32, torch.float16, torch.bfloat16),
)


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
def test_any_tile(student, generator):
    """correct: for any CHANNELS and BLOCK, more than there are, and BLOCK less, in any number"""
    for C, n, channels, block in TILES:
        x, *both = grouped(generator, 2, 3, C, n)
        x += torch.arange(n) // 10  # blocks have means of their own
        by_hand(student, "kernel", [x, *both], channels, block, eps=0.3)


@forward
def test_dtypes_of_their_own(student, generator):
    """correct: weight and bias may differ in dtype, from x and each other; all is rounded once"""
    for dtypes in MIXED:
        for block in (16, 64):
            args = grouped(generator, 1, 2, 3, 40, dtypes=dtypes)
            by_hand(student, "kernel", args, 4, block)


@forward
def test_a_large_mean(student, generator):
    """correct: a mean of 1000 does no harm, in one block or in several"""
    for dtypes in MIXED:
        x, *both = grouped(generator, 1, 2, 2, 60)
        x = 1000 + (3 if dtypes[0] == torch.float32 else 100) * x
        args = [v.to(d) for v, d in zip((x, *both), dtypes, strict=True)]
        for block in (64, 16):
            by_hand(student, "kernel", args, 2, block)


@forward
def test_large_and_small(student, generator):
    """correct: for x of 1e-5 and 1e6, and where y is so large that e^y is not finite"""
    x, weight, bias = grouped(generator, 1, 3, 2, 20)
    x = x * torch.tensor([1e-5, 1e6, 1.0])[:, None, None]
    x[0, 2] = 0.5  # all equal: σ = √ε, and y is the bias
    for size in (1.0, 30.0, 1e4):
        by_hand(student, "kernel", [x, size * weight, size * bias], 2, 32)


@forward
def test_more_groups_than_32_bits_can_count(student, generator):
    """correct: in an example that begins beyond element 2³¹ places are still right"""
    first = 2**31 // 6 + draws.whole(generator, 9, 10**6)
    for block in (4, 8):
        by_hand(student, "kernel", grouped(generator, 1, 2, 3, 5), 4, block, first=first)


@forward
def test_lean_where_a_group_is_large(student, generator):
    """lean: of a large group the first BLOCK positions are read once, the others twice"""
    x, *both = args = grouped(generator, 2, 1, 2, 300)
    moved = by_hand(student, "kernel", args, 2, 64)
    ratio = moved / nbytes([*args, *both, x, x[..., 64:]])
    says = f"your kernel moves {ratio:.2f} times the least traffic"
    expect.true(0.99 <= ratio <= NORM, says, f"{ratio:.2f}", f"at most {NORM:g}")


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
def test_gradients_in_any_tile(student, generator):
    """backward: for any CHANNELS and BLOCK, with the μ and 1/σ that `kernel` stored, for any ε"""
    for C, n, channels, block in TILES:
        args = back(generator, *grouped(generator, 2, 3, C, n), eps=0.3)
        by_hand(student, "backward_kernel", args, channels, block)


@backward
def test_gradients_of_dtypes_of_their_own(student, generator):
    """backward: weight and bias may differ in dtype, from x and each other; all is rounded once"""
    for dtypes in MIXED:
        for block in (16, 64):
            args = back(generator, *grouped(generator, 1, 2, 3, 40, dtypes=dtypes))
            by_hand(student, "backward_kernel", args, 4, block)


@backward
def test_a_level_that_comes_back(student, generator):
    """backward: means over a group are taken in float32 and not rounded, also around 400"""
    for dtypes in MIXED[:2]:
        args = grouped(generator, 1, 2, 2, 40)
        args = back(generator, args[0].to(dtypes[0]), 0.01 * args[1], 20 + args[2])
        args[5] = (400 + args[5]).to(dtypes[0])  # silu(20) = 20: what comes back stays as it is
        by_hand(student, "backward_kernel", args, 2, 64)


@backward
def test_large_and_small_gradients(student, generator):
    """backward: for x of 1e-5 and 1e6, large gradients, and y so large that e^y is not finite"""
    x, weight, bias = grouped(generator, 1, 3, 2, 20)
    x = x * torch.tensor([1e-5, 1e6, 1.0])[:, None, None]
    for size in (1.0, 30.0, 1e3):
        args = back(generator, x, size * weight, size * bias)
        by_hand(student, "backward_kernel", [*args[:5], 1e5 * args[5]], 2, 32)


@backward
def test_more_gradients_than_32_bits_can_count(student, generator):
    """backward: in an example that begins beyond element 2³¹ places are still right"""
    first = 2**31 // 6 + draws.whole(generator, 9, 10**6)
    for block in (4, 8):
        args = back(generator, *grouped(generator, 1, 2, 3, 5))
        by_hand(student, "backward_kernel", args, 4, block, first=first)


@backward
def test_lean_where_a_group_is_large_backward(student, generator):
    """lean: of a large group the first BLOCK positions are read once, the others twice"""
    x, *both = grouped(generator, 2, 1, 2, 300)
    args = back(generator, x, *both)
    moved = by_hand(student, "backward_kernel", args, 2, 64)
    again = x[..., 64:]
    ratio = moved / nbytes([*args, *both, x, again, again])
    says = f"your kernel moves {ratio:.2f} times the least traffic"
    expect.true(0.99 <= ratio <= NORM, says, f"{ratio:.2f}", f"at most {NORM:g}")


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
