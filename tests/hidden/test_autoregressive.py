"""Hidden graders of chapter 13, a Transformer that writes: no token sees a later one, sequences may
come in pieces of any lengths, and the probabilities of all of them sum to 1. Sampling is held to
theory first (softmax in closed form, exact probabilities of all sequences of tiny worlds)."""

import itertools
import math

import pytest
import torch

from cs231n_gen.checking import draws, expect
from cs231n_gen.likelihood import autoregressive_log_likelihood
from cs231n_gen.truth.sequences import (
    SequenceWorld,
    conditionals,
    token_by_token,
    two_token_world,
)

block = pytest.mark.exercise("autoregressive.CausalBlock")
net = pytest.mark.exercise("autoregressive.Prior")
next_probabilities = pytest.mark.exercise("autoregressive.next_probabilities")
sample = pytest.mark.exercise("autoregressive.sample", graph=False)

# What rounding leaves of numbers of size 1 where all is computed in float64, and in float32.
DOUBLE = {"atol": 1e-11, "rtol": 1e-11}
SINGLE = {"atol": 1e-4, "rtol": 1e-4}


def uniform(generator, low, high):
    return low + (high - low) * float(torch.rand(1, generator=generator, dtype=torch.float64))


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


# --- CausalBlock and Prior ------------------------------------------------------------------------


def block_shapes(D, ratio=4, at=""):
    """The shapes of a block's weights, by name."""
    shapes = {
        "norm_1.weight": (D,), "norm_1.bias": (D,), "norm_2.weight": (D,), "norm_2.bias": (D,),
        "attention.qkv.weight": (3 * D, D), "attention.qkv.bias": (3 * D,),
        "attention.out.weight": (D, D), "attention.out.bias": (D,),
        "mlp.0.weight": (ratio * D, D), "mlp.0.bias": (ratio * D,),
        "mlp.2.weight": (D, ratio * D), "mlp.2.bias": (D,),
    }  # fmt: skip
    return {at + name: shape for name, shape in shapes.items()}


def prior_shapes(K, N, classes, D, layers):
    """The shapes of a prior's weights, by name."""
    shapes = {
        "token.weight": (K + 1, D), "place.weight": (N, D), "label.weight": (classes + 1, D),
        "norm.weight": (D,), "norm.bias": (D,), "out.weight": (K, D), "out.bias": (K,),
    }  # fmt: skip
    for n in range(layers):
        shapes |= block_shapes(D, at=f"blocks.{n}.")
    return shapes


def filled(module, want, generator):
    """Random float64 weights for a module whose weights have these shapes: them, by name. Scores of
    the attention are large enough for it to choose."""
    module.call("double")
    got = {name: tuple(w.shape) for name, w in module.state().items()}
    expect.true(got == want, "the layers are given: leave them as they are", got, want)
    weights = {}
    for name, shape in want.items():
        size = shape[1] if len(shape) > 1 and not name.startswith(EMBEDDINGS) else 1
        weights[name] = normal(generator, *shape) / size**0.5
        if "qkv" in name:
            weights[name] *= 1.5
        if "norm" in name:
            weights[name] = name.endswith("weight") + 0.5 * weights[name]
    module.load(weights)
    return weights


EMBEDDINGS = ("token", "place", "label")


def linear(x, s, at):
    return torch.einsum("...i,oi->...o", x, s[at + "weight"]) + s[at + "bias"]


def normed(x, s, at):
    off = x - x.mean(-1, keepdim=True)
    unit = off / (off.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return unit * s[at + "weight"] + s[at + "bias"]


def gelu(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def by_hand_block(h, s, heads, past=None, at=""):
    """Tokens after the block, keys and values, one query after another, in float64."""
    B, T, D = h.shape
    qkv = linear(normed(h, s, at + "norm_1."), s, at + "attention.qkv.")
    q, k, v = (p.reshape(B, T, heads, D // heads).transpose(1, 2) for p in qkv.split(D, dim=-1))
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    before, rows = k.shape[2] - T, []
    for t in range(T):
        seen = before + t + 1
        scores = torch.einsum("bhd,bhsd->bhs", q[:, :, t], k[:, :, :seen]) / (D // heads) ** 0.5
        weights = (scores - scores.amax(-1, keepdim=True)).exp()
        weights = weights / weights.sum(-1, keepdim=True)
        rows.append(torch.einsum("bhs,bhsd->bhd", weights, v[:, :, :seen]).reshape(B, D))
    h = h + linear(torch.stack(rows, 1), s, at + "attention.out.")
    m = gelu(linear(normed(h, s, at + "norm_2."), s, at + "mlp.0."))
    return h + linear(m, s, at + "mlp.2."), (k, v)


def by_hand_prior(tokens, y, s, heads):
    """Scores of all tokens, and keys and values of every block."""
    B, n = tokens.shape
    K, layers = s["out.bias"].shape[0], len({m.split(".")[1] for m in s if "qkv" in m})
    before = torch.cat([torch.full((B, 1), K), tokens[:, : n - 1]], 1)
    h = s["token.weight"][before] + s["place.weight"][:n] + s["label.weight"][y][:, None]
    pasts = []
    for k in range(layers):
        h, past = by_hand_block(h, s, heads, None, f"blocks.{k}.")
        pasts.append(past)
    return linear(normed(h, s, "norm."), s, "out."), pasts


def a_block(student, generator, D=None, heads=None, **options):
    """A block with random weights, of random size if none is given: it, its weights, dim and
    heads."""
    heads = heads or draws.whole(generator, 2, 5)
    D = D or heads * draws.whole(generator, 2, 5)
    made = student.new("autoregressive.CausalBlock", D, heads, **options)
    return made, filled(made, block_shapes(D, **options), generator), D, heads


def ran(made, h, past=None):
    """What a block returns: tokens, keys and values, each of the right shape."""
    result = made(h) if past is None else made(h, past)
    out, found = expect.unpack(result, ("h", "(k, v)"))
    k, v = expect.unpack(found, ("k", "v"))
    return expect.tensor(out, h.shape, "h"), k, v


@block(weight=3)
def test_the_formula_of_a_block(student, generator):
    """tokens are those of the documented formula, in float64, for any number of tokens and heads"""
    for D, heads, ratio in ((8, 2, 4), (6, 1, 4), (12, 4, 4), (6, 3, 2)):
        options = {} if ratio == 4 else {"ratio": ratio}
        made, s, *_ = a_block(student, generator, D, heads, **options)
        for B, T in ((3, 5), (1, 4), (2, 1), (1, 1), (2, heads), (D, D)):
            h = normal(generator, B, T, D)
            want, _ = by_hand_block(h, s, heads)
            says = f"{T} tokens of dim {D} are not those of the formula, with {heads} heads"
            expect.close(ran(made, h)[0], want, says, **DOUBLE)


@block(weight=2)
def test_what_is_remembered(student, generator):
    """keys and values of all tokens come back, (batch, heads, tokens, dim / heads), those of the
    past first"""
    made, s, D, heads = a_block(student, generator)
    for B, T, before in ((3, 4, 0), (1, 1, 0), (2, 1, 3), (2, 3, 1), (1, 2, 2)):
        h, past = normal(generator, B, T, D), None
        if before:
            past = tuple(normal(generator, 2, B, heads, before, D // heads))
        _, want = by_hand_block(h, s, heads, past)
        for got, w, name in zip(ran(made, h, past)[1:], want, ("keys", "values"), strict=True):
            says = f"the {name} of {before} earlier tokens and {T} new ones"
            expect.close(got, w, says, what=f"the {name}", **DOUBLE)


@block(weight=3)
def test_the_causal_jacobian(student, generator):
    """the derivative of a token to a later one is exactly 0, that to itself and earlier ones not"""
    made, _, D, heads = a_block(student, generator)
    T = draws.whole(generator, 4, 7)
    for before in (0, 2):
        h = normal(generator, 2, T, D)
        past = [*normal(generator, 2, 2, heads, before, D // heads)] if before else []
        silent = torch.zeros(2, heads, before + T, D // heads).double()
        for t in range(T):
            c = torch.zeros_like(h)
            c[:, t] = normal(generator, 2, D)
            weights = [c, silent, silent]
            (to_h,) = student.gradient(
                "checking.fakes.weighted_tokens", made, weights, h, *past, wrt=[h]
            )
            to_h = expect.tensor(to_h, h.shape, "the gradient of h")
            later = to_h[:, t + 1 :]
            says = f"token {t + 1} of {T} depends on a later one, after {before} of the past"
            expect.true(not later.any(), says, later.abs().max() if later.numel() else "", 0)
            seen = to_h[:, : t + 1].abs().amax(2)
            says = f"token {t + 1} of {T} depends on itself and on all before it"
            expect.true(bool((seen > 0).all()), says, seen.min())


@block(weight=3)
def test_a_sequence_in_pieces(student, generator):
    """a sequence that comes in pieces of any lengths gives the same as at once"""
    made, _, D, _ = a_block(student, generator)
    T = draws.whole(generator, 6, 9)
    h = normal(generator, 2, T, D)
    whole = ran(made, h)
    for lengths in ([1] * T, [2, 3, T - 5], [T - 1, 1], [1, T - 1], [3, 1, T - 4]):
        past, rows = None, []
        for piece in h.split(lengths, 1):
            row, *past = ran(made, piece, None if past is None else tuple(past))
            rows.append(row)
        for got, want, what in zip(
            (torch.cat(rows, 1), *past), whole, ("h", "k", "v"), strict=True
        ):
            says = f"{what} of pieces of {', '.join(map(str, lengths))} tokens is another"
            expect.close(got, want, says, what=what, **DOUBLE)


@block(weight=2)
def test_any_past(student, generator):
    """new tokens attend to all of the past, whatever keys and values it holds, and causally among
    themselves"""
    made, s, D, heads = a_block(student, generator)
    for B, T, before in ((2, 3, 4), (1, 1, 5), (3, 4, 1), (2, 2, 2), (1, 70, 70)):
        h = normal(generator, B, T, D)
        past = tuple(normal(generator, 2, B, heads, before, D // heads))
        want, _ = by_hand_block(h, s, heads, past)
        says = f"{T} new tokens after {before} of the past"
        expect.close(ran(made, h, past)[0], want, says, **DOUBLE)


@block(weight=2)
def test_all_gradients_of_a_block(student, generator):
    """tokens, past and all weights get the gradient of the formula, through keys and values, too"""
    made, s, D, heads = a_block(student, generator)
    for before in (0, 3):
        h, leaves = normal(generator, 2, 4, D), {n: w.clone() for n, w in s.items()}
        past = [*normal(generator, 2, 2, heads, before, D // heads)] if before else []
        total = (2, heads, before + 4, D // heads)
        c = [normal(generator, 2, 4, D), normal(generator, *total), normal(generator, *total)]
        got = student.gradient(
            "checking.fakes.weighted_tokens", made, c, h, *past, wrt=[made, h, *past]
        )
        inputs = [w.clone() for w in (h, *past)]
        for leaf in (*leaves.values(), *inputs):
            leaf.requires_grad_()
        out, (k, v) = by_hand_block(inputs[0], leaves, heads, tuple(inputs[1:]) or None)
        sum((a * b).sum() for a, b in zip(c, (out, k, v), strict=True)).backward()
        found = got[0] | dict(zip(("h", "past's keys", "past's values"), got[1:], strict=False))
        wanted = leaves | dict(zip(("h", "past's keys", "past's values"), inputs, strict=False))
        for name, leaf in wanted.items():
            says = f"the gradient of {name} is not that of the formula"
            expect.close(found[name], leaf.grad, says, what=f"the gradient of {name}", **DOUBLE)


@block
def test_tokens_of_any_size(student, generator):
    """tokens of any size, in float32 and in float64; in evaluation as in training"""
    made, s, D, heads = a_block(student, generator)
    past = tuple(normal(generator, 2, 2, heads, 2, D // heads))
    for mode, size in (("train", 1e-2), ("eval", 1e3)):
        made.call(mode)
        student.checking.fakes.holding_gradients(made)
        h = size * normal(generator, 2, 4, D)
        want, _ = by_hand_block(h, s, heads, past)
        says = f"tokens of size {size:g}, in mode {mode}"
        expect.close(ran(made, h, past)[0], want, says, atol=1e-10, rtol=1e-10)
    made.call("float")
    h, past = normal(generator, 2, 4, D).float(), tuple(p.float() for p in past)
    s = {name: w.float().double() for name, w in s.items()}
    want, _ = by_hand_block(h.double(), s, heads, tuple(p.double() for p in past))
    expect.close(ran(made, h, past)[0], want, "tokens in float32", **SINGLE)


@block
def test_high_scores_of_a_block(student, generator):
    """scores of thousands: the best key takes all, and later tokens stay hidden"""
    made, s, D, heads = a_block(student, generator)
    size = uniform(generator, 30, 60)
    s |= {name: size * w for name, w in s.items() if "qkv" in name}
    made.load(s)
    for before in (0, 3):
        h, past = normal(generator, 3, 6, D), None
        if before:
            past = tuple(size * p for p in normal(generator, 2, 3, heads, before, D // heads))
        want, _ = by_hand_block(h, s, heads, past)
        says = f"queries and keys of size {size:.0f}, {before} of the past"
        expect.close(ran(made, h, past)[0], want, says, atol=1e-8, rtol=1e-8)


@block
def test_examples_do_not_meet(student, generator):
    """an example and its past tell nothing to others"""
    made, _, D, heads = a_block(student, generator)
    h, past = normal(generator, 3, 4, D), tuple(normal(generator, 2, 3, heads, 2, D // heads))
    together = ran(made, h, past)
    turned = ran(made, h.flip(0), tuple(p.flip(0) for p in past))
    for got, want, what in zip(turned, together, ("h", "k", "v"), strict=True):
        says = f"{what}: examples that change places change places"
        expect.close(got, want.flip(0), says, what=what, **DOUBLE)
    alone = [ran(made, h[n : n + 1], tuple(p[n : n + 1] for p in past)) for n in range(3)]
    for got, want, what in zip(zip(*alone, strict=True), together, ("h", "k", "v"), strict=True):
        says = f"{what}: an example depends on the others of its batch"
        expect.close(torch.cat(got), want, says, what=what, **DOUBLE)


SMALL = {"vocabulary": 5, "length": 6, "classes": 3, "dim": 8, "layers": 2, "heads": 2}


def a_prior(student, generator, **options):
    """A small prior with random weights: it, its weights and its heads."""
    sizes = {**SMALL, **options}
    made = student.new("autoregressive.Prior", **sizes)
    K, N, classes, D, layers, heads = (sizes[name] for name in SMALL)
    return made, filled(made, prior_shapes(K, N, classes, D, layers), generator), heads


def some_sequences(generator, B=4, n=6, vocabulary=5, classes=3):
    """Tokens, and labels with ∅ among them; also 10, where that is another."""
    tokens = torch.randint(vocabulary, (B, n), generator=generator)
    y = torch.randint(classes + 1, (B,), generator=generator)
    y[0] = 10 if classes > 10 else y[0]
    y[-1] = classes
    return tokens, y


def stepped(made, tokens, y):
    """Scores of all tokens, one step after another, and all caches on the way."""
    logits, cache = expect.unpack(made.call("step", None, y), ("logits", "cache"))
    rows, caches = [logits], [cache]
    for last in tokens[:, :-1].unbind(1):
        found = made.call("step", last, y, caches[-1])
        logits, cache = expect.unpack(found, ("logits", "cache"))
        rows.append(logits)
        caches.append(cache)
    return rows, caches


KINDS = {
    "usual": {},
    "one code": {"vocabulary": 1, "length": 3},
    "one place": {"length": 1, "layers": 1},
    "one head": {"dim": 6, "heads": 1, "layers": 3},
    "four heads": {"dim": 12, "heads": 4, "layers": 1, "classes": 12},
    "no labels": {"classes": 0, "vocabulary": 7, "length": 4},
}


@net(weight=3)
@pytest.mark.parametrize("kind", KINDS)
def test_the_scores_of_a_prior(student, generator, kind):
    """scores of all tokens, or of the first of them, are those of the documented formula, in
    float64"""
    made, s, heads = a_prior(student, generator, **KINDS[kind])
    sizes = {**SMALL, **KINDS[kind]}
    K, N, classes = (sizes[name] for name in ("vocabulary", "length", "classes"))
    for B, n in ((4, N), (1, N), (3, 1), (N, N), (2, max(1, N - 1)), (1, max(1, N // 2))):
        tokens, y = some_sequences(generator, B, n, K, classes)
        got = expect.tensor(made(tokens, y), (B, n, K), "the scores")
        want, _ = by_hand_prior(tokens, y, s, heads)
        says = f"{n} of {N} tokens, labels {y.tolist()} with ∅ = {classes}: other scores"
        expect.close(got, want, says, what="the scores", **DOUBLE)


@net(weight=3)
def test_all_sequences_of_a_tiny_world(student, generator):
    """the probabilities of all sequences sum to 1, for each label and for ∅; their logarithms are
    those of chapter 00"""
    K, N, classes = 3, 4, 2
    made, s, heads = a_prior(student, generator, vocabulary=K, length=N, classes=classes)
    every = torch.tensor([*itertools.product(range(K), repeat=N)])
    for label in range(classes + 1):
        y = torch.full((len(every),), label)
        logits = expect.tensor(made(every, y), (len(every), N, K), "the scores")
        log_p = autoregressive_log_likelihood(logits, every)
        says = f"all sequences together do not have probability 1, with label {label} of {classes}"
        expect.close(log_p.exp().sum(), 1.0, says, atol=1e-12, rtol=0)
        p = by_hand_prior(every, y, s, heads)[0].softmax(-1)
        bits = -p.gather(2, every[..., None]).log2().sum((1, 2))
        says = f"bits of the sequences, with label {label} of {classes}"
        expect.close(-log_p / math.log(2), bits, says, **DOUBLE)


@net(weight=2)
def test_a_world_that_is_known(student, generator):
    """with weights that make it a Markov chain, it is that chain: the token before, the place and
    the label each add their scores"""
    K, N, classes = 3, 4, 2
    D = (K + 1) + N + (classes + 1)  # a token is three units on different axes
    made = student.new("autoregressive.Prior", K, N, classes, D, 2, 1)
    made.call("double")
    weights = {name: torch.zeros_like(w) for name, w in made.state().items()}
    units = torch.eye(D).double()
    first = {"token": 0, "place": K + 1, "label": K + 1 + N}
    for name, at in first.items():
        w = weights[f"{name}.weight"]
        weights[f"{name}.weight"] = units[at : at + len(w)]
    # A layer norm takes the mean from each number, and divides by σ: both are those of any token.
    mean = 3 / D
    weights["norm.weight"] += (mean - mean**2 + 1e-5) ** 0.5
    weights["norm.bias"] += mean
    weights["out.weight"] = table = 2 * normal(generator, K, D)
    made.load(weights)
    every = torch.tensor([*itertools.product(range(K), repeat=N)])
    for label in range(classes + 1):
        got = expect.tensor(made(every, torch.full((len(every),), label)), (len(every), N, K))
        before = torch.cat([torch.full((len(every), 1), K), every[:, :-1]], 1)
        place = table.T[first["place"] : first["place"] + N]
        want = table.T[before] + place + table.T[first["label"] + label]
        says = f"the scores are not those of the chain, with label {label} of {classes}"
        expect.close(got, want, says, what="the scores", **DOUBLE)


@net(weight=3)
def test_no_token_sees_itself_or_a_later_one(student, generator):
    """a token that changes leaves all scores up to its own as they are, bit for bit, and moves all
    after it; the last changes nothing"""
    made, *_ = a_prior(student, generator)
    tokens, y = some_sequences(generator)
    logits = expect.tensor(made(tokens, y), (4, 6, 5), "the scores")
    for t in range(6):
        other = tokens.clone()
        other[:, t] = (other[:, t] + draws.whole(generator, 1, 5)) % 5
        got = expect.tensor(made(other, y), (4, 6, 5), "the scores")
        moved = (got - logits).abs().amax(2)  # (batch, places)
        says = f"token {t + 1} changes scores up to its own place"
        expect.true(torch.equal(got[:, : t + 1], logits[:, : t + 1]), says, moved[:, : t + 1], 0)
        says = f"token {t + 1} does not change all scores after it"
        expect.true(bool((moved[:, t + 1 :] > 0).all()), says, moved[:, t + 1 :])


@net(weight=3)
def test_step_by_step(student, generator):
    """one step after another gives the scores of all tokens at once, to 1e-12 in float64"""
    for options in (
        {}, {"layers": 3, "heads": 1}, {"classes": 12, "heads": 4}, {"length": 1}, {"length": 70}
    ):  # fmt: skip
        made, *_ = a_prior(student, generator, **options)
        N, classes = ({**SMALL, **options}[name] for name in ("length", "classes"))
        for B in (4, 1):
            tokens, y = some_sequences(generator, B, N, classes=classes)
            want = expect.tensor(made(tokens, y), (B, N, 5), "the scores")
            rows, _ = stepped(made, tokens, y)
            for t, row in enumerate(rows):
                says = f"the step to place {t + 1} of {N} gives other scores than all at once"
                expect.close(row, want[:, t], says, what="the scores", atol=1e-12, rtol=1e-12)


@net(weight=2)
def test_what_steps_remember(student, generator):
    """the cache holds keys and values of every block, for all places up to the last"""
    made, s, heads = a_prior(student, generator, layers=3)
    tokens, y = some_sequences(generator)
    rows, caches = stepped(made, tokens, y)
    logits, pasts = by_hand_prior(tokens, y, s, heads)
    for t, (row, cache) in enumerate(zip(rows, caches, strict=True)):
        expect.close(row, logits[:, t], f"the scores at place {t + 1}", what="the scores", **DOUBLE)
        blocks = expect.unpack(cache, ["the first block's", "the second's", "the third's"])
        for n, (past, wants) in enumerate(zip(blocks, pasts, strict=True)):
            pair = expect.unpack(past, ("k", "v"))
            for got, want, name in zip(pair, wants, ("keys", "values"), strict=True):
                says = f"the {name} of block {n + 1} after the step to place {t + 1}"
                expect.close(got, want[:, :, : t + 1], says, what=f"the {name}", **DOUBLE)


@net(weight=2)
def test_two_endings(student, generator):
    """a cache stays as it was: two sequences may go on from it, in turn"""
    made, s, heads = a_prior(student, generator, length=9)
    one, y = some_sequences(generator)
    other = one.clone()
    other[:, 2:] = (one[:, 2:] + 1 + torch.randint(4, (4, 4), generator=generator)) % 5
    found = student.checking.fakes.two_endings(made, y, one[:, :2], one[:, 2:5], other[:, 2:5])
    wants = [by_hand_prior(tokens, y, s, heads)[0] for tokens in (one, other)]
    for k, got in enumerate(found):
        t = 3 + k // 2
        says = "two sequences that go on from one cache, in turn: one of them has other scores"
        expect.close(got, wants[k % 2][:, t], says, what="the scores", **DOUBLE)


@net
def test_nothing_is_kept_in_the_prior(student, generator):
    """what a step knows comes from its cache: other calls between two steps change nothing"""
    made, s, heads = a_prior(student, generator)
    tokens, y = some_sequences(generator)
    more, z = some_sequences(generator)
    _, caches = stepped(made, tokens, y)
    stepped(made, more, z)
    expect.tensor(made(more, z), (4, 6, 5), "the scores")
    want, _ = by_hand_prior(tokens, y, s, heads)
    for t in (4, 1, 3):
        logits, _ = expect.unpack(
            made.call("step", tokens[:, t], y, caches[t]), ("logits", "cache")
        )
        says = f"place {t + 2}, from a cache of before"
        expect.close(logits, want[:, t + 1], says, what="the scores", **DOUBLE)


@net(weight=2)
def test_all_gradients_of_a_prior(student, generator):
    """all weights get the gradient of the formula, at once and step by step"""
    made, s, heads = a_prior(student, generator)
    tokens, y = some_sequences(generator)
    c = normal(generator, 4, 6, 5)
    leaves = {name: w.requires_grad_() for name, w in s.items()}
    (c * by_hand_prior(tokens, y, leaves, heads)[0]).sum().backward()
    steps = student.function("checking.fakes.step_by_step")
    ways = {"": [made, c], " step by step": [steps, c, made]}
    for way, first in ways.items():
        (got,) = student.gradient("checking.fakes.weighted", *first, tokens, y, wrt=[made])
        for name, leaf in leaves.items():
            says = f"the gradient of {name}{way} is not that of the formula"
            expect.close(got[name], leaf.grad, says, what=f"the gradient of {name}", **DOUBLE)


@net
def test_sequences_do_not_meet(student, generator):
    """a sequence and its label tell nothing to others, in training and in evaluation"""
    made, *_ = a_prior(student, generator)
    tokens, y = some_sequences(generator)
    for mode in ("train", "eval"):
        made.call(mode)
        student.checking.fakes.holding_gradients(made)
        together = expect.tensor(made(tokens, y), (4, 6, 5), "the scores")
        got = made(tokens.flip(0), y.flip(0))
        says = "sequences that change places change places"
        expect.close(got, together.flip(0), says, what="the scores", **DOUBLE)
        alone = torch.cat([made(tokens[n : n + 1], y[n : n + 1]) for n in range(4)])
        says = f"a sequence depends on the others of its batch, in mode {mode}"
        expect.close(alone, together, says, what="the scores", **DOUBLE)
        steps = torch.stack(stepped(made, tokens[1:2], y[1:2])[0], 1)
        says = f"steps of one sequence alone, in mode {mode}"
        expect.close(steps, together[1:2], says, what="the scores", **DOUBLE)


@net
def test_scores_of_any_size(student, generator):
    """scores have no bounds; in float32 they are those of the formula as well, and stay float32"""
    made, s, heads = a_prior(student, generator)
    tokens, y = some_sequences(generator)
    s |= {name: 100 * s[name] for name in ("out.weight", "out.bias")}
    for dtype, near in ((torch.float64, DOUBLE), (torch.float32, SINGLE)):
        s = {name: w.to(dtype).double() for name, w in s.items()}
        made.call("to", dtype)
        made.load({name: w.to(dtype) for name, w in s.items()})
        want, _ = by_hand_prior(tokens, y, s, heads)
        whole, rows = made(tokens, y), torch.stack(stepped(made, tokens, y)[0], 1)
        for got, way in ((whole, "at once"), (rows, "step by step")):
            got = expect.tensor(got, want.shape, "the scores")
            expect.true(got.dtype == dtype, f"the dtype of scores, {way}", got.dtype, dtype)
            off = (got - want).abs().max() / want.abs().max()
            says = f"scores of size {want.abs().max():.0f} in {dtype}, {way}: the largest error"
            expect.true(bool(off < near["atol"]), says, off, f"{near['atol']} of the largest score")


@net
def test_what_a_prior_refuses(student, generator):
    """a ValueError for too many tokens or none, labels that do not fit, a step beyond the last
    place, and a last token without a cache"""
    made, *_ = a_prior(student, generator)
    tokens, y = some_sequences(generator)
    for bad in (tokens.repeat(1, 2), tokens[:, :0], tokens[0], tokens[..., None]):
        says = f"tokens of shape {tuple(bad.shape)} must be refused: there are 6 places"
        expect.raises("ValueError", lambda x=bad: made(x, y), says)
    _, caches = stepped(made, tokens, y)
    for bad in (y[:3], y[:1], y[0], y[:, None], y.repeat(2)):
        says = f"labels of shape {tuple(bad.shape)} must be refused for 4 sequences"
        expect.raises("ValueError", lambda z=bad: made(tokens, z), says)
        steps = (tokens[:, 0], bad, caches[0])
        expect.raises("ValueError", lambda a=steps: made.call("step", *a), says)
    says = "a step after all places are taken must be refused"
    expect.raises("ValueError", lambda: made.call("step", tokens[:, 5], y, caches[5]), says)
    says = "last and cache are None together, or neither is"
    expect.raises("ValueError", lambda: made.call("step", None, y, caches[0]), says)
    expect.raises("ValueError", lambda: made.call("step", tokens[:, 0], y), says)


# --- next_probabilities and sample --------------------------------------------------------------


def some_world(generator, labels=3, K=3, N=3, spread=1.5):
    """Scores for every label after every prefix; see `fakes.TablePrior`."""
    prefixes = sum(K**t for t in range(N))
    return spread * normal(generator, labels, prefixes, K)


def shares(scores, null_scores=None, w=0.0, T=1.0, k=None):
    """The probabilities, in float64."""
    scores = scores.double()
    if null_scores is not None:
        scores = scores + w * (scores - null_scores.double())
    e = ((scores - scores.max(-1, keepdim=True).values) / T).exp()
    if k is not None and k < e.shape[-1]:
        border = e.sort(-1, descending=True).values[..., k - 1 : k]
        e = e * (e >= border)  # where no two are equal
    return e / e.sum(-1, keepdim=True)


# --- autoregressive.next_probabilities


def probabilities(student, scores, *args, **more):
    p = student.autoregressive.next_probabilities(scores, *args, **more)
    return expect.tensor(p, scores.shape, "the probabilities")


def close(p, want, says, tolerance=1e-12):
    expect.close(p, want, says, atol=tolerance, rtol=tolerance, what="the probabilities")


@next_probabilities(weight=2)
def test_probabilities_of_scores(student, generator):
    """without guidance and limits each row is the softmax of its scores"""
    for B, K in ((5, 7), (1, 4), (6, 1), (3, 3), (2, 512)):
        scores = 2 * normal(generator, B, K)
        p = probabilities(student, scores)
        close(p, shares(scores), f"{B} rows of {K} scores: softmax of each row", 1e-13)


@next_probabilities(weight=3)
def test_guidance_on_scores(student, generator):
    """guidance acts on the scores: ℓ = (1 + w) ℓ_y − w ℓ_∅, for weights of any sign"""
    for w in (uniform(generator, 0.3, 4), -uniform(generator, 0.1, 0.9), 0.01, -2.5, 9.0, 60.0):
        scores, null = 2 * normal(generator, 4, 6), 2 * normal(generator, 4, 6)
        says = f"w = {w:.3g}: softmax of (1 + w) ℓ_y − w ℓ_∅"
        close(probabilities(student, scores, null, w), shares(scores, null, w), says)
    far = 100 * normal(generator, 1, 6) + normal(generator, 4, 6), 100 * normal(generator, 4, 1)
    scores, null = far[0] + far[1], far[0] + normal(generator, 4, 6)
    close(probabilities(student, scores, null, w), shares(scores, null, w), f"w = {w:.3g}", 1e-10)


@next_probabilities
def test_special_weights(student, generator):
    """w = 0 leaves the condition as it is, w = −1 takes it away"""
    scores, null = normal(generator, 4, 5), normal(generator, 4, 5)
    close(probabilities(student, scores, null, 0.0), shares(scores), "w = 0: p(x_t | y)")
    close(probabilities(student, scores, null), shares(scores), "w is 0 if none is given")
    close(probabilities(student, scores, null, -1.0), shares(null), "w = −1: p(x_t)")
    w = uniform(generator, 1, 3)
    close(probabilities(student, scores, None, w), shares(scores), "no ℓ_∅: no guidance")
    close(probabilities(student, scores, scores, w), shares(scores), "ℓ_∅ = ℓ_y: no guidance")


@next_probabilities
def test_a_constant_changes_nothing(student, generator):
    """a constant added to a row of either scores changes nothing"""
    scores, null = normal(generator, 4, 5), normal(generator, 4, 5)
    w, T, k = uniform(generator, 1, 3), uniform(generator, 0.5, 2), 3
    want = shares(scores, null, w, T, k)
    more, other = 9 * normal(generator, 4, 1), 9 * normal(generator, 4, 1)
    for a, b in ((scores + more, null), (scores, null + other), (scores + more, null + other)):
        p = probabilities(student, a, null if b is null else b, w, T, k)
        close(p, want, "scores plus a constant a row", 1e-11)


@next_probabilities(weight=2)
def test_temperatures(student, generator):
    """the temperature divides the guided scores"""
    for T in (uniform(generator, 0.2, 0.8), uniform(generator, 1.5, 4), 1, 2):
        scores, null = normal(generator, 4, 6), normal(generator, 4, 6)
        says = f"T = {T:.3g}: softmax(ℓ / T)"
        close(probabilities(student, scores, temperature=T), shares(scores, T=T), says)
        w = uniform(generator, 1, 3)
        close(probabilities(student, scores, null, w, T), shares(scores, null, w, T), says)


@next_probabilities
def test_limits_of_temperature(student, generator):
    """towards 0 the likeliest token is left, and high temperatures make all alike"""
    scores = torch.stack([torch.randperm(6, generator=generator) for _ in range(5)]).double()
    cold = probabilities(student, scores, temperature=1e-3)
    close(cold, torch.eye(6).double()[scores.argmax(-1)], "T = 0.001: the highest score only")
    hot = probabilities(student, scores, temperature=1e9)
    close(hot, torch.full((5, 6), 1 / 6), "T = 1e9: all alike", 1e-8)
    for T in (1e-9, 1e-5, 1e-3, 0.05, 1e5):
        level = normal(generator, 5, 6)
        p = probabilities(student, T * level, temperature=T)
        near = max(1e-11, 1e-14 / T)  # rounding of scores, or of shares of them, divided by T
        close(p, shares(level), f"T = {T:g}, and scores of that size: softmax(ℓ / T)", near)


@next_probabilities(weight=3)
def test_the_k_highest(student, generator):
    """only the k highest scores are left, with sum 1, the others are exactly 0"""
    for k in (1, 2, 4, 6):
        scores, T = 2 * normal(generator, 5, 7), uniform(generator, 0.5, 2)
        p = probabilities(student, scores, temperature=T, top_k=k)
        expect.true(bool(((p != 0).sum(-1) == k).all()), f"top_k = {k}: so many are not 0", p)
        close(p, shares(scores, T=T, k=k), f"top_k = {k}: the softmax among these", 1e-13)
    scores = 0.1 * normal(generator, 3, 512)
    says = "top_k = 4 of 512, all of them unlikely: the softmax among these"
    close(probabilities(student, scores, top_k=4), shares(scores, k=4), says, 1e-13)
    says = "top_k = 300 of 512: the softmax among these"
    close(probabilities(student, scores, top_k=300), shares(scores, k=300), says, 1e-13)


@next_probabilities(weight=2)
def test_the_choice_comes_last(student, generator):
    """the k highest are chosen among the guided scores"""
    for k in (1, 2, 3):
        scores, null = normal(generator, 8, 6), 2 * normal(generator, 8, 6)
        w, T = uniform(generator, 1, 4), uniform(generator, 0.5, 2)
        p = probabilities(student, scores, null, w, T, k)
        close(p, shares(scores, null, w, T, k), f"w = {w:.3g}, top_k = {k}: guidance first")


@next_probabilities
def test_all_are_kept(student, generator):
    """top_k as large as the vocabulary, or larger, keeps all"""
    for K in (1, 5):
        scores = normal(generator, 3, K)
        for k in (K, K + 1, 1000):
            says = f"top_k = {k} of {K}: all are kept"
            close(probabilities(student, scores, top_k=k), shares(scores), says)


@next_probabilities
def test_equal_scores_at_the_border(student, generator):
    """of equal scores at the border any are kept, k in all"""
    for k in (2, 3, 4):
        scores = torch.tensor([3.0, 1.0, 1.0, 1.0, 1.0, 0.0, -2.0]).double()
        scores = torch.stack([scores[torch.randperm(7, generator=generator)] for _ in range(4)])
        p = probabilities(student, scores, top_k=k)
        expect.true(bool(((p != 0).sum(-1) == k).all()), f"top_k = {k}: so many are not 0", p)
        want = torch.tensor([3.0, *[1.0] * (k - 1)]).double().softmax(0)
        want = torch.cat([want, torch.zeros(7 - k).double()]).expand(4, 7)
        found = p.sort(-1, descending=True).values
        close(found, want, f"top_k = {k}: the highest, and {k - 1} of four equal ones")
    same = probabilities(student, torch.zeros(3, 5), top_k=2)
    want = torch.tensor([0.5, 0.5, 0, 0, 0]).expand(3, 5)
    close(same.sort(-1, descending=True).values, want, "two of five equal scores, ½ each", 1e-6)


@next_probabilities
def test_high_scores(student, generator):
    """scores of any size give the right probabilities"""
    for size in (1e4, 1e8, 1e30):
        for dtype in (torch.float32, torch.float64):
            scores = torch.tensor([[size, -size, 0.0], [-size, -size, -2 * size]]).to(dtype)
            want = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]).double()
            says = f"scores of ±{size:g}"
            close(probabilities(student, scores), want, says, 1e-6)
            close(probabilities(student, scores, -scores, 2.0, 0.5), want, says, 1e-6)
            close(probabilities(student, scores, top_k=2), want, says, 1e-6)
            hot = torch.tensor([[1.0, -1.0, 0.0], [-1.0, -1.0, -2.0]]).double().softmax(-1)
            p = probabilities(student, scores, temperature=size)
            close(p, hot, f"{says}, and a temperature as high", 1e-6)


@next_probabilities
def test_single_and_double_precision(student, generator):
    """probabilities have the precision of the scores"""
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-13)):
        scores, null = normal(generator, 3, 5).to(dtype), normal(generator, 3, 5).to(dtype)
        p = probabilities(student, scores, null, 1.5, 0.7, 3)
        expect.true(p.dtype == dtype, "another precision", p.dtype, dtype)
        close(p, shares(scores, null, 1.5, 0.7, 3), f"in {dtype}", tolerance)


@next_probabilities(weight=2)
def test_gradients_of_probabilities(student, generator):
    """gradients flow into both scores"""
    function = student.function("autoregressive.next_probabilities")
    for k in (None, 3):
        scores, null, c = (normal(generator, 4, 6) for _ in range(3))
        w, T = uniform(generator, 0.5, 3), uniform(generator, 0.5, 2)
        p = shares(scores, null, w, T, k)
        want = p * (c - (p * c).sum(-1, keepdim=True)) / T
        args = [function, c, scores, null, w, T, k]
        found = student.gradient("checking.fakes.weighted", *args, wrt=[scores, null])
        for grad, factor, name in zip(found, (1 + w, -w), ("ℓ_y", "ℓ_∅"), strict=True):
            expect.true(grad is not None, f"no gradient reaches {name}")
            close(grad, factor * want, f"top_k = {k}: the gradient to {name}", 1e-11)


@next_probabilities
def test_what_probabilities_refuse(student, generator):
    """other shapes, temperatures that are not positive, and top_k below 1 are refused"""
    scores, call = normal(generator, 3, 4), student.autoregressive.next_probabilities
    for shape in ((1, 4), (3, 1), (2, 4), (3, 5), (4,)):
        null = normal(generator, *shape)
        says = f"ValueError for ℓ_∅ of shape {shape}, ℓ_y (3, 4)"
        expect.raises("ValueError", lambda null=null: call(scores, null, 1.0), says)
    for T in (0.0, -1.0, math.nan, -math.inf):
        says = f"ValueError for temperature {T}"
        expect.raises("ValueError", lambda T=T: call(scores, temperature=T), says)
    for k in (0, -1):
        expect.raises("ValueError", lambda k=k: call(scores, top_k=k), f"ValueError for top_k {k}")
    close(probabilities(student, scores, top_k=1).sum(-1), torch.ones(3), "top_k = 1 is allowed")


# --- autoregressive.sample


def written(student, prior, y, *args, N=3, K=3, **more):
    x = student.autoregressive.sample(prior, y, *args, **more)
    x = expect.tensor(x, (len(y), N), "the tokens")
    expect.true(x.dtype == torch.int64, "tokens are whole numbers", x.dtype, torch.int64)
    fits = not x.numel() or 0 <= int(x.min()) <= int(x.max()) < K
    expect.true(fits, "tokens are numbers from 0 to K − 1", x, f"from 0 to {K - 1}")
    return x


def prior_of(student, table, N, null):
    return student.new("checking.fakes.TablePrior", table, N, null)


def share_of_each(table, N, y, null, w=0.0, T=1.0, k=None):
    """The probability of every sequence, in the order of `numbers`."""
    K, p, first = table.shape[2], torch.ones(1).double(), 0
    for t in range(N):
        rows = slice(first, first + K**t)
        p = (p[:, None] * shares(table[y, rows], table[null, rows], w, T, k)).flatten()
        first += K**t
    return p


def numbers(x, K):
    """Sequences as numbers whose digits are the tokens."""
    return (x * K ** torch.arange(x.shape[1] - 1, -1, -1)).sum(1)


def fits(outcomes, p, says):
    """A test of χ² whether outcomes, numbers from 0, come as often as p says: refused if it is
    further out than five standard deviations of a normal one."""
    n = len(outcomes)
    counts = torch.bincount(outcomes, minlength=len(p)).double()
    impossible = counts[p == 0]
    expect.true(not impossible.any(), f"{says}: something came that cannot", int(impossible.sum()))
    order = p.argsort()
    counts, want = counts[order], n * p[order]
    few = int((want < 5).sum())  # cells that are put into one, with another if that is still small
    few += bool(want[:few].sum() < 5)
    counts, want = (torch.cat([c[:few].sum()[None], c[few:]]) for c in (counts, want))
    freedom = max(1, len(counts) - 1)
    chi = float(((counts - want).square() / want).sum()) / freedom
    far = (chi ** (1 / 3) - 1 + 2 / (9 * freedom)) / math.sqrt(2 / (9 * freedom))
    expect.true(far < 5, says, f"χ² a degree of freedom {chi:.3g}", "about 1")


def likeliest(table, N, y, null, w=0.0):
    """The sequences that always take the token with the highest score."""
    K, rows, found = table.shape[2], torch.zeros_like(y), []
    for _ in range(N):
        x = shares(table[y, rows], table[torch.full_like(y, null), rows], w).argmax(-1)
        found.append(x)
        rows = K * rows + 1 + x
    return torch.stack(found, 1)


def calls_of(prior, N, way):
    """What the prior was asked, call by call: tokens, labels."""
    ways = prior.get("ways")
    says = f"{N} tokens cost {N} calls, all of them of prior{'.step' if way == 'step' else ''}"
    expect.true(ways == [way] * N, says, ", ".join(ways), ", ".join([way] * N))
    return [*zip(prior.get("known"), prior.get("labels"), strict=True)]


def questions(x, y):
    """Rows of tokens and labels, whatever their order."""
    return sorted(torch.cat([x, y[:, None]], 1).tolist())


@sample(weight=3)
def test_frequencies(student, generator):
    """sequences come as often as Π p(x_t | x_<t, y) says"""
    for cached in (True, False):
        table, n = some_world(generator), 15_000
        prior, y = prior_of(student, table, 3, 2), torch.arange(n) % 2
        x = written(student, prior, y, cached=cached, generator=generator)
        for label in (0, 1):
            says = f"label {label}: how often each sequence comes"
            fits(numbers(x[y == label], 3), share_of_each(table, 3, label, 2), says)


def scores_of(world):
    """The scores of a perfect prior: those of each label, and of ∅ at last."""
    labels = [conditionals(world.given(y)) for y in range(world.classes + 1)]
    return torch.stack([torch.cat([c.reshape(-1, world.vocabulary) for c in y]) for y in labels])


@sample(weight=3)
def test_guided_frequencies(student, generator):
    """guidance acts token by token, for weights of any sign, and does not sharpen sequences"""
    first = SequenceWorld.random(3, 3, 2, 1.5, generator)
    for w, world in ((uniform(generator, 1, 3), first), (-uniform(generator, 0.3, 2), first),
                     (uniform(generator, 0.7, 1.5), two_token_world())):  # fmt: skip
        cached, K, N = w > 0, world.vocabulary, world.length
        y = torch.arange(15_000) % 2
        prior = prior_of(student, scores_of(world), N, world.classes)
        x = written(student, prior, y, w, cached=cached, generator=generator, N=N, K=K)
        for label in (0, 1):
            want = token_by_token(world.given(label), world.given(), w)
            says = f"w = {w:.3g}, label {label}: guide the scores of each token"
            fits(numbers(x[y == label], K), want.flatten(), says)


@sample(weight=2)
def test_frequencies_at_other_temperatures(student, generator):
    """temperature and top_k limit every token"""
    for T, k, w in ((0.5, None, 0.0), (2.0, None, 1.0), (1.0, 2, 1.0), (1.5, 2, 0.0)):
        table, n = some_world(generator, K=4, N=2), 8000
        prior, y = prior_of(student, table, 2, 2), torch.zeros(n).long()
        x = written(student, prior, y, w, T, k, generator=generator, N=2, K=4)
        says = f"w = {w:g}, temperature = {T:g}, top_k = {k}"
        fits(numbers(x, 4), share_of_each(table, 2, 0, 2, w, T, k), says)


@sample(weight=2)
def test_the_cache_changes_nothing(student, generator):
    """with a cache and without, the same seed gives the same tokens"""
    for w, T, k in ((0.0, 1.0, None), (2.0, 1.0, None), (-0.5, 0.8, 3), (0.0, 2.0, 2)):
        table = some_world(generator, labels=5, K=4, N=4)
        y, state = torch.randint(0, 4, (40,), generator=generator), generator.get_state()
        found = []
        for cached in (True, False):
            generator.set_state(state)
            prior = prior_of(student, table, 4, 4)
            found.append(written(student, prior, y, w, T, k, cached, generator, N=4, K=4).double())
        says = f"w = {w:g}, temperature = {T:g}, top_k = {k}: cached or not"
        expect.close(found[0], found[1], says, what="the tokens")


@sample(weight=2)
def test_the_likeliest_sequence(student, generator):
    """where one token is far likelier than the others, it is taken"""
    for cached in (True, False):
        for w in (0.0, uniform(generator, 1, 3)):
            table, null = some_world(generator, labels=13, K=4, N=4), draws.whole(generator, 1, 10)
            y = (null + torch.randint(1, 13, (7,), generator=generator)) % 13
            prior = prior_of(student, table, 4, null)
            x = written(student, prior, y, w, 1e-9, None, cached, generator, N=4, K=4)
            says = f"w = {w:.3g}, temperature 1e-9: the highest scores of each label"
            expect.close(x, likeliest(table, 4, y, null, w), says, what="the tokens")


@sample(weight=2)
def test_what_is_asked_with_a_cache(student, generator):
    """with a cache prior.step is asked once a token, about the tokens written so far"""
    table = some_world(generator, labels=5, K=4, N=4)
    y = torch.randint(0, 4, (7,), generator=generator)
    prior = prior_of(student, table, 4, 4)
    x = written(student, prior, y, generator=generator, N=4, K=4)
    for t, (known, labels) in enumerate(calls_of(prior, 4, "step")):
        says = f"token {t + 1}: last and cache hold the tokens before it"
        expect.true(questions(known, labels) == questions(x[:, :t], y), says, known, x[:, :t])


@sample(weight=2)
def test_what_is_asked_without_a_cache(student, generator):
    """without a cache the prior is asked once a token, about the tokens written so far"""
    table = some_world(generator, labels=5, K=4, N=4)
    y = torch.randint(0, 4, (7,), generator=generator)
    prior = prior_of(student, table, 4, 4)
    x = written(student, prior, y, cached=False, generator=generator, N=4, K=4)
    for t, (known, labels) in enumerate(calls_of(prior, 4, "forward")):
        says = f"token {t + 1}: the prior gets the tokens before it, and one more"
        known = known[:, :t]
        expect.true(questions(known, labels) == questions(x[:, :t], y), says, known, x[:, :t])


@sample(weight=2)
def test_what_is_asked_for_guidance(student, generator):
    """guidance asks about every sequence with y and with ∅ in one call, and w = 0 only with y"""
    for cached, w in (
        (True, 1.5), (False, 1.5), (True, -1.0), (False, 1e-6), (False, 0.0), (True, 0.0)
    ):  # fmt: skip
        table, null = some_world(generator, labels=6, K=4, N=3), draws.whole(generator, 0, 6)
        y = (null + torch.randint(1, 6, (5,), generator=generator)) % 6
        prior = prior_of(student, table, 3, null)
        x = written(student, prior, y, w, cached=cached, generator=generator, K=4)
        nothing = torch.full_like(y, null)
        both = (torch.cat([x, x]), torch.cat([y, nothing])) if w else (x, y)
        for t, (known, labels) in enumerate(calls_of(prior, 3, "step" if cached else "forward")):
            says = f"w = {w:g}: each sequence with y{f', and with ∅ = {null}' if w else ''}"
            want = questions(both[0][:, :t], both[1])
            expect.true(questions(known[:, :t], labels) == want, says, labels, both[1])


@sample
def test_the_prior_is_in_eval_mode(student, generator):
    """the prior is asked in eval mode, without a graph, and left in the mode it was in"""
    table = some_world(generator)
    for cached in (True, False):
        for mode in ("train", "eval", "half_frozen", "put_to_use"):
            prior = prior_of(student, table, 3, 2)
            prior.call(mode)
            y = torch.tensor([0, 1, 1])
            x = written(student, prior, y, 1.0, 1e-9, None, cached, generator)
            says = f"a prior in mode {mode}: no part trains"
            modes = prior.get("modes")
            expect.true(not any(trains for trains, _ in modes), f"{says} while it is asked")
            expect.true(not any(graph for _, graph in modes), "a graph is recorded")
            expect.close(x, likeliest(table, 3, y, 2, 1.0), says, what="the tokens")


@sample
def test_sequences_of_every_size(student, generator):
    """one sequence, one token, a vocabulary of one, and scores in single precision"""
    for B, N, K in ((1, 3, 3), (4, 1, 3), (3, 4, 1), (1, 1, 1), (2, 5, 2), (1, 70, 1)):
        for cached in (True, False):
            for w in (0.0, 1.5):
                table = some_world(generator, K=K, N=N).float()
                prior, y = prior_of(student, table, N, 2), torch.arange(B) % 2
                x = written(
                    student, prior, y, w, 1e-9, cached=cached, generator=generator, N=N, K=K
                )
                says = f"{B} sequences of {N} tokens out of {K}"
                expect.close(x, likeliest(table, N, y, 2, w), says, what="the tokens")
    table, y = some_world(generator, K=9001, N=1), torch.arange(8) % 2
    table[:, :, :5000] -= 9
    x = written(student, prior_of(student, table, 1, 2), y, 0.5, 1e-9, N=1, K=9001)
    says = "one token out of 9001"
    expect.close(x, likeliest(table, 1, y, 2, 0.5), says, what="the tokens", atol=0.0, rtol=0.0)


@sample(weight=2)
def test_draws_of_their_own(student, generator):
    """each sequence and each place has draws of its own"""
    n, K = 12_000, 3
    alike = some_world(generator, 2, K, 1, 0.7).expand(2, 1, K)
    table = alike[:, [0] * (1 + K)]  # p(x_2) is p(x_1), whatever x_1 is
    prior, y = prior_of(student, table, 2, 1), torch.zeros(n).long()
    x = written(student, prior, y, generator=generator, N=2)
    p = shares(alike[0, 0])
    pairs = (p[:, None] * p).flatten()
    fits(numbers(x, K), pairs, "the tokens of a sequence know of each other")
    for k in (1, 2, n // 2):
        two = torch.stack([x[:, 0], x[:, 0].roll(k)], 1)[: n // 2 if k == n // 2 else n]
        fits(numbers(two, K), pairs, f"sequences {k} apart know of each other")


@sample
def test_the_seed_decides(student, generator):
    """the same seed gives the same tokens, another one others, and none is needed"""
    table = some_world(generator, spread=0.5, N=4)
    y = torch.arange(40) % 2
    for cached in (True, False):
        prior, state = prior_of(student, table, 4, 2), generator.get_state()
        more = {"cached": cached, "N": 4}
        one = written(student, prior, y, generator=generator, **more)
        expect.true(
            not torch.equal(one, written(student, prior, y, generator=generator, **more)),
            "tokens are the same though the generator has gone on",
        )
        torch.rand(3)
        generator.set_state(state)
        again = written(student, prior, y, generator=generator, **more)
        expect.close(again, one, "a seed does not repeat the tokens", what="the tokens")
        free = [written(student, prior, y, **more) for _ in range(2)]
        expect.true(not torch.equal(*free), "without a generator two calls give the same tokens")
        generator.manual_seed(draws.whole(generator, 0, 2**31))
        other = written(student, prior, y, generator=generator, **more)
        expect.true(not torch.equal(other, one), "another seed gives the same tokens")


@sample
def test_what_sample_refuses(student, generator):
    """temperatures that are not positive and top_k below 1 are refused"""
    prior = prior_of(student, some_world(generator), 3, 2)
    y, call = torch.zeros(2).long(), student.autoregressive.sample
    prior.call("eval")
    for cached in (True, False):
        for T in (0.0, -1.0, math.nan):
            says = f"ValueError for temperature {T}"
            expect.raises(
                "ValueError", lambda T=T, c=cached: call(prior, y, 1.0, T, cached=c), says
            )
        for k in (0, -2):
            says = f"ValueError for top_k {k}"
            expect.raises(
                "ValueError", lambda k=k, c=cached: call(prior, y, top_k=k, cached=c), says
            )
    x = written(student, prior, y, top_k=1, generator=generator)
    expect.close(x, likeliest(prior.state()["table"], 3, y, 2), "top_k = 1 is allowed")
