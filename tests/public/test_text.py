"""Public checks of chapter 10's texts."""

import math
import re

import pytest
import torch

from cs231n_gen.checking import expect
from cs231n_gen.checking.errors import NotWritten, PropertyFailed, StudentError

tokenize = pytest.mark.exercise("text.tokenize", dtype=False)
encoder = pytest.mark.exercise("text.TextEncoder")
similarity = pytest.mark.exercise("text.similarity")
contrastive = pytest.mark.exercise("text.contrastive_loss")
token_count = pytest.mark.exercise("text.token_count")

DOUBLE = {"atol": 1e-11, "rtol": 1e-11}  # of numbers of size 1 that are computed in float64


def waves(*shape, rate=7.3, scale=1.0):
    """Any numbers, as long as they are the same everywhere."""
    u = torch.arange(math.prod(shape), dtype=torch.float64)
    return scale * (rate * (1 + u)).sin().reshape(shape)


def refused(call, named, says):
    """A ValueError whose message names something: a word, or a whole number."""
    try:
        result = call()
    except NotWritten:
        raise
    except StudentError as error:
        found = re.search(rf"(?<!\w){re.escape(named)}(?!\w)", error.text.lower())
        if error.kind != "ValueError" or not found:
            raise PropertyFailed(says, str(error), f"ValueError: … {named} …") from error
        return
    raise PropertyFailed(says, f"no error, but {expect.describe(result)}", "ValueError")


# --- text.tokenize ------------------------------------------------------------------------------

VOCABULARY = ["", "left", "red", "a", "of", "ring", "blue", "cross"]
PADDED = ["<pad>", *VOCABULARY[1:]]


def rows_are(result, want, says):
    """Tokens are these rows, and the mask is True where they are not 0."""
    tokens, mask = expect.unpack(result, ("tokens", "mask"))
    want = torch.tensor(want)
    tokens = expect.tensor(tokens, want.shape, "tokens")
    expect.true(tokens.dtype == torch.int64, "tokens must be int64", tokens.dtype, torch.int64)
    expect.true(torch.equal(tokens, want), says, tokens.tolist(), want.tolist())
    mask = expect.tensor(mask, want.shape, "the mask")
    expect.true(mask.dtype == torch.bool, "the mask must be bool", mask.dtype, torch.bool)
    says = "the mask must be True where a word is, False where padding is"
    expect.true(torch.equal(mask, want > 0), says, mask.tolist(), (want > 0).tolist())


@tokenize
def test_numbers_of_words(student):
    """a word's number is its place in the vocabulary, 0 follows up to L"""
    captions = ["a red ring", "blue cross left of a ring", "cross"]
    want = [[3, 2, 5, 0, 0, 0, 0], [6, 7, 1, 4, 3, 5, 0], [7, 0, 0, 0, 0, 0, 0]]
    for vocabulary in (VOCABULARY, PADDED):
        got = student.text.tokenize(captions, vocabulary, 7)
        rows_are(got, want, f"the numbers of {captions}")


@tokenize
def test_capital_letters_and_white_space(student):
    """capital letters and more white space change nothing"""
    captions = ["A Red RING", "  a red   ring ", "a\tred \n ring\n"]
    rows_are(student.text.tokenize(captions, VOCABULARY, 4), [[3, 2, 5, 0]] * 3, "a red ring")


@tokenize
def test_empty_and_full_rows(student):
    """an empty text is all padding, and a caption may have exactly L words"""
    got = student.text.tokenize(["", "a blue cross", " "], VOCABULARY, 3)
    rows_are(got, [[0, 0, 0], [3, 6, 7], [0, 0, 0]], "an empty text and one of L words")
    rows_are(student.text.tokenize([""], VOCABULARY, 2), [[0, 0]], "one empty text")
    rows_are(student.text.tokenize(["cross"], VOCABULARY, 1), [[7]], "one word, L = 1")


@tokenize
def test_tuples(student):
    """captions and vocabulary may be tuples"""
    other = ("<pad>", "cross", "a", "red")
    got = student.text.tokenize(("a cross", "red"), other, 3)
    rows_are(got, [[2, 1, 0], [3, 0, 0]], f"the numbers with vocabulary {other}")


@tokenize
def test_a_large_vocabulary(student):
    """a vocabulary of thousands of words"""
    vocabulary = ["", *(f"w{i}" for i in range(1, 5001))]
    got = student.text.tokenize(["w4097 w12 w2049"], vocabulary, 4)
    rows_are(got, [[4097, 12, 2049, 0]], "numbers of 5000 words")


@tokenize
def test_unknown_words(student):
    """a word that is not in the vocabulary is refused with a ValueError that names it"""
    for caption, word in (("a zebra", "zebra"), ("ring, cross", "ring,"), ("a red rin", "rin")):
        says = f"{caption!r} must be refused, and the message name {word!r}"
        captions = ["a ring", caption]
        refused(lambda c=captions: student.text.tokenize(c, VOCABULARY, 5), word, says)
    refused(lambda: student.text.tokenize(["zebra"], VOCABULARY, 2), "zebra", "'zebra' is unknown")


@tokenize
def test_padding_is_no_word(student):
    """the first entry of the vocabulary is no word of a caption"""
    says = "'<pad>' must be refused: the first entry of a vocabulary is no word"
    refused(lambda: student.text.tokenize(["a <pad> ring"], PADDED, 5), "<pad>", says)


@tokenize
def test_too_many_words(student):
    """more than L words are refused with a ValueError that says how many there are"""
    for n, length in ((4, 3), (23, 6), (2, 1)):
        says = f"{n} words must be refused for L = {length}, and the message say {n}"
        captions = ["ring", " ".join(["red"] * n)]
        refused(lambda c=captions, k=length: student.text.tokenize(c, VOCABULARY, k), f"{n}", says)


@tokenize
def test_no_list_of_captions(student):
    """no captions, and one text in place of several, are refused with a ValueError"""
    for captions in ([], "", "ring", "a red ring"):
        says = f"captions {captions!r} must be refused: leave the lines above yours as they are"
        call = lambda c=captions: student.text.tokenize(c, VOCABULARY, 9)  # noqa: E731
        expect.raises("ValueError", call, says)


# --- text.similarity ----------------------------------------------------------------------------

IMAGES = torch.tensor([[3.0, 4.0], [0.0, -2.0]], dtype=torch.float64)
TEXTS = torch.tensor([[1.0, 0.0], [6.0, 8.0], [0.0, 0.5]], dtype=torch.float64)
COSINES = torch.tensor([[0.6, 1.0, 0.8], [0.0, -0.8, -1.0]], dtype=torch.float64)
SLOPES = (
    [[0.69150506592, -0.657254656685, 0.000268431035347],
     [0.293124236971, -0.260973252559, 0.0493169399742]],
    [[1.5801249136, 1.56967868673, 0.244755102293],
     [0.263027771377, 0.255826014427, 0.00790570718685],
     [-1.46110063731, -1.4061822771, -0.245123750965]],
    0.0398786881848,
)  # fmt: skip


@similarity
def test_cosines(student):
    """with log_scale = 0 it is the cosine of each image with each text"""
    got = student.text.similarity(IMAGES, TEXTS, 0.0)
    says = "images in rows, texts in columns: ⟨u, v⟩ / (‖u‖ ‖v‖)"
    expect.close(got, COSINES, says, **DOUBLE)


@similarity
def test_scaled_cosines(student):
    """the cosines are multiplied by exp(log_scale), a number or a tensor of shape ()"""
    for scale in (2.0, 0.25, 100.0, 2.0**20, 2.0**-20):
        log_scale = math.log(scale)
        for form in (log_scale, torch.tensor(log_scale, dtype=torch.float64)):
            got = student.text.similarity(IMAGES, TEXTS, form)
            says = f"cosines times exp(log_scale), for log_scale = {log_scale:.3g}"
            expect.close(expect.tensor(got, (2, 3)) / scale, COSINES, says, **DOUBLE)
    got = student.text.similarity(IMAGES, TEXTS, 1)
    expect.close(got, math.e * COSINES, "log_scale = 1", **DOUBLE)


@similarity
def test_float32(student):
    """vectors in float32, with a number and with a tensor as log_scale"""
    for form in (0.5, torch.tensor(0.5)):
        got = student.text.similarity(IMAGES.float(), TEXTS.float(), form)
        expect.close(got, math.exp(0.5) * COSINES, "cosines times exp(0.5)")
    got = student.text.similarity(IMAGES, TEXTS, torch.tensor(0.5))
    says = "vectors in float64, and log_scale in float32"
    expect.close(got, math.exp(0.5) * COSINES, says, atol=1e-6, rtol=1e-6)


@similarity
def test_one_vector_and_square_scores(student):
    """one image, one text, as many images as texts, vectors of one number"""
    got = student.text.similarity(IMAGES[:1], TEXTS, 0.0)
    expect.close(got, COSINES[:1], "one image, three texts", **DOUBLE)
    got = student.text.similarity(IMAGES, TEXTS[2:], 0.0)
    expect.close(got, COSINES[:, 2:], "two images, one text", **DOUBLE)
    got = student.text.similarity(IMAGES, TEXTS[1:], 0.0)
    expect.close(got, COSINES[:, 1:], "two images, two texts", **DOUBLE)
    got = student.text.similarity(IMAGES[:, 1:], TEXTS[1:, 1:], 0.0)
    want = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    expect.close(got, want, "vectors of one number: their signs", **DOUBLE)


@similarity
def test_short_and_long_vectors(student):
    """the length of a vector does not count, from 0.001 to 1000"""
    for size in (1e-3, 1e3):
        got = student.text.similarity(size * IMAGES, TEXTS / size, 0.0)
        says = f"images {size:g} times as long, texts {1 / size:g} times"
        expect.close(got, COSINES, says, **DOUBLE)


@similarity
def test_slopes(student):
    """gradients reach images, texts and log_scale"""
    u, v, log_scale = waves(2, 3), waves(3, 3, rate=2.1), torch.tensor(0.4).double()
    function, c = student.function("text.similarity"), waves(2, 3, rate=1.3)
    got = student.gradient(
        "checking.fakes.weighted", function, c, u, v, log_scale, wrt=[u, v, log_scale]
    )
    for g, w, name in zip(got, SLOPES, ("images", "texts", "log_scale"), strict=True):
        expect.close(g, torch.tensor(w, dtype=u.dtype), f"the gradient of {name}",
                     atol=1e-9, rtol=1e-9, what=f"the gradient of {name}")  # fmt: skip


@similarity
def test_vectors_that_do_not_fit(student):
    """images and texts that are not (n, dim) and (m, dim) are refused with a ValueError"""
    good = waves(3, 4)
    for shape in ((4,), (2, 3, 4), (3, 5), (3, 1)):
        for pair in ((waves(*shape), good), (good, waves(*shape))):
            says = "ValueError: leave the lines above yours as they are"
            expect.raises("ValueError", lambda p=pair: student.text.similarity(*p, 0.0), says)


# --- text.contrastive_loss ----------------------------------------------------------------------


@contrastive
def test_two_pairs(student):
    """of two pairs it is known by hand"""
    a = math.log(3)
    s = torch.tensor([[a, 0.0], [0.0, 0.0]])  # softmaxes of rows: ¾ and ½; of columns the same
    want = (math.log(4 / 3) + math.log(2)) / 2
    expect.close(student.text.contrastive_loss(s), want, "the mean of log 4/3 and log 2")


@contrastive
def test_both_halves(student):
    """both halves count: texts of images, and images of texts"""
    a = math.log(3)
    s = torch.tensor([[0.0, a, a], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    # rows: 1/7, 1/3, 1/3; columns: 1/3, 1/5, 1/5
    want = (math.log(63) / 3 + math.log(75) / 3) / 2
    got = student.text.contrastive_loss(s)
    expect.close(got, want, "½ (L_text + L_image) of three pairs", **DOUBLE)
    s = torch.tensor([[0.0, a], [0.0, 0.0]], dtype=torch.float64)
    # rows: ¼ and ½; columns: ½ and ¼
    expect.close(student.text.contrastive_loss(s), math.log(8) / 2, "the mean of both", **DOUBLE)


@contrastive
def test_what_knows_nothing(student):
    """equal scores cost log N, and one pair costs nothing"""
    for n in (5, 2, 1):
        s = torch.full((n, n), 3.0)
        expect.close(student.text.contrastive_loss(s), math.log(n), f"equal scores, N = {n}")


@contrastive
def test_scores_of_any_size(student):
    """large scores are right, without infinity and NaN"""
    for size, dtype in ((1e3, torch.float32), (1e5, torch.float64), (1e30, torch.float32)):
        says = f"scores of size {size:g}"
        got = student.text.contrastive_loss(size * torch.eye(3, dtype=dtype))
        expect.close(got, 0.0, f"nothing is left to find at {says}", atol=1e-6, rtol=0)
        s = torch.tensor([[0.0, 1.0], [3.0, 2.0]], dtype=dtype) * size
        # rows: 1 and 1 too little; columns: 3 and 0
        expect.close(student.text.contrastive_loss(s), 1.25 * size, says, atol=1e-5, rtol=1e-5)


@contrastive
def test_slopes_of_scores(student):
    """gradients reach every score: what both softmaxes say, less the pairs"""
    a = math.log(3)
    s = torch.tensor([[a, 0.0], [0.0, 0.0]], dtype=torch.float64)
    (got,) = student.gradient("text.contrastive_loss", s, wrt=[s])
    want = torch.tensor([[-0.125, 0.1875], [0.1875, -0.25]])
    says = "(p(text | image) + p(image | text) − 2 [pair]) / 2N"
    expect.close(got, want, says, what="the gradient", **DOUBLE)
    s = 1e4 * torch.tensor([[0.0, 1.0], [3.0, 2.0]])
    (got,) = student.gradient("text.contrastive_loss", s, wrt=[s])
    want = torch.tensor([[-0.5, 0.25], [0.5, -0.25]])
    expect.close(got, want, f"{says}, for large scores", what="the gradient")


@contrastive
def test_scores_that_are_not_square(student):
    """scores that are not (n, n) are refused with a ValueError"""
    for shape in ((2, 3), (3, 2), (4,), (2, 2, 2), (0, 0)):
        says = f"scores {shape} must be refused: leave the lines above yours as they are"
        s = waves(*shape)
        expect.raises("ValueError", lambda s=s: student.text.contrastive_loss(s), says)


# --- text.token_count ---------------------------------------------------------------------------


def counts(got, want, says):
    whole = isinstance(got, int) and not isinstance(got, bool)
    expect.true(whole, "the number of tokens must be a whole number, an int", got, want)
    expect.true(got == want, says, got, want)


@token_count
def test_models(student):
    """FLUX.1 makes 4096 tokens of 1024×1024 pixels; others"""
    says = "1024×1024×3 → 128×128×16 → 64×64 tokens (slide 102 says 1024)"
    counts(student.text.token_count(1024, 1024, 8, 2), 4096, says)
    counts(student.text.token_count(256, 256, 8, 2), 256, "DiT-XL/2 at 256×256")
    counts(student.text.token_count(256, 256, 8, 8), 16, "DiT-XL/8 at 256×256")
    counts(student.text.token_count(1024, 1024, 32, 1), 1024, "Sana, which makes D = 32")
    says = "928×1664 pixels: 58 rows of 104"
    counts(student.text.token_count(928, 1664, 8, 2), 6032, says)


@token_count
def test_words_beside_the_image(student):
    """words are tokens too"""
    says = "Stable Diffusion 3, 77 + 77 words"
    counts(student.text.token_count(1024, 1024, 8, 2, 154), 4250, says)
    got = student.text.token_count(height=24, width=12, downsampling=3, patch=4, words=5)
    counts(got, 7, "24×12 pixels with D = 3, P = 4 and 5 words")
    counts(student.text.token_count(6, 4, 1, 1, words=0), 24, "each pixel is a token")


@token_count
def test_sides_that_do_not_fit(student):
    """a side that D · P does not divide is refused, and the message names the multiples next to
    it"""
    for h, w in ((1024, 1001), (1001, 1024), (993, 16), (16, 1007)):
        for near in ("992", "1008"):
            says = f"{h}×{w} must be refused for D = 8 and P = 2, and the message name {near}"
            call = lambda h=h, w=w: student.text.token_count(h, w, 8, 2)  # noqa: E731
            refused(call, near, says)


@token_count
def test_sides_that_fit_latents_and_no_patches(student):
    """what D divides may not be divided by D · P; a side below D · P is refused as well"""
    for h, w in ((1032, 1024), (1024, 1032), (24, 40)):
        says = f"{h}×{w} must be refused for D = 8 and P = 2: 16 does not divide it"
        call = lambda h=h, w=w: student.text.token_count(h, w, 8, 2)  # noqa: E731
        expect.raises("ValueError", call, says)
    for h, w in ((4, 15), (15, 4), (3, 5)):
        says = f"{h}×{w} must be refused for D = 5 and P = 3, and the message name 15"
        refused(lambda h=h, w=w: student.text.token_count(h, w, 5, 3), "15", says)


@token_count
def test_numbers_that_are_not_positive(student):
    """sides, D or P that are not positive, and a negative number of words, are refused"""
    for sizes in ((0, 32, 4, 2, 0), (64, -32, 4, 2, 0), (64, 32, 0, 2, 0), (64, 32, 4, 0, 0),
                  (64, 32, 4, 2, -1), (-64, -32, 4, 2, 0), (64, 32, -4, -2, 0)):  # fmt: skip
        says = f"height, width, D, P and words {sizes}: leave the lines above yours as they are"
        expect.raises("ValueError", lambda s=sizes: student.text.token_count(*s), says)
