"""Hidden grader of chapter 14, kernels.adaln: held to closed forms, to float64, and to what the
instruments see."""

import pytest
import torch
import torch.nn.functional as F

from cs231n_gen.checking import draws, expect
from cs231n_gen.checking.kernels.by_hand import left
from cs231n_gen.checking.kernels.reference import in_turn, ulps
from cs231n_gen.checking.kernels.stages import DTYPES, NORM, SIZES, Exact, Stages, checked, nbytes

EPS = 1e-6  # that of the wrapper


forward = pytest.mark.exercise("kernels.adaln.kernel")
backward = pytest.mark.exercise("kernels.adaln.backward_kernel")


def reference(x, scale, shift):
    scale, shift = scale.to(x.dtype)[:, None], shift.to(x.dtype)[:, None]
    return F.layer_norm(x, x.shape[-1:], eps=EPS) * (1 + scale) + shift


def on(student, x):
    """A result holds two sums over the D numbers of a token, one upon the other: μ and σ. Gradients
    of scale and shift are sums over T tokens, the former of x̂."""
    _, T, D = x.shape
    sums = {0: D**2, "x": D, "scale": T * D, "shift": T}
    return Stages(student, "kernels.adaln.adaln", Exact(reference, wrt=(0, 1, 2), sums=sums))


def example(generator, batch, T, D, dtype=torch.float32):
    """Tokens that are neither centred nor of variance 1, each of its own; μ is not far beyond σ,
    or its last digit would be felt in x̂."""
    centre = 0.5 + torch.rand(batch, T, 1, generator=generator)
    spread = 1.5 + torch.rand(batch, T, 1, generator=generator)
    x = centre + spread * torch.randn(batch, T, D, generator=generator)
    scale, shift = (torch.randn(batch, D, generator=generator) for _ in range(2))
    return x.to(dtype), scale.to(dtype), shift.to(dtype)


def result(student, *args):
    wrapper = student.function("kernels.adaln.adaln")
    seen = checked(student.instruments.observe.call(wrapper, [*args]))
    expect.true(len(seen["results"]) == 1, "one result must come", len(seen["results"]), 1)
    return seen["results"][0]


def launched(student, name, grid, given, constants):
    """The arguments of a kernel as a launch without the wrapper left them, and the bytes moved."""
    kernel = student.function(f"kernels.adaln.{name}")
    seen = student.instruments.observe.launch(kernel, [*grid], [*given], constants)
    good = isinstance(seen, dict) and isinstance(seen.get("args"), list)
    good = good and len(seen["args"]) == len(given) and type(seen.get("moved")) is int
    expect.true(good, "the instruments were tampered with")
    return seen["args"], seen["moved"]


def unwritten(*shape, dtype=torch.float32):
    return torch.full(shape, float("nan"), dtype=dtype)


def moments(x, eps):
    """μ and 1/σ of every token."""
    var, mu = torch.var_mean(x, -1, correction=0)
    return mu, (var + eps).rsqrt()


def up(x):
    """Numbers in float32, or in float64 if they are."""
    return x if x.dtype == torch.float64 else x.float()


def kept(x, scale, shift, eps):
    """out, μ and 1/σ of every token, calculated in float32 or float64."""
    mu, r = moments(up(x), eps)
    normal = (up(x) - mu[..., None]) * r[..., None]
    out = normal * (1 + up(scale)[:, None]) + up(shift)[:, None]
    return out.to(x.dtype), mu, r


# μ is a sum of D numbers, here up to 128, and σ another one upon it.
KEPT, NAMES = Exact(kept, floors=dict.fromkeys(range(3), ulps(128**2))), ("out", "mean", "1/σ")


# --- kernels.adaln.kernel -----------------------------------------------------------------------


@forward(weight=3)
def test_every_dim(student, generator):
    """correct: for tokens of 1, 7, 1023, 1024, 1025 and some other number of numbers"""
    for D in (*SIZES, draws.whole(generator, 20, 300)):
        args = example(generator, 2, 3, D)
        on(student, args[0]).correct(*args)


@forward
def test_every_number_of_tokens(student, generator):
    """correct: for examples of 1, 7, 31, 32, 33 tokens, where a program does up to 32"""
    for T in (1, 7, 31, 32, 33):
        args = example(generator, 2, T, draws.whole(generator, 65, 128))
        on(student, args[0]).correct(*args)


@forward
def test_every_dtype(student, generator):
    """correct: in float32, float16 and bfloat16, also beside a scale and shift in float32"""
    for dtype in DTYPES:
        x, scale, shift = example(generator, 2, 5, draws.whole(generator, 200, 500))
        on(student, x).correct(x.to(dtype), scale.to(dtype), shift.to(dtype))
        if dtype != torch.float32:
            on(student, x).correct(x.to(dtype), scale, shift)


@forward
def test_any_layout(student, generator):
    """correct: for strided, transposed and expanded tensors too"""
    for layout in ("strided", "transposed", "expanded"):
        args = example(generator, 3, 5, 36)
        on(student, args[0]).correct(*args, layout=layout)


@forward
def test_two_numbers(student, generator):
    """correct: a token of two numbers m ± h becomes ± h / √(h² + ε)"""
    h = torch.randint(1, 9, (5, 1), generator=generator) / 4096  # around √ε
    m = torch.randint(-4, 5, (5, 1), generator=generator) / 4  # m ± h is exact in float32
    _, scale, shift = example(generator, 1, 1, 2)
    out = result(student, torch.cat([m + h, m - h], 1)[None], scale, shift)
    share = h / (h.square() + EPS).sqrt()
    want = torch.cat([share, -share], 1) * (1 + scale) + shift
    says = "ε is added to the variance, under the root"
    expect.close(out, want[None], says, atol=2e-5, rtol=2e-5)


@forward
def test_where_only_the_shift_is_left(student, generator):
    """correct: equal numbers become the shift, as everything does where scale is −1"""
    x, scale, shift = example(generator, 2, 3, 64)
    same = torch.randint(-9, 10, (2, 3, 1), generator=generator).float()  # every sum is exact
    want = shift[:, None].expand(2, 3, 64)
    says = "without a variance nothing is left but the shift"
    expect.close(result(student, same.expand(2, 3, 64), scale, shift), want, says)
    says = "where 1 + scale is 0, nothing is left but the shift"
    expect.close(result(student, x, -torch.ones(2, 64), shift), want, says)


@forward
def test_the_mean_does_not_matter(student, generator):
    """correct: tokens around 1024 give what they give around 0, as exactly as in torch"""
    _, scale, shift = example(generator, 2, 3, 512)
    steps = torch.randint(-16, 17, (2, 3, 512), generator=generator) / 8
    on(student, steps).correct(1024 + steps, scale, shift)  # every sum of these is exact
    far, near = (result(student, x, scale, shift) for x in (1024 + steps, steps))
    expect.close(far, near, "the same tokens around another mean give something else")


@forward(weight=2)
def test_what_is_kept(student, generator):
    """correct: μ and 1/σ of every token are stored, for any ε, ROWS and BLOCK"""
    T, D = draws.whole(generator, 5, 12), draws.whole(generator, 65, 128)
    eps = 0.25 + float(torch.rand(1, generator=generator))
    for dtype, rows, block in zip(DTYPES, (4, 2, 16), (128, 256, 128), strict=True):
        x, scale, shift = example(generator, 2, T, D, dtype)
        empty = unwritten(2, T, D, dtype=dtype), unwritten(2, T), unwritten(2, T)
        given = [x, scale, shift, *empty, T, D, eps]
        constants = {"ROWS": rows, "BLOCK": block}
        came, _ = launched(student, "kernel", [2, -(-T // rows)], given, constants)
        says = "what is stored is wrong for another ε, ROWS or BLOCK"
        KEPT.judge_results(came[3:6], [x, scale, shift], {"eps": eps}, says, NAMES)


@forward
def test_styles_of_other_dtypes(student, generator):
    """correct: scale and shift may have dtypes of their own, the digits of which count"""
    for dtypes in (
        (torch.bfloat16, torch.float32, torch.float16),
        (torch.float16, torch.bfloat16, torch.float32),
        (torch.float32, torch.float16, torch.bfloat16),
    ):
        args = [a.to(d) for a, d in zip(example(generator, 2, 3, 40), dtypes, strict=True)]
        on(student, args[0]).correct(*args)


@forward
def test_large_and_small_tokens(student, generator):
    """correct: tokens of 1e-5 or 1e6 are divided by their σ; scale and shift may be large too"""
    x, scale, shift = example(generator, 2, 3, 40)
    x = x * torch.tensor([1e-5, 1e6, 1.0])[:, None]
    for size in (1.0, 1e4):
        on(student, x).correct(x, size * scale, size * shift)


@forward
def test_a_mean_of_1000(student, generator):
    """correct: μ and σ of tokens around 1000 are as exact as in torch, in half precision too"""
    for dtype in DTYPES:
        x, scale, shift = example(generator, 2, 3, 100)
        x = (1000 + (4 if dtype == torch.float32 else 100) * x).to(dtype)
        given = [x, scale, shift, unwritten(2, 3, 100, dtype=dtype), unwritten(2, 3)]
        given = [*given, unwritten(2, 3), 3, 100, EPS]
        came, _ = launched(student, "kernel", [2, 1], given, {"ROWS": 4, "BLOCK": 128})
        says = "a mean of 1000 spoils what is stored"
        KEPT.judge_results(came[3:6], [x, scale, shift], {"eps": EPS}, says, NAMES)


@forward
def test_more_examples_than_32_bits_can_count(student, generator):
    """correct: in an example that begins beyond element 2³¹ places are still right"""
    T, D = 50, 40
    x, scale, shift = example(generator, 1, T, D)
    n = 2**31 // D + draws.whole(generator, 9, 10**6)
    given = [x, scale, shift, unwritten(1, T, D), unwritten(1, T), unwritten(1, T), T, D, EPS]
    begins, constants = [n * t.numel() for t in given[:6]], {"ROWS": 32, "BLOCK": 64}
    where = {"programs": [[n, 0], [n, 1]], "begins": begins}
    says = f"example {n} begins beyond element 2³¹: what is stored is wrong"
    came = left(student, "kernels.adaln.kernel", [n + 9, 2], given, constants, says, **where)
    KEPT.judge_results(came[3:6], [x, scale, shift], {"eps": EPS}, says, NAMES)


@forward(weight=2)
def test_safe(student, generator):
    """safe: nothing outside of the tensors is touched, and no two programs meet"""
    args = example(generator, 2, draws.whole(generator, 9, 16), draws.whole(generator, 300, 500))
    on(student, args[0]).safe(*args)


@forward
def test_honest(student, generator):
    """honest: the kernel does the work, all of it, every time"""
    first, second = (example(generator, 2, 16, 40) for _ in range(2))
    on(student, first[0]).honest(first, second)


@forward
def test_lean(student, generator):
    """lean: tokens are read once and written once, scale and shift once for many tokens"""
    args = example(generator, 2, 16, draws.whole(generator, 150, 257))
    least = nbytes([*args, args[0]]) + 2 * 4 * 2 * 16  # μ and 1/σ are written too
    on(student, args[0]).lean(NORM, *args, least=least)


@forward
def test_compiles(student, generator):
    """compiles: for an H100, with loads of 128 bits and without spills"""
    small, large = example(generator, 2, 3, 32), example(generator, 2, 16, 1024)
    on(student, small[0]).compiles(small, large)


# --- kernels.adaln.backward_kernel --------------------------------------------------------------


def around(generator):
    """Makes random gradients of a result; they are around 1.5, so that sums do not cancel."""
    return lambda out: (1.5 + 0.5 * torch.randn(out.shape, generator=generator)).to(out.dtype)


def gradients(student, args, upstream):
    wrapper = student.function("kernels.adaln.adaln")
    call = student.instruments.observe.call
    seen = checked(call(wrapper, [*args], wrt=[0, 1, 2], upstream=[upstream]))
    came = seen["gradients"]
    expect.true(len(came) == 3, "three gradients must come", len(came), 3)
    names = "the gradient of x", "the gradient of scale", "the gradient of shift"
    return [expect.tensor(g, a.shape, n) for g, a, n in zip(came, args, names, strict=True)]


def chunks_of(x, scale, mean, r, upstream, chunk):
    """d_x, and the sums of d_scale and d_shift over each chunk of tokens."""
    x_hat = (up(x) - mean[..., None]) * r[..., None]
    g = up(upstream) * (1 + up(scale)[:, None])
    along = (g * x_hat).mean(-1, keepdim=True)
    d_x = (g - g.mean(-1, keepdim=True) - x_hat * along) * r[..., None]
    sums = (p.split(chunk, 1) for p in (up(upstream) * x_hat, up(upstream)))
    return d_x.to(x.dtype), *(torch.stack([p.sum(1) for p in part], 1) for part in sums)


def judge_chunks(got, args, chunk, what):
    """Hold what a launch left to the formula; sums over tokens may be added in turn."""
    floors = {0: ulps(args[0].shape[-1]), 1: in_turn(chunk), 2: in_turn(chunk)}
    says = f"what is stored is wrong, or not the sum over each chunk in float32, for {what}"
    names = ("d_x", "d_scale", "d_shift")
    Exact(chunks_of, floors=floors).judge_results(got, args, {"chunk": chunk}, says, names)


def in_chunks(student, x, scale, upstream, chunk, rows, block, eps=EPS):
    """Hold a launch without the wrapper, in chunks of tokens, to the formula in float64.

    Returns:
        The bytes it moved, in units of the least.
    """
    batch, T, D = x.shape
    chunks = -(-T // chunk)
    mean, r = moments(x.float(), eps)
    empty = unwritten(batch, T, D, dtype=x.dtype), *(unwritten(batch, chunks, D) for _ in "12")
    given = [x, scale, mean, r, upstream, *empty]
    constants = {"CHUNK": chunk, "ROWS": rows, "BLOCK": block}
    came, moved = launched(student, "backward_kernel", [batch, chunks], [*given, T, D], constants)
    judge_chunks(came[5:8], given[:5], chunk, f"{T} tokens, CHUNK = {chunk}, ROWS = {rows}")
    return moved / nbytes(given)


def with_upstream(generator, batch, T, D, dtype=torch.float32):
    """Tokens, scale, and an upstream gradient whose mean over the tokens is not 0."""
    x, scale, _ = example(generator, batch, T, D, dtype)
    upstream = 1 + torch.randn(batch, T, D, generator=generator)
    return x, scale, upstream.to(dtype)


@backward(weight=2)
def test_gradients_of_every_dim(student, generator):
    """backward: for tokens of 1, 7, 1023, 1024, 1025 numbers"""
    for D in SIZES:
        args = example(generator, 2, 3, D)
        on(student, args[0]).backward(*args, upstream=around(generator))


@backward(weight=3)
def test_chunks(student, generator):
    """backward: for any number of tokens, in chunks of one or several tiles, which need not fit"""
    D = draws.whole(generator, 33, 60)
    for T, chunk, rows in ((1, 4, 4), (7, 8, 4), (31, 16, 8), (32, 16, 16), (33, 16, 8)):
        in_chunks(student, *with_upstream(generator, 2, T, D), chunk, rows, 64)


@backward(weight=2)
def test_chunks_in_half_precision(student, generator):
    """backward: the sums over a chunk are calculated and kept in float32"""
    T, D = draws.whole(generator, 65, 80), draws.whole(generator, 33, 60)
    for dtype in (torch.float16, torch.bfloat16):
        in_chunks(student, *with_upstream(generator, 1, T, D, dtype), 64, 16, 128)


@backward
def test_chunks_of_many_tiles(student, generator):
    """backward: a program does all tiles of its chunk, and there may be more chunks than needed"""
    in_chunks(student, *with_upstream(generator, 1, 21, 20), 32, 2, 32)
    x, scale, upstream = with_upstream(generator, 2, 7, 20)
    empty = unwritten(2, 7, 20), *(unwritten(2, 3, 20) for _ in "12")  # the third holds no token
    given = [x, scale, *moments(x, EPS), upstream, *empty]
    constants = {"CHUNK": 4, "ROWS": 2, "BLOCK": 32}
    came, _ = launched(student, "backward_kernel", [2, 3], [*given, 7, 20], constants)
    got = [came[5], *(part[:, :2] for part in came[6:8])]
    judge_chunks(got, given[:5], 4, "chunks of which one has no token")
    says = "a chunk without a token must leave sums of 0"
    for part in came[6:8]:
        expect.close(part[:, 2], torch.zeros(2, 20), says, atol=0, rtol=0)


@backward
def test_gradients_of_other_dtypes(student, generator):
    """backward: a scale in another precision than x keeps its digits"""
    for dtype, of_scale in ((torch.bfloat16, torch.float32), (torch.float16, torch.bfloat16)):
        x, scale, upstream = with_upstream(generator, 2, 9, 40)
        args = x.to(dtype), scale.to(of_scale), upstream.to(dtype)
        in_chunks(student, *args, 4, 2, 64)


@backward
def test_large_gradients(student, generator):
    """backward: what comes back may be large, and scale far from 0 or next to −1"""
    x, scale, upstream = with_upstream(generator, 2, 9, 40)
    scale = torch.stack([1e4 * scale[0], -1 + 1e-3 * scale[1]])
    x = torch.cat([1e-5 * x[:, :3], 1e3 + x[:, 3:6], x[:, 6:]], 1)
    for size in (1.0, 1e5):
        in_chunks(student, x, scale, size * upstream, 4, 2, 64)


@backward
def test_a_level_that_comes_back(student, generator):
    """backward: the mean of what comes back is taken away in float32, before all rounding"""
    for dtype in (torch.float16, torch.bfloat16):
        x, scale, upstream = with_upstream(generator, 1, 5, 40)
        in_chunks(student, x.to(dtype), 0 * scale, (400 + upstream).to(dtype), 8, 4, 64)


@backward
def test_more_examples_than_32_bits_can_count_backward(student, generator):
    """backward: in an example that begins beyond element 2³¹ places are still right"""
    T, D = 50, 40
    x, scale, upstream = with_upstream(generator, 1, T, D)
    n = 2**31 // D + draws.whole(generator, 9, 10**6)
    empty = unwritten(1, T, D), *(unwritten(1, 2, D) for _ in "12")
    given = [x, scale, *moments(x, EPS), upstream, *empty]
    begins, constants = [n * t.numel() for t in given], {"CHUNK": 32, "ROWS": 16, "BLOCK": 64}
    where = {"programs": [[n, 0], [n, 1]], "begins": begins}
    says, name = f"example {n} begins beyond element 2³¹", "kernels.adaln.backward_kernel"
    came = left(student, name, [n + 9, 2], [*given, T, D], constants, says, **where)
    judge_chunks(came[5:8], given[:5], 32, says)


@backward
def test_gradients_in_every_dtype(student, generator):
    """backward: in float32, float16 and bfloat16, also beside a scale and shift in float32"""
    for dtype in DTYPES:
        x, scale, shift = example(generator, 2, 5, draws.whole(generator, 200, 500))
        upstream = around(generator)
        on(student, x).backward(x.to(dtype), scale.to(dtype), shift.to(dtype), upstream=upstream)
        if dtype != torch.float32:
            on(student, x).backward(x.to(dtype), scale, shift, upstream=upstream)


@backward
def test_gradients_in_any_layout(student, generator):
    """backward: for strided, transposed and expanded tensors and upstream gradients too"""
    for layout in ("strided", "transposed", "expanded"):
        args = example(generator, 3, 5, 36)
        on(student, args[0]).backward(*args, upstream=around(generator), layout=layout)


@backward
def test_what_changes_nothing(student, generator):
    """backward: a token may be moved or stretched as a whole, so d_x has no part that does that"""
    args = example(generator, 2, 3, draws.whole(generator, 30, 60))
    x, flat = args[0], torch.zeros(2, 3)
    d_x, *_ = gradients(student, args, around(generator)(x))
    says = "a token plus a constant gives the same: the gradient must sum to 0 over a token"
    expect.close(d_x.mean(-1), flat, says, atol=2e-5, rtol=2e-5)
    says = "a token stretched about its mean gives the same: Σ d_x (x − μ) must be 0"
    off = x - x.mean(-1, keepdim=True)
    expect.close((d_x * off).mean(-1), flat, says, atol=1e-4, rtol=1e-4)


@backward
def test_limits(student, generator):
    """backward: nothing reaches x where scale is −1, nor where upstream is 1 and scale 0"""
    D = draws.whole(generator, 30, 60)
    x, _, shift = example(generator, 2, 5, D)
    x_hat = F.layer_norm(x.double(), [D], eps=EPS)
    d_x, d_scale, d_shift = gradients(student, [x, -torch.ones(2, D), shift], torch.ones_like(x))
    says = "where 1 + scale is 0 the result does not depend on x"
    expect.close(d_x, torch.zeros_like(x), says)
    says = "of equal upstream gradients, scale gets the sum of all x̂"
    expect.close(d_scale, x_hat.sum(1), says, atol=1e-4, rtol=1e-4)
    expect.close(d_shift, torch.full((2, D), 5.0), "shift gets one upstream gradient a token")
    d_x, *_ = gradients(student, [x, torch.zeros(2, D), shift], torch.ones_like(x))
    says = "the sum of a normalised token is 0, whatever x is"
    expect.close(d_x, torch.zeros_like(x), says, atol=2e-5, rtol=2e-5)


@backward(weight=2)
def test_safe_backward(student, generator):
    """safe: nothing outside of the tensors is touched, and no two programs meet"""
    args = example(generator, 2, draws.whole(generator, 9, 16), draws.whole(generator, 300, 500))
    on(student, args[0]).safe(*args, gradient=True)


@backward
def test_honest_backward(student, generator):
    """honest: the kernels do the work, all of it, every time"""
    first, second = (example(generator, 2, 16, 40) for _ in range(2))
    on(student, first[0]).honest(first, second, gradient=True)


@backward
def test_lean_backward(student, generator):
    """lean: tokens and upstream are read once, d_x is written once, and one sum a chunk"""
    args = with_upstream(generator, 2, 32, draws.whole(generator, 90, 129))
    ratio = in_chunks(student, *args, 16, 8, 128)
    says = f"your kernel moves {ratio:.2f} times the least traffic"
    expect.true(0.99 <= ratio <= NORM, says, f"{ratio:.2f}", f"at most {NORM:g}")


@backward
def test_compiles_backward(student, generator):
    """compiles: for an H100, with loads of 128 bits and without spills"""
    small, large = example(generator, 2, 3, 32), example(generator, 2, 16, 1024)
    on(student, small[0]).compiles(small, large, gradient=True)
