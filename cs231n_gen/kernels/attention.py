"""softmax(q kᵀ · scale) v without the T × S matrix of scores (slides 98–100; Dao et al. 2022).

A softmax over keys that come tile by tile keeps the peak m so far, and adds up weights relative to
it, l = Σ 2^(score − m); when the peak moves, what was added up fades by 2^(m − new m). Scores are
in bits: scale · log₂ e takes the place of scale, since a GPU computes 2^x faster than e^x. For the
backward pass each query leaves m and 1/l, apart: in the sum of m and log₂ l digits would be lost.
"""

import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cs231n_gen.kernels.attention_backward import delta_of, key_gradients, query_gradient
from cs231n_gen.kernels.attention_tiles import in_rows, keep, numbers, programs, tile
from cs231n_gen.kernels.launch import check_alike, check_shape, tl, triton, uses_kernel

WIDEST = 128  # numbers of a head: tiles of q, k, v and of their gradients must fit on the chip


@triton.jit
def attend(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The peak m, the sum l of weights, and O, the sum of weights · v, after more keys.

    The score of a query and a key is scale · q · k, in bits; m is a query's largest so far, and a
    key that it sees has the weight 2^(score − m). For each tile of keys: the new peak is the larger
    of m and the tile's largest score; l and O fade by 2^(m − new peak); then the weights of the
    tile, relative to the new peak, are added to l, and weights · v to O. A key that a query does
    not see neither raises its peak nor adds to its sums, whatever its numbers are.

    All is in fp32, but for what `tl.dot` multiplies: tiles as they were loaded, and the weights in
    the dtype of v. With input_precision="ieee" it does not round fp32 to TF32.

    Args:
        Q: queries first … first + ROWS − 1, (ROWS, BLOCK), 0 beyond the last one and beyond D.
        k, v: pointers to the keys and values of this head, S of them: number d of token s is at
            s · k_token + d, and s · v_token + d. `tile` loads a tile of them.
        visible: pointer to S bytes, 0 where a key is hidden from all queries; or None.
        m, l, O: before these keys, fp32, (ROWS,), (ROWS,) and (ROWS, BLOCK). At the very first m is
            −∞, l and O are 0: then each query sees a key of the first tile. Later a tile may hold
            none that it sees.
        begin, end: the keys to attend to, begin … end − 1, KEYS at a time.
        scale: scale · log₂ e, which is positive.
        MASKED: whether there are keys in these tiles that not all of the queries see. If so, query
            t sees key s if s < S, s ≤ t (only if CAUSAL) and visible[s] ≠ 0 (unless it is None). If
            not, all see all, and end − begin is a multiple of KEYS.
        D, BLOCK: the numbers of a token, and a power of 2 that is at least D and 16.
    Returns:
        m, l and O after these keys, shaped as before.
    """
    ### BEGIN SOLUTION
    t = first + tl.arange(0, ROWS)[:, None]
    for start in range(begin, end, KEYS):
        s = start + tl.arange(0, KEYS)[None, :]
        K = tile(k, start, k_token, S, KEYS, D, BLOCK)
        score = tl.dot(Q, tl.trans(K), input_precision="ieee")
        if MASKED:
            seen = s < S
            if CAUSAL:
                seen = seen & (s <= t)
            if visible is not None:
                seen = seen & (tl.load(visible + s, mask=s < S, other=0) != 0)
            score = tl.where(seen, score, float("-inf"))
        peak = tl.maximum(m, scale * tl.max(score, 1))
        P = tl.exp2(scale * score - peak[:, None])
        fade = tl.exp2(m - peak)
        l = l * fade + tl.sum(P, 1)
        V = tile(v, start, v_token, S, KEYS, D, BLOCK)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O
    ### END SOLUTION


@triton.jit
def kernel(
    q, k, v, visible, out, stats, q_example, q_head, q_token, k_example, k_head, k_token,
    v_example, v_head, v_token, heads, T, S, scale, UNIT: tl.constexpr, CAUSAL: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Program i handles queries j·ROWS … of a head, all j of the first head first.

    Args:
        q: pointer to (batch, heads, T, D) elements; those of a token are contiguous, and three
            strides, in units of UNIT elements, say how far it is to the next example, head, token.
        k, v: likewise, of S tokens.
        visible: pointer to (batch, S) bytes, 0 where a key is hidden, or None. A query sees a key
            of the first tile.
        out: pointer to (batch, heads, T, D) elements in contiguous memory.
        stats: pointer to (batch, heads, 2, T) fp32 numbers, m and 1/l, for the backward pass.
        scale: scale · log₂ e.
        CAUSAL: whether query t sees keys 0 … t alone.
        BLOCK: a power of 2, at least D.
    """
    blocks = tl.cdiv(T, ROWS)
    head, first = (tl.program_id(0) // blocks).to(tl.int64), tl.program_id(0) % blocks * ROWS
    example, h = head // heads, head % heads
    q += (example * q_example + h * q_head) * UNIT
    k += (example * k_example + h * k_head) * UNIT
    v += (example * v_example + h * v_head) * UNIT
    Q = tile(q, first, q_token * UNIT, T, ROWS, D, BLOCK)
    m = tl.full([ROWS], float("-inf"), tl.float32)
    l = tl.zeros([ROWS], tl.float32)
    O = tl.zeros([ROWS, BLOCK], tl.float32)
    end = tl.minimum(S, first + ROWS) if CAUSAL else S
    open_end = (tl.minimum(S, first + 1) if CAUSAL else S) // KEYS * KEYS  # all queries see these
    if visible is not None:
        visible += example * S
        open_end = 0
    m, l, O = attend(
        Q, k, v, None, m, l, O, first, 0, open_end, S, k_token * UNIT, v_token * UNIT, scale,
        False, CAUSAL, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    m, l, O = attend(
        Q, k, v, visible, m, l, O, first, open_end, end, S, k_token * UNIT, v_token * UNIT, scale,
        True, CAUSAL, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    keep(out + head * T * D, O / l[:, None], first, T, ROWS, D, BLOCK)
    t = first + tl.arange(0, ROWS)
    tl.store(stats + head * 2 * T + t, m, mask=t < T)
    tl.store(stats + head * 2 * T + T + t, 1 / l, mask=t < T)


def reference(
    q: Tensor, k: Tensor, v: Tensor, causal: bool = False, scale: float | None = None
) -> Tensor:
    """The same in torch, with all T × S scores in memory."""
    score = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if causal:
        past = torch.ones(score.shape[-2:], dtype=torch.bool, device=q.device).tril()
        score = score.masked_fill(~past, float("-inf"))
    return score.softmax(-1) @ v


def attention(
    q: Tensor, k: Tensor, v: Tensor, causal: bool = False, scale: float | None = None
) -> Tensor:
    """softmax(q kᵀ · scale) v for each head of each example.

    4 · T · S · D operations for each head, and in the backward pass 14: 10 are its own, the scores
    and their gradients are computed twice, so that no two programs add to one number. Twice the
    same gradients, bit for bit. Slices of one tensor of q, k and v are read where they lie, if the
    numbers of a token are contiguous; other strides cost a copy.

    Args:
        q: (batch, heads, tokens, dim), dim at most 128, of any strides.
        k, v: (batch, heads, keys, dim), of any strides.
        causal: whether query t sees keys 0 … t alone.
        scale: a positive number; 1/√dim if None.
    Returns:
        (batch, heads, tokens, dim), a new tensor. It can be differentiated once.
    Raises:
        ValueError: if shapes, dtypes or devices do not agree, dim is over 128, or scale is not
            positive.
    """
    check_heads("q", q)
    check_alike(k=k, v=v)
    check_heads("k", k)
    check_shape("k", k, (*q.shape[:2], k.shape[2], q.shape[3]), like=q)
    if k.dtype != q.dtype:
        raise ValueError(f"k must be {q.dtype} like q, got {k.dtype}")
    scale = checked_scale(scale, q.shape[-1])
    if not uses_kernel(q, k, v) or not q.numel() or not k.numel():
        return reference(q, k, v, causal, scale)
    return TiledAttention.apply(q, k, v, causal, scale)


class TiledAttention(torch.autograd.Function):
    """Attention; the result is kept for the backward pass with log₂ Σ 2^score of each query."""

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
        q, k, v = in_rows(q), in_rows(k), in_rows(v)
        out = q.new_empty(q.shape)
        stats = q.new_empty((*q.shape[:2], 2, q.shape[2]), dtype=torch.float32)
        sizes, options = numbers("kernel", q, k, v, causal, scale)
        kernel[programs(q, options["ROWS"])](q, k, v, None, out, stats, *sizes, **options)
        ctx.causal, ctx.scale = causal, scale
        ctx.save_for_backward(q, k, v, out, stats)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, stats = ctx.saved_tensors
        upstream = upstream.contiguous()
        given = q, k, v, upstream, stats, delta_of(out, upstream), ctx.causal, ctx.scale
        d_q = d_k = d_v = None
        if any(ctx.needs_input_grad[1:3]):
            d_k, d_v = key_gradients(*given)
        if ctx.needs_input_grad[0]:
            d_q = query_gradient(*given)
        return d_q, d_k, d_v, None, None


def check_heads(name: str, x: Tensor) -> None:
    """Raise ValueError unless x is (batch, heads, tokens, dim) and dim is not too large."""
    if x.dim() != 4 or not 0 < x.shape[-1] <= WIDEST:
        says = f"(batch, heads, tokens, dim), dim in 1 … {WIDEST}"
        raise ValueError(f"{name} must be {says}, got {tuple(x.shape)}")


def checked_scale(scale: float | None, dim: int) -> float:
    """The scale, 1/√dim if it is None; ValueError unless it is positive."""
    scale = dim**-0.5 if scale is None else float(scale)
    if not 0 < scale < math.inf:
        raise ValueError(f"scale must be a positive number, got {scale}")
    return scale
