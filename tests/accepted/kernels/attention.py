"""Right ways to attend to keys tile by tile, written another way."""

from cs231n_gen.checking.variants import accepted
from cs231n_gen.kernels.attention_tiles import tile
from cs231n_gen.kernels.launch import tl, triton

EXERCISE = "kernels.attention.attend"


@accepted(EXERCISE)
@triton.jit
def scores_in_bits_at_once(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    for start in tl.range(begin, end, KEYS):
        keys = start + tl.arange(0, KEYS)
        K = tile(k, start, k_token, S, KEYS, D, BLOCK)
        V = tile(v, start, v_token, S, KEYS, D, BLOCK)
        bits = tl.dot(Q, K.T, input_precision="ieee") * scale
        if MASKED:
            bits = tl.where((keys < end)[None, :], bits, -float("inf"))
            if visible is not None:
                shown = tl.load(visible + keys, mask=keys < end, other=0)
                bits = tl.where((shown != 0)[None, :], bits, -float("inf"))
            if CAUSAL:
                past = keys[None, :] <= (first + tl.arange(0, ROWS))[:, None]
                bits = tl.where(past, bits, -float("inf"))
        higher = tl.maximum(m, tl.max(bits, axis=1))
        fade = tl.exp2(m - higher)
        weights = tl.exp2(bits - higher[:, None])
        l = fade * l + tl.sum(weights, axis=1)
        O = fade[:, None] * O
        O += tl.dot(weights.to(V.dtype), V, input_precision="ieee")
        m = higher
    return m, l, O


@accepted(EXERCISE)
@triton.jit
def a_mask_for_every_tile_and_powers_of_e(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    LN_2: tl.constexpr = 0.6931471805599453
    t = first + tl.arange(0, ROWS)
    start = begin
    while start < end:
        s = start + tl.arange(0, KEYS)
        seen = tl.broadcast_to(s[None, :] < S, (ROWS, KEYS))
        if CAUSAL:
            seen &= t[:, None] >= s[None, :]
        if visible is not None:
            seen &= (tl.load(visible + s, mask=s < S, other=0) > 0)[None, :]
        K = tile(k, start, k_token, S, KEYS, D, BLOCK)
        score = tl.dot(Q, tl.trans(K), input_precision="ieee")
        old = m
        m = tl.maximum(old, scale * tl.max(tl.where(seen, score, float("-inf")), 1))
        P = tl.where(seen, tl.exp((scale * score - m[:, None]) * LN_2), 0.0)
        fade = tl.exp((old - m) * LN_2)
        l = tl.sum(P, 1) + l * fade
        V = tile(v, start, v_token, S, KEYS, D, BLOCK)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        start += KEYS
    return m, l, O


@accepted(EXERCISE)
@triton.jit
def a_key_a_row(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    t, d = first + tl.arange(0, ROWS)[None, :], tl.arange(0, BLOCK)[None, :]
    for start in range(begin, end, KEYS):
        s = start + tl.arange(0, KEYS)[:, None]
        there = (s < S) & (d < D)
        at = s.to(tl.int64)
        K = tl.load(k + at * k_token + d, mask=there, other=0.0)
        V = tl.load(v + at * v_token + d, mask=there, other=0.0)
        score = tl.dot(K, tl.trans(Q), input_precision="ieee")
        if MASKED:
            hidden = s >= S
            if CAUSAL:
                hidden = hidden | (s > t)
            if visible is not None:
                hidden = hidden | (tl.load(visible + s, mask=s < S, other=0) == 0)
            score = tl.where(hidden, float("-inf"), score)
        peak = tl.maximum(m, tl.max(scale * score, 0))
        P = tl.exp2(scale * score - peak[None, :])
        l = l * tl.exp2(m - peak) + tl.sum(P, 0)
        O = O * tl.exp2(m - peak)[:, None]
        O = tl.dot(tl.trans(P).to(V.dtype), V, O, input_precision="ieee")
        m = peak
    return m, l, O


@accepted(EXERCISE)
@triton.jit
def three_products_of_TF32(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    t = first + tl.arange(0, ROWS)[:, None]
    for start in range(begin, end, KEYS):
        s = start + tl.arange(0, KEYS)[None, :]
        K = tile(k, start, k_token, S, KEYS, D, BLOCK)
        score = tl.dot(Q, tl.trans(K), input_precision="tf32x3")
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
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="tf32x3")
        m = peak
    return m, l, O


@accepted(EXERCISE)
@triton.jit
def minus_infinity_added(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
            score = score + tl.where(seen, 0.0, float("-inf"))
        peak = tl.maximum(m, scale * tl.max(score, 1))
        P = tl.exp2(scale * score - peak[:, None])
        fade = tl.exp2(m - peak)
        l = l * fade + tl.sum(P, 1)
        V = tile(v, start, v_token, S, KEYS, D, BLOCK)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O


@accepted(EXERCISE)
@triton.jit
def its_own_loads(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    t = first + tl.arange(0, ROWS)[:, None]
    for start in range(begin, end, KEYS):
        s = start + tl.arange(0, KEYS)[None, :]
        d = tl.arange(0, BLOCK)[:, None]
        KT = tl.load(k + s.to(tl.int64) * k_token + d, mask=(s < S) & (d < D), other=0.0)
        score = tl.dot(Q, KT, input_precision="ieee")
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
