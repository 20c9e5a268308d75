"""Hidden grader of chapter 14, kernels.adain: theory first, then against float64, and as the
instruments see it."""

import pytest
import torch

from cs231n_gen.checking import draws, expect
from cs231n_gen.checking.kernels.by_hand import left
from cs231n_gen.checking.kernels.reference import ulps
from cs231n_gen.checking.kernels.stages import DTYPES, NORM, Exact, Stages, in_words, nbytes
from cs231n_gen.instruments.error_budget import wide

EPS = 1e-5
SIZES = ((1, 1), (1, 7), (31, 33), (32, 32), (25, 41))  # 1, 7, 1023, 1024 and 1025 numbers
LAYOUTS = ("strided", "transposed", "expanded")
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


class Uneven(Stages):
    """Stages that send back the square of the result, not ones, where the gradients only have to be
    right before something else is judged: of ones a norm leaves 0, and all that comes is rounding.
    """

    def _right(self, args, options, gradient, order=None):
        if not gradient:
            return super()._right(args, options, gradient, order)
        seeds = [o.square() for o in self.exact.ends(args, options)]
        seen = self._call(args, options, wrt=self.exact.wrt, upstream=seeds, order=order)
        says = "first the gradients must be right"
        self.exact.judge_gradients(seen["gradients"], args, seeds, options, says)
        return seen


def on(student, args):
    whole = args[0].dtype == torch.float32  # in half precision the last rounding is all that counts
    added = ROUNDINGS * args[0][0, 0].numel() if whole else 1
    exact = Exact(reference, (0, 1, 2), dict.fromkeys((0, "x", "scale", "bias"), added))
    return Uneven(student, "kernels.adain.adain", exact)


def inputs(generator, shape, dtype=torch.float32):
    shapes = (shape, shape[:2], shape[:2])
    return [torch.randn(s, generator=generator).to(dtype) for s in shapes]


def channels(height, width):
    """How many: of small ones some more, so that what they are judged by is not small by chance."""
    return 3 if height * width > 100 else 16


def called(student, args, upstream=None):
    """AdaIN as the student's kernels make it: the result, or the gradients of what is sent back."""
    wrapper = student.function("kernels.adain.adain")
    options = {} if upstream is None else {"wrt": [0, 1, 2], "upstream": [upstream]}
    seen = student.instruments.observe.call(wrapper, [*args], **options)
    expect.true(isinstance(seen, dict), "the instruments were tampered with")
    if upstream is None:
        return expect.tensor(seen["results"][0], args[0].shape)
    names = [f"the gradient of {name}" for name in ("x", "scale", "bias")]
    came, shapes = expect.unpack(seen["gradients"], names), [a.shape for a in args]
    return [expect.tensor(*three) for three in zip(came, shapes, names, strict=True)]


# --- the kernels alone: rows of numbers, with tiles of the grader's choice -----------------------


def rows_of(generator, rows, n, dtype=torch.float32):
    """Rows around 3, whose means are not 0 by chance; but the first is small, and ε matters."""
    x, scale, bias = (torch.randn(s, generator=generator) for s in ((rows, n), rows, rows))
    return [v.to(dtype) for v in (torch.cat([0.003 * x[:1], 3 + x[1:]]), scale, bias)]


def stored(x, scale, bias, eps=EPS):
    """out, μ and 1/σ of rows, calculated in float32 or float64."""
    X, w, b = (v if v.dtype == torch.float64 else v.float() for v in (x, scale, bias))
    mu, r = X.mean(1), (X.var(1, correction=0) + eps).rsqrt()
    out = w[:, None] * ((X - mu[:, None]) * r[:, None]) + b[:, None]
    return out.to(x.dtype), mu, r


def rows_back(generator, rows, n, dtype=torch.float32):
    """x, scale, μ, 1/σ and upstream, whose sums are not 0 by chance."""
    z, more = (torch.randn(rows, n, generator=generator) for _ in range(2))
    x, scale = (3 + 0.5 * z).to(dtype), torch.randn(rows, generator=generator).to(dtype)
    return [x, scale, *stored(x, scale, scale)[1:], (1 + z + more).to(dtype)]


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

# A style in float32 beside x in half precision has digits that x does not: they count.
STYLES = ((0, 0), (torch.float32, torch.float16), (torch.bfloat16, torch.float32))


def launched(student, kernel, args, block, tile=2, eps=EPS):
    """A kernel without its wrapper: what it stored, and what was seen."""
    rows, n = args[0].shape
    empty = [torch.full_like(t, float("nan")) for t in TRUTH[kernel](*args)]
    given = [*args, *empty, rows, n, *([eps] if kernel == "kernel" else [])]
    seen = student.instruments.observe.launch(
        student.function(f"kernels.adain.{kernel}"),
        [-(-rows // tile)],
        given,
        {"ROWS": tile, "BLOCK": block},
    )
    good = isinstance(seen, dict) and isinstance(seen.get("args"), list)
    expect.true(good and len(seen["args"]) == len(given), "the instruments were tampered with")
    return seen["args"][len(args) : len(args) + 3], seen


def right(student, kernel, args, block, tile=2, says=""):
    """Hold what a kernel stores to float64; returns what was seen."""
    got, seen = launched(student, kernel, args, block, tile)
    rows, n = args[0].shape
    says = says or f"for {rows} rows of {n} numbers, {block} of which a program has at hand,"
    exact = Exact(TRUTH[kernel], floors=dict.fromkeys(range(3), ulps(ROUNDINGS * n)))
    exact.judge_results(got, args, {}, f"{says} what is stored is wrong", NAMES[kernel])
    return seen


def far_away(student, kernel, args, block, first):
    """Hold a program to float64 whose first row has this number, a multiple of 2: the rows at hand
    are a window of a tensor that begins there."""
    rows, n = args[0].shape
    empty = [torch.full_like(t, float("nan")) for t in TRUTH[kernel](*args)]
    tensors = [*args, *empty]
    given = [*tensors, first + rows, n, *([EPS] if kernel == "kernel" else [])]
    begins = [first * n if t.dim() == 2 else first for t in tensors]
    says = f"row {first} begins beyond element 2³¹: what is stored is wrong"
    where = {"programs": [[first // 2]], "begins": begins}
    constants = {"ROWS": 2, "BLOCK": block}
    name = f"kernels.adain.{kernel}"
    came = left(student, name, [first // 2 + 1], given, constants, says, **where)
    exact = Exact(TRUTH[kernel], floors=dict.fromkeys(range(3), ulps(ROUNDINGS * n)))
    exact.judge_results(came[len(args) :], args, {}, says, NAMES[kernel])


def beyond(generator, n):
    """The number of a row of n, even, whose first number is beyond 2³¹."""
    return 2 * (2**30 // n + draws.whole(generator, 9, 10**6))


def safe(student, kernel, args, block):
    """No access outside, and no race."""
    seen = right(student, kernel, args, block, says="first all must be right:")
    expect.true(not seen["faults"], in_words(seen["faults"]))


def lean(student, kernel, args, block):
    """Rows longer than a block are read twice from there on, everything else moves once."""
    seen = right(student, kernel, args, block, says="first all must be right:")
    again = [t[:, block:] for t in args if t.dim() == 2]
    least = nbytes([*args, *again, *TRUTH[kernel](*args)])
    ratio = seen["moved"] / least
    says = f"your kernel moves {ratio:.2f} times the least traffic, which is {least} bytes"
    expect.true(0.99 <= ratio <= NORM, says, f"{ratio:.2f}", f"at most {NORM:g}")


# --- kernel -------------------------------------------------------------------------------------


@forward(weight=2)
def test_the_style_decides_mean_and_spread(student, generator):
    """correct: each channel leaves with mean b and spread |w|, ε apart"""
    x, scale, bias = inputs(generator, (2, 3, 12, 13))
    x = torch.randn(3, 1, 1, generator=generator) + torch.tensor([3, 1, 0.01])[:, None, None] * x
    out = called(student, [x, scale, bias])
    says = "the mean of a channel must be its bias"
    expect.close(out.mean((2, 3)), bias, says, atol=1e-4, rtol=1e-4, what="the mean")
    variance = x.double().var((2, 3), correction=0)
    spread = scale.abs() * (variance / (variance + EPS)).sqrt()
    says = "the spread of a channel must be its scale without the sign, times √(v / (v + ε))"
    expect.close(
        out.double().std((2, 3), correction=0),
        spread,
        says,
        atol=1e-4,
        rtol=1e-4,
        what="the spread",
    )


@forward
def test_what_a_channel_was_does_not_matter(student, generator):
    """correct: x and a x + c give the same, −x that of −w; its own style gives x back"""
    x, scale, bias = inputs(generator, (2, 3, 9, 10))
    out = called(student, [x, scale, bias])
    a, c = (torch.rand(2, 3, 1, 1, generator=generator) for _ in range(2))
    says = "level and size of a channel must not matter: x and a x + c are the same in style"
    close = {"atol": 2e-4, "rtol": 2e-4}  # ε is 1e-5 of the variance, at c = 20 an ulp is 2e-6
    expect.close(called(student, [(1 + a) * x + 20 * c, scale, bias]), out, says, **close)
    says = "−x with w must be x with −w"
    expect.close(called(student, [-x, scale, bias]), called(student, [x, -scale, bias]), says)
    mu, sigma = x.mean((2, 3)), x.std((2, 3), correction=0)
    says = "with its own spread as scale, and its own mean as bias, x must stay as it is"
    expect.close(called(student, [x, sigma, mu]), x, says, atol=1e-4, rtol=1e-4)


@forward
def test_what_does_not_vary_becomes_the_bias(student, generator):
    """correct: a channel of one number, or of equal ones, becomes the bias"""
    for size in ((1, 1), (8, 8)):
        x, scale, bias = inputs(generator, (3, 4, *size))
        x = x[..., :1, :1].mul(8).round().expand_as(x).contiguous()  # whose mean is exact
        want = bias[..., None, None].expand_as(x)
        says = "where all numbers of a channel are equal, ε alone is in the root: b must be left"
        expect.close(called(student, [x, scale, bias]), want, says, atol=2e-3, rtol=0)


@forward(weight=3)
def test_every_size(student, generator):
    """correct: for channels of 1, 7, 1023, 1024, 1025 and other numbers"""
    for size in SIZES:
        args = inputs(generator, (1, channels(*size), *size))
        on(student, args).correct(*args)
    more = draws.whole(generator, 3, 20), draws.whole(generator, 3, 20)
    args = inputs(generator, (draws.whole(generator, 2, 5), 7, *more))
    on(student, args).correct(*args)


@forward
def test_every_dtype(student, generator):
    """correct: in float32, float16 and bfloat16, as exact as torch; a style may have its own"""
    for dtype in DTYPES:
        x, scale, bias = inputs(generator, (2, 3, 9, 11))
        for w, b in STYLES:
            args = x.to(dtype), scale.to(w or dtype), bias.to(b or dtype)
            on(student, args).correct(*args)


@forward
def test_another_eps(student, generator):
    """correct: ε is the argument; a row of equal numbers has σ = √ε and becomes its bias"""
    x, scale, bias = rows_of(generator, 3, 40)
    x[2], eps = 0.5, 0.1 + float(torch.rand(1, generator=generator))
    for block in (64, 32):
        got, _ = launched(student, "kernel", [x, scale, bias], block, tile=4, eps=eps)
        exact = Exact(stored, floors=dict.fromkeys(range(3), ulps(ROUNDINGS * 40)))
        says = f"with ε = {eps:.3g} what is stored is wrong"
        exact.judge_results(got, [x, scale, bias], {"eps": eps}, says, NAMES["kernel"])


@forward
def test_half_precision_is_rounded_once(student, generator):
    """correct: long rows in half precision are calculated in float32, and rounded where stored"""
    for dtype in DTYPES[1:]:
        x, scale, bias = rows_of(generator, 3, draws.whole(generator, 65, 95))
        right(student, "kernel", [x.to(dtype), scale, bias], 32, tile=4)


@forward
def test_more_rows_than_32_bits_can_count(student, generator):
    """correct: in a row that begins beyond element 2³¹ places are still right"""
    for rows, n, block in ((2, 50, 64), (1, 50, 32)):
        args, first = rows_of(generator, 2, n), beyond(generator, n)
        far_away(student, "kernel", [a[:rows] for a in args], block, first)


@forward
def test_large_and_small_rows(student, generator):
    """correct: rows of any size, 1e-6 or 1e6, are divided by their σ; w and b may be large too"""
    x, scale, bias = rows_of(generator, 4, 40)
    x *= torch.tensor([1.0, 1e-5, 1e6, 1e3])[:, None]
    for size in (1.0, 1e4):
        right(student, "kernel", [x, size * scale, size * bias], 64, tile=4)


@forward
def test_any_layout(student, generator):
    """correct: for strided, transposed and expanded tensors too"""
    for layout in LAYOUTS:
        args = inputs(generator, (2, 3, 8, 9))
        on(student, args).correct(*args, layout=layout)


@forward
def test_a_channel_of_8281_numbers(student, generator):
    """correct: for channels that the wrapper does in two blocks"""
    args = inputs(generator, (1, 2, 91, 91))
    on(student, args).correct(*args)


@forward(weight=2)
def test_statistics(student, generator):
    """correct: μ and 1/σ of each row are stored for the backward pass, in float32"""
    for dtype in DTYPES:
        args = rows_of(generator, 5, draws.whole(generator, 40, 64), dtype)
        right(student, "kernel", args, 64, tile=4)


@forward(weight=3)
def test_long_rows(student, generator):
    """correct: rows longer than BLOCK, by any number, the blocks of which have their own means"""
    for n in (32, 33, 64, draws.whole(generator, 65, 120)):
        args = rows_of(generator, 3, n)
        args[0] += torch.arange(n) // 10
        right(student, "kernel", args, 32, tile=4)


@forward
def test_a_large_mean(student, generator):
    """correct: a large mean does no harm to the variance, in one block or in several"""
    x, scale, bias = rows_of(generator, 3, 120)
    x[0] = x[1].flip(0)
    args = [1000 + 0.3 * x, scale, bias]
    for block in (128, 32):
        (out, mu, r), _ = launched(student, "kernel", args, block, tile=4)
        want = stored(*wide(args))
        says = "a mean of 1000 must not spoil {}: subtract it before you square"
        expect.close(mu, want[1], says.format("itself"), rtol=1e-6, atol=0, what="μ")
        expect.close(r, want[2], says.format("1/σ"), rtol=1e-3, atol=0, what="1/σ")
        # μ may be off by some of its ulps, each 6e-5: 2e-4 of σ, times w
        expect.close(out, want[0], says.format("the result"), rtol=0, atol=1e-2)


@forward
def test_safe(student, generator):
    """safe: nothing outside of the tensors is touched, and no two programs meet"""
    args = inputs(generator, (5, 7, 6, draws.whole(generator, 6, 11)))
    on(student, args).safe(*args)


@forward
def test_safe_where_a_row_is_long(student, generator):
    """safe: in the blocks of a long row as well"""
    safe(student, "kernel", rows_of(generator, 5, draws.whole(generator, 65, 95)), 32)


@forward
def test_honest(student, generator):
    """honest: the kernel does the work, all of it, every time"""
    args, others = (inputs(generator, (2, 3, 16, 16)) for _ in range(2))
    on(student, args).honest(args, others)


@forward
def test_lean(student, generator):
    """lean: x is read once, the result is written once"""
    args = inputs(generator, (1, 3, 20, draws.whole(generator, 15, 30)))
    on(student, args).lean(NORM, *args)


@forward
def test_lean_where_a_row_is_long(student, generator):
    """lean: of a long row the first BLOCK numbers are read once, the others twice"""
    lean(student, "kernel", rows_of(generator, 2, draws.whole(generator, 500, 600)), 64)


@forward
def test_compiles(student, generator):
    """compiles: for an H100, with loads of 128 bits and without spills"""
    args, large = (inputs(generator, s) for s in ((1, 2, 8, 8), (2, 16, 32, 32)))
    on(student, args).compiles(args, large)


# --- backward_kernel ----------------------------------------------------------------------------


@backward(weight=2)
def test_what_a_norm_does_not_see_gets_no_gradient(student, generator):
    """backward: neither the level of x does, nor its size; a level that comes back moves b alone"""
    x, scale, bias = inputs(generator, (2, 3, 9, 10))
    x[:, 0] *= 0.003  # so that ε matters
    upstream = x / x.std((2, 3), keepdim=True) + torch.randn(x.shape, generator=generator)
    d_x, d_scale, _ = called(student, [x, scale, bias], upstream)
    says = "out does not change with the level of a channel: its d_x must add up to 0"
    total = d_x.sum((2, 3)) / d_x.abs().amax((2, 3)).clamp_min(1e-9)
    expect.close(total, torch.zeros(2, 3), says, atol=1e-3, rtol=0, what="Σ d_x / max |d_x|")
    X = x.double() - x.double().mean((2, 3), keepdim=True)
    says = "out changes with the size of a channel by ε alone: Σ d_x (x − μ) = w d_w ε / σ²"
    want = scale * d_scale * EPS / (X.square().mean((2, 3)) + EPS)
    expect.close((d_x * X).sum((2, 3)), want, says, atol=1e-2, rtol=1e-3)
    level = torch.randn(2, 3, 1, 1, generator=generator).expand_as(x).contiguous()
    d_x, d_scale, d_bias = called(student, [x + 1, scale, bias], level)
    says = "a level that comes back must not reach {}: x̂ has mean 0"
    expect.close(d_scale, torch.zeros(2, 3), says.format("the scale"), atol=2e-2, rtol=0)
    says = "a level that comes back must move the bias, by 1 for each of 90 numbers"
    expect.close(d_bias, 90 * level[..., 0, 0], says)


@backward
def test_gradients_follow_their_inputs(student, generator):
    """backward: x twice as large gets half of the gradient; twice of it or −w make twice or −d_x"""
    x, scale, bias = inputs(generator, (1, 3, 9, 10))
    G = torch.randn(x.shape, generator=generator)
    d_x, d_scale, d_bias = called(student, [x, scale, bias], G)
    half, same, _ = called(student, [2 * x + 1, scale, bias], G)
    close = {"atol": 2e-4, "rtol": 1e-3}
    expect.close(2 * half, d_x, "at 2 x the result is the same: a step there counts half", **close)
    says = "at 2 x the result is the same, and so is the gradient of w"
    expect.close(same, d_scale, says, atol=2e-3, rtol=0)
    other = torch.randn(x.shape, generator=generator)
    others = called(student, [x, scale, bias], other)
    both = called(student, [x, scale, bias], G + 2 * other)
    for one, two, added in zip((d_x, d_scale, d_bias), others, both, strict=True):
        expect.close(added, one + 2 * two, "gradients are linear in what comes back", **close)
    turned = called(student, [x, -scale, bias], G)
    expect.close(turned[0], -d_x, "−w must turn the sign of d_x around")
    expect.close(turned[1], d_scale, "what the scale gets does not depend on the scale")


@backward
def test_one_number_passes_nothing_on(student, generator):
    """backward: a channel of one number is its bias, so that x and w get 0"""
    x, scale, bias = inputs(generator, (3, 4, 1, 1))
    G = torch.randn(x.shape, generator=generator)
    d_x, d_scale, d_bias = called(student, [x, scale, bias], G)
    says = "whatever the one number of a channel is, b comes out: {} must be 0"
    expect.close(d_x, torch.zeros_like(x), says.format("d_x"), atol=1e-3, rtol=0)
    expect.close(d_scale, torch.zeros(3, 4), says.format("d_scale"))
    expect.close(d_bias, G[..., 0, 0], "the gradient of b must be what comes back")


def leaning(generator):
    """What is sent back to a result: no sum over it is 0 by chance."""
    return lambda out: (1 + out + 3 * torch.randn(out.shape, generator=generator)).to(out.dtype)


@backward(weight=3)
def test_gradients_of_every_size(student, generator):
    """backward: for channels of 7, 1023, 1024, 1025 and other numbers"""
    more = draws.whole(generator, 3, 20), draws.whole(generator, 3, 20)
    for size in (*SIZES[1:], more):
        args = inputs(generator, (1, channels(*size), *size))
        on(student, args).backward(*args, upstream=leaning(generator))


@backward
def test_gradients_of_every_dtype(student, generator):
    """backward: in float32, float16 and bfloat16; each has the dtype of what it belongs to"""
    for dtype in DTYPES:
        x, scale, bias = inputs(generator, (2, 3, 9, 11))
        for w, b in STYLES:
            args = x.to(dtype), scale.to(w or dtype), bias.to(b or dtype)
            on(student, args).backward(*args, upstream=leaning(generator))


@backward
def test_more_gradients_than_32_bits_can_count(student, generator):
    """backward: in a row that begins beyond element 2³¹ places are still right"""
    for rows, n, block in ((2, 50, 64), (1, 50, 32)):
        args, first = rows_back(generator, 2, n), beyond(generator, n)
        far_away(student, "backward_kernel", [a[:rows] for a in args], block, first)


@backward
def test_large_gradients(student, generator):
    """backward: what comes back may be large, and w small or 0; x may vary by little"""
    x, scale, bias = rows_of(generator, 4, 40)
    x[1] *= 1e-5
    _, mean, inverse_std = stored(x, scale, bias)
    upstream = 1 + torch.randn(4, 40, generator=generator)
    scale = scale * torch.tensor([1, 1, 0, 1e-3])
    for size in (1.0, 1e5):
        args = [x, scale, mean, inverse_std, size * upstream]
        right(student, "backward_kernel", args, 64, tile=4)


@backward
def test_half_precision_is_no_precision_to_add_in(student, generator):
    """backward: sums are taken in float32, and are not rounded before d_x is made of them"""
    for dtype in DTYPES[1:]:
        x, scale, *others, upstream = rows_back(generator, 3, 300, dtype)
        right(student, "backward_kernel", [x, scale.float(), *others, upstream], 512, tile=4)
        x, scale, *others, upstream = rows_back(generator, 3, 100, dtype)
        level = upstream + 400  # of which nothing is left in d_x: a rounded mean would be
        right(student, "backward_kernel", [x, scale, *others, level], 128, tile=4)


@backward
def test_gradients_of_any_layout(student, generator):
    """backward: for strided, transposed and expanded tensors, and gradients that come back so"""
    for layout in LAYOUTS:
        args = inputs(generator, (2, 3, 8, 9))
        on(student, args).backward(*args, upstream=leaning(generator), layout=layout)


@backward(weight=2)
def test_gradients_of_long_rows(student, generator):
    """backward: rows longer than BLOCK, by any number"""
    for n in (32, 33, 64, draws.whole(generator, 65, 120)):
        right(student, "backward_kernel", rows_back(generator, 3, n), 32, tile=4)


@backward
def test_gradients_of_8281_numbers(student, generator):
    """backward: for channels that the wrapper does in two blocks"""
    args = inputs(generator, (1, 2, 91, 91))
    on(student, args).backward(*args, upstream=leaning(generator))


@backward
def test_backward_safe(student, generator):
    """safe: nothing outside of the tensors is touched, and no two programs meet"""
    args = inputs(generator, (5, 7, 6, draws.whole(generator, 6, 11)))
    on(student, args).safe(*args, gradient=True)


@backward
def test_backward_safe_where_a_row_is_long(student, generator):
    """safe: in the blocks of a long row as well"""
    safe(student, "backward_kernel", rows_back(generator, 5, draws.whole(generator, 65, 95)), 32)


@backward
def test_backward_honest(student, generator):
    """honest: the kernels do the work, all of it, every time"""
    args, others = (inputs(generator, (2, 3, 16, 16)) for _ in range(2))
    on(student, args).honest(args, others, gradient=True)


@backward
def test_backward_lean(student, generator):
    """lean: x and upstream are read once, d_x is written once"""
    lean(student, "backward_kernel", rows_back(generator, 3, draws.whole(generator, 300, 500)), 512)


@backward
def test_backward_lean_where_a_row_is_long(student, generator):
    """lean: of long rows the first BLOCK numbers are read once, the others twice"""
    lean(student, "backward_kernel", rows_back(generator, 2, draws.whole(generator, 500, 600)), 64)


@backward
def test_backward_compiles(student, generator):
    """compiles: for an H100, with loads of 128 bits and without spills"""
    args, large = (inputs(generator, s) for s in ((1, 2, 8, 8), (2, 16, 32, 32)))
    on(student, args).compiles(args, large, gradient=True)
