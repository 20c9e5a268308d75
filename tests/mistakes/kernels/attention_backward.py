"""Typical wrong gradients of attention, each with the sentence that explains it."""

from cs231n_gen.checking.variants import mistake
from cs231n_gen.kernels.attention_tiles import tile
from cs231n_gen.kernels.launch import tl, triton

KEYS_BACKWARD = "kernels.attention_backward.keys_backward"
QUERIES_BACKWARD = "kernels.attention_backward.queries_backward"


# --- keys_backward --------------------------------------------------------------------------------


@mistake(
    KEYS_BACKWARD,
    "P is not divided by l: weights are 2^(score − m) / l, and 1/l is the second half of stats.",
)
@triton.jit
def not_divided_by_l(
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
        A = tl.load(delta + t, mask=t < T, other=0.0)
        P = tl.exp2(scale * score - m)
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - A)
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "You divide by what is 1/l already, which multiplies by l. P is 2^(score − m) times the second "
    "half of stats.",
)
@triton.jit
def times_l(
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
        r = tl.load(stats + T + t, mask=t < T, other=1.0)
        A = tl.load(delta + t, mask=t < T, other=0.0)
        P = tl.exp2(scale * score - m) / r
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - A)
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "m is not subtracted: the weights that attention used are 2^(score − m) / l, and l belongs to "
    "that m.",
)
@triton.jit
def m_not_subtracted(
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
        r = tl.load(stats + T + t, mask=t < T, other=0.0)
        A = tl.load(delta + t, mask=t < T, other=0.0)
        P = tl.exp2(scale * score) * r
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - A)
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "You use e^x. The scale that comes holds log₂ e already, and m is in bits too: tl.exp2.",
)
@triton.jit
def e_instead_of_2(
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
        r = tl.load(stats + T + t, mask=t < T, other=0.0)
        A = tl.load(delta + t, mask=t < T, other=0.0)
        P = tl.exp(scale * score - m) * r
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - A)
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "The scores that P is made of lack the scale: m and l are those of scale · k · q.",
)
@triton.jit
def scale_forgotten(
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
        r = tl.load(stats + T + t, mask=t < T, other=0.0)
        A = tl.load(delta + t, mask=t < T, other=0.0)
        P = tl.exp2(score - m) * r
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - A)
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "delta is not subtracted. A weight that grows takes from the others of its query, since they "
    "add up to 1: d_S = P · (d_P − delta).",
)
@triton.jit
def delta_forgotten(
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
        r = tl.load(stats + T + t, mask=t < T, other=0.0)
        P = tl.exp2(scale * score - m) * r
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * d_P
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "The sign of delta is wrong: d_S = P · (d_P − delta).",
)
@triton.jit
def delta_added(
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
        r = tl.load(stats + T + t, mask=t < T, other=0.0)
        A = tl.load(delta + t, mask=t < T, other=0.0)
        P = tl.exp2(scale * score - m) * r
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P + A)
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "delta is subtracted after P is multiplied. It stands inside the bracket: d_S = P · (d_P − "
    "delta).",
)
@triton.jit
def delta_outside(
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
        r = tl.load(stats + T + t, mask=t < T, other=0.0)
        A = tl.load(delta + t, mask=t < T, other=0.0)
        P = tl.exp2(scale * score - m) * r
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * d_P - A
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "The scale is applied to d_K here. `backward_kernel` does that once, when all queries are in: "
    "yours lacks it.",
)
@triton.jit
def scale_of_the_caller(
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
        r = tl.load(stats + T + t, mask=t < T, other=0.0)
        A = tl.load(delta + t, mask=t < T, other=0.0)
        P = tl.exp2(scale * score - m) * r
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - A) * (scale * 0.6931471805599453)
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "d_V is made of d_S. The result is P · v, so that upstream reaches v through P alone: d_V "
    "grows by P · upstream.",
)
@triton.jit
def d_S_for_P(
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
        r = tl.load(stats + T + t, mask=t < T, other=0.0)
        A = tl.load(delta + t, mask=t < T, other=0.0)
        P = tl.exp2(scale * score - m) * r
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - A)
        d_V = tl.dot(d_S.to(G.dtype), G, d_V, input_precision="ieee")
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "d_K is made of upstream. A score is k · q, so that its gradient reaches k times q: d_K grows "
    "by d_S · q.",
)
@triton.jit
def upstream_for_q(
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
        r = tl.load(stats + T + t, mask=t < T, other=0.0)
        A = tl.load(delta + t, mask=t < T, other=0.0)
        P = tl.exp2(scale * score - m) * r
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - A)
        d_K = tl.dot(d_S.to(Q.dtype), G, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "d_P is made of k. The result is P · v: the gradient of a weight is v · upstream.",
)
@triton.jit
def k_for_v(
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
        r = tl.load(stats + T + t, mask=t < T, other=0.0)
        A = tl.load(delta + t, mask=t < T, other=0.0)
        P = tl.exp2(scale * score - m) * r
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(K, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - A)
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "m, 1/l and delta are lined up with the keys. Scores are transposed here, a key a row and a "
    "query a column: what belongs to queries needs [None, :].",
)
@triton.jit
def stats_by_key(
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
        r = tl.load(stats + T + t, mask=t < T, other=0.0)
        A = tl.load(delta + t, mask=t < T, other=0.0)
        P = tl.exp2(scale * score - tl.trans(m)) * tl.trans(r)
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - tl.trans(A))
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "You read m and 1/l as pairs, 2t and 2t + 1. stats holds m of all T queries, then 1/l of all.",
)
@triton.jit
def stats_side_by_side(
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
        m = tl.load(stats + 2 * t, mask=t < T, other=float("inf"))
        r = tl.load(stats + 2 * t + 1, mask=t < T, other=0.0)
        A = tl.load(delta + t, mask=t < T, other=0.0)
        P = tl.exp2(scale * score - m) * r
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - A)
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "d_K and d_V are overwritten in each round: what comes back is that of the last tile. Add up "
    "what all queries send.",
)
@triton.jit
def last_tile_alone(
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
        r = tl.load(stats + T + t, mask=t < T, other=0.0)
        A = tl.load(delta + t, mask=t < T, other=0.0)
        P = tl.exp2(scale * score - m) * r
        d_V = tl.dot(P.to(G.dtype), G, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - A)
        d_K = tl.dot(d_S.to(Q.dtype), Q, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "CAUSAL is ignored: query t saw keys 0 … t alone, so that a key gets nothing from queries "
    "before it.",
)
@triton.jit
def sees_the_future(
    K, V, d_K, d_V, q, upstream, stats, delta, first, begin, end, T, q_token, scale,
    CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    for start in range(begin, end, ROWS):
        t = start + tl.arange(0, ROWS)[None, :]
        Q = tile(q, start, q_token, T, ROWS, D, BLOCK)
        G = tile(upstream, start, D, T, ROWS, D, BLOCK)
        score = tl.dot(K, tl.trans(Q), input_precision="ieee")
        m = tl.load(stats + t, mask=t < T, other=float("inf"))
        r = tl.load(stats + T + t, mask=t < T, other=0.0)
        A = tl.load(delta + t, mask=t < T, other=0.0)
        P = tl.exp2(scale * score - m) * r
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - A)
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "The mask is s < t, one too few: query t saw key t as well.",
)
@triton.jit
def not_even_itself(
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
            score = tl.where(s < t, score, float("-inf"))
        m = tl.load(stats + t, mask=t < T, other=float("inf"))
        r = tl.load(stats + T + t, mask=t < T, other=0.0)
        A = tl.load(delta + t, mask=t < T, other=0.0)
        P = tl.exp2(scale * score - m) * r
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - A)
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "The mask is the wrong way round: query t saw the keys up to its own place, s <= t.",
)
@triton.jit
def the_past_is_hidden(
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
            score = tl.where(s >= t, score, float("-inf"))
        m = tl.load(stats + t, mask=t < T, other=float("inf"))
        r = tl.load(stats + T + t, mask=t < T, other=0.0)
        A = tl.load(delta + t, mask=t < T, other=0.0)
        P = tl.exp2(scale * score - m) * r
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - A)
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "Scores of keys that were not seen become 0, and 2^(0 − m) is a weight. They must become −∞, "
    "whose weight is 0.",
)
@triton.jit
def masked_with_0(
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
            score = tl.where(s <= t, score, 0.0)
        m = tl.load(stats + t, mask=t < T, other=float("inf"))
        r = tl.load(stats + T + t, mask=t < T, other=0.0)
        A = tl.load(delta + t, mask=t < T, other=0.0)
        P = tl.exp2(scale * score - m) * r
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - A)
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "Every round loads the same queries, those at `begin`: it is `start` that moves.",
)
@triton.jit
def always_the_first_tile(
    K, V, d_K, d_V, q, upstream, stats, delta, first, begin, end, T, q_token, scale,
    CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    s = first + tl.arange(0, KEYS)[:, None]
    for start in range(begin, end, ROWS):
        t = start + tl.arange(0, ROWS)[None, :]
        Q = tile(q, begin, q_token, T, ROWS, D, BLOCK)
        G = tile(upstream, begin, D, T, ROWS, D, BLOCK)
        score = tl.dot(K, tl.trans(Q), input_precision="ieee")
        if CAUSAL:
            score = tl.where(s <= t, score, float("-inf"))
        m = tl.load(stats + t, mask=t < T, other=float("inf"))
        r = tl.load(stats + T + t, mask=t < T, other=0.0)
        A = tl.load(delta + t, mask=t < T, other=0.0)
        P = tl.exp2(scale * score - m) * r
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - A)
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "Your loop goes through all queries. With CAUSAL those before `begin` saw none of these keys: "
    "they add 0, and loading them costs time.",
)
@triton.jit
def from_the_first_query_on(
    K, V, d_K, d_V, q, upstream, stats, delta, first, begin, end, T, q_token, scale,
    CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    s = first + tl.arange(0, KEYS)[:, None]
    for start in range(0, end, ROWS):
        t = start + tl.arange(0, ROWS)[None, :]
        Q = tile(q, start, q_token, T, ROWS, D, BLOCK)
        G = tile(upstream, start, D, T, ROWS, D, BLOCK)
        score = tl.dot(K, tl.trans(Q), input_precision="ieee")
        if CAUSAL:
            score = tl.where(s <= t, score, float("-inf"))
        m = tl.load(stats + t, mask=t < T, other=float("inf"))
        r = tl.load(stats + T + t, mask=t < T, other=0.0)
        A = tl.load(delta + t, mask=t < T, other=0.0)
        P = tl.exp2(scale * score - m) * r
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - A)
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "upstream is loaded by the stride of q. Its tokens lie side by side, D apart; those of q are "
    "q_token apart.",
)
@triton.jit
def upstream_by_the_stride_of_q(
    K, V, d_K, d_V, q, upstream, stats, delta, first, begin, end, T, q_token, scale,
    CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    s = first + tl.arange(0, KEYS)[:, None]
    for start in range(begin, end, ROWS):
        t = start + tl.arange(0, ROWS)[None, :]
        Q = tile(q, start, q_token, T, ROWS, D, BLOCK)
        G = tile(upstream, start, q_token, T, ROWS, D, BLOCK)
        score = tl.dot(K, tl.trans(Q), input_precision="ieee")
        if CAUSAL:
            score = tl.where(s <= t, score, float("-inf"))
        m = tl.load(stats + t, mask=t < T, other=float("inf"))
        r = tl.load(stats + T + t, mask=t < T, other=0.0)
        A = tl.load(delta + t, mask=t < T, other=0.0)
        P = tl.exp2(scale * score - m) * r
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - A)
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "q is loaded as if its tokens were D apart. They are q_token apart: it may be a slice of a "
    "larger tensor.",
)
@triton.jit
def q_by_D(
    K, V, d_K, d_V, q, upstream, stats, delta, first, begin, end, T, q_token, scale,
    CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    s = first + tl.arange(0, KEYS)[:, None]
    for start in range(begin, end, ROWS):
        t = start + tl.arange(0, ROWS)[None, :]
        Q = tile(q, start, D, T, ROWS, D, BLOCK)
        G = tile(upstream, start, D, T, ROWS, D, BLOCK)
        score = tl.dot(K, tl.trans(Q), input_precision="ieee")
        if CAUSAL:
            score = tl.where(s <= t, score, float("-inf"))
        m = tl.load(stats + t, mask=t < T, other=float("inf"))
        r = tl.load(stats + T + t, mask=t < T, other=0.0)
        A = tl.load(delta + t, mask=t < T, other=0.0)
        P = tl.exp2(scale * score - m) * r
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - A)
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "m, 1/l and delta are loaded beyond the last query. That q and upstream are 0 there does not "
    "help: a load outside of a tensor is an error. Mask them with t < T.",
)
@triton.jit
def stats_not_masked(
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
        m = tl.load(stats + t)
        r = tl.load(stats + T + t)
        A = tl.load(delta + t)
        P = tl.exp2(scale * score - m) * r
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - A)
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "You go through the queries twice, for d_V and then for d_K. Both need the same P: once is "
    "enough.",
)
@triton.jit
def two_loops(
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
        r = tl.load(stats + T + t, mask=t < T, other=0.0)
        P = tl.exp2(scale * score - m) * r
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
    for start in range(begin, end, ROWS):
        t = start + tl.arange(0, ROWS)[None, :]
        Q = tile(q, start, q_token, T, ROWS, D, BLOCK)
        G = tile(upstream, start, D, T, ROWS, D, BLOCK)
        score = tl.dot(K, tl.trans(Q), input_precision="ieee")
        if CAUSAL:
            score = tl.where(s <= t, score, float("-inf"))
        m = tl.load(stats + t, mask=t < T, other=float("inf"))
        r = tl.load(stats + T + t, mask=t < T, other=0.0)
        A = tl.load(delta + t, mask=t < T, other=0.0)
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = tl.exp2(scale * score - m) * r * (d_P - A)
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "Weights are rounded to half precision in float32 too.",
    public=False,
)
@triton.jit
def half_in_between_for_keys(
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
        r = tl.load(stats + T + t, mask=t < T, other=0.0)
        A = tl.load(delta + t, mask=t < T, other=0.0)
        P = tl.exp2(scale * score - m) * r
        d_V = tl.dot(P.to(tl.float16).to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - A)
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "d_S is rounded to half precision in float32 too.",
    public=False,
)
@triton.jit
def d_S_in_half(
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
        r = tl.load(stats + T + t, mask=t < T, other=0.0)
        A = tl.load(delta + t, mask=t < T, other=0.0)
        P = tl.exp2(scale * score - m) * r
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - A)
        d_K = tl.dot(d_S.to(tl.float16).to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


# --- queries_backward -----------------------------------------------------------------------------


@mistake(
    QUERIES_BACKWARD,
    "P is not divided by l: weights are 2^(score − m) / l, and r is 1/l.",
)
@triton.jit
def weights_not_divided_by_l(
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
            score = tl.where(seen, score, float("-inf"))
        P = tl.exp2(scale * score - m)
        d_P = tl.dot(G, tl.trans(V), input_precision="ieee")
        d_S = P * (d_P - delta)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "You divide by r, which is 1/l already: that multiplies by l. P is 2^(score − m) · r.",
)
@triton.jit
def weights_times_l(
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
            score = tl.where(seen, score, float("-inf"))
        P = tl.exp2(scale * score - m) / r
        d_P = tl.dot(G, tl.trans(V), input_precision="ieee")
        d_S = P * (d_P - delta)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "m is not subtracted: the weights that attention used are 2^(score − m) / l, and l belongs to "
    "that m.",
)
@triton.jit
def weights_without_m(
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
            score = tl.where(seen, score, float("-inf"))
        P = tl.exp2(scale * score) * r
        d_P = tl.dot(G, tl.trans(V), input_precision="ieee")
        d_S = P * (d_P - delta)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "You use e^x. The scale that comes holds log₂ e already, and m is in bits too: tl.exp2.",
)
@triton.jit
def weights_by_e(
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
            score = tl.where(seen, score, float("-inf"))
        P = tl.exp(scale * score - m) * r
        d_P = tl.dot(G, tl.trans(V), input_precision="ieee")
        d_S = P * (d_P - delta)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "The scores that P is made of lack the scale: m and l are those of scale · q · k.",
)
@triton.jit
def weights_without_scale(
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
            score = tl.where(seen, score, float("-inf"))
        P = tl.exp2(score - m) * r
        d_P = tl.dot(G, tl.trans(V), input_precision="ieee")
        d_S = P * (d_P - delta)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "You take a softmax of the tile alone. The peak and the sum over all keys are known: P is "
    "2^(score − m) · r.",
)
@triton.jit
def softmax_of_a_tile(
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
            score = tl.where(seen, score, float("-inf"))
        P = tl.exp2(scale * score - tl.max(scale * score, 1)[:, None])
        P = P / tl.sum(P, 1)[:, None]
        d_P = tl.dot(G, tl.trans(V), input_precision="ieee")
        d_S = P * (d_P - delta)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "delta is not subtracted. A weight that grows takes from the others of its query, since they "
    "add up to 1: d_S = P · (d_P − delta).",
)
@triton.jit
def without_delta(
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
            score = tl.where(seen, score, float("-inf"))
        P = tl.exp2(scale * score - m) * r
        d_P = tl.dot(G, tl.trans(V), input_precision="ieee")
        d_S = P * d_P
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "The sign of delta is wrong: d_S = P · (d_P − delta).",
)
@triton.jit
def plus_delta(
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
            score = tl.where(seen, score, float("-inf"))
        P = tl.exp2(scale * score - m) * r
        d_P = tl.dot(G, tl.trans(V), input_precision="ieee")
        d_S = P * (d_P + delta)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "delta is subtracted after P is multiplied. It stands inside the bracket: d_S = P · (d_P − "
    "delta).",
)
@triton.jit
def delta_after_P(
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
            score = tl.where(seen, score, float("-inf"))
        P = tl.exp2(scale * score - m) * r
        d_P = tl.dot(G, tl.trans(V), input_precision="ieee")
        d_S = P * d_P - delta
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "The scale is applied to d_Q here. `query_backward_kernel` does that once, when all keys are "
    "in: yours lacks it.",
)
@triton.jit
def scale_of_the_kernel(
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
            score = tl.where(seen, score, float("-inf"))
        P = tl.exp2(scale * score - m) * r
        d_P = tl.dot(G, tl.trans(V), input_precision="ieee")
        d_S = P * (d_P - delta) * (scale * 0.6931471805599453)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "d_Q is made of P. That is the way of upstream to the values; to the scores it goes on by d_S "
    "= P · (d_P − delta).",
)
@triton.jit
def P_for_d_S(
    Q, G, m, r, delta, d_Q, k, v, visible, first, begin, end, S, k_token, v_token, scale,
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
        P = tl.exp2(scale * score - m) * r
        d_Q = tl.dot(P.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "d_Q is made of v. A score is q · k, so that its gradient reaches q times k: d_Q grows by d_S "
    "· k.",
)
@triton.jit
def v_for_k(
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
            score = tl.where(seen, score, float("-inf"))
        P = tl.exp2(scale * score - m) * r
        d_P = tl.dot(G, tl.trans(V), input_precision="ieee")
        d_S = P * (d_P - delta)
        d_Q = tl.dot(d_S.to(V.dtype), V, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "d_P is made of k. The result is P · v: the gradient of a weight is upstream · v.",
)
@triton.jit
def d_P_of_keys(
    Q, G, m, r, delta, d_Q, k, v, visible, first, begin, end, S, k_token, v_token, scale,
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
        P = tl.exp2(scale * score - m) * r
        d_P = tl.dot(G, tl.trans(K), input_precision="ieee")
        d_S = P * (d_P - delta)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "d_P is made of q. The gradient of a weight is upstream · v.",
)
@triton.jit
def d_P_of_queries(
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
            score = tl.where(seen, score, float("-inf"))
        P = tl.exp2(scale * score - m) * r
        d_P = tl.dot(Q, tl.trans(V), input_precision="ieee")
        d_S = P * (d_P - delta)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "d_Q is overwritten in each round: what comes back is that of the last tile. Add up what all "
    "keys send.",
)
@triton.jit
def last_keys_alone(
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
            score = tl.where(seen, score, float("-inf"))
        P = tl.exp2(scale * score - m) * r
        d_P = tl.dot(G, tl.trans(V), input_precision="ieee")
        d_S = P * (d_P - delta)
        d_Q = tl.dot(d_S.to(K.dtype), K, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "MASKED is ignored: with CAUSAL keys after t get weights, and those that are not there get "
    "2^(0 − m), which may be ∞. Scores must become −∞ first.",
)
@triton.jit
def every_key_is_seen(
    Q, G, m, r, delta, d_Q, k, v, visible, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    for start in range(begin, end, KEYS):
        K = tile(k, start, k_token, S, KEYS, D, BLOCK)
        V = tile(v, start, v_token, S, KEYS, D, BLOCK)
        score = tl.dot(Q, tl.trans(K), input_precision="ieee")
        P = tl.exp2(scale * score - m) * r
        d_P = tl.dot(G, tl.trans(V), input_precision="ieee")
        d_S = P * (d_P - delta)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "CAUSAL is ignored: query t saw keys 0 … t alone, s <= t.",
)
@triton.jit
def future_keys(
    Q, G, m, r, delta, d_Q, k, v, visible, first, begin, end, S, k_token, v_token, scale,
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
        P = tl.exp2(scale * score - m) * r
        d_P = tl.dot(G, tl.trans(V), input_precision="ieee")
        d_S = P * (d_P - delta)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "The mask is s < t, one key too few: query t saw key t as well.",
)
@triton.jit
def keys_before_t(
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
                seen = seen & (s < t)
            score = tl.where(seen, score, float("-inf"))
        P = tl.exp2(scale * score - m) * r
        d_P = tl.dot(G, tl.trans(V), input_precision="ieee")
        d_S = P * (d_P - delta)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "The mask is the wrong way round: query t saw the keys up to its own place, s <= t.",
)
@triton.jit
def keys_from_t_on(
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
                seen = seen & (s >= t)
            score = tl.where(seen, score, float("-inf"))
        P = tl.exp2(scale * score - m) * r
        d_P = tl.dot(G, tl.trans(V), input_precision="ieee")
        d_S = P * (d_P - delta)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "Scores of keys that were not seen become 0, and 2^(0 − m) is a weight. They must become −∞, "
    "whose weight is 0.",
)
@triton.jit
def unseen_scores_of_0(
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
            score = tl.where(seen, score, 0.0)
        P = tl.exp2(scale * score - m) * r
        d_P = tl.dot(G, tl.trans(V), input_precision="ieee")
        d_S = P * (d_P - delta)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "The mask is s <= t alone. Keys beyond the last one have the score 0 and the weight 2^(0 − m), "
    "which is ∞ where all scores are low: s < S too.",
)
@triton.jit
def padding_not_masked(
    Q, G, m, r, delta, d_Q, k, v, visible, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    for start in range(begin, end, KEYS):
        K = tile(k, start, k_token, S, KEYS, D, BLOCK)
        V = tile(v, start, v_token, S, KEYS, D, BLOCK)
        score = tl.dot(Q, tl.trans(K), input_precision="ieee")
        if CAUSAL:
            score = tl.where(s <= t, score, float("-inf"))
        P = tl.exp2(scale * score - m) * r
        d_P = tl.dot(G, tl.trans(V), input_precision="ieee")
        d_S = P * (d_P - delta)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "Every round loads the same keys, those at `begin`: it is `start` that moves.",
)
@triton.jit
def the_same_keys_again(
    Q, G, m, r, delta, d_Q, k, v, visible, first, begin, end, S, k_token, v_token, scale,
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
        P = tl.exp2(scale * score - m) * r
        d_P = tl.dot(G, tl.trans(V), input_precision="ieee")
        d_S = P * (d_P - delta)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "Your loop begins at key 0. The caller hands the keys over in parts, and those before `begin` "
    "are in d_Q already: they count twice.",
)
@triton.jit
def from_key_0_on(
    Q, G, m, r, delta, d_Q, k, v, visible, first, begin, end, S, k_token, v_token, scale,
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
        P = tl.exp2(scale * score - m) * r
        d_P = tl.dot(G, tl.trans(V), input_precision="ieee")
        d_S = P * (d_P - delta)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "Your loop ends with the last whole tile. The keys after it are fewer than KEYS, but they "
    "count: range(begin, end, KEYS), and a mask.",
)
@triton.jit
def last_keys_left_out(
    Q, G, m, r, delta, d_Q, k, v, visible, first, begin, end, S, k_token, v_token, scale,
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
        P = tl.exp2(scale * score - m) * r
        d_P = tl.dot(G, tl.trans(V), input_precision="ieee")
        d_S = P * (d_P - delta)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "Values are loaded by the stride of the keys. The tokens of v are v_token apart, which may be "
    "another distance.",
)
@triton.jit
def values_by_the_stride_of_k(
    Q, G, m, r, delta, d_Q, k, v, visible, first, begin, end, S, k_token, v_token, scale,
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
        P = tl.exp2(scale * score - m) * r
        d_P = tl.dot(G, tl.trans(V), input_precision="ieee")
        d_S = P * (d_P - delta)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "Keys and values are loaded beyond the last one. That their weights are 0 does not help: a "
    "load outside of a tensor is an error. `tile` masks what it loads.",
)
@triton.jit
def keys_loaded_without_a_mask(
    Q, G, m, r, delta, d_Q, k, v, visible, first, begin, end, S, k_token, v_token, scale,
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
        P = tl.exp2(scale * score - m) * r
        d_P = tl.dot(G, tl.trans(V), input_precision="ieee")
        d_S = P * (d_P - delta)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "You load the keys twice, for the scores and then for d_Q. Keep what you have loaded.",
)
@triton.jit
def keys_loaded_twice(
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
            score = tl.where(seen, score, float("-inf"))
        P = tl.exp2(scale * score - m) * r
        d_P = tl.dot(G, tl.trans(V), input_precision="ieee")
        d_S = P * (d_P - delta)
        K = tile(k, start, k_token, S, KEYS, D, BLOCK)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "d_S is rounded to half precision in float32 too.",
    public=False,
)
@triton.jit
def d_S_rounded_to_half(
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
            score = tl.where(seen, score, float("-inf"))
        P = tl.exp2(scale * score - m) * r
        d_P = tl.dot(G, tl.trans(V), input_precision="ieee")
        d_S = P * (d_P - delta)
        d_Q = tl.dot(d_S.to(tl.float16).to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "The stride of a token is taken for D.",
    public=False,
)
@triton.jit
def strides_of_D(
    Q, G, m, r, delta, d_Q, k, v, visible, first, begin, end, S, k_token, v_token, scale,
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
        P = tl.exp2(scale * score - m) * r
        d_P = tl.dot(G, tl.trans(V), input_precision="ieee")
        d_S = P * (d_P - delta)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    KEYS_BACKWARD,
    "Scores are rounded to half precision before they become weights: keep what tl.dot gives, "
    "which is fp32.",
)
@triton.jit
def scores_rounded_to_half(
    K, V, d_K, d_V, q, upstream, stats, delta, first, begin, end, T, q_token, scale,
    CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    s = first + tl.arange(0, KEYS)[:, None]
    for start in range(begin, end, ROWS):
        t = start + tl.arange(0, ROWS)[None, :]
        Q = tile(q, start, q_token, T, ROWS, D, BLOCK)
        G = tile(upstream, start, D, T, ROWS, D, BLOCK)
        score = tl.dot(K, tl.trans(Q), input_precision="ieee").to(Q.dtype).to(tl.float32)
        if CAUSAL:
            score = tl.where(s <= t, score, float("-inf"))
        m = tl.load(stats + t, mask=t < T, other=float("inf"))
        P = tl.exp2(scale * score - m) * tl.load(stats + T + t, mask=t < T, other=0.0)
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - tl.load(delta + t, mask=t < T, other=0.0))
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    KEYS_BACKWARD,
    "d_S comes of weights that were rounded for the product with upstream. Small ones lose most "
    "of their digits: round a copy for tl.dot, and make d_S of P in fp32.",
)
@triton.jit
def d_S_of_rounded_weights(
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
        P = tl.exp2(scale * score - m) * tl.load(stats + T + t, mask=t < T, other=0.0)
        P = P.to(G.dtype).to(tl.float32)
        d_V = tl.dot(P.to(G.dtype), G, d_V, input_precision="ieee")
        d_P = tl.dot(V, tl.trans(G), input_precision="ieee")
        d_S = P * (d_P - tl.load(delta + t, mask=t < T, other=0.0))
        d_K = tl.dot(d_S.to(Q.dtype), Q, d_K, input_precision="ieee")
    return d_K, d_V


@mistake(
    QUERIES_BACKWARD,
    "Scores are rounded to half precision before they become weights: keep what tl.dot gives, "
    "which is fp32.",
)
@triton.jit
def scores_of_queries_rounded_to_half(
    Q, G, m, r, delta, d_Q, k, v, visible, first, begin, end, S, k_token, v_token, scale,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    t = first + tl.arange(0, ROWS)[:, None]
    for start in range(begin, end, KEYS):
        s = start + tl.arange(0, KEYS)[None, :]
        K = tile(k, start, k_token, S, KEYS, D, BLOCK)
        V = tile(v, start, v_token, S, KEYS, D, BLOCK)
        score = tl.dot(Q, tl.trans(K), input_precision="ieee").to(K.dtype).to(tl.float32)
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


@mistake(
    QUERIES_BACKWARD,
    "Weights are rounded to half precision. Small ones lose most of their digits: d_S alone is "
    "rounded, for tl.dot.",
)
@triton.jit
def weights_rounded_to_half(
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
        P = P.to(K.dtype).to(tl.float32)
        d_S = P * (tl.dot(G, tl.trans(V), input_precision="ieee") - delta)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q


@mistake(
    QUERIES_BACKWARD,
    "`visible` is not looked at: keys whose byte is 0 there are hidden from all queries, and "
    "must add nothing to d_Q.",
)
@triton.jit
def hidden_keys_add(
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
            score = tl.where(seen, score, float("-inf"))
        P = tl.exp2(scale * score - m) * r
        d_S = P * (tl.dot(G, tl.trans(V), input_precision="ieee") - delta)
        d_Q = tl.dot(d_S.to(K.dtype), K, d_Q, input_precision="ieee")
    return d_Q
