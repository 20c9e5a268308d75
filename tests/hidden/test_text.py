"""Hidden graders of chapter 10's texts: captions as numbers and what is refused of them, the
encoder by hand in float64, scores, a loss that a finite world knows exactly, tokens by counting."""

import itertools
import math
import re

import pytest
import torch

from cs231n_gen.checking import draws, expect
from cs231n_gen.checking.errors import NotWritten, PropertyFailed, StudentError
from cs231n_gen.truth import contrast

tokenize = pytest.mark.exercise("text.tokenize", dtype=False)
encoder = pytest.mark.exercise("text.TextEncoder")
similarity = pytest.mark.exercise("text.similarity")
contrastive = pytest.mark.exercise("text.contrastive_loss")
token_count = pytest.mark.exercise("text.token_count")

# What rounding leaves of numbers of size 1 where all is computed in float64, and in float32.
DOUBLE = {"atol": 1e-11, "rtol": 1e-11}
SINGLE = {"atol": 1e-4, "rtol": 1e-4}


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def refused(call, named, says):
    """A ValueError whose message holds one of these, whole numbers and words as such."""
    try:
        result = call()
    except NotWritten:
        raise
    except StudentError as error:
        found = any(re.search(rf"(?<!\w){re.escape(n)}(?!\w)", error.text.lower()) for n in named)
        if error.kind != "ValueError" or not found:
            raise PropertyFailed(
                says, str(error), f"ValueError: … {' or '.join(named)} …"
            ) from error
        return
    raise PropertyFailed(says, f"no error, but {expect.describe(result)}", "ValueError")


# --- text.tokenize ------------------------------------------------------------------------------

POOL = ["a", "of", "red", "blue", "small", "large", "ring", "cross", "left", "below", "one", "tiny"]


def words_of(generator, padding=""):
    """A vocabulary: some words in any order, behind what stands for padding."""
    order = torch.randperm(len(POOL), generator=generator).tolist()
    return [padding, *(POOL[i] for i in order[: draws.whole(generator, 6, 12)])]


def chosen(generator, vocabulary, n):
    """n words, the first and the last of the vocabulary among them where there are two or more."""
    some = [draws.whole(generator, 1, len(vocabulary)) for _ in range(n)]
    if n > 1:
        a, b = torch.randperm(n, generator=generator)[:2].tolist()
        some[a], some[b] = 1, len(vocabulary) - 1
    return some


def said(numbers, vocabulary):
    return " ".join(vocabulary[i] for i in numbers)


def rows_are(result, rows, length, says):
    """Tokens and mask are those of rows of numbers."""
    tokens, mask = expect.unpack(result, ("tokens", "mask"))
    want = torch.tensor([[*row, *[0] * (length - len(row))] for row in rows])
    tokens = expect.tensor(tokens, want.shape, "tokens")
    expect.true(tokens.dtype == torch.int64, "tokens must be int64", tokens.dtype, torch.int64)
    expect.true(torch.equal(tokens, want), says, tokens.tolist(), want.tolist())
    mask = expect.tensor(mask, want.shape, "the mask")
    expect.true(mask.dtype == torch.bool, "the mask must be bool", mask.dtype, torch.bool)
    there = torch.tensor([[i < len(row) for i in range(length)] for row in rows])
    says = "the mask must be True where a word is, False where padding is"
    expect.true(torch.equal(mask, there), says, mask.tolist(), there.tolist())


@tokenize(weight=3)
def test_words_are_numbered_by_their_place_in_the_vocabulary(student, generator):
    """a word's number is its place in the vocabulary, rows begin with the first word, 0 follows"""
    for padding in ("", "<pad>"):
        vocabulary = words_of(generator, padding)
        rows = [chosen(generator, vocabulary, n) for n in (3, 1, 5, 2)]
        length = draws.whole(generator, 6, 10)
        captions = [said(row, vocabulary) for row in rows]
        got = student.text.tokenize(captions, vocabulary, length)
        rows_are(got, rows, length, f"the numbers of {captions} with vocabulary {vocabulary}")


@tokenize
def test_capital_letters_and_white_space(student, generator):
    """capital letters, several spaces, tabs and lines change nothing"""
    vocabulary = words_of(generator)
    rows = [chosen(generator, vocabulary, 4) for _ in range(4)]
    plain = [said(row, vocabulary) for row in rows]
    for change in (
        str.upper,
        str.title,
        lambda c: f"  {c}   ",
        lambda c: c.replace(" ", "   "),
        lambda c: c.replace(" ", "\t"),
        lambda c: c.replace(" ", " \n") + "\n",
    ):
        captions = [change(c) for c in plain]
        got = student.text.tokenize(captions, vocabulary, 6)
        rows_are(got, rows, 6, f"the numbers of {captions[:2]!r}, …")


@tokenize
def test_captions_of_every_length(student, generator):
    """empty texts are all padding; a caption may have exactly L words; L may be 1"""
    vocabulary = words_of(generator)
    for counts, length in (((0, 5, 3), 5), ((0,), 4), ((0, 0), 2), ((1, 0), 1), ((7,), 7)):
        rows = [chosen(generator, vocabulary, n) for n in counts]
        captions = [said(row, vocabulary) for row in rows]
        got = student.text.tokenize(captions, vocabulary, length)
        rows_are(got, rows, length, f"the numbers of {captions} for L = {length}")
    for blank in (" \t", "   ", "\n"):
        got = student.text.tokenize([blank], vocabulary, 3)
        rows_are(got, [[]], 3, f"a text of white space, {blank!r}, is all padding")


@tokenize
def test_captions_and_vocabularies_of_other_kinds(student, generator):
    """captions and vocabulary may be tuples; a call depends on no earlier one"""
    for _ in range(2):
        vocabulary = words_of(generator)
        rows = [chosen(generator, vocabulary, n) for n in (2, 4)]
        captions = tuple(said(row, vocabulary) for row in rows)
        got = student.text.tokenize(captions, tuple(vocabulary), 5)
        rows_are(got, rows, 5, f"the numbers of {captions} with vocabulary {vocabulary}")


@tokenize
def test_a_large_vocabulary(student, generator):
    """a vocabulary of thousands of words"""
    vocabulary = ["", *(f"w{i}" for i in range(1, 5001))]
    rows = [torch.randint(1, 5001, (n,), generator=generator).tolist() for n in (5, 8)]
    rows.append([4097, 2049, 5000])  # odd ones that half precision would round
    captions = [said(row, vocabulary) for row in rows]
    rows_are(student.text.tokenize(captions, vocabulary, 9), rows, 9, "numbers of 5000 words")


@tokenize(weight=2)
def test_unknown_words_are_named(student, generator):
    """a word that is not in the vocabulary is refused with a ValueError that names it"""
    vocabulary = words_of(generator, "<pad>")
    known = said(chosen(generator, vocabulary, 2), vocabulary)
    fine = said(chosen(generator, vocabulary, 3), vocabulary)
    short, long = vocabulary[1][:-1] or "q", vocabulary[1] + "s"
    for word in ("zebra", vocabulary[1] + ",", f"{vocabulary[2]}-{vocabulary[3]}", short, long):
        if word in vocabulary:
            continue
        for captions in ([f"{known} {word}"], [word], [fine, f"{known} {word}", fine]):
            says = f"{captions} must be refused for {word!r}, vocabulary {vocabulary}"
            call = lambda c=captions: student.text.tokenize(c, vocabulary, 5)  # noqa: E731
            refused(call, [word], says)


@tokenize
def test_padding_is_no_word(student, generator):
    """the first entry of the vocabulary is no word of a caption"""
    vocabulary = words_of(generator, "<pad>")
    for caption in ("<pad>", said(chosen(generator, vocabulary, 2), vocabulary) + " <PAD>"):
        says = f"{caption!r} must be refused: the first entry of a vocabulary is no word"
        refused(lambda c=caption: student.text.tokenize([c], vocabulary, 4), ["<pad>"], says)


@tokenize(weight=2)
def test_too_many_words_are_counted(student, generator):
    """more than L words are refused with a ValueError that says how many there are"""
    vocabulary = words_of(generator)
    fine = said(chosen(generator, vocabulary, 2), vocabulary)
    for length, count in ((4, 5), (3, 13), (1, 2), (6, 21)):
        caption = "  ".join([*said(chosen(generator, vocabulary, count), vocabulary).split(" ")])
        for captions in ([caption], ["", fine[:0], caption, ""]):
            says = f"{count} words must be refused for L = {length}, and the message say {count}"
            call = lambda c=captions, n=length: student.text.tokenize(c, vocabulary, n)  # noqa: E731
            refused(call, [str(count)], says)


@tokenize
def test_no_captions_and_one_text(student, generator):
    """no captions, and one text in place of several, are refused with a ValueError"""
    vocabulary = words_of(generator)
    for captions in ([], (), "", vocabulary[1], said([1, 2], vocabulary)):
        says = f"captions {captions!r} must be refused"
        expect.raises(
            "ValueError", lambda c=captions: student.text.tokenize(c, vocabulary, 8), says
        )


# --- text.TextEncoder ---------------------------------------------------------------------------

KNOWN = ["", "a", "of", "red", "blue", "ring", "cross", "left", "above"]


def block_shapes(dim, at):
    shapes = {"norm_1": (dim,), "norm_2": (dim,)}
    shapes |= {"qkv": (3 * dim, dim), "out": (dim, dim)}
    shapes |= {"mlp.0": (4 * dim, dim), "mlp.2": (dim, 4 * dim)}
    return {
        f"{at}{name}.{kind}": shape if kind == "weight" else shape[:1]
        for name, shape in shapes.items()
        for kind in ("weight", "bias")
    }


def encoder_shapes(words, length, dim, layers):
    shapes = {"word.weight": (words, dim), "place.weight": (length, dim)}
    for n in range(layers):
        shapes |= block_shapes(dim, f"blocks.{n}.")
    shapes |= {"norm.weight": (dim,), "norm.bias": (dim,)}
    return shapes | {"out.weight": (dim, dim), "out.bias": (dim,)}


def an_encoder(student, generator, length=7, layers=1, spread=0.7, **options):
    """An encoder in float64 with random weights: it, them by name, and its heads."""
    heads = draws.whole(generator, 1, 4)
    dim = heads * draws.whole(generator, 4, 7)
    made = student.new("text.TextEncoder", KNOWN, length, dim, layers, heads, **options)
    made.call("double")
    weights = {}
    for name, w in made.state().items():
        size = 1 if name.startswith(("word", "place")) else math.prod(w.shape[1:])
        weights[name] = spread * normal(generator, *w.shape) / size**0.5
        if "norm" in name and name.endswith("weight"):
            weights[name] = 1 + weights[name]
    made.load(weights)
    return made, weights, heads


def normed(h, s, at):
    off = h - h.mean(-1, keepdim=True)
    unit = off / (off.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return unit * s[at + "weight"] + s[at + "bias"]


def linear(h, s, at):
    return torch.einsum("...i,oi->...o", h, s[at + "weight"]) + s[at + "bias"]


def gelu(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def by_hand_words(h, s, heads):
    """What the blocks make of the words of one caption, (words, dim)."""
    layers = len({name.split(".")[1] for name in s if name.startswith("blocks.")})
    for at in (f"blocks.{n}." for n in range(layers)):
        q, k, v = linear(normed(h, s, at + "norm_1."), s, at + "qkv.").chunk(3, -1)
        parts = [x.tensor_split(heads, -1) for x in (q, k, v)]
        told = []
        for a, b, c in zip(*parts, strict=True):
            told.append((a @ b.T / a.shape[1] ** 0.5).softmax(-1) @ c)
        h = h + linear(torch.cat(told, -1), s, at + "out.")
        h = h + linear(
            gelu(linear(normed(h, s, at + "norm_2."), s, at + "mlp.0.")), s, at + "mlp.2."
        )
    return normed(h, s, "norm.")


def by_hand_encoder(tokens, mask, s, heads):
    """Words and pooled vectors, caption by caption; padding is not even there."""
    dim = s["word.weight"].shape[1]
    words, pooled = [], []
    for row, is_word in zip(tokens, mask, strict=True):
        at = is_word.nonzero()[:, 0]
        h = s["word.weight"][row[at]] + s["place.weight"][at]
        h = by_hand_words(h, s, heads) if len(at) else h
        words.append(torch.zeros(len(row), dim).double().index_put((at,), h))
        mean = h.mean(0) if len(at) else torch.zeros(dim).double()
        pooled.append(linear(mean, s, "out."))
    return torch.stack(words), torch.stack(pooled)


def captions_of(generator, n, counts):
    """Tokens and a mask of captions with these numbers of words, padding behind them."""
    tokens = torch.randint(1, len(KNOWN), (len(counts), n), generator=generator)
    mask = torch.arange(n) < torch.tensor(counts)[:, None]
    return tokens * mask, mask


def encodes(result, want, says, tolerance):
    """Words and pooled vectors are these."""
    words, pooled = expect.unpack(result, ("words", "pooled"))
    expect.close(words, want[0], f"{says}: other words", what="words", **tolerance)
    expect.close(pooled, want[1], f"{says}: another pooled vector", what="pooled", **tolerance)
    return words, pooled


ROUNDED = {"atol": 1e-10, "rtol": 1e-10}  # of some layers in float64


@encoder
def test_the_layers_of_an_encoder(student, generator):
    """its layers have the documented names and shapes, and it knows its vocabulary"""
    for words, length, dim, layers, heads in ((5, 4, 6, 1, 3), (3, 2, 4, 3, 1), (9, 7, 8, 0, 2)):
        vocabulary = ["", *"abcdefgh"][:words]
        made = student.new("text.TextEncoder", vocabulary, length, dim, layers, heads)
        got = {name: tuple(w.shape) for name, w in made.state().items()}
        want = encoder_shapes(words, length, dim, layers)
        says = f"the weights for {words} words, L = {length}, dim = {dim}, {layers} blocks"
        expect.true(list(got.items()) == list(want.items()), says, got, want)
    made = student.new("text.TextEncoder", KNOWN, 5)
    got = {name: tuple(w.shape) for name, w in made.state().items()}
    expect.true(got == encoder_shapes(9, 5, 64, 1), "by default one block of dim 64", got)
    tokens, mask = captions_of(generator, 5, (5, 3))
    made.call("double")
    encodes(made(tokens, mask), by_hand_encoder(tokens, mask, made.state(), 4), "4 heads", ROUNDED)


@encoder
def test_how_embeddings_begin(student, generator):
    """both embeddings begin as N(0, ½²); with places = 0 there are none, and none are learned"""
    vocabulary = ["", *(f"w{i}" for i in range(199))]
    for places in (None, 0.5, 0.02, 2.0, 0.0):
        options = {} if places is None else {"places": places}
        made = student.new("text.TextEncoder", vocabulary, 100, 32, **options)
        state = made.state()
        want = {"word": 0.5, "place": 0.5 if places is None else places}
        for name, std in want.items():
            w = expect.tensor(state[f"{name}.weight"], (200 if name == "word" else 100, 32))
            near = abs(float(w.std()) - std) <= 0.1 * std and abs(float(w.mean())) <= 0.1 * std
            says = f"{name} begins with standard deviation {std:g} and mean 0"
            expect.true(near, says, f"{float(w.std()):.3g} and {float(w.mean()):.3g}")
        learned = student.checking.text_fakes.learned(made)
        fixed = sorted(state.keys() - {*learned})
        says = f"weights that are not learned with places = {want['place']:g}"
        expect.true(fixed == ([] if want["place"] else ["place.weight"]), says, fixed)
    tokens = torch.randint(1, 200, (2, 100), generator=generator)
    weights = {name: w.double() for name, w in state.items()}
    want = by_hand_encoder(tokens, tokens > 0, weights, 4)
    encodes(made(tokens, tokens > 0), want, "a new encoder without places", SINGLE)


@encoder(weight=4)
def test_the_formula_of_an_encoder(student, generator):
    """words and pooled vectors are those of the formula, in float64"""
    for layers in (1, 2, 0, 3):
        made, s, heads = an_encoder(student, generator, layers=layers)
        for n, counts in ((7, (7, 3, 5, 1)), (4, (2,)), (1, (1, 1)), (5, (5, 5, 5))):
            tokens, mask = captions_of(generator, n, counts)
            says = f"captions of {counts} words in rows of {n}, {layers} blocks"
            encodes(made(tokens, mask), by_hand_encoder(tokens, mask, s, heads), says, ROUNDED)
        s |= {name: s[name] - 0.5 for name in ("word.weight", "out.weight")}
        made.load(s)
        says = "the same captions, other weights: nothing may be kept from the call before"
        encodes(made(tokens, mask), by_hand_encoder(tokens, mask, s, heads), says, ROUNDED)


@encoder(weight=3)
def test_padding_wherever_it_stands(student, generator):
    """padding changes nothing behind the words, in front of them or between, whatever its numbers
    are; words keep their places"""
    made, s, heads = an_encoder(student, generator, layers=2)
    mask = torch.tensor(
        [[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 0], [1, 0, 0, 1, 0, 1], [0, 0, 0, 0, 0, 1],
         [1, 0, 1, 0, 0, 0]]
    ).bool()  # fmt: skip
    tokens = torch.randint(1, len(KNOWN), mask.shape, generator=generator)
    want = by_hand_encoder(tokens, mask, s, heads)
    for padding in (tokens, 0 * tokens, torch.full_like(tokens, len(KNOWN) - 1)):
        row = torch.where(mask, tokens, padding)
        words, _ = encodes(made(row, mask), want, "padding of any number, anywhere", ROUNDED)
        expect.true(not words[~mask].any(), "words must be exactly 0 where padding is")


@encoder(weight=2)
def test_longer_rows_of_the_same_captions(student, generator):
    """more padding behind a caption changes nothing"""
    made, _, _ = an_encoder(student, generator, layers=2)
    tokens, mask = captions_of(generator, 7, (3, 2, 1))
    short = expect.unpack(made(tokens[:, :3], mask[:, :3]), ("words", "pooled"))
    for n in (4, 7):
        words, pooled = expect.unpack(made(tokens[:, :n], mask[:, :n]), ("words", "pooled"))
        dim = expect.tensor(short[1], (3, made.get("dim")), "pooled").shape[1]
        words = expect.tensor(words, (3, n, dim), "words")
        says = f"rows of {n} in place of 3"
        expect.close(words[:, :3], short[0], f"{says}: other words", what="words", **ROUNDED)
        expect.close(pooled, short[1], f"{says}: another pooled vector", what="pooled", **ROUNDED)
        expect.true(not words[:, 3:].any(), "words must be exactly 0 where padding is")


@encoder(weight=2)
def test_captions_without_words(student, generator):
    """a caption without words has words of exactly 0 and out(0); it moves nothing but out's bias"""
    made, s, heads = an_encoder(student, generator, layers=2)
    tokens, mask = captions_of(generator, 5, (3, 0, 5, 0))
    got = made(tokens, mask)
    says = "captions without words beside others"
    words, pooled = encodes(got, by_hand_encoder(tokens, mask, s, heads), says, ROUNDED)
    expect.true(not words[1].any() and not words[3].any(), "words of no caption must be 0")
    expect.close(pooled[1], s["out.bias"], "out(0) is the bias of out", **ROUNDED)
    # Words of 0 need no graph where there is no other caption, so there is one.
    c = [normal(generator, *x.shape) * ~mask.any(1).reshape(-1, *[1] * (x.dim() - 1))
         for x in (words, pooled)]  # fmt: skip
    (found,) = student.gradient("checking.fakes.weighted_both", made, c, tokens, mask, wrt=[made])
    for name, g in found.items():
        g = torch.zeros_like(s[name]) if g is None else g
        want = c[1].sum(0) if name == "out.bias" else torch.zeros_like(s[name])
        says = f"the gradient of {name}, of captions without words"
        expect.close(g, want, says, what=f"the gradient of {name}", **ROUNDED)
    made.call("requires_grad_", False)  # frozen, as an encoder is used
    nothing = tokens[1::2], mask[1::2]
    says = "no caption has a word"
    encodes(made(*nothing), by_hand_encoder(*nothing, s, heads), says, ROUNDED)


@encoder(weight=3)
def test_the_gradients_of_an_encoder(student, generator):
    """every weight gets the gradient of the formula; the numbers and places of padding get none"""
    for layers in (1, 2):
        made, s, heads = an_encoder(student, generator, layers=layers)
        tokens, mask = captions_of(generator, 6, (4, 2, 0, 5))
        mask[0, 1] = False  # a word less, and a number beneath padding
        tokens[3, 0], tokens[1, 4] = 5, 6
        dim = len(s["out.bias"])
        c = [normal(generator, 4, 6, dim), normal(generator, 4, dim)]
        (found,) = student.gradient(
            "checking.fakes.weighted_both", made, c, tokens, mask, wrt=[made]
        )
        leaves = {name: w.clone().requires_grad_() for name, w in s.items()}
        results = by_hand_encoder(tokens, mask, leaves, heads)
        sum((a * b).sum() for a, b in zip(c, results, strict=True)).backward()
        for name, leaf in leaves.items():
            got = found.get(name)
            got = torch.zeros_like(leaf) if got is None else got
            says = f"the gradient of {name} is not that of the formula"
            expect.close(got, leaf.grad, says, what=f"the gradient of {name}", **ROUNDED)
        zero = found["word.weight"][0], found["place.weight"][5:]
        expect.true(not any(g.any() for g in zero), "padding gets a gradient")


@encoder
def test_order_matters_and_without_places_does_not(student, generator):
    """two words that change places change the caption; without places they change places, and the
    caption stays"""
    for places in (0.5, 0.0):
        options = {"places": places}
        made, s, _ = an_encoder(student, generator, layers=2, **options)
        if not places:
            s["place.weight"] = torch.zeros_like(s["place.weight"])
            made.load(s)
        tokens = torch.randperm(len(KNOWN) - 1, generator=generator)[None, :5] + 1
        mask = torch.ones(1, 5).bool()
        order = torch.tensor([3, 1, 2, 0, 4])
        one = expect.unpack(made(tokens, mask), ("words", "pooled"))
        two = expect.unpack(made(tokens[:, order], mask), ("words", "pooled"))
        dim = len(s["out.bias"])
        words, pooled = (
            expect.tensor(x, (1, *n, dim)) for x, n in zip(one, ((5,), ()), strict=True)
        )
        if places:
            off = expect.tensor(two[1], (1, dim), "pooled") - pooled
            expect.true(bool(off.abs().max() > 1e-6), "the order of words is lost")
        else:
            expect.close(two[0], words[:, order], "words without places", **ROUNDED)
            expect.close(two[1], pooled, "a caption without places", **ROUNDED)


@encoder
def test_captions_do_not_meet(student, generator):
    """a caption tells nothing to others of its batch; modes and gradients stay as they are"""
    made, _, _ = an_encoder(student, generator, layers=2)
    tokens, mask = captions_of(generator, 6, (2, 6, 0, 4))
    together = expect.unpack(made(tokens, mask), ("words", "pooled"))
    student.checking.fakes.holding_gradients(made)
    made.call("eval")
    alone = []
    for n in range(4):
        some = bool(mask[n].any())
        made.call("requires_grad_", some)  # words of 0 need no graph
        alone.append(made(tokens[n : n + 1], mask[n : n + 1]))
    alone = [expect.unpack(x, ("words", "pooled")) for x in alone]
    for k, (all_, what) in enumerate(zip(together, ("words", "pooled"), strict=True)):
        dim = made.get("dim")
        all_ = expect.tensor(all_, (4, 6, dim) if what == "words" else (4, dim), what)
        got = torch.cat([expect.tensor(x[k], (1, *all_.shape[1:]), what) for x in alone])
        says = f"{what} depend on the others of the batch, or on the mode"
        expect.close(got, all_, says, what=what, **ROUNDED)


@encoder
def test_float32_and_embeddings_of_any_size(student, generator):
    """in float32; with embeddings of size 300, and of 0.003, where the ε of the norms counts; words
    and pooled vectors may be large"""
    for size, last in ((3e-3, 1.0), (300.0, 1.0), (1.0, 50.0)):
        made, s, heads = an_encoder(student, generator, layers=2)
        s |= {name: size * s[name] for name in ("word.weight", "place.weight")}
        s |= {name: last * s[name] for name in ("norm.weight", "out.bias")}
        made.load(s)
        tokens, mask = captions_of(generator, 5, (5, 2, 3))
        want = by_hand_encoder(tokens, mask, s, heads)
        says = f"embeddings of size {size:g}, words of size {last:g}"
        encodes(made(tokens, mask), want, says, {"atol": 1e-9, "rtol": 1e-9})
    made, s, heads = an_encoder(student, generator, layers=1)
    made.call("float")
    tokens, mask = captions_of(generator, 5, (5, 2, 0, 3))
    words, pooled = encodes(
        made(tokens, mask), by_hand_encoder(tokens, mask, s, heads), "float32", SINGLE
    )
    for x, what in ((words, "words"), (pooled, "the pooled vector")):
        expect.true(x.dtype == torch.float32, f"{what} must have the precision of the weights")


@encoder
def test_tokens_and_masks_that_do_not_fit(student, generator):
    """tokens that are not (batch, n) with n from 1 to L, and masks that are not one truth value for
    each, are refused with a ValueError"""
    made, s, heads = an_encoder(student, generator, length=5)
    tokens, mask = captions_of(generator, 5, (4, 5))
    encodes(made(tokens, mask), by_hand_encoder(tokens, mask, s, heads), "what fits", ROUNDED)
    for shape in ((5,), (2, 6), (2, 0), (2, 3, 4), (), (1, 9)):
        tokens = torch.ones(shape, dtype=torch.int64)
        says = f"tokens of shape {shape} must be refused for L = 5"
        expect.raises("ValueError", lambda t=tokens: made(t, t > 0), says)
    tokens, mask = captions_of(generator, 4, (4, 2, 3))
    bad = [mask[:, :3], mask[:1], mask[0], mask[:, :1], mask[..., None], mask.T]
    for other in (*bad, mask.long(), mask.double(), mask[:, None]):
        got = f"{str(other.dtype)[6:]} of {tuple(other.shape)}"
        says = f"a mask {got} must be refused for tokens (3, 4)"
        expect.raises("ValueError", lambda m=other: made(tokens, m), says)


# --- text.similarity ----------------------------------------------------------------------------


def by_hand_similarity(u, v, log_scale):
    lengths = u.square().sum(1).sqrt()[:, None] * v.square().sum(1).sqrt()
    return torch.exp(torch.as_tensor(log_scale, dtype=u.dtype)) * (u @ v.T) / lengths


@similarity(weight=3)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_scaled_cosines(student, generator, dtype):
    """it is exp(log_scale) times the cosine, a row for each image and a column for each text"""
    for n, m, dim in ((3, 5, 4), (5, 3, 2), (4, 4, 4), (1, 3, 6), (3, 1, 6), (1, 1, 3), (2, 3, 1)):
        u, v = normal(generator, n, dim), normal(generator, m, dim)
        log_scale = 1.5 * normal(generator)
        want = by_hand_similarity(u, v, log_scale)
        got = student.text.similarity(u.to(dtype), v.to(dtype), log_scale.to(dtype))
        says = f"not exp(log_scale) · cosine for {n} images, {m} texts, {dim} numbers each"
        expect.close(got, want, says, **(SINGLE if dtype == torch.float32 else DOUBLE))


@similarity(weight=2)
def test_lengths_of_vectors_do_not_count(student, generator):
    """vectors of any length have the same cosines; turned round they change the sign"""
    u, v = normal(generator, 4, 3), normal(generator, 5, 3)
    log_scale = torch.tensor(0.7).double()
    want = by_hand_similarity(u, v, log_scale)
    for size in (1e-3, 1e3):
        a, b = (size ** torch.rand(n, 1, generator=generator).double() for n in (4, 5))
        got = student.text.similarity(-a * u, b * v, log_scale)
        says = f"the length of a vector counts, from 1 to {size:g}"
        expect.close(got, -want, says, **DOUBLE)
    for size in (1e-6, 1e-3, 1e3, 1e6):
        got = student.text.similarity(size * u, v / size, log_scale)
        says = f"images {size:g} times as long, texts {1 / size:g} times"
        expect.close(got, want, says, **DOUBLE)


@similarity
def test_a_vector_and_itself(student, generator):
    """equal vectors score exp(log_scale), opposite ones minus that, orthogonal ones 0"""
    u = torch.linalg.qr(normal(generator, 4, 4)).Q * (1 + normal(generator, 4, 1).abs())
    for log_scale in (-2.0, 0.0, math.log(100)):
        want = math.exp(log_scale) * torch.eye(4).double()
        x = torch.tensor(log_scale).double()
        says = f"equal and orthogonal vectors with log_scale {log_scale:.3g}"
        expect.close(student.text.similarity(u, 3 * u, x), want, says, atol=1e-6, rtol=1e-6)
        says = f"opposite vectors with log_scale {log_scale:.3g}"
        expect.close(student.text.similarity(u, -u, x), -want, says, atol=1e-6, rtol=1e-6)


@similarity
def test_every_form_of_a_scale(student, generator):
    """log_scale is a number, whole too, or a tensor of shape ()"""
    u, v = normal(generator, 2, 3), normal(generator, 4, 3)
    x = float(normal(generator))
    for log_scale in (x, 0, 1, -2, torch.tensor(x).double(), torch.tensor(0.5), torch.tensor(-3.0)):
        want = by_hand_similarity(u, v, log_scale)
        says = f"not exp(log_scale) · cosine for log_scale {log_scale!r}"
        # a number, or what is float32, may be taken to its exponential in float32
        double = isinstance(log_scale, torch.Tensor) and log_scale.dtype == torch.float64
        digits = 1e-11 if double else 1e-6
        expect.close(student.text.similarity(u, v, log_scale), want, says, atol=digits, rtol=digits)
        got = student.text.similarity(u.float(), v.float(), log_scale)
        expect.close(got, want, f"{says}, vectors in float32", **SINGLE)
    for log_scale in (-12.0, torch.tensor(-12.0).double(), 12.0, torch.tensor(12.0).double()):
        got = student.text.similarity(u, v, log_scale)
        got = expect.tensor(got, (2, 4)) / math.exp(log_scale)
        says = f"not exp(log_scale) · cosine for log_scale {log_scale!r}"
        expect.close(got, by_hand_similarity(u, v, 0.0), says, atol=1e-5, rtol=1e-5)
    want = by_hand_similarity(u, v, 0.0)
    expect.close(student.text.similarity(u, v, 0), want, "log_scale = 0: the cosine", **DOUBLE)


@similarity(weight=2)
def test_slopes_of_similarities(student, generator):
    """gradients reach images, texts and log_scale, through the lengths as well"""
    u, v = normal(generator, 3, 4), normal(generator, 5, 4)
    log_scale, c = normal(generator), normal(generator, 3, 5)
    function = student.function("text.similarity")
    got = student.gradient(
        "checking.fakes.weighted", function, c, u, v, log_scale, wrt=[u, v, log_scale]
    )
    a, b = u.norm(dim=1, keepdim=True), v.norm(dim=1, keepdim=True)
    u, v, scale = u / a, v / b, log_scale.exp()
    to_u, to_v = scale * c @ v, scale * c.T @ u
    want = [
        (to_u - (to_u * u).sum(1, keepdim=True) * u) / a,
        (to_v - (to_v * v).sum(1, keepdim=True) * v) / b,
        (c * scale * (u @ v.T)).sum(),
    ]
    for g, w, name in zip(got, want, ("images", "texts", "log_scale"), strict=True):
        says = f"the gradient of {name} is not that of exp(log_scale) · cosine"
        expect.close(g, w, says, what=f"the gradient of {name}", **DOUBLE)


@similarity
def test_vectors_that_do_not_fit(student, generator):
    """images and texts that are not (n, dim) and (m, dim) are refused with a ValueError"""
    good = normal(generator, 3, 4)
    for shape in ((4,), (2, 3, 4), (3, 5), (3, 1), (4, 3), ()):
        bad = normal(generator, *shape)
        for pair in ((bad, good), (good, bad)):
            shapes = " and ".join(str(tuple(x.shape)) for x in pair)
            expect.raises(
                "ValueError",
                lambda p=pair: student.text.similarity(*p, 0.0),
                f"images and texts {shapes} must be refused",
            )
    one = normal(generator, 4)
    expect.raises(
        "ValueError",
        lambda: student.text.similarity(one, one, 0.0),
        "images and texts that are one vector each, (4,), must be refused",
    )


# --- text.contrastive_loss ----------------------------------------------------------------------


def by_hand_loss(s):
    """Both halves by sums of exponentials, relative to the pair's own score."""
    off = s - s.diagonal()[:, None], s.T - s.diagonal()[:, None]
    top = [x.max(1, keepdim=True).values for x in off]
    halves = [(t[:, 0] + (x - t).exp().sum(1).log()).mean() for x, t in zip(off, top, strict=True)]
    return sum(halves) / 2


@contrastive(weight=3)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_both_halves(student, generator, dtype):
    """it is the mean of both halves: the text of each image, and the image of each text"""
    for n in (1, 2, 3, 5, 8):
        s = 2 * normal(generator, n, n)
        says = f"not ½ (L_text + L_image) of {n} pairs"
        tolerance = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else DOUBLE
        expect.close(student.text.contrastive_loss(s.to(dtype)), by_hand_loss(s), says, **tolerance)


@contrastive
def test_what_knows_nothing_pays_log_n(student, generator):
    """equal scores cost log N; one pair costs 0"""
    for n in (1, 2, 7, 32):
        c = 10 * normal(generator, 1, 1)
        got = student.text.contrastive_loss(c.expand(n, n).clone())
        expect.close(got, math.log(n), f"equal scores of {n} pairs cost log {n}", **DOUBLE)


@contrastive
def test_what_does_not_matter(student, generator):
    """a constant more, images and texts exchanged, or pairs in another order change nothing"""
    n = draws.whole(generator, 4, 8)
    s = 2 * normal(generator, n, n)
    order = torch.randperm(n, generator=generator)
    want = by_hand_loss(s)
    expect.close(student.text.contrastive_loss(s + 5), want, "a constant more", **DOUBLE)
    expect.close(student.text.contrastive_loss(s.T), want, "images and texts exchanged", **DOUBLE)
    got = student.text.contrastive_loss(s[order][:, order])
    expect.close(got, want, "pairs in another order", **DOUBLE)


@contrastive(weight=2)
def test_scores_of_any_size(student, generator):
    """large scores are right, without infinity and NaN, and so are their gradients"""
    n = draws.whole(generator, 3, 6)
    for size, dtype in ((1e3, torch.float32), (1e5, torch.float64), (1e30, torch.float32)):
        s = (size * normal(generator, n, n)).to(dtype)
        got = student.text.contrastive_loss(s)
        want = by_hand_loss(s.double())
        says = f"scores of size {size:g} in {str(dtype)[6:]}"
        expect.close(got, want, says, atol=1e-5, rtol=1e-5)
        (slope,) = student.gradient("text.contrastive_loss", s, wrt=[s])
        want = slope_by_hand(s.double())
        expect.close(slope, want, f"the gradient of {says}", what="the gradient", **SINGLE)
    best = 1e6 * torch.eye(n).double() - 1e3
    expect.close(student.text.contrastive_loss(best), 0.0, "nothing is left to find", **DOUBLE)
    worst = student.text.contrastive_loss(-best)
    expect.close(worst, 1e6 + math.log(n - 1), "all that is wrong scores 10⁶ more", **DOUBLE)


def slope_by_hand(s):
    """What both softmaxes give to each pair, less what belongs there."""
    n = len(s)
    return (s.softmax(1) + s.softmax(0) - 2 * torch.eye(n).double()) / (2 * n)


@contrastive(weight=2)
def test_slopes_of_scores(student, generator):
    """the gradient is (p(text | image) + p(image | text) − 2 [pair]) / 2N"""
    for n in (1, 2, 6):
        s = 2 * normal(generator, n, n)
        (got,) = student.gradient("text.contrastive_loss", s, wrt=[s])
        says = f"the gradient of {n} pairs"
        expect.close(got, slope_by_hand(s), says, what="the gradient", **DOUBLE)


def finite_world(generator, images=2, texts=3):
    """p(image, text): a table of six numbers."""
    p = (1.5 * normal(generator, images, texts)).exp()
    return p / p.sum()


def batches(p, n):
    """All batches of n pairs, in one order each, with their probability."""
    pairs = [(i, j) for i in range(p.shape[0]) for j in range(p.shape[1])]
    for some in itertools.combinations_with_replacement(pairs, n):
        orders = math.factorial(n)
        for pair in set(some):
            orders //= math.factorial(some.count(pair))
        i, j = (torch.tensor(x) for x in zip(*some, strict=True))
        yield i, j, orders * float(p[i, j].prod())


@contrastive(weight=2)
def test_a_world_that_is_known(student, generator):
    """over all batches of a finite world, the mean is the exact one, log p(x, y) / (p(x) p(y)) is
    the best critic, and log N − L is at most the mutual information"""
    p = finite_world(generator)
    best = contrast.pointwise_information(p) + normal(generator)
    other = best + 0.5 * normal(generator, *p.shape)
    information = contrast.mutual_information(p)
    told = []
    for n, critics in ((2, (best, other)), (3, (best,))):
        for critic in critics:
            mean, slope = 0.0, torch.zeros_like(p)
            for i, j, chance in batches(p, n):
                s = critic[i][:, j]
                L = expect.tensor(student.text.contrastive_loss(s), (), "the loss of a batch")
                mean += chance * float(L)
                if n == 2 and critic is best:
                    (g,) = student.gradient("text.contrastive_loss", s, wrt=[s])
                    g = chance * expect.tensor(g, s.shape, "the gradient")
                    slope.index_put_((i[:, None].expand(n, n), j.expand(n, n)), g, accumulate=True)
            want = contrast.expected_loss(p, critic, n)
            expect.close(mean, want, f"the mean loss of batches of {n} pairs", **DOUBLE)
            says = "the pointwise mutual information is the best critic: its mean slope is 0"
            expect.close(slope, torch.zeros_like(p), says, what="the mean gradient", **DOUBLE)
            told.append(math.log(n) - mean)
    two, worse, three = told
    says = "more pairs tell more of the mutual information, and never more than all of it"
    rises = worse < two <= three <= information
    expect.true(rises, says, f"{two:.6g}, {three:.6g}", f"at most {information:.6g}")


@contrastive
def test_scores_that_are_not_square(student, generator):
    """scores that are not (n, n) are refused with a ValueError"""
    for shape in ((2, 3), (3, 2), (1, 4), (4,), (2, 2, 2), (), (0, 0)):
        s = normal(generator, *shape)
        says = f"scores of shape {shape} must be refused"
        expect.raises("ValueError", lambda s=s: student.text.contrastive_loss(s), says)


# --- text.token_count ---------------------------------------------------------------------------

MODELS = {  # what of: height, width, D, P, words, and the tokens that these make
    "FLUX.1, 1024×1024": (1024, 1024, 8, 2, 0, 4096),  # slide 102 says 1024
    "FLUX.1 with 512 words": (1024, 1024, 8, 2, 512, 4608),
    "Stable Diffusion 3 with 77 + 77 words": (1024, 1024, 8, 2, 154, 4250),
    "PixArt-α, 512×512": (512, 512, 8, 2, 0, 1024),
    "DiT-XL/2, 256×256": (256, 256, 8, 2, 0, 256),
    "DiT-XL/8, 256×256": (256, 256, 8, 8, 0, 16),
    "Sana, 1024×1024": (1024, 1024, 32, 1, 0, 1024),
    "Qwen-Image, 928×1664": (928, 1664, 8, 2, 0, 6032),
}


def counts(got, want, says):
    whole = isinstance(got, int) and not isinstance(got, bool)
    expect.true(whole, "the number of tokens must be a whole number, an int", got, want)
    expect.true(got == want, says, got, want)


@token_count(weight=2)
def test_models_of_slides_101_and_102(student):
    """FLUX.1 makes 4096 tokens of 1024×1024 pixels, and others what they make"""
    for name, (*sizes, words, want) in MODELS.items():
        got = student.text.token_count(*sizes, words) if words else student.text.token_count(*sizes)
        counts(got, want, f"the tokens of {name}")


@token_count(weight=3)
def test_tokens_of_any_image(student, generator):
    """it is height / (D P) · width / (D P) + words"""
    for _ in range(12):
        d, p, rows, columns = (draws.whole(generator, 1, 12) for _ in range(4))
        words = draws.whole(generator, 0, 200)
        sizes = {"height": rows * d * p, "width": columns * d * p, "downsampling": d, "patch": p}
        got = student.text.token_count(**sizes, words=words)
        counts(got, rows * columns + words, f"the tokens for {sizes} and {words} words")
    rows, columns = draws.whole(generator, 20000, 40000), draws.whole(generator, 3, 9)
    got = student.text.token_count(16 * rows, 16 * columns, 8, 2)
    counts(got, rows * columns, "the tokens of a long strip")


@token_count(weight=2)
def test_sides_that_do_not_fit(student, generator):
    """a side that D · P does not divide is refused, and the message names the multiples next to
    it"""
    for _ in range(6):
        d, p = draws.whole(generator, 2, 9), draws.whole(generator, 2, 5)
        cell, n = d * p, draws.whole(generator, 2, 60)
        for side in (n * cell + draws.whole(generator, 1, cell), n * cell + 1, n * cell + cell - 1):
            fits = cell * draws.whole(generator, 61, 99)
            for h, w in ((side, fits), (fits, side)):
                says = (
                    f"{h}×{w} must be refused for D = {d} and P = {p}, naming {n * cell} and "
                    f"{n * cell + cell}"
                )
                for near in (n * cell, n * cell + cell):
                    refused(lambda a=(h, w, d, p): student.text.token_count(*a), [str(near)], says)


@token_count
def test_sides_that_fit_latents_and_no_patches(student, generator):
    """a side that D divides, and P divides, is refused if D · P does not; so is one below D · P"""
    for d, p, h, w in ((8, 2, 1032, 1024), (8, 2, 1024, 1048), (6, 4, 24, 36), (4, 4, 20, 16)):
        says = f"{h}×{w} must be refused for D = {d} and P = {p}: {d * p} does not divide it"
        expect.raises("ValueError", lambda a=(h, w, d, p): student.text.token_count(*a), says)
    d, p = draws.whole(generator, 3, 9), draws.whole(generator, 2, 5)
    for h, w in ((1, d * p), (d * p, d), (p, p), (d * p - 1, d * p - 1)):
        says = f"{h}×{w} must be refused for D = {d} and P = {p}, naming {d * p}"
        refused(lambda a=(h, w, d, p): student.text.token_count(*a), [str(d * p)], says)


@token_count
def test_numbers_that_are_not_positive(student, generator):
    """sides, D or P that are not positive, and a negative number of words, are refused"""
    good = [64, 32, 4, 2, 3]
    for place in range(5):
        for bad in (0, -1, -good[place]):
            if place == 4 and bad == 0:
                continue
            sizes = [*good]
            sizes[place] = bad
            says = f"height, width, D, P and words {sizes} must be refused"
            expect.raises("ValueError", lambda s=sizes: student.text.token_count(*s), says)
    for sizes in ([-64, -32, 4, 2, 0], [64, 32, -4, -2, 0], [0, 0, 4, 2, 5]):
        says = f"height, width, D, P and words {sizes} must be refused"
        expect.raises("ValueError", lambda s=sizes: student.text.token_count(*s), says)
