"""Public checks of chapter 14: kernels.attention_backward."""

import math

import pytest
import torch

from cs231n_gen.checking import expect
from cs231n_gen.checking.kernels.precision import precise
from cs231n_gen.checking.kernels.reference import as_tuple
from cs231n_gen.checking.kernels.stages import POINTWISE, Exact, Stages, checked
from cs231n_gen.instruments.error_budget import wide

keys = pytest.mark.exercise("kernels.attention_backward.keys_backward")
queries = pytest.mark.exercise("kernels.attention_backward.queries_backward")
OF_KEYS = "kernels.attention_backward.key_gradients"
OF_QUERIES = "kernels.attention_backward.query_gradient"
D, TILE = 16, 32  # numbers of a head, and queries or keys that are one tile in float32
EPS = torch.finfo(torch.float32).eps


def scores(q, k, causal):
    score = q @ k.mT / q.shape[-1] ** 0.5
    if not causal:
        return score
    past = torch.ones(score.shape[-2:], dtype=torch.bool).tril()
    return score.masked_fill(~past, float("-inf"))


def key_gradients(q, k, v, upstream, stats, delta, causal=False):
    k, v = (x.detach().requires_grad_() for x in (k, v))
    return torch.autograd.grad(scores(q, k, causal).softmax(-1) @ v, (k, v), upstream)


def query_gradient(q, k, v, upstream, stats, delta, causal=False):
    q = q.detach().requires_grad_()
    return torch.autograd.grad(scores(q, k, causal).softmax(-1) @ v, q, upstream)


class Truth(Exact):
    """Gradients, which may be off by 2⁻²³ · scale · three lengths where they cancel.

    d_P − delta is a difference of two numbers of the size |v| |upstream|, each rounded by its own;
    torch takes both from one. And weights are off by as much as scores are, scale · |q| |k|.

    Args:
        reference: gives the gradients.
        lengths: for each by name the places, among q, k, v and upstream, of those three.
    """

    def __init__(self, reference, lengths):
        super().__init__(reference)
        self.lengths = lengths

    def judge_results(self, got, args, options, says):
        plain = as_tuple(self.reference(*args, **options))
        exact = as_tuple(self.reference(*wide([*args]), **options))
        expect.true(len(got) == len(plain), "wrong number of results", len(got), len(plain))
        lengths = [float(x.double().norm(dim=-1).max()) for x in args[:4]]
        for ours, torchs, truth, name in zip(got, plain, exact, self.lengths, strict=True):
            floor = EPS / D**0.5 * math.prod(lengths[i] for i in self.lengths[name])
            unit = torch.finfo(torchs.dtype).eps * float(truth.abs().max())
            precise(ours, truth, torchs, f"{says} ({name})", 1 + floor / unit)


def on_keys(student):
    return Stages(student, OF_KEYS, Truth(key_gradients, {"d_k": (0, 2, 3), "d_v": (0, 1, 3)}))


def on_queries(student):
    return Stages(student, OF_QUERIES, Truth(query_gradient, {"d_q": (1, 2, 3)}))


def example(generator, T, S, dtype=torch.float32, heads=1, causal=False):
    """q, k, v and upstream, and what attention left: stats, m and 1/l of each query, and delta."""
    given = [torch.randn(1, heads, n, D, generator=generator).to(dtype) for n in (T, S, S, T)]
    return [*given, *left(*given, causal)]


def left(q, k, v, upstream, causal=False):
    q, k, v, upstream = wide([q, k, v, upstream])
    bits = scores(q, k, causal) * math.log2(math.e)
    m = bits.amax(-1).float()
    l = torch.exp2(bits - m[..., None]).sum(-1)
    out = scores(q, k, causal).softmax(-1) @ v
    return torch.stack([m, 1 / l], 2).float(), (out * upstream).sum(-1).float()


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
