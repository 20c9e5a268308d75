"""Hidden grader of chapter 14, kernels.qk_norm_rope: held to what norms and turns do first, then to
float64, and as the instruments see it."""

import pytest
import torch

from cs231n_gen.checking import draws, expect
from cs231n_gen.checking.kernels.by_hand import left
from cs231n_gen.checking.kernels.reference import ulps
from cs231n_gen.checking.kernels.stages import NORM, Exact, Stages, checked, nbytes

kernel = pytest.mark.exercise("kernels.qk_norm_rope.kernel")
backward_kernel = pytest.mark.exercise("kernels.qk_norm_rope.backward_kernel")


WRAPPER = "kernels.qk_norm_rope.qk_norm_rope"
HALVES = (torch.float16, torch.bfloat16)


def reference(q, k, q_weight, k_weight, cos, sin, eps=1e-6):
    """In fp32 at least, as the kernel is to calculate."""
    turned = []
    for x, weight in [(q, q_weight), (k, k_weight)]:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        normal = wide * (wide.square().mean(-1, keepdim=True) + eps).rsqrt() * weight
        x1, x2 = normal.chunk(2, dim=-1)
        out = torch.cat([x1 * cos - x2 * sin, x2 * cos + x1 * sin], dim=-1)
        turned.append(out.to(x.dtype))
    return turned[0], turned[1]


# A mean, a root, four products and a sum: where torch is exact by luck, a right kernel was off by
# 1.7 units in the last place in 10⁵ draws. Two are allowed for, as for a sum of 4.
EXACT = Exact(reference, sums={0: 4, 1: 4})


def on(student):
    return Stages(student, WRAPPER, EXACT)


def gradients_of(student, args):
    """The same for gradients, which add up: those of q and k a mean that holds a mean, those of the
    weights such numbers of every token.

    These have either sign, so that their sum is smaller by √tokens than what is added up for it.
    """
    tokens, dim = args[0].shape[:-1].numel(), args[0].shape[-1]
    sums = {0: 4, 1: 4, "q": dim**2, "k": dim**2}
    floors = dict.fromkeys(("q_weight", "k_weight"), ulps(dim**2) + tokens**0.5)
    return Stages(student, WRAPPER, Exact(reference, range(4), sums, floors))


def noise(generator):
    """Makes upstream gradients of random numbers."""
    return lambda like: normal(generator, *like.shape).to(like.dtype)


def normal(generator, *shape):
    return torch.randn(shape, generator=generator)


def angles(generator, tokens, dim):
    """Of RoPE, from a random base on."""
    base = 10 ** (2 + 3 * float(torch.rand(1, generator=generator)))
    i = torch.arange(dim // 2, dtype=torch.float64)
    theta = torch.arange(tokens, dtype=torch.float64)[:, None] * base ** (-2 * i / dim)
    return theta.cos().float(), theta.sin().float()


def example(generator, *shape):
    """Arguments for q and k of this shape, (batch, heads, tokens, dim)."""
    drawn = [normal(generator, *of) for of in (shape, shape, shape[-1:], shape[-1:])]
    return [*drawn, *angles(generator, *shape[2:])]


def turned(student, *args, **options):
    """The student's q and k."""
    seen = student.instruments.observe.call(student.function(WRAPPER), [*args], options)
    q, k = expect.unpack(checked(seen)["results"], ["q", "k"])
    return [expect.tensor(x, args[0].shape) for x in (q, k)]


def pulled(student, args, seeds, **options):
    """The student's gradients of q, k and their weights, where results have these gradients."""
    wrapper = student.function(WRAPPER)
    seen = student.instruments.observe.call(
        wrapper, [*args], options, wrt=[0, 1, 2, 3], upstream=[*seeds]
    )
    found = expect.unpack(checked(seen)["gradients"], ["q", "k", "q_weight", "k_weight"])
    return [expect.tensor(d, x.shape, "a gradient") for d, x in zip(found, args, strict=False)]


def unit(x):
    """x / √(mean x²), in float64."""
    return x.double() / x.double().square().mean(-1, keepdim=True).sqrt()


def far_apart(x, gap):
    """The same numbers as they come from a linear layer, (batch, tokens, heads, dim + gap), NaN in
    the gap; and how far it is to the next example, head and token."""
    batch, heads, tokens, dim = x.shape
    row = dim + gap
    laid = x.new_full((batch, tokens, heads, row), float("nan"))
    laid[..., :dim] = x.transpose(1, 2)
    return laid, [tokens * heads * row, row, heads * row]


def launched(student, name, grid, args, **constants):
    """What the kernel leaves of its arguments."""
    kernel = student.function(f"kernels.qk_norm_rope.{name}")
    seen = student.instruments.observe.launch(kernel, grid, args, constants)
    good = isinstance(seen, dict) and isinstance(seen.get("args"), list | tuple)
    good = good and len(seen["args"]) == len(args) and isinstance(seen.get("faults"), list | tuple)
    expect.true(good, "the instruments were tampered with")
    expect.true(not seen["faults"], "an access is outside of the tensors, or two programs meet")
    return seen["args"]


# --- kernel ---------------------------------------------------------------------------------------


@kernel(weight=2)
def test_lengths(student, generator):
    """correct: with a weight of 1 the length is √dim, whatever it was, for every token"""
    tokens, dim = draws.whole(generator, 2, 20), 2 * draws.whole(generator, 3, 40)
    ones = torch.ones(dim)
    q, k, _, _, *turn = example(generator, 1, 1, tokens, dim)
    scales = 10 ** (4 * torch.rand(tokens, 1, generator=generator) - 2)
    says = "with a weight of 1 a normalised token has mean square 1, and a turn keeps it"
    for x in turned(student, scales * q, k / scales, ones, ones, *turn, eps=0.0):
        expect.close(x.square().mean(-1), torch.ones(1, 1, tokens), says, what="mean squares")


@kernel(weight=2)
def test_turns(student, generator):
    """correct: no turn leaves RMSNorm, a quarter turn exchanges the halves, θ then −θ is no turn"""
    dim = 2 * draws.whole(generator, 3, 40)
    q, k, *weights, cos, sin = example(generator, 1, 1, 5, dim)
    want = [unit(x) * w for x, w in zip((q, k), weights, strict=True)]
    one, none = torch.ones_like(cos), torch.zeros_like(cos)
    for x, right in zip(turned(student, q, k, *weights, one, none, eps=0.0), want, strict=True):
        expect.close(x, right, "cos = 1 and sin = 0 turn nothing: what is left is RMSNorm")
    for x, right in zip(turned(student, q, k, *weights, none, one, eps=0.0), want, strict=True):
        first, second = right.chunk(2, dim=-1)
        quarter = torch.cat([-second, first], dim=-1)
        expect.close(x, quarter, "a quarter turn makes (−x̂₂, x̂₁) of (x̂₁, x̂₂)")
    ones = torch.ones(dim)
    there = turned(student, q, k, ones, ones, cos, sin, eps=0.0)
    back = turned(student, *there, ones, ones, cos, -sin, eps=0.0)
    for x, right in zip(back, (q, k), strict=True):
        expect.close(x, unit(right), "turned by θ and then by −θ it must be as it was")


@kernel(weight=2)
def test_products_know_how_far_apart_tokens_are(student, generator):
    """correct: products of q and k depend on how far apart the tokens are, and not on where"""
    q, k, *weights = (normal(generator, *s) for s in [(1, 1, 1, 48), (1, 1, 1, 48), (48,), (48,)])
    turn = angles(generator, 12, 48)
    args = [q.expand(1, 1, 12, 48), k.expand(1, 1, 12, 48), *weights, *turn]
    q, k = turned(student, *args)
    products = (q @ k.mT)[0, 0]
    for apart in range(-11, 12):
        same = products.diagonal(apart)
        says = f"the same query and key, always {abs(apart)} tokens apart: the same product"
        expect.close(same, same[:1].expand_as(same), says, atol=1e-3, rtol=0, what="products")
    q, k = reference(*(x.double() for x in args))
    expect.close(products, (q @ k.mT)[0, 0], "q · k is wrong", atol=1e-3, rtol=0)


@kernel
def test_eps(student, generator):
    """correct: numbers all a become a / √(a² + eps) times the weight"""
    q, k, *weights, cos, sin = example(generator, 1, 1, 4, 14)
    a = torch.tensor([-2.0, 0.0, 0.05, 1.0])
    q, k = a[:, None].expand(q.shape), -a[:, None].expand(k.shape)
    eps = 0.1 + float(torch.rand(1, generator=generator))
    got = turned(student, q, k, *weights, torch.ones_like(cos), torch.zeros_like(sin), eps=eps)
    for x, sign, w in zip(got, (1, -1), weights, strict=True):
        want = sign * (a / (a.square() + eps).sqrt())[:, None] * w
        expect.close(x[0, 0], want, "a token of numbers a must become w a / √(a² + eps)")


@kernel(weight=3)
def test_every_size(student, generator):
    """correct: for 1, 7, 1023, 1024, 1025 tokens, for dims of 2 to 1026, and for random sizes"""
    sizes = [(1, 2), (7, 6), (1023, 4), (1024, 4), (1025, 4), (3, 1022), (3, 1024), (3, 1026)]
    for tokens, dim in sizes:
        on(student).correct(*example(generator, 1, 1, tokens, dim))
    shape = (2, 3, draws.whole(generator, 2, 20), 2 * draws.whole(generator, 4, 40))
    on(student).correct(*example(generator, *shape))


@kernel
def test_every_dtype(student, generator):
    """correct: in float16 and bfloat16, calculated in fp32, the weights in a dtype of their own"""
    for dtype in HALVES:
        q, k, *rest = example(generator, 1, 1, 5, 70)
        q, k = (1000 * q).to(dtype), (1000 * k).to(dtype)
        on(student).correct(q, k, *rest)
        on(student).correct(q, k, *(x.to(dtype) for x in rest))
    q, k, *weights, cos, sin = example(generator, 1, 1, 5, 70)
    on(student).correct(q, k, *(w.half() for w in weights), cos, sin)


@kernel
def test_only_what_is_stored_is_rounded(student, generator):
    """correct: in half precision weights and angles in float32 keep all their digits"""
    for dtype in HALVES:
        q, k, *rest = example(generator, 1, 2, 9, 24)
        on(student).correct(q.to(dtype), k.to(dtype), *rest)
        on(student).correct(q.to(dtype), k.to(dtype), *(w.half() for w in rest[:2]), *rest[2:])
        turn = [x.to(dtype) for x in rest[2:]]
        on(student).correct(q, k, *(w.to(dtype) for w in rest[:2]), *turn)


@kernel
def test_large_and_small(student, generator):
    """correct: tokens of 1e-5 or 1e7 are divided by their size, √(mean x² + eps)"""
    q, k, *rest = example(generator, 1, 1, 4, 24)
    sizes = torch.tensor([1e-5, 1e7, 1.0, 1e-3])[:, None]
    for eps in (1e-6, 0.0):
        on(student).correct(sizes * q, sizes * k, *rest, eps=eps)
    rest[:2] = [1e4 * w for w in rest[:2]]
    on(student).correct(q, k, *rest)


FAR = ("examples", "tokens")


def far_away(generator, which):
    """Sizes, grid, programs and where windows begin: (heads, T, strides, grid, two programs,
    numbers before q, before angles, before what is stored, and before a program's own sums), of
    programs whose numbers lie beyond element 2³¹."""
    D, rows = 12, 4
    if which == "examples":
        n, T, heads = 2**31 // D + draws.whole(generator, 9, 10**6), 3, 2
        whole, strides = heads * T * D, [heads * T * D, T * D, D]
        places = [[2 * n + h, 0, z] for h in range(2) for z in range(2)]
        return heads, T, strides, [2 * n + 9, 1, 2], places, n * whole, 0, n * whole, 2 * n * D
    j = 2**31 // (D // 2) // rows + draws.whole(generator, 9, 10**6)
    T, t = rows * (j + 1), rows * j
    places, before = [[1, j, z] for z in range(2)], (T + t) * D
    parts = (j + 1 + j) * D
    return 2, T, [2 * T * D, T * D, D], [2, j + 1, 2], places, before, t * D // 2, before, parts


@kernel(weight=2)
@pytest.mark.parametrize("which", FAR)
def test_more_than_32_bits_can_count(student, generator, which):
    """correct: examples and tokens that lie beyond element 2³¹ are still found"""
    heads, T, strides, grid, places, q_at, angles_at, out_at, _ = far_away(generator, which)
    shape = (1, 2, 3, 12) if which == "examples" else (1, 1, 4, 12)
    args = example(generator, *shape)
    given = [*args, *(torch.full(shape, float("nan")) for _ in "qk"), *strides, heads, T, 12, 1e-6]
    begins = [q_at, q_at, 0, 0, angles_at, angles_at, out_at, out_at]
    says, name = f"{which} beyond element 2³¹ are not found", "kernels.qk_norm_rope.kernel"
    where = {"programs": places, "begins": begins}
    came = left(student, name, grid, given, {"ROWS": 4, "HALF": 8}, says, **where)
    EXACT.judge_results(came[6:8], args, {}, says)


@kernel(weight=2)
def test_any_layout(student, generator):
    """correct: for strided, transposed and expanded tensors, and heads that lie inside of tokens"""
    for layout in ("strided", "transposed", "expanded"):
        on(student).correct(*example(generator, 2, 1, 3, 12), layout=layout)
    args = example(generator, 2, 2, 3, 12)
    (q, strides), (k, _) = (far_apart(x, 4) for x in args[:2])
    out = [torch.full((2, 2, 3, 12), float("nan")) for _ in "qk"]
    given = [q, k, *args[2:], *out, *strides, 2, 3, 12, 1e-6]
    *_, q, k = launched(student, "kernel", (4, 1, 2), given, ROWS=4, HALF=8)[:8]
    says = "where heads lie inside of tokens in memory the result is wrong"
    EXACT.judge_results([q, k], args, {}, says)


@kernel(weight=2)
def test_safe(student, generator):
    """safe: nothing outside of the tensors is touched, and no two programs meet"""
    on(student).safe(*example(generator, 1, 2, 9, 508))


@kernel
def test_honest(student, generator):
    """honest: the kernel does the work, all of it, every time"""
    on(student).honest(*(example(generator, 1, 1, 20, 64) for _ in "12"))


@kernel
def test_lean(student, generator):
    """lean: q and k are read once, the results written once; each head reads its angles"""
    q, k, *_, cos, sin = args = example(generator, 1, 2, 9, 510)
    # Programs of q and of k, and of each head, read the angles: on a GPU mostly from its cache.
    least = 2 * nbytes([q, k]) + 2 * 2 * nbytes([cos, sin])
    on(student).lean(NORM, *args, least=least)


@kernel
def test_compiles(student, generator):
    """compiles: for an H100, with loads of 128 bits and without spills"""
    large = example(generator, 1, 2, 256, 64)
    on(student).compiles(example(generator, 1, 1, 5, 64), large)


# --- backward_kernel ------------------------------------------------------------------------------


@backward_kernel(weight=2)
def test_lengths_make_no_difference(student, generator):
    """backward: without eps d_x is at right angles to x, and half as large for twice the x"""
    q, k, *rest = example(generator, 1, 1, 5, 2 * draws.whole(generator, 8, 40))
    seeds = [normal(generator, *q.shape) for _ in "qk"]
    d_q, d_k, *weights = pulled(student, [q, k, *rest], seeds, eps=0.0)
    for x, d_x in [(q, d_q), (k, d_k)]:
        angle = torch.cosine_similarity(x.double(), d_x.double(), dim=-1)
        says = "a longer x gives the same result: its gradient must have no part along x"
        expect.close(angle, torch.zeros(1, 1, 5), says, what="cosines of x and its gradient")
    twice_q, twice_k, *again = pulled(student, [2 * q, 2 * k, *rest], seeds, eps=0.0)
    says = "where x is twice as long its gradient must be half as large"
    expect.close(2 * twice_q, d_q, says, what="2 d_q")
    expect.close(2 * twice_k, d_k, says, what="2 d_k")
    for one, other in zip(weights, again, strict=True):
        expect.close(other, one, "the gradients of the weights know nothing of how long x is")


@backward_kernel(weight=2)
def test_along_the_result(student, generator):
    """backward: pulled along itself no result changes, and each weight's gradient is Σ n²"""
    dim = 2 * draws.whole(generator, 8, 40)
    q, k, _, _, *turn = example(generator, 1, 1, 5, dim)
    ones = torch.ones(dim)
    seeds = reference(q, k, ones, ones, *turn, eps=0.0)
    d_q, d_k, *d_w = pulled(student, [q, k, ones, ones, *turn], seeds, eps=0.0)
    for x, d_x, d_weight in zip((q, k), (d_q, d_k), d_w, strict=True):
        says = "a result has one length: pulled along itself, nothing can change"
        expect.close(d_x, torch.zeros(x.shape), says, atol=1e-4, rtol=1e-4)
        says = "turned back, the result is n, and Σ n · n is the gradient of its weight"
        expect.close(d_weight, unit(x).square().sum((0, 1, 2)), says)


@backward_kernel
def test_weights_are_factors(student, generator):
    """backward: Σ w d_w = Σ result · its gradient, and q knows nothing of k"""
    q, k, *rest = args = example(generator, 1, 2, 5, 2 * draws.whole(generator, 8, 40))
    seeds = [normal(generator, *q.shape), torch.zeros(k.shape)]
    d_q, d_k, d_q_weight, d_k_weight = pulled(student, args, seeds)
    result = reference(*(x.double() for x in args))[0]
    says = "twice the weight gives twice the result: Σ w d_w must be Σ q · its gradient"
    most = 1e-5 * float((result * seeds[0]).abs().sum())
    total = (rest[0].double() * d_q_weight).sum()
    expect.close(total, (result * seeds[0]).sum(), says, atol=most, rtol=0, what="Σ w d_w")
    expect.true(bool(d_q.any()), "no gradient reaches q")
    says = "where only q is pulled, k and its weight have a gradient of 0"
    expect.true(not d_k.any() and not d_k_weight.any(), says)


@backward_kernel(weight=3)
def test_every_gradient(student, generator):
    """backward: for 1, 7, 1023 and 1025 tokens, for dims of 4 to 1026, and for random sizes"""
    sizes = [(1, 64), (7, 48), (1023, 4), (1025, 4), (3, 1024), (3, 1026)]
    shapes = [(1, 1, *s) for s in sizes]
    for shape in [
        *shapes,
        (2, 1, draws.whole(generator, 2, 20), 2 * draws.whole(generator, 8, 40)),
    ]:
        args = example(generator, *shape)
        gradients_of(student, args).backward(*args, upstream=noise(generator))


@backward_kernel
def test_every_dtype_backward(student, generator):
    """backward: in float16 and bfloat16, calculated in fp32, the weights in a dtype of their own"""
    wrapper = Stages(student, WRAPPER, Exact(reference, wrt=range(4)))  # what is stored is rounded
    for dtype in HALVES:
        q, k, *rest = example(generator, 1, 1, 5, 70)
        q, k = (1000 * q).to(dtype), (1000 * k).to(dtype)
        wrapper.backward(q, k, *(x.to(dtype) for x in rest), upstream=noise(generator))
    q, k, *weights, cos, sin = example(generator, 1, 1, 5, 70)
    args = q, k, *(w.half() for w in weights), cos, sin
    gradients_of(student, args).backward(*args, upstream=noise(generator))


@backward_kernel
def test_only_what_is_stored_is_rounded_backward(student, generator):
    """backward: in half precision weights and angles in float32 keep all their digits"""
    for dtype in HALVES:
        q, k, *rest = example(generator, 1, 2, 9, 24)
        for weights in (rest[:2], [w.half() for w in rest[:2]]):
            args = [q.to(dtype), k.to(dtype), *weights, *rest[2:]]
            gradients_of(student, args).backward(*args, upstream=noise(generator))


@backward_kernel
def test_large_and_small_backward(student, generator):
    """backward: tokens of 0.3 or 1e6, and what comes back may be large too"""
    q, k, *rest = example(generator, 1, 1, 4, 24)
    sizes = torch.tensor([0.3, 1e6, 1.0, 1e3])[:, None]
    args = [sizes * q, sizes * k, *rest]
    for size in (1.0, 1e5):
        seeds = iter([size * normal(generator, *q.shape) for _ in "qk"])
        truth = gradients_of(student, args)
        truth.backward(*args, upstream=lambda _, seeds=seeds: next(seeds))


@backward_kernel(weight=2)
@pytest.mark.parametrize("which", FAR)
def test_more_than_32_bits_can_count_backward(student, generator, which):
    """backward: examples and tokens that lie beyond element 2³¹ are still found"""
    heads, T, strides, grid, places, q_at, angles_at, out_at, sums = far_away(generator, which)
    shape = (1, 2, 3, 12) if which == "examples" else (1, 1, 4, 12)
    args = example(generator, *shape)
    seeds = [normal(generator, *shape) for _ in "qk"]
    parts = (2 if which == "examples" else 1, 1, 12)
    empty = [torch.full(s, float("nan")) for s in (shape, shape, parts, parts)]
    given = [*args, *seeds, *empty, *strides, heads, T, 12, 1e-6]
    begins = [q_at, q_at, 0, 0, angles_at, angles_at, *[out_at] * 4, sums, sums]
    says, name = f"{which} beyond element 2³¹ are not found", "kernels.qk_norm_rope.backward_kernel"
    where = {"programs": places, "begins": begins}
    came = left(student, name, grid, given, {"ROWS": 4, "HALF": 8}, says, **where)
    got = [came[8], came[9], *(p.sum((0, 1)) for p in came[10:12])]
    gradients_of(student, args).exact.judge_gradients(got, args, seeds, {}, says)


@backward_kernel
def test_eps_backward(student, generator):
    """backward: eps stands under the root, forward and backward"""
    args = example(generator, 1, 1, 5, 48)
    eps = 0.1 + float(torch.rand(1, generator=generator))
    gradients_of(student, args).backward(*args, upstream=noise(generator), eps=eps)


@backward_kernel(weight=2)
def test_any_layout_backward(student, generator):
    """backward: for strided, transposed and expanded tensors and gradients, and heads in tokens"""
    for layout, batch in [("strided", 1), ("transposed", 1), ("expanded", 2)]:
        args = example(generator, batch, 1, 3, 48)
        gradients_of(student, args).backward(*args, upstream=noise(generator), layout=layout)
    shape = 2, 2, 3, 12
    args = example(generator, *shape)
    seeds = [normal(generator, *shape) for _ in "qk"]
    (q, strides), (k, _) = (far_apart(x, 4) for x in args[:2])
    empty = [torch.full(s, float("nan")) for s in (shape, shape, (4, 1, 12), (4, 1, 12))]
    given = [q, k, *args[2:], *seeds, *empty, *strides, 2, 3, 12, 1e-6]
    left = launched(student, "backward_kernel", (4, 1, 2), given, ROWS=4, HALF=8)
    got = [left[8], left[9], *(expect.tensor(p, (4, 1, 12)).sum((0, 1)) for p in left[10:12])]
    says = "where heads lie inside of tokens in memory a gradient is wrong"
    gradients_of(student, args).exact.judge_gradients(got, args, seeds, {}, says)


@backward_kernel(weight=2)
def test_safe_backward(student, generator):
    """safe: nothing outside of the tensors is touched, and no two programs meet"""
    args = example(generator, 1, 1, 9, 508)
    gradients_of(student, args).safe(*args, gradient=True)


@backward_kernel
def test_honest_backward(student, generator):
    """honest: the kernels do the work, all of it, every time, in the backward pass too"""
    args, others = (example(generator, 1, 1, 20, 64) for _ in "12")
    gradients_of(student, args).honest(args, others, gradient=True)


@backward_kernel
def test_lean_backward(student, generator):
    """lean: q, k and the upstream gradients are read once, each gradient is written once"""
    q, k, *_, cos, sin = args = example(generator, 1, 1, 16, 510)
    forward, backward, heads = 2, 3, 1
    # Programs of q and of k read the angles, forward and backward: on a GPU mostly from its cache.
    least = (forward + backward) * nbytes([q, k]) + 2 * 2 * heads * nbytes([cos, sin])
    gradients_of(student, args).lean(NORM, *args, least=least, gradient=True)


@backward_kernel
def test_compiles_backward(student, generator):
    """compiles: for an H100, with loads of 128 bits and without spills"""
    args, large = example(generator, 1, 1, 5, 64), example(generator, 1, 2, 256, 64)
    gradients_of(student, args).compiles(args, large, gradient=True)
