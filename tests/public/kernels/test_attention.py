"""Public checks of chapter 14: kernels.attention."""

import pytest
import torch

from cs231n_gen.checking import expect
from cs231n_gen.checking.kernels.stages import POINTWISE, Exact, Stages, checked

attend = pytest.mark.exercise("kernels.attention.attend")
NAME, D = "kernels.attention.attention", 16
ROWS = 64  # queries that a program does, in float32


def reference(q, k, v, causal=False):
    score = q @ k.mT / q.shape[-1] ** 0.5
    if causal:
        past = torch.ones(score.shape[-2:], dtype=torch.bool).tril()
        score = score.masked_fill(~past, float("-inf"))
    return score.softmax(-1) @ v


def on(student, adds=1):
    return Stages(student, NAME, Exact(reference, sums={0: adds}, rounds=True))


def example(generator, T, S, heads=1):
    return [torch.randn(1, heads, n, D, generator=generator) for n in (T, S, S)]


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
def test_safe(student, generator):
    """safe: every access is inside, and no two programs meet"""
    on(student, adds=70 * D).safe(*example(generator, 70, 50))


@attend
def test_lean(student, generator):
    """lean: q and the result move once, k and v once for each tile of 64 queries"""
    q, k, v = example(generator, 130, 50)
    numbers = 2 * 130 * D + 2 * 130 + -(-130 // ROWS) * 2 * 50 * D  # m and 1/l are written too
    on(student, adds=50 * D).lean(POINTWISE, q, k, v, least=4 * numbers)
