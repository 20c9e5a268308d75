"""Hidden grader of chapter 14, kernels.joint_attention: closed forms, invariances, float64."""

import math

import pytest
import torch
import torch.nn.functional as F

from cs231n_gen.checking import draws, expect
from cs231n_gen.checking.kernels.by_hand import left
from cs231n_gen.checking.kernels.stages import DTYPES, Exact, Stages, checked

NAME = "kernels.joint_attention.joint_attention"


joint = pytest.mark.exercise("kernels.joint_attention.kernel")


def reference(image_qkv, text_qkv, text_mask=None, scale=None):
    (image_q, *image), (text_q, *text) = image_qkv, text_qkv
    out = attended(torch.cat([image_q, text_q], dim=2), *image, *text, text_mask, scale)
    images = image_q.shape[2]
    return out[:, :, :images], out[:, :, images:]


def attended(q, image_k, image_v, text_k, text_v, text_mask=None, scale=None):
    """What any queries get of both streams."""
    weight = scores(q, image_k, text_k, text_mask, scale).softmax(-1)
    return weight @ torch.cat([image_v, text_v], dim=2)


def scores(q, image_k, text_k, text_mask=None, scale=None):
    k = torch.cat([image_k, text_k], dim=2)
    score = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if text_mask is None:
        return score
    padding = torch.cat([text_mask.new_zeros(len(q), image_k.shape[2]), ~text_mask], dim=1)
    return score.masked_fill(padding[:, None, None], float("-inf"))


def terms(image_qkv, text_qkv, text_mask=None, scale=None):
    """√Σ (weight · value)²: weights, and nothing before them, are rounded to half precision."""
    found = []
    for q in (image_qkv[0], text_qkv[0]):
        weight = scores(q, image_qkv[1], text_qkv[1], text_mask, scale).softmax(-1)
        v = torch.cat([image_qkv[2], text_qkv[2]], dim=2)
        found.append((weight.square() @ v.square()).sqrt())
    return tuple(found)


def on(student, args):
    """A result adds up values by weights that come of sums of D products: keys · D numbers.

    In float32 alone: half precision rounds the result by far more than the sums are off.
    """
    keys = args[0][1].shape[2] + args[1][1].shape[2]
    adds = keys * args[0][0].shape[-1] if args[0][0].dtype == torch.float32 else 1
    return Stages(student, NAME, Exact(reference, (0, 1), sums={0: adds, 1: adds}, rounds=terms))


def example(generator, images, texts, D=16, batch=1, heads=1, dtype=torch.float32):
    def three(tokens):
        shape = (batch, heads, tokens, D)
        return tuple(torch.randn(shape, generator=generator).to(dtype) for _ in "qkv")

    return three(images), three(texts)


def words(texts, *lengths):
    return torch.arange(texts) < torch.tensor(lengths)[:, None]


def spread(x, row):
    """(batch, heads, tokens, D) as (batch, tokens, heads, row) in memory, NaN from D on; and its
    strides of examples, heads and tokens, in units of 8 numbers."""
    apart = F.pad(x.transpose(1, 2), (0, row - x.shape[-1]), value=float("nan")).contiguous()
    _, tokens, heads, _ = apart.shape
    return apart, [tokens * heads * row // 8, row // 8, heads * row // 8]


def launched(student, q, image_k, image_v, text_k, text_v, mask):
    """The result, and m and 1/l, of a launch where queries, image and text are spread apart."""
    (batch, heads, T, D), images, texts = q.shape, image_k.shape[2], text_k.shape[2]
    rows = [(q, 24), (image_k, 40), (image_v, 40), (text_k, 16), (text_v, 16)]
    apart, strides = zip(*(spread(x, row) for x, row in rows), strict=True)
    out = torch.full_like(q, float("nan"))
    stats = torch.full((batch, heads, 2, T), float("nan"))
    sizes = [*strides[0], *strides[1], *strides[3], heads, T, images, texts]
    seen = student.instruments.observe.launch(
        student.function("kernels.joint_attention.kernel"),
        [batch * heads * math.ceil(T / 32)],
        [*apart, mask.to(torch.uint8), out, stats, *sizes, D**-0.5 * math.log2(math.e)],
        {"UNIT": 8, "ROWS": 32, "KEYS": 16, "D": D, "BLOCK": 16},
    )
    return seen["args"][6:8]


def results(student, *args):
    seen = student.instruments.observe.call(student.function(NAME), [*args])
    both = expect.unpack(checked(seen)["results"], ["that of the image", "that of the text"])
    pairs = zip(both, args[:2], strict=True)
    return [expect.tensor(one, stream[0].shape) for one, stream in pairs]


# --- theory ---------------------------------------------------------------------------------------


@joint
def test_weights_add_up_to_1(student, generator):
    """correct: where all values are 1, so are the results"""
    (iq, ik, iv), (tq, tk, tv) = example(generator, 37, 9, heads=2)
    ones = results(student, (iq, ik, iv.fill_(1)), (tq, tk, tv.fill_(1)), words(9, 4))
    for one in ones:  # a sum of 46 weights in float32
        expect.close(one, torch.ones_like(one), "weights do not add up to 1", atol=1e-5, rtol=0)


@joint
def test_a_text_of_padding_is_as_good_as_none(student, generator):
    """correct: with a text that is all padding, the image attends to itself"""
    image, text = example(generator, 37, 9)
    q, k, v = image
    own = (q @ k.mT / 4).softmax(-1) @ v
    got = results(student, image, text, words(9, 0))[0]
    expect.close(
        got, own, "padding has an influence", atol=1e-5, rtol=1e-5
    )  # of float32, sums of 37 · 16


@joint
def test_padding_has_no_influence(student, generator):
    """correct: what stands in padding changes nothing, not even by a bit"""
    image, (tq, tk, tv) = example(generator, 20, 9, batch=2)
    mask = words(9, 3, 7)
    other = [torch.where(mask[:, None, :, None], x, 100 * torch.ones_like(x)) for x in (tk, tv)]
    one, two = (
        results(student, image, (tq, tk, tv), mask),
        results(student, image, (tq, *other), mask),
    )
    same = all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    expect.true(same, "numbers in padding change the result")


@joint
def test_the_order_of_keys_does_not_matter(student, generator):
    """correct: keys may stand in any order, and in either stream"""
    (iq, ik, iv), (tq, tk, tv) = example(generator, 21, 13)
    order = torch.randperm(34, generator=generator)
    k, v = (torch.cat(pair, dim=2)[:, :, order] for pair in ((ik, tk), (iv, tv)))
    one = results(student, (iq, ik, iv), (tq, tk, tv))
    two = results(student, (iq, k[:, :, :21], v[:, :, :21]), (tq, k[:, :, 21:], v[:, :, 21:]))
    for a, b in zip(one, two, strict=True):  # sums of 34 · 16 numbers in float32, in another order
        expect.close(a, b, "the result depends on the order of the keys", atol=1e-5, rtol=1e-5)


# --- against float64 ------------------------------------------------------------------------------


@joint(weight=3)
def test_every_size(student, generator):
    """correct: one token, whole tiles, and one more than a tile, in either stream"""
    more = [int(n) for n in torch.randint(2, 70, (2,), generator=generator)]
    for images, texts in ((1, 1), (32, 5), (33, 32), (65, 7), more):
        args = example(generator, images, texts, heads=2)
        on(student, args).correct(*args)


@joint
def test_heads_of_any_width(student, generator):
    """correct: for heads of 1, 17 and 40 numbers, and another scale"""
    for D in (1, 17, 40):
        args = example(generator, 12, 9, D=D, heads=2)
        on(student, args).correct(*args, scale=0.3)


@joint(weight=2)
def test_masks(student, generator):
    """correct: with a text of another length in every example"""
    lengths = [int(n) for n in torch.randint(0, 12, (3,), generator=generator)]
    args = (*example(generator, 10, 11, batch=3), words(11, *lengths))
    on(student, args).correct(*args)


@joint
def test_every_dtype(student, generator):
    """correct: in float32, float16 and bfloat16, as exact as torch"""
    for dtype in DTYPES:
        args = (*example(generator, 20, 12, dtype=dtype), words(12, 9))
        on(student, args).correct(*args)


@joint
def test_any_layout(student, generator):
    """correct: for strided, transposed and expanded tensors too"""
    for layout in ("strided", "transposed", "expanded"):
        args = example(generator, 12, 7, batch=2, heads=2)
        on(student, args).correct(*args, layout=layout)


@joint(weight=2)
def test_every_stride_is_its_own(student, generator):
    """correct: wherever queries, image and text lie; m and l are those of the scores"""
    T, images, texts = (draws.whole(generator, *of) for of in ((33, 48), (33, 48), (17, 32)))
    (q, *_), _ = example(generator, T, 1, 12, batch=2, heads=2)
    (_, *image), (_, *text) = example(generator, images, texts, 12, batch=2, heads=2)
    mask = words(texts, draws.whole(generator, 0, texts), draws.whole(generator, 1, texts))
    args = [q, *image, *text, mask]
    out, stats = launched(student, *args)
    says = "the result is wrong where queries, image and text have strides of their own"
    Exact(attended, sums={0: (images + texts) * 12}).judge_results([out], args, {}, says)
    m, r = expect.tensor(stats, (2, 2, 2, T), "m and 1/l").double().unbind(2)
    bits = scores(*(x.double() for x in (q, image[0], text[0])), mask) / math.log(2)
    expect.close(m, bits.amax(-1), "m is not the largest score that a query sees, in bits")
    want = (bits - bits.amax(-1, keepdim=True)).exp2().sum(-1)
    expect.close(1 / r, want, "1/l is not 1 / Σ 2^(score − m): the gradients need it")


@joint
def test_examples_beyond_32_bits(student, generator):
    """correct: an example that begins beyond element 2³¹ of all tensors is read where it is"""
    T = images = texts = 16
    i, mask = 2**27 + draws.whole(generator, 9, 900), words(texts, 11)
    (q, *image), (_, *text) = example(generator, T, texts)
    stats, out = torch.full((1, 1, 2, T), -7.0), torch.full_like(q, -7.0)
    given = [q, *image, *text, mask.to(torch.uint8), out, stats]
    sizes = 3 * [T * 2, 0, 2] + [1, T, images, texts, 0.25 * math.log2(math.e)]
    constants = {"UNIT": 8, "ROWS": 16, "KEYS": 16, "D": 16, "BLOCK": 16}
    where = {"programs": [[i]], "begins": [i * x.numel() for x in given]}
    says, name = (
        "an example that begins beyond element 2³¹ is lost",
        "kernels.joint_attention.kernel",
    )
    *_, out, _ = left(student, name, [i + 1], given + sizes, constants, says, **where)
    args = ((q, *image), (q, *text), mask)
    want = reference(*args)[0]
    expect.close(out, want, says, atol=1e-5, rtol=1e-5)  # sums of 32 · 16 numbers in float32


@joint
def test_what_is_left_for_the_backward_pass(student, generator):
    """backward: m and 1/l are stored as the given backward kernels need them"""
    args = (*example(generator, 20, 14, heads=2), words(14, 11))
    stages = on(student, args)
    # A gradient adds up the same numbers, by weights of its own; sums over up to 34 queries.
    names = [f"{name}[{i}]" for name in ("image_qkv", "text_qkv") for i in range(3)]
    stages.exact.sums |= dict.fromkeys(names, 34 * 34 * 16)
    stages.backward(*args, upstream=torch.ones_like)


# --- as the instruments see it --------------------------------------------------------------------


@joint(weight=2)
def test_safe(student, generator):
    """safe: nothing outside of the tensors is touched, and no two programs meet"""
    args = (*example(generator, 37, 5, D=17, batch=2), words(5, 5, 3))
    on(student, args).safe(*args)


@joint
def test_honest(student, generator):
    """honest: the kernel does the work, all of it, every time"""
    args, others = (example(generator, 40, 30, heads=2) for _ in range(2))
    on(student, args).honest(args, others)


@joint
def test_lean(student, generator):
    """lean: queries and results once, keys and values once for each tile of queries"""
    args = example(generator, 50, 20, heads=2)
    numbers, tokens = 2 * 70 * 16, 2 * 70  # one tile of 64 queries for each stream of a head
    least = 4 * (2 * numbers + 2 * 2 * numbers + 2 * tokens)  # and m and 1/l of each query
    on(student, args).lean(1.1, *args, least=least)


@joint
def test_compiles(student, generator):
    """compiles: for an H100, with instructions for matrices, without spills"""
    args = example(generator, 8, 5)
    large = example(generator, 256, 64, D=64, dtype=torch.bfloat16)
    on(student, args).compiles(args, large)
