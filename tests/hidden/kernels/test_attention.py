"""Hidden grader of chapter 14, kernels.attention: closed forms, invariances, float64."""

import math

import pytest
import torch
import torch.nn.functional as F

from cs231n_gen.checking import draws, expect
from cs231n_gen.checking.kernels.by_hand import left
from cs231n_gen.checking.kernels.stages import POINTWISE, Exact, Stages, checked

NAME = "kernels.attention.attention"
ROWS = 64  # queries that a program does, in float32 and with D up to 64


attend = pytest.mark.exercise("kernels.attention.attend")


def reference(q, k, v, causal=False, scale=None, visible=None):
    return scores(q, k, causal, scale, visible).softmax(-1) @ v


def scores(q, k, causal=False, scale=None, visible=None):
    score = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if visible is not None:
        score = score.masked_fill(visible == 0, float("-inf"))
    if not causal:
        return score
    past = torch.ones(score.shape[-2:], dtype=torch.bool).tril()
    return score.masked_fill(~past, float("-inf"))


def terms(q, k, v, causal=False, scale=None, visible=None):
    """√Σ (weight · value)²: weights, and nothing before them, are rounded to half precision."""
    weight = scores(q, k, causal, scale, visible).softmax(-1)
    return (weight.square() @ v.square()).sqrt()


def on(student, args, dtype=torch.float32):
    """A result adds up S values, by weights that come of sums of D products: S · D numbers.

    In float32 alone: half precision rounds the result by far more than the sums are off.
    """
    adds = math.prod(args[1].shape[-2:]) if dtype == torch.float32 else 1
    return Stages(student, NAME, Exact(reference, sums={0: adds}, rounds=terms))


def correct(student, args, **options):
    on(student, args, args[0].dtype).correct(*args, **options)


def example(generator, T, S, D=16, dtype=torch.float32, batch=1, heads=1):
    shapes = [(batch, heads, n, D) for n in (T, S, S)]
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def result(student, *args, **options):
    seen = student.instruments.observe.call(student.function(NAME), [*args], options)
    return expect.unpack(checked(seen)["results"], ["the result"])[0]


def launched(student, q, k, v, rows, keys, causal, says, visible=None):
    """The result, and m and 1/l of each query, of a launch with tiles of this size.

    Args:
        q, k, v: (heads, tokens, D). Tokens of v are put further apart than those of k.
    """
    (heads, T, D), S, far = q.shape, k.shape[1], v.shape[2] + 3
    out, stats = torch.full_like(q, float("nan")), torch.full((heads, 2, T), float("nan"))
    apart = F.pad(v, (0, 3), value=6e4)
    sizes = [0, T * D, D, 0, S * D, D, 0, S * far, far, heads, T, S, D**-0.5 * math.log2(math.e)]
    *_, out, stats = left(
        student,
        "kernels.attention.kernel",
        [heads * math.ceil(T / rows)],
        [q, k, apart, visible, out, stats, *sizes],
        {"UNIT": 1, "CAUSAL": causal, "ROWS": rows, "KEYS": keys, "D": D, "BLOCK": 16},
        says,
    )
    return out, *stats.double().unbind(1)


def right(student, args, rows, keys, says, causal=False, visible=None, exact=None):
    """Hold such a launch to the truth: the result, if `exact` is given, m and 1/l."""
    out, m, r = launched(student, *args, rows, keys, causal, says, visible)
    if exact is not None:
        exact.judge_results([out], args, {"causal": causal, "visible": visible}, says)
    bits = scores(*(x.double() for x in args[:2]), causal, visible=visible) / math.log(2)
    expect.close(m, bits.amax(-1), f"{says}: m is not the largest score that a query sees, in bits")
    l = (bits - bits.amax(-1, keepdim=True)).exp2().sum(-1)
    # Sums of at most 50 weights in fp32; half precision would be off by 2⁻¹² of them or more.
    expect.close(1 / r, l, f"{says}: l is not Σ 2^(score − m) in fp32", atol=0, rtol=1e-5)


# --- theory ---------------------------------------------------------------------------------------


@attend(weight=2)
def test_equal_keys(student, generator):
    """correct: one key gives its value, and equal keys the mean of the values"""
    for S in (1, draws.whole(generator, 2, 31), draws.whole(generator, 65, 101)):
        q, k, v = example(generator, 7, S)
        got = result(student, q, k[:, :, :1].expand_as(k), v)
        says = f"{S} equal keys have equal weights: the mean of their values must come"
        expect.close(got, v.mean(2, keepdim=True).expand_as(q), says)


@attend
def test_weights_add_up_to_1(student, generator):
    """correct: where all values are 1 so is the result"""
    for causal in (False, True):
        q, k, v = example(generator, 40, draws.whole(generator, 40, 91))
        got = result(student, 3 * q, k, torch.ones_like(v), causal=causal)
        expect.close(got, torch.ones_like(q), "the weights of a query do not add up to 1")


@attend
def test_what_changes_nothing(student, generator):
    """correct: neither the order of the keys nor what is added to all scores changes the result"""
    q, k, v = example(generator, 9, draws.whole(generator, 65, 91))
    q[..., 0], k[..., 0] = 0.0, 1.0
    want = reference(q.double(), k.double(), v.double())
    order = torch.randperm(k.shape[2], generator=generator)
    got = result(student, q, k[:, :, order], v[:, :, order])
    expect.close(got, want, "the result depends on the order of the keys")
    for C in (-150.0, 150.0):
        q[..., 0] = 4 * C  # adds C to every score
        says = f"with {C:g} added to every score the result is another one"
        # A sum of 16 products near 600 is off by up to 16 · 600 · 2⁻²⁴: the weights by 0.0003.
        expect.close(result(student, q, k, v), want, says, atol=2e-3, rtol=0)


@attend(weight=2)
def test_large_scores(student, generator):
    """correct: of scores near ±10 000 the largest wins, wherever its key is"""
    S = draws.whole(generator, 65, 101)
    for C, last in [(1e4, False), (1e4, True), (-1e4, False), (-1e7, True)]:
        q, k, v = example(generator, 7, S)
        place = draws.whole(generator, 64, S) if last else draws.whole(generator, 0, 32)
        q[:], k[:] = 0.0, 0.0
        q[..., 0], k[..., 0] = 4 * C, 1.0  # adds C to every score
        q[..., 1], k[:, :, place, 1] = 400.0, 1.0  # and 100 to one
        got = result(student, q, k, v)
        says = f"of scores near {C:g} that of key {place} is largest by 100: its value must come"
        expect.close(got, v[:, :, [place]].expand_as(q), says)


@attend
def test_small_weights(student, generator):
    """correct: weights as small as e⁻¹⁵ count, where their values are large"""
    q, k, v = example(generator, 5, 50)
    q[..., 0], k[:, :, 1:, 0], k[:, :, 0, 0] = 16**0.5, -15, 0
    v[:, :, 1:] *= 1e6
    says = "weights near e⁻¹⁵, of values near 10⁶, are lost"
    on(student, [q, k, v]).correct(q, k, v, says=says)


@attend(weight=2)
def test_causal(student, generator):
    """correct: query t sees keys 0 … t, whatever the numbers of the others are"""
    T, cut = draws.whole(generator, 66, 91), draws.whole(generator, 20, 51)
    q, k, v = example(generator, T, T)
    correct(student, [q, k, v], causal=True)
    for args in (example(generator, 40, 7), example(generator, 7, 40)):
        correct(student, args, causal=True)
    want = reference(*(x[:, :, :cut].double() for x in (q, k, v)), causal=True)
    k[:, :, cut:], v[:, :, cut:] = 1e30, -1e30
    got = expect.tensor(result(student, q, k, v, causal=True), q.shape)
    expect.close(got[:, :, 0], v[:, :, 0], "the first query sees the first key alone")
    says = "keys that a query does not see raise its peak, or add to its sums"
    expect.close(got[:, :, :cut], want, says)


# --- against float64 ------------------------------------------------------------------------------


@attend(weight=3)
def test_every_size(student, generator):
    """correct: softmax(q kᵀ · scale) v for any number of queries, keys and numbers of a head"""
    for T, S, D in [(1, 1, 16), (7, 7, 1), (65, 33, 16), (2, 1025, 16), (5, 40, 100)]:
        correct(student, example(generator, T, S, D))
    args = example(
        generator,
        draws.whole(generator, 2, 71),
        draws.whole(generator, 2, 71),
        24,
        batch=2,
        heads=2,
    )
    correct(student, args, scale=0.05 + 0.3 * float(torch.rand(1, generator=generator)))


@attend
def test_half_precision(student, generator):
    """correct: in float16 and bfloat16, as exact as torch"""
    for dtype, T, S in [(torch.float16, 129, 7), (torch.bfloat16, 3, 1023)]:
        correct(student, example(generator, T, S, dtype=dtype))
        correct(student, example(generator, 20, 40, 32, dtype=dtype), causal=True)
        q, k, v = example(generator, 20, 40, dtype=dtype)
        q[..., 0], k[..., 0] = 4 * 64, 1  # adds 64 to every score, which half precision would round
        correct(student, [q, k, v])
        args = [x[0] for x in example(generator, 20, 20, dtype=dtype, heads=2)]
        right(student, args, 32, 16, f"in {dtype}")


@attend
def test_any_layout(student, generator):
    """correct: for strided, transposed and expanded tensors too"""
    for layout in ("strided", "transposed", "expanded"):
        correct(student, example(generator, 9, 20, batch=2), layout=layout)


@attend(weight=2)
def test_tiles_of_any_size(student, generator):
    """correct: for tiles of any size, wherever k and v lie; m and l are those of the scores"""
    # The gradients need m and l.
    for rows, keys, causal in [(16, 32, False), (32, 16, True)]:
        T, S, D = (draws.whole(generator, *of) for of in ((17, 32), (33, 48), (5, 16)))
        args = [x[0] for x in example(generator, T, S, D, heads=2)]
        says = f"the result is wrong for tiles of {rows} queries and {keys} keys"
        right(student, args, rows, keys, says, causal, exact=Exact(reference, sums={0: S * D}))


@attend(weight=2)
def test_visible(student, generator):
    """correct: keys whose byte in `visible` is 0 are hidden, be it a whole tile of them"""
    for causal in (False, True):
        T, S, D = draws.whole(generator, 17, 32), draws.whole(generator, 50, 60), 7
        q, k, v = [x[0] for x in example(generator, T, S, D, heads=2)]
        visible = torch.tensor([0, 1, 2, 255], dtype=torch.uint8)
        visible = visible[torch.randint(4, (1, S), generator=generator)]
        visible[:, 0], visible[:, 16:32] = 128, 0
        k[:, visible[0] == 0], v[:, visible[0] == 0] = 1e30, -1e30
        says = "the result is wrong where keys are hidden"
        exact = Exact(reference, sums={0: S * D})
        right(student, [q, k, v], 16, 16, says, causal, visible, exact)


# --- as the instruments see it --------------------------------------------------------------------


@attend(weight=2)
def test_safe(student, generator):
    """safe: nothing outside of the tensors is touched, and no two programs meet"""
    T, S = draws.whole(generator, 65, 91), draws.whole(generator, 33, 41)
    for causal in (False, True):
        args = example(generator, T, S, 7 if causal else 16)
        on(student, args).safe(*args, causal=causal)


@attend
def test_honest(student, generator):
    """honest: the kernel does the work, all of it, every time"""
    args, others = (example(generator, 65, 40) for _ in range(2))
    on(student, args).honest(args, others)


@attend
def test_lean(student, generator):
    """lean: q and the result move once, k and v once for each tile of queries that sees them

    So much, with m and 1/l of each query, is the least for this grid: a program has room for one
    tile of queries, and goes through all keys for it.
    """
    T, S, D = 130, draws.whole(generator, 40, 71), 16
    for causal in (False, True):
        args = example(generator, T, T if causal else S, D)
        seen = [min(T, first + ROWS) if causal else S for first in range(0, T, ROWS)]
        numbers = 2 * T * D + 2 * T + 2 * sum(seen) * D
        on(student, args).lean(POINTWISE, *args, least=4 * numbers, causal=causal)


@attend
def test_compiles(student, generator):
    """compiles: for an H100, with its instructions for matrices and without spills"""
    small = example(generator, 20, 40, 64, torch.float16)
    large = example(generator, 256, 256, 64, torch.float16, heads=2)
    on(student, small, torch.float16).compiles(small, large)
