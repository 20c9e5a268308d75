"""Public checks of chapter 14: kernels.joint_attention."""

import pytest
import torch

from cs231n_gen.checking.kernels.stages import Exact, Stages

joint = pytest.mark.exercise("kernels.joint_attention.kernel")


def reference(image_qkv, text_qkv, text_mask=None, scale=None):
    q, k, v = (torch.cat(pair, dim=2) for pair in zip(image_qkv, text_qkv, strict=True))
    images = image_qkv[0].shape[2]
    score = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if text_mask is not None:
        padding = torch.cat([text_mask.new_zeros(len(q), images), ~text_mask], dim=1)
        score = score.masked_fill(padding[:, None, None], float("-inf"))
    out = score.softmax(-1) @ v
    return out[:, :, :images], out[:, :, images:]


def on(student, args):
    """A result adds up values by weights that come of sums of D products."""
    keys = args[0][1].shape[2] + args[1][1].shape[2]
    adds = keys * args[0][0].shape[-1] if args[0][0].dtype == torch.float32 else 1
    exact = Exact(reference, sums={0: adds, 1: adds}, rounds=True)
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
