"""Right kernels for adaLN, written another way."""

from cs231n_gen.checking.variants import accepted
from cs231n_gen.kernels.launch import tl, triton

FORWARD = "kernels.adaln.kernel"
BACKWARD = "kernels.adaln.backward_kernel"


@accepted(FORWARD)
@triton.jit
def token_after_token(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    example, first = tl.program_id(0).to(tl.int64), tl.program_id(1) * ROWS
    cols = tl.arange(0, BLOCK)
    inside = cols < D
    factor = 1.0 + tl.load(scale + example * D + cols, mask=inside, other=0.0).to(tl.float32)
    term = tl.load(shift + example * D + cols, mask=inside, other=0.0).to(tl.float32)
    for t in range(first, tl.minimum(first + ROWS, T)):
        at = (example * T + t) * D + cols
        token = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
        mu = tl.sum(token, axis=0) / D
        centred = tl.where(inside, token - mu, 0.0)
        sigma = tl.sqrt(tl.sum(centred * centred, axis=0) / D + eps)
        tl.store(out + at, (centred / sigma) * factor + term, mask=inside)
        tl.store(mean + example * T + t, mu)
        tl.store(inverse_std + example * T + t, 1.0 / sigma)


@accepted(FORWARD)
@triton.jit
def in_one_pass(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    """Mean and square at once, of what is left beside the mean of a token's first half."""
    b = tl.program_id(0).to(tl.int64)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    cols = tl.arange(0, BLOCK)
    token, mask = b * T + rows, (rows < T)[:, None] & (cols < D)[None, :]
    X = tl.load(x + (token * D)[:, None] + cols[None, :], mask=mask, other=0.0).to(tl.float32)
    few = tl.cdiv(D, 2)
    origin = tl.sum(tl.where(cols[None, :] < few, X, 0.0), 1, keep_dims=True) / few
    beside = tl.where(mask, X - origin, 0.0)
    m = tl.sum(beside, 1) / D
    var = tl.maximum(tl.sum(beside * beside, 1) / D - m * m, 0.0)
    r = 1 / tl.sqrt(var + eps)
    normal = (beside - m[:, None]) * r[:, None]
    S = tl.load(scale + b * D + cols, mask=cols < D).to(tl.float32)[None, :]
    H = tl.load(shift + b * D + cols, mask=cols < D).to(tl.float32)[None, :]
    to = out + (token * D)[:, None] + cols[None, :]
    tl.store(to, (normal + normal * S + H).to(out.dtype.element_ty), mask=mask)
    tl.store(mean + token, m + tl.reshape(origin, [ROWS]), mask=rows < T)
    tl.store(inverse_std + token, r, mask=rows < T)


@accepted(FORWARD)
@triton.jit
def with_a_reciprocal_of_the_size(
    x, scale, shift, out, mean, inverse_std, T, D, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    share = 1.0 / D
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    there = (t < T) & (i < D)
    weight = tl.where(there, share, 0.0)
    row = tl.program_id(0).to(tl.int64) * T + t
    X = tl.load(x + row * D + i, mask=there, other=0.0).to(tl.float32)
    mu = tl.sum(X * weight, 1)[:, None]
    r = tl.rsqrt(tl.sum((X - mu) * (X - mu) * weight, 1)[:, None] + eps)
    tl.store(mean + row, mu, mask=t < T)
    tl.store(inverse_std + row, r, mask=t < T)
    own = tl.program_id(0).to(tl.int64) * D + i
    S = tl.load(scale + own, mask=i < D, other=0.0).to(tl.float32)
    H = tl.load(shift + own, mask=i < D, other=0.0).to(tl.float32)
    tl.store(out + row * D + i, (r * (1 + S)) * (X - mu) + H, mask=there)


@accepted(BACKWARD)
@triton.jit
def back_token_after_token(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    b, j = tl.program_id(0).to(tl.int64), tl.program_id(1)
    cols = tl.arange(0, BLOCK)
    inside = cols < D
    factor = 1.0 + tl.load(scale + b * D + cols, mask=inside, other=0.0).to(tl.float32)
    scale_sum = tl.zeros((BLOCK,), dtype=tl.float32)
    shift_sum = tl.zeros((BLOCK,), dtype=tl.float32)
    for t in range(j * CHUNK, tl.minimum((j + 1) * CHUNK, T)):
        at = (b * T + t) * D + cols
        token = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
        du = tl.load(upstream + at, mask=inside, other=0.0).to(tl.float32)
        r = tl.load(inverse_std + b * T + t)
        x_hat = (token - tl.load(mean + b * T + t)) * r
        scale_sum += du * x_hat
        shift_sum += du
        g = du * factor
        c1, c2 = tl.sum(g, axis=0) / D, tl.sum(g * x_hat, axis=0) / D
        tl.store(d_x + at, r * (g - (c1 + x_hat * c2)), mask=inside)
    where = (b * tl.num_programs(1) + j) * D + cols
    tl.store(d_scale + where, scale_sum, mask=inside)
    tl.store(d_shift + where, shift_sum, mask=inside)


@accepted(BACKWARD)
@triton.jit
def summed_at_the_end(
    x, scale, mean, inverse_std, upstream, d_x, d_scale, d_shift, T, D,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sums over tokens are kept for each row of a tile, and added up once, after the loop."""
    cols, rows = tl.arange(0, BLOCK), tl.arange(0, ROWS)
    own = tl.program_id(0).to(tl.int64) * D + cols
    S = tl.load(scale + own, mask=cols < D, other=0.0).to(tl.float32)[None, :]
    scale_sums = tl.zeros((ROWS, BLOCK), tl.float32)
    shift_sums = tl.zeros((ROWS, BLOCK), tl.float32)
    for tile in tl.static_range(CHUNK // ROWS):
        t = tl.program_id(1) * CHUNK + tile * ROWS + rows
        token = tl.program_id(0).to(tl.int64) * T + t
        at = token[:, None] * D + cols[None, :]
        mask = (t < T)[:, None] & (cols < D)[None, :]
        G = tl.load(upstream + at, mask=mask, other=0.0).to(tl.float32)
        X = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
        r = tl.load(inverse_std + token, mask=t < T, other=0.0)[:, None]
        mu = tl.load(mean + token, mask=t < T, other=0.0)[:, None]
        x_hat = tl.where(mask, X - mu, 0.0) * r
        scale_sums = scale_sums + G * x_hat
        shift_sums = shift_sums + G
        g = G + G * S
        down = tl.sum(g, 1)[:, None] / D
        along = tl.sum(g * x_hat, 1)[:, None] / D
        result = (g - down) * r - x_hat * (along * r)
        tl.store(d_x + at, result.to(d_x.dtype.element_ty), mask=mask)
    part = (tl.program_id(0).to(tl.int64) * tl.num_programs(1) + tl.program_id(1)) * D + cols
    tl.store(d_scale + part, tl.sum(scale_sums, 0), mask=cols < D)
    tl.store(d_shift + part, tl.sum(shift_sums, 0), mask=cols < D)
