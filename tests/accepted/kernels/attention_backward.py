"""Right gradients of attention, written another way."""

from cs231n_gen.checking.variants import accepted
from cs231n_gen.kernels.attention_tiles import tile
from cs231n_gen.kernels.launch import tl, triton

KEYS_BACKWARD = "kernels.attention_backward.keys_backward"
QUERIES_BACKWARD = "kernels.attention_backward.queries_backward"


# --- keys_backward --------------------------------------------------------------------------------


@accepted(KEYS_BACKWARD)
@triton.jit
def a_query_a_row(
    K, V, d_K, d_V, q, upstream, stats, delta, first, begin, end, T, q_token, scale,
    CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    s = first + tl.arange(0, KEYS)[None, :]
    for start in tl.range(begin, end, ROWS):
        t = start + tl.arange(0, ROWS)[:, None]
        there = t < T
        Q = tile(q, start, q_token, T, ROWS, D, BLOCK)
        G = tile(upstream, start, D, T, ROWS, D, BLOCK)
        peak = tl.load(stats + t, mask=there, other=0.0)
        one_by_sum = tl.load(stats + T + t, mask=there, other=0.0)
        A = tl.load(delta + t, mask=there, other=0.0)
        bits = scale * tl.dot(Q, tl.trans(K), input_precision="ieee")
        if CAUSAL:
            bits = tl.where(t < s, -float("inf"), bits)
        P = tl.exp2(bits - peak) * one_by_sum
        d_S = (tl.dot(G, tl.trans(V), input_precision="ieee") - A) * P
        d_V += tl.dot(tl.trans(P).to(G.dtype), G, input_precision="ieee")
        d_K += tl.dot(tl.trans(d_S).to(Q.dtype), Q, input_precision="ieee")
    return d_K, d_V


@accepted(KEYS_BACKWARD)
@triton.jit
def weights_of_the_unseen_are_set_to_0(
    K, V, d_K, d_V, q, upstream, stats, delta, first, begin, end, T, q_token, scale,
    CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    LN_2: tl.constexpr = 0.6931471805599453
    s, d = first + tl.arange(0, KEYS), tl.arange(0, BLOCK)[None, :]
    start = begin
    while start < end:
        t = start + tl.arange(0, ROWS)
        there = (t < T)[:, None] & (d < D)
        Q = tl.load(q + t[:, None].to(tl.int64) * q_token + d, mask=there, other=0.0)
        G = tl.load(upstream + t[:, None] * D + d, mask=there, other=0.0)
        seen = (s[:, None] < 0) | (t < T)[None, :]
        if CAUSAL:
            seen = seen & (s[:, None] <= t[None, :])
        m = tl.load(stats + t, mask=t < T, other=0.0)[None, :]
        r = tl.load(stats + T + t, mask=t < T, other=0.0)[None, :]
        A = tl.load(delta + t, mask=t < T, other=0.0)[None, :]
        score = tl.dot(K, Q.T, input_precision="ieee")
        P = tl.where(seen, tl.exp((score * scale - m) * LN_2) * r, 0.0)
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_S = P * (tl.dot(V, G.T, input_precision="ieee") - A)
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
        start += ROWS
    return d_K, d_V


# --- queries_backward -----------------------------------------------------------------------------


@accepted(QUERIES_BACKWARD)
@triton.jit
def a_key_a_row(
    Q, G, m, r, delta, d_Q, k, v, visible, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    peak, one_by_sum, A = tl.trans(m), tl.trans(r), tl.trans(delta)
    t = first + tl.arange(0, ROWS)[None, :]
    for start in tl.range(begin, end, KEYS):
        s = start + tl.arange(0, KEYS)[:, None]
        K = tile(k, start, k_token, S, KEYS, D, BLOCK)
        V = tile(v, start, v_token, S, KEYS, D, BLOCK)
        bits = scale * tl.dot(K, tl.trans(Q), input_precision="ieee")
        if MASKED:
            hidden = s >= end
            if CAUSAL:
                hidden = hidden | (t < s)
            if visible is not None:
                hidden = hidden | (tl.load(visible + s, mask=s < end, other=0) == 0)
            bits = tl.where(hidden, -float("inf"), bits)
        P = tl.exp2(bits - peak) * one_by_sum
        d_S = (tl.dot(V, tl.trans(G), input_precision="ieee") - A) * P
        d_Q += tl.dot(tl.trans(d_S).to(K.dtype), K, input_precision="ieee")
    return d_Q


@accepted(QUERIES_BACKWARD)
@triton.jit
def a_mask_for_every_tile(
    Q, G, m, r, delta, d_Q, k, v, visible, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    LN_2: tl.constexpr = 0.6931471805599453
    t, d = first + tl.arange(0, ROWS), tl.arange(0, BLOCK)[None, :]
    start = begin
    while start < end:
        s = start + tl.arange(0, KEYS)
        there = (s < S)[:, None] & (d < D)
        K = tl.load(k + s[:, None].to(tl.int64) * k_token + d, mask=there, other=0.0)
        V = tl.load(v + s[:, None].to(tl.int64) * v_token + d, mask=there, other=0.0)
        seen = tl.broadcast_to((s < S)[None, :], (ROWS, KEYS))
        if CAUSAL:
            seen &= t[:, None] >= s[None, :]
        if visible is not None:
            seen &= (tl.load(visible + s, mask=s < S, other=0) > 0)[None, :]
        score = tl.dot(Q, K.T, input_precision="ieee")
        P = tl.where(seen, tl.exp((score * scale - m) * LN_2) * r, 0.0)
        d_P = tl.dot(G, V.T, input_precision="ieee")
        d_Q = tl.dot((P * (d_P - delta)).to(K.dtype), K, d_Q, input_precision="ieee")
        start += KEYS
    return d_Q


@accepted(KEYS_BACKWARD)
@triton.jit
def one_number_of_m_and_l(
    K, V, d_K, d_V, q, upstream, stats, delta, first, begin, end, T, q_token, scale,
    CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    s = first + tl.arange(0, KEYS)[:, None]
    for start in range(begin, end, ROWS):
        t = start + tl.arange(0, ROWS)[None, :]
        Q = tile(q, start, q_token, T, ROWS, D, BLOCK)
        G = tile(upstream, start, D, T, ROWS, D, BLOCK)
        score = tl.dot(K, tl.trans(Q), input_precision="ieee")
        if CAUSAL:
            score = tl.where(s <= t, score, float("-inf"))
        m = tl.load(stats + t, mask=t < T, other=float("inf"))
        P = tl.exp2(scale * score - (m - tl.log2(tl.load(stats + T + t, mask=t < T, other=1.0))))
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - tl.load(delta + t, mask=t < T, other=0.0))
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@accepted(KEYS_BACKWARD)
@triton.jit
def weights_masked_afterwards(
    K, V, d_K, d_V, q, upstream, stats, delta, first, begin, end, T, q_token, scale,
    CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    s = first + tl.arange(0, KEYS)[:, None]
    for start in range(begin, end, ROWS):
        t = start + tl.arange(0, ROWS)[None, :]
        Q = tile(q, start, q_token, T, ROWS, D, BLOCK)
        G = tile(upstream, start, D, T, ROWS, D, BLOCK)
        score = tl.dot(K, tl.trans(Q), input_precision="ieee")
        if CAUSAL:
            hidden = s > t
        m = tl.load(stats + t, mask=t < T, other=float("inf"))
        P = tl.exp2(scale * score - m) * tl.load(stats + T + t, mask=t < T, other=0.0)
        if CAUSAL:
            P = tl.where(hidden, 0.0, P)
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - tl.load(delta + t, mask=t < T, other=0.0))
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@accepted(QUERIES_BACKWARD)
@triton.jit
def d_S_masked_as_well(
    Q, G, m, r, delta, d_Q, k, v, visible, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
        if MASKED:
            d_S = tl.where(seen, d_S, 0.0)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@accepted(QUERIES_BACKWARD)
@triton.jit
def delta_in_the_accumulator(
    Q, G, m, r, delta, d_Q, k, v, visible, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
        d_S = P * (
            tl.dot(
                G, tl.trans(V), tl.zeros([ROWS, KEYS], tl.float32) - delta, input_precision="ieee"
            )
        )
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q
