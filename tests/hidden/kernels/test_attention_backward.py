"""Hidden grader of chapter 14, kernels.attention_backward: closed forms, identities, float64."""

import math

import pytest
import torch
import torch.nn.functional as F

from cs231n_gen.checking import draws, expect
from cs231n_gen.checking.kernels.by_hand import left as left_by
from cs231n_gen.checking.kernels.stages import POINTWISE, Exact, Stages, checked
from cs231n_gen.instruments.error_budget import wide

OF_KEYS = "kernels.attention_backward.key_gradients"
OF_QUERIES = "kernels.attention_backward.query_gradient"
D, TILE = 16, 32  # numbers of a head, and queries or keys that are one tile in float32
EPS = torch.finfo(torch.float32).eps
LOG2_E = math.log2(math.e)


keys = pytest.mark.exercise("kernels.attention_backward.keys_backward")
queries = pytest.mark.exercise("kernels.attention_backward.queries_backward")


# --- the truth ------------------------------------------------------------------------------------


def scores(q, k, causal=False, scale=None, visible=None):
    score = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if visible is not None:
        score = score.masked_fill(visible == 0, float("-inf"))
    if not causal:
        return score
    past = torch.ones(score.shape[-2:], dtype=torch.bool).tril()
    return score.masked_fill(~past, float("-inf"))


def attention(q, k, v, causal=False, scale=None, visible=None):
    return scores(q, k, causal, scale, visible).softmax(-1) @ v


def key_gradients(q, k, v, upstream, stats, delta, causal=False, scale=None):
    k, v = (x.detach().requires_grad_() for x in (k, v))
    return torch.autograd.grad(attention(q, k, v, causal, scale), (k, v), upstream)


def query_gradient(q, k, v, upstream, stats, delta, *causal_and_scale, **options):
    q = q.detach().requires_grad_()
    return torch.autograd.grad(attention(q, k, v, *causal_and_scale, **options), q, upstream)


class Truth(Exact):
    """Gradients by autograd, each number off by no more than its own terms allow.

    How far a number may be off is seen by formulas that take m, 1/l and delta as they are given:
    d_P − delta is a difference of two numbers that are rounded each by its own, and where it
    cancels autograd, which takes both from one, knows of no error.
    """

    def __init__(self, reference, formula, rounds):
        super().__init__(reference, formula=formula, rounds=rounds)


def parts(q, k, v, upstream, stats, delta, causal=False, scale=None, visible=None):
    """P and d_S from what attention left, and the scale."""
    m, r = (x[..., None] for x in stats.unbind(2))
    P = (scores(q, k, causal, scale, visible) - m * math.log(2)).exp() * r
    return P, P * (upstream @ v.mT - delta[..., None]), scale or q.shape[-1] ** -0.5


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


def rounding(args, places, scale=None, **_):
    """How far a gradient may be off where it cancels: see `Truth`."""
    lengths = [float(args[i].double().norm(dim=-1).max()) for i in places]
    return EPS * (scale or args[0].shape[-1] ** -0.5) * math.prod(lengths)


KEYS = Truth(key_gradients, keys_by_formula, terms_of_keys)
QUERIES = Truth(query_gradient, query_by_formula, terms_of_query)


# --- the inputs -----------------------------------------------------------------------------------


def example(
    generator, T, S, dim=D, dtype=torch.float32, batch=1, heads=1, causal=False, scale=None
):
    """q, k, v and upstream, and what attention left: stats, m and 1/l of each query, and delta."""
    shapes = [(batch, heads, n, dim) for n in (T, S, S, T)]
    given = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    return [*given, *left(*given, causal, scale)]


def left(q, k, v, upstream, causal=False, scale=None, visible=None):
    """What attention leaves for the backward pass, rounded once; l belongs to the rounded m."""
    q, k, v, upstream = wide([q, k, v, upstream])
    bits = scores(q, k, causal, scale, visible) * LOG2_E
    m = bits.amax(-1).float()
    l = torch.exp2(bits - m[..., None]).sum(-1)
    delta = (attention(q, k, v, causal, scale, visible) * upstream).sum(-1)
    return torch.stack([m, 1 / l], 2).float(), delta.float()


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


def of_keys(student, *args, **options):
    """d_k and d_v."""
    seen = student.instruments.observe.call(student.function(OF_KEYS), [*args], options)
    pair = expect.unpack(checked(seen)["results"], ["d_k", "d_v"])
    return [expect.tensor(d, args[1].shape, n) for d, n in zip(pair, ("d_k", "d_v"), strict=True)]


def of_queries(student, *args, first=None, **options):
    """d_q, of the first queries alone if their number is given."""
    seen = student.instruments.observe.call(student.function(OF_QUERIES), [*args], options)
    (d_q,) = expect.unpack(checked(seen)["results"], ["d_q"])
    if isinstance(d_q, torch.Tensor) and d_q.dim() == 4:
        d_q = d_q[:, :, :first]
    return expect.tensor(d_q, args[0][:, :, :first].shape, "d_q")


def launched(student, kernel, args, made, rows, keys, causal, says, visible=None):
    """What a launch of a kernel with tiles of this size makes, and its sizes.

    Args:
        args: q, k, v, upstream, stats, delta, of one example; tokens of q are put further apart
            than those of k, those of v still further.
        made: the places among them of those that results are shaped like.
    """
    q, k, v = args[:3]
    (heads, T, dim), S = q.shape[1:], k.shape[2]
    sizes = []
    for x, more in ((q, 3), (k, 0), (v, 5)):
        token = dim + more
        sizes += [0, x.shape[2] * token, token]
    apart = [F.pad(q, (0, 3), value=1e30), k, F.pad(v, (0, 5), value=1e30)]
    given = [*apart, *args[3:]] if len(made) == 2 else [*apart, visible, *args[3:]]
    out = [torch.full_like(args[i], float("nan")) for i in made]
    tokens, tile = (S, keys) if len(made) == 2 else (T, rows)
    came = left_by(
        student,
        f"kernels.attention_backward.{kernel}",
        [heads * math.ceil(tokens / tile)],
        [*given, *out, *sizes, heads, T, S, dim**-0.5 * LOG2_E],
        {"UNIT": 1, "CAUSAL": causal, "ROWS": rows, "KEYS": keys, "D": dim, "BLOCK": 16},
        says,
    )
    return came[-len(made) :]


# --- keys_backward: theory ------------------------------------------------------------------------


def correct_keys(student, args, **options):
    Stages(student, OF_KEYS, KEYS).correct(*args, **options)


@keys(weight=2)
def test_equal_keys(student, generator):
    """backward: of equal keys each value gets the same share of upstream, one key all of it"""
    for T, S in [
        (draws.whole(generator, 33, 71), 1),
        (draws.whole(generator, 2, 32), draws.whole(generator, 2, 41)),
    ]:
        q, k, v, upstream, *_ = example(generator, T, S)
        k = k[:, :, :1].repeat(1, 1, S, 1)
        args = [q, k, v, upstream, *left(q, k, v, upstream)]
        d_k, d_v = of_keys(student, *args)
        share = (upstream.double().sum(2, keepdim=True) / S).expand_as(v)
        says = f"{S} equal keys have equal weights: each value gets 1/{S} of upstream"
        expect.close(d_v, share, says, what="d_v")
        centred = v.double() - v.double().mean(2, keepdim=True)
        want = (centred @ upstream.double().mT / S) @ q.double() / D**0.5
        says = f"for {S} equal keys d_k is 1/{S} Σ ((v − mean of v) · upstream) q · scale"
        expect.close(d_k, want, says, atol=T * rounding(args, (0, 2, 3)), rtol=0, what="d_k")


@keys(weight=2)
def test_sums_over_keys(student, generator):
    """backward: over all keys d_v adds up to upstream, and d_k to 0"""
    for causal in (False, True):
        T, S = draws.whole(generator, 20, 51), draws.whole(generator, 33, 61)
        args = example(generator, T, S, causal=causal)
        d_k, d_v = of_keys(student, *args, causal=causal)
        says = "the weights of a query add up to 1: so much of its upstream must reach the values"
        expect.close(
            d_v.double().sum(2), args[3].double().sum(2), says, atol=1e-4, rtol=1e-4, what="Σ d_v"
        )
        says = "what is added to all keys changes no weight: d_k must add up to 0 over the keys"
        most = T * rounding(args, (0, 2, 3))
        expect.close(
            d_k.double().sum(2), torch.zeros(1, 1, D), says, atol=most, rtol=0, what="Σ d_k"
        )


@keys(weight=2)
def test_slopes_of_keys(student, generator):
    """backward: d_k and d_v are the slopes that finite differences find"""
    T, S = draws.whole(generator, 20, 51), draws.whole(generator, 20, 51)
    args = example(generator, T, S, causal=True)
    q, k, v, upstream = wide(args[:4])
    along = [torch.randn(k.shape, generator=generator, dtype=torch.float64) for _ in "kv"]
    for i, d in enumerate(of_keys(student, *args, causal=True)):

        def loss(step, i=i):
            moved = [x + step * along[i] * (i == j) for j, x in enumerate((k, v))]
            return float((attention(q, *moved, causal=True) * upstream).sum())

        slope = (loss(1e-4) - loss(-1e-4)) / 2e-4
        most = 1e-4 * float((d.double() * along[i]).abs().sum())
        says = f"{'d_k' if i == 0 else 'd_v'} is not the slope of the result in a random direction"
        expect.close((d.double() * along[i]).sum(), slope, says, atol=most, rtol=0)


@keys
def test_queries_in_any_order(student, generator):
    """backward: the order of the queries changes nothing; that of keys only that of gradients"""
    T, S = draws.whole(generator, 33, 61), draws.whole(generator, 10, 32)
    args = example(generator, T, S)
    first = of_keys(student, *args)
    order = torch.randperm(T, generator=generator)
    q, k, v, upstream, stats, delta = args
    turned = [q[:, :, order], k, v, upstream[:, :, order], stats[..., order], delta[..., order]]
    places = torch.randperm(S, generator=generator)
    moved = [q, k[:, :, places], v[:, :, places], upstream, stats, delta]
    for name, want, one, other in zip(
        ("d_k", "d_v"), first, of_keys(student, *turned), of_keys(student, *moved), strict=True
    ):
        most = T * rounding(args, (0, 2, 3))
        expect.close(
            one, want.double(), f"{name} depends on the order of the queries", atol=most, rtol=0
        )
        says = f"{name} of a key depends on its place among the keys"
        expect.close(other, want[:, :, places].double(), says, atol=most, rtol=0)


@keys(weight=2)
def test_causal_keys(student, generator):
    """backward: with causal=True key s gets its gradient from queries s, s + 1, … alone"""
    T = draws.whole(generator, 34, 51)
    args = example(generator, T, T, causal=True)
    correct_keys(student, args, causal=True)
    correct_keys(student, example(generator, 40, 7, causal=True), causal=True)
    d_v = of_keys(student, *args, causal=True)[1]
    weight = scores(*wide(args[:2]), causal=True).softmax(-1)[:, :, -1, -1:]
    says = "the last key is seen by the last query alone: its value gets that query's upstream"
    expect.close(d_v[:, :, -1], weight * args[3][:, :, -1], says, what="d_v")
    more = draws.whole(generator, 1, 41)
    args = example(generator, 7, 7 + more, causal=True)
    correct_keys(student, args, causal=True)
    for name, d in zip(("d_k", "d_v"), of_keys(student, *args, causal=True), strict=True):
        says = f"no query saw the last {more} keys: their {name} is 0"
        expect.close(d[:, :, 7:], torch.zeros(1, 1, more, D), says, atol=0, rtol=0, what=name)


@keys
def test_scores_far_from_0(student, generator):
    """backward: scores near ±1000 are as good as others, once m is subtracted"""
    T, S = draws.whole(generator, 5, 41), draws.whole(generator, 5, 41)
    q, k, v, upstream, *_ = example(generator, T, S)
    q, k = (8 * q).round() / 8, (8 * k).round() / 8  # so that q · k is exact in float32
    q[..., 0], k[..., 0] = 0.0, 1.0
    want = key_gradients(*wide([q, k, v, upstream]), None, None)
    for C in (-1024.0, 1024.0):
        q[..., 0] = C * D**0.5  # adds C to every score
        args = [q, k, v, upstream, *left(q, k, v, upstream)]
        # scale · q · k and m, near 1500 bits, are each rounded to 2⁻¹⁴ or better: so are weights.
        most = 2**-13 * T * math.prod(float(x[..., 1:].norm(dim=-1).max()) for x in (q, v))
        most *= float(upstream.norm(dim=-1).max()) / D**0.5
        for name, d, truth in zip(("d_k", "d_v"), of_keys(student, *args), want, strict=True):
            says = f"with {C:g} added to every score {name} is another one"
            expect.close(d[..., 1:], truth[..., 1:], says, atol=most, rtol=0, what=name)


# --- keys_backward: float64, and the instruments --------------------------------------------------


@keys(weight=3)
def test_every_size_of_keys(student, generator):
    """backward: d_k and d_v for any number of queries, keys and numbers of a head"""
    for T, S, dim in [(1, 7, 16), (7, 7, 2), (33, 33, 16), (1025, 2, 16), (20, 33, 100)]:
        correct_keys(student, example(generator, T, S, dim))
    T, S, scale = draws.whole(generator, 2, 51), draws.whole(generator, 2, 32), 0.4
    args = example(generator, T, S, 24, batch=2, heads=2, scale=scale)
    correct_keys(student, args, scale=scale)


@keys
def test_half_precision_of_keys(student, generator):
    """backward: in float16 and bfloat16, as exact as torch"""
    for dtype, T, S in [(torch.float16, 1024, 3), (torch.bfloat16, 3, 129)]:
        correct_keys(student, example(generator, T, S, dtype=dtype))
        args = example(generator, 40, 40, 32, dtype=dtype, causal=True)
        correct_keys(student, args, causal=True)
        says = f"in {dtype} scores, d_P, or P before it is multiplied by upstream are not in fp32"
        correct_keys(student, hard_in_half(generator, dtype, 20, 9), says=says)
    args = small_weights(generator, draws.whole(generator, 5, 20))
    d_k, _ = of_keys(student, *args)
    # Of d_v half of the bits are lost, as they may be: P is rounded where it is multiplied.
    wanted = Truth(
        *(lambda *a, f=f: f(*a)[0] for f in (key_gradients, keys_by_formula, terms_of_keys))
    )
    wanted.judge_results([d_k], args, {}, "small weights are rounded before d_S comes of them")


@keys
def test_any_layout_of_keys(student, generator):
    """backward: for strided, transposed and expanded tensors too"""
    for layout in ("strided", "transposed", "expanded"):
        correct_keys(student, example(generator, 20, 9, batch=2), layout=layout)


@keys(weight=2)
def test_tiles_of_any_size_of_keys(student, generator):
    """backward: for tiles of any size, wherever q, k and v lie"""
    for rows, tile, causal in [(16, 32, False), (32, 16, True)]:
        T, S, dim = (draws.whole(generator, *of) for of in ((33, 48), (17, 32), (5, 16)))
        args = example(generator, T, S, dim, heads=2, causal=causal)
        says = f"a gradient is wrong for tiles of {rows} queries and {tile} keys"
        got = launched(student, "backward_kernel", args, (1, 2), rows, tile, causal, says)
        KEYS.judge_results(got, args, {"causal": causal}, says)


@keys(weight=2)
def test_safe_keys(student, generator):
    """safe: nothing outside of the tensors is touched, and no two programs meet"""
    T, S = draws.whole(generator, 33, 61), draws.whole(generator, 33, 61)
    Stages(student, OF_KEYS, KEYS).safe(*example(generator, T, S, 7))
    args = example(generator, T, S, causal=True)
    Stages(student, OF_KEYS, KEYS).safe(*args, causal=True)


@keys
def test_honest_keys(student, generator):
    """honest: the kernel does the work, all of it, every time"""
    args, others = (example(generator, 20, 65) for _ in range(2))
    Stages(student, OF_KEYS, KEYS).honest(args, others)


@keys
def test_lean_keys(student, generator):
    """lean: k, v and their gradients move once, all of a query once for each tile of keys

    That is the least for this grid: a program has room for one tile of keys and its gradients, and
    goes through all queries for it, with causal=True through those from its first key on.
    """
    T = S = draws.whole(generator, 40, 61)
    for causal in (False, True):
        args = example(generator, T, S, causal=causal)
        queries = sum(T - causal * first for first in range(0, S, TILE))
        numbers = 4 * S * D + queries * (2 * D + 3)  # q, upstream, m, 1/l and delta
        Stages(student, OF_KEYS, KEYS).lean(POINTWISE, *args, least=4 * numbers, causal=causal)


@keys
def test_compiles_keys(student, generator):
    """compiles: for an H100, with its instructions for matrices and without spills"""
    small = example(generator, 20, 20, 64, torch.float16)
    large = example(generator, 256, 256, 64, torch.float16, heads=2)
    Stages(student, OF_KEYS, KEYS).compiles(small, large)


# --- queries_backward: theory ---------------------------------------------------------------------


def correct_queries(student, args, **options):
    Stages(student, OF_QUERIES, QUERIES).correct(*args, **options)


@queries(weight=2)
def test_nothing_to_choose(student, generator):
    """backward: d_q is 0 with one key, equal keys or equal values, and not otherwise"""
    T, S = draws.whole(generator, 2, 61), draws.whole(generator, 2, 51)
    for n, keys_of, values_of, what in [
        (1, 1, 1, "one key"),
        (S, 1, S, "equal keys"),
        (S, S, 1, "equal values"),
    ]:
        q, k, v, upstream, *_ = example(generator, T, n)
        k, v = k[:, :, :keys_of].expand(1, 1, n, D), v[:, :, :values_of].expand(1, 1, n, D)
        args = [q, k, v, upstream, *left(q, k, v, upstream)]
        most = 4 * rounding(args, (1, 2, 3))
        says = f"with {what} the result does not depend on q: d_q is 0"
        expect.close(
            of_queries(student, *args), torch.zeros_like(q), says, atol=most, rtol=0, what="d_q"
        )
    args = example(generator, T, S)
    longest = float(of_queries(student, *args).norm(dim=-1).max())
    says = "d_q is 0 though keys and values differ"
    expect.true(longest > 8 * rounding(args, (1, 2, 3)), says)


@queries(weight=2)
def test_two_keys(student, generator):
    """backward: with two keys of weights w and 1 − w, d_q goes along their difference"""
    q, k, v, upstream, *_ = args = example(generator, draws.whole(generator, 2, 61), 2)
    d_q = of_queries(student, *args)
    q, k, v, upstream = wide(args[:4])
    w = scores(q, k).softmax(-1)[..., :1]
    gain = (upstream * (v[:, :, :1] - v[:, :, 1:])).sum(-1, keepdim=True)
    want = w * (1 - w) * gain * (k[:, :, :1] - k[:, :, 1:]) / D**0.5
    says = "d_q is w (1 − w) · upstream · (v₁ − v₂) · (k₁ − k₂) · scale here"
    expect.close(d_q, want, says, atol=8 * rounding(args, (1, 2, 3)), rtol=0, what="d_q")


@queries(weight=2)
def test_slopes_of_queries(student, generator):
    """backward: d_q is the slope that finite differences find"""
    for causal in (False, True):
        args = example(
            generator, draws.whole(generator, 20, 51), draws.whole(generator, 20, 51), causal=causal
        )
        q, k, v, upstream = wide(args[:4])
        along = torch.randn(q.shape, generator=generator, dtype=torch.float64)
        ends = [attention(q + step * along, k, v, causal) for step in (1e-4, -1e-4)]
        slope = ((ends[0] - ends[1]) * upstream).sum() / 2e-4
        got = of_queries(student, *args, causal=causal).double() * along
        says = "d_q is not the slope of the result in a random direction"
        expect.close(got.sum(), slope, says, atol=1e-4 * float(got.abs().sum()), rtol=0)


@queries(weight=2)
def test_what_changes_nothing(student, generator):
    """backward: neither the order of the keys nor what is added to all of them changes d_q"""
    T, S = draws.whole(generator, 10, 32), draws.whole(generator, 65, 81)
    q, k, v, upstream, *rest = args = example(generator, T, S)
    (want,) = query_gradient(*wide(args))
    order = torch.randperm(S, generator=generator)
    most = S * rounding(args, (1, 2, 3))
    got = of_queries(student, q, k[:, :, order], v[:, :, order], upstream, *rest)
    expect.close(got, want, "d_q depends on the order of the keys", atol=most, rtol=0, what="d_q")
    more, value = (torch.randn(D, generator=generator) for _ in range(2))
    args = [q, k + more, v, upstream, *left(q, k + more, v, upstream)]
    says = "what is added to all keys changes no weight, and so no d_q"
    most = S * rounding(args, (1, 2, 3))
    expect.close(of_queries(student, *args), want, says, atol=most, rtol=0, what="d_q")
    args = [q, k, v + value, upstream, *left(q, k, v + value, upstream)]
    says = "what is added to all values is added to the result, whatever q is: d_q stays"
    most = S * rounding(args, (1, 2, 3))
    expect.close(of_queries(student, *args), want, says, atol=most, rtol=0, what="d_q")


@queries(weight=2)
def test_causal_queries(student, generator):
    """backward: with causal=True query t gets its gradient from keys 0 … t, whatever the others"""
    T, cut = draws.whole(generator, 40, 61), draws.whole(generator, 10, 31)
    args = q, k, v, upstream, *_ = example(generator, T, T, causal=True)
    correct_queries(student, args, causal=True)
    for more in (example(generator, 40, 7, causal=True), example(generator, 7, 40, causal=True)):
        correct_queries(student, more, causal=True)
    (want,) = query_gradient(*wide(x[:, :, :cut] for x in args[:4]), None, None, causal=True)
    stats = left(q, k, v, upstream, causal=True)
    most = 4 * rounding(args, (1, 2, 3))
    k[:, :, cut:], v[:, :, cut:] = 1e15, -1e15
    got = of_queries(student, q, k, v, upstream, *stats, causal=True, first=cut)
    says = "the first query sees one key alone: its d_q is 0"
    expect.close(got[:, :, 0], torch.zeros(1, 1, D), says, atol=most, rtol=0, what="d_q")
    says = "keys that a query does not see add to its gradient"
    expect.close(got, want, says, atol=most, rtol=0, what="d_q")


@queries(weight=2)
def test_scores_far_from_0_of_queries(student, generator):
    """backward: scores near ±1000 are as good as others, and keys that are not there add nothing"""
    T, S = draws.whole(generator, 5, 41), draws.whole(generator, 5, 31)
    q, k, v, upstream, *_ = example(generator, T, S)
    q, k = (8 * q).round() / 8, (8 * k).round() / 8  # so that q · k is exact in float32
    q[..., 0], k[..., 0] = 0.0, 1.0
    (want,) = query_gradient(*wide([q, k, v, upstream]), None, None)
    for C in (-1024.0, 1024.0):
        q[..., 0] = C * D**0.5  # adds C to every score
        args = [q, k, v, upstream, *left(q, k, v, upstream)]
        # scale · q · k and m, near 1500 bits, are each rounded to 2⁻¹⁴ or better: so are weights.
        most = 2**-13 * rounding(args, (1, 2, 3)) / EPS
        says = f"with {C:g} added to every score d_q is another one"
        expect.close(of_queries(student, *args), want, says, atol=2 * most, rtol=0, what="d_q")


# --- queries_backward: float64, and the instruments -----------------------------------------------


@queries(weight=3)
def test_every_size_of_queries(student, generator):
    """backward: d_q for any number of queries, keys and numbers of a head"""
    for T, S, dim in [(1, 7, 16), (7, 7, 2), (33, 33, 16), (2, 1025, 16), (33, 20, 100)]:
        correct_queries(student, example(generator, T, S, dim))
    T, S, scale = draws.whole(generator, 2, 32), draws.whole(generator, 2, 51), 0.4
    args = example(generator, T, S, 24, batch=2, heads=2, scale=scale)
    correct_queries(student, args, scale=scale)


@queries
def test_half_precision_of_queries(student, generator):
    """backward: in float16 and bfloat16, as exact as torch"""
    for dtype, T, S in [(torch.float16, 3, 1023), (torch.bfloat16, 129, 3)]:
        correct_queries(student, example(generator, T, S, dtype=dtype))
        args = example(generator, 40, 40, 32, dtype=dtype, causal=True)
        correct_queries(student, args, causal=True)
        says = f"in {dtype} scores, d_P or P are not in fp32"
        correct_queries(student, hard_in_half(generator, dtype, 9, 20), says=says)
    says = "small weights are rounded before d_S comes of them"
    correct_queries(student, small_weights(generator, draws.whole(generator, 5, 20)), says=says)


@queries
def test_any_layout_of_queries(student, generator):
    """backward: for strided, transposed and expanded tensors too"""
    for layout in ("strided", "transposed", "expanded"):
        correct_queries(student, example(generator, 9, 20, batch=2), layout=layout)


@queries(weight=2)
def test_tiles_of_any_size_of_queries(student, generator):
    """backward: for tiles of any size, wherever q, k and v lie"""
    for rows, tile, causal in [(16, 32, False), (32, 16, True)]:
        T, S, dim = (draws.whole(generator, *of) for of in ((17, 32), (33, 48), (5, 16)))
        args = example(generator, T, S, dim, heads=2, causal=causal)
        says = f"d_q is wrong for tiles of {rows} queries and {tile} keys"
        got = launched(student, "query_backward_kernel", args, (0,), rows, tile, causal, says)
        QUERIES.judge_results(got, args, {"causal": causal}, says)


@queries(weight=2)
def test_visible(student, generator):
    """backward: keys whose byte in `visible` is 0 add nothing, be it a whole tile of them"""
    for causal in (False, True):
        T, S = draws.whole(generator, 17, 32), draws.whole(generator, 50, 60)
        q, k, v, upstream, *_ = example(generator, T, S, 7, heads=2)
        visible = torch.tensor([0, 1, 2, 255], dtype=torch.uint8)
        visible = visible[torch.randint(4, (1, S), generator=generator)]
        visible[:, 0], visible[:, 16:32] = 128, 0
        k[:, :, visible[0] == 0], v[:, :, visible[0] == 0] = 1e15, -1e15
        options = {"causal": causal, "visible": visible}
        args = [q, k, v, upstream, *left(q, k, v, upstream, **options)]
        says, name = "d_q is wrong where keys are hidden", "query_backward_kernel"
        got = launched(student, name, args, (0,), 16, 16, causal, says, visible)
        QUERIES.judge_results(got, args, options, says)


@queries(weight=2)
def test_safe_queries(student, generator):
    """safe: nothing outside of the tensors is touched, and no two programs meet"""
    T, S = draws.whole(generator, 33, 61), draws.whole(generator, 33, 61)
    Stages(student, OF_QUERIES, QUERIES).safe(*example(generator, T, S, 7))
    args = example(generator, T, S, causal=True)
    Stages(student, OF_QUERIES, QUERIES).safe(*args, causal=True)


@queries
def test_honest_queries(student, generator):
    """honest: the kernel does the work, all of it, every time"""
    args, others = (example(generator, 65, 20) for _ in range(2))
    Stages(student, OF_QUERIES, QUERIES).honest(args, others)


@queries
def test_lean_queries(student, generator):
    """lean: all of a query moves once, k and v once for each tile of queries

    That is the least for this grid: a program has room for one tile of queries and its gradient,
    and goes through all keys for it, with causal=True through those up to its last query.
    """
    T = S = draws.whole(generator, 40, 61)
    for causal in (False, True):
        args = example(generator, T, S, causal=causal)
        seen = sum(min(S, first + TILE) if causal else S for first in range(0, T, TILE))
        numbers = 3 * T * D + 3 * T + 2 * seen * D  # q, upstream, d_q; m, 1/l, delta; k and v
        stages = Stages(student, OF_QUERIES, QUERIES)
        stages.lean(POINTWISE, *args, least=4 * numbers, causal=causal)


@queries
def test_compiles_queries(student, generator):
    """compiles: for an H100, with its instructions for matrices and without spills"""
    small = example(generator, 20, 20, 64, torch.float16)
    large = example(generator, 256, 256, 64, torch.float16, heads=2)
    Stages(student, OF_QUERIES, QUERIES).compiles(small, large)
