"""Right kernels for RMSNorm and RoPE, forward and backward, written another way."""

from cs231n_gen.checking.variants import accepted
from cs231n_gen.kernels.launch import tl, triton

KERNEL = "kernels.qk_norm_rope.kernel"
BACKWARD = "kernels.qk_norm_rope.backward_kernel"


@triton.jit
def turn_one(x, weight, cos, sin, out, at, to, half, D, eps, columns, exists, inside):
    """Normalise, scale and turn the tokens that begin at x + at; store them from out + to on."""
    left = tl.load(x + at + columns, mask=inside)
    right = tl.load(x + at + half + columns, mask=inside)
    left = tl.where(inside, left.to(tl.float32), 0.0)
    right = tl.where(inside, right.to(tl.float32), 0.0)
    mean_square = (tl.sum(left * left, axis=1) + tl.sum(right * right, axis=1)) / D
    rms = tl.sqrt(tl.where(exists, mean_square[:, None] + eps, 1.0))
    left = left / rms * tl.load(weight + columns, mask=columns < half)
    right = right / rms * tl.load(weight + half + columns, mask=columns < half)
    c, s = tl.load(cos, mask=inside), tl.load(sin, mask=inside)
    tl.store(out + to + columns, left * c - right * s, mask=inside)
    tl.store(out + to + half + columns, right * c + left * s, mask=inside)


@accepted(KERNEL)
@triton.jit
def in_branches(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    pid = tl.program_id(axis=0).to(tl.int64)
    example, head = pid // heads, pid % heads
    rows = tl.program_id(axis=1).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    exists = (rows < T)[:, None]
    columns = tl.arange(0, HALF)[None, :]
    half = D // 2
    inside = exists & (columns < half)
    at = example * example_stride + head * head_stride + (rows * token_stride)[:, None]
    to = pid * T * D + (rows * D)[:, None]
    angle = (rows * half)[:, None] + columns
    if tl.program_id(axis=2) == 0:
        turn_one(
            q, q_weight, cos + angle, sin + angle, q_out, at, to, half, D, eps, columns, exists,
            inside,
        )  # fmt: skip
    else:
        turn_one(
            k, k_weight, cos + angle, sin + angle, k_out, at, to, half, D, eps, columns, exists,
            inside,
        )  # fmt: skip


@accepted(KERNEL)
@triton.jit
def both_halves_in_one_tile(
    q, k, q_weight, k_weight, cos, sin, q_out, k_out,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    of_k = tl.program_id(2) == 1
    x = k if of_k else q
    weight = k_weight if of_k else q_weight
    out = k_out if of_k else q_out
    n = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1).to(tl.int64) * ROWS + tl.arange(0, ROWS)[None, :, None]
    second = tl.arange(0, 2)[:, None, None]
    i = tl.arange(0, HALF)[None, None, :]
    d = second * (D // 2) + i
    there = (t < T) & (i < D // 2)
    x += n // heads * example_stride + n % heads * head_stride
    X = tl.load(x + t * token_stride + d, mask=there, other=0).to(tl.float32)  # (2, ROWS, HALF)
    W = tl.load(weight + d, mask=i < D // 2, other=0).to(tl.float32)
    mean = tl.sum(tl.sum(X * X, 2, keep_dims=True), 0, keep_dims=True) / D + eps
    X = tl.where(there, X / tl.sqrt(mean), 0.0) * W
    first = tl.sum(tl.where(second == 0, X, 0.0), 0, keep_dims=True)
    last = tl.sum(tl.where(second == 1, X, 0.0), 0, keep_dims=True)
    angle = t * (D // 2) + i
    C = tl.load(cos + angle, mask=there, other=1)
    S = tl.load(sin + angle, mask=there, other=0)
    turned = tl.where(second == 0, first * C - last * S, last * C + first * S)
    tl.store(out + n * T * D + t * D + d, turned.to(out.dtype.element_ty), mask=there)


@triton.jit
def gradients_of_one(
    x, weight, cos, sin, upstream, d_x, d_weight, half, D, eps, columns, exists, inside
):  # fmt: skip
    """The gradients of the tokens at x, which are read from there and stored at d_x, and of their
    weight, which are stored at d_weight."""
    left = tl.load(x, mask=inside, other=0).to(tl.float32)
    right = tl.load(x + half, mask=inside, other=0).to(tl.float32)
    mean_square = tl.sum(left * left + right * right, axis=1)[:, None] / D + eps
    inverse = tl.where(exists, 1 / tl.sqrt(tl.where(exists, mean_square, 1)), 0)
    c, s = tl.load(cos, mask=inside, other=0), tl.load(sin, mask=inside, other=0)
    up_left = tl.load(upstream, mask=inside, other=0).to(tl.float32)
    up_right = tl.load(upstream + half, mask=inside, other=0).to(tl.float32)
    back_left, back_right = c * up_left + s * up_right, c * up_right - s * up_left
    known = columns < half
    per_left = tl.sum(back_left * left * inverse, axis=0)[None, :]
    per_right = tl.sum(back_right * right * inverse, axis=0)[None, :]
    tl.store(d_weight + columns, per_left, mask=known)
    tl.store(d_weight + half + columns, per_right, mask=known)
    back_left *= tl.load(weight + columns, mask=known, other=0)
    back_right *= tl.load(weight + half + columns, mask=known, other=0)
    # x · mean(w g x) / (mean x² + eps) is n · mean(w g n)
    share = tl.sum(back_left * left + back_right * right, axis=1)[:, None] / D
    share *= inverse * inverse
    tl.store(d_x, (inverse * (back_left - left * share)).to(d_x.dtype.element_ty), mask=inside)
    right = inverse * (back_right - right * share)
    tl.store(d_x + half, right.to(d_x.dtype.element_ty), mask=inside)


@accepted(BACKWARD)
@triton.jit
def in_branches_backward(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    pid, block = tl.program_id(axis=0).to(tl.int64), tl.program_id(axis=1).to(tl.int64)
    rows = block * ROWS + tl.arange(0, ROWS)[:, None]
    columns = tl.arange(0, HALF)[None, :]
    half = D // 2
    exists = rows < T
    inside = exists & (columns < half)
    at = pid // heads * example_stride + pid % heads * head_stride + rows * token_stride + columns
    to = pid * T * D + rows * D + columns
    angle = rows * half + columns
    part = (pid * tl.cdiv(T, ROWS) + block) * D
    if tl.program_id(axis=2) == 0:
        gradients_of_one(
            q + at, q_weight, cos + angle, sin + angle, q_upstream + to, d_q + to,
            d_q_weight + part, half, D, eps, columns, exists, inside,
        )  # fmt: skip
    else:
        gradients_of_one(
            k + at, k_weight, cos + angle, sin + angle, k_upstream + to, d_k + to,
            d_k_weight + part, half, D, eps, columns, exists, inside,
        )  # fmt: skip


@accepted(BACKWARD)
@triton.jit
def turned_forward_instead(
    q, k, q_weight, k_weight, cos, sin, q_upstream, k_upstream, d_q, d_k, d_q_weight, d_k_weight,
    example_stride, head_stride, token_stride, heads, T, D, eps,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    """Σ w g n is Σ upstream gradient · result, both of them turned: the mean is taken of those."""
    of_k = tl.program_id(2) == 1
    x = k if of_k else q
    weight = k_weight if of_k else q_weight
    upstream = k_upstream if of_k else q_upstream
    d_x = d_k if of_k else d_q
    d_weight = d_k_weight if of_k else d_q_weight
    head, half = tl.program_id(0).to(tl.int64), D // 2
    t = tl.program_id(1).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, HALF)[None, :]
    there = (t < T) & (i < half)
    x += head // heads * example_stride + head % heads * head_stride
    to = (head * T + t) * D + i
    U1 = tl.load(upstream + to, mask=there, other=0).to(tl.float32)
    U2 = tl.load(upstream + to + half, mask=there, other=0).to(tl.float32)
    X1 = tl.load(x + t * token_stride + i, mask=there, other=0).to(tl.float32)
    X2 = tl.load(x + t * token_stride + i + half, mask=there, other=0).to(tl.float32)
    C = tl.load(cos + t * half + i, mask=there, other=0)
    S = tl.load(sin + t * half + i, mask=there, other=0)
    w1 = tl.load(weight + i, mask=i < half, other=0).to(tl.float32)
    w2 = tl.load(weight + i + half, mask=i < half, other=0).to(tl.float32)
    mean = (tl.sum(X1 * X1, 1, keep_dims=True) + tl.sum(X2 * X2, 1, keep_dims=True)) / D
    r = tl.where(t < T, tl.rsqrt(tl.maximum(mean + eps, 1e-37)), 0.0)
    X1, X2 = X1 * r, X2 * r
    Y1, Y2 = w1 * X1 * C - w2 * X2 * S, w2 * X2 * C + w1 * X1 * S
    mean = tl.sum(U1 * Y1 + U2 * Y2, 1, keep_dims=True) / D
    U1, U2 = U1 * C + U2 * S, U2 * C - U1 * S
    keep = d_weight + (head * tl.num_programs(1) + tl.program_id(1).to(tl.int64)) * D + i
    tl.store(keep, tl.sum(U1 * X1, 0, keep_dims=True), mask=i < half)
    tl.store(keep + half, tl.sum(U2 * X2, 0, keep_dims=True), mask=i < half)
    tl.store(d_x + to, (r * (w1 * U1 - X1 * mean)).to(d_x.dtype.element_ty), mask=there)
    tl.store(d_x + to + half, (r * (w2 * U2 - X2 * mean)).to(d_x.dtype.element_ty), mask=there)
