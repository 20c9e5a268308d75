"""Public checks of chapter 14: kernels.attention."""

import math

import pytest
import torch

from cs231n_gen.checking import expect
from cs231n_gen.checking.kernels.by_hand import left
from cs231n_gen.checking.kernels.stages import POINTWISE, Exact, Stages, checked

attend = pytest.mark.exercise("kernels.attention.attend")
NAME, D = "kernels.attention.attention", 16
ROWS = 64  # queries that a program does, in float32


def scores(q, k, causal=False, visible=None):
    score = q @ k.mT / q.shape[-1] ** 0.5
    if visible is not None:
        score = score.masked_fill(visible == 0, float("-inf"))
    if causal:
        past = torch.ones(score.shape[-2:], dtype=torch.bool).tril()
        score = score.masked_fill(~past, float("-inf"))
    return score


def reference(q, k, v, causal=False, visible=None):
    return scores(q, k, causal, visible).softmax(-1) @ v


def terms(q, k, v, causal=False):
    """√Σ (weight · value)²: weights, and nothing before them, are rounded to half precision."""
    return (scores(q, k, causal).softmax(-1).square() @ v.square()).sqrt()


def on(student, adds=1):
    return Stages(student, NAME, Exact(reference, sums={0: adds}, rounds=terms))


def example(generator, T, S, heads=1):
    return [torch.randn(1, heads, n, D, generator=generator) for n in (T, S, S)]


def launched(student, q, k, v, keys, says, visible=None):
    """The result, and m and 1/l of each query, of a launch with tiles of 16 queries."""
    (T, dim), S = q.shape[2:], k.shape[2]
    out, stats = torch.full_like(q, float("nan")), torch.full((1, 1, 2, T), float("nan"))
    sizes = [*q.stride()[:3], *k.stride()[:3], *v.stride()[:3], 1, T, S]
    args = [q, k, v, visible, out, stats, *sizes, dim**-0.5 * math.log2(math.e)]
    tiles = {"UNIT": 1, "CAUSAL": False, "ROWS": 16, "KEYS": keys, "D": dim, "BLOCK": 16}
    *_, out, stats = left(student, "kernels.attention.kernel", [-(-T // 16)], args, tiles, says)
    return out, *stats.double().unbind(2)


def result(student, *args, **options):
    seen = student.instruments.observe.call(student.function(NAME), [*args], options)
    return expect.unpack(checked(seen)["results"], ["the result"])[0]


@attend
def test_one_key(student, generator):
    """correct: where there is one key, each query gets its value"""
    q, k, v = example(generator, 5, 1)
    says = "the only key has all of the weight, so the result is its value"
    expect.close(result(student, q, k, v), v.expand_as(q), says)


@attend
def test_equal_keys(student, generator):
    """correct: of equal keys the values are averaged"""
    q, k, v = example(generator, 5, 70)
    says = "equal keys have equal weights, so the result is the mean of all values"
    got = result(student, q, k[:, :, :1].expand_as(k), v)
    expect.close(got, v.mean(2, keepdim=True).expand_as(q), says)


@attend
@pytest.mark.parametrize("S", [7, 32, 100])
def test_any_number_of_keys(student, generator, S):
    """correct: softmax(q kᵀ / √D) v, be it one tile of keys or several"""
    on(student, adds=S * D).correct(*example(generator, 5, S))


@attend
def test_causal(student, generator):
    """correct: with causal=True query t sees keys 0 … t"""
    on(student, adds=70 * D).correct(*example(generator, 70, 70), causal=True)


@attend
@pytest.mark.parametrize("C", [200.0, -200.0])
def test_scores_far_from_0(student, generator, C):
    """correct: what is added to all scores of a query changes nothing"""
    q, k, v = example(generator, 5, 50)
    q[..., 0], k[..., 0] = 0.0, 1.0
    want = reference(q.double(), k.double(), v.double())
    q[..., 0] = C * D**0.5  # adds C to every score
    says = f"with {C:g} added to every score the result is another one: 2^score itself is too much"
    # A sum of 16 products near 800 is off by up to 16 · 800 · 2⁻²⁴: the weights by up to 0.0004.
    expect.close(result(student, q, k, v), want, says, atol=2e-3, rtol=0)


@attend
def test_small_weights(student, generator):
    """correct: weights as small as e⁻¹⁵ count, where their values are large"""
    q, k, v = example(generator, 5, 50)
    q[..., 0], k[:, :, 1:, 0], k[:, :, 0, 0] = D**0.5, -15, 0
    v[:, :, 1:] *= 1e6
    says = "weights near e⁻¹⁵, of values near 10⁶, are lost"
    on(student, adds=50 * D).correct(q, k, v, says=says)


@attend
def test_hidden_keys(student, generator):
    """correct: a key that is not seen changes nothing, however large its numbers are"""
    q, k, v = example(generator, 40, 40)
    want = reference(*(x[:, :, :20].double() for x in (q, k, v)), causal=True)
    k[:, :, 20:], v[:, :, 20:] = 1e30, -1e30
    got = result(student, q, k, v, causal=True)
    says = "keys that a query does not see raise its peak, or add to its sums"
    expect.close(expect.tensor(got, q.shape)[:, :, :20], want, says)


@attend
def test_values_that_lie_apart(student, generator):
    """correct: tokens of k and of v may lie at other distances"""
    q, k, v = example(generator, 9, 40, heads=2)
    v = v.transpose(1, 2).contiguous().transpose(1, 2)  # the heads of a token, side by side
    on(student, adds=40 * D).correct(q, k, v)


@attend
def test_half_precision(student, generator):
    """correct: in half precision, with sums in float32"""
    on(student).correct(*(x.half() for x in example(generator, 20, 100)))


@attend
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_scores_are_in_fp32(student, generator, dtype):
    """correct: in half precision scores, m and l are not rounded, be they far from 0 or not"""
    q, k, v = (x.to(dtype) for x in example(generator, 20, 40))
    _, m, r = launched(student, q, k, v, 16, "in half precision")
    bits = scores(q.double(), k.double()) / math.log(2)
    expect.close(m, bits.amax(-1), "m is not the largest score of a query, in bits and in fp32")
    l = (bits - bits.amax(-1, keepdim=True)).exp2().sum(-1)
    says = (
        "l is not the sum of the weights 2^(score − m) in fp32, before they are rounded for tl.dot"
    )
    expect.close(1 / r, l, says, atol=0, rtol=1e-5)  # half precision is off by 2⁻¹² or more
    q[..., 0], k[..., 0] = 64 * D**0.5, 1  # adds 64 to every score
    says = "with 64 added to every score the result is another one: are scores rounded?"
    on(student).correct(q, k, v, says=says)


@attend
@pytest.mark.parametrize("keys", [16, 32])
def test_visible(student, generator, keys):
    """correct: keys whose byte in `visible` is 0 are hidden, be it a whole tile of them"""
    q, k, v = example(generator, 20, 75)
    visible = torch.tensor([0, 1, 2, 255] * 19, dtype=torch.uint8)[None, 1:]
    visible[:, 32:64] = 0
    hidden = visible[0] == 0
    k[:, :, hidden], v[:, :, hidden] = 1e30, -1e30
    says = f"the result is wrong where keys are hidden, for tiles of {keys} keys"
    out, m, r = launched(student, q, k, v, keys, says, visible)
    on(student, adds=75 * D).exact.judge_results([out], [q, k, v], {"visible": visible}, says)
    total = scores(q.double(), k.double(), visible=visible).logsumexp(-1) / math.log(2)
    expect.close(m - r.log2(), total, f"{says}: m and l count keys that are hidden")


@attend
def test_safe(student, generator):
    """safe: every access is inside, and no two programs meet"""
    on(student, adds=70 * D).safe(*example(generator, 70, 50))
    on(student, adds=40 * 7).safe(*(x[..., :7] for x in example(generator, 20, 40)))


@attend
@pytest.mark.parametrize("causal", [False, True])
def test_lean(student, generator, causal):
    """lean: q and the result move once, k and v once for each tile of 64 queries that sees them"""
    q, k, v = example(generator, 100 if causal else 130, 100 if causal else 50)
    T, S = q.shape[2], k.shape[2]
    seen = sum(min(S, first + ROWS) if causal else S for first in range(0, T, ROWS))
    numbers = 2 * T * D + 2 * T + 2 * seen * D  # m and 1/l are written too
    on(student, adds=S * D).lean(POINTWISE, q, k, v, least=4 * numbers, causal=causal)
