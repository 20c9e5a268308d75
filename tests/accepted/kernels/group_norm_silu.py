"""Right kernels for silu(GroupNorm(x)) and its gradient, written another way."""

from cs231n_gen.checking.variants import accepted
from cs231n_gen.kernels.launch import tl, triton


@accepted("kernels.group_norm_silu.kernel")
@triton.jit
def root_and_quotients(
    x, weight, bias, out, mean, inverse_std, groups, C, n, eps,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(0).to(tl.int64)
    c, i = tl.arange(0, CHANNELS)[:, None], tl.arange(0, BLOCK)[None, :]
    at, there = (group * C + c) * n + i, (c < C) & (i < n)
    X = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    mu = tl.sum(X) / (C * tl.minimum(n, BLOCK))
    off = tl.where(there, X - mu, 0.0)
    squares = tl.sum(off * off)
    for k in range(BLOCK, n, BLOCK):
        m, more = tl.minimum(n - k, BLOCK), (c < C) & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        mu_m = tl.sum(Xm) / (C * m)
        off = tl.where(more, Xm - mu_m, 0.0)
        squares += tl.sum(off * off) + C * (mu_m - mu) * (mu_m - mu) * k * (m / (k + m))
        mu += (mu_m - mu) * (m / (k + m))
    r = 1.0 / tl.sqrt(squares / (C * n) + eps)
    W = tl.load(weight + group % groups * C + c, mask=c < C, other=0.0).to(tl.float32)
    B = tl.load(bias + group % groups * C + c, mask=c < C, other=0.0).to(tl.float32)
    Y = W * ((X - mu) * r) + B
    tl.store(out + at, (Y / (1.0 + tl.exp(-Y))).to(out.dtype.element_ty), mask=there)
    for k in range(BLOCK, n, BLOCK):
        more = (c < C) & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        Y = W * ((Xm - mu) * r) + B
        tl.store(out + at + k, (Y / (1.0 + tl.exp(-Y))).to(out.dtype.element_ty), mask=more)
    tl.store(mean + group, mu)
    tl.store(inverse_std + group, r)


@accepted("kernels.group_norm_silu.kernel")
@triton.jit
def zeros_put_in_place(
    x, weight, bias, out, mean, inverse_std, groups, C, n, eps,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(0).to(tl.int64)
    c, i = tl.arange(0, CHANNELS)[:, None], tl.arange(0, BLOCK)[None, :]
    at, there = (group * C + c) * n + i, (c < C) & (i < n)
    X = tl.where(there, tl.load(x + at, mask=there), 0.0).to(tl.float32)
    mu = tl.sum(X) / (C * tl.minimum(n, BLOCK))
    off = tl.where(there, X - mu, 0.0)
    squares = tl.sum(off * off)
    for k in range(BLOCK, n, BLOCK):
        m, more = tl.minimum(n - k, BLOCK), (c < C) & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        mu_m = tl.sum(Xm) / (C * m)
        off = tl.where(more, Xm - mu_m, 0.0)
        squares += tl.sum(off * off) + C * (mu_m - mu) * (mu_m - mu) * k * (m / (k + m))
        mu += (mu_m - mu) * (m / (k + m))
    r = tl.rsqrt(squares / (C * n) + eps)
    W = tl.load(weight + (group - group // groups * groups) * C + c, mask=c < C, other=0.0).to(
        tl.float32
    )
    B = tl.load(bias + (group - group // groups * groups) * C + c, mask=c < C, other=0.0).to(
        tl.float32
    )
    Y = W * r * (X - mu) + B
    tl.store(out + at, (Y * tl.sigmoid(Y)).to(out.dtype.element_ty), mask=there)
    for k in range(BLOCK, n, BLOCK):
        more = (c < C) & (k + i < n)
        Xm = tl.load(x + at + k, mask=more, other=0.0).to(tl.float32)
        Y = W * ((Xm - mu) * r) + B
        tl.store(out + at + k, (Y * tl.sigmoid(Y)).to(out.dtype.element_ty), mask=more)
    tl.store(mean + group, mu)
    tl.store(inverse_std + group, r)


@accepted("kernels.group_norm_silu.backward_kernel")
@triton.jit
def derivative_in_two_parts(
    x, weight, bias, mean, inverse_std, upstream, d_x, d_weight, d_bias, groups, C, n,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(0).to(tl.int64)
    c, i = tl.arange(0, CHANNELS)[:, None], tl.arange(0, BLOCK)[None, :]
    at, there = (group * C + c) * n + i, (c < C) & (i < n)
    W = tl.load(weight + group % groups * C + c, mask=c < C, other=0.0).to(tl.float32)
    B = tl.load(bias + group % groups * C + c, mask=c < C, other=0.0).to(tl.float32)
    mu, r = tl.load(mean + group), tl.load(inverse_std + group)
    normal = (tl.load(x + at, mask=there, other=0.0).to(tl.float32) - mu) * r
    s = tl.sigmoid(W * normal + B)
    h = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
    h = h * s + h * (W * normal + B) * (s - s * s)
    d_W, d_B = tl.sum(h * normal, 1, keep_dims=True), tl.sum(h, 1, keep_dims=True)
    for k in range(BLOCK, n, BLOCK):
        more = (c < C) & (k + i < n)
        normal_m = (tl.load(x + at + k, mask=more, other=0.0).to(tl.float32) - mu) * r
        s = tl.sigmoid(W * normal_m + B)
        h_m = tl.load(upstream + at + k, mask=more, other=0.0).to(tl.float32)
        h_m = h_m * s + h_m * (W * normal_m + B) * (s - s * s)
        d_W += tl.sum(h_m * normal_m, 1, keep_dims=True)
        d_B += tl.sum(h_m, 1, keep_dims=True)
    level, along = tl.sum(W * d_B) / (C * n), tl.sum(W * d_W) / (C * n)
    d_X = r * (W * h - level - normal * along)
    tl.store(d_x + at, d_X.to(d_x.dtype.element_ty), mask=there)
    for k in range(BLOCK, n, BLOCK):
        more = (c < C) & (k + i < n)
        normal_m = (tl.load(x + at + k, mask=more, other=0.0).to(tl.float32) - mu) * r
        s = tl.sigmoid(W * normal_m + B)
        h_m = tl.load(upstream + at + k, mask=more, other=0.0).to(tl.float32)
        h_m = h_m * s + h_m * (W * normal_m + B) * (s - s * s)
        d_X = r * (W * h_m - level - normal_m * along)
        tl.store(d_x + at + k, d_X.to(d_x.dtype.element_ty), mask=more)
    tl.store(d_weight + group * C + c, d_W, mask=c < C)
    tl.store(d_bias + group * C + c, d_B, mask=c < C)


@accepted("kernels.group_norm_silu.backward_kernel")
@triton.jit
def means_of_the_products(
    x, weight, bias, mean, inverse_std, upstream, d_x, d_weight, d_bias, groups, C, n,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(0).to(tl.int64)
    c, i = tl.arange(0, CHANNELS)[:, None], tl.arange(0, BLOCK)[None, :]
    at, there = (group * C + c) * n + i, (c < C) & (i < n)
    W = tl.load(weight + group % groups * C + c, mask=c < C, other=0.0).to(tl.float32)
    B = tl.load(bias + group % groups * C + c, mask=c < C, other=0.0).to(tl.float32)
    mu, r = tl.load(mean + group), tl.load(inverse_std + group)
    normal = (tl.load(x + at, mask=there, other=0.0).to(tl.float32) - mu) * r
    s = tl.sigmoid(W * normal + B)
    h = tl.load(upstream + at, mask=there, other=0.0).to(tl.float32)
    h *= s * (1 + (W * normal + B) * (1 - s))
    d_W, d_B = tl.sum(h * normal, 1, keep_dims=True), tl.sum(h, 1, keep_dims=True)
    for k in range(BLOCK, n, BLOCK):
        more = (c < C) & (k + i < n)
        normal_m = (tl.load(x + at + k, mask=more, other=0.0).to(tl.float32) - mu) * r
        s = tl.sigmoid(W * normal_m + B)
        h_m = tl.load(upstream + at + k, mask=more, other=0.0).to(tl.float32)
        h_m *= s * (1 + (W * normal_m + B) * (1 - s))
        d_W += tl.sum(h_m * normal_m, 1, keep_dims=True)
        d_B += tl.sum(h_m, 1, keep_dims=True)
    share = 1.0 / (C * n)
    level = tl.sum(W * d_B) * share
    along = tl.sum(W * d_W) * share
    d_X = W * h * r - (level + normal * along) * r
    tl.store(d_x + at, d_X.to(d_x.dtype.element_ty), mask=there)
    for k in range(BLOCK, n, BLOCK):
        more = (c < C) & (k + i < n)
        normal_m = (tl.load(x + at + k, mask=more, other=0.0).to(tl.float32) - mu) * r
        s = tl.sigmoid(W * normal_m + B)
        h_m = tl.load(upstream + at + k, mask=more, other=0.0).to(tl.float32)
        h_m *= s * (1 + (W * normal_m + B) * (1 - s))
        d_X = r * (W * h_m - level - normal_m * along)
        tl.store(d_x + at + k, d_X.to(d_x.dtype.element_ty), mask=more)
    tl.store(d_weight + group * C + c, d_W, mask=c < C)
    tl.store(d_bias + group * C + c, d_B, mask=c < C)
