"""Hidden graders of chapter 10, text to image: blocks of two streams and the whole network by hand
in float64, example by example and without padding; the null condition; sampling for captions."""

import math
from itertools import pairwise

import pytest
import torch

from cs231n_gen.checking import draws, expect

joint_block = pytest.mark.exercise("text_to_image.JointBlock")
net = pytest.mark.exercise("text_to_image.TextToImage")
sample = pytest.mark.exercise("text_to_image.sample", graph=False)

# What rounding leaves of numbers of size 1 where all is computed in float64, and in float32.
DOUBLE = {"atol": 1e-10, "rtol": 1e-10}
SINGLE = {"atol": 2e-4, "rtol": 2e-4}


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


# --- by hand ------------------------------------------------------------------------------------


def filled(student, module, generator, spread=0.5):
    """Random float64 weights for a module: them, by name."""
    module.call("double")
    weights = {}
    for name, w in module.state().items():
        size = math.prod(w.shape[1:]) if w.dim() > 1 else 1
        weights[name] = spread * normal(generator, *w.shape) / size**0.5
    module.load(weights)
    return weights


def normed(x):
    mean = x.mean(-1, keepdim=True)
    return (x - mean) / ((x - mean).square().mean(-1, keepdim=True) + 1e-6).sqrt()


def linear(x, s, at):
    return torch.einsum("...i,oi->...o", x, s[at + "weight"]) + s[at + "bias"]


def silu(x):
    return x / (1 + torch.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def weights_of_softmax(scores):
    e = (scores - scores.amax(-1, keepdim=True)).exp()
    return e / e.sum(-1, keepdim=True)


def block_by_hand(s, x, y, c, heads, at=""):
    """One example, of which all y are words: x is (tokens, dim), y (words, dim), c (6 · dim)."""
    T, D = x.shape
    six = {}
    for stream in ("image", "text"):
        six[stream] = (c + s[f"{at}{stream}_table"]).split(D)
    q, k, v = [], [], []
    for stream, tokens in (("image", x), ("text", y)):
        shift, scale = six[stream][:2]
        h = linear(normed(tokens) * (1 + scale) + shift, s, f"{at}joint.{stream}.qkv.")
        for part, found in zip((q, k, v), h.split(D, dim=-1), strict=True):
            part.append(found.view(len(tokens), heads, D // heads).transpose(0, 1))
    q, k, v = (torch.cat(both, dim=1) for both in (q, k, v))
    p = weights_of_softmax(q @ k.transpose(1, 2) / (D // heads) ** 0.5)
    out = (p @ v).transpose(0, 1).reshape(-1, D)
    found = []
    for stream, tokens, told in (("image", x, out[:T]), ("text", y, out[T:])):
        _, _, gate_1, shift_2, scale_2, gate_2 = six[stream]
        tokens = tokens + gate_1 * linear(told, s, f"{at}joint.{stream}.out.")
        h = linear(normed(tokens) * (1 + scale_2) + shift_2, s, f"{at}{stream}_mlp.0.")
        found.append(tokens + gate_2 * linear(gelu(h), s, f"{at}{stream}_mlp.2."))
    return found


def sum_block_by_hand(s, x, y, c, heads, at=""):
    """One example through a fake block."""
    c_1, c_2, c_3, c_4, c_5, c_6 = c.view(6, -1)
    much = 0.5 if heads > 1 else 1.0
    read = (linear(y, s, f"{at}read.") + c_3).tanh().sum(0)
    seen = linear(x, s, f"{at}back.").sum(0).tanh()
    told = c_4 * (linear(y, s, f"{at}text.") + c_5).tanh() + c_6 * seen
    return x + much * (c_1 * linear(x, s, f"{at}own.") + c_2 * read), y + much * told


def encoder_by_hand(s, tokens):
    """The words and the pooled vector of one caption, which has some."""
    words = (s["encoder.word"][tokens] + s["encoder.place"][: len(tokens)]).sin()
    return words, s["encoder.W"] @ words.mean(0) + s["encoder.b"]


def waves_of_level(t):
    angle = 1000 * t * 10000.0 ** (-torch.arange(128).double() / 128)
    return torch.cat([angle.cos(), angle.sin()])


def places(side, dim):
    omega = 10000.0 ** (-torch.arange(dim // 4).double() / (dim // 4))
    i = torch.arange(side).repeat_interleave(side).double()[:, None] * omega
    j = torch.arange(side).repeat(side).double()[:, None] * omega
    # positions are kept in float32, whatever the network's precision is
    return torch.cat([j.sin(), j.cos(), i.sin(), i.cos()], 1).float().double()


def model_by_hand(s, x_t, t, tokens, patch, heads, block=sum_block_by_hand):
    """The velocities, one example after another, each with its words alone."""
    _, C, size, _ = x_t.shape
    side, dim = size // patch, s["embed.weight"].shape[0]
    depth = 1 + max((int(n.split(".")[1]) for n in s if n.startswith("blocks.")), default=-1)
    found = []
    for image, level, row in zip(x_t, t, tokens, strict=True):
        row = row[row != 0]
        words, pooled = encoder_by_hand(s, row) if len(row) else (s["null"][None], s["null"])
        patches = image.view(C, side, patch, side, patch).permute(1, 3, 2, 4, 0)
        x = linear(patches.reshape(side**2, -1), s, "embed.") + places(side, dim)
        y = linear(words, s, "context.")
        h = linear(silu(linear(waves_of_level(level), s, "level.0.")), s, "level.2.")
        h = silu(h + linear(pooled, s, "summary."))
        c = linear(h, s, "modulation.")
        for n in range(depth):
            x, y = block(s, x, y, c, heads, f"blocks.{n}.")
        shift, scale = linear(h, s, "last.").chunk(2)
        v = linear(normed(x) * (1 + scale) + shift, s, "out.")
        v = v.view(side, side, patch, patch, C).permute(4, 0, 2, 1, 3)
        found.append(v.reshape(C, size, size))
    return torch.stack(found)


# --- text_to_image.JointBlock -------------------------------------------------------------------


def a_block(student, generator, dim=None, heads=None):
    """A block: it, its random weights, dim and heads."""
    heads = heads or draws.whole(generator, 2, 4)
    dim = dim or heads * draws.whole(generator, 3, 6)
    made = student.new("text_to_image.JointBlock", dim, heads)
    return made, filled(student, made, generator), dim, heads


def a_pair(generator, B, T, S, dim):
    """Tokens, words, a condition, and a mask under which each example has a word and padding."""
    mask = torch.rand(B, S, generator=generator) < 0.5
    mask[:, 0], mask[:, -1] = torch.arange(B) % 2 == 0, torch.arange(B) % 2 == 1
    return normal(generator, B, T, dim), normal(generator, B, S, dim), mask, B


def condition(generator, B, dim):
    return normal(generator, B, 6 * dim)


def blocks_are(got, s, x, y, c, heads, mask=None, says="not the formula's", **digits):
    """Both streams are those of the formula; rows of padding are finite."""
    found = expect.unpack(got, ("x", "y"))
    tokens = expect.tensor(found[0], x.shape, "x after the block")
    words = expect.tensor(found[1], y.shape, "y after the block")
    for n in range(len(x)):
        seen = torch.ones(y.shape[1], dtype=torch.bool) if mask is None else mask[n]
        want = block_by_hand(s, x[n].double(), y[n, seen].double(), c[n].double(), heads)
        expect.close(tokens[n], want[0], f"the image: {says}", what="x after the block", **digits)
        expect.close(words[n, seen], want[1], f"the text: {says}", what="the words", **digits)


@joint_block(weight=4)
def test_the_formula_of_a_block(student, generator):
    """it is the documented formula in float64: two streams that meet in the attention alone"""
    for B, T, S in ((3, 5, 4), (2, 4, 4), (1, 9, 2)):
        made, s, D, H = a_block(student, generator)
        x, y, c = normal(generator, B, T, D), normal(generator, B, S, D), condition(generator, B, D)
        says = f"not the formula's, of {T} tokens and {S} words, all words"
        blocks_are(made(x, y, c), s, x, y, c, H, None, says, **DOUBLE)
        every = torch.ones(B, S, dtype=torch.bool)
        blocks_are(made(x, y, c, every), s, x, y, c, H, every, says, **DOUBLE)


@joint_block(weight=3)
def test_padding_is_not_attended_to(student, generator):
    """image and words are those of the words alone, wherever padding is and whatever it holds"""
    made, s, D, H = a_block(student, generator)
    x, y, mask, B = a_pair(generator, 4, 5, 6, D)
    c = condition(generator, B, D)
    for size in (0.0, 1.0, 1e4):
        y = torch.where(mask[..., None], y, size * normal(generator, *y.shape))
        says = f"not those of the words alone, with padding of size {size:g}"
        blocks_are(made(x, y, c, mask=mask), s, x, y, c, H, mask, says, **DOUBLE)


@joint_block(weight=2)
def test_the_tables(student, generator):
    """a table for each stream is added to c; new ones are 0, so that at c = 0 nothing changes"""
    D, H = 12, 3
    made = student.new("text_to_image.JointBlock", D, H)
    state = made.state()
    x, y = normal(generator, 2, 4, D).float(), normal(generator, 2, 3, D).float()
    got = expect.unpack(made(x, y, torch.zeros(2, 6 * D)), ("x", "y"))
    for name, tokens, want in zip("xy", got, (x, y), strict=True):
        tokens = expect.tensor(tokens, want.shape, name)
        expect.true(torch.equal(tokens, want), f"a new block changes {name} at c = 0")
    for name in ("image_table", "text_table"):
        expect.true(not state[name].any(), f"{name} is 0 at first")
    each = 4 * D**2 + 4 * D + 8 * D**2 + 5 * D + 6 * D
    count = sum(w.numel() for w in state.values())
    expect.true(count == 2 * each, "the number of weights of a block", count, 2 * each)
    s = filled(student, made, generator)
    x, y, c = x.double(), y.double(), condition(generator, 2, D)
    swapped = {**s, "image_table": s["text_table"], "text_table": s["image_table"]}
    for weights in (s, swapped):
        made.load(weights)
        says = "not the formula's: look at which table goes where"
        blocks_are(made(x, y, c), weights, x, y, c, H, None, says, **DOUBLE)
        zero = torch.zeros(2, 6 * D).double()
        blocks_are(made(x, y, zero), weights, x, y, zero, H, None, says, **DOUBLE)


@joint_block(weight=2)
def test_streams_with_equal_weights(student, generator):
    """with equal weights both streams are one: tokens and words may change places"""
    made, s, D, _ = a_block(student, generator)
    for name in s:
        other = name.replace("joint.text", "joint.image").replace("text_", "image_")
        s[name] = s[other]
    made.load(s)
    x, y, c = normal(generator, 2, 4, D), normal(generator, 2, 3, D), condition(generator, 2, D)
    one = expect.unpack(made(x, y, c), ("x", "y"))
    other = expect.unpack(made(y, x, c), ("x", "y"))
    says = "two streams of equal weights are not treated alike"
    for a, b, v in ((one[0], other[1], x), (one[1], other[0], y)):
        expect.close(b, expect.tensor(a, v.shape), says, **DOUBLE)
    whole = torch.cat([x, y], 1)
    parts = expect.unpack(made(whole[:, :2], whole[:, 2:], c), ("x", "y"))
    got = torch.cat([expect.tensor(p, (2, k, D)) for p, k in zip(parts, (2, 5), strict=True)], 1)
    want = torch.cat([expect.tensor(p, v.shape) for p, v in zip(one, (x, y), strict=True)], 1)
    expect.close(got, want, says, **DOUBLE)


@joint_block(weight=3)
def test_all_gradients_of_a_block(student, generator):
    """x, words, c and all weights get the formula's gradient, padding exactly 0"""
    made, s, D, H = a_block(student, generator)
    x, y, mask, B = a_pair(generator, 3, 4, 5, D)
    c = condition(generator, B, D)
    G = [normal(generator, *x.shape), normal(generator, *y.shape) * mask[..., None]]
    got = student.gradient("checking.fakes.weighted_both", made, G, x, y, c, mask,
                           wrt=[made, x, y, c])  # fmt: skip
    to_y = expect.tensor(got[2], y.shape, "the gradient of y")
    padding = to_y[~mask]
    expect.true(not padding.any(), "padding gets a gradient from image and words", padding, 0)
    leaves = {n: w.clone().requires_grad_() for n, w in s.items()}
    leaves |= {n: v.clone().requires_grad_() for n, v in (("x", x), ("y", y), ("c", c))}
    L = 0.0
    for n in range(B):
        seen = mask[n]
        one, two = block_by_hand(leaves, leaves["x"][n], leaves["y"][n, seen], leaves["c"][n], H)
        L = L + (G[0][n] * one).sum() + (G[1][n, seen] * two).sum()
    L.backward()
    found = {**got[0], "x": got[1], "y": got[2], "c": got[3]}
    for name, leaf in leaves.items():
        says = f"the gradient of {name} is not that of the formula"
        what = f"the gradient of {name}"
        expect.close(found[name], leaf.grad, says, what=what, atol=1e-9, rtol=1e-9)


@joint_block
def test_an_image_without_words(student, generator):
    """where all is padding the image attends to itself, and nothing is NaN"""
    made, s, D, H = a_block(student, generator)
    x, y, mask, B = a_pair(generator, 3, 4, 5, D)
    mask[1] = False
    c = condition(generator, B, D)
    blocks_are(made(x, y, c, mask), s, x, y, c, H, mask, "of no words", **DOUBLE)
    none = torch.zeros_like(mask)
    blocks_are(made(x, y, c, none), s, x, y, c, H, none, "where no text has a word", **DOUBLE)
    G = [normal(generator, *x.shape), normal(generator, *y.shape) * mask[..., None]]
    got = student.gradient("checking.fakes.weighted_both", made, G, x, y, c, mask,
                           wrt=[made, x, y, c])  # fmt: skip
    for name, g in {**got[0], "x": got[1], "y": got[2], "c": got[3]}.items():
        finite = isinstance(g, torch.Tensor) and bool(g.isfinite().all())
        expect.true(finite, f"NaN comes to {name} from a text of padding alone")


@joint_block
def test_blocks_of_every_size(student, generator):
    """one example, one token, one word, one head; float32, as it is made; tokens of any size"""
    for B, T, S, D, H in ((1, 1, 1, 4, 2), (2, 1, 4, 3, 1), (1, 5, 1, 6, 6), (2, 3, 3, 5, 1)):
        made, s, *_ = a_block(student, generator, D, H)
        x, y, c = normal(generator, B, T, D), normal(generator, B, S, D), condition(generator, B, D)
        says = f"{B} examples of {T} tokens and {S} words of {D} numbers, {H} heads"
        blocks_are(made(x, y, c), s, x, y, c, H, None, says, **DOUBLE)
        for size in (1e-3, 300.0):
            got = made(size * x, size * y, 30 * c)
            says = f"tokens of size {size:g}, conditions of size 30"
            digits = {"atol": 1e-7, "rtol": 1e-7}
            blocks_are(got, s, size * x, size * y, 30 * c, H, None, says, **digits)
    made = student.new("text_to_image.JointBlock", dim=8, heads=2)
    s = {n: w.double() for n, w in made.state().items()}
    x, y, mask, B = a_pair(generator, 3, 4, 5, 8)
    x, y, c = x.float(), y.float(), condition(generator, B, 8).float()
    blocks_are(made(x, y, c, mask), s, x, y, c, 2, mask, "in float32, as made", **SINGLE)


@joint_block
def test_examples_do_not_meet(student, generator):
    """an example tells nothing to others; tokens and words may come in another order"""
    made, s, D, H = a_block(student, generator)
    student.checking.fakes.holding_gradients(made)  # a pass leaves them, and the mode
    made.call("eval")
    x, y, mask, B = a_pair(generator, 4, 5, 6, D)
    c = condition(generator, B, D)
    expect.unpack(made(x.flip(0), y, c, mask), ("x", "y"))  # an earlier pass leaves nothing
    blocks_are(made(x, y, c, mask), s, x, y, c, H, mask, "a second pass, in eval mode", **DOUBLE)
    for n in range(B):
        one = [v[n : n + 1] for v in (x, y, c, mask)]
        says = "an example by itself"
        blocks_are(made(*one), s, *one[:3], H, one[3], says, **DOUBLE)
    tokens, words = torch.randperm(5, generator=generator), torch.randperm(6, generator=generator)
    x, y, mask = x[:, tokens], y[:, words], mask[:, words]
    blocks_are(made(x, y, c, mask), s, x, y, c, H, mask, "in another order", **DOUBLE)


@joint_block
def test_what_a_block_refuses(student, generator):
    """a ValueError for a c that is not (batch, 6 · dim), or a mask that does not fit"""
    made, s, D, H = a_block(student, generator, 6, 2)
    x, y, c = normal(generator, 2, 4, D), normal(generator, 2, 3, D), condition(generator, 2, D)
    for shape in ((2, D), (1, 6 * D), (6 * D,), (2, 1, 6 * D), (2, 6 * D + 1), (3, 6 * D)):
        other = normal(generator, *shape)
        says = f"ValueError for c of shape {shape}"
        expect.raises("ValueError", lambda o=other: made(x, y, o), says)
    every = torch.ones(2, 3, dtype=torch.bool)
    for mask in (every[:, :2], every[:1], every.long(), every.double(), every[0], every[..., None]):
        says = f"ValueError for a mask of {mask.dtype} {tuple(mask.shape)}, words (2, 3)"
        expect.raises("ValueError", lambda m=mask: made(x, y, c, m), says)
    blocks_are(made(x, y, c, every), s, x, y, c, H, every, "this mask fits", **DOUBLE)


# --- text_to_image.TextToImage ------------------------------------------------------------------

SMALL = {"size": 4, "channels": 3, "patch": 2, "dim": 8, "depth": 2, "heads": 2}
VOCABULARY = ["", *"abcdefghi"]
LENGTH, CONTEXT = 6, 5


def a_model(student, generator, block="checking.text_fakes.SumBlock", context=CONTEXT, **options):
    """A network over a fake encoder, usually with fake blocks: it, its encoder, its weights.

    Where blocks are `JointBlock`s they are asked for by name, as who grades a network gives others'
    exercises: the default is the student's own.
    """
    encoder = student.new("checking.text_fakes.TableEncoder", VOCABULARY, LENGTH, context)
    own = {"block": student.function(block)}
    made = student.new("text_to_image.TextToImage", encoder, **{**SMALL, **own, **options})
    return made, encoder, filled(student, made, generator, spread=0.8)


def captions(generator, *counts, length=LENGTH):
    """Rows of tokens, each with so many words."""
    rows = torch.randint(1, len(VOCABULARY), (len(counts), length), generator=generator)
    return rows * (torch.arange(length) < torch.tensor(counts)[:, None])


def asked(generator, B, **options):
    sizes = {**SMALL, **options}
    x_t = normal(generator, B, sizes["channels"], sizes["size"], sizes["size"])
    return x_t, torch.rand(B, generator=generator, dtype=torch.float64)


def is_the_velocity(got, s, x_t, t, tokens, says, patch=2, heads=2, scale=1.0, **digits):
    want = model_by_hand(s, x_t, t, tokens, patch, heads)
    digits = digits or {"atol": 1e-9 * scale, "rtol": 1e-9}
    expect.close(got, want, says, what="the velocity", **digits)


@net(weight=2)
def test_a_new_model_says_0(student, generator):
    """a new model predicts a velocity of 0, whatever it is told"""
    encoder = student.new("checking.text_fakes.TableEncoder", VOCABULARY, LENGTH, CONTEXT)
    block = student.function("checking.text_fakes.SumBlock")
    made = student.new("text_to_image.TextToImage", encoder, **SMALL, block=block)
    encoder.load({n: normal(generator, *w.shape) for n, w in encoder.state().items()})
    x_t, t = (v.float() for v in asked(generator, 3))
    for tokens in (captions(generator, 4, 0, 6), captions(generator, 0, 0, 0)):
        got = expect.tensor(made(x_t, t, tokens), x_t.shape, "the velocity")
        expect.true(not got.any(), "a new model predicts a velocity of 0", got)
    x, z = normal(generator, 2, 3, 3, 4, 4).float()
    L = student.flow.loss(made, x, z, t, tokens)
    says = "the loss of a velocity of 0 is the mean of (z − x)²"
    expect.close(L, (z - x).square().mean(), says, atol=1e-6, rtol=1e-6)


@net
def test_the_layers_of_a_model(student, generator):
    """its layers have the documented shapes, and nothing else has weights"""
    for options in ({}, {"patch": 1, "depth": 1, "dim": 12}, {"channels": 1, "depth": 0}):
        made, _, s = a_model(student, generator, **options)
        D, C = {**SMALL, **options}["dim"], {**SMALL, **options}["channels"]
        F_, E = {**SMALL, **options}["patch"] ** 2 * C, CONTEXT
        want = {
            "null": (E,), "embed.weight": (D, F_), "embed.bias": (D,),
            "level.0.weight": (D, 256), "level.0.bias": (D,),
            "level.2.weight": (D, D), "level.2.bias": (D,),
            "context.weight": (D, E), "context.bias": (D,),
            "summary.weight": (D, E), "summary.bias": (D,),
            "modulation.weight": (6 * D, D), "modulation.bias": (6 * D,),
            "last.weight": (2 * D, D), "last.bias": (2 * D,),
            "out.weight": (F_, D), "out.bias": (F_,),
            "encoder.word": (10, E), "encoder.place": (LENGTH, E), "encoder.W": (E, E),
            "encoder.b": (E,),
        }  # fmt: skip
        for n in range({**SMALL, **options}["depth"]):
            for name in ("own", "read", "text", "back"):
                want |= {f"blocks.{n}.{name}.weight": (D, D), f"blocks.{n}.{name}.bias": (D,)}
        got = {name: tuple(w.shape) for name, w in s.items()}
        says = f"the weights of a model with {options or 'usual options'}"
        expect.true(got == want, says, sorted(got.items()), sorted(want.items()))
        x_t, t = asked(generator, 3, **options)
        expect.tensor(made(x_t, t, captions(generator, 3, 0, 1)), x_t.shape, "the velocity")
    encoder = made.get("encoder")
    usual = student.new("text_to_image.TextToImage", encoder).state()
    each = 4 * 64**2 + 4 * 64 + 8 * 64**2 + 5 * 64 + 6 * 64  # of a block's stream
    count = sum(w.numel() for name, w in usual.items() if name.startswith("blocks."))
    expect.true(count == 3 * 2 * each, "by default it has 3 JointBlocks", count, 6 * each)


SIZES = [
    {},
    {"patch": 1, "depth": 1},
    {"size": 6, "channels": 1, "dim": 12, "heads": 3},
    {"size": 3, "patch": 3, "depth": 3, "dim": 4, "heads": 1},
    {"depth": 0},
]
NAMES = ["usual", "patch 1, one block", "3 heads, one channel", "one token, 3 blocks", "no block"]


@net(weight=4)
@pytest.mark.parametrize("options", SIZES, ids=NAMES)
def test_the_formula_of_a_model(student, generator, options):
    """of captions it is the documented formula, in float64"""
    made, _, s = a_model(student, generator, **options)
    sizes = {**SMALL, **options}
    for tokens in (captions(generator, 4, LENGTH, 1), captions(generator, 3)):
        x_t, t = asked(generator, len(tokens), **options)
        says = f"the velocity is not that of the formula ({options or 'usual options'})"
        got = made(x_t, t, tokens)
        is_the_velocity(got, s, x_t, t, tokens, says, sizes["patch"], sizes["heads"])


@net(weight=4)
@pytest.mark.parametrize("options", SIZES, ids=NAMES)
def test_no_captions(student, generator, options):
    """without a caption it is the formula with `null` as the only word and as the pooled vector,
    also beside examples that have one"""
    made, _, s = a_model(student, generator, **options)
    sizes = {**SMALL, **options}
    for counts in ((0,), (0, 5, 0, 2, LENGTH), (0, 0)):
        tokens = captions(generator, *counts)
        x_t, t = asked(generator, len(tokens), **options)
        says = f"not the formula's without captions, for captions of {counts} words"
        got = made(x_t, t, tokens)
        is_the_velocity(got, s, x_t, t, tokens, says, sizes["patch"], sizes["heads"])


@net(weight=2)
def test_its_own_blocks(student, generator):
    """with `JointBlock`s it is the documented formula around them, with captions and without"""
    made, _, s = a_model(student, generator, "text_to_image.JointBlock")
    tokens = captions(generator, 4, 0, LENGTH, 1)
    x_t, t = asked(generator, 4)
    want = model_by_hand(s, x_t, t, tokens, 2, 2, block_by_hand)
    says = "not the formula's with blocks that JointBlock makes"
    expect.close(made(x_t, t, tokens), want, says, what="the velocity", atol=1e-9, rtol=1e-9)


@net(weight=2)
def test_null_is_the_same_everywhere(student, generator):
    """without a caption nothing of the encoder counts, nor how much padding there is"""
    made, encoder, s = a_model(student, generator)
    x_t, t = asked(generator, 2)
    want = model_by_hand(s, x_t, t, captions(generator, 0, 0), 2, 2)
    for n in (1, 3, LENGTH):
        got = made(x_t, t, captions(generator, 0, 0, length=n))
        says = f"the null condition depends on the {n} places of padding"
        expect.close(got, want, says, what="the velocity", atol=1e-9, rtol=1e-9)
    both = captions(generator, 2, 0)
    before = expect.tensor(made(x_t, t, both), x_t.shape, "the velocity")
    encoder.load({n: 3 * normal(generator, *w.shape) for n, w in encoder.state().items()})
    after = expect.tensor(made(x_t, t, both), x_t.shape, "the velocity")
    says = "the null condition depends on the encoder"
    expect.close(after[1], want[1], says, what="the velocity", atol=1e-9, rtol=1e-9)
    expect.true(not torch.allclose(after[0], before[0]), "a caption does not go by the encoder")


@net(weight=2)
def test_where_null_learns(student, generator):
    """`null` learns from examples without a caption, as a word and as the pooled vector, and from
    no others"""
    made, encoder, s = a_model(student, generator)
    encoder.call("requires_grad_", True)
    tokens = captions(generator, 3, 0, LENGTH, 0)
    x_t, t = asked(generator, 4)
    G = normal(generator, *x_t.shape)
    for empty in (False, True):
        rows = (tokens == 0).all(1) == empty
        weights = G * rows[:, None, None, None]
        (got,) = student.gradient("checking.fakes.weighted", made, weights, x_t, t, tokens,
                                  wrt=[made])  # fmt: skip
        leaf = {**s, "null": s["null"].clone().requires_grad_()}
        if empty:
            (weights * model_by_hand(leaf, x_t, t, tokens, 2, 2)).sum().backward()
        want = leaf["null"].grad if empty else torch.zeros_like(s["null"])
        found = torch.zeros_like(want) if not empty and got["null"] is None else got["null"]
        says = f"the gradient of null from examples with{'out' if empty else ''} a caption"
        expect.close(found, want, says, what=says, atol=1e-9, rtol=1e-9)


@net(weight=3)
def test_all_gradients_of_a_model(student, generator):
    """x_t, t and all weights get the formula's gradient, the encoder none, even if it asks"""
    made, encoder, s = a_model(student, generator)
    encoder.call("requires_grad_", True)
    tokens = captions(generator, 3, 0, LENGTH)
    x_t, t = asked(generator, 3)
    G = normal(generator, *x_t.shape)
    got = student.gradient("checking.fakes.weighted", made, G, x_t, t, tokens, wrt=[made, x_t, t])
    for name, g in got[0].items():
        if name.startswith("encoder."):
            none = g is None or not g.any()
            expect.true(none, f"a gradient reaches {name}: the encoder is frozen", g, "None")
    leaves = {n: w.clone().requires_grad_() for n, w in s.items() if not n.startswith("encoder.")}
    leaves |= {"x_t": x_t.clone().requires_grad_(), "t": t.clone().requires_grad_()}
    v = model_by_hand({**s, **leaves}, leaves["x_t"], leaves["t"], tokens, 2, 2)
    (G * v).sum().backward()
    found = {**got[0], "x_t": got[1], "t": got[2]}
    for name, leaf in leaves.items():
        says = f"the gradient of {name} is not that of the formula"
        what = f"the gradient of {name}"
        want = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        if leaf.grad is None and found[name] is None:
            continue  # the text's stream after the last block
        expect.close(found[name], want, says, what=what, atol=1e-8, rtol=1e-8)


@net(weight=2)
def test_padding_of_captions(student, generator):
    """more padding, or less, changes nothing"""
    made, _, s = a_model(student, generator)
    x_t, t = asked(generator, 3)
    tokens = captions(generator, 2, 0, 3)
    for n in (3, 4, LENGTH):
        says = f"captions in rows of {n} tokens"
        got = made(x_t, t, tokens[:, :n])
        is_the_velocity(got, s, x_t, t, tokens[:, :n], says)


@net
def test_each_example_by_itself(student, generator):
    """an example depends on its own x_t, t and caption alone, and on the order of words"""
    made, _, s = a_model(student, generator)
    student.checking.fakes.holding_gradients(made)  # a pass leaves them, and the mode
    made.call("eval")
    x_t, t = asked(generator, 4)
    tokens = captions(generator, 2, 0, LENGTH, 3)
    expect.tensor(made(x_t, t.flip(0), tokens.flip(0)), x_t.shape)  # leaves nothing behind
    v = expect.tensor(made(x_t, t, tokens), x_t.shape, "the velocity")
    is_the_velocity(v, s, x_t, t, tokens, "a second pass, in eval mode")
    for n in range(4):
        alone = made(x_t[n : n + 1], t[n : n + 1], tokens[n : n + 1])
        says = "an example depends on the others of its batch"
        expect.close(alone, v[n : n + 1], says, what="the velocity", **DOUBLE)
    turned = tokens.clone()
    turned[3, :3] = tokens[3, :3].roll(1) if len(set(tokens[3, :3].tolist())) > 1 else 0
    is_the_velocity(made(x_t, t, turned), s, x_t, t, turned, "words in another order")


@net
def test_levels_and_numbers_of_any_size(student, generator):
    """levels t = 0 and t = 1, latents of any size, float32, and other encoders"""
    made, _, s = a_model(student, generator)
    x_t, _ = asked(generator, 3)
    t, tokens = torch.tensor([0.0, 1.0, 0.5]).double(), captions(generator, 3, 0, 5)
    is_the_velocity(made(x_t, t, tokens), s, x_t, t, tokens, "at t = 0, 1 and ½")
    big = {**s, "out.weight": 1e3 * s["out.weight"]}
    made.load(big)
    got = made(1e3 * x_t, t, tokens)
    is_the_velocity(got, big, 1e3 * x_t, t, tokens, "latents of size 1000", scale=1e3)
    made.load(s)
    made.call("float")
    got = made(x_t.float(), t.float(), tokens)
    is_the_velocity(got, s, x_t, t, tokens, "in float32", **SINGLE)
    for context in (1, 8):  # one number, and as many as tokens have
        made, _, s = a_model(student, generator, context=context)
        says = f"an encoder whose words have {context} numbers"
        is_the_velocity(made(x_t, t, tokens), s, x_t, t, tokens, says)


@net
def test_what_a_model_refuses(student, generator):
    """a ValueError for a patch that does not divide, other latents, levels or tokens"""
    encoder = student.new("checking.text_fakes.TableEncoder", VOCABULARY, LENGTH, CONTEXT)
    for size, patch in ((4, 3), (4, 0), (4, -2), (2, 4)):
        make = {**SMALL, "size": size, "patch": patch}
        says = f"ValueError for size {size} and patch {patch}"
        expect.raises(
            "ValueError",
            lambda m=make: student.new("text_to_image.TextToImage", encoder, **m),
            says,
        )
    made, _, s = a_model(student, generator)
    x_t, t = asked(generator, 3)
    tokens = captions(generator, 3, 0, 5)
    for shape in ((3, 3, 4, 2), (3, 2, 4, 4), (3, 3, 8, 8), (3, 4, 4)):
        other = normal(generator, *shape)
        says = f"ValueError for x_t of shape {shape}"
        expect.raises("ValueError", lambda o=other: made(o, t, tokens), says)
    for levels in (t[:2], t[:1], t[:, None], t[0]):
        says = f"ValueError for t of shape {tuple(levels.shape)}"
        expect.raises("ValueError", lambda l=levels: made(x_t, l, tokens), says)
    for rows in (tokens[:2], tokens[0], tokens[..., None], tokens[:1]):
        says = f"ValueError for tokens of shape {tuple(rows.shape)}"
        expect.raises("ValueError", lambda r=rows: made(x_t, t, r), says)
    is_the_velocity(made(x_t, t, tokens), s, x_t, t, tokens, "these fit")


# --- text_to_image.sample -----------------------------------------------------------------------

WORDS = ["", "a", "red", "blue", "ring", "of", "two"]
SAID = ["a red ring", "two blue", "", "ring of a ring", "blue", "red red red"]
AGAINST = ["blue", "a red ring", "red", "", "two of two", "ring"]


def painter(student, generator, a=0.7, b=-0.4):
    """A velocity that reads captions: it, and its values."""
    value = normal(generator, len(WORDS) + 1)
    made = student.new("checking.text_fakes.CaptionField", WORDS, 5, value, a, b)
    return made, value


def meaning(value, text):
    """What a caption adds to the velocity."""
    told = [(1 + i) * float(value[WORDS.index(w)]) for i, w in enumerate(text.split())]
    return sum(told) if told else float(value[-1])


def walk(value, z, times, said, against, w, a=0.7, b=-0.4):
    """Euler steps along (1 + w) v_caption − w v_negative, by hand."""

    def column(values):
        values = torch.as_tensor(values, dtype=torch.float64)
        return values.reshape(-1, *[1] * (z.dim() - 1)) if values.dim() else values

    x, w = z.double(), column(w)
    y, n = (column([meaning(value, text) for text in texts]) for texts in (said, against))
    for t, t_next in pairwise(times):
        plain = a * x.sin() + b * t
        x = x - (t - t_next) * ((1 + w) * (plain + y) - w * (plain + n))
    return x


def levels(steps):
    return [i / steps for i in range(steps, -1, -1)]


@sample(weight=4)
def test_the_guided_walk(student, generator):
    """it walks along (1 + w) v_caption − w v_∅, where ∅ is the empty text"""
    model, value = painter(student, generator)
    for w in (1.5, 0.0, -0.5, 3):
        steps = draws.whole(generator, 3, 7)
        z = normal(generator, 6, 2)
        x = student.text_to_image.sample(model, z, steps, SAID, w)
        want = walk(value, z, levels(steps), SAID, [""] * 6, w)
        says = f"not chapter 05's walk from the empty text to the captions, w = {w}"
        expect.close(x, want, says, **DOUBLE)


@sample(weight=4)
def test_a_negative_prompt(student, generator):
    """a negative prompt takes the place of ∅: one for all, or one for each"""
    model, value = painter(student, generator)
    z = normal(generator, 6, 3)
    for negative in ("blue ring", AGAINST, tuple(AGAINST), "", "a"):
        for w in (2.0, -0.3):
            x = student.text_to_image.sample(model, z, 3, SAID, w, negative)
            each = [negative] * 6 if isinstance(negative, str) else negative
            want = walk(value, z, levels(3), SAID, each, w)
            says = f"w = {w} away from {negative!r}: not (1 + w) v_caption − w v_negative"
            expect.close(x, want, says, **DOUBLE)
    short = ["red", "", "a", "of", "blue", "two"]
    x = student.text_to_image.sample(model, z, 3, short, 2.0, AGAINST)
    want = walk(value, z, levels(3), short, AGAINST, 2.0)
    expect.close(x, want, "negative prompts may be longer than all captions", **DOUBLE)


@sample(weight=2)
def test_what_guidance_cannot_change(student, generator):
    """a caption that is its own negative is w = 0 for every w; w = −1 follows the negative alone"""
    model, value = painter(student, generator)
    z = normal(generator, 6, 2)
    want = walk(value, z, levels(4), SAID, SAID, 0.0)
    for w in (5.0, torch.tensor(-2.0)):
        x = student.text_to_image.sample(model, z, 4, SAID, w, negative=SAID)
        says = f"each caption is its own negative, so w = {float(w)} changes nothing"
        expect.close(x, want, says, **DOUBLE)
    want = walk(value, z, levels(4), AGAINST, SAID, 0.0)
    x = student.text_to_image.sample(model, z, 4, SAID, -1.0, negative=AGAINST)
    expect.close(x, want, "w = −1 is the velocity of the negative prompts", **DOUBLE)


@sample(weight=3)
def test_what_it_costs(student, generator):
    """w = 0 takes one call a step on z's own batch, whatever the negative; else one on both"""
    for w, rows in ((0.0, 3), (0, 3), (1.0, 6), (-1, 6), (1e-4, 6), (-1e-9, 6),
                    (torch.tensor(0.0), 6), (torch.zeros(3), 6)):  # fmt: skip
        for negative in ("", "blue", AGAINST[:3]):
            model, value = painter(student, generator)
            z = normal(generator, 3, 2)
            x = student.text_to_image.sample(model, z, 4, SAID[:3], w, negative)
            each = [negative] * 3 if isinstance(negative, str) else negative
            weight = w.double() if isinstance(w, torch.Tensor) else w
            want = walk(value, z, levels(4), SAID[:3], each, weight)
            expect.close(x, want, f"w = {w!r}, negative {negative!r}", **DOUBLE)
            seen = [len(k) for k in model.get("inputs")]
            says = f"how many examples each call has, for w = {w!r} and negative {negative!r}"
            expect.true(seen == [rows] * 4, says, seen, [rows] * 4)
            rows_asked = model.get("rows")
            whole = all(k.dtype == torch.int64 for k in rows_asked)
            says = "the tokens that the model is asked about are int64, as `tokenize` makes them"
            expect.true(whole, says, rows_asked[0].dtype, torch.int64)
            asked_at = torch.stack([k.double()[0] for k in model.get("times")])
            expect.close(asked_at, torch.tensor([1.0, 0.75, 0.5, 0.25]), "the levels", **DOUBLE)


@sample(weight=2)
def test_weights_of_every_form(student, generator):
    """w is one number, also as a tensor, or one for each example; z is of any shape"""
    for B, shape in ((6, (2,)), (6, ()), (1, (3, 2, 2)), (6, (3, 2, 2)), (1, ())):
        said, against = SAID[:B], AGAINST[:B]
        each = 5 * normal(generator, B)
        for w in (2, torch.tensor(1.25), each, 0.0):
            model, value = painter(student, generator)
            z = 1000 * normal(generator, B, *shape)  # of any size
            x = student.text_to_image.sample(model, z, 3, said, w, against)
            want = walk(value, z, levels(3), said, against, w)
            says = f"z of shape {tuple(z.shape)}, w {w!r}"
            expect.close(x, want, says, atol=1e-9, rtol=1e-11)


@sample(weight=2)
def test_levels_of_ones_own(student, generator):
    """`times` are the levels, as a list, a tuple or a tensor, guided or not"""
    model, value = painter(student, generator)
    falling = [0.875, 0.75, 0.25, 0.125]
    z = normal(generator, 6, 2)
    for times in (falling, tuple(falling), torch.tensor(falling), torch.tensor(falling).double()):
        for w in (0.0, 1.5):
            x = student.text_to_image.sample(model, z, 3, SAID, w, AGAINST, times=times)
            want = walk(value, z, falling, SAID, AGAINST, w)
            expect.close(x, want, f"three steps from 0.875 to 0.125, w = {w}", **DOUBLE)


@sample
def test_captions_as_students_write_them(student, generator):
    """captions and negative prompts are read by `text.tokenize`, with the model's own vocabulary
    and length"""
    model, value = painter(student, generator)
    z = normal(generator, 2, 3)
    want = walk(value, z, levels(2), ["a red ring", "two"], ["blue of"] * 2, 1.0)
    for said in (["A  Red RING ", "two"], ("a red ring", "TWO")):
        x = student.text_to_image.sample(model, z, 2, said, 1.0, " Blue   of")
        expect.close(x, want, "capital letters and white space make no difference", **DOUBLE)
    words = ["", "ring", "red", "violet"]
    value = normal(generator, 5)
    other = student.new("checking.text_fakes.CaptionField", words, 2, value)
    x = student.text_to_image.sample(other, z, 1, ["violet ring", "red"], 1.0, "ring violet")
    told = torch.tensor([value[3] + 2 * value[1], value[2]]) * 2 - value[1] - 2 * value[3]
    says = "another vocabulary, that of this model"
    expect.close(x, z - told[:, None], says, **DOUBLE)
    expect.raises(
        "ValueError",
        lambda: student.text_to_image.sample(other, z, 1, ["red red ring", "red"], 1.0),
        "a caption of 3 words is too long for this model, which takes 2",
    )


@sample
def test_along_a_network_in_use(student, generator):
    """no graph, mode or gradient is left, in float32 too; numbers and noise are left as they are"""
    model, value = painter(student, generator)
    z = normal(generator, 3, 2).float()
    for method in ("put_to_use", "train"):
        model.call(method)
        for w in (0.0, 2.0, torch.tensor([0.5, 0.0, 1.0])):
            x = student.text_to_image.sample(model, z, 3, SAID[:3], w, AGAINST[:3])
            weight = w.double() if isinstance(w, torch.Tensor) else w
            want = walk(value, z, levels(3), SAID[:3], AGAINST[:3], weight)
            expect.close(x, want, f"in float32, w = {w}", atol=1e-5, rtol=1e-5)
    expect.true(not any(model.get("recorded")), "graphs are made on the way, for nothing")


@sample
def test_what_is_no_sample_is_refused(student, generator):
    """a ValueError for captions or negatives that are not one for each, unknown words, too many
    words, steps or times that make no walk"""
    model, value = painter(student, generator)
    z = normal(generator, 2, 2)

    def refused(says, *args, **options):
        call = student.text_to_image.sample
        expect.raises("ValueError", lambda: call(model, z, *args, **options), f"{says} is refused")

    refused("one text for two examples", 2, "red", 1.0)
    refused("a text of two letters for two examples", 2, "aa", 1.0)
    for w in (0.0, 1.0):
        refused("a caption for each of three", 2, ["red", "blue", "a"], w)
        refused("one caption for two", 2, ["red"], w)
        refused("a word that nobody knows", 2, ["red", "green"], w)
        refused("a caption of 6 words where 5 are allowed", 2, ["red", "a a a a a a"], w)
        refused("no steps", 0, ["red", "blue"], w)
        refused("2 levels for 2 steps", 2, ["red", "blue"], w, times=[1.0, 0.0])
        refused("one negative in a list", 2, ["red", "blue"], w, ["a"])
    refused("three negatives", 2, ["red", "blue"], 1.0, ["a", "a", "a"])
    refused("a negative that nobody knows", 2, ["red", "blue"], 1.0, "green")
    refused("one unknown negative", 2, ["red", "blue"], 1.0, ["red", "green"])
    refused("a weight for each of three", 2, ["red", "blue"], torch.ones(3))
    x = student.text_to_image.sample(model, z, 2, ["red", "blue"], 1.0, ["a", "of"])
    want = walk(value, z, levels(2), ["red", "blue"], ["a", "of"], 1.0)
    expect.close(x, want, "these are all known", **DOUBLE)
