"""Hidden graders of chapter 09, attention: its formula and its slopes in float64, what hidden keys
must not tell, heads in their order, and the best denoiser of a finite data set."""

import math

import pytest
import torch

from cs231n_gen.checking import draws, expect
from cs231n_gen.truth import FiniteData

attend = pytest.mark.exercise("dit_attention.attend")
attention = pytest.mark.exercise("dit_attention.Attention")
cross_attention = pytest.mark.exercise("dit_attention.CrossAttention")
joint_attention = pytest.mark.exercise("dit_attention.JointAttention")
denoiser = pytest.mark.exercise("dit_attention.denoiser_is_attention")

# What rounding leaves of numbers of size 1 where all is computed in float64, and in float32.
DOUBLE = {"atol": 1e-11, "rtol": 1e-11}
SINGLE = {"atol": 2e-5, "rtol": 2e-5}


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def number(generator, low, high):
    return float(low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64))


def zeros(*shape):
    return torch.zeros(shape, dtype=torch.float64)


# --- dit_attention.attend -----------------------------------------------------------------------


def weights_of(q, k, bias=None):
    """softmax(q kᵀ / √d + bias), 0 for a query that sees no key."""
    scores = torch.einsum("...td,...sd->...ts", q, k) / q.shape[-1] ** 0.5
    if bias is not None:
        scores = scores + bias
    peak = scores.amax(-1, keepdim=True)
    p = (scores - peak.masked_fill(peak == -math.inf, 0.0)).exp()
    return p / p.sum(-1, keepdim=True).clamp_min(1e-300)


def attended(q, k, v, bias=None):
    return torch.einsum("...ts,...se->...te", weights_of(q, k, bias), v)


def heads(generator, *lead, T=None, S=None, d=None, e=None):
    """Queries, keys and values, all sizes drawn that are not given."""
    T, S, d, e = (draws.whole(generator, 2, 7) if n is None else n for n in (T, S, d, e))
    return [normal(generator, *lead, *shape) for shape in ((T, d), (S, d), (S, e))]


@attend(weight=3)
@pytest.mark.parametrize("biased", [False, True], ids=["no bias", "bias"])
def test_a_mean_of_values_weighted_by_scores(student, generator, biased):
    """it is softmax(q kᵀ / √d + bias) v, for any number of queries, keys and values"""
    for d in (3, 4, 9):
        q, k, v = heads(generator, 2, 3, T=5, S=draws.whole(generator, 6, 9), d=d, e=d - 1)
        bias = normal(generator, 2, 3, 5, k.shape[2]) if biased else None
        got = student.dit_attention.attend(2 * q, k, v, bias)
        says = f"not softmax(q kᵀ / √d + bias) v for d = {d}, with S ≠ T and e ≠ d"
        expect.close(got, attended(2 * q, k, v, bias), says, **DOUBLE)


@attend(weight=2)
def test_a_query_along_a_key(student, generator):
    """of S orthonormal keys, √d c times one gets the weight eᶜ / (eᶜ + S − 1); 0 is the mean"""
    S, d = draws.whole(generator, 3, 7), 8
    frame = torch.linalg.qr(normal(generator, d, d)).Q[:S]
    v = normal(generator, S, 4)
    c = 1 + 2 * torch.rand(S, generator=generator, dtype=torch.float64)
    got = student.dit_attention.attend(math.sqrt(d) * c[:, None] * frame, frame, v)
    share = 1 / (c.exp() + S - 1)[:, None]
    want = share * v.sum(0) + share * (c[:, None].exp() - 1) * v
    expect.close(got, want, "the weight of a key is not that of its score", **DOUBLE)
    got = student.dit_attention.attend(zeros(2, d), frame, v)
    says = "a query of zeros fits all keys alike: the mean of the values"
    expect.close(got, v.mean(0).expand(2, 4), says, **DOUBLE)


@attend
def test_weights_that_add_up_to_1(student, generator):
    """equal values come back; what all keys share, and a number for each query, change nothing"""
    q, k, v = heads(generator, 3)
    same = v[:, :1].expand_as(v)
    got = student.dit_attention.attend(q, k, same)
    want = v[:, :1].expand(3, q.shape[1], v.shape[2])
    expect.close(got, want, "a mean of equal values is that value", **DOUBLE)
    got = student.dit_attention.attend(q, k + normal(generator, 3, 1, k.shape[2]), v)
    says = "what is added to every key is added to all scores of a query"
    expect.close(got, attended(q, k, v), says, **DOUBLE)
    got = student.dit_attention.attend(q, k, v, 5 * normal(generator, 3, q.shape[1], 1))
    says = "a bias for a query, the same for all keys, changes no weight"
    expect.close(got, attended(q, k, v), says, **DOUBLE)


@attend
def test_the_order_of_keys_and_of_queries(student, generator):
    """keys change places with their values and nothing changes; results follow their queries"""
    q, k, v = heads(generator, 2, T=5, S=7)
    bias = normal(generator, 2, 5, 7)
    keys, queries = torch.randperm(7, generator=generator), torch.randperm(5, generator=generator)
    got = student.dit_attention.attend(
        q[:, queries], k[:, keys], v[:, keys], bias[:, queries][..., keys]
    )
    want = attended(q, k, v, bias)[:, queries]
    expect.close(got, want, "the order of keys tells nothing, that of queries stays", **DOUBLE)


@attend(weight=2)
def test_any_axes_in_front(student, generator):
    """no axis in front or many; one query, one key, one number"""
    for lead, T, S, d, e in [
        ((), 3, 4, 2, 5),
        ((2,), 3, 4, 2, 5),
        ((2, 3), 4, 3, 5, 5),
        ((2, 1, 3), 4, 5, 3, 2),
        ((3,), 1, 4, 2, 3),
        ((2, 2), 4, 1, 3, 2),
        ((1, 1), 1, 1, 1, 1),
        ((), 2, 3, 1, 1),
    ]:
        q, k, v = heads(generator, *lead, T=T, S=S, d=d, e=e)
        for bias in (None, normal(generator, T, S)):
            got = student.dit_attention.attend(q, k, v, bias)
            says = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
            expect.close(got, attended(q, k, v, bias), says, **DOUBLE)


@attend
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_scores_of_any_size(student, generator, dtype):
    """scores of ±10⁴ neither overflow nor lose the smaller ones"""
    q, k, v = heads(generator, 2, T=4, S=5, d=4, e=3)
    q, k = 100 * q.sign(), 50 * k.sign()  # scores are whole multiples of 2500 · 2
    bias = normal(generator, 2, 4, 5)
    q, k, v, bias = (t.to(dtype) for t in (q, k, v, bias))
    got = student.dit_attention.attend(q, k, v, bias)
    want = attended(*(t.double() for t in (q, k, v, bias)))
    expect.close(got, want, "subtract the largest score before exp", atol=2e-3, rtol=0)
    got = student.dit_attention.attend(q, k, v, bias - 3e4)
    expect.close(got, want, "all scores far below 0 weigh as ever", atol=4e-3, rtol=0)


@attend
def test_numbers_of_any_size(student, generator):
    """queries as large as keys are small change nothing; large values make large results"""
    q, k, v = heads(generator, 2, T=4, S=5)
    bias = 30 * normal(generator, 4, 5)
    for size in (1e3, 1e-3):
        got = student.dit_attention.attend(size * q, k / size, 1e3 * v, bias)
        says = "no number is too large: nothing is clamped"
        expect.close(got, 1e3 * attended(q, k, v, bias), says, atol=1e-8, rtol=1e-11)


@attend(weight=2)
def test_a_bias_of_any_shape_and_precision(student, generator):
    """a bias of every shape that broadcasts, in float32 or float64, whichever q is in"""
    shapes = [(), (1,), (5,), (4, 1), (4, 5), (3, 1, 1), (3, 4, 5), (2, 1, 1, 5), (1, 3, 4, 1)]
    shapes += [(5, 5), (5, 1), (3, 5, 5)]  # as many queries as keys
    for shape in shapes:
        T = shape[-2] if len(shape) > 1 and shape[-2] > 1 else 4
        q, k, v = heads(generator, 2, 3, T=T, S=5)
        bias = 2 * normal(generator, *shape)
        says = f"not the scores plus a bias of shape {shape}"
        got = student.dit_attention.attend(q, k, v, bias)
        expect.close(got, attended(q, k, v, bias), says, **DOUBLE)
        given = q[1], k[1], v[1], bias[0] if len(shape) == 4 else bias
        got = student.dit_attention.attend(*given)
        expect.close(got, attended(*given), f"{says}, with one axis in front", **DOUBLE)
    q, k, v = heads(generator, 2, 3, T=4, S=5)
    bias = normal(generator, 4, 5)
    got = student.dit_attention.attend(q, k, v, bias.float())
    says = "a bias in float32 beside queries in float64"
    expect.close(got, attended(q, k, v, bias.float().double()), says, **DOUBLE)
    got = student.dit_attention.attend(q.float(), k.float(), v.float(), bias)
    says = "a bias in float64 beside queries in float32"
    expect.close(got, attended(q, k, v, bias), says, **SINGLE)
    expect.true(got.dtype == torch.float32, "the precision is that of q", got.dtype, torch.float32)


def hiding(generator, *shape):
    """A bias in which about half of the keys are hidden from a query, and never all."""
    bias = normal(generator, *shape)
    bias[torch.rand(shape, generator=generator) < 0.5] = -math.inf
    bias[..., 0] = 0.5
    return bias


@attend(weight=3)
def test_hidden_keys_are_not_there(student, generator):
    """with some keys hidden the result is that without them, whatever numbers are in them"""
    q, k, v = heads(generator, 3, T=4, S=6)
    bias = zeros(6)
    gone = torch.randperm(6, generator=generator)[:2]
    bias[gone] = -math.inf
    left = [s for s in range(6) if s not in gone.tolist()]
    want = attended(q, k[:, left], v[:, left])
    for size in (1.0, 1e6):
        k[:, gone], v[:, gone] = size * normal(generator, 3, 2, k.shape[2]), size
        got = student.dit_attention.attend(q, k, v, bias)
        expect.close(got, want, "a key with bias −∞ changes the result", **DOUBLE)
    (q, k, v), bias = heads(generator, 3, T=4, S=6), hiding(generator, 3, 4, 6)
    got = student.dit_attention.attend(q, k, v, bias)
    expect.close(got, attended(q, k, v, bias), "each query has hidden keys of its own", **DOUBLE)


@attend(weight=2)
def test_hidden_keys_get_no_gradient(student, generator):
    """exactly 0 comes to the k, v and bias of hidden keys"""
    q, k, v = heads(generator, 2, T=4, S=6)
    bias = normal(generator, 4, 6)
    bias[:, 2:4] = -math.inf
    got = slopes(student, generator, q, k, v, bias)
    for g, name, place in zip(got[1:], ("k", "v", "bias"), (1, 1, 1), strict=True):
        says = f"a gradient comes to {name} of hidden keys"
        expect.true(bool((g.movedim(place, 0)[2:4] == 0).all()), says, g.movedim(place, 0)[2:4], 0)


@attend(weight=3)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_a_query_that_sees_nothing(student, generator, dtype):
    """a query from which all keys are hidden gets 0 and gives gradients of 0, others are as ever"""
    q, k, v = (t.to(dtype) for t in heads(generator, 2, 2, T=4, S=5))
    bias = hiding(generator, 2, 1, 4, 5).to(dtype)
    bias[0, 0, 1], bias[1, 0, 2] = -math.inf, -math.inf
    got = student.dit_attention.attend(q, k, v, bias)
    digits = DOUBLE if dtype == torch.float64 else SINGLE
    want = attended(*(t.double() for t in (q, k, v, bias)))
    expect.close(got, want, "0 where all keys are hidden, and the same elsewhere", **digits)
    blind = bool((got[0, :, 1] == 0).all()) and bool((got[1, :, 2] == 0).all())
    expect.true(blind, "a query without keys gets 0")
    c = normal(generator, *got.shape)
    wants = slopes_by_hand(c, *(t.double() for t in (q, k, v, bias)))
    function = student.function("dit_attention.attend")
    found = student.gradient(
        "checking.fakes.weighted", function, c.to(dtype), q, k, v, bias, wrt=[q, k, v, bias]
    )
    for g, want, name in zip(found, wants, ("q", "k", "v", "bias"), strict=True):
        says = f"the gradient of {name}, where a query sees no key"
        expect.close(g, want, says, **digits, what=f"the gradient of {name}")
    expect.true(bool((found[0][0, :, 1] == 0).all()), "a query without keys has a slope of 0")


@attend
def test_all_keys_hidden_from_all(student, generator):
    """one bias of −∞ for all hides everything: 0, with gradients of 0"""
    q, k, v = heads(generator, 2)
    bias = torch.full((), -math.inf, dtype=torch.float64)
    got = student.dit_attention.attend(q, k, v, bias)
    expect.close(got, zeros(*q.shape[:2], v.shape[2]), "0 where all keys are hidden", **DOUBLE)
    for g, x in zip(slopes(student, generator, q, k, v, bias), (q, k, v, bias), strict=True):
        expect.close(g, torch.zeros_like(x), "gradients of 0, not NaN", what="a gradient")


def slopes_by_hand(c, q, k, v, bias=None):
    """Gradients of Σ c · attend(q, k, v, bias), by the formula for a softmax."""
    p = weights_of(q, k, bias)
    to_p = torch.einsum("...te,...se->...ts", c, v)
    to_scores = p * (to_p - (p * to_p).sum(-1, keepdim=True))
    root = q.shape[-1] ** 0.5
    found = [
        torch.einsum("...ts,...sd->...td", to_scores, k) / root,
        torch.einsum("...ts,...td->...sd", to_scores, q) / root,
        torch.einsum("...ts,...te->...se", p, c),
    ]
    return found if bias is None else [*found, to_scores.sum_to_size(bias.shape)]


def slopes(student, generator, q, k, v, bias=None):
    """Gradients of a weighted sum of the result, and their check against the formula."""
    c = normal(generator, *q.shape[:-1], v.shape[-1])
    given = [q, k, v] if bias is None else [q, k, v, bias]
    function = student.function("dit_attention.attend")
    found = student.gradient("checking.fakes.weighted", function, c, *given, wrt=given)
    names = ("q", "k", "v", "bias")[: len(given)]
    for g, want, name in zip(found, slopes_by_hand(c, *given), names, strict=True):
        says = f"the gradient of {name} is another than that of the formula"
        expect.close(g, want, says, **DOUBLE, what=f"the gradient of {name}")
    return found


@attend(weight=2)
def test_the_gradient_of_each_number(student, generator):
    """every number of q, k, v and bias has its slope, for a bias of any shape"""
    slopes(student, generator, *heads(generator, 2, 3))
    for shape in ((4, 5), (5,), (4, 1), (2, 1, 1, 5), ()):
        q, k, v = heads(generator, 2, 3, T=4, S=5)
        slopes(student, generator, q, k, v, normal(generator, *shape))
    slopes(student, generator, *heads(generator), None)


@attend
def test_in_float32(student, generator):
    """in float32 all is right to the last digits but one"""
    q, k, v = (t.float() for t in heads(generator, 2, 2, T=6, S=9, d=8, e=8))
    bias = hiding(generator, 6, 9).float()
    for given in ((q, k, v), (q, k, v, bias)):
        want = attended(*(t.double() for t in given))
        expect.close(student.dit_attention.attend(*given), want, "in float32", atol=3e-6, rtol=3e-6)


@attend
def test_heads_that_do_not_fit(student, generator):
    """q and k of another d, or k and v of another S, are refused"""
    call = student.dit_attention.attend
    for lead in ((), (2,), (2, 3)):
        q, k, v = heads(generator, *lead, T=3, S=4, d=2, e=5)
        for k_, v_ in ((k[..., :1], v), (k.repeat_interleave(2, -1), v), (k, v[..., :3, :]),
                       (k[..., :1, :], v), (k, v[..., :1, :])):  # fmt: skip
            shapes = f"q {tuple(q.shape)}, k {tuple(k_.shape)} and v {tuple(v_.shape)}"
            expect.raises(
                "ValueError", lambda k=k_, v=v_, q=q: call(q, k, v), f"{shapes} are refused"
            )
        expect.close(call(q, k, v), attended(q, k, v), "these fit", **DOUBLE)


# --- the layers by hand -------------------------------------------------------------------------


def new(student, generator, name, *args, spread=0.6, **kwargs):
    """A layer of the student's in float64 with random weights, and these by name."""
    layer = student.new(f"dit_attention.{name}", *args, **kwargs)
    layer.call("double")
    drawn = {n: spread * normal(generator, *w.shape) for n, w in layer.state().items()}
    drawn = {n: 1 + w if "norm" in n else w for n, w in drawn.items()}
    layer.load(drawn)
    return layer, drawn


def part(s, name):
    """The weights of a part, by their own names."""
    return {n.removeprefix(name): w for n, w in s.items() if n.startswith(name)}


def linear(s, name, x):
    return torch.einsum("bti,oi->bto", x, s[f"{name}.weight"]) + s[f"{name}.bias"]


def heads_by_hand(x, count, first=0, parts=1):
    """Part `first` of `parts` of what a layer made, as heads: their numbers lie side by side."""
    size = x.shape[-1] // parts
    part = x[..., first * size : (first + 1) * size]
    each = size // count
    return torch.stack([part[..., h * each : (h + 1) * each] for h in range(count)], dim=1)


def joined(o):
    return torch.cat([*o.unbind(1)], dim=-1)


def normed(s, name, x):
    if f"{name}.weight" not in s:
        return x
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * s[f"{name}.weight"]


def turned(x, height, width):
    """Each pair (k, k + h) as a complex number, turned by i ω or j ω."""
    h = x.shape[-1] // 2
    omega = 10000.0 ** (-2 * torch.arange(h // 2, dtype=torch.float64) / h)
    i = torch.arange(height).repeat_interleave(width)[:, None]
    j = torch.arange(width).repeat(height)[:, None]
    theta = torch.cat([i * omega, j * omega], dim=1)
    point = torch.complex(x[..., :h], x[..., h:]) * torch.polar(torch.ones_like(theta), theta)
    return torch.cat([point.real, point.imag], dim=-1)


def split_by_hand(s, x, count, grid=None):
    """Queries, keys and values of tokens."""
    q, k, v = (heads_by_hand(linear(s, "qkv", x), count, n, 3) for n in range(3))
    q, k = normed(s, "q_norm", q), normed(s, "k_norm", k)
    return [q, k, v] if grid is None else [turned(q, *grid), turned(k, *grid), v]


def attention_by_hand(s, x, count, grid=None):
    return linear(s, "out", joined(attended(*split_by_hand(s, x, count, grid))))


def hides(mask, words):
    """The bias of a mask."""
    if mask is None:
        return None
    bias = zeros(len(mask), 1, 1, words)
    bias[~mask[:, None, None]] = -math.inf
    return bias


def cross_by_hand(s, x, y, count, mask=None):
    q = heads_by_hand(linear(s, "q", x), count)
    k, v = (heads_by_hand(linear(s, "kv", y), count, n, 2) for n in range(2))
    return linear(s, "out", joined(attended(q, k, v, hides(mask, y.shape[1]))))


def joint_by_hand(s, x, y, count, mask=None, grid=None):
    image, text = part(s, "image."), part(s, "text.")
    both = zip(split_by_hand(image, x, count, grid), split_by_hand(text, y, count), strict=True)
    q, k, v = (torch.cat(two, dim=2) for two in both)
    T = x.shape[1]
    bias = None
    if mask is not None:
        seen = torch.cat([torch.ones(len(x), T, dtype=torch.bool), mask], dim=1)
        bias = hides(seen, T + y.shape[1])
    o = joined(attended(q, k, v, bias))
    return linear(image, "out", o[:, :T]), linear(text, "out", o[:, T:])


def sizes(generator):
    """Batch, tokens, heads and numbers of a head."""
    return (draws.whole(generator, 2, 4), draws.whole(generator, 4, 7),
            draws.whole(generator, 2, 4), draws.whole(generator, 3, 6))  # fmt: skip


def gradients_are(student, layer, s, given, forward, c, names=()):
    """Gradients of Σ c · result to all that goes in, and to every weight."""
    found = student.gradient("checking.fakes.weighted", layer, c, *given, wrt=[*given, layer])
    leaves = [x.clone().requires_grad_() for x in given]
    learned = {n: w.clone().requires_grad_() for n, w in s.items()}
    L = (c * forward(learned, *leaves)).sum()
    wants = torch.autograd.grad(L, [*leaves, *learned.values()])
    got = [*found[:-1], *(found[-1].get(n) for n in s)]
    for g, want, name in zip(got, wants, [*names, *s], strict=True):
        says = f"the gradient of {name} is not that of these layers"
        expect.close(g, want, says, atol=1e-9, rtol=1e-9, what=f"the gradient of {name}")
    return found


# --- dit_attention.Attention --------------------------------------------------------------------


@attention(weight=3)
@pytest.mark.parametrize("qk_norm", [False, True], ids=["as they are", "normalised"])
def test_tokens_attend_to_each_other(student, generator, qk_norm):
    """it is these weights by hand: q, k, v of every head, attention, and out"""
    B, T, H, each = sizes(generator)
    layer, s = new(student, generator, "Attention", H * each, H, qk_norm)
    x = normal(generator, B, T, H * each)
    says = "not W_out · join(attend(q, k, v)) + b_out: look at the order of q, k, v and of heads"
    expect.close(layer(x), attention_by_hand(s, x, H), says, **DOUBLE)


@attention(weight=2)
def test_it_is_torchs_multihead_attention(student, generator):
    """with the same weights it answers as torch.nn.MultiheadAttention does"""
    B, T, H, each = sizes(generator)
    layer, s = new(student, generator, "Attention", H * each, H)
    theirs = torch.nn.MultiheadAttention(H * each, H, batch_first=True).double()
    theirs.load_state_dict(
        {
            "in_proj_weight": s["qkv.weight"],
            "in_proj_bias": s["qkv.bias"],
            "out_proj.weight": s["out.weight"],
            "out_proj.bias": s["out.bias"],
        }
    )
    x = normal(generator, B, T, H * each)
    want = theirs(x, x, x, need_weights=False)[0].detach()
    expect.close(layer(x), want, "not what torch makes of these weights", **DOUBLE)


@attention(weight=2)
def test_tokens_that_change_places(student, generator):
    """without a grid tokens that change places change places, with a grid they do not merely"""
    T, H = 6, 2
    layer, s = new(student, generator, "Attention", 8, H, draws.whole(generator, 0, 2) > 0)
    x, order = normal(generator, 2, T, 8), torch.randperm(T, generator=generator)
    got = expect.tensor(layer(x), x.shape)
    expect.close(layer(x[:, order]), got[:, order], "it knows of an order of tokens", **DOUBLE)
    with_grid = expect.tensor(layer(x, (2, 3)), x.shape)
    apart = (with_grid - got).abs().max()
    expect.true(bool(apart > 1e-4), "a grid changes nothing", apart, "something")
    want = attention_by_hand(s, x[:, order], H, (2, 3))
    says = "with a grid, tokens are where their number says"
    expect.close(layer(x[:, order], (2, 3)), want, says, **DOUBLE)


@attention(weight=3)
@pytest.mark.parametrize("qk_norm", [False, True], ids=["as they are", "normalised"])
def test_a_grid_turns_queries_and_keys(student, generator, qk_norm):
    """with a grid queries and keys are turned, after the norm, and values are not"""
    height, width = draws.whole(generator, 2, 4), draws.whole(generator, 4, 6)
    H, each = draws.whole(generator, 1, 4), 4 * draws.whole(generator, 1, 3)
    layer, s = new(student, generator, "Attention", H * each, H, qk_norm)
    for grid in ((height, width), (width, height), (1, height * width)):
        x = normal(generator, 2, height * width, H * each)
        says = f"tokens of a grid {grid}: q and k are turned by `rotate`, v is not"
        expect.close(layer(x, grid), attention_by_hand(s, x, H, grid), says, **DOUBLE)


@attention(weight=2)
@pytest.mark.parametrize("qk_norm", [False, True], ids=["as they are", "normalised"])
def test_what_is_ready_for_attend(student, generator, qk_norm):
    """split gives [q, k, v], (batch, heads, tokens, dim / heads), with a grid and without"""
    layer, s = new(student, generator, "Attention", 12, 3, qk_norm)
    x = normal(generator, 2, 6, 12)
    for grid in (None, (2, 3), (3, 2)):
        got = expect.unpack(layer.call("split", x, grid), ("q", "k", "v"))
        for one, want, name in zip(got, split_by_hand(s, x, 3, grid), "qkv", strict=True):
            says = f"{name} is not that of these weights, for grid {grid}"
            expect.close(one, want, says, **DOUBLE, what=name)


@attention(weight=2)
def test_scores_that_cannot_grow(student, generator):
    """with QK-norm a larger W_q or W_k changes nothing, and q and k have length √(dim / heads)"""
    H, each = draws.whole(generator, 2, 4), 4
    layer, s = new(student, generator, "Attention", H * each, H, qk_norm=True)
    x = normal(generator, 2, 6, H * each)
    scale = torch.ones(3 * H, dtype=torch.float64)  # for each head of q and k, none for v
    scale[: 2 * H] = 30 + 300 * torch.rand(2 * H, generator=generator, dtype=torch.float64)
    rows = scale.repeat_interleave(each)
    large = {"qkv.weight": rows[:, None] * s["qkv.weight"], "qkv.bias": rows * s["qkv.bias"]}
    layer.load(s | large)
    want = attention_by_hand(s | large, x, H, (2, 3))
    says = "each head's queries and keys are divided by their own root mean square"
    expect.close(layer(x, (2, 3)), want, says, **DOUBLE)
    near = attention_by_hand(s, x, H, (2, 3))
    expect.close(layer(x, (2, 3)), near, "scores grow with W", atol=1e-3, rtol=1e-3)
    ones = {n: torch.ones(each, dtype=torch.float64) for n in ("q_norm.weight", "k_norm.weight")}
    layer.load(s | large | ones)
    q, k, _ = expect.unpack(layer.call("split", x, (3, 2)), ("q", "k", "v"))
    for name, one in (("queries", q), ("keys", k)):
        length = expect.tensor(one, (2, H, 6, each), name).norm(dim=-1)
        expect.close(
            length, torch.full_like(length, 2.0), f"{name} have length √4", atol=1e-5, rtol=0
        )


@attention
def test_small_queries_and_keys(student, generator):
    """ε = 10⁻⁶ stands under the root of the norm, beside the mean of squares"""
    layer, s = new(student, generator, "Attention", 8, 2, qk_norm=True)
    s["qkv.weight"][:16] *= 1e-3
    s["qkv.bias"][:16] *= 1e-3
    layer.load(s)
    x = normal(generator, 2, 5, 8)
    says = "RMSNorm with ε = 1e-6, over the numbers of a head"
    expect.close(layer(x), attention_by_hand(s, x, 2), says, **DOUBLE)


@attention(weight=2)
@pytest.mark.parametrize("qk_norm", [False, True], ids=["as they are", "normalised"])
def test_the_gradients_of_attention(student, generator, qk_norm):
    """gradients reach the tokens and every weight, those of the norms too"""
    layer, s = new(student, generator, "Attention", 8, 2, qk_norm)
    x, c = normal(generator, 2, 6, 8), normal(generator, 2, 6, 8)
    gradients_are(student, layer, s, [x], lambda s, x: attention_by_hand(s, x, 2), c, ["x"])
    grid, g = (3, 2), normal(generator, 2, 6, 8)
    found = student.gradient("checking.fakes.weighted", layer, g, x, grid, wrt=[x])
    leaf = x.clone().requires_grad_()
    (want,) = torch.autograd.grad((g * attention_by_hand(s, leaf, 2, grid)).sum(), [leaf])
    says = "the gradient of x is not that of these layers, with a grid"
    expect.close(found[0], want, says, atol=1e-9, rtol=1e-9, what="the gradient of x")


@attention
def test_attention_of_every_size(student, generator):
    """one example, one token, one head, a head of one number; in float32, as it is made"""
    for B, T, dim, H in ((1, 1, 4, 2), (1, 5, 3, 1), (3, 2, 4, 4), (2, 1, 1, 1)):
        for qk_norm in (False, True):
            layer, s = new(student, generator, "Attention", dim, H, qk_norm=qk_norm)
            x = normal(generator, B, T, dim)
            says = f"{B} examples of {T} tokens of {dim} numbers, {H} heads"
            expect.close(layer(x), attention_by_hand(s, x, H), says, **DOUBLE)
    for qk_norm in (False, True):
        layer = student.new("dit_attention.Attention", 24, 3, qk_norm)
        s = {n: w.double() for n, w in layer.state().items()}
        x = normal(generator, 2, 6, 24).float()
        for grid in (None, (2, 3)):
            want = attention_by_hand(s, x.double(), 3, grid)
            expect.close(layer(x, grid), want, "in float32, as it is made", **SINGLE)


@attention
def test_examples_do_not_see_each_other(student, generator):
    """an example is answered alike, alone and beside others, in both modes"""
    layer, s = new(student, generator, "Attention", 8, 2, True)
    x = normal(generator, 3, 4, 8)
    want = attention_by_hand(s, x, 2, (2, 2))
    for mode in ("train", "eval"):
        layer.call(mode)
        expect.close(layer(x, (2, 2)), want, f"in mode {mode}", **DOUBLE)
        for n in range(3):
            says = "an example depends on the others of its batch"
            expect.close(layer(x[n : n + 1], (2, 2)), want[n : n + 1], says, **DOUBLE)


def enlarged(s):
    """Weights a hundred times as small for what comes in, and as large for what goes out."""
    sizes = {"qkv": 0.01, "kv": 0.01, "q": 0.01, "out": 100.0}
    size = {n: sizes.get(n.split(".")[-2], 1.0) if "weight" in n else 1.0 for n in s}
    return {n: size[n] * w for n, w in s.items()}


def in_use(student, layer):
    """In evaluation, with gradients in its weights."""
    layer.call("eval")
    student.checking.fakes.holding_gradients(layer)


LARGE = {"atol": 1e-8, "rtol": 1e-11}


@attention
def test_large_tokens(student, generator):
    """tokens and results have no bounds; a layer in use is left as it is"""
    layer, s = new(student, generator, "Attention", 8, 2)
    s = enlarged(s)
    layer.load(s)
    in_use(student, layer)
    x = 100 * normal(generator, 2, 6, 8)
    for grid in (None, (2, 3)):
        want = attention_by_hand(s, x, 2, grid)
        expect.close(layer(x, grid), want, "tokens a hundred times as large", **LARGE)
    got = expect.unpack(layer.call("split", x), ("q", "k", "v"))
    for one, want in zip(got, split_by_hand(s, x, 2), strict=True):
        expect.close(one, want, "what split makes of large tokens", **LARGE)


@attention
def test_a_grid_of_other_tokens(student, generator):
    """a grid that does not have as many tokens is refused"""
    layer, s = new(student, generator, "Attention", 8, 2)
    x = normal(generator, 2, 6, 8)
    for grid in ((2, 2), (3, 3), (6, 6)):
        says = f"a grid {grid} for 6 tokens is refused"
        expect.raises("ValueError", lambda g=grid: layer(x, g), says)
    expect.close(layer(x, (3, 2)), attention_by_hand(s, x, 2, (3, 2)), "this fits", **DOUBLE)


# --- dit_attention.CrossAttention ---------------------------------------------------------------


def a_text(generator, *shape):
    """Words, and a mask that leaves each text some of them, in any places."""
    y = normal(generator, *shape)
    mask = torch.rand(shape[:2], generator=generator) < 0.5
    mask[:, draws.whole(generator, 0, shape[1])] = True
    mask[:, 1] = ~mask[:, 0] | mask[:, 1]
    return y, mask


@cross_attention(weight=3)
def test_tokens_attend_to_words(student, generator):
    """it is these weights by hand: q of the image, k and v of the text, attention, and out"""
    B, T, H, each = sizes(generator)
    context, words = draws.whole(generator, 2, 7), draws.whole(generator, 7, 10)
    layer, s = new(student, generator, "CrossAttention", H * each, context, H)
    x, (y, mask) = normal(generator, B, T, H * each), a_text(generator, B, words, context)
    for m in (None, torch.ones_like(mask), mask):
        says = "not W_out · join(attend(q, k, v)) + b_out" + ("" if m is None else ", with a mask")
        expect.close(layer(x, y, m), cross_by_hand(s, x, y, H, m), says, **DOUBLE)


@cross_attention(weight=2)
def test_it_is_torchs_attention_to_a_text(student, generator):
    """with the same weights it answers as torch.nn.MultiheadAttention does, padding hidden"""
    B, T, H, each = sizes(generator)
    dim = H * each
    layer, s = new(student, generator, "CrossAttention", dim, dim, H)
    theirs = torch.nn.MultiheadAttention(dim, H, batch_first=True).double()
    theirs.load_state_dict(
        {
            "in_proj_weight": torch.cat([s["q.weight"], s["kv.weight"]]),
            "in_proj_bias": torch.cat([s["q.bias"], s["kv.bias"]]),
            "out_proj.weight": s["out.weight"],
            "out_proj.bias": s["out.bias"],
        }
    )
    x, (y, mask) = normal(generator, B, T, dim), a_text(generator, B, 6, dim)
    want = theirs(x, y, y, key_padding_mask=~mask, need_weights=False)[0].detach()
    says = "not what torch makes of these weights; its mask is True for padding"
    expect.close(layer(x, y, mask), want, says, **DOUBLE)


@cross_attention(weight=3)
def test_padding_is_not_there(student, generator):
    """each example is answered as by its words alone, whatever is in the padding"""
    layer, s = new(student, generator, "CrossAttention", 6, 4, 2)
    x, (y, mask) = normal(generator, 3, 5, 6), a_text(generator, 3, 7, 4)
    for size in (1.0, 1e4):
        filled = torch.where(mask[..., None], y, size * normal(generator, *y.shape))
        got = expect.tensor(layer(x, filled, mask), x.shape)
        for n in range(3):
            want = cross_by_hand(s, x[n : n + 1], y[n : n + 1, mask[n]], 2)
            expect.close(got[n : n + 1], want, "what is in the padding is seen", **DOUBLE)


@cross_attention(weight=2)
def test_padding_gets_no_gradient(student, generator):
    """exactly 0 comes to padding; words, tokens and weights learn as without it"""
    layer, s = new(student, generator, "CrossAttention", 6, 4, 2)
    x, (y, mask) = normal(generator, 3, 5, 6), a_text(generator, 3, 7, 4)
    c = normal(generator, *x.shape)
    to_x, to_y, found = student.gradient(
        "checking.fakes.weighted", layer, c, x, y, mask, wrt=[x, y, layer]
    )
    expect.tensor(to_y, y.shape, "the gradient of y")
    expect.true(bool((to_y[~mask] == 0).all()), "padding gets a gradient", to_y[~mask], 0)
    leaves = [x.clone().requires_grad_(), y.clone().requires_grad_()]
    learned = {n: w.clone().requires_grad_() for n, w in s.items()}
    alone = [
        cross_by_hand(learned, leaves[0][n : n + 1], leaves[1][n : n + 1, mask[n]], 2)
        for n in range(3)
    ]
    wants = torch.autograd.grad((c * torch.cat(alone)).sum(), [*leaves, *learned.values()])
    got = [to_x, to_y, *(found.get(n) for n in s)]
    for g, want, name in zip(got, wants, ["x", "y", *s], strict=True):
        says = f"the gradient of {name} is not that of the words alone"
        expect.close(g, want, says, atol=1e-9, rtol=1e-9, what=f"the gradient of {name}")


@cross_attention(weight=3)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_a_text_of_padding_alone(student, generator, dtype):
    """it leaves b_out, without NaN, and only b_out learns from it; others are as ever"""
    layer, s = new(student, generator, "CrossAttention", 6, 4, 3)
    layer.call("double" if dtype == torch.float64 else "float")
    x, (y, mask) = normal(generator, 3, 5, 6), a_text(generator, 3, 4, 4)
    mask[1] = False
    c = normal(generator, *x.shape)
    digits = DOUBLE if dtype == torch.float64 else SINGLE
    want = cross_by_hand(s, x, y, 3, mask)
    x_, y_, c_ = x.to(dtype), y.to(dtype), c.to(dtype)
    got = expect.tensor(layer(x_, y_, mask), x.shape)
    expect.close(got[1], s["out.bias"].expand(5, 6), "a text of padding leaves b_out", **digits)
    expect.close(got, want, "the other texts are as ever", **digits)
    to_x, to_y, found = student.gradient(
        "checking.fakes.weighted", layer, c_, x_, y_, mask, wrt=[x_, y_, layer]
    )
    for name, g in {"x": to_x, "y": to_y, **found}.items():
        says = f"NaN comes to {name} from a text of padding alone"
        expect.true(isinstance(g, torch.Tensor) and bool(g.isfinite().all()), says)
    says = "tokens and words without a say get a gradient of 0"
    expect.true(bool((to_x[1] == 0).all()) and bool((to_y[1] == 0).all()), says)
    expect.close(found["out.bias"], c.sum((0, 1)), "b_out learns of all", atol=1e-4, rtol=1e-4)


@cross_attention
def test_the_order_of_words(student, generator):
    """words change places with their mask and nothing changes; tokens are answered each"""
    layer, s = new(student, generator, "CrossAttention", 6, 4, 2)
    x, (y, mask) = normal(generator, 2, 5, 6), a_text(generator, 2, 7, 4)
    words, tokens = torch.randperm(7, generator=generator), torch.randperm(5, generator=generator)
    got = layer(x[:, tokens], y[:, words], mask[:, words])
    want = cross_by_hand(s, x, y, 2, mask)[:, tokens]
    expect.close(got, want, "the order of words tells nothing, that of tokens stays", **DOUBLE)


@cross_attention(weight=2)
def test_the_gradients_of_cross_attention(student, generator):
    """gradients reach the tokens, the words and every weight"""
    layer, s = new(student, generator, "CrossAttention", 6, 5, 2)
    x, y, c = normal(generator, 2, 4, 6), normal(generator, 2, 3, 5), normal(generator, 2, 4, 6)
    gradients_are(
        student, layer, s, [x, y], lambda s, x, y: cross_by_hand(s, x, y, 2), c, ["x", "y"]
    )


@cross_attention
def test_cross_attention_of_every_size(student, generator):
    """one example, one token, one word, one head; in float32, as it is made"""
    for B, T, S, dim, context, H in ((1, 1, 1, 4, 2, 2), (2, 5, 1, 3, 1, 1), (1, 1, 4, 4, 6, 4)):
        layer, s = new(student, generator, "CrossAttention", dim, context, H)
        x, y = normal(generator, B, T, dim), normal(generator, B, S, context)
        mask = torch.ones(B, S, dtype=torch.bool)
        for m in (None, mask):
            says = f"{B} examples of {T} tokens and {S} words, {H} heads"
            expect.close(layer(x, y, m), cross_by_hand(s, x, y, H, m), says, **DOUBLE)
    layer = student.new("dit_attention.CrossAttention", dim=24, context=8, heads=3)
    s = {n: w.double() for n, w in layer.state().items()}
    x, y = normal(generator, 2, 6, 24).float(), normal(generator, 2, 4, 8).float()
    mask = torch.tensor([[True, True, False, True], [False, True, False, False]])
    for m in (None, mask):
        want = cross_by_hand(s, x.double(), y.double(), 3, m)
        expect.close(layer(x, y, m), want, "in float32, as it is made", **SINGLE)


@cross_attention
def test_large_tokens_and_words(student, generator):
    """tokens, words and results have no bounds; a layer in use is left as it is"""
    layer, s = new(student, generator, "CrossAttention", 6, 4, 2)
    s = enlarged(s)
    layer.load(s)
    in_use(student, layer)
    x, (y, mask) = 100 * normal(generator, 2, 5, 6), a_text(generator, 2, 7, 4)
    want = cross_by_hand(s, x, 100 * y, 2, mask)
    expect.close(layer(x, 100 * y, mask), want, "numbers a hundred times as large", **LARGE)


def wrong_masks(words):
    """Masks that are not one truth value for each of (2, words) tokens of a text."""
    right = torch.ones(2, words, dtype=torch.bool)
    return [right[:, 1:], torch.ones(2, words + 1, dtype=torch.bool), right[:1], right[0],
            right[:, :1], right[..., None], right[:, None], right.float(), right.long(),
            right.double()]  # fmt: skip


@cross_attention
def test_masks_that_do_not_fit(student, generator):
    """a mask that is not one truth value for each token of the text is refused"""
    layer, s = new(student, generator, "CrossAttention", 4, 3, 2)
    x, y = normal(generator, 2, 4, 4), normal(generator, 2, 3, 3)
    for mask in wrong_masks(3):
        says = f"a mask of {mask.dtype} {tuple(mask.shape)} for texts (2, 3) is refused"
        expect.raises("ValueError", lambda m=mask: layer(x, y, m), says)
    got = layer(x, y, mask=torch.ones(2, 3, dtype=torch.bool))
    expect.close(got, cross_by_hand(s, x, y, 2), "this mask fits", **DOUBLE)


# --- dit_attention.JointAttention ---------------------------------------------------------------


def pair(got, x, y, says):
    """The two results, as they should be shaped."""
    one, two = expect.unpack(got, ("x", "y"))
    return expect.tensor(one, x.shape, f"x, {says}"), expect.tensor(two, y.shape, f"y, {says}")


def both_are(got, want, says, mask=None, **digits):
    """Tokens and words are these; what is in the places of padding is any number."""
    tokens, words = expect.unpack(got, ("x", "y"))
    if mask is not None:
        words = expect.tensor(words, want[1].shape, "the words")
        words = torch.where(mask[..., None], words, want[1])
    for one, other, name in zip((tokens, words), want, ("tokens", "words"), strict=True):
        expect.close(one, other, f"{says}: the {name} are others", what=f"the {name}", **digits)


@joint_attention(weight=3)
@pytest.mark.parametrize("qk_norm", [False, True], ids=["as they are", "normalised"])
def test_both_attend_to_both(student, generator, qk_norm):
    """it is these weights by hand: each with its own layers, all in one attention"""
    B, T, H, each = sizes(generator)
    layer, s = new(student, generator, "JointAttention", H * each, H, qk_norm)
    x, (y, mask) = normal(generator, B, T, H * each), a_text(generator, B, T + 2, H * each)
    for m in (None, torch.ones_like(mask), mask):
        says = "not one attention of both" + ("" if m is None else ", with a mask")
        both_are(layer(x, y, m), joint_by_hand(s, x, y, H, m), says, m, **DOUBLE)


@joint_attention(weight=3)
def test_equal_weights_make_one_attention(student, generator):
    """with equal weights in both it is one `Attention` over the image's tokens, then the text's"""
    B, T, H, each = sizes(generator)
    joint, s = new(student, generator, "JointAttention", H * each, H, True)
    one = part(s, "image.")
    joint.load({f"{stream}.{n}": w for stream in ("image", "text") for n, w in one.items()})
    x, y = normal(generator, B, T, H * each), normal(generator, B, 3, H * each)
    want = attention_by_hand(one, torch.cat([x, y], dim=1), H)
    says = "not the attention of both together"
    both_are(joint(x, y), (want[:, :T], want[:, T:]), says, **DOUBLE)


@joint_attention(weight=2)
@pytest.mark.parametrize("qk_norm", [False, True], ids=["as they are", "normalised"])
def test_a_grid_turns_the_image_alone(student, generator, qk_norm):
    """with a grid the image's queries and keys are turned, the text's are not"""
    layer, s = new(student, generator, "JointAttention", 8, 2, qk_norm)
    x, (y, mask) = normal(generator, 2, 6, 8), a_text(generator, 2, 6, 8)
    for grid in ((2, 3), (3, 2)):
        for m in (None, mask):
            want = joint_by_hand(s, x, y, 2, m, grid)
            both_are(layer(x, y, m, grid), want, f"a grid {grid}", m, **DOUBLE)


@joint_attention(weight=3)
def test_padding_of_a_joint_text(student, generator):
    """image and words are answered as by the words alone, whatever is in the padding"""
    layer, s = new(student, generator, "JointAttention", 6, 2)
    x, (y, mask) = normal(generator, 3, 4, 6), a_text(generator, 3, 6, 6)
    for size in (1.0, 1e4):
        filled = torch.where(mask[..., None], y, size * normal(generator, *y.shape))
        tokens, words = pair(layer(x, filled, mask), x, y, "with padding")
        for n in range(3):
            want = joint_by_hand(s, x[n : n + 1], y[n : n + 1, mask[n]], 2)
            says = "what is in the padding is seen"
            both_are((tokens[n : n + 1], words[n : n + 1, mask[n]]), want, says, **DOUBLE)


@joint_attention(weight=2)
def test_padding_of_a_joint_text_gets_no_gradient(student, generator):
    """exactly 0 comes to padding from the rows of the image and of words"""
    layer, s = new(student, generator, "JointAttention", 6, 2)
    x, (y, mask) = normal(generator, 3, 4, 6), a_text(generator, 3, 6, 6)
    c = [normal(generator, *x.shape), normal(generator, *y.shape) * mask[..., None]]
    to_x, to_y, found = student.gradient(
        "checking.fakes.weighted_both", layer, c, x, y, mask, wrt=[x, y, layer]
    )
    expect.tensor(to_y, y.shape, "the gradient of y")
    expect.true(bool((to_y[~mask] == 0).all()), "padding gets a gradient", to_y[~mask], 0)
    joint_gradients_are((to_x, to_y, found), s, (x, y), c, mask=mask)


def joint_gradients_are(found, s, given, c, **options):
    leaves = [x.clone().requires_grad_() for x in given]
    learned = {n: w.clone().requires_grad_() for n, w in s.items()}
    both = joint_by_hand(learned, *leaves, 2, **options)
    L = sum((a * b).sum() for a, b in zip(c, both, strict=True))
    wants = torch.autograd.grad(L, [*leaves, *learned.values()])
    got = [*found[:2], *(found[2].get(n) for n in s)]
    for g, want, name in zip(got, wants, ["x", "y", *s], strict=True):
        says = f"the gradient of {name} is not that of these layers"
        expect.close(g, want, says, atol=1e-9, rtol=1e-9, what=f"the gradient of {name}")


@joint_attention(weight=2)
@pytest.mark.parametrize("qk_norm", [False, True], ids=["as they are", "normalised"])
def test_the_gradients_of_joint_attention(student, generator, qk_norm):
    """gradients reach tokens, words and every weight of both, from both results"""
    layer, s = new(student, generator, "JointAttention", 8, 2, qk_norm)
    x, y = normal(generator, 2, 4, 8), normal(generator, 2, 3, 8)
    c = [normal(generator, *x.shape), normal(generator, *y.shape)]
    for options in ({}, {"grid": (2, 2)}):
        found = student.gradient(
            "checking.fakes.weighted_both", layer, c, x, y, wrt=[x, y, layer], **options
        )
        joint_gradients_are(found, s, (x, y), c, **options)


@joint_attention(weight=2)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_an_image_whose_text_is_padding(student, generator, dtype):
    """its tokens attend to each other alone, without NaN in results and gradients"""
    layer, s = new(student, generator, "JointAttention", 6, 2)
    layer.call("double" if dtype == torch.float64 else "float")
    x, (y, mask) = normal(generator, 3, 4, 6), a_text(generator, 3, 5, 6)
    mask[1] = False
    digits = DOUBLE if dtype == torch.float64 else SINGLE
    x_, y_ = x.to(dtype), y.to(dtype)
    tokens, _ = pair(layer(x_, y_, mask), x, y, "with a text of padding")
    want = attention_by_hand(part(s, "image."), x[1:2], 2)
    says = "without words the image attends to itself"
    expect.close(tokens[1:2], want, says, **digits)
    both_are(layer(x_, y_, mask), joint_by_hand(s, x, y, 2, mask), "as ever", mask, **digits)
    c = [normal(generator, *x.shape).to(dtype), normal(generator, *y.shape).to(dtype)]
    to_x, to_y, found = student.gradient(
        "checking.fakes.weighted_both", layer, c, x_, y_, mask, wrt=[x_, y_, layer]
    )
    for name, g in {"x": to_x, "y": to_y, **found}.items():
        says = f"NaN comes to {name} from a text of padding alone"
        expect.true(isinstance(g, torch.Tensor) and bool(g.isfinite().all()), says)


@joint_attention
def test_the_order_of_tokens_and_words(student, generator):
    """tokens that change places change places, and so do words with their mask"""
    layer, s = new(student, generator, "JointAttention", 6, 2, True)
    x, (y, mask) = normal(generator, 2, 4, 6), a_text(generator, 2, 6, 6)
    tokens, words = torch.randperm(4, generator=generator), torch.randperm(6, generator=generator)
    one, two = joint_by_hand(s, x, y, 2, mask)
    got = layer(x[:, tokens], y[:, words], mask[:, words])
    both_are(got, (one[:, tokens], two[:, words]), "in another order", mask[:, words], **DOUBLE)


@joint_attention
def test_joint_attention_of_every_size(student, generator):
    """one example, one token, one word, one head; in float32, as it is made"""
    for B, T, S, dim, H in ((1, 1, 1, 4, 2), (2, 1, 4, 3, 1), (1, 5, 1, 4, 4)):
        layer, s = new(student, generator, "JointAttention", dim, H)
        x, y = normal(generator, B, T, dim), normal(generator, B, S, dim)
        for m in (None, torch.ones(B, S, dtype=torch.bool)):
            says = f"{B} examples of {T} tokens and {S} words, {H} heads"
            both_are(layer(x, y, m), joint_by_hand(s, x, y, H, m), says, **DOUBLE)
    layer = student.new("dit_attention.JointAttention", dim=24, heads=3, qk_norm=True)
    s = {n: w.double() for n, w in layer.state().items()}
    x, y = normal(generator, 2, 6, 24).float(), normal(generator, 2, 4, 24).float()
    mask = torch.tensor([[True, True, False, True], [False, True, False, False]])
    for m in (None, mask):
        want = joint_by_hand(s, x.double(), y.double(), 3, m, (2, 3))
        both_are(layer(x, y, m, (2, 3)), want, "in float32, as it is made", m, **SINGLE)


@joint_attention
def test_large_tokens_of_both(student, generator):
    """tokens, words and results have no bounds; a layer in use is left as it is"""
    layer, s = new(student, generator, "JointAttention", 8, 2)
    s = enlarged(s)
    layer.load(s)
    in_use(student, layer)
    x, (y, mask) = 100 * normal(generator, 2, 6, 8), a_text(generator, 2, 7, 8)
    want = joint_by_hand(s, x, 100 * y, 2, mask, (2, 3))
    got = layer(x, 100 * y, mask, (2, 3))
    both_are(got, want, "numbers a hundred times as large", mask, **LARGE)


@joint_attention
def test_joint_masks_that_do_not_fit(student, generator):
    """a mask that is not one truth value for each token of the text is refused"""
    layer, s = new(student, generator, "JointAttention", 4, 2)
    x, y = normal(generator, 2, 5, 4), normal(generator, 2, 3, 4)
    for mask in wrong_masks(3):
        says = f"a mask of {mask.dtype} {tuple(mask.shape)} for texts (2, 3) is refused"
        expect.raises("ValueError", lambda m=mask: layer(x, y, m), says)
    got = layer(x, y, mask=torch.ones(2, 3, dtype=torch.bool))
    both_are(got, joint_by_hand(s, x, y, 2), "this mask fits", **DOUBLE)


# --- dit_attention.denoiser_is_attention --------------------------------------------------------


def noised(generator, data, n, a, b):
    """x_t = a x + b z for n of the data."""
    x = data[torch.randint(len(data), (n,), generator=generator)]
    return a * x + b * normal(generator, *x.shape)


@denoiser(weight=3)
@pytest.mark.parametrize("shape", [(3,), (1, 4, 5)], ids=["points", "images"])
def test_it_is_the_mean_of_x_given_x_t(student, generator, shape):
    """it is E[x | x_t] of a finite data set, for points and images and any a and b"""
    data = 0.5 + normal(generator, draws.whole(generator, 8, 15), *shape)
    n = draws.whole(generator, 4, 8)
    for a, b in [(0.4, 0.6), (1.0, 2.5), (3.0, 4.0), (0.0, 1.0), (1, 2), (0.2, 0.05)]:
        x_t = noised(generator, data, n, a, b)
        got = student.dit_attention.denoiser_is_attention(x_t, a, b, data)
        want = FiniteData(data).posterior(x_t, a, b).x
        expect.close(got, want, f"not E[x | x_t] for a = {a} and b = {b}", atol=1e-9, rtol=1e-9)


@denoiser(weight=2)
def test_it_is_what_the_best_velocity_implies(student, generator):
    """on the straight way, a = 1 − t and b = t, it is x_t − t E[v | x_t]"""
    data = normal(generator, 9, 4)
    for t in (0.3, 0.6, 0.9):
        x_t = noised(generator, data, 6, 1 - t, t)
        got = student.dit_attention.denoiser_is_attention(x_t, 1 - t, t, data)
        want = x_t - t * FiniteData(data).velocity(x_t, t)
        expect.close(got, want, f"another x than E[v | x_t] implies at t = {t}", **LOOSE)


LOOSE = {"atol": 1e-9, "rtol": 1e-9}  # b² in a denominator costs some digits


@denoiser
def test_two_data_give_a_hyperbolic_tangent(student, generator):
    """two data μ ± h are weighed by tanh(a h·(x_t − a μ) / b²)"""
    d, (a, b) = draws.whole(generator, 1, 6), (number(generator, 0.3, 2), number(generator, 0.8, 2))
    mu, h, x_t = normal(generator, d), normal(generator, d), 2 * normal(generator, 6, d)
    want = mu + h * torch.tanh(a * (x_t - a * mu) @ h / b**2)[:, None]
    got = student.dit_attention.denoiser_is_attention(x_t, a, b, torch.stack([mu + h, mu - h]))
    expect.close(got, want, "the weights of two data are wrong", **LOOSE)


@denoiser(weight=2)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_little_noise_and_much(student, generator, dtype):
    """for small b it is the nearest datum, for large b the mean, without overflow"""
    data = 3 * normal(generator, 12, 1, 16, 16).to(dtype)
    for b in (1e-5, 1e-3, 0.1):
        x_t = (0.7 * data[:6].double() + b * normal(generator, 6, 1, 16, 16)).to(dtype)
        got = student.dit_attention.denoiser_is_attention(x_t, 0.7, b, data)
        expect.close(got, data[:6], f"for b = {b:g} the datum is recognised", atol=1e-6, rtol=1e-6)
        expect.true(got.dtype == dtype, "the precision is that of x_t", got.dtype, dtype)
    x_t = normal(generator, 4, 1, 16, 16).to(dtype)
    got = student.dit_attention.denoiser_is_attention(x_t, 0.7, 1e6, data)
    want = data.double().mean(0).expand(4, 1, 16, 16)
    expect.close(got, want, "for large b it is the mean of the data", atol=1e-5, rtol=1e-5)
    far = 50 * normal(generator, 4, 1, 16, 16).to(dtype)
    got = student.dit_attention.denoiser_is_attention(far, 0.7, 0.05, data)
    want = FiniteData(data).posterior(far, 0.7, 0.05).x
    expect.close(got, want, "far from all data it is the nearest", atol=1e-5, rtol=1e-5)


@denoiser(weight=2)
def test_any_number_of_data_and_examples(student, generator):
    """one datum or many, one example or many, dimensions of length 1"""
    for examples, n, shape in [(1, 1, (3,)), (1, 5, (2, 3)), (6, 1, (1,)), (2, 7, (1, 1, 1)),
                               (5, 5, (5,)), (40, 60, (2,)), (3, 4, (2, 2, 3, 2))]:  # fmt: skip
        data = normal(generator, examples, *shape)
        x_t = noised(generator, data, n, 0.6, 0.8)
        got = student.dit_attention.denoiser_is_attention(x_t, 0.6, 0.8, data)
        says = f"{examples} data and {n} examples of shape {shape}"
        expect.close(got, FiniteData(data).posterior(x_t, 0.6, 0.8).x, says, **LOOSE)


@denoiser
def test_numbers_a_thousand_times_as_small(student, generator):
    """x_t, b and data that are scaled alike scale the answer"""
    data, (a, b) = normal(generator, 7, 3), (0.6, 0.5)
    x_t = noised(generator, data, 5, a, b)
    want = FiniteData(data).posterior(x_t, a, b).x
    for c in (1e-3, 1e-6, 1e3):
        got = student.dit_attention.denoiser_is_attention(c * x_t, a, c * b, c * data)
        got = expect.tensor(got, x_t.shape) / c
        expect.close(got, want, f"all numbers times {c:g}: b may be small and large", **LOOSE)


@denoiser
def test_a_datum_that_comes_three_times(student, generator):
    """a datum that comes three times is three times as likely"""
    mu, x_t, (a, b) = normal(generator, 2), 1.5 * normal(generator, 6, 2), (0.8, 1.1)
    odds = 3 * torch.exp(2 * a * (x_t @ mu) / b**2)  # of mu against −mu
    want = mu * ((odds - 1) / (odds + 1))[:, None]
    data = torch.stack([mu, -mu, mu, mu])
    got = student.dit_attention.denoiser_is_attention(x_t, a, b, data)
    expect.close(got, want, "each of the data counts once", **LOOSE)


@denoiser(weight=2)
def test_moving_the_data(student, generator):
    """data moved by c and x_t by a c move the answer by c, digits kept at 1000, in float32 too"""
    a, b = 0.75, 0.5
    double, single = torch.float64, torch.float32
    for dtype, c, digits in ((double, 3.0, 1e-9), (double, 1e3, 1e-6), (single, 1e3, 1e-4)):
        data = (c + normal(generator, 9, 4)).to(dtype)
        x_t = (a * data[:5] + b * normal(generator, 5, 4)).to(dtype)
        got = student.dit_attention.denoiser_is_attention(x_t, a, b, data)
        want = c + FiniteData(data.double() - c).posterior(x_t.double() - a * c, a, b).x
        says = f"digits are lost for data around {c:g} in {dtype}: compute in float64"
        expect.close(got, want, says, atol=digits, rtol=1e-7)


@denoiser
def test_x_t_and_data_in_two_precisions(student, generator):
    """the result is in the precision of x_t, whatever the data are in"""
    data, x_t = normal(generator, 7, 3), normal(generator, 4, 3)
    want = FiniteData(data).posterior(x_t, 0.5, 0.5).x
    for one, other in ((torch.float32, torch.float64), (torch.float64, torch.float32)):
        got = student.dit_attention.denoiser_is_attention(x_t.to(one), 0.5, 0.5, data.to(other))
        expect.close(got, want, f"x_t in {one}, data in {other}", **SINGLE)
        expect.true(got.dtype == one, "the precision is that of x_t", got.dtype, one)


@denoiser(weight=2)
def test_its_slope_is_a_covariance(student, generator):
    """its Jacobian is a Cov[x | x_t] / b², as Tweedie's formula has it"""
    data, (a, b) = normal(generator, 8, 3), (number(generator, 0.4, 1.5), number(generator, 0.6, 2))
    x_t, c = noised(generator, data, 5, a, b), normal(generator, 5, 3)
    function = student.function("dit_attention.denoiser_is_attention")
    (got,) = student.gradient("checking.fakes.weighted", function, c, x_t, a, b, data, wrt=[x_t])
    known = FiniteData(data).posterior(x_t, a, b)
    off = data - known.x[:, None]  # (batch, examples, 3)
    cov = torch.einsum("bn,bni,bnj->bij", known.responsibilities, off, off)
    want = a / b**2 * torch.einsum("bij,bj->bi", cov, c)
    expect.close(got, want, "not a Cov[x | x_t] / b²", **LOOSE, what="the gradient of x_t")


@denoiser(weight=2)
def test_it_is_one_call_of_attend(student, generator):
    """it calls `attend` once, whose answer it returns"""
    data = normal(generator, 6, 2, 2)
    x_t = noised(generator, data, 4, 0.6, 0.7)
    function = student.function("dit_attention.denoiser_is_attention")
    got = student.checking.fakes.with_another_attend(function, 1.0, x_t, 0.6, 0.7, data)
    answer, calls = expect.unpack(got, ("the result", "the number of calls"))
    expect.true(calls == 1, "`attend` is called once for all", calls, 1)
    want = 1 + FiniteData(data).posterior(x_t, 0.6, 0.7).x
    says = "were each number of what `attend` answers 1 more, so would be each of the result"
    expect.close(answer, want, says, **LOOSE)


@denoiser
def test_what_a_denoiser_refuses(student, generator):
    """b that is not positive, and data that are not shaped like the examples, are refused"""
    call, x = student.dit_attention.denoiser_is_attention, normal(generator, 4, 3)
    for b in (0, 0.0, -1.0, math.nan):
        expect.raises("ValueError", lambda b=b: call(x, 0.5, b, x), f"b = {b} is refused")
    for shape in ((4, 2), (4, 1), (4, 3, 1), (3,), (0, 3)):
        says = f"data of shape {shape} for x_t of shape (4, 3) are refused"
        expect.raises("ValueError", lambda s=shape: call(x, 0.5, 0.5, x.new_ones(s)), says)
    want = FiniteData(x).posterior(x, 0.5, 1e-2).x
    expect.close(call(x, 0.5, 1e-2, x), want, "a small b is none of these", **LOOSE)
