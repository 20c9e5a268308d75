"""Public checks of chapter 14: kernels.attention_backward."""

import math

import pytest
import torch

from cs231n_gen.checking import expect
from cs231n_gen.checking.kernels.by_hand import left as left_by
from cs231n_gen.checking.kernels.stages import POINTWISE, Exact, Stages, checked
from cs231n_gen.instruments.error_budget import wide

keys = pytest.mark.exercise("kernels.attention_backward.keys_backward")
queries = pytest.mark.exercise("kernels.attention_backward.queries_backward")
OF_KEYS = "kernels.attention_backward.key_gradients"
OF_QUERIES = "kernels.attention_backward.query_gradient"
D, TILE = 16, 32  # numbers of a head, and queries or keys that are one tile in float32


def scores(q, k, causal=False, visible=None):
    score = q @ k.mT / q.shape[-1] ** 0.5
    if visible is not None:
        score = score.masked_fill(visible == 0, float("-inf"))
    if not causal:
        return score
    past = torch.ones(score.shape[-2:], dtype=torch.bool).tril()
    return score.masked_fill(~past, float("-inf"))


def key_gradients(q, k, v, upstream, stats, delta, causal=False):
    k, v = (x.detach().requires_grad_() for x in (k, v))
    return torch.autograd.grad(scores(q, k, causal).softmax(-1) @ v, (k, v), upstream)


def query_gradient(q, k, v, upstream, stats, delta, causal=False, visible=None):
    q = q.detach().requires_grad_()
    return torch.autograd.grad(scores(q, k, causal, visible).softmax(-1) @ v, q, upstream)


class Truth(Exact):
    """Gradients by autograd, each number off by no more than its own terms allow.

    How far a number may be off is seen by formulas that take m, 1/l and delta as they are given:
    d_P − delta is a difference of two numbers that are rounded each by its own, and where it
    cancels autograd, which takes both from one, knows of no error.
    """

    def __init__(self, reference, formula, rounds):
        super().__init__(reference, formula=formula, rounds=rounds)


def parts(q, k, v, upstream, stats, delta, causal=False, visible=None):
    """P and d_S from what attention left, and the scale."""
    m, r = (x[..., None] for x in stats.unbind(2))
    P = (scores(q, k, causal, visible) - m * math.log(2)).exp() * r
    return P, P * (upstream @ v.mT - delta[..., None]), q.shape[-1] ** -0.5


def keys_by_formula(q, k, v, upstream, *rest, **options):
    P, d_S, scale = parts(q, k, v, upstream, *rest, **options)
    return scale * d_S.mT @ q, P.mT @ upstream


def terms_of_keys(q, k, v, upstream, *rest, **options):
    """√Σ term² of d_k and d_v: half precision rounds d_S and P, where they are multiplied."""
    P, d_S, scale = parts(q, k, v, upstream, *rest, **options)
    return scale * (d_S.mT.square() @ q.square()).sqrt(), (P.mT.square() @ upstream.square()).sqrt()


def query_by_formula(q, k, *rest, **options):
    _, d_S, scale = parts(q, k, *rest, **options)
    return scale * d_S @ k


def terms_of_query(q, k, *rest, **options):
    _, d_S, scale = parts(q, k, *rest, **options)
    return scale * (d_S.square() @ k.square()).sqrt()


def on_keys(student):
    return Stages(student, OF_KEYS, Truth(key_gradients, keys_by_formula, terms_of_keys))


def on_queries(student):
    return Stages(student, OF_QUERIES, Truth(query_gradient, query_by_formula, terms_of_query))


def example(generator, T, S, dtype=torch.float32, heads=1, causal=False):
    """q, k, v and upstream, and what attention left: stats, m and 1/l of each query, and delta."""
    given = [torch.randn(1, heads, n, D, generator=generator).to(dtype) for n in (T, S, S, T)]
    return [*given, *left(*given, causal)]


def left(q, k, v, upstream, causal=False, visible=None):
    q, k, v, upstream = wide([q, k, v, upstream])
    bits = scores(q, k, causal, visible) * math.log2(math.e)
    m = bits.amax(-1).float()
    l = torch.exp2(bits - m[..., None]).sum(-1)
    out = scores(q, k, causal, visible).softmax(-1) @ v
    return torch.stack([m, 1 / l], 2).float(), (out * upstream).sum(-1).float()


def hard_in_half(generator, dtype, T, S):
    """Scores near 64, and d_P and delta much larger than their difference."""
    q, k, v, upstream, *_ = example(generator, T, S, dtype=dtype)
    q[..., 0], k[..., 0] = 64 * D**0.5, 1
    v = v + 32
    return [q, k, v, upstream, *left(q, k, v, upstream)]


def small_weights(generator, T):
    """Two keys, one of which has weights near e⁻¹⁵: float16 has three bits for those, and eleven
    for d_S, since upstream is large. The other is 0."""
    q, k, v, upstream, *_ = example(generator, T, 2, dtype=torch.float16)
    q[..., 0], k[:, :, 0], k[:, :, 1, 0] = 5 * D**0.5, 0, -3
    v[:, :, 1] = v[:, :, 0] + 1 + v[:, :, 1].abs()
    upstream = 256 * (1 + upstream.abs())
    return [q, k, v, upstream, *left(q, k, v, upstream)]


def results(student, name, names, *args, **options):
    seen = student.instruments.observe.call(student.function(name), [*args], options)
    return expect.unpack(checked(seen)["results"], names)


# --- keys_backward --------------------------------------------------------------------------------


@keys
def test_one_key(student, generator):
    """backward: of one key, d_v is the sum of upstream, and d_k is 0"""
    args = example(generator, 40, 1)
    d_k, d_v = results(student, OF_KEYS, ["d_k", "d_v"], *args)
    says = "the only key has weight 1 for every query: its value gets all of upstream"
    expect.close(d_v, args[3].sum(2, keepdim=True), says, what="d_v")
    says = "the weight of the only key is 1 whatever k is: d_P and delta must cancel"
    expect.close(d_k, torch.zeros(1, 1, 1, D), says, atol=1e-4, rtol=1e-4, what="d_k")


@keys
@pytest.mark.parametrize("T", [7, 32, 70])
def test_any_number_of_queries(student, generator, T):
    """backward: d_k and d_v, be it one tile of queries or several"""
    on_keys(student).correct(
        *example(generator, T, 20), says=f"a gradient is wrong for {T} queries"
    )


@keys
def test_causal(student, generator):
    """backward: with causal=True key s gets its gradient from queries s, s + 1, …"""
    args = example(generator, 50, 50, causal=True)
    on_keys(student).correct(*args, causal=True, says="a gradient is wrong with causal=True")


@keys
def test_keys_that_nobody_saw(student, generator):
    """backward: with causal=True keys after the last query get nothing"""
    args = example(generator, 7, 20, causal=True)
    d_k, d_v = results(student, OF_KEYS, ["d_k", "d_v"], *args, causal=True)
    for name, d in (("d_k", d_k), ("d_v", d_v)):
        unseen = expect.tensor(d, args[1].shape, name)[:, :, 7:]
        says = f"no query saw keys 7 … 19: their {name} is 0"
        expect.close(unseen, torch.zeros(unseen.shape), says, what=name)


@keys
def test_queries_that_lie_apart(student, generator):
    """backward: tokens of q and of upstream may lie at other distances"""
    args = example(generator, 20, 20, heads=2)
    args[0] = args[0].transpose(1, 2).contiguous().transpose(1, 2)  # heads of a token side by side
    on_keys(student).correct(*args, says="a gradient is wrong where tokens of q are 2 · D apart")


@keys
def test_half_precision(student, generator):
    """backward: in half precision, with sums in float32"""
    on_keys(student).correct(*example(generator, 70, 20, torch.float16))


@keys
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_scores_are_in_fp32(student, generator, dtype):
    """backward: in half precision scores near 64, and large products d_P, are not rounded"""
    says = f"in {dtype} scores, d_P, or P before it is multiplied by upstream are not in fp32"
    on_keys(student).correct(*hard_in_half(generator, dtype, 20, 9), says=says)


@keys
def test_small_weights(student, generator):
    """backward: d_S comes of weights in fp32, not of those rounded to half precision"""
    args = small_weights(generator, 20)
    d_k, _ = results(student, OF_KEYS, ["d_k", "d_v"], *args)
    # Of d_v half of the bits are lost, as they may be: P is rounded where it is multiplied.
    wanted = Truth(
        *(lambda *a, f=f: f(*a)[0] for f in (key_gradients, keys_by_formula, terms_of_keys))
    )
    wanted.judge_results([d_k], args, {}, "small weights are rounded before d_S comes of them")


@keys
def test_safe(student, generator):
    """safe: every access is inside, and no two programs meet"""
    on_keys(student).safe(*example(generator, 40, 40))


@keys
@pytest.mark.parametrize("causal", [False, True])
def test_lean(student, generator, causal):
    """lean: k, v and their gradients move once, all of a query once for each tile of 32 keys"""
    T = S = 50
    args = example(generator, T, S, causal=causal)
    queries = sum(T - causal * first for first in range(0, S, TILE))  # with causal those from there
    numbers = 4 * S * D + queries * (2 * D + 3)  # q, upstream, m, 1/l and delta
    on_keys(student).lean(POINTWISE, *args, least=4 * numbers, causal=causal)


# --- queries_backward -----------------------------------------------------------------------------


@queries
def test_one_key_of_queries(student, generator):
    """backward: with one key d_q is 0"""
    args = example(generator, 40, 1)
    (d_q,) = results(student, OF_QUERIES, ["d_q"], *args)
    says = "the weight of the only key is 1 whatever q is: d_P and delta must cancel"
    expect.close(d_q, torch.zeros(1, 1, 40, D), says, atol=1e-4, rtol=1e-4, what="d_q")


@queries
def test_two_keys(student, generator):
    """backward: with two keys of weights w and 1 − w, d_q goes along their difference"""
    q, k, v, upstream, *_ = args = example(generator, 9, 2)
    (d_q,) = results(student, OF_QUERIES, ["d_q"], *args)
    w = scores(q, k, False).softmax(-1)[..., :1]
    gain = (upstream * (v[:, :, :1] - v[:, :, 1:])).sum(-1, keepdim=True)
    want = w * (1 - w) * gain * (k[:, :, :1] - k[:, :, 1:]) / D**0.5
    says = "d_q is w (1 − w) · upstream · (v₁ − v₂) · (k₁ − k₂) · scale here"
    expect.close(d_q, want, says, atol=1e-4, rtol=1e-4, what="d_q")


@queries
@pytest.mark.parametrize("S", [7, 32, 70])
def test_any_number_of_keys(student, generator, S):
    """backward: d_q, be it one tile of keys or several"""
    on_queries(student).correct(*example(generator, 20, S), says=f"d_q is wrong for {S} keys")


@queries
def test_causal_queries(student, generator):
    """backward: with causal=True query t gets its gradient from keys 0 … t"""
    args = example(generator, 50, 50, causal=True)
    on_queries(student).correct(*args, causal=True, says="d_q is wrong with causal=True")


@queries
def test_scores_far_below_0(student, generator):
    """backward: where all scores are low, keys that are not there still add nothing"""
    q, k, v, upstream, *_ = example(generator, 9, 20)
    q[..., 0], k[..., 0] = -200 * D**0.5, 1.0  # adds −200 to every score
    args = [q, k, v, upstream, *left(q, k, v, upstream)]
    (d_q,) = results(student, OF_QUERIES, ["d_q"], *args)
    (want,) = query_gradient(*wide(args))
    says = "with −200 added to every score d_q is another one: are keys beyond the last one masked?"
    # A sum of 16 products near 800 is off by up to 16 · 800 · 2⁻²⁴, weights by 0.0004 of theirs.
    expect.close(d_q, want, says, atol=2e-2, rtol=0, what="d_q")


@queries
def test_values_that_lie_apart(student, generator):
    """backward: tokens of k and of v may lie at other distances"""
    args = example(generator, 20, 20, heads=2)
    args[2] = args[2].transpose(1, 2).contiguous().transpose(1, 2)  # heads of a token side by side
    on_queries(student).correct(*args, says="d_q is wrong where tokens of v are 2 · D apart")


@queries
def test_half_precision_of_queries(student, generator):
    """backward: in half precision, with sums in float32"""
    on_queries(student).correct(*example(generator, 20, 70, torch.float16))


@queries
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_scores_of_queries_are_in_fp32(student, generator, dtype):
    """backward: in half precision scores near 64, and large products d_P, are not rounded"""
    says = f"in {dtype} scores, d_P or P are not in fp32"
    on_queries(student).correct(*hard_in_half(generator, dtype, 9, 20), says=says)


@queries
def test_small_weights_of_queries(student, generator):
    """backward: d_S comes of weights in fp32, not of those rounded to half precision"""
    says = "small weights are rounded before d_S comes of them"
    on_queries(student).correct(*small_weights(generator, 20), says=says)


@queries
@pytest.mark.parametrize("tile", [16, 32])
def test_visible(student, generator, tile):
    """backward: keys whose byte in `visible` is 0 add nothing, be it a whole tile of them"""
    q, k, v, upstream, *_ = example(generator, 20, 75)
    visible = torch.tensor([0, 1, 2, 255] * 19, dtype=torch.uint8)[None, 1:]
    visible[:, 32:64] = 0
    k[:, :, visible[0] == 0], v[:, :, visible[0] == 0] = 1e15, -1e15
    args = [q, k, v, upstream, *left(q, k, v, upstream, visible=visible)]
    given = [*args[:3], visible, *args[3:], torch.full_like(q, float("nan"))]
    sizes = [n for x in (q, k, v) for n in x.stride()[:3]]
    given += [*sizes, 1, 20, 75, D**-0.5 * math.log2(math.e)]
    tiles = {"UNIT": 1, "CAUSAL": False, "ROWS": 16, "KEYS": tile, "D": D, "BLOCK": D}
    says = f"d_q is wrong where keys are hidden, for tiles of {tile} keys"
    name = "kernels.attention_backward.query_backward_kernel"
    *_, d_q = left_by(student, name, [2], given, tiles, says)
    on_queries(student).exact.judge_results([d_q], args, {"visible": visible}, says)


@queries
def test_safe_queries(student, generator):
    """safe: every access is inside, and no two programs meet"""
    on_queries(student).safe(*example(generator, 40, 40))


@queries
@pytest.mark.parametrize("causal", [False, True])
def test_lean_queries(student, generator, causal):
    """lean: all of a query moves once, k and v once for each tile of 32 queries"""
    T = S = 50
    args = example(generator, T, S, causal=causal)
    seen = sum(min(S, first + TILE) if causal else S for first in range(0, T, TILE))
    numbers = 3 * T * D + 3 * T + 2 * seen * D  # q, upstream and d_q; m, 1/l and delta; k and v
    on_queries(student).lean(POINTWISE, *args, least=4 * numbers, causal=causal)
