"""Public checks of chapter 14: kernels.adain."""

import pytest
import torch

from cs231n_gen.checking import expect
from cs231n_gen.checking.kernels.by_hand import left
from cs231n_gen.checking.kernels.reference import ulps
from cs231n_gen.checking.kernels.stages import NORM, Exact, Stages, in_words, nbytes
from cs231n_gen.instruments.error_budget import wide

EPS = 1e-5
# A result holds two sums over a row of n numbers, and roundings of its own: of μ, x − μ, 1/σ, two
# products and a sum. For the error budget these are as good as six more levels of additions.
ROUNDINGS = 2**6

forward = pytest.mark.exercise("kernels.adain.kernel")
backward = pytest.mark.exercise("kernels.adain.backward_kernel")


# --- the kernels through their wrapper ----------------------------------------------------------


def reference(x, scale, bias):
    w, b = scale.to(x.dtype)[..., None, None], bias.to(x.dtype)[..., None, None]
    mu = x.mean((2, 3), keepdim=True)
    sigma = (x.var((2, 3), correction=0, keepdim=True) + EPS).sqrt()
    return w * (x - mu) / sigma + b


def on(student, args):
    added = ROUNDINGS * args[0][0, 0].numel()
    exact = Exact(reference, (0, 1, 2), dict.fromkeys((0, "x", "scale", "bias"), added))
    return Stages(student, "kernels.adain.adain", exact)


def inputs(generator, *shape):
    return [torch.randn(s, generator=generator) for s in (shape, shape[:2], shape[:2])]


# --- the kernels alone: rows of numbers, two rows a program -------------------------------------


def rows_of(generator, rows, n):
    """Rows around 3, whose means are not 0 by chance; but the first is small, and ε matters."""
    x, scale, bias = (torch.randn(s, generator=generator) for s in ((rows, n), rows, rows))
    return [torch.cat([0.003 * x[:1], 3 + x[1:]]), scale, bias]


def stored(x, scale, bias, eps=EPS):
    """out, μ and 1/σ of rows, calculated in float32 or float64."""
    X, w, b = (v if v.dtype == torch.float64 else v.float() for v in (x, scale, bias))
    mu, r = X.mean(1), (X.var(1, correction=0) + eps).rsqrt()
    out = w[:, None] * ((X - mu[:, None]) * r[:, None]) + b[:, None]
    return out.to(x.dtype), mu, r


def rows_back(generator, rows, n):
    """x, scale, μ, 1/σ and upstream, whose sums are not 0 by chance."""
    z, more = (torch.randn(rows, n, generator=generator) for _ in range(2))
    x, scale = 3 + 0.5 * z, torch.randn(rows, generator=generator)
    return [x, scale, *stored(x, scale, scale)[1:], 1 + z + more]


def gradients(x, scale, mean, inverse_std, upstream):
    """d_x, d_scale and d_bias of rows, calculated in float32 or float64."""
    given = (x, scale[:, None], mean[:, None], inverse_std[:, None], upstream)
    X, w, mu, r, G = (v if v.dtype == torch.float64 else v.float() for v in given)
    normal = (X - mu) * r
    d_x = w * r * (G - G.mean(1, True) - normal * (G * normal).mean(1, True))
    d_scale, d_bias = (G * normal).sum(1), G.sum(1)
    return d_x.to(x.dtype), d_scale.to(scale.dtype), d_bias.to(scale.dtype)


TRUTH = {"kernel": stored, "backward_kernel": gradients}
NAMES = {
    "kernel": ("out", "mean", "inverse_std"),
    "backward_kernel": ("d_x", "d_scale", "d_bias"),
}


def launched(student, kernel, args, block, eps=EPS):
    """A kernel without its wrapper: what it stored, and what was seen."""
    rows, n = args[0].shape
    empty = [torch.full_like(t, float("nan")) for t in TRUTH[kernel](*args)]
    sizes = [rows, n, eps] if kernel == "kernel" else [rows, n]
    seen = student.instruments.observe.launch(
        student.function(f"kernels.adain.{kernel}"),
        [-(-rows // 2)],
        [*args, *empty, *sizes],
        {"ROWS": 2, "BLOCK": block},
    )
    return seen["args"][len(args) : len(args) + 3], seen


def right(student, kernel, args, block, **eps):
    """Hold what a kernel stores to float64."""
    got, _ = launched(student, kernel, args, block, **eps)
    rows, n = args[0].shape
    says = f"for {rows} rows of {n} numbers, {block} of which a program has at hand,"
    exact = Exact(TRUTH[kernel], floors=dict.fromkeys(range(3), ulps(ROUNDINGS * n)))
    exact.judge_results(got, args, eps, f"{says} what is stored is wrong", NAMES[kernel])


def far_away(student, kernel, args, block):
    """Hold a program to float64 whose first row begins beyond element 2³¹: the rows at hand are a
    window of a tensor that begins there."""
    rows, n = args[0].shape
    first, empty = 2 * (2**30 // n + 99), [torch.full_like(t, 7.0) for t in TRUTH[kernel](*args)]
    tensors, sizes = [*args, *empty], [first + rows, n, *([EPS] if kernel == "kernel" else [])]
    begins = [first * n if t.dim() == 2 else first for t in tensors]
    says = f"row {first} begins beyond element 2³¹: what is stored is wrong"
    where = {"programs": [[first // 2]], "begins": begins}
    constants, name = {"ROWS": 2, "BLOCK": block}, f"kernels.adain.{kernel}"
    grid = [first // 2 + 1]
    came = left(student, name, grid, [*tensors, *sizes], constants, says, **where)
    exact = Exact(TRUTH[kernel], floors=dict.fromkeys(range(3), ulps(ROUNDINGS * n)))
    exact.judge_results(came[len(args) :], args, {}, says, NAMES[kernel])


def safe(student, kernel, args, block):
    """No access outside, and no race."""
    _, seen = launched(student, kernel, args, block)
    expect.true(not seen["faults"], in_words(seen["faults"]))


def lean(student, kernel, args, block, read, written):
    """Of the tensors that are read, rows longer than a block are read twice from there on."""
    _, seen = launched(student, kernel, args, block)
    again = [t[:, block:] for t in read if t.dim() == 2]
    least = nbytes([*read, *again, *written])
    ratio = seen["moved"] / least
    says = f"your kernel moves {ratio:.2f} times the least traffic, which is {least} bytes"
    expect.true(0.99 <= ratio <= NORM, says, f"{ratio:.2f}", f"at most {NORM:g}")


# --- kernel -------------------------------------------------------------------------------------


@forward
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (32, 32), (25, 41)])
def test_each_channel_gets_its_style(student, generator, size):
    """correct: w (x − μ) / σ + b, for channels of any size"""
    args = inputs(generator, 1, 3, *size)
    on(student, args).correct(*args)


@forward
def test_the_style_decides_mean_and_spread(student, generator):
    """correct: whatever came in, each channel leaves with mean b and spread |w|"""
    x, scale, bias = inputs(generator, 2, 3, 16, 16)
    wrapper = student.function("kernels.adain.adain")
    seen = student.instruments.observe.call(wrapper, [5 + 3 * x, scale, bias])
    out = expect.tensor(seen["results"][0], x.shape)
    says = "the mean of a channel must be its bias"
    expect.close(out.mean((2, 3)), bias, says, what="the mean")
    says = "the spread of a channel must be its scale, without the sign"
    expect.close(out.std((2, 3), correction=0), scale.abs(), says, what="the spread")


@forward
def test_half_precision(student, generator):
    """correct: in half precision, calculated in float32; a style may have its own precision"""
    right(student, "kernel", [v.half() for v in rows_of(generator, 3, 50)], 64)
    x, scale, bias = rows_of(generator, 3, 77)
    right(student, "kernel", [x.bfloat16(), scale, bias.half()], 32)
    right(student, "kernel", [x.bfloat16(), scale.half(), bias], 128)


@forward
def test_another_eps(student, generator):
    """correct: ε is the argument; a row of equal numbers has σ = √ε and becomes its bias"""
    x, scale, bias = rows_of(generator, 3, 40)
    x[2] = 0.5
    right(student, "kernel", [x, scale, bias], 64, eps=0.3)


@forward
def test_large_and_small_rows(student, generator):
    """correct: rows of 1e-5 or 1e6 are divided by their σ; w and b may be large too"""
    x, scale, bias = rows_of(generator, 4, 40)
    x *= torch.tensor([1.0, 1e-5, 1e6, 1e3])[:, None]
    right(student, "kernel", [x, 1e4 * scale, 1e4 * bias], 64)


@forward
def test_more_rows_than_32_bits_can_count(student, generator):
    """correct: in a row that begins beyond element 2³¹ places are still right"""
    far_away(student, "kernel", rows_of(generator, 2, 50), 32)


@forward
def test_statistics(student, generator):
    """correct: μ and 1/σ of each row are stored for the backward pass"""
    right(student, "kernel", rows_of(generator, 5, 50), 64)


@forward
def test_long_rows(student, generator):
    """correct: rows longer than BLOCK, the blocks of which have means of their own"""
    args = rows_of(generator, 3, 77)
    args[0] += torch.arange(77) // 10
    right(student, "kernel", args, 32)


@forward
def test_a_large_mean(student, generator):
    """correct: a large mean does no harm to the variance"""
    x, scale, bias = inputs(generator, 1, 3, 10, 10)
    args = [1000 + x.reshape(3, 100), scale[0], bias[0]]
    (_, _, r), _ = launched(student, "kernel", args, 128)
    says = "the mean of 1000 must not spoil 1/σ: every digit of the variance counts"
    expect.close(r, stored(*wide(args))[2], says, rtol=1e-3, atol=1e-5, what="1/σ")


@forward
@pytest.mark.parametrize("rows, n, block", [(5, 50, 64), (3, 77, 32)])
def test_safe(student, generator, rows, n, block):
    """safe: every access is inside, and no two programs meet"""
    safe(student, "kernel", rows_of(generator, rows, n), block)


@forward
def test_lean(student, generator):
    """lean: x is read once, the result is written once"""
    args = inputs(generator, 1, 3, 20, 20)
    on(student, args).lean(NORM, *args)


@forward
def test_lean_where_a_row_is_long(student, generator):
    """lean: of a long row the first BLOCK numbers are read once, the others twice"""
    args = rows_of(generator, 2, 500)
    lean(student, "kernel", args, 64, args, stored(*args))


# --- backward_kernel ----------------------------------------------------------------------------


@backward
@pytest.mark.parametrize("rows, n, block", [(2, 7, 8), (5, 50, 64), (2, 1025, 2048)])
def test_gradients(student, generator, rows, n, block):
    """backward: d_x, d_scale and d_bias of rows of any size"""
    right(student, "backward_kernel", rows_back(generator, rows, n), block)


@backward
def test_gradients_of_long_rows(student, generator):
    """backward: of rows longer than BLOCK too"""
    right(student, "backward_kernel", rows_back(generator, 3, 77), 32)


@backward
def test_gradients_in_half_precision(student, generator):
    """backward: in half precision, calculated in float32; the scale's keeps its own dtype"""
    x, *others, upstream = rows_back(generator, 2, 300)
    right(student, "backward_kernel", [x.half(), *others, upstream.half()], 512)
    x, *others, upstream = rows_back(generator, 2, 70)
    right(student, "backward_kernel", [x.bfloat16(), *others, upstream.bfloat16()], 32)
    level = (upstream + 400).bfloat16()  # of which nothing is left in d_x: a rounded mean would be
    right(student, "backward_kernel", [x.bfloat16(), *others, level], 128)


@backward
def test_large_gradients(student, generator):
    """backward: what comes back may be large, and w small or 0; x may vary by little"""
    x, scale, bias = rows_of(generator, 4, 40)
    x[1] *= 1e-5
    _, mean, inverse_std = stored(x, scale, bias)
    upstream = 1e5 * (1 + torch.randn(4, 40, generator=generator))
    scale = scale * torch.tensor([1, 1, 0, 1e-3])
    right(student, "backward_kernel", [x, scale, mean, inverse_std, upstream], 64)


@backward
def test_more_gradients_than_32_bits_can_count(student, generator):
    """backward: in a row that begins beyond element 2³¹ places are still right"""
    far_away(student, "backward_kernel", rows_back(generator, 2, 50), 32)


@backward
def test_a_norm_does_not_see_the_level(student, generator):
    """backward: what is the same all over a channel moves its bias alone"""
    x, scale, mean, inverse_std, _ = rows_back(generator, 3, 40)
    level = torch.tensor([1.0, -2.0, 5.0])
    args = [x, scale, mean, inverse_std, level[:, None].expand(3, 40).contiguous()]
    (d_x, d_scale, d_bias), _ = launched(student, "backward_kernel", args, 64)
    says = "x̂ has mean 0, so a level that comes back must not reach the scale"
    expect.close(d_scale, torch.zeros(3), says, atol=1e-3, rtol=0, what="d_scale")
    says = "the norm takes every level away: one that comes back must not reach x"
    expect.close(d_x, torch.zeros(3, 40), says, atol=1e-4, rtol=1e-4, what="d_x")
    expect.close(d_bias, 40 * level, "the bias is added to each number of a channel", what="d_bias")


@backward
def test_the_wrappers_gradients(student, generator):
    """backward: those of x, scale and bias arrive, as torch has them"""
    args = inputs(generator, 2, 3, 6, 7)
    on(student, args).backward(*args, upstream=lambda out: out.square())


@backward
@pytest.mark.parametrize("rows, n, block", [(5, 50, 64), (3, 77, 32)])
def test_backward_safe(student, generator, rows, n, block):
    """safe: every access is inside, and no two programs meet"""
    safe(student, "backward_kernel", rows_back(generator, rows, n), block)


@backward
@pytest.mark.parametrize("n, block", [(200, 256), (500, 64)])
def test_backward_lean(student, generator, n, block):
    """lean: x and upstream are read once, the longer part of a long row twice"""
    args = rows_back(generator, 2, n)
    lean(student, "backward_kernel", args, block, args, gradients(*args))
