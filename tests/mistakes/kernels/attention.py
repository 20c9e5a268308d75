"""Typical wrong ways to attend to keys tile by tile, each with the sentence that explains it."""

from cs231n_gen.checking.variants import mistake
from cs231n_gen.kernels.attention_tiles import tile
from cs231n_gen.kernels.launch import tl, triton

EXERCISE = "kernels.attention.attend"


@mistake(
    EXERCISE,
    "You exponentiate scores as they are. 2^128 is more than fp32 can hold, and 2^−150 is 0 in it: "
    "subtract the peak m from every score first, so that the largest weight is 1.",
)
@triton.jit
def nothing_subtracted(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
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
            score = tl.where(seen, score, float("-inf"))
        peak = tl.zeros_like(l)
        P = tl.exp2(scale * score - peak[:, None])
        fade = tl.full(l.shape, 1.0, tl.float32)
        l = l * fade + tl.sum(P, 1)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O


@mistake(
    EXERCISE,
    "The peak is that of this tile alone. Take the larger of it and the old m: where a tile is "
    "low, or holds no key that a query sees (its peak is −∞), what was added up before would be "
    "blown up instead of fading.",
)
@triton.jit
def peak_of_this_tile(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
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
            score = tl.where(seen, score, float("-inf"))
        peak = scale * tl.max(score, 1)
        P = tl.exp2(scale * score - peak[:, None])
        fade = tl.exp2(m - peak)
        l = l * fade + tl.sum(P, 1)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O


@mistake(
    EXERCISE,
    "When the peak moves, O fades and l does not. Both were added up relative to the old peak: "
    "multiply l by 2^(m − new peak) too, before you add the new weights.",
)
@triton.jit
def l_does_not_fade(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
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
            score = tl.where(seen, score, float("-inf"))
        peak = tl.maximum(m, scale * tl.max(score, 1))
        P = tl.exp2(scale * score - peak[:, None])
        fade = tl.exp2(m - peak)
        l = l + tl.sum(P, 1)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O


@mistake(
    EXERCISE,
    "When the peak moves, l fades and O does not. Both were added up relative to the old peak: "
    "multiply O by 2^(m − new peak) too, before you add the new weights · v.",
)
@triton.jit
def O_does_not_fade(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
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
            score = tl.where(seen, score, float("-inf"))
        peak = tl.maximum(m, scale * tl.max(score, 1))
        P = tl.exp2(scale * score - peak[:, None])
        fade = tl.exp2(m - peak)
        l = l * fade + tl.sum(P, 1)
        O = tl.dot(P.to(V.dtype), V, O, input_precision="ieee")
        m = peak
    return m, l, O


@mistake(
    EXERCISE,
    "You fade what comes after the addition: the new weights are relative to the new peak already. "
    "First multiply the old l and O by 2^(m − new peak), then add.",
)
@triton.jit
def new_weights_fade_too(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
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
            score = tl.where(seen, score, float("-inf"))
        peak = tl.maximum(m, scale * tl.max(score, 1))
        P = tl.exp2(scale * score - peak[:, None])
        fade = tl.exp2(m - peak)
        l = (l + tl.sum(P, 1)) * fade
        O = tl.dot(P.to(V.dtype), V, O, input_precision="ieee") * fade[:, None]
        m = peak
    return m, l, O


@mistake(
    EXERCISE,
    "The exponent of the fade has the wrong sign: it is 2^(m − new peak), at most 1. Yours is at "
    "least 1, and 2^∞ at the first tile, where m is −∞.",
)
@triton.jit
def grows_instead_of_fading(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
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
            score = tl.where(seen, score, float("-inf"))
        peak = tl.maximum(m, scale * tl.max(score, 1))
        P = tl.exp2(scale * score - peak[:, None])
        fade = tl.exp2(peak - m)
        l = l * fade + tl.sum(P, 1)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O


@mistake(
    EXERCISE,
    "You use e^x. The scale that comes holds log₂ e already, so that 2^x is what is wanted: "
    "tl.exp2, for the weights and for the fade.",
)
@triton.jit
def e_instead_of_2(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
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
            score = tl.where(seen, score, float("-inf"))
        peak = tl.maximum(m, scale * tl.max(score, 1))
        P = tl.exp(scale * score - peak[:, None])
        fade = tl.exp(m - peak)
        l = l * fade + tl.sum(P, 1)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O


@mistake(
    EXERCISE,
    "The scale is missing: a score is scale · q · k, in the peak and in the weights.",
)
@triton.jit
def scale_forgotten(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
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
            score = tl.where(seen, score, float("-inf"))
        peak = tl.maximum(m, tl.max(score, 1))
        P = tl.exp2(score - peak[:, None])
        fade = tl.exp2(m - peak)
        l = l * fade + tl.sum(P, 1)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O


@mistake(
    EXERCISE,
    "The scale is applied twice: once when the score is made, once more in the exponent.",
)
@triton.jit
def scale_twice(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    t = first + tl.arange(0, ROWS)[:, None]
    for start in range(begin, end, KEYS):
        s = start + tl.arange(0, KEYS)[None, :]
        K = tile(k, start, k_token, S, KEYS, D, BLOCK)
        V = tile(v, start, v_token, S, KEYS, D, BLOCK)
        score = scale * tl.dot(Q, tl.trans(K), input_precision="ieee")
        if MASKED:
            seen = s < S
            if CAUSAL:
                seen = seen & (s <= t)
            score = tl.where(seen, score, float("-inf"))
        peak = tl.maximum(m, scale * tl.max(score, 1))
        P = tl.exp2(scale * score - peak[:, None])
        fade = tl.exp2(m - peak)
        l = l * fade + tl.sum(P, 1)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O


@mistake(
    EXERCISE,
    "MASKED is ignored: keys beyond the last one, and with CAUSAL those after t, get weights. "
    "Their scores must become −∞ before the peak is taken.",
)
@triton.jit
def no_mask(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    for start in range(begin, end, KEYS):
        K = tile(k, start, k_token, S, KEYS, D, BLOCK)
        V = tile(v, start, v_token, S, KEYS, D, BLOCK)
        score = tl.dot(Q, tl.trans(K), input_precision="ieee")
        peak = tl.maximum(m, scale * tl.max(score, 1))
        P = tl.exp2(scale * score - peak[:, None])
        fade = tl.exp2(m - peak)
        l = l * fade + tl.sum(P, 1)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O


@mistake(
    EXERCISE,
    "CAUSAL is ignored: query t may see keys 0 … t alone, s <= t.",
)
@triton.jit
def sees_the_future(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    for start in range(begin, end, KEYS):
        s = start + tl.arange(0, KEYS)[None, :]
        K = tile(k, start, k_token, S, KEYS, D, BLOCK)
        V = tile(v, start, v_token, S, KEYS, D, BLOCK)
        score = tl.dot(Q, tl.trans(K), input_precision="ieee")
        if MASKED:
            seen = s < S
            score = tl.where(seen, score, float("-inf"))
        peak = tl.maximum(m, scale * tl.max(score, 1))
        P = tl.exp2(scale * score - peak[:, None])
        fade = tl.exp2(m - peak)
        l = l * fade + tl.sum(P, 1)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O


@mistake(
    EXERCISE,
    "The mask is s < t, one key too few: query t sees key t as well, and the first query would see "
    "none.",
)
@triton.jit
def not_even_itself(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
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
                seen = seen & (s < t)
            score = tl.where(seen, score, float("-inf"))
        peak = tl.maximum(m, scale * tl.max(score, 1))
        P = tl.exp2(scale * score - peak[:, None])
        fade = tl.exp2(m - peak)
        l = l * fade + tl.sum(P, 1)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O


@mistake(
    EXERCISE,
    "Scores of hidden keys become 0, and 2^(0 − m) is a weight. They must become −∞, whose weight "
    "is 0.",
)
@triton.jit
def masked_with_0(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
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
            score = tl.where(seen, score, 0.0)
        peak = tl.maximum(m, scale * tl.max(score, 1))
        P = tl.exp2(scale * score - peak[:, None])
        fade = tl.exp2(m - peak)
        l = l * fade + tl.sum(P, 1)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O


@mistake(
    EXERCISE,
    "You take the peak before the mask: where a hidden key has the largest score, the weights of "
    "all others become 0, and so does l. Mask the scores first.",
)
@triton.jit
def hidden_keys_raise_the_peak(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    t = first + tl.arange(0, ROWS)[:, None]
    for start in range(begin, end, KEYS):
        s = start + tl.arange(0, KEYS)[None, :]
        K = tile(k, start, k_token, S, KEYS, D, BLOCK)
        V = tile(v, start, v_token, S, KEYS, D, BLOCK)
        score = tl.dot(Q, tl.trans(K), input_precision="ieee")
        peak = tl.maximum(m, scale * tl.max(score, 1))
        if MASKED:
            seen = s < S
            if CAUSAL:
                seen = seen & (s <= t)
            score = tl.where(seen, score, float("-inf"))
        P = tl.exp2(scale * score - peak[:, None])
        fade = tl.exp2(m - peak)
        l = l * fade + tl.sum(P, 1)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O


@mistake(
    EXERCISE,
    "Every round loads the same tile, that of `begin`: it is `start` that moves.",
)
@triton.jit
def always_the_first_tile(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    t = first + tl.arange(0, ROWS)[:, None]
    for start in range(begin, end, KEYS):
        s = start + tl.arange(0, KEYS)[None, :]
        K = tile(k, begin, k_token, S, KEYS, D, BLOCK)
        V = tile(v, begin, v_token, S, KEYS, D, BLOCK)
        score = tl.dot(Q, tl.trans(K), input_precision="ieee")
        if MASKED:
            seen = s < S
            if CAUSAL:
                seen = seen & (s <= t)
            score = tl.where(seen, score, float("-inf"))
        peak = tl.maximum(m, scale * tl.max(score, 1))
        P = tl.exp2(scale * score - peak[:, None])
        fade = tl.exp2(m - peak)
        l = l * fade + tl.sum(P, 1)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O


@mistake(
    EXERCISE,
    "Your loop begins at key 0. The caller hands the keys over in parts, and those before `begin` "
    "are in m, l and O already: they count twice.",
)
@triton.jit
def from_the_first_key_on(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    t = first + tl.arange(0, ROWS)[:, None]
    for start in range(0, end, KEYS):
        s = start + tl.arange(0, KEYS)[None, :]
        K = tile(k, start, k_token, S, KEYS, D, BLOCK)
        V = tile(v, start, v_token, S, KEYS, D, BLOCK)
        score = tl.dot(Q, tl.trans(K), input_precision="ieee")
        if MASKED:
            seen = s < S
            if CAUSAL:
                seen = seen & (s <= t)
            score = tl.where(seen, score, float("-inf"))
        peak = tl.maximum(m, scale * tl.max(score, 1))
        P = tl.exp2(scale * score - peak[:, None])
        fade = tl.exp2(m - peak)
        l = l * fade + tl.sum(P, 1)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O


@mistake(
    EXERCISE,
    "Your loop ends with the last whole tile. The keys after it are fewer than KEYS, but they "
    "count: range(begin, end, KEYS), and a mask.",
)
@triton.jit
def the_last_tile_is_left_out(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    t = first + tl.arange(0, ROWS)[:, None]
    for start in range(begin, end // KEYS * KEYS, KEYS):
        s = start + tl.arange(0, KEYS)[None, :]
        K = tile(k, start, k_token, S, KEYS, D, BLOCK)
        V = tile(v, start, v_token, S, KEYS, D, BLOCK)
        score = tl.dot(Q, tl.trans(K), input_precision="ieee")
        if MASKED:
            seen = s < S
            if CAUSAL:
                seen = seen & (s <= t)
            score = tl.where(seen, score, float("-inf"))
        peak = tl.maximum(m, scale * tl.max(score, 1))
        P = tl.exp2(scale * score - peak[:, None])
        fade = tl.exp2(m - peak)
        l = l * fade + tl.sum(P, 1)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O


@mistake(
    EXERCISE,
    "Values are loaded by the stride of the keys. The tokens of v are v_token apart, which may be "
    "another distance.",
)
@triton.jit
def v_by_the_stride_of_k(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    t = first + tl.arange(0, ROWS)[:, None]
    for start in range(begin, end, KEYS):
        s = start + tl.arange(0, KEYS)[None, :]
        K = tile(k, start, k_token, S, KEYS, D, BLOCK)
        V = tile(v, start, k_token, S, KEYS, D, BLOCK)
        score = tl.dot(Q, tl.trans(K), input_precision="ieee")
        if MASKED:
            seen = s < S
            if CAUSAL:
                seen = seen & (s <= t)
            score = tl.where(seen, score, float("-inf"))
        peak = tl.maximum(m, scale * tl.max(score, 1))
        P = tl.exp2(scale * score - peak[:, None])
        fade = tl.exp2(m - peak)
        l = l * fade + tl.sum(P, 1)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O


@mistake(
    EXERCISE,
    "Keys and values are loaded beyond the last one. That their weights are 0 does not help: a "
    "load outside of a tensor is an error. `tile` masks what it loads.",
)
@triton.jit
def loads_beyond_the_last_key(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    t = first + tl.arange(0, ROWS)[:, None]
    for start in range(begin, end, KEYS):
        s = start + tl.arange(0, KEYS)[None, :]
        d = tl.arange(0, BLOCK)[None, :]
        row = start + tl.arange(0, KEYS)[:, None]
        K = tl.load(k + row * k_token + d, mask=d < D, other=0.0)
        V = tl.load(v + row * v_token + d, mask=d < D, other=0.0)
        score = tl.dot(Q, tl.trans(K), input_precision="ieee")
        if MASKED:
            seen = s < S
            if CAUSAL:
                seen = seen & (s <= t)
            score = tl.where(seen, score, float("-inf"))
        peak = tl.maximum(m, scale * tl.max(score, 1))
        P = tl.exp2(scale * score - peak[:, None])
        fade = tl.exp2(m - peak)
        l = l * fade + tl.sum(P, 1)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O


@mistake(
    EXERCISE,
    "You go through the keys twice, for the peak and then for the weights. Once is enough: when a "
    "tile raises the peak, let l and O fade.",
)
@triton.jit
def keys_read_twice(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    t = first + tl.arange(0, ROWS)[:, None]
    peak = m
    for start in range(begin, end, KEYS):
        s = start + tl.arange(0, KEYS)[None, :]
        K = tile(k, start, k_token, S, KEYS, D, BLOCK)
        score = tl.dot(Q, tl.trans(K), input_precision="ieee")
        if MASKED:
            seen = (s < S) & ((s <= t) if CAUSAL else True)
            score = tl.where(seen, score, float("-inf"))
        peak = tl.maximum(peak, scale * tl.max(score, 1))
    fade = tl.where(m == peak, 1.0, tl.exp2(m - peak))
    l *= fade
    O *= fade[:, None]
    for start in range(begin, end, KEYS):
        s = start + tl.arange(0, KEYS)[None, :]
        K = tile(k, start, k_token, S, KEYS, D, BLOCK)
        V = tile(v, start, v_token, S, KEYS, D, BLOCK)
        score = tl.dot(Q, tl.trans(K), input_precision="ieee")
        if MASKED:
            seen = (s < S) & ((s <= t) if CAUSAL else True)
            score = tl.where(seen, score, float("-inf"))
        P = tl.exp2(scale * score - peak[:, None])
        l += tl.sum(P, 1)
        O = tl.dot(P.to(V.dtype), V, O, input_precision="ieee")
    return peak, l, O


@mistake(
    EXERCISE,
    "You divide by l already. The caller does that once, when all tiles are in: O is the sum of "
    "weights · v.",
)
@triton.jit
def divided_by_l(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
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
            score = tl.where(seen, score, float("-inf"))
        peak = tl.maximum(m, scale * tl.max(score, 1))
        P = tl.exp2(scale * score - peak[:, None])
        fade = tl.exp2(m - peak)
        l = l * fade + tl.sum(P, 1)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O / l[:, None]


@mistake(
    EXERCISE,
    "Weights and values are rounded to half precision in float32 too.",
    public=False,
)
@triton.jit
def half_in_between(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
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
            score = tl.where(seen, score, float("-inf"))
        peak = tl.maximum(m, scale * tl.max(score, 1))
        P = tl.exp2(scale * score - peak[:, None])
        fade = tl.exp2(m - peak)
        l = l * fade + tl.sum(P, 1)
        fresh = tl.dot(P.to(tl.float16), V.to(tl.float16), input_precision="ieee")
        O = O * fade[:, None] + fresh
        m = peak
    return m, l, O


@mistake(
    EXERCISE,
    "The stride of a token is taken for D.",
    public=False,
)
@triton.jit
def stride_is_D(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    t = first + tl.arange(0, ROWS)[:, None]
    for start in range(begin, end, KEYS):
        s = start + tl.arange(0, KEYS)[None, :]
        K = tile(k, start, D, S, KEYS, D, BLOCK)
        V = tile(v, start, D, S, KEYS, D, BLOCK)
        score = tl.dot(Q, tl.trans(K), input_precision="ieee")
        if MASKED:
            seen = s < S
            if CAUSAL:
                seen = seen & (s <= t)
            score = tl.where(seen, score, float("-inf"))
        peak = tl.maximum(m, scale * tl.max(score, 1))
        P = tl.exp2(scale * score - peak[:, None])
        fade = tl.exp2(m - peak)
        l = l * fade + tl.sum(P, 1)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O


@mistake(
    EXERCISE,
    "Scores are rounded to half precision before they become weights. A score near 64 is then "
    "off by percents of a weight: keep what tl.dot gives, which is fp32, and round the weights "
    "alone, for the second product.",
)
@triton.jit
def scores_rounded_to_half(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    t = first + tl.arange(0, ROWS)[:, None]
    for start in range(begin, end, KEYS):
        s = start + tl.arange(0, KEYS)[None, :]
        K = tile(k, start, k_token, S, KEYS, D, BLOCK)
        score = tl.dot(Q, tl.trans(K), input_precision="ieee").to(k.dtype.element_ty).to(tl.float32)
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


@mistake(
    EXERCISE,
    "`visible` is not looked at: keys whose byte is 0 there are hidden from all queries, and "
    "their scores must become −∞ as those beyond S do.",
)
@triton.jit
def hidden_keys_seen(
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
            score = tl.where(seen, score, float("-inf"))
        peak = tl.maximum(m, scale * tl.max(score, 1))
        P = tl.exp2(scale * score - peak[:, None])
        fade = tl.exp2(m - peak)
        l = l * fade + tl.sum(P, 1)
        V = tile(v, start, v_token, S, KEYS, D, BLOCK)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O


@mistake(
    EXERCISE,
    "A key is seen where its byte in `visible` is not 0; you ask whether it is 1, and lose "
    "those whose byte is another number.",
)
@triton.jit
def visible_if_it_is_1(
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
                seen = seen & (tl.load(visible + s, mask=s < S, other=0) == 1)
            score = tl.where(seen, score, float("-inf"))
        peak = tl.maximum(m, scale * tl.max(score, 1))
        P = tl.exp2(scale * score - peak[:, None])
        fade = tl.exp2(m - peak)
        l = l * fade + tl.sum(P, 1)
        V = tile(v, start, v_token, S, KEYS, D, BLOCK)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O


@mistake(
    EXERCISE,
    "Your loop goes on to key S where there is a mask. With causal=True the caller ends where "
    "the last query sees nothing more, at `end`: keys beyond are read for nothing.",
)
@triton.jit
def on_to_the_last_key(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    t = first + tl.arange(0, ROWS)[:, None]
    stop = S if MASKED else end
    for start in range(begin, stop, KEYS):
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


@mistake(
    EXERCISE,
    "Small weights become 0. Many of them, or one of a large value, count: only keys that a "
    "query does not see have the weight 0.",
)
@triton.jit
def small_weights_thrown_away(
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
            score = tl.where(seen, score, float("-inf"))
        peak = tl.maximum(m, scale * tl.max(score, 1))
        P = tl.exp2(scale * score - peak[:, None])
        P = tl.where(P < 1e-6, 0.0, P)
        fade = tl.exp2(m - peak)
        l = l * fade + tl.sum(P, 1)
        V = tile(v, start, v_token, S, KEYS, D, BLOCK)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O


@mistake(
    EXERCISE,
    "Tiles are loaded with BLOCK numbers of each token, where there are D: those beyond belong "
    "to the next token, or to nobody.",
)
@triton.jit
def tiles_wider_than_a_head(
    Q, k, v, visible, m, l, O, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    t = first + tl.arange(0, ROWS)[:, None]
    for start in range(begin, end, KEYS):
        s = start + tl.arange(0, KEYS)[None, :]
        K = tile(k, start, k_token, S, KEYS, BLOCK, BLOCK)
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
        V = tile(v, start, v_token, S, KEYS, BLOCK, BLOCK)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O


@mistake(
    EXERCISE,
    "l adds up weights that were rounded for tl.dot. It is a sum in fp32, of weights in fp32: "
    "round them for the product alone.",
)
@triton.jit
def l_of_rounded_weights(
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
            score = tl.where(seen, score, float("-inf"))
        peak = tl.maximum(m, scale * tl.max(score, 1))
        P = tl.exp2(scale * score - peak[:, None])
        P = P.to(v.dtype.element_ty).to(tl.float32)
        fade = tl.exp2(m - peak)
        l = l * fade + tl.sum(P, 1)
        V = tile(v, start, v_token, S, KEYS, D, BLOCK)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O


@mistake(
    EXERCISE,
    "m is larger than the largest score. The weights come out right all the same, but m is what "
    "the caller is promised, and far above the peak weights become 0.",
)
@triton.jit
def m_above_the_peak(
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
            score = tl.where(seen, score, float("-inf"))
        peak = tl.maximum(m, scale * tl.max(score, 1) + 1.0)
        P = tl.exp2(scale * score - peak[:, None])
        fade = tl.exp2(m - peak)
        l = l * fade + tl.sum(P, 1)
        V = tile(v, start, v_token, S, KEYS, D, BLOCK)
        O = tl.dot(P.to(V.dtype), V, O * fade[:, None], input_precision="ieee")
        m = peak
    return m, l, O
