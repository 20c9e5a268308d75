"""The gradients of attention (Dao et al. 2022 and 2023): the weights are recomputed.

    P = softmax(q kᵀ · scale),  d_v = Pᵀ g,  d_S = P · (g vᵀ − Σ out · g),  d_q = scale · d_S k,
    d_k = scale · d_Sᵀ q,  with g the gradient of out and the sum over the numbers of a token

One kernel goes through the queries for a tile of keys, another through the keys for a tile of
queries, so that no two programs add to one number. Either has a wrapper: `key_gradients` and
`query_gradient`. The scale of scores is scale · log₂ e here, as in `attention`: 2^x for e^x.
"""

import torch
from torch import Tensor

from cs231n_gen.kernels.attention_tiles import in_rows, keep, numbers, programs, tile
from cs231n_gen.kernels.launch import tl, triton

DELTAS = 32  # rows that a program of `preprocess_kernel` does


@triton.jit
def preprocess_kernel(
    out, upstream, delta, n, ROWS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr
):
    """Program i writes delta = Σ out · upstream of rows i·ROWS …: what softmax subtracts, backward.

    It is the diagonal of a product of matrices, for the sake of rounding: d_P, of which delta is
    subtracted, is such a product. Where a query sees one key alone the two cancel exactly.

    Args:
        out, upstream: pointers to (n, D) elements in contiguous memory.
        delta: pointer to n fp32 numbers.
        BLOCK: a power of 2, at least D.
    """
    first = tl.program_id(0).to(tl.int64) * ROWS
    O = tile(out, first, D, n, ROWS, D, BLOCK)
    G = tile(upstream, first, D, n, ROWS, D, BLOCK)
    products = tl.dot(G, tl.trans(O), input_precision="ieee")
    r = tl.arange(0, ROWS)
    diagonal = tl.sum(tl.where(r[:, None] == r[None, :], products, 0.0), 1)
    tl.store(delta + first + r, diagonal, mask=first + r < n)


@triton.jit
def keys_backward(
    K, V, d_K, d_V, q, upstream, stats, delta, first, begin, end, T, q_token, scale,
    CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradients of a tile of keys and values after more queries; that of K lacks the scale.

    Everything is transposed, a key a row: P, (KEYS, ROWS), is 2^(score − m) / l with score = scale
    · k · q, and 0 where a query did not see the key. For each tile of queries d_V grows by P ·
    upstream, and d_K by d_S · q, with d_S = P · (v · upstream − delta).

    All is in fp32, but for what `tl.dot` multiplies: tiles as they were loaded, P in the dtype of
    upstream, d_S in that of q. With input_precision="ieee" it does not round fp32 to TF32.

    Args:
        K, V: keys and values first … first + KEYS − 1, (KEYS, BLOCK), 0 beyond the last key and
            beyond D. What comes of rows beyond the last key is not stored.
        d_K, d_V: the gradients before these queries, fp32, (KEYS, BLOCK).
        q, upstream: pointers to this head's T queries and to the gradients of their results: number
            d of token t is at t · q_token + d, and at t · D + d. `tile` loads a tile of them.
        stats: pointer to 2 · T fp32 numbers, m of each query and then 1/l of each query.
        delta: pointer to T fp32 numbers, Σ out · upstream of each query.
        begin, end: the queries that attended, begin … end − 1, ROWS at a time. Those of a last
            tile that are not there, t ≥ T, add nothing.
        scale: scale · log₂ e.
        CAUSAL: whether query t saw keys 0 … t alone.
        D, BLOCK: the numbers of a token, and a power of 2 that is at least D and 16.
    Returns:
        d_K and d_V after these queries, shaped as before.
    """
    ### BEGIN SOLUTION
    s = first + tl.arange(0, KEYS)[:, None]
    for start in range(begin, end, ROWS):
        t = start + tl.arange(0, ROWS)[None, :]
        Q = tile(q, start, q_token, T, ROWS, D, BLOCK)
        G = tile(upstream, start, D, T, ROWS, D, BLOCK)
        score = tl.dot(K, tl.trans(Q), input_precision="ieee")
        if CAUSAL:
            score = tl.where(s <= t, score, float("-inf"))
        m = tl.load(stats + t, mask=t < T, other=float("inf"))
        P = tl.exp2(scale * score - m) * tl.load(stats + T + t, mask=t < T, other=0.0)
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - tl.load(delta + t, mask=t < T, other=0.0))
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V
    ### END SOLUTION


@triton.jit
def backward_kernel(
    q, k, v, upstream, stats, delta, d_k, d_v, q_example, q_head, q_token,
    k_example, k_head, k_token, v_example, v_head, v_token, heads, T, S, scale,
    UNIT: tl.constexpr, CAUSAL: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Program i handles the gradients of keys and values j·KEYS … of a head, from all its queries.

    Args:
        q, k, v, scale, strides and constants: as in `kernel`.
        upstream: pointer to (batch, heads, T, D) elements in contiguous memory.
        stats, delta: pointers to (batch, heads, 2, T) fp32 numbers, m and 1/l of each query, and to
            (batch, heads, T).
        d_k, d_v: pointers to (batch, heads, S, D) elements in contiguous memory.
    """
    blocks = tl.cdiv(S, KEYS)
    head, first = (tl.program_id(0) // blocks).to(tl.int64), tl.program_id(0) % blocks * KEYS
    example, h = head // heads, head % heads
    q += (example * q_example + h * q_head) * UNIT
    K = tile(
        k + (example * k_example + h * k_head) * UNIT, first, k_token * UNIT, S, KEYS, D, BLOCK
    )
    V = tile(
        v + (example * v_example + h * v_head) * UNIT, first, v_token * UNIT, S, KEYS, D, BLOCK
    )
    d_K, d_V = tl.zeros([KEYS, BLOCK], tl.float32), tl.zeros([KEYS, BLOCK], tl.float32)
    begin = first // ROWS * ROWS if CAUSAL else 0
    d_K, d_V = keys_backward(
        K, V, d_K, d_V, q, upstream + head * T * D, stats + head * 2 * T, delta + head * T,
        first, begin, T, T, q_token * UNIT, scale, CAUSAL, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    keep(d_k + head * S * D, d_K * (scale * 0.6931471805599453), first, S, KEYS, D, BLOCK)  # · ln 2
    keep(d_v + head * S * D, d_V, first, S, KEYS, D, BLOCK)


@triton.jit
def queries_backward(
    Q, G, m, r, delta, d_Q, k, v, visible, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradient of a tile of queries after more keys, d_S · k; it lacks the scale.

    P, (ROWS, KEYS), is 2^(score − m) / l with score = scale · q · k, and 0 where a query did not
    see the key. For each tile of keys d_Q grows by d_S · k, with d_S = P · (upstream · v − delta).

    All is in fp32, but for what `tl.dot` multiplies: tiles as they were loaded, and d_S in the
    dtype of k. With input_precision="ieee" it does not round fp32 to TF32.

    Args:
        Q, G: queries first … first + ROWS − 1 and the gradients of their results, (ROWS, BLOCK), 0
            beyond the last query and beyond D.
        m, r, delta: of each query the peak m, 1/l, and Σ out · upstream, fp32, (ROWS, 1). Beyond
            the last query m is ∞, r and delta are 0.
        d_Q: the gradient before these keys, fp32, (ROWS, BLOCK).
        k, v, visible, begin, end, S, k_token, v_token, scale, MASKED, CAUSAL, D, BLOCK: as in
            `attend`, whose masks hold here too.
    Returns:
        d_Q after these keys, shaped as before.
    """
    ### BEGIN SOLUTION
    t = first + tl.arange(0, ROWS)[:, None]
    for start in range(begin, end, KEYS):
        s = start + tl.arange(0, KEYS)[None, :]
        K = tile(k, start, k_token, S, KEYS, D, BLOCK)
        V = tile(v, start, v_token, S, KEYS, D, BLOCK)
        score = tl.dot(Q, tl.trans(K), input_precision="ieee")
        if MASKED:
            seen = s < S
            if CAUSAL:
                seen = seen & (s <= t)
            if visible is not None:
                seen = seen & (tl.load(visible + s, mask=s < S, other=0) != 0)
            score = tl.where(seen, score, float("-inf"))
        P = tl.exp2(scale * score - m) * r
        d_S = P * (tl.dot(G, tl.trans(V), input_precision="ieee") - delta)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q
    ### END SOLUTION


@triton.jit
def query_backward_kernel(
    q, k, v, visible, upstream, stats, delta, d_q, q_example, q_head, q_token,
    k_example, k_head, k_token, v_example, v_head, v_token, heads, T, S, scale,
    UNIT: tl.constexpr, CAUSAL: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Program i handles the gradient of queries j·ROWS … of a head, from all keys they see.

    Args:
        q, k, v, visible, scale, strides and constants: as in `kernel`.
        upstream, stats, delta: as in `backward_kernel`.
        d_q: pointer to (batch, heads, T, D) elements in contiguous memory.
    """
    blocks = tl.cdiv(T, ROWS)
    head, first = (tl.program_id(0) // blocks).to(tl.int64), tl.program_id(0) % blocks * ROWS
    example, h = head // heads, head % heads
    k += (example * k_example + h * k_head) * UNIT
    v += (example * v_example + h * v_head) * UNIT
    Q = tile(
        q + (example * q_example + h * q_head) * UNIT, first, q_token * UNIT, T, ROWS, D, BLOCK
    )
    G = tile(upstream + head * T * D, first, D, T, ROWS, D, BLOCK)
    t = first + tl.arange(0, ROWS)[:, None]
    m = tl.load(stats + head * 2 * T + t, mask=t < T, other=float("inf"))
    r = tl.load(stats + head * 2 * T + T + t, mask=t < T, other=0.0)
    A = tl.load(delta + head * T + t, mask=t < T, other=0.0)
    d_Q = tl.zeros([ROWS, BLOCK], tl.float32)
    end = tl.minimum(S, first + ROWS) if CAUSAL else S
    open_end = (tl.minimum(S, first + 1) if CAUSAL else S) // KEYS * KEYS
    if visible is not None:
        visible += example * S
        open_end = 0
    d_Q = queries_backward(
        Q, G, m, r, A, d_Q, k, v, None, first, 0, open_end, S, k_token * UNIT, v_token * UNIT,
        scale, False, CAUSAL, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    d_Q = queries_backward(
        Q, G, m, r, A, d_Q, k, v, visible, first, open_end, end, S, k_token * UNIT, v_token * UNIT,
        scale, True, CAUSAL, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    keep(d_q + head * T * D, d_Q * (scale * 0.6931471805599453), first, T, ROWS, D, BLOCK)


def delta_of(out: Tensor, upstream: Tensor) -> Tensor:
    """Σ out · upstream of each token, in fp32."""
    n, dim = out.numel() // out.shape[-1], out.shape[-1]
    delta = out.new_empty(out.shape[:-1], dtype=torch.float32)
    block = max(16, triton.next_power_of_2(dim))
    preprocess_kernel[(triton.cdiv(n, DELTAS),)](
        out, upstream, delta, n, ROWS=DELTAS, D=dim, BLOCK=block
    )
    return delta


def key_gradients(
    q: Tensor, k: Tensor, v: Tensor, upstream: Tensor, stats: Tensor, delta: Tensor,
    causal: bool = False, scale: float | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The gradients of keys and values, from what attention left.

    Args:
        q, k, v, causal, scale: as they were given to `attention`, of any strides.
        upstream: the gradient of the result, shaped like q, of any strides.
        stats: (batch, heads, 2, tokens) fp32, m and 1/l of each query, with m in bits.
        delta: (batch, heads, tokens) fp32, see `delta_of`.
    Returns:
        d_k and d_v, new tensors like k.
    """
    q, k, v = in_rows(q), in_rows(k), in_rows(v)
    given = q, k, v, *(x.contiguous() for x in (upstream, stats, delta))
    sizes, options = numbers("backward_kernel", q, k, v, causal, scale)
    d_k, d_v = k.new_empty(k.shape), v.new_empty(v.shape)
    backward_kernel[programs(k, options["KEYS"])](*given, d_k, d_v, *sizes, **options)
    return d_k, d_v


def query_gradient(
    q: Tensor, k: Tensor, v: Tensor, upstream: Tensor, stats: Tensor, delta: Tensor,
    causal: bool = False, scale: float | None = None,
) -> Tensor:  # fmt: skip
    """The gradient of queries, from what attention left.

    Args:
        q, k, v, upstream, stats, delta, causal, scale: as for `key_gradients`.
    Returns:
        d_q, a new tensor like q.
    """
    q, k, v = in_rows(q), in_rows(k), in_rows(v)
    given = q, k, v, None, *(x.contiguous() for x in (upstream, stats, delta))
    sizes, options = numbers("query_backward_kernel", q, k, v, causal, scale)
    d_q = q.new_empty(q.shape)
    query_backward_kernel[programs(q, options["ROWS"])](*given, d_q, *sizes, **options)
    return d_q
