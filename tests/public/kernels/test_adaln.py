"""Public checks of chapter 14: kernels.adaln."""

import pytest
import torch
import torch.nn.functional as F

from cs231n_gen.checking import expect
from cs231n_gen.checking.kernels.by_hand import left
from cs231n_gen.checking.kernels.precision import precise
from cs231n_gen.checking.kernels.reference import in_turn, ulps
from cs231n_gen.checking.kernels.stages import NORM, Exact, Stages, nbytes

forward = pytest.mark.exercise("kernels.adaln.kernel")
backward = pytest.mark.exercise("kernels.adaln.backward_kernel")

EPS = 1e-6  # that of the wrapper


def reference(x, scale, shift):
    normal = F.layer_norm(x, x.shape[-1:], eps=EPS)
    return normal * (1 + scale[:, None]) + shift[:, None]


def on(student, x):
    """A result holds two sums over the D numbers of a token, one upon the other: μ and σ. Gradients
    of scale and shift are sums over T tokens, the former of x̂."""
    _, T, D = x.shape
    sums = {0: D**2, "x": D, "scale": T * D, "shift": T}
    return Stages(student, "kernels.adaln.adaln", Exact(reference, wrt=(0, 1, 2), sums=sums))


def example(generator, batch, T, D):
    """Tokens around 2, so that nobody forgets the mean; scale and shift differ from each other."""
    x = 2 + 3 * torch.randn(batch, T, D, generator=generator)
    scale, shift = (torch.randn(batch, D, generator=generator) for _ in range(2))
    return x, scale, shift - 1


def result(student, *args):
    wrapper = student.function("kernels.adaln.adaln")
    return student.instruments.observe.call(wrapper, [*args])["results"][0]


# --- kernels.adaln.kernel -----------------------------------------------------------------------


@forward
@pytest.mark.parametrize("D", [7, 64, 1025])
def test_every_token(student, generator, D):
    """correct: each token is normalised by its own D numbers, then scaled and shifted"""
    args = example(generator, 2, 3, D)
    on(student, args[0]).correct(*args)


@forward
def test_half_precision(student, generator):
    """correct: in half precision, calculated in float32, where 300 numbers have a sum"""
    x, scale, shift = (a.half() for a in example(generator, 2, 5, 300))
    on(student, x).correct(300 + 10 * x, scale, shift)  # whose sum is beyond float16


@forward
def test_two_numbers(student, generator):
    """correct: a token of two numbers m ± h becomes ± h / √(h² + ε)"""
    h = torch.arange(1, 9)[:, None] / 4096  # around √ε
    x = torch.cat([1 + h, 1 - h], 1)[None]
    out = result(student, x, torch.zeros(1, 2), torch.zeros(1, 2))
    share = h / (h.square() + EPS).sqrt()
    says = "ε is added to the variance, under the root"
    expect.close(out, torch.cat([share, -share], 1)[None], says)


@forward
def test_a_large_mean(student, generator):
    """correct: a mean of 1024 does not drown the variance"""
    _, scale, shift = example(generator, 2, 3, 64)
    x = 1024 + torch.randint(-16, 17, (2, 3, 64), generator=generator) / 8  # every sum is exact
    on(student, x).correct(x, scale, shift)


@forward
def test_what_is_kept(student, generator):
    """correct: μ and 1/σ of every token are stored for the backward pass"""
    x, scale, shift = example(generator, 2, 5, 40)
    kept = torch.full((2, 5), float("nan"))
    given = [x, scale, shift, torch.full_like(x, float("nan")), kept, kept, 5, 40, EPS]
    seen = student.instruments.observe.launch(
        student.function("kernels.adaln.kernel"), [2, 3], given, {"ROWS": 2, "BLOCK": 64}
    )
    var, mu = (v[..., 0] for v in torch.var_mean(x, -1, correction=0, keepdim=True))
    exact, floor = x.double(), ulps(40**2)  # μ is a sum of 40 numbers, and σ another one upon it
    precise(seen["args"][4], exact.mean(-1), mu, "mean must hold the μ of every token", floor)
    r, r_exact = (var + EPS).rsqrt(), (exact.var(-1, correction=0) + EPS).rsqrt()
    precise(
        seen["args"][5], r_exact, r, "inverse_std must hold the 1/σ of every token", ulps(40**2)
    )


@forward
def test_large_and_small_tokens(student, generator):
    """correct: tokens of 1e-5 or 1e6 are divided by their σ; scale and shift may be large too"""
    x, scale, shift = example(generator, 1, 3, 40)
    x = x * torch.tensor([1e-5, 1e6, 1.0])[:, None]
    on(student, x).correct(x, 1e4 * scale, 1e4 * shift)


@forward
def test_more_examples_than_32_bits_can_count(student, generator):
    """correct: in an example that begins beyond element 2³¹ places are still right"""
    x, scale, shift = example(generator, 1, 4, 40)
    n, empty = 2**31 // 40 + 99, [torch.full(s, 7.0) for s in (x.shape, (1, 4), (1, 4))]
    given, name = [x, scale, shift, *empty], "kernels.adaln.kernel"
    where = {"programs": [[n, 0]], "begins": [n * t.numel() for t in given]}
    says = f"example {n} begins beyond element 2³¹: the result is wrong"
    constants, sizes = {"ROWS": 4, "BLOCK": 64}, [4, 40, EPS]
    came = left(student, name, [n + 1, 1], [*given, *sizes], constants, says, **where)
    on(student, x).exact.judge_results(came[3:4], [x, scale, shift], {}, says)


@forward
def test_safe(student, generator):
    """safe: every access is inside, and no two programs meet"""
    args = example(generator, 2, 5, 600)
    on(student, args[0]).safe(*args)


@forward
def test_lean(student, generator):
    """lean: tokens are read once and written once, scale and shift once for many tokens"""
    args = example(generator, 2, 16, 256)
    least = nbytes([*args, args[0]]) + 2 * 4 * 2 * 16  # μ and 1/σ are written too
    on(student, args[0]).lean(NORM, *args, least=least)


# --- kernels.adaln.backward_kernel --------------------------------------------------------------


def normal(generator):
    """Makes random gradients of a result."""
    return lambda out: torch.randn(out.shape, generator=generator)


def in_chunks(student, x, scale, upstream, chunk, rows, block):
    """What a launch without the wrapper leaves, in chunks of tokens, and what should be there."""
    batch, T, D = x.shape
    chunks = -(-T // chunk)
    var, mean = torch.var_mean(x.float(), -1, correction=0)
    r = (var + EPS).rsqrt()
    empty = [torch.full((batch, chunks, D), float("nan")) for _ in range(2)]
    given = [x, scale, mean, r, upstream, torch.full_like(x, float("nan")), *empty]
    constants = {"CHUNK": chunk, "ROWS": rows, "BLOCK": block}
    kernel = student.function("kernels.adaln.backward_kernel")
    grid = [batch, chunks]
    seen = student.instruments.observe.launch(kernel, grid, [*given, T, D], constants)
    x_hat = (x.double() - mean[..., None]) * r[..., None]
    g = upstream.double() * (1 + scale[:, None].double())
    along = (g * x_hat).mean(-1, keepdim=True)
    d_x = (g - g.mean(-1, keepdim=True) - x_hat * along) * r[..., None]
    parts = upstream * x_hat, upstream.double()
    sums = [torch.stack([p.sum(1) for p in part.split(chunk, 1)], 1) for part in parts]
    return seen["args"][5:8], (d_x, *sums), seen["moved"] / nbytes(given)


def judge_chunks(found, exact):
    says = "the gradient of x is wrong where a program does several tiles of tokens"
    precise(found[0], exact[0], exact[0].to(found[0].dtype), says, ulps(exact[0].shape[-1]))
    for got, truth, name in zip(found[1:], exact[1:], ("d_scale", "d_shift"), strict=True):
        says = f"{name} must hold the sum over each chunk of tokens, in float32"
        precise(got, truth, truth.float(), says, in_turn(16))


@backward
@pytest.mark.parametrize("D", [7, 1025])
def test_gradients(student, generator, D):
    """backward: of the tokens, of scale and of shift"""
    args = example(generator, 2, 3, D)
    on(student, args[0]).backward(*args, upstream=normal(generator))


@backward
def test_what_changes_nothing(student, generator):
    """backward: a token may be moved or stretched as a whole, so d_x has no part that does that"""
    x, scale, shift = example(generator, 2, 3, 40)
    upstream = torch.randn(2, 3, 40, generator=generator)
    wrapper = student.function("kernels.adaln.adaln")
    seen = student.instruments.observe.call(
        wrapper, [x, scale, shift], wrt=[0, 1, 2], upstream=[upstream]
    )
    d_x, off = seen["gradients"][0], x - x.mean(-1, keepdim=True)
    expect.tensor(d_x, x.shape, "the gradient of x")
    says = "a token plus a constant gives the same: the gradient must sum to 0 over a token"
    expect.close(d_x.mean(-1), torch.zeros(2, 3), says)
    says = "a token stretched about its mean gives the same: Σ d_x (x − μ) must be 0"
    expect.close((d_x * off).mean(-1), torch.zeros(2, 3), says)


@backward
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["float32", "float16"])
def test_chunks_of_several_tiles(student, generator, dtype):
    """backward: a program does CHUNK tokens, ROWS at a time, and leaves one sum for all of them"""
    x, scale, _ = example(generator, 2, 37, 40)
    upstream = 1 + torch.randn(2, 37, 40, generator=generator)
    args = x.to(dtype), scale.to(dtype), upstream.to(dtype)
    found, exact, _ = in_chunks(student, *args, chunk=16, rows=4, block=64)
    judge_chunks(found, exact)


@backward
def test_more_examples_than_32_bits_can_count_backward(student, generator):
    """backward: in an example that begins beyond element 2³¹ places are still right"""
    x, scale, shift = example(generator, 1, 4, 40)
    upstream, n = torch.randn(x.shape, generator=generator), 2**31 // 40 + 99
    var, mean = torch.var_mean(x, -1, correction=0)
    empty = [torch.full(s, 7.0) for s in (x.shape, (1, 1, 40), (1, 1, 40))]
    given, name = (
        [x, scale, mean, (var + EPS).rsqrt(), upstream, *empty],
        "kernels.adaln.backward_kernel",
    )
    where = {"programs": [[n, 0]], "begins": [n * t.numel() for t in given]}
    says = f"example {n} begins beyond element 2³¹: the gradients are wrong"
    constants = {"CHUNK": 4, "ROWS": 2, "BLOCK": 64}
    came = left(student, name, [n + 1, 1], [*given, 4, 40], constants, says, **where)
    got = [came[5], came[6][:, 0], came[7][:, 0]]
    on(student, x).exact.judge_gradients(got, [x, scale, shift], [upstream], {}, says)


@backward
def test_safe_backward(student, generator):
    """safe: every access is inside, and no two programs meet"""
    args = example(generator, 2, 5, 600)
    on(student, args[0]).safe(*args, gradient=True)


@backward
def test_lean_backward(student, generator):
    """lean: tokens and upstream are read once, d_x is written once"""
    x, scale, _ = example(generator, 2, 32, 100)
    upstream = torch.randn(2, 32, 100, generator=generator)
    found, exact, ratio = in_chunks(student, x, scale, upstream, chunk=16, rows=8, block=128)
    judge_chunks(found, exact)
    says = f"your kernel moves {ratio:.2f} times the least traffic"
    expect.true(ratio <= NORM, says, f"{ratio:.2f}", f"at most {NORM:g}")
