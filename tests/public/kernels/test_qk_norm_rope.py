"""Public checks of chapter 14: kernels.qk_norm_rope."""

import pytest
import torch

from cs231n_gen.checking import expect
from cs231n_gen.checking.kernels.by_hand import left
from cs231n_gen.checking.kernels.stages import NORM, Exact, Stages, checked, nbytes

kernel = pytest.mark.exercise("kernels.qk_norm_rope.kernel")
backward_kernel = pytest.mark.exercise("kernels.qk_norm_rope.backward_kernel")

WRAPPER = "kernels.qk_norm_rope.qk_norm_rope"


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


# A mean, a root, four products and a sum: where torch is exact by luck, a right kernel may be off
# by nearly two units in the last place, as a sum of 4 may.
EXACT = Exact(reference, sums={0: 4, 1: 4})


def on(student):
    return Stages(student, WRAPPER, EXACT)


def gradients_of(student, args):
    """The same for gradients, which add up: those of q and k a mean that holds a mean, those of the
    weights such numbers of every token."""
    tokens, dim = args[0].shape[:-1].numel(), args[0].shape[-1]
    sums = {"q": dim**2, "k": dim**2, "q_weight": 2 * dim * tokens, "k_weight": 2 * dim * tokens}
    return Stages(student, WRAPPER, Exact(reference, wrt=range(4), sums={0: 4, 1: 4, **sums}))


def noise(generator):
    """Makes upstream gradients of random numbers."""
    return lambda like: torch.randn(like.shape, generator=generator).to(like.dtype)


def angles(tokens, dim):
    """Those of the docstring: θ = t · 10000^(−2i / dim)."""
    i = torch.arange(dim // 2, dtype=torch.float64)
    theta = torch.arange(tokens, dtype=torch.float64)[:, None] * 10000 ** (-2 * i / dim)
    return theta.cos().float(), theta.sin().float()


def example(generator, *shape):
    """Arguments for q and k of this shape, (batch, heads, tokens, dim)."""
    sizes = [shape, shape, shape[-1:], shape[-1:]]
    drawn = [torch.randn(size, generator=generator) for size in sizes]
    return [*drawn, *angles(*shape[2:])]


def turned(student, *args, **options):
    """The student's q and k."""
    seen = student.instruments.observe.call(student.function(WRAPPER), [*args], options)
    return expect.unpack(checked(seen)["results"], ["q", "k"])


def far_apart(x, gap=0):
    """The same numbers as they come from a linear layer, (batch, tokens, heads, dim + gap), NaN in
    the gap; and how far it is to the next example, head and token."""
    batch, heads, tokens, dim = x.shape
    row = dim + gap
    laid = x.new_full((batch, tokens, heads, row), float("nan"))
    laid[..., :dim] = x.transpose(1, 2)
    return laid, [tokens * heads * row, row, heads * row]


# --- kernel ---------------------------------------------------------------------------------------


@kernel
@pytest.mark.parametrize(("tokens", "dim"), [(1, 64), (7, 6), (513, 6), (5, 510)])
def test_every_size(student, generator, tokens, dim):
    """correct: for any number of tokens, and of numbers a token"""
    on(student).correct(*example(generator, 1, 1, tokens, dim))


@kernel
def test_heads_and_examples(student, generator):
    """correct: tokens of a head need not lie side by side; the strides say where they are"""
    args = example(generator, 2, 2, 3, 12)
    (q, strides), (k, _) = (far_apart(x, gap=4) for x in args[:2])
    out = [torch.full((2, 2, 3, 12), float("nan")) for _ in "qk"]
    numbers = [*strides, 2, 3, 12, 1e-6]  # heads, T, D and eps
    seen = student.instruments.observe.launch(
        student.function("kernels.qk_norm_rope.kernel"),
        (4, 1, 2),
        [q, k, *args[2:], *out, *numbers],
        {"ROWS": 4, "HALF": 8},
    )
    got = seen["args"][6:8]
    says = "with heads that lie inside of tokens in memory the result is wrong"
    EXACT.judge_results(got, args, {}, says)


@kernel
def test_eps(student, generator):
    """correct: eps is added to the mean square, under the root"""
    on(student).correct(*example(generator, 1, 1, 5, 12), eps=0.5)


@kernel
def test_a_turn_keeps_lengths(student, generator):
    """correct: with a weight of 1 every query and key has the length √dim, wherever it points"""
    q, k, _, _, cos, sin = example(generator, 1, 1, 5, 12)
    ones = torch.ones(12)
    says = "the mean square of the normalised is 1, and turning changes no length: √dim"
    for x in turned(student, 7 * q, 0.1 * k, ones, ones, cos, sin, eps=0.0):
        length = expect.tensor(x, q.shape).norm(dim=-1)
        expect.close(length, torch.full((1, 1, 5), 12**0.5), says, what="lengths")


@kernel
def test_products_know_how_far_apart_tokens_are(student, generator):
    """correct: the product of a query and a key depends on how far apart they are, not on where"""
    q, k, *rest = example(generator, 1, 1, 1, 64)
    args = q.expand(1, 1, 9, 64), k.expand(1, 1, 9, 64), *rest[:2], *angles(9, 64)
    q, k = (expect.tensor(x, (1, 1, 9, 64)) for x in turned(student, *args))
    products = (q @ k.mT)[0, 0]
    for apart in range(-8, 9):
        same = products.diagonal(apart)
        says = f"the same query and key, always {abs(apart)} tokens apart: the same product"
        expect.close(same, same[:1].expand_as(same), says, atol=1e-3, rtol=0, what="products")
    exact = reference(*(x.double() for x in args))
    expect.close(products, (exact[0] @ exact[1].mT)[0, 0], "q · k is wrong", atol=1e-3, rtol=0)


@kernel
def test_half_precision(student, generator):
    """correct: in half precision, calculated in fp32, where squares of 1000 are no trouble"""
    q, k, *weights, cos, sin = example(generator, 1, 1, 5, 64)
    on(student).correct((1000 * q).half(), (1000 * k).half(), *weights, cos, sin)


N = 2**31 // 12 + 99  # the number of an example, whose numbers lie beyond element 2³¹


def far_away(student, name, given, begins):
    """What is left where the one example at hand, of a head of 3 tokens, is a window of a large
    tensor."""
    where = {"programs": [[N, 0, 0], [N, 0, 1]], "begins": begins}
    says, strides = f"example {N} lies beyond element 2³¹: it is not found", [36, 36, 12]
    given, name = [*given, *strides, 1, 3, 12, 1e-6], f"kernels.qk_norm_rope.{name}"
    constants = {"ROWS": 4, "HALF": 8}
    return left(student, name, [N + 1, 1, 2], given, constants, says, **where), says


@kernel
def test_more_examples_than_32_bits_can_count(student, generator):
    """correct: an example that lies beyond element 2³¹ is still found"""
    args = example(generator, 1, 1, 3, 12)
    given = [*args, *(torch.full((1, 1, 3, 12), 7.0) for _ in "qk")]
    at = 36 * N
    came, says = far_away(student, "kernel", given, [at, at, 0, 0, 0, 0, at, at])
    EXACT.judge_results(came[6:8], args, {}, says)


@kernel
def test_safe(student, generator):
    """safe: every access is inside, and no two programs meet"""
    on(student).safe(*example(generator, 1, 2, 9, 510))


@kernel
def test_lean(student, generator):
    """lean: q and k are read once, the results written once; each head reads its angles"""
    q, k, *_, cos, sin = args = example(generator, 1, 2, 9, 510)
    least = 2 * nbytes([q, k]) + 2 * 2 * nbytes([cos, sin])
    on(student).lean(NORM, *args, least=least)


# --- backward_kernel ------------------------------------------------------------------------------


@backward_kernel
@pytest.mark.parametrize(("tokens", "dim"), [(1, 64), (7, 24), (9, 510)])
def test_every_gradient(student, generator, tokens, dim):
    """backward: the gradients of q, k and their weights, for any number of tokens and numbers"""
    args = example(generator, 1, 1, tokens, dim)
    gradients_of(student, args).backward(*args, upstream=noise(generator))


@backward_kernel
def test_gradients_of_heads_and_examples(student, generator):
    """backward: q and k are read by their strides, the rest lies side by side"""
    shape = 2, 2, 3, 12
    args = example(generator, *shape)
    seeds = [torch.randn(shape, generator=generator) for _ in "qk"]
    (q, strides), (k, _) = (far_apart(x, gap=4) for x in args[:2])
    empty = [torch.full(s, float("nan")) for s in (shape, shape, (4, 1, 12), (4, 1, 12))]
    numbers = [*strides, 2, 3, 12, 1e-6]  # heads, T, D and eps
    seen = student.instruments.observe.launch(
        student.function("kernels.qk_norm_rope.backward_kernel"),
        (4, 1, 2),
        [q, k, *args[2:], *seeds, *empty, *numbers],
        {"ROWS": 4, "HALF": 8},
    )
    d_q, d_k, *parts = seen["args"][8:12]
    got = [d_q, d_k, *(p.sum((0, 1)) for p in parts)]
    says = "with heads that lie inside of tokens in memory a gradient is wrong"
    gradients_of(student, args).exact.judge_gradients(got, args, seeds, {}, says)


@backward_kernel
def test_gradients_with_eps(student, generator):
    """backward: eps stands under the root, forward and backward"""
    args = example(generator, 1, 1, 5, 24)
    gradients_of(student, args).backward(*args, upstream=noise(generator), eps=0.5)


@backward_kernel
def test_lengths_make_no_difference(student, generator):
    """backward: without eps the gradient of x is at right angles to x, token by token"""
    q, k, *rest = example(generator, 1, 1, 5, 24)
    seeds = [torch.randn(q.shape, generator=generator) for _ in "qk"]
    wrapper, args = student.function(WRAPPER), [q, k, *rest]
    seen = student.instruments.observe.call(
        wrapper, args, {"eps": 0.0}, wrt=[0, 1, 2, 3], upstream=seeds
    )
    d_q, d_k, *weights = checked(seen)["gradients"]
    for x, d_x in [(q, d_q), (k, d_k)]:
        along = (x * expect.tensor(d_x, x.shape, "a gradient")).sum(-1)
        says = "a longer x gives the same result: its gradient must have no part along x"
        expect.close(along, torch.zeros(1, 1, 5), says, what="x · its gradient")
    for d_w in weights:
        says = "5 of the 8 tokens at hand exist: the others may not add anything to a weight's sum"
        expect.true(d_w is not None and bool(d_w.isfinite().all()), says, d_w)


@backward_kernel
def test_half_precision_backward(student, generator):
    """backward: in half precision, calculated in fp32, where squares of 1000 are no trouble"""
    q, k, *weights, cos, sin = example(generator, 1, 1, 5, 64)
    args = (1000 * q).half(), (1000 * k).half(), *weights, cos, sin
    gradients_of(student, args).backward(*args, upstream=noise(generator))


@backward_kernel
def test_more_examples_than_32_bits_can_count_backward(student, generator):
    """backward: an example that lies beyond element 2³¹ is still found"""
    args = example(generator, 1, 1, 3, 12)
    seeds = [torch.randn(1, 1, 3, 12, generator=generator) for _ in "qk"]
    empty = [torch.full(s, 7.0) for s in [(1, 1, 3, 12)] * 2 + [(12,)] * 2]
    at = 36 * N
    begins = [at, at, 0, 0, 0, 0, *[at] * 4, 12 * N, 12 * N]
    came, says = far_away(student, "backward_kernel", [*args, *seeds, *empty], begins)
    gradients_of(student, args).exact.judge_gradients(came[8:12], args, seeds, {}, says)


@backward_kernel
def test_safe_backward(student, generator):
    """safe: every access is inside, and no two programs meet, in the backward pass too"""
    args = example(generator, 1, 2, 3, 12)
    gradients_of(student, args).safe(*args, gradient=True)


@backward_kernel
def test_lean_backward(student, generator):
    """lean: q, k and the upstream gradients are read once, each gradient is written once"""
    q, k, *_, cos, sin = args = example(generator, 1, 1, 16, 510)
    forward, backward, heads = 2, 3, 1
    least = (forward + backward) * nbytes([q, k]) + 2 * 2 * heads * nbytes([cos, sin])
    gradients_of(student, args).lean(NORM, *args, least=least, gradient=True)
