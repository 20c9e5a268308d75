"""Attention over image and text together, each in tensors of its own (slides 98–102).

MM-DiT (SD3, Esser et al. 2024) projects image tokens and text tokens by weights of their own, and
lets every token attend to the tokens of both. Here both are read where they lie: queries attend to
the keys of the image, then to those of the text, and nothing is joined in memory.
"""

import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cs231n_gen.kernels.attention import attend, check_heads, checked_scale
from cs231n_gen.kernels.attention_backward import delta_of, keys_backward, queries_backward
from cs231n_gen.kernels.attention_tiles import in_rows, in_units, keep, programs, tile, tiles
from cs231n_gen.kernels.launch import check_alike, check_shape, tl, triton, uses_kernel


@triton.jit
def kernel(
    q, image_k, image_v, text_k, text_v, visible, out, stats, q_example, q_head, q_token,
    image_example, image_head, image_token, text_example, text_head, text_token,
    heads, T, images, texts, scale, UNIT: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Program i handles queries j·ROWS … of a head, all j of the first head first; the queries are
    those of the image or those of the text. Where an example begins is counted in int64.

    They attend to all keys of the image and to the visible ones of the text, as if these stood in
    one tensor: `attend` goes on with the m, l and O that come of it. The image comes first, since a
    text may be all padding; its whole tiles of keys need no mask. The result is O / l.

    Args:
        q: pointer to (batch, heads, T, D) elements; those of a token are contiguous, and three
            strides, in units of UNIT elements, say how far it is to the next example, head, token.
        image_k, image_v: likewise, of `images` tokens, at least 1; both have the same strides.
        text_k, text_v: likewise, of `texts` tokens.
        visible: pointer to (batch, texts) bytes, 0 where a key is padding; or None: all are words.
        out: pointer to (batch, heads, T, D) elements in contiguous memory.
        stats: pointer to (batch, heads, 2, T) fp32 numbers, m and 1/l, which are stored for the
            backward pass: of each head m of all its queries, then 1/l of all.
        scale: scale · log₂ e.
        BLOCK: a power of 2, at least D and 16.
    """
    ### BEGIN SOLUTION
    blocks = tl.cdiv(T, ROWS)
    head, first = (tl.program_id(0) // blocks).to(tl.int64), tl.program_id(0) % blocks * ROWS
    example, h = head // heads, head % heads
    image = (example * image_example + h * image_head) * UNIT
    text = (example * text_example + h * text_head) * UNIT
    q += (example * q_example + h * q_head) * UNIT
    Q = tile(q, first, q_token * UNIT, T, ROWS, D, BLOCK)
    m, l = tl.full([ROWS], float("-inf"), tl.float32), tl.zeros([ROWS], tl.float32)
    O = tl.zeros([ROWS, BLOCK], tl.float32)
    m, l, O = attend(
        Q, image_k + image, image_v + image, None, m, l, O, first, 0, images // KEYS * KEYS,
        images, image_token * UNIT, image_token * UNIT, scale, False, False, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    m, l, O = attend(
        Q, image_k + image, image_v + image, None, m, l, O, first, images // KEYS * KEYS, images,
        images, image_token * UNIT, image_token * UNIT, scale, True, False, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    if visible is not None:
        visible += example * texts
    m, l, O = attend(
        Q, text_k + text, text_v + text, visible, m, l, O, first, 0, texts,
        texts, text_token * UNIT, text_token * UNIT, scale, True, False, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    keep(out + head * T * D, O / l[:, None], first, T, ROWS, D, BLOCK)
    t = first + tl.arange(0, ROWS)
    tl.store(stats + head * 2 * T + t, m, mask=t < T)
    tl.store(stats + head * 2 * T + T + t, 1 / l, mask=t < T)
    ### END SOLUTION


@triton.jit
def backward_kernel(
    k, v, visible, image_q, image_upstream, image_stats, image_delta,
    text_q, text_upstream, text_stats, text_delta, d_k, d_v, k_example, k_head, k_token,
    image_example, image_head, image_token, text_example, text_head, text_token,
    heads, S, images, texts, scale, UNIT: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Program i handles the gradients of keys and values j·KEYS … of a head, from all queries; the
    keys are those of the image or those of the text.

    Args:
        k, v: pointers to (batch, heads, S, D) elements, like q in `kernel`.
        visible: pointer to (batch, S) bytes, 0 where a key is padding; or None.
        image_q, text_q, strides, scale and constants: as in `kernel`.
        image_upstream, text_upstream: pointers to (batch, heads, tokens, D) elements that lie side
            by side.
        image_stats, image_delta, text_stats, text_delta: pointers to (batch, heads, 2, tokens) fp32
            numbers, m and 1/l of each query, and to (batch, heads, tokens).
        d_k, d_v: pointers to (batch, heads, S, D) elements in contiguous memory.
    """
    blocks = tl.cdiv(S, KEYS)
    head, first = (tl.program_id(0) // blocks).to(tl.int64), tl.program_id(0) % blocks * KEYS
    example, h = head // heads, head % heads
    image_q += (example * image_example + h * image_head) * UNIT
    text_q += (example * text_example + h * text_head) * UNIT
    at = (example * k_example + h * k_head) * UNIT
    K = tile(k + at, first, k_token * UNIT, S, KEYS, D, BLOCK)
    V = tile(v + at, first, k_token * UNIT, S, KEYS, D, BLOCK)
    d_K, d_V = tl.zeros([KEYS, BLOCK], tl.float32), tl.zeros([KEYS, BLOCK], tl.float32)
    d_K, d_V = keys_backward(
        K, V, d_K, d_V, image_q, image_upstream + head * images * D,
        image_stats + head * 2 * images, image_delta + head * images,
        first, 0, images, images, image_token * UNIT, scale, False, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    d_K, d_V = keys_backward(
        K, V, d_K, d_V, text_q, text_upstream + head * texts * D,
        text_stats + head * 2 * texts, text_delta + head * texts,
        first, 0, texts, texts, text_token * UNIT, scale, False, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    if visible is not None:  # weights of padding may be ∞, each in a row of its own
        s = first + tl.arange(0, KEYS)[:, None]
        seen = tl.load(visible + example * S + s, mask=s < S, other=0) != 0
        d_K, d_V = tl.where(seen, d_K, 0.0), tl.where(seen, d_V, 0.0)
    keep(d_k + head * S * D, d_K * (scale * 0.6931471805599453), first, S, KEYS, D, BLOCK)  # · ln 2
    keep(d_v + head * S * D, d_V, first, S, KEYS, D, BLOCK)


@triton.jit
def query_backward_kernel(
    q, image_k, image_v, text_k, text_v, visible, upstream, stats, delta, d_q,
    q_example, q_head, q_token, image_example, image_head, image_token,
    text_example, text_head, text_token, heads, T, images, texts, scale, UNIT: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Program i handles the gradient of queries j·ROWS … of a head, from all keys.

    Args:
        q, keys and values, visible, strides, scale and constants: as in `kernel`.
        upstream: pointer to (batch, heads, T, D) elements in contiguous memory.
        stats, delta: pointers to (batch, heads, 2, T) fp32 numbers, m and 1/l of each query, and to
            (batch, heads, T).
        d_q: pointer to (batch, heads, T, D) elements in contiguous memory.
    """
    blocks = tl.cdiv(T, ROWS)
    head, first = (tl.program_id(0) // blocks).to(tl.int64), tl.program_id(0) % blocks * ROWS
    example, h = head // heads, head % heads
    image = (example * image_example + h * image_head) * UNIT
    text = (example * text_example + h * text_head) * UNIT
    q += (example * q_example + h * q_head) * UNIT
    Q = tile(q, first, q_token * UNIT, T, ROWS, D, BLOCK)
    G = tile(upstream + head * T * D, first, D, T, ROWS, D, BLOCK)
    t = first + tl.arange(0, ROWS)[:, None]
    m = tl.load(stats + head * 2 * T + t, mask=t < T, other=float("inf"))
    r = tl.load(stats + head * 2 * T + T + t, mask=t < T, other=0.0)
    A = tl.load(delta + head * T + t, mask=t < T, other=0.0)
    d_Q = tl.zeros([ROWS, BLOCK], tl.float32)
    d_Q = queries_backward(
        Q, G, m, r, A, d_Q, image_k + image, image_v + image, None, first, 0, images,
        images, image_token * UNIT, image_token * UNIT, scale, True, False, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    if visible is not None:
        visible += example * texts
    d_Q = queries_backward(
        Q, G, m, r, A, d_Q, text_k + text, text_v + text, visible, first, 0, texts,
        texts, text_token * UNIT, text_token * UNIT, scale, True, False, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    keep(d_q + head * T * D, d_Q * (scale * 0.6931471805599453), first, T, ROWS, D, BLOCK)


Three = tuple[Tensor, Tensor, Tensor]


def reference(
    image_qkv: Three, text_qkv: Three, text_mask: Tensor | None = None, scale: float | None = None
) -> tuple[Tensor, Tensor]:
    """The same in torch: both are joined, and all scores are in memory."""
    q, k, v = (torch.cat(pair, dim=2) for pair in zip(image_qkv, text_qkv, strict=True))
    images = image_qkv[0].shape[2]
    score = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if text_mask is not None:
        padding = torch.cat([text_mask.new_zeros(len(q), images), ~text_mask], dim=1)
        score = score.masked_fill(padding[:, None, None], float("-inf"))
    out = score.softmax(-1) @ v
    return out[:, :, :images], out[:, :, images:]


def joint_attention(
    image_qkv: Three, text_qkv: Three, text_mask: Tensor | None = None, scale: float | None = None
) -> tuple[Tensor, Tensor]:
    """Attention of image tokens and text tokens to image tokens and text tokens.

    As many operations as `attention` of both together, and no copy of the two, if q, k and v of an
    image (of a text) have the same strides and the numbers of a token are contiguous, as slices
    of one tensor have. Twice the same gradients, bit for bit.

    Args:
        image_qkv: q, k and v of the images, (batch, heads, image tokens, dim), dim at most 128.
        text_qkv: of the texts, (batch, heads, text tokens, dim).
        text_mask: (batch, text tokens) bool, True for words and False for padding, to which no
            token attends; all are words if None. Padding attends too: what comes is to be ignored.
        scale: a positive number; 1/√dim if None.
    Returns:
        (batch, heads, image tokens, dim) and (batch, heads, text tokens, dim), new tensors. They
        can be differentiated once.
    Raises:
        ValueError: if shapes, dtypes or devices do not agree, or dim or scale is out of bounds.
    """
    for name, three in [("image", image_qkv), ("text", text_qkv)]:
        if len(three) != 3:
            raise ValueError(f"{name}_qkv must be (q, k, v), got {len(three)} tensors")
        check_alike(**dict(zip((f"{name} q", f"{name} k", f"{name} v"), three, strict=True)))
        check_heads(f"{name} q", three[0])
    image, text = image_qkv[0], text_qkv[0]
    batch, heads, _, dim = image.shape
    check_shape("text q", text, (batch, heads, text.shape[2], dim), like=image)
    if text.dtype != image.dtype:
        raise ValueError(f"text q must be {image.dtype} like image q, got {text.dtype}")
    if text_mask is not None:
        check_shape("text_mask", text_mask, (batch, text.shape[2]), like=image)
        if text_mask.dtype != torch.bool:
            raise ValueError(f"text_mask must be torch.bool, got {text_mask.dtype}")
    scale = checked_scale(scale, dim)
    if not uses_kernel(image, text) or not image.numel() or not text.numel():
        return reference(image_qkv, text_qkv, text_mask, scale)
    return TiledJointAttention.apply(*image_qkv, *text_qkv, text_mask, scale)


class TiledJointAttention(torch.autograd.Function):
    """Joint attention: each kernel is launched for the image, then for the text."""

    @staticmethod
    def forward(ctx, *args) -> tuple[Tensor, Tensor]:
        *six, text_mask, scale = args
        image, text = _alike(*six[:3]), _alike(*six[3:])
        visible = None if text_mask is None else text_mask.to(torch.uint8).contiguous()
        ctx.scale = scale * math.log2(math.e)
        outs, stats = [], []
        for q in (image[0], text[0]):
            out = q.new_empty(q.shape)
            stats.append(q.new_empty((*q.shape[:2], 2, q.shape[2]), dtype=torch.float32))
            options, sizes = _sizes("kernel", q, image, text, ctx.scale)
            kernel[programs(q, options["ROWS"])](
                q, *image[1:], *text[1:], visible, out, stats[-1], *sizes, **options
            )
            outs.append(out)
        ctx.save_for_backward(*image, *text, *outs, *stats, visible)
        return tuple(outs)

    @staticmethod
    @once_differentiable
    def backward(ctx, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        *saved, visible = ctx.saved_tensors
        image, text, outs, stats = saved[:3], saved[3:6], saved[6:8], saved[8:]
        upstream = [g.contiguous() for g in upstream]
        delta = [delta_of(out, g) for out, g in zip(outs, upstream, strict=True)]
        back = [list(of) for of in zip((image[0], text[0]), upstream, stats, delta, strict=True)]
        gradients = []
        for (q, k, v), hidden, mine in [(image, None, back[0]), (text, visible, back[1])]:
            d_q, d_k, d_v = (q.new_empty(q.shape) for _ in "qkv")
            options, sizes = _sizes("query_backward_kernel", q, image, text, ctx.scale)
            query_backward_kernel[programs(q, options["ROWS"])](
                q, *image[1:], *text[1:], visible, *mine[1:], d_q, *sizes, **options
            )
            options, sizes = _sizes("backward_kernel", k, image, text, ctx.scale)
            backward_kernel[programs(k, options["KEYS"])](
                k, v, hidden, *back[0], *back[1], d_k, d_v, *sizes, **options
            )
            gradients += [d_q, d_k, d_v]
        return *gradients, None, None


def _alike(*three: Tensor) -> Three:
    """q, k and v with the same strides, the numbers of a token side by side: copies if need be."""
    three = tuple(in_rows(x) for x in three)
    return three if len({x.stride() for x in three}) == 1 else tuple(x.contiguous() for x in three)


def _sizes(name: str, mine: Tensor, image: Three, text: Three, scale: float) -> tuple[dict, list]:
    """Constants and options of a kernel, and the integers it takes, for a stream's own tokens."""
    unit, strides = in_units(mine, image[0], text[0])
    sizes = [*strides, *mine.shape[1:3], image[0].shape[2], text[0].shape[2], scale]
    return {"UNIT": unit, **tiles(name, mine)}, sizes
