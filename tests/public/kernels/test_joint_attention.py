"""Public checks of chapter 14: kernels.joint_attention."""

import math

import pytest
import torch

from cs231n_gen.checking import expect
from cs231n_gen.checking.kernels.by_hand import left
from cs231n_gen.checking.kernels.stages import Exact, Stages

joint = pytest.mark.exercise("kernels.joint_attention.kernel")


def reference(image_qkv, text_qkv, text_mask=None, scale=None):
    weight, v, images = *weighted(image_qkv, text_qkv, text_mask, scale), image_qkv[0].shape[2]
    out = weight @ v
    return out[:, :, :images], out[:, :, images:]


def terms(image_qkv, text_qkv, text_mask=None, scale=None):
    """√Σ (weight · value)²: weights, and nothing before them, are rounded to half precision."""
    weight, v, images = *weighted(image_qkv, text_qkv, text_mask, scale), image_qkv[0].shape[2]
    out = (weight.square() @ v.square()).sqrt()
    return out[:, :, :images], out[:, :, images:]


def weighted(image_qkv, text_qkv, text_mask=None, scale=None):
    """The weights of all tokens for all tokens, and their values."""
    q, k, v = (torch.cat(pair, dim=2) for pair in zip(image_qkv, text_qkv, strict=True))
    score = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if text_mask is not None:
        images = image_qkv[0].shape[2]
        padding = torch.cat([text_mask.new_zeros(len(q), images), ~text_mask], dim=1)
        score = score.masked_fill(padding[:, None, None], float("-inf"))
    return score.softmax(-1), v


def on(student, args):
    """A result adds up values by weights that come of sums of D products."""
    keys = args[0][1].shape[2] + args[1][1].shape[2]
    adds = keys * args[0][0].shape[-1] if args[0][0].dtype == torch.float32 else 1
    exact = Exact(reference, (0, 1), sums={0: adds, 1: adds}, rounds=terms)
    return Stages(student, "kernels.joint_attention.joint_attention", exact)


def example(generator, images, texts, D=16, batch=1, heads=1, dtype=torch.float32):
    def three(tokens):
        shape = (batch, heads, tokens, D)
        return tuple(torch.randn(shape, generator=generator).to(dtype) for _ in "qkv")

    return three(images), three(texts)


def words(texts, *lengths):
    return torch.arange(texts) < torch.tensor(lengths)[:, None]


@joint
@pytest.mark.parametrize(("images", "texts"), [(5, 3), (40, 7), (33, 37)], ids=str)
def test_both_streams(student, generator, images, texts):
    """correct: every token looks at the tokens of both streams"""
    args = example(generator, images, texts, heads=2)
    on(student, args).correct(*args)


@joint
def test_padding(student, generator):
    """correct: no token looks at padding, which each example has of its own"""
    args = (*example(generator, 9, 6, batch=2), words(6, 6, 2))
    on(student, args).correct(*args)


@joint
def test_half_precision(student, generator):
    """correct: in half precision"""
    args = example(generator, 20, 12, dtype=torch.float16)
    on(student, args).correct(*args)


@joint
def test_examples_beyond_32_bits(student, generator):
    """correct: an example that begins beyond element 2³¹ of all tensors is read where it is"""
    T = images = texts = 16
    i, mask = 2**27 + 231, words(texts, 11)
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
def test_heads_and_scale(student, generator):
    """correct: for heads of 17 numbers, and another scale"""
    args = example(generator, 12, 9, D=17, heads=2)
    on(student, args).correct(*args, scale=0.3)


@joint
def test_a_text_of_padding(student, generator):
    """correct: with a text that is all padding, the image attends to itself"""
    args = (*example(generator, 37, 9, batch=2), words(9, 0, 4))
    on(student, args).correct(*args)


@joint
def test_any_layout(student, generator):
    """correct: for strided tensors too"""
    args = example(generator, 12, 7, batch=2, heads=2)
    on(student, args).correct(*args, layout="strided")


@joint
def test_what_is_left_for_the_backward_pass(student, generator):
    """backward: m and 1/l are stored as the given backward kernels need them"""
    args = (*example(generator, 20, 14, heads=2), words(14, 11))
    stages = on(student, args)
    names = [f"{name}[{i}]" for name in ("image_qkv", "text_qkv") for i in range(3)]
    stages.exact.sums |= dict.fromkeys(names, 34 * 34 * 16)  # sums over up to 34 queries and keys
    stages.backward(*args)


@joint
def test_safe(student, generator):
    """safe: every access is inside, and no two programs meet"""
    args = (*example(generator, 37, 5, D=17, batch=2), words(5, 5, 3))
    on(student, args).safe(*args)


@joint
def test_lean(student, generator):
    """lean: queries and results once, keys and values once for each tile of queries"""
    args = example(generator, 40, 20)
    numbers = 60 * 16  # one tile of queries for each stream
    on(student, args).lean(1.1, *args, least=4 * (2 * numbers + 2 * 2 * numbers + 2 * 60))
